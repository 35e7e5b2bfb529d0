"""The paper venue: Hyperliquid's rules over the paper market, for an account that lives in a journal of its own.

The journal is the account: nothing is answered before it is synced there, everything known is folded from it, and a
client order id has one effect for ever. Several processes may trade the same account at once, for a submit holds the
journal's lock from reading to writing. Fills leave no hole in the book, orders never move the market, and nobody is
liquidated. What rests fires at the mark of the moment at which somebody looks at the account.
"""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal

from trading.adapters.paper_account import (
    USD_STEP,
    Outcome,
    PaperAccount,
    PaperLedger,
    average_price,
    equity_at,
    funding_record,
    leverage_record,
    margin_used_at,
    opened_record,
    orders_record,
    payments_due,
    valued,
    with_fill,
    with_payments,
)
from trading.adapters.paper_market import PaperMarket, on_price_grid
from trading.adapters.paper_resting import RESTS_MAX, rest_record, unrest_record
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.errors import Busy, StoreCorrupt, VenueRejected, VenueUnavailable
from trading.domain.market import (
    Account,
    Candle,
    CandleInterval,
    Depth,
    FundingPayment,
    Instrument,
    Level,
    Quote,
    Traits,
)
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.resting import AccountFill, ListedOrder, PairLine, RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, Usd
from trading.ports import Clock, Json, Ticks
from trading.utils.journal import Journal

TAKER_FEE_RATE = Decimal("0.00045")
ABSENCE_MARGIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why one order is refused."""

    reason: RejectReason
    detail: str


class PaperVenue:
    """A Venue (see ports) that needs no key and moves no money. Safe for several threads and several processes."""

    name = "paper"
    network = "paper"
    traits = Traits(proves_absence=True, rests_orders=True, tells_fills=True)

    def __init__(self, market: PaperMarket, journal: Journal, clock: Clock, equity_usd: Usd) -> None:
        self.account_id = f"paper:{market.seed}"
        self._market = market
        self._journal = journal
        self._clock = clock
        self._equity = equity_usd
        self._ledger = PaperLedger(market.seed, equity_usd)
        self._replaced = journal.replaced
        self._broken: StoreCorrupt | None = None
        self._lock = threading.RLock()
        self._settled: tuple[PaperAccount, PaperAccount, tuple[FundingPayment, ...]] | None = None

    def instruments(self) -> Mapping[Coin, Instrument]:
        return INSTRUMENTS

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        now = self._clock.now()
        return {coin: self._market.quote(coin, now) for coin in coins if _tradable(coin)}

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        now = self._clock.now()
        return {coin: self._market.depth(coin, now) for coin in coins if _tradable(coin)}

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        """Its prices are a function of time: there is nothing to wait for but that."""
        self._clock.sleep(seconds)
        return Ticks(since, frozenset())

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        """Of the market's own mids; it has no trades of others. At most the newest 5,000, as on Hyperliquid."""
        return self._market.candles(coin, interval, start, min(end, self._clock.now())) if _tradable(coin) else ()

    def account(self) -> Account:
        with self._reading():
            now = self._clock.now()
            self._fire(now)
            account, _ = self._settled_at(now)
            return valued(account, self._marks(account, now), now)

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        with self._reading():
            _, due = self._settled_at(self._clock.now())
            paid = self._ledger.paid(coins, since, until)
            if paid is None:
                raise VenueUnavailable(
                    "the paper account no longer remembers funding that old", since=since.isoformat()
                )
            return paid + tuple(one for one in due if one.coin in coins and since < one.paid_at <= until)

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        # Under the journal's lock: a submit that is still being written must not be taken for one that never came.
        with self._reading(), self._journal.held():
            self._catch_up()
            now = self._clock.now()
            return tuple(self._word_on(order, now) for order in orders)

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        try:
            with self._lock, self._journal.held():
                self._catch_up()
                now = self._clock.now()
                reports = [self._resting_word(one, orders, expires_at, now) for one in orders]
                fresh = [
                    one
                    for one, report in zip(orders, reports, strict=True)
                    if report.status is RestingStatus.RESTING and not self._ledger.rests.knows(one.client_order_id)
                ]
                if fresh:
                    self._journal.append([*self._openings(now)[0], rest_record(now, fresh)])
                return tuple(reports)
        except (StoreCorrupt, Busy, OSError) as error:
            return tuple(RestingReport(one.client_order_id, RestingStatus.UNKNOWN, detail=str(error)) for one in orders)

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        try:
            with self._lock, self._journal.held():
                self._catch_up()
                ids = [one.client_order_id for one in orders if one.client_order_id in self._ledger.rests.orders]
                if ids:
                    self._journal.append([unrest_record(self._clock.now(), ids)])
                return frozenset(ids)
        except (StoreCorrupt, Busy, OSError):
            return None

    def resting(self) -> tuple[ListedOrder, ...]:
        with self._reading():
            self._fire(self._clock.now())
            return self._ledger.rests.listed()

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        """The paper venue knows coins and no pairs, as the exchange that it is like."""
        return not lines

    def transferred(self, since: datetime) -> Usd:
        """Paper money comes and goes by trades and funding alone."""
        return Usd(ZERO)

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        with self._reading():
            self._fire(self._clock.now())
            fills = self._ledger.rests.fills(since)
            if fills is None:
                raise VenueUnavailable("the paper account no longer remembers fills that old", since=since.isoformat())
            return fills

    def _resting_word(
        self, order: RestingOrder, group: Sequence[RestingOrder], expires_at: datetime, now: datetime
    ) -> RestingReport:
        rests = self._ledger.rests
        if rests.knows(order.client_order_id):
            there = order.client_order_id in rests.orders
            status = RestingStatus.RESTING if there else RestingStatus.UNKNOWN
            return RestingReport(order.client_order_id, status, detail="it was sent before")
        spoilt = _SPOILT if any(_malformed_rest(one) is not None for one in group) else None
        refusal = _malformed_rest(order) or spoilt
        if refusal is None and now > expires_at:
            refusal = _Refusal(RejectReason.EXPIRED, "Action already expired")
        if refusal is None and len(rests.orders) + len(group) > RESTS_MAX:
            refusal = _Refusal(RejectReason.OTHER, "Too many open orders.")
        if refusal is None and order.fires_at(self._market.mark(order.coin, now)):
            refusal = _Refusal(RejectReason.PRICE, "Invalid TP/SL price.")
        if refusal is None:
            return RestingReport(order.client_order_id, RestingStatus.RESTING)
        return RestingReport(order.client_order_id, RestingStatus.REJECTED, refusal.reason, refusal.detail)

    def _fire(self, now: datetime) -> None:
        """Carry out what the mark has reached: limit orders from then on, that wait for the book to come to them."""
        if not self._ledger.rests.orders or not self._fired(now):
            return
        with self._journal.held():
            self._catch_up()
            for resting in self._fired(now):
                order = _order_from(resting, now)
                records, account = self._openings(now)
                (outcome,) = _outcomes([order], account, self._market, now)
                if outcome.report.filled and resting.client_order_id in self._ledger.rests.orders:
                    self._journal.append([*records, orders_record(now, [outcome])])
                    self._catch_up()

    def _fired(self, now: datetime) -> tuple[RestingOrder, ...]:
        return self._ledger.rests.fired(lambda coin: self._market.mark(coin, now))

    def require_room(self) -> None:
        """There always is."""

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        if not _tradable(coin):
            raise VenueRejected(f"{coin} cannot be traded", coin=coin)
        if not 1 <= leverage <= INSTRUMENTS[coin].leverage_max:
            raise VenueRejected(f"leverage of {coin} must be 1 to {INSTRUMENTS[coin].leverage_max}", coin=coin)
        with self._reading(), self._journal.held():
            self._catch_up()
            if self._ledger.account.leverages.get(coin) != leverage:
                self._write_leverage(coin, leverage)

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        if not orders:
            return ()
        try:
            with self._lock, self._journal.held():
                self._catch_up()
                self._execute(orders)
                self._catch_up()
                now = self._clock.now()
                return tuple(self._word_on(order, now) for order in orders)
        except (StoreCorrupt, Busy, OSError) as error:
            now = self._clock.now()
            return tuple(
                OrderReport(one.client_order_id, OrderStatus.UNKNOWN, now, detail=str(error)) for one in orders
            )

    def _execute(self, orders: Sequence[Order]) -> None:
        """Work out the orders that have not been seen yet and append what became of them, both legs in one record."""
        fresh: dict[ClientOrderId, Order] = {}
        for order in orders:
            if self._is_fresh(order):
                fresh.setdefault(order.client_order_id, order)
        if not fresh:
            return
        now = self._clock.now()
        records, account = self._openings(now)
        outcomes = _outcomes(tuple(fresh.values()), account, self._market, now)
        self._journal.append([*records, orders_record(now, outcomes)])

    def _is_fresh(self, order: Order) -> bool:
        return self._ledger.report_of(order) is None and not self._ledger.may_have_forgotten(order)

    def _openings(self, now: datetime) -> tuple[list[dict[str, Json]], PaperAccount]:
        """The records that must come before a change of the account at *now*, and the account after them."""
        if not self._ledger.opened:
            return [opened_record(now, self._market.seed, self._equity)], self._ledger.account
        account, due = self._settled_at(now)
        return ([funding_record(now, due)] if due else []), account

    def _write_leverage(self, coin: Coin, leverage: int) -> None:
        now = self._clock.now()
        records, account = self._openings(now)
        if account.held(coin):
            marks = self._marks(account, now)
            levered = replace(account, leverages={**account.leverages, coin: leverage})
            if margin_used_at(levered, marks) > max(equity_at(account, marks), margin_used_at(account, marks)):
                raise VenueRejected("the position does not have margin available to decrease leverage", coin=coin)
        self._journal.append([*records, leverage_record(now, coin, leverage)])

    def _word_on(self, order: Order, now: datetime) -> OrderReport:
        known = self._ledger.report_of(order)
        if known is not None:
            return known
        if self._ledger.may_have_forgotten(order) or now <= order.expires_at + ABSENCE_MARGIN:
            return OrderReport(order.client_order_id, OrderStatus.UNKNOWN, now)
        return OrderReport(order.client_order_id, OrderStatus.ABSENT, now)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Caught up with the journal, other threads kept out. Raises VenueUnavailable, for the body too."""
        try:
            with self._lock:
                self._catch_up()
                yield
        except (StoreCorrupt, Busy, OSError) as error:
            raise VenueUnavailable(f"the paper account cannot be read: {error}") from error

    def _catch_up(self) -> None:
        """Fold what anybody has written. After a record that does not fold, nothing more is believed."""
        if self._broken is not None:
            raise self._broken
        entries = self._journal.follow()
        if self._journal.replaced != self._replaced:
            # Another file lies under the path now, and was followed from its first record.
            self._replaced = self._journal.replaced
            self._ledger = PaperLedger(self._market.seed, self._equity)
        try:
            for entry in entries:
                self._ledger.take(entry.content)
        except StoreCorrupt as error:
            self._broken = error
            raise

    def _settled_at(self, now: datetime) -> tuple[PaperAccount, tuple[FundingPayment, ...]]:
        """The account with every funding hour up to *now* paid, and the payments that are not in the journal yet."""
        written = self._ledger.account
        if self._settled is None or self._settled[0] is not written:
            self._settled = (written, written, ())
        _, account, payments = self._settled
        due = payments_due(account, self._market, now)
        if due:
            account, payments = with_payments(account, due, now), payments + due
            self._settled = (written, account, payments)
        return account, payments

    def _marks(self, account: PaperAccount, now: datetime) -> Mapping[Coin, Price]:
        return {coin: self._market.mark(coin, now) for coin in account.positions}


def _tradable(coin: Coin) -> bool:
    instrument = INSTRUMENTS.get(coin)
    return instrument is not None and not instrument.delisted


def _outcomes(orders: Sequence[Order], account: PaperAccount, market: PaperMarket, now: datetime) -> list[Outcome]:
    """What becomes of a group of orders, one after the other.

    An order that breaks a static rule takes the whole group with it, as on Hyperliquid; a refusal at execution is its
    own.
    """
    spoilt = any(_malformed(order) is not None for order in orders)
    outcomes = []
    for order in orders:
        refusal = _late(order, now) or _malformed(order) or (_SPOILT if spoilt else None)
        if refusal is None:
            report, account = _executed(order, account, market, now)
        else:
            report = _refused(order, refusal, now)
        outcomes.append(Outcome(order, report))
    return outcomes


_SPOILT = _Refusal(RejectReason.OTHER, "another order of the group is malformed, so the group was not executed")


def _late(order: Order, now: datetime) -> _Refusal | None:
    return _Refusal(RejectReason.EXPIRED, "Action already expired") if now > order.expires_at else None


def _malformed(order: Order) -> _Refusal | None:
    """The venue's static checks: the asset exists, price and size are on their grids."""
    instrument = INSTRUMENTS.get(order.coin)
    if instrument is None:
        return _Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is not listed")
    if not on_price_grid(order.limit_price, instrument):
        return _Refusal(RejectReason.PRICE, "Price must be divisible by tick size.")
    if not order.quantity.is_finite() or order.quantity <= 0 or order.quantity % instrument.quantity_step != 0:
        return _Refusal(RejectReason.SIZE, "Order has invalid size.")
    return None


def _malformed_rest(order: RestingOrder) -> _Refusal | None:
    """The same for an order that is to rest."""
    instrument = INSTRUMENTS.get(order.coin)
    if instrument is None or instrument.delisted:
        return _Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} cannot be traded")
    if not all(on_price_grid(price, instrument) for price in (order.trigger_price, order.limit_price)):
        return _Refusal(RejectReason.PRICE, "Price must be divisible by tick size.")
    if not order.quantity.is_finite() or order.quantity <= 0 or order.quantity % instrument.quantity_step != 0:
        return _Refusal(RejectReason.SIZE, "Order has invalid size.")
    return None


def _order_from(resting: RestingOrder, now: datetime) -> Order:
    """The limit order that a fired one is."""
    return Order(
        client_order_id=resting.client_order_id,
        coin=resting.coin,
        side=resting.side,
        quantity=resting.quantity,
        limit_price=resting.limit_price,
        reduce_only=True,
        slice_number=0,
        attempt=0,
        intended_at=now,
        expires_at=now,
    )


def _executed(
    order: Order, account: PaperAccount, market: PaperMarket, now: datetime
) -> tuple[OrderReport, PaperAccount]:
    """One immediate-or-cancel order against the book of this instant."""
    quantity = _clamped(order, account.held(order.coin))
    refusal = _forbidden(order, quantity, account, market, now)
    if refusal is not None:
        return _refused(order, refusal, now), account
    depth = market.depth(order.coin, now)
    filled, usd = _matched(depth.asks if order.side is Side.BUY else depth.bids, order, quantity)
    if filled == 0:
        detail = "Order could not immediately match against any resting orders."
        return _refused(order, _Refusal(RejectReason.NO_MATCH, detail), now), account
    price = average_price(usd, filled)
    fees = (filled * price * TAKER_FEE_RATE).quantize(USD_STEP, ROUND_FLOOR)
    status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
    report = OrderReport(order.client_order_id, status, now, Quantity(filled), price, Usd(fees))
    return report, with_fill(account, order.coin, order.side, filled, price, fees)


def _clamped(order: Order, held: Quantity) -> Decimal:
    """A reduce-only order shrinks to what there is to reduce."""
    if not order.reduce_only:
        return order.quantity
    return min(order.quantity, max(ZERO, -held * order.side.sign))


def _forbidden(
    order: Order, quantity: Decimal, account: PaperAccount, market: PaperMarket, now: datetime
) -> _Refusal | None:
    """The rules that are checked when an order is about to execute, in the venue's order."""
    instrument, held = INSTRUMENTS[order.coin], account.held(order.coin)
    if instrument.delisted:
        return _Refusal(RejectReason.NOT_TRADABLE, f"{order.coin} is delisted")
    if quantity == 0:
        return _Refusal(RejectReason.REDUCE_ONLY, "Reduce only order would increase position.")
    after = held + quantity * order.side.sign
    # Less than the minimum is allowed only for what closes the whole position (measured on testnet, October 2026).
    if after != 0 and quantity * order.limit_price < instrument.notional_min:
        return _Refusal(RejectReason.NOTIONAL_MIN, f"Order must have minimum value of ${instrument.notional_min}.")
    if _grows(held, after) and not _affordable(order.coin, quantity, after, account, market, now):
        return _Refusal(RejectReason.MARGIN, "Insufficient margin to place order.")
    return None


def _grows(held: Decimal, after: Decimal) -> bool:
    return abs(after) > abs(held) or held * after < 0


def _affordable(
    coin: Coin, quantity: Decimal, after: Decimal, account: PaperAccount, market: PaperMarket, now: datetime
) -> bool:
    """Initial margin with the order filled whole, plus its fee, is within the equity."""
    marks = {held: market.mark(held, now) for held in {*account.positions, coin}}
    added = (abs(after) - abs(account.held(coin))) * marks[coin] / account.leverage(coin)
    fee = quantity * marks[coin] * TAKER_FEE_RATE
    return margin_used_at(account, marks) + added + fee <= equity_at(account, marks)


def _matched(levels: Sequence[Level], order: Order, quantity: Decimal) -> tuple[Decimal, Decimal]:
    """Coins filled and USD exchanged, best level first, never beyond the limit."""
    filled = usd = ZERO
    for level in levels:
        if filled == quantity or (level.price - order.limit_price) * order.side.sign > 0:
            break
        take = min(level.quantity, quantity - filled)
        filled, usd = filled + take, usd + take * level.price
    return filled, usd


def _refused(order: Order, refusal: _Refusal, now: datetime) -> OrderReport:
    return OrderReport(order.client_order_id, OrderStatus.REJECTED, now, reason=refusal.reason, detail=refusal.detail)
