"""Pear keeps the contract of the Venue port, over real sockets, with and without a wallet key beside it."""

import tempfile
import unittest
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

from tests.contracts.venue_contract import Given, VenueContract
from tests.fakes import FakeLog
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.market import PaperFeed
from tests.servers.pear import API_KEY, CLIENT_ID, approve_pear, door_to, open_pear
from tests.unit.hyperliquid_world import ExchangeClock
from trading.adapters.keys import open_wallet
from trading.adapters.pear import PearVenue
from trading.ports import Venue

SEED = 7


class PearVenueKeepsTheContract(VenueContract, unittest.TestCase):
    direct: ClassVar[bool] = False

    def given_a_venue(self) -> Given:
        clock = ExchangeClock()
        clock.server = open_server(clock, feed=PaperFeed(SEED), equity_usd=Decimal(100_000), ticks=False)
        approve_pear(clock.server)
        self.enterContext(clock.server)
        self.pear = self.enterContext(open_pear(door_to(clock.server), clock, ticks=False))
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        return Given(self.opened(clock), clock)

    def elsewhere(self, given: Given) -> Venue:
        assert isinstance(given.clock, ExchangeClock)
        return self.opened(given.clock)

    def opened(self, clock: ExchangeClock) -> PearVenue:
        assert clock.server is not None
        venue = PearVenue.open(
            self.pear.url,
            API_KEY,
            CLIENT_ID,
            clock.server.url,
            MASTER,
            0,
            self.folder,
            clock,
            FakeLog(),
            wallet=open_wallet(AGENT_KEY) if self.direct else None,
            streams=False,
        )
        self.addCleanup(venue.close)
        return venue


if __name__ == "__main__":
    unittest.main()
