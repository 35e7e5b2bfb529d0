"""Locks that exclude threads and processes alike and that the system frees when their holder dies.

The law: every wait has an end (Busy), and a lock file is only ever locked, never believed: its presence means nothing.
"""

import os
import re
import struct
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from trading.domain.errors import Busy, InvariantBroken, StoreCorrupt
from trading.utils.owner import FILE_MODE, for_owner, make_directory

if sys.platform != "win32":
    import fcntl

LOCKS = "locks"
"""The folder of the lock files, in DATA_DIR."""
POLL_SECONDS = 0.002
NEXT_LOOKS_TIMES = 10
MONITOR_SECONDS = 1.0
LOOK_SECONDS = 2.0
_SEAT = re.compile(r"[A-Za-z0-9_-]{1,64}")
# struct flock of Linux: type, whence, start, length, process.
_RANGE = struct.Struct("hhqqi")
_PLACE_BITS = 62
HAS_RANGES = sys.platform == "linux"
"""Whether a byte of a file can be locked for an open file instead of for a process: Linux since 3.15."""


class _OpenFile:
    """flock on a file that stays open between two acquisitions. Not for Windows.

    *reading* keeps writers out and makes nothing; a file that is not there is had, for nobody has written there yet.
    """

    def __init__(self, path: str, *, reading: bool = False) -> None:
        self.path = path
        self._reading = reading
        self._file: int | None = None
        self._close: Callable[[], object] = lambda: None

    def had(self, *, checked: bool = True) -> bool:
        """One try. *checked*: a lock on a file that somebody has removed meanwhile does not count."""
        if sys.platform == "win32":
            raise OSError("there is no flock here")
        if self._file is None:
            try:
                flags = os.O_RDONLY if self._reading else os.O_RDWR | os.O_CREAT
                self._file = for_owner(self.path, flags | os.O_CLOEXEC)
            except FileNotFoundError:
                if self._reading:
                    return True
                raise
            self._close = weakref.finalize(self, os.close, self._file)
        try:
            # A network file system lets nobody exclude all who may only read.
            fcntl.flock(self._file, (fcntl.LOCK_SH if self._reading else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not checked or os.fstat(self._file).st_nlink:
            return True
        self.close()
        return False

    def let_go(self) -> None:
        if sys.platform != "win32" and self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file as well."""
        self._close()
        self._file = None


def _try(had: Callable[[], bool], path: str, until: float, interval: float) -> None:
    """Have the lock at *path*, of which *had* is one try: at the first or by *until* on the machine's monotonic clock,
    for on one that is busy a thousand tries take three times as long. Raises filelock's Timeout."""
    while not had():
        left = until - time.monotonic()
        if left <= 0:
            raise Timeout(path)
        time.sleep(min(interval, left))


class OpenLock:
    """A fair lock on files that stay open: ten times cheaper than filelock, which serves where there is no flock.

    Whoever has the turn is next: one who lets go and wants it again at once stands behind those who wait.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self.lock_file = str(path)
        self._elsewhere = file_lock(path) if sys.platform == "win32" else None
        self._lock = _OpenFile(self.lock_file, reading=reading)
        self._turn = _OpenFile(f"{self.lock_file}.turn", reading=reading)

    def acquire(self, timeout: float, poll_interval: float) -> None:
        """Raises filelock's Timeout, and OSError where the system refuses."""
        if self._elsewhere is not None:
            self._elsewhere.acquire(timeout=timeout, poll_interval=poll_interval)
            return
        until = time.monotonic() + timeout
        # Two that have a turn each, for one file was removed, are still one behind the other at the lock itself.
        _try(partial(self._turn.had, checked=False), self._turn.path, until, poll_interval)
        try:
            # The one that is next looks more often: the others wait for it.
            until = max(until, time.monotonic() + poll_interval)
            _try(self._lock.had, self._lock.path, until, poll_interval / NEXT_LOOKS_TIMES)
        finally:
            self._turn.let_go()

    def release(self) -> None:
        if self._elsewhere is not None:
            self._elsewhere.release()
        else:
            self._lock.let_go()

    def is_free(self) -> bool:
        """Whether it could be had just now, without standing in line for it. False also where that cannot be told."""
        if self._elsewhere is not None:
            return False
        try:
            free = self._lock.had()
        except OSError:
            return False
        if free:
            self._lock.let_go()
        return free


class BriefLock:
    """A lock on a file that is open while it is held and no longer, so that many may be known and few are open.

    Two of them exclude each other also within one thread. Not fair, for those who want a seat come and go.
    """

    def __init__(self, path: Path) -> None:
        self.lock_file = str(path)
        self._elsewhere = file_lock(path) if sys.platform == "win32" else None
        self._file = _OpenFile(self.lock_file)

    def acquire(self, timeout: float, poll_interval: float) -> None:
        """Raises filelock's Timeout, and OSError where the system refuses."""
        if self._elsewhere is not None:
            self._elsewhere.acquire(timeout=timeout, poll_interval=poll_interval)
            return
        try:
            _try(self._file.had, self._file.path, time.monotonic() + timeout, poll_interval)
        except Timeout:
            self._file.close()
            raise

    def release(self) -> None:
        if self._elsewhere is not None:
            self._elsewhere.release()
        else:
            self._file.close()


class RangeLock:
    """A lock on one byte of the file at *path*, far behind its end: that of *name*. For Linux.

    No file is made for it, which takes as long as all else of a seat, and longer while the disk is at work, and none is
    left behind. It belongs to the open file (fcntl(2), "Open file description locks"), so that two of them exclude each
    other also within one thread. Two names share a byte once in 2^62. Not fair.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.lock_file = str(path)
        place = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) >> (64 - _PLACE_BITS)
        self._wish = _RANGE.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0) if sys.platform == "linux" else b""
        self._file: int | None = None

    def acquire(self, timeout: float, poll_interval: float) -> None:
        """Raises filelock's Timeout, and OSError where the system refuses."""
        _try(self._had, self.lock_file, time.monotonic() + timeout, poll_interval)

    def release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _had(self) -> bool:
        """One try. A lock on a file that somebody has removed meanwhile does not count."""
        if sys.platform != "linux":
            raise OSError("there are no locks of open files here")
        self._file = for_owner(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, self._wish)
            if os.fstat(self._file).st_nlink:
                return True
        except (BlockingIOError, PermissionError):
            pass  # EAGAIN or EACCES, as the standard leaves it open: somebody else has it
        except OSError:
            self.release()
            raise
        self.release()
        return False


class Lock(Protocol):
    """What `acquire` needs of a lock."""

    lock_file: str

    def acquire(self, timeout: float, poll_interval: float) -> None: ...

    def release(self) -> None: ...


class ProcessLock:
    """One lock, known to every process by its *path* and to people as *name*.

    `reentrant` lets the thread that holds it take it again. Waiting takes at most `timeout_seconds` for the threads of
    this process and as long again for other processes. It does not survive a fork: make it in the process that uses it.
    One for `reading` keeps out those who write, and on POSIX makes nothing, so that it serves in another's folder.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        timeout_seconds: float,
        *,
        reentrant: bool = False,
        reading: bool = False,
        refusal: type[Busy] = Busy,
    ) -> None:
        self.path = path
        self._refusal = refusal
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._threads = threading.RLock() if reentrant else threading.Lock()
        self._depth = 0
        if not reading or sys.platform == "win32":
            make_directory(path.parent)
        self._file = OpenLock(path, reading=reading)

    def held(self, timeout_seconds: float | None = None) -> AbstractContextManager[None]:
        """Hold it for the length of a `with`. Raises Busy, or its own `refusal`, when it could not be had in its own
        time or the one given."""
        return _Held(self, self._timeout_seconds if timeout_seconds is None else timeout_seconds)

    def is_free(self) -> bool:
        """Whether nobody holds it just now, this thread left aside. Costs a third of having it."""
        if not self._threads.acquire(blocking=False):
            return False
        try:
            return self._depth > 0 or self._file.is_free()
        finally:
            self._threads.release()

    def take(self, wait_seconds: float) -> None:
        """`held` begins with this, and raises what it does."""
        if not self._threads.acquire(timeout=wait_seconds):
            raise self._refusal(f"{self._name} is held by another thread", lock=str(self.path))
        try:
            if self._depth == 0:
                acquire(self._file, self._name, wait_seconds, self._refusal)
            self._depth += 1
        except BaseException:
            self._threads.release()
            raise

    def give_back(self) -> None:
        """`held` ends with this."""
        try:
            self._depth -= 1
            if self._depth == 0:
                self._file.release()
        finally:
            self._threads.release()


class _Held(AbstractContextManager[None]):
    """The `with` of a ProcessLock, which a trade enters forty times: a generator would take twice the calls."""

    __slots__ = ("_lock", "_wait_seconds")

    def __init__(self, lock: ProcessLock, wait_seconds: float) -> None:
        self._lock = lock
        self._wait_seconds = wait_seconds

    def __enter__(self) -> None:
        self._lock.take(self._wait_seconds)

    def __exit__(self, *_: object) -> None:
        self._lock.give_back()


class Seats:
    """The rights to work one trade and to be the monitor, under *locks*.

    One byte of one file an id, so that no trade ever waits for another; a file an id where there are no such locks. Not
    reentrant: the thread that holds a seat is refused too.
    """

    def __init__(self, locks: Path, *, ranges: bool = HAS_RANGES) -> None:
        self._folder = locks / "seats"
        self._file = locks / "seats.lock"
        self.ranges = ranges
        make_directory(locks)
        if not ranges:
            make_directory(self._folder)
        self._monitor_path = locks / "monitor.lock"
        self._look = ProcessLock(locks / "monitor.probe.lock", "the look at the monitor", LOOK_SECONDS)

    @contextmanager
    def seat(self, name: str, wait_seconds: float) -> Iterator[None]:
        """Raises Busy, and InvariantBroken for what is no name."""
        if not _SEAT.fullmatch(name):
            raise InvariantBroken(f"{name!r} is no name for a seat")
        lock = RangeLock(self._file, name) if self.ranges else BriefLock(self._folder / f"{name}.lock")
        with _locked(lock, f"the seat of {name}", wait_seconds):
            yield

    @contextmanager
    def monitor_seat(self) -> Iterator[None]:
        """Waits a second, since those who look for its holder do so by trying. Raises Busy."""
        with _locked(BriefLock(self._monitor_path), "the monitor's seat", MONITOR_SECONDS):
            yield

    def monitor_sits(self) -> bool:
        """Looks are taken one at a time: a lock found taken is the monitor's, not another's look."""
        with self._look.held():
            try:
                with _locked(BriefLock(self._monitor_path), "the monitor's seat", 0):
                    return False
            except Busy:
                return True

    def prune(self, kept: set[str]) -> None:
        """Remove the files of free seats but those *kept*; on Linux only an earlier version has left any. A lock on a
        file that is gone does not count: it is looked for again."""
        for path in self._folder.glob("*.lock"):
            if path.stem in kept:
                continue
            # One that stays is only untidy.
            with suppress(Busy, OSError), _locked(BriefLock(path), path.stem, 0):
                path.unlink()


@contextmanager
def _locked(lock: Lock, name: str, wait_seconds: float) -> Iterator[None]:
    acquire(lock, name, wait_seconds)
    try:
        yield
    finally:
        lock.release()


def file_lock(path: Path) -> FileLock:
    """A lock of its own on *path*: two of them exclude each other also within one thread.

    The soft fallback is off: it believes in files left behind by the dead.
    """
    return FileLock(path, thread_local=False, mode=FILE_MODE, fallback_to_soft=False)


def acquire(lock: Lock, name: str, timeout_seconds: float, refusal: type[Busy] = Busy) -> None:
    """Take *lock* or raise Busy, or the *refusal* given; a lock file that cannot be made or locked at all is
    StoreCorrupt."""
    try:
        lock.acquire(timeout=timeout_seconds, poll_interval=POLL_SECONDS)
    except Timeout as error:
        raise refusal(f"{name} is held by somebody else", lock=lock.lock_file) from error
    except OSError as error:
        raise StoreCorrupt(f"{lock.lock_file} cannot be locked: {error.strerror}", file=lock.lock_file) from error
