"""The simulation notices when the desk is broken. All the ways are tried by `make sabotage`."""

import unittest

from tests.simulation.sabotage import broken, patches

SEEDS = 40
QUICK = (
    "a stop is taken back before its close is accepted",
    "a trigger rests before it is written down",
    "a signal trades again and again",
    "a stop lets slices through",
    "emergency stop not carried on",
    "fees are forgotten",
    "halt not durable",
    "intent written after the send",
    "nobody takes trades up again",
    "nothing is synced",
    "reduce-only dropped",
    "seats dropped",
)
"""Those that at least every fourth seed finds: each change of the desk deals the seeds anew, and forty still do."""


class SabotageTests(unittest.TestCase):
    def test_a_desk_that_is_broken_on_purpose_does_not_pass(self) -> None:
        for name in QUICK:
            with self.subTest(name):
                self.assertIsNotNone(broken(name, range(SEEDS)))

    def test_there_are_ways_enough_to_break_it(self) -> None:
        self.assertGreaterEqual(len(patches()), 15)
