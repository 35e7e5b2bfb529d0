"""The emergency stop from the command line: the same as the API's, without the web process."""

import math
import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trading.bootstrap import build_desk, get_desk
from trading.domain.desk_state import TradingState
from trading.domain.errors import Busy, DeskError, ResumeRefused, StoreCorrupt, StoreHeld, VenueUnavailable
from trading.domain.units import Coin
from trading.engine import emergency
from trading.engine.desk import Desk
from trading.engine.emergency import StopReport
from trading.engine.unwinding import Unwritten
from trading.management.beside import say
from trading.management.unread import INTERRUPTED_EXIT_CODE

PAUSE_SECONDS = 1.0


def seconds(text: str) -> float:
    """A time to go on for. No instant is before one that is no number: the stop would have given up after one press."""
    value = float(text)
    if math.isnan(value):
        raise ArgumentTypeError(f"{text} is no number")
    return value


class Command(BaseCommand):
    help = "Close every position of the desk and stop opening; --resume takes it back."
    # A data directory that cannot be written keeps everything else from starting, and not this: it goes by what the
    # venue holds then.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--resume", action="store_true", help="back to ACTIVE")
        parser.add_argument(
            "--accept-drift",
            nargs="+",
            default=[],
            metavar="COIN",
            help="with --resume: what the account holds of these coins beyond the book is somebody else's",
        )
        parser.add_argument(
            "--account", action="store_true", help="close what else the account holds, too, not only the book"
        )
        parser.add_argument(
            "--timeout",
            type=seconds,
            default=60.0,
            metavar="SECONDS",
            help="how long to go on until all is closed (60); 0 presses once, inf goes on until it is done",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["accept_drift"] and not options["resume"]:
            raise CommandError("--accept-drift belongs to --resume")
        if options["account"] and options["resume"]:
            raise CommandError("--account belongs to a stop; leave it out to resume")
        try:
            desk = self._desk(beside=not options["resume"])
            if options["resume"]:
                self._resume(desk, [Coin(coin) for coin in options["accept_drift"]])
            else:
                with _not_hung_up():
                    self._stop(desk, options["timeout"], scope_account=options["account"])
        except KeyboardInterrupt:
            word = "interrupted; what was begun stands, and a monitor goes on with it: run it again to see the end"
            raise CommandError(word, returncode=INTERRUPTED_EXIT_CODE) from None
        except DeskError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error

    def _desk(self, *, beside: bool) -> Desk:
        """The desk; to stop it, also *beside* somebody who holds its ledger and does not let go."""
        try:
            return get_desk()
        except StoreHeld as held:
            if not beside:
                raise
            say(self.stderr, f"{held.detail}, who hangs: end that process; closing by what the venue holds meanwhile")
            return build_desk(settings.DESK_CONFIG, held=held)

    def _resume(self, desk: Desk, accept_drift: list[Coin]) -> None:
        try:
            state = emergency.resume(desk, accept_drift)
        except ResumeRefused as refusal:
            causes = refusal.facts["causes"]
            lines = [str(cause) for cause in causes] if isinstance(causes, list) else [refusal.detail]
            raise CommandError("not resumed:\n  " + "\n  ".join(lines)) from refusal
        say(self.stdout, f"the desk is {state.state}")

    def _stop(self, desk: Desk, timeout: float, *, scope_account: bool) -> None:
        """Press it, then go on until the account reads flat: there may be no monitor to go on with it."""
        # Started without the service's environment it would be another desk, and that one is soon flat.
        which = "the demo" if desk.config.demo_mode else "the desk"
        say(self.stdout, f"stopping {which} on {desk.venue.name} in {desk.config.data_dir}")
        until, unwritten = desk.clock.monotonic() + timeout, Unwritten()
        report = self._pressed(desk, until, unwritten, scope_account=scope_account)
        while _goes_on(report) and desk.clock.monotonic() < until:
            desk.clock.sleep(PAUSE_SECONDS)
            if report.trading_state is TradingState.LIQUIDATING:
                # Pressed again it does without a ledger where that is in the way.
                with suppress(Busy, StoreCorrupt):
                    emergency.push(desk, lambda position_id, reason: None)
                    state = desk.store.state().state
                    if state is not TradingState.LIQUIDATING:
                        report = replace(report, remaining=(), trading_state=state)
                        break
            report = self._pressed(desk, until, unwritten, scope_account=scope_account)
        for foreign in report.foreign:
            say(self.stdout, f"not the desk's, left alone: {foreign.quantity} {foreign.coin}")
        if report.remaining:
            lines = [f"{one.position_id} {one.pair} {one.status}: {one.why}" for one in report.remaining]
            raise CommandError("still open:\n  " + "\n  ".join(lines))
        if report.trading_state is TradingState.LIQUIDATING:
            raise CommandError(f"all positions are closed, but not read as flat yet: {desk.store.state().why}")
        if _is_written_down(desk):
            say(self.stdout, f"all positions are closed; the desk is {report.trading_state} and opens nothing")
        else:
            word = "all positions are closed, but that the desk is stopped could not be written down: run this again"
            say(self.stdout, f"{word} once {desk.config.data_dir} can be written, or the desk may open again")

    def _pressed(self, desk: Desk, until: float, unwritten: Unwritten, *, scope_account: bool) -> StopReport:
        """Raises what stands in its way once the time is over: Busy, StoreCorrupt where a file has just been damaged,
        and VenueUnavailable where there is no ledger to go on by either."""
        while True:
            try:
                report = emergency.stop(desk, scope_account=scope_account, goes_on=False, unwritten=unwritten)
            except (Busy, StoreCorrupt, VenueUnavailable):
                if desk.clock.monotonic() >= until:
                    raise
                desk.clock.sleep(PAUSE_SECONDS)
            else:
                self._tell(report)
                return report

    def _tell(self, report: StopReport) -> None:
        for position_id in report.closed:
            say(self.stdout, f"closed {position_id}")


@contextmanager
def _not_hung_up() -> Iterator[None]:
    """A terminal that closes, as a connection that breaks does it, ends no stop: there may be no monitor."""
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is None:
        yield
        return
    before = signal.signal(hang_up, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(hang_up, before)


def _is_written_down(desk: Desk) -> bool:
    """Whether the state keeps the desk from opening; a damaged one does, too."""
    try:
        return desk.store.state().state in (TradingState.LIQUIDATING, TradingState.HALTED)
    except StoreCorrupt as error:
        return "reason" not in error.facts


def _goes_on(report: StopReport) -> bool:
    """Is there something left to do: without a ledger no state says so, and nobody else goes on with it."""
    return report.trading_state is TradingState.LIQUIDATING or bool(report.remaining)
