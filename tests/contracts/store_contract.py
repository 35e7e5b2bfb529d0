"""What every store promises, whatever it is made of: mix `StoreContract` into a TestCase and say how one is made."""

import threading
import unittest
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
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
from trading.domain.positions import PositionStatus
from trading.domain.trades import (
    CancelWanted,
    OrdersIntended,
    TradeCanceled,
    TradeFilled,
    TradeStatus,
    record,
    replay,
)
from trading.domain.units import Ratio, Usd
from trading.ports import Store

BINDING = Binding("paper", "demo", "0xabc")


if TYPE_CHECKING:
    Base = unittest.TestCase
else:
    Base = object  # a TestCase of its own would be run without a store


class StoreContract(Base):
    """The promises, one a test. Two stores of one `make_store` are two processes on the same storage."""

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

    # locks

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
