"""Positions and trades as they are shown: records whose field names are the API's JSON names, made of what the
book and a mark say, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.exit_plan import ExitReason, Reversion, TrailingStop
from trading.domain.market import Pair
from trading.domain.naked import naked_by_losses, naked_left, naked_now
from trading.domain.orders import Order, OrderReport, Side
from trading.domain.positions import Leg, Position, PositionStatus, Watch
from trading.domain.signals import Approval, Signal
from trading.domain.trades import Trade
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, TradeId, Usd
from trading.engine.schedule import average_price, next_slice_due, pace_of, slices_done, slices_skipped
from trading.engine.timeline import TimelineEntry, events_of
from trading.engine.valuing import Mark, risk_level, unrealized_of
from trading.utils.trade_calculator import BASIS_POINTS, calculate_spread, leg_slippage, pnl_percent, zscore_of


@dataclass(frozen=True, slots=True)
class LegView:
    """One leg; money in USD, prices in USD a coin. `mark_price` is the mid that the leg is marked to, `quantity` what
    is held, of a closed position what was."""

    coin: Coin
    side: str
    quantity: Decimal
    entry_price: Price | None
    mark_price: Price | None
    exit_price: Price | None
    notional: Decimal | None
    unrealized_pnl: Decimal | None
    fees: Usd
    funding: Usd


@dataclass(frozen=True, slots=True)
class NakedView:
    max_usd: Usd
    usd_seconds: Decimal


@dataclass(frozen=True, slots=True)
class ExecutionView:
    """How a trade goes, or went. `slippage_bps` positive is worse than arrival; `benchmark_bps` the same against the
    time-weighted mids of its own schedule, whose spread is `benchmark_spread`."""

    type: str
    arrival_spread: Decimal
    average_spread: Decimal | None
    benchmark_spread: Decimal | None
    slippage_bps: Decimal | None
    benchmark_bps: Decimal | None
    slices_requested: int
    slices_total: int
    slices_done: int
    slices_skipped: int
    next_slice_at: datetime | None
    status: str


@dataclass(frozen=True, slots=True)
class ZscoreView:
    """The z-score that exits go by, of the desk's own log ratio against the mean and deviation frozen at entry."""

    entry: Decimal
    current: Decimal | None
    mean: Decimal
    deviation: Decimal
    candles: int
    interval: str


@dataclass(frozen=True, slots=True)
class RestingView:
    """An order that rests at the venue for a position; `placed` is false while the venue has not confirmed it."""

    client_order_id: str
    coin: Coin
    kind: str
    side: str
    quantity: Decimal
    trigger_price: Price
    limit_price: Price
    placed: bool


@dataclass(frozen=True, slots=True)
class SignalWords:
    """What Scout said, in Scout's own measures."""

    id: str
    pair: str
    signal_type: str
    zscore: Decimal
    correlation: Decimal | None
    entry_spread: Decimal | None
    confidence: Decimal
    status: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class GuardianWords:
    """What Guardian said when it was asked."""

    approved: bool
    risk_score: Decimal | None
    reasoning: str
    concerns: tuple[str, ...]
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position as the API names it. What is not known now is None.

    `high_water` is the highest net return that its trailing stop goes by, written down once that is armed and whenever
    it has risen by a twentieth of the gap: armed from `arm` on, and for good, it leaves at `high_water` less `gap`.
    """

    position_id: PositionId
    trade_id: TradeId
    signal_id: str | None
    approval_id: str | None
    pair: str
    status: PositionStatus
    size: Usd
    position_size: Usd
    requested_size: Usd
    leverage: int
    long: LegView
    short: LegView
    entry_spread: Decimal | None
    current_spread: Decimal | None
    pnl: Decimal | None
    pnl_percent: Decimal | None
    exit_return: Decimal | None
    realized_pnl: Usd
    unrealized_pnl: Decimal | None
    fees: Usd
    funding: Usd
    risk_level: str
    take_profit: Decimal
    stop_loss: Decimal
    trailing_stop: TrailingStop | None
    high_water: Decimal | None
    max_holding_seconds: int | None
    take_profit_usd: Usd | None
    stop_loss_usd: Usd | None
    take_profit_spread: Decimal | None
    stop_loss_spread: Decimal | None
    take_profit_z: Decimal | None
    stop_loss_z: Decimal | None
    zscore: ZscoreView | None
    time_window: str | None
    window_expires_at: datetime | None
    entry_time: datetime
    exit_time: datetime | None
    exit_reason: ExitReason | None
    liquidation_distance: Decimal | None
    naked: NakedView
    execution: ExecutionView
    exit_execution: ExecutionView | None
    closing_trade_id: TradeId | None
    marked_at: datetime | None
    signal: SignalWords | None
    guardian: GuardianWords | None
    resting_orders: tuple[RestingView, ...]


@dataclass(frozen=True, slots=True)
class OrderView:
    client_order_id: str
    coin: Coin
    side: str
    quantity: Decimal
    limit_price: Price
    reduce_only: bool
    slice_number: int
    attempt: int
    status: str
    filled: Decimal
    average_price: Price | None
    fees: Usd
    reason: str | None
    sent_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TradeView:
    """A trade with every event and its instant; alone also with what led to it and what became of it."""

    trade_id: TradeId
    position_id: PositionId
    effect: str
    pair: str
    status: str
    signal_id: str | None
    approval_id: str | None
    request_id: str | None
    exit_reason: ExitReason | None
    requested_size: Usd
    leverage: int
    accepted_at: datetime
    ended_at: datetime | None
    why: str | None
    slices_requested: int
    slices_total: int
    slices_done: int
    slices_skipped: int
    next_slice_at: datetime | None
    gives_up_at: datetime
    fees: Usd
    naked: NakedView
    orders: tuple[OrderView, ...]
    timeline: tuple[TimelineEntry, ...]


def signal_words(signal: Signal) -> SignalWords:
    """A signal as Scout's own JSON names it."""
    return SignalWords(
        id=signal.id,
        pair=str(signal.pair),
        signal_type=signal.signal_type,
        zscore=signal.zscore,
        correlation=signal.correlation,
        entry_spread=signal.entry_spread,
        confidence=signal.confidence,
        status=signal.status,
        timestamp=signal.created_at,
    )


def _guardian_words(approval: Approval) -> GuardianWords:
    return GuardianWords(
        approved=approval.approved,
        risk_score=approval.risk_score,
        reasoning=approval.reasoning,
        concerns=approval.concerns,
        answered_at=approval.answered_at,
    )


def position_view(book: Book, position: Position, mark: Mark | None, now: datetime) -> PositionView:
    """*position* of *book* as of *now*, valued at *mark*; without one what depends on prices is None."""
    opening = book.trade(position.trade_id)
    mids = _mids(position, mark)
    unrealized = Usd(ZERO) if not position.holds else unrealized_of(position, mark) if mark is not None else None
    pnl = None if unrealized is None else position.realized + unrealized - position.fees - position.funding
    plan, entered = position.exit_plan, position.entered_at
    present = mark.exit_return if mark is not None else None
    distance = mark.liquidation_distance if mark is not None else None
    return PositionView(
        position_id=position.id,
        trade_id=position.trade_id,
        signal_id=position.signal.id if position.signal else None,
        approval_id=position.approval.id if position.approval else None,
        pair=str(position.pair),
        status=position.status,
        size=position.entry_notional,
        position_size=position.entry_notional,
        requested_size=position.requested_usd,
        leverage=position.leverage,
        long=_view_leg(position, position.long, mids.get(position.long.coin)),
        short=_view_leg(position, position.short, mids.get(position.short.coin)),
        entry_spread=pair_spread(position.pair, {leg.coin: leg.entry_price for leg in position.legs}),
        current_spread=pair_spread(position.pair, mids),
        pnl=pnl,
        pnl_percent=_percent(pnl, position),
        exit_return=present if position.holds else None,
        realized_pnl=position.realized,
        unrealized_pnl=unrealized,
        fees=position.fees,
        funding=position.funding,
        risk_level=risk_level(position, mark),
        take_profit=plan.take_profit,
        stop_loss=plan.stop_loss,
        trailing_stop=plan.trailing,
        high_water=position.high_water,
        max_holding_seconds=plan.max_holding_seconds,
        take_profit_usd=plan.take_profit_usd,
        stop_loss_usd=plan.stop_loss_usd,
        take_profit_spread=plan.take_profit_spread,
        stop_loss_spread=plan.stop_loss_spread,
        take_profit_z=plan.take_profit_z,
        stop_loss_z=plan.stop_loss_z,
        zscore=_view_zscore(plan.reversion, position, mids),
        time_window=plan.time_window,
        window_expires_at=entered + timedelta(seconds=plan.max_holding_seconds) if plan.max_holding_seconds else None,
        entry_time=entered,
        exit_time=position.exited_at,
        exit_reason=position.exit_reason,
        liquidation_distance=distance,
        naked=_view_naked(book, position, now),
        execution=_view_execution(opening),
        exit_execution=_view_exit(book, position),
        closing_trade_id=position.closing_trade_id,
        marked_at=mark.taken_at if mark is not None else None,
        signal=signal_words(position.signal) if position.signal else None,
        guardian=_guardian_words(position.approval) if position.approval else None,
        resting_orders=_view_resting(book.watch(position.id)),
    )


def _view_resting(watch: Watch | None) -> tuple[RestingView, ...]:
    return tuple(
        RestingView(
            client_order_id=one.order.client_order_id,
            coin=one.order.coin,
            kind=one.order.kind,
            side=one.order.side,
            quantity=one.order.quantity,
            trigger_price=one.order.trigger_price,
            limit_price=one.order.limit_price,
            placed=one.placed,
        )
        for one in (watch.resting if watch is not None else ())
    )


def _mids(position: Position, mark: Mark | None) -> dict[Coin, Price | None]:
    """Present mids of both legs; of a closed position the prices it was left at."""
    if position.closed:
        return {leg.coin: leg.exit_price for leg in position.legs}
    if mark is None:
        return {leg.coin: None for leg in position.legs}
    return {position.long.coin: mark.long_mid, position.short.coin: mark.short_mid}


def _view_leg(position: Position, leg: Leg, price: Price | None) -> LegView:
    # A leg that is gone while its sister is still held is nothing, whatever it was.
    shown = max(leg.held, Quantity(ZERO)) if position.holds else leg.opened
    return LegView(
        coin=leg.coin,
        side="long" if leg.side is Side.BUY else "short",
        quantity=shown,
        entry_price=leg.entry_price,
        mark_price=price,
        exit_price=leg.exit_price,
        notional=ZERO if leg.held <= 0 else leg.held * price if price is not None else None,
        unrealized_pnl=ZERO if leg.held <= 0 else leg.unrealized(price) if price is not None else None,
        fees=leg.fees,
        funding=leg.funding,
    )


def pair_spread(pair: Pair, prices: Mapping[Coin, Price | None]) -> Decimal | None:
    """price(A)/price(B) - 1 of the pair A/B; None unless both prices are known."""
    base, quote = prices.get(pair.base), prices.get(pair.quote)
    return calculate_spread(base, quote) if base is not None and quote is not None else None


def _view_zscore(
    reversion: Reversion | None, position: Position, mids: Mapping[Coin, Price | None]
) -> ZscoreView | None:
    if reversion is None:
        return None
    spread = pair_spread(position.pair, mids)
    current = None if spread is None else zscore_of(reversion, spread + 1)
    return ZscoreView(
        reversion.zscore, current, reversion.mean, reversion.deviation, reversion.candles, reversion.interval
    )


def _percent(pnl: Decimal | None, position: Position) -> Decimal | None:
    if pnl is None:
        return None
    return pnl_percent(pnl, position.entry_notional) if position.entry_notional > 0 else ZERO


def _view_naked(book: Book, position: Position, now: datetime) -> NakedView:
    trades = book.trades_of_position(position.id)
    until = position.exited_at or now
    meters = [
        *(naked_now(trade, now) for trade in trades),
        naked_by_losses(trades[0], until),
        naked_left(trades[0], until),
    ]
    return NakedView(Usd(max(one.max for one in meters)), sum((one.usd_seconds for one in meters), ZERO))


def _view_exit(book: Book, position: Position) -> ExecutionView | None:
    closing = position.closing_trade_id
    return None if closing is None else _view_execution(book.trade(closing))


def _view_execution(trade: Trade) -> ExecutionView:
    terms, pace = trade.terms, pace_of(trade)
    long, short = (average_price(trade, leg) for leg in terms.legs)
    arrival = _spread_of(trade, terms.long.arrival_price, terms.short.arrival_price)
    return ExecutionView(
        type="twap" if terms.slice_interval_seconds else "market",
        arrival_spread=arrival if arrival is not None else ZERO,
        average_spread=_spread_of(trade, long, short),
        benchmark_spread=None if pace is None else _spread_of(trade, pace.long_benchmark, pace.short_benchmark),
        slippage_bps=_slippage(trade, long, short),
        benchmark_bps=None if pace is None else pace.slippage_bps,
        slices_requested=terms.slices_requested or len(terms.slices),
        slices_total=len(terms.slices),
        slices_done=slices_done(trade),
        slices_skipped=slices_skipped(trade),
        next_slice_at=next_slice_due(trade),
        status=trade.status,
    )


def _spread_of(trade: Trade, long: Price | None, short: Price | None) -> Decimal | None:
    return pair_spread(trade.terms.pair, {trade.terms.long.coin: long, trade.terms.short.coin: short})


def _slippage(trade: Trade, long: Price | None, short: Price | None) -> Decimal | None:
    """Basis points that both legs together were filled worse than at arrival; None without a fill of either."""
    if long is None or short is None:
        return None
    legs = zip(trade.terms.legs, (long, short), strict=True)
    return sum((leg_slippage(leg.side, price, leg.arrival_price) for leg, price in legs), ZERO) / 2 * BASIS_POINTS


def trade_view(trade: Trade, now: datetime) -> TradeView:
    """*trade* with every order and event as of *now*."""
    terms, meter = trade.terms, naked_now(trade, now)
    return TradeView(
        trade_id=trade.id,
        position_id=terms.position_id,
        effect=terms.effect,
        pair=str(terms.pair),
        status=trade.status,
        signal_id=terms.signal.id if terms.signal else None,
        approval_id=terms.approval.id if terms.approval else None,
        request_id=terms.request_id or None,
        exit_reason=trade.exit_reason,
        requested_size=terms.requested_usd,
        leverage=terms.leverage,
        accepted_at=terms.accepted_at,
        ended_at=trade.ended_at,
        why=trade.why or None,
        slices_requested=terms.slices_requested or len(terms.slices),
        slices_total=len(terms.slices),
        slices_done=slices_done(trade),
        slices_skipped=slices_skipped(trade),
        next_slice_at=next_slice_due(trade),
        gives_up_at=terms.gives_up_at,
        fees=trade.fees,
        naked=NakedView(meter.max, meter.usd_seconds),
        orders=tuple(_view_order(order, trade.report_of(order)) for order in trade.orders),
        timeline=events_of(trade),
    )


def _view_order(order: Order, report: OrderReport) -> OrderView:
    return OrderView(
        client_order_id=order.client_order_id,
        coin=order.coin,
        side=order.side,
        quantity=order.quantity,
        limit_price=order.limit_price,
        reduce_only=order.reduce_only,
        slice_number=order.slice_number,
        attempt=order.attempt,
        status=report.status,
        filled=report.filled,
        average_price=report.average_price,
        fees=report.fees,
        reason=report.detail or report.reason,
        sent_at=order.intended_at,
        expires_at=order.expires_at,
    )
