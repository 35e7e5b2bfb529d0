"""A restore that dies at each of its steps, that cannot go on, and where nothing but DATA_DIR can be written."""

import os
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.builders import after, given_a_filled_trade
from tests.processes import NOBODY, bound_by_modes, let_through
from trading.bootstrap import build_desk
from trading.conf import Config, ConfigurationError
from trading.domain.desk_state import Binding
from trading.domain.errors import StoreCorrupt
from trading.utils import backup
from trading.utils.backup import restore, write_backup
from trading.utils.disk import SystemDisk
from trading.utils.inspection import verify
from trading.utils.json_storage import JsonStore
from trading.utils.takeover import finish

BINDING = Binding("paper", "paper", "paper:7")
STEPS = ("replace", "mkdir", "rmdir", "unlink")


class Died(BaseException):
    """Not an Exception: nothing in the code may go on after it."""


class Mortal:
    """All that changes names works *steps* times, and nothing after that."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Died
            return function(*arguments, **options)

        return stepped

    @contextmanager
    def alive(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name in STEPS:
                stack.enter_context(patch.object(os, name, self.step(getattr(os, name))))
            yield


class TakeoverTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.target = self.folder / "backup.tar"
        self.data_dir = self.folder / "data"

    def given(self, name: str) -> None:
        """A backup with one trade, and a folder that has one more."""
        self.data_dir = self.folder / name
        store = JsonStore(self.data_dir, BINDING)
        store.save(given_a_filled_trade("first"))
        if not self.target.exists():
            write_backup(self.data_dir, self.target)
        store.save(given_a_filled_trade("later", at=after(60)))
        store.close()

    def restored(self) -> None:
        restore(self.target, self.data_dir, force=True)

    def trades(self, data_dir: Path) -> int:
        self.assertEqual((), verify(data_dir).problems)
        store = JsonStore(data_dir, BINDING)
        try:
            return store.book().page_of_trades(9)[1]
        finally:
            store.close()

    def died_after(self, steps: int) -> bool:
        """Whether a restore of a new folder died when it was left no more than *steps*."""
        self.given(f"data{steps}")
        try:
            with Mortal(steps).alive():
                self.restored()
        except Died:
            return True
        return False

    def test_whoever_dies_leaves_the_old_the_new_or_what_a_start_finishes(self) -> None:
        steps, found, between = 0, [], 0
        while self.died_after(steps):
            if verify(self.data_dir).problems:
                between += 1
                with self.assertRaisesRegex(StoreCorrupt, "cut off"):
                    JsonStore(self.data_dir, BINDING)
                with self.assertRaisesRegex(StoreCorrupt, "cut off"):
                    write_backup(self.data_dir, self.folder / "of a half")
            finish(self.data_dir)
            found.append(self.trades(self.data_dir))
            if found[-1] == 1:
                self.assertEqual(2, self.trades(self.data_dir / "before-restore-1"))
            steps += 1
        self.assertEqual(sorted(found, reverse=True), found)
        self.assertEqual({1, 2}, set(found))
        self.assertGreater(between, 8)

    def test_whoever_dies_finishes_by_doing_it_again_and_loses_nothing(self) -> None:
        steps = 0
        while self.died_after(steps):
            self.restored()
            self.assertEqual(1, self.trades(self.data_dir))
            kept = [self.trades(path) for path in self.data_dir.glob("before-restore-*")]
            self.assertIn(2, kept)
            self.assertEqual([], list(self.data_dir.glob(".*")))
            steps += 1
        self.assertGreater(steps, 15)

    def test_finishing_may_be_died_over_too(self) -> None:
        for first in range(40):
            if not self.died_after(first):
                break
            for steps in range(40):
                try:
                    with Mortal(steps).alive():
                        finish(self.data_dir)
                    break
                except Died:
                    continue
            self.assertIn(self.trades(self.data_dir), (1, 2))

    def test_what_was_sent_to_the_venue_stays_known(self) -> None:
        """A signal that has traded since the backup would be sent anew, under the same order ids."""
        self.given("data")
        (self.data_dir / "venue").mkdir()
        (self.data_dir / "venue" / "0xabc.sent").write_text("what was sent")
        self.restored()
        self.assertEqual("what was sent", (self.data_dir / "venue" / "0xabc.sent").read_text())

    def test_a_start_finishes_it(self) -> None:
        self.given("data")
        self.left_between()
        desk = build_desk(Config.of(data_dir=self.data_dir, redis_url="redis://127.0.0.1:1/3"))
        self.assertEqual(1, desk.store.book().page_of_trades(9)[1])
        self.assertIn("RestoreFinished", str(desk.log.tail(9)))

    def test_a_start_that_cannot_finish_it_is_refused(self) -> None:
        self.given("data")
        self.left_between()
        dying = patch.object(os, "replace", side_effect=OSError(5, "Input/output error"))
        words = "DATA_DIR: .* cannot be finished: .*Input/output error"
        with dying, self.assertRaisesRegex(ConfigurationError, words):
            build_desk(Config.of(data_dir=self.data_dir, redis_url="redis://127.0.0.1:1/3"))

    def left_between(self) -> None:
        for steps in range(100):
            with patch.object(self, "given"):
                if self.died_after(steps) and verify(self.data_dir).problems:
                    return

    def test_what_cannot_be_moved_stays_and_so_does_all_else(self) -> None:
        self.given("data")
        real = os.replace

        def stubborn(path: Path, to: Path) -> None:
            if Path(path).name == "trades.json" and Path(to).parent.name == "before-restore-1":
                raise OSError(16, "Device or resource busy")
            real(path, to)

        with patch.object(os, "replace", stubborn), self.assertRaisesRegex(StoreCorrupt, "resource busy"):
            self.restored()
        self.assertEqual(2, self.trades(self.data_dir))
        self.assertEqual([], [*self.data_dir.glob(".*"), *self.data_dir.glob("before-*")])

    def test_what_has_moved_out_stays_out_when_that_cannot_be_synced(self) -> None:
        """Moved back, it would be overwritten by the start that finishes it."""
        self.given("data")
        real = SystemDisk.sync_directory

        def failing(disk: SystemDisk, path: Path) -> None:
            if (self.data_dir / ".restored-arriving").exists():
                raise OSError(5, "Input/output error")
            real(disk, path)

        with (
            patch.object(SystemDisk, "sync_directory", failing),
            self.assertRaisesRegex(StoreCorrupt, "Input/output error"),
        ):
            self.restored()
        self.assertTrue(finish(self.data_dir))
        self.assertEqual(1, self.trades(self.data_dir))
        self.assertEqual(2, self.trades(self.data_dir / "before-restore-1"))

    def test_what_a_running_process_writes_anew_overwrites_nothing_that_is_kept(self) -> None:
        self.given("data")
        (self.data_dir / "metrics").mkdir()
        (self.data_dir / "metrics" / "web").write_text("before")
        self.died_between_after("metrics")
        (self.data_dir / "metrics").mkdir()
        (self.data_dir / "metrics" / "web").write_text("since")
        self.assertTrue(finish(self.data_dir))
        self.assertEqual(1, self.trades(self.data_dir))
        kept = [self.data_dir / f"before-restore-{number}" / "metrics" / "web" for number in (1, 2)]
        self.assertEqual(["before", "since"], [path.read_text() for path in kept])

    def died_between_after(self, name: str) -> None:
        """A restore that dies right after *name* has moved out."""
        real = os.replace

        def last(path: Path, to: Path) -> None:
            real(path, to)
            if Path(path).name == name:
                raise Died

        with patch.object(os, "replace", last), self.assertRaises(Died):
            self.restored()

    def test_each_one_keeps_what_was_there_in_a_folder_of_its_own(self) -> None:
        self.given("data")
        for number in range(1, 4):
            (self.data_dir / "mark").write_text(str(number))
            self.restored()
        kept = [(self.data_dir / f"before-restore-{number}" / "mark").read_text() for number in range(1, 4)]
        self.assertEqual(["1", "2", "3"], kept)

    def test_two_restores_do_not_unpack_over_each_other(self) -> None:
        self.given("data")
        extract = backup._extract

        def impatient(source: Path, folder: Path) -> None:
            extract(source, folder)
            with (
                patch.object(backup, "_extract", extract),
                self.assertRaisesRegex(StoreCorrupt, "another restore is at work"),
            ):
                self.restored()

        with patch.object(backup, "_extract", impatient):
            self.restored()
        self.assertEqual(1, self.trades(self.data_dir))

    def test_a_mount_within_is_named(self) -> None:
        self.given("data")
        archive = self.data_dir / "archive"
        archive.mkdir(exist_ok=True)
        real = Path.lstat

        def elsewhere(path: Path) -> os.stat_result:
            found = real(path)
            return os.stat_result((*found[:2], found.st_dev + 1, *found[3:])) if path == archive else found

        with (
            patch.object(Path, "lstat", elsewhere),
            self.assertRaisesRegex(StoreCorrupt, f"{archive} is a mount of its"),
        ):
            self.restored()
        self.assertEqual(2, self.trades(self.data_dir))

    @unittest.skipIf(sys.platform == "win32", "Windows has other ways to say who may write")
    def test_it_needs_no_more_than_the_folder_itself(self) -> None:
        """It was renamed: a mount point cannot be, nor a folder whose parent is somebody else's, as /var/lib is."""
        self.given("data")
        let_through(self.folder)
        if os.geteuid() == 0:
            for path in (self.data_dir, *self.data_dir.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        self.folder.chmod(0o755)
        self.target.chmod(0o644)
        if os.geteuid() != 0:
            self.folder.chmod(0o555)
            self.addCleanup(self.folder.chmod, 0o755)
        with bound_by_modes():
            self.restored()
            self.assertEqual(1, self.trades(self.data_dir))
