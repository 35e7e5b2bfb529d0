"""What rests at the exchange until its mark comes by.

The law: by the exchange's own rules and at its own instants, whoever of ours may be alive. An id rests once for ever, a
trigger only reduces, and what guards a holding ends with it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from trading.domain.orders import RejectReason
from trading.domain.resting import ListedOrder, RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ZERO, ClientOrderId, Coin, Quantity

if TYPE_CHECKING:
    from tests.simulation.exchange import Exchange

NOTIONAL_MIN = 10


@dataclass(frozen=True, slots=True)
class Trigger:
    """One that is there: how much of it is left, and whether the mark has reached it."""

    order: RestingOrder
    rested_at: datetime
    left: Decimal
    fired: bool = False


class RestedTwice(BaseException):
    """An id came to rest a second time. No `except` of the desk's catches it."""


class Triggers:
    """The triggers of the one account. `on_fill` hears of each fill before anybody else, `share` how much of a fired
    one finds somebody on the other side just now."""

    only_reduce = True

    def __init__(self, exchange: "Exchange") -> None:
        self.there: dict[ClientOrderId, Trigger] = {}
        self.words: dict[ClientOrderId, RestingReport] = {}
        self.refused: dict[ClientOrderId, tuple[RestingOrder, datetime]] = {}
        self.on_fill: Callable[[RestingOrder, Decimal], None] = lambda order, quantity: None
        self.share: Callable[[], Decimal] = lambda: Decimal(1)
        self.swept_at = float("-inf")
        """When others took away what rested, in seconds of the run."""
        self._exchange = exchange

    def receive(self, orders: Sequence[RestingOrder], expires_at: datetime) -> None:
        """A group has reached the exchange."""
        now = self._exchange.now()
        for order in orders:
            if order.client_order_id in self.words:
                raise RestedTwice(f"{order.client_order_id} of {order.coin} came to rest twice")
            reason = self._refusal(order, late=now > expires_at)
            status = RestingStatus.RESTING if reason is None else RestingStatus.REJECTED
            self.words[order.client_order_id] = RestingReport(order.client_order_id, status, reason)
            if reason is None:
                self.there[order.client_order_id] = Trigger(order, now, order.quantity)
            else:
                self.refused[order.client_order_id] = order, now

    def take_back(self, orders: Collection[RestingOrder]) -> set[ClientOrderId]:
        """A group of cancels has reached the exchange; those that were there until now."""
        there = {one.client_order_id for one in orders} & self.there.keys()
        self.there = {key: one for key, one in self.there.items() if key not in there}
        return there

    def sweep(self, coin: Coin | None = None) -> None:
        """The exchange, or whoever has its page open, takes back all that rests, of *coin* only if given."""
        self.there = {key: one for key, one in self.there.items() if coin not in (None, one.order.coin)}

    def listed(self, until: datetime) -> tuple[ListedOrder, ...]:
        """What is there now and was there at *until*: reads lag what rests by a moment."""
        return tuple(
            ListedOrder(
                one.order.client_order_id,
                one.order.coin,
                one.order.side,
                Quantity(one.left),
                None if one.fired else one.order.trigger_price,
                one.order.limit_price,
            )
            for one in self.there.values()
            if one.rested_at <= until
        )

    @property
    def coins(self) -> set[Coin]:
        """Those on which anything rests."""
        return {one.order.coin for one in self.there.values()}

    def pass_by(self) -> None:
        """The mark is where it is: what it has reached is a limit order from now on, until it is filled or taken
        back."""
        for key, one in tuple(self.there.items()):
            coin = one.order.coin
            if key not in self.there or coin in self._exchange.halted:
                continue
            fired = one.fired or one.order.fires_at(self._exchange.mid(coin))
            if fired and not one.fired:
                one = self.there[key] = replace(one, fired=True)
            if fired:
                self._fill(one)

    def ended(self, coin: Coin, held: Decimal) -> None:
        """*held* of the coin is left: what would not reduce that any more is there no more."""
        if self.only_reduce:
            over = [key for key, one in self.there.items() if one.order.coin == coin]
            for key in over:
                if held * self.there[key].order.side.sign >= 0:
                    del self.there[key]

    def _refusal(self, order: RestingOrder, *, late: bool) -> RejectReason | None:
        if late:
            return RejectReason.EXPIRED
        if order.coin in self._exchange.delisted:
            return RejectReason.NOT_TRADABLE
        if order.fires_at(self._exchange.mid(order.coin)):
            return RejectReason.PRICE
        held = self._exchange.quantities[order.coin]
        if self.only_reduce and held * order.side.sign >= 0:
            return RejectReason.REDUCE_ONLY
        return None

    def _fill(self, one: Trigger) -> None:
        exchange, order = self._exchange, one.order
        held = exchange.quantities[order.coin]
        wanted = min(one.left, max(-held * order.side.sign, ZERO)) if self.only_reduce else one.left
        lot = exchange.instruments[order.coin].quantity_step
        wanted = wanted * self.share() // lot * lot
        if held + wanted * order.side.sign and wanted * order.limit_price < NOTIONAL_MIN:
            return
        filled, notional = exchange.walked(order.coin, order.side, order.limit_price, wanted)
        if not filled:
            return
        if filled == one.left:
            del self.there[order.client_order_id]
        else:
            self.there[order.client_order_id] = replace(one, left=one.left - filled)
        self.on_fill(order, filled)
        exchange.trigger_filled(order, filled, notional)
