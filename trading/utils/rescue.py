"""The journal of last resort, rescue.json: what was done where the ledger could not be trusted or written.

The law: what cannot be journaled is said on stderr at once, and journaled as soon as it can be; a line that cannot be
read takes no other with it.
"""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from trading.domain.codec import Json, decode_event
from trading.domain.errors import Busy, InvariantBroken, StoreCorrupt
from trading.domain.orders import Order, OrderReport
from trading.domain.trades import Event, OrdersIntended, OrdersReported
from trading.domain.units import ClientOrderId, PositionId
from trading.utils.disk import Disk, Stamp
from trading.utils.journal import Journal, salvaged
from trading.utils.ledger import BOOK, LEDGER, RESCUE, RESERVE, STATE
from trading.utils.reserve import Reserve, is_full


@dataclass(frozen=True, slots=True)
class _Sent:
    """The orders of a list of records, oldest first, and how they ended, as far as that was told."""

    orders: tuple[Order, ...] = ()
    ends: Mapping[ClientOrderId, OrderReport] = field(default_factory=dict)


def _sent_of(records: Sequence[Mapping[str, Json]]) -> _Sent:
    events = list(_events_of(records))
    reports = [report for event in events if isinstance(event, OrdersReported) for report in event.reports]
    return _Sent(
        tuple(order for event in events if isinstance(event, OrdersIntended) for order in event.orders),
        {one.client_order_id: one for one in reports if not one.status.in_doubt},
    )


def _events_of(records: Sequence[Mapping[str, Json]]) -> Iterator[Event]:
    for one in records:
        if "event" in one:
            with suppress(StoreCorrupt):
                yield decode_event(one["event"])


class Rescue:
    """The rescue journal of a DATA_DIR, as one process sees it. Threads share it."""

    def __init__(self, data_dir: Path, disk: Disk) -> None:
        self._path = data_dir / RESCUE
        self._disk = disk
        self._reserve = Reserve(data_dir / RESERVE, disk)
        self._lock = threading.Lock()
        self._was_there = self._is_there()
        self._waiting: list[Mapping[str, Json]] = []
        self._read: tuple[Stamp | None, tuple[Mapping[str, Json], ...]] | None = None
        self._decoded: tuple[Sequence[Mapping[str, Json]], _Sent] = ((), _Sent())

    def note(self, record: Mapping[str, Json]) -> bool:
        """Say *record* on stderr and append it, synced, with those that are still waiting; True when it is on disk."""
        with suppress(OSError, ValueError):  # a closed stderr must not stop an emergency stop
            print(f"rescue: {json.dumps(record)}", file=sys.stderr, flush=True)
        with self._lock:
            self._waiting.append(record)
            return self._catch_up()

    def left(self) -> frozenset[PositionId]:
        """The positions that were left, by whatever process."""
        lists = (one.get("positions") for one in self._records() if one.get("rescue") == "left")
        return frozenset(PositionId(str(name)) for names in lists if isinstance(names, list) for name in names)

    def sent(self) -> tuple[Order, ...]:
        """The orders that were sent, by whatever process, oldest first."""
        return self._sent().orders

    def ends(self) -> Mapping[ClientOrderId, OrderReport]:
        """How those ended, as far as whoever sent them was told."""
        return self._sent().ends

    def _sent(self) -> _Sent:
        records, (known, sent) = self._records(), self._decoded
        # A monitor asks at each tick; the same list says the same orders.
        if records is not known:
            sent = _sent_of(records)
            self._decoded = records, sent
        return sent

    def _records(self) -> Sequence[Mapping[str, Json]]:
        with self._lock:
            if self._waiting:
                self._catch_up()
            try:
                stamp = self._disk.stamp(self._path)
            except OSError:
                return tuple(self._waiting)
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, tuple(one.content for one in salvaged(self._path, self._disk)) if stamp else ()
            return (*self._read[1], *self._waiting) if self._waiting else self._read[1]

    def _is_away(self) -> bool:
        """Whether nothing of the folder is where it was: what is made there meanwhile is in the way of its return, or
        hidden behind it."""
        return self._was_there and not self._is_there()

    def _is_there(self) -> bool:
        with suppress(OSError):
            return any(self._disk.stamp(self._path.with_name(one)) is not None for one in (LEDGER, BOOK, STATE))
        return False

    def _catch_up(self) -> bool:
        if self._is_away():
            return False
        for _ in range(2):
            try:
                journal = Journal(self._path, disk=self._disk)
                try:
                    journal.append(self._waiting)
                    self._waiting = []
                    return True
                finally:
                    journal.close()
            except StoreCorrupt as error:
                if not is_full(error) or not self._reserve.free():
                    return False
            except InvariantBroken:
                # No record that a journal takes: it must not stand in the way of the others.
                del self._waiting[-1]
                return False
            except Busy:
                return False
        return False
