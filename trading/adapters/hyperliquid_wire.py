"""What Hyperliquid says when it is asked: answers of the info endpoint and frames of the stream, to records.

The law: pure. What an answer says is believed only in full: one that has another shape raises VenueUnavailable. Shapes,
texts and rules are those of Hyperliquid's API documentation ("Info endpoint") and of answers recorded from the real
exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from trading.adapters.hyperliquid_values import (
    amount,
    instant_of,
    items,
    mapping,
    milliseconds,
    not_negative,
    number,
    positive,
    text,
    unreadable,
    whole,
)
from trading.adapters.wire_values import Record
from trading.domain.market import Candle, Holding, Instrument, Level
from trading.domain.orders import RejectReason, Side
from trading.domain.resting import AccountFill, FillCause, ListedOrder
from trading.domain.units import ONE, ZERO, ClientOrderId, Coin, Price, Quantity, Ratio, Usd

PERP_DECIMALS_MAX = 6
NOTIONAL_MIN = Usd(Decimal(10))
COLLATERAL = "USDC"
AUTO_DELEVERAGING = "Auto-Deleveraging"
SETTLEMENT = "Settlement"
_IN_SPOT = ("unifiedAccount", "portfolioMargin")
_MODES = (*_IN_SPOT, "default", "dexAbstraction", "disabled")

# Why an order was refused or ended, as `orderStatus` names it.
_ENDINGS: Mapping[str, RejectReason] = {
    "tickRejected": RejectReason.PRICE,
    "minTradeNtlRejected": RejectReason.NOTIONAL_MIN,
    "minTradeSpotNtlRejected": RejectReason.NOTIONAL_MIN,
    "perpMarginRejected": RejectReason.MARGIN,
    "perpMaxPositionRejected": RejectReason.MARGIN,
    "insufficientSpotBalanceRejected": RejectReason.MARGIN,
    "reduceOnlyRejected": RejectReason.REDUCE_ONLY,
    "badAloPxRejected": RejectReason.PRICE,
    "badTriggerPxRejected": RejectReason.PRICE,
    "oracleRejected": RejectReason.PRICE,
    "iocCancelRejected": RejectReason.NO_MATCH,
    "marketOrderNoLiquidityRejected": RejectReason.NO_MATCH,
    "positionIncreaseAtOpenInterestCapRejected": RejectReason.OPEN_INTEREST,
    "positionFlipAtOpenInterestCapRejected": RejectReason.OPEN_INTEREST,
    "tooAggressiveAtOpenInterestCapRejected": RejectReason.OPEN_INTEREST,
    "openInterestIncreaseRejected": RejectReason.OPEN_INTEREST,
    "canceled": RejectReason.NO_MATCH,
    "selfTradeCanceled": RejectReason.NO_MATCH,
    "reduceOnlyCanceled": RejectReason.REDUCE_ONLY,
    "marginCanceled": RejectReason.MARGIN,
    "perpMaxPositionCanceled": RejectReason.MARGIN,
    "openInterestCapCanceled": RejectReason.OPEN_INTEREST,
    "delistedCanceled": RejectReason.NOT_TRADABLE,
}


# Records --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument and its place in the universe, which is its asset id; ids differ between networks.

    `isolated`: the venue refuses cross margin for it.
    """

    instrument: Instrument
    asset: int
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class BookFrame:
    """One look at an order book, best first, stamped `at` by the venue."""

    coin: Coin
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class PerpState:
    """`clearinghouseState`: USD amounts, signed holdings, `at` by the venue's clock.

    `leverages` are those of cross holdings: an isolated one of the same height is not what an opening needs.
    """

    account_value: Decimal
    margin_used: Decimal
    maintenance: Decimal
    unrealized: Decimal
    holdings: Mapping[Coin, Holding]
    leverages: Mapping[Coin, int]
    at: datetime


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. `fee` in USD is negative for a rebate and already holds any builder fee.

    `direction` is the venue's word for what it did to the position; `liquidated` the account whose liquidation it
    belongs to, which is not always this one: it may have been the other side of it.
    """

    coin: Coin
    oid: int
    cloid: str | None
    price: Decimal
    quantity: Decimal
    fee: Decimal
    at: datetime
    tid: int
    side: Side
    direction: str = ""
    liquidated: str | None = None


@dataclass(frozen=True, slots=True)
class OrderState:
    """What `orderStatus` says of an order: sizes in coins, `state` its word, `at` when that last changed; the client
    order id that it has, if it has one."""

    oid: int
    original: Decimal
    remaining: Decimal
    state: str
    at: datetime
    cloid: str | None = None

    @property
    def open(self) -> bool:
        return self.state in ("open", "triggered")

    @property
    def over(self) -> bool:
        """Does the word name an end. One that is not known is told by how it ends, as the venue's own are."""
        return self.state.lower().endswith(("filled", "canceled", "cancel", "rejected"))

    @property
    def rejected(self) -> bool:
        return self.state.endswith("Rejected")


@dataclass(frozen=True, slots=True)
class FundingRow:
    """One hourly payment; `usdc` negative when the account paid."""

    coin: Coin
    usdc: Decimal
    quantity: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Transfer:
    """Money that came into the account by no trade and no funding, USD, negative when it left: to its main-dex
    perpetuals, and to its spot balance. `key` tells it from every other."""

    perps: Decimal
    spot: Decimal
    at: datetime
    key: str


@dataclass(frozen=True, slots=True)
class Role:
    """What an address is to the venue: user, agent, vault, subAccount or missing; `owner` for an agent."""

    kind: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class Agent:
    """A named API wallet of an account."""

    name: str
    address: str
    valid_until: datetime


# Answers --------------------------------------------------------------------------------------------------------------


def reason_of_state(state: str) -> RejectReason:
    """The desk's name for a word of `orderStatus`; OTHER when it is none that the desk acts on."""
    return _ENDINGS.get(state, RejectReason.OTHER)


def decode_meta(answer: object) -> Mapping[Coin, Listing]:
    """Everything listed, by name. A delisted coin keeps its place, so the list is never compacted."""
    listings = {}
    for asset, element in enumerate(items(mapping(answer).get("universe"))):
        record = mapping(element)
        coin, digits = Coin(text(record, "name")), whole(record.get("szDecimals"))
        if not 0 <= digits <= PERP_DECIMALS_MAX:
            raise unreadable("szDecimals")
        instrument = Instrument(
            coin=coin,
            quantity_step=Quantity(ONE.scaleb(-digits)),
            price_decimals_max=PERP_DECIMALS_MAX - digits,
            notional_min=NOTIONAL_MIN,
            leverage_max=max(whole(record.get("maxLeverage")), 1),
            delisted=record.get("isDelisted") is True,
        )
        isolated = record.get("onlyIsolated") is True or record.get("marginMode") in ("strictIsolated", "noCross")
        listings[coin] = Listing(instrument, asset, isolated)
    if not listings:
        raise unreadable("universe")
    return listings


def decode_marks(answer: object) -> Mapping[Coin, Price]:
    """The mark of every coin of `metaAndAssetCtxs` that has one."""
    pair = items(answer)
    if len(pair) != 2:
        raise unreadable("metaAndAssetCtxs")
    names = [text(mapping(one), "name") for one in items(mapping(pair[0]).get("universe"))]
    contexts = items(pair[1])
    if len(names) != len(contexts):
        raise unreadable("metaAndAssetCtxs")
    priced = ((name, one) for name, one in zip(names, contexts, strict=True) if mapping(one).get("markPx") is not None)
    return {Coin(name): decode_mark(one) for name, one in priced}


def decode_mark(context: object) -> Price:
    """The mark in one asset context."""
    return Price(amount(mapping(context), "markPx"))


def decode_book(answer: object) -> BookFrame | None:
    """`l2Book`; None for a coin that the venue does not know, which it answers with null."""
    if answer is None:
        return None
    record = mapping(answer)
    sides = items(record.get("levels"))
    if len(sides) != 2:
        raise unreadable("levels")
    bids, asks = (tuple(_level(one) for one in items(side)) for side in sides)
    return BookFrame(Coin(text(record, "coin")), bids, asks, instant_of(record.get("time")))


def _level(element: object) -> Level:
    record = mapping(element)
    return Level(Price(positive(record, "px")), Quantity(positive(record, "sz")))


def decode_state(answer: object) -> PerpState:
    """`clearinghouseState`; flat coins are absent there.

    Maintenance is the cross account's and, for all other positions, half the initial margin at the highest leverage.
    """
    record = mapping(answer)
    summary = mapping(record.get("marginSummary"))
    positions = [mapping(mapping(one).get("position")) for one in items(record.get("assetPositions"))]
    held = [one for one in positions if amount(one, "szi") != 0]
    cross = [one for one in held if mapping(one.get("leverage")).get("type") == "cross"]
    isolated = [one for one in held if one not in cross]
    own = sum((amount(one, "positionValue") / (2 * max(whole(one.get("maxLeverage")), 1)) for one in isolated), ZERO)
    return PerpState(
        account_value=amount(summary, "accountValue"),
        margin_used=amount(summary, "totalMarginUsed"),
        maintenance=amount(record, "crossMaintenanceMarginUsed") + own,
        unrealized=sum((amount(one, "unrealizedPnl") for one in held), ZERO),
        holdings={Coin(text(one, "coin")): _holding(one) for one in held},
        leverages={Coin(text(one, "coin")): whole(mapping(one.get("leverage")).get("value")) for one in cross},
        at=instant_of(record.get("time")),
    )


def _holding(position: Record) -> Holding:
    liquidation, value, quantity = position.get("liquidationPx"), position.get("positionValue"), amount(position, "szi")
    return Holding(
        coin=Coin(text(position, "coin")),
        quantity=Quantity(quantity),
        entry_price=Price(amount(position, "entryPx")),
        liquidation_price=None if liquidation is None else Price(number(liquidation)),
        mark_price=None if value is None else Price(number(value) / abs(quantity)),
    )


def decode_collateral(answer: object) -> Decimal:
    """USDC in `spotClearinghouseState`, what is held as margin included; zero when there is none."""
    balances = [mapping(one) for one in items(mapping(answer).get("balances"))]
    return sum((amount(one, "total") for one in balances if one.get("coin") == COLLATERAL), ZERO)


def decode_unified(answer: object) -> bool:
    """`userAbstraction`: does the account's money live in spot. Where it lives in a mode that is not known, nobody can
    say, and an account without its money would be closed for want of margin."""
    if answer not in _MODES:
        raise unreadable("userAbstraction")
    return answer in _IN_SPOT


def decode_fills(answer: object) -> tuple[Fill, ...]:
    """`userFillsByTime`, as it came."""
    return tuple(_fill(mapping(one)) for one in items(answer))


def _fill(record: Record) -> Fill:
    cloid, direction, liquidation = record.get("cloid"), record.get("dir"), record.get("liquidation")
    liquidated = liquidation.get("liquidatedUser") if isinstance(liquidation, Mapping) else None
    return Fill(
        coin=Coin(text(record, "coin")),
        oid=whole(record.get("oid")),
        cloid=cloid.lower() if isinstance(cloid, str) else None,
        price=not_negative(record, "px"),
        quantity=positive(record, "sz"),
        fee=amount(record, "fee"),
        at=instant_of(record.get("time")),
        tid=whole(record.get("tid")),
        side=_side(record),
        direction=direction if isinstance(direction, str) else "",
        liquidated=liquidated.lower() if isinstance(liquidated, str) else None,
    )


def account_fill(fill: Fill, account_id: str) -> AccountFill:
    """*fill* as the account at *account_id* has it: who trades with a liquidation has its mark on the fill, too."""
    cause = FillCause.ORDER
    if fill.liquidated == account_id or fill.direction.startswith("Liquidated"):
        cause = FillCause.LIQUIDATION
    elif fill.direction == AUTO_DELEVERAGING:
        cause = FillCause.AUTO_DELEVERAGING
    elif fill.direction == SETTLEMENT:
        cause = FillCause.SETTLEMENT
    return AccountFill(
        id=f"{milliseconds(fill.at)}-{fill.tid}-{fill.oid}",
        coin=fill.coin,
        side=fill.side,
        quantity=Quantity(fill.quantity),
        price=Price(fill.price),
        fee=Usd(fill.fee),
        filled_at=fill.at,
        cause=cause,
        client_order_id=None if fill.cloid is None else ClientOrderId(fill.cloid),
    )


def decode_listed(answer: object) -> tuple[ListedOrder, ...]:
    """`frontendOpenOrders`: what rests on the books and what waits for its trigger."""
    return tuple(_listed(mapping(one)) for one in items(answer))


def _listed(record: Record) -> ListedOrder:
    cloid = record.get("cloid")
    waits = record.get("isTrigger") is True
    return ListedOrder(
        client_order_id=ClientOrderId(cloid.lower()) if isinstance(cloid, str) else None,
        coin=Coin(text(record, "coin")),
        side=_side(record),
        quantity=Quantity(amount(record, "sz")),
        trigger_price=Price(positive(record, "triggerPx")) if waits else None,
        limit_price=Price(amount(record, "limitPx")),
    )


def _side(record: Record) -> Side:
    """`B` bought, `A` (ask) sold."""
    word = text(record, "side")
    if word not in ("A", "B"):
        raise unreadable("side")
    return Side.BUY if word == "B" else Side.SELL


def decode_order_state(answer: object) -> OrderState | None:
    """`orderStatus`; None when the venue does not know the order, which right after a fill is no absence."""
    record = mapping(answer)
    if record.get("status") == "unknownOid":
        return None
    outer = mapping(record.get("order"))
    order = mapping(outer.get("order"))
    cloid = order.get("cloid")
    return OrderState(
        oid=whole(order.get("oid")),
        original=amount(order, "origSz"),
        remaining=amount(order, "sz"),
        state=text(outer, "status"),
        at=instant_of(outer.get("statusTimestamp")),
        cloid=cloid.lower() if isinstance(cloid, str) else None,
    )


def decode_funding(answer: object) -> tuple[FundingRow, ...]:
    """`userFunding`, as it came."""
    rows = []
    for element in items(answer):
        record = mapping(element)
        delta = mapping(record.get("delta"))
        rows.append(
            FundingRow(
                Coin(text(delta, "coin")), amount(delta, "usdc"), amount(delta, "szi"), instant_of(record.get("time"))
            )
        )
    return tuple(rows)


def decode_transfers(answer: object, account_id: str) -> tuple[Transfer, ...]:
    """`userNonFundingLedgerUpdates` of the account at *account_id*, as it came. Kinds that move no USD of it, or that
    are not known, such as a liquidation, whose loss is in the fills, come to nothing."""
    return tuple(_transfer(mapping(one), account_id) for one in items(answer))


def _transfer(record: Record, account_id: str) -> Transfer:
    delta = mapping(record.get("delta"))
    kind, perps, spot = text(delta, "type"), ZERO, ZERO
    match kind:
        case "deposit" | "vaultDistribution" | "vaultLeaderCommission":
            perps = amount(delta, "usdc")
        case "withdraw" | "vaultDeposit" | "vaultCreate":
            perps = -amount(delta, "usdc") - _fee(delta)
        case "vaultWithdraw":
            perps = amount(delta, "netWithdrawnUsd")
        case "accountClassTransfer":
            moved = amount(delta, "usdc")
            perps, spot = (moved, -moved) if delta.get("toPerp") is True else (-moved, moved)
        case "internalTransfer" | "subAccountTransfer":
            usd = amount(delta, "usdc")
            perps = usd * _is(delta, "destination", account_id) - (usd + _fee(delta)) * _is(delta, "user", account_id)
        case "spotTransfer" | "send" if text(delta, "token").partition(":")[0] == COLLATERAL:
            usd = amount(delta, "amount")
            into = usd * _is(delta, "destination", account_id)
            out = (usd + _fee(delta)) * _is(delta, "user", account_id)
            # What is sent names the dex on either side: the main one has no name, spot is called spot.
            source, destination = (
                delta.get(name, "spot") if kind == "send" else "spot" for name in ("sourceDex", "destinationDex")
            )
            perps = into * (destination == "") - out * (source == "")
            spot = into * (destination == "spot") - out * (source == "spot")
    at = instant_of(record.get("time"))
    return Transfer(perps, spot, at, f"{at.isoformat()} {record.get('hash')} {sorted(delta.items(), key=str)}")


def _fee(delta: Record) -> Decimal:
    """What the sender paid for it besides, in USD; nothing where it was paid in something else."""
    paid_in = delta.get("feeToken")
    return amount(delta, "fee") if "fee" in delta and paid_in in (None, "", COLLATERAL) else ZERO


def _is(delta: Record, name: str, account_id: str) -> bool:
    who = delta.get(name)
    return isinstance(who, str) and who.lower() == account_id


def decode_candles(answer: object) -> tuple[Candle, ...]:
    """`candleSnapshot`, oldest first."""
    bars = []
    for element in items(answer):
        record = mapping(element)
        opened, high, low, closed = (Price(positive(record, name)) for name in ("o", "h", "l", "c"))
        bars.append(Candle(instant_of(record.get("t")), opened, high, low, closed))
    return tuple(bars)


def decode_role(answer: object) -> Role:
    """`userRole`."""
    record = mapping(answer)
    held = record.get("data")
    owner = held.get("user") if isinstance(held, Mapping) else None
    return Role(text(record, "role"), owner.lower() if isinstance(owner, str) else None)


def decode_agents(answer: object) -> tuple[Agent, ...]:
    """`extraAgents`: the named API wallets; the unnamed one is not among them."""
    return tuple(
        Agent(text(one, "name"), text(one, "address").lower(), instant_of(one.get("validUntil")))
        for one in map(mapping, items(answer))
    )


def decode_leverage(answer: object) -> tuple[bool, int]:
    """`activeAssetData`: is the coin's leverage cross, and how high."""
    leverage = mapping(mapping(answer).get("leverage"))
    return leverage.get("type") == "cross", whole(leverage.get("value"))


def decode_taker_fee(answer: object) -> Ratio:
    """`userFees`: what the account pays as a taker of perpetuals."""
    return Ratio(amount(mapping(answer), "userCrossRate"))


def decode_time(answer: object) -> datetime:
    """The venue's present instant in `exchangeStatus`."""
    return instant_of(mapping(answer).get("time"))
