"""Slices that cannot go, that catch up, that close: the schedule, and the rows of the playbook that keep it."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_trade,
    given_quote,
    given_report,
    given_slices,
)
from tests.engine.test_playbook import (
    ACTIVE,
    BTC,
    ETH,
    PlaybookTestCase,
    a_market,
    a_refusal,
    a_trade,
    a_working_trade,
    absent,
    filled,
    noted,
    sent,
)
from trading.domain.desk_state import TradingState
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import RejectReason, Side
from trading.domain.trades import (
    CloseHurried,
    HoldingGone,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    SliceSkipped,
    Trade,
    TradeCanceled,
    TradeFilled,
    TradeRejected,
    TradeStatus,
    record,
)
from trading.domain.units import ZERO, Quantity, TradeId, Usd
from trading.engine.playbook import CLOSE_BANDS, Market, Note, Policy, Send, Wait, next_step
from trading.engine.schedule import (
    CATCH_UP_MAX,
    Pace,
    average_price,
    due_times,
    filled_share,
    next_slice_due,
    pace_of,
    slices_done,
    slices_skipped,
)

AWAY = {"ETH": "4020"}
"""Half a percent above arrival: further than the 0.3 % that an entry may pay."""


class SkippedTests(PlaybookTestCase):
    """Slices 36 s apart."""

    def skipped(self, trade: Trade, market: Market) -> Trade:
        step = next_step(trade, market, ACTIVE)
        self.notes(step, SliceSkipped)
        return noted(trade, step)

    def sent_at(self, trade: Trade, seconds: float, prices: dict[str, str] | None = None) -> Trade:
        return filled(sent(trade, next_step(trade, a_market(after(seconds), prices), ACTIVE)))

    def test_a_slice_waits_while_its_interval_lasts_and_is_then_skipped(self) -> None:
        trade = filled(a_working_trade(slices=4))
        for seconds in (36, 71.9):
            self.waits(next_step(trade, a_market(after(seconds), AWAY), ACTIVE), "run away")
        trade = self.skipped(trade, a_market(after(72), AWAY))
        self.assertEqual((trade.skipped[0].number, slices_done(trade), slices_skipped(trade)), (2, 1, 1))
        self.assertIn("run away", trade.skipped[0].why)
        self.waits(next_step(trade, a_market(after(80), AWAY), ACTIVE), "run away")

    def test_what_it_missed_is_spread_over_the_rest_and_the_sum_is_exact(self) -> None:
        trade = self.skipped(filled(a_working_trade(slices=4)), a_market(after(72), AWAY))
        long, short = self.sends(next_step(trade, a_market(after(80)), ACTIVE))
        self.assertEqual((Decimal("0.0937"), 3), (long.quantity, long.slice_number))
        self.assertEqual(Decimal("0.0037"), short.quantity)
        trade = self.sent_at(trade, 80)
        trade = self.sent_at(trade, 116)
        self.assertEqual([leg.quantity for leg in trade.terms.legs], [trade.filled(ETH), trade.filled(BTC)])
        self.notes(next_step(trade, a_market(after(117)), ACTIVE), TradeFilled)
        self.assertEqual((slices_done(trade), slices_skipped(trade)), (3, 1))

    def test_one_without_fresh_quotes_is_skipped_too_and_has_no_mids(self) -> None:
        trade = filled(a_working_trade(slices=4))
        trade = self.skipped(trade, a_market(after(72), without=["ETH"]))
        self.assertEqual((), trade.skipped[0].mids)
        self.assertEqual(4_000, a_pace(trade).long_benchmark)
        stale = self.skipped(filled(a_working_trade(slices=4)), a_market(after(72), quoted_at=T0))
        self.assertEqual((4_000, 100_000), stale.skipped[0].mids)

    def test_after_a_long_sleep_everything_that_passed_is_skipped_at_once(self) -> None:
        trade = filled(a_working_trade(slices=500, interval=1, size="1000000"))
        trade = self.skipped(trade, a_market(after(400), AWAY))
        self.assertEqual((trade.skipped[0].number, slices_skipped(trade)), (400, 399))
        self.waits(next_step(trade, a_market(after(400), AWAY), ACTIVE), "run away")

    def test_the_last_slice_is_never_skipped_but_given_up_when_the_grace_is_over(self) -> None:
        trade = self.skipped(filled(a_working_trade(slices=3)), a_market(after(90), AWAY))
        self.assertEqual(2, trade.skipped[0].number)
        ends = trade.terms.gives_up_at
        self.waits(next_step(trade, a_market(ends - timedelta(seconds=1), AWAY), ACTIVE), "run away")
        why = self.notes(next_step(trade, a_market(ends, AWAY), ACTIVE), TradeCanceled)
        self.assertEqual("its time is over: 33.0% was filled, the rest is given up", why)

    def test_one_that_never_landed_may_be_skipped_as_well(self) -> None:
        trade = filled(a_working_trade(slices=4))
        trade = absent(sent(trade, next_step(trade, a_market(after(36)), ACTIVE)), after(52))
        self.waits(next_step(trade, a_market(after(60)), ACTIVE), "not due")
        trade = self.skipped(trade, a_market(after(108), AWAY))
        self.assertEqual(4, self.sends(next_step(trade, a_market(after(108)), ACTIVE))[0].slice_number)

    def test_one_that_never_landed_goes_again_three_times_and_then_the_rest_takes_its_part(self) -> None:
        trade = self.sent_at(filled(a_working_trade(slices=5)), 36)
        for number, seconds in ((3, 72), (3, 108), (3, 144), (4, 180), (4, 216)):
            step = next_step(trade, a_market(after(seconds)), ACTIVE)
            self.assertEqual(number, self.sends(step)[0].slice_number)
            trade = sent(trade, step)
            self.assertEqual((number - 1, 0), (slices_done(trade), slices_skipped(trade)))
            trade = absent(trade, after(seconds + 16))

    def test_the_first_slices_are_skipped_while_the_approval_lasts(self) -> None:
        trade = self.skipped(a_trade(slices=6, interval=10), a_market(after(10), AWAY))
        self.assertIs(TradeStatus.PENDING, trade.status)
        self.assertEqual((slices_done(trade), slices_skipped(trade)), (0, 1))
        self.assertEqual(2, self.sends(next_step(trade, a_market(after(12)), ACTIVE))[0].slice_number)
        self.notes(next_step(trade, a_market(after(31), AWAY), ACTIVE), TradeCanceled)

    def test_a_market_trade_skips_nothing(self) -> None:
        self.waits(next_step(a_trade(), a_market(after(29), AWAY), ACTIVE), "run away")

    def test_no_slice_takes_more_than_three_parts_and_the_pace_goes_on_in_the_grace(self) -> None:
        trade = filled(a_working_trade(slices=10))
        trade = self.skipped(trade, a_market(after(324), AWAY))
        self.assertEqual(9, trade.skipped[0].number)
        part = trade.terms.slices[-1].long_quantity
        for number, seconds in ((10, 325), (11, 361)):
            long, _ = self.sends(next_step(trade, a_market(after(seconds)), ACTIVE))
            self.assertEqual((part * CATCH_UP_MAX, number), (long.quantity, long.slice_number))
            trade = self.sent_at(trade, seconds)
            self.assertEqual(after(seconds + 36), next_slice_due(trade))
        self.assertLess(trade.filled(ETH), trade.terms.long.quantity)
        self.assertLessEqual(trade.filled(ETH) + remaining_of(trade), trade.terms.long.quantity)

    def test_a_tail_that_no_order_could_take_goes_with_the_slice_before_it(self) -> None:
        """Ten parts of 12 USD, half of the first filled: 36, 36, and 42, for 6 USD alone would be too little."""
        trade = filled(a_working_trade(size="240", slices=10, pair="AVAX/SOL"), SOL="0.5", AVAX="0.5")
        trade = self.skipped(trade, a_market(after(324), {"SOL": "201"}))
        sizes = []
        for seconds in (325, 361, 397):
            sizes.append(self.sends(next_step(trade, a_market(after(seconds)), ACTIVE))[0].quantity)
            trade = self.sent_at(trade, seconds)
        self.assertEqual([Decimal("0.18"), Decimal("0.18"), Decimal("0.21")], sizes)
        self.notes(next_step(trade, a_market(after(398)), ACTIVE), TradeFilled)


def a_pace(trade: Trade) -> Pace:
    pace = pace_of(trade)
    assert pace is not None
    return pace


def remaining_of(trade: Trade) -> Decimal:
    return trade.terms.long.quantity - trade.filled(ETH)


class GateTests(PlaybookTestCase):
    def test_no_slice_goes_while_a_leg_is_ahead(self) -> None:
        trade = filled(a_working_trade(slices=3), BTC="0.2")
        trade = noted(trade, next_step(trade, a_market(after(1)), ACTIVE))
        self.assertIs(TradeStatus.REPAIRING, trade.status)
        for seconds in (1, 36, 72):
            (order,) = self.sends(next_step(trade, a_market(after(min(seconds, 4))), ACTIVE))
            self.assertEqual((BTC, 1), (order.coin, order.slice_number))
            trade = filled(sent(trade, Send((order,))), BTC="0")
        (trim,) = self.sends(next_step(trade, a_market(after(36)), ACTIVE))
        self.assertEqual((ETH, True), (trim.coin, trim.reduce_only))
        trade = filled(sent(trade, Send((trim,))))
        trade = noted(trade, next_step(trade, a_market(after(36)), ACTIVE))
        self.assertIs(TradeStatus.WORKING, trade.status)
        self.assertEqual(2, len(self.sends(next_step(trade, a_market(after(73)), ACTIVE))))


class PaceTests(PlaybookTestCase):
    def test_a_skipped_instant_counts_for_the_benchmark(self) -> None:
        first = next_step(a_trade(slices=3), a_market(), ACTIVE)
        assert isinstance(first, Send)
        trade = filled(record(a_trade(slices=3), OrdersIntended(T0, first.orders, first.mids)))
        pace = pace_of(trade)
        assert pace is not None
        self.assertEqual((4_000, 100_000), (pace.long_benchmark, pace.short_benchmark))
        self.assertEqual((first.orders[0].limit_price, first.orders[1].limit_price), pace[:2])
        self.assertAlmostEqual(30.7, float(pace.slippage_bps), delta=1.0)
        trade = noted(trade, next_step(trade, a_market(after(72), AWAY), ACTIVE))
        after_skip = pace_of(trade)
        assert after_skip is not None
        self.assertEqual((4_010, 100_000), (after_skip.long_benchmark, after_skip.short_benchmark))
        self.assertLess(after_skip.slippage_bps, pace.slippage_bps)

    def test_a_market_trade_and_one_without_a_fill_have_none(self) -> None:
        self.assertIsNone(pace_of(filled(a_working_trade())))
        self.assertIsNone(pace_of(a_trade(slices=3)))
        self.assertIsNone(pace_of(filled(a_working_trade(slices=3), BTC="0")))
        self.assertIsNone(pace_of(filled(a_working_trade(slices=3), ETH="0")))

    def test_only_the_instants_of_the_schedule_count_for_the_benchmark(self) -> None:
        trade = filled(a_working_trade(slices=2), ETH="0.1", BTC="0.1")
        for seconds, eth in ((36, "4004"), (72, "4008")):
            trade = filled(
                sent(trade, next_step(trade, a_market(after(seconds), {"ETH": eth}), ACTIVE)), ETH="0", BTC="0"
            )
        self.assertEqual([1, 2, 3], sorted({order.slice_number for order in trade.orders}))
        self.assertEqual(4_002, a_pace(trade).long_benchmark)

    def test_what_is_taken_back_of_a_leg_is_no_part_of_what_the_legs_have_cost(self) -> None:
        """ETH sold to level it is neither bought ETH nor sold BTC."""
        trade = noted(filled(a_working_trade(slices=3), BTC="0.5"), Note(LegsUnbalanced(T0, Usd(Decimal(100)))))
        long, short = trade.terms.legs
        before = average_price(trade, long), average_price(trade, short)
        later = a_market(after(6), {"ETH": "3900"})
        (trim,) = self.sends(next_step(trade, later, Policy(TradingState.REDUCING)))
        self.assertTrue(trim.reduce_only)
        trade = filled(sent(trade, Send((trim,))))
        self.assertEqual(before, (average_price(trade, long), average_price(trade, short)))

    def test_what_has_ended_has_no_next_slice(self) -> None:
        trade = filled(a_working_trade(slices=3))
        self.assertEqual((after(36), 0), (next_slice_due(trade), slices_skipped(a_trade(slices=3))))
        self.assertIsNone(next_slice_due(record(trade, TradeCanceled(after(1), "it was canceled"))))

    def test_the_share_filled_is_that_of_the_leg_behind(self) -> None:
        self.assertEqual(Decimal("0.2"), round(filled_share(filled(a_working_trade(), BTC="0.2")), 4))
        nothing = a_trade()
        empty = replace(nothing.terms, short=replace(nothing.terms.short, quantity=Quantity(ZERO)))
        self.assertEqual(0, filled_share(replace(nothing, terms=empty)))

    def test_jitter_is_the_same_after_a_restart_and_keeps_the_first_at_once(self) -> None:
        one = due_times(T0, 600, 10, TradeId("trd_a"), Decimal("0.4"))
        self.assertEqual(one, due_times(T0, 600, 10, TradeId("trd_a"), Decimal("0.4")))
        self.assertNotEqual(one, due_times(T0, 600, 10, TradeId("trd_b"), Decimal("0.4")))
        self.assertEqual(T0, one[0])
        self.assertEqual(one, tuple(sorted(one)))
        plain = due_times(T0, 600, 10, TradeId("trd_a"), Decimal(0))
        self.assertEqual(plain[3], after(180))
        moved = [(due - planned).total_seconds() for due, planned in zip(one, plain, strict=True)][1:]
        self.assertTrue(all(0 < abs(seconds) <= 24 for seconds in moved), moved)
        self.assertTrue(min(moved) < -5 and max(moved) > 5, moved)

    def test_a_pace_with_jitter_keeps_the_planned_distances_after_a_delay(self) -> None:
        slices = given_slices(*a_trade(slices=3).terms.legs, 3)
        moved = (slices[0], replace(slices[1], due_at=after(40)), replace(slices[2], due_at=after(70)))
        trade = filled(a_working_trade(slices=3))
        trade = replace(trade, terms=replace(trade.terms, slices=moved))
        self.assertEqual(after(40), next_slice_due(trade))
        trade = filled(sent(trade, next_step(trade, a_market(after(50)), ACTIVE)))
        self.assertEqual(after(80), next_slice_due(trade))


class SlowCloseTests(PlaybookTestCase):
    """0.25 ETH and 0.01 BTC closed in four slices, fifteen seconds apart, from 60 s on."""

    def setUp(self) -> None:
        opening = given_a_filled_trade()
        plain = given_a_closing_trade(opening, at=after(60))
        slices = given_slices(*plain.terms.legs, 4, 15, after(60))
        self.closing = given_a_closing_trade(
            opening,
            at=after(60),
            slices=slices,
            slice_interval_seconds=Decimal(15),
            gives_up_at=after(120),
        )

    def market(self, trade: Trade, seconds: float, **changes: Any) -> Market:
        left = {leg.coin: str(leg.quantity - trade.filled(leg.coin)) for leg in trade.terms.legs}
        return a_market(after(seconds), **{"outstanding": left, **changes})

    def step(self, trade: Trade, seconds: float, **changes: Any) -> Any:
        return next_step(trade, self.market(trade, seconds, **changes), ACTIVE)

    def gone_out(self, trade: Trade, seconds: float, **shares: str) -> Trade:
        return filled(sent(trade, self.step(trade, seconds)), **shares)

    def test_slices_go_when_they_are_due_inside_the_band_of_an_entry(self) -> None:
        trade = self.closing
        for number, seconds in enumerate((60, 75, 90, 105), start=1):
            long, short = self.sends(self.step(trade, seconds))
            self.assertEqual((Side.SELL, Side.BUY, number), (long.side, short.side, long.slice_number))
            self.assertTrue(long.reduce_only and short.reduce_only)
            self.assertGreaterEqual(long.limit_price, given_quote("ETH").bid * Decimal("0.997"))
            trade = self.gone_out(trade, seconds)
            if number < 4:
                self.assertEqual(after(60 + 15 * number), self.waits(self.step(trade, seconds), "not due").until)
                self.assertEqual(after(60 + 15 * number), next_slice_due(trade))
        self.assertEqual(4, slices_done(trade))
        self.assertIsNone(next_slice_due(trade))
        self.notes(self.step(trade, 105), TradeFilled)

    def test_a_close_does_not_wait_for_its_arrival_price(self) -> None:
        self.assertEqual(2, len(self.sends(self.step(self.closing, 60, prices={"ETH": "3800", "BTC": "105000"}))))

    def test_hurried_it_takes_all_that_is_left_in_the_bands_of_a_close(self) -> None:
        trade = self.gone_out(self.closing, 60)
        trade = record(trade, CloseHurried(after(61), ExitReason.STOP_LOSS, "a breach"))
        self.assertIs(ExitReason.STOP_LOSS, trade.exit_reason)
        for number, (seconds, band) in enumerate(zip((61, 61, 61, 66), (*CLOSE_BANDS, CLOSE_BANDS[2]), strict=True)):
            long, _ = self.sends(self.step(trade, seconds))
            self.assertEqual((Decimal("0.1875"), 5 + number), (long.quantity, long.slice_number))
            bid = given_quote("ETH").bid
            self.assertTrue(bid * (1 - band) <= long.limit_price < bid * (1 - band) * Decimal("1.0005"))
            trade = self.gone_out(trade, seconds, ETH="0", BTC="0")
        self.waits(self.step(trade, 67), "next attempt")
        self.assertEqual((1, 0), (slices_done(trade), slices_skipped(trade)))

    def test_an_emergency_stop_waits_for_no_schedule_even_before_anybody_hurried_it(self) -> None:
        trade = self.gone_out(self.closing, 60)
        for state in TradingState:
            step = next_step(trade, self.market(trade, 61), Policy(state))
            with self.subTest(state=state):
                if state is TradingState.LIQUIDATING:
                    self.assertEqual(Decimal("0.1875"), self.sends(step)[0].quantity)
                else:
                    self.waits(step, "not due")

    def test_what_a_slice_missed_is_spread_and_what_the_last_one_misses_goes_at_once(self) -> None:
        trade = self.gone_out(self.closing, 60, ETH="0", BTC="0")
        long, _ = self.sends(self.step(trade, 75))
        self.assertEqual(Decimal("0.0833"), long.quantity)
        for seconds in (75, 90):
            trade = self.gone_out(trade, seconds)
        trade = self.gone_out(trade, 105, ETH="0", BTC="0")
        long, _ = self.sends(self.step(trade, 105))
        self.assertEqual(5, long.slice_number)
        self.assertEqual(trade.terms.long.quantity - trade.filled(ETH), long.quantity)

    def test_a_close_catches_up_without_a_bound(self) -> None:
        """Eight of ten slices found no match: what is left goes in two, five parts each."""
        legs = self.closing.terms.legs
        slices = given_slices(*legs, 10, 15, after(60))
        trade = replace(self.closing, terms=replace(self.closing.terms, slices=slices, gives_up_at=after(210)))
        for number in range(8):
            trade = self.gone_out(trade, 60 + 15 * number, ETH="0", BTC="0")
        long, short = self.sends(self.step(trade, 180))
        self.assertEqual((Decimal("0.125"), Decimal("0.005"), 9), (long.quantity, short.quantity, long.slice_number))

    def test_what_nobody_has_is_written_off_a_minute_after_a_hurry_however_long_the_schedule_was(self) -> None:
        hurried = record(self.closing, CloseHurried(after(61), ExitReason.STOP_LOSS, "a breach"))
        trade = replace(hurried, terms=replace(hurried.terms, gives_up_at=after(3_600)))
        others = {"available": {"ETH": "0", "BTC": "0"}, "whole": {"ETH": "1", "BTC": "1"}}
        self.waits(self.step(trade, 120, **others), "nothing that the venue would take")
        self.notes(self.step(trade, 121, **others), HoldingGone)

    def test_past_its_last_slice_a_close_has_no_next_one(self) -> None:
        trade = self.closing
        for seconds in (60, 75, 90, 105):
            trade = self.gone_out(trade, seconds, ETH="0", BTC="0")
        self.assertIsNone(next_slice_due(trade))

    def test_a_desk_that_slept_through_the_schedule_takes_the_rest_at_once(self) -> None:
        trade = self.gone_out(self.closing, 60)
        long, _ = self.sends(self.step(trade, 120))
        self.assertEqual((Decimal("0.1875"), 5), (long.quantity, long.slice_number))

    def test_the_next_slice_waits_until_the_legs_are_level(self) -> None:
        trade = self.gone_out(self.closing, 60, BTC="0.2")
        trade = noted(trade, self.step(trade, 60))
        self.assertIs(TradeStatus.REPAIRING, trade.status)
        for number in range(3):
            (order,) = self.sends(self.step(trade, 60))
            self.assertEqual((BTC, Decimal("0.002"), 1), (order.coin, order.quantity, order.slice_number))
            ask = given_quote("BTC").ask
            self.assertTrue(order.limit_price <= ask * (1 + CLOSE_BANDS[number]))
            trade = filled(sent(trade, Send((order,))), BTC="0")
        (order,) = self.sends(self.step(trade, 76))
        trade = filled(sent(trade, Send((order,))))
        trade = noted(trade, self.step(trade, 76))
        self.assertIs(TradeStatus.WORKING, trade.status)
        self.assertEqual(2, len(self.sends(self.step(trade, 91))))

    def test_evening_out_pauses_once_its_bands_are_used_up(self) -> None:
        trade = self.gone_out(self.closing, 60, BTC="0.2")
        trade = noted(trade, self.step(trade, 60))
        for _ in range(3):
            trade = filled(sent(trade, self.step(trade, 60)), BTC="0")
        self.assertEqual(after(65), self.waits(self.step(trade, 61), "even out").until)
        self.waits(self.step(trade, 66, without=["BTC"]), "no price for BTC")

    def test_a_long_leg_that_lags_is_evened_out_too(self) -> None:
        trade = self.gone_out(self.closing, 60, ETH="0.2")
        trade = noted(trade, self.step(trade, 60))
        (order,) = self.sends(self.step(trade, 60))
        self.assertEqual((ETH, Decimal("0.05")), (order.coin, order.quantity))

    def test_less_than_the_venue_takes_is_left_to_the_next_slice(self) -> None:
        trade = self.gone_out(self.closing, 60, BTC="0.6")
        trade = noted(trade, self.step(trade, 60))
        trade = noted(trade, self.step(trade, 60, prices={"BTC": "9000"}))
        self.assertIsInstance(trade.events[-1], LegsBalanced)
        self.assertIs(TradeStatus.WORKING, trade.status)
        self.waits(self.step(trade, 61), "not due")
        self.assertEqual(2, len(self.sends(self.step(trade, 75))))

    def test_never_more_than_the_venue_holds(self) -> None:
        held = {ETH: Quantity(Decimal("0.03")), BTC: Quantity(Decimal("0.01"))}
        market = replace(self.market(self.closing, 60), available=held)
        long, short = self.sends(next_step(self.closing, market, ACTIVE))
        self.assertLessEqual(long.quantity, Decimal("0.03"))
        self.assertLessEqual(short.quantity, Decimal("0.01"))

    def test_a_part_under_the_minimum_or_a_rest_under_it_goes_in_one(self) -> None:
        for name, prices in (("part", {"ETH": "150"}), ("rest", {"ETH": "4000", "BTC": "3000"})):
            with self.subTest(name):
                long, short = self.sends(self.step(self.closing, 60, prices=prices))
                self.assertEqual((Decimal("0.25"), Decimal("0.01")), (long.quantity, short.quantity))

    def test_without_a_price_of_both_legs_it_waits_until_the_schedule_is_over(self) -> None:
        self.waits(self.step(self.closing, 60, without=["BTC"]), "no price on both legs")
        (order,) = self.sends(self.step(self.closing, 120, without=["BTC"]))
        self.assertEqual((ETH, Decimal("0.25")), (order.coin, order.quantity))

    def test_a_leg_that_is_gone_is_written_off_in_the_middle(self) -> None:
        trade = sent(self.closing, self.step(self.closing, 60))
        long, short = trade.orders
        refusal = a_refusal(short, RejectReason.REDUCE_ONLY, after(60))
        trade = record(trade, OrdersReported(after(60), (given_report(long, at=after(60)), refusal)))
        trade = noted(trade, self.step(trade, 61))
        self.assertIs(TradeStatus.REPAIRING, trade.status)
        self.notes(self.step(trade, 63, whole={"ETH": "0.1875", "BTC": "0"}), HoldingGone)

    def test_flat_is_the_end_whatever_the_schedule_says(self) -> None:
        trade = self.gone_out(self.closing, 60)
        market = a_market(after(61), outstanding={"ETH": "0", "BTC": "0"})
        self.notes(next_step(trade, market, ACTIVE), TradeFilled)


class GivenUpTests(PlaybookTestCase):
    def test_a_trade_that_never_filled_is_rejected(self) -> None:
        trade = filled(a_working_trade(slices=2), BTC="0", ETH="0")
        self.notes(next_step(trade, a_market(trade.terms.gives_up_at), ACTIVE), TradeRejected)

    def test_unlevel_at_its_end_it_is_levelled_first(self) -> None:
        trade = filled(a_working_trade(slices=2), BTC="0.2")
        self.notes(next_step(trade, a_market(trade.terms.gives_up_at), ACTIVE), LegsUnbalanced)

    def test_waiting_says_until_when(self) -> None:
        step = next_step(filled(a_working_trade(slices=2)), a_market(after(1)), ACTIVE)
        self.assertEqual(Wait("the next slice is not due", after(36)), step)
