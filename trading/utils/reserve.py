"""What is kept for the worst hour: space on the disk that is freed when it is full, and a journal of last resort.

The law: the reserve serves what is under way and what closes, never an opening; what cannot be journaled anywhere is
still said on stderr.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trading.domain.codec import Json
from trading.domain.errors import DeskError, StoreCorrupt
from trading.utils.journal import Disk, Journal, trouble_told
from trading.utils.ledger import RESCUE, RESERVE

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


def journal_rescue(data_dir: Path, disk: Disk, record: Mapping[str, Json]) -> bool:
    """Append *record* to rescue.json, synced, and say it on stderr; True when it is on disk."""
    with suppress(OSError, ValueError):  # a closed stderr must not stop an emergency stop
        print(f"rescue: {json.dumps(record)}", file=sys.stderr, flush=True)
    for _ in range(2):
        try:
            journal = Journal(data_dir / RESCUE, disk=disk)
            try:
                journal.append([record])
                return True
            finally:
                journal.close()
        except StoreCorrupt as error:
            if not is_full(error) or not Reserve(data_dir / RESERVE, disk).free():
                return False
        except DeskError:
            return False
    return False
