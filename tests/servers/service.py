"""The whole service as a fixture: `manage.py serve` in a folder of its own, asked over its socket, killed at will."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.processes import environ_of, free_port, lives, wait_until
from trading.conf import PROJECT_ROOT

ASK_SECONDS = 30.0
# How long a machine may take that is busy with other tests; no promise is measured by it.
START_SECONDS = 120.0


@unittest.skipUnless(sys.platform == "linux", "reads /proc")
class ServiceCase(unittest.TestCase):
    """A test case with one service folder; `start` as often as wanted."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.port = free_port()
        self.output = self.folder / "output"

    @property
    def environ(self) -> dict[str, str]:
        return {
            **environ_of(),
            "TMPDIR": str(self.folder),
            "DEMO_MODE": "true",
            "EXECUTOR_PORT": str(self.port),
            "DATA_DIR": str(self.folder / "data"),
            "REDIS_URL": "redis://127.0.0.1:1/3",
            "THROTTLE_READ_PER_MINUTE": "0",
        }

    @property
    def prefix(self) -> tuple[str, ...]:
        """What the service's own programs are started with."""
        return ()

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {}

    def start(self) -> "subprocess.Popen[bytes]":
        """The supervisor with everything under it, ready to be asked."""
        self.output.write_text("", encoding="utf-8")
        with self.output.open("ab") as output:
            service = subprocess.Popen(
                (*self.prefix, sys.executable, "manage.py", "serve"),
                cwd=PROJECT_ROOT,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.addCleanup(service.wait)
        self.addCleanup(service.kill)
        wait_until(lambda: self.said("is ready on") or service.poll() is not None, "getting ready", START_SECONDS)
        self.assertIsNone(service.poll(), self.output.read_text(encoding="utf-8"))
        return service

    def kill_all(self, service: "subprocess.Popen[bytes]") -> None:
        """SIGKILL to web process, monitor, Redis and supervisor, and back when none of them lives."""
        family = family_of(service.pid)
        for pid in (*family, service.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        wait_until(lambda: not any(lives(pid) for pid in (*family, service.pid)), "the end of what was started")

    def said(self, words: str) -> bool:
        return words in self.output.read_text(encoding="utf-8")

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, object]]:
        """Status and decoded object of one request."""
        status, content = self.ask_any(method, path, body)
        assert isinstance(content, dict)
        return status, content

    def ask_any(self, method: str, path: str, body: object = None) -> tuple[int, object]:
        """Status and decoded answer of one request; lists too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ASK_SECONDS)
        headers = {**self.headers, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def is_healthy(self) -> bool:
        return self.ask("GET", "/api/health")[1]["status"] == "healthy"

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A management command in the service's own environment."""
        return subprocess.run(
            (*self.prefix, sys.executable, "manage.py", *words),
            cwd=PROJECT_ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def family_of(pid: int) -> list[int]:
    """The children of *pid* and theirs (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [one for child in map(int, children) for one in (child, *family_of(child))]
