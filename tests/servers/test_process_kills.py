"""Ten of the kills that `make sim-processes` does by the hundred, and a service that is asked to stop in mid-trade."""

import os
import signal

from tests.servers.process_kills import SIZE, TERMINATED_SECONDS, TWAP, KillCase

PLAN = (
    ("close", "all"),
    ("open", "all"),
    ("close", "web"),
    ("twap", "monitor"),
    ("close", "all"),
    ("open", "web"),
    ("close", "monitor"),
    ("twap", "all"),
    ("close", "redis"),
)
"""And a stop at last, which `test_kills.py` sees through to the halt: that takes a quarter of a minute."""
SEED = 3


class ProcessKillTests(KillCase):
    """One service and one exchange for both, for starting them is what costs."""

    def test_a_sigterm_in_the_middle_of_an_execute_hands_over_and_then_every_promise_is_kept_whoever_dies_when(
        self,
    ) -> None:
        self.begin_series(SEED)
        self.hand_over()
        self.strike_all(PLAN)
        self.strike(len(PLAN), "stop", "all")
        self.until(self.answers_well, "being healthy")
        self.end_series()
        self.assertEqual(10, sum(count for name, count in self.counts.items() if name.endswith("legs held")))

    def hand_over(self) -> None:
        self.offer("handed over")
        caller = self.post_and_forget("/api/trades/execute", {"signal_id": "handed over", **TWAP})
        self.until(lambda: bool(self.held()), "the first slice")
        os.kill(self.service.pid, signal.SIGTERM)
        self.assertEqual(0, self.service.wait(TERMINATED_SECONDS))
        caller.join()
        self.service = self.start()
        self.until(lambda: self.positions()[0]["status"] == "open", "the rest of the slices")
        (position,) = self.positions()
        self.assertGreater(float(str(position["size"])), 0.99 * SIZE)
        self.assertEqual({"BTC", "ETH"}, set(self.held()))
