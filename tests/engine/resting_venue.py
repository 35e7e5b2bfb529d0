"""The scripted venue with orders that rest and fills of others: what happens to a leg while nobody of ours looks."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tests.engine.scripted_venue import FEE, Crash, Fault, ScriptedVenue
from tests.fakes import FakeClock
from trading.domain.market import Account
from trading.domain.orders import Order, OrderReport, RejectReason, Side
from trading.domain.resting import (
    AccountFill,
    FillCause,
    ListedOrder,
    RestingOrder,
    RestingReport,
    RestingStatus,
)
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, Usd

ARRIVES = {"": True, "lost_after": True, "dies_after": True}


class RestingVenue(ScriptedVenue):
    """Triggers do not fire by themselves: a test says `fire`. What guards a coin ends when nothing of it is held."""

    def __init__(self, clock: FakeClock, equity: str = "100000") -> None:
        super().__init__(clock, equity)
        self.traits = replace(self.traits, rests_orders=True, tells_fills=True)
        self.rests: dict[ClientOrderId, RestingOrder] = {}
        self.placements: list[tuple[RestingOrder, ...]] = []
        self.cancels: list[tuple[RestingOrder, ...]] = []
        self.liquidations: dict[str, str] = {}
        self.cancel_fails = False
        self.fills_lag = timedelta(0)
        self.clock_ahead = timedelta(0)
        self._words_of_rest: deque[str] = deque()
        self._told: list[AccountFill] = []

    # What a test sets and reads

    def set_clock_back(self, seconds: float) -> None:
        """The desk's clock, and not the venue's."""
        self.clock.instant -= timedelta(seconds=seconds)
        self.clock_ahead += timedelta(seconds=seconds)

    def script_rest(self, *words: str) -> None:
        """What becomes of the next placements: `lost_before`, `lost_after`, `refused`, `dies_before`, `dies_after`."""
        self._words_of_rest.extend(words)

    def guards(self, coin: str) -> list[tuple[str, Decimal, Decimal]]:
        """Kind, trigger and quantity of what rests on *coin*, lowest trigger first."""
        found = [one for one in self.rests.values() if one.coin == coin]
        return [
            (str(one.kind), one.trigger_price, one.quantity) for one in sorted(found, key=lambda o: o.trigger_price)
        ]

    def take(
        self,
        coin: str,
        quantity: str,
        price: str | None = None,
        cause: FillCause = FillCause.ORDER,
        cloid: ClientOrderId | None = None,
    ) -> AccountFill:
        """Somebody takes *quantity* of the holding, as a fill of the account shows."""
        held, amount = self.held(coin), Decimal(quantity)
        at = Price(Decimal(price) if price is not None else self.mids[coin])
        side = Side.SELL if held > 0 else Side.BUY
        cost = self._costs[Coin(coin)] * amount / abs(held)
        fee = Usd(amount * at * FEE)
        self.cash += -amount * side.sign * at - cost - fee
        self._quantities[Coin(coin)] = held + amount * side.sign
        self._costs[Coin(coin)] -= cost
        return self._tell(Coin(coin), side, amount, at, fee, cause, cloid)

    def fire(self, coin: str, kind: str, quantity: str | None = None) -> AccountFill:
        """What rests on *coin* as *kind* fires, at its trigger, wholly or in part."""
        order = next(one for one in self.rests.values() if (one.coin, one.kind) == (coin, kind))
        amount = min(order.quantity, abs(self.held(coin))) if quantity is None else Decimal(quantity)
        if amount == order.quantity:
            self.rests = {key: one for key, one in self.rests.items() if key != order.client_order_id}
        return self.take(coin, str(amount), str(order.trigger_price), cloid=order.client_order_id)

    # The port

    def account(self) -> Account:
        account = super().account()
        prices = {Coin(coin): Price(Decimal(price)) for coin, price in self.liquidations.items()}
        holdings = {coin: replace(one, liquidation_price=prices.get(coin)) for coin, one in account.holdings.items()}
        return replace(account, holdings=holdings)

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        word = self._words_of_rest.popleft() if self._words_of_rest else ""
        if word == "dies_before":
            raise Crash
        self.placements.append(tuple(orders))
        if ARRIVES.get(word, False):
            # A new one each time: threads of the desk read it meanwhile.
            self.rests = self.rests | {one.client_order_id: one for one in orders}
        if word == "dies_after":
            raise Crash
        if word == "refused":
            return tuple(
                RestingReport(one.client_order_id, RestingStatus.REJECTED, RejectReason.PRICE, "by script")
                for one in orders
            )
        status = RestingStatus.UNKNOWN if word else RestingStatus.RESTING
        return tuple(RestingReport(one.client_order_id, status) for one in orders)

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        self.cancels.append(tuple(orders))
        if self.cancel_fails:
            return None
        there = frozenset(one.client_order_id for one in orders if one.client_order_id in self.rests)
        self.rests = {key: one for key, one in self.rests.items() if key not in there}
        return there

    def resting(self) -> tuple[ListedOrder, ...]:
        self._read("resting")
        return tuple(
            ListedOrder(one.client_order_id, one.coin, one.side, one.quantity, one.trigger_price, one.limit_price)
            for one in self.rests.values()
        )

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        self._read("fills")
        first, last = since + self.clock_ahead, self.clock.now() + self.clock_ahead - self.fills_lag
        return tuple(one for one in self._told if first <= one.filled_at <= last)

    # How it goes about it

    def _worked(self, order: Order, fault: Fault, at: datetime) -> OrderReport:
        report = super()._worked(order, fault, at)
        if report.filled and report.average_price is not None:
            self._tell(
                order.coin,
                order.side,
                report.filled,
                report.average_price,
                report.fees,
                FillCause.ORDER,
                order.client_order_id,
            )
        return report

    def _tell(
        self,
        coin: Coin,
        side: Side,
        quantity: Decimal,
        price: Price,
        fee: Usd,
        cause: FillCause,
        cloid: ClientOrderId | None,
    ) -> AccountFill:
        number = f"fill-{len(self._told) + 1}"
        now = self.clock.now() + self.clock_ahead
        fill = AccountFill(number, coin, side, Quantity(quantity), price, fee, now, cause, cloid)
        self._told.append(fill)
        if self._quantities.get(coin, ZERO) == 0:
            self.rests = {key: one for key, one in self.rests.items() if one.coin != coin}
        return fill
