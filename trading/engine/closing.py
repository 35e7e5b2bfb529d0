"""Closing a position and stopping a trade in mid-flight. Needs nobody's permission.

The law: asking twice is asking once; doubt about the opening never delays the close.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.errors import Busy, InvalidRequest, TradeNotSuspended, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Instrument
from trading.domain.positions import Leg, Position, PositionStatus
from trading.domain.trades import (
    LegPlan,
    PositionEffect,
    Slice,
    Terms,
    Trade,
    TradeResumed,
    TradeStatus,
    TradeSuspended,
    close_trade_id,
    leg_fraction,
)
from trading.domain.units import ZERO, Coin, PositionId, Price, Ratio, TradeId, Usd
from trading.engine import errands, looking, planning, protection, queries, working
from trading.engine.desk import Desk
from trading.engine.playbook import CLOSE_BANDS, RESIDUE_SHARE_MAX, closed_for
from trading.engine.records import PositionView, TradeView
from trading.engine.requests import CloseRequest, TwapRequest
from trading.engine.schedule import due_times

ANSWER_SECONDS = 8.5
PAUSE_SECONDS = 0.25
Grid = tuple[tuple[Instrument, Instrument], tuple[Price, Price]]
"""The instruments of the long and the short leg, and their bids."""


def close(
    desk: Desk,
    position_id: PositionId,
    reason: ExitReason,
    *,
    until: float | None = None,
    twap: TwapRequest | None = None,
    request_id: str = "",
) -> Position:
    """Close *position_id* and return it as it then stands: closed, or closing while the venue takes its time.

    At once, or in slices as *twap* says; a close in slices that is under way is hurried by one at once. *until* bounds
    the wait on the clock's `monotonic`. Raises PositionNotFound and StoreCorrupt; a venue that cannot be reached leaves
    the wish on disk for the monitor, and raises VenueUnavailable when slices cannot be laid out without it.
    """
    until = desk.clock.monotonic() + ANSWER_SECONDS if until is None else until
    position = desk.store.book().position(position_id)
    if position.closed:
        return position
    opening = desk.store.book().trade(position.trade_id)
    grid = _grid(desk, position) if twap is not None else None
    if opening.live:
        opening = working.want_cancel(desk, opening, closed_for(reason))
    if opening.live and not opening.in_doubt:
        opening = working.work_if_free(desk, opening.id)
    closing = _closing_trade(desk, position_id, reason, twap, grid, request_id)
    if closing is not None:
        if twap is None:
            closing = working.want_hurry(desk, closing, reason)
        _work_both(desk, opening.id, closing.id, until)
    position = desk.store.book().position(position_id)
    if position.closed:
        protection.take_back(desk, position_id)
    return position


def _work_both(desk: Desk, opening_id: TradeId, closing_id: TradeId, until: float) -> None:
    """The close first: it sells what the venue shows while the opening is still being asked about. A late fill of
    the opening is sold in the next round."""
    closing = working.work_if_free(desk, closing_id, wait_seconds=_left(desk, until))
    opening = desk.store.book().trade(opening_id)
    while opening.live and closing.live and _left(desk, until) > 0:
        opening = working.work_if_free(desk, opening_id)
        closing = working.work_if_free(desk, closing_id)
        if opening.live:
            desk.clock.sleep(min(PAUSE_SECONDS, _left(desk, until)))
    if closing.live:
        working.work_if_free(desk, closing_id, until=until, wait_seconds=_left(desk, until))


def _left(desk: Desk, until: float) -> float:
    return max(until - desk.clock.monotonic(), 0.0)


def close_by_hand(
    desk: Desk, position_id: PositionId, request_id: str = "", asked: CloseRequest | None = None
) -> PositionView:
    """Close on somebody's request; a second request finds the first and answers with it. What a venue that hangs keeps
    from ending in time goes on beside the caller. Raises as `close` does, and Busy when it is not even on disk yet."""
    until = desk.clock.monotonic() + ANSWER_SECONDS
    twap = asked.twap if asked is not None else None
    views: list[PositionView] = []

    def work() -> None:
        while not views:
            try:
                close(desk, position_id, ExitReason.MANUAL, until=until, twap=twap, request_id=request_id)
                views.append(queries.position(desk, position_id))
            except Busy:
                # Many write at once, or a large ledger is rolled: a reason to wait, and none to leave nothing begun.
                if _left(desk, until) <= PAUSE_SECONDS:
                    raise
                desk.clock.sleep(PAUSE_SECONDS)

    if errands.ends_by(desk, f"closing {position_id} by hand", work, until):
        return views[0]
    desk.store.make_sure()
    view = queries.unmarked_position(desk, position_id)
    if view.status not in (PositionStatus.CLOSING, PositionStatus.CLOSED):
        raise Busy(f"the close of {view.pair} is being begun and is not on disk yet; ask again")
    return view


def cancel(desk: Desk, trade_id: TradeId) -> TradeView:
    """Stop an opening in mid-flight: what is filled stands, level. An ended trade is returned as it is.

    Of one that was suspended with its legs apart nothing can be levelled any more: both legs are closed. Raises
    TradeNotFound; InvalidRequest for a closing trade, which never gives up.
    """
    trade = desk.store.book().trade(trade_id)
    if not trade.opens:
        raise InvalidRequest({"id": "is a closing trade; a close is never cancelled"})
    if trade.live:
        working.want_cancel(desk, trade, "canceled on request")
        until = desk.clock.monotonic() + ANSWER_SECONDS

        def work() -> None:
            worked = working.work_if_free(desk, trade_id, until=until, wait_seconds=ANSWER_SECONDS)
            if left_unlevel(worked):
                close(desk, worked.terms.position_id, ExitReason.REPAIR, until=until)

        if not errands.ends_by(desk, f"canceling {trade_id}", work, until):
            desk.store.make_sure()
    return queries.trade(desk, trade_id)


def left_unlevel(opening: Trade) -> bool:
    """Was it canceled out of a suspension with its legs further apart than may stay: what it holds is to be closed."""
    if opening.status is not TradeStatus.CANCELED or opening.lost:
        return False
    paused = (event for event in reversed(opening.events) if isinstance(event, TradeSuspended | TradeResumed))
    long, short = (leg_fraction(opening, leg) for leg in opening.terms.legs)
    return isinstance(next(paused, None), TradeSuspended) and abs(long - short) > RESIDUE_SHARE_MAX


def resume(desk: Desk, trade_id: TradeId) -> TradeView:
    """Let a suspended trade go on: its doubt is asked about, its legs are levelled, its slices go out if the desk is
    ACTIVE. What a venue that hangs keeps from coming to rest in time goes on beside the caller.

    Raises TradeNotFound, Busy, TradeNotSuspended.
    """
    trade = desk.store.book().trade(trade_id)
    if trade.status is not TradeStatus.SUSPENDED:
        raise TradeNotSuspended(
            f"the trade is {trade.status}; only a suspended trade is resumed", trade_status=trade.status
        )
    until = desk.clock.monotonic() + ANSWER_SECONDS
    working.resume_suspended(desk, trade_id, "resumed on request", wait_seconds=ANSWER_SECONDS)

    def work() -> None:
        working.work_if_free(desk, trade_id, until=until)

    if not errands.ends_by(desk, f"resuming {trade_id}", work, until):
        desk.store.make_sure()
    return queries.trade(desk, trade_id)


def _closing_trade(
    desk: Desk,
    position_id: PositionId,
    reason: ExitReason,
    twap: TwapRequest | None = None,
    grid: Grid | None = None,
    request_id: str = "",
) -> Trade | None:
    """The live closing trade of a position, made now when there is none; None when there is nothing to close."""
    arrival = _arrival_prices(desk, desk.store.book().position(position_id))
    with desk.store.exclusive() as book:
        position = book.position(position_id)
        opening, *closings = book.trades_of_position(position_id)
        for closing in closings:
            if closing.live:
                return closing
        if position.closed:
            return None
        now, attempt = desk.clock.now(), len(closings) + 1
        while close_trade_id(position_id, attempt) in desk.store.broken:
            # One whose records do not fold is not in the book and keeps its name.
            attempt += 1
        terms = _terms(position, opening, attempt, reason, arrival, now)
        if twap is not None and grid is not None:
            terms = _in_slices(desk, terms, twap, grid)
        desk.log.write(
            "info",
            f"closing {position.pair}: {reason}",
            position_id=position_id,
            trade_id=terms.trade_id,
            reason=reason,
            slices=len(terms.slices),
            event="ExitFired",
        )
        return working.admit(desk, replace(terms, request_id=request_id))


def _terms(
    position: Position,
    opening: Trade,
    attempt: int,
    reason: ExitReason,
    arrival: dict[Coin, Decimal],
    now: datetime,
) -> Terms:
    def plan(leg: Leg) -> LegPlan:
        quantity = looking.outstanding_of(position, opening, leg.coin, with_doubt=True)
        return LegPlan(leg.coin, leg.side.opposite, quantity, Price(arrival[leg.coin]))

    long, short = plan(position.long), plan(position.short)
    return Terms(
        trade_id=close_trade_id(position.id, attempt),
        position_id=position.id,
        effect=PositionEffect.CLOSE,
        pair=position.pair,
        long=long,
        short=short,
        slices=(Slice(1, now, long.quantity, short.quantity),),
        slice_interval_seconds=ZERO,
        gives_up_at=now,
        accepted_at=now,
        slippage_max=CLOSE_BANDS[0],
        leverage=position.leverage,
        requested_usd=Usd(long.notional + short.notional),
        exit_reason=reason,
    )


def _grid(desk: Desk, position: Position) -> Grid:
    """Lots and bids of both legs, to lay slices out by. Raises VenueUnavailable when one is not to be had."""
    instruments, quotes = desk.venue.instruments(), desk.venue.quotes([leg.coin for leg in position.legs])
    listed = [instruments.get(leg.coin) for leg in position.legs]
    bids = [quotes[leg.coin].bid for leg in position.legs if leg.coin in quotes and quotes[leg.coin].usable]
    long, short = listed
    if long is None or short is None or len(bids) < len(listed):
        raise VenueUnavailable("a leg has no price now, so no slices can be laid out; close at once instead")
    return (long, short), (bids[0], bids[1])


def _in_slices(desk: Desk, terms: Terms, twap: TwapRequest, grid: Grid) -> Terms:
    """*terms* spread over time, each leg of each slice above the venue's minimum: where that leaves one slice, at
    once."""
    duration, asked = planning.twap_of(desk, twap)
    totals = terms.long.quantity, terms.short.quantity
    parts = planning.split(totals, *grid, min(asked, duration)) if all(totals) else ()
    if len(parts) < 2:
        return replace(terms, slices_requested=asked)
    start = terms.accepted_at
    dues = due_times(start, duration, len(parts), terms.trade_id, desk.config.twap_jitter)
    return replace(
        terms,
        slices=tuple(
            Slice(number, due, *part) for number, (due, part) in enumerate(zip(dues, parts, strict=True), start=1)
        ),
        slice_interval_seconds=Decimal(duration) / len(parts),
        gives_up_at=start + timedelta(seconds=duration),
        slippage_max=Ratio(desk.config.max_slippage),
        slices_requested=asked,
    )


def _arrival_prices(desk: Desk, position: Position) -> dict[Coin, Decimal]:
    """Mids where there are any; a close needs no price to be accepted, so its own entry prices serve otherwise."""
    opening = desk.store.book().trade(position.trade_id)
    prices: dict[Coin, Decimal] = {leg.coin: leg.arrival_price for leg in opening.terms.legs}
    prices |= {leg.coin: leg.entry_price for leg in position.legs if leg.entry_price is not None}
    try:
        quotes = desk.venue.quotes(tuple(prices))
    except VenueUnavailable:
        return prices
    return prices | {coin: quote.mid for coin, quote in quotes.items() if quote.usable}
