"""Fills as they happened, who held how much of a coin at an instant, and each holder's part of a payment.

The law: what was held then is read from the fills of then, never from what is held now; the parts of a payment add up
to it exactly.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from trading.domain.book import Book
from trading.domain.market import FundingPayment
from trading.domain.orders import Order, OrderReport, Side
from trading.domain.positions import Position
from trading.domain.trades import HoldingGone, LegLost, LegPlan, OrdersReported, Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Price, Quantity, TradeId, Usd

HELD_MAX = timedelta(days=31)
"""How far back an archived position is looked for by its entry. The desk's positions live for minutes to days."""
USD_STEP = Decimal("0.000001")
"""Parts are whole millionths of a dollar, as the venue's payments are; a finer payment keeps its own digits."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What one order traded at one instant: coins, the USD exchanged and the fee. `arrival_price` is its trade's.

    A correction of fees alone is a fill of nothing. What a close found gone is a fill without an order, at the mark it
    was booked at; what others' fills took of a leg is one without an order of the desk's, at its true price.
    """

    position_id: PositionId
    trade_id: TradeId
    client_order_id: ClientOrderId | None
    coin: Coin
    side: Side
    reduces: bool
    quantity: Quantity
    notional: Usd
    fees: Usd
    arrival_price: Price
    filled_at: datetime

    @property
    def price(self) -> Price | None:
        return Price(self.notional / self.quantity) if self.quantity else None


def fills_of(trade: Trade) -> tuple[Fill, ...]:
    """Every fill of *trade*, in the order in which they became known.

    Reports are cumulative, so a fill is the difference of two of them. It happened when the venue said; where it did
    not, no later than the order could live: a report that came after a doubt of an hour does not make the fill an hour
    younger.
    """
    orders = {order.client_order_id: order for order in trade.orders}
    legs = {leg.coin: leg for leg in trade.terms.legs}
    known: dict[ClientOrderId, OrderReport] = {}
    fills = []
    for event in trade.events:
        if isinstance(event, HoldingGone):
            fills.append(_loss(trade, legs[event.coin], event))
        if isinstance(event, LegLost):
            fills.append(_taken(trade, legs[event.coin], event))
        if not isinstance(event, OrdersReported):
            continue
        for report in event.reports:
            order = orders[report.client_order_id]
            fill = _fill(trade, order, legs[order.coin], known.get(order.client_order_id), report)
            known[order.client_order_id] = report
            if fill.quantity or fill.fees or fill.notional:
                fills.append(fill)
    return tuple(fills)


def held_at(trades: Iterable[Trade], coin: Coin, at: datetime) -> Quantity:
    """Coins of one position's leg, from its *trades*, just before *at*: what trades at that very instant comes after
    it."""
    held = ZERO
    for trade in trades:
        for fill in fills_of(trade):
            if fill.coin == coin and fill.filled_at < at:
                held += -fill.quantity if fill.reduces else fill.quantity
    return Quantity(held)


def holdings_at(book: Book, payment: FundingPayment) -> Mapping[PositionId, Quantity]:
    """What each position held of the payment's coin just before its instant; those that held nothing are left out.

    Where the positions in memory held less than the venue has paid on, the archived ones are asked, too.
    """
    found = _holdings(book, payment, book.positions())
    if sum(found.values(), ZERO) >= abs(payment.quantity):
        return found
    return found | _holdings(book, payment, (one for one in back_to(book, payment.paid_at) if one.id not in found))


def back_to(book: Book, since: datetime) -> Iterator[Position]:
    """Every position that may have stood at *since* or later: all in memory, and archived ones that were entered no
    longer than HELD_MAX before."""
    for position in book.positions():
        yield position
    for position in book.all_positions():
        if position.entered_at < since - HELD_MAX:
            return
        if not book.holds(position.id):
            yield position


def split(payment: FundingPayment, holdings: Mapping[PositionId, Quantity]) -> Mapping[PositionId, Usd]:
    """*payment* in parts pro rata of *holdings*; what rounding leaves goes to the largest holder (of two, to the
    one whose id sorts last, so that it does not matter for whom this is worked out).

    Where the venue paid on more than *holdings* add up to, the rest was somebody else's, who is a holder like any
    other. Otherwise the parts add up to the payment, to the last digit.
    """
    own = sum(holdings.values(), ZERO)
    total = max(own, abs(payment.quantity))
    if not own:
        return {}
    step = min(USD_STEP, Decimal(1).scaleb(_exponent(payment.amount)))
    parts = {one: (payment.amount * held / total).quantize(step, ROUND_DOWN) for one, held in holdings.items()}
    largest = max(holdings, key=lambda one: (holdings[one], one))
    abroad = total - own
    if abroad <= holdings[largest]:
        others = (payment.amount * abroad / total).quantize(step, ROUND_DOWN)
        parts[largest] += payment.amount - others - sum(parts.values(), ZERO)
    return {one: Usd(part) for one, part in parts.items()}


def decided_until(book: Book, coins: Collection[Coin], until: datetime) -> datetime:
    """The latest instant not after *until* up to which nobody's holding of *coins* is in doubt."""
    doubtful = [order.intended_at for trade in book.live_trades() for order in trade.in_doubt if order.coin in coins]
    return min((until, *doubtful))


def _holdings(book: Book, payment: FundingPayment, positions: Iterable[Position]) -> dict[PositionId, Quantity]:
    coin, at = payment.coin, payment.paid_at
    held = {one.id: held_at(book.trades_of_position(one.id), coin, at) for one in positions if _there(one, coin, at)}
    return {position_id: quantity for position_id, quantity in held.items() if quantity > 0}


def _there(position: Position, coin: Coin, at: datetime) -> bool:
    if coin not in (position.long.coin, position.short.coin) or position.entered_at >= at:
        return False
    return position.exited_at is None or position.exited_at >= at


def _fill(trade: Trade, order: Order, leg: LegPlan, before: OrderReport | None, report: OrderReport) -> Fill:
    quantity, notional, fees = _sums(report)
    if before is not None:
        earlier = _sums(before)
        quantity, notional, fees = quantity - earlier[0], notional - earlier[1], fees - earlier[2]
    return Fill(
        position_id=trade.terms.position_id,
        trade_id=trade.id,
        client_order_id=order.client_order_id,
        coin=order.coin,
        side=order.side,
        reduces=order.reduce_only,
        quantity=Quantity(quantity),
        notional=Usd(notional),
        fees=Usd(fees),
        arrival_price=leg.arrival_price,
        filled_at=max(report.filled_at or min(report.reported_at, order.expires_at), order.intended_at),
    )


def _loss(trade: Trade, leg: LegPlan, event: HoldingGone) -> Fill:
    """Measured against the price that it is booked at, for nobody knows how it went."""
    return Fill(
        position_id=trade.terms.position_id,
        trade_id=trade.id,
        client_order_id=None,
        coin=leg.coin,
        side=leg.side,
        reduces=True,
        quantity=event.quantity,
        notional=Usd(event.quantity * event.price),
        fees=Usd(ZERO),
        arrival_price=event.price,
        filled_at=event.at,
    )


def _taken(trade: Trade, leg: LegPlan, event: LegLost) -> Fill:
    """Measured against its own price: nobody of ours chose the moment."""
    return Fill(
        position_id=trade.terms.position_id,
        trade_id=trade.id,
        client_order_id=None,
        coin=leg.coin,
        side=leg.side.opposite,
        reduces=True,
        quantity=event.quantity,
        notional=Usd(event.quantity * event.price),
        fees=event.fees,
        arrival_price=event.price,
        filled_at=event.filled_at,
    )


def _sums(report: OrderReport) -> tuple[Decimal, Decimal, Decimal]:
    notional = report.filled * report.average_price if report.average_price is not None else ZERO
    return report.filled, notional, report.fees


def _exponent(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
