"""Orders as the exchange keeps them, and the rows in which it shows them."""

from dataclasses import dataclass, field
from decimal import Decimal

from tests.servers.hyperliquid.actions import Builder, Trigger
from tests.servers.hyperliquid.words import ZERO, Row, bare, text

LIVE = "open"


@dataclass(slots=True)
class Order:
    """One order from acceptance on. `left` is what has not filled; `original` what was asked for.

    `placed` tells an order that rests (or a trigger that waits) from one that is being executed, which no move of the
    market may touch. A trigger with `waiting` is a child whose parent has not filled; `fired` ones are plain orders.
    """

    oid: int
    user: str
    asset: int
    coin: str
    is_buy: bool
    limit: Decimal
    original: Decimal
    left: Decimal
    reduce_only: bool
    tif: str | None
    trigger: Trigger | None
    cloid: str | None
    placed_at: int
    builder: Builder | None = None
    status: str = LIVE
    status_at: int = 0
    parent: "Order | None" = None
    children: list["Order"] = field(default_factory=list)
    placed: bool = False
    waiting: bool = False
    fired: bool = False
    position_tied: bool = False
    siblings: list["Order"] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.status == LIVE

    @property
    def resting(self) -> bool:
        """On the book: live, placed and no trigger that still waits."""
        return self.live and self.placed and (self.trigger is None or self.fired)

    @property
    def armed(self) -> bool:
        """A trigger that waits for the mark, and for nothing else."""
        return self.live and self.placed and self.trigger is not None and not self.fired and not self.waiting

    @property
    def side(self) -> str:
        return "B" if self.is_buy else "A"

    @property
    def filled(self) -> Decimal:
        return self.original - self.left

    def fires_at(self, mark: Decimal) -> bool:
        """Take-profits of sells and stops of buys fire above their price, the others below; both on the mark."""
        if self.trigger is None:
            return False
        return mark >= self.trigger.price if self._fires_above else mark <= self.trigger.price

    @property
    def _fires_above(self) -> bool:
        return self.trigger is not None and (self.trigger.kind == "tp") != self.is_buy

    def open_row(self) -> Row:
        """The row of `openOrders` and `orderUpdates`: a trigger looks like a plain limit order there."""
        row: Row = {
            "coin": self.coin,
            "side": self.side,
            "limitPx": text(self.limit),
            "sz": text(self.left),
            "oid": self.oid,
            "timestamp": self.placed_at,
            "origSz": text(self.original),
        }
        if self.cloid is not None:
            row["cloid"] = self.cloid
        if self.reduce_only:
            row["reduceOnly"] = True
        return row

    def full_row(self) -> Row:
        """The row of `frontendOpenOrders`, `orderStatus` and `historicalOrders`."""
        pending = self.trigger if not self.fired else None
        direction = "above" if self._fires_above else "below"
        return {
            "coin": self.coin,
            "side": self.side,
            "limitPx": text(self.limit),
            "sz": text(self.left),
            "oid": self.oid,
            "timestamp": self.placed_at,
            "triggerCondition": f"Price {direction} {bare(self.trigger.price)}" if self.trigger else "N/A",
            "isTrigger": pending is not None,
            "triggerPx": text(self.trigger.price) if self.trigger else text(ZERO),
            "children": [child.full_row() for child in self.children if child.live],
            "isPositionTpsl": self.position_tied,
            "reduceOnly": self.reduce_only,
            "orderType": self.type_name,
            "origSz": text(self.original),
            "tif": self.tif if pending is None else None,
            "cloid": self.cloid,
        }

    @property
    def type_name(self) -> str:
        if self.trigger is None:
            return "Limit"
        kind = "Take Profit" if self.trigger.kind == "tp" else "Stop"
        return f"{kind} {'Market' if self.trigger.is_market else 'Limit'}"

    def status_row(self) -> Row:
        """`{order, status, statusTimestamp}` as `historicalOrders` lists it."""
        return {"order": self.full_row(), "status": self.status, "statusTimestamp": self.status_at}

    def update_row(self) -> Row:
        """One element of an `orderUpdates` frame."""
        return {"order": self.open_row(), "status": self.status, "statusTimestamp": self.status_at}
