"""Asking with patience: what hangs is waited for once, asked once, and keeps nobody from the rest."""

import threading
import time
import unittest

from tests.processes import wait_until
from trading.adapters.asking import Asking, Patience
from trading.adapters.system import SystemClock
from trading.domain.errors import VenueUnavailable

WAIT_SECONDS = 20.0


class AskingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.hangs = threading.Event()
        self.addCleanup(self.hangs.set)
        self.asked: list[str] = []
        self.asking = Asking(
            "the price of", self.answer, SystemClock(), Patience(others=0.1, alone=0.6, kept=WAIT_SECONDS)
        )

    def answer(self, key: str) -> int:
        self.asked.append(key)
        if key == "hangs":
            self.hangs.wait(WAIT_SECONDS)
        if key == "refuses":
            raise VenueUnavailable("no")
        if key == "is a bug":
            raise ZeroDivisionError
        return len(key)

    def test_all_are_asked_at_once_and_each_has_its_own_answer(self) -> None:
        found = self.asking.answers(("hangs", "refuses", "one"))
        self.assertEqual(found["one"], 3)
        self.assertIsInstance(found["refuses"], VenueUnavailable)
        self.assertIn("has not said yet: the price of hangs", str(found["hangs"]))

    def test_who_has_waited_in_vain_does_not_wait_again_and_asks_nothing_twice(self) -> None:
        self.asking.answers(("hangs",))
        began = time.monotonic()
        for _ in range(20):
            self.assertIsInstance(self.asking.answers(("hangs",))["hangs"], VenueUnavailable)
        self.assertLess(time.monotonic() - began, 20 * 0.6 / 2)
        self.assertEqual(self.asked, ["hangs"])

    def test_an_answer_that_came_late_is_told_once_to_whoever_asks_next(self) -> None:
        self.asking.answers(("hangs",))
        self.hangs.set()
        wait_until(lambda: self.asking.answers(("hangs",))["hangs"] == 5, "an answer")
        self.assertEqual(self.asked, ["hangs"])
        self.assertEqual(self.asking.answers(("hangs",)), {"hangs": 5})
        self.assertEqual(self.asked, ["hangs", "hangs"])

    def test_one_that_came_too_late_is_asked_for_anew(self) -> None:
        self.asking.patience = Patience(others=0.1, alone=0.1, kept=0.0)
        self.asking.answers(("hangs",))
        self.hangs.set()
        wait_until(lambda: self.asking.answers(("hangs",))["hangs"] == 5, "an answer")
        self.assertEqual(self.asked, ["hangs", "hangs"])

    def test_a_venue_that_is_slow_as_a_whole_is_waited_for_longer(self) -> None:
        self.asking.patience = Patience(others=0.1, alone=WAIT_SECONDS)
        timer = threading.Timer(0.3, self.hangs.set)
        timer.start()
        self.addCleanup(timer.join)
        self.assertEqual(self.asking.answers(("hangs",)), {"hangs": 5})

    def test_as_long_as_there_is_patience_where_nobody_has_answered(self) -> None:
        self.asking.patience = Patience(others=0.05, alone=WAIT_SECONDS, straggling=0.0)
        timer = threading.Timer(0.3, self.hangs.set)
        timer.start()
        self.addCleanup(timer.join)
        self.assertEqual(self.asking.answers(("hangs",)), {"hangs": 5})

    def test_and_then_the_others_have_a_moment_more(self) -> None:
        self.asking.patience = Patience(others=0.05, alone=WAIT_SECONDS, straggling=WAIT_SECONDS)
        later = threading.Event()
        self.asking.ask = lambda key: self.answer(key) if key == "hangs" else len(key) * later.wait(WAIT_SECONDS)
        timers = [threading.Timer(0.2, self.hangs.set), threading.Timer(0.4, later.set)]
        for timer in timers:
            timer.start()
            self.addCleanup(timer.join)
        self.assertEqual(self.asking.answers(("hangs", "later")), {"hangs": 5, "later": 5})

    def test_what_is_there_waits_for_nothing_more(self) -> None:
        """An exit would wait by so much at each look."""
        self.asking.patience = Patience(others=WAIT_SECONDS, alone=WAIT_SECONDS, straggling=WAIT_SECONDS)
        began = time.monotonic()
        self.assertEqual(self.asking.answers(("one", "three")), {"one": 3, "three": 5})
        self.assertLess(time.monotonic() - began, WAIT_SECONDS / 2)

    def test_nor_longer_than_the_others_patience_for_one_that_hangs(self) -> None:
        self.asking.patience = Patience(others=0.1, alone=WAIT_SECONDS, straggling=WAIT_SECONDS)
        began = time.monotonic()
        self.assertEqual(self.asking.answers(("one", "hangs"))["one"], 3)
        self.assertLess(time.monotonic() - began, WAIT_SECONDS / 2)

    def test_one_that_hangs_keeps_no_process_from_ending(self) -> None:
        self.asking.answers(("hangs",))
        (thread,) = [one for one in threading.enumerate() if one.name == "the price of hangs"]
        self.assertTrue(thread.daemon)

    def test_the_others_are_waited_for_when_one_is_there_already(self) -> None:
        """Left out, a price that came a moment after that of the other leg would keep an exit waiting."""
        self.asking.patience = Patience(others=WAIT_SECONDS, alone=WAIT_SECONDS)
        timer = threading.Timer(0.05, self.hangs.set)
        timer.start()
        self.addCleanup(timer.join)
        self.assertEqual(self.asking.answers(("one", "hangs")), {"one": 3, "hangs": 5})

    def test_who_asks_nothing_waits_for_nothing(self) -> None:
        self.assertEqual({}, self.asking.answers(()))

    def test_a_bug_is_no_silence(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            self.asking.answers(("is a bug",))
