"""The outbox on disk: it survives, it is one process's turn at a time, and what is broken is put aside."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tests.builders import T0
from trading.adapters.outbox_file import OutboxFile
from trading.domain.alerts import Outbox
from trading.domain.errors import Busy, StoreCorrupt


class OutboxFileTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.file = OutboxFile(self.folder)

    def test_a_folder_without_one_begins_empty(self) -> None:
        self.assertEqual(Outbox(), self.file.load())

    def test_what_was_saved_is_there_after_a_restart_and_for_the_owner_only(self) -> None:
        outbox = Outbox(read_until=T0, read=("a",), dropped=2)
        self.file.save(outbox)
        self.assertEqual(outbox, OutboxFile(self.folder).load())
        self.assertEqual(0o600, self.file.path.stat().st_mode & 0o777)

    def test_one_that_cannot_be_trusted_is_put_aside_and_begun_anew(self) -> None:
        for broken in (b"", b"{}\n", b"\xff\xfe", b'{"read_until":null,"checksum":"00000000"}\n'):
            with self.subTest(broken), self.assertLogs("trading.adapters.outbox_file", "ERROR"):
                self.file.path.write_bytes(broken)
                self.assertEqual(Outbox(), self.file.load())
                self.assertEqual(broken, self.file.path.with_suffix(".broken").read_bytes())

    def test_a_sealed_record_of_another_shape_is_put_aside_too(self) -> None:
        from trading.utils.sealing import sealed

        self.file.path.write_bytes(sealed({"something": "else"}) + b"\n")
        with self.assertLogs("trading.adapters.outbox_file", "ERROR"):
            self.assertEqual(Outbox(), self.file.load())

    def test_the_turn_is_one_carriers(self) -> None:
        other = OutboxFile(self.folder)
        with self.file.turn(), self.assertRaises(Busy), other.turn():
            self.fail("two had the turn")
        with other.turn():
            pass

    def test_a_disk_that_refuses_is_told_as_such(self) -> None:
        with mock.patch("os.replace", side_effect=OSError(28, "No space left")), self.assertRaises(StoreCorrupt):
            self.file.save(Outbox())
        self.file.path.mkdir()
        with self.assertRaises(StoreCorrupt):
            self.file.load()

    def test_the_room_on_the_disk_is_told_where_it_can_be(self) -> None:
        self.assertGreater(self.file.free_bytes() or 0, 0)
        with mock.patch.object(os, "statvfs", side_effect=OSError):
            self.assertIsNone(self.file.free_bytes())
