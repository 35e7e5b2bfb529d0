"""How the service says that it is: what makes it degraded or unhealthy, and what is only told."""

import errno
import os
import unittest
from dataclasses import replace
from datetime import timedelta
from unittest import mock

from tests.engine.bent_venue import a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import a_scene
from trading.conf import Config
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import Busy, StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.engine import closing, health
from trading.engine.health import Health
from trading.utils import json_storage


class HealthTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def looked(self) -> Health:
        return health.health(self.scene.desk, "1.0")

    def test_healthy(self) -> None:
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now() - timedelta(seconds=2))
            found = self.looked()
        self.assertEqual(("healthy", "connected", True), (found.status, found.redis, found.demo_mode))
        self.assertEqual(self.venue.network, found.network)
        self.assertEqual(("executor_agent", "scripted", "1.0"), (found.service, found.venue, found.version))
        self.assertEqual((True, 2.0), (found.monitor.alive, found.monitor.last_beat_seconds))
        self.assertEqual((TradingState.ACTIVE, ()), (found.trading_state, found.problems))

    def test_a_monitor_that_has_just_begun_is_told_where_openings_wait_for_it(self) -> None:
        for required, told in ((True, (health.UNCOMPARED,)), (False, ())):
            scene = a_scene(self, require_monitor=required)
            with scene.store.monitor_seat(), self.subTest(required=required):
                scene.store.beat(scene.clock.now(), compared=False)
                found = health.health(scene.desk, "1.0")
                self.assertEqual(("healthy", told), (found.status, found.problems))
                scene.store.beat(scene.clock.now())
                self.assertEqual((), health.health(scene.desk, "1.0").problems)

    def test_without_a_monitor_and_nothing_open_it_is_healthy(self) -> None:
        found = self.looked()
        beat = found.monitor
        self.assertEqual(("healthy", False, None), (found.status, beat.alive, beat.last_beat_seconds))

    def test_degraded(self) -> None:
        self.scene.opened()
        self.assertEqual("degraded", self.looked().status)
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now())
            self.assertEqual("healthy", self.looked().status)
            self.scene.cache.connected = False
            found = self.looked()
        self.assertEqual(("degraded", "disconnected"), (found.status, found.redis))

    def test_what_the_monitor_cannot_do_is_named(self) -> None:
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now(), ["sweep failed: the disk\nis full"])
            found = self.looked()
            self.assertEqual(
                ("degraded", ("the monitor: sweep failed: the disk is full",)), (found.status, found.problems)
            )
            self.scene.clock.advance(6)
            self.assertEqual((), self.looked().problems)

    def test_a_close_that_cannot_be_had_is_named(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down.update({"quotes", "account"})
        closing.close(self.scene.desk, position.id, ExitReason.STOP_LOSS, until=self.scene.clock.monotonic())
        for seconds, told in (
            (59, ("healthy", ())),
            (2, ("degraded", ("the close of BTC/ETH is overdue and goes on",))),
        ):
            self.scene.clock.advance(seconds)
            with self.scene.store.monitor_seat():
                self.scene.store.beat(self.scene.clock.now())
                found = self.looked()
            self.assertEqual(told, (found.status, found.problems))

    def test_a_full_disk_is_degraded_whatever_else_stops_the_desk(self) -> None:
        found = health.health(with_store(self.scene, disk_full=True), "1.0")
        self.assertEqual(("degraded", (health.DISK_FULL,)), (found.status, found.problems))
        self.assertEqual(TradingState.ACTIVE, found.trading_state)

    def test_a_position_without_a_price_is_degraded_whatever_else_stops_the_desk(self) -> None:
        self.scene.opened()
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now())
            for stopped in (TradingState.REDUCING, TradingState.LIQUIDATING):
                self.blind(stopped)
                found = self.looked()
                self.assertEqual("degraded", found.status)
                self.assertEqual((health.UNPRICED, f"the desk is {stopped}: something else"), found.problems)

    def test_what_nobody_holds_needs_no_price(self) -> None:
        self.blind(TradingState.REDUCING)
        self.assertEqual("healthy", self.looked().status)

    def blind(self, state: TradingState) -> None:
        causes = frozenset({Cause.BLIND, Cause.DRIFT})
        self.scene.store.change_state(lambda before: replace(before, state=state, causes=causes, why="something else"))

    def test_a_stopped_desk_says_so_and_is_not_ill(self) -> None:
        self.scene.store.change_state(
            lambda state: replace(state, state=TradingState.REDUCING, causes=frozenset({Cause.DRIFT}), why="drift")
        )
        found = self.looked()
        self.assertEqual(("healthy", ("the desk is REDUCING: drift",)), (found.status, found.problems))

    def test_a_store_that_cannot_be_trusted_is_unhealthy_and_halted(self) -> None:
        for member in ("state", "book", "last_beat"):
            with self.subTest(member):
                desk = with_store(self.scene, **{member: corrupt})
                found = health.health(desk, "1.0")
                self.assertEqual(("unhealthy", TradingState.HALTED), (found.status, found.trading_state))
                self.assertIn("the disk is full", found.problems)

    def test_a_store_of_which_the_system_says_nothing_is_unhealthy_and_no_error(self) -> None:
        gone = mock.Mock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO)))
        found = health.health(with_store(self.scene, last_beat=gone), "1.0")
        self.assertEqual(("unhealthy", TradingState.HALTED), (found.status, found.trading_state))
        self.assertIn("Input/output error", found.problems[0])

    def test_a_store_that_cannot_be_written_is_unhealthy(self) -> None:
        found = health.health(with_store(self.scene, writable=False), "1.0")
        self.assertEqual(("unhealthy", TradingState.HALTED), (found.status, found.trading_state))
        self.assertIn("cannot be written", found.problems[0])

    def test_a_store_that_is_busy_is_degraded(self) -> None:
        def busy() -> None:
            raise Busy("the look at the monitor is held by somebody else")

        found = health.health(with_store(self.scene, last_beat=busy), "1.0")
        self.assertEqual(("degraded", TradingState.ACTIVE), (found.status, found.trading_state))

    def test_a_lock_that_somebody_holds_who_hangs_is_told_and_degraded(self) -> None:
        for seconds in ("APPEND_SECONDS", "BOOK_SECONDS"):
            self.enterContext(mock.patch.object(json_storage, seconds, 0.01))
        for name in ("_ledger_lock", "_book_lock", "_desk_lock"):
            self.setUp()
            beside = self.scene.beside().store
            self.addCleanup(beside.close)
            with self.subTest(name), getattr(beside, name).held():
                found = self.looked()
                self.assertEqual("degraded", found.status)
                self.assertIn("a process of the service was stopped, or hangs", found.problems[0])
            self.assertEqual(("healthy", ()), (self.looked().status, self.looked().problems))

    def test_a_trade_that_does_not_replay_is_named_and_degraded(self) -> None:
        found = health.health(with_store(self.scene, broken={"trd_x": "line 7"}), "1.0")
        self.assertEqual(("degraded", ("trade trd_x does not replay: line 7",)), (found.status, found.problems))

    def test_what_is_wrong_is_told_in_the_order_of_what_it_is_about(self) -> None:
        """The store, the monitor, the cache, then what follows of them."""
        self.scene.opened()
        self.scene.cache.connected = False
        self.scene.store.change_state(
            lambda state: replace(state, state=TradingState.REDUCING, causes=frozenset({Cause.BLIND}), why="blind")
        )
        found = health.health(with_store(self.scene, disk_full=True, broken={"trd_x": "line 7"}), "1.0")
        words = (
            health.DISK_FULL,
            "trade trd_x does not replay: line 7",
            health.CACHELESS,
            health.UNWATCHED,
            health.UNPRICED,
            "the desk is REDUCING: blind",
        )
        self.assertEqual(("degraded", words), (found.status, found.problems))

    def test_without_a_desk_it_is_unhealthy_and_says_why(self) -> None:
        for config, venue in ((Config.of(), "paper"), (Config.of(demo_mode=False, venue="pear"), "pear")):
            with self.subTest(venue):
                found = health.without_desk(config, "1.0", StoreCorrupt("trades.json is damaged"))
                self.assertEqual(("unhealthy", ("trades.json is damaged",)), (found.status, found.problems))
                self.assertEqual((venue, config.demo_mode, None), (found.venue, found.demo_mode, found.network))
                self.assertEqual((TradingState.HALTED, False), (found.trading_state, found.monitor.alive))
