"""The reads of /info: one function a request type, answers in the exchange's shape of 2026.

Unknown request fields are ignored, unknown types and ill-typed fields are a 422. Every address is a user; an agent's
own address has a valid and empty account, as on the real exchange.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from tests.servers.hyperliquid.account import Account, clearinghouse_state, spot_state, standing
from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.market import INTERVALS_MS
from tests.servers.hyperliquid.universe import SPOT_META, SPOT_PRICES, Listing, need_main_dex
from tests.servers.hyperliquid.words import (
    HOUR_MS,
    ZERO,
    Row,
    Unprocessable,
    address,
    as_cloid,
    bare,
    decimal,
    member,
    natural,
    record,
    rounded,
    text,
    word,
)

BOOK_LEVELS = 20
FILLS_MAX = 2000
ROWS_MAX = 500
LIGHT = frozenset(
    {"allMids", "l2Book", "clearinghouseState", "spotClearinghouseState", "orderStatus", "exchangeStatus"}
)
ROW_SURCHARGE = {
    **dict.fromkeys(("historicalOrders", "userFills", "userFillsByTime", "userFunding", "fundingHistory"), 20),
    "recentTrades": 20,
    "userNonFundingLedgerUpdates": 20,
    "candleSnapshot": 60,
}

Request = Mapping[str, object]


class BadBook(Exception):
    """A combination of nSigFigs and mantissa that the exchange answers with a 500 and `null`."""


@dataclass(slots=True)
class Lag:
    """Reads that run behind writes: for so many milliseconds an order does not exist (and, if asked for, its fills)."""

    milliseconds: int = 0
    fills_too: bool = False


@dataclass(slots=True)
class Info:
    """The reads of one exchange. `calls` counts them by type."""

    exchange: Exchange
    lag: Lag = field(default_factory=Lag)
    calls: dict[str, int] = field(default_factory=dict)

    def answer(self, request: Request) -> object:
        """The answer to one request; raises Unprocessable (422) and BadBook (500)."""
        kind = word(request, "type")
        if kind not in _ANSWERS:
            raise Unprocessable(f"unknown variant `{kind}`")
        with self.exchange.lock:
            self.calls[kind] = self.calls.get(kind, 0) + 1
            return _ANSWERS[kind](self, request)

    def weight(self, kind: str, answer: object) -> int:
        """What the request costs the client's network address (Hyperliquid documentation, rate limits)."""
        base = 2 if kind in LIGHT else 60 if kind == "userRole" else 20
        rows = len(answer) if isinstance(answer, list) else 0
        return base + (rows // ROW_SURCHARGE[kind] if kind in ROW_SURCHARGE else 0)

    def visible(self, row_time: int) -> bool:
        return row_time + self.lag.milliseconds <= self.exchange.now_ms()

    def fills_of(self, account: Account) -> list[Row]:
        """Oldest first, without those that reads do not see yet."""
        rows = account.fills
        return [row for row in rows if self.visible(_time(row))] if self.lag.fills_too else list(rows)

    # Markets

    def meta(self, request: Request) -> Row:
        need_main_dex(request.get("dex"))
        return self.exchange.universe.meta()

    def meta_and_contexts(self, request: Request) -> list[object]:
        need_main_dex(request.get("dex"))
        coins = [listing.coin for listing in self.exchange.universe.listings]
        return [self.exchange.universe.meta(), [self.context(coin) for coin in coins]]

    def context(self, coin: str) -> Row:
        return self.exchange.market(coin).context()

    def all_mids(self, request: Request) -> Row:
        need_main_dex(request.get("dex"))
        listings = self.exchange.universe.listings
        mids: Row = {one.coin: self.exchange.market(one.coin).shown_mid() for one in listings if not one.delisted}
        return {**mids, **{name: text(price) for name, price in SPOT_PRICES.items()}}

    def book(self, request: Request) -> Row | None:
        coin = word(request, "coin")
        if not self.exchange.universe.lists(coin):
            return None
        self.exchange.market(coin)
        sides = self.exchange.matcher.book(coin)
        figures = request.get("nSigFigs")
        if figures is None and request.get("mantissa") is None:
            return {"coin": coin, "time": self.exchange.now_ms(), "levels": [_levels(side) for side in sides]}
        listing, digits, mantissa = self.exchange.universe.of(coin), figures, request.get("mantissa")
        if digits not in (2, 3, 4, 5) or mantissa not in (None, 2, 5) or (mantissa is not None and digits != 5):
            raise BadBook
        merged = [
            _merged(side, listing, digits, mantissa or 1, rounding)
            for side, rounding in zip(sides, (ROUND_FLOOR, ROUND_CEILING), strict=True)
        ]
        spread = sides[1][0][0] - sides[0][0][0] if all(sides) else ZERO
        rows = [_levels(side) for side in merged]
        return {"coin": coin, "time": self.exchange.now_ms(), "levels": rows, "spread": text(spread)}

    def candles(self, request: Request) -> list[Row]:
        inner = record(member(request, "req"))
        coin, interval = word(inner, "coin"), word(inner, "interval")
        if interval not in INTERVALS_MS:
            raise Unprocessable(f"unknown interval {interval}")
        start = natural(inner, "startTime")
        end = natural(inner, "endTime") if inner.get("endTime") is not None else self.exchange.now_ms()
        if not self.exchange.universe.lists(coin):
            return []
        return self.exchange.market(coin).candles(interval, start, end, self.exchange.now_ms())

    def recent_trades(self, request: Request) -> list[Row]:
        coin = word(request, "coin")
        return list(self.exchange.markets[coin].trades) if self.exchange.universe.lists(coin) else []

    def funding_history(self, request: Request) -> list[Row]:
        rows = self.exchange.funding_history[word(request, "coin")]
        return _between(rows, request, self.exchange.now_ms())[:ROWS_MAX]

    def predicted_fundings(self, request: Request) -> list[object]:
        following = (self.exchange.now_ms() // HOUR_MS + 1) * HOUR_MS
        rows: list[object] = []
        for coin in self.exchange.markets:
            rate = text(self.exchange.market(coin).funding_rate)
            rows.append([coin, [["HlPerp", {"fundingRate": rate, "nextFundingTime": following}]]])
        return rows

    def spot_meta_and_contexts(self, request: Request) -> list[object]:
        contexts = [
            {
                "prevDayPx": text(price),
                "dayNtlVlm": "0.0",
                "markPx": text(price),
                "midPx": text(price),
                "circulatingSupply": "0.0",
                "coin": name,
                "totalSupply": "0.0",
                "dayBaseVlm": "0.0",
            }
            for name, price in SPOT_PRICES.items()
        ]
        return [SPOT_META, contexts]

    # Accounts

    def user(self, request: Request) -> Account:
        return self.exchange.account(address(request, "user"))

    def state(self, request: Request) -> Row:
        need_main_dex(request.get("dex"))
        return self.state_of(self.user(request))

    def state_of(self, account: Account) -> Row:
        for coin in list(account.positions):
            self.exchange.market(coin)
        return clearinghouse_state(account, self.exchange.matcher.mark_of, self.exchange.now_ms())

    def spot_state_of(self, request: Request) -> Row:
        return spot_state(self.user(request), self.exchange.matcher.mark_of)

    def open_orders(self, request: Request) -> list[Row]:
        need_main_dex(request.get("dex"))
        return [order.open_row() for order in reversed(self.user(request).live_orders())]

    def frontend_orders(self, request: Request) -> list[Row]:
        need_main_dex(request.get("dex"))
        return [order.full_row() for order in reversed(self.user(request).live_orders())]

    def order_status(self, request: Request) -> Row:
        account, oid = self.user(request), member(request, "oid")
        order = account.find(as_cloid(oid) if isinstance(oid, str) else natural(request, "oid"))
        if order is None or not self.visible(order.placed_at):
            return {"status": "unknownOid"}
        return {"status": "order", "order": order.status_row()}

    def history(self, request: Request) -> list[Row]:
        rows = [row for row in self.user(request).history if self.visible(_time(row, "statusTimestamp"))]
        return rows[::-1]

    def fills(self, request: Request) -> list[Row]:
        rows = self.fills_of(self.user(request))
        return _aggregated(rows, request)[::-1][:FILLS_MAX]

    def fills_by_time(self, request: Request) -> list[Row]:
        rows = _between(self.fills_of(self.user(request)), request, self.exchange.now_ms())
        rows = _aggregated(rows, request)
        return rows[::-1][:FILLS_MAX] if request.get("reversed") is True else rows[:FILLS_MAX]

    def fundings(self, request: Request) -> list[Row]:
        return _between(self.user(request).fundings, request, self.exchange.now_ms())[:ROWS_MAX]

    def ledger(self, request: Request) -> list[Row]:
        return _between(self.user(request).ledger, request, self.exchange.now_ms())[:ROWS_MAX]

    def fees(self, request: Request) -> Row:
        account = self.user(request)
        schedule = {
            "cross": "0.00045",
            "add": "0.00015",
            "spotCross": "0.0007",
            "spotAdd": "0.0004",
            "tiers": {"vip": [], "mm": []},
            "referralDiscount": "0.04",
            "stakingDiscountTiers": [{"bpsOfMaxSupply": "0.0", "discount": "0.0"}],
        }
        return {
            "dailyUserVlm": [],
            "feeSchedule": schedule,
            "userCrossRate": bare(account.taker_fee),
            "userAddRate": bare(account.maker_fee),
            "userSpotCrossRate": "0.0007",
            "userSpotAddRate": "0.0004",
            "activeReferralDiscount": "0.0",
            "trial": None,
            "feeTrialReward": "0.0",
            "nextTrialAvailableTimestamp": None,
            "stakingLink": None,
            "activeStakingDiscount": {"bpsOfMaxSupply": "0.0", "discount": "0.0"},
        }

    def rate_limit(self, request: Request) -> Row:
        account = self.user(request)
        return {
            "cumVlm": text(rounded(account.volume, 2)),
            "nRequestsUsed": account.requests_used,
            "nRequestsCap": account.requests_cap,
        }

    def role(self, request: Request) -> Row:
        user = address(request, "user")
        if user in self.exchange.agents:
            return {"role": "agent", "data": {"user": self.exchange.agents[user].master}}
        if user in self.exchange.sub_accounts:
            return {"role": "subAccount", "data": {"master": self.exchange.sub_accounts[user]}}
        return {"role": "user" if user in self.exchange.matcher.accounts else "missing"}

    def extra_agents(self, request: Request) -> list[Row]:
        user = address(request, "user")
        mine = [one for one in self.exchange.agents.values() if one.master == user and one.name]
        return [{"name": one.name, "address": one.address, "validUntil": one.valid_until} for one in mine]

    def sub_accounts(self, request: Request) -> list[Row] | None:
        user = address(request, "user")
        mine = [sub for sub, master in self.exchange.sub_accounts.items() if master == user]
        rows: list[Row] = [
            {"name": "", "subAccountUser": sub, "master": user, "clearinghouseState": self.state({"user": sub})}
            for sub in mine
        ]
        return rows or None

    def builders(self, request: Request) -> list[str]:
        return [builder for builder, fee in self.user(request).builder_fees.items() if fee]

    def builder_fee(self, request: Request) -> int:
        return self.user(request).builder_fees.get(address(request, "builder"), 0)

    def active_asset(self, request: Request) -> Row:
        account, coin = self.user(request), word(request, "coin")
        if not self.exchange.universe.lists(coin):
            raise Unprocessable(f"unknown coin {coin}")
        listing, mark = self.exchange.universe.of(coin), self.exchange.market(coin).mark
        leverage = account.leverage_of(listing)
        free = max(ZERO, standing(account, self.exchange.matcher.mark_of).available)
        size = text((free * leverage.value / mark).quantize(listing.lot, ROUND_FLOOR))
        return {
            "user": account.address,
            "coin": coin,
            "leverage": {"type": "cross" if leverage.is_cross else "isolated", "value": leverage.value},
            "maxTradeSzs": [size, size],
            "availableToTrade": [text(rounded(free, 6))] * 2,
            "markPx": text(mark),
        }

    def status(self, request: Request) -> Row:
        return {"time": self.exchange.now_ms(), "specialStatuses": None}


def _time(row: Row, key: str = "time") -> int:
    value = row[key]
    assert isinstance(value, int)
    return value


def _between(rows: list[Row], request: Request, now_ms: int) -> list[Row]:
    start = natural(request, "startTime")
    end = natural(request, "endTime") if request.get("endTime") is not None else now_ms
    return [row for row in rows if start <= _time(row) <= end]


def _levels(side: list[tuple[Decimal, Decimal, int]]) -> list[Row]:
    return [{"px": text(price), "sz": text(size), "n": count} for price, size, count in side[:BOOK_LEVELS]]


def _merged(
    side: list[tuple[Decimal, Decimal, int]], listing: Listing, figures: object, mantissa: int, rounding: str
) -> list[tuple[Decimal, Decimal, int]]:
    found: dict[Decimal, tuple[Decimal, int]] = {}
    for price, size, count in side:
        by_figures = price.adjusted() - int(str(figures)) + 1
        step = Decimal(mantissa).scaleb(max(by_figures, -listing.price_decimals))
        place = (price / step).to_integral_value(rounding) * step
        before = found.get(place, (ZERO, 0))
        found[place] = (before[0] + size, before[1] + count)
    return [(price, size, count) for price, (size, count) in found.items()]


def _aggregated(rows: list[Row], request: Request) -> list[Row]:
    return aggregated(rows) if request.get("aggregateByTime") is True else rows


def aggregated(rows: list[Row]) -> list[Row]:
    """The fills of one order in one millisecond as one: VWAP, sizes and fees summed, the first one's tid."""
    merged: list[Row] = []
    for row in rows:
        last = merged[-1] if merged else None
        if last is None or (last["oid"], last["time"]) != (row["oid"], row["time"]):
            merged.append(dict(row))
            continue
        sizes = [decimal(one, "sz") for one in (last, row)]
        prices = [decimal(one, "px") for one in (last, row)]
        total = sum(sizes, ZERO)
        average = sum((price * size for price, size in zip(prices, sizes, strict=True)), ZERO) / total
        last |= {"px": text(rounded(average, 10)), "sz": text(total)}
        for name in ("fee", "closedPnl"):
            last[name] = text(Decimal(str(last[name])) + Decimal(str(row[name])))
    return merged


_ANSWERS: dict[str, Callable[[Info, Request], object]] = {
    "meta": Info.meta,
    "metaAndAssetCtxs": Info.meta_and_contexts,
    "allMids": Info.all_mids,
    "l2Book": Info.book,
    "candleSnapshot": Info.candles,
    "recentTrades": Info.recent_trades,
    "fundingHistory": Info.funding_history,
    "predictedFundings": Info.predicted_fundings,
    "spotMeta": lambda info, request: SPOT_META,
    "spotMetaAndAssetCtxs": Info.spot_meta_and_contexts,
    "perpDexs": lambda info, request: [None],
    "exchangeStatus": Info.status,
    "clearinghouseState": Info.state,
    "spotClearinghouseState": Info.spot_state_of,
    "openOrders": Info.open_orders,
    "frontendOpenOrders": Info.frontend_orders,
    "orderStatus": Info.order_status,
    "historicalOrders": Info.history,
    "userFills": Info.fills,
    "userFillsByTime": Info.fills_by_time,
    "userFunding": Info.fundings,
    "userNonFundingLedgerUpdates": Info.ledger,
    "userFees": Info.fees,
    "userRateLimit": Info.rate_limit,
    "userRole": Info.role,
    "extraAgents": Info.extra_agents,
    "subAccounts": Info.sub_accounts,
    "userAbstraction": lambda info, request: info.user(request).abstraction,
    "approvedBuilders": Info.builders,
    "maxBuilderFee": Info.builder_fee,
    "activeAssetData": Info.active_asset,
}
