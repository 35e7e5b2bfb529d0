"""Hyperliquid's wire, both ways: orders and actions to what is signed and posted, answers to records.

The law: pure, and Decimal until the text is written. What an answer says is believed only in full: a read whose answer
has another shape raises VenueUnavailable, and an answer to orders that cannot be understood is Unclear, never a guess.
Whole numbers may come quoted. Shapes, texts and rules are those of Hyperliquid's API documentation ("Exchange
endpoint", "Info endpoint", "Error responses") and of answers recorded from the real exchange.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trading.adapters.wire_values import Answers, Record, one_line
from trading.domain.errors import InvalidNumber, VenueUnavailable
from trading.domain.market import Candle, Holding, Instrument, Level
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.resting import AccountFill, FillCause, ListedOrder, RestingOrder, TriggerKind
from trading.domain.units import ONE, ZERO, ClientOrderId, Coin, Price, Quantity, Ratio, Usd

PERP_DECIMALS_MAX = 6
WIRE_DECIMALS_MAX = 8
NOTIONAL_MIN = Usd(Decimal(10))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLLATERAL = "USDC"
AUTO_DELEVERAGING = "Auto-Deleveraging"
_MILLISECOND = timedelta(milliseconds=1)

_ANSWERS = Answers("Hyperliquid")
unreadable, mapping, items, text = _ANSWERS.unreadable, _ANSWERS.mapping, _ANSWERS.items, _ANSWERS.text

# Substrings of refusals in lower case, first match wins; live texts carry tails such as " asset=4" and change around
# the edges (Hyperliquid documentation, "Error responses"; texts seen on testnet in October 2026).
_REFUSALS: tuple[tuple[str, RejectReason], ...] = (
    ("could not immediately match", RejectReason.NO_MATCH),
    ("no liquidity available", RejectReason.NO_MATCH),
    ("open interest", RejectReason.OPEN_INTEREST),
    ("tick size", RejectReason.PRICE),
    ("invalid price", RejectReason.PRICE),
    ("invalid tp/sl price", RejectReason.PRICE),
    ("too far from oracle", RejectReason.PRICE),
    ("away from the reference price", RejectReason.PRICE),
    ("post only order would", RejectReason.PRICE),
    ("zero size", RejectReason.SIZE),
    ("invalid size", RejectReason.SIZE),
    ("minimum value of", RejectReason.NOTIONAL_MIN),
    ("insufficient margin", RejectReason.MARGIN),
    ("insufficient spot balance", RejectReason.MARGIN),
    ("margin tier limit", RejectReason.MARGIN),
    ("reduce only order would increase", RejectReason.REDUCE_ONLY),
    ("already expired", RejectReason.EXPIRED),
    ("too many cumulative requests", RejectReason.RATE_LIMIT),
    ("trading is halted", RejectReason.NOT_TRADABLE),
    ("delisted", RejectReason.NOT_TRADABLE),
)

# The same facts as `orderStatus` names them.
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
    """What `orderStatus` says of an order: sizes in coins, `state` its word, `at` when that last changed."""

    oid: int
    original: Decimal
    remaining: Decimal
    state: str
    at: datetime

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


@dataclass(frozen=True, slots=True)
class Executed:
    """The order was filled at once, perhaps in part: `quantity` coins at `price` on average."""

    oid: int
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Working:
    """The venue took the order and it has not ended."""

    words: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The venue's explicit no: nothing was done."""

    reason: RejectReason
    words: str


@dataclass(frozen=True, slots=True)
class Unclear:
    """An answer from which nothing can be concluded."""

    words: str


Word = Executed | Working | Refusal | Unclear


# To the wire ----------------------------------------------------------------------------------------------------------


def decimal_text(value: Decimal, name: str) -> str:
    """*value* as the venue signs it: plain digits, no exponent, no trailing zero.

    Raises InvalidNumber, naming *name*, for what the venue's parser refuses: zero, negatives, NaN, over 8 decimals.
    """
    if not value.is_finite() or value <= 0:
        raise InvalidNumber(name, f"{name} must be above zero")
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if len(text.partition(".")[2]) > WIRE_DECIMALS_MAX:
        raise InvalidNumber(name, f"{name} has more than {WIRE_DECIMALS_MAX} decimals")
    return text


def milliseconds(instant: datetime) -> int:
    """Whole milliseconds since 1970, rounded down: a deadline never moves back."""
    return (instant - EPOCH) // _MILLISECOND


def instant_of(value: object) -> datetime:
    """The instant that *value*, milliseconds since 1970, names."""
    try:
        return EPOCH + whole(value) * _MILLISECOND
    except OverflowError as error:
        raise unreadable("an instant") from error


def encode_order(order: Order, asset: int) -> dict[str, object]:
    """One immediate-or-cancel order, keys in the order in which they are hashed."""
    return {
        "a": asset,
        "b": order.side is Side.BUY,
        "p": decimal_text(order.limit_price, "limit_price"),
        "s": decimal_text(order.quantity, "quantity"),
        "r": order.reduce_only,
        "t": {"limit": {"tif": "Ioc"}},
        "c": order.client_order_id.lower(),
    }


def encode_orders(orders: Sequence[Order], assets: Mapping[Coin, int]) -> dict[str, object]:
    """All *orders* as one action. Raises InvalidNumber for a price or size that the wire cannot carry."""
    return {
        "type": "order",
        "orders": [encode_order(one, assets[one.coin]) for one in orders],
        "grouping": "na",
    }


def encode_resting_order(order: RestingOrder, asset: int) -> dict[str, object]:
    """One reduce-only trigger that turns into a limit order, keys in the order in which they are hashed."""
    trigger = {
        "isMarket": False,
        "triggerPx": decimal_text(order.trigger_price, "trigger_price"),
        "tpsl": "sl" if order.kind is TriggerKind.STOP else "tp",
    }
    return {
        "a": asset,
        "b": order.side is Side.BUY,
        "p": decimal_text(order.limit_price, "limit_price"),
        "s": decimal_text(order.quantity, "quantity"),
        "r": True,
        "t": {"trigger": trigger},
        "c": order.client_order_id.lower(),
    }


def encode_resting_orders(orders: Sequence[RestingOrder], assets: Mapping[Coin, int]) -> dict[str, object]:
    """All *orders* as one action, each on its own: grouped ones would be sized by the whole position of the account,
    others' part of the coin included. Raises InvalidNumber for what the wire cannot carry."""
    return {
        "type": "order",
        "orders": [encode_resting_order(one, assets[one.coin]) for one in orders],
        "grouping": "na",
    }


def encode_cancels(orders: Sequence[RestingOrder], assets: Mapping[Coin, int]) -> dict[str, object]:
    """Take back all *orders* by their client order ids."""
    cancels = [{"asset": assets[one.coin], "cloid": one.client_order_id.lower()} for one in orders]
    return {"type": "cancelByCloid", "cancels": cancels}


def encode_leverage(asset: int, leverage: int) -> dict[str, object]:
    return {"type": "updateLeverage", "asset": asset, "isCross": True, "leverage": leverage}


def encode_noop() -> dict[str, object]:
    """The action that does nothing but use up its nonce."""
    return {"type": "noop"}


# Answers to writes ----------------------------------------------------------------------------------------------------


def decode_words(answer: object, count: int) -> tuple[Word, ...]:
    """What became of each of *count* orders of one action.

    Words are positional, except when the static checks refuse the whole batch: then there is one error, as a single
    element or as `status: err`, for all of them.
    """
    refusal = decode_refusal(answer)
    if refusal is not None:
        return (refusal,) * count
    try:
        words = tuple(_word(one) for one in items(_payload(answer, "order").get("statuses")))
    except VenueUnavailable as error:
        return (Unclear(error.detail),) * count
    if len(words) == 1 and isinstance(words[0], Refusal):
        return words * count
    if len(words) != count:
        return (Unclear(f"the venue answered {len(words)} words to {count} orders"),) * count
    return words


def decode_refusal(answer: object) -> Refusal | Unclear | None:
    """The refusal of a whole action (`status: err`), or None.

    A duplicate nonce is no refusal of ours: requests are never repeated by us, so something between us and the venue
    may have sent the same bytes twice, and the first may have landed.
    """
    if not isinstance(answer, Mapping) or answer.get("status") != "err":
        return None
    words = _plain(answer.get("response"))
    if "duplicate nonce" in words.lower():
        return Unclear(words)
    return Refusal(reason_of(words), words)


def decode_done(answer: object) -> Refusal | Unclear | None:
    """None when a `default` action (leverage, noop) was carried out, else why not."""
    refusal = decode_refusal(answer)
    if refusal is not None:
        return refusal
    if isinstance(answer, Mapping) and answer.get("status") == "ok":
        return None
    return Unclear("the venue answered with neither ok nor err")


def decode_cancels(answer: object, count: int) -> tuple[bool, ...] | None:
    """Which of *count* orders were there until now, when none of them is there any more; None when that is not known.
    One that the venue does not find is done: never placed, cancelled or filled are one sentence there (documentation,
    "Cancel order(s)")."""
    if decode_refusal(answer) is not None:
        return None
    try:
        words = items(_payload(answer, "cancel").get("statuses"))
    except VenueUnavailable:
        return None
    if len(words) != count or not all(one == "success" or "never placed" in _plain(one) for one in words):
        return None
    return tuple(one == "success" for one in words)


def decode_http_refusal(status: int, content: bytes) -> Refusal | None:
    """The refusal in an HTTP error, when it is one: the venue's own words that it could not parse the request.

    Those requests never reach the order path. Any other error status says nothing about what was done.
    """
    words = _plain(content.decode("utf-8", "replace"))
    marks = ("Failed to parse the request body", "Failed to deserialize the JSON body", "Expected request with")
    if status in (400, 415, 422) and words.startswith(marks):
        return Refusal(RejectReason.OTHER, words)
    return None


def reason_of(words: str) -> RejectReason:
    """The desk's name for the venue's sentence; OTHER when it is none that the desk acts on."""
    lower = words.lower()
    return next((reason for text, reason in _REFUSALS if text in lower), RejectReason.OTHER)


def reason_of_state(state: str) -> RejectReason:
    """The same for the words of `orderStatus`."""
    return _ENDINGS.get(state, RejectReason.OTHER)


def _word(element: object) -> Word:
    if isinstance(element, str):
        return Working(element)
    record = mapping(element)
    if "error" in record:
        words = _plain(record["error"])
        return Refusal(reason_of(words), words)
    if "filled" in record:
        filled = mapping(record["filled"])
        return Executed(whole(filled.get("oid")), _positive(filled, "totalSz"), _positive(filled, "avgPx"))
    if "resting" in record:
        return Working("resting")
    return Unclear("the venue answered with a word that is not known")


def _payload(answer: object, kind: str) -> Record:
    record = mapping(answer)
    response = mapping(record.get("response"))
    if record.get("status") != "ok" or response.get("type") != kind:
        raise unreadable("the answer")
    return mapping(response.get("data"))


# Answers to reads -----------------------------------------------------------------------------------------------------


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
    return listings


def decode_marks(answer: object) -> Mapping[Coin, Price]:
    """The mark of every coin of `metaAndAssetCtxs`."""
    pair = items(answer)
    if len(pair) != 2:
        raise unreadable("metaAndAssetCtxs")
    names = [text(mapping(one), "name") for one in items(mapping(pair[0]).get("universe"))]
    contexts = items(pair[1])
    if len(names) != len(contexts):
        raise unreadable("metaAndAssetCtxs")
    return {Coin(name): decode_mark(one) for name, one in zip(names, contexts, strict=True)}


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
    return Level(Price(_positive(record, "px")), Quantity(_positive(record, "sz")))


def decode_state(answer: object) -> PerpState:
    """`clearinghouseState`; flat coins are absent there.

    Maintenance is the cross account's and, for isolated positions, half the initial margin at the highest leverage.
    """
    record = mapping(answer)
    summary = mapping(record.get("marginSummary"))
    positions = [mapping(mapping(one).get("position")) for one in items(record.get("assetPositions"))]
    held = [one for one in positions if amount(one, "szi") != 0]
    cross = [one for one in held if mapping(one.get("leverage")).get("type") == "cross"]
    isolated = [one for one in held if mapping(one.get("leverage")).get("type") == "isolated"]
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
    liquidation = position.get("liquidationPx")
    return Holding(
        coin=Coin(text(position, "coin")),
        quantity=Quantity(amount(position, "szi")),
        entry_price=Price(amount(position, "entryPx")),
        liquidation_price=None if liquidation is None else Price(number(liquidation)),
    )


def decode_collateral(answer: object) -> Decimal:
    """USDC in `spotClearinghouseState`, what is held as margin included; zero when there is none."""
    balances = [mapping(one) for one in items(mapping(answer).get("balances"))]
    return sum((amount(one, "total") for one in balances if one.get("coin") == COLLATERAL), ZERO)


def decode_unified(answer: object) -> bool:
    """`userAbstraction`: does the account's money live in spot."""
    if not isinstance(answer, str):
        raise unreadable("userAbstraction")
    return answer in ("unifiedAccount", "portfolioMargin")


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
        price=_not_negative(record, "px"),
        quantity=_positive(record, "sz"),
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
        trigger_price=Price(_positive(record, "triggerPx")) if waits else None,
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
    return OrderState(
        oid=whole(order.get("oid")),
        original=amount(order, "origSz"),
        remaining=amount(order, "sz"),
        state=text(outer, "status"),
        at=instant_of(outer.get("statusTimestamp")),
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
        opened, high, low, closed = (Price(_positive(record, name)) for name in ("o", "h", "l", "c"))
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


# Values ---------------------------------------------------------------------------------------------------------------


def number(value: object) -> Decimal:
    """A finite decimal from its text."""
    if not isinstance(value, str):
        raise unreadable("a decimal is missing")
    return _ANSWERS.decimal(value, "a decimal")


def amount(record: Record, name: str) -> Decimal:
    try:
        return number(record.get(name))
    except VenueUnavailable as error:
        raise unreadable(f"{name} is missing or no decimal") from error


def whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    raise unreadable("a whole number is missing")


def _positive(record: Record, name: str) -> Decimal:
    value = amount(record, name)
    if value <= 0:
        raise unreadable(f"{name} is not above zero")
    return value


def _not_negative(record: Record, name: str) -> Decimal:
    """As the price of a fill: an outcome market may settle at zero."""
    value = amount(record, name)
    if value < 0:
        raise unreadable(f"{name} is below zero")
    return value


def _plain(value: object) -> str:
    return one_line(value if isinstance(value, str) else repr(value))
