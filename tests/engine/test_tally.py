"""The tally: sums that only grow, each trade counted once at its newest version, the archive included."""

import unittest
from decimal import Decimal

from tests.builders import after, given_a_filled_trade, given_a_working_trade, given_report, given_reports
from trading.domain.book import Book
from trading.domain.orders import OrderStatus
from trading.domain.trades import LegsUnbalanced, OrdersReported, record
from trading.domain.units import Usd
from trading.engine.tally import Tally


class TallyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.book, self.tally = Book(), Tally()

    def test_a_newer_version_takes_the_place_of_the_older_one(self) -> None:
        trade = given_a_working_trade()
        self.book.put_trade(trade)
        self.assertEqual(1, self.tally.read(self.book)["trades", "OPEN", "LIVE"])
        self.book.put_trade(given_a_filled_trade())
        sums = self.tally.read(self.book)
        self.assertEqual((0, 1), (sums["trades", "OPEN", "LIVE"], sums["trades", "OPEN", "FILLED"]))
        self.assertEqual((2, 2), (sums["orders", "OPEN", "FILLED"], sums["fills", "OPEN"]))

    def test_what_is_archived_stays_and_counts_once_when_it_is_called_back(self) -> None:
        trade = given_a_filled_trade()
        self.book.put_trade(trade)
        before = self.tally.read(self.book)
        self.book.forget([trade.terms.position_id])
        self.assertEqual(before, self.tally.read(self.book))
        self.book.put_trade(trade)
        self.assertEqual(before, self.tally.read(self.book))
        self.book.put_trade(given_a_filled_trade("later", at=after(60)))
        self.assertEqual(4, self.tally.read(self.book)["fills", "OPEN"])

    def test_the_newest_of_what_is_archived_counts_once_too(self) -> None:
        trades = [given_a_filled_trade(f"signal_{number}", at=after(60 * number)) for number in (2, 1, 3)]
        for trade in trades:
            self.book.put_trade(trade)
            before = self.tally.read(self.book)
        for trade in trades:
            self.book.forget([trade.terms.position_id])
            self.assertEqual(before, self.tally.read(self.book))
        for trade in trades:
            self.book.put_trade(trade)
            self.assertEqual(before, self.tally.read(self.book))

    def test_what_was_accepted_before_something_archived_still_counts_when_it_moves(self) -> None:
        working, gone = given_a_working_trade(), given_a_filled_trade("later", at=after(60))
        for trade in (working, gone):
            self.book.put_trade(trade)
        self.tally.read(self.book)
        self.book.forget([gone.terms.position_id])
        self.assertEqual(2, self.tally.read(self.book)["fills", "OPEN"])
        self.book.put_trade(given_a_filled_trade())
        self.assertEqual(4, self.tally.read(self.book)["fills", "OPEN"])

    def test_slippage_is_what_was_paid_beyond_arrival_on_either_side(self) -> None:
        """0.25 ETH bought 8 USD a coin above 4,000, 0.005 BTC sold 300 USD a coin below 100,000."""
        trade = given_a_working_trade()
        prices, shares = {"ETH": "4008", "BTC": "99700"}, {"ETH": "1", "BTC": "0.5"}
        reports = tuple(given_report(one, shares[one.coin], after(1), prices[one.coin]) for one in trade.orders)
        self.book.put_trade(record(trade, OrdersReported(after(1), reports)))
        sums = self.tally.read(self.book)
        self.assertEqual((Decimal("3.5"), Decimal("1500.5")), (sums["slippage", "OPEN"], sums["turnover", "OPEN"]))
        self.assertNotIn(("doubts", "OPEN"), sums)

    def test_repairs_and_unknown_answers_are_counted(self) -> None:
        trade = given_a_working_trade()
        told = given_reports(trade.orders, "0", after(1))
        silent = tuple(type(one)(one.client_order_id, OrderStatus.UNKNOWN, one.reported_at) for one in told.reports)
        trade = record(trade, OrdersReported(after(1), silent))
        trade = record(trade, LegsUnbalanced(after(2), Usd(Decimal(50))))
        self.book.put_trade(trade)
        sums = self.tally.read(self.book)
        self.assertEqual((2, 1), (sums["doubts", "OPEN"], sums["repairs", "OPEN"]))
        self.assertNotIn(("fills", "OPEN"), sums)
