"""What root makes in another user's folder: that user's service goes on reading it."""

import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

from tests.processes import NOBODY
from trading.bootstrap import build_desk
from trading.conf import Config
from trading.engine import emergency
from trading.utils.backup import restore, write_backup
from trading.utils.owner import for_owner, make_directory

BY_ROOT = sys.platform != "win32" and os.geteuid() == 0


@unittest.skipUnless(BY_ROOT, "only root makes what is not its own")
class OwnerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "data"
        self.folder.mkdir()
        os.chown(self.folder, NOBODY, NOBODY)

    def owners(self) -> set[int]:
        return {path.lstat().st_uid for path in self.folder.rglob("*")}

    def test_a_stop_and_a_restore_leave_the_service_its_files(self) -> None:
        """An emergency stop from root's shell put a desk.json in place that the service could not read any more."""
        desk = build_desk(Config.of(data_dir=self.folder, redis_url="redis://127.0.0.1:1/3"))
        emergency.stop(desk)
        self.assertEqual({NOBODY}, self.owners())
        target = self.folder.parent / "backup.tar"
        write_backup(self.folder, target)
        restore(target, self.folder, force=False)
        self.assertTrue((self.folder / "before-restore-1" / "desk.json").exists())
        self.assertEqual({NOBODY}, self.owners())
        self.assertEqual(0, target.stat().st_uid)

    def test_nothing_is_handed_over_that_is_elsewhere_or_has_another_name(self) -> None:
        theirs = self.folder.parent / "roots"
        theirs.touch()
        (self.folder / "link").symlink_to(theirs)
        os.link(theirs, self.folder / "second")
        for name in ("link", "second"):
            os.close(for_owner(self.folder / name, os.O_RDWR | os.O_CREAT))
        (self.folder / "folder").symlink_to(self.folder.parent)
        make_directory(self.folder / "folder")
        os.close(for_owner(self.folder / "folder" / "new", os.O_RDWR | os.O_CREAT))
        self.assertEqual({0}, {path.stat().st_uid for path in (theirs, self.folder.parent, self.folder.parent / "new")})

    def test_where_the_system_refuses_it_stays_roots(self) -> None:
        with patch.object(os, "fchown", side_effect=OSError(22, "Invalid argument")):
            make_directory(self.folder / "made")
            os.close(for_owner(self.folder / "file", os.O_RDWR | os.O_CREAT))
        self.assertEqual({0}, self.owners())
