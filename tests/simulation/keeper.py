"""The way to an exchange through a service that keeps pairs: it is told dollars, has no ids and no expiry, and its word
is no fill.

The law: what it was sent may happen at any time after, also when it has long been given up; a write that all processes
have registered is never sent twice, and its last word is told alike by all of them. What became of an order is read
from the exchange's fills alone. Nothing here decides what goes wrong: the world does.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.simulation.exchange import LISTED
from tests.simulation.guarded import GuardedVenue
from trading.adapters.hyperliquid_reports import FILLS_LAG
from trading.adapters.pear_reports import ANSWER_SETTLED, CLOSE_PATIENCE, OPEN_PATIENCE, REFUSAL_SETTLED
from trading.domain.market import Traits
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason
from trading.domain.resting import AccountFill, PairLine
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Price, Quantity, floor_to_step

if TYPE_CHECKING:
    from tests.simulation.world import World

LATE_SECONDS = (0.5, 6.0, 14.0, 40.0, 95.0, 95.0, 130.0, 180.0)
SIZED = ("0.9995", "1", "1", "1.0005")
"""What it makes of an order's dollars, as a share of its coins."""
NEVER = timedelta(days=1)


@dataclass
class Write:
    """One write: when it left and when it was answered, by the true clock. Sizes are absolute: `goals` is what was to
    be left of each coin that it reduces."""

    orders: tuple[Order, ...]
    at: datetime
    goals: Mapping[ClientOrderId, Decimal]
    answered_at: datetime | None = None


@dataclass
class Keeper:
    """The service itself and the register of what was sent to it, which every process of the desk shares."""

    world: "World"
    writes: dict[ClientOrderId, Write] = field(default_factory=dict)
    last_words: dict[ClientOrderId, OrderReport] = field(default_factory=dict)
    late: dict[PositionId, defaultdict[Coin, Decimal]] = field(default_factory=dict)
    """How many coins of openings that had been given up came after that, by whose they were, less what was taken
    over."""
    on_the_way: int = 0

    def arrive(self, orders: Sequence[Order]) -> None:
        """It does what it was asked, as far as there is anything to do."""
        self.on_the_way -= 1
        for order in orders:
            self.world.arrive([self._reducing(order) if order.reduce_only else self._opening(order)])
            if order.client_order_id in self.last_words:
                self.came_late(order)

    def late_of(self, position_id: PositionId) -> Mapping[Coin, Decimal]:
        """What has come late for a position and is nobody's yet."""
        return self.late.get(position_id, {})

    def came_late(self, order: Order) -> None:
        """An order may be done that has been given up."""
        filled = self.world.exchange.words[order.client_order_id].filled
        if filled and not order.reduce_only:
            trade, _ = self.world.auditor.intents[order.client_order_id]
            self.late.setdefault(trade.terms.position_id, defaultdict(Decimal))[order.coin] += filled
            self.world.count("done after it was given up")

    def _opening(self, order: Order) -> Order:
        """In dollars, by a band around the mid at that moment, whenever that is."""
        lot, decimals = LISTED[order.coin][1], LISTED[order.coin][2]
        quantity = floor_to_step(order.quantity * Decimal(self.world.further.choice(SIZED)), lot)
        band = order.limit_price / order.mid if order.mid else Decimal(1)
        limit = (self.world.exchange.mid(order.coin) * band).quantize(Decimal(1).scaleb(-decimals))
        return replace(
            order,
            quantity=Quantity(max(quantity, lot)),
            limit_price=Price(limit),
            expires_at=order.expires_at + NEVER,
        )

    def _reducing(self, order: Order) -> Order:
        """Down to what was to be left of that position: what is not there any more is not closed, late or not."""
        left, goal = self.left_of(order), self.writes[order.client_order_id].goals.get(order.client_order_id)
        quantity = order.quantity if left is None or goal is None else Quantity(max(left - goal, ZERO))
        return replace(order, quantity=quantity, expires_at=order.expires_at + NEVER)

    def left_of(self, order: Order) -> Decimal | None:
        """What the position of *order* has of its coin; None for an order of a stop that has no ledger."""
        intent = self.world.auditor.intents.get(order.client_order_id)
        return None if intent is None else self.world.auditor.held[intent[0].terms.position_id].left(order.coin)


class KeeperVenue(GuardedVenue):
    """The Venue port of one process at such a service."""

    traits = Traits(proves_absence=False, sizes_in_coins=False, keeps_pairs=True, rests_orders=True, tells_fills=True)

    def draw_lines(self, lines: Sequence[PairLine]) -> bool:
        """They stand or nobody knows; what they would close, what rests at the exchange closes before."""
        process, world = self._process, self._world
        process.at_risk("draw lines")
        process.wait(self._latency())
        return not world.fate_of_a_submit()

    def account_fills(self, since: datetime) -> tuple[AccountFill, ...]:
        """A fill of what was given up is nobody's: the register has no such order in doubt any more."""
        last = self._world.keeper.last_words
        return tuple(
            replace(one, client_order_id=None)
            if one.client_order_id in last and not last[one.client_order_id].filled
            else one
            for one in super().account_fills(since)
        )

    def _register(self, orders: Sequence[Order]) -> None:
        keeper = self._world.keeper
        left = {one: keeper.left_of(one) for one in orders if one.reduce_only}
        goals = {
            one.client_order_id: max(amount - one.quantity, ZERO) for one, amount in left.items() if amount is not None
        }
        write = Write(tuple(orders), self._world.true_now(), goals)
        keeper.writes.update({one.client_order_id: write for one in orders})
        self._process.at_risk("registered")

    def _lateness(self) -> float:
        return self._world.further.choice(LATE_SECONDS)

    def _send(self, orders: Sequence[Order], arriving_at: float) -> None:
        keeper = self._world.keeper
        keeper.on_the_way += 1
        self._world.scheduler.at(arriving_at, lambda: keeper.arrive(orders))

    def _heard(self, orders: Sequence[Order], *, answered: bool) -> tuple[OrderReport, ...]:
        for one in orders if answered else ():
            self._world.keeper.writes[one.client_order_id].answered_at = self._world.true_now()
        return tuple(self._word_on(one) for one in orders)

    def _word_on(self, order: Order) -> OrderReport:
        keeper, name = self._world.keeper, order.client_order_id
        known = keeper.last_words.get(name)
        if known is None:
            known = self._judged(order)
            if not known.status.in_doubt:
                keeper.last_words[name] = known
                if not known.filled and self._is_filled(order):
                    keeper.came_late(order)
        return known

    def _judged(self, order: Order) -> OrderReport:
        """What the exchange's fills and the answer add up to by now."""
        world, keeper, name = self._world, self._world.keeper, order.client_order_id
        write = keeper.writes.get(name)
        word = world.exchange.words.get(name) if world.scheduler.now >= self._told_at.get(name, 0.0) else None
        if word is not None and word.filled:
            status = OrderStatus.FILLED if word.filled >= order.quantity else OrderStatus.PARTIALLY_FILLED
            return replace(word, status=status, sized_by_venue=word.filled > order.quantity)
        sent_at = write.at if write is not None else order.intended_at - timedelta(seconds=world.host_offset)
        waited = world.true_now() - sent_at
        if write is not None and not self._is_filled(order) and self._rest_was_filled(write):
            return self._refused(order, RejectReason.NO_MATCH)
        if write is not None and write.answered_at is not None:
            since = world.true_now() - write.answered_at
            if word is not None and word.reason is not None and waited > REFUSAL_SETTLED:
                return self._refused(order, word.reason)
            if word is None and since > ANSWER_SETTLED:
                return self._refused(order, RejectReason.NO_MATCH)
        elif order.reduce_only and waited > CLOSE_PATIENCE:
            return self._refused(order, RejectReason.OTHER)
        elif waited > OPEN_PATIENCE:
            return self._refused(order, RejectReason.UNEXPLAINED)
        return self._unknown([order])[0]

    def _is_filled(self, order: Order) -> bool:
        word = self._world.exchange.words.get(order.client_order_id)
        return word is not None and word.filled > 0

    def _rest_was_filled(self, write: Write) -> bool:
        """Another order of the write was filled some seconds ago, so that all of it can be read by now."""
        words = [self._world.exchange.words.get(one.client_order_id) for one in write.orders]
        newest = max((one.reported_at for one in words if one is not None and one.filled), default=None)
        return newest is not None and self._world.true_now() - newest > FILLS_LAG

    def _refused(self, order: Order, reason: RejectReason) -> OrderReport:
        now = self._world.host_now()
        return OrderReport(order.client_order_id, OrderStatus.REJECTED, now, reason=reason, detail=f"{reason} there")
