"""How a program ends that nobody reads any more, as one before `| head` that has its lines, whose words a full disk
does not take, or that Ctrl-C ends.

The law: quietly, or with one line where something is lost, with the code that a shell gives for the signal, and in one
place for all commands. SIGPIPE itself stays ignored: by it a peer that hangs up would end the desk.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from types import TracebackType
from typing import Protocol

UNREAD_EXIT_CODE = 141
LOST_EXIT_CODE = 74
"""EX_IOERR of sysexits.h: what a full disk gives."""
INTERRUPTED_EXIT_CODE = 130


class Stream(Protocol):
    """What is needed of stdout and stderr."""

    def fileno(self) -> int: ...

    def flush(self) -> None: ...


@contextmanager
def quiet_end() -> Iterator[None]:
    """Around all that a program does. Raises SystemExit when its stdout was closed before it had said everything, or
    does not take it, and for a Ctrl-C that nothing else has taken.

    One that failed keeps its own code, and so does one that goes on unheard (see `beside`): it has let go of stdout, or
    is excused. One that never had a stdout does what it does into nothing.
    """
    _have_streams()
    try:
        try:
            yield
        finally:
            untaken = _flushed(sys.stdout)
            _flushed(sys.stderr)
    except BrokenPipeError:
        raise SystemExit(UNREAD_EXIT_CODE) from None
    except OSError as error:
        if not _is_of_output(error.__traceback__):
            raise
        raise _lost(error) from None
    except SystemExit as end:
        # rich ends a program itself whose reader has gone, with the code of one that failed.
        if isinstance(end.__context__, BrokenPipeError):
            raise SystemExit(UNREAD_EXIT_CODE) from None
        raise
    except KeyboardInterrupt:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("\ninterrupted\n")
        raise SystemExit(INTERRUPTED_EXIT_CODE) from None
    if isinstance(untaken, BrokenPipeError):
        raise SystemExit(UNREAD_EXIT_CODE)
    if untaken is not None and not _excused:
        raise _lost(untaken)


def excuse() -> None:
    """From here on it does not count that stdout takes nothing: the work was done, and is what the code is about."""
    _excused.append(True)


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


def _flushed(stream: Stream | None) -> OSError | None:
    """Why *stream* does not take what is left for it; nothing else tries to write that."""
    # Python has none where whoever started it has closed that.
    if stream is None:
        return None
    try:
        stream.flush()
    except OSError as error:
        let_go(stream)
        return error
    except ValueError:
        pass  # closed by the program itself: Python says so at its end
    return None


def _is_of_output(trace: TracebackType | None) -> bool:
    """Was it raised where Django writes what a command says. Any other file has a code of its own, or is a bug."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("django.core.management")


def _lost(error: OSError) -> SystemExit:
    with suppress(OSError, ValueError, AttributeError):
        words = f"stdout takes nothing more ({error.strerror}): what was done stands, what there was to say is lost"
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()
    return SystemExit(LOST_EXIT_CODE)


_excused: list[bool] = []
