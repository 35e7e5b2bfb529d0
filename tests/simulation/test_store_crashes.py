"""A few hundred deaths of the store on the simulated disk; thousands by `python -m tests.simulation.store_crashes`."""

import errno
import unittest
from pathlib import Path
from random import Random

from tests.simulation.disk import Crashed, SimulatedDisk
from tests.simulation.store_crashes import crash

CRASHES = 150
FILE = Path("/nowhere/file")


class StoreCrashesTest(unittest.TestCase):
    def test_nothing_acknowledged_is_lost_whenever_the_store_dies(self) -> None:
        counts = crash(CRASHES, seed=20_000)
        self.assertGreaterEqual(counts["crashes"], CRASHES)
        for what in ("trades saved", "watches saved", "states changed", "positions rolled over"):
            self.assertGreater(counts[what], 0, what)

    def test_an_episode_is_its_seed(self) -> None:
        self.assertEqual(crash(3, seed=7), crash(3, seed=7))


class SimulatedDiskTest(unittest.TestCase):
    def setUp(self) -> None:
        self.disk = SimulatedDisk(Random(1))
        self.file = self.disk.open(FILE, create=True, write=True)

    def content(self) -> bytes:
        return self.disk.read(self.disk.open(FILE, create=False, write=False), 1 << 20, 0)

    def test_what_was_synced_survives_the_power_and_what_was_not_may_go_in_any_part(self) -> None:
        self.disk.write(self.file, b"kept", 0)
        self.disk.sync(self.file)
        self.disk.sync_directory(FILE.parent)
        seen: set[int] = set()
        for _ in range(20):
            self.file = self.disk.open(FILE, create=False, write=True)
            self.disk.write(self.file, b"x" * 2000, 4)
            self.disk.lose_power()
            self.assertEqual(self.content()[:4], b"kept")
            self.assertEqual(self.content()[4:].strip(b"\0x"), b"")
            seen.add(self.content().count(b"x"))
        self.assertGreater(len(seen), 2)

    def test_a_name_that_was_not_synced_may_go_with_its_file(self) -> None:
        gone = 0
        for seed in range(20):
            disk = SimulatedDisk(Random(seed))
            disk.sync(disk.open(FILE, create=True, write=True))
            disk.lose_power()
            gone += disk.stamp(FILE) is None
        self.assertTrue(0 < gone < 20)

    def test_a_killed_process_leaves_what_it_wrote(self) -> None:
        self.disk.write(self.file, b"written", 0)
        self.disk.kill()
        self.assertEqual(self.content(), b"written")

    def test_it_dies_at_the_call_named_and_stays_dead(self) -> None:
        self.disk.crash_at = self.disk.calls + 2
        self.disk.write(self.file, b"one", 0)
        with self.assertRaises(Crashed):
            self.disk.sync(self.file)
        with self.assertRaises(Crashed):
            self.disk.stamp(FILE)

    def test_it_fills_up(self) -> None:
        self.disk.capacity = 5
        with self.assertRaises(OSError) as caught:
            self.disk.write(self.file, b"too much", 0)
        self.assertEqual(caught.exception.errno, errno.ENOSPC)
        self.assertEqual(self.content(), b"too m")
        self.disk.remove(FILE)
        self.assertEqual(self.disk.names(FILE.parent), ())


if __name__ == "__main__":
    unittest.main()
