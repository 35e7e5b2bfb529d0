"""The daemon's tick: beat, take live trades further, compare with the venue, push a stop to flat, sweep the exits.

The law: what hangs for one trade delays no other. Each trade and each close has a place in a small pool of threads,
and one that is still busy from the last tick is left alone.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock

from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import Busy, DeskError, GuardianUnavailable, InvariantBroken, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import ratio_of
from trading.domain.positions import Position, first_watch
from trading.domain.units import Coin, PositionId, Price, TradeId, Usd
from trading.engine import closing, emergency, exits, working
from trading.engine.desk import Desk
from trading.engine.funding import collect_funding
from trading.engine.recovery import DriftMemory, reconcile, recover
from trading.engine.states import lift, reduce
from trading.ports import Outcome

_logger = logging.getLogger(__name__)

WORKERS = 8
BLIND_AFTER = timedelta(seconds=60)
OUTCOME_RETRY = timedelta(seconds=30)
OUTCOME_GIVEN_UP = timedelta(hours=24)
CLOSE_SECONDS = 3.0


@dataclass
class Watchman:
    """What one monitor process keeps between ticks: its pool, what is in hand, and what it has seen."""

    desk: Desk
    memory: exits.Memory = field(default_factory=exits.Memory)
    drift: DriftMemory = field(default_factory=DriftMemory)
    in_hand: dict[str, Future[None]] = field(default_factory=dict)
    outcome_tried: dict[PositionId, datetime] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="desk")
        self.errands = ThreadPoolExecutor(max_workers=1, thread_name_prefix="errand")

    def close(self, wait: bool = True) -> None:
        """Let what is in hand finish, and take on nothing more."""
        self.pool.shutdown(wait=wait, cancel_futures=True)
        self.errands.shutdown(wait=False, cancel_futures=True)


def tick(watchman: Watchman, *, wait_seconds: float | None = None) -> None:
    """One round. Returns at once while trades are worked in the pool; *wait_seconds* waits for them that long.

    A part of a tick that fails is logged and does not keep the others from their turn.
    """
    desk = watchman.desk
    desk.store.beat(desk.clock.now())
    for part in (_account_duties, _recover, _push, _sweep, _tell_outcomes):
        try:
            part(watchman)
        except DeskError as error:
            desk.log.write("error", f"monitor: {part.__name__.strip('_')} failed: {error.detail}", code=error.code)
    if wait_seconds is not None:
        finish(watchman, wait_seconds)


def finish(watchman: Watchman, seconds: float) -> None:
    """Wait at most *seconds* for what is in hand."""
    until = watchman.desk.clock.monotonic() + seconds
    for future in tuple(watchman.in_hand.values()):
        left = until - watchman.desk.clock.monotonic()
        if left <= 0:
            return
        _done(future, left)


def _done(future: "Future[None]", seconds: float) -> None:
    try:
        future.result(timeout=seconds)
    except TimeoutError:
        return


def _hand_out(watchman: Watchman, key: str, job: Callable[[], None]) -> None:
    """Give *job* to the pool unless the same is still in hand."""
    with watchman.lock:
        watchman.in_hand = {name: future for name, future in watchman.in_hand.items() if not future.done()}
        if key not in watchman.in_hand:
            watchman.in_hand[key] = watchman.pool.submit(_guarded, watchman.desk, key, job)


def _guarded(desk: Desk, key: str, job: Callable[[], None]) -> None:
    """Say what went wrong in a thread that nobody waits for. A bug must not pass in silence there, so the net is wide."""
    try:
        job()
    except DeskError as error:
        desk.log.write("error", f"monitor: {key} failed: {error.detail}", code=error.code)
    except Exception as bug:
        _logger.exception("%s failed", key)
        desk.log.write("error", f"monitor: {key} failed on a bug: {type(bug).__name__}", code="INTERNAL")


def _recover(watchman: Watchman) -> None:
    recover(watchman.desk, lambda trade_id: _hand_out(watchman, trade_id, lambda: _take_up(watchman.desk, trade_id)))


def _take_up(desk: Desk, trade_id: TradeId) -> None:
    """Work a trade under its seat. A broken invariant takes it out of work and stops opening: it is a bug, and it is
    said."""
    try:
        working.work_if_free(desk, trade_id)
    except InvariantBroken as broken:
        reduce(desk, Cause.SUSPENDED_TRADE, f"trade {trade_id} broke a rule: {broken.detail}")
        try:
            with desk.store.seat(trade_id):
                working.suspend(desk, desk.store.book().trade(trade_id), broken.detail)
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
    """A minute without any price while something is open: no more opening until prices are back."""
    desk, memory = watchman.desk, watchman.memory
    now = desk.clock.now()
    if memory.prices_seen_at is None or not desk.store.book().standing_positions():
        memory.prices_seen_at = now
    elif now - memory.prices_seen_at > BLIND_AFTER:
        reduce(desk, Cause.BLIND, "no price of anything for a minute")
    else:
        lift(desk, Cause.BLIND, "prices are back")


def _account_duties(watchman: Watchman) -> None:
    """Daily baseline, daily loss, funding, and the comparison of book and venue: all from one read of the account."""
    desk = watchman.desk
    book = desk.store.book()
    try:
        account = desk.venue.account()
    except VenueUnavailable:
        return
    reconcile(desk, watchman.drift, book, account)
    _measure_day(desk, account.equity)
    for position in book.standing_positions():
        collect_funding(desk, position)


def _measure_day(desk: Desk, equity: Usd) -> None:
    today = desk.clock.now().date()
    state = desk.store.state()
    if state.baseline_day != today or state.baseline_equity is None:
        desk.store.change_state(lambda one: replace(one, baseline_day=today, baseline_equity=equity))
        lift(desk, Cause.DAILY_LOSS, "a new day: the daily loss limit starts afresh")
        return
    floor = state.baseline_equity * (1 - desk.config.max_daily_loss)
    if equity < floor:
        reduce(
            desk,
            Cause.DAILY_LOSS,
            f"the day's loss is beyond {desk.config.max_daily_loss:.1%} of {state.baseline_equity}",
        )


def _tell_outcomes(watchman: Watchman) -> None:
    """Guardian hears how each approved trade ended, from a thread of its own that nothing waits for."""
    desk = watchman.desk
    now = desk.clock.now()
    for position in desk.store.book().untold():
        if position.exited_at is None or now - position.exited_at > OUTCOME_GIVEN_UP:
            continue
        tried = watchman.outcome_tried.get(position.id)
        if tried is None or now - tried >= OUTCOME_RETRY:
            watchman.outcome_tried[position.id] = now
            watchman.errands.submit(_guarded, desk, f"outcome of {position.id}", _outcome_errand(desk, position))


def _outcome_errand(desk: Desk, position: Position) -> Callable[[], None]:
    def tell() -> None:
        collect_funding(desk, position)
        outcome = _outcome_of(desk.store.book().position(position.id))
        if outcome is not None:
            try:
                desk.approvals.report_outcome(outcome)
            except GuardianUnavailable as error:
                desk.log.write("warning", f"Guardian did not take the outcome: {error.detail}", position_id=position.id)
                return
        with desk.store.exclusive() as book:
            watch = book.watch(position.id) or first_watch(book.trade(position.trade_id))
            desk.store.save_watch(replace(watch, outcome_told=True))

    return tell


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
