"""GET /metrics: the desk in Prometheus' words, web process and monitor together.

The law: what the ledger, the desk's state or the venue know is read from there at each scrape, and only what no file
knows comes from the meters of the processes. What is unknown now has no sample; a scrape never fails for a part of it.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from trading.bootstrap import alerts_waiting
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import DeskError
from trading.domain.positions import PositionStatus
from trading.domain.units import DOLLAR
from trading.engine import health, queries
from trading.engine.connections import prices_heard_at
from trading.engine.desk import Desk
from trading.engine.health import Health
from trading.engine.patience import patient
from trading.engine.queries import Portfolio
from trading.engine.tally import Counts, Tally
from trading.ports import Clock
from trading.serializers import PAGE_MAX
from trading.utils import meters
from trading.utils.risk_controls import Headroom

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STANDING = (PositionStatus.OPENING, PositionStatus.OPEN, PositionStatus.CLOSING)
STATUSES = ("healthy", "degraded", "unhealthy")

# name of the sum in the tally -> name of the metric, what it counts, its labels
COUNTERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "orders": ("executor_orders", "Orders by how they ended.", ("effect", "status")),
    "fills": ("executor_fills", "Fills.", ("effect",)),
    "turnover": ("executor_turnover_usd", "USD exchanged in fills.", ("effect",)),
    "fees": ("executor_fees_usd", "USD of fees paid.", ()),
    "repairs": ("executor_repairs", "Times that one leg ran ahead and had to be levelled.", ("effect",)),
    "doubts": ("executor_unknown_answers", "Answers of the venue that left an order in doubt.", ("effect",)),
    "naked": ("executor_naked_usd_seconds", "USD of unmatched notional times the seconds it stood.", ()),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "executor_info": ("What runs here.", ("version", "venue", "demo_mode")),
    "executor_health": ("1 for the status that health has.", ("status",)),
    "executor_redis_connected": ("1 while Redis answers.", ()),
    "executor_trading_state": ("1 for the state that the desk is in.", ("state",)),
    "executor_cause": ("1 for each cause that keeps the desk from opening.", ("cause",)),
    "executor_trades": ("Trades by how they ended; LIVE for those that have not.", ("effect", "status")),
    "executor_slippage_usd": ("USD that fills cost against arrival; negative is better than arrival.", ("effect",)),
    "executor_monitor_alive": ("1 while a monitor holds its seat and beats.", ()),
    "executor_monitor_beat_age_seconds": ("Since the monitor's last sign of life.", ()),
    "executor_price_age_seconds": ("Age of the oldest price that a standing position is marked to.", ()),
    "executor_stream_age_seconds": ("Since the venue's prices were confirmed last, also with nothing standing.", ()),
    "executor_orders_in_doubt": ("Orders of which nobody knows how they ended.", ()),
    "executor_doubt_age_seconds": ("Since the oldest order in doubt was sent.", ()),
    "executor_naked_usd": ("USD of unmatched notional now.", ()),
    "executor_positions": ("Positions that stand, by status.", ("status",)),
    "executor_positions_unpriced": ("Positions that stand without a price that an exit may rest on.", ()),
    "executor_equity_usd": ("The account's equity.", ()),
    "executor_margin_used_usd": ("Margin used.", ()),
    "executor_gross_exposure_usd": ("Long and short notional together.", ()),
    "executor_realized_pnl_usd": ("Realized since ever, before fees and funding.", ()),
    "executor_unrealized_pnl_usd": ("Of what stands, marked to mid.", ()),
    "executor_paid_fees_usd": ("Fees since ever, the archive included.", ()),
    "executor_paid_funding_usd": ("Funding paid since ever; negative is received.", ()),
    "executor_today_pnl_usd": ("Change of equity since UTC midnight.", ()),
    "executor_limit": ("A limit.", ("limit",)),
    "executor_limit_used_ratio": ("What of a limit is used: 1 is all of it.", ("limit",)),
    "executor_alerts_waiting": ("Alerts that no target has taken yet.", ()),
    "executor_disk_free_bytes": ("Room on the disk of DATA_DIR.", ()),
}
NAMES = frozenset(
    {
        *GAUGES,
        *(f"{name}_total" for name, _, _ in COUNTERS.values()),
        "executor_http_requests_total",
        "executor_call_failures_total",
        *(
            f"{name}_{part}"
            for name in ("executor_http_request_seconds", "executor_call_seconds")
            for part in ("bucket", "count", "sum")
        ),
    }
)
"""Every name that may be asked for: dashboards and alert rules are checked against it."""

_tallies: WeakKeyDictionary[Clock, Tally] = WeakKeyDictionary()


def exposition(desk: Desk, version: str) -> bytes:
    """Everything as text. Never raises for a part that cannot be read now, nor waits for it for long: Prometheus gives
    all of it ten seconds, and would take the service for gone."""
    registry = CollectorRegistry()
    registry.register(_Collected(tuple(_families(patient(desk), version))))
    return generate_latest(registry)


class _Collected:
    """A collector of what has been collected already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(desk: Desk, version: str) -> Iterator[Metric]:
    samples: dict[str, list[tuple[tuple[str, ...], float]]] = {}

    def put(name: str, value: Decimal | float | None, *labels: str) -> None:
        if value is not None:
            samples.setdefault(name, []).append((labels, float(value)))

    parts: tuple[Callable[[], None], ...] = (
        lambda: _put_health(put, health.health(desk, version)),
        lambda: _put_work(put, desk),
        lambda: _put_portfolio(put, queries.portfolio(desk, None)),
        lambda: _put_machine(put, desk),
        lambda: put("executor_stream_age_seconds", _age_if_any(prices_heard_at(desk), desk.clock.now())),
    )
    for part in parts:
        try:
            part()
        except (DeskError, OSError):
            continue  # What cannot be read has no sample, and health says why.
    sums = _sums(desk)
    for key, value in (sums or {}).items():
        if key[0] in ("trades", "slippage"):
            put("executor_trades" if key[0] == "trades" else "executor_slippage_usd", value, *key[1:])
    for name, (says, labels) in GAUGES.items():
        gauge = GaugeMetricFamily(name, says, labels=labels)
        for values, number in samples.get(name, ()):
            gauge.add_metric(values, number)
        yield gauge
    yield from _counters(sums)
    yield from _joined(meters.of_this_process("web"), meters.of_another(desk.config.data_dir, "monitor", desk.clock))


def _sums(desk: Desk) -> Counts | None:
    """What the ledger adds up to; None while it cannot be read."""
    try:
        return _tallies.setdefault(desk.clock, Tally()).read(desk.store.book())
    except (DeskError, OSError):
        return None


def _counters(sums: Counts | None) -> Iterator[Metric]:
    """Without *sums* no samples: a nought would be a counter that began anew, and what it comes back to all new."""
    for key, (name, says, labels) in COUNTERS.items():
        counter = CounterMetricFamily(name, says, labels=labels)
        for (kind, *values), amount in (sums or {}).items():
            if kind == key:
                counter.add_metric(values, float(amount))
        if sums is not None and not labels and (key,) not in sums:
            counter.add_metric((), 0.0)
        yield counter


def _joined(*processes: Iterator[Metric]) -> Iterator[Metric]:
    """One family a name, with the samples of every process."""
    families: dict[str, Metric] = {}
    for process in processes:
        for family in process:
            known = families.setdefault(family.name, family)
            if known is not family:
                known.samples.extend(family.samples)
    yield from families.values()


Put = Callable[..., None]


def _put_health(put: Put, found: Health) -> None:
    put("executor_info", 1, found.version, found.venue, str(found.demo_mode).lower())
    for status in STATUSES:
        put("executor_health", found.status == status, status)
    put("executor_redis_connected", found.redis == "connected")
    put("executor_monitor_alive", found.monitor.alive)
    put("executor_monitor_beat_age_seconds", found.monitor.last_beat_seconds)
    for state in TradingState:
        put("executor_trading_state", found.trading_state is state, state.value)


def _put_work(put: Put, desk: Desk) -> None:
    book, now = desk.store.book(), desk.clock.now()
    causes = desk.store.state().causes
    for cause in Cause:
        put("executor_cause", cause in causes, cause.value)
    doubtful = [order for trade in book.live_trades() for order in trade.in_doubt]
    put("executor_orders_in_doubt", len(doubtful))
    put("executor_doubt_age_seconds", _age(min((one.intended_at for one in doubtful), default=now), now))
    standing = book.standing_positions()
    for status in STANDING:
        put("executor_positions", sum(one.status is status for one in standing), status.value)
    leverage = max((one.leverage for one in standing), default=0)
    put("executor_limit", desk.config.max_leverage, "max_leverage")
    put("executor_limit_used_ratio", leverage / desk.config.max_leverage, "max_leverage")


def _put_portfolio(put: Put, portfolio: Portfolio) -> None:
    put("executor_equity_usd", portfolio.equity)
    put("executor_margin_used_usd", portfolio.margin_used)
    put("executor_gross_exposure_usd", portfolio.gross_exposure)
    put("executor_realized_pnl_usd", portfolio.realized_pnl)
    put("executor_unrealized_pnl_usd", portfolio.unrealized_pnl)
    put("executor_paid_fees_usd", portfolio.fees)
    put("executor_paid_funding_usd", portfolio.funding)
    put("executor_today_pnl_usd", portfolio.today_pnl)
    put("executor_naked_usd", portfolio.naked_exposure)
    for one in portfolio.limits:
        put("executor_limit", one.limit, one.name)
        put("executor_limit_used_ratio", _used(one), one.name)
    put("executor_limit", portfolio.terms.max_daily_loss, "max_daily_loss")
    loss = portfolio.daily_loss
    put("executor_limit_used_ratio", None if loss is None else loss / portfolio.terms.max_daily_loss, "max_daily_loss")


def _put_machine(put: Put, desk: Desk) -> None:
    put("executor_alerts_waiting", alerts_waiting(desk))
    put("executor_disk_free_bytes", shutil.disk_usage(desk.config.data_dir).free)
    pages = [queries.positions(desk, status, PAGE_MAX, None)[0] for status in STANDING]
    # What was taken over only to be closed has one leg, and no mark of a pair.
    pairs = [one for page in pages for one in page if DOLLAR not in (one.long.coin, one.short.coin)]
    marked = [one.marked_at for one in pairs if one.marked_at is not None]
    put("executor_price_age_seconds", _age_if_any(min(marked, default=None), desk.clock.now()))
    put("executor_positions_unpriced", len(pairs) - len(marked))


def _used(limit: Headroom) -> Decimal | None:
    """The used share of a limit, of an upper one as of a lower one; None where that means nothing."""
    upper = limit.left == limit.limit - limit.actual
    part, whole = (limit.actual, limit.limit) if upper else (limit.limit, limit.actual)
    return part / whole if whole > 0 else None


def _age_if_any(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else _age(since, now)


def _age(since: datetime, now: datetime) -> float:
    return max((now - since).total_seconds(), 0.0)
