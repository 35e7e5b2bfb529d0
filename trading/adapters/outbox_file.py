"""The outbox of alerts as a file: `DATA_DIR/alerts/outbox.json`, one sealed line, replaced whole and synced.

The law: what was saved survives any crash; what cannot be read is put aside and begun anew, for an alert told twice
costs less than one that is never told.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trading.domain.alerts import Outbox
from trading.domain.codec import decode_outbox, encode_outbox
from trading.domain.errors import StoreCorrupt
from trading.utils.disk import SystemDisk, replace_whole, trouble_told
from trading.utils.locks import ProcessLock
from trading.utils.owner import make_directory
from trading.utils.sealing import sealed, unsealed

_logger = logging.getLogger(__name__)

FOLDER = "alerts"
FILE = "outbox.json"
BYTES_MAX = 1_000_000


class OutboxFile:
    """The AlertOutbox (see engine) in DATA_DIR. Safe for several threads and several processes."""

    def __init__(self, data_dir: Path) -> None:
        """Make the folder where there is none. Raises StoreCorrupt."""
        make_directory(data_dir / FOLDER)
        self.path = data_dir / FOLDER / FILE
        self._lock = ProcessLock(data_dir / FOLDER / "turn.lock", "the outbox of alerts", 0)
        self._disk = SystemDisk()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._lock.held():
            yield

    def load(self) -> Outbox:
        try:
            content = self.path.read_bytes()[:BYTES_MAX]
        except FileNotFoundError:
            return Outbox()
        except OSError as error:
            raise StoreCorrupt(f"{self.path} cannot be read: {error.strerror}", file=str(self.path)) from error
        record = unsealed(content.rstrip(b"\n"))
        if record is not None:
            record.pop("checksum")
            with suppress(StoreCorrupt):
                return decode_outbox(record)
        _logger.error("%s cannot be trusted; it is put aside and alerts begin anew", self.path)
        with trouble_told(self.path, "put aside"):
            os.replace(self.path, self.path.with_suffix(".broken"))
        return Outbox()

    def save(self, outbox: Outbox) -> None:
        with trouble_told(self.path, "written"):
            replace_whole(self.path, sealed(encode_outbox(outbox)) + b"\n", self._disk, sync=True)

    def free_bytes(self) -> int | None:
        try:
            found = os.statvfs(self.path.parent)
        except (AttributeError, OSError):
            return None
        return found.f_bavail * found.f_frsize
