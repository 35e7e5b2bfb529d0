"""What the monitor writes down of the money by the hour, and what the portfolio makes of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tests.engine.test_monitor import ETH, MonitorTestCase
from trading.adapters.account_file import AccountFile
from trading.domain.accounts import EquityPoint, FundingShare
from trading.domain.desk_state import TradingState
from trading.domain.errors import InvalidRequest, StoreCorrupt
from trading.domain.market import FundingPayment
from trading.domain.orders import RejectReason
from trading.domain.units import Quantity, Usd
from trading.engine import emergency, queries
from trading.engine.accounting import NothingKept
from trading.engine.monitor import Watchman

EVER = (datetime.fromisoformat("2000-01-01T00:00:00Z"), datetime.fromisoformat("2100-01-01T00:00:00Z"))


class DamagedLog(NothingKept):
    """A file that can neither be read nor written."""

    def keep_equity(self, point: EquityPoint) -> None:
        raise StoreCorrupt("the account log cannot be written")

    def keep_funding(self, shares: Sequence[FundingShare]) -> None:
        raise StoreCorrupt("the account log cannot be written")

    def equity(self, since: datetime, until: datetime) -> tuple[EquityPoint, ...]:
        raise StoreCorrupt("the account log cannot be read")


class KeptTest(MonitorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = AccountFile(self.scene.store.data_dir)
        self.addCleanup(self.log.close)
        self.bend(replace(self.scene, desk=replace(self.scene.desk, accounts=self.log)))

    def pay(self, amount: str, hours: int = 1) -> None:
        at = self.scene.clock.now().replace(minute=0, second=0) + timedelta(hours=hours)
        payment = FundingPayment(ETH, Usd(Decimal(amount)), Quantity(Decimal("0.25")), at)
        self.venue.payments = (*self.venue.payments, payment)

    def test_the_equity_is_written_down_once_an_hour(self) -> None:
        self.tick(count=3)
        self.assertEqual([Decimal(100_000)], [one.equity for one in self.log.equity(*EVER)])
        self.tick(3600)
        self.watchman = Watchman(self.scene.desk)
        self.tick(count=2)
        self.assertEqual(2, len(self.log.equity(*EVER)))

    def test_an_account_that_reads_empty_is_no_point(self) -> None:
        self.venue.bend_account = lambda account: replace(account, equity=Usd(Decimal(0)))
        self.tick(count=3)
        self.assertEqual((), self.log.equity(*EVER))

    def test_funding_is_written_down_by_the_hour(self) -> None:
        position = self.scene.opened()
        self.pay("2", 1)
        self.pay("-3", 2)
        self.tick(2 * 3600 + 31, count=2)
        self.assertEqual([Decimal(2), Decimal(-3)], [one.amount for one in self.log.funding(*EVER)])
        self.assertEqual(Decimal(-1), self.scene.position(position.id).funding)

    def test_what_was_adopted_and_closed_gets_its_last_hour_without_an_approval(self) -> None:
        """Guardian is told nothing of it, so nobody else would ask."""
        self.scene.clock.instant = self.scene.clock.instant.replace(minute=59, second=30)
        self.venue.hold("ETH", "0.25")
        self.pay("1.5")
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
        emergency.stop(self.scene.desk, scope_account=True)
        self.venue.refusing = {}
        self.tick(40, count=2)
        (adopted,) = self.scene.store.book().positions()
        self.assertEqual((True, None), (adopted.closed, adopted.approval))
        self.tick(30, count=2)
        self.assertEqual(Decimal("1.5"), self.scene.position(adopted.id).funding)

    def test_a_damaged_log_costs_the_tables_and_nothing_else(self) -> None:
        self.bend(replace(self.scene, desk=replace(self.scene.desk, accounts=DamagedLog())))
        position = self.scene.opened()
        self.pay("2")
        self.tick(3600 + 31, count=2)
        self.assertEqual(Decimal(2), self.scene.position(position.id).funding)
        self.assertEqual(1, self.said("funding by the hour could not be written down"))
        self.assertEqual(2, self.said("the equity of this hour could not be written down"))
        self.assertIsNone(queries.portfolio(self.scene.desk).history)
        self.assertIs(TradingState.ACTIVE, self.state)

    def test_the_portfolio_tells_days_pairs_and_the_curve(self) -> None:
        position = self.scene.opened()
        self.pay("2")
        self.tick(3600 + 31, count=2)
        self.scene.close(position)
        standing = self.scene.opened("signal_2", pair="SOL/AVAX")
        self.tick()
        told = queries.portfolio(self.scene.desk, 2).history
        assert told is not None
        closed = self.scene.position(position.id)
        self.assertEqual(closed.realized, told.today.realized_pnl)
        self.assertEqual(closed.fees + self.scene.position(standing.id).fees, told.today.fees)
        self.assertEqual(Decimal(2), told.today.funding)
        self.assertEqual(
            {"BTC/ETH": (0, 1), "SOL/AVAX": (1, 0)}, {one.pair: (one.open, one.closed) for one in told.pairs}
        )
        self.assertIsNotNone(told.pairs[0].unrealized_pnl)
        self.assertEqual(2, len(told.equity_curve))

    def test_days_out_of_bounds_are_refused(self) -> None:
        for days in (0, 367):
            with self.subTest(days=days), self.assertRaises(InvalidRequest):
                queries.portfolio(self.scene.desk, days)
