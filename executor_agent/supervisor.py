"""Runs the service's programs as one: starts them, starts them anew when they die, and ends them together.

The law: no program outlives the supervisor; a stop takes less than ten seconds, whoever refuses; a program that dies is
started again for ever, more slowly each time up to a bound, and every death is said. The supervisor keeps the machine's
own time: no decision of the desk depends on it.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from executor_agent.leash import spawn

REFUSED_EXIT_CODE = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """The supervisor's times, in seconds."""

    poll: float = 0.2
    start_max: float = 45.0
    stop_max: float = 9.0
    again_first: float = 1.0
    again_max: float = 30.0
    sound_after: float = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """One program to keep running; *command* begins with an absolute path."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] | None = None
    quiet: bool = False
    # A program that serves the others ends after them.
    last: bool = False


class Child:
    """A program, its process, and when it is to be started again."""

    def __init__(self, program: Program, cwd: Path, pace: Pace, say: Callable[[str], None]) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self._cwd = cwd
        self._pace = pace
        self._say = say
        self._deaths = 0
        self._started_at = 0.0
        self._due_at = 0.0

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def adopt(self, process: "subprocess.Popen[bytes]") -> None:
        """Take over a process of this program that runs already."""
        self.process = process
        self._started_at = time.monotonic()

    def tend(self) -> None:
        """Start the program when it is due; notice and say when it has died."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._note_death(self.process.returncode, now)
        if self.process is None and now >= self._due_at:
            self._start(now)

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def end_by(self, deadline: float) -> None:
        """Wait until *deadline* for the process to end, then kill it with everything it has started."""
        if self.process is None:
            return
        try:
            self.process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self._say(f"{self.program.name} does not stop; killing it")
            # It leads its own group (see leash.spawn), and is not reaped yet, so the number cannot be somebody else's.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _start(self, now: float) -> None:
        try:
            self.process = spawn(
                self.program.command,
                death_signal=signal.SIGTERM,
                env=self.program.env,
                cwd=self._cwd,
                quiet=self.program.quiet,
            )
        except OSError as error:
            self._put_off(f"{self.program.name} cannot be started ({error.strerror})", now)
        else:
            self._started_at = now

    @property
    def refused(self) -> bool:
        """It will not start until somebody mends the configuration."""
        return self.process is not None and self.process.poll() == REFUSED_EXIT_CODE

    def _note_death(self, code: int, now: float) -> None:
        self.process = None
        if now - self._started_at >= self._pace.sound_after:
            self._deaths = 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        self._put_off(f"{self.program.name} {how}", now)

    def _put_off(self, what: str, now: float) -> None:
        delay = delay_after(self._deaths, self._pace)
        self._deaths += 1
        self._due_at = now + delay
        self._say(f"{what}; starting it again in {delay:g} s")


def delay_after(deaths: int, pace: Pace) -> float:
    """Seconds to wait before the next start, doubling with each of *deaths* in a row up to the bound."""
    # The exponent is bounded, because a float is not.
    return min(pace.again_first * 2.0 ** min(deaths, 32), pace.again_max)


class Supervisor:
    """Keeps *programs* running until it is told to stop, by SIGINT, SIGTERM, SIGHUP or `stop`."""

    def __init__(
        self, programs: Sequence[Program], cwd: Path, say: Callable[[str], None], pace: Pace | None = None
    ) -> None:
        self._pace = pace or Pace()
        self._say = say
        self._stop = threading.Event()
        self.children = {program.name: Child(program, cwd, self._pace, say) for program in programs}

    def stop(self) -> None:
        """End everything; `run` returns soon after."""
        self._stop.set()

    def run(self, ready: Callable[[], bool], announcement: str) -> int:
        """Start everything, say *announcement* once *ready*, and return the exit code when all has ended.

        To be called from the main thread. It is 1 when the service did not get ready in time, 3 when a program refused
        its configuration, else 0.
        """
        with self._signals():
            try:
                if self._get_ready(ready):
                    self._say(announcement)
                    self._watch()
                    return 0
                if self._refused():
                    return REFUSED_EXIT_CODE
                return 0 if self._stop.is_set() else 1
            finally:
                self._end()

    def _get_ready(self, ready: Callable[[], bool]) -> bool:
        give_up_at = time.monotonic() + self._pace.start_max
        while time.monotonic() < give_up_at:
            if self._refused():
                return False
            self._tend()
            if ready():
                return True
            if self._stop.wait(self._pace.poll):
                return False
        self._say(f"not ready after {self._pace.start_max:g} s; giving up, the reason is above")
        return False

    def _watch(self) -> None:
        while not self._stop.wait(self._pace.poll):
            self._tend()

    def _refused(self) -> bool:
        """At the start one program's refusal is everybody's: what it said is on stderr, and trying again changes
        nothing. A service that has run is not ended for it."""
        return any(child.refused for child in self.children.values())

    def _tend(self) -> None:
        for child in self.children.values():
            child.tend()

    def _end(self) -> None:
        deadline = time.monotonic() + self._pace.stop_max
        for last in (False, True):
            group = [child for child in self.children.values() if child.program.last is last]
            for child in group:
                child.ask_to_stop()
            for child in group:
                # What serves the others is left a moment of its own, also when they have used up all of the time.
                child.end_by(max(deadline, time.monotonic() + 0.5) if last else deadline)
        self._say("everything has stopped")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM and a closed terminal set the stop; what was there before is put back afterwards."""
        before = {number: signal.getsignal(number) for number in _stopping_signals()}
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()


def _stopping_signals() -> tuple[signal.Signals, ...]:
    closed = signal.SIGHUP
    # Under nohup a closed terminal is meant to be ignored.
    hang_up = () if signal.getsignal(closed) is signal.SIG_IGN else (closed,)
    return (signal.SIGINT, signal.SIGTERM, *hang_up)
