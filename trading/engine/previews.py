"""What the desk would do, without doing it: a preview of a request and Scout's list with a verdict on each entry.

Changes nothing and asks no Guardian, so a yes here is a yes of the desk's own gates only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.domain.errors import InvalidRequest, Refused, VenueUnavailable
from trading.domain.exit_plan import TrailingStop
from trading.domain.market import Depth
from trading.domain.orders import Side
from trading.domain.signals import Signal
from trading.domain.units import Coin, Price, Usd
from trading.engine import planning
from trading.engine.barriers import further
from trading.engine.desk import Desk
from trading.engine.entry import judge_signal, owned, require_monitor
from trading.engine.patience import JUDGED_SECONDS, patient
from trading.engine.planning import Draft, World
from trading.engine.records import SignalWords, pair_spread, signal_words
from trading.engine.requests import ExecuteRequest
from trading.engine.states import require_active, standing_rejection
from trading.utils.risk_controls import Breach, EntryLeg, Headroom, headroom
from trading.utils.trade_calculator import executable_price, leg_slippage, twap_due_times

SIGNAL_SIZE_USD = Usd(Decimal(1000))
"""Scout's entries are judged at this size, or at the largest that the allocation allows where that is less."""


@dataclass(frozen=True, slots=True)
class LegPreview:
    """One leg as it would be sent, at present depth. `slippage_bps` is against the mid; None where depth does not
    suffice."""

    coin: Coin
    side: str
    quantity: Decimal | None
    arrival_price: Price | None
    expected_price: Price | None
    notional: Decimal | None
    slippage_bps: Decimal | None
    entry_fee: Decimal | None


@dataclass(frozen=True, slots=True)
class SlicePreview:
    number: int
    due_at: datetime
    long_quantity: Decimal
    short_quantity: Decimal


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the desk would not."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Preview:
    """`would_execute` leaves Guardian aside. Costs are fractions of gross notional, money is USD; `exits` are the
    barriers beside the plain ones."""

    would_execute: bool
    reasons: tuple[Reason, ...]
    breaches: tuple[Breach, ...]
    signal: SignalWords
    pair: str
    position_size: Usd
    leverage: int
    margin: Decimal
    execution: str
    duration_seconds: int
    slices_requested: int
    slices_total: int
    long: LegPreview
    short: LegPreview
    slices: tuple[SlicePreview, ...]
    expected_spread: Decimal | None
    round_trip_cost: Decimal | None
    take_profit: Decimal
    stop_loss: Decimal
    trailing_stop: TrailingStop | None
    max_holding_seconds: int | None
    exits: Mapping[str, Decimal]
    headroom: tuple[Headroom, ...]


@dataclass(frozen=True, slots=True)
class SignalView:
    """One entry of Scout's list; `at_size` is the gross notional in USD that it was judged at."""

    id: str
    pair: str
    signal_type: str
    zscore: Decimal
    correlation: Decimal | None
    entry_spread: Decimal | None
    confidence: Decimal
    status: str
    timestamp: datetime
    long_coin: Coin
    short_coin: Coin
    at_size: Usd
    would_take: bool
    why_not: tuple[Reason, ...]


def preview(desk: Desk, request: ExecuteRequest) -> Preview:
    """What `execute` would do with *request* now. Raises SignalNotFound, InvalidRequest and what Scout or venue
    raise."""
    signal = desk.signals.signal(request.signal_id, request.pair)
    if request.pair is not None and request.pair != signal.pair:
        raise InvalidRequest({"pair": f"is not the signal's pair, {signal.pair}; leave it out or correct it"})
    desk = patient(desk, JUDGED_SECONDS)
    world = planning.look_for(desk, request, signal.pair)
    plan, breaches = _judged(desk, request, signal, world)
    reasons = (*_reasons(desk, request, signal, world.now), *_no_room(desk))
    entry = plan.entry
    exposure = planning.exposure_of(desk, desk.store.book(), world.account)
    long, short = (_leg(leg, world.depths, entry.taker_fee) for leg in entry.legs)
    return Preview(
        would_execute=not breaches and not reasons,
        reasons=reasons,
        breaches=breaches,
        signal=signal_words(signal),
        pair=str(signal.pair),
        position_size=entry.position_size,
        leverage=entry.leverage,
        margin=entry.position_size / entry.leverage,
        execution=plan.execution,
        duration_seconds=plan.duration_seconds,
        slices_requested=plan.slices_requested,
        slices_total=len(plan.slices),
        long=long,
        short=short,
        slices=_slices(plan, world.now),
        expected_spread=pair_spread(signal.pair, {leg.coin: leg.expected_price for leg in (long, short)}),
        round_trip_cost=entry.round_trip_cost,
        take_profit=plan.exit_plan.take_profit,
        stop_loss=plan.exit_plan.stop_loss,
        trailing_stop=plan.exit_plan.trailing,
        max_holding_seconds=plan.exit_plan.max_holding_seconds,
        exits=further(plan.exit_plan),
        headroom=headroom(entry, exposure, planning.limits_of(desk)),
    )


def signals(desk: Desk) -> tuple[SignalView, ...]:
    """What Scout offers, newest first, each judged at a common size. Raises ScoutUnavailable; VenueUnavailable."""
    offered = desk.signals.recent()
    coins = tuple(dict.fromkeys(coin for signal in offered for coin in planning.pair_coins(signal.pair)))
    world = planning.look(patient(desk, JUDGED_SECONDS), coins)
    size = _common_size(desk, world)
    return tuple(_view(desk, signal, world, size) for signal in offered)


def _view(desk: Desk, signal: Signal, world: World, size: Usd) -> SignalView:
    request = ExecuteRequest(signal.id, size)
    _, breaches = _judged(desk, request, signal, world)
    why_not = (
        *_reasons(desk, request, signal, world.now),
        *(Reason(breach.code, breach.detail) for breach in breaches),
    )
    return SignalView(
        id=signal.id,
        pair=str(signal.pair),
        signal_type=signal.signal_type,
        zscore=signal.zscore,
        correlation=signal.correlation,
        entry_spread=signal.entry_spread,
        confidence=signal.confidence,
        status=signal.status,
        timestamp=signal.created_at,
        long_coin=signal.long_coin,
        short_coin=signal.short_coin,
        at_size=size,
        would_take=not why_not,
        why_not=why_not,
    )


def _common_size(desk: Desk, world: World) -> Usd:
    largest = Usd(world.account.equity * desk.config.max_allocation)
    return min(SIGNAL_SIZE_USD, largest) if largest > 0 else SIGNAL_SIZE_USD


def _judged(desk: Desk, request: ExecuteRequest, signal: Signal, world: World) -> tuple[Draft, tuple[Breach, ...]]:
    plan = planning.draft(desk, request, signal, world)
    return plan, planning.breaches_of(desk, plan, desk.store.book(), world.account)


def _reasons(desk: Desk, request: ExecuteRequest, signal: Signal, now: datetime) -> tuple[Reason, ...]:
    """The gates before the limits, all of them: a preview says everything that stands in the way at once."""
    found = []
    for gate in (
        lambda: require_active(desk),
        lambda: require_monitor(desk),
        lambda: judge_signal(desk, signal, now=now),
    ):
        try:
            gate()
        except Refused as refusal:
            found.append(Reason(refusal.code, refusal.detail))
    if owned(desk.store.book(), signal.id) is not None:
        found.append(Reason("SIGNAL_NOT_PENDING", "the signal has been traded already"))
    rejection = standing_rejection(desk.store.state(), signal.id, request.position_size, now)
    if rejection is not None:
        found.append(Reason("GUARDIAN_REJECTED", f"Guardian has rejected this signal: {rejection.reasoning}"))
    return tuple(found)


def _no_room(desk: Desk) -> tuple[Reason, ...]:
    """Why the venue could not be sent an opening now: execute asks the same before it asks Guardian. Not said of each
    entry of Scout's list, which is looked at all the time: at Pear the question may take a log-in."""
    try:
        desk.venue.require_room()
    except VenueUnavailable as refusal:
        return (Reason(refusal.code, refusal.detail),)
    return ()


def _leg(leg: EntryLeg, depths: Mapping[Coin, Depth], fee: Decimal) -> LegPreview:
    mid = leg.quote.mid if leg.quote is not None and leg.quote.usable else None
    expected = None
    depth = depths.get(leg.coin)
    if depth is not None and leg.largest:
        expected = executable_price(depth.asks if leg.side is Side.BUY else depth.bids, leg.largest)
    notional = leg.quantity * expected if leg.quantity is not None and expected is not None else None
    return LegPreview(
        coin=leg.coin,
        side="long" if leg.side is Side.BUY else "short",
        quantity=leg.quantity,
        arrival_price=mid,
        expected_price=expected,
        notional=notional,
        slippage_bps=leg_slippage(leg.side, expected, mid) * 10_000
        if expected is not None and mid is not None
        else None,
        entry_fee=notional * fee if notional is not None else None,
    )


def _slices(plan: Draft, now: datetime) -> tuple[SlicePreview, ...]:
    if not plan.slices:
        return ()
    dues = twap_due_times(now, plan.duration_seconds, len(plan.slices)) if plan.duration_seconds else (now,)
    return tuple(
        SlicePreview(number, due, long, short)
        for number, (due, (long, short)) in enumerate(zip(dues, plan.slices, strict=True), start=1)
    )
