"""Tests of the leash: a program that becomes another one, and what ends it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest.mock import patch

from executor_agent import leash
from tests.processes import lives, wait_until

ON_LINUX = sys.platform == "linux"


class Exec(Exception):
    """In place of a program that would replace the test's own process."""


@unittest.skipIf(sys.platform == "win32", "no sessions and signals on Windows")
class Spawning(unittest.TestCase):
    def test_the_program_gets_its_arguments_environment_and_folder(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            script = (
                "import os, sys, pathlib; pathlib.Path('out').write_text(' '.join(sys.argv[1:]) + os.environ['WORD'])"
            )
            process = leash.spawn(
                (sys.executable, "-c", script, "a", "b c"),
                death_signal=signal.SIGTERM,
                env={"WORD": "!"},
                cwd=Path(folder),
                quiet=True,
            )
            self.assertEqual(process.wait(20), 0)
            self.assertEqual((Path(folder) / "out").read_text(encoding="utf-8"), "a b c!")

    def test_it_leads_a_session_of_its_own(self) -> None:
        process = leash.spawn((sys.executable, "-c", "import time; time.sleep(60)"), death_signal=signal.SIGTERM)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(os.getsid(process.pid), process.pid)

    def test_any_other_thread_is_refused(self) -> None:
        found: list[str] = []

        def start() -> None:
            try:
                leash.spawn(("/bin/true",), death_signal=signal.SIGTERM)
            except RuntimeError as error:
                found.append(str(error))

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        self.assertEqual(len(found), 1)

    @unittest.skipUnless(ON_LINUX, "the leash is Linux's")
    def test_the_program_dies_with_a_parent_that_is_killed(self) -> None:
        script = (
            "import signal, sys, time; from executor_agent.leash import spawn\n"
            "p = spawn((sys.executable, '-c', 'import time; time.sleep(60)'), death_signal=signal.SIGKILL)\n"
            "print(p.pid, flush=True); time.sleep(60)"
        )
        with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE, text=True) as parent:
            self.assertIsNotNone(parent.stdout)
            pid = int(parent.stdout.readline()) if parent.stdout else 0
            wait_until(lambda: b"leash.py" not in Path(f"/proc/{pid}/cmdline").read_bytes(), "becoming the program")
            self.assertTrue(lives(pid))
            parent.kill()
        wait_until(lambda: not lives(pid), "the end of the program")

    def test_without_a_leash_the_program_runs_as_it_is(self) -> None:
        with patch.object(sys, "platform", "darwin"):
            process = leash.spawn((sys.executable, "-c", "raise SystemExit(7)"), death_signal=signal.SIGTERM)
        self.assertEqual(process.wait(20), 7)


@unittest.skipUnless(ON_LINUX, "the leash is Linux's")
class Becoming(unittest.TestCase):
    def setUp(self) -> None:
        self.prctl = self.enterContext(patch("ctypes.CDLL")).return_value.prctl
        self.prctl.return_value = 0
        self.execv = self.enterContext(patch("os.execv", side_effect=Exec))

    def test_it_puts_on_the_leash_before_it_becomes_the_program(self) -> None:
        with self.assertRaises(Exec):
            leash.become((str(os.getppid()), "15", "/bin/echo", "a"))
        self.prctl.assert_called_once_with(leash.PR_SET_PDEATHSIG, 15, 0, 0, 0)
        self.execv.assert_called_once_with("/bin/echo", ["/bin/echo", "a"])

    def test_an_orphan_ends_instead_of_becoming_the_program(self) -> None:
        with self.assertRaises(SystemExit) as caught:
            leash.become((str(os.getpid()), "15", "/bin/echo"))
        self.assertEqual(caught.exception.code, leash.ORPHANED_EXIT_CODE)
        self.execv.assert_not_called()

    def test_without_a_leash_it_does_not_become_the_program(self) -> None:
        self.prctl.return_value = -1
        with self.assertRaises(SystemExit) as caught:
            leash.become((str(os.getppid()), "15", "/bin/echo"))
        self.assertEqual(caught.exception.code, leash.ORPHANED_EXIT_CODE)
