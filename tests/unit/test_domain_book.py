"""The book: trades by every key they are asked for, and the positions they add up to."""

import unittest
from dataclasses import replace
from decimal import Decimal

from tests.builders import (
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_watch,
)
from trading.domain.book import Book, book_of
from trading.domain.errors import PositionNotFound, TradeNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import PositionStatus
from trading.domain.units import PositionId, Ratio, TradeId


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
                losing = reason in (ExitReason.STOP_LOSS, ExitReason.LIQUIDATION)
                expected = {opening.terms.pair: closed.ended_at} if losing else {}
                self.assertEqual(book_of([opening, closed]).losing_exits(), expected)

    def test_what_was_read_does_not_change_with_the_book(self) -> None:
        book = book_of([given_a_trade(signal_id="s1")])
        trades, positions = book.trades(), book.positions()
        book.put_trade(given_a_trade(signal_id="s2"))
        self.assertEqual((len(trades), len(positions)), (1, 1))
        self.assertEqual((len(book.trades()), len(book.positions())), (2, 2))


if __name__ == "__main__":
    unittest.main()
