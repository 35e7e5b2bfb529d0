"""The desk in a hostile world, some hundred times, and what the world itself promises."""

import unittest

from tests.simulation.run import ran, run_all
from tests.simulation.world import World

SEEDS = 300
JOBS = 2
FOUND = (
    (288, "a coin that other hands turned round kept its close waiting for ever"),
    (154, "a stop without room on the disk"),
    (231, "a residue beside what others hold kept its close waiting for ever"),
    (1081, "what other hands took of a shared coin kept its close waiting for ever"),
    (1308, "a residue waited for the last sharer of its coin, as it should"),
    (1496, "two closes left a coin that other hands had taken of to each other"),
    (2722, "a first append that a full disk refused took the file's beginning with it when the power failed"),
    (4120, "two closes left a residue of one coin to each other"),
)
"""Seeds that once failed, and what they found."""


class SimulationTests(unittest.TestCase):
    def test_every_promise_is_kept_whatever_goes_wrong(self) -> None:
        failed = [one for one in run_all(0, SEEDS, JOBS) if one.failure]
        self.assertEqual([], [(one.seed, one.failure) for one in failed], failed[0].trace if failed else "")

    def test_what_was_found_once_stays_mended(self) -> None:
        for seed, what in FOUND:
            with self.subTest(what, seed=seed):
                self.assertEqual("", ran(seed).failure)

    def test_a_seed_is_the_same_run_every_time(self) -> None:
        for seed in (3, 4):
            with self.subTest(seed=seed):
                self.assertEqual(trace_of(seed), trace_of(seed))


def trace_of(seed: int) -> list[tuple[float, str, str]]:
    """Everything that a run noted, up to its end."""
    world = World(seed)
    try:
        world.run()
        return world.trace
    finally:
        world.close()
