"""The book: trades by every key they are asked for, and the positions they add up to."""

import unittest
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from unittest.mock import patch

from tests.builders import (
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_orders,
    given_reports,
    given_watch,
)
from trading.domain.book import Book, NoHistory, Sums, book_of, sums_of
from trading.domain.errors import PositionNotFound, TradeNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Pair
from trading.domain.orders import OrderReport, OrderStatus
from trading.domain.positions import Position, PositionStatus, Watch, first_watch, position_of
from trading.domain.trades import HoldingGone, OrdersIntended, OrdersReported, Trade, record
from trading.domain.units import DOLLAR, PositionId, Price, Ratio, TradeId


def _found_gone(closing: Trade) -> Trade:
    """*closing* after an order that was refused, with its long leg not there any more."""
    at, leg = closing.events[-1].at, closing.terms.long
    orders = given_orders(closing.terms, at=at)
    refused = tuple(OrderReport(one.client_order_id, OrderStatus.REJECTED, at) for one in orders)
    for event in (OrdersIntended(at, orders), OrdersReported(at, refused)):
        closing = record(closing, event)
    return record(closing, HoldingGone(at, leg.coin, leg.quantity, Price(Decimal(90_000)), "not there"))


class BookTest(unittest.TestCase):
    def test_an_empty_book_knows_nothing(self) -> None:
        book = Book()
        self.assertEqual((book.trades(), book.live_trades(), book.positions(), book.standing_positions()), ((),) * 4)
        self.assertEqual(book.trades_of_signal("s"), ())
        self.assertEqual(book.trades_of_position(PositionId("p")), ())
        for answer in (
            book.find_trade(TradeId("t")),
            book.trade_of_key("k"),
            book.trade_of_approval("a"),
            book.watch(PositionId("p")),
        ):
            self.assertIsNone(answer)
        with self.assertRaises(TradeNotFound):
            book.trade(TradeId("t"))
        with self.assertRaises(PositionNotFound):
            book.position(PositionId("p"))

    def test_a_trade_is_found_by_all_its_names(self) -> None:
        trade = given_a_trade()
        book = book_of([trade])
        self.assertIs(book.trade(trade.id), trade)
        self.assertIs(book.find_trade(trade.id), trade)
        self.assertEqual(book.trades_of_signal("signal_1"), (trade,))
        self.assertIs(book.trade_of_key(trade.terms.request_key), trade)
        approval = trade.terms.approval
        assert approval is not None
        self.assertEqual(book.trade_of_approval(approval.id), trade.id)
        self.assertEqual(book.trades_of_position(trade.terms.position_id), (trade,))
        self.assertEqual(book.position(trade.terms.position_id).trade_id, trade.id)

    def test_a_position_begins_with_the_watch_of_its_opening_and_goes_on_with_what_is_written_down(self) -> None:
        trade = given_a_filled_trade()
        book, position_id = book_of([trade]), trade.terms.position_id
        self.assertIsNone(book.watch(position_id))
        self.assertEqual(first_watch(trade), book.watch_of(position_id))
        book.put_watch(given_watch(trade, rested=7))
        self.assertEqual(7, book.watch_of(position_id).rested)
        with self.assertRaises(PositionNotFound):
            book.watch_of(PositionId("p"))

    def test_a_trade_without_signal_key_and_approval_is_found_by_its_id(self) -> None:
        trade = given_a_trade(signal=None, approval=None, request_key="")
        book = book_of([trade])
        self.assertIs(book.trade(trade.id), trade)
        self.assertEqual(book.trades_of_signal("signal_1"), ())
        self.assertIsNone(book.trade_of_key(""))

    def test_a_newer_version_takes_the_place_of_the_older(self) -> None:
        old, new = given_a_trade(), given_a_filled_trade()
        self.assertEqual(old.id, new.id)
        book = book_of([old])
        self.assertEqual(book.live_trades(), (old,))
        book.put_trade(new)
        self.assertEqual((book.trades(), book.live_trades()), ((new,), ()))
        self.assertEqual(book.trades_of_signal("signal_1"), (new,))
        self.assertIs(book.position(new.terms.position_id).status, PositionStatus.OPEN)

    def test_what_was_written_off_and_taken_over_is_found_without_looking_through_all_trades(self) -> None:
        opening, plain = given_a_filled_trade(), given_a_filled_trade(signal_id="other")
        closing = _found_gone(given_a_closing_trade(opening))
        bought = given_a_filled_trade(signal_id="late")
        taken_over = replace(bought, terms=replace(bought.terms, pair=Pair(bought.terms.long.coin, DOLLAR)))
        book = book_of([opening, plain, closing, taken_over])
        with patch.object(Book, "trades", side_effect=AssertionError("all were looked through")):
            self.assertEqual(book.written_off(), (closing,))
            self.assertEqual(book.adopted(), (taken_over,))
        book.forget([opening.terms.position_id, taken_over.terms.position_id])
        self.assertEqual((book.written_off(), book.adopted()), ((), ()))

    def test_closes_that_ended_lately_are_found_from_the_newest_on(self) -> None:
        openings = [given_a_filled_trade(signal_id=f"s{number}") for number in range(4)]
        instants = (after(100), after(400), after(380), after(500))
        closes = [given_a_filled_close(one, at=at) for one, at in zip(openings, instants, strict=True)]
        live = given_a_closing_trade(given_a_filled_trade(signal_id="live"))
        book = book_of([*openings, *closes, live])
        self.assertEqual(book.closes_ended_since(instants[3]), (closes[3],))
        # Written by two processes whose clocks differ: the older one stands behind the newer.
        self.assertEqual(book.closes_ended_since(instants[1]), (closes[3], closes[1]))
        self.assertEqual(book.closes_ended_since(after(0)), tuple(reversed(closes)))
        self.assertEqual(book.closes_ended_since(after(9000)), ())
        book.forget([closes[3].terms.position_id])
        self.assertEqual(book.closes_ended_since(instants[2]), (closes[2], closes[1]))

    def test_attempts_of_a_signal_stand_in_order(self) -> None:
        first, second = given_a_trade(attempt=1), given_a_trade(attempt=2)
        self.assertEqual(book_of([first, second]).trades_of_signal("signal_1"), (first, second))

    def test_positions_are_newest_first_and_standing_ones_oldest_first(self) -> None:
        one, two, three = (given_a_filled_trade(signal_id=name) for name in ("s1", "s2", "s3"))
        book = book_of([one, two, three])
        self.assertEqual([position.trade_id for position in book.positions()], [three.id, two.id, one.id])
        self.assertEqual([position.trade_id for position in book.standing_positions()], [one.id, two.id, three.id])

    def test_a_closed_position_is_kept_but_stands_no_more(self) -> None:
        opening = given_a_filled_trade()
        book = book_of([opening])
        closing = given_a_closing_trade(opening)
        book.put_trade(closing)
        self.assertIs(book.standing_positions()[0].status, PositionStatus.CLOSING)
        self.assertEqual(book.live_trades(), (closing,))
        closed = given_a_filled_close(opening)
        book.put_trade(closed)
        self.assertEqual(book.standing_positions(), ())
        self.assertIs(book.position(opening.terms.position_id).status, PositionStatus.CLOSED)
        self.assertEqual(book.trades_of_position(opening.terms.position_id), (opening, closed))

    def test_a_closing_trade_is_no_attempt_of_its_signal(self) -> None:
        opening = given_a_filled_trade()
        closing = given_a_closing_trade(opening)
        closing = replace(closing, terms=replace(closing.terms, signal=opening.terms.signal, request_key="other"))
        book = book_of([opening, closing])
        self.assertEqual(book.trades_of_signal("signal_1"), (opening,))
        self.assertIsNone(book.trade_of_key("other"))

    def test_a_close_without_its_opening_makes_no_position(self) -> None:
        closing = given_a_closing_trade(given_a_filled_trade())
        book = book_of([closing])
        self.assertEqual((book.trades(), book.positions()), ((closing,), ()))

    def test_a_watch_counts_whether_it_comes_before_or_after_its_trades(self) -> None:
        trade = given_a_working_trade()
        watch = given_watch(trade, high_water=Ratio(Decimal("0.02")))
        before, behind = book_of([trade], [watch]), book_of([trade])
        behind.put_watch(watch)
        for book in (before, behind):
            self.assertEqual(book.watch(watch.position_id), watch)
            self.assertEqual(book.position(watch.position_id).high_water, Decimal("0.02"))

    def test_the_end_of_an_approved_position_is_untold_until_the_watch_says_otherwise(self) -> None:
        opening = given_a_filled_trade()
        book = book_of([opening])
        self.assertEqual(book.untold(), ())
        book.put_trade(given_a_filled_close(opening))
        self.assertEqual([position.trade_id for position in book.untold()], [opening.id])
        book.put_watch(given_watch(opening))
        self.assertEqual(len(book.untold()), 1)
        book.put_watch(given_watch(opening, outcome_told=True))
        self.assertEqual(book.untold(), ())

    def test_a_position_that_nobody_approved_has_nobody_to_tell(self) -> None:
        opening = given_a_filled_trade(approval=None)
        self.assertEqual(book_of([opening, given_a_filled_close(opening)]).untold(), ())

    def test_losing_exits_are_dated_by_pair_and_others_are_not(self) -> None:
        for reason in ExitReason:
            with self.subTest(reason=reason):
                opening = given_a_filled_trade()
                closed = given_a_filled_close(opening, reason=reason)
                losing = reason in (ExitReason.STOP_LOSS, ExitReason.LIQUIDATION, ExitReason.LEG_LOST)
                expected = {opening.terms.pair: closed.ended_at} if losing else {}
                self.assertEqual(book_of([opening, closed]).losing_exits(), expected)

    def test_what_was_read_does_not_change_with_the_book(self) -> None:
        book = book_of([given_a_trade(signal_id="s1")])
        trades, positions = book.trades(), book.positions()
        book.put_trade(given_a_trade(signal_id="s2"))
        self.assertEqual((len(trades), len(positions)), (1, 1))
        self.assertEqual((len(book.trades()), len(book.positions())), (2, 2))


class Kept(NoHistory):
    """A history of whole positions in a list, oldest first."""

    def __init__(self, *positions: tuple[Trade, ...], watch: Watch | None = None) -> None:
        self.held = positions
        self.one_watch = watch

    def trade(self, trade_id: TradeId) -> Trade | None:
        return next((one for trades in self.held for one in trades if one.id == trade_id), None)

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        return tuple(one[0] for one in self.held if one[0].terms.signal and one[0].terms.signal.id == signal_id)

    def has_position(self, position_id: PositionId) -> bool:
        return bool(self.trades_of_position(position_id))

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        return next((one for one in self.held if one[0].terms.position_id == position_id), ())

    def watch(self, position_id: PositionId) -> Watch | None:
        return self.one_watch

    def sums(self) -> Sums:
        return sums_of(position_of(one, self.one_watch) for one in self.held)

    def trade_count(self) -> int:
        return sum(len(one) for one in self.held)

    def positions(self, until: datetime | None = None) -> Iterator[Position]:
        known = (position_of(one, self.one_watch) for one in reversed(self.held))
        return (one for one in known if until is None or one.entered_at <= until)

    def trades(self, until: datetime | None = None) -> Iterator[Trade]:
        known = sorted((one for trades in self.held for one in trades), key=lambda one: one.terms.accepted_at)
        return (one for one in reversed(known) if until is None or one.terms.accepted_at <= until)


def given_a_life(name: str, minutes: int = 0) -> tuple[Trade, Trade]:
    opening = given_a_filled_trade(name, at=after(minutes * 60))
    return opening, given_a_filled_close(opening)


class HistoryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.lives = [given_a_life(name, 10 * number) for number, name in enumerate(("s0", "s1", "s2", "s3"))]
        self.book = Book(Kept(*self.lives[:2]))
        for trade in (*self.lives[2], *self.lives[3]):
            self.book.put_trade(trade)

    def test_without_a_history_a_book_has_what_is_in_it(self) -> None:
        book = book_of(self.lives[0])
        self.assertEqual((book.page_of_positions(9)[1], len(book.page_of_trades(9)[0])), (1, 2))
        self.assertEqual(
            (book.sums().positions, [one.trade_id for one in book.all_positions()]), (1, [self.lives[0][0].id])
        )
        book.recall(self.lives[1][0].terms.position_id)
        self.assertEqual(len(book.trades()), 2)

    def test_pages_reach_into_the_history_and_marks_may_be_on_either_side(self) -> None:
        ids = [opening.terms.position_id for opening, _ in reversed(self.lives)]
        for size in (1, 2, 3, 9):
            found: list[PositionId] = []
            while page := self.book.page_of_positions(size, found[-1] if found else None)[0]:
                found += [one.id for one in page]
            self.assertEqual(found, ids)
        trades: list[TradeId] = []
        while some := self.book.page_of_trades(3, trades[-1] if trades else None)[0]:
            trades += [one.id for one in some]
        self.assertEqual((len(set(trades)), self.book.page_of_trades(1)[1]), (8, 8))
        self.assertEqual([one.id for one in self.book.all_positions()], ids)

    def test_only_what_is_closed_is_looked_for_in_the_history(self) -> None:
        held = given_a_filled_trade("held", at=after(3600))
        self.book.put_trade(held)
        self.assertEqual(self.book.page_of_positions(9, None, PositionStatus.OPEN)[1], 1)
        page, total = self.book.page_of_positions(9, held.terms.position_id, PositionStatus.CLOSED)
        self.assertEqual((len(page), total), (4, 4))
        self.assertEqual(self.book.page_of_positions(9, held.terms.position_id, PositionStatus.OPEN)[0], ())

    def test_what_is_in_both_places_counts_once_and_as_the_memory_has_it(self) -> None:
        opening, closing = self.lives[1]
        position_id = opening.terms.position_id
        self.book.recall(position_id)
        late = record(opening, given_reports(opening.orders, at=after(9000)))
        self.book.put_trade(late)
        self.book.recall(position_id)
        self.assertEqual(self.book.trades_of_position(position_id), (late, closing))
        self.assertEqual(self.book.trades_of_signal("s1"), (late,))
        self.assertEqual((self.book.page_of_positions(9)[1], self.book.page_of_trades(9)[1]), (4, 8))
        self.assertEqual((len(self.book.page_of_trades(9)[0]), self.book.sums().positions), (8, 4))

    def test_what_is_forgotten_is_the_historys_alone(self) -> None:
        book = Book(Kept(*self.lives, watch=given_watch(self.lives[0][0])))
        again = given_a_trade(signal_id="s0", attempt=2)
        bare = given_a_filled_trade("bare", signal=None, approval=None, request_key="")
        for trade in (*self.lives[0], again, bare):
            book.put_trade(trade)
        book.forget([self.lives[0][0].terms.position_id, bare.terms.position_id])
        self.assertEqual(book.trades(), (again,))
        self.assertEqual(book.trades_of_signal("s0"), (self.lives[0][0], again))
        self.assertTrue(book.position(self.lives[0][0].terms.position_id).closed)
        self.assertEqual(book.watch(self.lives[0][0].terms.position_id), given_watch(self.lives[0][0]))
        self.assertFalse(book.holds(bare.terms.position_id))
        book.forget([again.terms.position_id])
        self.assertEqual(book.trades_of_signal("s0"), (self.lives[0][0],))
        book.recall(self.lives[0][0].terms.position_id)
        self.assertEqual(book.watch(self.lives[0][0].terms.position_id), given_watch(self.lives[0][0]))


if __name__ == "__main__":
    unittest.main()
