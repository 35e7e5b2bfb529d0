"""The commands of the watch: monitor_positions, emergency_stop, verify_ledger and demo."""

import gc
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase, override_settings
from rich.console import Console

from tests.engine.bent_venue import a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import BINDING, lost_before
from tests.processes import environ_of, least, wait_until
from tests.servers.sibling import Reply, Sibling, says
from trading import bootstrap
from trading.domain.desk_state import TradingState
from trading.domain.errors import Busy, ResumeRefused, StoreCorrupt, StoreHeld
from trading.domain.orders import RejectReason
from trading.engine import emergency, monitor
from trading.engine.desk import Desk
from trading.engine.states import BEAT_AGE_MAX
from trading.management.commands import demo, emergency_stop, monitor_positions
from trading.utils.json_storage import JsonStore

ROOT = Path(settings.BASE_DIR)
STEP_SECONDS = 0.02


class Gone(io.StringIO):
    """A stdout whose reader has gone, as that of a pipe to `head`; one on a full disk fails in the same places."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class CommandTestCase(SimpleTestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.enterContext(bootstrap.use_desk(self.scene.desk))
        self.out = io.StringIO()

    def use(self, desk: Desk) -> None:
        self.enterContext(bootstrap.use_desk(desk))

    def run_command(self, name: str, *arguments: str) -> str:
        self.out = io.StringIO()
        call_command(name, *arguments, stdout=self.out)
        return self.out.getvalue()

    def refused(self, name: str, *arguments: str) -> str:
        with self.assertRaises(CommandError) as refusal:
            self.run_command(name, *arguments)
        return str(refusal.exception)


class MonitorTest(CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        # These run in the test's own process, which must not be ended by a machine that is slow.
        self.enterContext(mock.patch.object(monitor_positions, "LAST_MOMENT_SECONDS", 3600.0))

    def ticking(self, *ticks: Callable[[], None]) -> Any:
        """The monitor's ticks are these; after the last one somebody asks it to stop."""
        script = iter(ticks)

        def tick(watchman: monitor.Watchman, *, wait_seconds: float | None = None) -> None:
            step = next(script, None)
            if step is None:
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                step()

        return mock.patch.object(monitor, "tick", tick)

    def test_once_is_one_round(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        self.scene.clock.advance(1)
        self.run_command("monitor_positions", "--once")
        self.assertTrue(self.scene.position(position.id).closed)

    def test_what_is_loaded_is_out_of_the_collectors_way_before_it_watches(self) -> None:
        self.addCleanup(gc.unfreeze)
        gc.unfreeze()
        spared: list[int] = []
        with self.ticking(lambda: spared.append(gc.get_freeze_count())):
            self.run_command("monitor_positions")
        self.assertGreater(spared[0], 10_000)

    def test_once_refuses_beside_another_monitor(self) -> None:
        with self.scene.store.monitor_seat():
            self.assertIn("another monitor is at work", self.refused("monitor_positions", "--once"))

    def test_an_interval_that_cannot_be_meant_is_refused(self) -> None:
        for interval in ("0", "0.04", "60.1", "nan", "-1"):
            self.assertIn("--interval", self.refused("monitor_positions", "--once", f"--interval={interval}"))

    def test_no_pace_is_so_slow_that_the_monitor_counts_as_dead(self) -> None:
        """At ten seconds nothing was ever opened, for want of the monitor that was watching."""
        self.assertLessEqual(monitor.INTERVAL_SECONDS_MAX + 1, BEAT_AGE_MAX.total_seconds())
        with mock.patch.object(monitor, "INTERVAL_SECONDS_MAX", 0.06), self.ticking(lambda: None, lambda: None):
            words = self.run_command("monitor_positions", "--interval=60")
        self.assertIn("monitoring every 0.06 s, not every 60", words)

    def test_it_ticks_until_it_is_asked_to_stop_and_leaves_signals_as_they_were(self) -> None:
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        ticks: list[int] = []
        with self.ticking(lambda: ticks.append(1), lambda: ticks.append(2)):
            words = self.run_command("monitor_positions", f"--interval={STEP_SECONDS + 0.04}")
        self.assertEqual([1, 2], ticks)
        self.assertIn("monitoring every 0.06 s", words)
        self.assertIn("stopped", words)
        self.assertEqual(before, [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])

    def test_ctrl_c_ends_it_too_and_twice_is_once(self) -> None:
        def interrupt() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        with self.ticking(interrupt):
            self.assertIn("stopped", self.run_command("monitor_positions", "--interval=0.05"))

    def test_a_store_that_cannot_be_trusted_is_said_and_backed_off_from(self) -> None:
        def fail() -> None:
            raise StoreCorrupt("line 7 is damaged")

        self.assertEqual([1, 2, 4, 5, 5, 0.5], self.pauses_after(fail))
        self.assertEqual(5, sum("line 7 is damaged" in one for one in self.errors))

    def test_a_round_that_fails_as_a_whole_is_said_shown_and_backed_off_from(self) -> None:
        def fail() -> None:
            raise RuntimeError("can't start new thread")

        self.assertEqual([1, 2, 4, 5, 5, 0.5], self.pauses_after(fail))
        words = "monitor: the round failed: a bug: RuntimeError: can't start new thread"
        self.assertEqual([words], self.scene.log.messages("error"))

    def pauses_after(self, fail: Callable[[], None]) -> list[float]:
        """The pauses after five rounds that fail, and after one that does not."""
        began: list[float] = []

        def timed(step: Callable[[], None]) -> Callable[[], None]:
            def tick() -> None:
                began.append(self.scene.clock.monotonic())
                step()

            return tick

        ticking = self.ticking(*[timed(fail)] * 5, timed(lambda: None), timed(lambda: None))
        with self.assertLogs("trading.monitor", "ERROR") as said, ticking:
            self.run_command("monitor_positions", "--interval=0.5")
        self.errors = said.output
        return [round(later - one, 1) for one, later in pairwise(began)]

    def test_a_store_that_cannot_be_opened_is_an_error_of_the_command(self) -> None:
        self.use(with_store(self.scene, monitor_seat=corrupt))
        self.assertEqual("STORE_CORRUPT: the disk is full", self.refused("monitor_positions", "--once"))

    def test_it_watches_also_where_nobody_hears_what_it_says(self) -> None:
        """It ended at its first word; a log on a full disk kept it from ever watching again."""
        for deaf in (Gone(), None):
            with self.subTest(deaf), self.ticking(lambda: None), mock.patch.object(sys, "stdout", deaf):
                call_command("monitor_positions", "--interval=0.05")

    def test_one_that_stands_by_can_be_stopped(self) -> None:
        tries: list[int] = []

        def taken() -> NoReturn:
            tries.append(1)
            if len(tries) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            raise Busy("the monitor's seat is held by somebody else")

        self.use(with_store(self.scene, monitor_seat=taken))
        with mock.patch.object(monitor_positions, "STANDBY_SECONDS", STEP_SECONDS):
            words = self.run_command("monitor_positions")
        self.assertEqual(("another monitor is at work; standing by\n", 2), (words, len(tries)))

    def test_a_second_one_stands_by_and_takes_over(self) -> None:
        tries: list[int] = []
        seat = self.scene.store.monitor_seat

        @contextmanager
        def taken_twice() -> Any:
            tries.append(1)
            if len(tries) < 3:
                raise Busy("the monitor's seat is held by somebody else")
            with seat():
                yield

        self.use(with_store(self.scene, monitor_seat=taken_twice))
        with (
            mock.patch.object(monitor_positions, "STANDBY_SECONDS", STEP_SECONDS),
            self.ticking(lambda: None),
        ):
            words = self.run_command("monitor_positions", "--interval=0.05")
        self.assertEqual((3, 1), (len(tries), words.count("standing by")))
        self.assertIn("stopped", words)


@unittest.skipIf(sys.platform == "win32", "no SIGTERM on Windows")
class ProcessTest(unittest.TestCase):
    """Real processes: what counts is that they end, when, and how."""

    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="executor_commands_"))
        self.environ = {
            **environ_of(),
            "DATA_DIR": f"{folder}/data",
            "DEMO_MODE": "true",
            "REDIS_URL": "redis://127.0.0.1:1/3",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "executor_agent.settings",
        }
        self.words: list[str] = []

    def started(self, *command: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            (sys.executable, *command),
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        pipe = process.stdout
        reader = threading.Thread(target=lambda: self.words.extend(pipe), daemon=True)
        reader.start()
        self.addCleanup(reader.join, 5)
        return process

    def stop(self, process: "subprocess.Popen[str]", number: signal.Signals) -> float:
        """Seconds until *process* had ended."""
        began = time.monotonic()
        process.send_signal(number)
        self.assertEqual(0, process.wait(30), self.words)
        return time.monotonic() - began

    def said(self, word: str) -> Callable[[], bool]:
        return lambda: any(word in one for one in self.words)

    def test_sigterm_and_ctrl_c_end_it_within_five_seconds(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                self.assertLess(least(partial(self.seconds_to_stop, number), 5), 5)

    def seconds_to_stop(self, number: signal.Signals) -> float:
        self.words.clear()
        process = self.started("manage.py", "monitor_positions", "--interval", "0.2")
        wait_until(self.said("monitoring every"), "watching")
        seconds = self.stop(process, number)
        wait_until(self.said("stopped"), "a last word")
        return seconds

    def test_a_venue_that_hangs_does_not_keep_it(self) -> None:
        script = """
import threading
import django
django.setup()
from django.core.management import call_command
from trading import bootstrap
from trading.adapters.paper import PaperVenue
def hang(venue):
    print("hanging", flush=True)
    threading.Event().wait(60)
PaperVenue.account = hang
call_command("monitor_positions", "--interval", "0.2")
"""

        def measured() -> float:
            self.words.clear()
            process = self.started("-c", script)
            wait_until(self.said("hanging"), "a call that hangs")
            return self.stop(process, signal.SIGTERM)

        self.assertLess(least(measured, 5), 5)


class EmergencyStopTest(CommandTestCase):
    def test_it_closes_everything_and_goes_on_until_the_desk_is_halted(self) -> None:
        position = self.scene.opened()
        self.venue.hold("SOL", "3")
        words = self.run_command("emergency_stop")
        self.assertIn(f"closed {position.id}", words)
        self.assertIn("not the desk's, left alone: 3 SOL", words)
        self.assertIn("the desk is HALTED and opens nothing", words)

    def test_what_takes_longer_is_pressed_again(self) -> None:
        position = self.scene.opened()
        self.venue.script(*(lost_before() for _ in range(2)))
        words = self.run_command("emergency_stop", "--timeout=120")
        self.assertEqual(1, words.count(f"closed {position.id}"))
        self.assertIn(
            f"on {self.scene.desk.venue.name} in {self.scene.desk.config.data_dir}\n", words.splitlines(True)[0]
        )
        self.assertTrue(self.venue.flat)

    def test_it_goes_on_until_the_desk_is_halted_also_where_nobody_hears_what_it_says(self) -> None:
        """It ended at its first word, as when its output went to `head`, and nobody was left to look on."""
        for deaf in (Gone(), None):
            with self.subTest(deaf):
                self.scene.opened()
                with mock.patch.object(sys, "stdout", deaf):
                    call_command("emergency_stop")
                self.assertIs(TradingState.HALTED, self.scene.store.state().state)
                self.run_command("emergency_stop", "--resume")

    def test_a_time_that_is_no_number_is_refused_before_anything_is_pressed(self) -> None:
        """With nan it gave up after its first press, and said so with the wrong reason."""
        position = self.scene.opened()
        self.assertIn("nan is no number", self.refused("emergency_stop", "--timeout=nan"))
        self.assertIs(TradingState.ACTIVE, self.scene.store.state().state)
        self.assertIn(f"closed {position.id}", self.run_command("emergency_stop", "--timeout=inf"))

    def test_who_interrupts_it_is_told_that_the_stop_stands(self) -> None:
        self.scene.opened()
        with mock.patch.object(emergency, "push", side_effect=KeyboardInterrupt):
            words = self.refused("emergency_stop")
        self.assertIn("what was begun stands", words)
        self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)

    def test_what_stays_open_is_an_error_with_its_why(self) -> None:
        position = self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
        words = self.refused("emergency_stop", "--timeout=20")
        self.assertIn(f"{position.id} BTC/ETH closing: NO_MATCH", words)

    def test_what_is_not_read_as_flat_is_an_error_that_says_so(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "1")
        words = self.refused("emergency_stop", "--timeout=30")
        self.assertIn("not read as flat yet", words)
        self.assertIn("ETH", words)

    def test_the_whole_account_when_it_is_asked_for(self) -> None:
        self.venue.hold("SOL", "3")
        self.assertIn("closed pos_", self.run_command("emergency_stop", "--account"))
        self.assertTrue(self.venue.flat)

    def test_resume_takes_it_back(self) -> None:
        self.run_command("emergency_stop")
        self.assertIn("the desk is ACTIVE", self.run_command("emergency_stop", "--resume"))

    def test_a_resume_that_is_refused_names_every_cause(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "1")
        self.venue.hold("BTC", "1")
        self.scene.enter_state(TradingState.REDUCING)
        words = self.refused("emergency_stop", "--resume").splitlines()
        self.assertEqual(("not resumed:", 2), (words[0], len(words) - 1))
        self.assertIn("ACTIVE", self.run_command("emergency_stop", "--resume", "--accept-drift", "ETH", "BTC"))

    def test_while_the_stop_is_closing_there_is_no_resume(self) -> None:
        self.scene.enter_state(TradingState.LIQUIDATING)
        self.assertIn("STOP_IN_PROGRESS", self.refused("emergency_stop", "--resume"))

    def test_accept_drift_belongs_to_resume(self) -> None:
        self.assertIn("--resume", self.refused("emergency_stop", "--accept-drift", "ETH"))
        self.assertIs(TradingState.ACTIVE, self.scene.store.state().state)

    def test_a_resume_is_no_stop_of_the_whole_account(self) -> None:
        self.scene.enter_state(TradingState.HALTED)
        self.assertIn("--account", self.refused("emergency_stop", "--resume", "--account"))
        self.assertIs(TradingState.HALTED, self.scene.store.state().state)

    def test_a_store_that_refuses_is_an_error(self) -> None:
        self.use(with_store(self.scene, change_state=corrupt))
        self.assertEqual("STORE_CORRUPT: the disk is full", self.refused("emergency_stop", "--resume"))

    def test_a_store_that_refuses_does_not_keep_the_stop_from_closing(self) -> None:
        self.scene.opened()
        self.use(with_store(self.scene, change_state=corrupt))
        with redirect_stderr(io.StringIO()):
            self.assertIn("closed", self.run_command("emergency_stop"))
        self.assertTrue(self.scene.venue.flat)

    def test_beside_somebody_who_holds_the_ledger_and_hangs_it_closes_too(self) -> None:
        """It ended with BUSY before it had begun, as whoever else wanted the ledger."""
        self.scene.opened()
        held = StoreHeld("the ledger is held by somebody else")

        def beside(config: object, held: StoreHeld) -> Desk:
            store = JsonStore.open_held(self.scene.store.data_dir, BINDING, held)
            return replace(self.scene.desk, store=store)

        with (
            mock.patch.object(emergency_stop, "get_desk", side_effect=held),
            mock.patch.object(emergency_stop, "build_desk", beside),
            redirect_stderr(io.StringIO()),
        ):
            self.assertIn("BUSY", self.refused("emergency_stop", "--resume"))
            self.assertIn("not read as flat yet", self.refused("emergency_stop"))
        self.assertIn("closed pos_", self.out.getvalue())
        self.assertTrue(self.venue.flat)
        self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)

    def test_without_a_store_it_goes_on_as_long_as_with_one(self) -> None:
        """It gave up after the eight seconds of one answer, whatever the time asked for."""
        self.scene.opened()
        self.use(with_store(self.scene, change_state=corrupt))
        for trouble in ("refused", "silent"):
            with self.subTest(trouble):
                began = self.scene.clock.now()
                self.venue.refusing = {"ETH": RejectReason.NO_MATCH} if trouble == "refused" else {}
                self.venue.reads_down = set() if trouble == "refused" else {"account"}
                with redirect_stderr(io.StringIO()):
                    self.refused("emergency_stop", "--timeout=40")
                self.assertGreater(self.scene.clock.now() - began, timedelta(seconds=35))
        self.venue.reads_down = set()
        with redirect_stderr(io.StringIO()):
            self.assertIn("closed", self.run_command("emergency_stop"))
        self.assertTrue(self.venue.flat)

    def test_a_stop_that_could_not_be_written_down_is_to_be_pressed_again(self) -> None:
        """It said that the desk opens nothing, and once the folder could be written that was not so."""
        folder, away = self.scene.store.data_dir, self.scene.store.data_dir.with_name("away")
        for is_away in (True, False):
            with self.subTest(is_away=is_away):
                self.scene.opened(f"signal_{is_away}", pair="BTC/ETH" if is_away else "SOL/AVAX")
                if is_away:
                    folder.rename(away)
                else:
                    self.use(with_store(self.scene, change_state=corrupt))
                with redirect_stderr(io.StringIO()):
                    words = self.run_command("emergency_stop")
                self.assertIn("run this again once", words)
                self.assertNotIn("opens nothing", words)
                self.assertTrue(self.venue.flat)
                if is_away:
                    away.rename(folder)
                    self.assertIs(TradingState.ACTIVE, self.scene.store.state().state)

    def test_what_is_damaged_under_it_does_not_end_it(self) -> None:
        """Between two presses it ended with STORE_CORRUPT, and a leg that was refused so far stood."""
        self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}

        def damage() -> None:
            if self.scene.clock.slept[-1] == emergency_stop.PAUSE_SECONDS:
                (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
                self.venue.refusing = {}

        self.scene.clock.on_sleep = damage
        with redirect_stderr(io.StringIO()):
            self.assertIn("all positions are closed", self.run_command("emergency_stop"))
        self.assertTrue(self.venue.flat)

    def test_nor_does_a_lock_that_is_held_for_a_while(self) -> None:
        self.scene.opened()
        for name in ("stop", "push"):
            begin, left = getattr(emergency, name), [2]

            def held(*words: Any, begin: Any = begin, left: list[int] = left, **more: Any) -> Any:
                if left[0]:
                    left[0] -= 1
                    raise Busy("the book is held by another thread")
                return begin(*words, **more)

            self.enterContext(mock.patch.object(emergency, name, held))
        self.assertIn("the desk is HALTED", self.run_command("emergency_stop"))

    def test_a_refusal_without_a_list_of_causes_is_said_in_its_words(self) -> None:
        refusal = ResumeRefused("not now", causes="none")
        with mock.patch.object(emergency, "resume", side_effect=refusal):
            self.assertIn("not now", self.refused("emergency_stop", "--resume"))


class VerifyLedgerTest(CommandTestCase):
    def configured(self) -> Any:
        config = settings.DESK_CONFIG.model_copy(update={"data_dir": self.scene.store.data_dir})
        return override_settings(DESK_CONFIG=config)

    def test_a_good_ledger_is_counted(self) -> None:
        self.scene.close(self.scene.opened())
        with self.configured():
            words = self.run_command("verify_ledger")
        self.assertRegex(words, r"trades +2\n")
        self.assertRegex(words, r"positions +1\n")
        self.assertIn("the ledger is well", words)

    def test_damage_is_named_with_its_place(self) -> None:
        self.scene.opened()
        ledger = self.scene.store.data_dir / "trades.json"
        ledger.write_bytes(ledger.read_bytes().replace(b'"OPEN"', b'"CLOS"', 1))
        with self.configured():
            self.assertIn("trades.json:", self.refused("verify_ledger"))

    def test_a_torn_end_is_a_note(self) -> None:
        self.scene.opened()
        ledger = self.scene.store.data_dir / "trades.json"
        ledger.write_bytes(ledger.read_bytes().rstrip()[:-30])
        with self.configured():
            words = self.run_command("verify_ledger")
        self.assertIn("note: ", words)
        self.assertIn("the ledger is well", words)

    def test_a_folder_that_was_never_used_is_well(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="executor_commands_"))
        config = settings.DESK_CONFIG.model_copy(update={"data_dir": Path(folder) / "none"})
        with override_settings(DESK_CONFIG=config):
            self.assertIn("has not been used yet", self.run_command("verify_ledger"))

    def test_a_folder_that_is_locked_is_an_error(self) -> None:
        with mock.patch("trading.management.commands.verify_ledger.verify", side_effect=StoreCorrupt("locked")):
            self.assertEqual("STORE_CORRUPT: locked", self.refused("verify_ledger"))


def a_position(status: str = "open", **changes: Any) -> dict[str, Any]:
    leg = {
        "coin": "ETH",
        "quantity": 0.25,
        "entry_price": 4000.4,
        "mark_price": None,
        "unrealized_pnl": 1.5,
        "fees": 0.45,
    }
    return {
        "position_id": "pos_1",
        "pair": "BTC/ETH",
        "status": status,
        "size": 1000.0,
        "long": leg,
        "short": {**leg, "coin": "BTC"},
        "pnl": None,
        "pnl_percent": 0.1,
        "take_profit": 0.006,
        "stop_loss": 0.006,
        "fees": 0.9,
        "funding": 0.0,
        "exit_reason": None,
        "naked": {"max_usd": 1.0, "usd_seconds": 0.1},
        "execution": {
            "slices_done": 1,
            "slices_total": 1,
            "slices_skipped": 0,
            "next_slice_at": None,
            "benchmark_bps": None,
        },
        **changes,
    }


class DemoTest(SimpleTestCase):
    health = says({"demo_mode": True, "monitor": {"alive": True}})
    offered = says(
        [
            {"id": "weak", "pair": "SOL/AVAX", "zscore": 1.9, "would_take": True, "why_not": []},
            {"id": "strong", "pair": "BTC/ETH", "zscore": -2.5, "would_take": True, "why_not": []},
            {"id": "no", "pair": "BTC/ETH", "zscore": 4.0, "would_take": False, "why_not": [{"detail": "too late"}]},
        ]
    )

    def shown(self, *replies: Reply, arguments: tuple[str, ...] = ()) -> tuple[str, Sibling]:
        out = io.StringIO()
        with (
            Sibling(*replies) as server,
            mock.patch.object(demo, "POLL_SECONDS", STEP_SECONDS),
            mock.patch.object(demo, "Console", lambda: demo_console(out)),
        ):
            call_command("demo", "--url", server.url, *arguments)
        return out.getvalue(), server

    def refused(self, *replies: Reply, arguments: tuple[str, ...] = ()) -> str:
        with self.assertRaises(CommandError) as refusal:
            self.shown(*replies, arguments=arguments)
        return str(refusal.exception)

    def test_it_shows_a_trade_from_signal_to_exit(self) -> None:
        closed = says(a_position("closed", exit_reason="TAKE_PROFIT", pnl=6.2))
        words, server = self.shown(self.health, self.offered, says(a_position(), 201), says(a_position()), closed)
        self.assertIn("signal strong: BTC/ETH, z-score -2.50", words)
        self.assertIn("\nclosed by TAKE_PROFIT: net +6.20 $", words)
        self.assertEqual("strong", server.received[2].json["signal_id"])
        self.assertNotIn("twap", server.received[2].json)

    def test_a_minute_without_a_strong_signal_is_waited_out(self) -> None:
        weak = [{"code": "SIGNAL_LOW_CONFIDENCE", "detail": "too weak"}]
        list_of_weak = says([{"id": "w", "pair": "BTC/ETH", "zscore": 0.4, "would_take": False, "why_not": weak}])
        closed = says(a_position("closed", exit_reason="STOP_LOSS"), 201)
        with mock.patch.object(demo, "LIST_PAUSE_SECONDS", STEP_SECONDS):
            words, _ = self.shown(self.health, list_of_weak, self.offered, closed)
        self.assertIn("waiting for the next list", words)
        self.assertIn("closed by STOP_LOSS", words)
        with mock.patch.object(demo, "LIST_SECONDS_MAX", -1.0):
            self.assertIn("too weak", self.refused(self.health, list_of_weak))

    def test_slices_are_shown_as_they_go_and_what_they_made_of_their_schedule(self) -> None:
        going = {"slices_done": 2, "slices_total": 5, "slices_skipped": 1, "benchmark_bps": -1.25}
        position = a_position("opening", execution={**going, "next_slice_at": "2026-11-22T12:00:08+00:00"})
        closed = says(a_position("closed", exit_reason="STOP_LOSS", execution={**going, "next_slice_at": None}))
        words, _ = self.shown(self.health, self.offered, says(position, 202), closed, arguments=("--twap",))
        self.assertIn("entered in 2/5 slice(s), 1 skipped, -1.25 bps against its schedule", words)
        self.assertIn("2/5 slice(s), 1 skipped, next at 12:00:08 UTC", demo._progress(position["execution"]))

    def test_a_pair_and_slices_can_be_asked_for(self) -> None:
        closed = says(a_position("closed", exit_reason="STOP_LOSS"), 201)
        _, server = self.shown(self.health, self.offered, closed, arguments=("--pair=SOL/AVAX", "--twap", "--size=900"))
        asked = server.received[2].json
        self.assertEqual(("weak", 900), (asked["signal_id"], asked["position_size"]))
        self.assertEqual({"duration_seconds": 20, "slices": 5}, asked["twap"])

    def test_it_says_when_nobody_watches(self) -> None:
        health = says({"demo_mode": True, "monitor": {"alive": False}})
        words, _ = self.shown(health, self.offered, says(a_position("closed"), 201))
        self.assertIn("no monitor is running", words)

    def test_a_service_that_trades_for_real_is_left_alone(self) -> None:
        self.assertIn("not in demo mode", self.refused(says({"demo_mode": False, "monitor": {"alive": True}})))

    def test_without_a_signal_to_take_it_says_why_not(self) -> None:
        late = {"id": "no", "pair": "BTC/ETH", "zscore": 4, "would_take": False, "why_not": [{"detail": "too late"}]}
        none = says([late])
        self.assertIn("too late", self.refused(self.health, none))
        self.assertIn("nothing is on offer", self.refused(self.health, says([])))

    def test_a_refusal_is_told_in_the_words_of_the_api(self) -> None:
        no = says({"code": "RISK_DENIED", "detail": "PAIR_ALREADY_OPEN"}, 422)
        self.assertEqual("422 RISK_DENIED: PAIR_ALREADY_OPEN", self.refused(self.health, self.offered, no))

    def test_a_number_that_json_cannot_say_is_not_taken_for_a_service_that_is_not_there(self) -> None:
        for argument in ("--size=nan", "--take-profit=inf", "--stop-loss=1e400", "--size=much"):
            with self.subTest(argument), self.assertRaisesMessage(CommandError, "is no finite number"):
                self.shown(self.health, self.offered, arguments=(argument,))

    def test_no_service_is_told_with_the_remedy(self) -> None:
        with self.assertRaises(CommandError) as refusal:
            call_command("demo", "--url", "http://127.0.0.1:1")
        self.assertIn("make run", str(refusal.exception))

    def test_it_does_not_watch_for_ever(self) -> None:
        with mock.patch("trading.management.commands.demo.time.monotonic", side_effect=range(0, 10_000, 100)):
            words = self.refused(self.health, self.offered, says(a_position(), 201))
        self.assertIn("still open after 180 s", words)

    def test_ctrl_c_leaves_the_position_to_the_monitor(self) -> None:
        with mock.patch("trading.management.commands.demo.time.sleep", side_effect=KeyboardInterrupt):
            words, _ = self.shown(self.health, self.offered, says(a_position(), 201))
        self.assertIn("goes on under the monitor", words)


def demo_console(out: io.StringIO) -> Console:
    """A console that writes plain text of a fixed width."""
    return Console(file=out, width=200)
