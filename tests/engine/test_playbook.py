"""Every row of the playbook, first match wins."""

import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_trade,
    given_a_trade,
    given_instrument,
    given_quote,
    given_report,
    given_reports,
    given_slices,
)
from trading.domain.desk_state import TradingState
from trading.domain.market import Instrument, Quote
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.trades import (
    HANDED_ON,
    CancelWanted,
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
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    imbalance_of,
    record,
)
from trading.domain.units import ZERO, Coin, Price, Quantity, Usd
from trading.engine.playbook import (
    CLOSE_BANDS,
    COMPLETION_BANDS,
    DOUBT_PATIENCE,
    GONE_PATIENCE,
    IN_DOUBT_TOO_LONG,
    REPAIR_PATIENCE,
    STUCK_PATIENCE,
    TRIMS_MAX,
    Ask,
    Market,
    Note,
    Policy,
    Send,
    Step,
    Wait,
    next_step,
)
from trading.engine.schedule import average_price, next_slice_due, next_slice_number, slices_done

ACTIVE = Policy(TradingState.ACTIVE)
COINS = ("BTC", "ETH", "SOL", "AVAX")
BTC, ETH = Coin("BTC"), Coin("ETH")


def a_market(
    at: datetime = T0,
    prices: Mapping[str, str] | None = None,
    *,
    available: Mapping[str, str] | None = None,
    outstanding: Mapping[str, str] | None = None,
    whole: Mapping[str, str] | None = None,
    opening_live: bool = False,
    without: Sequence[str] = (),
    quoted_at: datetime | None = None,
    lots: Mapping[str, str] | None = None,
    listed: bool = True,
) -> Market:
    """All coins quoted *at* (or at *quoted_at*) at their ordinary prices or at *prices*."""

    def coins(amounts: Mapping[str, str] | None) -> dict[Coin, Quantity]:
        return {Coin(coin): Quantity(Decimal(amount)) for coin, amount in (amounts or {}).items()}

    quotes: dict[Coin, Quote] = {
        Coin(coin): given_quote(coin, (prices or {}).get(coin), quoted_at or at)
        for coin in COINS
        if coin not in without
    }
    instruments: dict[Coin, Instrument] = {
        Coin(coin): given_instrument(coin, (lots or {}).get(coin, "0.0001"), price_decimals_max=6) for coin in COINS
    }
    return Market(
        at,
        quotes,
        instruments if listed else {},
        coins(available),
        coins(outstanding),
        opening_live,
        coins(whole) if whole is not None else None,
    )


def a_trade(*, slices: int = 1, **terms: Any) -> Trade:
    """A pending trade; one of a single slice has no pace, as the desk plans it."""
    if slices == 1:
        terms = {"slice_interval_seconds": ZERO, **terms}
    return given_a_trade(slices=slices, **terms)


def a_working_trade(**terms: Any) -> Trade:
    """A trade whose first slice has gone out, without an answer yet."""
    trade = a_trade(**terms)
    return sent(trade, next_step(trade, a_market(), ACTIVE))


def sent(trade: Trade, step: Step) -> Trade:
    """*trade* after the orders of *step* went out."""
    assert isinstance(step, Send), step
    return record(trade, OrdersIntended(max(step.orders[0].intended_at, trade.events[-1].at), step.orders, step.mids))


def answered(trade: Trade, *reports: OrderReport, at: datetime | None = None) -> Trade:
    return record(trade, OrdersReported(at or trade.events[-1].at, reports))


def filled(trade: Trade, **shares: str) -> Trade:
    """*trade* with every order in doubt filled to the share of its coin; 1 where none is named, 0 is no match."""
    reports = []
    for order in trade.in_doubt:
        share = shares.get(order.coin, "1")
        if Decimal(share):
            whole = (order.quantity * Decimal(share)) // Decimal("0.0001") * Decimal("0.0001")
            reports.append(given_report(order, str(whole / order.quantity), trade.events[-1].at))
        else:
            reports.append(a_refusal(order, RejectReason.NO_MATCH, trade.events[-1].at))
    return answered(trade, *reports)


def a_refusal(order: Order, reason: RejectReason, at: datetime = T0) -> OrderReport:
    return OrderReport(order.client_order_id, OrderStatus.REJECTED, at, reason=reason)


def absent(trade: Trade, at: datetime) -> Trade:
    reports = [OrderReport(order.client_order_id, OrderStatus.ABSENT, at) for order in trade.in_doubt]
    return answered(trade, *reports, at=at)


def noted(trade: Trade, step: Step) -> Trade:
    assert isinstance(step, Note), step
    return record(trade, step.event)


def driven(trade: Trade, market: Market, answer: Callable[[Trade], Trade], policy: Policy = ACTIVE) -> Trade:
    """*trade* taken on until it waits, each submit answered by *answer*."""
    for _ in range(64):
        step = next_step(trade, market, policy)
        if isinstance(step, Wait):
            return trade
        trade = answer(sent(trade, step)) if isinstance(step, Send) else noted(trade, step)
    raise AssertionError("the trade does not come to rest")


class PlaybookTestCase(unittest.TestCase):
    def sends(self, step: Step) -> tuple[Order, ...]:
        self.assertIsInstance(step, Send, step)
        assert isinstance(step, Send)
        return step.orders

    def notes(self, step: Step, kind: type) -> str:
        self.assertIsInstance(step, Note, step)
        assert isinstance(step, Note)
        self.assertIsInstance(step.event, kind)
        return str(getattr(step.event, "why", ""))

    def waits(self, step: Step, word: str) -> Wait:
        self.assertIsInstance(step, Wait, step)
        assert isinstance(step, Wait)
        self.assertIn(word, step.why)
        return step


class DoubtAndRestTests(PlaybookTestCase):
    def test_a_trade_in_doubt_does_nothing_but_ask(self) -> None:
        trade = a_working_trade()
        for state in TradingState:
            for close_wanted in (False, True):
                with self.subTest(state=state, close_wanted=close_wanted):
                    step = next_step(trade, a_market(), Policy(state, close_wanted))
                    self.assertEqual(Ask(trade.orders), step)

    def test_an_ended_trade_waits(self) -> None:
        self.waits(next_step(given_a_filled_trade(), a_market(after(9)), ACTIVE), "FILLED")

    def test_a_suspended_trade_waits_until_somebody_wants_to_be_rid_of_it(self) -> None:
        trade = record(filled(a_working_trade(slices=4)), TradeSuspended(T0, "odd"))
        self.waits(next_step(trade, a_market(), ACTIVE), "suspended: odd")
        self.assertIsNone(next_slice_due(trade))
        self.notes(next_step(trade, a_market(), Policy(TradingState.ACTIVE, close_wanted=True)), TradeCanceled)
        wanted = record(trade, CancelWanted(T0, "enough"))
        self.assertEqual("enough", self.notes(next_step(wanted, a_market(), ACTIVE), TradeCanceled))

    def test_an_opening_in_doubt_for_too_long_is_suspended_and_asked_about_still(self) -> None:
        trade = a_working_trade()
        late = after(10 + DOUBT_PATIENCE.total_seconds())
        self.assertIsInstance(next_step(trade, a_market(late), ACTIVE), Ask)
        later = after(1, late)
        self.notes(next_step(trade, a_market(later), ACTIVE), TradeSuspended)
        suspended = record(trade, TradeSuspended(later, IN_DOUBT_TOO_LONG))
        self.assertIsInstance(next_step(suspended, a_market(later), ACTIVE), Ask)

    def test_a_suspension_for_a_doubt_ends_with_the_doubt(self) -> None:
        trade = record(a_working_trade(), TradeSuspended(after(200), IN_DOUBT_TOO_LONG))
        resumed = filled(trade, BTC="0")
        self.notes(next_step(resumed, a_market(after(201)), ACTIVE), TradeResumed)

    def test_a_close_in_doubt_is_asked_about_for_ever(self) -> None:
        closing = sent_close(given_a_filled_trade())
        self.assertIsInstance(next_step(closing, a_market(after(9999)), ACTIVE), Ask)

    def test_a_repair_that_stands_still_for_too_long_is_suspended(self) -> None:
        trade, reducing = unbalanced(BTC="0"), Policy(TradingState.REDUCING)
        still = REPAIR_PATIENCE.total_seconds() + 1
        self.waits(next_step(trade, a_market(after(still - 1), without=["ETH"]), reducing), "no price for ETH")
        self.notes(next_step(trade, a_market(after(still + 1), without=["ETH"]), reducing), TradeSuspended)

    def test_a_repair_in_which_something_happens_does_not_stand_still(self) -> None:
        trade, reducing = unbalanced(BTC="0"), Policy(TradingState.REDUCING)
        trade = filled(sent(trade, next_step(trade, a_market(after(100)), reducing)), ETH="0")
        still = after(100 + REPAIR_PATIENCE.total_seconds())
        self.sends(next_step(trade, a_market(still), reducing))
        self.notes(next_step(trade, a_market(after(1, still)), reducing), TradeSuspended)

    def test_a_close_that_never_had_anything_to_send_may_be_written_off(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        at = after(60 + STUCK_PATIENCE.total_seconds() + 1)
        market = a_market(
            at, available={"ETH": "0"}, outstanding={"ETH": "0.25", "BTC": "0"}, whole={"ETH": "1", "BTC": "0"}
        )
        step = next_step(closing, market, ACTIVE)
        self.notes(step, HoldingGone)
        self.assertIs(TradeStatus.PENDING, noted(closing, step).status)

    def test_what_the_venue_holds_none_of_is_not_written_off_before_it_has_refused_to_reduce_it(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        at = after(60 + STUCK_PATIENCE.total_seconds() + 1)
        market = a_market(
            at, available={"ETH": "0"}, outstanding={"ETH": "0.25", "BTC": "0"}, whole={"ETH": "0", "BTC": "0"}
        )
        (order,) = self.sends(next_step(closing, market, ACTIVE))
        self.assertEqual((ETH, Decimal("0.25"), True), (order.coin, order.quantity, order.reduce_only))

    def test_a_refusal_from_before_the_opening_had_ended_proves_nothing_of_what_was_filled_since(self) -> None:
        closing = sent_close(given_a_filled_trade())
        denied_at = closing.events[-1].at
        closing, vanished = denied(closing, denied_at), vanished_at(denied_at + 2 * GONE_PATIENCE)
        self.notes(next_step(closing, replace(vanished, opened_until=denied_at), ACTIVE), HoldingGone)
        late = replace(vanished, opened_until=denied_at + timedelta(seconds=1))
        (order,) = self.sends(next_step(closing, late, ACTIVE))
        self.assertEqual((ETH, Decimal("0.25"), True), (order.coin, order.quantity, order.reduce_only))

    def test_a_refusal_by_a_venue_s_clock_behind_ours_is_dated_by_when_its_order_was_meant(self) -> None:
        """Ours was set forward by a minute: by the venue's, the opening had not ended when it refused."""
        closing = sent_close(given_a_filled_trade())
        meant_at = closing.orders[-1].intended_at
        closing = denied(closing, meant_at - timedelta(minutes=1))
        vanished = replace(vanished_at(meant_at + GONE_PATIENCE), opened_until=meant_at - timedelta(seconds=1))
        self.notes(next_step(closing, vanished, ACTIVE), HoldingGone)
        at_once = replace(vanished, now=meant_at + GONE_PATIENCE - timedelta(seconds=1))
        self.assertNotIsInstance(getattr(next_step(closing, at_once, ACTIVE), "event", None), HoldingGone)
        before = replace(vanished, opened_until=meant_at + timedelta(seconds=1))
        (order,) = self.sends(next_step(closing, before, ACTIVE))
        self.assertEqual((ETH, True), (order.coin, order.reduce_only))

    def test_nothing_is_written_off_while_the_opening_may_still_fill(self) -> None:
        closing = sent_close(given_a_filled_trade())
        denied_at = closing.events[-1].at
        closing, vanished = denied(closing, denied_at), vanished_at(denied_at + 2 * GONE_PATIENCE)
        self.notes(next_step(closing, vanished, ACTIVE), HoldingGone)
        self.waits(
            next_step(closing, replace(vanished, opening_live=True), ACTIVE), "nothing that the venue would take"
        )

    def test_nothing_is_stuck_while_the_opening_may_still_fill(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        market = a_market(
            after(60 + STUCK_PATIENCE.total_seconds()),
            available={"ETH": "0"},
            outstanding={"ETH": "0.25", "BTC": "0"},
            whole={"ETH": "1", "BTC": "0"},
        )
        self.notes(next_step(closing, market, ACTIVE), HoldingGone)
        self.waits(next_step(closing, replace(market, opening_live=True), ACTIVE), "nothing that the venue would take")

    def test_what_is_too_little_for_an_order_is_handed_on_where_all_the_rest_is_too(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        at = after(60 + STUCK_PATIENCE.total_seconds())
        for quantity, handed_on in (("0.002", True), ("0.004", False)):
            with self.subTest(quantity):
                market = a_market(at, outstanding={"ETH": quantity}, whole={"ETH": "0.1", "BTC": "0"})
                step = next_step(closing, replace(market, dregs=frozenset({ETH})), ACTIVE)
                if handed_on:
                    self.assertEqual(HANDED_ON, self.notes(step, HoldingGone))
                else:
                    self.sends(step)

    def test_a_leg_that_is_closed_is_not_stuck_while_the_other_is(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        at = after(60 + STUCK_PATIENCE.total_seconds())
        market = a_market(at, available={"BTC": "0"}, outstanding={"BTC": "0.01"}, whole={"ETH": "1", "BTC": "1"})
        step = next_step(closing, market, ACTIVE)
        assert isinstance(step, Note) and isinstance(step.event, HoldingGone)
        self.assertEqual((BTC, Decimal("0.01")), (step.event.coin, step.event.quantity))

    def test_a_schedule_that_is_over_has_its_minute_before_anything_is_stuck(self) -> None:
        opening = given_a_filled_trade()
        slices = given_slices(opening.terms.long, opening.terms.short, 3, at=after(60))
        closing = given_a_closing_trade(
            opening, slices=slices, slice_interval_seconds=Decimal(36), gives_up_at=after(168)
        )
        for seconds, stuck in ((168, False), (227, False), (228, True)):
            market = a_market(
                after(seconds), available={"ETH": "0"}, outstanding={"ETH": "0.25"}, whole={"ETH": "1", "BTC": "0"}
            )
            with self.subTest(seconds):
                step = next_step(closing, market, ACTIVE)
                self.assertEqual(stuck, isinstance(getattr(step, "event", None), HoldingGone))

    def test_only_what_the_account_shows_none_of_is_gone_and_only_at_a_price(self) -> None:
        closing = sent_close(given_a_filled_trade())
        denied_at = closing.events[-1].at
        closing, vanished = denied(closing, denied_at), vanished_at(denied_at + GONE_PATIENCE)
        self.notes(next_step(closing, vanished, ACTIVE), HoldingGone)
        self.waits(next_step(closing, replace(vanished, quotes={}), ACTIVE), "nothing that the venue would take")
        shown = replace(vanished, whole={ETH: Quantity(Decimal("0.25")), BTC: Quantity(ZERO)}, available={})
        self.sends(next_step(closing, shown, ACTIVE))
        earlier = replace(vanished, now=denied_at + GONE_PATIENCE / 2)
        self.waits(next_step(closing, earlier, ACTIVE), "nothing that the venue would take")

    def test_a_suspended_close_waits(self) -> None:
        closing = filled(sent_close(given_a_filled_trade()), ETH="0.5", BTC="0.5")
        closing = record(closing, TradeSuspended(closing.events[-1].at, "odd"))
        self.waits(next_step(closing, a_market(after(99)), Policy(TradingState.ACTIVE, close_wanted=True)), "suspended")


class OpeningTests(PlaybookTestCase):
    def test_a_due_slice_goes_out_with_both_legs_inside_the_band(self) -> None:
        trade = a_trade()
        long, short = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertEqual((ETH, Side.BUY, Decimal("0.25")), (long.coin, long.side, long.quantity))
        self.assertEqual((BTC, Side.SELL, Decimal("0.01")), (short.coin, short.side, short.quantity))
        self.assertFalse(long.reduce_only or short.reduce_only)
        self.assertLessEqual(long.limit_price, given_quote("ETH").ask * Decimal("1.003"))
        self.assertGreaterEqual(short.limit_price, given_quote("BTC").bid * Decimal("0.997"))
        self.assertEqual(after(10), long.expires_at)

    def test_an_order_is_priced_from_the_side_of_the_book_that_it_takes(self) -> None:
        for zscore, prices in (("2.4", ["4012.4", "99691"]), ("-2.4", ["100310", "3987.7"])):
            with self.subTest(zscore):
                orders = self.sends(next_step(a_trade(zscore=zscore), a_market(), ACTIVE))
                self.assertEqual([Decimal(one) for one in prices], [one.limit_price for one in orders])

    def test_a_quote_of_two_seconds_is_fresh(self) -> None:
        self.sends(next_step(a_trade(), a_market(after(2), quoted_at=T0), ACTIVE))
        (order,) = self.sends(next_step(unbalanced(BTC="0"), a_market(after(2), quoted_at=T0), ACTIVE))
        self.assertFalse(order.reduce_only)

    def test_a_few_dollars_of_one_leg_are_a_filled_trade(self) -> None:
        trade = filled(a_working_trade(), ETH="0.008", BTC="0")
        self.notes(next_step(trade, a_market(lots={"BTC": "0.00001"}), ACTIVE), TradeFilled)

    def test_both_legs_filled_is_a_filled_trade(self) -> None:
        trade = filled(a_working_trade())
        self.notes(next_step(trade, a_market(), ACTIVE), TradeFilled)

    def test_both_legs_half_filled_and_level_is_a_filled_trade(self) -> None:
        trade = filled(a_working_trade(), BTC="0.5", ETH="0.5")
        self.notes(next_step(trade, a_market(), ACTIVE), TradeFilled)

    def test_nothing_filled_is_a_rejected_trade_with_the_venues_words(self) -> None:
        trade = filled(a_working_trade(), BTC="0", ETH="0")
        self.assertEqual(
            "ETH: NO_MATCH; BTC: NO_MATCH", self.notes(next_step(trade, a_market(), ACTIVE), TradeRejected)
        )

    def test_a_rejected_trade_says_what_the_venue_said(self) -> None:
        trade = a_working_trade()
        words = [replace(a_refusal(one, RejectReason.PRICE), detail="too far from oracle") for one in trade.orders]
        why = self.notes(next_step(answered(trade, *words), a_market(), ACTIVE), TradeRejected)
        self.assertEqual("ETH: too far from oracle; BTC: too far from oracle", why)

    def test_no_slice_without_fresh_quotes_on_both_legs(self) -> None:
        for market in (
            a_market(without=["ETH"]),
            a_market(without=["BTC"]),
            a_market(after(3), quoted_at=T0),
            a_market(listed=False),
            a_market(prices={"ETH": "0"}),
        ):
            with self.subTest(market=market):
                self.waits(next_step(a_trade(), market, ACTIVE), "fresh quote")

    def test_no_slice_chases_a_ratio_that_ran_away(self) -> None:
        for prices, goes in (
            ({"ETH": "4010"}, True),
            ({"ETH": "4012"}, False),
            ({"BTC": "99600"}, False),
            ({"ETH": "4040", "BTC": "101000"}, True),
            ({"ETH": "3000"}, True),
            ({"BTC": "120000"}, True),
        ):
            with self.subTest(prices=prices):
                step = next_step(a_trade(), a_market(prices=prices), ACTIVE)
                self.assertIsInstance(step, Send if goes else Wait)

    def test_an_approval_is_void_thirty_seconds_after_its_answer(self) -> None:
        trade = a_trade()
        self.sends(next_step(trade, a_market(after(30)), ACTIVE))
        self.assertIn("approval", self.notes(next_step(trade, a_market(after(30.1)), ACTIVE), TradeCanceled))

    def test_a_trade_without_an_approval_counts_from_its_acceptance(self) -> None:
        trade = a_trade(approval=None)
        self.sends(next_step(trade, a_market(after(30)), ACTIVE))
        self.notes(next_step(trade, a_market(after(31)), ACTIVE), TradeCanceled)

    def test_an_old_approval_does_not_stop_a_trade_that_has_begun(self) -> None:
        trade = filled(a_working_trade(slices=3))
        self.sends(next_step(trade, a_market(after(40)), ACTIVE))

    def test_any_state_but_active_cancels_what_is_level(self) -> None:
        for state in TradingState:
            trade = filled(a_working_trade(slices=3))
            step = next_step(trade, a_market(after(40)), Policy(state))
            with self.subTest(state=state):
                if state is TradingState.ACTIVE:
                    self.sends(step)
                else:
                    self.assertEqual(f"the desk is {state}", self.notes(step, TradeCanceled))

    def test_a_cancel_that_is_wanted_is_met_with_the_fills_standing(self) -> None:
        trade = record(filled(a_working_trade(slices=3)), CancelWanted(T0, "on request"))
        ended = noted(trade, next_step(trade, a_market(after(40)), ACTIVE))
        self.assertEqual((TradeStatus.CANCELED, "on request"), (ended.status, ended.why))
        self.assertGreater(ended.filled(ETH), 0)

    def test_a_close_that_is_wanted_ends_the_opening_level_or_not(self) -> None:
        for shares in ({}, {"BTC": "0"}):
            with self.subTest(shares=shares):
                trade = filled(a_working_trade(slices=3), **shares)
                step = next_step(trade, a_market(after(40)), Policy(TradingState.ACTIVE, close_wanted=True))
                self.assertEqual("the position is being closed", self.notes(step, TradeCanceled))

    def test_a_pending_trade_under_the_minimum_is_canceled(self) -> None:
        trade = a_trade(size="22")
        why = self.notes(next_step(trade, a_market(prices={"ETH": "3600"}), ACTIVE), TradeCanceled)
        self.assertIn("minimum", why)

    def test_what_the_venue_never_saw_is_sent_again_three_times_at_most(self) -> None:
        trade, at = a_trade(), T0
        for attempt in range(3):
            orders = self.sends(next_step(trade, a_market(at), ACTIVE))
            self.assertEqual({attempt}, {order.attempt for order in orders})
            self.assertEqual({1}, {order.slice_number for order in orders})
            at += timedelta(seconds=16)
            trade = absent(sent(trade, Send(orders)), at)
        self.assertEqual(6, len({order.client_order_id for order in trade.orders}))
        self.assertIn("ABSENT", self.notes(next_step(trade, a_market(at), ACTIVE), TradeRejected))

    def test_a_market_trade_that_cannot_go_on_is_given_up(self) -> None:
        trade = absent(a_working_trade(gives_up_at=after(60)), after(16))
        away = {"ETH": "4200"}
        self.waits(next_step(trade, a_market(after(59), away), ACTIVE), "run away")
        self.notes(next_step(trade, a_market(after(60), away), ACTIVE), TradeRejected)


class SlicingTests(PlaybookTestCase):
    """C8, C9 and C10 are the numbers of known cases of other desks."""

    def test_slices_go_when_they_are_due_and_add_up_exactly(self) -> None:
        trade = a_trade(slices=3)
        for number in (1, 2, 3):
            market = a_market(after(36 * (number - 1)))
            trade = filled(sent(trade, next_step(trade, market, ACTIVE)))
            if number < 3:
                wait = self.waits(next_step(trade, market, ACTIVE), "not due")
                self.assertEqual(after(36 * number), wait.until)
        self.assertEqual([leg.quantity for leg in trade.terms.legs], [trade.filled(ETH), trade.filled(BTC)])
        self.notes(next_step(trade, a_market(after(72)), ACTIVE), TradeFilled)

    def test_c9_a_long_sleep_is_not_followed_by_a_burst(self) -> None:
        trade = filled(a_working_trade(slices=10, interval=60))
        market = a_market(after(600))
        trade = filled(sent(trade, next_step(trade, market, ACTIVE)))
        self.assertEqual(after(660), self.waits(next_step(trade, market, ACTIVE), "not due").until)
        self.assertEqual(Decimal("0.05"), trade.filled(ETH))

    def test_c8_what_a_refused_slice_missed_is_spread_over_the_ones_that_follow(self) -> None:
        trade = filled(a_working_trade(slices=4))
        first, at = trade.filled(ETH), after(36)
        trade = filled(sent(trade, next_step(trade, a_market(at), ACTIVE)), ETH="0", BTC="0")
        self.assertEqual(TradeStatus.WORKING, trade.status)
        trade = filled(sent(trade, next_step(trade, a_market(after(72)), ACTIVE)))
        self.assertEqual(first + first + Decimal("0.0312"), trade.filled(ETH))
        trade = filled(sent(trade, next_step(trade, a_market(after(108)), ACTIVE)))
        self.assertEqual(trade.terms.long.quantity, trade.filled(ETH))
        self.assertEqual(trade.terms.short.quantity, trade.filled(BTC))

    def test_c10_nothing_is_sent_while_acknowledgements_are_withheld(self) -> None:
        trade = a_working_trade(slices=3)
        for seconds in (36, 72, 108):
            self.assertIsInstance(next_step(trade, a_market(after(seconds)), ACTIVE), Ask)
        self.notes(next_step(trade, a_market(after(500)), ACTIVE), TradeSuspended)

    def test_what_is_left_after_the_last_slice_is_tried_at_the_same_pace_until_it_is_given_up(self) -> None:
        trade = filled(a_working_trade(slices=2, interval=30), BTC="0", ETH="0")
        trade = filled(sent(trade, next_step(trade, a_market(after(30)), ACTIVE)), BTC="0.5", ETH="0.5")
        self.assertEqual(after(60), next_slice_due(trade))
        again = self.sends(next_step(trade, a_market(after(60)), ACTIVE))
        self.assertEqual({3}, {order.slice_number for order in again})
        ended = noted(trade, next_step(trade, a_market(trade.terms.gives_up_at), ACTIVE))
        self.assertEqual((TradeStatus.CANCELED, Decimal("0.125")), (ended.status, ended.filled(ETH)))
        self.assertIn("given up", ended.why)

    def test_a_sliced_trade_that_never_filled_is_rejected_when_it_is_given_up(self) -> None:
        trade = filled(a_working_trade(slices=2), BTC="0", ETH="0")
        self.notes(next_step(trade, a_market(trade.terms.gives_up_at), ACTIVE), TradeRejected)

    def test_a_slice_that_falls_under_the_minimum_takes_the_rest_along(self) -> None:
        trade = a_trade(size="44", slices=2, pair="AVAX/SOL")
        orders = self.sends(next_step(trade, a_market(prices={"SOL": "181", "AVAX": "25"}), ACTIVE))
        self.assertEqual([leg.quantity for leg in trade.terms.legs], [order.quantity for order in orders])

    def test_a_slice_under_the_minimum_goes_with_the_rest_also_where_the_rest_is_not(self) -> None:
        trade = a_trade(size="66", slices=3, pair="AVAX/SOL")
        orders = self.sends(next_step(trade, a_market(prices={"SOL": "181", "AVAX": "25"}), ACTIVE))
        self.assertEqual([leg.quantity for leg in trade.terms.legs], [order.quantity for order in orders])

    def test_a_slice_under_the_minimum_takes_some_parts_and_not_a_long_schedule_at_once(self) -> None:
        """The whole of it went in one order, of which nobody had looked whether the book has so much."""
        trade = a_trade(size="440", slices=20, pair="AVAX/SOL")
        orders = self.sends(next_step(trade, a_market(prices={"SOL": "181", "AVAX": "22.7"}), ACTIVE))
        first = trade.terms.slices[0]
        planned = [first.long_quantity, first.short_quantity]
        self.assertEqual([2 * one for one in planned], [order.quantity for order in orders])

    def test_a_slice_takes_three_parts_where_it_needs_them(self) -> None:
        trade = a_trade(size="440", slices=20, pair="AVAX/SOL")
        orders = self.sends(next_step(trade, a_market(prices={"SOL": "75", "AVAX": "9.4"}), ACTIVE))
        first = trade.terms.slices[0]
        planned = [first.long_quantity, first.short_quantity]
        self.assertEqual([3 * one for one in planned], [order.quantity for order in orders])

    def test_a_slice_of_which_three_parts_are_too_little_is_skipped(self) -> None:
        trade = filled(a_working_trade(slices=20, size="440", pair="AVAX/SOL"))
        low = {"SOL": "50", "AVAX": "6.26"}
        second, third = (one.due_at for one in trade.terms.slices[1:3])
        self.waits(next_step(trade, a_market(second, prices=low), ACTIVE), "less than the venue takes")
        why = self.notes(next_step(trade, a_market(third, prices=low), ACTIVE), SliceSkipped)
        self.assertIn("less than the venue takes", why)

    def test_a_sell_is_measured_at_its_limit_which_is_below_the_touch(self) -> None:
        trade = a_trade(size="20.04", pair="AVAX/SOL")
        self.assertEqual(Decimal("10.02"), trade.terms.short.notional)
        self.notes(next_step(trade, a_market(), ACTIVE), TradeCanceled)

    def test_a_tail_under_the_minimum_ends_the_trade_as_it_is(self) -> None:
        trade = filled(a_working_trade(slices=2, size="2000"), BTC="1", ETH="1")
        trade = filled(sent(trade, next_step(trade, a_market(after(36)), ACTIVE)), ETH="0.99", BTC="0.99")
        self.assertGreater(trade.terms.long.quantity, trade.filled(ETH))
        self.notes(next_step(trade, a_market(after(40)), ACTIVE), TradeFilled)

    def test_a_slice_of_which_one_leg_never_arrived_is_over_once_that_is_completed(self) -> None:
        trade = a_working_trade(slices=3)
        long, short = trade.orders
        trade = answered(trade, given_report(long), OrderReport(short.client_order_id, OrderStatus.ABSENT, T0))
        trade = noted(trade, next_step(trade, a_market(), ACTIVE))
        trade = filled(sent(trade, next_step(trade, a_market(), ACTIVE)))
        trade = noted(trade, next_step(trade, a_market(), ACTIVE))
        self.assertEqual((2, 1), (next_slice_number(trade), slices_done(trade)))

    def test_a_leg_that_is_full_leaves_no_slice_to_the_other(self) -> None:
        """Four dollars of a thousand are no slice of their own."""
        trade = filled(a_working_trade(slices=2))
        trade = filled(sent(trade, next_step(trade, a_market(after(36)), ACTIVE)), ETH="0.993")
        self.assertEqual(trade.terms.short.quantity, trade.filled(BTC))
        self.assertIsNone(next_slice_due(trade))
        self.notes(next_step(trade, a_market(after(40)), ACTIVE), TradeFilled)

    def test_what_was_taken_back_is_no_part_of_the_average_price(self) -> None:
        """Sold again at a loss: neither the leg's own average nor that of the other, which trades on that side, too."""
        for share, ahead in (({"BTC": "0"}, ETH), ({"ETH": "0"}, BTC)):
            with self.subTest(ahead):
                trade = filled(a_working_trade(slices=2), **share)
                trade = noted(trade, next_step(trade, a_market(), ACTIVE))
                trim = next_step(trade, a_market(prices={"ETH": "3000", "BTC": "80000"}), Policy(TradingState.REDUCING))
                trade = filled(sent(trade, trim))
                prices = {leg.coin: average_price(trade, leg) for leg in trade.terms.legs}
                first = next(one for one in trade.orders if one.coin == ahead)
                self.assertEqual(first.limit_price, prices.pop(ahead))
                self.assertEqual([None], list(prices.values()))

    def test_done_counts_what_is_known_to_have_ended(self) -> None:
        trade = a_working_trade(slices=3)
        self.assertEqual(0, slices_done(a_trade(slices=3)))
        self.assertEqual(0, slices_done(trade))
        self.assertEqual(1, slices_done(filled(trade)))
        self.assertEqual(0, slices_done(absent(trade, after(16))))
        self.assertEqual(1, slices_done(given_a_filled_trade()))

    def test_only_a_live_opening_with_something_left_has_a_next_slice(self) -> None:
        opened = given_a_filled_trade()
        self.assertIsNone(next_slice_due(opened))
        self.assertIsNone(next_slice_due(given_a_closing_trade(opened)))
        self.assertIsNone(next_slice_due(filled(a_working_trade(slices=1), ETH="0", BTC="0")))
        self.assertEqual(T0, next_slice_due(a_trade()))


def unbalanced(**shares: str) -> Trade:
    """A trade of 1,000 USD a leg in REPAIRING at T0 after a first slice filled to *shares*."""
    trade = filled(a_working_trade(), **shares)
    return record(trade, LegsUnbalanced(T0, imbalance_of(trade)))


class RepairTests(PlaybookTestCase):
    def test_what_is_less_than_a_lot_apart_is_level(self) -> None:
        """A lot of BTC is 100 USD here."""
        for share, level in (("0.91", True), ("0.89", False)):
            with self.subTest(share):
                step = next_step(filled(a_working_trade(), ETH=share), a_market(lots={"BTC": "0.001"}), ACTIVE)
                self.notes(step, TradeFilled if level else LegsUnbalanced)

    def test_what_is_apart_in_mid_schedule_is_looked_at_closely_once_nothing_more_is_sent(self) -> None:
        """Eight dollars of a hundred: the next slice evens them out, if there is one."""
        trade = filled(a_working_trade(size="200", slices=2, pair="AVAX/SOL"), SOL="0.84")
        self.waits(next_step(trade, a_market(), ACTIVE), "not due")
        self.notes(next_step(trade, a_market(trade.terms.gives_up_at), ACTIVE), LegsUnbalanced)
        self.notes(next_step(trade, a_market(), Policy(TradingState.REDUCING)), LegsUnbalanced)

    def test_a_leg_that_stands_alone_goes_whole_however_small(self) -> None:
        """Twelve dollars at arrival, and by now less than the venue takes of a part."""
        trade = filled(a_working_trade(), ETH="0.012", BTC="0")
        trade = record(trade, LegsUnbalanced(T0, imbalance_of(trade)))
        (order,) = self.sends(next_step(trade, a_market(prices={"ETH": "3300"}), Policy(TradingState.REDUCING)))
        self.assertEqual((ETH, Side.SELL, Decimal("0.003"), True), _shape(order))

    def test_a_small_residue_of_many_coins_stays_too(self) -> None:
        trade = filled(a_working_trade(pair="SOL/AVAX"), SOL="0.988")
        trade = record(trade, LegsUnbalanced(T0, imbalance_of(trade)))
        step = next_step(trade, a_market(prices={"AVAX": "20"}), Policy(TradingState.REDUCING))
        self.notes(step, LegsBalanced)

    def test_a_completion_belongs_to_the_slice_that_it_completes(self) -> None:
        trade = filled(a_working_trade(slices=3))
        trade = filled(sent(trade, next_step(trade, a_market(after(36)), ACTIVE)), BTC="0")
        trade = noted(trade, next_step(trade, a_market(after(36)), ACTIVE))
        for policy in (ACTIVE, Policy(TradingState.REDUCING)):
            (order,) = self.sends(next_step(trade, a_market(after(36)), policy))
            self.assertEqual(2, order.slice_number)

    def test_an_imbalance_above_a_lot_and_the_minimum_is_noted(self) -> None:
        for share, level in (("1", True), ("0.995", True), ("0.98", False), ("0", False)):
            trade = filled(a_working_trade(), ETH=share)
            step = next_step(trade, a_market(lots={"BTC": "0.00001"}), ACTIVE)
            with self.subTest(share=share):
                self.notes(step, TradeFilled if level else LegsUnbalanced)

    def test_a_move_of_prices_is_no_imbalance(self) -> None:
        trade = filled(a_working_trade())
        self.notes(next_step(trade, a_market(prices={"ETH": "8000"}), ACTIVE), TradeFilled)

    def test_three_completions_go_out_in_widening_bands_and_then_the_leader_is_trimmed(self) -> None:
        trade = unbalanced(BTC="0")
        ask = given_quote("BTC").bid
        for band in COMPLETION_BANDS:
            (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
            self.assertEqual((BTC, Side.SELL, Decimal("0.01"), False), _shape(order))
            self.assertGreaterEqual(order.limit_price, ask * (1 - band))
            self.assertLess(order.limit_price, ask * (1 - band) * Decimal("1.0005"))
            trade = filled(sent(trade, Send((order,))), BTC="0")
        (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertEqual((ETH, Side.SELL, Decimal("0.25"), True), _shape(order))
        self.assertEqual(after(5), order.expires_at)

    def test_orders_sent_before_the_imbalance_are_no_completions_even_at_the_same_instant(self) -> None:
        trade = unbalanced(BTC="0")
        self.assertEqual(trade.orders[0].intended_at, trade.repairing_since)
        (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertGreaterEqual(order.limit_price, given_quote("BTC").bid * (1 - COMPLETION_BANDS[0]))

    def test_a_completion_takes_what_is_missing_and_the_trade_is_level_again(self) -> None:
        trade = unbalanced(BTC="0.4")
        (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertEqual(Decimal("0.006"), order.quantity)
        trade = filled(sent(trade, Send((order,))))
        trade = noted(trade, next_step(trade, a_market(), ACTIVE))
        self.assertIs(TradeStatus.WORKING, trade.status)
        self.notes(next_step(trade, a_market(), ACTIVE), TradeFilled)

    def test_a_third_of_a_leg_is_completed_to_the_lot(self) -> None:
        trade = a_working_trade(size="2400")
        long, short = trade.orders
        third = given_report(long, str((long.quantity / 3).quantize(Decimal("0.0001")) / long.quantity))
        trade = answered(trade, third, a_refusal(short, RejectReason.NO_MATCH))
        trade = record(trade, LegsUnbalanced(T0, imbalance_of(trade)))
        (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertEqual(Decimal("0.0040"), order.quantity)

    def test_after_five_seconds_there_are_no_more_completions(self) -> None:
        trade = unbalanced(BTC="0")
        for seconds, coin in ((5, BTC), (5.1, ETH)):
            (order,) = self.sends(next_step(trade, a_market(after(seconds)), ACTIVE))
            self.assertEqual(coin, order.coin)

    def test_a_completion_waits_for_a_fresh_quote_until_its_window_ends(self) -> None:
        trade = unbalanced(BTC="0")
        for market in (a_market(without=["BTC"]), a_market(after(3), quoted_at=T0)):
            self.assertEqual(after(5), self.waits(next_step(trade, market, ACTIVE), "lagging").until)
        (order,) = self.sends(next_step(trade, a_market(after(6), without=["BTC"]), ACTIVE))
        self.assertTrue(order.reduce_only)

    def test_a_refusal_that_will_not_heal_goes_straight_to_trimming(self) -> None:
        for reason in RejectReason:
            trade = a_working_trade()
            long, short = trade.orders
            trade = answered(trade, given_report(long), a_refusal(short, reason))
            trade = record(trade, LegsUnbalanced(T0, imbalance_of(trade)))
            (order,) = self.sends(next_step(trade, a_market(), ACTIVE))
            with self.subTest(reason=reason):
                self.assertEqual(not reason.heals, order.reduce_only)

    def test_outside_active_or_with_a_cancel_wanted_an_opening_only_trims(self) -> None:
        trade = unbalanced(ETH="0")
        for state in (TradingState.REDUCING, TradingState.LIQUIDATING, TradingState.HALTED):
            (order,) = self.sends(next_step(trade, a_market(), Policy(state)))
            self.assertEqual((BTC, Side.BUY, Decimal("0.01"), True), _shape(order))
        (order,) = self.sends(next_step(record(trade, CancelWanted(T0, "stop")), a_market(), ACTIVE))
        self.assertTrue(order.reduce_only)

    def test_a_trim_is_rounded_down_clamped_to_the_venue_and_widens_with_pauses(self) -> None:
        trade, reducing, at = unbalanced(BTC="0"), Policy(TradingState.REDUCING), T0
        for round_number in range(5):
            band = CLOSE_BANDS[min(round_number, 2)]
            market = a_market(at, available={"ETH": "0.20005"})
            (order,) = self.sends(next_step(trade, market, reducing))
            self.assertEqual(Decimal("0.2"), order.quantity)
            bid = given_quote("ETH").bid
            self.assertTrue(bid * (1 - band) <= order.limit_price < bid * (1 - band) * Decimal("1.0005"))
            trade = filled(sent(trade, Send((order,))), ETH="0")
            if round_number >= 2:
                self.assertEqual(
                    at + timedelta(seconds=5), self.waits(next_step(trade, market, reducing), "trim").until
                )
                at += timedelta(seconds=5)

    def test_a_trade_that_can_be_neither_completed_nor_trimmed_is_suspended(self) -> None:
        trade, at = unbalanced(BTC="0"), T0
        for _ in range(TRIMS_MAX):
            trade = filled(sent(trade, next_step(trade, a_market(at), Policy(TradingState.REDUCING))), ETH="0")
            at += timedelta(seconds=5)
        self.notes(next_step(trade, a_market(at), ACTIVE), TradeSuspended)

    def test_a_trim_waits_for_a_price(self) -> None:
        trade = unbalanced(BTC="0")
        for market in (a_market(without=["ETH"]), a_market(prices={"ETH": "0"})):
            self.waits(next_step(trade, market, Policy(TradingState.REDUCING)), "no price for ETH")

    def test_a_leg_that_the_venue_does_not_hold_is_asked_for_a_minute_and_then_suspended(self) -> None:
        trade, reducing = unbalanced(BTC="0"), Policy(TradingState.REDUCING)
        wait = self.waits(next_step(trade, a_market(after(60), available={"ETH": "0"}), reducing), "holds no ETH")
        self.assertEqual(after(60), wait.until)
        self.notes(next_step(trade, a_market(after(61), available={"ETH": "0"}), reducing), TradeSuspended)

    def test_a_small_residue_that_cannot_be_traded_stays_and_is_not_judged_again(self) -> None:
        # 12 USD were ahead at arrival; at this price they are less than the venue takes, and BTC finds no match.
        trade = noted_imbalance("0.988")
        market = a_market(prices={"ETH": "3300"})
        ended = driven(trade, market, lambda one: filled(one, BTC="0", ETH="0"))
        self.assertIs(TradeStatus.FILLED, ended.status)
        self.assertTrue(any(isinstance(event, LegsBalanced) for event in ended.events))

    def test_a_large_residue_that_cannot_be_traded_takes_both_legs_along(self) -> None:
        trade = filled(a_working_trade(size="30", pair="AVAX/SOL"), SOL="0.5")
        trade = noted(trade, next_step(trade, a_market(), ACTIVE))
        orders = self.sends(next_step(trade, a_market(), ACTIVE))
        self.assertTrue(all(order.reduce_only for order in orders))
        self.assertEqual(
            {order.coin: trade.filled(order.coin) for order in orders}, {o.coin: o.quantity for o in orders}
        )
        self.assertEqual(2, len(orders))
        ended = driven(trade, a_market(), filled)
        self.assertEqual(TradeStatus.CANCELED, ended.status)
        self.assertIn("taken back", ended.why)

    def test_both_legs_go_without_the_one_that_has_no_price(self) -> None:
        trade = filled(a_working_trade(size="30", pair="AVAX/SOL"), SOL="0.5")
        trade = record(trade, LegsUnbalanced(T0, imbalance_of(trade)))
        (order,) = self.sends(next_step(trade, a_market(without=["SOL"]), Policy(TradingState.REDUCING)))
        self.assertEqual("AVAX", order.coin)

    def test_a_tiny_trade_does_not_end_with_one_leg(self) -> None:
        """Nine dollars of ten are less than the venue's minimum, but they are a naked leg all the same."""
        trade = filled(a_working_trade(size="24", pair="AVAX/SOL"), SOL="0.3")
        self.assertLess(abs(imbalance_of(trade)), Usd(Decimal(10)))
        ended = driven(trade, a_market(), filled)
        self.assertEqual((ZERO, ZERO), (ended.filled(Coin("SOL")), ended.filled(Coin("AVAX"))))

    def test_what_stays_for_good_is_looked_at_closely_also_without_a_fresh_price(self) -> None:
        """Eight dollars of fifty: less than the venue takes, more than may stay."""
        trade = filled(a_working_trade(size="100", pair="AVAX/SOL"), SOL="0.84")
        for market in (a_market(), a_market(after(3), quoted_at=T0)):
            self.notes(next_step(trade, market, ACTIVE), LegsUnbalanced)

    def test_what_was_filled_beyond_the_asking_is_taken_back_with_pauses_and_then_somebody_has_to_look(self) -> None:
        trade = a_working_trade()
        reports = [
            replace(given_report(order), filled=Quantity(order.quantity * 2), sized_by_venue=True)
            for order in trade.orders
        ]
        trade, at = answered(trade, *reports), T0
        for round_number in range(TRIMS_MAX):
            long, short = self.sends(next_step(trade, a_market(at), ACTIVE))
            self.assertEqual((ETH, Side.SELL, Decimal("0.25"), True), _shape(long))
            self.assertEqual((BTC, Side.BUY, Decimal("0.01"), True), _shape(short))
            trade = filled(sent(trade, Send((long, short))), ETH="0", BTC="0")
            if 2 <= round_number < TRIMS_MAX - 1:
                wait = self.waits(next_step(trade, a_market(at), ACTIVE), "take back")
                at += timedelta(seconds=5)
                self.assertEqual(at, wait.until)
        self.notes(next_step(trade, a_market(at), ACTIVE), TradeSuspended)

    def test_only_what_the_venue_holds_is_taken_back(self) -> None:
        trade = a_working_trade()
        doubled = [
            replace(given_report(one), filled=Quantity(one.quantity * 2), sized_by_venue=True) for one in trade.orders
        ]
        trade = answered(trade, *doubled)
        (order,) = self.sends(next_step(trade, a_market(available={"ETH": "0", "BTC": "0.004"}), ACTIVE))
        self.assertEqual((BTC, Side.BUY, Decimal("0.004"), True), _shape(order))
        self.waits(next_step(trade, a_market(available={"ETH": "0", "BTC": "0"}), ACTIVE), "no price")

    def test_an_imbalance_that_cannot_be_judged_waits_for_the_list(self) -> None:
        trade = filled(a_working_trade(), BTC="0.9")
        self.waits(next_step(trade, a_market(listed=False), Policy(TradingState.REDUCING)), "could not be read")

    def test_a_repaired_trade_is_level_without_the_list_when_nothing_is_apart(self) -> None:
        trade = filled(sent(unbalanced(BTC="0"), next_step(unbalanced(BTC="0"), a_market(), ACTIVE)))
        self.notes(next_step(trade, a_market(listed=False), ACTIVE), LegsBalanced)

    def test_a_narrower_band_is_taken_where_the_wide_one_falls_under_the_minimum(self) -> None:
        trade, reducing = noted_imbalance("0.9895"), Policy(TradingState.REDUCING)
        for band in (CLOSE_BANDS[0], CLOSE_BANDS[1], CLOSE_BANDS[1]):
            (order,) = self.sends(next_step(trade, a_market(), reducing))
            self.assertGreaterEqual(order.quantity * order.limit_price, 10)
            self.assertGreaterEqual(order.limit_price, given_quote("ETH").bid * (1 - band))
            trade = filled(sent(trade, Send((order,))), ETH="0")


def noted_imbalance(share: str) -> Trade:
    """ETH filled whole, BTC to *share* of 0.01, found unbalanced."""
    trade = a_working_trade()
    long, short = trade.orders
    quantity = Quantity(short.quantity * Decimal(share))
    report = replace(given_report(short), filled=quantity, status=OrderStatus.PARTIALLY_FILLED)
    trade = answered(trade, given_report(long), report)
    return record(trade, LegsUnbalanced(T0, imbalance_of(trade)))


def _shape(order: Order) -> tuple[Coin, Side, Quantity, bool]:
    return order.coin, order.side, order.quantity, order.reduce_only


def sent_close(opening: Trade) -> Trade:
    closing = given_a_closing_trade(opening)
    step = next_step(closing, a_market(after(60), outstanding={"ETH": "0.25", "BTC": "0.01"}), ACTIVE)
    return sent(closing, step)


def denied(closing: Trade, at: datetime) -> Trade:
    """*closing* after the venue has said, *at* an instant of whatever clock, that there is nothing to reduce."""
    denials = tuple(a_refusal(one, RejectReason.REDUCE_ONLY, at) for one in closing.orders)
    return record(closing, OrdersReported(closing.events[-1].at, denials))


def vanished_at(now: datetime) -> Market:
    """The account holds neither leg, of which one is outstanding."""
    nothing = {"ETH": "0", "BTC": "0"}
    return a_market(now, available=nothing, outstanding={"ETH": "0.25", "BTC": "0"}, whole=nothing)


class ClosingTests(PlaybookTestCase):
    def setUp(self) -> None:
        self.closing = given_a_closing_trade(given_a_filled_trade(), at=T0 + timedelta(seconds=60))
        self.at = after(60)

    def market(self, eth: str = "0.25", btc: str = "0.01", at: datetime | None = None, **changes: object) -> Market:
        market = a_market(at or self.at, outstanding={"ETH": eth, "BTC": btc})
        return replace(market, **changes)  # type: ignore[arg-type]  # each test names fields of Market

    def test_a_close_is_reduce_only_both_legs_and_clamped_and_rounded_down(self) -> None:
        market = self.market(available={ETH: Quantity(Decimal("0.20007")), BTC: Quantity(Decimal(1))})
        long, short = self.sends(next_step(self.closing, market, ACTIVE))
        self.assertEqual((ETH, Side.SELL, Decimal("0.2"), True), _shape(long))
        self.assertEqual((BTC, Side.BUY, Decimal("0.01"), True), _shape(short))
        self.assertEqual(self.at + timedelta(seconds=5), long.expires_at)

    def test_a_close_goes_in_every_state(self) -> None:
        for state in TradingState:
            self.assertEqual(2, len(self.sends(next_step(self.closing, self.market(), Policy(state)))))

    def test_a_close_never_gives_up_and_widens_its_band(self) -> None:
        trade, at = self.closing, self.at
        bid = given_quote("ETH").bid
        for round_number in range(12):
            band = CLOSE_BANDS[min(round_number, 2)]
            orders = self.sends(next_step(trade, self.market(at=at), ACTIVE))
            self.assertEqual({round_number + 1}, {order.slice_number for order in orders})
            self.assertTrue(bid * (1 - band) <= orders[0].limit_price < bid * (1 - band) * Decimal("1.0005"))
            trade = filled(sent(trade, Send(orders)), ETH="0", BTC="0")
            if round_number >= 2:
                wait = self.waits(next_step(trade, self.market(at=at), ACTIVE), "not due")
                self.assertEqual(at + timedelta(seconds=5), wait.until)
                at += timedelta(seconds=5)

    def test_one_leg_left_is_noted_and_completed_only(self) -> None:
        trade = filled(sent(self.closing, next_step(self.closing, self.market(), ACTIVE)), BTC="0")
        trade = noted(trade, next_step(trade, self.market(eth="0"), ACTIVE))
        self.assertIs(TradeStatus.REPAIRING, trade.status)
        (order,) = self.sends(next_step(trade, self.market(eth="0"), ACTIVE))
        self.assertEqual((BTC, Side.BUY, True), (order.coin, order.side, order.reduce_only))
        trade = filled(sent(trade, Send((order,))))
        trade = noted(trade, next_step(trade, self.market(eth="0", btc="0"), ACTIVE))
        self.notes(next_step(trade, self.market(eth="0", btc="0"), ACTIVE), TradeFilled)

    def test_a_slice_that_would_leave_less_than_the_venue_takes_takes_it_along(self) -> None:
        terms = self.closing.terms
        slices = given_slices(terms.long, terms.short, 3, at=self.at)
        trade = given_a_closing_trade(
            given_a_filled_trade(), at=self.at, slices=slices, slice_interval_seconds=Decimal(36)
        )
        for eth, btc, sent_of_it in (
            ("0.25", "0.01", ("0.0833", "0.0033")),
            ("0.0845", "0.0034", ("0.0845", "0.0034")),
            ("0.0845", "0.0033", ("0.0845", "0.0033")),
        ):
            with self.subTest(eth):
                orders = self.sends(next_step(trade, self.market(eth, btc), ACTIVE))
                self.assertEqual([Decimal(one) for one in sent_of_it], [one.quantity for one in orders])

    def test_a_flat_close_waits_for_its_opening_to_end(self) -> None:
        flat = self.market(eth="0", btc="0", opening_live=True)
        self.waits(next_step(self.closing, flat, ACTIVE), "opening")

    def test_already_flat_is_the_end(self) -> None:
        self.notes(next_step(self.closing, self.market(eth="0", btc="0"), ACTIVE), TradeCanceled)

    def test_a_leg_without_a_price_does_not_hold_up_the_other(self) -> None:
        for quotes in ({ETH: given_quote("ETH", at=self.at)}, {}):
            step = next_step(self.closing, self.market(quotes=quotes), ACTIVE)
            with self.subTest(quotes=quotes):
                if quotes:
                    self.assertEqual([ETH], [order.coin for order in self.sends(step)])
                else:
                    self.waits(step, "nothing that the venue would take")

    def test_stale_prices_do_not_hold_up_a_close(self) -> None:
        stale = {coin: given_quote(coin, at=T0 - timedelta(hours=1)) for coin in (ETH, BTC)}
        self.assertEqual(2, len(self.sends(next_step(self.closing, self.market(quotes=stale), ACTIVE))))

    def test_a_close_without_the_list_of_instruments_waits(self) -> None:
        trade = filled(sent(self.closing, next_step(self.closing, self.market(), ACTIVE)), BTC="0")
        self.waits(next_step(trade, self.market(eth="0", instruments={}), ACTIVE), "nothing that the venue would take")

    def test_a_residue_under_the_minimum_waits_for_the_last_sharer(self) -> None:
        for whole, goes in (("0.252", False), ("0.002", True)):
            market = self.market(eth="0.002", btc="0", whole={ETH: Quantity(Decimal(whole)), BTC: Quantity(ZERO)})
            step = next_step(self.closing, market, ACTIVE)
            with self.subTest(whole=whole):
                self.assertIsInstance(step, Send if goes else Wait)

    def test_a_part_just_above_the_minimum_of_a_shared_coin_is_sold_in_a_band_that_keeps_it_there(self) -> None:
        trade, at = self.closing, self.at
        shared = {ETH: Quantity(Decimal("0.2526")), BTC: Quantity(ZERO)}
        for _ in range(4):
            (order,) = self.sends(next_step(trade, self.market(eth="0.0026", btc="0", at=at, whole=shared), ACTIVE))
            self.assertGreaterEqual(order.quantity * order.limit_price, 10)
            trade = filled(sent(trade, Send((order,))), ETH="0")
            trade = driven(trade, self.market(eth="0.0026", btc="0", at=at, whole=shared, quotes={}), filled)
            at += timedelta(seconds=5)

    def test_a_price_off_everything_never_raises(self) -> None:
        odd = Quote(ETH, Price(Decimal("NaN")), Price(Decimal(1)), Price(Decimal(1)), self.at)
        step = next_step(self.closing, self.market(quotes={ETH: odd}), ACTIVE)
        self.waits(step, "nothing that the venue would take")


class ReportTests(PlaybookTestCase):
    def test_an_answer_in_two_parts_is_judged_when_both_are_known(self) -> None:
        trade = a_working_trade()
        trade = answered(trade, given_report(trade.orders[0]))
        self.assertEqual(Ask((trade.orders[1],)), next_step(trade, a_market(), ACTIVE))
        trade = record(trade, given_reports(trade.orders[1:]))
        self.notes(next_step(trade, a_market(), ACTIVE), TradeFilled)


if __name__ == "__main__":
    unittest.main()
