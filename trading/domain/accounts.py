"""What is written down of the account's money beside the trades: its equity by the hour, and each hour's funding by
position and coin; and how far the funding of a position has got."""

from dataclasses import dataclass
from datetime import datetime

from trading.domain.positions import Position, Watch
from trading.domain.units import Coin, PositionId, Usd


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """The account's equity in USD as the venue reported it at `taken_at`."""

    taken_at: datetime
    equity: Usd


@dataclass(frozen=True, slots=True)
class FundingShare:
    """One position's part of one hourly payment of one coin, in USD, positive when paid."""

    position_id: PositionId
    coin: Coin
    paid_at: datetime
    amount: Usd


def hour_of(at: datetime) -> datetime:
    """The full hour at or before *at*."""
    return at.replace(minute=0, second=0, microsecond=0)


def funded_to(position: Position, watch: Watch | None) -> datetime:
    """The instant up to which the watch of *position* has its funding: its entry at first."""
    return position.entered_at if watch is None or watch.funded_until is None else watch.funded_until


def funding_complete(position: Position, watch: Watch | None) -> bool:
    """True once a closed position has the funding of its last hour: what is archived should have it."""
    return position.exited_at is not None and funded_to(position, watch) >= hour_of(position.exited_at)
