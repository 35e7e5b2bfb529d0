"""A small file that is only ever put in place as a whole, looked at often and read when there is another one.

The law: nothing old is taken for new. The file that was read last stays open, and while it is open no other file of the
system can have its number: a stamp that is the same is the same file. Windows replaces no file that is open; there it
is read each time.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

from trading.utils.disk import Disk, Stamp

BYTES_MAX = 1 << 20
CAN_STAY_OPEN = os.name != "nt"


class WholeFile:
    """The file at *path*, for all threads of a process."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk
        self._lock = threading.Lock()
        self._file: int | None = None
        self._stamp: Stamp | None = None
        self._content = b""

    def content(self) -> bytes:
        """Its first megabyte, as it is now; the same object while it is the same file. Raises OSError."""
        with self._lock:
            if self._stamp is None or self._disk.stamp(self._path) != self._stamp:
                self._read()
            return self._content

    def close(self) -> None:
        """Let go of the file; the next look opens it again."""
        with self._lock:
            self._let_go()

    def _read(self) -> None:
        file = self._disk.open(self._path, create=False, write=False)
        try:
            stamp = self._disk.stamp_of(file)
            self._content = self._disk.read(file, BYTES_MAX, 0)
        except OSError:
            self._disk.close(file)
            raise
        self._let_go()
        if CAN_STAY_OPEN:
            self._file, self._stamp = file, stamp
        else:
            self._disk.close(file)

    def _let_go(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._disk.close(self._file)
        self._file = self._stamp = None
