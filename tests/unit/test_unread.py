"""What a command does whose reader has gone, as one before `| head`, whose words a full disk does not take, or that
Ctrl-C ends: real processes."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

from tests.processes import environ_of
from trading.conf import PROJECT_ROOT
from trading.management.unread import INTERRUPTED_EXIT_CODE, LOST_EXIT_CODE, UNREAD_EXIT_CODE


@unittest.skipIf(sys.platform == "win32", "a pipe without a reader is another error there")
class InterruptedTest(unittest.TestCase):
    def test_a_ctrl_c_is_one_line_and_the_code_of_its_signal(self) -> None:
        """It was a traceback of twenty lines, in the middle of a question."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        command = (sys.executable, "-u", "manage.py", "setup", "--file", f"{folder}/env")
        asking = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=environ_of(DATA_DIR=folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert asking.stdout is not None
        self.assertTrue(asking.stdout.read(4))
        asking.send_signal(signal.SIGINT)
        _, words = asking.communicate(timeout=60)
        self.assertEqual((INTERRUPTED_EXIT_CODE, b"\ninterrupted\n"), (asking.returncode, words))

    def test_a_terminal_that_closes_ends_no_emergency_stop(self) -> None:
        """It did, as when a connection broke, and where no monitor was at work nobody went on."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        stopping = subprocess.Popen(
            (sys.executable, "-u", "manage.py", "emergency_stop"),
            cwd=PROJECT_ROOT,
            env=environ_of(DATA_DIR=folder, REDIS_URL="redis://127.0.0.1:1/3"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert stopping.stdout is not None
        self.assertTrue(stopping.stdout.readline())
        stopping.stdout.close()
        stopping.send_signal(signal.SIGHUP)
        self.assertEqual(0, stopping.wait(60))


@unittest.skipIf(sys.platform == "win32", "a pipe without a reader is another error there")
class UnreadTest(unittest.TestCase):
    def setUp(self) -> None:
        self.data_dir = self.enterContext(tempfile.TemporaryDirectory())

    def unread(self, *words: str, buffered: bool) -> tuple[int, str]:
        """Exit code and stderr of a command that nobody reads."""
        reading, writing = os.pipe()
        os.close(reading)
        return self.said_to(writing, *words, buffered=buffered)

    def said_to(self, writing: int, *words: str, buffered: bool) -> tuple[int, str]:
        """Exit code and stderr of a command whose stdout is *writing*, which is closed then."""
        environ = environ_of(DATA_DIR=self.data_dir, REDIS_URL="redis://127.0.0.1:1/3", DJANGO_COLORS="nocolor")
        try:
            found = subprocess.run(
                (sys.executable, *(() if buffered else ("-u",)), "manage.py", *words),
                cwd=PROJECT_ROOT,
                env=environ,
                stdout=writing,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(writing)
        return found.returncode, found.stderr

    def test_it_ends_quietly_with_the_code_of_a_closed_pipe(self) -> None:
        for words in (("verify_ledger",), ("help",)):
            for buffered in (True, False):
                with self.subTest(words, buffered=buffered):
                    self.assertEqual((UNREAD_EXIT_CODE, ""), self.unread(*words, buffered=buffered))

    def test_a_report_does_too(self) -> None:
        """What draws its tables ended it as one that had failed."""
        code, words = self.unread("report", buffered=True)
        self.assertEqual(UNREAD_EXIT_CODE, code)
        self.assertNotIn("Broken", words)

    def test_one_that_was_started_without_stdout_and_stderr_does_its_work_into_nothing(self) -> None:
        """Commands ended by it, an emergency stop for want of a stderr; and a file that was opened took the place."""
        file = f"{self.data_dir}/ledger"
        program = f"""
            import os, sys
            from trading.management.unread import quiet_end
            with quiet_end():
                file = os.open({file!r}, os.O_WRONLY | os.O_CREAT)
                sys.stdout.write("said"), sys.stderr.write("said"), sys.stdin.read()
                os.system("echo said; echo said >&2")
                os.write(file, b"kept")
        """
        for closed in ("<&- >&- 2>&-", "2>&-"):
            with self.subTest(closed):
                run = f'exec "$0" -c "$1" {closed}'
                command = ("sh", "-c", run, sys.executable, textwrap.dedent(program))
                found = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, timeout=60, check=False)
                self.assertEqual((0, b"kept"), (found.returncode, Path(file).read_bytes()))

    def test_one_that_failed_keeps_its_own_code(self) -> None:
        code, words = self.unread("restore", "nothing.tar", buffered=True)
        self.assertEqual(1, code)
        self.assertIn("nothing.tar", words)

    def test_an_emergency_stop_that_nobody_hears_has_done_its_work_all_the_same(self) -> None:
        code, words = self.unread("emergency_stop", buffered=True)
        self.assertEqual(0, code)
        self.assertNotIn("Broken", words)

    @unittest.skipUnless(os.path.exists("/dev/full"), "a disk that is always full is Linux'")
    def test_one_whose_words_a_full_disk_does_not_take_says_so_and_is_no_success(self) -> None:
        """A traceback of thirty lines, or an exception that Python ignored; a backup had been written all the same."""
        for words in (("verify_ledger",), ("report",), ("help",)):
            for buffered in (True, False):
                with self.subTest(words, buffered=buffered):
                    code, said = self.said_to(os.open("/dev/full", os.O_WRONLY), *words, buffered=buffered)
                    lines = [line for line in said.splitlines() if "Redis" not in line]
                    self.assertEqual((LOST_EXIT_CODE, 1), (code, len(lines)), said)
                    self.assertIn("stdout takes nothing more (No space left on device)", said)

    @unittest.skipUnless(os.path.exists("/dev/full"), "a disk that is always full is Linux'")
    def test_an_emergency_stop_that_a_full_disk_does_not_tell_of_is_a_success(self) -> None:
        for buffered in (True, False):
            with self.subTest(buffered=buffered):
                full = os.open("/dev/full", os.O_WRONLY)
                code, said = self.said_to(full, "emergency_stop", buffered=buffered)
                self.assertEqual(0, code, said)
                self.assertNotIn("No space", said)

    def test_a_file_that_fails_is_not_taken_for_stdout(self) -> None:
        program = "from trading.management.unread import quiet_end\nwith quiet_end():\n    raise OSError(5, 'broken')"
        found = subprocess.run(
            (sys.executable, "-c", program), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(1, found.returncode)
        self.assertIn("broken", found.stderr)
        self.assertNotIn("stdout takes", found.stderr)
