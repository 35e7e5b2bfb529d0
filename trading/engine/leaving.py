"""What closing a position would cost now, without closing it.

The law: a price that is not known makes no number, and is no reason not to close.
"""

from dataclasses import dataclass
from decimal import Decimal

from trading.domain.orders import Side
from trading.domain.positions import Leg, PositionStatus
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity
from trading.engine.desk import Desk
from trading.engine.patience import patient
from trading.engine.valuing import Prices, coins_of, exit_price, read_prices
from trading.utils.trade_calculator import leg_slippage, net_return

BASIS_POINTS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class LegClosePreview:
    """One leg as it would be closed, at present depth; `side` is the leg's own. `slippage_bps` is against the mid."""

    coin: Coin
    side: str
    quantity: Quantity
    expected_price: Price | None
    slippage_bps: Decimal | None
    fee: Decimal | None


@dataclass(frozen=True, slots=True)
class ClosePreview:
    """What closing would make. `cost` is slippage against the mids and fees in USD; `expected_pnl` in USD and
    `exit_return`, a fraction of entry gross notional, are net of everything."""

    position_id: PositionId
    pair: str
    status: PositionStatus
    long: LegClosePreview
    short: LegClosePreview
    cost: Decimal | None
    expected_pnl: Decimal | None
    exit_return: Decimal | None


def preview_of_close(desk: Desk, position_id: PositionId) -> ClosePreview:
    """What closing *position_id* would cost by the depth of the books now. Raises PositionNotFound."""
    position = desk.store.book().position(position_id)
    prices = Prices({}, {}) if position.closed else read_prices(patient(desk), coins_of([position]))
    now, fee = desk.clock.now(), desk.venue.traits.taker_fee
    expected = [exit_price(leg, prices.depths.get(leg.coin), now) for leg in position.legs]
    long, short = (_leg(leg, price, prices, fee) for leg, price in zip(position.legs, expected, strict=True))
    pnl = returned = None
    if expected[0] is not None and expected[1] is not None and long.fee is not None and short.fee is not None:
        gained = position.long.unrealized(expected[0]) + position.short.unrealized(expected[1])
        pnl = position.realized + gained - position.fees - position.funding - long.fee - short.fee
        if position.entry_notional > 0:
            returned = net_return(position, expected[0], expected[1], fee)
    return ClosePreview(
        position_id=position.id,
        pair=str(position.pair),
        status=position.status,
        long=long,
        short=short,
        cost=_cost(position.legs, (long, short), prices),
        expected_pnl=pnl,
        exit_return=returned,
    )


def _leg(leg: Leg, expected: Price | None, prices: Prices, fee: Decimal) -> LegClosePreview:
    mid = _mid(leg, prices)
    slippage = None
    if expected is not None and mid is not None:
        slippage = leg_slippage(leg.side.opposite, expected, mid) * BASIS_POINTS
    return LegClosePreview(
        coin=leg.coin,
        side="long" if leg.side is Side.BUY else "short",
        quantity=leg.held,
        expected_price=expected,
        slippage_bps=slippage,
        fee=None if expected is None else leg.held * expected * fee,
    )


def _cost(legs: tuple[Leg, Leg], previews: tuple[LegClosePreview, LegClosePreview], prices: Prices) -> Decimal | None:
    total = ZERO
    for leg, preview in zip(legs, previews, strict=True):
        mid = _mid(leg, prices)
        if mid is None or preview.expected_price is None or preview.fee is None:
            return None
        total += leg.held * (mid - preview.expected_price) * leg.side.sign + preview.fee
    return total


def _mid(leg: Leg, prices: Prices) -> Price | None:
    quote = prices.quotes.get(leg.coin)
    return quote.mid if quote is not None and quote.usable else None
