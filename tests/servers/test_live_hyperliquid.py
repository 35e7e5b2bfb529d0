"""The production configuration over real sockets: service and exchange as processes, only the URL changed."""

import hashlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

from tests.processes import least, wait_until
from tests.servers.scout import ScoutServer, entry_of
from tests.servers.service import ServiceCase
from tests.servers.siblings import Agents, serve
from trading.conf import PROJECT_ROOT
from trading.domain.market import Pair
from trading.domain.signals import Signal, SignalType
from trading.engine.health import UNCOMPARED

TOKEN = "a token of the test"
EQUITY = Decimal(100_000)
MASTER = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
CONTROL_SECONDS = 60.0
"""How long a machine may take that is busy with other tests; no promise is measured by it."""
AGENT_KEY = "0x" + "0123456789" * 6 + "0123"
DETAIL = {"route": "/exchange", "only": "order", "do": "fault"}
FAULTS: dict[str, dict[str, object]] = {
    "the answer is lost after the commit": {**DETAIL, "answer": "closed", "commit": "before"},
    "a 502 page after the commit": {**DETAIL, "answer": "bad_gateway", "commit": "before"},
    "garbage instead of the answer": {**DETAIL, "answer": "garbage", "commit": "before"},
    "the first half of the answer": {**DETAIL, "answer": "cut_short", "commit": "before"},
    "too many requests": {**DETAIL, "answer": "too_many", "commit": "never"},
    "a partial fill of one leg": {"do": "partial_fill", "coin": "ETH", "size": "0.05"},
    "one leg refused": {
        "do": "refuse",
        "coin": "ETH",
        "sentence": "Order could not immediately match against any resting orders. asset=4",
        "status": "iocCancelRejected",
    },
}


def control_of(url: str, order: dict[str, object]) -> object:
    """What a simulator in another process answers to *order*."""
    request = urllib.request.Request(  # noqa: S310 - a simulator on the loopback interface
        f"{url}/control", json.dumps(order).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=CONTROL_SECONDS) as answer:  # noqa: S310
        found: object = json.loads(answer.read())
    return found


class LiveCase(ServiceCase):
    """An exchange simulator in a process of its own, Scout and Guardian in this one, and the service on top."""

    def setUp(self) -> None:
        super().setUp()
        self.exchange = self.start_exchange()
        self.scout = self.enterContext(ScoutServer())
        self.agents = Agents()
        guardian = serve(0, self.agents.guardian)
        self.addCleanup(guardian.server_close)
        self.addCleanup(guardian.shutdown)
        self.guardian = f"http://127.0.0.1:{guardian.server_port}"
        for coin, mid in (("BTC", "100000"), ("ETH", "4000")):
            self.control({"do": "set_market", "coin": coin, "mid": mid, "mark": mid, "oracle": mid})

    def start_exchange(self) -> str:
        process = subprocess.Popen(
            (sys.executable, "-m", "tests.servers.hyperliquid", "--port", "0", "--still", "--master", MASTER),
            cwd=PROJECT_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        return found.group()

    @property
    def environ(self) -> dict[str, str]:
        return {
            **super().environ,
            "DEMO_MODE": "false",
            "VENUE": "hyperliquid",
            "HYPERLIQUID_API_URL": self.exchange,
            "HYPERLIQUID_ACCOUNT_ADDRESS": MASTER,
            "HYPERLIQUID_WALLET_KEY": AGENT_KEY,
            "SECRET_KEY": "0123456789" * 6,
            "API_TOKENS": f"operator:admin:{hashlib.sha256(TOKEN.encode()).hexdigest()}",
            "SCOUT_URL": self.scout.url,
            "GUARDIAN_URL": self.guardian,
            "THROTTLE_TRADE_PER_MINUTE": "0",
            "VENUE_WEIGHT_PER_MINUTE": "0",
        }

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKEN}"}

    def control(self, order: dict[str, object]) -> dict[str, object]:
        found = control_of(self.exchange, order)
        assert isinstance(found, dict)
        return found

    def offer(self, signal_id: str, pair: str = "BTC/ETH") -> None:
        """Scout offers *pair* as rich, so that the desk sells its first coin and buys the other."""
        signal = Signal(
            id=signal_id,
            pair=Pair.parse(pair),
            signal_type=SignalType.SHORT_SPREAD,
            zscore=Decimal("2.4"),
            correlation=None,
            entry_spread=None,
            confidence=Decimal("0.9"),
            status="pending",
            created_at=datetime.now(UTC),
        )
        self.scout.entries.insert(0, entry_of(signal))

    def execute(self, signal_id: str, **changes: object) -> tuple[int, dict[str, object]]:
        self.offer(signal_id)
        return self.ask("POST", "/api/trades/execute", {"signal_id": signal_id, "position_size": 2000, **changes})

    def positions(self) -> list[dict[str, object]]:
        status, content = self.ask_any("GET", "/api/positions")
        self.assertEqual(status, 200)
        assert isinstance(content, list)
        return content

    def is_healthy(self) -> bool:
        """A live desk opens nothing before its monitor has beaten, and has compared book and venue."""
        health = self.ask("GET", "/api/health")[1]
        monitor = health["monitor"]
        watched = isinstance(monitor, dict) and monitor["alive"] is True
        return health["status"] == "healthy" and watched and UNCOMPARED not in str(health["problems"])

    def status_of(self, position_id: object) -> object:
        return self.ask("GET", f"/api/positions/{position_id}")[1]["status"]

    def truth(self) -> dict[str, object]:
        return self.control({"do": "truth", "user": MASTER})

    def held(self) -> dict[str, Decimal]:
        positions = self.truth()["positions"]
        assert isinstance(positions, dict)
        return {coin: Decimal(str(one["szi"] if isinstance(one, dict) else one)) for coin, one in positions.items()}

    def assert_account_explained(self) -> None:
        """The sum of the positions' net PnL is the change of the account, to the cent; no order took effect twice."""
        explained = sum((Decimal(str(one["pnl"])) for one in self.positions()), Decimal(0))
        self.assertAlmostEqual(explained, Decimal(str(self.truth()["equity"])) - EQUITY, delta=Decimal("0.005"))
        fills = self.truth()["fills"]
        assert isinstance(fills, list)
        orders = {(one["cloid"], one["oid"]) for one in fills if "cloid" in one}
        self.assertEqual(len(orders), len({cloid for cloid, _ in orders}))


class LiveTest(LiveCase):
    def test_every_fault_at_open_and_at_close_and_then_a_trade_a_close_and_a_stop_in_fair_weather(self) -> None:
        """One service and one exchange for all, for starting them is what costs."""
        self.start()
        wait_until(self.is_healthy, "being healthy")
        doctor = self.command("doctor")
        self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)
        self.assertNotIn(AGENT_KEY[2:], doctor.stdout + doctor.stderr)
        self.meet_every_fault_at_open_and_at_close()
        self.trade_from_signal_to_take_profit_and_a_close_and_a_stop()

    def trade_from_signal_to_take_profit_and_a_close_and_a_stop(self) -> None:
        status, opened = self.execute("first", take_profit=0.01)
        self.assertEqual((status, opened["status"]), (201, "open"))
        self.assertEqual(set(self.held()), {"BTC", "ETH"})
        self.assertLess(least(partial(self.seconds_to_mark, opened["position_id"]), 5), 5)
        self.control({"do": "set_market", "coin": "ETH", "mid": "4100", "mark": "4100", "oracle": "4100"})
        wait_until(lambda: self.status_of(opened["position_id"]) == "closed", "the take profit")
        self.assertEqual(self.ask("GET", f"/api/positions/{opened['position_id']}")[1]["exit_reason"], "TAKE_PROFIT")

        status, second = self.execute("second")
        self.assertEqual(status, 201)
        status, closed = self.ask("POST", f"/api/positions/{second['position_id']}/close")
        self.assertEqual((status, closed["status"], closed["exit_reason"]), (200, "closed", "MANUAL"))

        status, third = self.execute("third")
        self.assertEqual(status, 201)
        status, report = self.ask("POST", "/api/emergency_stop", {})
        self.assertEqual((status, report["status"]), (200, "all_positions_closed"))
        self.assertEqual(self.held(), {})
        self.assert_account_explained()
        approvals = {opened["approval_id"], second["approval_id"], third["approval_id"]}
        wait_until(lambda: approvals <= set(self.told()), "Guardian hearing of all three outcomes")
        self.assertEqual(len(self.told()), len(set(self.told())))

    def told(self) -> list[object]:
        """The approvals whose outcome Guardian has been told."""
        return [one["approval_id"] for one in self.agents.told if isinstance(one, dict)]

    def seconds_to_mark(self, position_id: object) -> float:
        """From a move of the market to the position's showing it."""

        def pnl() -> float:
            return float(str(self.ask("GET", f"/api/positions/{position_id}")[1]["pnl"]))

        self.control({"do": "set_market", "coin": "ETH", "mid": "4000", "mark": "4000", "oracle": "4000"})
        wait_until(lambda: pnl() < 5, "the mark of before")
        self.control({"do": "set_market", "coin": "ETH", "mid": "4040", "mark": "4040", "oracle": "4040"})
        moved = time.monotonic()
        wait_until(lambda: pnl() > 5, "the mark")
        return time.monotonic() - moved

    def meet_every_fault_at_open_and_at_close(self) -> None:
        """Whatever happens on the wire, the book is what the venue holds, and nothing is done twice."""
        for number, (name, fault) in enumerate(FAULTS.items()):
            with self.subTest(name, at="open"):
                self.control(fault)
                status, _ = self.execute(f"open {number}")
                self.control({"do": "lift"})
                self.assertIn(status, (201, 202, 502))
                wait_until(lambda: self.positions()[0]["status"] in ("open", "closed"), "the end of the opening")
                self.assert_level_and_closed()
            with self.subTest(name, at="close"):
                status, opened = self.execute(f"close {number}")
                self.assertEqual(status, 201, opened)
                self.control(fault)
                self.assertIn(self.ask("POST", f"/api/positions/{opened['position_id']}/close")[0], (200, 202))
                self.control({"do": "lift"})
                self.assert_level_and_closed()
        self.assert_account_explained()

    def assert_level_and_closed(self) -> None:
        """Both legs or none are held, at most the size asked for; then everything is closed and the account is flat."""
        held = self.held()
        position = self.positions()[0]
        if position["status"] == "open":
            self.assertEqual(set(held), {"BTC", "ETH"})
            gross = abs(held["BTC"]) * 100_000 + abs(held["ETH"]) * 4000
            self.assertLessEqual(gross, 2010)
            self.assertAlmostEqual(float(str(position["size"])), float(gross), delta=10)
            self.ask("POST", f"/api/positions/{position['position_id']}/close")
        wait_until(lambda: self.positions()[0]["status"] == "closed", "the end of the position")
        self.assertEqual(self.held(), {})
