"""What tests of programs need: whether a process lives, waiting with a bound, and a port that nobody uses."""

import os
import socket
import time
import unittest
from collections.abc import Callable
from pathlib import Path

WAIT_SECONDS = 20.0
PAUSE_SECONDS = 0.02


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


def wait_until(true: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Come back as soon as *true* is; fail the test, saying *what* did not happen, when it takes too long."""
    give_up_at = time.monotonic() + seconds
    while not true():
        if time.monotonic() > give_up_at:
            raise unittest.TestCase.failureException(f"{what} did not happen within {seconds} s")
        time.sleep(PAUSE_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
