"""Everything in a DATA_DIR checked against everything else, without changing a byte, while the service runs.

The law: a problem names its file and line; what the next start mends by itself is a note.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trading.domain.codec import Json, encode_position
from trading.domain.desk_state import DeskState
from trading.domain.errors import InvariantBroken, StoreCorrupt
from trading.domain.positions import position_of
from trading.utils.archive import Archive, filed_of
from trading.utils.disk import Disk, trouble_told
from trading.utils.journal import Entry, Journal
from trading.utils.ledger import ARCHIVE, BOOK, LEDGER, LOG, STATE, Fold, ledger_record, projection, state_of
from trading.utils.snapshot import Snapshot, frozen, is_used

READ_AHEAD = 1000
STATE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verify` found: `problems` each with its file and line, `notes` on what the next start will mend."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]


def verify(data_dir: Path, *, fold_archive: bool = True) -> LedgerReport:
    """Check every line of every file of *data_dir*, fold every journal, compare the book with the ledger, the ledger
    with the archive and the archive with its index.

    Without *fold_archive* archived lines are checked and indexed, but their journals, which folded when they were
    archived, are not folded again: three quarters of the time. Changes nothing and may run beside the service. What
    cannot be read is a problem, never an exception but Busy.
    """
    try:
        if not is_used(data_dir):
            return LedgerReport((), (f"{data_dir} has not been used yet",), {})
        with frozen(data_dir) as snapshot:
            return _Inspection(snapshot, fold_archive=fold_archive).report()
    except StoreCorrupt as error:
        return LedgerReport((error.detail,), (), {})


def newest_event(data_dir: Path) -> str:
    """The instant of the newest event of a ledger, as it stands there; empty when it has none. Raises StoreCorrupt."""
    with frozen(data_dir) as snapshot, closing(_reader(data_dir / LEDGER, snapshot)) as journal:
        newest = max((_at(entry) for entry in _all(journal)), default="")
        until = journal.base.get("until")
        return max(newest, until if isinstance(until, str) else "")


def state_in(folder: Path) -> DeskState:
    """The desk's state in *folder*. Raises StoreCorrupt, and OSError where it cannot be read."""
    return state_of((folder / STATE).read_bytes(), folder / STATE)


def differs(stored: Json, derived: Json) -> bool:
    """Whether a line says something else than what its journal makes of it. What it does not have, it does not say: an
    older version wrote it, which did not know of that yet."""
    if isinstance(stored, dict) and isinstance(derived, dict):
        return any(name not in derived or differs(value, derived[name]) for name, value in stored.items())
    if isinstance(stored, list) and isinstance(derived, list):
        return len(stored) != len(derived) or any(map(differs, stored, derived))
    return stored != derived


def _reader(path: Path, disk: Disk) -> Journal:
    return Journal(path, read_only=True, disk=disk)


def _all(journal: Journal) -> Iterator[Entry]:
    while entries := journal.read_ahead(READ_AHEAD) or journal.follow():
        yield from entries


def _at(entry: Entry) -> str:
    event = entry.content.get("event")
    return str(event.get("at", "")) if isinstance(event, dict) else ""


class _Inspection:
    def __init__(self, snapshot: Snapshot, *, fold_archive: bool) -> None:
        self._snapshot = snapshot
        self._data_dir = snapshot.data_dir
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._archive = Archive(self._data_dir / ARCHIVE, snapshot, None)
        self._fold = Fold()
        self._base: Mapping[str, Json] = {}
        self._torn = False
        self._archived = {"positions": 0, "trades": 0}
        self._fold_archive = fold_archive

    def report(self) -> LedgerReport:
        self._note(self._check_archive)
        self._fold = Fold(history=self._archive)
        before = len(self._problems)
        events, lines = self._entries(LEDGER), self._entries(BOOK)
        sound = len(self._problems) == before
        ledger_seq = events[-1].seq if events else self._base_seq()
        logged = self._entries(LOG) if self._data_dir / LOG in self._snapshot.paths else ()
        self._note(lambda: self._fold.take_events(events, self._data_dir / LEDGER))
        self._note(lambda: self._fold.take_lines(lines, self._data_dir / BOOK, ledger_seq))
        if sound:
            self._note(lambda: self._fold.require_ledger(ledger_seq, self._data_dir / LEDGER, torn=self._torn))
        self._note(self._check_state)
        self._check_witness()
        self._check_summaries(events)
        self._check_projections(lines, ledger_seq)
        self._check_both()
        self._check_others()
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
            "archived_positions": self._archived["positions"],
            "archived_trades": self._archived["trades"],
            "log_lines": len(logged),
        }
        return LedgerReport(tuple(self._problems), tuple(self._notes), counts)

    def _note(self, step: Callable[[], None]) -> None:
        try:
            step()
        except StoreCorrupt as error:
            self._problems.append(error.detail)

    def _entries(self, name: str) -> tuple[Entry, ...]:
        try:
            with closing(_reader(self._data_dir / name, self._snapshot)) as journal:
                entries = journal.follow()
                self._notes += [journal.mended] if journal.mended is not None else []
                if name == LEDGER:
                    self._base, self._torn = journal.base, journal.mended is not None
                return entries
        except StoreCorrupt as error:
            self._problems.append(error.detail)
            return ()

    def _base_seq(self) -> int:
        base = self._base.get("base")
        return base if isinstance(base, int) else 0

    def _check_archive(self) -> None:
        """Every line folded and compared with its summary, and the index with what they make it."""
        stored = self._archive.stored_index()
        self._archive.rebuild(self._check_filed if self._fold_archive else None)
        self._notes += self._archive.mended
        rebuilt = self._archive.index
        self._archived = {"positions": rebuilt.sums.positions, "trades": rebuilt.trade_count}
        place = self._data_dir / ARCHIVE / "index"
        if stored is None:
            self._notes += [f"{place} is missing or damaged and will be built again"] if rebuilt.segments else []
        elif stored.files != rebuilt.files:
            self._notes.append(f"{place} is behind the files")
        elif stored.encoded() != rebuilt.encoded():
            self._problems.append(f"{place} differs from the files")

    def _check_filed(self, name: str, entry: Entry) -> None:
        where = f"{self._data_dir / ARCHIVE / name}:{entry.line}"
        try:
            filed = filed_of(entry.content, where)
            derived = encode_position(position_of(filed.trades, filed.watch))
        except (StoreCorrupt, InvariantBroken) as error:
            self._problems.append(error.detail)
            return
        if differs(entry.content.get("position"), derived) or derived["status"] != "closed":
            self._problems.append(f"{where}: {entry.content.get('id')} differs from its journal")

    def _check_witness(self) -> None:
        known = self._base.get("archived", 0)
        if isinstance(known, int) and known > self._archived["positions"]:
            place = self._data_dir / ARCHIVE
            self._problems.append(f"{place} holds {self._archived['positions']} positions, {LEDGER} let go of {known}")

    def _check_state(self) -> None:
        path = self._data_dir / STATE
        with trouble_told(path, "read"):
            file = self._snapshot.open(path, create=False, write=False)
            state_of(self._snapshot.read(file, STATE_BYTES_MAX, 0), path)

    def _check_others(self) -> None:
        """Journals that are not the store's own: their lines must check."""
        for path in self._snapshot.paths:
            known = path.name in (LEDGER, BOOK, STATE, LOG) or path.suffix != ".json"
            if known or (path.parent != self._data_dir and not path.name.startswith("logs-")):
                continue
            self._note(lambda path=path: self._count(path))  # type: ignore[misc]  # a bound default

    def _count(self, path: Path) -> None:
        with closing(_reader(path, self._snapshot)) as journal:
            for _ in _all(journal):
                pass
            self._notes += [journal.mended] if journal.mended is not None else []

    def _check_summaries(self, events: Sequence[Entry]) -> None:
        newest = {entry.content.get("id"): entry for entry in events}
        for trade in self._fold.book.trades():
            if trade.id in newest:
                self._compare(LEDGER, newest[trade.id], trade.id, ledger_record(trade))

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
                self._compare(BOOK, entry, position.id, projection(self._fold.book, position.id))

    def _check_both(self) -> None:
        """What is in the ledger and in the archive must be one history, the ledger's the longer."""
        for position in self._fold.book.positions():
            archived = {one.id: one for one in self._archive.trades_of_position(position.id)}
            for trade in self._fold.book.trades_of_position(position.id):
                known = archived[trade.id].events if trade.id in archived else ()
                if trade.events[: len(known)] != known and known[: len(trade.events)] != trade.events:
                    self._problems.append(f"{self._data_dir / ARCHIVE}: {trade.id} differs from {LEDGER}")

    def _compare(self, name: str, entry: Entry, subject: str, derived: Mapping[str, Json]) -> None:
        differing = sorted(key for key, value in derived.items() if differs(entry.content.get(key, value), value))
        if differing:
            place = f"{self._data_dir / name}:{entry.line}"
            self._problems.append(f"{place}: {subject} differs from its journal in {', '.join(differing)}")
