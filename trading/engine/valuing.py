"""What a position is worth at this instant: marked to mid, and as if it were closed by the depth of the book.

The law: a number that cannot be known is None, and None is never a reason to trade.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import TypeGuard

from trading.domain.errors import VenueUnavailable
from trading.domain.market import Account, Depth, Holding, Quote, ratio_of
from trading.domain.orders import Side
from trading.domain.positions import Leg, Position
from trading.domain.units import Coin, Price, Usd
from trading.engine.desk import Desk
from trading.ports import Json
from trading.utils.trade_calculator import Stand, executable_price, liquidation_distance, net_return, stop_share

EXIT_PRICE_AGE_MAX = timedelta(seconds=5)
MARK_TTL_SECONDS = 15.0
LIQUIDATION_WARN = Decimal("0.20")
MAINTENANCE_WARN = Decimal("0.30")
LIQUIDATION_NEAR = Decimal("0.10")
MAINTENANCE_NEAR = Decimal("0.50")
INFINITE = Decimal("Infinity")
UNKNOWN_SHARE = Decimal("0.40")
"""What is shown of the way to a stop while there is no price to measure it by: enough to be looked at."""


@dataclass(frozen=True)
class Prices:
    """One look at some coins. A coin that could not be read is missing from the maps."""

    quotes: Mapping[Coin, Quote]
    depths: Mapping[Coin, Depth]

    @cached_property
    def sound(self) -> Mapping[Coin, Depth]:
        """The books that are not damaged, looked through once for all who hold the coin."""
        return {coin: depth for coin, depth in self.depths.items() if is_sound(depth)}


@dataclass(frozen=True, slots=True)
class Mark:
    """A position at present prices. Mids in USD; `exit_return` and `mark_return` are net fractions of entry gross
    notional.

    `exit_return` is by depth and what barriers look at; `mark_return` the same at the venue's marks, its second
    opinion, None where those are too old for one; `exit_ratio` and `mark_ratio` are price(A) / price(B) at the same
    prices. The quotes are from `taken_at` to `newest_at`. What is for the barriers alone is not kept in the cache.
    `liquidation_distance` is the nearer leg's, a fraction; None where it is not known.
    """

    long_mid: Price
    short_mid: Price
    exit_return: Decimal | None
    mark_return: Decimal | None
    taken_at: datetime
    newest_at: datetime
    liquidation_distance: Decimal | None = None
    exit_ratio: Decimal | None = None
    mark_ratio: Decimal | None = None


def read_prices(desk: Desk, coins: Collection[Coin]) -> Prices:
    """Quotes and depths of *coins*; empty where the venue cannot be read. The book of a coin whose price is too old for
    an exit would be as old: it is not waited for once more."""
    try:
        quotes = desk.venue.quotes(coins)
        now = desk.clock.now()
        fresh = [coin for coin, quote in quotes.items() if now - quote.taken_at <= EXIT_PRICE_AGE_MAX]
        return Prices(quotes, desk.venue.depths(fresh) if fresh else {})
    except VenueUnavailable:
        return Prices({}, {})


def is_current(quote: Quote, now: datetime) -> bool:
    """Whether an exit may rest on *quote*."""
    return quote.usable and now - quote.taken_at <= EXIT_PRICE_AGE_MAX


def coins_of(positions: Collection[Position]) -> tuple[Coin, ...]:
    """Every coin of *positions* once, in their order."""
    return tuple(dict.fromkeys(leg.coin for position in positions for leg in position.legs))


def mark_of(desk: Desk, position: Position, prices: Prices, now: datetime) -> Mark | None:
    """*position* at *prices*; None when a leg has no usable price or one older than an exit may rest on."""
    quotes = [prices.quotes.get(leg.coin) for leg in position.legs]
    long, short = quotes
    if long is None or short is None:
        return None
    if not (is_current(long, now) and is_current(short, now)):
        return None
    by_depth = [_price_in(leg, prices.sound.get(leg.coin), now) for leg in position.legs]
    fee = desk.venue.traits.taker_fee
    exit_return = mark_return = exit_ratio = mark_ratio = None
    if position.entry_notional > 0:
        if all(now - (one.marked_at or one.taken_at) <= EXIT_PRICE_AGE_MAX for one in (long, short)):
            mark_return = net_return(position, long.mark, short.mark, fee)
            mark_ratio = pair_ratio(position, long.mark, short.mark)
        if by_depth[0] is not None and by_depth[1] is not None:
            exit_return = net_return(position, by_depth[0], by_depth[1], fee)
            exit_ratio = pair_ratio(position, by_depth[0], by_depth[1])
    return Mark(
        long.mid,
        short.mid,
        exit_return,
        mark_return,
        taken_at=min(long.taken_at, short.taken_at),
        newest_at=max(long.taken_at, short.taken_at),
        exit_ratio=exit_ratio,
        mark_ratio=mark_ratio,
    )


def base_long(position: Position) -> bool:
    """Is the A of `A/B` the leg that is held long."""
    return position.long.coin == position.pair.base


def pair_ratio(position: Position, long_price: Decimal, short_price: Decimal) -> Decimal:
    """price(A) / price(B) of the pair, from the prices of its legs."""
    return ratio_of(long_price, short_price) if base_long(position) else ratio_of(short_price, long_price)


def entry_ratio(position: Position) -> Decimal | None:
    """price(A) / price(B) at the desk's own average entry prices; None while a leg has none."""
    long, short = position.long.entry_price, position.short.entry_price
    return None if long is None or short is None else pair_ratio(position, long, short)


def stand_of(position: Position, ratio: Decimal | None) -> Stand | None:
    """What barriers beside the net return look at, at *ratio*; None while that is not known."""
    return None if ratio is None else Stand(position.entry_notional, ratio, base_long(position))


def publish_marks(desk: Desk, account: Account | None) -> Sequence[tuple[Position, Mark]]:
    """Leave the mark of every standing position in the cache, for whoever shows it, and return those there are."""
    positions = desk.store.book().standing_positions()
    if not positions:
        return ()
    prices, now, marks = read_prices(desk, coins_of(positions)), desk.clock.now(), {}
    found: list[tuple[Position, Mark]] = []
    for position in positions:
        mark = mark_of(desk, position, prices, now)
        if mark is not None:
            found.append((position, mark))
            distance = None if account is None else distance_of(position, account, prices.quotes)
            marks[mark_key(position)] = encode_mark(replace(mark, liquidation_distance=distance))
    desk.cache.put_many(marks, MARK_TTL_SECONDS)
    return found


def unrealized_of(position: Position, mark: Mark) -> Usd:
    """USD gained on what is held, at mid, before fees."""
    return Usd(position.long.unrealized(mark.long_mid) + position.short.unrealized(mark.short_mid))


def distance_of(position: Position, account: Account, quotes: Mapping[Coin, Quote]) -> Decimal | None:
    """The nearer leg's distance to liquidation as a fraction of its mark; None when no leg can be liquidated.

    None too while either leg's is unknown, for the other one is then no answer: unless it is near, which is. The mark
    is the latest that is known, and may be old. What is held on the other side is not the leg: an account that was read
    before a pair was turned round says nothing of it, and drift is nobody's liquidation.
    """
    distances, unknown = [], False
    for leg in position.legs:
        holding, quote = account.holdings.get(leg.coin), quotes.get(leg.coin)
        if holding is not None and holding.quantity * leg.side.sign <= 0:
            holding = None
        if leg.held <= 0 or (holding is not None and holding.liquidation_price is None):
            continue
        mark = None if holding is None else _latest_mark(holding, account, quote)
        if holding is None or not _is_price(holding.liquidation_price) or not _is_price(mark):
            unknown = True
        else:
            distances.append(liquidation_distance(leg.side, mark, holding.liquidation_price))
    nearest = min(distances, default=None)
    return None if unknown and nearest is not None and nearest > LIQUIDATION_WARN else nearest


def _latest_mark(holding: Holding, account: Account, quote: Quote | None) -> Price | None:
    """The mark in the *quote* or in the account, whichever is of later: where no price can be read, the account tells
    one all the same."""
    if quote is None or (holding.mark_price is not None and account.taken_at > (quote.marked_at or quote.taken_at)):
        return holding.mark_price
    return quote.mark


def maintenance_share(account: Account) -> Decimal:
    """Maintenance margin over equity; one when there is no equity left to compare with. An account that reads empty has
    nothing to maintain: zero, and so no reason to leave."""
    if account.maintenance_margin <= 0:
        return Decimal(0)
    return account.maintenance_margin / account.equity if account.equity > 0 else Decimal(1)


def risk_level(position: Position, mark: Mark | None) -> str:
    """low, medium or high: how much of the way to the nearest stop is used up, or how near liquidation is.

    What is held without a price is never low: nobody knows. What is held without its whole sister is no hedge.
    """
    if not position.holds:
        return "low"
    if position.lost is not None or not all(leg.held > 0 for leg in position.legs):
        return "high"
    present, ratio = (None, None) if mark is None else (mark.exit_return, mark.exit_ratio)
    if mark is not None and present is None:
        present, ratio = mark.mark_return, mark.mark_ratio
    distance = None if mark is None else mark.liquidation_distance
    if mark is not None and ratio is None:
        ratio = pair_ratio(position, mark.long_mid, mark.short_mid)
    used = UNKNOWN_SHARE
    if present is not None:
        used = stop_share(position.exit_plan, present, stand_of(position, ratio), entry_ratio(position))
    if used >= Decimal("0.75") or (distance is not None and distance <= LIQUIDATION_WARN):
        return "high"
    if used >= Decimal("0.40") or (distance is not None and distance <= LIQUIDATION_WARN * 2):
        return "medium"
    return "low"


def mark_key(position: Position) -> str:
    return f"mark:{position.id}"


def encode_mark(mark: Mark) -> Json:
    """A mark for the cache; amounts as decimal strings."""
    return {
        "long_mid": str(mark.long_mid),
        "short_mid": str(mark.short_mid),
        "exit_return": None if mark.exit_return is None else str(mark.exit_return),
        "mark_return": None if mark.mark_return is None else str(mark.mark_return),
        "taken_at": mark.taken_at.isoformat(),
        "liquidation_distance": None if mark.liquidation_distance is None else str(mark.liquidation_distance),
    }


def decode_mark(value: Json) -> Mark | None:
    """What `encode_mark` wrote; None for anything else, for a cache may hold what it likes."""
    if not isinstance(value, dict):
        return None
    try:
        taken_at = datetime.fromisoformat(str(value["taken_at"]))
        mark = Mark(
            Price(_finite(value["long_mid"])),
            Price(_finite(value["short_mid"])),
            None if value["exit_return"] is None else _finite(value["exit_return"]),
            None if value["mark_return"] is None else _finite(value["mark_return"]),
            taken_at,
            taken_at,
            None if value["liquidation_distance"] is None else _finite(value["liquidation_distance"]),
        )
    except (KeyError, ValueError, ArithmeticError):
        return None
    return mark if mark.taken_at.tzinfo is not None else None


def _finite(value: Json) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError(f"{value} is no amount")
    return number


def _is_price(value: Decimal | None) -> TypeGuard[Price]:
    return value is not None and value.is_finite() and value > 0


def exit_price(leg: Leg, depth: Depth | None, now: datetime) -> Price | None:
    """What the leg can be got rid of at: a long at the bids, a short at the asks. A leg with nothing held has any
    price; a book that is old, crossed or damaged has none."""
    return _price_in(leg, depth, now) if depth is not None and is_sound(depth) else None


def _price_in(leg: Leg, depth: Depth | None, now: datetime) -> Price | None:
    """The same of a book that is known to be sound."""
    if depth is None or now - depth.taken_at > EXIT_PRICE_AGE_MAX:
        return None
    levels = depth.bids if leg.side is Side.BUY else depth.asks
    if not levels:
        return None
    return executable_price(levels, leg.held) if leg.held > 0 else levels[0].price


def is_sound(depth: Depth) -> bool:
    """No price or quantity in it is damaged, and it is not crossed. Looked through for each frame of each coin: without
    a call for each number."""
    try:
        for levels in (depth.bids, depth.asks):
            for level in levels:
                if not (0 < level.price < INFINITE and -INFINITE < level.quantity < INFINITE):
                    return False
    except InvalidOperation:  # a NaN is neither above nor below anything
        return False
    return not depth.bids or not depth.asks or depth.bids[0].price <= depth.asks[0].price
