"""Real processes killed at random instants, against the exchange simulator, and asked each time what is true.

    python -m tests.servers.process_kills --kills 200 [--seed 1]

The law: whatever dies when, no signal trades twice, the book is what the exchange holds, both legs or none are held,
and in the end the account is flat and explained to the cent. The exchange is asked, not the desk.
"""

import argparse
import http.client
import os
import signal
import sys
import threading
import time
import unittest
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

from tests.processes import lives, wait_until
from tests.servers.service import family_of
from tests.servers.test_live_hyperliquid import LiveCase

SIZE = 1000
SIZE_MAX = Decimal(1010)
TWAP = {"execution": "twap", "twap": {"duration_seconds": 3, "slices": 3}, "position_size": SIZE}
ACTIONS = ("open", "twap", "close", "stop")
VICTIMS = ("all", "all", "web", "monitor")
DELAY_SECONDS = 0.35
SETTLED_SECONDS = 45.0


class KillCase(LiveCase):
    """One service and one exchange for a whole series of kills."""

    def run_kills(self, kills: int, seed: int) -> Counter[str]:
        """Kill *kills* times; what was done, killed and found is counted. Fails where a promise is broken."""
        self.chance, self.counts, self.asked = Random(seed), Counter[str](), list[dict[str, object]]()
        self.service = self.start()
        wait_until(self.is_healthy, "being healthy")
        for number in range(kills):
            self.strike(number)
            self.settle()
            self.compare()
        self.assertIn(self.ask("POST", "/api/emergency_stop", {})[0], (200, 202))
        self.until(lambda: not self.held(), "being flat")
        self.until(lambda: all(one["status"] == "closed" for one in self.positions()), "every position being closed")
        self.assert_account_explained()
        verified = self.command("verify_ledger")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)
        return self.counts

    def strike(self, number: int) -> None:
        """Ask for something, and kill somebody while it is being done."""
        action = self.chance.choice(ACTIONS)
        standing = [one for one in self.positions() if one["status"] == "open"]
        if action in ("open", "twap") and standing:
            action = "close"
        caller = self.begin(action, number, standing)
        time.sleep(self.chance.uniform(0.0, DELAY_SECONDS * (6 if action == "twap" else 1)))
        victim = self.chance.choice(VICTIMS)
        self.kill(victim)
        caller.join()
        self.counts[f"{victim} killed in {action}"] += 1

    def begin(self, action: str, number: int, standing: list[dict[str, object]]) -> threading.Thread:
        """A caller whose answer may be lost."""
        if action in ("open", "twap"):
            body = {"signal_id": f"signal_{number}", **(TWAP if action == "twap" else {"position_size": SIZE})}
            self.offer(f"signal_{number}")
            self.asked.append(body)
            return self.post_and_forget("/api/trades/execute", body)
        if action == "close" and standing:
            return self.post_and_forget(f"/api/positions/{standing[0]['position_id']}/close", {})
        return self.post_and_forget("/api/emergency_stop", {})

    def post_and_forget(self, path: str, body: object) -> threading.Thread:
        def call() -> None:
            try:
                self.ask_any("POST", path, body)
            except (OSError, ValueError, http.client.HTTPException):
                return

        thread = threading.Thread(target=call)
        thread.start()
        return thread

    def kill(self, victim: str) -> None:
        """SIGKILL; the supervisor starts one of its own again, the whole is started anew."""
        if victim == "all":
            self.kill_all(self.service)
            self.service = self.start()
            return
        word = "monitor_positions" if victim == "monitor" else "runserver"
        for pid in family_of(self.service.pid):
            if word in _command_of(pid):
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: not lives(pid), "the end of the killed")  # type: ignore[misc]

    def settle(self) -> None:
        """Up again, a stop undone once it is complete, everything that was under way at its end."""
        self.until(self.answers_well, "being healthy")
        self.until(lambda: not self.under_way(), "the end of what was under way")
        if self.ask("GET", "/api/portfolio")[1]["trading_state"] != "ACTIVE":
            self.counts["stops seen through"] += 1
            self.assertEqual(self.held(), {})
            self.until(lambda: self.ask("POST", "/api/resume", {})[0] == 200, "the resume")

    def compare(self) -> None:
        """The book is what the exchange holds, level, and nothing was done twice; a repeat opens nothing."""
        held = self.held()
        standing = [one for one in self.positions() if one["status"] != "closed"]
        book: Counter[str] = Counter()
        for one in standing:
            for side, sign in (("long", 1), ("short", -1)):
                leg = one[side]
                assert isinstance(leg, dict)
                book[leg["coin"]] += Decimal(str(leg["quantity"])) * sign  # type: ignore[assignment]
        self.assertEqual({coin: Decimal(held_) for coin, held_ in book.items() if held_}, held)
        self.assertIn(len(held), (0, 2))
        self.assertLessEqual(
            sum((abs(quantity) * {"BTC": 100_000, "ETH": 4_000}[coin] for coin, quantity in held.items()), Decimal(0)),
            SIZE_MAX,
        )
        fills = self.truth()["fills"]
        assert isinstance(fills, list)
        orders = {(one["cloid"], one["oid"]) for one in fills if "cloid" in one}
        self.assertEqual(len(orders), len({cloid for cloid, _ in orders}))
        if self.asked and self.chance.random() < 0.3:
            status, _ = self.ask("POST", "/api/trades/execute", self.asked[-1])
            self.counts[f"repeat: {status}"] += 1
            self.until(lambda: not self.under_way(), "the end of what was repeated")

    def answers_well(self) -> bool:
        try:
            return self.is_healthy()
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def under_way(self) -> bool:
        if any(one["status"] in ("opening", "closing") for one in self.positions()):
            return True
        return self.ask("GET", "/api/portfolio")[1]["trading_state"] == "LIQUIDATING"

    def until(self, true: "object", what: str) -> None:
        """Like `wait_until`, with the time that expiry and proof of an order take."""
        assert callable(true)
        give_up_at = time.monotonic() + SETTLED_SECONDS
        while not true():
            self.assertLess(time.monotonic(), give_up_at, f"{what} did not happen within {SETTLED_SECONDS} s")
            time.sleep(0.1)


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


class _Series(KillCase):
    """One series for the command line."""

    kills = 200
    seed = 1

    def runTest(self) -> None:
        began = time.monotonic()
        counts = self.run_kills(self.kills, self.seed)
        seconds = time.monotonic() - began
        print(f"{self.kills} kills in {seconds:.0f} s, every promise kept")
        for name, number in sorted(counts.items()):
            print(f"  {number:>5}  {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    _Series.kills, _Series.seed = asked.kills, asked.seed
    result = unittest.TextTestRunner(verbosity=0).run(_Series())
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
