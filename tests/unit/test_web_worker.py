"""Tests of what the web server answers by itself to what never reaches the application."""

import io
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
from typing import ClassVar
from unittest import mock

from django.conf import settings

from tests.processes import environ_of, free_port, wait_until
from trading import parsers
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

    from executor_agent import web_worker
    from executor_agent.web_worker import Worker


ROOT = Path(settings.BASE_DIR)
FROM = ("203.0.113.7", 4711)
THREADS = 2
SILENT = b""
HALF_A_HEAD = b"GET /api/health HTTP/1.1\r\nHost: local"
HALF_A_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
HALF_IN_CHUNKS = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
HALF_TOO_MUCH = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n{"
UNTOLD = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
THE_LAST_WORD = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FOR_MUCH = b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n"


# An application as small as can be: it answers the body that it was sent, of those that the service would read.
SERVED = """
import threading
from executor_agent.web_worker import Worker

stopped = threading.Event()

class Hasty(Worker):
    request_seconds = %s
    answer_seconds = 0.2

def echo(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read(length) if length < 65536 else b""
    if environ["PATH_INFO"] in ("/slow", "/api/positions/slow/close"):
        stopped.wait(20)
    if environ["PATH_INFO"] == "/api/emergency_stop":
        stopped.set()
    if environ["PATH_INFO"] == "/much":
        body = bytes(16 * 1024 * 1024)
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

    def test_a_head_that_is_too_long_is_refused(self) -> None:
        conn = mock.Mock(sock=self.ours, client=FROM)
        self.worker._too_long = {conn}
        with self.assertLogs("tests.web_worker", "WARNING"):
            self.assertFalse(self.worker.handle(conn))
        self.ours.close()
        response = HTTPResponse(self.theirs)
        response.begin()
        self.assertEqual(["headers"], list(json.loads(response.read())["fields"]))

    def test_who_has_hung_up_is_sent_nothing(self) -> None:
        self.theirs.close()
        with self.assertLogs("tests.web_worker", "WARNING"):
            self.worker.handle_error(None, self.ours, None, InvalidRequestLine("GARBAGE"))

    def test_a_mistake_of_the_application_is_gunicorns_to_tell(self) -> None:
        for error in (ValueError("a bug"), InvalidResponseHeader("X")):
            with mock.patch.object(ThreadWorker, "handle_error") as told:
                self.worker.handle_error(None, self.ours, FROM, error)
            told.assert_called_once_with(None, self.ours, FROM, error)

    def test_as_much_is_gathered_of_a_body_as_the_application_reads(self) -> None:
        self.assertEqual(parsers.BODY_BYTES_MAX, web_worker.BODY_BYTES_MAX)

    def test_who_stops_waits_for_no_half_request_as_long_as_else(self) -> None:
        one = web_worker.Arriving(time.monotonic() + web_worker.REQUEST_SECONDS)
        self.worker._arriving, self.worker._parting = {mock.Mock(): one}, {}
        for alive, most in ((True, web_worker.REQUEST_SECONDS), (False, web_worker.PARTING_SECONDS)):
            self.worker.alive = alive
            self.worker.murder_pending()
            left = one.until - time.monotonic()
            self.assertTrue(0 < left <= most, left)
            self.assertEqual(alive, left > web_worker.PARTING_SECONDS)

    def test_what_is_urgent(self) -> None:
        for line, urgent in (
            (b"POST /api/emergency_stop HTTP/1.1", False),
            (b"POST /api/emergency_stop/ HTTP/1.1", False),
            (b"POST /api/positions/pos_1/close HTTP/1.1", True),
            (b"POST /api/trades/trd_1/cancel/?x=1 HTTP/1.1", True),
            (b"GET /api/health HTTP/1.1", True),
            (b"GET /api/positions/pos_1/close HTTP/1.1", False),
            (b"POST /api/trades/execute HTTP/1.1", False),
            (b"POST /api/trades/execute?/api/emergency_stop HTTP/1.1", False),
            (b"GET /api/healthy HTTP/1.1", False),
        ):
            self.assertEqual(urgent, bool(web_worker._URGENT.match(line)), line)
            stops = line.startswith(b"POST /api/emergency_stop")
            self.assertEqual(stops, bool(web_worker._STOP.match(line)), line)

    def test_tls_is_refused_and_not_taken_for_something_that_cannot_be_read(self) -> None:
        self.worker.cfg = mock.Mock(is_ssl=True)
        with mock.patch.object(sys, "stderr", io.StringIO()) as said, self.assertRaises(SystemExit):
            self.worker.load_wsgi()
        self.assertIn("--certfile", said.getvalue())

    def test_the_service_is_served_by_it(self) -> None:
        name = GUNICORN_OPTIONS[GUNICORN_OPTIONS.index("--worker-class") + 1]
        self.assertIs(load_class(name), Worker)


def read(connection: socket.socket) -> bytes:
    response = HTTPResponse(connection)
    response.begin()
    return response.read()


@unittest.skipIf(sys.platform == "win32", "no gunicorn on Windows")
class ServedTestCase(unittest.TestCase):
    """A real server with two threads."""

    REQUEST_SECONDS: ClassVar[float]
    FILES_MAX: ClassVar[int] = 1024
    port: ClassVar[int]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        Path(folder, "served.py").write_text(SERVED % cls.REQUEST_SECONDS, encoding="utf-8")
        cls.port = free_port()
        said = ("--bind", f"127.0.0.1:{cls.port}", "--worker-class", "served.Hasty", "--log-level", "error")
        command = ("-m", "gunicorn", *said, "--threads", str(THREADS), "--no-control-socket")
        environ = environ_of(PYTHONPATH=os.pathsep.join((str(ROOT), folder)))
        limited = ("sh", "-c", f'ulimit -n {cls.FILES_MAX} && exec "$@"', "sh")
        server = subprocess.Popen((*limited, sys.executable, *command, "served:echo"), cwd=ROOT, env=environ)
        cls.addClassCleanup(server.wait)
        cls.addClassCleanup(server.terminate)
        wait_until(lambda: not port_is_free(cls.port), "a server")

    def caller(self, words: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 10)
        self.addCleanup(connection.close)
        connection.sendall(words)
        return connection


class ManyCallersTest(ServedTestCase):
    """More callers than the process may have files."""

    REQUEST_SECONDS = 8
    FILES_MAX = 64

    def test_they_take_the_files_of_nobody_else(self) -> None:
        """The worker died where it accepted one too many: whoever waited for an answer, of a stop too, had none."""
        waiting = self.caller(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nslow")
        others = [self.caller(HALF_A_HEAD) for _ in range(self.FILES_MAX)]
        stop = self.caller(b"POST /api/emergency_stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nstop")
        time.sleep(1)  # as many are taken as can be
        for other in others:
            other.close()
        self.assertEqual(b"stop", read(stop))
        self.assertEqual(b"slow", read(waiting))


class SlowCallersTest(ServedTestCase):
    """More callers than threads who do not come to an end; a request has longer than any of these tests."""

    REQUEST_SECONDS = 8

    def assert_answered_at_once(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.addCleanup(connection.close)
        began = time.monotonic()
        connection.request("POST", "/", b"stop")
        self.assertEqual(b"stop", connection.getresponse().read())
        self.assertLess(time.monotonic() - began, 4)

    def test_who_says_nothing_or_stops_in_the_middle_keeps_nobody_waiting(self) -> None:
        """Two who had sent half a head held both threads for as long as a request may take, and two with half of
        a body in chunks for ever, refused as it was."""
        for words in (SILENT, HALF_A_HEAD, HALF_A_BODY, HALF_IN_CHUNKS, HALF_TOO_MUCH, UNTOLD):
            with self.subTest(words):
                for _ in range(4 * THREADS):
                    self.caller(words)
                self.assert_answered_at_once()

    def test_who_does_not_hang_up_keeps_nobody_waiting(self) -> None:
        """The one thread that every connection goes through waited two seconds for each of them."""
        for _ in range(4 * THREADS):
            self.assertEqual(b"", read(self.caller(THE_LAST_WORD)))
        self.assert_answered_at_once()

    def test_who_does_not_read_the_answer_is_given_up(self) -> None:
        """Two who asked for much and read nothing held both threads for ever."""
        for _ in range(THREADS):
            self.caller(FOR_MUCH)
        self.assert_answered_at_once()

    def test_a_stop_waits_for_nobody_who_opens_or_closes(self) -> None:
        """Sixteen who asked to open while Guardian was slow held all threads, and an emergency stop for as long; so did
        nine who closed while the venue hung."""
        for _ in range(2 * THREADS):
            self.caller(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(web_worker.URGENT_THREADS + 1):
            self.caller(b"POST /api/positions/slow/close HTTP/1.1\r\nHost: localhost\r\n\r\n")
        began = time.monotonic()
        self.assertEqual(b"", read(self.caller(b"POST /api/emergency_stop HTTP/1.1\r\nHost: localhost\r\n\r\n")))
        self.assertLess(time.monotonic() - began, 4)

    def test_who_waits_to_be_told_to_go_on_is_told(self) -> None:
        one = self.caller(UNTOLD)
        self.assertEqual(b"HTTP/1.1 100 Continue\r\n\r\n", one.recv(64))
        one.sendall(b"go")
        self.assertEqual(b"go", read(one))

    def test_requests_that_come_together_are_answered_in_their_order(self) -> None:
        words = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
        one = self.caller(words + b"one" + words + b"two" + words + b"th")
        heard = b""
        while not heard.endswith(b"two"):
            heard += one.recv(1024)
        self.assertLess(heard.index(b"one"), heard.index(b"two"))
        one.sendall(b"r")
        self.assertEqual(b"thr", read(one))

    def test_a_head_is_not_gathered_for_ever_and_has_the_same_bound_when_it_comes_at_once(self) -> None:
        for end in (b"", b"\r\n"):
            one = self.caller(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 5 + end)
            self.assertEqual(b"", one.recv(64))


class PatienceTest(ServedTestCase):
    """A request has half a second."""

    REQUEST_SECONDS = 0.5

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

    def test_the_rest_of_a_request_is_not_waited_for_any_longer(self) -> None:
        head, body = self.caller(HALF_A_HEAD), self.caller(HALF_A_BODY)
        self.assertEqual(b"{", read(body))
        self.assertEqual(b"", head.recv(64))


if __name__ == "__main__":
    unittest.main()
