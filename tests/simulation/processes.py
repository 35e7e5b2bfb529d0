"""A process of the desk in the simulated world: its ports, and its death at any call into one of them.

The law: what has left the process happens whether it lives to hear of it or not; what it did not sync may be lost with
the machine. Nothing here decides what goes wrong: the world does.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.nothing_rests import NothingRests
from tests.simulation.disk import SimulatedDisk
from tests.simulation.exchange import LISTED, STEP_SECONDS
from tests.simulation.tasks import Killed, Task
from trading.domain.desk_state import DeskState
from trading.domain.errors import (
    Busy,
    GuardianUnavailable,
    ScoutUnavailable,
    SignalNotFound,
    VenueRejected,
    VenueUnavailable,
)
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
from trading.domain.orders import Order, OrderReport, OrderStatus
from trading.domain.positions import Watch
from trading.domain.signals import Approval, Signal
from trading.domain.trades import Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Usd, hash_of
from trading.engine.desk import Desk
from trading.ports import Job, Json, Outcome, Proposal, Ticks
from trading.utils.disk import Stamp
from trading.utils.json_storage import JsonStore
from trading.utils.locks import ProcessLock, Seats

if TYPE_CHECKING:
    from tests.simulation.world import World

TRANSFER_LAGS = (0.0, 0.5, 1.5)
LATENCY = (0.005, 0.02, 0.08, 0.3)
SLOW = (1.0, 3.0, 8.0)
SKEW_MAX = timedelta(seconds=2)
MOMENT = 0.002
POLL = 0.05
TURN_SECONDS = 600.0


class Process:
    """One life of a process: a name, whether it lives, and the desk that it made of the disk."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self.asleep_until = 0.0
        """Until when those sleep who fell asleep with it, whoever woke it before."""
        self.desk: Desk | None = None
        self.quotes_of: dict[tuple[int, Coin], datetime] = {}
        """By the thread that read them: what another task has read meanwhile is nothing that an order was made from."""
        self.fills_unread_since: float | None = None
        """Since when it has asked for the account's fills in vain."""
        self.fills_failed: list[float] = []
        """When it has asked for them and was not answered."""
        self.transfers_unread_since: float | None = None
        self.disk = ProcessDisk(self, world.disk)

    def require_life(self) -> None:
        """Raises Killed in what is left of a dead process."""
        if not self.alive:
            raise Killed

    def at_risk(self, call: str) -> None:
        """A call begins or has had its effect: the process may die here."""
        self.require_life()
        world = self.world
        if world.stormy and world.random.random() < world.weather.crash:
            world.die(self, f"at {call}")
            raise Killed

    def wait(self, seconds: float) -> None:
        """Let simulated time pass while others work."""
        self.require_life()
        self.world.scheduler.sleep(seconds)

    def moment(self, call: str) -> None:
        """A call that takes next to no time, before which others may get their turn."""
        self.at_risk(call)
        self.wait(MOMENT * self.world.random.random())

    def begin(self, name: str, job: Job) -> Task:
        """The hands of this process: see Desk.begin."""
        self.require_life()
        return self.world.scheduler.spawn(self, name, job)

    def venue(self) -> "SimulatedVenue":
        """The way to the exchange, of the kind that it is in this run."""
        from tests.simulation.guarded import GuardedVenue
        from tests.simulation.keeper import KeeperVenue

        if self.world.ways.keeps_pairs:
            return KeeperVenue(self)
        return GuardedVenue(self) if self.world.ways.rests else SimulatedVenue(self)

    def open(self) -> Desk:
        """Make the desk from the disk, as a start of the process does.

        StoreCorrupt, which would halt it until somebody starts it again, ends the run: whatever died, and however full
        the disk is, that must not be.
        """
        world = self.world
        self.desk = Desk(
            config=world.config,
            venue=self.venue(),
            store=SimulatedStore(self),
            cache=world.cache,
            signals=SimulatedScout(self),
            approvals=SimulatedGuardian(self),
            log=world.log,
            clock=SimulatedClock(self),
            begin=self.begin,
        )
        return self.desk


class SimulatedClock:
    """The Clock port: the host's clock, which may be wrong, and simulated sleep."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> datetime:
        return self._process.world.host_now()

    def monotonic(self) -> float:
        return 1000.0 + self._process.world.scheduler.now

    def sleep(self, seconds: float) -> None:
        self._process.at_risk("sleep")
        self._process.wait(seconds)


class ProcessDisk:
    """The Disk seam of one process over the disk that all of them share."""

    def __init__(self, process: Process, disk: SimulatedDisk) -> None:
        self._process = process
        self._disk = disk

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        self._process.require_life()
        return self._disk.open(path, create=create, write=write)

    def close(self, file: int) -> None:
        self._disk.close(file)

    def stamp(self, path: Path) -> Stamp | None:
        self._process.require_life()
        return self._disk.stamp(path)

    def stamp_of(self, file: int) -> Stamp:
        self._process.require_life()
        return self._disk.stamp_of(file)

    def read(self, file: int, size: int, offset: int) -> bytes:
        self._process.require_life()
        return self._disk.read(file, size, offset)

    def write(self, file: int, content: bytes, offset: int) -> None:
        if self._dies():
            self._disk.write(file, content[: self._process.world.random.randint(0, len(content))], offset)
            self._die("write")
        self._disk.write(file, content, offset)

    def truncate(self, file: int, size: int) -> None:
        self._at_risk("truncate")
        self._disk.truncate(file, size)

    def sync(self, file: int) -> None:
        self._at_risk("sync")
        self._disk.sync(file)
        self._at_risk("synced")

    def replace(self, source: Path, target: Path) -> None:
        self._at_risk("replace")
        self._disk.replace(source, target)

    def remove(self, path: Path) -> None:
        self._at_risk("remove")
        self._disk.remove(path)

    def names(self, path: Path) -> tuple[str, ...]:
        self._process.require_life()
        return self._disk.names(path)

    def sync_directory(self, path: Path) -> None:
        self._at_risk("sync directory")
        self._disk.sync_directory(path)

    def _at_risk(self, call: str) -> None:
        if self._dies():
            self._die(call)

    def _dies(self) -> bool:
        self._process.require_life()
        world = self._process.world
        return world.stormy and world.random.random() < world.weather.disk_crash

    def _die(self, call: str) -> None:
        self._process.world.die(self._process, f"at the disk's {call}")
        raise Killed


class Uncontended:
    """In the place of the lock files around single reads and appends: nobody's turn ends within one, so that none is
    ever waited for, and the real ones cost more than all that they guard."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self.lock_file = str(path)

    def acquire(self, timeout: float, poll_interval: float) -> None:
        """It is free."""

    def release(self) -> None:
        """It stays free."""


class SimulatedLock(ProcessLock):
    """The book lock in simulated time; a dead holder holds nothing."""

    def __init__(self, process: Process, path: Path, name: str, timeout_seconds: float) -> None:
        self.path = path
        self._process = process
        self._name = name
        self._timeout_seconds = timeout_seconds

    @contextmanager
    def held(self, timeout_seconds: float | None = None) -> Iterator[None]:
        wait = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        with _held(self._process, self._name, wait):
            yield


class SimulatedSeats(Seats):
    """Seats in simulated time."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @contextmanager
    def seat(self, name: str, wait_seconds: float) -> Iterator[None]:
        with _held(self._process, f"seat {name}", wait_seconds):
            yield

    @contextmanager
    def monitor_seat(self) -> Iterator[None]:
        with _held(self._process, "the monitor's seat", 1.0):
            yield

    def monitor_sits(self) -> bool:
        holder = self._process.world.locks.get("the monitor's seat")
        return holder is not None and holder.alive

    def prune(self, kept: set[str]) -> None:
        """Nothing is left behind here."""


class SimulatedTurn(AbstractContextManager[object]):
    """A lock among the tasks of one process, held while the exchange is asked: a real one would stop the world."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self._name = f"{process.name}: {name}"
        self._holder: AbstractContextManager[None] | None = None

    def __enter__(self) -> object:
        holder = _held(self._process, self._name, TURN_SECONDS)
        holder.__enter__()
        self._holder = holder
        return self

    def __exit__(self, *failure: Any) -> bool | None:
        holder, self._holder = self._holder, None
        return holder.__exit__(*failure) if holder is not None else None


@contextmanager
def _held(process: Process, name: str, wait_seconds: float) -> Iterator[None]:
    process.moment(f"lock {name}")
    world = process.world
    until = world.scheduler.now + wait_seconds
    while (holder := world.locks.get(name)) is not None and holder.alive:
        left = until - world.scheduler.now
        if left <= 0:
            raise Busy(f"{name} is held by {holder.name}")
        process.wait(min(POLL, left))
    world.locks[name] = process
    try:
        yield
    finally:
        if world.locks.get(name) is process:
            del world.locks[name]


class SimulatedStore(JsonStore):
    """The real store on the simulated disk, with locks in simulated time. What it acknowledges the world remembers."""

    def __init__(self, process: Process) -> None:
        self._process = process
        super().__init__(process.world.folder, process.world.binding, disk=process.disk)
        self._seats = SimulatedSeats(process)
        self._book_lock = SimulatedLock(process, self._book_lock.path, "the book", 2.0)

    def save(self, trade: Trade, *, durable: bool = True) -> Trade:
        self._process.moment("save")
        stored = super().save(trade, durable=durable)
        if durable:
            self._process.world.auditor.acknowledged(self._process, stored, self._fold.book)
        else:
            self._process.world.auditor.put_off(self._process, stored)
        self._process.at_risk("saved")
        return stored

    def make_sure(self) -> None:
        self._process.moment("make sure")
        super().make_sure()
        self._process.world.auditor.made_sure()
        self._process.at_risk("made sure")

    def save_watch(self, watch: Watch) -> None:
        self._process.moment("save watch")
        guards = self._process.world.guards
        guards.asked(watch)
        super().save_watch(watch)
        guards.acknowledged(watch)

    def rescue(self, record: Mapping[str, Json]) -> bool:
        self._process.at_risk("rescue")
        self._process.world.rescued(record)
        return super().rescue(record)

    def change_state(self, change: Callable[[DeskState], DeskState]) -> DeskState:
        self._process.moment("change state")
        auditor = self._process.world.auditor
        auditor.state_asked()
        state = super().change_state(change)
        auditor.state_acknowledged(state)
        self._process.at_risk("state changed")
        return state


class SimulatedVenue(NothingRests):
    """The Venue port of one process: the way to the exchange and back, on which things get lost."""

    name = "simulated"
    network = "test"
    account_id = "simulated:1"
    traits = Traits()

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._told_at: dict[ClientOrderId, float] = process.world.told_at

    def instruments(self) -> Mapping[Coin, Instrument]:
        self._read("instruments")
        return self._world.exchange.instruments

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        self._read("quotes")
        world, chance = self._world, self._world.random.random
        found = {}
        for coin in self._traded(coins):
            if world.stormy and chance() < world.weather.no_quote:
                if chance() < 0.5:
                    continue
                found[coin] = Quote(coin, Price(ZERO), Price(ZERO), Price(ZERO), world.host_now())
                continue
            age = world.random.choice((1.0, 4.0, 20.0)) if world.stormy and chance() < world.weather.stale_quote else 0
            found[coin] = replace(world.exchange.quote(coin, age), taken_at=world.host_now() - timedelta(seconds=age))
        reader = threading.get_ident()
        self._process.quotes_of.update({(reader, coin): one.taken_at for coin, one in found.items()})
        return found

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        self._read("depths")
        world = self._world
        return {coin: replace(world.exchange.depth(coin), taken_at=world.host_now()) for coin in self._traded(coins)}

    def _traded(self, coins: Collection[Coin]) -> list[Coin]:
        """Those that have a book."""
        return sorted(one for one in coins if one in LISTED and one not in self._world.exchange.delisted)

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        """Every coin has a new price with every step of the market, while the stream is not cut."""
        process, scheduler = self._process, self._world.scheduler
        process.at_risk("stream")
        number = int(scheduler.now / STEP_SECONDS) + 1
        if not coins or number <= since or self._world.reads_down:
            left = number * STEP_SECONDS - scheduler.now
            process.wait(min(seconds, left) if coins else seconds)
            number = int(scheduler.now / STEP_SECONDS) + 1
        fresh = number > since and not self._world.reads_down
        return Ticks(number if fresh else since, frozenset(coins) if fresh else frozenset())

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        self._read("candles")
        return ()

    def transferred(self, since: datetime) -> Usd:
        """Read as everything else is where anybody has paid in or out at all; told a moment later."""
        world = self._world
        if world.reads_down:
            raise VenueUnavailable("transfers cannot be read")
        if not world.exchange.transfers:
            return Usd(ZERO)
        process, random = self._process, world.harsh.random
        if process.transfers_unread_since is None:
            process.transfers_unread_since = world.scheduler.now
        process.wait(random.choice(LATENCY))
        if world.stormy and random.random() < world.weather.read_fails:
            raise VenueUnavailable("transfers cannot be read")
        process.transfers_unread_since = None
        first = since - timedelta(seconds=world.host_offset)
        lag = timedelta(seconds=random.choice(TRANSFER_LAGS) if world.stormy else 0.0)
        return Usd(world.exchange.transferred(first, world.true_now() - lag))

    def account(self) -> Account:
        world, chance = self._world, self._world.random.random
        self._read("account")
        account = replace(world.exchange.account(), taken_at=world.host_now())
        if world.stormy and chance() < world.weather.empty_account:
            world.count("empty account")
            nothing = Usd(ZERO)
            return replace(
                account, equity=nothing, margin_used=nothing, margin_available=nothing, holdings={}, leverages={}
            )
        old = world.last_account
        if old is not None and world.stormy and chance() < world.weather.old_account and _of_late(world, old):
            world.count("old account")
            return old
        world.last_account = account
        return account

    def require_room(self) -> None:
        """There always is."""

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        self._process.at_risk("leverage")
        self._read("leverage")
        if coin in self._world.exchange.no_cross:
            raise VenueRejected(f"{coin} cannot be traded with cross margin", coin=coin)
        self._world.exchange.leverages[coin] = leverage
        self._process.at_risk("leverage set")

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        process, world = self._process, self._world
        process.at_risk("submit")
        world.auditor.sent(process, orders)
        self._register(orders)
        fate = world.fate_of_a_submit()
        world.note(process, f"sends {_words(orders)}" + (f" ({fate})" if fate else ""))
        way, back = self._latency(), self._latency()
        if fate == "request lost":
            process.wait(way + back)
            return self._heard(orders, answered=False)
        arriving = list(orders)
        if fate == "one leg lost":
            arriving.remove(world.random.choice(arriving))
        if fate == "late":
            way += self._lateness()
        if fate in ("late", "answer lost") or (world.stormy and world.random.random() < world.weather.told_late):
            lag = way + world.random.choice((0.0, 1.0, 3.0))
            self._told_at.update({one.client_order_id: world.scheduler.now + lag for one in orders})
        self._send(arriving, world.scheduler.now + way)
        if fate == "late":
            process.wait(world.random.choice((0.1, 1.0, 3.0)))
            return self._heard(orders, answered=False)
        process.wait(way)
        process.wait(MOMENT)
        process.at_risk("submitted")
        process.wait(back)
        return self._heard(orders, answered=fate != "answer lost")

    # What is another thing on another way there

    def _register(self, orders: Sequence[Order]) -> None:
        """Before anything leaves: nothing here."""

    def _lateness(self) -> float:
        """Seconds by which what comes late does."""
        return self._world.random.choice((0.5, 2.0, 6.0, 9.0, 14.0))

    def _send(self, orders: Sequence[Order], arriving_at: float) -> None:
        timed = [self._in_venue_time(one) for one in orders]
        self._world.scheduler.at(arriving_at, lambda: self._world.arrive(timed))

    def _in_venue_time(self, order: Order) -> Order:
        """As the adapter does: what reduces lives by the exchange's clock where the host's is surely wrong, and the
        register of what was sent knows until when."""
        world, offset = self._world, timedelta(seconds=self._world.host_offset)
        if order.reduce_only and abs(offset) > SKEW_MAX:
            world.expiries[order.client_order_id] = order.expires_at - offset
        return self._as_sent(order)

    def _heard(self, orders: Sequence[Order], *, answered: bool) -> tuple[OrderReport, ...]:
        """What whoever has sent *orders* knows of them now."""
        words = self._world.exchange.words if answered else {}
        return tuple(words.get(one.client_order_id) or self._unknown([one])[0] for one in orders)

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        self._read("reports")
        return tuple(self._word_on(order) for order in orders)

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        self._read("funding")
        return self._world.exchange.funding(coins, since, until)

    def _word_on(self, order: Order) -> OrderReport:
        world = self._world
        if world.scheduler.now < self._told_at.get(order.client_order_id, 0.0):
            return self._unknown([order])[0]
        word = world.exchange.word_on(self._as_sent(order))
        if word.status is OrderStatus.UNKNOWN and world.weather.noop_proves and not world.writes_down:
            # An accepted noop with the order's nonce: from now on it can never land.
            world.refused.add(order.client_order_id)
            return replace(word, status=OrderStatus.ABSENT)
        return word

    def _as_sent(self, order: Order) -> Order:
        return replace(order, expires_at=self._world.expiries.get(order.client_order_id, order.expires_at))

    def _unknown(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        now = self._world.host_now()
        return tuple(OrderReport(one.client_order_id, OrderStatus.UNKNOWN, now) for one in orders)

    def _latency(self) -> float:
        world = self._world
        if world.stormy and world.random.random() < world.weather.slow:
            return world.random.choice(SLOW)
        return world.random.choice(LATENCY)

    def _read(self, name: str) -> None:
        world = self._world
        self._process.at_risk(name)
        self._process.wait(self._latency())
        if world.reads_down or (world.stormy and world.random.random() < world.weather.read_fails):
            raise VenueUnavailable(f"{name} cannot be read")


class SimulatedScout:
    """Scout, who repeats and contradicts himself in bad weather."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        world = self._process.world
        self._process.moment("scout")
        signal = world.signals.get(signal_id)
        if signal is None:
            raise SignalNotFound(f"Scout offers no signal {signal_id}", signal_id=signal_id)
        if world.stormy and world.random.random() < world.weather.scout:
            mood = world.random.choice(("silent", "turned", "young", "unsure"))
            world.count(f"scout {mood}")
            if mood == "silent":
                self._process.wait(5.0)
                raise ScoutUnavailable("Scout does not answer")
            if mood == "turned":
                return replace(signal, pair=Pair(signal.pair.quote, signal.pair.base))
            if mood == "young":
                return replace(signal, created_at=world.host_now() + timedelta(seconds=60))
            return replace(signal, confidence=signal.confidence / 2)
        return signal

    def recent(self) -> tuple[Signal, ...]:
        return tuple(self._process.world.signals.values())


class SimulatedGuardian:
    """Guardian: slow, away, unwilling, or with an approval that was somebody else's."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def approve(self, proposal: Proposal, within_seconds: float | None = None) -> Approval:
        world = self._process.world
        self._process.moment("guardian")
        mood = "willing"
        if world.stormy and world.random.random() < world.weather.guardian:
            mood = world.random.choice(("slow", "away", "unwilling", "forgetful", "forgetful"))
            world.count(f"guardian {mood}")
        if mood == "slow":
            self._process.wait(world.random.choice((1.0, 4.0, 7.0)))
        if mood == "away":
            self._process.wait(min(within_seconds or 8.0, 8.0))
            raise GuardianUnavailable("Guardian does not answer")
        approval_id = f"approval_{hash_of(proposal.trade_id, len(world.approvals))[:16]}"
        if mood == "forgetful" and world.approvals:
            approval_id = world.random.choice(world.approvals)
        yes = mood != "unwilling"
        if yes:
            world.approvals.append(approval_id)
        self._process.at_risk("guardian's answer")
        return Approval(
            id=approval_id if yes else "",
            approved=yes,
            risk_score=None,
            reasoning="as you like" if yes else "not today",
            concerns=(),
            rule_violations=(),
            answered_at=world.host_now(),
        )

    def report_outcome(self, outcome: Outcome) -> None:
        world = self._process.world
        self._process.moment("outcome")
        if world.stormy and world.random.random() < world.weather.guardian:
            raise GuardianUnavailable("Guardian does not answer")
        world.outcomes.append(outcome)


def _of_late(world: "World", account: Account) -> bool:
    return world.host_now() - account.taken_at <= timedelta(seconds=2)


def _words(orders: Sequence[Order]) -> str:
    return " and ".join(
        f"{one.side} {one.quantity} {one.coin}{' reduce-only' if one.reduce_only else ''} {one.client_order_id[:8]}"
        for one in orders
    )
