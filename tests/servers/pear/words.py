"""Pear's refusals, and its fields as they are read and written.

Bodies have the two shapes that were seen live: handled errors with `error` and `code`, crashes with neither.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import ClassVar

Row = dict[str, object]
Body = Mapping[str, object]


class Refused(Exception):
    """A handled error: its status, its words (one, or a list of validation failures) and its code, if it has one."""

    def __init__(self, status: int, message: str | list[str], code: str = "") -> None:
        super().__init__(str(message))
        self.status = status
        self.message = message
        self.code = code

    @property
    def body(self) -> Row:
        row: Row = {"statusCode": self.status, "error": HTTPStatus(self.status).phrase, "message": self.message}
        return {**row, "code": self.code} if self.code else row


class Crashed(Exception):
    """The server's own failure: a 500 that says nothing."""

    body: ClassVar[Row] = {"statusCode": 500, "message": "Internal server error"}


def number(body: Body, name: str, low: Decimal, high: Decimal | None = None) -> Decimal:
    """A JSON number in its range; Refused as the validation says it."""
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused(400, [f"{name} must be a number conforming to the specified constraints"])
    if value < low:
        raise Refused(400, [f"{name} must not be less than {low}"])
    if high is not None and value > high:
        raise Refused(400, [f"{name} must not be greater than {high}"])
    return Decimal(value)


def word(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(400, [f"{name} must be a string"])
    return value


def record(value: object, name: str) -> Body:
    if not isinstance(value, Mapping):
        raise Refused(400, [f"{name} must be an object"])
    return value


def rows(body: Body, name: str) -> list[Body]:
    """An optional list of objects."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(400, [f"{name} must be an array"])
    return [record(one, name) for one in value]


def iso(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"
