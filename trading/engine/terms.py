"""What the desk goes by unless a request says otherwise, as configured: for whoever fills in a request."""

from dataclasses import dataclass
from decimal import Decimal

from trading.domain.exit_plan import TrailingStop
from trading.engine.desk import Desk


@dataclass(frozen=True, slots=True)
class DeskTerms:
    """The limits and defaults of the configuration; ratios are fractions, null is off."""

    max_positions: int
    max_allocation: Decimal
    max_leverage: int
    max_daily_loss: Decimal
    min_signal_confidence: Decimal
    take_profit: Decimal
    stop_loss: Decimal
    trailing_stop: TrailingStop | None
    max_holding_seconds: int | None
    twap_threshold_usd: Decimal
    twap_duration_seconds: int
    twap_slices: int


def terms_of(desk: Desk) -> DeskTerms:
    config = desk.config
    return DeskTerms(
        max_positions=config.max_positions,
        max_allocation=Decimal(config.max_allocation),
        max_leverage=config.max_leverage,
        max_daily_loss=Decimal(config.max_daily_loss),
        min_signal_confidence=Decimal(config.min_signal_confidence),
        take_profit=Decimal(config.take_profit),
        stop_loss=Decimal(config.stop_loss),
        trailing_stop=config.trailing,
        max_holding_seconds=config.max_holding_seconds,
        twap_threshold_usd=Decimal(config.twap_threshold_usd),
        twap_duration_seconds=config.twap_duration_seconds,
        twap_slices=config.twap_slices,
    )
