"""Funding of positions: the venue's hourly payments, each position's part of a coin, written to its watch by the hour.

The law: an hour is settled once, after the venue has had time to list it, by what was held when it was paid, and never
while an order may yet change what that was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from trading.domain.accounts import FundingShare, funded_to, hour_of
from trading.domain.errors import Busy, StoreCorrupt
from trading.domain.positions import Position
from trading.domain.units import ZERO, Coin, Usd
from trading.engine.accounting import LISTED_AFTER, funding_shares, funding_until
from trading.engine.desk import Desk


def funding_settled(position: Position, now: datetime) -> bool:
    """True once every hour of a closed position has been listed: from then on its funding can be complete."""
    if position.exited_at is None:
        return False
    last = hour_of(position.exited_at)
    return last <= position.entered_at or now >= last + LISTED_AFTER


def collect_funding(desk: Desk, position: Position) -> None:
    """Add the payments up to the last hour that is due and that the position's watch does not have yet.

    Raises VenueUnavailable; the next call catches up.
    """
    book = desk.store.book()
    watch = book.watch_of(position.id)
    since, until = funded_to(position, watch), funding_until(book, position, desk.clock.now())
    if until <= since:
        return
    payments = desk.venue.funding(tuple(leg.coin for leg in position.legs), since, until)
    shares = funding_shares(book, position, payments)
    _write_down(desk, shares)
    _write(desk, position, shares, since=watch.funded_until, until=until)


def _write_down(desk: Desk, shares: Sequence[FundingShare]) -> None:
    """The hours one by one, for the tables; before the sum, so that a crash in between leaves both to be written
    again."""
    if not shares:
        return
    try:
        desk.accounts.keep_funding(shares)
    except (Busy, StoreCorrupt) as error:
        # What a position has paid is in its watch; which hour it was is the lesser loss.
        desk.log.write("warning", f"funding by the hour could not be written down: {error.detail}")


def _write(
    desk: Desk, position: Position, shares: Sequence[FundingShare], *, since: datetime | None, until: datetime
) -> None:
    amounts = _by_coin(shares)
    try:
        with desk.store.exclusive() as book:
            watch = book.watch_of(position.id)
            if watch.funded_until != since:
                return
            desk.store.save_watch(
                replace(
                    watch,
                    funding_long=Usd(watch.funding_long + amounts.get(position.long.coin, ZERO)),
                    funding_short=Usd(watch.funding_short + amounts.get(position.short.coin, ZERO)),
                    funded_until=until,
                )
            )
    except Busy:
        # Nothing was written, so the next look finds the same payments.
        return


def _by_coin(shares: Sequence[FundingShare]) -> Mapping[Coin, Decimal]:
    amounts: dict[Coin, Decimal] = {}
    for share in shares:
        amounts[share.coin] = amounts.get(share.coin, ZERO) + share.amount
    return amounts
