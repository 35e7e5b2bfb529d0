"""The arithmetic of pair trades: sizes, schedules, prices on the venue's grid, profit, exits, liquidation.

Pure: no clock, no network, no state. Everything is Decimal; what comes from outside may be int, str, Decimal or float
and is taken digit for digit. A number that is missing, not finite, or outside what it can mean is refused by name
(InvalidNumber, a ValueError), never mended. Fees are positive, funding is positive when paid, ratios are fractions,
and what has to be rounded is rounded once, against the desk.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, localcontext
from functools import lru_cache

from trading.domain.errors import InvalidNumber
from trading.domain.exit_plan import ExitPlan, ExitReason, Reversion
from trading.domain.market import Depth, Level
from trading.domain.orders import Side
from trading.domain.positions import Position
from trading.domain.units import ONE, ZERO, Number, Price, Quantity, Ratio, Usd, ceil_to_step, exact, positive
from trading.utils.candle_statistics import log_ratio

AMOUNT_MAX = Decimal("1e15")
AMOUNT_MIN = Decimal("1e-12")
EXACT = Context(prec=120)
SLICES_MAX = 10_000
CHUNK_DECIMALS = 8
LIMITS_KEPT = 256
SIGNIFICANT_FIGURES_MAX = 5
BASIS_POINTS = Decimal(10_000)
PERCENT = Decimal(100)


def _amount(value: Number, name: str) -> Decimal:
    """*value* above zero and of a magnitude with which sums stay exact."""
    # Nearly every one is; what follows says of the others what is wrong with them.
    if type(value) is Decimal and value.is_finite() and AMOUNT_MIN <= value <= AMOUNT_MAX and value == +value:
        return value
    number = _bounded(positive(value, name), name)
    if number < AMOUNT_MIN:
        raise InvalidNumber(name, f"{name} must be at least {AMOUNT_MIN}")
    return number


def _signed(value: Number, name: str) -> Decimal:
    return _bounded(exact(value, name), name)


def _not_negative(value: Number, name: str) -> Decimal:
    number = _signed(value, name)
    if number < 0:
        raise InvalidNumber(name, f"{name} must not be below zero")
    return number


def _bounded(number: Decimal, name: str) -> Decimal:
    if abs(number) > AMOUNT_MAX:
        raise InvalidNumber(name, f"{name} must be at most {AMOUNT_MAX}")
    if number != +number:
        raise InvalidNumber(name, f"{name} has more than 28 significant digits")
    return number


def _count(value: Number, name: str) -> int:
    number = _amount(value, name)
    if number != number.to_integral_value():
        raise InvalidNumber(name, f"{name} must be a whole number")
    if number > SLICES_MAX:
        raise InvalidNumber(name, f"{name} must be at most {SLICES_MAX}")
    return int(number)


def _fraction(value: Number, name: str) -> Decimal:
    """*value* in [0, 1)."""
    number = _not_negative(value, name)
    if number >= 1:
        raise InvalidNumber(name, f"{name} is a fraction and must be below one")
    return number


# Sizes ----------------------------------------------------------------------------------------------------------------


def calculate_position_size(portfolio_value: Number, max_allocation: Number = 0.30) -> Decimal:
    """The largest gross notional in USD that *max_allocation*, a fraction in (0, 1], allows."""
    allocation = _amount(max_allocation, "max_allocation")
    if allocation > 1:
        raise InvalidNumber("max_allocation", "max_allocation is a fraction and must be at most one")
    return _amount(portfolio_value, "portfolio_value") * allocation


def calculate_leverage(position_size: Number, available_margin: Number) -> Decimal:
    """Gross notional over the margin that is there to carry it."""
    return _amount(position_size, "position_size") / _amount(available_margin, "available_margin")


def leg_quantities(
    gross_usd: Number, long_price: Number, short_price: Number, long_step: Number, short_step: Number
) -> tuple[Quantity, Quantity]:
    """Coins to buy and coins to sell for *gross_usd* over both legs, on the lot grids, at the given mids.

    The leg with the coarser lot (in USD) takes half, floored to that lot; the other is matched to the notional so
    reached, floored to its own. So with lots worth C >= F: the coarser leg is never the smaller, the legs are less
    than F apart, and gross - 2 C - F < total <= gross. Both are zero when half does not buy one coarser lot.
    """
    gross = _amount(gross_usd, "gross_usd")
    steps = _amount(long_step, "long_step"), _amount(short_step, "short_step")
    prices = _amount(long_price, "long_price"), _amount(short_price, "short_price")
    with localcontext(EXACT):
        long_lot, short_lot = prices[0] * steps[0], prices[1] * steps[1]
        coarse_lot, fine_lot = max(long_lot, short_lot), min(long_lot, short_lot)
        coarse = gross // (2 * coarse_lot)
        fine = coarse * coarse_lot // fine_lot
    long_lots, short_lots = (coarse, fine) if long_lot >= short_lot else (fine, coarse)
    return Quantity(long_lots * steps[0]), Quantity(short_lots * steps[1])


# Schedules ------------------------------------------------------------------------------------------------------------


def split_twap_order(total_size: Number, num_chunks: Number) -> list[Decimal]:
    """*total_size* in *num_chunks* equal parts; the last takes the rest, and the sum is exactly *total_size*.

    Parts have 8 decimals, or nine significant digits where they are below one.
    """
    total, chunks = _amount(total_size, "total_size"), _count(num_chunks, "num_chunks")
    share = total / chunks
    quantum = Decimal(1).scaleb(min(-CHUNK_DECIMALS, share.adjusted() - CHUNK_DECIMALS))
    chunk = total // (quantum * chunks) * quantum
    return [chunk] * (chunks - 1) + [total - chunk * (chunks - 1)]


def split_on_lots(total: Number, step: Number, slices: Number) -> tuple[Quantity, ...]:
    """*total* coins, floored to the lot *step*, in *slices* parts on the lot grid whose sum is exactly that.

    Equal parts, the tail folded into the last (1.000 in six at 0.001: five of 0.166 and one of 0.170). A tail as large
    as a part is spread lot by lot over the last parts instead, so that no part is more than twice another. Where a
    part would be less than one lot everything goes in one; a total under one lot gives no parts at all.
    """
    size = _amount(step, "step")
    lots = int(_amount(total, "total") // size)
    return tuple(Quantity(part * size) for part in _lots_in(lots, _count(slices, "slices")))


def _lots_in(lots: int, slices: int) -> list[int]:
    if lots == 0:
        return []
    if lots < slices:
        return [lots]
    part, tail = divmod(lots, slices)
    if tail < part:
        return [part] * (slices - 1) + [part + tail]
    return [part] * (slices - tail) + [part + 1] * tail


def slice_quantities(
    long_total: Number,
    short_total: Number,
    long_step: Number,
    short_step: Number,
    slices: Number,
    long_min: Number = 0,
    short_min: Number = 0,
) -> tuple[tuple[Quantity, Quantity], ...]:
    """The (long, short) coins of each slice of a pair trade: exact sums, and level after every slice.

    The leg of fewer lots is split as `split_on_lots` does; the other follows its filled fraction to within one lot of
    its own, so a schedule never looks like one leg running ahead. *long_min* and *short_min* are the least coins a
    slice may have (the venue's minimum): fewer slices are made until all reach it, at worst one. No slices when a leg
    is under one lot.
    """
    steps = _amount(long_step, "long_step"), _amount(short_step, "short_step")
    totals = _amount(long_total, "long_total"), _amount(short_total, "short_total")
    least = _not_negative(long_min, "long_min"), _not_negative(short_min, "short_min")
    long_lots, short_lots = (int(total // step) for total, step in zip(totals, steps, strict=True))
    least_long, least_short = (
        max(1, int(ceil_to_step(amount, step) / step)) for amount, step in zip(least, steps, strict=True)
    )
    count = max(1, min(_count(slices, "slices"), long_lots // least_long, short_lots // least_short))
    while True:
        parts = _paired(long_lots, short_lots, count)
        if len(parts) == 1 or all(long >= least_long and short >= least_short for long, short in parts):
            return tuple((Quantity(long * steps[0]), Quantity(short * steps[1])) for long, short in parts)
        count = len(parts) - 1


def _paired(long_lots: int, short_lots: int, slices: int) -> list[tuple[int, int]]:
    if long_lots > short_lots:
        return [(long, short) for short, long in _paired(short_lots, long_lots, slices)]
    parts, done, followed = [], 0, 0
    for lots in _lots_in(long_lots, slices):
        done += lots
        until = short_lots * done // long_lots
        parts.append((lots, until - followed))
        followed = until
    return parts


def twap_due_times(start: datetime, duration_seconds: Number, slices: Number) -> tuple[datetime, ...]:
    """When each slice is due: the first at once, then every duration / slices, to the microsecond below."""
    microseconds = int(_amount(duration_seconds, "duration_seconds") * 1_000_000)
    count = _count(slices, "slices")
    try:
        return tuple(start + timedelta(microseconds=microseconds * number // count) for number in range(count))
    except OverflowError as error:
        raise InvalidNumber("duration_seconds", "duration_seconds is too long for the calendar") from error


# Prices ---------------------------------------------------------------------------------------------------------------


def calculate_spread(price_a: Number, price_b: Number, normalize: bool = True) -> Decimal:
    """price(A) / price(B) - 1, or the plain difference in USD when not *normalize*."""
    first, second = _amount(price_a, "price_a"), _amount(price_b, "price_b")
    return first / second - 1 if normalize else first - second


def fit_price(price: Number, price_decimals_max: int, *, up: bool) -> Decimal:
    """The nearest price on the venue's grid not below (*up*) or not above *price*; zero when that is none.

    Hyperliquid perps: at most five significant figures and 6 - szDecimals decimals (*price_decimals_max*); an integer
    is always legal. Rounding up may reach the next power of ten, which is on the grid of both decades.
    """
    number = _amount(price, "price")
    figures = number.adjusted() - (SIGNIFICANT_FIGURES_MAX - 1)
    tick = Decimal(1).scaleb(min(0, max(-price_decimals_max, figures)))
    ticks = number // tick
    if up and ticks * tick != number:
        ticks += 1
    return ticks * tick


def is_on_price_grid(price: Number, price_decimals_max: int) -> bool:
    """Would the venue take *price* as it stands."""
    return fit_price(price, price_decimals_max, up=False) == exact(price, "price")


def marketable_limit(touch_price: Number, side: Side, slippage: Number, price_decimals_max: int) -> Price:
    """The limit of an immediate-or-cancel order: *slippage* through the touch, rounded back towards it.

    So the band is never exceeded, and since a touch from the book is itself on the grid the limit always reaches it
    (it is the touch where the grid is coarser than the band). For a touch that is off the grid with no legal price
    between it and the band, the band wins: the limit stays short of the touch and such an order fills nothing. Raises
    InvalidNumber where the grid has no price that low.
    """
    touch, band = _amount(touch_price, "touch_price"), _fraction(slippage, "slippage")
    limit = fit_price(touch * (1 + side.sign * band), price_decimals_max, up=side is Side.SELL)
    if limit == 0:
        raise InvalidNumber("touch_price", "touch_price is below the smallest price of the venue's grid")
    return Price(limit)


@lru_cache(LIMITS_KEPT)
def known_limit(touch_price: Price, side: Side, slippage: Ratio, price_decimals_max: int) -> Price:
    """`marketable_limit` of prices that are Decimals already, reckoned once: sizing, minimums and the order itself ask
    for the same limit up to eight times. Raises what it raises."""
    return marketable_limit(touch_price, side, slippage, price_decimals_max)


def executable_price(levels: Sequence[Level], quantity: Number) -> Price | None:
    """The depth-weighted price of trading all of *quantity* coins against *levels*, best first; None for too little."""
    wanted = _amount(quantity, "quantity")
    filled, paid = _taken(levels, wanted)
    return Price(paid / filled) if filled == wanted else None


def fillable(
    levels: Sequence[Level], side: Side, quantity: Number, limit_price: Number
) -> tuple[Quantity, Price | None]:
    """What an immediate-or-cancel order would get from *levels*: coins and their average price, None for nothing.

    *levels* are the asks for a BUY, the bids for a SELL, best first.
    """
    limit, sign = _amount(limit_price, "limit_price"), side.sign
    # One by one: of a deep book the first levels are enough.
    inside = (level for level in levels if (limit - level.price) * sign >= 0)
    filled, paid = _taken(inside, _amount(quantity, "quantity"))
    return Quantity(filled), Price(paid / filled) if filled else None


def _taken(levels: Iterable[Level], wanted: Decimal) -> tuple[Decimal, Decimal]:
    filled = paid = ZERO
    for level in levels:
        part = min(level.quantity, wanted - filled)
        filled += part
        paid += part * level.price
        if filled == wanted:
            break
    return filled, paid


def round_trip_cost(
    long_depth: Depth,
    short_depth: Depth,
    long_quantity: Number,
    short_quantity: Number,
    taker_fee: Number,
    long_slice: Number | None = None,
    short_slice: Number | None = None,
) -> Decimal | None:
    """What opening the pair and closing all of it at once would cost, as a fraction of the gross notional it opens at.

    Four depth-weighted fills, each charged *taker_fee*: the long bought and sold, the short sold and bought back. What
    is opened in slices costs on its way in what the largest, of *long_slice* and *short_slice* coins, would; on its way
    out a stop takes the whole, and what the book does not show of that costs its last price at least. None when one of
    the four finds too little depth for a slice.
    """
    fee = _fraction(taker_fee, "taker_fee")
    long, short = exact(long_quantity, "long_quantity"), exact(short_quantity, "short_quantity")
    long_part = long if long_slice is None else exact(long_slice, "long_slice")
    short_part = short if short_slice is None else exact(short_slice, "short_slice")
    prices = (
        executable_price(long_depth.asks, long_part),
        executable_price(short_depth.bids, short_part),
        _leaving_price(long_depth.bids, long, long_part),
        _leaving_price(short_depth.asks, short, short_part),
    )
    long_in, short_in, long_out, short_out = prices
    if long_in is None or short_in is None or long_out is None or short_out is None:
        return None
    opened = long * long_in + short * short_in
    closed = long * long_out + short * short_out
    lost = long * (long_in - long_out) + short * (short_out - short_in)
    return (lost + fee * (opened + closed)) / opened


def _leaving_price(levels: Sequence[Level], quantity: Decimal, part: Decimal) -> Price | None:
    """The best average price that *quantity* coins may have at once; None for too little depth for *part* of them."""
    filled, paid = _taken(levels, _amount(quantity, "quantity"))
    return Price((paid + (quantity - filled) * levels[-1].price) / quantity) if filled >= part else None


def leg_slippage(side: Side, fill_price: Number, arrival_price: Number) -> Decimal:
    """How much worse than its arrival price a fill was, as a fraction of it; negative when it was better."""
    arrival = _amount(arrival_price, "arrival_price")
    return (_amount(fill_price, "fill_price") - arrival) / arrival * side.sign


def ratio_slippage(long_price: Number, short_price: Number, long_arrival: Number, short_arrival: Number) -> Decimal:
    """How far price(long) / price(short) has moved against an opening since arrival, as a fraction.

    Negative is in its favour. For a closing trade, which sells the long, the signs are the other way round.
    """
    present = _amount(long_price, "long_price") / _amount(short_price, "short_price")
    return present / (_amount(long_arrival, "long_arrival") / _amount(short_arrival, "short_arrival")) - 1


# Profit ---------------------------------------------------------------------------------------------------------------


def unrealized_pnl(side: Side, quantity: Number, entry_price: Number, price: Number) -> Decimal:
    """USD gained on *quantity* coins held on *side* since *entry_price*, before fees and funding."""
    gained = _amount(price, "price") - _amount(entry_price, "entry_price")
    return _amount(quantity, "quantity") * gained * side.sign


def calculate_position_pnl(
    long_size: Number,
    long_entry: Number,
    long_current: Number,
    short_size: Number,
    short_entry: Number,
    short_current: Number,
    fees: Number = 0,
    funding: Number = 0,
) -> Decimal:
    """Net USD of a pair: sizes in coins, prices in USD, *fees* of all fills, *funding* negative when received."""
    long_gain = _amount(long_current, "long_current") - _amount(long_entry, "long_entry")
    short_gain = _amount(short_entry, "short_entry") - _amount(short_current, "short_current")
    gross = _amount(long_size, "long_size") * long_gain + _amount(short_size, "short_size") * short_gain
    return gross - _not_negative(fees, "fees") - _signed(funding, "funding")


def pnl_percent(pnl: Number, entry_notional: Number) -> Decimal:
    """*pnl* in percent of the gross notional at entry; zero while nothing is filled, when nothing is at stake."""
    gained, notional = _signed(pnl, "pnl"), _not_negative(entry_notional, "entry_notional")
    return gained / notional * PERCENT if notional else ZERO


def leg_imbalance(
    long_filled: Number,
    long_planned: Number,
    short_filled: Number,
    short_planned: Number,
    long_notional: Number,
    short_notional: Number,
) -> Usd:
    """Signed unmatched notional in USD, positive when the long is ahead.

    The filled fractions apart, times the planned notional of the leg ahead.
    The same as `domain.trades.imbalance_of`, from loose numbers. A leg that was to trade nothing is done.
    """
    long_done = _done(long_filled, long_planned, "long")
    short_done = _done(short_filled, short_planned, "short")
    apart = long_done - short_done
    notional = (long_notional, "long_notional") if apart > 0 else (short_notional, "short_notional")
    return Usd(apart * _not_negative(*notional))


def _done(filled: Number, planned: Number, leg: str) -> Decimal:
    done, wanted = _not_negative(filled, f"{leg}_filled"), _not_negative(planned, f"{leg}_planned")
    return done / wanted if wanted else ONE


# Exits ----------------------------------------------------------------------------------------------------------------


def net_return(position: Position, long_price: Number, short_price: Number, taker_fee: Number) -> Decimal:
    """What *position* would have made, closed now, over its gross notional at entry.

    *long_price* is what the long can be sold at now and *short_price* what the short can be bought back at, by depth.
    Counted: gains realized so far, gains on what is held, fees and funding paid, and *taker_fee* on the notional still
    to close. Raises InvalidNumber when the position has no entry to measure against.
    """
    entry = position.entry_notional
    if entry <= 0:
        raise InvalidNumber("entry_notional", "nothing was filled, so there is no return")
    long_now, short_now = positive(long_price, "long_price"), positive(short_price, "short_price")
    to_close = position.long.held * long_now + position.short.held * short_now
    gains = position.realized + position.long.unrealized(long_now) + position.short.unrealized(short_now)
    costs = position.fees + position.funding + _fraction(taker_fee, "taker_fee") * to_close
    return (gains - costs) / entry


def raise_high_water(high_water: Decimal | None, net_return: Number) -> Ratio:
    """The highest net return seen, *net_return* included. It never falls."""
    present = exact(net_return, "net_return")
    return Ratio(present if high_water is None else max(high_water, present))


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a pair stands beside its net return: its gross notional at entry in USD, price(A) / price(B) at the prices
    of that return, and whether A is the leg that is held long."""

    entry_usd: Decimal
    ratio: Decimal
    base_long: bool


def exit_due(
    plan: ExitPlan,
    net_return: Number,
    high_water: Decimal | None,
    held_seconds: Number,
    liquidation_near: bool = False,
    stand: Stand | None = None,
) -> ExitReason | None:
    """The first barrier breached, in the order liquidation, stop loss, trailing stop, take profit, time; or None.

    *high_water* is the highest net return seen, this one included (`raise_high_water`). A barrier is breached when
    touched. Those in USD, of the spread and of the z-score need *stand*; without it they are not looked at.
    """
    present = exact(net_return, "net_return")
    if liquidation_near:
        return ExitReason.LIQUIDATION
    if present <= -plan.stop_loss or (stand is not None and _stops(plan, present, stand)):
        return ExitReason.STOP_LOSS
    if _trails(plan, present, high_water):
        return ExitReason.TRAILING_STOP
    if present >= plan.take_profit or (stand is not None and _profits(plan, present, stand)):
        return ExitReason.TAKE_PROFIT
    if time_is_up(plan, held_seconds):
        return ExitReason.TIME_LIMIT
    return None


def zscore_of(reversion: Reversion, ratio: Number) -> Decimal:
    """How many deviations the log of *ratio*, price(A) / price(B), is above its mean."""
    return (log_ratio(_amount(ratio, "ratio"), ONE) - reversion.mean) / reversion.deviation


def stretch(reversion: Reversion, ratio: Number) -> Decimal:
    """The same, positive on the side that was entered on: it falls as the pair comes home, and goes below zero beyond
    the mean."""
    away = zscore_of(reversion, ratio)
    return away if reversion.zscore > 0 else -away


def stop_share(
    plan: ExitPlan, net_return: Number, stand: Stand | None = None, entry_ratio: Decimal | None = None
) -> Decimal:
    """How much of the way from the entry to the nearest stop is used up: zero at the entry or better, one at a stop."""
    present = exact(net_return, "net_return")
    used = [ZERO, -present / plan.stop_loss]
    if stand is not None and plan.stop_loss_usd is not None:
        used.append(-present * stand.entry_usd / plan.stop_loss_usd)
    if stand is not None and plan.stop_loss_spread is not None and entry_ratio is not None:
        way = _gained_spread(stand, entry_ratio - ONE) - _gained_spread(stand, plan.stop_loss_spread)
        # A stop that was moved to the other side of the entry keeps a profit: there is no way down to it.
        used.append((_gained_spread(stand, entry_ratio - ONE) / way) if way < 0 else ZERO)
    if stand is not None and plan.stop_loss_z is not None and plan.reversion is not None:
        entered = abs(plan.reversion.zscore)
        used.append((stretch(plan.reversion, stand.ratio) - entered) / (plan.stop_loss_z - entered))
    return max(used)


def _gained_spread(stand: Stand, level: Decimal) -> Decimal:
    """How far the spread has come from *level* in the position's favour; below zero: against it."""
    away = stand.ratio - ONE - level
    return away if stand.base_long else -away


def _stops(plan: ExitPlan, net_return: Decimal, stand: Stand) -> bool:
    usd, spread, zscore = plan.stop_loss_usd, plan.stop_loss_spread, plan.stop_loss_z
    if usd is not None and net_return * stand.entry_usd <= -usd:
        return True
    if spread is not None and _gained_spread(stand, spread) <= 0:
        return True
    return zscore is not None and plan.reversion is not None and stretch(plan.reversion, stand.ratio) >= zscore


def _profits(plan: ExitPlan, net_return: Decimal, stand: Stand) -> bool:
    usd, spread, zscore = plan.take_profit_usd, plan.take_profit_spread, plan.take_profit_z
    if usd is not None and net_return * stand.entry_usd >= usd:
        return True
    if spread is not None and _gained_spread(stand, spread) >= 0:
        return True
    return zscore is not None and plan.reversion is not None and stretch(plan.reversion, stand.ratio) <= zscore


def time_is_up(plan: ExitPlan, held_seconds: Number) -> bool:
    """Has the position been held for as long as it may. Needs no price."""
    held = exact(held_seconds, "held_seconds")
    return plan.max_holding_seconds is not None and held >= plan.max_holding_seconds


def _trails(plan: ExitPlan, net_return: Decimal, high_water: Decimal | None) -> bool:
    if plan.trailing is None or high_water is None or high_water < plan.trailing.arm:
        return False
    return net_return <= high_water - plan.trailing.gap


# Liquidation ----------------------------------------------------------------------------------------------------------


def liquidation_price(
    side: Side, quantity: Number, mark: Number, margin_available: Number, maintenance_leverage: Number
) -> Price | None:
    """The mark at which the venue takes the leg; None when no price above zero gets there, as for a long fully paid.

    Hyperliquid's formula: mark - side * margin_available / quantity / (1 - side / maintenance_leverage).
    *margin_available* in USD is what is left above maintenance (cross: account value less all maintenance; negative
    when already below); *maintenance_leverage* is twice the instrument's maximum leverage.
    """
    keep = 1 - side.sign / _maintenance(maintenance_leverage)
    spare = _signed(margin_available, "margin_available") / _amount(quantity, "quantity")
    price = _amount(mark, "mark") - side.sign * spare / keep
    return Price(price) if price > 0 else None


def _maintenance(leverage: Number) -> Decimal:
    number = _amount(leverage, "maintenance_leverage")
    if number <= 1:
        raise InvalidNumber("maintenance_leverage", "maintenance_leverage must be above one")
    return number


def liquidation_distance(side: Side, mark: Number, liquidation_price: Number) -> Decimal:
    """How far the mark is from liquidation, as a fraction of the mark; zero or less when it is there."""
    present = _amount(mark, "mark")
    return (present - _amount(liquidation_price, "liquidation_price")) / present * side.sign
