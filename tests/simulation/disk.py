"""A disk in memory that forgets what was not synced, tears writes, fills up, and dies at any call.

The law: what a power failure leaves is something that POSIX allows: of a file, what was synced and any part of what was
not, in sectors, with holes; of a directory, what was synced and the first few changes after that. A killed process
leaves all that it wrote.
"""

import errno
import os
from pathlib import Path
from random import Random

from trading.utils.disk import Stamp

SECTOR = 512


class Crashed(BaseException):
    """The machine or the process died here. No `except` of the desk's catches it."""


class _Node:
    """A file: `durable` is what a sync left, `unsynced` what was done to it since."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.durable = b""
        self.current = bytearray()
        self.unsynced: list[tuple[int, bytes | None]] = []
        self._changes = 0
        self._note_state()

    def apply(self, offset: int, content: bytes | None) -> None:
        self.unsynced.append((offset, content))
        self._changes += 1
        if content is None:
            del self.current[offset:]
            self.current.extend(bytes(offset - len(self.current)))
        else:
            if offset > len(self.current):
                self.current.extend(bytes(offset - len(self.current)))
            self.current[offset : offset + len(content)] = content
        self._note_state()

    def settle(self, content: bytes) -> None:
        self.durable, self.current, self.unsynced = content, bytearray(content), []
        self._note_state()

    def _note_state(self) -> None:
        # Made when it changes: it is asked for a thousand times as often.
        self.stamp = Stamp(1, self.number, len(self.current), self._changes)


class SimulatedDisk:
    """The Disk seam in memory. `crash_at` is the number of the call that dies; `capacity` bounds all files together.
    One that gives room out `late` takes every write and finds out at the sync that it is full.

    `calls` counts what may die: writes, truncations, syncs, replacements, removals, creations.
    """

    def __init__(self, random: Random) -> None:
        self.calls = 0
        self.crash_at: int | None = None
        self.capacity: int | None = None
        self.late = False
        self._random = random
        self._dead = False
        self._count = 0
        self._handles: dict[int, _Node] = {}
        # By the text of a path, which is hashed and compared in a tenth of the time that a path is.
        self._names: dict[str, _Node] = {}
        self._durable_names: dict[str, _Node] = {}
        self._unsynced: list[tuple[str, _Node | None]] = []

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        self._live()
        name = str(path)
        if name not in self._names:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            self._step()
            self._count += 1
            self._name(name, _Node(self._count))
        self._count += 1
        self._handles[self._count] = self._names[name]
        return self._count

    def close(self, file: int) -> None:
        self._handles.pop(file, None)

    def stamp(self, path: Path) -> Stamp | None:
        self._live()
        node = self._names.get(str(path))
        return None if node is None else node.stamp

    def stamp_of(self, file: int) -> Stamp:
        self._live()
        return self._handles[file].stamp

    def read(self, file: int, size: int, offset: int) -> bytes:
        self._live()
        return bytes(self._handles[file].current[offset : offset + size])

    def write(self, file: int, content: bytes, offset: int) -> None:
        node = self._handles[file]
        room = self._room(node, offset, content)
        try:
            self._step()
        except Crashed:
            node.apply(offset, content[: self._random.randint(0, len(content))])
            raise
        node.apply(offset, content[:room])
        if room < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, file: int, size: int) -> None:
        self._step()
        self._handles[file].apply(size, None)

    def sync(self, file: int) -> None:
        self._step()
        node = self._handles[file]
        if self.late and node.unsynced and self.capacity is not None and self.used > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        node.settle(bytes(node.current))

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        node = self._names[str(source)]
        self._name(str(target), node)
        self._name(str(source), None)

    def remove(self, path: Path) -> None:
        if str(path) in self._names:
            self._step()
            self._name(str(path), None)

    def names(self, path: Path) -> tuple[str, ...]:
        self._live()
        return tuple(sorted(one.name for one in map(Path, self._names) if one.parent == path))

    def sync_directory(self, path: Path) -> None:
        self._step()
        self._durable_names = dict(self._names)
        self._unsynced = []

    @property
    def used(self) -> int:
        """Bytes of all files together."""
        return sum(len(one.current) for one in {id(one): one for one in self._names.values()}.values())

    def durable_files(self) -> dict[Path, bytes]:
        """What the files hold that a power failure now would leave for certain."""
        return {Path(name): node.durable for name, node in self._durable_names.items()}

    def kill(self) -> None:
        """The process is gone; what it wrote stays as it is, synced or not."""
        self._dead, self.crash_at, self.calls = False, None, 0
        self._handles.clear()

    def lose_power(self) -> None:
        """The machine is gone and back: decide what of the unsynced survives."""
        self.kill()
        names = dict(self._durable_names)
        for name, node in self._unsynced[: self._random.randint(0, len(self._unsynced))]:
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node
        for node in {id(one): one for one in names.values()}.values():
            node.settle(self._survivors(node))
        self._names, self._durable_names, self._unsynced = names, dict(names), []

    def _survivors(self, node: _Node) -> bytes:
        """The first few changes of length, and of the writes any sectors; none that came after a lost truncation."""
        content = bytearray(node.durable)
        kept = self._random.randint(0, len(node.unsynced))
        share = self._random.choice((0.0, 0.5, 0.9, 1.0))
        for number, (offset, written) in enumerate(node.unsynced):
            if written is None:
                if number >= kept:
                    break
                del content[offset:]
                content.extend(bytes(offset - len(content)))
                continue
            if number < kept:
                content.extend(bytes(max(0, offset + len(written) - len(content))))
            self._write_some(content, offset, written, share)
        return bytes(content)

    def _write_some(self, content: bytearray, offset: int, written: bytes, share: float) -> None:
        at = 0
        while at < len(written):
            end = min(len(written), at + SECTOR - (offset + at) % SECTOR)
            if self._random.random() < share:
                part = written[at : max(at, min(end, len(content) - offset))]
                content[offset + at : offset + at + len(part)] = part
            at = end

    def _room(self, node: _Node, offset: int, content: bytes) -> int:
        """How many bytes of *content* there is room for."""
        if self.capacity is None or self.late:
            return len(content)
        return max(0, min(len(content), self.capacity - self.used + len(node.current) - offset))

    def _name(self, name: str, node: _Node | None) -> None:
        self._unsynced.append((name, node))
        if node is None:
            self._names.pop(name, None)
        else:
            self._names[name] = node

    def _live(self) -> None:
        if self._dead:
            raise Crashed

    def _step(self) -> None:
        self._live()
        self.calls += 1
        if self.calls == self.crash_at:
            self._dead = True
            raise Crashed
