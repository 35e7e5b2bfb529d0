"""The emergency stop and the way back from it.

An emergency stop is a state, not a procedure: one durable write, after which every tick of every process pushes
towards flat. It stays until the venue is read as flat. Pressing it twice is the same as once.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import Busy, ResumeRefused, StopInProgress, StoreCorrupt, VenueUnavailable
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Account, Holding, Pair
from trading.domain.orders import Side
from trading.domain.trades import LegPlan, PositionEffect, Slice, Terms, TradeStatus, close_trade_id, position_id_of
from trading.domain.units import DOLLAR, ONE, ZERO, Coin, PositionId, Price, Quantity, Ratio, TradeId, Usd, hash_of
from trading.engine import closing, errands, working
from trading.engine.desk import Desk
from trading.engine.recovery import DRIFT_PATIENCE, book_holdings, doubts, drifts, others_beside
from trading.engine.states import with_baseline
from trading.ports import Job, Store

ANSWER_SECONDS = 8.0
LAST_WORD_SECONDS = 1.0
ALONE_SECONDS = 4.0
GOES_ON_SECONDS = 600.0
GOES_ON_PAUSE_SECONDS = 5.0
WITHOUT_LEDGER = PositionId("without_ledger")
"""The seat of whoever closes by what the venue holds."""
_turn = threading.Lock()
"""The same within a process, for a disk on which no seat can be had."""
_going_on = threading.Lock()
SETTLED_AFTER_EXPIRY = timedelta(seconds=5)
FLAT_READS = working.FLAT_READS


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
    """What a look at the account has found beside the desk's own."""

    adopted: list[PositionId] = field(default_factory=list)
    foreign: tuple[Foreign, ...] = ()


def stop(desk: Desk, *, scope_account: bool = False, goes_on: bool = True) -> StopReport:
    """Stop opening for good, close everything, and say what was closed and what remains. Waits at most some seconds.

    *scope_account* closes what else the account holds, too. A ledger that cannot be read or written does not stop it:
    then what the venue holds is closed and journaled to the rescue file; it *goes_on* for a while after the answer
    where something is left. Raises VenueUnavailable when there is neither.
    """
    until = desk.clock.monotonic() + ANSWER_SECONDS
    try:
        _latch(desk, scope_account=scope_account)
        before = [position.id for position in desk.store.book().standing_positions()]
    except StoreCorrupt as error:
        return _stop_from_holdings(desk, until, error, whole_account=scope_account, goes_on=goes_on)
    abroad = _Abroad()
    look = errands.start(desk, "emergency stop: the rest of the account", lambda: _look_abroad(desk, abroad, until))
    close_all(desk, until)
    errands.wait(desk, [look], until + LAST_WORD_SECONDS)
    return _report(desk, [*before, *abroad.adopted], abroad.foreign)


def _stop_from_holdings(
    desk: Desk, until: float, error: StoreCorrupt, *, whole_account: bool, goes_on: bool
) -> StopReport:
    """Close by what the venue holds. Coins that the readable part of the ledger never traded are somebody else's."""
    desk.log.write("error", f"emergency stop without a ledger: {error.detail}", code=error.code, event="EmergencyStop")
    known = desk.store.salvaged(error.detail)
    coins = None if whole_account else _coins_known(known)
    spared = {} if whole_account else _known_of_others(known)

    def close(until: float) -> Mapping[Coin, Quantity]:
        return working.close_holdings(desk, coins, until, spared)

    left: Mapping[Coin, Quantity] | None = None
    try:
        with _alone(desk, ALONE_SECONDS):
            left = close(until)
    finally:
        if goes_on and (left is None or left):
            _go_on(desk, close)
    held = desk.venue.account().holdings
    return StopReport(
        status="closing" if left else "all_positions_closed",
        closed=(),
        remaining=tuple(
            Remaining(PositionId(coin), coin, "held", f"{quantity} {coin} are still held at the venue")
            for coin, quantity in left.items()
        ),
        foreign=tuple(Foreign(coin, one.quantity) for coin, one in held.items() if one.quantity and coin not in left),
        trading_state=TradingState.HALTED,
    )


def _go_on(desk: Desk, close: Callable[[float], Mapping[Coin, Quantity]]) -> None:
    """Close on beside the caller, who is answered meanwhile, one at a time in a process: without a ledger no state
    makes anybody else do it."""

    def go_on() -> None:
        try:
            until = desk.clock.monotonic() + GOES_ON_SECONDS
            while desk.clock.monotonic() < until:
                desk.clock.sleep(GOES_ON_PAUSE_SECONDS)
                with suppress(VenueUnavailable), _alone(desk, ANSWER_SECONDS):
                    if not close(desk.clock.monotonic() + ANSWER_SECONDS):
                        return
            desk.log.write("error", "the emergency stop is not through yet: press it again", event="NotFlatYet")
        finally:
            _going_on.release()

    if _going_on.acquire(blocking=False):
        errands.start(desk, "going on with an emergency stop without a ledger", go_on)


def _known_of_others(store: Store) -> Mapping[Coin, Quantity]:
    """What is known to be somebody else's, signed, as far as anything can still be read."""
    book, accepted = store.book(), store.state().accepted_drift
    own, beside = book_holdings(book), others_beside(book, accepted)
    return {coin: quantity for coin, quantity in accepted.items() if coin not in own} | {
        coin: Quantity(quantity) for coin, quantity in beside.items()
    }


def _coins_known(store: Store) -> set[Coin] | None:
    """Every coin of every trade of which anything can still be read; None, which is all coins, when nothing can."""
    return {leg.coin for trade in store.book().trades() for leg in trade.terms.legs} | store.broken_coins or None


@dataclass
class Unwritten:
    """What is kept in mind of leaving without a ledger: how much of a coin, signed, is `beside` the book and stays,
    since when a position has read as nothing of the desk's, which have been `left`, and since when the close of one
    could not be written down."""

    beside: dict[Coin, Quantity] = field(default_factory=dict)
    flat_since: dict[PositionId, datetime] = field(default_factory=dict)
    left: set[PositionId] = field(default_factory=set)
    failing_since: dict[PositionId, datetime] = field(default_factory=dict)


def leave_without_ledger(
    desk: Desk, position_id: PositionId, reason: ExitReason, until: float, unwritten: Unwritten
) -> None:
    """Leave a position whose close cannot be written down, by what the venue holds and to the rescue file; with it all
    that share a coin with it or with those, for nothing would tell their parts apart later.

    Of a coin no more is sold than the book has, on its side: so that doing it again sells nothing that is not the
    desk's. What has been left is said to the rescue file, too, and is let alone from then on: what is held later is
    somebody else's. Nothing is done for a position with a close that does not fold: it may have ended. Raises
    VenueUnavailable.
    """
    book = desk.store.book()
    lost = close_trade_id(position_id, len(book.trades_of_position(position_id))) in desk.store.broken
    if not lost and position_id not in unwritten.left:
        with _alone(desk, ANSWER_SECONDS):
            _leave_by_holdings(desk, book, position_id, reason, until, unwritten)


def _leave_by_holdings(
    desk: Desk, book: Book, position_id: PositionId, reason: ExitReason, until: float, unwritten: Unwritten
) -> None:
    account = desk.venue.account()
    coins = _entangled(book, position_id)
    others = others_beside(book, _accepted(desk))
    ours: set[Coin] = set()
    for coin, (low, high) in book_holdings(book, coins).items():
        sign = 1 if high > 0 else -1
        held = account.held(coin) * sign
        known = max(others.get(coin, ZERO) * sign, unwritten.beside.get(coin, ZERO) * sign)
        beyond = max(held - max(high, -low), known, ZERO)
        unwritten.beside[coin] = Quantity(beyond * sign)
        if held > beyond:
            ours.add(coin)
    if ours:
        unwritten.flat_since.pop(position_id, None)
        pair = book.position(position_id).pair
        desk.log.write(
            "error",
            f"leaving {pair} without a ledger: {reason}",
            position_id=position_id,
            reason=reason,
            coins=sorted(ours),
            event="ExitFired",
        )
        if working.close_holdings(desk, ours, until, unwritten.beside) or ours != coins:
            return
    elif account.taken_at - unwritten.flat_since.setdefault(position_id, account.taken_at) < DRIFT_PATIENCE:
        return
    _note_left(desk, book, coins, unwritten)


def _accepted(desk: Desk) -> Mapping[Coin, Quantity]:
    """What was accepted as somebody else's, as far as the state can be read."""
    try:
        return desk.store.state().accepted_drift
    except StoreCorrupt:
        return {}


def _note_left(desk: Desk, book: Book, coins: Collection[Coin], unwritten: Unwritten) -> None:
    """That nothing of the positions in *coins* is held any more, once nothing of theirs can land."""
    left = [one.id for one in book.standing_positions() if {leg.coin for leg in one.legs} <= set(coins)]
    doubts_end = [
        order.expires_at + SETTLED_AFTER_EXPIRY
        for one in left
        for trade in book.trades_of_position(one)
        for order in trade.in_doubt
    ]
    if all(desk.clock.now() >= end for end in doubts_end):
        unwritten.left.update(left)
        desk.store.rescue({"rescue": "left", "positions": [*left]})


@contextmanager
def _alone(desk: Desk, seconds: float) -> Iterator[None]:
    """One hand at a time closes by what the venue holds: two that see the same would sell it twice, and what is beside
    it, too. Where the turn cannot be had in *seconds*, or at all, it is done without."""
    until = desk.clock.monotonic() + seconds
    with ExitStack() as held:
        if _turn.acquire(timeout=seconds):
            held.callback(_turn.release)
        with suppress(Busy, StoreCorrupt, OSError):
            held.enter_context(desk.store.seat(WITHOUT_LEDGER, max(until - desk.clock.monotonic(), 0.0)))
        yield


def _entangled(book: Book, position_id: PositionId) -> set[Coin]:
    """The coins of a position, of those that share one with it, and so on."""
    pairs = [{leg.coin for leg in one.legs} for one in book.standing_positions()]
    coins = {leg.coin for leg in book.position(position_id).legs}
    while more := [pair for pair in pairs if pair & coins and not pair <= coins]:
        coins = coins.union(*more)
    return coins


def close_all(desk: Desk, until: float) -> None:
    """Close every standing position, all at once, so that one that hangs delays no other. Returns soon after
    *until*."""
    _close_each(desk, [position.id for position in desk.store.book().standing_positions()], until)


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


def reopen(desk: Desk) -> None:
    """Something of the desk's has turned up after a stop was complete: it is under way again until that is gone."""

    def liquidating(state: DeskState) -> DeskState:
        if state.state is not TradingState.HALTED:
            return state
        return replace(state, state=TradingState.LIQUIDATING, flat_reads=0, why="emergency stop; a late fill turned up")

    if desk.store.state().state is TradingState.HALTED:
        desk.store.change_state(liquidating)
        desk.log.write("error", "the emergency stop goes on: a late fill has turned up", event="StopReopened")


def resume(desk: Desk, accept_drift: Collection[Coin] = ()) -> DeskState:
    """Back to ACTIVE. Raises StopInProgress while liquidating; ResumeRefused with every cause that still stands.

    Coins in *accept_drift* are recorded as holdings of somebody else first, also while liquidating once nothing of the
    desk's stands: what is left then is what keeps the stop from being flat.
    """
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
    before: list[DeskState] = []

    def active(state: DeskState) -> DeskState:
        before.append(state)
        if state.state is TradingState.LIQUIDATING:
            return state
        # A resume is the way back from a daily loss too: the day is measured from here on.
        if Cause.DAILY_LOSS in state.causes:
            state = with_baseline(state, account, state.baseline_day)
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
    if before[-1].state is not TradingState.ACTIVE:
        desk.log.write(
            "success",
            "the desk is ACTIVE again",
            before=before[-1].state,
            causes=sorted(before[-1].causes),
            event="DeskResumed",
        )
    return state


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


def _close_each(desk: Desk, positions: Collection[PositionId], until: float) -> None:
    threads = [errands.start(desk, f"closing {one}", _closer(desk, one, until)) for one in positions]
    errands.wait(desk, threads, until + LAST_WORD_SECONDS)


def _closer(desk: Desk, position_id: PositionId, until: float) -> Job:
    def close() -> None:
        closing.close(desk, position_id, ExitReason.EMERGENCY_STOP, until=until)

    return close


def _look_abroad(desk: Desk, abroad: _Abroad, until: float | None = None) -> None:
    """Find what the account holds beside the desk's own; adopt what is of trades that do not fold, and with the scope
    of the account all of it, and close that when *until* is given."""
    book = desk.store.book()
    own = set(book_holdings(book))
    account = desk.venue.account()
    foreign = {coin: one for coin, one in account.holdings.items() if one.quantity and coin not in own}
    taken: set[Coin] = set()
    meant = foreign.keys() if desk.store.state().scope_account else foreign.keys() & _of_broken(desk)
    if meant:
        tradable = _tradable(desk)
        with desk.store.exclusive() as now_known:
            own |= set(book_holdings(now_known))
            for coin in sorted(meant & tradable - own):
                terms = next_adoption(desk, now_known, foreign[coin], account)
                if terms is not None:
                    working.adopt(desk, terms, foreign[coin].entry_price, Usd(ZERO))
                    abroad.adopted.append(terms.position_id)
                taken.add(coin)
    abroad.foreign = tuple(Foreign(coin, one.quantity) for coin, one in foreign.items() if coin not in taken)
    if until is not None:
        _close_each(desk, abroad.adopted, until)


def _of_broken(desk: Desk) -> frozenset[Coin]:
    """The coins of trades that do not fold: what is held of them is the desk's, though no position says so, unless it
    was accepted as somebody else's."""
    return desk.store.broken_coins - desk.store.state().accepted_drift.keys()


def _tradable(desk: Desk) -> frozenset[Coin]:
    return frozenset(coin for coin, one in desk.venue.instruments().items() if not one.delisted)


def next_adoption(desk: Desk, book: Book, holding: Holding, account: Account) -> Terms | None:
    """The terms of the next adoption of a coin; None when somebody has taken it over since *account* was read."""
    leverage, number = account.leverages.get(holding.coin, 1), 1
    while (known := book.find_trade((terms := _adoption(desk, holding, number, leverage)).trade_id)) is not None:
        if known.ended_at is None or known.ended_at >= account.taken_at:
            return None
        number += 1
    return terms


def _adoption(desk: Desk, holding: Holding, number: int, leverage: int) -> Terms:
    """The terms under which the desk takes over a holding, at the venue's entry price, only to close it. The number
    keeps two who look at the same time from taking it over twice."""
    now, config = desk.clock.now(), desk.config
    trade_id = TradeId("trd_" + hash_of("adopt", holding.coin, number)[:24])
    quantity, usd = Quantity(abs(holding.quantity)), Usd(abs(holding.quantity) * holding.entry_price)
    is_long = holding.quantity > 0
    held, nothing = (holding.coin, quantity, holding.entry_price), (DOLLAR, Quantity(ZERO), Price(ONE))
    (long_coin, bought, long_price), (short_coin, sold, short_price) = (held, nothing) if is_long else (nothing, held)
    return Terms(
        trade_id=trade_id,
        position_id=position_id_of(trade_id),
        effect=PositionEffect.OPEN,
        pair=Pair(holding.coin, DOLLAR),
        long=LegPlan(long_coin, Side.BUY, bought, long_price),
        short=LegPlan(short_coin, Side.SELL, sold, short_price),
        slices=(Slice(1, now, bought, sold),),
        slice_interval_seconds=ZERO,
        gives_up_at=now,
        accepted_at=now,
        slippage_max=Ratio(config.max_slippage),
        leverage=leverage,
        requested_usd=usd,
        exit_plan=ExitPlan(Ratio(config.take_profit), Ratio(config.stop_loss)),
    )


def _report(desk: Desk, before: Collection[PositionId], foreign: tuple[Foreign, ...]) -> StopReport:
    book = desk.store.book()
    standing = {position.id: position for position in book.standing_positions()}
    remaining = tuple(
        Remaining(one.id, str(one.pair), one.status, _why_standing(book, one.id)) for one in standing.values()
    )
    closed = tuple(one for one in before if one not in standing)
    status = "closing" if remaining else "all_positions_closed"
    return StopReport(status, closed, remaining, foreign, desk.store.state().state)


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
    expiries = [trade.orders[-1].expires_at for trade in book.trades() if trade.opens and trade.orders]
    return all(desk.clock.now() >= expiry + SETTLED_AFTER_EXPIRY for expiry in expiries)


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
        found = {drift.coin: drift for drift in drifts(book, account, desk.store.state())}
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
    causes += [f"drift in {drift.words}" for drift in drifts(book, account, desk.store.state())]
    causes += [f"trade {trade_id} does not replay" for trade_id in desk.store.broken]
    return causes
