"""Tests of what the web server answers by itself to what never reaches the application."""

import json
import logging
import socket
import sys
import unittest
from http.client import HTTPResponse
from unittest import mock

from trading.management.commands.serve import GUNICORN_OPTIONS
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

FROM = ("203.0.113.7", 4711)


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


if __name__ == "__main__":
    unittest.main()
