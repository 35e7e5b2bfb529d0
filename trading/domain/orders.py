"""Orders and the venue's cumulative word on them.

Every order is immediate-or-cancel, expires, and has a client order id known before it is sent. A report is cumulative:
applying it twice is harmless.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, TradeId, Usd, hash_of


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderStatus(StrEnum):
    INTENDED = "INTENDED"
    ACCEPTED = "ACCEPTED"
    UNKNOWN = "UNKNOWN"
    FILLED = "FILLED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    REJECTED = "REJECTED"
    ABSENT = "ABSENT"

    @property
    def in_doubt(self) -> bool:
        """True while nobody knows how the order ended."""
        return self in (OrderStatus.INTENDED, OrderStatus.ACCEPTED, OrderStatus.UNKNOWN)


class RejectReason(StrEnum):
    """Why a venue refused or did not fill an order, as far as the desk acts differently on it."""

    NO_MATCH = "NO_MATCH"
    PRICE = "PRICE"
    SIZE = "SIZE"
    NOTIONAL_MIN = "NOTIONAL_MIN"
    MARGIN = "MARGIN"
    REDUCE_ONLY = "REDUCE_ONLY"
    OPEN_INTEREST = "OPEN_INTEREST"
    NOT_TRADABLE = "NOT_TRADABLE"
    EXPIRED = "EXPIRED"
    UNEXPLAINED = "UNEXPLAINED"
    RATE_LIMIT = "RATE_LIMIT"
    UNSENT = "UNSENT"
    OTHER = "OTHER"

    @property
    def heals(self) -> bool:
        """False when sending the same again cannot succeed soon: repair then goes straight to trimming."""
        return self not in (
            RejectReason.MARGIN,
            RejectReason.OPEN_INTEREST,
            RejectReason.NOT_TRADABLE,
            RejectReason.UNEXPLAINED,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """One immediate-or-cancel limit order on one leg. `quantity` in coins, `limit_price` in USD, both on the venue's
    grids. `mid` is the middle of the book when it was intended, where that was known: what its fill is measured by."""

    client_order_id: ClientOrderId
    coin: Coin
    side: Side
    quantity: Quantity
    limit_price: Price
    reduce_only: bool
    slice_number: int
    attempt: int
    intended_at: datetime
    expires_at: datetime
    mid: Price | None = None


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The venue's cumulative word on one order: filled quantity in coins, average price, fees paid in USD.

    `filled_at`: the instant of its newest fill by the venue's clock, where it tells one. `sized_by_venue`: the venue
    was told an amount of money and made coins of it, so that more than the order's quantity may have been filled.
    """

    client_order_id: ClientOrderId
    status: OrderStatus
    reported_at: datetime
    filled: Quantity = Quantity(ZERO)
    average_price: Price | None = None
    fees: Usd = Usd(ZERO)
    reason: RejectReason | None = None
    detail: str = ""
    sized_by_venue: bool = False
    filled_at: datetime | None = None


def client_order_id(trade_id: TradeId, slice_number: int, coin: Coin, attempt: int) -> ClientOrderId:
    """The venue's cloid: 0x and 32 hex digits, a hash of what caused the order."""
    return ClientOrderId("0x" + hash_of("order", trade_id, slice_number, coin, attempt)[:32])
