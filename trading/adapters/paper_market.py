"""The paper venue's market: prices, depth and funding rates as a pure function of seed, coin and instant.

Nothing is drawn and nothing is remembered, so every process sees the same market and any moment can be looked at again.

    mid(coin, t) = base * exp(common(t) + own(coin, t))

`common` is shared by all coins and slow; `own` pulls back to zero with a half-life of ninety seconds, so the ratio of
two coins always returns to its mean, and now and then runs away further first. Only +, -, *, / and square roots touch
floats (IEEE 754 fixes those to the bit) and the exponential is Decimal's, which is correctly rounded: no machine
disagrees with another.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

from trading.adapters.paper_universe import INSTRUMENTS, UNIVERSE, PaperCoin
from trading.domain.market import Candle, CandleInterval, Depth, Instrument, Level, Pair, Quote, ratio_of
from trading.domain.units import ZERO, Coin, Price, Quantity, floor_to_step

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBERS_PER_HASH = 16
_UNIFORM_SIGMA = math.sqrt(12.0)

HALF_LIFE_SECONDS = 90
OWN_STEP_SECONDS = 5
_HALF_LIVES_REMEMBERED = 10
# 0.5 ** (5 / 90): what is left of a deviation after one step. A literal, because not every libm rounds powers alike.
_PERSISTENCE = 0.9622238368941451
_INNOVATION_SIGMA = math.sqrt(1.0 - _PERSISTENCE * _PERSISTENCE)
_MEMORY = HALF_LIFE_SECONDS // OWN_STEP_SECONDS * _HALF_LIVES_REMEMBERED

# Swell of the whole market as (seconds between turning points, standard deviation there): together about 2.5 % a day.
_COMMON_WAVES = ((86_400, 0.016), (21_600, 0.007), (3_600, 0.003), (600, 0.001))

MARK_LAG_SECONDS = (0, 1, 2)
SIGNIFICANT_FIGURES = 5
_MID_FIGURES = 9
_EXACT = Context(prec=28, rounding=ROUND_HALF_EVEN)

LEVELS = 20
CANDLES_MAX = 5_000
MIDS_OF_A_CANDLE = 5
_REACH_BPS = Decimal(120)
_FUNDING_RATE_MEAN = Decimal("0.0000125")  # an hour; Hyperliquid's baseline
_FUNDING_RATE_SWING = Decimal("0.0000150")
_CACHED_HASHES = 32_768
_CACHED_POINTS = 16_384


def _powers(base: float, count: int) -> tuple[float, ...]:
    powers = [1.0]
    while len(powers) < count:
        powers.append(powers[-1] * base)
    return tuple(powers)


_WEIGHTS = tuple(_INNOVATION_SIGMA * power for power in _powers(_PERSISTENCE, _MEMORY))
# Levels lie closer together at the touch and carry more further out. The first gap, 1.4 basis points, is wider than any
# tick, so no two levels meet on one price.
_LEVEL_OFFSETS = tuple(
    _REACH_BPS * Decimal(i) / (LEVELS - 1) * (Decimal(i) / (LEVELS - 1)).sqrt(_EXACT) / 10_000 for i in range(LEVELS)
)
_LEVEL_SHARES = tuple(Decimal(4 + i) / sum(4 + j for j in range(LEVELS)) for i in range(LEVELS))


@lru_cache(maxsize=_CACHED_HASHES)
def _numbers(seed: int, stream: str, block: int) -> tuple[float, ...]:
    """Sixteen numbers of mean 0 and standard deviation 1, uniform, that depend on the arguments alone."""
    digest = hashlib.blake2b(f"{seed}\x1f{stream}\x1f{block}".encode(), digest_size=4 * _NUMBERS_PER_HASH).digest()
    words = (int.from_bytes(digest[i : i + 4], "big") for i in range(0, len(digest), 4))
    return tuple((word / 4294967296.0 - 0.5) * _UNIFORM_SIGMA for word in words)


def _number(seed: int, stream: str, index: int) -> float:
    block, place = divmod(index, _NUMBERS_PER_HASH)
    return _numbers(seed, stream, block)[place]


@lru_cache(maxsize=_CACHED_POINTS)
def _own_point(seed: int, coin: Coin, step: int) -> float:
    """The mean-reverting path on its grid, in standard deviations: an AR(1) as the sum of its last innovations."""
    stream = f"own:{coin}"
    first_block, last_block = (step - _MEMORY + 1) // _NUMBERS_PER_HASH, step // _NUMBERS_PER_HASH
    run: list[float] = []
    for block in range(first_block, last_block + 1):
        run.extend(_numbers(seed, stream, block))
    newest = step - first_block * _NUMBERS_PER_HASH
    # fsum, for the built-in sum adds floats differently from one Python to the next.
    return math.fsum(weight * run[newest - age] for age, weight in enumerate(_WEIGHTS))


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _between(microseconds: int, step_seconds: int) -> tuple[int, float]:
    """The grid point before an instant and how far on towards the next it is, in [0, 1)."""
    step, rest = divmod(microseconds, step_seconds * 1_000_000)
    return step, rest / (step_seconds * 1_000_000)


def _common(seed: int, microseconds: int) -> float:
    waves = []
    for seconds, sigma in _COMMON_WAVES:
        step, way = _between(microseconds, seconds)
        eased = way * way * (3.0 - 2.0 * way)
        before, after = _number(seed, f"common:{seconds}", step), _number(seed, f"common:{seconds}", step + 1)
        waves.append(sigma * (before + (after - before) * eased))
    return math.fsum(waves)


def _own(seed: int, one: PaperCoin, microseconds: int) -> float:
    step, way = _between(microseconds, OWN_STEP_SECONDS)
    before, after = _own_point(seed, one.coin, step), _own_point(seed, one.coin, step + 1)
    return one.own_sigma * (before + (after - before) * way)


def price_tick(price: Decimal, instrument: Instrument) -> Decimal:
    """The distance between legal prices around *price*.

    Five significant figures, at most the instrument's decimals, integers always legal (Hyperliquid documentation, tick
    and lot size).
    """
    by_figures = price.adjusted() - (SIGNIFICANT_FIGURES - 1)
    return Decimal(1).scaleb(min(0, max(by_figures, -instrument.price_decimals_max)))


def on_price_grid(price: Decimal, instrument: Instrument) -> bool:
    """True when *price* is positive and legal for *instrument*."""
    return price.is_finite() and price > 0 and price % price_tick(price, instrument) == 0


def _floored(price: Decimal, instrument: Instrument) -> Price:
    return Price(price.quantize(price_tick(price, instrument), ROUND_FLOOR))


def _ceiled(price: Decimal, instrument: Instrument) -> Price:
    return Price(price.quantize(price_tick(price, instrument), ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a book: away from the mid is down for bids, up for asks."""

    stream: str
    sign: int

    def priced(self, mid: Decimal, offset: Decimal, instrument: Instrument) -> Price:
        price = mid * (1 + self.sign * offset)
        return _floored(price, instrument) if self.sign < 0 else _ceiled(price, instrument)


_BIDS, _ASKS = _Side("bids", -1), _Side("asks", 1)


class PaperMarket:
    """The market of one seed. Coins must be listed; prices exist for every instant, also of delisted coins."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def coins(self) -> tuple[Coin, ...]:
        """The coins that may be traded, in the order of listing."""
        return tuple(one.coin for one in UNIVERSE.values() if not one.delisted)

    def mid(self, coin: Coin, at: datetime) -> Price:
        """The middle of the book in USD, finer than the price grid."""
        moment = _microseconds(at)
        return self._priced(coin, _common(self.seed, moment) + _own(self.seed, UNIVERSE[coin], moment))

    def mark(self, coin: Coin, at: datetime) -> Price:
        """What margin and unrealized profit count at: the mid's log average over two seconds, on the price grid."""
        one, moment = UNIVERSE[coin], _microseconds(at)
        moments = [moment - lag * 1_000_000 for lag in MARK_LAG_SECONDS]
        logs = [_common(self.seed, then) + _own(self.seed, one, then) for then in moments]
        price = self._priced(coin, math.fsum(logs) / len(logs))
        return Price(price.quantize(price_tick(price, INSTRUMENTS[coin]), ROUND_HALF_EVEN))

    def quote(self, coin: Coin, at: datetime) -> Quote:
        """Bid rounded down and ask rounded up to the price grid, so that they never meet."""
        mid, half = self.mid(coin, at), _half_spread(UNIVERSE[coin])
        instrument = INSTRUMENTS[coin]
        bid, ask = _BIDS.priced(mid, half, instrument), _ASKS.priced(mid, half, instrument)
        return Quote(coin, bid, ask, self.mark(coin, at), at)

    def depth(self, coin: Coin, at: datetime) -> Depth:
        """Twenty levels a side, out to about 1.2 % from the mid. The book refills at once: a fill leaves no hole."""
        return Depth(coin, self._levels(coin, at, _BIDS), self._levels(coin, at, _ASKS), at)

    def candles(self, coin: Coin, interval: CandleInterval, start: datetime, until: datetime) -> tuple[Candle, ...]:
        """The bars that began in [start, until], the newest CANDLES_MAX of them; the last one ends at *until* so far.

        High and low are those of a few mids within the bar: between two turns of its waves the path is smooth.
        """
        length = interval.length
        first = max(-((_EPOCH - start) // length), (until - _EPOCH) // length - CANDLES_MAX + 1)
        opened = [_EPOCH + length * number for number in range(first, (until - _EPOCH) // length + 1)]
        return tuple(self._candle(coin, at, min(at + length, until)) for at in opened)

    def _candle(self, coin: Coin, opened_at: datetime, closed_at: datetime) -> Candle:
        step = (closed_at - opened_at) / (MIDS_OF_A_CANDLE - 1)
        mids = [self.mid(coin, opened_at + step * number) for number in range(MIDS_OF_A_CANDLE)]
        return Candle(opened_at, mids[0], max(mids), min(mids), mids[-1])

    def spread(self, pair: Pair, at: datetime) -> Decimal:
        """price(A) / price(B) - 1 of the mids."""
        return ratio_of(self.mid(pair.base, at), self.mid(pair.quote, at)) - 1

    def zscore(self, pair: Pair, at: datetime) -> Decimal:
        """The deviation of the pair's log ratio in standard deviations, above zero when A is rich; four decimals."""
        base, quote, moment = UNIVERSE[pair.base], UNIVERSE[pair.quote], _microseconds(at)
        deviation = _own(self.seed, base, moment) - _own(self.seed, quote, moment)
        variance = base.own_sigma * base.own_sigma + quote.own_sigma * quote.own_sigma
        if variance == 0.0:
            return ZERO
        return Decimal(repr(deviation / math.sqrt(variance))).quantize(Decimal("0.0001"), ROUND_HALF_EVEN)

    def funding_rate(self, coin: Coin, hour: datetime) -> Decimal:
        """The rate of the payment on that hour, a fraction of notional: longs pay a positive one."""
        index = _microseconds(hour) // 3_600_000_000
        swing = Decimal(repr(_number(self.seed, f"funding:{coin}", index) / _UNIFORM_SIGMA * 2.0))
        rate = _FUNDING_RATE_MEAN + _FUNDING_RATE_SWING * swing
        return rate.quantize(Decimal("0.0000000001"), ROUND_HALF_EVEN)

    def _priced(self, coin: Coin, log: float) -> Price:
        price = UNIVERSE[coin].base_price * _EXACT.exp(Decimal(repr(log)))
        return Price(price.quantize(Decimal(1).scaleb(price.adjusted() - _MID_FIGURES + 1), ROUND_HALF_EVEN))

    def _levels(self, coin: Coin, at: datetime, side: _Side) -> tuple[Level, ...]:
        one, instrument, mid = UNIVERSE[coin], INSTRUMENTS[coin], self.mid(coin, at)
        sizes = self._sizes(one, at, side)
        levels: list[Level] = []
        for offset, usd in zip(_LEVEL_OFFSETS, sizes, strict=True):
            price = side.priced(mid, _half_spread(one) + offset, instrument)
            lots = max(floor_to_step(usd / price, instrument.quantity_step), instrument.quantity_step)
            levels.append(Level(price, Quantity(lots)))
        return tuple(levels)

    def _sizes(self, one: PaperCoin, at: datetime, side: _Side) -> Sequence[Decimal]:
        """USD per level, each within a third of its share, changing by the second."""
        second = _microseconds(at) // 1_000_000
        stream = f"{side.stream}:{one.coin}"
        wobble = [_number(self.seed, stream, second * 32 + i) / _UNIFORM_SIGMA for i in range(LEVELS)]
        return [
            one.depth_usd * share * (1 + Decimal(repr(part)) * 2 / 3)
            for share, part in zip(_LEVEL_SHARES, wobble, strict=True)
        ]


def _half_spread(one: PaperCoin) -> Decimal:
    return one.half_spread_bps / 10_000
