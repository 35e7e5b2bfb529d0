"""Locks that exclude threads and processes alike and that the system frees when their holder dies.

The law: every wait has an end (Busy), and a lock file is only ever locked, never believed: its presence means nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from trading.domain.errors import Busy, StoreCorrupt

POLL_SECONDS = 0.002
FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


class ProcessLock:
    """One lock, known to every process by its *path* and to people as *name*.

    `reentrant` lets the thread that holds it take it again. Waiting takes at most `timeout_seconds` for the threads of
    this process and as long again for other processes. It does not survive a fork: make it in the process that uses it.
    """

    def __init__(self, path: Path, name: str, timeout_seconds: float, *, reentrant: bool = False) -> None:
        self.path = path
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._threads = threading.RLock() if reentrant else threading.Lock()
        self._depth = 0
        make_directory(path.parent)
        self._file = file_lock(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it for the length of a `with`. Raises Busy when it could not be had in time."""
        if not self._threads.acquire(timeout=self._timeout_seconds):
            raise Busy(f"{self._name} is held by another thread", lock=str(self.path))
        try:
            if self._depth == 0:
                acquire(self._file, self._name, self._timeout_seconds)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._file.release()
        finally:
            self._threads.release()


def file_lock(path: Path) -> FileLock:
    """A lock of its own on *path*: two of them exclude each other also within one thread.

    The soft fallback is off: it believes in files left behind by the dead.
    """
    return FileLock(path, thread_local=False, mode=FILE_MODE, fallback_to_soft=False)


def acquire(lock: FileLock, name: str, timeout_seconds: float) -> None:
    """Take *lock* or raise Busy; a lock file that cannot be made or locked at all is StoreCorrupt."""
    try:
        lock.acquire(timeout=timeout_seconds, poll_interval=POLL_SECONDS)
    except Timeout as error:
        raise Busy(f"{name} is held by somebody else", lock=lock.lock_file) from error
    except OSError as error:
        raise StoreCorrupt(f"{lock.lock_file} cannot be locked: {error.strerror}", file=lock.lock_file) from error


def make_directory(path: Path) -> None:
    """Make *path* for its owner alone, parents included. Raises StoreCorrupt when the system refuses."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreCorrupt(f"{path} cannot be made: {error.strerror}", file=str(path)) from error
