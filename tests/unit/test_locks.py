"""Locks: one holder at a time among threads and processes, a bound on every wait, and nobody starves."""

import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from filelock import Timeout

from trading.domain.errors import Busy, StoreCorrupt
from trading.utils.locks import HAS_RANGES, BriefLock, ProcessLock, Seats, file_lock

if sys.platform != "win32":
    import fcntl

ROOT = Path(__file__).resolve().parents[2]
GREEDY = """
import sys, time
from pathlib import Path
from trading.utils.locks import ProcessLock
lock = ProcessLock(Path(sys.argv[1]), "it", 5)
print("ready", flush=True)
while True:
    with lock.held():
        time.sleep(0.001)
"""

SITTING = """
import sys, time
from pathlib import Path
from trading.utils.locks import Seats
with Seats(Path(sys.argv[1]), ranges=bool(int(sys.argv[2]))).seat("one", 0):
    print("sits", flush=True)
    time.sleep(60)
"""


class ProcessLockTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "locks" / "it.lock"

    def lock(self, seconds: float = 0.02, *, reentrant: bool = False) -> ProcessLock:
        return ProcessLock(self.path, "it", seconds, reentrant=reentrant)

    def test_a_wait_is_as_long_as_it_was_meant_to_be_on_a_machine_that_is_busy(self) -> None:
        """It counted its tries: each pause takes longer there, and two seconds were seven."""
        passed, instant = [0.0], time.monotonic()

        def sleep(seconds: float) -> None:
            passed[0] += seconds + 0.1

        seats = Seats(self.path.parent), Seats(self.path.parent, ranges=False)
        with (
            mock.patch.object(time, "sleep", sleep),
            mock.patch.object(time, "monotonic", lambda: instant + passed[0]),
        ):
            for name, taken, wanted in (
                ("lock", self.lock().held(), self.lock(2).held()),
                *(("seat", one.seat("one", 0), one.seat("one", 2)) for one in seats),
            ):
                with self.subTest(name), taken:
                    passed[0] = 0.0
                    with self.assertRaises(Busy), wanted:
                        self.fail("held by two")
                    self.assertLess(1.9, passed[0])
                    self.assertLess(passed[0], 2.5)

    def test_two_of_one_path_exclude_each_other_and_filelock_too(self) -> None:
        one, other = self.lock(), self.lock()
        with one.held():
            with self.assertRaises(Busy), other.held():
                self.fail("held by two")
            with self.assertRaises(Busy), other.held(0):
                self.fail("held by two")
        foreign = file_lock(self.path)
        with foreign, self.assertRaises(Busy), one.held():
            self.fail("held by two")
        with other.held(), self.assertRaises(Timeout):
            foreign.acquire(timeout=0.01)

    def test_it_is_free_while_nobody_else_has_it_and_asking_takes_nothing(self) -> None:
        one, other, again = self.lock(), self.lock(), self.lock(reentrant=True)
        for _ in range(2):
            self.assertTrue(one.is_free())
            with other.held():
                self.assertFalse(one.is_free())
                self.assertFalse(other.is_free(), "a thread that would wait for itself")
        with again.held():
            self.assertTrue(again.is_free())
            self.assertFalse(one.is_free())
        self.path.unlink()
        self.assertFalse(one.is_free(), "the file that it had open is no longer the one")
        self.assertTrue(one.is_free())

    def test_a_thread_that_holds_it_may_take_it_again_if_it_is_reentrant(self) -> None:
        lock = self.lock(reentrant=True)
        with lock.held(), lock.held(), self.assertRaises(Busy), self.lock().held():
            self.fail("held by two")
        with self.lock().held():
            pass

    def test_who_has_taken_it_twice_has_it_until_it_was_let_go_twice(self) -> None:
        one = self.lock(reentrant=True)
        with one.held():
            with one.held():
                pass
            with self.assertRaises(Busy), self.lock().held():
                self.fail("held by two")
        with self.lock().held():
            pass

    def test_a_lock_on_a_file_that_was_removed_does_not_count(self) -> None:
        one = self.lock()
        with one.held():
            pass
        self.path.unlink()
        with one.held(), self.assertRaises(Busy), self.lock().held():
            self.fail("held by two")

    def test_one_that_cannot_be_made_is_told(self) -> None:
        self.path.mkdir(parents=True)
        with self.assertRaises(StoreCorrupt), self.lock().held():
            self.fail("held a folder")

    def test_who_takes_it_again_and_again_starves_nobody(self) -> None:
        self.path.parent.mkdir()
        greedy = [
            subprocess.Popen(
                [sys.executable, "-c", GREEDY, str(self.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        for process in greedy:
            assert process.stdout is not None
            self.addCleanup(process.stdout.close)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            process.stdout.readline()
        lock = self.lock(5)
        for _ in range(20):
            with lock.held():
                pass

    def test_no_handle_stays_open_with_nobody(self) -> None:
        if not Path("/proc/self/fd").exists():
            raise unittest.SkipTest("there is no /proc to count handles in")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with self.lock().held():
                pass
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 2)


class BriefLockTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.folder / "it.lock"

    def test_two_of_one_path_exclude_each_other_and_filelock_too(self) -> None:
        one, other, foreign = BriefLock(self.path), BriefLock(self.path), file_lock(self.path)
        one.acquire(0, 0.001)
        for late in (0.0, 0.01):
            with self.assertRaises(Timeout):
                other.acquire(late, 0.001)
        with self.assertRaises(Timeout):
            foreign.acquire(timeout=0.01)
        one.release()
        other.acquire(0, 0.001)
        other.release()
        with foreign, self.assertRaises(Timeout):
            one.acquire(0, 0.001)

    def test_a_lock_on_a_file_that_was_removed_does_not_count(self) -> None:
        one, other = BriefLock(self.path), BriefLock(self.path)
        one.acquire(0, 0.001)
        self.path.unlink()
        other.acquire(1, 0.001)
        with self.assertRaises(Timeout):
            BriefLock(self.path).acquire(0, 0.001)
        other.release()
        one.release()


class SeatsTest(unittest.TestCase):
    """Where a byte of a file can be locked, and where each seat has a file of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.locks = Path(folder.name) / "locks"

    def kinds(self) -> Iterator[Seats]:
        for ranges in {False, HAS_RANGES}:
            with self.subTest(ranges=ranges):
                yield Seats(self.locks, ranges=ranges)

    def test_one_at_a_time_and_no_other_waits(self) -> None:
        for seats in self.kinds():
            free = seats.seat("another", 0)
            with seats.seat("one", 0), free, self.assertRaises(Busy), seats.seat("one", 0.01):
                self.fail("a seat for two")
            with seats.seat("one", 0):
                pass

    def test_another_process_is_kept_out_until_the_holder_dies(self) -> None:
        for seats in self.kinds():
            holder = subprocess.Popen(
                (sys.executable, "-c", SITTING, str(self.locks), str(int(seats.ranges))),
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            assert holder.stdout is not None
            self.addCleanup(holder.wait)
            self.addCleanup(holder.kill)
            self.addCleanup(holder.stdout.close)
            self.assertEqual(holder.stdout.readline(), b"sits\n")
            with self.assertRaises(Busy), seats.seat("one", 0.01):
                self.fail("a seat for two")
            with seats.seat("another", 0):
                pass
            holder.kill()
            with seats.seat("one", 5):
                pass

    def test_one_who_waits_gets_it(self) -> None:
        for seats in self.kinds():
            sat = threading.Event()

            def wait(seats: Seats = seats, sat: threading.Event = sat) -> None:
                with seats.seat("one", 5):
                    sat.set()

            with seats.seat("one", 0):
                waiting = threading.Thread(target=wait)
                waiting.start()
                self.assertFalse(sat.wait(0.02))
            waiting.join(5)
            self.assertTrue(sat.is_set())

    def test_a_lock_on_a_file_that_was_removed_does_not_count(self) -> None:
        for seats in self.kinds():
            with seats.seat("one", 0):
                for path in self.locks.rglob("*.lock"):
                    path.unlink()
                with seats.seat("one", 1), self.assertRaises(Busy), seats.seat("one", 0):
                    self.fail("a seat for two")

    @unittest.skipIf(sys.platform == "win32", "no fcntl on Windows")
    def test_nor_does_one_on_a_file_that_is_removed_while_it_is_taken(self) -> None:
        for seats in self.kinds():
            removed: list[Path] = []

            def then_removed(lock: Callable[..., object], removed: list[Path] = removed) -> Callable[..., object]:
                def locked(*arguments: object) -> object:
                    answer = lock(*arguments)
                    if not removed:
                        removed.extend(self.locks.rglob("*.lock"))
                        for path in removed:
                            path.unlink()
                    return answer

                return locked

            with (
                mock.patch.object(fcntl, "fcntl", then_removed(fcntl.fcntl)),
                mock.patch.object(fcntl, "flock", then_removed(fcntl.flock)),
                seats.seat("one", 1),
                self.assertRaises(Busy),
                seats.seat("one", 0),
            ):
                self.fail("a seat for two")
            self.assertTrue(removed)

    @unittest.skipIf(sys.platform == "win32", "no fcntl on Windows")
    def test_who_looks_for_the_monitor_is_not_taken_for_it(self) -> None:
        seats, seen, flock = Seats(self.locks), list[bool](), fcntl.flock

        def slowly(file: int, operation: int) -> None:
            flock(file, operation)
            time.sleep(0.001)

        def look() -> None:
            for _ in range(20):
                seen.append(seats.monitor_sits())

        threads = [threading.Thread(target=look) for _ in range(3)]
        with mock.patch.object(fcntl, "flock", slowly):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual([False] * 60, seen)

    def test_one_that_cannot_be_had_at_all_is_told(self) -> None:
        for seats in self.kinds():
            for path in (self.locks / "seats.lock", self.locks / "seats" / "one.lock"):
                if path.parent.exists():
                    path.unlink(missing_ok=True)
                    path.mkdir()
            with self.assertRaises(StoreCorrupt), seats.seat("one", 0):
                self.fail("a folder for a lock")
            for path in (self.locks / "seats.lock", self.locks / "seats" / "one.lock"):
                if path.is_dir():
                    path.rmdir()

    def test_no_handle_stays_open_when_it_is_free_or_could_not_be_had(self) -> None:
        if not Path("/proc/self/fd").exists():
            raise unittest.SkipTest("there is no /proc to count handles in")
        for seats in self.kinds():
            before = len(os.listdir("/proc/self/fd"))
            for number in range(20):
                with seats.seat(f"seat{number}", 0), self.assertRaises(Busy), seats.seat(f"seat{number}", 0):
                    self.fail("a seat for two")
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)


if __name__ == "__main__":
    unittest.main()
