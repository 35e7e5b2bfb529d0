"""Laws of the arithmetic that hold for every input, searched by hypothesis."""

import unittest
from datetime import UTC, datetime
from decimal import Decimal

try:
    from hypothesis import assume, given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: the properties of the arithmetic are not searched") from error

from trading.domain.market import Level
from trading.domain.orders import Side
from trading.domain.units import Price, Quantity
from trading.utils.trade_calculator import (
    calculate_leverage,
    calculate_position_pnl,
    calculate_position_size,
    executable_price,
    fillable,
    fit_price,
    is_on_price_grid,
    leg_quantities,
    liquidation_distance,
    liquidation_price,
    marketable_limit,
    slice_quantities,
    split_on_lots,
    split_twap_order,
    twap_due_times,
    unrealized_pnl,
)

# The same inputs every time and nothing kept between runs: a red test stays red.
law = settings(derandomize=True, database=None, deadline=None)

D = Decimal
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=D(low), max_value=D(high), places=places, allow_nan=False, allow_infinity=False)


amounts = decimals("0.00000001", "1000000000", 8)
prices = decimals("0.000001", "1000000", 6)
steps = st.integers(min_value=0, max_value=6).map(lambda places: D(1).scaleb(-places))
slices = st.integers(min_value=1, max_value=60)
sides = st.sampled_from(Side)
fractions = decimals("0", "0.5", 4)


class SplitProperties(unittest.TestCase):
    @law
    @given(amounts, st.integers(min_value=1, max_value=500))
    def test_chunks_sum_exactly_and_differ_by_next_to_nothing(self, total: Decimal, count: int) -> None:
        chunks = split_twap_order(total, count)
        self.assertEqual(len(chunks), count)
        self.assertEqual(sum(chunks), total)
        self.assertTrue(all(chunk > 0 for chunk in chunks))
        self.assertLess(max(chunks) - min(chunks), count * max(D("1e-8"), min(chunks) * D("1e-8")))

    @law
    @given(st.floats(min_value=1e-6, max_value=1e12), st.integers(min_value=1, max_value=100))
    def test_a_float_is_split_to_the_digit_it_prints(self, total: float, count: int) -> None:
        self.assertEqual(sum(split_twap_order(total, count)), D(str(total)))

    @law
    @given(amounts, steps, slices)
    def test_lots_sum_to_the_floored_total_and_no_part_is_more_than_twice_another(
        self, total: Decimal, step: Decimal, count: int
    ) -> None:
        parts = split_on_lots(total, step, count)
        self.assertEqual(sum(parts), total // step * step)
        self.assertLessEqual(len(parts), count)
        for part in parts:
            self.assertEqual(part % step, 0)
            self.assertGreaterEqual(part, step)
            self.assertLessEqual(part, 2 * min(parts))

    @law
    @given(
        decimals("0.000001", "100000", 6),
        decimals("0.000001", "100000", 6),
        steps,
        steps,
        slices,
        decimals("0", "9", 3),
    )
    def test_a_schedule_sums_exactly_stays_level_and_respects_the_minimum(
        self, long: Decimal, short: Decimal, long_step: Decimal, short_step: Decimal, count: int, least: Decimal
    ) -> None:
        parts = slice_quantities(long, short, long_step, short_step, count, least, least)
        if long < long_step or short < short_step:
            self.assertEqual(parts, ())
            return
        long_total, short_total = long // long_step * long_step, short // short_step * short_step
        self.assertEqual(sum(one for one, _ in parts), long_total)
        self.assertEqual(sum(one for _, one in parts), short_total)
        tolerance = max(min(long_step / long_total, short_step / short_total), D("1e-20"))
        done_long = done_short = D(0)
        for one, other in parts:
            self.assertTrue(one > 0 and other > 0)
            if len(parts) > 1:
                self.assertTrue(one >= least and other >= least)
            done_long, done_short = done_long + one, done_short + other
            self.assertLess(abs(done_long / long_total - done_short / short_total), tolerance)

    @law
    @given(decimals("0.001", "100000", 3), slices)
    def test_due_times_begin_at_once_rise_and_end_before_the_duration(self, duration: Decimal, count: int) -> None:
        times = twap_due_times(NOON, duration, count)
        self.assertEqual(times[0], NOON)
        self.assertEqual(len(times), count)
        self.assertEqual(list(times), sorted(times))
        self.assertLess(D(str((times[-1] - NOON).total_seconds())), duration)


class SizeProperties(unittest.TestCase):
    @law
    @given(decimals("0.01", "100000000", 2), prices, prices, steps, steps)
    def test_legs_are_on_their_lots_level_and_never_above_the_gross(
        self, gross: Decimal, long_price: Decimal, short_price: Decimal, long_step: Decimal, short_step: Decimal
    ) -> None:
        long, short = leg_quantities(gross, long_price, short_price, long_step, short_step)
        self.assertEqual((long % long_step, short % short_step), (0, 0))
        long_usd, short_usd = long * long_price, short * short_price
        coarse, fine = sorted((long_step * long_price, short_step * short_price), reverse=True)
        self.assertLessEqual(long_usd + short_usd, gross)
        self.assertLess(abs(long_usd - short_usd), fine)
        self.assertGreater(long_usd + short_usd, gross - 2 * coarse - fine)

    @law
    @given(decimals("0.01", "100000000", 2), prices, prices, steps, steps)
    def test_the_legs_do_not_depend_on_which_is_called_long(
        self, gross: Decimal, long_price: Decimal, short_price: Decimal, long_step: Decimal, short_step: Decimal
    ) -> None:
        long, short = leg_quantities(gross, long_price, short_price, long_step, short_step)
        swapped = leg_quantities(gross, short_price, long_price, short_step, long_step)
        assume(long_price * long_step != short_price * short_step)
        self.assertEqual(swapped, (short, long))

    @law
    @given(amounts, decimals("0.01", "1", 2))
    def test_a_position_of_the_allowed_size_has_the_allowed_leverage(self, value: Decimal, share: Decimal) -> None:
        size = calculate_position_size(value, share)
        assume(size >= D("1e-12"))
        self.assertLessEqual(abs(calculate_leverage(size, value) - share), D("1e-20"))


class ProfitProperties(unittest.TestCase):
    @law
    @given(prices, prices, prices, prices, amounts, amounts, decimals("0", "100", 4), decimals("-100", "100", 4))
    def test_swapping_the_sides_turns_gain_into_loss(
        self,
        long_entry: Decimal,
        long_now: Decimal,
        short_entry: Decimal,
        short_now: Decimal,
        long: Decimal,
        short: Decimal,
        fees: Decimal,
        funding: Decimal,
    ) -> None:
        gross = calculate_position_pnl(long, long_entry, long_now, short, short_entry, short_now)
        swapped = calculate_position_pnl(short, short_entry, short_now, long, long_entry, long_now)
        self.assertEqual(gross, -swapped)
        net = calculate_position_pnl(long, long_entry, long_now, short, short_entry, short_now, fees, funding)
        self.assertLessEqual(abs(gross - fees - funding - net), D("1e-9"))

    @law
    @given(amounts, prices, prices)
    def test_a_leg_gains_what_its_opposite_loses(self, quantity: Decimal, entry: Decimal, price: Decimal) -> None:
        self.assertEqual(
            unrealized_pnl(Side.BUY, quantity, entry, price), -unrealized_pnl(Side.SELL, quantity, entry, price)
        )


class PriceProperties(unittest.TestCase):
    @law
    @given(prices, st.integers(min_value=0, max_value=6), st.booleans())
    def test_fitting_is_idempotent_directed_and_on_the_grid(self, price: Decimal, places: int, up: bool) -> None:
        fitted = fit_price(price, places, up=up)
        self.assertTrue(fitted >= price if up else fitted <= price)
        assume(fitted > 0)
        self.assertTrue(is_on_price_grid(fitted, places))
        self.assertEqual(fit_price(fitted, places, up=up), fitted)
        self.assertEqual(fit_price(fitted, places, up=not up), fitted)

    @law
    @given(prices, st.integers(min_value=0, max_value=6))
    def test_the_grid_follows_the_venues_words(self, price: Decimal, places: int) -> None:
        plain = price.normalize()
        _, digits, exponent = plain.as_tuple()
        assert isinstance(exponent, int)
        whole = price == price.to_integral_value()
        self.assertIs(is_on_price_grid(price, places), whole or (len(digits) <= 5 and -exponent <= places))

    @law
    @given(prices, sides, fractions, st.integers(min_value=0, max_value=6))
    def test_a_limit_is_on_the_grid_inside_the_band_and_reaches_a_touch_on_the_grid(
        self, price: Decimal, side: Side, slippage: Decimal, places: int
    ) -> None:
        touch = fit_price(price, places, up=True)
        limit = marketable_limit(touch, side, slippage, places)
        self.assertTrue(is_on_price_grid(limit, places))
        band = touch * (1 + side.sign * slippage)
        self.assertGreaterEqual((limit - touch) * side.sign, 0)
        self.assertGreaterEqual((band - limit) * side.sign, 0)

    @law
    @given(st.lists(st.tuples(prices, amounts), min_size=1, max_size=8), decimals("0.01", "1000000", 2))
    def test_an_executable_price_lies_between_the_best_and_the_worst_level(
        self, rows: list[tuple[Decimal, Decimal]], quantity: Decimal
    ) -> None:
        asks = [Level(Price(price), Quantity(amount)) for price, amount in sorted(rows)]
        paid = executable_price(asks, quantity)
        filled, average = fillable(asks, Side.BUY, quantity, asks[-1].price)
        self.assertEqual(average is not None and filled == quantity, paid is not None)
        if paid is not None:
            self.assertEqual(paid, average)
            self.assertLessEqual(asks[0].price - paid, D("1e-12"))
            self.assertLessEqual(paid - asks[-1].price, D("1e-12"))


class LiquidationProperties(unittest.TestCase):
    @law
    @given(sides, decimals("0.001", "1000", 3), decimals("1", "100000", 2), st.integers(min_value=2, max_value=40))
    def test_more_margin_is_further_from_liquidation(
        self, side: Side, quantity: Decimal, entry: Decimal, leverage: int
    ) -> None:
        notional = quantity * entry
        maintenance = notional / 100
        near = liquidation_price(side, quantity, entry, notional / leverage - maintenance, 100)
        far = liquidation_price(side, quantity, entry, notional / leverage * D("1.2") - maintenance, 100)
        assert near is not None and far is not None
        self.assertLess(liquidation_distance(side, entry, near), liquidation_distance(side, entry, far))


if __name__ == "__main__":
    unittest.main()
