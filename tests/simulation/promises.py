"""What a broken promise is, for everything that checks one.

The law: no `except` of the desk's catches it.
"""

from decimal import Decimal

NOTIONAL_MIN = Decimal("10.5")
"""USD: the exchange's minimum and a little for prices that move; less than this may have to stay."""


class Violation(BaseException):
    """A promise was broken."""


def require(holds: bool, what: str) -> None:
    """Raises Violation, saying *what*, unless it holds."""
    if not holds:
        raise Violation(what)
