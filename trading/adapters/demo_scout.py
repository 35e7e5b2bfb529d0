"""Scout's stand-in for demo mode: signals read off the paper market.

The law: nothing is remembered and nothing is drawn. An offered signal is a function of its id and the market, so every
process gives the same answer for it; z-scores are what the market says, whichever signal was asked for.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Protocol

from trading.domain.market import Pair
from trading.domain.signals import Signal, SignalType
from trading.domain.units import ZERO, Coin, hash_of
from trading.ports import Clock

BUCKET_SECONDS = 60
AGE_SECONDS_MAX = 300
LIVELY_ZSCORE = Decimal("1.5")
CONFIDENCE_ASKED_FOR = Decimal("0.8")
CONFIDENCE_MAX = Decimal("0.99")
_CENT = Decimal("0.01")
PAIRS = tuple(
    Pair.parse(text)
    for text in (
        "BTC/ETH",
        "ETH/SOL",
        "SOL/AVAX",
        "BTC/SOL",
        "BNB/ETH",
        "XRP/BNB",
        "LTC/BCH",
        "DOGE/kPEPE",
        "LINK/ATOM",
        "ARB/OP",
        "SUI/APT",
        "CRV/LDO",
        "DYDX/GMX",
        "INJ/AVAX",
        "STX/CFX",
        "APE/FTM",
    )
)
_OFFERED_ID = re.compile(r"signal_(\d{1,12})\.(\d{1,3})", re.ASCII)


class Market(Protocol):
    """What the demo Scout reads of the paper market."""

    def coins(self) -> tuple[Coin, ...]: ...

    def zscore(self, pair: Pair, at: datetime) -> Decimal:
        """How rich A of `A/B` is, in standard deviations."""

    def spread(self, pair: Pair, at: datetime) -> Decimal:
        """price(A) / price(B) - 1."""


@dataclass(frozen=True, slots=True)
class DemoScout:
    """The SignalSource port over *market*: a list that is new every minute, and an answer for any id at all."""

    market: Market
    clock: Clock

    def recent(self) -> tuple[Signal, ...]:
        """One signal a pair, dated to the start of this minute, the strongest first."""
        bucket = self._bucket(self.clock.now())
        offered = [self._offered(bucket, number, pair) for number, pair in enumerate(self._pairs())]
        return tuple(sorted(offered, key=lambda signal: (-abs(signal.zscore), signal.id)))

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        """The offered signal of that id while it is younger than five minutes; for any other id one made now.

        One made now is for *pair*, and takes the direction of its present z-score; without a pair the id picks one,
        among those that are lively this minute. Asked again, the same id picks the same pair as long as that pair is
        lively, and its direction is the market's then; the desk keeps a signal it has accepted and does not ask again.
        """
        offered = self._known(signal_id)
        return offered if offered is not None else self._made(signal_id, pair or self._picked(signal_id))

    def _known(self, signal_id: str) -> Signal | None:
        match = _OFFERED_ID.fullmatch(signal_id)
        if match is None:
            return None
        seconds, number = int(match[1]), int(match[2])
        now, pairs = self.clock.now(), self._pairs()
        age = now.timestamp() - seconds
        if seconds % BUCKET_SECONDS or not 0 <= age < AGE_SECONDS_MAX or number >= len(pairs):
            return None
        return self._offered(datetime.fromtimestamp(seconds, UTC), number, pairs[number])

    def _offered(self, at: datetime, number: int, pair: Pair) -> Signal:
        zscore = self.market.zscore(pair, at)
        return self._signal(f"signal_{int(at.timestamp())}.{number}", pair, at, zscore, confidence_of(zscore))

    def _made(self, signal_id: str, pair: Pair) -> Signal:
        now = self.clock.now()
        # A coin that the market does not know has no z-score; the desk denies it by its instruments.
        zscore = self.market.zscore(pair, now) if self._listed(pair) else ZERO
        return self._signal(signal_id, pair, now, zscore, max(CONFIDENCE_ASKED_FOR, confidence_of(zscore)))

    def _signal(self, signal_id: str, pair: Pair, at: datetime, zscore: Decimal, confidence: Decimal) -> Signal:
        return Signal(
            id=signal_id,
            pair=pair,
            signal_type=SignalType.SHORT_SPREAD if zscore >= 0 else SignalType.LONG_SPREAD,
            zscore=zscore,
            correlation=None,
            entry_spread=self.market.spread(pair, at) if self._listed(pair) else None,
            confidence=confidence,
            status="pending",
            created_at=at,
        )

    def _picked(self, signal_id: str) -> Pair:
        """The first lively pair in an order that the id alone decides; the liveliest when there is none."""
        at = self._bucket(self.clock.now())
        strength = {pair: abs(self.market.zscore(pair, at)) for pair in self._pairs()}
        lively = [pair for pair, zscore in strength.items() if zscore >= LIVELY_ZSCORE]
        if not lively:
            return max(strength, key=lambda pair: strength[pair])
        return min(lively, key=lambda pair: hash_of(signal_id, pair))

    def _pairs(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in PAIRS if self._listed(pair))

    def _listed(self, pair: Pair) -> bool:
        coins = self.market.coins()
        return pair.base in coins and pair.quote in coins

    @staticmethod
    def _bucket(now: datetime) -> datetime:
        return now - timedelta(seconds=now.timestamp() % BUCKET_SECONDS)


def confidence_of(zscore: Decimal) -> Decimal:
    """0.4 at the mean and 0.2 more a standard deviation, to the cent below: 0.7 at 1.5, at most 0.99."""
    return min(CONFIDENCE_MAX, (Decimal("0.4") + abs(zscore) / 5).quantize(_CENT, ROUND_FLOOR))
