"""The soak's judgement: what fills up at the beginning is no leak, what grows afterwards is one."""

import unittest
from collections.abc import Callable

from bench.soak import WARM_UP_TRADES, Sample, growth


def given_samples(rss_mib: Callable[[int], float], trades: int = 3 * WARM_UP_TRADES) -> list[Sample]:
    """One every hundred trades."""
    return [Sample(one / 2, one, rss_mib(one), 80, 12, 15.0, 4.0) for one in range(100, trades + 1, 100)]


class GrowthTest(unittest.TestCase):
    def test_a_service_that_fills_up_and_stays_so_is_well(self) -> None:
        self.assertEqual([], growth(given_samples(lambda trades: 200 + min(trades, WARM_UP_TRADES) / 10)))

    def test_one_that_goes_on_growing_leaks(self) -> None:
        (word,) = growth(given_samples(lambda trades: 200 + trades / 40))
        self.assertIn("rss_mib grew from", word)

    def test_a_short_run_is_judged_without_its_first_sample(self) -> None:
        self.assertEqual([], growth(given_samples(lambda trades: 100 if trades == 100 else 200, trades=600)))
        self.assertEqual(1, len(growth(given_samples(lambda trades: 100 + trades / 10, trades=600))))
        self.assertEqual([], growth(given_samples(lambda trades: 200, trades=100)))


if __name__ == "__main__":
    unittest.main()
