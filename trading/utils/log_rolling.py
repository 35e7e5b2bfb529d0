"""Where the lines of the activity log go when they are a day old: to the archive, a file for each month.

The law: a line is in the log or in the archive; it is in both only after a roll that did not live to shorten the log,
which the next one tells by its id.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trading.domain.codec import Json
from trading.domain.errors import StoreCorrupt
from trading.utils.disk import Disk, trouble_told
from trading.utils.journal import READ_AHEAD, Entry, Journal, lock_of, place_at_end, plain
from trading.utils.ledger import LOG
from trading.utils.locks import ProcessLock
from trading.utils.owner import make_directory
from trading.utils.successor import Successor

LOG_KEPT = timedelta(days=1)
LOG_LINES_KEPT = 1000


def roll_log(data_dir: Path, archive: Path, disk: Disk, now: datetime) -> None:
    """Move log lines older than a day to the folder *archive*, but for the newest; a damaged log is left as it is."""
    path = data_dir / LOG
    if disk.stamp(path) is None:
        return
    with suppress(StoreCorrupt):
        lines = _dated(path, disk)
        horizon = now - LOG_KEPT
        old = next((place for place, (_, at) in enumerate(lines) if at is not None and at >= horizon), len(lines))
        if min(old, len(lines) - LOG_LINES_KEPT) >= LOG_LINES_KEPT:
            _move_log(path, archive, disk, lines[: min(old, len(lines) - LOG_LINES_KEPT)], now)


def _move_log(path: Path, archive: Path, disk: Disk, old: Sequence[tuple[str, datetime | None]], now: datetime) -> None:
    make_directory(archive)
    lock = lock_of(path)
    months = _Months(archive, disk, lock, {name for name, _ in old})
    reader = Journal(path, read_only=True, disk=disk)
    fresh: Successor | None = None
    try:
        moved = 0
        while moved < len(old) and (entries := reader.read_ahead(min(READ_AHEAD, len(old) - moved))):
            months.take(entries, [at or now for _, at in old[moved : moved + len(entries)]])
            moved += len(entries)
        months.finish()
        fresh = Successor(path, reader.place.seq, disk)
        with lock.held():
            for entry in (*reader.follow(),):
                fresh.take(entry.content)
            fresh.put_in_place()
    finally:
        if fresh is not None:
            fresh.give_up()
        months.close()
        reader.close()


class _Months:
    """Log lines on their way to the files of their months; those that are there already are passed over."""

    def __init__(self, folder: Path, disk: Disk, lock: ProcessLock, names: set[str]) -> None:
        self._folder = folder
        self._disk = disk
        self._lock = lock
        self._names = names
        self._journals: dict[str, Journal] = {}
        self._known: dict[str, str | None] = {}

    def take(self, entries: Sequence[Entry], instants: Sequence[datetime]) -> None:
        groups: dict[str, list[Mapping[str, Json]]] = {}
        for entry, at in zip(entries, instants, strict=True):
            groups.setdefault(f"logs-{at.astimezone(UTC):%Y-%m}.json", []).append(entry.content)
        for name, group in groups.items():
            fresh = self._not_yet_there(name, group)
            self._opened(name).append([plain(one) for one in fresh], sync=False)

    def finish(self) -> None:
        """All of it on disk."""
        for name, journal in self._journals.items():
            with trouble_told(journal.path, "written"):
                file = self._disk.open(self._folder / name, create=False, write=True)
                try:
                    self._disk.sync(file)
                finally:
                    self._disk.close(file)

    def close(self) -> None:
        for journal in self._journals.values():
            journal.close()

    def _opened(self, name: str) -> Journal:
        if name not in self._journals:
            path = self._folder / name
            with trouble_told(path, "read"):
                place, last = place_at_end(path, self._disk)
            newest = str(last.get("id")) if last is not None else None
            # A line that is still in the log and the last one here: a roll that did not live to shorten the log.
            self._known[name] = newest if newest in self._names else None
            self._journals[name] = Journal(path, lock=self._lock, disk=self._disk, start=place)
        return self._journals[name]

    def _not_yet_there(self, name: str, group: list[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
        self._opened(name)
        newest = self._known[name]
        if newest is None:
            return group
        places = [place for place, one in enumerate(group) if one.get("id") == newest]
        if not places:
            return []
        self._known[name] = None
        return group[places[0] + 1 :]


def _dated(path: Path, disk: Disk) -> list[tuple[str, datetime | None]]:
    """The id and the instant of every line of the log that surely stands, but the last."""
    reader = Journal(path, read_only=True, disk=disk)
    found: list[tuple[str, datetime | None]] = []
    try:
        while entries := reader.read_ahead(READ_AHEAD):
            found += [(str(one.content.get("id")), _instant_of(one.content.get("timestamp"))) for one in entries]
        return found
    finally:
        reader.close()


def _instant_of(value: Json) -> datetime | None:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return instant if instant is not None and instant.tzinfo is not None else None
