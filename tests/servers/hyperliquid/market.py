"""The markets: a book around a mid, a mark and an oracle price a coin, scripted by a test or fed by the demo market.

Mid, mark and oracle are three separate inputs. A scripted market stands still until it is told otherwise; its book
refills after every fill unless `refill` is off. A fed market is read anew when it is looked at, five times a second at
most, until a test scripts it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Protocol

from tests.servers.hyperliquid.universe import Listing
from tests.servers.hyperliquid.words import HOUR_MS, ZERO, Row, instant, rounded, text
from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_universe import UNIVERSE
from trading.domain.units import Coin, floor_to_step

LEVELS = 20
REMEMBERED_MIDS = 5_000
REMEMBERED_TRADES = 100
FEED_STEP_MS = 200
MINUTE_MS = 60_000
BASIS_POINT = Decimal("0.0001")
BASELINE_FUNDING = Decimal("0.0000125")
INTERVALS_MS = {
    **{f"{n}m": n * MINUTE_MS for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * HOUR_MS for n in (1, 2, 4, 8, 12)},
    "1d": 24 * HOUR_MS,
    "3d": 72 * HOUR_MS,
    "1w": 168 * HOUR_MS,
    "1M": 720 * HOUR_MS,
}
CANDLES_MAX = 5_000
USD_DECIMALS = 6


@dataclass(slots=True)
class Level:
    """What rests at one price. Fills take from it, unless the book refills."""

    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True)
class View:
    """A market at one moment, best prices first."""

    mid: Decimal
    mark: Decimal
    oracle: Decimal
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]


class Feed(Protocol):
    """A market that moves by itself."""

    def lists(self, coin: str) -> bool: ...

    def view(self, coin: str, at_ms: int) -> View: ...

    def mid(self, coin: str, at_ms: int) -> Decimal: ...

    def funding_rate(self, coin: str, at_ms: int) -> Decimal: ...


class PaperFeed:
    """The demo market as a feed: the same prices as the paper venue of that seed."""

    def __init__(self, seed: int) -> None:
        self._paper = PaperMarket(seed)

    def lists(self, coin: str) -> bool:
        return coin in UNIVERSE and not UNIVERSE[Coin(coin)].delisted

    def view(self, coin: str, at_ms: int) -> View:
        name, at = Coin(coin), instant(at_ms)
        depth = self._paper.depth(name, at)
        return View(
            self._paper.mid(name, at),
            self._paper.mark(name, at),
            self._paper.mark(name, at),
            tuple((level.price, level.quantity) for level in depth.bids),
            tuple((level.price, level.quantity) for level in depth.asks),
        )

    def mid(self, coin: str, at_ms: int) -> Decimal:
        return self._paper.mid(Coin(coin), instant(at_ms))

    def funding_rate(self, coin: str, at_ms: int) -> Decimal:
        return self._paper.funding_rate(Coin(coin), instant(at_ms))


@dataclass(slots=True)
class Market:
    """One coin's market. `depth_usd` is what rests on each side, spread evenly over the levels."""

    listing: Listing
    mid: Decimal
    mark: Decimal
    oracle: Decimal
    spread_bps: Decimal = Decimal(1)
    gap_bps: Decimal = Decimal(1)
    depth_usd: Decimal = Decimal(4_000_000)
    refill: bool = True
    funding_rate: Decimal = BASELINE_FUNDING
    premium: Decimal = ZERO
    feed: Feed | None = None
    bids: list[Level] = field(default_factory=list)
    asks: list[Level] = field(default_factory=list)
    built: bool = False
    fed_at_ms: int = -FEED_STEP_MS
    mids: deque[tuple[int, Decimal]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_MIDS))
    past: tuple[Decimal, ...] = ()
    """What the minutes before the first remembered mid went through, over and over; nothing: it stood still."""
    trades: deque[Row] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TRADES))
    volume_usd: Decimal = ZERO

    def refresh(self, now_ms: int) -> bool:
        """Build the first book, read the feed if it is time to; True when the market may have moved."""
        if not self.built:
            self.build_book()
        if self.feed is None or now_ms - self.fed_at_ms < FEED_STEP_MS:
            return False
        view = self.feed.view(self.listing.coin, now_ms)
        self.mid, self.mark, self.oracle = view.mid, view.mark, view.oracle
        self.bids = [Level(price, size) for price, size in view.bids]
        self.asks = [Level(price, size) for price, size in view.asks]
        self.funding_rate = self.feed.funding_rate(self.listing.coin, now_ms - now_ms % HOUR_MS)
        self.fed_at_ms = now_ms
        return True

    def build_book(self) -> None:
        """The synthetic ladder around the mid: rounded away from it, so that bid and ask never meet."""
        self.built = True
        half = self.mid * self.spread_bps * BASIS_POINT / 2
        self.bids = self._side(self.mid - half, -1)
        self.asks = self._side(self.mid + half, 1)

    def _side(self, touch: Decimal, sign: int) -> list[Level]:
        rounding = ROUND_FLOOR if sign < 0 else ROUND_CEILING
        levels: list[Level] = []
        price = self.listing.on_grid(touch, rounding)
        for _ in range(LEVELS if self.depth_usd > 0 else 0):
            if price <= 0:
                break
            lots = floor_to_step(self.depth_usd / LEVELS / price, self.listing.lot)
            levels.append(Level(price, max(lots, self.listing.lot)))
            step = max(self.mid * self.gap_bps * BASIS_POINT, self.listing.tick(price))
            price = self.listing.on_grid(price + sign * step, rounding)
        return levels

    def remember(self, now_ms: int) -> None:
        if not self.mids or self.mids[-1][1] != self.mid:
            self.mids.append((now_ms, self.mid))

    def live_through(self, mids: Sequence[Decimal], now_ms: int) -> None:
        """Before now each minute stood at the next of *mids*, over and over, whatever was remembered."""
        self.past = tuple(mids)
        self.mids.clear()
        self.remember(now_ms)

    def shown_mid(self) -> str:
        """The mid as `allMids` writes it: one digit finer than the price grid."""
        return text(self.mid.quantize(self.listing.tick(self.mid) / 10, ROUND_HALF_EVEN).normalize())

    def mid_at(self, at_ms: int) -> Decimal:
        if self.feed is not None:
            return self.feed.mid(self.listing.coin, at_ms)
        known = [mid for moment, mid in self.mids if moment <= at_ms]
        if known:
            return known[-1]
        if self.past:
            return self.past[at_ms // MINUTE_MS % len(self.past)]
        return self.mids[0][1] if self.mids else self.mid

    def extremes(self, start_ms: int, end_ms: int) -> list[Decimal]:
        """Mids inside a bar, its ends included."""
        inside = [self.mid_at(start_ms), self.mid_at(end_ms)]
        if self.feed is not None:
            return [*inside, self.mid_at((start_ms + end_ms) // 2)]
        return inside + [mid for moment, mid in self.mids if start_ms <= moment <= end_ms]

    def candle(self, interval: str, start_ms: int, now_ms: int) -> Row:
        """The bar that starts at *start_ms*; `T` is its last millisecond, a bar that has not ended is still forming."""
        end_ms = start_ms + INTERVALS_MS[interval] - 1
        inside = self.extremes(start_ms, min(end_ms, now_ms))
        prices = [price.quantize(self.listing.tick(price), ROUND_HALF_EVEN) for price in inside]
        return {
            "t": start_ms,
            "T": end_ms,
            "s": self.listing.coin,
            "i": interval,
            "o": text(prices[0]),
            "c": text(prices[1]),
            "h": text(max(prices)),
            "l": text(min(prices)),
            "v": "0.0",
            "n": 0,
        }

    def candles(self, interval: str, start_ms: int, end_ms: int, now_ms: int) -> list[Row]:
        width = INTERVALS_MS[interval]
        last = min(end_ms, now_ms) // width * width
        first = max(start_ms // width * width, last - (CANDLES_MAX - 1) * width)
        return [self.candle(interval, start, now_ms) for start in range(first, last + 1, width)]

    def context(self) -> Row:
        """The coin's row in `metaAndAssetCtxs`."""
        impact = [text(self.bids[0].price), text(self.asks[0].price)] if self.bids and self.asks else None
        return {
            "funding": text(self.funding_rate),
            "openInterest": "1000.0",
            "prevDayPx": text(rounded(self.mids[0][1] if self.mids else self.mid, USD_DECIMALS)),
            "dayNtlVlm": text(self.volume_usd),
            "premium": text(self.premium) if impact else None,
            "oraclePx": text(rounded(self.oracle, USD_DECIMALS)),
            "markPx": text(rounded(self.mark, USD_DECIMALS)),
            "midPx": self.shown_mid() if impact else None,
            "impactPxs": impact,
            "dayBaseVlm": text(self.volume_usd / self.mid if self.mid else ZERO),
        }


def synthetic(listing: Listing, feed: Feed | None) -> Market:
    """A market at the coin's usual price, fed if the feed knows the coin."""
    known = UNIVERSE.get(Coin(listing.coin))
    price = known.base_price if known is not None else Decimal(100)
    return Market(listing, price, price, price, feed=feed if feed is not None and feed.lists(listing.coin) else None)
