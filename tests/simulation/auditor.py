"""The promises of the desk, checked against what the exchange did and what the disk holds, after every step.

The law: the desk's own books are believed nowhere but where they are what is being checked.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.simulation.barriers import breached
from tests.simulation.exchange import LISTED
from tests.simulation.promises import NOTIONAL_MIN, require
from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.orders import Order, OrderReport
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import (
    LEFT_TO_OTHERS,
    HoldingGone,
    LegLost,
    LegPlan,
    OrdersIntended,
    Terms,
    Trade,
    TradeStatus,
)
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Quantity, TradeId, floor_to_step
from trading.utils.ledger import ARCHIVE, LEDGER, RESCUE

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

CENT = Decimal("0.01")
STOP_GRACE = 0.6
"""Seconds between reading the state and having the intent on disk."""
NAKED_BUDGET = 90.0
"""Seconds, of those in which the desk was at work and nothing stood in its way, for which legs may be apart: expiry and
proof of an order in doubt (15), completions (5), trims (TRIM_PATIENCE)."""
PAIRS_NAKED_BUDGET = 165.0
"""The same where a service keeps the pairs, which is given 90 s to explain an order in doubt."""
LATE_BUDGET = 30.0
"""The same for what came when it had been given up and is nobody's: two readings, each of a tick."""
LOSS_SURE = Decimal("0.01")
"""Less of the account than that is no loss that stops a desk, wherever in the day it is measured from."""
EQUITY_READ_SECONDS = timedelta(seconds=15)
"""So long ago an account may have been read by which a trade was accepted."""
UNREAD_SECONDS = 7.5
"""How long fills have been asked for in vain, and the pause until they would be again, where what lacks is drift."""
FAILED_OFTEN = 3
"""So many looks at the fills that failed leave no time for one that can be used."""
SIZED_MAX = Decimal("1.001")
RESIDUE_SHARE = Decimal("0.05")
EQUITY_SLACK = Decimal("1.03")
PACE_SLACK = 0.01
QUOTE_AGE_MAX = 2.0
TIME_LIMIT_SLACK = 15.0
BREACH_BUDGET = 15.0
"""Seconds, of those in which the desk was at work and nothing stood in its way, for which a barrier may be breached:
two readings, a jump that has to be confirmed, a monitor that has just come back."""


@dataclass
class Held:
    """What a position's own orders did at the exchange, by coin, in coins; `spent` on what was bought, and what came
    back for what the opening gave back again (`returned`), in USD."""

    terms: Terms
    opened: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    closed: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    bought: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    spent: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    trimmed: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    returned: defaultdict[Coin, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    notional: Decimal = ZERO
    lost: bool = False
    naked_seconds: float = 0.0
    breached_seconds: float = 0.0
    late_seconds: float = 0.0

    def left(self, coin: Coin) -> Decimal:
        return self.opened[coin] - self.closed[coin]


class Auditor:
    """Hears of everything that is acknowledged, sent and done, and raises Violation."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.trades: dict[TradeId, Trade] = {}
        self.held: dict[PositionId, Held] = {}
        self.intents: dict[ClientOrderId, tuple[Trade, float]] = {}
        self.stopped_at: float | None = None
        self.checks = 0
        self._state: DeskState | None = None
        self._asked = False
        self._disturbed_at = 0.0
        self._put_off: list[tuple[Process, Trade]] = []

    # What the desk acknowledges

    def put_off(self, process: "Process", trade: Trade) -> None:
        """The store has *trade* and has not said that it is on disk: it will be with what is said next of any trade."""
        self._put_off.append((process, trade))

    def made_sure(self) -> None:
        """All that was put off is on disk."""
        waiting, self._put_off = self._put_off, []
        for process, trade in waiting:
            self._take(process, trade)

    def power_lost(self) -> None:
        """What was put off may be gone, and nobody was told of it."""
        self._put_off.clear()

    def acknowledged(self, process: "Process", trade: Trade, book: Book) -> None:
        """The store has said that *trade* is on disk. What else *book* has of its position is there as well, also where
        whoever wrote it died before being told so."""
        self.made_sure()
        for one in book.trades_of_position(trade.terms.position_id):
            if one.id != trade.id:
                self._take(process, one)
        self._take(process, trade)

    def _take(self, process: "Process", trade: Trade) -> None:
        known = self.trades.get(trade.id)
        if known is not None:
            both = min(len(known.events), len(trade.events))
            require(known.events[:both] == trade.events[:both], f"{trade.id} was written over")
            if len(trade.events) <= len(known.events):
                return
        self.trades[trade.id] = trade
        if trade.adopted:
            self._take_adopted(trade, len(known.events) if known is not None else 0)
            return
        if trade.opens and trade.terms.position_id not in self.held:
            self.held[trade.terms.position_id] = Held(trade.terms)
            self._check_approval(trade)
            self._check_limits(trade)
        for event in trade.events[len(known.events) if known is not None else 0 :]:
            if isinstance(event, OrdersIntended):
                for order in event.orders:
                    self.intents[order.client_order_id] = (trade, self.world.scheduler.now)
                    self._check_stop(process, order)
                if trade.opens or trade.terms.slice_interval_seconds:
                    self._check_pace(trade, event.orders[0])
        self._write_off(trade, known)
        if trade.opens and not trade.live:
            self._check_left_level(trade)

    def _write_off(self, trade: Trade, known: Trade | None) -> None:
        """Other hands took it, and the book says so since *known*: it stands no more."""
        held = self.held[trade.terms.position_id]
        for event in trade.events[len(known.events) if known is not None else 0 :]:
            if isinstance(event, HoldingGone):
                # What rested for it and fired was counted when it did.
                held.closed[event.coin] += max(min(event.quantity, held.left(event.coin)), ZERO)
                if event.why == LEFT_TO_OTHERS and event.coin in self.world.beside.held.keys() - self.world.foreign:
                    self._leave_to_others(held.terms, event)
            elif isinstance(event, LegLost):
                held.closed[event.coin] += self.world.guards.lost(trade.terms.position_id, event)
                held.lost = True

    def _leave_to_others(self, terms: Terms, event: HoldingGone) -> None:
        """Only what the venue takes no order for, and only what is there, beyond what is theirs already."""
        side = next(leg.side for leg in terms.legs if leg.coin == event.coin)
        worth = event.quantity * event.price
        require(worth < NOTIONAL_MIN * Decimal("1.1"), f"{worth} USD of {event.coin} are left to somebody else")
        there = self.left().get(event.coin, ZERO) * side.sign
        require(there >= event.quantity, f"{event.quantity} {event.coin} are left to others where there are {there}")
        self.world.beside.take_over(event.coin, event.quantity * side.sign, event.price)

    def state_asked(self) -> None:
        self._asked = True

    def state_acknowledged(self, state: DeskState) -> None:
        if Cause.DRIFT in state.causes and (self._state is None or Cause.DRIFT not in self._state.causes):
            self._check_drift(state)
        if Cause.DAILY_LOSS in state.causes and (self._state is None or Cause.DAILY_LOSS not in self._state.causes):
            self._check_daily_loss(state)
        self._asked, self._state = False, state
        if state.state is TradingState.ACTIVE:
            self.stopped_at = None
        elif self.stopped_at is None:
            self.stopped_at = self.world.scheduler.now

    def _check_drift(self, state: DeskState) -> None:
        """Nobody has to look after what fills explain: it is drift where hands were in it that no fill tells of, where
        fills could not be read, where the account read empty again and again, or where the host's clock was set forward
        meanwhile."""
        world = self.world
        asked = [one.fills_unread_since for one in world.processes.values() if one.alive]
        unread = any(one is not None and world.scheduler.now - one >= UNREAD_SECONDS for one in asked)
        hands = world.foreign or world.beside.held or not world.ways.tells_fills
        # What was read while a trade moved was in vain, too, and had to be asked for again.
        failed = [at for one in world.processes.values() for at in one.fills_failed]
        unread = unread or sum(world.scheduler.now - at <= 2 * UNREAD_SECONDS for at in failed) >= FAILED_OFTEN
        odd = world.weather.empty_account > 0 or world.counts["event: clock"]
        require(bool(hands or unread or odd), f"fills explain the drift: {state.why}")

    def _check_daily_loss(self, state: DeskState) -> None:
        """What somebody has paid out is no loss, but where nobody could tell, or the account read empty, or the host's
        clock was set back so far that it was before the day's first reading."""
        world, exchange = self.world, self.world.exchange
        asked = [one.transfers_unread_since for one in world.processes.values() if one.alive]
        untold = world.reads_down or any(one is not None for one in asked) or world.weather.empty_account > 0
        lost = exchange.equity_at_start + exchange.transferred(exchange.began, exchange.now()) - exchange.equity
        real = lost > LOSS_SURE * exchange.equity_at_start
        untold = untold or world.counts["event: clock"] > 0
        require(real or untold, f"a loss of {lost:.0f} USD is the day's: {state.why}")

    def reopened(self, process: "Process", book: Book, state: DeskState, broken: Mapping[TradeId, str]) -> None:
        """A process has read the disk: all that was acknowledged is there, and so may be a close whose writer died
        before being told so."""
        require(not broken, f"trades do not fold: {dict(broken)}")
        self.world.guards.reopened(book)
        for trade_id, trade in self.trades.items():
            found = book.find_trade(trade_id)
            require(found is not None, f"the trade {trade_id} is forgotten")
            if found is not None:
                require(found.events[: len(trade.events)] == trade.events, f"events of {trade_id} are forgotten")
                self._write_off(found, trade)
                self.trades[trade_id] = found
        for position_id in tuple(self.held):
            for one in book.trades_of_position(position_id):
                if one.id not in self.trades:
                    self._take(process, one)
        if self._state is not None and not self._asked:
            require(state == self._state, f"the state was {self._state.state}, and reads {state.state} now")
        if self._asked:
            self.state_acknowledged(state)

    # What reaches the exchange

    def sent(self, process: "Process", orders: Sequence[Order]) -> None:
        """Orders leave a process: their intent has to be on disk, whatever becomes of the machine."""
        for order in orders:
            rescued = order.reduce_only and order.client_order_id in self.world.said
            require(rescued or self._durable(order.client_order_id), f"{order.client_order_id} is sent and not on disk")
            require(
                order.client_order_id not in self.world.sent,
                f"{order.client_order_id} of {order.coin} is sent a second time",
            )
            self.world.sent.add(order.client_order_id)
            if not order.reduce_only:
                known = process.quotes_of.get((threading.get_ident(), order.coin), order.intended_at)
                age = (order.intended_at - known).total_seconds()
                require(age <= QUOTE_AGE_MAX, f"{order.coin} is opened on a price of {age:.1f} s ago")

    def _durable(self, order_id: ClientOrderId) -> bool:
        files = self.world.disk.durable_files()
        needle = order_id.encode()
        return any(
            needle in content
            for path, content in files.items()
            if path.name in (LEDGER, RESCUE) or path.parent.name == ARCHIVE
        )

    def happened(self, order: Order, report: OrderReport) -> None:
        """The exchange has worked *order*."""
        self.checks += 1
        if order.client_order_id not in self.intents:
            # Sent by a stop without a ledger: to the ledger those are other hands.
            self.world.foreign.add(order.coin)
            return
        if not report.filled:
            return
        trade, _ = self.intents[order.client_order_id]
        held = self.held[trade.terms.position_id]
        if not trade.opens:
            require(order.reduce_only, f"a close of {order.coin} that does not only reduce")
            held.closed[order.coin] += report.filled
            more = held.left(order.coin)
            taken = order.coin in self.world.foreign or self.world.exchange.was_taken(order.coin)
            # Where something was taken of a coin, it is missing to the last of those who leave it.
            excused = taken and order.coin not in self.world.beside.held
            require(more >= 0 or excused, f"a close took {-more} {order.coin} of others")
        elif order.reduce_only:
            held.opened[order.coin] -= report.filled
            held.trimmed[order.coin] += report.filled
            held.returned[order.coin] += report.filled * (report.average_price or ZERO)
        else:
            held.opened[order.coin] += report.filled
            held.bought[order.coin] += report.filled
            held.spent[order.coin] += report.filled * (report.average_price or ZERO)
            held.notional += report.filled * (report.average_price or ZERO)
            self._check_size(held, order.coin)
        self._check_sign(order)

    def _check_size(self, held: Held, coin: Coin) -> None:
        """Never more than the size asked for and a lot a leg."""
        leg = next(one for one in held.terms.legs if one.coin == coin)
        lot = LISTED[coin][1]
        asked = self.world.sizes[held.terms.signal.id] if held.terms.signal else held.terms.requested_usd
        most = floor_to_step(asked / 2 / leg.arrival_price * self._oversize, lot) + lot
        require(held.opened[coin] <= most, f"{held.opened[coin]} {coin} for a signal of {asked} USD: at most {most}")
        signal = held.terms.signal
        if signal is not None:
            others = [one for one in self.held.values() if one.terms.signal and one.terms.signal.id == signal.id]
            total = sum((one.opened[coin] for one in others), ZERO)
            require(total <= most, f"{total} {coin} for the signal {signal.id}: at most {most}")

    @property
    def _oversize(self) -> Decimal:
        """Who is told dollars makes coins of them by prices of its own."""
        return SIZED_MAX if self.world.ways.keeps_pairs else Decimal(1)

    def _check_sign(self, order: Order) -> None:
        """Reducing never turns a holding round."""
        left = self.world.exchange.quantities[order.coin]
        if order.reduce_only:
            require(left * order.side.sign <= 0, f"reducing {order.coin} went through zero to {left}")

    def _take_adopted(self, trade: Trade, known: int) -> None:
        """A holding that was nobody's any more is taken over as it is: nothing was sent for it. What others of its
        fills took of it, as events from number *known* on tell, was counted for whoever had sent them."""
        held = self.held.setdefault(trade.terms.position_id, Held(trade.terms))
        taken = {leg.coin: trade.filled(leg.coin) - held.opened[leg.coin] for leg in trade.terms.legs}
        held.opened.update({leg.coin: trade.filled(leg.coin) for leg in trade.terms.legs})
        for position_id, late in self.world.keeper.late.items():
            for coin, quantity in [(one, amount) for one, amount in taken.items() if one in late]:
                handed = min(quantity, late[coin])
                late[coin] -= handed
                self.held[position_id].opened[coin] -= handed
                taken[coin] = Quantity(quantity - handed)
        for event in trade.events[known:]:
            if isinstance(event, LegLost):
                held.closed[event.coin] += event.quantity
                held.lost = True
                self.world.count(f"adopted: {event.why}")
                owner = self.world.guards.taker(event)
                if owner is not None and owner != trade.terms.position_id:
                    self.held[owner].closed[event.coin] -= event.quantity

    def _check_approval(self, trade: Trade) -> None:
        """Guardian has said yes to it, and to nothing else with the same word."""
        approval = trade.terms.approval
        if trade.terms.signal is None:
            return
        require(approval is not None and approval.id in self.world.approvals, f"{trade.id} was never approved")
        others = [one.terms.approval for one in self.held.values() if one.terms.trade_id != trade.id]
        used = {one.id for one in others if one is not None}
        require(approval is None or approval.id not in used, f"{trade.id} lives on an approval that was another's")

    def _check_pace(self, trade: Trade, first: Order) -> None:
        """Slices keep their distance: whoever slept catches up without a burst."""
        before = [one.intended_at for one in trade.orders if one.slice_number < first.slice_number]
        pause = first.intended_at - before[-1] if before else None
        trims = trade.opens and first.reduce_only
        if pause is not None and not trims and first.slice_number <= len(trade.terms.slices):
            least = float(trade.terms.slice_interval_seconds) - PACE_SLACK
            require(pause.total_seconds() >= least, f"two slices of {trade.id} within {pause.total_seconds():.2f} s")

    def _check_left_level(self, trade: Trade) -> None:
        """An opening that has ended has left its legs level, but where somebody closes both."""
        held = self.held[trade.terms.position_id]
        if self._excused(held) or any(one.live for one in self.world.trades_of(trade.terms.position_id)):
            return
        apart = self.apart(held)
        require(not apart, f"{trade.id} has ended ({trade.status}) with its legs {apart:.2f} USD apart")

    def _check_stop(self, process: "Process", order: Order) -> None:
        """Nothing is opened once it is acknowledged that the desk is not ACTIVE."""
        if order.reduce_only or self.stopped_at is None or process.frozen_until > self.stopped_at:
            return
        late = self.world.scheduler.now - self.stopped_at
        require(late <= STOP_GRACE, f"{order.coin} is opened {late:.2f} s after the desk has stopped opening")

    def _check_limits(self, trade: Trade) -> None:
        """Accepted: with all that stands, or may yet stand, within the limits."""
        config, world = self.world.config, self.world
        standing = [one for one in self.held.values() if self._may_stand(one)]
        require(
            len(standing) <= config.max_positions, f"{len(standing)} positions; the limit is {config.max_positions}"
        )
        gross = sum((self._at_risk(one) for one in standing), ZERO)
        paid_out = min(world.exchange.transferred(world.true_now() - EQUITY_READ_SECONDS, world.true_now()), ZERO)
        one_at_most = config.max_allocation * (world.exchange.equity - paid_out) * EQUITY_SLACK
        size, most = world.sizes_of(trade.terms), one_at_most * config.max_positions
        require(size <= one_at_most, f"a position of {size} USD; the limit is {one_at_most:.0f}")
        require(gross <= most, f"{gross} USD at risk; the limit is {most:.0f}")
        pairs = [one.terms.pair for one in standing]
        require(len(pairs) == len(set(pairs)), f"a pair stands twice: {pairs}")
        sides = {(leg.coin, leg.side) for one in standing for leg in one.terms.legs}
        require(len(sides) == len({coin for coin, _ in sides}), "a coin is held on both sides")

    def _at_risk(self, held: Held) -> Decimal:
        """What was asked for while more may come, what was bought after."""
        live = self.trades[held.terms.trade_id].live
        return max(held.notional, self.world.sizes_of(held.terms) if live else ZERO)

    def _may_stand(self, held: Held) -> bool:
        late = self.world.keeper.late_of(held.terms.position_id)
        # What nobody expected any more is on its way out.
        if any(held.left(leg.coin) > late.get(leg.coin, ZERO) for leg in held.terms.legs):
            return True
        return self.trades[held.terms.trade_id].live

    # What is true at any moment

    def disturbed(self) -> None:
        """Something stands in the desk's way now: what is naked has its budget anew."""
        self._disturbed_at = self.world.scheduler.now

    def look(self, seconds: float) -> None:
        """*seconds* have passed since the last look."""
        self.checks += 1
        for held in self.held.values():
            apart = self.apart(held)
            if self._is_late(held, seconds):
                continue
            if apart and not self._excused(held):
                at_it = any(one.live for one in self.world.trades_of(held.terms.position_id))
                require(at_it, f"{held.terms.pair} is {apart:.2f} USD apart and nobody is at it")
            self._look_at_barriers(held, seconds)
            if not apart or self.in_its_way(held) or self.world.guards.has_fired(held.terms.position_id):
                # Of what rested and fired the sister has a budget of its own.
                held.naked_seconds = 0.0
                continue
            held.naked_seconds += seconds
            budget = PAIRS_NAKED_BUDGET if self.world.ways.keeps_pairs else NAKED_BUDGET
            require(
                held.naked_seconds <= budget or self._said(held),
                f"{held.terms.pair} has been {apart:.2f} USD apart for {held.naked_seconds:.0f} s",
            )

    def _is_late(self, held: Held, seconds: float) -> bool:
        """Whether the position has what was given up before it came; it is taken over, to be sold, before long."""
        late = self.world.keeper.late_of(held.terms.position_id)
        # What has gone again is for `unbooked`: no account shows it.
        there = {coin: min(quantity, held.left(coin)) for coin, quantity in late.items()}
        stands = any(quantity * self.world.exchange.mid(coin) >= NOTIONAL_MIN for coin, quantity in there.items())
        held.late_seconds = held.late_seconds + seconds if stands and not self.in_its_way(held) else 0.0
        for_long = held.late_seconds
        require(for_long <= LATE_BUDGET, f"{held.terms.pair} came late and has been nobody's for {for_long:.0f} s")
        return any(late.values())

    def apart(self, held: Held) -> Decimal:
        """USD by which a position's legs are apart at the exchange, beyond what may stay; zero when they are level."""
        fractions, notionals = [], []
        for leg in held.terms.legs:
            if not leg.quantity:
                return ZERO
            fractions.append(held.left(leg.coin) / leg.quantity)
            notionals.append(leg.notional)
        usd = abs(fractions[0] - fractions[1]) * min(notionals)
        return usd if usd > self._tolerance(held.terms.legs) else ZERO

    def _tolerance(self, legs: Sequence[LegPlan]) -> Decimal:
        lots = [LISTED[leg.coin][1] * leg.arrival_price for leg in legs]
        return max(*lots, RESIDUE_SHARE * max(leg.notional for leg in legs), NOTIONAL_MIN)

    def _look_at_barriers(self, held: Held, seconds: float) -> None:
        """Whoever is beyond a barrier, by the exchange's mids and by more than costs explain, is on the way out."""
        plan = self.world.guards.plan_of(held)
        trades = self.world.trades_of(held.terms.position_id)
        going = any(one.live and not one.opens for one in trades) or self.in_its_way(held) or held.lost
        why = breached(held, plan, self.world.exchange) if plan is not None and not going else ""
        held.breached_seconds = held.breached_seconds + seconds if why else 0.0
        late = held.breached_seconds
        require(late <= BREACH_BUDGET, f"{held.terms.pair} has been beyond its {why} for {late:.0f} s")

    def in_its_way(self, held: Held) -> bool:
        """Whether something keeps the desk from what it would do for *held*."""
        world = self.world
        return (
            world.stormy
            or world.reads_down
            or world.writes_down
            or world.exchange.post_only
            or not world.monitor_at_work
            or any(leg.coin in world.foreign or world.exchange.is_stuck(leg.coin) for leg in held.terms.legs)
        )

    def is_being_closed(self, position_id: PositionId) -> bool:
        """Whether it is on disk that somebody closes it, or has."""
        return any(not one.opens for one in self.world.trades_of(position_id))

    def _excused(self, held: Held) -> bool:
        """Other hands were in it, or what rested for it has fired: what is gone is not for a repair to give back."""
        gone = held.lost or self.world.guards.has_fired(held.terms.position_id)
        return gone or any(leg.coin in self.world.foreign for leg in held.terms.legs)

    def _said(self, held: Held) -> bool:
        trades = self.world.trades_of(held.terms.position_id)
        return any(trade.status is TradeStatus.SUSPENDED for trade in trades)

    # What is true in the end

    def book_equals_exchange(self, book: Book) -> str:
        """Empty when each coin is held as the book says (or by other hands); else what is not."""
        expected = defaultdict[Coin, Decimal](Decimal, self.world.beside.held)
        for position in book.standing_positions():
            for leg in position.legs:
                if leg.coin in LISTED:
                    expected[leg.coin] += leg.held * leg.side.sign
        words = [
            f"{coin}: the exchange holds {held}, the book says {expected[coin]}"
            for coin, held in self.world.exchange.quantities.items()
            if held != expected[coin] and coin not in self.world.foreign
        ]
        return "; ".join(words)

    def may_rest(self, book: Book, trade: Trade) -> bool:
        """Suspended, or a close whose residue is too little for the venue and waits for the last sharer of its coin."""
        if trade.status is TradeStatus.SUSPENDED:
            return True
        if trade.opens or trade.in_doubt:
            return False
        position = book.position(trade.terms.position_id)
        others = [one for one in book.standing_positions() if one.id != position.id]
        return all(
            leg.held * self.world.exchange.mid(leg.coin) < NOTIONAL_MIN
            and any(leg.coin in (one.long.coin, one.short.coin) for one in others)
            for leg in position.legs
            if leg.held > 0
        )

    def overdue(self, book: Book) -> str:
        """Empty when every position that has had its time is being closed; else which is not."""
        late = []
        for position in book.standing_positions():
            limit = self.world.guards.plan_of(self.held[position.id]) if position.id in self.held else None
            if limit is None or limit.max_holding_seconds is None or position.status is not PositionStatus.OPEN:
                continue
            held = (self.world.host_now() - position.entered_at).total_seconds()
            if held > limit.max_holding_seconds + TIME_LIMIT_SLACK:
                late.append(f"{position.pair} is held for {held:.0f} s; its limit is {limit.max_holding_seconds}")
        return "; ".join(late)

    def unbooked(self) -> str:
        """Empty when all that came when it had been given up is in a position by now; else what is not, where no other
        hands can have had it."""
        others = self.world.foreign | self.world.beside.held.keys()
        left = [one for late in self.world.keeper.late.values() for one in late.items() if one[0] not in others]
        return "; ".join(f"{amount} {coin} came late and are in no position" for coin, amount in left if amount)

    def unsaid_drift(self, book: Book, state: DeskState) -> str:
        """Empty when every holding of a standing coin is what the book says, or the desk says that it is not."""
        if Cause.DRIFT in state.causes or state.state in (TradingState.LIQUIDATING, TradingState.HALTED):
            return ""
        expected = defaultdict[Coin, Decimal](Decimal)
        for position in book.standing_positions():
            for leg in position.legs:
                expected[leg.coin] += leg.held * leg.side.sign
        for coin, quantity in expected.items():
            held = self.world.exchange.quantities.get(coin, ZERO) - state.accepted_drift.get(coin, ZERO)
            if held != quantity:
                return f"{coin}: the exchange holds {held}, the book says {quantity}, and nobody says so"
        return ""

    def beyond_barriers(self) -> str:
        """Empty when nobody who stays is beyond a barrier; else who is."""
        return "; ".join(f"{one.terms.pair} is beyond a barrier" for one in self.held.values() if one.breached_seconds)

    def signals_traded(self) -> set[str]:
        """The signals of which something was ever opened."""
        return {held.terms.signal.id for held in self.held.values() if held.terms.signal and held.notional}

    def unlevel(self) -> str:
        """Empty when no position's legs are apart by more than may stay, but where it is said; else whose are."""
        return "; ".join(
            f"{held.terms.pair} is {apart:.2f} USD apart"
            for held in self.held.values()
            if not self._excused(held) and (apart := self.apart(held)) and not self._said(held)
        )

    def check_log(self) -> None:
        """No bug of the desk has shown itself on the way."""
        bugs = [one for one in self.world.log.entries if one.facts.get("code") in ("INTERNAL", "INVARIANT_BROKEN")]
        bugs += [one for one in self.world.log.entries if "broke a rule" in one.message]
        require(not bugs, f"a bug: {bugs[0].message if bugs else ''}")

    def left(self) -> dict[Coin, Decimal]:
        """What the exchange holds of anything that the desk has bought, beside what is somebody else's."""
        theirs = self.world.beside.held
        held = {coin: one - theirs.get(coin, ZERO) for coin, one in self.world.exchange.quantities.items()}
        return {coin: quantity for coin, quantity in held.items() if quantity and coin not in self.world.foreign}

    def check_flat(self) -> None:
        """Nothing is left of anything that the desk has bought."""
        require(not self.left(), f"not flat: {self.left()}")

    def check_money(self, positions: Sequence[Position]) -> None:
        """The positions explain the account, to the cent, where no other hands were in it, or where their fills are
        told.

        Who held at the full hour is told by the host's clock: funding is left out where that was wrong.
        """
        exchange = self.world.exchange
        if exchange.payments and self.world.counts["event: clock"]:
            return
        if self.world.foreign or (
            not self.world.ways.tells_fills and any(fill.order is None for fill in exchange.fills)
        ):
            return
        if self.world.keeper.late and exchange.payments:
            # Who held at the full hour what came late is known only since it was taken over.
            return
        if any(trade.gone for trade in self.trades.values()):
            # Booked at the mark, for nobody could say how it went.
            return
        if any(one.coin in self.world.beside.held for one in exchange.payments):
            # A part of it is theirs.
            return
        made = sum((one.realized - one.fees - one.funding for one in positions), self.world.beside.made)
        paid = exchange.transferred(exchange.began, exchange.now())
        change = exchange.equity - exchange.equity_at_start - paid
        require(abs(change - made) < CENT, f"the account has changed by {change:.4f}, the positions made {made:.4f}")
