"""The JSON store's own duties: damage, crashes, other processes, and what the files look like from outside."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_exit_plan,
    given_reports,
    given_terms,
    given_watch,
)
from trading.domain.desk_state import Binding, Cause, DeskState, TradingState
from trading.domain.errors import Busy, InvariantBroken, StoreCorrupt, StoreHeld
from trading.domain.positions import PositionStatus
from trading.domain.trades import CancelWanted, Trade, TradeStatus, record, replay
from trading.domain.units import Ratio, TradeId, Usd
from trading.utils import json_storage
from trading.utils.disk import SystemDisk
from trading.utils.journal import EMPTY, RESERVED, Journal
from trading.utils.json_storage import JsonStore, verify
from trading.utils.ledger import APPEND_LINES_MAX
from trading.utils.locks import Seats
from trading.utils.sealing import sealed

ROOT = Path(__file__).resolve().parents[2]
BINDING = Binding("paper", "demo", "0xabc")

PRELUDE = f"""
import sys, time
from pathlib import Path
from tests.builders import *
from trading.domain.desk_state import Binding
from trading.utils.json_storage import JsonStore
store = JsonStore(Path(sys.argv[1]), Binding{(BINDING.venue, BINDING.network, BINDING.account)!r})
def say(*words):
    print(*words, flush=True)
"""
HOLD = "with {what}:\n    say('held')\n    time.sleep(60)\n"
SAVE = """
for number in range(100_000):
    trade = store.save(given_a_filled_trade(signal_id=f"{name}-{{number}}"))
    say(trade.id)
"""
ACCEPT = """
for number in range(25):
    with store.exclusive() as book:
        count = len(book.trades())
        store.save(given_a_trade(signal_id=f"{name}-{{number}}", leverage=count + 1))
"""


class CountingDisk(SystemDisk):
    """Counts how often something was made to last."""

    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, file: int) -> None:
        self.syncs += 1
        super().sync(file)


class FullDisk(SystemDisk):
    """Refuses to write to the files named in `full`."""

    def __init__(self) -> None:
        self.full: set[str] = set()
        self._names: dict[int, str] = {}

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        file = super().open(path, create=create, write=write)
        self._names[file] = path.name
        return file

    def write(self, file: int, content: bytes, offset: int) -> None:
        if self._names[file] in self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(file, content, offset)


class StoreCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.ledger = self.data_dir / "trades.json"
        self.positions = self.data_dir / "positions.json"
        self.desk = self.data_dir / "desk.json"

    def store(self, disk: SystemDisk | None = None) -> JsonStore:
        made = JsonStore(self.data_dir, BINDING, disk=disk)
        self.addCleanup(made.close)
        return made

    def process(self, script: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script, str(self.data_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def line_of(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        line: str = process.stdout.readline()
        return line.strip()

    def newest(self, path: Path) -> Mapping[str, Any]:
        """The newest line of each id, as a stranger with a JSON tool would find it."""
        return {line["id"]: line for line in json.loads(path.read_text())}

    def rewrite(self, path: Path, change: Callable[[dict[str, Any]], None], seq: int) -> None:
        """Change one line and seal it again: wrong content in an undamaged file."""
        lines = json.loads(path.read_text())
        for line in lines:
            line.pop("checksum")
            if line["seq"] == seq:
                change(line)
        path.write_bytes(b"[\n" + b",\n".join(sealed(line) for line in lines) + b"\n]\n")

    def refused(self, word: str) -> StoreCorrupt:
        """Opening must fail with *word* in what it says."""
        with self.assertRaises(StoreCorrupt) as caught:
            self.store()
        self.assertIn(word, caught.exception.detail)
        return caught.exception

    def assert_sound(self) -> None:
        report = verify(self.data_dir)
        self.assertEqual((report.problems, report.notes), ((), ()))


class FilesTest(StoreCase):
    def test_the_newest_line_of_an_id_is_its_summary_and_all_its_lines_its_journal(self) -> None:
        store = self.store()
        trade = store.save(given_a_filled_trade())
        lines = json.loads(self.ledger.read_text())
        self.assertEqual([line["version"] for line in lines], [1, 2, 3, 4])
        self.assertEqual(
            [line["event"]["type"] for line in lines],
            ["TradeAccepted", "OrdersIntended", "OrdersReported", "TradeFilled"],
        )
        self.assertEqual([line["status"] for line in lines], ["PENDING", "WORKING", "WORKING", "FILLED"])
        summary = self.newest(self.ledger)[trade.id]
        expected = {
            "pair": "BTC/ETH",
            "effect": "OPEN",
            "signal_id": "signal_1",
            "long_coin": "ETH",
            "short_coin": "BTC",
        }
        self.assertEqual({name: summary[name] for name in expected}, expected)
        self.assertEqual((summary["long_filled"], summary["short_filled"]), ("0.2500", "0.0100"))
        self.assertEqual(summary["fees"], "0.900000000")

    def test_the_newest_line_of_a_position_is_what_it_is_now(self) -> None:
        store = self.store()
        trade = store.save(given_a_working_trade())
        store.make_sure()
        self.assertEqual(self.newest(self.positions)[trade.terms.position_id]["status"], "opening")
        trade = store.save(given_a_filled_trade())
        line = self.newest(self.positions)[trade.terms.position_id]
        self.assertEqual((line["status"], line["size"], line["pair"]), ("open", "2000.0000", "BTC/ETH"))
        self.assertIsNone(line["watch"])
        store.save_watch(given_watch(trade, high_water=Ratio(Decimal("0.003"))))
        self.assertEqual(self.newest(self.positions)[trade.terms.position_id]["watch"]["high_water"], "0.003")
        tight = replace(
            given_watch(trade, high_water=Ratio(Decimal("0.003"))),
            exit_plan=given_exit_plan(stop_loss=Ratio(Decimal("0.004"))),
        )
        store.save_watch(replace(tight, funding_long=Usd(Decimal("1.5"))))
        line = self.newest(self.positions)[trade.terms.position_id]
        self.assertEqual((line["stop_loss"], line["funding"]), ("0.004", "1.5"))
        self.assertEqual(verify(self.data_dir).problems, ())
        store.save(given_a_filled_close(trade))
        line = self.newest(self.positions)[trade.terms.position_id]
        self.assertEqual((line["status"], line["exit_reason"]), ("closed", "MANUAL"))
        self.assertEqual(line["watch"]["high_water"], "0.003")
        self.assert_sound()

    def test_while_an_order_is_on_its_way_the_line_of_its_position_waits(self) -> None:
        store, other = self.store(), self.store()
        working = store.save(given_a_working_trade())
        self.assertNotIn(working.terms.position_id, self.newest(self.positions))
        self.assertEqual(working, other.book().trade(working.id))
        self.assertEqual(self.newest(self.positions)[working.terms.position_id]["status"], "opening")
        self.assertEqual(verify(self.data_dir).problems, ())
        self.assert_sound()

    def test_a_change_of_state_that_changes_nothing_writes_nothing(self) -> None:
        store = self.store()
        before = self.desk.stat()
        self.assertEqual(store.change_state(lambda state: state), store.state())
        self.assertEqual((self.desk.stat().st_ino, self.desk.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))

    def test_everything_belongs_to_its_owner_alone(self) -> None:
        self.data_dir.mkdir(mode=0o755)
        store = self.store()
        with store.seat(store.save(given_a_filled_trade()).id), store.monitor_seat():
            store.beat(T0)
        if os.name == "posix":
            for path in (self.data_dir, *self.data_dir.rglob("*")):
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_following_costs_no_reading_when_nothing_was_written(self) -> None:
        store = self.store()
        store.save(given_a_trade())
        book = store.book()
        handles = (store._ledger._handle, store._positions._handle)
        store.close()  # a read or a lock would now fail
        self.assertIs(store.book(), book)
        self.assertTrue(all(handles))

    def test_a_folder_that_held_empty_arrays_is_begun(self) -> None:
        self.data_dir.mkdir()
        for path in (self.ledger, self.positions):
            path.write_text("[]\n")
        self.store().save(given_a_trade())
        self.assertEqual(len(self.newest(self.ledger)), 1)


class DamageTest(StoreCase):
    def test_a_folder_belongs_to_one_venue_network_and_account(self) -> None:
        self.store()
        for other in (
            Binding("hyperliquid", "demo", "0xabc"),
            Binding("paper", "x", "0xabc"),
            Binding("paper", "demo", "y"),
        ):
            with self.subTest(other=other), self.assertRaises(StoreCorrupt) as caught:
                JsonStore(self.data_dir, other)
            self.assertIn("belongs to paper/demo/0xabc", caught.exception.detail)
            self.assertIn("another DATA_DIR", caught.exception.detail)

    def test_a_missing_state_beside_a_ledger_is_never_active(self) -> None:
        store = self.store()
        store.save(given_a_trade())
        store.change_state(lambda state: replace(state, state=TradingState.HALTED))
        self.desk.unlink()
        self.refused("desk.json is missing")
        with self.assertRaises(StoreCorrupt):
            store.state()
        self.assertFalse(self.desk.exists())

    def test_a_damaged_state_is_never_active(self) -> None:
        store = self.store()
        whole = self.desk.read_bytes()
        rows = {
            "empty": b"",
            "holes": b"\0" * len(whole),
            "torn": whole[:-9],
            "another bit": whole.replace(b"ACTIVE", b"ACTIVF"),
            "newer": sealed({"schema": 2, "state": "ACTIVE"}),
            "no state": sealed({"schema": 1, "state": "RELAXED"}),
            "unbound": sealed({"schema": 1, "state": "ACTIVE"}),
        }
        for name, content in rows.items():
            with self.subTest(name):
                self.desk.write_bytes(content)
                self.refused("desk.json" if name != "unbound" else "belongs to nobody")
                if name != "unbound":
                    with self.assertRaises(StoreCorrupt):
                        store.state()
        self.desk.write_bytes(whole)
        self.assertEqual(store.state(), DeskState(binding=BINDING))

    def test_a_state_of_an_older_version_is_brought_up_to_date_by_the_monitor(self) -> None:
        """Version 1.0.0 read on where it should have been HALTED, and booked the closes of 1.1.0 as legs lost to other
        hands: the profit and loss of those positions counted twice."""
        self.store().change_state(
            lambda state: replace(state, causes=frozenset({Cause.DRIFT, Cause.BLIND, Cause.DISK}))
        )
        present = self.desk.read_bytes()
        older = {name: value for name, value in json.loads(present).items() if name not in ("made_before", "checksum")}
        self.desk.write_bytes(sealed(older) + b"\n")
        disk = FullDisk()
        disk.full = {".desk.json.new"}
        with self.store(disk).monitor_seat():  # whoever has no room for it watches all the same
            self.assertNotIn("made_before", json.loads(self.desk.read_bytes()))
        with self.store().seat(TradeId("trd_1")):  # who only looks, beside an older version that is at work
            self.assertNotIn("made_before", json.loads(self.desk.read_bytes()))
        with self.store().monitor_seat():
            self.assertEqual(present, self.desk.read_bytes())
        number = self.desk.stat().st_ino
        with self.store().monitor_seat():
            self.assertEqual(number, self.desk.stat().st_ino, "written again for nothing")
        store = self.store()
        self.desk.write_bytes(present[:-9])
        with store.monitor_seat(), self.assertRaises(StoreCorrupt):
            store.state()

    def test_a_missing_journal_is_not_an_empty_one(self) -> None:
        self.store().save(given_a_trade())
        for path in (self.ledger, self.positions):
            content = path.read_bytes()
            path.unlink()
            with self.subTest(path.name):
                self.refused("is missing")
            self.assertFalse(path.exists())
            path.write_bytes(content)

    def test_a_ledger_that_lost_lines_is_noticed_by_what_was_derived_from_them(self) -> None:
        self.store().save(given_a_trade())
        self.ledger.write_bytes(EMPTY)
        refusal = self.refused("trades.json:1 is the last line")
        self.assertEqual(refusal.facts["line"], 1)
        self.assertNotEqual(verify(self.data_dir).problems, ())

    def test_a_torn_ledger_that_lost_more_than_an_append_is_damaged(self) -> None:
        store = self.store()
        for number in range(4):
            store.save(given_a_filled_trade(str(number)))
        store.close()
        lines = self.ledger.read_bytes().splitlines(keepends=True)
        known = len(lines) - 1
        for name, left, end in (
            ("in the middle of a line", known - APPEND_LINES_MAX - 1, b'{"seq":'),
            ("after a line", known - APPEND_LINES_MAX - 1, b""),
            ("in the first line", 1, b'{"seq":'),
            ("after the first bracket", 1, b""),
            ("no byte", 0, b""),
        ):
            with self.subTest(name):
                self.ledger.write_bytes(b"".join(lines[:left]) + end)
                word = f"trades.json:{max(left, 1)} is the last line, but positions.json knows of line {known}"
                self.assertIn(word, str(verify(self.data_dir).problems))
                self.refused(word)
        self.ledger.write_bytes(b"".join(lines[: known - APPEND_LINES_MAX]) + b'{"seq":')
        self.assertEqual(verify(self.data_dir).problems, ())
        self.store().close()
        self.assert_sound()

    def test_a_torn_tail_is_mended_and_the_projections_follow(self) -> None:
        store = self.store()
        kept, torn = store.save(given_a_filled_trade("kept")), store.save(given_a_trade(signal_id="torn"))
        store.save(record(torn, CancelWanted(after(1), "by hand")))
        store.close()
        whole = self.ledger.read_bytes()
        for lines, names in ((1, {kept.id, torn.id}), (2, {kept.id})):
            with self.subTest(lines=lines):
                cut = whole.splitlines(keepends=True)[: -1 - lines]
                self.ledger.write_bytes(b"".join(cut) + b'{"seq":')
                store = self.store()
                self.assertEqual({trade.id for trade in store.book().trades()}, names)
                self.assertEqual(len(store.mended), 1)
                self.assertIn("trades.json", store.mended[0])
                store.close()
                self.assert_sound()
                self.assertEqual(self.store().mended, ())
        self.assertEqual(self.newest(self.positions)[torn.terms.position_id]["status"], "unknown")

    def test_any_other_damage_is_located_to_file_and_line(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade())
        for path in (self.ledger, self.positions):
            whole = path.read_bytes()
            path.write_bytes(whole.replace(b"BTC/ETH", b"BTC/ETC", 1))
            with self.subTest(path.name):
                refusal = self.refused(f"{path.name}:2 is damaged")
                self.assertEqual((refusal.facts["file"], refusal.facts["line"]), (str(path), 2))
                self.assertEqual(verify(self.data_dir).problems, (f"{path}:2 is damaged",))
            path.write_bytes(whole)
        self.assert_sound()

    def test_a_line_without_its_names_is_corrupt(self) -> None:
        self.store().save(given_a_trade())
        for path, name in ((self.ledger, "id"), (self.ledger, "position_id"), (self.positions, "as_of")):
            whole = path.read_bytes()
            self.rewrite(path, lambda line, name=name: line.pop(name) and None, 1)  # type: ignore[misc]  # a bound default
            with self.subTest(name):
                self.refused(f"{path.name}:2 has no {name}")
                self.assertEqual(verify(self.data_dir).problems[0], f"{path}:2 has no {name}")
            path.write_bytes(whole)

    def test_a_ledger_that_cannot_be_taken_in_is_refused_at_every_look(self) -> None:
        """Not only at the first one, as if what was read and refused had been taken in."""
        store = self.store()
        whole = store.save(given_a_filled_trade())
        Journal(self.ledger).append([{"id": "trd_1"}])
        for look in (store.book, store.book, lambda: store.save(given_a_filled_close(whole)), store.book):
            with self.assertRaises(StoreCorrupt) as caught:
                look()
            self.assertIn("has no position_id", caught.exception.detail)

    def test_one_sync_serves_what_was_put_off_before_it(self) -> None:
        disk = CountingDisk()
        store, whole = self.store(disk), given_a_filled_trade()
        disk.syncs, counted = 0, []
        for count in range(1, len(whole.events) + 1):
            store.save(replay(whole.events[:count]), durable=count % 2 == 0)
            store.book()
            counted.append(disk.syncs)
        store.make_sure()
        store.save(whole)
        self.assertEqual(([0, 1, 1, 2], 2), (counted, disk.syncs))

    def test_a_full_disk_refuses_and_loses_nothing(self) -> None:
        disk = FullDisk()
        store = self.store(disk)
        first = store.save(given_a_filled_trade("first"))
        for name in ("trades.json", "positions.json", ".desk.json.new"):
            with self.subTest(name):
                disk.full = {name}
                with self.assertRaises(StoreCorrupt) as caught:
                    if name == ".desk.json.new":
                        store.change_state(lambda state: replace(state, state=TradingState.HALTED))
                    else:
                        store.save(given_a_trade(signal_id=name))
                self.assertEqual(caught.exception.facts["reason"], "ENOSPC")
                disk.full = set()
                self.assertEqual(store.book().trade(first.id), first)
                self.assertEqual(store.state().state, TradingState.ACTIVE)
        store.save(given_a_trade(signal_id="after"))
        self.assertEqual(self.store().book().trades(), store.book().trades())
        self.assert_sound()

    def test_a_replaced_ledger_is_read_anew(self) -> None:
        store = self.store()
        first = store.save(given_a_filled_trade("first"))
        store.save(given_a_trade(signal_id="second"))
        self.assertEqual(len(store.book().trades()), 2)
        for path, count in ((self.ledger, len(first.events)), (self.positions, 1)):
            fresh = Journal(path.with_name("fresh.json"))
            kept = json.loads(path.read_text())[:count]
            fresh.append([{k: v for k, v in line.items() if k not in RESERVED} for line in kept])
            fresh.close()
            os.replace(fresh.path, path)
        self.assertEqual(store.book().trades(), (first,))
        third = store.save(given_a_trade(signal_id="third"))
        self.assertEqual(self.store().book().trades(), (first, third))


class ReadOnlyDisk(SystemDisk):
    """A file system that the system has made read-only after an error."""

    gone = False

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        if self.gone and (create or write):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().open(path, create=create, write=write)


class WritableTest(StoreCase):
    def test_a_file_system_that_is_read_only_by_now_cannot_be_written(self) -> None:
        disk = ReadOnlyDisk()
        store = JsonStore(self.data_dir, BINDING, disk=disk)
        self.addCleanup(store.close)
        self.assertTrue(store.writable)
        disk.gone = True
        self.assertFalse(store.writable)


class BrokenTradeTest(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        store = self.store()
        self.good = store.save(given_a_filled_trade("good"))
        self.bad = store.save(given_a_filled_trade("bad"))
        store.close()

    def assert_isolated(self, store: JsonStore, word: str) -> None:
        self.assertEqual(store.book().trades(), (self.good,))
        self.assertEqual(set(store.broken), {self.bad.id})
        self.assertIn(word, store.broken[self.bad.id])
        self.assertEqual([one.trade_id for one in store.book().positions()], [self.good.id])

    def test_a_trade_that_does_not_fold_is_left_out_and_the_others_go_on(self) -> None:
        rows: dict[str, Callable[[dict[str, Any]], None]] = {
            "unknown event": lambda line: line["event"].update(type="TradeVanished"),
            "no event": lambda line: line.update(event=None),
            "wrong version": lambda line: line.update(version=9),
            "an event that cannot follow": lambda line: line.update(
                event={"type": "LegsBalanced", "at": "2026-11-22T12:00:01+00:00"}
            ),
        }
        ledger, positions = self.ledger.read_bytes(), self.positions.read_bytes()
        for name, change in rows.items():
            with self.subTest(name):
                self.ledger.write_bytes(ledger)
                self.positions.write_bytes(positions)
                self.rewrite(self.ledger, change, 7)
                store = self.store()
                self.assert_isolated(store, "trades.json:8")
                self.assertEqual(store.save(given_a_closing_trade(self.good, at=after(90))).status, TradeStatus.PENDING)
                with self.assertRaises(StoreCorrupt) as caught:
                    store.save(self.bad)
                self.assertIn("does not fold", caught.exception.detail)
                self.assertTrue(any("trades.json:8" in problem for problem in verify(self.data_dir).problems))
                store.close()

    def test_its_coins_are_known_as_long_as_its_position_had_not_ended(self) -> None:
        self.assertEqual(self.store().broken_coins, frozenset())
        self.rewrite(self.ledger, lambda line: line.update(event=None), 5)
        self.assertEqual(self.store().broken_coins, {"BTC", "ETH"})
        last = json.loads(self.positions.read_text())[-1]["seq"]
        self.rewrite(self.positions, lambda line: line.update(status="closed"), last)
        self.assertEqual(self.store().broken_coins, frozenset())

    def test_terms_under_another_name_or_without_a_plan_do_not_fold(self) -> None:
        whole = self.ledger.read_bytes()
        for name, change in {
            "under the name": lambda line: line["event"]["terms"].update(trade_id="trd_other"),
            "exit plan": lambda line: line["event"]["terms"].update(exit_plan=None),
        }.items():
            with self.subTest(name):
                self.ledger.write_bytes(whole)
                self.rewrite(self.ledger, change, 5)
                store = self.store()
                self.assert_isolated(store, name)
                store.close()

    def test_a_trade_that_breaks_while_others_read_leaves_their_book(self) -> None:
        reader = self.store()
        self.assertEqual(len(reader.book().trades()), 2)
        journal = Journal(self.ledger, lock=reader._ledger_lock)
        line = {
            "id": self.bad.id,
            "version": 5,
            "position_id": self.bad.terms.position_id,
            "event": {"type": "Nonsense"},
        }
        journal.append([line])  # type: ignore[list-item]  # a plain dict
        journal.close()
        self.assert_isolated(reader, "Nonsense")

    def test_a_watch_that_cannot_be_read_takes_its_trade_out_of_the_book(self) -> None:
        store = self.store()
        store.save_watch(given_watch(self.bad))
        store.save_watch(given_watch(self.good))
        store.close()
        seq = next(
            line["seq"]
            for line in json.loads(self.positions.read_text())
            if line["watch"] is not None and line["id"] == self.bad.terms.position_id
        )
        self.rewrite(self.positions, lambda line: line["watch"].update(high_water="high"), seq)
        store = self.store()
        self.assert_isolated(store, f"positions.json:{seq + 1}")
        self.assertIsNotNone(store.book().watch(self.good.terms.position_id))


class HeldTest(StoreCase):
    """Somebody holds the ledger and hangs."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(patch.object(json_storage, "APPEND_SECONDS", 0.02))

    @contextmanager
    def held_after_a_write(self) -> Iterator[Trade]:
        """By one who had written a trade and a part of the next line."""
        other = self.store()
        with other._ledger_lock.held():
            trade = other.save(given_a_filled_trade("new"))
            self.ledger.write_bytes(self.ledger.read_bytes().removesuffix(b"\n]\n") + b',\n{"seq":')
            yield trade

    def test_the_book_is_read_all_the_same_and_once(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade("old"))
        with self.held_after_a_write() as trade:
            book = store.book()
            self.assertEqual({"old", "new"}, {one.terms.signal.id for one in book.trades() if one.terms.signal})
            self.assertEqual(trade, book.trade(trade.id))
            self.assertIs(book, store.book())
            with self.assertRaises(StoreHeld):
                store.save(given_a_filled_trade("third"))
            self.assertEqual("the ledger is held by somebody else", store.held)
        self.assertEqual((book.trades(), ""), (store.book().trades(), store.held))
        self.assert_sound()

    def test_what_it_writes_before_it_lets_go_is_seen(self) -> None:
        store, other = self.store(), self.store()
        with other._ledger_lock.held():
            other.save(given_a_filled_trade("one"))
            self.assertEqual(1, len(store.book().trades()))
            other.save(given_a_filled_trade("two"))
            self.assertEqual(2, len(store.book().trades()))

    def test_a_ledger_that_is_damaged_besides_is_not_taken_for_all_there_is(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade("old"))
        with self.held_after_a_write():
            self.ledger.write_bytes(self.ledger.read_bytes().replace(b'"old"', b'"odd"', 1))
            with self.assertRaises(StoreHeld):
                store.book()

    def test_who_cannot_open_it_can_still_stop_the_desk(self) -> None:
        """As the command does that is started while the web process hangs."""
        store = self.store()
        trade = store.save(given_a_filled_trade())
        with self.held_after_a_write(), self.assertRaises(StoreHeld) as held:
            self.store()
        with store._ledger_lock.held():
            beside = JsonStore.open_held(self.data_dir, BINDING, held.exception)
            beside.change_state(lambda state: replace(state, state=TradingState.LIQUIDATING, binding=None))
            self.assertIs(TradingState.LIQUIDATING, beside.state().state)
            self.assertEqual((trade, True, ""), (beside.book().trade(trade.id), beside.complete, beside.held))
            with self.assertRaises(StoreCorrupt):
                beside.save(given_a_filled_trade("third"))
        self.assertEqual((TradingState.LIQUIDATING, BINDING), (store.state().state, store.state().binding))
        with self.assertRaises(StoreCorrupt) as other:
            JsonStore.open_held(self.data_dir, replace(BINDING, account="0xdef"), held.exception)
        self.assertTrue(other.exception.facts["refused"])


class AwayTest(StoreCase):
    """The folder was moved away under a store, or cannot even be looked at any more."""

    def test_the_book_is_what_it_was_and_nothing_is_taken_in(self) -> None:
        store = self.store()
        trade = store.save(given_a_filled_trade())
        away = self.data_dir.with_name("away")
        self.data_dir.rename(away)
        for _ in range(2):
            self.assertEqual((trade,), store.book().trades())
            with self.assertRaises(StoreCorrupt):
                store.save(given_a_filled_trade("other"))
            with self.assertRaises(StoreCorrupt):
                store.state()
        away.rename(self.data_dir)
        other = self.store().save(given_a_filled_trade("other"))
        self.assertEqual({trade.id, other.id}, {one.id for one in store.book().trades()})

    def test_so_it_is_where_the_system_says_nothing_of_it(self) -> None:
        store = self.store()
        trade = store.save(given_a_filled_trade())
        gone = OSError(errno.EIO, os.strerror(errno.EIO))
        with patch.object(SystemDisk, "stamp", side_effect=gone):
            self.assertEqual((trade,), store.book().trades())

    def test_one_that_was_not_read_to_its_end_is_not_known(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade("old"))
        self.store().save(given_a_filled_trade("new"))
        self.ledger.write_bytes(self.ledger.read_bytes().replace(b'"new"', b'"now"'))
        for _ in range(2):
            with self.assertRaises(StoreCorrupt):
                store.book()
            if self.data_dir.exists():
                self.data_dir.rename(self.data_dir.with_name("away"))


class CrashTest(StoreCase):
    def test_projections_that_a_writer_did_not_live_to_write_are_written_by_the_next(self) -> None:
        store, other = self.store(), self.store()
        trade = store.save(given_a_working_trade())
        other.book()
        disk = FullDisk()
        dying = self.store(disk)
        disk.full = {"positions.json"}
        with self.assertRaises(StoreCorrupt):
            dying.save(record(trade, given_reports(trade.orders, at=after(2))))
        dying.close()
        self.assertTrue(any("behind" in note for note in verify(self.data_dir).notes))
        later = other.book().trade(trade.id)
        self.assertTrue(later.anything_filled)
        self.assertEqual(self.newest(self.positions)[trade.terms.position_id]["size"], "2000.0000")
        self.assert_sound()

    def test_projections_lost_with_the_power_are_derived_again(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade("one"))
        empty = self.positions.read_bytes()
        store.save(given_a_filled_trade("two"))
        expected = self.newest(self.positions)
        store.close()
        self.positions.write_bytes(empty)
        self.store()
        self.assertEqual(self.newest(self.positions).keys(), expected.keys())
        self.assert_sound()

    def test_a_store_killed_at_any_moment_keeps_what_it_acknowledged(self) -> None:
        for number in range(3):
            process = self.process(SAVE.format(name=f"r{number}"))
            acknowledged = [self.line_of(process) for _ in range(1 + 4 * number)]
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
            store = self.store()
            self.assertEqual(dict(store.broken), {})
            for trade_id in acknowledged:
                trade = store.book().trade(TradeId(trade_id))
                self.assertEqual(trade.status, TradeStatus.FILLED)
                self.assertEqual(replay(trade.events), trade)
            store.save(given_a_filled_trade(f"after {number}"))
            store.close()
            self.assert_sound()

    def test_a_state_file_half_written_by_the_dead_changes_nothing(self) -> None:
        store = self.store()
        (self.data_dir / ".desk.json.new").write_bytes(b"x" * 5000)
        self.assertEqual(self.store().state(), store.state())
        store.change_state(lambda state: replace(state, state=TradingState.HALTED))
        self.assertEqual(self.store().state().state, TradingState.HALTED)


class ProcessesTest(StoreCase):
    def test_processes_accept_one_after_the_other_under_the_book_lock(self) -> None:
        store = self.store()
        processes = [self.process(ACCEPT.format(name=name)) for name in ("p", "q")]
        for number in range(25):
            with store.exclusive() as book:
                store.save(given_a_trade(signal_id=f"here-{number}", leverage=len(book.trades()) + 1))
        self.assertEqual([process.wait(30) for process in processes], [0, 0])
        trades = store.book().trades()
        self.assertEqual([trade.terms.leverage for trade in trades], list(range(1, 76)))
        self.assert_sound()

    def test_seats_and_the_book_are_free_when_their_holder_is_killed(self) -> None:
        store = self.store()
        trade_id = given_terms().trade_id
        holds: dict[str, Callable[[], Any]] = {
            f"store.seat({trade_id!r})": lambda: store.seat(trade_id),
            "store.monitor_seat()": store.monitor_seat,
        }
        for what, take in holds.items():
            with self.subTest(what):
                process = self.process(HOLD.format(what=what))
                self.assertEqual(self.line_of(process), "held")
                with self.assertRaises(Busy), take():
                    self.fail("held by two")
                process.send_signal(signal.SIGKILL)
                process.wait()
                with take():
                    pass
        process = self.process(HOLD.format(what="store.exclusive()"))
        self.assertEqual(self.line_of(process), "held")
        started = time.monotonic()
        process.send_signal(signal.SIGKILL)
        with store.exclusive():
            self.assertLess(time.monotonic() - started, 1.5)

    def test_seats_leave_no_files_behind_and_those_of_an_earlier_version_are_cleared_away(self) -> None:
        store, live = self.store(), given_a_working_trade(signal_id="live")
        store.save(live)
        seats = Seats(self.data_dir / "locks", ranges=False)
        for name in (live.id, live.terms.position_id, "ended", "in-use"):
            with seats.seat(name, 0), store.seat(live.id):
                pass
        files = self.data_dir / "locks" / "seats"
        self.assertEqual({path.stem for path in files.iterdir()}, {live.id, live.terms.position_id, "ended", "in-use"})
        with seats.seat("in-use", 0):
            self.store()
            kept = {live.id, live.terms.position_id, "in-use"}
            self.assertEqual({path.stem for path in files.iterdir()}, kept)
        self.store()
        self.assertEqual({path.stem for path in files.iterdir()}, {live.id, live.terms.position_id})

    def test_a_seat_has_a_plain_name(self) -> None:
        for name in ("", "../desk", "a/b", "x" * 65):
            with self.subTest(name=name), self.assertRaises(InvariantBroken), self.store().seat(TradeId(name)):
                self.fail("sat down")


class BeatTest(StoreCase):
    def test_a_beat_counts_while_somebody_holds_the_monitors_lock(self) -> None:
        monitor, reader = self.store(), self.store()
        self.assertIsNone(reader.last_beat())
        with monitor.monitor_seat():
            self.assertIsNone(reader.last_beat())
            for seconds in (0, 1.5):
                monitor.beat(after(seconds))
                self.assertEqual(reader.last_beat(), after(seconds))
                self.assertEqual(monitor.last_beat(), after(seconds))
            (self.data_dir / "monitor.beat").write_text("yesterday")
            self.assertIsNone(reader.last_beat())
        monitor.beat(T0)
        self.assertIsNone(reader.last_beat())
        with monitor.monitor_seat():
            self.assertIsNone(reader.last_beat(), "it is the beat of whoever sat there before")

    def test_a_beat_says_whether_book_and_venue_were_compared(self) -> None:
        monitor, reader = self.store(), self.store()
        with monitor.monitor_seat():
            for compared in (False, True):
                monitor.beat(T0, ["no price"], compared=compared)
                self.assertEqual((reader.last_beat(), reader.compared()), (T0, compared))
                self.assertEqual(reader.problems(), ("no price",))


class VerifyTest(StoreCase):
    def test_counts_are_printed_for_a_sound_folder(self) -> None:
        store = self.store()
        opening = store.save(given_a_filled_trade("one"))
        store.save(given_a_filled_close(opening))
        store.save(given_a_working_trade(signal_id="two"))
        store.make_sure()
        log = Journal(self.data_dir / "agent_logs.json")
        log.append([{"id": "log_1", "message": "hello"}])
        report = verify(self.data_dir)
        self.assertEqual(report.problems, ())
        self.assertEqual(
            report.counts,
            {
                "events": 10,
                "trades": 3,
                "live_trades": 1,
                "broken_trades": 0,
                "positions": 2,
                "standing_positions": 1,
                "position_lines": 3,
                "archived_positions": 0,
                "archived_trades": 0,
                "log_lines": 1,
            },
        )

    def test_a_folder_that_was_never_used_is_no_problem(self) -> None:
        report = verify(self.data_dir)
        self.assertEqual((report.problems, report.counts), ((), {}))
        self.assertIn("not been used", report.notes[0])
        self.assertFalse(self.data_dir.exists())

    def test_what_is_wrong_is_listed_with_its_place_and_nothing_is_touched(self) -> None:
        store = self.store()
        trade = store.save(given_a_filled_trade())
        store.close()
        rows: dict[str, tuple[Path, Callable[[], object], str]] = {
            "a summary that lies": (
                self.ledger,
                lambda: self.rewrite(self.ledger, lambda line: line.update(status="REJECTED"), 4),
                "trades.json:5: " + trade.id + " differs from its journal in status",
            ),
            "a projection that lies": (
                self.positions,
                lambda: self.rewrite(self.positions, lambda line: line.update(size="1"), 1),
                "positions.json:2: " + trade.terms.position_id + " differs from its journal in size",
            ),
            "a state that is gone": (self.desk, self.desk.unlink, "desk.json cannot be read"),
            "a book that is gone": (self.positions, self.positions.unlink, "positions.json is missing"),
            "a ledger of holes": (self.ledger, lambda: self.ledger.write_bytes(b"\0" * 99), "trades.json:1"),
        }
        for name, (path, damage, word) in rows.items():
            content = path.read_bytes()
            damage()
            damaged = path.read_bytes() if path.exists() else None
            with self.subTest(name):
                report = verify(self.data_dir)
                self.assertTrue(any(word in problem for problem in report.problems), report.problems)
                self.assertEqual(path.read_bytes() if path.exists() else None, damaged)
            path.write_bytes(content)
        self.assert_sound()

    def test_a_position_without_a_line_is_told(self) -> None:
        store = self.store()
        store.save(given_a_filled_trade("one"))
        store.save(given_a_filled_trade("two"))
        store.close()
        lines = json.loads(self.positions.read_text())
        lines[0] = {**lines[1], "seq": 1}
        for line in lines:
            line.pop("checksum")
            line.pop("synced", None)
        self.positions.write_bytes(b"[\n" + b",\n".join(sealed(line) for line in lines) + b"\n]\n")
        self.assertIn("has no line for", verify(self.data_dir).problems[0])

    def test_a_copy_without_locks_can_be_checked(self) -> None:
        self.store().save(given_a_filled_trade())
        copy = self.data_dir.with_name("copy")
        copy.mkdir()
        for path in (self.ledger, self.positions, self.desk):
            (copy / path.name).write_bytes(path.read_bytes())
        self.assertEqual(verify(copy).problems, ())
        self.assertEqual(len(list(copy.iterdir())), 3)

    def test_a_torn_tail_is_a_note(self) -> None:
        self.store().save(given_a_filled_trade())
        self.positions.write_bytes(self.positions.read_bytes()[:-2])
        report = verify(self.data_dir)
        self.assertEqual(report.problems, ())
        self.assertIn("positions.json", report.notes[0])


class StatusTest(StoreCase):
    def test_a_close_that_does_not_fold_leaves_its_position_standing(self) -> None:
        store = self.store()
        opening = store.save(given_a_filled_trade())
        closing = store.save(given_a_filled_close(opening))
        store.close()
        self.rewrite(self.ledger, lambda line: line["event"].update(type="Nonsense"), 6)
        store = self.store()
        self.assertEqual(set(store.broken), {closing.id})
        self.assertEqual(store.book().position(opening.terms.position_id).status, PositionStatus.OPEN)


if __name__ == "__main__":
    unittest.main()
