"""Hyperliquid keeps the contract of the Venue port, over real sockets, whether it polls or listens."""

import tempfile
import unittest
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

from tests.contracts.resting_contract import RestingContract
from tests.contracts.venue_contract import Given
from tests.fakes import FakeClock, FakeLog
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.market import PaperFeed
from tests.servers.hyperliquid.server import HyperliquidServer
from tests.unit.hyperliquid_world import ExchangeClock
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.keys import open_wallet
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import OrderStatus, Side
from trading.ports import Venue

SEED = 7


class HyperliquidVenueKeepsTheContract(RestingContract, unittest.TestCase):
    streams: ClassVar[bool] = False
    abstraction: ClassVar[str] = "default"

    def given_a_venue(self) -> Given:
        clock = ExchangeClock()
        clock.server = open_server(clock, feed=PaperFeed(SEED), equity_usd=Decimal(50_000), ticks=False)
        clock.server.exchange.open_account(MASTER, 50_000, self.abstraction)
        self.enterContext(clock.server)
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        return Given(self.opened(clock.server, clock), clock)

    def elsewhere(self, given: Given) -> Venue:
        assert isinstance(given.clock, ExchangeClock)
        assert given.clock.server is not None
        return self.opened(given.clock.server, given.clock)

    def opened(self, server: HyperliquidServer, clock: FakeClock) -> HyperliquidVenue:
        wallet = open_wallet(AGENT_KEY)
        venue = HyperliquidVenue.open(
            server.url, wallet, MASTER, 0, self.folder, clock, FakeLog(), streams=self.streams
        )
        self.addCleanup(venue.close)
        return venue

    def test_v12_and_the_rest_of_a_partial_execution_is_cancelled_at_the_venue(self) -> None:
        clock = self.clock
        assert isinstance(clock, ExchangeClock)
        assert clock.server is not None
        clock.server.exchange.cap_next_fill(self.major, "0.1")
        order = self.an_order(self.major, Side.BUY)
        (report,) = self.sent(order)
        self.assertIs(report.status, OrderStatus.PARTIALLY_FILLED)
        self.assertEqual(report.filled, Decimal("0.1"))
        self.assertEqual(self.held(self.major), Decimal("0.1"))
        self.assert_same_word(self.venue.reports([order]), [report])

    def test_v54_funding_that_may_not_be_listed_yet_is_not_called_complete(self) -> None:
        self.holding(self.major, 20_000)
        clock = self.clock
        assert isinstance(clock, ExchangeClock)
        FakeClock.advance(clock, 3600)
        with self.assertRaises(VenueUnavailable):
            self.payments([self.major])
        clock.advance(0)
        self.assertEqual(len(self.payments([self.major])), 1)


class HyperliquidVenueKeepsTheContractOnUnifiedAccounts(HyperliquidVenueKeepsTheContract):
    """Listening, and with the money in spot: the sentences in which either could tell."""

    streams = True
    abstraction = "unifiedAccount"
    told_by = ("test_v0", "test_v10", "test_v12", "test_v16", "test_v3", "test_v4", "test_v53", "test_v6")


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    """Every sentence once, and on unified accounts those that can tell."""
    unified = HyperliquidVenueKeepsTheContractOnUnifiedAccounts
    suite = unittest.TestSuite([loader.loadTestsFromTestCase(HyperliquidVenueKeepsTheContract)])
    suite.addTests(unified(name) for name in loader.getTestCaseNames(unified) if name.startswith(unified.told_by))
    return suite


if __name__ == "__main__":
    unittest.main()
