"""From a request and a signal to an entry that can be judged: sides, quantities, slices, exits, and what is at risk
already.

Reads the world once, decides nothing, changes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.exit_plan import ExitPlan
from trading.domain.market import Account, Depth, Instrument, Pair, Quote, ratio_of
from trading.domain.orders import Side
from trading.domain.positions import Position
from trading.domain.signals import Approval, Signal
from trading.domain.trades import (
    Check,
    LegPlan,
    PositionEffect,
    Slice,
    Terms,
    position_id_of,
)
from trading.domain.units import ZERO, Coin, Price, Quantity, Ratio, TradeId, Usd
from trading.engine.barriers import Bars, anchored, read_bars, requested_plan, tightest_stop, wants_bars
from trading.engine.desk import Desk
from trading.engine.recovery import book_holdings, foreign_holdings, others_beside
from trading.engine.requests import ExecuteRequest, Execution, TwapRequest
from trading.engine.schedule import due_times
from trading.utils.risk_controls import (
    Breach,
    BreachCode,
    Entry,
    EntryLeg,
    Exposure,
    ForeignHolding,
    Limits,
    StandingPair,
    entry_breaches,
    headroom,
)
from trading.utils.trade_calculator import (
    fillable,
    known_limit,
    leg_quantities,
    ratio_slippage,
    round_trip_cost,
    slice_quantities,
)

GRACE_SECONDS_MIN = 60
SLICE_MINIMUM_CUSHION = Decimal("1.05")
"""Slices are laid out a little above the venue's minimum, so that a small fall of the price does not strand them."""


@dataclass(frozen=True, slots=True)
class World:
    """One look at everything that an entry is judged by."""

    instruments: Mapping[Coin, Instrument]
    quotes: Mapping[Coin, Quote]
    depths: Mapping[Coin, Depth]
    account: Account
    now: datetime
    bars: Bars = ((), ())


@dataclass(frozen=True, slots=True)
class Draft:
    """A request sized at present prices. `slices` is empty when no price was there to size it with."""

    request: ExecuteRequest
    signal: Signal
    entry: Entry
    exit_plan: ExitPlan
    execution: Execution
    duration_seconds: int
    slices_requested: int
    slices: tuple[tuple[Quantity, Quantity], ...]


def look(desk: Desk, coins: Collection[Coin]) -> World:
    """Read the venue for *coins*. Raises VenueUnavailable."""
    return World(
        instruments=desk.venue.instruments(),
        quotes=desk.venue.quotes(coins),
        depths=desk.venue.depths(coins),
        account=desk.venue.account(),
        now=desk.clock.now(),
    )


def look_for(desk: Desk, request: ExecuteRequest, pair: Pair) -> World:
    """Read the venue for what *request* takes to be judged. Raises VenueUnavailable."""
    bars: Bars = read_bars(desk, pair, desk.clock.now()) if wants_bars(request) else ((), ())
    return replace(look(desk, (pair.base, pair.quote)), bars=bars)


def draft(desk: Desk, request: ExecuteRequest, signal: Signal, world: World) -> Draft:
    """Size *request* for *signal* in *world*. Raises InvalidRequest for exits that contradict each other."""
    execution, duration, count = _execution(desk, request)
    slices = _slices(request, signal, world, min(count, duration) if duration else count)
    plan = exit_plan_of(desk, request, signal, world)
    return Draft(
        request=request,
        signal=signal,
        entry=_entry(desk, request, signal, world, slices, tightest_stop(plan, request.position_size)),
        exit_plan=plan,
        execution=execution,
        duration_seconds=duration,
        slices_requested=count,
        slices=slices,
    )


def limits_of(desk: Desk) -> Limits:
    """The configured bounds, as the risk controls take them."""
    config = desk.config
    return Limits(
        max_positions=config.max_positions,
        max_allocation=Ratio(config.max_allocation),
        max_leverage=config.max_leverage,
        min_portfolio_usd=Usd(config.min_portfolio_usd),
        margin_reserve=Ratio(config.margin_reserve),
        leg_spread_max=Ratio(config.max_leg_spread),
        cost_share_of_stop=Ratio(config.cost_share_of_stop),
    )


def exposure_of(desk: Desk, book: Book, account: Account) -> Exposure:
    """What is at risk: the desk's positions, its trades in flight and in doubt at full size, foreign holdings."""
    standing = book.standing_positions()
    foreign = foreign_holdings(book, account)
    abroad = sum((abs(quantity) * account.holdings[coin].entry_price for coin, quantity in foreign.items()), ZERO)
    if standing:
        abroad += _beside_ours(book, account, desk.store.state().accepted_drift)
    cooldown = timedelta(seconds=desk.config.cooldown_seconds)
    return Exposure(
        now=desk.clock.now(),
        equity=account.equity,
        margin_available=account.margin_available,
        positions=len(standing),
        standing=tuple(StandingPair(one.pair, one.long.coin, one.short.coin, one.leverage) for one in standing),
        foreign={coin: ForeignHolding(quantity, account.leverages.get(coin)) for coin, quantity in foreign.items()},
        gross_usd=Usd(sum((gross_of(book, one) for one in standing), ZERO) + abroad),
        margin_pending=Usd(sum((_pending(book, one, account) / one.leverage for one in standing), ZERO)),
        cooling_until={pair: at + cooldown for pair, at in book.losing_exits().items()} if cooldown else {},
    )


def _beside_ours(book: Book, account: Account, accepted: Mapping[Coin, Quantity]) -> Decimal:
    """USD of what others are known to hold of coins that the desk has positions in, while it is there."""
    known, total = book_holdings(book), ZERO
    for coin, theirs in others_beside(book, accepted).items():
        low, high = known.get(coin, (ZERO, ZERO))
        beyond = account.held(coin) - low if theirs > 0 else high - account.held(coin)
        if beyond > 0 and coin in account.holdings:
            total += min(abs(theirs), beyond) * account.holdings[coin].entry_price
    return total


def checks_of(desk: Desk, plan: Draft, book: Book, account: Account) -> tuple[Check, ...]:
    """What every numeric limit measured for *plan*, to be kept with the trade that it lets pass."""
    measured = headroom(plan.entry, exposure_of(desk, book, account), limits_of(desk))
    return tuple(Check(one.name, one.limit, one.actual) for one in measured)


def breaches_of(desk: Desk, plan: Draft, book: Book, account: Account) -> tuple[Breach, ...]:
    """Everything that forbids *plan* with *book* as it stands: the limits, and a spread that its own slices could not
    cross."""
    return entry_breaches(plan.entry, exposure_of(desk, book, account), limits_of(desk)) or _uncrossable(plan.entry)


def _uncrossable(entry: Entry) -> tuple[Breach, ...]:
    """Two spreads that cost more than the band together would hold back every slice until the approval is void."""
    long, short, band = entry.long.quote, entry.short.quote, entry.slippage_max
    if long is None or short is None:
        return ()
    crossing = ratio_slippage(long.ask, short.bid, long.mid, short.mid)
    if crossing <= band:
        return ()
    detail = "crossing the spreads of both legs at once, against the slippage allowed"
    return (Breach(BreachCode.WIDE_SPREAD, band, crossing, detail),)


def gross_of(book: Book, position: Position) -> Usd:
    """What a position counts for: its full requested size while it may still grow, its entry notional after."""
    if book.trade(position.trade_id).live:
        return Usd(max(position.requested_usd, position.entry_notional))
    return position.entry_notional


def exit_plan_of(desk: Desk, request: ExecuteRequest, signal: Signal, world: World) -> ExitPlan:
    """The request's barriers over the desk's defaults, judged at the mids of *world* where they are levels of prices.

    Raises InvalidRequest. Without mids there is nothing to judge levels by, and no entry either.
    """
    config = desk.config
    plan = requested_plan(config, request)
    base, quote = world.quotes.get(signal.pair.base), world.quotes.get(signal.pair.quote)
    if base is None or quote is None or not base.usable or not quote.usable:
        return plan
    return anchored(
        plan,
        ratio_of(base.mid, quote.mid),
        base_long=signal.long_coin == signal.pair.base,
        zscore=signal.zscore,
        bars=world.bars,
        interval=config.z_candle_interval,
        at=world.now,
    )


def terms_of(
    desk: Desk, plan: Draft, trade_id: TradeId, approval: Approval, key: str, world: World, book: Book
) -> Terms:
    """Everything that is fixed when the trade is accepted, at the prices of *world*, beside what *book* holds."""
    now = desk.clock.now()
    entry = plan.entry
    count = len(plan.slices)
    sliced = plan.execution is Execution.TWAP
    dues = due_times(now, plan.duration_seconds, count, trade_id, desk.config.twap_jitter) if sliced else (now,)
    # A market trade has no duration and is given up after the grace alone.
    duration = plan.duration_seconds if sliced else 0
    grace = duration + max(GRACE_SECONDS_MIN, duration)
    known = book_holdings(book)
    return Terms(
        trade_id=trade_id,
        position_id=position_id_of(trade_id),
        effect=PositionEffect.OPEN,
        pair=entry.pair,
        long=_leg_plan(entry.long, world, known),
        short=_leg_plan(entry.short, world, known),
        slices=tuple(
            Slice(number, due, long, short)
            for number, (due, (long, short)) in enumerate(zip(dues, plan.slices, strict=True), start=1)
        ),
        slice_interval_seconds=Decimal(plan.duration_seconds) / count if sliced else ZERO,
        gives_up_at=now + timedelta(seconds=grace),
        accepted_at=now,
        slippage_max=entry.slippage_max,
        leverage=entry.leverage,
        requested_usd=entry.position_size,
        exit_plan=plan.exit_plan,
        signal=plan.signal,
        approval=approval,
        request_key=key,
        fingerprint=plan.request.fingerprint,
        slices_requested=plan.slices_requested,
    )


def _leg_plan(leg: EntryLeg, world: World, known: Mapping[Coin, tuple[Quantity, Quantity]]) -> LegPlan:
    least, most = known.get(leg.coin, (ZERO, ZERO))
    ours = most if leg.side is Side.BUY else -least
    beside = Quantity(max(world.account.held(leg.coin) * leg.side.sign - ours, ZERO))
    return LegPlan(leg.coin, leg.side, leg.quantity or Quantity(ZERO), world.quotes[leg.coin].mid, beside)


def _execution(desk: Desk, request: ExecuteRequest) -> tuple[Execution, int, int]:
    """How, for how long and in how many slices: as asked, else sliced above the configured size."""
    execution = request.execution
    if execution is None:
        large = request.position_size > desk.config.twap_threshold_usd
        execution = Execution.TWAP if large or request.twap is not None else Execution.MARKET
    return (execution, 0, 1) if execution is Execution.MARKET else (execution, *twap_of(desk, request.twap))


def twap_of(desk: Desk, asked: TwapRequest | None) -> tuple[int, int]:
    """For how many seconds and in how many slices: as asked, else as configured."""
    asked, config = asked or TwapRequest(), desk.config
    return asked.duration_seconds or config.twap_duration_seconds, asked.slices or config.twap_slices


def _slices(request: ExecuteRequest, signal: Signal, world: World, count: int) -> tuple[tuple[Quantity, Quantity], ...]:
    coins = (signal.long_coin, signal.short_coin)
    quotes = [world.quotes.get(coin) for coin in coins]
    listed = [world.instruments.get(coin) for coin in coins]
    (long, short), (long_instrument, short_instrument) = quotes, listed
    if long is None or short is None or long_instrument is None or short_instrument is None:
        return ()
    if not long.usable or not short.usable:
        return ()
    long_step, short_step = long_instrument.quantity_step, short_instrument.quantity_step
    totals = leg_quantities(request.position_size, long.mid, short.mid, long_step, short_step)
    if not totals[0] or not totals[1]:
        return (totals,)
    return split(totals, (long_instrument, short_instrument), (long.ask, short.bid), count)


def split(
    totals: tuple[Quantity, Quantity],
    instruments: tuple[Instrument, Instrument],
    prices: tuple[Price, Price],
    count: int,
) -> tuple[tuple[Quantity, Quantity], ...]:
    """*totals*, long and short, in at most *count* slices whose legs are all above the venue's minimum at *prices*."""
    least = [one.notional_min * SLICE_MINIMUM_CUSHION / price for one, price in zip(instruments, prices, strict=True)]
    long, short = instruments
    return slice_quantities(*totals, long.quantity_step, short.quantity_step, count, *least)


def _entry(
    desk: Desk,
    request: ExecuteRequest,
    signal: Signal,
    world: World,
    slices: tuple[tuple[Quantity, Quantity], ...],
    stop_loss: Ratio,
) -> Entry:
    fee = desk.venue.traits.taker_fee
    slippage = Ratio(desk.config.max_slippage)
    longs, shorts = [one[0] for one in slices], [one[1] for one in slices]
    long = _entry_leg(world, signal.long_coin, Side.BUY, longs, slippage)
    short = _entry_leg(world, signal.short_coin, Side.SELL, shorts, slippage)
    long_depth, short_depth = world.depths.get(long.coin), world.depths.get(short.coin)
    cost = None
    if long.quantity and short.quantity and long_depth is not None and short_depth is not None:
        cost = round_trip_cost(long_depth, short_depth, long.quantity, short.quantity, fee, long.largest, short.largest)
    return Entry(
        pair=signal.pair,
        long=long,
        short=short,
        position_size=request.position_size,
        leverage=request.leverage,
        stop_loss=stop_loss,
        taker_fee=fee,
        slippage_max=slippage,
        round_trip_cost=cost,
    )


def _entry_leg(world: World, coin: Coin, side: Side, parts: list[Quantity], slippage: Ratio) -> EntryLeg:
    instrument, quote, depth = world.instruments.get(coin), world.quotes.get(coin), world.depths.get(coin)
    if instrument is None or quote is None or not parts:
        return EntryLeg(coin, side, instrument, quote)
    largest = max(parts)
    filled = None
    if depth is not None and largest:
        limit = _limit(quote, side, slippage, instrument)
        filled, _ = fillable(depth.asks if side is Side.BUY else depth.bids, side, largest, limit)
    return EntryLeg(coin, side, instrument, quote, Quantity(sum(parts, ZERO)), min(parts), largest, filled)


def _limit(quote: Quote, side: Side, slippage: Ratio, instrument: Instrument) -> Price:
    touch = quote.ask if side is Side.BUY else quote.bid
    return known_limit(touch, side, slippage, instrument.price_decimals_max)


def _pending(book: Book, position: Position, account: Account) -> Decimal:
    """USD that an opening may still add to what *account* counts: what is not filled yet, and what was filled after
    that was read, or at that very instant: which came first is then not known."""
    opening = book.trade(position.trade_id)
    if opening.events[-1].at >= account.taken_at:
        return position.requested_usd
    return max(position.requested_usd - position.entry_notional, ZERO) if opening.live else ZERO


def pair_coins(pair: Pair) -> tuple[Coin, Coin]:
    """Both coins of a pair, for a look at the venue."""
    return (pair.base, pair.quote)
