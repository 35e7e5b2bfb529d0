"""A full disk, and a folder that cannot be trusted: what still works, and what is said."""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest import mock

from tests.builders import (
    T0,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_a_working_trade,
    given_watch,
)
from tests.simulation.disk import SimulatedDisk
from trading.domain.desk_state import Binding, TradingState
from trading.domain.errors import StoreCorrupt
from trading.domain.positions import PositionStatus
from trading.domain.trades import close_trade_id, replay
from trading.domain.units import PositionId
from trading.ports import Store
from trading.utils.disk import SystemDisk
from trading.utils.halted import HaltedStore
from trading.utils.inspection import verify
from trading.utils.journal import EMPTY
from trading.utils.json_storage import JsonStore
from trading.utils.ledger import RESERVE, content_of, state_of
from trading.utils.reserve import RESERVE_BYTES, Reserve
from trading.utils.sealing import sealed

ROOT = Path(__file__).resolve().parents[2]
BINDING = Binding("paper", "demo", "0xabc")

TINY = """
import sys
from pathlib import Path
from tests.builders import *
from trading.domain.desk_state import Binding
from trading.domain.errors import StoreCorrupt
from trading.utils.inspection import verify
from trading.utils.json_storage import JsonStore
data_dir = Path(sys.argv[1]) / "data"
store = JsonStore(data_dir, Binding("paper", "demo", "0xabc"))
openings = []
try:
    while True:
        openings.append(store.save(given_a_filled_trade(f"s{len(openings)}")))
except StoreCorrupt as error:
    print(error.facts["reason"], store.disk_full)
for opening in openings[:20]:
    store.save(given_a_filled_close(opening))
refused = False
try:
    store.save(given_a_trade(signal_id="one more"))
except StoreCorrupt:
    refused = True
again = JsonStore(data_dir, Binding("paper", "demo", "0xabc"))
closed = [again.book().position(one.terms.position_id).closed for one in openings[:20]]
kept = all(again.book().find_trade(one.id) for one in openings)
print(refused, kept, all(closed), len(openings) > 20, verify(data_dir).problems)
"""


class CareCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.said = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.said))

    def store(self, disk: SimulatedDisk | None = None) -> JsonStore:
        made = JsonStore(self.data_dir, BINDING, disk=disk)
        self.addCleanup(made.close)
        return made


class FullDiskTest(CareCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk = SimulatedDisk(Random(1))
        self.desk = self.store(self.disk)
        self.held = self.desk.save(given_a_filled_trade("held"))
        self.working = self.desk.save(given_a_working_trade("working"))
        self.ledger_lines = self.desk._ledger.seq

    def test_closing_and_the_state_go_on_from_the_reserve_and_opening_does_not(self) -> None:
        self.assertFalse(self.desk.disk_full)
        self.disk.capacity = self.disk.used
        with self.assertRaises(StoreCorrupt) as caught:
            self.desk.save(given_a_trade(signal_id="another"))
        self.assertEqual(caught.exception.facts["reason"], "ENOSPC")
        self.assertTrue(self.desk.disk_full)
        closed = self.desk.save(given_a_filled_close(self.held))
        filled = self.desk.save(given_a_filled_trade("working"))
        self.desk.save_watch(given_watch(self.held, outcome_told=True))
        self.desk.change_state(lambda one: replace(one, state=TradingState.REDUCING))
        with self.assertRaises(StoreCorrupt) as caught:
            self.desk.save(given_a_trade(signal_id="another"))
        self.assertIn("make room", caught.exception.detail)
        other = self.store(self.disk)
        self.assertTrue(other.disk_full)
        self.assertEqual(other.book().trade(closed.id), closed)
        self.assertEqual(other.book().trade(filled.id), filled)
        self.assertEqual(other.state().state, TradingState.REDUCING)

    def test_each_kind_of_write_may_be_the_one_that_finds_the_disk_full(self) -> None:
        writes: dict[str, Callable[[], object]] = {
            "a close": lambda: self.desk.save(given_a_closing_trade(self.held)),
            "a watch": lambda: self.desk.save_watch(given_watch(self.held)),
            "the state": lambda: self.desk.change_state(lambda one: replace(one, flat_reads=one.flat_reads + 1)),
        }
        for name, write in writes.items():
            for room in (0, 100, 3000):
                with self.subTest(name, room=room):
                    self.disk.capacity = None
                    self.assertTrue(self.desk.restore_reserve())
                    self.disk.capacity = self.disk.used + room
                    write()
                    self.assertTrue(self.store(self.disk).book().trade(self.held.id))

    def test_the_reserve_comes_back_with_the_space_and_opening_with_it(self) -> None:
        self.disk.capacity = self.disk.used
        self.desk.save(given_a_closing_trade(self.held))
        self.assertTrue(self.desk.disk_full)
        self.assertFalse(self.desk.restore_reserve())
        self.assertTrue(self.desk.disk_full)
        self.disk.capacity = None
        self.desk.save(given_a_trade(signal_id="again"))
        self.assertFalse(self.desk.disk_full)
        self.assertTrue(self.desk.restore_reserve())

    def test_without_any_room_nothing_is_acknowledged_and_nothing_lost(self) -> None:
        self.disk.capacity = self.disk.used
        self.desk._reserve.free()
        self.disk.capacity = self.disk.used
        with self.assertRaises(StoreCorrupt):
            self.desk.save(given_a_closing_trade(self.held))
        self.disk.capacity = None
        self.assertEqual(self.desk.book().position(self.held.terms.position_id).status, PositionStatus.OPEN)
        self.assertEqual(self.store(self.disk).book().trades(), (self.held, self.working))

    def test_who_starts_without_any_room_reads_all_of_it_and_goes_on_when_there_is_room(self) -> None:
        self.disk.capacity = self.disk.used
        self.desk._reserve.free()
        closing = given_a_closing_trade(self.held)
        self.disk.capacity = self.disk.used + 1
        while not self.desk._ledger.seq > self.ledger_lines:
            self.disk.capacity += 100
            with self.assertRaises(StoreCorrupt):
                self.desk.save(closing)
        started = JsonStore.open_or_halted(self.data_dir, BINDING, disk=self.disk)
        self.addCleanup(started.close)
        self.assertEqual(("", True), (started.trouble, started.disk_full))
        self.assertEqual(closing, started.book().trade(closing.id))
        with self.assertRaises(StoreCorrupt):
            started.save(given_a_filled_close(self.held))
        self.disk.capacity = None
        started.save(given_a_filled_close(self.held))
        self.assertTrue(self.desk.book().position(self.held.terms.position_id).closed)
        self.assertEqual(started.book().positions(), self.store(self.disk).book().positions())

    def test_who_starts_where_the_first_sync_finds_the_disk_full_goes_on_from_the_reserve(self) -> None:
        """File systems that give out room late say so at the sync."""
        closing = self.desk.save(given_a_closing_trade(self.held), durable=False)
        sync, reserve, found_full = self.disk.sync, self.data_dir / RESERVE, False

        def late(file: int) -> None:
            nonlocal found_full
            if self.disk.stamp(reserve) is not None:
                found_full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(file)

        with mock.patch.object(self.disk, "sync", late):
            started = JsonStore.open_or_halted(self.data_dir, BINDING, disk=self.disk)
        self.addCleanup(started.close)
        self.assertEqual(("", True, True), (started.trouble, started.disk_full, found_full))
        self.assertEqual(closing, started.book().trade(closing.id))

    def test_who_starts_where_not_even_a_sync_has_room_says_so_until_there_is(self) -> None:
        self.desk._reserve.free()
        closing = self.desk.save(given_a_closing_trade(self.held), durable=False)
        self.disk.late, self.disk.capacity = True, self.disk.used - 1
        started = JsonStore.open_or_halted(self.data_dir, BINDING, disk=self.disk)
        self.addCleanup(started.close)
        self.assertEqual("", started.trouble)
        for _ in range(2):
            with self.assertRaises(StoreCorrupt) as caught:
                started.book()
            self.assertEqual("ENOSPC", caught.exception.facts["reason"])
        self.disk.capacity = None
        self.assertEqual(closing, started.book().trade(closing.id))
        self.disk.lose_power()
        self.assertEqual(closing, self.store(self.disk).book().trade(closing.id))

    def test_the_reserve_takes_its_whole_size(self) -> None:
        reserve = Reserve(self.data_dir / "reserve", SystemDisk())
        self.assertFalse(reserve.free())
        self.assertTrue(reserve.restore())
        self.assertEqual((self.data_dir / "reserve").stat().st_size, RESERVE_BYTES)
        self.assertTrue(reserve.free())
        self.assertFalse(reserve.whole)

    def test_a_reserve_that_cannot_be_removed_gives_nothing(self) -> None:
        class Stubborn(SystemDisk):
            def remove(self, path: Path) -> None:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        reserve = Reserve(self.data_dir / "reserve", Stubborn())
        self.assertTrue(reserve.restore())
        self.assertFalse(reserve.free())
        self.assertTrue(reserve.whole)

    def test_a_real_full_disk(self) -> None:
        """A file system of two MiB, where the system lets us make one."""
        place = self.data_dir.parent / "tiny"
        place.mkdir()
        mount = f'mount -t tmpfs -o size=2m none {place} && exec {sys.executable} -c "$SCRIPT" {place}'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount]
        try:
            done = subprocess.run(
                command, env={**os.environ, "SCRIPT": TINY}, cwd=ROOT, capture_output=True, text=True, timeout=60
            )
        except FileNotFoundError as error:
            raise unittest.SkipTest("there is no unshare here") from error
        if done.returncode and ("unshare" in done.stderr or "mount" in done.stderr):
            raise unittest.SkipTest("this system lets nobody make a file system of its own")
        self.assertEqual(done.stdout.splitlines(), ["ENOSPC True", "True True True True ()"], done.stderr)


class HaltedTest(CareCase):
    def setUp(self) -> None:
        super().setUp()
        store = self.store()
        self.held = store.save(given_a_filled_trade("held"))
        self.hurt = store.save(given_a_filled_trade("hurt"))
        self.gone = store.save(given_a_filled_trade("gone"))
        store.save(given_a_filled_close(self.gone))
        store.save_watch(given_watch(self.gone, outcome_told=True))
        store.save_watch(given_watch(self.held, high_water=None))
        store.change_state(lambda one: replace(one, state=TradingState.REDUCING, flat_reads=1))
        store.close()
        self.ledger = self.data_dir / "trades.json"

    def halted(self) -> HaltedStore:
        store = JsonStore.open_or_halted(self.data_dir, BINDING)
        assert isinstance(store, HaltedStore)
        port: Store = store
        self.assertIs(port.state().state, TradingState.HALTED)
        return store

    def damage(self) -> None:
        self.ledger.write_bytes(self.ledger.read_bytes().replace(b'"hurt"', b'"hUrt"', 1))

    def test_a_sound_folder_is_simply_opened(self) -> None:
        self.assertIsInstance(JsonStore.open_or_halted(self.data_dir, BINDING), JsonStore)

    def test_everything_that_can_be_read_is_shown(self) -> None:
        self.damage()
        store = self.halted()
        self.assertIn("trades.json:6 is damaged", store.why)
        self.assertEqual(store.state().why, store.why)
        self.assertEqual((store.state().binding, store.state().flat_reads), (BINDING, 1))
        self.assertEqual(store.book().trade(self.held.id), self.held)
        self.assertIs(store.book().position(self.gone.terms.position_id).status, PositionStatus.CLOSED)
        self.assertEqual(set(store.broken), {self.hurt.id})
        self.assertIsNotNone(store.book().watch(self.held.terms.position_id))

    def test_a_close_that_only_the_book_knows_of_lets_its_position_alone(self) -> None:
        """A ledger that ends too early reads well to its last line. What was closed stands in it, and nobody sells that
        again: the next close has its name already."""
        close = close_trade_id(self.gone.terms.position_id, 1)
        lines = self.ledger.read_bytes().splitlines()
        kept = [one.removesuffix(b",") for one in lines if close.encode() not in one]
        self.ledger.write_bytes(b"\n".join((kept[0], b",\n".join(kept[1:-1]), kept[-1], b"")))
        store = self.halted()
        self.assertIn("is the last line, but positions.json knows", store.why)
        self.assertIs(store.book().position(self.gone.terms.position_id).status, PositionStatus.OPEN)
        self.assertEqual([close], list(store.broken))
        self.assertFalse(store.complete)

    def test_coins_of_what_the_ledger_has_lost_are_known_unless_it_had_ended(self) -> None:
        store = self.store()
        other = store.save(given_a_filled_trade("other", pair="SOL/AVAX"))
        self.ledger.write_bytes(EMPTY)
        self.assertEqual({"BTC", "ETH", "SOL", "AVAX"}, self.halted().broken_coins)
        self.ledger.unlink()
        self.positions_without(other.terms.position_id, self.held.terms.position_id, self.hurt.terms.position_id)
        self.assertEqual(frozenset(), self.halted().broken_coins)

    def positions_without(self, *gone: PositionId) -> None:
        path = self.data_dir / "positions.json"
        lines = [one for one in json.loads(path.read_bytes()) if one["id"] not in gone]
        for number, one in enumerate(lines, start=1):
            one["seq"] = number
            del one["checksum"]
        path.write_bytes(b"[\n" + b",\n".join(sealed(one) for one in lines) + b"\n]\n")

    def test_a_stop_that_the_damage_cut_off_is_known(self) -> None:
        self.damage()
        self.assertFalse(self.halted().stop_cut_off)
        path = self.data_dir / "desk.json"
        state = state_of(path.read_bytes(), path)
        path.write_bytes(content_of(replace(state, state=TradingState.LIQUIDATING)))
        self.assertTrue(self.halted().stop_cut_off)

    def test_what_was_archived_is_shown_unless_the_archive_is_what_is_wrong(self) -> None:
        store = self.store()
        self.assertEqual(store.roll_over(T0.replace(year=2027)), 1)
        store.close()
        self.damage_nothing_but_the_book()
        self.assertEqual(self.halted().book().trade(self.gone.id), self.gone)
        (self.data_dir / "archive" / "trades-2026-11.json").unlink()
        self.assertIsNone(self.halted().book().find_trade(self.gone.id))
        self.assertEqual(self.halted().book().trade(self.held.id), self.held)

    def damage_nothing_but_the_book(self) -> None:
        path = self.data_dir / "positions.json"
        path.write_bytes(path.read_bytes().replace(b"BTC/ETH", b"BTC/ETC", 1))

    def test_a_folder_without_any_readable_file_is_shown_as_empty_and_halted(self) -> None:
        for path in self.data_dir.glob("*.json"):
            path.write_bytes(b"\0" * 100)
        store = self.halted()
        self.assertEqual((store.book().trades(), store.state().binding), ((), None))

    def test_nothing_is_taken_in(self) -> None:
        self.damage()
        store = self.halted()
        before = {path: path.read_bytes() for path in self.data_dir.glob("*.json")}
        calls: dict[str, Callable[[], object]] = {
            "a trade": lambda: store.save(given_a_closing_trade(self.held)),
            "a watch": lambda: store.save_watch(given_watch(self.held)),
            "a state": lambda: store.change_state(lambda one: replace(one, state=TradingState.ACTIVE)),
        }
        for name, call in calls.items():
            with self.subTest(name), self.assertRaises(StoreCorrupt) as caught:
                call()
            self.assertIn("halted", caught.exception.detail)
        store.beat(T0)
        self.assertIsNone(store.last_beat())
        self.assertEqual((store.roll_over(T0), store.disk_full, store.restore_reserve()), (0, False, False))
        self.assertEqual({path: path.read_bytes() for path in self.data_dir.glob("*.json")}, before)
        store.close()

    def test_its_locks_are_the_stores(self) -> None:
        self.damage()
        store = self.halted()
        with store.exclusive() as book, store.seat(self.held.id), store.monitor_seat():
            self.assertEqual(book.trade(self.held.id), self.held)

    def test_what_must_be_done_all_the_same_is_in_the_rescue_file_and_on_stderr(self) -> None:
        self.damage()
        for store in (self.halted(), self.halted()):
            self.assertTrue(store.rescue({"id": "close", "coin": "BTC"}))
        lines = json.loads((self.data_dir / "rescue.json").read_text())
        self.assertEqual([line["coin"] for line in lines], ["BTC", "BTC"])
        self.assertEqual(self.said.getvalue().count('rescue: {"id": "close", "coin": "BTC"}'), 2)

    def test_a_rescue_that_cannot_be_written_is_said(self) -> None:
        disk = SimulatedDisk(Random(1))
        store = self.store_on(disk)
        disk.capacity = disk.used
        self.assertTrue(store.rescue({"id": "with the reserve"}))
        disk.capacity = disk.used
        self.assertFalse(store.rescue({"id": "x" * 5000}))
        self.assertFalse(store.rescue({"seq": 1}))
        self.assertIn("x" * 5000, self.said.getvalue())

    def store_on(self, disk: SimulatedDisk) -> JsonStore:
        return JsonStore(self.data_dir.with_name("simulated"), BINDING, disk=disk)

    def test_another_binding_and_a_newer_version_are_refused_and_not_halted(self) -> None:
        with self.assertRaises(StoreCorrupt):
            JsonStore.open_or_halted(self.data_dir, Binding("paper", "demo", "other"))
        self.ledger.write_bytes(b"[\n" + sealed({"seq": 1, "schema": 2, "id": "x"}) + b"\n]\n")
        with self.assertRaises(StoreCorrupt) as caught:
            JsonStore.open_or_halted(self.data_dir, BINDING)
        self.assertIn("use the version that wrote it", caught.exception.detail)

    def test_it_can_be_verified_all_the_same(self) -> None:
        self.damage()
        self.assertIn("trades.json:6 is damaged", "".join(verify(self.data_dir).problems))
        self.assertEqual(replay(self.held.events), self.held)


if __name__ == "__main__":
    unittest.main()
