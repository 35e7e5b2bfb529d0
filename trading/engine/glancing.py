"""A first glance at a position: has it anything to decide, told from what was worked out before the price came.

The law: the same net return as `valuing.mark_of` finds, digit for digit. What is not surely quiet gets the closer look,
and so does every barrier that this module does not know.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.exit_plan import ExitPlan
from trading.domain.market import Account, Depth, Level, Quote
from trading.domain.orders import Side
from trading.domain.positions import Leg, Position
from trading.domain.units import ZERO, Coin, PositionId
from trading.engine.valuing import (
    EXIT_PRICE_AGE_MAX,
    LIQUIDATION_WARN,
    Prices,
    coins_of,
    is_sound,
)
from trading.utils.trade_calculator import liquidation_distance

FOREVER = timedelta.max


class Ladder:
    """One side of a sound book, best first, with what stands up to each level added up when it is first asked for."""

    __slots__ = ("_levels", "_sums", "best", "best_quantity")

    def __init__(self, levels: tuple[Level, ...]) -> None:
        self._levels = levels
        self._sums: list[tuple[Decimal, Decimal, Decimal]] = []
        self.best: Decimal = levels[0].price
        self.best_quantity: Decimal = levels[0].quantity

    def price_of(self, quantity: Decimal) -> Decimal | None:
        """What `executable_price` finds; None for too little depth."""
        if quantity <= self.best_quantity:
            return self.best
        for reach, before, paid, price in self._steps():
            if quantity <= reach:
                return (paid + (quantity - before) * price) / quantity
        return None

    def _steps(self) -> Iterable[tuple[Decimal, Decimal, Decimal, Decimal]]:
        """Of each level: coins up to it, coins before it, USD before it, and its price."""
        if not self._sums:
            reach = paid = ZERO
            for level in self._levels:
                before, reach = reach, reach + level.quantity
                self._sums.append((reach, before, paid))
                paid += level.quantity * level.price
        for (reach, before, paid), level in zip(self._sums, self._levels, strict=True):
            yield reach, before, paid, level.price


@dataclass(frozen=True, slots=True)
class Frame:
    """What the venue said of a coin. The same frame looked at twice is one: told by the very objects in it."""

    quote: Quote
    depth: Depth
    selling: Ladder
    buying: Ladder

    def is_of(self, quote: Quote, depth: Depth) -> bool:
        known, book = self.quote, self.depth
        same_book = book.bids is depth.bids and book.asks is depth.asks
        return same_book and known.bid is quote.bid and known.ask is quote.ask and known.mark is quote.mark


@dataclass(frozen=True, slots=True)
class Sight:
    """A coin as every position that holds it sees it at this instant: a usable, fresh price and a sound, fresh book.

    `long_safe` and `short_safe`: a leg on that side is far from its liquidation, or cannot be liquidated.
    """

    frame: Frame
    long_safe: bool
    short_safe: bool


class Standing:
    """One standing position with everything worked out that only its trades and its plan decide."""

    __slots__ = (
        "_costs",
        "_holding_max",
        "_long_entry",
        "_long_held",
        "_notional",
        "_realized",
        "_short_entry",
        "_short_held",
        "_stop",
        "_take",
        "long_coin",
        "plain",
        "position",
        "short_coin",
        "watched",
    )

    def __init__(self, position: Position) -> None:
        long, short, plan = position.long, position.short, position.exit_plan
        self.position = position
        self.long_coin, self.short_coin = long.coin, short.coin
        self.watched = position.guarded
        self.plain = _is_plain(plan) and (long.side, short.side) == (Side.BUY, Side.SELL)
        self._stop, self._take = -plan.stop_loss, plan.take_profit
        self._holding_max = FOREVER if plan.max_holding_seconds is None else timedelta(seconds=plan.max_holding_seconds)
        self._notional = position.entry_notional
        self._realized = position.realized
        self._costs = position.fees + position.funding
        self._long_held, self._long_entry = long.held, _entry(long)
        self._short_held, self._short_entry = short.held, _entry(short)

    def returned(self, long_price: Decimal, short_price: Decimal, taker_fee: Decimal) -> Decimal:
        """`trade_calculator.net_return` with its sums at hand; the position has an entry."""
        to_close = self._long_held * long_price + self._short_held * short_price
        gains = (
            self._realized
            + self._long_held * (long_price - self._long_entry)
            + self._short_held * (self._short_entry - short_price)
        )
        return (gains - (self._costs + taker_fee * to_close)) / self._notional

    def exit_return(self, long: Sight, short: Sight, taker_fee: Decimal) -> Decimal | None:
        """The net return by depth; None where there is too little of it or no entry to measure against."""
        long_price = long.frame.selling.price_of(self._long_held)
        short_price = short.frame.buying.price_of(self._short_held)
        if long_price is None or short_price is None or self._notional <= 0:
            return None
        return self.returned(long_price, short_price, taker_fee)

    def is_quiet(self, long: Sight, short: Sight, taker_fee: Decimal, held_for: timedelta) -> bool:
        """Surely no barrier is touched, by price, time or liquidation."""
        if not (long.long_safe and short.short_safe):
            return False
        if not self.watched:
            return True
        if not self.plain or held_for >= self._holding_max:
            return False
        present = self.exit_return(long, short, taker_fee)
        return present is not None and self._stop < present < self._take


@dataclass
class Roster:
    """The standing positions with what was worked out for each, kept as long as the position stays the same."""

    positions: tuple[Position, ...] = ()
    coins: tuple[Coin, ...] = ()
    _standing: dict[PositionId, Standing] = field(default_factory=dict)
    _by_coin: dict[Coin, tuple[Standing, ...]] = field(default_factory=dict)
    _frames: dict[Coin, Frame] = field(default_factory=dict)

    def update(self, positions: tuple[Position, ...]) -> bool:
        """Take in what stands now; False when that is nothing new."""
        if len(positions) == len(self.positions) and all(map(_is, positions, self.positions)):
            return False
        known, by_coin = self._standing, dict[Coin, list[Standing]]()
        self._standing = {}
        for position in positions:
            one = known.get(position.id)
            one = one if one is not None and one.position is position else Standing(position)
            self._standing[position.id] = one
            for coin in {one.long_coin, one.short_coin}:
                by_coin.setdefault(coin, []).append(one)
        self.positions, self.coins = positions, coins_of(positions)
        self._by_coin = {coin: tuple(standing) for coin, standing in by_coin.items()}
        self._frames = {coin: frame for coin, frame in self._frames.items() if coin in by_coin}
        return True

    def concerned(self, coins: Collection[Coin] | None) -> Collection[Standing]:
        """Those that hold one of *coins*, each once; all of them for None."""
        if coins is None:
            return self._standing.values()
        # In the order of the roster, whatever that of *coins* is: who leaves first must not hang on a hash.
        some = (found for coin, found in self._by_coin.items() if coin in coins)
        return {one.position.id: one for found in some for one in found}.values()

    def sights(
        self, prices: Prices, account: Account | None, now: datetime
    ) -> tuple[Mapping[Coin, Sight], frozenset[Coin]]:
        """The coins that may be judged at a glance, and those whose frame has not been looked at before."""
        sights, news = {}, set()
        for coin, quote in prices.quotes.items():
            depth, known = prices.depths.get(coin), self._frames.get(coin)
            if depth is None or known is None or not known.is_of(quote, depth):
                news.add(coin)
                self._frames.pop(coin, None)
                known = None if depth is None else _frame(quote, depth)
                if known is not None and coin in self._by_coin:
                    self._frames[coin] = known
            if known is None or depth is None or now - min(quote.taken_at, depth.taken_at) > EXIT_PRICE_AGE_MAX:
                continue
            sights[coin] = Sight(
                known, _is_safe(Side.BUY, quote, account, coin), _is_safe(Side.SELL, quote, account, coin)
            )
        return sights, frozenset(news)


def _is(one: Position, other: Position) -> bool:
    return one is other


def _entry(leg: Leg) -> Decimal:
    """A leg of which nothing was filled has nothing that a price could change."""
    return leg.entry_price if leg.entry_price is not None else ZERO


def _is_plain(plan: ExitPlan) -> bool:
    """Has it no barrier but a stop, a profit and a time."""
    return plan == ExitPlan(
        plan.take_profit,
        plan.stop_loss,
        max_holding_seconds=plan.max_holding_seconds,
        time_window=plan.time_window,
    )


def _frame(quote: Quote, depth: Depth) -> Frame | None:
    """None for what no glance can rest on: no price, a damaged or one-sided book, an empty level."""
    if not quote.usable or not depth.bids or not depth.asks or not is_sound(depth):
        return None
    if not all(level.quantity > 0 for level in (*depth.bids, *depth.asks)):
        return None
    return Frame(quote, depth, Ladder(depth.bids), Ladder(depth.asks))


def _is_safe(side: Side, quote: Quote, account: Account | None, coin: Coin) -> bool:
    holding = account.holdings.get(coin) if account is not None else None
    if holding is None or holding.liquidation_price is None:
        return True
    price = holding.liquidation_price
    return price.is_finite() and price > 0 and liquidation_distance(side, quote.mark, price) > LIQUIDATION_WARN
