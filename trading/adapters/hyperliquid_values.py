"""Numbers, instants and shapes as Hyperliquid writes them, both ways.

The law: pure, and Decimal until the text is written. Whole numbers may come quoted.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from trading.adapters.wire_values import Answers, Record, one_line
from trading.domain.errors import InvalidNumber, VenueUnavailable

WIRE_DECIMALS_MAX = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_ANSWERS = Answers("Hyperliquid")
unreadable, mapping, items, text = _ANSWERS.unreadable, _ANSWERS.mapping, _ANSWERS.items, _ANSWERS.text


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


def positive(record: Record, name: str) -> Decimal:
    value = amount(record, name)
    if value <= 0:
        raise unreadable(f"{name} is not above zero")
    return value


def not_negative(record: Record, name: str) -> Decimal:
    """As the price of a fill: an outcome market may settle at zero."""
    value = amount(record, name)
    if value < 0:
        raise unreadable(f"{name} is below zero")
    return value


def plain(value: object) -> str:
    return one_line(value if isinstance(value, str) else repr(value))
