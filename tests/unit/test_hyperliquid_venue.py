"""Hyperliquid beside the contract: what it asks and sends, when it refuses by itself, and that money adds up."""

import itertools
import threading
import time
import unittest
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

from tests.fakes import FakeClock
from tests.price_grid import PRICES
from tests.processes import wait_until
from tests.servers.hyperliquid import AGENT_KEY, MASTER, MASTER_KEY, info
from tests.servers.hyperliquid.account import Leverage as Leveraged
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault
from tests.servers.hyperliquid.universe import Listing
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.adapters import hyperliquid, hyperliquid_reader
from trading.adapters.asking import Patience
from trading.adapters.hyperliquid_actions import Refusal, Working
from trading.adapters.hyperliquid_api import Skew, network_of
from trading.adapters.hyperliquid_budget import Lane
from trading.adapters.hyperliquid_values import milliseconds
from trading.adapters.hyperliquid_wire import PerpState
from trading.domain.errors import Busy, VenueRejected, VenueUnavailable
from trading.domain.market import CandleInterval
from trading.domain.orders import OrderStatus, RejectReason, Side
from trading.domain.resting import RestingOrder, RestingStatus, TriggerKind
from trading.domain.units import ClientOrderId, Coin, Price, Quantity

BTC, MATIC = Coin("BTC"), Coin("MATIC")
FILLED, REJECTED = OrderStatus.FILLED, OrderStatus.REJECTED


class Beginning(HyperliquidWorld):
    def test_constructing_a_venue_sends_nothing(self) -> None:
        self.opened(streams=True)
        self.assertEqual((self.server.info.calls, len(self.exchange.received)), ({}, 0))
        self.assertEqual(self.server.streams.count, 0)

    def test_it_says_who_and_where_it_is(self) -> None:
        self.assertEqual((self.venue.name, self.venue.network, self.venue.account_id), ("hyperliquid", "local", MASTER))
        self.assertEqual(network_of("https://api.hyperliquid.xyz/"), "mainnet")
        self.assertEqual(network_of("https://api.hyperliquid-testnet.xyz"), "testnet")

    def test_the_key_is_in_nothing_that_can_be_printed(self) -> None:
        self.venue.submit([self.an_order()])
        seen, queue, words = set(), [self.venue], []
        while queue:
            one = queue.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            words.append(repr(one))
            if type(one).__module__.startswith("trading."):
                queue.extend(getattr(one, "__dict__", {}).values())
        words += [repr(entry) for entry in self.log.entries]
        words += [path.read_text("latin-1") for path in self.folder.rglob("*") if path.is_file()]
        self.assertGreater(len(words), 10)
        for word in words:
            self.assertNotIn(AGENT_KEY[2:], word)

    def test_reads_are_about_the_account_and_never_about_the_api_wallet(self) -> None:
        self.assertNotEqual(self.venue.signer_address, self.venue.account_id)
        self.assertEqual(self.venue.account().equity, 100_000)


class Markets(HyperliquidWorld):
    def test_ids_are_those_of_the_network_and_delisted_coins_keep_theirs(self) -> None:
        instruments = self.venue.instruments()
        self.assertTrue(instruments[MATIC].delisted)
        self.assertEqual(instruments[BTC].quantity_step, Decimal("0.00001"))
        self.venue.submit([self.an_order()])
        rows = self.exchange.received[-1].action["orders"]
        assert isinstance(rows, list)
        self.assertEqual(rows[0]["a"], 4)

    def test_the_list_is_read_once_in_five_minutes(self) -> None:
        for seconds in (0, 100, 199):
            self.clock.advance(seconds)
            self.venue.instruments()
        self.assertEqual(self.server.info.calls["meta"], 1)
        self.clock.advance(2)
        self.venue.instruments()
        self.assertEqual(self.server.info.calls["meta"], 2)

    def test_what_was_read_once_is_put_together_once(self) -> None:
        first = self.venue.instruments()
        self.assertIs(self.venue.instruments(), first)
        self.clock.advance(301)
        self.assertIsNot(self.venue.instruments(), first)
        self.assertEqual(self.venue.instruments(), first)

    def test_a_coin_that_is_listed_later_is_found_without_a_restart(self) -> None:
        fresh = Coin("FRESH")
        self.assertEqual(self.venue.quotes([fresh]), {})
        self.exchange.list_coin(Listing(fresh, 1, 5, 5))
        self.exchange.set_market(fresh, "7")
        self.assertEqual(self.venue.quotes([fresh]), {})
        self.clock.advance(16)
        self.assertEqual(set(self.venue.quotes([fresh])), {fresh})

    def test_a_coin_without_cross_margin_is_refused_before_anything_is_sent(self) -> None:
        self.exchange.list_coin(Listing("ISO", 1, 5, 5, only_isolated=True))
        with self.assertRaises(VenueRejected) as caught:
            self.venue.set_leverage(Coin("ISO"), 1)
        self.assertIn("cross margin", caught.exception.detail)
        self.assertEqual(self.actions("updateLeverage"), 0)

    def test_an_old_list_serves_while_the_venue_cannot_be_read(self) -> None:
        with self.assertRaises(VenueUnavailable):
            self.server.faults.down(INFO)
            self.venue.instruments()
        self.server.faults.lift()
        known = self.venue.instruments()
        self.clock.advance(301)
        self.server.faults.down(INFO)
        for _ in range(3):
            self.assertEqual(self.venue.instruments(), known)
        # Three tries of one question, and a last one: it is not asked again before a while has passed.
        self.assertEqual(len([one for one in self.server.faults.met if one.route == INFO]), 2 * 4)
        self.server.faults.lift()
        self.clock.advance(16)
        self.venue.instruments()
        self.assertGreaterEqual(self.server.info.calls["meta"], 2)

    def test_a_list_in_which_a_coin_has_lost_its_place_is_not_believed(self) -> None:
        """Its place is its id, which it keeps when it is delisted: an order would have been for another coin."""
        known = self.venue.instruments()
        universe: Any = self.server.info.meta({})["universe"]
        place = [one["name"] for one in universe].index(ETH)
        swapped = [*universe[: place - 1], universe[place], universe[place - 1], *universe[place + 1 :]]
        for rows in ([], universe[1:], universe[:3], swapped):
            with self.subTest(coins=len(rows)):
                self.clock.advance(301)
                self.server.faults.say({"universe": rows}, only="meta")
                self.assertEqual(self.venue.instruments(), known)
                (report,) = self.venue.submit([self.an_order(quantity="0.1")])
                self.assertIs(report.status, OrderStatus.FILLED, report)
        self.assertEqual(self.held(ETH), Decimal("0.4"))
        self.server.faults.say({"universe": []}, only="meta")
        with self.assertRaises(VenueUnavailable):
            self.opened().instruments()

    def test_a_book_without_any_mark_is_no_price_and_both_are_asked_for_again(self) -> None:
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "metaAndAssetCtxs", None))
        for _ in range(2):
            with self.assertRaises(VenueUnavailable):
                self.venue.quotes([ETH])
        self.server.faults.lift()
        self.assertEqual({ETH}, set(self.venue.quotes([ETH])))

    def test_polled_prices_are_kept_for_a_second_and_marks_for_three(self) -> None:
        for _ in range(3):
            quote = self.venue.quotes([ETH])[ETH]
            self.venue.depths([ETH])
        self.assertEqual((quote.mark, quote.taken_at), (3000, self.clock.now()))
        self.assertEqual((self.server.info.calls["l2Book"], self.server.info.calls["metaAndAssetCtxs"]), (1, 1))
        self.clock.advance(1.5)
        later = self.venue.quotes([ETH, SOL])[ETH]
        self.assertEqual([self.clock.now(), quote.marked_at], [later.taken_at, later.marked_at])
        self.assertEqual((self.server.info.calls["l2Book"], self.server.info.calls["metaAndAssetCtxs"]), (3, 1))
        self.clock.advance(2)
        self.venue.quotes([ETH])
        self.assertEqual(self.server.info.calls["metaAndAssetCtxs"], 2)

    def test_a_coin_that_cannot_be_read_is_left_out_while_another_can(self) -> None:
        self.venue.instruments()
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "l2Book ETH", None))
        self.assertEqual(set(self.venue.quotes([ETH, SOL])), {SOL})
        self.clock.advance(61)
        self.server.faults.down(INFO)
        with self.assertRaises(VenueUnavailable):
            self.venue.quotes([ETH, SOL])

    def test_a_coin_without_a_mark_leaves_the_others_theirs(self) -> None:
        answer: Any = self.server.info.answer({"type": "metaAndAssetCtxs"})
        answer[1][[one["name"] for one in answer[0]["universe"]].index(ETH)]["markPx"] = None
        self.server.faults.say(answer, only="metaAndAssetCtxs")
        self.assertEqual(set(self.venue.quotes([ETH, SOL])), {SOL})

    def test_a_price_that_cannot_be_read_is_told_as_it_was_seen_last_for_a_minute(self) -> None:
        seen_at = self.clock.now()
        before = self.venue.quotes([ETH, SOL])
        self.exchange.set_market(ETH, "3100")
        self.server.faults.down(INFO)
        for seconds in (5, 45):
            self.clock.advance(seconds)
            self.assertEqual(before, self.venue.quotes([ETH, SOL]))
            self.assertEqual(seen_at, self.venue.depths([ETH])[ETH].taken_at)
        self.clock.advance(15)
        with self.assertRaises(VenueUnavailable):
            self.venue.quotes([ETH, SOL])
        self.server.faults.lift()
        quote = self.venue.quotes([ETH])[ETH]
        self.assertEqual((3100, self.clock.now()), (quote.mark, quote.taken_at))

    def test_a_price_seen_before_the_clock_was_set_back_is_not_told(self) -> None:
        """It would be of later than now, and so pass for fresh with everybody until the clock is there again."""
        self.venue.quotes([ETH])
        self.server.faults.down(INFO)
        self.clock.advance(-600)
        with self.assertRaises(VenueUnavailable):
            self.venue.quotes([ETH])

    def test_a_side_without_orders_is_a_depth_but_no_quote(self) -> None:
        self.exchange.set_market(ETH, bids=[], asks=[("3001", "5")])
        self.assertEqual(self.venue.quotes([ETH]), {})
        self.assertEqual((self.venue.depths([ETH])[ETH].bids, len(self.venue.depths([ETH])[ETH].asks)), ((), 1))
        self.exchange.set_market(SOL, bids=[("199", "5")], asks=[])
        self.assertEqual(self.venue.quotes([SOL]), {})

    def test_a_coin_of_which_there_is_no_book_is_left_out(self) -> None:
        self.server.faults.say(None, only="l2Book SOL")
        self.assertEqual(set(self.venue.quotes([ETH, SOL])), {ETH})

    def test_a_quote_is_the_best_of_both_sides(self) -> None:
        self.exchange.set_market(ETH, bids=[("2999", "1"), ("2990", "5")], asks=[("3001", "1"), ("3010", "5")])
        quote = self.venue.quotes([ETH])[ETH]
        self.assertEqual((quote.bid, quote.ask), (2999, 3001))

    def test_a_read_outlives_a_connection_that_died_in_idleness(self) -> None:
        self.venue.account()
        self.server.drop_connections()
        self.clock.advance(1)
        self.assertEqual(self.venue.account().equity, 100_000)

    def test_a_read_is_repeated_after_a_gateway_s_trouble_but_not_after_429(self) -> None:
        for answer in (Answer.BAD_GATEWAY, Answer.SERVER_ERROR, Answer.CLOSED):
            with self.subTest(answer=answer):
                self.clock.advance(1)
                self.server.faults.reply(answer, INFO, times=3)
                self.assertEqual(self.venue.account().equity, 100_000)
        self.clock.advance(1)
        self.server.faults.reply(Answer.TOO_MANY, INFO)
        with self.assertRaises(VenueUnavailable):
            self.venue.account()
        self.server.faults.reply(Answer.GARBAGE, INFO)
        with self.assertRaises(VenueUnavailable):
            self.venue.account()

    def test_candles_are_read_oldest_first(self) -> None:
        end = self.clock.now()
        bars = self.venue.candles(ETH, CandleInterval.HOUR, end - timedelta(hours=3), end)
        self.assertEqual([one.opened_at for one in bars], sorted(one.opened_at for one in bars))
        self.assertGreaterEqual(len(bars), 3)
        self.assertEqual(bars[-1].close, 3000)

    def test_bars_that_are_kept_serve_for_what_they_hold_and_for_a_minute(self) -> None:
        self.clock.advance(1800)
        end = self.clock.now()
        start = end - timedelta(hours=30)

        def read(start: datetime, end: datetime) -> bool:
            """Was the venue asked. What is told is what it says now, but for the bar that is still forming."""
            asked = self.server.info.calls.get("candleSnapshot", 0)
            bars = self.venue.candles(ETH, CandleInterval.HOUR, start, end)
            again = self.server.info.calls.get("candleSnapshot", 0) > asked
            fresh = self.opened().candles(ETH, CandleInterval.HOUR, start, end)
            self.assertEqual([one.opened_at for one in bars], [one.opened_at for one in fresh])
            return again

        self.assertTrue(read(start, end))
        self.assertFalse(read(start, end))
        self.assertFalse(read(start + timedelta(hours=5), end))
        self.assertTrue(read(start - timedelta(hours=1), end))
        self.assertTrue(read(start, end - timedelta(hours=3)))
        self.assertTrue(read(start, end))
        self.clock.advance(59)
        self.assertFalse(read(start, self.clock.now()))
        self.clock.advance(2)
        self.assertTrue(read(start, self.clock.now()))
        self.clock.advance(1800 - 61 - 10)
        self.assertTrue(read(start, self.clock.now()))
        self.clock.advance(20)
        self.assertTrue(read(start, self.clock.now()), "a bar has begun since")


class Listening(HyperliquidWorld):
    def setUp(self) -> None:
        super().setUp()
        self.venue = self.opened(streams=True)
        self.venue.quotes([ETH])
        wait_until(lambda: self.venue.stream_alive, "the stream")
        self.venue.quotes([ETH])

    def polls(self) -> int:
        return self.server.info.calls.get("l2Book", 0)

    def test_streamed_coins_are_not_polled(self) -> None:
        polls = self.polls()
        self.exchange.set_market(ETH, "3100")
        self.server.streams.publish_markets()
        wait_until(lambda: self.venue.quotes([ETH])[ETH].mid > 3090, "the new price")
        self.assertGreater(self.venue.depths([ETH])[ETH].bids[0].price, 3090)
        self.assertEqual(self.polls(), polls)

    def test_while_the_stream_is_cut_prices_are_polled(self) -> None:
        self.server.streams.refuses = True
        self.server.streams.cut()
        wait_until(lambda: not self.venue.stream_alive, "the cut")
        self.exchange.set_market(ETH, "3200")
        self.clock.advance(2)
        self.assertGreater(self.venue.quotes([ETH])[ETH].mid, 3190)

    def test_a_confirmation_that_is_too_old_is_polled_over(self) -> None:
        self.server.streams.silent = True
        self.exchange.set_market(ETH, "3300")
        self.clock.advance(3)
        quote = self.venue.quotes([ETH])[ETH]
        self.assertGreater(quote.mid, 3290)
        self.assertEqual(quote.taken_at, self.clock.now())


class Clocks(HyperliquidWorld):
    def behind(self, seconds: float) -> hyperliquid.HyperliquidVenue:
        """A desk whose clock is that far behind the venue's."""
        self.own = FakeClock(self.clock.now() - timedelta(seconds=seconds))
        return self.opened(clock=self.own)

    def test_the_skew_is_measured_from_the_venue_s_own_time(self) -> None:
        for seconds in (-3.0, 0.0, 1.5):
            skew = self.behind(seconds).clock_skew()
            self.assertEqual((skew.ahead.total_seconds(), skew.uncertain.total_seconds()), (seconds, 0))

    def test_of_two_measures_that_cannot_both_be_true_the_later_time_is(self) -> None:
        """By as much as each may be wrong: an answer that took four seconds says little."""
        began, second = self.clock.now(), timedelta(seconds=1)

        def measured(first: tuple[float, float], then: tuple[float, float]) -> Skew:
            """What is believed after two answers, each so long under way and stamped so far from its middle."""
            api = self.opened()._api
            for seconds, ahead in (first, then):
                skew = api.saw_venue_time(began + (seconds / 2 + ahead) * second, began, began + seconds * second)
            return skew

        quick, slow = (0.0, 0.0), (4.0, 0.0)
        self.assertEqual(measured(quick, (4.0, -2.4)), Skew(-2.4 * second, 2 * second))
        self.assertEqual(measured(quick, (4.0, -2.6)), Skew(0 * second, 0 * second))
        self.assertEqual(measured(slow, (0.0, -2.4)), Skew(-2.4 * second, 0 * second))
        self.assertEqual(measured(slow, (0.0, -2.6)), Skew(0 * second, 2 * second))
        self.assertEqual(measured(quick, (0.0, 9.0)), Skew(9 * second, 0 * second))

    def test_a_skew_that_is_not_sure_corrects_nothing(self) -> None:
        for ahead, uncertain, correction in ((2.5, 1.0, 0.0), (-2.5, 1.0, 0.0), (-3.5, 1.0, -3.5), (3.5, 1.0, 3.5)):
            skew = Skew(timedelta(seconds=ahead), timedelta(seconds=uncertain))
            self.assertEqual(skew.correction.total_seconds(), correction)

    def test_above_two_seconds_entries_are_refused_before_sending_and_closes_go(self) -> None:
        self.venue.submit([self.an_order(quantity="1")])
        sent = self.actions("order")
        for seconds in (3.0, -3.0):
            with self.subTest(seconds=seconds):
                desk = self.behind(seconds)
                (report,) = desk.submit([self.an_order()])
                self.assertEqual((report.status, report.reason), (REJECTED, RejectReason.OTHER))
                self.assertIn("clock skew", report.detail)
                self.assertEqual(self.actions("order"), sent)
                with self.assertRaisesRegex(VenueUnavailable, "too far apart"):
                    desk.require_room()
        desk = self.behind(3.0)
        (report,) = desk.submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])
        self.assertIs(report.status, FILLED)
        self.assertEqual(0, self.venue.meter.limit)
        self.venue.require_room()

    def test_a_close_lives_by_the_venue_s_clock_however_wrong_ours_is(self) -> None:
        for seconds in (30.0, -30.0, 3.0):
            with self.subTest(seconds=seconds):
                self.venue.submit([self.an_order(quantity="1")])
                desk = self.behind(seconds)
                order = self.an_order(ETH, Side.SELL, "1", reduce_only=True, seconds=5)
                late = timedelta(seconds=seconds)
                ours = replace(order, intended_at=order.intended_at - late, expires_at=order.expires_at - late)
                (report,) = desk.submit([ours])
                self.assertIs(report.status, FILLED)
                self.assertEqual(self.exchange.received[-1].expires_after, milliseconds(order.expires_at))

    def test_a_clock_that_is_wrong_by_days_stops_no_close_and_nothing_afterwards(self) -> None:
        """The venue takes nonces from two days behind its clock to one day ahead."""
        self.venue.submit([self.an_order(quantity="3")])
        self.clock.advance(1)
        for days in (3, -2, 0):
            with self.subTest(days=days):
                order = self.an_order(ETH, Side.SELL, "1", reduce_only=True, seconds=5)
                late = timedelta(days=days)
                ours = replace(order, intended_at=order.intended_at - late, expires_at=order.expires_at - late)
                desk = self.behind(late.total_seconds())
                nonces = next(self.folder.glob("hyperliquid-*/*.nonce"))
                if days > 0:
                    nonces.unlink()
                (report,) = desk.submit([ours])
                self.assertIs(report.status, FILLED)
                sent_at = desk.sent_at(order.client_order_id)
                assert sent_at is not None
                self.assertLess(abs(sent_at - ours.intended_at), timedelta(seconds=1))
        (report,) = self.venue.submit([self.an_order()])
        self.assertIs(report.status, FILLED)

    def test_nonces_of_a_clock_that_was_days_ahead_stop_nothing_once_it_is_right(self) -> None:
        self.venue.submit([self.an_order(quantity="1")])
        self.clock.advance(1)
        nonces = next(self.folder.glob("hyperliquid-*/*.nonce"))
        nonces.write_text(f"{milliseconds(self.clock.now() + timedelta(days=2)):020}", encoding="ascii")
        (report,) = self.opened().submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])
        self.assertIs(report.status, FILLED)

    def test_what_is_to_rest_has_its_time_by_the_venue_s_clock_too(self) -> None:
        desk = self.behind(30.0)
        self.venue.submit([self.an_order(quantity="1")])
        price, limit = Price(Decimal(2500)), Price(Decimal(2400))
        name = ClientOrderId("0x" + "5" * 32)
        stop = RestingOrder(name, ETH, Side.SELL, Quantity(Decimal(1)), price, limit, TriggerKind.STOP)
        (report,) = desk.place_resting([stop], self.own.now() + timedelta(seconds=10))
        self.assertIs(report.status, RestingStatus.RESTING)

    def test_a_clock_that_was_set_is_measured_anew(self) -> None:
        desk = self.behind(30.0)
        self.assertEqual(desk.clock_skew().ahead, timedelta(seconds=30))
        self.own.instant += timedelta(seconds=29)
        self.assertEqual(desk.clock_skew().ahead, timedelta(seconds=1))

    def test_the_absence_of_a_close_waits_for_the_expiry_that_it_was_sent_with(self) -> None:
        """Also where the clock has been set right meanwhile, and in a process that did not send it."""
        self.venue.submit([self.an_order(quantity="1")])
        desk, late = self.behind(30.0), timedelta(seconds=30)
        order = self.an_order(ETH, Side.SELL, "1", reduce_only=True, seconds=5)
        ours = replace(order, intended_at=order.intended_at - late, expires_at=order.expires_at - late)
        self.server.faults.add(Fault(EXCHANGE, Answer.CLOSED, Commit.NEVER, "order", 1))
        self.server.faults.add(Fault(EXCHANGE, Answer.CLOSED, Commit.NEVER, "noop", None))
        (report,) = desk.submit([ours])
        self.assertIs(report.status, OrderStatus.UNKNOWN)
        self.own.instant = self.clock.now()
        for ended, status in ((9.0, OrderStatus.UNKNOWN), (2.0, OrderStatus.ABSENT)):
            self.clock.advance(ended)
            self.own.advance(ended)
            for asked in (desk, self.opened()):
                self.assertIs(asked.reports([ours])[0].status, status)

    def test_above_one_second_there_is_a_warning(self) -> None:
        (report,) = self.behind(1.5).submit([self.an_order()])
        self.assertIs(report.status, FILLED)
        self.assertIn("this machine's clock and the venue's are apart", self.log.messages("warning"))

    def test_absence_goes_by_the_venue_s_clock_not_by_ours(self) -> None:
        desk = self.behind(100.0)
        order = self.an_order()
        self.own.advance(100)
        self.clock.advance(14)
        (report,) = desk.reports([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)

    def test_nor_may_ours_that_is_ahead_make_it_earlier(self) -> None:
        desk = self.behind(-100.0)
        self.own.advance(14)
        self.clock.advance(14)
        (report,) = desk.reports([self.an_order(seconds=-1)])
        self.assertIs(report.status, OrderStatus.UNKNOWN)

    def test_what_is_not_sure_of_the_clock_delays_it(self) -> None:
        order = self.an_order()
        self.clock.advance(17)
        unsure = Skew(timedelta(0), timedelta(seconds=3))
        with mock.patch.object(self.venue._api, "skew", return_value=unsure):
            for seconds, status in ((0, OrderStatus.UNKNOWN), (2, OrderStatus.ABSENT)):
                self.clock.advance(seconds)
                self.assertIs(self.venue.reports([order])[0].status, status)

    def test_fills_since_an_instant_of_ours_are_those_since_then_by_the_venue_s_clock(self) -> None:
        for seconds in (50.0, -50.0):
            with self.subTest(seconds=seconds):
                self.venue.submit([self.an_order()])
                self.clock.advance(30)
                desk = self.behind(seconds)
                since = self.own.now()
                self.clock.advance(30)
                self.own.advance(30)
                (report,) = self.venue.submit([self.an_order()])
                (fill,) = desk.account_fills(since)
                self.assertEqual((fill.quantity, fill.filled_at), (report.filled, report.filled_at))
                unsure = Skew(timedelta(seconds=seconds), timedelta(seconds=31))
                with mock.patch.object(desk._api, "skew", return_value=unsure):
                    self.assertEqual(len(desk.account_fills(since)), 2)
                self.clock.advance(100)

    def test_a_venue_whose_clock_cannot_be_read_gets_no_entry_but_a_close(self) -> None:
        self.venue.submit([self.an_order(quantity="1")])
        self.clock.advance(60)
        sent = self.actions("order")
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "exchangeStatus", None))
        (report,) = self.venue.submit([self.an_order()])
        self.assertEqual((report.status, self.actions("order")), (REJECTED, sent))
        self.assertIn("nothing was sent", report.detail)
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])
        self.assertNotEqual(report.status, REJECTED)
        self.assertEqual((self.actions("order"), self.held(ETH)), (sent + 1, 0))


class Behind(HyperliquidWorld):
    """Some of the exchange's servers are seconds behind: their answers have the right shape and are of before."""

    def setUp(self) -> None:
        super().setUp()
        self.venue.submit([self.an_order(quantity="1")])
        self.clock.advance(60)

    def late(self, kind: str, seconds: float, **more: str) -> object:
        """What *kind* was answered with *seconds* ago, which is what the next one is answered with. Time passes."""
        answer = self.server.info.answer({"type": kind, **more})
        self.clock.advance(seconds)
        self.venue.clock_skew()
        self.server.faults.say(answer, only=kind)
        return answer

    def test_an_account_of_before_is_none(self) -> None:
        self.late("clearinghouseState", 2.5, user=MASTER)
        with self.assertRaisesRegex(VenueUnavailable, "seconds behind, and told the account as it was at 12:01:00"):
            self.venue.account()
        before = self.server.info.calls["clearinghouseState"]
        with self.assertRaisesRegex(VenueUnavailable, "seconds behind"):
            self.venue.account()
        self.assertEqual(self.server.info.calls["clearinghouseState"], before, "it would cost the minute's budget")
        self.clock.advance(0.3)
        self.assertEqual(self.venue.account().held(ETH), 1)

    def test_one_that_may_be_of_now_is_one_where_the_clock_is_not_sure(self) -> None:
        self.late("clearinghouseState", 2.5, user=MASTER)
        unsure = Skew(timedelta(0), timedelta(seconds=3))
        with mock.patch.object(self.venue._api, "last_skew", return_value=unsure):
            self.assertEqual(self.venue.account().held(ETH), 1)

    def test_one_of_a_moment_ago_is_one_also_where_the_answer_takes_its_time(self) -> None:
        self.late("clearinghouseState", 1.9, user=MASTER)
        self.assertEqual(self.venue.account().held(ETH), 1)
        self.clock.advance(1)
        read = self.venue._api._peer.post

        def slowly(*asked: Any) -> object:
            answer = read(*asked)
            self.clock.advance(3)
            return answer

        with mock.patch.object(self.venue._api._peer, "post", slowly):
            self.assertEqual(self.venue.account().held(ETH), 1)

    def test_a_late_server_does_not_set_the_clock_by_which_a_close_expires(self) -> None:
        for kind, more in (("clearinghouseState", {"user": MASTER}), ("exchangeStatus", {})):
            with self.subTest(kind):
                self.late(kind, 40, **more)
                with suppress(VenueUnavailable):
                    self.venue.account()
                self.assertEqual(self.venue.clock_skew().ahead, timedelta(0))
                self.venue.require_room()
                (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "0.4", reduce_only=True, seconds=5)])
                self.assertIs(report.status, FILLED, report)

    def test_one_that_is_late_is_not_asked_for_the_time_again_and_again(self) -> None:
        status = self.server.info.answer({"type": "exchangeStatus"})
        self.clock.advance(31)
        self.server.faults.say(status, only="exchangeStatus", times=None)
        before = self.server.info.calls["exchangeStatus"]
        for _ in range(3):
            self.assertEqual(self.venue.clock_skew().ahead, timedelta(0))
        self.assertEqual(self.server.info.calls["exchangeStatus"], before)
        self.assertEqual(self.server.faults.met.count(self.server.faults.met[-1]), 1)

    def test_when_all_have_said_so_for_ten_minutes_it_is_the_clock(self) -> None:
        self.venue.clock_skew()
        late = milliseconds(self.clock.now()) - 40_000
        for seconds, ahead in ((580, 0), (31, -40)):
            self.clock.advance(seconds)
            late += seconds * 1000
            self.server.faults.say({"time": late, "specialStatuses": None}, only="exchangeStatus")
            self.assertEqual(self.venue.clock_skew().ahead.total_seconds(), ahead)

    def test_a_desk_that_has_begun_beside_a_late_server_is_put_right_by_another(self) -> None:
        self.late("clearinghouseState", 40, user=MASTER)
        desk = self.opened()
        desk.account()
        self.assertEqual(desk.clock_skew().ahead.total_seconds(), -40)
        self.clock.advance(1)
        desk.account()
        self.assertEqual(desk.clock_skew().ahead.total_seconds(), 0)

    def test_a_book_of_before_is_a_price_of_then(self) -> None:
        told_at = self.clock.now()
        self.late("l2Book", 2.5, coin=SOL)
        self.assertEqual(self.venue.quotes([SOL])[SOL].taken_at, told_at)
        # Nor is it kept: the next look asks again.
        self.assertEqual(self.venue.quotes([SOL])[SOL].taken_at, self.clock.now())

    def test_a_book_of_before_what_was_seen_last_is_none(self) -> None:
        before = self.server.info.answer({"type": "l2Book", "coin": SOL})
        self.clock.advance(1)
        self.venue.quotes([SOL])
        seen_at = self.clock.now()
        self.clock.advance(2.5)
        self.venue.clock_skew()
        self.server.faults.say(before, only="l2Book")
        self.assertEqual(self.venue.quotes([SOL])[SOL].taken_at, seen_at)

    def test_the_book_of_another_coin_is_none_of_this_one(self) -> None:
        self.server.faults.say(self.server.info.answer({"type": "l2Book", "coin": ETH}), only="l2Book")
        with self.assertRaisesRegex(VenueUnavailable, "asked for the book of SOL and told that of ETH"):
            self.venue.quotes([SOL])


class Budget(HyperliquidWorld):
    weight = 1200

    def test_what_is_asked_is_counted_as_the_venue_counts_it(self) -> None:
        self.server.weight_limit = 10_000
        self.venue.account()
        self.venue.quotes([ETH, SOL])
        self.venue.submit([self.an_order()])
        self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.venue.meter.used(), self.server.weight_used)

    def test_rows_are_counted_as_the_venue_counts_them(self) -> None:
        since = self.clock.now()
        self.clock.advance(1)
        row = {"time": milliseconds(self.clock.now()), "hash": "0x0"}
        fill = {"coin": "ETH", "px": "1", "sz": "1", "side": "B", "fee": "0", "oid": 1, **row}
        paid = {"type": "funding", "coin": "ETH", "usdc": "-1", "szi": "1"}
        self.server.faults.say([{**fill, "tid": number} for number in range(40)], only="userFillsByTime")
        self.server.faults.say([{**row, "delta": paid}] * 40, only="userFunding")
        moved = [{**row, "delta": {"type": "deposit", "usdc": "1", "nonce": number}} for number in range(40)]
        self.server.faults.say(moved, only="userNonFundingLedgerUpdates", times=2)
        self.venue.clock_skew()
        self.venue.unified()
        hour = self.clock.now().replace(minute=0, second=0, microsecond=0)
        for read, weight in (
            (lambda: self.venue.account_fills(since), 22),
            (lambda: self.venue.funding([ETH], hour - timedelta(hours=1), hour), 22),
            (lambda: self.venue.transferred(since), 44),
        ):
            before = self.venue.meter.used()
            read()
            self.assertEqual(self.venue.meter.used() - before, weight)

    def test_each_read_may_use_as_much_of_it_as_what_it_is_for(self) -> None:
        since = self.clock.now()
        self.clock.advance(400)
        asks: dict[Lane, tuple[Any, ...]] = {
            Lane.ORDINARY: (
                lambda: self.venue.candles(ETH, CandleInterval.MINUTE, since, self.clock.now()),
                lambda: self.venue.funding([ETH], since - timedelta(hours=1), since),
                self.venue.agents,
                self.venue.learn_fees,
                lambda: self.venue.builder_fee(MASTER),
            ),
            Lane.WATCH: (self.venue.clock_skew, self.venue.resting, lambda: self.venue.transferred(since)),
            Lane.LOOK: (self.venue.account, lambda: self.opened().instruments()),
            Lane.CLOSE: (lambda: self.venue.account_fills(since),),
        }
        places = list(Lane)
        for place, used in enumerate((800, 940, 1070, 1140)):
            for lane, reads in asks.items():
                for number, read in enumerate(reads):
                    with self.subTest(used=used, lane=lane, number=number):
                        self.clock.advance(120)
                        self.venue.instruments()
                        if lane is not Lane.WATCH or number:
                            self.venue.clock_skew()
                        self.venue.unified()
                        self.venue.meter.charge(used - self.venue.meter.used())
                        if places.index(lane) >= place:
                            read()
                        else:
                            with self.assertRaises(VenueUnavailable):
                                read()

    def test_a_spent_budget_refuses_openings_before_sending_and_lets_closes_pass(self) -> None:
        self.venue.submit([self.an_order(quantity="1")])
        sent = self.actions("order")
        self.venue.meter.charge(900 - self.venue.meter.used())
        (report,) = self.venue.submit([self.an_order()])
        self.assertEqual((report.status, report.reason), (REJECTED, RejectReason.RATE_LIMIT))
        self.assertEqual(self.actions("order"), sent)
        self.assertEqual(self.venue.account().held(ETH), 1)
        self.venue.meter.charge(1050 - self.venue.meter.used())
        self.clock.advance(1)
        with self.assertRaises(VenueUnavailable):
            self.venue.reports([self.an_order()])
        self.assertEqual(self.venue.account().held(ETH), 1)
        self.assertIn(ETH, self.venue.quotes([ETH]))
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])
        self.assertIs(report.status, FILLED)
        self.assertEqual(self.held(ETH), 0)

    def test_without_a_meter_a_close_can_still_see_what_is_to_be_closed(self) -> None:
        """On a disk that takes no change any more the account could not be read, and so an emergency stop did
        nothing."""
        self.venue.submit([self.an_order(quantity="1")])
        spoilt = self.opened()
        path = self.folder / f"hyperliquid-{spoilt.network}.weight"
        path.unlink()
        path.mkdir()
        self.assertEqual(spoilt.account().held(ETH), 1)
        self.assertIn(ETH, spoilt.quotes([ETH]))
        self.assertIs(FILLED, spoilt.submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])[0].status)
        (report,) = spoilt.submit([self.an_order()])
        self.assertEqual((report.status, report.reason), (REJECTED, RejectReason.RATE_LIMIT))

    def test_the_fuller_the_budget_the_more_seldom_account_and_prices_are_read(self) -> None:
        for used, expected in ((0, (10, 10, 3)), (450, (10, 4, 2)), (700, (5, 3, 1)), (1000, (2, 2, 1))):
            with self.subTest(used=used):
                self.clock.advance(120)
                self.venue.account()
                self.venue.quotes([ETH])
                self.venue.meter.charge(used - self.venue.meter.used())
                before = dict(self.server.info.calls)
                for _ in range(10):
                    self.clock.advance(1)
                    self.venue.account()
                    self.venue.quotes([ETH])
                calls = self.server.info.calls
                read = tuple(
                    calls[name] - before[name] for name in ("clearinghouseState", "l2Book", "metaAndAssetCtxs")
                )
                self.assertLessEqual(read, expected)
                self.assertGreater(read[0], 0)

    def test_when_even_that_is_spent_what_was_read_before_serves_with_its_age_and_a_close_still_goes_out(self) -> None:
        self.venue.submit([self.an_order()])
        seen, account = self.venue.quotes([ETH])[ETH].taken_at, self.venue.account()
        self.clock.advance(5)
        self.venue.meter.charge(1170 - self.venue.meter.used())
        self.assertEqual(self.venue.quotes([ETH])[ETH].taken_at, seen)
        self.assertEqual(self.venue.account(), account)
        self.clock.advance(6)
        with self.assertRaises(VenueUnavailable):
            self.venue.account()
        (report,) = self.venue.submit([self.an_order(side=Side.SELL, reduce_only=True)])
        self.assertEqual(report.status, OrderStatus.FILLED)

    def test_a_book_is_of_now_also_where_the_marks_are_too_dear(self) -> None:
        """An exit looks at the book, and the mark says how old it is."""
        marked_at = self.venue.quotes([ETH])[ETH].taken_at
        self.clock.advance(25)
        self.venue.meter.charge(1110 - self.venue.meter.used())
        quote = self.venue.quotes([ETH])[ETH]
        self.assertEqual((quote.taken_at, quote.marked_at), (self.clock.now(), marked_at))

    def test_a_close_of_a_process_that_has_just_started_goes_out_on_what_is_kept_for_closes(self) -> None:
        self.venue.submit([self.an_order()])
        later = self.opened()
        self.venue.meter.charge(1100 - self.venue.meter.used())
        (report,) = later.submit([self.an_order(side=Side.SELL, reduce_only=True)])
        self.assertEqual(report.status, OrderStatus.FILLED)

    def test_an_opening_is_told_beforehand_that_there_is_no_room(self) -> None:
        self.venue.require_room()
        self.venue.meter.charge(850)
        with self.assertRaises(VenueUnavailable):
            self.venue.require_room()

    def test_another_desk_on_this_machine_spends_from_the_same_budget(self) -> None:
        self.opened().account()
        self.assertGreater(self.venue.meter.used(), 0)

    def test_after_a_429_ordinary_requests_rest(self) -> None:
        self.server.faults.reply(Answer.TOO_MANY, EXCHANGE)
        self.venue.submit([self.an_order()])
        self.assertFalse(self.venue.meter.spend(1, Lane.ORDINARY))
        self.assertTrue(self.venue.meter.spend(1, Lane.WATCH))


class Refusals(HyperliquidWorld):
    def test_what_the_venue_would_refuse_as_a_whole_is_refused_here_and_names_the_culprit(self) -> None:
        cases = (
            (self.an_order(Coin("ETH"), limit="3000.123"), RejectReason.PRICE),
            (self.an_order(ETH, limit="NaN"), RejectReason.PRICE),
            (self.an_order(ETH, limit="-1"), RejectReason.PRICE),
            (self.an_order(quantity="0.00001"), RejectReason.SIZE),
            (self.an_order(quantity="0"), RejectReason.SIZE),
            (self.an_order(quantity="NaN"), RejectReason.SIZE),
            (self.an_order(MATIC), RejectReason.NOT_TRADABLE),
            (self.an_order(seconds=-1), RejectReason.EXPIRED),
        )
        for wrong, reason in cases:
            with self.subTest(reason=reason, order=wrong):
                reports = self.venue.submit([self.an_order(SOL), wrong])
                self.assertEqual([one.status for one in reports], [REJECTED, REJECTED])
                self.assertEqual([one.reason for one in reports], [RejectReason.OTHER, reason])
        self.assertEqual(len(self.exchange.received), 0)

    def test_a_coin_that_is_not_listed_is_refused_here(self) -> None:
        order = self.an_order()
        unlisted = replace(order, coin=Coin("NOSUCH"))
        (report,) = self.venue.submit([unlisted])
        self.assertEqual((report.status, report.reason), (REJECTED, RejectReason.NOT_TRADABLE))

    def test_a_venue_that_was_never_read_gets_nothing(self) -> None:
        self.server.faults.down(INFO)
        (report,) = self.venue.submit([self.an_order()])
        self.assertEqual((report.status, len(self.exchange.received)), (REJECTED, 0))
        self.assertIn("nothing was sent", report.detail)

    def test_without_a_nonce_nothing_is_sent(self) -> None:
        path = self.folder / "hyperliquid-local" / f"{self.venue.signer_address}.nonce"
        path.mkdir()
        (report,) = self.venue.submit([self.an_order()])
        self.assertEqual((report.status, len(self.exchange.received)), (REJECTED, 0))
        with self.assertRaises(VenueUnavailable):
            self.venue.set_leverage(ETH, 7)

    def test_a_close_goes_out_although_its_nonce_cannot_be_written_and_only_once(self) -> None:
        """A data directory that can only be read must not keep a holding from being closed."""
        self.venue.submit([self.an_order()])
        held = self.exchange.positions(MASTER)["ETH"]
        path = self.folder / "hyperliquid-local" / f"{self.venue.signer_address}.nonce"
        path.unlink()
        path.mkdir()
        self.clock.advance(1)
        sent = len(self.exchange.received)
        close = self.an_order(side=Side.SELL, reduce_only=True)
        (report,) = self.venue.submit([close])
        self.assertEqual((report.status, report.filled), (OrderStatus.FILLED, held))
        self.venue.submit([close])
        self.assertEqual(len(self.exchange.received), sent + 1)
        self.assertIn("NoncesUnwritten", [one.facts.get("event") for one in self.log.entries])
        (refused,) = self.venue.submit([self.an_order()])
        self.assertEqual(refused.status, REJECTED)

    def test_a_close_whose_register_another_process_holds_waits_for_it(self) -> None:
        self.venue.submit([self.an_order()])
        sent = len(self.exchange.received)
        with mock.patch.object(self.venue._signer.register, "known", side_effect=Busy("held")):
            (report,) = self.venue.submit([self.an_order(side=Side.SELL, reduce_only=True)])
        self.assertEqual((report.status, len(self.exchange.received)), (REJECTED, sent))

    def test_a_static_refusal_of_the_venue_is_everybody_s(self) -> None:
        words = hyperliquid._words({"status": "err", "response": "Order has invalid price."}, 2)
        self.assertEqual([type(one).__name__ for one in words], ["Refusal", "Refusal"])

    def test_an_order_that_rests_is_in_doubt(self) -> None:
        report = hyperliquid._report_of(self.an_order(), Working("resting"), self.clock.now())
        self.assertIs(report.status, OrderStatus.ACCEPTED)


class Asking(HyperliquidWorld):
    def test_doubt_is_asked_about_at_a_pace_that_slows_down(self) -> None:
        order = self.an_order(seconds=120)
        calls = []
        for _ in range(100):
            self.venue.reports([order])
            calls.append(self.server.info.calls["orderStatus"])
            self.clock.advance(0.1)
        self.assertLessEqual(calls[20], 8)
        self.assertLessEqual(calls[-1], 17)
        self.assertGreaterEqual(calls[-1], 12)

    def test_fills_are_read_only_where_there_may_be_some(self) -> None:
        order = self.an_order()
        self.venue.reports([order])
        self.assertNotIn("userFillsByTime", self.server.info.calls)

    def test_what_is_told_of_another_order_is_no_word_on_this_one(self) -> None:
        """It would be sent again beside the one that has landed."""
        other, order = self.an_order(quantity="0.1"), self.an_order()
        self.exchange.refuse_next(ETH, "Insufficient margin to place order.", "perpMarginRejected")
        self.venue.submit([other])
        self.server.faults.lose_after_commit("order")
        self.venue.submit([order])
        request = {"type": "orderStatus", "user": MASTER, "oid": other.client_order_id}
        self.server.faults.say(self.server.info.answer(request), only="orderStatus")
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 60_000, True
        with self.assertRaisesRegex(VenueUnavailable, "was asked about"):
            self.venue.reports([order])
        self.server.info.lag.milliseconds = 0
        (report,) = self.told([order])
        self.assertEqual((report.status, report.filled), (FILLED, order.quantity))

    def test_a_register_that_cannot_be_read_leaves_expiry_as_proof(self) -> None:
        order = self.an_order()
        self.server.faults.lose_before_commit("order")
        self.venue.submit([order])
        path = self.folder / "hyperliquid-local" / f"{self.venue.signer_address}.sent"
        path.unlink()
        path.mkdir()
        (report,) = self.venue.reports([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)
        self.clock.advance(16)
        (report,) = self.venue.reports([order])
        self.assertIs(report.status, OrderStatus.ABSENT)

    def test_a_noop_that_the_budget_or_the_venue_puts_off_is_sent_again(self) -> None:
        order = self.an_order()
        self.server.faults.lose_before_commit("order")
        self.venue.submit([order])
        refusal = Refusal(RejectReason.RATE_LIMIT, "nothing sent")
        with mock.patch.object(self.venue._api, "write", return_value=refusal):
            (report,) = self.venue.reports([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)
        self.clock.advance(1)
        (report,) = self.venue.reports([order])
        self.assertIs(report.status, OrderStatus.ABSENT)

    def test_a_repeated_submit_that_cannot_be_asked_about_is_unknown(self) -> None:
        order = self.an_order()
        self.venue.submit([order])
        self.server.faults.down(INFO)
        (report,) = self.venue.submit([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)

    def test_a_repeated_submit_after_expiry_is_told_what_became_of_the_first(self) -> None:
        order = self.an_order()
        self.venue.submit([order])
        self.clock.advance(60)
        (report,) = self.opened().submit([order])
        self.assertIs(report.status, FILLED)
        self.assertEqual(self.actions("order"), 1)

    def test_a_group_with_a_known_order_sends_only_the_fresh_one(self) -> None:
        first, second = self.an_order(ETH), self.an_order(SOL)
        self.venue.submit([first])
        reports = self.venue.submit([second, first, second])
        self.assertEqual([one.status for one in reports], [FILLED, FILLED, FILLED])
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.5"), Decimal("0.5")))

    def test_an_order_that_is_being_sent_elsewhere_is_unknown_and_not_sent(self) -> None:
        order = self.an_order()
        self.opened()._signer.register.claim([order.client_order_id])
        with mock.patch.object(self.venue._signer.register, "known", return_value=frozenset()):
            (report,) = self.venue.submit([order])
        self.assertEqual((report.status, self.actions("order")), (OrderStatus.UNKNOWN, 0))

    def test_memory_of_doubts_is_bounded(self) -> None:
        with mock.patch.object(hyperliquid, "REMEMBERED_MAX", 3):
            for _ in range(6):
                self.venue.reports([self.an_order()])
            self.assertEqual(len(self.venue._doubts), 3)

    def test_more_fills_of_one_instant_than_a_page_holds_are_not_called_all_of_them(self) -> None:
        """The page after it would begin at the same instant and be the same one."""
        began = self.clock.now()
        self.exchange.set_market(ETH, bids=[("2999", "5")], asks=[("3001", "0.1"), ("3002", "0.1"), ("3003", "9")])
        order = self.an_order(quantity="0.4")
        with mock.patch.object(info, "FILLS_MAX", 2), mock.patch.object(hyperliquid_reader, "FILLS_PAGE", 2):
            (report,) = self.venue.submit([order])
            self.assertIs(report.status, OrderStatus.ACCEPTED)
            with self.assertRaises(VenueUnavailable):
                self.venue.account_fills(began)
        (report,) = self.told([order])
        self.assertIs(report.status, FILLED)
        self.assertEqual(report.average_price, Decimal("3002.25"))
        with mock.patch.object(hyperliquid_reader, "PAGES_MAX", 0), self.assertRaises(VenueUnavailable):
            self.venue._fills_of([order], Lane.WATCH)

    def test_every_page_of_fills_is_read(self) -> None:
        began = self.clock.now()
        for _ in range(5):
            self.clock.advance(1)
            self.venue.submit([self.an_order(quantity="0.1")])
        with mock.patch.object(info, "FILLS_MAX", 2), mock.patch.object(hyperliquid_reader, "FILLS_PAGE", 2):
            self.assertEqual(len(self.venue.account_fills(began)), 5)


class Waiting(HyperliquidWorld):
    def test_a_price_that_hangs_keeps_nobody_from_the_others_and_is_waited_for_once(self) -> None:
        self.venue.quotes([ETH, SOL])
        self.clock.advance(61)
        self.server.faults.add(Fault(INFO, Answer.HANGS, only="l2Book ETH", times=None, seconds=60))
        with mock.patch.object(self.venue._polls, "patience", Patience(others=1, alone=20)):
            began = time.monotonic()
            for _ in range(12):
                self.assertEqual(set(self.venue.quotes([ETH, SOL])), {SOL})
                self.clock.advance(1.5)
            self.assertLess(time.monotonic() - began, 12 * 1 / 2)
            with self.assertRaises(VenueUnavailable):
                self.venue.quotes([ETH])

    def test_marks_that_hang_are_those_known_for_everybody_but_who_asks_for_them(self) -> None:
        self.venue.quotes([ETH, SOL])
        self.clock.advance(4)
        self.server.faults.hang(2.5, INFO, only="metaAndAssetCtxs")
        with mock.patch.object(self.venue._polls, "patience", Patience(others=0.2, alone=0.2)):
            quotes = self.venue.quotes([ETH, SOL])
        self.assertEqual(1, sum(one.taken_at == self.clock.now() for one in quotes.values()))

    def test_a_read_that_hangs_holds_up_no_close(self) -> None:
        self.venue.submit([self.an_order(quantity="1")])
        self.clock.advance(301)
        self.venue.clock_skew()
        hung = [self.server.faults.hang(0.5, INFO, only=kind) for kind in ("meta", "metaAndAssetCtxs")]
        readers = [threading.Thread(target=self.reading, args=(one,)) for one in ("instruments", "quotes")]
        for one in readers:
            one.start()
        wait_until(lambda: len(self.server.faults.met) == len(hung), "two reads that hang")
        (report,) = self.venue.submit([self.an_order(ETH, Side.SELL, "1", reduce_only=True)])
        self.assertIs(report.status, FILLED)
        self.assertTrue(all(one.is_alive() for one in readers))
        for one in readers:
            one.join()

    def reading(self, what: str) -> None:
        if what == "instruments":
            self.venue.instruments()
        else:
            self.venue._mark(ETH)

    def test_who_has_no_value_yet_waits_for_the_one_that_is_being_read(self) -> None:
        self.server.faults.delay(0.1, INFO, only="meta")
        found: list[int] = []
        readers = [threading.Thread(target=lambda: found.append(len(self.venue.instruments()))) for _ in range(3)]
        for one in readers:
            one.start()
        for one in readers:
            one.join()
        self.assertEqual((len(found), len(set(found)), self.server.info.calls["meta"]), (3, 1, 1))

    def test_a_first_reading_that_fails_fails_for_all_who_wait_for_it(self) -> None:
        """Each read anew when its turn came: while the venue hung, the fifth waited for fifteen seconds."""
        ends, reads, told = threading.Event(), list[int](), list[str]()
        self.addCleanup(ends.set)

        def read() -> int:
            reads.append(1)
            ends.wait()
            raise VenueUnavailable("no")

        def get() -> None:
            try:
                kept.get(60.0)
            except VenueUnavailable as error:
                told.append(error.detail)

        kept = hyperliquid_reader._Kept("lists", self.clock, 15.0, read)
        readers = [threading.Thread(target=get) for _ in range(4)]
        with mock.patch.object(kept._first, "_wait", wraps=kept._first._wait) as waiting:
            for one in readers:
                one.start()
            wait_until(lambda: waiting.call_count == len(readers), "all who wait")
            ends.set()
            for one in readers:
                one.join()
        self.assertEqual(([1], len(readers)), (reads, len(told)))


class Leverage(HyperliquidWorld):
    def test_leverage_is_set_only_where_it_differs_and_as_cross(self) -> None:
        self.venue.set_leverage(ETH, 3)
        self.venue.set_leverage(ETH, 3)
        self.opened().set_leverage(ETH, 3)
        self.assertEqual(self.actions("updateLeverage"), 1)
        self.assertEqual(
            self.exchange.received[-1].action,
            {"type": "updateLeverage", "asset": 4, "isCross": True, "leverage": 3},
        )
        self.venue.submit([self.an_order()])
        self.assertEqual(self.venue.account().leverages, {ETH: 3})

    def test_an_isolated_one_of_the_same_height_is_set_to_cross(self) -> None:
        """What is opened with it would be liquidated on its own."""
        self.exchange.account(MASTER).leverages[ETH] = Leveraged(3, is_cross=False)
        self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.actions("updateLeverage"), 1)
        self.venue.submit([self.an_order()])
        self.assertEqual(self.venue.account().leverages, {ETH: 3})

    def test_a_refusal_carries_the_venue_s_words(self) -> None:
        self.assertTrue(self.venue.is_proven())
        self.exchange.revoke_agent(self.venue.signer_address)
        with self.assertRaises(VenueRejected) as caught:
            self.venue.set_leverage(ETH, 3)
        self.assertIn("does not exist", caught.exception.detail)
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(MATIC, 1)

    def test_an_unclear_answer_is_unavailable_and_not_asked_about_in_a_hurry(self) -> None:
        self.server.faults.lose_after_commit("updateLeverage")
        for _ in range(3):
            with self.assertRaises(VenueUnavailable):
                self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.server.info.calls["activeAssetData"], 1)
        self.clock.advance(1)
        self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.actions("updateLeverage"), 1)


class Freshness(HyperliquidWorld):
    def reads(self) -> int:
        return self.server.info.calls.get("clearinghouseState", 0)

    def test_an_account_is_a_fifth_of_a_second_old_at_most(self) -> None:
        for seconds, reads in ((0, 1), (0.1, 1), (0.2, 2)):
            self.clock.advance(seconds)
            self.venue.account()
            self.assertEqual(self.reads(), reads)

    def test_an_account_is_never_older_than_what_was_sent(self) -> None:
        self.venue.account()
        self.venue.submit([self.an_order()])
        self.assertEqual(self.venue.account().held(ETH), Decimal("0.5"))
        self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.venue.account().leverages, {ETH: 3})

    def test_an_account_is_no_younger_than_the_question(self) -> None:
        asked_at, read = self.clock.now(), self.venue._state

        def slowly(lane: Lane) -> PerpState:
            state = read(lane)
            self.clock.advance(8)
            return state

        with mock.patch.object(self.venue, "_state", slowly):
            self.assertEqual(self.venue.account().taken_at, asked_at)

    def test_an_account_that_was_being_read_while_something_was_sent_is_not_kept(self) -> None:
        self.venue.instruments()
        self.venue.clock_skew()
        self.venue.unified()
        fault = self.server.faults.delay(0.2, INFO, only="clearinghouseState")
        reader = threading.Thread(target=self.venue.account)
        reader.start()
        wait_until(lambda: fault in self.server.faults.met, "the read")
        self.venue.submit([self.an_order()])
        reader.join()
        self.assertEqual(self.venue.account().held(ETH), Decimal("0.5"))


class Money(HyperliquidWorld):
    def test_fills_fees_and_funding_explain_the_account_to_the_cent(self) -> None:
        start = self.venue.account().equity
        self.exchange.set_market(ETH, bids=[("2999", "50")], asks=[("3001.1", "0.3"), ("3002.3", "0.4"), ("3003", "9")])
        opened = self.venue.submit([self.an_order(ETH, Side.BUY, "0.9"), self.an_order(SOL, Side.SELL, "13.37")])
        self.clock.advance(2 * 3600)
        self.exchange.set_market(ETH, "3100")
        self.exchange.set_market(SOL, "190")
        closed = self.venue.submit(
            [
                self.an_order(ETH, Side.SELL, "0.9", reduce_only=True),
                self.an_order(SOL, Side.BUY, "13.37", reduce_only=True),
            ]
        )
        made = Decimal(0)
        for one, sign in zip((*opened, *closed), (-1, 1, 1, -1), strict=True):
            self.assertIs(one.status, FILLED)
            assert one.average_price is not None
            made += sign * one.filled * one.average_price - one.fees
        now = self.clock.now()
        payments = self.venue.funding([ETH, SOL], now - timedelta(hours=3), now)
        self.assertEqual(len(payments), 4)
        made -= sum((one.amount for one in payments), Decimal(0))
        self.assertLess(abs(self.venue.account().equity - start - made), Decimal("0.001"))
        self.assertEqual(dict(self.venue.account().holdings), {})

    def test_funding_is_positive_when_paid_and_read_page_by_page(self) -> None:
        self.venue.submit([self.an_order(ETH, Side.BUY, "1"), self.an_order(SOL, Side.SELL, "7")])
        start = self.clock.now()
        for _ in range(4):
            self.clock.advance(3600)
        with mock.patch.object(hyperliquid_reader, "ROWS_PAGE", 3), mock.patch.object(info, "ROWS_MAX", 3):
            payments = self.venue.funding([ETH, SOL], start, self.clock.now())
        self.assertEqual(len(payments), 8)
        self.assertTrue(all(one.amount > 0 for one in payments if one.coin == ETH))
        self.assertTrue(all(one.amount < 0 for one in payments if one.coin == SOL))
        with mock.patch.object(hyperliquid_reader, "PAGES_MAX", 0), self.assertRaises(VenueUnavailable):
            self.venue.funding([ETH], start, self.clock.now())

    def test_what_was_paid_in_and_out_is_told_and_trades_are_not(self) -> None:
        self.clock.advance(1)
        start = self.clock.now()
        self.assertEqual(self.venue.transferred(start), 0)
        for usd in ("500", "-120.5", "7"):
            self.clock.advance(1)
            self.exchange.transfer(MASTER, usd)
        self.venue.submit([self.an_order(ETH, Side.BUY, "1")])
        self.clock.advance(3600)
        self.assertEqual(self.venue.transferred(start), Decimal("386.5"))
        self.assertEqual(self.venue.transferred(start + timedelta(seconds=2)), Decimal(7))
        behind = self.opened(clock=FakeClock(self.clock.now() - timedelta(seconds=100)))
        self.assertEqual(behind.transferred(start - timedelta(seconds=100)), Decimal("386.5"))
        with mock.patch.object(hyperliquid_reader, "PAGES_MAX", 1), self.assertRaises(VenueUnavailable):
            self.venue.transferred(start)

    def test_every_page_of_transfers_is_read(self) -> None:
        start = self.clock.now()
        for _ in range(5):
            self.clock.advance(1)
            self.exchange.transfer(MASTER, "10")
        with mock.patch.object(info, "ROWS_MAX", 2):
            self.assertEqual(self.venue.transferred(start), Decimal(50))

    def test_of_a_unified_account_what_goes_to_spot_stays(self) -> None:
        start = self.clock.now()
        self.clock.advance(1)
        self.exchange.transfer(MASTER, "100", to_spot=True)
        self.assertEqual(self.venue.transferred(start), Decimal(-100))
        self.exchange.account(MASTER).abstraction = "unifiedAccount"
        self.assertEqual(self.opened().transferred(start), 0)

    def test_a_payment_counts_for_the_hour_it_was_stamped_just_after(self) -> None:
        self.venue.submit([self.an_order(ETH, Side.BUY, "1")])
        start = self.clock.now()
        self.clock.advance(3600)
        row = self.exchange.account(MASTER).fundings[-1]
        row["time"] = int(str(row["time"])) + 37
        (payment,) = self.venue.funding([ETH], start, self.clock.now())
        self.assertEqual(payment.paid_at, self.clock.now())
        self.assertEqual(self.venue.funding([ETH], payment.paid_at, self.clock.now() + timedelta(minutes=9)), ())

    def test_where_the_money_of_a_mode_that_is_not_known_is_nobody_says(self) -> None:
        self.exchange.account(MASTER).abstraction = "unifiedAccount"
        self.assertTrue(self.venue.unified())
        self.exchange.account(MASTER).abstraction = "somethingNew"
        with self.assertRaises(VenueUnavailable):
            self.opened().account()
        self.clock.advance(61)
        self.assertTrue(self.venue.unified())

    def test_each_hour_is_paid_for_once_and_each_coin_to_who_holds_it(self) -> None:
        self.venue.submit([self.an_order(ETH, Side.BUY, "1"), self.an_order(SOL, Side.SELL, "7")])
        start = self.clock.now()
        for _ in range(3):
            self.clock.advance(3600)
        for row in self.exchange.account(MASTER).fundings:
            row["time"] = int(str(row["time"])) + 37
        hours = [start + timedelta(hours=number) for number in range(4)]
        for since, until in itertools.pairwise(hours):
            self.assertEqual([one.paid_at for one in self.venue.funding([ETH], since, until)], [until])
        self.assertEqual({one.coin for one in self.venue.funding([SOL], start, hours[3])}, {SOL})

    def test_that_nothing_was_paid_for_an_hour_is_not_believed_for_minutes(self) -> None:
        """It is settled once: a server half a minute behind would have made its payment nobody's."""
        self.venue.submit([self.an_order(ETH, Side.BUY, "1")])
        start = self.clock.now()
        self.clock.advance(3600 + 31)
        until = start + timedelta(hours=1)
        self.server.faults.say([], only="userFunding")
        with self.assertRaisesRegex(VenueUnavailable, "may not be listed yet"):
            self.venue.funding([ETH], start, until)
        self.assertEqual(len(self.venue.funding([ETH], start, until)), 1)
        self.clock.advance(300)
        self.server.faults.say([], only="userFunding")
        self.assertEqual(self.venue.funding([ETH], start, until), ())

    def test_more_payments_of_one_instant_than_a_page_holds_are_not_called_all_of_them(self) -> None:
        self.venue.submit([self.an_order(ETH, Side.BUY, "1"), self.an_order(SOL, Side.SELL, "7")])
        start = self.clock.now()
        self.clock.advance(3600)
        for held, rows in ((3, 2), (2, None)):
            with mock.patch.object(hyperliquid_reader, "ROWS_PAGE", held), mock.patch.object(info, "ROWS_MAX", held):
                if rows is None:
                    with self.assertRaises(VenueUnavailable):
                        self.venue.funding([ETH, SOL], start, self.clock.now())
                else:
                    self.assertEqual(len(self.venue.funding([ETH, SOL], start, self.clock.now())), rows)

    def test_the_account_s_own_taker_fee_is_learned(self) -> None:
        self.exchange.account(MASTER).taker_fee = Decimal("0.000432")
        self.venue.learn_fees()
        self.assertEqual(self.venue.traits.taker_fee, Decimal("0.000432"))

    def test_the_master_s_own_key_trades_too(self) -> None:
        venue = self.opened(key=MASTER_KEY)
        (report,) = venue.submit([self.an_order()])
        self.assertIs(report.status, FILLED)


class Grid(HyperliquidWorld):
    def test_the_venue_and_the_desk_agree_on_prices(self) -> None:
        """The cases of the documentation's "Tick and lot size", asked of the venue."""
        for digits in {one for one, _, _ in PRICES}:
            self.exchange.list_coin(Listing(f"S{digits}", digits, 5, 5))
        for digits, price, legal in PRICES:
            with self.subTest(digits=digits, price=price):
                coin = Coin(f"S{digits}")
                self.exchange.set_market(coin, price)
                order = replace(
                    self.an_order(), coin=coin, limit_price=Price(Decimal(price)), quantity=Quantity(Decimal(1000))
                )
                (report,) = self.venue.submit([order])
                self.assertEqual(report.reason is not RejectReason.PRICE, legal, report)


if __name__ == "__main__":
    unittest.main()
