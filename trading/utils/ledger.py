"""The lines of a DATA_DIR and what they mean: events folded to trades, trades projected to positions, the desk's state.

The law: a trade is what its lines fold to; one that does not fold is set aside, and the others go on. Pure but for what
the book reads of its history.

trades.json     one line an event: `id` (the trade's), `version` (which event of it), its summary after it, and `event`
positions.json  one line a change: the position as the outside names it, `as_of` (the last line of the ledger that this
                file knows of) and `watch`, the only part that is not derived
desk.json       one line, replaced as a whole
archive/        what ended and was rolled out, see `archive`
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from trading.domain.book import Book, History
from trading.domain.codec import (
    Json,
    decode_event,
    decode_state,
    decode_watch,
    encode_event,
    encode_position,
    encode_state,
)
from trading.domain.desk_state import DeskState
from trading.domain.errors import InvariantBroken, PositionNotFound, StoreCorrupt
from trading.domain.positions import Position, Watch
from trading.domain.trades import CancelWanted, CloseHurried, Event, LegLost, Trade, accept, record
from trading.domain.units import Coin, PositionId, TradeId
from trading.utils.journal import SCHEMA, Entry
from trading.utils.sealing import sealed, unsealed

LEDGER, BOOK, STATE, LOG, BEAT = "trades.json", "positions.json", "desk.json", "agent_logs.json", "monitor.beat"
RESCUE, RESERVE, ARCHIVE = "rescue.json", "reserve", "archive"
LEDGER_LOCK = "ledger.lock"
# Of one save of a trade: the simulation has seen three.
APPEND_LINES_MAX = 8


class Fold:
    """What the lines read so far add up to. A file that was replaced begins a new one.

    The first line of a trade that was archived is not its first event: what it follows is then read from *history*.
    """

    def __init__(self, generation: tuple[int, int] = (0, 0), history: History | None = None) -> None:
        self.generation = generation
        self.book = Book(history)
        self.broken: dict[TradeId, str] = {}
        self.as_of = 0
        self.own: Trade | None = None
        self._history = history
        self._broken_positions: set[PositionId] = set()
        self._broken_coins: dict[PositionId, set[Coin]] = {}
        self._closed: set[PositionId] = set()
        self._watches: dict[PositionId, Watch] = {}
        self._unplaced: set[PositionId] = set()
        self._touched: dict[PositionId, int] = {}
        self._ahead: set[PositionId] = set()
        self._seen: set[TradeId] = set()
        self._recalled: set[TradeId] = set()

    def take_events(self, entries: Sequence[Entry], path: Path) -> None:
        """Fold ledger lines. A trade that does not fold is set aside; a line of no trade is StoreCorrupt."""
        folded: dict[TradeId, Trade] = {self.own.id: self.own} if self.own is not None else {}
        for entry in entries:
            trade_id, position_id = TradeId(word_of(entry, "id", path)), PositionId(word_of(entry, "position_id", path))
            self._touched[position_id] = entry.seq
            if trade_id in self.broken:
                self._note_coins(entry, position_id)
                continue
            goes_on = trade_id in self._seen or entry.content.get("version") != 1
            if goes_on and trade_id not in self._seen:
                self._recalled.add(trade_id)
            self._seen.add(trade_id)
            if self._wrote(entry, trade_id):
                continue
            try:
                before = folded.get(trade_id) or (self.book.find_trade(trade_id) if goes_on else None)
                folded[trade_id] = next_step(before, entry, trade_id)
            except (StoreCorrupt, InvariantBroken) as error:
                folded.pop(trade_id, None)
                self._note_coins(entry, position_id)
                self._set_aside(trade_id, position_id, f"{path}:{entry.line}: {error.detail}")
        self.own = None
        for trade in folded.values():
            try:
                self._recall_for(trade)
                self.book.put_trade(trade)
            except (StoreCorrupt, InvariantBroken) as error:
                self._set_aside(trade.id, trade.terms.position_id, f"{path}: {error.detail}")

    def take_lines(self, entries: Sequence[Entry], path: Path, ledger_seq: int) -> None:
        """Take in position lines: their watches, and how far into the ledger they reach."""
        for entry in entries:
            position_id = PositionId(word_of(entry, "id", path))
            as_of, content = entry.content.get("as_of"), entry.content.get("watch")
            if not isinstance(as_of, int):
                raise malformed(entry, "as_of", path)
            self.as_of = as_of
            if entry.content.get("status") == "closed":
                self._closed.add(position_id)
            else:
                self._closed.discard(position_id)
            if as_of > ledger_seq:
                self._ahead.add(position_id)
            else:
                self._ahead.discard(position_id)
            if content is None:
                continue
            try:
                watch = decode_watch(content)
            except StoreCorrupt as error:
                trade_id = TradeId(word_of(entry, "trade_id", path))
                self._set_aside(trade_id, position_id, f"{path}:{entry.line}: {error.detail}")
                continue
            self._take_watch(watch)
        self._place_watches()

    def take_watches(self, entries: Sequence[Entry], path: Path) -> None:
        """Take in nothing but the watches of position lines, before the events that they belong to."""
        for entry in entries:
            content, position_id = entry.content.get("watch"), PositionId(word_of(entry, "id", path))
            try:
                if content is not None:
                    self.book.put_watch(decode_watch(content))
            except StoreCorrupt:
                self._broken_positions.add(position_id)

    def require_ledger(self, ledger_seq: int, path: Path, *, torn: bool) -> None:
        """Raises StoreCorrupt when position lines know of more than the ledger now holds: of a *torn* one, of more
        than the append that was cut off can have had."""
        excused = APPEND_LINES_MAX if torn and ledger_seq > 0 else 0
        if self.as_of > ledger_seq + excused:
            last = ledger_seq + 1
            known = f"{BOOK} knows of line {self.as_of + 1}"
            raise StoreCorrupt(f"{path}:{last} is the last line, but {known}", file=str(path), line=last)

    def behind(self, ledger_seq: int) -> list[tuple[PositionId, int]]:
        """The positions whose lines are older than the ledger, in its order, each with how far it then reaches.

        Those that know of ledger lines which a torn tail took with it come last.
        """
        self._touched = {one: seq for one, seq in self._touched.items() if seq > self.as_of}
        stale = sorted(self._touched.items(), key=lambda item: item[1])
        return [
            (position_id, as_of)
            for position_id, as_of in [*stale, *((one, ledger_seq) for one in sorted(self._ahead))]
            if position_id not in self._broken_positions
        ]

    def ended(self, given_up_before: datetime | None = None) -> tuple[PositionId, ...]:
        """The positions in memory that nothing will change any more, but for late fees: closed, told, folding, nothing
        left at the venue, and with all their funding, or closed so long ago that nobody looks for it any more."""
        kept = {one.id for one in (*self.book.untold(), *self.book.guarded_after_end())} | self._broken_positions
        return tuple(
            one.id
            for one in reversed(self.book.positions())
            if one.closed and one.id not in kept and (self._funded(one) or _before(one.exited_at, given_up_before))
        )

    def _funded(self, position: Position) -> bool:
        """Whether no full hour that it was held at is left to be paid. Funding is paid by the hour."""
        if position.exited_at is None or position.entry_notional == 0:
            return position.exited_at is not None
        watch = self.book.watch(position.id)
        funded = watch.funded_until if watch is not None else None
        last = position.exited_at.replace(minute=0, second=0, microsecond=0)
        return last <= (funded or position.entered_at)

    def knows(self, position_id: PositionId) -> bool:
        """Whether the position has lines in the ledger or stands aside."""
        return position_id in self._broken_positions or self.book.holds(position_id)

    def _wrote(self, entry: Entry, trade_id: TradeId) -> bool:
        """True for a line that this process has just written, whose fold is known."""
        version = entry.content.get("version")
        own = self.own
        return own is not None and own.id == trade_id and isinstance(version, int) and version <= len(own.events)

    def _recall_for(self, trade: Trade) -> None:
        """What is archived of a position comes back before more is added to it."""
        position_id = trade.terms.position_id
        if self.book.holds(position_id) or self._history is None or not self._history.has_position(position_id):
            return
        if not trade.opens or trade.id in self._recalled:
            self.book.recall(position_id)

    def _take_watch(self, watch: Watch) -> None:
        self._watches[watch.position_id] = watch
        self.book.put_watch(watch)
        if not self.book.holds(watch.position_id):
            self._unplaced.add(watch.position_id)

    def _place_watches(self) -> None:
        """A watch over what was archived: it came later and is news, or it stayed behind and says nothing new."""
        for position_id in tuple(self._unplaced):
            if self.book.holds(position_id):
                self._unplaced.discard(position_id)
            elif self._history is not None and self._history.has_position(position_id):
                self._unplaced.discard(position_id)
                if self._history.watch(position_id) == self._watches[position_id]:
                    self.book.forget([position_id])
                else:
                    self.book.recall(position_id)

    def has_ended(self, position_id: PositionId) -> bool:
        """Whether the last line of a position in the book says that it is closed."""
        return position_id in self._closed

    @property
    def broken_coins(self) -> frozenset[Coin]:
        """The coins of trades that do not fold, but for those of positions that had ended before."""
        return frozenset().union(*(coins for one, coins in self._broken_coins.items() if one not in self._closed))

    def _note_coins(self, entry: Entry, position_id: PositionId) -> None:
        """Which coins a trade that does not fold has traded: each line of it says so by itself."""
        words = (entry.content.get(name) for name in ("long_coin", "short_coin"))
        self._broken_coins.setdefault(position_id, set()).update(Coin(one) for one in words if isinstance(one, str))

    def _set_aside(self, trade_id: TradeId, position_id: PositionId, why: str) -> None:
        self.broken[trade_id] = why
        self._broken_positions.add(position_id)
        if trade_id in {trade.id for trade in self.book.trades()}:
            others = [trade for trade in self.book.trades() if trade.id != trade_id]
            self.book = Book(self._history)
            for watch in self._watches.values():
                self.book.put_watch(watch)
            for trade in others:
                self.book.put_trade(trade)


def _before(at: datetime | None, limit: datetime | None) -> bool:
    return at is not None and limit is not None and at < limit


def state_of(content: bytes, path: Path) -> DeskState:
    """The desk state in the bytes of desk.json. Raises StoreCorrupt: a damaged state is no state, and never ACTIVE."""
    body = unsealed(content.removesuffix(b"\n"))
    if body is None:
        raise StoreCorrupt(f"{path}:1 is damaged", file=str(path), line=1)
    schema = body.pop("schema", None)
    if schema != SCHEMA:
        word = f"has schema {schema}, this version knows {SCHEMA}: use the version that wrote it"
        raise StoreCorrupt(f"{path}:1 {word}", file=str(path), line=1, schema=schema)
    body.pop("checksum")
    try:
        return decode_state(body)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{path}:1: {error.detail}", file=str(path), line=1) from error


def content_of(state: DeskState) -> bytes:
    """The bytes of a desk.json that says *state*."""
    return sealed({"schema": SCHEMA, **encode_state(state)}) + b"\n"


def steps_after(stored: Trade | None, trade: Trade) -> list[Trade]:
    """The trade after each event of *trade* that is not in *stored* yet.

    Where another hand wanted it cancelled or hurried meanwhile, or found something of it lost, the new events follow
    that, and none is older than it.
    """
    before = stored.events if stored is not None else ()
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, trade.events, strict=False)))
    fresh, intruders = trade.events[common:], before[common:]
    if fresh and not all(isinstance(event, CancelWanted | CloseHurried | LegLost) for event in intruders):
        raise InvariantBroken("the stored trade has gone another way", trade_id=trade.id)
    steps: list[Trade] = []
    latest = stored
    for event in fresh:
        latest = accept(event) if latest is None else record(latest, _not_before(latest, event))
        steps.append(latest)
    return steps


def _not_before(trade: Trade, event: Event) -> Event:
    return event if event.at >= trade.events[-1].at else replace(event, at=trade.events[-1].at)


def next_step(before: Trade | None, entry: Entry, trade_id: TradeId) -> Trade:
    due = 1 if before is None else len(before.events) + 1
    if entry.content.get("version") != due:
        raise InvariantBroken(f"event {entry.content.get('version')} of {trade_id} where {due} is due")
    event = decode_event(entry.content.get("event"))
    trade = accept(event) if before is None else record(before, event)
    if trade.id != trade_id:
        raise InvariantBroken(f"an event of {trade.id} under the name of {trade_id}")
    return trade


def ledger_record(trade: Trade) -> dict[str, Json]:
    """The line of the newest event of *trade*."""
    terms = trade.terms
    return {
        "id": trade.id,
        "version": len(trade.events),
        "position_id": terms.position_id,
        "effect": terms.effect.value,
        "pair": str(terms.pair),
        "signal_id": terms.signal.id if terms.signal is not None else None,
        "status": trade.status.value,
        "long_coin": terms.long.coin,
        "long_filled": format(trade.filled(terms.long.coin), "f"),
        "short_coin": terms.short.coin,
        "short_filled": format(trade.filled(terms.short.coin), "f"),
        "fees": format(trade.fees, "f"),
        "event": encode_event(trade.events[-1]),
    }


def projection(book: Book, position_id: PositionId) -> dict[str, Json]:
    """The derived part of a position's line. A position whose opening trade a torn tail took with it is unknown."""
    try:
        return encode_position(book.position(position_id))
    except PositionNotFound:
        return {"position_id": position_id, "status": "unknown"}


def word_of(entry: Entry, name: str, path: Path) -> str:
    value = entry.content.get(name)
    if not isinstance(value, str):
        raise malformed(entry, name, path)
    return value


def malformed(entry: Entry, name: str, path: Path) -> StoreCorrupt:
    return StoreCorrupt(f"{path}:{entry.line} has no {name}", file=str(path), line=entry.line)
