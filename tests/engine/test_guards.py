"""What should rest at the venue: how far, how much, and when it is worth an action. No desk and no venue."""

import unittest
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from tests.builders import after, given_a_filled_trade, given_account, given_instrument
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Holding
from trading.domain.orders import Side
from trading.domain.positions import Position, PositionStatus, position_of
from trading.domain.resting import Resting, RestingOrder, TriggerKind, resting_order_id
from trading.domain.units import Coin, PositionId, Price, Quantity
from trading.engine.guards import Changes, Guard, Listing, decide, distance, settled, wanted

ETH, BTC = Coin("ETH"), Coin("BTC")
STOP, TAKE = TriggerKind.STOP, TriggerKind.TAKE_PROFIT
HERE = PositionId("pos_1")


def holding(coin: Coin, quantity: str, entry: str, liquidation: str | None = None) -> Holding:
    price = None if liquidation is None else Price(Decimal(liquidation))
    return Holding(coin, Quantity(Decimal(quantity)), Price(Decimal(entry)), price)


def an_account(eth: str | None = None, btc: str | None = None, eth_held: str = "0.25") -> Account:
    """Long 0.25 ETH and short 0.01 BTC, with these liquidation prices."""
    return given_account(holdings=(holding(ETH, eth_held, "4000", eth), holding(BTC, "-0.01", "100000", btc)))


def a_position() -> Position:
    return position_of([given_a_filled_trade()])


INSTRUMENTS = {coin: given_instrument(coin, "0.0001") for coin in (ETH, BTC)}


class Distance(unittest.TestCase):
    def test_a_quarter_at_most_and_four_fifths_of_the_way_to_the_nearer_liquidation(self) -> None:
        for eth, btc, expected in (
            (None, None, "0.25"),
            ("1000", None, "0.25"),
            ("3000", None, "0.2"),
            ("3000", "110000", "0.08"),
            (None, "140000", "0.25"),
            ("3960", None, None),
            ("4100", None, None),
            ("3949", None, "0.0102"),
            ("3950", None, "0.01"),
        ):
            with self.subTest(eth=eth, btc=btc):
                found = distance(a_position(), an_account(eth, btc))
                self.assertEqual(found, None if expected is None else Decimal(expected))

    def test_only_what_the_position_holds_and_the_account_shows_draws_it_in(self) -> None:
        position, near = a_position(), an_account("3000", "110000")
        trimmed = replace(position, short=replace(position.short, opened=quantity("0")))
        unfilled = replace(position, short=replace(position.short, opened=quantity("0"), entry_price=None))
        for name, one in {"trimmed back": trimmed, "not filled yet": unfilled}.items():
            with self.subTest(name):
                self.assertEqual(distance(one, near), Decimal("0.2"))
        self.assertEqual(
            distance(position, given_account(holdings=(holding(ETH, "0.25", "4000", "3000"),))), Decimal("0.2")
        )


class Wanted(unittest.TestCase):
    def test_a_leg_gets_a_stop_and_a_mirrored_take_profit_with_limits_a_tenth_beyond(self) -> None:
        found = wanted(a_position(), an_account("3000"), INSTRUMENTS)
        self.assertEqual(
            found[ETH],
            (
                Guard(ETH, Side.SELL, STOP, quantity("0.25"), price("3200"), price("2880")),
                Guard(ETH, Side.SELL, TAKE, quantity("0.25"), price("4800"), price("4320")),
            ),
        )
        self.assertEqual(
            found[BTC],
            (
                Guard(BTC, Side.BUY, STOP, quantity("0.01"), price("120000"), price("132000")),
                Guard(BTC, Side.BUY, TAKE, quantity("0.01"), price("80000"), price("88000")),
            ),
        )

    def test_prices_are_on_the_venue_s_grid_rounded_towards_the_entry(self) -> None:
        position = a_position()
        position = replace(position, long=replace(position.long, entry_price=price("3333.37")))
        stop, take = wanted(position, an_account(), INSTRUMENTS)[ETH]
        self.assertEqual((stop.trigger_price, stop.limit_price), (price("2500.1"), price("2250.1")))
        self.assertEqual((take.trigger_price, take.limit_price), (price("4166.7"), price("3750.1")))

    def test_a_leg_of_which_too_little_is_known_is_left_alone(self) -> None:
        position = a_position()
        for name, found in {
            "less at the venue than in the book": wanted(position, an_account(eth_held="0.2"), INSTRUMENTS),
            "not listed": wanted(position, an_account(), {BTC: INSTRUMENTS[BTC]}),
        }.items():
            with self.subTest(name):
                self.assertEqual(set(found), {BTC})
        self.assertEqual(wanted(position, an_account("3999"), INSTRUMENTS), {})
        closing = replace(position, status=PositionStatus.CLOSING)
        self.assertEqual(wanted(closing, an_account(), INSTRUMENTS), {})

    def test_nothing_is_to_rest_for_what_is_gone_delisted_or_too_small(self) -> None:
        position, nothing = a_position(), {ETH: (), BTC: ()}
        self.assertEqual(wanted(replace(position, status=PositionStatus.CLOSED), an_account(), INSTRUMENTS), nothing)
        half = replace(position, lost=ExitReason.LEG_LOST, long=replace(position.long, opened=quantity("0")))
        self.assertEqual(wanted(half, an_account(), INSTRUMENTS), {ETH: ()})
        delisted = {coin: replace(one, delisted=True) for coin, one in INSTRUMENTS.items()}
        self.assertEqual(wanted(position, an_account(), delisted), nothing)
        small = replace(position, long=replace(position.long, opened=quantity("0.002")))
        self.assertEqual(wanted(small, an_account(), INSTRUMENTS)[ETH], ())
        self.assertEqual(len(wanted(small, an_account(eth_held="0.002"), INSTRUMENTS)[ETH]), 2)
        trimmed = replace(position, long=replace(position.long, opened=quantity("0")))
        self.assertEqual(wanted(trimmed, an_account(eth_held="0"), INSTRUMENTS)[ETH], ())
        bare = replace(position, long=replace(position.long, entry_price=None))
        self.assertEqual(wanted(bare, an_account(), INSTRUMENTS)[ETH], ())

    def test_a_price_that_the_grid_does_not_have_guards_nothing(self) -> None:
        for entry in ("0.001", "0.01"):
            with self.subTest(entry):
                position = a_position()
                position = replace(position, long=replace(position.long, entry_price=price(entry)))
                self.assertEqual(wanted(position, an_account(), INSTRUMENTS)[ETH], ())

    def test_a_coin_of_cents_is_guarded_at_the_same_distance(self) -> None:
        position = a_position()
        position = replace(position, long=replace(position.long, entry_price=price("0.08"), opened=quantity("12500")))
        cents = {**INSTRUMENTS, ETH: given_instrument(ETH, "1", price_decimals_max=6)}
        stop, take = wanted(position, an_account("0.07", eth_held="12500"), cents)[ETH]
        self.assertEqual((stop.trigger_price, take.trigger_price), (price("0.072"), price("0.088")))


def price(text: str) -> Price:
    return Price(Decimal(text))


def quantity(text: str) -> Quantity:
    return Quantity(Decimal(text))


def a_guard(amount: str = "0.25", trigger: str = "3000", kind: TriggerKind = STOP, coin: Coin = ETH) -> Guard:
    return Guard(coin, Side.SELL, kind, quantity(amount), price(trigger), price(trigger))


def a_resting(
    amount: str = "0.25",
    trigger: str = "3000",
    kind: TriggerKind = STOP,
    *,
    at: float = 0,
    placed: bool = True,
    number: int = 1,
    coin: Coin = ETH,
) -> Resting:
    name = resting_order_id(HERE, coin, kind, number)
    order = RestingOrder(name, coin, Side.SELL, quantity(amount), price(trigger), price(trigger), kind)
    return Resting(order, after(at), placed)


class Decisions(unittest.TestCase):
    """At T0 + 60 s."""

    def decided(self, guards: Sequence[Guard], *resting: Resting, wish: Mapping[Coin, Sequence[Guard]] | None = None):  # type: ignore[no-untyped-def]
        return decide({ETH: guards} if wish is None else wish, resting, after(60))

    def test_the_table(self) -> None:
        stop, take = a_guard(), a_guard(trigger="5000", kind=TAKE)
        there = a_resting()
        old = a_resting("0.2", number=1)
        late = a_resting("0.2", at=55)
        much = a_resting("0.3", at=55)
        unsure = a_resting("0.2", placed=False)
        unsure_alike = a_resting(placed=False, number=2)
        for name, guards, resting, expected in (
            ("nothing rests yet", (stop, take), (), Changes(place=(stop, take))),
            ("all is well", (stop,), (there,), Changes()),
            ("one side is missing", (stop, take), (there,), Changes(place=(take,))),
            ("it has grown", (stop,), (old,), Changes(place=(stop,), replaced=(old,))),
            ("it has grown again too soon", (stop,), (late,), Changes()),
            ("more rests than is held", (stop,), (much,), Changes(place=(stop,), replaced=(much,))),
            ("one is on its way", (stop,), (unsure,), Changes()),
            ("a small move is worth nothing", (a_guard(trigger="3030"),), (there,), Changes()),
            (
                "a large one is",
                (a_guard(trigger="3031"),),
                (there,),
                Changes(place=(a_guard(trigger="3031"),), replaced=(there,)),
            ),
            ("none is wanted", (), (there,), Changes(cancel=(there,))),
            ("a large one so soon after the last", (a_guard(trigger="3031"),), (a_resting(at=55),), Changes()),
            ("two do what one should", (stop,), (there, old), Changes(replaced=(old,))),
            ("two do it alike", (stop,), (unsure_alike, there), Changes(replaced=(unsure_alike,))),
            ("one of two has moved just now", (stop,), (old, late), Changes()),
            ("one of two is on its way", (stop,), (old, unsure), Changes()),
            ("one of two is too large", (stop,), (much, late), Changes(place=(stop,), replaced=(much, late))),
            ("and one of them is on its way", (stop,), (old, a_resting(placed=False, number=2)), Changes()),
        ):
            with self.subTest(name):
                self.assertEqual(self.decided(guards, *resting), expected)

    def test_a_leg_that_is_left_alone_keeps_what_rests(self) -> None:
        self.assertEqual(self.decided((), a_resting(), wish={BTC: ()}), Changes())

    def test_c17_after_fills_one_two_and_four_what_rests_is_what_is_filled(self) -> None:
        rests: tuple[Resting, ...] = ()
        sizes = []
        for number, filled in enumerate(("0.250", "0.500", "1.000"), start=1):
            changes = decide({ETH: (a_guard(filled),)}, rests, after(36 * number))
            self.assertEqual(len(changes.place), 1)
            rests = tuple(a_resting(str(one.quantity), at=36 * number, number=number) for one in changes.place)
            sizes.append(sum(one.order.quantity for one in rests))
        self.assertEqual(sizes, [Decimal("0.25"), Decimal("0.5"), Decimal(1)])


class Settling(unittest.TestCase):
    def test_the_table(self) -> None:
        sure, unsure = a_resting(), a_resting(placed=False)
        name = sure.order.client_order_id
        for words, one, ids, asked, expected in (
            ("listed is placed", unsure, {name}, 1, (replace(unsure, placed=True),)),
            ("a placed one may have come after a list that was asked before it expired", sure, set(), 14, (sure,)),
            ("and is gone from a later one", sure, set(), 15, ()),
            ("one on its way may land until it expires", unsure, set(), 14, (unsure,)),
            ("and not after", unsure, set(), 15, ()),
        ):
            with self.subTest(words):
                self.assertEqual(settled([one], Listing(frozenset(ids), after(asked))), expected)
        self.assertEqual(settled([sure], None), (sure,))
