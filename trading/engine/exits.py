"""Watching positions and leaving them: one breach, one close.

The law: a missing, zero or stale price is never a reason to exit, and neither is a single reading that the mark denies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import Busy, InvalidRequest, Refused, VenueUnavailable
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Account, Quote
from trading.domain.positions import Position, PositionStatus, Watch, first_watch
from trading.domain.units import Coin, PositionId, Price, Ratio
from trading.engine import queries
from trading.engine.desk import Desk
from trading.engine.queries import PositionView
from trading.engine.requests import ExitChange
from trading.engine.valuing import (
    LIQUIDATION_NEAR,
    MAINTENANCE_NEAR,
    MARK_TTL_SECONDS,
    Mark,
    Prices,
    coins_of,
    distance_of,
    encode_mark,
    maintenance_share,
    mark_key,
    mark_of,
    read_prices,
)
from trading.utils.trade_calculator import exit_due, raise_high_water, time_is_up

SECOND_READING = timedelta(milliseconds=250)
JUMP = Decimal("0.03")
JUMP_PATIENCE = timedelta(seconds=1)
HIGH_WATER_STEPS = 20
"""A trailing mark is written down each time it has risen by this part of its gap: the loss of one is bounded by
that."""


class LooseningNeedsAdmin(Refused):
    """A stop may be loosened beyond what Guardian approved by an admin only."""

    code = "FORBIDDEN"


@dataclass
class Memory:
    """What one monitor remembers between two sweeps. Losing it costs a second reading, never an exit."""

    breached: dict[PositionId, tuple[ExitReason, datetime]] = field(default_factory=dict)
    mids: dict[Coin, Price] = field(default_factory=dict)
    jumps: dict[Coin, datetime] = field(default_factory=dict)
    blind: set[PositionId] = field(default_factory=set)
    prices_seen_at: datetime | None = None


Leave = Callable[[PositionId, ExitReason], None]


def sweep(desk: Desk, memory: Memory, leave: Leave) -> None:
    """Mark every standing position and call *leave* for each that has to go, with the reason.

    Opening, open and closing positions alike are marked; one that is already closing is not told to leave again.
    """
    positions = desk.store.book().standing_positions()
    _forget(memory, positions)
    if not positions:
        return
    prices, account, now = read_prices(desk, coins_of(positions)), _account(desk), desk.clock.now()
    if prices.quotes:
        memory.prices_seen_at = now
    jumped = _jumped(memory, prices, now)
    marks = {}
    for position in positions:
        mark = None if jumped & {leg.coin for leg in position.legs} else mark_of(desk, position, prices, now)
        if mark is not None:
            marks[mark_key(position)] = encode_mark(mark)
        _note_blindness(desk, memory, position, mark)
        if position.holds and position.status is not PositionStatus.CLOSING:
            reason = _reason_to_leave(desk, memory, position, mark, account, prices, now)
            if reason is not None:
                memory.breached.pop(position.id, None)
                leave(position.id, reason)
    desk.cache.put_many(marks, MARK_TTL_SECONDS)


def change_exits(desk: Desk, position_id: PositionId, change: ExitChange, *, admin: bool) -> PositionView:
    """Change the barriers of a standing position, with a line in the log that keeps the old ones.

    Raises PositionNotFound; InvalidRequest for a position that is closed or barriers that contradict;
    LooseningNeedsAdmin.
    """
    with desk.store.exclusive() as book:
        position = book.position(position_id)
        if position.closed:
            raise InvalidRequest({"position_id": "is closed; its exits can no longer change"})
        opening = book.trade(position.trade_id)
        watch = _watch(book, position_id)
        plan = _changed(watch.exit_plan, change)
        approved = opening.terms.exit_plan
        if approved is not None and plan.stop_loss > approved.stop_loss and not admin:
            raise LooseningNeedsAdmin(
                f"a stop loss wider than the approved {approved.stop_loss} needs an admin token",
                limit=approved.stop_loss,
            )
        if plan != watch.exit_plan:
            desk.store.save_watch(replace(watch, exit_plan=plan))
            desk.log.write(
                "info",
                f"exits of {position.pair} changed",
                position_id=position_id,
                before=_words(watch.exit_plan),
                after=_words(plan),
            )
    return queries.position(desk, position_id)


def _changed(plan: ExitPlan, change: ExitChange) -> ExitPlan:
    trailing = None if change.drop_trailing else change.trailing or plan.trailing
    holding = None if change.drop_max_holding else change.max_holding_seconds or plan.max_holding_seconds
    if trailing is not None and trailing.gap >= trailing.arm:
        raise InvalidRequest({"trailing_stop": "gap must be smaller than arm"})
    return ExitPlan(
        take_profit=Ratio(change.take_profit) if change.take_profit is not None else plan.take_profit,
        stop_loss=Ratio(change.stop_loss) if change.stop_loss is not None else plan.stop_loss,
        trailing=trailing,
        max_holding_seconds=holding,
        time_window=plan.time_window if holding == plan.max_holding_seconds else None,
    )


def _words(plan: ExitPlan) -> dict[str, str | None]:
    trailing = plan.trailing
    return {
        "take_profit": str(plan.take_profit),
        "stop_loss": str(plan.stop_loss),
        "trailing_stop": f"arm {trailing.arm}, gap {trailing.gap}" if trailing else None,
        "max_holding_seconds": str(plan.max_holding_seconds) if plan.max_holding_seconds else None,
    }


def _reason_to_leave(
    desk: Desk,
    memory: Memory,
    position: Position,
    mark: Mark | None,
    account: Account | None,
    prices: Prices,
    now: datetime,
) -> ExitReason | None:
    near = account is not None and _liquidation_near(position, account, prices.quotes)
    held_seconds = Decimal(str((now - position.entered_at).total_seconds()))
    present = None if mark is None else mark.mark_return if mark.exit_return is None else mark.exit_return
    if mark is None or present is None:
        # No price: liquidation and time need none.
        if near:
            return ExitReason.LIQUIDATION
        return ExitReason.TIME_LIMIT if time_is_up(position.exit_plan, held_seconds) else None
    high_water = _raised(desk, position, present)
    reason = exit_due(position.exit_plan, present, high_water, held_seconds, near)
    if reason not in (ExitReason.STOP_LOSS, ExitReason.TRAILING_STOP):
        memory.breached.pop(position.id, None)
        return reason
    if mark.exit_return is not None and mark.mark_return is not None:
        agreed = exit_due(position.exit_plan, mark.mark_return, high_water, held_seconds, near)
        if agreed in (ExitReason.STOP_LOSS, ExitReason.TRAILING_STOP):
            return reason
    since = memory.breached.setdefault(position.id, (reason, now))[1]
    return reason if now - since >= SECOND_READING else None


def _liquidation_near(position: Position, account: Account, quotes: Mapping[Coin, Quote]) -> bool:
    distance = distance_of(position, account, quotes)
    return (distance is not None and distance <= LIQUIDATION_NEAR) or maintenance_share(account) > MAINTENANCE_NEAR


def _raised(desk: Desk, position: Position, present: Decimal) -> Decimal | None:
    """The trailing mark with this reading in it, written down when it has risen by enough to matter."""
    trailing = position.exit_plan.trailing
    if trailing is None:
        return position.high_water
    high_water = raise_high_water(position.high_water, present)
    step = trailing.gap / HIGH_WATER_STEPS
    if high_water >= trailing.arm and (position.high_water is None or high_water >= position.high_water + step):
        _write_high_water(desk, position, present)
    return high_water


def _write_high_water(desk: Desk, position: Position, present: Decimal) -> None:
    try:
        with desk.store.exclusive() as book:
            watch = _watch(book, position.id)
            desk.store.save_watch(replace(watch, high_water=raise_high_water(watch.high_water, present)))
    except Busy:
        # The next sweep finds the same rise and writes it then.
        return


def _watch(book: Book, position_id: PositionId) -> Watch:
    return book.watch(position_id) or first_watch(book.trade(book.position(position_id).trade_id))


def _jumped(memory: Memory, prices: Prices, now: datetime) -> set[Coin]:
    """Coins whose mid moved more than 3 % since the last look and has not been confirmed since: by the next look that
    finds it there, or after a second, from when on the venue's word stands."""
    jumped = set()
    for coin, quote in prices.quotes.items():
        if not quote.usable:
            continue
        last = memory.mids.get(coin)
        memory.mids[coin] = quote.mid
        if last is None or abs(quote.mid / last - 1) <= JUMP:
            memory.jumps.pop(coin, None)
        elif now - memory.jumps.setdefault(coin, now) < JUMP_PATIENCE:
            jumped.add(coin)
    return jumped


def _note_blindness(desk: Desk, memory: Memory, position: Position, mark: Mark | None) -> None:
    """One line when a position loses its price and one when it has it back."""
    if mark is None and position.id not in memory.blind:
        memory.blind.add(position.id)
        desk.log.write("warning", f"no usable price for {position.pair}; holding", position_id=position.id)
    elif mark is not None and position.id in memory.blind:
        memory.blind.discard(position.id)
        desk.log.write("info", f"prices for {position.pair} are back", position_id=position.id)


def _forget(memory: Memory, positions: tuple[Position, ...]) -> None:
    """What is closed is forgotten, so that a monitor that runs for years remembers only what stands."""
    standing = {position.id for position in positions}
    coins = set(coins_of(positions))
    memory.breached = {key: value for key, value in memory.breached.items() if key in standing}
    memory.blind &= standing
    memory.mids = {coin: mid for coin, mid in memory.mids.items() if coin in coins}
    memory.jumps = {coin: at for coin, at in memory.jumps.items() if coin in coins}


def _account(desk: Desk) -> Account | None:
    try:
        return desk.venue.account()
    except VenueUnavailable:
        return None
