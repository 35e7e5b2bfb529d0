"""The composition root: configuration -> Desk. The only importer of adapters, and the only place that knows which
there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings

from trading.adapters.account_file import AccountFile
from trading.adapters.demo_guardian import DemoGuardian, DemoLimits
from trading.adapters.demo_scout import DemoScout
from trading.adapters.guardian import GuardianClient
from trading.adapters.hyperliquid_api import network_of
from trading.adapters.outbox_file import OutboxFile
from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_stage import ScriptFile, StagedMarket, StagedVenue
from trading.adapters.scout import ScoutClient
from trading.adapters.system import SystemClock
from trading.adapters.watched import WatchedApprover, WatchedSignals
from trading.conf import Config, ConfigurationError
from trading.domain.desk_state import Binding
from trading.domain.errors import InvalidRequest, NotFound, StoreCorrupt, StoreHeld, VenueUnavailable
from trading.domain.units import Ratio, Usd
from trading.engine.courier import Courier, Notifier
from trading.engine.desk import Desk
from trading.engine.hearing import HeardApprover, HeardSignals, Hearing
from trading.ports import Approver, Clock, Log, SignalSource
from trading.utils import meters
from trading.utils.journal import Journal
from trading.utils.json_storage import STATE, JsonStore
from trading.utils.late_tail import LateTail
from trading.utils.logger import ActivityLog
from trading.utils.redis_cache import RedisCache
from trading.utils.takeover import VENUE, finish

if TYPE_CHECKING:
    from trading.adapters.hyperliquid import HyperliquidVenue
    from trading.adapters.hyperliquid_readiness import Finding
    from trading.adapters.pear import PearVenue

LOG_FILE = "agent_logs.json"
PAPER_ACCOUNT_FILE = "paper_account.json"

_lock = Lock()
_installed: list[Desk] = []


class Diagnosis(NamedTuple):
    """One row of the doctor's table: verdict ok, warning or error; `remedy` is empty when all is well."""

    name: str
    verdict: str
    words: str
    remedy: str = ""


def get_desk() -> Desk:
    """The process's desk, built at first use; raises as `build_desk` does, and the next call tries anew."""
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


def build_desk(config: Config, clock: Clock | None = None, *, held: StoreHeld | None = None) -> Desk:
    """A desk over *config*: its venue, the JSON store, and Scout and Guardian or their demo stand-ins.

    Files that cannot be trusted make a desk that shows what can still be read, takes nothing in and stops in an
    emergency, until it is started on mended ones. So does a ledger that somebody *held* and did not let go of, but that
    its state can be written. Raises ConfigurationError for the folder of another account or a
    newer version, and for keys, accounts and URLs that do not belong together; StoreCorrupt for a folder that cannot
    be made. A live venue that cannot be asked now is no reason not to start: nothing opens until it can.
    """
    clock = clock or SystemClock()
    finished = _restore_finished(config)
    cache = RedisCache(config.redis_url, clock)
    log = ActivityLog(config.data_dir / LOG_FILE, LateTail(cache), clock)
    market = PaperMarket(config.paper_seed)
    with _blamed_on_configuration():
        venue = _paper(config, clock) if config.demo_mode else _live(config, clock, log)
        signals = WatchedSignals(_signals(config, market, clock, log), log)
        approvals = WatchedApprover(_approvals(config, clock), log)
    try:
        if held is None:
            store = JsonStore.open_or_halted(config.data_dir, _binding(config))
        else:
            store = JsonStore.open_held(config.data_dir, _binding(config), held)
    except StoreCorrupt as error:
        raise ConfigurationError((f"DATA_DIR: {error.detail}",)) from error
    if finished:
        log.write("warning", "a restore that was cut off was finished; look at the venue", event="RestoreFinished")
    if store.trouble:
        log.write("error", f"the desk is HALTED: {store.trouble}", code=StoreCorrupt.code, event="DeskHalted")
    for word in store.mended:
        log.write("warning", f"the ledger was mended: {word}", event="LedgerMended")
    venue = meters.measured(venue, "venue", meters.VENUE_CALLS, clock)
    store = meters.measured(store, "store", meters.STORE_CALLS, clock)
    hearing = Hearing()
    return Desk(
        config=config,
        venue=venue,
        store=store,
        cache=cache,
        signals=HeardSignals(signals, hearing, clock),
        approvals=HeardApprover(approvals, hearing, clock),
        log=log,
        clock=clock,
        accounts=AccountFile(config.data_dir),
        hearing=hearing,
    )


def _restore_finished(config: Config) -> bool:
    """Before anything is read or made there. Raises ConfigurationError for a folder between two contents."""
    try:
        return finish(config.data_dir)
    except StoreCorrupt as error:
        if error.facts.get("refused"):
            raise ConfigurationError((f"DATA_DIR: {error.detail}",)) from error
        return False  # it cannot even be looked at: the store says so


def process_clock() -> Clock:
    """The clock of the desk that is served, or the system's while there is none. Builds nothing."""
    with _lock:
        return _installed[-1].clock if _installed else SystemClock()


def build_courier(desk: Desk) -> Courier | None:
    """Who carries this desk's alerts; None without ALERT_URLS.

    Raises ConfigurationError for an address that alerts cannot go to, and StoreCorrupt for a folder that cannot be
    made.
    """
    if not desk.config.alert_urls:
        return None
    notifier = _notifier(desk.config)
    return Courier(desk, OutboxFile(desk.config.data_dir), notifier, f"Executor Agent ({desk.venue.name})")


def alert_targets(config: Config) -> int:
    """How many targets alerts go to. Raises ConfigurationError for an address that they cannot go to."""
    return len(_notifier(config).targets) if config.alert_urls else 0


def _notifier(config: Config) -> Notifier:
    # Imported here: what knows eighty services takes a third of a second to load.
    from trading.adapters.notifier import AppriseNotifier

    with _blamed_on_configuration():
        return AppriseNotifier(config.alert_urls)


def alerts_waiting(desk: Desk) -> int | None:
    """How many alerts and messages no target has taken yet; None without ALERT_URLS. Raises StoreCorrupt."""
    if not desk.config.alert_urls:
        return None
    outbox = OutboxFile(desk.config.data_dir).load()
    return len(outbox.waiting) + len(outbox.messages)


def stage_of(desk: Desk) -> StagedVenue:
    """The paper venue of a demo, on which faults may be staged. Raises NotFound for any other desk."""
    if not desk.config.demo_mode or not isinstance(desk.venue, StagedVenue):
        raise NotFound("there is no stage: this is not a demo on the paper venue")
    return desk.venue


def diagnoses(config: Config, clock: Clock | None = None) -> tuple[Diagnosis, ...]:
    """What `manage.py doctor` asks of the venue. Raises ConfigurationError when it cannot even be put together."""
    if config.demo_mode:
        return (
            Diagnosis("venue", "ok", "the paper venue; no real order is possible"),
            Diagnosis("venue clock", "ok", "the paper venue goes by the clock of this machine"),
        )
    clock = clock or SystemClock()
    log = ActivityLog(config.data_dir / LOG_FILE, LateTail(RedisCache(config.redis_url, clock)), clock)
    with _blamed_on_configuration():
        venue = _opened(config, clock, log)
    try:
        return tuple(Diagnosis(one.name, one.verdict, one.words, one.remedy) for one in _findings(venue, clock))
    finally:
        venue.close()


def redis_answers(config: Config) -> bool:
    """Does the configured Redis answer a ping."""
    cache = RedisCache(config.redis_url, SystemClock())
    try:
        return cache.connected
    finally:
        cache.close()


def scout_offers(config: Config) -> str:
    """What Scout offers now, in words. Raises ScoutUnavailable; ConfigurationError for a URL that is none."""
    clock = SystemClock()
    log = ActivityLog(config.data_dir / LOG_FILE, LateTail(RedisCache(config.redis_url, clock)), clock)
    with _blamed_on_configuration():
        return f"offers {len(_signals(config, PaperMarket(config.paper_seed), clock, log).recent())} signal(s)"


def guardian_listens(config: Config) -> str:
    """That Guardian listens, in words; it is asked for nothing. Raises GuardianUnavailable; ConfigurationError."""
    with _blamed_on_configuration():
        client = GuardianClient(config.guardian_url or "", config.guardian_timeout_seconds, SystemClock())
    return f"listens (status {client.listens()})"


def monitor_beat(config: Config) -> datetime | None:
    """The last beat of the monitor of DATA_DIR; None without one. Raises StoreCorrupt."""
    state = config.data_dir / STATE
    try:
        if not state.exists():
            return None
    except OSError as error:
        raise StoreCorrupt(f"{state} cannot be read: {error.strerror}", file=str(state)) from error
    store = JsonStore(config.data_dir, _binding(config))
    try:
        return store.last_beat()
    finally:
        store.close()


def keystore_of(key: str, password: str) -> tuple[str, str]:
    """Address and encrypted keystore of a wallet's *key*. Raises InvalidRequest when it is none, without quoting it."""
    from trading.adapters.keys import keystore_of as encrypted

    return encrypted(key, password)


def pear_api_key(config: Config, name: str, key: str, password: str | None) -> str:
    """A new API key of Pear's, called *name*, for the account whose own wallet *key* is. Nothing of it is kept.

    Raises InvalidRequest for a key that is none, and VenueUnavailable when Pear refuses or does not answer.
    """
    from trading.adapters.keys import open_wallet
    from trading.adapters.pear_login import mint, signed_by

    wallet = open_wallet(key, password)
    return mint(config.pear_api_url, wallet.address, config.pear_client_id, name, SystemClock(), signed_by(wallet))


def _binding(config: Config) -> Binding:
    if config.demo_mode:
        return Binding("paper", "paper", f"paper:{config.paper_seed}")
    address = (config.hyperliquid_account_address or "").lower()
    return Binding(config.venue, network_of(config.hyperliquid_api_url), address)


def _paper(config: Config, clock: Clock) -> StagedVenue:
    script = ScriptFile(config.data_dir)
    market, journal = StagedMarket(config.paper_seed, script), Journal(config.data_dir / PAPER_ACCOUNT_FILE)
    return StagedVenue(market, journal, clock, Usd(config.paper_equity_usd), script)


def _live(config: Config, clock: Clock, log: Log) -> "HyperliquidVenue | PearVenue":
    """The venue, once everything that somebody would have to mend is known to be well."""
    from trading.adapters.hyperliquid_readiness import check_ready

    venue = _opened(config, clock, log)
    try:
        check_ready(_findings(venue, clock))
    except VenueUnavailable as error:
        log.write("warning", f"the venue is not ready at start: {error.detail}", event="VenueDown")
    except ConfigurationError:
        venue.close()
        raise
    return venue


def _findings(venue: "HyperliquidVenue | PearVenue", clock: Clock) -> "tuple[Finding, ...]":
    from trading.adapters import hyperliquid_readiness, pear_readiness
    from trading.adapters.pear import PearVenue

    if isinstance(venue, PearVenue):
        return pear_readiness.readiness(venue, clock)
    return hyperliquid_readiness.readiness(venue, clock)


def _opened(config: Config, clock: Clock, log: Log) -> "HyperliquidVenue | PearVenue":
    """Imported here, for what signs costs half a second to load, and a demo signs nothing."""
    from trading.adapters.hyperliquid import HyperliquidVenue
    from trading.adapters.keys import open_wallet
    from trading.adapters.pear import PearVenue

    key, password = config.hyperliquid_wallet_key, config.hyperliquid_keystore_password
    secret = key.get_secret_value() if key else ""
    wallet = open_wallet(secret, password.get_secret_value() if password else None) if key else None
    address = config.hyperliquid_account_address or ""
    shared_dir = config.venue_shared_dir or config.data_dir / VENUE
    if config.venue == "pear":
        return PearVenue.open(
            config.pear_api_url,
            config.pear_api_key.get_secret_value() if config.pear_api_key else "",
            config.pear_client_id,
            config.hyperliquid_api_url,
            address,
            config.venue_weight_per_minute,
            shared_dir,
            clock,
            log,
            wallet=wallet,
        )
    return HyperliquidVenue.open(
        config.hyperliquid_api_url,
        wallet or open_wallet(secret),
        address,
        config.venue_weight_per_minute,
        shared_dir,
        clock,
        log,
    )


@contextmanager
def _blamed_on_configuration() -> Iterator[None]:
    """What adapters say of a URL or a key is a mistake of the configuration, told like every other."""
    try:
        yield
    except InvalidRequest as error:
        raise ConfigurationError(tuple(f"{name}: {why}" for name, why in error.fields.items())) from None


def _signals(config: Config, market: PaperMarket, clock: Clock, log: Log) -> SignalSource:
    if config.scout_url is None:
        return DemoScout(market, clock)
    return ScoutClient(config.scout_url, config.agent_timeout_seconds, config.scout_tzinfo, clock, log)


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
