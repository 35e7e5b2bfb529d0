"""What every store promises, whatever it is made of: mix `StoreContract` into a TestCase and say how one is made."""

import contextlib
import io
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_exit_plan,
    given_orders,
    given_reports,
    given_terms,
    given_watch,
)
from trading.domain.desk_state import Binding, Cause, DeskState, TradingState
from trading.domain.errors import Busy, DeskError, InvariantBroken, PositionNotFound, TradeNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import PositionStatus
from trading.domain.trades import (
    CancelWanted,
    CloseHurried,
    OrdersIntended,
    Trade,
    TradeCanceled,
    TradeFilled,
    TradeStatus,
    record,
    replay,
)
from trading.domain.units import PositionId, Ratio, Usd
from trading.ports import Store

ROOT = Path(__file__).resolve().parents[2]
BINDING = Binding("paper", "demo", "0xabc")
LONG_AFTER = T0 + timedelta(days=60)
ACCEPTED_BY_EACH = 15
# What a process does with its `store`: accept trades whose leverage says how many were there before.
ACCEPT = f"""
import sys
from tests.builders import given_a_trade
for number in range({ACCEPTED_BY_EACH}):
    with store.exclusive() as book:
        store.save(given_a_trade(signal_id=f"{{sys.argv[1]}}-{{number}}", leverage=len(book.trades()) + 1))
"""


if TYPE_CHECKING:
    Base = unittest.TestCase
else:
    Base = object  # a TestCase of its own would be run without a store


class StoreContract(Base):
    """The promises, one a test. Two stores of one `make_store` are two processes on the same storage."""

    @property
    def process_script(self) -> str | None:
        """A Python program that makes `store`, a view of the same storage, and then does `ACCEPT`; None without one."""
        return None

    def make_store(self) -> Store:
        """One more view of the same storage, as another process would have it; bound to BINDING."""
        raise NotImplementedError

    # trades

    def test_what_one_saves_every_other_reads(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade = given_a_filled_trade()
        self.assertEqual(one.save(trade), trade)
        for store in (one, other, self.make_store()):
            self.assertEqual(store.book().trade(trade.id), trade)
            self.assertEqual(store.book().position(trade.terms.position_id).status, PositionStatus.OPEN)
            self.assertEqual(replay(store.book().trade(trade.id).events), trade)

    def test_what_was_put_off_is_read_by_everybody_and_kept_by_the_next_that_was_not(self) -> None:
        one, other = self.make_store(), self.make_store()
        whole = given_a_filled_trade()
        first, second = replay(whole.events[:1]), replay(whole.events[:2])
        self.assertEqual(first, one.save(first, durable=False))
        self.assertEqual(first, one.book().trade(whole.id))
        self.assertEqual(first, other.book().trade(whole.id))
        self.assertEqual(second, one.save(second, durable=False))
        self.assertEqual(second, one.save(second))
        self.assertEqual(whole, other.save(whole, durable=False))
        other.make_sure()
        other.make_sure()
        for store in (one, other, self.make_store()):
            self.assertEqual(whole, store.book().trade(whole.id))
            self.assertEqual(PositionStatus.OPEN, store.book().position(whole.terms.position_id).status)

    def test_a_new_store_is_empty_and_knows_it(self) -> None:
        book = self.make_store().book()
        self.assertEqual((book.trades(), book.positions()), ((), ()))
        with self.assertRaises(TradeNotFound):
            book.trade(given_terms().trade_id)

    def test_events_are_added_as_they_come_and_saving_again_adds_nothing(self) -> None:
        one, other = self.make_store(), self.make_store()
        whole = given_a_filled_trade()
        for count in range(1, len(whole.events) + 1):
            part = replay(whole.events[:count])
            for _ in range(2):
                self.assertEqual(one.save(part), part)
            self.assertEqual(other.book().trade(whole.id), part)
        self.assertEqual(self.make_store().book().trade(whole.id).events, whole.events)

    def test_an_older_version_of_a_trade_does_not_undo_a_newer_one(self) -> None:
        store = self.make_store()
        whole = given_a_filled_trade()
        store.save(whole)
        self.assertEqual(store.save(replay(whole.events[:2])), whole)
        self.assertEqual(store.book().trade(whole.id), whole)

    def test_trades_keep_the_order_of_their_acceptance(self) -> None:
        one, other = self.make_store(), self.make_store()
        trades = [given_a_trade(signal_id=f"s{number}") for number in range(6)]
        for number, trade in enumerate(trades):
            (one, other)[number % 2].save(trade)
        one.save(record(trades[0], CancelWanted(after(1), "enough")))
        expected = [trade.id for trade in trades]
        for store in (one, other, self.make_store()):
            self.assertEqual([trade.id for trade in store.book().trades()], expected)
            self.assertEqual([position.trade_id for position in store.book().positions()], expected[::-1])

    def test_a_close_closes_the_position_for_everybody(self) -> None:
        one, other = self.make_store(), self.make_store()
        opening = one.save(given_a_filled_trade())
        other.save(given_a_closing_trade(opening))
        position = opening.terms.position_id
        self.assertEqual(one.book().position(position).status, PositionStatus.CLOSING)
        other.save(given_a_filled_close(opening))
        for store in (one, other, self.make_store()):
            self.assertEqual(store.book().position(position).status, PositionStatus.CLOSED)
            self.assertEqual(store.book().standing_positions(), ())
            self.assertEqual(len(store.book().trades_of_position(position)), 2)

    def test_a_wish_to_cancel_from_elsewhere_is_kept_and_the_new_events_follow_it(self) -> None:
        worker, canceller = self.make_store(), self.make_store()
        trade = worker.save(given_a_working_trade())
        canceller.save(record(canceller.book().trade(trade.id), CancelWanted(after(5), "by hand")))
        reported = record(trade, given_reports(trade.orders, at=after(2)))
        stored = worker.save(record(reported, TradeFilled(after(6))))
        self.assertEqual(stored.cancel_wanted, "by hand")
        self.assertEqual(stored.status, TradeStatus.FILLED)
        kinds = [type(event).__name__ for event in stored.events]
        self.assertEqual(kinds[-3:], ["CancelWanted", "OrdersReported", "TradeFilled"])
        self.assertEqual([event.at for event in stored.events[-3:]], [after(5), after(5), after(6)])
        for store in (worker, canceller, self.make_store()):
            self.assertEqual(store.book().trade(trade.id), stored)

    def test_the_wish_is_seen_also_by_a_worker_with_nothing_new(self) -> None:
        worker, canceller = self.make_store(), self.make_store()
        trade = worker.save(given_a_working_trade())
        canceller.save(record(trade, CancelWanted(after(5), "by hand")))
        self.assertEqual(worker.save(trade).cancel_wanted, "by hand")

    def test_a_close_that_somebody_hurries_keeps_that_and_the_new_events_follow_it(self) -> None:
        worker, other = self.make_store(), self.make_store()
        opening = worker.save(given_a_filled_trade())
        closing = worker.save(given_a_closing_trade(opening))
        at = closing.terms.accepted_at
        other.save(record(closing, CloseHurried(at, ExitReason.STOP_LOSS, "a breach")))
        intended = record(closing, OrdersIntended(at, given_orders(closing.terms, at=at)))
        stored = worker.save(intended)
        self.assertEqual([type(event).__name__ for event in stored.events[-2:]], ["CloseHurried", "OrdersIntended"])
        self.assertIs(self.make_store().book().trade(closing.id).exit_reason, ExitReason.STOP_LOSS)

    def test_a_trade_that_went_another_way_is_not_saved(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade = one.save(given_a_trade())
        canceled = other.save(record(trade, TradeCanceled(after(1), "no")))
        rows = {
            "events after the end": record(trade, OrdersIntended(after(2), given_orders(trade.terms, at=after(2)))),
            "other terms under the same id": given_a_trade(leverage=3),
        }
        for name, rival in rows.items():
            with self.subTest(name), self.assertRaises(InvariantBroken):
                one.save(rival)
        self.assertEqual(self.make_store().book().trade(trade.id), canceled)

    def test_a_wish_that_makes_the_rest_impossible_is_a_bug_and_saves_nothing(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade = one.save(given_a_working_trade())
        other.save(record(trade, CancelWanted(after(1), "by hand")))
        ahead = record(trade, given_reports(trade.orders, at=after(1)))
        impossible = replace(ahead, events=(*ahead.events, TradeFilled(after(2)), TradeFilled(after(3))))
        with self.assertRaises(InvariantBroken):
            one.save(impossible)
        self.assertEqual(len(self.make_store().book().trade(trade.id).events), 3)

    def test_an_opening_without_an_exit_plan_is_refused(self) -> None:
        store = self.make_store()
        with self.assertRaises(InvariantBroken):
            store.save(given_a_trade(exit_plan=None))
        self.assertEqual(self.make_store().book().trades(), ())

    # watches

    def test_a_watch_survives_and_is_seen_by_all(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade = one.save(given_a_filled_trade())
        plan = given_exit_plan(take_profit=Ratio(Decimal("0.05")))
        watch = given_watch(trade, exit_plan=plan, high_water=Ratio(Decimal("0.01")), funding_long=Usd(Decimal("0.3")))
        other.save_watch(watch)
        one.save(given_a_closing_trade(trade))
        for store in (one, other, self.make_store()):
            position = store.book().position(trade.terms.position_id)
            self.assertEqual(store.book().watch(position.id), watch)
            self.assertEqual((position.exit_plan, position.high_water), (plan, watch.high_water))
            self.assertEqual(position.funding, watch.funding_long)

    def test_there_is_no_watch_over_nothing(self) -> None:
        with self.assertRaises(PositionNotFound):
            self.make_store().save_watch(given_watch(given_a_trade()))

    # the desk's state

    def test_the_state_is_active_at_first_and_bound(self) -> None:
        self.assertEqual(self.make_store().state(), DeskState(binding=BINDING))

    def test_a_change_of_state_survives_and_is_seen_by_all(self) -> None:
        one, other = self.make_store(), self.make_store()
        one.state()
        other.change_state(
            lambda state: replace(state, state=TradingState.REDUCING, causes=frozenset({Cause.DRIFT}), since=T0)
        )
        one.change_state(lambda state: replace(state, causes=state.causes | {Cause.DISK}))
        for store in (one, other, self.make_store()):
            state = store.state()
            self.assertEqual(state.state, TradingState.REDUCING)
            self.assertEqual(state.causes, {Cause.DRIFT, Cause.DISK})
            self.assertEqual((state.since, state.binding), (T0, BINDING))

    def test_a_change_cannot_change_the_binding(self) -> None:
        state = self.make_store().change_state(lambda _: DeskState(state=TradingState.HALTED))
        self.assertEqual((state.state, state.binding), (TradingState.HALTED, BINDING))

    def test_changes_at_the_same_time_are_all_made(self) -> None:
        stores = [self.make_store() for _ in range(2)]

        def count_up() -> None:
            for number in range(10):
                stores[number % 2].change_state(lambda state: replace(state, flat_reads=state.flat_reads + 1))

        self.in_threads(*[count_up] * 4)
        self.assertEqual({store.state().flat_reads for store in (*stores, self.make_store())}, {40})

    def test_a_change_that_fails_changes_nothing(self) -> None:
        store = self.make_store()

        def fail(state: DeskState) -> DeskState:
            raise Busy("not now")

        with self.assertRaises(Busy):
            store.change_state(fail)
        self.assertEqual(store.state(), DeskState(binding=BINDING))

    # following and recovery

    def test_what_is_read_is_never_older_than_what_was_read_before(self) -> None:
        writer, reader = self.make_store(), self.make_store()
        whole = given_a_filled_trade()
        seen: list[int] = []

        def write() -> None:
            for count in range(1, len(whole.events) + 1):
                writer.save(replay(whole.events[:count]))

        def read() -> None:
            while not seen or seen[-1] < len(whole.events):
                found = reader.book().find_trade(whole.id)
                seen.append(len(found.events) if found is not None else 0)

        self.in_threads(write, read)
        self.assertEqual(seen, sorted(seen))

    def test_a_book_once_had_does_not_lose_what_it_showed(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade = one.save(given_a_filled_trade())
        book = other.book()
        one.save(given_a_filled_close(trade))
        one.save_watch(given_watch(trade, outcome_told=True))
        one.roll_over(LONG_AFTER)
        self.assertEqual(book.trade(trade.id), trade)
        self.assertTrue(other.book().position(trade.terms.position_id).closed)

    def test_a_store_that_is_opened_later_knows_all_that_was_acknowledged(self) -> None:
        trades = [self.make_store().save(given_a_filled_trade(f"s{number}")) for number in range(3)]
        self.assertEqual(self.make_store().book().trades(), tuple(trades))
        self.assertEqual(dict(self.make_store().broken), {})

    # history

    def test_what_ended_long_ago_is_rolled_over_once_and_stays_known_by_every_name(self) -> None:
        one, other = self.make_store(), self.make_store()
        opening, closing = self.given_an_ended_position(one, "old", reason=ExitReason.STOP_LOSS)
        before = other.book().position(opening.terms.position_id)
        self.assertEqual((one.roll_over(LONG_AFTER), other.roll_over(LONG_AFTER)), (1, 0))
        approval = opening.terms.approval
        assert approval is not None
        for store in (one, other, self.make_store()):
            book = store.book()
            self.assertEqual((book.trades(), book.positions()), ((), ()))
            self.assertEqual((book.trade(opening.id), book.find_trade(closing.id)), (opening, closing))
            self.assertEqual(
                (book.position(before.id), book.trades_of_position(before.id)), (before, (opening, closing))
            )
            self.assertEqual(book.trades_of_signal("old"), (opening,))
            self.assertEqual(book.trade_of_key(opening.terms.request_key), opening)
            self.assertEqual(book.trade_of_approval(approval.id), opening.id)
            self.assertEqual(book.losing_exits(), {before.pair: closing.ended_at})
            self.assertEqual(book.watch(before.id), given_watch(opening, outcome_told=True))
            self.assertEqual(book.sums().realized, before.realized)
            self.assertEqual(store.save(opening), opening)

    def test_only_what_is_over_and_told_and_a_day_old_is_rolled_over(self) -> None:
        store = self.make_store()
        ended, _ = self.given_an_ended_position(store, "ended")
        held = store.save(given_a_filled_trade("held"))
        untold = store.save(given_a_filled_trade("untold"))
        store.save(given_a_filled_close(untold))
        self.assertEqual(store.roll_over(after(3600)), 0)
        self.assertEqual(store.roll_over(LONG_AFTER), 1)
        self.assertEqual([one.trade_id for one in store.book().positions()], [untold.id, held.id])
        self.assertTrue(store.book().position(ended.terms.position_id).closed)

    def test_late_words_on_what_was_rolled_over_are_taken_in(self) -> None:
        one, other = self.make_store(), self.make_store()
        opening, closing = self.given_an_ended_position(one, "s")
        one.roll_over(LONG_AFTER)
        late = record(opening, given_reports(opening.orders, at=after(9000)))
        self.assertEqual(other.save(late), late)
        watch = given_watch(opening, outcome_told=True, funding_short=Usd(Decimal("0.25")))
        one.save_watch(watch)
        for _ in range(2):
            for store in (one, other, self.make_store()):
                self.assertEqual(store.book().trades_of_position(watch.position_id), (late, closing))
                self.assertEqual(store.book().position(watch.position_id).funding, Decimal("0.25"))
                self.assertEqual((store.book().page_of_positions(9)[1], store.book().page_of_trades(9)[1]), (1, 2))
            one.roll_over(LONG_AFTER)

    def test_pages_hold_everything_once_and_newest_first(self) -> None:
        store = self.make_store()
        trades = [self.given_an_ended_position(store, f"s{number}", day=number)[0] for number in range(5)]
        store.roll_over(T0 + timedelta(days=4))
        expected = [trade.terms.position_id for trade in reversed(trades)]
        for book in (store.book(), self.make_store().book()):
            for size in (1, 2, 9):
                found: list[PositionId] = []
                while page := book.page_of_positions(size, found[-1] if found else None)[0]:
                    found += [one.id for one in page]
                self.assertEqual(found, expected)
            self.assertEqual((book.page_of_positions(1)[1], len(book.page_of_trades(99)[0])), (5, 10))

    def test_others_write_while_one_rolls(self) -> None:
        roller, writer = self.make_store(), self.make_store()
        trades = [self.given_an_ended_position(roller, f"s{number}")[0] for number in range(8)]

        def roll() -> None:
            for _ in range(3):
                roller.roll_over(LONG_AFTER)

        def write() -> None:
            for number in range(12):
                trades.append(self.given_an_ended_position(writer, f"w{number}")[0])

        self.in_threads(roll, write)
        for store in (roller, writer, self.make_store()):
            for trade in trades:
                self.assertEqual(store.book().trade(trade.id), trade)
            self.assertEqual(store.book().page_of_positions(1)[1], len(trades))

    # the worst hour

    def test_with_room_on_the_disk_nothing_is_full_and_the_reserve_is_there(self) -> None:
        store = self.make_store()
        self.assertEqual((store.disk_full, store.restore_reserve()), (False, True))

    def test_a_rescue_is_kept_outside_of_the_ledger(self) -> None:
        store = self.make_store()
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertTrue(store.rescue({"id": "close", "coin": "BTC"}))
        self.assertIn("BTC", said.getvalue())
        self.assertEqual(self.make_store().book().trades(), ())

    # locks

    def test_processes_exclude_each_other_and_lose_nothing(self) -> None:
        script = self.process_script
        if script is None:
            raise unittest.SkipTest("this store lives in one process")
        store = self.make_store()
        run = [sys.executable, "-c", script]
        processes = [subprocess.Popen([*run, name], cwd=ROOT) for name in ("p", "q")]
        self.assertEqual([process.wait(60) for process in processes], [0, 0])
        leverages = [trade.terms.leverage for trade in store.book().trades()]
        self.assertEqual(leverages, list(range(1, 2 * ACCEPTED_BY_EACH + 1)))

    def test_the_book_lock_excludes_threads_and_other_processes_and_shows_what_they_did(self) -> None:
        one, other = self.make_store(), self.make_store()
        inside: list[int] = []

        def accept(store: Store, name: str) -> None:
            for number in range(5):
                with store.exclusive() as book:
                    count = len(book.trades())
                    store.save(given_a_trade(signal_id=f"{name}{number}"))
                    inside.append(count)

        self.in_threads(*(partial(accept, store, name) for store, name in ((one, "a"), (one, "b"), (other, "c"))))
        self.assertEqual(inside, list(range(15)))

    def test_saves_at_the_same_time_are_all_kept(self) -> None:
        stores = [self.make_store() for _ in range(2)]

        def save(store: Store, name: str) -> None:
            for number in range(10):
                store.save(given_a_filled_trade(signal_id=f"{name}{number}"))

        self.in_threads(*(partial(save, stores[number % 2], f"t{number}-") for number in range(4)))
        for store in (*stores, self.make_store()):
            trades = store.book().trades()
            self.assertEqual(len({trade.id for trade in trades}), 40)
            self.assertTrue(all(trade.status is TradeStatus.FILLED for trade in trades))

    def test_a_seat_is_for_one_and_free_again_afterwards(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade_id, another = given_terms("a").trade_id, given_terms("b").trade_id
        with one.seat(trade_id):
            for store in (one, other):
                with self.assertRaises(Busy), store.seat(trade_id):
                    self.fail("two on one seat")
                with self.assertRaises(Busy), store.seat(trade_id, wait_seconds=0.03):
                    self.fail("two on one seat")
            with other.seat(another):
                pass
        with other.seat(trade_id):
            pass

    def test_a_seat_that_is_waited_for_is_had_when_it_is_free(self) -> None:
        one, other = self.make_store(), self.make_store()
        trade_id = given_terms().trade_id
        taken, had = threading.Event(), threading.Event()

        def sit() -> None:
            with one.seat(trade_id):
                taken.set()
                had.wait(0.05)

        def wait() -> None:
            taken.wait(5)
            with other.seat(trade_id, wait_seconds=5):
                had.set()

        self.in_threads(sit, wait)
        self.assertTrue(had.is_set())

    def given_an_ended_position(
        self, store: Store, name: str, day: int = 0, reason: ExitReason = ExitReason.MANUAL
    ) -> tuple[Trade, Trade]:
        """A position that was opened and closed on *day*, of whose end Guardian knows: its two trades."""
        opening = store.save(given_a_filled_trade(name, at=T0 + timedelta(days=day)))
        closing = store.save(given_a_filled_close(opening, reason=reason))
        store.save_watch(given_watch(opening, outcome_told=True))
        return opening, closing

    def in_threads(self, *calls: Callable[[], None]) -> None:
        """Run all *calls* at once; what one of them raises fails the test."""
        failures: list[BaseException] = []

        def run(call: Callable[[], None]) -> None:
            try:
                call()
            except (AssertionError, RuntimeError, DeskError) as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
