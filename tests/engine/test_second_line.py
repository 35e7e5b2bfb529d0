"""The line at a venue that keeps pairs: how far out it is, whose it is, and when it is drawn again."""

import unittest
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.builders import given_a_filled_trade, given_exit_plan, given_watch
from tests.engine.scripted_venue import Scene, ScriptedVenue, a_scene
from tests.fakes import FakeClock
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import Position, PositionStatus, position_of
from trading.domain.resting import PairLine
from trading.domain.units import Coin
from trading.engine import second_line
from trading.engine.closing import close
from trading.engine.exits import change_exits
from trading.engine.requests import ExitChange, TwapRequest
from trading.engine.second_line import line_of


class PairsVenue(ScriptedVenue):
    """The scripted venue, which keeps pairs and remembers the lines that it was given."""

    def __init__(self, clock: FakeClock, equity: str = "100000") -> None:
        super().__init__(clock, equity)
        self.traits = replace(self.traits, keeps_pairs=True)
        self.drawn: list[tuple[PairLine, ...]] = []
        self.takes = True

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        self.drawn.append(tuple(lines))
        return self.takes


def a_position(**plan: Any) -> Position:
    """2,000 USD at entry: long 0.25 ETH at 4,000, short 0.01 BTC at 100,000."""
    trade = given_a_filled_trade()
    return position_of([trade], given_watch(trade, exit_plan=given_exit_plan(**plan)))


class LineTests(unittest.TestCase):
    def test_half_as_far_again_as_the_widest_of_the_desk_s_own_and_room_for_the_fees(self) -> None:
        for name, plan, take, stop in (
            ("the fractions", {}, "68", "38"),
            ("dollars within them", {"take_profit_usd": Decimal(30), "stop_loss_usd": Decimal(15)}, "68", "38"),
            ("dollars beyond them", {"take_profit_usd": Decimal(50), "stop_loss_usd": Decimal(25)}, "83", "45.5"),
        ):
            with self.subTest(name):
                plain = {"take_profit": Decimal("0.02"), "stop_loss": Decimal("0.01")}
                line = line_of(a_position(**{**plain, **plan}))
                self.assertEqual((line.take_profit, line.stop_loss), (Decimal(take), Decimal(stop)))

    def test_it_is_for_what_is_held(self) -> None:
        line = line_of(a_position())
        self.assertEqual((line.long_coin, line.long_quantity), (Coin("ETH"), Decimal("0.25")))
        self.assertEqual((line.short_coin, line.short_quantity), (Coin("BTC"), Decimal("0.01")))


class DrawingTests(unittest.TestCase):
    def setUp(self) -> None:
        self.scene: Scene = a_scene(self, kind=PairsVenue)
        assert isinstance(self.scene.venue, PairsVenue)
        self.venue = self.scene.venue
        self.memory = second_line.Memory()

    def look(self, seconds: float = 0) -> int:
        """How many lines are drawn when that much time has passed."""
        self.scene.clock.advance(seconds)
        due = second_line.due(self.scene.desk, self.memory, self.scene.desk.store.book())
        if due:
            second_line.draw(self.scene.desk, self.memory, due)
        return len(due)

    def test_a_new_one_is_drawn_at_once_and_then_every_two_minutes(self) -> None:
        first = self.scene.opened()
        self.assertEqual([self.look(seconds) for seconds in (0, 1, 118)], [1, 0, 0])
        self.scene.opened("signal_2", pair="AVAX/SOL")
        self.assertEqual([self.look(seconds) for seconds in (0, 1)], [1, 1])
        self.assertEqual(self.venue.drawn[-1], (line_of(first),))

    def test_what_was_not_taken_is_drawn_again_after_ten_seconds(self) -> None:
        self.scene.opened()
        self.venue.takes = False
        self.assertEqual([self.look(seconds) for seconds in (0, 9.9, 0.1)], [1, 0, 1])
        self.venue.takes = True
        self.assertEqual([self.look(seconds) for seconds in (10, 10)], [1, 0])

    def test_a_barrier_that_moves_takes_it_along_at_once(self) -> None:
        position = self.scene.opened()
        self.look()
        change_exits(self.scene.desk, position.id, ExitChange(stop_loss=Decimal("0.005")), admin=False)
        self.assertEqual(self.look(1), 1)
        before, after = (lines[0].stop_loss for lines in self.venue.drawn)
        self.assertLess(after, before)

    def test_none_is_drawn_for_what_is_being_closed(self) -> None:
        position = self.scene.opened()
        closing = close(self.scene.desk, position.id, ExitReason.MANUAL, twap=TwapRequest(60, 4))
        self.assertIs(PositionStatus.CLOSING, closing.status)
        self.assertEqual(self.look(), 0)

    def test_none_is_drawn_for_a_pair_of_which_one_leg_is_left(self) -> None:
        position = self.scene.opened()
        for alone in (
            replace(position, short=replace(position.short, closed=position.short.opened)),
            replace(position, long=replace(position.long, closed=position.long.opened)),
        ):
            second_line.draw(self.scene.desk, self.memory, (alone,))
            self.assertEqual(self.venue.drawn.pop(), ())

    def test_nor_by_a_desk_that_is_told_not_to_or_at_a_venue_that_knows_no_pairs(self) -> None:
        self.scene.opened()
        desk = self.scene.desk
        self.scene.desk = replace(desk, config=desk.config.model_copy(update={"resting_protection": False}))
        self.assertEqual(self.look(), 0)
        self.scene.desk = desk
        self.venue.traits = replace(self.venue.traits, keeps_pairs=False)
        self.assertEqual(self.look(), 0)
        self.assertEqual(self.venue.drawn, [])
