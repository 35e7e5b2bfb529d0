"""What should rest at the venue for a position, and what to do so that it does. Pure: it decides and does nothing.

The law: what is known of a leg must be enough to guard it otherwise than it is; what is on its way counts as there; and
nothing goes before what replaces it rests.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.errors import InvalidNumber
from trading.domain.market import Account, Instrument
from trading.domain.orders import Side
from trading.domain.positions import Leg, Position, PositionStatus
from trading.domain.resting import ListedOrder, Resting, RestingOrder, TriggerKind
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Ratio, floor_to_step
from trading.engine.instants import lasts
from trading.utils.trade_calculator import fit_price, marketable_limit

DISTANCE_MAX = Ratio(Decimal("0.25"))
LIQUIDATION_SHARE = Ratio(Decimal("0.80"))
DISTANCE_MIN = Ratio(Decimal("0.01"))
"""Nearer than this nothing rests: ordinary noise would fire it, and so near a liquidation the desk leaves by itself."""
LIMIT_BAND = Ratio(Decimal("0.10"))
MOVE_MIN = Ratio(Decimal("0.01"))
MOVE_INTERVAL = timedelta(seconds=10)
LIFE = timedelta(seconds=10)
LANDED_AFTER = LIFE + timedelta(seconds=5)
"""Reads lag writes by up to a second (measured on Hyperliquid's testnet); so long after, a list shows what has come."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What should rest for one leg at one side of the market: a RestingOrder that has no name yet."""

    coin: Coin
    side: Side
    kind: TriggerKind
    quantity: Quantity
    trigger_price: Price
    limit_price: Price


@dataclass(frozen=True, slots=True)
class Changes:
    """Guards to place, and resting orders to take back. Those in `replaced` go only once what replaces them rests."""

    place: tuple[Guard, ...] = ()
    cancel: tuple[Resting, ...] = ()
    replaced: tuple[Resting, ...] = ()

    @property
    def moves(self) -> int:
        """Actions that are no first placement and no removal."""
        return 2 * len(self.replaced)


@dataclass(frozen=True, slots=True)
class Listing:
    """The ids that the venue listed, asked at `taken_at`; `orders` are those that have one, as it listed them.

    `asked_at` is the same by the clock that nobody sets, in seconds.
    """

    ids: frozenset[ClientOrderId]
    taken_at: datetime
    orders: tuple[ListedOrder, ...] = ()
    asked_at: float = 0.0


def distance(position: Position, account: Account) -> Ratio | None:
    """How far from entry the triggers of *position* lie, a fraction; None when there is no room for any.

    The same for both legs, the smaller of what each would bear: only so does a common move take both.
    """
    bounds: list[Decimal] = [DISTANCE_MAX]
    for leg in position.legs:
        holding = account.holdings.get(leg.coin)
        liquidation = holding.liquidation_price if holding is not None else None
        if leg.held > 0 and leg.entry_price is not None and liquidation is not None and liquidation > 0:
            bounds.append(LIQUIDATION_SHARE * (leg.entry_price - liquidation) * leg.side.sign / leg.entry_price)
    nearest = min(bounds)
    return Ratio(nearest) if nearest >= DISTANCE_MIN else None


def wanted(
    position: Position, account: Account, instruments: Mapping[Coin, Instrument]
) -> Mapping[Coin, tuple[Guard, ...]]:
    """What should rest on each leg of *position*, sized to what is filled of it. A leg that is left out is to be left
    alone: what is known of it is not enough to guard it otherwise than it is, or its close has not been accepted yet,
    and until then what rests guards it."""
    if position.closed or position.lost:
        return {leg.coin: () for leg in position.legs if position.closed or not leg.held}
    away = distance(position, account)
    if position.status is PositionStatus.CLOSING or away is None:
        return {}
    found = {}
    for leg in position.legs:
        instrument = instruments.get(leg.coin)
        # Less at the venue than in the book: something is being found out, and nothing is to be moved meanwhile.
        if instrument is not None and account.held(leg.coin) * leg.side.sign >= leg.held:
            guards = [_guard(leg, kind, away, account, instrument) for kind in TriggerKind]
            found[leg.coin] = tuple(one for one in guards if one is not None)
    return found


def decide(wish: Mapping[Coin, Sequence[Guard]], resting: Sequence[Resting], now: datetime) -> Changes:
    """What to do so that *wish* rests, when *resting* does. One that is still on its way counts as there."""
    place: list[Guard] = []
    cancel: list[Resting] = []
    replaced: list[Resting] = []
    guards = {(one.coin, one.kind): one for some in wish.values() for one in some}
    judged = [one for one in resting if one.order.coin in wish]
    cancel += [one for one in judged if key_of(one) not in guards]
    for key, guard in guards.items():
        there = [one for one in judged if key_of(one) == key]
        best = min((one for one in there if _serves(one.order, guard)), key=lambda one: not one.placed, default=None)
        if not there:
            place.append(guard)
        elif best is not None:
            # Only once it is seen there, until then the others are what guards, and by a list of now: of one whose
            # cancel was not answered an older list still says that it rests.
            replaced += [one for one in there if one is not best and best.placed]
        elif _may_move(there, guard, now):
            place.append(guard)
            replaced += there
    return Changes(tuple(place), tuple(cancel), tuple(replaced))


def key_of(one: Resting) -> tuple[Coin, TriggerKind]:
    """What it guards and on which side of the market: of one such, one rests."""
    return one.order.coin, one.order.kind


def settled(
    resting: Sequence[Resting], listing: Listing | None, on_its_way: Collection[ClientOrderId] = ()
) -> tuple[Resting, ...]:
    """*resting* as the venue's list tells it: what it shows is placed, and what it would show by now is gone, but for
    what may be *on its way* still, whatever the time of day.

    Gone is fired, ended with its holding, taken back by whoever, or never arrived; if it fired, the fills tell.
    That one is placed does not say since when: *listing* may be from before it came, of which another monitor heard.
    """
    if listing is None:
        return tuple(resting)
    left = []
    for one in resting:
        if one.order.client_order_id in listing.ids:
            left.append(replace(one, placed=True))
        elif listing.taken_at < one.intended_at + LANDED_AFTER or one.order.client_order_id in on_its_way:
            left.append(one)
    return tuple(left)


def _guard(leg: Leg, kind: TriggerKind, away: Ratio, account: Account, instrument: Instrument) -> Guard | None:
    quantity = Quantity(floor_to_step(leg.held, instrument.quantity_step))
    if leg.entry_price is None or quantity <= 0 or instrument.delisted:
        return None
    against = -leg.side.sign if kind is TriggerKind.STOP else leg.side.sign
    side, digits = leg.side.opposite, instrument.price_decimals_max
    try:
        # Rounded back towards the entry: rather a tick too early than past the distance.
        trigger = Price(fit_price(leg.entry_price * (1 + against * away), digits, up=against < 0))
        limit = marketable_limit(trigger, side, LIMIT_BAND, digits)
    except InvalidNumber:
        return None
    if (trigger - leg.entry_price) * against <= 0:
        # The grid is too coarse for this price: the nearest legal trigger is the entry itself, or beyond it.
        return None
    if quantity * min(trigger, limit) < instrument.notional_min and quantity != abs(account.held(leg.coin)):
        # Under its minimum the venue takes only what closes the whole of a coin.
        return None
    return Guard(leg.coin, side, kind, quantity, trigger, limit)


def _serves(order: RestingOrder, guard: Guard) -> bool:
    """As good as wanted: the same coins, at a trigger that is not worth an action to move."""
    apart = abs(order.trigger_price - guard.trigger_price)
    return (order.side, order.quantity) == (guard.side, guard.quantity) and apart <= MOVE_MIN * guard.trigger_price


def _may_move(there: Sequence[Resting], guard: Guard, now: datetime) -> bool:
    """Not too often, and not while one is on its way; at once when more rests than is held, for it may be others'."""
    if not all(one.placed for one in there):
        return False
    too_much = any(one.order.quantity > guard.quantity for one in there)
    return too_much or not lasts(now, max(one.intended_at for one in there), MOVE_INTERVAL)
