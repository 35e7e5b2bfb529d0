"""Pear's wire, both ways: orders to the bodies that are posted, answers to records.

The law: pure, and Decimal until the text is written. Pear is told dollars and weights and answers in coins; numbers may
come as numbers or as texts. What an answer says is believed in full or not at all, but for a list of positions, each of
which is for itself, and unknown fields are ignored.
Shapes and codes are those of the npm package @pear-protocol/hyperliquid 0.1.20 and of Pear's API documentation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import NewType

from trading.adapters.wire_values import Answers, Record, one_line
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.resting import PairLine
from trading.domain.units import ONE, ZERO, Coin, Price, Quantity, Ratio, Usd

# Units that look alike and are not: a number of one kind is never passed for another.
Seconds = NewType("Seconds", float)
SlippageFraction = NewType("SlippageFraction", Decimal)
WeightedRatio = NewType("WeightedRatio", Decimal)  # price(long)^w / price(short)^w, geometric, weights adding up to 1
PriceRatio = NewType("PriceRatio", Decimal)  # price(long) / price(short)

SLIPPAGE_MIN = SlippageFraction(Decimal("0.001"))
SLIPPAGE_MAX = SlippageFraction(Decimal("0.1"))
# Pear's own minimum a coin (documentation, TWAP), a dollar above the exchange's: what is rounded stays above that.
NOTIONAL_MIN = Usd(Decimal(11))
BUILDER = "0xa47d4d99191db54a4829cdf3de2417e527c3b042"
# Charged on opening and closing, on top of the exchange's own fee (documentation, fees).
BUILDER_FEE = Ratio(Decimal("0.0006"))
CLOID_MARK = "0x50454152"
CENT = Decimal("0.01")
WEIGHT_STEP = Decimal("0.0000000001")
USD_STEP = Decimal("0.00000001")
SLIPPAGE_STEP = Decimal("0.000001")
# No lot of the exchange is finer. Pear adds sizes up as binary fractions, and what they are off by is no coin.
SIZE_STEP = Decimal("0.00000001")

_ANSWERS = Answers("Pear")
unreadable, mapping, items, text = _ANSWERS.unreadable, _ANSWERS.mapping, _ANSWERS.items, _ANSWERS.text

# Errors that Pear raises for what it could not do at the exchange: one leg may have been done all the same.
_REASONS: Mapping[str, RejectReason] = {
    "HL_INSUFFICIENT_MARGIN": RejectReason.MARGIN,
    "HL_INSUFFICIENT_SPOT_BALANCE": RejectReason.MARGIN,
    "HL_TICK_SIZE": RejectReason.PRICE,
    "HL_MIN_TRADE_VALUE": RejectReason.NOTIONAL_MIN,
    "HL_REDUCE_ONLY": RejectReason.REDUCE_ONLY,
    "HL_IOC_NO_MATCH": RejectReason.NO_MATCH,
    "HL_NO_LIQUIDITY": RejectReason.NO_MATCH,
    "HL_OPEN_INTEREST_CAP": RejectReason.OPEN_INTEREST,
    "HL_OPEN_INTEREST_RATE": RejectReason.OPEN_INTEREST,
    "HL_PRICE_TOO_FAR_FROM_ORACLE": RejectReason.PRICE,
    "HL_MAX_POSITION_EXCEEDED": RejectReason.MARGIN,
    "HL_AGENT_WALLET_REVOKED": RejectReason.NOT_TRADABLE,
    "LEVERAGE_CONFIG_FAILED": RejectReason.MARGIN,
    "POSITION_NOT_FOUND": RejectReason.REDUCE_ONLY,
    "POSITION_NOT_OPEN": RejectReason.REDUCE_ONLY,
}


# What Pear finds before it turns to the exchange. Any other code may be of what the exchange, or what stands before it,
# made of the legs: one may have been done.
_FOUND_BY_PEAR = frozenset(
    {
        "INVALID_ADDRESS",
        "INVALID_FIELD_VALUE",
        "INVALID_ORDER_TYPE",
        "INVALID_POSITION_STRUCTURE",
        "LEVERAGE_CONFIG_FAILED",
        "MISSING_REQUIRED_FIELD",
        "POSITION_NOT_FOUND",
        "POSITION_NOT_OPEN",
        "POSITION_UNAUTHORIZED",
        "UNSUPPORTED_EXECUTION_TYPE",
    }
)
# No token and no such thing are said before anything is tried, also without a code. No right is not: without a code it
# may be what stands before the exchange.
_BEFORE_ANYTHING = frozenset({401, 404})
# Another trade is under way, or too much was asked. With a code or without: what may be sent again need not wait for
# whether this one was begun.
_NOT_NOW = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class Refused:
    """Pear's explicit no. `surely_nothing`: the request was not even tried at the exchange."""

    reason: RejectReason
    words: str
    status: int
    code: str
    surely_nothing: bool


@dataclass(frozen=True, slots=True)
class Unclear:
    """An answer, or none, from which nothing can be concluded. `not_begun`: Pear says that it has not begun, or not
    now, which is enough where it may be sent again."""

    words: str
    not_begun: bool = False


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: Seconds


@dataclass(frozen=True, slots=True)
class Created:
    """The answer to POST /positions: coins told as filled by the exchange's order id; nothing is told of some."""

    order_id: str
    told: Mapping[int, tuple[Coin, Quantity]]


@dataclass(frozen=True, slots=True)
class Part:
    """One coin of a position at Pear; `quantity` in coins is positive on both sides."""

    coin: Coin
    side: Side
    quantity: Quantity


@dataclass(frozen=True, slots=True)
class Basket:
    """A position as Pear keeps it, on top of the one holding a coin that the exchange knows. `unread` says why nothing
    is known of it but that it is there."""

    id: str
    parts: tuple[Part, ...]
    updated_at: str
    weighted_ratio: WeightedRatio | None
    price_ratio: PriceRatio | None
    take_profit: Usd | None
    stop_loss: Usd | None
    unread: str = ""

    def part(self, coin: Coin) -> Part | None:
        return next((one for one in self.parts if one.coin == coin), None)


# To the wire ----------------------------------------------------------------------------------------------------------


def slippage_of(orders: Sequence[Order], mids: Mapping[Coin, Price]) -> SlippageFraction:
    """The widest band around the mid that goes past nobody's limit; negative when a limit does not reach its mid."""
    bands = [(one.limit_price / mids[one.coin] - ONE) * one.side.sign for one in orders]
    return SlippageFraction(min(*bands, SLIPPAGE_MAX).quantize(SLIPPAGE_STEP, ROUND_FLOOR))


def encode_open(
    orders: Sequence[Order], mids: Mapping[Coin, Price], leverage: int, slippage: SlippageFraction, key: str
) -> dict[str, object]:
    """POST /positions for *orders*, none of which reduces. Weights add up to exactly 1 over both sides.

    Pear makes coins of the dollars by its own price, so that more or less than the quantities may be filled.
    """
    values = [one.quantity * mids[one.coin] for one in orders]
    usd = sum(values, ZERO)
    weights = [(value / usd).quantize(WEIGHT_STEP) for value in values]
    weights[-1] = ONE - sum(weights[:-1], ZERO)
    sides: dict[Side, list[dict[str, object]]] = {Side.BUY: [], Side.SELL: []}
    for order, weight in zip(orders, weights, strict=True):
        sides[order.side].append({"asset": order.coin, "weight": float(weight)})
    return {
        "executionType": "MARKET",
        "slippage": float(slippage),
        "leverage": leverage,
        "usdValue": float(usd.quantize(USD_STEP)),
        "longAssets": sides[Side.BUY],
        "shortAssets": sides[Side.SELL],
        "idempotencyKey": key,
    }


def encode_targets(basket: Basket, targets: Mapping[Coin, Quantity]) -> list[dict[str, object]]:
    """POST adjust-advance: every coin of *basket* with the size it is to have, in coins; repeating it does nothing."""
    rows: dict[Side, list[dict[str, object]]] = {Side.BUY: [], Side.SELL: []}
    for part in basket.parts:
        rows[part.side].append({"asset": part.coin, "size": float(targets.get(part.coin, part.quantity))})
    return [{"longAssets": rows[Side.BUY], "shortAssets": rows[Side.SELL]}]


def encode_close() -> dict[str, object]:
    return {"executionType": "MARKET"}


def encode_lines(line: PairLine) -> dict[str, object]:
    """PUT riskParameters in dollars of profit and loss, both positive: the one unit that is not in doubt."""
    return {
        "takeProfit": {"type": "DOLLAR", "value": float(line.take_profit.quantize(CENT))},
        "stopLoss": {"type": "DOLLAR", "value": float(line.stop_loss.quantize(CENT))},
    }


def decode_lines(record: Record) -> tuple[Usd | None, Usd | None]:
    """Take profit and stop loss of a position, or of what is put there, in dollars; None for none, and for one in
    another unit, which is not ours."""
    return _dollars(record.get("takeProfit")), _dollars(record.get("stopLoss"))


# Answers --------------------------------------------------------------------------------------------------------------


def refusal_in(status: int, content: bytes) -> Refused | Unclear:
    """What an HTTP error says of a write.

    Only a 4xx in Pear's own words is a no, and one that has neither a code of Pear's own nor a list of faulty fields
    may be the exchange's no to one of two legs. 408 (another trade was under way), 409 (a key used before), 429 and
    every 5xx say nothing about what was done; nor does anything that is no JSON.
    """
    try:
        answer: object = json.loads(content)
    except (ValueError, RecursionError):
        return Unclear(f"Pear answered with status {status} and no JSON")
    record = answer if isinstance(answer, Mapping) else {}
    code = record.get("code")
    words = _plain(record.get("message"))
    told = f"{words} ({code})" if isinstance(code, str) else words
    if status in _NOT_NOW or not 400 <= status < 500 or not words:
        return Unclear(f"Pear answered with status {status}: {told}", bool(words) and status in _NOT_NOW)
    code = code if isinstance(code, str) else ""
    reason = _REASONS.get(code, RejectReason.OTHER)
    validated = status in _BEFORE_ANYTHING or isinstance(record.get("message"), list)
    surely_nothing = code in _FOUND_BY_PEAR or (validated and not code.startswith("HL_"))
    return Refused(reason, told, status, code, surely_nothing)


def decode_tokens(answer: object) -> Tokens:
    """The answers of log-in and refresh."""
    record = mapping(answer)
    life = number(record.get("expiresIn"), "expiresIn")
    if life <= 0:
        raise unreadable("expiresIn")
    return Tokens(text(record, "accessToken"), text(record, "refreshToken"), Seconds(float(life)))


def decode_created(answer: object) -> Created:
    """POST /positions. Fills may be missing: then nothing is told."""
    record = mapping(answer)
    fills = record.get("fills")
    told: dict[int, tuple[Coin, Quantity]] = {}
    for element in items(fills) if fills is not None else ():
        fill = mapping(element)
        oid = int(number(fill.get("oid"), "oid"))
        coin, quantity = Coin(text(fill, "coin")), number(fill.get("sz"), "sz")
        told[oid] = coin, Quantity(told.get(oid, (coin, ZERO))[1] + quantity)
    return Created(text(record, "orderId"), told)


def decode_baskets(answer: object) -> tuple[Basket, ...]:
    """GET /positions. One that cannot be read, which may be anybody's, hides no other."""
    return tuple(_basket_or_unread(one) for one in items(answer))


def takes_weights_per_side(basket: Basket) -> bool:
    """Does the entry ratio of an even pair say that Pear does not let weights add up to one over both sides.

    Then it is the ratio of the prices; it ought to be the square root of that. Without both ratios nothing is said.
    """
    weighted, plain = basket.weighted_ratio, basket.price_ratio
    if weighted is None or plain is None or plain <= 0:
        return False
    geometric = WeightedRatio(plain.sqrt())
    return abs(weighted - geometric) > abs(weighted - plain)


def decode_failures(answer: object) -> Mapping[str, str]:
    """POST close-all: the positions that were not closed, and why; none for the answers of other writes."""
    results = answer.get("results") if isinstance(answer, Mapping) else None
    rows = [one for one in results if isinstance(one, Mapping)] if isinstance(results, list) else []
    return {str(one.get("positionId")): _plain(one.get("error")) for one in rows if one.get("success") is not True}


def has_failed(answer: object) -> bool:
    """Does the answer to a write that was taken tell that its order came to nothing, as that of an adjustment may."""
    return isinstance(answer, Mapping) and answer.get("status") in ("FAILED", "CANCELLED")


def decode_agent(answer: object) -> str | None:
    """GET /agentWallet; None for the several ways of saying that there is none."""
    found = mapping(answer).get("agentWalletAddress") if answer is not None else None
    return found.lower() if isinstance(found, str) and found else None


def _basket_or_unread(value: object) -> Basket:
    try:
        return _basket(mapping(value))
    except VenueUnavailable as error:
        return Basket("", (), "", None, None, None, None, error.detail)


def _basket(record: Record) -> Basket:
    sides = ((Side.BUY, "longAssets"), (Side.SELL, "shortAssets"))
    # A position of one side may come without the other.
    parts = tuple(
        _part(mapping(one), side) for side, name in sides if record.get(name) is not None for one in items(record[name])
    )
    weighted, plain = _perhaps(record.get("entryRatio")), _perhaps(record.get("entryPriceRatio"))
    return Basket(
        id=text(record, "positionId"),
        parts=tuple(one for one in parts if one.quantity),
        updated_at=str(record.get("updatedAt")),
        weighted_ratio=None if weighted is None else WeightedRatio(weighted),
        price_ratio=None if plain is None else PriceRatio(plain),
        take_profit=decode_lines(record)[0],
        stop_loss=decode_lines(record)[1],
    )


def _part(record: Record, side: Side) -> Part:
    size = _rounded(number(record.get("actualSize"), "actualSize"), SIZE_STEP, "actualSize")
    return Part(Coin(text(record, "coin")), side, Quantity(abs(size)))


def _dollars(line: object) -> Usd | None:
    if not isinstance(line, Mapping) or line.get("type") != "DOLLAR":
        return None
    value = line.get("value")
    dollars = _perhaps(str(value) if isinstance(value, float) else value, CENT)
    # A line that trails has no value of its own, or not one that is ours.
    return None if dollars is None or line.get("isTrailing") is True else Usd(abs(dollars))


# Values ---------------------------------------------------------------------------------------------------------------


def number(value: object, name: str) -> Decimal:
    """A finite decimal from a number or a text."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise unreadable(f"{name} is missing")
    return _ANSWERS.decimal(value, name)


def _rounded(value: Decimal, step: Decimal, name: str) -> Decimal:
    try:
        return value.quantize(step)
    except ArithmeticError as error:
        raise unreadable(f"{name} is beyond all measure") from error


def _perhaps(value: object, step: Decimal | None = None) -> Decimal | None:
    """Of what no close needs: None for what cannot be read, which hides no position."""
    try:
        found = number(value, "a number")
        return found if step is None else _rounded(found, step, "a number")
    except VenueUnavailable:
        return None


def _plain(value: object) -> str:
    """Pear's sentence, or sentences, on one line; nothing for what is no text."""
    found = "; ".join(str(one) for one in value) if isinstance(value, list) else value
    return one_line(found) if isinstance(found, str) else ""
