"""Funding of positions: hourly payments of the venue, each position's share of a coin, written to its watch once an
hour."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from trading.domain.errors import Busy
from trading.domain.positions import Leg, Position, first_watch
from trading.domain.units import ONE, ZERO, Coin, Usd
from trading.engine.desk import Desk


def collect_funding(desk: Desk, position: Position) -> None:
    """Add the payments up to the last full hour, or up to the exit, that the position's watch does not have yet.

    Raises VenueUnavailable; the next call catches up.
    """
    book = desk.store.book()
    watch = book.watch(position.id) or first_watch(book.trade(position.trade_id))
    since = watch.funded_until or position.entered_at
    end = position.exited_at or desk.clock.now()
    hour = end.replace(minute=0, second=0, microsecond=0)
    if hour <= since:
        return
    coins = (position.long.coin, position.short.coin)
    amounts = dict.fromkeys(coins, ZERO)
    shares = {leg.coin: _share(desk, position, leg) for leg in position.legs}
    for payment in desk.venue.funding(coins, since, hour):
        amounts[payment.coin] += payment.amount * shares[payment.coin]
    _write(desk, position, amounts, since=watch.funded_until, until=hour)


def _share(desk: Desk, position: Position, leg: Leg) -> Decimal:
    """The part of a coin's funding that is this position's: pro rata of what the sharers hold; all of it when nobody
    shares."""
    own = leg.held if leg.held > 0 else leg.opened
    others = sum(
        (
            one.leg_of(leg.coin).held
            for one in desk.store.book().standing_positions()
            if one.id != position.id and leg.coin in (one.long.coin, one.short.coin)
        ),
        ZERO,
    )
    return own / (own + others) if own + others > 0 else ONE


def _write(
    desk: Desk, position: Position, amounts: Mapping[Coin, Decimal], *, since: datetime | None, until: datetime
) -> None:
    try:
        with desk.store.exclusive() as book:
            watch = book.watch(position.id) or first_watch(book.trade(position.trade_id))
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
