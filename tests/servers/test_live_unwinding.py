"""Files that are damaged under the service, as processes: what the exchange holds afterwards is the truth."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.fakes import FakeLog
from tests.processes import wait_until
from tests.servers.test_live_hyperliquid import AGENT_KEY, MASTER, LiveCase
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.keys import open_wallet
from trading.adapters.system import SystemClock
from trading.domain.orders import Order, OrderStatus, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, hash_of

QUIET_SECONDS = 2.0
"""How long is watched for something that must not happen."""


class LiveUnwindingTest(LiveCase):
    def setUp(self) -> None:
        super().setUp()
        self.data = self.folder / "data"
        self.by_hand = HyperliquidVenue.open(
            self.exchange,
            open_wallet(AGENT_KEY),
            MASTER,
            0,
            self.folder / "hand",
            SystemClock(),
            FakeLog(),
            streams=False,
        )
        self.addCleanup(self.by_hand.close)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "COOLDOWN_SECONDS": "0"}

    def buy(self, coin: str, quantity: str, price: str) -> None:
        """Somebody trades by hand; a negative *quantity* is sold."""
        now, amount = datetime.now(UTC), Decimal(quantity)
        order = Order(
            client_order_id=ClientOrderId("0x" + hash_of("by hand", coin, now.isoformat())[:32]),
            coin=Coin(coin),
            side=Side.BUY if amount > 0 else Side.SELL,
            quantity=Quantity(abs(amount)),
            limit_price=Price(Decimal(price)),
            reduce_only=False,
            slice_number=1,
            attempt=0,
            intended_at=now,
            expires_at=now + timedelta(seconds=10),
        )
        self.assertIs(OrderStatus.FILLED, self.by_hand.submit([order])[0].status)

    def move(self, coin: str, price: str) -> None:
        self.control({"do": "set_market", "coin": coin, "mid": price, "mark": price, "oracle": price})

    def damage(self, name: str, word: str) -> bytes:
        """Damage the first line of a file that holds *word*, in a file put in its place; the bytes of before."""
        path = self.data / name
        before = path.read_bytes()
        fresh = path.with_suffix(".damaged")
        fresh.write_bytes(before.replace(word.encode(), b"x" * len(word), 1))
        fresh.replace(path)
        return before

    def repair(self, name: str, content: bytes) -> None:
        fresh = (self.data / name).with_suffix(".repaired")
        fresh.write_bytes(content)
        fresh.replace(self.data / name)

    def stays(self, held: Mapping[str, str]) -> None:
        """Nothing else is held for a while."""
        wanted = {coin: Decimal(quantity) for coin, quantity in held.items()}
        until = time.monotonic() + QUIET_SECONDS
        while time.monotonic() < until:
            self.assertEqual(wanted, self.held())
            time.sleep(0.2)

    def trades(self) -> tuple[dict[str, object], dict[str, object]]:
        """One that has ended, and one that stands."""
        wait_until(self.is_healthy, "being healthy")
        _, ended = self.execute("first")
        self.ask("POST", f"/api/positions/{ended['position_id']}/close")
        wait_until(lambda: not self.held(), "the end of the first")
        status, stands = self.execute("second")
        self.assertEqual(201, status)
        return ended, stands

    def test_a_ledger_that_is_damaged_under_a_position_and_mended_again(self) -> None:
        service = self.start()
        ended, stands = self.trades()
        before = self.damage("trades.json", str(ended["trade_id"]))
        self.move("ETH", "3900")
        wait_until(lambda: not self.held(), "the stop loss without a ledger")
        wait_until(lambda: '"left"' in (self.data / "rescue.json").read_text(encoding="utf-8"), "its being noted")
        self.assertEqual(503, self.ask("GET", "/api/health")[0])
        # By hand, as much as the desk had, and the barrier is still passed.
        self.buy("ETH", "0.25", "3950")
        self.stays({"ETH": "0.25"})
        self.kill_all(service)
        service = self.start()
        self.stays({"ETH": "0.25"})
        self.kill_all(service)
        self.repair("trades.json", before)
        self.start()
        wait_until(lambda: self.status_of(stands["position_id"]) == "closed", "the book being made right")
        self.stays({"ETH": "0.25"})
        timeline = self.ask("GET", f"/api/trades/{stands['trade_id']}")[1]
        self.assertIn("it was sold without a ledger", str(timeline))

    def test_a_state_that_is_damaged_and_a_stop_over_http(self) -> None:
        service = self.start()
        self.trades()
        self.buy("ETH", "0.3", "4100")
        before = self.damage("desk.json", "ACTIVE")
        status, report = self.ask("POST", "/api/emergency_stop", {})
        self.assertEqual((200, "all_positions_closed"), (status, report["status"]), report)
        self.assertEqual({"ETH": Decimal("0.3")}, self.held())
        self.buy("BTC", "-0.01", "90000")
        self.move("ETH", "3900")
        self.stays({"ETH": "0.3", "BTC": "-0.01"})
        self.assertEqual(200, self.ask("POST", "/api/emergency_stop", {})[0])
        self.stays({"ETH": "0.3", "BTC": "-0.01"})
        self.kill_all(service)
        self.repair("desk.json", before)
        self.start()
        wait_until(lambda: self.positions()[0]["status"] == "closed", "the book being made right")
        self.stays({"ETH": "0.3", "BTC": "-0.01"})

    def test_a_stop_that_the_exchange_answers_badly(self) -> None:
        self.start()
        self.trades()
        self.buy("ETH", "0.3", "4100")
        self.damage("desk.json", "ACTIVE")
        for answer, commit in (("closed", "before"), ("bad_gateway", "before"), ("closed", "never")):
            self.control({"do": "fault", "route": "/exchange", "only": "order", "answer": answer, "commit": commit})
        self.ask("POST", "/api/emergency_stop", {})
        wait_until(lambda: self.held() == {"ETH": Decimal("0.3")}, "the end of the stop")
        self.stays({"ETH": "0.3"})
