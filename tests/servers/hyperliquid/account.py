"""An account's money: positions, margin, liquidation prices and the rows in which the exchange shows them.

The identities are those of the recorded accounts (`tests/recorded/hyperliquid/clearinghouseState_*`):

    accountValue = raw + sum(size x mark)            raw is what buying took and selling gave, fees and funding included
    marginUsed   = |size| x mark / leverage          isolated: raw of the position + size x mark
    liquidation  = mark - side x available / |size| / (1 - l x side)      available = accountValue - maintenance
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from tests.servers.hyperliquid.orders import Order
from tests.servers.hyperliquid.universe import Listing
from tests.servers.hyperliquid.words import ZERO, Row, rounded, text

USD_DECIMALS = 6
SHOWN_DECIMALS = 10
FREE_REQUESTS = 10_000
ORDERS_KEPT = 2_500
FILLS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Leverage:
    value: int
    is_cross: bool = True


@dataclass(slots=True)
class Position:
    """What is held of one coin: `size` signed, `entry_notional` what it cost, unsigned. `raw` is for isolated ones."""

    listing: Listing
    size: Decimal
    entry_notional: Decimal
    leverage: Leverage
    raw: Decimal = ZERO
    funding_all_time: Decimal = ZERO
    funding_since_open: Decimal = ZERO
    funding_since_change: Decimal = ZERO

    @property
    def entry(self) -> Decimal:
        return self.entry_notional / abs(self.size)

    def value(self, mark: Decimal) -> Decimal:
        return abs(self.size) * mark

    def unrealized(self, mark: Decimal) -> Decimal:
        return self.size * mark - self.entry_notional.copy_sign(self.size)

    def margin_used(self, mark: Decimal) -> Decimal:
        if self.leverage.is_cross:
            return self.value(mark) / self.leverage.value
        return self.raw + self.size * mark

    def maintenance(self, mark: Decimal) -> Decimal:
        return self.listing.maintenance(self.value(mark))


@dataclass(slots=True)
class Account:
    """One address's perpetuals account. `raw` is the cross account's raw USD; a flat account's equity is just that."""

    address: str
    raw: Decimal = ZERO
    positions: dict[str, Position] = field(default_factory=dict)
    leverages: dict[str, Leverage] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    cloids: dict[str, Order] = field(default_factory=dict)
    live: dict[int, Order] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    fills: list[Row] = field(default_factory=list)
    fundings: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    builder_fees: dict[str, int] = field(default_factory=dict)
    abstraction: str = "default"
    volume: Decimal = ZERO
    requests_used: int = 0
    cancel_all_at: int | None = None
    taker_fee: Decimal = Decimal("0.00045")
    maker_fee: Decimal = Decimal("0.00015")
    last_limited_ms: int = 0

    @property
    def requests_cap(self) -> int:
        return FREE_REQUESTS + int(self.volume)

    @property
    def unified(self) -> bool:
        return self.abstraction in ("unifiedAccount", "portfolioMargin")

    def held(self, coin: str) -> Decimal:
        position = self.positions.get(coin)
        return position.size if position is not None else ZERO

    def leverage_of(self, listing: Listing) -> Leverage:
        """As set, else the exchange's default of 20x cross, within what the coin allows."""
        default = Leverage(min(20, listing.max_leverage), not listing.only_isolated)
        return self.leverages.get(listing.coin, default)

    def live_orders(self, coin: str | None = None) -> list[Order]:
        return [one for one in self.live.values() if coin in (None, one.coin)]

    def keep(self, order: Order) -> None:
        """Remember a new order under its id and its cloid; the oldest ended one is forgotten beyond the limit."""
        self.orders[order.oid] = self.live[order.oid] = order
        if order.cloid is not None:
            self.cloids[order.cloid] = order
        if len(self.orders) > ORDERS_KEPT:
            oldest = next(one for one in self.orders.values() if not one.live)
            del self.orders[oldest.oid]
            if oldest.cloid is not None and self.cloids[oldest.cloid] is oldest:
                del self.cloids[oldest.cloid]

    def by_cloid(self, cloid: str) -> Order | None:
        """The latest owner of *cloid*."""
        return self.cloids.get(cloid)

    def find(self, target: int | str) -> Order | None:
        return self.by_cloid(target) if isinstance(target, str) else self.orders.get(target)


@dataclass(frozen=True, slots=True)
class Standing:
    """What an account is worth at given marks. `hold` is what resting orders reserve."""

    cross_value: Decimal
    cross_notional: Decimal
    cross_margin: Decimal
    cross_maintenance: Decimal
    isolated_value: Decimal
    isolated_notional: Decimal
    hold: Decimal
    unrealized: Decimal

    @property
    def equity(self) -> Decimal:
        return self.cross_value + self.isolated_value

    @property
    def available(self) -> Decimal:
        return self.cross_value - self.cross_margin - self.hold


def standing(account: Account, mark_of: Callable[[str], Decimal]) -> Standing:
    # Asking for a mark may bring the market up to date and fire a trigger: first the marks, then the positions.
    marks = {coin: mark_of(coin) for coin in tuple(account.positions)}
    cross = [(one, marks[coin]) for coin, one in account.positions.items() if one.leverage.is_cross]
    isolated = [(one, marks[coin]) for coin, one in account.positions.items() if not one.leverage.is_cross]
    return Standing(
        cross_value=account.raw + sum((one.size * mark for one, mark in cross), ZERO),
        cross_notional=sum((one.value(mark) for one, mark in cross), ZERO),
        cross_margin=sum((one.margin_used(mark) for one, mark in cross), ZERO),
        cross_maintenance=sum((one.maintenance(mark) for one, mark in cross), ZERO),
        isolated_value=sum((one.margin_used(mark) for one, mark in isolated), ZERO),
        isolated_notional=sum((one.value(mark) for one, mark in isolated), ZERO),
        hold=sum((_hold(account, one) for one in account.live_orders() if one.resting), ZERO),
        unrealized=sum((one.unrealized(mark) for one, mark in cross + isolated), ZERO),
    )


def _hold(account: Account, order: Order) -> Decimal:
    """Margin a resting order reserves: none when it only reduces."""
    held = account.held(order.coin)
    opens = order.left if held == 0 or (held > 0) == order.is_buy else max(ZERO, order.left - abs(held))
    leverage = account.leverages.get(order.coin, Leverage(20))
    return ZERO if order.reduce_only else opens * order.limit / leverage.value


def liquidation_price(position: Position, mark: Decimal, now: Standing) -> Decimal | None:
    """Where the account (cross) or the position (isolated) meets its maintenance margin; None when that is not above
    zero."""
    side = 1 if position.size > 0 else -1
    if position.leverage.is_cross:
        available = now.cross_value - now.cross_maintenance
    else:
        available = position.margin_used(mark) - position.maintenance(mark)
    rate = position.listing.maintenance_rate_at(position.value(mark))
    price = mark - side * available / abs(position.size) / (1 - rate * side)
    return price if price > 0 else None


def _shown(value: Decimal, decimals: int = USD_DECIMALS) -> str:
    return text(rounded(value, decimals))


def _summary(value: Decimal, notional: Decimal, raw: Decimal, margin: Decimal) -> Row:
    return {
        "accountValue": _shown(value),
        "totalNtlPos": _shown(notional),
        "totalRawUsd": _shown(raw),
        "totalMarginUsed": _shown(margin),
    }


def position_row(position: Position, mark: Decimal, now: Standing) -> Row:
    leverage: Row = {"type": "cross" if position.leverage.is_cross else "isolated", "value": position.leverage.value}
    if not position.leverage.is_cross:
        leverage["rawUsd"] = _shown(position.raw)
    liquidation = liquidation_price(position, mark, now)
    unrealized = position.unrealized(mark)
    return {
        "coin": position.listing.coin,
        "szi": text(position.size),
        "leverage": leverage,
        "entryPx": _shown(position.entry, position.listing.price_decimals),
        "positionValue": _shown(position.value(mark)),
        "unrealizedPnl": _shown(unrealized),
        "returnOnEquity": _shown(unrealized * position.leverage.value / position.entry_notional, SHOWN_DECIMALS),
        "liquidationPx": None if liquidation is None else _shown(liquidation, SHOWN_DECIMALS),
        "marginUsed": _shown(position.margin_used(mark)),
        "maxLeverage": position.listing.max_leverage,
        "cumFunding": {
            "allTime": _shown(position.funding_all_time),
            "sinceOpen": _shown(position.funding_since_open),
            "sinceChange": _shown(position.funding_since_change),
        },
    }


def clearinghouse_state(account: Account, mark_of: Callable[[str], Decimal], now_ms: int) -> Row:
    """The answer to `clearinghouseState`. Of a unified account it shows the positions and their margin only: the money
    is in `spotClearinghouseState`."""
    now = standing(account, mark_of)
    cross_value, withdrawable = now.cross_value, max(ZERO, now.available)
    if account.unified:
        cross_value, withdrawable = now.cross_margin + now.unrealized, ZERO
    signed = sum((one.size * mark_of(coin) for coin, one in tuple(account.positions.items())), ZERO)
    cross_signed = sum(
        (one.size * mark_of(c) for c, one in tuple(account.positions.items()) if one.leverage.is_cross), ZERO
    )
    value, notional = cross_value + now.isolated_value, now.cross_notional + now.isolated_notional
    margin = now.cross_margin + now.isolated_value
    rows = [
        {"type": "oneWay", "position": position_row(one, mark_of(coin), now)}
        for coin, one in tuple(account.positions.items())
    ]
    return {
        "marginSummary": _summary(value, notional, value - signed, margin),
        "crossMarginSummary": _summary(cross_value, now.cross_notional, cross_value - cross_signed, now.cross_margin),
        "crossMaintenanceMarginUsed": _shown(now.cross_maintenance),
        "withdrawable": _shown(withdrawable),
        "assetPositions": rows,
        "time": now_ms,
    }


def spot_state(account: Account, mark_of: Callable[[str], Decimal]) -> Row:
    """The answer to `spotClearinghouseState`: empty for a classic account; the settled cash, margin held, of a unified
    one."""
    if not account.unified:
        return {"balances": []}
    now = standing(account, mark_of)
    settled = now.equity - now.unrealized
    held = now.cross_margin + now.hold + now.isolated_value
    usdc = {"coin": "USDC", "token": 0, "total": _shown(settled), "hold": _shown(held), "entryNtl": "0.0"}
    return {
        "balances": [usdc],
        "tokenToAvailableAfterMaintenance": [[0, _shown(now.equity - now.cross_maintenance)]],
    }
