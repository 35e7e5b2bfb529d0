"""Closes through Pear while the exchange cannot be read, and by what Pear shows only in part."""

import unittest
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest import mock

from tests.builders import given_signal
from tests.engine.scripted_venue import a_request
from tests.servers.hyperliquid.faults import INFO, Answer, Commit, Fault
from tests.unit.pear_world import ALL, CLOSE, CUT, ETH, SOL, PearWorld
from tests.unit.test_pear_desk import PearDesk
from trading.domain.desk_state import TradingState
from trading.domain.errors import VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import OrderStatus, RejectReason, Side
from trading.domain.positions import Position, PositionStatus
from trading.domain.units import Coin
from trading.engine import closing, emergency, entry
from trading.engine.requests import TwapRequest

BTC, D, SHOWN = Coin("BTC"), Decimal, "GET /positions"
ODD = {"positionId": "odd", "longAssets": [{"coin": "BTC", "actualSize": None}]}


def show_otherwise(world: PearWorld, change: Callable[[list[Any]], list[Any]]) -> None:
    """Let Pear show its positions as *change* makes them."""
    shown = world.pear.trading.positions

    def otherwise(address: str, *, sync: bool) -> list[Any]:
        return change(list(shown(address, sync=sync)))

    world.enterContext(mock.patch.object(world.pear.trading, "positions", otherwise))


class Unread(PearWorld):
    """The exchange does not answer us; Pear does, and trades there."""

    def setUp(self) -> None:
        super().setUp()
        self.held_pair()
        self.lose_sight()

    def lose_sight(self) -> None:
        self.clock.advance(1)
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "", None))

    def test_a_whole_pair_leaves_all_the_same_and_is_told_once_the_exchange_can_be_read(self) -> None:
        """Nothing was sent for as long as that lasted, by an emergency stop neither."""
        orders = self.a_way_out()
        reports = self.venue.submit(orders)
        self.assertEqual([one.status for one in reports], [OrderStatus.UNKNOWN] * 2)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.clock.advance(600)
        self.server.faults.lift()
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)
        self.assertEqual(self.pear.count(CLOSE), 1)

    def test_nobody_waits_for_fills_that_cannot_be_read(self) -> None:
        """Each look may hang for seconds, and there were seven."""
        began = self.clock.now()
        with mock.patch.object(self.venue, "_fills_between", side_effect=VenueUnavailable("gone")) as looks:
            self.venue.submit(self.a_way_out())
        self.assertEqual(looks.call_count, 1)
        self.assertLess((self.clock.now() - began).total_seconds(), 2)

    def test_a_part_stays_for_sizes_at_pear_are_absolute(self) -> None:
        """What Pear shows may be of before: a size to be left by that could buy back what has been sold since."""
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)])
        self.assertIs(report.status, OrderStatus.REJECTED)
        self.assertIn("nothing was sent", report.detail)
        self.assertEqual((self.held(ETH), self.pear.count(CUT)), (D("0.5"), 0))


class UnreadWithAKey(Unread):
    direct = True

    def test_a_part_stays_for_sizes_at_pear_are_absolute(self) -> None:
        """With a key, proven at start, it goes to the exchange, where it can only reduce."""
        assert self.venue.direct is not None
        self.server.faults.lift()
        self.assertTrue(self.venue.direct.is_proven())
        self.lose_sight()
        order = self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)
        self.venue.submit([order])
        self.assertEqual((self.held(ETH), self.held(SOL), self.pear.count(CUT)), (D("0.3"), D("-7.5"), 0))
        self.server.faults.lift()
        self.assertEqual([one.status for one in self.told([order])], [OrderStatus.FILLED])

    def test_what_can_go_nowhere_just_now_is_in_no_doubt(self) -> None:
        """It is sent again as soon as Pear answers, and not only once the exchange can be read."""
        self.clock.advance(70)
        self.pear.faults.add(Fault(SHOWN, Answer.CLOSED, Commit.NEVER, "", None))
        reports = self.venue.submit(self.a_way_out())
        self.assertEqual([one.status for one in reports], [OrderStatus.REJECTED] * 2)
        self.pear.faults.lift()
        self.venue.submit(self.a_way_out())
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))


class JustBefore(PearWorld):
    direct = True

    def test_what_pear_did_just_before_leaves_nothing_to_be_done_directly(self) -> None:
        """Its fills cannot be read yet: the exchange, which lets it take nothing, says so first."""
        self.held_pair()
        self.pear.faults.add(Fault(CLOSE, Answer.CLOSED, Commit.NEVER))
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(9)
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 3000, True
        self.pear.trading.close_all(self.venue.account_id, {"executionType": "MARKET"})
        self.clock.advance(1)
        for report in self.told(orders):
            self.assertEqual((report.status, report.filled), (OrderStatus.REJECTED, 0))
            self.assertEqual(report.reason, RejectReason.REDUCE_ONLY)
            self.assertIn("closed directly", report.detail)


class Odd(PearWorld):
    """What Pear shows beside the desk's positions, or shows of one only in part."""

    def setUp(self) -> None:
        super().setUp()
        self.held_pair()

    def show(self, change: Callable[[list[Any]], list[Any]]) -> None:
        show_otherwise(self, change)

    def test_somebody_s_position_that_cannot_be_read_keeps_no_other_from_leaving(self) -> None:
        self.show(lambda rows: [ODD, *rows])
        for times in (1, 2):
            reports = self.venue.submit(self.a_way_out())
            self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
            self.assertEqual((self.held(ETH), self.held(SOL), self.pear.count(CLOSE)), (0, 0, times))
            self.held_pair()
        self.assertEqual(1, len([one for one in self.log.messages("warning") if "cannot be read" in one]))

    def test_a_part_leaves_beside_one_that_cannot_be_read(self) -> None:
        self.show(lambda rows: [*rows, ODD])
        self.venue.submit([self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)])
        self.assertEqual((self.held(ETH), self.held(SOL)), (D("0.3"), D("-7.5")))

    def test_no_part_is_taken_where_one_that_cannot_be_read_may_lie_against_it(self) -> None:
        """The exchange has the rest of the two: by that, more would be taken of the one than was to be."""
        asset = [{"asset": "ETH", "weight": 1}]
        body = {"executionType": "MARKET", "slippage": D("0.01"), "leverage": 1, "usdValue": 600, "shortAssets": asset}
        shown = self.venue.baskets()
        self.pear.trading.create(self.venue.account_id, body)
        self.assertEqual(self.held(ETH), D("0.3"))
        self.show(lambda rows: [self.as_before(row, shown[0].id) for row in rows] + [ODD])
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)])
        self.assertEqual((report.status, self.held(ETH)), (OrderStatus.REJECTED, D("0.3")))

    def as_before(self, row: Any, name: str) -> Any:
        return {**row, "longAssets": [{"coin": "ETH", "actualSize": "0.5"}]} if row["positionId"] == name else row

    def test_nothing_is_swept_beside_one_that_cannot_be_read(self) -> None:
        self.exchange.set_market(BTC, "100000")
        self.venue.submit([self.an_order(BTC, Side.BUY, "0.01")])
        self.show(lambda rows: [*rows, ODD])
        rescue = (*self.a_way_out(), self.an_order(BTC, Side.SELL, "0.01", reduce_only=True))
        self.assertEqual([one.status for one in self.venue.submit(rescue)], [OrderStatus.FILLED] * 3)
        self.assertEqual((self.pear.count(ALL), self.pear.count(CLOSE)), (0, 2))


class Hidden(PearDesk):
    """A leg of a position that Pear does not show is closed with it."""

    def pair_beside(self) -> tuple[Position, Position]:
        """SOL/ETH, and BTC/ETH on the same side."""
        self.exchange.set_market(BTC, "100000")
        self.clock.advance(16)
        first = self.execute()
        self.signals.offer(given_signal("two", "BTC/ETH", "-2.4", created_at=self.clock.now()))
        second = entry.execute(self.desk, a_request("two", "3000"), None)
        self.tick(2)
        self.assertEqual(self.held(ETH), -1)
        return first, self.desk.store.book().position(second.position.position_id)

    def hide(self, *, beside: bool) -> None:
        """The ETH of SOL/ETH, and with *beside* BTC/ETH altogether."""

        def hidden(rows: list[Any]) -> list[Any]:
            first = [{**row, "shortAssets": None} for row in rows if row["longAssets"][0]["coin"] == SOL]
            return first + [row for row in rows if row["longAssets"][0]["coin"] != SOL and not beside]

        show_otherwise(self, hidden)

    def assert_alone(self, first: Position, second: Position) -> None:
        """Only the first is closed, for its own reason, and all of it is accounted for."""
        self.tick(6)
        self.assertEqual((self.held(ETH), self.held(SOL), self.held(BTC)), (D("-0.5"), 0, D("0.015")))
        book = self.desk.store.book()
        closed, stands = book.position(first.id), book.position(second.id)
        self.assertEqual((closed.exit_reason, closed.lost), (ExitReason.TAKE_PROFIT, None))
        self.assertEqual((stands.status, stands.lost), (PositionStatus.OPEN, None))
        self.assertEqual(self.state, TradingState.ACTIVE)

    def test_its_fill_is_the_close_s_own_and_takes_nothing_of_another_position(self) -> None:
        first, second = self.pair_beside()
        self.hide(beside=False)
        closing.close(self.desk, first.id, ExitReason.TAKE_PROFIT)
        self.assert_alone(first, second)

    def test_its_coin_is_not_sold_once_more_where_no_other_position_is_shown(self) -> None:
        first, second = self.pair_beside()
        self.hide(beside=True)
        closing.close(self.desk, first.id, ExitReason.TAKE_PROFIT)
        self.assert_alone(first, second)


class HiddenWithAKey(Hidden):
    direct = True


class NothingHidden(PearWorld):
    direct = True

    def test_a_leg_that_was_not_hidden_has_its_turn_a_moment_later(self) -> None:
        """Pear keeps legs that were completed alone apart, and somebody holds more of the coin at the exchange."""
        assert self.venue.direct is not None
        for order in (self.an_order(SOL, Side.SELL, "7.5"), self.an_order(ETH, Side.BUY, "1")):
            self.venue.submit([order])
        self.venue.direct.submit([self.an_order(ETH, Side.BUY, "0.2")])
        orders, began = self.a_way_out(), self.clock.now()
        self.venue.submit(orders)
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.REJECTED, OrderStatus.FILLED])
        self.assertLess((self.clock.now() - began).total_seconds(), 4)
        rest = self.an_order(ETH, Side.SELL, "0.5", reduce_only=True)
        self.assertEqual([one.status for one in self.venue.submit([rest])], [OrderStatus.FILLED])
        self.assertEqual((self.held(ETH), self.held(SOL)), (D("0.7"), 0))


class UnreadDesk(PearDesk):
    def test_a_stop_is_through_pear_long_after_the_last_price_was_seen(self) -> None:
        position = self.execute()
        self.tick(2)
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "", None))
        self.tick(20, 5.0)
        self.assertEqual(emergency.stop(self.desk).status, "closing")
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.tick(20, 5.0)
        self.assertEqual(self.pear.count(CLOSE), 1)
        self.server.faults.lift()
        self.tick(12)
        position = self.desk.store.book().position(position.id)
        self.assertEqual((position.status, position.exit_reason), (PositionStatus.CLOSED, ExitReason.EMERGENCY_STOP))
        self.assertEqual(self.state, TradingState.HALTED)
        self.assert_flat()
        self.assert_account_explained()

    def test_a_close_in_slices_waits_for_a_price_until_it_is_hurried(self) -> None:
        """A slice is a part, and the price of before is what it would be measured by."""
        position = self.execute()
        closing.close(self.desk, position.id, ExitReason.MANUAL, twap=TwapRequest(600, 4))
        self.assertEqual(self.pear.count(CUT), 1)
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "", None))
        self.tick(40, 5.0)
        (trade,) = (one for one in self.desk.store.book().trades() if not one.opens)
        self.assertEqual(len(trade.orders), 2)
        closing.close(self.desk, position.id, ExitReason.MANUAL)
        self.assertEqual((self.held(ETH), self.held(SOL), self.pear.count(CLOSE)), (0, 0, 1))


if __name__ == "__main__":
    unittest.main()
