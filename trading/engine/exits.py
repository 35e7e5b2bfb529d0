"""Watching positions and leaving them: one breach, one close.

The law: a missing, zero or stale price is never a reason to exit, and neither is a single reading that the mark denies
or the depth of the book does not carry.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.errors import Busy, InvalidRequest, Refused, StoreCorrupt
from trading.domain.exit_plan import ExitPlan, ExitReason
from trading.domain.market import Account, Quote
from trading.domain.positions import Position
from trading.domain.units import DOLLAR, Coin, PositionId, Price, Ratio, Usd
from trading.engine import queries
from trading.engine.barriers import (
    Bars,
    anchored,
    changed,
    loosened,
    read_bars,
    require_sides,
    wants_bars,
    words_of,
)
from trading.engine.desk import Desk
from trading.engine.glancing import Roster, Standing
from trading.engine.instants import first_of, lasts
from trading.engine.patience import patient
from trading.engine.planning import gross_of
from trading.engine.records import PositionView
from trading.engine.requests import ExitChange
from trading.engine.valuing import (
    LIQUIDATION_NEAR,
    LIQUIDATION_WARN,
    MAINTENANCE_NEAR,
    MAINTENANCE_WARN,
    Mark,
    Prices,
    base_long,
    coins_of,
    distance_of,
    entry_ratio,
    is_current,
    maintenance_share,
    mark_of,
    pair_ratio,
    read_prices,
    stand_of,
)
from trading.utils.trade_calculator import exit_due, raise_high_water, time_is_up

SECOND_READING = timedelta(milliseconds=250)
PRICED = (ExitReason.STOP_LOSS, ExitReason.TRAILING_STOP, ExitReason.TAKE_PROFIT)
ACCOUNT_AGE_MAX = timedelta(seconds=10)
JUMP = Decimal("0.03")
JUMP_PATIENCE = timedelta(seconds=1)
STRAIN_PATIENCE = timedelta(seconds=2)
HIGH_WATER_STEPS = 20
"""A trailing mark is written down each time it has risen by this part of its gap: the loss of one is bounded by
that."""


class LooseningNeedsAdmin(Refused):
    """A stop may be loosened beyond what Guardian approved by an admin only."""

    code = "FORBIDDEN"


@dataclass
class Memory:
    """What one monitor remembers between two sweeps. Losing it costs a second reading, never an exit.

    `breached`: the instant of the newest of the prices by which a barrier was first found breached.
    """

    breached: dict[PositionId, datetime] = field(default_factory=dict)
    high_water: dict[PositionId, Ratio] = field(default_factory=dict)
    mids: dict[Coin, Price] = field(default_factory=dict)
    jumps: dict[Coin, datetime] = field(default_factory=dict)
    blind: dict[PositionId, datetime] = field(default_factory=dict)
    holding: dict[PositionId, tuple[timedelta, float]] = field(default_factory=dict, compare=False)
    """How long each had been held when it was looked at first, and when that was by the clock that nobody sets."""
    warned: set[PositionId] = field(default_factory=set)
    carried: dict[PositionId, Usd] = field(default_factory=dict)
    """The entry notional at which the book last carried what trails: up to that its trailing mark goes by the book."""
    account: Account | None = field(default=None, compare=False)
    """As its keeper read it last: a sweep does not wait for the account to be read."""
    strained_since: datetime | None = field(default=None, compare=False)
    """When the first was read of the accounts in a row whose margin is strained beyond what may stand."""
    roster: Roster = field(default_factory=Roster, compare=False)


Leave = Callable[[PositionId, ExitReason], None]


def sweep(desk: Desk, memory: Memory, leave: Leave, coins: Collection[Coin] | None = None) -> None:
    """Call *leave* for each standing position that has to go, with the reason. Reads prices and nothing else.

    *coins*: only the positions that hold one of them, for a tick of the stream; all positions otherwise. Opening, open
    and closing positions alike are looked at; one that is already closing is not told to leave again.
    """
    take_stock(desk, memory)
    concerned = memory.roster.concerned(coins)
    if not concerned:
        return
    asked = memory.roster.coins if coins is None else coins_of([one.position for one in concerned])
    prices, now, fee = read_prices(desk, asked), desk.clock.now(), desk.venue.traits.taker_fee
    account = _known_account(memory, now)
    _note_strain(memory, account)
    sights, news = memory.roster.sights(prices, account, now)
    _note_jumps(memory, prices, news, now)
    strained = account is not None and maintenance_share(account) > MAINTENANCE_WARN
    seconds = desk.clock.monotonic()
    for one in concerned:
        long, short = sights.get(one.long_coin), sights.get(one.short_coin)
        held_for = _held_for(memory, one.position, now, seconds)
        quiet = long is not None and short is not None and one.is_quiet(long, short, fee, held_for)
        if strained or _noted(memory, one) or not quiet:
            _look_closer(desk, memory, one.position, prices, account, now, leave)


def take_stock(desk: Desk, memory: Memory) -> None:
    """See what stands now; what is closed is forgotten, so that a monitor that runs for years remembers only that."""
    if memory.roster.update(desk.store.book().standing_positions()):
        _forget(memory, memory.roster)


def _look_closer(
    desk: Desk,
    memory: Memory,
    position: Position,
    prices: Prices,
    account: Account | None,
    now: datetime,
    leave: Leave,
) -> None:
    """Everything that a glance leaves out: blindness, jumps, trails, second readings, the way to liquidation."""
    mark = mark_of(desk, position, prices, now)
    _note_blindness(desk, memory, position, now, seen=mark is not None or _is_seen_alone(position, prices, now))
    near = account is not None and _liquidation_near(desk, memory, position, account, prices.quotes)
    if not position.guarded:
        return
    believed = _believed(memory, position, mark, now)
    reason = _reason_to_leave(desk, memory, position, believed, mark, near=near, now=now)
    if reason is not None:
        memory.breached.pop(position.id, None)
        leave(position.id, reason)


def _noted(memory: Memory, one: Standing) -> bool:
    """Is there something about it that a look may take back."""
    known = one.position.id
    return (
        known in memory.breached
        or known in memory.blind
        or known in memory.warned
        or one.long_coin in memory.jumps
        or one.short_coin in memory.jumps
    )


def _known_account(memory: Memory, now: datetime) -> Account | None:
    account = memory.account
    return account if account is not None and now - account.taken_at <= ACCOUNT_AGE_MAX else None


def change_exits(desk: Desk, position_id: PositionId, change: ExitChange, *, admin: bool) -> PositionView:
    """Change the barriers of a standing position, with a line in the log that keeps the old ones.

    Raises PositionNotFound; InvalidRequest for a position that is closed, barriers that contradict, or a level that the
    spread is beyond already; LooseningNeedsAdmin; VenueUnavailable when a first z barrier needs bars that cannot be
    read.
    """
    known = desk.store.book().position(position_id)
    wants = wants_bars(change) and known.exit_plan.reversion is None and not known.closed
    bars = read_bars(desk, known.pair, known.entered_at) if wants else ((), ())
    levels = (change.take_profit_spread, change.stop_loss_spread)
    shown = patient(desk)
    # Nothing else waits for a price.
    present = _present_ratio(shown, known) if any(one is not None for one in levels) else None
    with desk.store.exclusive() as book:
        position = book.position(position_id)
        if position.closed:
            raise InvalidRequest({"position_id": "is closed; its exits can no longer change"})
        approved, watch = book.trade(position.trade_id).terms.exit_plan, book.watch_of(position_id)
        side = base_long(position)
        plan = changed(watch.exit_plan, change, gross_of(book, position), base_long=side)
        if present is not None:
            require_sides(change, present, base_long=side)
        if wants_bars(change) and plan.reversion is None:
            plan = _frozen(desk, position, plan, bars)
        wider = set(loosened(plan, watch.exit_plan, base_long=side))
        if approved is not None and not admin and wider & set(loosened(plan, approved, base_long=side)):
            before = words_of(approved)
            limits = ", ".join(f"{name} {before[name] or 'none'}" for name in sorted(wider))
            raise LooseningNeedsAdmin(
                f"a stop wider than the approved one needs an admin token: {limits}",
                limit=approved.stop_loss,
                stops=sorted(wider),
            )
        if plan != watch.exit_plan:
            desk.store.save_watch(replace(watch, exit_plan=plan))
            desk.log.write(
                "info",
                f"exits of {position.pair} changed",
                position_id=position_id,
                before=words_of(watch.exit_plan),
                after=words_of(plan),
                event="ExitsChanged",
            )
    return queries.position(shown, position_id)


def _present_ratio(desk: Desk, position: Position) -> Decimal | None:
    """price(A)/price(B) at the mids; None without prices that an exit may rest on: a stop can be moved all the same."""
    mark = mark_of(desk, position, read_prices(desk, coins_of([position])), desk.clock.now())
    return None if mark is None else pair_ratio(position, mark.long_mid, mark.short_mid)


def _frozen(desk: Desk, position: Position, plan: ExitPlan, bars: Bars) -> ExitPlan:
    """*plan* with the mean and the deviation of the bars before the entry: also a later z barrier is measured by
    those."""
    ratio, signal = entry_ratio(position), position.signal
    if ratio is None or signal is None:
        raise InvalidRequest({"position_id": "has nothing filled yet, or no signal, to measure a z-score by"})
    bare = replace(plan, take_profit_spread=None, stop_loss_spread=None)
    anchored_plan = anchored(
        bare,
        ratio,
        base_long=base_long(position),
        zscore=signal.zscore,
        bars=bars,
        interval=desk.config.z_candle_interval,
        at=position.entered_at,
    )
    return replace(plan, reversion=anchored_plan.reversion)


def _reason_to_leave(
    desk: Desk, memory: Memory, position: Position, mark: Mark | None, seen: Mark | None, *, near: bool, now: datetime
) -> ExitReason | None:
    """By *mark*, as exits may rest on it; *seen* is the same as it was read, by which the trailing mark rises."""
    if position.lost is not None:
        # What is lost has made its result already: no barrier is a better reason than that.
        return position.lost
    plan, held_for = position.exit_plan, _held_for(memory, position, now, desk.clock.monotonic())
    held_seconds = Decimal(str(held_for.total_seconds()))
    by_time = ExitReason.TIME_LIMIT if time_is_up(plan, held_seconds) else None
    present = None if mark is None else mark.mark_return if mark.exit_return is None else mark.exit_return
    if mark is None or seen is None or present is None:
        # No price: liquidation and time need none.
        memory.breached.pop(position.id, None)
        return ExitReason.LIQUIDATION if near else by_time
    high_water = _raised(desk, memory, position, seen)
    stand = stand_of(position, mark.mark_ratio if mark.exit_return is None else mark.exit_ratio)
    reason = exit_due(plan, present, high_water, held_seconds, near, stand)
    if reason not in PRICED:
        memory.breached.pop(position.id, None)
        return reason
    if _counts_at_once(position, reason, mark, high_water):
        return reason
    return reason if _is_second_reading(memory, position, mark, now) else by_time


def _is_second_reading(memory: Memory, position: Position, mark: Mark, now: datetime) -> bool:
    """Is *mark* of prices that were all confirmed later than those which showed the breach first. How long ago those
    were looked at says nothing: polled ones are kept for some seconds."""
    first = memory.breached.get(position.id)
    if first is None or first > now:
        first = memory.breached[position.id] = mark.newest_at
    return mark.taken_at - first >= SECOND_READING


def _held_for(memory: Memory, position: Position, now: datetime, seconds: float) -> timedelta:
    """Since the entry; and no less than has passed while it was watched, for the clock may have been set back:
    *seconds* are the clock's `monotonic`."""
    by_day = max(now - position.entered_at, timedelta(0))
    known, since = memory.holding.setdefault(position.id, (by_day, seconds))
    return max(by_day, known + timedelta(seconds=seconds - since))


def _counts_at_once(position: Position, reason: ExitReason, mark: Mark, high_water: Decimal | None) -> bool:
    """A stop that the venue's mark sees too, or a profit that the book would really pay."""
    if mark.exit_return is None or mark.mark_return is None:
        return False
    if reason is ExitReason.TAKE_PROFIT:
        return True
    second = exit_due(position.exit_plan, mark.mark_return, high_water, 0, stand=stand_of(position, mark.mark_ratio))
    return second in (ExitReason.STOP_LOSS, ExitReason.TRAILING_STOP)


def _liquidation_near(
    desk: Desk, memory: Memory, position: Position, account: Account, quotes: Mapping[Coin, Quote]
) -> bool:
    """Time to leave before the venue takes the position; one line in the log on the way there."""
    distance, share = distance_of(position, account, quotes), maintenance_share(account)
    if (distance is None or distance > LIQUIDATION_WARN) and share <= MAINTENANCE_WARN:
        memory.warned.discard(position.id)
    elif position.id not in memory.warned:
        memory.warned.add(position.id)
        desk.log.write(
            "warning",
            f"{position.pair} comes near its liquidation",
            position_id=position.id,
            distance=distance,
            maintenance_share=share,
            event="LiquidationNear",
        )
    since = memory.strained_since
    strained = since is not None and not lasts(account.taken_at, since, STRAIN_PATIENCE)
    return (distance is not None and distance <= LIQUIDATION_NEAR) or strained


def _note_strain(memory: Memory, account: Account | None) -> None:
    """Equity and margin may come of two answers, and one of them without the money is never believed on one reading."""
    if account is None or maintenance_share(account) <= MAINTENANCE_NEAR:
        memory.strained_since = None
    else:
        memory.strained_since = first_of(memory.strained_since, account.taken_at)


def _raised(desk: Desk, memory: Memory, position: Position, mark: Mark) -> Decimal | None:
    """The trailing mark with this reading in it, written down when it has risen by enough to matter.

    It rises only as far as the venue's mark confirms: a bid that shoots up for a moment must not become a stop. Nor by
    the mark alone, which knows of no spread and no depth, while the book does not carry what it has carried before:
    once it does again, that would be the gap.
    """
    trailing = position.exit_plan.trailing
    if trailing is None:
        return position.high_water
    if mark.exit_return is not None:
        memory.carried[position.id] = position.entry_notional
    is_thin = mark.exit_return is None and position.entry_notional <= memory.carried.get(position.id, 0)
    if mark.mark_return is None or is_thin:
        return memory.high_water.get(position.id, position.high_water)
    confirmed = mark.mark_return if mark.exit_return is None else min(mark.exit_return, mark.mark_return)
    seen = raise_high_water(memory.high_water.get(position.id), confirmed)
    high_water = seen if position.high_water is None else max(seen, position.high_water)
    memory.high_water[position.id] = high_water
    step = trailing.gap / HIGH_WATER_STEPS
    if high_water >= trailing.arm and (position.high_water is None or high_water >= position.high_water + step):
        _write_high_water(desk, position, high_water)
    return high_water


def _write_high_water(desk: Desk, position: Position, high_water: Ratio) -> None:
    try:
        with desk.store.exclusive() as book:
            watch = book.watch_of(position.id)
            desk.store.save_watch(replace(watch, high_water=raise_high_water(watch.high_water, high_water)))
    except (Busy, StoreCorrupt):
        # The memory has it, the next sweep writes it, and no disk keeps the other positions from being watched.
        return


def _note_jumps(memory: Memory, prices: Prices, news: Collection[Coin], now: datetime) -> None:
    """Remember since when a coin's mid has been more than 3 % away from the look before: until news that finds it where
    the last one did. A frame that was looked at before confirms nothing."""
    for coin, quote in prices.quotes.items():
        if coin not in news or not quote.usable:
            continue
        last = memory.mids.get(coin)
        memory.mids[coin] = quote.mid
        if last is None or abs(quote.mid / last - 1) <= JUMP:
            memory.jumps.pop(coin, None)
        else:
            memory.jumps.setdefault(coin, now)


def _believed(memory: Memory, position: Position, mark: Mark | None, now: datetime) -> Mark | None:
    """*mark* as exits may rest on it: after a jump of a leg none until it is confirmed, from a second on the venue's
    word."""
    jumps = [memory.jumps[leg.coin] for leg in position.legs if leg.coin in memory.jumps]
    if mark is None or not jumps:
        return mark
    if lasts(now, max(jumps), JUMP_PATIENCE):
        return None
    return replace(mark, exit_return=mark.mark_return, exit_ratio=mark.mark_ratio)


def _is_seen_alone(position: Position, prices: Prices, now: datetime) -> bool:
    """Whether there is a price of what was taken over only to be closed: its other leg is the dollars, which have
    none."""
    quotes = [prices.quotes.get(leg.coin) for leg in position.legs if leg.coin != DOLLAR]
    current = [one for one in quotes if one is not None and is_current(one, now)]
    return len(quotes) == len(current) == 1


def _note_blindness(desk: Desk, memory: Memory, position: Position, now: datetime, *, seen: bool) -> None:
    """One line when a position loses its price and one when it has it back."""
    since = memory.blind.pop(position.id, None)
    if not seen:
        memory.blind[position.id] = first_of(since, now)
    if not seen and since is None:
        desk.log.write(
            "warning", f"no usable price for {position.pair}; holding", position_id=position.id, event="PriceLost"
        )
    elif seen and since is not None:
        desk.log.write("info", f"prices for {position.pair} are back", position_id=position.id, event="PriceBack")


def _forget(memory: Memory, roster: Roster) -> None:
    standing, coins = {position.id for position in roster.positions}, set(roster.coins)
    memory.breached = {key: value for key, value in memory.breached.items() if key in standing}
    memory.high_water = {key: value for key, value in memory.high_water.items() if key in standing}
    memory.blind = {key: value for key, value in memory.blind.items() if key in standing}
    memory.holding = {key: value for key, value in memory.holding.items() if key in standing}
    memory.warned &= standing
    memory.carried = {key: value for key, value in memory.carried.items() if key in standing}
    memory.mids = {coin: mid for coin, mid in memory.mids.items() if coin in coins}
    memory.jumps = {coin: at for coin, at in memory.jumps.items() if coin in coins}
