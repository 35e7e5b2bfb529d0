"""Units and identifiers, and the two roundings onto a grid.

Money is Decimal and named by its unit; a float enters only through `exact`, which converts it digit for digit as it
prints.
"""

import hashlib
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NewType

from trading.domain.errors import InvalidNumber

Coin = NewType("Coin", str)
Price = NewType("Price", Decimal)
Quantity = NewType("Quantity", Decimal)
Usd = NewType("Usd", Decimal)
Ratio = NewType("Ratio", Decimal)
TradeId = NewType("TradeId", str)
PositionId = NewType("PositionId", str)
ClientOrderId = NewType("ClientOrderId", str)

ZERO = Decimal(0)
ONE = Decimal(1)
DOLLAR = Coin("USD")
"""The other side of a holding that was adopted to be closed: nothing is ever held or traded of it."""

Number = int | str | float | Decimal


def exact(value: Number, name: str) -> Decimal:
    """*value* as a finite Decimal; a float as its shortest decimal text (0.1 is 0.1).

    Raises InvalidNumber, naming *name*, for NaN, infinities, booleans and text that is no number.
    """
    number = value if type(value) is Decimal else _converted(value, name)
    if not number.is_finite():
        raise InvalidNumber(name, f"{name} must be finite")
    return number


def _converted(value: Number, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | float | Decimal):
        raise InvalidNumber(name, f"{name} must be a number, not {type(value).__name__}")
    try:
        return value if isinstance(value, Decimal) else Decimal(str(value))
    except (ArithmeticError, ValueError) as error:
        raise InvalidNumber(name, f"{name} is not a number") from error


def positive(value: Number, name: str) -> Decimal:
    """*value* as a Decimal above zero; raises InvalidNumber otherwise."""
    number = exact(value, name)
    if number <= 0:
        raise InvalidNumber(name, f"{name} must be above zero")
    return number


def floor_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of *step* not above *quantity*."""
    return (quantity / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to_step(quantity: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of *step* not below *quantity*."""
    return (quantity / step).to_integral_value(ROUND_CEILING) * step


def hash_of(*causes: object) -> str:
    """Sixty-four hex digits that depend on *causes* alone: ids are hashes of what caused them."""
    text = "\x1f".join(map(str, causes))
    return hashlib.sha256(text.encode()).hexdigest()
