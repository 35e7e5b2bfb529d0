"""Alerts end to end: what happens at the desk is heard by a real HTTP receiver, whoever carries it and whoever dies."""

import io
import unittest
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any
from unittest import mock

from django.core.management import call_command

from executor_agent import wsgi
from tests.engine.bent_venue import a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import unknown_for
from tests.processes import wait_until
from tests.servers.hyperliquid import open_server
from tests.servers.sibling import Reply, Sibling
from tests.unit.test_logger import ListTail
from trading import bootstrap
from trading.adapters import notifier
from trading.adapters.hyperliquid_stream import PriceStream, stream_url
from trading.adapters.outbox_file import OutboxFile
from trading.adapters.watched import WatchedApprover, WatchedSignals
from trading.conf import Config, ConfigurationError
from trading.domain.errors import GuardianUnavailable, ScoutUnavailable, StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Holding
from trading.domain.positions import Position
from trading.domain.units import Coin, Price
from trading.engine import courier, emergency, monitor, working
from trading.engine.courier import Courier, carry_once
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest
from trading.utils.logger import ActivityLog

ETH, BTC = Coin("ETH"), Coin("BTC")


class CourierCase(unittest.TestCase):
    """A desk with its log in a file, its monitor, and a receiver that is a real HTTP server."""

    def setUp(self) -> None:
        self.receiver = self.enterContext(Sibling())
        self.scene, self.venue = a_bent_scene(self, alert_urls=self.receiver.url.replace("http", "json", 1))
        self.folder = self.scene.store.data_dir
        log = ActivityLog(self.folder / "agent_logs.json", ListTail(), self.scene.clock)
        self.addCleanup(log.close)
        self.desk = replace(
            self.scene.desk,
            log=log,
            approvals=WatchedApprover(self.scene.approver, log),
            signals=WatchedSignals(self.scene.signals, log),
        )
        self.scene = replace(self.scene, desk=self.desk)
        self.watchman = Watchman(self.desk)
        self.courier = self.a_courier()

    def a_courier(self) -> Courier:
        made = bootstrap.build_courier(self.desk)
        assert made is not None
        return made

    def tick(self, seconds: float = 1.0, count: int = 1) -> None:
        for _ in range(count):
            self.scene.clock.advance(seconds)
            monitor.tick(self.watchman, wait_seconds=5.0)

    def written(self, event: str) -> int:
        """How many lines of the log are of *event*."""
        found = [one.get("data") for one in self.desk.log.tail(1000)]
        return sum(isinstance(data, dict) and data.get("event") == event for data in found)

    def heard(self) -> str:
        """Everything that the receiver has been told, after one more round."""
        carry_once(self.courier)
        return "\n".join(f"{one.json['title']}\n{one.json['message']}" for one in self.receiver.received)


class EveryAlertTest(CourierCase):
    """One real trouble a row; the receiver must hear its title."""

    def test_a_trade_that_suspends_itself_because_its_doubt_does_not_end(self) -> None:
        self.venue.script(unknown_for(10_000))
        self.scene.execute()
        self.tick(10, count=14)
        told = self.heard()
        self.assertIn("trade suspended: OPEN trade of BTC/ETH is suspended", told)
        self.assertIn("opening stopped: orders in doubt for too long", told)

    def test_a_trade_whose_legs_cannot_be_levelled(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(10, 2))
        with self.desk.store.seat(position.trade_id):
            working.suspend(self.desk, self.scene.trade(position.trade_id), "levelling has stood still")
        self.tick()
        self.assertIn("opening stopped: trade suspended", self.heard())

    def test_drift(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "1")
        self.tick(count=5)
        self.assertIn("opening stopped: drift: the desk opens nothing any more: ETH: the venue holds", self.heard())

    def test_a_leg_that_is_gone(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", str(-self.venue.held("ETH")))
        self.scene.close(position)
        self.tick(count=10)
        self.assertIn("leg gone at the venue", self.heard())

    def test_the_daily_loss(self) -> None:
        self.tick()
        self.venue.cash -= 6_000
        self.tick(count=4)
        self.assertIn("opening stopped: daily loss", self.heard())

    def test_a_full_disk_and_one_that_is_nearly_full(self) -> None:
        self.watchman.desk = with_store(self.scene, disk_full=True, restore_reserve=lambda: False)
        self.tick()
        self.assertIn("opening stopped: disk full", self.heard())
        with mock.patch.object(OutboxFile, "free_bytes", return_value=1_000_000):
            self.heard()
            self.scene.clock.advance(1)
            self.assertIn("disk nearly full", self.heard())

    def test_a_disk_that_stays_nearly_full_is_told_once_and_again_when_it_has_had_room(self) -> None:
        for free, times in ((1_000_000, 1), (10**12, 1), (None, 1), (1_000_000, 2)):
            with mock.patch.object(OutboxFile, "free_bytes", return_value=free):
                for _ in range(3):
                    self.scene.clock.advance(1)
                    carry_once(self.courier)
                self.assertEqual(times, self.written("DiskLow"))

    def test_no_price_and_blindness(self) -> None:
        self.scene.opened()
        self.venue.bend_quote = lambda quote: replace(quote, bid=Price(Decimal(0)))
        self.tick()
        self.assertIn("no price", self.heard())
        self.tick(30, count=3)
        self.assertIn("opening stopped: blind", self.heard())

    def test_the_emergency_stop_and_its_end_and_the_resume(self) -> None:
        self.scene.opened()
        emergency.stop(self.desk)
        self.assertIn("emergency stop: closing everything", self.heard())
        self.tick(count=30)
        self.assertIn("emergency stop complete", self.heard())
        emergency.resume(self.desk)
        self.assertIn("desk active again", self.heard())

    def test_a_stop_that_does_not_get_flat_and_a_close_that_does_not_get_through(self) -> None:
        self.scene.opened()
        self.venue.shares = {"ETH": Decimal(0), "BTC": Decimal(0)}
        emergency.stop(self.desk)
        self.tick(count=10)
        told = self.heard()
        self.assertIn("close not through: the close of BTC/ETH is not through yet", told)

    def test_the_venue_down_and_back(self) -> None:
        self.venue.reads_down = {"account"}
        self.tick(count=9)
        self.assertNotIn("venue down", self.heard())
        self.tick(count=3)
        self.assertIn("venue down: the venue does not answer", self.heard())
        self.venue.reads_down = set()
        self.tick()
        self.assertIn("venue back", self.heard())

    def test_guardian_and_scout_down_and_back(self) -> None:
        self.scene.approver.failure = GuardianUnavailable("no answer in 8 s")
        for _ in range(2):
            with suppress(GuardianUnavailable):
                self.scene.execute()
        self.assertEqual(1, self.heard().count("Guardian down: Guardian does not answer: no answer in 8 s"))
        self.scene.approver.failure, self.scene.signals.failure = None, ScoutUnavailable("refused")
        with suppress(ScoutUnavailable):
            self.scene.execute()
        self.scene.signals.failure = None
        self.scene.execute()
        told = self.heard()
        for words in ("Scout down", "Scout back", "Guardian back"):
            self.assertIn(words, told)

    def test_an_exit_of_the_desks_own_and_no_exit_by_hand(self) -> None:
        self.scene.opened("one")
        self.venue.move("ETH", "3910")
        self.tick()
        self.scene.close(self.scene.opened("two", pair="SOL/AVAX"), ExitReason.MANUAL)
        told = self.heard()
        self.assertIn("exit fired: closing BTC/ETH: STOP_LOSS", told)
        self.assertNotIn("MANUAL", told)

    def test_a_position_near_its_liquidation(self) -> None:
        self.near_liquidation(self.scene.opened())
        self.tick()
        self.assertIn("liquidation near: BTC/ETH comes near its liquidation", self.heard())

    def near_liquidation(self, position: Position) -> None:
        def bend(account: Any) -> Any:
            near = Holding(ETH, position.leg_of(ETH).held, Price(Decimal(4000)), Price(Decimal(3400)))
            return replace(account, holdings={**account.holdings, ETH: near})

        self.venue.bend_account = bend

    def test_a_price_stream_that_is_cut(self) -> None:
        exchange = self.enterContext(open_server(self.scene.clock, ticks=False))
        exchange.exchange.set_market(ETH, "4000")
        stream = PriceStream(stream_url(exchange.url), self.scene.clock, self.desk.log, look_seconds=0.005)
        self.addCleanup(stream.close)
        stream.want([ETH])
        wait_until(lambda: stream.prices([ETH], 0).get(ETH) is not None, "the first price")
        self.assertNotIn("price stream cut", self.heard())
        exchange.streams.cut()
        wait_until(lambda: "price stream cut: the venue's price stream was cut" in self.heard(), "the alert")

    def test_a_desk_that_is_halted_by_its_files(self) -> None:
        folder = self.folder.parent / "broken"
        first = bootstrap.build_desk(Config.of(data_dir=folder), clock=self.scene.clock)
        first.store.change_state(lambda state: state)
        (folder / "desk.json").write_bytes(b"{}")
        self.desk = bootstrap.build_desk(
            Config.of(data_dir=folder, alert_urls=self.desk.config.alert_urls[0]), clock=self.scene.clock
        )
        self.courier = self.a_courier()
        self.assertIn("desk halted", self.heard())

    def test_a_monitor_that_is_lost_and_back(self) -> None:
        self.scene.opened()
        for _ in range(2):
            self.scene.clock.advance(6)
            told = self.heard()
        self.assertNotIn("monitor lost", told)
        self.scene.clock.advance(6)
        self.heard()
        self.scene.clock.advance(1)
        self.assertEqual(1, self.heard().count("monitor lost: no monitor is alive"))
        with self.desk.store.monitor_seat():
            self.tick()
            self.heard()
            self.scene.clock.advance(1)
            self.assertIn("monitor back", self.heard())

    def test_each_loss_of_the_monitor_is_written_once_and_so_is_its_return(self) -> None:
        self.scene.opened()
        for number in (1, 2):
            for _ in range(40):
                self.scene.clock.advance(1)
                carry_once(self.courier)
            self.assertEqual((number, number - 1), (self.written("MonitorLost"), self.written("MonitorBack")))
            with self.desk.store.monitor_seat():
                self.tick()
                for _ in range(3):
                    carry_once(self.courier)
            self.assertEqual((number, number), (self.written("MonitorLost"), self.written("MonitorBack")))

    def test_a_monitor_is_missed_where_something_stands_or_the_configuration_wants_one(self) -> None:
        for required, times in ((True, 1), (False, 0)):
            with self.subTest(required=required):
                config = self.scene.desk.config.model_copy(update={"require_monitor": required})
                self.desk = replace(self.desk, config=config)
                self.courier, before = self.a_courier(), self.written("MonitorLost")
                for _ in range(40):
                    self.scene.clock.advance(1)
                    carry_once(self.courier)
                self.assertEqual(times, self.written("MonitorLost") - before)

    def test_a_monitor_that_hangs_on_its_seat_is_lost_too(self) -> None:
        self.scene.opened()
        with self.desk.store.monitor_seat():
            self.tick()
            for _ in range(3):
                self.assertNotIn("monitor lost", self.heard())
                self.scene.clock.advance(6)
            self.assertIn("monitor lost", self.heard())

    def test_a_bug_in_a_duty_of_the_monitor(self) -> None:
        with mock.patch.object(monitor, "recover", side_effect=ZeroDivisionError("a bug")):
            self.tick()
        self.assertIn("error: monitor: recover failed: a bug: ZeroDivisionError", self.heard())

    def test_an_outcome_that_guardian_never_took(self) -> None:
        self.scene.close(self.scene.opened())
        self.scene.approver.failure = GuardianUnavailable("no")
        self.tick(90_000)
        self.assertIn("outcome not delivered", self.heard())


class CarryingTest(CourierCase):
    def trouble(self, number: int = 1) -> None:
        self.desk.log.write("error", f"trouble {number}", event="TradeSuspended", trade_id=f"trd_{number}")

    def test_what_the_receiver_refused_is_offered_again_until_it_is_taken(self) -> None:
        self.receiver.script(Reply(503), Reply(200))
        self.trouble()
        self.heard()
        self.assertEqual(1, len(self.receiver.received))
        self.heard()
        self.assertEqual(1, len(self.receiver.received), "before its pause is over")
        self.scene.clock.advance(11)
        self.heard()
        self.scene.clock.advance(60)
        self.heard()
        bodies = [one.json["message"] for one in self.receiver.received]
        self.assertEqual((2, 1), (len(bodies), len(set(bodies))))

    def test_a_new_process_takes_on_what_the_last_one_left(self) -> None:
        self.receiver.script(Reply(503), Reply(200))
        self.trouble()
        self.heard()
        self.courier = self.a_courier()
        self.scene.clock.advance(11)
        self.assertEqual(2, self.heard().count("trouble 1"), "the refused one and the same again")

    def test_what_was_logged_while_nobody_carried_is_told_by_the_next(self) -> None:
        self.heard()
        self.scene.clock.advance(600)
        self.trouble()
        self.scene.clock.advance(600)
        self.courier = self.a_courier()
        self.assertIn("trouble 1", self.heard())

    def test_two_processes_tell_it_once(self) -> None:
        other = self.a_courier()
        self.trouble()
        for _ in range(3):
            carry_once(self.courier)
            carry_once(other)
        self.assertEqual(1, len(self.receiver.received))
        with other.outbox.turn():
            self.trouble(2)
            carry_once(self.courier)
        self.assertEqual(1, len(self.receiver.received))

    def test_a_target_that_was_taken_out_of_the_configuration_is_forgotten(self) -> None:
        self.receiver.script(Reply(503))
        self.trouble()
        self.heard()
        elsewhere = self.enterContext(Sibling())
        config = self.desk.config.model_copy(update={"alert_urls": (elsewhere.url.replace("http", "json", 1),)})
        self.desk = replace(self.desk, config=config)
        self.courier = self.a_courier()
        self.scene.clock.advance(11)
        carry_once(self.courier)
        self.assertEqual((1, 0), (len(self.receiver.received), len(self.courier.outbox.load().messages)))

    def test_lines_that_are_no_lines_are_passed_over(self) -> None:
        entries: tuple[dict[str, Any], ...] = (
            {},
            {"id": 1, "timestamp": "never", "type": "error", "message": ""},
            {"id": "a"},
        )
        for entry in entries:
            self.assertIsNone(courier.line_of(entry))
        naive: dict[str, Any] = {"id": "a", "timestamp": "2026-11-22T12:00:00", "type": "error", "message": "m"}
        self.assertIsNone(courier.line_of(naive))
        self.assertIsNone(courier.line_of({**naive, "timestamp": "2026-11-22T12:00:00Z", "type": "odd"}))

    def test_no_address_is_written_anywhere(self) -> None:
        secret = "s3cret"
        address = self.receiver.url.removeprefix("http://")
        config = self.desk.config.model_copy(update={"alert_urls": (f"json://user:{secret}@{address}/{secret}",)})
        self.desk = replace(self.desk, config=config)
        self.courier = self.a_courier()
        self.receiver.script(Reply(500))
        self.trouble()
        self.heard()
        written = b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())
        self.assertNotIn(secret.encode(), written)
        self.assertIn(b"target-", written)

    def test_a_store_that_cannot_be_read_is_no_lost_monitor(self) -> None:
        self.desk = with_store(self.scene, book=corrupt)
        self.courier = self.a_courier()
        for _ in range(20):
            self.scene.clock.advance(1)
            self.assertNotIn("monitor lost", self.heard())

    def test_without_addresses_nobody_carries_and_wrong_ones_are_refused(self) -> None:
        bare = replace(self.desk, config=self.desk.config.model_copy(update={"alert_urls": ()}))
        self.assertIsNone(bootstrap.build_courier(bare))
        wrong = replace(self.desk, config=self.desk.config.model_copy(update={"alert_urls": ("nonsense",)}))
        with self.assertRaises(ConfigurationError) as refused:
            bootstrap.build_courier(wrong)
        self.assertIn("ALERT_URLS: entry 1", refused.exception.detail)


class ThreadTest(CourierCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch.object(notifier, "READ_SECONDS", 0.3))
        super().setUp()

    def carrying(self) -> Callable[[], None]:
        self.enterContext(mock.patch.object(courier, "ROUND_SECONDS", 0.005))
        thread = courier.start(self.courier)

        def stop() -> None:
            self.courier.stopping.set()
            thread.join(10)

        self.addCleanup(stop)
        return stop

    def test_it_carries_in_a_thread_of_its_own_until_it_is_stopped(self) -> None:
        stop = self.carrying()
        self.desk.log.write("error", "trouble", event="TradeSuspended")
        wait_until(lambda: bool(self.receiver.received), "the alert")
        stop()
        self.assertEqual("Executor Agent (scripted): trade suspended", self.receiver.received[0].json["title"])

    def test_the_web_process_carries_too_and_refuses_wrong_addresses_at_its_start(self) -> None:
        with mock.patch.object(courier, "start") as started, bootstrap.use_desk(self.desk):
            wsgi.open_desk()
        (begun,) = started.call_args.args
        self.assertEqual(self.courier.notifier.targets, begun.notifier.targets)
        config = self.desk.config.model_copy(update={"alert_urls": ("nonsense",)})
        with bootstrap.use_desk(replace(self.desk, config=config)), redirect_stderr(io.StringIO()) as said:
            self.assertRaises(SystemExit, wsgi.open_desk)
        self.assertIn("ALERT_URLS: entry 1", said.getvalue())

    def test_the_monitor_carries_while_it_watches(self) -> None:
        started = []

        def start(made: Courier) -> None:
            started.append(made)
            self.assertFalse(made.stopping.is_set())

        with mock.patch.object(courier, "start", start), bootstrap.use_desk(self.desk):
            call_command("monitor_positions", "--once", stdout=io.StringIO())
        self.assertEqual([True], [one.stopping.is_set() for one in started])

    def test_trouble_of_its_own_is_said_once_and_ends_with_the_trouble(self) -> None:
        save = self.courier.outbox.save
        failures: list[Exception] = [StoreCorrupt("full")] * 3 + [ZeroDivisionError()] * 3

        def failing(outbox: Any) -> None:
            if failures:
                raise failures.pop(0)
            save(outbox)

        with mock.patch.object(self.courier.outbox, "save", failing), self.assertLogs(courier.__name__) as said:
            self.desk.log.write("error", "trouble", event="TradeSuspended")
            self.carrying()
            wait_until(lambda: bool(self.receiver.received), "the alert")
        self.assertEqual(
            ["alerts cannot be carried: full", "alerts cannot be carried: a bug: ZeroDivisionError"],
            [one.getMessage() for one in said.records],
        )

    def test_a_receiver_that_hangs_holds_up_no_tick(self) -> None:
        self.receiver.script(Reply(hangs=True))
        self.carrying()
        self.desk.log.write("error", "trouble", event="TradeSuspended")
        wait_until(lambda: bool(self.receiver.received), "the request that hangs")
        position = self.scene.opened()
        self.venue.move("ETH", "3910")
        self.tick()
        self.assertTrue(self.scene.position(position.id).closed)
