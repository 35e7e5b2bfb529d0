"""Laws of the limits: what a smaller or safer entry may never newly breach."""

import unittest
from dataclasses import replace
from decimal import Decimal

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: the properties of the limits are not searched") from error

from tests.builders import T0, given_instrument, given_quote
from trading.domain.market import Pair
from trading.domain.orders import Side
from trading.domain.units import Coin, Quantity, Ratio, Usd
from trading.utils.risk_controls import (
    BreachCode,
    Entry,
    EntryLeg,
    Exposure,
    Limits,
    entry_breaches,
    headroom,
    validate_all_risk_controls,
    validate_leverage,
    validate_max_positions,
    validate_portfolio_value,
    validate_position_size,
)

# The same inputs every time and nothing kept between runs: a red test stays red.
law = settings(derandomize=True, database=None, deadline=None)

D = Decimal
LIMITS = Limits()


def decimals(low: str, high: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=D(low), max_value=D(high), places=places, allow_nan=False, allow_infinity=False)


def leg(coin: str, side: Side, quantity: Decimal, fillable: Decimal) -> EntryLeg:
    amount = Quantity(quantity)
    return EntryLeg(
        Coin(coin), side, given_instrument(coin), given_quote(coin), amount, amount, amount, Quantity(fillable)
    )


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    return Entry(
        pair=Pair(Coin("BTC"), Coin("ETH")),
        long=leg("ETH", Side.BUY, draw(decimals("0", "10", 4)), draw(decimals("0", "10", 4))),
        short=leg("BTC", Side.SELL, draw(decimals("0", "1", 4)), draw(decimals("0", "1", 4))),
        position_size=Usd(draw(decimals("1", "100000"))),
        leverage=draw(st.integers(min_value=1, max_value=25)),
        stop_loss=Ratio(draw(decimals("0.002", "0.5", 3))),
        taker_fee=Ratio(D("0.00045")),
        slippage_max=Ratio(D("0.003")),
        round_trip_cost=draw(decimals("0", "0.1", 4)),
    )


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    return Exposure(
        now=T0,
        equity=Usd(draw(decimals("-100", "200000"))),
        margin_available=Usd(draw(decimals("-100", "200000"))),
        positions=draw(st.integers(min_value=0, max_value=5)),
        gross_usd=Usd(draw(decimals("0", "200000"))),
        margin_pending=Usd(draw(decimals("0", "1000"))),
    )


def found(entry: Entry, exposure: Exposure, limits: Limits = LIMITS) -> set[BreachCode]:
    return {breach.code for breach in entry_breaches(entry, exposure, limits)}


class BreachProperties(unittest.TestCase):
    @law
    @given(entries(), exposures(), decimals("0.01", "1"))
    def test_a_smaller_entry_breaches_no_limit_that_a_larger_one_kept(
        self, entry: Entry, exposure: Exposure, share: Decimal
    ) -> None:
        smaller = replace(entry, position_size=Usd(entry.position_size * share))
        self.assertLessEqual(found(smaller, exposure), found(entry, exposure))

    @law
    @given(entries(), exposures(), decimals("0", "100000"))
    def test_a_richer_account_breaches_no_limit_that_a_poorer_one_kept(
        self, entry: Entry, exposure: Exposure, more: Decimal
    ) -> None:
        # Equity and free margin rise together by what is paid in.
        richer = replace(
            exposure, equity=Usd(exposure.equity + more), margin_available=Usd(exposure.margin_available + more)
        )
        poorer = found(entry, exposure)
        if exposure.equity > 0:
            self.assertLessEqual(found(entry, richer), poorer)

    @law
    @given(entries(), exposures(), st.integers(min_value=1, max_value=3))
    def test_one_more_position_never_makes_room(self, entry: Entry, exposure: Exposure, more: int) -> None:
        fuller = replace(exposure, positions=exposure.positions + more)
        self.assertGreaterEqual(found(entry, fuller), found(entry, exposure))

    @law
    @given(entries(), exposures())
    def test_wider_limits_never_breach_more(self, entry: Entry, exposure: Exposure) -> None:
        wider = Limits(
            max_positions=6,
            max_allocation=Ratio(D(1)),
            max_leverage=25,
            min_portfolio_usd=Usd(D(1)),
            margin_reserve=Ratio(D(0)),
            quote_age_max_seconds=D(60),
            leg_spread_max=Ratio(D("0.1")),
            cost_share_of_stop=Ratio(D(1)),
        )
        self.assertLessEqual(found(entry, exposure, wider), found(entry, exposure))

    @law
    @given(entries(), exposures())
    def test_a_negative_headroom_is_a_breach_and_the_other_way_round(self, entry: Entry, exposure: Exposure) -> None:
        negative = {one.code for one in headroom(entry, exposure, LIMITS) if one.left < 0}
        self.assertEqual(negative, found(entry, exposure))


class ValidatorProperties(unittest.TestCase):
    @law
    @given(decimals("1", "100000"), decimals("1", "100000"), decimals("1", "10"), st.integers(0, 6))
    def test_all_pass_exactly_when_each_does(
        self, value: Decimal, size: Decimal, leverage: Decimal, positions: int
    ) -> None:
        each = (
            validate_portfolio_value(value),
            validate_max_positions(positions),
            validate_position_size(size, value),
            validate_leverage(leverage),
        )
        passed, message = validate_all_risk_controls(value, size, leverage, positions)
        self.assertIs(passed, all(one for one, _ in each))
        for one, words in each:
            self.assertIs(words in message, not one)


if __name__ == "__main__":
    unittest.main()
