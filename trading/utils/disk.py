"""The file operations that durability rests on, as a seam: the system's own, which a simulation replaces.

The law: what the system refuses is told in its own word; a file is replaced whole or not at all.
"""

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from trading.domain.errors import StoreCorrupt
from trading.utils.owner import for_owner


class Stamp(NamedTuple):
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int

    def same_file(self, other: "Stamp") -> bool:
        return (self.device, self.inode) == (other.device, other.inode)


class Disk(Protocol):
    """The file operations that durability rests on. All raise OSError; a simulated one may lose the unsynced."""

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        """A handle to read, and with *write* to write at offsets; *create* makes the file, for its owner alone."""

    def close(self, file: int) -> None: ...

    def stamp(self, path: Path) -> Stamp | None:
        """None when there is no such file."""

    def stamp_of(self, file: int) -> Stamp: ...

    def read(self, file: int, size: int, offset: int) -> bytes: ...

    def write(self, file: int, content: bytes, offset: int) -> None:
        """All of *content*, or OSError."""

    def truncate(self, file: int, size: int) -> None: ...

    def sync(self, file: int) -> None:
        """Return when what was written to *file*, and its length, survive a power failure."""

    def replace(self, source: Path, target: Path) -> None: ...

    def remove(self, path: Path) -> None:
        """Nothing when there is no such file."""

    def names(self, path: Path) -> tuple[str, ...]:
        """The names in a directory, sorted; none when there is no such directory."""

    def sync_directory(self, path: Path) -> None: ...


class SystemDisk:
    """The real thing. Windows has no positioned reads and writes; there the journal's lock makes seeking safe."""

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        flags = os.O_RDWR if write else os.O_RDONLY
        flags |= os.O_CREAT if create else 0
        return for_owner(path, flags | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def close(self, file: int) -> None:
        os.close(file)

    def stamp(self, path: Path) -> Stamp | None:
        try:
            return _stamp(os.stat(str(path)))
        except FileNotFoundError:
            return None

    def stamp_of(self, file: int) -> Stamp:
        return _stamp(os.fstat(file))

    def read(self, file: int, size: int, offset: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = _read_at(file, size, offset)
            if not part:
                break
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return b"".join(parts)

    def write(self, file: int, content: bytes, offset: int) -> None:
        done = 0
        while done < len(content):
            written = _write_at(file, content[done:], offset + done)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += written

    def truncate(self, file: int, size: int) -> None:
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        _sync(file)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def names(self, path: Path) -> tuple[str, ...]:
        try:
            return tuple(sorted(os.listdir(path)))
        except FileNotFoundError:
            return ()

    def sync_directory(self, path: Path) -> None:
        if os.name == "nt":  # Windows has no handle to a directory that could be synced
            return
        directory = os.open(path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _seek_and_read(file: int, size: int, offset: int) -> bytes:
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


def _seek_and_write(file: int, content: bytes, offset: int) -> int:
    os.lseek(file, offset, os.SEEK_SET)
    return os.write(file, content)


_read_at = getattr(os, "pread", _seek_and_read)
_write_at = getattr(os, "pwrite", _seek_and_write)
_sync = getattr(os, "fdatasync", os.fsync)


def new_file(path: Path, disk: Disk) -> int:
    """A file that is nobody else's: one that the dead left is taken away, not written over, since after a power failure
    it may still be the very file that has taken the other's place."""
    disk.remove(path)
    return disk.open(path, create=True, write=True)


def replace_whole(path: Path, content: bytes, disk: Disk, *, sync: bool) -> None:
    """Put a whole new file in the place of *path*: readers see the old one or the new one. Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    file = new_file(fresh, disk)
    try:
        disk.write(file, content, 0)
        if sync:
            disk.sync(file)
    finally:
        disk.close(file)
    disk.replace(fresh, path)
    if sync:
        disk.sync_directory(path.parent)


class _TroubleTold:
    """A context without a generator: it is entered some hundred times for one trade."""

    __slots__ = ("_path", "_verb")

    def __init__(self, path: Path, verb: str) -> None:
        self._path = path
        self._verb = verb

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            reason = errno.errorcode.get(error.errno or 0, "UNKNOWN")
            words = f"{self._path} cannot be {self._verb}: {error.strerror}"
            raise StoreCorrupt(words, file=str(self._path), reason=reason) from error


def trouble_told(path: Path, verb: str) -> AbstractContextManager[None]:
    """Turn an OSError on *path* into StoreCorrupt, with its symbolic name (ENOSPC, EROFS, ...) as `reason`."""
    return _TroubleTold(path, verb)
