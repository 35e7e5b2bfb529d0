"""What happens, as it happens: GET /api/events as Server-Sent Events.

The law: the desk is looked at once a second at most, whoever listens and however many; no stream outlives its client by
much, the process by anything, or its hour; and streams never take all of the server's threads. Nothing is kept for a
client that was away: each stream begins with what stands now.
"""

import json
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import FrameType
from typing import Protocol
from weakref import WeakKeyDictionary

from trading.domain.errors import DeskError
from trading.domain.positions import Position
from trading.domain.trades import Trade
from trading.domain.units import PositionId, Price, TradeId
from trading.engine import queries
from trading.engine.desk import Desk
from trading.engine.patience import patient
from trading.engine.records import PositionView
from trading.ports import Clock
from trading.problems import Problem, of_desk_error
from trading.rendering import render
from trading.serializers import PAGE_MAX

STREAMS_MAX = 6
"""The server has sixteen threads, and each stream holds one of them."""

POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
HEARTBEAT = b": the stream is alive\nevent: beat\ndata: []\n\n"
"""A comment, and an event besides: a page is told of no comments, and could not tell a quiet stream from a dead one."""

STREAM_SECONDS_MAX = 3600.0
RETRY_MILLISECONDS = 3000
ITEMS_MAX = 100
LOG_LINES_MAX = 50
BACKLOG_MAX = 200

CONTENT_TYPE = "text/event-stream; charset=utf-8"
STREAM_HEADERS: Mapping[str, str] = {"X-Accel-Buffering": "no"}
FULL = Problem(
    "STREAMS_FULL",
    f"{STREAMS_MAX} event streams are being served, which is all there is room for; ask /api/positions now and then",
    headers={"Retry-After": "10"},
)


@dataclass(frozen=True, slots=True)
class MarkView:
    """A position at present prices: the fields of a position that move without a trade."""

    position_id: PositionId
    pair: str
    long_price: Price | None
    short_price: Price | None
    long_unrealized_pnl: Decimal | None
    short_unrealized_pnl: Decimal | None
    current_spread: Decimal | None
    pnl: Decimal | None
    pnl_percent: Decimal | None
    unrealized_pnl: Decimal | None
    exit_return: Decimal | None
    risk_level: str
    liquidation_distance: Decimal | None
    zscore: Decimal | None
    marked_at: datetime | None


class Pause(Protocol):
    """What a stream waits on between two looks: a threading.Event, set when the process is to end."""

    def wait(self, timeout: float) -> bool: ...


class Feed:
    """What has happened at one desk, as numbered frames of text, the newest `BACKLOG_MAX` of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=BACKLOG_MAX)
        self._number = 0
        self._looked_at: float | None = None
        self._begun = False
        self._newest: TradeId | None = None
        self._live: dict[TradeId, Trade] = {}
        self._standing: dict[PositionId, Position] = {}
        self._views: dict[PositionId, PositionView] = {}
        self._lines: frozenset[str] = frozenset()
        self._trouble: Mapping[str, object] | None = None

    def opening(self, desk: Desk) -> tuple[int, bytes]:
        """What a new stream begins with, and the number of the last frame that it holds already."""
        with self._lock:
            self._look_when_due(desk)
            frame = _frame(self._number, "positions", [*self._views.values()])
            if self._trouble is not None:
                frame += _frame(self._number, "problems", [self._trouble])
            return self._number, frame

    def since(self, desk: Desk, number: int) -> tuple[int, bytes]:
        """The frames after *number*, as one, and the number of the last."""
        with self._lock:
            self._look_when_due(desk)
            return self._number, b"".join(frame for place, frame in self._frames if place > number)

    def _look_when_due(self, desk: Desk) -> None:
        now = desk.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < POLL_SECONDS:
            return
        self._looked_at = now
        try:
            self._look(desk)
        except DeskError as error:
            self._tell_trouble(error)
        else:
            if self._trouble is not None:
                self._trouble = None
                self._add("problems", [])

    def _look(self, desk: Desk) -> None:
        # Every stream waits for it with its news of trades, which need no venue.
        desk = patient(desk)
        book = desk.store.book()
        every, standing = book.trades(), {one.id: one for one in book.standing_positions()}
        ended = [now for one in self._live if (now := book.find_trade(one)) is not None and now is not self._live[one]]
        trades = {one.id: one for one in (*ended, *_after(every, self._newest))}
        moved = {one.terms.position_id for one in trades.values()}
        moved |= {key for key, one in standing.items() if one is not self._standing.get(key)}
        moved |= self._standing.keys() - standing.keys()
        marked = {key: view.marked_at for key, view in self._views.items()}
        self._views = _views_of(desk, standing)
        if self._begun:
            self._tell("trades", [queries.trade(desk, one) for one in [*trades][:ITEMS_MAX]])
            shown = [self._views.get(one) or queries.position(desk, one) for one in sorted(moved)]
            self._tell("positions", shown)
        self._tell("marks", [mark_view(one) for key, one in self._views.items() if marked.get(key) != one.marked_at])
        self._newest = every[-1].id if every else None
        self._live = {one.id: one for one in book.live_trades()}
        self._standing = standing
        self._look_at_log(desk)
        self._begun = True

    def _look_at_log(self, desk: Desk) -> None:
        lines = {str(one.get("id")): one for one in desk.log.tail(LOG_LINES_MAX)}
        if self._begun:
            self._tell("logs", [one for key, one in lines.items() if key not in self._lines])
        self._lines = frozenset(lines)

    def _tell(self, name: str, items: Sequence[object]) -> None:
        if items:
            self._add(name, items)

    def _add(self, name: str, items: Sequence[object]) -> None:
        self._number += 1
        self._frames.append((self._number, _frame(self._number, name, items)))

    def _tell_trouble(self, error: DeskError) -> None:
        """Once, not at every look, for as long as it lasts; that it is over is an event without problems."""
        body = of_desk_error(error).body
        if body != self._trouble:
            self._trouble = body
            self._add("problems", [body])


class Stream:
    """One client's frames. Whoever serves it closes it, and then its place is free again."""

    def __init__(
        self, desk: Desk, feed: Feed, gone: Callable[[], bool], pause: Pause, until: datetime | None = None
    ) -> None:
        self._desk = desk
        self._feed = feed
        self._gone = gone
        self._pause = pause
        self._until = until
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        clock = self._desk.clock
        ends = clock.monotonic() + STREAM_SECONDS_MAX
        beats = clock.monotonic() + HEARTBEAT_SECONDS
        number, frames = self._feed.opening(self._desk)
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS + frames
        while not self._pause.wait(min(POLL_SECONDS, max(beats - clock.monotonic(), 0.0))):
            if self._gone() or clock.monotonic() >= ends or self._is_over():
                return
            number, frames = self._feed.since(self._desk, number)
            if clock.monotonic() >= beats:
                beats = clock.monotonic() + HEARTBEAT_SECONDS
                frames += HEARTBEAT
            if frames:
                yield frames

    def _is_over(self) -> bool:
        """The session that opened it has ended."""
        return self._until is not None and self._desk.clock.now() >= self._until

    def close(self) -> None:
        """May be called more than once."""
        if self._open:
            self._open = False
            _places.release()


def open_stream(desk: Desk, environ: Mapping[str, object], until: datetime | None = None) -> Stream | None:
    """A stream of *desk* for the request of *environ*, which ends at *until* at the latest; None when all places are
    taken."""
    if not _places.acquire(blocking=False):
        return None
    return Stream(desk, _feed_of(desk.clock), hung_up(environ), STOPPING, until)


def hung_up(environ: Mapping[str, object]) -> Callable[[], bool]:
    """Asks whether the client has closed its connection, where the server and the system can tell; else never.

    Without it a client that is gone is noticed at the second write after it went, which may be two heartbeats.
    """
    fileno = getattr(environ.get("gunicorn.socket"), "fileno", None)
    if fileno is None or not hasattr(select, "POLLRDHUP"):
        return lambda: False
    poll = select.poll()
    poll.register(fileno(), select.POLLRDHUP)
    return lambda: bool(poll.poll(0))


def mark_view(view: PositionView) -> MarkView:
    """The moving part of a position."""
    return MarkView(
        position_id=view.position_id,
        pair=view.pair,
        long_price=view.long.mark_price,
        short_price=view.short.mark_price,
        long_unrealized_pnl=view.long.unrealized_pnl,
        short_unrealized_pnl=view.short.unrealized_pnl,
        current_spread=view.current_spread,
        pnl=view.pnl,
        pnl_percent=view.pnl_percent,
        unrealized_pnl=view.unrealized_pnl,
        exit_return=view.exit_return,
        risk_level=view.risk_level,
        liquidation_distance=view.liquidation_distance,
        zscore=None if view.zscore is None else view.zscore.current,
        marked_at=view.marked_at,
    )


def end_streams_on_signals() -> None:
    """Let every stream end when the process is told to: a server that ends gracefully waits for its requests.

    To be called once the server has set its own answers to signals, which are called after ours.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # The development server reads this in a thread; its own threads end with it.
    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGQUIT", signal.SIGTERM)):
        _end_streams_before(number, signal.getsignal(number))


def _end_streams_before(number: int, answer: object) -> None:
    if not callable(answer):
        return

    def stop(received: int, frame: FrameType | None) -> None:
        STOPPING.set()
        answer(received, frame)

    signal.signal(number, stop)


def _after(trades: Sequence[Trade], newest: TradeId | None) -> list[Trade]:
    """The trades accepted after *newest*, oldest first and no more than the latest `ITEMS_MAX`."""
    fresh: list[Trade] = []
    for trade in reversed(trades):
        if trade.id == newest or len(fresh) == ITEMS_MAX:
            break
        fresh.append(trade)
    return fresh[::-1]


def _views_of(desk: Desk, standing: Mapping[PositionId, Position]) -> dict[PositionId, PositionView]:
    statuses = dict.fromkeys(one.status for one in standing.values())
    pages = [queries.positions(desk, status, PAGE_MAX, None)[0] for status in statuses]
    views = {view.position_id: view for page in pages for view in page}
    return {key: views[key] for key in standing if key in views}


def _frame(number: int, name: str, items: Iterable[object]) -> bytes:
    content = json.dumps([render(one) for one in items], separators=(",", ":"))
    return f"event: {name}\nid: {number}\ndata: {content}\n\n".encode()


STOPPING = threading.Event()
_places = threading.BoundedSemaphore(STREAMS_MAX)
# One to a clock, as throttling counts: seconds of another clock mean nothing.
_feeds: WeakKeyDictionary[Clock, Feed] = WeakKeyDictionary()
_feeds_lock = threading.Lock()


def _feed_of(clock: Clock) -> Feed:
    with _feeds_lock:
        return _feeds.setdefault(clock, Feed())
