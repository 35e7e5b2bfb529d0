import unittest
from datetime import timedelta
from decimal import Decimal

from tests.engine.scripted_venue import a_scene
from trading.domain.desk_state import Cause, DeskState, Rejection, TradingState
from trading.domain.errors import TradingHalted
from trading.domain.units import Usd
from trading.engine.states import lift, live_beat, reduce, require_active, standing_rejection


class StatesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene = a_scene(self)
        self.desk = self.scene.desk

    def test_only_active_may_open(self) -> None:
        self.assertIs(TradingState.ACTIVE, require_active(self.desk).state)
        for state in set(TradingState) - {TradingState.ACTIVE}:
            with self.subTest(state):
                self.scene.enter_state(state)
                with self.assertRaises(TradingHalted) as refusal:
                    require_active(self.desk)
                self.assertEqual({"trading_state": state, "causes": []}, dict(refusal.exception.facts))

    def test_causes_add_up_and_the_last_one_that_goes_opens_the_desk(self) -> None:
        reduce(self.desk, Cause.DRIFT, "drift")
        reduce(self.desk, Cause.BLIND, "blind")
        reduce(self.desk, Cause.BLIND, "blind still")
        self.assertEqual(2, len(self.scene.log.messages("error")))
        state = lift(self.desk, Cause.BLIND, "seeing")
        self.assertEqual((TradingState.REDUCING, frozenset({Cause.DRIFT})), (state.state, state.causes))
        state = lift(self.desk, Cause.DRIFT, "gone")
        self.assertEqual((TradingState.ACTIVE, frozenset(), ""), (state.state, state.causes, state.why))
        self.assertEqual(state, lift(self.desk, Cause.DRIFT, "gone"))
        self.assertEqual(2, len(self.scene.log.messages("info")))

    def test_it_is_on_disk_when_it_is_said(self) -> None:
        reduce(self.desk, Cause.DRIFT, "drift")
        self.assertEqual(frozenset({Cause.DRIFT}), self.scene.reopened().store.state().causes)

    def test_a_stopped_desk_stays_stopped_and_remembers(self) -> None:
        for stopped in (TradingState.LIQUIDATING, TradingState.HALTED):
            with self.subTest(stopped):
                self.scene.enter_state(stopped)
                reduce(self.desk, Cause.DRIFT, "drift")
                self.assertEqual(stopped, lift(self.desk, Cause.BLIND, "none").state)
                state = self.scene.store.state()
                self.assertEqual((stopped, frozenset({Cause.DRIFT})), (state.state, state.causes))
                self.assertEqual(stopped, lift(self.desk, Cause.DRIFT, "gone").state)

    def test_a_beat_is_alive_for_five_seconds_while_the_seat_is_held(self) -> None:
        self.assertIsNone(live_beat(self.desk))
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now())
            beat = self.scene.clock.now()
            self.scene.clock.advance(5)
            self.assertEqual(beat, live_beat(self.desk))
            self.scene.clock.advance(0.001)
            self.assertIsNone(live_beat(self.desk))
            self.scene.store.beat(self.scene.clock.now())
        self.assertIsNone(live_beat(self.desk))

    def test_a_rejection_stands_for_its_signal_at_its_size_or_more_until_it_expires(self) -> None:
        now = self.scene.clock.now()
        rejection = Rejection("signal_1", Usd(Decimal(1000)), "no", now + timedelta(seconds=60))
        state = DeskState(rejections=(rejection,))
        for signal_id, size, seconds, stands in (
            ("signal_1", 1000, 0, True),
            ("signal_1", 2000, 0, True),
            ("signal_1", 999, 0, False),
            ("signal_2", 1000, 0, False),
            ("signal_1", 1000, 60, False),
        ):
            with self.subTest(signal_id=signal_id, size=size, seconds=seconds):
                found = standing_rejection(state, signal_id, Usd(Decimal(size)), now + timedelta(seconds=seconds))
                self.assertEqual(rejection if stands else None, found)
