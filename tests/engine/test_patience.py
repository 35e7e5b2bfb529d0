"""What is shown while the venue hangs: there in seconds, with what needs no venue, and the rest told as unknown."""

import unittest
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from unittest import mock

from tests.engine.bent_venue import a_bent_scene
from trading.domain.errors import VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import Position, PositionStatus
from trading.engine import closing, connections, exits, leaving, previews, queries
from trading.engine.patience import JUDGED_SECONDS, SHOWN_SECONDS, patient
from trading.engine.requests import ExecuteRequest, ExitChange
from trading.ports import Errand, Job

READ_SECONDS = 3.0
"""After which a live venue gives up a question."""


class PatienceTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.asked: list[str] = []

    def opened(self) -> Position:
        """A position that nobody has marked."""
        position = self.scene.opened()
        self.scene.clock.advance(30)
        return position

    def hangs(self, *names: str) -> None:
        """What is asked by these *names* stays unanswered until the end of the test."""

        def read(name: str) -> None:
            self.asked.append(name)
            if name in names:
                self.scene.hands.hang()

        self.venue.on_read = read
        self.addCleanup(self.scene.hands.release)

    def gives_up(self, *names: str) -> None:
        """What is asked by these *names* is given up after three seconds, every time."""

        def read(name: str) -> None:
            self.asked.append(name)
            if name in names:
                self.scene.clock.advance(READ_SECONDS)
                raise VenueUnavailable("it did not answer in time")

        self.venue.on_read = read

    def seconds_of(self, shown: Callable[[], object]) -> float:
        began = self.scene.clock.monotonic()
        shown()
        return self.scene.clock.monotonic() - began


class ShownTest(PatienceTestCase):
    def test_no_route_that_shows_something_takes_longer_than_one_answer_may(self) -> None:
        """The portfolio took nine seconds, each position six, Scout's list nine."""
        position = self.opened()
        self.scene.offer("offered")
        desk = self.scene.desk
        routes: dict[str, Callable[[], object]] = {
            "portfolio": lambda: queries.portfolio(desk),
            "positions": lambda: queries.positions(desk, PositionStatus.OPEN, 10, None),
            "position": lambda: queries.position(desk, position.id),
            "close preview": lambda: leaving.preview_of_close(desk, position.id),
            "connections": lambda: connections.connections(desk),
            "exits": lambda: exits.change_exits(
                desk, position.id, ExitChange(stop_loss_spread=Decimal("-0.9")), admin=True
            ),
        }
        for fault in (self.hangs, self.gives_up):
            fault("quotes", "depths", "account", "instruments", "candles")
            for name, shown in routes.items():
                with self.subTest(name, fault=fault.__name__):
                    self.assertLessEqual(self.seconds_of(shown), SHOWN_SECONDS)

    def test_a_verdict_that_cannot_be_had_is_refused_in_time(self) -> None:
        self.scene.offer("offered")
        request = ExecuteRequest("offered", previews.SIGNAL_SIZE_USD)
        for name in ("quotes", "depths", "account"):
            for verdict in (
                lambda: previews.signals(self.scene.desk),
                lambda: previews.preview(self.scene.desk, request),
            ):
                with self.subTest(name):
                    self.hangs(name)

                    def refused(verdict: Callable[[], object] = verdict) -> None:
                        self.assertRaises(VenueUnavailable, verdict)

                    self.assertLessEqual(self.seconds_of(refused), JUDGED_SECONDS)

    def test_what_needs_no_venue_is_told_and_the_rest_as_unknown(self) -> None:
        position = self.opened()
        self.hangs("quotes")
        found = queries.portfolio(self.scene.desk)
        self.assertEqual((1, None, None, ()), (found.open_positions, found.equity, found.gross_exposure, found.limits))
        self.assertEqual((None, None), (found.today_pnl, found.unrealized_pnl))
        self.assertGreater(found.fees, 0)
        self.assertEqual(["quotes"], self.asked)
        view = queries.position(self.scene.desk, position.id)
        self.assertEqual((position.entry_notional, None, None), (view.size, view.marked_at, view.exit_return))

    def test_what_was_answered_before_is_known(self) -> None:
        self.opened()
        self.hangs("account")
        found = queries.portfolio(self.scene.desk)
        self.assertIsNone(found.equity)
        self.assertIsNotNone(found.gross_exposure)

    def test_a_venue_that_is_slow_and_answers_is_waited_for(self) -> None:
        self.opened()
        self.venue.delay_seconds = {"quotes": 1.5, "account": 1.5}
        found = queries.portfolio(self.scene.desk)
        self.assertIsNotNone(found.equity)
        self.assertIsNotNone(found.gross_exposure)

    def test_an_answer_that_took_its_time_leaves_the_next_question_the_rest_of_it(self) -> None:
        """Of prices that cannot be read an exchange tells the last ones, after three seconds, and that is an answer."""
        self.opened()
        self.hangs("account")
        self.venue.delay_seconds = {"quotes": 3.2}
        self.assertLessEqual(self.seconds_of(lambda: queries.portfolio(self.scene.desk)), SHOWN_SECONDS)

    def test_one_that_refuses_a_question_at_once_is_asked_the_next(self) -> None:
        self.opened()
        self.venue.reads_down = {"quotes"}
        found = queries.portfolio(self.scene.desk)
        self.assertIsNone(found.gross_exposure)
        self.assertIsNotNone(found.equity)

    def test_a_bug_is_told_to_whoever_asks(self) -> None:
        with (
            mock.patch.object(self.scene.desk.venue, "account", side_effect=ZeroDivisionError),
            self.assertRaises(ZeroDivisionError),
        ):
            patient(self.scene.desk).venue.account()

    def test_one_that_comes_too_late_is_said_to_nobody(self) -> None:
        self.hangs("account")
        with self.assertRaisesRegex(VenueUnavailable, "has not answered in time"):
            patient(self.scene.desk).venue.account()
        self.venue.reads_down = {"account"}
        self.scene.hands.release()
        self.assertEqual([], self.scene.log.messages("error"))

    def test_who_is_patient_already_gains_no_time(self) -> None:
        desk = patient(self.scene.desk)
        self.assertIs(desk, patient(desk))
        self.assertIs(self.venue.traits, desk.venue.traits)

    def test_who_has_just_made_a_position_asks_for_its_prices_himself(self) -> None:
        """He is worked beside his caller already: three threads more to wake made an execute half a millisecond
        longer."""
        position, begun = self.scene.opened(), list[str]()

        def begin(name: str, job: Job) -> Errand:
            begun.append(name)
            return self.scene.hands.begin(name, job)

        desk = replace(self.scene.desk, begin=begin)
        self.assertIsNotNone(queries.position(desk, position.id, just_made=True).exit_return)
        self.assertEqual([], begun)
        self.assertIsNotNone(queries.position(desk, position.id).exit_return)
        self.assertNotEqual([], begun)

    def test_what_trades_waits_as_ever(self) -> None:
        position = self.opened()
        self.venue.delay_seconds = {"quotes": SHOWN_SECONDS + 0.1}
        closed = closing.close(self.scene.desk, position.id, ExitReason.MANUAL)
        self.assertTrue(closed.closed)
