"""What the venue has taken of the desk's legs by fills that no trade of the desk ordered, and whose loss that is.

The law: a leg is lost only when a fill explains it; a holding that merely reads differently, or an account that
suddenly reads empty, explains nothing. What rested for a position and was filled is its loss, also where others hold so
much of the coin that nothing is missing. Of one fill every position loses its part once, and the parts add up to no
more than the fill, and but for what rested, was sold without a ledger, or was to be taken by an order in doubt, to no
more than is sure to be missing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import Order, RejectReason
from trading.domain.positions import Position
from trading.domain.resting import AccountFill, FillCause, TriggerKind, resting_order_id
from trading.domain.trades import LegLost, Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Quantity, Usd, floor_to_step
from trading.engine.holdings import back_to
from trading.engine.recovery import book_holdings

CLOCK_SET_BACK_MAX = timedelta(minutes=2)
READS_APART = timedelta(seconds=3)
"""By how much a fill must be older than the account for that to show it: clocks differ by two seconds at most while the
desk opens, and one read may lag another by a second."""
DOUBT_ENDS_WITHIN = timedelta(seconds=10)
"""After its expiry an order that reduces is in doubt no longer than this where the venue can be asked."""
RESTED_REMEMBERED = 64
"""How many of a position's latest resting groups a late fill is recognised by."""
UNCONFIRMED = "its close, which nobody had confirmed, did it"


@dataclass(frozen=True, slots=True)
class Missing:
    """Coins, unsigned, that the desk should hold on one side and the account does not; `least` is what it is sure to
    hold by the book."""

    coin: Coin
    sign: int
    quantity: Quantity
    least: Quantity


def missing(book: Book, account: Account, beside_others: Collection[Coin] = ()) -> tuple[Missing, ...]:
    """What *account* lacks of the least that *book* allows for; of coins *beside_others* also where that is nothing,
    for what rested may have taken of them all the same.

    What somebody else holds on the same side does not count as lacking: theirs goes first. What somebody has accepted
    as missing does: a fill that turns up later explains it all the same.
    """
    found = []
    held = {leg.coin for one in book.standing_positions() for leg in one.legs if leg.held > 0}
    for coin, (low, high) in book_holdings(book).items():
        if coin not in held:
            # A close beside a doubt may have taken of what somebody else held: that is nobody's of ours to lose.
            continue
        sign = 1 if low >= 0 and high > 0 else -1
        least = low if sign > 0 else -high
        lacking = least - account.held(coin) * sign
        if least > 0 and (lacking > 0 or coin in beside_others):
            found.append(Missing(coin, sign, Quantity(max(min(lacking, least), ZERO)), Quantity(least)))
    return tuple(found)


def beside_others(book: Book, account: Account, state: DeskState) -> frozenset[Coin]:
    """The coins of standing positions of which *account* has more on their side than *book* knows of."""
    return frozenset(
        coin
        for coin, (low, high) in book_holdings(book).items()
        if (high > 0 and max(account.held(coin) - high, state.accepted_drift.get(coin, ZERO)) > 0)
        or (low < 0 and min(account.held(coin) - low, state.accepted_drift.get(coin, ZERO)) < 0)
    )


def beyond_book(book: Book, account: Account) -> Mapping[Coin, Decimal]:
    """How much more of each coin of a standing position *account* has on its side than *book* knows of, in coins."""
    found = {}
    for coin, (low, high) in book_holdings(book).items():
        held = account.held(coin)
        found[coin] = held - high if high > 0 else low - held
    return found


def unexplained(book: Book, held: Mapping[Coin, Quantity], state: DeskState) -> frozenset[Coin]:
    """The coins, of those that the account *held* on the desk's side, unsigned, of which there is neither what *book*
    says nor that and what somebody has accepted: somebody else has a part, or something was taken."""
    found = set()
    for coin, (low, high) in book_holdings(book, held.keys()).items():
        sign = 1 if high > 0 else -1
        beyond = held[coin] * sign - state.accepted_drift.get(coin, ZERO)
        if held[coin] > 0 and not low <= beyond <= high:
            found.add(coin)
    return frozenset(found)


def known_beside(book: Book, state: DeskState) -> frozenset[Coin]:
    """The coins of standing positions of which somebody else may have a part by what is written down: they held some
    when a position was opened, or it was accepted since. While there is DRIFT, all: what was seen and has not been
    accepted may just be as much as what has fired, so that the account shows nothing of either."""
    coins = {leg.coin for one in book.standing_positions() for leg in one.legs}
    if Cause.DRIFT in state.causes:
        return frozenset(coins)
    plans = (leg for one in book.standing_positions() for leg in book.trade(one.trade_id).terms.legs)
    return frozenset(coins & {*state.accepted_drift, *(leg.coin for leg in plans if leg.beside)})


def since_of(book: Book, coins: Collection[Coin]) -> datetime:
    """An instant before any fill that can have taken something of the positions standing in *coins*: what was written
    down of their entry is by a clock of ours that may have been set back since."""
    return min(one.entered_at for one in _holders(book, coins)) - CLOCK_SET_BACK_MAX


def versions(book: Book, coins: Collection[Coin]) -> Mapping[PositionId, int]:
    """How many events the standing positions of *coins* have: as long as that stays, so does what they say."""
    return {
        one.id: sum(len(trade.events) for trade in book.trades_of_position(one.id)) for one in _holders(book, coins)
    }


def sold_since(book: Book, rescued: Iterable[Order]) -> tuple[Order, ...]:
    """Of the orders *rescued*, those that may have taken something of what still stands in *book*."""
    entered: dict[Coin, datetime] = {}
    for one in book.standing_positions():
        for leg in one.legs:
            if leg.held > 0:
                entered[leg.coin] = min(one.entered_at, entered.get(leg.coin, one.entered_at))
    return tuple(one for one in rescued if one.coin in entered and one.intended_at >= entered[one.coin])


def explained(
    book: Book,
    lack: Missing,
    fills: Sequence[AccountFill],
    step: Quantity,
    now: datetime,
    sold: Collection[ClientOrderId] = (),
    *,
    read_at: datetime,
    may_land: bool = False,
) -> Mapping[PositionId, tuple[LegLost, ...]]:
    """The part of *lack* that *fills* explain, by position: what rested for a position is its own loss, missing or not,
    the rest is everybody's, pro rata on the lots of *step*, what that leaves over the largest holder's. Missing or not
    is also what was *sold* without a ledger, of those who stood then. Where what was given up *may land* all the same,
    what a position's closes can have taken so is its own before it is anybody else's. Nothing yet where a
    fill would be booked in part beside an order in doubt: one that is told to have filled since about when the account
    was read, at *read_at*, for a later reading shows what it took; or one that may be what rested for a position has
    left nothing for, until that is known, as it soon is."""
    holders = _holders(book, [lack.coin])
    if not holders:
        # Who held it has closed since.
        return {}
    rested = {one.id: _rested_ids(book, one) for one in holders}
    left = {one.id: one.leg_of(lack.coin).held for one in holders}
    losses: dict[PositionId, list[LegLost]] = {one.id: [] for one in holders}
    lacking, least = Decimal(lack.quantity), Decimal(lack.least)
    doubted = _doubted(book, holders, lack.coin)
    untold = _untold(doubted, fills)
    ends_soon = any(now - one.expires_at <= DOUBT_ENDS_WITHIN for one in doubted.values())
    is_early = any(one.client_order_id in doubted and one.filled_at > read_at - READS_APART for one in fills)
    claims = _claims(book, holders, lack.coin) if may_land else {}
    for fill, quantity in _candidates(book, lack, fills, (*rested.values(), frozenset(sold))):
        owner = next((one for one, ids in rested.items() if fill.client_order_id in ids), None)
        is_sold, without = fill.client_order_id in sold, _took_part(book, holders, fill)
        # What rested for somebody is that position's loss, whatever others hold beside it.
        own = min(left[owner], least) if owner is not None else least if is_sold else ZERO
        if is_sold:
            without |= {one.id for one in holders if one.entered_at > fill.filled_at + CLOCK_SET_BACK_MAX}
        # A fill that took more than is sure to lack took what a close in doubt was to take: of one fill each loses its
        # part once, so that there is no later for the rest.
        most = max(lacking + untold if lacking else ZERO, own)
        is_bounded = owner is not None and ends_soon and left[owner] > most
        if quantity > most > 0 and (is_early or is_bounded):
            return {}
        quantity = Quantity(min(quantity, most))
        claimant = _claimant(claims, fill, quantity) if owner is None and not is_sold else None
        parts = _parts(quantity, left, owner or claimant, step, without)
        why = "what rested for it fired at the venue" if owner is not None else "it was sold without a ledger"
        for position_id, part in parts.items():
            known = why if owner is not None or is_sold else UNCONFIRMED if position_id == claimant else ""
            losses[position_id].append(loss_of(fill, part, now, known))
            left[position_id] = Quantity(left[position_id] - part)
            if position_id == claimant:
                claims[position_id].left -= part
        lost = sum(parts.values(), ZERO)
        lacking, least = max(lacking - lost, ZERO), least - lost
    return {position_id: tuple(found) for position_id, found in losses.items() if found}


def _doubted(book: Book, holders: Iterable[Position], coin: Coin) -> Mapping[ClientOrderId, Order]:
    """The orders in doubt that were to take coins of *holders*."""
    return {
        order.client_order_id: order
        for one in holders
        for trade in book.trades_of_position(one.id)
        for order in trade.in_doubt
        if order.coin == coin and order.reduce_only
    }


def _untold(doubted: Mapping[ClientOrderId, Order], fills: Iterable[AccountFill]) -> Decimal:
    """Coins that orders in doubt were to take, and that no fill of theirs tells of."""
    left = {client_order_id: Decimal(order.quantity) for client_order_id, order in doubted.items()}
    for fill in fills if left else ():
        if fill.client_order_id in left:
            left[fill.client_order_id] -= fill.quantity
    return sum((max(one, ZERO) for one in left.values()), ZERO)


@dataclass
class _Claim:
    """What closes that nobody confirmed may have taken of a leg: those sent at `since` or later, `left` coins."""

    since: datetime
    left: Decimal


def _claims(book: Book, holders: Iterable[Position], coin: Coin) -> Mapping[PositionId, _Claim]:
    """Of the closes of *coin* that nobody ever confirmed: whose their fills are is told by no id. Once for each
    position: its closes are tries at the same coins, and one of them at most has taken them."""
    claims = {}
    for one in holders:
        opening, *closes = book.trades_of_position(one.id)
        orders = [
            order
            for trade in closes
            for order in trade.orders
            if order.coin == coin
            and not (report := trade.report_of(order)).filled
            and report.reason is RejectReason.OTHER
        ]
        if orders:
            since = min(order.intended_at for order in orders)
            booked = (
                loss.quantity
                for trade in (opening, *closes)
                for loss in trade.lost
                if loss.coin == coin and loss.filled_at >= since
            )
            claims[one.id] = _Claim(since, max(order.quantity for order in orders) - sum(booked, ZERO))
    return claims


def _claimant(claims: Mapping[PositionId, _Claim], fill: AccountFill, quantity: Quantity) -> PositionId | None:
    """Whose close can have been *fill*: the first one's that was sent before it and had so much to take."""
    able = [
        (claim.since, one) for one, claim in claims.items() if claim.since <= fill.filled_at and claim.left >= quantity
    ]
    return min(able)[1] if able else None


def _holders(book: Book, coins: Collection[Coin]) -> tuple[Position, ...]:
    return tuple(
        one for one in book.standing_positions() if any(leg.coin in coins and leg.held > 0 for leg in one.legs)
    )


def _rested_ids(book: Book, position: Position) -> frozenset[ClientOrderId]:
    """The ids under which something rested for *position*, the latest ones, whatever became of them."""
    watch = book.watch(position.id)
    last = watch.rested if watch is not None else 0
    return frozenset(
        resting_order_id(position.id, leg.coin, kind, number)
        for number in range(max(last - RESTED_REMEMBERED, 0) + 1, last + 1)
        for leg in position.legs
        for kind in TriggerKind
    )


def _candidates(
    book: Book, lack: Missing, fills: Sequence[AccountFill], rested: Collection[frozenset[ClientOrderId]]
) -> Iterator[tuple[AccountFill, Quantity]]:
    """The fills that can have taken something, with how much of each is still free: first what rested for the desk,
    then what the venue forced, then the orders of others, each oldest first."""
    ours = frozenset().union(*rested)
    entered = _entered(book, lack.coin, fills)
    reducing = [
        one
        for one in fills
        if one.coin == lack.coin
        and one.side.sign == -lack.sign
        and (one.filled_at >= entered or one.client_order_id in ours)
    ]

    def rank(fill: AccountFill) -> int:
        return 0 if fill.client_order_id in ours else 2 if fill.cause is FillCause.ORDER else 1

    if reducing:
        trades = trades_in(book, lack.coin, min(one.filled_at for one in reducing))
        free = nobodys(trades, lack.coin, reducing)
        yield from sorted(free, key=lambda one: (rank(one[0]), one[0].filled_at, one[0].id))


def trades_in(book: Book, coin: Coin, since: datetime) -> tuple[Trade, ...]:
    """The trades of every position in *coin* that may have stood at *since* or later, archived ones included."""
    known = [one for one in back_to(book, since) if coin in (one.long.coin, one.short.coin)]
    return tuple(trade for one in known for trade in book.trades_of_position(one.id))


def nobodys(
    trades: Collection[Trade], coin: Coin, fills: Iterable[AccountFill], given_up: Collection[ClientOrderId] = ()
) -> tuple[tuple[AccountFill, Quantity], ...]:
    """Those of *fills*, all of *coin*, that no order of *trades* explains but one that was *given up*, each with what
    of it none of them has lost yet; oldest first."""
    own = {order.client_order_id.lower() for trade in trades for order in trade.orders if order.coin == coin}
    own.difference_update(given_up)
    booked: dict[str, Decimal] = {}
    for trade in trades:
        for loss in trade.lost:
            if loss.coin == coin:
                booked[loss.fill_id] = booked.get(loss.fill_id, ZERO) + loss.quantity
    left = [(one, Quantity(one.quantity - booked.get(one.id, ZERO))) for one in fills]
    free = [(one, quantity) for one, quantity in left if quantity > 0 and one.client_order_id not in own]
    return tuple(sorted(free, key=lambda one: (one[0].filled_at, one[0].id)))


def _entered(book: Book, coin: Coin, fills: Sequence[AccountFill]) -> datetime:
    """Since when there has been anything of *coin* to lose: by the venue's clock, as its fills of the openings tell; by
    ours where they tell of none."""
    holders = _holders(book, [coin])
    opened = {order.client_order_id for one in holders for order in book.trade(one.trade_id).orders}
    first = (one.filled_at for one in fills if one.coin == coin and one.client_order_id in opened)
    return min(first, default=min(one.entered_at for one in holders))


def _took_part(book: Book, holders: Collection[Position], fill: AccountFill) -> frozenset[PositionId]:
    """Those who have lost their part of *fill* already."""
    return frozenset(
        one.id
        for one in holders
        if any((loss.fill_id, loss.coin) == (fill.id, fill.coin) for loss in book.trade(one.trade_id).lost)
    )


def _parts(
    quantity: Quantity,
    held: Mapping[PositionId, Quantity],
    owner: PositionId | None,
    step: Quantity,
    without: Collection[PositionId],
) -> Mapping[PositionId, Quantity]:
    """*quantity* in parts: *owner*'s first, the rest pro rata; nobody loses more than is held."""
    parts: dict[PositionId, Decimal] = {}
    rest: Decimal = quantity
    if owner is not None and owner not in without:
        parts[owner] = min(rest, held[owner])
        rest -= parts[owner]
    others = {one: amount for one, amount in held.items() if one not in without and one != owner and amount > 0}
    total = sum(others.values(), ZERO)
    if rest > 0 and total > 0:
        spread = min(rest, total)
        floored = {one: floor_to_step(spread * amount / total, step) for one, amount in others.items()}
        over = spread - sum(floored.values(), ZERO)
        for one in sorted(others, key=lambda one: (others[one], one), reverse=True):
            more = min(over, others[one] - floored[one])
            parts[one], over = floored[one] + more, over - more
    return {one: Quantity(part) for one, part in parts.items() if part > 0}


def loss_of(fill: AccountFill, part: Quantity, now: datetime, known: str) -> LegLost:
    """*part* of what *fill* took as a loss found *now*; *known* says why, where that is known."""
    why = {
        FillCause.LIQUIDATION: "the venue liquidated it",
        FillCause.AUTO_DELEVERAGING: "the venue deleveraged it",
        FillCause.SETTLEMENT: "the venue settled it, as it does with a coin that it delists",
        FillCause.ORDER: "an order that is not the desk's took it",
    }[fill.cause]
    return LegLost(
        at=now,
        coin=fill.coin,
        quantity=part,
        price=fill.price,
        fees=Usd(fill.fee * part / fill.quantity),
        filled_at=fill.filled_at,
        fill_id=fill.id,
        reason=ExitReason.LIQUIDATION if fill.cause is FillCause.LIQUIDATION else ExitReason.LEG_LOST,
        why=known or why,
    )
