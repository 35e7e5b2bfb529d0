"""Positions as the projection of trades: quantities, prices, money and status."""

import unittest
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_closing_terms,
    given_exit_plan,
    given_order,
    given_orders,
    given_report,
    given_reports,
    given_terms,
    given_watch,
)
from trading.domain.errors import InvariantBroken
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import OrderReport, OrderStatus, Side
from trading.domain.positions import Position, PositionStatus, first_watch, position_of
from trading.domain.trades import (
    CancelWanted,
    CloseHurried,
    Event,
    LegLost,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    Terms,
    Trade,
    TradeAccepted,
    TradeCanceled,
    TradeFilled,
    TradeRejected,
    imbalance_of,
    record,
    replay,
)
from trading.domain.units import Coin, Price, Quantity, Ratio, Usd

D = Decimal
BTC, ETH = Coin("BTC"), Coin("ETH")
MINUTE = after(60)


def recorded(trade: Trade, *events: Event) -> Trade:
    for event in events:
        trade = record(trade, event)
    return trade


def closed_at(opening: Trade, long_price: str, short_price: str, fraction: str = "1") -> Trade:
    """A closing trade, still live, whose orders filled *fraction* at these prices ten seconds after the start."""
    closing = given_a_closing_trade(opening, at=after(10), reason=ExitReason.TAKE_PROFIT)
    closing = record(closing, OrdersIntended(after(10), given_orders(closing.terms, at=after(10))))
    long, short = closing.orders
    reports = (
        given_report(long, fraction, after(10), long_price),
        given_report(short, fraction, after(10), short_price),
    )
    return record(closing, OrdersReported(after(10), reports))


class QuantityTest(unittest.TestCase):
    def test_a_filled_opening_is_held_at_its_average_price(self) -> None:
        position = position_of([given_a_filled_trade()])
        self.assertEqual((position.long.coin, position.long.side, position.long.held), (ETH, Side.BUY, D("0.25")))
        self.assertEqual((position.short.coin, position.short.side, position.short.held), (BTC, Side.SELL, D("0.01")))
        self.assertEqual((position.long.entry_price, position.short.entry_price), (4000, 100_000))
        self.assertEqual((position.entry_notional, position.fees, position.realized), (2000, D("0.9"), 0))
        self.assertIsNone(position.long.exit_price)
        self.assertTrue(position.holds)

    def test_slices_at_different_prices_average(self) -> None:
        trade = given_a_trade(slices=2)
        for number, price in ((1, "4000"), (2, "4100")):
            orders = given_orders(trade.terms, number)
            reports = (given_report(orders[0], price=price), given_report(orders[1]))
            trade = recorded(trade, OrdersIntended(T0, orders), OrdersReported(T0, reports))
        self.assertEqual(position_of([trade]).long.entry_price, 4050)

    def test_a_trim_is_realized_and_leaves_less_opened_not_closed(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        trade = record(trade, OrdersReported(T0, (given_report(long), given_report(short, "0.6"))))
        trim = given_order(
            trade.terms,
            trade.terms.long,
            attempt=2,
            side=Side.SELL,
            quantity=Quantity(D("0.1")),
            limit_price=Price(D(3990)),
            reduce_only=True,
        )
        trade = recorded(
            trade,
            LegsUnbalanced(T0, imbalance_of(trade)),
            OrdersIntended(T0, (trim,)),
            OrdersReported(T0, (given_report(trim),)),
            TradeCanceled(T0, "trimmed"),
        )
        position = position_of([trade])
        self.assertEqual((position.long.opened, position.long.closed, position.long.held), (D("0.15"), 0, D("0.15")))
        self.assertEqual((position.long.realized, position.long.exit_price), (-1, 3990))
        self.assertEqual(position.long.entry_notional, 600)
        self.assertEqual(position.entry_notional, 1200)
        self.assertIs(position.status, PositionStatus.OPEN)

    def test_an_opening_trimmed_to_nothing_is_closed_by_repair(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        refused = OrderReport(short.client_order_id, OrderStatus.REJECTED, T0)
        trim = given_order(trade.terms, trade.terms.long, attempt=2, side=Side.SELL, reduce_only=True)
        trade = recorded(
            trade,
            OrdersReported(T0, (given_report(long), refused)),
            LegsUnbalanced(T0, Usd(D(1000))),
            OrdersIntended(T0, (trim,)),
            OrdersReported(T0, (given_report(trim, price="3980"),)),
            TradeCanceled(after(5), "short refused"),
        )
        position = position_of([trade])
        self.assertEqual((position.status, position.exit_reason), (PositionStatus.CLOSED, ExitReason.REPAIR))
        self.assertEqual((position.realized, position.entry_notional, position.exited_at), (-5, 0, after(5)))

    def test_partial_closes_leave_the_rest_held(self) -> None:
        opening = given_a_filled_trade()
        position = position_of([opening, closed_at(opening, "4100", "99000", "0.4")])
        self.assertEqual((position.long.closed, position.long.held), (D("0.1"), D("0.15")))
        self.assertEqual(position.realized, D("0.1") * 100 + D("0.004") * 1000)
        self.assertEqual(position.long.unrealized(D(4200)), D("0.15") * 200)
        self.assertEqual(position.short.unrealized(D(99_000)), D("0.006") * 1000)

    def test_both_legs_gain_in_their_own_direction(self) -> None:
        opening = given_a_filled_trade()
        position = position_of([opening, record(closed_at(opening, "4100", "99000"), TradeFilled(after(20)))])
        self.assertEqual((position.long.realized, position.short.realized, position.realized), (25, 10, 35))
        self.assertEqual((position.long.exit_price, position.short.exit_price), (4100, 99_000))
        self.assertEqual(position.fees, D("0.9") + D("0.00045") * (1025 + 990))

    def test_nothing_filled_has_no_entry_and_gains_nothing(self) -> None:
        position = position_of([given_a_trade()])
        self.assertIsNone(position.long.entry_price)
        self.assertEqual((position.entry_notional, position.long.unrealized(D(5000))), (0, 0))
        self.assertFalse(position.holds)

    def test_averaging_in_and_out_ends_where_the_fees_say(self) -> None:
        # Buy 100 at 10 and 100 at 15, sell 50 at 12, 100 at 20, 50 at 5, each at a quarter percent.
        plan = replace(given_terms().long, quantity=Quantity(D(200)))
        opening = traded(replace(given_terms(), long=plan), (("100", "10"), ("100", "15")), TradeFilled(T0))
        terms = given_closing_terms(opening)
        trades, realized = [opening], []
        for attempt, sale in enumerate((("50", "12"), ("100", "20"), ("50", "5")), start=1):
            part = replace(terms, trade_id=given_closing_terms(opening, attempt=attempt).trade_id)
            trades.append(traded(part, (sale,), TradeFilled(T0)))
            leg = position_of(trades).long
            realized.append(leg.realized)
            self.assertEqual(leg.entry_price, D("12.5"))
        self.assertEqual(realized, [-25, 725, 350])
        position = position_of(trades)
        self.assertEqual(position.realized - position.fees, D("336.625"))
        self.assertIs(position.status, PositionStatus.CLOSED)


def traded(terms: Terms, fills: Sequence[tuple[str, str]], end: Event) -> Trade:
    """A trade of *terms* whose long leg filled (quantity, price) in turn, a quarter percent of fees each."""
    trade = replay((TradeAccepted(terms.accepted_at, terms),))
    for attempt, (quantity, price) in enumerate(fills, start=1):
        order = given_order(terms, terms.long, attempt=attempt, quantity=Quantity(D(quantity)))
        report = given_report(order, price=price, fees=Usd(D(quantity) * D(price) * D("0.0025")))
        trade = recorded(trade, OrdersIntended(T0, (order,)), OrdersReported(T0, (report,)))
    return record(trade, end)


def lost(
    coin: Coin,
    quantity: str,
    price: str,
    reason: ExitReason = ExitReason.LEG_LOST,
    at: datetime = MINUTE,
    fill_id: str = "1",
) -> LegLost:
    """What a fill of somebody else took, for half a dollar of fees."""
    return LegLost(at, coin, Quantity(D(quantity)), Price(D(price)), Usd(D("0.5")), at, fill_id, reason, "taken")


class StatusTest(unittest.TestCase):
    def test_status_exit_and_reason_follow_the_trades(self) -> None:
        nothing = given_a_working_trade()
        absent = OrdersReported(T0, tuple(given_report(order, "0") for order in nothing.orders))
        half = record(given_a_working_trade(), given_reports(given_a_working_trade().orders, "0.5"))
        filled = given_a_filled_trade()
        closing = given_a_closing_trade(filled)
        canceled = record(closing, TradeCanceled(after(70), "stop"))
        table: tuple[tuple[str, list[Trade], str, ExitReason | None], ...] = (
            ("accepted", [given_a_trade()], "opening", None),
            ("half filled", [half], "opening", None),
            ("canceled with half", [record(half, TradeCanceled(T0, "asked"))], "open", None),
            ("filled", [filled], "open", None),
            ("rejected", [recorded(nothing, absent, TradeRejected(T0, "no"))], "closed", ExitReason.NOT_FILLED),
            ("canceled unsent", [record(given_a_trade(), TradeCanceled(T0, "no"))], "closed", ExitReason.NOT_FILLED),
            ("closing", [filled, closing], "closing", ExitReason.MANUAL),
            ("closing while it still opens", [half, given_a_closing_trade(half)], "closing", ExitReason.MANUAL),
            ("a close that stopped", [filled, canceled], "open", ExitReason.MANUAL),
            ("closed", [filled, given_a_filled_close(filled)], "closed", ExitReason.MANUAL),
        )
        for name, trades, status, reason in table:
            with self.subTest(name):
                position = position_of(trades)
                self.assertEqual((position.status, position.exit_reason), (status, reason))
                self.assertEqual(position.closed, status == "closed")
                self.assertEqual(position.exited_at is not None, status == "closed")

    def test_a_second_close_takes_the_first_ones_place(self) -> None:
        filled = given_a_filled_trade()
        first = record(closed_at(filled, "4000", "100000", "0.5"), TradeFilled(after(11)))
        rest = given_a_closing_trade(filled, at=after(12), attempt=2, reason=ExitReason.STOP_LOSS)
        position = position_of([filled, first, rest])
        self.assertEqual((position.closing_trade_id, position.exit_reason), (rest.id, ExitReason.STOP_LOSS))
        self.assertIs(position.status, PositionStatus.CLOSING)

    def test_one_leg_alone_is_held_and_so_open_and_guarded(self) -> None:
        for coin in (ETH, BTC):
            with self.subTest(coin=coin):
                trade = given_a_working_trade()
                reports = tuple(given_report(one, "1" if one.coin == coin else "0") for one in trade.orders)
                trade = recorded(trade, OrdersReported(T0, reports), TradeCanceled(T0, "the other leg was refused"))
                position = position_of([trade])
                self.assertEqual((PositionStatus.OPEN, True, True), (position.status, position.holds, position.guarded))

    def test_barriers_decide_until_a_close_takes_all_at_once(self) -> None:
        filled = given_a_filled_trade()
        slow = given_a_closing_trade(filled, slice_interval_seconds=D(30))
        hurried = record(slow, CloseHurried(after(70), ExitReason.STOP_LOSS, "a barrier"))
        ended = record(slow, TradeCanceled(after(70), "stop"))
        nothing = recorded(
            given_a_working_trade(),
            OrdersReported(T0, tuple(given_report(one, "0") for one in given_a_working_trade().orders)),
            TradeCanceled(T0, "stop"),
        )
        table: tuple[tuple[str, list[Trade], bool], ...] = (
            ("accepted, nothing held", [given_a_trade()], True),
            ("open", [filled], True),
            ("closing at once", [filled, given_a_closing_trade(filled)], False),
            ("closing in slices", [filled, slow], True),
            ("closing in slices, hurried", [filled, hurried], False),
            ("closing in slices while nothing is held", [nothing, slow], False),
            ("the slices have stopped", [filled, ended], True),
            ("closed", [filled, given_a_filled_close(filled)], False),
        )
        for name, trades, guarded in table:
            with self.subTest(name):
                self.assertEqual(guarded, position_of(trades).guarded)

    def test_what_others_took_of_a_leg_is_sold_of_that_leg_alone_at_the_fills_price(self) -> None:
        position = position_of([record(given_a_filled_trade(), lost(ETH, "0.1", "3900"))])
        self.assertEqual((D("0.15"), D("0.01")), (position.long.held, position.short.held))
        self.assertEqual((-10, D("0.5")), (position.long.realized, position.long.fees - D("0.45")))
        self.assertEqual((0, D("0.45")), (position.short.realized, position.short.fees))
        self.assertEqual(position.realized - position.fees, -10 - D("1.4"))

    def test_a_barrier_is_no_reason_where_a_leg_was_lost_before_it_and_what_somebody_asked_for_is(self) -> None:
        filled = given_a_filled_trade()
        gone = record(filled, lost(ETH, "0.25", "3900"))
        liquidated = record(gone, lost(BTC, "0.01", "101000", ExitReason.LIQUIDATION, fill_id="2"))
        table: tuple[tuple[Trade, ExitReason, float, ExitReason], ...] = (
            (gone, ExitReason.STOP_LOSS, 60, ExitReason.LEG_LOST),
            (gone, ExitReason.TAKE_PROFIT, 61, ExitReason.LEG_LOST),
            (gone, ExitReason.STOP_LOSS, 59, ExitReason.STOP_LOSS),
            (gone, ExitReason.MANUAL, 61, ExitReason.MANUAL),
            (gone, ExitReason.EMERGENCY_STOP, 61, ExitReason.EMERGENCY_STOP),
            (liquidated, ExitReason.STOP_LOSS, 61, ExitReason.LIQUIDATION),
        )
        for opening, asked, at, reason in table:
            with self.subTest(asked=asked, at=at):
                closing = given_a_closing_trade(opening, at=after(at), reason=asked)
                self.assertEqual(reason, position_of([opening, closing]).exit_reason)
        for opening, both, reason in (
            (gone, lost(BTC, "0.01", "101000", fill_id="2"), ExitReason.LEG_LOST),
            (gone, lost(BTC, "0.01", "101000", ExitReason.LIQUIDATION, fill_id="2"), ExitReason.LIQUIDATION),
        ):
            position = position_of([record(opening, both)])
            self.assertEqual((PositionStatus.CLOSED, reason), (position.status, position.exit_reason))

    def test_an_opening_trade_comes_first(self) -> None:
        trades: Sequence[Sequence[Trade]] = ((), (given_a_closing_trade(given_a_filled_trade()),))
        for one in trades:
            with self.subTest(one=one), self.assertRaisesRegex(InvariantBroken, "opening trade"):
                position_of(one)

    def test_the_position_keeps_where_it_came_from(self) -> None:
        trade = given_a_filled_trade()
        position = position_of([trade])
        self.assertEqual((position.id, position.trade_id), (trade.terms.position_id, trade.id))
        self.assertEqual((position.signal, position.approval), (trade.terms.signal, trade.terms.approval))
        self.assertEqual((position.entered_at, position.requested_usd, position.leverage), (T0, 2000, 1))

    def test_legs_are_found_by_coin(self) -> None:
        position = position_of([given_a_filled_trade()])
        self.assertIs(position.leg_of(BTC), position.short)
        self.assertEqual(position.legs, (position.long, position.short))
        with self.assertRaisesRegex(InvariantBroken, "SOL"):
            position.leg_of(Coin("SOL"))


class WatchTest(unittest.TestCase):
    def test_the_watch_decides_exits_and_funding(self) -> None:
        trade = given_a_filled_trade()
        changed = given_exit_plan(take_profit=Ratio(D("0.05")))
        watch = given_watch(
            trade,
            exit_plan=changed,
            high_water=Ratio(D("0.01")),
            funding_long=Usd(D("1.5")),
            funding_short=Usd(D("-0.25")),
        )
        position = position_of([trade], watch)
        self.assertEqual((position.exit_plan, position.high_water), (changed, D("0.01")))
        self.assertEqual(position.funding, D("1.25"))
        self.assertEqual((position.long.funding, position.short.funding), (D("1.5"), D("-0.25")))

    def test_without_a_watch_the_opening_trades_plan_holds(self) -> None:
        trade = given_a_filled_trade()
        self.assertEqual(position_of([trade]).exit_plan, trade.terms.exit_plan)
        self.assertEqual(first_watch(trade).position_id, trade.terms.position_id)

    def test_an_opening_trade_without_a_plan_is_a_bug(self) -> None:
        with self.assertRaisesRegex(InvariantBroken, "exit plan"):
            position_of([given_a_trade(exit_plan=None)])


class NakedTest(unittest.TestCase):
    def uneven(self) -> Trade:
        trade = given_a_working_trade()
        return record(trade, OrdersReported(after(1), (given_report(trade.orders[0], at=after(1)),)))

    def test_a_position_adds_up_the_meters_of_its_trades(self) -> None:
        opening = self.uneven()
        opening = recorded(
            opening, OrdersReported(after(3), (given_report(opening.orders[1], at=after(3)),)), TradeFilled(after(3))
        )
        closing = given_a_closing_trade(opening, at=after(10))
        closing = record(closing, OrdersIntended(after(10), given_orders(closing.terms, at=after(10))))
        long, short = closing.orders
        closing = recorded(
            closing,
            OrdersReported(after(10), (given_report(long, "0.5", after(10)),)),
            CancelWanted(after(11), "ignored"),
            OrdersReported(after(14), (given_report(short, "0.5", after(14)),)),
        )
        position = position_of([opening, closing])
        self.assertEqual((position.naked_max, position.naked_usd_seconds), (1000, 2 * 1000 + 4 * 500))


class IdentityTest(unittest.TestCase):
    def test_cash_and_projection_agree_to_the_cent(self) -> None:
        """What the account's cash changed by is realized less fees, for trims and partial closes alike."""
        opening = given_a_filled_trade()
        position = position_of([opening, record(closed_at(opening, "4100", "99000"), TradeFilled(after(20)))])
        cash = D(0)
        for trade in (opening, closed_at(opening, "4100", "99000")):
            for order in trade.orders:
                report = trade.report_of(order)
                assert report.average_price is not None
                cash -= order.side.sign * report.filled * report.average_price + report.fees
        self.assertEqual(cash, net(position))


def net(position: Position) -> Decimal:
    return position.realized - position.fees - position.funding


if __name__ == "__main__":
    unittest.main()
