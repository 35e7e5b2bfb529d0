"""What goes wrong in one process of the tests arrives in the other, whatever it is."""

import io
import os
import subprocess
import sys
import tempfile
import threading
import unittest
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from tests.processes import environ_of
from tests.runner import MEMORY, MEMORY_BYTES_MIN, DeskTestRunner, Result, fit_to_travel, roomy_memory, travels


class Unreadable(Exception):
    """Can be written down and not be read again, as schemathesis' failures are."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")

    def __reduce__(self) -> Any:
        return (Unreadable, (str(self),))


def caught(error: Exception) -> Any:
    try:
        raise error
    except Exception:  # it is the test's own
        return sys.exc_info()


class SummaryTest(unittest.TestCase):
    def test_a_test_whose_parts_fail_has_failed_once(self) -> None:
        class Some(unittest.TestCase):
            def test_passes(self) -> None:
                """Nothing to do."""

            def test_skips(self) -> None:
                self.skipTest("always")

            def test_fails_in_parts(self) -> None:
                for part in range(3):
                    with self.subTest(part):
                        self.fail()

        self.assertEqual(self.told_of(Some), (3, "1 passed, 1 failed, 1 skipped"))

    def test_of_a_class_that_is_skipped_as_a_whole_nothing_has_passed(self) -> None:
        class Whole(unittest.TestCase):
            @classmethod
            def setUpClass(cls) -> None:
                raise unittest.SkipTest("always")

            def test_never_begins(self) -> None:
                """Nothing to do."""

        self.assertEqual(self.told_of(Whole), (0, "0 passed, 0 failed, 1 skipped"))

    def told_of(self, case: type[unittest.TestCase]) -> tuple[int, str]:
        runner = DeskTestRunner(parallel=1)
        result = runner.get_resultclass()(io.StringIO(), True, 0)
        unittest.defaultTestLoader.loadTestsFromTestCase(case)(result)
        with mock.patch("builtins.print") as said:
            failures = runner.suite_result(None, result)
        return failures, *said.call_args.args


class TravelTest(unittest.TestCase):
    @unittest.skipIf(find_spec("tblib") is None, "tblib is not installed: without it no traceback arrives")
    def test_an_error_that_arrives_is_sent_as_it_is(self) -> None:
        error = caught(ValueError("plain"))
        self.assertIs(fit_to_travel(error), error)

    def test_one_that_would_not_arrive_is_sent_as_its_words(self) -> None:
        for error in (
            Unreadable("this", "that"),
            ValueError(threading.Lock()),
            ExceptionGroup("", [Unreadable("this", "")]),
        ):
            with self.subTest(type(error)):
                self.assertFalse(travels(caught(error)))
                kind, sent, _ = fit_to_travel(caught(error))
                self.assertIs(kind, AssertionError)
                self.assertTrue(travels(sent))
                self.assertIn("Traceback", str(sent))
                self.assertIn("this" if "this" in str(caught(error)[1:]) else "lock", str(sent))


class ResultTest(SimpleTestCase):
    def told(self, tell: str, *arguments: Any) -> Any:
        result = Result()
        result.startTest(self)
        getattr(result, tell)(*arguments)
        (event,) = [one for one in result.events if one[0].startswith("add")]
        self.assertTrue(travels(event))
        return event

    def test_every_kind_of_trouble_is_told_so_that_it_arrives(self) -> None:
        for tell in ("addError", "addFailure", "addExpectedFailure"):
            with self.subTest(tell):
                event = self.told(tell, self, caught(Unreadable("this", "that")))
                self.assertEqual(event[0], tell)
                self.assertIn("this and that", str(event[2][1]))

    def test_a_part_of_a_test_is_told_as_one_where_it_can_be_sent(self) -> None:
        with self.subTest(number=1):
            part: Any = self._subtest  # type: ignore[attr-defined]  # unittest's own
            self.assertEqual(self.told("addSubTest", self, part, caught(ValueError("plain")))[0], "addSubTest")

    def test_a_part_that_cannot_be_sent_is_a_failure_of_its_test_that_names_the_part(self) -> None:
        with self.subTest(held=threading.Lock()):
            part: Any = self._subtest  # type: ignore[attr-defined]  # unittest's own
            event = self.told("addSubTest", self, part, caught(ValueError("plain")))
        self.assertEqual(event[0], "addFailure")
        self.assertIn("held=", str(event[2][1]))


class MemoryTest(unittest.TestCase):
    def memory(self, *, free: int = MEMORY_BYTES_MIN, writable: bool = True, **environ: str) -> str | None:
        usage = mock.Mock(free=free)
        with (
            mock.patch.dict(os.environ, environ),
            mock.patch("os.access", return_value=writable),
            mock.patch("shutil.disk_usage", return_value=usage),
        ):
            if not environ:
                os.environ.pop("TMPDIR", None)
            return roomy_memory()

    def test_files_go_into_memory_only_where_there_is_room_and_nobody_said_otherwise(self) -> None:
        self.assertEqual(self.memory(), str(MEMORY))
        self.assertIsNone(self.memory(free=MEMORY_BYTES_MIN - 1))
        self.assertIsNone(self.memory(writable=False))
        self.assertIsNone(self.memory(TMPDIR="/somewhere"))

    def test_a_run_leaves_nothing_behind_whatever_its_processes_started(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            names = ("tests.unit.test_settings.UnderTest", "tests.unit.test_redis_server")
            environ = environ_of(TMPDIR=folder)
            command = (sys.executable, "manage.py", "test", "--parallel", "2", *names)
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(list(Path(folder).iterdir()), [])
