import unittest
from datetime import datetime
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from trading.domain.errors import PositionNotFound
from trading.domain.units import PositionId
from trading.engine.trail import KEPT_MAX, POINTS_AN_AGE, SHOWN_MAX, follow, trail
from trading.engine.valuing import publish_marks
from trading.ports import Json


class TrailTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.position = self.scene.opened()
        self.last: dict[PositionId, datetime] = {}

    def sweep(self, seconds: float = 1.0) -> None:
        self.scene.clock.advance(seconds)
        follow(self.scene.desk, self.last, publish_marks(self.scene.desk, None))

    def test_each_second_leaves_a_point(self) -> None:
        self.sweep()
        self.venue.move("ETH", "4040")
        self.sweep()
        first, second = trail(self.scene.desk, self.position.id)
        self.assertLess(first.at, second.at)
        self.assertEqual(Decimal(24), first.spread)
        self.assertAlmostEqual(Decimal(100_000) / 4_040 - 1, second.spread, 9)
        assert first.exit_return is not None and second.exit_return is not None
        self.assertGreater(second.exit_return, first.exit_return)

    def test_marks_within_a_second_leave_one(self) -> None:
        for _ in range(4):
            self.sweep(0.3)
        self.assertEqual(1, len(trail(self.scene.desk, self.position.id)))

    def test_an_old_position_is_followed_in_larger_steps(self) -> None:
        for _ in range(10):
            self.sweep(POINTS_AN_AGE)
        self.assertEqual(10, len(trail(self.scene.desk, self.position.id)))
        self.sweep(5)
        self.assertEqual(10, len(trail(self.scene.desk, self.position.id)))
        self.sweep(6)
        self.assertEqual(11, len(trail(self.scene.desk, self.position.id)))

    def test_a_long_trail_is_shown_thinned_with_its_newest_point(self) -> None:
        values: list[Json] = [
            [f"2026-11-22T12:00:00.{number:06d}+00:00", str(number), None] for number in range(KEPT_MAX)
        ]
        for value in values:
            self.scene.cache.push_many({f"trail:{self.position.id}": value}, KEPT_MAX, 60)
        points = trail(self.scene.desk, self.position.id)
        self.assertLessEqual(len(points), SHOWN_MAX)
        self.assertGreater(len(points), SHOWN_MAX // 2)
        self.assertEqual(Decimal(KEPT_MAX - 1), points[-1].spread)

    def test_what_is_no_point_is_passed_over(self) -> None:
        at = "2026-11-22T12:00:00+00:00"
        bad: tuple[Json, ...] = (
            "x",
            [at, "1"],
            ["2026-11-22T12:00:00", "1", None],
            ["now", "1", None],
            [at, "one", None],
            [at, "NaN", None],
            [at, "1", "Infinity"],
        )
        for value in bad:
            self.scene.cache.push_many({f"trail:{self.position.id}": value}, KEPT_MAX, 60)
        self.assertEqual((), trail(self.scene.desk, self.position.id))

    def test_without_a_cache_there_is_no_trail_and_no_trouble(self) -> None:
        self.scene.cache.connected = False
        self.sweep()
        self.assertEqual((), trail(self.scene.desk, self.position.id))

    def test_a_closed_position_is_no_longer_remembered_but_its_trail_is_there(self) -> None:
        self.sweep()
        self.scene.close(self.position)
        self.sweep()
        self.assertEqual({}, self.last)
        self.assertEqual(1, len(trail(self.scene.desk, self.position.id)))

    def test_a_position_that_is_not_there(self) -> None:
        with self.assertRaises(PositionNotFound):
            trail(self.scene.desk, PositionId("pos_0"))
