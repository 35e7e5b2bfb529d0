"""The barriers of a position and the reasons for leaving it."""

from dataclasses import dataclass
from enum import StrEnum

from trading.domain.units import Ratio


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


@dataclass(frozen=True, slots=True)
class TrailingStop:
    """Once the net return has reached `arm`, leave when it falls `gap` below its highest. Fractions of gross
    notional."""

    arm: Ratio
    gap: Ratio


@dataclass(frozen=True, slots=True)
class ExitPlan:
    """When to leave: net returns as fractions of the pair's gross notional at entry, holding time in seconds."""

    take_profit: Ratio
    stop_loss: Ratio
    trailing: TrailingStop | None = None
    max_holding_seconds: int | None = None
    time_window: str | None = None


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
