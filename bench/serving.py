"""What the web process costs: its hot routes beside a static view on the same server, its start, its memory.

The law: throughputs are compared on one server in one run; the static view is GET
/api/time_windows, a DRF view that answers a constant.
"""

import http.client
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.execution import BenchCase, Service
from bench.figures import Figures
from tests.processes import free_port, wait_until
from tests.servers.service import family_of
from trading.conf import PROJECT_ROOT

SECONDS = 1.5
TURNS = 3
ROWS = 20
QUIET = ("--no-control-socket", "--log-level", "error")
START_SECONDS_MAX, RSS_MIB_MAX = 1.5, 130.0
STATIC = "/api/time_windows"
ROUTES = (("/api/positions?limit=20", 0.6), ("/api/health", 0.8))


def measure(case: BenchCase, service: Service, figures: Figures) -> None:
    """On a service that runs and has traded already; more positions are opened until a page is full."""
    for _ in range(ROWS):
        service.prepare()
        service.open()
        service.close()
    rates: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for path in (STATIC, *(route for route, _ in ROUTES)):
            rates.setdefault(path, []).append(rate(case.port, path, case.headers))
    static = max(rates[STATIC])
    figures.note("a static DRF view", static, "/s")
    for path, least in ROUTES:
        figures.ratio(
            f"GET {path.partition('?')[0]} / static DRF view, throughput", max(rates[path]) / static, least, least=True
        )


def measure_memory(service: Service, supervisor: int, figures: Figures, trades: int) -> None:
    """Resident memory of the service's processes after *trades* more trades, and what those have added."""
    before = _memory_of(supervisor)
    for _ in range(trades):
        service.prepare()
        service.open()
        service.close()
    for name, size in _memory_of(supervisor).items():
        figures.note(f"memory of the {name} process", size, "MiB", RSS_MIB_MAX)
        figures.note(f"memory of the {name} process: added by {trades} trades", size - before[name], "MiB")


def _memory_of(supervisor: int) -> dict[str, float]:
    """By the words of the command lines. gunicorn's arbiter has the same as its worker, which is the larger one."""
    found: dict[str, float] = {}
    for pid in family_of(supervisor):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        for name, sign in (("monitor", "monitor_positions"), ("web", "gunicorn")):
            if sign in words:
                found[name] = max(_rss_mib(pid), found.get(name, 0.0))
    return found


def measure_start(figures: Figures, environ: Mapping[str, str]) -> None:
    """From the beginning of gunicorn to its first answer, the best of three: what else runs only makes it longer."""
    taken = []
    for _ in range(3):
        port = free_port()
        started = time.perf_counter()
        command = (sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *QUIET, "executor_agent.wsgi")
        env = {**environ, "EXECUTOR_PORT": str(port)}
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=env)  # noqa: S603 - our own program and a number
        try:
            wait_until(lambda port=port: _answers(port), "the first answer")  # type: ignore[misc]
            taken.append(time.perf_counter() - started)
        finally:
            process.terminate()
            process.wait()
    figures.note("start of the web process to its first answer", min(taken), "s", START_SECONDS_MAX)


def rate(port: int, path: str, headers: Mapping[str, str]) -> float:
    """Answers a second over one kept-alive connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    count, until = 0, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        count += 1
    connection.close()
    return count / SECONDS


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _rss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
