"""The daemon's tick: beat, take live trades further, compare with the venue, push a stop to flat, sweep the exits.

The law: what hangs for one trade delays no other, and what fails in one part of a tick keeps no other from its turn.
Each trade and each close has a thread of its own, and one that is still busy from the last tick is left alone.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from trading.domain.accounts import EquityPoint, hour_of
from trading.domain.book import Book
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import (
    Busy,
    DeskError,
    InvariantBroken,
    StoreCorrupt,
    StoreHeld,
    Unavailable,
    VenueUnavailable,
)
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.positions import PositionStatus
from trading.domain.trades import TradeStatus
from trading.domain.units import ZERO, Coin, PositionId, TradeId, Usd
from trading.engine import (
    closing,
    daily_loss,
    emergency,
    errands,
    exits,
    forgotten,
    late,
    losses,
    outcomes,
    protection,
    second_line,
    trail,
    unwinding,
    working,
)
from trading.engine.accounting import unfunded
from trading.engine.desk import Desk
from trading.engine.funding import collect_funding
from trading.engine.instants import first_of, is_due
from trading.engine.late import LateMemory
from trading.engine.outcomes import Outbox
from trading.engine.pacing import Slices
from trading.engine.recovery import DriftMemory, overdue_closes, reconcile, recover
from trading.engine.states import lift, reduce
from trading.engine.valuing import publish_marks
from trading.ports import Errand, Job, Json

BACKOFF_SECONDS_MAX = 5.0
INTERVAL_SECONDS_MAX = 3.0
"""A monitor beats once a round, and is dead after five seconds without; a close is tried again as often as that."""
BLIND_AFTER = timedelta(seconds=60)
ROLL_EVERY = timedelta(hours=1)
ROLL_AGAIN = timedelta(minutes=1)
RESERVE_RETRY = timedelta(seconds=30)
FUNDING_RETRY = timedelta(seconds=30)
LOSS_RETRY = timedelta(seconds=1)
LOSS_RETRY_MAX = timedelta(seconds=30)
VENUE_PATIENCE = timedelta(seconds=10)
CLOSE_SECONDS = 3.0
LATE_REPEAT = timedelta(minutes=5)
OUTCOMES = "outcomes"
ACCOUNT = "account"
MARKS = "marks"
JUDGING = "sweep"
STOP = "emergency stop"
FAILED_PAUSE_SECONDS = 0.25
BEAT_KEY = "monitor:beat"
BEAT_TTL_SECONDS = 15.0

_logger = logging.getLogger("trading.monitor")


@dataclass
class Watchman:
    """What one monitor process keeps between ticks: what is in hand, what it has tried, and what it has seen."""

    desk: Desk
    compared: bool = False
    memory: exits.Memory = field(default_factory=exits.Memory)
    drift: DriftMemory = field(default_factory=DriftMemory)
    guards: protection.Memory = field(default_factory=protection.Memory)
    strays: forgotten.Memory = field(default_factory=forgotten.Memory)
    explained_tried: datetime | None = None
    explained_pause: timedelta = LOSS_RETRY
    beside_others: frozenset[Coin] = frozenset()
    beyond_book: Mapping[Coin, Decimal] = field(default_factory=dict)
    unwritten: unwinding.Unwritten = field(default_factory=unwinding.Unwritten)
    stopped: bool = False
    looked_beside: datetime | None = None
    beside_pause: timedelta = LOSS_RETRY
    unseen: frozenset[Coin] | None = None
    late: LateMemory = field(default_factory=LateMemory)
    lines: second_line.Memory = field(default_factory=second_line.Memory)
    in_hand: dict[str, Errand] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)
    funding_tried: datetime | None = None
    funding_swept: datetime | None = None
    equity_kept: datetime | None = None
    day: daily_loss.Memory = field(default_factory=daily_loss.Memory)
    rolled_at: datetime | None = None
    reserve_tried: datetime | None = None
    venue_silent_since: datetime | None = None
    venue_down: bool = False
    overdue_told: dict[TradeId, datetime] = field(default_factory=dict)
    ticked: int = 0
    corrupt: StoreCorrupt | None = None
    troubles: dict[str, str] = field(default_factory=dict)
    trails: dict[PositionId, datetime] = field(default_factory=dict)
    slices: Slices = field(default_factory=Slices)


def tick(watchman: Watchman, *, wait_seconds: float | None = None) -> None:
    """One round. Returns at once while trades are worked in threads; *wait_seconds* waits for them that long.

    A part that fails is logged, once for as long as it fails in the same way, and does not keep the others from their
    turn. Raises StoreCorrupt, after all of them, when a part met one.
    """
    watchman.corrupt = None
    _hand_out(watchman, ACCOUNT, partial(_know_account, watchman))
    if wait_seconds is not None:
        finish(watchman, wait_seconds)
    # It beats between parts: a venue that is slow to be read is no dead monitor.
    for part in (_beat, _sweep, _guard, _beat, _recover, _push, _beat, _show_marks, _tell_outcomes, _keep_house):
        _attempt(watchman, part)
    if wait_seconds is not None:
        finish(watchman, wait_seconds)
    if watchman.corrupt is not None:
        raise watchman.corrupt


def go_round(watchman: Watchman, interval: float, pause: float) -> float:
    """One tick, and how many seconds to listen after it: *interval*, or twice the last *pause* after each in a row that
    failed as a whole or met a damaged store, up to the age at which a monitor counts as dead. Raises nothing."""
    try:
        tick(watchman)
    except StoreCorrupt as error:
        _logger.error("the store cannot be trusted or written: %s", error.detail)
        _take_what_is_left(watchman)
        return max(min(pause * 2, BACKOFF_SECONDS_MAX), interval)
    except Exception as bug:
        # What is not caught here ends the watch over every position.
        _logger.exception("a round of the monitor failed")
        complain(watchman, "the round", f"a bug: {type(bug).__name__}: {bug}")
        return max(min(pause * 2, BACKOFF_SECONDS_MAX), interval)
    watchman.troubles.pop("the round", None)
    return interval


def _take_what_is_left(watchman: Watchman) -> None:
    """Of a ledger with a line that has been damaged under the watch all that can be read is watched on, as after a
    start on it. What the system cannot read now it may read again."""
    desk = watchman.desk
    try:
        desk.store.book()
    except StoreCorrupt as damage:
        if "line" in damage.facts:
            desk.log.write("error", f"the desk is HALTED: {damage.detail}", code=damage.code, event="DeskHalted")
            watchman.desk = replace(desk, store=desk.store.salvaged(damage.detail))
    except Busy:
        return


def listen(watchman: Watchman, seconds: float) -> None:
    """Between two ticks: judge the positions of a coin as its price comes in, and begin each slice when it is due, for
    *seconds*. Raises nothing."""
    desk, until = watchman.desk, watchman.desk.clock.monotonic() + seconds
    _attempt(watchman, _take_stock)
    _attempt(watchman, _plan_slices)
    while (left := until - desk.clock.monotonic()) > 0:
        _attempt(watchman, _begin_slices)
        pause = watchman.slices.pause(desk.clock.now(), left)
        ticks = desk.venue.wait_for_ticks(watchman.ticked, watchman.memory.roster.coins, pause)
        watchman.ticked = ticks.number
        if ticks.coins and not _attempt(watchman, partial(_judge, coins=ticks.coins), JUDGING):
            desk.clock.sleep(min(FAILED_PAUSE_SECONDS, max(until - desk.clock.monotonic(), 0.0)))


def _attempt(watchman: Watchman, part: Callable[[Watchman], None], name: str | None = None) -> bool:
    """Do *part* and say what went wrong, if anything did; a damaged store is remembered for the end of the tick."""
    name = name or part.__name__.strip("_").replace("_", " ")
    try:
        part(watchman)
    except DeskError as error:
        complain(watchman, name, error.detail, error.code)
        watchman.corrupt = error if isinstance(error, StoreCorrupt) else watchman.corrupt
        return False
    except Exception as bug:
        # The daemon is what keeps positions watched: a bug in one duty must not end the others.
        if complain(watchman, name, f"a bug: {type(bug).__name__}: {bug}", "INTERNAL"):
            _logger.exception("monitor: %s failed", name)
        return False
    watchman.troubles.pop(name, None)
    return True


def finish(watchman: Watchman, seconds: float) -> None:
    """Wait at most *seconds* for what is in hand."""
    errands.wait(watchman.desk, tuple(watchman.in_hand.values()), watchman.desk.clock.monotonic() + seconds)


def complain(watchman: Watchman, part: str, words: str, code: str = "INTERNAL") -> bool:
    """Say that *part* failed, once for as long as it fails with the same *words*, and let health show it. False where
    that has been said."""
    if watchman.troubles.get(part) == words:
        return False
    watchman.troubles[part] = words
    watchman.desk.log.write("error", f"monitor: {part} failed: {words}", code=code, event="DutyFailed")
    return True


def _hand_out(watchman: Watchman, key: str, job: Job) -> None:
    """Begin *job* beside the tick unless the same is still in hand."""
    if not _in_hand(watchman, key):
        watchman.in_hand[key] = errands.start(watchman.desk, f"monitor: {key}", job)


def _in_hand(watchman: Watchman, key: str) -> bool:
    # Entry by entry: an errand may hand out another one meanwhile.
    for name, errand in tuple(watchman.in_hand.items()):
        if not errand.is_alive():
            watchman.in_hand.pop(name, None)
    return key in watchman.in_hand


def _keep_house(watchman: Watchman) -> None:
    """A full disk stops opening until there is room again; what has ended moves to the archive once an hour, and
    within a minute where too much of it is in memory."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    if desk.store.disk_full:
        reduce(desk, Cause.DISK, "the disk is full: closing goes on from a small reserve, opening does not")
        if is_due(now, watchman.reserve_tried, RESERVE_RETRY):
            watchman.reserve_tried = now
            desk.store.restore_reserve()
    else:
        lift(desk, Cause.DISK, "there is room on the disk again")
    every = ROLL_AGAIN if desk.store.outgrown else ROLL_EVERY
    if is_due(now, watchman.rolled_at, every):
        watchman.rolled_at = now
        _hand_out(watchman, "roll-over", lambda: _roll_over(desk))


def _roll_over(desk: Desk) -> None:
    moved = desk.store.roll_over(desk.clock.now())
    if moved:
        desk.log.write("info", f"{moved} ended position(s) moved to the archive", moved=moved)


def _beat(watchman: Watchman) -> None:
    problems = [f"{part} failed: {words}" for part, words in tuple(watchman.troubles.items())]
    watchman.desk.store.beat(watchman.desk.clock.now(), problems, compared=watchman.compared)


def _recover(watchman: Watchman) -> None:
    recover(watchman.desk, lambda trade_id: _hand_out(watchman, trade_id, lambda: _take_up(watchman, trade_id)))
    _tell_overdue(watchman)


def _tell_overdue(watchman: Watchman) -> None:
    """A line for each close that is past its deadline, and again after a while."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    late = {trade.id: trade for trade in overdue_closes(desk.store.book(), now)}
    watchman.overdue_told = {trade_id: at for trade_id, at in watchman.overdue_told.items() if trade_id in late}
    for trade_id, trade in late.items():
        if is_due(now, watchman.overdue_told.get(trade_id), LATE_REPEAT):
            watchman.overdue_told[trade_id] = now
            desk.log.write(
                "error",
                f"the close of {trade.terms.pair} is overdue: it has not ended in "
                f"{(now - trade.terms.accepted_at).total_seconds():.0f} s and goes on",
                trade_id=trade_id,
                position_id=trade.terms.position_id,
                event="CloseDelayed",
            )


def _take_up(watchman: Watchman, trade_id: TradeId) -> None:
    """Work a trade under its seat. A bug stops all opening, and takes an opening trade out of work; a close that cannot
    be written down is done without that, and so is that of an opening in doubt or with one leg ahead."""
    desk = watchman.desk
    if desk.store.trouble:
        # Not worked first: what is found would be told every second, and nothing of it becomes of the trade.
        _leave_unwritten(watchman, trade_id)
        return
    try:
        trade = working.work_if_free(desk, trade_id)
        if not (trade.opens and trade.in_doubt):
            watchman.unwritten.failing_since.pop(trade.terms.position_id, None)
    except InvariantBroken as broken:
        _take_out(desk, trade_id, f"it broke a rule: {broken.detail}")
    except (StoreCorrupt, StoreHeld):
        if not _leave_unwritten(watchman, trade_id):
            raise
    except (Unavailable, Busy):
        raise
    except Exception as bug:
        _take_out(desk, trade_id, f"a bug: {type(bug).__name__}")
        raise


def _leave_unwritten(watchman: Watchman, trade_id: TradeId) -> bool:
    """Leave without a ledger what a trade that cannot be written down holds; False where it stays, or may still be
    written. What an opening holds that is level stays under its barriers; those need to know what it holds."""
    desk = watchman.desk
    trade = desk.store.book().trade(trade_id)
    stays = trade.opens and not trade.in_doubt and trade.status is not TradeStatus.REPAIRING
    if stays or not unwinding.cannot_be_written(desk, trade.terms.position_id, watchman.unwritten):
        return False
    reason = trade.exit_reason or (ExitReason.REPAIR if trade.opens else ExitReason.MANUAL)
    unwinding.leave_without_ledger(desk, trade.terms.position_id, reason, CLOSE_SECONDS, watchman.unwritten)
    return True


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
    desk = watchman.desk
    if desk.store.stop_cut_off and not watchman.stopped:
        _hand_out(watchman, STOP, lambda: _press(watchman))
    elif desk.store.state().state is TradingState.LIQUIDATING:
        emergency.push(desk, lambda position_id, reason: _leave(watchman, position_id, reason))


def _press(watchman: Watchman) -> None:
    """Go on with a stop that no state tells of any more, by what the venue holds, until nothing is left."""
    desk, unwritten = watchman.desk, watchman.unwritten
    scope_account = desk.store.state().scope_account
    report = emergency.stop(desk, scope_account=scope_account, goes_on=False, unwritten=unwritten)
    watchman.stopped = not report.remaining


def _sweep(watchman: Watchman) -> None:
    _judge(watchman, None)
    _notice_blindness(watchman)


def _judge(watchman: Watchman, coins: Collection[Coin] | None) -> None:
    exits.sweep(
        watchman.desk, watchman.memory, lambda position_id, reason: _leave(watchman, position_id, reason), coins
    )


def _take_stock(watchman: Watchman) -> None:
    exits.take_stock(watchman.desk, watchman.memory)


def _plan_slices(watchman: Watchman) -> None:
    watchman.slices.plan(watchman.desk.store.book().live_trades())


def _begin_slices(watchman: Watchman) -> None:
    for trade_id in watchman.slices.begin(watchman.desk.clock.now()):
        _hand_out(watchman, trade_id, partial(_take_up, watchman, trade_id))


def _show_marks(watchman: Watchman) -> None:
    """For those who look: in a thread, since a cache that hangs must not keep an exit waiting."""
    desk, account = watchman.desk, watchman.memory.account
    problems: list[Json] = [*watchman.troubles]

    def show() -> None:
        desk.cache.put(BEAT_KEY, {"at": desk.clock.now().isoformat(), "problems": problems}, BEAT_TTL_SECONDS)
        trail.follow(desk, watchman.trails, publish_marks(desk, account))

    _hand_out(watchman, MARKS, show)


def _leave(watchman: Watchman, position_id: PositionId, reason: ExitReason) -> None:
    desk = watchman.desk

    def leave() -> None:
        unwritten = watchman.unwritten
        if not desk.store.trouble and (position_id not in unwritten.left or desk.store.writable):
            try:
                closing.close(desk, position_id, reason, until=desk.clock.monotonic() + CLOSE_SECONDS)
                unwritten.failing_since.pop(position_id, None)
                return
            except (StoreCorrupt, StoreHeld):
                if not unwinding.cannot_be_written(desk, position_id, unwritten):
                    raise
        unwinding.leave_without_ledger(desk, position_id, reason, CLOSE_SECONDS, unwritten)

    _hand_out(watchman, f"close {position_id}", leave)


def _notice_blindness(watchman: Watchman) -> None:
    """A minute without a price for something that stands: no more opening until everything has its price back."""
    desk, blind = watchman.desk, watchman.memory.blind
    if not blind:
        lift(desk, Cause.BLIND, "prices are back")
    elif desk.clock.now() - min(blind.values()) > BLIND_AFTER:
        reduce(desk, Cause.BLIND, "no price for a position for a minute")


def _know_account(watchman: Watchman) -> None:
    _attempt(watchman, _account_duties)


def _account_duties(watchman: Watchman) -> None:
    """Daily baseline, daily loss, the comparison of book and venue, and the account that exits are judged by: all from
    one read of it; funding. In a thread: it waits for the venue."""
    desk = watchman.desk
    _collect_funding(watchman)
    book = desk.store.book()
    try:
        account = desk.venue.account()
    except VenueUnavailable as error:
        _note_venue(watchman, error.detail)
        return
    _note_venue(watchman, "")
    watchman.memory.account = account
    _look_beside(watchman, book, account)
    lacking = frozenset(one.coin for one in losses.missing(book, account))
    _explain(watchman, bool(lacking or losses.sold_since(book, desk.store.rescued())))
    if not late.flatten(desk, watchman.late, book, account, lambda one, reason: _leave(watchman, one, reason)):
        watchman.compared = _reconcile(watchman, book, account, lacking) or watchman.compared
    _keep_equity(watchman, account.equity)
    daily_loss.measure(desk, watchman.day, account)


def _reconcile(watchman: Watchman, book: Book, account: Account, lacking: Collection[Coin]) -> bool:
    """See `reconcile`. What has just begun to lack is looked for with the next tick, however long the pauses were that
    another lack had come to, which may have been accepted."""
    desk, known = watchman.desk, frozenset(watchman.drift.seen)
    told = lacking if desk.venue.traits.tells_fills else ()
    decided = reconcile(desk, watchman.drift, book, account, told)
    if (watchman.drift.seen.keys() & {*told}) - known:
        watchman.explained_tried, watchman.explained_pause = None, LOSS_RETRY
    return decided


def _look_beside(watchman: Watchman, book: Book, account: Account) -> None:
    """Keep in mind of which coins others have held some beside the desk since what stands of them was opened: there,
    what rests may take the desk's own and nothing is missing. Where what is beyond the book has just become less, it
    is looked for again at once. And once where something rested before this watchman came, who has not seen it."""
    if not watchman.desk.venue.traits.rests_orders:
        return
    standing = {leg.coin for one in book.standing_positions() for leg in one.legs if leg.held > 0}
    known = watchman.beside_others | losses.beside_others(book, account, watchman.desk.store.state())
    before, watchman.beyond_book = watchman.beyond_book, losses.beyond_book(book, account)
    watchman.beside_others = known & standing
    if any(watchman.beyond_book[coin] < before.get(coin, ZERO) for coin in watchman.beside_others):
        watchman.looked_beside, watchman.beside_pause = None, LOSS_RETRY
    if watchman.unseen is None:
        guarded = [one for one in book.standing_positions() if book.watch_of(one.id).rested]
        watchman.unseen = frozenset(leg.coin for one in guarded for leg in one.legs)


def _explain(watchman: Watchman, lacking: bool) -> None:
    """Look for the fills that explain what the account lacks: at once, then at growing pauses, for it costs. Beside
    others, where nothing need be lacking, each half minute at least; that keeps nothing that is lacking waiting."""
    now, tried = watchman.desk.clock.now(), watchman.explained_tried
    if not lacking:
        watchman.explained_tried, watchman.explained_pause = None, LOSS_RETRY
        due = bool(watchman.beside_others) and is_due(now, watchman.looked_beside, watchman.beside_pause)
        if due:
            watchman.beside_pause = min(2 * watchman.beside_pause, LOSS_RETRY_MAX)
    else:
        due = is_due(now, tried, watchman.explained_pause)
        if due and tried is not None:
            watchman.explained_pause = min(2 * watchman.explained_pause, LOSS_RETRY_MAX)
        watchman.explained_tried = now if due else tried
    if due or watchman.unseen:
        coins = watchman.beside_others | (watchman.unseen or frozenset())
        watchman.looked_beside, watchman.unseen = now, frozenset()
        _hand_out(watchman, "lost legs", lambda: _find_losses(watchman, coins))


def _find_losses(watchman: Watchman, beside_others: Collection[Coin]) -> None:
    began = watchman.desk.clock.now()
    try:
        looked = working.look_for_losses(watchman.desk, beside_others)
    except VenueUnavailable:
        return
    if looked is None:
        # A trade has moved meanwhile. The next tick looks again: the pauses are for a venue that cannot be read.
        watchman.explained_tried, watchman.explained_pause = None, LOSS_RETRY
        return
    watchman.drift.fills_asked.update(dict.fromkeys(looked.coins, began))
    if looked.losers:
        _leave_lost(watchman)


def _guard(watchman: Watchman) -> None:
    """What has lost a leg is left, whoever found that, before whatever crash; what stands is guarded at the venue."""
    desk = watchman.desk
    _leave_lost(watchman)
    _leave_unlevel(watchman)
    # What rests is written down first, which a halted desk cannot.
    for position_id in () if desk.store.trouble else protection.due(desk, watchman.guards, desk.store.book()):
        _hand_out(watchman, f"guard {position_id}", _guardian(watchman, position_id))
    if forgotten.due(desk, watchman.strays):
        _hand_out(watchman, "forgotten", lambda: forgotten.look(desk, watchman.guards, watchman.strays))
    unguarded = second_line.due(desk, watchman.lines, desk.store.book())
    if unguarded:
        _hand_out(watchman, "second line", lambda: second_line.draw(desk, watchman.lines, unguarded))


def _leave_lost(watchman: Watchman) -> None:
    for position in watchman.desk.store.book().standing_positions():
        if position.lost is not None and position.guarded:
            _leave(watchman, position.id, position.lost)


def _leave_unlevel(watchman: Watchman) -> None:
    """What was canceled with its legs apart has nobody else who would level it; and what was taken over only to be
    closed is, should whoever took it over not have lived to begin that. A stop under way closes all by itself."""
    book, state = watchman.desk.store.book(), watchman.desk.store.state().state
    for position in book.standing_positions():
        if position.status is PositionStatus.OPEN:
            opening = book.trade(position.trade_id)
            if closing.left_unlevel(opening) or (opening.adopted and state is not TradingState.LIQUIDATING):
                _leave(watchman, position.id, ExitReason.REPAIR)


def _guardian(watchman: Watchman, position_id: PositionId) -> Job:
    def guard() -> None:
        desk = watchman.desk
        # Whoever is at it, as a close is, sees to its orders; it is looked at again in half a minute.
        with suppress(Busy):
            protection.protect(desk, watchman.guards, position_id, partial(working.book_losses, desk))

    return guard


def _note_venue(watchman: Watchman, trouble: str) -> None:
    """One line when the account has been unreadable for a while, and one when it can be read again."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    if not trouble:
        if watchman.venue_down:
            desk.log.write("success", "the venue answers again", event="VenueBack")
        watchman.venue_silent_since, watchman.venue_down = None, False
        return
    watchman.venue_silent_since = first_of(watchman.venue_silent_since, now)
    if not watchman.venue_down and now - watchman.venue_silent_since >= VENUE_PATIENCE:
        watchman.venue_down = True
        desk.log.write("error", f"the venue does not answer: {trouble}", event="VenueDown")


def _collect_funding(watchman: Watchman) -> None:
    """Hand out the hours that are due, and again after a pause while they cannot be had. Those of closed positions are
    looked for less often, for there are many."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    book = desk.store.book()
    if is_due(now, watchman.funding_swept, FUNDING_RETRY):
        watchman.funding_swept = now
        due = unfunded(book, book.positions(), now)
    else:
        due = unfunded(book, book.standing_positions(), now)
    if not due or not is_due(now, watchman.funding_tried, FUNDING_RETRY):
        return
    watchman.funding_tried = now

    def collect() -> None:
        for position in due:
            collect_funding(desk, position)

    _hand_out(watchman, "funding", collect)


def _keep_equity(watchman: Watchman, equity: Usd) -> None:
    """One point an hour for the equity curve. A file that cannot be written costs no more than that point."""
    desk, now = watchman.desk, watchman.desk.clock.now()
    if equity <= 0 or watchman.equity_kept == hour_of(now):
        return
    watchman.equity_kept = hour_of(now)
    try:
        desk.accounts.keep_equity(EquityPoint(now, equity))
    except (StoreCorrupt, Busy) as error:
        desk.log.write("warning", f"the equity of this hour could not be written down: {error.detail}")


def _tell_outcomes(watchman: Watchman) -> None:
    """Guardian hears how each approved trade ended, one after the other in a thread that nothing waits for."""
    desk, outbox = watchman.desk, watchman.outbox
    if _in_hand(watchman, OUTCOMES):
        return
    ends = outcomes.due(desk, outbox)
    if ends:
        _hand_out(watchman, OUTCOMES, lambda: outcomes.deliver(desk, outbox, ends))
