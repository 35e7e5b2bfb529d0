"""The hands of a real process: a thread for every errand."""

from contextvars import copy_context
from threading import Thread

from trading.ports import Errand, Job


def in_a_thread(name: str, job: Job) -> Errand:
    """Begin *job* in a thread that dies with the process, in the context of whoever begins it: what it writes down
    carries the id of the request that it came from."""
    thread = Thread(target=copy_context().run, args=(job,), name=name, daemon=True)
    thread.start()
    return thread
