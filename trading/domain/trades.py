"""A trade and its life: frozen events, one transition table, and the fold that turns the one into the other.

The law: a record changes only through `record`, and `replay(trade.events) == trade` for every trade ever stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import partial
from typing import assert_never

from trading.domain.errors import InvariantBroken
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Pair
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.signals import Approval, Signal
from trading.domain.units import (
    ONE,
    ZERO,
    ClientOrderId,
    Coin,
    PositionId,
    Price,
    Quantity,
    Ratio,
    TradeId,
    Usd,
    hash_of,
)


class PositionEffect(StrEnum):
    """FIX tag 77: does the trade open the pair or close it."""

    OPEN = "OPEN"
    CLOSE = "CLOSE"


OVERFILL_MAX = Decimal("1.2")


class TradeStatus(StrEnum):
    PENDING = "PENDING"
    WORKING = "WORKING"
    REPAIRING = "REPAIRING"
    SUSPENDED = "SUSPENDED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"

    @property
    def live(self) -> bool:
        return self not in (TradeStatus.FILLED, TradeStatus.CANCELED, TradeStatus.REJECTED)


@dataclass(frozen=True, slots=True)
class LegPlan:
    """What one leg is to trade in all: `side` is that of this trade's orders, `arrival_price` the mid when it was
    accepted, `beside` the coins that the account then held on that side and the desk knew nothing of."""

    coin: Coin
    side: Side
    quantity: Quantity
    arrival_price: Price
    beside: Quantity = Quantity(ZERO)

    @property
    def notional(self) -> Usd:
        return Usd(self.quantity * self.arrival_price)


@dataclass(frozen=True, slots=True)
class Slice:
    """One scheduled part, quantities in coins."""

    number: int
    due_at: datetime
    long_quantity: Quantity
    short_quantity: Quantity


@dataclass(frozen=True, slots=True)
class Check:
    """One numeric limit and what it measured when the trade was accepted."""

    name: str
    limit: Decimal
    actual: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything fixed when the trade is accepted. `long` and `short` name the legs of the position, also in a CLOSE.

    `gives_up_at`: when an OPEN gives up what is not filled, and when a CLOSE in slices takes all that is left.
    `slices_requested`: how many were asked for, where the venue's minimum allows fewer. `request_id` is that of the
    HTTP request that asked for it, empty when none did.
    """

    trade_id: TradeId
    position_id: PositionId
    effect: PositionEffect
    pair: Pair
    long: LegPlan
    short: LegPlan
    slices: tuple[Slice, ...]
    slice_interval_seconds: Decimal
    gives_up_at: datetime
    accepted_at: datetime
    slippage_max: Ratio
    leverage: int
    requested_usd: Usd
    exit_plan: ExitPlan | None = None
    exit_reason: ExitReason | None = None
    signal: Signal | None = None
    approval: Approval | None = None
    request_key: str = ""
    fingerprint: str = ""
    request_id: str = ""
    checks: tuple[Check, ...] = ()
    slices_requested: int | None = None

    @property
    def legs(self) -> tuple[LegPlan, LegPlan]:
        return (self.long, self.short)


def open_trade_id(signal_id: str, attempt: int) -> TradeId:
    """The id of the *attempt*-th (from 1) opening trade of a signal."""
    return TradeId("trd_" + hash_of("open", signal_id, attempt)[:24])


def position_id_of(trade_id: TradeId) -> PositionId:
    """The id of the position that an opening trade makes."""
    return PositionId("pos_" + hash_of("position", trade_id)[:24])


def close_trade_id(position_id: PositionId, attempt: int) -> TradeId:
    """The id of the *attempt*-th (from 1) closing trade of a position."""
    return TradeId("trd_" + hash_of("close", position_id, attempt)[:24])


@dataclass(frozen=True, slots=True)
class TradeAccepted:
    at: datetime
    terms: Terms


@dataclass(frozen=True, slots=True)
class OrdersIntended:
    """Written before a byte leaves: after a crash the desk knows what it may have sent.

    `mids`, long and short, are those of the moment, of a slice of a schedule: what it is measured by later.
    """

    at: datetime
    orders: tuple[Order, ...]
    mids: tuple[Price, ...] = ()


@dataclass(frozen=True, slots=True)
class OrdersReported:
    """The venue's word on the orders of one submit or one enquiry, together, so that legs are compared at one
    instant."""

    at: datetime
    reports: tuple[OrderReport, ...]


@dataclass(frozen=True, slots=True)
class LegsUnbalanced:
    at: datetime
    imbalance: Usd


@dataclass(frozen=True, slots=True)
class LegsBalanced:
    at: datetime


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """Somebody asked for the trade to stop. It stops as soon as nothing is in doubt and the legs are level."""

    at: datetime
    why: str


HANDED_ON = "it is too little to be sold alone and goes together with what other positions have left of it"
"""The reason of a `HoldingGone` that is nobody's loss: what is left of the coin is sold as one."""

UNLISTED = "the venue holds none of it and has delisted it"
"""Why a close writes off what nothing could be sent for: nobody will ever refuse to reduce it."""
LEFT_TO_OTHERS = "it is too little to be sold beside what others hold in the account, and is left to them"
"""The reason of a `HoldingGone` whose coins are still in the account, and somebody else's from then on."""


@dataclass(frozen=True, slots=True)
class SliceSkipped:
    """The slices of an OPEN up to `number` that were not sent could not go while their intervals lasted; the rest takes
    their parts. `mids` are long and short."""

    at: datetime
    number: int
    why: str
    mids: tuple[Price, ...] = ()


@dataclass(frozen=True, slots=True)
class CloseHurried:
    """Somebody, or a barrier, wants a CLOSE in slices to take all that is left now. The reason is the exit's from here
    on."""

    at: datetime
    reason: ExitReason
    why: str


@dataclass(frozen=True, slots=True)
class HoldingGone:
    """What a close should have taken is not at the venue: taken by other hands, or by the venue itself.

    `quantity` in coins; `price` is the venue's mark when that was found, for the true one is not known to the desk.
    """

    at: datetime
    coin: Coin
    quantity: Quantity
    price: Price
    why: str


@dataclass(frozen=True, slots=True)
class LegLost:
    """A fill that no trade of the desk ordered took *quantity* coins of an opened leg: a liquidation, a deleveraging,
    an order that rested for the leg, or somebody else's order.

    `price` and `fees` in USD are the fill's own, `filled_at` its instant by the venue, `fill_id` the venue's name of
    it: of one fill a position loses its part once.
    """

    at: datetime
    coin: Coin
    quantity: Quantity
    price: Price
    fees: Usd
    filled_at: datetime
    fill_id: str
    reason: ExitReason
    why: str


@dataclass(frozen=True, slots=True)
class TradeFilled:
    at: datetime


@dataclass(frozen=True, slots=True)
class TradeRejected:
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class TradeCanceled:
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class TradeSuspended:
    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class TradeResumed:
    at: datetime
    why: str


Event = (
    TradeAccepted
    | OrdersIntended
    | OrdersReported
    | LegsUnbalanced
    | LegsBalanced
    | CancelWanted
    | SliceSkipped
    | CloseHurried
    | HoldingGone
    | LegLost
    | TradeFilled
    | TradeRejected
    | TradeCanceled
    | TradeSuspended
    | TradeResumed
)

_S = TradeStatus
TRANSITIONS: Mapping[TradeStatus, Mapping[type, TradeStatus]] = {
    _S.PENDING: {
        OrdersIntended: _S.WORKING,
        CancelWanted: _S.PENDING,
        HoldingGone: _S.PENDING,
        SliceSkipped: _S.PENDING,
        CloseHurried: _S.PENDING,
        TradeCanceled: _S.CANCELED,
    },
    _S.WORKING: {
        OrdersIntended: _S.WORKING,
        OrdersReported: _S.WORKING,
        LegsUnbalanced: _S.REPAIRING,
        CancelWanted: _S.WORKING,
        SliceSkipped: _S.WORKING,
        CloseHurried: _S.WORKING,
        HoldingGone: _S.WORKING,
        LegLost: _S.WORKING,
        TradeFilled: _S.FILLED,
        TradeRejected: _S.REJECTED,
        TradeCanceled: _S.CANCELED,
        TradeSuspended: _S.SUSPENDED,
    },
    _S.REPAIRING: {
        OrdersIntended: _S.REPAIRING,
        OrdersReported: _S.REPAIRING,
        LegsBalanced: _S.WORKING,
        CancelWanted: _S.REPAIRING,
        CloseHurried: _S.REPAIRING,
        HoldingGone: _S.REPAIRING,
        LegLost: _S.REPAIRING,
        TradeCanceled: _S.CANCELED,
        TradeSuspended: _S.SUSPENDED,
    },
    _S.SUSPENDED: {
        OrdersReported: _S.SUSPENDED,
        CancelWanted: _S.SUSPENDED,
        LegLost: _S.SUSPENDED,
        CloseHurried: _S.SUSPENDED,
        TradeCanceled: _S.CANCELED,
        TradeResumed: _S.WORKING,
    },
    _S.FILLED: {OrdersReported: _S.FILLED, LegLost: _S.FILLED},
    _S.CANCELED: {OrdersReported: _S.CANCELED, LegLost: _S.CANCELED},
    _S.REJECTED: {},
}


@dataclass(frozen=True, slots=True)
class Naked:
    """Unmatched notional of a trade in USD: now (since `since`), at worst, and its integral over time."""

    now: Usd = Usd(ZERO)
    since: datetime | None = None
    max: Usd = Usd(ZERO)
    usd_seconds: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Trade:
    """A folded journal. Build it with `replay`, change it with `record`; nothing else makes one."""

    terms: Terms
    status: TradeStatus
    events: tuple[Event, ...]
    orders: tuple[Order, ...] = ()
    reports: Mapping[ClientOrderId, OrderReport] = field(default_factory=dict)
    gone: tuple[HoldingGone, ...] = ()
    lost: tuple[LegLost, ...] = ()
    skipped: tuple[SliceSkipped, ...] = ()
    hurried: CloseHurried | None = None
    cancel_wanted: str = ""
    repairing_since: datetime | None = None
    ended_at: datetime | None = None
    why: str = ""
    naked: Naked = Naked()

    @property
    def id(self) -> TradeId:
        return self.terms.trade_id

    @property
    def live(self) -> bool:
        return self.status.live

    @property
    def opens(self) -> bool:
        return self.terms.effect is PositionEffect.OPEN

    @property
    def adopted(self) -> bool:
        """Whether it has taken over what the account held already, to close it: nothing was sent for it."""
        return self.opens and self.terms.signal is None

    @property
    def exit_reason(self) -> ExitReason | None:
        """Why a CLOSE closes: what it was accepted for, or what hurried it."""
        return self.hurried.reason if self.hurried is not None else self.terms.exit_reason

    def report_of(self, order: Order) -> OrderReport:
        """The latest word on *order*; INTENDED when there is none yet."""
        report = self.reports.get(order.client_order_id)
        return report or OrderReport(order.client_order_id, OrderStatus.INTENDED, order.intended_at)

    @property
    def in_doubt(self) -> tuple[Order, ...]:
        """The orders of which nobody knows how they ended."""
        return tuple(order for order in self.orders if self.report_of(order).status.in_doubt)

    def filled(self, coin: Coin) -> Quantity:
        """Coins filled on the leg: of an OPEN its entries less what it trimmed back, of a CLOSE what it closed or
        found gone."""
        total, opens = ZERO, self.opens
        for one in self.gone:
            if one.coin == coin:
                total += one.quantity
        for order in self.orders:
            if order.coin == coin:
                amount = self.report_of(order).filled
                total += -amount if opens and order.reduce_only else amount
        return Quantity(total)

    def doubtful(self, coin: Coin) -> Quantity:
        """Coins that orders in doubt may yet turn out to have filled, trims left aside: the upper bound that limits
        count."""
        total = sum(
            (
                order.quantity - self.report_of(order).filled
                for order in self.in_doubt
                if order.coin == coin and not (self.opens and order.reduce_only)
            ),
            ZERO,
        )
        return Quantity(total)

    @property
    def anything_filled(self) -> bool:
        """True once any order has filled anything, also if it was trimmed back since."""
        return any(report.filled > 0 for report in self.reports.values())

    @property
    def unexplained(self) -> tuple[Order, ...]:
        """The orders that were given up although nobody could tell what became of them: they may yet turn up."""
        return tuple(one for one in self.orders if self.report_of(one).reason is RejectReason.UNEXPLAINED)

    @property
    def last_sent(self) -> Order | None:
        """The last order of which a byte may have left the house."""
        sent = (one for one in reversed(self.orders) if self.report_of(one).reason is not RejectReason.UNSENT)
        return next(sent, None)

    @property
    def last_sent_at(self) -> datetime | None:
        return None if self.last_sent is None else self.last_sent.intended_at

    @property
    def fees(self) -> Usd:
        reported = sum((report.fees for report in self.reports.values()), ZERO)
        return Usd(reported + sum((one.fees for one in self.lost), ZERO))

    def lost_of(self, coin: Coin) -> Quantity:
        """Coins of the leg that fills of others have taken."""
        return Quantity(sum((one.quantity for one in self.lost if one.coin == coin), ZERO))


def leg_fraction(trade: Trade, leg: LegPlan) -> Decimal:
    """Filled quantity of *leg* over its plan."""
    return _fraction(trade.filled(leg.coin), leg)


def _fraction(filled: Decimal, leg: LegPlan) -> Decimal:
    return filled / leg.quantity if leg.quantity else ONE


def imbalance_of(trade: Trade) -> Usd:
    """Signed unmatched notional in USD: the legs' filled fractions apart, times the planned leg notional. Positive:
    long ahead.

    A move of prices is not an imbalance.
    """
    terms = trade.terms
    return unmatched(terms, trade.filled(terms.long.coin), trade.filled(terms.short.coin))


def unmatched(terms: Terms, long_filled: Decimal, short_filled: Decimal) -> Usd:
    """The same from coins filled on either leg of *terms*."""
    long, short = terms.long, terms.short
    apart = _fraction(long_filled, long) - _fraction(short_filled, short)
    return Usd(apart * (long.notional if apart > 0 else short.notional))


def overfill_of(trade: Trade, coin: Coin) -> Quantity:
    """Coins that an OPEN holds beyond what it asked for, where that is more than OVERFILL_MAX allows; else zero.

    Only a venue that is told dollars can fill so much more: it has understood something else than was meant. What was
    asked for in vain is asked for again: it counts once, and all of it is no more than the plan.
    """
    filled = trade.filled(coin) if trade.opens else ZERO
    if filled <= 0:
        return Quantity(ZERO)
    plan = next(leg.quantity for leg in trade.terms.legs if leg.coin == coin)
    effective = (one for one in trade.orders if one.coin == coin and not one.reduce_only and _counts(trade, one))
    asked = min(sum((one.quantity for one in effective), ZERO), plan)
    return Quantity(filled - asked if filled > OVERFILL_MAX * asked else ZERO)


def _counts(trade: Trade, order: Order) -> bool:
    """Has *order* filled anything, or may it have."""
    report = trade.report_of(order)
    return report.status.in_doubt or report.filled > 0


def replay(events: Iterable[Event]) -> Trade:
    """Fold a whole journal. Raises InvariantBroken where an event does not follow from those before it."""
    trade: Trade | None = None
    for event in events:
        trade = accept(event) if trade is None else record(trade, event)
    if trade is None:
        raise InvariantBroken("a journal without events is no trade")
    return trade


def accept(event: Event) -> Trade:
    """The first event of a journal as a PENDING trade."""
    if not isinstance(event, TradeAccepted):
        raise InvariantBroken(f"a journal begins with TradeAccepted, not {type(event).__name__}")
    return Trade(event.terms, TradeStatus.PENDING, (event,))


def record(trade: Trade, event: Event) -> Trade:
    """*trade* after *event*. Raises InvariantBroken when the table or a guard forbids it; *trade* itself never
    changes."""
    status = TRANSITIONS[trade.status].get(type(event))
    if status is None:
        raise InvariantBroken(f"{type(event).__name__} cannot follow {trade.status}", trade_id=trade.id)
    if event.at < trade.events[-1].at:
        raise InvariantBroken(f"{type(event).__name__} is older than the event before it", trade_id=trade.id)
    after = partial(replace, trade, status=status, events=(*trade.events, event))
    match event:
        case OrdersIntended():
            return after(orders=_with_intended(trade, event))
        case OrdersReported():
            reported = after(reports=_with_reports(trade, event))
            # Late fees of an ended trade are no exposure of this trade.
            return replace(reported, naked=_metered(reported, event.at)) if reported.live else reported
        case LegsUnbalanced():
            return after(repairing_since=event.at)
        case LegsBalanced() | TradeResumed():
            return after(repairing_since=None)
        case HoldingGone():
            return after(gone=_with_gone(trade, event))
        case LegLost():
            return after(lost=_with_lost(trade, event))
        case SliceSkipped():
            return after(skipped=_with_skipped(trade, event))
        case CloseHurried():
            _require(not trade.opens, trade, "only a close is hurried")
            return after(hurried=trade.hurried or event)
        case CancelWanted():
            return after(cancel_wanted=trade.cancel_wanted or event.why)
        case TradeSuspended():
            return after(why=event.why)
        case TradeFilled():
            _require(not trade.in_doubt, trade, "no verdict while an order is in doubt")
            _require(trade.anything_filled, trade, "nothing was filled")
            return _ended(after, trade, event.at, "")
        case TradeRejected():
            _require(not trade.in_doubt, trade, "no verdict while an order is in doubt")
            _require(not trade.anything_filled, trade, "no rejection after a fill")
            return _ended(after, trade, event.at, event.why)
        case TradeCanceled():
            _require(not trade.in_doubt, trade, "no verdict while an order is in doubt")
            return _ended(after, trade, event.at, event.why)
        case TradeAccepted():
            raise InvariantBroken("a trade is accepted once", trade_id=trade.id)
        case _:
            assert_never(event)


def _ended(after: partial[Trade], trade: Trade, at: datetime, why: str) -> Trade:
    return after(ended_at=at, why=why, repairing_since=None, naked=_metered(trade, at))


def _require(holds: bool, trade: Trade, rule: str) -> None:
    if not holds:
        raise InvariantBroken(rule, trade_id=trade.id)


def _with_intended(trade: Trade, event: OrdersIntended) -> tuple[Order, ...]:
    _require(not trade.in_doubt, trade, "no new order while one is in doubt")
    _require(bool(event.orders), trade, "an intent names its orders")
    used = {order.client_order_id for order in trade.orders}
    for order in event.orders:
        _require(order.client_order_id not in used, trade, "a client order id is never used again")
        _require(order.quantity > 0, trade, "an order has a quantity")
        used.add(order.client_order_id)
    return (*trade.orders, *event.orders)


def _with_gone(trade: Trade, event: HoldingGone) -> tuple[HoldingGone, ...]:
    _require(not trade.opens, trade, "only a close finds its holding gone")
    _require(not trade.in_doubt, trade, "nothing is written off while an order is in doubt")
    _require(event.quantity > 0 and event.price > 0, trade, "what is gone has a quantity and a price")
    return (*trade.gone, event)


def _with_lost(trade: Trade, event: LegLost) -> tuple[LegLost, ...]:
    _require(trade.opens, trade, "a leg is lost to the trade that opened it")
    _require(event.quantity > 0 and event.price > 0, trade, "what is lost has a quantity and a price")
    known = {(one.fill_id, one.coin) for one in trade.lost}
    _require((event.fill_id, event.coin) not in known, trade, "a fill takes its part once")
    left = trade.filled(event.coin) - trade.lost_of(event.coin)
    _require(event.quantity <= left, trade, "nothing is lost that was not filled")
    return (*trade.lost, event)


def _with_skipped(trade: Trade, event: SliceSkipped) -> tuple[SliceSkipped, ...]:
    _require(trade.opens, trade, "only an opening skips a slice")
    _require(not trade.in_doubt, trade, "no slice is skipped while an order is in doubt")
    # The last slice takes what the others left: it is late, or given up, but never skipped.
    _require(0 < event.number < len(trade.terms.slices), trade, "the slice is one of the schedule, before the last")
    _require(not trade.skipped or event.number > trade.skipped[-1].number, trade, "a slice is skipped once")
    return (*trade.skipped, event)


def _with_reports(trade: Trade, event: OrdersReported) -> Mapping[ClientOrderId, OrderReport]:
    orders = {order.client_order_id: order for order in trade.orders}
    reports = dict(trade.reports)
    for report in event.reports:
        order = orders.get(report.client_order_id)
        if order is None:
            raise InvariantBroken("a report names an order of this trade", trade_id=trade.id)
        before = trade.report_of(order)
        _require(report.filled >= before.filled, trade, "fills never shrink")
        _require(report.filled <= order.quantity or report.sized_by_venue, trade, "fills never exceed the order")
        if not before.status.in_doubt:
            _require(report.status == before.status, trade, "an order that ended does not change its end")
            _require(report.filled == before.filled, trade, "an order that ended fills no more")
        _require(report.filled == 0 or report.average_price is not None, trade, "a fill has a price")
        if report.status in (OrderStatus.REJECTED, OrderStatus.ABSENT):
            _require(report.filled == 0, trade, "an order that never traded has no fill")
        reports[report.client_order_id] = report
    return reports


def _metered(trade: Trade, at: datetime) -> Naked:
    """Trapezes would flatter: the exposure known since the last event counts in full until this one."""
    before = trade.naked
    now = Usd(abs(imbalance_of(trade)))
    elapsed = Decimal(str((at - before.since).total_seconds())) if before.since is not None else ZERO
    return Naked(now, at, Usd(max(before.max, now)), before.usd_seconds + before.now * elapsed)
