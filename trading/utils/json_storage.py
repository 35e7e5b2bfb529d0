"""The Store port on JSON files: trades.json is the truth, positions.json derived from it, desk.json the desk's state.

The law: a trade is what its lines in the ledger fold to; nothing is acknowledged before it is on disk; corrupt is never
empty, and nothing but ACTIVE, read from an undamaged file, is ACTIVE.

trades.json     one line an event: `id` (the trade's), `version` (which event of it), its summary after it, and `event`
positions.json  one line a change: the position as the outside names it, `as_of` (the last line of the ledger that this
                file knows of) and `watch`, the only part that is not derived
desk.json       one line, replaced as a whole
monitor.beat    an instant

Locks, outermost first: a seat (one trade), the book (limits re-checked, a trade accepted), the ledger (both journals,
for the length of an append), the desk (its state). The system frees them when their holder dies.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from filelock import FileLock

from trading.domain.book import Book, book_of
from trading.domain.codec import (
    Json,
    decode_event,
    decode_state,
    decode_watch,
    encode_event,
    encode_position,
    encode_state,
    encode_watch,
)
from trading.domain.desk_state import Binding, DeskState
from trading.domain.errors import Busy, InvariantBroken, PositionNotFound, StoreCorrupt
from trading.domain.positions import Watch, first_watch
from trading.domain.trades import CancelWanted, Event, Trade, accept, record
from trading.domain.units import PositionId, TradeId
from trading.utils.journal import (
    SCHEMA,
    Disk,
    Entry,
    Journal,
    Stamp,
    SystemDisk,
    sealed,
    trouble_told,
    unsealed,
)
from trading.utils.locks import DIRECTORY_MODE, ProcessLock, acquire, file_lock, make_directory

LEDGER, BOOK, STATE, LOG, BEAT = "trades.json", "positions.json", "desk.json", "agent_logs.json", "monitor.beat"
LEDGER_LOCK = "ledger.lock"
APPEND_SECONDS = 2.0
BOOK_SECONDS = 2.0
MONITOR_SECONDS = 1.0
SMALL_BYTES_MAX = 1 << 20
_SEAT = re.compile(r"[A-Za-z0-9_-]{1,64}")


class JsonStore:
    """One process's view of a DATA_DIR. Threads share it; make it after a fork, not before.

    `broken` names the trades that did not fold when the book was last caught up, with the reason and its file and line:
    they are not in the book, the others are. `mended` lists what was torn and has been closed again.
    """

    def __init__(self, data_dir: Path, binding: Binding, *, disk: Disk | None = None) -> None:
        """Open, or begin, *data_dir*. Raises StoreCorrupt when it cannot be trusted or belongs to another *binding*."""
        self.data_dir = data_dir
        self._disk: Disk = disk if disk is not None else SystemDisk()
        make_directory(data_dir)
        locks = data_dir / "locks"
        self._seats = locks / "seats"
        make_directory(locks)
        make_directory(self._seats)
        with trouble_told(data_dir, "closed to others"):
            data_dir.chmod(DIRECTORY_MODE)
        self._ledger_lock = ProcessLock(locks / LEDGER_LOCK, "the ledger", APPEND_SECONDS, reentrant=True)
        self._book_lock = ProcessLock(locks / "book.lock", "the book", BOOK_SECONDS)
        self._desk_lock = ProcessLock(locks / "desk.lock", "the desk's state", APPEND_SECONDS)
        self._probe_lock = ProcessLock(locks / "monitor.probe.lock", "the look at the monitor", APPEND_SECONDS)
        self._monitor_path = locks / "monitor.lock"
        self._state_bytes: bytes | None = None
        self._state = DeskState()
        self._fold = _Fold()
        self._applied: tuple[Stamp | None, Stamp | None] = (None, None)
        with self._desk_lock.held():
            bound = self._disk.stamp(data_dir / STATE) is not None
            self._ledger = self._journal(LEDGER, must_exist=bound)
            self._positions = self._journal(BOOK, must_exist=bound)
            self._bind(binding, bound=bound)
        self.book()
        self._prune_seats()

    @property
    def broken(self) -> Mapping[TradeId, str]:
        return dict(self._fold.broken)

    @property
    def mended(self) -> tuple[str, ...]:
        return tuple(word for word in (self._ledger.mended, self._positions.mended) if word is not None)

    def close(self) -> None:
        """Let go of the files; the store is of no further use."""
        self._ledger.close()
        self._positions.close()

    def book(self) -> Book:
        """The book, caught up; two system calls and no lock when nobody has written."""
        if (self._ledger.stamp(), self._positions.stamp()) != self._applied or None in self._applied:
            with self._ledger_lock.held():
                self._catch_up()
        return self._fold.book

    def save(self, trade: Trade) -> Trade:
        """See the port. Each event is folded once more on its way to the disk; the projection follows it there."""
        with self._ledger_lock.held():
            self._catch_up()
            if trade.id in self._fold.broken:
                raise StoreCorrupt(f"trade {trade.id} does not fold: {self._fold.broken[trade.id]}", trade_id=trade.id)
            if trade.opens:
                first_watch(trade)  # without an exit plan there is no position to project
            stored = self._fold.book.find_trade(trade.id)
            steps = _steps_after(stored, trade)
            if not steps:
                return stored or trade
            self._ledger.append([_ledger_record(step) for step in steps])
            self._fold.own = steps[-1]
            self._catch_up()
            return steps[-1]

    def save_watch(self, watch: Watch) -> None:
        """Raises PositionNotFound when the ledger knows no such position."""
        with self._ledger_lock.held():
            self._catch_up()
            if not self._fold.book.trades_of_position(watch.position_id):
                raise PositionNotFound(f"there is no position {watch.position_id}")
            line = self._position_record(watch.position_id, self._fold.as_of)
            self._positions.append([{**line, "watch": encode_watch(watch)}])
            self._catch_up()

    def state(self) -> DeskState:
        """Read anew each time: the file is small, and no stamp tells two replacements within a clock tick apart."""
        content = self._read(STATE)
        if content != self._state_bytes:
            self._state, self._state_bytes = state_of(content, self.data_dir / STATE), content
        return self._state

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        """See the port. The binding stays what it is, whatever *change* says."""
        with self._desk_lock.held():
            before = self.state()
            state = replace(change(before), binding=before.binding)
            if state != before:
                self._write_state(state)
            return state

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        with self._book_lock.held():
            yield self.book()

    @contextmanager
    def seat(self, trade_id: TradeId | PositionId, wait_seconds: float = 0.0) -> Iterator[None]:
        """One lock file an id, so that no trade ever waits for another; those of ended trades go when a store opens.

        Not reentrant: the thread that holds a seat is refused as well.
        """
        if not _SEAT.fullmatch(trade_id):
            raise InvariantBroken(f"{trade_id!r} is no name for a seat")
        with _locked(file_lock(self._seats / f"{trade_id}.lock"), f"the seat of {trade_id}", wait_seconds):
            yield

    @contextmanager
    def monitor_seat(self) -> Iterator[None]:
        """The right to be the monitor. Waits a second, since readers look for its holder by trying. Raises Busy."""
        with _locked(file_lock(self._monitor_path), "the monitor's seat", MONITOR_SECONDS):
            yield

    def beat(self, at: datetime) -> None:
        """Replaced as a whole so that it is never read half; not synced, since a dead machine's monitor is dead too."""
        self._replace(BEAT, at.isoformat().encode(), sync=False)

    def last_beat(self) -> datetime | None:
        """See the port. Looks are taken one at a time: a lock found taken is the monitor's, not another's look."""
        with self._probe_lock.held():
            probe = file_lock(self._monitor_path)
            try:
                acquire(probe, "the monitor's seat", 0)
            except Busy:
                return _instant(self._read(BEAT)) if self._disk.stamp(self.data_dir / BEAT) is not None else None
            probe.release()
            return None

    def _journal(self, name: str, *, must_exist: bool) -> Journal:
        return Journal(self.data_dir / name, lock=self._ledger_lock, disk=self._disk, must_exist=must_exist)

    def _catch_up(self) -> None:
        """Take in what anybody wrote, then write the projections that its writer did not live to write.

        The caller holds the ledger's lock, so whatever is missing in positions.json was left by the dead.
        """
        self._applied = (None, None)
        events, lines = self._ledger.follow(), self._positions.follow()
        if (self._ledger.replaced, self._positions.replaced) != self._fold.generation:
            self._fold = _Fold((self._ledger.replaced, self._positions.replaced))
            self._ledger.rewind()
            self._positions.rewind()
            events, lines = self._ledger.follow(), self._positions.follow()
        self._fold.take_events(events, self._ledger.path)
        self._fold.take_lines(lines, self._positions.path, self._ledger.seq)
        self._check_order()
        behind = self._fold.behind(self._ledger.seq)
        if behind:
            self._positions.append([self._position_record(*one) for one in behind], sync=False)
            self._fold.take_lines(self._positions.follow(), self._positions.path, self._ledger.seq)
        self._applied = (self._ledger.seen, self._positions.seen)

    def _check_order(self) -> None:
        """A position line is written after the ledger lines it knows of are on disk: without them something was lost.

        The one exception is a ledger whose end was just found torn and cut.
        """
        if self._ledger.mended is None:
            self._fold.require_ledger(self._ledger.seq, self._ledger.path)

    def _position_record(self, position_id: PositionId, as_of: int) -> dict[str, Json]:
        watch = self._fold.book.watch(position_id)
        return {
            "id": position_id,
            "as_of": as_of,
            **_projection(self._fold.book, position_id),
            "watch": encode_watch(watch) if watch is not None else None,
        }

    def _bind(self, binding: Binding, *, bound: bool) -> None:
        if not bound:
            if self._ledger.follow() or self._positions.follow():
                raise StoreCorrupt(
                    f"{self.data_dir / STATE} is missing beside a ledger that is not empty: restore it",
                    file=str(self.data_dir / STATE),
                )
            self._write_state(DeskState(binding=binding))
        owner = self.state().binding
        if owner != binding:
            raise StoreCorrupt(
                f"{self.data_dir} belongs to {_named(owner)}, not to {_named(binding)}: use another DATA_DIR",
                file=str(self.data_dir / STATE),
            )

    def _read(self, name: str) -> bytes:
        """A small file as it is now. Raises StoreCorrupt when it is not there."""
        path = self.data_dir / name
        with trouble_told(path, "read"):
            file = self._disk.open(path, create=False, write=False)
            try:
                return self._disk.read(file, SMALL_BYTES_MAX, 0)
            finally:
                self._disk.close(file)

    def _write_state(self, state: DeskState) -> None:
        content = sealed({"schema": SCHEMA, **encode_state(state)}) + b"\n"
        self._replace(STATE, content, sync=True)
        self._state, self._state_bytes = state, content

    def _replace(self, name: str, content: bytes, *, sync: bool) -> None:
        """Put a whole new file in the place of *name*: readers see the old one or the new one."""
        target = self.data_dir / name
        fresh = self.data_dir / f".{name}.new"
        with trouble_told(target, "written"):
            file = self._disk.open(fresh, create=True, write=True)
            try:
                self._disk.truncate(file, 0)
                self._disk.write(file, content, 0)
                if sync:
                    self._disk.sync(file)
            finally:
                self._disk.close(file)
            self._disk.replace(fresh, target)
            if sync:
                self._disk.sync_directory(self.data_dir)

    def _prune_seats(self) -> None:
        """Remove the seats of what has ended. A lock on a file that is gone does not count: filelock looks again."""
        book = self._fold.book
        live = {str(trade.id) for trade in book.live_trades()}
        live |= {str(position.id) for position in book.standing_positions()} | {str(one) for one in self._fold.broken}
        for path in self._seats.glob("*.lock"):
            if path.stem in live:
                continue
            lock = file_lock(path)
            try:
                acquire(lock, path.stem, 0)
            except Busy:
                continue
            with suppress(OSError):  # one that stays is only untidy
                path.unlink()
            lock.release()


class _Fold:
    """What the lines read so far add up to. A file that was replaced begins a new one."""

    def __init__(self, generation: tuple[int, int] = (0, 0)) -> None:
        self.generation = generation
        self.book = Book()
        self.broken: dict[TradeId, str] = {}
        self.as_of = 0
        self.own: Trade | None = None
        self._broken_positions: set[PositionId] = set()
        self._watches: dict[PositionId, Watch] = {}
        self._touched: dict[PositionId, int] = {}
        self._ahead: set[PositionId] = set()

    def take_events(self, entries: Sequence[Entry], path: Path) -> None:
        """Fold ledger lines. A trade that does not fold is set aside; a line of no trade is StoreCorrupt."""
        folded: dict[TradeId, Trade] = {self.own.id: self.own} if self.own is not None else {}
        for entry in entries:
            trade_id, position_id = TradeId(_word(entry, "id", path)), PositionId(_word(entry, "position_id", path))
            self._touched[position_id] = entry.seq
            if trade_id in self.broken:
                continue
            if self._wrote(entry, trade_id):
                continue
            try:
                folded[trade_id] = _next_step(folded.get(trade_id) or self.book.find_trade(trade_id), entry, trade_id)
            except (StoreCorrupt, InvariantBroken) as error:
                folded.pop(trade_id, None)
                self._set_aside(trade_id, position_id, f"{path}:{entry.line}: {error.detail}")
        self.own = None
        for trade in folded.values():
            try:
                self.book.put_trade(trade)
            except InvariantBroken as error:
                self._set_aside(trade.id, trade.terms.position_id, f"{path}: {error.detail}")

    def _wrote(self, entry: Entry, trade_id: TradeId) -> bool:
        """True for a line that this process has just written, whose fold is known."""
        version = entry.content.get("version")
        own = self.own
        return own is not None and own.id == trade_id and isinstance(version, int) and version <= len(own.events)

    def take_lines(self, entries: Sequence[Entry], path: Path, ledger_seq: int) -> None:
        """Take in position lines: their watches, and how far into the ledger they reach."""
        for entry in entries:
            position_id = PositionId(_word(entry, "id", path))
            as_of, content = entry.content.get("as_of"), entry.content.get("watch")
            if not isinstance(as_of, int):
                raise _malformed(entry, "as_of", path)
            self.as_of = as_of
            if as_of > ledger_seq:
                self._ahead.add(position_id)
            else:
                self._ahead.discard(position_id)
            if content is None:
                continue
            try:
                watch = decode_watch(content)
            except StoreCorrupt as error:
                trade_id = TradeId(_word(entry, "trade_id", path))
                self._set_aside(trade_id, position_id, f"{path}:{entry.line}: {error.detail}")
                continue
            self._watches[watch.position_id] = watch
            self.book.put_watch(watch)

    def require_ledger(self, ledger_seq: int, path: Path) -> None:
        """Raises StoreCorrupt when position lines know of more than the ledger now holds."""
        if self.as_of > ledger_seq:
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

    def _set_aside(self, trade_id: TradeId, position_id: PositionId, why: str) -> None:
        self.broken[trade_id] = why
        self._broken_positions.add(position_id)
        if self.book.find_trade(trade_id) is not None:
            others = [trade for trade in self.book.trades() if trade.id != trade_id]
            self.book = book_of(others, self._watches.values())


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verify` found: `problems` each with its file and line, `notes` on what the next start will mend."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]


def verify(data_dir: Path) -> LedgerReport:
    """Read every file of *data_dir*, check every line, fold every journal, compare the book with the ledger.

    Changes nothing and may run beside the service. What cannot be read is a problem, never an exception but Busy.
    """
    if not any((data_dir / name).exists() for name in (LEDGER, BOOK, STATE)):
        return LedgerReport((), (f"{data_dir} has not been used yet",), {})
    return _Inspection(data_dir).report()


class _Inspection:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._fold = _Fold()

    def report(self) -> LedgerReport:
        # Derived lines first: whatever is written meanwhile, the ledger read after them knows of all that they know.
        lines = self._entries(BOOK, LEDGER_LOCK)
        before = len(self._notes) + len(self._problems)
        events = self._entries(LEDGER, LEDGER_LOCK)
        whole = len(self._notes) + len(self._problems) == before
        ledger_seq = events[-1].seq if events else 0
        logged = self._entries(LOG, f"{LOG}.lock") if (self._data_dir / LOG).exists() else ()
        self._note(lambda: self._fold.take_events(events, self._data_dir / LEDGER))
        self._note(lambda: self._fold.take_lines(lines, self._data_dir / BOOK, ledger_seq))
        if whole:
            self._note(lambda: self._fold.require_ledger(ledger_seq, self._data_dir / LEDGER))
        self._note(self._check_state)
        self._check_summaries(events)
        self._check_projections(lines, ledger_seq)
        self._problems += self._fold.broken.values()
        book = self._fold.book
        counts = {
            "events": len(events),
            "trades": len(book.trades()),
            "live_trades": len(book.live_trades()),
            "broken_trades": len(self._fold.broken),
            "positions": len(book.positions()),
            "standing_positions": len(book.standing_positions()),
            "position_lines": len(lines),
            "log_lines": len(logged),
        }
        return LedgerReport(tuple(self._problems), tuple(self._notes), counts)

    def _note(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreCorrupt as error:
            self._problems.append(error.detail)

    def _entries(self, name: str, lock_name: str) -> tuple[Entry, ...]:
        """The lines of a journal, read without a lock; what looks wrong is read again with writers kept out."""
        with suppress(StoreCorrupt):
            entries, mended = self._read(name)
            if mended is None:
                return entries
        locks = self._data_dir / "locks"
        with ProcessLock(locks / lock_name, name, APPEND_SECONDS).held() if locks.is_dir() else nullcontext():
            try:
                entries, mended = self._read(name)
            except StoreCorrupt as error:
                self._problems.append(error.detail)
                return ()
        self._notes += [mended] if mended is not None else []
        return entries

    def _read(self, name: str) -> tuple[tuple[Entry, ...], str | None]:
        journal = Journal(self._data_dir / name, read_only=True)
        try:
            return journal.follow(), journal.mended
        finally:
            journal.close()

    def _check_state(self) -> None:
        path = self._data_dir / STATE
        with trouble_told(path, "read"):
            content = path.read_bytes()
        state_of(content, path)

    def _check_summaries(self, events: Sequence[Entry]) -> None:
        newest = {entry.content.get("id"): entry for entry in events}
        for trade in self._fold.book.trades():
            entry = newest[trade.id]
            self._compare(LEDGER, entry, trade.id, _ledger_record(trade))

    def _check_projections(self, lines: Sequence[Entry], ledger_seq: int) -> None:
        stale = {position_id for position_id, _ in self._fold.behind(ledger_seq)}
        if stale:
            self._notes.append(f"{self._data_dir / BOOK} is behind the ledger by {len(stale)} positions")
        newest = {entry.content.get("id"): entry for entry in lines}
        for position in self._fold.book.positions():
            entry = newest.get(position.id)
            if position.id in stale:
                continue
            if entry is None:
                self._problems.append(f"{self._data_dir / BOOK} has no line for {position.id}")
            else:
                self._compare(BOOK, entry, position.id, _projection(self._fold.book, position.id))

    def _compare(self, name: str, entry: Entry, subject: str, derived: Mapping[str, Json]) -> None:
        differing = sorted(key for key, value in derived.items() if entry.content.get(key) != value)
        if differing:
            place = f"{self._data_dir / name}:{entry.line}"
            self._problems.append(f"{place}: {subject} differs from its journal in {', '.join(differing)}")


def state_of(content: bytes, path: Path) -> DeskState:
    """The desk state in the bytes of desk.json. Raises StoreCorrupt: a damaged state is no state, and never ACTIVE."""
    body = unsealed(content.removesuffix(b"\n"))
    if body is None:
        raise StoreCorrupt(f"{path}:1 is damaged", file=str(path), line=1)
    if body.pop("schema", None) != SCHEMA:
        raise StoreCorrupt(f"{path}:1 was written by another version: use that one", file=str(path), line=1)
    body.pop("checksum")
    try:
        return decode_state(body)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{path}:1: {error.detail}", file=str(path), line=1) from error


def _steps_after(stored: Trade | None, trade: Trade) -> list[Trade]:
    """The trade after each event of *trade* that is not in *stored* yet.

    Where another hand wanted it cancelled meanwhile, the new events follow that, and none is older than it.
    """
    before = stored.events if stored is not None else ()
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, trade.events, strict=False)))
    fresh, intruders = trade.events[common:], before[common:]
    if fresh and not all(isinstance(event, CancelWanted) for event in intruders):
        raise InvariantBroken("the stored trade has gone another way", trade_id=trade.id)
    steps: list[Trade] = []
    latest = stored
    for event in fresh:
        latest = accept(event) if latest is None else record(latest, _not_before(latest, event))
        steps.append(latest)
    return steps


def _not_before(trade: Trade, event: Event) -> Event:
    return event if event.at >= trade.events[-1].at else replace(event, at=trade.events[-1].at)


def _next_step(before: Trade | None, entry: Entry, trade_id: TradeId) -> Trade:
    due = 1 if before is None else len(before.events) + 1
    if entry.content.get("version") != due:
        raise InvariantBroken(f"event {entry.content.get('version')} of {trade_id} where {due} is due")
    event = decode_event(entry.content.get("event"))
    trade = accept(event) if before is None else record(before, event)
    if trade.id != trade_id:
        raise InvariantBroken(f"an event of {trade.id} under the name of {trade_id}")
    return trade


def _ledger_record(trade: Trade) -> dict[str, Json]:
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


def _projection(book: Book, position_id: PositionId) -> dict[str, Json]:
    """The derived part of a position's line. A position whose opening trade a torn tail took with it is unknown."""
    try:
        return encode_position(book.position(position_id))
    except PositionNotFound:
        return {"position_id": position_id, "status": "unknown"}


@contextmanager
def _locked(lock: FileLock, name: str, wait_seconds: float) -> Iterator[None]:
    acquire(lock, name, wait_seconds)
    try:
        yield
    finally:
        lock.release()


def _word(entry: Entry, name: str, path: Path) -> str:
    value = entry.content.get(name)
    if not isinstance(value, str):
        raise _malformed(entry, name, path)
    return value


def _malformed(entry: Entry, name: str, path: Path) -> StoreCorrupt:
    return StoreCorrupt(f"{path}:{entry.line} has no {name}", file=str(path), line=entry.line)


def _named(binding: Binding | None) -> str:
    return f"{binding.venue}/{binding.network}/{binding.account}" if binding is not None else "nobody"


def _instant(content: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(content.decode())
    except ValueError:
        return None
