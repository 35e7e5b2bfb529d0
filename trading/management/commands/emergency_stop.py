"""The emergency stop from the command line: the same as the API's, without the web process."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading.bootstrap import get_desk
from trading.domain.errors import DeskError, ResumeRefused
from trading.engine import emergency
from trading.engine.desk import Desk

PAUSE_SECONDS = 1.0


class Command(BaseCommand):
    help = "Close every position of the desk and stop opening; --resume takes it back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--resume", action="store_true", help="back to ACTIVE")
        parser.add_argument(
            "--timeout", type=float, default=60.0, metavar="SECONDS", help="how long to go on until all is closed (60)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            desk = get_desk()
            if options["resume"]:
                self._resume(desk)
            else:
                self._stop(desk, options["timeout"])
        except DeskError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error

    def _resume(self, desk: Desk) -> None:
        try:
            state = emergency.resume(desk)
        except ResumeRefused as refusal:
            causes = refusal.facts.get("causes")
            lines = [str(cause) for cause in causes] if isinstance(causes, list) else [refusal.detail]
            raise CommandError("not resumed:\n  " + "\n  ".join(lines)) from refusal
        self.stdout.write(f"the desk is {state.state}")

    def _stop(self, desk: Desk, timeout: float) -> None:
        """Press it, then go on until nothing remains: there may be no monitor to go on with it."""
        until = desk.clock.monotonic() + timeout
        report = emergency.stop(desk)
        for position_id in report.closed:
            self.stdout.write(f"closed {position_id}")
        while report.remaining and desk.clock.monotonic() < until:
            desk.clock.sleep(PAUSE_SECONDS)
            report = emergency.stop(desk)
            for position_id in report.closed:
                self.stdout.write(f"closed {position_id}")
        for foreign in report.foreign:
            self.stdout.write(f"not the desk's, left alone: {foreign.quantity} {foreign.coin}")
        if report.remaining:
            lines = [f"{one.position_id} {one.pair} {one.status}: {one.why}" for one in report.remaining]
            raise CommandError("still open:\n  " + "\n  ".join(lines))
        self.stdout.write(f"all positions are closed; the desk is {report.trading_state} and opens nothing")
