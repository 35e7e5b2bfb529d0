"""The Store port on JSON files: trades.json is the truth, positions.json derived from it, desk.json the desk's state.

The law: nothing is acknowledged before it is on disk; corrupt is never empty; nothing but ACTIVE, read from an
undamaged file, is ACTIVE; what has ended is in the ledger or in the archive, whatever dies when.

What the lines say is in `ledger`, what they are made of in `journal`, how they leave when they have ended in
`shedding` and where they go in `archive`, those of the log in `log_rolling`.

Locks, outermost first: a seat (one trade), the book (limits re-checked, a trade accepted), the archive (one process
rolls), the ledger (both journals, for the length of an append), the desk (its state). The system frees them when their
holder dies.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from trading.domain.book import Book
from trading.domain.codec import Json, encode_position, encode_watch
from trading.domain.desk_state import Binding, DeskState, TradingState
from trading.domain.errors import Busy, PositionNotFound, StoreCorrupt, StoreHeld
from trading.domain.orders import Order, OrderReport
from trading.domain.positions import Watch, first_watch, position_of
from trading.domain.trades import OrdersIntended, Trade
from trading.domain.units import ClientOrderId, Coin, PositionId, TradeId
from trading.utils.archive import Archive
from trading.utils.disk import Disk, Stamp, SystemDisk, replace_whole, trouble_told
from trading.utils.halted import HaltedStore, HeldStore
from trading.utils.inspection import LedgerReport as LedgerReport
from trading.utils.inspection import verify as verify
from trading.utils.journal import READ_AHEAD, START, Journal
from trading.utils.ledger import (
    ARCHIVE,
    BEAT,
    BOOK,
    LEDGER,
    LEDGER_LOCK,
    RESERVE,
    Fold,
    content_of,
    ledger_record,
    projection,
    state_of,
    steps_after,
)
from trading.utils.ledger import STATE as STATE
from trading.utils.locks import LOCKS, ProcessLock, Seats
from trading.utils.log_rolling import roll_log
from trading.utils.migrations import MIGRATIONS, Migration, migrate
from trading.utils.owner import DIRECTORY_MODE, make_directory
from trading.utils.rescue import Rescue
from trading.utils.reserve import Reserve, is_full
from trading.utils.shedding import Shedding, is_unsettled
from trading.utils.takeover import refuse_between
from trading.utils.whole_file import WholeFile

APPEND_SECONDS = 2.0
BOOK_SECONDS = 2.0
ROLL_SECONDS = 10.0
# What has ended stays in the ledger for a day, unless the ledger has grown past this size: some 750 trades, opened and
# closed, which take 20 MiB of memory in each process.
LEDGER_KEPT = timedelta(days=1)
ROLL_BYTES = 6 << 20
JUST_ENDED_KEPT = timedelta(minutes=1)
UNSETTLED_KEPT = timedelta(minutes=30)
# A position whose funding is not complete is waited for a day longer than the engine looks for it.
FUNDING_GIVEN_UP_AFTER = timedelta(days=8)
UNCOMPARED = "uncompared"
PROBLEMS_MAX = 20
PROBLEM_LENGTH_MAX = 300
_NEVER = (-1, -1)
_Result = TypeVar("_Result")
_Stamps = tuple[Stamp | None, Stamp | None]


class JsonStore:
    """One process's view of a DATA_DIR. Threads share it; make it after a fork, not before.

    `broken` names the trades that did not fold when the book was last caught up, with the reason and its file and line:
    they are not in the book, the others are. `mended` lists what was torn and has been closed again.
    """

    def __init__(
        self,
        data_dir: Path,
        binding: Binding,
        *,
        disk: Disk | None = None,
        migrations: Mapping[int, Migration] = MIGRATIONS,
        roll_bytes: int = ROLL_BYTES,
    ) -> None:
        """Open, or begin, *data_dir*; bring older files up to date, keeping a copy.

        Raises StoreCorrupt when it cannot be trusted; with `refused` among its facts when it belongs to another
        *binding* or was written by a newer version.
        """
        self.data_dir = data_dir
        self._state_path, self._beat_path = data_dir / STATE, data_dir / BEAT
        self._disk: Disk = disk if disk is not None else SystemDisk()
        self._roll_bytes = roll_bytes
        make_directory(data_dir)
        locks = data_dir / LOCKS
        self._seats = Seats(locks)
        with trouble_told(data_dir, "closed to others"):
            data_dir.chmod(DIRECTORY_MODE)
        self._ledger_lock = ProcessLock(
            locks / LEDGER_LOCK, "the ledger", APPEND_SECONDS, reentrant=True, refusal=StoreHeld
        )
        self._book_lock = ProcessLock(locks / "book.lock", "the book", BOOK_SECONDS, refusal=StoreHeld)
        self._desk_lock = ProcessLock(locks / "desk.lock", "the desk's state", APPEND_SECONDS, refusal=StoreHeld)
        archive_lock = ProcessLock(locks / "archive.lock", "the archive", ROLL_SECONDS, reentrant=True)
        self._archive = Archive(data_dir / ARCHIVE, self._disk, archive_lock)
        self._shedding = Shedding(data_dir / LEDGER, data_dir / BOOK, self._archive, self._disk, self._ledger_lock)
        self._reserve = Reserve(data_dir / RESERVE, self._disk)
        self._state_file = WholeFile(self._state_path, self._disk)
        self._beat_file = WholeFile(self._beat_path, self._disk)
        self._known_state: tuple[bytes, DeskState] | None = None
        self._fold = Fold(history=self._archive)
        self._applied: _Stamps = (None, None)
        self._deferred = False
        self._beside: tuple[_Stamps, Book] | None = None
        with self._desk_lock.held():
            with self._ledger_lock.held():
                refuse_between(data_dir)
                migrate(data_dir, self._disk, migrations)
            bound = self._disk.stamp(data_dir / STATE) is not None
            self._ledger = self._with_reserve(lambda: self._journal(LEDGER, must_exist=bound))
            self._positions = self._with_reserve(lambda: self._journal(BOOK, must_exist=bound))
            self._bind(binding, bound=bound)
        self._rescue = Rescue(data_dir, self._disk)
        self._sync_names()
        self._reserve.restore()
        self._archive.refresh()
        self._roll_if_large()
        self._read_ahead()
        self._begin_with_the_book()
        self._prune_seats()

    @classmethod
    def open_or_halted(cls, data_dir: Path, binding: Binding, *, disk: Disk | None = None) -> "JsonStore | HaltedStore":
        """The store, or, of a DATA_DIR that cannot be trusted, what can still be shown.

        Raises StoreCorrupt for another's folder and for one of a newer version: there is nothing to halt.
        """
        try:
            return cls(data_dir, binding, disk=disk)
        except StoreCorrupt as error:
            if error.facts.get("refused"):
                raise
            return HaltedStore(data_dir, error.detail, disk=disk)

    @classmethod
    def open_held(cls, data_dir: Path, binding: Binding, held: StoreHeld) -> HeldStore:
        """What can be done beside somebody who *held* the ledger so long that it could not be opened.

        Raises StoreCorrupt for another's folder.
        """
        store = HeldStore(data_dir, held.detail)
        owner = store.state().binding
        if owner != binding:
            raise _of_another(data_dir, owner, binding)
        return store

    @property
    def trouble(self) -> str:
        return ""

    @property
    def held(self) -> str:
        """See the port."""
        for lock in (self._ledger_lock, self._book_lock, self._desk_lock):
            if lock.is_free():
                continue
            try:
                with lock.held():
                    pass
            except StoreHeld as held:
                return held.detail
        return ""

    def salvaged(self, why: str) -> HaltedStore:
        """See the port. Of files that were read and cannot even be opened now it is what they were."""
        state = self._known_state
        known = (self._fold, state[1]) if state is not None and self._is_read and not self._opens() else None
        return HaltedStore(self.data_dir, why, disk=self._disk, known=known)

    def _opens(self) -> bool:
        """Whether the system lets both journals be opened to be read."""
        with suppress(OSError):
            for path in (self._ledger.path, self._positions.path):
                self._disk.close(self._disk.open(path, create=False, write=False))
            return True
        return False

    @property
    def complete(self) -> bool:
        return True

    def left(self) -> frozenset[PositionId]:
        return self._rescue.left()

    def rescued(self) -> tuple[Order, ...]:
        return self._rescue.sent()

    def rescue_ends(self) -> Mapping[ClientOrderId, OrderReport]:
        return self._rescue.ends()

    @property
    def stop_cut_off(self) -> bool:
        return False

    @property
    def broken(self) -> Mapping[TradeId, str]:
        return dict(self._fold.broken)

    @property
    def broken_coins(self) -> frozenset[Coin]:
        return self._fold.broken_coins

    @property
    def mended(self) -> tuple[str, ...]:
        words = (self._ledger.mended, self._positions.mended, *self._archive.mended)
        return tuple(word for word in words if word is not None)

    @property
    def writable(self) -> bool:
        try:
            self._disk.close(self._disk.open(self._ledger.path, create=False, write=True))
        except OSError:
            return False
        return True

    @property
    def disk_full(self) -> bool:
        """Whether the disk was full and the reserve has not been put back since. One system call."""
        return not self._reserve.whole

    @property
    def outgrown(self) -> bool:
        """As of the last look at the ledger."""
        stamp = self._applied[0]
        return stamp is not None and stamp.size > self._roll_bytes

    def restore_reserve(self) -> bool:
        """Put the reserve back; True when it is there now."""
        return self._reserve.restore()

    def rescue(self, record: Mapping[str, Json]) -> bool:
        """See the port."""
        return self._rescue.note(record)

    def close(self) -> None:
        """Let go of the files; the store is of no further use."""
        self._ledger.close()
        self._positions.close()
        self._archive.close()
        self._state_file.close()
        self._beat_file.close()

    def book(self) -> Book:
        """The book, caught up; two system calls and no lock when nobody has written. It needs no room on the disk, and
        does without the lock where somebody holds that and does not let go. Where the files cannot even be looked at
        any more it is what it was."""
        stamps = self._stamps()
        if (stamps == self._applied and None not in stamps) or (stamps == (None, None) and self._is_read):
            # Moved away with all of the folder, or their disk is: what was read of them is what anybody knows.
            return self._fold.book
        beside = self._beside
        known = beside[1] if beside is not None and beside[0] == stamps else None
        try:
            # Who holds it writes nothing more; one look a file is enough.
            with self._ledger_lock.held(None if known is None else 0.0):
                self._with_reserve(self._take_in)
                self._project_where_there_is_room()
                self._beside = None
                return self._fold.book
        except StoreHeld:
            if known is None:
                known = self._read_beside()
                self._beside = stamps, known
            return known

    def _stamps(self) -> _Stamps:
        """Of both files; of neither where the system does not even let anybody look any more."""
        try:
            return self._ledger.stamp(), self._positions.stamp()
        except StoreCorrupt:
            if not self._is_read:
                raise
            return None, None

    @property
    def _is_read(self) -> bool:
        """Whether the book is what the files said when they were last looked at."""
        present = self._ledger.replaced, self._positions.replaced
        return self._ledger.seen is not None and self._fold.generation == present

    def _read_beside(self) -> Book:
        """The book by all lines that check, read without the lock. Raises StoreHeld when they are not all there are."""
        found = HaltedStore(self.data_dir, "the ledger is held by somebody else", disk=self._disk)
        if not found.complete:
            raise StoreHeld(found.why, lock=str(self._ledger_lock.path))
        return found.book()

    def save(self, trade: Trade, *, durable: bool = True) -> Trade:
        """See the port. Each event is folded once more on its way to the disk; the projection follows it there."""
        with self._ledger_lock.held():
            self._with_reserve(self._take_in)
            if trade.id in self._fold.broken:
                raise StoreCorrupt(f"trade {trade.id} does not fold: {self._fold.broken[trade.id]}", trade_id=trade.id)
            if trade.opens:
                first_watch(trade)  # without an exit plan there is no position to project
            stored = self._fold.book.find_trade(trade.id)
            if stored is None and not trade.opens:
                self._require_position(trade.terms.position_id)
            steps = steps_after(stored, trade)
            if not steps and durable:
                self._with_reserve(self._write_projections)
            if not steps:
                return stored or trade
            if stored is None and trade.opens:
                self._require_space()
            records = [ledger_record(step) for step in steps]
            entries = self._with_reserve(
                lambda: self._ledger.append_followed(records, sync=durable), opens=stored is None and trade.opens
            )
            self._fold.own = steps[-1]
            self._fold.take_events(entries, self._ledger.path)
            if durable and not isinstance(steps[-1].events[-1], OrdersIntended):
                self._with_reserve(self._write_projections)
            else:
                # The book has it. Its position's line waits for the sync that makes it last, and for what the venue
                # says: an order is on its way, and the line would be another one in a moment.
                self._applied, self._deferred = (self._ledger.seen, self._positions.seen), True
            return steps[-1]

    def make_sure(self) -> None:
        """See the port."""
        if self._deferred:
            with self._ledger_lock.held():
                self._with_reserve(self._catch_up)

    def save_watch(self, watch: Watch) -> None:
        """Raises PositionNotFound when the ledger knows no such position."""
        with self._ledger_lock.held():
            self._with_reserve(self._catch_up)
            self._require_position(watch.position_id)
            position = position_of(self._fold.book.trades_of_position(watch.position_id), watch)
            line = _position_line(watch.position_id, self._fold.as_of, encode_position(position), watch)
            entries = self._with_reserve(lambda: self._positions.append_followed([line]))
            self._fold.take_lines(entries, self._positions.path, self._ledger.seq)
            self._with_reserve(self._write_projections)

    def _require_position(self, position_id: PositionId) -> None:
        """Who works on what another ledger knew, from before a restore, would leave a close that nobody can end."""
        if not self._fold.book.trades_of_position(position_id):
            raise PositionNotFound(f"there is no position {position_id}")

    def state(self) -> DeskState:
        """Looked at each time, and read when another has been put in its place."""
        with trouble_told(self._state_path, "read"):
            content = self._state_file.content()
        known = self._known_state
        if known is None or content != known[0]:
            known = self._known_state = content, state_of(content, self._state_path)
        return known[1]

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        """See the port. The binding stays what it is, whatever *change* says."""
        with self._desk_lock.held():
            before = self.state()
            state = replace(change(before), binding=before.binding)
            if state != before:
                self._with_reserve(lambda: self._write_state(state))
            return state

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        with self._book_lock.held():
            yield self.book()

    @contextmanager
    def seat(self, trade_id: TradeId | PositionId, wait_seconds: float = 0.0) -> Iterator[None]:
        """The files of ended trades' seats go when a store opens."""
        with self._seats.seat(trade_id, wait_seconds):
            yield

    @contextmanager
    def monitor_seat(self) -> Iterator[None]:
        """The beat of whoever sat there before is emptied: it says nothing about who sits now. On a disk that takes no
        change it stays, and is soon too old to count. With the seat an older version's desk.json is this one's: before,
        as while `doctor` looks, the older version may be at work still."""
        with self._seats.monitor_seat():
            with suppress(OSError):
                replace_whole(self._beat_path, b"", self._disk, sync=False)
            self._bring_up_to_date()
            yield

    def beat(self, at: datetime, problems: Sequence[str] = (), *, compared: bool = True) -> None:
        """Replaced as a whole so that it is never read half; not synced, since a dead machine's monitor is dead too.

        The instant is the first line, with a word more until book and venue are compared; each problem is one more.
        """
        words = [" ".join(one.split())[:PROBLEM_LENGTH_MAX] for one in problems[:PROBLEMS_MAX]]
        first = at.isoformat() if compared else f"{at.isoformat()} {UNCOMPARED}"
        content = "\n".join((first, *words)).encode(errors="replace")
        with trouble_told(self._beat_path, "written"):
            replace_whole(self._beat_path, content, self._disk, sync=False)

    def last_beat(self) -> datetime | None:
        return _instant(self._beat_lines()[0].partition(b" ")[0]) if self._seats.monitor_sits() else None

    def compared(self) -> bool:
        return self._beat_lines()[0].partition(b" ")[2] != UNCOMPARED.encode()

    def problems(self) -> tuple[str, ...]:
        return tuple(one.decode(errors="replace") for one in self._beat_lines()[1:])

    def _beat_lines(self) -> list[bytes]:
        with trouble_told(self._beat_path, "read"):
            try:
                return self._beat_file.content().split(b"\n")
            except FileNotFoundError:
                return [b""]

    def roll_over(self, now: datetime) -> int:
        """See the port. Nothing happens, and 0 is the answer, while another process rolls or the disk is full."""
        try:
            with self._archive.rolling():
                roll_log(self.data_dir, self._archive.folder, self._disk, now)
                return self._roll_ledger(now)
        except Busy:
            return 0
        except StoreCorrupt as error:
            if not is_full(error):
                raise
            return 0

    def _roll_ledger(self, now: datetime) -> int:
        with self._ledger_lock.held():
            self._catch_up()
            seq, book = self._ledger.seq, self._fold.book
            large, stopped = self.outgrown, self._stop_began()
            ended = [
                one
                for one in map(book.position, self._fold.ended(now - FUNDING_GIVEN_UP_AFTER))
                if one.exited_at is not None
                and one.exited_at < now - (_kept_of_a_large_ledger(book, one.id) if large else LEDGER_KEPT)
                and not (stopped is not None and one.exited_at >= stopped)
            ]
        if ended:
            gone = self._shedding.file_away(book, [one.id for one in ended])
            self._archive.commit()
            until = max(one.exited_at for one in ended if one.exited_at is not None)
            self._shedding.shed(gone, seq, until, self._catch_up, caught_up=True)
        return len(ended)

    def _roll_if_large(self) -> None:
        """At open, let a ledger that has grown too large go to the archive while it is read, so that it never has to be
        in memory as a whole. A process that cannot have the archive leaves it for later."""
        stamp = self._ledger.stamp()
        if stamp is None or stamp.size <= self._roll_bytes:
            return
        try:
            with self._archive.rolling():
                gone, seq = self._shedding.file_while_reading(self._stop_began())
                if gone:
                    self._archive.commit()
                    until = next(self._archive.positions()).entered_at
                    self._shedding.shed(gone, seq, until, self._catch_up, caught_up=False)
        except Busy:
            return
        except StoreCorrupt as error:
            if not is_full(error):
                raise

    def _stop_began(self) -> datetime | None:
        """When the emergency stop that is under way began: it looks for what is held of all that has ended since."""
        state = self.state()
        return state.since if state.state is TradingState.LIQUIDATING else None

    def _read_ahead(self) -> None:
        """Fold the bulk of a ledger, some lines at a time: at first before anybody is kept waiting for the rest."""
        while entries := self._ledger.read_ahead(READ_AHEAD):
            self._fold.take_events(entries, self._ledger.path)

    def _read_lines_ahead(self) -> None:
        """The same for the lines of positions, which have to be read after the whole ledger."""
        while entries := self._positions.read_ahead(READ_AHEAD):
            self._fold.take_lines(entries, self._positions.path, self._ledger.seq)

    def _journal(self, name: str, *, must_exist: bool) -> Journal:
        return Journal(self.data_dir / name, lock=self._ledger_lock, disk=self._disk, must_exist=must_exist)

    def _catch_up(self) -> None:
        """Take in what anybody wrote, then write the projections that its writer did not live to write.

        The caller holds the ledger's lock, so whatever is missing in positions.json was left by the dead, or put off by
        those who will sync with their next line.
        """
        self._take_in()
        self._write_projections()

    def _take_in(self) -> None:
        self._applied = (None, None)
        quiet = self._ledger.renew() & self._positions.renew()
        if quiet and self._fold.generation == (self._ledger.replaced, self._positions.replaced):
            return
        if (self._ledger.replaced, self._positions.replaced) != self._fold.generation:
            self._sync_names()
            self._archive.refresh()
            self._fold = Fold((self._ledger.replaced, self._positions.replaced), self._archive)
            self._ledger.rewind()
            self._positions.rewind()
        try:
            if self._ledger.place == START:
                self._read_ahead()
            events = self._ledger.follow()
            self._require_archive()
            self._fold.take_events(events, self._ledger.path)
            if self._positions.place == START:
                self._read_lines_ahead()
            self._fold.take_lines(self._positions.follow(), self._positions.path, self._ledger.seq)
        except StoreCorrupt:
            self._fold.generation = _NEVER  # what was followed and not taken in must be read again
            raise

    def _write_projections(self) -> None:
        """Write the position lines that are missing."""
        self._applied = (None, None)
        self._check_order()
        behind = self._fold.behind(self._ledger.seq)
        if behind:
            self._ledger.make_sure()  # a line that the dead left unsynced must not be known of before it is on disk
            records = [self._position_record(*one) for one in behind]
            lines = self._positions.append_followed(records, sync=False)
            self._fold.take_lines(lines, self._positions.path, self._ledger.seq)
        self._applied, self._deferred = (self._ledger.seen, self._positions.seen), False

    def _project_where_there_is_room(self) -> None:
        """Write the position lines that are missing; a disk that is full, or takes no change any more, leaves them to
        the next who looks, for the ledger has all that they say."""
        try:
            if self._fold.behind(self._ledger.seq):
                # Also where no line follows: what is shown is on disk.
                self._with_reserve(self._ledger.make_sure)
        except StoreCorrupt as error:
            if not self._takes_no_change(error):
                raise
        try:
            self._with_reserve(self._write_projections)
        except StoreCorrupt as error:
            if not is_full(error) and not self._takes_no_change(error):
                raise

    def _takes_no_change(self, error: StoreCorrupt) -> bool:
        """Whether *error* is the word of a disk that nothing can be written to any more: what it holds is all that
        there is."""
        return "reason" in error.facts and not is_full(error) and not self.writable

    def _check_order(self) -> None:
        """A position line is written after the ledger lines it knows of are on disk: without them something was lost.

        The one exception is the last append of a ledger whose end was just found torn and cut.
        """
        self._fold.require_ledger(self._ledger.seq, self._ledger.path, torn=self._ledger.mended is not None)

    def _begin_with_the_book(self) -> None:
        """Have the book, and have it on disk. Where there is no room even for that, whoever asks for the book tries
        again, and is told so until there is."""
        try:
            self.book()
            self._with_reserve(self._make_sure)
        except StoreCorrupt as error:
            if not is_full(error):
                raise

    def _make_sure(self) -> None:
        """What the dead wrote and did not live to sync is on disk before anybody acts on it."""
        with self._ledger_lock.held():
            self._ledger.make_sure()
            self._positions.make_sure()

    def _sync_names(self) -> None:
        """A file that the dead put in another's place stays there, before anything is written that counts on it."""
        with trouble_told(self.data_dir, "synced"):
            self._disk.sync_directory(self.data_dir)

    def _require_archive(self) -> None:
        """Raises StoreCorrupt when the ledger has let go of more than the archive now holds."""
        archived = self._ledger.base.get("archived", 0)
        if isinstance(archived, int) and archived > self._archive.sums().positions:
            held = self._archive.sums().positions
            word = f"holds {held} positions, but {LEDGER} has let go of {archived}: restore it"
            raise StoreCorrupt(f"{self._archive.folder} {word}", file=str(self._archive.folder))

    def _require_space(self) -> None:
        """Nothing is opened on a full disk: what is left is for closing."""
        if self.disk_full and not self.restore_reserve():
            raise StoreCorrupt(
                f"{self.data_dir} is on a full disk: make room; closing goes on",
                file=str(self.data_dir),
                reason="ENOSPC",
            )

    def _with_reserve(self, step: Callable[[], _Result], *, opens: bool = False) -> _Result:
        """Do *step*; if the disk is full, again with the reserve freed, unless it *opens* something."""
        try:
            return step()
        except StoreCorrupt as error:
            if not is_full(error) or not self._reserve.free() or opens:
                raise
            return step()

    def _position_record(self, position_id: PositionId, as_of: int) -> dict[str, Json]:
        book = self._fold.book
        return _position_line(position_id, as_of, projection(book, position_id), book.watch(position_id))

    def _bind(self, binding: Binding, *, bound: bool) -> None:
        if not bound:
            if self._ledger.follow() or self._positions.follow() or self._archive.months():
                raise StoreCorrupt(
                    f"{self._state_path} is missing beside a ledger that is not empty: restore it",
                    file=str(self._state_path),
                )
            self._write_state(DeskState(binding=binding))
        owner = self.state().binding
        if owner != binding:
            raise _of_another(self.data_dir, owner, binding)

    def _bring_up_to_date(self) -> None:
        """Have desk.json as this version writes it: an older one, started on the folder again, is then HALTED. It would
        take what it cannot read of the ledger for the work of other hands, and write that down. What keeps from it
        keeps nobody from the watch."""
        with suppress(StoreCorrupt, Busy), self._desk_lock.held():
            state = self.state()
            if content_of(state) != self._state_file.content():
                self._with_reserve(lambda: self._write_state(state))

    def _write_state(self, state: DeskState) -> None:
        content = content_of(state)
        with trouble_told(self._state_path, "written"):
            replace_whole(self._state_path, content, self._disk, sync=True)
        self._known_state = content, state

    def _prune_seats(self) -> None:
        book = self._fold.book
        live = {str(trade.id) for trade in book.live_trades()}
        live |= {str(position.id) for position in book.standing_positions()} | {str(one) for one in self._fold.broken}
        self._seats.prune(live)


def _kept_of_a_large_ledger(book: Book, position_id: PositionId) -> timedelta:
    """What has just ended is still compared with the account."""
    return UNSETTLED_KEPT if is_unsettled(book, position_id) else JUST_ENDED_KEPT


def _position_line(
    position_id: PositionId, as_of: int, derived: Mapping[str, Json], watch: Watch | None
) -> dict[str, Json]:
    return {
        "id": position_id,
        "as_of": as_of,
        **derived,
        "watch": encode_watch(watch) if watch is not None else None,
    }


def _of_another(data_dir: Path, owner: Binding | None, binding: Binding) -> StoreCorrupt:
    words = f"{data_dir} belongs to {_named(owner)}, not to {_named(binding)}: use another DATA_DIR"
    return StoreCorrupt(words, file=str(data_dir / STATE), refused=True)


def _named(binding: Binding | None) -> str:
    return f"{binding.venue}/{binding.network}/{binding.account}" if binding is not None else "nobody"


def _instant(content: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(content.decode())
    except ValueError:
        return None
