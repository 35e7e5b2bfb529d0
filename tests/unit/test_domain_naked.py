"""The naked-exposure meter: of a trade, of what fills of others and unlevel ends leave, and of all together."""

import unittest
from datetime import datetime
from decimal import Decimal

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_orders,
    given_report,
    given_reports,
)
from tests.unit.test_domain_trades import given_a_filled_opening_with_a_trim
from trading.domain.exit_plan import ExitReason
from trading.domain.naked import naked_by_losses, naked_in_all, naked_left, naked_now
from trading.domain.orders import OrderReport, OrderStatus
from trading.domain.trades import (
    HoldingGone,
    LegLost,
    Naked,
    OrdersIntended,
    OrdersReported,
    Trade,
    TradeCanceled,
    TradeFilled,
    record,
)
from trading.domain.units import Coin, Price, Quantity, Usd

D = Decimal
LATER = after(100)


def uneven(signal_id: str = "signal_1", at: datetime = T0, long: str = "1") -> Trade:
    """1,000 USD a leg of which the long has filled *long* a second after *at*; the short is not known yet."""
    trade = given_a_working_trade(signal_id, at=at)
    return record(trade, OrdersReported(after(1, at), (given_report(trade.orders[0], long, after(1, at)),)))


def evened(trade: Trade, at: datetime) -> Trade:
    """*trade* with its short filled at *at*, and ended."""
    trade = record(trade, OrdersReported(at, (given_report(trade.orders[1], at=at),)))
    return record(trade, TradeFilled(at))


def left_alone(trade: Trade, at: datetime) -> Trade:
    """*trade* canceled at *at*, its short never filled."""
    absent = OrderReport(trade.orders[1].client_order_id, OrderStatus.ABSENT, at)
    return record(record(trade, OrdersReported(at, (absent,))), TradeCanceled(at, "enough"))


def lost(coin: str, quantity: str, price: str, at: datetime) -> LegLost:
    return LegLost(
        at, Coin(coin), Quantity(D(quantity)), Price(D(price)), Usd(D(0)), at, f"{coin}{at}", ExitReason.LEG_LOST, "x"
    )


class OfATrade(unittest.TestCase):
    def test_the_meter_runs_on_between_events(self) -> None:
        meter = naked_now(uneven(), after(6))
        self.assertEqual((meter.now, meter.max, meter.usd_seconds), (1000, 1000, 5000))
        self.assertEqual(naked_now(uneven(), T0).usd_seconds, 0)

    def test_it_stands_still_before_the_first_report_and_after_the_end(self) -> None:
        self.assertEqual(naked_now(given_a_trade(), after(60)).usd_seconds, 0)
        ended = given_a_filled_trade()
        self.assertEqual(naked_now(ended, after(600)), ended.naked)

    def test_what_an_end_leaves_unlevel_runs_on_until_nothing_is_held(self) -> None:
        opening = left_alone(uneven(), after(5))
        meter = naked_left(opening, after(25))
        self.assertEqual((meter.now, meter.since, meter.max, meter.usd_seconds), (1000, after(5), 1000, 20_000))
        self.assertEqual(naked_left(uneven(), after(25)), Naked())
        self.assertEqual(naked_left(given_a_filled_trade(), after(25)), Naked())

    def test_what_others_took_counts_from_each_fill_to_the_next(self) -> None:
        opening = given_a_filled_trade()
        self.assertEqual(naked_by_losses(opening, after(60)), Naked())
        for loss in (lost("ETH", "0.2", "4000", after(10)), lost("BTC", "0.01", "100000", after(14))):
            opening = record(opening, loss)
        meter = naked_by_losses(opening, after(24))
        self.assertEqual((meter.now, meter.max, meter.usd_seconds), (200, 800, 4 * 800 + 10 * 200))
        self.assertEqual(naked_by_losses(opening, None).usd_seconds, 3200)


class InAll(unittest.TestCase):
    def together(
        self, *positions: tuple[tuple[Trade, ...], datetime | None], since: datetime = T0, until: datetime = LATER
    ) -> tuple[Decimal, Decimal, Decimal]:
        meter = naked_in_all(positions, since, until)
        return meter.now, meter.max, meter.usd_seconds

    def test_nothing_is_nothing(self) -> None:
        self.assertEqual(self.together(), (0, 0, 0))
        self.assertEqual(self.together(((given_a_filled_trade(),), None)), (0, 0, 0))

    def test_what_overlaps_adds_up_and_what_follows_does_not(self) -> None:
        first = evened(uneven("one"), after(11))
        overlapping = evened(uneven("two", after(4)), after(15))
        later = evened(uneven("three", after(10)), after(12))
        self.assertEqual(self.together(((first,), None), ((overlapping,), None)), (0, 2000, 20_000))
        # One ends at the very instant at which the other begins: they were never there together.
        self.assertEqual(self.together(((first,), None), ((later,), None)), (0, 1000, 11_000))

    def test_it_runs_on_to_the_instant_at_which_it_is_looked_at(self) -> None:
        self.assertEqual(self.together(((uneven(),), None), until=after(6)), (1000, 1000, 5000))
        self.assertEqual(self.together(((uneven(),), None), until=T0), (0, 0, 0))

    def test_what_was_before_midnight_counts_from_then_on(self) -> None:
        opening = uneven()
        self.assertEqual(self.together(((opening,), None), since=after(50)), (1000, 1000, 50_000))
        ended = evened(opening, after(11))
        self.assertEqual(self.together(((ended,), None), since=after(50)), (0, 0, 0))

    def test_trims_take_back_and_what_is_gone_is_matched(self) -> None:
        self.assertEqual(self.together(((given_a_filled_opening_with_a_trim(),), None)), (0, 400, 800))
        opening = evened(uneven(), after(2))
        closing = given_a_closing_trade(opening, at=after(10))
        closing = record(closing, OrdersIntended(after(10), given_orders(closing.terms, at=after(10))))
        long, short = closing.orders
        refused = OrderReport(short.client_order_id, OrderStatus.REJECTED, after(10))
        closing = record(closing, OrdersReported(after(10), (given_report(long, "1", after(10)), refused)))
        gone = HoldingGone(after(13), short.coin, short.quantity, Price(D(100_000)), "gone")
        closing = record(record(closing, gone), TradeFilled(after(14)))
        self.assertEqual(self.together(((opening, closing), after(14))), (0, 1000, 1000 + 3000))

    def test_what_is_left_and_what_is_lost_stop_when_the_position_is_closed(self) -> None:
        left = left_alone(uneven(), after(5))
        self.assertEqual(self.together(((left,), None)), (1000, 1000, 99_000))
        self.assertEqual(self.together(((left,), after(20))), (0, 1000, 19_000))
        opening = record(given_a_filled_trade(), lost("ETH", "0.25", "4000", after(10)))
        self.assertEqual(self.together(((opening,), after(20))), (0, 1000, 10_000))

    def test_it_agrees_with_the_meter_of_each_trade(self) -> None:
        for trade in (
            evened(uneven(), after(9)),
            evened(uneven(long="0.3"), after(7)),
            record(given_a_working_trade(), given_reports(given_a_working_trade().orders, "0.5", after(1))),
        ):
            meter, left = naked_now(trade, LATER), naked_left(trade, LATER)
            self.assertEqual(self.together(((trade,), None))[1:], (meter.max, meter.usd_seconds + left.usd_seconds))


if __name__ == "__main__":
    unittest.main()
