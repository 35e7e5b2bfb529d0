"""The courier: reads the activity log, keeps the outbox of alerts on disk and takes its messages to their targets.

The law: nothing of trading waits for it or fails with it. It runs in a thread of its own, in the monitor and in the web
process alike, so that either may die; one of them carries at a time, and what one has begun the other finishes.
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Protocol

from trading.domain.alerts import (
    LogLine,
    Message,
    Outbox,
    Urgency,
    after_try,
    due_messages,
    with_lines,
    with_message,
)
from trading.domain.errors import Busy, DeskError, StoreCorrupt
from trading.engine.desk import Desk
from trading.engine.states import BEAT_AGE_MAX
from trading.ports import Json

_logger = logging.getLogger(__name__)

LINES_READ = 500
ROUND_SECONDS = 1.0
MONITOR_PATIENCE = timedelta(seconds=10)
DISK_LOW_BYTES = 512 * 1024 * 1024
MESSAGES_A_ROUND = 3


class AlertOutbox(Protocol):
    """Where the outbox is kept, shared with other processes. Raises Busy, and StoreCorrupt when it cannot be
    written."""

    def turn(self) -> AbstractContextManager[None]:
        """The right to read, send and write. Raises Busy at once while somebody else has it."""

    def load(self) -> Outbox:
        """What was saved last. One that cannot be read begins anew: silence would be worse."""

    def save(self, outbox: Outbox) -> None:
        """Synced."""

    def free_bytes(self) -> int | None:
        """Room on the disk of DATA_DIR; None where it cannot be told."""


class Notifier(Protocol):
    """The targets that alerts go to. Never raises, and never says what a target's address is."""

    @property
    def targets(self) -> tuple[str, ...]:
        """A name for each target that tells nothing of it."""

    def tell(self, target: str, message: Message) -> bool:
        """Whether *target* took it. Takes some seconds at most."""


@dataclass
class Courier:
    """One process's courier, and what it has seen between two rounds."""

    desk: Desk
    outbox: AlertOutbox
    notifier: Notifier
    sender: str
    monitor_missed_since: datetime | None = None
    monitor_lost: bool = False
    disk_low: bool = False
    trouble: str = ""
    stopping: Event = field(default_factory=Event)


def start(courier: Courier) -> Thread:
    """Carry until `courier.stopping` is set, in a thread that keeps no process from ending."""
    thread = Thread(target=_carry, args=(courier,), name="alerts", daemon=True)
    thread.start()
    return thread


def carry_once(courier: Courier) -> None:
    """One round: look, read what the log has new, send what is due. Does nothing while another process carries."""
    try:
        with courier.outbox.turn():
            _look_around(courier)
            _round(courier)
    except Busy:
        return


def _carry(courier: Courier) -> None:
    while not courier.stopping.wait(ROUND_SECONDS):
        try:
            carry_once(courier)
            courier.trouble = ""
        except DeskError as error:
            _say(courier, error.detail)
        except Exception as bug:
            # Alerts must outlive a bug in them; nobody else would say that they have stopped.
            _say(courier, f"a bug: {type(bug).__name__}")


def _say(courier: Courier, words: str) -> None:
    """Once for as long as it lasts. Not in the activity log, which is what alerts are made from."""
    if courier.trouble != words:
        courier.trouble = words
        _logger.error("alerts cannot be carried: %s", words)


def _round(courier: Courier) -> None:
    desk, now = courier.desk, courier.desk.clock.now()
    before = courier.outbox.load()
    lines = [line for line in map(line_of, desk.log.tail(LINES_READ)) if line is not None]
    after = with_message(with_lines(before, lines, now), courier.notifier.targets, courier.sender, now)
    if after != before:
        courier.outbox.save(after)
    for message in due_messages(after, now)[:MESSAGES_A_ROUND]:
        known = [one for one in message.left if one in courier.notifier.targets]
        left = [one for one in known if not courier.notifier.tell(one, message)]
        after = after_try(after, message, left, desk.clock.now())
        courier.outbox.save(after)


def line_of(entry: Mapping[str, Json]) -> LogLine | None:
    """An entry of the log as alerts see it; None for one that is not whole."""
    facts, data = {}, entry.get("data")
    if isinstance(data, dict):
        facts = {name: str(value) for name, value in data.items() if value is not None}
    try:
        at = datetime.fromisoformat(str(entry["timestamp"]))
        urgency = Urgency(str(entry["type"]))
        return LogLine(str(entry["id"]), at, urgency, str(entry["message"]), facts) if at.tzinfo else None
    except (KeyError, ValueError):
        return None


def _look_around(courier: Courier) -> None:
    """What no line of the log tells, because the one that would write it is gone: it becomes a line here."""
    _look_at_monitor(courier)
    _look_at_disk(courier)


def _look_at_monitor(courier: Courier) -> None:
    desk, now = courier.desk, courier.desk.clock.now()
    if not _monitor_missed(desk, now):
        courier.monitor_missed_since = None
        if courier.monitor_lost:
            courier.monitor_lost = False
            desk.log.write("success", "the monitor is watching again", event="MonitorBack")
        return
    courier.monitor_missed_since = courier.monitor_missed_since or now
    if not courier.monitor_lost and now - courier.monitor_missed_since >= MONITOR_PATIENCE:
        courier.monitor_lost = True
        desk.log.write(
            "error", "no monitor is alive: nothing closes positions or works slices by itself", event="MonitorLost"
        )


def _monitor_missed(desk: Desk, now: datetime) -> bool:
    """Whether there should be a monitor and is none. A store that cannot be read has its own line."""
    try:
        if desk.store.trouble or not (desk.config.require_monitor or desk.store.book().standing_positions()):
            return False
        beat = desk.store.last_beat()
    except (StoreCorrupt, Busy):
        return False
    return beat is None or now - beat > BEAT_AGE_MAX


def _look_at_disk(courier: Courier) -> None:
    free = courier.outbox.free_bytes()
    low = free is not None and free < DISK_LOW_BYTES
    if low and not courier.disk_low:
        courier.desk.log.write("warning", f"less than {DISK_LOW_BYTES >> 20} MB are left on the disk", event="DiskLow")
    courier.disk_low = low
