"""Scout's proposal and Guardian's answer, as the desk keeps them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.domain.market import Pair
from trading.domain.units import Coin


class SignalType(StrEnum):
    SHORT_SPREAD = "short_spread"
    LONG_SPREAD = "long_spread"


@dataclass(frozen=True, slots=True)
class Signal:
    """`zscore` > 0 is a short spread: A is rich, so sell A and buy B of the pair `A/B`. `entry_spread` is Scout's own
    measure."""

    id: str
    pair: Pair
    signal_type: SignalType
    zscore: Decimal
    correlation: Decimal | None
    entry_spread: Decimal | None
    confidence: Decimal
    status: str
    created_at: datetime

    @property
    def long_coin(self) -> Coin:
        return self.pair.base if self.signal_type is SignalType.LONG_SPREAD else self.pair.quote

    @property
    def short_coin(self) -> Coin:
        return self.pair.quote if self.signal_type is SignalType.LONG_SPREAD else self.pair.base


@dataclass(frozen=True, slots=True)
class Approval:
    """Guardian's answer. Only an approval with a non-empty id opens anything."""

    id: str
    approved: bool
    risk_score: Decimal | None
    reasoning: str
    concerns: tuple[str, ...]
    rule_violations: tuple[str, ...]
    answered_at: datetime
