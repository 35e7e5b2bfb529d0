"""Backup, restore and older schemas: nothing changes unasked, and a copy comes first."""

import io
import json
import subprocess
import sys
import tarfile
import tempfile
import unittest
from contextlib import redirect_stderr
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, override_settings

from tests.builders import T0, after, given_a_filled_close, given_a_filled_trade, given_a_trade, given_watch
from trading.domain.codec import Json
from trading.domain.desk_state import Binding, Cause, DeskState, TradingState
from trading.domain.errors import Busy, PositionNotFound, StoreCorrupt
from trading.domain.trades import Trade
from trading.domain.units import Usd
from trading.utils import backup, snapshot
from trading.utils.backup import restore, write_backup
from trading.utils.inspection import newest_event, verify
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore
from trading.utils.locks import ProcessLock
from trading.utils.sealing import sealed
from trading.utils.snapshot import Snapshot, frozen

ROOT = Path(__file__).resolve().parents[2]
BINDING = Binding("paper", "demo", "0xabc")
WRITER = """
import sys
from pathlib import Path
from tests.builders import *
from trading.domain.desk_state import Binding
from trading.utils.json_storage import JsonStore
store = JsonStore(Path(sys.argv[1]), Binding("paper", "demo", "0xabc"))
for number in range(100_000):
    store.save(given_a_filled_trade(f"w{number}"))
    print(number, flush=True)
"""


class BackupCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.data_dir = self.folder / "data"
        self.target = self.folder / "backup.tar"

    def store(self, data_dir: Path | None = None) -> JsonStore:
        made = JsonStore(data_dir or self.data_dir, BINDING)
        self.addCleanup(made.close)
        return made

    def filled(self) -> Trade:
        """A folder with something in the ledger, the archive and the log; the archived trade."""
        store = self.store()
        opening = store.save(given_a_filled_trade("archived"))
        store.save(given_a_filled_close(opening))
        store.save_watch(given_watch(opening, outcome_told=True))
        store.roll_over(T0 + timedelta(days=9))
        store.save(given_a_filled_trade("held", at=after(60)))
        Journal(self.data_dir / "agent_logs.json").append([{"id": "log"}])
        return opening

    def refused(self, word: str, *, force: bool = False) -> None:
        with self.assertRaises(StoreCorrupt) as caught:
            restore(self.target, self.data_dir, force=force)
        self.assertRegex(caught.exception.detail, word)
        self.assertEqual(list(self.folder.rglob(".*")), [])


class BackupTest(BackupCase):
    def test_what_was_backed_up_comes_back_whole(self) -> None:
        opening = self.filled()
        for name in ("backup.tar", "backup.tar.gz"):
            with self.subTest(name):
                count = write_backup(self.data_dir, self.folder / name)
                self.assertEqual(count, 6)
                fresh = self.folder / f"from {name}"
                report, kept = restore(self.folder / name, fresh, force=False)
                self.assertEqual((report.problems, report.notes, kept), ((), (), None))
                self.assertEqual(report.counts["archived_trades"], 2)
                for path in {*self.data_dir.rglob("*.json")} - {self.data_dir / "desk.json"}:
                    self.assertEqual((fresh / path.relative_to(self.data_dir)).read_bytes(), path.read_bytes())
                store = self.store(fresh)
                self.assertEqual(store.book().trade(opening.id), opening)
                store.save(given_a_trade(signal_id="life goes on", at=after(500)))

    def test_a_backup_is_not_written_over(self) -> None:
        self.filled()
        write_backup(self.data_dir, self.target)
        with self.assertRaises(StoreCorrupt):
            write_backup(self.data_dir, self.target)

    def test_a_backup_that_does_not_fit_leaves_nothing(self) -> None:
        """Each night's kept what room there was."""
        self.filled()
        full = OSError(28, "No space left on device")
        with (
            patch.object(tarfile.TarFile, "addfile", side_effect=full),
            self.assertRaisesRegex(StoreCorrupt, "No space"),
        ):
            write_backup(self.data_dir, self.target)
        self.assertEqual([self.data_dir], list(self.folder.iterdir()))

    def test_a_backup_while_others_write_is_of_one_instant(self) -> None:
        self.store()
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        self.addCleanup(writer.stdout.close)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        for number in range(2):
            acknowledged = int(writer.stdout.readline())
            target = self.folder / f"{number}.tar"
            write_backup(self.data_dir, target)
            report, _ = restore(target, self.folder / f"restored {number}", force=False)
            self.assertEqual((report.problems, report.notes), ((), ()))
            self.assertGreater(report.counts["trades"], acknowledged)

    def test_a_newer_ledger_is_not_given_up_unasked(self) -> None:
        self.filled()
        write_backup(self.data_dir, self.target)
        _, kept = restore(self.target, self.data_dir, force=False)
        self.assertEqual(kept, self.data_dir / "before-restore-1")
        store = self.store()
        late = store.save(given_a_trade(signal_id="later", at=after(5000)))
        store.close()
        self.refused("is newer")
        _, kept = restore(self.target, self.data_dir, force=True)
        self.assertEqual(kept, self.data_dir / "before-restore-2")
        self.assertIsNone(self.store().book().find_trade(late.id))
        assert kept is not None
        self.assertEqual(self.store(kept).book().trade(late.id), late)

    def test_what_was_done_without_a_ledger_stays_known(self) -> None:
        """Whoever does not know that a position was left closes it once more, of what somebody has bought since."""
        store = self.store()
        with redirect_stderr(io.StringIO()):
            store.rescue({"rescue": "left", "positions": ["pos_1"]})
            write_backup(self.data_dir, self.target)
            store.rescue({"rescue": "left", "positions": ["pos_2"]})
        store.close()
        restore(self.target, self.data_dir, force=True)
        self.assertEqual({"pos_1", "pos_2"}, self.store().left())

    def test_a_backup_of_an_older_version_comes_back(self) -> None:
        """What a line did not have yet, it was said to deny: the backup from before an upgrade was not well."""
        self.store().save(given_a_trade())
        ledger = self.data_dir / "trades.json"
        line = json.loads(ledger.read_bytes())[0]
        for name in ("request_id", "checks"):
            del line["event"]["terms"][name]
        line.pop("checksum")
        ledger.write_bytes(b"[\n" + sealed(line) + b"\n]\n")
        self.assertEqual((), verify(self.data_dir).problems)
        write_backup(self.data_dir, self.target)
        self.assertEqual((), restore(self.target, self.data_dir, force=False)[0].problems)
        line["event"]["terms"]["pair"] = "SOL/AVAX"
        line["pair"] = "BTC/ETH"
        line.pop("checksum", None)
        ledger.write_bytes(b"[\n" + sealed(line) + b"\n]\n")
        self.assertIn("differs from its journal in pair", str(verify(self.data_dir).problems))

    def test_the_backup_of_another_account_takes_no_place_unasked(self) -> None:
        self.store().close()
        other = self.folder / "other"
        JsonStore(other, Binding("hyperliquid", "mainnet", "0xdef")).close()
        write_backup(other, self.target)
        self.refused("belongs to paper/demo/0xabc, and .*backup.tar to hyperliquid/mainnet/0xdef; --force")
        restore(self.target, self.data_dir, force=True)
        (self.data_dir / "desk.json").write_bytes(b"damaged")
        restore(self.target, self.data_dir, force=False)

    def test_a_restored_desk_opens_nothing_until_somebody_resumes(self) -> None:
        """What an old copy did not know of passed for somebody else's holdings, and the desk traded on beside it."""
        for state, causes in ((TradingState.ACTIVE, set()), (TradingState.REDUCING, {Cause.DAILY_LOSS})):
            with self.subTest(state):
                store = self.store()
                self.target.unlink(missing_ok=True)
                store.change_state(lambda old: DeskState(binding=BINDING, baseline_equity=Usd(Decimal(9))))
                write_backup(self.data_dir, self.target)
                changed = DeskState(state, frozenset(causes), "so", binding=BINDING)
                store.change_state(lambda old, new=changed: new)  # type: ignore[misc]  # a bound default
                store.close()
                restore(self.target, self.data_dir, force=False)
                self.assertEqual((), verify(self.data_dir).problems)
                now = self.store().state()
                self.assertEqual((TradingState.REDUCING, {Cause.OPERATOR, *causes}), (now.state, now.causes))
                self.assertIn("restored from backup.tar: compare with the venue", now.why)
                self.assertEqual(Decimal(9), now.baseline_equity)

    def test_an_emergency_stop_is_lifted_by_no_copy(self) -> None:
        """It was ACTIVE again, without a resume."""
        store, stopped = self.store(), self.folder / "stopped.tar"
        write_backup(self.data_dir, self.target)
        pressed = DeskState(TradingState.LIQUIDATING, why="pressed", since=T0, scope_account=True, binding=BINDING)
        store.change_state(lambda old: pressed)
        store.close()
        restore(self.target, self.data_dir, force=False)
        self.assertEqual(pressed, self.store().state())
        write_backup(self.data_dir, stopped)
        store = self.store()
        store.change_state(lambda old: DeskState(binding=BINDING))
        store.close()
        restore(stopped, self.data_dir, force=False)
        self.assertEqual(pressed, self.store().state())

    def test_what_was_rolled_out_counts_as_known(self) -> None:
        self.store()
        write_backup(self.data_dir, self.target)
        self.assertEqual(newest_event(self.data_dir), "")
        store = self.store()
        opening = store.save(given_a_filled_trade("s"))
        store.save(given_a_filled_close(opening))
        store.save_watch(given_watch(opening, outcome_told=True))
        before = newest_event(self.data_dir)
        store.roll_over(T0 + timedelta(days=9))
        self.assertEqual(newest_event(self.data_dir), before)
        self.refused("is newer")

    def test_a_ledger_that_cannot_be_read_may_be_newer(self) -> None:
        self.filled()
        write_backup(self.data_dir, self.target)
        ledger = self.data_dir / "trades.json"
        ledger.write_bytes(ledger.read_bytes().replace(b"BTC", b"BTX", 1))
        self.refused("--force")
        restore(self.target, self.data_dir, force=True)
        self.assertEqual(verify(self.data_dir).problems, ())

    def test_a_folder_without_a_ledger_is_kept_aside_too(self) -> None:
        self.filled()
        write_backup(self.data_dir, self.target)
        bare = self.folder / "bare"
        (bare / "stage").mkdir(parents=True)
        _, kept = restore(self.target, bare, force=False)
        self.assertEqual((kept, kept and list(kept.iterdir())), (moved := bare / "before-restore-1", [moved / "stage"]))

    def test_a_folder_that_is_in_use_is_left_alone(self) -> None:
        self.filled()
        write_backup(self.data_dir, self.target)
        with self.store().monitor_seat():
            self.refused("a monitor watches")
        lock = ProcessLock(self.data_dir / "locks" / "book.lock", "the book", 1)
        with lock.held(), patch.object(backup, "LOCK_SECONDS", 0.02), self.assertRaises(Busy):
            restore(self.target, self.data_dir, force=False)

    def test_whoever_still_works_on_a_close_that_the_copy_does_not_know_leaves_none_that_nobody_can_end(self) -> None:
        """An emergency stop waits for each that is live."""
        self.filled()
        write_backup(self.data_dir, self.target)
        store = self.store()
        closing = given_a_filled_close(store.save(given_a_filled_trade("later", at=after(60))))
        restore(self.target, self.data_dir, force=True)
        with self.assertRaises(PositionNotFound):
            store.save(closing)
        self.assertEqual([], [one for one in store.book().trades() if not one.opens])

    def test_a_backup_that_is_not_well_is_refused(self) -> None:
        self.filled()
        ledger = self.data_dir / "trades.json"
        ledger.write_bytes(ledger.read_bytes().replace(b"BTC/ETH", b"BTC/ETX", 1))
        write_backup(self.data_dir, self.target)
        self.refused("is not well", force=True)
        self.target.unlink()
        self.target.write_bytes(b"no archive at all")
        self.refused("is no backup")
        for name, kind in (("../evil", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("deep/er/file", tarfile.REGTYPE)):
            with self.subTest(name):
                with tarfile.open(self.target, "w") as tar:
                    member = tarfile.TarInfo(name)
                    member.type = kind
                    tar.addfile(member, io.BytesIO())
                self.refused("is no backup")
        with tarfile.open(self.target, "w"):
            pass
        self.refused("is not well")

    @unittest.skipIf(sys.platform == "win32", "links take a right of their own there")
    def test_a_linked_folder_stays_linked(self) -> None:
        """The link was put aside, and the restored folder was where the link had been: on the disk that it led away
        from."""
        self.filled()
        write_backup(self.data_dir, self.target)
        link = self.folder / "linked"
        link.symlink_to(self.data_dir)
        _, kept = restore(self.target, link, force=False)
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.data_dir.resolve(), kept.parent.resolve() if kept else None)
        self.assertFalse(self.data_dir.is_symlink())

    def test_a_backup_that_cannot_be_read_is_named(self) -> None:
        """It was the folder for what is in it that was said to be missing."""
        for path, why in ((self.target.with_name("none"), "No such file"), (self.target.parent, "Is a directory")):
            with self.subTest(path), self.assertRaisesRegex(StoreCorrupt, f"^{path} cannot be read: {why}"):
                restore(path, self.data_dir, force=False)

    def test_a_snapshot_cannot_be_written_to_and_knows_only_its_files(self) -> None:
        self.filled()
        with frozen(self.data_dir) as still:
            with self.assertRaises(OSError):
                still.open(self.data_dir / "trades.json", create=False, write=True)
            with self.assertRaises(FileNotFoundError):
                still.open(self.data_dir / "other.json", create=False, write=False)
            self.assertIsNone(still.stamp(self.data_dir / "other.json"))

    def test_a_snapshot_does_not_see_what_comes_after_it(self) -> None:
        store = self.store()
        store.save(given_a_trade())
        still = Snapshot(self.data_dir)
        self.addCleanup(still.release)
        store.save(given_a_trade(signal_id="later"))
        file = still.open(self.data_dir / "trades.json", create=False, write=False)
        self.assertEqual(len(json.loads(still.read(file, 1 << 20, 0))), 1)
        whole = still.read(file, 1 << 20, 0)
        for size in (1, 7, 100):
            parts = [still.read(file, size, at) for at in range(0, len(whole), size)]
            self.assertEqual(b"".join(parts), whole)

    def test_a_log_that_is_busy_holds_up_no_backup(self) -> None:
        self.filled()
        lock = ProcessLock(self.data_dir / "locks" / "agent_logs.json.lock", "the log", 1)
        with lock.held(), patch.object(snapshot, "LOCK_SECONDS", 0.02):
            self.assertEqual(write_backup(self.data_dir, self.target), 6)


class MigrationTest(BackupCase):
    """A schema 0 that never was: its trades are named `trade`, its desk has no `causes`."""

    def setUp(self) -> None:
        super().setUp()
        self.opening = self.filled()
        for path in self.data_dir.rglob("*.json"):
            lines = path.read_bytes().removeprefix(b"[\n").removesuffix(b"\n]\n").split(b",\n")
            old = b",\n".join(sealed(self.aged(json.loads(line))) for line in lines)
            path.write_bytes(old + b"\n" if path.name == "desk.json" else b"[\n" + old + b"\n]\n")

    def aged(self, line: dict[str, Json]) -> dict[str, Json]:
        line.pop("checksum")
        line.pop("causes", None)
        return {("trade" if name == "id" else name): (0 if name == "schema" else value) for name, value in line.items()}

    @staticmethod
    def renewed(name: str, record: dict[str, Json]) -> dict[str, Json]:
        if name == "desk.json":
            return {**record, "causes": []}
        return {("id" if key == "trade" else key): value for key, value in record.items()}

    def test_an_older_folder_is_brought_up_to_date_and_a_copy_is_kept(self) -> None:
        before = (self.data_dir / "trades.json").read_bytes()
        store = JsonStore(self.data_dir, BINDING, migrations={0: self.renewed})
        self.assertEqual(store.book().trade(self.opening.id), self.opening)
        self.assertEqual(store.book().page_of_positions(9)[1], 2)
        store.save(given_a_trade(signal_id="new", at=after(600)))
        store.close()
        self.assertEqual(verify(self.data_dir).problems, ())
        with tarfile.open(self.data_dir / "before-schema-1.tar") as tar:
            kept = tar.extractfile("trades.json")
            assert kept is not None
            self.assertEqual(kept.read(), before)
        again = JsonStore(self.data_dir, BINDING, migrations={})
        self.assertEqual(len(again.book().page_of_trades(9)[0]), 4)

    def test_a_migration_that_was_interrupted_is_begun_again(self) -> None:
        asked: list[str] = []

        def dying(name: str, record: dict[str, Json]) -> dict[str, Json]:
            asked.append(name)
            if name == "trades.json":
                raise Busy("killed here")
            return self.renewed(name, record)

        with self.assertRaises(Busy):
            JsonStore(self.data_dir, BINDING, migrations={0: dying})
        self.assertIn("positions.json", asked)
        store = JsonStore(self.data_dir, BINDING, migrations={0: self.renewed})
        self.assertEqual(store.book().trade(self.opening.id), self.opening)
        self.assertEqual(verify(self.data_dir).problems, ())

    def test_without_a_way_it_is_refused_and_nothing_changes(self) -> None:
        before = (self.data_dir / "trades.json").read_bytes()
        with self.assertRaises(StoreCorrupt) as caught:
            JsonStore(self.data_dir, BINDING)
        self.assertTrue(caught.exception.facts["refused"])
        self.assertEqual((self.data_dir / "trades.json").read_bytes(), before)
        self.assertFalse((self.data_dir / "before-schema-1.tar").exists())

    def test_a_damaged_state_is_not_migrated(self) -> None:
        desk = self.data_dir / "desk.json"
        desk.write_bytes(desk.read_bytes().replace(b"ACTIVE", b"ACTIVF"))
        with self.assertRaises(StoreCorrupt) as caught:
            JsonStore(self.data_dir, BINDING, migrations={0: self.renewed})
        self.assertIn("desk.json:1 is damaged", caught.exception.detail)


class CommandsTest(BackupCase, SimpleTestCase):
    def command(self, *words: str) -> str:
        config = settings.DESK_CONFIG.model_copy(update={"data_dir": self.data_dir})
        out = StringIO()
        with override_settings(DESK_CONFIG=config), redirect_stderr(StringIO()):
            call_command(*words, stdout=out)
        return out.getvalue()

    def test_backup_and_restore_from_the_command_line(self) -> None:
        self.filled()
        self.assertIn("6 files", self.command("backup", str(self.target)))
        out = self.command("restore", str(self.target))
        self.assertIn("before-restore-1", out)
        self.assertIn("archived trades  2", out)
        self.assertIn("the ledger is well", self.command("verify_ledger"))
        self.store().save(given_a_trade(signal_id="later", at=after(9000)))
        for words in (("backup", str(self.target)), ("restore", str(self.target)), ("restore", "nowhere.tar")):
            with self.subTest(words), self.assertRaises(CommandError) as refusal:
                self.command(*words)
            # A name that is taken, or a file that is not there, is no corrupt ledger.
            self.assertNotIn("STORE_CORRUPT", str(refusal.exception))
        self.command("restore", str(self.target), "--force")

    def test_notes_are_told(self) -> None:
        self.filled()
        (self.data_dir / "archive" / "index").unlink()
        self.command("backup", str(self.target))
        self.assertIn("note: ", self.command("restore", str(self.target)))


if __name__ == "__main__":
    unittest.main()
