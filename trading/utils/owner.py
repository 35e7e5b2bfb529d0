"""How files and folders are made: for their owner alone, and whose they are.

The law: what root makes in the folder of another user is that user's, whose service is to read it. Only root hands
over, never through a link, and nothing that has a second name; where the system refuses, it stays root's.
"""

import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from trading.domain.errors import StoreCorrupt

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def for_owner(path: str | Path, flags: int) -> int:
    """A handle of the file at *path*, which is made if *flags* say so; also the `opener` of `open`. Raises OSError."""
    file = os.open(path, flags, FILE_MODE)
    if flags & os.O_CREAT and sys.platform != "win32" and os.geteuid() == 0:
        with suppress(OSError):
            _hand_over(file, path, _folder_of(path))
    return file


@lru_cache(256)
def _folder_of(path: str | Path) -> str:
    return os.path.dirname(path) or "."


def make_directory(path: Path) -> None:
    """Make *path* for its owner alone, parents included. Raises StoreCorrupt when the system refuses."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreCorrupt(f"{path} cannot be made: {error.strerror}", file=str(path)) from error
    if sys.platform != "win32" and os.geteuid() == 0:
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                _hand_over(file, path, path.parent)
            finally:
                os.close(file)


def _hand_over(file: int, path: str | Path, folder: str | Path) -> None:
    """Give *file*, which is root's, to whoever has the *folder*, if it is what *path* names there itself."""
    whose = os.stat(folder)
    if whose.st_uid == 0:
        return
    found = os.fstat(file)
    only_there = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    if found.st_uid == 0 and only_there and os.path.samestat(found, os.lstat(path)):
        os.fchown(file, whose.st_uid, whose.st_gid)
