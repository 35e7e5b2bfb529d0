"""The coins of the paper venue: what is listed, at which lots and leverage, and how lively each is.

Names and szDecimals are those of Hyperliquid's mainnet as recorded in `tests/cassettes` of
hyperliquid-dex/hyperliquid-python-sdk (the answers to `meta` and `allMids`, 2023; MIT licence). The maximum leverages
are lower than the 50 recorded there, after the venue's later tiers (40 BTC, 25 ETH, 20 SOL, less for the rest). The
prices are plausible, not live: the recorded ones for coins that moved little, later ones for the others. Liveliness,
spread and depth are made up, see docs/adr/0030.
"""

from dataclasses import dataclass
from decimal import Decimal

from trading.domain.market import Instrument
from trading.domain.units import Coin, Quantity, Usd

PRICE_DECIMALS = 6
NOTIONAL_MIN_USD = Usd(Decimal(10))


@dataclass(frozen=True, slots=True)
class PaperCoin:
    """One coin. `own_sigma` is the standard deviation of its own log price; `depth_usd` rests on each side."""

    coin: Coin
    size_decimals: int
    leverage_max: int
    base_price: Decimal
    own_sigma: float
    half_spread_bps: Decimal
    depth_usd: Decimal
    delisted: bool = False

    @property
    def instrument(self) -> Instrument:
        return Instrument(
            coin=self.coin,
            quantity_step=Quantity(Decimal(1).scaleb(-self.size_decimals)),
            price_decimals_max=PRICE_DECIMALS - self.size_decimals,
            notional_min=NOTIONAL_MIN_USD,
            leverage_max=self.leverage_max,
            delisted=self.delisted,
        )


def _coin(
    name: str,
    size_decimals: int,
    leverage_max: int,
    price: str,
    own_percent: float,
    half_spread_bps: str,
    depth_usd: int,
) -> PaperCoin:
    return PaperCoin(
        Coin(name),
        size_decimals,
        leverage_max,
        Decimal(price),
        own_percent / 100,
        Decimal(half_spread_bps),
        Decimal(depth_usd),
    )


# Coin, szDecimals, maximum leverage, price, own sigma in percent, half spread in basis points, depth in USD.
_LISTED = (
    _coin("BTC", 5, 40, "92000", 0.07, "0.5", 20_000_000),
    _coin("ETH", 4, 25, "3100", 0.09, "0.5", 12_000_000),
    _coin("SOL", 2, 20, "145", 2.20, "1", 2_500_000),
    _coin("AVAX", 2, 10, "14.5", 2.40, "1.5", 700_000),
    _coin("DOGE", 0, 10, "0.16", 1.90, "1", 1_000_000),
    _coin("LINK", 1, 10, "13.4", 1.95, "1.5", 700_000),
    _coin("ARB", 1, 10, "0.42", 2.05, "2", 450_000),
    _coin("OP", 1, 10, "0.55", 2.10, "2", 450_000),
    _coin("SUI", 1, 10, "1.62", 2.00, "1.5", 800_000),
    _coin("APT", 2, 10, "7.77", 1.90, "2", 450_000),
    _coin("INJ", 1, 10, "9.32", 2.15, "2", 400_000),
    _coin("LTC", 2, 10, "91.8", 1.45, "1.5", 600_000),
    _coin("BCH", 3, 10, "480", 1.45, "1.5", 600_000),
    _coin("BNB", 3, 10, "870", 0.95, "1", 1_200_000),
    _coin("XRP", 0, 20, "2.1", 1.55, "1", 1_500_000),
    _coin("ATOM", 2, 5, "9.33", 1.80, "2.5", 300_000),
    _coin("DYDX", 1, 5, "2.11", 2.15, "2.5", 250_000),
    _coin("LDO", 1, 5, "2.04", 2.15, "2.5", 250_000),
    _coin("CRV", 1, 10, "0.79", 2.10, "2", 300_000),
    _coin("STX", 1, 5, "0.62", 2.15, "3", 200_000),
    _coin("kPEPE", 0, 10, "0.0156", 2.30, "2", 500_000),
    _coin("CFX", 0, 5, "0.18", 2.30, "3", 150_000),
    _coin("GMX", 2, 3, "15.8", 2.05, "3", 150_000),
    _coin("SNX", 1, 3, "2.62", 2.15, "3", 150_000),
    _coin("APE", 1, 5, "1.96", 2.15, "3", 150_000),
    _coin("FTM", 0, 5, "0.26", 2.20, "3", 150_000),
    _coin("RNDR", 1, 5, "1.94", 2.15, "3", 200_000),
)
_DELISTED = (
    PaperCoin(
        Coin("MATIC"), 1, 10, Decimal("0.77"), 0.0, Decimal(3), Decimal(0), delisted=True
    ),  # delisted on mainnet too
)

UNIVERSE = {one.coin: one for one in (*_LISTED, *_DELISTED)}
INSTRUMENTS = {one.coin: one.instrument for one in UNIVERSE.values()}
