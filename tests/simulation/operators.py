"""People and siblings at the doors of the web process: they execute, repeat, close, cancel, stop and resume.

The law: whatever they do, and however often, is something that somebody could do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from tests.builders import given_signal
from tests.simulation.exchange import past_zscore
from tests.simulation.tasks import Task
from trading.domain.errors import DeskError, InvariantBroken, ResumeRefused, StopInProgress
from trading.domain.exit_plan import TrailingStop
from trading.domain.market import Pair
from trading.domain.trades import TradeStatus
from trading.domain.units import Coin, PositionId, Ratio, Usd
from trading.engine import closing, emergency, entry, exits
from trading.engine.desk import Desk
from trading.engine.recovery import drifts
from trading.engine.requests import CloseRequest, ExecuteRequest, Execution, ExitChange, TwapRequest

if TYPE_CHECKING:
    from tests.simulation.world import World

PAIRS = ("BTC/ETH", "SOL/ETH", "BTC/SOL", "AVAX/ETH", "DOGE/BTC", "SOL/AVAX")
PATIENCE = 60
EXIT_KINDS = ("", "", "usd", "spread", "z", "trailing")


class FurtherExits(TypedDict, total=False):
    """Barriers beside the plain ones, by their names in a request."""

    take_profit: Decimal
    stop_loss: Decimal
    trailing: TrailingStop
    take_profit_usd: Usd
    stop_loss_usd: Usd
    take_profit_spread: Decimal
    stop_loss_spread: Decimal
    take_profit_z: Decimal
    stop_loss_z: Decimal


FAR: FurtherExits = {"take_profit": Decimal("0.2"), "stop_loss": Decimal("0.2")}
"""Plain barriers that leave it to the further ones."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was sent, to be sent again."""

    request: ExecuteRequest
    key: str


def _execute_again(desk: Desk, *, asked: Asked, key: str) -> None:
    entry.execute(desk, asked.request, key)


class Operators:
    """What is asked of the desk in one run."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.asked: list[Asked] = []
        self.under_way: list[Task] = []

    def plan(self, storm: float) -> None:
        """Lay out the requests of a storm of that many seconds."""
        world, random = self.world, self.world.random
        for _ in range(random.randint(1, 4)):
            at = random.uniform(0.5, storm * 0.7)
            # At times several at once, who all find room for themselves.
            for _ in range(random.choice((1, 1, 1, 3))):
                self._at(at, "execute", self._execute)
        for action, name, share in (
            (self._repeat, "repeat", 0.5),
            (self._repeat, "repeat", 0.5),
            (self._close, "close", 0.4),
            (self._close, "close", 0.2),
            (self._cancel, "cancel", 0.3),
            (self._stop, "stop", 0.25),
            (self._resume, "resume", 0.3),
        ):
            if random.random() < share:
                self._at(random.uniform(1.0, storm), name, action)
        if world.ways.further_exits:
            for _ in range(world.further.choice((0, 1, 2))):
                self._at(world.further.uniform(2.0, storm), "change exits", self._change_exits)
        world.note(None, f"a storm of {storm:.0f} s begins: {world.weather} {world.ways}")

    def end(self, way: str) -> None:
        """The last request: a stop, or every position by hand. Comes again until it is heard."""
        action = self._stop if way == "stop" else self._close_all
        self._at(self.world.scheduler.now, way, action)

    def open_once_more(self) -> None:
        """A position in slices, with barriers that leave it alone."""
        self._at(self.world.scheduler.now, "execute in the calm", self._execute_in_the_calm)

    def close(self, position_id: PositionId) -> None:
        """Somebody closes a position, now."""
        self._at(self.world.scheduler.now, "close", partial(closing.close_by_hand, position_id=position_id))

    def resume(self) -> None:
        """Somebody looks at what is in the way, and resumes, now."""
        self._at(self.world.scheduler.now, "resume", self._resume)

    def insist(self) -> None:
        """Every request that has traded, once more, under its own key and under another."""
        traded = self.world.auditor.signals_traded()
        for asked in (one for one in self.asked if one.request.signal_id in traded):
            for key in (asked.key, f"{asked.key} again"):
                self._at(self.world.scheduler.now, "repeat", partial(_execute_again, asked=asked, key=key))

    def _at(self, instant: float, name: str, action: Callable[[Desk], object]) -> None:
        self.world.scheduler.at(instant, lambda: self._ask(name, action))

    def _ask(self, name: str, action: Callable[[Desk], object], tries: int = PATIENCE) -> None:
        """Begin a request in the web process; again a second later while nobody answers there."""
        world = self.world
        process = world.process("web")
        if process is None or process.desk is None:
            if tries:
                world.scheduler.at(world.scheduler.now + 1.0, lambda: self._ask(name, action, tries - 1))
            return
        desk = process.desk

        def request() -> None:
            try:
                action(desk)
            except InvariantBroken:
                raise
            except DeskError as error:
                world.count(f"{name}: {error.code}")
                world.note(process, f"{name}: {error.code} {error.detail}")
            else:
                world.count(f"{name}: done")
                world.note(process, f"{name}: done")

        world.note(process, f"{name} is asked for")
        self.under_way = [task for task in self.under_way if task.is_alive()]
        self.under_way.append(world.scheduler.spawn(process, name, request))

    @property
    def busy(self) -> bool:
        """Whether somebody is still waiting for an answer."""
        return any(task.is_alive() for task in self.under_way)

    def _execute(self, desk: Desk) -> None:
        world, random = self.world, self.world.random
        signal_id = f"signal_{len(world.signals)}"
        pair = random.choice(PAIRS)
        zscore = random.choice(("2.4", "-2.4"))
        kind = world.further.choice(EXIT_KINDS) if world.ways.further_exits else ""
        if kind == "z":
            zscore = "2.4" if past_zscore(world.exchange, *_coins(pair)) > 0 else "-2.4"
        world.signals[signal_id] = given_signal(signal_id, pair, zscore, created_at=world.host_now())
        size = Decimal(random.choice((60, 250, 1_000, 4_000, 9_000)))
        world.sizes[signal_id] = size
        sliced = random.random() < 0.4
        request = ExecuteRequest(
            signal_id=signal_id,
            position_size=Usd(size),
            leverage=random.choice((1, 2)),
            execution=Execution.TWAP if sliced else Execution.MARKET,
            twap=TwapRequest(random.choice((8, 20)), random.choice((2, 4))) if sliced else None,
            max_holding_seconds=random.choice((None, 5, 20)),
            **self._further_exits(kind, Pair.parse(pair), size, base_long=zscore == "-2.4"),
        )
        self.asked.append(Asked(request, signal_id))
        if random.random() < 0.2:
            self._at(world.scheduler.now + random.random() * 0.3, "repeat", self._repeat)
        entry.execute(desk, request)

    def _execute_in_the_calm(self, desk: Desk) -> None:
        world, signal_id = self.world, f"signal_{len(self.world.signals)}"
        zscore = world.later.choice(("2.4", "-2.4"))
        pair, size = world.later.choice(PAIRS), Usd(Decimal(world.later.choice((1_000, 4_000))))
        world.signals[signal_id] = given_signal(signal_id, pair, zscore, created_at=world.host_now())
        world.sizes[signal_id] = size
        request = ExecuteRequest(
            signal_id=signal_id, position_size=size, execution=Execution.TWAP, twap=TwapRequest(20, 4), **FAR
        )
        self.asked.append(Asked(request, signal_id))
        entry.execute(desk, request)

    def _repeat(self, desk: Desk) -> None:
        """The same again, at times under another key."""
        if self.asked:
            asked = self.world.random.choice(self.asked)
            key = asked.key if self.world.random.random() < 0.7 else f"{asked.key} again"
            entry.execute(desk, asked.request, key)

    def _further_exits(self, kind: str, pair: Pair, size: Decimal, *, base_long: bool) -> FurtherExits:
        """Barriers of *kind* around the present prices, most of them near enough to be met."""
        random, exchange = self.world.further, self.world.exchange
        near = Decimal(random.choice(("0.004", "0.01", "0.03")))
        match kind:
            case "usd":
                return {**FAR, "take_profit_usd": Usd(size * near), "stop_loss_usd": Usd(size * near)}
            case "spread":
                ratio = exchange.mid(pair.base) / exchange.mid(pair.quote)
                way = ratio * near * (1 if base_long else -1)
                return {**FAR, "take_profit_spread": ratio - 1 + way, "stop_loss_spread": ratio - 1 - way}
            case "z":
                away = Decimal(f"{abs(past_zscore(exchange, pair.base, pair.quote)):.2f}")
                return {**FAR, "take_profit_z": max(away - 1, Decimal(0)), "stop_loss_z": away + random.choice((1, 3))}
            case "trailing":
                return {"trailing": TrailingStop(Ratio(near), Ratio(near / 2))}
        return {}

    def _change_exits(self, desk: Desk) -> None:
        """Somebody moves the barriers of a position, at times further out than may be."""
        random, standing = self.world.further, desk.store.book().standing_positions()
        if not standing:
            return
        position = random.choice(standing)
        notional, share = (
            max(position.entry_notional, Usd(Decimal(60))),
            Decimal(random.choice(("0.003", "0.008", "0.02"))),
        )
        change = random.choice(
            (
                ExitChange(stop_loss=share),
                ExitChange(take_profit=share),
                ExitChange(max_holding_seconds=random.choice((3, 30))),
                ExitChange(dropped=frozenset({"max_holding_seconds", "stop_loss_usd", "take_profit_spread"})),
                ExitChange(stop_loss_usd=Usd(notional * share), take_profit_usd=Usd(notional * share)),
                ExitChange(stop_loss_z=Decimal(random.choice((3, 9)))),
            )
        )
        exits.change_exits(desk, position.id, change, admin=random.random() < 0.5)

    def _close(self, desk: Desk) -> None:
        standing = desk.store.book().standing_positions()
        if standing:
            further, asked = self.world.further, None
            if self.world.ways.slow_closes and further.random() < 0.6:
                asked = CloseRequest(TwapRequest(further.choice((8, 20)), further.choice((2, 4))))
            closing.close_by_hand(desk, self.world.random.choice(standing).id, asked=asked)

    def _close_all(self, desk: Desk) -> None:
        for position in desk.store.book().standing_positions():
            closing.close_by_hand(desk, position.id)

    def _cancel(self, desk: Desk) -> None:
        live = [trade for trade in desk.store.book().live_trades() if trade.opens]
        if live:
            closing.cancel(desk, self.world.random.choice(live).id)

    def _stop(self, desk: Desk) -> None:
        emergency.stop(desk)

    def _resume(self, desk: Desk) -> None:
        """As a person would: look at what is in the way, accept what is not the desk's, get rid of what is
        suspended."""
        for trade in desk.store.book().live_trades():
            if trade.status is TradeStatus.SUSPENDED and trade.opens:
                closing.cancel(desk, trade.id)
        found = drifts(desk.store.book(), desk.venue.account(), desk.store.state(), desk.venue.traits)
        try:
            emergency.resume(desk, [drift.coin for drift in found])
        except (ResumeRefused, StopInProgress) as refusal:
            self.world.note(None, f"resume refused: {refusal.detail}")
            raise


def _coins(pair: str) -> tuple[Coin, Coin]:
    parsed = Pair.parse(pair)
    return parsed.base, parsed.quote
