"""The exchange's static rules for one order: listed, not expired, price and quantity on their grids.

The law: pure; what breaks a rule is refused here, where the culprit can be told from its group.
"""

from datetime import datetime

from trading.adapters.hyperliquid_actions import Refusal
from trading.adapters.hyperliquid_wire import Listing
from trading.domain.errors import InvalidNumber
from trading.domain.orders import Order, RejectReason
from trading.utils.trade_calculator import is_on_price_grid


def mistake_in(order: Order, listing: Listing | None, venue_now: datetime) -> Refusal | None:
    """Why *order* must not be sent, by the venue's static rules; None when nothing speaks against it."""
    if listing is None:
        return Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is not listed")
    if listing.instrument.delisted:
        return Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is delisted")
    if venue_now > order.expires_at:
        return Refusal(RejectReason.EXPIRED, "expired before it was sent")
    try:
        fits = is_on_price_grid(order.limit_price, listing.instrument.price_decimals_max)
    except InvalidNumber:
        fits = False
    if not fits:
        return Refusal(RejectReason.PRICE, "the price is not on the venue's grid")
    quantity = order.quantity
    if not quantity.is_finite() or quantity <= 0 or quantity % listing.instrument.quantity_step != 0:
        return Refusal(RejectReason.SIZE, "the quantity is not on the venue's grid")
    return None
