"""Scout and Guardian with a witness: one line in the log when they stop answering and one when they are back.

The law: what they answer and raise passes unchanged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from trading.domain.errors import GuardianUnavailable, ScoutUnavailable, Unavailable
from trading.domain.market import Pair
from trading.domain.signals import Approval, Signal
from trading.ports import Approver, Log, Outcome, Proposal, SignalSource


@dataclass
class Witness:
    """Tells a peer's silence once, for as long as it lasts."""

    name: str
    log: Log
    silent: bool = False
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def present(self, silence: type[Unavailable]) -> Iterator[None]:
        """Around one call of the peer, which raises *silence* when it did not answer."""
        try:
            yield
        except silence as error:
            if self._changed(silent=True):
                self.log.write("error", f"{self.name} does not answer: {error.detail}", event=f"{self.name}Down")
            raise
        if self._changed(silent=False):
            self.log.write("success", f"{self.name} answers again", event=f"{self.name}Back")

    def _changed(self, *, silent: bool) -> bool:
        with self._lock:
            changed, self.silent = self.silent is not silent, silent
        return changed


class WatchedSignals:
    """A SignalSource that is *source*, witnessed."""

    def __init__(self, source: SignalSource, log: Log) -> None:
        self._source = source
        self._witness = Witness("Scout", log)

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        with self._witness.present(ScoutUnavailable):
            return self._source.signal(signal_id, pair)

    def recent(self) -> tuple[Signal, ...]:
        with self._witness.present(ScoutUnavailable):
            return self._source.recent()


class WatchedApprover:
    """An Approver that is *approver*, witnessed."""

    def __init__(self, approver: Approver, log: Log) -> None:
        self._approver = approver
        self._witness = Witness("Guardian", log)

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        with self._witness.present(GuardianUnavailable):
            return self._approver.approve(proposal, within_seconds)

    def report_outcome(self, outcome: Outcome) -> None:
        with self._witness.present(GuardianUnavailable):
            self._approver.report_outcome(outcome)
