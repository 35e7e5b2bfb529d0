"""People and siblings at the doors of the web process: they execute, repeat, close, cancel, stop and resume.

The law: whatever they do, and however often, is something that somebody could do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from tests.builders import given_signal
from tests.simulation.tasks import Task
from trading.domain.errors import DeskError, InvariantBroken, ResumeRefused, StopInProgress
from trading.domain.trades import TradeStatus
from trading.domain.units import Usd
from trading.engine import closing, emergency, entry
from trading.engine.desk import Desk
from trading.engine.recovery import drifts
from trading.engine.requests import ExecuteRequest, Execution, TwapRequest

if TYPE_CHECKING:
    from tests.simulation.world import World

PAIRS = ("BTC/ETH", "SOL/ETH", "BTC/SOL", "AVAX/ETH", "DOGE/BTC", "SOL/AVAX")
PATIENCE = 60


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
        world.note(None, f"a storm of {storm:.0f} s begins: {world.weather}")

    def end(self, way: str) -> None:
        """The last request: a stop, or every position by hand. Comes again until it is heard."""
        action = self._stop if way == "stop" else self._close_all
        self._at(self.world.scheduler.now, way, action)

    def insist(self) -> None:
        """Every request that has traded, once more, under its own key and under another."""
        traded = self.world.auditor.signals_traded()
        for asked in (one for one in self.asked if one.request.signal_id in traded):
            for key in (asked.key, f"{asked.key} again"):
                self._at(self.world.scheduler.now, "repeat", partial(_execute_again, asked=asked, key=key))

    def _at(self, instant: float, name: str, action: Callable[[Desk], None]) -> None:
        self.world.scheduler.at(instant, lambda: self._ask(name, action))

    def _ask(self, name: str, action: Callable[[Desk], None], tries: int = PATIENCE) -> None:
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
        world.signals[signal_id] = given_signal(
            signal_id, pair, random.choice(("2.4", "-2.4")), created_at=world.host_now()
        )
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
        )
        self.asked.append(Asked(request, signal_id))
        if random.random() < 0.2:
            self._at(world.scheduler.now + random.random() * 0.3, "repeat", self._repeat)
        entry.execute(desk, request)

    def _repeat(self, desk: Desk) -> None:
        """The same again, at times under another key."""
        if self.asked:
            asked = self.world.random.choice(self.asked)
            key = asked.key if self.world.random.random() < 0.7 else f"{asked.key} again"
            entry.execute(desk, asked.request, key)

    def _close(self, desk: Desk) -> None:
        standing = desk.store.book().standing_positions()
        if standing:
            closing.close_by_hand(desk, self.world.random.choice(standing).id)

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
        found = drifts(desk.store.book(), desk.venue.account(), desk.store.state())
        try:
            emergency.resume(desk, [drift.coin for drift in found])
        except (ResumeRefused, StopInProgress) as refusal:
            self.world.note(None, f"resume refused: {refusal.detail}")
            raise
