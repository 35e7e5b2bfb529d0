"""From a request to an entry that can be judged: what each number of it is measured by."""

import unittest
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

from tests.builders import after, given_signal
from tests.engine.bent_venue import a_bent_scene
from tests.engine.scripted_venue import a_request
from trading.domain.errors import RiskDenied
from trading.domain.market import Candle, CandleInterval, Depth, Level, Quote
from trading.domain.signals import Approval
from trading.domain.trades import Trade
from trading.domain.units import Coin, Price, Quantity
from trading.engine import planning
from trading.engine.planning import Draft
from trading.engine.requests import Execution, TwapRequest
from trading.ports import Proposal
from trading.utils.risk_controls import BreachCode, EntryLeg

BTC, ETH = Coin("BTC"), Coin("ETH")


class PlanningTestCase(unittest.TestCase):
    """Long ETH at 4,000, short BTC at 100,000."""

    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def draft(self, size: str = "2000", **request: Any) -> Draft:
        world = planning.look(self.scene.desk, (BTC, ETH))
        return planning.draft(self.scene.desk, a_request("signal_1", size, **request), given_signal(), world)

    def trade(self, size: str = "2000", **request: Any) -> Trade:
        return self.scene.trade(self.scene.execute(size=size, **request).position.trade_id)

    def denied(self, **request: Any) -> list[str]:
        with self.assertRaises(RiskDenied) as caught:
            self.scene.execute(**request)
        return [str(one.code) for one in caught.exception.facts["breaches"]]  # type: ignore[attr-defined]


class ScheduleTest(PlanningTestCase):
    def test_when_an_opening_gives_up_what_is_not_filled(self) -> None:
        """The longer of a minute and its duration after its end."""
        for request, seconds in (
            ({"execution": Execution.MARKET}, 60),
            ({"twap": TwapRequest(30, 3)}, 90),
            ({"twap": TwapRequest(180, 3)}, 360),
        ):
            with self.subTest(request=request):
                self.setUp()
                terms = self.trade(**request).terms
                self.assertEqual(timedelta(seconds=seconds), terms.gives_up_at - terms.accepted_at)

    def test_a_schedule_says_its_pace_and_counts_from_one(self) -> None:
        terms = self.trade(twap=TwapRequest(30, 3)).terms
        self.assertEqual((Decimal(10), [1, 2, 3]), (terms.slice_interval_seconds, [one.number for one in terms.slices]))
        self.assertEqual(0, self.trade(signal_id="two", pair="SOL/AVAX").terms.slice_interval_seconds)

    def test_no_slice_is_less_than_a_second_after_the_one_before(self) -> None:
        terms = self.trade(twap=TwapRequest(3, 5)).terms
        self.assertEqual((3, Decimal(1), 5), (len(terms.slices), terms.slice_interval_seconds, terms.slices_requested))

    def test_the_smallest_and_the_largest_slice_are_what_is_judged(self) -> None:
        long = self.draft("2008", twap=TwapRequest(30, 3)).entry.long
        self.assertEqual(
            [Decimal("0.2510"), Decimal("0.0835"), Decimal("0.0840")], [long.quantity, long.smallest, long.largest]
        )


class BookTest(PlanningTestCase):
    """A book that is thin on one side of one coin."""

    def thin(self, coin: Coin, side: str, usd: str) -> Callable[[Depth], Depth]:
        def bend(depth: Depth) -> Depth:
            if depth.coin != coin:
                return depth
            quantity = Quantity(Decimal(usd) / self.venue.mids[coin])
            if side == "asks":
                return replace(depth, asks=(Level(depth.asks[0].price, quantity),))
            return replace(depth, bids=(Level(depth.bids[0].price, quantity),))

        return bend

    def test_a_leg_is_filled_from_its_own_side_of_its_own_book(self) -> None:
        for coin, side, short_of in ((ETH, "asks", "long"), (BTC, "bids", "short")):
            with self.subTest(coin):
                self.venue.bend_depth = self.thin(coin, side, "500")
                entry = self.draft().entry
                legs: dict[str, EntryLeg] = {"long": entry.long, "short": entry.short}
                leg = legs.pop(short_of)
                assert leg.fillable is not None and leg.largest is not None
                self.assertLess(leg.fillable, leg.largest)
                (other,) = legs.values()
                self.assertEqual(other.largest, other.fillable)

    def test_the_way_back_is_part_of_the_cost(self) -> None:
        self.venue.bend_depth = lambda one: (
            replace(one, bids=(Level(Price(one.bids[0].price * Decimal("0.999")), one.bids[0].quantity),))
            if one.coin == ETH
            else one
        )
        cost = self.draft().entry.round_trip_cost
        assert cost is not None
        # Half a spread four times, a thousandth of one leg of two, and a fee of 4.5 bp four times.
        self.assertAlmostEqual(Decimal("0.0002") + Decimal("0.0005") + Decimal("0.0009"), cost, places=6)

    def test_the_way_back_of_what_is_opened_in_slices_is_that_of_the_whole(self) -> None:
        """A stop closes all of it at once: opened by the cost of a slice, it was stopped out by its own way out."""
        for second, dear in (("0.0010", False), ("0.0060", True)):
            for usd in ("5000", "50"):
                with self.subTest(second=second, usd=usd):
                    self.setUp()
                    self.venue.bend_depth = self.steps(Decimal(second), usd)
                    if dear:
                        self.assertEqual(["COST_TOO_HIGH"], self.denied(size="4000", twap=TwapRequest(60, 5)))
                    else:
                        self.trade("4000", twap=TwapRequest(60, 5))

    def steps(self, second: Decimal, usd: str) -> Callable[[Depth], Depth]:
        """A book that carries a slice of 400 USD at its touch, and *usd* more so much further away."""

        def bend(depth: Depth) -> Depth:
            mid = self.venue.mids[depth.coin]
            first, rest = Quantity(500 / mid), Quantity(Decimal(usd) / mid)
            bid, ask = depth.bids[0].price, depth.asks[0].price
            return replace(
                depth,
                bids=(Level(bid, first), Level(Price(bid * (1 - second)), rest)),
                asks=(Level(ask, first), Level(Price(ask * (1 + second)), rest)),
            )

        return bend

    def test_a_coin_without_a_book_costs_nobody_knows_what(self) -> None:
        for coin in (BTC, ETH):
            with self.subTest(coin):
                world = planning.look(self.scene.desk, (BTC, ETH))
                depths = {one: depth for one, depth in world.depths.items() if one != coin}
                plan = planning.draft(self.scene.desk, a_request(), given_signal(), replace(world, depths=depths))
                self.assertIsNone(plan.entry.round_trip_cost)
                breaches = planning.breaches_of(self.scene.desk, plan, self.scene.store.book(), world.account)
                self.assertEqual({BreachCode.INSUFFICIENT_DEPTH}, {one.code for one in breaches})

    def test_two_spreads_are_crossed_each_at_its_own_price(self) -> None:
        for eth, btc, wide in (("0.0045", "0.002", True), ("0.002", "0.0045", True), ("0.0045", "0.0012", False)):
            with self.subTest(eth=eth, btc=btc):
                spreads = {ETH: Decimal(eth), BTC: Decimal(btc)}
                self.venue.bend_quote = lambda one, spreads=spreads: replace(
                    one,
                    bid=Price(one.mark * (1 - spreads[one.coin] / 2)),
                    ask=Price(one.mark * (1 + spreads[one.coin] / 2)),
                )
                breaches = planning.breaches_of(
                    self.scene.desk, self.draft(), self.scene.store.book(), self.venue.account()
                )
                self.assertEqual([BreachCode.WIDE_SPREAD] if wide else [], [one.code for one in breaches])


class UnknownTest(PlanningTestCase):
    """What is not known of one coin refuses by its name, whichever it is and whatever exits were asked for."""

    levels: dict[str, Any] = {"take_profit_spread": Decimal(20)}  # noqa: RUF012  # never changed

    def test_a_quote_that_is_missing(self) -> None:
        for coin in ("BTC", "ETH"):
            with self.subTest(coin):
                self.venue.quotes_missing = {coin}
                self.assertEqual(["QUOTE_STALE"], self.denied(**self.levels))

    def test_a_quote_that_is_no_number(self) -> None:
        for coin in (BTC, ETH):
            with self.subTest(coin):

                def bend(one: Quote, coin: Coin = coin) -> Quote:
                    return replace(one, bid=Price(Decimal("NaN"))) if one.coin == coin else one

                self.venue.bend_quote = bend
                self.assertEqual(["QUOTE_STALE"], self.denied(**self.levels))

    def test_a_coin_that_is_not_listed(self) -> None:
        listed = dict(self.venue.listed)
        for coin in (BTC, ETH):
            with self.subTest(coin):
                self.venue.listed = {one: instrument for one, instrument in listed.items() if one != coin}
                self.assertEqual(["COIN_NOT_TRADABLE"], self.denied(**self.levels))


class ExposureTest(PlanningTestCase):
    def gross(self) -> Decimal:
        desk = self.scene.desk
        return planning.exposure_of(desk, desk.store.book(), self.venue.account()).gross_usd

    def test_what_others_hold_beside_a_leg_counts_on_either_side(self) -> None:
        """Beside the long and beside the short: 400 USD of ETH and 500 of BTC."""
        self.venue.hold("ETH", "0.1")
        self.venue.hold("BTC", "-0.005")
        self.scene.opened()
        self.assertAlmostEqual(Decimal(2900), self.gross(), delta=1)
        self.venue.hold("ETH", "-0.05")
        self.assertAlmostEqual(Decimal(2700), self.gross(), delta=1)
        self.venue.hold("ETH", "-0.05")
        self.venue.hold("BTC", "0.005")
        self.assertAlmostEqual(Decimal(2000), self.gross(), delta=1)
        # What the desk misses itself is no room for more.
        self.venue.hold("ETH", "-0.1")
        self.assertAlmostEqual(Decimal(2000), self.gross(), delta=1)

    def test_what_is_the_desk_s_own_is_beside_nothing(self) -> None:
        self.venue.hold("BTC", "-0.005")
        self.scene.opened()
        second = self.trade(signal_id="two", pair="BTC/SOL")
        self.assertEqual((Decimal("0.005"), Decimal(0)), (second.terms.short.beside, second.terms.long.beside))

    def test_what_was_filled_after_the_account_was_read_is_pending_whole(self) -> None:
        self.scene.execute(twap=TwapRequest(30, 3), leverage=2)
        desk, account = self.scene.desk, {}
        for seconds in (5, 5, 1):
            self.scene.tick(seconds)
            account[self.scene.clock.now()] = self.venue.account()
        pending = [
            planning.exposure_of(desk, desk.store.book(), one).margin_pending.quantize(Decimal(1))
            for one in account.values()
        ]
        self.assertEqual([Decimal(1000), Decimal(1000), Decimal(334)], pending)

    def test_nor_was_a_slice_in_use_that_was_under_way_when_it_was_read(self) -> None:
        self.venue.delay_seconds = {"submit": 1.0}
        trade, desk = self.trade(leverage=2, twap=TwapRequest(30, 3)), self.scene.desk
        account = replace(self.venue.account(), taken_at=trade.events[-1].at - timedelta(seconds=0.5))
        self.assertEqual(1000, planning.exposure_of(desk, desk.store.book(), account).margin_pending)

    def test_one_that_has_sent_nothing_yet_is_pending_whole(self) -> None:
        self.venue.reads_down = {"leverage"}
        trade, desk = self.trade(leverage=2), self.scene.desk
        pending = planning.exposure_of(desk, desk.store.book(), self.venue.account()).margin_pending
        self.assertEqual(([], Decimal(1000)), (self.venue.sent, pending))
        self.assertEqual(1, len(trade.events))

    def test_guardian_hears_of_the_nearest_liquidation(self) -> None:
        self.scene.opened()
        near = {ETH: Decimal(3000), BTC: Decimal(140_000)}
        self.venue.bend_account = lambda one: replace(
            one,
            holdings={
                coin: replace(held, liquidation_price=None if coin not in near else Price(near[coin]))
                for coin, held in one.holdings.items()
            },
        )
        self.scene.opened("two", pair="SOL/AVAX")
        near[Coin("SOL")] = Decimal(230)
        self.scene.opened("three", pair="SOL/ETH")
        told = [one.liquidation_distance for one in self.scene.approver.proposals]
        self.assertEqual([Decimal(100), Decimal(25), Decimal(15)], told)

    def test_guardian_has_what_is_left_of_the_answer_s_time(self) -> None:
        given: list[float | None] = []
        approve = self.scene.approver.approve

        def asked(proposal: Proposal, within_seconds: float | None = None) -> Approval:
            given.append(within_seconds)
            return approve(proposal, within_seconds)

        with mock.patch.object(self.scene.approver, "approve", asked):
            self.venue.delay_seconds = {"account": 2.0}
            self.scene.opened()
        self.assertEqual([6.5], given)

    def test_guardian_hears_what_is_in_use_until_when_it_counts_and_of_the_last_day(self) -> None:
        self.scene.opened()
        account, spans = self.venue.account(), []
        candles = self.venue.candles

        def asked(coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
            spans.append((coin, interval, end - start, end))
            return candles(coin, interval, start, end)

        signal = self.scene.offer("two", "SOL/AVAX", created_at=after(-100, self.scene.clock.now()))
        with mock.patch.object(self.venue, "candles", asked):
            self.scene.execute("two", pair="SOL/AVAX")
        proposal = self.scene.approver.proposals[-1]
        self.assertEqual(account.margin_used / account.equity * 100, proposal.margin_usage)
        self.assertEqual((1, account.equity), (proposal.num_positions, proposal.total_value))
        self.assertEqual(after(300, signal.created_at), proposal.expires_at)
        self.assertEqual([(BTC, CandleInterval.HOUR, timedelta(hours=27), self.scene.clock.now())], spans)


class SignalTest(PlanningTestCase):
    def test_the_least_confidence_and_the_greatest_age_are_enough(self) -> None:
        self.scene.offer(confidence=Decimal("0.7"), created_at=after(-300, self.scene.clock.now()))
        self.assertEqual(1, len(self.trade().orders) // 2)


if __name__ == "__main__":
    unittest.main()
