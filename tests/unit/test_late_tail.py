"""The log's way to the cache: nobody waits for it, and no list with a hole is shown."""

import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Sequence
from pathlib import Path

from tests.unit.test_redis_cache import listening, redis_server
from trading.adapters.system import SystemClock
from trading.ports import Json
from trading.utils.late_tail import LateTail
from trading.utils.redis_cache import RedisCache

ROOT = Path(__file__).resolve().parents[2]


class SlowLists:
    """A list that takes what it is given when `open`; `down` makes it refuse."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.down = False
        self.values: list[Json] = []
        self.exchanges: list[Sequence[Json]] = []

    def push_all(self, key: str, values: Sequence[Json], keep: int, afresh: bool = False) -> bool:
        self.open.wait(10)
        self.exchanges.append(values)
        if self.down:
            return False
        self.values = [*reversed(values), *([] if afresh else self.values)][:keep]
        return True

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        return tuple(self.values[:limit])


class LateTailTest(unittest.TestCase):
    def setUp(self) -> None:
        self.lists = SlowLists()
        self.late = LateTail(self.lists, moment_seconds=0.002, idle_seconds=0.002)
        self.addCleanup(self.lists.open.set)

    def settle(self, exchanges: int) -> None:
        until = time.monotonic() + 10
        while (len(self.lists.exchanges) < exchanges or self.late._busy) and time.monotonic() < until:
            time.sleep(0.001)

    def test_a_process_begins_the_list_afresh(self) -> None:
        self.lists.values = ["of one that was killed before its last line was carried"]
        self.late.push("log", 1, 10)
        self.settle(1)
        self.late.push("log", 2, 10)
        self.settle(2)
        self.assertEqual(self.late.tail("log", 5), (2, 1))

    def test_a_burst_goes_in_one_exchange_and_arrives_in_order(self) -> None:
        self.late = LateTail(self.lists, moment_seconds=0.2)
        for number in range(5):
            self.assertTrue(self.late.push("log", number, 3))
        self.settle(1)
        self.assertEqual([list(one) for one in self.lists.exchanges], [[2, 3, 4]])
        self.assertEqual(self.late.tail("log", 5), (4, 3, 2))

    def test_nobody_waits_and_nothing_is_shown_while_something_is_under_way(self) -> None:
        self.lists.open.clear()
        began = time.monotonic()
        self.late.push("log", 1, 10)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(self.late.tail("log", 1), ())
        self.lists.open.set()
        self.settle(1)
        self.assertEqual(self.late.tail("log", 1), (1,))

    def test_what_was_lost_is_told_with_the_next_and_the_list_begins_afresh(self) -> None:
        self.late.push("log", 1, 10)
        self.settle(1)
        self.lists.down = True
        self.assertTrue(self.late.push("log", 2, 10))
        self.settle(2)
        self.assertEqual(self.late.tail("log", 1), ())
        self.lists.down = False
        self.assertFalse(self.late.push("log", 3, 10))
        self.assertTrue(self.late.push("log", 4, 10, afresh=True))
        self.settle(3)
        self.assertEqual(self.late.tail("log", 5), (4,))

    def test_its_thread_goes_when_it_is_idle_and_comes_again(self) -> None:
        for number in range(3):
            self.late.push("log", number, 10)
            self.settle(number + 1)
            until = time.monotonic() + 10
            while self.late._carrying and time.monotonic() < until:
                time.sleep(0.001)
            self.assertFalse(self.late._carrying)
        self.assertEqual(self.late.tail("log", 5), (2, 1, 0))


ENDING = """
import sys
from trading.adapters.system import SystemClock
from trading.utils.late_tail import LateTail
from trading.utils.redis_cache import RedisCache

LateTail(RedisCache(sys.argv[1], SystemClock())).push("log", "the last word", 10)
"""


class EndTest(unittest.TestCase):
    def test_a_process_that_ends_at_once_carries_its_last_line(self) -> None:
        with redis_server() as url:
            subprocess.run([sys.executable, "-c", ENDING, url], cwd=ROOT, check=True)
            cache = RedisCache(url, SystemClock())
            self.addCleanup(cache.close)
            self.assertEqual(cache.tail("log", 5), ("the last word",))

    def test_a_process_does_not_wait_long_for_a_redis_that_is_silent(self) -> None:
        with listening() as url:
            command = [sys.executable, "-c", ENDING + "print('ends', flush=True)\n", url]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"ends\n")
                began = time.monotonic()
                self.assertEqual(process.wait(60), 0)
            self.assertLess(time.monotonic() - began, 10)


if __name__ == "__main__":
    unittest.main()
