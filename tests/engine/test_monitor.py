import errno
import io
import logging
import os
import threading
import time
import unittest
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

from tests.builders import given_exit_plan, given_trailing
from tests.engine.bent_venue import a_bent_scene, corrupt, with_store
from tests.engine.hands import PATIENCE_SECONDS, join_all
from tests.engine.scripted_venue import BINDING, Scene, lost_before, partly
from tests.engine.test_exits import liquidated_at
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import GuardianUnavailable, InvariantBroken, StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, FundingPayment
from trading.domain.orders import Order, OrderReport, RejectReason
from trading.domain.positions import Position, PositionStatus, Watch
from trading.domain.trades import Trade, TradeStatus, close_trade_id
from trading.domain.units import Coin, Quantity, Ratio, Usd
from trading.engine import closing, emergency, exits, flattening, monitor, working
from trading.engine.desk import Desk
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest
from trading.engine.threads import in_a_thread
from trading.utils.disk import SystemDisk
from trading.utils.json_storage import JsonStore

ETH, BTC = Coin("ETH"), Coin("BTC")
WAIT_SECONDS = 5.0


class MonitorTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.watchman = Watchman(self.scene.desk)

    def tick(self, seconds: float = 1.0, count: int = 1) -> None:
        for _ in range(count):
            self.scene.clock.advance(seconds)
            monitor.tick(self.watchman)
            join_all(self.watchman)

    def wait_for_close(self, position: Position) -> None:
        """Wait for the errand that leaves *position*, unless it has ended already."""
        errand = self.watchman.in_hand.get(f"close {position.id}")
        if errand is not None:
            errand.join(WAIT_SECONDS)

    def restart(self) -> None:
        self.scene = self.scene.reopened()
        self.watchman = Watchman(self.scene.desk)

    def bend(self, scene: Scene) -> None:
        self.scene = scene
        self.watchman = Watchman(scene.desk)

    @property
    def state(self) -> TradingState:
        return self.scene.store.state().state

    @property
    def causes(self) -> frozenset[Cause]:
        return self.scene.store.state().causes

    def said(self, word: str) -> int:
        return sum(word in one for one in self.scene.log.messages())


class HaltedTest(MonitorTestCase):
    """Started on a ledger with a line that does not check. What replays is left by its barriers all the same."""

    def start_damaged(self, word: str, *, cut: bool = False) -> None:
        """With the first line damaged that holds *word*, or all from there on *cut* off."""
        self.scene.store.close()
        path = self.scene.store.data_dir / "trades.json"
        lines = path.read_bytes().split(b"\n")
        place = next(number for number, line in enumerate(lines) if word.encode() in line)
        lines[place] = lines[place].replace(b'"pair"', b'"pear"')
        path.write_bytes(b"\n".join(lines[:place] if cut else lines))
        self.start_halted()

    def start_halted(self) -> None:
        store = JsonStore.open_or_halted(self.scene.desk.config.data_dir, BINDING)
        self.assertTrue(store.trouble)
        self.scene.desk = replace(self.scene.desk, store=store)
        self.watchman = Watchman(self.scene.desk)

    def damaged_tick(self, count: int = 1) -> None:
        with redirect_stderr(io.StringIO()):
            for _ in range(count):
                with suppress(StoreCorrupt):
                    self.tick()
                join_all(self.watchman)

    def ended(self, signal_id: str, pair: str) -> Trade:
        """The opening of a position that has ended."""
        return self.scene.trade(self.scene.close(self.scene.opened(signal_id, pair=pair)).trade_id)

    def test_a_stop_is_carried_out_by_what_the_venue_holds(self) -> None:
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened()
        self.start_damaged(gone.id)
        self.damaged_tick()
        self.assertFalse(self.venue.flat)
        self.venue.move("ETH", "3910")
        self.damaged_tick(2)
        self.assertTrue(self.venue.flat)
        sent = len(self.venue.sent)
        self.damaged_tick(3)
        self.assertEqual(sent, len(self.venue.sent))
        self.assertTrue(all(order.reduce_only for order in self.venue.sent[-1]))
        self.assertTrue((self.scene.desk.config.data_dir / "rescue.json").exists())
        self.assertEqual(1, self.said("without a ledger"))

    def test_what_others_hold_stays_and_who_shares_a_coin_goes_along(self) -> None:
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/ETH")
        self.venue.hold("ETH", "0.7")
        self.venue.hold("AVAX", "3")
        self.start_damaged(gone.id)
        self.venue.move("ETH", "3910")
        self.damaged_tick(4)
        held = {coin: self.venue.held(coin) for coin in ("BTC", "ETH", "SOL", "AVAX")}
        self.assertEqual({"BTC": 0, "ETH": Decimal("0.7"), "SOL": 0, "AVAX": 3}, held)

    def test_a_ledger_that_is_damaged_under_the_watch_is_watched_as_far_as_it_can_be_read(self) -> None:
        """No position was looked at any more until somebody started the service again."""
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened()
        self.tick()
        path = self.scene.store.data_dir / "trades.json"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(path.read_bytes().replace(gone.id.encode(), b"x" * len(gone.id), 1))
        fresh.replace(path)
        self.venue.move("ETH", "3910")
        with redirect_stderr(io.StringIO()):
            for _ in range(4):
                self.scene.clock.advance(1)
                monitor.go_round(self.watchman, 1.0, 1.0)
                join_all(self.watchman)
        self.assertTrue(self.venue.flat)
        self.assertEqual(1, self.said("the desk is HALTED"))

    def test_a_state_that_is_damaged_under_the_watch_keeps_no_stop_from_being_carried_out(self) -> None:
        self.scene.opened()
        self.tick()
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        self.venue.move("ETH", "3910")
        self.damaged_tick(7)
        self.assertTrue(self.venue.flat)

    def test_what_the_system_cannot_read_now_is_no_damage(self) -> None:
        self.scene.opened()
        trouble = StoreCorrupt("trades.json cannot be read: Input/output error", reason="EIO")
        desk = with_store(self.scene, book=mock.Mock(side_effect=trouble))
        self.watchman = Watchman(desk)
        for _ in range(3):
            monitor.go_round(self.watchman, 1.0, 1.0)
        self.assertIs(desk, self.watchman.desk)

    def test_a_stop_that_was_under_way_goes_on_until_nothing_is_left(self) -> None:
        """A monitor that was started on damaged files in the middle of a stop let what was open stand, and said
        HALTED."""
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.scene.enter_state(TradingState.LIQUIDATING)
        self.start_damaged(gone.id)
        self.venue.reads_down = {"account"}
        self.damaged_tick(2)
        self.assertFalse(self.venue.flat)
        self.venue.reads_down = set()
        self.damaged_tick(3)
        self.assertTrue(self.venue.flat)
        self.venue.hold("ETH", "0.1")
        sent = len(self.venue.sent)
        self.damaged_tick(3)
        self.assertEqual(sent, len(self.venue.sent))

    def test_an_opening_whose_end_is_lost_is_let_alone_in_silence(self) -> None:
        """It was told every second that it was canceled, and that this could not be written down."""
        self.scene.opened()
        self.scene.store.close()
        path = self.scene.store.data_dir / "trades.json"
        before, word, end = path.read_bytes().rpartition(b'"pair"')
        self.assertIn(b"TradeFilled", end)
        path.write_bytes(before + word.replace(b"pair", b"pear") + end)
        self.start_halted()
        self.damaged_tick(2)
        told = len(self.scene.log.messages())
        self.damaged_tick(20)
        self.assertEqual([], self.scene.log.messages()[told:])
        self.assertEqual(0, self.said("canceled"))
        self.assertEqual(1, len(self.venue.sent))
        self.venue.move("ETH", "3910")
        self.damaged_tick(3)
        self.assertTrue(self.venue.flat)

    def test_a_close_that_was_under_way_goes_on(self) -> None:
        """Its position was left by no barrier any more, and its trade could not be worked."""
        gone = self.ended("signal_0", "SOL/AVAX")
        position = self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.scene.close(position)
        self.venue.refusing = {}
        self.start_damaged(gone.id)
        self.damaged_tick(3)
        self.assertTrue(self.venue.flat)

    def test_what_somebody_buys_after_it_was_left_is_theirs(self) -> None:
        """A time limit stays passed: all that was ever held of the coins again was sold."""
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened(max_holding_seconds=60)
        self.start_damaged(gone.id)
        self.scene.tick(61)
        self.damaged_tick(7)
        self.assertTrue(self.venue.flat)
        for again in (False, True):
            with self.subTest(started_again=again):
                if again:
                    self.start_halted()
                self.venue.hold("ETH", "0.1")
                self.venue.hold("BTC", "-0.001")
                sent = len(self.venue.sent)
                self.damaged_tick(3)
                self.assertEqual(sent, len(self.venue.sent))

    def test_no_more_is_sold_than_the_book_has_and_nothing_of_the_other_side(self) -> None:
        gone = self.ended("signal_0", "SOL/AVAX")
        position = self.scene.opened()
        self.start_damaged(gone.id)
        self.venue.hold("ETH", str(2 * position.leg_of(ETH).held * -position.leg_of(ETH).side.sign))
        others = self.venue.held("ETH")
        self.venue.move("BTC", "70000" if position.leg_of(BTC).side.sign < 0 else "50000")
        self.venue.script(partly(BTC="0.5"), partly(BTC="0"), partly(BTC="0"), partly(BTC="0"), partly(BTC="0"))
        self.damaged_tick()
        self.assertNotIn(self.venue.held("BTC"), (0, position.leg_of(BTC).held))
        self.venue.hold("BTC", str(5 * position.leg_of(BTC).side.sign))
        self.damaged_tick(4)
        self.assertGreaterEqual(abs(self.venue.held("BTC")), 5 - position.leg_of(BTC).held)
        self.assertEqual(others, self.venue.held("ETH"))

    def test_one_position_is_left_after_the_other(self) -> None:
        """Two that see the same holding would sell it twice, and what others hold beside it, too."""
        gone = self.ended("signal_0", "SOL/AVAX")
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.start_damaged(gone.id)
        self.venue.move("ETH", "3910")
        self.venue.move("AVAX", "24.4")
        inside, most, left = 0, 0, set[Coin]()

        def close_holdings(_: Desk, coins: set[Coin], *__: object) -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            left.update(coins)
            inside -= 1

        with mock.patch.object(flattening, "close_holdings", close_holdings):
            self.damaged_tick(2)
        self.assertEqual((1, {"BTC", "ETH", "SOL", "AVAX"}), (most, left))

    def test_what_has_ended_or_may_have_is_let_alone(self) -> None:
        for cut in (False, True):
            with self.subTest(cut=cut):
                self.setUp()
                position = self.scene.opened()
                self.scene.close(position)
                # Of a file that lacks only a few lines at its end that is the rest of an append.
                self.ended("signal_2", "SOL/AVAX")
                self.ended("signal_3", "SOL/AVAX")
                self.venue.hold("ETH", "0.25")
                self.start_damaged(close_trade_id(position.id, 1), cut=cut)
                self.venue.move("ETH", "3910")
                sent = len(self.venue.sent)
                self.damaged_tick(3)
                self.assertEqual(sent, len(self.venue.sent))


class ReadOnlyDisk(SystemDisk):
    """A file system that the system has made read-only after an error, under files that are open."""

    gone = False

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        self.refuse(create or write)
        return super().open(path, create=create, write=write)

    def write(self, file: int, content: bytes, offset: int) -> None:
        self.refuse(True)
        super().write(file, content, offset)

    def truncate(self, file: int, size: int) -> None:
        self.refuse(True)
        super().truncate(file, size)

    def refuse(self, writes: bool) -> None:
        if self.gone and writes:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class UnwritableTest(MonitorTestCase):
    """The folder can only be read by now, as after an error of its file system, and the desk had positions."""

    def setUp(self) -> None:
        super().setUp()
        self.position = self.scene.opened()
        self.spoil(writable=False)

    def spoil(self, *, writable: bool) -> None:
        unwritten = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
        self.watchman = Watchman(with_store(self.scene, writable=writable, **unwritten))

    def corrupt_tick(self, count: int = 1) -> None:
        with redirect_stderr(io.StringIO()):
            for _ in range(count):
                with suppress(StoreCorrupt):
                    self.tick()
                join_all(self.watchman)

    def test_a_stop_is_carried_out_by_what_the_venue_holds(self) -> None:
        self.corrupt_tick()
        self.assertFalse(self.venue.flat)
        self.venue.move("ETH", "3910")
        self.corrupt_tick(2)
        self.assertTrue(self.venue.flat)
        self.assertTrue(all(order.reduce_only for order in self.venue.sent[-1]))
        self.venue.hold("ETH", "0.1")
        sent = len(self.venue.sent)
        self.corrupt_tick(4)
        self.assertEqual(sent, len(self.venue.sent))

    def on_a_disk(self) -> ReadOnlyDisk:
        disk = ReadOnlyDisk()
        self.scene.store.close()
        store = JsonStore(self.scene.store.data_dir, BINDING, disk=disk)
        self.scene.desk = replace(self.scene.desk, store=store)
        self.watchman = Watchman(self.scene.desk)
        self.corrupt_tick()
        return disk

    def test_so_it_is_on_a_disk_that_has_been_made_read_only(self) -> None:
        disk = self.on_a_disk()
        disk.gone = True
        self.venue.move("ETH", "3910")
        self.corrupt_tick(6)
        self.assertTrue(self.venue.flat)
        self.assertEqual((1, 1), (self.said("closing BTC/ETH"), self.said("without a ledger")))
        self.assertEqual(PositionStatus.OPEN, self.scene.position(self.position.id).status)

    def test_a_disk_that_is_made_read_only_under_a_close_can_still_be_read(self) -> None:
        """The position's line was still to be written: without it there was no book, and a stop sold all of the
        account."""
        for press in (False, True):
            with self.subTest(press=press):
                self.setUp()
                disk, submit = self.on_a_disk(), self.venue.submit
                self.venue.hold("SOL", "3")

                def breaking(
                    orders: Sequence[Order], disk: ReadOnlyDisk = disk, submit: Any = submit
                ) -> tuple[OrderReport, ...]:
                    disk.gone = True
                    return tuple(submit(orders))

                self.venue.script(partly(ETH="0.5", BTC="0.25"))
                self.venue.move("ETH", "3910")
                with mock.patch.object(self.venue, "submit", breaking):
                    self.corrupt_tick(1 if press else 6)
                    if press:
                        with redirect_stderr(io.StringIO()):
                            emergency.stop(self.scene.desk)
                            self.scene.hands.release()
                self.assertEqual((0, 0, 3), tuple(self.venue.held(coin) for coin in ("BTC", "ETH", "SOL")))

    def test_a_close_that_could_not_be_written_once_is_no_folder_that_cannot(self) -> None:
        """It is tried again with the next tick, and written down; but not for ever, as on a disk that stays full."""
        self.spoil(writable=True)
        self.venue.move("ETH", "3910")
        self.corrupt_tick(2)
        self.assertEqual(1, len(self.venue.sent))
        self.corrupt_tick(4)
        self.assertTrue(self.venue.flat)

    def test_what_can_be_written_again_begins_anew(self) -> None:
        self.venue.move("ETH", "3910")
        for _ in range(3):
            self.spoil_for(self.watchman)
            self.corrupt_tick(2)
            self.watchman.desk = self.scene.desk
            with mock.patch.object(closing, "close"):
                self.corrupt_tick()
        self.assertEqual(1, len(self.venue.sent))

    def spoil_for(self, watchman: Watchman) -> None:
        """The same watchman, and a store that cannot be written now."""
        self.spoil(writable=True)
        watchman.desk, self.watchman = self.watchman.desk, watchman


class TickTest(MonitorTestCase):
    def test_what_comes_near_its_liquidation_is_left_by_the_account_that_was_read(self) -> None:
        position = self.scene.opened()
        self.venue.bend_account = liquidated_at("3700")
        self.tick(count=3)
        self.assertIs(ExitReason.LIQUIDATION, self.scene.position(position.id).exit_reason)

    def test_a_breach_is_closed_by_the_tick(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        self.tick(count=2)
        closed = self.scene.position(position.id)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.STOP_LOSS), (closed.status, closed.exit_reason))
        self.assertEqual(2, len(self.scene.trades()))

    def test_slices_that_are_due_go_out(self) -> None:
        self.scene.opened(size="6000", execution=Execution.TWAP, twap=TwapRequest(50, 5))
        self.tick(10, count=5)
        self.assertEqual(5, len(self.venue.sent))

    def test_a_doubt_is_asked_about(self) -> None:
        self.venue.script(lost_before())
        self.scene.execute()
        self.tick(20)
        self.assertFalse(
            self.scene.store.book().live_trades()[0].in_doubt if self.scene.store.book().live_trades() else ()
        )

    def test_it_waits_for_what_is_in_hand_when_it_is_asked_to(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        self.scene.clock.advance(1)
        monitor.tick(self.watchman, wait_seconds=WAIT_SECONDS)
        self.assertTrue(self.scene.position(position.id).closed)

    def test_what_has_ended_is_moved_once_an_hour_and_within_a_minute_where_too_much_is_in_memory(self) -> None:
        moves: list[timedelta] = []
        began = self.scene.clock.now()

        def moved(now: datetime) -> int:
            moves.append(now - began)
            return 0

        for outgrown, seconds in ((False, 3600), (True, 60)):
            self.watchman.desk = with_store(self.scene, roll_over=moved, outgrown=outgrown)
            moves.clear()
            self.watchman.rolled_at = began = self.scene.clock.now()
            self.tick(seconds - 1)
            self.assertEqual(moves, [])
            self.tick(1)
            self.assertEqual(moves, [timedelta(seconds=seconds)])

    def test_it_beats_on_disk_and_in_the_cache(self) -> None:
        with self.scene.store.monitor_seat():
            self.tick()
            self.assertEqual(self.scene.clock.now(), self.scene.store.last_beat())
        beat = {"at": self.scene.clock.now().isoformat(), "problems": []}
        self.assertEqual(beat, self.scene.cache.values["monitor:beat"])

    def test_it_says_when_it_has_compared_book_and_venue(self) -> None:
        self.scene.opened()
        self.venue.reads_down = {"account"}
        self.tick(count=3)
        self.assertFalse(self.scene.store.compared())
        self.venue.reads_down = set()
        self.venue.hold("ETH", "1")
        self.tick()
        self.assertFalse(self.scene.store.compared())
        self.tick(2, count=2)
        self.assertTrue(self.scene.store.compared())
        self.assertEqual({Cause.DRIFT}, set(self.causes))
        self.venue.hold("ETH", "1")
        self.tick()
        self.assertTrue(self.scene.store.compared())
        self.restart()
        self.venue.hold("ETH", "-2")
        self.tick(count=2)
        self.assertTrue(self.scene.store.compared())

    def test_where_no_fills_are_told_of_two_readings_two_seconds_apart_are_enough(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "-0.1")
        self.tick(2, count=2)
        self.assertEqual({Cause.DRIFT}, set(self.causes))

    def test_each_part_that_fails_leaves_the_others_their_turn_and_is_said_once(self) -> None:
        parts = ("_beat", "_account_duties", "_recover", "_push", "_tell_outcomes")
        for part in parts:
            for failure in (InvariantBroken("for the test"), ValueError("a bug")):
                with self.subTest(part, failure=type(failure).__name__):
                    self.scene, self.venue = a_bent_scene(self)
                    self.watchman = Watchman(self.scene.desk)
                    position = self.scene.opened()
                    self.venue.move("ETH", "3910")

                    def fail(_: Watchman, kept: Exception = failure) -> None:
                        raise kept

                    fail.__name__ = part
                    with mock.patch.object(monitor, part, fail):
                        self.tick(count=3)
                    self.assertTrue(self.scene.position(position.id).closed)
                    self.assertEqual(1, self.said(f"monitor: {part.strip('_').replace('_', ' ')} failed"))

    def test_a_sweep_that_fails_leaves_live_trades_their_turn(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))

        def fail(_: Watchman) -> None:
            raise ValueError("a bug")

        with mock.patch.object(monitor, "_sweep", fail):
            self.tick(6)
        self.assertEqual(2, len(self.venue.sent))

    def test_a_failure_that_comes_back_is_said_again(self) -> None:
        self.scene.opened()
        for times, broken in enumerate((True, False, True)):
            self.watchman.desk = with_store(self.scene, broken=None) if broken else self.scene.desk
            self.tick()
            self.assertEqual(
                (1, 1, 2)[times], self.said("monitor: recover failed on") + self.said("recover failed: a bug")
            )

    def test_a_store_that_refuses_is_raised_after_all_parts_had_their_turn(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        self.watchman.desk = with_store(self.scene, beat=corrupt)
        self.scene.clock.advance(1)
        with self.assertRaises(StoreCorrupt):
            monitor.tick(self.watchman, wait_seconds=WAIT_SECONDS)
        self.assertTrue(self.scene.position(position.id).closed)

    def test_nothing_at_all_is_a_quiet_tick(self) -> None:
        self.tick(count=3)
        self.assertEqual(([], {}), (self.scene.log.messages(), self.watchman.troubles))


class ListenTest(MonitorTestCase):
    def listen(self, seconds: float = 0.5) -> None:
        monitor.listen(self.watchman, seconds)
        monitor.finish(self.watchman, WAIT_SECONDS)

    def test_a_breach_in_the_stream_is_closed_before_the_next_tick(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.tick("ETH", "3910")
        self.listen()
        self.assertIs(ExitReason.STOP_LOSS, self.scene.position(position.id).exit_reason)

    def test_only_positions_of_coins_that_ticked_are_judged(self) -> None:
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.tick()
        self.venue.move("ETH", "3910")
        self.venue.tick("SOL", "150.01")
        self.listen()
        self.assertEqual(2, len(self.scene.store.book().standing_positions()))

    def test_each_tick_is_judged_once(self) -> None:
        self.scene.opened()
        self.tick()
        self.venue.tick("ETH", "3999")
        with mock.patch.object(exits, "sweep", wraps=exits.sweep) as sweeps:
            self.listen()
            self.listen()
        self.assertEqual([frozenset({ETH})], [call.args[3] for call in sweeps.call_args_list])

    def test_the_time_passes_without_ticks_and_a_position_that_came_meanwhile_is_listened_for(self) -> None:
        self.tick()
        before = self.scene.clock.monotonic()
        self.listen(0.5)
        self.assertAlmostEqual(0.5, self.scene.clock.monotonic() - before)
        position = self.scene.opened()
        self.venue.tick("ETH", "3910")
        self.listen()
        self.assertTrue(self.scene.position(position.id).closed)

    def test_a_slice_goes_at_its_instant_and_not_at_the_next_tick(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(6, 3))
        self.scene.clock.advance(0.3)
        for _ in range(6):
            monitor.tick(self.watchman)
            for _ in range(20):
                self.listen(0.05)
        trade = self.scene.trade(position.trade_id)
        self.assertIs(TradeStatus.FILLED, trade.status)
        went = [(one.intended_at - trade.terms.accepted_at).total_seconds() for one in trade.orders[::2]]
        for due, at in zip((0, 2, 4), went, strict=True):
            self.assertAlmostEqual(due, at, delta=0.11)

    def test_a_slice_that_cannot_be_begun_ends_no_watch(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(6, 3))
        self.tick()
        with mock.patch.object(monitor, "_hand_out", side_effect=RuntimeError("can't start new thread")):
            for _ in range(5):
                self.listen(0.5)
        self.assertEqual(1, self.said("begin slices failed: a bug: RuntimeError: can't start new thread"))
        self.tick()
        self.assertEqual(2, len(self.venue.sent))

    def test_a_slice_that_cannot_go_at_its_instant_is_tried_again_by_the_ticks(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(6, 3))
        self.tick()
        self.venue.move("ETH", "4100")
        self.venue.calls.clear()
        for _ in range(5):
            self.listen(0.5)
        self.assertEqual(["instruments", "quotes"], self.venue.calls)
        self.venue.move("ETH", "4000")
        self.listen(0.25)
        self.assertEqual(1, len(self.venue.sent))
        self.tick()
        self.assertEqual(2, len(self.venue.sent))

    def test_a_failure_is_said_once_shown_and_rested_after(self) -> None:
        self.scene.opened()
        self.tick()

        def fail(*_: object) -> None:
            raise ValueError("a bug")

        before = self.scene.clock.monotonic()
        with self.scene.store.monitor_seat(), mock.patch.object(exits, "sweep", fail):
            for price in ("3999", "3998", "3997"):
                self.venue.tick("ETH", price)
                self.listen(0.25)
            self.tick()
            self.assertEqual(("sweep failed: a bug: ValueError: a bug",), self.scene.store.problems())
        self.assertAlmostEqual(1.75, self.scene.clock.monotonic() - before)
        self.assertEqual(1, self.said("monitor: sweep failed: a bug"))
        with self.scene.store.monitor_seat():
            self.tick()
            self.assertEqual((), self.scene.store.problems())


class HangingTest(MonitorTestCase):
    def test_an_account_that_hangs_delays_no_exit(self) -> None:
        position = self.scene.opened()
        self.tick()

        def hang(name: str) -> None:
            if name == "account" and threading.current_thread().name == "monitor: account":
                self.scene.hands.hang()

        self.venue.on_read = hang
        self.venue.move("ETH", "3910")
        self.scene.clock.advance(1)
        monitor.tick(self.watchman)
        self.wait_for_close(position)
        self.assertTrue(self.scene.position(position.id).closed)
        self.assertTrue(self.watchman.in_hand["account"].is_alive())

    def test_a_cache_that_hangs_delays_no_exit(self) -> None:
        position = self.scene.opened()
        with mock.patch.object(self.scene.cache, "put_many", lambda *_: self.scene.hands.hang()):
            for price in ("4000", "3910"):
                self.venue.move("ETH", price)
                self.scene.clock.advance(1)
                monitor.tick(self.watchman)
            self.wait_for_close(position)
            self.assertTrue(self.scene.position(position.id).closed)

    def test_a_trade_that_hangs_delays_no_exit_of_another(self) -> None:
        hanging = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        other = self.scene.opened("signal_2", pair="SOL/AVAX")

        def hang(orders: Sequence[Order]) -> None:
            if orders[0].coin in (ETH, BTC):
                self.scene.hands.hang()

        self.venue.on_submit = hang
        self.venue.move("AVAX", "24.4")
        self.scene.clock.advance(6)
        monitor.tick(self.watchman)
        self.wait_for_close(other)
        self.assertTrue(self.scene.position(other.id).closed)
        self.assertTrue(self.watchman.in_hand[hanging.trade_id].is_alive())
        monitor.tick(self.watchman)
        self.assertEqual(1, sum(name == hanging.trade_id for name in self.watchman.in_hand))

    def test_waiting_for_what_hangs_has_an_end(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        release = threading.Event()
        self.addCleanup(release.set)
        self.venue.on_submit = lambda orders: void(release.wait(PATIENCE_SECONDS))
        self.scene.clock.advance(6)
        self.watchman.desk = replace(self.scene.desk, begin=in_a_thread)
        monitor.tick(self.watchman, wait_seconds=0.1)
        self.assertTrue(any(errand.is_alive() for errand in self.watchman.in_hand.values()))


class UnlevelTest(MonitorTestCase):
    def test_what_a_cancel_leaves_unlevel_once_its_doubt_has_ended_is_closed_by_the_next_tick(self) -> None:
        self.venue.script(partly(BTC="0"), lost_before())
        position = self.scene.opened()
        trade = self.scene.trade(position.trade_id)
        self.assertEqual(1, len(trade.in_doubt))
        working.suspend(self.scene.desk, trade, "odd")
        self.assertEqual("SUSPENDED", closing.cancel(self.scene.desk, trade.id).status)
        self.restart()
        self.tick(count=12)
        self.wait_for_close(position)
        after = self.scene.position(position.id)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.REPAIR), (after.status, after.exit_reason))
        self.assertTrue(self.venue.flat)


class DregsTest(MonitorTestCase):
    def test_what_two_closes_have_left_of_a_coin_is_sold_as_one(self) -> None:
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/ETH")
        self.venue.script(partly(ETH="0.996"), partly(ETH="0.996"))
        for position in self.scene.desk.store.book().standing_positions():
            self.scene.close(position)
        self.assertEqual(Decimal("0.002"), self.venue.held("ETH"))
        for _ in range(90):
            self.tick()
        self.assertTrue(self.venue.flat)
        self.assertEqual((), self.scene.desk.store.book().standing_positions())
        every = self.scene.desk.store.book().positions()
        made = sum((one.realized - one.fees for one in every), Decimal(0))
        self.assertAlmostEqual(made, self.scene.desk.venue.account().equity - 100_000, 6)


class OverdueTest(MonitorTestCase):
    def test_a_close_that_is_overdue_is_told_and_told_again(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down.update({"quotes", "account"})
        self.scene.close(position)

        def told() -> int:
            return sum("is overdue" in message for message in self.scene.log.messages("error"))

        for seconds, times in ((30, 0), (40, 1), (200, 1), (120, 2)):
            self.scene.clock.advance(seconds)
            self.tick()
            self.assertEqual(times, told())
        self.venue.reads_down.clear()
        self.tick()
        self.tick()
        self.assertTrue(self.venue.flat)

    def test_a_close_in_slices_is_not_overdue_while_its_time_lasts(self) -> None:
        position = self.scene.opened()
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, twap=TwapRequest(300, 3))
        for seconds in (120, 60):
            self.scene.clock.advance(seconds)
            self.tick()
            self.assertEqual([], [one for one in self.scene.log.messages("error") if "is overdue" in one])
        self.assertFalse(self.venue.flat)


class BugTest(MonitorTestCase):
    def setUp(self) -> None:
        super().setUp()
        logging.getLogger("trading.engine.errands").setLevel(logging.CRITICAL)
        self.addCleanup(logging.getLogger("trading.engine.errands").setLevel, logging.NOTSET)

    def test_a_bug_in_a_trade_takes_it_out_of_work_and_stops_opening(self) -> None:
        for failure in (InvariantBroken("for the test"), KeyError("a bug")):
            with self.subTest(type(failure).__name__):
                self.scene, self.venue = a_bent_scene(self)
                self.watchman = Watchman(self.scene.desk)
                position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
                with mock.patch.object(working, "work_if_free", side_effect=failure):
                    self.tick()
                self.assertIs(TradeStatus.SUSPENDED, self.scene.trade(position.trade_id).status)
                self.assertEqual((TradingState.REDUCING, {Cause.SUSPENDED_TRADE}), (self.state, set(self.causes)))
                self.venue.move("ETH", "3910")
                self.tick(count=2)
                self.assertTrue(self.venue.flat)

    def test_where_a_bug_of_a_duty_is_stands_in_the_process_s_log_once(self) -> None:
        self.scene.opened()
        with (
            mock.patch.object(exits, "sweep", side_effect=KeyError("a bug")),
            self.assertLogs("trading.monitor", "ERROR") as told,
        ):
            self.tick(count=3)
        (record,) = told.records
        self.assertIsNotNone(record.exc_info)
        self.assertIn("sweep", record.getMessage())
        self.assertEqual(1, self.said("a bug: KeyError"))

    def test_a_closing_trade_is_never_taken_out_of_work(self) -> None:
        position = self.scene.opened()
        self.venue.script(partly(ETH="0", BTC="0"), partly(ETH="0", BTC="0"), partly(ETH="0", BTC="0"))
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        with mock.patch.object(working, "work_if_free", side_effect=KeyError("a bug")):
            self.tick()
        self.assertIn(Cause.SUSPENDED_TRADE, self.causes)
        self.tick(6)
        self.assertTrue(self.scene.position(position.id).closed)

    def test_a_bug_while_somebody_else_works_the_trade_only_stops_opening(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        with (
            self.scene.store.seat(position.trade_id),
            mock.patch.object(working, "work_if_free", side_effect=InvariantBroken("for the test")),
        ):
            self.tick()
        self.assertIs(TradeStatus.WORKING, self.scene.trade(position.trade_id).status)
        self.assertIs(TradingState.REDUCING, self.state)

    def test_a_store_that_refuses_is_no_bug_of_the_trade(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        with mock.patch.object(working, "work_if_free", side_effect=StoreCorrupt("full")):
            self.tick()
        self.assertIs(TradeStatus.WORKING, self.scene.trade(position.trade_id).status)
        self.assertEqual((TradingState.ACTIVE, 1), (self.state, self.said("failed: full")))

    def test_a_suspended_trade_and_a_broken_one_stop_opening(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        with self.scene.store.seat(position.trade_id):
            working.suspend(self.scene.desk, self.scene.trade(position.trade_id), "for the test")
        self.watchman.desk = with_store(self.scene, broken={"trd_x": "line 7"})
        self.tick()
        self.assertEqual({Cause.SUSPENDED_TRADE, Cause.BROKEN_RECORD}, set(self.causes))


class StopTest(MonitorTestCase):
    def test_the_tick_pushes_a_stop_to_flat_and_halts(self) -> None:
        self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
        emergency.stop(self.scene.desk)
        self.venue.refusing = {}
        self.tick(count=30)
        self.assertIs(TradingState.HALTED, self.state)
        self.assertTrue(self.venue.flat)

    def test_a_new_monitor_goes_on_with_it(self) -> None:
        self.scene.opened()
        self.scene.enter_state(TradingState.LIQUIDATING)
        self.restart()
        self.tick(count=30)
        self.assertIs(TradingState.HALTED, self.state)


class DayTest(MonitorTestCase):
    def lose(self, usd: int) -> None:
        self.venue.cash -= usd

    def transfer(self, usd: str) -> None:
        """A moment after what was read last."""
        self.scene.clock.advance(0.1)
        self.venue.transfer(usd)

    def test_the_days_loss_stops_opening_until_the_next_day(self) -> None:
        self.tick()
        self.lose(5_000)
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.lose(1)
        self.tick(count=4)
        self.assertEqual((TradingState.REDUCING, {Cause.DAILY_LOSS}), (self.state, set(self.causes)))
        self.tick(12 * 3600)
        state = self.scene.store.state()
        self.assertEqual((TradingState.ACTIVE, Decimal(94_999)), (state.state, state.baseline_equity))
        self.assertEqual(self.scene.clock.now().date(), state.baseline_day)

    def test_what_a_day_made_before_a_resume_ends_with_that_day(self) -> None:
        self.tick()
        self.lose(5_001)
        self.tick(count=4)
        emergency.resume(self.scene.desk)
        self.assertEqual(Decimal(-5_001), self.scene.store.state().made_before)
        self.tick(12 * 3600)
        self.assertEqual(Decimal(0), self.scene.store.state().made_before)

    def test_a_clock_that_was_set_back_puts_off_neither_the_loss_nor_the_transfers(self) -> None:
        self.tick()
        self.transfer("7000")
        self.tick(60)
        self.transfer("-7000")
        self.lose(5_001)
        self.tick()
        self.scene.clock.instant -= timedelta(hours=2)
        self.tick(count=4)
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_the_baseline_survives_a_restart(self) -> None:
        self.tick()
        self.lose(5_001)
        self.restart()
        self.tick(count=4)
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_midnight_lifts_the_daily_loss_alone(self) -> None:
        self.tick()
        self.lose(6_000)
        self.tick(count=4)
        self.scene.store.change_state(lambda state: replace(state, causes=state.causes | {Cause.DRIFT}))
        self.tick(12 * 3600)
        self.assertEqual((TradingState.REDUCING, {Cause.DRIFT}), (self.state, set(self.causes)))

    def test_a_resume_measures_from_there(self) -> None:
        self.tick()
        self.lose(6_000)
        self.tick(count=4)
        emergency.resume(self.scene.desk)
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)

    def test_what_is_paid_in_hides_no_loss(self) -> None:
        self.tick()
        self.transfer("50000")
        self.lose(7_500)
        self.tick(60, count=2)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.lose(1)
        self.tick(count=4)
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_what_is_paid_out_is_no_loss(self) -> None:
        self.tick()
        self.transfer("-50000")
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.lose(2_501)
        self.tick(count=4)
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_nor_what_was_paid_out_a_moment_after_transfers_were_asked_for(self) -> None:
        self.tick(count=3)
        self.transfer("-50000")
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)

    def test_what_was_paid_in_before_the_day_was_measured_is_in_its_baseline(self) -> None:
        self.transfer("50000")
        self.tick(count=4)
        state = self.scene.store.state()
        self.assertEqual((TradingState.ACTIVE, Decimal(0)), (state.state, state.transferred))

    def test_transfers_are_asked_for_once_a_minute_and_before_a_loss_is_believed(self) -> None:
        def asked() -> int:
            return self.venue.calls.count("transferred")

        self.tick(count=3)
        self.assertEqual(1, asked())
        self.tick(60)
        self.assertEqual(2, asked())
        self.lose(6_000)
        self.tick(count=10)
        self.assertEqual((3, {Cause.DAILY_LOSS}), (asked(), set(self.causes)))

    def test_while_transfers_cannot_be_read_those_known_count(self) -> None:
        self.tick()
        self.transfer("50000")
        self.tick(60)
        self.venue.reads_down = {"transferred"}
        self.restart()
        self.lose(7_501)
        self.tick(count=4)
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_a_day_and_a_resume_begin_without_the_transfers_of_before(self) -> None:
        self.tick()
        self.transfer("50000")
        self.tick(60)
        self.tick(12 * 3600)
        self.lose(7_499)
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.lose(1_000)
        self.tick(count=4)
        emergency.resume(self.scene.desk)
        self.tick(60)
        state = self.scene.store.state()
        self.assertEqual((Decimal(0), state.baseline_equity), (state.transferred, state.day_base))
        self.assertIs(TradingState.ACTIVE, self.state)

    def test_a_day_that_began_under_an_older_version_counts_from_midnight(self) -> None:
        self.venue.transfer("50000")
        self.tick()
        self.scene.store.change_state(lambda state: replace(state, baseline_at=None))
        self.restart()
        self.tick()
        self.assertEqual(Decimal(50_000), self.scene.store.state().transferred)

    def test_an_account_that_reads_empty_once_is_neither_a_loss_nor_a_baseline(self) -> None:
        self.tick()

        def empty(account: Account) -> Account:
            return replace(account, equity=Usd(Decimal(0)), holdings={})

        self.venue.bend_account = empty
        self.tick()
        self.venue.straighten()
        self.tick(count=4)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.venue.bend_account = empty
        self.tick(12 * 3600)
        self.assertEqual(Decimal(100_000), self.scene.store.state().baseline_equity)

    def test_a_day_whose_first_reading_was_without_most_of_the_money_limits_its_loss_all_the_same(self) -> None:
        """Spot's answer without its USDC leaves the unrealized profit, which is above zero as often as not."""
        for hours in (0, 12):
            with self.subTest(hours=hours):
                self.venue.bend_account = lambda account: replace(account, equity=Usd(Decimal(3)))
                self.tick(max(hours * 3600, 1))
                self.tick()
                self.venue.straighten()
                self.tick(count=2)
                self.assertEqual(self.venue.account().equity, self.scene.store.state().baseline_equity)
                self.lose(6_000)
                self.tick(count=4)
                self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_what_is_paid_in_as_the_day_begins_hides_no_loss(self) -> None:
        self.tick(count=2)
        self.transfer("150000")
        self.lose(12_501)
        self.tick(count=5)
        state = self.scene.store.state()
        self.assertEqual((100_000, 150_000), (state.baseline_equity, state.transferred))
        self.assertEqual({Cause.DAILY_LOSS}, set(self.causes))

    def test_a_day_that_was_begun_anew_by_a_resume_stays_as_that_has_begun_it(self) -> None:
        self.venue.bend_account = lambda account: replace(account, equity=Usd(Decimal(3)))
        self.tick()
        self.venue.straighten()
        self.scene.clock.advance(0.1)
        self.scene.store.change_state(
            lambda state: replace(state, baseline_equity=Usd(Decimal(40_000)), baseline_at=self.scene.clock.now())
        )
        self.tick(count=3)
        self.assertEqual(40_000, self.scene.store.state().baseline_equity)

    def test_a_day_is_begun_anew_by_its_second_reading_alone(self) -> None:
        self.tick(count=3)
        self.lose(-150_000)
        self.tick(count=3)
        self.assertEqual(100_000, self.scene.store.state().baseline_equity)

    def test_a_venue_that_cannot_be_read_measures_nothing(self) -> None:
        self.venue.reads_down = {"account"}
        self.tick()
        self.assertIsNone(self.scene.store.state().baseline_equity)


class BlindTest(MonitorTestCase):
    def test_a_minute_without_a_price_stops_opening_until_it_is_back(self) -> None:
        self.scene.opened()
        self.tick()
        self.venue.reads_down = {"quotes"}
        self.tick(count=61)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.tick()
        self.assertEqual((TradingState.REDUCING, {Cause.BLIND}), (self.state, set(self.causes)))
        self.restart()
        self.tick()
        self.assertEqual({Cause.BLIND}, set(self.causes))
        self.venue.reads_down = set()
        self.tick()
        self.assertEqual((TradingState.ACTIVE, set()), (self.state, set(self.causes)))

    def test_old_prices_are_none(self) -> None:
        self.scene.opened()
        self.venue.quotes_age = {"ETH": 6, "BTC": 6}
        self.tick(count=62)
        self.assertEqual({Cause.BLIND}, set(self.causes))

    def test_a_clock_that_was_set_back_puts_off_neither_blindness_nor_the_silence_of_the_venue(self) -> None:
        self.scene.opened()
        self.venue.reads_down = {"quotes", "account"}
        self.tick()
        self.scene.clock.instant -= timedelta(hours=1)
        self.tick(count=12)
        self.assertTrue(any("the venue does not answer" in one for one in self.scene.log.messages("error")))
        self.tick(count=50)
        self.assertEqual({Cause.BLIND}, set(self.causes))
        self.assertEqual(1, sum("no usable price" in one for one in self.scene.log.messages("warning")))

    def test_one_blind_position_among_seeing_ones_is_blindness(self) -> None:
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.quotes_missing = {"ETH"}
        self.tick(count=62)
        self.assertEqual({Cause.BLIND}, set(self.causes))

    def test_nothing_to_watch_is_nothing_to_be_blind_for(self) -> None:
        self.venue.reads_down = {"quotes"}
        self.tick(count=70)
        self.assertIs(TradingState.ACTIVE, self.state)
        self.venue.reads_down = set()
        position = self.scene.opened()
        self.venue.quotes_missing = {"ETH"}
        self.tick(count=62)
        self.assertEqual({Cause.BLIND}, set(self.causes))
        self.venue.quotes_missing = set()
        self.scene.close(position)
        self.tick()
        self.assertIs(TradingState.ACTIVE, self.state)


class OutcomeTest(MonitorTestCase):
    def closed(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "4040")
        self.position = self.scene.close(position)

    def test_guardian_hears_once_how_it_ended(self) -> None:
        self.closed()
        self.tick(count=5)
        (outcome,) = self.scene.approver.outcomes
        position = self.scene.position(self.position.id)
        net = position.realized - position.fees - position.funding
        self.assertEqual(net / position.entry_notional, outcome.pnl)
        assert position.short.entry_price is not None and position.long.entry_price is not None
        self.assertEqual(position.short.entry_price / position.long.entry_price, outcome.entry_ratio)
        self.assertGreater(outcome.entry_ratio, outcome.exit_ratio)
        self.restart()
        self.tick(count=2)
        self.assertEqual(1, len(self.scene.approver.outcomes))

    def test_it_is_tried_again_until_it_is_taken_also_after_a_restart(self) -> None:
        self.closed()
        self.scene.approver.failure = GuardianUnavailable("down")
        self.tick(count=20)
        self.assertEqual(1, self.said("an outcome could not be told"))
        self.tick(30)
        self.assertEqual(2, self.said("an outcome could not be told"))
        self.scene.approver.failure = None
        self.restart()
        self.tick()
        self.assertEqual(1, len(self.scene.approver.outcomes))

    def test_after_a_day_it_is_given_up(self) -> None:
        self.closed()
        self.scene.approver.failure = GuardianUnavailable("down")
        self.tick()
        self.scene.approver.failure = None
        self.tick(24 * 3600 + 1, count=2)
        self.assertEqual(([], 1), (self.scene.approver.outcomes, self.said("given up")))
        self.assertEqual({}, self.watchman.outbox.tried)

    def test_a_guardian_that_hangs_is_in_nobodys_way_and_asked_once(self) -> None:
        self.closed()
        asked: list[object] = []

        def hang(outcome: object) -> None:
            asked.append(outcome)
            self.scene.hands.hang()

        other = self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.move("AVAX", "24.4")
        with mock.patch.object(self.scene.approver, "report_outcome", hang):
            for _ in range(3):
                self.scene.clock.advance(40)
                monitor.tick(self.watchman)
                for name, thread in self.watchman.in_hand.items():
                    thread.join(0 if name == "outcomes" else WAIT_SECONDS)
            self.assertTrue(self.scene.position(other.id).closed)
            self.assertEqual(1, len(asked))
            self.scene.hands.release()

    def test_a_trade_that_filled_nothing_has_no_outcome(self) -> None:
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.venue.script(lost_before())
        self.scene.execute()
        self.tick(60, count=3)
        position = self.scene.store.book().positions()[0]
        self.assertIs(ExitReason.NOT_FILLED, position.exit_reason)
        self.assertEqual([], self.scene.approver.outcomes)
        watch = self.scene.store.book().watch(position.id)
        self.assertTrue(watch is not None and watch.outcome_told)

    def test_the_last_funding_is_in_it(self) -> None:
        self.scene.clock.instant = self.scene.clock.instant.replace(minute=59, second=50)
        position = self.scene.opened()
        hour = self.scene.clock.now().replace(hour=13, minute=0, second=0)
        self.venue.payments = (FundingPayment(ETH, Usd(Decimal("1.5")), Quantity(Decimal("0.25")), hour),)
        self.scene.clock.advance(15)
        self.scene.close(position)
        self.tick(count=10)
        self.assertEqual([], self.scene.approver.outcomes)
        self.tick(20)
        self.assertEqual(Decimal("1.5"), self.scene.position(position.id).funding)
        self.assertEqual(1, len(self.scene.approver.outcomes))


class FundingTest(MonitorTestCase):
    def test_it_is_collected_once_an_hour_by_the_tick(self) -> None:
        position = self.scene.opened()
        hour = self.scene.clock.now().replace(hour=13)
        self.venue.payments = (FundingPayment(ETH, Usd(Decimal(2)), Quantity(Decimal("0.25")), hour),)
        self.tick(3600 + 29)
        self.assertEqual(0, self.venue.asked_funding)
        self.tick(1, count=5)
        self.assertEqual((1, Decimal(2)), (self.venue.asked_funding, self.scene.position(position.id).funding))

    def test_what_cannot_be_had_is_asked_for_again_after_a_pause(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down = {"funding"}
        self.tick(3700)
        self.tick(count=20)
        self.assertEqual(1, self.venue.asked_funding)
        self.venue.reads_down = set()
        hour = self.scene.clock.now().replace(minute=0, second=0)
        self.venue.payments = (FundingPayment(ETH, Usd(Decimal(2)), Quantity(Decimal("0.25")), hour),)
        self.tick(30)
        self.assertEqual(Decimal(2), self.scene.position(position.id).funding)


class TrailTest(MonitorTestCase):
    def test_a_trail_goes_on_after_a_restart(self) -> None:
        position = self.scene.opened()
        plan = given_exit_plan(trailing=given_trailing("0.006", "0.004"))
        self.scene.store.save_watch(Watch(position.id, plan))
        self.venue.move("ETH", "4070")
        self.tick()
        self.restart()
        self.venue.move("ETH", "4035")
        self.tick()
        self.assertIs(ExitReason.TRAILING_STOP, self.scene.position(position.id).exit_reason)

    def test_a_time_limit_is_kept_by_the_monitor_alone(self) -> None:
        position = self.scene.opened(max_holding_seconds=60)
        self.tick(59)
        self.assertFalse(self.scene.position(position.id).closed)
        self.tick(1)
        self.assertIs(ExitReason.TIME_LIMIT, self.scene.position(position.id).exit_reason)
        self.assertEqual(timedelta(seconds=60), self.scene.clock.now() - position.entered_at)
        self.assertEqual(Ratio(Decimal("0.01")), position.exit_plan.stop_loss)


def void(_: object) -> None:
    """For a lambda whose value nobody wants."""
