"""Funding of positions: hourly payments of the venue, each position's share of a coin, written to its watch once an
hour.

The law: an hour is settled once, after the venue has had time to list it, and by what was held when it was paid.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.errors import Busy
from trading.domain.market import FundingPayment
from trading.domain.orders import OrderReport
from trading.domain.positions import Position, Watch, first_watch
from trading.domain.trades import OrdersReported, Trade
from trading.domain.units import ZERO, ClientOrderId, Coin, PositionId, Usd
from trading.engine.desk import Desk

LISTED_AFTER = timedelta(seconds=30)
"""The venue pays on the hour and lists it a little later: an hour asked for too soon would read as one without
payment."""


def funding_due(desk: Desk, position: Position) -> bool:
    """Is there an hour that the position's watch does not have yet and that the venue has listed by now."""
    watch = _watch(desk.store.book(), position)
    return _last_hour(position, desk.clock.now()) > (watch.funded_until or position.entered_at)


def funding_settled(position: Position, now: datetime) -> bool:
    """True once every hour of a closed position has been listed: from then on its funding can be complete."""
    if position.exited_at is None:
        return False
    last = _hour(position.exited_at)
    return last <= position.entered_at or now >= last + LISTED_AFTER


def collect_funding(desk: Desk, position: Position) -> None:
    """Add the payments up to the last full hour, or up to the exit, that the position's watch does not have yet.

    Raises VenueUnavailable; the next call catches up.
    """
    if not funding_due(desk, position):
        return
    book = desk.store.book()
    watch = _watch(book, position)
    since, until = watch.funded_until or position.entered_at, _last_hour(position, desk.clock.now())
    amounts: dict[Coin, Decimal] = dict.fromkeys((leg.coin for leg in position.legs), ZERO)
    for payment in desk.venue.funding(tuple(amounts), since, until):
        amounts[payment.coin] += _part(book, position.id, payment)
    _write(desk, position, amounts, since=watch.funded_until, until=until)


def _last_hour(position: Position, now: datetime) -> datetime:
    return _hour(min(position.exited_at or now, now - LISTED_AFTER))


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _watch(book: Book, position: Position) -> Watch:
    return book.watch(position.id) or first_watch(book.trade(position.trade_id))


def _part(book: Book, position_id: PositionId, payment: FundingPayment) -> Decimal:
    """What this position pays, in USD, of a payment: pro rata of what was held when it was paid, by the sharers and,
    where the venue's quantity is larger, by somebody else."""
    coin, at = payment.coin, payment.paid_at
    own = total = ZERO
    for one in book.positions():
        gone = one.exited_at is not None and one.exited_at < at
        if gone or one.entered_at > at or coin not in (one.long.coin, one.short.coin):
            continue
        held = _held_at(book.trades_of_position(one.id), coin, at)
        total += held
        own += held if one.id == position_id else ZERO
    total = max(total, abs(payment.quantity))
    return payment.amount * own / total if total else ZERO


def _held_at(trades: tuple[Trade, ...], coin: Coin, at: datetime) -> Decimal:
    """Coins of a leg that the reports received until *at* add up to."""
    held = ZERO
    for trade in trades:
        words: dict[ClientOrderId, OrderReport] = {}
        for event in trade.events:
            if isinstance(event, OrdersReported) and event.at <= at:
                words |= {report.client_order_id: report for report in event.reports}
        for order in trade.orders:
            if order.coin == coin and order.client_order_id in words:
                held += words[order.client_order_id].filled * (-1 if order.reduce_only else 1)
    return held


def _write(
    desk: Desk, position: Position, amounts: Mapping[Coin, Decimal], *, since: datetime | None, until: datetime
) -> None:
    try:
        with desk.store.exclusive() as book:
            watch = _watch(book, position)
            if watch.funded_until != since:
                return
            desk.store.save_watch(
                replace(
                    watch,
                    funding_long=Usd(watch.funding_long + amounts[position.long.coin]),
                    funding_short=Usd(watch.funding_short + amounts[position.short.coin]),
                    funded_until=until,
                )
            )
    except Busy:
        # Nothing was written, so the next look finds the same payments.
        return
