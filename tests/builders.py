"""Records to test with: every builder has sensible defaults and takes what matters to the test as keywords.

The ordinary trade: z = 2.4 on BTC/ETH at T0, so short 0.01 BTC at 100,000 and long 0.25 ETH at 4,000, 2,000 USD gross.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from trading.domain.exit_plan import ExitPlan, ExitReason, TrailingStop
from trading.domain.market import Account, Candle, CandleInterval, Holding, Instrument, Pair, Quote
from trading.domain.orders import Order, OrderReport, OrderStatus, Side, client_order_id
from trading.domain.positions import Watch
from trading.domain.signals import Approval, Signal, SignalType
from trading.domain.trades import (
    Event,
    LegPlan,
    OrdersIntended,
    OrdersReported,
    PositionEffect,
    Slice,
    Terms,
    Trade,
    TradeAccepted,
    TradeFilled,
    close_trade_id,
    open_trade_id,
    position_id_of,
    record,
    replay,
)
from trading.domain.units import ZERO, Coin, Price, Quantity, Ratio, Usd

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PRICES: Mapping[str, Decimal] = {
    "BTC": Decimal(100_000),
    "ETH": Decimal(4_000),
    "SOL": Decimal(200),
    "AVAX": Decimal(25),
}
FEE_RATE = Decimal("0.00045")


def after(seconds: float, since: datetime = T0) -> datetime:
    """The instant *seconds* after T0."""
    return since + timedelta(seconds=seconds)


def price_of(coin: str) -> Price:
    """What a coin costs in these tests, in USD; 100 for any that is not listed above."""
    return Price(PRICES.get(coin, Decimal(100)))


def given_signal(signal_id: str = "signal_1", pair: str = "BTC/ETH", zscore: str = "2.4", **changes: Any) -> Signal:
    """A pending signal; the sign of *zscore* decides its type."""
    short = Decimal(zscore) > 0
    signal = Signal(
        id=signal_id,
        pair=Pair.parse(pair),
        signal_type=SignalType.SHORT_SPREAD if short else SignalType.LONG_SPREAD,
        zscore=Decimal(zscore),
        correlation=Decimal("0.91"),
        entry_spread=Decimal("0.0153"),
        confidence=Decimal("0.86"),
        status="pending",
        created_at=T0,
    )
    return replace(signal, **changes)


def given_approval(approval_id: str = "approval_1", **changes: Any) -> Approval:
    approval = Approval(
        id=approval_id,
        approved=True,
        risk_score=Decimal("0.2"),
        reasoning="within limits",
        concerns=(),
        rule_violations=(),
        answered_at=T0,
    )
    return replace(approval, **changes)


def given_exit_plan(**changes: Any) -> ExitPlan:
    return replace(ExitPlan(take_profit=Ratio(Decimal("0.02")), stop_loss=Ratio(Decimal("0.01"))), **changes)


def given_trailing(arm: str = "0.01", gap: str = "0.004") -> TrailingStop:
    return TrailingStop(Ratio(Decimal(arm)), Ratio(Decimal(gap)))


def given_quote(
    coin: str, price: str | None = None, at: datetime = T0, spread: str = "0.0002", **changes: Any
) -> Quote:
    """A quote around *price* (or the ordinary price), *spread* a fraction of it between bid and ask."""
    mid = Decimal(price) if price is not None else price_of(coin)
    half = mid * Decimal(spread) / 2
    return replace(Quote(Coin(coin), Price(mid - half), Price(mid + half), Price(mid), at), **changes)


def given_instrument(coin: str, step: str = "0.0001", **changes: Any) -> Instrument:
    instrument = Instrument(
        coin=Coin(coin),
        quantity_step=Quantity(Decimal(step)),
        price_decimals_max=2,
        notional_min=Usd(Decimal(10)),
        leverage_max=20,
    )
    return replace(instrument, **changes)


def given_bars(
    closes: Sequence[str | Decimal], until: datetime = T0, interval: CandleInterval = CandleInterval.MINUTE
) -> tuple[Candle, ...]:
    """Bars of these closes, the last of which ends at *until*; each opened where the one before closed."""
    prices = [Price(Decimal(one)) for one in closes]
    start = until - interval.length * len(prices)
    return tuple(
        Candle(start + interval.length * number, opened, max(opened, closed), min(opened, closed), closed)
        for number, (opened, closed) in enumerate(zip([*prices[:1], *prices], prices, strict=False))
    )


def given_account(
    equity: str = "100000", holdings: Iterable[Holding] = (), at: datetime = T0, **changes: Any
) -> Account:
    """An account with all of its equity free."""
    account = Account(
        equity=Usd(Decimal(equity)),
        margin_used=Usd(ZERO),
        margin_available=Usd(Decimal(equity)),
        maintenance_margin=Usd(ZERO),
        holdings={holding.coin: holding for holding in holdings},
        leverages={},
        taken_at=at,
    )
    return replace(account, **changes)


def given_leg(coin: str, side: Side, usd: str = "1000") -> LegPlan:
    """A leg of *usd* at the ordinary price, floored to four decimals."""
    price = price_of(coin)
    return LegPlan(Coin(coin), side, Quantity((Decimal(usd) / price).quantize(Decimal("0.0001"))), price)


def given_slices(
    long: LegPlan, short: LegPlan, count: int = 1, interval: float = 36, at: datetime = T0
) -> tuple[Slice, ...]:
    """*count* equal slices from *at*, one every *interval* seconds; the last takes what remains."""
    lot = Decimal("0.0001")
    parts: list[tuple[Decimal, Decimal]] = []
    for number in range(1, count + 1):
        last = number == count
        amounts = [
            leg.quantity - sum((taken[index] for taken in parts), ZERO)
            if last
            else (leg.quantity / count).quantize(lot)
            for index, leg in enumerate((long, short))
        ]
        parts.append((amounts[0], amounts[1]))
    return tuple(
        Slice(number, after(interval * (number - 1), at), Quantity(long_part), Quantity(short_part))
        for number, (long_part, short_part) in enumerate(parts, start=1)
    )


def given_terms(
    signal_id: str = "signal_1",
    *,
    attempt: int = 1,
    pair: str = "BTC/ETH",
    zscore: str = "2.4",
    size: str = "2000",
    slices: int = 1,
    interval: float = 36,
    at: datetime = T0,
    **changes: Any,
) -> Terms:
    """The terms of an opening trade of *size* USD gross over both legs."""
    signal = given_signal(signal_id, pair, zscore, created_at=at)
    trade_id = open_trade_id(signal_id, attempt)
    half = str(Decimal(size) / 2)
    long = given_leg(signal.long_coin, Side.BUY, half)
    short = given_leg(signal.short_coin, Side.SELL, half)
    terms = Terms(
        trade_id=trade_id,
        position_id=position_id_of(trade_id),
        effect=PositionEffect.OPEN,
        pair=signal.pair,
        long=long,
        short=short,
        slices=given_slices(long, short, slices, interval, at),
        slice_interval_seconds=Decimal(str(interval)),
        gives_up_at=after(interval * slices + 60, at),
        accepted_at=at,
        slippage_max=Ratio(Decimal("0.003")),
        leverage=1,
        requested_usd=Usd(Decimal(size)),
        exit_plan=given_exit_plan(),
        signal=signal,
        approval=given_approval(f"approval_of_{signal_id}_{attempt}", answered_at=at),
        request_key=f"key_of_{signal_id}_{attempt}",
        fingerprint="fingerprint",
    )
    return replace(terms, **changes)


def given_closing_terms(
    opening: Trade, *, attempt: int = 1, at: datetime = T0, reason: ExitReason = ExitReason.MANUAL, **changes: Any
) -> Terms:
    """The terms of a trade that closes all that *opening* has filled, in one slice."""
    long, short = (
        replace(leg, side=leg.side.opposite, quantity=opening.filled(leg.coin))
        for leg in (opening.terms.long, opening.terms.short)
    )
    terms = replace(
        opening.terms,
        trade_id=close_trade_id(opening.terms.position_id, attempt),
        effect=PositionEffect.CLOSE,
        long=long,
        short=short,
        slices=given_slices(long, short, at=at),
        slice_interval_seconds=ZERO,
        accepted_at=at,
        gives_up_at=after(60, at),
        exit_plan=None,
        exit_reason=reason,
        signal=None,
        approval=None,
        request_key="",
        fingerprint="",
    )
    return replace(terms, **changes)


def given_order(
    terms: Terms, leg: LegPlan, slice_number: int = 1, attempt: int = 1, at: datetime = T0, **changes: Any
) -> Order:
    """The order of *leg* in a slice, at its arrival price; reduce-only when the trade closes."""
    part = terms.slices[min(slice_number, len(terms.slices)) - 1]
    order = Order(
        client_order_id=client_order_id(terms.trade_id, slice_number, leg.coin, attempt),
        coin=leg.coin,
        side=leg.side,
        quantity=part.long_quantity if leg is terms.long else part.short_quantity,
        limit_price=leg.arrival_price,
        reduce_only=terms.effect is PositionEffect.CLOSE,
        slice_number=slice_number,
        attempt=attempt,
        intended_at=at,
        expires_at=after(10, at),
    )
    return replace(order, **changes)


def given_orders(terms: Terms, slice_number: int = 1, attempt: int = 1, at: datetime = T0) -> tuple[Order, Order]:
    """Both legs' orders of a slice, long first."""
    return (
        given_order(terms, terms.long, slice_number, attempt, at),
        given_order(terms, terms.short, slice_number, attempt, at),
    )


def given_report(
    order: Order, fraction: str = "1", at: datetime = T0, price: str | None = None, **changes: Any
) -> OrderReport:
    """The venue's word that *fraction* of *order* was filled, at its limit or at *price*, with taker fees."""
    filled = order.quantity * Decimal(fraction)
    paid = Decimal(price) if price is not None else order.limit_price
    status = OrderStatus.FILLED if filled == order.quantity else OrderStatus.PARTIALLY_FILLED
    report = OrderReport(
        client_order_id=order.client_order_id,
        status=status if filled else OrderStatus.ABSENT,
        reported_at=at,
        filled=Quantity(filled),
        average_price=Price(paid) if filled else None,
        fees=Usd(filled * paid * FEE_RATE),
    )
    return replace(report, **changes)


def given_reports(orders: Sequence[Order], fraction: str = "1", at: datetime = T0) -> OrdersReported:
    """An event that says of each of *orders* that *fraction* of it was filled."""
    return OrdersReported(at, tuple(given_report(order, fraction, at) for order in orders))


def given_a_trade(*events: Event, **terms: Any) -> Trade:
    """A trade accepted on `given_terms(**terms)`, then *events*."""
    accepted = given_terms(**terms)
    return replay((TradeAccepted(accepted.accepted_at, accepted), *events))


def given_a_working_trade(signal_id: str = "signal_1", *, at: datetime = T0, **terms: Any) -> Trade:
    """A trade whose first slice was sent, without an answer yet: both orders are in doubt."""
    trade = given_a_trade(signal_id=signal_id, at=at, **terms)
    return record(trade, OrdersIntended(at, given_orders(trade.terms, at=at)))


def given_a_filled_trade(signal_id: str = "signal_1", *, at: datetime = T0, **terms: Any) -> Trade:
    """A trade of one slice, filled in full a second after it was accepted."""
    trade = given_a_working_trade(signal_id, at=at, **terms)
    done = after(1, at)
    return record(record(trade, given_reports(trade.orders, at=done)), TradeFilled(done))


def given_a_closing_trade(opening: Trade, *events: Event, at: datetime | None = None, **terms: Any) -> Trade:
    """A trade that closes what *opening* filled, a minute after it was accepted unless *at* is given, then *events*."""
    accepted = given_closing_terms(opening, at=at or after(60, opening.terms.accepted_at), **terms)
    return replay((TradeAccepted(accepted.accepted_at, accepted), *events))


def given_a_filled_close(opening: Trade, *, at: datetime | None = None, **terms: Any) -> Trade:
    """A closing trade that went through in full, at the entry prices unless reports say otherwise."""
    trade = given_a_closing_trade(opening, at=at, **terms)
    start = trade.terms.accepted_at
    trade = record(trade, OrdersIntended(start, given_orders(trade.terms, at=start)))
    return record(record(trade, given_reports(trade.orders, at=start)), TradeFilled(start))


def given_watch(trade: Trade, **changes: Any) -> Watch:
    """The watch of the position that *trade* belongs to, with the ordinary barriers."""
    return replace(Watch(trade.terms.position_id, trade.terms.exit_plan or given_exit_plan()), **changes)
