"""The only module that sends orders and saves trades.

The law: nothing is sent that is not already on disk, and what the venue answered is on disk before anything follows
from it.
"""

from collections.abc import Mapping
from datetime import datetime

from trading.domain.errors import Busy, InvariantBroken, VenueRejected, VenueUnavailable
from trading.domain.market import Account, Quote
from trading.domain.orders import Order, OrderReport
from trading.domain.positions import Position
from trading.domain.trades import (
    CancelWanted,
    OrdersIntended,
    OrdersReported,
    Terms,
    Trade,
    TradeAccepted,
    TradeCanceled,
    TradeStatus,
    TradeSuspended,
    accept,
    record,
)
from trading.domain.units import ZERO, Coin, Quantity, TradeId
from trading.engine.desk import Desk
from trading.engine.playbook import Ask, Market, Note, Policy, Send, Wait, next_step

STEPS_MAX = 64
SETTLE_PAUSE_SECONDS = 0.1


def admit(desk: Desk, terms: Terms) -> Trade:
    """Store a new trade. The caller holds the book lock; from here on it counts, whatever happens."""
    return desk.store.save(accept(TradeAccepted(terms.accepted_at, terms)))


def work(desk: Desk, trade: Trade) -> Trade:
    """Take *trade* as far as it can go at this instant and return it as stored.

    The caller holds the trade's seat. Calling twice sends nothing twice. Raises StoreCorrupt when it cannot be saved;
    a venue that cannot be read leaves the trade where it is.
    """
    prepared = not trade.opens or trade.status is not TradeStatus.PENDING
    for _ in range(STEPS_MAX):
        match next_step(trade, _look(desk, trade), _policy(desk, trade)):
            case Ask(orders):
                asked = _ask(desk, trade)
                if asked.reports == trade.reports:
                    return desk.store.save(asked)
                trade = asked
            case Send(orders) if prepared:
                trade = _send(desk, trade, orders)
            case Send():
                leveraged = _with_leverage(desk, trade)
                if leveraged is None:
                    return desk.store.save(trade)
                trade, prepared = leveraged, True
            case Note(event):
                trade = record(trade, event)
                _tell(desk, trade)
            case Wait():
                return desk.store.save(trade)
    raise InvariantBroken(f"{trade.id} did not come to rest in {STEPS_MAX} steps", trade_id=trade.id)


def settle(desk: Desk, trade: Trade, until: float) -> Trade:
    """Work *trade* again and again until it has ended, waits for a slice, or the clock's `monotonic` reaches
    *until*."""
    trade = work(desk, trade)
    while trade.live and _restless(trade) and desk.clock.monotonic() < until:
        desk.clock.sleep(SETTLE_PAUSE_SECONDS)
        trade = work(desk, trade)
    return trade


def suspend(desk: Desk, trade: Trade, why: str) -> Trade:
    """Take a trade out of work until somebody looks at it. A PENDING one has sent nothing and is canceled instead."""
    at = _later(desk, trade)
    if trade.status is TradeStatus.PENDING:
        trade = record(trade, TradeCanceled(at, why))
    elif trade.status in (TradeStatus.WORKING, TradeStatus.REPAIRING):
        trade = record(trade, TradeSuspended(at, why))
    _tell(desk, trade)
    return desk.store.save(trade)


def want_cancel(desk: Desk, trade: Trade, why: str) -> Trade:
    """Make it durable that *trade* is to stop. Needs no seat: whoever works the trade meets the wish at the next
    save."""
    if not trade.live or trade.cancel_wanted:
        return trade
    return desk.store.save(record(trade, CancelWanted(_later(desk, trade), why)))


def work_if_free(desk: Desk, trade_id: TradeId, *, until: float | None = None, wait_seconds: float = 0.0) -> Trade:
    """Take the seat of a trade, re-read it and work it: until it rests when *until* is given. Taken seat: as it
    stands."""
    try:
        with desk.store.seat(trade_id, wait_seconds):
            trade = desk.store.book().trade(trade_id)
            return work(desk, trade) if until is None else settle(desk, trade, until)
    except Busy:
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
    return (
        bool(trade.in_doubt)
        or trade.status is not TradeStatus.WORKING
        or not trade.opens
        or len(trade.terms.slices) == 1
    )


def _send(desk: Desk, trade: Trade, orders: tuple[Order, ...]) -> Trade:
    """Intent to disk, then one submit, then the answer to disk."""
    trade = desk.store.save(record(trade, OrdersIntended(orders[0].intended_at, orders)))
    reports = desk.venue.submit(orders)
    trade = desk.store.save(record(trade, OrdersReported(_later(desk, trade), reports)))
    for report in reports:
        _tell_report(desk, trade, report)
    return trade


def _ask(desk: Desk, trade: Trade) -> Trade:
    try:
        reports = desk.venue.reports(trade.in_doubt)
    except VenueUnavailable:
        return trade
    news = tuple(report for report in reports if _is_news(trade, report))
    return record(trade, OrdersReported(_later(desk, trade), news)) if news else trade


def _is_news(trade: Trade, report: OrderReport) -> bool:
    known = trade.reports.get(report.client_order_id)
    return known is None or (known.status, known.filled, known.fees) != (report.status, report.filled, report.fees)


def _with_leverage(desk: Desk, trade: Trade) -> Trade | None:
    """Before the first order of an opening each coin has the leverage agreed. None: not known yet, try again later."""
    try:
        leverages = desk.venue.account().leverages
        for leg in trade.terms.legs:
            if leverages.get(leg.coin) != trade.terms.leverage:
                desk.venue.set_leverage(leg.coin, trade.terms.leverage)
    except VenueUnavailable:
        return None
    except VenueRejected as refusal:
        return record(trade, TradeCanceled(_later(desk, trade), f"the venue refused the leverage: {refusal.detail}"))
    return trade


def _later(desk: Desk, trade: Trade) -> datetime:
    """Now, but never before the trade's last event: a clock set back must not make a journal that does not replay."""
    return max(desk.clock.now(), trade.events[-1].at)


def _policy(desk: Desk, trade: Trade) -> Policy:
    closing = trade.opens and any(one.live for one in desk.store.book().trades_of_position(trade.terms.position_id)[1:])
    return Policy(desk.store.state().state, close_wanted=closing)


def _look(desk: Desk, trade: Trade) -> Market:
    """What this trade needs to see. A read that fails leaves its part empty; the playbook decides what that allows."""
    now = max(desk.clock.now(), trade.events[-1].at)
    coins = tuple(leg.coin for leg in trade.terms.legs)
    if not trade.live or trade.in_doubt:
        return Market(now, {}, {}, {}, {})
    quotes: Mapping[Coin, Quote] = {}
    try:
        quotes = desk.venue.quotes(coins)
        instruments = desk.venue.instruments()
    except VenueUnavailable:
        return Market(now, {}, {}, {}, _outstanding(desk, trade, with_doubt=False), _opening_live(desk, trade))
    account = _account(desk) if _reduces(trade) else None
    return Market(
        now=now,
        quotes=quotes,
        instruments=instruments,
        available=_available(desk, trade, account) if account is not None else {},
        outstanding=_outstanding(desk, trade, with_doubt=account is not None),
        opening_live=_opening_live(desk, trade),
        whole={coin: Quantity(abs(account.held(coin))) for coin in coins} if account is not None else None,
    )


def _reduces(trade: Trade) -> bool:
    return not trade.opens or trade.status is TradeStatus.REPAIRING


def _account(desk: Desk) -> Account | None:
    try:
        return desk.venue.account()
    except VenueUnavailable:
        return None


def _opening(desk: Desk, trade: Trade) -> Trade:
    return desk.store.book().trades_of_position(trade.terms.position_id)[0]


def _opening_live(desk: Desk, trade: Trade) -> bool:
    return not trade.opens and _opening(desk, trade).live


def _outstanding(desk: Desk, trade: Trade, *, with_doubt: bool) -> Mapping[Coin, Quantity]:
    if trade.opens:
        return {}
    position, opening = desk.store.book().position(trade.terms.position_id), _opening(desk, trade)
    return {leg.coin: outstanding_of(position, opening, leg.coin, with_doubt=with_doubt) for leg in trade.terms.legs}


def _available(desk: Desk, trade: Trade, account: Account) -> Mapping[Coin, Quantity]:
    """min(own book, venue holding) begins here: what the venue holds on our side, less what other positions own of
    it."""
    available = {}
    for leg in trade.terms.legs:
        side = leg.side if trade.opens else leg.side.opposite
        at_venue = account.held(leg.coin) * side.sign
        others = sum(
            (
                one.leg_of(leg.coin).held
                for one in desk.store.book().standing_positions()
                if one.id != trade.terms.position_id and leg.coin in (one.long.coin, one.short.coin)
            ),
            ZERO,
        )
        available[leg.coin] = Quantity(max(at_venue - others, ZERO))
    return available


def _tell(desk: Desk, trade: Trade) -> None:
    """One log line for an event that people care about."""
    event = trade.events[-1]
    name = type(event).__name__
    kind = {
        "TradeFilled": "success",
        "TradeRejected": "warning",
        "TradeCanceled": "warning",
        "TradeSuspended": "error",
    }.get(name, "info")
    words = {
        "TradeFilled": "filled",
        "TradeRejected": "was rejected by the venue",
        "TradeCanceled": "was canceled",
        "TradeSuspended": "is suspended and needs somebody to look at it",
        "LegsUnbalanced": "has one leg ahead of the other; levelling",
        "LegsBalanced": "is level again",
    }[name]
    desk.log.write(
        kind,
        f"{trade.terms.effect} trade of {trade.terms.pair} {words}",
        trade_id=trade.id,
        position_id=trade.terms.position_id,
        event=name,
        why=trade.why or None,
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
