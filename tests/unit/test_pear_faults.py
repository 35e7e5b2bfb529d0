"""Whatever goes wrong at Pear, at opening and at closing: one effect, found by its fills, or none and said so."""

import threading
import time
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

from tests.processes import wait_until
from tests.servers.hyperliquid.faults import Answer, Commit, Fault
from tests.servers.pear import PEAR_AGENT
from tests.servers.pear.trading import Whims
from tests.unit.pear_world import ALL, CLOSE, CUT, ETH, OPEN, SOL, PearWorld
from tests.unit.test_pear_register import WAIT_SECONDS, asked_for
from trading.adapters import pear, pear_register
from trading.adapters.hyperliquid_budget import Lane
from trading.adapters.hyperliquid_values import milliseconds
from trading.adapters.hyperliquid_wire import Fill
from trading.adapters.pear_reports import OPEN_PATIENCE
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.orders import OrderStatus, RejectReason, Side
from trading.domain.units import Coin

LOST = (Answer.CLOSED, Answer.SERVER_ERROR, Answer.BAD_GATEWAY, Answer.GARBAGE, Answer.CUT_SHORT, Answer.TOO_MANY)
NOTHING = (Answer.CLOSED, Answer.SERVER_ERROR, Answer.BAD_GATEWAY, Answer.TOO_MANY)


class OpeningFaults(PearWorld):
    def test_done_and_the_answer_lost_is_found_by_its_fills(self) -> None:
        for answer in LOST:
            with self.subTest(answer=answer):
                self.fault(OPEN, answer)
                orders = self.a_pair()
                self.venue.submit(orders)
                self.assert_filled(orders, self.told(orders))
                self.assertEqual(self.pear.count(OPEN), 1)
                self.venue.submit(self.a_way_out())
                self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
                self.pear.received.clear()

    def test_lost_and_never_done_is_unexplained_after_ninety_seconds_and_never_posted_again(self) -> None:
        for answer in NOTHING:
            with self.subTest(answer=answer):
                self.pear.received.clear()
                self.fault(OPEN, answer, Commit.NEVER)
                orders = self.a_pair()
                began = self.clock.now()
                for report in self.venue.submit(orders):
                    self.assertIs(report.status, OrderStatus.UNKNOWN)
                for report in self.told(orders):
                    self.assertIs(report.status, OrderStatus.REJECTED)
                    self.assertIs(report.reason, RejectReason.UNEXPLAINED)
                self.assertGreater(self.clock.now() - began, OPEN_PATIENCE)
                self.assertEqual(self.pear.count(OPEN), 1)

    def test_done_after_the_answer_was_lost_is_still_found(self) -> None:
        self.fault(OPEN, Answer.CLOSED, Commit.LATE, seconds=0.2)
        orders = self.a_pair()
        self.assertTrue(all(one.status.in_doubt for one in self.venue.submit(orders)))
        for thread in self.pear._late:
            thread.join()
        self.assert_filled(orders, self.told(orders))

    def test_one_leg_alone_is_told_as_one_leg_alone(self) -> None:
        sentence, status = "Order could not immediately match against any resting orders.", "iocCancelRejected"
        for answer in (None, Answer.CLOSED):
            with self.subTest(answer=answer):
                self.exchange.refuse_next(SOL, sentence, status)
                if answer is not None:
                    self.fault(OPEN, answer)
                orders, began = self.a_pair(), self.clock.now()
                self.venue.submit(orders)
                eth, sol = self.told(orders)
                self.assertEqual((eth.status, eth.filled), (OrderStatus.FILLED, Decimal("0.5")))
                self.assertEqual((sol.status, sol.reason), (OrderStatus.REJECTED, RejectReason.NO_MATCH))
                self.assertLess((self.clock.now() - began).total_seconds(), 4, "the other leg is naked meanwhile")
                self.venue.submit([self.an_order(ETH, Side.SELL, "0.5", reduce_only=True)])
                self.assertEqual(self.held(ETH), 0)

    def test_one_leg_done_and_an_error_told_is_not_believed(self) -> None:
        """The error of the exchange's in Pear's words, although a leg was done."""
        body = {"statusCode": 400, "error": "Bad Request", "message": "no liquidity", "code": "HL_IOC_NO_MATCH"}
        self.exchange.refuse_next(SOL, "Order could not immediately match against any resting orders.")
        self.pear.faults.say(body, route=OPEN, committed=True)
        orders = self.a_pair()
        self.venue.submit(orders)
        eth, sol = self.told(orders)
        self.assertEqual((eth.status, sol.status), (OrderStatus.FILLED, OrderStatus.REJECTED))

    def test_an_error_of_no_code_of_pear_s_own_is_not_believed_where_it_was_done(self) -> None:
        """As of the exchange's gateway, handed on. Taken for a last word it left both legs standing as nobody's."""
        for status, code in ((403, None), (403, "FORBIDDEN"), (400, "UNKNOWN"), (400, "HL_ORDER_FAILED")):
            with self.subTest(status=status, code=code):
                body = {"statusCode": status, "message": "Request failed with status code 403", "code": code}
                self.pear.faults.say(body, route=OPEN, committed=True)
                orders = self.a_pair()
                self.venue.submit(orders)
                self.assert_filled(orders, self.told(orders))
                self.venue.submit(self.a_way_out())
                self.clock.advance(5)

    def test_an_error_that_took_its_time_is_not_believed_before_what_was_done_can_be_read(self) -> None:
        body = {"statusCode": 400, "error": "Bad Request", "message": "no liquidity", "code": "HL_IOC_NO_MATCH"}
        self.exchange.refuse_next(SOL, "Order could not immediately match against any resting orders.")
        self.pear.faults.say(body, route=OPEN, committed=True)
        write, fills_between = self.venue.pear.write, self.venue._fills_between

        def slow(method: str, path: str, posted: object) -> object:
            outcome = write(method, path, posted)
            self.clock.advance(3)
            self.answered_at = self.clock.now()
            return outcome

        def lagging(start: datetime, end: datetime, lane: Lane) -> Sequence[Fill]:
            return fills_between(start, end, lane) if self.clock.now() > self.answered_at + timedelta(seconds=1) else ()

        lags = mock.patch.object(self.venue, "_fills_between", lagging)
        with mock.patch.object(self.venue.pear, "write", slow), lags:
            orders = self.a_pair()
            self.venue.submit(orders)
            eth, sol = self.told(orders)
        self.assertEqual((eth.status, sol.status), (OrderStatus.FILLED, OrderStatus.REJECTED))

    def test_a_leg_whose_fills_are_read_after_the_other_s_is_not_called_unfilled(self) -> None:
        """It would be sent once more, and stand there twice."""
        self.fault(OPEN, Answer.CLOSED)
        fills_between, began = self.venue._fills_between, self.clock.now()

        def one_lags(start: datetime, end: datetime, lane: Lane) -> Sequence[Fill]:
            lags = self.clock.now() < began + timedelta(seconds=2)
            return [one for one in fills_between(start, end, lane) if one.coin != SOL or not lags]

        with mock.patch.object(self.venue, "_fills_between", one_lags):
            orders = self.a_pair()
            self.venue.submit(orders)
            self.assert_filled(orders, self.told(orders))

    def test_a_part_of_a_leg_is_told_as_a_part(self) -> None:
        for answer in (Answer.NORMAL, Answer.CLOSED):
            with self.subTest(answer=answer):
                self.exchange.cap_next_fill(SOL, "3")
                self.fault(OPEN, answer)
                orders = self.a_pair()
                self.venue.submit(orders)
                eth, sol = self.told(orders, seconds=10)
                self.assertEqual((eth.status, eth.filled), (OrderStatus.FILLED, Decimal("0.5")))
                self.assertEqual((sol.status, sol.filled), (OrderStatus.PARTIALLY_FILLED, 3))
                self.clock.advance(5)

    def test_fills_that_are_told_are_all_there_are_whatever_else_is_bought_at_pear(self) -> None:
        """By hand, in Pear's own page, in the same second: it was sold with the position."""
        asset = [{"asset": "ETH", "weight": 1}]
        body = {"executionType": "MARKET", "slippage": Decimal("0.01"), "leverage": 1, "usdValue": 600}
        self.pear.trading.create(self.venue.account_id, {**body, "longAssets": asset})
        self.assertEqual(self.held(ETH), Decimal("0.2"))
        orders = self.a_pair()
        self.assertEqual([one.filled for one in self.venue.submit(orders)], [one.quantity for one in orders])

    def test_success_without_fills_or_position_is_read_from_the_exchange(self) -> None:
        self.whims.tells_fills = self.whims.tells_position = False
        orders = self.a_pair()
        self.assert_filled(orders, self.venue.submit(orders))

    def test_fills_that_are_told_by_other_ids_than_the_exchange_s_are_found_all_the_same(self) -> None:
        """The legs were called unfilled and stood there as somebody else's."""
        for oid in (0, "7", 1.5):
            with self.subTest(oid=oid):
                fills = [{"coin": "ETH", "sz": "0.5", "oid": oid}, {"coin": "SOL", "sz": "7.5", "oid": 8}]
                self.pear.faults.say({"orderId": "0" * 32, "fills": fills}, route=OPEN, committed=True)
                orders = self.a_pair()
                self.venue.submit(orders)
                self.assert_filled(orders, self.told(orders))
                self.venue.submit(self.a_way_out())
                self.clock.advance(5)

    def test_success_of_which_nothing_was_filled_is_a_refusal(self) -> None:
        self.pear.faults.say({"orderId": "0" * 32}, route=OPEN)
        orders = self.a_pair()
        self.assertTrue(all(one.status.in_doubt for one in self.venue.submit(orders)))
        self.assertEqual([one.reason for one in self.told(orders)], [RejectReason.NO_MATCH] * 2)

    def test_busy_and_a_used_key_are_doubt_and_not_refusals(self) -> None:
        for status in (408, 409):
            with self.subTest(status=status):
                body = {"statusCode": status, "message": "no", "code": "ACTIVE_TRADE_TIMEOUT"}
                self.pear.faults.say(body, route=OPEN)
                orders = self.a_pair()
                self.assertEqual([one.status for one in self.venue.submit(orders)], [OrderStatus.UNKNOWN] * 2)

    def test_while_pear_wants_to_be_left_alone_nothing_is_opened(self) -> None:
        """One more 429 would be a doubt of ninety seconds, and the end of the signal."""
        self.fault(OPEN, Answer.TOO_MANY, Commit.NEVER)
        self.venue.submit(self.a_pair())
        orders = self.a_pair()
        for report in self.venue.submit(orders):
            self.assertIs(report.status, OrderStatus.REJECTED)
            self.assertIn("nothing was sent", report.detail)
        self.assertEqual(self.pear.count(OPEN), 1)
        with self.assertRaises(VenueUnavailable):
            self.venue.require_room()
        self.clock.advance(15)
        again = self.a_pair()
        self.assert_filled(again, self.venue.submit(again))

    def test_a_validation_error_is_a_refusal_at_once(self) -> None:
        self.whims.strict_weights = True
        body = {"statusCode": 400, "error": "Bad Request", "message": ["usdValue must not be less than 1"]}
        self.pear.faults.say(body, route=OPEN)
        before = self.clock.now()
        reports = self.venue.submit(self.a_pair())
        self.assertEqual([one.status for one in reports], [OrderStatus.REJECTED] * 2)
        self.assertEqual(self.clock.now(), before)
        self.assertIn("usdValue", reports[0].detail)

    def test_too_little_margin_is_told_by_its_name_or_found_by_its_absence(self) -> None:
        self.venue.set_leverage(ETH, 1)
        self.venue.set_leverage(SOL, 1)
        huge = self.an_order(ETH, Side.BUY, "40"), self.an_order(SOL, Side.SELL, "600")
        self.assertEqual([one.reason for one in self.venue.submit(huge)], [RejectReason.MARGIN] * 2)
        self.whims.failures_have_codes = False
        again = self.an_order(ETH, Side.BUY, "40"), self.an_order(SOL, Side.SELL, "600")
        self.assertTrue(all(one.status.in_doubt for one in self.venue.submit(again)))

    def test_a_kill_before_the_answer_is_found_by_the_next_process_with_or_without_the_register(self) -> None:
        for forget in (False, True):
            with self.subTest(forget=forget):
                orders = self.a_pair()
                self.fault(OPEN, Answer.CLOSED)
                self.venue.submit(orders)
                if forget:
                    for path in self.folder.glob("pear-*/*.orders"):
                        path.unlink()
                self.venue = self.opened()
                self.assert_filled(orders, self.told(orders))
                self.venue.submit(self.a_way_out())
                self.clock.advance(5)

    def test_more_than_was_asked_is_told_as_such(self) -> None:
        for value, times in (("a_side", 2), ("margin", 3)):
            with self.subTest(value=value):
                self.pear.trading.whims = Whims(value_is=value)  # type: ignore[arg-type]
                for coin in (ETH, SOL):
                    self.venue.set_leverage(coin, 3)
                orders = self.a_pair()
                eth, sol = self.venue.submit(orders)
                self.assertEqual((eth.filled, sol.filled), (Decimal("0.5") * times, Decimal("7.5") * times))
                self.assertTrue(eth.sized_by_venue and sol.sized_by_venue)
                self.assertEqual((eth.status, sol.status), (OrderStatus.FILLED, OrderStatus.FILLED))
                out = (
                    self.an_order(ETH, Side.SELL, str(eth.filled), reduce_only=True),
                    self.an_order(SOL, Side.BUY, str(sol.filled), reduce_only=True),
                )
                self.venue.submit(out)
                self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))


class ClosingFaults(PearWorld):
    def setUp(self) -> None:
        super().setUp()
        self.held_pair()

    def assert_closed(self) -> None:
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))

    def test_a_whole_pair_leaves_by_one_close(self) -> None:
        reports = self.venue.submit(self.a_way_out())
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
        self.assertEqual((self.pear.count(CLOSE), self.pear.count(CUT)), (1, 0))
        self.assert_closed()

    def test_a_size_that_is_a_sum_of_binary_fractions_is_a_whole_one(self) -> None:
        """What Pear adds up is off by a hair: cut down to that hair, a position would not be closed."""
        shown = self.pear.trading.positions

        def noisy(address: str, *, sync: bool) -> list[Any]:
            rows: list[Any] = list(shown(address, sync=sync))
            for part in (one for row in rows for side in ("longAssets", "shortAssets") for one in row[side]):
                part["actualSize"] = float(part["actualSize"]) * (1 + 2**-51)
            return rows

        with mock.patch.object(self.pear.trading, "positions", noisy):
            self.venue.submit(self.a_way_out())
        self.assertEqual((self.pear.count(CLOSE), self.pear.count(CUT)), (1, 0))
        self.assert_closed()

    def test_a_position_that_pear_shows_as_it_was_before_is_never_bought_back(self) -> None:
        """Sizes at Pear are absolute: of one and a half ETH, half of which was to be sold, one was to be left."""
        shown = self.pear.trading.positions

        def lagging(address: str, *, sync: bool) -> list[Any]:
            rows: list[Any] = list(shown(address, sync=sync))
            for part in (one for row in rows for side in ("longAssets", "shortAssets") for one in row[side]):
                part["actualSize"] *= 3
            return rows

        with mock.patch.object(self.pear.trading, "positions", lagging):
            self.venue.submit([self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)])
            self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.3"), Decimal("-7.5")))
            rest = self.an_order(ETH, Side.SELL, "0.3", reduce_only=True)
            self.venue.submit([rest, self.an_order(SOL, Side.BUY, "7.5", reduce_only=True)])
        self.assert_closed()

    def test_a_part_leaves_by_absolute_sizes(self) -> None:
        part = (
            self.an_order(ETH, Side.SELL, "0.2", reduce_only=True),
            self.an_order(SOL, Side.BUY, "3", reduce_only=True),
        )
        reports = self.venue.submit(part)
        self.assertEqual([one.filled for one in reports], [Decimal("0.2"), Decimal(3)])
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.3"), Decimal("-4.5")))
        self.assertEqual((self.pear.count(CLOSE), self.pear.count(CUT)), (0, 1))

    def test_one_leg_alone_is_cut_and_the_other_stays(self) -> None:
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "0.5", reduce_only=True)])
        self.assertIs(report.status, OrderStatus.FILLED)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, Decimal("-7.5")))

    def test_done_and_the_answer_lost_is_found_by_its_fills(self) -> None:
        for answer in LOST:
            with self.subTest(answer=answer):
                self.fault(CLOSE, answer)
                orders = self.a_way_out()
                self.venue.submit(orders)
                self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)
                self.assert_closed()
                self.clock.advance(15)
                self.held_pair()

    def test_lost_and_never_done_may_be_tried_again_after_fifteen_seconds(self) -> None:
        for answer in NOTHING:
            with self.subTest(answer=answer):
                self.fault(CLOSE, answer, Commit.NEVER)
                orders = self.a_way_out()
                self.venue.submit(orders)
                self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.REJECTED] * 2)
        again = self.a_way_out()
        self.venue.submit(again)
        self.assertEqual([one.status for one in self.told(again)], [OrderStatus.FILLED] * 2)
        self.assert_closed()

    def test_a_lost_close_is_given_up_after_fifteen_seconds_of_the_exchange_s_clock_too(self) -> None:
        for skew_ms in (30_000, -30_000):
            with self.subTest(skew_ms=skew_ms):
                self.exchange.skew_ms = skew_ms
                self.clock.advance(31)
                self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
                orders, began = self.a_way_out(), self.clock.now()
                self.venue.submit(orders)
                self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.REJECTED] * 2)
                self.assertAlmostEqual((self.clock.now() - began).total_seconds(), 17, delta=3)

    def test_an_opening_in_doubt_takes_no_fills_of_a_close_of_the_same_coins(self) -> None:
        """What had been closed was booked as opened."""
        self.fault(OPEN, Answer.CLOSED, Commit.NEVER)
        opening = self.a_pair()
        self.venue.submit(opening)
        self.clock.advance(3)
        with mock.patch.object(self.venue, "_fills_between", return_value=()):
            self.venue.submit(self.a_way_out())
        self.assertEqual({one.reason for one in self.told(opening)}, {RejectReason.UNEXPLAINED})

    def test_a_close_in_doubt_takes_no_fills_of_the_one_after_it(self) -> None:
        """Two positions share the coin: the first one's was called done and still stood."""
        self.fault(CUT, Answer.CLOSED, Commit.NEVER)
        first = self.an_order(ETH, Side.SELL, "0.2", reduce_only=True)
        self.venue.submit([first])
        self.clock.advance(3)
        second = self.an_order(ETH, Side.SELL, "0.3", reduce_only=True)
        with mock.patch.object(self.venue, "_fills_between", return_value=()):
            self.venue.submit([second])
        self.clock.advance(1)
        self.assertTrue(self.venue.reports([first])[0].status.in_doubt)
        statuses = [one.status for one in self.told([first, second])]
        self.assertEqual(statuses, [OrderStatus.REJECTED, OrderStatus.FILLED])

    def test_a_close_that_pear_has_not_begun_may_be_tried_again_at_once(self) -> None:
        """Another trade was under way, or too much was asked: it stood for fifteen seconds for nothing."""
        for status, code in ((408, "ACTIVE_TRADE_TIMEOUT"), (408, None), (409, None), (429, None)):
            with self.subTest(status=status, code=code):
                self.pear.faults.say({"statusCode": status, "message": "no", "code": code}, route=CLOSE)
                orders, began = self.a_way_out(), self.clock.now()
                self.venue.submit(orders)
                self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.REJECTED] * 2)
                self.assertLess((self.clock.now() - began).total_seconds(), 3)
                again = self.a_way_out()
                self.assertEqual([one.status for one in self.venue.submit(again)], [OrderStatus.FILLED] * 2)
                self.clock.advance(15)
                self.held_pair()

    def test_a_part_whose_order_pear_says_has_failed_may_be_tried_again_at_once(self) -> None:
        """It was taken for done, and waited ten seconds for its fills."""
        for committed, status in ((False, OrderStatus.REJECTED), (True, OrderStatus.FILLED)):
            with self.subTest(committed=committed):
                answer = {"orderId": "0" * 32, "status": "FAILED", "executedAt": None}
                self.pear.faults.say(answer, route=CUT, committed=committed)
                order, began = self.an_order(ETH, Side.SELL, "0.2", reduce_only=True), self.clock.now()
                self.venue.submit([order])
                self.assertEqual([one.status for one in self.told([order])], [status])
                self.assertLess((self.clock.now() - began).total_seconds(), 3)

    def test_a_close_that_pear_says_it_has_not_begun_and_did_is_found_by_its_fills(self) -> None:
        body = {"statusCode": 408, "message": "no", "code": "ACTIVE_TRADE_TIMEOUT"}
        self.pear.faults.say(body, route=CLOSE, committed=True)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)
        self.assert_closed()

    def test_a_reading_that_takes_pear_longer_than_a_read_may_is_waited_for_by_the_next_close(self) -> None:
        """What is compared with the exchange first may take its time, and without it nothing can be closed."""
        shown = self.pear.trading.positions

        def slowly(address: str, *, sync: bool) -> object:
            time.sleep(0.5 if sync else 0)
            return shown(address, sync=sync)

        with (
            mock.patch.object(self.pear.trading, "positions", slowly),
            mock.patch.object(pear, "READ_SECONDS_MAX", 0.1),
        ):
            first = self.venue.submit(self.a_way_out())
            self.assertEqual([one.status for one in first], [OrderStatus.REJECTED] * 2)
            for _ in range(2):
                self.venue.submit(self.a_way_out())
                self.assert_closed()
                self.held_pair()
            with mock.patch.object(pear, "SYNC_SECONDS_MAX", 0.1), self.assertRaises(VenueUnavailable):
                self.venue.baskets()
            with self.assertRaises(VenueUnavailable):
                self.venue.baskets()  # one that hangs is not waited for each time

    def test_a_close_that_comes_late_is_not_taken_for_nothing(self) -> None:
        """Given up, tried again, and both arrive: the second finds the position gone, its fills are the first one's."""
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        first = self.a_way_out()
        self.venue.submit(first)
        self.told(first)
        self.pear.trading.close_all(self.venue.account_id, {"executionType": "MARKET"})
        self.clock.advance(1)
        second = self.a_way_out()
        reports = self.venue.submit(second)
        self.assertEqual([one.reason for one in reports], [RejectReason.REDUCE_ONLY] * 2)
        self.assert_closed()

    def test_a_coin_in_two_baskets_is_taken_from_the_one_that_holds_the_pair(self) -> None:
        self.exchange.set_market("BTC", "100000")
        self.clock.advance(1)
        other = self.an_order(ETH, Side.BUY, "0.4"), self.an_order(Coin("BTC"), Side.SELL, "0.01")
        self.venue.submit(other)
        self.assertEqual(len(self.venue.baskets()), 2)
        self.venue.submit(self.a_way_out())
        (left,) = self.venue.baskets()
        self.assertEqual({one.coin for one in left.parts}, {"ETH", "BTC"})
        self.assertEqual(self.held(ETH), Decimal("0.4"))

    def test_coins_of_one_basket_that_are_reduced_with_others_go_in_one_write(self) -> None:
        """Sizes are absolute: two cuts by one reading would give back with the second what the first has taken."""
        self.exchange.set_market("BTC", "100000")
        self.venue.submit([self.an_order(Coin("BTC"), Side.BUY, "0.01")])
        rescue = (*self.a_way_out(), self.an_order(Coin("BTC"), Side.SELL, "0.01", reduce_only=True))
        self.assertEqual([one.status for one in self.venue.submit(rescue)], [OrderStatus.FILLED] * 3)
        self.assert_closed()
        self.assertEqual((self.pear.count(ALL), self.pear.count(CLOSE), self.held(Coin("BTC"))), (1, 0, 0))

    def test_a_sweep_that_closes_only_some_positions_is_tried_again_for_the_rest(self) -> None:
        self.exchange.set_market("BTC", "100000")
        self.venue.submit([self.an_order(Coin("BTC"), Side.BUY, "0.01")])
        self.exchange.refuse_next(Coin("BTC"), "Order could not immediately match against any resting orders.")
        rescue = (*self.a_way_out(), self.an_order(Coin("BTC"), Side.SELL, "0.01", reduce_only=True))
        self.venue.submit(rescue)
        statuses = [one.status for one in self.told(rescue)]
        self.assertEqual(statuses, [OrderStatus.FILLED, OrderStatus.FILLED, OrderStatus.REJECTED])
        self.assertTrue(any("did not close" in one for one in self.log.messages("warning")))
        self.venue.submit([self.an_order(Coin("BTC"), Side.SELL, "0.01", reduce_only=True)])
        self.assertEqual(self.held(Coin("BTC")), 0)

    def test_a_cut_goes_by_what_the_basket_holds_when_its_turn_comes(self) -> None:
        """Another process takes a leg while this one waits for its turn."""
        first = threading.Event()
        other, turn = self.opened(), self.venue._register.turn

        @contextmanager
        def slow_turn(*, closes: bool) -> Iterator[None]:
            if not first.is_set():
                first.set()
                other.submit([self.an_order(ETH, Side.SELL, "0.5", reduce_only=True)])
            with turn(closes=closes):
                yield

        with mock.patch.object(self.venue._register, "turn", slow_turn):
            self.venue.submit([self.an_order(SOL, Side.BUY, "7.5", reduce_only=True)])
        self.assert_closed()

    def test_that_nothing_is_held_is_said_by_no_reading_of_before(self) -> None:
        """Opened by another process a moment ago: the refusal is one of two witnesses that a holding has gone."""
        self.venue.submit(self.a_way_out())
        other = self.opened()
        self.assertEqual(self.venue.account().holdings, {})
        other.submit(self.a_pair())
        self.assertEqual([one.status for one in self.venue.submit(self.a_way_out())], [OrderStatus.FILLED] * 2)
        self.assert_closed()

    def test_an_order_that_was_posted_is_never_called_unsent(self) -> None:
        with mock.patch.object(self.venue._register, "answered", side_effect=OSError("disk full")):
            reports = self.venue.submit(self.a_way_out())
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
        self.assert_closed()

    def test_without_a_position_at_pear_and_without_a_key_the_close_is_refused_and_said(self) -> None:
        self.pear.faults.say([], route="GET /positions")
        reports = self.venue.submit(self.a_way_out())
        self.assertEqual([one.status for one in reports], [OrderStatus.REJECTED] * 2)
        self.assertIn("no wallet key", reports[0].detail)


class Turns(PearWorld):
    def test_a_close_overtakes_the_openings_that_wait(self) -> None:
        """One opening is at Pear; another and a close wait: the close goes first."""
        self.held_pair()
        self.pear.received.clear()
        self.whims.busy_wait_seconds = 5.0
        self.fault(OPEN, Answer.NORMAL)
        let_go, opens, closes = threading.Event(), self.opened(), self.opened()

        def hangs(_: Fault, right: Callable[[], Any]) -> Any:
            answer = right()
            let_go.wait(WAIT_SECONDS)
            return answer

        slow = threading.Thread(target=self.venue.submit, args=([self.an_order(ETH, Side.BUY, "0.1")],))
        waiting = threading.Thread(target=opens.submit, args=([self.an_order(ETH, Side.BUY, "0.2")],))
        closing = threading.Thread(target=closes.submit, args=(self.a_way_out(),))
        patient = mock.patch.object(pear_register, "OPEN_WAIT_SECONDS", WAIT_SECONDS)
        with patient, mock.patch.object(self.pear, "_misfortune", hangs):
            slow.start()
            wait_until(lambda: self.pear.count(OPEN) == 1, "the first opening")
            for thread, lock in ((waiting, opens._register._gate), (closing, closes._register._writes)):
                asked = asked_for(self, lock)
                thread.start()
                self.assertTrue(asked.wait(WAIT_SECONDS))
            let_go.set()
            for thread in (slow, waiting, closing):
                thread.join(WAIT_SECONDS)
        writes = [route for route, _ in self.pear.received if route in (OPEN, CLOSE, CUT)]
        self.assertEqual(len(writes), 3)
        self.assertEqual((writes[0], writes[2]), (OPEN, OPEN))


ETH_SOLD = (ETH, Side.SELL)


class WithAKey(PearWorld):
    direct = True

    def setUp(self) -> None:
        super().setUp()
        self.held_pair()

    def direct_orders(self) -> int:
        return sum(1 for one in self.exchange.received if one.type == "order" and "builder" not in one.action)

    def test_a_close_that_pear_loses_goes_to_the_exchange_after_ten_seconds_and_once(self) -> None:
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        began = self.clock.now()
        self.venue.submit(orders)
        self.assertEqual(self.direct_orders(), 0)
        reports = self.told(orders)
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
        self.assertLess((self.clock.now() - began).total_seconds(), 12)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.assertEqual(self.direct_orders(), 2)
        self.assertTrue(any("at the exchange itself" in one for one in self.log.messages("warning")))

    def test_without_a_price_nothing_goes_directly_until_there_is_one(self) -> None:
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(10)
        with mock.patch.object(self.venue, "_touch", return_value=None):
            self.assertTrue(all(one.status.in_doubt for one in self.venue.reports(orders)))
        self.assertEqual(self.direct_orders(), 0)
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)

    def test_nor_does_a_register_of_nonces_that_cannot_be_written(self) -> None:
        """A disk that takes no change any more: what was sent is known by this process alone."""
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(11)
        assert self.venue.direct is not None
        register = self.venue.direct._signer.register
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 3000, True
        with (
            mock.patch.object(register, "known", side_effect=OSError("read-only")),
            mock.patch.object(register, "nonce_of", return_value=None),
        ):
            for _ in range(3):
                self.venue.reports(orders)
                self.clock.advance(1)
        self.assertEqual(self.direct_orders(), 2)

    def test_a_restart_does_not_send_it_twice(self) -> None:
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(11)
        self.server.faults.lose_after_commit("order", times=2)
        self.venue.reports(orders)
        self.venue = self.opened()
        # What was filled directly is no fill of Pear's: it counted twice.
        told = self.told(orders)
        self.assertEqual(
            [(one.status, one.filled) for one in told], [(OrderStatus.FILLED, one.quantity) for one in orders]
        )
        self.assertEqual(self.direct_orders(), 2)

    def test_after_a_restart_what_went_directly_may_land_until_it_has_expired_itself(self) -> None:
        """The order that it stands for has expired long ago: it would be called absent, and sent once more."""
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(11)
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 3000, True
        self.server.faults.lose_after_commit("order", times=2)
        self.venue.reports(orders)
        self.venue = self.opened()
        self.assertTrue(all(one.status.in_doubt for one in self.venue.reports(orders)))
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)

    def test_what_goes_directly_has_the_widest_band_from_the_touch_that_it_meets(self) -> None:
        self.exchange.set_market(ETH, bids=[("2980", "50")], asks=[("3020", "50")])
        self.exchange.set_market(SOL, bids=[("198", "500")], asks=[("202", "500")])
        self.clock.advance(2)
        self.pear.faults.say([], route="GET /positions")
        self.venue.submit(self.a_way_out())
        self.assertEqual([row["p"] for row in self.sent_directly()], ["2741.6", "218.16"])

    def sent_directly(self) -> list[Any]:
        sent = [one.action.get("orders") for one in self.exchange.received if "builder" not in one.action]
        return [row for rows in sent if isinstance(rows, list) for row in rows]

    def test_only_what_pear_has_not_done_by_then_goes_directly_and_both_count(self) -> None:
        """More of a coin that is shared would be another position's."""
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.clock.advance(7)
        self.exchange.set_market(ETH, "3100")
        self.exchange.cap_next_fill(ETH, "0.2")
        self.pear.trading.close_all(self.venue.account_id, {"executionType": "MARKET"})
        self.clock.advance(1)
        eth, sol = self.told(orders)
        self.assertEqual([row["s"] for row in self.sent_directly()], ["0.3"])
        self.assertEqual((eth.filled, sol.filled), (Decimal("0.5"), Decimal("7.5")))
        sold = [one for one in self.venue.account_fills(orders[0].intended_at) if (one.coin, one.side) == ETH_SOLD]
        self.assertEqual(eth.fees, sum(one.fee for one in sold))
        self.assertEqual(eth.average_price, sum(one.quantity * one.price for one in sold) / eth.filled)
        self.assertEqual(eth.filled_at, max(one.filled_at for one in sold))

    def test_a_close_goes_directly_at_once_when_pear_gives_no_token(self) -> None:
        self.pear.sessions.forget_all()
        self.pear.sessions._keys.clear()
        self.clock.advance(900)
        orders = self.a_way_out()
        reports = self.venue.submit(orders)
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))

    def test_nothing_is_swept_while_the_account_holds_what_pear_does_not_list(self) -> None:
        """What somebody bought at the exchange itself, another coin or more of one: a sweep might take it, too."""
        btc, avax = Coin("BTC"), Coin("AVAX")
        self.exchange.set_market(btc, "100000")
        self.exchange.set_market(avax, "20")
        self.venue.submit([self.an_order(btc, Side.BUY, "0.01")])
        assert self.venue.direct is not None
        for coin, side, quantity in ((avax, Side.BUY, "10"), (avax, Side.SELL, "10"), (ETH, Side.BUY, "0.1")):
            self.pear.received.clear()
            self.venue.direct.submit([self.an_order(coin, side, quantity)])
            rescue = (*self.a_way_out(), self.an_order(btc, Side.SELL, "0.01", reduce_only=True))
            self.assertEqual([one.status for one in self.venue.submit(rescue)], [OrderStatus.FILLED] * 3)
            self.assertEqual((self.pear.count(ALL), self.pear.count(CLOSE)), (0, 2))
            self.assertEqual(self.held(coin), Decimal(quantity) * side.sign)
            self.venue.direct.submit([self.an_order(coin, side.opposite, quantity, reduce_only=True)])
            self.venue.submit(self.a_pair())
            self.venue.submit([self.an_order(btc, Side.BUY, "0.01")])

    def test_a_close_that_pear_refuses_goes_directly(self) -> None:
        """Pear's agent is changed every thirty days, and the approval of the new one may be wanting."""
        self.exchange.revoke_agent(PEAR_AGENT)
        self.assert_closed_directly()
        self.assertTrue(any("does not exist" in one for one in self.log.messages("warning")))

    def test_a_close_that_pear_finds_faulty_goes_directly(self) -> None:
        body = {"statusCode": 403, "message": "no", "code": "POSITION_UNAUTHORIZED"}
        self.pear.faults.say(body, route=CLOSE)
        self.assert_closed_directly()

    def test_nothing_goes_directly_before_what_pear_may_have_done_can_be_seen(self) -> None:
        """Pear's no is no proof that neither leg was done."""
        self.pear.faults.say({"statusCode": 403, "message": "no", "code": "POSITION_UNAUTHORIZED"}, route=CLOSE)
        orders, began = self.a_way_out(), milliseconds(self.clock.now())
        self.venue.submit(orders)
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)
        sent = [one.at_ms for one in self.exchange.received if one.type == "order" and "builder" not in one.action]
        self.assertGreaterEqual(min(sent) - began, 1500)

    def test_what_the_exchange_would_refuse_as_well_does_not_go_there(self) -> None:
        for code, reason in (
            ("HL_REDUCE_ONLY", RejectReason.REDUCE_ONLY),
            ("HL_IOC_NO_MATCH", RejectReason.NO_MATCH),
            ("HL_MIN_TRADE_VALUE", RejectReason.NOTIONAL_MIN),
        ):
            with self.subTest(code):
                self.pear.faults.say({"statusCode": 400, "message": "no", "code": code}, route=CLOSE)
                orders = self.a_way_out()
                self.venue.submit(orders)
                self.assertEqual({one.reason for one in self.told(orders)}, {reason})
                self.assertEqual(self.direct_orders(), 0)

    def assert_closed_directly(self) -> None:
        orders = self.a_way_out()
        began = self.clock.now()
        self.venue.submit(orders)
        self.assertEqual([one.status for one in self.told(orders)], [OrderStatus.FILLED] * 2)
        self.assertLess((self.clock.now() - began).total_seconds(), 5)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.assertEqual((self.pear.count(CLOSE), self.direct_orders()), (1, 2))

    def test_no_close_waits_longer_for_pear_s_sync_than_a_read_may_take(self) -> None:
        """Each other one waited eight seconds for it, which is longer than a close lives."""
        shown = self.pear.trading.positions

        def slowly(address: str, *, sync: bool) -> object:
            time.sleep(0.3 if sync else 0)
            return shown(address, sync=sync)

        with (
            mock.patch.object(self.pear.trading, "positions", slowly),
            mock.patch.object(pear, "READ_SECONDS_MAX", 0.1),
        ):
            for _ in range(2):
                self.assertEqual([one.status for one in self.venue.submit(self.a_way_out())], [OrderStatus.FILLED] * 2)
                self.held_pair()
            self.assertEqual((self.pear.count(CLOSE), self.direct_orders()), (0, 4))
            self.assertEqual(1, len(self.venue.baskets()), "what is not in a hurry waits for it")

    def test_a_close_that_pear_is_too_busy_for_goes_directly(self) -> None:
        self.pear.faults.say({"statusCode": 408, "message": "no", "code": "ACTIVE_TRADE_TIMEOUT"}, route=CLOSE)
        self.assert_closed_directly()

    def test_a_close_of_what_pear_holds_no_more_is_refused_as_such(self) -> None:
        body = {"statusCode": 404, "message": "Position not found", "code": "POSITION_NOT_FOUND"}
        self.pear.faults.say(body, route=CLOSE)
        self.assertEqual({one.reason for one in self.venue.submit(self.a_way_out())}, {RejectReason.REDUCE_ONLY})
        self.assertEqual(self.direct_orders(), 0)

    def test_a_close_goes_directly_at_once_when_a_token_is_refused_and_none_can_be_had(self) -> None:
        self.pear.sessions.expire_all()
        self.pear.sessions._keys.clear()
        self.fault("GET /positions", Answer.NORMAL)
        self.assertEqual([one.status for one in self.venue.submit(self.a_way_out())], [OrderStatus.FILLED] * 2)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))

    def test_a_close_goes_directly_at_once_when_pear_shows_no_position(self) -> None:
        self.pear.faults.say([], route="GET /positions")
        self.assertEqual([one.status for one in self.venue.submit(self.a_way_out())], [OrderStatus.FILLED] * 2)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))

    def test_a_close_goes_directly_where_the_register_cannot_be_kept(self) -> None:
        """A disk that takes no change any more: an emergency stop through Pear closed nothing, key or not."""
        for name, error in (("known", StoreCorrupt("cannot be locked")), ("claim", OSError("read-only"))):
            with self.subTest(name):
                if not self.held(ETH):
                    self.held_pair()
                self.pear.received.clear()
                with mock.patch.object(self.venue._register, name, side_effect=error):
                    reports = self.venue.submit(self.a_way_out())
                self.assertEqual([one.status for one in reports], [OrderStatus.FILLED] * 2)
                self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
                self.assertEqual([], [one for one in (CLOSE, CUT, ALL, OPEN) if self.pear.count(one)])

    def test_a_close_whose_turn_is_somebody_elses_waits(self) -> None:
        for name in ("known", "turn", "claim"):
            with self.subTest(name):
                with mock.patch.object(self.venue._register, name, side_effect=Busy("held")):
                    reports = self.venue.submit(self.a_way_out())
                self.assertEqual([one.status for one in reports], [OrderStatus.REJECTED] * 2)
                self.assertEqual(self.held(ETH), Decimal("0.5"))

    def test_what_is_bought_at_the_exchange_beside_an_order_in_doubt_is_not_its_own(self) -> None:
        """Pear marks what it trades, and what has no mark was sold with the position."""
        assert self.venue.direct is not None
        self.venue.direct.submit([self.an_order(ETH, Side.BUY, "0.2")])
        self.fault(OPEN, Answer.CLOSED)
        orders = self.a_pair()
        self.venue.submit(orders)
        self.assertEqual([one.filled for one in self.told(orders)], [one.quantity for one in orders])

    def test_an_opening_never_goes_directly(self) -> None:
        self.fault(OPEN, Answer.CLOSED, Commit.NEVER)
        orders = self.a_pair()
        self.venue.submit(orders)
        self.assertEqual({one.reason for one in self.told(orders)}, {RejectReason.UNEXPLAINED})
        self.assertEqual(self.direct_orders(), 0)

    def test_where_both_take_effect_the_exchange_lets_the_second_take_nothing(self) -> None:
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        orders = self.a_way_out()
        self.venue.submit(orders)
        self.told(orders)
        self.pear.trading.close_all(self.venue.account_id, {"executionType": "MARKET"})
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))


if __name__ == "__main__":
    unittest.main()
