import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from tests.engine.scripted_venue import lost_before
from trading.domain.errors import PositionNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.market import FundingPayment
from trading.domain.positions import PositionStatus
from trading.domain.units import Coin, PositionId, Usd
from trading.engine import closing
from trading.engine.funding import collect_funding
from trading.engine.leaving import preview_of_close
from trading.engine.requests import TwapRequest

FEE = Decimal("0.00045")


class LeavingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.position = self.scene.opened()

    def test_the_cost_by_hand(self) -> None:
        """Sold at 3999.6 against a mid of 4000, bought back at 100010 against 100000."""
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((Decimal("3999.6"), Decimal(100_010)), (seen.long.expected_price, seen.short.expected_price))
        self.assertEqual((Decimal(1), Decimal(1)), (seen.long.slippage_bps, seen.short.slippage_bps))
        fees = FEE * (Decimal("0.25") * Decimal("3999.6") + Decimal("0.01") * 100_010)
        self.assertEqual(Decimal("0.25") * Decimal("0.4") + Decimal("0.01") * 10 + fees, seen.cost)
        self.assertEqual(fees, (seen.long.fee or 0) + (seen.short.fee or 0))

    def test_it_says_what_closing_then_makes(self) -> None:
        seen = preview_of_close(self.scene.desk, self.position.id)
        closed = self.scene.close(self.position)
        self.assertEqual(PositionStatus.CLOSED, closed.status)
        self.assertEqual(closed.realized - closed.fees - closed.funding, seen.expected_pnl)
        assert seen.expected_pnl is not None
        self.assertEqual(seen.expected_pnl / self.position.entry_notional, seen.exit_return)

    def test_each_leg_is_called_what_it_is(self) -> None:
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual(
            ("ETH", "long", "BTC", "short"), (seen.long.coin, seen.long.side, seen.short.coin, seen.short.side)
        )

    def test_of_one_that_is_half_closed_it_counts_what_was_made_and_paid_so_far(self) -> None:
        paid_at = self.scene.clock.now() + timedelta(hours=1)
        self.venue.payments = (FundingPayment(Coin("ETH"), Usd(Decimal("1.5")), self.position.long.held, paid_at),)
        self.scene.clock.advance(3660)
        collect_funding(self.scene.desk, self.position)
        self.venue.move("ETH", "4100")
        closing.close(self.scene.desk, self.position.id, ExitReason.MANUAL, twap=TwapRequest(60, 2))
        half = self.scene.position(self.position.id)
        self.assertEqual((Decimal("0.125"), Decimal("1.5")), (half.long.held, half.funding))
        self.assertGreater(half.realized, 10)
        seen = preview_of_close(self.scene.desk, self.position.id)
        closed = self.scene.close(self.position)
        self.assertEqual(closed.realized - closed.fees - closed.funding, seen.expected_pnl)
        assert seen.expected_pnl is not None
        self.assertEqual(seen.expected_pnl / self.position.entry_notional, seen.exit_return)

    def test_looking_changes_nothing(self) -> None:
        before = self.scene.trades()
        preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual(before, self.scene.trades())

    def test_without_a_price_nothing_is_made_up(self) -> None:
        self.venue.reads_down |= {"quotes", "depths"}
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((None, None, None), (seen.cost, seen.expected_pnl, seen.exit_return))
        self.assertEqual((Decimal("0.25"), None, None), (seen.long.quantity, seen.long.expected_price, seen.long.fee))

    def test_one_leg_without_a_price_makes_no_number_of_both(self) -> None:
        for missing in ("ETH", "BTC"):
            with self.subTest(missing):
                self.venue.quotes_missing = {missing}
                seen = preview_of_close(self.scene.desk, self.position.id)
                self.assertEqual((None, None, None), (seen.cost, seen.expected_pnl, seen.exit_return))
                priced = [one.coin for one in (seen.long, seen.short) if one.expected_price is not None]
                self.assertEqual({"ETH", "BTC"} - {missing}, set(priced))

    def test_without_a_mid_there_is_no_slippage_and_no_cost_and_what_it_makes_is_known(self) -> None:
        self.venue.bend_quote = lambda quote: replace(quote, bid=quote.ask, ask=quote.bid)
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((None, None, None), (seen.cost, seen.long.slippage_bps, seen.short.slippage_bps))
        self.venue.straighten()
        closed = self.scene.close(self.position)
        self.assertEqual(closed.realized - closed.fees, seen.expected_pnl)

    def test_of_what_was_never_filled_there_is_no_return(self) -> None:
        self.venue.script(lost_before())
        empty = self.scene.opened("signal_2", pair="SOL/AVAX")
        self.assertEqual(0, empty.entry_notional)
        seen = preview_of_close(self.scene.desk, empty.id)
        self.assertEqual((0, None), (seen.expected_pnl, seen.exit_return))

    def test_of_a_closed_position_nothing_is_left_to_close(self) -> None:
        self.scene.close(self.position)
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((PositionStatus.CLOSED, 0, None), (seen.status, seen.long.quantity, seen.cost))

    def test_a_position_that_is_not_there(self) -> None:
        with self.assertRaises(PositionNotFound):
            preview_of_close(self.scene.desk, PositionId("pos_0"))
