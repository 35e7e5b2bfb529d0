"""How a program ends that nobody reads any more, as one before `| head` that has its lines, or that Ctrl-C ends.

The law: quietly, with the code that a shell gives for the signal, and in one place for all commands. SIGPIPE itself
stays ignored: by it a peer that hangs up would end the desk.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from typing import Protocol

UNREAD_EXIT_CODE = 141
INTERRUPTED_EXIT_CODE = 130


class Stream(Protocol):
    """What is needed of stdout and stderr."""

    def fileno(self) -> int: ...

    def flush(self) -> None: ...


@contextmanager
def quiet_end() -> Iterator[None]:
    """Around all that a program does. Raises SystemExit when its stdout was closed before it had said everything, and
    for a Ctrl-C that nothing else has taken.

    One that failed keeps its own code, and so does one that goes on unheard (see `beside`): it has let go of stdout.
    One that never had a stdout does what it does into nothing.
    """
    _have_streams()
    try:
        try:
            yield
        finally:
            unread = _flushed_to_nobody(sys.stdout) | _flushed_to_nobody(sys.stderr, counts=False)
    except BrokenPipeError:
        raise SystemExit(UNREAD_EXIT_CODE) from None
    except SystemExit as end:
        # rich ends a program itself whose reader has gone, with the code of one that failed.
        if isinstance(end.__context__, BrokenPipeError):
            raise SystemExit(UNREAD_EXIT_CODE) from None
        raise
    except KeyboardInterrupt:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("\ninterrupted\n")
        raise SystemExit(INTERRUPTED_EXIT_CODE) from None
    if unread:
        raise SystemExit(UNREAD_EXIT_CODE)


def let_go(stream: Stream) -> None:
    """Have what is said from here on, and what is still in the buffer, go nowhere: at its end Python writes it."""
    with suppress(UnsupportedOperation, AttributeError):
        target = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)


def _have_streams() -> None:
    """Stand in for those that whoever started it has closed. The next file that is opened takes the place of one that
    is missing, and would get what this process and those that it starts say there: it may be one of the ledger."""
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing == place:
                os.set_inheritable(place, True)
            else:
                os.dup2(nothing, place)
                os.close(nothing)
            setattr(sys, name, os.fdopen(place, mode, encoding="utf-8", closefd=False))


def _flushed_to_nobody(stream: Stream | None, *, counts: bool = True) -> bool:
    # Python has none where whoever started it has closed that.
    if stream is None:
        return False
    try:
        stream.flush()
    except BrokenPipeError:
        let_go(stream)
        return counts
    except (OSError, ValueError):
        pass  # a full disk, or closed by the program itself: Python says so at its end
    return False
