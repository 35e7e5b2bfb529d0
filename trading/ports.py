"""What the engine needs from the world, as Protocols. Adapters promise to raise domain errors only."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from trading.domain.book import Book
from trading.domain.desk_state import DeskState
from trading.domain.exit_plan import TrailingStop
from trading.domain.market import (
    Account,
    Candle,
    CandleInterval,
    Depth,
    FundingPayment,
    Instrument,
    Pair,
    Quote,
    Traits,
)
from trading.domain.orders import Order, OrderReport
from trading.domain.positions import Watch
from trading.domain.resting import AccountFill, ListedOrder, PairLine, RestingOrder, RestingReport
from trading.domain.signals import Approval, Signal
from trading.domain.trades import Trade
from trading.domain.units import ClientOrderId, Coin, PositionId, TradeId, Usd

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean anything."""

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Ticks:
    """The coins of which news has come in, and the number to ask for later ones with."""

    number: int
    coins: frozenset[Coin]


class Venue(Protocol):
    """An exchange account. Reads raise VenueUnavailable; `submit` never raises once a byte may have left."""

    @property
    def name(self) -> str: ...

    @property
    def network(self) -> str: ...

    @property
    def account_id(self) -> str: ...

    @property
    def traits(self) -> Traits: ...

    def instruments(self) -> Mapping[Coin, Instrument]:
        """Everything listed, delisted coins included and marked."""

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        """The latest quote of each coin, which may be old and tells how old; a coin without one is left out, never made
        up."""

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        """The order book of each coin; a coin without one is left out."""

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        """Come back with those of *coins* whose price has come in after *since* (0 at first), as soon as one has; with
        none of them after *seconds*. A venue that does not stream lets the time pass. Raises nothing."""

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        """The bars of *coin* that began in [start, end], oldest first, of mids or of trades; none that was made up."""

    def account(self) -> Account: ...

    def require_room(self) -> None:
        """Raises VenueUnavailable when an opening could not be sent now for a reason known here, such as a spent
        request budget. Asked before Guardian is, whose approval would be used up for nothing."""

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        """Cross leverage of *coin* for what is opened next. Raises VenueRejected when refused, VenueUnavailable in
        doubt."""

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """Send all *orders* as one group; one report each, in order. What is unclear is UNKNOWN. Never retried."""

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        """The venue's present word on *orders*, one report each. ABSENT only when it is proven that one can no longer
        land."""

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        """The hourly payments of *coins* with since < paid_at <= until, oldest first."""

    def transferred(self, since: datetime) -> Usd:
        """What came into the account after *since* by no trade and no funding, less what left it: deposits,
        withdrawals, moves between accounts."""

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        """Let *orders* rest, sent as one group that cannot land after *expires_at*; one report each, in order.

        Never raises and never retries; an id that was sent before is not sent again. A venue that rests no orders
        (see Traits) rejects them all.
        """

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        """Take *orders* back. When the venue says that none of them is there any more, those that were until now; None
        is a doubt. Never raises.

        One that was not there is done, whatever became of it: it has fired, was taken back before, or never came. One
        that is still on its way may come to rest later.
        """

    def resting(self) -> tuple[ListedOrder, ...]:
        """Every order that the account has at the venue at this moment, whoever placed it."""

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        """Let the venue close these pairs by itself where each line says, instead of where it was told before.

        True when all of them stand. Never raises: False is a doubt, and saying it again does no harm. A venue that
        keeps no pairs (see Traits) draws none.
        """

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """Every fill of the account at or after *since*, oldest first, whoever caused it. A venue that does not tell
        them (see Traits) raises VenueUnavailable."""


class SignalSource(Protocol):
    """Scout. Raises ScoutUnavailable."""

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        """Raises SignalNotFound. *pair* is a hint that only the demo stand-in uses, for ids it has not offered."""

    def recent(self) -> tuple[Signal, ...]:
        """What is on offer, newest first; malformed entries are left out and logged."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What Guardian is asked to approve. Money in USD; `margin_usage`, `liquidation_distance` and `btc_volatility` (of
    a day) in percent; `further_exits` are the barriers beside the plain ones, by their names in the API."""

    trade_id: TradeId
    signal: Signal
    long_coin: Coin
    short_coin: Coin
    position_size: Usd
    leverage: int
    execution: str
    take_profit: Decimal
    stop_loss: Decimal
    expires_at: datetime
    total_value: Usd
    available_margin: Usd
    margin_usage: Decimal
    num_positions: int
    liquidation_distance: Decimal
    btc_volatility: Decimal | None
    trend: str | None
    trailing: TrailingStop | None = None
    max_holding_seconds: int | None = None
    further_exits: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an approved trade ended: `pnl` as a fraction of entry gross notional, prices as ratios of the pair."""

    approval_id: str
    pnl: Decimal
    entry_ratio: Decimal
    exit_ratio: Decimal


class Approver(Protocol):
    """Guardian. Asked once, never retried."""

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        """Raises GuardianUnavailable for no answer and for an answer that is malformed, too late or meant for another
        trade."""

    def report_outcome(self, outcome: Outcome) -> None:
        """Raises GuardianUnavailable when it should be tried again; an unknown approval is final and returns."""


class Store(Protocol):
    """The ledger and the book, shared with other processes. Raises StoreCorrupt when a file cannot be trusted or
    written."""

    def book(self) -> Book:
        """The book, caught up with what every process has written."""

    def save(self, trade: Trade, *, durable: bool = True) -> Trade:
        """Append the events of *trade* that are not stored yet, synced, and return it as stored.

        Not *durable*: synced with the next event that is, by whomever, or by `make_sure`. For what nothing is sent or
        answered upon before: a machine that dies first has neither.

        Events that others appended meanwhile (CancelWanted, CloseHurried, LegLost) are kept: the new ones are recorded
        after them. Raises InvariantBroken when they cannot follow, and PositionNotFound for a new close of a position
        that is not there.
        """

    def make_sure(self) -> None:
        """Sync what this process has saved without. Costs nothing when there is nothing."""

    def save_watch(self, watch: Watch) -> None:
        """Synced."""

    def state(self) -> DeskState:
        """The durable desk state, re-read when another process has changed it."""

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        """Read, change and write the desk state, synced, excluding every other writer for that moment only."""

    @property
    def broken(self) -> Mapping[TradeId, str]:
        """Trades whose journal does not fold, each with the reason and the place. They are not in the book."""

    @property
    def broken_coins(self) -> frozenset[Coin]:
        """The coins that those have traded, as far as any line still says so, in positions that had not ended."""

    def exclusive(self) -> AbstractContextManager[Book]:
        """The book lock: held while limits are re-checked and a trade is accepted. Raises Busy after its time-out."""

    def seat(self, trade_id: TradeId | PositionId, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
        """The right to work one trade, freed by the system when the process dies. Raises Busy."""

    def monitor_seat(self) -> AbstractContextManager[None]:
        """The right to be the monitor, freed by the system when the process dies. Raises Busy."""

    def beat(self, at: datetime, problems: Sequence[str] = (), *, compared: bool = True) -> None:
        """The monitor's sign of life, on disk: whether it has compared the book with the venue since it began, and what
        it cannot do just now, in words."""

    def last_beat(self) -> datetime | None:
        """When the monitor that holds its lock last beat; None without one."""

    def compared(self) -> bool:
        """Whether who beat last had compared the book with the venue. Whether it still lives `last_beat` tells."""

    def problems(self) -> tuple[str, ...]:
        """What was said with the last beat that the monitor cannot do. Whether it still lives `last_beat` tells."""

    @property
    def trouble(self) -> str:
        """Why this store only shows what it could still read and takes nothing in; empty while it is sound."""

    @property
    def held(self) -> str:
        """Who holds what and does not let go, so that nothing can be written, in words; empty where nobody does. Waits
        some seconds for it."""

    def salvaged(self, why: str) -> "Store":
        """What anybody can still read of the same files who trusts none of them: a store with *why* as its trouble."""

    @property
    def complete(self) -> bool:
        """Whether all of the ledger could be read: what no trade of the book has, nor any that is broken, is not the
        desk's."""

    def left(self) -> frozenset[PositionId]:
        """The positions that the rescue file says were left without a ledger, by whatever process: read anew."""

    def rescued(self) -> tuple[Order, ...]:
        """The orders that the rescue file says were sent without a ledger, by whatever process: read anew."""

    def rescue_ends(self) -> Mapping[ClientOrderId, OrderReport]:
        """How those have ended, as far as whoever sent them was told and wrote it there."""

    @property
    def stop_cut_off(self) -> bool:
        """Whether an emergency stop was under way when such a store was found: no state tells of it any more."""

    def roll_over(self, now: datetime) -> int:
        """Move what ended more than a day ago out of the way of the work, and return how many positions that were.

        The book still finds it by every name, for ever. Others may work meanwhile. Takes seconds for thousands: once an
        hour is enough, unless what is in memory is `outgrown`: then all that has ended is moved, however young.
        """

    @property
    def outgrown(self) -> bool:
        """Whether more is in memory than is meant to be: a roll-over is due now. Costs nothing."""

    @property
    def writable(self) -> bool:
        """Whether the system lets anybody write here now: a file system that has met an error may be read-only since.
        Costs two system calls."""

    @property
    def disk_full(self) -> bool:
        """Whether there was no room left and the reserve was given up: nothing can be opened, closing goes on."""

    def restore_reserve(self) -> bool:
        """Try to take the reserve back; True when it is there."""

    def rescue(self, record: Mapping[str, Json]) -> bool:
        """Journal *record* outside of a ledger that cannot be used, and say it on stderr; True when it is on disk.

        Never raises: for an emergency stop that goes on without a store.
        """


class Cache(Protocol):
    """Impressions that may vanish. Never raises: a failure is a miss."""

    @property
    def connected(self) -> bool: ...

    def put(self, key: str, value: Json, ttl_seconds: float) -> None: ...

    def put_many(self, values: Mapping[str, Json], ttl_seconds: float) -> None: ...

    def get_many(self, keys: Sequence[str]) -> Mapping[str, Json]:
        """The values that are there."""

    def push_many(self, values: Mapping[str, Json], keep: int, ttl_seconds: float) -> None:
        """Put each value at the head of the list of its key, of which the newest *keep* stay."""

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        """The newest *limit* values of the list *key*, newest first."""


class Log(Protocol):
    """The activity log. Never raises."""

    def write(self, kind: str, message: str, **facts: object) -> None:
        """*kind* is info, success, warning or error; *facts* become the entry's data, secrets masked."""

    def tail(self, limit: int) -> tuple[Mapping[str, Json], ...]:
        """The newest *limit* entries, newest first."""


class Errand(Protocol):
    """A job under way, as a thread is one."""

    def is_alive(self) -> bool: ...

    def join(self, timeout: float | None = None) -> None:
        """Come back when it is done or *timeout* seconds have passed."""


Job = Callable[[], None]
Begin = Callable[[str, Job], Errand]
"""How a process does several things at once: begins a job under a name and comes back at once."""
