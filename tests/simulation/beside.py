"""A person who holds a coin of the desk's in the same account: what rests for the desk fires beside that, and somebody
closes at that very moment.

The law: of what is theirs nothing is ever sold, whoever dies meanwhile and however late the fills are told.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.exchange import LISTED
from tests.simulation.faults import Weather
from tests.simulation.hour import STEP, Hour
from trading.domain.desk_state import Cause, TradingState
from trading.domain.resting import RestingOrder
from trading.domain.units import ZERO, Coin

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.25
GUARDED_SECONDS_MAX = 60.0
SEEN_SECONDS_MAX = 30.0
AFTERWARDS_SECONDS = 30.0
PARTS = ("0.3", "1", "1", "2.5")
"""How much they hold, as a share of the desk's leg. Of as much, once it has fired, the account shows nothing."""
BEYOND = (0.002, 0.03, 0.08)
"""How far beyond the trigger the mark goes. The limit is a tenth beyond it."""
WORTH_MIN = 100
PAUSES = (0.0, 0.05, 0.3, 0.8, 2.0, 10.0)
CRASHES = (0.0, 0.0, 0.004, 0.015)


class Beside(Hour):
    """What is theirs, signed coins, and the hour in which it is at stake."""

    def __init__(self, world: "World", *, may_come: bool) -> None:
        super().__init__(world)
        self.random = Random(f"beside {world.seed}")
        self.comes = may_come and self.random.random() < SHARE
        self.held: dict[Coin, Decimal] = {}
        self._spent = ZERO

    @property
    def made(self) -> Decimal:
        """What they have made of it by now, USD."""
        return sum((quantity * self.world.exchange.mid(coin) for coin, quantity in self.held.items()), -self._spent)

    def take_over(self, coin: Coin, quantity: Decimal, price: Decimal) -> None:
        """The desk has left them *quantity*, signed, which it could not sell beside theirs, and books it at *price*."""
        self.held[coin] += quantity
        self._spent += quantity * price

    def hour(self) -> None:
        """Somebody opens, a person takes some of the same, the mark goes where what rests fires, and somebody closes.

        Nothing gets lost on the way meanwhile, for who cannot hear what has fired cannot know; but processes die, and
        what is read is late.
        """
        world, random = self.world, self.random
        if self._state() is not TradingState.ACTIVE:
            world.operators.resume()
            self._pass(2 * STEP)
        world.operators.open_once_more()
        whole = random.random() < 0.7
        if not self._until(lambda: bool(self._guards(whole=whole)), GUARDED_SECONDS_MAX):
            world.count("beside: nothing is guarded")
            return
        order = random.choice(self._guards(whole=whole))
        self._buy(order)
        # Before the desk has seen it, it cannot know that as much as is theirs has gone.
        if not self._until(lambda: self._is_known(order.coin), SEEN_SECONDS_MAX):
            world.count("beside: not seen")
            return
        if random.random() < 0.5:
            world.operators.resume()
            self._pass(STEP)
            self._until(lambda: not world.operators.busy, SEEN_SECONDS_MAX)
        self._pass(random.choice((0.5, 3.0, 31.0)))
        world.weather = Weather(
            crash=random.choice(CRASHES),
            disk_crash=random.choice(CRASHES),
            power=0.3,
            old_account=random.choice((0.0, 0.3)),
        )
        world.ways = replace(world.ways, fills_fail=0.0)
        world.stormy = True
        if random.random() < 0.3:
            world.operators.open_once_more()
            self._pass(random.choice(PAUSES))
        # While a trigger is moved two rest for a moment, and together they may take more than is ours.
        owner = world.guards.owners[order.client_order_id]
        self._until(lambda: not world.guards.overguarded(owner, order.coin), GUARDED_SECONDS_MAX)
        self._fire(order)
        self._pass(AFTERWARDS_SECONDS)

    def _guards(self, *, whole: bool) -> list[RestingOrder]:
        """What rests for legs of which nobody else has ever had anything; for those that are *whole* only. Not for what
        is so little that it might be left to them."""
        world, auditor = self.world, self.world.auditor
        # Of what may still come of an order that was given up they cannot be told.
        given_up = {order.coin for trade in auditor.trades.values() for order in trade.unexplained}
        found = []
        for name, one in world.exchange.triggers.there.items():
            owner, coin = world.guards.owners[name], one.order.coin
            clean = coin not in world.foreign | given_up and not world.exchange.was_taken(coin)
            grows = auditor.trades[auditor.held[owner].terms.trade_id].live
            worth = one.left * world.exchange.mid(coin)
            if (
                clean
                and worth >= WORTH_MIN
                and not one.fired
                and not auditor.is_being_closed(owner)
                and not (whole and grows)
            ):
                found.append(one.order)
        return found

    def _buy(self, order: RestingOrder) -> None:
        exchange, lot = self.world.exchange, LISTED[order.coin][1]
        amount = max(order.quantity * Decimal(self.random.choice(PARTS)) // lot * lot, lot) * -order.side.sign
        self.held[order.coin] = amount
        self._spent += amount * exchange.mid(order.coin)
        self.world.note(None, f"a person takes {amount} {order.coin}")
        exchange.take(order.coin, amount, "beside")

    def _fire(self, order: RestingOrder) -> None:
        """If it still rests, or another in its place."""
        world, random, exchange = self.world, self.random, self.world.exchange
        owner = world.guards.owners[order.client_order_id]
        there = [one.order for one in exchange.triggers.there.values() if one.order.coin == order.coin]
        if not any(world.guards.owners[one.client_order_id] == owner for one in there):
            world.count("beside: left before")
            return
        world.count("beside")
        leave: Callable[[], None] = random.choice(
            (
                partial(world.operators.close, owner),
                partial(world.operators.close, owner),
                partial(world.operators.end, "stop"),
                partial(world.operators.end, "by hand"),
                lambda: None,
            )
        )
        world.scheduler.at(world.scheduler.now + random.choice(PAUSES), leave)
        way = 1 if order.trigger_price > exchange.mid(order.coin) else -1
        goal = float(order.trigger_price) * (1 + way * random.choice(BEYOND))
        exchange.jump(order.coin, goal / float(exchange.mid(order.coin)) - 1)

    def _is_known(self, coin: Coin) -> bool:
        state = self._desk_state()
        return state is not None and (Cause.DRIFT in state.causes or coin in state.accepted_drift)
