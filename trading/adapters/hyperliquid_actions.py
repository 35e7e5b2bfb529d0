"""What is signed and posted to Hyperliquid, and its words on that.

The law: pure. An answer to orders that cannot be understood is Unclear, never a guess. Shapes, texts and rules are
those of Hyperliquid's API documentation ("Exchange endpoint", "Error responses") and of answers recorded from the real
exchange.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading.adapters.hyperliquid_values import (
    decimal_text,
    items,
    mapping,
    plain,
    positive,
    unreadable,
    whole,
)
from trading.adapters.wire_values import Record
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import Order, RejectReason, Side
from trading.domain.resting import RestingOrder, TriggerKind
from trading.domain.units import Coin

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
    words = plain(answer.get("response"))
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
    if len(words) != count or not all(one == "success" or "never placed" in plain(one) for one in words):
        return None
    return tuple(one == "success" for one in words)


def decode_http_refusal(status: int, content: bytes) -> Refusal | None:
    """The refusal in an HTTP error, when it is one: the venue's own words that it could not parse the request.

    Those requests never reach the order path. Any other error status says nothing about what was done.
    """
    words = plain(content.decode("utf-8", "replace"))
    marks = ("Failed to parse the request body", "Failed to deserialize the JSON body", "Expected request with")
    if status in (400, 415, 422) and words.startswith(marks):
        return Refusal(RejectReason.OTHER, words)
    return None


def reason_of(words: str) -> RejectReason:
    """The desk's name for the venue's sentence; OTHER when it is none that the desk acts on."""
    lower = words.lower()
    return next((reason for text, reason in _REFUSALS if text in lower), RejectReason.OTHER)


def _word(element: object) -> Word:
    if isinstance(element, str):
        return Working(element)
    record = mapping(element)
    if "error" in record:
        words = plain(record["error"])
        return Refusal(reason_of(words), words)
    if "filled" in record:
        filled = mapping(record["filled"])
        return Executed(whole(filled.get("oid")), positive(filled, "totalSz"), positive(filled, "avgPx"))
    if "resting" in record:
        return Working("resting")
    return Unclear("the venue answered with a word that is not known")


def _payload(answer: object, kind: str) -> Record:
    record = mapping(answer)
    response = mapping(record.get("response"))
    if record.get("status") != "ok" or response.get("type") != kind:
        raise unreadable("the answer")
    return mapping(response.get("data"))
