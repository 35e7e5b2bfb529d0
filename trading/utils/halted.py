"""A Store over what can still be read of a DATA_DIR that cannot be trusted: it shows, it takes nothing in.

The law: it is HALTED whatever the files say; every line that checks by itself counts, a trade that lacks one is broken;
what must be done all the same is journaled to the rescue file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from trading.domain.book import Book
from trading.domain.codec import Json
from trading.domain.desk_state import DeskState, TradingState
from trading.domain.errors import StoreCorrupt, StoreHeld
from trading.domain.orders import Order, OrderReport
from trading.domain.positions import Watch
from trading.domain.trades import Trade, close_trade_id
from trading.domain.units import ClientOrderId, Coin, PositionId, TradeId
from trading.utils.archive import Archive
from trading.utils.disk import Disk, SystemDisk, replace_whole, trouble_told
from trading.utils.journal import Entry, Journal, salvaged
from trading.utils.ledger import ARCHIVE, BOOK, LEDGER, STATE, Fold, content_of, state_of
from trading.utils.locks import LOCKS, ProcessLock, Seats
from trading.utils.rescue import Rescue

BOOK_SECONDS = 2.0
DESK_SECONDS = 2.0


class HaltedStore:
    """The Store port for showing and for the emergency stop. `why` says what is wrong, with its place.

    Read once, when it is made: whoever has mended the files opens a JsonStore.
    """

    def __init__(
        self, data_dir: Path, why: str, *, disk: Disk | None = None, known: tuple[Fold, DeskState] | None = None
    ) -> None:
        """*known* is what the files said to somebody who had read all of them, where there is nothing to read now."""
        self.data_dir = data_dir
        self.why = why
        self.mended: tuple[str, ...] = ()
        self._disk: Disk = disk if disk is not None else SystemDisk()
        self._rescue = Rescue(data_dir, self._disk)
        self._lost_coins: frozenset[Coin] = frozenset()
        if known is not None:
            self._fold, stored, self.complete = *known, True
        else:
            self._fold = self._begun()
            self._read()
            self.complete, stored = self._is_complete(), self._stored_state()
        self.stop_cut_off = stored.state is TradingState.LIQUIDATING
        self._state = replace(stored, state=TradingState.HALTED, why=why)

    @property
    def trouble(self) -> str:
        return self.why

    @property
    def held(self) -> str:
        return ""

    def salvaged(self, why: str) -> "HaltedStore":
        return self

    @property
    def broken(self) -> Mapping[TradeId, str]:
        return dict(self._fold.broken)

    @property
    def broken_coins(self) -> frozenset[Coin]:
        return self._fold.broken_coins | self._lost_coins

    @property
    def writable(self) -> bool:
        return False

    @property
    def disk_full(self) -> bool:
        return False

    @property
    def outgrown(self) -> bool:
        return False

    def restore_reserve(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is held."""

    def book(self) -> Book:
        return self._fold.book

    def save(self, trade: Trade, *, durable: bool = True) -> Trade:
        self._refuse()

    def make_sure(self) -> None:
        """Nothing is ever saved."""

    def save_watch(self, watch: Watch) -> None:
        self._refuse()

    def state(self) -> DeskState:
        return self._state

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        self._refuse()

    @contextmanager
    def exclusive(self) -> Iterator[Book]:
        with ProcessLock(self.data_dir / LOCKS / "book.lock", "the book", BOOK_SECONDS, refusal=StoreHeld).held():
            yield self.book()

    @contextmanager
    def seat(self, trade_id: TradeId | PositionId, wait_seconds: float = 0.0) -> Iterator[None]:
        with self._seats().seat(trade_id, wait_seconds):
            yield

    @contextmanager
    def monitor_seat(self) -> Iterator[None]:
        with self._seats().monitor_seat():
            yield

    def beat(self, at: datetime, problems: Sequence[str] = (), *, compared: bool = True) -> None:
        """Not written: nobody shall take a halted desk for a watched one."""

    def last_beat(self) -> datetime | None:
        return None

    def compared(self) -> bool:
        return False

    def problems(self) -> tuple[str, ...]:
        return ()

    def roll_over(self, now: datetime) -> int:
        return 0

    def rescue(self, record: Mapping[str, Json]) -> bool:
        return self._rescue.note(record)

    def left(self) -> frozenset[PositionId]:
        return self._rescue.left()

    def rescued(self) -> tuple[Order, ...]:
        return self._rescue.sent()

    def rescue_ends(self) -> Mapping[ClientOrderId, OrderReport]:
        return self._rescue.ends()

    def _refuse(self) -> NoReturn:
        raise StoreCorrupt(f"the desk is halted: {self.why}", file=str(self.data_dir))

    def _seats(self) -> Seats:
        return Seats(self.data_dir / LOCKS)

    def _begun(self) -> Fold:
        archive = Archive(self.data_dir / ARCHIVE, self._disk, None)
        try:
            archive.refresh()
        except StoreCorrupt:
            return Fold()
        return Fold(history=archive)

    def _read(self) -> None:
        ledger, book = self.data_dir / LEDGER, self.data_dir / BOOK
        events = [one for one in salvaged(ledger, self._disk) if _has_words(one, "id", "position_id")]
        lines = [one for one in salvaged(book, self._disk) if _has_words(one, "id", "position_id")]
        self._fold.take_events(events, ledger)
        with suppress(StoreCorrupt):
            self._fold.take_lines([one for one in lines if isinstance(one.content.get("as_of"), int)], book, 0)
        self._lost_coins = self._coins_of_lost(lines)
        for position in self._fold.book.standing_positions():
            if self._fold.has_ended(position.id):
                self._lack_close(position.id, f"{book} knows of a close that {LEDGER} has lost")

    def _is_complete(self) -> bool:
        try:
            for name in (LEDGER, BOOK):
                journal = Journal(self.data_dir / name, disk=self._disk, read_only=True)
                try:
                    journal.follow()
                    if name == LEDGER:
                        seq, torn = journal.seq, journal.mended is not None
                finally:
                    journal.close()
            self._fold.require_ledger(seq, self.data_dir / LEDGER, torn=torn)
        except StoreCorrupt:
            return False
        return True

    def _lack_close(self, position_id: PositionId, why: str) -> None:
        """Its next close is one that is not here: so that it is let alone."""
        lost = close_trade_id(position_id, len(self._fold.book.trades_of_position(position_id)))
        self._fold.broken[lost] = why

    def _coins_of_lost(self, lines: Sequence[Entry]) -> frozenset[Coin]:
        """Those of positions of which no line of the ledger is left, as the last line of each here says."""
        newest = {str(one.content["id"]): one.content for one in lines}
        known = self._fold.knows
        lost = [one for key, one in newest.items() if one.get("status") != "closed" and not known(PositionId(key))]
        return frozenset(Coin(coin) for one in lost for coin in str(one.get("pair", "")).split("/") if coin)

    def _stored_state(self) -> DeskState:
        try:
            return self._read_state()
        except (OSError, StoreCorrupt):
            return DeskState()

    def _read_state(self) -> DeskState:
        path = self.data_dir / STATE
        file = self._disk.open(path, create=False, write=False)
        try:
            return state_of(self._disk.read(file, 1 << 20, 0), path)
        finally:
            self._disk.close(file)


class HeldStore(HaltedStore):
    """The same for a folder that is sound, beside somebody who holds its ledger and does not let go: a stop is latched
    all the same, so that nothing is opened when that one goes on."""

    def state(self) -> DeskState:
        return self._stored_state()

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        path = self.data_dir / STATE
        lock = ProcessLock(self.data_dir / LOCKS / "desk.lock", "the desk's state", DESK_SECONDS, refusal=StoreHeld)
        with lock.held(), trouble_told(path, "written"):
            before = self._read_state()
            state = replace(change(before), binding=before.binding)
            replace_whole(path, content_of(state), self._disk, sync=True)
        return state


def _has_words(entry: Entry, *names: str) -> bool:
    return all(isinstance(entry.content.get(name), str) for name in names)
