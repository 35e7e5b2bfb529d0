"""Whose fills are whose of what was sent through Pear, and what Pear's answer and those fills of an order add up to.

The law: pure. A fill is a fact only at the exchange; Pear's success is no fill and Pear's refusal no proof that one leg
was not done. Pear has neither an order's id nor an expiry, so that absence cannot be proven here: an opening of which
nothing was seen for ninety seconds is called unexplained, and what shows up later is somebody's to flatten.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.adapters.hyperliquid_api import Skew
from trading.adapters.hyperliquid_reports import FILLS_LAG, Sum, ended, refused, sum_of, unknown
from trading.adapters.hyperliquid_wire import Fill
from trading.adapters.pear_register import Sent
from trading.adapters.pear_wire import CLOID_MARK
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.units import ZERO, ClientOrderId

# Reads at the exchange lag writes by up to a second (measured on testnet); a leg may have been done although Pear says
# no, so that a no is believed after this.
REFUSAL_SETTLED = timedelta(seconds=1.5)
# Pear says that it did something and the exchange shows none of it: it may be slow to do it.
ANSWER_SETTLED = timedelta(seconds=10)
OPEN_PATIENCE = timedelta(seconds=90)
# A close is safe to repeat (sizes at Pear are absolute, closes go by state), so that it is not waited for as long.
CLOSE_PATIENCE = timedelta(seconds=15)
# What was filled longer than this before an opening was sent is not its own; clocks differ by no more unnoticed.
CLOCK_MARGIN = timedelta(seconds=1)
# A close may follow upon what others have taken of the same coin: as far as clocks part between two measurements.
CLOSE_MARGIN = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one order. `fills` are its own; `group_filled_at` is the newest fill of its group.

    `sent_at` is when it was, or was intended to be, sent; instants are the exchange's.
    """

    sent: Sent | None
    fills: Sequence[Fill]
    venue_now: datetime
    sent_at: datetime
    answered_at: datetime | None
    refused_at: datetime | None
    group_filled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Window:
    """When an order may have traded, by the exchange's clock: from a moment before it was sent to when the next like it
    was."""

    from_at: datetime
    sent_at: datetime
    until_at: datetime | None

    def holds(self, at: datetime) -> bool:
        return self.from_at <= at and (self.until_at is None or at < self.until_at)


def sent_at(order: Order, known: Mapping[ClientOrderId, Sent]) -> datetime:
    """When it was registered as sent; without that, when it was intended."""
    sent = known.get(order.client_order_id)
    return sent.sent_at if sent is not None else order.intended_at


def evidence_of(
    orders: Sequence[Order],
    known: Mapping[ClientOrderId, Sent],
    fills: Sequence[Fill],
    venue_now: datetime,
    skew: Skew,
) -> Mapping[ClientOrderId, Evidence]:
    """What is known of each of *orders*, which were asked about together, by the account's *fills* since the first of
    them was sent."""
    own: dict[ClientOrderId, tuple[Fill, ...]] = {}
    for order in orders:
        taken = {(fill.tid, fill.oid, fill.coin) for others in own.values() for fill in others}
        free = [fill for fill in fills if (fill.tid, fill.oid, fill.coin) not in taken]
        own[order.client_order_id] = _own_fills(order, known, free, _window_of(order, known, skew))
    found = {}
    for order in orders:
        sent = known.get(order.client_order_id)
        answered_at = None if sent is None else sent.answered_at
        refused_at = None if sent is None else sent.refused_at
        group = [fill.at for one in orders if _same_group(one, order, known) for fill in own[one.client_order_id]]
        group += _ended_siblings(order, known, fills)
        found[order.client_order_id] = Evidence(
            sent=sent,
            fills=own[order.client_order_id],
            venue_now=venue_now,
            sent_at=sent_at(order, known) + skew.ahead,
            answered_at=None if answered_at is None else answered_at + skew.ahead,
            refused_at=None if refused_at is None else refused_at + skew.ahead,
            group_filled_at=max(group, default=None),
        )
    return found


def owners_of(
    known: Mapping[ClientOrderId, Sent], fills: Sequence[Fill], skew: Skew
) -> Mapping[tuple[int, int], ClientOrderId]:
    """Whose each fill is, of those that are the desk's: as told, as claimed, or in the window of one in doubt."""
    owners: dict[tuple[int, int], ClientOrderId] = {}
    for sent in known.values():
        for one in fills:
            if one.oid in sent.told or one.tid in sent.tids:
                owners[one.tid, one.oid] = sent.client_order_id
    for sent in known.values():
        if sent.final is None:
            # What a write that reduces was to take is registered with it.
            window = _window(sent, known, skew, reduces=sent.expected is not None)
            for one in fills:
                if one.coin == sent.coin and one.side is sent.side and window.holds(one.at):
                    owners.setdefault((one.tid, one.oid), sent.client_order_id)
    return owners


def _own_fills(
    order: Order, known: Mapping[ClientOrderId, Sent], fills: Iterable[Fill], window: Window
) -> tuple[Fill, ...]:
    """The fills of *order*: those of the exchange's order ids that Pear told; where there are none, those of its coin
    and side in its *window* that belong to no other order, Pear's own by their mark where there are any; of those
    no more than a write that reduces was to take."""
    sent = known.get(order.client_order_id)
    there = [one for one in fills if one.coin == order.coin and one.side is order.side]
    told = tuple(one for one in there if sent is not None and one.oid in sent.told)
    if told:
        return told
    rest = [one for one in known.values() if one.client_order_id != order.client_order_id]
    tids, oids = {tid for one in rest for tid in one.tids}, {oid for one in rest for oid in one.told}
    free = [
        one
        for one in there
        if window.holds(one.at) and one.tid not in tids and one.oid not in oids and one.cloid not in known
    ]
    marked = [one for one in free if one.cloid is not None and one.cloid.startswith(CLOID_MARK)]
    found = marked or [one for one in free if one.liquidated is None]
    return tuple(found) if sent is None or sent.expected is None else _up_to(sent.expected, found, window)


def _up_to(expected: Decimal, fills: Sequence[Fill], window: Window) -> tuple[Fill, ...]:
    """The first of *fills* that make up *expected*, those of before the sending last: they may be of the one before."""
    found: list[Fill] = []
    for one in sorted(fills, key=lambda one: (one.at < window.sent_at, one.at, one.oid, one.tid)):
        if sum((fill.quantity for fill in found), ZERO) < expected:
            found.append(one)
    return tuple(found)


def _window_of(order: Order, known: Mapping[ClientOrderId, Sent], skew: Skew) -> Window:
    mine = known.get(order.client_order_id)
    mine = mine or Sent(order.client_order_id, order.coin, order.side, "", order.intended_at)
    return _window(mine, known, skew, reduces=order.reduce_only)


def _window(mine: Sent, known: Mapping[ClientOrderId, Sent], skew: Skew, *, reduces: bool) -> Window:
    """From a moment before it was sent to when the next of its coin and side was: writes go one at a time. Without that
    moment while the one before it is in doubt: no fill is in two windows, whoever looks at the same time."""
    like = [one for one in known.values() if one.coin == mine.coin and one.side is mine.side and one.key]
    place = next((place for place, one in enumerate(like) if one.client_order_id == mine.client_order_id), len(like))
    began, sent_at = (mine.sent_at, place), mine.sent_at + skew.ahead
    later = [one.sent_at for place, one in enumerate(like) if (one.sent_at, place) > began]
    doubted = any(
        (one.sent_at, place) < began and one.final is None and mine.sent_at - one.sent_at <= CLOSE_PATIENCE
        for place, one in enumerate(like)
    )
    from_at = sent_at if doubted else _begins(mine.sent_at, skew, reduces=reduces)
    return Window(from_at, sent_at, min(later) + skew.ahead if later else None)


def _begins(began: datetime, skew: Skew, *, reduces: bool) -> datetime:
    """Since when a fill may be of an order sent then, by the exchange's clock. Once others have taken a part the desk
    closes the rest within a moment, the same coin on the same side: what they took is not its own."""
    return began + skew.ahead - (skew.uncertain + CLOSE_MARGIN if reduces else CLOCK_MARGIN)


def _same_group(one: Order, other: Order, known: Mapping[ClientOrderId, Sent]) -> bool:
    if one is other:
        return True
    left, right = known.get(one.client_order_id), known.get(other.client_order_id)
    return left is not None and right is not None and left.key == right.key != ""


def _ended_siblings(order: Order, known: Mapping[ClientOrderId, Sent], fills: Sequence[Fill]) -> list[datetime]:
    """When the orders of the same write that have ended were filled."""
    own = known.get(order.client_order_id)
    tids = {tid for one in known.values() if own is not None and one.key == own.key != "" for tid in one.tids}
    return [one.at for one in fills if one.tid in tids]


def report_on(order: Order, evidence: Evidence, now: datetime) -> OrderReport:
    """The present word on *order*, stamped *now*."""
    total, sent = sum_of(evidence.fills), evidence.sent
    if total.quantity and total.quantity in _complete(order, sent):
        return ended_by_venue(order, total, now)
    if evidence.answered_at is not None:
        return _answered(order, evidence, total, now)
    if total.quantity:
        return (
            ended_by_venue(order, total, now) if _is_still(evidence) else _doubt(order, now, "its fills are coming in")
        )
    if evidence.group_filled_at is not None and _is_still(evidence):
        return refused(order, RejectReason.NO_MATCH, "the rest of its group was filled, it was not", now)
    if sent is not None and sent.refused is not None:
        # By when it came: what was done is done by then, and not by its sending, which may be seconds before.
        if evidence.venue_now > (evidence.refused_at or evidence.sent_at) + REFUSAL_SETTLED:
            return refused(order, *sent.refused, now)
        return _doubt(order, now, f"Pear says no: {sent.refused[1]}")
    return _unexplained(order, evidence, now)


def _complete(order: Order, sent: Sent | None) -> tuple[Decimal, ...]:
    """The quantities at which nothing more is to come."""
    if sent is None:
        return (order.quantity,)
    told = sum(sent.told.values(), ZERO)
    return (order.quantity, told) if sent.expected is None else (order.quantity, told, sent.expected)


def _answered(order: Order, evidence: Evidence, total: Sum, now: datetime) -> OrderReport:
    """Pear says that it was done: what the exchange shows once that has had time to show."""
    assert evidence.answered_at is not None  # noqa: S101 - the caller has looked
    waited = evidence.venue_now - evidence.answered_at
    told = evidence.sent is not None and evidence.sent.told
    if total.quantity and waited > FILLS_LAG and _is_still(evidence):
        return ended_by_venue(order, total, now)
    if not total.quantity and waited > (FILLS_LAG if told or evidence.group_filled_at else ANSWER_SETTLED):
        return refused(order, RejectReason.NO_MATCH, "Pear did it and nothing of it was filled", now)
    return _doubt(order, now, "Pear did it; its fills are not readable yet")


def _unexplained(order: Order, evidence: Evidence, now: datetime) -> OrderReport:
    waited = evidence.venue_now - evidence.sent_at
    if order.reduce_only and waited > CLOSE_PATIENCE:
        return refused(order, RejectReason.OTHER, "Pear did not confirm it and nothing was filled", now)
    if waited > OPEN_PATIENCE:
        seconds = int(OPEN_PATIENCE.total_seconds())
        return refused(order, RejectReason.UNEXPLAINED, f"nothing was seen of it for {seconds} s", now)
    return unknown(order, "Pear did not say what became of it", now)


def _is_still(evidence: Evidence) -> bool:
    """One batch trades in one block: some seconds after the newest fill of the group all of them can be read."""
    newest = evidence.group_filled_at
    return newest is not None and evidence.venue_now > newest + FILLS_LAG


def ended_by_venue(order: Order, total: Sum, now: datetime) -> OrderReport:
    """A final word with a fill, which may be of more than was asked: Pear makes coins of dollars by itself."""
    report = ended(order, total, now)
    status = OrderStatus.FILLED if total.quantity >= order.quantity else OrderStatus.PARTIALLY_FILLED
    return replace(report, status=status, sized_by_venue=total.quantity > order.quantity)


def _doubt(order: Order, now: datetime, words: str) -> OrderReport:
    return OrderReport(order.client_order_id, OrderStatus.ACCEPTED, now, detail=words)
