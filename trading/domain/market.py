"""What the venue says of the world: instruments, quotes, depth, the account. Records of facts, nothing decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Self

from trading.domain.errors import InvalidRequest
from trading.domain.units import ZERO, Coin, Price, Quantity, Ratio, Usd


@dataclass(frozen=True, slots=True)
class Pair:
    """Two coins, written `A/B`. Their ratio is price(A) / price(B)."""

    base: Coin
    quote: Coin

    @classmethod
    def parse(cls, text: str) -> Self:
        """`"BTC/ETH"` -> Pair; raises InvalidRequest naming `pair`."""
        base, separator, quote = text.strip().partition("/")
        base, quote = base.strip(), quote.strip()
        if not separator or not base or not quote or "/" in quote or len(base) > 32 or len(quote) > 32:
            raise InvalidRequest({"pair": "must be two coins as A/B, such as BTC/ETH"})
        if base == quote:
            raise InvalidRequest({"pair": "must be two different coins"})
        return cls(Coin(base), Coin(quote))

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}"


@dataclass(frozen=True, slots=True)
class Instrument:
    """A perpetual as the venue lists it.

    `quantity_step` is the lot in coins; `price_decimals_max` the most decimals a price may have (Hyperliquid perps: 6 -
    szDecimals); `notional_min` in USD per order; `leverage_max` whole.
    """

    coin: Coin
    quantity_step: Quantity
    price_decimals_max: int
    notional_min: Usd
    leverage_max: int
    delisted: bool = False


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask and the venue's mark, in USD a coin, as last confirmed at `taken_at`; the mark at `marked_at`
    where that is another instant."""

    coin: Coin
    bid: Price
    ask: Price
    mark: Price
    taken_at: datetime
    marked_at: datetime | None = None

    @property
    def mid(self) -> Price:
        return Price((self.bid + self.ask) / 2)

    @property
    def usable(self) -> bool:
        """False for a missing, zero, NaN or crossed price: such a quote is never a reason for anything."""
        bid, ask, mark = self.bid, self.ask, self.mark
        return bid.is_finite() and ask.is_finite() and mark.is_finite() and ZERO < bid <= ask and mark > 0


@dataclass(frozen=True, slots=True)
class Level:
    price: Price
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Depth:
    """The order book of one coin, best first on both sides, as of `taken_at`."""

    coin: Coin
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class Candle:
    """One bar of a coin in USD, which began at `opened_at`; the newest one is still forming."""

    opened_at: datetime
    open: Price
    high: Price
    low: Price
    close: Price


class CandleInterval(StrEnum):
    """How long a bar lasts, in the words that Hyperliquid uses."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    QUARTER = "15m"
    HOUR = "1h"
    FOUR_HOURS = "4h"
    DAY = "1d"

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=_MINUTES[self.value])


_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Holding:
    """What the account holds of a coin: `quantity` signed (positive is long), `entry_price` its average, and
    `mark_price` what the venue values one at, where it says so."""

    coin: Coin
    quantity: Quantity
    entry_price: Price
    liquidation_price: Price | None = None
    mark_price: Price | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The venue account in USD as read at `taken_at`. Coins that are not held have no entry in `holdings`."""

    equity: Usd
    margin_used: Usd
    margin_available: Usd
    maintenance_margin: Usd
    holdings: Mapping[Coin, Holding]
    leverages: Mapping[Coin, int]
    taken_at: datetime

    def held(self, coin: Coin) -> Quantity:
        """Signed quantity of *coin*; zero when there is none."""
        holding = self.holdings.get(coin)
        return holding.quantity if holding is not None else Quantity(ZERO)

    def valuations(self, instruments: Mapping[Coin, Instrument]) -> dict[Coin, Quote]:
        """What is held of coins that trade as the venue values it, as quotes without a spread: enough for an order that
        reduces, whose limit is a band around them. They are dated so that they are fresh to nobody."""
        return {
            coin: Quote(coin, one.mark_price, one.mark_price, one.mark_price, LONG_AGO)
            for coin, one in self.holdings.items()
            if one.mark_price is not None and coin in instruments and not instruments[coin].delisted
        }


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """One hourly funding of one coin. `amount` in USD is positive when paid, negative when received."""

    coin: Coin
    amount: Usd
    quantity: Quantity
    paid_at: datetime


@dataclass(frozen=True, slots=True)
class Traits:
    """What a venue can and cannot do, for the playbook.

    `proves_absence`: an expired order can be shown never to have landed.
    `taker_fee`: what the account pays on each fill, a fraction of its notional. `rests_orders`: trigger orders can rest
    there. `tells_fills`: it tells every fill of the account with what explains it. `sizes_in_coins`: it is told coins
    and never fills more; a venue that is told dollars may be some lots off either way. `keeps_pairs`: it can close a
    pair by itself at a profit or loss. `prices_closes`: a close goes there at a price of the venue's own.
    """

    proves_absence: bool = True
    taker_fee: Ratio = Ratio(Decimal("0.00045"))
    rests_orders: bool = False
    tells_fills: bool = False
    sizes_in_coins: bool = True
    keeps_pairs: bool = False
    prices_closes: bool = False


def ratio_of(base_price: Decimal, quote_price: Decimal) -> Decimal:
    """price(A) / price(B) of a pair `A/B`."""
    return base_price / quote_price
