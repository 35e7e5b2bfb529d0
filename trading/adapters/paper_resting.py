"""What rests at the paper venue and what it has filled: the part of the account's fold that is neither money nor word.

The law: as for all of the account, it is a fold of the journal and nothing else. An id rests once for ever, what
guards a holding ends with it, and of fills that were forgotten nothing is said.

Records, amounts as decimal text:

    rest    at, orders: [client_order_id, coin, side, quantity, trigger_price, limit_price, kind]
    unrest  at, ids: [client_order_id]
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.orders import OrderReport, Side
from trading.domain.resting import AccountFill, ListedOrder, RestingOrder, TriggerKind
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, exact
from trading.ports import Json

RESTS_MAX = 1_000
"""Open orders of a fresh account on Hyperliquid (documentation, "Rate limits")."""
FILLS_REMEMBERED = 10_000

Record = Mapping[str, Json]


class PaperRests:
    """The orders that rest, oldest first, the ids that ever did, and the last fills."""

    def __init__(self) -> None:
        self.orders: OrderedDict[ClientOrderId, RestingOrder] = OrderedDict()
        self._ids: OrderedDict[ClientOrderId, None] = OrderedDict()
        self._fills: deque[AccountFill] = deque(maxlen=FILLS_REMEMBERED)
        self._filled = 0

    def knows(self, client_order_id: ClientOrderId) -> bool:
        return client_order_id in self._ids

    def listed(self) -> tuple[ListedOrder, ...]:
        return tuple(
            ListedOrder(one.client_order_id, one.coin, one.side, one.quantity, one.trigger_price, one.limit_price)
            for one in self.orders.values()
        )

    def fills(self, since: datetime) -> tuple[AccountFill, ...] | None:
        """Those at or after *since*, oldest first; None when memory does not reach so far."""
        if self._filled > len(self._fills) and since <= self._fills[0].filled_at:
            return None
        return tuple(one for one in self._fills if one.filled_at >= since)

    def rest(self, record: Record) -> None:
        """Raises ValueError for a record that means nothing."""
        for row in _rows(record):
            order = _order_of(row)
            self.orders[order.client_order_id] = order
            self._ids[order.client_order_id] = None
            if len(self._ids) > FILLS_REMEMBERED:
                self._ids.popitem(last=False)

    def unrest(self, record: Record) -> None:
        """Raises ValueError for a record that means nothing."""
        ids = record.get("ids")
        if not isinstance(ids, list):
            raise ValueError("ids must be a list")
        for one in ids:
            self.orders.pop(ClientOrderId(str(one)), None)

    def filled(self, coin: Coin, side: Side, report: OrderReport, price: Decimal, held: Decimal) -> None:
        """Take in a fill after which *held* of the coin is left."""
        self._filled += 1
        self._fills.append(
            AccountFill(
                id=f"paper-{self._filled}",
                coin=coin,
                side=side,
                quantity=report.filled,
                price=Price(price),
                fee=report.fees,
                filled_at=report.reported_at,
                client_order_id=report.client_order_id,
            )
        )
        fired = self.orders.get(report.client_order_id)
        if fired is not None:
            self.orders[fired.client_order_id] = replace(fired, quantity=Quantity(fired.quantity - report.filled))
        self.orders = OrderedDict(
            (key, one)
            for key, one in self.orders.items()
            if one.coin != coin or (one.quantity > 0 and held * one.side.sign < 0)
        )

    def fired(self, mark_of: Callable[[Coin], Decimal]) -> tuple[RestingOrder, ...]:
        """Those whose trigger the mark has reached."""
        marks = {coin: mark_of(coin) for coin in {one.coin for one in self.orders.values()}}
        return tuple(one for one in self.orders.values() if one.fires_at(marks[one.coin]))


def rest_record(at: datetime, orders: Sequence[RestingOrder]) -> dict[str, Json]:
    """One record for one group."""
    rows: list[Json] = [
        {
            "client_order_id": one.client_order_id,
            "coin": one.coin,
            "side": one.side.value,
            "quantity": str(one.quantity),
            "trigger_price": str(one.trigger_price),
            "limit_price": str(one.limit_price),
            "kind": one.kind.value,
        }
        for one in orders
    ]
    return {"kind": "rest", "at": at.isoformat(), "orders": rows}


def unrest_record(at: datetime, ids: Collection[ClientOrderId]) -> dict[str, Json]:
    return {"kind": "unrest", "at": at.isoformat(), "ids": [*ids]}


def _rows(record: Record) -> Sequence[Record]:
    rows = record.get("orders")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("orders must be a list of records")
    return [row for row in rows if isinstance(row, dict)]


def _order_of(row: Record) -> RestingOrder:
    coin = Coin(_text(row, "coin"))
    if coin not in INSTRUMENTS:
        raise ValueError(f"{coin!r} is not listed")
    return RestingOrder(
        client_order_id=ClientOrderId(_text(row, "client_order_id")),
        coin=coin,
        side=Side(_text(row, "side")),
        quantity=Quantity(exact(_text(row, "quantity"), "quantity")),
        trigger_price=Price(exact(_text(row, "trigger_price"), "trigger_price")),
        limit_price=Price(exact(_text(row, "limit_price"), "limit_price")),
        kind=TriggerKind(_text(row, "kind")),
    )


def _text(row: Record, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text")
    return value
