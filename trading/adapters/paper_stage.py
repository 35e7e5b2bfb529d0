"""The paper venue with faults on demand, for the demo: what is staged is in a file beside the account, so that every
process meets the same.

The law: nothing staged outlives its time; the account's journal stays the truth, and what the stage keeps back or
refuses it says in the words of the port, as a real venue would.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from threading import Lock

from trading.adapters.paper import PaperVenue
from trading.adapters.paper_market import PaperMarket, price_tick
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.codec import decode_script, encode_script
from trading.domain.errors import InvalidRequest, StoreCorrupt
from trading.domain.market import Depth, Instrument, Quote
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.resting import AccountFill, FillCause
from trading.domain.scenarios import NEED_COIN, Scenario, ScenarioKind, ScenarioRequest, Script
from trading.domain.units import ONE, ClientOrderId, Coin, Price, Quantity, Usd, floor_to_step, hash_of
from trading.ports import Clock
from trading.utils.disk import SystemDisk, replace_whole, trouble_told
from trading.utils.journal import Journal
from trading.utils.locks import ProcessLock
from trading.utils.owner import make_directory
from trading.utils.sealing import sealed, unsealed

FOLDER = "stage"
FILE = "script.json"
KEPT = timedelta(hours=2)
"""How long a scenario is remembered after its end: the prices and the fill of then must not change at once."""

SCENARIOS_MAX = 50
SILENCE = timedelta(seconds=2)
ORDER_SECONDS = 10
LIQUIDATION_REACH = Decimal("0.3")


Change = Callable[[tuple[Scenario, ...]], tuple[Scenario, ...]]


class ScriptFile:
    """The script of DATA_DIR, shared by every process. Reading it costs a look at the file's stamp."""

    def __init__(self, data_dir: Path) -> None:
        make_directory(data_dir / FOLDER)
        self.path = data_dir / FOLDER / FILE
        self._lock = ProcessLock(data_dir / FOLDER / "script.lock", "the script", 2.0)
        self._threads = Lock()
        self._stamp: tuple[int, int] | None = None
        self._script = Script()

    def scenarios(self) -> tuple[Scenario, ...]:
        """Everything staged lately. Raises StoreCorrupt."""
        with self._threads:
            stamp = self._seen()
            if stamp != self._stamp:
                self._script, self._stamp = self._read() if stamp else Script(), stamp
            return self._script.scenarios

    def add(self, scenario: Scenario) -> None:
        """Synced. Raises StoreCorrupt and Busy."""
        self._change(lambda known: (*known, scenario), scenario.began_at)

    def clear(self, now: datetime) -> None:
        """Whatever is on ends at *now*."""
        self._change(lambda known: tuple(replace(one, until=min(one.until, now)) for one in known), now)

    def _change(self, change: Change, now: datetime) -> None:
        with self._lock.held():
            known = tuple(one for one in self.scenarios() if now - one.until < KEPT)
            script = Script(change(known)[-SCENARIOS_MAX:])
            with trouble_told(self.path, "written"):
                replace_whole(self.path, sealed(encode_script(script)) + b"\n", SystemDisk(), sync=True)

    def _seen(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> Script:
        with trouble_told(self.path, "read"):
            record = unsealed(self.path.read_bytes().rstrip(b"\n"))
        if record is None:
            raise StoreCorrupt(f"{self.path} is damaged; remove it", file=str(self.path))
        record.pop("checksum")
        return decode_script(record)


class StagedMarket(PaperMarket):
    """The paper market, with the crashes of the script in its prices."""

    def __init__(self, seed: int, script: ScriptFile) -> None:
        super().__init__(seed)
        self._script = script

    def mid(self, coin: Coin, at: datetime) -> Price:
        return Price(super().mid(coin, at) * self._left(coin, at))

    def mark(self, coin: Coin, at: datetime) -> Price:
        price = super().mark(coin, at) * self._left(coin, at)
        return Price(price.quantize(price_tick(price, INSTRUMENTS[coin]), ROUND_HALF_EVEN))

    def _left(self, coin: Coin, at: datetime) -> Decimal:
        """What crashes leave of a price."""
        left = ONE
        for one in self._script.scenarios():
            if one.plays(ScenarioKind.CRASH, at, coin):
                left *= ONE - one.share
        return left


class StagedVenue(PaperVenue):
    """The paper venue on a stage."""

    def __init__(
        self, market: StagedMarket, journal: Journal, clock: Clock, equity_usd: Usd, script: ScriptFile
    ) -> None:
        super().__init__(market, journal, clock, equity_usd)
        self._prices = market
        self._time = clock
        self._script = script

    def stage(self, request: ScenarioRequest) -> Scenario:
        """Begin *request* now. Raises InvalidRequest for a coin that is missing, not listed, or has nothing to take."""
        if request.coin is None and request.kind in NEED_COIN:
            raise InvalidRequest({"coin": f"is needed for {request.kind}"})
        if request.coin is not None and request.coin not in INSTRUMENTS:
            raise InvalidRequest({"coin": "is not listed at the paper venue"})
        now = self._time.now()
        fill = self._liquidate(request.coin, now) if request.kind is ScenarioKind.LIQUIDATION else None
        until = now + timedelta(seconds=request.seconds)
        scenario = Scenario(request.kind, request.coin, request.share, now, until, fill)
        self._script.add(scenario)
        return scenario

    def staged(self) -> tuple[Scenario, ...]:
        """What is on now, oldest first."""
        now = self._time.now()
        return tuple(one for one in self._script.scenarios() if one.began_at <= now < one.until)

    def clear_stage(self) -> None:
        self._script.clear(self._time.now())

    # The port

    def instruments(self) -> Mapping[Coin, Instrument]:
        halted = [one.coin for one in self.staged() if one.kind is ScenarioKind.HALTED_COIN and one.coin]
        if not halted:
            return INSTRUMENTS
        return {**INSTRUMENTS, **{coin: replace(INSTRUMENTS[coin], delisted=True) for coin in halted}}

    def quotes(self, coins: Collection[Coin]) -> Mapping[Coin, Quote]:
        if not self.staged():
            return super().quotes(coins)
        found = super().quotes(self._priced(coins))
        return {coin: self._prices.quote(coin, self._seen_at(coin)) for coin in found}

    def depths(self, coins: Collection[Coin]) -> Mapping[Coin, Depth]:
        if not self.staged():
            return super().depths(coins)
        found = super().depths(self._priced(coins))
        return {coin: self._prices.depth(coin, self._seen_at(coin)) for coin in found}

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        now = self._time.now()
        refused = {one.client_order_id: reason for one in orders if (reason := self._refusal(one, now)) is not None}
        sent = [self._shortened(one, now) for one in orders if one.client_order_id not in refused]
        answered = {one.client_order_id: one for one in super().submit(sent)}
        if self._plays(ScenarioKind.LOST_ANSWER):
            answered = {name: _silent(name, now) for name in answered}
        reports = {**answered, **{name: _refused(name, reason, now) for name, reason in refused.items()}}
        return tuple(_honest(one, reports[one.client_order_id]) for one in orders)

    def reports(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        now = self._time.now()
        told = zip(orders, super().reports(orders), strict=True)
        return tuple(
            _silent(order.client_order_id, now) if self._kept_back(order, now) else _honest(order, report)
            for order, report in told
        )

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """A liquidation was carried out as an order of the account; it is told as what it stands for."""
        staged = {one.fill.id: one.fill for one in self._script.scenarios() if one.fill is not None}
        return tuple(staged.get(_liquidation_id(one.client_order_id), one) for one in super().account_fills(since))

    # The faults

    def _plays(self, kind: ScenarioKind, coin: Coin | None = None) -> bool:
        now = self._time.now()
        return any(one.plays(kind, now, coin) for one in self._script.scenarios())

    def _priced(self, coins: Collection[Coin]) -> tuple[Coin, ...]:
        return tuple(coin for coin in coins if not self._plays(ScenarioKind.DEAD_STREAM, coin))

    def _seen_at(self, coin: Coin) -> datetime:
        """The instant that the prices of *coin* are of."""
        now = self._time.now()
        stale = [one.began_at for one in self._script.scenarios() if one.plays(ScenarioKind.STALE_PRICES, now, coin)]
        return min(stale, default=now)

    def _refusal(self, order: Order, now: datetime) -> RejectReason | None:
        if self._plays(ScenarioKind.HALTED_COIN, order.coin):
            return RejectReason.NOT_TRADABLE
        if not order.reduce_only and self._plays(ScenarioKind.LEG_REFUSED, order.coin):
            return RejectReason.NO_MATCH
        return None

    def _shortened(self, order: Order, now: datetime) -> Order:
        """An opening order as far as it will be filled, at least one lot of it."""
        shares = [
            one.share for one in self._script.scenarios() if one.plays(ScenarioKind.PARTIAL_FILLS, now, order.coin)
        ]
        if order.reduce_only or not shares or order.coin not in INSTRUMENTS:
            return order
        step = INSTRUMENTS[order.coin].quantity_step
        return replace(order, quantity=Quantity(max(floor_to_step(order.quantity * min(shares), step), step)))

    def _kept_back(self, order: Order, now: datetime) -> bool:
        """Sent while answers were lost, and lately."""
        sent, kind = order.intended_at, ScenarioKind.LOST_ANSWER
        return now - sent < SILENCE and any(one.plays(kind, sent, order.coin) for one in self._script.scenarios())

    def _liquidate(self, coin: Coin | None, now: datetime) -> AccountFill:
        held = super().account().held(coin) if coin is not None else Quantity(Decimal(0))
        if coin is None or not held:
            raise InvalidRequest({"coin": "is not held; there is nothing to liquidate"})
        side = Side.SELL if held > 0 else Side.BUY
        order = self._taking(coin, side, Quantity(abs(held)), now)
        (report,) = super().submit([order])
        if not report.filled or report.average_price is None:
            raise InvalidRequest({"coin": f"could not be taken: {report.detail or report.status}"})
        name = _liquidation_id(order.client_order_id)
        cause = FillCause.LIQUIDATION
        return AccountFill(name, coin, side, report.filled, report.average_price, report.fees, now, cause)

    def _taking(self, coin: Coin, side: Side, quantity: Quantity, now: datetime) -> Order:
        mark = self._prices.mark(coin, now)
        limit = mark * (ONE + side.sign * LIQUIDATION_REACH)
        return Order(
            client_order_id=ClientOrderId("0x" + hash_of("liquidation", coin, now.isoformat())[:32]),
            coin=coin,
            side=side,
            quantity=quantity,
            limit_price=Price(limit.quantize(price_tick(limit, INSTRUMENTS[coin]), ROUND_HALF_EVEN)),
            reduce_only=True,
            slice_number=1,
            attempt=0,
            intended_at=now,
            expires_at=now + timedelta(seconds=ORDER_SECONDS),
        )


def _liquidation_id(client_order_id: ClientOrderId | None) -> str:
    return f"liquidation-{client_order_id[2:18]}" if client_order_id is not None else ""


def _silent(name: ClientOrderId, now: datetime) -> OrderReport:
    return OrderReport(name, OrderStatus.UNKNOWN, now, detail="staged: the answer was lost")


def _refused(name: ClientOrderId, reason: RejectReason, now: datetime) -> OrderReport:
    return OrderReport(name, OrderStatus.REJECTED, now, reason=reason, detail="staged: refused")


def _honest(order: Order, report: OrderReport) -> OrderReport:
    """What is filled of the order that was asked for, not of the shortened one."""
    if report.status is OrderStatus.FILLED and report.filled < order.quantity:
        return replace(report, status=OrderStatus.PARTIALLY_FILLED)
    return report
