"""How the service is, in one look that never fails: what cannot be read is itself what is wrong.

The law: unhealthy is only what cannot be trusted or written; what the desk does about a danger, as opening nothing, is
told and is no illness.
"""

from dataclasses import dataclass, field
from datetime import datetime

from trading.conf import Config
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import Busy, StoreCorrupt
from trading.engine.desk import Desk
from trading.engine.recovery import overdue_closes
from trading.engine.states import live_beat

SERVICE = "executor_agent"
UNWRITABLE = "DATA_DIR cannot be written: nothing is opened, and what is left is closed by what the venue holds"
DISK_FULL = "the disk is full: nothing is opened until there is room, and closing goes on from a small reserve"
UNCOMPARED = "the monitor has not compared the book with the venue yet: nothing is opened until it has"
HELD = (
    "{}: a process of the service was stopped, or hangs; end it. Until then nothing can be written or opened, and what "
    "is left is closed by what the venue holds"
)
CACHELESS = "Redis does not answer; the service goes on without its cache"
UNWATCHED = "positions are open and no monitor is watching them"
UNPRICED = "positions are open and have had no price for a minute: no barrier of theirs can be seen to be reached"


@dataclass(frozen=True, slots=True)
class MonitorView:
    alive: bool
    last_beat_seconds: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """`status` is healthy, degraded or unhealthy; `problems` says why it is not healthy. `network` is whose money it
    is: paper, testnet, mainnet or local; None while no desk can be built."""

    status: str
    service: str
    redis: str
    demo_mode: bool
    venue: str
    network: str | None
    trading_state: TradingState | None
    monitor: MonitorView
    version: str
    problems: tuple[str, ...]


@dataclass
class _Look:
    """What a look has found so far; what it could not come to is as if it were well."""

    problems: list[str] = field(default_factory=list)
    corrupt: bool = False
    degraded: bool = False
    busy: bool = False
    state: DeskState | None = None
    standing: bool = False
    beat: datetime | None = None

    def tell(self, words: str) -> None:
        self.problems.append(words)

    def degrade(self, words: str) -> None:
        self.problems.append(words)
        self.degraded = True

    def fail(self, words: str) -> None:
        self.problems.append(words)
        self.corrupt = True

    @property
    def status(self) -> str:
        return "unhealthy" if self.corrupt else "degraded" if self.degraded else "healthy"


def health(desk: Desk, version: str) -> Health:
    """How the service is. Never raises: what cannot be read is a problem named."""
    look = _Look()
    try:
        _look_at_store(desk, look)
        _look_at_monitor(desk, look)
        held = desk.store.held
        if held:
            look.degrade(HELD.format(held))
    except StoreCorrupt as error:
        look.fail(error.detail)
    except OSError as error:
        look.fail(f"DATA_DIR cannot be looked at: {error.strerror}")
    except Busy as error:
        look.busy = True
        look.degrade(error.detail)
    redis = desk.cache.connected
    if not redis:
        look.degrade(CACHELESS)
    _conclude(look)
    return Health(
        status=look.status,
        service=SERVICE,
        redis="connected" if redis else "disconnected",
        demo_mode=desk.config.demo_mode,
        venue=desk.venue.name,
        network=desk.venue.network,
        trading_state=TradingState.HALTED if look.corrupt else look.state.state if look.state else None,
        monitor=MonitorView(look.beat is not None, _age(look.beat, desk.clock.now())),
        version=version,
        problems=tuple(look.problems),
    )


def without_desk(config: Config, version: str, error: StoreCorrupt) -> Health:
    """What is known when no desk could be built: why, and that nothing is being done."""
    return Health(
        status="unhealthy",
        service=SERVICE,
        redis="disconnected",
        demo_mode=config.demo_mode,
        venue="paper" if config.demo_mode else config.venue,
        network=None,
        trading_state=TradingState.HALTED,
        monitor=MonitorView(alive=False, last_beat_seconds=None),
        version=version,
        problems=(error.detail,),
    )


def _look_at_store(desk: Desk, look: _Look) -> None:
    """Can it be trusted and written, what does it say, and what is not done. Raises what reading it does."""
    store = desk.store
    if store.trouble:
        raise StoreCorrupt(store.trouble)
    if not store.writable:
        look.fail(UNWRITABLE)
    elif store.disk_full:
        look.degrade(DISK_FULL)
    look.state = store.state()
    book = store.book()
    look.standing = bool(book.standing_positions())
    for trade_id, why in store.broken.items():
        look.degrade(f"trade {trade_id} does not replay: {why}")
    for late in overdue_closes(book, desk.clock.now()):
        look.degrade(f"the close of {late.terms.pair} is overdue and goes on")


def _look_at_monitor(desk: Desk, look: _Look) -> None:
    """Is one at work, and what does it say. Raises what reading the store does."""
    look.beat = live_beat(desk)
    if look.beat is None:
        return
    for trouble in desk.store.problems():
        look.degrade(f"the monitor: {trouble}")
    if desk.config.require_monitor and not desk.store.compared():
        look.tell(UNCOMPARED)


def _conclude(look: _Look) -> None:
    """What follows of all that was seen together."""
    if look.standing and look.beat is None and not look.busy:
        look.degrade(UNWATCHED)
    if look.standing and look.state is not None and Cause.BLIND in look.state.causes:
        look.degrade(UNPRICED)
    if look.state is not None and look.state.state is not TradingState.ACTIVE:
        look.tell(f"the desk is {look.state.state}: {look.state.why}")


def _age(beat: datetime | None, now: datetime) -> float | None:
    return None if beat is None else max(round((now - beat).total_seconds(), 3), 0.0)
