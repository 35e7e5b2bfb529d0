import unittest
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from tests.accounts import account_of
from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_order,
    given_orders,
    given_report,
    given_reports,
    given_watch,
    price_of,
)
from trading.domain.accounts import EquityPoint, FundingShare, funded_to, funding_complete
from trading.domain.book import Book, NoHistory, book_of
from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import ExitReason
from trading.domain.market import FundingPayment, Pair
from trading.domain.orders import OrderStatus
from trading.domain.positions import Position, position_of
from trading.domain.trades import HoldingGone, OrdersIntended, OrdersReported, Trade, TradeCanceled, TradeFilled, record
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, Usd
from trading.engine.accounting import (
    DAYS_MAX,
    POINTS_MAX,
    Money,
    NothingKept,
    funding_shares,
    funding_until,
    history,
    moves_of,
    since_of,
    thinned,
    unfunded,
)
from trading.engine.holdings import HELD_MAX, decided_until, fills_of, held_at, holdings_at, split

BTC, ETH, SOL = Coin("BTC"), Coin("ETH"), Coin("SOL")
ONE_PM = T0 + timedelta(hours=1)


class RememberedAccounts:
    """An AccountLog in two lists."""

    def __init__(self, points: Sequence[EquityPoint] = (), shares: Sequence[FundingShare] = ()) -> None:
        self.points, self.shares = list(points), list(shares)

    def keep_equity(self, point: EquityPoint) -> None:
        self.points.append(point)

    def keep_funding(self, shares: Sequence[FundingShare]) -> None:
        self.shares.extend(shares)

    def equity(self, since: datetime, until: datetime) -> tuple[EquityPoint, ...]:
        return tuple(one for one in self.points if since <= one.taken_at <= until)

    def funding(self, since: datetime, until: datetime) -> tuple[FundingShare, ...]:
        return tuple(one for one in self.shares if since <= one.paid_at <= until)


class Archived(NoHistory):
    """A history of some positions, newest first."""

    def __init__(self, *known: tuple[Position, tuple[Trade, ...]]) -> None:
        self.known = {position.id: (position, trades) for position, trades in known}
        self.asked = 0

    def positions(self, until: datetime | None = None) -> Iterator[Position]:
        self.asked += 1
        return iter([position for position, _ in self.known.values()])

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        return self.known[position_id][1]


def paid(amount: str, quantity: str, at: datetime = ONE_PM, coin: Coin = ETH) -> FundingPayment:
    return FundingPayment(coin, Usd(Decimal(amount)), Quantity(Decimal(quantity)), at)


def closed_at(opening: Trade, at: datetime, btc: str | None = None, eth: str | None = None) -> Trade:
    """A close of all of *opening*, at the ordinary prices unless told."""
    trade = given_a_closing_trade(opening, at=at)
    trade = record(trade, OrdersIntended(at, given_orders(trade.terms, at=at)))
    prices = {"BTC": btc, "ETH": eth}
    reports = tuple(given_report(order, at=at, price=prices.get(order.coin)) for order in trade.orders)
    return record(record(trade, OrdersReported(at, reports)), TradeFilled(at))


class FillsTest(unittest.TestCase):
    def test_each_order_is_a_fill_with_its_fee_at_its_instant(self) -> None:
        trade = given_a_filled_trade()
        long, short = fills_of(trade)
        self.assertEqual((ETH, Decimal("0.25"), Decimal(1000)), (long.coin, long.quantity, long.notional))
        self.assertEqual((Decimal(4000), Decimal("0.45"), False), (long.price, long.fees, long.reduces))
        self.assertEqual((BTC, after(1)), (short.coin, short.filled_at))
        self.assertEqual(trade.fees, long.fees + short.fees)

    def test_two_words_on_one_order_are_two_fills_that_add_up(self) -> None:
        trade = given_a_working_trade()
        order = trade.orders[0]
        first = given_report(order, "0.4", after(1), "3990", status=OrderStatus.ACCEPTED)
        second = given_report(order, "1", after(2), "4010")
        for at, report in ((1, first), (2, second)):
            trade = record(trade, OrdersReported(after(at), (report,)))
        fills = fills_of(trade)
        self.assertEqual([after(1), after(2)], [fill.filled_at for fill in fills])
        self.assertEqual(order.quantity * 4010, sum(fill.notional for fill in fills))
        self.assertEqual(second.fees, sum(fill.fees for fill in fills))
        self.assertEqual(trade.filled(ETH), sum(fill.quantity for fill in fills))

    def test_a_word_that_adds_nothing_is_no_fill(self) -> None:
        trade = given_a_working_trade()
        quiet = tuple(given_report(order, "0", after(1), status=OrderStatus.UNKNOWN) for order in trade.orders)
        trade = record(trade, OrdersReported(after(1), quiet))
        self.assertEqual((), fills_of(trade))

    def test_late_fees_belong_to_the_instant_of_the_fill(self) -> None:
        trade = given_a_filled_trade()
        corrected = given_report(trade.orders[0], at=after(7200), fees=Usd(Decimal("0.50")))
        fill = fills_of(record(trade, OrdersReported(after(7200), (corrected,))))[-1]
        self.assertEqual((Decimal(0), None, Decimal("0.05")), (fill.quantity, fill.price, fill.fees))
        self.assertLessEqual(fill.filled_at, trade.orders[0].expires_at)

    def test_what_a_close_found_gone_is_a_fill_at_the_mark_without_an_order(self) -> None:
        opening = given_a_filled_trade()
        loss = HoldingGone(after(70), ETH, Quantity(Decimal("0.25")), Price(Decimal(3600)), "taken")
        close = given_a_closing_trade(opening, OrdersIntended(after(60), given_orders(opening.terms)))
        close = record(close, OrdersReported(after(61), tuple(given_report(one, "0") for one in close.orders)))
        close = record(close, loss)
        (fill,) = fills_of(close)
        self.assertEqual(
            (None, ETH, Decimal(3600), Decimal(0)), (fill.client_order_id, fill.coin, fill.price, fill.fees)
        )
        self.assertEqual(
            (Decimal(0), Decimal("0.25")), tuple(held_at((opening, close), ETH, after(s)) for s in (71, 70))
        )
        position = position_of((opening, close))
        money = account_of(position, (opening, close), {BTC: price_of("BTC")})
        self.assertEqual((Decimal(-100), Decimal(0)), (money.legs[0].realized, money.legs[0].slippage))
        self.assertEqual(position.realized, money.money.realized)

    def test_a_fill_heard_of_late_happened_while_its_order_lived(self) -> None:
        trade = given_a_working_trade()
        trade = record(trade, given_reports(trade.orders, at=after(3600)))
        self.assertEqual({after(10)}, {fill.filled_at for fill in fills_of(trade)})

    def test_where_the_venue_tells_its_instant_that_is_it_also_after_the_order_s_life_and_never_before_its_intent(
        self,
    ) -> None:
        for told, at in ((5, 5), (40, 40), (-30, 0)):
            with self.subTest(told=told):
                trade = given_a_working_trade()
                (order, _) = trade.orders
                report = replace(given_report(order, at=after(3600)), filled_at=after(told))
                (fill,) = fills_of(record(trade, OrdersReported(after(3600), (report,))))
                self.assertEqual(max(after(at), order.intended_at), fill.filled_at)


class HoldingsTest(unittest.TestCase):
    def test_what_was_held_is_read_from_the_fills_before_that_instant(self) -> None:
        opening = given_a_filled_trade()
        close = given_a_filled_close(opening, at=after(60))
        for seconds, held in ((0, "0"), (1, "0"), (1.1, "0.25"), (60, "0.25"), (60.1, "0")):
            with self.subTest(seconds=seconds):
                self.assertEqual(Decimal(held), held_at((opening, close), ETH, after(seconds)))

    def test_a_trim_takes_away(self) -> None:
        trade = given_a_working_trade()
        trade = record(trade, given_reports(trade.orders[:1], at=after(1)))
        trade = record(trade, OrdersReported(after(1), (given_report(trade.orders[1], "0", after(1)),)))
        trim = given_order(trade.terms, trade.terms.long, attempt=2, at=after(2), reduce_only=True)
        trade = record(record(trade, OrdersIntended(after(2), (trim,))), given_reports((trim,), "0.4", after(2)))
        self.assertEqual(Decimal("0.15"), held_at((trade,), ETH, after(3)))

    def test_only_those_who_were_there_then_hold(self) -> None:
        gone, there = given_a_filled_trade("signal_1"), given_a_filled_trade("signal_2", pair="SOL/ETH")
        later = given_a_filled_trade("signal_3", pair="AVAX/ETH", at=after(3600))
        elsewhere = given_a_filled_trade("signal_4", pair="BTC/SOL")
        book = book_of([gone, given_a_filled_close(gone, at=after(60)), there, later, elsewhere])
        self.assertEqual({there.terms.position_id: Decimal("0.25")}, holdings_at(book, paid("1", "0.25")))

    def test_who_left_after_the_payment_still_held(self) -> None:
        trade = given_a_filled_trade()
        book = book_of([trade, given_a_filled_close(trade, at=after(3600))])
        self.assertEqual({trade.terms.position_id: Decimal("0.25")}, holdings_at(book, paid("1", "0.25")))

    def test_an_archived_holder_is_asked_when_somebody_is_missing(self) -> None:
        """In memory stands a quarter; the venue has paid on a half."""
        gone, there = given_a_filled_trade("signal_1"), given_a_filled_trade("signal_2", pair="SOL/ETH")
        ancient = given_a_filled_trade("signal_0", pair="AVAX/ETH", at=T0 - HELD_MAX)
        close, end = given_a_filled_close(gone, at=after(3700)), given_a_filled_close(ancient, at=after(3700))
        archived = Archived((position_of((gone, close)), (gone, close)), (position_of((ancient, end)), (ancient, end)))
        book = Book(archived)
        book.put_trade(there)
        both = {gone.terms.position_id: Decimal("0.25"), there.terms.position_id: Decimal("0.25")}
        for asked, sign in enumerate(("", "-"), start=1):
            with self.subTest(sign=sign):
                self.assertEqual(both, holdings_at(book, paid("1", f"{sign}0.5")))
                self.assertEqual(asked, archived.asked)
                alone = {there.terms.position_id: Decimal("0.25")}
                self.assertEqual(alone, holdings_at(book, paid("1", f"{sign}0.25")))
                self.assertEqual(asked, archived.asked)

    def test_an_order_in_doubt_leaves_the_hours_after_it_undecided(self) -> None:
        doubtful = given_a_working_trade(at=after(3000))
        book = book_of([given_a_filled_trade("signal_2", pair="SOL/ETH"), doubtful])
        self.assertEqual(after(3000), decided_until(book, (ETH,), after(9000)))
        self.assertEqual(after(2000), decided_until(book, (ETH,), after(2000)))
        self.assertEqual(after(9000), decided_until(book, (SOL,), after(9000)))


class SplitTest(unittest.TestCase):
    def parts(self, amount: str, quantity: str, **holdings: str) -> dict[str, str]:
        held = {PositionId(name): Quantity(Decimal(text)) for name, text in holdings.items()}
        return {name: str(part) for name, part in split(paid(amount, quantity), held).items()}

    def test_parts_are_pro_rata_and_the_rest_goes_to_the_largest(self) -> None:
        cases: tuple[tuple[str, str, dict[str, str], dict[str, str]], ...] = (
            ("1", "3", {"a": "1", "b": "2"}, {"a": "0.333333", "b": "0.666667"}),
            ("-1", "3", {"a": "2", "b": "1"}, {"a": "-0.666667", "b": "-0.333333"}),
            ("0.000001", "2", {"a": "1", "b": "1"}, {"a": "0.000000", "b": "0.000001"}),
            ("1", "4", {"a": "1"}, {"a": "0.250000"}),
            ("1", "3", {"a": "2"}, {"a": "0.666667"}),
            ("1", "0", {"a": "1"}, {"a": "1.000000"}),
            ("1", "2", {"a": "3", "b": "1"}, {"a": "0.750000", "b": "0.250000"}),
            ("0.0000005", "2", {"a": "1", "b": "1"}, {"a": "0.0000002", "b": "0.0000003"}),
            ("1", "1", {}, {}),
        )
        for amount, quantity, holdings, parts in cases:
            with self.subTest(amount=amount, quantity=quantity, holdings=holdings):
                found = self.parts(amount, quantity, **holdings)
                self.assertEqual({k: Decimal(v) for k, v in parts.items()}, {k: Decimal(v) for k, v in found.items()})


class MoneyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.opening = given_a_filled_trade()
        self.close = closed_at(self.opening, after(7200), btc="99000", eth="4040")
        self.watch = given_watch(self.opening, funding_long=Usd(Decimal("0.5")), funding_short=Usd(Decimal("-0.2")))
        self.position = position_of((self.opening, self.close), self.watch)

    def test_a_closed_position_by_leg(self) -> None:
        money = account_of(self.position, (self.opening, self.close))
        long, short = money.legs
        self.assertEqual((Decimal(10), Decimal("0.5")), (long.realized, long.funding))
        self.assertEqual((Decimal(10), Decimal("-0.2")), (short.realized, short.funding))
        self.assertEqual(Decimal(2010), long.turnover)
        self.assertEqual(self.position.realized, money.money.realized)
        self.assertEqual(self.position.fees, money.money.fees)
        self.assertEqual(self.position.funding, money.money.funding)
        self.assertEqual(ZERO, money.unrealized)
        self.assertEqual(self.position.realized - self.position.fees - self.position.funding, money.pnl)

    def test_slippage_is_what_was_paid_beyond_arrival_in_both_trades(self) -> None:
        """The close arrived at entry prices: leaving 1 % higher with the long and lower with the short gained 20."""
        money = account_of(self.position, (self.opening, self.close)).money
        self.assertEqual(Decimal(-20), money.slippage)
        self.assertEqual(Decimal(-50), money.slippage_bps)
        self.assertIsNone(Money().slippage_bps)

    def test_funding_counts_at_its_hour_and_what_nobody_wrote_down_at_the_end(self) -> None:
        told = FundingShare(self.position.id, ETH, ONE_PM, Usd(Decimal("0.3")))
        funding = [
            (move.coin, move.at, move.money.funding)
            for move in moves_of(self.position, (self.opening, self.close), (told,))
            if move.money.funding
        ]
        self.assertEqual(
            [
                (ETH, ONE_PM, Decimal("0.3")),
                (ETH, after(7200), Decimal("0.2")),
                (BTC, after(7200), Decimal("-0.2")),
            ],
            funding,
        )
        standing = position_of((self.opening,), self.watch)
        latest = [move.at for move in moves_of(standing, (self.opening,)) if move.money.funding]
        self.assertEqual([after(1), after(1)], latest)

    def test_funding_nobody_wrote_down_counts_at_the_exit_or_the_newest_word_whatever_came_later(self) -> None:
        late = tuple(given_report(one, at=after(9000), fees=Usd(Decimal("0.5"))) for one in self.close.orders)
        close = record(self.close, OrdersReported(after(9000), late))
        closed = position_of((self.opening, close), self.watch)
        at_exit = {move.at for move in moves_of(closed, (self.opening, close)) if move.money.funding}
        self.assertEqual({after(7200)}, at_exit)
        late = tuple(given_report(one, at=after(9000), fees=Usd(Decimal("0.5"))) for one in self.opening.orders)
        opening = record(self.opening, OrdersReported(after(9000), late))
        standing = position_of((opening,), self.watch)
        at_newest = {move.at for move in moves_of(standing, (opening,)) if move.money.funding}
        self.assertEqual({after(9000)}, at_newest)

    def test_a_fill_that_opens_realizes_nothing_though_its_price_is_not_the_average(self) -> None:
        trade = given_a_working_trade()
        for at, share, status, price in (
            (1, "0.4", OrderStatus.ACCEPTED, "3990"),
            (2, "1", OrderStatus.FILLED, "4010"),
        ):
            reports = tuple(given_report(one, share, after(at), price, status=status) for one in trade.orders)
            trade = record(trade, OrdersReported(after(at), reports))
        found = [move.money.realized for move in moves_of(position_of((trade,)), (trade,))]
        self.assertEqual([ZERO] * 4, found)

    def test_a_day_ends_at_midnight_in_utc(self) -> None:
        tokyo = datetime.fromisoformat("2026-11-24T08:30:00+09:00")
        share = FundingShare(self.position.id, ETH, tokyo, Usd(Decimal(1)))
        days = {move.day for move in moves_of(self.position, (), (share,)) if move.at == tokyo}
        self.assertEqual({date(2026, 11, 23)}, days)


class FundingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.first = given_a_filled_trade("signal_1")
        self.second = given_a_filled_trade("signal_2", pair="SOL/ETH", size="4000")

    def position(self, *trades: Trade) -> Position:
        return position_of(trades)

    def test_a_sharer_who_left_between_two_hours_pays_for_the_first_alone(self) -> None:
        close = given_a_filled_close(self.first, at=after(5000))
        book = book_of([self.first, self.second, close])
        payments = (paid("0.75", "0.75"), paid("0.50", "0.5", T0 + timedelta(hours=2)))
        first = funding_shares(book, self.position(self.first, close), payments)
        second = funding_shares(book, self.position(self.second), payments)
        self.assertEqual([Decimal("0.25")], [one.amount for one in first])
        self.assertEqual([Decimal("0.5"), Decimal("0.5")], [one.amount for one in second])

    def test_the_hours_to_ask_for(self) -> None:
        standing, book = self.position(self.first), book_of([self.first])
        cases = (
            (3600, 0),
            (3629, 0),
            (3630, 3600),
            (7300, 7200),
        )
        for now, until in cases:
            with self.subTest(now=now):
                self.assertEqual(after(until), funding_until(book, standing, after(now)))

    def test_an_hour_waits_for_an_order_in_doubt(self) -> None:
        doubtful = given_a_working_trade("signal_3", pair="AVAX/ETH", at=after(3599))
        book = book_of([self.first, doubtful])
        self.assertEqual(T0, funding_until(book, self.position(self.first), after(3700)))
        self.assertEqual((), unfunded(book, book.positions(), after(3700)))
        decided = record(doubtful, given_reports(doubtful.orders, at=after(3700)))
        self.assertEqual(ONE_PM, funding_until(book_of([self.first, decided]), self.position(self.first), after(3700)))

    def test_a_closed_position_is_complete_with_its_last_hour(self) -> None:
        early, late = given_a_filled_close(self.first, at=after(60)), given_a_filled_close(self.first, at=after(3600))
        watch = given_watch(self.first)
        until_one = given_watch(self.first, funded_until=ONE_PM)
        self.assertFalse(funding_complete(self.position(self.first), until_one))
        self.assertTrue(funding_complete(self.position(self.first, early), None))
        self.assertFalse(funding_complete(self.position(self.first, late), watch))
        self.assertTrue(funding_complete(self.position(self.first, late), until_one))
        self.assertEqual(
            [T0, T0, ONE_PM], [funded_to(self.position(self.first), one) for one in (None, watch, until_one)]
        )

    def test_the_last_hour_of_a_closed_position_is_asked_for_too_for_a_week(self) -> None:
        book = book_of([self.first, given_a_filled_close(self.first, at=after(3605))])
        self.assertEqual([], list(unfunded(book, book.positions(), after(3620))))
        self.assertEqual(
            [self.first.terms.position_id], [one.id for one in unfunded(book, book.positions(), after(3640))]
        )
        self.assertEqual([], list(unfunded(book, book.positions(), after(3640) + timedelta(days=7))))
        told = given_watch(self.first, funded_until=ONE_PM)
        book.put_watch(told)
        self.assertEqual([], list(unfunded(book, book.positions(), after(3640))))


class HistoryTest(unittest.TestCase):
    """Opened at noon, closed at two on the next day; another still stands; a third ended long ago."""

    def setUp(self) -> None:
        self.tomorrow = T0 + timedelta(hours=26)
        self.opening = given_a_filled_trade("signal_1")
        self.close = closed_at(self.opening, self.tomorrow, btc="99000", eth="4040")
        self.standing = given_a_filled_trade("signal_2", pair="SOL/ETH", at=self.tomorrow)
        old = given_a_filled_trade("signal_0", pair="AVAX/ETH", at=T0 - timedelta(days=5))
        watch = given_watch(self.opening, funding_long=Usd(Decimal(1)), funded_until=self.tomorrow)
        trades = [old, given_a_filled_close(old), self.opening, self.close, self.standing]
        self.book = book_of(trades, [watch])
        shares = [
            FundingShare(self.opening.terms.position_id, ETH, at, Usd(Decimal("0.5")))
            for at in (ONE_PM, T0 + timedelta(hours=25))
        ]
        points = [EquityPoint(T0 + timedelta(hours=hour), Usd(Decimal(100_000 + hour))) for hour in range(-100, 26)]
        self.log = RememberedAccounts(points, shares)
        self.now = self.tomorrow + timedelta(hours=1)
        self.unrealized: dict[PositionId, Decimal | None] = {self.standing.terms.position_id: Decimal(3)}

    def test_each_day_has_what_moved_in_it(self) -> None:
        told = history(self.book, self.log, self.now, 2, self.unrealized)
        today, yesterday = told.days
        self.assertEqual((date(2026, 11, 23), date(2026, 11, 22)), (today.day, yesterday.day))
        self.assertEqual(today, told.today)
        self.assertEqual((Decimal(20), Decimal("0.5")), (today.realized_pnl, today.funding))
        self.assertEqual(
            (Decimal(0), Decimal("0.9"), Decimal("0.5")), (yesterday.realized_pnl, yesterday.fees, yesterday.funding)
        )
        self.assertEqual(Decimal("-1.4"), yesterday.pnl)
        self.assertEqual(Decimal(2000), yesterday.turnover)
        positions = [position_of((self.opening, self.close)), position_of((self.standing,))]
        self.assertEqual(sum(one.fees for one in positions), today.fees + yesterday.fees)
        self.assertEqual((Decimal(-20), Decimal(0)), (today.slippage_usd, yesterday.slippage_usd))

    def test_an_earlier_day_is_left_out_and_its_funding_stays_there(self) -> None:
        told = history(self.book, self.log, self.now, 1, self.unrealized)
        (today,) = told.days
        self.assertEqual((Decimal(20), Decimal("0.5")), (today.realized_pnl, today.funding))
        self.assertEqual(datetime(2026, 11, 23, tzinfo=UTC), told.since)

    def test_each_pair_has_its_line_largest_turnover_first(self) -> None:
        told = history(self.book, self.log, self.now, 2, self.unrealized)
        first, second = told.pairs
        self.assertEqual((str(Pair(BTC, ETH)), 0, 1, 1), (first.pair, first.open, first.closed, first.won))
        self.assertEqual(
            (Decimal(20), Decimal(1), Decimal(0)), (first.realized_pnl, first.funding, first.unrealized_pnl)
        )
        self.assertEqual(("SOL/ETH", 1, 0, 0), (second.pair, second.open, second.closed, second.won))
        self.assertEqual((Decimal(3), Decimal(0)), (second.unrealized_pnl, second.slippage_bps))
        self.assertEqual(sum(day.pnl for day in told.days), sum(pair.pnl for pair in told.pairs))

    def test_what_is_paid_or_closed_at_midnight_is_the_new_day_s(self) -> None:
        midnight = datetime(2026, 11, 23, tzinfo=UTC)
        close = closed_at(self.opening, midnight, btc="99000", eth="4040")
        share = FundingShare(self.opening.terms.position_id, ETH, midnight, Usd(Decimal("0.5")))
        watch = given_watch(self.opening, funding_long=Usd(Decimal("0.5")), funded_until=midnight)
        told = history(book_of([self.opening, close], [watch]), RememberedAccounts([], [share]), self.now, 1, {})
        self.assertEqual((Decimal(20), Decimal("0.5")), (told.today.realized_pnl, told.today.funding))
        self.assertEqual([1], [pair.closed for pair in told.pairs])

    def test_who_made_no_more_than_it_cost_has_not_won(self) -> None:
        fees = position_of((self.opening, self.close)).fees
        for funding, won in ((19 - fees, 1), (20 - fees, 0), (21 - fees, 0)):
            with self.subTest(funding=funding):
                watch = given_watch(self.opening, funding_long=Usd(funding), funded_until=self.tomorrow)
                told = history(book_of([self.opening, self.close], [watch]), NothingKept(), self.now, 2, {})
                self.assertEqual([won], [pair.won for pair in told.pairs])
                self.assertEqual([won], [reason.won for reason in told.reasons])

    def test_each_way_out_has_its_line_whose_money_is_that_of_its_positions(self) -> None:
        told = history(self.book, self.log, self.now, 2, self.unrealized)
        (line,) = told.reasons
        pair = told.pairs[0]
        self.assertEqual((ExitReason.MANUAL, 1, 1), (line.exit_reason, line.closed, line.won))
        self.assertEqual(
            (pair.realized_pnl, pair.fees, pair.funding, pair.pnl, pair.turnover, pair.slippage_bps),
            (line.realized_pnl, line.fees, line.funding, line.pnl, line.turnover, line.slippage_bps),
        )

    def test_what_is_archived_is_read_too(self) -> None:
        archived = Archived((position_of((self.opening, self.close)), (self.opening, self.close)))
        told = history(Book(archived), self.log, self.now, 2, {})
        self.assertEqual([Decimal(20), Decimal(0)], [day.realized_pnl for day in told.days])

    def test_an_unknown_value_makes_no_number(self) -> None:
        for unknown in ({}, {self.standing.terms.position_id: None}):
            told = history(self.book, self.log, self.now, 2, unknown)
            self.assertIsNone(told.pairs[1].unrealized_pnl)

    def test_a_position_that_never_filled_is_no_closed_one(self) -> None:
        canceled = given_a_trade(TradeCanceled(T0, "nobody wanted it"))
        told = history(book_of([canceled]), NothingKept(), after(60), 1, {})
        self.assertEqual(((), (), (), ()), (told.days, told.pairs, told.reasons, told.equity_curve))
        self.assertEqual((date(2026, 11, 22), ZERO, None), (told.today.day, told.today.pnl, told.today.slippage_bps))

    def test_a_loss_after_costs_is_not_won(self) -> None:
        book = book_of([self.opening, given_a_filled_close(self.opening)])
        (line,) = history(book, RememberedAccounts(), self.now, 2, {}).pairs
        self.assertEqual((1, 0), (line.closed, line.won))

    def test_the_equity_curve_has_the_points_of_those_days_oldest_first(self) -> None:
        told = history(self.book, self.log, self.now, 2, self.unrealized)
        self.assertEqual(38, len(told.equity_curve))
        self.assertEqual(datetime(2026, 11, 22, tzinfo=UTC), told.equity_curve[0].taken_at)
        self.assertEqual(T0 + timedelta(hours=25), told.equity_curve[-1].taken_at)

    def test_a_long_curve_is_thinned_and_keeps_its_end(self) -> None:
        points = [EquityPoint(after(second), Usd(Decimal(second))) for second in range(2 * POINTS_MAX + 7)]
        for count in (0, 1, POINTS_MAX, POINTS_MAX + 1, len(points)):
            with self.subTest(count=count):
                thin = thinned(points[:count], POINTS_MAX)
                self.assertLessEqual(len(thin), POINTS_MAX)
                self.assertEqual(list(points[:count][-1:]), list(thin[-1:]))
                self.assertEqual(sorted(one.taken_at for one in thin), [one.taken_at for one in thin])
        self.assertEqual(tuple(points[:5]), thinned(points[:5], POINTS_MAX))

    def test_days_out_of_bounds_are_refused_by_name(self) -> None:
        for days in (0, -1, DAYS_MAX + 1):
            with self.subTest(days=days), self.assertRaises(InvalidRequest) as refused:
                since_of(T0, days)
            self.assertIn("days", str(refused.exception.facts))
        self.assertEqual(datetime(2026, 11, 16, tzinfo=UTC), since_of(T0))
