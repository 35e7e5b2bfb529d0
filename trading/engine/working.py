"""The only module that saves trades, and that sends orders where there is a ledger (without one: `flattening`).

The law: nothing is sent that is not already on disk, and what the venue answered is on disk before anything else is
sent, and before anybody is answered. One sync serves all that was written since the last: what a dead machine loses of
that was neither sent nor told.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import assert_never

from trading.domain.book import Book
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import Busy, InvariantBroken, VenueRejected, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account, Instrument, Quote
from trading.domain.naked import naked_now
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side, client_order_id
from trading.domain.positions import Position, PositionStatus, position_of
from trading.domain.trades import (
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
from trading.engine import losses, protection
from trading.engine.desk import Desk
from trading.engine.dregs import only_dregs
from trading.engine.playbook import (
    CLOSE_BANDS,
    ENTRY_QUOTE_AGE_MAX,
    Ask,
    Market,
    Note,
    Policy,
    Send,
    Wait,
    next_step,
)
from trading.engine.recovery import book_holdings
from trading.engine.schedule import filled_share, is_paced, next_slice_due, pace_of, scheduled_of_close, slices_done
from trading.engine.states import reduce

STEPS_MAX = 64
SENDS_MAX = 8
"""Groups sent in one go: a venue that is slow to refuse must not keep a trade's seat, or the caller, for ever."""
SETTLE_PAUSE_SECONDS = 0.1
SETTLE_PAUSE_SECONDS_MAX = 1.0
WISHES_MAX = 8
SETTLED_AFTER_EXPIRY = timedelta(seconds=5)
"""How long after its expiry an order may still turn out to have landed."""


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
    made_good = trade.opens
    for _ in range(STEPS_MAX):
        if not trade.live and not trade.in_doubt:
            desk.overtaken.pop(trade.id, None)
            return desk.store.save(trade)
        # Before the look at the market: what is sent goes by what was seen last, and by the desk's state then.
        landed = _may_have_landed(desk, trade)
        market, book = _look(desk, trade)
        wished = _with_wishes(desk, book, trade)
        if wished is not trade:
            trade = wished
            continue
        match next_step(trade, market, _policy(desk, book, trade)):
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
                if book_losses(desk) is None:
                    return desk.store.save(trade)
            case Send() if not prepared and _cleared_the_way(desk, trade, market):
                prepared = True
            case Send() as step:
                trade, sends, prepared = _send(desk, trade, step), sends + 1, True
                if sends == SENDS_MAX:
                    return desk.store.save(trade)
            case Note(HoldingGone() as gone):
                # Where a fill explains it, it is booked at its own price, and not at a mark.
                trade = trade if book_losses(desk) else _written_off(desk, trade, gone)
            case Note(event):
                trade = record(trade, event)
                _tell(desk, trade)
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
    at = _later(desk, trade)
    if trade.status is TradeStatus.PENDING:
        trade = record(trade, TradeCanceled(at, why))
    elif trade.status in (TradeStatus.WORKING, TradeStatus.REPAIRING):
        trade = record(trade, TradeSuspended(at, why))
    else:
        return trade
    _tell(desk, trade)
    return desk.store.save(trade)


def resume_suspended(desk: Desk, trade_id: TradeId, why: str, *, wait_seconds: float) -> Trade:
    """Let a suspended trade go on where it stood, as somebody has decided. Raises Busy while another hand works it;
    one that is not suspended is returned as it is."""
    with desk.store.seat(trade_id, wait_seconds):
        trade = desk.store.book().trade(trade_id)
        if trade.status is not TradeStatus.SUSPENDED:
            return trade
        trade = record(trade, TradeResumed(_later(desk, trade), why))
        _tell(desk, trade)
        return desk.store.save(trade)


def want_cancel(desk: Desk, trade: Trade, why: str) -> Trade:
    """Make it durable that *trade* is to stop. Needs no seat: whoever works the trade meets the wish before its next
    step."""
    for _ in range(WISHES_MAX):
        if not trade.live or trade.cancel_wanted:
            return trade
        try:
            return desk.store.save(record(trade, CancelWanted(_later(desk, trade), why)))
        except InvariantBroken:
            # Whoever works it wrote first: the wish belongs after that.
            trade = desk.store.book().trade(trade.id)
    raise Busy(f"{trade.id} is written faster than it can be told to stop", trade_id=trade.id)


def book_losses(desk: Desk, beside_others: Collection[Coin] = ()) -> tuple[PositionId, ...] | None:
    """Write down what fills of others have taken of standing positions; those that have lost something now.

    Needs no seat. Nothing is written unless the account lacks what the book says, or what rested for a position has
    been filled *beside_others* who hold so much of the coin that nothing is lacking, or it was sold without a ledger; a
    fill explains it, and no trade has moved meanwhile. None when one has, or the venue cannot be read, which explains
    nothing.
    """
    if not desk.venue.traits.tells_fills:
        return ()
    book, rescued = desk.store.book(), desk.store.rescued()
    sold = {one.client_order_id: one.coin for one in losses.sold_since(book, rescued)}
    before = losses.versions(book, [leg.coin for one in book.standing_positions() for leg in one.legs])
    try:
        lacks = losses.missing(book, desk.venue.account(), {*beside_others, *sold.values()})
        coins = [lack.coin for lack in lacks]
        if not coins:
            return ()
        fills, instruments = desk.venue.account_fills(losses.since_of(book, coins)), desk.venue.instruments()
    except VenueUnavailable:
        return None
    found: dict[PositionId, list[LegLost]] = {}
    with desk.store.exclusive() as book:
        present = losses.versions(book, coins)
        if any(before.get(one) != count for one, count in present.items()):
            return None
        for lack in lacks:
            step = instruments[lack.coin].quantity_step
            may_land = not desk.venue.traits.proves_absence
            explained = losses.explained(book, lack, fills, step, desk.clock.now(), sold, may_land=may_land)
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
        return losers if losers or not found else None


def _lose(desk: Desk, opening: Trade, lost: Iterable[LegLost]) -> bool:
    """False, and nothing written, when whoever works the trade wrote first: what is missing is looked at anew then."""
    known = opening
    for loss in lost:
        opening = record(opening, replace(loss, at=_later(desk, opening)))
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


def _written_off(desk: Desk, trade: Trade, gone: HoldingGone) -> Trade:
    """*trade* with *gone* on disk, unless others have booked a part of it as lost since it was found gone.

    Under the book lock, as losses are: each sees what the other has written, so that nothing is gone twice.
    """
    with desk.store.exclusive() as book:
        if _outstanding(book, trade, with_doubt=True)[gone.coin] < gone.quantity:
            return trade
        _no_longer_missing(desk, trade, gone)
        trade = desk.store.save(record(trade, replace(gone, at=_later(desk, trade))))
    _tell(desk, trade)
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
            trade = desk.store.save(record(trade, CloseHurried(_later(desk, trade), reason, f"hurried: {reason}")))
        except InvariantBroken:
            # Whoever works it wrote first: the wish belongs after that.
            trade = desk.store.book().trade(trade.id)
        else:
            _tell(desk, trade)
            return trade
    raise Busy(f"{trade.id} is written faster than it can be hurried", trade_id=trade.id)


def work_if_free(desk: Desk, trade_id: TradeId, *, until: float | None = None, wait_seconds: float = 0.0) -> Trade:
    """Take the seat of a trade, re-read it and work it: until it rests when *until* is given. Taken seat: as it
    stands."""
    try:
        with desk.store.seat(trade_id, wait_seconds):
            trade = desk.store.book().trade(trade_id)
            return work(desk, trade) if until is None else settle(desk, trade, until)
    except Busy:
        desk.store.make_sure()
        return desk.store.book().trade(trade_id)


def outstanding_of(position: Position, opening: Trade, coin: Coin, *, with_doubt: bool) -> Quantity:
    """What a close of *position* has still to take of *coin*: what is held and, if asked, what may yet turn out to
    be."""
    held = position.leg_of(coin).held
    return Quantity(max(held + (opening.doubtful(coin) if with_doubt else ZERO), ZERO))


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
        _alert(desk, trade, attempt)
    trade = desk.store.save(record(trade, OrdersIntended(orders[0].intended_at, orders, step.mids)))
    stopped = _overtaken(desk, trade, orders)
    reports = _unsent(desk, orders, stopped) if stopped else desk.venue.submit(orders)
    trade = record(trade, OrdersReported(_later(desk, trade), reports))
    if not _is_whole(trade):
        trade = desk.store.save(trade, durable=False)
    for report in reports:
        _tell_report(desk, trade, report)
    _watch_size(desk, trade)
    if step.mids and not stopped:
        _tell_slice(desk, trade, orders[0].slice_number)
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
    return record(trade, OrdersReported(_later(desk, trade), news)) if news else trade


def _is_news(trade: Trade, report: OrderReport) -> bool:
    """An end, or more of a fill. That an order is still in doubt is said once, whatever the doubt is called."""
    known = trade.reports.get(report.client_order_id)
    return known is None or not report.status.in_doubt or report.filled > known.filled


def _is_leveraged(desk: Desk, trade: Trade) -> bool:
    """Each coin of an opening that has sent nothing is known to have the leverage agreed: its first look at the market
    is good to send by."""
    if trade.orders or not trade.live:
        return False
    account = _account(desk)
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
        trade = record(trade, TradeCanceled(_later(desk, trade), why))
        _tell(desk, trade)
    return trade


def _may_have_landed(desk: Desk, trade: Trade) -> bool:
    """Does the account hold more of a leg than is explained, though orders for it are called absent: then nothing is
    sent in their place, and what is held is drift. An account that cannot be read denies nothing either."""
    absent = {one.coin for one in trade.orders if trade.report_of(one).status is OrderStatus.ABSENT}
    if not absent or not trade.opens or not trade.live or trade.in_doubt:
        return False
    before = book_holdings(desk.store.book())
    account = _account(desk)
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


def _later(desk: Desk, trade: Trade) -> datetime:
    """Now, but never before the trade's last event: a clock set back must not make a journal that does not replay."""
    return max(desk.clock.now(), trade.events[-1].at)


def _time_of(desk: Desk, trade: Trade) -> datetime:
    """Now, for what *trade* decides. It goes on from its last event where the clock was set back: a close would try
    nothing more, and a leg that runs ahead stand alone, until the clock has caught up. The slices of an OPEN, which
    need fresh prices, wait for that, but no longer than they may."""
    last = trade.events[-1].at
    if not trade.live or desk.clock.now() >= last:
        desk.overtaken.pop(trade.id, None)
        return _later(desk, trade)
    seconds = desk.clock.monotonic()
    began, seen_at = desk.overtaken.setdefault(trade.id, (last, seconds))
    now = max(began + timedelta(seconds=seconds - seen_at), last)
    scheduled = trade.opens and trade.status is TradeStatus.WORKING and not trade.in_doubt
    return last if scheduled and now < trade.terms.gives_up_at else now


def _policy(desk: Desk, book: Book, trade: Trade) -> Policy:
    closing = trade.opens and any(one.live for one in book.trades_of_position(trade.terms.position_id)[1:])
    return Policy(desk.store.state().state, close_wanted=closing)


def _look(desk: Desk, trade: Trade) -> tuple[Market, Book]:
    """What this trade needs to see, and the book that was read last for it. A read that fails leaves its part empty;
    the playbook decides what that allows."""
    coins = tuple(leg.coin for leg in trade.terms.legs)
    if not trade.live or trade.in_doubt:
        return Market(_time_of(desk, trade), {}, {}, {}, {}), desk.store.book()
    reduces = _reduces(trade)
    # The book before the account and after it: whether others bought or sold meanwhile, one of them has it as theirs.
    before = _others_parts(desk.store.book(), trade) if reduces else {}
    account = _account(desk) if reduces else None
    quotes: Mapping[Coin, Quote] = {}
    instruments: Mapping[Coin, Instrument] = {}
    try:
        instruments = desk.venue.instruments()
        quotes = desk.venue.quotes(coins)
    except VenueUnavailable:
        quotes = {}
    book = desk.store.book()
    sharers = {coin: _sharers(book, trade, coin) for coin in coins}
    # Read last: the age of a quote is judged, and an order dated, after every call that took its time.
    now = _time_of(desk, trade)
    opening = book.trades_of_position(trade.terms.position_id)[0]
    market = Market(
        now=now,
        quotes=quotes,
        instruments=instruments,
        available=_available(book, trade, account, sharers, before, desk.store.state().accepted_drift)
        if account is not None
        else {},
        outstanding=_outstanding(book, trade, with_doubt=account is not None),
        opening_live=not trade.opens and opening.live,
        opened_until=None if trade.opens else opening.ended_at,
        whole={leg.coin: _held_of(account, trade, leg) for leg in trade.terms.legs} if account is not None else None,
        alone=frozenset(coin for coin in coins if not sharers[coin]),
        dregs=frozenset(
            coin
            for coin in coins
            if _dregs(book, trade, coin, sharers[coin], quotes.get(coin), instruments.get(coin), now)
        ),
    )
    return market, book


def _dregs(
    book: Book,
    trade: Trade,
    coin: Coin,
    sharers: list[Position],
    quote: Quote | None,
    instrument: Instrument | None,
    now: datetime,
) -> bool:
    if trade.opens or quote is None or instrument is None or not quote.usable:
        return False
    return only_dregs(book, coin, sharers, quote, instrument, now)


def _held_of(account: Account, trade: Trade, leg: LegPlan) -> Quantity:
    """What the venue holds of a coin on the side that the position is on: on the other side it holds none of it."""
    side = leg.side if trade.opens else leg.side.opposite
    return Quantity(max(account.held(leg.coin) * side.sign, ZERO))


def _reduces(trade: Trade) -> bool:
    overfilled = any(overfill_of(trade, leg.coin) for leg in trade.terms.legs)
    return not trade.opens or trade.status is TradeStatus.REPAIRING or overfilled


def _account(desk: Desk) -> Account | None:
    try:
        return desk.venue.account()
    except VenueUnavailable:
        return None


def _outstanding(book: Book, trade: Trade, *, with_doubt: bool) -> Mapping[Coin, Quantity]:
    if trade.opens:
        return {}
    opening, *closings = book.trades_of_position(trade.terms.position_id)
    # The trade in hand may be ahead of the book by an event that is not saved yet.
    ours = [trade if one.id == trade.id else one for one in closings]
    position = position_of((opening, *ours), book.watch(trade.terms.position_id))
    return {leg.coin: outstanding_of(position, opening, leg.coin, with_doubt=with_doubt) for leg in trade.terms.legs}


def _available(
    book: Book,
    trade: Trade,
    account: Account,
    sharers: Mapping[Coin, list[Position]],
    before: Mapping[tuple[PositionId, Coin], Quantity],
    accepted: Mapping[Coin, Quantity],
) -> Mapping[Coin, Quantity]:
    """min(own book, venue holding) begins here: what the venue holds on our side, less what other positions own of
    it, or did *before* the account was read.

    Where others share the coin, what they may have bought without knowing it yet is theirs too, and what our own
    opening may have trimmed without knowing it yet is not ours any more. Of those that are being closed as well our own
    book comes first: where other hands took of the coin, it is missing to the last, for two who left it to each other
    would never be flat.

    What somebody held beside it when it was accepted, or what of the coin was *accepted* as theirs since, is left to
    them as long as our own part is in doubt; what is known to be ours goes whatever they hold.
    """
    own = book.position(trade.terms.position_id)
    planned = {leg.coin: leg for leg in book.trade(own.trade_id).terms.legs}
    available = {}
    for leg in trade.terms.legs:
        others = sharers[leg.coin]
        held = _held_of(account, trade, leg)
        parts = {one.id: max(one.leg_of(leg.coin).held, before.get((one.id, leg.coin), ZERO)) for one in others}
        staying = sum((parts[one.id] for one in others if one.status is not PositionStatus.CLOSING), ZERO)
        ended = sum((part for (one, coin), part in before.items() if coin == leg.coin and one not in parts), ZERO)
        leaving = sum(parts.values(), ended) - staying
        theirs = sum((book.trade(one.trade_id).doubtful(leg.coin) for one in others), ZERO)
        gone = _trimming(book.trade(own.trade_id), leg.coin) if others else ZERO
        known = own.leg_of(leg.coin).held - gone
        sure = min(held - staying, known)
        plan = planned[leg.coin]
        abroad = max(plan.beside, accepted.get(leg.coin, ZERO) * plan.side.sign, ZERO)
        available[leg.coin] = Quantity(max(held - staying - leaving - theirs - gone - abroad, sure, ZERO))
    return available


def _others_parts(book: Book, trade: Trade) -> Mapping[tuple[PositionId, Coin], Quantity]:
    """What the other standing positions hold of the coins of *trade*, now."""
    coins = [leg.coin for leg in trade.terms.legs]
    return {(one.id, coin): one.leg_of(coin).held for coin in coins for one in _sharers(book, trade, coin)}


def _sharers(book: Book, trade: Trade, coin: Coin) -> list[Position]:
    """The other standing positions with a part of *coin*."""
    own = trade.terms.position_id
    return [one for one in book.standing_positions() if one.id != own and coin in (one.long.coin, one.short.coin)]


def _trimming(opening: Trade, coin: Coin) -> Decimal:
    """Coins that trims in doubt may have taken back already."""
    return sum((order.quantity for order in opening.in_doubt if order.coin == coin and order.reduce_only), ZERO)


def _alert(desk: Desk, trade: Trade, attempt: int) -> None:
    """A close that is still trying after its widest band needs somebody to look, while it goes on."""
    desk.log.write(
        "error",
        f"the close of {trade.terms.pair} is not through yet: attempt {attempt}",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        event="CloseDelayed",
    )


def _tell(desk: Desk, trade: Trade) -> None:
    """One log line for an event that people care about."""
    event = trade.events[-1]
    name = type(event).__name__
    kind = {
        "TradeFilled": "success",
        "TradeRejected": "warning",
        "TradeCanceled": "warning",
        "TradeSuspended": "error",
        "HoldingGone": "error",
        "SliceSkipped": "warning",
        "CloseHurried": "warning",
    }.get(name, "info")
    words = {
        "TradeFilled": "filled",
        "TradeRejected": "was rejected by the venue",
        "TradeCanceled": "was canceled",
        "TradeSuspended": "is suspended and needs somebody to look at it",
        "TradeResumed": "goes on",
        "LegsUnbalanced": "has one leg ahead of the other; levelling",
        "LegsBalanced": "is level again",
        "SliceSkipped": "passed over a slice; the rest takes its part",
        "CloseHurried": "takes all that is left now",
        "HoldingGone": "wrote off what cannot be closed any more; it is booked at the mark",
    }[name]
    desk.log.write(
        kind,
        f"{trade.terms.effect} trade of {trade.terms.pair} {words}",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        event=name,
        why=trade.why or getattr(event, "why", None),
        **_naked_facts(desk, trade),
    )


def _naked_facts(desk: Desk, trade: Trade) -> Mapping[str, object]:
    """The naked-exposure meter of a trade that was ever uneven, and what all live trades leave unmatched now."""
    meter = naked_now(trade, _later(desk, trade))
    if not meter.max:
        return {}
    others = sum((one.naked.now for one in desk.store.book().live_trades() if one.id != trade.id), ZERO)
    return {
        "naked_usd": meter.now,
        "naked_max_usd": meter.max,
        "naked_usd_seconds": meter.usd_seconds,
        "naked_in_all_usd": others + meter.now,
    }


def _tell_slice(desk: Desk, trade: Trade, number: int) -> None:
    """How far a schedule has come, and at what price against its own instants."""
    pace, due = pace_of(trade), next_slice_due(trade)
    desk.log.write(
        "info",
        f"{trade.terms.effect} trade of {trade.terms.pair}: slice {number} of {len(trade.terms.slices)} has gone, "
        f"{filled_share(trade):.1%} is filled",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        slices_done=slices_done(trade),
        next_slice_at=due,
        benchmark_bps=None if pace is None else pace.slippage_bps,
        event="SliceSent",
    )


def _tell_report(desk: Desk, trade: Trade, report: OrderReport) -> None:
    order = next(one for one in trade.orders if one.client_order_id == report.client_order_id)
    desk.log.write(
        "info" if report.filled else "warning",
        f"{order.side} {order.quantity} {order.coin}: {report.status}",
        trade_id=trade.id,
        client_order_id=report.client_order_id,
        slice_number=order.slice_number,
        filled=report.filled,
        average_price=report.average_price,
        reason=report.reason,
        detail=report.detail or None,
    )


def adopt(desk: Desk, terms: Terms, entry_price: Price, fees: Usd) -> Trade:
    """Store as an opening that has filled what the venue holds already; nothing is sent.

    The leg of *terms* with a quantity is the holding, at *entry_price* and for *fees*, as far as they are known. For
    what is no position's and is to be closed like one. The caller holds the book lock.
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
    return desk.store.save(trade)
