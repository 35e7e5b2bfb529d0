"""A small program that becomes another one which dies with its parent: `python leash.py PARENT_PID SIGNAL PROGRAM ...`.

The law: on Linux the kernel sends SIGNAL to the program when the thread that started it ends, however it ends, SIGKILL
included. It is a program of its own, because running Python code between fork and exec is not safe in a process with
threads. Elsewhere the program runs without a leash.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h
ORPHANED_EXIT_CODE = 71  # EX_OSERR of sysexits.h


def spawn(
    program: Sequence[str],
    *,
    death_signal: signal.Signals,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    quiet: bool = False,
) -> "subprocess.Popen[bytes]":
    """Start *program* (an absolute path and its arguments) in a session of its own, on the leash where there is one.

    A session of its own keeps the terminal's Ctrl-C away from it. To be called from the main thread, because the leash
    is tied to the calling thread. Raises OSError when it cannot be started, RuntimeError in any other thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a leashed program must be started from the main thread, or it would die with this one")
    leash = (sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)))
    return subprocess.Popen(  # noqa: S603 (the caller's own program, never a user's text)
        (*leash, *program) if sys.platform == "linux" else tuple(program),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
        start_new_session=True,
    )


def become(arguments: Sequence[str]) -> NoReturn:
    """Put on the leash and become the program; exits when there is no leash, or the parent has died already."""
    parent_pid, death_signal, *program = arguments
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        sys.exit(ORPHANED_EXIT_CODE)
    # A parent that died before prctl took effect sends nothing any more.
    if os.getppid() != int(parent_pid):
        sys.exit(ORPHANED_EXIT_CODE)
    os.execv(program[0], program)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    become(sys.argv[1:])
