"""Resting orders and foreign fills on Hyperliquid, beside the contract: what is sent, what is lost, what explains."""

import json
import unittest
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from tests.fakes import NOON
from tests.recorded.test_hyperliquid_recorded import recorded
from tests.servers.hyperliquid import MASTER
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.adapters.hyperliquid_actions import Working, decode_cancels, decode_words
from trading.adapters.hyperliquid_wire import Fill, account_fill, decode_listed
from trading.domain.errors import Busy, VenueUnavailable
from trading.domain.orders import RejectReason, Side
from trading.domain.resting import (
    FillCause,
    RestingOrder,
    RestingStatus,
    TriggerKind,
    resting_order_id,
)
from trading.domain.units import ONE, ZERO, Coin, PositionId, Price, Quantity

STRANGER_KEY = "0x" + "77" * 32
RESTS = {"resting": {"oid": 7}}


class RestingWorld(HyperliquidWorld):
    """Long half an ETH at 3,000 and short 5 SOL at 200."""

    def setUp(self) -> None:
        super().setUp()
        self.venue.submit([self.an_order(), self.an_order(SOL, Side.SELL, "5")])

    def resting_order(
        self, coin: Coin = ETH, trigger: str = "2400", quantity: str = "0.5", kind: TriggerKind = TriggerKind.STOP
    ) -> RestingOrder:
        side = Side.SELL if coin == ETH else Side.BUY
        self.orders_made += 1
        return RestingOrder(
            resting_order_id(PositionId(self.id()), coin, kind, self.orders_made),
            coin,
            side,
            Quantity(Decimal(quantity)),
            Price(Decimal(trigger)),
            Price(Decimal(trigger) * (1 - Decimal(side.opposite.sign) / 10)),
            kind,
        )

    def both_legs(self) -> tuple[RestingOrder, ...]:
        tp = TriggerKind.TAKE_PROFIT
        return (
            self.resting_order(),
            self.resting_order(trigger="3600", kind=tp),
            self.resting_order(SOL, "240", "5"),
            self.resting_order(SOL, "160", "5", tp),
        )

    def place(self, *orders: RestingOrder) -> tuple[RestingStatus, ...]:
        reports = self.venue.place_resting(orders, self.clock.now() + timedelta(seconds=10))
        return tuple(one.status for one in reports)


class Placing(RestingWorld):
    def test_both_legs_go_in_one_signed_action_that_expires(self) -> None:
        before = len(self.exchange.received)
        self.assertEqual(self.place(*self.both_legs()), (RestingStatus.RESTING,) * 4)
        (action,) = list(self.exchange.received)[before:]
        rows = action.action["orders"]
        assert isinstance(rows, list)
        self.assertEqual((action.type, action.action["grouping"], len(rows)), ("order", "na", 4))
        self.assertTrue(all(one["r"] is True for one in rows))
        self.assertEqual([one["t"]["trigger"]["tpsl"] for one in rows], ["sl", "tp", "sl", "tp"])
        self.assertEqual({one["t"]["trigger"]["isMarket"] for one in rows}, {False})
        assert action.expires_after is not None
        self.assertEqual(action.expires_after - action.at_ms, 10_000)

    def test_a_lost_answer_leaves_a_doubt_and_is_never_sent_again(self) -> None:
        orders = self.both_legs()
        self.server.faults.add(Fault(EXCHANGE, Answer.CLOSED, Commit.BEFORE, "order"))
        self.assertEqual(self.place(*orders), (RestingStatus.UNKNOWN,) * 4)
        sent = self.actions("order")
        self.assertEqual(self.place(*orders), (RestingStatus.UNKNOWN,) * 4)
        self.assertEqual(self.actions("order"), sent)
        self.assertEqual(len(self.venue.resting()), 4)

    def test_a_word_that_is_not_known_is_a_doubt(self) -> None:
        fired = {"filled": {"oid": 8, "totalSz": "0.5", "avgPx": "3600.0"}}
        answer: dict[str, object] = {"status": "ok"}
        answer["response"] = {"type": "order", "data": {"statuses": ["waitingForTrigger", fired, RESTS, "aNewOne"]}}
        self.server.faults.add(Fault(EXCHANGE, Answer.SAYS, Commit.NEVER, "order", body=answer))
        self.assertEqual(self.place(*self.both_legs()), (*(RestingStatus.RESTING,) * 3, RestingStatus.UNKNOWN))

    def test_one_refused_alone_leaves_the_others_resting(self) -> None:
        self.exchange.refuse_next(ETH, "Too many open orders.", "tooManyOpenOrdersRejected")
        first, *others = self.place(*self.both_legs())
        self.assertEqual((first, others), (RestingStatus.REJECTED, [RestingStatus.RESTING] * 3))

    def test_nothing_is_sent_with_a_stranger_s_key_or_while_the_list_cannot_be_read(self) -> None:
        stranger = self.opened(key=STRANGER_KEY)
        sent = len(self.exchange.received)
        orders = self.both_legs()
        for venue in (stranger, self.opened()):
            reports = venue.place_resting(orders, self.clock.now())
            self.assertEqual({one.status for one in reports}, {RestingStatus.REJECTED})
            self.server.faults.down(INFO)
        self.assertIsNone(stranger.cancel_resting(orders))
        self.assertEqual(len(self.exchange.received), sent)

    def test_a_coin_that_cannot_be_traded_rests_nothing(self) -> None:
        for coin in (Coin("NOSUCH"), Coin("MATIC")):
            order = self.resting_order(coin)
            (report,) = self.venue.place_resting([order], self.clock.now())
            self.assertEqual((report.status, report.reason), (RestingStatus.REJECTED, RejectReason.NOT_TRADABLE))
        self.assertIsNone(self.venue.cancel_resting([self.resting_order(Coin("NOSUCH"))]))
        self.assertEqual(self.venue.place_resting([], self.clock.now()), ())

    def test_a_price_below_the_grid_is_refused_before_it_is_sent(self) -> None:
        (report,) = self.venue.place_resting([self.resting_order(trigger="-1")], self.clock.now())
        self.assertEqual((report.status, report.reason), (RestingStatus.REJECTED, RejectReason.PRICE))

    def test_without_a_nonce_nothing_is_sent(self) -> None:
        sent = len(self.exchange.received)
        with mock.patch.object(self.venue._signer.register, "claim", side_effect=Busy("held")):
            self.assertEqual(self.place(self.resting_order()), (RestingStatus.REJECTED,))
        with mock.patch.object(self.venue._signer.register, "next_nonce", side_effect=Busy("held")):
            self.assertIsNone(self.venue.cancel_resting([self.resting_order()]))
        self.assertEqual(len(self.exchange.received), sent)
        self.assertEqual(self.venue.cancel_resting([]), frozenset())

    def test_a_quantity_below_the_grid_spoils_its_group_before_it_is_sent(self) -> None:
        """The exchange would refuse the guards of the other leg with it, and say so of the first."""
        sent = len(self.exchange.received)
        for quantity in ("0.00001", "0", "-0.5", "NaN"):
            reports = self.venue.place_resting(
                [self.resting_order(SOL, "240", "5"), self.resting_order(quantity=quantity)], self.clock.now()
            )
            self.assertEqual([one.reason for one in reports], [RejectReason.SIZE] * 2)
        self.assertEqual(len(self.exchange.received), sent)


class OnABudget(RestingWorld):
    weight = 1200

    def fill(self, weight: int) -> None:
        self.venue.meter.charge(weight - self.venue.meter.used())

    def test_what_guards_goes_before_what_opens_and_after_what_closes(self) -> None:
        self.venue.clock_skew()
        self.fill(1000)
        self.assertEqual(self.place(self.resting_order()), (RestingStatus.RESTING,))
        self.fill(1100)
        (report,) = self.venue.place_resting([self.resting_order()], self.clock.now() + timedelta(seconds=10))
        self.assertEqual((report.status, report.reason), (RestingStatus.REJECTED, RejectReason.RATE_LIMIT))

    def test_what_is_in_the_way_of_a_close_is_taken_back_with_the_last_of_it(self) -> None:
        order = self.resting_order()
        self.place(order)
        self.fill(1199)
        self.assertEqual(self.venue.cancel_resting([order]), {order.client_order_id})


class TakingBack(RestingWorld):
    def test_it_is_by_client_order_id_and_certain_only_when_the_venue_says_so(self) -> None:
        orders = self.both_legs()
        self.place(*orders)
        for answer in (Answer.CLOSED, Answer.TOO_MANY, Answer.GARBAGE):
            with self.subTest(answer=answer):
                self.server.faults.add(Fault(EXCHANGE, answer, Commit.NEVER, "cancelByCloid"))
                self.assertIsNone(self.venue.cancel_resting(orders))
                self.assertEqual(len(self.venue.resting()), 4)
        self.assertEqual(self.venue.cancel_resting(orders), {one.client_order_id for one in orders})
        self.assertEqual(self.exchange.received[-1].type, "cancelByCloid")
        self.assertEqual(self.venue.resting(), ())

    def test_every_answer_but_success_and_not_found_is_a_doubt(self) -> None:
        gone = {"error": "Order was never placed, already canceled, or filled. asset=4"}
        done = {"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success", gone]}}}
        self.assertEqual(decode_cancels(done, 2), (True, False))
        for answer in (
            {"status": "err", "response": "Invalid nonce: duplicate nonce 7"},
            {"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success"]}}},
            {"status": "ok", "response": {"type": "cancel", "data": {"statuses": ["success", {"error": "halted"}]}}},
            {"status": "ok", "response": {"type": "order"}},
            None,
        ):
            with self.subTest(answer=answer):
                self.assertIsNone(decode_cancels(answer, 2))


class Explaining(RestingWorld):
    def causes(self, coin: Coin = ETH) -> list[FillCause]:
        fills = self.venue.account_fills(NOON - timedelta(minutes=1))
        return [one.cause for one in fills if one.coin == coin]

    def test_a_liquidation_and_a_deleveraging_are_told_from_orders(self) -> None:
        self.clock.advance(1)
        self.exchange.deleverage(MASTER, SOL, "2", "201")
        self.clock.advance(1)
        self.exchange.liquidate(MASTER, ETH)
        self.exchange.liquidate(MASTER, SOL, "backstop")
        self.assertEqual(self.causes(), [FillCause.ORDER, FillCause.LIQUIDATION])
        self.assertEqual(self.causes(SOL), [FillCause.ORDER, FillCause.AUTO_DELEVERAGING, FillCause.LIQUIDATION])

    def test_the_other_side_of_a_liquidation_was_not_liquidated(self) -> None:
        other = "0x" + "9" * 40
        fill = Fill(ETH, 7, None, Decimal(3000), ONE, ZERO, NOON, 1, Side.BUY, "Open Long", other)
        self.assertIs(account_fill(fill, MASTER).cause, FillCause.ORDER)

    def test_what_fires_and_fills_in_part_is_still_listed_without_a_trigger(self) -> None:
        order = self.resting_order()
        self.place(order)
        self.exchange.set_market(ETH, bids=[("2390", "0.2"), ("2100", "9")], asks=[("2391", "9")], refill=False)
        (fill,) = [one for one in self.venue.account_fills(NOON) if one.client_order_id == order.client_order_id]
        self.assertEqual((fill.quantity, fill.price, fill.side), (Decimal("0.2"), Decimal(2390), Side.SELL))
        (left,) = self.venue.resting()
        self.assertEqual((left.client_order_id, left.trigger_price), (order.client_order_id, None))
        self.assertEqual(left.quantity, Decimal("0.3"))

    def test_fills_that_cannot_be_read_are_no_fills_and_no_empty_list(self) -> None:
        self.server.faults.down(INFO)
        with self.assertRaises(VenueUnavailable):
            self.venue.account_fills(NOON)


class Recorded(unittest.TestCase):
    def test_waiting_for_its_trigger_is_resting(self) -> None:
        words = decode_words(recorded("createOrder_normalTpsl_filled_waitingForTrigger"), 3)
        self.assertEqual(words[1:], (Working("waitingForTrigger"),) * 2)

    def test_listed_orders_are_read_as_the_exchange_wrote_them(self) -> None:
        (stop,) = decode_listed(recorded("frontendOpenOrders_stop_limit_2024"))
        self.assertEqual((stop.coin, stop.side, stop.client_order_id), ("ADA", Side.BUY, None))
        self.assertEqual((stop.trigger_price, stop.limit_price), (Decimal("0.6"), Decimal("0.4")))
        rows = decode_listed(recorded("frontendOpenOrders"))
        self.assertEqual([one.trigger_price for one in rows], [Decimal("10.004"), Decimal("9.995"), None])

    def test_a_side_that_is_none_is_not_guessed(self) -> None:
        row = json.loads(json.dumps(recorded("frontendOpenOrders_stop_limit_2024")))
        with self.assertRaises(VenueUnavailable):
            decode_listed([{**row[0], "side": "C"}])
