"""A DATA_DIR that may be read and not written, as a backup on a disk of its own: looked through, copied, untouched."""

import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from django.conf import settings
from django.core.management import execute_from_command_line
from django.test import SimpleTestCase, override_settings

from tests.builders import T0, after, given_a_filled_close, given_a_filled_trade, given_watch
from tests.processes import bound_by_modes, let_through
from trading.domain.desk_state import Binding
from trading.domain.errors import Busy, StoreCorrupt
from trading.utils import snapshot
from trading.utils.inspection import verify
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore
from trading.utils.locks import ProcessLock
from trading.utils.snapshot import write_backup


@unittest.skipIf(sys.platform == "win32", "Windows has other ways to say who may read a file")
class ReadOnlyFolderTest(SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        let_through(self.folder)
        self.data_dir = self.folder / "data"
        store = JsonStore(self.data_dir, Binding("paper", "demo", "0xabc"))
        opening = store.save(given_a_filled_trade("archived"))
        store.save(given_a_filled_close(opening))
        store.save_watch(given_watch(opening, outcome_told=True))
        store.roll_over(T0.replace(year=T0.year + 1))
        store.save(given_a_filled_trade("held", at=after(60)))
        store.close()
        Journal(self.data_dir / "agent_logs.json").append([{"id": "log"}])
        self.everywhere(0o555, 0o444)
        # What was made is to be taken away again.
        self.addCleanup(self.everywhere, 0o755, 0o644)

    def everywhere(self, of_folders: int, of_files: int) -> None:
        self.data_dir.chmod(of_folders)
        for path in self.data_dir.rglob("*"):
            path.chmod(of_folders if path.is_dir() else of_files)

    def found(self) -> dict[Path, tuple[int, int]]:
        seen = {path: path.stat() for path in self.data_dir.rglob("*")}
        return {path: (status.st_mtime_ns, status.st_size) for path, status in seen.items()}

    def command(self, *words: str) -> str:
        """As `manage.py` does it, checks included. Raises SystemExit."""
        config = settings.DESK_CONFIG.model_copy(update={"data_dir": self.data_dir})
        self.errors, out = StringIO(), StringIO()
        said = redirect_stdout(out), redirect_stderr(self.errors)
        with said[0], said[1], override_settings(DESK_CONFIG=config), patch("os.access", return_value=False):
            execute_from_command_line(["manage.py", *words])
        return out.getvalue()

    def test_it_is_looked_through_and_nothing_is_made_there(self) -> None:
        before = self.found()
        with bound_by_modes():
            self.assertEqual(((), 1), ((report := verify(self.data_dir)).problems, report.counts["archived_positions"]))
            self.assertIn("the ledger is well", self.command("verify_ledger"))
        self.assertEqual(before, self.found())

    def test_a_copy_without_the_locks_is_too(self) -> None:
        (self.data_dir).chmod(0o755)
        (self.data_dir / "locks").chmod(0o755)
        for path in (self.data_dir / "locks").iterdir():
            path.unlink()
        self.everywhere(0o555, 0o444)
        before = self.found()
        with bound_by_modes():
            self.assertEqual((), verify(self.data_dir).problems)
        self.assertEqual(before, self.found())

    def test_it_is_backed_up(self) -> None:
        target = self.folder / "backup.tar"
        self.folder.chmod(0o1777)
        with bound_by_modes():
            self.command("backup", str(target))
        self.assertTrue(target.exists())

    def test_who_writes_there_is_kept_out_all_the_same(self) -> None:
        """As where one service writes, and another user, or a mount that is read-only, looks on."""
        lock = self.data_dir / "locks" / "ledger.lock"
        lock.chmod(0o644)
        held, impatient = ProcessLock(lock, "the ledger", 1).held(), patch.object(snapshot, "LOCK_SECONDS", 0.02)
        with held, impatient, bound_by_modes(), self.assertRaises(Busy):
            verify(self.data_dir)

    def test_what_cannot_be_read_is_named(self) -> None:
        for name in ("trades.json", "agent_logs.json", "archive", "locks", "."):
            path = self.data_dir / name
            with self.subTest(name):
                path.chmod(0)
                with bound_by_modes(), self.assertRaises(SystemExit):
                    self.command("verify_ledger")
                path.chmod(0o555)
                self.assertRegex(self.errors.getvalue(), rf"{path}\S* cannot be (read|locked): Permission denied")

    def test_a_folder_that_was_never_used_is_not_called_well_and_has_no_backup(self) -> None:
        """A slip in DATA_DIR, and every night's backup was empty."""
        self.data_dir = self.folder / "slip"
        self.assertEqual(f"note: {self.data_dir} has not been used yet\n", self.command("verify_ledger"))
        with self.assertRaisesRegex(StoreCorrupt, "nothing to back up"):
            write_backup(self.data_dir, self.folder / "backup.tar")
        self.data_dir = self.folder / "data"
