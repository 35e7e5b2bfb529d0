"""The end of the log on its way to the cache: what is written within a moment goes there together, from another thread.

The law: who writes never waits for the cache, and who reads is never shown a list that lacks something: while anything
is under way, or was lost on it, there is no answer, and the reader has the file. A process begins the list afresh, for
one that was killed may have taken its last lines with it; one that ends carries what it has.
"""

import atexit
import threading
import time
from collections.abc import Sequence
from typing import Protocol
from weakref import WeakSet

from trading.ports import Json

MOMENT_SECONDS = 0.02
IDLE_SECONDS = 60.0
END_SECONDS = 0.5


class Lists(Protocol):
    """What this needs of the cache. Never raises."""

    def push_all(self, key: str, values: Sequence[Json], keep: int, afresh: bool = False) -> bool: ...

    def tail(self, key: str, limit: int) -> tuple[Json, ...]: ...


class LateTail:
    """The logger's Tail over *cache*, for one list. Its thread comes with the first line and goes after an idle minute.

    What waits is bounded by what the list keeps.
    """

    def __init__(
        self, cache: Lists, moment_seconds: float = MOMENT_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._cache = cache
        self._moment_seconds = moment_seconds
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._waiting: list[Json] = []
        self._afresh = True
        self._busy = False
        self._lost = False
        self._carrying = False
        _tails.add(self)

    def push(self, key: str, value: Json, keep: int, afresh: bool = False) -> bool:
        """False when something pushed before did not arrive: *value* does not go either, and the next is to begin the
        list afresh."""
        with self._changed:
            if self._lost:
                self._lost = False
                return False
            self._waiting = [value] if afresh else [*self._waiting[-keep + 1 :], value]
            self._afresh = self._afresh or afresh
            if not self._carrying:
                self._carrying = True
                threading.Thread(target=self._carry, args=(key, keep), name="log-tail", daemon=True).start()
            self._changed.notify_all()
            return True

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        """Nothing while the list is not complete."""
        with self._changed:
            if self._waiting or self._busy or self._lost:
                return ()
        return self._cache.tail(key, limit)

    def settle(self, seconds: float) -> None:
        """Wait until nothing is under way, at most *seconds*."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def _carry(self, key: str, keep: int) -> None:
        while self._take():
            time.sleep(self._moment_seconds)
            with self._changed:
                values, afresh = self._waiting, self._afresh
                self._waiting, self._afresh, self._busy = [], False, True
            arrived = self._cache.push_all(key, values, keep, afresh)
            with self._changed:
                self._busy = False
                self._lost = self._lost or not arrived
                self._changed.notify_all()

    def _take(self) -> bool:
        """Wait for something to carry; False, and the thread is over, when nothing comes."""
        with self._changed:
            self._carrying = self._changed.wait_for(lambda: bool(self._waiting), self._idle_seconds)
            return self._carrying


_tails: WeakSet[LateTail] = WeakSet()


@atexit.register
def _settle_all() -> None:
    # The machine's own time: where a process ends there is no desk any more whose clock it could be.
    until = time.monotonic() + END_SECONDS
    for tail in tuple(_tails):
        tail.settle(max(until - time.monotonic(), 0.0))
