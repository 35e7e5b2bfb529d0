"""What has ended, out of the way: whole positions in monthly files, and a compact index to find them by any name.

The law: the ledger lets go of a position only after the index that names it here is on disk, so that it is always in
one place at least; of two versions of a position the later line wins. The index is derived: one that is missing or does
not check is built again from the files, and a file that is shorter than its index knows is StoreCorrupt.

archive/trades-2026-11.json  a journal, one line a position that ended in that month: `id`, `position` as the outside
                             names it, `trades` each with its `events`, and `watch`
archive/logs-2026-11.json    the activity log of that month, as it stood
archive/index                where each position stands in these (`archive_index`)

Memory: the index, some 100 bytes a position, and the last `RECORDS_KEPT` positions read. Time: a search by halves and
one read a position.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from trading.domain.book import Sums
from trading.domain.codec import Json, decode_event, decode_watch, encode_event, encode_position, encode_watch
from trading.domain.errors import Busy, InvariantBroken, StoreCorrupt
from trading.domain.market import Pair
from trading.domain.positions import Position, Watch, position_of
from trading.domain.trades import Trade, replay
from trading.domain.units import PositionId, TradeId
from trading.utils.archive_index import Card, Index, Row, card_of, digest_of, index_of, instant_of
from trading.utils.disk import Disk, Stamp, replace_whole, trouble_told
from trading.utils.journal import START, Entry, Journal, Place
from trading.utils.locks import ProcessLock
from trading.utils.owner import make_directory
from trading.utils.sealing import unsealed

INDEX = "index"
RECORDS_KEPT = 256
POSITIONS_KEPT = 4096
"""Some three kilobytes each. Whoever adds up the last days looks at all of a month, again and again."""
BATCH_RECORDS = 64
READ_AHEAD = 1000
CARDS_HELD = 20_000
REBUILD_SECONDS = 10.0
# One line holds a whole position: an append that did not finish may be as long as the longest life of one.
TORN_BYTES_MAX = 64 << 20
_MONTHLY = re.compile(r"trades-\d{4}-\d{2}\.json")


class Filed(NamedTuple):
    """One archived position, folded."""

    trades: tuple[Trade, ...]
    watch: Watch | None


class Archive:
    """The archive of one DATA_DIR, as one process sees it; the History of its book.

    Threads may share it. What it answers is as of the last `refresh`. Adding needs `rolling`.
    """

    def __init__(self, folder: Path, disk: Disk, lock: ProcessLock | None) -> None:
        """Without a *lock* nothing is mended and nothing can be added. Raises StoreCorrupt, Busy at `refresh`."""
        self.folder = folder
        self.mended: list[str] = []
        self._disk = disk
        self._lock = lock
        self._index = Index()
        self._seen: Stamp | None = None
        self._files: dict[str, int] = {}
        self._unsynced: set[str] = set()
        self._kept: OrderedDict[tuple[str, int], Filed] = OrderedDict()
        self._positions: OrderedDict[tuple[str, int], Position] = OrderedDict()
        self._guard = Lock()

    @property
    def index(self) -> Index:
        return self._index

    def close(self) -> None:
        with self._guard:
            for file in self._files.values():
                self._disk.close(file)
            self._files.clear()

    def refresh(self) -> None:
        """Take in what others have archived: one system call when that is nothing. Raises StoreCorrupt, Busy."""
        with trouble_told(self.folder / INDEX, "looked at"):
            stamp = self._disk.stamp(self.folder / INDEX)
        if stamp is None or stamp != self._seen:
            self._load()
            self._seen = stamp

    @contextmanager
    def rolling(self) -> Iterator[None]:
        """The right to add, for one process at a time. Raises Busy at once."""
        if self._lock is None:
            raise InvariantBroken("an archive without a lock takes nothing in")
        with self._lock.held(0):
            self.refresh()
            yield

    def add(self, records: Iterable[Mapping[str, Json]]) -> None:
        """Append *records* (see `record_of`). They are found here at once, elsewhere and surely after `commit`."""
        make_directory(self.folder)
        by_month: dict[str, list[Mapping[str, Json]]] = {}
        for one in records:
            by_month.setdefault(_month_file(one), []).append(one)
        for name, group in sorted(by_month.items()):
            place, entries = self._append(name, group)
            self._take_in(name, place, [card_of(self.folder, name, entry) for entry in entries])

    def commit(self) -> None:
        """Put the index on disk, durably, and before it all that it knows, whoever wrote that."""
        path = self.folder / INDEX
        with trouble_told(path, "written"):
            for name in sorted(self._unsynced):
                self._sync(name)
            self._unsynced.clear()
            replace_whole(path, self._index.encoded(), self._disk, sync=True)
            self._disk.sync_directory(self.folder.parent)
            self._seen = self._disk.stamp(path)

    def months(self) -> tuple[str, ...]:
        """The monthly files there are, oldest first."""
        with trouble_told(self.folder, "listed"):
            return tuple(name for name in self._disk.names(self.folder) if _MONTHLY.fullmatch(name))

    def rebuild(self, look: Callable[[str, Entry], None] | None = None) -> None:
        """Make the index anew from the files, showing each line to *look*; without a lock nothing is mended on disk."""
        self._index = Index()
        for name in self.months():
            self._take_in_rest(name, START, judged=True, look=look)

    def stored_index(self) -> Index | None:
        """The index on disk; None when it is missing, damaged or another version's."""
        path = self.folder / INDEX
        with trouble_told(path, "read"):
            stamp = self._disk.stamp(path)
            if stamp is None:
                return None
            file = self._disk.open(path, create=False, write=False)
            try:
                return index_of(self._disk.read(file, stamp.size, 0))
            finally:
                self._disk.close(file)

    # the history of a book

    def trade(self, trade_id: TradeId) -> Trade | None:
        return next((one for one in self._all("trade", trade_id) if one.id == trade_id), None)

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        return tuple(one for one in self._openings("signal", signal_id, _signal_of))

    def trade_of_key(self, request_key: str) -> Trade | None:
        return next(self._openings("key", request_key, lambda one: one.terms.request_key), None)

    def trade_of_approval(self, approval_id: str) -> TradeId | None:
        return next((one.id for one in self._openings("approval", approval_id, _approval_of)), None)

    def has_position(self, position_id: PositionId) -> bool:
        return bool(self._index.rows_named(digest_of("position", position_id)))

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        filed = self._find(position_id)
        return filed.trades if filed is not None else ()

    def watch(self, position_id: PositionId) -> Watch | None:
        filed = self._find(position_id)
        return filed.watch if filed is not None else None

    def losing_exits(self) -> Mapping[Pair, datetime]:
        return self._index.losing

    def sums(self) -> Sums:
        return self._index.sums

    def trade_count(self) -> int:
        return self._index.trade_count

    def positions(self, until: datetime | None = None) -> Iterator[Position]:
        index, latest = self._index, None if until is None else instant_of(until)
        for row in index.newest(latest):
            yield self._position(index, row)

    def trades(self, until: datetime | None = None) -> Iterator[Trade]:
        index, latest = self._index, None if until is None else instant_of(until)
        for row, part in index.newest_trades(latest):
            yield self._filed(index, row).trades[part]

    def holds_as_is(self, trades: Sequence[Trade], watch: Watch | None) -> bool:
        """Whether the position of *trades* is here with just these events and this *watch*."""
        filed = self._find(trades[0].terms.position_id)
        return filed is not None and filed.watch == watch and filed.trades == tuple(trades)

    def _find(self, position_id: PositionId) -> Filed | None:
        index = self._index
        for row in index.rows_named(digest_of("position", position_id)):
            filed = self._filed(index, row)
            if filed.trades[0].terms.position_id == position_id:
                return filed
        return None

    def _all(self, kind: str, name: str) -> Iterator[Trade]:
        """The trades of all positions that have a name with this hash, oldest position first."""
        index = self._index
        for row in index.rows_named(digest_of(kind, name)):
            yield from self._filed(index, row).trades

    def _openings(self, kind: str, name: str, word: Callable[[Trade], str | None]) -> Iterator[Trade]:
        return (one for one in self._all(kind, name) if one.opens and word(one) == name)

    def _position(self, index: Index, row: Row) -> Position:
        """Raises StoreCorrupt with its file and line, if it has to be read."""
        key = row.file, index.span(row)[0]
        with self._guard:
            known = self._positions.get(key)
            if known is not None:
                self._positions.move_to_end(key)
                return known
        filed = self._filed(index, row)
        position = position_of(filed.trades, filed.watch)
        with self._guard:
            self._positions[key] = position
            while len(self._positions) > POSITIONS_KEPT:
                self._positions.popitem(last=False)
        return position

    def _filed(self, index: Index, row: Row) -> Filed:
        """Read, check and fold one position. Raises StoreCorrupt with its file and line."""
        name = row.file
        seq, offset, size = index.span(row)
        with self._guard:
            kept = self._kept.get((name, seq))
            if kept is not None:
                self._kept.move_to_end((name, seq))
                return kept
            with trouble_told(self.folder / name, "read"):
                content = unsealed(self._disk.read(self._file_of(name), size, offset))
        if content is None or content.get("seq") != seq:
            raise StoreCorrupt(f"{self.folder / name}:{seq + 1} is damaged", file=str(self.folder / name), line=seq + 1)
        filed = filed_of(content, f"{self.folder / name}:{seq + 1}")
        with self._guard:
            self._kept[(name, seq)] = filed
            while len(self._kept) > RECORDS_KEPT:
                self._kept.popitem(last=False)
        return filed

    def _file_of(self, name: str) -> int:
        if name not in self._files:
            self._files[name] = self._disk.open(self.folder / name, create=False, write=False)
        return self._files[name]

    def _load(self) -> None:
        index = self.stored_index()
        if index is None:
            with self._lock.held(REBUILD_SECONDS) if self._lock is not None and self.months() else nullcontext():
                self.rebuild()
            return
        self._index = index
        for name in sorted({*index.segments, *self.months()}):
            self._adopt(name)

    def _adopt(self, name: str) -> None:
        """Take in lines that somebody did not live to index; while another adds, only those that stand for sure."""
        place = self._index.place(name)
        with trouble_told(self.folder / name, "looked at"):
            stamp = self._disk.stamp(self.folder / name)
        if stamp is None or (stamp.size < place.offset and place.line > 1):
            word = "is missing" if stamp is None else f"is shorter than {INDEX} knows"
            raise StoreCorrupt(f"{self.folder / name} {word}", file=str(self.folder / name), line=place.line)
        if place.line > 1 and stamp.size == place.offset + len(b"\n]\n"):
            return
        try:
            with self._lock.held(0) if self._lock is not None else nullcontext():
                self._take_in_rest(name, place, judged=True)
        except Busy:
            self._take_in_rest(name, place, judged=False)

    def _take_in_rest(
        self, name: str, start: Place, *, judged: bool, look: Callable[[str, Entry], None] | None = None
    ) -> None:
        journal = self._journal(name, start) if judged else self._reader(name, start)
        cards: list[Card] = []
        try:
            while entries := journal.read_ahead(READ_AHEAD) or (journal.follow() if judged else ()):
                cards += [card_of(self.folder, name, entry) for entry in entries]
                if look is not None:
                    for entry in entries:
                        look(name, entry)
                if len(cards) >= CARDS_HELD:
                    self._take_in(name, journal.place, cards)
                    cards = []
            self._take_in(name, journal.place, cards)
            self.mended += [journal.mended] if journal.mended is not None else []
        finally:
            journal.close()

    def _take_in(self, name: str, place: Place, cards: Sequence[Card]) -> None:
        """Add the *cards* of the lines of *name* up to *place*; older versions of the same positions leave."""
        self._unsynced.add(name)
        gone: dict[Row, Sums] = {}
        for card in cards:
            for row in self._index.rows_named(card.names[0]):
                filed = self._filed(self._index, row)
                position = position_of(filed.trades, filed.watch)
                gone[row] = Sums(1, position.realized, position.fees, position.funding)
        self._index = self._index.extended(name, cards, place._replace(synced=place.seq), gone)

    def _append(self, name: str, records: Sequence[Mapping[str, Json]]) -> tuple[Place, Sequence[Entry]]:
        journal = self._journal(name, self._index.place(name))
        entries: list[Entry] = []
        try:
            with journal.held():
                entries += journal.follow()
                for first in range(0, len(records), BATCH_RECORDS):
                    entries += journal.append_followed(records[first : first + BATCH_RECORDS], sync=False)
                return journal.place, entries
        finally:
            journal.close()

    def _sync(self, name: str) -> None:
        file = self._disk.open(self.folder / name, create=False, write=True)
        try:
            self._disk.sync(file)
        finally:
            self._disk.close(file)

    def _journal(self, name: str, start: Place) -> Journal:
        if self._lock is None:
            return self._reader(name, start)
        path = self.folder / name
        return Journal(path, lock=self._lock, disk=self._disk, start=start, torn_bytes_max=TORN_BYTES_MAX)

    def _reader(self, name: str, start: Place) -> Journal:
        path = self.folder / name
        return Journal(path, disk=self._disk, read_only=True, start=start, torn_bytes_max=TORN_BYTES_MAX)


def record_of(trades: Sequence[Trade], watch: Watch | None) -> dict[str, Json]:
    """The line of a position: *trades* are all it has, the opening one first."""
    position = position_of(trades, watch)
    return {
        "id": position.id,
        "position": encode_position(position),
        "trades": [
            {
                "id": trade.id,
                "effect": trade.terms.effect.value,
                "status": trade.status.value,
                "events": [encode_event(event) for event in trade.events],
            }
            for trade in trades
        ],
        "watch": encode_watch(watch) if watch is not None else None,
    }


def filed_of(content: Mapping[str, Json], where: str) -> Filed:
    """The position that a line says. Raises StoreCorrupt, naming *where*, when it does not fold."""
    body, watch = content.get("trades"), content.get("watch")
    try:
        trades = tuple(replay(decode_event(event) for event in _events_of(one)) for one in _list(body))
        found = Filed(trades, decode_watch(watch) if watch is not None else None)
    except (StoreCorrupt, InvariantBroken) as error:
        raise StoreCorrupt(f"{where}: {error.detail}") from error
    if not trades or not trades[0].opens or trades[0].terms.position_id != content.get("id"):
        raise StoreCorrupt(f"{where}: not the trades of {content.get('id')}")
    return found


def _month_file(content: Mapping[str, Json]) -> str:
    position = content["position"]
    ended = position.get("exit_time") if isinstance(position, dict) else None
    if not isinstance(ended, str):
        raise InvariantBroken(f"{content['id']} has not ended")
    return f"trades-{ended[:7]}.json"


def _signal_of(trade: Trade) -> str | None:
    return trade.terms.signal.id if trade.terms.signal is not None else None


def _approval_of(trade: Trade) -> str | None:
    return trade.terms.approval.id if trade.terms.approval is not None else None


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise StoreCorrupt("a list is wanted")
    return value


def _events_of(trade: Json) -> list[Json]:
    if not isinstance(trade, dict):
        raise StoreCorrupt("a trade is wanted")
    return _list(trade.get("events"))
