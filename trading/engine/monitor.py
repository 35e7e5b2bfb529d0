"""The daemon's tick: beat, take live trades further, compare with the venue, push a stop to flat, sweep the exits.

The law: what hangs for one trade delays no other, and what fails in one part of a tick keeps no other from its turn.
Each trade and each close has a thread of its own, and one that is still busy from the last tick is left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Thread

from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import (
    Busy,
    DeskError,
    GuardianUnavailable,
    InvariantBroken,
    StoreCorrupt,
    Unavailable,
    VenueUnavailable,
)
from trading.domain.exit_plan import ExitReason
from trading.domain.market import ratio_of
from trading.domain.positions import Position, first_watch
from trading.domain.units import Coin, PositionId, Price, TradeId, Usd
from trading.engine import closing, emergency, errands, exits, working
from trading.engine.desk import Desk
from trading.engine.errands import Job
from trading.engine.funding import collect_funding, funding_due, funding_settled
from trading.engine.recovery import DRIFT_PATIENCE, DriftMemory, reconcile, recover
from trading.engine.states import lift, reduce
from trading.ports import Outcome

BLIND_AFTER = timedelta(seconds=60)
FUNDING_RETRY = timedelta(seconds=30)
OUTCOME_RETRY = timedelta(seconds=30)
OUTCOME_GIVEN_UP = timedelta(hours=24)
CLOSE_SECONDS = 3.0
OUTCOMES = "outcomes"


@dataclass
class Watchman:
    """What one monitor process keeps between ticks: what is in hand, what it has tried, and what it has seen."""

    desk: Desk
    memory: exits.Memory = field(default_factory=exits.Memory)
    drift: DriftMemory = field(default_factory=DriftMemory)
    in_hand: dict[str, Thread] = field(default_factory=dict)
    outcome_tried: dict[PositionId, datetime] = field(default_factory=dict)
    funding_tried: datetime | None = None
    short_since: datetime | None = None
    troubles: dict[str, str] = field(default_factory=dict)


def tick(watchman: Watchman, *, wait_seconds: float | None = None) -> None:
    """One round. Returns at once while trades are worked in threads; *wait_seconds* waits for them that long.

    A part that fails is logged, once for as long as it fails in the same way, and does not keep the others from their
    turn. Raises StoreCorrupt, after all of them, when a part met one.
    """
    corrupt: StoreCorrupt | None = None
    for part in (_beat, _account_duties, _recover, _push, _sweep, _tell_outcomes):
        name = part.__name__.strip("_").replace("_", " ")
        try:
            part(watchman)
        except DeskError as error:
            _say(watchman, name, error.detail, error.code)
            corrupt = error if isinstance(error, StoreCorrupt) else corrupt
        except Exception as bug:
            # The daemon is what keeps positions watched: a bug in one duty must not end the others.
            _say(watchman, name, f"a bug: {type(bug).__name__}: {bug}", "INTERNAL")
        else:
            watchman.troubles.pop(name, None)
    if wait_seconds is not None:
        finish(watchman, wait_seconds)
    if corrupt is not None:
        raise corrupt


def finish(watchman: Watchman, seconds: float) -> None:
    """Wait at most *seconds* for what is in hand."""
    errands.wait(watchman.desk, watchman.in_hand.values(), watchman.desk.clock.monotonic() + seconds)


def _say(watchman: Watchman, part: str, words: str, code: str) -> None:
    if watchman.troubles.get(part) != words:
        watchman.troubles[part] = words
        watchman.desk.log.write("error", f"monitor: {part} failed: {words}", code=code)


def _hand_out(watchman: Watchman, key: str, job: Job) -> None:
    """Begin *job* in a thread unless the same is still in hand."""
    if not _in_hand(watchman, key):
        watchman.in_hand[key] = errands.start(watchman.desk, f"monitor: {key}", job)


def _in_hand(watchman: Watchman, key: str) -> bool:
    watchman.in_hand = {name: thread for name, thread in watchman.in_hand.items() if thread.is_alive()}
    return key in watchman.in_hand


def _beat(watchman: Watchman) -> None:
    watchman.desk.store.beat(watchman.desk.clock.now())


def _recover(watchman: Watchman) -> None:
    recover(watchman.desk, lambda trade_id: _hand_out(watchman, trade_id, lambda: _take_up(watchman.desk, trade_id)))


def _take_up(desk: Desk, trade_id: TradeId) -> None:
    """Work a trade under its seat. A bug stops all opening, and takes an opening trade out of work."""
    try:
        working.work_if_free(desk, trade_id)
    except InvariantBroken as broken:
        _take_out(desk, trade_id, f"it broke a rule: {broken.detail}")
    except (Unavailable, Busy):
        raise
    except Exception as bug:
        _take_out(desk, trade_id, f"a bug: {type(bug).__name__}")
        raise


def _take_out(desk: Desk, trade_id: TradeId, why: str) -> None:
    """Suspend an opening trade; its holdings stay under the exits. A closing trade is tried again: nothing else would
    close it."""
    reduce(desk, Cause.SUSPENDED_TRADE, f"trade {trade_id} could not be worked: {why}")
    try:
        with desk.store.seat(trade_id):
            trade = desk.store.book().trade(trade_id)
            if trade.opens and trade.live:
                working.suspend(desk, trade, why)
    except Busy:
        return


def _push(watchman: Watchman) -> None:
    if watchman.desk.store.state().state is TradingState.LIQUIDATING:
        emergency.push(watchman.desk, lambda position_id, reason: _leave(watchman, position_id, reason))


def _sweep(watchman: Watchman) -> None:
    exits.sweep(watchman.desk, watchman.memory, lambda position_id, reason: _leave(watchman, position_id, reason))
    _notice_blindness(watchman)


def _leave(watchman: Watchman, position_id: PositionId, reason: ExitReason) -> None:
    desk = watchman.desk

    def leave() -> None:
        closing.close(desk, position_id, reason, until=desk.clock.monotonic() + CLOSE_SECONDS)

    _hand_out(watchman, f"close {position_id}", leave)


def _notice_blindness(watchman: Watchman) -> None:
    """A minute without a price for something that stands: no more opening until everything has its price back."""
    desk, blind = watchman.desk, watchman.memory.blind
    if not blind:
        lift(desk, Cause.BLIND, "prices are back")
    elif desk.clock.now() - min(blind.values()) > BLIND_AFTER:
        reduce(desk, Cause.BLIND, "no price for a position for a minute")


def _account_duties(watchman: Watchman) -> None:
    """Daily baseline, daily loss, and the comparison of book and venue: all from one read of the account; funding."""
    desk = watchman.desk
    _collect_funding(watchman)
    book = desk.store.book()
    try:
        account = desk.venue.account()
    except VenueUnavailable:
        return
    reconcile(desk, watchman.drift, book, account)
    _measure_day(watchman, account.equity)


def _collect_funding(watchman: Watchman) -> None:
    """Hand out the hours that are due, and again after a pause while they cannot be had."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    due = [position for position in desk.store.book().standing_positions() if funding_due(desk, position)]
    if not due or (watchman.funding_tried is not None and now - watchman.funding_tried < FUNDING_RETRY):
        return
    watchman.funding_tried = now

    def collect() -> None:
        for position in due:
            collect_funding(desk, position)

    _hand_out(watchman, "funding", collect)


def _measure_day(watchman: Watchman, equity: Usd) -> None:
    """Begin the day at its first reading and stop opening beyond the day's loss, once two readings two seconds apart
    say so: an account that suddenly reads empty is never believed on one answer."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    state, today = desk.store.state(), now.date()
    if state.baseline_day != today or state.baseline_equity is None:
        watchman.short_since = None
        if equity > 0:
            desk.store.change_state(lambda one: replace(one, baseline_day=today, baseline_equity=equity))
            lift(desk, Cause.DAILY_LOSS, "a new day: the daily loss limit starts afresh")
        return
    if equity >= state.baseline_equity * (1 - desk.config.max_daily_loss):
        watchman.short_since = None
        return
    watchman.short_since = watchman.short_since or now
    if now - watchman.short_since >= DRIFT_PATIENCE:
        reduce(
            desk,
            Cause.DAILY_LOSS,
            f"the day's loss is beyond {desk.config.max_daily_loss:.1%} of {state.baseline_equity}",
        )


def _tell_outcomes(watchman: Watchman) -> None:
    """Guardian hears how each approved trade ended, one after the other in a thread that nothing waits for."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    untold = {position.id: position for position in desk.store.book().untold()}
    watchman.outcome_tried = {key: at for key, at in watchman.outcome_tried.items() if key in untold}
    _give_up(watchman, untold, now)
    due = [key for key, position in untold.items() if _may_be_told(watchman, position, now)]
    if not due or _in_hand(watchman, OUTCOMES):
        return
    watchman.outcome_tried |= dict.fromkeys(due, now)

    def tell() -> None:
        for position_id in due:
            _tell_outcome(desk, position_id)

    _hand_out(watchman, OUTCOMES, tell)


def _may_be_told(watchman: Watchman, position: Position, now: datetime) -> bool:
    tried = watchman.outcome_tried.get(position.id)
    if tried is not None and now - tried < OUTCOME_RETRY:
        return False
    return funding_settled(position, now) and not _too_old(position, now)


def _too_old(position: Position, now: datetime) -> bool:
    return position.exited_at is None or now - position.exited_at > OUTCOME_GIVEN_UP


def _give_up(watchman: Watchman, untold: Mapping[PositionId, Position], now: datetime) -> None:
    for key in [key for key in watchman.outcome_tried if _too_old(untold[key], now)]:
        del watchman.outcome_tried[key]
        watchman.desk.log.write("warning", "Guardian never took the outcome of a trade; given up", position_id=key)


def _tell_outcome(desk: Desk, position_id: PositionId) -> None:
    collect_funding(desk, desk.store.book().position(position_id))
    position = desk.store.book().position(position_id)
    outcome = _outcome_of(position)
    if outcome is not None:
        try:
            desk.approvals.report_outcome(outcome)
        except GuardianUnavailable as error:
            desk.log.write("warning", f"Guardian did not take the outcome: {error.detail}", position_id=position_id)
            return
    with desk.store.exclusive() as book:
        watch = book.watch(position_id) or first_watch(book.trade(position.trade_id))
        desk.store.save_watch(replace(watch, outcome_told=True))


def _outcome_of(position: Position) -> Outcome | None:
    """Net PnL over entry notional and the pair's price ratios in and out; None for a position that was never filled."""
    entered = {leg.coin: leg.entry_price for leg in position.legs}
    left = {leg.coin: leg.exit_price for leg in position.legs}
    entry, out = _ratio(position, entered), _ratio(position, left)
    if position.approval is None or entry is None or out is None or not position.entry_notional:
        return None
    net = position.realized - position.fees - position.funding
    return Outcome(position.approval.id, net / position.entry_notional, entry, out)


def _ratio(position: Position, prices: Mapping[Coin, Price | None]) -> Decimal | None:
    base, quote = prices[position.pair.base], prices[position.pair.quote]
    return ratio_of(base, quote) if base is not None and quote is not None else None
