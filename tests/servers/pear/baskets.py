"""The synthetic positions: baskets on top of the one net holding a coin that the exchange knows.

The law, in the order of Pear's documentation: what is filled closes an exactly inverse basket first, then whatever
holds the coin on the other side, and only the rest merges into the basket of the same coins or makes a new one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from tests.servers.pear.words import Row, iso
from trading.domain.units import hash_of

ZERO = Decimal(0)
Side = Literal["long", "short"]
OTHER: Mapping[Side, Side] = {"long": "short", "short": "long"}


@dataclass(slots=True)
class Part:
    """One coin of a basket: `size` in coins, positive on both sides, `entry` what it cost in USD."""

    coin: str
    side: Side
    size: Decimal
    entry: Decimal

    @property
    def entry_price(self) -> Decimal:
        return self.entry / self.size

    def profit(self, mark: Decimal) -> Decimal:
        value = mark * self.size
        return value - self.entry if self.side == "long" else self.entry - value


@dataclass(slots=True)
class Basket:
    """One position of an address. `take_profit` and `stop_loss` as they were given; `moved_at` orders ties."""

    id: str
    address: str
    client_id: str
    leverage: int
    created_at: datetime
    updated_at: datetime
    visible_from: datetime
    parts: dict[str, Part] = field(default_factory=dict)
    flag: str = "FULLY_PEAR"
    take_profit: Row | None = None
    stop_loss: Row | None = None

    @property
    def open(self) -> bool:
        return bool(self.parts)

    def coins(self, side: Side) -> frozenset[str]:
        return frozenset(one.coin for one in self.parts.values() if one.side == side)

    def weight(self, part: Part) -> Decimal:
        return part.entry / sum((one.entry for one in self.parts.values()), ZERO)

    def profit(self, marks: Mapping[str, Decimal]) -> Decimal:
        return sum((one.profit(marks[one.coin]) for one in self.parts.values()), ZERO)

    def ratio(self, prices: Mapping[str, Decimal]) -> Decimal:
        """The weighted geometric ratio, weights of the whole basket adding up to one."""
        found = Decimal(1)
        for part in self.parts.values():
            weight = self.weight(part)
            found *= prices[part.coin] ** (weight if part.side == "long" else -weight)
        return found


@dataclass(frozen=True, slots=True)
class Filled:
    """What one leg traded: coins at an average price."""

    coin: str
    side: Side
    size: Decimal
    price: Decimal


class Baskets:
    """All baskets of one address. The caller holds the trading lock."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.all: list[Basket] = []
        self._made = 0

    @property
    def open(self) -> list[Basket]:
        return [one for one in self.all if one.open]

    def find(self, basket_id: str) -> Basket | None:
        return next((one for one in self.open if one.id == basket_id), None)

    def take(self, fills: Iterable[Filled], leverage: int, now: datetime, visible_from: datetime) -> Basket | None:
        """Apply an order that was filled like this; the basket that took what was left over, if anything was."""
        legs = [one for one in fills if one.size]
        longs, shorts = (frozenset(one.coin for one in legs if one.side == side) for side in ("long", "short"))
        inverse = [one for one in self.open if one.coins("long") == shorts and one.coins("short") == longs]
        rest = [left for one in legs if (left := self._net(one, inverse, now)).size]
        if not rest:
            return None
        same = [one for one in self.open if one.coins("long") == longs and one.coins("short") == shorts]
        basket = same[0] if same else self._new(leverage, now, visible_from)
        basket.leverage, basket.updated_at = leverage, now
        for leg in rest:
            part = basket.parts.setdefault(leg.coin, Part(leg.coin, leg.side, ZERO, ZERO))
            part.size += leg.size
            part.entry += leg.size * leg.price
        return basket

    def reduce(self, basket: Basket, coin: str, size: Decimal, now: datetime) -> None:
        part = basket.parts[coin]
        taken = min(size, part.size)
        part.entry -= part.entry * taken / part.size
        part.size -= taken
        basket.updated_at = now
        if part.size == 0:
            del basket.parts[coin]

    def follow(self, held: Mapping[str, Decimal], now: datetime) -> None:
        """Shrink what the exchange holds less of than the baskets say: closed outside, or liquidated."""
        for coin in {part.coin for one in self.open for part in one.parts.values()}:
            net = held.get(coin, ZERO)
            for side, there in (("long", max(net, ZERO)), ("short", max(-net, ZERO))):
                holders = [one for one in self.open if coin in one.parts and one.parts[coin].side == side]
                gone = sum((one.parts[coin].size for one in holders), ZERO) - there
                for basket in holders:
                    if gone > 0:
                        taken = min(gone, basket.parts[coin].size)
                        basket.flag = "PARTIAL"
                        self.reduce(basket, coin, taken, now)
                        gone -= taken

    def _net(self, leg: Filled, inverse: list[Basket], now: datetime) -> Filled:
        left = leg.size
        for basket in (*inverse, *[one for one in self.open if one not in inverse]):
            part = basket.parts.get(leg.coin)
            if left > 0 and part is not None and part.side == OTHER[leg.side]:
                taken = min(left, part.size)
                self.reduce(basket, leg.coin, taken, now)
                left -= taken
        return Filled(leg.coin, leg.side, left, leg.price)

    def _new(self, leverage: int, now: datetime, visible_from: datetime) -> Basket:
        self._made += 1
        name = f"pos_{hash_of('basket', self.address, self._made)[:16]}"
        basket = Basket(name, self.address, "APITRADER", leverage, now, now, visible_from)
        self.all.append(basket)
        return basket


def row_of(basket: Basket, marks: Mapping[str, Decimal]) -> Row:
    """The row of GET /positions."""
    parts = list(basket.parts.values())
    entries = {one.coin: one.entry_price for one in parts}
    entry, value = sum((one.entry for one in parts), ZERO), sum((marks[one.coin] * one.size for one in parts), ZERO)
    profit, margin = basket.profit(marks), value / basket.leverage
    return {
        "positionId": basket.id,
        "address": basket.address,
        "createdByClient": basket.client_id,
        "pearExecutionFlag": basket.flag,
        "stopLoss": basket.stop_loss,
        "takeProfit": basket.take_profit,
        "autoRebalance": None,
        "entryRatio": basket.ratio(entries),
        "markRatio": basket.ratio(marks),
        **_price_ratios(basket, entries, marks),
        "entryPositionValue": entry,
        "positionValue": value,
        "marginUsed": margin,
        "unrealizedPnl": profit,
        "unrealizedPnlPercentage": profit / margin,
        **{f"{side}Assets": [_asset(basket, one, marks) for one in parts if one.side == side] for side in OTHER},
        "createdAt": iso(basket.created_at),
        "updatedAt": iso(basket.updated_at),
    }


def _price_ratios(basket: Basket, entries: Mapping[str, Decimal], marks: Mapping[str, Decimal]) -> Row:
    longs, shorts = basket.coins("long"), basket.coins("short")
    if len(longs) != 1 or len(shorts) != 1:
        return {}
    (long,), (short,) = longs, shorts
    return {"entryPriceRatio": entries[long] / entries[short], "markPriceRatio": marks[long] / marks[short]}


def _asset(basket: Basket, part: Part, marks: Mapping[str, Decimal]) -> Row:
    mark = marks[part.coin]
    return {
        "coin": part.coin,
        "entryPrice": part.entry_price,
        "actualSize": part.size,
        "leverage": basket.leverage,
        "marginUsed": mark * part.size / basket.leverage,
        "positionValue": mark * part.size,
        "unrealizedPnl": part.profit(mark),
        "entryPositionValue": part.entry,
        "fundingPaid": ZERO,
        "targetWeight": basket.weight(part),
    }
