"""Threads that are kept for the next errand: nobody waits for another, nothing is lost, and none stays for ever."""

import os
import threading
import unittest
from contextvars import ContextVar
from unittest.mock import patch

from tests.processes import wait_until
from trading.engine.threads import KEPT_MAX, Threads

WAIT_SECONDS = 10.0
said: ContextVar[str] = ContextVar("said", default="nothing")


class KeptThreads(unittest.TestCase):
    def setUp(self) -> None:
        self.threads = Threads()

    def free(self, count: int) -> None:
        wait_until(lambda: self.threads.free == count, f"{count} free threads")

    def who(self) -> threading.Thread:
        """The thread that does an errand now."""
        found: list[threading.Thread] = []
        errand = self.threads.begin("who", lambda: found.append(threading.current_thread()))
        errand.join(WAIT_SECONDS)
        self.assertFalse(errand.is_alive())
        return found[0]

    def test_one_that_is_free_is_used_again_under_the_name_of_its_errand(self) -> None:
        first = self.who()
        self.free(1)
        self.assertIs(self.who(), first)
        self.assertEqual((first.name, first.daemon), ("who", True))

    def test_one_that_hangs_delays_no_other(self) -> None:
        go = threading.Event()
        self.addCleanup(go.set)
        hangs = self.threads.begin("hangs", lambda: self.assertTrue(go.wait(WAIT_SECONDS)))
        self.who()
        self.assertTrue(hangs.is_alive())
        hangs.join(0.001)
        self.assertTrue(hangs.is_alive())
        go.set()
        hangs.join(WAIT_SECONDS)
        self.assertFalse(hangs.is_alive())
        self.free(2)

    def test_an_errand_has_the_context_of_whoever_began_it(self) -> None:
        seen: list[str] = []
        for word in ("one", "two"):
            token = said.set(word)
            self.threads.begin("say", lambda: seen.append(said.get())).join(WAIT_SECONDS)
            said.reset(token)
            self.free(1)
        self.assertEqual(seen, ["one", "two"])

    def test_a_failure_is_told_and_ends_no_thread(self) -> None:
        def fail() -> None:
            raise ValueError("a bug")

        first = self.who()
        self.free(1)
        with patch.object(threading, "excepthook") as told:
            errand = self.threads.begin("fails", fail)
            errand.join(WAIT_SECONDS)
            self.free(1)
        self.assertEqual((told.call_args.args[0].exc_type, errand.is_alive()), (ValueError, False))
        self.assertIs(self.who(), first)

    def test_no_more_are_kept_than_are_worth_it(self) -> None:
        go = threading.Event()
        self.addCleanup(go.set)
        errands = [
            self.threads.begin(f"errand {n}", lambda: self.assertTrue(go.wait(WAIT_SECONDS)))
            for n in range(KEPT_MAX + 4)
        ]
        go.set()
        for errand in errands:
            errand.join(WAIT_SECONDS)
        self.free(KEPT_MAX)

    def test_one_that_is_idle_ends(self) -> None:
        self.threads = Threads(idle_seconds=0.01)
        first = self.who()
        first.join(WAIT_SECONDS)
        self.assertEqual((first.is_alive(), self.threads.free), (False, 0))

    def test_an_errand_that_comes_while_a_thread_gives_up_is_done(self) -> None:
        self.threads = Threads(idle_seconds=0.0)
        for _ in range(300):
            self.who()

    def test_a_forked_process_has_its_own(self) -> None:
        self.who()
        self.free(1)
        child = os.fork()
        if not child:
            errand = self.threads.begin("in the child", lambda: None)
            errand.join(WAIT_SECONDS)
            os._exit(int(errand.is_alive()))
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(self.threads.free, 1)


if __name__ == "__main__":
    unittest.main()
