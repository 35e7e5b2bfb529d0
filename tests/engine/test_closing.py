"""Closing and cancelling: whatever the opening is doing, and whoever else holds the coin."""

import unittest
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from typing import NoReturn

from tests.builders import after, given_a_working_trade, given_report
from tests.engine.bent_venue import a_bent_scene, with_store
from tests.engine.scripted_venue import (
    Scene,
    a_scene,
    accepted,
    fine,
    late,
    lost_after,
    lost_before,
    partly,
    refused,
    unknown_for,
)
from trading.domain.book import Book
from trading.domain.errors import Busy, InvalidRequest, PositionNotFound, StoreHeld, TradeNotFound, TradeNotSuspended
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import Order, RejectReason
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import (
    Event,
    LegLost,
    OrdersReported,
    Trade,
    TradeCanceled,
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    close_trade_id,
    record,
)
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, TradeId, Usd
from trading.engine import closing, emergency, entry, working
from trading.engine.requests import TwapRequest

TWAP = TwapRequest(60, 4)


class ClosingTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene = a_scene(self)
        self.venue = self.scene.venue

    def assert_flat(self, position: Position, scene: Scene | None = None) -> None:
        """Closed in the book and flat at the venue, and every order that closed was reduce-only."""
        stored = (scene or self.scene).position(position.id)
        self.assertIs(PositionStatus.CLOSED, stored.status)
        self.assertFalse(stored.holds)
        self.assertTrue(self.venue.flat)
        for trade in self.scene.desk.store.book().trades_of_position(position.id)[1:]:
            self.assertTrue(all(order.reduce_only for order in trade.orders))
        ids = [order.client_order_id for order in self.venue.orders]
        self.assertEqual(len(set(ids)), len(ids))


class CloseTests(ClosingTestCase):
    def test_closing_twice_is_closing_once(self) -> None:
        position = self.scene.opened()
        first, second = self.scene.close(position), self.scene.close(position, ExitReason.STOP_LOSS)
        self.assert_flat(position)
        self.assertEqual(first, second)
        self.assertEqual((ExitReason.MANUAL, 2), (second.exit_reason, len(self.venue.sent)))

    def test_a_close_whose_records_do_not_fold_keeps_its_position_from_no_other_close(self) -> None:
        """The next one would have had its name, and the store takes nothing under that: it could not be left at all."""
        position = self.scene.opened()
        self.scene.desk = with_store(self.scene, broken={close_trade_id(position.id, 1): "line 7"})
        closed = self.scene.close(position)
        self.assertEqual(close_trade_id(position.id, 2), closed.closing_trade_id)
        self.assert_flat(position)

    def test_it_is_waited_for_an_answer_that_takes_a_while_and_no_longer(self) -> None:
        for seconds, status in ((4, PositionStatus.CLOSED), (30, PositionStatus.CLOSING)):
            with self.subTest(seconds=seconds):
                self.setUp()
                position = self.scene.opened()
                self.venue.script(unknown_for(seconds))
                began = self.scene.clock.monotonic()
                self.assertIs(status, self.scene.close(position).status)
                self.assertLessEqual(self.scene.clock.monotonic() - began, closing.ANSWER_SECONDS + 1)

    def test_a_position_that_closed_meanwhile_gets_no_second_closing_trade(self) -> None:
        position = self.scene.opened()
        self.scene.close(position)
        self.assertIsNone(closing._closing_trade(self.scene.desk, position.id, ExitReason.MANUAL))
        self.assertEqual(2, len(self.scene.trades()))

    def test_a_second_close_finds_the_first_one_working(self) -> None:
        position = self.scene.opened()
        self.venue.script(unknown_for(30))
        self.assertIs(PositionStatus.CLOSING, self.scene.close(position).status)
        self.assertIs(PositionStatus.CLOSING, self.scene.close(position).status)
        self.assertEqual(2, len(self.venue.sent))
        self.scene.ticks(30)
        self.assert_flat(position)
        self.assertEqual(2, len(self.venue.sent))

    def test_by_hand_is_the_same_with_its_reason(self) -> None:
        position = self.scene.opened()
        view = closing.close_by_hand(self.scene.desk, position.id)
        self.assertEqual(("closed", "MANUAL"), (view.status, view.exit_reason))

    def test_a_venue_that_hangs_keeps_nobody_waiting_who_closes(self) -> None:
        """Each call of it takes three seconds to be given up, and a close makes four: the answer came after twelve."""
        position = self.scene.opened()
        self.venue.on_submit = lambda _: self.scene.hands.hang()
        for _ in range(2):
            began = self.scene.clock.monotonic()
            view = closing.close_by_hand(self.scene.desk, position.id)
            self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
            self.assertIs(PositionStatus.CLOSING, view.status)
        self.venue.on_submit = None
        self.scene.hands.release()
        self.scene.ticks(3)
        self.assert_flat(position)

    def test_a_close_that_could_not_be_begun_in_time_is_to_be_asked_for_again(self) -> None:
        position = self.scene.opened()
        self.venue.on_read = lambda name: self.scene.hands.hang() if name == "quotes" else None
        began = self.scene.clock.monotonic()
        with self.assertRaisesRegex(Busy, "BTC/ETH is being begun"):
            closing.close_by_hand(self.scene.desk, position.id)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.venue.on_read = None
        self.scene.hands.release()
        self.assert_flat(position)

    def test_others_who_write_keep_a_close_waiting_and_do_not_refuse_it(self) -> None:
        """Fifty callers at once, and after two seconds of its nine a close was told that the book was held."""
        position, store = self.scene.opened(), self.scene.store
        for seconds in (2, 6):
            held_until = self.scene.clock.monotonic() + seconds

            def exclusive(until: float = held_until) -> AbstractContextManager[Book]:
                if self.scene.clock.monotonic() < until:
                    self.scene.clock.advance(2)
                    raise StoreHeld("the book is held by another thread")
                return store.exclusive()

            with self.subTest(seconds=seconds):
                view = closing.close_by_hand(with_store(self.scene, exclusive=exclusive), position.id)
                self.assertIs(PositionStatus.CLOSED, view.status)
                position = self.scene.opened(f"signal_after_{seconds}")

    def test_one_that_finds_no_room_in_its_time_is_refused(self) -> None:
        position = self.scene.opened()

        def exclusive() -> NoReturn:
            self.scene.clock.advance(2)
            raise StoreHeld("the book is held by another thread")

        began = self.scene.clock.monotonic()
        with self.assertRaises(Busy):
            closing.close_by_hand(with_store(self.scene, exclusive=exclusive), position.id)
        self.assertLessEqual(self.scene.clock.monotonic() - began, closing.ANSWER_SECONDS + 2)

    def test_what_is_unknown_is_not_found(self) -> None:
        with self.assertRaises(PositionNotFound):
            closing.close_by_hand(self.scene.desk, PositionId("pos_none"))
        with self.assertRaises(TradeNotFound):
            closing.cancel(self.scene.desk, TradeId("trd_none"))

    def test_every_fault_of_a_close_ends_flat(self) -> None:
        faults = (
            lost_before(),
            lost_after(),
            unknown_for(3),
            accepted(2),
            late(3),
            partly(ETH="0.5"),
            partly(ETH="0", BTC="0"),
            refused(BTC=RejectReason.OTHER),
            refused(BTC=RejectReason.MARGIN, ETH=RejectReason.OPEN_INTEREST),
        )
        for fault in faults:
            with self.subTest(fault=fault):
                self.setUp()
                position = self.scene.opened()
                self.venue.script(fault)
                self.scene.close(position)
                self.scene.ticks(20)
                self.assert_flat(position)

    def test_a_venue_that_cannot_be_read_leaves_the_wish_on_disk_for_the_monitor(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down = {"quotes", "account", "instruments", "reports"}
        self.assertIs(PositionStatus.CLOSING, self.scene.close(position).status)
        self.assertEqual(1, len(self.venue.sent))
        self.venue.reads_down = set()
        self.scene.tick()
        self.assert_flat(position)

    def test_an_account_that_cannot_be_read_does_not_stop_a_close(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down = {"account"}
        self.scene.close(position)
        self.assert_flat(position)

    def test_one_leg_without_a_price_does_not_hold_up_the_other(self) -> None:
        position = self.scene.opened()
        self.venue.quotes_missing = {"BTC"}
        self.scene.close(position)
        self.assertEqual((Decimal(0), Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.venue.quotes_missing = set()
        self.scene.ticks(6)
        self.assert_flat(position)

    def test_what_the_account_is_worth_is_a_price_for_a_trim_and_for_no_completion(self) -> None:
        """An opening with one leg ahead, and then no price of anything: that leg stood alone until there was one."""
        scene, venue = a_bent_scene(self)
        venue.script(refused(BTC=RejectReason.MARGIN), *[refused(ETH=RejectReason.OTHER)] * 12)
        scene.opened()
        self.assertIs(TradeStatus.REPAIRING, scene.trades()[0].status)
        venue.reads_down = {"quotes"}
        venue.forgive()
        sent = len(venue.sent)
        venue.bend_account = lambda account: replace(
            account,
            holdings={coin: replace(one, mark_price=Price(Decimal(4000))) for coin, one in account.holdings.items()},
        )
        scene.ticks(12)
        self.assertEqual((Decimal(0), Decimal(0)), (venue.held("ETH"), venue.held("BTC")))
        self.assertTrue(all(order.reduce_only for orders in venue.sent[sent:] for order in orders))

    def test_a_position_with_one_leg_only_is_closed(self) -> None:
        self.venue.script(refused(BTC=RejectReason.MARGIN), *[refused(ETH=RejectReason.OTHER)] * 12)
        position = self.scene.opened()
        self.scene.ticks(60)
        (trade,) = self.scene.trades()
        self.assertIs(TradeStatus.SUSPENDED, trade.status)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.scene.close(position)
        self.scene.ticks(12)
        self.assert_flat(position)

    def test_one_leg_alone_is_closed_at_once_although_slices_were_asked_for(self) -> None:
        self.venue.script(refused(BTC=RejectReason.MARGIN), *[refused(ETH=RejectReason.OTHER)] * 12)
        position = self.scene.opened()
        self.scene.ticks(60)
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, twap=TWAP)
        self.assert_flat(position)


class CloseOfAnOpeningTests(ClosingTestCase):
    def test_a_twap_in_the_middle_is_stopped_and_what_it_holds_is_sold(self) -> None:
        position = self.scene.opened(twap=TWAP)
        self.scene.tick(16)
        self.scene.close(position)
        self.assert_flat(position)
        sent = len(self.venue.sent)
        self.scene.ticks(60)
        self.assertEqual(sent, len(self.venue.sent))

    def test_a_slice_that_is_due_when_the_position_is_closed_is_not_sent_first(self) -> None:
        position = self.scene.opened(twap=TWAP)
        self.scene.clock.advance(16)
        self.scene.close(position)
        self.assertEqual([False] * 2 + [True] * 2, [order.reduce_only for order in self.venue.orders])
        self.assert_flat(position)

    def test_doubt_about_the_opening_never_delays_the_close(self) -> None:
        self.venue.script(unknown_for(60))
        position = self.scene.opened()
        self.assertIs(PositionStatus.OPENING, position.status)
        self.venue.delay_seconds = {"reports": 4.0}
        began = self.scene.clock.monotonic()
        sold_at: list[float] = []
        self.venue.on_submit = lambda orders: sold_at.append(self.scene.clock.monotonic())
        self.scene.close(position)
        self.assertEqual([began], sold_at)
        self.assertTrue(self.venue.flat)
        self.venue.delay_seconds = {}
        self.scene.ticks(60)
        self.assert_flat(position)

    def test_legs_that_turn_out_to_be_apart_are_left_to_the_close(self) -> None:
        """Levelled beside it, the leading leg was sold by two hands at once."""
        self.venue.script(lost_after(BTC="0.4"))
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        (opening,) = self.scene.trades()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        closing.close(self.scene.desk, opening.terms.position_id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        self.venue.reads_down = set()
        opening = working.work_if_free(self.scene.desk, opening.id)
        self.assertEqual((False, []), (opening.live, [one for one in opening.orders if one.reduce_only]))
        self.venue.refusing = {}
        self.scene.ticks(8)
        self.assertTrue(self.venue.flat)

    def test_a_doubt_that_ends_while_the_close_is_awaited_ends_the_close_as_well(self) -> None:
        self.venue.script(unknown_for(12))
        position = self.scene.opened()
        self.assertIs(PositionStatus.CLOSED, self.scene.close(position).status)
        self.assert_flat(position)

    def test_a_close_in_doubt_sells_no_more_than_the_venue_holds(self) -> None:
        self.venue.script(unknown_for(60, ETH="0.4", BTC="0.4"))
        position = self.scene.opened()
        self.scene.close(position)
        long, short = self.venue.sent[1]
        self.assertEqual((Decimal("0.1"), Decimal("0.004")), (long.quantity, short.quantity))
        self.scene.ticks(60)
        self.assert_flat(position)

    def test_a_late_fill_of_the_opening_after_the_close_is_sold_too(self) -> None:
        for fault in (late(9.8, told_after=9.9), late(5), accepted(9.8)):
            with self.subTest(fault=fault):
                self.setUp()
                self.venue.script(fine(), fault)
                position = self.scene.opened(twap=TWAP)
                self.scene.tick(16)
                self.scene.close(position)
                self.scene.ticks(20)
                self.assert_flat(position)
                self.assertEqual(0, sum((leg.held for leg in self.scene.position(position.id).legs), Decimal(0)))

    def test_an_opening_that_never_arrived_is_closed_with_nothing(self) -> None:
        self.venue.script(lost_before())
        position = self.scene.opened()
        self.scene.close(position)
        self.scene.ticks(20)
        self.assert_flat(position)
        self.assertEqual(1, len(self.venue.sent))

    def test_a_close_beside_an_opening_that_another_hand_works_is_safe(self) -> None:
        position = self.scene.opened(twap=TWAP)
        (opening,) = self.scene.trades()
        with self.scene.desk.store.seat(opening.id):
            self.scene.close(position)
            self.assertTrue(self.venue.flat)
            self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.scene.ticks(3)
        self.assert_flat(position)

    def test_a_close_that_comes_while_a_slice_is_out_sells_that_too(self) -> None:
        position = self.scene.opened(twap=TWAP)
        other = self.scene.beside()

        def close_beside(orders: Sequence[Order]) -> None:
            self.venue.on_submit = None
            closing.close(other.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())

        self.venue.on_submit = close_beside
        self.scene.tick(16)
        self.scene.ticks(10)
        self.assert_flat(position)
        self.assertEqual(1, sum(not order.reduce_only for order in self.venue.orders if order.slice_number == 2) // 2)
        other.store.close()

    def test_a_suspended_opening_is_ended_and_sold(self) -> None:
        position = self.scene.opened(twap=TWAP)
        (opening,) = self.scene.trades()
        working.suspend(self.scene.desk, opening, "odd")
        self.scene.close(position)
        self.assert_flat(position)

    def test_an_opening_that_has_not_begun_is_closed_with_nothing_filled(self) -> None:
        self.venue.reads_down = {"leverage"}
        position = self.scene.opened(leverage=2)
        closed = self.scene.close(position)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.NOT_FILLED), (closed.status, closed.exit_reason))
        self.assertEqual([], self.venue.sent)


class CancelTests(ClosingTestCase):
    def test_what_is_filled_stands_level(self) -> None:
        self.scene.execute(twap=TWAP)
        self.scene.tick(16)
        (trade,) = self.scene.trades()
        view = closing.cancel(self.scene.desk, trade.id)
        self.assertEqual("CANCELED", view.status)
        self.scene.ticks(60)
        self.assertEqual((Decimal("0.125"), Decimal("-0.005")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.assertIs(PositionStatus.OPEN, self.scene.position(trade.terms.position_id).status)

    def test_a_cancel_in_doubt_is_met_when_the_doubt_is_gone(self) -> None:
        self.venue.script(fine(), late(20, told_after=20))
        self.scene.execute(twap=TWAP)
        self.scene.tick(16)
        (trade,) = self.scene.trades()
        self.assertEqual("WORKING", closing.cancel(self.scene.desk, trade.id).status)
        self.scene.ticks(20)
        (trade,) = self.scene.trades()
        self.assertIs(TradeStatus.CANCELED, trade.status)
        self.assertEqual(2, len(self.venue.sent))

    def suspended_with_one_leg(self, share: str = "1") -> Position:
        """ETH filled, BTC not, and neither to be completed nor to be taken back, until it was given up."""
        self.venue.script(partly(ETH=share, BTC="0"))
        refusals = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.MARGIN}
        self.venue.on_submit = lambda orders: self.venue.refusing.update(refusals if self.venue.sent else {})
        position = self.scene.opened()
        self.scene.ticks(120)
        self.assertIs(TradeStatus.SUSPENDED, self.scene.trade(position.trade_id).status)
        self.venue.on_submit = None
        self.venue.refusing.clear()
        return position

    def test_a_venue_that_hangs_keeps_nobody_waiting_who_cancels(self) -> None:
        self.venue.script(unknown_for(30))
        trade_id = self.scene.execute().position.trade_id
        self.venue.on_read = lambda name: self.scene.hands.hang() if name == "reports" else None
        began = self.scene.clock.monotonic()
        self.assertEqual("WORKING", closing.cancel(self.scene.desk, TradeId(trade_id)).status)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.assertTrue(self.scene.trade(TradeId(trade_id)).cancel_wanted)
        self.venue.on_read = None
        self.scene.hands.release()

    def test_nor_who_lets_what_was_suspended_go_on(self) -> None:
        """Its legs are levelled at once: with three seconds a call the answer came after twenty."""
        position = self.suspended_with_one_leg()
        self.venue.on_submit = lambda _: self.scene.hands.hang()
        began = self.scene.clock.monotonic()
        self.assertEqual("REPAIRING", closing.resume(self.scene.desk, position.trade_id).status)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.venue.on_submit = None
        self.scene.hands.release()
        self.scene.ticks(70)
        self.assertFalse(self.scene.trade(position.trade_id).live)
        self.assertEqual((0, 0), (self.venue.held("ETH"), self.venue.held("BTC")))

    def test_what_was_suspended_with_its_legs_apart_is_closed_when_it_is_canceled(self) -> None:
        position = self.suspended_with_one_leg()
        self.assertEqual((Decimal("0.25"), 0), (self.venue.held("ETH"), self.venue.held("BTC")))
        view = closing.cancel(self.scene.desk, position.trade_id)
        self.assertEqual("CANCELED", view.status)
        after = self.scene.position(position.id)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.REPAIR), (after.status, after.exit_reason))
        self.assertTrue(self.venue.flat)

    def test_one_that_closes_what_it_leaves_is_answered_in_time_all_the_same(self) -> None:
        position = self.suspended_with_one_leg()
        self.venue.script(unknown_for(60))
        self.venue.delay_seconds = {"quotes": 2.0}
        began = self.scene.clock.monotonic()
        closing.cancel(self.scene.desk, position.trade_id)
        self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.assertLess(self.scene.clock.monotonic() - began, closing.ANSWER_SECONDS + 1)

    def test_what_was_suspended_level_stands_when_it_is_canceled(self) -> None:
        position = self.scene.opened(twap=TWAP)
        working.suspend(self.scene.desk, self.scene.trade(position.trade_id), "odd")
        closing.cancel(self.scene.desk, position.trade_id)
        self.assertFalse(closing.left_unlevel(self.scene.trade(position.trade_id)))
        self.assertIs(PositionStatus.OPEN, self.scene.position(position.id).status)

    def test_what_ended_without_a_suspension_is_never_called_unlevel(self) -> None:
        position = self.scene.opened()
        self.assertFalse(closing.left_unlevel(self.scene.trade(position.trade_id)))

    def test_an_ended_trade_is_answered_as_it_is_and_a_close_is_never_cancelled(self) -> None:
        position = self.scene.opened()
        opening = self.scene.trade(position.trade_id)
        self.assertEqual("FILLED", closing.cancel(self.scene.desk, opening.id).status)
        self.venue.script(unknown_for(30))
        closing_id = self.scene.close(position).closing_trade_id
        assert closing_id is not None
        with self.assertRaises(InvalidRequest):
            closing.cancel(self.scene.desk, closing_id)


class LeftUnlevelTests(unittest.TestCase):
    SUSPENDED, RESUMED = TradeSuspended(after(2), "odd"), TradeResumed(after(2), "on request")

    def is_left_unlevel(self, long: str, short: str, *events: Event) -> bool:
        """Of an opening filled to these parts, after *events* and a cancel."""
        trade = given_a_working_trade()
        reports = [given_report(one, part, after(1)) for one, part in zip(trade.orders, (long, short), strict=True)]
        for event in (OrdersReported(after(1), tuple(reports)), *events, TradeCanceled(after(3), "on request")):
            trade = record(trade, event)
        return closing.left_unlevel(trade)

    def test_a_twentieth_of_a_leg_may_stay_whichever_is_ahead(self) -> None:
        for long, short, unlevel in (("0.95", "0.9", False), ("0.96", "0.9", True), ("0.9", "0.96", True)):
            with self.subTest(long=long, short=short):
                self.assertIs(unlevel, self.is_left_unlevel(long, short, self.SUSPENDED))

    def test_only_what_was_suspended_when_it_was_canceled(self) -> None:
        self.assertFalse(self.is_left_unlevel("1", "0.5"))
        self.assertFalse(self.is_left_unlevel("1", "0.5", self.SUSPENDED, self.RESUMED))
        self.assertTrue(self.is_left_unlevel("1", "0.5", self.SUSPENDED, self.RESUMED, self.SUSPENDED))

    def test_what_has_lost_a_leg_is_left_for_that(self) -> None:
        price, at = Price(Decimal(4000)), after(2)
        lost = LegLost(
            at, Coin("ETH"), Quantity(Decimal("0.1")), price, Usd(ZERO), at, "1", ExitReason.LIQUIDATION, "taken"
        )
        self.assertFalse(self.is_left_unlevel("1", "0.5", self.SUSPENDED, lost))


class ResumedTradeTests(ClosingTestCase):
    """A trade in doubt for so long that somebody was told."""

    def setUp(self) -> None:
        super().setUp()
        self.venue.script(unknown_for(400))
        self.position = self.scene.opened()
        self.scene.ticks(15, 10.0)

    @property
    def trade(self) -> Trade:
        return self.scene.trade(self.position.trade_id)

    def test_it_is_suspended_and_goes_on_by_itself_when_the_doubt_ends(self) -> None:
        self.assertIs(TradeStatus.SUSPENDED, self.trade.status)
        self.scene.ticks(30, 10.0)
        self.assertIs(TradeStatus.FILLED, self.trade.status)
        self.assertEqual(1, len(self.venue.sent))

    def test_somebody_may_let_it_go_on(self) -> None:
        view = closing.resume(self.scene.desk, self.trade.id)
        self.assertIn("TradeResumed", [type(event).__name__ for event in self.trade.events])
        self.assertEqual(1, len(self.venue.sent))
        # The doubt is as old as it was.
        self.assertEqual("SUSPENDED", view.status)

    def resumed_in_doubt_for(self, seconds: float) -> str:
        """The answer to a resume of what was suspended with its orders in doubt for so many seconds more."""
        self.venue.script(unknown_for(entry.ANSWER_SECONDS + seconds))
        position = self.scene.opened("signal_2", pair="SOL/AVAX")
        working.suspend(self.scene.desk, self.scene.trade(position.trade_id), "odd")
        return closing.resume(self.scene.desk, position.trade_id).status

    def test_a_doubt_that_ends_while_the_answer_is_awaited_is_waited_for(self) -> None:
        self.assertEqual("FILLED", self.resumed_in_doubt_for(closing.ANSWER_SECONDS - 2))

    def test_a_doubt_that_does_not_end_is_answered_in_time(self) -> None:
        self.assertEqual("WORKING", self.resumed_in_doubt_for(closing.ANSWER_SECONDS + 2))

    def test_what_is_not_suspended_is_not_resumed(self) -> None:
        self.scene.ticks(30, 10.0)
        with self.assertRaises(TradeNotSuspended):
            closing.resume(self.scene.desk, self.trade.id)
        same = working.resume_suspended(self.scene.desk, self.trade.id, "again", wait_seconds=0)
        self.assertIs(TradeStatus.FILLED, same.status)


class ResidueTests(ClosingTestCase):
    def test_a_residue_beside_what_others_hold_is_left_to_them_after_a_minute(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", "1")
        self.venue.script(partly(ETH="0.996"))
        self.scene.close(position)
        self.scene.ticks(50)
        self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.scene.ticks(20)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)
        self.assertEqual(Decimal("1.001"), self.venue.held("ETH"))

    def test_a_minute_after_its_last_order_however_long_it_has_been_closing(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", "1")
        self.venue.shares = {"ETH": Decimal(0)}
        self.scene.close(position)
        self.scene.ticks(70)
        self.venue.shares = {"ETH": Decimal("0.996")}
        self.scene.ticks(6)
        self.assertEqual(Decimal("1.001"), self.venue.held("ETH"))
        self.scene.ticks(50)
        self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.scene.ticks(20)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)

    def test_a_residue_that_is_all_there_is_goes_out(self) -> None:
        position = self.scene.opened()
        self.venue.script(partly(ETH="0.996"))
        self.scene.close(position)
        self.scene.ticks(2)
        self.assertTrue(self.venue.flat)


class SharedCoinTests(ClosingTestCase):
    """BTC/ETH and SOL/ETH with the ETH long in both."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.scene.opened()
        self.second = self.scene.opened("signal_2", pair="SOL/ETH")

    def test_a_close_sells_its_own_part_only(self) -> None:
        self.assertEqual(Decimal("0.5"), self.venue.held("ETH"))
        self.scene.close(self.first)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.OPEN, self.scene.position(self.second.id).status)
        self.scene.close(self.second)
        self.assertTrue(self.venue.flat)

    def test_a_lost_answer_of_a_close_sells_nothing_of_the_other(self) -> None:
        for fault in (lost_after(), unknown_for(5), late(3), partly(ETH="0.3")):
            with self.subTest(fault=fault):
                self.setUp()
                self.venue.script(fault)
                self.scene.close(self.first)
                self.scene.ticks(20)
                self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
                self.assertIs(PositionStatus.CLOSED, self.scene.position(self.first.id).status)

    def test_a_holding_that_is_less_than_the_book_says_is_the_others_first(self) -> None:
        self.venue.hold("ETH", "-0.1")
        self.scene.close(self.first)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))

    def test_what_other_hands_took_of_a_coin_that_stays_with_others_is_written_off_after_a_minute(self) -> None:
        self.venue.hold("ETH", "-0.1")
        self.scene.close(self.first)
        self.scene.ticks(50)
        self.assertIs(PositionStatus.CLOSING, self.scene.position(self.first.id).status)
        self.scene.ticks(20)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(self.first.id).status)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.OPEN, self.scene.position(self.second.id).status)

    def test_where_both_close_what_other_hands_took_is_missing_to_the_last(self) -> None:
        self.venue.hold("ETH", "-0.4")
        self.scene.close(self.first)
        self.scene.close(self.second)
        self.scene.ticks(30)
        self.assertTrue(self.venue.flat)
        self.assertEqual(
            [PositionStatus.CLOSED] * 2, [self.scene.position(one.id).status for one in (self.first, self.second)]
        )

    def test_a_coin_that_other_hands_turned_round_is_gone_and_not_waited_for(self) -> None:
        self.scene.close(self.second)
        self.venue.hold("ETH", "-0.4")
        self.scene.close(self.first)
        self.scene.ticks(30)
        self.assertEqual(Decimal("-0.15"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(self.first.id).status)

    def test_a_residue_under_the_minimum_leaves_with_the_last_sharer(self) -> None:
        self.venue.script(partly(ETH="0.996"))
        self.scene.close(self.first)
        self.assertEqual(Decimal("0.251"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSING, self.scene.position(self.first.id).status)
        self.scene.close(self.second)
        self.scene.ticks(2)
        self.assertTrue(self.venue.flat)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(self.first.id).status)


class SharedDoubtTests(ClosingTestCase):
    def test_a_close_in_doubt_leaves_what_another_opening_in_doubt_may_have_bought(self) -> None:
        """Only the second opening landed; the first position must not sell it as its own."""
        self.venue.script(lost_before(), unknown_for(60))
        first = self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/ETH")
        self.scene.close(first)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.scene.ticks(70)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(first.id).status)

    def test_what_is_known_to_be_held_is_sold_whatever_others_doubt(self) -> None:
        first = self.scene.opened()
        self.venue.script(lost_before())
        self.scene.opened("signal_2", pair="SOL/ETH")
        self.scene.close(first)
        self.assertTrue(self.venue.flat)

    def test_what_a_person_held_before_is_not_taken_for_what_may_have_been_bought(self) -> None:
        for fault, taken in ((lost_before(), "0"), (unknown_for(60), "0.25"), (unknown_for(60, ETH="0.4"), "0.1")):
            with self.subTest(fault=fault):
                self.setUp()
                self.venue.hold("ETH", "0.3")
                self.venue.script(fault)
                position = self.scene.opened()
                self.assertEqual(self.scene.trade(position.trade_id).terms.long.beside, Decimal("0.3"))
                self.scene.close(position)
                self.assertEqual(Decimal("0.3"), self.venue.held("ETH"))
                self.assertEqual(Decimal(taken), sum(self.taken_at_once("ETH"), Decimal(0)))
                self.scene.ticks(70)
                self.assertEqual(Decimal("0.3"), self.venue.held("ETH"))
                self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)

    def taken_at_once(self, coin: str) -> list[Decimal]:
        return [order.quantity for order in self.venue.orders if order.reduce_only and order.coin == coin]

    def test_what_was_accepted_as_somebody_else_s_is_theirs_as_long_as_ours_is_in_doubt(self) -> None:
        self.venue.script(fine(), lost_before())
        position = self.scene.opened(twap=TWAP)
        self.venue.hold("ETH", "1")
        emergency.resume(self.scene.desk, [Coin("ETH")])
        self.assertEqual({"ETH": Decimal(1)}, self.scene.store.state().accepted_drift)
        self.scene.tick(16)
        self.assertTrue(self.scene.trade(position.trade_id).in_doubt)
        self.scene.close(position)
        self.assertEqual(Decimal(1), self.venue.held("ETH"))
        self.scene.ticks(70)
        self.assertEqual(Decimal(1), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)

    def test_what_is_known_to_be_held_goes_whatever_a_person_held_before(self) -> None:
        self.venue.hold("ETH", "0.3")
        position = self.scene.opened()
        self.venue.hold("ETH", "-0.3")
        self.scene.close(position)
        self.assertTrue(self.venue.flat)

    def test_what_other_positions_hold_of_a_coin_is_nobody_else_s(self) -> None:
        self.scene.opened()
        second = self.scene.opened("signal_2", pair="SOL/ETH")
        self.assertEqual({Decimal(0)}, {leg.beside for leg in self.scene.trade(second.trade_id).terms.legs})
        self.venue.hold("ETH", "0.1")
        third = self.scene.opened("signal_3", pair="AVAX/ETH")
        self.assertEqual(Decimal("0.1"), self.scene.trade(third.trade_id).terms.long.beside)

    def test_what_another_sold_after_the_account_was_read_is_not_taken_for_what_is_in_doubt(self) -> None:
        """Seed 2013: the account still showed it, the book no more, so that it seemed to be ours."""
        second = self.scene.opened("signal_2", pair="SOL/ETH")
        self.scene.opened("signal_3", pair="AVAX/ETH")
        self.venue.script(lost_before())
        first = self.scene.opened()
        real = self.venue.account

        def before_it_is_sold() -> Account:
            account = real()
            self.venue.account = real  # type: ignore[method-assign]
            self.scene.close(second)
            return account

        self.venue.account = before_it_is_sold  # type: ignore[method-assign]
        self.scene.close(first)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(second.id).status)

    def test_a_trim_in_doubt_beside_a_close_takes_nothing_of_the_other_position(self) -> None:
        second = self.scene.opened("signal_2", pair="SOL/ETH")
        self.venue.script(refused(BTC=RejectReason.MARGIN), late(4))
        first = self.scene.opened()
        self.scene.close(first)
        self.scene.ticks(30)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(first.id).status)
        self.assertIs(PositionStatus.OPEN, self.scene.position(second.id).status)

    def test_a_close_beside_a_trim_that_is_still_on_its_way_leaves_that_part_to_the_trim(self) -> None:
        second = self.scene.opened("signal_2", pair="SOL/ETH")
        other = self.scene.beside()

        def close_beside() -> None:
            (opening,) = [one for one in other.trades() if one.live]
            self.assertTrue(opening.in_doubt[0].reduce_only)
            self.scene.clock.on_sleep = None
            closing.close(other.desk, opening.terms.position_id, ExitReason.MANUAL, until=0)
            self.assertEqual(Decimal("0.5"), self.venue.held("ETH"))

        self.scene.clock.on_sleep = close_beside
        self.venue.script(refused(BTC=RejectReason.MARGIN), late(4.9))
        first = self.scene.opened()
        self.scene.ticks(30)
        self.assertEqual(Decimal("0.25"), self.venue.held("ETH"))
        self.assertIs(PositionStatus.CLOSED, self.scene.position(first.id).status)
        self.assertIs(PositionStatus.OPEN, self.scene.position(second.id).status)
        other.store.close()


class GoneTests(ClosingTestCase):
    def test_a_holding_that_other_hands_took_ends_the_close_when_the_venue_says_so_twice(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", str(-self.venue.held("ETH")))
        self.venue.hold("BTC", str(-self.venue.held("BTC")))
        now = self.scene.clock.monotonic()
        before = closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=now)
        self.assertIs(PositionStatus.CLOSING, before.status)
        self.scene.ticks(8)
        after = self.scene.position(position.id)
        self.assertIs(PositionStatus.CLOSED, after.status)
        self.assertTrue(self.venue.flat)
        (close,) = self.scene.desk.store.book().trades_of_position(position.id)[1:]
        self.assertEqual({"BTC", "ETH"}, {one.coin for one in close.gone})
        self.assertFalse(close.anything_filled)

    def test_one_leg_gone_leaves_the_other_to_be_closed_ordinarily(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", str(-self.venue.held("ETH")))
        self.scene.close(position)
        self.scene.ticks(8)
        after = self.scene.position(position.id)
        self.assertIs(PositionStatus.CLOSED, after.status)
        self.assertEqual((Decimal(0), Decimal(0)), (after.long.held, after.short.held))
        self.assertTrue(self.venue.flat)
        self.assertEqual(1, len(self.scene.log.messages("error")))

    def test_the_refusal_of_one_leg_is_no_witness_for_the_other(self) -> None:
        """The account shows neither, and was told to reduce one in vain: the other is still there."""
        self.scene, self.venue = a_bent_scene(self)
        position = self.scene.opened()
        self.venue.hold("BTC", "0.01")
        self.venue.bend_account = lambda account: replace(account, holdings={})
        self.venue.script(partly(ETH="0"))
        self.scene.close(position)
        self.scene.ticks(8)
        self.assertTrue(self.venue.flat)
        (close,) = self.scene.desk.store.book().trades_of_position(position.id)[1:]
        self.assertEqual(["BTC"], [one.coin for one in close.gone])

    def test_an_account_that_reads_empty_once_is_not_believed(self) -> None:
        position = self.scene.opened()
        held = {coin: self.venue.held(coin) for coin in ("BTC", "ETH")}
        for coin, quantity in held.items():
            self.venue.hold(coin, str(-quantity))
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        for coin, quantity in held.items():
            self.venue.hold(coin, str(quantity))
        self.scene.ticks(8)
        (close,) = self.scene.desk.store.book().trades_of_position(position.id)[1:]
        self.assertEqual((), close.gone)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)
        self.assertTrue(self.venue.flat)


if __name__ == "__main__":
    unittest.main()
