"""What is kept for the worst hour: space on the disk that is freed when it is full.

The law: the reserve serves what is under way and what closes, never an opening.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

from trading.domain.errors import StoreCorrupt
from trading.utils.disk import Disk, trouble_told

RESERVE_BYTES = 256 << 10
FULL = frozenset({"ENOSPC", "EDQUOT"})


class Reserve:
    """A file that is only there to be removed. Its content cannot be packed: it takes its space on any file system."""

    def __init__(self, path: Path, disk: Disk, size: int = RESERVE_BYTES) -> None:
        self.path = path
        self._disk = disk
        self._size = size

    @property
    def whole(self) -> bool:
        """Raises StoreCorrupt when the system does not even say that."""
        with trouble_told(self.path, "looked at"):
            stamp = self._disk.stamp(self.path)
        return stamp is not None and stamp.size >= self._size

    def free(self) -> bool:
        """Give the space back; False when there was none to give."""
        if self._disk.stamp(self.path) is None:
            return False
        with suppress(OSError):
            self._disk.remove(self.path)
            self._disk.sync_directory(self.path.parent)
            return True
        return False

    def restore(self) -> bool:
        """Take the space again; False, and nothing taken, when the disk refuses."""
        if self.whole:
            return True
        try:
            file = self._disk.open(self.path, create=True, write=True)
            try:
                self._disk.write(file, hashlib.shake_256(b"reserve").digest(self._size), 0)
                self._disk.sync(file)
            finally:
                self._disk.close(file)
        except OSError:
            with suppress(OSError):  # a part that stays is too small to count
                self._disk.remove(self.path)
            return False
        return True


def is_full(error: StoreCorrupt) -> bool:
    """Whether *error* says that there is no room left."""
    return error.facts.get("reason") in FULL
