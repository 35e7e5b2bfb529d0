import unittest
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from trading.domain.errors import PositionNotFound
from trading.domain.positions import PositionStatus
from trading.domain.units import PositionId
from trading.engine.leaving import preview_of_close

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

    def test_looking_changes_nothing(self) -> None:
        before = self.scene.trades()
        preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual(before, self.scene.trades())

    def test_without_a_price_nothing_is_made_up(self) -> None:
        self.venue.reads_down |= {"quotes", "depths"}
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((None, None, None), (seen.cost, seen.expected_pnl, seen.exit_return))
        self.assertEqual((Decimal("0.25"), None, None), (seen.long.quantity, seen.long.expected_price, seen.long.fee))

    def test_of_a_closed_position_nothing_is_left_to_close(self) -> None:
        self.scene.close(self.position)
        seen = preview_of_close(self.scene.desk, self.position.id)
        self.assertEqual((PositionStatus.CLOSED, 0, None), (seen.status, seen.long.quantity, seen.cost))

    def test_a_position_that_is_not_there(self) -> None:
        with self.assertRaises(PositionNotFound):
            preview_of_close(self.scene.desk, PositionId("pos_0"))
