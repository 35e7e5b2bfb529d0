"""Jobs that run beside the one that began them.

The law: one that hangs delays no other and keeps no process from ending, and none fails in silence. What the end of a
process cuts off is on disk already, as after any crash.
"""

import logging
from collections.abc import Iterable
from threading import Event

from trading.domain.errors import DeskError
from trading.engine.desk import Desk
from trading.ports import Errand, Job

_logger = logging.getLogger(__name__)


def start(desk: Desk, name: str, job: Job) -> Errand:
    """Begin *job* beside the caller, in a thread that dies with the process unless the desk has other hands."""

    def errand() -> None:
        guarded(desk, name, job)

    return desk.begin(name, errand)


def wait(desk: Desk, errands: Iterable[Errand], until: float) -> None:
    """Wait for *errands*, at most until the clock's `monotonic` reads *until*."""
    for errand in errands:
        errand.join(max(until - desk.clock.monotonic(), 0.0))


def ends_by(desk: Desk, name: str, job: Job, until: float) -> bool:
    """Do *job* beside the caller, and say whether it has ended before the clock's `monotonic` reads *until*. What it
    has raised by then is raised here; what it raises later is logged."""
    failures: list[BaseException] = []
    gone = Event()

    def errand() -> None:
        try:
            job()
        except BaseException as failure:
            failures.append(failure)
            if gone.is_set():
                raise

    begun = start(desk, name, errand)
    wait(desk, [begun], until)
    gone.set()
    for failure in failures:
        raise failure
    return not begun.is_alive()


def guarded(desk: Desk, name: str, job: Job) -> str | None:
    """Do *job*; what went wrong is logged and returned in words. A bug must not pass in silence in a thread that nobody
    waits for, nor end the watch, so the net is wide."""
    try:
        job()
    except DeskError as error:
        desk.log.write("error", f"{name} failed: {error.detail}", code=error.code, event="ErrandFailed")
        return error.detail
    except Exception as bug:
        _logger.exception("%s failed", name)
        desk.log.write("error", f"{name} failed on a bug: {type(bug).__name__}", code="INTERNAL", event="ErrandFailed")
        return type(bug).__name__
    return None
