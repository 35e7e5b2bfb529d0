"""What is taken out of which of Pear's positions: never more than is there, and a leg that is not shown once only."""

import unittest
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from tests.unit.test_pear_wire import BTC, ETH, MIDS, SOL, an_order
from trading.adapters.pear_cuts import Cut, Sweep, as_held, writes_of
from trading.adapters.pear_wire import Basket, Part
from trading.domain.market import Holding
from trading.domain.orders import Order, Side
from trading.domain.units import ClientOrderId, Coin, Quantity

D = Decimal


def a_basket(name: str, **sizes: str) -> Basket:
    """Of coins with their signed sizes; of two baskets the one with the later name was changed last."""
    parts = (
        Part(Coin(coin), Side.BUY if D(size) > 0 else Side.SELL, Quantity(abs(D(size)))) for coin, size in sizes.items()
    )
    return Basket(name, tuple(parts), name, None, None, None, None)


def holding(**sizes: str) -> Mapping[Coin, Holding]:
    return {Coin(coin): Holding(Coin(coin), Quantity(D(size)), MIDS[Coin(coin)]) for coin, size in sizes.items()}


def closing(coin: Coin, side: Side, quantity: str) -> Order:
    name = ClientOrderId("0x" + {BTC: "b", ETH: "e", SOL: "5"}[coin] * 32)
    return replace(an_order(coin, side, quantity, str(MIDS[coin])), client_order_id=name, reduce_only=True)


SELL_BTC, BUY_ETH = closing(BTC, Side.SELL, "1"), closing(ETH, Side.BUY, "2")
PAIR = (SELL_BTC, BUY_ETH)
ODD = replace(a_basket("odd"), unread="a coin is missing")


class Writes(unittest.TestCase):
    def cuts(self, orders: tuple[Order, ...], baskets: tuple[Basket, ...], **sizes: str) -> list[Cut]:
        found = writes_of(orders, baskets, holding(**sizes), MIDS)
        return [one for one in found if isinstance(one, Cut)]

    def test_of_a_coin_that_is_held_no_more_nothing_is_believed(self) -> None:
        (seen,) = as_held([a_basket("1", BTC="1", ETH="-2")], holding(BTC="1"), MIDS)
        self.assertEqual([one.quantity for one in seen.parts], [1, 0])

    def test_what_cannot_be_read_of_the_account_leaves_only_whole(self) -> None:
        pair, part = a_basket("1", BTC="1", ETH="-2"), a_basket("2", SOL="5")
        orders = (*PAIR, closing(SOL, Side.SELL, "3"))
        (cut,) = writes_of(orders, (pair, part), None, MIDS)
        self.assertEqual((cut.orders, cut.path), (PAIR, "/positions/1/close"))

    def test_everything_is_swept_only_where_it_is_known_to_be_all(self) -> None:
        pair, other = a_basket("1", BTC="1", ETH="-2"), a_basket("2", SOL="5")
        orders = (*PAIR, closing(SOL, Side.SELL, "5"))
        held = holding(BTC="1", ETH="-2", SOL="5")
        (sweep,) = writes_of(orders, (pair, other), held, MIDS)
        assert isinstance(sweep, Sweep)
        self.assertEqual(set(sweep.orders), set(orders))
        self.assertEqual(sweep.expected, {BTC: 1, ETH: 2, SOL: 5})
        for baskets, known in (((pair, other, ODD), held), ((pair, other), None), ((pair, other, ODD), None)):
            with self.subTest(baskets=len(baskets), known=known is not None):
                found = writes_of(orders, baskets, known, MIDS)
                self.assertEqual([one.path for one in found], ["/positions/2/close", "/positions/1/close"])

    def test_beside_one_that_cannot_be_read_a_part_leaves_only_by_what_the_exchange_has_as_well(self) -> None:
        pair, some = a_basket("1", BTC="1", ETH="-2"), (closing(BTC, Side.SELL, "0.2"),)
        (cut,) = self.cuts(some, (pair, ODD), BTC="1", ETH="-2")
        self.assertEqual(cut.targets, {BTC: D("0.8")})
        self.assertEqual(self.cuts(some, (pair, ODD), BTC="0.6", ETH="-2"), [])
        (cut,) = self.cuts(some, (pair,), BTC="0.6", ETH="-2")
        self.assertEqual(cut.targets, {BTC: D("0.4")})

    def test_a_leg_that_is_not_shown_goes_with_the_close_that_takes_it(self) -> None:
        alone, other = a_basket("1", BTC="1"), a_basket("2", SOL="5", ETH="-3")
        for baskets, held in (((alone,), "-2"), ((alone, other), "-5"), ((alone, ODD), "-2")):
            with self.subTest(baskets=len(baskets)):
                (cut,) = self.cuts(PAIR, baskets, BTC="1", ETH=held, SOL="5")
                self.assertEqual((cut.basket.id, cut.orders), ("1", PAIR))
                self.assertEqual((cut.whole, cut.expected), (True, {BTC: 1, ETH: 2}))
        (unread,) = writes_of(PAIR, (alone,), None, MIDS)
        self.assertEqual(unread.orders, PAIR)

    def test_what_is_shown_or_is_hidden_nowhere_is_taken_from_where_it_is(self) -> None:
        alone, other, apart = a_basket("1", BTC="1"), a_basket("2", SOL="5", ETH="-3"), a_basket("3", ETH="-2")
        more = a_basket("1", BTC="1.5")
        for name, baskets, sizes, by in (
            ("all of it is shown", (alone, other), {"ETH": "-3"}, {"1": (SELL_BTC,), "2": (BUY_ETH,)}),
            ("less is held than is shown", (alone, other), {"ETH": "-2.5"}, {"1": (SELL_BTC,), "2": (BUY_ETH,)}),
            ("it leaves whole elsewhere", (alone, apart), {"ETH": "-4"}, {"1": (SELL_BTC,), "3": (BUY_ETH,)}),
            ("the position is only cut", (more, other), {"ETH": "-5"}, {"1": (SELL_BTC,), "2": (BUY_ETH,)}),
        ):
            with self.subTest(name):
                found = self.cuts(PAIR, baskets, **{"BTC": "2", "SOL": "5", **sizes})
                self.assertEqual({one.basket.id: one.orders for one in found}, by)

    def test_a_position_that_shows_both_sides_hides_nothing(self) -> None:
        """Somebody holds more of the coin at the exchange: no other leg of the group waits for that."""
        pair, other = a_basket("1", BTC="1", SOL="-5"), a_basket("2", ETH="-3")
        found = self.cuts((*PAIR, closing(SOL, Side.BUY, "5")), (pair, other), BTC="1", SOL="-5", ETH="-4")
        self.assertEqual(
            [(one.basket.id, len(one.orders), one.whole) for one in found], [("2", 1, False), ("1", 2, True)]
        )

    def test_an_order_that_goes_with_another_close_leaves_the_rest_of_its_own_write_as_it_is(self) -> None:
        alone, other = a_basket("1", BTC="1"), a_basket("2", SOL="5", ETH="-3")
        some = closing(SOL, Side.SELL, "3")
        found = self.cuts((*PAIR, some), (alone, other), BTC="1", ETH="-5", SOL="5")
        self.assertEqual([(one.basket.id, one.orders) for one in found], [("2", (some,)), ("1", PAIR)])
        self.assertEqual(found[0].targets, {SOL: 2})

    def test_a_coin_that_is_held_no_more_has_no_leg_that_is_not_shown(self) -> None:
        (cut,) = self.cuts(PAIR, (a_basket("1", BTC="1"),), BTC="1")
        self.assertEqual(cut.orders, (SELL_BTC,))

    def test_nothing_is_swept_beside_what_somebody_holds_of_any_coin(self) -> None:
        pair, other = a_basket("1", BTC="1", ETH="-2"), a_basket("2", SOL="5")
        orders = (*PAIR, closing(SOL, Side.SELL, "5"))
        for more in ({"BTC": "1.1"}, {"ETH": "-2.1"}, {"SOL": "5.1"}):
            with self.subTest(more=more):
                self.assertEqual(
                    len(self.cuts(orders, (pair, other), **{"BTC": "1", "ETH": "-2", "SOL": "5", **more})), 2
                )

    def test_more_of_the_same_leg_is_no_leg_that_is_not_shown(self) -> None:
        """One order of the coin, in a position that has some of it: the rest may be anywhere."""
        (cut,) = self.cuts((closing(BTC, Side.SELL, "2"),), (a_basket("1", BTC="1"),), BTC="2")
        self.assertEqual((cut.whole, cut.expected), (True, {BTC: 1}))


if __name__ == "__main__":
    unittest.main()
