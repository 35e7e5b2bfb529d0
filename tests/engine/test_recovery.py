import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from tests.builders import given_a_working_trade
from tests.engine.bent_venue import a_bent_scene, with_store
from tests.engine.scripted_venue import Scene, lost_after, lost_before, unknown_for
from trading.domain.book import Book
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import Busy
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.trades import PositionEffect, TradeStatus
from trading.domain.units import Coin, Quantity, TradeId
from trading.engine import closing, emergency, working
from trading.engine.recovery import (
    DriftMemory,
    book_holdings,
    doubts,
    drifts,
    foreign_holdings,
    overdue_closes,
    reconcile,
    recover,
)
from trading.engine.requests import Execution, TwapRequest

ETH, BTC, SOL = Coin("ETH"), Coin("BTC"), Coin("SOL")


def empty(account: Account) -> Account:
    return replace(account, holdings={})


class RecoveryTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.memory = DriftMemory()

    def compare(self, seconds: float = 1.0) -> TradingState:
        self.scene.clock.advance(seconds)
        reconcile(self.scene.desk, self.memory, self.scene.store.book(), self.venue.account())
        return self.scene.store.state().state

    def drifting(self, scene: Scene | None = None) -> list[Coin]:
        scene = scene or self.scene
        return [
            one.coin for one in drifts(scene.store.book(), self.venue.account(), scene.store.state(), self.venue.traits)
        ]


class OverdueTest(RecoveryTestCase):
    def test_it_is_a_close_that_is_past_its_own_time(self) -> None:
        twap = TwapRequest(180, 5)
        opened = self.scene.opened(size="6000", execution=Execution.TWAP, twap=twap)
        self.scene.clock.advance(500)
        self.assertEqual(0, self.overdue())
        self.scene.ticks(40, 5)
        closing.close(self.scene.desk, opened.id, ExitReason.MANUAL, twap=twap)
        for seconds, count in ((178, 0), (61, 0), (2, 1)):
            self.scene.clock.advance(seconds)
            self.assertEqual(count, self.overdue(), seconds)

    def overdue(self) -> int:
        return len(overdue_closes(self.scene.store.book(), self.scene.clock.now()))


class DriftTest(RecoveryTestCase):
    def test_what_reads_differently_twice_two_seconds_apart_is_drift_and_nothing_is_sent(self) -> None:
        self.scene.opened()
        sent = len(self.venue.sent)
        self.venue.hold("ETH", "0.01")
        for seconds in (1.0, 1.0, 0.9):
            self.assertIs(TradingState.ACTIVE, self.compare(seconds))
        self.assertIs(TradingState.REDUCING, self.compare(0.1))
        state = self.scene.store.state()
        self.assertEqual((frozenset({Cause.DRIFT}), sent), (state.causes, len(self.venue.sent)))
        self.assertEqual("ETH: the venue holds 0.2600, the book 0.2500", state.why)

    def test_a_clock_that_was_set_back_does_not_put_it_off(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.01")
        self.compare()
        self.scene.clock.instant -= timedelta(hours=1)
        for seconds, state in ((0.1, TradingState.ACTIVE), (2.0, TradingState.REDUCING)):
            self.assertIs(state, self.compare(seconds))

    def test_what_lacks_since_before_a_sleep_is_no_drift_before_its_fills_were_asked_for(self) -> None:
        """A monitor that had slept said drift on waking: nobody had asked for fills meanwhile. Pairs, seed 9410061."""
        self.scene.opened()
        self.venue.hold("ETH", "-0.1")

        def compared(seconds: float) -> TradingState:
            self.scene.clock.advance(seconds)
            reconcile(self.scene.desk, self.memory, self.scene.store.book(), self.venue.account(), [ETH])
            return self.scene.store.state().state

        for seconds in (1.0, 45.0, 2.5):
            self.assertIs(TradingState.ACTIVE, compared(seconds))
        self.memory.fills_asked[ETH] = self.scene.clock.now()
        self.assertIs(TradingState.REDUCING, compared(1.0))

    def test_what_is_too_much_since_before_a_sleep_is_drift(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.1")
        self.assertIs(TradingState.ACTIVE, self.compare(1.0))
        self.assertIs(TradingState.REDUCING, self.compare(45.0))

    def test_one_odd_reading_is_not_believed(self) -> None:
        self.scene.opened()
        for _ in range(3):
            self.venue.bend_account = empty
            self.assertIs(TradingState.ACTIVE, self.compare())
            self.venue.straighten()
            self.assertIs(TradingState.ACTIVE, self.compare())

    def test_a_drift_that_keeps_changing_is_not_the_same_one(self) -> None:
        self.scene.opened()
        for _ in range(5):
            self.venue.hold("ETH", "0.01")
            self.assertIs(TradingState.ACTIVE, self.compare(1.9))

    def test_the_same_old_reading_looked_at_again_is_one(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.01")
        account = self.venue.account()
        for _ in range(3):
            self.scene.clock.advance(2)
            self.assertFalse(reconcile(self.scene.desk, self.memory, self.scene.store.book(), account))
        self.assertIs(TradingState.ACTIVE, self.scene.store.state().state)

    def test_what_an_order_in_doubt_may_have_bought_is_allowed_for_and_no_more(self) -> None:
        book, trade = Book(), given_a_working_trade()
        book.put_trade(trade)
        bounds = {leg.coin: sorted((Decimal(0), leg.quantity * leg.side.sign)) for leg in trade.terms.legs}
        self.assertEqual(bounds, {coin: [*one] for coin, one in book_holdings(book).items()})

    def test_what_a_fill_explains_is_no_drift_between_the_two_writes_that_book_it(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "-0.1")
        self.compare()
        emergency.resume(self.scene.desk, [ETH])
        accepted = self.scene.store.state()
        # No longer accepted as missing, and still in the book: the next look sees both.
        halfway = replace(accepted, accepted_drift={})
        desk = with_store(self.scene, state=mock.Mock(side_effect=[halfway, accepted]))
        self.scene.clock.advance(2)
        self.assertFalse(reconcile(desk, self.memory, self.scene.store.book(), self.venue.account()))
        self.assertIs(TradingState.ACTIVE, self.compare())

    def test_nothing_is_concluded_while_the_book_is_being_written(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.01")
        self.compare()
        locked = with_store(self.scene, exclusive=mock.Mock(side_effect=Busy("the book is locked")))
        self.scene.clock.advance(2)
        self.assertFalse(reconcile(locked, self.memory, self.scene.store.book(), self.venue.account()))
        self.assertIs(TradingState.REDUCING, self.compare(0.1))

    def test_a_missing_leg_and_a_wrong_side_are_drift(self) -> None:
        for extra in ("-0.25", "-0.5", "0.0001"):
            with self.subTest(extra):
                self.scene, self.venue = a_bent_scene(self)
                self.scene.opened()
                self.venue.hold("ETH", extra)
                self.assertEqual([ETH], self.drifting())

    def test_an_opening_in_doubt_allows_for_both_of_its_ends(self) -> None:
        for fault in (lost_before(), lost_after()):
            self.scene, self.venue = a_bent_scene(self)
            self.venue.script(fault)
            self.scene.execute()
            self.assertEqual([], self.drifting())
        self.venue.hold("ETH", "0.0001")
        self.assertEqual([ETH], self.drifting())

    def test_a_close_in_doubt_allows_for_both_of_its_ends(self) -> None:
        for fault in (lost_before(), unknown_for(30)):
            self.scene, self.venue = a_bent_scene(self)
            position = self.scene.opened()
            self.venue.script(fault)
            closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
            self.assertEqual(1, len(doubts(self.scene.store.book())))
            self.assertEqual([], self.drifting())
        self.assertEqual(Decimal(0), self.venue.held("ETH"))
        self.venue.hold("ETH", "-0.0001")
        self.assertEqual([ETH], self.drifting())

    def test_accepted_drift_is_allowed_for(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.5")
        accepted = {ETH: Quantity(Decimal("0.5"))}
        self.scene.store.change_state(lambda state: replace(state, accepted_drift=accepted))
        self.assertEqual([], self.drifting())
        self.venue.hold("ETH", "-0.1")
        self.assertEqual([ETH], self.drifting())

    def test_drift_says_what_was_accepted_beside_the_book(self) -> None:
        """Where others had sold what was accepted as theirs, it said that the venue holds 0.25, and the book 0.25."""
        self.scene.opened()
        accepted = {ETH: Quantity(Decimal("0.5"))}
        self.scene.store.change_state(lambda state: replace(state, accepted_drift=accepted))
        store = self.scene.store
        (found,) = drifts(store.book(), self.venue.account(), store.state(), self.venue.traits)
        self.assertEqual("ETH: the venue holds 0.2500, the book 0.2500, and 0.5 are accepted as others'", found.words)

    def test_a_shared_coin_adds_up(self) -> None:
        self.scene.opened("signal_1", pair="BTC/ETH")
        self.scene.opened("signal_2", pair="SOL/ETH")
        book = self.scene.store.book()
        self.assertEqual((Decimal("0.5"), Decimal("0.5")), book_holdings(book)[ETH])
        self.assertEqual([], self.drifting())

    def test_foreign_coins_are_no_drift(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "7")
        self.assertEqual([], self.drifting())
        self.assertEqual({SOL: Decimal(7)}, foreign_holdings(self.scene.store.book(), self.venue.account()))

    def test_what_was_closed_after_the_account_was_read_is_nobody_elses(self) -> None:
        position = self.scene.opened()
        before = self.venue.account()
        self.scene.close(position)
        self.assertEqual({BTC, ETH}, before.holdings.keys())
        self.assertEqual({}, foreign_holdings(self.scene.store.book(), before))

    def test_what_is_halted_stays_so_and_remembers(self) -> None:
        self.scene.opened()
        self.scene.enter_state(TradingState.HALTED)
        self.venue.hold("ETH", "0.01")
        for _ in range(3):
            self.compare()
        state = self.scene.store.state()
        self.assertEqual((TradingState.HALTED, frozenset({Cause.DRIFT})), (state.state, state.causes))


class RecoverTest(RecoveryTestCase):
    def taken_up(self) -> list[TradeId]:
        taken: list[TradeId] = []
        recover(self.scene.desk, taken.append)
        return taken

    def test_live_trades_are_taken_up_openings_first(self) -> None:
        position = self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.script(lost_before())
        self.scene.close(position)
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))
        effects = [self.scene.trade(one).terms.effect for one in self.taken_up()]
        self.assertEqual([PositionEffect.OPEN, PositionEffect.CLOSE], effects)

    def test_what_has_ended_is_left_alone(self) -> None:
        self.scene.opened()
        self.assertEqual([], self.taken_up())
        self.assertIs(TradingState.ACTIVE, self.scene.store.state().state)

    def test_a_suspended_trade_stops_opening(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))
        with self.scene.store.seat(position.trade_id):
            working.suspend(self.scene.desk, self.scene.trade(position.trade_id), "for the test")
        self.taken_up()
        state = self.scene.store.state()
        self.assertEqual((TradingState.REDUCING, frozenset({Cause.SUSPENDED_TRADE})), (state.state, state.causes))

    def test_a_suspension_for_a_doubt_alone_stops_opening_for_as_long_as_the_doubt_lasts(self) -> None:
        self.venue.script(unknown_for(400))
        self.scene.opened()
        self.scene.ticks(15, 10.0)
        self.taken_up()
        state = self.scene.store.state()
        self.assertEqual((TradingState.REDUCING, frozenset({Cause.LONG_DOUBT})), (state.state, state.causes))
        self.scene.ticks(30, 10.0)
        self.taken_up()
        state = self.scene.store.state()
        self.assertEqual((TradingState.ACTIVE, frozenset(), ""), (state.state, state.causes, state.why))

    def test_a_doubt_that_ended_does_not_lift_what_else_stops_opening(self) -> None:
        self.venue.script(unknown_for(400))
        self.scene.opened()
        self.scene.ticks(15, 10.0)
        self.taken_up()
        position = self.scene.store.book().standing_positions()[0]
        self.scene.store.change_state(lambda one: replace(one, causes=one.causes | {Cause.DRIFT}))
        self.scene.ticks(30, 10.0)
        self.taken_up()
        state = self.scene.store.state()
        self.assertEqual((TradingState.REDUCING, frozenset({Cause.DRIFT})), (state.state, state.causes))
        self.assertIs(TradeStatus.CANCELED, self.scene.trade(position.trade_id).status)

    def test_a_broken_trade_stops_opening_and_keeps_none_from_being_taken_up(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))
        self.scene.desk = with_store(self.scene, broken={"trd_x": "line 7"})
        self.assertEqual(1, len(self.taken_up()))
        state = self.scene.desk.store.state()
        self.assertEqual(
            (frozenset({Cause.BROKEN_RECORD}), "trade trd_x does not replay: line 7"), (state.causes, state.why)
        )
