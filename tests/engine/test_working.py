"""Sending and saving: what is on disk before and after every submit, and what a crash at any point leads to."""

import unittest
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

from tests.builders import given_terms
from tests.engine.scripted_venue import (
    Crash,
    Scene,
    a_scene,
    accepted,
    dies_after,
    dies_before,
    fine,
    late,
    lost_after,
    lost_before,
    partly,
    refused,
    unknown_for,
)
from trading.domain.desk_state import TradingState
from trading.domain.errors import Busy, CanceledByHand, InvariantBroken, TradingHalted, VenueRejected
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.positions import PositionStatus
from trading.domain.trades import (
    CancelWanted,
    LegLost,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    Trade,
    TradeStatus,
    record,
)
from trading.domain.units import Coin, Price, Quantity, Usd
from trading.engine import closing, working
from trading.engine.entry import Outcome
from trading.engine.playbook import Note
from trading.engine.requests import Execution, TwapRequest

ETH, BTC = Coin("ETH"), Coin("BTC")
FULL = Decimal("0.25")


class WorkingTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene = a_scene(self)
        self.venue = self.scene.venue

    def only_trade(self, scene: Scene | None = None) -> Trade:
        (trade,) = (scene or self.scene).trades()
        return trade

    def assert_book_is_truth(self, scene: Scene | None = None) -> None:
        """What the book holds is what the venue holds, coin by coin."""
        book = (scene or self.scene).desk.store.book()
        held: dict[str, Decimal] = {"ETH": Decimal(0), "BTC": Decimal(0), "SOL": Decimal(0), "AVAX": Decimal(0)}
        for position in book.positions():
            for leg in position.legs:
                held[leg.coin] += leg.held * leg.side.sign
        self.assertEqual({coin: self.venue.held(coin) for coin in held}, held)

    def assert_sent_once(self) -> None:
        ids = [order.client_order_id for order in self.venue.orders]
        self.assertEqual(len(set(ids)), len(ids))


class ToldTests(WorkingTestCase):
    def test_what_stands_unmatched_is_told_of_the_trade_and_of_all(self) -> None:
        """Half of 1,000 USD of BTC is missing of the first, and half of 500 USD of AVAX of the second."""
        for signal_id, size, pair, coin in (("one", "2000", "BTC/ETH", "BTC"), ("two", "1000", "SOL/AVAX", "AVAX")):
            self.venue.script(partly(**{coin: "0.5"}), lost_before())
            self.scene.execute(signal_id, size, pair=pair)
        first, second = (one.facts for one in self.scene.log.entries if one.facts.get("event") == "LegsUnbalanced")
        for facts, own, in_all in ((first, 500, 500), (second, 250, 750)):
            for name, expected in (("naked_usd", own), ("naked_max_usd", own), ("naked_in_all_usd", in_all)):
                self.assertAlmostEqual(expected, Decimal(str(facts[name])), delta=1)

    def test_a_trade_that_was_never_uneven_says_nothing_of_that_and_why_it_ended_is_told(self) -> None:
        self.scene.execute()
        facts = [one.facts for one in self.scene.log.entries if one.facts.get("event") == "TradeFilled"]
        self.assertEqual([False], ["naked_usd" in one for one in facts])
        self.venue.refusing = {"SOL": RejectReason.MARGIN, "AVAX": RejectReason.MARGIN}
        self.assertRaises(VenueRejected, self.scene.execute, "two", pair="SOL/AVAX")
        (ended,) = [one.facts for one in self.scene.log.entries if one.facts.get("event") == "TradeRejected"]
        self.assertIn("MARGIN", str(ended["why"]))

    def test_each_slice_tells_its_price_against_the_slices_own_instants(self) -> None:
        self.scene.execute(size="3000", execution=Execution.TWAP, twap=TwapRequest(60, 3))
        self.scene.tick(20)
        lines = [one.facts for one in self.scene.log.entries if one.facts.get("event") == "SliceSent"]
        self.assertEqual([1, 2], [one["slices_done"] for one in lines])
        for facts in lines:
            self.assertAlmostEqual(Decimal(1), Decimal(str(facts["benchmark_bps"])), 2)


class DiskFirstTests(WorkingTestCase):
    def test_the_intent_is_on_disk_before_anything_is_submitted(self) -> None:
        seen: list[tuple[str, ...]] = []

        def look(orders: Sequence[Order]) -> None:
            beside = self.scene.beside()
            (trade,) = [one for one in beside.trades() if one.live]
            self.assertEqual(tuple(orders), trade.in_doubt)
            seen.append(tuple(order.coin for order in orders))
            beside.store.close()

        self.venue.on_submit = look
        position = self.scene.opened()
        self.scene.close(position)
        self.assertEqual([("ETH", "BTC"), ("ETH", "BTC")], seen)

    def test_the_answer_is_on_disk_before_the_next_thing_is_sent(self) -> None:
        self.venue.script(partly(BTC="0"))

        def look(orders: Sequence[Order]) -> None:
            beside = self.scene.beside()
            (trade,) = beside.trades()
            self.assertEqual(tuple(orders), trade.in_doubt)
            self.assertEqual(len(self.venue.orders), len(trade.reports))
            beside.store.close()

        self.venue.on_submit = look
        self.scene.execute()
        self.assertEqual(2, len(self.venue.sent))
        self.assert_book_is_truth()


class SlowDiskTests(WorkingTestCase):
    """The disk takes its time over the intent of an opening, and meanwhile the world goes on."""

    def while_written(self, happens: Callable[[], object], times: int = 1) -> None:
        """Let *happens* come to pass between each of the next intents and its submit."""
        store, left = self.scene.store, [happens] * times
        save = store.save

        def slowly(trade: Trade, *, durable: bool = True) -> Trade:
            if left and isinstance(trade.events[-1], OrdersIntended):
                left.pop()()
            return save(trade, durable=durable)

        self.enterContext(patch.object(store, "save", slowly))

    def test_an_opening_is_not_sent_past_an_emergency_stop(self) -> None:
        self.while_written(lambda: self.scene.enter_state(TradingState.LIQUIDATING))
        with self.assertRaises(TradingHalted):
            self.scene.execute()
        self.assertEqual(([], TradeStatus.CANCELED), (self.venue.sent, self.only_trade().status))

    def test_an_opening_is_not_sent_past_the_wish_to_cancel_it(self) -> None:
        other = self.scene.beside()
        self.while_written(lambda: working.want_cancel(other.desk, self.only_trade(other), "canceled on request"))
        with self.assertRaises(CanceledByHand):
            self.scene.execute()
        self.assertEqual(([], TradeStatus.CANCELED), (self.venue.sent, self.only_trade().status))

    def test_a_slice_is_not_sent_past_the_loss_of_a_leg(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        other, trade = self.scene.beside(), self.only_trade()
        at = self.scene.clock.now() + timedelta(seconds=16)
        part, price = Quantity(Decimal("0.01")), trade.terms.long.arrival_price
        lost = LegLost(at, Coin("ETH"), part, price, Usd(Decimal(0)), at, "1", ExitReason.LIQUIDATION, "taken")
        self.while_written(lambda: other.store.save(record(self.only_trade(other), lost)))
        self.scene.tick(16)
        self.assertEqual((1, 1), (len(self.venue.sent), len(self.only_trade().lost)))

    def test_an_opening_is_sent_at_prices_of_that_moment(self) -> None:
        def moves() -> None:
            self.scene.clock.advance(5)
            self.venue.move("ETH", "4004")

        self.while_written(moves)
        self.scene.execute()
        (sent,) = self.venue.sent
        self.assertEqual({1}, {one.attempt for one in sent})
        self.assertLess(self.scene.clock.now() - sent[0].intended_at, timedelta(seconds=2))
        self.assert_book_is_truth()

    def test_a_slice_that_was_not_sent_waits_for_no_interval(self) -> None:
        """It would be sent when the approval has lapsed, or not at all."""
        self.while_written(lambda: self.scene.clock.advance(3))
        self.scene.execute(twap=TwapRequest(180, 5))
        self.scene.ticks(2)
        self.assertEqual([{1}], [{one.slice_number for one in group} for group in self.venue.sent])
        self.scene.ticks(36)
        self.assertEqual(2, len(self.venue.sent))

    def test_a_disk_that_is_always_slow_opens_nothing(self) -> None:
        self.while_written(lambda: self.scene.clock.advance(5), 9)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.assertEqual([], self.venue.sent)

    def test_an_approval_that_has_lapsed_meanwhile_opens_nothing(self) -> None:
        """An intent of which nothing was sent is no use of it."""
        self.while_written(lambda: self.scene.clock.advance(31))
        with self.assertRaisesRegex(VenueRejected, "approval was not used"):
            self.scene.execute()
        self.assertEqual(([], TradeStatus.CANCELED), (self.venue.sent, self.only_trade().status))

    def test_a_close_is_sent_however_long_it_takes(self) -> None:
        position = self.scene.opened()
        self.while_written(lambda: self.scene.clock.advance(4))
        self.assertIs(PositionStatus.CLOSED, self.scene.close(position).status)


class CrashTests(WorkingTestCase):
    def test_a_crash_between_intent_and_submit_is_resolved_by_asking(self) -> None:
        self.venue.script(dies_before())
        with self.assertRaises(Crash):
            self.scene.execute()
        after = self.scene.reopened()
        self.assertEqual(2, len(self.only_trade(after).in_doubt))
        after.tick()
        self.assertEqual([], self.venue.sent)
        after.ticks(20)
        self.assertEqual(1, len(self.venue.sent))
        self.assertEqual({1}, {order.attempt for order in self.venue.orders})
        self.assert_book_is_truth(after)
        self.assertIs(TradeStatus.FILLED, self.only_trade(after).status)

    def test_a_crash_after_the_effect_is_resolved_by_asking_and_never_sent_twice(self) -> None:
        self.venue.script(dies_after())
        with self.assertRaises(Crash):
            self.scene.execute()
        after = self.scene.reopened()
        after.tick()
        self.assertEqual(1, len(self.venue.sent))
        self.assertIs(TradeStatus.FILLED, self.only_trade(after).status)
        self.assert_book_is_truth(after)
        self.assertIs(Outcome.REPEATED, after.execute().outcome)
        self.assertEqual(1, len(self.venue.sent))

    def test_a_crash_in_a_close_sells_nothing_twice(self) -> None:
        for fault in (dies_before(), dies_after()):
            with self.subTest(fault=fault.dies):
                self.setUp()
                position = self.scene.opened()
                self.venue.script(fault)
                with self.assertRaises(Crash):
                    self.scene.close(position)
                after = self.scene.reopened()
                after.ticks(15)
                self.assertTrue(self.venue.flat)
                self.assertIs(PositionStatus.CLOSED, after.position(position.id).status)
                self.assert_book_is_truth(after)

    def test_a_crash_with_one_leg_ahead_is_levelled_by_whoever_comes_next(self) -> None:
        self.venue.script(dies_after(BTC="0"))
        with self.assertRaises(Crash):
            self.scene.execute()
        after = self.scene.reopened()
        after.tick()
        self.assert_book_is_truth(after)
        self.assertEqual((FULL, Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))

    def test_a_trade_accepted_but_never_sent_is_canceled_when_its_approval_is_old(self) -> None:
        working.admit(self.scene.desk, given_terms(at=self.scene.clock.now()))
        self.scene.tick(31)
        self.assertEqual([], self.venue.sent)
        self.assertIs(TradeStatus.CANCELED, self.only_trade().status)
        self.assertIn("approval", self.only_trade().why)

    def test_a_trade_accepted_but_never_sent_goes_on_while_its_approval_is_young(self) -> None:
        working.admit(self.scene.desk, given_terms(at=self.scene.clock.now()))
        self.scene.tick(29)
        self.assertEqual(1, len(self.venue.sent))


class DoubtTests(WorkingTestCase):
    def test_a_lost_answer_is_unknown_asked_about_and_adopted(self) -> None:
        for fault in (lost_after(), unknown_for(3), accepted(2), late(2)):
            with self.subTest(fault=fault):
                self.setUp()
                self.venue.script(fault)
                answer = self.scene.execute()
                self.assertIs(Outcome.OPENED, answer.outcome)
                self.assertEqual(1, len(self.venue.sent))
                self.assert_book_is_truth()
                statuses = [e.reports[0].status for e in self.only_trade().events if isinstance(e, OrdersReported)]
                self.assertTrue(statuses[0].in_doubt)
                self.assertIs(OrderStatus.FILLED, statuses[-1])

    def test_a_request_that_never_arrived_is_sent_again_only_when_its_absence_is_proven(self) -> None:
        self.venue.script(lost_before())
        sent_at = self.scene.clock.now()
        answer = self.scene.execute()
        self.assertIs(Outcome.WORKING, answer.outcome)
        self.assertLessEqual(self.scene.clock.now() - sent_at, timedelta(seconds=9.5))
        while len(self.venue.sent) < 2:
            self.scene.tick()
        self.assertGreater(self.scene.clock.now() - sent_at, timedelta(seconds=15))
        self.assert_sent_once()
        self.assert_book_is_truth()
        self.assertEqual(FULL, self.venue.held("ETH"))

    def test_a_slice_that_never_arrives_is_sent_three_times_and_then_rejected(self) -> None:
        self.venue.script(*[lost_before()] * 5)
        self.scene.execute()
        self.scene.ticks(80)
        self.assertEqual(3, len(self.venue.sent))
        self.assertIs(TradeStatus.REJECTED, self.only_trade().status)
        self.assertTrue(self.venue.flat)
        with self.assertRaises(VenueRejected):
            self.scene.execute()

    def test_more_of_a_fill_is_news_also_while_an_order_is_in_doubt(self) -> None:
        """What is filled is the sum of fills, never a status: the exits watch it from then on."""
        self.venue.script(unknown_for(1000))
        self.scene.execute()
        part, price = Quantity(Decimal("0.1")), Price(Decimal(4000))

        def told(orders: Sequence[Order]) -> tuple[OrderReport, ...]:
            now = self.scene.clock.now()
            return tuple(
                OrderReport(one.client_order_id, OrderStatus.ACCEPTED, now, part, price)
                if one.coin == ETH
                else OrderReport(one.client_order_id, OrderStatus.UNKNOWN, now)
                for one in orders
            )

        with patch.object(self.venue, "reports", told):
            self.scene.tick()
        trade = self.only_trade()
        self.assertEqual((part, 2), (trade.filled(ETH), len(trade.in_doubt)))

    def test_a_doubt_that_changes_its_name_is_no_news_and_no_endless_work(self) -> None:
        self.venue.script(unknown_for(1000))
        self.scene.execute()
        before = len(self.only_trade().events)
        honest, flips = self.venue.reports, [OrderStatus.ACCEPTED, OrderStatus.UNKNOWN]

        def flipping(orders: Sequence[Order]) -> tuple[OrderReport, ...]:
            flips.reverse()
            return tuple(OrderReport(one.client_order_id, flips[0], self.scene.clock.now()) for one in orders)

        self.venue.reports = flipping  # type: ignore[method-assign]  # a venue whose nodes disagree
        self.scene.ticks(10)
        self.assertEqual(before, len(self.only_trade().events))
        self.venue.reports = honest  # type: ignore[method-assign]  # and agree again

    def test_reports_that_cannot_be_read_leave_the_trade_where_it_is(self) -> None:
        self.venue.script(lost_after())
        self.venue.reads_down = {"reports"}
        self.assertIs(Outcome.WORKING, self.scene.execute().outcome)
        self.venue.reads_down = set()
        self.scene.tick()
        self.assertIs(TradeStatus.FILLED, self.only_trade().status)
        self.assertEqual(1, len(self.venue.sent))

    def test_enquiries_grow_rarer_while_an_answer_is_awaited(self) -> None:
        self.venue.script(unknown_for(60))
        self.scene.execute()
        self.assertLess(self.venue.calls.count("reports"), 20)
        self.assertEqual(sorted(self.scene.clock.slept[:-1]), self.scene.clock.slept[:-1])

    def test_a_word_that_takes_back_a_fill_is_a_broken_invariant(self) -> None:
        self.venue.script(fine())
        self.scene.execute()
        trade = self.only_trade()
        shrunk = OrderReport(trade.orders[0].client_order_id, OrderStatus.FILLED, self.scene.clock.now())
        with self.assertRaises(InvariantBroken):
            record(trade, OrdersReported(self.scene.clock.now(), (shrunk,)))


class RepairTests(WorkingTestCase):
    def test_a_leg_that_finds_no_match_is_completed(self) -> None:
        self.venue.script(partly(BTC="0.3"))
        self.scene.execute()
        self.assertEqual((FULL, Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.assert_book_is_truth()

    def test_a_leg_that_cannot_be_had_is_trimmed_and_nothing_is_left(self) -> None:
        self.venue.script(refused(BTC=RejectReason.MARGIN))
        answer = self.scene.execute()
        self.assertIs(PositionStatus.CLOSED, answer.position.status)
        self.assertTrue(self.venue.flat)
        self.assertEqual([False, False, True], [order.reduce_only for order in self.venue.orders])
        self.assertEqual("REPAIR", answer.position.exit_reason)

    def test_a_completion_in_doubt_holds_everything_until_it_is_known(self) -> None:
        self.venue.script(partly(BTC="0"), late(3))
        self.scene.execute()
        self.assertEqual((FULL, Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))
        self.assert_book_is_truth()
        self.assertEqual(2, len(self.venue.sent))

    def test_a_halt_between_two_slices_stops_the_opening(self) -> None:
        for state in (TradingState.REDUCING, TradingState.LIQUIDATING, TradingState.HALTED):
            with self.subTest(state=state):
                self.setUp()
                self.scene.execute(twap=TwapRequest(60, 4))
                self.scene.enter_state(state)
                self.scene.tick(16)
                self.assertEqual(1, len(self.venue.sent))
                self.assertIs(TradeStatus.CANCELED, self.only_trade().status)
                self.assert_book_is_truth()

    def test_a_halt_while_the_world_is_looked_at_stops_the_send(self) -> None:
        def halt(name: str) -> None:
            if name == "leverage":
                self.scene.enter_state(TradingState.LIQUIDATING)

        self.venue.on_read = halt
        with self.assertRaises(TradingHalted):
            self.scene.execute()
        self.assertEqual([], self.venue.sent)

    def test_a_close_goes_on_at_its_pace_though_the_clock_was_set_back(self) -> None:
        position = self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.scene.close(position)
        self.scene.ticks(12)
        for restarts in (False, True):
            with self.subTest(restarts=restarts):
                if restarts:
                    self.scene = self.scene.reopened()
                    self.scene.desk.overtaken.clear()
                sent = len(self.venue.sent)
                self.scene.clock.instant -= timedelta(hours=1)
                self.scene.ticks(21)
                self.assertIn(len(self.venue.sent) - sent, (3, 4))
        self.venue.refusing = {}
        self.scene.ticks(6)
        self.assertTrue(self.venue.flat)

    def set_clock_back(self, *_: object) -> None:
        self.scene.clock.instant -= timedelta(hours=1)
        self.venue.on_submit = None

    def test_a_leg_that_runs_ahead_is_taken_back_though_the_clock_was_set_back(self) -> None:
        """It stood alone for as long as the step was."""
        self.venue.refusing, self.venue.on_submit = {"BTC": RejectReason.NO_MATCH}, self.set_clock_back
        self.scene.execute()
        self.scene.ticks(3)
        self.assertTrue(self.venue.flat)
        self.assertFalse(self.only_trade().live)
        self.assertEqual({}, self.scene.desk.overtaken)

    def test_an_approval_lapses_though_the_clock_was_set_back(self) -> None:
        """The first slice went out when the clock had caught up, by what was approved an hour before."""
        self.venue.reads_down = {"leverage"}
        self.scene.execute()
        self.venue.reads_down = set()
        self.set_clock_back()
        self.scene.ticks(32)
        self.assertEqual(([], TradeStatus.CANCELED), (self.venue.sent, self.only_trade().status))

    def test_a_schedule_that_waits_for_the_clock_is_given_up_in_time(self) -> None:
        self.scene.execute(twap=TwapRequest(180, 5))
        self.set_clock_back()
        self.scene.ticks(350)
        self.assertEqual((1, TradeStatus.WORKING), (len(self.venue.sent), self.only_trade().status))
        self.scene.ticks(20)
        self.assertEqual((1, TradeStatus.CANCELED), (len(self.venue.sent), self.only_trade().status))

    def test_a_doubt_is_told_of_in_time_though_the_clock_was_set_back(self) -> None:
        self.venue.script(unknown_for(10_000))
        self.scene.execute()
        self.set_clock_back()
        self.scene.ticks(140)
        self.assertIs(TradeStatus.SUSPENDED, self.only_trade().status)

    def test_a_halt_while_it_is_asked_whether_an_absent_order_landed_stops_the_next(self) -> None:
        """Seed 921432: the account was read after the decision, and took eight seconds, in which somebody stopped."""

        def halts(*_: object) -> bool:
            self.scene.enter_state(TradingState.LIQUIDATING)
            return False

        self.venue.script(fine(), lost_before())
        self.scene.execute(twap=TwapRequest(60, 4))
        self.scene.ticks(20)
        self.assertEqual(2, len(self.venue.sent))
        with patch.object(working, "_may_have_landed", halts):
            self.scene.ticks(20)
        self.assertEqual(2, len(self.venue.sent))
        self.assertIs(TradeStatus.CANCELED, self.only_trade().status)

    def test_what_is_sent_for_an_absent_order_is_dated_after_the_account_was_read(self) -> None:
        self.venue.script(lost_before())
        self.scene.execute()
        self.venue.delay_seconds = {"account": 3.0}
        sent_at = []
        self.venue.on_submit = lambda orders: sent_at.append(self.scene.clock.now())
        self.scene.ticks(20)
        self.assertEqual(1, len(sent_at))
        self.assertLess(sent_at[0] - self.venue.orders[-1].intended_at, timedelta(seconds=1))

    def test_a_twap_reaches_its_size_and_ends(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        self.assertEqual(1, len(self.venue.sent))
        self.scene.ticks(60)
        self.assertEqual(4, len(self.venue.sent))
        self.assertIs(TradeStatus.FILLED, self.only_trade().status)
        self.assertEqual((FULL, Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))

    def test_a_twap_in_the_middle_goes_on_in_another_process(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        after = self.scene.reopened()
        after.ticks(60)
        self.assertEqual(4, len(self.venue.sent))
        self.assert_book_is_truth(after)

    def test_a_long_sleep_is_not_followed_by_a_burst(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        self.scene.tick(50)
        self.scene.tick(0.1)
        self.assertEqual(2, len(self.venue.sent))

    def test_a_stale_quote_holds_a_slice_back(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        self.venue.quotes_age = {"ETH": 2.5}
        self.scene.tick(16)
        self.assertEqual(1, len(self.venue.sent))
        self.venue.quotes_age = {}
        self.scene.tick(1)
        self.assertEqual(2, len(self.venue.sent))

    def test_an_order_is_dated_after_the_reads_that_took_their_time(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        self.venue.delay_seconds = {"instruments": 3.0}
        due = self.scene.clock.now() + timedelta(seconds=15)
        self.scene.tick(16)
        order = self.venue.orders[-1]
        self.assertGreaterEqual(order.intended_at, due + timedelta(seconds=4))
        self.assertEqual(order.intended_at + timedelta(seconds=10), order.expires_at)


class AbsentTests(WorkingTestCase):
    """The venue says that it has never seen an order. What the account holds may say otherwise."""

    def accept(self, theirs: dict[Coin, Quantity]) -> None:
        self.scene.store.change_state(lambda state: replace(state, accepted_drift=theirs))

    def sent_again(self) -> bool:
        self.scene.ticks(20)
        return len(self.venue.sent) > 1

    def test_nothing_is_sent_in_its_place_while_the_account_holds_more_than_is_explained(self) -> None:
        """It would be the same exposure once more; what is held is drift, and somebody has to look."""
        for coin, quantity in (("ETH", "0.25"), ("BTC", "-0.01"), ("ETH", "0.0001")):
            with self.subTest(coin=coin, quantity=quantity):
                self.setUp()
                self.venue.script(lost_before())
                self.scene.execute()
                self.venue.hold(coin, quantity)
                self.assertFalse(self.sent_again())
                self.venue.hold(coin, str(-Decimal(quantity)))
                self.assertTrue(self.sent_again())

    def test_nor_while_the_account_cannot_be_read(self) -> None:
        self.venue.script(fine(), lost_before())
        self.scene.execute(twap=TwapRequest(60, 4))
        self.scene.ticks(16)
        self.venue.reads_down = {"account"}
        self.scene.ticks(25)
        self.assertEqual(2, len(self.venue.sent))
        self.venue.reads_down = set()
        self.scene.ticks(5)
        self.assertEqual(3, len(self.venue.sent))

    def test_what_was_there_before_or_is_anothers_explains_itself(self) -> None:
        others = {"the long of another": "SOL/ETH", "the short of another": "BTC/SOL"}
        for what in ("beside it", "accepted", "on the other side", *others):
            with self.subTest(what):
                self.setUp()
                if what in others:
                    self.scene.opened("other", pair=others[what])
                    self.venue.sent.clear()
                if what == "beside it":
                    self.venue.hold("ETH", "1")
                    self.venue.hold("BTC", "-0.1")
                self.venue.script(lost_before())
                self.scene.execute()
                if what == "accepted":
                    self.venue.hold("ETH", "0.5")
                    self.accept({ETH: Quantity(Decimal("0.5"))})
                if what == "on the other side":
                    self.venue.hold("ETH", "-0.5")
                self.assertTrue(self.sent_again())


class LeverageTests(WorkingTestCase):
    def test_leverage_is_set_before_the_first_order_and_only_where_it_differs(self) -> None:
        self.venue.leverages = {ETH: 2}

        def look(orders: Sequence[Order]) -> None:
            self.assertEqual({ETH: 2, BTC: 2}, self.venue.leverages)

        self.venue.on_submit = look
        self.scene.execute(leverage=2)
        self.assertEqual([(BTC, 2)], self.venue.leverage_calls)

    def test_a_refused_leverage_cancels_and_sends_nothing(self) -> None:
        self.venue.leverage_refused = {"BTC": "too much"}
        with self.assertRaises(VenueRejected) as caught:
            self.scene.execute(leverage=2)
        self.assertIn("too much", caught.exception.detail)
        self.assertEqual([], self.venue.sent)
        self.assertTrue(any("canceled" in word for word in self.scene.log.messages("warning")))

    def test_leverage_in_doubt_is_tried_again_and_sends_nothing_meanwhile(self) -> None:
        self.venue.reads_down = {"leverage"}
        self.assertIs(Outcome.WORKING, self.scene.execute(leverage=2).outcome)
        self.assertEqual([], self.venue.sent)
        self.venue.reads_down = set()
        self.scene.tick()
        self.assertEqual(1, len(self.venue.sent))

    def test_an_account_that_cannot_be_read_is_no_leverage_known(self) -> None:
        self.venue.reads_down = {"leverage"}
        self.scene.execute(leverage=2)
        self.venue.reads_down = {"account"}
        self.scene.tick()
        self.assertEqual(([], TradeStatus.PENDING), (self.venue.sent, self.only_trade().status))
        self.venue.reads_down = set()
        self.scene.tick()
        self.assertEqual(1, len(self.venue.sent))

    def test_after_a_slice_that_filled_nothing_the_leverage_is_looked_at_again(self) -> None:
        nothing = RejectReason.NO_MATCH
        self.venue.script(refused(BTC=nothing, ETH=nothing))
        self.scene.execute(twap=TwapRequest(60, 4), leverage=2)
        self.venue.leverages = {}
        self.venue.leverage_calls.clear()
        self.scene.ticks(16)
        self.assertEqual([(BTC, 2), (ETH, 2)], sorted(self.venue.leverage_calls))
        self.venue.leverage_calls.clear()
        self.scene.ticks(45)
        self.assertEqual([], self.venue.leverage_calls)

    def test_a_trade_whose_leverage_is_never_known_ends_with_its_approval(self) -> None:
        self.venue.reads_down = {"leverage"}
        self.scene.execute(leverage=2)
        self.scene.ticks(31)
        self.assertIs(TradeStatus.CANCELED, self.only_trade().status)


class WishTests(WorkingTestCase):
    def test_a_cancel_by_another_hand_while_the_world_is_looked_at_stops_the_next_send(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        other = self.scene.beside()

        def cancel(name: str) -> None:
            if name == "quotes" and not self.only_trade(other).cancel_wanted:
                working.want_cancel(other.desk, self.only_trade(other), "by another process")

        self.venue.on_read = cancel
        self.scene.tick(16)
        trade = self.only_trade()
        self.assertEqual((TradeStatus.CANCELED, "by another process"), (trade.status, trade.why))
        self.assertEqual(1, len(self.venue.sent))
        self.assert_book_is_truth()
        other.store.close()

    def test_a_wish_that_comes_while_orders_are_out_is_kept(self) -> None:
        other = self.scene.beside()

        def cancel(orders: Sequence[Order]) -> None:
            working.want_cancel(other.desk, self.only_trade(other), "by another process")

        self.venue.on_submit = cancel
        self.scene.execute(twap=TwapRequest(60, 4))
        self.venue.on_submit = None
        trade = self.only_trade()
        self.assertEqual(TradeStatus.CANCELED, trade.status)
        self.assertEqual(1, sum(isinstance(event, CancelWanted) for event in trade.events))
        self.assertEqual(1, len(self.venue.sent))
        other.store.close()

    def test_a_wish_about_a_trade_that_has_moved_on_is_written_after_what_happened(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        stale = self.only_trade()
        self.scene.tick(16)
        wished = working.want_cancel(self.scene.desk, stale, "late")
        self.assertEqual(("late", 2), (wished.cancel_wanted, len({one.slice_number for one in wished.orders})))

    def test_a_wish_that_is_repeated_writes_nothing(self) -> None:
        """Whoever asks again and again would make the ledger longer each time."""
        self.venue.script(lost_before())
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        once = working.want_cancel(self.scene.desk, self.only_trade(), "by hand")
        self.assertEqual(once, working.want_cancel(self.scene.desk, once, "by hand, again"))
        self.assertEqual(once, self.only_trade())

    def test_a_wish_that_never_finds_a_moment_is_busy(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        stale, store = self.only_trade(), self.scene.store

        class Racing:
            """A store in which somebody always writes first."""

            def save(self, trade: Trade) -> Trade:
                raise InvariantBroken("the stored trade has gone another way")

            def book(self) -> object:
                return store.book()

        racing = type(self.scene.desk)(
            **{name: getattr(self.scene.desk, name) for name in self.scene.desk.__slots__} | {"store": Racing()}
        )
        with self.assertRaises(Busy):
            working.want_cancel(racing, stale, "never")

    def test_an_ended_trade_needs_no_wish(self) -> None:
        self.scene.execute()
        trade = self.only_trade()
        self.assertIs(trade, working.want_cancel(self.scene.desk, trade, "late"))


class SuspensionTests(WorkingTestCase):
    def test_a_suspended_trade_is_left_alone_until_it_is_canceled(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        working.suspend(self.scene.desk, self.only_trade(), "odd")
        self.scene.ticks(70)
        self.assertEqual((TradeStatus.SUSPENDED, 1), (self.only_trade().status, len(self.venue.sent)))
        closing.cancel(self.scene.desk, self.only_trade().id)
        self.assertIs(TradeStatus.CANCELED, self.only_trade().status)
        self.assert_book_is_truth()

    def test_that_it_is_suspended_and_goes_on_is_told(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        trade = working.suspend(self.scene.desk, self.only_trade(), "odd")
        working.resume_suspended(self.scene.desk, trade.id, "looked at", wait_seconds=0)
        told = {str(one.facts.get("event")): str(one.facts.get("why")) for one in self.scene.log.entries}
        self.assertEqual(("odd", "looked at"), (told.get("TradeSuspended"), told.get("TradeResumed")))

    def test_suspending_twice_is_suspending_once(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        once = working.suspend(self.scene.desk, self.only_trade(), "odd")
        self.assertEqual(once, working.suspend(self.scene.desk, once, "odder"))

    def test_suspending_what_has_sent_nothing_cancels_it(self) -> None:
        trade = working.admit(self.scene.desk, given_terms())
        self.assertIs(TradeStatus.CANCELED, working.suspend(self.scene.desk, trade, "odd").status)

    def test_a_suspended_trade_is_at_rest(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        working.suspend(self.scene.desk, self.only_trade(), "odd")
        began = self.scene.clock.monotonic()
        working.work_if_free(self.scene.desk, self.only_trade().id, until=began + 9)
        self.assertEqual(began, self.scene.clock.monotonic())

    def test_what_never_comes_to_rest_is_a_broken_invariant(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        now = self.scene.clock.now()
        swings = [Note(LegsUnbalanced(now, Usd(Decimal(1)))), Note(LegsBalanced(now))] * working.STEPS_MAX
        with patch.object(working, "next_step", side_effect=swings), self.assertRaises(InvariantBroken):
            working.work(self.scene.desk, self.only_trade())

    def test_a_venue_that_is_slow_to_refuse_does_not_keep_a_close_in_one_hand_nor_suspend_it(self) -> None:
        position = self.scene.opened()
        self.venue.shares = {"ETH": Decimal(0), "BTC": Decimal(0)}
        self.venue.delay_seconds = {"submit": 6.0}
        self.scene.close(position)
        self.assertLessEqual(len(self.venue.sent), 1 + 2 * working.SENDS_MAX)
        self.venue.shares, self.venue.delay_seconds = {}, {}
        self.scene.ticks(6)
        self.assertTrue(self.venue.flat)

    def test_a_taken_seat_leaves_the_trade_as_it_stands(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        trade = self.only_trade()
        with self.scene.desk.store.seat(trade.id):
            self.scene.clock.advance(20)
            self.assertEqual(trade, working.work_if_free(self.scene.desk, trade.id))
        self.assertEqual(1, len(self.venue.sent))

    def test_what_another_hand_has_written_is_on_disk_before_it_is_told(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        trade = self.only_trade()
        with (
            self.scene.desk.store.seat(trade.id),
            patch.object(self.scene.store, "make_sure", wraps=self.scene.store.make_sure) as synced,
        ):
            working.work_if_free(self.scene.desk, trade.id)
        self.assertEqual(1, synced.call_count)


class AlertTests(WorkingTestCase):
    def test_a_close_that_does_not_get_through_is_an_error_in_the_log_and_goes_on(self) -> None:
        position = self.scene.opened()
        self.venue.shares = {"ETH": Decimal(0), "BTC": Decimal(0)}
        self.scene.close(position)
        self.assertGreaterEqual(len(self.venue.sent), 4)
        self.assertTrue(any("not through yet" in word for word in self.scene.log.messages("error")))
        sent = len(self.venue.sent)
        self.scene.ticks(60)
        self.assertIn(len(self.venue.sent) - sent, range(11, 14))
        self.venue.shares = {}
        self.scene.ticks(6)
        self.assertTrue(self.venue.flat)
        self.assert_book_is_truth()
        self.assertTrue(all(order.reduce_only for order in self.venue.orders[2:]))

    def test_intents_are_never_dated_before_what_came_earlier(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        self.scene.clock.advance(16)
        self.scene.tick(0)
        self.scene.clock.advance(-10)
        working.work_if_free(self.scene.desk, self.only_trade().id)
        instants = [event.at for event in self.only_trade().events]
        self.assertEqual(sorted(instants), instants)
        self.assertTrue(any(isinstance(event, OrdersIntended) for event in self.only_trade().events))


if __name__ == "__main__":
    unittest.main()
