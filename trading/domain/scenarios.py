"""What may be staged on the paper venue, so that somebody can watch what the desk does about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from trading.domain.resting import AccountFill
from trading.domain.units import Coin


class ScenarioKind(StrEnum):
    LOST_ANSWER = "lost_answer"
    LEG_REFUSED = "leg_refused"
    PARTIAL_FILLS = "partial_fills"
    CRASH = "crash"
    HALTED_COIN = "halted_coin"
    STALE_PRICES = "stale_prices"
    DEAD_STREAM = "dead_stream"
    LIQUIDATION = "liquidation"


WORDS: Mapping[ScenarioKind, str] = {
    ScenarioKind.LOST_ANSWER: "orders are worked, and for two seconds nobody says how",
    ScenarioKind.LEG_REFUSED: "openings in the coin are refused",
    ScenarioKind.PARTIAL_FILLS: "only the share of each opening order is filled",
    ScenarioKind.CRASH: "the coin's price is lower by the share",
    ScenarioKind.HALTED_COIN: "no order in the coin is taken, closing ones neither",
    ScenarioKind.STALE_PRICES: "prices stand still",
    ScenarioKind.DEAD_STREAM: "there are no prices at all",
    ScenarioKind.LIQUIDATION: "the venue takes what is held of the coin, once",
}
NEED_COIN = frozenset(
    {ScenarioKind.LEG_REFUSED, ScenarioKind.CRASH, ScenarioKind.HALTED_COIN, ScenarioKind.LIQUIDATION}
)


@dataclass(frozen=True, slots=True)
class ScenarioRequest:
    """The body of POST /api/demo/scenario: what to stage, for how long."""

    kind: ScenarioKind
    coin: Coin | None
    share: Decimal
    seconds: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something staged from `began_at` until `until`. `coin` is None where all coins are meant; `share` is a fraction;
    `fill` is what a liquidation took."""

    kind: ScenarioKind
    coin: Coin | None
    share: Decimal
    began_at: datetime
    until: datetime
    fill: AccountFill | None = None

    def plays(self, kind: ScenarioKind, at: datetime, coin: Coin | None = None) -> bool:
        """Whether it is of *kind* and on at *at*, for *coin* if one is named."""
        return self.kind is kind and self.began_at <= at < self.until and self.coin in (None, coin)


@dataclass(frozen=True, slots=True)
class Script:
    """Everything staged lately, oldest first."""

    scenarios: tuple[Scenario, ...] = ()
