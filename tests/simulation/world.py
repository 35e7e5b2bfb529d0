"""One run: a desk in two processes, its disk, an exchange, Scout, Guardian, Redis, operators and a storm; from a seed.

The law: the same seed is the same run, to the last step. Promises are checked on the way and at the end; whoever wants
to know why a run failed reads its `trace`.
"""

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from random import Random
from unittest.mock import patch

from tests.fakes import FakeCache, FakeLog
from tests.simulation.auditor import Auditor
from tests.simulation.beside import Beside
from tests.simulation.disk import SimulatedDisk
from tests.simulation.exchange import LISTED, Exchange, TwoEffects
from tests.simulation.faults import EVENTS, GAPS, STORM_SECONDS, draw_ways, draw_weather
from tests.simulation.guards import Guards
from tests.simulation.harsh import Harsh
from tests.simulation.keeper import Keeper
from tests.simulation.operators import Operators
from tests.simulation.processes import Process, SimulatedClock, SimulatedTurn, Uncontended
from tests.simulation.promises import Violation, require
from tests.simulation.tasks import Restless, Scheduler
from tests.simulation.triggers import RestedTwice
from trading.conf import Config
from trading.domain.book import Book
from trading.domain.desk_state import Binding, TradingState
from trading.domain.errors import Busy, StoreCorrupt
from trading.domain.market import Account
from trading.domain.orders import Order, RejectReason
from trading.domain.resting import RestingOrder
from trading.domain.signals import Signal
from trading.domain.trades import Terms, Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Price
from trading.engine import monitor
from trading.engine.desk import Desk
from trading.ports import Json, Outcome
from trading.utils import locks
from trading.utils.ledger import STATE
from trading.utils.reserve import is_full

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LOOK_SECONDS = 1.0
CALM_SECONDS_MAX = 400.0
FLAT_SECONDS_MAX = 300.0
STEP = 2.0
RESTART_SECONDS = (0.2, 1.0, 5.0)
LONG_SLEEP = (3.0, 12.0, 45.0)
CLOCK_JUMPS = (-30.0, -1.0, 1.0, 30.0)
OUTAGE_SECONDS = (1.0, 5.0, 15.0)
QUIET_SHARE = 0.125
QUIET_SECONDS = 80.0
MONITOR_PAUSES = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went: what was counted, how it ended, and how much was checked."""

    seed: int
    outcome: str
    counts: Counter[str]
    checks: int
    switches: int


class World:
    """Everything there is in one run. `run` once, then `close`.

    Not *wide*: nothing rests, no fills are told, no disk finds out late that it is full, nothing comes after the calm
    but the end, and nobody asks for more than there was to ask for at first; what such a run draws is what it always
    drew, so that seeds that once failed are still the runs that they were. Not *harsh*, for the same reason: nothing
    comes of what is in `harsh`. With *pairs* the way to the exchange leads through a service that keeps them.
    """

    def __init__(self, seed: int, *, wide: bool = True, pairs: bool = False, harsh: bool = True) -> None:
        self.seed = seed
        self.random = Random(seed)  # a simulation is chance that can be repeated
        self.further = Random(f"wide {seed}")
        self.ways = draw_ways(self.further, wide=wide, pairs=pairs)
        self.later = Random(f"later {seed}")
        self.quiet_day = wide and self.later.random() < QUIET_SHARE
        self.scheduler = Scheduler(self.random)
        self.folder = Path(tempfile.mkdtemp(prefix="executor_sim_", dir=_quick_folder()))
        self.began = NOON - timedelta(seconds=self.random.choice((20.0, 1700.0, 2400.0)))
        self.host_offset = 0.0
        self.expiries: dict[ClientOrderId, datetime] = {}
        self.weather = draw_weather(self.random)
        self.stormy = True
        self.reads_down = self.writes_down = False
        self.disk = SimulatedDisk(self.random)
        self.disk.late = wide and self.later.random() < 0.5
        self.binding = Binding("simulated", "test", "simulated:1")
        equity = Decimal(self.random.choice((100_000, 30_000)))
        sigma = Decimal(self.random.choice(("0.00005", "0.0003", "0.0015")))
        self.exchange = Exchange(self.random, self.true_now, equity, sigma)
        self.exchange.share_of = self._share_of
        self.exchange.leash = self.ways.leash
        self.config = Config.of(
            data_dir=self.folder,
            max_positions=self.random.choice((2, 3, 4)),
            max_allocation=self.random.choice(("0.3", "0.6")),
            cooldown_seconds=self.random.choice((0, 900)),
            twap_duration_seconds=20,
            twap_slices=4,
            stop_loss=self.random.choice(("0.004", "0.01")),
            take_profit=self.random.choice(("0.004", "0.02")),
            require_monitor=self.random.random() < 0.3,
        )
        self.log = FakeLog()
        self.counts: Counter[str] = Counter()
        self.trace: list[tuple[float, str, str]] = []
        self.locks: dict[str, Process] = {}
        self.told_at: dict[ClientOrderId, float] = {}
        self.refused: set[ClientOrderId] = set()
        self.sent: set[ClientOrderId] = set()
        self.said: set[ClientOrderId] = set()
        self.foreign: set[Coin] = set()
        self.signals: dict[str, Signal] = {}
        self.sizes: dict[str, Decimal] = {}
        self.approvals: list[str] = []
        self.outcomes: list[Outcome] = []
        self.last_account: Account | None = None
        self.guards = Guards(self)
        self.keeper = Keeper(self)
        self.beside = Beside(self, may_come=self.ways.rests)
        self.harsh = Harsh(self, may_come=wide and harsh)
        self.auditor = Auditor(self)
        self.exchange.triggers.on_fill = self.guards.traded
        self.exchange.triggers.share = self._share_of_trigger
        self.two_monitors = self.random.random() < 0.15
        self.outside = Process(self, "outside")
        self.processes: dict[str, Process] = {}
        self.cache = FakeCache(SimulatedClock(self.outside))
        self.operators = Operators(self)

    def close(self) -> None:
        """End what still runs and leave nothing behind."""
        self.scheduler.finish()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Time and words

    def true_now(self) -> datetime:
        return self.began + timedelta(seconds=self.scheduler.now)

    def host_now(self) -> datetime:
        """What the clock of the host says."""
        return self.began + timedelta(seconds=self.scheduler.now + self.host_offset)

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def note(self, process: Process | None, words: str) -> None:
        place = words.replace(str(self.folder), "DATA_DIR")  # which is another one every time
        self.trace.append((self.scheduler.now, process.name if process is not None else "world", place))

    # Life and death

    def die(self, process: Process, where: str) -> None:
        """*process* dies, and sometimes the machine with it; it is started again a little later."""
        if self.random.random() < self.weather.power:
            self.lose_power(where)
            return
        self.count("process killed")
        self._kill(process, where)

    def lose_power(self, where: str) -> None:
        """Every process dies, and what was not synced may be lost."""
        self.count("power lost")
        for process in list(self.processes.values()):
            self._kill(process, f"power lost {where}")
        self.disk.lose_power()
        self.auditor.power_lost()

    def _kill(self, process: Process, where: str) -> None:
        if not process.alive:
            return
        self.note(process, f"dies {where}")
        self.auditor.disturbed()
        self.scheduler.kill(process)
        if self.processes.get(process.name) is process:
            delay = self.random.choice(RESTART_SECONDS)
            self.scheduler.at(self.scheduler.now + delay, lambda: self.start(process.name))

    def start(self, name: str) -> None:
        """A new life of the process of that name."""
        known = self.processes.get(name)
        if known is not None and known.alive:
            return
        process = self.processes[name] = Process(self, name)
        work = self._serve if name == "web" else self._watch
        self.scheduler.spawn(process, name, lambda: work(process))

    def process(self, name: str) -> Process | None:
        """The process of that name when it is up and has its desk."""
        process = self.processes.get(name)
        return process if process is not None and process.alive and process.desk is not None else None

    @property
    def monitor_at_work(self) -> bool:
        process = self.process("monitor")
        return process is not None and process.asleep_until <= self.scheduler.now

    def trades_of(self, position_id: PositionId) -> tuple[Trade, ...]:
        return tuple(one for one in self.auditor.trades.values() if one.terms.position_id == position_id)

    def sizes_of(self, terms: Terms) -> Decimal:
        return self.sizes.get(terms.signal.id, ZERO) if terms.signal is not None else terms.requested_usd

    def rescued(self, record: Mapping[str, Json]) -> None:
        """A stop without a ledger says on stderr, and in the rescue file if there is room, what it is about to send."""
        event = record.get("event")
        orders = event.get("orders") if isinstance(event, dict) else None
        for order in orders if isinstance(orders, list) else ():
            if isinstance(order, dict):
                self.said.add(ClientOrderId(str(order["client_order_id"])))
        self.count("rescue")

    def _opened(self, process: Process) -> Desk:
        while True:
            try:
                desk = process.open()
                break
            except StoreCorrupt as error:
                if process.disk.stamp(self.folder / STATE) is not None or not is_full(error):
                    raise
                # A desk that has never been cannot begin without room: its operator makes some and starts it again.
                self.note(process, f"first start: {error.detail}")
                process.wait(1.0)
        while True:
            try:
                book = desk.store.book()
                break
            except StoreCorrupt as error:
                # A full disk, on which what the dead have written cannot be synced: there is a book when there is room.
                self.count("start without a book")
                self.note(process, f"start: {error.detail}")
                process.wait(1.0)
        self.auditor.reopened(process, book, desk.store.state(), desk.store.broken)
        self.note(process, "is up")
        return desk

    def _serve(self, process: Process) -> None:
        """The web process: it is there, and requests come as tasks of their own."""
        self._opened(process)

    def _watch(self, process: Process) -> None:
        """The monitor: ticks for ever, as the command does."""
        desk = self._opened(process)
        if process.name == "monitor" or not self.two_monitors:
            while True:
                try:
                    with desk.store.monitor_seat():
                        self._tick_for_ever(process, desk)
                except Busy:
                    process.wait(1.0)
        self._tick_for_ever(process, desk)

    def _tick_for_ever(self, process: Process, desk: Desk) -> None:
        watchman, pause = monitor.Watchman(desk), self.random.choice(MONITOR_PAUSES)
        watchman.guards.list_lock = SimulatedTurn(process, "what rests")
        interval = pause
        while True:
            pause = monitor.go_round(watchman, interval, pause)
            if watchman.corrupt is not None:
                self.count("tick without a store")
                self.note(process, f"tick: {watchman.corrupt.detail}")
            monitor.listen(watchman, pause)

    # What the world does

    def fate_of_a_submit(self) -> str:
        """What befalls the next group of orders on its way; empty for nothing."""
        weather, chance = self.weather, self.random.random
        if self.writes_down:
            self.count("request lost")
            return "request lost"
        if not self.stormy:
            return ""
        for fate, share in (
            ("request lost", weather.lost_request),
            ("answer lost", weather.lost_answer),
            ("late", weather.late),
            ("one leg lost", weather.one_leg_lost),
        ):
            if chance() < share:
                self.count(fate)
                return fate
        return ""

    def _share_of(self, order: Order) -> Decimal:
        """How much of an order finds somebody on the other side."""
        if self.stormy and self.random.random() < self.weather.partial:
            self.count("partial fill")
            return Decimal(self.random.choice(("0", "0.1", "0.5", "0.9", "0.996")))
        return Decimal(1)

    def _share_of_trigger(self) -> Decimal:
        if self.stormy and self.further.random() < self.weather.partial:
            self.count("partial fire")
            return Decimal(self.further.choice(("0", "0.3", "0.9")))
        return Decimal(1)

    def rest(self, orders: Sequence[RestingOrder], expires_at: datetime) -> None:
        """A group of triggers reaches the exchange."""
        self.exchange.triggers.receive(orders, expires_at)
        self.guards.rested(orders)
        for order in orders:
            word = self.exchange.triggers.words[order.client_order_id]
            self.note(None, f"{order.client_order_id[2:10]}: {word.status} {word.reason or ''}")
            self.count(f"trigger {word.reason or word.status}")

    def arrive(self, orders: Sequence[Order]) -> None:
        """A group of orders reaches the exchange."""
        for order in orders:
            if order.client_order_id in self.refused:
                self.count("came too late")
                continue
            report = self.exchange.receive(order)
            self.note(None, f"{order.client_order_id[:8]}: {report.status} {report.filled} {report.reason or ''}")
            self.count(f"order {report.reason or report.status}")
            self.auditor.happened(order, report)

    def _storm(self, until: float) -> None:
        """Lay out what happens to the world by itself."""
        kinds = self.random.sample(EVENTS, self.random.randint(0, 7)) if self.random.random() < 0.8 else ()
        for kind in kinds:
            for _ in range(self.random.choice((1, 1, 2))):
                self.scheduler.at(self.random.uniform(1.0, until), self._event(kind))
        for _ in range(self.ways.gaps):
            self.scheduler.at(self.further.uniform(3.0, until), self._gap)

    def _event(self, kind: str) -> Callable[[], None]:
        def happen() -> None:
            if self.stormy:
                self.count(f"event: {kind}")
                self.note(None, kind)
                self.auditor.disturbed()
                self._happen(kind)

        return happen

    def _happen(self, kind: str) -> None:
        random, exchange = self.random, self.exchange
        coin = random.choice(sorted(LISTED))
        match kind:
            case "reads down":
                self.reads_down = True
                self._later(lambda: setattr(self, "reads_down", False))
            case "writes down":
                self.writes_down = True
                self._later(lambda: setattr(self, "writes_down", False))
            case "halt":
                exchange.halted.add(coin)
                self._later(lambda: exchange.halted.discard(coin))
            case "refuse":
                exchange.refusing[coin] = random.choice((RejectReason.MARGIN, RejectReason.OPEN_INTEREST))
                self._later(lambda: exchange.refusing.pop(coin, None))
            case "thin":
                exchange.thin[coin] = random.choice((Decimal("0.002"), Decimal("0.0001")))
                self._later(lambda: exchange.thin.pop(coin, None))
            case "jump":
                exchange.jump(coin, random.choice((-0.12, -0.04, -0.01, 0.01, 0.05, 0.15)))
            case "freeze":
                process = self.process(random.choice(("web", "monitor")))
                if process is not None:
                    until = self.scheduler.now + random.choice(LONG_SLEEP)
                    process.frozen_until = process.asleep_until = max(process.asleep_until, until)
            case "clock":
                self.host_offset += random.choice(CLOCK_JUMPS)
            case "redis":
                self.cache.connected = False
                self.cache.flush()
                self._later(lambda: setattr(self.cache, "connected", True))
            case "disk full":
                self.disk.capacity = self.disk.used + random.choice((0, 300, 3000))
                self._later(lambda: setattr(self.disk, "capacity", None))
            case "liquidate" | "deleverage" | "outside":
                self._other_hands(kind)
            case "kill web" | "kill monitor":
                process = self.processes.get(kind.removeprefix("kill "))
                if process is not None:
                    self.die(process, "by a signal")
            case "power":
                self.lose_power("by itself")
            case "near liquidation":
                held = [one for one, quantity in exchange.quantities.items() if quantity]
                if held:
                    coin = random.choice(held)
                    exchange.liquidation_prices[coin] = Price(exchange.mid(coin) * Decimal("0.95"))
                    self._later(lambda: exchange.liquidation_prices.pop(coin, None))

    def _gap(self) -> None:
        """The mark is elsewhere before anybody could act: a guarded coin's, or everybody's at once."""
        guarded = sorted(self.exchange.triggers.coins)
        if self.stormy and not guarded:
            self.scheduler.at(self.scheduler.now + STEP, self._gap)
        elif self.stormy:
            share = self.further.choice(GAPS)
            coins = sorted(LISTED) if self.further.random() < 0.3 else [self.further.choice(guarded)]
            self.count("event: gap")
            self.note(None, f"{', '.join(coins)} jump by {share}")
            self.auditor.disturbed()
            for coin in coins:
                self.exchange.jump(coin, share)

    def _later(self, end: Callable[[], object]) -> None:
        self.scheduler.at(self.scheduler.now + self.random.choice(OUTAGE_SECONDS), lambda: void(end()))

    def _other_hands(self, kind: str) -> None:
        """The exchange, or a person, takes of what is held, or a person buys besides."""
        held = [coin for coin, quantity in self.exchange.quantities.items() if quantity]
        coin = self.random.choice(held) if held else Coin("SOL")
        quantity, lot = self.exchange.quantities[coin], LISTED[coin][1]
        if kind == "outside" and (not quantity or self.random.random() < 0.4):
            amount = Decimal(self.random.choice((-1, 1))) * (Decimal(300) / self.exchange.mid(coin) // lot * lot)
        elif not quantity:
            return
        else:
            part = Decimal(1) if kind == "liquidate" else self.random.choice((Decimal(1), Decimal("0.5")))
            amount = -(abs(quantity) * part // lot * lot) * (1 if quantity > 0 else -1)
        if amount:
            if kind == "outside" or not self.ways.tells_fills:
                # Without being told of it nobody can say whose it was; and what a person adds is that person's.
                self.foreign.add(coin)
            self.exchange.take(coin, amount, kind, Decimal("0.02") if kind == "liquidate" else ZERO)

    # The run

    def run(self) -> Result:
        """The storm, the calm after it, and the end. Raises Violation, TwoEffects, or whatever broke."""
        storm = self.random.uniform(*STORM_SECONDS)
        self.scheduler.spawn(self.outside, "looks", self._look_for_ever)
        for name in ("web", "monitor", *(("second monitor",) if self.two_monitors else ())):
            self.start(name)
        self._storm(storm)
        self.harsh.plan(storm)
        self.operators.plan(storm)
        self.scheduler.run(storm)
        self._calm()
        self._settle()
        if self.quiet_day:
            self._quiet_day()
        if self.beside.comes or self.harsh.comes:
            (self.beside if self.beside.comes else self.harsh).hour()
            self._calm()
            self._settle()
        self._finale()
        return Result(self.seed, self._outcome(), self.counts, self.auditor.checks, self.scheduler.switches)

    def _look_for_ever(self) -> None:
        while True:
            self.outside.wait(LOOK_SECONDS)
            self.exchange.triggers.pass_by()
            self.auditor.look(LOOK_SECONDS)
            self.guards.look(LOOK_SECONDS)
            self.harsh.look(LOOK_SECONDS)

    def _calm(self) -> None:
        """Everything works again from here on."""
        self.stormy = self.reads_down = self.writes_down = False
        self.cache.connected, self.disk.capacity, self.exchange.post_only = True, None, False
        exchange = self.exchange
        for trouble in (
            exchange.halted,
            exchange.no_cross,
            exchange.thin,
            exchange.refusing,
            exchange.liquidation_prices,
        ):
            trouble.clear()
        for process in self.processes.values():
            process.frozen_until = 0.0
        self.note(None, "the storm is over")

    def _desk(self) -> Desk:
        process = self.process("web")
        require(process is not None and process.desk is not None, "the web process is not up again")
        assert process is not None
        assert process.desk is not None
        return process.desk

    def _settle(self) -> None:
        """Whatever was under way comes to its end, and the book is what the exchange holds, within a bound."""
        bound = self.scheduler.now + CALM_SECONDS_MAX
        why = "the processes are not up"
        while self.scheduler.now < bound:
            self.scheduler.run(self.scheduler.now + STEP)
            if self.process("web") is None or not self.monitor_at_work or self.operators.busy:
                continue
            book = self._desk().store.book()
            live = [one for one in book.live_trades() if not self.auditor.may_rest(book, one)]
            auditor, state = self.auditor, self._desk().store.state()
            why = f"{len(live)} trades are still live" if live else ""
            why = why or ("something is still on its way" if self.keeper.on_the_way else "")
            why = (
                why
                or auditor.book_equals_exchange(book)
                or auditor.unbooked()
                or auditor.overdue(book)
                or auditor.unsaid_drift(book, state)
                or auditor.unlevel()
                or auditor.beyond_barriers()
                or self._wrongly_guarded(book)
            )
            if not why:
                return
        raise Violation(f"not settled {CALM_SECONDS_MAX:.0f} s after the storm: {why}")

    def _quiet_day(self) -> None:
        """The calm lasts, and somebody opens once more, in slices: what is promised on the way is kept for longer."""
        self.operators.open_once_more()
        self.scheduler.run(self.scheduler.now + QUIET_SECONDS)
        self._settle()

    def _wrongly_guarded(self, book: Book) -> str:
        return (self.guards.orphans(book) or self.guards.misfits(book)) if self.ways.rests else ""

    def _finale(self) -> None:
        """Somebody comes and ends it, by a stop or by hand, while others repeat what they have asked before."""
        self.operators.insist()
        self.scheduler.run(self.scheduler.now + STEP)
        state = self._desk().store.state().state
        way = "stop" if state is TradingState.LIQUIDATING else self.random.choice(("stop", "by hand"))
        self.note(None, f"the end comes: {way}")
        self.operators.end(way)
        bound = self.scheduler.now + FLAT_SECONDS_MAX
        while self.scheduler.now < bound:
            self.scheduler.run(self.scheduler.now + STEP)
            desk = self._desk()
            book = desk.store.book()
            flat = not book.standing_positions() and not self.auditor.left() and not self.guards.orphans(book)
            if flat and (way != "stop" or self._halted_or_held_up(desk)):
                break
        else:
            book = self._desk().store.book()
            standing = [f"{one.pair} {one.status}" for one in book.standing_positions()]
            rests, state_now = self.guards.orphans(book), self._desk().store.state()
            raise Violation(f"not flat {FLAT_SECONDS_MAX:.0f} s after '{way}': {standing}, {rests} {state_now}")
        self.auditor.check_flat()
        self.operators.insist()
        self.scheduler.run(self.scheduler.now + 2 * STEP)
        self.auditor.check_flat()
        self._wait_for_funding()
        self.auditor.check_money(tuple(self._desk().store.book().all_positions()))
        self._once_more()
        self.auditor.check_log()

    def _halted_or_held_up(self, desk: Desk) -> bool:
        """The stop has ended, or says that what it sees is not its own."""
        state = desk.store.state()
        others = bool(self.foreign or self.beside.held)
        return state.state is TradingState.HALTED or (others and "yet the account holds" in state.why)

    def _wait_for_funding(self) -> None:
        """The last hour is listed half a minute after it is over."""
        if self.true_now() >= NOON and self.exchange.payments:
            self.scheduler.run(max(self.scheduler.now, (NOON - self.began).total_seconds()) + 75.0)

    def _once_more(self) -> None:
        """The machine loses its power and everything is still there."""
        self.lose_power("at the end")
        self.scheduler.run(self.scheduler.now + 12.0)
        state, before = self._desk().store.state(), self.auditor
        require(not self._desk().store.book().standing_positions(), "what was closed stands again")
        require(before.stopped_at is None or state.state is not TradingState.ACTIVE, "the halt did not survive")

    def _outcome(self) -> str:
        state = self._desk().store.state()
        causes = "+".join(sorted(state.causes))
        return f"{state.state}{f' ({causes})' if causes else ''}"


def simulate(seed: int, *, wide: bool = True, pairs: bool = False, harsh: bool = True) -> Result:
    """One run. Raises what was found, with the world's trace as its note."""
    world = World(seed, wide=wide, pairs=pairs, harsh=harsh)
    quiet, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        with redirect_stderr(StringIO()), patch.object(locks, "OpenLock", Uncontended):
            return world.run()
    except (Exception, Violation, TwoEffects, RestedTwice, Restless) as failure:
        failure.add_note("\n".join(f"{at:9.3f}  {who:<14}  {words}" for at, who, words in world.trace))
        raise
    finally:
        world.close()
        logging.root.manager.disable = quiet


def void(value: object) -> None:
    """For an event that has no use for what its step returns."""


def _quick_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private folder below it
