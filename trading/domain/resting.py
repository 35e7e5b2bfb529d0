"""Orders that rest at the venue until its mark reaches them, and the venue's own list of the account's fills.

The law: a resting order only reduces, and its id is a hash of what caused it and never used twice; a fill is a fact
that the venue tells, and what explains it is told with it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.domain.orders import RejectReason, Side
from trading.domain.units import ClientOrderId, Coin, PositionId, Price, Quantity, Usd, hash_of


class TriggerKind(StrEnum):
    STOP = "stop"
    TAKE_PROFIT = "take_profit"


@dataclass(frozen=True, slots=True)
class RestingOrder:
    """A reduce-only order that becomes a limit order at `limit_price` once the venue's mark reaches `trigger_price`.

    `quantity` in coins, prices in USD, all on the venue's grids. `side` is that of the order: SELL guards a long.
    """

    client_order_id: ClientOrderId
    coin: Coin
    side: Side
    quantity: Quantity
    trigger_price: Price
    limit_price: Price
    kind: TriggerKind

    def fires_at(self, mark: Decimal) -> bool:
        """Take-profits of sells and stops of buys fire at or above their trigger, the others at or below."""
        above = (self.kind is TriggerKind.TAKE_PROFIT) == (self.side is Side.SELL)
        return mark >= self.trigger_price if above else mark <= self.trigger_price


def resting_order_id(position_id: PositionId, coin: Coin, kind: TriggerKind, number: int) -> ClientOrderId:
    """The venue's cloid of the *number*-th (from 1) resting order of a position: 0x and 32 hex digits."""
    return ClientOrderId("0x" + hash_of("resting", position_id, coin, kind, number)[:32])


@dataclass(frozen=True, slots=True)
class Resting:
    """An order that may rest at the venue: written down before it is sent, struck out when the venue has it no more.

    `placed` says that the venue has taken it; before that it is in doubt.
    """

    order: RestingOrder
    intended_at: datetime
    placed: bool = False


class RestingStatus(StrEnum):
    RESTING = "RESTING"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class RestingReport:
    """The venue's word on one order that was to rest. UNKNOWN: it may rest, or may yet come to."""

    client_order_id: ClientOrderId
    status: RestingStatus
    reason: RejectReason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """One order of the account as the venue lists it, anybody's; `trigger_price` None once it has fired, or never
    waited for one."""

    client_order_id: ClientOrderId | None
    coin: Coin
    side: Side
    quantity: Quantity
    trigger_price: Price | None
    limit_price: Price


class FillCause(StrEnum):
    ORDER = "ORDER"
    LIQUIDATION = "LIQUIDATION"
    AUTO_DELEVERAGING = "AUTO_DELEVERAGING"
    SETTLEMENT = "SETTLEMENT"


@dataclass(frozen=True, slots=True)
class AccountFill:
    """One fill of the account, whoever caused it: coins at a price in USD, the fee positive when paid.

    `client_order_id` is that of its order where it had one; a liquidation has none of the account's.
    """

    id: str
    coin: Coin
    side: Side
    quantity: Quantity
    price: Price
    fee: Usd
    filled_at: datetime
    cause: FillCause = FillCause.ORDER
    client_order_id: ClientOrderId | None = None


@dataclass(frozen=True, slots=True)
class PairLine:
    """Where a venue that keeps pairs is to close one by itself: profit and loss in USD, both positive, fees aside, on
    the quantities that the desk holds."""

    long_coin: Coin
    long_quantity: Quantity
    short_coin: Coin
    short_quantity: Quantity
    take_profit: Usd
    stop_loss: Usd
