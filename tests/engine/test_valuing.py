import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.builders import T0, given_account, given_exit_plan
from tests.engine.bent_venue import a_bent_scene
from trading.domain.exit_plan import ExitReason, Reversion
from trading.domain.market import Account, CandleInterval, Depth, Holding, Level, Quote
from trading.domain.positions import Position
from trading.domain.units import Coin, Price, Quantity, Usd
from trading.engine.valuing import (
    Mark,
    Prices,
    coins_of,
    decode_mark,
    distance_of,
    encode_mark,
    is_sound,
    maintenance_share,
    mark_of,
    read_prices,
    risk_level,
    unrealized_of,
)
from trading.ports import Json

ETH, BTC = Coin("ETH"), Coin("BTC")


class ValuingTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.position = self.scene.opened()

    def marked(self, position: Position | None = None) -> Mark | None:
        position = position or self.position
        prices = read_prices(self.scene.desk, coins_of([position]))
        return mark_of(self.scene.desk, position, prices, self.scene.clock.now())

    def certain(self) -> Mark:
        mark = self.marked()
        assert mark is not None
        return mark


class MarkTest(ValuingTestCase):
    def test_it_starts_slightly_negative(self) -> None:
        mark = self.certain()
        assert mark.exit_return is not None and mark.mark_return is not None
        self.assertTrue(Decimal("-0.002") < mark.exit_return < Decimal("-0.0009"), mark.exit_return)
        self.assertLess(mark.exit_return, mark.mark_return)

    def test_exit_return_is_by_hand(self) -> None:
        """Bought at 4000.4, sold at 3999.6; sold at 99990, bought back at 100010; four fees of 0.045 %."""
        entry = Decimal("0.25") * Decimal("4000.4") + Decimal("0.01") * Decimal(99_990)
        out = Decimal("0.25") * Decimal("3999.6") + Decimal("0.01") * Decimal(100_010)
        lost = Decimal("0.25") * Decimal("0.8") + Decimal("0.01") * Decimal(20)
        expected = -(lost + Decimal("0.00045") * (entry + out)) / entry
        self.assertEqual(expected, self.certain().exit_return)

    def test_what_is_unknown_is_none(self) -> None:
        self.venue.depth_usd = {"ETH": Decimal(1)}
        self.assertIsNone(self.certain().exit_return)
        self.venue.quotes_missing = {"BTC"}
        self.assertIsNone(self.marked())
        self.venue.reads_down = {"depths"}
        self.assertEqual(Prices({}, {}), read_prices(self.scene.desk, (ETH,)))

    def test_a_coin_whose_price_is_old_is_asked_for_once(self) -> None:
        """While reads fail each look is waited for: a time limit must not wait for two."""
        for ages, asked in (({"ETH": 5.1}, 1), ({"ETH": 5.1, "BTC": 5.1}, 0), ({"ETH": 5.0}, 2)):
            with self.subTest(ages=ages):
                self.venue.quotes_age = ages
                self.venue.calls.clear()
                prices = read_prices(self.scene.desk, (ETH, BTC))
                self.assertEqual((2, asked), (len(prices.quotes), len(prices.depths)))
                self.assertEqual(min(asked, 1), self.venue.calls.count("depths"))

    def test_an_old_book_values_nothing(self) -> None:
        self.venue.bend_depth = lambda one: replace(one, taken_at=one.taken_at - timedelta(seconds=6))
        self.assertIsNone(self.certain().exit_return)

    def test_a_leg_that_is_gone_takes_the_touch_and_costs_nothing(self) -> None:
        half = replace(self.position, short=replace(self.position.short, closed=self.position.short.opened))
        mark = self.marked(half)
        assert mark is not None
        self.assertIsNotNone(mark.exit_return)
        self.assertEqual(half.long.unrealized(mark.long_mid), unrealized_of(half, mark))

    def test_nothing_filled_has_mids_and_no_return(self) -> None:
        empty = replace(
            self.position,
            long=replace(self.position.long, opened=Quantity(Decimal(0)), entry_price=None),
            short=replace(self.position.short, opened=Quantity(Decimal(0)), entry_price=None),
        )
        mark = self.marked(empty)
        assert mark is not None
        self.assertEqual(
            (Decimal(4_000), Decimal(100_000), None, None),
            (mark.long_mid, mark.short_mid, mark.exit_return, mark.mark_return),
        )


class SoundTest(unittest.TestCase):
    def book(self, price: str = "99", quantity: str = "1", *, bid: bool = True) -> Depth:
        """Of two levels a side; the second one of the bids, or of the asks, is as given."""
        sides = {True: [self.level("100"), self.level("99")], False: [self.level("101"), self.level("102")]}
        sides[bid][1] = self.level(price, quantity)
        return Depth(ETH, tuple(sides[True]), tuple(sides[False]), T0)

    def level(self, price: str, quantity: str = "1") -> Level:
        return Level(Price(Decimal(price)), Quantity(Decimal(quantity)))

    def test_a_book_of_finite_numbers_is_sound(self) -> None:
        self.assertTrue(is_sound(self.book()))
        self.assertTrue(is_sound(self.book("0.000001", "1E+20")))
        self.assertTrue(is_sound(Depth(ETH, (), (), T0)))
        self.assertTrue(is_sound(Depth(ETH, (self.level("100"),), (), T0)))

    def test_one_damaged_number_anywhere_in_it_and_it_is_not(self) -> None:
        for bid in (True, False):
            for word in ("NaN", "sNaN", "Infinity", "-Infinity", "0", "-1"):
                with self.subTest(price=word, bid=bid):
                    self.assertFalse(is_sound(self.book(word, bid=bid)))
            for word in ("NaN", "sNaN", "Infinity", "-Infinity"):
                with self.subTest(quantity=word, bid=bid):
                    self.assertFalse(is_sound(self.book(quantity=word, bid=bid)))

    def test_a_crossed_book_is_not_and_one_whose_sides_meet_is(self) -> None:
        self.assertTrue(is_sound(Depth(ETH, (self.level("100"),), (self.level("100"),), T0)))
        self.assertFalse(is_sound(Depth(ETH, (self.level("100"),), (self.level("99.99"),), T0)))


class CacheTest(ValuingTestCase):
    def test_a_mark_survives_the_cache(self) -> None:
        mark = self.certain()
        for one in (mark, replace(mark, exit_return=None), replace(mark, mark_return=None)):
            self.assertEqual(replace(one, exit_ratio=None, mark_ratio=None), decode_mark(encode_mark(one)))

    def test_anything_else_in_the_cache_is_no_mark(self) -> None:
        good = encode_mark(self.certain())
        assert isinstance(good, dict)
        rows: tuple[Json, ...] = (
            None,
            "text",
            [],
            {},
            {**good, "long_mid": "abc"},
            {**good, "long_mid": "NaN"},
            {**good, "exit_return": "Infinity"},
            {**good, "taken_at": "yesterday"},
            {**good, "taken_at": "2026-11-22T12:00:00"},
            {key: value for key, value in good.items() if key != "mark_return"},
        )
        for row in rows:
            with self.subTest(str(row)):
                self.assertIsNone(decode_mark(row))


class RiskTest(ValuingTestCase):
    def a_mark(self, present: str | None, distance: str | None = None, **changes: Any) -> Mark:
        one = None if present is None else Decimal(present)
        two = None if distance is None else Decimal(distance)
        btc, eth = Price(Decimal(100_000)), Price(Decimal(4_000))
        return replace(Mark(eth, btc, one, one, T0, T0, two), **changes)

    def planned(self, **changes: Any) -> Position:
        return replace(self.position, exit_plan=given_exit_plan(**changes))

    def test_risk_levels_have_their_thresholds(self) -> None:
        position = self.planned()
        for present, distance, level in (
            ("0.5", None, "low"),
            ("-0.0039", None, "low"),
            ("-0.004", None, "medium"),
            ("-0.0074", None, "medium"),
            ("-0.0075", None, "high"),
            ("0", "0.41", "low"),
            ("0", "0.40", "medium"),
            ("0", "0.20", "high"),
            ("0.01", "0.1", "high"),
        ):
            with self.subTest(present=present, distance=distance):
                self.assertEqual(level, risk_level(position, self.a_mark(present, distance)))

    def test_what_is_held_without_a_price_is_never_low_and_what_is_not_held_always(self) -> None:
        self.assertEqual("medium", risk_level(self.position, None))
        self.assertEqual("medium", risk_level(self.position, self.a_mark(None)))
        self.assertEqual("high", risk_level(self.position, self.a_mark(None, "0.1")))
        nothing = replace(
            self.position, long=replace(self.position.long, closed=self.position.long.opened), short=self.position.short
        )
        nothing = replace(nothing, short=replace(nothing.short, closed=nothing.short.opened))
        self.assertEqual("low", risk_level(nothing, None))

    def test_what_has_lost_a_part_of_a_leg_is_no_hedge(self) -> None:
        lost = replace(self.planned(), lost=ExitReason.LEG_LOST)
        self.assertEqual("high", risk_level(lost, self.a_mark("0.01")))

    def test_the_venues_mark_serves_where_the_book_does_not_suffice(self) -> None:
        thin = self.a_mark("-0.008", exit_return=None, mark_ratio=Decimal(25))
        self.assertEqual("high", risk_level(self.planned(), thin))

    def test_every_stop_counts_and_the_nearest_decides(self) -> None:
        """Short BTC, long ETH at a ratio of 25: it loses as the ratio rises."""
        home = Reversion(Decimal("3.2"), Decimal("0.01"), Decimal("1.89"), 300, CandleInterval.MINUTE)
        above = replace(home, mean=Decimal("3.24"), zscore=Decimal("-2.11"))
        for changes, ratio, level in (
            ({"stop_loss_usd": Usd(Decimal(10))}, "25", "medium"),
            ({"stop_loss_usd": Usd(Decimal(5))}, "25", "high"),
            ({"stop_loss_spread": Decimal("24.1")}, "25.04", "medium"),
            ({"stop_loss_spread": Decimal("24.1")}, "25.08", "high"),
            ({"stop_loss_spread": Decimal("24.1")}, "24.5", "low"),
            ({"stop_loss_spread": Decimal("23.5")}, "24", "low"),
            ({"stop_loss_z": Decimal(3), "reversion": home}, "25.1", "low"),
            ({"stop_loss_z": Decimal(3), "reversion": home}, "25.15", "medium"),
            ({"stop_loss_z": Decimal(3), "reversion": home}, "25.25", "high"),
            ({"stop_loss_z": Decimal(3), "reversion": above}, "25", "low"),
            ({"stop_loss_z": Decimal(3), "reversion": above}, "24.89", "medium"),
        ):
            with self.subTest(changes=changes, ratio=ratio):
                mark = self.a_mark("-0.002", exit_ratio=Decimal(ratio))
                self.assertEqual(level, risk_level(self.planned(**changes), mark))

    def test_the_nearer_leg_counts(self) -> None:
        account = given_account(
            holdings=(
                Holding(ETH, Quantity(Decimal("0.25")), Price(Decimal(4_000)), Price(Decimal(3_000))),
                Holding(BTC, Quantity(Decimal("-0.01")), Price(Decimal(100_000)), Price(Decimal(115_000))),
            )
        )
        quotes = self.venue.quotes((ETH, BTC))
        self.assertEqual(Decimal("0.15"), distance_of(self.position, account, quotes))
        self.assertIsNone(distance_of(self.position, given_account(), quotes))

    def test_one_leg_is_no_answer_for_both_unless_it_is_near(self) -> None:
        eth, btc = (
            Holding(ETH, Quantity(Decimal("0.25")), Price(Decimal(4_000)), Price(Decimal(3_000))),
            Holding(BTC, Quantity(Decimal("-0.01")), Price(Decimal(100_000)), Price(Decimal(115_000))),
        )
        quotes = self.venue.quotes((ETH, BTC))
        self.assertIsNone(distance_of(self.position, given_account(holdings=(eth, btc)), {ETH: quotes[ETH]}))
        self.assertIsNone(distance_of(self.position, given_account(holdings=(eth,)), quotes))
        self.assertEqual(Decimal("0.15"), distance_of(self.position, given_account(holdings=(btc,)), quotes))
        free = replace(btc, liquidation_price=None)
        self.assertEqual(Decimal("0.25"), distance_of(self.position, given_account(holdings=(eth, free)), quotes))
        free = replace(eth, liquidation_price=None)
        self.assertEqual(Decimal("0.15"), distance_of(self.position, given_account(holdings=(free, btc)), quotes))
        gone = replace(self.position, short=replace(self.position.short, closed=self.position.short.opened))
        self.assertEqual(Decimal("0.25"), distance_of(gone, given_account(holdings=(eth,)), quotes))

    def test_what_is_held_on_the_other_side_tells_of_no_leg(self) -> None:
        """A pair that was turned round within a second: the account was read before, and had it the other way."""
        before = given_account(
            holdings=(
                Holding(ETH, Quantity(Decimal("-0.25")), Price(Decimal(4_000)), Price(Decimal(5_000))),
                Holding(BTC, Quantity(Decimal("0.01")), Price(Decimal(100_000)), Price(Decimal(-900_000))),
            )
        )
        self.assertIsNone(distance_of(self.position, before, self.venue.quotes((ETH, BTC))))

    def test_a_mark_that_is_none_gives_no_distance(self) -> None:
        account = given_account(
            holdings=(Holding(ETH, Quantity(Decimal("0.25")), Price(Decimal(4_000)), Price(Decimal(3_000))),)
        )
        for word in ("0", "-1", "NaN"):
            with self.subTest(word):
                quote: Quote = replace(self.venue.quotes((ETH,))[ETH], mark=Price(Decimal(word)))
                self.assertIsNone(distance_of(self.position, account, {ETH: quote}))

    def test_maintenance_over_equity(self) -> None:
        for equity, maintenance, share in (("100", "0", "0"), ("100", "25", "0.25"), ("0", "5", "1"), ("0", "0", "0")):
            with self.subTest(equity=equity, maintenance=maintenance):
                account: Account = given_account(equity, maintenance_margin=Usd(Decimal(maintenance)))
                self.assertEqual(Decimal(share), maintenance_share(account))
