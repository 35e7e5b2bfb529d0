"""Ten of the kills that `make sim-processes` does by the hundred, and a service that is asked to stop in mid-trade."""

import os
import signal

from tests.servers.process_kills import TWAP, KillCase

PLAN = (
    ("open", "all"),
    ("close", "web"),
    ("twap", "monitor"),
    ("close", "all"),
    ("open", "web"),
    ("close", "monitor"),
    ("twap", "all"),
    ("close", "redis"),
    ("open", "all"),
    ("stop", "all"),
)
"""A stop is seen through for a quarter of a minute, so that there is one."""
SEED = 3


class ProcessKillTests(KillCase):
    def test_every_promise_is_kept_whoever_dies_when(self) -> None:
        counts = self.run_kills(PLAN, SEED)
        self.assertEqual(len(PLAN), sum(count for name, count in counts.items() if name.endswith("legs held")))


class TerminatedTests(KillCase):
    def test_a_sigterm_in_the_middle_of_an_execute_hands_the_trade_over(self) -> None:
        service = self.start()
        self.until(self.answers_well, "being healthy")
        self.offer("handed over")
        caller = self.post_and_forget("/api/trades/execute", {"signal_id": "handed over", **TWAP})
        self.until(lambda: bool(self.held()), "the first slice")
        os.kill(service.pid, signal.SIGTERM)
        self.assertEqual(0, service.wait(20))
        caller.join()
        self.start()
        self.until(lambda: self.positions()[0]["status"] == "open", "the rest of the slices")
        self.assertEqual(1, len(self.positions()))
        self.assertEqual({"BTC", "ETH"}, set(self.held()))
