"""What all processes of a machine must know of an account's writes at Pear: whose turn it is, and what was sent.

The law: one write of an account at a time, and a close never waits behind an opening that has not begun; an order is
registered, synced, before a byte of it leaves, and its final word is kept. The files are not the truth about anything:
without them the exchange's fills since the order was intended still say what became of it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from trading.adapters.followed_file import FollowedFile
from trading.adapters.hyperliquid_values import instant_of, milliseconds
from trading.domain.errors import Busy, VenueUnavailable
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd
from trading.utils.locks import ProcessLock
from trading.utils.owner import make_directory

REGISTER_BYTES_MAX = 1 << 20
# An opening that cannot have its turn is refused, unsent; a close waits for the write in hand, which may take seconds.
OPEN_WAIT_SECONDS = 3.0
CLOSE_WAIT_SECONDS = 6.0
TURN_PAUSE_SECONDS = 0.01
FILES_SECONDS_MAX = 2.0
_UNREADABLE = (VenueUnavailable, ValueError, LookupError, TypeError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the register knows of one order.

    `expected` coins are what a write that reduces was to take. `answered_at`: Pear said that it was carried out. `told`
    are the exchange's order ids and coins of that answer; `refused` is Pear's no, which may hold for a part only, and
    came at `refused_at`.
    `final` is the last word on it, made of the fills `tids`.
    """

    client_order_id: ClientOrderId
    coin: Coin
    side: Side
    key: str
    sent_at: datetime
    expected: Quantity | None = None
    answered_at: datetime | None = None
    told: Mapping[int, Quantity] = field(default_factory=dict)
    refused: tuple[RejectReason, str] | None = None
    refused_at: datetime | None = None
    final: OrderReport | None = None
    tids: frozenset[int] = frozenset()


class WriteRegister:
    """The register of the account at *address* in *folder*, which all desks of the machine share.

    Raises Busy when a lock cannot be had, and OSError when a file cannot be used: nothing was registered then.
    Constructing it raises StoreCorrupt when *folder* cannot be made.
    """

    def __init__(self, folder: Path, address: str) -> None:
        make_directory(folder)
        self._file = FollowedFile(folder / f"{address}.orders", bytes_max=REGISTER_BYTES_MAX)
        self._files = ProcessLock(folder / f"{address}.files.lock", "the register of Pear's orders", FILES_SECONDS_MAX)
        self._gate = ProcessLock(folder / f"{address}.gate.lock", "the turn at Pear", CLOSE_WAIT_SECONDS)
        self._writes = ProcessLock(folder / f"{address}.writes.lock", "the write at Pear", CLOSE_WAIT_SECONDS)
        self._sent: dict[ClientOrderId, Sent] = {}

    @contextmanager
    def turn(self, *, closes: bool) -> Iterator[None]:
        """The right to write. A close holds the gate while it waits, so that no opening passes it. Raises Busy."""
        if closes:
            with self._gate.held(), self._writes.held():
                yield
            return
        with self._opening_turn():
            yield

    @contextmanager
    def _opening_turn(self) -> Iterator[None]:
        """Gate and write at once or neither: an opening never keeps a close from standing at the gate."""
        with ExitStack() as held:
            for tries in range(int(OPEN_WAIT_SECONDS / TURN_PAUSE_SECONDS), -1, -1):
                try:
                    with self._gate.held(0.0):
                        held.enter_context(self._writes.held(0.0))
                    break
                except Busy:
                    if not tries:
                        raise
                    time.sleep(TURN_PAUSE_SECONDS)
            yield

    def claim(
        self, orders: Sequence[Order], key: str, at: datetime, expected: Mapping[Coin, Quantity] | None = None
    ) -> frozenset[ClientOrderId]:
        """Register *orders* as about to be sent under *key*, synced; those registered before are returned, and then
        none is registered."""
        with self._files.held():
            self._follow()
            known = frozenset(one.client_order_id for one in orders if one.client_order_id in self._sent)
            if not known:
                rows = [
                    {"id": one.client_order_id, "coin": one.coin, "side": one.side, "key": key}
                    | {"sent_ms": milliseconds(at)}
                    | ({"expected": str(expected[one.coin])} if expected else {})
                    for one in orders
                ]
                self._append(rows, synced=True)
            return known

    def answered(self, orders: Iterable[Order], at: datetime, told: Mapping[int, tuple[Coin, Quantity]]) -> None:
        """Pear says that *orders* were carried out."""
        self._note(
            {"id": one.client_order_id, "answered_ms": milliseconds(at)}
            | {"told": {str(oid): str(quantity) for oid, (coin, quantity) in told.items() if coin == one.coin}}
            for one in orders
        )

    def refused(self, orders: Iterable[Order], at: datetime, reason: RejectReason, words: str) -> None:
        row = {"refused": [reason, words], "refused_ms": milliseconds(at)}
        self._note({"id": one.client_order_id} | row for one in orders)

    def ended(self, order: Order, report: OrderReport, tids: Iterable[int]) -> None:
        """Keep the final word on *order*, also of one that was refused unsent."""
        final = {
            "status": report.status,
            "at_ms": milliseconds(report.reported_at),
            "filled": str(report.filled),
            "price": None if report.average_price is None else str(report.average_price),
            "fees": str(report.fees),
            "reason": report.reason,
            "detail": report.detail,
            "sized": report.sized_by_venue,
            "filled_ms": None if report.filled_at is None else milliseconds(report.filled_at),
        }
        row = {"id": order.client_order_id, "coin": order.coin, "side": order.side, "final": final}
        self._note([row | {"tids": sorted(tids), "sent_ms": milliseconds(order.intended_at)}])

    def known(self) -> Mapping[ClientOrderId, Sent]:
        """Everything that the register remembers."""
        with self._files.held():
            self._follow()
            return dict(self._sent)

    def _note(self, rows: Iterable[Mapping[str, object]]) -> None:
        with self._files.held():
            self._follow()
            self._append(list(rows), synced=False)

    def _append(self, rows: Sequence[Mapping[str, object]], *, synced: bool) -> None:
        self._file.append([json.dumps(row) for row in rows], synced=synced)
        self._follow()

    def _follow(self) -> None:
        """Take in what any process has registered since the last look."""
        lines, anew = self._file.news()
        if anew:
            self._sent = {}
        for line in lines:
            row = _row(line)
            if row is not None:
                name = ClientOrderId(str(row["id"]))
                # What a later version has written, or a damaged disk made of it, is as good as torn.
                with suppress(*_UNREADABLE):
                    self._sent[name] = _merged(self._sent.get(name), name, row)


def _row(line: str) -> dict[str, object] | None:
    """The record of a line; None for a torn one and for the breaks between them."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "id" in found else None


def _merged(before: Sent | None, name: ClientOrderId, row: dict[str, object]) -> Sent:
    sent = before or Sent(
        name,
        Coin(str(row.get("coin"))),
        Side(str(row.get("side", Side.BUY))),
        str(row.get("key", "")),
        instant_of(row.get("sent_ms", 0)),
    )
    told, refused, final, tids = row.get("told"), row.get("refused"), row.get("final"), row.get("tids")
    if "expected" in row:
        sent = replace(sent, expected=Quantity(Decimal(str(row["expected"]))))
    if "answered_ms" in row:
        sent = replace(sent, answered_at=instant_of(row["answered_ms"]))
    if isinstance(told, dict):
        sent = replace(sent, told={int(oid): Quantity(Decimal(str(one))) for oid, one in told.items()})
    if isinstance(refused, list):
        sent = replace(sent, refused=(RejectReason(str(refused[0])), str(refused[1])))
    if "refused_ms" in row:
        sent = replace(sent, refused_at=instant_of(row["refused_ms"]))
    if isinstance(final, dict):
        sent = replace(sent, final=_report(name, final))
    if isinstance(tids, list):
        sent = replace(sent, tids=frozenset(int(one) for one in tids))
    return sent


def _report(name: ClientOrderId, final: Mapping[str, object]) -> OrderReport:
    price, reason, filled_ms = final["price"], final["reason"], final.get("filled_ms")
    return OrderReport(
        client_order_id=name,
        status=OrderStatus(str(final["status"])),
        reported_at=instant_of(final["at_ms"]),
        filled=Quantity(Decimal(str(final["filled"]))),
        average_price=None if price is None else Price(Decimal(str(price))),
        fees=Usd(Decimal(str(final["fees"]))),
        reason=None if reason is None else RejectReason(str(reason)),
        detail=str(final["detail"]),
        sized_by_venue=final["sized"] is True,
        filled_at=None if filled_ms is None else instant_of(filled_ms),
    )
