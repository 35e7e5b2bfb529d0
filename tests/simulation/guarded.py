"""The way to an exchange at which triggers rest and whose fills are told, and back, on which things get lost.

The law: as for orders: what has left happens whether anybody lives to hear of it or not. Nothing here decides what goes
wrong: the world does.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from tests.simulation.processes import MOMENT, SKEW_MAX, SimulatedVenue
from trading.domain.errors import VenueUnavailable
from trading.domain.market import Candle, CandleInterval, Traits
from trading.domain.resting import AccountFill, ListedOrder, RestingOrder, RestingReport, RestingStatus
from trading.domain.units import ClientOrderId, Coin

LATE_SECONDS = (0.5, 2.0, 6.0, 9.0, 14.0)
LAGS = (0.0, 0.3, 1.0)
"""Reads lag writes by up to a second (measured on Hyperliquid's testnet)."""


class GuardedVenue(SimulatedVenue):
    """The Venue port of one process at such an exchange."""

    traits = Traits(rests_orders=True, tells_fills=True)

    def place_resting(self, orders: Sequence[RestingOrder], expires_at: datetime) -> tuple[RestingReport, ...]:
        process, world = self._process, self._world
        process.at_risk("place resting")
        world.guards.sent(orders)
        fate = world.fate_of_a_submit()
        world.note(process, f"lets rest {_words(orders)}" + (f" ({fate})" if fate else ""))
        offset = timedelta(seconds=world.host_offset)
        until = expires_at - offset if abs(offset) > SKEW_MAX else expires_at
        arrived = self._travel(fate, lambda: world.rest(orders, until))
        process.at_risk("resting placed")
        words = world.exchange.triggers.words
        unknown = [RestingReport(one.client_order_id, RestingStatus.UNKNOWN) for one in orders]
        if not arrived:
            return tuple(unknown)
        return tuple(words.get(one.client_order_id, unknown[place]) for place, one in enumerate(orders))

    def cancel_resting(self, orders: Sequence[RestingOrder]) -> frozenset[ClientOrderId] | None:
        process, world = self._process, self._world
        process.at_risk("cancel resting")
        fate = world.fate_of_a_submit()
        world.note(process, f"takes back {_words(orders)}" + (f" ({fate})" if fate else ""))
        world.guards.taken_back(orders)
        there: set[ClientOrderId] = set()
        arrived = self._travel(fate, lambda: there.update(world.exchange.triggers.take_back(orders)))
        process.at_risk("resting canceled")
        return frozenset(there) if arrived else None

    def resting(self) -> tuple[ListedOrder, ...]:
        self._read("resting")
        return self._world.exchange.triggers.listed(self._world.true_now() - self._lag())

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """The adapter knows how far the clock of the host is off, and asks by the exchange's own."""
        world, process = self._world, self._process
        if process.fills_unread_since is None:
            process.fills_unread_since = world.scheduler.now
        process.fills_failed.append(world.scheduler.now)
        self._read("fills")
        if world.stormy and world.further.random() < world.ways.fills_fail:
            raise VenueUnavailable("fills cannot be read")
        process.fills_unread_since = None
        process.fills_failed.pop()
        first = since - timedelta(seconds=world.host_offset)
        return world.exchange.account_fills(first, world.true_now() - self._lag())

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, end: datetime) -> tuple[Candle, ...]:
        self._read("candles")
        return self._world.exchange.candles(coin, interval, start, end)

    def _travel(self, fate: str, arrive: Callable[[], None]) -> bool:
        """Send something on its way; whether an answer came back."""
        process, world = self._process, self._world
        way, back = self._latency(), self._latency()
        if fate == "request lost":
            process.wait(way + back)
            return False
        if fate == "late":
            world.scheduler.at(world.scheduler.now + way + world.random.choice(LATE_SECONDS), arrive)
            process.wait(world.random.choice((0.1, 1.0, 3.0)))
            return False
        world.scheduler.at(world.scheduler.now + way, arrive)
        process.wait(way)
        process.wait(MOMENT)
        process.wait(back)
        return not fate

    def _lag(self) -> timedelta:
        world = self._world
        return timedelta(seconds=world.random.choice(LAGS) if world.stormy else 0.0)


def _words(orders: Sequence[RestingOrder]) -> str:
    return ", ".join(
        f"{one.kind} {one.side} {one.quantity} {one.coin} at {one.trigger_price} {one.client_order_id[2:10]}"
        for one in orders
    )
