"""How well trades were executed, from the ledger alone: cost against arrival, slices against their benchmark, exposure
that stood unmatched, and where the time went.

The law: what was not filled costs nothing here, for nobody knows what it would have made; a figure that the ledger does
not hold is None, and is left out of every sum and percentile.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from trading.domain.exit_plan import ExitReason
from trading.domain.naked import naked_now
from trading.domain.trades import (
    TRANSITIONS,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    Trade,
    TradeStatus,
)
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, TradeId
from trading.engine.accounting import BASIS_POINTS, since_of
from trading.engine.desk import Desk
from trading.engine.holdings import Fill, back_to, fills_of

ROWS_MAX = 1000
GROUPS_MAX = 500
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class TradeQuality:
    """One trade. Costs in USD are positive when paid or worse than arrival; `_bps` are of what was filled, at arrival
    prices.

    `turnover` is what was filled, `arrival_usd` the same at arrival prices; `shortfall` is slippage against arrival
    plus fees; `twap_slippage_bps` compares the slices' fills with the plain average of the mids at the slices'
    instants. `funding` is the whole position's and stands with its opening.
    """

    trade_id: TradeId
    position_id: PositionId
    pair: str
    effect: str
    execution: str
    status: str
    exit_reason: ExitReason | None
    accepted_at: datetime
    ended_at: datetime | None
    turnover: Decimal
    arrival_usd: Decimal
    slippage_usd: Decimal
    slippage_bps: Decimal | None
    fees: Decimal
    funding: Decimal
    shortfall_usd: Decimal
    shortfall_bps: Decimal | None
    twap_slippage_bps: Decimal | None
    naked_max_usd: Decimal
    naked_usd_seconds: Decimal
    repairs: int
    repair_cost_usd: Decimal
    orders: int
    seconds: Decimal
    seconds_pending: Decimal
    seconds_working: Decimal
    seconds_repairing: Decimal
    seconds_suspended: Decimal


@dataclass(frozen=True, slots=True)
class Spread:
    """The nearest-rank percentiles of a figure over some trades; None without one."""

    p50: Decimal | None
    p90: Decimal | None
    p99: Decimal | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Some trades together: `of` is all, a pair, or a UTC day of acceptance."""

    of: str
    trades: int
    turnover: Decimal
    slippage_usd: Decimal
    fees: Decimal
    funding: Decimal
    shortfall_usd: Decimal
    shortfall_bps: Decimal | None
    naked_usd_seconds: Decimal
    repairs: int
    repair_cost_usd: Decimal
    shortfall_bps_spread: Spread
    twap_slippage_bps_spread: Spread
    seconds_spread: Spread
    naked_usd_seconds_spread: Spread


@dataclass(frozen=True, slots=True)
class Analytics:
    """Trades accepted since `since`, newest first and at most a thousand of them; the sums are over all."""

    since: datetime
    total: Summary
    pairs: tuple[Summary, ...]
    days: tuple[Summary, ...]
    trades: tuple[TradeQuality, ...]


def analytics(desk: Desk, days: int) -> Analytics:
    """Everything accepted in the last *days*, today counted. Raises InvalidRequest naming `days`, StoreCorrupt."""
    now = desk.clock.now()
    since = since_of(now, days)
    rows = sorted(_rows(desk, since, now), key=lambda row: (row.accepted_at, row.trade_id), reverse=True)
    return Analytics(
        since=since,
        total=_summary("all", rows),
        pairs=_grouped(rows, lambda row: row.pair),
        days=_grouped(rows, lambda row: str(_day(row.accepted_at))),
        trades=tuple(rows[:ROWS_MAX]),
    )


def quality_of(trade: Trade, now: datetime, funding: Decimal = ZERO) -> TradeQuality:
    """*trade* as it stands at *now*; *funding* is what its position has paid."""
    fills, terms, naked = fills_of(trade), trade.terms, naked_now(trade, now)
    slippage = sum((_slippage(fill) for fill in fills), ZERO)
    arrival = sum((fill.quantity * fill.arrival_price for fill in fills), ZERO)
    times = _times(trade, now)
    repairs = _repair_orders(trade)
    fees = Decimal(trade.fees)
    return TradeQuality(
        trade_id=trade.id,
        position_id=terms.position_id,
        pair=str(terms.pair),
        effect=terms.effect,
        execution="twap" if terms.slice_interval_seconds else "market",
        status=trade.status,
        exit_reason=trade.exit_reason,
        accepted_at=terms.accepted_at,
        ended_at=trade.ended_at,
        turnover=sum((fill.notional for fill in fills), ZERO),
        arrival_usd=arrival,
        slippage_usd=slippage,
        slippage_bps=_bps(slippage, arrival),
        fees=fees,
        funding=funding if trade.opens else ZERO,
        shortfall_usd=slippage + fees,
        shortfall_bps=_bps(slippage + fees, arrival),
        twap_slippage_bps=_against_slices(trade, fills, repairs),
        naked_max_usd=naked.max,
        naked_usd_seconds=naked.usd_seconds,
        repairs=sum(isinstance(event, LegsUnbalanced) for event in trade.events),
        repair_cost_usd=sum((_slippage(one) + one.fees for one in fills if one.client_order_id in repairs), ZERO),
        orders=len(trade.orders),
        seconds=sum(times.values(), ZERO),
        seconds_pending=times.get(TradeStatus.PENDING, ZERO),
        seconds_working=times.get(TradeStatus.WORKING, ZERO),
        seconds_repairing=times.get(TradeStatus.REPAIRING, ZERO),
        seconds_suspended=times.get(TradeStatus.SUSPENDED, ZERO),
    )


def _rows(desk: Desk, since: datetime, now: datetime) -> Iterable[TradeQuality]:
    book = desk.store.book()
    for position in back_to(book, since):
        if position.exited_at is not None and position.exited_at < since:
            continue
        for trade in book.trades_of_position(position.id):
            if trade.terms.accepted_at >= since:
                yield quality_of(trade, now, position.funding)


def _slippage(fill: Fill) -> Decimal:
    """USD worse than arrival."""
    return (fill.notional - fill.quantity * fill.arrival_price) * fill.side.sign


def _bps(amount: Decimal, arrival: Decimal) -> Decimal | None:
    return amount / arrival * BASIS_POINTS if arrival else None


def _times(trade: Trade, now: datetime) -> Mapping[TradeStatus, Decimal]:
    """Seconds in each status, until the end or *now*."""
    times: dict[TradeStatus, Decimal] = {}
    status, since = TradeStatus.PENDING, trade.events[0].at
    for event in trade.events[1:]:
        _add(times, status, since, event.at)
        status, since = TRANSITIONS[status][type(event)], event.at
        if not status.live:
            return times
    _add(times, status, since, max(now, since))
    return times


def _add(times: dict[TradeStatus, Decimal], status: TradeStatus, since: datetime, until: datetime) -> None:
    times[status] = times.get(status, ZERO) + Decimal(str((until - since).total_seconds()))


def _repair_orders(trade: Trade) -> frozenset[ClientOrderId]:
    """The orders that were sent to level the legs."""
    found: set[ClientOrderId] = set()
    repairing = False
    for event in trade.events:
        if isinstance(event, LegsUnbalanced | LegsBalanced):
            repairing = isinstance(event, LegsUnbalanced)
        elif repairing and isinstance(event, OrdersIntended):
            found.update(order.client_order_id for order in event.orders)
    return frozenset(found)


def _against_slices(trade: Trade, fills: Sequence[Fill], repairs: frozenset[ClientOrderId]) -> Decimal | None:
    """Basis points that the slices' fills were worse than the plain average of the mids at their instants; None for a
    trade without slices and for orders that were stored without their mid."""
    if len(trade.terms.slices) < 2:
        return None
    mids: dict[Coin, dict[int, Decimal]] = {}
    for order in trade.orders:
        if order.client_order_id not in repairs and order.mid is not None:
            mids.setdefault(order.coin, {}).setdefault(order.slice_number, order.mid)
    cost = benchmark = ZERO
    for fill in fills:
        known = mids.get(fill.coin)
        if fill.client_order_id in repairs or not known or not fill.quantity:
            continue
        average = sum(known.values(), ZERO) / len(known)
        cost += (fill.notional - fill.quantity * average) * fill.side.sign
        benchmark += fill.quantity * average
    return _bps(cost, benchmark)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _grouped(rows: Sequence[TradeQuality], key: Callable[[TradeQuality], str]) -> tuple[Summary, ...]:
    """One summary a group, in the order of the newest trade of each."""
    groups: dict[str, list[TradeQuality]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return tuple(_summary(name, group) for name, group in list(groups.items())[:GROUPS_MAX])


def _summary(of: str, rows: Sequence[TradeQuality]) -> Summary:
    shortfall = sum((row.shortfall_usd for row in rows), ZERO)
    return Summary(
        of=of,
        trades=len(rows),
        turnover=sum((row.turnover for row in rows), ZERO),
        slippage_usd=sum((row.slippage_usd for row in rows), ZERO),
        fees=sum((row.fees for row in rows), ZERO),
        funding=sum((row.funding for row in rows), ZERO),
        shortfall_usd=shortfall,
        shortfall_bps=_bps(shortfall, sum((row.arrival_usd for row in rows), ZERO)),
        naked_usd_seconds=sum((row.naked_usd_seconds for row in rows), ZERO),
        repairs=sum(row.repairs for row in rows),
        repair_cost_usd=sum((row.repair_cost_usd for row in rows), ZERO),
        shortfall_bps_spread=_spread(row.shortfall_bps for row in rows),
        twap_slippage_bps_spread=_spread(row.twap_slippage_bps for row in rows),
        seconds_spread=_spread(row.seconds for row in rows),
        naked_usd_seconds_spread=_spread(row.naked_usd_seconds for row in rows),
    )


def _spread(figures: Iterable[Decimal | None]) -> Spread:
    known = sorted(one for one in figures if one is not None)
    return Spread(*(percentile(known, share) for share in PERCENTILES))


def percentile(figures: Sequence[Decimal], share: int) -> Decimal | None:
    """The nearest-rank percentile of sorted *figures*: the least that *share* percent of them do not exceed."""
    return figures[max(-(-len(figures) * share // 100), 1) - 1] if figures else None
