"""When each of the desk's peers was last heard by this process, and what went wrong since.

The law: listening changes nothing: what a peer answers is passed on as it is, and a failure is raised again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

from trading.domain.errors import Unavailable
from trading.domain.market import Pair
from trading.domain.signals import Approval, Signal
from trading.ports import Approver, Clock, Outcome, Proposal, SignalSource

SCOUT = "Scout"
GUARDIAN = "Guardian"


@dataclass(frozen=True, slots=True)
class Heard:
    """The last answer and the last failure of one peer; `why` is the failure's words, empty since an answer."""

    at: datetime | None = None
    failed_at: datetime | None = None
    why: str = ""


class Hearing:
    """What this process has heard, by peer. Several threads may listen at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._heard: dict[str, Heard] = {}

    def of(self, peer: str) -> Heard:
        with self._lock:
            return self._heard.get(peer, Heard())

    @contextmanager
    def listening(self, peer: str, clock: Clock) -> Iterator[None]:
        """Note whether *peer* answers within the context: a refusal is an answer, too."""
        try:
            yield
        except Unavailable as error:
            with self._lock:
                before = self._heard.get(peer, Heard())
                self._heard[peer] = replace(before, failed_at=clock.now(), why=error.detail)
            raise
        with self._lock:
            self._heard[peer] = Heard(at=clock.now())


@dataclass(frozen=True, slots=True)
class HeardSignals:
    """The SignalSource port, listened to."""

    source: SignalSource
    hearing: Hearing
    clock: Clock

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        with self.hearing.listening(SCOUT, self.clock):
            return self.source.signal(signal_id, pair)

    def recent(self) -> tuple[Signal, ...]:
        with self.hearing.listening(SCOUT, self.clock):
            return self.source.recent()


@dataclass(frozen=True, slots=True)
class HeardApprover:
    """The Approver port, listened to."""

    approver: Approver
    hearing: Hearing
    clock: Clock

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        with self.hearing.listening(GUARDIAN, self.clock):
            return self.approver.approve(proposal, within_seconds)

    def report_outcome(self, outcome: Outcome) -> None:
        with self.hearing.listening(GUARDIAN, self.clock):
            self.approver.report_outcome(outcome)
