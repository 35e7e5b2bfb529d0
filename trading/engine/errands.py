"""Jobs in threads of their own.

The law: one that hangs delays no other and keeps no process from ending, and none fails in silence. What the end of a
process cuts off is on disk already, as after any crash.
"""

import logging
from collections.abc import Callable, Iterable
from threading import Thread

from trading.domain.errors import DeskError
from trading.engine.desk import Desk

_logger = logging.getLogger(__name__)

Job = Callable[[], None]


def start(desk: Desk, name: str, job: Job) -> Thread:
    """Begin *job* in a thread that dies with the process."""
    thread = Thread(target=guarded, args=(desk, name, job), name=name, daemon=True)
    thread.start()
    return thread


def wait(desk: Desk, threads: Iterable[Thread], until: float) -> None:
    """Wait for *threads*, at most until the clock's `monotonic` reads *until*."""
    for thread in threads:
        thread.join(max(until - desk.clock.monotonic(), 0.0))


def guarded(desk: Desk, name: str, job: Job) -> str | None:
    """Do *job*; what went wrong is logged and returned in words. A bug must not pass in silence in a thread that nobody
    waits for, nor end the watch, so the net is wide."""
    try:
        job()
    except DeskError as error:
        desk.log.write("error", f"{name} failed: {error.detail}", code=error.code)
        return error.detail
    except Exception as bug:
        _logger.exception("%s failed", name)
        desk.log.write("error", f"{name} failed on a bug: {type(bug).__name__}", code="INTERNAL")
        return type(bug).__name__
    return None
