"""Orders that rest on Hyperliquid: triggers that wait for the mark, placed and taken back by client order id.

The law: as for every order, a claim in the register comes before the bytes, and what may have left is UNKNOWN. All of
a group leaves as one signed action, so both legs are guarded or neither is.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from trading.adapters.hyperliquid_actions import (
    Refusal,
    Unclear,
    Word,
    Working,
    decode_cancels,
    decode_words,
    encode_cancels,
    encode_resting_orders,
)
from trading.adapters.hyperliquid_api import HyperliquidApi
from trading.adapters.hyperliquid_budget import Lane
from trading.adapters.hyperliquid_signing import Signer
from trading.adapters.hyperliquid_values import milliseconds
from trading.adapters.hyperliquid_wire import Listing
from trading.domain.errors import Busy, InvalidNumber, VenueUnavailable
from trading.domain.orders import RejectReason
from trading.domain.resting import RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ClientOrderId, Coin
from trading.utils.trade_calculator import is_on_price_grid

_RESTS = ("resting", "waitingForTrigger", "waitingForFill")
Listings = Callable[[Collection[Coin]], Mapping[Coin, Listing]]


class RestingOrders:
    """The resting orders of one account. *listings* and *proven* may raise VenueUnavailable; *changed* hears that the
    account is not what it was."""

    def __init__(
        self,
        api: HyperliquidApi,
        signer: Signer,
        listings: Listings,
        proven: Callable[[Lane], bool],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._signer = signer
        self._listings = listings
        self._proven = proven
        self._changed = changed

    def place(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        """See the port."""
        if not orders:
            return ()
        refusal = self._unsendable(orders)
        if refusal is not None:
            return _each(orders, RestingStatus.REJECTED, refusal.reason, refusal.words)
        try:
            assets = self._assets(orders)
            action = encode_resting_orders(orders, assets)
            claim = self._signer.register.claim([one.client_order_id for one in orders])
        except (VenueUnavailable, InvalidNumber, Busy, OSError) as error:
            return _each(orders, RestingStatus.REJECTED, RejectReason.OTHER, f"nothing was sent: {error}")
        if claim.known:
            return _each(orders, RestingStatus.UNKNOWN, None, "it was sent before")
        answer = self._api.write(self._signer.request(action, claim.nonce, milliseconds(expires_at)), 1, Lane.WATCH)
        self._changed()
        words = (answer,) * len(orders) if isinstance(answer, Refusal | Unclear) else decode_words(answer, len(orders))
        return tuple(_report(order, word) for order, word in zip(orders, words, strict=True))

    def cancel(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        """See the port."""
        if not orders:
            return frozenset()
        try:
            if not self._proven(Lane.CLOSE):
                return None
            action = encode_cancels(orders, self._assets(orders))
            nonce = self._signer.register.next_nonce()
        except (VenueUnavailable, Busy, OSError):
            return None
        answer = self._api.write(self._signer.request(action, nonce), 1, Lane.CLOSE)
        there = None if isinstance(answer, Refusal | Unclear) else decode_cancels(answer, len(orders))
        if there is None:
            return None
        return frozenset(one.client_order_id for one, was in zip(orders, there, strict=True) if was)

    def _assets(self, orders: Sequence[RestingOrder]) -> Mapping[Coin, int]:
        """Raises VenueUnavailable, also for a coin that is not listed."""
        listings = self._listings([one.coin for one in orders])
        try:
            return {one.coin: listings[one.coin].asset for one in orders}
        except KeyError as error:
            raise VenueUnavailable(f"{error} is not listed") from error

    def _unsendable(self, orders: Sequence[RestingOrder]) -> Refusal | None:
        """Why none of *orders* may be sent, by the venue's static rules: it would refuse the group whole."""
        try:
            if not self._proven(Lane.WATCH):
                return Refusal(RejectReason.OTHER, "the wallet key is not the account's and no API wallet of it")
            listings = self._listings([one.coin for one in orders])
        except VenueUnavailable as error:
            return Refusal(RejectReason.OTHER, f"nothing was sent: {error.detail}")
        return next((one for one in (_mistake(order, listings.get(order.coin)) for order in orders) if one), None)


def _mistake(order: RestingOrder, listing: Listing | None) -> Refusal | None:
    if listing is None or listing.instrument.delisted:
        return Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} cannot be traded")
    instrument = listing.instrument
    try:
        prices = (order.trigger_price, order.limit_price)
        fits = all(is_on_price_grid(one, instrument.price_decimals_max) for one in prices)
    except InvalidNumber:
        fits = False
    if not fits:
        return Refusal(RejectReason.PRICE, "a price is not on the venue's grid")
    if not order.quantity.is_finite() or order.quantity <= 0 or order.quantity % instrument.quantity_step != 0:
        return Refusal(RejectReason.SIZE, "the quantity is not on the venue's grid")
    return None


def _report(order: RestingOrder, word: Word) -> RestingReport:
    """An order that the venue took rests, or has fired at once; of a word that is not known nobody knows."""
    if isinstance(word, Refusal):
        return RestingReport(order.client_order_id, RestingStatus.REJECTED, word.reason, word.words)
    if isinstance(word, Unclear) or (isinstance(word, Working) and word.words not in _RESTS):
        return RestingReport(order.client_order_id, RestingStatus.UNKNOWN, detail=word.words)
    return RestingReport(order.client_order_id, RestingStatus.RESTING)


def _each(
    orders: Sequence[RestingOrder], status: RestingStatus, reason: RejectReason | None, words: str
) -> tuple[RestingReport, ...]:
    return tuple(RestingReport(one.client_order_id, status, reason, words) for one in orders)
