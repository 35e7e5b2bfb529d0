"""The hands of a real process: a thread for every errand, kept for a while for the next one.

The law: an errand never waits for another one. Hands that are free are used again, for a thread that is made anew costs
five times as much (`docs/performance.md`); where none is free there is one more.
"""

import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import Empty, SimpleQueue

from trading.ports import Errand, Job

KEPT_MAX = 8
IDLE_SECONDS = 60.0


class Threads:
    """Begins errands, each in a thread that dies with the process. One that is free ends after *idle_seconds*, or at
    once when KEPT_MAX others are."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._free: list[_Jobs] = []
        os.register_at_fork(after_in_child=self._begin_anew)

    @property
    def free(self) -> int:
        return len(self._free)

    def begin(self, name: str, job: Job) -> Errand:
        """Begin *job* in the context of whoever begins it: what it writes down carries the id of the request that it
        came from."""
        errand, context = _Begun(), copy_context()

        def run() -> None:
            threading.current_thread().name = name
            try:
                context.run(job)
            finally:
                errand.done.set()

        with self._lock:
            jobs = self._free.pop() if self._free else None
        if jobs is None:
            jobs = SimpleQueue()
            threading.Thread(target=self._work, args=(jobs,), name=name, daemon=True).start()
        jobs.put(run)
        return errand

    def _work(self, jobs: "_Jobs") -> None:
        while (run := self._next(jobs)) is not None:
            try:
                run()
            except Exception as failure:
                # As in a thread that is not kept: told by the process, and nobody else's trouble.
                told = (type(failure), failure, failure.__traceback__, threading.current_thread())
                threading.excepthook(threading.ExceptHookArgs(told))
            # What it was about is not kept in memory until the next one.
            del run
            with self._lock:
                if len(self._free) >= KEPT_MAX:
                    return
                self._free.append(jobs)

    def _next(self, jobs: "_Jobs") -> Callable[[], None] | None:
        while True:
            try:
                return jobs.get(timeout=self._idle_seconds)
            except Empty:
                with self._lock:
                    if jobs in self._free:
                        self._free.remove(jobs)
                        return None
                # Taken from among the free just now: its errand is on its way.

    def _begin_anew(self) -> None:
        """A process that was forked has none of its parent's threads."""
        self._lock, self._free = threading.Lock(), []


class _Begun:
    """An errand that may still be under way."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def is_alive(self) -> bool:
        return not self.done.is_set()

    def join(self, timeout: float | None = None) -> None:
        self.done.wait(timeout)


_Jobs = SimpleQueue[Callable[[], None]]
"""Where a thread finds its next errand."""

in_a_thread = Threads().begin
