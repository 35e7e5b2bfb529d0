"""What an account lacks, has beside the desk's, and whose part of a fill is whose: pure, by a book and a reading."""

import unittest
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tests.builders import after, given_a_filled_trade, given_account, given_order, given_watch, price_of
from trading.domain.book import Book, book_of
from trading.domain.desk_state import DeskState
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Holding
from trading.domain.orders import Order, Side
from trading.domain.positions import Watch
from trading.domain.resting import AccountFill, FillCause, TriggerKind, resting_order_id
from trading.domain.trades import LegLost, Trade, record
from trading.domain.units import ClientOrderId, Coin, PositionId, Price, Quantity, Usd
from trading.engine import losses
from trading.engine.losses import CLOCK_SET_BACK_MAX, Missing

ETH, BTC, SOL = Coin("ETH"), Coin("BTC"), Coin("SOL")
D = Decimal
STEP = Quantity(D("0.0001"))


def account_with(**held: str) -> Account:
    return given_account(
        holdings=[Holding(Coin(coin), Quantity(D(amount)), price_of(coin)) for coin, amount in held.items()]
    )


def accepting(**drift: str) -> DeskState:
    return DeskState(accepted_drift={Coin(coin): Quantity(D(amount)) for coin, amount in drift.items()})


def fill_of(
    quantity: str,
    at: datetime,
    client_order_id: str | None = None,
    *,
    fill_id: str = "1",
    cause: FillCause = FillCause.ORDER,
) -> AccountFill:
    """A sale of ETH at 3,900 for four dollars of fees a coin."""
    amount = D(quantity)
    known = None if client_order_id is None else ClientOrderId(client_order_id)
    return AccountFill(fill_id, ETH, Side.SELL, Quantity(amount), Price(D(3900)), Usd(4 * amount), at, cause, known)


class HoldingsTest(unittest.TestCase):
    """A quarter of a coin of ETH is long, a hundredth of BTC short."""

    def setUp(self) -> None:
        self.trade = given_a_filled_trade()
        self.book = book_of([self.trade])

    def test_what_is_missing_is_the_least_by_the_book_less_what_the_account_has_on_that_side(self) -> None:
        table: tuple[tuple[dict[str, str], list[Missing]], ...] = (
            ({"ETH": "0.25", "BTC": "-0.01"}, []),
            ({"ETH": "0.3", "BTC": "-0.02"}, []),
            ({"ETH": "0.15", "BTC": "-0.01"}, [lacks(ETH, 1, "0.1", "0.25")]),
            ({"ETH": "0.25", "BTC": "-0.004"}, [lacks(BTC, -1, "0.006", "0.01")]),
            ({"ETH": "0.25"}, [lacks(BTC, -1, "0.01", "0.01")]),
            ({"ETH": "-0.1", "BTC": "-0.01"}, [lacks(ETH, 1, "0.25", "0.25")]),
            ({"ETH": "0.25", "BTC": "0.1"}, [lacks(BTC, -1, "0.01", "0.01")]),
        )
        for held, found in table:
            with self.subTest(held=held):
                self.assertEqual(tuple(found), losses.missing(self.book, account_with(**held)))

    def test_beside_others_what_is_not_missing_is_looked_at_too(self) -> None:
        account = account_with(ETH="0.5", BTC="-0.01")
        self.assertEqual((lacks(ETH, 1, "0", "0.25"),), losses.missing(self.book, account, {ETH, SOL}))

    def test_a_leg_that_is_gone_lacks_nothing(self) -> None:
        book = book_of([record(self.trade, lost(self.trade, ETH, "0.25"))])
        self.assertEqual((), losses.missing(book, account_with(ETH="-1", BTC="-0.01"), {ETH}))

    def test_others_are_beside_the_desk_by_what_is_read_or_was_accepted_on_its_side(self) -> None:
        table: tuple[tuple[dict[str, str], dict[str, str], set[Coin]], ...] = (
            ({"ETH": "0.25", "BTC": "-0.01"}, {}, set()),
            ({"ETH": "0.2", "BTC": "-0.004"}, {}, set()),
            ({"ETH": "0.3", "BTC": "-0.01"}, {}, {ETH}),
            ({"ETH": "0.25", "BTC": "-0.02"}, {}, {BTC}),
            ({"ETH": "0.25", "BTC": "-0.01"}, {"ETH": "0.1"}, {ETH}),
            ({"ETH": "0.25", "BTC": "-0.01"}, {"BTC": "-0.001"}, {BTC}),
            ({"ETH": "0.25", "BTC": "-0.01"}, {"ETH": "-0.1", "BTC": "0.001"}, set()),
            ({"ETH": "0.1", "BTC": "-0.01", "SOL": "5"}, {"ETH": "0.1", "SOL": "5"}, {ETH}),
        )
        for held, drift, found in table:
            with self.subTest(held=held, drift=drift):
                self.assertEqual(found, losses.beside_others(self.book, account_with(**held), accepting(**drift)))

    def test_how_much_is_beyond_the_book_is_counted_on_the_desk_s_side(self) -> None:
        for eth, btc, beyond in (
            ("0.25", "-0.01", ("0", "0")),
            ("0.3", "-0.02", ("0.05", "0.01")),
            ("0.2", "-0.004", ("-0.05", "-0.006")),
        ):
            with self.subTest(eth=eth, btc=btc):
                found = losses.beyond_book(self.book, account_with(ETH=eth, BTC=btc))
                self.assertEqual(tuple(D(one) for one in beyond), (found[ETH], found[BTC]))

    def test_what_is_held_is_explained_by_the_book_and_what_was_accepted_alone(self) -> None:
        table: tuple[tuple[dict[Coin, str], dict[str, str], set[Coin]], ...] = (
            ({ETH: "0.25", BTC: "0.01"}, {}, set()),
            ({ETH: "0.3", BTC: "0.01"}, {}, {ETH}),
            ({ETH: "0.2", BTC: "0.01"}, {}, {ETH}),
            ({ETH: "0.25", BTC: "0.02"}, {}, {BTC}),
            ({ETH: "0.35", BTC: "0.011"}, {"ETH": "0.1", "BTC": "-0.001"}, set()),
            ({ETH: "0.25", BTC: "0.01"}, {"ETH": "0.1", "BTC": "-0.001"}, {ETH, BTC}),
            ({ETH: "0", BTC: "0.01"}, {}, set()),
        )
        for held, drift, found in table:
            with self.subTest(held=held, drift=drift):
                amounts = {coin: Quantity(D(amount)) for coin, amount in held.items()}
                self.assertEqual(found, losses.unexplained(self.book, amounts, accepting(**drift)))


class SoldWithoutLedgerTest(unittest.TestCase):
    """Two hold a quarter of a coin of ETH each; the second was entered ten minutes after the first."""

    def setUp(self) -> None:
        self.first = given_a_filled_trade("signal_1")
        self.second = given_a_filled_trade("signal_2", pair="SOL/ETH", at=after(600))
        self.book = book_of([self.first, self.second])

    def explained(
        self, fills: Sequence[AccountFill], lacking: str, *sold: str, book: Book | None = None
    ) -> dict[PositionId, list[tuple[Decimal, str]]]:
        known = [ClientOrderId(one) for one in sold]
        lack = lacks(ETH, 1, lacking, "0.5")
        at = after(2000)
        found = losses.explained(book or self.book, lack, fills, STEP, at, known, read_at=at)
        return {one: [(part.quantity, part.why) for part in parts] for one, parts in found.items()}

    def test_an_order_counts_that_was_meant_after_the_first_of_what_stands_was_entered(self) -> None:
        def order_at(seconds: float, coin: Coin = ETH) -> Order:
            return replace(given_order(self.first.terms, self.first.terms.long, at=after(seconds)), coin=coin)

        early, between, late, elsewhere = order_at(-1), order_at(300), order_at(900), order_at(900, Coin("AVAX"))
        rescued = [early, order_at(0), between, late, elsewhere]
        self.assertEqual(tuple(rescued[1:4]), losses.sold_since(self.book, rescued))
        gone = book_of([record(self.first, lost(self.first, ETH, "0.25")), self.second])
        self.assertEqual((late,), losses.sold_since(gone, rescued))

    def test_what_was_sold_is_the_loss_of_those_who_stood_then_missing_or_not(self) -> None:
        words = "it was sold without a ledger"
        for lacking in ("0.2", "0"):
            with self.subTest(lacking=lacking):
                early = fill_of("0.2", after(300), "0xabc")
                self.assertEqual(
                    {self.first.terms.position_id: [(D("0.2"), words)]}, self.explained([early], lacking, "0xabc")
                )
                # Clocks may be that far apart.
                close = fill_of("0.2", after(600) - CLOCK_SET_BACK_MAX, "0xabc")
                both = {one.terms.position_id: [(D("0.1"), words)] for one in (self.first, self.second)}
                self.assertEqual(both, self.explained([close], lacking, "0xabc"))

    def test_what_nobody_knows_is_everybody_s_as_far_as_it_is_missing(self) -> None:
        stray = fill_of("0.2", after(900))
        words = "an order that is not the desk's took it"
        both = {one.terms.position_id: [(D("0.05"), words)] for one in (self.first, self.second)}
        self.assertEqual(both, self.explained([stray], "0.1"))
        self.assertEqual({}, self.explained([stray], "0"))

    def test_what_one_fill_took_leaves_less_for_the_next(self) -> None:
        fills = [fill_of("0.2", after(900)), fill_of("0.2", after(901), fill_id="2")]
        found = self.explained(fills, "0.3")
        self.assertEqual([[D("0.1"), D("0.05")]] * 2, [[part for part, _ in parts] for parts in found.values()])

    def test_what_rested_for_one_is_its_own_and_a_liquidation_comes_before_an_order(self) -> None:
        owner = self.second.terms.position_id
        fired = resting_order_id(owner, ETH, TriggerKind.STOP, 3)
        watch: Watch = given_watch(self.second, rested=3)
        book = book_of([self.first, self.second], [watch])
        for lacking in ("0.2", "0"):
            with self.subTest(lacking=lacking):
                found = self.explained([fill_of("0.2", after(900), fired)], lacking, book=book)
                self.assertEqual({owner: [(D("0.2"), "what rested for it fired at the venue")]}, found)
        fills = [
            fill_of("0.2", after(900), fill_id="2"),
            fill_of("0.2", after(901), cause=FillCause.LIQUIDATION),
        ]
        found = self.explained(fills, "0.2", book=book)
        self.assertEqual([[(D("0.1"), "the venue liquidated it")]] * 2, list(found.values()))


def lacks(coin: Coin, sign: int, quantity: str, least: str) -> Missing:
    return Missing(coin, sign, Quantity(D(quantity)), Quantity(D(least)))


def lost(trade: Trade, coin: Coin, quantity: str) -> LegLost:
    at = trade.events[-1].at + timedelta(seconds=1)
    amount = Quantity(D(quantity))
    return LegLost(at, coin, amount, price_of(coin), Usd(D(0)), at, "9", ExitReason.LEG_LOST, "taken")
