"""The id of the request that is being answered, for whoever writes something down meanwhile.

The law: it names lines and trades and decides nothing; outside of a request it is empty.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """The present request's id; empty outside of one."""
    return _current.get()


@contextmanager
def serving(name: str) -> Iterator[None]:
    """Everything written in this context, and in the threads that errands start from it, belongs to request *name*."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)
