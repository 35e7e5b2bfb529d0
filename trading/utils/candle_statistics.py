"""What bars say: where the ratio of two coins is at home, and how restless a market was.

Pure. The law: a statistic of too few bars is none at all, and a bar that is still forming is no bar yet.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Context, Decimal
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from trading.domain.market import Candle, CandleInterval
from trading.domain.units import ZERO

CANDLES_MIN = 200
"""Fewer say too little about a mean and a deviation."""
HOURS_OF_A_DAY = 24
TREND_SIGMAS = Decimal(1)
PERCENT = Decimal(100)
FINE = Context(prec=20)
RATIOS_KEPT = 512
"""Guardian hears of the market with every execute, by a day's bars that are the same for an hour."""


class LogRatio(NamedTuple):
    """The log ratio ln(price(A) / price(B)) over so many bars: its mean and its (sample) standard deviation."""

    mean: Decimal
    deviation: Decimal
    candles: int


@lru_cache(RATIOS_KEPT)
def log_ratio(base_price: Decimal, quote_price: Decimal) -> Decimal:
    """ln(price(A) / price(B)), to twenty digits."""
    return FINE.ln(FINE.divide(base_price, quote_price))


def log_ratio_of(
    base: Sequence[Candle], quote: Sequence[Candle], interval: CandleInterval, at: datetime
) -> LogRatio | None:
    """The log ratio of the closes of bars that both coins have and that had ended by *at*.

    None for fewer than CANDLES_MIN of them.
    """
    closes = {one.opened_at: one.close for one in quote}
    logs = [
        log_ratio(one.close, closes[one.opened_at])
        for one in base
        if one.opened_at + interval.length <= at and one.opened_at in closes
    ]
    if len(logs) < CANDLES_MIN:
        return None
    return LogRatio(_mean(logs), _deviation(logs), len(logs))


def day_volatility(hours: Sequence[Candle], at: datetime) -> Decimal | None:
    """The standard deviation of the hourly log returns of the day before *at*, scaled to a day, in percent.

    *hours* are hourly bars. None unless a whole day of them had ended.
    """
    returns = _returns(hours, at)
    return None if returns is None else _deviation(returns) * Decimal(HOURS_OF_A_DAY).sqrt(FINE) * PERCENT


def day_trend(hours: Sequence[Candle], at: datetime) -> str | None:
    """`up` or `down` when the day's move is beyond one standard deviation of such a day, else `sideways`; None when
    not known."""
    returns = _returns(hours, at)
    if returns is None:
        return None
    move, usual = sum(returns, ZERO), _deviation(returns) * Decimal(HOURS_OF_A_DAY).sqrt(FINE)
    if abs(move) <= TREND_SIGMAS * usual or not move:
        return "sideways"
    return "up" if move > 0 else "down"


def _returns(hours: Sequence[Candle], at: datetime) -> list[Decimal] | None:
    """The log returns of the last day's hours; None when one is missing."""
    length = CandleInterval.HOUR.length
    ended = [one for one in hours if one.opened_at + length <= at][-HOURS_OF_A_DAY - 1 :]
    if len(ended) <= HOURS_OF_A_DAY or ended[-1].opened_at - ended[0].opened_at != length * HOURS_OF_A_DAY:
        return None
    return [log_ratio(after.close, before.close) for before, after in pairwise(ended)]


def _mean(values: Sequence[Decimal]) -> Decimal:
    return FINE.divide(sum(values, ZERO), Decimal(len(values)))


def _deviation(values: Sequence[Decimal]) -> Decimal:
    mean = _mean(values)
    squares = sum(((one - mean) ** 2 for one in values), ZERO)
    return FINE.sqrt(FINE.divide(squares, Decimal(len(values) - 1)))
