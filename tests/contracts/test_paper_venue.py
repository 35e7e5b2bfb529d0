"""The paper venue keeps the contract of the Venue port."""

import tempfile
import unittest
from decimal import Decimal
from pathlib import Path

from tests.contracts.resting_contract import RestingContract
from tests.contracts.venue_contract import Given
from tests.fakes import FakeClock
from trading.adapters.paper import PaperVenue
from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_stage import ScriptFile, StagedMarket, StagedVenue
from trading.domain.units import Usd
from trading.ports import Venue
from trading.utils.journal import Journal

SEED = 7


class PaperVenueKeepsTheContract(RestingContract, unittest.TestCase):
    def given_a_venue(self) -> Given:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        clock = FakeClock()
        return Given(self.opened(self.folder, clock), clock)

    def elsewhere(self, given: Given) -> Venue:
        assert isinstance(given.clock, FakeClock)
        return self.opened(self.folder, given.clock)

    def opened(self, folder: Path, clock: FakeClock) -> PaperVenue:
        journal = Journal(folder / "paper_account.json")
        self.addCleanup(journal.close)
        return PaperVenue(PaperMarket(SEED), journal, clock, Usd(Decimal(100_000)))


class StagedVenueKeepsTheContract(PaperVenueKeepsTheContract):
    """The demo's own, with nothing staged."""

    def opened(self, folder: Path, clock: FakeClock) -> PaperVenue:
        journal = Journal(folder / "paper_account.json")
        self.addCleanup(journal.close)
        script = ScriptFile(folder)
        return StagedVenue(StagedMarket(SEED, script), journal, clock, Usd(Decimal(100_000)), script)


if __name__ == "__main__":
    unittest.main()
