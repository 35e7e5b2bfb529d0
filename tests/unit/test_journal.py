"""The journal: readable by any tool, never losing what was acknowledged, mending only what never was."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock
from collections.abc import Sequence
from pathlib import Path

from trading.domain.errors import Busy, InvariantBroken, StoreCorrupt
from trading.utils import disk, sealing, successor
from trading.utils import journal as module
from trading.utils.disk import SystemDisk
from trading.utils.journal import EMPTY, Entry, Journal
from trading.utils.locks import ProcessLock
from trading.utils.sealing import sealed, unsealed
from trading.utils.successor import Successor

ROOT = Path(__file__).resolve().parents[2]

WRITER = """
import sys
from pathlib import Path
from trading.utils.journal import Journal
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
journal = Journal(path)
print("ready", flush=True)
for number in range(count):
    journal.append([{"id": f"{name}-{number}"}], sync=number % 10 == 0)
"""


class FaultyDisk(SystemDisk):
    """Counts the bytes read, and refuses the named calls while they are listed in `refusing`."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.reads = 0
        self.refusing: set[str] = set()
        self.stays_full = False

    def _meet(self, call: str, code: int) -> None:
        if call in self.refusing:
            raise OSError(code, os.strerror(code))

    def read(self, file: int, size: int, offset: int) -> bytes:
        self._meet("read", errno.EIO)
        content = super().read(file, size, offset)
        self.reads += 1
        self.bytes_read += len(content)
        return content

    def write(self, file: int, content: bytes, offset: int) -> None:
        if "write" in self.refusing:
            super().write(file, content[: len(content) // 2], offset)
            if not self.stays_full:
                self.refusing.discard("write")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(file, content, offset)

    def sync(self, file: int) -> None:
        self._meet("sync", errno.EIO)
        super().sync(file)

    def truncate(self, file: int, size: int) -> None:
        self._meet("truncate", errno.EROFS)
        super().truncate(file, size)


class JournalCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "data" / "things.json"

    def journal(self, disk: SystemDisk | None = None, *, read_only: bool = False) -> Journal:
        made = Journal(self.path, disk=disk, read_only=read_only)
        self.addCleanup(made.close)
        return made

    def written(self, *names: str) -> bytes:
        """The bytes of a journal of one append for each name."""
        journal = self.journal()
        for name in names:
            journal.append([{"id": name}])
        journal.close()
        return self.path.read_bytes()

    def names(self, entries: Sequence[Entry]) -> list[object]:
        return [entry.content["id"] for entry in entries]


class FormatTest(JournalCase):
    def test_a_new_journal_is_an_empty_array_for_its_owner_alone(self) -> None:
        journal = self.journal()
        self.assertEqual(self.path.read_bytes(), EMPTY)
        self.assertEqual(json.loads(EMPTY), [])
        self.assertEqual(journal.follow(), ())
        self.assertEqual(journal.seq, 0)
        if os.name == "posix":
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
            self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)

    def test_any_json_tool_reads_it_after_every_append(self) -> None:
        journal = self.journal()
        for number in range(5):
            journal.append([{"id": f"a{number}", "text": "ü\u2028\n"}, {"id": f"b{number}"}], sync=number % 2 == 0)
            records = json.loads(self.path.read_text())
            self.assertEqual([one["seq"] for one in records], list(range(1, 2 * number + 3)))
            self.assertEqual(len(self.path.read_text().splitlines()), len(records) + 2)
            self.assertTrue(all(one["schema"] == 1 and len(one["checksum"]) == 8 for one in records))

    def test_appending_nothing_changes_nothing(self) -> None:
        before = self.written("one")
        self.assertEqual(self.journal().append([]), 1)
        self.assertEqual(self.path.read_bytes(), before)

    def test_what_is_no_json_or_uses_a_reserved_name_is_refused_before_anything_is_written(self) -> None:
        journal = self.journal()
        rows: list[dict[str, object]] = [{"id": object()}, {"id": float("nan")}, {"seq": 3}, {"checksum": "x"}]
        for record in rows:
            with self.subTest(record=str(record)), self.assertRaises(InvariantBroken):
                journal.append([record])  # type: ignore[list-item]  # what mypy would have caught
        self.assertEqual(self.path.read_bytes(), EMPTY)

    def test_a_seal_breaks_with_any_bit(self) -> None:
        line = sealed({"seq": 1, "id": "x"})
        self.assertEqual((unsealed(line) or {})["id"], "x")
        for at in range(len(line)):
            changed = bytes([*line[:at], line[at] ^ 1, *line[at + 1 :]])
            self.assertIsNone(unsealed(changed), at)

    def test_a_sealed_line_that_is_no_record_is_none(self) -> None:
        for text in (b"[1", b"nonsense"):
            with self.subTest(text=text):
                self.assertIsNone(unsealed(text + sealing._seal(text)))


class FollowingTest(JournalCase):
    def test_each_instance_follows_what_anybody_appended_once_and_in_order(self) -> None:
        one, other = self.journal(), self.journal()
        one.append([{"id": "a"}])
        other.append([{"id": "b"}, {"id": "c"}])
        one.append([{"id": "d"}])
        self.assertEqual(self.names(one.follow()), ["a", "b", "c", "d"])
        self.assertEqual(self.names(other.follow()), ["a", "b", "c", "d"])
        self.assertEqual(one.follow(), ())
        self.assertEqual([entry.line for entry in self.journal().follow()], [2, 3, 4, 5])

    def test_following_reads_only_what_was_appended_and_nothing_when_nothing_was(self) -> None:
        writer = self.journal()
        writer.append([{"id": f"filler{number}", "text": "x" * 200} for number in range(500)])
        disk = FaultyDisk()
        reader = self.journal(disk)
        reader.follow()
        disk.bytes_read = disk.reads = 0
        self.assertEqual(reader.follow(), ())
        self.assertEqual(disk.reads, 0)
        before = self.path.stat().st_size
        writer.append([{"id": "new"}])
        appended = self.path.stat().st_size - before
        self.assertEqual(self.names(reader.follow()), ["new"])
        self.assertLessEqual(disk.bytes_read, 2 * appended + 16)

    def test_long_journals_are_read_in_pieces(self) -> None:
        self.journal().append([{"id": str(number), "text": "y" * 3000} for number in range(800)])
        self.assertGreater(self.path.stat().st_size, 2 * module.CHUNK_BYTES)
        self.assertEqual(self.names(self.journal().follow()), [str(number) for number in range(800)])

    def test_rewinding_begins_again_at_the_first_record(self) -> None:
        self.written("a", "b")
        journal = self.journal()
        self.assertEqual(len(journal.follow()), 2)
        journal.rewind()
        self.assertEqual(self.names(journal.follow()), ["a", "b"])

    def test_a_replaced_file_is_followed_from_its_start(self) -> None:
        self.written("a", "b")
        journal = self.journal()
        journal.follow()
        fresh = Journal(self.path.with_name("fresh.json"))
        fresh.append([{"id": "z"}])
        fresh.close()
        os.replace(fresh.path, self.path)
        self.assertEqual(self.names(journal.follow()), ["z"])
        self.assertEqual(journal.replaced, 1)
        journal.append([{"id": "after"}])
        self.assertEqual([one["id"] for one in json.loads(self.path.read_text())], ["z", "after"])

    def test_a_successor_is_whole_wherever_its_pieces_end(self) -> None:
        journal = self.journal()
        for pieces in (1, 150, 1 << 20):
            with unittest.mock.patch.object(successor, "CHUNK_BYTES", pieces):
                fresh = Successor(self.path, 7, SystemDisk())
                for name in ("a", "b", "c"):
                    fresh.take({"id": name})
                fresh.put_in_place()
            self.assertEqual(["base", "a", "b", "c"], [one["id"] for one in json.loads(self.path.read_text())])
            self.assertEqual(["a", "b", "c"], self.names(journal.follow()))

    def test_a_file_that_vanished_or_shrank_is_corrupt(self) -> None:
        self.written("a", "b")
        journal = self.journal()
        journal.follow()
        self.path.write_bytes(EMPTY)
        with self.assertRaises(StoreCorrupt) as caught:
            journal.follow()
        self.assertIn("shrunk", caught.exception.detail)
        self.path.unlink()
        for call in (journal.follow, lambda: journal.append([{"id": "x"}])):
            with self.assertRaises(StoreCorrupt):
                call()

    def test_a_replacement_that_is_no_journal_is_corrupt_each_time(self) -> None:
        self.written("a")
        journal = self.journal()
        journal.follow()
        other = self.path.with_name("other")
        other.write_bytes(b"\0" * 300)
        os.replace(other, self.path)
        for _ in range(2):
            with self.assertRaises(StoreCorrupt):
                journal.follow()
        self.assertEqual(self.path.read_bytes(), b"\0" * 300)

    def test_an_array_emptied_by_a_tool_is_noticed_by_those_who_read_it(self) -> None:
        self.written("a")
        journal = self.journal()
        journal.follow()
        self.path.write_bytes(b"[]")
        with self.assertRaises(StoreCorrupt):
            journal.follow()

    def test_a_closed_journal_is_of_no_use(self) -> None:
        journal = self.journal()
        journal.close()
        journal.close()
        with self.assertRaises(StoreCorrupt):
            journal.append([{"id": "x"}])


class DamageTest(JournalCase):
    def test_a_tail_torn_at_any_byte_of_the_last_record_is_cut_and_said(self) -> None:
        whole = self.written("first", "second", "third")
        start = whole.index(b',\n{"seq":3')
        complete = whole.index(b"\n]\n")
        for end in range(start, len(whole)):
            with self.subTest(end=end):
                self.path.write_bytes(whole[:end])
                journal = self.journal()
                expected = ["first", "second", "third"] if end >= complete else ["first", "second"]
                self.assertEqual(self.names(journal.follow()), expected)
                self.assertIn(str(self.path), journal.mended or "")
                self.assertEqual([one["id"] for one in json.loads(self.path.read_text())], expected)
                self.assertEqual(journal.append([{"id": "next"}]), len(expected) + 1)
                self.assertEqual(self.names(self.journal().follow()), [*expected, "next"])
                journal.close()

    def test_a_flipped_byte_in_any_line_is_corrupt_at_that_line(self) -> None:
        whole = self.written("first", "second", "third")
        line = 1
        for at in range(len(whole) - 3):
            self.path.write_bytes(bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]))
            with self.subTest(at=at, line=line), self.assertRaises(StoreCorrupt) as caught:
                self.journal().follow()
            self.assertIn(str(self.path), caught.exception.detail)
            found = caught.exception.facts["line"]
            # The comma and the line feed between two records belong to both.
            self.assertIn(found, (line, line + 1) if whole[at : at + 1] in b",\n" or found == 1 else (line,))
            line += whole[at : at + 1] == b"\n"

    def test_damage_is_told_from_a_torn_tail(self) -> None:
        whole = self.written("first", "second", "third")
        lines = whole.splitlines(keepends=True)
        newer = sealed({"seq": 3, "schema": 2, "id": "third"})
        rows = {
            "a line is gone": (b"".join([*lines[:2], *lines[3:]]), 3),
            "a line twice": (b"".join([*lines[:3], *lines[2:]]), 4),
            "garbage in the middle": (b"".join([*lines[:2], b"what is this\n", *lines[2:]]), 3),
            "garbage in the middle and torn": (b"".join([*lines[:2], b"what is this\n", *lines[2:4]]), 3),
            "garbage before the last and torn": (b"".join([*lines[:3], b"what is this\n", lines[3]]), 4),
            "holes before what was synced": (b"".join([*lines[:2], b"\0" * len(lines[2]), *lines[3:]]), 3),
            "a comma too many": (b"".join([*lines[:3], lines[3][:-1] + b",\n]\n"]), 5),
            "a newer schema": (b"".join([*lines[:3], newer + b"\n]\n"]), 4),
            "nothing but holes": (b"\0" * len(whole), 1),
            "an object": (b'{"trades": []}', 1),
            "text after the first bracket": (b"[1, 2]\n", 1),
        }
        for name, (content, line) in rows.items():
            self.path.write_bytes(content)
            with self.subTest(name), self.assertRaises(StoreCorrupt) as caught:
                self.journal().follow()
            self.assertEqual(caught.exception.facts["line"], line, name)
            self.assertEqual(self.path.read_bytes(), content, "damage is left as it is")

    def test_a_hole_where_the_last_append_should_be_is_a_torn_tail(self) -> None:
        whole = self.written("first", "second")
        for tail in (b"\0" * 50, b'{"half', b",\n" + b"\0" * 700 + b"\n]\n"):
            with self.subTest(tail=tail):
                self.path.write_bytes(whole.removesuffix(b"\n]\n") + tail)
                journal = self.journal()
                self.assertEqual(self.names(journal.follow()), ["first", "second"])
                self.assertEqual(self.path.read_bytes(), whole)

    def test_a_hole_in_what_was_never_synced_takes_what_follows_with_it(self) -> None:
        journal = self.journal()
        journal.append([{"id": "kept"}])
        journal.append([{"id": "lost"}], sync=False)
        journal.append([{"id": "behind"}], sync=False)
        whole = self.path.read_bytes()
        lost = whole.index(b'{"seq":2')
        self.path.write_bytes(whole[:lost] + b"\0" * 20 + whole[lost + 20 :])
        again = self.journal()
        self.assertEqual(self.names(again.follow()), ["kept"])
        self.assertEqual([one["id"] for one in json.loads(self.path.read_text())], ["kept"])

    def test_an_append_whose_first_sectors_were_lost_spoils_nothing_of_the_record_before_it(self) -> None:
        """Its comma and line end are a hole, its checksum is there: all of one line with the record before."""
        whole = self.written("kept")
        journal = self.journal()
        journal.append([{"id": "torn", "text": "x" * 900}], sync=False)
        torn = self.path.read_bytes()
        begins = len(whole) - len(b"\n]\n")
        for lost in (1, 2, 100, 800):
            with self.subTest(lost=lost):
                self.path.write_bytes(torn[:begins] + b"\0" * lost + torn[begins + lost :])
                again = self.journal()
                self.assertEqual(self.names(again.follow()), ["kept"])
                self.assertEqual(self.path.read_bytes(), whole)

    def test_a_sync_makes_everything_before_it_count(self) -> None:
        journal = self.journal()
        journal.append([{"id": "lost"}], sync=False)
        journal.append([{"id": "behind"}], sync=True)
        journal.append([{"id": "last"}])
        whole = self.path.read_bytes()
        self.path.write_bytes(whole.replace(b"lost", b"\0\0\0\0"))
        with self.assertRaises(StoreCorrupt):
            self.journal().follow()

    def test_an_append_whose_first_sector_was_lost_is_a_torn_tail_wherever_the_sector_ends(self) -> None:
        before = self.written("one", "two")
        whole = self.written("three")
        for kept in (1, 2, 3):
            with self.subTest(kept=kept):
                # The old bracket stands in the last *kept* bytes of a sector; what follows it reached the disk.
                start = len(before) - 3
                self.path.write_bytes(whole[:start] + before[start : start + kept] + whole[start + kept :])
                journal = self.journal()
                self.assertEqual(self.names(journal.follow()), ["one", "two"])
                self.assertIn("cut off", journal.mended or "")
                self.assertEqual(self.path.read_bytes(), before)

    def test_a_torn_end_longer_than_any_append_is_damage(self) -> None:
        whole = self.written("first")
        self.path.write_bytes(whole.removesuffix(b"\n]\n") + b"\0" * (module.TORN_BYTES_MAX + 1))
        with self.assertRaises(StoreCorrupt):
            self.journal().follow()

    def test_a_file_whose_maker_died_at_once_and_an_empty_array_begin_here(self) -> None:
        self.path.parent.mkdir()
        for content in (b"", b"[", b"[\n", b"[\n]", b"[]", b"[]\n", b" [ ] \n", EMPTY):
            with self.subTest(content=content):
                self.path.write_bytes(content)
                journal = self.journal()
                self.assertEqual(journal.follow(), ())
                self.assertEqual(self.path.read_bytes(), EMPTY)
                journal.append([{"id": "x"}])
                self.assertEqual(len(json.loads(self.path.read_text())), 1)

    def test_a_file_that_must_exist_is_not_made(self) -> None:
        with self.assertRaises(StoreCorrupt) as caught:
            Journal(self.path, must_exist=True)
        self.assertIn("missing", caught.exception.detail)
        self.assertFalse(self.path.exists())

    def test_a_read_only_journal_tells_what_it_would_mend_and_leaves_it(self) -> None:
        whole = self.written("first", "second")
        for content in (whole[:-20], b"[", b""):
            with self.subTest(content=content):
                self.path.write_bytes(content)
                journal = self.journal(read_only=True)
                self.assertEqual(self.names(journal.follow()), ["first"] if len(content) > 1 else [])
                self.assertIsNotNone(journal.mended)
                self.assertEqual(self.path.read_bytes(), content)


class DiskTrouble(JournalCase):
    def test_a_refused_write_or_sync_leaves_the_file_as_it_was(self) -> None:
        for call, reason in (("write", "ENOSPC"), ("sync", "EIO")):
            with self.subTest(call):
                disk = FaultyDisk()
                journal = self.journal(disk)
                journal.append([{"id": f"before {call}"}])
                before = self.path.read_bytes()
                disk.refusing = {call}
                with self.assertRaises(StoreCorrupt) as caught:
                    journal.append([{"id": "lost"}])
                self.assertEqual(caught.exception.facts["reason"], reason)
                self.assertEqual(self.path.read_bytes(), before)
                disk.refusing = set()
                journal.append([{"id": f"after {call}"}])
                self.assertEqual(json.loads(self.path.read_text())[-1]["id"], f"after {call}")

    def test_what_could_not_be_taken_back_is_mended_by_the_next(self) -> None:
        disk = FaultyDisk()
        journal = self.journal(disk)
        journal.append([{"id": "kept"}])
        disk.refusing, disk.stays_full = {"write", "truncate"}, True
        with self.assertRaises(StoreCorrupt):
            journal.append([{"id": "lost", "text": "z" * 100}])
        with self.assertRaises(ValueError):
            json.loads(self.path.read_text())
        disk.refusing = set()
        other = self.journal()
        self.assertEqual(self.names(other.follow()), ["kept"])
        self.assertEqual(journal.append([{"id": "next"}]), 2)

    def test_a_disk_that_cannot_be_read_is_corrupt(self) -> None:
        self.written("a")
        disk = FaultyDisk()
        journal = self.journal(disk)
        disk.refusing = {"read"}
        with self.assertRaises(StoreCorrupt) as caught:
            journal.follow()
        self.assertEqual(caught.exception.facts["reason"], "EIO")
        with self.assertRaises(StoreCorrupt):
            self.journal(disk)

    def test_a_folder_that_cannot_be_made_is_corrupt(self) -> None:
        blocker = self.path.parent
        blocker.write_text("a file where the folder should be")
        with self.assertRaises(StoreCorrupt):
            Journal(self.path)

    def test_a_disk_that_takes_nothing_is_full(self) -> None:
        with (
            tempfile.TemporaryFile() as file,
            unittest.mock.patch.object(disk, "_write_at", return_value=0),
            self.assertRaises(OSError) as caught,
        ):
            SystemDisk().write(file.fileno(), b"x", 0)
        self.assertEqual(caught.exception.errno, errno.ENOSPC)

    @unittest.skipUnless(hasattr(os, "pwrite"), "Windows seeks")
    def test_what_goes_in_pieces_arrives_whole(self) -> None:
        with (
            unittest.mock.patch.object(disk, "_write_at", lambda file, content, at: os.pwrite(file, content[:7], at)),
            unittest.mock.patch.object(disk, "_read_at", lambda file, size, at: os.pread(file, min(size, 7), at)),
        ):
            self.written("a", "b")
            self.assertEqual(["a", "b"], self.names(self.journal().follow()))
        self.assertEqual(["a", "b"], [one["id"] for one in json.loads(self.path.read_text())])

    def test_seeking_serves_where_positioned_access_is_missing(self) -> None:
        with tempfile.TemporaryFile() as file:
            self.assertEqual(disk._seek_and_write(file.fileno(), b"abc", 2), 3)
            self.assertEqual(disk._seek_and_read(file.fileno(), 9, 3), b"bc")


class TogetherTest(JournalCase):
    def writer(self, name: str, count: int) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.path), name, str(count)], cwd=ROOT, stdout=subprocess.PIPE
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        return process

    def test_processes_and_threads_lose_nothing_and_give_no_number_twice(self) -> None:
        processes = [self.writer(name, 60) for name in ("p", "q")]
        journal = self.journal()

        def append(name: str) -> None:
            for number in range(60):
                journal.append([{"id": f"{name}-{number}"}])

        threads = [threading.Thread(target=append, args=(name,)) for name in ("s", "t")]
        for thread in threads:
            thread.start()
        seen: list[Entry] = []
        while any(thread.is_alive() for thread in threads) or any(process.poll() is None for process in processes):
            seen += journal.follow()
        for thread in threads:
            thread.join()
        seen += journal.follow()
        records = json.loads(self.path.read_text())
        self.assertEqual([one["seq"] for one in records], list(range(1, 241)))
        self.assertEqual({one["id"] for one in records}, {f"{n}-{i}" for n in "pqst" for i in range(60)})
        self.assertEqual([entry.seq for entry in seen], list(range(1, 241)))

    def test_a_writer_killed_at_any_moment_leaves_a_journal_that_goes_on(self) -> None:
        last = 0
        for round_number in range(4):
            process = self.writer(f"r{round_number}", 100_000)
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.01 * round_number)
            process.kill()
            process.wait()
            journal = self.journal()
            entries = journal.follow()
            self.assertEqual([entry.seq for entry in entries], list(range(1, len(entries) + 1)))
            self.assertGreaterEqual(len(entries), last)
            last = journal.append([{"id": f"after {round_number}"}])
            self.assertEqual(len(json.loads(self.path.read_text())), last)
            journal.close()

    def test_waiting_for_a_lock_ends(self) -> None:
        self.path.parent.mkdir()
        path = self.path.parent / "some.lock"
        one = ProcessLock(path, "the thing", 0.05, reentrant=True)
        other = ProcessLock(path, "the thing", 0.05)
        caught: list[Busy] = []

        def try_lock(lock: ProcessLock) -> None:
            try:
                with lock.held():
                    pass
            except Busy as busy:
                caught.append(busy)

        with one.held(), one.held():
            try_lock(other)
            thread = threading.Thread(target=try_lock, args=(one,))
            thread.start()
            thread.join()
        self.assertEqual(len(caught), 2)
        try_lock(other)
        self.assertEqual(len(caught), 2)

    def test_a_lock_that_cannot_be_made_is_corrupt(self) -> None:
        path = self.path.parent / "locks" / "dir.lock"
        path.mkdir(parents=True)
        with self.assertRaises(StoreCorrupt), ProcessLock(path, "the thing", 0.05).held():
            pass


if __name__ == "__main__":
    unittest.main()
