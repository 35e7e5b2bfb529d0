"""The only module that saves trades, and that sends orders where there is a ledger (without one: `flattening`).

The law: nothing is sent that is not already on disk, and what the venue answered is on disk before anything else is
sent, and before anybody is answered. One sync serves all that was written since the last: what a dead machine loses of
that was neither sent nor told.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import assert_never

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import Busy, InvariantBroken, StoreHeld, VenueRejected, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side, client_order_id
from trading.domain.trades import (
    UNLISTED,
    CancelWanted,
    CloseHurried,
    HoldingGone,
    LegLost,
    LegPlan,
    OrdersIntended,
    OrdersReported,
    Terms,
    Trade,
    TradeAccepted,
    TradeCanceled,
    TradeFilled,
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    accept,
    overfill_of,
    record,
)
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, TradeId, Usd
from trading.engine import looking, losses, protection, telling
from trading.engine.desk import Desk
from trading.engine.playbook import (
    CLOSE_BANDS,
    ENTRY_QUOTE_AGE_MAX,
    GONE_PATIENCE,
    Ask,
    Market,
    Note,
    Policy,
    Send,
    Wait,
    next_step,
)
from trading.engine.recovery import book_holdings
from trading.engine.schedule import is_paced, scheduled_of_close
from trading.engine.states import reduce

STEPS_MAX = 64
SENDS_MAX = 8
"""Groups sent in one go: a venue that is slow to refuse must not keep a trade's seat, or the caller, for ever."""
SETTLE_PAUSE_SECONDS = 0.1
SETTLE_PAUSE_SECONDS_MAX = 1.0
WISHES_MAX = 8
SETTLED_AFTER_EXPIRY = timedelta(seconds=5)
"""How long after its expiry an order may still turn out to have landed."""
FILLS_PATIENCE = timedelta(seconds=60)
"""How long after its last order a close waits for fills that cannot be read before it writes a leg off at the mark."""


def admit(desk: Desk, terms: Terms) -> Trade:
    """Store a new trade. The caller holds the book lock; from here on it counts. It is on disk with its first orders,
    or when `work_if_free` returns."""
    return desk.store.save(accept(TradeAccepted(terms.accepted_at, terms)), durable=False)


def work(desk: Desk, trade: Trade) -> Trade:
    """Take *trade* as far as it can go at this instant and return it as stored.

    At most SENDS_MAX groups go out in one call. The caller holds the trade's seat. Calling twice sends nothing twice.
    Raises StoreCorrupt when it cannot be saved; a venue that cannot be read leaves the trade where it is.
    """
    # Until something is filled the venue, or another process of ours, may know of another leverage than agreed. And
    # what rests for a position may have fired, or fire, until it is out of the way of its close.
    prepared, sends = trade.opens and (trade.anything_filled or _is_leveraged(desk, trade)), 0
    made_good, untold = trade.opens, False
    for _ in range(STEPS_MAX):
        if not trade.live and not trade.in_doubt:
            desk.overtaken.pop(trade.id, None)
            return desk.store.save(trade)
        # Before the look at the market: what is sent goes by what was seen last, and by the desk's state then.
        landed = _may_have_landed(desk, trade)
        market, book = looking.look(desk, trade)
        wished = _with_wishes(desk, book, trade)
        if wished is not trade:
            trade = wished
            continue
        seen = replace(market, whole=None) if untold else market
        match next_step(trade, seen, _policy(desk, book, trade)):
            case Ask(orders):
                trade = desk.store.save(_ask(desk, trade, orders))
                _watch_size(desk, trade)
                if trade.in_doubt:
                    return trade
            case Send(orders) if landed and not all(one.reduce_only for one in orders):
                return desk.store.save(trade)
            case Send() if not prepared and trade.opens:
                leveraged = _with_leverage(desk, trade)
                if leveraged is None:
                    return desk.store.save(trade)
                trade, prepared = leveraged, True
            case Send() if not made_good and _sold_without_ledger(desk, trade):
                # It is booked first, or it would be sold once more, of somebody else's.
                made_good = True
                if book_losses(desk) is None and not _stands_as_written(desk, trade, market, book):
                    return desk.store.save(trade)
            case Send() if not prepared and _cleared_the_way(desk, trade, market):
                prepared = True
            case Send() as step:
                trade, sends, prepared = _send(desk, trade, step), sends + 1, True
                if sends == SENDS_MAX:
                    return desk.store.save(trade)
            case Note(HoldingGone() as gone):
                # Where a fill explains it, it is booked at its own price, and not at a mark. The other leg does not
                # wait for fills that cannot be read now: for it, this one is not known to be gone.
                found = book_losses(desk)
                untold = found is None and _may_be_told(trade, gone)
                untold = untold or (not found and gone.why == UNLISTED and not _is_gone(desk, gone.coin))
                if not untold:
                    trade = trade if found else _written_off(desk, trade, gone)
            case Note(event):
                trade = record(trade, event)
                telling.tell(desk, trade)
            case Wait():
                return desk.store.save(trade)
            case never:
                assert_never(never)
    raise InvariantBroken(f"{trade.id} did not come to rest in {STEPS_MAX} steps", trade_id=trade.id)


def settle(desk: Desk, trade: Trade, until: float) -> Trade:
    """Work *trade* again and again, at growing intervals, until it has ended, waits for a slice, or the clock's
    `monotonic` reaches *until*."""
    trade, pause = work(desk, trade), SETTLE_PAUSE_SECONDS
    while trade.live and _restless(trade) and (left := until - desk.clock.monotonic()) > 0:
        desk.clock.sleep(min(pause, left))
        trade, pause = work(desk, trade), min(2 * pause, SETTLE_PAUSE_SECONDS_MAX)
    return trade


def suspend(desk: Desk, trade: Trade, why: str) -> Trade:
    """Take a trade out of work until somebody looks at it. A PENDING one has sent nothing and is canceled instead."""
    at = looking.later(desk, trade)
    if trade.status is TradeStatus.PENDING:
        trade = record(trade, TradeCanceled(at, why))
    elif trade.status in (TradeStatus.WORKING, TradeStatus.REPAIRING):
        trade = record(trade, TradeSuspended(at, why))
    else:
        return trade
    telling.tell(desk, trade)
    return desk.store.save(trade)


def resume_suspended(desk: Desk, trade_id: TradeId, why: str, *, wait_seconds: float) -> Trade:
    """Let a suspended trade go on where it stood, as somebody has decided. Raises Busy while another hand works it;
    one that is not suspended is returned as it is."""
    with desk.store.seat(trade_id, wait_seconds):
        trade = desk.store.book().trade(trade_id)
        if trade.status is not TradeStatus.SUSPENDED:
            return trade
        trade = record(trade, TradeResumed(looking.later(desk, trade), why))
        telling.tell(desk, trade)
        return desk.store.save(trade)


def want_cancel(desk: Desk, trade: Trade, why: str) -> Trade:
    """Make it durable that *trade* is to stop. Needs no seat: whoever works the trade meets the wish before its next
    step."""
    for _ in range(WISHES_MAX):
        if not trade.live or trade.cancel_wanted:
            return trade
        try:
            return desk.store.save(record(trade, CancelWanted(looking.later(desk, trade), why)))
        except InvariantBroken:
            # Whoever works it wrote first: the wish belongs after that.
            trade = desk.store.book().trade(trade.id)
    raise Busy(f"{trade.id} is written faster than it can be told to stop", trade_id=trade.id)


def book_losses(desk: Desk, beside_others: Collection[Coin] = ()) -> tuple[PositionId, ...] | None:
    """See `look_for_losses`: who has lost something now. None where the venue cannot be read, too: that explains
    nothing."""
    try:
        looked = look_for_losses(desk, beside_others)
    except VenueUnavailable:
        return None
    return None if looked is None else looked.losers


@dataclass(frozen=True, slots=True)
class Looked:
    """Who has lost something now, and of which coins the account's fills were asked for."""

    losers: tuple[PositionId, ...] = ()
    coins: tuple[Coin, ...] = ()


def look_for_losses(desk: Desk, beside_others: Collection[Coin] = ()) -> Looked | None:
    """Write down what fills of others have taken of standing positions.

    Needs no seat. Nothing is written unless the account lacks what the book says, or what rested for a position has
    been filled *beside_others* who hold so much of the coin that nothing is lacking, or it was sold without a ledger; a
    fill explains it, and no trade has moved meanwhile. None when one has. Raises VenueUnavailable.
    """
    if not desk.venue.traits.tells_fills:
        return Looked()
    book, rescued = desk.store.book(), desk.store.rescued()
    sold = {one.client_order_id: one.coin for one in losses.sold_since(book, rescued)}
    before = losses.versions(book, [leg.coin for one in book.standing_positions() for leg in one.legs])
    account = desk.venue.account()
    lacks = losses.missing(book, account, {*beside_others, *sold.values()})
    coins = [lack.coin for lack in lacks]
    if not coins:
        return Looked()
    fills, instruments = desk.venue.account_fills(losses.since_of(book, coins)), desk.venue.instruments()
    found: dict[PositionId, list[LegLost]] = {}
    with desk.store.exclusive() as book:
        present = losses.versions(book, coins)
        if any(before.get(one) != count for one, count in present.items()):
            return None
        for lack in lacks:
            step = instruments[lack.coin].quantity_step
            may_land, read_at = not desk.venue.traits.proves_absence, account.taken_at
            explained = losses.explained(
                book, lack, fills, step, desk.clock.now(), sold, read_at=read_at, may_land=may_land
            )
            for position_id, lost in explained.items():
                found.setdefault(position_id, []).extend(lost)
            told = sum((loss.quantity for lost in explained.values() for loss in lost), ZERO)
            if told:
                _missing_at_most(desk, lack.coin, lack.sign, max(lack.quantity - told, ZERO))
        # Once for each: *book* does not know what is saved meanwhile, and both legs of one may be lacking.
        losers = tuple(
            position_id
            for position_id, parts in found.items()
            if _lose(desk, book.trades_of_position(position_id)[0], parts)
        )
        return Looked(losers, tuple(coins)) if losers or not found else None


def _lose(desk: Desk, opening: Trade, lost: Iterable[LegLost]) -> bool:
    """False, and nothing written, when whoever works the trade wrote first: what is missing is looked at anew then."""
    known = opening
    for loss in lost:
        opening = record(opening, replace(loss, at=looking.later(desk, opening)))
    try:
        desk.store.save(opening)
    except InvariantBroken:
        if desk.store.book().trade(known.id) == known:
            raise
        return False
    for loss in opening.lost[len(known.lost) :]:
        desk.log.write(
            "error",
            f"{opening.terms.pair}: {loss.quantity} {loss.coin} lost at {loss.price.normalize():f}: {loss.why}",
            position_id=opening.terms.position_id,
            trade_id=opening.id,
            event="LegLost",
            reason=loss.reason,
        )
    return True


def _is_gone(desk: Desk, coin: Coin) -> bool:
    """Whether a second reading shows none of the coin either: no order can be refused where it is not listed."""
    desk.clock.sleep(GONE_PATIENCE.total_seconds())
    account = looking.account_or_none(desk)
    return account is not None and not account.held(coin)


def _may_be_told(trade: Trade, gone: HoldingGone) -> bool:
    """Whether it is soon enough after the last order of what is gone to wait for the fills that would explain it."""
    sent = [one.intended_at for one in trade.orders if one.coin == gone.coin]
    return bool(sent) and gone.at - sent[-1] < FILLS_PATIENCE


def _written_off(desk: Desk, trade: Trade, gone: HoldingGone) -> Trade:
    """*trade* with *gone* on disk, unless others have booked a part of it as lost since it was found gone.

    Under the book lock, as losses are: each sees what the other has written, so that nothing is gone twice.
    """
    with desk.store.exclusive() as book:
        if looking.outstanding(book, trade, with_doubt=True)[gone.coin] < gone.quantity:
            return trade
        _no_longer_missing(desk, trade, gone)
        trade = desk.store.save(record(trade, replace(gone, at=looking.later(desk, trade))))
    telling.tell(desk, trade)
    return trade


def _no_longer_missing(desk: Desk, trade: Trade, gone: HoldingGone) -> None:
    """What somebody has accepted as missing is so no more once it is out of the book: or a stop would look for it for
    ever. Before the write-off: a crash in between makes it drift, which the next look at the close settles."""
    sign = next(leg.side.opposite.sign for leg in trade.terms.legs if leg.coin == gone.coin)
    accepted = desk.store.state().accepted_drift.get(gone.coin, ZERO)
    _missing_at_most(desk, gone.coin, sign, max(-accepted * sign - gone.quantity, ZERO))


def _missing_at_most(desk: Desk, coin: Coin, sign: int, most: Decimal) -> None:
    """Of a holding of *sign* no more than *most* is accepted as missing from here on."""

    def settled(state: DeskState) -> DeskState:
        rest = {one: quantity for one, quantity in state.accepted_drift.items() if one != coin}
        return replace(state, accepted_drift={**rest, coin: Quantity(-most * sign)} if most else rest)

    if -desk.store.state().accepted_drift.get(coin, ZERO) * sign > most:
        desk.store.change_state(settled)


def want_hurry(desk: Desk, trade: Trade, reason: ExitReason) -> Trade:
    """Make it durable that a CLOSE in slices is to take all that is left now, for *reason*. Needs no seat, and nothing
    to be done where there is no pace, or it was hurried before."""
    for _ in range(WISHES_MAX):
        if not trade.live or not trade.terms.slice_interval_seconds or trade.hurried is not None:
            return trade
        try:
            trade = desk.store.save(
                record(trade, CloseHurried(looking.later(desk, trade), reason, f"hurried: {reason}"))
            )
        except InvariantBroken:
            # Whoever works it wrote first: the wish belongs after that.
            trade = desk.store.book().trade(trade.id)
        else:
            telling.tell(desk, trade)
            return trade
    raise Busy(f"{trade.id} is written faster than it can be hurried", trade_id=trade.id)


def work_if_free(desk: Desk, trade_id: TradeId, *, until: float | None = None, wait_seconds: float = 0.0) -> Trade:
    """Take the seat of a trade, re-read it and work it: until it rests when *until* is given. Taken seat: as it
    stands. Raises StoreHeld, beside StoreCorrupt, where what comes of it cannot be written down."""
    try:
        with desk.store.seat(trade_id, wait_seconds):
            trade = desk.store.book().trade(trade_id)
            return work(desk, trade) if until is None else settle(desk, trade, until)
    except StoreHeld:
        raise
    except Busy:
        desk.store.make_sure()
        return desk.store.book().trade(trade_id)


def _restless(trade: Trade) -> bool:
    """Something is happening now, as against a schedule that waits for its next slice."""
    if trade.status is TradeStatus.SUSPENDED:
        return False
    waits = is_paced(trade) and len(trade.terms.slices) > 1
    return bool(trade.in_doubt) or trade.status is not TradeStatus.WORKING or not waits


def _send(desk: Desk, trade: Trade, step: Send) -> Trade:
    """Intent to disk, then one submit, then the answer to disk: with the end of the trade, if that is what follows."""
    orders = step.orders
    attempt = orders[0].slice_number - scheduled_of_close(trade)
    if not trade.opens and attempt > len(CLOSE_BANDS):
        telling.tell_delay(desk, trade, attempt)
    trade = desk.store.save(record(trade, OrdersIntended(orders[0].intended_at, orders, step.mids)))
    stopped = _overtaken(desk, trade, orders)
    reports = _unsent(desk, orders, stopped) if stopped else desk.venue.submit(orders)
    trade = record(trade, OrdersReported(looking.later(desk, trade), reports))
    if not _is_whole(trade):
        trade = desk.store.save(trade, durable=False)
    for report in reports:
        telling.tell_report(desk, trade, report)
    _watch_size(desk, trade)
    if step.mids and not stopped:
        telling.tell_slice(desk, trade, orders[0].slice_number)
    return trade


def _overtaken(desk: Desk, trade: Trade, orders: Sequence[Order]) -> str:
    """Why *orders*, which are on disk by now, are not sent after all; empty where they are. A disk may take its time,
    and what opens goes neither past a stop nor at prices of before."""
    if all(one.reduce_only for one in orders):
        return ""
    if trade.cancel_wanted or trade.lost or desk.store.state().state is not TradingState.ACTIVE:
        return "it was stopped while it was written down"
    if desk.clock.now() - orders[0].intended_at > ENTRY_QUOTE_AGE_MAX:
        return "it took too long to be written down"
    return ""


def _unsent(desk: Desk, orders: Sequence[Order], why: str) -> tuple[OrderReport, ...]:
    """What is said of *orders* of which no byte has left."""
    now = desk.clock.now()
    words = f"{why}: nothing was sent"
    return tuple(
        OrderReport(one.client_order_id, OrderStatus.ABSENT, now, reason=RejectReason.UNSENT, detail=words)
        for one in orders
    )


def _is_whole(trade: Trade) -> bool:
    """All that it was to take is filled, no more, and in no doubt: nothing more is sent, and its end is saved next."""
    exact = all(trade.filled(leg.coin) == leg.quantity for leg in trade.terms.legs)
    return exact and not trade.in_doubt


def _watch_size(desk: Desk, trade: Trade) -> None:
    """A venue that fills far more than it was asked for has understood something else: nothing more is opened."""
    over = {leg.coin: excess for leg in trade.terms.legs if (excess := overfill_of(trade, leg.coin))}
    if over:
        words = ", ".join(f"{quantity} {coin}" for coin, quantity in over.items())
        reduce(desk, Cause.OVERFILLED, f"{trade.terms.pair}: the venue filled {words} more than was asked for")


def _with_wishes(desk: Desk, book: Book, trade: Trade) -> Trade:
    """*trade* with the cancel or the hurry that another hand may have asked for since: nothing is sent past such a
    wish."""
    stored = book.find_trade(trade.id)
    if stored is None or not trade.live:
        return trade
    canceled = bool(stored.cancel_wanted) and not trade.cancel_wanted
    hurried = stored.hurried is not None and trade.hurried is None
    return desk.store.save(trade) if canceled or hurried else trade


def _ask(desk: Desk, trade: Trade, orders: tuple[Order, ...]) -> Trade:
    try:
        reports = desk.venue.reports(orders)
    except VenueUnavailable:
        return trade
    news = tuple(report for report in reports if _is_news(trade, report))
    return record(trade, OrdersReported(looking.later(desk, trade), news)) if news else trade


def _is_news(trade: Trade, report: OrderReport) -> bool:
    """An end, or more of a fill. That an order is still in doubt is said once, whatever the doubt is called."""
    known = trade.reports.get(report.client_order_id)
    return known is None or not report.status.in_doubt or report.filled > known.filled


def _is_leveraged(desk: Desk, trade: Trade) -> bool:
    """Each coin of an opening that has sent nothing is known to have the leverage agreed: its first look at the market
    is good to send by."""
    if trade.orders or not trade.live:
        return False
    account = looking.account_or_none(desk)
    return account is not None and not _unleveraged(trade, account)


def _unleveraged(trade: Trade, account: Account) -> tuple[Coin, ...]:
    """The coins of *trade* that do not have the leverage agreed, as far as *account* knows."""
    agreed = trade.terms.leverage
    return tuple(leg.coin for leg in trade.terms.legs if account.leverages.get(leg.coin) != agreed)


def _with_leverage(desk: Desk, trade: Trade) -> Trade | None:
    """Until anything of an opening is filled each coin has the leverage agreed. None: not known yet, try later."""
    try:
        for coin in _unleveraged(trade, desk.venue.account()):
            desk.venue.set_leverage(coin, trade.terms.leverage)
    except VenueUnavailable:
        return None
    except VenueRejected as refusal:
        why = f"the venue refused the leverage: {refusal.detail}"
        trade = record(trade, TradeCanceled(looking.later(desk, trade), why))
        telling.tell(desk, trade)
    return trade


def _may_have_landed(desk: Desk, trade: Trade) -> bool:
    """Does the account hold more of a leg than is explained, though orders for it are called absent: then nothing is
    sent in their place, and what is held is drift. An account that cannot be read denies nothing either."""
    absent = {one.coin for one in trade.orders if trade.report_of(one).status is OrderStatus.ABSENT}
    if not absent or not trade.opens or not trade.live or trade.in_doubt:
        return False
    before = book_holdings(desk.store.book())
    account = looking.account_or_none(desk)
    if account is None:
        return True
    after, accepted = book_holdings(desk.store.book()), desk.store.state().accepted_drift
    for leg in trade.terms.legs:
        ours = max(_most(known, leg) for known in (before, after))
        abroad = max(leg.beside, accepted.get(leg.coin, ZERO) * leg.side.sign, ZERO)
        if leg.coin in absent and account.held(leg.coin) * leg.side.sign > ours + abroad:
            return True
    return False


def _most(known: Mapping[Coin, tuple[Quantity, Quantity]], leg: LegPlan) -> Decimal:
    """The most that the book allows for of a leg's coin, on its side."""
    low, high = known.get(leg.coin, (ZERO, ZERO))
    return high if leg.side is Side.BUY else -low


def _sold_without_ledger(desk: Desk, trade: Trade) -> bool:
    """Whether something of what *trade* closes may have been sold without a ledger, which the venue's fills tell. Also
    where that is booked by now: what is about to be sent may be from before."""
    rescued = desk.store.rescued()
    if not rescued:
        return False
    entered = desk.store.book().position(trade.terms.position_id).entered_at
    return any(one.coin == leg.coin and one.intended_at >= entered for one in rescued for leg in trade.terms.legs)


def _stands_as_written(desk: Desk, trade: Trade, market: Market, book: Book) -> bool:
    """Whether a CLOSE has waited a minute for fills that cannot be read, and the account holds of its coins just what
    the book says: what was sent without a ledger has taken nothing, as far as anybody can tell."""
    if market.whole is None or desk.clock.now() - trade.terms.accepted_at < FILLS_PATIENCE:
        return False
    state = desk.store.state()
    others = losses.unexplained(book, market.whole, state) | losses.known_beside(book, state)
    return not any(leg.coin in others for leg in trade.terms.legs)


def _cleared_the_way(desk: Desk, trade: Trade, market: Market) -> bool:
    """Whether something was in the way of a CLOSE: it is out of it now, as far as that can be, and *market* is of
    before. Only what rests on a coin that somebody else holds, too, or may; elsewhere it ends with the holding."""
    book, state, position_id = desk.store.book(), desk.store.state(), trade.terms.position_id
    coins = frozenset(leg.coin for leg in trade.terms.legs)
    if not protection.in_the_way(book, position_id, coins):
        return False
    doubted = losses.unexplained(book, market.whole or {}, state)
    shared = (coins - market.alone) | doubted | losses.known_beside(book, state)
    obstacles = protection.in_the_way(book, position_id, shared)
    if obstacles:
        doubted &= {one.order.coin for one in obstacles}
        protection.clear_way(desk, position_id, obstacles, doubted, partial(book_losses, desk))
    return bool(obstacles)


def _policy(desk: Desk, book: Book, trade: Trade) -> Policy:
    position_id = trade.terms.position_id
    closing = trade.opens and any(one.live for one in book.trades_of_position(position_id)[1:])
    # Whoever left it without a ledger could write down no wish: what it would buy now nobody wants any more.
    left = trade.opens and (position_id in desk.store.left() or _sold_without_ledger(desk, trade))
    return Policy(desk.store.state().state, close_wanted=closing or left)


def adopt(desk: Desk, terms: Terms, entry_price: Price, fees: Usd, lost: Iterable[LegLost] = ()) -> Trade:
    """Store as an opening that has filled what the venue holds already; nothing is sent.

    The leg of *terms* with a quantity is the holding, at *entry_price* and for *fees*, as far as they are known. For
    what is no position's and is to be closed like one, or has been *lost* before anybody saw it. The caller holds the
    book lock.
    """
    at = terms.accepted_at
    leg = next(one for one in terms.legs if one.quantity)
    order = Order(
        client_order_id=client_order_id(terms.trade_id, 1, leg.coin, 0),
        coin=leg.coin,
        side=leg.side,
        quantity=leg.quantity,
        limit_price=entry_price,
        reduce_only=False,
        slice_number=1,
        attempt=0,
        intended_at=at,
        expires_at=at,
    )
    report = OrderReport(
        order.client_order_id, OrderStatus.FILLED, at, leg.quantity, entry_price, fees, detail="adopted"
    )
    trade = accept(TradeAccepted(at, terms))
    for event in (OrdersIntended(at, (order,)), OrdersReported(at, (report,)), TradeFilled(at)):
        trade = record(trade, event)
    for loss in lost:
        trade = record(trade, replace(loss, at=at))
    return desk.store.save(trade)
