"""The book: every trade that matters still, in memory, indexed, with the positions they add up to.

A store keeps one and feeds it; engines read it. Methods return copies, so a reader is never disturbed by a writer. What
ended long ago has left the memory for the `History`: whatever is asked for by name is found in either place, lists of
everything come in pages, and what is in both is taken from the memory, which is never older.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal
from heapq import merge
from itertools import dropwhile, takewhile
from threading import RLock
from typing import Protocol, TypeVar

from trading.domain.errors import PositionNotFound, TradeNotFound
from trading.domain.exit_plan import LOSING
from trading.domain.market import Pair
from trading.domain.positions import Position, PositionStatus, Watch, first_watch, position_of
from trading.domain.trades import Trade
from trading.domain.units import DOLLAR, ZERO, PositionId, TradeId

# Sums of many amounts of any length, without rounding: what is added can be taken away again.
EXACT = Context(prec=200)
CLOCKS_APART_MAX = timedelta(minutes=1)
_Record = TypeVar("_Record", Trade, Position)


@dataclass(frozen=True, slots=True)
class Sums:
    """What positions add up to, USD: `realized` gross of fees and funding, `funding` positive when paid."""

    positions: int = 0
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO

    def plus(self, other: "Sums") -> "Sums":
        return Sums(
            self.positions + other.positions,
            EXACT.add(self.realized, other.realized),
            EXACT.add(self.fees, other.fees),
            EXACT.add(self.funding, other.funding),
        )

    def minus(self, other: "Sums") -> "Sums":
        return self.plus(Sums(-other.positions, -other.realized, -other.fees, -other.funding))


def sums_of(positions: Iterable[Position]) -> Sums:
    """The sums of *positions*."""
    total = Sums()
    for one in positions:
        total = total.plus(Sums(1, one.realized, one.fees, one.funding))
    return total


class History(Protocol):
    """What has ended and left the memory. Every read may raise StoreCorrupt."""

    def trade(self, trade_id: TradeId) -> Trade | None: ...

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        """The opening trades of a signal, first attempt first."""

    def trade_of_key(self, request_key: str) -> Trade | None: ...

    def trade_of_approval(self, approval_id: str) -> TradeId | None: ...

    def has_position(self, position_id: PositionId) -> bool:
        """Costs no reading."""

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        """Nothing for a position that is not there; the opening trade first."""

    def watch(self, position_id: PositionId) -> Watch | None: ...

    def losing_exits(self) -> Mapping[Pair, datetime]: ...

    def sums(self) -> Sums: ...

    def trade_count(self) -> int: ...

    def positions(self, until: datetime | None = None) -> Iterator[Position]:
        """Newest first by `entered_at`, those entered after *until* left out; read as they are taken."""

    def trades(self, until: datetime | None = None) -> Iterator[Trade]:
        """Newest first by acceptance, those accepted after *until* left out; read as they are taken."""


class NoHistory:
    """The history of a book that keeps everything in memory."""

    def trade(self, trade_id: TradeId) -> Trade | None:
        return None

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        return ()

    def trade_of_key(self, request_key: str) -> Trade | None:
        return None

    def trade_of_approval(self, approval_id: str) -> TradeId | None:
        return None

    def has_position(self, position_id: PositionId) -> bool:
        return False

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        return ()

    def watch(self, position_id: PositionId) -> Watch | None:
        return None

    def losing_exits(self) -> Mapping[Pair, datetime]:
        return {}

    def sums(self) -> Sums:
        return Sums()

    def trade_count(self) -> int:
        return 0

    def positions(self, until: datetime | None = None) -> Iterator[Position]:
        return iter(())

    def trades(self, until: datetime | None = None) -> Iterator[Trade]:
        return iter(())


class Book:
    """Trades, watches and positions. Iteration order is the order of acceptance."""

    def __init__(self, history: History | None = None) -> None:
        self._history: History = history if history is not None else NoHistory()
        self._lock = RLock()
        self._trades: dict[TradeId, Trade] = {}
        self._live: dict[TradeId, Trade] = {}
        self._of_signal: dict[str, list[TradeId]] = {}
        self._of_key: dict[str, TradeId] = {}
        self._of_position: dict[PositionId, list[TradeId]] = {}
        self._watches: dict[PositionId, Watch] = {}
        self._positions: dict[PositionId, Position] = {}
        self._standing: dict[PositionId, Position] = {}
        self._approvals: dict[str, TradeId] = {}
        self._untold: dict[PositionId, Position] = {}
        self._guarded: dict[PositionId, Position] = {}
        self._losing_exits: dict[Pair, datetime] = {}
        # Few among many, for what is asked at every look at a trade.
        self._written_off: dict[TradeId, Trade] = {}
        self._adopted: dict[TradeId, Trade] = {}
        self._ended_closes: dict[TradeId, Trade] = {}

    def put_trade(self, trade: Trade) -> None:
        """Take in a new trade or a newer version of a known one."""
        with self._lock:
            if trade.id not in self._trades:
                self._index(trade)
            self._trades[trade.id] = trade
            if trade.live:
                self._live[trade.id] = trade
            else:
                self._live.pop(trade.id, None)
            self._pick_out(trade)
            self._project(trade.terms.position_id)

    def put_watch(self, watch: Watch) -> None:
        """Take in the watch of a position; its trades may follow later."""
        with self._lock:
            self._watches[watch.position_id] = watch
            if watch.position_id in self._of_position:
                self._project(watch.position_id)

    def recall(self, position_id: PositionId) -> None:
        """Take a position back from the history, with what the memory knows of it already left as it is."""
        trades, watch = self._history.trades_of_position(position_id), self._history.watch(position_id)
        with self._lock:
            if watch is not None:
                self._watches.setdefault(position_id, watch)
            later = self._of_position.get(position_id, [])
            for trade in trades:
                if trade.id not in self._trades:
                    self._index(trade)
                    self._trades[trade.id] = trade
                    self._pick_out(trade)
            if trades:
                first = [trade.id for trade in trades]
                self._of_position[position_id] = first + [one for one in later if one not in first]
                self._project(position_id)

    def forget(self, position_ids: Iterable[PositionId]) -> None:
        """Let go of positions that the history has taken over."""
        with self._lock:
            for position_id in position_ids:
                for trade_id in self._of_position.pop(position_id, ()):
                    self._unindex(self._trades.pop(trade_id))
                    for picked in (self._live, self._written_off, self._adopted, self._ended_closes):
                        picked.pop(trade_id, None)
                for known in (self._watches, self._positions, self._standing, self._untold, self._guarded):
                    known.pop(position_id, None)

    def holds(self, position_id: PositionId) -> bool:
        """Whether any trade of the position is in memory."""
        with self._lock:
            return position_id in self._of_position

    def trades(self) -> tuple[Trade, ...]:
        """Those in memory: everything but what ended so long ago that it was archived."""
        with self._lock:
            return tuple(self._trades.values())

    def live_trades(self) -> tuple[Trade, ...]:
        with self._lock:
            return tuple(self._live.values())

    def written_off(self) -> tuple[Trade, ...]:
        """The trades in memory that have found some of their holding gone, in the order of the finding."""
        with self._lock:
            return tuple(self._written_off.values())

    def adopted(self) -> tuple[Trade, ...]:
        """The trades in memory of what was taken over because the venue held it already, oldest first."""
        with self._lock:
            return tuple(self._adopted.values())

    def closes_ended_since(self, at: datetime) -> tuple[Trade, ...]:
        """The closes that ended at *at* or later, newest first. Looks at no more than those and a minute before, in
        which another clock's may stand."""
        with self._lock:
            recent = takewhile(
                lambda one: one.ended_at is not None and one.ended_at >= at - CLOCKS_APART_MAX,
                reversed(self._ended_closes.values()),
            )
            return tuple(one for one in recent if one.ended_at is not None and one.ended_at >= at)

    def trade(self, trade_id: TradeId) -> Trade:
        """Raises TradeNotFound."""
        trade = self.find_trade(trade_id)
        if trade is None:
            raise TradeNotFound(f"there is no trade {trade_id}")
        return trade

    def find_trade(self, trade_id: TradeId) -> Trade | None:
        with self._lock:
            trade = self._trades.get(trade_id)
        return trade if trade is not None else self._history.trade(trade_id)

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        """The opening trades of a signal, first attempt first."""
        found = {trade.id: trade for trade in self._history.trades_of_signal(signal_id)}
        with self._lock:
            found |= {trade_id: self._trades[trade_id] for trade_id in self._of_signal.get(signal_id, ())}
        return tuple(found.values())

    def trade_of_key(self, request_key: str) -> Trade | None:
        """The opening trade that a request key made, if it made one."""
        with self._lock:
            trade_id = self._of_key.get(request_key)
            if trade_id is not None:
                return self._trades[trade_id]
        return self._history.trade_of_key(request_key)

    def trade_of_approval(self, approval_id: str) -> TradeId | None:
        with self._lock:
            trade_id = self._approvals.get(approval_id)
        return trade_id if trade_id is not None else self._history.trade_of_approval(approval_id)

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        """The opening trade of a position and its closing trades, oldest first."""
        with self._lock:
            if position_id in self._of_position:
                return tuple(self._trades[trade_id] for trade_id in self._of_position[position_id])
        return self._history.trades_of_position(position_id)

    def watch(self, position_id: PositionId) -> Watch | None:
        with self._lock:
            if position_id in self._of_position or position_id in self._watches:
                return self._watches.get(position_id)
        return self._history.watch(position_id)

    def watch_of(self, position_id: PositionId) -> Watch:
        """The same, or what a position begins with while nothing is written down. Raises PositionNotFound."""
        return self.watch(position_id) or first_watch(self.trade(self.position(position_id).trade_id))

    def position(self, position_id: PositionId) -> Position:
        """Raises PositionNotFound."""
        with self._lock:
            position = self._positions.get(position_id)
        if position is None and not self.holds(position_id):
            trades = self._history.trades_of_position(position_id)
            position = position_of(trades, self._history.watch(position_id)) if trades else None
        if position is None:
            raise PositionNotFound(f"there is no position {position_id}")
        return position

    def positions(self) -> tuple[Position, ...]:
        """Those in memory, newest first: everything but what ended so long ago that it was archived."""
        with self._lock:
            return tuple(reversed(self._positions.values()))

    def page_of_positions(
        self, limit: int, before: PositionId | None = None, status: PositionStatus | None = None
    ) -> tuple[tuple[Position, ...], int]:
        """At most *limit* positions older than *before*, newest first, and how many there are in all with *status*.

        Reads through to the history and keeps no more than the page. Raises PositionNotFound for an unknown *before*.
        """
        known = [one for one in self.positions() if status is None or one.status is status]
        archived = status in (None, PositionStatus.CLOSED)
        mark = self.position(before) if before is not None else None
        found = self._page(
            known,
            self._history.positions if archived else NoHistory().positions,
            lambda one: one.entered_at,
            lambda one: self.holds(one.id),
            mark,
            limit,
        )
        absent = self._history.sums().positions
        if absent:
            absent -= sum(self._history.has_position(one.id) for one in self.positions())
        return found, len(known) + (absent if archived else 0)

    def page_of_trades(self, limit: int, before: TradeId | None = None) -> tuple[tuple[Trade, ...], int]:
        """At most *limit* trades older than *before*, newest first, and how many there are in all.

        Raises TradeNotFound for an unknown *before*.
        """
        known = self.trades()[::-1]
        mark = self.trade(before) if before is not None else None
        found = self._page(
            known,
            self._history.trades,
            lambda one: one.terms.accepted_at,
            lambda one: self.holds(one.terms.position_id),
            mark,
            limit,
        )
        both = {one.terms.position_id for one in known if self._history.has_position(one.terms.position_id)}
        archived = sum(len(self._history.trades_of_position(one)) for one in both)
        return found, len(known) + self._history.trade_count() - archived

    def all_positions(self) -> Iterator[Position]:
        """Every position there ever was, newest first by `entered_at`; archived ones are read as they are taken."""
        known = _by_age(self.positions(), lambda one: one.entered_at)
        archived = (one for one in self._history.positions() if not self.holds(one.id))
        return merge(known, archived, key=lambda one: one.entered_at, reverse=True)

    def sums(self) -> Sums:
        """What all positions add up to, archived ones included."""
        known = self.positions()
        both = [one.id for one in known if self._history.has_position(one.id)]
        again = (position_of(self._history.trades_of_position(one), self._history.watch(one)) for one in both)
        return self._history.sums().minus(sums_of(again)).plus(sums_of(known))

    def standing_positions(self) -> tuple[Position, ...]:
        """Those that are not closed, oldest first: what limits count and sweeps look at."""
        with self._lock:
            return tuple(self._standing.values())

    def untold(self) -> tuple[Position, ...]:
        """Closed positions whose end Guardian has approved the beginning of and has not been told yet."""
        with self._lock:
            return tuple(self._untold.values())

    def guarded_after_end(self) -> tuple[Position, ...]:
        """Closed positions for which something may still rest at the venue."""
        with self._lock:
            return tuple(self._guarded.values())

    def losing_exits(self) -> Mapping[Pair, datetime]:
        """When each pair was last left by a losing exit."""
        archived = self._history.losing_exits()
        with self._lock:
            later = {pair: max(at, archived.get(pair, at)) for pair, at in self._losing_exits.items()}
        return {**archived, **later}

    def _page(
        self,
        known: Iterable[_Record],
        archived: Callable[[datetime | None], Iterator[_Record]],
        at: Callable[[_Record], datetime],
        held: Callable[[_Record], bool],
        mark: _Record | None,
        limit: int,
    ) -> tuple[_Record, ...]:
        """Of one instant, what is in memory comes first, in the order given; then the history, in its own."""
        inside = _by_age(known, at)
        if mark is None:
            outside = archived(None)
        elif held(mark):
            inside = _after(inside, mark, at)
            outside = archived(at(mark))
        else:
            inside = [one for one in inside if at(one) < at(mark)]
            outside = iter(_skipped(archived(at(mark)), mark))
        merged = merge(inside, (one for one in outside if not held(one)), key=at, reverse=True)
        return tuple(one for _, one in zip(range(limit), merged, strict=False))

    def _pick_out(self, trade: Trade) -> None:
        if trade.gone:
            self._written_off[trade.id] = trade
        if trade.terms.pair.quote == DOLLAR:
            self._adopted[trade.id] = trade
        if not trade.opens and trade.ended_at is not None:
            self._ended_closes[trade.id] = trade

    def _index(self, trade: Trade) -> None:
        terms = trade.terms
        ids = self._of_position.setdefault(terms.position_id, [])
        ids.append(trade.id)
        if trade.opens:
            if terms.signal is not None:
                self._of_signal.setdefault(terms.signal.id, []).append(trade.id)
            if terms.request_key:
                self._of_key[terms.request_key] = trade.id
            if terms.approval is not None:
                self._approvals[terms.approval.id] = trade.id

    def _unindex(self, trade: Trade) -> None:
        terms = trade.terms
        if terms.signal is not None and trade.opens:
            rest = [one for one in self._of_signal.pop(terms.signal.id, ()) if one != trade.id]
            if rest:
                self._of_signal[terms.signal.id] = rest
        if self._of_key.get(terms.request_key) == trade.id:
            del self._of_key[terms.request_key]
        if terms.approval is not None and self._approvals.get(terms.approval.id) == trade.id:
            del self._approvals[terms.approval.id]

    def _project(self, position_id: PositionId) -> None:
        trades = [self._trades[trade_id] for trade_id in self._of_position[position_id] if trade_id in self._trades]
        if not trades or not trades[0].opens:
            return
        position = position_of(trades, self._watches.get(position_id))
        self._positions[position_id] = position
        watch = self._watches.get(position_id)
        if position.closed and position.approval is not None and not (watch is not None and watch.outcome_told):
            self._untold[position_id] = position
        else:
            self._untold.pop(position_id, None)
        if position.closed and watch is not None and watch.resting:
            self._guarded[position_id] = position
        else:
            self._guarded.pop(position_id, None)
        if position.closed:
            self._standing.pop(position_id, None)
            if position.exit_reason in LOSING and position.exited_at is not None:
                last = self._losing_exits.get(position.pair, position.exited_at)
                self._losing_exits[position.pair] = max(last, position.exited_at)
        else:
            self._standing[position_id] = position


def _by_age(records: Iterable[_Record], at: Callable[[_Record], datetime]) -> list[_Record]:
    """Newest first; of one instant in the order given."""
    return sorted(records, key=at, reverse=True)


def _after(records: list[_Record], mark: _Record, at: Callable[[_Record], datetime]) -> list[_Record]:
    """What comes after *mark*, which may itself have been left out of the list."""
    places = [place for place, one in enumerate(records) if one.id == mark.id]
    return records[places[0] + 1 :] if places else [one for one in records if at(one) < at(mark)]


def _skipped(records: Iterator[_Record], mark: _Record) -> Iterator[_Record]:
    """What comes after *mark* in *records*."""
    rest = dropwhile(lambda one: one.id != mark.id, records)
    next(rest, None)
    return rest


def book_of(trades: Iterable[Trade], watches: Iterable[Watch] = ()) -> Book:
    """A book of its own from loose records: for verification and for tests."""
    book = Book()
    for watch in watches:
        book.put_watch(watch)
    for trade in trades:
        book.put_trade(trade)
    return book
