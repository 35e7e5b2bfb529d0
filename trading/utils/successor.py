"""The file that is to take a journal's place, written beside it.

The law: readers see the old file or the whole new one; whoever dies meanwhile has changed nothing.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trading.domain.codec import Json
from trading.utils.disk import Disk, new_file, trouble_told
from trading.utils.journal import CHUNK_BYTES, HEADER, RESERVED, SCHEMA
from trading.utils.sealing import sealed


class Successor:
    """The file that is to take a journal's place: records numbered on from *base*, written beside it, then put there.

    Readers see the old file or the whole new one. Raises StoreCorrupt with the system's word as `reason`.
    """

    def __init__(
        self, path: Path, base: int, disk: Disk, facts: Mapping[str, Json] | None = None, schema: int = SCHEMA
    ) -> None:
        """*facts* are kept in the line that names the base; without *facts* and with base 0 there is no such line."""
        self.path = path
        self._fresh = path.with_name(f".{path.name}.new")
        self._disk = disk
        self._schema = schema
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.seq = base
        with trouble_told(path, "written"):
            self._file: int | None = new_file(self._fresh, disk)
            disk.write(self._file, HEADER, 0)
        self._offset = len(HEADER)
        if base or facts is not None:
            self._pend(sealed({"seq": base, "schema": schema, "id": "base", "base": base, **(facts or {})}))

    def take(self, content: Mapping[str, Json]) -> None:
        """Add a record, whatever numbers it had before."""
        self.seq += 1
        kept = {name: value for name, value in content.items() if name not in RESERVED}
        self._pend(sealed({"seq": self.seq, "schema": self._schema, **kept}))

    def put_in_place(self) -> None:
        """Finish the file, synced, and let it replace the old one, durably."""
        with trouble_told(self.path, "written"):
            self._flush(b"\n]\n" if self._offset > len(HEADER) or self._pending else b"]\n")
            if self._file is not None:
                self._disk.sync(self._file)
            self._close()
            self._disk.replace(self._fresh, self.path)
            self._disk.sync_directory(self.path.parent)

    def give_up(self) -> None:
        """Leave the old file in its place; nothing after `put_in_place`."""
        if self._file is not None:
            with suppress(OSError):  # what stays is overwritten the next time
                self._close()
                self._disk.remove(self._fresh)

    def _pend(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= CHUNK_BYTES:
            with trouble_told(self.path, "written"):
                self._flush(b"")

    def _flush(self, end: bytes) -> None:
        joint = b",\n" if self._offset > len(HEADER) and self._pending else b""
        content = joint + b",\n".join(self._pending) + end
        if self._file is not None:
            self._disk.write(self._file, content, self._offset)
        self._offset += len(content)
        self._pending, self._pending_bytes = [], 0

    def _close(self) -> None:
        if self._file is not None:
            self._disk.close(self._file)
            self._file = None
