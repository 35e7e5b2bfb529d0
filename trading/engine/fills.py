"""What has been filled, one record an order: the list that accounts are checked against. Reads only, and nothing of
what is archived."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.domain.errors import NotFound
from trading.domain.orders import Order
from trading.domain.trades import Trade
from trading.domain.units import ClientOrderId, Coin, PositionId, Price, TradeId, Usd
from trading.engine.desk import Desk


@dataclass(frozen=True, slots=True)
class FillView:
    """One order and what of it was filled: `quantity` in coins at the average `price`, `notional` and `fees` in USD."""

    client_order_id: ClientOrderId
    trade_id: TradeId
    position_id: PositionId
    signal_id: str | None
    pair: str
    effect: str
    coin: Coin
    side: str
    quantity: Decimal
    price: Price | None
    notional: Decimal | None
    fees: Usd
    reduce_only: bool
    slice_number: int
    attempt: int
    status: str
    sent_at: datetime


def fills(desk: Desk, limit: int, before: ClientOrderId | None) -> tuple[tuple[FillView, ...], int]:
    """Newest first by the instant of sending, and how many there are in all. Raises NotFound for an unknown
    *before*."""
    found = [
        (trade, order)
        for trade in desk.store.book().trades()
        for order in trade.orders
        if trade.report_of(order).filled
    ]
    # Stable: orders of one instant, which is one group, stay in their order before the list is turned round.
    found.sort(key=lambda one: one[1].intended_at)
    found.reverse()
    total = len(found)
    if before is not None:
        places = [place for place, (_, order) in enumerate(found) if order.client_order_id == before]
        if not places:
            raise NotFound(f"there is no fill {before} in this list")
        found = found[places[0] + 1 :]
    return tuple(_view(trade, order) for trade, order in found[:limit]), total


def _view(trade: Trade, order: Order) -> FillView:
    report, terms = trade.report_of(order), trade.terms
    price = report.average_price
    return FillView(
        client_order_id=order.client_order_id,
        trade_id=trade.id,
        position_id=terms.position_id,
        signal_id=terms.signal.id if terms.signal else None,
        pair=str(terms.pair),
        effect=terms.effect,
        coin=order.coin,
        side=order.side,
        quantity=report.filled,
        price=price,
        notional=report.filled * price if price is not None else None,
        fees=report.fees,
        reduce_only=order.reduce_only,
        slice_number=order.slice_number,
        attempt=order.attempt,
        status=report.status,
        sent_at=order.intended_at,
    )
