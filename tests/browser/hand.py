"""Somebody else's hand on a demo: holdings on its paper account that the desk knows nothing of, and a trade that its
monitor has given up on."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from trading.bootstrap import build_desk
from trading.conf import Config
from trading.domain.orders import Order, Side
from trading.domain.units import ClientOrderId, Coin, Quantity, TradeId, hash_of
from trading.engine import working
from trading.engine.desk import Desk
from trading.utils.trade_calculator import marketable_limit

SLIPPAGE = Decimal("0.01")
ORDER_LIFE = timedelta(seconds=10)
SEAT_SECONDS = 10.0


@contextmanager
def _account(data_dir: Path) -> Iterator[Desk]:
    desk = build_desk(Config.of(data_dir=data_dir, redis_url="redis://127.0.0.1:1/3"))
    try:
        yield desk
    finally:
        desk.store.close()  # type: ignore[attr-defined]  # both stores have it


def trade_by_hand(data_dir: Path, coin: str, side: Side, quantity: str) -> None:
    """An order on the account of the demo in *data_dir*, past the desk; raises AssertionError when it does not fill."""
    with _account(data_dir) as desk:
        quote, instrument = desk.venue.quotes([Coin(coin)])[Coin(coin)], desk.venue.instruments()[Coin(coin)]
        touch = quote.ask if side is Side.BUY else quote.bid
        now = desk.clock.now()
        order = Order(
            client_order_id=ClientOrderId("0x" + hash_of("by hand", coin, side, now.isoformat())[:32]),
            coin=Coin(coin),
            side=side,
            quantity=Quantity(Decimal(quantity)),
            limit_price=marketable_limit(touch, side, SLIPPAGE, instrument.price_decimals_max),
            reduce_only=False,
            slice_number=1,
            attempt=1,
            intended_at=now,
            expires_at=now + ORDER_LIFE,
        )
        (report,) = desk.venue.submit([order])
        assert report.filled == order.quantity, report


def held(data_dir: Path) -> dict[str, Decimal]:
    """What the account holds, signed, whoever it belongs to."""
    with _account(data_dir) as desk:
        return {coin: one.quantity for coin, one in desk.venue.account().holdings.items() if one.quantity}


def suspend(data_dir: Path, trade_id: str, why: str) -> None:
    """What the monitor does with an opening that it can work no further."""
    with _account(data_dir) as desk, desk.store.seat(TradeId(trade_id), SEAT_SECONDS):
        working.suspend(desk, desk.store.book().trade(TradeId(trade_id)), why)
