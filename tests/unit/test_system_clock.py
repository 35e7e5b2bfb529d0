"""The system clock: aware, in UTC, and never backwards."""

import time
import unittest
from datetime import UTC, datetime, timedelta

from trading.adapters.system import SystemClock


class SystemClockTest(unittest.TestCase):
    def test_now_is_an_aware_instant_in_utc(self) -> None:
        now = SystemClock().now()
        self.assertIs(now.tzinfo, UTC)
        self.assertLess(abs(now - datetime.now(UTC)), timedelta(seconds=5))

    def test_a_sleep_takes_its_time_on_the_monotonic_clock(self) -> None:
        clock = SystemClock()
        began = clock.monotonic()
        clock.sleep(0.02)
        self.assertGreaterEqual(clock.monotonic() - began, 0.02)

    def test_a_wait_that_is_already_over_does_not_sleep(self) -> None:
        began = time.monotonic()
        SystemClock().sleep(-60)
        SystemClock().sleep(0)
        self.assertLess(time.monotonic() - began, 10)


if __name__ == "__main__":
    unittest.main()
