"""Cases of legs that come apart, as other desks have met them, by the numbers under which they are known; ours where we
differ.

Sources: pendle-finance/arbitrage-with-crossex (engine-decide and engine-loop tests), go-trader
(scheduler/hedge_test.go, kill switch). There a second leg hedges a first one that stands; here both go together, and
what one has ahead is completed or taken back.
"""

import unittest
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.builders import after, given_a_trade, given_instrument, given_order, given_quote, given_report
from tests.engine.bent_venue import BentVenue, a_bent_scene
from tests.engine.scripted_venue import LOTS, Scene, accepted, fine, lost_after, lost_before, refused
from tests.engine.test_losses import LossCase
from tests.engine.test_playbook import ACTIVE, a_market
from trading.domain.desk_state import TradingState
from trading.domain.errors import RiskDenied
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Quote
from trading.domain.orders import OrderReport, OrderStatus, RejectReason, Side
from trading.domain.positions import PositionStatus
from trading.domain.trades import LegPlan, OrdersIntended, OrdersReported, TradeStatus, imbalance_of, record
from trading.domain.units import Coin, PositionId, Price, Quantity
from trading.engine import closing, emergency
from trading.engine.playbook import Ask, next_step
from trading.engine.requests import TwapRequest
from trading.engine.schedule import remaining
from trading.utils.trade_calculator import leg_quantities

ETH, BTC = Coin("ETH"), Coin("BTC")
D = Decimal


class LegCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene: Scene
        self.venue: BentVenue
        self.scene, self.venue = a_bent_scene(self)

    def held(self) -> tuple[Decimal, Decimal]:
        return self.venue.held("ETH"), self.venue.held("BTC")

    def completions(self) -> list[Any]:
        """Orders that open, after the first group."""
        return [order for group in self.venue.sent[1:] for order in group if not order.reduce_only]

    def refuse_eth_after_the_first(self, orders: object) -> None:
        if self.venue.sent:
            self.venue.refusing["ETH"] = RejectReason.MARGIN

    def given_ten_eth(self) -> None:
        """The case's own market: ETH at 2,000 and BTC at 50,000, an account that can carry 40,000 USD."""
        self.scene, self.venue = a_bent_scene(self, max_allocation=D(1), twap_threshold_usd=D(1_000_000))
        self.venue.move("ETH", "2000")
        self.venue.move("BTC", "50000")


class Counting(unittest.TestCase):
    def test_c55_what_is_filled_reserved_and_unhedged(self) -> None:
        """Target 0.152 a leg. A: 0.05 done, 0.102 under way of which 0.01 is filled. B: 0.01 dead, 0.05 under way.

        So A has filled 0.06 and reserved all of 0.152, B has reserved 0.05, 0.01 is unhedged even if B fills, nothing
        of A is left to send, and nothing is sent while anything is under way."""
        a = LegPlan(ETH, Side.BUY, Quantity(D("0.152")), Price(D(2500)))
        b = LegPlan(BTC, Side.SELL, Quantity(D("0.152")), Price(D(2500)))
        trade = given_a_trade(long=a, short=b)

        def order(leg: LegPlan, quantity: str, number: int) -> Any:
            return given_order(trade.terms, leg, 1, number, quantity=Quantity(D(quantity)))

        first, dead = order(a, "0.05", 1), order(b, "0.01", 1)
        second, pending = order(a, "0.102", 2), order(b, "0.05", 2)
        absent = OrderReport(dead.client_order_id, OrderStatus.ABSENT, after(1))
        working = given_report(second, at=after(3), filled=Quantity(D("0.01")), status=OrderStatus.ACCEPTED)
        for event in (
            OrdersIntended(after(0), (first, dead)),
            OrdersReported(after(1), (given_report(first, at=after(1)), absent)),
            OrdersIntended(after(2), (second, pending)),
            OrdersReported(after(3), (working,)),
        ):
            trade = record(trade, event)
        reserved = {leg.coin: trade.filled(leg.coin) + trade.doubtful(leg.coin) for leg in (a, b)}
        self.assertEqual((trade.filled(ETH), reserved[ETH], reserved[BTC]), (D("0.06"), D("0.152"), D("0.05")))
        self.assertEqual(trade.filled(ETH) - reserved[BTC], D("0.01"))
        self.assertEqual(remaining(trade, a) - trade.doubtful(ETH), 0)
        self.assertEqual(imbalance_of(trade), D("0.06") * 2500)
        self.assertIsInstance(next_step(trade, a_market(after(4)), ACTIVE), Ask)


class Sizing(LegCase):
    def test_c56_a_size_is_floored_and_what_is_too_small_or_has_no_price_is_refused_in_words(self) -> None:
        """0.152 in lots of 0.1 is 0.1; 0.05 where 0.1 is the least is 0; 0.05 at 2,500 under a minimum of 200 USD is
        refused; without a price it cannot be sized."""
        self.assertEqual(leg_quantities(D("0.304") * 2500, 2500, 2500, "0.1", "0.1"), (D("0.1"), D("0.1")))
        self.assertEqual(leg_quantities(D("0.1") * 2500, 2500, 2500, "0.1", "0.1"), (0, 0))
        self.venue.move("ETH", "2500")
        eth = given_instrument("ETH", LOTS["ETH"])
        cases: tuple[tuple[str, dict[str, Any], set[str], str], ...] = (
            ("under a lot", {"quantity_step": Quantity(D("0.1"))}, set(), "LEG_BELOW_VENUE_MINIMUM"),
            ("under the minimum", {"notional_min": D(200)}, set(), "LEG_BELOW_VENUE_MINIMUM"),
            ("no price", {}, {"ETH"}, "QUOTE_STALE"),
        )
        for name, changes, missing, code in cases:
            with self.subTest(name):
                self.venue.listed[ETH] = replace(eth, **changes)
                self.venue.quotes_missing = {Coin(coin) for coin in missing}
                with self.assertRaises(RiskDenied) as denied:
                    self.scene.execute(size="250")
                self.assertIn(code, str(denied.exception.facts["breaches"]))
        self.assertEqual(self.venue.sent, [])


class Hedging(LegCase):
    def test_c58_a_leg_that_is_refused_three_times_is_given_up_and_the_other_taken_back(self) -> None:
        """Elsewhere HALTED with the first leg as it was. Here three completions in widening bands, then the leading leg
        is trimmed to nothing; the trade ends and the desk goes on, for nothing is left to look after. Where even the
        trimming fails it is SUSPENDED, the desk REDUCING, and somebody is told."""
        self.venue.refusing = {"BTC": RejectReason.NO_MATCH}
        position = self.scene.opened()
        self.scene.ticks(10)
        trade = self.scene.trade(position.trade_id)
        self.assertEqual(len([one for one in self.completions() if one.coin == BTC]), 3)
        self.assertFalse(any(order.coin == ETH for order in self.completions()))
        self.assertEqual((trade.status, self.venue.flat), (TradeStatus.CANCELED, True))
        self.assertIs(self.scene.store.state().state, TradingState.ACTIVE)

    def test_c58_where_nothing_can_be_taken_back_either_the_trade_is_suspended_and_the_rest_is_told(self) -> None:
        self.venue.refusing = {"BTC": RejectReason.MARGIN}
        self.venue.on_submit = self.refuse_eth_after_the_first
        position = self.scene.opened()
        self.scene.ticks(120)
        trade = self.scene.trade(position.trade_id)
        self.assertIs(trade.status, TradeStatus.SUSPENDED)
        self.assertTrue(any("suspended" in words for words in self.scene.log.messages("error")))

    def test_c59_a_completion_that_was_delivered_though_its_call_timed_out_is_adopted_by_its_id(self) -> None:
        """No second one."""
        self.venue.script(refused(BTC=RejectReason.NO_MATCH), lost_after())
        position = self.scene.opened()
        self.scene.ticks(20)
        self.assertEqual(len(self.completions()), 1)
        self.assertEqual(self.held(), (D("0.25"), D("-0.01")))
        self.assertIs(self.scene.trade(position.trade_id).status, TradeStatus.FILLED)

    def test_c60_a_completion_that_never_arrived_is_waited_for_until_its_absence_is_proven(self) -> None:
        """Frozen for its window (90 s elsewhere; here its ten seconds of life and five more), then another under a new
        id; by then the time for completions is over, and the leading leg is taken back instead."""
        self.venue.script(refused(BTC=RejectReason.NO_MATCH), lost_before())
        position = self.scene.opened()
        sent = len(self.venue.sent)
        self.scene.ticks(6)
        self.assertEqual(len(self.venue.sent), sent)
        self.scene.ticks(15)
        self.assertGreater(len(self.venue.sent), sent)
        ids = [order.client_order_id for order in self.venue.orders]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertTrue(self.venue.flat)
        self.assertIs(self.scene.trade(position.trade_id).status, TradeStatus.CANCELED)

    def test_c60_a_slice_that_never_arrived_is_sent_again_under_a_new_id(self) -> None:
        self.venue.script(lost_before())
        self.scene.opened()
        self.scene.ticks(6)
        self.assertEqual(len(self.venue.sent), 1)
        self.scene.ticks(15)
        self.assertEqual(len(self.venue.sent), 2)
        self.assertEqual(len({order.client_order_id for order in self.venue.orders}), 4)
        self.assertEqual(self.held(), (D("0.25"), D("-0.01")))


class ByHand(LossCase):
    def test_c61_what_somebody_does_at_the_venue_itself_stops_the_trade(self) -> None:
        """Somebody cancels on the venue's own site: a stop there, hedge what filled and never quote again. Our orders
        do not rest, so that there is nothing to cancel; who sells a leg there ends the opening, and its sister goes."""
        position = self.scene.opened(size="2000", twap=TwapRequest(120, 4))
        self.tick(2)
        self.venue.take("ETH", str(self.venue.held("ETH")))
        self.tick(2)
        sent = len(self.venue.sent)
        self.tick(5, seconds=60)
        self.assertEqual(len(self.venue.sent), sent)
        self.assertIs(self.scene.position(position.id).status, PositionStatus.CLOSED)
        self.assert_account_explained()

    def test_c61_who_cancels_at_the_desk_keeps_what_is_filled_level_and_no_slice_follows(self) -> None:
        position = self.scene.opened(size="2000", twap=TwapRequest(120, 4))
        closing.cancel(self.scene.desk, position.trade_id)
        sent = len(self.venue.sent)
        self.tick(5, seconds=60)
        self.assertEqual(len(self.venue.sent), sent)
        self.assertEqual(self.venue.held("ETH") * 4_000, -self.venue.held("BTC") * 100_000)


class Ratio(LegCase):
    def setUp(self) -> None:
        self.given_ten_eth()

    def test_c62_ten_eth_are_matched_by_four_tenths_of_a_btc(self) -> None:
        self.scene.opened(size="40000")
        self.assertEqual(self.held(), (D(10), D("-0.4")))

    def test_c62_half_of_the_one_leg_takes_back_half_of_the_other(self) -> None:
        self.venue.script(fine())
        self.venue.shares = {"ETH": D("0.5")}
        self.venue.on_submit = self.refuse_eth_after_the_first
        self.scene.opened(size="40000")
        self.scene.ticks(10)
        self.assertEqual(self.held(), (D(5), D("-0.2")))

    def test_c62_an_imbalance_of_less_than_the_minimum_is_left_alone(self) -> None:
        """0.0045 ETH, which are 9 USD, or 0.001, which are 2: deferred, nothing sent."""
        for short_of in ("0.0045", "0.001"):
            with self.subTest(short_of):
                self.given_ten_eth()
                self.venue.shares = {"ETH": (D(10) - D(short_of)) / 10}
                position = self.scene.opened(size="40000")
                self.scene.ticks(10)
                self.assertEqual(len(self.venue.sent), 1)
                self.assertIs(self.scene.trade(position.trade_id).status, TradeStatus.FILLED)
                self.assertEqual(self.scene.position(position.id).long.held, self.venue.held("ETH"))

    def test_c62_a_mark_of_zero_or_less_blocks_and_nothing_is_sent(self) -> None:
        for mark in ("0", "-1"):
            with self.subTest(mark):
                self.given_ten_eth()
                bent = replace(given_quote("BTC"), bid=Price(D(mark)), ask=Price(D(mark)), mark=Price(D(mark)))

                def bend(quote: Quote, bent: Quote = bent) -> Quote:
                    return replace(bent, taken_at=quote.taken_at) if quote.coin == BTC else quote

                self.venue.bend_quote = bend
                with self.assertRaises(RiskDenied):
                    self.scene.execute(size="40000")
                self.assertEqual(self.venue.sent, [])

    def test_c63_a_fresh_opening_whose_other_leg_fails_is_unwound_whole(self) -> None:
        self.venue.refusing = {"BTC": RejectReason.MARGIN}
        position = self.scene.opened(size="40000")
        self.scene.ticks(10)
        self.assertEqual(self.held(), (0, 0))
        self.assertIs(self.scene.position(position.id).status, PositionStatus.CLOSED)

    def test_c63_of_an_added_slice_only_that_slice_is_unwound(self) -> None:
        """What is held stays with its match and guarded; what is added and cannot be matched goes. (10 and 5 ETH in the
        case, twice 7.5 here.)"""
        position = self.scene.opened(size="60000", twap=TwapRequest(60, 2))
        self.assertEqual(self.held(), (D("7.5"), D("-0.3")))
        self.venue.refusing = {"BTC": RejectReason.MARGIN}
        self.scene.tick(31)
        self.scene.ticks(10)
        self.assertEqual(self.held(), (D("7.5"), D("-0.3")))
        stands = self.scene.position(position.id)
        self.assertTrue(stands.guarded)
        self.assertEqual((stands.long.held, stands.short.held), (D("7.5"), D("0.3")))


class KillSwitch(LegCase):
    def push(self, count: int) -> None:
        def leave(position_id: PositionId, reason: ExitReason) -> None:
            closing.close(self.scene.desk, position_id, reason, until=self.scene.clock.monotonic())

        for _ in range(count):
            self.scene.tick()
            emergency.push(self.scene.desk, leave)

    def test_c64_a_close_that_errs_is_over_when_the_account_reads_flat(self) -> None:
        """The call fails although it was done, the account reads flat: confirmed, and the stop ends."""
        self.scene.opened()
        self.venue.script(lost_after())
        emergency.stop(self.scene.desk)
        self.push(25)
        self.assertTrue(self.venue.flat)
        self.assertIs(self.scene.store.state().state, TradingState.HALTED)

    def test_c64_while_the_account_cannot_be_read_the_stop_stays_and_goes_on(self) -> None:
        self.scene.opened()
        self.venue.script(accepted(3))
        self.venue.reads_down = {"account", "reports"}
        emergency.stop(self.scene.desk)
        self.push(40)
        self.assertIs(self.scene.store.state().state, TradingState.LIQUIDATING)
        self.venue.reads_down = set()
        self.push(25)
        self.assertIs(self.scene.store.state().state, TradingState.HALTED)
        self.assertTrue(self.venue.flat)


if __name__ == "__main__":
    unittest.main()
