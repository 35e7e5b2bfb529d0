"""The barriers of a position and the reasons for leaving it."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from trading.domain.market import CandleInterval
from trading.domain.units import Ratio, Usd


class ExitReason(StrEnum):
    LIQUIDATION = "LIQUIDATION"
    STOP_LOSS = "STOP_LOSS"
    TRAILING_STOP = "TRAILING_STOP"
    TAKE_PROFIT = "TAKE_PROFIT"
    TIME_LIMIT = "TIME_LIMIT"
    MANUAL = "MANUAL"
    EMERGENCY_STOP = "EMERGENCY_STOP"
    LEG_LOST = "LEG_LOST"
    REPAIR = "REPAIR"
    NOT_FILLED = "NOT_FILLED"


LOSING = frozenset({ExitReason.STOP_LOSS, ExitReason.LIQUIDATION, ExitReason.LEG_LOST})
"""What cools a pair down: what was left by its stop, by liquidation or because a leg was taken."""


FURTHER_EXITS = (
    "take_profit_usd",
    "stop_loss_usd",
    "take_profit_spread",
    "stop_loss_spread",
    "take_profit_z",
    "stop_loss_z",
)
"""The barriers beside the plain ones, by their names in an ExitPlan and in the API."""


@dataclass(frozen=True, slots=True)
class TrailingStop:
    """Once the net return has reached `arm`, leave when it falls `gap` below its highest. Fractions of gross
    notional."""

    arm: Ratio
    gap: Ratio


@dataclass(frozen=True, slots=True)
class Reversion:
    """Where a pair's log ratio ln(price(A) / price(B)) was at home when the position was entered: mean and standard
    deviation over so many bars, frozen then. `zscore` is the desk's own at entry."""

    mean: Decimal
    deviation: Decimal
    zscore: Decimal
    candles: int
    interval: CandleInterval


@dataclass(frozen=True, slots=True)
class ExitPlan:
    """When to leave: net returns as fractions of the pair's gross notional at entry, holding time in seconds.

    Beside them, each off unless it is set: net USD (`_usd`, both positive); levels of the desk's own spread
    price(A)/price(B) - 1 (`_spread`); and how many deviations of `reversion` the log ratio is away from its mean, on
    the side that it was entered on (`_z`).
    """

    take_profit: Ratio
    stop_loss: Ratio
    trailing: TrailingStop | None = None
    max_holding_seconds: int | None = None
    time_window: str | None = None
    take_profit_usd: Usd | None = None
    stop_loss_usd: Usd | None = None
    take_profit_spread: Decimal | None = None
    stop_loss_spread: Decimal | None = None
    take_profit_z: Decimal | None = None
    stop_loss_z: Decimal | None = None
    reversion: Reversion | None = None


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A named holding time, in the words that the sibling frontend shows. `periods` are five seconds each."""

    key: str
    display: str
    duration_seconds: int

    @property
    def periods(self) -> int:
        return self.duration_seconds // 5


TIME_WINDOWS = {
    window.key: window
    for window in (
        TimeWindow("1min", "1 minute", 60),
        TimeWindow("5min", "5 minutes", 300),
        TimeWindow("15min", "15 minutes", 900),
    )
}
TIME_WINDOW_DEFAULT = "5min"
