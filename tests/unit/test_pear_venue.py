"""The Pear venue in what faults do not show: what is refused unsent, who is told of which fill, what rests."""

import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from tests.servers.hyperliquid import MASTER
from tests.servers.hyperliquid.faults import INFO, Answer, Commit, Fault
from tests.servers.hyperliquid.universe import Listing
from tests.unit.pear_world import ETH, OPEN, SOL, PearWorld
from trading.domain.errors import Busy, VenueRejected, VenueUnavailable
from trading.domain.orders import OrderStatus, RejectReason, Side
from trading.domain.resting import PairLine, RestingOrder, RestingStatus, TriggerKind
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd


class Unsent(PearWorld):
    def assert_unsent(self, reason: RejectReason, *orders: object) -> str:
        reports = self.venue.submit(orders)  # type: ignore[arg-type]
        self.assertEqual({one.status for one in reports}, {OrderStatus.REJECTED})
        self.assertIn(reason, {one.reason for one in reports})
        self.assertEqual(self.pear.count(OPEN), 0)
        return " ".join(one.detail for one in reports)

    def test_a_band_narrower_than_pear_s_narrowest(self) -> None:
        order = replace(self.an_order(ETH, Side.BUY, "1"), limit_price=Price(Decimal("3002")))
        self.assert_unsent(RejectReason.PRICE, order)

    def test_one_leg_that_cannot_be_sent_keeps_the_other_at_home(self) -> None:
        short = self.an_order(SOL, Side.SELL, "0.05")
        words = self.assert_unsent(RejectReason.NOTIONAL_MIN, self.an_order(ETH, Side.BUY, "1"), short)
        self.assertIn("so the group was not", words)

    def test_an_opening_when_the_clocks_are_apart(self) -> None:
        self.exchange.skew_ms = 5000
        self.clock.advance(31)
        self.assertIn("clock", self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1")))

    def test_an_opening_when_the_exchange_cannot_be_read(self) -> None:
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "", None))
        self.assertIn("nothing was sent", self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1")))
        reducing = self.an_order(ETH, Side.SELL, "1", reduce_only=True)
        self.assertIn("nothing was sent", self.assert_unsent(RejectReason.OTHER, reducing))

    def test_an_opening_at_a_price_that_cannot_be_read_any_more(self) -> None:
        """The last price serves a close. Pear lays the band of an opening around its own mid, wherever that is now."""
        self.venue.quotes([ETH])
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "l2Book ETH", None))
        self.clock.advance(4)
        words = self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1"))
        self.assertIn("no fresh price can be had: nothing was sent", words)

    def test_an_opening_that_gets_no_turn_or_gets_it_too_late(self) -> None:
        with (
            self.venue._register.turn(closes=True),
            mock.patch("trading.adapters.pear_register.OPEN_WAIT_SECONDS", 0.02),
        ):
            self.assertIn("turn", self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1")))
        late = self.an_order(ETH, Side.BUY, "1")
        with mock.patch.object(self.venue.pear, "log_in", lambda: self.clock.advance(11)):
            self.assert_unsent(RejectReason.EXPIRED, late)

    def test_an_opening_when_pear_gives_no_token(self) -> None:
        self.venue = self.opened(api_key="of nobody")
        self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1"))
        with self.assertRaises(VenueUnavailable):
            self.venue.require_room()

    def test_anything_when_the_register_cannot_be_had(self) -> None:
        with mock.patch.object(self.venue._register, "known", side_effect=Busy("held")):
            self.assert_unsent(RejectReason.OTHER, self.an_order(ETH, Side.BUY, "1"))
            with self.assertRaises(VenueUnavailable):
                self.venue.reports([self.an_order(ETH, Side.BUY, "1")])
            with self.assertRaises(VenueUnavailable):
                self.venue.account_fills(self.clock.now())

    def test_an_order_that_another_process_sends_at_this_moment_is_in_doubt(self) -> None:
        order = self.an_order(ETH, Side.BUY, "1")
        known = frozenset({order.client_order_id})
        with mock.patch.object(self.venue._register, "claim", return_value=known):
            (report,) = self.venue.submit([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)
        self.assertEqual(self.pear.count(OPEN), 0)

    def test_a_leverage_that_the_coin_does_not_allow(self) -> None:
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(ETH, 1000)
        self.exchange.list_coin(Listing("ISO", 1, 5, 5, only_isolated=True))
        self.clock.advance(16)
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(Coin("ISO"), 1)
        self.venue.set_leverage(ETH, 3)
        self.venue.set_leverage(SOL, 2)
        self.venue.submit(self.a_pair())
        self.assertEqual(self.pear.received[-1][0], OPEN)
        self.assertEqual(self.venue.account().leverages, {ETH: 2, SOL: 2})

    def test_an_agreed_leverage_is_for_the_opening_that_follows_and_not_for_ever(self) -> None:
        """What is held was given another one since, which a late order would have changed back."""
        for coin in (ETH, SOL):
            self.venue.set_leverage(coin, 3)
        self.held_pair()
        self.pear.trading.set_leverage(MASTER, self.venue.baskets()[0].id, {"leverage": Decimal(2)})
        for seconds, leverage in ((59, 3), (2, 2)):
            self.clock.advance(seconds)
            self.pear.received.clear()
            self.venue.submit([self.an_order(ETH, Side.BUY, "0.1")])
            bodies = [body for route, body in self.pear.received if route == OPEN and isinstance(body, dict)]
            self.assertEqual([one["leverage"] for one in bodies], [leverage])
            self.pear.trading.set_leverage(MASTER, self.venue.baskets()[0].id, {"leverage": Decimal(2)})


class Clocks(PearWorld):
    def test_a_close_goes_however_wrong_our_clock_is(self) -> None:
        self.held_pair()
        self.exchange.skew_ms = 30_000
        self.clock.advance(31)
        reports = self.venue.submit(self.a_way_out())
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2, reports)


class Fills(PearWorld):
    def test_the_desk_s_own_carry_its_ids_and_others_do_not(self) -> None:
        began = self.clock.now()
        orders = self.a_pair()
        self.venue.submit(orders)
        self.clock.advance(5)
        self.pear.trading.close_all(MASTER, {"executionType": "MARKET"})
        fills = self.venue.account_fills(began)
        self.assertEqual({one.client_order_id for one in fills[:2]}, {one.client_order_id for one in orders})
        own = {one.client_order_id for one in orders}
        self.assertFalse(own & {one.client_order_id for one in fills[2:]})

    def test_those_of_an_order_in_doubt_are_its_own_already(self) -> None:
        began = self.clock.now()
        orders = self.a_pair()
        self.whims.tells_fills = False
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 60_000, True
        self.assertTrue(all(one.status.in_doubt for one in self.venue.submit(orders)))
        self.server.info.lag.milliseconds = 0
        told = self.venue.account_fills(began)
        self.assertEqual({one.client_order_id for one in told}, {one.client_order_id for one in orders})


class Resting(PearWorld):
    def a_stop(self) -> RestingOrder:
        price = Price(Decimal(2700))
        name = ClientOrderId("0x" + "0c" * 16)
        return RestingOrder(name, ETH, Side.SELL, Quantity(Decimal("0.5")), price, price, TriggerKind.STOP)

    def test_nothing_rests_at_the_exchange_without_a_key(self) -> None:
        self.assertFalse(self.venue.traits.rests_orders)
        (report,) = self.venue.place_resting([self.a_stop()], self.clock.now() + timedelta(seconds=10))
        self.assertIs(report.status, RestingStatus.REJECTED)
        self.assertEqual(self.venue.cancel_resting([self.a_stop()]), frozenset())

    def test_lines_are_drawn_on_the_pair_s_own_basket_only(self) -> None:
        line = PairLine(
            ETH, Quantity(Decimal("0.5")), SOL, Quantity(Decimal("7.5")), Usd(Decimal(50)), Usd(Decimal(20))
        )
        self.assertTrue(self.venue.draw_lines([]))
        self.assertFalse(self.venue.draw_lines([line]))
        self.held_pair()
        self.assertTrue(self.venue.draw_lines([line]))
        self.assertFalse(self.log.messages("error"))
        self.assertFalse(self.venue.draw_lines([replace(line, long_coin=SOL, short_coin=ETH)]))
        self.assertFalse(self.venue.draw_lines([replace(line, short_coin=Coin("BTC"))]))
        self.assertFalse(self.venue.draw_lines([replace(line, long_quantity=Quantity(Decimal("0.4")))]))
        self.assertFalse(self.venue.draw_lines([replace(line, short_quantity=Quantity(Decimal(8)))]))
        self.pear.faults.add(Fault("GET /positions", Answer.CLOSED, Commit.NEVER, "", None))
        self.assertFalse(self.venue.draw_lines([line]))

    def test_weights_that_pear_takes_otherwise_are_said_once(self) -> None:
        self.held_pair()
        line = PairLine(
            ETH, Quantity(Decimal("0.5")), SOL, Quantity(Decimal("7.5")), Usd(Decimal(50)), Usd(Decimal(20))
        )
        with mock.patch("trading.adapters.pear.takes_weights_per_side", return_value=True):
            self.venue.draw_lines([line])
            self.venue.draw_lines([line])
        self.assertEqual(len(self.log.messages("error")), 1)


class RestingWithAKey(Resting):
    direct = True

    def test_nothing_rests_at_the_exchange_without_a_key(self) -> None:
        """With one it does, by the exchange's own hand."""
        self.held_pair()
        (report,) = self.venue.place_resting([self.a_stop()], self.clock.now() + timedelta(seconds=10))
        self.assertIs(report.status, RestingStatus.RESTING)
        self.assertEqual([one.coin for one in self.venue.resting()], [ETH])
        self.assertEqual(self.venue.cancel_resting([self.a_stop()]), {self.a_stop().client_order_id})
        self.assertEqual(self.venue.resting(), ())


if __name__ == "__main__":
    unittest.main()
