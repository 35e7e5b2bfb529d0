"""What tests of the exchange simulator share: a funded account on an exchange that stands still, and the recordings.

ETH is asset 4 on testnet and trades around 2,800 in the recorded probes.
"""

import json
import unittest
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.fakes import FakeClock
from tests.servers.hyperliquid import AGENT, MASTER
from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.info import Info
from tests.servers.hyperliquid.orders import Order
from tests.servers.hyperliquid.trader import Answer, Trader, wire

RECORDED = Path(__file__).parents[1] / "recorded" / "hyperliquid"
ETH, BTC = 4, 3
CLOID = "0x1234567890abcdef1234567890abcdef"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


class Desk(unittest.TestCase):
    """A funded account on an exchange whose clock stands still; ETH at 2800 with a spread of 0.2."""

    def setUp(self) -> None:
        self.clock = FakeClock()
        self.exchange = Exchange(self.clock)
        self.exchange.open_account(MASTER, 100_000)
        self.exchange.approve_agent(MASTER, AGENT, "bot")
        self.exchange.set_market("ETH", "2800", bids=[("2799.9", "50")], asks=[("2800.1", "50")])
        self.info = Info(self.exchange)
        self.trader = Trader(self.exchange)

    def read(self, kind: str, **fields: object) -> Answer:
        return self.info.answer({"type": kind, "user": MASTER, **fields})

    def open_eth(self, size: str = "1", side: str = "buy") -> None:
        status = self.trader.place(wire(ETH, side, size, "2900" if side == "buy" else "2700"))[0]
        self.assertIn("filled", status)

    def held(self, coin: str = "ETH") -> Decimal:
        return self.exchange.position(MASTER, coin)

    def status_of(self, oid: int) -> str:
        status = self.read("orderStatus", oid=oid)["order"]["status"]
        assert isinstance(status, str)
        return status

    def order(self, oid: int) -> Order:
        found = self.exchange.order(MASTER, oid)
        assert found is not None
        return found
