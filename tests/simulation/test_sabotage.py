"""The simulation notices when the desk is broken. All the ways are tried by `make sabotage`."""

import unittest

from tests.simulation.sabotage import broken, patches

SEEDS = 40
QUICK = (
    "a trigger in doubt is forgotten",
    "a trigger rests before it is written down",
    "a close does not ask what has fired",
    "intent written after the send",
    "a lost answer is a rejection",
    "absence assumed early",
    "attempt number missing from the id",
    "reduce-only dropped",
    "seats dropped",
    "halt not durable",
    "nothing is synced",
    "limits forget what is in flight",
    "a signal trades again and again",
)
"""Those that the first few seeds find."""


class SabotageTests(unittest.TestCase):
    def test_a_desk_that_is_broken_on_purpose_does_not_pass(self) -> None:
        for name in QUICK:
            with self.subTest(name):
                self.assertIsNotNone(broken(name, range(SEEDS)))

    def test_there_are_ways_enough_to_break_it(self) -> None:
        self.assertGreaterEqual(len(patches()), 15)
