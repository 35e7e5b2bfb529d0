"""What somebody has to hear of, and the outbox in which it waits: pure, from lines of the activity log to messages.

The law: a line is told once; the same trouble is told again only after a pause, with the count of what was held back;
a message carries all that waits, so that a storm is a few messages; and everything here is bounded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from trading.domain.units import hash_of

FIRST_LOOK = timedelta(seconds=60)
"""How far back an outbox looks that has never looked: to the start of the service, not to yesterday."""

OVERLAP = timedelta(seconds=10)
"""Processes write the log nearly in order: a line may come this much later than one with a later instant."""

OLD_AFTER = timedelta(hours=24)
REPEAT_PAUSE = timedelta(minutes=15)
PACE_WINDOW = timedelta(minutes=10)
MESSAGES_A_WINDOW = 10
RETRY_FIRST = timedelta(seconds=10)
RETRY_MAX = timedelta(minutes=10)
WAITING_MAX = 200
MESSAGES_MAX = 50
TOLD_MAX = 200
LINES_A_MESSAGE = 20
TEXT_CHARS_MAX = 300

TITLES: Mapping[str, str] = {
    "TradeSuspended": "trade suspended",
    "HoldingGone": "leg gone at the venue",
    "LegLost": "leg lost",
    "CloseDelayed": "close not through",
    "ClosedDirectly": "closed at the exchange directly",
    "PearUnclear": "Pear unclear",
    "ProtectionRefused": "protection refused",
    "LateFill": "late fill, being sold off",
    "LateFillGone": "late fill, gone again",
    "OpeningStopped": "opening stopped",
    "EmergencyStop": "emergency stop",
    "NotFlatYet": "emergency stop not flat yet",
    "StopComplete": "emergency stop complete",
    "StopReopened": "emergency stop under way again",
    "DeskHalted": "desk halted",
    "DeskResumed": "desk active again",
    "LiquidationNear": "liquidation near",
    "ExitFired": "exit fired",
    "StreamCut": "price stream cut",
    "PriceLost": "no price",
    "VenueDown": "venue down",
    "VenueBack": "venue back",
    "GuardianDown": "Guardian down",
    "GuardianBack": "Guardian back",
    "ScoutDown": "Scout down",
    "ScoutBack": "Scout back",
    "MonitorLost": "monitor lost",
    "MonitorBack": "monitor back",
    "DiskLow": "disk nearly full",
    "LedgerMended": "ledger mended",
    "RestoreFinished": "restore finished",
    "LogLost": "activity log lost",
    "OutcomeGivenUp": "outcome not delivered",
    "TestAlert": "test",
}
"""The events that are told, each with its title. An error of any other name is told, too."""

CAUSES: Mapping[str, str] = {
    "DAILY_LOSS": "daily loss",
    "DRIFT": "drift",
    "SUSPENDED_TRADE": "trade suspended",
    "LONG_DOUBT": "orders in doubt for too long",
    "BLIND": "blind",
    "DISK": "disk full",
    "OPERATOR": "restored from a copy",
    "BROKEN_RECORD": "broken record",
    "OVERFILLED": "more held than asked for",
}
ASKED_FOR = frozenset({"MANUAL", "EMERGENCY_STOP"})
"""Exits that a person has asked for and need not be told of; the emergency stop has a line of its own."""

RESUMED = "DeskResumed"
"""After it every trouble is a new one: somebody has looked, and wants to know if it comes again."""


class Urgency(StrEnum):
    INFO = "info"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the activity log, as far as alerts look at it."""

    id: str
    at: datetime
    urgency: Urgency
    message: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. Alerts of one `key` are the same trouble."""

    key: str
    title: str
    text: str
    urgency: Urgency
    at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """When a trouble was told last, and how often it has come since."""

    key: str
    last: Alert
    at: datetime
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out as one, until every target in `left` has taken it."""

    id: str
    title: str
    body: str
    urgency: Urgency
    made_at: datetime
    due_at: datetime
    left: tuple[str, ...]
    tries: int = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """Everything between the log and the targets. `read` names the lines of the last moments that are read already;
    `made` has the instants of the messages of the pace window; `dropped` counts alerts that no room was left for."""

    read_until: datetime | None = None
    read: tuple[str, ...] = ()
    waiting: tuple[Alert, ...] = ()
    messages: tuple[Message, ...] = ()
    told: tuple[Told, ...] = ()
    made: tuple[datetime, ...] = ()
    dropped: int = 0


def alert_of(line: LogLine) -> Alert | None:
    """What *line* is to whoever is on duty; None for what need not wake anybody."""
    event, cause, reason = (line.facts.get(name, "") for name in ("event", "cause", "reason"))
    if event == "ExitFired" and reason in ASKED_FOR:
        return None
    title = TITLES.get(event)
    if title is None:
        if line.urgency is not Urgency.ERROR:
            return None
        title = "error"
    if event == "OpeningStopped":
        title = f"{title}: {CAUSES.get(cause, cause)}"
    subject = line.facts.get("trade_id") or line.facts.get("position_id") or cause
    named = event if event in TITLES else f"{event} {line.message}"
    text = line.message[:TEXT_CHARS_MAX]
    return Alert(hash_of(named, subject)[:24], title, text, line.urgency, line.at)


def with_lines(outbox: Outbox, lines: Sequence[LogLine], now: datetime) -> Outbox:
    """*outbox* after the newest *lines* of the log, in any order; those it has read already change nothing."""
    known = set(outbox.read)
    if outbox.read_until is not None:
        # Where the clock has been set back, what it had read until then stands in the future now.
        known |= {one.id for one in lines if now < one.at <= outbox.read_until - OVERLAP}
        outbox = _not_ahead(outbox, now)
    since = now - FIRST_LOOK if outbox.read_until is None else outbox.read_until - OVERLAP
    fresh = sorted((one for one in lines if one.at > since and one.id not in known), key=lambda one: one.at)
    # A line from the future must not close the eyes to the present.
    until = max((min(one.at, now) for one in fresh), default=outbox.read_until or now)
    until = max(until, outbox.read_until or until)
    moment = {one.id for one in lines if one.at > until - OVERLAP}
    after = replace(outbox, read_until=until, read=tuple(sorted(moment)))
    for line in fresh:
        alert = alert_of(line)
        if line.facts.get("event") == RESUMED:
            after = replace(after, told=())
        if alert is not None and now - line.at <= OLD_AFTER:
            after = _with_alert(after, alert, now)
    return _with_counts(after, now)


def with_message(outbox: Outbox, targets: Sequence[str], sender: str, now: datetime) -> Outbox:
    """*outbox* with all that waits made into one message for *targets*, as soon as the pace allows."""
    made = tuple(one for one in outbox.made if now - one < PACE_WINDOW)
    paced = replace(outbox, made=made) if made != outbox.made else outbox
    if not outbox.waiting or not targets or len(made) >= MESSAGES_A_WINDOW:
        return paced
    message = _message(outbox.waiting, outbox.dropped, tuple(targets), sender, now)
    messages = (*outbox.messages, message)[-MESSAGES_MAX:]
    return replace(paced, waiting=(), dropped=0, messages=messages, made=(*made, now))


def due_messages(outbox: Outbox, now: datetime) -> tuple[Message, ...]:
    """The messages to send now, oldest first."""
    return tuple(one for one in outbox.messages if one.due_at <= now)


def after_try(outbox: Outbox, message: Message, left: Sequence[str], now: datetime) -> Outbox:
    """*outbox* after *message* was offered to its targets and those in *left* did not take it: again later, with
    growing pauses, for a day."""
    others = tuple(one for one in outbox.messages if one.id != message.id)
    if not left or now - message.made_at > OLD_AFTER:
        return replace(outbox, messages=others)
    pause = min(RETRY_FIRST * 2 ** min(message.tries, 16), RETRY_MAX)
    again = replace(message, left=tuple(left), tries=message.tries + 1, due_at=now + pause)
    return replace(outbox, messages=(*others, again))


def _not_ahead(outbox: Outbox, now: datetime) -> Outbox:
    """*outbox* as the clock has it that says *now*: nothing was read, told or tried later than that. Nothing would be
    told otherwise until a clock that was set back is there again."""
    return replace(
        outbox,
        read_until=min(outbox.read_until or now, now),
        messages=tuple(replace(one, due_at=min(one.due_at, now + RETRY_MAX)) for one in outbox.messages),
        told=tuple(replace(one, at=min(one.at, now)) for one in outbox.told),
        made=tuple(min(one, now) for one in outbox.made),
    )


def _with_alert(outbox: Outbox, alert: Alert, now: datetime) -> Outbox:
    before = next((one for one in outbox.told if one.key == alert.key), None)
    others = tuple(one for one in outbox.told if one.key != alert.key)
    if before is not None and now - before.at < REPEAT_PAUSE:
        counted = replace(before, last=alert, held_back=before.held_back + 1)
        return replace(outbox, told=(*others, counted))
    told = (*others, Told(alert.key, alert, now))[-TOLD_MAX:]
    return _waiting(replace(outbox, told=told), alert)


def _with_counts(outbox: Outbox, now: datetime) -> Outbox:
    """What was held back is told as a count when its pause is over; a trouble that has not come again is forgotten."""
    after = outbox
    for one in outbox.told:
        if now - one.at < REPEAT_PAUSE:
            continue
        others = tuple(other for other in after.told if other.key != one.key)
        if one.held_back:
            times = f"{one.held_back} more time{'s' if one.held_back > 1 else ''} since {_clock(one.at)}: "
            again = replace(one.last, text=times + one.last.text)
            after = _waiting(replace(after, told=(*others, Told(one.key, one.last, now))), again)
        else:
            after = replace(after, told=others)
    return after


def _waiting(outbox: Outbox, alert: Alert) -> Outbox:
    waiting = (*outbox.waiting, alert)
    over = max(len(waiting) - WAITING_MAX, 0)
    return replace(outbox, waiting=waiting[over:], dropped=outbox.dropped + over)


def _message(alerts: Sequence[Alert], dropped: int, targets: tuple[str, ...], sender: str, now: datetime) -> Message:
    urgency = max((one.urgency for one in alerts), key=list(Urgency).index)
    gravest = next(one for one in alerts if one.urgency is urgency)
    shown = alerts[-LINES_A_MESSAGE:]
    lines = [f"{_clock(one.at)} {one.title}: {one.text}" for one in shown]
    left_out = len(alerts) - len(shown) + dropped
    if left_out:
        lines.insert(0, f"{left_out} earlier alert{'s are' if left_out > 1 else ' is'} in the activity log")
    more = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    body = "\n".join(lines)
    name = hash_of("message", now.isoformat(), body)[:24]
    return Message(name, f"{sender}: {gravest.title}{more}", body, urgency, now, now, targets)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
