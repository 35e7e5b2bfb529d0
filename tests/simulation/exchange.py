"""An exchange with a truth of its own: what it did, for whom, when. The desk only ever hears of it.

The law: what an order did is decided here once and for ever, by the exchange's own clock; nothing that is lost, late or
told wrongly on the way changes it. Whoever checks the desk asks here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from math import log, sin
from random import Random

from tests.simulation.triggers import Triggers
from trading.domain.market import (
    Account,
    Candle,
    CandleInterval,
    Depth,
    FundingPayment,
    Holding,
    Instrument,
    Level,
    Quote,
)
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.resting import AccountFill, FillCause, RestingOrder
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
PAST_APART = 0.006
PAST_WAVE = 0.004
"""Of the bars: how much else the next coin was worth, and how far each went to and fro."""

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
    trigger: ClientOrderId | None = None


CAUSES = {
    "liquidate": FillCause.LIQUIDATION,
    "deleverage": FillCause.AUTO_DELEVERAGING,
    "settle": FillCause.SETTLEMENT,
}


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
        self.transfers: list[tuple[datetime, Decimal]] = []
        """What somebody has paid in, or out where it is negative, and when."""
        self.halted: set[Coin] = set()
        self.delisted: set[Coin] = set()
        self.no_cross: set[Coin] = set()
        self.post_only = False
        """After an upgrade: nothing that would trade at once is taken."""
        self.thin: dict[Coin, Decimal] = {}
        self.refusing: dict[Coin, RejectReason] = {}
        self.liquidation_prices: dict[Coin, Price] = {}
        self.leash: Decimal | None = None
        self.leverages: dict[Coin, int] = {}
        self.quantities: dict[Coin, Decimal] = dict.fromkeys(LISTED, ZERO)
        self.depth_usd = Decimal(400_000)
        self.share_of: Callable[[Order], Decimal] = lambda order: Decimal(1)
        self._costs: dict[Coin, Decimal] = dict.fromkeys(LISTED, ZERO)
        self._shift: dict[Coin, float] = dict.fromkeys(LISTED, 1.0)
        self._random = random
        self._walks = {coin: [1.0] for coin in LISTED}
        self._funded = 0
        self.triggers = Triggers(self)
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
        self.triggers.pass_by()

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

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        """Bars of a quiet past, in which every coin was worth a little else than now, each by another amount."""
        length = interval.length.total_seconds()
        first, last = int(-(-start.timestamp() // length)), int(end.timestamp() // length)
        return tuple(
            Candle(datetime.fromtimestamp(number * length, UTC), *[_past_price(coin, number)] * 4)
            for number in range(first, last + 1)
        )

    # The account

    @property
    def unrealized(self) -> Decimal:
        return sum((self.quantities[coin] * self.mid(coin) - self._costs[coin] for coin in self._held()), ZERO)

    @property
    def equity(self) -> Decimal:
        return self.cash + self.unrealized

    def transfer(self, usd: Decimal) -> None:
        """Somebody pays so much in, or out where it is negative."""
        self.cash += usd
        self.transfers.append((self.now(), usd))

    def transferred(self, since: datetime, until: datetime) -> Decimal:
        """What has come in from *since* to *until*, less what has left."""
        return sum((usd for at, usd in self.transfers if since <= at <= until), ZERO)

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
                    self.liquidation_prices.get(coin) or self._liquidation_price(coin),
                )
                for coin in held
            },
            leverages=dict(self.leverages),
            taken_at=self.now(),
        )

    def _liquidation_price(self, coin: Coin) -> Price | None:
        if self.leash is None:
            return None
        quantity = self.quantities[coin]
        return Price(self._costs[coin] / quantity * (1 - self.leash * (1 if quantity > 0 else -1)))

    def delist(self, coin: Coin) -> None:
        """From now on nobody trades it, and nothing rests on it; what is held is settled some time later."""
        self.delisted.add(coin)
        self.instruments[coin] = replace(self.instruments[coin], delisted=True)
        self.triggers.sweep(coin)

    def is_stuck(self, coin: Coin) -> bool:
        """Whether what is held of the coin can only be waited for."""
        return coin in self.delisted and bool(self.quantities.get(coin))

    def was_taken(self, coin: Coin) -> bool:
        """Whether anything but an order of the desk has ever traded the coin."""
        return any(one.order is None and one.coin == coin for one in self.fills)

    def account_fills(self, since: datetime, until: datetime) -> tuple[AccountFill, ...]:
        """Every fill from *since* to *until*, whoever caused it."""
        return tuple(
            AccountFill(
                id=f"fill-{number}",
                coin=one.coin,
                side=Side.BUY if one.quantity > 0 else Side.SELL,
                quantity=Quantity(abs(one.quantity)),
                price=Price(one.price),
                fee=Usd(one.fee),
                filled_at=one.at,
                cause=CAUSES.get(one.by, FillCause.ORDER),
                client_order_id=one.order.client_order_id if one.order is not None else one.trigger,
            )
            for number, one in enumerate(self.fills)
            if since <= one.at <= until
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

    def walked(self, coin: Coin, side: Side, limit: Decimal, wanted: Decimal) -> tuple[Decimal, Decimal]:
        """How much of *wanted* the book has within *limit*, and the USD of it."""
        depth, filled, notional = self.depth(coin), ZERO, ZERO
        for level in depth.asks if side.sign > 0 else depth.bids:
            if (limit - level.price) * side.sign < 0 or filled == wanted:
                break
            part = min(wanted - filled, level.quantity)
            filled += part
            notional += part * level.price
        return filled, notional

    def trigger_filled(self, order: RestingOrder, filled: Decimal, notional: Decimal) -> None:
        """A trigger that has fired trades."""
        self.pay_funding()
        self._trade(
            order.coin,
            filled * order.side.sign,
            notional / filled,
            notional * FEE,
            None,
            "trigger",
            order.client_order_id,
        )

    def _held(self) -> list[Coin]:
        return [coin for coin, quantity in self.quantities.items() if quantity]

    def _worked(self, order: Order) -> OrderReport:
        if self.now() > order.expires_at:
            return self._refusal(order, RejectReason.EXPIRED)
        if order.coin in self.halted | self.delisted:
            return self._refusal(order, RejectReason.NOT_TRADABLE)
        if self.post_only:
            return self._refusal(order, RejectReason.OTHER)
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
        lot = LISTED[order.coin][1]
        wanted = wanted * self.share_of(order) // lot * lot
        filled, notional = self.walked(order.coin, order.side, order.limit_price, wanted)
        if not filled:
            return self._refusal(order, RejectReason.NO_MATCH)
        price, fee = notional / filled, notional * FEE
        self._trade(order.coin, filled * order.side.sign, price, fee, order, "desk")
        status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
        return OrderReport(
            order.client_order_id, status, self.now(), Quantity(filled), Price(price), Usd(fee), filled_at=self.now()
        )

    def _trade(
        self,
        coin: Coin,
        signed: Decimal,
        price: Decimal,
        fee: Decimal,
        order: Order | None,
        by: str,
        trigger: ClientOrderId | None = None,
    ) -> None:
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
        self.fills.append(Fill(coin, signed, price, fee, self.now(), order, by, trigger))
        self.triggers.ended(coin, self.quantities[coin])

    def _refusal(self, order: Order, reason: RejectReason) -> OrderReport:
        return OrderReport(
            order.client_order_id, OrderStatus.REJECTED, self.now(), reason=reason, detail=f"{reason} here"
        )


@cache
def _past_price(coin: Coin, number: int) -> Price:
    start, _, decimals = LISTED[coin]
    place = list(LISTED).index(coin)
    worth = float(start) * (1.0 + PAST_APART * place + PAST_WAVE * sin(number * (0.7 + 0.11 * place)))
    return Price(Decimal(worth).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN))


def past_zscore(exchange: Exchange, base: Coin, quote: Coin) -> float:
    """About what the bars make of the present ratio of two coins, in deviations."""
    places = list(LISTED)
    now = log(float(exchange.mid(base) / exchange.mid(quote)) * float(LISTED[quote][0] / LISTED[base][0]))
    return (now - PAST_APART * (places.index(base) - places.index(quote))) / PAST_WAVE


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
