"""A trade costs the same whatever was traded before: counted in function calls, which no busy machine changes."""

import sys
import unittest
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import FrameType

from tests.builders import given_a_filled_close, given_a_filled_trade
from tests.engine.scripted_venue import Scene, a_scene

HISTORY = 400
GROWTH_MAX = 1.02


class GrowthTest(unittest.TestCase):
    def test_opening_and_closing_cost_the_same_after_hundreds_of_trades(self) -> None:
        young, old = self.a_desk_that_has_traded(0), self.a_desk_that_has_traded(HISTORY)
        for act in (_opens_and_closes, _opens_beside_another):
            # The first of each fills what is kept for good.
            for scene in (young, old):
                act(scene, "first")
            before, after = (_calls(partial(act, scene, "second")) for scene in (young, old))
            self.assertGreater(before, 1000)
            self.assertLess(after, before * GROWTH_MAX, act.__name__)

    def a_desk_that_has_traded(self, count: int) -> Scene:
        scene = a_scene(self, max_positions=5, cooldown_seconds=0)
        for number in range(count):
            at = scene.clock.now() - timedelta(hours=2) + timedelta(seconds=number)
            opening = given_a_filled_trade(f"before {number}", at=at)
            scene.store.save(opening, durable=False)
            scene.store.save(given_a_filled_close(opening), durable=False)
        scene.store.make_sure()
        return scene


def _opens_and_closes(scene: Scene, name: str) -> None:
    scene.close(scene.opened(f"alone {name}"))


def _opens_beside_another(scene: Scene, name: str) -> None:
    """With something held, the account is compared with the book."""
    beside = scene.opened(f"beside {name}", pair="SOL/AVAX")
    scene.close(scene.opened(f"another {name}"))
    scene.close(beside)


def _calls(job: Callable[[], None]) -> int:
    """How many Python functions *job* calls."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        job()
    finally:
        sys.setprofile(before)
    return calls


if __name__ == "__main__":
    unittest.main()
