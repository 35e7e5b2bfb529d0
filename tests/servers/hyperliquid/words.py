"""The wire's vocabulary: decimals as strings, addresses, and the two ways a request can be wrong.

Responses write every decimal with at least one digit after the point; requests are parsed as strictly as the exchange
does: a number that is not a plain string, or has more than eight decimals, is a 422.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal

from trading.ports import Clock

Row = dict[str, object]

ZERO = Decimal(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_DECIMAL = re.compile(r"\d{1,24}(\.\d{1,24})?")
_WIRE_DECIMALS = 8
_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}")
_CLOID = re.compile(r"0x[0-9a-fA-F]{32}")
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Unprocessable(Exception):
    """The JSON does not fit the schema: HTTP 422, nothing consumed."""


class Refused(Exception):
    """The whole action is refused: HTTP 200 with `status: err` and this sentence."""


def milliseconds(clock: Clock) -> int:
    """The clock's instant as the exchange counts time."""
    return (clock.now() - _EPOCH) // _MILLISECOND


def instant(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def text(value: Decimal) -> str:
    """*value* as responses write it: plain, no trailing zeros but always one decimal (`60000.0`)."""
    plain = bare(value)
    return plain if "." in plain else plain + ".0"


def bare(value: Decimal) -> str:
    """*value* as signed requests write it: plain, no trailing zeros (`60000`)."""
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


def cut(value: Decimal, decimals: int) -> Decimal:
    """*value* truncated towards zero: the way the exchange rounds fees and average prices."""
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_DOWN)


def rounded(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals))


def member(source: Mapping[str, object], key: str) -> object:
    """The value of *key*; raises Unprocessable when it is missing."""
    if key not in source:
        raise Unprocessable(f"missing field `{key}`")
    return source[key]


def record(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Unprocessable("expected a map")
    return value


def items(source: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = member(source, key)
    if not isinstance(value, list):
        raise Unprocessable(f"`{key}` is no sequence")
    return [record(one) for one in value]


def word(source: Mapping[str, object], key: str) -> str:
    value = member(source, key)
    if not isinstance(value, str):
        raise Unprocessable(f"`{key}` is no string")
    return value


def whole(source: Mapping[str, object], key: str) -> int:
    """A JSON integer; with a sign only where the caller allows one."""
    value = member(source, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unprocessable(f"`{key}` is no integer")
    return value


def natural(source: Mapping[str, object], key: str) -> int:
    value = whole(source, key)
    if not 0 <= value < 2**64:
        raise Unprocessable(f"`{key}` is out of range")
    return value


def truth(source: Mapping[str, object], key: str) -> bool:
    value = member(source, key)
    if not isinstance(value, bool):
        raise Unprocessable(f"`{key}` is no boolean")
    return value


def decimal(source: Mapping[str, object], key: str) -> Decimal:
    """A decimal string, unsigned, at most eight decimals that are not zero."""
    value = word(source, key)
    if _DECIMAL.fullmatch(value) is None:
        raise Unprocessable(f"`{key}` is no decimal string")
    if len(value.partition(".")[2].rstrip("0")) > _WIRE_DECIMALS:
        raise Unprocessable(f"`{key}` has more than {_WIRE_DECIMALS} decimals")
    return Decimal(value)


def address(source: Mapping[str, object], key: str) -> str:
    """An address in lower case with `0x`; both spellings and any case are accepted."""
    return as_address(word(source, key))


def as_address(value: str) -> str:
    if _ADDRESS.fullmatch(value) is None:
        raise Unprocessable(f"{value!r} is no address")
    lower = value.lower()
    return lower if lower.startswith("0x") else "0x" + lower


def as_cloid(value: str) -> str:
    if _CLOID.fullmatch(value) is None:
        raise Unprocessable(f"{value!r} is no cloid")
    return value.lower()


def only(source: Mapping[str, object], *keys: str) -> None:
    """Raises Unprocessable for a field the schema does not know."""
    unknown = set(source) - set(keys)
    if unknown:
        raise Unprocessable(f"unknown field `{min(unknown)}`")
