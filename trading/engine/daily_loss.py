"""The loss of the UTC day: begun at the first reading of the account, and measured against it from then on.

The law: nothing is concluded from one reading. An account that suddenly reads empty stops no opening, and one that
reads almost empty at midnight does not begin the day; what was transferred is neither loss nor gain.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

from trading.domain.desk_state import Cause, DeskState
from trading.domain.errors import VenueUnavailable
from trading.domain.market import Account
from trading.domain.units import ZERO, Usd
from trading.engine.desk import Desk
from trading.engine.instants import first_of, is_due, lasts
from trading.engine.recovery import DRIFT_PATIENCE
from trading.engine.states import lift, reduce, with_baseline

TRANSFERS_EVERY = timedelta(seconds=60)


@dataclass
class Memory:
    """What one monitor remembers of the day. `begun`: the reading by which it has begun the day, until a second one has
    confirmed that; `short_since`: since when the loss reads beyond its limit."""

    begun: datetime | None = None
    short_since: datetime | None = None
    transfers_asked: datetime | None = None


def measure(desk: Desk, memory: Memory, account: Account) -> None:
    """Begin the day at its first *account*, and stop opening beyond the day's loss once two readings two seconds apart
    say so."""
    now = desk.clock.now()
    state, today = desk.store.state(), now.date()
    if state.baseline_day != today or state.baseline_equity is None:
        memory.short_since = None
        if account.equity > 0:
            desk.store.change_state(lambda one: with_baseline(one, account, today, Usd(ZERO)))
            memory.begun = account.taken_at
            lift(desk, Cause.DAILY_LOSS, "a new day: the daily loss limit starts afresh")
        return
    if memory.begun is not None and not lasts(account.taken_at, memory.begun, DRIFT_PATIENCE):
        state = _confirmed(desk, memory, state, account, memory.begun)
    if is_due(now, memory.transfers_asked, TRANSFERS_EVERY):
        state = _with_transfers(desk, memory, state)
    if not _is_short(desk, state, account.equity):
        memory.short_since = None
        return
    memory.short_since = first_of(memory.short_since, now)
    if now - memory.short_since < DRIFT_PATIENCE or Cause.DAILY_LOSS in state.causes:
        return
    # Money may have been withdrawn since they were asked for.
    state = _with_transfers(desk, memory, state)
    if _is_short(desk, state, account.equity):
        reduce(desk, Cause.DAILY_LOSS, f"the day's loss is beyond {desk.config.max_daily_loss:.1%} of {state.day_base}")


def _confirmed(desk: Desk, memory: Memory, state: DeskState, account: Account, begun: datetime) -> DeskState:
    """*state* with a day that *begun* with less than half of what the second reading, *account*, shows, begun by that
    one instead: by a first one without most of the money no loss would be beyond the limit until the next midnight."""
    memory.begun = None
    if not _lacks_most(state, account.equity):
        return state
    # Money may have been paid in since.
    state = _with_transfers(desk, memory, state)
    if not _lacks_most(state, account.equity):
        return state
    return desk.store.change_state(
        lambda one: with_baseline(one, account, one.baseline_day, Usd(ZERO)) if one.baseline_at == begun else one
    )


def _lacks_most(state: DeskState, equity: Usd) -> bool:
    return state.day_base is not None and state.day_base < equity / 2


def _is_short(desk: Desk, state: DeskState, equity: Usd) -> bool:
    return state.day_base is not None and equity < state.day_base * (1 - desk.config.max_daily_loss)


def _with_transfers(desk: Desk, memory: Memory, state: DeskState) -> DeskState:
    """*state* with what has been transferred since the day began, as the venue tells it; as it was while it does
    not."""
    began = state.baseline_at
    memory.transfers_asked = desk.clock.now()
    if began is None and state.baseline_day is not None:
        began = datetime.combine(state.baseline_day, time(), UTC)
    try:
        total = desk.venue.transferred(began) if began is not None else state.transferred
    except VenueUnavailable:
        return state
    if total == state.transferred:
        return state
    changed = desk.store.change_state(
        lambda one: replace(one, transferred=total) if one.baseline_at == state.baseline_at else one
    )
    desk.log.write(
        "info",
        f"transfers since the day began come to {total:+f} USD; they are neither gain nor loss",
        event="Transferred",
        transferred=total,
    )
    return changed
