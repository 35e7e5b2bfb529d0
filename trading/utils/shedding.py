"""How what has ended leaves the two journals of a store: into the archive, and then out of the files.

The law: the ledger lets go of a position only after the archive has it on disk, and of the ledger before the book.
Whoever dies on the way leaves a position in both places, or a book that is older than its ledger; a store mends both.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trading.domain.book import Book
from trading.domain.codec import Json, encode_watch
from trading.domain.units import PositionId
from trading.utils.archive import Archive, record_of
from trading.utils.disk import Disk
from trading.utils.journal import READ_AHEAD, Entry, Journal
from trading.utils.ledger import Fold
from trading.utils.locks import ProcessLock
from trading.utils.successor import Successor

ENDED_ROLLED_AT_ONCE = 200


class Shedding:
    """For one store, by whoever has the right to add to its *archive*.

    *lock* is the ledger's.
    """

    def __init__(self, ledger: Path, book: Path, archive: Archive, disk: Disk, lock: ProcessLock) -> None:
        self._paths = ledger, book
        self._archive = archive
        self._disk = disk
        self._lock = lock

    def file_away(self, book: Book, position_ids: Sequence[PositionId]) -> dict[PositionId, Json]:
        """Add to the archive what it does not hold as it is; each with the watch that it has there."""
        watches = {one: book.watch(one) for one in position_ids}
        held = {one: book.trades_of_position(one) for one in position_ids}
        for first in range(0, len(position_ids), ENDED_ROLLED_AT_ONCE):
            batch = position_ids[first : first + ENDED_ROLLED_AT_ONCE]
            fresh = [one for one in batch if not self._archive.holds_as_is(held[one], watches[one])]
            self._archive.add(record_of(held[one], watches[one]) for one in fresh)
        return {one: encode_watch(watch) if watch is not None else None for one, watch in watches.items()}

    def shed(
        self,
        gone: Mapping[PositionId, Json],
        seq: int,
        until: datetime,
        catch_up: Callable[[], None],
        *,
        caught_up: bool,
    ) -> None:
        """Put files without the positions *gone* in place; the archive holds them as they were at ledger line *seq*.

        What was there then is copied while others go on; only what came since is copied with them kept out. The ledger
        goes first: a book that is older than its ledger is caught up, one that is newer would be damage. Where nobody
        has *caught_up* yet, the book is said to know of nothing of what is left. *catch_up* takes in what the store has
        not seen, under the lock.
        """
        events, lines = self._readers()
        first = events.read_ahead(READ_AHEAD)
        fresh = Successor(events.path, seq, self._disk, self._base_facts(events, until))
        newest: dict[PositionId, Mapping[str, Json]] = {}
        kept: set[str] = set()

        def note(entries: Iterable[Entry]) -> None:
            for entry in entries:
                position_id = PositionId(str(entry.content.get("id")))
                newest.pop(position_id, None)
                if position_id not in gone or entry.content.get("watch") != gone[position_id]:
                    newest[position_id] = entry.content

        def copy(entries: Iterable[Entry]) -> None:
            for entry in entries:
                position_id = str(entry.content.get("position_id"))
                if entry.seq > seq or position_id not in gone:
                    fresh.take(entry.content)
                    kept.add(position_id)

        try:
            copy(first)
            while entries := events.read_ahead(READ_AHEAD):
                copy(entries)
            while entries := lines.read_ahead(READ_AHEAD):
                note(entries)
            with self._lock.held():
                if caught_up:
                    catch_up()
                copy(events.follow())
                note(lines.follow())
                left = [content for one, content in newest.items() if one in kept or not self._settled(one, content)]
                self._put_in_place(fresh, lines, left, fresh.seq if caught_up else seq)
                catch_up()
        finally:
            fresh.give_up()
            events.close()
            lines.close()

    def _base_facts(self, events: Journal, until: datetime) -> dict[str, Json]:
        """What the ledger remembers of what it let go of: how many positions, and when the last of them ended."""
        before, now = events.base.get("until"), until.astimezone(UTC).isoformat(timespec="microseconds")
        known = before if isinstance(before, str) else ""
        return {"archived": self._archive.sums().positions, "until": max(known, now)}

    def _put_in_place(self, fresh: Successor, lines: Journal, left: Iterable[Mapping[str, Json]], as_of: int) -> None:
        book = Successor(lines.path, lines.seq, self._disk)
        try:
            for content in left:
                book.take({**content, "as_of": as_of})
            fresh.put_in_place()
            book.put_in_place()
        finally:
            book.give_up()

    def _settled(self, position_id: PositionId, content: Mapping[str, Json]) -> bool:
        """Whether a line of a position without lines in the ledger only says what the archive says too."""
        if not self._archive.has_position(position_id):
            return False
        watch = self._archive.watch(position_id)
        return content.get("watch") == (encode_watch(watch) if watch is not None else None)

    def file_while_reading(self, stopped: datetime | None) -> tuple[dict[PositionId, Json], int]:
        """Add to the archive what has ended, a bounded part of the ledger in memory at a time; each with the watch that
        it has there, and how far the ledger was read. What has ended since an emergency stop began, at
        *stopped*, stays."""
        events, lines = self._readers()
        fold, gone = Fold(history=self._archive), dict[PositionId, Json]()

        def counts(position_id: PositionId) -> bool:
            ended = fold.book.position(position_id).exited_at
            return is_unsettled(fold.book, position_id) or (
                stopped is not None and ended is not None and ended >= stopped
            )

        try:
            while entries := lines.read_ahead(READ_AHEAD):
                fold.take_watches(entries, lines.path)
            while entries := events.read_ahead(READ_AHEAD):
                fold.take_events(entries, events.path)
                ended = [one for one in fold.ended() if not counts(one)]
                gone |= self.file_away(fold.book, ended)
                fold.book.forget(ended)
            return {one: watch for one, watch in gone.items() if not fold.knows(one)}, events.place.seq
        finally:
            events.close()
            lines.close()

    def _readers(self) -> tuple[Journal, Journal]:
        ledger, book = (Journal(path, read_only=True, disk=self._disk) for path in self._paths)
        return ledger, book


def is_unsettled(book: Book, position_id: PositionId) -> bool:
    """Whether something of it may turn up yet or is to be sold, an order never explained or a residue handed on; or it
    is what was taken over of such. Who looks for that looks into the memory."""
    return any(one.unexplained or one.gone or one.adopted for one in book.trades_of_position(position_id))
