"""The trading state: durable before it acts, and every change of it said in the log."""

from dataclasses import replace
from datetime import date, datetime, timedelta

from trading.domain.desk_state import Cause, DeskState, Rejection, TradingState
from trading.domain.errors import StoreCorrupt, TradingHalted
from trading.domain.market import Account
from trading.domain.units import ZERO, Usd
from trading.engine.desk import Desk

BEAT_AGE_MAX = timedelta(seconds=5)


def require_active(desk: Desk) -> DeskState:
    """The state when the desk may open; raises TradingHalted, with state and causes, in any other."""
    if desk.store.trouble:
        raise StoreCorrupt(f"the desk is halted: {desk.store.trouble}")
    state = desk.store.state()
    if state.state is not TradingState.ACTIVE:
        raise TradingHalted(
            f"the desk is {state.state}: {state.why or 'opening is stopped'}",
            trading_state=state.state,
            causes=sorted(state.causes),
        )
    return state


def standing_rejection(state: DeskState, signal_id: str, position_size: Usd, now: datetime) -> Rejection | None:
    """Guardian's no that still holds for a signal at this size: it was to a size as large or smaller, and has not
    expired."""
    for rejection in state.rejections:
        if rejection.signal_id == signal_id and position_size >= rejection.position_size and rejection.expires_at > now:
            return rejection
    return None


def live_beat(desk: Desk) -> datetime | None:
    """The last beat of a monitor that is alive: it holds its lock and has beaten within five seconds. None without
    one."""
    beat = desk.store.last_beat()
    return beat if beat is not None and desk.clock.now() - beat <= BEAT_AGE_MAX else None


def reduce(desk: Desk, cause: Cause, why: str) -> DeskState:
    """Stop opening for *cause*. A desk that is liquidating or halted stays so and remembers the cause."""
    before = desk.store.state()
    if cause in before.causes:
        return before

    def reduced(state: DeskState) -> DeskState:
        stopped = state.state in (TradingState.LIQUIDATING, TradingState.HALTED)
        return replace(
            state,
            state=state.state if stopped else TradingState.REDUCING,
            causes=state.causes | {cause},
            why=state.why if stopped else why,
            since=state.since if stopped else desk.clock.now(),
        )

    state = desk.store.change_state(reduced)
    desk.log.write(
        "error",
        f"the desk opens nothing any more: {why}",
        cause=cause,
        trading_state=state.state,
        event="OpeningStopped",
    )
    return state


def lift(desk: Desk, cause: Cause, why: str) -> DeskState:
    """Take *cause* away; with the last one a REDUCING desk is ACTIVE again."""
    if cause not in desk.store.state().causes:
        return desk.store.state()

    def lifted(state: DeskState) -> DeskState:
        causes = state.causes - {cause}
        active = state.state is TradingState.REDUCING and not causes
        return replace(
            state,
            state=TradingState.ACTIVE if active else state.state,
            causes=causes,
            why="" if active else state.why,
            since=desk.clock.now() if active else state.since,
        )

    state = desk.store.change_state(lifted)
    desk.log.write("info", why, cause=cause, trading_state=state.state, event="CauseLifted")
    return state


def with_baseline(state: DeskState, account: Account, day: date | None, made_before: Usd) -> DeskState:
    """*state* with the loss of *day* measured from *account* on, of which it had *made_before* until then."""
    return replace(
        state,
        baseline_day=day,
        baseline_equity=account.equity,
        baseline_at=account.taken_at,
        transferred=Usd(ZERO),
        made_before=made_before,
    )
