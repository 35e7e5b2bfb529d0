"""A file that is replaced as a whole: what is read is what is there, however fast and alike its successors are."""

import os
import shutil
import tempfile
import threading
import unittest
from pathlib import Path

from trading.utils import whole_file
from trading.utils.disk import SystemDisk
from trading.utils.whole_file import WholeFile


class CountingDisk(SystemDisk):
    def __init__(self) -> None:
        self.opened: list[int] = []
        self.closed: list[int] = []

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        self.opened.append(super().open(path, create=create, write=write))
        return self.opened[-1]

    def close(self, file: int) -> None:
        self.closed.append(file)
        super().close(file)


class WholeFileTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="executor_agent_tests_"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path, self.disk = self.folder / "desk.json", CountingDisk()
        self.file = WholeFile(self.path, self.disk)
        self.addCleanup(self.file.close)
        self.put(b"first")

    def put(self, content: bytes) -> None:
        new = self.folder / "new"
        new.write_bytes(content)
        # As within one tick of the system's clock.
        os.utime(new, ns=(1, 1))
        new.replace(self.path)

    def test_it_is_read_once_until_there_is_another(self) -> None:
        first = self.file.content()
        self.assertEqual(first, b"first")
        self.assertIs(self.file.content(), first)
        self.assertEqual(len(self.disk.opened), 1)

    def test_each_of_many_alike_is_seen(self) -> None:
        """Of one size and one instant; the system gives a number again as soon as it is free."""
        for number in range(300):
            content = b"%05d" % number
            self.put(content)
            self.assertEqual(self.file.content(), content)
            self.put(b"other")
            self.put(b"%05d" % (number + 1))
            self.assertEqual(self.file.content(), b"%05d" % (number + 1))
        self.assertEqual(len(self.disk.opened) - len(self.disk.closed), 1)

    def test_one_that_somebody_has_written_into_is_read_anew(self) -> None:
        self.file.content()
        self.path.write_bytes(b"edited by hand")
        self.assertEqual(self.file.content(), b"edited by hand")

    def test_one_that_is_gone_is_an_error_each_time_and_is_found_again(self) -> None:
        self.file.content()
        self.path.unlink()
        for _ in range(2):
            with self.assertRaises(FileNotFoundError):
                self.file.content()
        self.put(b"again")
        self.assertEqual(self.file.content(), b"again")

    def test_nothing_stays_open_when_it_is_closed_or_where_no_open_file_is_replaced(self) -> None:
        self.file.content()
        self.file.close()
        self.assertEqual(self.disk.opened, self.disk.closed)
        before = whole_file.CAN_STAY_OPEN
        self.addCleanup(setattr, whole_file, "CAN_STAY_OPEN", before)
        whole_file.CAN_STAY_OPEN = False
        for content in (b"one", b"two"):
            self.put(content)
            self.assertEqual(self.file.content(), content)
            self.assertEqual(self.disk.opened, self.disk.closed)

    def test_threads_that_look_while_it_is_replaced_see_it_go_forward_only(self) -> None:
        over, backwards = threading.Event(), list[tuple[bytes, bytes]]()
        self.put(b"%05d" % 0)

        def look() -> None:
            last = self.file.content()
            while not over.is_set():
                present = self.file.content()
                if present < last:
                    backwards.append((last, present))
                last = present

        threads = [threading.Thread(target=look) for _ in range(4)]
        for one in threads:
            one.start()
        for number in range(300):
            self.put(b"%05d" % number)
        over.set()
        for one in threads:
            one.join()
        self.assertEqual(backwards, [])
