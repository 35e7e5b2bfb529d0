"""The process's own output: lines for people, JSON for machines, the same facts in both."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
import time
import unittest
from typing import Any
from unittest import mock

from django.conf import settings

from executor_agent import logs
from executor_agent.logs import PatientHandler, formatter
from tests.unit.test_logger import LogCase
from trading.utils.request_id import serving


def a_logger(log_format: str, case: unittest.TestCase) -> tuple[logging.Logger, io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter(log_format))
    logger = logging.getLogger("trading.activity")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    case.addCleanup(logger.removeHandler, handler)
    case.addCleanup(logger.setLevel, before)
    return logger, out


class JsonTest(LogCase):
    def logged(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.getvalue())
        return found

    def setUp(self) -> None:
        super().setUp()
        self.logger, self.out = a_logger("json", self)

    def test_a_line_of_the_activity_log_is_one_object_with_its_facts(self) -> None:
        with serving("req_1"):
            self.log.write("error", "drift: BTC", event="OpeningStopped", cause="DRIFT", api_key="abc", level="mine")
        self.assertEqual(1, self.out.getvalue().count("\n"))
        line = self.logged()
        self.assertEqual(
            ("drift: BTC", "error", "trading.activity", "OpeningStopped", "DRIFT", "req_1", "***"),
            tuple(line[key] for key in ("event", "level", "logger", "name", "cause", "request_id", "api_key")),
        )
        self.assertRegex(line["timestamp"], r"^\d{4}-\d\d-\d\dT.*Z$")

    def test_a_line_of_any_other_logger_is_one_too_and_a_traceback_is_a_field_without_values(self) -> None:
        secret = "".join(["s3cret", "-", "value"])
        try:
            raise ValueError("odd")
        except ValueError:
            self.logger.exception("it broke")
        self.assertEqual("it broke", self.logged()["event"])
        self.assertIn("ValueError: odd", self.logged()["exception"])
        self.assertNotIn(secret, self.out.getvalue())


class Held:
    """A stderr whose reader sleeps until `released`."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.text = ""

    def write(self, text: str) -> None:
        self.released.wait(10)
        self.text += text

    def flush(self) -> None: ...


class PatienceTest(unittest.TestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch.object(logs, "LINES_MAX", 3))
        self.held = self.enterContext(mock.patch("sys.stderr", Held()))
        self.handler = PatientHandler()
        self.addCleanup(self.held.released.set)

    def write(self, *lines: str) -> None:
        for line in lines:
            self.handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, line, None, None))

    def test_nobody_waits_for_a_reader_that_sleeps_and_what_was_dropped_is_counted(self) -> None:
        began = time.monotonic()
        self.write(*(f"line {number}" for number in range(20)))
        self.assertLess(time.monotonic() - began, 5)
        self.held.released.set()
        self.handler.flush()
        self.write("later")
        self.handler.flush()
        lines = self.held.text.splitlines()
        self.assertEqual(("line 0", "later"), (lines[0], lines[-1]))
        self.assertRegex(lines[-2], r"^1[67] line\(s\) of output were dropped")

    def test_the_end_waits_a_moment_and_no_longer(self) -> None:
        with mock.patch.object(logs, "FLUSH_SECONDS", 0.05):
            self.write("line")
            began = time.monotonic()
            self.handler.flush()
            self.assertLess(time.monotonic() - began, 5)

    def test_a_line_that_cannot_be_made_stops_nobody(self) -> None:
        with mock.patch.object(self.handler, "handleError") as told:
            self.handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, "%d", ("no number",), None))
        told.assert_called_once()


class LoadedTest(unittest.TestCase):
    def test_lines_are_made_without_what_only_tables_need(self) -> None:
        """Also where somebody has loaded that before, and has it still."""
        for before, expected in (("", "False True"), ("import rich; ", "True True")):
            with self.subTest(before=before):
                words = f"import sys; {before}import executor_agent.logs; print('rich' in sys.modules, end=' '); "
                done = subprocess.run(
                    [sys.executable, "-c", words + "import rich.table; print('structlog' in sys.modules)"],
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                    cwd=settings.BASE_DIR,
                )
                self.assertEqual(expected, done.stdout.strip())


class ConsoleTest(unittest.TestCase):
    def test_people_get_a_line_without_colour_where_there_is_no_terminal(self) -> None:
        logger, out = a_logger("console", self)
        logger.warning("no price for %s", "BTC/ETH", extra={"facts": {"position_id": "pos_1", "why": None}})
        self.assertRegex(out.getvalue(), r"^\S+Z \[warning *\] no price for BTC/ETH .*position_id=pos_1")
        self.assertNotIn("\x1b", out.getvalue())
        self.assertNotIn("why", out.getvalue())

    def test_a_line_is_written_as_structlog_writes_it_but_for_the_colours(self) -> None:
        facts = {
            "position_id": "pos_1",
            "words": "two words",
            "pair": {"base": "BTC"},
            "quoted": "it's",
            "n": 1,
            "no": "",
        }
        lines = []
        for colours in (False, True):
            with mock.patch("sys.stderr.isatty", return_value=colours, create=True):
                logger, out = a_logger("console", self)
            try:
                raise ValueError("odd")
            except ValueError:
                logger.exception("it broke", extra={"facts": facts})
            plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
            lines.append([re.sub(r"\s+", " ", re.sub(r"^\S+Z ", "", one)) for one in plain.splitlines()])
        self.assertEqual(lines[0], lines[1])

    def test_on_a_terminal_they_get_colour_and_a_traceback_never_shows_values(self) -> None:
        with mock.patch("sys.stderr.isatty", return_value=True, create=True):
            logger, out = a_logger("console", self)
        secret = "".join(["s3cret", "-", "value"])
        try:
            raise ValueError(len(secret))
        except ValueError:
            logger.exception("it broke")
        self.assertIn("\x1b", out.getvalue())
        self.assertIn("ValueError: 12", out.getvalue())
        self.assertNotIn(secret, out.getvalue())
