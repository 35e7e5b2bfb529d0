"""A JSON array on disk, one record a line, appended in place by several processes that follow each other's tail.

The law: what was acknowledged is never lost and never changed; an append that did not finish is cut off and said;
anything else that is wrong is StoreCorrupt with its file and line. Corrupt is never empty.

    [
    {"seq":1,"schema":1,...,"checksum":"1c2f0a9e"},
    {"seq":2,"schema":1,...,"checksum":"b3a9d1c4"}
    ]

An append overwrites the closing bracket with the new lines and a new bracket in one write, so it costs the same at any
length. A file whose older records were rolled out begins with a line that names the `base`, the number before its
first. `checksum` is the CRC-32 of the line's text before `,"checksum"`. `synced` (left out when it is seq - 1) is the
last line that was known to be on disk when this one was written: it tells the holes of a power failure, which lie only
after it, from damage to what was acknowledged.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from trading.domain.codec import Json
from trading.domain.errors import InvariantBroken, StoreCorrupt
from trading.utils.disk import Disk, Stamp, SystemDisk, trouble_told
from trading.utils.locks import LOCKS, ProcessLock
from trading.utils.owner import make_directory
from trading.utils.sealing import SEAL_BYTES, sealed, unsealed

SCHEMA = 1
RESERVED = frozenset({"seq", "schema", "synced", "base", "checksum"})
LOCK_SECONDS = 2.0
CHUNK_BYTES = 1 << 20
READ_AHEAD = 500
"""Lines in memory at a time while a whole file is read: each takes some ten times of what it is on disk."""
TORN_BYTES_MAX = 1 << 20
HEADER = b"[\n"
EMPTY = b"[\n]\n"
_SEAL_MARK = re.compile(rb',"checksum":"')
_JOINT_LOST = re.compile(rb"(?:[\n\0]\n|\0\0)\{")
"""Of an append whose first sector, now lost, ended behind its comma or its line end: the old bracket's, or none."""


class Entry(NamedTuple):
    """A record as it stands in the file, *size* bytes from *offset*; `line` counts from 1, the opening bracket's line
    included."""

    line: int
    seq: int
    content: Mapping[str, Json]
    offset: int = 0
    size: int = 0


class Place(NamedTuple):
    """How far a journal was read: the offset after the last record, its number, the last that is surely on disk, and
    its line."""

    offset: int
    seq: int
    synced: int
    line: int


START = Place(len(HEADER), 0, 0, 1)


class Journal:
    """One journal file. Threads may share an instance; processes have one each.

    `mended` says what was cut off or closed, last time there was something to mend. `replaced` counts how often the
    file under *path* turned out to be another one, after which `follow` begins anew. Journals that are written together
    may share a (reentrant) lock.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock: ProcessLock | None = None,
        disk: Disk | None = None,
        must_exist: bool = False,
        read_only: bool = False,
        start: Place = START,
        torn_bytes_max: int = TORN_BYTES_MAX,
        schema: int = SCHEMA,
        any_beginning: bool = False,
    ) -> None:
        """Open, and unless *must_exist* make, the file. `read_only` neither makes, mends nor locks anything; one with
        *any_beginning* is for what can be `salvaged`.

        *start* is a place whose records the caller knows: `follow` begins after it.
        """
        self.path = path
        self.mended: str | None = None
        self.replaced = 0
        self.base: Mapping[str, Json] = {}
        self._torn_bytes_max = torn_bytes_max
        self._schema = schema
        self._disk: Disk = disk if disk is not None else SystemDisk()
        self._read_only = read_only
        self._any_beginning = any_beginning
        self._lock = None if read_only else lock or lock_of(path)
        self._file: int | None = None
        self._tail = self._cursor = START
        self._seen: Stamp | None = None
        with self.held(), self._trouble_told("opened"):
            self._open(create=not (must_exist or read_only))
        self._tail = self._cursor = start

    def held(self) -> AbstractContextManager[None]:
        """The append lock, reentrant: what happens inside is one step to everybody else. Raises Busy."""
        return self._lock.held() if self._lock is not None else nullcontext()

    @property
    def seq(self) -> int:
        """The number of the last record known; 0 when there is none."""
        return self._tail.seq

    @property
    def place(self) -> Place:
        """How far it was read."""
        return self._cursor

    @property
    def seen(self) -> Stamp | None:
        """The file as it was when last read or written here."""
        return self._seen

    def stamp(self) -> Stamp | None:
        """The file as it is now: one system call and no lock."""
        try:
            return self._disk.stamp(self.path)
        except OSError:
            with self._trouble_told("looked at"):
                raise

    def follow(self) -> tuple[Entry, ...]:
        """What anybody has appended since the last call, this instance included; at first, everything.

        Costs one stat when nothing happened, else no more than reading what is new. Raises StoreCorrupt, Busy.
        """
        if self._cursor == self._tail and self._seen is not None and self.stamp() == self._seen:
            return ()
        with self.held(), self._trouble_told("read"):
            self._refresh()
            entries: list[Entry] = []
            self._tail = self._cursor = self._scan(self._cursor, entries)
            self._seen = self._disk.stamp_of(self._handle)
            return tuple(entries)

    def renew(self) -> bool:
        """Go on with the file that is under the path now, before it is followed: only inside `held`. True, after one
        system call, where nothing has happened to it and there is nothing to follow."""
        if self._seen is not None and self.stamp() == self._seen:
            return self._cursor == self._tail
        with self._trouble_told("read"):
            self._refresh()
        return False

    def read_ahead(self, count: int) -> tuple[Entry, ...]:
        """Up to *count* further records, read without a lock while others append; nothing when only the end is left.

        What it stops at, the last record always, is for `follow` to judge. For one thread alone.
        """
        entries: list[Entry] = []
        with self._trouble_told("read"):
            self._cursor = self._read(self._cursor, entries, count)
        if self._cursor.line > self._tail.line:
            self._tail = self._cursor
        return tuple(entries)

    def salvaged(self) -> Iterator[Entry]:
        """Every record that checks by itself, whatever stands between them. Raises OSError."""
        at = len(HEADER)
        for line, raw in enumerate(self._lines(at), start=2):
            body, content = _record_at_start_of(raw)
            if content is not None and "base" not in content and content.get("schema") == self._schema:
                yield Entry(line, _number(content), content, at, len(body))
            at += len(raw)

    def rewind(self) -> None:
        """Let the next `follow` begin at the first record."""
        self._cursor = START
        self._seen = None

    def append(self, records: Sequence[Mapping[str, Json]], *, sync: bool = True) -> int:
        """Write *records* in one go, durable on return when *sync*; return the number of the last one.

        A disk that refuses is StoreCorrupt with the system's word in `reason`, and nothing of the records stays if the
        disk lets itself be tidied. Raises InvariantBroken for what is no JSON or uses a reserved name.
        """
        with self.held(), self._trouble_told("read"):
            if self._seen is None or self.stamp() != self._seen:
                self._refresh()
                self._tail = self._scan(self._tail, [])
            if records:
                self._write(records, sync=sync)
            return self._tail.seq

    def append_followed(self, records: Sequence[Mapping[str, Json]], *, sync: bool = True) -> tuple[Entry, ...]:
        """Like `append`, by one who has read everything: what was written counts as read and is returned.

        Only inside `held`, after `follow`.
        """
        with self._trouble_told("written"):
            if self._seen is None:  # a write has failed since it was followed
                self._tail = self._scan(self._tail, [])
            if self._cursor != self._tail:
                raise InvariantBroken(f"{self.path.name} was not followed before it was written")
            entries = self._write(records, sync=sync)
            self._cursor = self._tail
            return entries

    def make_sure(self) -> None:
        """Sync what was read, in case that its writer did not live to. Only inside `held`; costs nothing if all is."""
        if self._tail.synced < self._tail.seq:
            with self._trouble_told("written"):
                self._disk.sync(self._handle)
            ahead = self._cursor == self._tail
            self._tail = self._tail._replace(synced=self._tail.seq)
            self._cursor = self._tail if ahead else self._cursor

    def close(self) -> None:
        """Let go of the file; the instance is of no further use."""
        if self._file is not None:
            self._disk.close(self._file)
            self._file = None

    @property
    def _handle(self) -> int:
        if self._file is None:
            raise StoreCorrupt(f"{self.path} is closed", file=str(self.path))
        return self._file

    def _write(self, records: Sequence[Mapping[str, Json]], *, sync: bool) -> tuple[Entry, ...]:
        tail = self._tail
        lines: list[bytes] = []
        entries: list[Entry] = []
        at = tail.offset + (2 if tail.line > 1 else 0)
        for count, record in enumerate(records, start=1):
            seq = tail.seq + count
            known = {} if tail.synced == seq - 1 else {"synced": tail.synced}
            lines.append(self._line(seq, known, record))
            entries.append(Entry(tail.line + count, seq, record, at, len(lines[-1])))
            at += len(lines[-1]) + 2
        body = (b",\n" if tail.line > 1 else b"") + b",\n".join(lines)
        try:
            self._disk.write(self._handle, body + b"\n]\n", tail.offset)
            if sync:
                self._disk.sync(self._handle)
        except OSError:
            self._take_back()
            raise
        last = tail.seq + len(lines)
        self._tail = Place(tail.offset + len(body), last, last if sync else tail.synced, tail.line + len(lines))
        self._seen = self._disk.stamp_of(self._handle)
        return tuple(entries)

    def _line(self, seq: int, known: Mapping[str, Json], record: Mapping[str, Json]) -> bytes:
        if not RESERVED.isdisjoint(record):
            raise InvariantBroken(f"a record of {self.path.name} may not name its own {sorted(RESERVED)}")
        return sealed({"seq": seq, "schema": self._schema, **known, **record})

    def _take_back(self) -> None:
        """Remove what a failed write may have left; if that fails too, whoever comes next mends the torn tail."""
        self._seen = None
        with suppress(OSError):
            self._close_after(self._tail)

    def _close_after(self, place: Place) -> None:
        # The cut comes first: between the two steps the file is one whose bracket is missing, and that can be mended.
        # The opening bracket is on disk since the file was made and is never cut: nobody may live to sync a new one.
        self._disk.truncate(self._handle, place.offset)
        self._disk.write(self._handle, _closing(place), place.offset)

    def _begin(self, file: int) -> None:
        self._disk.truncate(file, 0)
        self._disk.write(file, EMPTY, 0)

    def _open(self, *, create: bool) -> None:
        exists = self._disk.stamp(self.path) is not None
        if not exists and not create:
            raise StoreCorrupt(f"{self.path} is missing", file=str(self.path))
        file = self._disk.open(self.path, create=create, write=not self._read_only)
        try:
            if not self._any_beginning:
                self._check_beginning(file)
        except (OSError, StoreCorrupt):
            self._disk.close(file)
            raise
        self._file = file
        self._tail = self._cursor = START
        self._seen = None

    def _check_beginning(self, file: int) -> None:
        """A file of no length, or of a few holes, is one whose maker died at once, `[]` an array that a tool wrote: all
        begin here."""
        head = self._disk.read(file, 16, 0)
        sound = head.startswith(HEADER)
        if sound and len(head) > len(EMPTY):
            return
        if not sound and not _begun(head) and b"".join(head.split()) != b"[]":
            raise StoreCorrupt(f"{self.path}:1 is not the beginning of a journal", file=str(self.path), line=1)
        if not self._read_only:
            if head != EMPTY:
                self._begin(file)
            self._disk.sync(file)  # also one that is whole: who made it may not have lived to
            self._disk.sync_directory(self.path.parent)

    def _refresh(self) -> None:
        """Go on with the file that is under the path now."""
        stamp = self._disk.stamp(self.path)
        if stamp is None:
            raise StoreCorrupt(f"{self.path} has vanished", file=str(self.path))
        if not stamp.same_file(self._disk.stamp_of(self._handle)):
            self.close()
            self._open(create=False)
            self.replaced += 1

    def _scan(self, start: Place, entries: list[Entry]) -> Place:
        """Read what follows *start* into *entries* and return the new place. The caller holds the lock."""
        place = self._read(start, entries, None)
        self._judge(place)
        return place

    def _read(self, start: Place, entries: list[Entry], count: int | None) -> Place:
        """Read good records after *start*; with a *count* only so many, and only those that others stand behind."""
        place = start
        at = start.offset + (2 if start.line > 1 else 0)
        lines = self._lines(start.offset)
        if start.line > 1 and next(lines, b"") != b",\n":
            return place
        for raw in lines:
            body, content = _record_at_start_of(raw)
            if content is None or (count is not None and raw[len(body) :] != b",\n"):
                break
            if place.line == 1 and "base" in content:
                self.base = content
            elif content.get("seq") == place.seq + 1:
                entries.append(Entry(place.line + 1, place.seq + 1, content, at, len(body)))
            else:
                break
            self._refuse_other(content, place.line + 1)
            seq = _number(content)
            place = Place(at + len(body), seq, max(place.synced, _synced_before(content)), place.line + 1)
            at += len(raw)
            if raw[len(body) :] != b",\n" or len(entries) == count:
                break
        return place

    def _lines(self, offset: int) -> Iterator[bytes]:
        """The file's lines from *offset*, line ends included; the last one may lack its own."""
        rest = b""
        while chunk := self._disk.read(self._handle, CHUNK_BYTES, offset):
            offset += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if rest:
            yield rest

    def _judge(self, place: Place) -> None:
        """See what comes after the last good record: the closing bracket, an append that did not finish, or damage.

        Unfinished means that the bracket is missing, or the one before it still stands, or that there are holes, that
        it is no more than appends leave, and that no line stands behind which was written when the first bad one was
        already known to be on disk.
        """
        size = self._disk.stamp_of(self._handle).size
        if size < place.offset and place.line > 1:
            raise self._corrupt(place.line, "is gone: the file has shrunk")
        if size - place.offset > self._torn_bytes_max:
            raise self._corrupt(place.line + 1, "is damaged")
        rest = self._disk.read(self._handle, size - place.offset, place.offset)
        if rest == _closing(place):
            return
        # An append whose first sector did not reach the disk leaves the old bracket, or its first byte, standing.
        old_bracket = place.line > 1 and rest.startswith(b"\n")
        unfinished = old_bracket or not rest.endswith(b"\n]\n") or b"\0" in rest
        behind = (unsealed(line.removesuffix(b",")) for line in re.split(rb"[\n\0]+", rest))
        only_joint_lost = place.line > 1 and _JOINT_LOST.match(rest) is not None
        known = _known_before if only_joint_lost else _known_after
        if not unfinished or any(line is not None and known(line, place.seq) for line in behind):
            raise self._corrupt(place.line + 1, "is damaged")
        self._mend(place, rest)

    def _mend(self, place: Place, rest: bytes) -> None:
        if _closing(place).startswith(rest):
            self.mended = f"{self.path}:{place.line} closed again after it"
        else:
            self.mended = f"{self.path}:{place.line + 1} cut off ({len(rest)} bytes): an append that did not finish"
        if not self._read_only:
            self._close_after(place)
            self._disk.sync(self._handle)

    def _refuse_other(self, content: Mapping[str, Json], line: int) -> None:
        schema = content.get("schema")
        if schema != self._schema:
            word = f"has schema {schema}, this version knows {self._schema}: use the version that wrote it"
            raise self._corrupt(line, word, schema=schema)

    def _corrupt(self, line: int, word: str, **facts: object) -> StoreCorrupt:
        return StoreCorrupt(f"{self.path}:{line} {word}", file=str(self.path), line=line, **facts)

    def _trouble_told(self, verb: str) -> AbstractContextManager[None]:
        return trouble_told(self.path, verb)


def place_at_end(path: Path, disk: Disk) -> tuple[Place, Mapping[str, Json] | None]:
    """The last whole record of a journal that was never rolled, found from its end, and what it says.

    START and None when there is none in the last MiB. Raises OSError. What is behind it is for a journal to judge.
    """
    stamp = disk.stamp(path)
    if stamp is None:
        return START, None
    file = disk.open(path, create=False, write=False)
    try:
        begin = max(stamp.size - TORN_BYTES_MAX, 0)
        rest = disk.read(file, stamp.size - begin, begin)
    finally:
        disk.close(file)
    end = len(rest)
    while (cut := rest.rfind(b"\n", 0, end)) >= 0:
        body, content = _record_at_start_of(rest[cut + 1 : end])
        if content is not None:
            seq = _number(content)
            return Place(begin + cut + 1 + len(body), seq, _synced_before(content), seq + 1), content
        end = cut
    return START, None


def salvaged(path: Path, disk: Disk) -> Iterator[Entry]:
    """Every record of a damaged file that still checks by itself. Nothing of one that cannot be read."""
    with suppress(OSError, StoreCorrupt):
        journal = Journal(path, disk=disk, read_only=True, any_beginning=True)
        try:
            yield from journal.salvaged()
        finally:
            journal.close()


def plain(content: Mapping[str, Json]) -> dict[str, Json]:
    """A record without what its journal added to it."""
    return {name: value for name, value in content.items() if name not in RESERVED}


def lock_of(path: Path) -> ProcessLock:
    make_directory(path.parent)
    return ProcessLock(path.parent / LOCKS / f"{path.name}.lock", path.name, LOCK_SECONDS, reentrant=True)


def _closing(place: Place) -> bytes:
    return b"\n]\n" if place.line > 1 else b"]\n"


def _begun(head: bytes) -> bool:
    """Whether *head* is all of a file that EMPTY was written to and that a power failure left in part."""
    return len(head) <= len(EMPTY) and all(one in (0, due) for one, due in zip(head, EMPTY, strict=False))


def _number(content: Mapping[str, Json]) -> int:
    seq = content.get("seq")
    return seq if isinstance(seq, int) else 0


def _record_at_start_of(raw: bytes) -> tuple[bytes, dict[str, Json] | None]:
    """The record that begins a line of the file, and its text: what a torn append left behind it does not spoil it,
    such as the end of a record that has lost its beginning, line end before it included."""
    whole = raw.removesuffix(b"\n").removesuffix(b",")
    content = unsealed(whole)
    if content is not None:
        return whole, content
    for mark in _SEAL_MARK.finditer(raw):
        body = raw[: mark.start() + SEAL_BYTES]
        content = unsealed(body)
        if content is not None:
            return body, content
    return whole, None


def _known_after(line: Mapping[str, Json], seq: int) -> bool:
    """True when *line* shows that record seq + 1 was on disk, or is that record, shifted: no torn append looks so."""
    return _synced_before(line) > seq or line.get("seq") == seq + 1


def _known_before(line: Mapping[str, Json], seq: int) -> bool:
    """True when *line* was written when record seq + 1 was already on disk."""
    return _synced_before(line) > seq


def _synced_before(content: Mapping[str, Json]) -> int:
    seq, synced = content.get("seq"), content.get("synced")
    if isinstance(synced, int):
        return synced
    return seq - 1 if isinstance(seq, int) else 0
