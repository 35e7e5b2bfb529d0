"""What an exchange, or whoever has its page open, does to the account without asking: it takes away all that rests,
delists a coin and settles it some time later, liquidates everything bit by bit, closes a leg by hand, refuses cross
margin, changes a leverage, pays in or out, is down for maintenance and takes no order for a while after.

The law: its fills tell of all that was taken, so that nothing of it is somebody else's; what the desk has to do about
it has a bound where nothing else is in its way.
"""

from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.exchange import LISTED
from tests.simulation.guards import LOST_BUDGET
from tests.simulation.hour import STEP, Hour
from tests.simulation.promises import require
from trading.domain.desk_state import TradingState
from trading.domain.units import ZERO, Coin, PositionId

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.5
FAIR_SHARE = 0.25
KINDS = ("swept", "delist", "by hand", "liquidate all", "maintenance", "transfer", "no cross", "leverage")
FAIR_KINDS = KINDS[:6]
"""Those that do something to what stands, or to the money behind it."""
SETTLED_AFTER = (3.0, 20.0, 90.0)
PARTS = ("1", "1", "0.5", "0.1")
FIRST_PART = Decimal("0.2")
REST_AFTER = (0.4, 2.0, 9.0)
"""Seconds between the first part of a liquidation and the rest of it."""
PENALTY = Decimal("0.01")
DOWN_SECONDS = (8.0, 25.0)
POST_ONLY_SECONDS = (2.0, 10.0)
REFUSED_SECONDS = 12.0
TRANSFERRED = ("-0.4", "-0.15", "0.3")
"""What somebody pays out, or in, as a share of the account's equity."""
LEVERAGES = (1, 2, 5, 10)
OPENED_SECONDS_MAX = 60.0
PAUSES = (0.5, 3.0, 31.0)
KILLED_AFTER = (0.1, 1.0, 2.5)
AFTERWARDS_SECONDS = 120.0


class Harsh(Hour):
    """What of it comes in a run, amid the storm and in a fair hour after it, and who has to be out of it soon."""

    def __init__(self, world: "World", *, may_come: bool) -> None:
        super().__init__(world)
        self.random = Random(f"harsh {world.seed}")
        self.storms = may_come and self.random.random() < SHARE
        self.comes = may_come and self.random.random() < FAIR_SHARE
        self._alone: dict[PositionId, float] = {}

    def plan(self, until: float) -> None:
        """Lay out what happens in a storm of that many seconds."""
        if self.storms:
            for kind in self.random.sample(KINDS, self.random.choice((1, 1, 2, 3))):
                self.world.scheduler.at(self.random.uniform(3.0, until), self._event(kind))

    def hour(self) -> None:
        """Somebody opens, and amid that or after it one of them comes; at times a process is killed then."""
        world, random = self.world, self.random
        if self._state() is not TradingState.ACTIVE:
            world.operators.resume()
            self._pass(2 * STEP)
        world.operators.open_once_more()
        if not self._until(lambda: bool(self._held()), OPENED_SECONDS_MAX):
            world.count("harsh: nothing stands")
            return
        self._pass(random.choice(PAUSES))
        self._happen(random.choice(FAIR_KINDS))
        if random.random() < 0.5:
            name = random.choice(("web", "monitor"))
            world.scheduler.at(world.scheduler.now + random.choice(KILLED_AFTER), lambda: self._kill(name))
        self._pass(AFTERWARDS_SECONDS)

    def look(self, seconds: float) -> None:
        """*seconds* have passed: whoever has lost something of a leg is out of both soon."""
        for position_id, alone in self._alone.items():
            held = self.world.auditor.held[position_id]
            out = self.world.guards.is_out(held) or self.world.auditor.in_its_way(held)
            self._alone[position_id] = alone = 0.0 if out else alone + seconds
            require(alone <= LOST_BUDGET, f"{held.terms.pair} has stood for {alone:.0f} s since other hands took of it")

    def _event(self, kind: str) -> Callable[[], None]:
        def happen() -> None:
            if self.world.stormy:
                self._happen(kind)

        return happen

    def _happen(self, kind: str) -> None:
        world, random = self.world, self.random
        world.count(f"harsh: {kind}")
        world.note(None, kind)
        world.auditor.disturbed()
        held = self._held()
        coin = random.choice(held or sorted(LISTED))
        match kind:
            case "swept":
                world.exchange.triggers.sweep()
                world.exchange.triggers.swept_at = world.scheduler.now
            case "delist":
                world.exchange.delist(coin)
                self._later(random.choice(SETTLED_AFTER), lambda: self._settle(coin))
            case "by hand" if held:
                self._take(coin, Decimal(random.choice(PARTS)), "hand")
            case "liquidate all":
                for one in held:
                    self._take(one, FIRST_PART, "liquidate")
                self._later(random.choice(REST_AFTER), lambda: self._liquidate(held))
            case "maintenance":
                self._go_down(random.choice(DOWN_SECONDS))
            case "transfer":
                share = Decimal(random.choice(TRANSFERRED))
                world.exchange.transfer((world.exchange.equity * share).quantize(Decimal("0.01")))
            case "no cross":
                world.exchange.no_cross.add(coin)
                self._later(REFUSED_SECONDS, lambda: world.exchange.no_cross.discard(coin))
            case "leverage":
                world.exchange.leverages[coin] = random.choice(LEVERAGES)

    def _settle(self, coin: Coin) -> None:
        self._take(coin, Decimal(1), "settle")
        self.world.note(None, f"{coin} is settled")

    def _liquidate(self, coins: list[Coin]) -> None:
        """All of them, but for what a person has come to hold meanwhile."""
        for one in coins:
            if one not in self.world.beside.held:
                self._take(one, Decimal(1), "liquidate")

    def _go_down(self, seconds: float) -> None:
        """It answers nothing, and then takes nothing that would trade at once."""
        world = self.world
        world.reads_down = world.writes_down = True
        world.exchange.halted.update(LISTED)

        def answers() -> None:
            world.reads_down = world.writes_down = False
            world.exchange.halted.clear()
            world.exchange.post_only = True

        self._later(seconds, answers)
        self._later(seconds + self.random.choice(POST_ONLY_SECONDS), self._take_orders)

    def _take_orders(self) -> None:
        self.world.exchange.post_only = False

    def _take(self, coin: Coin, part: Decimal, by: str) -> None:
        """Hands that are not the desk's trade *part* of what is held of the coin."""
        world, lot = self.world, LISTED[coin][1]
        quantity = world.exchange.quantities[coin]
        amount = abs(quantity) * part // lot * lot
        if not amount:
            return
        if not world.ways.tells_fills:
            world.foreign.add(coin)
        self._note_losers(coin, amount)
        discount = PENALTY if by == "liquidate" else ZERO
        world.exchange.take(coin, -amount if quantity > 0 else amount, by, discount)
        world.auditor.disturbed()

    def _note_losers(self, coin: Coin, amount: Decimal) -> None:
        """Those whose part of it is some lots at least."""
        left = {one: held.left(coin) for one, held in self.world.auditor.held.items() if held.left(coin) > 0}
        total = sum(left.values(), ZERO)
        if self.world.ways.tells_fills and coin not in self.world.foreign:
            losers = [one for one, own in left.items() if amount * own / total >= 2 * LISTED[coin][1]]
            self._alone.update(dict.fromkeys(losers, 0.0))

    def _held(self) -> list[Coin]:
        return sorted(coin for coin, quantity in self.world.exchange.quantities.items() if quantity)

    def _kill(self, name: str) -> None:
        process = self.world.processes.get(name)
        if process is not None:
            self.world.die(process, "by a signal")

    def _later(self, seconds: float, action: Callable[[], object]) -> None:
        def happen() -> None:
            action()

        self.world.scheduler.at(self.world.scheduler.now + seconds, happen)
