"""The venue's request budget of an address on the internet, metered over all processes of the machine.

The law: no more weight in any sixty seconds than the limit, a quarter of it kept for closing. What opens or merely asks
stops first, watching what is held stops next, and what reduces a position, with the reads it needs, has all of it. A
meter that cannot be used stops openings and never a close, nor what that has to see.
"""

import os
import struct
import threading
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from filelock import Timeout

from trading.adapters.hyperliquid_values import milliseconds
from trading.ports import Clock
from trading.utils.locks import OpenLock
from trading.utils.owner import for_owner, make_directory

WINDOW_SECONDS = 60
RESERVE = 4
LOCK_SECONDS_MAX = 1.0
LOCK_POLL_SECONDS = 0.0002
PENALTY_SECONDS = 10
_SLOT = struct.Struct("<QQ")
_SLOTS = WINDOW_SECONDS + 1


class Lane(Enum):
    """Who asks. ORDINARY opens or looks around, WATCH looks after what is held or in doubt, LOOK reads prices and the
    account, which closes need too, CLOSE reduces."""

    ORDINARY = "ordinary"
    WATCH = "watch"
    LOOK = "look"
    CLOSE = "close"


class WeightMeter:
    """*limit* weight a minute (Hyperliquid documentation, "Rate limits": 1,200 for one address); zero is no limit.

    The seconds of the last minute and the weight spent in each are a file of fixed size at *path*. Constructing it
    raises StoreCorrupt when its folder cannot be made.
    """

    def __init__(self, path: Path, limit: int, clock: Clock) -> None:
        make_directory(path.parent)
        self.limit = limit
        self._path = path
        self._file_lock = OpenLock(path.with_suffix(".lock"))
        self._threads = threading.Lock()
        self._clock = clock

    def ceiling(self, lane: Lane) -> int:
        """The weight up to which *lane* may fill a minute."""
        reserve = self.limit // RESERVE
        kept = {Lane.ORDINARY: reserve, Lane.WATCH: reserve // 2, Lane.LOOK: reserve // 4, Lane.CLOSE: 0}
        return self.limit - kept[lane]

    def spend(self, weight: int, lane: Lane) -> bool:
        """Count *weight*; False, and nothing counted, when that would go past what *lane* may have."""
        return self._change(weight, self.ceiling(lane), lane in (Lane.LOOK, Lane.CLOSE))

    def charge(self, weight: int) -> None:
        """Count what is known to have been spent only afterwards."""
        if weight > 0:
            self._change(weight, None, True)

    def refused(self) -> None:
        """The venue says that the budget is gone, so others spend from it: let ordinary requests rest for a while."""
        spare = self.ceiling(Lane.ORDINARY) - self.used()
        if spare > 0:
            self._change(spare, None, True, age_seconds=WINDOW_SECONDS - PENALTY_SECONDS)

    def used(self) -> int:
        """The weight spent in the last minute, as far as the file can be read."""
        if not self.limit:
            return 0
        try:
            content = self._path.read_bytes()
        except OSError:
            return 0
        return sum(_spent(content, self._second()).values())

    def _change(self, weight: int, ceiling: int | None, otherwise: bool, age_seconds: int = 0) -> bool:
        if not self.limit:
            return True
        with self._threads:
            try:
                self._file_lock.acquire(timeout=LOCK_SECONDS_MAX, poll_interval=LOCK_POLL_SECONDS)
            except (Timeout, OSError):
                return otherwise
            try:
                return self._write(weight, ceiling, self._second(), age_seconds)
            except OSError:
                return otherwise
            finally:
                self._file_lock.release()

    def _write(self, weight: int, ceiling: int | None, now: int, age_seconds: int) -> bool:
        file = for_owner(self._path, os.O_RDWR | os.O_CREAT)
        try:
            spent = _spent(os.read(file, _SLOT.size * _SLOTS), now)
            if max(spent, default=now) > now:
                # Our clock was set back. From now on it counts for a minute, not until the clock is there again.
                spent = {now: min(sum(spent.values()), self.limit)}
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, _packed(spent))
            if ceiling is not None and sum(spent.values()) + weight > ceiling:
                return False
            second = now - age_seconds
            os.lseek(file, _SLOT.size * (second % _SLOTS), os.SEEK_SET)
            os.write(file, _SLOT.pack(second, spent.get(second, 0) + weight))
            return True
        finally:
            os.close(file)

    def _second(self) -> int:
        return milliseconds(self._clock.now()) // 1000


def _packed(spent: Mapping[int, int]) -> bytes:
    """The whole file."""
    content = bytearray(_SLOT.size * _SLOTS)
    for second, weight in spent.items():
        _SLOT.pack_into(content, _SLOT.size * (second % _SLOTS), second, weight)
    return bytes(content)


def _spent(content: bytes, now: int) -> dict[int, int]:
    """Weight by second, of the last minute. A second that is yet to come counts: a clock was set back."""
    whole = content[: len(content) - len(content) % _SLOT.size]
    return {second: weight for second, weight in _SLOT.iter_unpack(whole) if now - WINDOW_SECONDS < second}
