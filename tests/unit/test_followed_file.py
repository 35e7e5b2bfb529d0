"""A file that several follow: nothing is missed, nothing is told twice, and what rolled over is still known."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from trading.adapters.followed_file import FollowedFile


class FollowedFileTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "wallet.sent"
        self.one, self.other = (FollowedFile(self.path, bytes_max=100) for _ in range(2))

    def told(self, file: FollowedFile) -> list[str]:
        return [line for line in file.news()[0] if line]

    def test_what_one_appends_the_other_is_told_once(self) -> None:
        self.one.append(["a", "b"], synced=True)
        self.assertEqual(self.told(self.other), ["a", "b"])
        self.assertEqual(self.told(self.other), [])
        self.other.append(["c"], synced=False)
        self.assertEqual(self.told(self.one), ["a", "b", "c"])

    def test_what_must_outlast_the_power_is_synced_and_nothing_else_waits_for_the_disk(self) -> None:
        with mock.patch.object(os, "fsync") as synced:
            self.one.append(["a"], synced=False)
            synced.assert_not_called()
            self.one.append(["b"], synced=True)
            synced.assert_called_once()

    def test_a_torn_line_does_not_take_the_next_with_it(self) -> None:
        self.path.write_bytes(b"\nwhole\n\nto")
        self.one.append(["next"], synced=False)
        self.assertEqual(self.told(self.other), ["whole", "to", "next"])

    def test_what_rolled_over_is_told_anew_to_whoever_comes_and_to_whoever_was_there(self) -> None:
        self.one.append(["x" * 120], synced=False)
        self.assertEqual(self.one.news()[1], True)
        self.other.news()
        self.one.append(["second"], synced=False)
        self.assertTrue(self.path.with_suffix(".sent.1").exists())
        for file in (self.one, self.other, FollowedFile(self.path, bytes_max=100)):
            lines, anew = file.news()
            self.assertTrue(anew)
            self.assertEqual([line for line in lines if line], ["x" * 120, "second"])

    def test_a_file_that_has_been_cut_is_read_from_its_beginning(self) -> None:
        self.one.append(["a", "b"], synced=False)
        self.one.news()
        self.path.write_bytes(b"\nc\n")
        self.assertEqual(self.one.news(), (["", "c"], True))
