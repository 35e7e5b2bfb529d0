"""A venue that does what a test tells it, keeps the true account, and a desk of real files and fakes around it.

The truth is in `held`, `sent` and `fills`: what the desk believes is compared with it. Faults are laid out with
`script` and used up one a submit; what is set on the attributes stands until it is taken back. Time is the FakeClock's.
"""

import tempfile
import threading
import unittest
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from tests.builders import PRICES, given_instrument, given_signal
from tests.engine.hands import Hands
from tests.fakes import FakeApprover, FakeCache, FakeClock, FakeLog, FakeSignals
from tests.nothing_rests import NothingRests
from trading.conf import Config
from trading.domain.desk_state import Binding, TradingState
from trading.domain.errors import VenueRejected, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import (
    Account,
    Candle,
    CandleInterval,
    Depth,
    FundingPayment,
    Holding,
    Instrument,
    Level,
    Pair,
    Quote,
    Traits,
)
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.positions import Position
from trading.domain.signals import Signal
from trading.domain.trades import Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Price, Quantity, Ratio, TradeId, Usd
from trading.engine import closing, entry, working
from trading.engine.desk import Desk
from trading.engine.entry import Answer
from trading.engine.requests import ExecuteRequest
from trading.ports import Ticks
from trading.utils.json_storage import JsonStore

FEE = Decimal("0.00045")
ABSENCE_MARGIN = timedelta(seconds=5)
DEPTH_USD = Decimal(10_000_000)
LOTS: Mapping[str, str] = {"BTC": "0.00001", "ETH": "0.0001", "SOL": "0.01", "AVAX": "0.01"}
BINDING = Binding(venue="scripted", network="test", account="scripted:1")


class Crash(BaseException):
    """The process dies here: nothing in the house may catch this."""


class Answered(StrEnum):
    """What the desk hears of a submit."""

    PLAINLY = "PLAINLY"
    NOT_AT_ALL = "NOT_AT_ALL"
    ACCEPTED = "ACCEPTED"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one submit. Shares and refusals by coin; a coin that is not named goes well.

    `arrives` is False when the orders never reach the venue, `lands_after` how many seconds they are on their way,
    `told_after` how many seconds `reports` knows nothing of them. `dies` is `before` or `after` the venue has them.
    """

    shares: Mapping[str, str] = field(default_factory=dict)
    refusals: Mapping[str, RejectReason] = field(default_factory=dict)
    answered: Answered = Answered.PLAINLY
    arrives: bool = True
    lands_after: float = 0.0
    told_after: float = 0.0
    dies: str = ""


def fine() -> Fault:
    """Nothing goes wrong: to let a submit pass before the next fault."""
    return Fault()


def partly(**shares: str) -> Fault:
    """`partly(ETH="0.5")`: that share of the order fills, the rest finds no match."""
    return Fault(shares=shares)


def refused(**refusals: RejectReason) -> Fault:
    return Fault(refusals=refusals)


def lost_before() -> Fault:
    """The request is lost on its way: no effect, no answer."""
    return Fault(answered=Answered.NOT_AT_ALL, arrives=False)


def lost_after(**shares: str) -> Fault:
    """The effect takes place, the answer is lost."""
    return Fault(shares=shares, answered=Answered.NOT_AT_ALL)


def accepted(lands_after: float, **shares: str) -> Fault:
    """The venue has the orders and works them only *lands_after* seconds later."""
    return Fault(shares=shares, answered=Answered.ACCEPTED, lands_after=lands_after)


def late(lands_after: float, told_after: float = 0.0) -> Fault:
    """No answer, and the orders reach the book only later; nobody hears of them before *told_after*."""
    return Fault(answered=Answered.NOT_AT_ALL, lands_after=lands_after, told_after=max(told_after, lands_after))


def unknown_for(seconds: float, **shares: str) -> Fault:
    """Filled at once, but the venue denies all knowledge for a while."""
    return Fault(shares=shares, answered=Answered.NOT_AT_ALL, told_after=seconds)


def dies_before() -> Fault:
    """The process is killed between the intent on disk and the submit."""
    return Fault(dies="before")


def dies_after(**shares: str) -> Fault:
    """The process is killed after the effect, before it hears the answer."""
    return Fault(shares=shares, dies="after")


@dataclass
class _OnItsWay:
    order: Order
    fault: Fault
    lands_at: datetime
    told_at: datetime


class ScriptedVenue(NothingRests):
    """An in-memory Venue (see ports) over a FakeClock: IOC at the touch, reduce-only, lots, the $10 minimum, expiry."""

    name = "scripted"
    network = "test"
    account_id = "scripted:1"

    def __init__(self, clock: FakeClock, equity: str = "100000") -> None:
        self.clock = clock
        self.traits = Traits(taker_fee=Ratio(FEE))
        self.cash = Decimal(equity)
        self.mids: dict[str, Decimal] = dict(PRICES)
        self.spread = Decimal("0.0002")
        self.depth_usd: dict[str, Decimal] = {}
        self.listed: dict[Coin, Instrument] = {
            Coin(coin): given_instrument(coin, LOTS.get(coin, "0.01")) for coin in self.mids
        }
        self.quotes_missing: set[str] = set()
        self.quotes_age: dict[str, float] = {}
        self.reads_down: set[str] = set()
        self.no_room = False
        self.leverage_refused: dict[str, str] = {}
        self.leverages: dict[Coin, int] = {}
        self.leverage_calls: list[tuple[Coin, int]] = []
        self.shares: dict[str, Decimal] = {}
        self.refusing: dict[str, RejectReason] = {}
        self.sent: list[tuple[Order, ...]] = []
        self.fills: list[tuple[Order, Decimal, Decimal]] = []
        self.calls: list[str] = []
        self.delay_seconds: dict[str, float] = {}
        self.on_submit: Callable[[Sequence[Order]], None] | None = None
        self.on_read: Callable[[str], None] | None = None
        self.transfers: list[tuple[datetime, Decimal]] = []
        self.bars: dict[tuple[Coin, CandleInterval], tuple[Candle, ...]] = {}
        self._faults: deque[Fault] = deque()
        self._way: list[_OnItsWay] = []
        self._words: dict[ClientOrderId, OrderReport] = {}
        self._told_at: dict[ClientOrderId, datetime] = {}
        self._quantities: dict[Coin, Decimal] = {}
        self._costs: dict[Coin, Decimal] = {}
        self._ticks: dict[Coin, int] = {}
        self._ticked: list[Coin] = []
        self._lock = threading.RLock()

    # What a test sets and reads

    def script(self, *faults: Fault) -> None:
        """The next submits meet *faults*, one each; the ones after that go well."""
        self._faults.extend(faults)

    def forgive(self) -> None:
        """What was laid out and not used up happens no more."""
        self._faults.clear()

    def move(self, coin: str, price: str | Decimal) -> None:
        """The mid of *coin* is *price* from now on."""
        self.mids[coin] = Decimal(price)

    def tick(self, coin: str, price: str) -> None:
        """The stream says that the mid of *coin* is *price*."""
        self.move(coin, price)
        self._ticked.append(Coin(coin))
        self._ticks[Coin(coin)] = len(self._ticked)

    def held(self, coin: str) -> Decimal:
        """What the account truly holds, signed; what is on its way and due has landed."""
        with self._lock:
            self._land()
            return self._quantities.get(Coin(coin), ZERO)

    def hold(self, coin: str, quantity: str) -> None:
        """Give the account a foreign holding, or take it away."""
        amount = Decimal(quantity)
        self._quantities[Coin(coin)] = self._quantities.get(Coin(coin), ZERO) + amount
        self._costs[Coin(coin)] = self._costs.get(Coin(coin), ZERO) + amount * self.mids[coin]

    def transfer(self, usd: str) -> None:
        """Somebody pays so much in, or out where it is negative."""
        self.cash += Decimal(usd)
        self.transfers.append((self.clock.now(), Decimal(usd)))

    @property
    def orders(self) -> list[Order]:
        """Every order that was ever submitted, in order."""
        return [order for group in self.sent for order in group]

    @property
    def flat(self) -> bool:
        with self._lock:
            self._land()
            return not any(self._quantities.values())

    # The port

    def instruments(self) -> Mapping[Coin, Instrument]:
        self._read("instruments")
        return dict(self.listed)

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        self._read("quotes")
        return {coin: self._quote(coin) for coin in coins if coin in self.mids and coin not in self.quotes_missing}

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        self._read("depths")
        return {coin: self._depth(coin) for coin in coins if coin in self.mids and coin not in self.quotes_missing}

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        """The coins that were laid out with `tick`, at once and each once; without any the time passes."""
        with self._lock:
            ticked = frozenset(coin for coin in coins if self._ticks.get(coin, 0) > since)
            number = len(self._ticked)
        if not ticked:
            self.clock.sleep(seconds)
        return Ticks(number, ticked)

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        self._read("candles")
        return tuple(bar for bar in self.bars.get((coin, interval), ()) if start <= bar.opened_at <= end)

    def account(self) -> Account:
        self._read("account")
        with self._lock:
            self._land()
            held = {coin: quantity for coin, quantity in self._quantities.items() if quantity}
            equity = self.cash + sum((q * self.mids[c] - self._costs[c] for c, q in held.items()), ZERO)
            used = sum((abs(q) * self.mids[c] / self.leverages.get(c, 20) for c, q in held.items()), ZERO)
            return Account(
                equity=Usd(equity),
                margin_used=Usd(used),
                margin_available=Usd(equity - used),
                maintenance_margin=Usd(sum((abs(q) * self.mids[c] / 40 for c, q in held.items()), ZERO)),
                holdings={c: Holding(c, Quantity(q), Price(self._costs[c] / q)) for c, q in held.items()},
                leverages=dict(self.leverages),
                taken_at=self.clock.now(),
            )

    def require_room(self) -> None:
        if self.no_room:
            raise VenueUnavailable("no room for an opening")

    def set_leverage(self, coin: Coin, leverage: int) -> None:
        self._read("leverage")
        self.leverage_calls.append((coin, leverage))
        if coin in self.leverage_refused:
            raise VenueRejected(self.leverage_refused[coin], coin=coin)
        self.leverages[coin] = leverage

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        if self.on_submit is not None:
            self.on_submit(orders)
        self.clock.advance(self.delay_seconds.get("submit", 0.0))
        with self._lock:
            self._land()
            fault = self._faults.popleft() if self._faults else Fault()
            if fault.dies == "before":
                raise Crash
            self.sent.append(tuple(orders))
            now = self.clock.now()
            if fault.arrives:
                landing = now + timedelta(seconds=fault.lands_after)
                told_at = now + timedelta(seconds=fault.told_after)
                self._way += [_OnItsWay(order, fault, landing, told_at) for order in orders]
                self._land()
            if fault.dies == "after":
                raise Crash
            return tuple(self._answer(order, fault, now) for order in orders)

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        self._read("reports")
        with self._lock:
            self._land()
            return tuple(self._word_on(order) for order in orders)

    def funding(self, coins: Collection[Coin], since: datetime, until: datetime) -> tuple[FundingPayment, ...]:
        self._read("funding")
        return ()

    def transferred(self, since: datetime) -> Usd:
        self._read("transferred")
        return Usd(sum((usd for at, usd in self.transfers if at > since), ZERO))

    # How it goes about it

    def _read(self, name: str) -> None:
        self.calls.append(name)
        if self.on_read is not None:
            self.on_read(name)
        self.clock.advance(self.delay_seconds.get(name, 0.0))
        if name in self.reads_down:
            raise VenueUnavailable(f"{name} cannot be read")

    def _quote(self, coin: Coin) -> Quote:
        mid = self.mids[coin]
        half = mid * self.spread / 2
        at = self.clock.now() - timedelta(seconds=self.quotes_age.get(coin, 0.0))
        return Quote(coin, Price(mid - half), Price(mid + half), Price(mid), at)

    def _depth(self, coin: Coin) -> Depth:
        quote = self._quote(coin)
        quantity = Quantity(self.depth_usd.get(coin, DEPTH_USD) / quote.mid)
        return Depth(coin, (Level(quote.bid, quantity),), (Level(quote.ask, quantity),), quote.taken_at)

    def _answer(self, order: Order, fault: Fault, now: datetime) -> OrderReport:
        if fault.answered is Answered.NOT_AT_ALL:
            return OrderReport(order.client_order_id, OrderStatus.UNKNOWN, now, detail="no answer")
        if fault.answered is Answered.ACCEPTED:
            return OrderReport(order.client_order_id, OrderStatus.ACCEPTED, now)
        return self._words[order.client_order_id]

    def _word_on(self, order: Order) -> OrderReport:
        now = self.clock.now()
        for one in self._way:
            if one.order.client_order_id == order.client_order_id:
                accepted_one = one.fault.answered is Answered.ACCEPTED
                status = OrderStatus.ACCEPTED if accepted_one else OrderStatus.UNKNOWN
                return OrderReport(order.client_order_id, status, now)
        known = self._words.get(order.client_order_id)
        if known is not None and now >= self._told_at[order.client_order_id]:
            return known
        if known is not None or now <= order.expires_at + ABSENCE_MARGIN:
            return OrderReport(order.client_order_id, OrderStatus.UNKNOWN, now)
        return OrderReport(order.client_order_id, OrderStatus.ABSENT, now)

    def _land(self) -> None:
        """Whatever has reached the book by now is worked; an order id has one effect for ever."""
        now = self.clock.now()
        for one in [one for one in self._way if one.lands_at <= now]:
            self._way.remove(one)
            if one.order.client_order_id not in self._words:
                self._words[one.order.client_order_id] = self._worked(one.order, one.fault, one.lands_at)
                self._told_at[one.order.client_order_id] = one.told_at

    def _worked(self, order: Order, fault: Fault, at: datetime) -> OrderReport:
        reason = fault.refusals.get(order.coin, self.refusing.get(order.coin))
        if at > order.expires_at:
            return self._refusal(order, at, RejectReason.EXPIRED)
        if reason is not None:
            return self._refusal(order, at, reason)
        held = self._quantities.get(order.coin, ZERO)
        wanted: Decimal = order.quantity
        if order.reduce_only:
            wanted = min(wanted, max(-held * order.side.sign, ZERO))
            if wanted == 0:
                return self._refusal(order, at, RejectReason.REDUCE_ONLY)
        instrument = self.listed[order.coin]
        if order.quantity % instrument.quantity_step:
            return self._refusal(order, at, RejectReason.SIZE)
        after = held + wanted * order.side.sign
        if after and wanted * order.limit_price < instrument.notional_min:
            return self._refusal(order, at, RejectReason.NOTIONAL_MIN)
        return self._filled(order, self._matched(order, fault, wanted), at)

    def _matched(self, order: Order, fault: Fault, wanted: Decimal) -> Decimal:
        quote = self._quote(order.coin)
        touch = quote.ask if order.side.sign > 0 else quote.bid
        if (order.limit_price - touch) * order.side.sign < 0:
            return ZERO
        share = Decimal(fault.shares.get(order.coin, str(self.shares.get(order.coin, "1"))))
        step = self.listed[order.coin].quantity_step
        deep = self.depth_usd.get(order.coin, DEPTH_USD) / quote.mid
        return min(wanted * share, deep) // step * step

    def _filled(self, order: Order, amount: Decimal, at: datetime) -> OrderReport:
        if not amount:
            return self._refusal(order, at, RejectReason.NO_MATCH)
        quote = self._quote(order.coin)
        price = quote.ask if order.side.sign > 0 else quote.bid
        held, cost = self._quantities.get(order.coin, ZERO), self._costs.get(order.coin, ZERO)
        signed = amount * order.side.sign
        if held * signed < 0:
            closes = min(amount, abs(held))
            share = cost * closes / abs(held)
            self.cash += closes * order.side.sign * -price - share
            opens = signed - closes * order.side.sign
            cost = cost - share + opens * price
        else:
            cost += signed * price
        self._quantities[order.coin], self._costs[order.coin] = held + signed, cost
        fees = amount * price * FEE
        self.cash -= fees
        self.fills.append((order, amount, price))
        status = OrderStatus.FILLED if amount >= order.quantity else OrderStatus.PARTIALLY_FILLED
        report = OrderReport(order.client_order_id, status, at, Quantity(amount), price, Usd(fees))
        return replace(report, sized_by_venue=amount > order.quantity)

    def _refusal(self, order: Order, at: datetime, reason: RejectReason) -> OrderReport:
        return OrderReport(order.client_order_id, OrderStatus.REJECTED, at, reason=reason, detail=f"{reason} by script")


@dataclass
class Scene:
    """A desk on real files with a scripted world around it."""

    desk: Desk
    venue: ScriptedVenue
    clock: FakeClock
    signals: FakeSignals
    approver: FakeApprover
    cache: FakeCache
    log: FakeLog
    hands: Hands

    @property
    def store(self) -> JsonStore:
        assert isinstance(self.desk.store, JsonStore)
        return self.desk.store

    def offer(self, signal_id: str = "signal_1", pair: str = "BTC/ETH", zscore: str = "2.4", **changes: Any) -> Signal:
        """Scout offers this from now on, dated now."""
        signal = given_signal(signal_id, pair, zscore, **{"created_at": self.clock.now(), **changes})
        self.signals.offer(signal)
        return signal

    def execute(
        self, signal_id: str = "signal_1", size: str = "2000", key: str | None = None, **request: Any
    ) -> Answer:
        """Execute, offering an ordinary BTC/ETH signal of that id unless one is on offer."""
        if signal_id not in self.signals.signals:
            self.offer(signal_id, **({"pair": str(request["pair"])} if "pair" in request else {}))
        return entry.execute(self.desk, a_request(signal_id, size, **request), key)

    def opened(self, signal_id: str = "signal_1", size: str = "2000", **request: Any) -> Position:
        """The position that an execute has made."""
        return self.position(self.execute(signal_id, size, **request).position.position_id)

    def close(self, position: Position, reason: ExitReason = ExitReason.MANUAL) -> Position:
        return closing.close(self.desk, position.id, reason)

    def position(self, position_id: PositionId) -> Position:
        return self.desk.store.book().position(position_id)

    def trade(self, trade_id: TradeId) -> Trade:
        return self.desk.store.book().trade(trade_id)

    def trades(self) -> tuple[Trade, ...]:
        return self.desk.store.book().trades()

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass, then take every live trade further, openings first, as the monitor does."""
        self.clock.advance(seconds)
        for trade in sorted(self.desk.store.book().live_trades(), key=lambda one: not one.opens):
            working.work_if_free(self.desk, trade.id)

    def ticks(self, count: int, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.tick(seconds)

    def enter_state(self, state: TradingState) -> None:
        self.desk.store.change_state(lambda before: replace(before, state=state))

    def reopened(self) -> Self:
        """The same world after the process died: a new desk on the same files."""
        self.store.close()
        return self.beside()

    def beside(self) -> Self:
        """Another process on the same files, venue and world."""
        return replace(self, desk=replace(self.desk, store=JsonStore(self.store.data_dir, BINDING)))


def a_request(signal_id: str = "signal_1", size: str = "2000", **changes: Any) -> ExecuteRequest:
    if isinstance(changes.get("pair"), str):
        changes["pair"] = Pair.parse(changes["pair"])
    return ExecuteRequest(signal_id, Usd(Decimal(size)), **changes)


def a_scene(
    case: unittest.TestCase, equity: str = "100000", *, kind: type[ScriptedVenue] = ScriptedVenue, **config: Any
) -> Scene:
    """A desk of its own for *case*, in a folder that goes with it, on a venue of *kind*. *config* overrides the demo's
    defaults."""
    folder = Path(case.enterContext(tempfile.TemporaryDirectory(prefix="executor_engine_")))
    clock = FakeClock()
    venue, signals, cache, log = kind(clock, equity), FakeSignals(), FakeCache(clock), FakeLog()
    approver = FakeApprover(clock=clock)
    store = JsonStore(folder / "data", BINDING)
    hands = Hands(clock)
    case.addCleanup(hands.release)
    desk = Desk(
        config=Config.of(**{"data_dir": folder / "data", **config}),
        venue=venue,
        store=store,
        cache=cache,
        signals=signals,
        approvals=approver,
        log=log,
        clock=clock,
        begin=hands.begin,
    )
    return Scene(desk, venue, clock, signals, approver, cache, log, hands)


def a_desk(case: unittest.TestCase, **config: Any) -> Desk:
    """The desk of a scene, for a test that needs nothing else of it."""
    return a_scene(case, **config).desk
