"""The naked-exposure meter: what of a holding has no match on the other leg, in USD, and its integral over time.

The law: what was known last counts in full until something newer is known; a meter never flatters.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from trading.domain.trades import HoldingGone, Naked, OrdersReported, Trade, unmatched
from trading.domain.units import ZERO, ClientOrderId, Usd


class Level(NamedTuple):
    """So much is unmatched from this instant on, unsigned."""

    since: datetime
    usd: Decimal


def naked_now(trade: Trade, at: datetime) -> Naked:
    """The meter of *trade* read at *at*, what has run up since its last event included."""
    meter = trade.naked
    if meter.since is None or not trade.live:
        return meter
    return Naked(meter.now, at, meter.max, meter.usd_seconds + meter.now * _seconds(meter.since, at))


def naked_by_losses(opening: Trade, until: datetime | None) -> Naked:
    """What was held without its sister since fills of others took of the legs of *opening*: in full from each fill to
    the next and to *until*, when nothing is held any more or it is looked at."""
    levels = list(_levels_of_losses(opening))
    worst = max((one.usd for one in levels), default=ZERO)
    now, since = (levels[-1].usd, levels[-1].since) if levels else (ZERO, None)
    return Naked(Usd(now), since, Usd(worst), _area(levels, until))


def naked_left(opening: Trade, until: datetime) -> Naked:
    """What *opening* left unlevel when it ended, from then to *until*, when nothing is held any more or it is looked
    at. The sums of a position's trades in its records leave this out."""
    left, ended_at = opening.naked.now, opening.ended_at
    if ended_at is None or not left:
        return Naked()
    return Naked(left, ended_at, left, left * _seconds(ended_at, until))


def naked_in_all(
    positions: Iterable[tuple[Sequence[Trade], datetime | None]], since: datetime, until: datetime
) -> Naked:
    """The meters of several positions as one, from *since* to *until*: what all of them leave unmatched together.

    Each position as its trades, opening first, and the instant at which it was closed; None while it stands.
    """
    meters = (span for trades, closed_at in positions for span in _spans(trades, closed_at))
    changes = sorted(
        (max(one.since, since), number, place, one.usd)
        for number, levels in enumerate(meters)
        for place, one in enumerate(levels)
        if one.since <= until
    )
    present: dict[int, Decimal] = {}
    now = worst = total = ZERO
    at = since
    for instant, number, _, usd in changes:
        if instant > at:
            worst, total, at = max(worst, now), total + now * _seconds(at, instant), instant
        # Added up anew each time: differences of rounded levels would leave a trace of dust.
        present[number] = usd
        now = sum(present.values(), ZERO)
    return Naked(Usd(now), at, Usd(max(worst, now)), total + now * _seconds(at, until))


def _spans(trades: Sequence[Trade], closed_at: datetime | None) -> Iterator[Sequence[Level]]:
    """Each meter of a position as its levels, the last of them nothing where it has stopped."""
    opening = trades[0]
    for trade in trades:
        if trade.naked.max:
            yield _stopped(_levels(trade), trade.ended_at)
    if opening.lost:
        yield _stopped(_levels_of_losses(opening), closed_at)
    if opening.ended_at is not None and opening.naked.now:
        yield _stopped([Level(opening.ended_at, opening.naked.now)], closed_at)


def _stopped(levels: Iterable[Level], at: datetime | None) -> Sequence[Level]:
    return [*levels, Level(at, ZERO)] if at is not None else [*levels]


def _levels(trade: Trade) -> Iterator[Level]:
    """What was unmatched after each event of *trade* that says something of it."""
    terms = trade.terms
    orders = {order.client_order_id: order for order in trade.orders}
    filled: dict[str, Decimal] = {leg.coin: ZERO for leg in terms.legs}
    known: dict[ClientOrderId, Decimal] = {}
    for event in trade.events:
        if isinstance(event, HoldingGone):
            filled[event.coin] += event.quantity
        elif isinstance(event, OrdersReported):
            for report in event.reports:
                order = orders[report.client_order_id]
                more = report.filled - known.get(report.client_order_id, ZERO)
                filled[order.coin] += -more if trade.opens and order.reduce_only else more
                known[report.client_order_id] = report.filled
        else:
            continue
        yield Level(event.at, abs(unmatched(terms, filled[terms.long.coin], filled[terms.short.coin])))


def _levels_of_losses(opening: Trade) -> Iterator[Level]:
    if opening.adopted:
        # It has no sister that could stand alone.
        return
    long, now = opening.terms.long.coin, ZERO
    for loss in sorted(opening.lost, key=lambda one: one.filled_at):
        now += loss.quantity * loss.price * (1 if loss.coin == long else -1)
        yield Level(loss.filled_at, abs(now))


def _area(levels: Sequence[Level], until: datetime | None) -> Decimal:
    """USD-seconds under *levels* up to *until*; without an end the last of them does not count yet."""
    ends = [*(one.since for one in levels[1:]), until]
    return sum(
        (one.usd * _seconds(one.since, end) for one, end in zip(levels, ends, strict=False) if end is not None), ZERO
    )


def _seconds(since: datetime, until: datetime) -> Decimal:
    return max(Decimal(str((until - since).total_seconds())), ZERO)
