"""The promises about what rests at the exchange and about legs that others take, checked against its truth.

The law: of the desk nothing is believed but what it has acknowledged to be on disk; who owns a trigger is what was on
disk before it left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.simulation.exchange import LISTED
from tests.simulation.promises import NOTIONAL_MIN, require
from trading.domain.book import Book
from trading.domain.exit_plan import ExitPlan
from trading.domain.positions import PositionStatus, Watch
from trading.domain.resting import RestingOrder, TriggerKind
from trading.domain.trades import LegLost, LegPlan
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId
from trading.utils.ledger import BOOK

if TYPE_CHECKING:
    from tests.simulation.auditor import Held
    from tests.simulation.world import World

LOST_BUDGET = 45.0
"""Seconds, of those in which the desk was at work and nothing stood in its way, from a trigger that fires to the sister
closed: looking for fills again (30, LOSS_RETRY_MAX), three bands of a close and its pauses."""
SIZE_BUDGET = 45.0
"""The same for what guards an open position to be of its size: the next look (30), one that is on its way (15)."""
SWEPT_BUDGET = 105.0
"""The same where all that rests was taken back by other hands: the list is a minute old at most when it is looked at,
each half minute."""
REFUSED_FOR = timedelta(seconds=130)
"""A guard that was refused is tried again after a minute, at the look that comes then."""


@dataclass(frozen=True, slots=True)
class Fired:
    """Something that rested for a position has traded."""

    coin: Coin
    quantity: Decimal


class Guards:
    """Hears of every watch that is acknowledged, of everything that is sent to rest and of all that fires."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.watches: dict[PositionId, Watch] = {}
        self.owners: dict[ClientOrderId, PositionId] = {}
        self.fired: dict[str, tuple[PositionId, Fired]] = {}
        self._asked: dict[PositionId, list[Watch]] = {}
        self._sent: set[ClientOrderId] = set()
        self._alone: dict[PositionId, float] = {}
        self._unfit: dict[PositionId, float] = {}

    # What the desk acknowledges

    def asked(self, watch: Watch) -> None:
        """The store is about to write *watch*. Until it has written another, it may turn up after a power failure, even
        where it was refused and taken back."""
        self._asked.setdefault(watch.position_id, []).append(watch)
        self.owners.update({one.order.client_order_id: watch.position_id for one in watch.resting})

    def acknowledged(self, watch: Watch) -> None:
        """The store has said that *watch* is on disk: what rests, or may yet come to, is in it."""
        self._asked.pop(watch.position_id, None)
        self.watches[watch.position_id] = watch
        for name in self.world.exchange.triggers.there:
            if self.owners.get(name) == watch.position_id:
                self._require_known(name)

    def rested(self, orders: Sequence[RestingOrder]) -> None:
        """A group has reached the exchange: what of it rests is still in what is on disk."""
        for order in orders:
            name = order.client_order_id
            if name in self.world.exchange.triggers.there and self.owners[name] not in self._asked:
                self._require_known(name)

    def _require_known(self, name: ClientOrderId) -> None:
        known = {one.order.client_order_id for one in self.watches[self.owners[name]].resting}
        require(name in known, f"{name} rests and is struck out")

    def reopened(self, book: Book) -> None:
        """A process has read the disk: exits that were changed and all that may rest are as they were."""
        for position_id, watch in self.watches.items():
            found = book.watch(position_id)
            may_be = [(one.exit_plan, one.resting) for one in (watch, *self._asked.get(position_id, ()))]
            known = found is not None and (found.exit_plan, found.resting) in may_be
            require(known, f"what was said of the exits of {position_id} is forgotten")
            self.watches[position_id] = found or watch

    def plan_of(self, held: "Held") -> ExitPlan | None:
        """The barriers of a position as they were acknowledged last."""
        watch = self.watches.get(held.terms.position_id)
        return watch.exit_plan if watch is not None else held.terms.exit_plan

    # What reaches the exchange

    def sent(self, orders: Sequence[RestingOrder]) -> None:
        """Triggers leave a process: written down before, once, on the side that reduces, and no more than is held."""
        content = next((one for path, one in self.world.disk.durable_files().items() if path.name == BOOK), b"")
        for order in orders:
            name = order.client_order_id
            require(name.encode() in content, f"{name} is to rest and not on disk")
            require(name not in self._sent, f"{name} of {order.coin} is sent to rest a second time")
            self._sent.add(name)
            held = self.world.auditor.held[self.owners[name]]
            leg = next(one for one in held.terms.legs if one.coin == order.coin)
            require(order.side is leg.side.opposite, f"{order.kind} of {order.coin} would open")
            most = max(held.bought[order.coin], held.opened[order.coin]) + LISTED[order.coin][1]
            require(order.quantity <= most, f"{order.quantity} {order.coin} are to rest; {most} were ever held")

    def taken_back(self, orders: Sequence[RestingOrder]) -> None:
        """A cancel leaves a process: what it takes away guards nothing any more, or a close of it is on disk, or
        something else rests in its place."""
        for order in orders:
            owner = self.owners[order.client_order_id]
            held = self.world.auditor.held[owner]
            there = self.world.exchange.triggers.there.get(order.client_order_id)
            guarded = min(held.left(order.coin), there.left) if there is not None else ZERO
            if (
                not guarded
                or self.world.auditor.is_being_closed(owner)
                or self._may_be_bare(owner, order.coin, order.kind, guarded)
                or self._excused(held)
            ):
                continue
            others = self._resting(owner, order.coin, order.kind, without=orders)
            # Of what size is looked at below: what was filled a moment ago nobody of ours may know of yet.
            require(others > 0, f"{order.kind} of {order.coin} is taken back, and nobody closes what it guards")

    def traded(self, order: RestingOrder, quantity: Decimal) -> None:
        """A trigger is about to trade: it takes of its own position first. Called before the account changes."""
        before = self.world.exchange.quantities[order.coin]
        after = before + quantity * order.side.sign
        require(before * order.side.sign < 0 and after * before >= 0, f"{order.kind} of {order.coin} opens: {after}")
        owner = self.owners[order.client_order_id]
        held = self.world.auditor.held[owner]
        own = min(quantity, max(held.left(order.coin), ZERO))
        theirs = order.coin in self.world.beside.held
        require(own == quantity or not theirs, f"{order.kind} took {quantity - own} {order.coin} of others")
        held.closed[order.coin] += own
        self.fired[f"fill-{len(self.world.exchange.fills)}"] = owner, Fired(order.coin, own)
        self.world.note(None, f"{order.kind} of {quantity} {order.coin} fires {order.client_order_id[2:10]}")
        self.world.count(f"fired {order.kind}")
        self.world.auditor.disturbed()

    def lost(self, position_id: PositionId, loss: LegLost) -> Decimal:
        """How much of *loss* is news: what rested for the position itself was counted when it fired."""
        order = self.world.exchange.fills[int(loss.fill_id.removeprefix("fill-"))].order
        if order is not None and order.client_order_id in self.world.auditor.intents:
            # An order of its own that was given up before it was done: counted then.
            return ZERO
        owner, fired = self.fired.get(loss.fill_id, (None, Fired(loss.coin, ZERO)))
        return loss.quantity - (fired.quantity if owner == position_id else ZERO)

    def taker(self, loss: LegLost) -> PositionId | None:
        """Whose order, or what had rested for whom, made the fill of *loss*; None for other hands."""
        order = self.world.exchange.fills[int(loss.fill_id.removeprefix("fill-"))].order
        intent = self.world.auditor.intents.get(order.client_order_id) if order is not None else None
        return self.fired[loss.fill_id][0] if loss.fill_id in self.fired else intent and intent[0].terms.position_id

    def overguarded(self, position_id: PositionId, coin: Coin) -> bool:
        """Whether more rests for a leg on one side of the market than is held of it."""
        left = self.world.auditor.held[position_id].left(coin)
        return any(self._resting(position_id, coin, kind) > left for kind in TriggerKind)

    def has_fired(self, position_id: PositionId) -> bool:
        """Whether something that rested for the position has ever taken of it."""
        return any(owner == position_id and one.quantity for owner, one in self.fired.values())

    # What is true at any moment

    def look(self, seconds: float) -> None:
        """*seconds* have passed: whoever has lost a leg to what rested for it is out of the other soon."""
        for position_id in {owner for owner, one in self.fired.values() if one.quantity}:
            held = self.world.auditor.held[position_id]
            if self.is_out(held) or self.world.auditor.in_its_way(held):
                self._alone[position_id] = 0.0
                continue
            alone = self._alone[position_id] = self._alone.get(position_id, 0.0) + seconds
            require(alone <= LOST_BUDGET, f"{held.terms.pair} has stood on one leg for {alone:.0f} s")
        if self.world.ways.rests:
            self._look_at_sizes(seconds)

    def _look_at_sizes(self, seconds: float) -> None:
        """Whoever stands, and has been opened, is guarded at its size soon."""
        auditor = self.world.auditor
        for position_id, held in auditor.held.items():
            going = auditor.is_being_closed(position_id) or auditor.trades[held.terms.trade_id].live or held.lost
            if going or self.has_fired(position_id) or self._excused(held) or auditor.in_its_way(held):
                self._unfit[position_id] = 0.0
                continue
            why = self._misfit(held)
            unfit = self._unfit[position_id] = self._unfit.get(position_id, 0.0) + seconds if why else 0.0
            since = self.world.scheduler.now - self.world.exchange.triggers.swept_at
            budget = SWEPT_BUDGET if since <= SWEPT_BUDGET + SIZE_BUDGET else SIZE_BUDGET
            require(unfit <= budget, f"for {unfit:.0f} s {why}")

    def is_out(self, held: "Held") -> bool:
        """Whether next to nothing is left of a position."""
        mid = self.world.exchange.mid
        return all(held.left(leg.coin) * mid(leg.coin) < NOTIONAL_MIN for leg in _traded(held))

    # What is true in the end

    def orphans(self, book: Book) -> str:
        """Empty when nothing rests for a position that has ended; else what does."""
        standing = {one.id for one in book.standing_positions()}
        words = [
            f"{one.order.kind} of {one.left} {one.order.coin}"
            for one in self.world.exchange.triggers.there.values()
            if self.owners.get(one.order.client_order_id) not in standing
        ]
        return f"still rests for nobody: {', '.join(words)}" if words else ""

    def misfits(self, book: Book) -> str:
        """Empty when what rests for each open position is of its size; else what is not."""
        words = []
        for position in book.standing_positions():
            held = self.world.auditor.held.get(position.id)
            if held is not None and position.status is PositionStatus.OPEN and not self._excused(held):
                words.append(self._misfit(held))
        return "; ".join(filter(None, words))

    def _misfit(self, held: "Held") -> str:
        """Empty when what rests for a position is of its size; else what is not."""
        words, position_id = [], held.terms.position_id
        for leg in _traded(held):
            for kind in TriggerKind:
                rests, left = self._resting(position_id, leg.coin, kind), held.left(leg.coin)
                if rests > left + LISTED[leg.coin][1]:
                    words.append(f"{kind} of {rests} {leg.coin} for {left} held")
                elif rests < left and not self._may_be_bare(position_id, leg.coin, kind, left):
                    words.append(f"{kind} of {rests} {leg.coin} guards {left}")
        return "; ".join(words)

    def _resting(
        self, position_id: PositionId, coin: Coin, kind: TriggerKind, without: Sequence[RestingOrder] = ()
    ) -> Decimal:
        there = self.world.exchange.triggers.there.items()
        return sum(
            (
                one.left
                for key, one in there
                if self.owners.get(key) == position_id
                and (one.order.coin, one.order.kind) == (coin, kind)
                and one.order not in without
            ),
            ZERO,
        )

    def _may_be_bare(self, position_id: PositionId, coin: Coin, kind: TriggerKind, left: Decimal) -> bool:
        """Too little for the exchange, which may not list the coin any more, or refused of late: the mark is beyond
        where it would fire."""
        world = self.world
        if coin in world.exchange.delisted or left * world.exchange.mid(coin) < 2 * NOTIONAL_MIN:
            return True
        return any(
            self.owners.get(name) == position_id
            and (order.coin, order.kind) == (coin, kind)
            and world.true_now() - at <= REFUSED_FOR
            for name, (order, at) in world.exchange.triggers.refused.items()
        )

    def _excused(self, held: "Held") -> bool:
        return any(leg.coin in self.world.foreign for leg in held.terms.legs)


def _traded(held: "Held") -> list[LegPlan]:
    """The legs of a position: an adopted one has no coin on its other side."""
    return [leg for leg in held.terms.legs if leg.coin in LISTED]
