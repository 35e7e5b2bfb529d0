"""Whether a position is beyond a barrier by the exchange's own mids, by more than spread, depth and fees explain.

The law: worked out from what the exchange did and not from the desk's formulas, and only where there is no doubt.
"""

from decimal import Decimal
from math import log
from typing import TYPE_CHECKING

from trading.domain.exit_plan import ExitPlan
from trading.domain.orders import Side
from trading.domain.units import ZERO, Coin

if TYPE_CHECKING:
    from tests.simulation.auditor import Held
    from tests.simulation.exchange import Exchange

LOSS_SLACK = Decimal("0.002")
PROFIT_SLACK = Decimal("0.006")
SPREAD_SLACK = Decimal("0.006")
Z_SLACK = 1.5


def breached(held: "Held", plan: ExitPlan, exchange: "Exchange") -> str:
    """The barrier that *held* is beyond; empty when there is none, or when nothing is held."""
    if held.terms.signal is None or not all(held.left(leg.coin) > 0 for leg in held.terms.legs):
        return ""
    entry = sum((held.opened[leg.coin] * _entry_price(held, leg.coin) for leg in held.terms.legs), ZERO)
    gain = sum((_gain(held, leg.coin, exchange.mid(leg.coin)) * leg.side.sign for leg in held.terms.legs), ZERO)
    loss_room, profit_room = LOSS_SLACK * entry, PROFIT_SLACK * entry
    rows = (
        ("stop loss", -gain >= plan.stop_loss * entry + loss_room),
        ("stop loss in USD", plan.stop_loss_usd is not None and -gain >= plan.stop_loss_usd + loss_room),
        ("take profit", gain >= plan.take_profit * entry + profit_room),
        ("take profit in USD", plan.take_profit_usd is not None and gain >= plan.take_profit_usd + profit_room),
    )
    return next((name for name, beyond in rows if beyond), "") or _beyond_level(held, plan, exchange)


def _beyond_level(held: "Held", plan: ExitPlan, exchange: "Exchange") -> str:
    pair = held.terms.pair
    ratio = exchange.mid(pair.base) / exchange.mid(pair.quote)
    long = next(leg for leg in held.terms.legs if leg.coin == pair.base).side is Side.BUY
    way, spread, room = 1 if long else -1, ratio - 1, SPREAD_SLACK * ratio
    stop, profit = plan.stop_loss_spread, plan.take_profit_spread
    if stop is not None and (stop - spread) * way >= room:
        return "stop loss of the spread"
    if profit is not None and (spread - profit) * way >= room:
        return "take profit of the spread"
    if plan.reversion is None:
        return ""
    # The spread and depth of the book move the desk's own ratio: by so many deviations at most.
    away = (log(ratio) - float(plan.reversion.mean)) / float(plan.reversion.deviation)
    away *= 1 if plan.reversion.zscore > 0 else -1
    if plan.stop_loss_z is not None and away >= float(plan.stop_loss_z) + Z_SLACK:
        return "stop loss of the z-score"
    if plan.take_profit_z is not None and away <= float(plan.take_profit_z) - Z_SLACK:
        return "take profit of the z-score"
    return ""


def _gain(held: "Held", coin: Coin, mid: Decimal) -> Decimal:
    """What the coins made that are left, and those that the opening gave back."""
    entry = _entry_price(held, coin)
    return held.left(coin) * (mid - entry) + held.returned[coin] - held.trimmed[coin] * entry


def _entry_price(held: "Held", coin: Coin) -> Decimal:
    return held.spent[coin] / held.bought[coin]
