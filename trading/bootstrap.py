"""The composition root: configuration -> Desk. The only importer of adapters, and the only place that knows which
there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from threading import Lock
from zoneinfo import ZoneInfo

from django.conf import settings

from trading.adapters.demo_guardian import DemoGuardian, DemoLimits
from trading.adapters.demo_scout import DemoScout
from trading.adapters.guardian import GuardianClient
from trading.adapters.paper import PaperVenue
from trading.adapters.paper_market import PaperMarket
from trading.adapters.scout import ScoutClient
from trading.adapters.system import SystemClock
from trading.conf import Config
from trading.domain.desk_state import Binding
from trading.domain.units import Ratio, Usd
from trading.engine.desk import Desk
from trading.ports import Approver, Clock, Log, SignalSource
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore
from trading.utils.logger import ActivityLog
from trading.utils.redis_cache import RedisCache

LOG_FILE = "agent_logs.json"
PAPER_ACCOUNT_FILE = "paper_account.json"

_lock = Lock()
_installed: list[Desk] = []


def get_desk() -> Desk:
    """The process's desk, built at first use. Raises StoreCorrupt when DATA_DIR cannot be trusted; the next call
    tries anew."""
    with _lock:
        if not _installed:
            _installed.append(build_desk(settings.DESK_CONFIG))
        return _installed[-1]


@contextmanager
def use_desk(desk: Desk) -> Iterator[Desk]:
    """Serve *desk* instead of the process's own while the context lasts."""
    with _lock:
        _installed.append(desk)
    try:
        yield desk
    finally:
        with _lock:
            _installed.remove(desk)


def build_desk(config: Config, clock: Clock | None = None) -> Desk:
    """A desk over *config*: the paper venue, the JSON store, and Scout and Guardian or their demo stand-ins.

    Raises StoreCorrupt for files that cannot be trusted and InvalidRequest for URLs that are none.
    """
    clock = clock or SystemClock()
    market = PaperMarket(config.paper_seed)
    binding = Binding(venue="paper", network="paper", account=f"paper:{config.paper_seed}")
    store = JsonStore(config.data_dir, binding)
    cache = RedisCache(config.redis_url, clock)
    log = ActivityLog(config.data_dir / LOG_FILE, cache, clock)
    for word in store.mended:
        log.write("warning", f"the ledger was mended: {word}")
    venue = PaperVenue(market, Journal(config.data_dir / PAPER_ACCOUNT_FILE), clock, Usd(config.paper_equity_usd))
    return Desk(
        config=config,
        venue=venue,
        store=store,
        cache=cache,
        signals=_signals(config, market, clock, log),
        approvals=_approvals(config, clock),
        log=log,
        clock=clock,
    )


def _signals(config: Config, market: PaperMarket, clock: Clock, log: Log) -> SignalSource:
    if config.scout_url is None:
        return DemoScout(market, clock)
    return ScoutClient(config.scout_url, config.agent_timeout_seconds, ZoneInfo(config.scout_timezone), clock, log)


def _approvals(config: Config, clock: Clock) -> Approver:
    if config.guardian_url is None:
        limits = DemoLimits(
            positions_max=config.max_positions,
            allocation_max=Ratio(Decimal(config.max_allocation)),
            leverage_max=config.max_leverage,
            portfolio_min=Usd(config.min_portfolio_usd),
        )
        return DemoGuardian(limits, clock)
    return GuardianClient(config.guardian_url, config.guardian_timeout_seconds, clock)
