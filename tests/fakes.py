"""Fakes in the shape of the ports: the small ones of time, Scout, Guardian, the cache and the log.

They keep what they were given in plain attributes: a test reads what happened and needs no mock. Setting `failure`
makes every call of that fake raise it; time never passes but by `sleep`, `advance` or by setting `instant`.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from trading.domain.errors import DeskError, SignalNotFound
from trading.domain.market import Pair
from trading.domain.signals import Approval, Signal
from trading.domain.units import hash_of
from trading.ports import Clock, Json, Outcome, Proposal

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class FakeClock:
    """A Clock that stands still. `instant` may be set; `sleep` and `advance` move it and the monotonic seconds."""

    def __init__(self, instant: datetime = NOON) -> None:
        self.instant = instant
        self.slept: list[float] = []
        self.on_sleep: Callable[[], None] | None = None
        self._elapsed = 1000.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Advance by *seconds*, remember it in `slept`, then call `on_sleep` if there is one."""
        self.slept.append(seconds)
        self.advance(seconds)
        if self.on_sleep is not None:
            self.on_sleep()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self.instant += timedelta(seconds=seconds)
            self._elapsed += seconds


@dataclass
class FakeSignals:
    """A SignalSource that offers `signals` (by id) and remembers in `asked` what was looked up."""

    signals: dict[str, Signal] = field(default_factory=dict)
    failure: DeskError | None = None
    asked: list[tuple[str, Pair | None]] = field(default_factory=list)

    def offer(self, *signals: Signal) -> None:
        self.signals.update({signal.id: signal for signal in signals})

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        self.asked.append((signal_id, pair))
        if self.failure is not None:
            raise self.failure
        if signal_id not in self.signals:
            raise SignalNotFound(f"Scout offers no signal {signal_id}", signal_id=signal_id)
        return self.signals[signal_id]

    def recent(self) -> tuple[Signal, ...]:
        if self.failure is not None:
            raise self.failure
        return tuple(sorted(self.signals.values(), key=lambda signal: signal.created_at, reverse=True))


@dataclass
class FakeApprover:
    """An Approver that says yes while `approves`; `on_approve` runs while the desk waits for the answer.

    Each proposal gets an approval id of its own, a hash of its trade id and of how many were asked before.
    """

    approves: bool = True
    reasoning: str = "within the rules"
    failure: DeskError | None = None
    answer: Approval | None = None
    on_approve: Callable[[Proposal], None] | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    proposals: list[Proposal] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        self.proposals.append(proposal)
        if self.on_approve is not None:
            self.on_approve(proposal)
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return self.answer
        return Approval(
            id=f"approval_{hash_of(proposal.trade_id, len(self.proposals))[:16]}" if self.approves else "",
            approved=self.approves,
            risk_score=None,
            reasoning=self.reasoning,
            concerns=(),
            rule_violations=() if self.approves else ("said no",),
            answered_at=self.clock.now(),
        )

    def report_outcome(self, outcome: Outcome) -> None:
        if self.failure is not None:
            raise self.failure
        self.outcomes.append(outcome)


class FakeCache:
    """A Cache in a dict. `connected = False` loses what is put meanwhile, as a dead Redis does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.connected = True
        self.values: dict[str, Json] = {}
        self._clock = clock or FakeClock()
        self._expires: dict[str, float] = {}

    def put(self, key: str, value: Json, ttl_seconds: float) -> None:
        self.put_many({key: value}, ttl_seconds)

    def put_many(self, values: Mapping[str, Json], ttl_seconds: float) -> None:
        if not self.connected:
            return
        self.values.update(values)
        self._expires.update(dict.fromkeys(values, self._clock.monotonic() + ttl_seconds))

    def get_many(self, keys: Sequence[str]) -> Mapping[str, Json]:
        if not self.connected:
            return {}
        now = self._clock.monotonic()
        return {key: self.values[key] for key in keys if key in self.values and self._expires[key] > now}

    def push_many(self, values: Mapping[str, Json], keep: int, ttl_seconds: float) -> None:
        for key, value in values.items():
            newest = [value, *self.tail(key, keep - 1)]
            self.put_many({key: newest}, ttl_seconds)

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        held = self.get_many([key]).get(key)
        return tuple(held[:limit]) if isinstance(held, list) else ()

    def flush(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self.values.clear()
        self._expires.clear()


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What was written, facts as they came."""

    kind: str
    message: str
    facts: Mapping[str, object]


class FakeLog:
    """A Log that keeps its `entries`, oldest first."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def write(self, kind: str, message: str, **facts: object) -> None:
        self.entries.append(LogEntry(kind, message, facts))

    def tail(self, limit: int) -> tuple[Mapping[str, Json], ...]:
        newest = list(reversed(self.entries))[:limit]
        return tuple({"agent": "executor", "type": entry.kind, "message": entry.message} for entry in newest)

    def messages(self, kind: str | None = None) -> list[str]:
        """The messages of *kind*, or all, oldest first."""
        return [entry.message for entry in self.entries if kind is None or entry.kind == kind]
