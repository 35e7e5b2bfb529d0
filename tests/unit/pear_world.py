"""A desk's Pear venue, Pear and the exchange under it, in one process and on one clock that only the test moves."""

import tempfile
import unittest
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from tests.fakes import FakeLog
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.faults import Answer, Commit, Fault
from tests.servers.pear import API_KEY, CLIENT_ID, approve_pear, door_to, open_pear
from tests.unit.hyperliquid_world import ExchangeClock
from trading.adapters.keys import open_wallet
from trading.adapters.pear import PearVenue
from trading.domain.orders import Order, OrderReport, OrderStatus, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, hash_of

ETH, SOL = Coin("ETH"), Coin("SOL")
ALL = "POST /positions/close-all"
OPEN, CLOSE, CUT = "POST /positions", "POST /positions/{id}/close", "POST /positions/{id}/adjust-advance"


class PearWorld(unittest.TestCase):
    """ETH at 3,000 and SOL at 200, an account of 100,000 USD that has approved Pear, and a venue that polls."""

    direct = False

    def setUp(self) -> None:
        self.clock = ExchangeClock()
        self.server = self.clock.server = open_server(self.clock, ticks=False)
        self.exchange = self.server.exchange
        self.exchange.set_market(ETH, "3000")
        self.exchange.set_market(SOL, "200")
        approve_pear(self.server)
        self.enterContext(self.server)
        self.pear = self.enterContext(open_pear(door_to(self.server), self.clock, ticks=False))
        self.whims = self.pear.trading.whims
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.log = FakeLog()
        self.orders_made = 0
        self.venue = self.opened()

    def opened(self, *, api_key: str = API_KEY, address: str = MASTER) -> PearVenue:
        venue = PearVenue.open(
            self.pear.url,
            api_key,
            CLIENT_ID,
            self.server.url,
            address,
            0,
            self.folder,
            self.clock,
            self.log,
            wallet=open_wallet(AGENT_KEY) if self.direct else None,
            streams=False,
        )
        self.addCleanup(venue.close)
        return venue

    def an_order(
        self, coin: Coin, side: Side, quantity: str, *, reduce_only: bool = False, band: str = "0.01"
    ) -> Order:
        self.orders_made += 1
        mid, now = self.exchange.market(coin).mid, self.clock.now()
        return Order(
            client_order_id=ClientOrderId("0x" + hash_of(self.id(), self.orders_made)[:32]),
            coin=coin,
            side=side,
            quantity=Quantity(Decimal(quantity)),
            limit_price=Price((mid * (1 + Decimal(side.sign) / 100)).quantize(Decimal("0.1"))),
            reduce_only=reduce_only,
            slice_number=0,
            attempt=self.orders_made,
            intended_at=now,
            expires_at=now + timedelta(seconds=5 if reduce_only else 10),
        )

    def a_pair(self) -> tuple[Order, Order]:
        """Long half an ETH, short 7.5 SOL: 1,500 USD a leg."""
        return self.an_order(ETH, Side.BUY, "0.5"), self.an_order(SOL, Side.SELL, "7.5")

    def a_way_out(self) -> tuple[Order, Order]:
        return (
            self.an_order(ETH, Side.SELL, "0.5", reduce_only=True),
            self.an_order(SOL, Side.BUY, "7.5", reduce_only=True),
        )

    def held_pair(self) -> None:
        reports = self.venue.submit(self.a_pair())
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2, reports)

    def fault(self, route: str, answer: Answer, commit: Commit = Commit.BEFORE, **more: float) -> None:
        self.pear.faults.add(Fault(route, answer, commit, "", 1, more.get("seconds", 0.0)))

    def told(self, orders: Sequence[Order], pace: float = 0.5, seconds: float = 120) -> tuple[OrderReport, ...]:
        """Ask about *orders* again and again until nothing is in doubt."""
        for _ in range(int(seconds / pace)):
            reports = self.venue.reports(orders)
            if not any(one.status.in_doubt for one in reports):
                return reports
            self.clock.advance(pace)
        raise AssertionError(f"still in doubt: {reports}")

    def held(self, coin: Coin) -> Decimal:
        return self.exchange.position(MASTER, coin)

    def assert_filled(self, orders: Sequence[Order], reports: Sequence[OrderReport]) -> None:
        """Every order is filled as asked, with price and fee, and the account holds just that."""
        for order, report in zip(orders, reports, strict=True):
            self.assertIs(report.status, OrderStatus.FILLED, report)
            self.assertEqual(report.filled, order.quantity)
            self.assertGreater(report.fees, 0)
            self.assertEqual(self.held(order.coin), order.quantity * order.side.sign)
