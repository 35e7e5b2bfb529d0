"""The emergency stop and the way back from it.

An emergency stop is a state, not a procedure: one durable write, after which every tick of every process pushes
towards flat. It stays until the venue is read as flat. Pressing it twice is the same as once.
"""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import timedelta

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import DeskError, ResumeRefused, StopInProgress, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.trades import TradeStatus
from trading.domain.units import Coin, PositionId, Quantity
from trading.engine import closing
from trading.engine.desk import Desk
from trading.engine.recovery import doubts, drifts, foreign_holdings

ANSWER_SECONDS = 8.0
CLOSERS = 8
SETTLED_AFTER_EXPIRY = timedelta(seconds=5)
FLAT_READS = 2


@dataclass(frozen=True, slots=True)
class Remaining:
    """A position that is not flat yet, and what is known of why."""

    position_id: PositionId
    pair: str
    status: str
    why: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A holding of the account that is not the desk's. It stays."""

    coin: Coin
    quantity: str


@dataclass(frozen=True, slots=True)
class StopReport:
    """What the emergency stop has reached so far."""

    status: str
    closed: tuple[PositionId, ...]
    remaining: tuple[Remaining, ...]
    foreign: tuple[Foreign, ...]
    trading_state: TradingState


def stop(desk: Desk, *, scope_account: bool = False) -> StopReport:
    """Stop opening for good, close everything, and say what was closed and what remains. Waits at most some seconds.

    Raises StoreCorrupt when even the state cannot be written; then nothing has been sent.
    """
    before = desk.store.book().standing_positions()
    began = desk.store.state().state is not TradingState.LIQUIDATING

    def liquidating(state: DeskState) -> DeskState:
        return replace(
            state,
            state=TradingState.LIQUIDATING,
            why="emergency stop",
            since=desk.clock.now() if began else state.since,
            flat_reads=0,
            scope_account=scope_account or (state.scope_account and not began),
        )

    desk.store.change_state(liquidating)
    if began:
        desk.log.write(
            "error", "emergency stop: closing everything", positions=len(before), scope_account=scope_account
        )
    close_all(desk, desk.clock.monotonic() + ANSWER_SECONDS)
    return _report(desk, [position.id for position in before])


def close_all(desk: Desk, until: float) -> None:
    """Close every standing position, all at once, so that one that hangs delays no other. Returns by *until*."""
    standing = desk.store.book().standing_positions()
    if not standing:
        return
    pool = ThreadPoolExecutor(max_workers=min(CLOSERS, len(standing)), thread_name_prefix="stop")
    futures = [pool.submit(_close_one, desk, position.id, until) for position in standing]
    wait(futures, timeout=max(until - desk.clock.monotonic(), 0.0) + 1.0)
    pool.shutdown(wait=False)


def push(desk: Desk, close_one: Callable[[PositionId, ExitReason], None]) -> None:
    """One tick of LIQUIDATING: whatever stands is told to close; once flat is read twice the desk is HALTED."""
    book = desk.store.book()
    for position in book.standing_positions():
        close_one(position.id, ExitReason.EMERGENCY_STOP)
    if not _settled(desk, book):
        return
    try:
        account = desk.venue.account()
    except VenueUnavailable:
        return
    flat = not _own_holdings(desk, book, account)
    state = desk.store.change_state(lambda state: _after_read(state, flat=flat, desk=desk))
    if state.state is TradingState.HALTED:
        desk.log.write("success", "emergency stop complete: the venue reads flat; the desk is HALTED until a resume")


def resume(desk: Desk, accept_drift: Collection[Coin] = ()) -> DeskState:
    """Back to ACTIVE. Raises StopInProgress while liquidating; ResumeRefused with every cause that still stands.

    Coins in *accept_drift* are recorded as holdings of somebody else first.
    """
    if desk.store.state().state is TradingState.LIQUIDATING:
        raise StopInProgress("the emergency stop is still closing; wait until the desk is HALTED")
    book = desk.store.book()
    try:
        account = desk.venue.account()
    except VenueUnavailable as error:
        raise ResumeRefused(
            "the venue cannot be read, so nothing is known to be well", causes=[error.detail]
        ) from error
    if accept_drift:
        _accept(desk, book, account, accept_drift)
    causes = _standing_causes(desk, book, account)
    if causes:
        raise ResumeRefused("; ".join(causes), causes=causes)

    def active(state: DeskState) -> DeskState:
        return replace(
            state,
            state=TradingState.ACTIVE,
            causes=frozenset(),
            why="",
            since=desk.clock.now(),
            scope_account=False,
            flat_reads=0,
            # A resume is the way back from a daily loss too: the day is measured from here on.
            baseline_equity=account.equity if Cause.DAILY_LOSS in state.causes else state.baseline_equity,
        )

    before = desk.store.state()
    state = desk.store.change_state(active)
    if before.state is not TradingState.ACTIVE:
        desk.log.write("success", "the desk is ACTIVE again", before=before.state, causes=sorted(before.causes))
    return state


def _close_one(desk: Desk, position_id: PositionId, until: float) -> None:
    try:
        closing.close(desk, position_id, ExitReason.EMERGENCY_STOP, until=until)
    except DeskError as error:
        desk.log.write(
            "error", f"closing {position_id} failed: {error.detail}", code=error.code, position_id=position_id
        )


def _report(desk: Desk, before: list[PositionId]) -> StopReport:
    book = desk.store.book()
    standing = {position.id: position for position in book.standing_positions()}
    remaining = tuple(
        Remaining(one.id, str(one.pair), one.status, _why_standing(book, one.id)) for one in standing.values()
    )
    closed = tuple(one for one in before if one not in standing)
    status = "closing" if remaining else "all_positions_closed"
    return StopReport(status, closed, remaining, _foreign(desk, book), desk.store.state().state)


def _why_standing(book: Book, position_id: PositionId) -> str:
    trades = book.trades_of_position(position_id)
    if any(trade.in_doubt for trade in trades):
        return "an order is in doubt; the venue is being asked"
    if len(trades) == 1:
        return "its closing trade could not be accepted yet"
    last = trades[-1]
    reports = [last.report_of(order) for order in last.orders]
    return reports[-1].detail or str(reports[-1].status) if reports else "its closing orders have not gone out yet"


def _foreign(desk: Desk, book: Book) -> tuple[Foreign, ...]:
    try:
        account = desk.venue.account()
    except VenueUnavailable:
        return ()
    return tuple(Foreign(coin, str(quantity)) for coin, quantity in foreign_holdings(book, account).items())


def _settled(desk: Desk, book: Book) -> bool:
    """No live trade, no doubt, and the last entry can no longer land: its expiry and five seconds have passed."""
    if book.live_trades() or book.standing_positions():
        return False
    expiries = [trade.orders[-1].expires_at for trade in book.trades() if trade.opens and trade.orders]
    return all(desk.clock.now() >= expiry + SETTLED_AFTER_EXPIRY for expiry in expiries)


def _own_holdings(desk: Desk, book: Book, account: Account) -> tuple[Coin, ...]:
    """Coins of trades since the stop began whose holding is not accepted as somebody else's."""
    state = desk.store.state()
    touched = {
        leg.coin
        for trade in book.trades()
        if state.since is None or trade.ended_at is None or trade.ended_at >= state.since
        for leg in trade.terms.legs
    }
    return tuple(coin for coin in sorted(touched) if account.held(coin) != state.accepted_drift.get(coin, 0))


def _after_read(state: DeskState, *, flat: bool, desk: Desk) -> DeskState:
    if state.state is not TradingState.LIQUIDATING:
        return state
    reads = state.flat_reads + 1 if flat else 0
    if reads < FLAT_READS:
        return replace(state, flat_reads=reads)
    return replace(state, state=TradingState.HALTED, flat_reads=0, since=desk.clock.now(), why="emergency stop; flat")


def _accept(desk: Desk, book: Book, account: Account, coins: Collection[Coin]) -> None:
    found = {drift.coin: drift for drift in drifts(book, account, desk.store.state())}
    foreign = foreign_holdings(book, account)
    accepted = {coin: Quantity(found[coin].venue - found[coin].book) for coin in coins if coin in found}
    accepted |= {coin: foreign[coin] for coin in coins if coin in foreign}
    desk.store.change_state(lambda state: replace(state, accepted_drift={**state.accepted_drift, **accepted}))
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
