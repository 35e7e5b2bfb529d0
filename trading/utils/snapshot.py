"""A DATA_DIR as it was at one instant, read at leisure while the service goes on.

The law: what is seen is a state that a crash at that instant could have left, over all files together. Files are only
appended to or replaced, so that a handle and a length, taken while writers are kept out for a moment, are enough.
"""

import errno
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from trading.domain.errors import Busy, StoreCorrupt
from trading.utils.disk import Stamp, SystemDisk, trouble_told
from trading.utils.ledger import ARCHIVE, BOOK, LEDGER, LEDGER_LOCK, STATE
from trading.utils.locks import LOCKS, ProcessLock
from trading.utils.owner import FILE_MODE
from trading.utils.takeover import is_between, refuse_between

LOCK_SECONDS = 2.0
COPY_BYTES = 1 << 20
# An append begins by overwriting the closing bracket.
TAIL_BYTES = 16


class _Frozen(NamedTuple):
    file: int
    stamp: Stamp
    tail: bytes


class Snapshot(SystemDisk):
    """A read-only Disk over the frozen files. Close it."""

    def __init__(self, data_dir: Path, *, locked: bool = False) -> None:
        """*locked* says that the caller holds the ledger's lock.

        Raises Busy when writers cannot be kept out in time, StoreCorrupt when the system refuses.
        """
        self.data_dir = data_dir
        self._frozen: dict[Path, _Frozen] = {}
        self._by_handle: dict[int, _Frozen] = {}
        with _writers_kept_out(data_dir, locked=locked):
            refuse_between(data_dir)
            # The ledger before the index before the archive: each holds all that the one before it counts on.
            for path in (data_dir / LEDGER, data_dir / BOOK, *_others(data_dir), *_archived(data_dir / ARCHIVE)):
                self._freeze(path)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._frozen)

    def release(self) -> None:
        """Let go of all files."""
        for one in self._frozen.values():
            os.close(one.file)
        self._frozen, self._by_handle = {}, {}

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        if write or create:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if path not in self._frozen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._frozen[path].file

    def close(self, file: int) -> None:
        """Handles are shared and stay until `release`."""

    def stamp(self, path: Path) -> Stamp | None:
        return self._frozen[path].stamp if path in self._frozen else None

    def stamp_of(self, file: int) -> Stamp:
        return self._by_handle[file].stamp

    def read(self, file: int, size: int, offset: int) -> bytes:
        _, stamp, tail = self._by_handle[file]
        content = super().read(file, max(0, min(size, stamp.size - offset)), offset)
        known = stamp.size - len(tail)
        if offset + len(content) <= known:
            return content
        return content[: max(0, known - offset)] + tail[max(0, offset - known) : offset + len(content) - known]

    def names(self, path: Path) -> tuple[str, ...]:
        return tuple(sorted(one.name for one in self._frozen if one.parent == path))

    def _freeze(self, path: Path) -> None:
        with trouble_told(path, "read"):
            try:
                file = super().open(path, create=False, write=False)
            except FileNotFoundError:
                return
            stamp = super().stamp_of(file)
            size = min(TAIL_BYTES, stamp.size)
            self._frozen[path] = _Frozen(file, stamp, super().read(file, size, stamp.size - size))
        self._by_handle[file] = self._frozen[path]


@contextmanager
def frozen(data_dir: Path, *, locked: bool = False) -> Iterator[Snapshot]:
    """A snapshot for the length of a `with`."""
    snapshot = Snapshot(data_dir, locked=locked)
    try:
        yield snapshot
    finally:
        snapshot.release()


def is_used(data_dir: Path) -> bool:
    """Whether a store has begun there. Raises StoreCorrupt where that cannot be seen."""
    if is_between(data_dir):
        return True
    for path in (data_dir / name for name in (LEDGER, BOOK, STATE)):
        with trouble_told(path, "read"):
            if SystemDisk().stamp(path) is not None:
                return True
    return False


def write_backup(data_dir: Path, target: Path, *, locked: bool = False) -> int:
    """Write all that *data_dir* knows to the tar file *target* (packed if its name ends in gz) and return how many
    files that are. The service may run. Raises StoreCorrupt, also when *target* exists, and Busy."""
    if target.exists():
        raise StoreCorrupt(f"{target} exists: name another file", file=str(target))
    if not is_used(data_dir):
        raise StoreCorrupt(f"{data_dir} has not been used yet: there is nothing to back up", file=str(data_dir))
    fresh = target.with_name(f".{target.name}.new")
    with frozen(data_dir, locked=locked) as snapshot, trouble_told(target, "written"):
        try:
            with os.fdopen(os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, FILE_MODE), "wb") as raw:
                with _tar(target, raw) as tar:
                    for path in snapshot.paths:
                        tar.addfile(_member(path.relative_to(data_dir), snapshot, path), _Reader(snapshot, path))
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(fresh, target)
        finally:
            # What did not fit stands in nobody's way.
            fresh.unlink(missing_ok=True)
        SystemDisk().sync_directory(target.parent)
        return len(snapshot.paths)


def _tar(target: Path, raw: io.BufferedWriter) -> tarfile.TarFile:
    if target.name.endswith("gz"):
        return tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1)
    return tarfile.open(fileobj=raw, mode="w")


def _member(name: Path, snapshot: Snapshot, path: Path) -> tarfile.TarInfo:
    stamp = snapshot.stamp(path)
    member = tarfile.TarInfo(name.as_posix())
    member.mode = FILE_MODE
    if stamp is not None:
        member.size, member.mtime = stamp.size, stamp.modified_ns // 1_000_000_000
    return member


class _Reader(io.RawIOBase):
    """A frozen file from its beginning to its end."""

    def __init__(self, snapshot: Snapshot, path: Path) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._file = snapshot.open(path, create=False, write=False)
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        content = self._snapshot.read(self._file, size if size >= 0 else COPY_BYTES, self._at)
        self._at += len(content)
        return content


@contextmanager
def _writers_kept_out(data_dir: Path, *, locked: bool) -> Iterator[None]:
    """Hold the append locks of all journals. A folder without locks is a copy: nobody writes there."""
    locks = data_dir / LOCKS
    with ExitStack() as stack:
        if not locked:
            stack.enter_context(_held(locks / LEDGER_LOCK, "the ledger"))
        for path in _others(data_dir):
            if path.name != STATE:
                # One that is busy for so long may look torn; the ledger never does.
                with suppress(Busy):
                    stack.enter_context(_held(locks / f"{path.name}.lock", path.name))
        yield


def _held(path: Path, name: str) -> AbstractContextManager[None]:
    return ProcessLock(path, name, LOCK_SECONDS, reading=True).held()


def _others(data_dir: Path) -> list[Path]:
    return [path for path in _listed(data_dir) if path.suffix == ".json" and path.name not in (LEDGER, BOOK)]


def _archived(folder: Path) -> list[Path]:
    return sorted(_listed(folder), key=lambda path: path.suffix == ".json")


def _listed(folder: Path) -> list[Path]:
    """The files of a folder but hidden ones, by name; none when there is no such folder."""
    with trouble_told(folder, "read"):
        names = SystemDisk().names(folder)
        return [folder / name for name in names if not name.startswith(".") and (folder / name).is_file()]
