"""A position's money as its moves add up to it: what the tables of money are compared with."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading.domain.positions import Position
from trading.domain.trades import Trade
from trading.domain.units import ZERO, Coin, Price
from trading.engine.accounting import NOTHING, Money, moves_of


@dataclass(frozen=True, slots=True)
class PositionAccount:
    """By leg, long first. `unrealized` and `pnl` are None while a held leg has no price."""

    legs: tuple[Money, Money]
    unrealized: Decimal | None

    @property
    def money(self) -> Money:
        return self.legs[0] + self.legs[1]

    @property
    def pnl(self) -> Decimal | None:
        return None if self.unrealized is None else self.money.net + self.unrealized


def account_of(
    position: Position, trades: Iterable[Trade], prices: Mapping[Coin, Price | None] | None = None
) -> PositionAccount:
    """The money of *position*, what is held valued at *prices*."""
    moves = [*moves_of(position, trades)]
    long, short = (sum((move.money for move in moves if move.coin == leg.coin), start=NOTHING) for leg in position.legs)
    held = [(leg, (prices or {}).get(leg.coin)) for leg in position.legs if leg.held > 0]
    known = [leg.unrealized(price) for leg, price in held if price is not None]
    return PositionAccount((long, short), sum(known, ZERO) if len(known) == len(held) else None)
