"""What the exchange lists: perpetuals in each network's order, their margin tiers, a few spot pairs, the price grid.

Names, szDecimals and mainnet's order are those of `tests/recorded/hyperliquid/meta_2023.json`. Testnet has the same
coins under other indices (BTC 3, ETH 4), which is the point: nobody may hard-code one. Spot can be read, not traded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from tests.servers.hyperliquid.words import Row, Unprocessable, text
from trading.adapters.paper_universe import UNIVERSE
from trading.domain.units import Coin

MAX_DECIMALS = 6
SIGNIFICANT_FIGURES = 5

_MAINNET = (
    *("BTC", "ETH", "ATOM", "MATIC", "DYDX", "SOL", "AVAX", "BNB", "APE", "OP", "LTC", "ARB", "DOGE", "INJ", "SUI"),
    *("kPEPE", "CRV", "LDO", "LINK", "STX", "RNDR", "CFX", "FTM", "GMX", "SNX", "XRP", "BCH", "APT"),
)
_TESTNET_FIRST = ("SOL", "APT", "ATOM", "BTC", "ETH", "MATIC", "BNB", "AVAX", "DYDX")
_ORDERS = {
    "mainnet": _MAINNET,
    "testnet": _TESTNET_FIRST + tuple(name for name in _MAINNET if name not in _TESTNET_FIRST),
}
_DELISTED = frozenset({"MATIC"})


@dataclass(frozen=True, slots=True)
class Tier:
    """From this notional in USD on, this much leverage."""

    lower_bound: Decimal
    max_leverage: int


# Mainnet's tables of 2026-09; an id below 50 is a table with one tier of that leverage.
MARGIN_TABLES = {
    54: ("tiered 20x", (Tier(Decimal(0), 20), Tier(Decimal(70_000_000), 10))),
    55: ("tiered 25x", (Tier(Decimal(0), 25), Tier(Decimal(100_000_000), 15))),
    56: ("tiered 40x", (Tier(Decimal(0), 40), Tier(Decimal(150_000_000), 20))),
}
_TABLE_OF = {"BTC": 56, "ETH": 55, "SOL": 54}


@dataclass(frozen=True, slots=True)
class Listing:
    """One perpetual as `meta` describes it. `margin_table` below 50 is that leverage flat."""

    coin: str
    size_decimals: int
    max_leverage: int
    margin_table: int
    only_isolated: bool = False
    delisted: bool = False

    @property
    def lot(self) -> Decimal:
        return Decimal(1).scaleb(-self.size_decimals)

    @property
    def price_decimals(self) -> int:
        return MAX_DECIMALS - self.size_decimals

    @property
    def tiers(self) -> tuple[Tier, ...]:
        if self.margin_table in MARGIN_TABLES:
            return MARGIN_TABLES[self.margin_table][1]
        return (Tier(Decimal(0), self.max_leverage),)

    def maintenance(self, notional: Decimal) -> Decimal:
        """Half the initial margin at the tier's maximum leverage, with the deductions that make tiers continuous."""
        deduction = Decimal(0)
        for before, tier in pairwise(self.tiers):
            if notional < tier.lower_bound:
                return notional * maintenance_rate(before) - deduction
            deduction += tier.lower_bound * (maintenance_rate(tier) - maintenance_rate(before))
        return notional * maintenance_rate(self.tiers[-1]) - deduction

    def maintenance_rate_at(self, notional: Decimal) -> Decimal:
        return maintenance_rate([tier for tier in self.tiers if tier.lower_bound <= notional][-1])

    def meta(self) -> Row:
        row: Row = {
            "szDecimals": self.size_decimals,
            "name": self.coin,
            "maxLeverage": self.max_leverage,
            "marginTableId": self.margin_table,
        }
        if self.only_isolated:
            row |= {"onlyIsolated": True, "marginMode": "strictIsolated"}
        return {**row, "isDelisted": True} if self.delisted else row

    def tick(self, price: Decimal) -> Decimal:
        """The distance of legal prices around *price*: five significant figures, 6 - szDecimals decimals, at most 1."""
        by_figures = price.adjusted() - (SIGNIFICANT_FIGURES - 1)
        return Decimal(1).scaleb(min(0, max(by_figures, -self.price_decimals)))

    def legal_price(self, price: Decimal) -> bool:
        return price % self.tick(price) == 0

    def legal_size(self, size: Decimal) -> bool:
        return size % self.lot == 0

    def on_grid(self, price: Decimal, rounding: str) -> Decimal:
        """*price* on the grid; again when the rounding crossed a power of ten and with it changed the tick."""
        once = price.quantize(self.tick(price), rounding)
        return once.quantize(self.tick(once), rounding)


def maintenance_rate(tier: Tier) -> Decimal:
    return 1 / Decimal(2 * tier.max_leverage)


def default_listings(network: str) -> tuple[Listing, ...]:
    """The perpetuals of *network* (`mainnet` or `testnet`) in its order."""
    return tuple(_listing(name) for name in _ORDERS[network])


def _listing(name: str) -> Listing:
    paper = UNIVERSE[Coin(name)]
    table = _TABLE_OF.get(name, paper.leverage_max)
    return Listing(name, paper.size_decimals, paper.leverage_max, table, delisted=name in _DELISTED)


class Universe:
    """The perpetuals by name and by asset id; grows when a test lists another coin, never compacts."""

    def __init__(self, listings: Sequence[Listing]) -> None:
        self.listings = list(listings)

    def add(self, listing: Listing) -> int:
        """List another coin at the end and return its asset id."""
        self.listings.append(listing)
        return len(self.listings) - 1

    def replace(self, listing: Listing) -> None:
        """Change a listed coin in its place: delist it, lower its leverage."""
        self.listings[self.asset(listing.coin)] = listing

    def asset(self, coin: str) -> int:
        """The asset id; raises KeyError for a coin that is not listed."""
        for index, listing in enumerate(self.listings):
            if listing.coin == coin:
                return index
        raise KeyError(coin)

    def lists(self, coin: str) -> bool:
        return any(listing.coin == coin for listing in self.listings)

    def of(self, coin: str) -> Listing:
        return self.listings[self.asset(coin)]

    def meta(self) -> Row:
        tables: list[object] = []
        for number, (description, tiers) in MARGIN_TABLES.items():
            rows = [{"lowerBound": text(tier.lower_bound), "maxLeverage": tier.max_leverage} for tier in tiers]
            tables.append([number, {"description": description, "marginTiers": rows}])
        return {
            "universe": [listing.meta() for listing in self.listings],
            "marginTables": tables,
            "collateralToken": 0,
        }


def need_main_dex(dex: object) -> None:
    """Raises Unprocessable for any perp dex but the main one, which is called "" or not at all."""
    if dex not in (None, ""):
        raise Unprocessable("unknown perp dex")


def _token(name: str, size_decimals: int, index: int) -> Row:
    return {
        "name": name,
        "szDecimals": size_decimals,
        "weiDecimals": 8,
        "index": index,
        "tokenId": f"0x{index + 1:032x}",
        "isCanonical": index < 2,
        "evmContract": None,
        "fullName": None,
        "deployerTradingFeeShare": "0.0",
    }


# Sparse on purpose: tokens and pairs are found by `index`, never by position.
SPOT_META: Row = {
    "tokens": [_token("USDC", 8, 0), _token("PURR", 0, 1), _token("HYPE", 2, 150)],
    "universe": [
        {"tokens": [1, 0], "name": "PURR/USDC", "index": 0, "isCanonical": True},
        {"tokens": [150, 0], "name": "@107", "index": 107, "isCanonical": False},
    ],
}
SPOT_PRICES = {"PURR/USDC": Decimal("0.18"), "@107": Decimal("35.2")}
