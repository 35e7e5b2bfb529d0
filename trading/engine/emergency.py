"""The emergency stop and the way back from it.

An emergency stop is a state, not a procedure: one durable write, after which every tick of every process pushes
towards flat. It stays until the venue is read as flat. Pressing it twice is the same as once.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import ResumeRefused, StopInProgress, StoreCorrupt, StoreHeld, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Holding
from trading.domain.trades import TradeStatus
from trading.domain.units import ZERO, Coin, PositionId, Quantity, Usd
from trading.engine import closing, errands, flattening, unwinding, working
from trading.engine.adoption import next_adoption
from trading.engine.desk import Desk
from trading.engine.instants import lasts
from trading.engine.playbook import ENTRY_TTL
from trading.engine.recovery import book_holdings, doubts, drifts
from trading.engine.states import live_beat, with_baseline
from trading.engine.unwinding import Unwritten
from trading.ports import Job

ANSWER_SECONDS = 8.0
LAST_WORD_SECONDS = 1.0
AGAIN_SECONDS = 0.5
LATCH_TRIES = 2
LATCH_SECONDS = 86_400.0
"""How long a stop is tried to be latched beside its answer, while somebody holds the desk's state and hangs, or the
folder takes no write."""
LATCH_PAUSE_SECONDS_MAX = 5.0
_latching = {scope_account: threading.Lock() for scope_account in (False, True)}
FLAT_READS = flattening.FLAT_READS


@dataclass(frozen=True, slots=True)
class Remaining:
    """A position that is not flat yet, and what is known of why."""

    position_id: PositionId
    pair: str
    status: str
    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A holding of the account, in coins, that is not the desk's. It stays."""

    coin: Coin
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class StopReport:
    """What the emergency stop has reached so far."""

    status: str
    closed: tuple[PositionId, ...]
    remaining: tuple[Remaining, ...]
    foreign: tuple[Foreign, ...]
    trading_state: TradingState


@dataclass
class _Abroad:
    """What a look at the account has found beside the desk's own; `held`, signed, is what is left of what the ledger
    did not take over. None of it is known before it was `looked` at to the end."""

    adopted: list[PositionId] = field(default_factory=list)
    foreign: tuple[Foreign, ...] = ()
    held: Mapping[Coin, Quantity] = field(default_factory=dict)
    looked: bool = False


def stop(
    desk: Desk, *, scope_account: bool = False, goes_on: bool = True, unwritten: Unwritten | None = None
) -> StopReport:
    """Stop opening for good, close everything, and say what was closed and what remains. Waits at most some seconds.

    *scope_account* closes what else the account holds, too. A ledger that cannot be read or written, or that somebody
    holds who hangs, does not stop it: then what the venue holds is closed and journaled to the rescue file; it
    *goes_on* for a while after the answer where something is left. Who presses again and again keeps *unwritten* in
    mind for that. Raises VenueUnavailable when there is neither.
    """
    until = desk.clock.monotonic() + ANSWER_SECONDS
    unwritten = Unwritten() if unwritten is None else unwritten
    try:
        latched = _is_latched(desk, scope_account=scope_account)
        before = [position.id for position in desk.store.book().standing_positions()]
    except (StoreCorrupt, StoreHeld) as error:
        # What the system keeps from being written now it may take again; on what is damaged nothing is opened anyway.
        if goes_on and "reason" in error.facts:
            _latch_later(desk, scope_account=scope_account)
        return _stop_from_holdings(
            desk, until, error, whole_account=scope_account, goes_on=goes_on, unwritten=unwritten
        )
    abroad = _Abroad()
    look = errands.start(
        desk, "emergency stop: the rest of the account", lambda: _look_abroad(desk, abroad, until, unwritten)
    )
    close_all(desk, until, unwritten)
    errands.wait(desk, [look], until + LAST_WORD_SECONDS)
    if abroad.looked and desk.store.state().scope_account:
        abroad.looked = False
        look = errands.start(desk, "emergency stop: what is left", lambda: _look_back(desk, abroad))
        errands.wait(desk, [look], until + LAST_WORD_SECONDS)
    report = _report(desk, before, abroad, unwritten.left | desk.store.left())
    return report if latched else replace(report, status="closing", remaining=(*report.remaining, _unlatched(desk)))


def _stop_from_holdings(
    desk: Desk,
    until: float,
    error: StoreCorrupt | StoreHeld,
    *,
    whole_account: bool,
    goes_on: bool,
    unwritten: Unwritten,
) -> StopReport:
    desk.log.write("error", f"emergency stop without a ledger: {error.detail}", code=error.code, event="EmergencyStop")
    unwound = unwinding.close_known(
        desk, until, error, whole_account=whole_account, goes_on=goes_on, unwritten=unwritten
    )
    held: Mapping[Coin, Holding] = {}
    with suppress(VenueUnavailable):
        held = desk.venue.account().holdings
    landing = [
        Remaining(one.id, str(one.pair), one.status, "an order in doubt may still land") for one in unwound.landing
    ]
    return StopReport(
        status="all_positions_closed" if unwound.done else "closing",
        closed=(),
        remaining=(*_remaining(unwound.held), *landing),
        foreign=tuple(
            Foreign(coin, one.quantity) for coin, one in held.items() if one.quantity and coin not in unwound.held
        ),
        trading_state=TradingState.HALTED,
    )


def _remaining(held: Mapping[Coin, Quantity]) -> list[Remaining]:
    return [
        Remaining(PositionId(coin), coin, "held", f"{quantity} {coin} are still held at the venue")
        for coin, quantity in held.items()
    ]


def close_all(desk: Desk, until: float, unwritten: Unwritten) -> None:
    """Close every standing position, all at once, so that one that hangs delays no other; without the ledger where it
    takes in no close. Returns soon after *until*."""
    _close_each(desk, [position.id for position in desk.store.book().standing_positions()], until, unwritten)


def push(desk: Desk, close_one: Callable[[PositionId, ExitReason], None]) -> None:
    """One tick of LIQUIDATING: whatever stands is told to close; once flat is read twice the desk is HALTED."""
    book = desk.store.book()
    for position in book.standing_positions():
        close_one(position.id, ExitReason.EMERGENCY_STOP)
    try:
        if desk.store.state().scope_account or _of_broken(desk):
            _look_abroad(desk, _Abroad())
        if not _settled(desk, desk.store.book()):
            return
        left = _left(desk, book, desk.venue.account())
    except VenueUnavailable:
        return
    before = desk.store.state()
    state = desk.store.change_state(lambda state: _after_read(state, left, desk=desk))
    if state.state is TradingState.HALTED:
        desk.log.write(
            "success",
            "emergency stop complete: the venue reads flat; the desk is HALTED until a resume",
            event="StopComplete",
        )
    elif left and state.why != before.why:
        desk.log.write("error", state.why, left=left, event="NotFlatYet")


def _leave_alone(position_id: PositionId, reason: ExitReason) -> None:
    """What a resume does about positions that stand: they are the stop's, which has closed them or goes on to."""


def reopen(desk: Desk) -> None:
    """Something of the desk's has turned up after a stop was complete: it is under way again until that is gone.

    Only for that, if it was of the whole account: what somebody has bought since is no more the stop's than at a new
    one."""

    def liquidating(state: DeskState) -> DeskState:
        if state.state is not TradingState.HALTED:
            return state
        why = "emergency stop; a late fill turned up"
        return replace(state, state=TradingState.LIQUIDATING, flat_reads=0, why=why, scope_account=False)

    if desk.store.state().state is TradingState.HALTED:
        desk.store.change_state(liquidating)
        desk.log.write("error", "the emergency stop goes on: a late fill has turned up", event="StopReopened")


def resume(desk: Desk, accept_drift: Collection[Coin] = ()) -> DeskState:
    """Back to ACTIVE. Raises StopInProgress while liquidating; ResumeRefused with every cause that still stands.

    Coins in *accept_drift* are recorded as holdings of somebody else first, also while liquidating once nothing of the
    desk's stands: what is left then is what keeps the stop from being flat. Where no monitor ticks the venue is read
    here, once each time: nobody else would ever find it flat.
    """
    if not accept_drift and live_beat(desk) is None and desk.store.state().state is TradingState.LIQUIDATING:
        push(desk, _leave_alone)
    book, state = desk.store.book(), desk.store.state()
    liquidating = state.state is TradingState.LIQUIDATING
    if liquidating and not (accept_drift and _settled(desk, book)):
        raise StopInProgress(f"the emergency stop is still closing; wait until the desk is HALTED ({state.why})")
    held_before = book_holdings(book)
    try:
        account = desk.venue.account()
    except VenueUnavailable as error:
        raise ResumeRefused(
            "the venue cannot be read, so nothing is known to be well", causes=[error.detail]
        ) from error
    if accept_drift:
        _accept(desk, held_before, account, accept_drift)
    if liquidating:
        raise StopInProgress("the holdings are accepted; resume again when the desk has read itself flat and is HALTED")
    causes = _standing_causes(desk, book, account)
    if causes:
        raise ResumeRefused("; ".join(causes), causes=causes)
    return _activated(desk, account, state.causes)


def _activated(desk: Desk, account: Account, known: frozenset[Cause]) -> DeskState:
    """ACTIVE again, for nothing of the causes *known* stands any more. Raises StopInProgress and ResumeRefused for what
    has come up since they were looked at."""
    before: list[DeskState] = []

    def active(state: DeskState) -> DeskState:
        before.append(state)
        if state.state is TradingState.LIQUIDATING or state.causes - known:
            return state
        # A resume is the way back from a daily loss too: the day is measured from here on.
        if Cause.DAILY_LOSS in state.causes:
            made = state.made_today(account.equity) or Usd(ZERO)
            state = with_baseline(state, account, state.baseline_day, made)
        return replace(
            state,
            state=TradingState.ACTIVE,
            causes=frozenset(),
            why="",
            since=desk.clock.now(),
            scope_account=False,
            flat_reads=0,
        )

    state = desk.store.change_state(active)
    if state.state is TradingState.LIQUIDATING:
        raise StopInProgress("an emergency stop was pressed meanwhile")
    come_up = sorted(before[-1].causes - known)
    if come_up:
        raise ResumeRefused(f"{', '.join(come_up)} came up meanwhile: {state.why}", causes=come_up)
    if before[-1].state is not TradingState.ACTIVE:
        desk.log.write(
            "success",
            "the desk is ACTIVE again",
            before=before[-1].state,
            causes=sorted(before[-1].causes),
            event="DeskResumed",
        )
    return state


def _is_latched(desk: Desk, *, scope_account: bool) -> bool:
    """Latch the stop. False where somebody holds the desk's state and hangs: then it is tried on beside the caller, and
    closing does not wait for that."""
    for _ in range(LATCH_TRIES):
        with suppress(StoreHeld):
            _latch(desk, scope_account=scope_account)
            return True
    _latch_later(desk, scope_account=scope_account)
    return False


def _latch_later(desk: Desk, *, scope_account: bool) -> None:
    """Latch the stop beside the caller as soon as the state can be written, one at a time in a process for each scope:
    until then nothing can be opened, and from then on nothing else would keep the desk from it."""

    def latch() -> None:
        until, pause = desk.clock.monotonic() + LATCH_SECONDS, AGAIN_SECONDS
        try:
            while desk.clock.monotonic() < until:
                with suppress(StoreHeld, StoreCorrupt):
                    _latch(desk, scope_account=scope_account)
                    return
                desk.clock.sleep(pause)
                pause = min(2 * pause, LATCH_PAUSE_SECONDS_MAX)
            desk.log.write("error", "the emergency stop could not be written down: press it again", event="NotLatched")
        finally:
            _latching[scope_account].release()

    if _latching[scope_account].acquire(blocking=False):
        errands.start(desk, "latching an emergency stop", latch)


def _unlatched(desk: Desk) -> Remaining:
    why = f"the desk is {desk.store.state().state} yet: {desk.store.held or 'its state could not be written in time'}"
    return Remaining(PositionId("desk"), "desk", "unlatched", why)


def _latch(desk: Desk, *, scope_account: bool) -> None:
    """The stop itself: one durable write. A second press changes nothing but the scope, when it is wider."""
    before: list[DeskState] = []

    def liquidating(state: DeskState) -> DeskState:
        before.append(state)
        began = state.state is not TradingState.LIQUIDATING
        wider = scope_account and not state.scope_account
        return replace(
            state,
            state=TradingState.LIQUIDATING,
            why="emergency stop" if began or wider else state.why,
            since=desk.clock.now() if began else state.since,
            flat_reads=0 if began or wider else state.flat_reads,
            scope_account=scope_account or (state.scope_account and not began),
            # Of the whole account nothing stays, so nothing is allowed for either.
            accepted_drift={} if scope_account else state.accepted_drift,
        )

    desk.store.change_state(liquidating)
    if before[-1].state is not TradingState.LIQUIDATING:
        desk.log.write(
            "error", "emergency stop: closing everything", scope_account=scope_account, event="EmergencyStop"
        )


def _close_each(desk: Desk, positions: Collection[PositionId], until: float, unwritten: Unwritten) -> None:
    threads = [errands.start(desk, f"closing {one}", _closer(desk, one, until, unwritten)) for one in positions]
    errands.wait(desk, threads, until + LAST_WORD_SECONDS)


def _closer(desk: Desk, position_id: PositionId, until: float, unwritten: Unwritten) -> Job:
    def close() -> None:
        while position_id not in unwritten.left:
            try:
                closing.close(desk, position_id, ExitReason.EMERGENCY_STOP, until=until)
                return
            except (StoreCorrupt, StoreHeld):
                if unwinding.cannot_be_written(desk, position_id, unwritten):
                    break
                if desk.clock.monotonic() >= until:
                    raise
            desk.clock.sleep(AGAIN_SECONDS)
        reason, left = ExitReason.EMERGENCY_STOP, max(until - desk.clock.monotonic(), LAST_WORD_SECONDS)
        while not unwinding.leave_without_ledger(desk, position_id, reason, left, unwritten):
            # A leg of which nothing is there is believed to be gone at a later look only.
            desk.clock.sleep(AGAIN_SECONDS)
            left = until - desk.clock.monotonic()
            if left <= 0:
                return

    return close


def _look_abroad(desk: Desk, abroad: _Abroad, until: float | None = None, unwritten: Unwritten | None = None) -> None:
    """Find what the account holds beside the desk's own; adopt what is of trades that do not fold, and with the scope
    of the account all of it, and close that when *until* is given."""
    book = desk.store.book()
    own = set(book_holdings(book))
    account = desk.venue.account()
    foreign = {coin: one for coin, one in account.holdings.items() if one.quantity and coin not in own}
    taken: set[Coin] = set()
    meant = foreign.keys() if desk.store.state().scope_account else foreign.keys() & _of_broken(desk)
    if meant:
        meant &= _tradable(desk)
        try:
            with desk.store.exclusive() as now_known:
                own |= set(book_holdings(now_known))
                for coin in sorted(meant - own):
                    terms = next_adoption(desk, now_known, foreign[coin], account)
                    if terms is not None:
                        working.adopt(desk, terms, foreign[coin].entry_price, Usd(ZERO))
                        abroad.adopted.append(terms.position_id)
                    taken.add(coin)
        except (StoreCorrupt, StoreHeld):
            if until is None:
                raise
            # All that is held of these goes, whosever it is: no book need tell parts apart.
            rest = meant - own - taken
            abroad.held = flattening.close_holdings(desk, rest, until, {}, {}, {})
            taken |= rest
    abroad.foreign = tuple(Foreign(coin, one.quantity) for coin, one in foreign.items() if coin not in taken)
    abroad.looked = True
    if until is not None:
        _close_each(desk, abroad.adopted, until, unwritten or Unwritten())


def _look_back(desk: Desk, abroad: _Abroad) -> None:
    """Of the whole account what others have of the desk's own coins is left when those are closed: the next push takes
    it over."""
    account = desk.venue.account()
    left = account.holdings.keys() & _tradable(desk) - book_holdings(desk.store.book()).keys()
    abroad.held = {coin: account.held(coin) for coin in sorted(left) if account.held(coin)}
    abroad.looked = True


def _of_broken(desk: Desk) -> frozenset[Coin]:
    """The coins of trades that do not fold: what is held of them is the desk's, though no position says so, unless it
    was accepted as somebody else's."""
    return desk.store.broken_coins - desk.store.state().accepted_drift.keys()


def _tradable(desk: Desk) -> frozenset[Coin]:
    return frozenset(coin for coin, one in desk.venue.instruments().items() if not one.delisted)


def _report(desk: Desk, own: Collection[PositionId], abroad: _Abroad, left: Collection[PositionId]) -> StopReport:
    book, before = desk.store.book(), [*own, *abroad.adopted]
    standing = {position.id: position for position in book.standing_positions() if position.id not in left}
    remaining = [Remaining(one.id, str(one.pair), one.status, _why_standing(book, one.id)) for one in standing.values()]
    remaining += _remaining(abroad.held)
    state = desk.store.state()
    if not abroad.looked and (state.scope_account or _of_broken(desk)):
        why = "what it holds beside the book, and is to be closed, could not be looked at yet"
        remaining.append(Remaining(PositionId("account"), "account", "unread", why))
    closed = tuple(one for one in before if one not in standing)
    status = "closing" if remaining else "all_positions_closed"
    return StopReport(status, closed, tuple(remaining), abroad.foreign, state.state)


def _why_standing(book: Book, position_id: PositionId) -> str:
    trades = book.trades_of_position(position_id)
    if any(trade.in_doubt for trade in trades):
        return "an order is in doubt; the venue is being asked"
    if len(trades) == 1:
        return "its closing trade could not be accepted yet"
    last = trades[-1]
    reports = [last.report_of(order) for order in last.orders]
    return reports[-1].detail or str(reports[-1].status) if reports else "its closing orders have not gone out yet"


def _settled(desk: Desk, book: Book) -> bool:
    """No live trade, no doubt, and the last entry can no longer land: its expiry and five seconds have passed."""
    if book.live_trades() or book.standing_positions():
        return False
    now, pause = desk.clock.now(), ENTRY_TTL + working.SETTLED_AFTER_EXPIRY
    sent = [trade.orders[-1].expires_at - ENTRY_TTL for trade in book.trades() if trade.opens and trade.orders]
    return not any(lasts(now, at, pause) for at in sent)


def _left(desk: Desk, book: Book, account: Account) -> Mapping[Coin, Quantity]:
    """What keeps the account from being flat, signed: what is held, and not accepted as somebody else's, of the coins
    of trades since the stop began; with the scope of the account, of every coin that can be traded. Of what was
    accepted as missing, or is gone since, nothing is held."""
    state = desk.store.state()
    if state.scope_account:
        watched = account.holdings.keys() & _tradable(desk)
    else:
        watched = {
            leg.coin
            for trade in book.trades()
            if state.since is None or trade.ended_at is None or trade.ended_at >= state.since
            for leg in trade.terms.legs
        } | _of_broken(desk)
    return {
        coin: account.held(coin)
        for coin in sorted(watched)
        if account.held(coin) not in (ZERO, state.accepted_drift.get(coin, ZERO))
    }


def _after_read(state: DeskState, left: Mapping[Coin, Quantity], *, desk: Desk) -> DeskState:
    if state.state is not TradingState.LIQUIDATING:
        return state
    if left:
        words = ", ".join(f"{quantity} {coin}" for coin, quantity in left.items())
        return replace(
            state, flat_reads=0, why=f"emergency stop; every position is closed, yet the account holds {words}"
        )
    reads = state.flat_reads + 1
    if reads < FLAT_READS:
        return replace(state, flat_reads=reads, why="emergency stop")
    return replace(state, state=TradingState.HALTED, flat_reads=0, since=desk.clock.now(), why="emergency stop; flat")


def _accept(
    desk: Desk, held_before: Mapping[Coin, tuple[Quantity, Quantity]], account: Account, coins: Collection[Coin]
) -> None:
    """What the venue holds beyond the book of *coins* is somebody else's from now on; it may be nothing any more.

    Not of a coin of which the book said something else before *account* was read: what it shows may be in the book now.
    Nor of one with an order in doubt, of which what it shows may be in the book soon.
    """
    with desk.store.exclusive() as book:
        found = {drift.coin: drift for drift in drifts(book, account, desk.store.state(), desk.venue.traits)}
        own = book_holdings(book)
        sure = {coin for coin in coins if coin not in own or own[coin][0] == own[coin][1]}
        still = [coin for coin in coins if coin in sure and own.get(coin) == held_before.get(coin)]
        accepted = {coin: Quantity(found[coin].venue - found[coin].book) for coin in still if coin in found}
        accepted |= {coin: account.held(coin) for coin in still if coin not in own}

        def change(state: DeskState) -> DeskState:
            merged = {**state.accepted_drift, **accepted}
            return replace(state, accepted_drift={coin: quantity for coin, quantity in merged.items() if quantity})

        desk.store.change_state(change)
    desk.log.write("warning", "holdings accepted as somebody else's", coins=sorted(accepted))


def _standing_causes(desk: Desk, book: Book, account: Account) -> list[str]:
    causes = [f"{trade.terms.pair}: an order is in doubt" for trade in doubts(book)]
    causes += [
        f"{trade.terms.pair}: trade {trade.id} is suspended"
        for trade in book.live_trades()
        if trade.status is TradeStatus.SUSPENDED
    ]
    causes += [f"drift in {drift.words}" for drift in drifts(book, account, desk.store.state(), desk.venue.traits)]
    causes += [f"trade {trade_id} does not replay" for trade_id in desk.store.broken]
    return causes
