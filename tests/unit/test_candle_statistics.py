import math
import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import mean, stdev

from tests.builders import T0, given_bars
from trading.domain.market import Candle, CandleInterval
from trading.utils.candle_statistics import CANDLES_MIN, day_trend, day_volatility, log_ratio, log_ratio_of

MINUTE, HOUR = CandleInterval.MINUTE, CandleInterval.HOUR


def swinging(count: int, around: float, by: float) -> list[str]:
    return [repr(around * math.exp(by * math.sin(number))) for number in range(count)]


def hourly(closes: list[float]) -> tuple[Candle, ...]:
    return given_bars([repr(one) for one in closes], interval=HOUR)


class LogRatioTest(unittest.TestCase):
    def test_mean_and_deviation_are_those_of_the_closes(self) -> None:
        base, quote = swinging(250, 100_000, 0.01), swinging(250, 4_000, 0.004)
        found = log_ratio_of(given_bars(base), given_bars(quote), MINUTE, T0)
        assert found is not None
        logs = [math.log(float(one) / float(other)) for one, other in zip(base, quote, strict=True)]
        self.assertAlmostEqual(float(found.mean), mean(logs), places=12)
        self.assertAlmostEqual(float(found.deviation), stdev(logs), places=12)
        self.assertEqual(found.candles, 250)

    def test_fewer_than_two_hundred_are_none(self) -> None:
        for count, known in ((CANDLES_MIN, True), (CANDLES_MIN - 1, False), (0, False)):
            with self.subTest(count=count):
                bars = given_bars(swinging(CANDLES_MIN, 100, 0.01))[CANDLES_MIN - count :]
                self.assertIs(log_ratio_of(bars, bars, MINUTE, T0) is not None, known)

    def test_only_bars_that_both_have_and_that_have_ended_count(self) -> None:
        bars = given_bars(swinging(210, 100, 0.01))
        others = tuple(one for one in bars if one != bars[5])
        found = log_ratio_of(bars, others, MINUTE, T0)
        assert found is not None
        self.assertEqual(found.candles, 209)
        forming = log_ratio_of(bars, bars, MINUTE, T0 - timedelta(seconds=1))
        assert forming is not None
        self.assertEqual(forming.candles, 209)

    def test_a_ratio_that_never_moved_has_no_deviation(self) -> None:
        bars = given_bars(["100"] * 200)
        found = log_ratio_of(bars, bars, MINUTE, T0)
        assert found is not None
        self.assertEqual((found.mean, found.deviation), (0, 0))

    def test_the_log_of_a_ratio(self) -> None:
        self.assertAlmostEqual(float(log_ratio(Decimal(100_000), Decimal(4_000))), math.log(25), places=15)


class DayTest(unittest.TestCase):
    def test_volatility_is_that_of_a_day_in_percent(self) -> None:
        closes = [100.0 * (1.01 if number % 2 else 1.0) for number in range(25)]
        returns = [math.log(after / before) for before, after in pairwise(closes)]
        found = day_volatility(hourly(closes), T0)
        assert found is not None
        self.assertAlmostEqual(float(found), stdev(returns) * math.sqrt(24) * 100, places=9)
        self.assertAlmostEqual(float(found), 4.98, places=2)

    def test_less_than_a_whole_day_is_not_known(self) -> None:
        whole = hourly([100.0 + number for number in range(25)])
        gap = (*whole[:5], *(replace(one, opened_at=one.opened_at + HOUR.length) for one in whole[5:]))
        for name, bars, at in (
            ("a bar short", whole[1:], T0),
            ("the last one is still forming", whole, T0 - timedelta(minutes=1)),
            ("none", (), T0),
            ("a gap", gap, T0 + HOUR.length),
        ):
            with self.subTest(name):
                self.assertIsNone(day_volatility(bars, at))
                self.assertIsNone(day_trend(bars, at))

    def test_a_trend_is_a_move_beyond_what_such_a_day_usually_makes(self) -> None:
        def walk(drift: float) -> list[float]:
            return [100.0 * math.exp(drift * number + (0.01 if number % 2 else 0.0)) for number in range(25)]

        for drift, word in ((0.004, "up"), (-0.004, "down"), (0.0, "sideways"), (0.001, "sideways")):
            with self.subTest(drift=drift):
                self.assertEqual(day_trend(hourly(walk(drift)), T0), word)
        self.assertEqual(day_trend(hourly([100.0] * 25), T0), "sideways")
        self.assertEqual(day_volatility(hourly([100.0] * 25), T0), 0)

    def test_a_steady_rise_is_a_trend_though_it_never_wavers(self) -> None:
        self.assertEqual(day_trend(hourly([100.0 * 1.001**number for number in range(25)]), T0), "up")
