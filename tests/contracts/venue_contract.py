"""The numbered specification of the Venue port: every venue passes it, in this process or behind a socket.

A venue's test case mixes `VenueContract` in and says how a fresh, funded account is made and how the same account is
reached from elsewhere. The sentences rest on the port alone: quantities and prices come from the venue's instruments
and quotes.
"""

import unittest
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, ClassVar, Protocol

from trading.domain.errors import VenueRejected
from trading.domain.market import Account, CandleInterval, FundingPayment, Instrument, Quote
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side, client_order_id
from trading.domain.units import ZERO, Coin, Price, Quantity, TradeId, ceil_to_step, floor_to_step
from trading.ports import Venue

BAND = Decimal("0.003")
ENTRY_LIFE = timedelta(seconds=10)
CENT = Decimal("0.01")


class SteppedClock(Protocol):
    """The venue's time, which the test moves."""

    def now(self) -> datetime: ...

    def advance(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Given:
    """A venue with a fresh account of at least 50,000 USD, and the clock it goes by."""

    venue: Venue
    clock: SteppedClock


def tick_at(price: Decimal, instrument: Instrument) -> Decimal:
    """The price grid of Hyperliquid's perpetuals, written down a second time: the adapters' own is what is examined."""
    for digits in range(instrument.price_decimals_max, 0, -1):
        step = Decimal(1).scaleb(-digits)
        if price < 100_000 * step:
            return step
    return Decimal(1)


if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object


class VenueContract(_Case):
    """Mix into a TestCase. `major` is deep, `thin` is not; `unlisted` does not exist."""

    major: ClassVar[Coin] = Coin("ETH")
    other: ClassVar[Coin] = Coin("SOL")
    thin: ClassVar[Coin] = Coin("GMX")
    unlisted: ClassVar[Coin] = Coin("NOSUCH")

    def given_a_venue(self) -> Given:
        raise NotImplementedError

    def elsewhere(self, given: Given) -> Venue:
        """The same account through another connection, as another process has it."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.given = self.given_a_venue()
        self.venue, self.clock = self.given.venue, self.given.clock
        self.orders_made = 0

    # What tests say

    def an_order(
        self,
        coin: Coin,
        side: Side,
        usd: Decimal | int = 1000,
        *,
        quantity: Decimal | None = None,
        limit: Decimal | None = None,
        reduce_only: bool = False,
        life: timedelta = ENTRY_LIFE,
        given: Given | None = None,
    ) -> Order:
        """A marketable order of about *usd* by the present quote, unless *quantity* or *limit* say otherwise."""
        venue, now = (given or self.given).venue, (given or self.given).clock.now()
        instrument, quote = venue.instruments()[coin], venue.quotes([coin])[coin]
        lots = floor_to_step(usd / quote.mid, instrument.quantity_step) if quantity is None else quantity
        self.orders_made += 1
        return Order(
            client_order_id=client_order_id(TradeId(self.id()), 0, coin, self.orders_made),
            coin=coin,
            side=side,
            quantity=Quantity(lots),
            limit_price=self.marketable(quote, side, instrument) if limit is None else Price(limit),
            reduce_only=reduce_only,
            slice_number=0,
            attempt=self.orders_made,
            intended_at=now,
            expires_at=now + life,
        )

    def marketable(self, quote: Quote, side: Side, instrument: Instrument, band: Decimal = BAND) -> Price:
        """The furthest legal price inside *band* of the touch."""
        if side is Side.BUY:
            price = quote.ask * (1 + band)
            return Price(price.quantize(tick_at(price, instrument), ROUND_FLOOR))
        price = quote.bid * (1 - band)
        return Price(price.quantize(tick_at(price, instrument), ROUND_CEILING))

    def sent(self, *orders: Order) -> tuple[OrderReport, ...]:
        reports = self.venue.submit(orders)
        self.assertEqual([one.client_order_id for one in reports], [one.client_order_id for one in orders])
        return reports

    def held(self, coin: Coin) -> Decimal:
        return self.venue.account().held(coin)

    def holding(self, coin: Coin, usd: Decimal | int = 1000, side: Side = Side.BUY) -> OrderReport:
        (report,) = self.sent(self.an_order(coin, side, usd))
        self.assertIs(report.status, OrderStatus.FILLED)
        return report

    def assert_refused(self, report: OrderReport, reason: RejectReason) -> None:
        self.assertIs(report.status, OrderStatus.REJECTED, report)
        self.assertIs(report.reason, reason, report)
        self.assertEqual(report.filled, 0)
        self.assertEqual(report.fees, 0)

    def assert_same_word(self, one: Sequence[OrderReport], another: Sequence[OrderReport]) -> None:
        """The instant of asking aside."""

        def words(reports: Sequence[OrderReport]) -> list[tuple[object, ...]]:
            return [(r.client_order_id, r.status, r.filled, r.average_price, r.fees, r.reason) for r in reports]

        self.assertEqual(words(one), words(another))

    # Reading the market

    def test_v01_instruments_have_lots_a_minimum_and_a_leverage(self) -> None:
        instruments = self.venue.instruments()
        for coin in (self.major, self.other, self.thin):
            self.assertIn(coin, instruments)
        for coin, instrument in instruments.items():
            with self.subTest(coin=coin):
                self.assertEqual(instrument.coin, coin)
                self.assertGreater(instrument.quantity_step, 0)
                self.assertGreaterEqual(instrument.price_decimals_max, 0)
                self.assertGreater(instrument.notional_min, 0)
                self.assertGreaterEqual(instrument.leverage_max, 1)

    def test_v02_quotes_are_usable_uncrossed_and_on_the_price_grid(self) -> None:
        coins = [coin for coin, one in self.venue.instruments().items() if not one.delisted]
        quotes = self.venue.quotes(coins)
        self.assertLessEqual({self.major, self.other, self.thin}, set(quotes))
        for coin, quote in quotes.items():
            instrument = self.venue.instruments()[coin]
            with self.subTest(coin=coin, quote=quote):
                self.assertTrue(quote.usable)
                self.assertLess(quote.bid, quote.ask)
                for price in (quote.bid, quote.ask):
                    self.assertEqual(price % tick_at(price, instrument), 0)
                self.assertIsNotNone(quote.taken_at.utcoffset())

    def test_v03_a_coin_that_is_not_listed_is_left_out_never_made_up(self) -> None:
        asked = [self.major, self.unlisted]
        self.assertEqual(set(self.venue.quotes(asked)), {self.major})
        self.assertEqual(set(self.venue.depths(asked)), {self.major})

    def test_v04_a_delisted_coin_is_listed_as_such_and_has_no_quote(self) -> None:
        delisted = [coin for coin, one in self.venue.instruments().items() if one.delisted]
        self.assertEqual(self.venue.quotes(delisted), {})
        self.assertEqual(self.venue.depths(delisted), {})

    def test_v05_depth_is_best_first_on_the_grids_and_uncrossed(self) -> None:
        for coin, depth in self.venue.depths([self.major, self.thin]).items():
            instrument = self.venue.instruments()[coin]
            with self.subTest(coin=coin):
                bids, asks = [one.price for one in depth.bids], [one.price for one in depth.asks]
                self.assertEqual(bids, sorted(set(bids), reverse=True))
                self.assertEqual(asks, sorted(set(asks)))
                self.assertLess(bids[0], asks[0])
                for level in (*depth.bids, *depth.asks):
                    self.assertGreater(level.quantity, 0)
                    self.assertEqual(level.quantity % instrument.quantity_step, 0)
                    self.assertEqual(level.price % tick_at(level.price, instrument), 0)

    def test_v06_a_fresh_account_holds_nothing_and_all_of_it_is_free(self) -> None:
        account = self.venue.account()
        self.assertEqual(dict(account.holdings), {})
        self.assertGreaterEqual(account.equity, 50_000)
        self.assertEqual(account.margin_available, account.equity)
        self.assertEqual((account.margin_used, account.maintenance_margin), (0, 0))

    def test_v07_bars_follow_each_other_up_to_now_and_hold_their_prices(self) -> None:
        now = self.clock.now()
        for interval, count in ((CandleInterval.MINUTE, 240), (CandleInterval.HOUR, 26)):
            start = now - interval.length * count
            bars = self.venue.candles(self.major, interval, start, now)
            with self.subTest(interval=interval):
                opened = [bar.opened_at for bar in bars]
                self.assertEqual(opened, [opened[0] + interval.length * number for number in range(len(bars))])
                self.assertLessEqual(start, opened[0])
                self.assertLess(opened[0], start + interval.length)
                self.assertLessEqual(now - interval.length, opened[-1])
                self.assertLessEqual(opened[-1], now)
                for bar in bars:
                    self.assertLess(0, bar.low)
                    self.assertTrue(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high)
        quote = self.venue.quotes([self.major])[self.major]
        self.assertLess(abs(bars[-1].close / quote.mid - 1), Decimal("0.01"))

    def test_v08_bars_of_a_past_span_say_the_same_to_everybody(self) -> None:
        until = self.clock.now() - timedelta(hours=2)
        span = (self.major, CandleInterval.MINUTE, until - timedelta(minutes=30), until)
        bars = self.venue.candles(*span)
        self.assertEqual(bars, self.elsewhere(self.given).candles(*span))
        self.assertEqual(self.venue.candles(self.unlisted, *span[1:]), ())

    # Executing

    def test_v07_who_waits_for_prices_gets_only_coins_that_were_asked_for_and_never_waits_for_ever(self) -> None:
        venue = self.given_a_venue().venue
        ticks = venue.wait_for_ticks(0, [self.major], 0.01)
        self.assertLessEqual(ticks.coins, {self.major})
        self.assertEqual(frozenset(), venue.wait_for_ticks(ticks.number, [], 0.01).coins)

    def test_v10_a_marketable_order_fills_within_its_limit_and_costs_a_fee(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                before = self.held(self.major)
                order = self.an_order(self.major, side)
                (report,) = self.sent(order)
                self.assertIs(report.status, OrderStatus.FILLED)
                self.assertEqual(report.filled, order.quantity)
                assert report.average_price is not None
                self.assertLessEqual((report.average_price - order.limit_price) * side.sign, 0)
                self.assertGreater(report.fees, 0)
                self.assertEqual(self.held(self.major), before + order.quantity * side.sign)

    def test_v11_an_order_that_meets_nobody_is_refused_and_does_not_rest(self) -> None:
        quote, instrument = self.venue.quotes([self.major])[self.major], self.venue.instruments()[self.major]
        for side, price in ((Side.BUY, quote.bid * Decimal("0.99")), (Side.SELL, quote.ask * Decimal("1.01"))):
            with self.subTest(side=side):
                limit = price.quantize(tick_at(price, instrument), ROUND_FLOOR)
                order = self.an_order(self.major, side, limit=limit)
                (report,) = self.sent(order)
                self.assert_refused(report, RejectReason.NO_MATCH)
        self.clock.advance(120)
        self.assertEqual(self.held(self.major), 0)

    def test_v12_what_the_book_cannot_give_within_the_limit_is_not_filled_later(self) -> None:
        instrument, quote = self.venue.instruments()[self.thin], self.venue.quotes([self.thin])[self.thin]
        limit = self.marketable(quote, Side.BUY, instrument, Decimal("0.001"))
        depth = self.venue.depths([self.thin])[self.thin]
        offered = sum((one.quantity for one in depth.asks if one.price <= limit), ZERO)
        self.assertGreater(offered, 0)
        wanted = floor_to_step(offered * Decimal("1.5"), instrument.quantity_step)
        order = self.an_order(self.thin, Side.BUY, quantity=wanted, limit=limit)
        (report,) = self.sent(order)
        self.assertIs(report.status, OrderStatus.PARTIALLY_FILLED)
        self.assertGreater(report.filled, 0)
        self.assertLess(report.filled, wanted)
        self.clock.advance(120)
        self.assertEqual(self.held(self.thin), report.filled)

    def test_v13_prices_and_sizes_off_their_grids_are_refused(self) -> None:
        order = self.an_order(self.major, Side.BUY)
        instrument = self.venue.instruments()[self.major]
        tick, lot = tick_at(order.limit_price, instrument), instrument.quantity_step
        cases = (
            (RejectReason.PRICE, self.an_order(self.major, Side.BUY, limit=order.limit_price + tick / 10)),
            (RejectReason.SIZE, self.an_order(self.major, Side.BUY, quantity=order.quantity + lot / 10)),
        )
        for reason, wrong in cases:
            with self.subTest(reason=reason):
                (report,) = self.sent(wrong)
                self.assert_refused(report, reason)
        self.assertEqual(self.held(self.major), 0)

    def test_v14_an_order_below_the_minimum_is_refused(self) -> None:
        (report,) = self.sent(self.an_order(self.major, Side.BUY, 5))
        self.assert_refused(report, RejectReason.NOTIONAL_MIN)

    def test_v15_an_expired_order_is_refused(self) -> None:
        order = self.an_order(self.major, Side.BUY)
        self.clock.advance(11)
        (report,) = self.sent(order)
        self.assert_refused(report, RejectReason.EXPIRED)
        self.assertEqual(self.held(self.major), 0)

    def test_v16_more_than_the_margin_allows_is_refused(self) -> None:
        self.venue.set_leverage(self.major, 1)
        (report,) = self.sent(self.an_order(self.major, Side.BUY, self.venue.account().equity * Decimal("1.2")))
        self.assert_refused(report, RejectReason.MARGIN)
        self.assertEqual(self.held(self.major), 0)

    # Reducing

    def test_v20_reduce_only_never_opens(self) -> None:
        for side in Side:
            with self.subTest(side=side):
                (report,) = self.sent(self.an_order(self.major, side, reduce_only=True))
                self.assert_refused(report, RejectReason.REDUCE_ONLY)
        self.assertEqual(self.held(self.major), 0)

    def test_v21_reduce_only_never_increases(self) -> None:
        for side, coin in ((Side.BUY, self.major), (Side.SELL, self.other)):
            with self.subTest(side=side):
                filled = self.holding(coin, side=side).filled
                (report,) = self.sent(self.an_order(coin, side, reduce_only=True))
                self.assert_refused(report, RejectReason.REDUCE_ONLY)
                self.assertEqual(self.held(coin), filled * side.sign)

    def test_v22_reduce_only_shrinks_to_what_is_held_and_never_flips(self) -> None:
        for side, coin in ((Side.BUY, self.major), (Side.SELL, self.other)):
            with self.subTest(side=side):
                filled = self.holding(coin, side=side).filled
                (report,) = self.sent(self.an_order(coin, side.opposite, 3000, reduce_only=True))
                self.assertEqual(report.filled, filled)
                self.assertEqual(self.held(coin), 0)
                self.assertNotIn(coin, self.venue.account().holdings)

    def test_v23_a_whole_position_below_the_minimum_may_leave(self) -> None:
        filled = self.dust()
        (report,) = self.sent(self.an_order(self.major, Side.SELL, quantity=filled, reduce_only=True))
        self.assertIs(report.status, OrderStatus.FILLED)
        self.assertEqual(self.held(self.major), 0)

    def test_v24_an_order_larger_than_a_position_below_the_minimum_shrinks_to_it(self) -> None:
        filled = self.dust()
        lot = self.venue.instruments()[self.major].quantity_step
        (report,) = self.sent(self.an_order(self.major, Side.SELL, quantity=filled + lot, reduce_only=True))
        self.assertEqual(report.filled, filled)
        self.assertEqual(self.held(self.major), 0)

    def test_v25_a_part_below_the_minimum_may_not_leave_alone(self) -> None:
        filled = self.dust()
        lot = self.venue.instruments()[self.major].quantity_step
        (report,) = self.sent(self.an_order(self.major, Side.SELL, quantity=filled - lot, reduce_only=True))
        self.assert_refused(report, RejectReason.NOTIONAL_MIN)
        self.assertEqual(self.held(self.major), filled)

    def dust(self) -> Decimal:
        """A long position worth less than the venue's minimum, of several lots."""
        instrument, quote = self.venue.instruments()[self.major], self.venue.quotes([self.major])[self.major]
        keep = floor_to_step(instrument.notional_min / 2 / quote.ask, instrument.quantity_step)
        sells = ceil_to_step(instrument.notional_min * 2 / quote.bid, instrument.quantity_step)
        self.sent(self.an_order(self.major, Side.BUY, quantity=keep + sells))
        self.sent(self.an_order(self.major, Side.SELL, quantity=sells, reduce_only=True))
        self.assertEqual(self.held(self.major), keep)
        self.assertGreater(keep, instrument.quantity_step)
        return keep

    # Groups, repetition and doubt

    def test_v30_submitting_nothing_does_nothing(self) -> None:
        self.assertEqual(self.venue.submit([]), ())
        self.assertEqual(self.venue.reports([]), ())

    def test_v31_both_legs_of_a_group_land_and_are_reported_in_order(self) -> None:
        long, short = self.an_order(self.major, Side.BUY), self.an_order(self.other, Side.SELL)
        reports = self.sent(long, short)
        self.assertEqual([one.status for one in reports], [OrderStatus.FILLED, OrderStatus.FILLED])
        self.assertEqual((self.held(self.major), self.held(self.other)), (long.quantity, -short.quantity))

    def test_v32_a_refusal_at_execution_is_the_refused_leg_s_alone(self) -> None:
        for wrong_first in (True, False):
            with self.subTest(wrong_first=wrong_first):
                before = self.held(self.major)
                good, wrong = (
                    self.an_order(self.major, Side.BUY),
                    self.an_order(self.other, Side.SELL, reduce_only=True),
                )
                reports = self.sent(wrong, good) if wrong_first else self.sent(good, wrong)
                refused, filled = reports if wrong_first else reversed(reports)
                self.assert_refused(refused, RejectReason.REDUCE_ONLY)
                self.assertIs(filled.status, OrderStatus.FILLED)
                self.assertEqual(self.held(self.major), before + good.quantity)
                self.assertEqual(self.held(self.other), 0)

    def test_v33_a_client_order_id_has_one_effect(self) -> None:
        order = self.an_order(self.major, Side.BUY)
        first = self.sent(order)
        equity = self.venue.account().equity
        again = self.venue.submit([order])
        self.assert_same_word(again, first)
        self.assertEqual(self.held(self.major), order.quantity)
        self.assertEqual(self.venue.account().equity, equity)

    def test_v34_reports_repeat_what_submit_answered(self) -> None:
        orders = (
            self.an_order(self.major, Side.BUY),
            self.an_order(self.other, Side.SELL, reduce_only=True),
        )
        answered = self.sent(*orders)
        self.clock.advance(30)
        self.assert_same_word(self.venue.reports(orders), answered)
        self.assert_same_word(self.venue.reports(tuple(reversed(orders))), tuple(reversed(answered)))

    def test_v35_the_same_account_tells_the_same_elsewhere(self) -> None:
        order = self.an_order(self.major, Side.BUY)
        answered = self.sent(order)
        there = self.elsewhere(self.given)
        self.assertEqual(there.account_id, self.venue.account_id)
        self.assert_same_word(there.reports([order]), answered)
        self.assertEqual(there.account().held(self.major), order.quantity)
        self.assert_same_word(there.submit([order]), answered)
        self.assertEqual(self.held(self.major), order.quantity)

    def test_v36_an_order_that_never_came_is_unknown_until_it_can_no_longer_land(self) -> None:
        order = self.an_order(self.major, Side.BUY)
        for seconds in (0, 10, 4):
            self.clock.advance(seconds)
            with self.subTest(seconds=seconds):
                (report,) = self.venue.reports([order])
                self.assertIs(report.status, OrderStatus.UNKNOWN)
                self.assertEqual(report.filled, 0)

    def test_v37_absence_is_told_after_expiry_and_stays_true(self) -> None:
        if not self.venue.traits.proves_absence:
            self.skipTest("this venue proves absence by evidence, not by expiry")
        order = self.an_order(self.major, Side.BUY)
        self.clock.advance(16)
        (report,) = self.venue.reports([order])
        self.assertIs(report.status, OrderStatus.ABSENT)
        (late,) = self.sent(order)
        self.assert_refused(late, RejectReason.EXPIRED)
        self.assertEqual(self.held(self.major), 0)

    # The account

    def test_v40_a_holding_is_signed_and_remembers_its_entry(self) -> None:
        for side, coin in ((Side.BUY, self.major), (Side.SELL, self.other)):
            with self.subTest(side=side):
                report = self.holding(coin, side=side)
                holding = self.venue.account().holdings[coin]
                self.assertEqual(holding.quantity, report.filled * side.sign)
                assert report.average_price is not None
                self.assertAlmostEqual(holding.entry_price, report.average_price, places=6)

    def test_v41_equity_is_what_was_there_plus_profit_less_fees(self) -> None:
        start = self.venue.account().equity
        reports = [self.holding(self.major, 20_000), self.holding(self.other, 20_000, Side.SELL)]
        account, quotes = self.venue.account(), self.venue.quotes([self.major, self.other])
        unrealized = sum(
            (
                one.quantity * (quotes[coin].mark - (reports[index].average_price or ZERO))
                for index, (coin, one) in enumerate((coin, account.holdings[coin]) for coin in (self.major, self.other))
            ),
            ZERO,
        )
        fees = sum((one.fees for one in reports), ZERO)
        self.assertLess(abs(account.equity - (start + unrealized - fees)), CENT)

    def test_v42_after_a_round_trip_equity_changed_by_the_price_difference_and_the_fees(self) -> None:
        start = self.venue.account().equity
        opened = self.holding(self.major, 20_000)
        self.clock.advance(60)
        (closed,) = self.sent(self.an_order(self.major, Side.SELL, quantity=opened.filled, reduce_only=True))
        assert opened.average_price is not None and closed.average_price is not None
        made = opened.filled * (closed.average_price - opened.average_price) - opened.fees - closed.fees
        # That nothing was paid for an hour a venue may say some minutes after it.
        self.clock.advance(600)
        paid = sum((one.amount for one in self.payments([self.major])), ZERO)
        self.assertLess(abs(self.venue.account().equity - start - made + paid), CENT)

    def test_v43_margin_follows_leverage(self) -> None:
        for leverage in (1, 3):
            with self.subTest(leverage=leverage):
                self.venue.set_leverage(self.major, leverage)
                self.holding(self.major, 3000)
                account = self.venue.account()
                notional = abs(account.held(self.major)) * self.venue.quotes([self.major])[self.major].mark
                self.assertLess(abs(account.margin_used - notional / leverage), CENT)
                self.assertEqual(account.margin_available, account.equity - account.margin_used)
                self.assertEqual(account.leverages[self.major], leverage)
                self.assertGreater(account.maintenance_margin, 0)
                self.assertLess(account.maintenance_margin, notional)

    def test_v44_a_leverage_that_the_coin_does_not_allow_is_refused(self) -> None:
        highest = self.venue.instruments()[self.major].leverage_max
        for coin, leverage in ((self.major, highest + 1), (self.major, 0), (self.unlisted, 1)):
            with self.subTest(coin=coin, leverage=leverage), self.assertRaises(VenueRejected):
                self.venue.set_leverage(coin, leverage)

    def test_v45_liquidation_lies_below_a_long_and_above_a_short(self) -> None:
        equity = self.venue.account().equity
        for coin, side in ((self.major, Side.BUY), (self.other, Side.SELL)):
            with self.subTest(side=side):
                self.venue.set_leverage(coin, 5)
                self.holding(coin, equity * Decimal("1.5"), side)
                holding = self.venue.account().holdings[coin]
                assert holding.liquidation_price is not None
                mark = self.venue.quotes([coin])[coin].mark
                self.assertGreater((mark - holding.liquidation_price) * side.sign, 0)

    # Funding

    def payments(self, coins: Collection[Coin], given: Given | None = None) -> tuple[FundingPayment, ...]:
        there = given or self.given
        now = there.clock.now()
        return there.venue.funding(coins, now - timedelta(days=2), now)

    def test_v50_funding_comes_once_an_hour_on_the_hour_to_what_is_held(self) -> None:
        filled = self.holding(self.major, 20_000).filled
        self.clock.advance(3 * 3600)
        payments = self.payments([self.major, self.other])
        self.assertEqual(len(payments), 3)
        hours = [one.paid_at for one in payments]
        self.assertEqual(hours, sorted(set(hours)))
        for payment in payments:
            self.assertEqual((payment.coin, payment.quantity), (self.major, filled))
            self.assertEqual((payment.paid_at.minute, payment.paid_at.second), (0, 0))
            self.assertNotEqual(payment.amount, 0)
        self.assertEqual(self.payments([self.other]), ())

    def test_v51_the_window_of_funding_is_open_at_its_start_and_closed_at_its_end(self) -> None:
        self.holding(self.major, 20_000)
        self.clock.advance(3 * 3600)
        first, second, third = self.payments([self.major])
        asked = self.venue.funding([self.major], first.paid_at, second.paid_at)
        self.assertEqual(asked, (second,))
        self.assertEqual(self.venue.funding([self.major], third.paid_at, self.clock.now()), ())

    def test_v52_what_the_long_pays_the_short_receives(self) -> None:
        counter = self.given_a_venue()
        quantity = self.holding(self.major, 20_000).filled
        order = self.an_order(self.major, Side.SELL, quantity=quantity, given=counter)
        (report,) = counter.venue.submit([order])
        if self.venue.traits.sizes_in_coins:
            self.assertEqual(report.filled, quantity)
        self.clock.advance(3600)
        if counter.clock is not self.clock:
            counter.clock.advance(3600)
        (paid,), (received,) = self.payments([self.major]), self.payments([self.major], counter)
        self.assertLess(abs(paid.amount + received.amount * quantity / report.filled), CENT)

    def test_v53_funding_comes_out_of_the_equity(self) -> None:
        start = self.venue.account().equity
        report = self.holding(self.major, 20_000)
        self.clock.advance(2 * 3600)
        account: Account = self.venue.account()
        assert report.average_price is not None
        mark = self.venue.quotes([self.major])[self.major].mark
        paid = sum((one.amount for one in self.payments([self.major])), ZERO)
        expected = start + report.filled * (mark - report.average_price) - report.fees - paid
        self.assertNotEqual(paid, 0)
        self.assertLess(abs(account.equity - expected), CENT)

    def test_v54_what_trades_and_funding_change_is_no_transfer(self) -> None:
        start = self.clock.now()
        self.clock.advance(1)
        self.holding(self.major, 20_000)
        self.clock.advance(2 * 3600)
        self.assertNotEqual(self.payments([self.major]), ())
        self.assertEqual(self.venue.transferred(start), 0)
