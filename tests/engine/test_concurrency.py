"""Many hands at once, threads here and processes below: one signal, one trade, and never past the limits."""

import json
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from tests.engine.scripted_venue import Scene, a_scene
from trading.domain.errors import DeskError
from trading.domain.exit_plan import ExitReason
from trading.domain.trades import OrdersIntended
from trading.engine import closing
from trading.engine.requests import TwapRequest
from trading.utils.json_storage import verify

HANDS = 8
ROOT = Path(__file__).resolve().parents[2]
PAIRS = ("BTC/ETH", "SOL/AVAX", "BTC/SOL", "ETH/AVAX", "BTC/AVAX", "ETH/SOL", "BTC/DOGE", "ETH/DOGE")

HAND = """
import json, sys
from decimal import Decimal
from pathlib import Path
from trading.bootstrap import build_desk
from trading.conf import Config
from trading.domain.errors import DeskError
from trading.domain.market import Pair
from trading.domain.units import Usd
from trading.engine import entry
from trading.engine.requests import ExecuteRequest

folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
desk = build_desk(Config.of(data_dir=folder, redis_url="redis://127.0.0.1:1/3"))
print("ready", flush=True)
sys.stdin.readline()
for signal_id, pair in jobs:
    try:
        answer = entry.execute(desk, ExecuteRequest(signal_id, Usd(Decimal(1000)), Pair.parse(pair)))
        print(json.dumps([signal_id, str(answer.outcome), answer.position.position_id]), flush=True)
    except DeskError as error:
        print(json.dumps([signal_id, error.code, None]), flush=True)
"""


def together(scene: Scene, signals: list[tuple[str, str]], size: str = "2000") -> list[str]:
    """Execute all *signals* (id, pair) at the same moment; what became of each."""
    for signal_id, pair in signals:
        scene.offer(signal_id, pair)
    gate = Barrier(len(signals))

    def one(signal_id: str) -> str:
        gate.wait()
        try:
            return str(scene.execute(signal_id, size).outcome)
        except DeskError as error:
            return error.code

    with ThreadPoolExecutor(len(signals)) as pool:
        return list(pool.map(one, [signal_id for signal_id, _ in signals]))


class ThreadTests(unittest.TestCase):
    def test_eight_identical_requests_make_one_position_and_ask_guardian_once(self) -> None:
        scene = a_scene(self)
        outcomes = together(scene, [("signal_1", "BTC/ETH")] * HANDS)
        self.assertEqual(["OPENED", *["REPEATED"] * (HANDS - 1)], sorted(outcomes))
        self.assertEqual((1, 1, 1), (len(scene.trades()), len(scene.venue.sent), len(scene.approver.proposals)))

    def test_eight_different_signals_never_exceed_the_limits(self) -> None:
        scene = a_scene(self)
        outcomes = together(scene, [(f"signal_{n}", pair) for n, pair in enumerate(PAIRS[:6])])
        opened = scene.desk.store.book().standing_positions()
        self.assertLessEqual(len(opened), 3)
        self.assertEqual(len(opened), outcomes.count("OPENED"))
        sides: dict[str, set[str]] = {}
        for position in opened:
            for leg in position.legs:
                sides.setdefault(leg.coin, set()).add(leg.side)
        self.assertTrue(all(len(one) == 1 for one in sides.values()), sides)

    def test_the_same_pair_by_eight_signals_is_opened_once(self) -> None:
        scene = a_scene(self)
        outcomes = together(scene, [(f"signal_{n}", "BTC/ETH") for n in range(HANDS)])
        self.assertEqual((1, HANDS - 1), (outcomes.count("OPENED"), outcomes.count("RISK_DENIED")))

    def test_margin_is_not_spent_twice(self) -> None:
        scene = a_scene(self, equity="3000", max_allocation="1")
        together(scene, [(f"signal_{n}", pair) for n, pair in enumerate(("BTC/ETH", "SOL/AVAX"))], size="1900")
        self.assertEqual(1, len(scene.desk.store.book().standing_positions()))

    def test_eight_closes_at_once_sell_once(self) -> None:
        scene = a_scene(self)
        position = scene.opened()
        gate = Barrier(HANDS)

        def one(_: int) -> str:
            gate.wait()
            return str(closing.close(scene.desk, position.id, ExitReason.MANUAL).status)

        with ThreadPoolExecutor(HANDS) as pool:
            self.assertEqual({"closed"}, set(pool.map(one, range(HANDS))))
        self.assertEqual(2, len(scene.venue.sent))
        self.assertTrue(scene.venue.flat)

    def test_closing_while_slices_go_out_ends_flat(self) -> None:
        for _ in range(5):
            scene = a_scene(self)
            position = scene.opened(twap=TwapRequest(8, 8))
            gate = Barrier(2)

            def work(scene: Scene = scene, gate: Barrier = gate) -> None:
                gate.wait()
                scene.ticks(8)

            with ThreadPoolExecutor(1) as pool:
                working = pool.submit(work)
                gate.wait()
                scene.close(position)
                working.result()
            scene.ticks(20)
            self.assertTrue(scene.venue.flat)
            self.assertTrue(scene.position(position.id).closed)

    def test_no_order_is_ever_intended_twice(self) -> None:
        scene = a_scene(self)
        together(scene, [("signal_1", "BTC/ETH")] * 4)
        (trade,) = scene.trades()
        intents = [event for event in trade.events if isinstance(event, OrdersIntended)]
        self.assertEqual(scene.venue.sent, [event.orders for event in intents])


class ProcessTests(unittest.TestCase):
    def test_processes_share_one_book_and_one_account(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="executor_hands_"))) / "data"
        jobs = [
            [("same", "BTC/ETH"), (f"own_{n}", pair), (f"more_{n}", PAIRS[n + 4])] for n, pair in enumerate(PAIRS[:4])
        ]
        hands = [
            subprocess.Popen(
                [sys.executable, "-c", HAND, str(folder), json.dumps(job)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for job in jobs
        ]
        for hand in hands:
            self.addCleanup(hand.kill)
            assert hand.stdout is not None
            self.assertEqual("ready\n", hand.stdout.readline())
        for hand in hands:
            assert hand.stdin is not None
            hand.stdin.write("go\n")
            hand.stdin.flush()
        answers = [json.loads(line) for hand in hands for line in hand.communicate(timeout=60)[0].splitlines()]
        self.assertEqual(12, len(answers))
        same = {position for signal_id, _, position in answers if signal_id == "same" and position}
        self.assertEqual(1, len(same))
        outcomes = [outcome for signal_id, outcome, _ in answers if signal_id == "same"]
        self.assertEqual((1, 3), (outcomes.count("OPENED"), outcomes.count("REPEATED")))
        report = verify(folder)
        self.assertEqual((), report.problems)
        self.assertLessEqual(report.counts["standing_positions"], 3)
        self.assertEqual(0, report.counts["live_trades"])


if __name__ == "__main__":
    unittest.main()
