"""The limits, one by one and all at once."""

import unittest
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tests.builders import T0, after, given_instrument, given_quote
from trading.domain.errors import InvalidNumber
from trading.domain.market import Pair
from trading.domain.orders import Side
from trading.domain.units import Coin, Number, Price, Quantity, Ratio, Usd
from trading.utils.risk_controls import (
    BreachCode,
    Entry,
    EntryLeg,
    Exposure,
    ForeignHolding,
    Limits,
    StandingPair,
    book_breaches,
    entry_breaches,
    headroom,
    market_breaches,
    validate_all_risk_controls,
    validate_leverage,
    validate_max_positions,
    validate_portfolio_value,
    validate_position_size,
)

D = Decimal
BTC, ETH, SOL = Coin("BTC"), Coin("ETH"), Coin("SOL")
BTC_ETH = Pair(BTC, ETH)
LIMITS = Limits()
BAD: tuple[Number, ...] = ("NaN", "inf", "-inf", 0, -1, "1e400", "1e-400", "", "many", True)


def given_entry_leg(coin: str, side: Side, quantity: str, **changes: Any) -> EntryLeg:
    """A leg of one slice that its book can fill ten times over."""
    amount = Quantity(D(quantity))
    leg = EntryLeg(
        coin=Coin(coin),
        side=side,
        instrument=given_instrument(coin),
        quote=given_quote(coin),
        quantity=amount,
        smallest=amount,
        largest=amount,
        fillable=Quantity(amount * 10),
    )
    return replace(leg, **changes)


def given_entry(
    *, long: dict[str, Any] | None = None, short: dict[str, Any] | None = None, size: str = "2000", **changes: Any
) -> Entry:
    """Long 0.25 ETH, short 0.01 BTC, 2,000 USD gross, that no limit forbids."""
    entry = Entry(
        pair=BTC_ETH,
        long=given_entry_leg("ETH", Side.BUY, "0.25", **(long or {})),
        short=given_entry_leg("BTC", Side.SELL, "0.01", **(short or {})),
        position_size=Usd(D(size)),
        leverage=1,
        stop_loss=Ratio(D("0.01")),
        taker_fee=Ratio(D("0.00045")),
        slippage_max=Ratio(D("0.003")),
        round_trip_cost=D("0.0012"),
    )
    return replace(entry, **changes)


def given_exposure(**changes: Any) -> Exposure:
    exposure = Exposure(now=T0, equity=Usd(D(100_000)), margin_available=Usd(D(100_000)), positions=0)
    return replace(exposure, **changes)


def standing(pair: str, long: str, short: str, leverage: int = 1) -> StandingPair:
    return StandingPair(Pair.parse(pair), Coin(long), Coin(short), leverage)


def codes(entry: Entry, exposure: Exposure | None = None, limits: Limits = LIMITS) -> list[str]:
    return [breach.code.value for breach in entry_breaches(entry, exposure or given_exposure(), limits)]


class ValidatorsTest(unittest.TestCase):
    def test_each_limit_allows_what_it_names_and_no_more(self) -> None:
        table = (
            (validate_max_positions(0), True, "0 of 3"),
            (validate_max_positions(2), True, "2 of 3"),
            (validate_max_positions(3), False, "3 of 3"),
            (validate_max_positions(4, 3), False, "4 of 3"),
            (validate_position_size(3000, 10_000), True, "3000"),
            (validate_position_size("3000.01", 10_000), False, "3000.01"),
            (validate_position_size(3001, 10_000), False, "maximum of 3000 USD"),
            (validate_position_size(500, 1000, 0.5), True, "500"),
            (validate_position_size(1000, 1000, 1), True, "1000"),
            (validate_portfolio_value("1e15", "1e-12"), True, "0.000000000001"),
            (validate_leverage(3), True, "3x"),
            (validate_leverage(3.1), False, "3.1x exceeds the maximum of 3x"),
            (validate_leverage(5, 10), True, "5x"),
            (validate_portfolio_value(100), True, "100"),
            (validate_portfolio_value(99.99), False, "99.99 USD is below the minimum of 100 USD"),
            (validate_portfolio_value("1e6", 1000), True, "1000000 USD"),
        )
        for number, ((passed, message), expected, words) in enumerate(table):
            with self.subTest(row=number):
                self.assertIs(passed, expected)
                self.assertIn(words, message)

    def test_a_verdict_is_true_only_where_the_limit_is_kept(self) -> None:
        self.assertTrue(validate_max_positions(2))
        for verdict in (
            validate_max_positions(3),
            validate_position_size(3001, 10_000),
            validate_leverage(4),
            validate_portfolio_value(99),
            validate_all_risk_controls(10_000, 3000, 4, 2),
        ):
            self.assertFalse(verdict)

    def test_bad_numbers_are_refused_by_name(self) -> None:
        table: dict[str, Callable[[Number], object]] = {
            "max_positions": lambda bad: validate_max_positions(1, bad),
            "position_size": lambda bad: validate_position_size(bad, 1000),
            "portfolio_value": lambda bad: validate_position_size(1, bad),
            "max_allocation": lambda bad: validate_position_size(1, 1000, bad),
            "leverage": lambda bad: validate_leverage(bad),
            "max_leverage": lambda bad: validate_leverage(1, bad),
            "min_portfolio": lambda bad: validate_portfolio_value(1000, bad),
        }
        for name, call in table.items():
            for bad in BAD:
                with self.subTest(name=name, bad=bad), self.assertRaises(InvalidNumber) as caught:
                    call(bad)
                self.assertEqual(caught.exception.field, name)
                self.assertIsInstance(caught.exception, ValueError)

    def test_a_count_of_positions_is_whole_and_not_negative(self) -> None:
        for bad in (-1, 1.5, "NaN"):
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidNumber, "current_positions"):
                validate_max_positions(bad)
        with self.assertRaisesRegex(InvalidNumber, "max_positions"):
            validate_max_positions(1, 2.5)

    def test_an_allocation_above_one_is_refused(self) -> None:
        with self.assertRaisesRegex(InvalidNumber, "max_allocation"):
            validate_position_size(10, 1000, "1.1")

    def test_without_limits_of_the_callers_own_the_desks_hold_to_the_last_cent(self) -> None:
        self.assertTrue(validate_all_risk_controls(100, 30, 3, 2)[0])
        beyond: tuple[tuple[Number, Number, Number, Number], ...] = (
            ("99.99", 29, 3, 2),
            (100, "30.01", 3, 2),
            (100, 30, 4, 2),
            (100, 30, 3, 3),
        )
        for asked in beyond:
            with self.subTest(asked):
                passed, message = validate_all_risk_controls(*asked)
                self.assertEqual((passed, message.count(";")), (False, 0))

    def test_all_together_pass_or_name_every_failure(self) -> None:
        self.assertEqual(validate_all_risk_controls(10_000, 3000, 3, 2), (True, "All risk controls passed"))
        passed, message = validate_all_risk_controls(50, 1000, 10, 3)
        self.assertFalse(passed)
        for words in ("Portfolio value", "Positions at maximum", "Position size", "Leverage"):
            self.assertIn(words, message)
        passed, message = validate_all_risk_controls(10_000, 3000, 4, 2)
        self.assertEqual((passed, message), (False, "Leverage 4x exceeds the maximum of 3x"))

    def test_all_together_take_their_own_limits(self) -> None:
        self.assertTrue(validate_all_risk_controls(50, 40, 9, 9, 10, 0.8, 10, 50)[0])
        with self.assertRaisesRegex(InvalidNumber, "position_size"):
            validate_all_risk_controls(10_000, "NaN", 1, 0)


class BookBreachesTest(unittest.TestCase):
    def test_an_ordinary_entry_breaches_nothing(self) -> None:
        self.assertEqual(codes(given_entry()), [])

    def test_one_limit_at_a_time(self) -> None:
        cool = {BTC_ETH: after(10)}
        table: tuple[tuple[str, Entry, Exposure, list[str]], ...] = (
            ("full", given_entry(), given_exposure(positions=3), ["POSITIONS_AT_MAXIMUM"]),
            ("room for one", given_entry(), given_exposure(positions=2), []),
            ("at the allocation", given_entry(size="30000"), given_exposure(), []),
            ("above it", given_entry(size="30000.01"), given_exposure(), ["ALLOCATION_EXCEEDED"]),
            ("the whole account is full", given_entry(), given_exposure(gross_usd=D(88_001)), ["ALLOCATION_EXCEEDED"]),
            ("the whole account at its limit", given_entry(), given_exposure(gross_usd=D(88_000)), []),
            ("leverage at the maximum", given_entry(leverage=3), given_exposure(), []),
            ("leverage above it", given_entry(leverage=4), given_exposure(), ["LEVERAGE_EXCEEDED"]),
            (
                "the venue allows less",
                given_entry(leverage=3, long={"instrument": given_instrument("ETH", leverage_max=2)}),
                given_exposure(),
                ["LEVERAGE_EXCEEDED"],
            ),
            ("no margin", given_entry(), given_exposure(margin_available=D(7000)), ["MARGIN_INSUFFICIENT"]),
            # 5,000 stay free, 2,000 and a fee of 0.90 are needed
            ("margin to the cent", given_entry(), given_exposure(margin_available=D("7000.9")), []),
            ("leverage needs less", given_entry(leverage=2), given_exposure(margin_available=D("6000.9")), []),
            (
                "margin that others will take",
                given_entry(),
                given_exposure(margin_available=D("8000"), margin_pending=D(1000)),
                ["MARGIN_INSUFFICIENT"],
            ),
            ("cooling", given_entry(), given_exposure(cooling_until=cool), ["COOLDOWN"]),
            ("cooled down", given_entry(), given_exposure(cooling_until={BTC_ETH: T0}), []),
            (
                "cooling, written the other way round",
                given_entry(),
                given_exposure(cooling_until={Pair(ETH, BTC): after(10)}),
                ["COOLDOWN"],
            ),
            (
                "cooling in both writings, one of them over",
                given_entry(),
                given_exposure(cooling_until={BTC_ETH: after(-1), Pair(ETH, BTC): after(10)}),
                ["COOLDOWN"],
            ),
            ("another pair cools", given_entry(), given_exposure(cooling_until={Pair(ETH, SOL): after(10)}), []),
        )
        for name, entry, exposure, expected in table:
            with self.subTest(name):
                self.assertEqual(codes(entry, exposure), expected)

    def test_the_limit_of_one_position_is_told_before_that_of_all_together(self) -> None:
        told = entry_breaches(given_entry(size="95000"), given_exposure(), LIMITS)
        limits = [one.limit for one in told if one.code is BreachCode.ALLOCATION_EXCEEDED]
        self.assertEqual([D("0.30"), D("0.90")], limits)

    def test_a_small_account_is_below_the_minimum(self) -> None:
        poor = given_exposure(equity=Usd(D("99.99")), margin_available=Usd(D("99.99")))
        self.assertEqual(codes(given_entry(size="20"), poor), ["PORTFOLIO_BELOW_MINIMUM"])

    def test_an_account_without_equity_has_no_allocation_to_measure(self) -> None:
        broke = given_exposure(equity=Usd(D(-5)), margin_available=Usd(D(-5)))
        for account in (broke, replace(broke, equity=Usd(D(0)))):
            with self.subTest(equity=account.equity):
                self.assertEqual(codes(given_entry(), account), ["PORTFOLIO_BELOW_MINIMUM", "MARGIN_INSUFFICIENT"])

    def test_what_the_account_owes_is_no_margin(self) -> None:
        under = given_exposure(equity=Usd(D(-1000)), margin_available=Usd(D(0)))
        self.assertEqual(codes(given_entry(size="20"), under), ["PORTFOLIO_BELOW_MINIMUM", "MARGIN_INSUFFICIENT"])
        limits = {one.name: one.limit for one in headroom(None, replace(under, margin_available=Usd(D(-7))), LIMITS)}
        self.assertEqual(0, limits["margin_usd"])

    def test_coins_are_shared_on_the_same_side_and_leverage_only(self) -> None:
        # The entry is long ETH, short BTC, at leverage 1.
        table: tuple[tuple[str, tuple[StandingPair, ...], dict[Coin, ForeignHolding], list[str]], ...] = (
            ("the same pair", (standing("BTC/ETH", "ETH", "BTC"),), {}, ["PAIR_ALREADY_OPEN"]),
            ("written the other way round", (standing("ETH/BTC", "ETH", "BTC"),), {}, ["PAIR_ALREADY_OPEN"]),
            (
                "the same pair, other direction",
                (standing("BTC/ETH", "BTC", "ETH"),),
                {},
                ["PAIR_ALREADY_OPEN", "COIN_HELD_OPPOSITE", "COIN_HELD_OPPOSITE"],
            ),
            ("a shared long", (standing("ETH/SOL", "ETH", "SOL"),), {}, []),
            ("a shared short", (standing("SOL/BTC", "SOL", "BTC"),), {}, []),
            ("an opposite coin", (standing("ETH/SOL", "SOL", "ETH"),), {}, ["COIN_HELD_OPPOSITE"]),
            ("another leverage", (standing("ETH/SOL", "ETH", "SOL", 2),), {}, ["LEVERAGE_CONFLICT"]),
            ("nothing in common", (standing("SOL/AVAX", "SOL", "AVAX", 2),), {}, []),
            ("foreign, same side", (), {ETH: ForeignHolding(Quantity(D(1)), 1)}, []),
            ("foreign, leverage unknown", (), {ETH: ForeignHolding(Quantity(D(1)))}, []),
            ("foreign, other leverage", (), {ETH: ForeignHolding(Quantity(D(1)), 5)}, ["LEVERAGE_CONFLICT"]),
            ("foreign, opposite", (), {ETH: ForeignHolding(Quantity(D(-1)), 5)}, ["COIN_HELD_OPPOSITE"]),
            ("foreign and gone", (), {ETH: ForeignHolding(Quantity(D(0)), 5)}, []),
            (
                "one agrees, another does not",
                (standing("ETH/SOL", "ETH", "SOL"),),
                {ETH: ForeignHolding(Quantity(D(1)), 5)},
                ["LEVERAGE_CONFLICT"],
            ),
        )
        for name, held, foreign, expected in table:
            with self.subTest(name):
                self.assertEqual(codes(given_entry(), given_exposure(standing=held, foreign=foreign)), expected)

    def test_the_check_under_the_lock_leaves_the_market_out(self) -> None:
        blind = given_entry(long={"quote": None}, leverage=4)
        self.assertEqual(
            [breach.code for breach in book_breaches(blind, given_exposure(), LIMITS)], [BreachCode.LEVERAGE_EXCEEDED]
        )

    def test_numbers_that_are_none_are_refused_by_name(self) -> None:
        table: tuple[tuple[str, Entry, Exposure], ...] = (
            ("position_size", given_entry(size="NaN"), given_exposure()),
            ("position_size", given_entry(size="0"), given_exposure()),
            ("leverage", given_entry(leverage=0), given_exposure()),
            ("stop_loss", given_entry(stop_loss=Ratio(D(0))), given_exposure()),
            ("equity", given_entry(), given_exposure(equity=D("NaN"))),
            ("margin_available", given_entry(), given_exposure(margin_available=D("inf"))),
            ("margin_pending", given_entry(), given_exposure(margin_pending=D("NaN"))),
            ("gross_usd", given_entry(), given_exposure(gross_usd=D("NaN"))),
        )
        for name, entry, exposure in table:
            with self.subTest(name=name), self.assertRaises(InvalidNumber) as caught:
                entry_breaches(entry, exposure, LIMITS)
            self.assertEqual(caught.exception.field, name)
            with self.subTest(preview=name), self.assertRaises(InvalidNumber):
                headroom(entry, exposure, LIMITS)


class MarketBreachesTest(unittest.TestCase):
    def test_one_fault_at_a_time(self) -> None:
        crossed = given_quote("ETH", bid=Price(D(4001)), ask=Price(D(4000)))
        table: tuple[tuple[str, Entry, list[str]], ...] = (
            ("not listed", given_entry(long={"instrument": None}), ["COIN_NOT_TRADABLE"]),
            (
                "delisted",
                given_entry(short={"instrument": given_instrument("BTC", delisted=True)}),
                ["COIN_NOT_TRADABLE"],
            ),
            (
                "delisted and without a quote",
                given_entry(long={"instrument": None, "quote": None}),
                ["COIN_NOT_TRADABLE"],
            ),
            ("no quote", given_entry(long={"quote": None}), ["QUOTE_STALE"]),
            ("a crossed quote", given_entry(long={"quote": crossed}), ["QUOTE_STALE"]),
            ("no bid at all", given_entry(long={"quote": given_quote("ETH", bid=Price(D("NaN")))}), ["QUOTE_STALE"]),
            ("a zero mark", given_entry(long={"quote": given_quote("ETH", mark=Price(D(0)))}), ["QUOTE_STALE"]),
            ("two seconds old", given_entry(long={"quote": given_quote("ETH", at=after(-2))}), []),
            ("older", given_entry(long={"quote": given_quote("ETH", at=after(-2.1))}), ["QUOTE_STALE"]),
            ("from the future", given_entry(long={"quote": given_quote("ETH", at=after(2.1))}), ["QUOTE_STALE"]),
            ("half a percent wide", given_entry(long={"quote": given_quote("ETH", spread="0.005")}), []),
            ("wider", given_entry(long={"quote": given_quote("ETH", spread="0.0051")}), ["WIDE_SPREAD"]),
            (
                "wider, and old",
                given_entry(long={"quote": given_quote("ETH", at=after(-9), spread="0.01")}),
                ["QUOTE_STALE"],
            ),
            (
                "wider, and not listed",
                given_entry(long={"quote": given_quote("ETH", spread="0.01"), "instrument": None}),
                ["COIN_NOT_TRADABLE"],
            ),
            ("as deep as needed", given_entry(long={"fillable": Quantity(D("0.25"))}), []),
            ("too thin", given_entry(long={"fillable": Quantity(D("0.2499"))}), ["INSUFFICIENT_DEPTH"]),
            ("no book", given_entry(long={"fillable": None}), ["INSUFFICIENT_DEPTH"]),
            (
                "no book behind an old quote",
                given_entry(long={"fillable": None, "quote": given_quote("ETH", at=after(-9))}),
                ["QUOTE_STALE"],
            ),
            (
                "no book of a coin not listed",
                given_entry(long={"fillable": None, "instrument": None}),
                ["COIN_NOT_TRADABLE"],
            ),
            ("no size to measure", given_entry(long={"largest": None}), ["INSUFFICIENT_DEPTH"]),
            ("no priced round trip", given_entry(round_trip_cost=None), ["INSUFFICIENT_DEPTH"]),
            ("cost at its share of the stop", given_entry(round_trip_cost=D("0.003")), []),
            ("dearer", given_entry(round_trip_cost=D("0.0031")), ["COST_TOO_HIGH"]),
            ("a wider stop bears it", given_entry(round_trip_cost=D("0.0031"), stop_loss=Ratio(D("0.02"))), []),
            ("a small slice", given_entry(long={"smallest": Quantity(D("0.0024"))}), ["LEG_BELOW_VENUE_MINIMUM"]),
            ("nothing on the lot grid", given_entry(short={"smallest": Quantity(D(0))}), ["LEG_BELOW_VENUE_MINIMUM"]),
            # 0.0001 BTC is 10 USD at the mid, but a sell is measured at its limit below the touch
            (
                "ten dollars at the mid",
                given_entry(short={"smallest": Quantity(D("0.0001"))}),
                ["LEG_BELOW_VENUE_MINIMUM"],
            ),
            # and 0.0025 ETH is that at the ask, which is the least that a buy is measured at
            ("ten dollars at the ask", given_entry(long={"smallest": Quantity(D("0.0025"))}), []),
            ("unsized", given_entry(long={"smallest": None}), []),
        )
        for name, entry, expected in table:
            with self.subTest(name):
                self.assertEqual(codes(entry), expected)

    def test_both_legs_are_reported(self) -> None:
        blind = given_entry(long={"quote": None}, short={"quote": None})
        breaches = market_breaches(blind, T0, LIMITS)
        self.assertEqual([breach.code for breach in breaches], [BreachCode.QUOTE_STALE] * 2)
        self.assertIn("ETH", breaches[0].detail)
        self.assertIn("BTC", breaches[1].detail)

    def test_what_cannot_be_measured_is_left_out(self) -> None:
        entry = given_entry(round_trip_cost=None)
        blind = EntryLeg(ETH, Side.BUY, given_instrument("ETH"), None)
        unsized = EntryLeg(BTC, Side.SELL, given_instrument("BTC"), given_quote("BTC"))
        self.assertEqual(codes(replace(entry, long=blind)), ["QUOTE_STALE"])
        self.assertEqual(codes(replace(entry, long=blind, short=unsized)), ["QUOTE_STALE"])

    def test_a_size_under_one_lot_is_below_the_minimum_and_nothing_else(self) -> None:
        nothing = {"smallest": Quantity(D(0)), "largest": Quantity(D(0)), "fillable": None}
        tiny = given_entry(size="1", long=nothing, short=nothing, round_trip_cost=None)
        self.assertEqual(codes(tiny), ["LEG_BELOW_VENUE_MINIMUM"] * 2)

    def test_breaches_name_limit_and_actual(self) -> None:
        late = given_entry(long={"quote": given_quote("ETH", at=after(-7.5))})
        (breach,) = market_breaches(late, T0, LIMITS)
        self.assertEqual((breach.limit, breach.actual), (D(2), D("7.5")))
        for instrument, word in ((None, "not listed"), (given_instrument("ETH", delisted=True), "delisted")):
            (breach,) = market_breaches(given_entry(long={"instrument": instrument}), T0, LIMITS)
            self.assertEqual((breach.limit, breach.actual), ("listed", word))
        (breach,) = book_breaches(given_entry(leverage=5), given_exposure(), LIMITS)
        self.assertEqual((breach.limit, breach.actual), (D(3), D(5)))
        (breach,) = book_breaches(given_entry(), given_exposure(positions=3), LIMITS)
        self.assertEqual((breach.limit, breach.actual), (D(3), D(3)))
        (breach,) = book_breaches(given_entry(), given_exposure(cooling_until={BTC_ETH: after(60)}), LIMITS)
        self.assertEqual(datetime.fromisoformat(str(breach.limit)), after(60))


class AllAtOnceTest(unittest.TestCase):
    def test_every_breach_is_told_in_one_answer_in_the_order_of_the_codes(self) -> None:
        entry = given_entry(
            size="40000",
            leverage=9,
            round_trip_cost=D("0.02"),
            stop_loss=Ratio(D("0.01")),
            long={
                "quote": given_quote("ETH", spread="0.01"),
                "smallest": Quantity(D("0.001")),
                "fillable": Quantity(D("0.1")),
            },
            short={"instrument": None},
        )
        exposure = given_exposure(
            equity=Usd(D(90)),
            margin_available=Usd(D(90)),
            positions=3,
            standing=(standing("BTC/ETH", "BTC", "ETH"), standing("SOL/BTC", "SOL", "BTC", 2)),
            cooling_until={BTC_ETH: after(5)},
        )
        found = codes(entry, exposure)
        self.assertEqual(found, sorted(found, key=[code.value for code in BreachCode].index))
        # A coin held opposite tells nothing more about its leverage, and BTC has no instrument to quote.
        self.assertEqual(set(BreachCode) - {BreachCode(code) for code in found}, {"LEVERAGE_CONFLICT", "QUOTE_STALE"})


class HeadroomTest(unittest.TestCase):
    def test_a_preview_shows_what_each_limit_leaves(self) -> None:
        left = {one.name: one.left for one in headroom(given_entry(), given_exposure(positions=1), LIMITS)}
        self.assertEqual(left["max_positions"], D(1))
        self.assertEqual(left["max_allocation"], D("0.28"))
        self.assertEqual(left["max_gross"], D("0.88"))
        self.assertEqual(left["max_leverage"], D(2))
        self.assertEqual(left["min_portfolio_usd"], D(99_900))
        self.assertEqual(left["margin_usd"], D(95_000) - D("2000.9"))
        self.assertEqual(left["round_trip_cost"], D("0.0018"))
        self.assertEqual(left["depth:ETH"], D("2.25"))
        self.assertEqual(left["leg_spread:BTC"], D("0.0048"))
        self.assertGreater(left["leg_notional:ETH"], 0)

    def test_the_portfolio_has_headroom_without_an_entry(self) -> None:
        exposure = given_exposure(positions=1, gross_usd=Usd(D(20_000)))
        left = {one.name: one.left for one in headroom(None, exposure, LIMITS)}
        self.assertEqual(
            left,
            {
                "max_positions": D(2),
                "max_gross": D("0.7"),
                "min_portfolio_usd": D(99_900),
                "margin_usd": D(95_000),
            },
        )

    def test_a_breach_is_a_headroom_below_zero(self) -> None:
        entry, exposure = given_entry(size="31000", leverage=4), given_exposure(positions=3)
        negative = {one.code for one in headroom(entry, exposure, LIMITS) if one.left < 0}
        self.assertEqual(negative, {breach.code for breach in entry_breaches(entry, exposure, LIMITS)})


if __name__ == "__main__":
    unittest.main()
