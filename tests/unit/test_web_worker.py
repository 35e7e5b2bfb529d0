"""Tests of what the web server answers by itself to what never reaches the application."""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from unittest import mock

from django.conf import settings

from tests.processes import environ_of, free_port, wait_until
from trading.management.commands.serve import GUNICORN_OPTIONS, port_is_free
from trading.problems import CONTENT_TYPE

if sys.platform != "win32":
    from gunicorn.http.errors import (
        InvalidHeaderName,
        InvalidRequestLine,
        InvalidResponseHeader,
        LimitRequestHeaders,
        LimitRequestLine,
    )
    from gunicorn.util import load_class
    from gunicorn.workers.gthread import ThreadWorker

    from executor_agent.web_worker import Worker


ROOT = Path(settings.BASE_DIR)
FROM = ("203.0.113.7", 4711)
THREADS = 2
SILENT = b""
HALF_A_HEAD = b"GET /api/health HTTP/1.1\r\nHost: local"
HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"


# An application as small as can be: it answers the body that it was sent.
SERVED = """
from executor_agent.web_worker import Worker

class Hasty(Worker):
    request_seconds = 0.5

def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@unittest.skipIf(sys.platform == "win32", "no gunicorn on Windows")
class WebWorkerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.worker = Worker.__new__(Worker)
        self.worker.log = logging.getLogger("tests.web_worker")
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def test_what_cannot_be_read_is_a_problem_that_quotes_nothing(self) -> None:
        for error, field in (
            (LimitRequestLine(9000, 4094), "path"),
            (LimitRequestHeaders("limit request headers fields size"), "headers"),
            (InvalidRequestLine("<script>"), "request"),
            (InvalidHeaderName("<script>"), "request"),
        ):
            ours, theirs = socket.socketpair()
            with self.subTest(type(error).__name__), ours, theirs, self.assertLogs("tests.web_worker", "WARNING"):
                self.worker.handle_error(None, ours, FROM, error)
                ours.close()
                response = HTTPResponse(theirs)
                response.begin()
                text = response.read().decode()
                self.assertEqual((response.status, response.headers["Content-Type"]), (400, CONTENT_TYPE))
                self.assertEqual(response.headers["Connection"], "close")
                self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
                problem = json.loads(text)
                self.assertEqual((problem["code"], list(problem["fields"])), ("INVALID_REQUEST", [field]))
                self.assertNotIn("script", text)

    def test_who_has_hung_up_is_sent_nothing(self) -> None:
        self.theirs.close()
        with self.assertLogs("tests.web_worker", "WARNING"):
            self.worker.handle_error(None, self.ours, None, InvalidRequestLine("GARBAGE"))

    def test_a_mistake_of_the_application_is_gunicorns_to_tell(self) -> None:
        for error in (ValueError("a bug"), InvalidResponseHeader("X")):
            with mock.patch.object(ThreadWorker, "handle_error") as told:
                self.worker.handle_error(None, self.ours, FROM, error)
            told.assert_called_once_with(None, self.ours, FROM, error)

    def test_the_service_is_served_by_it(self) -> None:
        name = GUNICORN_OPTIONS[GUNICORN_OPTIONS.index("--worker-class") + 1]
        self.assertIs(load_class(name), Worker)


def read(connection: socket.socket) -> bytes:
    response = HTTPResponse(connection)
    response.begin()
    return response.read()


@unittest.skipIf(sys.platform == "win32", "no gunicorn on Windows")
class SlowCallersTest(unittest.TestCase):
    """A real server with two threads, and more callers than that who do not come to an end."""

    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        Path(folder, "served.py").write_text(SERVED, encoding="utf-8")
        self.port = free_port()
        said = ("--bind", f"127.0.0.1:{self.port}", "--worker-class", "served.Hasty", "--log-level", "error")
        command = ("-m", "gunicorn", *said, "--threads", str(THREADS), "--no-control-socket")
        environ = environ_of(PYTHONPATH=os.pathsep.join((str(ROOT), folder)))
        server = subprocess.Popen((sys.executable, *command, "served:echo"), cwd=ROOT, env=environ)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        wait_until(lambda: not port_is_free(self.port), "a server")

    def caller(self, words: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        self.addCleanup(connection.close)
        connection.sendall(words)
        return connection

    def answer(self) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("POST", "/", b"stop")
        return connection.getresponse().read()

    def test_who_says_nothing_or_stops_in_the_middle_keeps_nobody_waiting(self) -> None:
        """Two who had sent half a head held both threads for ever, and two who had sent nothing for five seconds."""
        for words in (SILENT, HALF_A_HEAD, HALF_A_BODY):
            with self.subTest(words):
                for _ in range(4 * THREADS):
                    self.caller(words)
                began = time.monotonic()
                self.assertEqual(b"stop", self.answer())
                self.assertLess(time.monotonic() - began, 4)

    def test_a_request_that_takes_its_time_but_arrives_is_answered_on_the_same_connection_too(self) -> None:
        one = self.caller(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Le")
        time.sleep(0.2)
        for rest in (b"ngth: 4\r\n\r\nst", b"op"):
            one.sendall(rest)
            time.sleep(0.1)
        self.assertEqual(b"stop", read(one))
        time.sleep(1)
        one.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nagain")
        self.assertEqual(b"again", read(one))


if __name__ == "__main__":
    unittest.main()
