"""What tests of programs need: whether a process lives, waiting with a bound, and a port that nobody uses."""

import os
import random
import socket
import stat
import sys
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_SECONDS = 60.0
PAUSE_SECONDS = 0.02
PAUSE_SECONDS_MAX = 0.1
PAUSE_SHARE = 0.05
TRIES_MAX = 5
NOBODY = 65534
LOOPBACK = "127.0.0.1"
PORTS_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORT_MIN = 10_000
PORT_OF_CONNECTIONS = 32_768
PORT_TRIES_MAX = 100
_claims: list[socket.socket] = []


def environ_of(**variables: str) -> dict[str, str]:
    """The environment of a program that is to see these variables, and neither the developer's nor the `.env` here."""
    inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**inherited, "ENV_FILE": "", **variables}


def lives(pid: int) -> bool:
    """Whether process *pid* still runs (Linux); one that is only waiting to be collected does not, once its last thread
    has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z" or threads > 1


def let_through(folder: Path) -> None:
    """Others may get as far as *folder*, which is in the tests' own."""
    for path in (folder, folder.parent):
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o011)


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Be somebody whom the modes of files bind: root is nobody meanwhile."""
    root = sys.platform != "win32" and os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def wait_until(true: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Come back as soon as *true* is; fail the test, saying *what* did not happen, when it takes too long."""
    began = time.monotonic()
    while not true():
        waited = time.monotonic() - began
        if waited > seconds:
            raise unittest.TestCase.failureException(f"{what} did not happen within {seconds} s")
        time.sleep(pause_after(waited))


def pause_after(seconds: float) -> float:
    """How long to sleep before the next look when *seconds* have been waited: to look is mostly to ask a program under
    test, which has the processor for itself meanwhile."""
    return min(max(PAUSE_SECONDS, seconds * PAUSE_SHARE), PAUSE_SECONDS_MAX)


def least(measured: Callable[[], float], enough: float, tries: int = TRIES_MAX) -> float:
    """The least of what is *measured* in *tries*: what a busy machine adds to a time is not in each of them. No more of
    them once one is less than *enough*."""
    found = float("inf")
    for _ in range(tries):
        found = min(found, measured())
        if found < enough:
            break
    return found


def seconds_of(attempt: Callable[[], object]) -> float:
    """How long *attempt* takes."""
    began = time.monotonic()
    attempt()
    return time.monotonic() - began


def free_port() -> int:
    """A port that nobody listens on, and that neither a connection nor another test is given before it is used.

    Connections get theirs from a range of the system's, so this is below it. The UDP port of the same number is held
    until this process ends, to tell all the others that this one is taken.
    """
    first_of_connections = _first_port_of_connections()
    for _ in range(PORT_TRIES_MAX):
        port = random.SystemRandom().randrange(PORT_MIN, first_of_connections)
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((LOOPBACK, port))
            with socket.socket() as probe:
                probe.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise OSError(f"no port between {PORT_MIN} and {first_of_connections} is free")


def _first_port_of_connections() -> int:
    """Where the system's range begins; Linux says, the others begin higher."""
    try:
        first = int(PORTS_OF_CONNECTIONS.read_text(encoding="ascii").split()[0])
    except OSError:
        return PORT_OF_CONNECTIONS
    # A system that has made its range begin this low leaves no room below.
    return first if first > PORT_MIN + PORT_TRIES_MAX else PORT_OF_CONNECTIONS
