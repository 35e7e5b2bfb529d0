"""A file of lines that every process of the machine appends to, and follows to learn what the others have appended.

The law: the caller holds a lock over both; a torn line ends where the next begins. At *bytes_max* the file becomes the
older one of two, which is read once more whenever a new file begins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trading.utils.owner import for_owner


class FollowedFile:
    """The lines of *path*. Every method raises OSError when the file cannot be used."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        self._path = path
        self._older = path.with_suffix(f"{path.suffix}.1")
        self._bytes_max = bytes_max
        self._inode = 0
        self._read_to = 0

    def append(self, lines: list[str], *, synced: bool) -> None:
        """Add *lines*; `news` tells them, too."""
        if self._read_to > self._bytes_max:
            self._path.replace(self._older)
        # A leading line break parts a line from a torn one before it.
        content = "".join(f"\n{line}\n" for line in lines).encode()
        with opened(self._path, os.O_WRONLY | os.O_APPEND) as file:
            os.write(file, content)
            if synced:
                os.fsync(file)

    def news(self) -> tuple[list[str], bool]:
        """The lines since the last look, and whether they are all that is known: the file is another one than it was,
        and what was followed before is to be forgotten. Torn and empty lines may be among them."""
        if self._is_read():
            return [], False
        with opened(self._path, os.O_RDONLY) as file:
            stat = os.fstat(file)
            anew = self._inode != stat.st_ino or self._read_to > stat.st_size
            start = 0 if anew else self._read_to
            before = _content(self._older) if anew else b""
            os.lseek(file, start, os.SEEK_SET)
            content = os.read(file, stat.st_size - start)
        self._inode, self._read_to = stat.st_ino, start + len(content)
        return (before + content).decode("utf-8", "replace").splitlines(), anew

    def _is_read(self) -> bool:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return False
        return (stat.st_ino, stat.st_size) == (self._inode, self._read_to)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """The descriptor of *path*, which is made if need be."""
    file = for_owner(path, flags | os.O_CREAT)
    try:
        yield file
    finally:
        os.close(file)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
