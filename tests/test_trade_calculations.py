"""The arithmetic of pair trades, in tables. Numbers were worked by hand or come from the sources named at the row."""

import unittest
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.builders import (
    T0,
    given_a_closing_trade,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_exit_plan,
    given_orders,
    given_report,
    given_trailing,
    given_watch,
)
from tests.price_grid import PRICES
from trading.domain.errors import InvalidNumber
from trading.domain.exit_plan import ExitPlan, ExitReason, TrailingStop
from trading.domain.market import Depth, Level
from trading.domain.orders import Side
from trading.domain.positions import Position, position_of
from trading.domain.trades import OrdersIntended, OrdersReported, Trade, imbalance_of, record
from trading.domain.units import Coin, Number, Price, Quantity, Ratio, Usd
from trading.utils.trade_calculator import (
    Stand,
    calculate_leverage,
    calculate_position_pnl,
    calculate_position_size,
    calculate_spread,
    executable_price,
    exit_due,
    fillable,
    fit_price,
    is_on_price_grid,
    leg_imbalance,
    leg_quantities,
    leg_slippage,
    liquidation_distance,
    liquidation_price,
    marketable_limit,
    net_return,
    pnl_percent,
    raise_high_water,
    ratio_slippage,
    round_trip_cost,
    slice_quantities,
    split_on_lots,
    split_twap_order,
    time_is_up,
    twap_due_times,
    unrealized_pnl,
)

D = Decimal
BROKEN: tuple[Number, ...] = ("NaN", "Infinity", "-Infinity", "sNaN", float("nan"), float("inf"), "", "ten", True)
NOT_POSITIVE: tuple[Number, ...] = (*BROKEN, 0, -1, "-0.5", 0.0, "1e400", "1e-400")


def levels(*rows: tuple[str, str]) -> tuple[Level, ...]:
    return tuple(Level(Price(D(price)), Quantity(D(quantity))) for price, quantity in rows)


def given_a_position(opening: Trade | None = None, **watch: Usd) -> Position:
    """Long 0.25 ETH from 4,000 and short 0.01 BTC from 100,000, 0.90 USD of fees paid."""
    trade = opening or given_a_filled_trade()
    return position_of([trade], given_watch(trade, **watch))


class BadNumbersTest(unittest.TestCase):
    def test_numbers_that_mean_nothing_are_refused_by_name(self) -> None:
        table: dict[str, Callable[[Number], object]] = {
            "portfolio_value": lambda bad: calculate_position_size(bad),
            "max_allocation": lambda bad: calculate_position_size(1000, bad),
            "position_size": lambda bad: calculate_leverage(bad, 100),
            "available_margin": lambda bad: calculate_leverage(100, bad),
            "total_size": lambda bad: split_twap_order(bad, 3),
            "num_chunks": lambda bad: split_twap_order(100, bad),
            "price_a": lambda bad: calculate_spread(bad, 1),
            "price_b": lambda bad: calculate_spread(1, bad),
            "long_size": lambda bad: calculate_position_pnl(bad, 1, 1, 1, 1, 1),
            "long_entry": lambda bad: calculate_position_pnl(1, bad, 1, 1, 1, 1),
            "long_current": lambda bad: calculate_position_pnl(1, 1, bad, 1, 1, 1),
            "short_size": lambda bad: calculate_position_pnl(1, 1, 1, bad, 1, 1),
            "short_entry": lambda bad: calculate_position_pnl(1, 1, 1, 1, bad, 1),
            "short_current": lambda bad: calculate_position_pnl(1, 1, 1, 1, 1, bad),
            "gross_usd": lambda bad: leg_quantities(bad, 1, 1, 1, 1),
            "long_price": lambda bad: leg_quantities(10, bad, 1, 1, 1),
            "short_price": lambda bad: leg_quantities(10, 1, bad, 1, 1),
            "long_step": lambda bad: leg_quantities(10, 1, 1, bad, 1),
            "short_step": lambda bad: leg_quantities(10, 1, 1, 1, bad),
            "step": lambda bad: split_on_lots(10, bad, 2),
            "slices": lambda bad: split_on_lots(10, 1, bad),
            "duration_seconds": lambda bad: twap_due_times(T0, bad, 3),
            "touch_price": lambda bad: marketable_limit(bad, Side.BUY, 0, 2),
            "price": lambda bad: fit_price(bad, 2, up=True),
            "quantity": lambda bad: executable_price((), bad),
            "limit_price": lambda bad: fillable((), Side.BUY, 1, bad),
            "maintenance_leverage": lambda bad: liquidation_price(Side.BUY, 1, 100, 10, bad),
            "mark": lambda bad: liquidation_distance(Side.BUY, bad, 100),
            "fill_price": lambda bad: leg_slippage(Side.BUY, bad, 100),
        }
        for name, call in table.items():
            for bad in NOT_POSITIVE:
                with self.subTest(name=name, bad=bad), self.assertRaises(InvalidNumber) as caught:
                    call(bad)
                self.assertEqual(caught.exception.field, name)
                self.assertIn(name, str(caught.exception))
                self.assertIsInstance(caught.exception, ValueError)

    def test_fees_may_be_zero_but_not_negative_and_funding_may_be_either(self) -> None:
        with self.assertRaises(InvalidNumber) as caught:
            calculate_position_pnl(1, 1, 1, 1, 1, 1, fees=-1)
        self.assertEqual(caught.exception.field, "fees")
        for bad in BROKEN:
            with self.subTest(bad=bad), self.assertRaises(InvalidNumber):
                calculate_position_pnl(1, 1, 1, 1, 1, 1, funding=bad)

    def test_a_number_of_more_digits_than_are_counted_exactly_is_refused(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "28 significant digits"):
            split_twap_order("1.00000000000000000000000000001", 3)

    def test_amounts_reach_from_a_trillionth_to_a_quadrillion(self) -> None:
        for edge in ("1e15", "1e-12"):
            with self.subTest(edge=edge):
                self.assertEqual(calculate_position_size(edge, 1), D(edge))
        for beyond in ("1.1e15", "0.9e-12"):
            with self.subTest(beyond=beyond), self.assertRaisesRegex(InvalidNumber, "portfolio_value"):
                calculate_position_size(beyond)
        self.assertEqual(len(split_twap_order(10_000, 10_000)), 10_000)

    def test_int_text_float_and_decimal_mean_the_same(self) -> None:
        for value in (1000, "1000", 1000.0, D(1000)):
            with self.subTest(value=value):
                self.assertEqual(calculate_position_size(value, 0.1), D(100))

    def test_a_float_means_what_it_prints(self) -> None:
        self.assertEqual(calculate_position_size(100, 0.1), D("10.0"))


class SizeTest(unittest.TestCase):
    def test_position_size_is_the_allocation_of_the_portfolio(self) -> None:
        for portfolio, allocation, size in ((10_000, 0.30, 3000), (100, "0.3", 30), ("99987.13", 1, "99987.13")):
            with self.subTest(portfolio=portfolio, allocation=allocation):
                self.assertEqual(calculate_position_size(portfolio, allocation), D(str(size)))
        self.assertEqual(calculate_position_size(10_000), D(3000))

    def test_an_allocation_above_the_whole_portfolio_is_refused(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "max_allocation"):
            calculate_position_size(1000, 1.01)

    def test_leverage_is_size_over_margin(self) -> None:
        self.assertEqual(calculate_leverage(3000, 1000), D(3))
        self.assertEqual(calculate_leverage(500, 1000), D("0.5"))

    def test_each_leg_gets_half_on_its_lot_and_the_finer_follows_the_coarser(self) -> None:
        table = (
            # gross, long price, short price, long step, short step, long, short
            ((2000, 4000, 100_000, "0.0001", "0.00001"), ("0.25", "0.01")),
            ((2000, 100_000, 4000, "0.001", "0.0001"), ("0.010", "0.2500")),
            ((2100, 100_000, 4000, "0.001", "0.0001"), ("0.010", "0.2500")),
            ((2100, 4000, 100_000, "0.0001", "0.001"), ("0.2500", "0.010")),
            ((100, "0.3", "0.7", 1, 1), ("165", "71")),
            ((100, 100_000, 1, "0.001", 1), (0, 0)),
        )
        for given, (long, short) in table:
            with self.subTest(given=given):
                self.assertEqual(leg_quantities(*given), (D(long), D(short)))


class TwapTest(unittest.TestCase):
    def test_chunks_are_equal_and_the_sum_is_exact(self) -> None:
        table: tuple[tuple[Number, int, list[Number]], ...] = (
            (10_000, 5, [2000] * 5),
            (1000, 3, ["333.33333333", "333.33333333", "333.33333334"]),
            (100, 1, [100]),
            ("1e-9", 2, ["5e-10", "5e-10"]),
            (0.1, 3, ["0.0333333333", "0.0333333333", "0.0333333334"]),
        )
        for total, chunks, expected in table:
            with self.subTest(total=total, chunks=chunks):
                parts = split_twap_order(total, chunks)
                self.assertEqual(parts, [D(str(one)) for one in expected])
                self.assertEqual(sum(parts), D(str(total)))

    def test_a_number_of_chunks_is_whole_and_bounded(self) -> None:
        for chunks in (2.5, "1.0001", 10_001):
            with self.subTest(chunks=chunks), self.assertRaisesRegex(InvalidNumber, "num_chunks"):
                split_twap_order(100, chunks)

    def test_slices_lie_on_the_lot_grid(self) -> None:
        table: tuple[tuple[str, tuple[Number, Number, Number], Sequence[Number]], ...] = (
            ("1.2 in three", ("1.2", "0.1", 3), ["0.4"] * 3),
            ("1.2 in two", ("1.2", "0.1", 2), ["0.6", "0.6"]),
            ("the tail is folded", ("1.000", "0.001", 6), ["0.166"] * 5 + ["0.170"]),
            ("less than a lot a slice goes in one", (2, 1, 5), [2]),
            ("off-grid total is floored first", ("1.2345", "0.01", 3), ["0.41"] * 3),
            ("a tail as large as a slice is spread", (9, 1, 5), [1, 2, 2, 2, 2]),
            ("a lot a slice", (5, 1, 5), [1] * 5),
            ("under one lot there is nothing", ("0.9", 1, 3), []),
        )
        for name, (total, step, slices), expected in table:
            with self.subTest(name):
                parts = split_on_lots(total, step, slices)
                self.assertEqual(list(parts), [D(str(one)) for one in expected])

    def test_sizes_that_the_venue_cannot_take_come_to_nothing(self) -> None:
        self.assertEqual(sum(split_on_lots("0.152", "0.1", 1)), D("0.1"))
        self.assertEqual(split_on_lots("0.05", "0.1", 1), ())
        with self.assertRaisesRegex(InvalidNumber, "long_price"):
            leg_quantities(1000, 0, 100, "0.1", "0.1")

    def test_both_legs_are_level_after_every_slice(self) -> None:
        parts = slice_quantities("0.012", "9.87", "0.001", "0.01", 5)
        self.assertEqual([long for long, _ in parts], [D("0.002")] * 3 + [D("0.003")] * 2)
        self.assertEqual(sum(short for _, short in parts), D("9.87"))
        done_long = done_short = D(0)
        for long, short in parts:
            done_long, done_short = done_long + long, done_short + short
            self.assertLess(abs(done_long / D("0.012") - done_short / D("9.87")), D("0.01") / D("9.87"))

    def test_a_schedule_mirrors_when_the_legs_change_places(self) -> None:
        one = slice_quantities("0.012", "9.87", "0.001", "0.01", 5)
        other = slice_quantities("9.87", "0.012", "0.01", "0.001", 5)
        self.assertEqual([(short, long) for long, short in one], list(other))

    def test_slices_below_the_minimum_become_fewer(self) -> None:
        table: tuple[tuple[str, tuple[Number, Number, Number, Number, Number, Number, Number], int], ...] = (
            # 600 USD a leg at 1 USD, 61 slices of at least 10 USD: 60 of them
            ("shortened", (600, 600, 1, 1, 61, 10, 10), 60),
            # 250 USD a leg, 11 USD an asset and slice
            ("capped", (250, 250, 1, 1, 120, 11, 11), 22),
            ("one leg decides", (600, 600, 1, 1, 10, 0, 100), 6),
            ("at worst one", (5, 5, 1, 1, 3, 10, 10), 1),
            ("the floor to the lot counts too", (10, 10, "0.6", "0.6", 3, "3.3", "3.3"), 2),
            ("no lot, no slice", ("0.5", 10, 1, 1, 3, 0, 0), 0),
            ("no lot on the other leg", (10, "0.5", 1, 1, 3, 0, 0), 0),
        )
        for name, given, count in table:
            with self.subTest(name):
                parts = slice_quantities(*given)
                self.assertEqual(len(parts), count)
                if count > 1:
                    self.assertGreaterEqual(min(long for long, _ in parts), D(str(given[5])))
                    self.assertGreaterEqual(min(short for _, short in parts), D(str(given[6])))

    def test_the_following_leg_may_ask_for_fewer_slices_than_the_division_says(self) -> None:
        # 10 lots go as 3, 3, 4, which 15 follow as 4, 5, 6: the first is less than the 5 wanted.
        self.assertEqual(slice_quantities(10, 15, 1, 1, 3, 3, 5), ((D(5), D(7)), (D(5), D(8))))

    def test_the_first_slice_is_due_at_once_and_the_rest_at_equal_distances(self) -> None:
        self.assertEqual(twap_due_times(T0, 180, 5), tuple(T0 + timedelta(seconds=36 * k) for k in range(5)))
        self.assertEqual(twap_due_times(T0, 10, 1), (T0,))
        self.assertEqual(twap_due_times(T0, 1, 3)[2] - T0, timedelta(microseconds=666_666))

    def test_a_schedule_beyond_the_calendar_is_refused(self) -> None:
        for duration in ("1e14", 9e11):
            with self.subTest(duration=duration), self.assertRaisesRegex(InvalidNumber, "duration_seconds"):
                twap_due_times(T0, duration, 3)

    def test_an_impossible_schedule_is_refused(self) -> None:
        for duration, slices in ((0, 3), ("-0.5", 3), ("NaN", 3), (-10, 3), ("inf", 3), (30, 0), (30, -2), (30, 1.5)):
            with self.subTest(duration=duration, slices=slices), self.assertRaises(InvalidNumber):
                twap_due_times(T0, duration, slices)


class PriceGridTest(unittest.TestCase):
    def test_prices_have_five_figures_and_the_decimals_of_the_coin_or_are_whole(self) -> None:
        for decimals, price, legal in (*PRICES, (4, "3150.10", True)):
            with self.subTest(szDecimals=decimals, price=price):
                self.assertIs(is_on_price_grid(price, 6 - decimals), legal)

    def test_rounding_at_powers_of_ten_stays_on_the_grid(self) -> None:
        table = (
            ("99999.5", 1, "99999", "100000"),
            ("9999.95", 2, "9999.9", "10000"),
            ("100000.5", 1, "100000", "100001"),
            ("0.0099999", 6, "0.009999", "0.010000"),
            ("1.00001", 6, "1.0000", "1.0001"),
            ("0.0000004", 6, "0", "0.000001"),
            ("0.99999", 6, "0.99999", "0.99999"),
        )
        for price, decimals, down, up in table:
            with self.subTest(price=price):
                self.assertEqual(fit_price(price, decimals, up=False), D(down))
                self.assertEqual(fit_price(price, decimals, up=True), D(up))

    def test_a_marketable_limit_never_leaves_the_band_and_reaches_the_touch(self) -> None:
        table = (
            ("3000.1", Side.BUY, "0.05", 2, "3150.1"),
            ("60000", Side.SELL, "0.01", 1, "59400"),
            ("117365", Side.BUY, "0.05", 1, "123233"),
            ("117365", Side.SELL, "0.003", 1, "117013"),
            ("0.0123", Side.BUY, "0.05", 5, "0.01291"),
            ("99999", Side.BUY, "0.003", 1, "100298"),
            ("100001", Side.SELL, "0.003", 1, "99701"),
            ("0.00003", Side.BUY, "0.003", 6, "0.00003"),
            ("0.00003", Side.SELL, "0.003", 6, "0.00003"),
            ("250", Side.BUY, 0, 2, "250"),
        )
        for touch, side, slippage, decimals, limit in table:
            with self.subTest(touch=touch, side=side):
                self.assertEqual(marketable_limit(touch, side, slippage, decimals), D(limit))

    def test_off_the_grid_the_band_wins_over_the_touch(self) -> None:
        self.assertEqual(marketable_limit("0.0000305", Side.BUY, "0.003", 6), D("0.000030"))
        self.assertEqual(marketable_limit("0.0000305", Side.SELL, "0.003", 6), D("0.000031"))

    def test_a_price_below_the_grid_has_no_limit(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "touch_price"):
            marketable_limit("0.0000005", Side.BUY, "0.003", 6)

    def test_a_band_of_everything_is_refused(self) -> None:
        for slippage in (1, "1.5", -0.1, "NaN"):
            with self.subTest(slippage=slippage), self.assertRaisesRegex(InvalidNumber, "slippage"):
                marketable_limit(100, Side.SELL, slippage, 2)

    def test_a_spread_is_the_ratio_less_one_or_the_difference(self) -> None:
        self.assertEqual(calculate_spread(100_000, 4000), D(24))
        self.assertEqual(calculate_spread("102", "100"), D("0.02"))
        self.assertEqual(calculate_spread(100, 102, normalize=False), D(-2))


class DepthTest(unittest.TestCase):
    asks = levels(("100", "1"), ("101", "2"), ("103", "5"))
    bids = levels(("99", "1"), ("98", "2"), ("96", "5"))

    def test_the_executable_price_weighs_the_depth(self) -> None:
        for quantity, price in (("0.5", 100), (1, 100), (3, D(302) / 3), (8, D(817) / 8)):
            with self.subTest(quantity=quantity):
                self.assertEqual(executable_price(self.asks, quantity), price)

    def test_a_thin_book_has_no_executable_price(self) -> None:
        self.assertIsNone(executable_price(self.asks, "8.001"))
        self.assertIsNone(executable_price((), 1))

    def test_a_limit_takes_only_what_lies_inside(self) -> None:
        table = (
            (self.asks, Side.BUY, 5, 101, 3, D(302) / 3),
            (self.asks, Side.BUY, 2, 101, 2, D("100.5")),
            (self.asks, Side.BUY, 5, "99.9", 0, None),
            (self.bids, Side.SELL, 5, 98, 3, D(295) / 3),
            (self.bids, Side.SELL, 5, "99.5", 0, None),
        )
        for book, side, quantity, limit, filled, price in table:
            with self.subTest(side=side, quantity=quantity, limit=limit):
                self.assertEqual(fillable(book, side, quantity, limit), (D(filled), price))

    def test_a_limit_at_the_touch_fills_and_a_passive_one_does_not(self) -> None:
        asks, bids = levels(("25.566", "14.27")), levels(("25.563", "49.269"))
        table = (
            (asks, Side.BUY, "25.563", False),
            (asks, Side.BUY, "25.566", True),
            (bids, Side.SELL, "25.566", False),
            (bids, Side.SELL, "25.563", True),
        )
        for book, side, limit, fills in table:
            with self.subTest(side=side, limit=limit):
                self.assertEqual(fillable(book, side, 1, limit)[0] > 0, fills)

    def test_a_round_trip_costs_the_spreads_and_four_fees(self) -> None:
        depth = Depth(Coin("A"), self.bids, self.asks, T0)
        # long 1 in at 100 out at 99, short 1 in at 99 out at 100: 2 lost, fees on 398, over 199
        self.assertEqual(round_trip_cost(depth, depth, 1, 1, "0.001"), D("2.398") / 199)
        # long 2 in at 201 out at 197, short 0.5 in at 49.5 out at 50: 4.5 lost, fees on 497.5, over 250.5
        self.assertEqual(round_trip_cost(depth, depth, 2, "0.5", "0.001"), D("4.9975") / D("250.5"))

    def test_what_is_opened_in_slices_is_closed_whole(self) -> None:
        depth = Depth(Coin("A"), self.bids, self.asks, T0)
        # Both 2 in, by slices of 1: 200 paid and 198 had; out at once at 197 and 201: 6 lost, fees on 796, over 398.
        self.assertEqual(round_trip_cost(depth, depth, 2, 2, "0.001", 1, 1), D("6.796") / 398)
        # What the book does not show costs its last price at least.
        last = (self.bids[-1].price, self.asks[-1].price)
        out = D(295) + 7 * last[0], D(302) + 7 * last[1]
        lost = D(1000) - out[0] + out[1] - 990
        wanted = (lost + D("0.001") * (1990 + sum(out))) / 1990
        cost = round_trip_cost(depth, depth, 10, 10, "0.001", 1, 1)
        assert cost is not None
        self.assertAlmostEqual(cost, wanted, places=20)
        self.assertIsNone(round_trip_cost(depth, depth, 10, 10, "0.001", 1, 9))
        self.assertIsNone(round_trip_cost(depth, depth, 10, 10, "0.001", 9, 1))
        self.assertIsNone(round_trip_cost(depth, depth, 10, 10, "0.001"))

    def test_a_round_trip_without_depth_on_any_of_four_sides_has_no_price(self) -> None:
        full = Depth(Coin("A"), self.bids, self.asks, T0)
        cases = (
            (replace(full, asks=()), full),
            (replace(full, bids=()), full),
            (full, replace(full, asks=())),
            (full, replace(full, bids=())),
        )
        for long, short in cases:
            with self.subTest(long=long, short=short):
                self.assertIsNone(round_trip_cost(long, short, 1, 1, "0.001"))


class ProfitTest(unittest.TestCase):
    def test_a_pair_gains_on_both_legs_less_fees_and_funding(self) -> None:
        sizes = (0.1, 50_000, 51_000, 1.0, 3000, 2900)
        self.assertEqual(calculate_position_pnl(*sizes), D(200))
        self.assertEqual(calculate_position_pnl(*sizes, fees="7.2", funding="1.3"), D("191.5"))
        self.assertEqual(calculate_position_pnl(*sizes, fees="7.2", funding="-1.3"), D("194.1"))

    def test_one_leg_with_fees_of_a_quarter_percent(self) -> None:
        table = (
            (Side.BUY, "2.1", "2.6925"),
            (Side.BUY, "1.9", "-3.2925"),
            (Side.SELL, "2.1", "-3.3075"),
            (Side.SELL, "1.9", "2.7075"),
        )
        for side, price, profit in table:
            with self.subTest(side=side, price=price):
                fees = D("0.0025") * 30 * (2 + D(price))
                self.assertEqual(unrealized_pnl(side, 30, 2, price) - fees, D(profit))

    def test_percent_is_of_the_entry_notional(self) -> None:
        self.assertEqual(pnl_percent("-12.5", 1000), D("-1.25"))
        self.assertEqual(pnl_percent(0, 0), D(0))

    def test_slippage_is_positive_when_worse_than_arrival(self) -> None:
        table = (
            (Side.BUY, "101", "0.01"),
            (Side.BUY, "99", "-0.01"),
            (Side.SELL, "99", "0.01"),
            (Side.SELL, "101", "-0.01"),
            (Side.BUY, 100, 0),
            (Side.SELL, 100, 0),
        )
        for side, fill, worse in table:
            with self.subTest(side=side, fill=fill):
                self.assertEqual(leg_slippage(side, fill, 100), D(worse))

    def test_the_ratio_slips_when_the_long_becomes_dearer(self) -> None:
        self.assertEqual(ratio_slippage("101", 100, 100, 100), D("0.01"))
        self.assertLess(ratio_slippage(100, "101", 100, 100), 0)
        self.assertEqual(ratio_slippage(200, 50, 100, 25), 0)


class ImbalanceTest(unittest.TestCase):
    def test_it_is_the_difference_of_filled_fractions_in_usd(self) -> None:
        table = (
            ((10, 10, 5, 5, 1000, 1000), 0),
            ((10, 10, 0, 5, 1000, 900), 1000),
            ((0, 10, 5, 5, 1000, 900), -900),
            ((5, 10, 2, 4, 1000, 900), 0),
            ((5, 10, 1, 4, 1000, 900), 250),
            ((0, 0, 0, 4, 0, 900), 0),
            ((0, 4, 0, 0, 900, 800), -800),
        )
        for given, usd in table:
            with self.subTest(given=given):
                self.assertEqual(leg_imbalance(*given), D(usd))

    def test_it_agrees_with_the_trades_own_measure(self) -> None:
        trade = given_a_working_trade()
        long, short = trade.orders
        trade = record(trade, OrdersReported(T0, (given_report(long, "0.6"), given_report(short, "0.2"))))
        terms = trade.terms
        self.assertEqual(
            leg_imbalance(
                trade.filled(terms.long.coin),
                terms.long.quantity,
                trade.filled(terms.short.coin),
                terms.short.quantity,
                terms.long.notional,
                terms.short.notional,
            ),
            imbalance_of(trade),
        )

    def test_broken_fills_are_refused_by_name(self) -> None:
        with self.assertRaises(InvalidNumber) as caught:
            leg_imbalance(-1, 1, 1, 1, 1, 1)
        self.assertEqual(caught.exception.field, "long_filled")


class NetReturnTest(unittest.TestCase):
    def test_a_fresh_position_starts_slightly_negative_by_its_fees(self) -> None:
        # 0.90 paid, 0.90 to close, over 2,000
        self.assertEqual(net_return(given_a_position(), 4000, 100_000, "0.00045"), D("-0.0009"))

    def test_both_legs_funding_and_the_fee_to_close_count(self) -> None:
        position = given_a_position(funding_long=Usd(D("1.5")), funding_short=Usd(D("-0.5")))
        # +25 on the long, +10 on the short, 0.9 paid, 1 funding, fee on 1025 + 990
        expected = (D(35) - D("0.9") - 1 - D("0.00045") * 2015) / 2000
        self.assertEqual(net_return(position, 4100, 99_000, "0.00045"), expected)

    def test_what_was_realized_stays_in_the_return(self) -> None:
        opening = given_a_filled_trade()
        closing = given_a_closing_trade(opening)
        at = closing.terms.accepted_at
        closing = record(closing, OrdersIntended(at, given_orders(closing.terms, at=at)))
        long, short = closing.orders
        half = OrdersReported(at, (given_report(long, "0.5", at, "4100"), given_report(short, "0.5", at, "99000")))
        position = position_of([opening, record(closing, half)])
        # half is out at +17.5 gross; the rest at entry prices gains nothing
        fees = D("0.9") + D("0.00045") * (D("0.125") * 4100 + D("0.005") * 99_000)
        expected = (D("17.5") - fees - D("0.00045") * 1000) / 2000
        self.assertEqual(net_return(position, 4000, 100_000, "0.00045"), expected)

    def test_nothing_filled_has_no_return(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "nothing was filled"):
            net_return(given_a_position(given_a_trade()), 4000, 100_000, "0.00045")

    def test_a_missing_price_is_refused_and_so_never_a_reason_to_exit(self) -> None:
        for bad in (0, "NaN", -1):
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidNumber, "long_price"):
                net_return(given_a_position(), bad, 100_000, "0.00045")
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidNumber, "short_price"):
                net_return(given_a_position(), 4000, bad, "0.00045")


def plan(take: str, stop: str, seconds: int | None = None, trailing: TrailingStop | None = None) -> ExitPlan:
    return ExitPlan(Ratio(D(take)), Ratio(D(stop)), trailing, seconds)


def highest(returns: Sequence[str]) -> Ratio | None:
    high: Ratio | None = None
    for one in returns:
        high = raise_high_water(high, one)
    return high


class ExitTest(unittest.TestCase):
    def test_barriers_race_in_a_fixed_order(self) -> None:
        limits = plan("0.10", "0.05", 60)
        table = (
            ("stop before time", "-0.30", 61, ExitReason.STOP_LOSS),
            ("profit before time", "0.20", 61, ExitReason.TAKE_PROFIT),
            ("time alone", "0.0", 61, ExitReason.TIME_LIMIT),
            ("expired before it began", "0.0", 60, ExitReason.TIME_LIMIT),
            ("nothing is due", "-0.01", 59, None),
            ("the stop is breached when touched", "-0.05", 0, ExitReason.STOP_LOSS),
            ("the profit is taken when touched", "0.10", 0, ExitReason.TAKE_PROFIT),
        )
        for name, value, held, reason in table:
            with self.subTest(name):
                self.assertIs(exit_due(limits, value, None, held), reason)

    def test_barriers_in_usd_and_of_the_spread_are_breached_when_touched_too(self) -> None:
        limits = plan("5", "0.5")
        stop, profit = ExitReason.STOP_LOSS, ExitReason.TAKE_PROFIT
        table: tuple[tuple[str, str, str, str, bool, ExitReason], ...] = (
            ("stop_loss_usd", "20", "-0.02", "-0.0199", True, stop),
            ("take_profit_usd", "20", "0.02", "0.0199", True, profit),
            ("stop_loss_spread", "24", "25", "25.01", True, stop),
            ("stop_loss_spread", "24", "25", "24.99", False, stop),
            ("take_profit_spread", "24", "25", "24.99", True, profit),
            ("take_profit_spread", "24", "25", "25.01", False, profit),
        )
        for name, level, at, short_of, base_long, reason in table:
            changes: dict[str, Any] = {name: D(level)}
            barrier = replace(limits, **changes)
            for value, expected in ((at, reason), (short_of, None)):
                in_usd = name.endswith("usd")
                present, ratio = (value, "26") if in_usd else ("0", value)
                with self.subTest(name, value=value, base_long=base_long):
                    stand = Stand(D(1000), D(ratio), base_long)
                    self.assertIs(exit_due(barrier, present, None, 0, stand=stand), expected)
                    self.assertIsNone(exit_due(barrier, present, None, 0), "where nothing is known of where it stands")

    def test_several_at_once_leave_by_the_first_in_order(self) -> None:
        # A wide trailing stop, and a stop loss above the trailing level, so that everything is true at once.
        trailing = TrailingStop(Ratio(D("0.01")), Ratio(D("0.005")))
        everything = plan("0.001", "-0.5", 1, trailing)
        high = Ratio(D("0.02"))
        self.assertIs(exit_due(everything, "0.01", high, 9, liquidation_near=True), ExitReason.LIQUIDATION)
        self.assertIs(exit_due(everything, "0.01", high, 9), ExitReason.STOP_LOSS)
        no_stop = replace(everything, stop_loss=Ratio(D("0.5")))
        self.assertIs(exit_due(no_stop, "0.01", high, 9), ExitReason.TRAILING_STOP)
        no_trail = replace(no_stop, trailing=None)
        self.assertIs(exit_due(no_trail, "0.01", high, 9), ExitReason.TAKE_PROFIT)
        no_profit = replace(no_trail, take_profit=Ratio(D("0.5")))
        self.assertIs(exit_due(no_profit, "0.01", high, 9), ExitReason.TIME_LIMIT)
        self.assertIsNone(exit_due(no_profit, "0.01", high, "0.5"))

    def test_liquidation_goes_before_a_stop_that_is_not_reached(self) -> None:
        self.assertIs(exit_due(plan("5", "0.10"), "-0.09", None, 0, True), ExitReason.LIQUIDATION)
        self.assertIs(exit_due(plan("5", "0.10"), "-0.20", None, 0), ExitReason.STOP_LOSS)

    def test_a_trailing_stop_is_armed_by_the_highest_return_and_fires_a_gap_below(self) -> None:
        trailing = given_trailing("0.05", "0.01")
        table = (
            ("armed near eleven percent, falls to seven", ("0.109", "0.072"), ExitReason.TRAILING_STOP),
            ("twenty, then five", ("0.20", "0.05"), ExitReason.TRAILING_STOP),
            ("never armed", ("0.049", "0.001"), None),
            ("armed exactly", ("0.05", "0.04"), ExitReason.TRAILING_STOP),
            ("armed, a little lower", ("0.05", "0.0401"), None),
            ("still rising", ("0.05", "0.08"), None),
        )
        for name, path, reason in table:
            with self.subTest(name):
                self.assertIs(exit_due(plan("5", "0.10", None, trailing), path[-1], highest(path), 0), reason)
        self.assertIsNone(exit_due(plan("5", "0.10", None, trailing), "0.01", None, 0))

    def test_the_high_water_mark_never_falls(self) -> None:
        self.assertEqual(highest(("-0.01", "0.03", "0.02")), D("0.03"))
        self.assertEqual(raise_high_water(None, "-0.01"), D("-0.01"))

    def test_a_short_that_moves_against_by_a_percent_stays(self) -> None:
        limits = plan("0.10", "0.05")
        for price, reason in ((101, None), (90, ExitReason.TAKE_PROFIT)):
            with self.subTest(price=price):
                gained = unrealized_pnl(Side.SELL, 1, 100, price) / 100
                self.assertIs(exit_due(limits, gained, None, 0), reason)

    def test_a_return_that_is_no_number_is_refused(self) -> None:
        for bad in BROKEN:
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidNumber, "net_return"):
                exit_due(given_exit_plan(), bad, None, 0)

    def test_time_needs_no_price(self) -> None:
        self.assertTrue(time_is_up(given_exit_plan(max_holding_seconds=60), 60))
        self.assertFalse(time_is_up(given_exit_plan(max_holding_seconds=60), "59.9"))
        self.assertFalse(time_is_up(given_exit_plan(), 10**9))


class LiquidationTest(unittest.TestCase):
    def test_positions_liquidate_where_the_venue_says(self) -> None:
        """Isolated ones, which have nothing but their own margin left above maintenance."""
        table = (
            # maximum leverage 50, 50 and 20; verified against the exchange
            (Side.BUY, "0.0199", "2459.5", "24.454895", 100, "1243.0412"),
            (Side.SELL, "0.00099", "65536", "21.604172", 100, "86493.46"),
            (Side.SELL, "0.48", "163.11", "15.650731", 40, "190.94214"),
        )
        for side, quantity, entry, margin, leverage, expected in table:
            with self.subTest(entry=entry):
                spare = D(margin) - D(quantity) * D(entry) / leverage
                price = liquidation_price(side, quantity, entry, spare, leverage)
                self.assertIsNotNone(price)
                self.assertEqual(D(str(price)).quantize(D(expected)), D(expected))

    def test_the_formula_by_hand(self) -> None:
        self.assertEqual(liquidation_price(Side.BUY, 1, 100, 49, 50), D(50))
        self.assertEqual(liquidation_price(Side.SELL, 1, 100, 51, 50), D(150))

    def test_a_long_that_is_paid_in_full_cannot_be_liquidated(self) -> None:
        self.assertIsNone(liquidation_price(Side.BUY, 1, 100, 100, 50))
        self.assertIsNone(liquidation_price(Side.BUY, 1, 100, 98, 50))

    def test_a_coin_of_less_than_a_dollar_can_be_liquidated_too(self) -> None:
        self.assertEqual(liquidation_price(Side.BUY, 100, "0.5", "24.5", 50), D("0.25"))
        self.assertEqual(liquidation_price(Side.SELL, 100, "0.5", "25.5", 50), D("0.75"))

    def test_below_maintenance_the_price_is_already_past(self) -> None:
        price = liquidation_price(Side.BUY, 1, 100, -5, 50)
        self.assertGreater(D(str(price)), 100)

    def test_a_maintenance_leverage_of_one_means_nothing(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "maintenance_leverage"):
            liquidation_price(Side.BUY, 1, 100, 10, 1)

    def test_distance_is_a_fraction_of_the_mark_on_either_side(self) -> None:
        self.assertEqual(liquidation_distance(Side.BUY, 100, 80), D("0.2"))
        self.assertEqual(liquidation_distance(Side.SELL, 100, 120), D("0.2"))
        self.assertEqual(liquidation_distance(Side.BUY, 100, 100), D(0))
        self.assertEqual(liquidation_distance(Side.SELL, 100, 90), D("-0.1"))


if __name__ == "__main__":
    unittest.main()
