"""An exchange with a truth of its own: what it did, for whom, when. The desk only ever hears of it.

The law: what an order did is decided here once and for ever, by the exchange's own clock; nothing that is lost, late or
told wrongly on the way changes it. Whoever checks the desk asks here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random

from trading.domain.market import Account, Depth, FundingPayment, Holding, Instrument, Level, Quote
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, Usd

FEE = Decimal("0.00045")
MAINTENANCE = Decimal("0.02")
ABSENCE_MARGIN = timedelta(seconds=5)
FUNDING_RATE = Decimal("0.0000125")
HOUR = timedelta(hours=1)
STEP_SECONDS = 1.0
HALF_SPREAD = Decimal("0.0001")
LEVELS = (Decimal("0.25"), Decimal("0.75"))
DEEPER = Decimal("0.001")

LISTED: Mapping[Coin, tuple[Decimal, Decimal, int]] = {
    Coin("BTC"): (Decimal(100_000), Decimal("0.00001"), 1),
    Coin("ETH"): (Decimal(4_000), Decimal("0.0001"), 2),
    Coin("SOL"): (Decimal(200), Decimal("0.01"), 4),
    Coin("AVAX"): (Decimal(25), Decimal("0.01"), 4),
    Coin("DOGE"): (Decimal("0.2"), Decimal(1), 6),
}
"""Of each coin the price it starts at, its lot and the decimals of its prices."""


class TwoEffects(BaseException):
    """A client order id has had an effect twice. No `except` of the desk's catches it."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What changed a holding: `quantity` signed, `order` None for hands that are not the desk's."""

    coin: Coin
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    order: Order | None
    by: str = "desk"


class Exchange:
    """One account on it, its books, and every effect there ever was in `fills`, `words` and `arrived`."""

    def __init__(self, random: Random, now: Callable[[], datetime], equity: Decimal, sigma: Decimal) -> None:
        self.now = now
        self.began = now()
        self.cash = self.equity_at_start = equity
        self.sigma = float(sigma)
        self.fills: list[Fill] = []
        self.words: dict[ClientOrderId, OrderReport] = {}
        self.arrived: list[tuple[Order, OrderReport]] = []
        self.payments: list[FundingPayment] = []
        self.halted: set[Coin] = set()
        self.thin: dict[Coin, Decimal] = {}
        self.refusing: dict[Coin, RejectReason] = {}
        self.liquidation_prices: dict[Coin, Price] = {}
        self.leverages: dict[Coin, int] = {}
        self.quantities: dict[Coin, Decimal] = dict.fromkeys(LISTED, ZERO)
        self.depth_usd = Decimal(400_000)
        self.share_of: Callable[[Order], Decimal] = lambda order: Decimal(1)
        self._costs: dict[Coin, Decimal] = dict.fromkeys(LISTED, ZERO)
        self._shift: dict[Coin, float] = dict.fromkeys(LISTED, 1.0)
        self._random = random
        self._walks = {coin: [1.0] for coin in LISTED}
        self._funded = 0
        self.instruments = {
            coin: Instrument(coin, Quantity(lot), decimals, Usd(Decimal(10)), 20)
            for coin, (_, lot, decimals) in LISTED.items()
        }

    # The market

    def mid(self, coin: Coin, age: float = 0.0) -> Decimal:
        """The middle of the book now, or *age* seconds ago, on the price grid."""
        walk = self._walks[coin]
        place = max(int(((self.now() - self.began).total_seconds() - age) / STEP_SECONDS), 0)
        while len(walk) <= place:
            for other in self._walks.values():
                other.append(other[-1] * (1.0 + self._random.gauss(0.0, self.sigma)))
        start, _, decimals = LISTED[coin]
        price = Decimal(float(start) * walk[place] * self._shift[coin])
        return price.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)

    def jump(self, coin: Coin, share: float) -> None:
        """From now on the coin is worth that much more (or less)."""
        self._shift[coin] *= 1.0 + share

    def quote(self, coin: Coin, age: float = 0.0) -> Quote:
        """Bid and ask around the mid as it is now, or was *age* seconds ago."""
        mid, tick = self.mid(coin, age), Decimal(1).scaleb(-LISTED[coin][2])
        half = max((mid * HALF_SPREAD).quantize(tick, ROUND_HALF_EVEN), tick)
        return Quote(coin, Price(mid - half), Price(mid + half), Price(mid), self.now())

    def depth(self, coin: Coin) -> Depth:
        """Two levels a side; one that is pulled has next to nothing."""
        quote, lot = self.quote(coin), LISTED[coin][1]
        usd = self.depth_usd * self.thin.get(coin, Decimal(1))
        tick = Decimal(1).scaleb(-LISTED[coin][2])

        def level(touch: Decimal, share: Decimal, away: Decimal) -> Level:
            price = (touch * (1 + away)).quantize(tick, ROUND_HALF_EVEN)
            return Level(Price(price), Quantity(max(usd * share / price // lot * lot, lot)))

        bids = tuple(level(quote.bid, share, -DEEPER * place) for place, share in enumerate(LEVELS))
        asks = tuple(level(quote.ask, share, DEEPER * place) for place, share in enumerate(LEVELS))
        return Depth(coin, bids, asks, quote.taken_at)

    # The account

    @property
    def unrealized(self) -> Decimal:
        return sum((self.quantities[coin] * self.mid(coin) - self._costs[coin] for coin in self._held()), ZERO)

    @property
    def equity(self) -> Decimal:
        return self.cash + self.unrealized

    def account(self) -> Account:
        """The account as it is now."""
        self.pay_funding()
        held = self._held()
        notional = {coin: abs(self.quantities[coin]) * self.mid(coin) for coin in held}
        used = sum((notional[coin] / self.leverages.get(coin, 1) for coin in held), ZERO)
        equity = self.equity
        return Account(
            equity=Usd(equity),
            margin_used=Usd(used),
            margin_available=Usd(max(equity - used, ZERO)),
            maintenance_margin=Usd(sum(notional.values(), ZERO) * MAINTENANCE),
            holdings={
                coin: Holding(
                    coin,
                    Quantity(self.quantities[coin]),
                    Price(self._costs[coin] / self.quantities[coin]),
                    self.liquidation_prices.get(coin),
                )
                for coin in held
            },
            leverages=dict(self.leverages),
            taken_at=self.now(),
        )

    def pay_funding(self) -> None:
        """Whatever full hours have passed since the last look are paid on what is held now."""
        hours = int((self.now() - _hour(self.began)) / HOUR)
        while self._funded < hours:
            self._funded += 1
            paid_at = _hour(self.began) + self._funded * HOUR
            if paid_at <= self.began:
                continue
            for coin in self._held():
                amount = (self.quantities[coin] * self.mid(coin) * FUNDING_RATE).quantize(Decimal("0.000001"))
                self.cash -= amount
                self.payments.append(FundingPayment(coin, Usd(amount), Quantity(self.quantities[coin]), paid_at))

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        """See the port."""
        self.pay_funding()
        return tuple(one for one in self.payments if one.coin in coins and since < one.paid_at <= until)

    # Orders

    def receive(self, order: Order) -> OrderReport:
        """Work one order that has reached the exchange. It happens whatever becomes of the answer."""
        if order.client_order_id in self.words:
            raise TwoEffects(f"{order.client_order_id} of {order.coin} arrived twice")
        self.pay_funding()
        report = self._worked(order)
        self.words[order.client_order_id] = report
        self.arrived.append((order, report))
        return report

    def word_on(self, order: Order) -> OrderReport:
        """What it knows of *order*: its end, absence when it can no longer land, or nothing."""
        known = self.words.get(order.client_order_id)
        if known is not None:
            return known
        proven = self.now() > order.expires_at + ABSENCE_MARGIN
        return OrderReport(order.client_order_id, OrderStatus.ABSENT if proven else OrderStatus.UNKNOWN, self.now())

    def take(self, coin: Coin, quantity: Decimal, by: str, discount: Decimal = ZERO) -> None:
        """Hands that are not the desk's trade *quantity* (signed) of the account: a liquidation, ADL, a person."""
        self.pay_funding()
        price = self.mid(coin) * (1 - discount * (1 if quantity < 0 else -1))
        self._trade(coin, quantity, price, ZERO, None, by)

    def _held(self) -> list[Coin]:
        return [coin for coin, quantity in self.quantities.items() if quantity]

    def _worked(self, order: Order) -> OrderReport:
        if self.now() > order.expires_at:
            return self._refusal(order, RejectReason.EXPIRED)
        if order.coin in self.halted:
            return self._refusal(order, RejectReason.NOT_TRADABLE)
        if order.coin in self.refusing and not order.reduce_only:
            return self._refusal(order, self.refusing[order.coin])
        held, wanted = self.quantities[order.coin], Decimal(order.quantity)
        if order.reduce_only:
            wanted = min(wanted, max(-held * order.side.sign, ZERO))
            if not wanted:
                return self._refusal(order, RejectReason.REDUCE_ONLY)
        if order.quantity % LISTED[order.coin][1]:
            return self._refusal(order, RejectReason.SIZE)
        if held + wanted * order.side.sign and wanted * order.limit_price < 10:
            return self._refusal(order, RejectReason.NOTIONAL_MIN)
        if not order.reduce_only and not self._affordable(order):
            return self._refusal(order, RejectReason.MARGIN)
        return self._matched(order, wanted)

    def _affordable(self, order: Order) -> bool:
        used = sum(
            (abs(self.quantities[coin]) * self.mid(coin) / self.leverages.get(coin, 1) for coin in self._held()), ZERO
        )
        needed = order.quantity * order.limit_price / self.leverages.get(order.coin, 1)
        return used + needed <= self.equity

    def _matched(self, order: Order, wanted: Decimal) -> OrderReport:
        depth, lot = self.depth(order.coin), LISTED[order.coin][1]
        wanted = wanted * self.share_of(order) // lot * lot
        sign = order.side.sign
        filled = notional = ZERO
        for level in depth.asks if sign > 0 else depth.bids:
            if (order.limit_price - level.price) * sign < 0 or filled == wanted:
                break
            part = min(wanted - filled, level.quantity)
            filled += part
            notional += part * level.price
        if not filled:
            return self._refusal(order, RejectReason.NO_MATCH)
        price, fee = notional / filled, notional * FEE
        self._trade(order.coin, filled * sign, price, fee, order, "desk")
        status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
        return OrderReport(order.client_order_id, status, self.now(), Quantity(filled), Price(price), Usd(fee))

    def _trade(self, coin: Coin, signed: Decimal, price: Decimal, fee: Decimal, order: Order | None, by: str) -> None:
        held, cost = self.quantities[coin], self._costs[coin]
        closes = min(abs(signed), abs(held)) if held * signed < 0 else ZERO
        direction = 1 if signed > 0 else -1
        if closes:
            share = cost * closes / abs(held)
            self.cash += -direction * closes * price - share
            cost -= share
        cost += (signed - direction * closes) * price
        self.quantities[coin], self._costs[coin] = held + signed, cost
        self.cash -= fee
        self.fills.append(Fill(coin, signed, price, fee, self.now(), order, by))

    def _refusal(self, order: Order, reason: RejectReason) -> OrderReport:
        return OrderReport(
            order.client_order_id, OrderStatus.REJECTED, self.now(), reason=reason, detail=f"{reason} here"
        )


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
