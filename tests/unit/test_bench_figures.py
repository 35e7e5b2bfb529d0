import tempfile
import unittest
from argparse import ArgumentTypeError
from pathlib import Path

from bench import ledger
from bench.figures import (
    Baseline,
    Figures,
    comparable,
    read_baselines,
    spread_of,
    whole_lives,
    with_run,
    write_baselines,
)
from trading.utils.json_storage import JsonStore


class FolderTest(unittest.TestCase):
    def test_a_folder_of_few_trades_is_queried_to_its_end(self) -> None:
        """It was asked for two thousand positions, and ended after the minutes before in an error of numbers."""
        for trades in (2, 210):
            with self.subTest(trades), tempfile.TemporaryDirectory() as name:
                ledger.make_folder(Path(name), trades)
                store = JsonStore(Path(name), ledger.BINDING)
                self.addCleanup(store.close)
                ledger.query(store.book(), trades)

    def test_a_number_of_trades_that_makes_no_whole_positions_is_refused_before_anything_is_measured(self) -> None:
        self.assertEqual([2, 1000], [whole_lives(text) for text in ("2", "1000")])
        for text in ("0", "-2", "1", "1001"):
            with self.subTest(text), self.assertRaisesRegex(ArgumentTypeError, "even number"):
                whole_lives(text)


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
        self.assertEqual({"new": 9.0}, figures.ratios())

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


class BaselinesTest(unittest.TestCase):
    fast = Baseline(0.7, {"open": 1.4})
    slow = Baseline(1.3, {"open": 1.2})

    def test_a_run_is_compared_with_the_one_of_its_pace(self) -> None:
        rows = ((0.7, self.fast), (0.85, self.fast), (1.1, self.slow), (1.6, self.slow), (0.5, None), (1.7, None))
        for pace, expected in rows:
            with self.subTest(pace):
                self.assertEqual(expected, comparable([self.fast, self.slow], pace))
        self.assertIsNone(comparable([], 0.7))

    def test_a_run_takes_the_place_of_those_of_its_pace_alone(self) -> None:
        faster = Baseline(0.8, {"open": 1.0})
        self.assertEqual([self.slow, faster], with_run([self.fast, self.slow], faster))

    def test_they_come_back_as_they_were_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "baseline.json"
            self.assertEqual([], read_baselines(path))
            write_baselines(path, [self.slow, self.fast])
            self.assertEqual([self.fast, self.slow], read_baselines(path))
