"""The schedule of a sliced trade: which slice is next, when it may go, how much it takes, and how it went.

The law: a desk that slept resumes its pace and never bursts; what slices missed is spread over the rest, and the sum is
exact.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from trading.domain.orders import OrderStatus
from trading.domain.trades import LegPlan, OrdersIntended, SliceSkipped, Trade, TradeStatus
from trading.domain.units import ONE, ZERO, Price, Quantity, TradeId, floor_to_step, hash_of
from trading.utils.trade_calculator import BASIS_POINTS, leg_slippage, twap_due_times

SENDS_OF_A_SLICE_MAX = 3
CATCH_UP_MAX = 3
"""A slice that makes up for others takes at most so many times its own part; Hyperliquid's TWAP does the same."""
JITTER_STEPS = 10_000


class Pace(NamedTuple):
    """How both legs are filled so far against the mids of the schedule's instants, in USD a coin.

    Those instants are evenly spaced, so the mean of their mids is weighted by time. `slippage_bps` positive is worse.
    """

    long_average: Price
    short_average: Price
    long_benchmark: Price
    short_benchmark: Price
    slippage_bps: Decimal


def due_times(
    start: datetime, duration_seconds: int, slices: int, trade_id: TradeId, jitter: Decimal
) -> tuple[datetime, ...]:
    """When each slice is due: the first at once, then every duration / slices, moved by up to *jitter* of that interval
    either way. How far is a hash of trade and slice: nobody can see it coming, and it is the same after a restart."""
    times = twap_due_times(start, duration_seconds, slices)
    interval = timedelta(seconds=duration_seconds) / slices
    return tuple(
        due + interval * float(jitter * _shift(trade_id, number)) if number > 1 else due
        for number, due in enumerate(times, start=1)
    )


def _shift(trade_id: TradeId, number: int) -> Decimal:
    """From -1 to 1."""
    return Decimal(int(hash_of("jitter", trade_id, number)[:8], 16) % (2 * JITTER_STEPS + 1)) / JITTER_STEPS - ONE


def is_paced(trade: Trade) -> bool:
    """Is there a pace to keep: slices at intervals that nobody has hurried."""
    return bool(trade.terms.slice_interval_seconds) and trade.hurried is None


def keeps_pace(trade: Trade, now: datetime) -> bool:
    """Does a CLOSE still wait for its slices. Once the schedule is over what is left goes at once."""
    return is_paced(trade) and next_slice_number(trade) <= len(trade.terms.slices) and now < trade.terms.gives_up_at


def rest_since(trade: Trade) -> datetime:
    """Since when, or from when on, a CLOSE takes all that is left: its acceptance, unless it has slices."""
    if trade.hurried is not None:
        return trade.hurried.at
    return trade.terms.gives_up_at if trade.terms.slice_interval_seconds else trade.terms.accepted_at


def close_rounds(trade: Trade) -> int:
    """How often a CLOSE has tried to take all that is left; its slices do not count."""
    return max(trade.orders[-1].slice_number - scheduled_of_close(trade), 0) if trade.orders else 0


def scheduled_of_close(trade: Trade) -> int:
    """How many slice numbers of a CLOSE belong to its schedule; none where it has no pace."""
    return len(trade.terms.slices) if trade.terms.slice_interval_seconds else 0


def next_slice_number(trade: Trade) -> int:
    """One more than the last slice sent or skipped, or that slice again when none of its orders ever landed."""
    skipped = trade.skipped[-1].number if trade.skipped else 0
    if not trade.orders:
        return skipped + 1
    last = trade.orders[-1].slice_number
    landed = any(
        trade.report_of(order).status is not OrderStatus.ABSENT for order in trade.orders if order.slice_number == last
    )
    sends = len({order.attempt for order in trade.orders if order.slice_number == last})
    return max(last + 1 if landed or sends >= SENDS_OF_A_SLICE_MAX else last, skipped + 1)


def next_slice_due(trade: Trade) -> datetime | None:
    """When the next slice may go, by its schedule and its pace; None when no slice is left, or nobody sends it."""
    is_idle = not trade.live or trade.status is TradeStatus.SUSPENDED
    if is_idle or any(remaining(trade, leg) <= 0 for leg in trade.terms.legs):
        return None
    number, paced = next_slice_number(trade), is_paced(trade)
    if not trade.opens and not paced:
        return None
    # Beyond the last slice an opening that has a pace keeps it until its grace is over.
    if number > len(trade.terms.slices) and not (trade.opens and paced):
        return None
    return due_at(trade, number)


def due_at(trade: Trade, number: int) -> datetime:
    """When slice *number*, not sent yet or to be sent again, may go: as scheduled, or as long after the last one sent
    as the schedule has them apart."""
    scheduled, sent = scheduled_at(trade, number), trade.last_sent
    if sent is None:
        return scheduled
    last = sent.slice_number
    apart = scheduled - scheduled_at(trade, last) if number > last else _interval(trade)
    return max(scheduled, sent.intended_at + apart)


def scheduled_at(trade: Trade, number: int) -> datetime:
    """The instant of slice *number* as planned; those beyond the last follow it at the same pace."""
    planned = trade.terms.slices
    return planned[min(number, len(planned)) - 1].due_at + _interval(trade) * max(number - len(planned), 0)


def missed_slice(trade: Trade, now: datetime) -> int | None:
    """The latest slice, from the next one on, whose interval has passed; None while the next one may still go.

    The last is not missed: it waits until the grace is over.
    """
    missed = None
    if is_paced(trade):
        for number in range(next_slice_number(trade), len(trade.terms.slices)):
            if now < due_at(trade, number) + (scheduled_at(trade, number + 1) - scheduled_at(trade, number)):
                break
            missed = number
    return missed


def remaining(trade: Trade, leg: LegPlan) -> Quantity:
    return Quantity(leg.quantity - trade.filled(leg.coin))


def slice_quantity(trade: Trade, leg: LegPlan, number: int, step: Quantity, parts: int = 1) -> Quantity:
    """What slice *number* takes of a leg: its own part, or so many *parts*, and its share of what earlier slices
    missed; the last one and those beyond it what is left. A slice of an OPEN that keeps a pace never takes more than
    CATCH_UP_MAX parts."""
    planned, left = trade.terms.slices, remaining(trade, leg)
    scheduled = [one.long_quantity if leg == trade.terms.long else one.short_quantity for one in planned]
    part = scheduled[min(number, len(planned)) - 1]
    wanted: Decimal = left
    if number < len(planned):
        missed = sum(scheduled[: number - 1], ZERO) - trade.filled(leg.coin)
        wanted = part * parts + max(floor_to_step(missed / (len(planned) - number + 1), step), ZERO)
    if trade.opens and is_paced(trade):
        wanted = min(wanted, part * CATCH_UP_MAX)
    return Quantity(min(left, wanted))


def slices_done(trade: Trade) -> int:
    """How many scheduled slices have been sent and are known to have ended."""
    upcoming = trade.orders[-1].slice_number if trade.in_doubt else next_slice_number(trade)
    sent = {order.slice_number for order in trade.orders}
    return sum(1 for number in sent if number <= len(trade.terms.slices) and number < upcoming)


def slices_skipped(trade: Trade) -> int:
    """How many scheduled slices were passed over; those of a close that was hurried are none of them."""
    passed = trade.skipped[-1].number if trade.skipped else 0
    return len(set(range(1, passed + 1)) - {order.slice_number for order in trade.orders})


def pace_of(trade: Trade) -> Pace | None:
    """How a sliced trade is filled against its schedule; None without a pace, a fill on both legs or an instant."""
    long, short = (average_price(trade, leg) for leg in trade.terms.legs)
    instants = list(_mids(trade).values()) if trade.terms.slice_interval_seconds else []
    if long is None or short is None or not instants:
        return None
    long_mid, short_mid = (Price(sum((mids[leg] for mids in instants), ZERO) / len(instants)) for leg in (0, 1))
    apart = leg_slippage(trade.terms.long.side, long, long_mid) + leg_slippage(trade.terms.short.side, short, short_mid)
    return Pace(long, short, long_mid, short_mid, apart / 2 * BASIS_POINTS)


def filled_share(trade: Trade) -> Decimal:
    """The filled part of the plan, that of the leg which is less filled; fractions are level but for a lot or two."""
    shares = [trade.filled(leg.coin) / leg.quantity if leg.quantity else ONE for leg in trade.terms.legs]
    return min(shares)


def _mids(trade: Trade) -> Mapping[int, tuple[Price, ...]]:
    """The mids, long and short, when each scheduled slice was first sent or was skipped."""
    found: dict[int, tuple[Price, ...]] = {}
    for event in trade.events:
        if isinstance(event, OrdersIntended) and event.mids:
            found.setdefault(event.orders[0].slice_number, event.mids)
        elif isinstance(event, SliceSkipped) and event.mids:
            found.setdefault(event.number, event.mids)
    return {number: mids for number, mids in found.items() if number <= len(trade.terms.slices)}


def average_price(trade: Trade, leg: LegPlan) -> Price | None:
    """The average price of the leg's own orders, trims of an OPEN left aside; None without a fill."""
    filled = paid = ZERO
    for order in trade.orders:
        report = trade.report_of(order)
        if order.coin == leg.coin and order.side is leg.side and report.average_price is not None:
            filled += report.filled
            paid += report.filled * report.average_price
    return Price(paid / filled) if filled else None


def _interval(trade: Trade) -> timedelta:
    return timedelta(seconds=float(trade.terms.slice_interval_seconds))
