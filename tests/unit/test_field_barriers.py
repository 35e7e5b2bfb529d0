"""Cases of barriers, liquidation and accounting that other desks have met, by the numbers under which they are known;
ours where we differ.

Sources: hummingbot (position executor), freqtrade (test_interface.py, test_backtest_detail.py, test_hyperliquid.py,
test_calc_profit, test_recalc_trade_from_orders). Returns are of a single leg there; here they are of the pair, so each
case is told in returns. Costs are left out where the case leaves them out.
"""

import unittest
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.builders import (
    after,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_order,
    given_report,
    given_trailing,
)
from tests.engine.bent_venue import BentVenue, a_bent_scene
from tests.engine.scripted_venue import Scene
from trading.domain.errors import InvalidRequest, InvariantBroken
from trading.domain.exit_plan import ExitPlan, ExitReason, TrailingStop
from trading.domain.market import Level
from trading.domain.orders import Side
from trading.domain.positions import position_of
from trading.domain.trades import OrdersIntended, OrdersReported, Trade, record
from trading.domain.units import Coin, Price, Quantity, Ratio, Usd
from trading.engine import closing, exits
from trading.engine.reconciliation import Conclusion, conclude
from trading.engine.requests import ExitChange
from trading.serializers import execute_request
from trading.utils.trade_calculator import (
    calculate_position_pnl,
    exit_due,
    fillable,
    liquidation_price,
    raise_high_water,
    unrealized_pnl,
)


def plan(
    take: str = "5", stop: str = "0.5", trailing: TrailingStop | None = None, seconds: int | None = None
) -> ExitPlan:
    return ExitPlan(Ratio(Decimal(take)), Ratio(Decimal(stop)), trailing, seconds)


def returned(side: Side, entry: str, price: str) -> Decimal:
    """What one coin has gained, as a fraction of what it cost."""
    return unrealized_pnl(side, 1, entry, price) / Decimal(entry)


def averaged(*fills: tuple[str, int]) -> Price | None:
    """The entry of a long leg that was filled in these parts: coins and price."""
    trade = given_a_trade()
    for attempt, (coins, price) in enumerate(fills, start=1):
        wanted = Quantity(max(Decimal(coins), Decimal(1)))
        order = given_order(
            trade.terms, trade.terms.long, attempt=attempt, quantity=wanted, limit_price=Price(Decimal(price))
        )
        trade = record(trade, OrdersIntended(order.intended_at, (order,)))
        trade = record(trade, OrdersReported(order.intended_at, (given_report(order, str(Decimal(coins) / wanted)),)))
    return position_of([trade]).long.entry_price


class BarrierCases(unittest.TestCase):
    def due(self, limits: ExitPlan, present: Decimal | str, held: int = 0, near: bool = False) -> ExitReason | None:
        return exit_due(limits, present, None, held, near)

    def walked(self, limits: ExitPlan, *path: str) -> list[ExitReason | None]:
        """The verdict at each return of *path*, the highest so far remembered."""
        high, found = None, []
        for present in path:
            high = raise_high_water(high, present)
            found.append(exit_due(limits, present, high, 0))
        return found

    def test_c19_all_at_once_is_one_stop(self) -> None:
        """Long at 100, stop 5 %, profit 10 %, limit 60 s; at 61 s the price is 70."""
        present = returned(Side.BUY, "100", "70")
        self.assertEqual(present, Decimal("-0.3"))
        self.assertIs(self.due(plan("0.10", "0.05", seconds=60), present, 61), ExitReason.STOP_LOSS)

    def test_c20_and_c21_profit_and_time(self) -> None:
        limits = plan("0.10", "0.05", seconds=60)
        self.assertEqual(returned(Side.BUY, "100", "120"), Decimal("0.2"))
        self.assertIs(self.due(limits, returned(Side.BUY, "100", "120"), 61), ExitReason.TAKE_PROFIT)
        self.assertIs(self.due(limits, returned(Side.BUY, "100", "100"), 61), ExitReason.TIME_LIMIT)

    def test_c22_a_short_gains_as_the_price_falls(self) -> None:
        """Short at 100, profit 10 %: at 90 it is taken; at 101 it is down by 1 % and stays."""
        self.assertIs(self.due(plan("0.10"), returned(Side.SELL, "100", "90")), ExitReason.TAKE_PROFIT)
        self.assertEqual(returned(Side.SELL, "100", "101"), Decimal("-0.01"))
        self.assertIsNone(self.due(plan("0.10"), returned(Side.SELL, "100", "101")))

    def test_c24_the_order_is_fixed(self) -> None:
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.005")))
        high = Ratio(Decimal("0.02"))
        everything = plan("0.001", "-0.5", trailing, 1)
        order = []
        for limits, near in (
            (everything, True),
            (everything, False),
            (replace(everything, stop_loss=Ratio(Decimal("0.5"))), False),
            (replace(everything, stop_loss=Ratio(Decimal("0.5")), trailing=None), False),
            (plan(seconds=1), False),
        ):
            order.append(exit_due(limits, "0.01", high, 9, near))
        self.assertEqual(
            order,
            [
                ExitReason.LIQUIDATION,
                ExitReason.STOP_LOSS,
                ExitReason.TRAILING_STOP,
                ExitReason.TAKE_PROFIT,
                ExitReason.TIME_LIMIT,
            ],
        )

    def test_c25_a_barrier_that_would_be_met_at_once_is_no_barrier(self) -> None:
        """Elsewhere bounds decide which entry may become active; here a level on the wrong side is a 400."""
        body: dict[str, Any] = {"signal_id": "s", "position_size": Decimal(1000)}
        for field, value in (("stop_loss", "0.001"), ("take_profit", "0.0005"), ("stop_loss", "0.51")):
            with self.subTest(field, value=value), self.assertRaises(InvalidRequest):
                execute_request({**body, field: Decimal(value)})

    def test_c26_a_trailing_stop_over_an_averaged_entry(self) -> None:
        """0.1 at 100 and 0.25 at 90 are 92.857 on average; armed at 5 %, delta 1 %, fees 0.4 a side; 105, then 100."""
        average = averaged(("0.1", 100), ("0.25", 90))
        assert average is not None
        self.assertEqual(round(average, 2), Decimal("92.86"))
        cost = Decimal("0.35") * average
        net = [(Decimal("0.35") * (price - average) - Decimal("0.8")) / cost for price in (Decimal(105), Decimal(100))]
        self.assertEqual([round(one, 3) for one in net], [Decimal("0.106"), Decimal("0.052")])
        limits = plan(trailing=TrailingStop(Ratio(Decimal("0.05")), Ratio(Decimal("0.01"))))
        self.assertEqual(self.walked(limits, *map(str, net)), [None, ExitReason.TRAILING_STOP])

    def test_c27_a_plain_stop_does_not_follow(self) -> None:
        """Stop 10 %: up 20 %, then down 20 %: left by the stop, at 0.9 of the entry."""
        self.assertEqual(self.walked(plan(stop="0.10"), "0.20", "-0.20"), [None, ExitReason.STOP_LOSS])
        self.assertIs(self.due(plan(stop="0.10"), "-0.10"), ExitReason.STOP_LOSS)

    def test_c28_liquidation_at_092_comes_before_a_stop_at_090(self) -> None:
        self.assertIs(self.due(plan(stop="0.10"), "-0.09", near=True), ExitReason.LIQUIDATION)

    def test_c29_a_trailing_stop_of_five_percent(self) -> None:
        """Up 20 %, then back to 5 %. Their stop is 5 % of the price below its highest, 1.14; ours a gap of the return,
        here at 0.15."""
        limits = plan(trailing=given_trailing("0.06", "0.05"))
        self.assertEqual(self.walked(limits, "0.20", "0.16", "0.05"), [None, None, ExitReason.TRAILING_STOP])

    def test_c32_a_stop_of_ten_percent_behind_the_highest(self) -> None:
        """Up 5 %, down 2 %: held; down 6 %: left. Their stop is 0.945; ours, a gap of 0.10 behind 0.05, is -0.05."""
        limits = plan(trailing=TrailingStop(Ratio(Decimal("0.04")), Ratio(Decimal("0.10"))))
        self.assertEqual(self.walked(limits, "0.05", "-0.02", "-0.06"), [None, None, ExitReason.TRAILING_STOP])

    def test_c34_a_profit_target_that_falls_with_time_is_a_change_of_the_target(self) -> None:
        """10 % at once, 5 % after 20 minutes, 1 % after 55: here whoever wants that changes the target then."""
        for target, present, reason in (
            ("0.10", "0.02", None),
            ("0.10", "0.12", ExitReason.TAKE_PROFIT),
            ("0.05", "0.04", None),
            ("0.05", "0.06", ExitReason.TAKE_PROFIT),
            ("0.01", "-0.01", None),
            ("0.01", "0.02", ExitReason.TAKE_PROFIT),
        ):
            with self.subTest(target=target, present=present):
                self.assertIs(self.due(plan(target), present), reason)

    def test_c35_a_stop_and_a_target_in_one_bar_is_a_stop(self) -> None:
        """Open 5000. 4600 is beyond a stop of 1 %; 4850 and 5750 in one bar are the stop, the worse of the two, first;
        a stop of 5 % in the bar of the entry."""
        self.assertIs(self.due(plan(stop="0.01"), returned(Side.BUY, "5000", "4600")), ExitReason.STOP_LOSS)
        both = self.walked(plan("0.06", "0.02"), *(str(returned(Side.BUY, "5000", one)) for one in ("4850", "5750")))
        self.assertEqual(both, [ExitReason.STOP_LOSS, ExitReason.TAKE_PROFIT])
        self.assertIs(self.due(plan(stop="0.05"), returned(Side.BUY, "5000", "4600"), 0), ExitReason.STOP_LOSS)


class WatchedCases(unittest.TestCase):
    """The cases that take a desk: one close, and what is late before it began."""

    def setUp(self) -> None:
        self.scene: Scene
        self.venue: BentVenue
        self.scene, self.venue = a_bent_scene(self)

    def swept(self, memory: exits.Memory, seconds: float = 1.0) -> list[ExitReason]:
        self.scene.clock.advance(seconds)
        told: list[Any] = []
        exits.sweep(self.scene.desk, memory, lambda position_id, reason: told.append((position_id, reason)))
        for position_id, reason in told:
            closing.close(self.scene.desk, position_id, reason)
        return [reason for _, reason in told]

    def test_c19_one_breach_is_one_close(self) -> None:
        position = self.scene.opened(max_holding_seconds=60)
        memory = exits.Memory()
        self.swept(memory)
        self.venue.move("ETH", "3900")
        found = [reason for _ in range(5) for reason in self.swept(memory, 61)]
        self.assertEqual(found, [ExitReason.STOP_LOSS])
        self.assertEqual(2, len(self.scene.store.book().trades_of_position(position.id)))
        self.assertEqual(ExitReason.STOP_LOSS, self.scene.position(position.id).exit_reason)

    def test_c23_what_is_expired_before_it_began_sends_no_order(self) -> None:
        self.scene.offer(created_at=after(-301))
        with self.assertRaisesRegex(Exception, "old"):
            self.scene.execute()
        self.assertEqual(self.venue.sent, [])

    def test_c27_a_trailing_mark_survives_a_restart(self) -> None:
        position = self.scene.opened()
        watch = self.scene.store.book().watch(position.id)
        assert watch is None or watch.high_water is None
        trailing = given_trailing("0.006", "0.004")
        exits.change_exits(self.scene.desk, position.id, ExitChange(trailing=trailing), admin=False)
        memory = exits.Memory()
        self.venue.move("ETH", "4070")
        self.assertEqual([], self.swept(memory) + self.swept(memory))
        self.scene = self.scene.reopened()
        self.venue.move("ETH", "4035")
        self.assertEqual([ExitReason.TRAILING_STOP], self.swept(exits.Memory()))


class LiquidationCases(unittest.TestCase):
    def test_c37_to_c40_isolated_positions(self) -> None:
        for case, side, coins, entry, margin, leverage, price in (
            ("C37", Side.BUY, "0.0199", "2459.5", "24.454895", 50, "1243.0412"),
            ("C38", Side.SELL, "0.00099", "65536", "21.604172", 50, "86493.46"),
            ("C40", Side.SELL, "0.48", "163.11", "15.650731", 20, "190.94214"),
        ):
            with self.subTest(case):
                spare = Decimal(margin) - Decimal(coins) * Decimal(entry) / (2 * leverage)
                found = liquidation_price(side, coins, entry, spare, 2 * leverage)
                assert found is not None
                expected = Decimal(price)
                self.assertLess(abs(found / expected - 1), Decimal("0.00001"))


FEE = Decimal("0.0025")


class AccountingCases(unittest.TestCase):
    def test_c42_realized_by_the_average_with_fees(self) -> None:
        """Buy 100 at 10 and 100 at 15; sell 50 at 12, 100 at 20, 50 at 5, all at 0.25 %."""
        average = averaged(("100", 10), ("100", 15))
        self.assertEqual(average, Decimal("12.5"))
        realized, total = [], Decimal(0)
        for coins, price in ((50, 12), (100, 20), (50, 5)):
            opened, closed = coins * Decimal("12.5"), Decimal(coins * price)
            total += closed * (1 - FEE) - opened * (1 + FEE)
            realized.append(total)
        self.assertEqual(realized, [Decimal("-28.0625"), Decimal("713.8125"), Decimal("336.625")])

    def test_c43_profit_of_both_sides_with_fees_and_funding(self) -> None:
        """30 at 2.0, left at 2.1 or 1.9; funding of 1 paid lowers each by exactly 1."""
        for side, price, net in (
            (Side.BUY, "2.1", "2.6925"),
            (Side.BUY, "1.9", "-3.2925"),
            (Side.SELL, "2.1", "-3.3075"),
            (Side.SELL, "1.9", "2.7075"),
        ):
            fees = FEE * (30 * Decimal(2) + 30 * Decimal(price))
            with self.subTest(side=side, price=price):
                self.assertEqual(unrealized_pnl(side, 30, 2, price) - fees, Decimal(net))
                self.assertEqual(unrealized_pnl(side, 30, 2, price) - fees - 1, Decimal(net) - 1)

    def test_c45_an_order_booked_twice_counts_once_and_nothing_is_nothing(self) -> None:
        trade = given_a_filled_trade()
        again = OrdersReported(after(9), tuple(trade.reports.values()))
        self.assertEqual(held(record(trade, again)), held(trade))
        with self.assertRaisesRegex(InvariantBroken, "fills no more"):
            more = given_report(trade.orders[0], "1", filled=Quantity(trade.orders[0].quantity))
            halved = replace(
                trade, reports={**trade.reports, more.client_order_id: replace(more, filled=Quantity(Decimal(0)))}
            )
            record(halved, OrdersReported(after(9), (more,)))
        self.assertEqual(averaged(("1", 10), ("0", 99)), 10)

    def test_c45b_fees_are_those_of_the_orders_once_each(self) -> None:
        """An opening that cost 0.10 and a close of which 0.05, then 0.10 was charged: 0.15, then 0.20, never 0.30."""
        opening = with_fees(given_a_filled_trade(), "0.10")
        for charged, total in (("0.05", "0.15"), ("0.10", "0.20")):
            close = with_fees(given_a_filled_close(opening), charged)
            self.assertEqual(position_of([opening, close]).fees, Decimal(total))

    def test_c47_book_and_venue_are_compared_in_coins(self) -> None:
        """10 coins worth 1,000 against 10 at 100.005 match (elsewhere within 0.01 % of the value), 11 do not; here a
        price is no part of it, and a lot more or less is a difference."""
        ten = Decimal(10)
        self.assertIs(conclude(ten, ten, ten, Decimal(0)), Conclusion.AGREES)
        for held in ("11", "10.0001", "9.9999"):
            self.assertIs(conclude(ten, ten, Decimal(held), Decimal(0)), Conclusion.UNCONFIRMED)

    def test_c68_a_limit_is_filled_where_it_reaches_the_book(self) -> None:
        """Asks from 25.566, bids from 25.563: a limit at the own side's best gets nothing, at the other's it is filled;
        beyond what stands there it walks on."""
        asks = (level("25.566", "14.27"), level("25.567", "48.484"), level("25.568", "92.349"))
        bids = (level("25.563", "49.269"), level("25.562", "83"))
        for side, levels, limit, filled in (
            (Side.BUY, asks, "25.563", "0"),
            (Side.BUY, asks, "25.566", "10"),
            (Side.SELL, bids, "25.566", "0"),
            (Side.SELL, bids, "25.563", "10"),
        ):
            with self.subTest(side=side, limit=limit):
                self.assertEqual(fillable(levels, side, 10, limit)[0], Decimal(filled))
        self.assertEqual(fillable(asks, Side.BUY, 100, "25.567")[0], Decimal("62.754"))

    def test_c45c_a_pair_is_worth_its_legs_less_four_fees_and_the_funding_of_both(self) -> None:
        """Long 0.1 from 50000 to 51000, short 1.0 from 3000 to 2900: 200 gross."""
        pair = ("0.1", 50_000, 51_000, 1, 3_000, 2_900)
        self.assertEqual(calculate_position_pnl(*pair), 200)
        fees = Decimal("0.00045") * (5_000 + 5_100 + 3_000 + 2_900)
        self.assertEqual(
            calculate_position_pnl(*pair, fees, Decimal("1.5") - Decimal("0.4")), 200 - fees - Decimal("1.1")
        )


def level(price: str, quantity: str) -> Level:
    return Level(Price(Decimal(price)), Quantity(Decimal(quantity)))


def held(trade: Trade) -> list[Decimal]:
    return [trade.filled(Coin("ETH")), trade.filled(Coin("BTC")), trade.fees]


def with_fees(trade: Trade, total: str) -> Trade:
    """*trade* whose orders cost *total* together."""
    each = Usd(Decimal(total) / len(trade.orders))
    return replace(trade, reports={key: replace(one, fees=each) for key, one in trade.reports.items()})


if __name__ == "__main__":
    unittest.main()
