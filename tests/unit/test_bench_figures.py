import unittest

from bench.figures import Figures, spread_of


class FiguresTest(unittest.TestCase):
    def test_a_ratio_that_is_worse_by_more_than_a_quarter_is_a_regression(self) -> None:
        rows = (
            ("slower", 1.30, 1.0, False, True),
            ("a quarter slower", 1.25, 1.0, False, False),
            ("faster", 0.5, 1.0, False, False),
            ("less throughput", 0.50, 0.8, True, True),
            ("a little less", 0.70, 0.8, True, False),
            ("more", 2.0, 0.8, True, False),
        )
        for name, value, before, least, expected in rows:
            with self.subTest(name):
                figures = Figures()
                figures.ratio(name, value, least=least)
                self.assertEqual(expected, bool(figures.regressions({name: before})))

    def test_what_has_no_baseline_or_is_no_ratio_is_none(self) -> None:
        figures = Figures()
        figures.ratio("new", 9.0)
        figures.note("milliseconds", 9.0, "ms")
        self.assertEqual([], figures.regressions({"milliseconds": 1.0}))
        self.assertEqual({"new": 9.0}, figures.baseline())

    def test_the_table_begins_with_the_ratios_and_says_which_aims_hold(self) -> None:
        figures = Figures()
        figures.note("late", 7.0, "ms", 5.0)
        figures.ratio("early", 0.9, 1.0)
        figures.spread("samples", [1.0, 2.0, 3.0])
        first, second, third = figures.table().splitlines()
        self.assertIn("at most 1: held", first)
        self.assertIn("at most 5: NOT HELD", second)
        self.assertIn("p50     2.00 ms", third)

    def test_the_slow_end_is_a_sample(self) -> None:
        self.assertEqual(100.0, spread_of([float(one) for one in range(1, 101)]).p99)
