"""The barriers of a position: from what was asked for to a plan that does not contradict itself, and its changes.

The law: a barrier that the position would meet at once, or that no price could tell apart from its entry, is refused
by name; the plain stop can be moved, never removed.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from trading.conf import Config
from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import FURTHER_EXITS, TIME_WINDOWS, ExitPlan, Reversion
from trading.domain.market import Candle, CandleInterval, Pair
from trading.domain.units import ONE, Ratio, Usd
from trading.engine.desk import Desk
from trading.engine.requests import ExecuteRequest, ExitChange
from trading.utils.candle_statistics import CANDLES_MIN, log_ratio, log_ratio_of

TAKE_PROFIT_RANGE = (Decimal("0.001"), Decimal(5))
STOP_LOSS_RANGE = (Decimal("0.002"), Decimal("0.5"))
ZSCORE_ROOM = Decimal("0.5")
"""How many deviations at least a z barrier stays away from the z-score of the entry."""

Bars = tuple[Sequence[Candle], Sequence[Candle]]
"""Those of A and those of B."""
_Value = TypeVar("_Value")


def wants_bars(request: ExecuteRequest | ExitChange) -> bool:
    """Does *request* name a barrier that is measured in deviations."""
    return request.take_profit_z is not None or request.stop_loss_z is not None


def read_bars(desk: Desk, pair: Pair, until: datetime) -> Bars:
    """The bars before *until* that a mean and a deviation are taken from. Raises VenueUnavailable."""
    interval, count = desk.config.z_candle_interval, desk.config.z_candles
    since = until - interval.length * (count + 1)
    return (
        desk.venue.candles(pair.base, interval, since, until),
        desk.venue.candles(pair.quote, interval, since, until),
    )


def requested_plan(config: Config, request: ExecuteRequest) -> ExitPlan:
    """The request's barriers over the desk's defaults, as far as they need no price. Raises InvalidRequest for barriers
    that contradict each other or the size."""
    trailing = config.trailing if request.trailing is None else request.trailing
    holding = request.max_holding_seconds
    if holding is None and request.time_window is not None:
        holding = TIME_WINDOWS[request.time_window].duration_seconds
    plan = ExitPlan(
        take_profit=Ratio(request.take_profit if request.take_profit is not None else config.take_profit),
        stop_loss=Ratio(request.stop_loss if request.stop_loss is not None else config.stop_loss),
        trailing=trailing,
        max_holding_seconds=holding if holding is not None else config.max_holding_seconds,
        time_window=request.time_window,
        take_profit_usd=request.take_profit_usd,
        stop_loss_usd=request.stop_loss_usd,
        take_profit_spread=request.take_profit_spread,
        stop_loss_spread=request.stop_loss_spread,
        take_profit_z=request.take_profit_z,
        stop_loss_z=request.stop_loss_z,
    )
    _require_sense(plan, request.position_size)
    return plan


def anchored(
    plan: ExitPlan,
    ratio: Decimal,
    *,
    base_long: bool,
    zscore: Decimal,
    bars: Bars,
    interval: CandleInterval,
    at: datetime,
) -> ExitPlan:
    """*plan* for an entry at *ratio*, price(A)/price(B), with the mean and deviation of *bars* frozen in it.

    *zscore* is the signal's. Raises InvalidRequest for a level on the wrong side of the entry, too few bars, a
    deviation of zero, signs that disagree, or a z barrier too near to the entry.
    """
    require_sides(plan, ratio, base_long=base_long)
    if plan.take_profit_z is None and plan.stop_loss_z is None:
        return plan
    frozen = replace(plan, reversion=_reversion(plan, ratio, bars, interval, at))
    own = frozen.reversion.zscore if frozen.reversion is not None else zscore
    if own * zscore <= 0:
        raise InvalidRequest(
            {_z_field(plan): f"the desk's own z-score is {own:.2f} where the signal's is {zscore:.2f}"}
        )
    _require_room(frozen)
    return frozen


def changed(plan: ExitPlan, change: ExitChange, gross_usd: Usd, *, base_long: bool) -> ExitPlan:
    """*plan* after *change*, its reversion left as it is, for a position of *gross_usd*, or that may still become it.

    Raises InvalidRequest for barriers that contradict.
    """
    holding = _after(plan.max_holding_seconds, change.max_holding_seconds, change.drops("max_holding_seconds"))
    after = replace(
        plan,
        take_profit=plan.take_profit if change.take_profit is None else Ratio(change.take_profit),
        stop_loss=plan.stop_loss if change.stop_loss is None else Ratio(change.stop_loss),
        trailing=_after(plan.trailing, change.trailing, change.drops("trailing_stop")),
        max_holding_seconds=holding,
        time_window=plan.time_window if holding == plan.max_holding_seconds else None,
        take_profit_usd=_after(plan.take_profit_usd, change.take_profit_usd, change.drops("take_profit_usd")),
        stop_loss_usd=_after(plan.stop_loss_usd, change.stop_loss_usd, change.drops("stop_loss_usd")),
        take_profit_spread=_after(
            plan.take_profit_spread, change.take_profit_spread, change.drops("take_profit_spread")
        ),
        stop_loss_spread=_after(plan.stop_loss_spread, change.stop_loss_spread, change.drops("stop_loss_spread")),
        take_profit_z=_after(plan.take_profit_z, change.take_profit_z, change.drops("take_profit_z")),
        stop_loss_z=_after(plan.stop_loss_z, change.stop_loss_z, change.drops("stop_loss_z")),
    )
    # What stands already was judged by the size that was asked for; that less was filled forbids nothing.
    named = replace(after, take_profit_usd=change.take_profit_usd, stop_loss_usd=change.stop_loss_usd)
    _require_sense(named, gross_usd)
    if after.reversion is not None:
        _require_room(after)
    stop, profit = after.stop_loss_spread, after.take_profit_spread
    if stop is not None and profit is not None and (profit > stop) is not base_long:
        raise InvalidRequest({"take_profit_spread": "is on the wrong side of stop_loss_spread"})
    return after


def require_sides(levels: ExitPlan | ExitChange, ratio: Decimal, *, base_long: bool) -> None:
    """Raises InvalidRequest for a level of the spread that is touched where price(A)/price(B) is *ratio*: a take profit
    lies where the pair gains from there, a stop where it loses."""
    spread = ratio - ONE
    rows = (
        ("take_profit_spread", levels.take_profit_spread, base_long),
        ("stop_loss_spread", levels.stop_loss_spread, not base_long),
    )
    for name, level, above in rows:
        if level is not None and (level <= spread if above else level >= spread):
            side = "above" if above else "below"
            raise InvalidRequest({name: f"must be {side} the present spread, {spread:.6f}: price(A)/price(B) - 1"})


def loosened(plan: ExitPlan, than: ExitPlan, *, base_long: bool) -> tuple[str, ...]:
    """The stops of *than* that are wider in *plan*, or gone."""
    pairs = {
        "stop_loss": (plan.stop_loss, than.stop_loss),
        "stop_loss_usd": (plan.stop_loss_usd, than.stop_loss_usd),
        "stop_loss_z": (plan.stop_loss_z, than.stop_loss_z),
        # A level that is meant to be reached from above is looser further down, one from below further up.
        "stop_loss_spread": tuple(
            None if one is None else -one if base_long else one
            for one in (plan.stop_loss_spread, than.stop_loss_spread)
        ),
    }
    found = [name for name, (one, other) in pairs.items() if other is not None and (one is None or one > other)]
    trailing, other = plan.trailing, than.trailing
    # Armed later, or let fall further.
    if other is not None and (trailing is None or trailing.arm > other.arm or trailing.gap > other.gap):
        found.append("trailing_stop")
    return tuple(found)


def tightest_stop(plan: ExitPlan, position_size: Usd) -> Ratio:
    """The stop that the costs of the entry are measured by: the smaller of the fraction and the amount in USD."""
    if plan.stop_loss_usd is None:
        return plan.stop_loss
    return min(plan.stop_loss, Ratio(plan.stop_loss_usd / position_size))


def words_of(plan: ExitPlan) -> dict[str, str | None]:
    """Every barrier of *plan* as text, for the log; those that are off are left out, but for the plain ones."""
    trailing = plan.trailing
    words = {
        "take_profit": str(plan.take_profit),
        "stop_loss": str(plan.stop_loss),
        "trailing_stop": f"arm {trailing.arm}, gap {trailing.gap}" if trailing else None,
        "max_holding_seconds": str(plan.max_holding_seconds) if plan.max_holding_seconds else None,
    }
    return {**words, **{name: str(value) for name, value in further(plan).items()}}


def further(plan: ExitPlan) -> dict[str, Decimal]:
    """The barriers of *plan* in USD, of the spread and of the z-score that are set, by name."""
    return {name: value for name in FURTHER_EXITS if (value := getattr(plan, name)) is not None}


def _after(before: _Value | None, asked: _Value | None, dropped: bool) -> _Value | None:
    return None if dropped else before if asked is None else asked


def _require_sense(plan: ExitPlan, size: Usd) -> None:
    """What can be said without a price: the gap below the arm, USD within the bounds that fractions of *size* have."""
    if plan.trailing is not None and plan.trailing.gap >= plan.trailing.arm:
        raise InvalidRequest({"trailing_stop": "gap must be smaller than arm"})
    rows = (
        ("take_profit_usd", plan.take_profit_usd, TAKE_PROFIT_RANGE),
        ("stop_loss_usd", plan.stop_loss_usd, STOP_LOSS_RANGE),
    )
    for name, amount, (low, high) in rows:
        if amount is not None and size > 0 and not low * size <= amount <= high * size:
            raise InvalidRequest({name: f"must be from {low * size:f} to {high * size:f} USD for {size:f} USD gross"})


def _z_field(plan: ExitPlan) -> str:
    return "take_profit_z" if plan.take_profit_z is not None else "stop_loss_z"


def _reversion(plan: ExitPlan, ratio: Decimal, bars: Bars, interval: CandleInterval, at: datetime) -> Reversion:
    found, name = log_ratio_of(*bars, interval, at), _z_field(plan)
    if found is None:
        raise InvalidRequest({name: f"needs at least {CANDLES_MIN} bars of {interval} that both coins have"})
    if found.deviation <= 0:
        raise InvalidRequest({name: "needs a ratio that has moved; its deviation is zero"})
    zscore = (log_ratio(ratio, ONE) - found.mean) / found.deviation
    return Reversion(found.mean, found.deviation, zscore, found.candles, interval)


def _require_room(plan: ExitPlan) -> None:
    reversion = plan.reversion
    away = abs(reversion.zscore) if reversion is not None else ZSCORE_ROOM
    if plan.take_profit_z is not None and not plan.take_profit_z + ZSCORE_ROOM < away:
        raise InvalidRequest({"take_profit_z": f"must be below {away - ZSCORE_ROOM:.2f}: the entry is at {away:.2f}"})
    if plan.stop_loss_z is not None and not away < plan.stop_loss_z - ZSCORE_ROOM:
        raise InvalidRequest({"stop_loss_z": f"must be above {away + ZSCORE_ROOM:.2f}: the entry is at {away:.2f}"})
