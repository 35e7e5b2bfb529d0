"""Threads under a clock that stands still: they are waited for by what they do, never by how fast this machine is.

A thread that hangs does so in `hang`, until `release`; the test's own would wait for itself, and fails. To wait for one
that hangs takes as long as it was to be waited for, by the clock; to wait for any other one takes none of it.
"""

import threading

from tests.fakes import FakeClock
from trading.engine.monitor import Watchman
from trading.engine.threads import in_a_thread
from trading.ports import Errand, Job

PATIENCE_SECONDS = 60.0


def join_all(watchman: Watchman) -> None:
    """Wait for all that *watchman* has handed out, and for what those hand out: that of the account begins the one for
    funding. One that went on beside the test would change the same venue at the same time."""
    joined: list[Errand] = []
    while fresh := [one for one in tuple(watchman.in_hand.values()) if one not in joined]:
        for errand in fresh:
            errand.join(PATIENCE_SECONDS)
        joined += fresh


class Hands:
    """What a desk begins its errands with."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.changed = threading.Condition()
        self.hanging: set[threading.Thread] = set()
        self.released = False
        self._begun: list[Hand] = []

    def begin(self, name: str, job: Job) -> Errand:
        hand = Hand(self, name, job)
        self._begun.append(hand)
        return hand

    def hang(self) -> None:
        """Stay here until `release`; whoever waits for this thread knows that it does."""
        me = threading.current_thread()
        if me is threading.main_thread():
            raise AssertionError(
                "this hangs in the hands of whoever has asked for it, who waits for it without a bound"
            )
        with self.changed:
            self.hanging.add(me)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.released, PATIENCE_SECONDS)
            self.hanging.discard(me)

    def release(self) -> None:
        """Let go whatever hangs, for good, and come back when all that was begun has ended."""
        with self.changed:
            self.released = True
            self.changed.notify_all()
        for hand in tuple(self._begun):
            hand.join(0)


class Hand:
    """An errand of `Hands`."""

    def __init__(self, hands: Hands, name: str, job: Job) -> None:
        self.name = name
        self._hands = hands
        self._done = False
        self._thread: threading.Thread | None = None

        def to_the_end() -> None:
            self._thread = threading.current_thread()
            try:
                job()
            finally:
                with hands.changed:
                    self._done = True
                    hands.changed.notify_all()

        in_a_thread(name, to_the_end)

    @property
    def hangs(self) -> bool:
        return self._thread in self._hands.hanging and not self._hands.released

    def is_alive(self) -> bool:
        return not self._done

    def join(self, timeout: float | None = None) -> None:
        with self._hands.changed:
            if not self._hands.changed.wait_for(lambda: self._done or self.hangs, PATIENCE_SECONDS):
                raise AssertionError(f"{self.name} has neither ended nor hung within {PATIENCE_SECONDS} s")
            if self._done:
                return
        if timeout is None:
            raise AssertionError(f"{self.name} hangs and is waited for without a bound")
        self._hands.clock.advance(timeout)
