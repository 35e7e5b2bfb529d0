"""A venue that is told dollars and proves no absence: more than was asked is taken back, what turns up late is sold."""

import unittest
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

from tests.engine.bent_venue import a_bent_scene
from tests.engine.hands import join_all
from tests.engine.scripted_venue import fine, lost_after, partly, refused, unknown_for
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import SignalNotPending, StopInProgress, TradingHalted, VenueRejected
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import RejectReason, Side
from trading.domain.positions import Position, PositionStatus
from trading.domain.resting import AccountFill
from trading.domain.trades import OVERFILL_MAX, TradeStatus
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd, floor_to_step
from trading.engine import closing, emergency, late, monitor
from trading.engine.late import LateMemory
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest

UNEXPLAINED = refused(BTC=RejectReason.UNEXPLAINED, ETH=RejectReason.UNEXPLAINED)


def given_fill(
    number: str,
    coin: str,
    side: Side,
    quantity: str,
    price: str,
    fee: str,
    at: datetime,
    order: ClientOrderId | None = None,
) -> AccountFill:
    amount, usd = Quantity(Decimal(quantity)), Price(Decimal(price))
    return AccountFill(number, Coin(coin), side, amount, usd, Usd(Decimal(fee)), at, client_order_id=order)


class VenueSizesTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.venue.traits = replace(self.venue.traits, proves_absence=False, sizes_in_coins=False)
        self.watchman = Watchman(self.scene.desk)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.scene.clock.advance(1.0)
            monitor.tick(self.watchman)
            join_all(self.watchman)
            self.assertEqual({}, self.watchman.troubles)

    @property
    def state(self) -> TradingState:
        return self.scene.store.state().state


class FilledBeyond(VenueSizesTestCase):
    def test_some_lots_more_are_the_trade_s_and_leave_with_it(self) -> None:
        self.venue.script(partly(BTC="1.01", ETH="1.01"))
        position = self.scene.opened()
        self.assertEqual(abs(self.venue.held("ETH")), position.leg_of(Coin("ETH")).held)
        self.assertGreater(position.entry_notional, 2010)
        self.assertEqual(self.state, TradingState.ACTIVE)
        self.scene.close(position)
        self.assertTrue(self.venue.flat)

    def test_twice_of_what_was_asked_is_taken_back_at_once_and_nothing_more_is_opened(self) -> None:
        self.venue.script(partly(BTC="2", ETH="2"))
        position = self.scene.opened()
        self.assertLess(position.entry_notional - position.legs[0].fees, 2010)
        self.assertEqual(abs(self.venue.held("ETH")), Decimal("0.25"))
        self.assertEqual(position.status, PositionStatus.OPEN)
        self.assertEqual(self.state, TradingState.REDUCING)
        self.assertEqual(self.scene.store.state().causes, frozenset({Cause.OVERFILLED}))
        with self.assertRaises(TradingHalted):
            self.scene.execute("another", pair="SOL/AVAX")

    def test_so_it_is_where_the_answer_was_lost_and_that_is_found_by_asking(self) -> None:
        self.venue.script(lost_after(BTC="2", ETH="2"))
        position = self.scene.opened()
        self.tick(2)
        self.assertEqual((Decimal("0.25"), Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.assertEqual(self.scene.store.state().causes, frozenset({Cause.OVERFILLED}))
        self.assertIs(PositionStatus.OPEN, self.scene.position(position.id).status)

    def test_what_was_asked_in_vain_before_makes_no_room_for_more(self) -> None:
        none = refused(BTC=RejectReason.NO_MATCH, ETH=RejectReason.NO_MATCH)
        self.venue.script(none, none, partly(BTC="1.6", ETH="1.6"))
        self.scene.execute(size="6000", execution=Execution.TWAP, twap=TwapRequest(30, 3))
        self.tick(30)
        self.assertEqual((Decimal("0.75"), Decimal("-0.03")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.assertEqual(self.state, TradingState.REDUCING)

    def test_a_leg_filled_beyond_its_plan_is_not_followed_by_the_other(self) -> None:
        self.venue.script(partly(BTC="1.15"))
        self.scene.opened()
        self.assertEqual(abs(self.venue.held("ETH")), Decimal("0.25"))
        self.assertLess(abs(self.venue.held("BTC")), Decimal("0.0104"))

    def test_what_cannot_be_taken_back_suspends_the_trade_and_stays_under_the_exits(self) -> None:
        self.venue.script(partly(BTC="2", ETH="2"))
        self.venue.on_submit = lambda orders: self.venue.refusing.update(
            {one.coin: RejectReason.NO_MATCH for one in orders if one.reduce_only}
        )
        self.scene.execute()
        self.tick(80)
        (trade,) = self.scene.trades()
        self.assertIs(trade.status, TradeStatus.SUSPENDED)
        self.venue.on_submit = None
        self.venue.refusing.clear()
        closing.close(self.scene.desk, trade.terms.position_id, ExitReason.MANUAL)
        self.assertTrue(self.venue.flat)

    def test_some_lots_more_of_what_is_in_doubt_are_no_drift(self) -> None:
        """Seed 1140, pairs: nobody knows yet what was filled, and the account shows a lot more than was asked for."""
        self.venue.script(unknown_for(20, BTC="1.01", ETH="1.01"))
        position = self.scene.opened()
        self.tick(4)
        self.assertEqual((self.venue.held("ETH"), position.long.held), (Decimal("0.2525"), 0))
        self.assertEqual(self.scene.store.state().causes, frozenset())
        self.tick(20)
        self.assertEqual(self.scene.position(position.id).long.held, Decimal("0.2525"))

    def test_beyond_what_it_may_size_them_to_it_is_drift(self) -> None:
        for share, causes in (("1.2", frozenset[Cause]()), ("1.22", frozenset({Cause.DRIFT}))):
            with self.subTest(share):
                self.setUp()
                self.venue.script(unknown_for(60, ETH=share))
                self.scene.execute()
                self.tick(4)
                self.assertEqual(self.scene.store.state().causes, causes)

    def test_a_venue_that_is_told_coins_makes_no_more_of_them(self) -> None:
        self.venue.traits = replace(self.venue.traits, sizes_in_coins=True)
        self.venue.script(unknown_for(60, ETH="1.01"))
        self.scene.execute()
        self.tick(4)
        self.assertEqual(self.scene.store.state().causes, frozenset({Cause.DRIFT}))


class NeverExplained(VenueSizesTestCase):
    def test_the_signal_is_used_up_for_ever(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute(key="one")
        with self.assertRaises(SignalNotPending):
            self.scene.execute(key="two")

    def test_no_further_slice_is_sent(self) -> None:
        self.venue.script(fine(), UNEXPLAINED)
        self.scene.execute(size="6000", execution=Execution.TWAP, twap=TwapRequest(30, 3))
        self.tick(40)
        (trade,) = self.scene.trades()
        self.assertIs(trade.status, TradeStatus.CANCELED)
        self.assertEqual(len(self.venue.sent), 2)

    def test_what_turns_up_late_is_adopted_and_sold_off_with_an_alert(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.hold("BTC", "-0.01")
        self.venue.hold("ETH", "0.25")
        self.tick(4)
        self.assertTrue(self.venue.flat)
        adopted = [one for one in self.scene.desk.store.book().positions() if one.exit_reason is ExitReason.REPAIR]
        self.assertEqual([one.status for one in adopted], [PositionStatus.CLOSED] * 2)
        self.assertTrue(any("turned up" in one for one in self.scene.log.messages("error")))
        self.tick(4)
        self.assertEqual(self.state, TradingState.ACTIVE)

    def test_what_turns_up_after_a_stop_was_complete_sets_it_going_again_until_that_is_gone(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        emergency.stop(self.scene.desk)
        self.tick(20)
        self.assertIs(self.state, TradingState.HALTED)
        self.venue.refusing = {"BTC": RejectReason.NO_MATCH}
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        self.assertIs(self.state, TradingState.LIQUIDATING)
        with self.assertRaises(StopInProgress):
            emergency.resume(self.scene.desk)
        self.venue.refusing = {}
        self.tick(20)
        self.assertEqual((self.state, self.venue.flat), (TradingState.HALTED, True))

    def test_what_was_taken_over_is_closed_though_whoever_took_it_over_died_at_that(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.hold("BTC", "-0.01")
        memory, account = LateMemory(), self.venue.account()
        for _ in range(2):
            late.flatten(self.scene.desk, memory, self.scene.store.book(), account, lambda one, reason: None)
            account = replace(account, taken_at=account.taken_at + timedelta(seconds=2))
        (adopted,) = self.scene.store.book().standing_positions()
        self.tick(4)
        self.assertTrue(self.venue.flat)
        self.assertEqual(self.scene.position(adopted.id).exit_reason, ExitReason.REPAIR)

    def test_only_what_two_readings_a_second_apart_show_alike_has_turned_up(self) -> None:
        """One reading alone may be of before a close, or of an order that is still coming in."""
        for readings, taken_over in (
            ((("-0.01", 0.0), ("-0.01", 0.9)), []),
            ((("-0.01", 0.0), ("-0.01", 1.0)), ["0.01"]),
            ((("-0.006", 0.0), ("-0.01", 1.0), ("-0.01", 1.9)), []),
            ((("-0.006", 0.0), ("-0.01", 1.0), ("-0.01", 2.0)), ["0.01"]),
            ((("-0.01", 0.0), ("0", 0.5), ("-0.01", 1.0)), []),
        ):
            with self.subTest(readings=readings):
                self.setUp()
                self.venue.script(UNEXPLAINED)
                with self.assertRaises(VenueRejected):
                    self.scene.execute()
                memory, before = LateMemory(), self.scene.clock.now()
                for quantity, seconds in readings:
                    self.venue.hold("BTC", str(Decimal(quantity) - self.venue.held("BTC")))
                    account = replace(self.venue.account(), taken_at=before + timedelta(seconds=seconds))
                    book = self.scene.store.book()
                    late.flatten(self.scene.desk, memory, book, account, lambda one, reason: None)
                adopted = [one.short.held for one in self.scene.store.book().standing_positions()]
                self.assertEqual([Decimal(one) for one in taken_over], adopted)

    def test_what_turns_up_late_has_cost_what_its_fills_say(self) -> None:
        """Whose fills they are: not of the time before, not of other coins, sides and orders of the desk."""
        self.venue.traits = replace(self.venue.traits, tells_fills=True)
        self.scene.opened("before")
        self.venue.script(refused(SOL=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("late", pair="SOL/AVAX")
        orders = {one.coin: one for trade in self.scene.trades() for one in trade.unexplained}
        own = next(one for trade in self.scene.trades() for one in trade.orders if one.coin == "ETH")
        sent_at, named = orders[Coin("SOL")].intended_at, orders[Coin("SOL")].client_order_id
        self.venue.told_fills = (
            given_fill("1", "SOL", Side.SELL, "2", "151", "0.1", sent_at - timedelta(seconds=1)),
            given_fill("2", "SOL", Side.BUY, "2", "152", "0.2", sent_at),
            given_fill("3", "AVAX", Side.SELL, "2", "153", "0.3", sent_at),
            given_fill("4", "SOL", Side.SELL, "2", "154", "0.4", sent_at, own.client_order_id),
            given_fill("5", "SOL", Side.SELL, "1", "149", "0.5", sent_at),
            given_fill("6", "SOL", Side.SELL, "2", "148", "0.6", sent_at + timedelta(seconds=1), named),
        )
        for quantity, expected in (("-1", ("148", "0.3")), ("-2", ("148.5", "0.8")), ("-1", ("200", "0"))):
            with self.subTest(quantity):
                self.venue.hold("SOL", quantity)
                self.tick(4)
                adopted = [one for one in self.scene.trades() if one.opens and one.adopted]
                latest = max(adopted, key=lambda one: one.terms.accepted_at)
                report = latest.report_of(latest.orders[0])
                self.assertEqual((report.average_price, report.fees), tuple(map(Decimal, expected)))
        self.assertEqual(self.venue.held("SOL"), 0)

    def test_fills_that_cannot_be_read_keep_nothing_that_turned_up(self) -> None:
        self.venue.traits = replace(self.venue.traits, tells_fills=True)
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.reads_down.add("account_fills")
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        self.assertTrue(self.venue.flat)
        (adopted,) = [one for one in self.scene.trades() if one.adopted]
        self.assertEqual(Decimal(0), adopted.fees)

    def test_what_it_cannot_have_bought_is_left_alone(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.hold("BTC", "0.01")
        self.venue.hold("SOL", "5")
        self.tick(4)
        self.assertEqual((self.venue.held("BTC"), self.venue.held("SOL")), (Decimal("0.01"), Decimal(5)))

    def test_what_was_accepted_as_somebody_else_s_has_not_turned_up(self) -> None:
        self.venue.hold("BTC", "-0.01")
        emergency.resume(self.scene.desk, [Coin("BTC")])
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.tick(4)
        self.assertEqual(self.venue.held("BTC"), Decimal("-0.01"))
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        self.assertEqual(self.venue.held("BTC"), Decimal("-0.01"))
        self.assertEqual(1, sum(one.adopted for one in self.scene.trades()))

    def test_what_was_taken_over_for_earlier_ones_leaves_room_for_what_may_come_of_later_ones(self) -> None:
        for number in range(2):
            with self.subTest(number):
                self.venue.script(UNEXPLAINED)
                with self.assertRaises(VenueRejected):
                    self.scene.execute(f"signal_{number}")
                self.venue.hold("BTC", "-0.01")
                self.tick(4)
                self.assertTrue(self.venue.flat)
                self.scene.clock.advance(16 * 60)

    def test_where_the_account_has_less_than_the_book_nothing_has_turned_up(self) -> None:
        self.scene.opened("first")
        self.venue.script(refused(BTC=RejectReason.UNEXPLAINED, SOL=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("second", pair="BTC/SOL")
        self.venue.hold("BTC", "0.004")
        account = self.venue.account()
        memory, book = LateMemory(), self.scene.store.book()
        self.assertFalse(late.flatten(self.scene.desk, memory, book, account, lambda one, reason: None))

    def test_no_more_is_ever_taken_for_it_than_it_may_have_bought_and_only_whole_lots(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.hold("BTC", "-0.004")
        self.tick(4)
        self.assertTrue(self.venue.flat)
        self.venue.hold("BTC", "-0.05")
        self.tick(30)
        (asked,) = [one.quantity for trade in self.scene.trades() for one in trade.unexplained if one.coin == "BTC"]
        left = self.venue.held("BTC")
        self.assertEqual(left, Decimal("-0.054") + floor_to_step(asked * OVERFILL_MAX, Decimal("0.00001")))
        self.tick(30)
        self.assertEqual(self.venue.held("BTC"), left)

    def test_what_cannot_be_traded_any_more_keeps_nothing_else_waiting(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.hold("BTC", "-0.01")
        self.venue.hold("ETH", "0.25")
        del self.venue.listed[Coin("BTC")]
        self.tick(4)
        self.assertEqual((self.venue.held("BTC"), self.venue.held("ETH")), (Decimal("-0.01"), 0))

    def test_what_is_being_sold_off_for_long_lacks_no_price_of_the_dollars_beside_it(self) -> None:
        """Too little for an order beside a position that stays: it goes with that, which may be hours later."""
        self.scene.opened("first")
        self.venue.script(refused(ETH=RejectReason.UNEXPLAINED, SOL=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("second", pair="SOL/ETH")
        self.venue.hold("ETH", "0.001")
        self.tick(70)
        self.assertEqual(2, len(self.scene.store.book().standing_positions()))
        self.assertIs(self.state, TradingState.ACTIVE)
        self.assertFalse(any("no usable price" in one for one in self.scene.log.messages("warning")))
        self.venue.quotes_age = {"ETH": 6.0}
        self.tick(62)
        self.assertEqual({Cause.BLIND}, set(self.scene.store.state().causes))
        self.assertIn("no usable price for ETH/USD; holding", self.scene.log.messages("warning"))

    def test_a_trim_that_nobody_can_explain_opened_nothing_on_the_other_side(self) -> None:
        """It may have sold what it was to sell, of which the account has less: nobody has bought that back."""
        self.venue.script(refused(BTC=RejectReason.MARGIN), refused(ETH=RejectReason.UNEXPLAINED))
        self.scene.execute()
        self.assertTrue(any(one.reduce_only for trade in self.scene.trades() for one in trade.unexplained))
        self.venue.hold("ETH", "-0.1")
        self.tick(4)
        self.assertEqual([], [one for one in self.scene.trades() if one.adopted])

    def test_the_fills_of_the_first_of_several_tell_what_it_has_cost(self) -> None:
        self.venue.traits = replace(self.venue.traits, tells_fills=True)
        for number in (1, 2):
            self.venue.script(UNEXPLAINED)
            with self.assertRaises(VenueRejected):
                self.scene.execute(f"signal_{number}")
            self.scene.clock.advance(20)
        first = min(one.intended_at for trade in self.scene.trades() for one in trade.unexplained)
        at = first + timedelta(seconds=2)
        self.venue.told_fills = (given_fill("1", "BTC", Side.SELL, "0.01", "101000", "0.4", at),)
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        (adopted,) = [one for one in self.scene.trades() if one.adopted]
        report = adopted.report_of(adopted.orders[0])
        self.assertEqual((Decimal(101000), Decimal("0.4")), (report.average_price, report.fees))

    def test_beside_a_position_in_the_coin_only_what_is_beyond_the_book_is_sold(self) -> None:
        self.scene.opened("first")
        before = self.venue.held("BTC")
        self.venue.script(refused(BTC=RejectReason.UNEXPLAINED, SOL=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("second", pair="BTC/SOL")
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        self.assertEqual(self.venue.held("BTC"), before)
        self.assertEqual(self.state, TradingState.ACTIVE)

    def test_after_a_quarter_of_an_hour_it_is_somebody_else_s(self) -> None:
        self.venue.script(UNEXPLAINED)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.scene.clock.advance(15 * 60)
        self.venue.hold("BTC", "-0.01")
        self.tick(4)
        self.assertEqual(self.venue.held("BTC"), Quantity(Decimal("-0.01")))


class CameAndGone(VenueSizesTestCase):
    """What an opening that was given up has brought, and something else took again before any account showed it."""

    def setUp(self) -> None:
        super().setUp()
        self.venue.traits = replace(self.venue.traits, tells_fills=True)
        self.scene.opened("before")
        self.venue.script(refused(SOL=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("late", pair="SOL/AVAX")
        self.orders = {one.coin: one for trade in self.scene.trades() for one in trade.unexplained}
        self.sent_at = self.orders[Coin("SOL")].intended_at
        self.sent = len(self.venue.sent)

    def tell(self, *fills: tuple[str, Side, str, str, str, float], coin: str = "SOL") -> None:
        """Each with its number, side, quantity, price, fee and seconds after the opening was sent."""
        self.venue.told_fills += tuple(
            given_fill(number, coin, side, quantity, price, fee, self.sent_at + timedelta(seconds=seconds))
            for number, side, quantity, price, fee, seconds in fills
        )

    @property
    def adopted(self) -> list[Position]:
        book = self.scene.store.book()
        return [book.position(one.terms.position_id) for one in self.scene.trades() if one.adopted]

    def test_is_booked_once_as_its_fills_tell_and_nothing_is_sent(self) -> None:
        self.tick(10)
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "3", "151", "0.3", 5))
        self.tell(("3", Side.BUY, "1", "140", "0.1", 6))
        self.tick(100)
        (position,) = self.adopted
        self.assertEqual((PositionStatus.CLOSED, ExitReason.LEG_LOST), (position.status, position.exit_reason))
        self.assertEqual((Decimal(2), Decimal("0.4")), (position.realized, position.fees))
        self.assertEqual(0, position.naked_usd_seconds)
        self.assertEqual(self.sent, len(self.venue.sent))
        self.assertEqual(1, sum("gone before anybody saw" in one for one in self.scene.log.messages("error")))
        self.assertEqual(self.state, TradingState.ACTIVE)

    def test_in_several_fills_too_and_under_the_opening_s_own_name(self) -> None:
        self.tell(("1", Side.SELL, "1", "150", "0.1", 3), ("3", Side.BUY, "1.5", "150", "0.3", 5))
        named = self.orders[Coin("SOL")].client_order_id
        at = self.sent_at + timedelta(seconds=4)
        self.venue.told_fills += (given_fill("2", "SOL", Side.SELL, "1", "153", "0.2", at, named),)
        self.tick(2)
        (position,) = self.adopted
        self.assertEqual((Decimal("1.5"), Decimal("0.5")), (position.realized, position.fees))

    def test_is_looked_for_again_and_again_and_what_follows_is_booked_by_itself(self) -> None:
        self.tick(2)
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "2", "151", "0.2", 5))
        self.tick(20)
        self.assertEqual([], self.adopted)
        self.venue.reads_down.add("account_fills")
        self.tick(20)
        self.assertEqual([], self.adopted)
        self.venue.reads_down.clear()
        self.tick(30)
        self.assertEqual([Decimal(2)], [one.realized for one in self.adopted])
        self.tell(("3", Side.SELL, "1", "152", "0.1", 70), ("4", Side.BUY, "1", "155", "0.1", 71))
        self.tick(31)
        self.assertEqual([Decimal(-3), Decimal(2)], sorted(one.realized for one in self.adopted))

    def test_of_the_first_of_several_too(self) -> None:
        """The fills are asked for since the first was sent, whatever coin it was of."""
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "2", "151", "0.2", 5))
        self.scene.clock.advance(60)
        self.venue.script(refused(ETH=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("later", pair="AVAX/ETH")
        self.tick(2)
        self.assertEqual([Decimal(2)], [one.realized for one in self.adopted])

    def test_of_all_of_them_together_no_more_than_they_may_have_brought(self) -> None:
        most = self.orders[Coin("SOL")].quantity * OVERFILL_MAX
        self.tell(("1", Side.SELL, str(most), "152", "0.2", 3), ("2", Side.BUY, str(most), "151", "0.2", 5))
        self.tick(31)
        self.tell(("3", Side.SELL, "1", "152", "0.1", 33), ("4", Side.BUY, "1", "155", "0.1", 35))
        self.tick(61)
        self.assertEqual([most], [one.realized for one in self.adopted])

    def test_not_what_was_taken_over_and_sold(self) -> None:
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3))
        self.venue.hold("SOL", "-2")
        self.tick(4)
        self.assertEqual(0, self.venue.held("SOL"))
        self.tell(("2", Side.BUY, "2", "151", "0.2", 5))
        self.tick(61)
        self.assertEqual([ExitReason.REPAIR], [one.exit_reason for one in self.adopted])

    def test_not_while_the_account_has_something_else_than_the_book(self) -> None:
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "2", "151", "0.2", 5))
        self.venue.hold("SOL", "1")
        self.tick(61)
        self.assertEqual([], self.adopted)
        self.scene.store.change_state(lambda state: replace(state, accepted_drift={Coin("SOL"): Quantity(Decimal(1))}))
        self.tick(31)
        self.assertEqual([Decimal(2)], [one.realized for one in self.adopted])

    def test_of_a_fill_that_took_of_a_position_too_the_rest(self) -> None:
        self.venue.script(refused(ETH=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("later", pair="AVAX/ETH")
        self.tell(("1", Side.BUY, "0.05", "4000", "0.1", 3), ("2", Side.SELL, "0.1", "4100", "0.2", 5), coin="ETH")
        self.venue.hold("ETH", "-0.05")
        self.tick(61)
        lost = [(one.quantity, one.fees) for trade in self.scene.trades() for one in trade.lost]
        self.assertEqual([(Decimal("0.05"), Decimal("0.1"))] * 2, lost)
        self.assertEqual([Decimal(5)], [one.realized for one in self.adopted])

    def test_beside_a_position_that_stays_as_well(self) -> None:
        self.venue.script(refused(ETH=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("later", pair="AVAX/ETH")
        self.tell(("1", Side.BUY, "0.1", "4000", "0.1", 3), ("2", Side.SELL, "0.1", "4100", "0.2", 5), coin="ETH")
        self.tick(31)
        self.assertEqual([Decimal(10)], [one.realized for one in self.adopted])
        self.assertEqual([PositionStatus.OPEN], [one.status for one in self.scene.store.book().standing_positions()])

    def test_no_fill_serves_openings_of_either_side(self) -> None:
        self.venue.script(refused(SOL=RejectReason.UNEXPLAINED, AVAX=RejectReason.UNEXPLAINED))
        with self.assertRaises(VenueRejected):
            self.scene.execute("later", pair="AVAX/SOL")
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "2", "151", "0.2", 5))
        self.tell(("3", Side.SELL, "1", "152", "0.1", 6), ("4", Side.BUY, "1", "151", "0.1", 7))
        self.tick(61)
        self.assertEqual([Decimal(3)], [one.realized for one in self.adopted])

    def test_not_what_orders_of_the_desk_explain(self) -> None:
        self.scene.close(self.scene.opened("again", pair="SOL/AVAX"))
        own = [one for trade in self.scene.trades() for one in trade.orders if one.coin == "SOL"]
        sold, bought = [one for one in own if one not in self.orders.values()]
        for name, other in ((sold.client_order_id, None), (None, bought.client_order_id)):
            with self.subTest(sold=name, bought=other):
                self.venue.told_fills = (
                    given_fill("1", "SOL", Side.SELL, "2", "152", "0.2", self.sent_at, name),
                    given_fill("2", "SOL", Side.BUY, "2", "151", "0.2", self.sent_at, other),
                )
                self.tick(31)
                self.assertEqual([], self.adopted)

    def test_nor_those_of_a_position_that_is_archived_already(self) -> None:
        """Of a ledger that has outgrown its size within a minute of its end."""
        self.archived()
        own = {one.side: one for one in self.own}
        self.tell(("3", Side.BUY, "2", "151", "0.2", 50))
        for number, side, price in (("1", Side.SELL, "152"), ("2", Side.BUY, "151")):
            name = own[side].client_order_id
            self.venue.told_fills += (given_fill(number, "SOL", side, "2", price, "0.2", self.sent_at, name),)
        self.tick(31)
        self.assertEqual([], self.adopted)

    def test_nor_is_what_turns_up_at_the_price_of_such_a_one(self) -> None:
        self.archived()
        name = next(one for one in self.own if one.side is Side.SELL).client_order_id
        self.venue.told_fills = (given_fill("1", "SOL", Side.SELL, "2", "190", "5", self.sent_at, name),)
        self.tell(("2", Side.SELL, "2", "152", "0.2", 3))
        self.venue.hold("SOL", "-2")
        self.tick(4)
        (position,) = self.adopted
        self.assertEqual(Decimal(152), position.leg_of(Coin("SOL")).entry_price)

    def archived(self) -> None:
        known = set(self.orders.values())
        self.scene.close(self.scene.opened("again", pair="SOL/AVAX"))
        self.own = [one for trade in self.scene.trades() for one in trade.orders if one.coin == "SOL"]
        self.own = [one for one in self.own if one not in known]
        self.tick(2)
        self.scene.clock.advance(61)
        with patch.object(self.scene.store, "_roll_bytes", 0):
            self.assertEqual(1, self.scene.store.roll_over(self.scene.clock.now()))

    def test_not_what_no_such_opening_can_have_brought(self) -> None:
        more = str(self.orders[Coin("SOL")].quantity * 2)
        for what, fills in (
            ("taken before", (("1", Side.BUY, "2", "152", "0.2", 3), ("2", Side.SELL, "2", "151", "0.2", 5))),
            ("never taken", (("1", Side.SELL, "2", "152", "0.2", 3),)),
            ("too much", (("1", Side.SELL, more, "152", "0.2", 3), ("2", Side.BUY, more, "151", "0.2", 5))),
            ("before it", (("1", Side.SELL, "2", "152", "0.2", -5), ("2", Side.BUY, "2", "151", "0.2", 5))),
        ):
            with self.subTest(what):
                self.venue.told_fills = ()
                self.tell(*fills)
                self.tick(31)
                self.assertEqual([], self.adopted)

    def test_nor_where_absence_is_proven_or_no_fills_are_told(self) -> None:
        self.tell(("1", Side.SELL, "2", "152", "0.2", 3), ("2", Side.BUY, "2", "151", "0.2", 5))
        told = self.venue.traits
        for traits in (replace(told, proves_absence=True), replace(told, tells_fills=False)):
            with self.subTest(traits):
                self.venue.traits = traits
                self.tick(31)
                self.assertEqual([], self.adopted)


if __name__ == "__main__":
    unittest.main()
