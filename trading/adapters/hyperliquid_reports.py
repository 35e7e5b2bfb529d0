"""What the evidence on one order adds up to: its state, its fills, the answer to its submit, the venue's clock.

The law: pure. The filled quantity is the sum of fills and never a status word; not knowing an order is no absence
before the order can no longer land; and until an order has ended its report claims no fill, because what one read
shows another may not show yet, and fills never shrink.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from trading.adapters.hyperliquid_actions import Executed
from trading.adapters.hyperliquid_wire import Fill, OrderState, reason_of_state
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.units import ZERO, Price, Quantity, Usd

ABSENCE_MARGIN = timedelta(seconds=5)
# Reads lag writes by up to a second (measured on testnet); this long after its end all fills of an order are readable.
FILLS_LAG = timedelta(seconds=3)
# And after this long they are all there are, whatever the state's sizes say: an immediate order trades in one block.
FILLS_LAG_MAX = timedelta(seconds=10)
FEE_STEP = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one order. `venue_now` is no later than the venue's clock when the rest was read.

    `executed` is the answer to the submit, when there was one; `burned` says that the order's nonce was used up by
    another action, so that it never landed and never will.
    """

    state: OrderState | None
    fills: Sequence[Fill]
    venue_now: datetime
    executed: Executed | None = None
    burned: bool = False


@dataclass(frozen=True, slots=True)
class Sum:
    """Coins, USD exchanged and fees of some fills, and the venue's instant of the newest."""

    quantity: Decimal = ZERO
    usd: Decimal = ZERO
    fees: Decimal = ZERO
    last_at: datetime | None = None


def own_fills(order: Order, fills: Iterable[Fill], oids: Iterable[int]) -> tuple[Fill, ...]:
    """The fills of *order* among *fills*, each once: by its client order id, or by the venue's own ids of it."""
    known = frozenset(oids)
    return tuple(
        {
            (one.tid, one.oid): one
            for one in fills
            if one.coin == order.coin and (one.cloid == order.client_order_id.lower() or one.oid in known)
        }.values()
    )


def report_on(order: Order, evidence: Evidence, now: datetime) -> OrderReport:
    """The present word on *order*, stamped *now*."""
    total = sum_of(evidence.fills)
    if total.quantity > order.quantity:
        return _doubt(order, OrderStatus.UNKNOWN, now, "more fills carry its id than it may have")
    if total.quantity == order.quantity:
        return ended(order, total, now)
    if evidence.state is None:
        return _unknown_to_the_venue(order, evidence, total, now)
    if evidence.state.open or not (evidence.state.over or can_no_longer_land(order, evidence.venue_now)):
        return _doubt(order, OrderStatus.ACCEPTED, now, f"the venue says {evidence.state.state}")
    if evidence.state.rejected and not total.quantity:
        return refused(order, reason_of_state(evidence.state.state), evidence.state.state, now)
    return _ended_at_the_venue(order, evidence, evidence.state, total, now)


def answered(order: Order, executed: Executed, fills: Sequence[Fill], now: datetime) -> OrderReport:
    """The word on an order whose submit was answered with an execution: final once its fills are all readable.

    The answer carries no fee and a rounded price, so that only the fills make profit and loss right to the cent.
    """
    total = sum_of(fills)
    if total.quantity == executed.quantity <= order.quantity:
        return ended(order, total, now)
    return _doubt(order, OrderStatus.ACCEPTED, now, f"filled {executed.quantity}; its fills are not readable yet")


def ended(order: Order, total: Sum, now: datetime) -> OrderReport:
    """A final word with a fill."""
    return OrderReport(
        client_order_id=order.client_order_id,
        status=OrderStatus.FILLED if total.quantity == order.quantity else OrderStatus.PARTIALLY_FILLED,
        reported_at=now,
        filled=Quantity(total.quantity),
        average_price=Price(total.usd / total.quantity),
        fees=Usd(total.fees),
        filled_at=total.last_at,
    )


def computed(order: Order, executed: Executed, taker_fee: Decimal, now: datetime) -> OrderReport:
    """The final word when the fills stay unreadable: the venue's answer, and its fee by the account's own rate.

    The fee is that of a taker, truncated to the millionth as the venue does on perpetuals.
    """
    usd = executed.quantity * executed.price
    fees = (usd * taker_fee).quantize(FEE_STEP, ROUND_DOWN)
    return ended(order, Sum(executed.quantity, usd, fees), now)


def refused(order: Order, reason: RejectReason, words: str, now: datetime) -> OrderReport:
    return OrderReport(order.client_order_id, OrderStatus.REJECTED, now, reason=reason, detail=words)


def unknown(order: Order, words: str, now: datetime) -> OrderReport:
    return _doubt(order, OrderStatus.UNKNOWN, now, words)


def can_no_longer_land(order: Order, venue_now: datetime) -> bool:
    """Has the order been expired by the venue's clock for long enough that it would be known had it landed."""
    return venue_now > order.expires_at + ABSENCE_MARGIN


def _unknown_to_the_venue(order: Order, evidence: Evidence, total: Sum, now: datetime) -> OrderReport:
    if evidence.executed is not None:
        return answered(order, evidence.executed, evidence.fills, now)
    late = can_no_longer_land(order, evidence.venue_now)
    if total.quantity:
        word = "some of its fills are readable, its end is not yet"
        return ended(order, total, now) if late else _doubt(order, OrderStatus.ACCEPTED, now, word)
    if evidence.burned:
        return OrderReport(order.client_order_id, OrderStatus.ABSENT, now, detail="its nonce was used up without it")
    if late:
        return OrderReport(order.client_order_id, OrderStatus.ABSENT, now, detail="expired, and unknown to the venue")
    return unknown(order, "the venue does not know it yet", now)


def _ended_at_the_venue(order: Order, evidence: Evidence, state: OrderState, total: Sum, now: datetime) -> OrderReport:
    """The venue says that the order is over: final once the fills add up to what it traded."""
    traded = state.original - state.remaining if evidence.executed is None else evidence.executed.quantity
    # A reduce-only order may have been shrunk, and then original less remaining is not what it traded: there the fills
    # have to speak for themselves, when they have had time to become readable.
    settled = evidence.venue_now > state.at + (FILLS_LAG if order.reduce_only else FILLS_LAG_MAX)
    if total.quantity and (total.quantity == traded or settled):
        return ended(order, total, now)
    if not total.quantity and state.state != "filled" and (traded == 0 or settled):
        return refused(order, reason_of_state(state.state), state.state, now)
    return _doubt(order, OrderStatus.ACCEPTED, now, f"the venue says {state.state}; its fills are not readable yet")


def _doubt(order: Order, status: OrderStatus, now: datetime, words: str) -> OrderReport:
    return OrderReport(order.client_order_id, status, now, detail=words)


def sum_of(fills: Sequence[Fill]) -> Sum:
    return Sum(
        sum((one.quantity for one in fills), ZERO),
        sum((one.quantity * one.price for one in fills), ZERO),
        sum((one.fee for one in fills), ZERO),
        max((one.at for one in fills), default=None),
    )
