"""The request budget: one for all processes, with a part that only closing may use."""

import os
import struct
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

from tests.fakes import FakeClock
from trading.adapters import hyperliquid_budget
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.utils.locks import file_lock


class Budget(unittest.TestCase):
    def setUp(self) -> None:
        self.path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "venue.weight"
        self.clock = FakeClock()

    def meter(self, limit: int = 1200) -> WeightMeter:
        return WeightMeter(self.path, limit, self.clock)

    def test_each_lane_has_its_ceiling_and_closing_has_all(self) -> None:
        meter = self.meter()
        self.assertTrue(meter.spend(900, Lane.ORDINARY))
        self.assertFalse(meter.spend(1, Lane.ORDINARY))
        self.assertTrue(meter.spend(150, Lane.WATCH))
        self.assertFalse(meter.spend(1, Lane.WATCH))
        self.assertTrue(meter.spend(75, Lane.LOOK))
        self.assertFalse(meter.spend(1, Lane.LOOK))
        self.assertTrue(meter.spend(75, Lane.CLOSE))
        self.assertFalse(meter.spend(1, Lane.CLOSE))
        self.assertEqual(meter.used(), 1200)

    def test_a_refused_request_costs_nothing(self) -> None:
        meter = self.meter()
        self.assertFalse(meter.spend(901, Lane.ORDINARY))
        self.assertEqual(meter.used(), 0)

    def test_every_process_spends_from_the_same_minute(self) -> None:
        self.assertTrue(self.meter().spend(600, Lane.ORDINARY))
        self.assertFalse(self.meter().spend(301, Lane.ORDINARY))
        self.assertTrue(self.meter().spend(300, Lane.ORDINARY))
        self.assertEqual(self.meter().used(), 900)

    def test_one_that_has_spent_keeps_no_other_waiting_and_no_file_open(self) -> None:
        """Whoever waited in vain would open nothing, and close beside the count."""
        first, second = self.meter(), self.meter()
        self.assertTrue(first.spend(1, Lane.ORDINARY) and second.spend(1, Lane.ORDINARY))
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
        for meter in (first, second) * 20:
            self.assertTrue(meter.spend(1, Lane.ORDINARY))
        if before is not None:
            self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 5)
        self.assertEqual(first.used(), 42)

    def test_weight_comes_back_after_a_minute_second_by_second(self) -> None:
        meter = self.meter()
        meter.spend(500, Lane.ORDINARY)
        self.clock.advance(30)
        meter.spend(400, Lane.ORDINARY)
        self.clock.advance(29)
        self.assertFalse(meter.spend(1, Lane.ORDINARY))
        self.clock.advance(1)
        self.assertEqual(meter.used(), 400)
        self.assertTrue(meter.spend(500, Lane.ORDINARY))

    def test_each_second_of_the_minute_counts(self) -> None:
        meter = self.meter()
        for second in range(1, 61):
            self.assertTrue(meter.spend(15, Lane.ORDINARY))
            self.assertEqual(15 * second, meter.used())
            self.clock.advance(1 if second < 60 else 0)
        self.assertFalse(meter.spend(1, Lane.ORDINARY))

    def test_a_clock_that_is_set_back_frees_nothing(self) -> None:
        meter = self.meter()
        meter.spend(900, Lane.ORDINARY)
        self.clock.advance(-30)
        self.assertFalse(meter.spend(1, Lane.ORDINARY))

    def test_nor_does_it_take_more_than_was_spent(self) -> None:
        meter = self.meter()
        meter.spend(100, Lane.ORDINARY)
        self.clock.advance(-30)
        self.assertTrue(meter.spend(800, Lane.ORDINARY))
        self.assertEqual(meter.used(), 900)

    def test_a_clock_that_is_set_back_by_an_hour_keeps_no_close_waiting_for_longer_than_a_minute(self) -> None:
        """A minute that was full counted until the clock was there again, and not one order could go out."""
        meter = self.meter()
        for _ in range(60):
            meter.charge(20)
            self.clock.advance(1)
        self.clock.advance(-3600)
        for _ in range(60):
            self.assertFalse(meter.spend(1, Lane.CLOSE))
            self.assertEqual(1200, meter.used())
            self.clock.advance(1)
        self.assertTrue(meter.spend(1200, Lane.CLOSE))
        self.assertEqual(1200, self.meter().used())

    def test_what_is_known_only_afterwards_is_charged_without_asking(self) -> None:
        meter = self.meter(20)
        meter.charge(100)
        meter.charge(0)
        self.assertEqual(meter.used(), 100)
        self.assertFalse(meter.spend(1, Lane.CLOSE))

    def test_when_the_venue_says_no_ordinary_requests_rest_for_ten_seconds(self) -> None:
        meter = self.meter()
        meter.spend(100, Lane.ORDINARY)
        meter.refused()
        meter.refused()
        self.assertFalse(meter.spend(1, Lane.ORDINARY))
        self.assertTrue(meter.spend(1, Lane.WATCH))
        self.assertTrue(meter.spend(1, Lane.CLOSE))
        meter.refused()
        self.assertEqual(902, meter.used(), "nothing is taken off")
        self.clock.advance(9)
        self.assertFalse(meter.spend(1, Lane.ORDINARY))
        self.clock.advance(1)
        self.assertTrue(meter.spend(1, Lane.ORDINARY))

    def test_zero_is_no_limit_and_no_file(self) -> None:
        meter = self.meter(0)
        self.assertTrue(meter.spend(10**9, Lane.ORDINARY))
        meter.charge(5)
        self.assertEqual(meter.used(), 0)
        self.assertFalse(self.path.exists())

    def test_threads_never_spend_more_than_there_is(self) -> None:
        meter = self.meter(400)
        granted: list[bool] = []

        def spend() -> None:
            granted.extend(meter.spend(2, Lane.ORDINARY) for _ in range(40))

        threads = [threading.Thread(target=spend) for _ in range(6)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual((sum(granted), meter.used()), (150, 300))

    def test_a_damaged_file_counts_for_what_it_says(self) -> None:
        second = int(self.clock.now().timestamp())
        self.path.write_bytes(struct.pack("<QQ", second, 7) + b"\x01\x02\x03")
        self.assertEqual(self.meter().used(), 7)

    def test_a_meter_that_cannot_be_used_stops_openings_and_never_a_close(self) -> None:
        meter = self.meter()
        self.path.mkdir()
        self.assertFalse(meter.spend(1, Lane.ORDINARY))
        self.assertFalse(meter.spend(1, Lane.WATCH))
        self.assertTrue(meter.spend(1, Lane.LOOK))
        self.assertTrue(meter.spend(1, Lane.CLOSE))
        self.assertEqual(meter.used(), 0)

    def test_a_lock_that_hangs_stops_openings_and_never_a_close(self) -> None:
        meter = self.meter()
        short = mock.patch.object(hyperliquid_budget, "LOCK_SECONDS_MAX", 0.02)
        with file_lock(self.path.with_suffix(".lock")), short:
            self.assertFalse(meter.spend(1, Lane.ORDINARY))
            self.assertTrue(meter.spend(1, Lane.LOOK))
            self.assertTrue(meter.spend(1, Lane.CLOSE))


if __name__ == "__main__":
    unittest.main()
