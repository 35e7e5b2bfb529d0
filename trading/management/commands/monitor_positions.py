"""The daemon that watches positions: take profit, stop loss, trailing, time, slices that are due, recovery."""

import os
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Timer
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading.bootstrap import build_courier, get_desk
from trading.checks import DESK
from trading.conf import ConfigurationError
from trading.domain.errors import Busy, DeskError
from trading.engine import courier, monitor
from trading.engine.desk import Desk
from trading.management.beside import say
from trading.management.notices import Notices
from trading.utils import meters
from trading.utils.collector import spare_what_is_loaded

STANDBY_SECONDS = 0.5
LISTEN_SECONDS = 0.25
LAST_STEP_SECONDS = 3.0
LAST_MOMENT_SECONDS = 4.0


class Command(BaseCommand):
    help = "Watch open positions and close them at their take-profit, stop-loss, trailing stop or time limit."
    requires_system_checks = (DESK,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--interval", type=float, metavar="SECONDS", help="between two rounds (MONITOR_INTERVAL_SECONDS)"
        )
        parser.add_argument("--once", action="store_true", help="one round, then exit")

    def handle(self, *args: Any, **options: Any) -> None:
        interval = options["interval"]
        if interval is not None and not 0.05 <= interval <= 60:
            raise CommandError("--interval must be between 0.05 and 60 seconds")
        with _asked_to_stop() as stopping:
            try:
                desk = get_desk()
                spare_what_is_loaded()
                with _alerts_carried(desk), _meters_written(desk):
                    self._watch(desk, stopping, interval, once=options["once"])
            except ConfigurationError as error:
                # The supervisor and systemd know this code: starting again changes nothing.
                raise CommandError("the configuration is wrong:\n  " + error.detail, returncode=3) from error
            except DeskError as error:
                raise CommandError(f"{error.code}: {error.detail}") from error

    def _watch(self, desk: Desk, stopping: Event, interval: float | None, *, once: bool) -> None:
        """Be the monitor, or wait until there is none. A second one takes over when the first is gone."""
        notices, told = Notices(os.environ), False
        while not stopping.is_set():
            with ExitStack() as seat:
                try:
                    seat.enter_context(desk.store.monitor_seat())
                except Busy as busy:
                    if once:
                        raise CommandError("another monitor is at work; one is enough") from busy
                    if not told:
                        say(self.stdout, "another monitor is at work; standing by")
                        notices.ready("standing by")
                        told = True
                    notices.alive()
                    stopping.wait(STANDBY_SECONDS)
                    continue
                self._run(desk, stopping, notices, interval or desk.config.monitor_interval_seconds, once=once)
                return

    def _run(self, desk: Desk, stopping: Event, notices: Notices, wanted: float, *, once: bool) -> None:
        watchman = monitor.Watchman(desk)
        if once:
            monitor.tick(watchman, wait_seconds=LAST_STEP_SECONDS)
            return
        interval = min(wanted, monitor.INTERVAL_SECONDS_MAX)
        told = "" if interval == wanted else f", not every {wanted:g}: silent for five a monitor counts as dead"
        say(self.stdout, f"monitoring every {interval:g} s{told}")
        desk.log.write("info", "the monitor is watching", interval_seconds=interval, event="MonitorStarted")
        notices.ready("watching")
        pause = interval
        while not stopping.is_set():
            until = desk.clock.monotonic()
            pause = monitor.go_round(watchman, interval, pause)
            until += pause
            while not stopping.is_set() and (left := until - desk.clock.monotonic()) > 0:
                notices.alive()
                monitor.listen(watchman, min(left, LISTEN_SECONDS))
            notices.alive()
        notices.stopping()
        monitor.finish(watchman, LAST_STEP_SECONDS)
        desk.log.write("info", "the monitor has stopped", event="MonitorStopped")
        say(self.stdout, "stopped")


@contextmanager
def _alerts_carried(desk: Desk) -> Iterator[None]:
    """Alerts go out meanwhile, from a thread that the watch never waits for."""
    carrier = build_courier(desk)
    if carrier is not None:
        courier.start(carrier)
    try:
        yield
    finally:
        if carrier is not None:
            carrier.stopping.set()


@contextmanager
def _meters_written(desk: Desk) -> Iterator[None]:
    """What this process measures is on disk for the web process to show."""
    stop = meters.keep_writing(desk.config.data_dir, "monitor")
    try:
        yield
    finally:
        stop()


@contextmanager
def _asked_to_stop() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set. Who has not ended some seconds later is ended: a call that hangs must not
    keep the process, and what it leaves undone is on disk."""
    stopping = Event()
    last_moment = Timer(LAST_MOMENT_SECONDS, os._exit, (0,))
    last_moment.daemon = True

    def stop(number: int, frame: FrameType | None) -> None:
        if not stopping.is_set():
            stopping.set()
            last_moment.start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        last_moment.cancel()
        for number, known in before.items():
            signal.signal(number, known)
