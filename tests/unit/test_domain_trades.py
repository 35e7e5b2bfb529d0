"""The trade: every cell of its transition table, its guards, and what it says of itself."""

import unittest
from dataclasses import replace
from decimal import Decimal
from unittest.mock import patch

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_order,
    given_orders,
    given_report,
    given_reports,
    given_terms,
)
from trading.domain.errors import InvariantBroken
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import Order, OrderReport, OrderStatus, Side
from trading.domain.trades import (
    TRANSITIONS,
    CancelWanted,
    CloseHurried,
    Event,
    HoldingGone,
    LegLost,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    SliceSkipped,
    Trade,
    TradeAccepted,
    TradeCanceled,
    TradeFilled,
    TradeRejected,
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    accept,
    imbalance_of,
    leg_fraction,
    overfill_of,
    record,
    replay,
    unmatched,
)
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd

D = Decimal
S = TradeStatus
LATER = after(10)


def trade_in(status: TradeStatus) -> Trade:
    """A trade in *status* without doubt; of the live ones, WORKING and after, half of both legs is filled."""
    if status is S.PENDING:
        return given_a_trade()
    if status is S.REJECTED:
        return record(record(given_a_working_trade(), absent(given_a_working_trade())), TradeRejected(after(2), "no"))
    working = given_a_working_trade()
    working = record(working, given_reports(working.orders, "0.5", after(1)))
    steps: dict[TradeStatus, tuple[Event, ...]] = {
        S.WORKING: (),
        S.REPAIRING: (LegsUnbalanced(after(2), Usd(D(100))),),
        S.SUSPENDED: (TradeSuspended(after(2), "stuck"),),
        S.FILLED: (TradeFilled(after(2)),),
        S.CANCELED: (TradeCanceled(after(2), "enough"),),
    }
    for event in steps[status]:
        working = record(working, event)
    return working


def absent(trade: Trade) -> OrdersReported:
    return OrdersReported(after(1), tuple(given_report(order, "0", after(1)) for order in trade.orders))


def events_for(trade: Trade) -> dict[str, Event]:
    """One event of each kind that no guard of *trade* minds, apart from the table."""
    orders = given_orders(trade.terms, attempt=2, at=LATER)
    return {
        "OrdersIntended": OrdersIntended(LATER, orders),
        "OrderReported": OrdersReported(LATER, ()),
        "LegsUnbalanced": LegsUnbalanced(LATER, Usd(D(100))),
        "LegsBalanced": LegsBalanced(LATER),
        "TradeFilled": TradeFilled(LATER),
        "TradeRejected": TradeRejected(LATER, "no match"),
        "TradeCanceled": TradeCanceled(LATER, "enough"),
        "TradeSuspended": TradeSuspended(LATER, "stuck"),
        "TradeResumed": TradeResumed(LATER, "looked at"),
        "CancelWanted": CancelWanted(LATER, "asked"),
        "TradeAccepted": TradeAccepted(LATER, trade.terms),
        "HoldingGone": HoldingGone(LATER, trade.terms.long.coin, Quantity(D("0.01")), Price(D(90_000)), "not there"),
        "LegLost": a_loss(trade.terms.long.coin),
        "SliceSkipped": SliceSkipped(LATER, 1, "too dear"),
    }


def a_loss(coin: Coin, quantity: str = "0.001", fill_id: str = "fill-1", price: str = "90000") -> LegLost:
    taken, at = Quantity(D(quantity)), Price(D(price))
    return LegLost(LATER, coin, taken, at, Usd(D("0.1")), LATER, fill_id, ExitReason.LIQUIDATION, "taken")


HEADER = (
    "OrdersIntended",
    "OrderReported",
    "LegsUnbalanced",
    "LegsBalanced",
    "TradeFilled",
    "TradeRejected",
    "TradeCanceled",
    "TradeSuspended",
    "TradeResumed",
    "CancelWanted",
    "TradeAccepted",
    "HoldingGone",
    "LegLost",
    "SliceSkipped",
)
TABLE = {
    S.PENDING: "WORKING - - - - - CANCELED - - PENDING - - - PENDING",
    S.WORKING: "WORKING WORKING REPAIRING - FILLED REJECTED CANCELED SUSPENDED - WORKING - - WORKING WORKING",
    S.REPAIRING: "REPAIRING REPAIRING - WORKING - - CANCELED SUSPENDED - REPAIRING - - REPAIRING -",
    S.SUSPENDED: "- SUSPENDED - - - - CANCELED - WORKING SUSPENDED - - SUSPENDED -",
    S.FILLED: "- FILLED - - - - - - - - - - FILLED -",
    S.CANCELED: "- CANCELED - - - - - - - - - - CANCELED -",
    S.REJECTED: "- - - - - - - - - - - - - -",
}


class TransitionTest(unittest.TestCase):
    def test_every_cell_of_the_table_is_as_designed(self) -> None:
        for status, row in TABLE.items():
            for name, cell in zip(HEADER, row.split(), strict=True):
                with self.subTest(status=status, event=name):
                    trade = trade_in(status)
                    if name == "SliceSkipped":
                        trade = replace(trade, terms=replace(trade.terms, slices=given_terms(slices=3).slices))
                    if name == "TradeRejected" and cell != "-":
                        trade = record(given_a_working_trade(), absent(given_a_working_trade()))
                    self.assertIs(trade.status, status)
                    event = events_for(trade)[name]
                    if cell == "-":
                        with self.assertRaises(InvariantBroken):
                            record(trade, event)
                    else:
                        self.assertEqual(record(trade, event).status, cell)

    def test_a_close_may_find_its_holding_gone_and_counts_it_as_closed(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        orders = given_orders(closing.terms, at=closing.events[-1].at)
        closing = record(closing, OrdersIntended(closing.events[-1].at, orders))
        refused = tuple(OrderReport(one.client_order_id, OrderStatus.REJECTED, LATER) for one in orders)
        closing = record(closing, OrdersReported(max(LATER, closing.events[-1].at), refused))
        coin = closing.terms.long.coin
        at = closing.events[-1].at
        gone = HoldingGone(at, coin, closing.terms.long.quantity, Price(D(90_000)), "not there")
        after = record(closing, gone)
        self.assertIs(after.status, S.WORKING)
        self.assertEqual(after.filled(coin), closing.terms.long.quantity)
        self.assertEqual(replay(after.events), after)

    def test_a_close_is_hurried_once_and_the_first_reason_stands(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        self.assertIs(closing.exit_reason, ExitReason.MANUAL)
        at = closing.events[-1].at
        for status in (S.PENDING, S.WORKING, S.REPAIRING, S.SUSPENDED):
            self.assertIs(TRANSITIONS[status][CloseHurried], status)
        closing = record(closing, CloseHurried(at, ExitReason.STOP_LOSS, "a breach"))
        closing = record(closing, CloseHurried(at, ExitReason.TIME_LIMIT, "later"))
        self.assertIs(closing.exit_reason, ExitReason.STOP_LOSS)
        self.assertEqual(replay(closing.events), closing)
        with self.assertRaisesRegex(InvariantBroken, "only a close"):
            record(given_a_working_trade(), CloseHurried(LATER, ExitReason.MANUAL, "now"))

    def test_slices_are_skipped_in_their_order_and_never_the_last(self) -> None:
        trade = record(given_a_trade(slices=4), SliceSkipped(LATER, 2, "too dear"))
        self.assertEqual([one.number for one in trade.skipped], [2])
        self.assertEqual(replay(trade.events), trade)
        for number, words in ((2, "once"), (1, "once"), (4, "before the last"), (0, "before the last")):
            with self.subTest(number=number), self.assertRaisesRegex(InvariantBroken, words):
                record(trade, SliceSkipped(LATER, number, "too dear"))
        with self.assertRaisesRegex(InvariantBroken, "in doubt"):
            record(given_a_working_trade(slices=4), SliceSkipped(LATER, 2, "too dear"))
        opening = given_a_filled_trade()
        with self.assertRaisesRegex(InvariantBroken, "only an opening"):
            record(given_a_closing_trade(opening), SliceSkipped(after(999), 1, "too dear"))

    def test_an_opening_loses_no_holding(self) -> None:
        with self.assertRaisesRegex(InvariantBroken, "only a close"):
            record(given_a_working_trade(), events_for(given_a_working_trade())["HoldingGone"])

    def test_what_is_lost_leaves_what_was_filled_and_adds_its_fee(self) -> None:
        trade = given_a_filled_trade()
        long = trade.terms.long
        after_it = record(trade, a_loss(long.coin, str(long.quantity)))
        self.assertEqual((after_it.filled(long.coin), after_it.lost_of(long.coin)), (long.quantity, long.quantity))
        self.assertEqual(after_it.fees, trade.fees + D("0.1"))
        self.assertEqual(replay(after_it.events), after_it)

    def test_a_loss_has_its_guards(self) -> None:
        trade = given_a_filled_trade()
        coin, most = trade.terms.long.coin, trade.terms.long.quantity
        once = record(trade, a_loss(coin))
        closing = given_a_closing_trade(trade)
        closing = record(closing, OrdersIntended(closing.events[-1].at, given_orders(closing.terms, at=T0)))
        for words, before, event in (
            ("the trade that opened it", closing, replace(a_loss(coin), at=closing.events[-1].at)),
            ("quantity and a price", trade, a_loss(coin, "0")),
            ("quantity and a price", trade, a_loss(coin, price="0")),
            ("its part once", once, a_loss(coin)),
            ("not filled", trade, a_loss(coin, str(most + D("0.001")))),
            ("not filled", once, a_loss(coin, str(most), "fill-2")),
        ):
            with self.subTest(words), self.assertRaisesRegex(InvariantBroken, words):
                record(before, event)
        self.assertEqual(record(once, a_loss(trade.terms.short.coin)).lost[1].coin, trade.terms.short.coin)

    def test_the_table_knows_every_status(self) -> None:
        self.assertEqual(set(TRANSITIONS), set(TradeStatus))
        self.assertEqual(set(TABLE), set(TradeStatus))

    def test_acceptance_happens_once_and_first(self) -> None:
        with self.assertRaisesRegex(InvariantBroken, "begins with TradeAccepted"):
            accept(TradeFilled(T0))
        with self.assertRaisesRegex(InvariantBroken, "without events"):
            replay(())
        self.assertIs(given_a_trade().status, S.PENDING)

    def test_not_even_a_mistaken_table_accepts_a_trade_twice(self) -> None:
        trade = given_a_trade()
        mistaken = {**TRANSITIONS, S.PENDING: {TradeAccepted: S.PENDING}}
        with (
            patch("trading.domain.trades.TRANSITIONS", mistaken),
            self.assertRaisesRegex(InvariantBroken, "accepted once"),
        ):
            record(trade, TradeAccepted(LATER, trade.terms))

    def test_a_journal_folds_to_its_record_from_every_status(self) -> None:
        for status in TradeStatus:
            with self.subTest(status=status):
                trade = trade_in(status)
                self.assertEqual(replay(trade.events), trade)

    def test_the_trade_before_an_event_is_left_as_it_was(self) -> None:
        trade = given_a_working_trade()
        record(trade, given_reports(trade.orders))
        self.assertEqual(trade, given_a_working_trade())

    def test_events_do_not_go_back_in_time(self) -> None:
        trade = given_a_working_trade(at=LATER)
        with self.assertRaisesRegex(InvariantBroken, "older"):
            record(trade, CancelWanted(T0, "asked"))
        self.assertEqual(record(trade, CancelWanted(LATER, "asked")).cancel_wanted, "asked")


class IntentGuardTest(unittest.TestCase):
    def test_nothing_is_sent_while_an_order_is_in_doubt(self) -> None:
        for status in (OrderStatus.INTENDED, OrderStatus.ACCEPTED, OrderStatus.UNKNOWN):
            with self.subTest(status=status):
                trade = given_a_working_trade()
                reports = tuple(OrderReport(order.client_order_id, status, T0) for order in trade.orders)
                trade = record(trade, OrdersReported(T0, reports))
                self.assertEqual(trade.in_doubt, trade.orders)
                with self.assertRaisesRegex(InvariantBroken, "in doubt"):
                    record(trade, OrdersIntended(LATER, given_orders(trade.terms, attempt=2)))

    def test_an_intent_is_of_fresh_orders_with_a_quantity(self) -> None:
        filled = trade_in(S.WORKING)
        fresh = given_order(filled.terms, filled.terms.long, attempt=2)
        table: tuple[tuple[str, tuple[Order, ...], str], ...] = (
            ("none at all", (), "names its orders"),
            ("an id used before", given_orders(filled.terms), "never used again"),
            ("an id twice in one intent", (fresh, fresh), "never used again"),
            ("no quantity", (replace(fresh, quantity=Quantity(D(0))),), "has a quantity"),
        )
        for name, orders, words in table:
            with self.subTest(name), self.assertRaisesRegex(InvariantBroken, words):
                record(filled, OrdersIntended(LATER, orders))


class ReportGuardTest(unittest.TestCase):
    def test_the_same_report_twice_is_harmless(self) -> None:
        trade = given_a_working_trade()
        reports = given_reports(trade.orders, "0.4", after(1))
        once = record(trade, reports)
        twice = record(once, reports)
        self.assertEqual(twice.reports, once.reports)
        self.assertEqual(twice.filled(Coin("ETH")), D("0.1"))
        self.assertEqual(twice.fees, once.fees)

    def test_reports_are_cumulative(self) -> None:
        trade = given_a_working_trade()
        long, _ = trade.orders
        for fraction in ("0.2", "0.6"):
            report = given_report(long, fraction, status=OrderStatus.ACCEPTED)
            trade = record(trade, OrdersReported(T0, (report,)))
        self.assertEqual(trade.filled(long.coin), long.quantity * D("0.6"))

    def test_late_fees_of_an_ended_trade_are_taken(self) -> None:
        trade = given_a_filled_trade()
        late = OrdersReported(LATER, tuple(replace(trade.report_of(order), fees=Usd(D(1))) for order in trade.orders))
        self.assertEqual(record(trade, late).fees, D(2))
        self.assertIs(record(trade, late).status, S.FILLED)

    def test_broken_reports_are_refused(self) -> None:
        working = given_a_working_trade()
        order = working.orders[0]
        partial = record(working, OrdersReported(T0, (given_report(order, "0.5", status=OrderStatus.ACCEPTED),)))
        ended = record(working, OrdersReported(T0, (given_report(order, "0.5"),)))
        stranger = replace(order, client_order_id=ClientOrderId("0x" + "0" * 32))
        table: tuple[tuple[str, Trade, OrderReport, str], ...] = (
            ("an order of somebody else", working, given_report(stranger), "names an order of this trade"),
            ("less than before", partial, given_report(order, "0.4"), "never shrink"),
            ("more than ordered", working, given_report(order, "1.1"), "never exceed"),
            ("another end", ended, given_report(order, "0.5", status=OrderStatus.FILLED), "does not change its end"),
            ("back to doubt", ended, given_report(order, "0.5", status=OrderStatus.UNKNOWN), "does not change its end"),
            ("more after the end", ended, given_report(order, "0.6"), "fills no more"),
            ("rejected with a fill", working, given_report(order, "0.5", status=OrderStatus.REJECTED), "has no fill"),
            ("absent with a fill", working, given_report(order, "0.5", status=OrderStatus.ABSENT), "has no fill"),
        )
        for name, trade, report, words in table:
            with self.subTest(name), self.assertRaisesRegex(InvariantBroken, words):
                record(trade, OrdersReported(LATER, (report,)))

    def test_one_leg_refused_leaves_the_other_as_it_is(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        refused = OrderReport(short.client_order_id, OrderStatus.REJECTED, T0)
        trade = record(trade, OrdersReported(T0, (given_report(long), refused)))
        self.assertEqual((trade.filled(long.coin), trade.filled(short.coin)), (long.quantity, 0))
        self.assertEqual(trade.in_doubt, ())


class VerdictGuardTest(unittest.TestCase):
    def test_no_verdict_while_in_doubt(self) -> None:
        for event in (TradeFilled(T0), TradeRejected(T0, "no"), TradeCanceled(T0, "enough")):
            with self.subTest(event=event), self.assertRaisesRegex(InvariantBroken, "in doubt"):
                record(given_a_working_trade(), event)

    def test_no_rejection_after_a_fill_and_no_filling_without_one(self) -> None:
        with self.assertRaisesRegex(InvariantBroken, "after a fill"):
            record(trade_in(S.WORKING), TradeRejected(LATER, "no"))
        empty = record(given_a_working_trade(), absent(given_a_working_trade()))
        with self.assertRaisesRegex(InvariantBroken, "nothing was filled"):
            record(empty, TradeFilled(LATER))

    def test_the_end_is_dated_and_explained(self) -> None:
        for status, why in ((S.FILLED, ""), (S.CANCELED, "enough"), (S.REJECTED, "no")):
            with self.subTest(status=status):
                trade = trade_in(status)
                self.assertEqual((trade.ended_at, trade.why, trade.live), (after(2), why, False))

    def test_the_first_reason_to_cancel_stands(self) -> None:
        trade = record(record(given_a_trade(), CancelWanted(T0, "first")), CancelWanted(T0, "second"))
        self.assertEqual(trade.cancel_wanted, "first")

    def test_a_suspension_is_explained_and_repair_starts_and_ends(self) -> None:
        self.assertEqual(trade_in(S.SUSPENDED).why, "stuck")
        repairing = trade_in(S.REPAIRING)
        self.assertEqual(repairing.repairing_since, after(2))
        self.assertIsNone(record(repairing, LegsBalanced(LATER)).repairing_since)
        suspended = record(repairing, TradeSuspended(LATER, "stuck"))
        self.assertIsNone(record(suspended, TradeResumed(LATER, "looked at")).repairing_since)
        self.assertIsNone(record(repairing, TradeCanceled(LATER, "enough")).repairing_since)


class MeasureTest(unittest.TestCase):
    def test_a_trim_of_an_opening_takes_back_what_was_filled(self) -> None:
        trade = given_a_filled_opening_with_a_trim()
        self.assertEqual(trade.filled(Coin("ETH")), D("0.15"))
        self.assertEqual(trade.filled(Coin("BTC")), D("0.006"))

    def test_a_close_counts_what_it_closed(self) -> None:
        opening = given_a_filled_trade()
        closing = given_a_closing_trade(opening)
        at = closing.terms.accepted_at
        closing = record(closing, OrdersIntended(at, given_orders(closing.terms, at=at)))
        closing = record(closing, given_reports(closing.orders, "0.5", at))
        self.assertFalse(closing.opens)
        self.assertEqual(closing.filled(Coin("ETH")), D("0.125"))

    def test_doubt_counts_at_full_size_less_what_is_known_and_never_for_trims(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        self.assertEqual(trade.doubtful(long.coin), long.quantity)
        known = given_report(long, "0.4", status=OrderStatus.UNKNOWN)
        trade = record(trade, OrdersReported(T0, (known, given_report(short))))
        self.assertEqual(trade.doubtful(long.coin), long.quantity * D("0.6"))
        self.assertEqual(trade.doubtful(short.coin), 0)
        trade = record(trade, OrdersReported(T0, (given_report(long, "0.4"),)))
        trim = given_order(trade.terms, trade.terms.long, attempt=2, side=Side.SELL, reduce_only=True)
        trade = record(trade, OrdersIntended(T0, (trim,)))
        self.assertEqual(trade.doubtful(long.coin), 0)

    def test_too_much_is_measured_by_what_was_asked_for_of_the_coin_and_not_in_vain(self) -> None:
        """0.25 ETH were to be bought: 0.1 were asked for in vain, then 0.1 again, of which up to 0.12 may come."""
        for filled, excess in (("0.119", "0"), ("0.12", "0"), ("0.2", "0.1"), ("0", "0")):
            with self.subTest(filled=filled):
                trade, leg = given_a_trade(), given_a_trade().terms.long
                for attempt, amount in ((1, "0"), (2, filled)):
                    order = given_order(trade.terms, leg, attempt=attempt, quantity=Quantity(D("0.1")))
                    report = OrderReport(
                        order.client_order_id,
                        OrderStatus.FILLED if D(amount) else OrderStatus.ABSENT,
                        T0,
                        Quantity(D(amount)),
                        Price(D(4000)) if D(amount) else None,
                        sized_by_venue=True,
                    )
                    trade = record(trade, OrdersIntended(T0, (order,)))
                    trade = record(trade, OrdersReported(T0, (report,)))
                self.assertEqual(D(excess), overfill_of(trade, leg.coin))
                self.assertEqual(D(0), overfill_of(trade, trade.terms.short.coin))

    def test_what_is_unmatched_is_worth_what_the_leg_ahead_was_planned_at(self) -> None:
        terms = given_terms()
        terms = replace(terms, short=replace(terms.short, quantity=Quantity(terms.short.quantity * 2)))
        self.assertEqual(D(500), unmatched(terms, terms.long.quantity, terms.short.quantity / 2))
        self.assertEqual(D(-1000), unmatched(terms, terms.long.quantity / 2, terms.short.quantity))

    def test_what_was_ever_filled_and_last_sent(self) -> None:
        self.assertIsNone(given_a_trade().last_sent_at)
        self.assertFalse(given_a_working_trade().anything_filled)
        trade = given_a_filled_trade()
        self.assertTrue(trade.anything_filled)
        self.assertEqual(trade.last_sent_at, T0)
        self.assertEqual(trade.fees, D("0.9"))
        self.assertEqual(trade.id, trade.terms.trade_id)
        self.assertEqual(trade.terms.legs, (trade.terms.long, trade.terms.short))

    def test_a_move_of_prices_is_no_imbalance(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        reports = (given_report(long, "0.5", price="4400"), given_report(short, "0.5", price="90000"))
        self.assertEqual(imbalance_of(record(trade, OrdersReported(T0, reports))), 0)

    def test_imbalance_is_signed_by_the_leg_ahead(self) -> None:
        for long_part, short_part, usd in (("1", "0.5", 500), ("0.2", "0.5", -300), ("0.5", "0.5", 0)):
            with self.subTest(long=long_part, short=short_part):
                trade = given_a_working_trade()
                long, short = trade.orders
                reports = (given_report(long, long_part), given_report(short, short_part))
                self.assertEqual(imbalance_of(record(trade, OrdersReported(T0, reports))), D(usd))

    def test_a_leg_that_was_to_trade_nothing_is_done(self) -> None:
        terms = given_terms()
        nothing = replace(terms.long, quantity=Quantity(D(0)))
        self.assertEqual(leg_fraction(given_a_trade(), nothing), 1)


class NakedMeterTest(unittest.TestCase):
    def test_exposure_counts_in_full_from_the_report_that_shows_it_to_the_next(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        trade = record(trade, OrdersReported(after(1), (given_report(long, at=after(1)),)))
        self.assertEqual((trade.naked.now, trade.naked.max, trade.naked.usd_seconds), (1000, 1000, 0))
        trade = record(trade, OrdersReported(after(4), (given_report(short, at=after(4)),)))
        self.assertEqual((trade.naked.now, trade.naked.max, trade.naked.usd_seconds), (0, 1000, 3000))
        trade = record(trade, TradeFilled(after(60)))
        self.assertEqual((trade.naked.now, trade.naked.max, trade.naked.usd_seconds), (0, 1000, 3000))

    def test_it_runs_to_the_end_of_a_trade_that_stays_uneven(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        reports = (given_report(long, "0.5", after(1)), given_report(short, "0.4", after(1)))
        trade = record(trade, OrdersReported(after(1), reports))
        trade = record(trade, TradeCanceled(after(11), "asked"))
        self.assertEqual((trade.naked.now, trade.naked.usd_seconds), (100, 1000))

    def test_legs_that_fill_together_were_never_naked(self) -> None:
        naked = given_a_filled_trade().naked
        self.assertEqual((naked.max, naked.usd_seconds), (0, 0))


def given_a_filled_opening_with_a_trim() -> Trade:
    """Long all of 0.25 ETH, short 0.006 of 0.01 BTC, then 0.1 ETH sold back at 3,990 and canceled."""
    trade = given_a_working_trade()
    long, short = trade.orders
    trade = record(trade, OrdersReported(after(1), (given_report(long), given_report(short, "0.6"))))
    trade = record(trade, LegsUnbalanced(after(1), imbalance_of(trade)))
    trim = given_order(
        trade.terms,
        trade.terms.long,
        attempt=2,
        at=after(2),
        side=Side.SELL,
        quantity=Quantity(D("0.1")),
        limit_price=Price(D(3990)),
        reduce_only=True,
    )
    trade = record(trade, OrdersIntended(after(2), (trim,)))
    trade = record(trade, OrdersReported(after(3), (given_report(trim, at=after(3)),)))
    return record(trade, TradeCanceled(after(3), "trimmed"))


if __name__ == "__main__":
    unittest.main()
