"""Real processes killed at random instants, against the exchange simulators, and asked each time what is true.

    python -m tests.servers.process_kills --kills 200 [--seed 1]

Half of them at Hyperliquid and half at Pear, at the same time. Web process, monitor, Redis or all of it get SIGKILL,
the whole SIGTERM, or the disk is full, in the middle of an opening, a TWAP, a close or an emergency stop.

The law: whatever dies when, no signal trades twice, the book is what the exchange holds, both legs or none are held,
nothing rests that the book does not know, and in the end the account is flat and explained to the cent. The exchange is
asked, not the desk.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

from tests.processes import lives, pause_after, wait_until
from tests.servers.island import Island
from tests.servers.service import family_of
from tests.servers.test_live_hyperliquid import LiveCase
from tests.servers.test_live_pear import PearCase

SIZE = 1000
SIZE_MAX = Decimal(1010)
TWAP = {"execution": "twap", "twap": {"duration_seconds": 3, "slices": 3}, "position_size": SIZE}
ACTIONS = ("open", "twap", "close", "stop")
WORDS = {"web": ("gunicorn",), "monitor": ("monitor_positions",), "redis": ("redis-server", "valkey")}
"""By what a process of the service is known."""
KILLED = ("all", "all", "web", "web", "monitor", "redis")
MISHAPS = (*KILLED, "sigterm")
FULL = "full disk"
DELAY_SECONDS = 0.35
FULL_SECONDS = 1.5
TERMINATED_SECONDS = 20.0
LINES_TOLD = 60
STRIKES_TOLD = 20


class KillCase(LiveCase):
    """One service and one exchange for a whole series of mishaps."""

    island: Island | None = None
    closes_without_files = True
    settled_seconds = 90.0
    """An opening that finds no fresh prices is given up after a minute; besides, a busy machine."""

    def run_kills(self, plan: Iterable[tuple[str, str]], seed: int) -> Counter[str]:
        """A whole series; what was done, killed and found is counted. Fails where a promise is broken, with all that
        there is to know of what was under way."""
        self.begin_series(seed)
        self.strike_all(plan)
        if self.island is not None and self.closes_without_files:
            self.survive_a_read_only_folder()
        self.end_series()
        return self.counts

    def begin_series(self, seed: int) -> None:
        """The service is up; instants are drawn from *seed*."""
        self.chance, self.counts, self.asked = Random(seed), Counter[str](), list[dict[str, object]]()
        self.service = self.start()
        self.until(self.answers_well, "being healthy")

    def strike_all(self, plan: Iterable[tuple[str, str]]) -> None:
        """Strike as *plan* says, action and mishap, and look each time what is true."""
        for number, (action, mishap) in enumerate(plan):
            self.strike(number, action, mishap)
            self.settle()
            self.compare()
            if (number + 1) % STRIKES_TOLD == 0:
                print(f"{type(self).__name__}: {number + 1} survived", file=sys.stderr, flush=True)

    def end_series(self) -> None:
        """Flat, explained to the cent, and a ledger that verifies."""
        self.assertIn(self.ask("POST", "/api/emergency_stop", {})[0], (200, 202))
        self.until(lambda: not self.held(), "being flat")
        self.until(lambda: all(one["status"] == "closed" for one in self.positions()), "every position being closed")
        self.until(self.rests_rightly, "nothing being left to rest")
        self.assert_account_explained()
        verified = self.command("verify_ledger")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)

    @property
    def prefix(self) -> tuple[str, ...]:
        return self.island.prefix if self.island is not None else ()

    # One mishap

    def strike(self, number: int, action: str, mishap: str) -> None:
        """Ask for something, and let something happen while it is being done. With nothing to close something is opened
        instead, and the reverse."""
        standing = [one for one in self.positions() if one["status"] == "open"]
        if action in ("open", "twap") and standing:
            action = "close"
        elif action == "close" and not standing:
            action = "open"
        caller = self.begin(action, number, standing)
        time.sleep(self.chance.uniform(0.0, DELAY_SECONDS * (6 if action == "twap" else 1)))
        self.counts[f"{mishap} in {action}, {len(self.held())} legs held"] += 1
        self.befall(mishap)
        caller.join()

    def begin(self, action: str, number: int, standing: list[dict[str, object]]) -> threading.Thread:
        """A caller whose answer may be lost."""
        if action in ("open", "twap"):
            body = {"signal_id": f"signal_{number}", **(TWAP if action == "twap" else {"position_size": SIZE})}
            self.offer(f"signal_{number}")
            self.asked.append(body)
            return self.post_and_forget("/api/trades/execute", body)
        if action == "close":
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

    def befall(self, mishap: str) -> None:
        """The supervisor starts one of its own again; the whole is started anew."""
        if mishap == "all":
            self.kill_all(self.service)
            self.service = self.start()
        elif mishap == "sigterm":
            os.kill(self.service.pid, signal.SIGTERM)
            self.assertEqual(0, self.service.wait(TERMINATED_SECONDS))
            self.service = self.start()
        elif mishap == FULL:
            assert self.island is not None
            self.island.fill()
            time.sleep(FULL_SECONDS)
            self.island.empty()
        else:
            self.kill(WORDS[mishap])

    def kill(self, words: Sequence[str]) -> None:
        """SIGKILL to every program of the service that is known by one of *words*."""

        def called_so() -> list[int]:
            return [pid for pid in family_of(self.service.pid) if any(word in command_of(pid) for word in words)]

        # The supervisor may not have started again yet what was struck before.
        self.until(lambda: bool(called_so()), f"a program called {words}")
        struck = called_so()
        for pid in struck:
            # One may go with the other.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(lives(pid) for pid in struck), "the end of the killed")

    def survive_a_read_only_folder(self) -> None:
        """Killed with a position open, and its data directory can only be read when it is to come back: it refuses to
        start and names the folder, and the emergency stop of the command line closes what is held all the same. When
        the folder can be written again the books are made right by the exchange's fills."""
        assert self.island is not None
        if not self.held():
            self.offer("read only")
            body = {"signal_id": "read only", "position_size": SIZE}
            self.until(lambda: self.ask("POST", "/api/trades/execute", body)[0] in (200, 201), "an opening")
            self.until(lambda: not self.under_way(), "the end of the opening")
        self.kill_all(self.service)
        self.island.make_read_only(True)
        refused = self.command("serve")
        self.assertEqual((1, True), (refused.returncode, "cannot be written" in refused.stderr), refused.stderr)
        self.assertEqual(2, len(self.held()))
        stopped = self.command("emergency_stop")
        self.assertEqual(({}, 0), (self.held(), stopped.returncode), stopped.stdout + stopped.stderr)
        self.island.make_read_only(False)
        self.service = self.start()
        self.until(self.answers_well, "being healthy")
        self.until(lambda: all(one["status"] == "closed" for one in self.positions()), "the books being right again")
        self.counts["read-only folder survived"] += 1
        self.settle()
        self.compare()

    # What is true then

    def settle(self) -> None:
        """Up again, a stop undone once it is complete, everything that was under way at its end."""
        self.until(self.answers_well, "being healthy")
        self.until(lambda: not self.under_way(), "the end of what was under way")
        if self.trading_state() != "ACTIVE":
            if self.trading_state() == "HALTED":
                self.counts["stops seen through"] += 1
                self.assertEqual(self.held(), {})
            self.until(lambda: self.ask("POST", "/api/resume", {})[0] == 200, "the resume")

    def compare(self) -> None:
        try:
            self.compare_all()
        except AssertionError as broken:
            raise AssertionError(f"{broken}\n{self.told()}") from broken

    def compare_all(self) -> None:
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
        self.until(self.rests_rightly, "nothing resting at the exchange but what the book knows of")
        fills = self.truth()["fills"]
        assert isinstance(fills, list)
        orders = {(one["cloid"], one["oid"]) for one in fills if "cloid" in one}
        self.assertEqual(len(orders), len({cloid for cloid, _ in orders}))
        if self.asked and self.chance.random() < 0.3:
            status, _ = self.ask("POST", "/api/trades/execute", self.asked[-1])
            self.counts[f"repeat: {status}"] += 1
            self.until(lambda: not self.under_way(), "the end of what was repeated")

    def rests_rightly(self) -> bool:
        """Every order that rests is known by its id, and is for a position that stands."""
        rows = self.truth()["open_orders"]
        assert isinstance(rows, list)
        standing = [one["position_id"] for one in self.positions() if one["status"] != "closed"]
        details = [self.ask("GET", f"/api/positions/{position_id}")[1]["resting_orders"] for position_id in standing]
        known = {order["client_order_id"] for orders in details if isinstance(orders, list) for order in orders}
        self.counts["resting orders seen"] += len(rows)
        return all(row["cloid"] in known for row in rows)

    def trading_state(self) -> object:
        return self.ask("GET", "/api/portfolio")[1]["trading_state"]

    def answers_well(self) -> bool:
        try:
            return self.is_healthy()
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False

    def under_way(self) -> bool:
        if any(one["status"] in ("opening", "closing") for one in self.positions()):
            return True
        return self.trading_state() == "LIQUIDATING"

    def until(self, true: Callable[[], bool], what: str) -> None:
        """Like `wait_until`, with the time that expiry and proof of an order take, and the story of a failure."""
        began, load = time.monotonic(), os.getloadavg()[0]
        while not true():
            waited = time.monotonic() - began
            if waited > self.settled_seconds:
                self.fail(
                    f"{what} did not happen within {self.settled_seconds} s "
                    f"(load {load:.1f} before, {os.getloadavg()[0]:.1f} now)\n{self.told()}"
                )
            time.sleep(pause_after(waited))

    def told(self) -> str:
        """All that there is to judge a failure by: counts, the exchange's truth, every trade that has not ended, and
        the last lines of log and output."""
        lines = [f"so far: {dict(self.counts)}", f"held at the exchange: {self.held()}"]
        for path in ("/api/health", "/api/portfolio"):
            lines.append(f"{path}: {self._asked(path)}")
        lines += [
            f"position {one['position_id']} is {one['status']}: {json.dumps(self._asked(f'/api/trades/{one[name]}'))}"
            for one in self._list("/api/positions")
            if one["status"] != "closed"
            for name in ("trade_id", "closing_trade_id")
            if one.get(name)
        ]
        lines += [json.dumps(one) for one in reversed(self._list(f"/api/agent/logs?limit={LINES_TOLD}"))]
        lines += self.output.read_text(encoding="utf-8").splitlines()[-LINES_TOLD:]
        return "\n".join(lines)

    def _asked(self, path: str) -> object:
        try:
            return self.ask_any("GET", path)[1]
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"no answer: {error!r}"

    def _list(self, path: str) -> list[dict[str, object]]:
        found = self._asked(path)
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class PearKillCase(KillCase, PearCase):
    """The same through Pear, whose lost orders are given up after ninety seconds without a trace.

    Without a wallet key of the exchange's own nothing can be closed while the register of Pear's writes cannot be kept.
    """

    closes_without_files = False
    settled_seconds = 180.0


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


class _Series(KillCase):
    """One series for the command line, on an island where there can be one."""

    kills = 200
    seed = 1

    def setUp(self) -> None:
        super().setUp()
        self.island = Island.found(self.folder / "data")
        if self.island is not None:
            self.enterContext(self.island)

    def runTest(self) -> None:
        began = time.monotonic()
        mishaps = MISHAPS if self.island is None else (*MISHAPS, FULL)
        if self.island is None:
            print("no full disk in this run: this system lets nobody make a file system of its own")
        chance = Random(self.seed)
        plan = [(chance.choice(ACTIONS), chance.choice(mishaps)) for _ in range(self.kills)]
        counts = self.run_kills(plan, self.seed)
        seconds = time.monotonic() - began
        print(f"{type(self).__name__}, seed {self.seed}: {self.kills} mishaps in {seconds:.0f} s, every promise kept")
        for name, number in sorted(counts.items()):
            print(f"  {number:>5}  {name}")
        sys.stdout.flush()


class HyperliquidSeries(_Series):
    pass


class PearSeries(_Series, PearKillCase):
    pass


SERIES: Mapping[str, type[_Series]] = {"hyperliquid": HyperliquidSeries, "pear": PearSeries}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--venue", choices=sorted(SERIES), help="only there")
    asked = parser.parse_args()
    if asked.venue is not None:
        _Series.kills, _Series.seed = asked.kills, asked.seed
        return 0 if unittest.TextTestRunner(verbosity=0).run(SERIES[asked.venue]()).wasSuccessful() else 1
    shares = {"pear": asked.kills // 2, "hyperliquid": asked.kills - asked.kills // 2}
    command = (sys.executable, "-m", "tests.servers.process_kills", f"--seed={asked.seed}")
    runs = [subprocess.Popen((*command, f"--venue={venue}", f"--kills={kills}")) for venue, kills in shares.items()]
    codes = [run.wait() for run in runs]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
