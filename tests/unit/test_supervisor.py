"""Tests of the supervisor: starting, starting anew, and ending everything in time."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from executor_agent import supervisor as module
from executor_agent.supervisor import Pace, Program, Supervisor, delay_after
from tests.processes import lives, wait_until

QUICK = Pace(poll=0.02, start_max=10, stop_max=3, again_first=0.05, again_max=0.2, sound_after=60)
SLEEP = "import time; time.sleep(60)"
# Says that it runs in a file of its own name, so that a test knows when and as which process.
NOTE = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); "
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def python(name: str, script: str, *arguments: str, last: bool = False) -> Program:
    return Program(name, (sys.executable, "-c", script, *arguments), last=last)


def never() -> bool:
    return False


def at_once() -> bool:
    return True


def stopping(supervisor: Supervisor, when: Callable[[], bool]) -> Callable[[], bool]:
    """Ready as soon as *when* is true, and told to stop at that moment."""

    def ready() -> bool:
        if not when():
            return False
        supervisor.stop()
        return True

    return ready


def signaled(number: signal.Signals) -> Callable[[], bool]:
    """Ready, after *number* was sent to this very process; by then the supervisor listens."""

    def ready() -> bool:
        os.kill(os.getpid(), number)
        return True

    return ready


@unittest.skipIf(sys.platform == "win32", "no supervisor on Windows")
class SupervisorTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.said: list[str] = []

    def supervisor(self, *programs: Program, pace: Pace = QUICK) -> Supervisor:
        return Supervisor(programs, self.folder, self.said.append, pace)

    def noting(self, name: str, script: str = SLEEP, *, last: bool = False) -> Program:
        return python(name, NOTE + script, str(self.folder / name), last=last)

    def noted(self, *names: str) -> bool:
        return all((self.folder / name).exists() and self.pid(name) > 0 for name in names)

    def pid(self, name: str) -> int:
        return int((self.folder / name).read_text(encoding="utf-8") or 0)


class Running(SupervisorTest):
    def test_it_says_when_all_is_ready_and_ends_all_on_a_stop(self) -> None:
        supervisor = self.supervisor(self.noting("web"), self.noting("monitor"))
        ready = stopping(supervisor, lambda: self.noted("web", "monitor"))
        self.assertEqual(supervisor.run(ready, "ready"), 0)
        self.assertEqual(self.said, ["ready", "everything has stopped"])
        self.assertFalse(lives(self.pid("web")) or lives(self.pid("monitor")))

    def test_each_stopping_signal_ends_it_and_what_was_there_before_is_put_back(self) -> None:
        def before(*_: object) -> None:
            """Also under nohup, where a SIGHUP that is ignored would never end it."""

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(number):
                self.addCleanup(signal.signal, number, signal.signal(number, before))
                supervisor = self.supervisor(python("web", SLEEP))
                self.assertEqual(supervisor.run(signaled(number), "ready"), 0)
                self.assertEqual(signal.getsignal(number), before)
                self.assertFalse(supervisor.children["web"].running)

    def test_under_nohup_a_closed_terminal_is_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.assertEqual(module._stopping_signals(), (signal.SIGINT, signal.SIGTERM))

    def test_a_service_that_does_not_get_ready_is_ended_with_a_code(self) -> None:
        pace = Pace(poll=0.02, start_max=0.3)
        supervisor = self.supervisor(python("web", SLEEP), pace=pace)
        self.assertEqual(supervisor.run(never, "ready"), 1)
        self.assertEqual(self.said, ["not ready after 0.3 s; giving up, the reason is above", "everything has stopped"])
        self.assertFalse(supervisor.children["web"].running)

    def test_a_program_that_refuses_its_configuration_ends_the_start_at_once(self) -> None:
        supervisor = self.supervisor(python("web", "import sys; sys.exit(3)"), pace=Pace(poll=0.02))
        self.assertEqual(supervisor.run(never, "ready"), module.REFUSED_EXIT_CODE)
        self.assertEqual([line for line in self.said if "again" in line], [])

    def test_a_stop_before_it_is_ready_is_no_failure(self) -> None:
        supervisor = self.supervisor(python("web", SLEEP))
        supervisor.stop()
        self.assertEqual(supervisor.run(never, "ready"), 0)
        self.assertEqual(self.said, ["everything has stopped"])

    def test_a_running_process_can_be_taken_over(self) -> None:
        process = subprocess.Popen((sys.executable, "-c", SLEEP), start_new_session=True)
        supervisor = self.supervisor(python("redis", SLEEP, last=True))
        supervisor.children["redis"].adopt(process)
        supervisor.run(stopping(supervisor, at_once), "ready")
        self.assertIsNotNone(process.poll())
        self.assertEqual(self.said, ["ready", "everything has stopped"])


class Deaths(SupervisorTest):
    def test_a_program_that_dies_is_started_again_and_each_death_is_said(self) -> None:
        runs = self.folder / "runs"
        dying = python("monitor", "import sys; open(sys.argv[1], 'a').write('x'); raise SystemExit(4)", str(runs))
        supervisor = self.supervisor(dying)
        supervisor.run(stopping(supervisor, lambda: runs.exists() and runs.stat().st_size == 3), "-")
        self.assertEqual(
            self.said[:2],
            [
                "monitor ended with code 4; starting it again in 0.05 s",
                "monitor ended with code 4; starting it again in 0.1 s",
            ],
        )

    def test_a_program_that_is_killed_is_started_again(self) -> None:
        supervisor = self.supervisor(self.noting("web"))
        killed: list[int] = []

        def kill_once_then_wait() -> bool:
            if not self.noted("web"):
                return False
            if not killed:
                killed.append(self.pid("web"))
                os.kill(killed[0], signal.SIGKILL)
            if self.pid("web") == killed[0]:
                return False
            supervisor.stop()
            return True

        self.assertEqual(supervisor.run(kill_once_then_wait, "ready"), 0)
        self.assertIn("web was killed by signal 9; starting it again in 0.05 s", self.said)

    def test_a_program_that_cannot_be_started_is_tried_again(self) -> None:
        supervisor = self.supervisor(python("web", SLEEP))
        attempts: list[int] = []

        def refuse(*args: object, **kwargs: object) -> None:
            attempts.append(1)
            raise OSError(2, "No such file or directory")

        with patch.object(module, "spawn", refuse):
            supervisor.run(stopping(supervisor, lambda: len(attempts) == 2), "-")
        self.assertEqual(self.said[0], "web cannot be started (No such file or directory); starting it again in 0.05 s")

    def test_the_pause_doubles_with_each_death_in_a_row_up_to_its_bound(self) -> None:
        pace = Pace()
        for deaths, seconds in ((0, 1), (1, 2), (2, 4), (4, 16), (5, 30), (6, 30), (10**9, 30)):
            with self.subTest(deaths):
                self.assertEqual(delay_after(deaths, pace), seconds)

    def test_a_program_that_ran_long_enough_starts_with_the_first_pause_again(self) -> None:
        pace = Pace(poll=0.02, start_max=10, again_first=0.05, again_max=5, sound_after=0)
        supervisor = self.supervisor(python("web", "raise SystemExit(4)"), pace=pace)
        supervisor.run(stopping(supervisor, lambda: len(self.said) >= 3), "-")
        self.assertEqual(set(self.said[:3]), {"web ended with code 4; starting it again in 0.05 s"})


class Ending(SupervisorTest):
    def test_one_that_refuses_is_killed_in_time_with_everything_it_started(self) -> None:
        grandchild = (
            f"import subprocess; subprocess.Popen((sys.executable, '-c', {NOTE + SLEEP!r}, sys.argv[1] + '2')); "
        )
        pace = Pace(poll=0.02, start_max=10, stop_max=0.4)
        supervisor = self.supervisor(
            python("web", DEAF + NOTE + grandchild + SLEEP, str(self.folder / "web")), pace=pace
        )
        times: list[float] = []

        def ready() -> bool:
            if not self.noted("web", "web2"):
                return False
            times.append(time.monotonic())
            supervisor.stop()
            return True

        self.assertEqual(supervisor.run(ready, "ready"), 0)
        self.assertLess(time.monotonic() - times[0], Pace().stop_max)
        self.assertIn("web does not stop; killing it", self.said)
        self.assertFalse(lives(self.pid("web")))
        wait_until(lambda: not lives(self.pid("web2")), "the end of what the program had started")

    def test_what_serves_the_others_ends_after_them(self) -> None:
        slow = (
            "import signal, time\n"
            "def end(*_):\n"
            f"    time.sleep(0.3); os.kill(int(open({str(self.folder / 'redis')!r}).read()), 0)\n"
            f"    pathlib.Path({str(self.folder / 'verdict')!r}).write_text('redis was there'); raise SystemExit\n"
            "signal.signal(signal.SIGTERM, end)\n" + NOTE + SLEEP
        )
        supervisor = self.supervisor(
            self.noting("redis", last=True), python("web", "import os, pathlib, sys\n" + slow, str(self.folder / "web"))
        )
        supervisor.run(stopping(supervisor, lambda: self.noted("redis", "web")), "ready")
        self.assertEqual((self.folder / "verdict").read_text(encoding="utf-8"), "redis was there")
        self.assertFalse(lives(self.pid("redis")))

    def test_a_program_that_was_never_started_needs_no_end(self) -> None:
        supervisor = self.supervisor(python("web", SLEEP))
        with patch.object(module, "spawn", side_effect=OSError(1, "no")):
            supervisor.run(stopping(supervisor, at_once), "-")
        self.assertEqual(self.said[-1], "everything has stopped")

    @unittest.skipUnless(sys.platform == "linux", "the leash is Linux's")
    def test_everything_dies_with_a_supervisor_that_is_killed(self) -> None:
        script = (
            "import sys; from pathlib import Path; from executor_agent.supervisor import *\n"
            "run = lambda name: Program(name, (sys.executable, '-c', sys.argv[2], sys.argv[1] + '/' + name))\n"
            "Supervisor([run('web'), run('monitor')], Path('.'), print).run(lambda: False, '')"
        )
        command = (sys.executable, "-c", script, str(self.folder), NOTE + SLEEP)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as parent:
            wait_until(lambda: self.noted("web", "monitor"), "the start of both programs")
            parent.kill()
        wait_until(lambda: not lives(self.pid("web")) and not lives(self.pid("monitor")), "the end of both programs")
