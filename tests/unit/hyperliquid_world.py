"""A desk's venue and the exchange it trades on, in one process and on one clock that only the test moves."""

import tempfile
import unittest
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from tests.fakes import FakeClock, FakeLog
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.server import HyperliquidServer
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.keys import open_wallet
from trading.domain.orders import Order, OrderReport, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, hash_of

ETH, SOL = Coin("ETH"), Coin("SOL")
EXCHANGE_SECONDS = 2.0


class ExchangeClock(FakeClock):
    """The clock that the desk and the exchange share; the exchange catches up with it whenever it moves."""

    server: HyperliquidServer | None = None

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        if self.server is not None:
            self.server.exchange.tick()


class HyperliquidWorld(unittest.TestCase):
    """A fresh exchange with ETH at 3,000 and SOL at 200, an account of 100,000 USD, and a venue that polls."""

    weight = 0

    def setUp(self) -> None:
        self.clock = ExchangeClock()
        self.server = self.clock.server = open_server(self.clock, ticks=False)
        self.exchange = self.server.exchange
        self.exchange.set_market(ETH, "3000")
        self.exchange.set_market(SOL, "200")
        self.enterContext(self.server)
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.log = FakeLog()
        self.orders_made = 0
        self.venue = self.opened()

    def opened(
        self,
        *,
        streams: bool = False,
        key: str = AGENT_KEY,
        address: str = MASTER,
        clock: FakeClock | None = None,
        seconds: float = EXCHANGE_SECONDS,
    ) -> HyperliquidVenue:
        venue = HyperliquidVenue.open(
            self.server.url,
            open_wallet(key),
            address,
            self.weight,
            self.folder,
            clock or self.clock,
            self.log,
            streams=streams,
            exchange_seconds=seconds,
        )
        self.addCleanup(venue.close)
        return venue

    def an_order(
        self,
        coin: Coin = ETH,
        side: Side = Side.BUY,
        quantity: str = "0.5",
        *,
        limit: str | None = None,
        reduce_only: bool = False,
        seconds: float = 10,
    ) -> Order:
        """An order that the scripted market fills."""
        self.orders_made += 1
        mid = self.exchange.market(coin).mid
        price = Decimal(limit) if limit else (mid * (1 + Decimal(side.sign) / 100)).quantize(Decimal(1))
        now = self.clock.now()
        return Order(
            client_order_id=ClientOrderId("0x" + hash_of(self.id(), self.orders_made)[:32]),
            coin=coin,
            side=side,
            quantity=Quantity(Decimal(quantity)),
            limit_price=Price(price),
            reduce_only=reduce_only,
            slice_number=0,
            attempt=self.orders_made,
            intended_at=now,
            expires_at=now + timedelta(seconds=seconds),
        )

    def told(self, orders: Sequence[Order], pace: float = 0.3, times: int = 80) -> tuple[OrderReport, ...]:
        """Ask about *orders* again and again until nothing is in doubt."""
        for _ in range(times):
            reports = self.venue.reports(orders)
            if not any(one.status.in_doubt for one in reports):
                return reports
            self.clock.advance(pace)
        raise AssertionError(f"still in doubt: {reports}")

    def held(self, coin: Coin) -> Decimal:
        return self.exchange.position(MASTER, coin)

    def actions(self, kind: str) -> int:
        """How many actions of *kind* reached the exchange's doors."""
        return sum(1 for one in self.exchange.received if one.type == kind)
