"""Cases of reconciliation and of commands that other desks have met, by the numbers under which they are known; ours
where we differ.

Sources: nautilus_trader (docs/concepts/live.md, fill tests, spec_exec_testing.md TC-E71 to TC-E78, risk engine tests).
Its orders may rest and be canceled; ours are immediate or cancel, and the trade is what is canceled.
"""

import unittest
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.builders import after, given_a_working_trade, given_report
from tests.engine.hands import join_all
from tests.engine.scripted_venue import (
    Fault,
    Scene,
    ScriptedVenue,
    a_scene,
    accepted,
    fine,
    late,
    lost_after,
    lost_before,
    partly,
    refused,
    unknown_for,
)
from tests.fakes import FakeClock
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import InvariantBroken, TradingHalted
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.positions import PositionStatus
from trading.domain.trades import OrdersReported, TradeStatus, record
from trading.domain.units import Coin, Quantity
from trading.engine import closing, emergency, monitor
from trading.engine.monitor import Watchman
from trading.engine.requests import TwapRequest

ETH, BTC = Coin("ETH"), Coin("BTC")
TWAP = TwapRequest(60, 2)


class ForgetfulVenue(ScriptedVenue):
    """Knows of no order any more once `forgets` is set: each enquiry is answered with absence."""

    forgets = False

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        if not self.forgets:
            return super().reports(orders)
        now = self.clock.now()
        return tuple(OrderReport(order.client_order_id, OrderStatus.ABSENT, now) for order in orders)


class FieldCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene: Scene = a_scene(self, kind=ForgetfulVenue)
        self.watchman = Watchman(self.scene.desk)

    @property
    def venue(self) -> ForgetfulVenue:
        assert isinstance(self.scene.venue, ForgetfulVenue)
        return self.scene.venue

    @property
    def state(self) -> TradingState:
        return self.scene.store.state().state

    def tick(self, count: int = 1, seconds: float = 1.0) -> None:
        """As the monitor does, with all that it hands out done before the next."""
        for _ in range(count):
            self.scene.clock.advance(seconds)
            monitor.tick(self.watchman)
            join_all(self.watchman)

    def held(self) -> tuple[Decimal, Decimal]:
        return self.venue.held("ETH"), self.venue.held("BTC")


class NotFound(FieldCase):
    """C48: what the venue says it does not know."""

    def test_c48_an_order_that_was_sent_and_is_not_known_is_no_rejection_before_its_absence_is_proven(self) -> None:
        """Elsewhere REJECTED after some retries; here ABSENT, and only after expiry and 5 s, then sent again; the trade
        is REJECTED when that has happened three times."""
        self.venue.script(lost_before(), lost_before(), lost_before())
        position = self.scene.opened()
        self.scene.ticks(6)
        trade = self.scene.trade(position.trade_id)
        self.assertEqual((len(trade.in_doubt), len(self.venue.sent)), (2, 1))
        self.scene.ticks(45)
        trade = self.scene.trade(position.trade_id)
        self.assertIs(trade.status, TradeStatus.REJECTED)
        self.assertEqual({trade.report_of(order).status for order in trade.orders}, {OrderStatus.ABSENT})
        self.assertEqual(len({order.client_order_id for order in self.venue.orders}), 6)
        self.assertTrue(self.venue.flat)

    def test_c48b_a_partial_fill_that_is_not_known_any_more_is_kept(self) -> None:
        """Partly filled here, not found there: canceled, the fills kept. An order that has ended is never asked about
        again; a word that took a fill back is believed by nobody."""
        self.venue.script(partly(ETH="0.5", BTC="0.5"))
        position = self.scene.opened(twap=TWAP)
        self.venue.forgets = True
        view = closing.cancel(self.scene.desk, position.trade_id)
        self.assertEqual(view.status, "CANCELED")
        after_it = self.scene.position(position.id)
        self.assertIs(after_it.status, PositionStatus.OPEN)
        self.assertEqual((after_it.long.held, -after_it.short.held), self.held())
        self.assertGreater(after_it.long.held, 0)

    def test_c48b_a_fill_in_doubt_that_the_venue_takes_back_stops_the_trade_and_stays_booked(self) -> None:
        trade = given_a_working_trade()
        long = trade.orders[0]
        known = given_report(long, "0.5", after(1), status=OrderStatus.ACCEPTED)
        trade = record(trade, OrdersReported(after(1), (known,)))
        with self.assertRaises(InvariantBroken):
            record(
                trade, OrdersReported(after(20), (OrderReport(long.client_order_id, OrderStatus.ABSENT, after(20)),))
            )
        self.assertEqual(trade.filled(long.coin), long.quantity / 2)

    def test_what_a_venue_has_forgotten_though_it_holds_it_is_not_sent_again(self) -> None:
        """Order and fills unknown, holdings changed: that is no absence. Nothing follows; what is held is drift, and no
        more of a signal than was asked for."""
        self.venue.script(lost_after())
        self.venue.forgets = True
        position = self.scene.opened()
        self.tick(10)
        self.assertEqual((len(self.venue.sent), self.held()), (1, (Decimal("0.25"), Decimal("-0.01"))))
        self.assertEqual(self.scene.store.state().causes, frozenset({Cause.DRIFT}))
        self.assertIs(self.scene.trade(position.trade_id).status, TradeStatus.CANCELED)

    def test_the_same_of_a_completion_and_beside_what_somebody_else_holds(self) -> None:
        self.venue.hold("ETH", "0.2")
        self.venue.script(partly(ETH="0.5"), lost_after())
        self.venue.forgets = True
        self.scene.opened()
        opened = [order for order in self.venue.orders if not order.reduce_only]
        self.assertEqual((len(opened), self.venue.held("ETH")), (3, Decimal("0.45")))

    def test_an_absence_beside_what_somebody_else_holds_is_sent_again(self) -> None:
        self.venue.hold("ETH", "0.2")
        self.venue.script(lost_before())
        self.venue.forgets = True
        self.scene.opened()
        self.assertEqual((len(self.venue.sent), self.held()), (2, (Decimal("0.45"), Decimal("-0.01"))))

    def test_an_account_that_cannot_be_read_holds_what_would_be_sent_again(self) -> None:
        self.venue.script(lost_before())
        self.scene.opened()
        self.venue.forgets, self.venue.reads_down = True, {"account"}
        self.scene.ticks(3)
        self.assertEqual(len(self.venue.sent), 1)
        self.venue.reads_down = set()
        self.scene.tick()
        self.assertEqual(len(self.venue.sent), 2)

    def test_c48c_a_cancel_that_is_wanted_while_the_order_is_not_known_stays_open(self) -> None:
        """Cancel pending, not found: unresolved. The wish is on disk, nothing is concluded, and it is met when the
        doubt ends."""
        self.venue.script(fine(), late(9.5))
        position = self.scene.opened(twap=TWAP)
        self.scene.tick(31)
        self.assertEqual(closing.cancel(self.scene.desk, position.trade_id).status, "WORKING")
        trade = self.scene.trade(position.trade_id)
        self.assertTrue(trade.cancel_wanted)
        self.assertEqual(len(trade.in_doubt), 2)
        self.scene.ticks(20)
        trade = self.scene.trade(position.trade_id)
        self.assertIs(trade.status, TradeStatus.CANCELED)
        self.assertEqual((trade.filled(ETH), -trade.filled(BTC)), self.held())

    def test_c48d_an_account_that_cannot_be_read_is_not_flat(self) -> None:
        """The position query fails: the position is kept, nothing is concluded and nothing is sent."""
        position = self.scene.opened()
        sent = len(self.venue.sent)
        self.venue.reads_down = {"account"}
        self.tick(30)
        self.assertIs(self.scene.position(position.id).status, PositionStatus.OPEN)
        self.assertEqual(len(self.venue.sent), sent)
        self.venue.reads_down = {"account", "quotes"}
        emergency.stop(self.scene.desk)
        self.tick(10)
        self.assertIs(self.state, TradingState.LIQUIDATING)

    def test_c48e_a_holding_on_the_other_side_is_drift_and_not_made_up_for_with_events(self) -> None:
        """Books say 100 long, the venue 50 short: elsewhere events close and open until the books say -50. Here a
        holding that merely reads differently is drift: REDUCING, an alert, the book as it was and nothing sent; a close
        afterwards writes the long off and leaves the short to whose it is."""
        position = self.scene.opened()
        self.venue.hold("ETH", "-0.375")
        sent = len(self.venue.sent)
        self.tick(4)
        self.assertIs(self.state, TradingState.REDUCING)
        self.assertEqual(self.scene.store.state().causes, frozenset({Cause.DRIFT}))
        self.assertEqual((self.scene.position(position.id).long.held, len(self.venue.sent)), (Decimal("0.25"), sent))
        self.assertTrue(any("ETH" in words for words in self.scene.log.messages("error")))
        self.scene.close(position)
        self.tick(90)
        self.assertIs(self.scene.position(position.id).status, PositionStatus.CLOSED)
        self.assertEqual(self.held(), (Decimal("-0.125"), 0))


class Fills(FieldCase):
    def test_c49_the_same_fill_twice_counts_once_and_more_than_was_ordered_is_refused(self) -> None:
        """Reports are cumulative, so that saying one twice is saying it once. (Where a venue is told dollars it may
        fill somewhat more, says so, and is held to it: `test_venue_sizes.py`.)"""
        trade = given_a_working_trade()
        long = trade.orders[0]
        said = OrdersReported(after(1), (given_report(long, "0.5", after(1), status=OrderStatus.ACCEPTED),))
        trade = record(record(trade, said), replace(said, at=after(2)))
        self.assertEqual(trade.filled(long.coin), long.quantity / 2)
        beyond = given_report(long, at=after(3), filled=Quantity(long.quantity * Decimal("1.01")))
        with self.assertRaises(InvariantBroken):
            record(trade, OrdersReported(after(3), (beyond,)))

    def test_c50_a_call_without_a_plain_answer_is_no_rejection_and_not_sent_again(self) -> None:
        """Timed out, 5xx, or a whole batch failed without a word on each order: in flight until it is proven. On the
        wire: `test_hyperliquid_faults.py` and `test_pear_faults.py`, every fault at opening and at closing."""
        faults: dict[str, Fault] = {
            "lost on its way": lost_before(),
            "done and the answer lost": lost_after(),
            "accepted and worked later": accepted(8),
            "arrives late": late(8),
            "done and not known for a while": unknown_for(8),
        }
        for name, fault in faults.items():
            with self.subTest(name, at="open"):
                self.setUp()
                self.venue.script(fault)
                position = self.scene.opened()
                trade = self.scene.trade(position.trade_id)
                self.assertNotIn(OrderStatus.REJECTED, {trade.report_of(order).status for order in trade.orders})
                self.assertEqual(len(self.venue.sent), 1)
                self.scene.ticks(30)
                self.assertEqual(self.held(), (Decimal("0.25"), Decimal("-0.01")))
            with self.subTest(name, at="close"):
                sent = len(self.venue.sent)
                self.venue.script(fault)
                now = self.scene.clock.monotonic()
                closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=now)
                self.assertEqual(len(self.venue.sent), sent + 1)
                self.scene.ticks(30)
                self.assertTrue(self.venue.flat)
                self.assertIs(self.scene.position(position.id).status, PositionStatus.CLOSED)

    def test_c51_of_two_orders_in_one_batch_only_the_one_that_is_refused_is_rejected(self) -> None:
        self.venue.script(refused(BTC=RejectReason.NO_MATCH))
        position = self.scene.opened()
        trade = self.scene.trade(position.trade_id)
        first = {order.coin: trade.report_of(order).status for order in trade.orders[:2]}
        self.assertEqual(first, {ETH: OrderStatus.FILLED, BTC: OrderStatus.REJECTED})
        self.assertEqual(self.held(), (Decimal("0.25"), Decimal("-0.01")))


class Gates(FieldCase):
    def test_c52_the_hundred_and_first_request_of_a_window_is_denied_unless_it_closes(self) -> None:
        """100 of 101 pass. Here the window is a minute and shared by all processes, and closing has a part of its own
        that nothing else may spend."""
        clock = FakeClock()
        with TemporaryDirectory() as folder:
            meter = WeightMeter(Path(folder) / "venue.weight", 133, clock)
            passed = [meter.spend(1, Lane.ORDINARY) for _ in range(101)]
            self.assertEqual((passed.count(True), passed[-1]), (100, False))
            self.assertTrue(meter.spend(1, Lane.CLOSE))
            clock.advance(61)
            self.assertTrue(meter.spend(1, Lane.ORDINARY))

    def test_c53_a_halted_desk_opens_nothing_and_cancels_and_a_reducing_one_only_reduces(self) -> None:
        """HALTED: submit denied, cancel allowed. REDUCING with a net long: buy denied, sell allowed; here opening is
        denied and closing allowed, whatever the side."""
        running = self.scene.opened(twap=TWAP)
        standing = self.scene.opened("signal_2", pair="SOL/AVAX")
        for state in (TradingState.REDUCING, TradingState.HALTED):
            self.scene.enter_state(state)
            with self.assertRaises(TradingHalted):
                self.scene.execute("signal_3", pair="SOL/BTC")
        self.assertEqual(closing.cancel(self.scene.desk, running.trade_id).status, "CANCELED")
        self.assertEqual(self.scene.position(running.id).long.held, Decimal("0.125"))
        self.scene.close(standing)
        self.scene.enter_state(TradingState.REDUCING)
        self.scene.close(running)
        self.assertTrue(self.venue.flat)
        opened = [order for order in self.venue.orders if not order.reduce_only]
        self.assertEqual(len(opened), 4)

    def test_c54_a_close_is_no_larger_than_what_is_held_and_of_nothing_does_nothing(self) -> None:
        """Reduce-only without a position, or larger than it: denied here, before it is sent. A holding that has
        vanished is the exception: one order that can only reduce is sent to hear the venue say so, too."""
        position = self.scene.opened()
        self.venue.hold("ETH", "-0.1")
        self.scene.close(position)
        closes = [order for order in self.venue.orders if order.reduce_only]
        (btc,) = [order for order in closes if order.coin == BTC]
        first, witness = [order for order in closes if order.coin == ETH]
        self.assertEqual(
            (btc.quantity, first.quantity, witness.quantity), (Decimal("0.01"), Decimal("0.15"), Decimal("0.1"))
        )
        self.scene.ticks(8)
        self.assertTrue(self.venue.flat)
        self.assertIs(self.scene.position(position.id).status, PositionStatus.CLOSED)
        sent = len(self.venue.sent)
        self.scene.close(self.scene.position(position.id))
        self.assertEqual(len(self.venue.sent), sent)


if __name__ == "__main__":
    unittest.main()
