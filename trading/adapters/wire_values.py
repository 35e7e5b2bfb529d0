"""Reads single values out of a venue's answer.

The law: a value of another shape than expected is never guessed at; it raises VenueUnavailable in the venue's name.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from trading.domain.errors import VenueUnavailable

Record = Mapping[str, object]

DETAIL_LENGTH_MAX = 300
# Beyond this a number is no amount of anything, and sums of such numbers overflow.
EXPONENT_MAX = 40


class Answers:
    """The answers of one venue, by its name. Every reader raises VenueUnavailable."""

    def __init__(self, venue: str) -> None:
        self._venue = venue

    def unreadable(self, what: str) -> VenueUnavailable:
        return VenueUnavailable(f"{self._venue} answered with something else than expected: {what}")

    def mapping(self, value: object) -> Record:
        if not isinstance(value, (dict, Mapping)):  # nearly all are the first, and the second is asked for in Python
            raise self.unreadable("an object is missing")
        return value

    def items(self, value: object) -> Sequence[object]:
        if not isinstance(value, list):
            raise self.unreadable("a list is missing")
        return value

    def text(self, record: Record, name: str) -> str:
        value = record.get(name)
        if not isinstance(value, str) or not value:
            raise self.unreadable(f"{name} is missing")
        return value

    def decimal(self, value: int | str | Decimal, name: str) -> Decimal:
        """*value* as a finite number of a sane size."""
        try:
            found = Decimal(value)
        except ArithmeticError as error:
            raise self.unreadable(f"{name} is no number") from error
        if not found.is_finite() or abs(found.adjusted()) > EXPONENT_MAX:
            raise self.unreadable(f"{name} is not finite, or beyond all measure")
        return found


def one_line(words: str) -> str:
    """*words* of a venue on one line of bounded length."""
    return "".join(one if one.isprintable() else " " for one in words[:DETAIL_LENGTH_MAX]).strip()
