"""Bytes to JSON content, strictly: what a request body may be before anybody looks at its fields.

The law: numbers become Decimal without passing through float; nothing is read beyond `BODY_BYTES_MAX`, nothing is
parsed that nests deeper than `DEPTH_MAX`, and whatever is wrong raises InvalidRequest naming where.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, cast

from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from trading.domain.errors import InvalidRequest

Content = None | bool | str | Decimal | list["Content"] | dict[str, "Content"]

BODY_BYTES_MAX = 64 * 1024
DEPTH_MAX = 20
NUMBER_CHARS_MAX = 40
EXPONENT_MAX = 40
NAME_CHARS_MAX = 64

UNUSABLE = Decimal("NaN")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# A string without an end swallows the rest, and no part of one is ever tried again: linear in any input.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|([\[{])|([\]}])', re.DOTALL)


class StrictJsonParser(BaseParser):
    """The only parser: forms and multipart bodies have none, so that no foreign page can post here unasked."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, object] | None = None
    ) -> Mapping[str, Content]:
        """Raises InvalidRequest naming `body`, or the field that is given twice."""
        # One byte more than the limit tells too much from just enough, whatever length was declared.
        content = content_of(stream.read(BODY_BYTES_MAX + 1))
        if not isinstance(content, dict):
            raise InvalidRequest({"body": "must be a JSON object"})
        return content


def body_of(request: Request) -> Mapping[str, Content]:
    """The body as an object; an absent one is an empty object.

    Raises InvalidRequest, and REST framework's UnsupportedMediaType for another Content-Type than JSON.
    """
    if request.META.get("HTTP_TRANSFER_ENCODING"):
        # Without Content-Length Django reads nothing: a close with conditions would pass for one without.
        raise InvalidRequest({"body": "must come with a Content-Length, not in chunks"})
    length = str(request.META.get("CONTENT_LENGTH") or "0")
    if not re.fullmatch(r"[0-9]{1,18}", length):
        raise InvalidRequest({"Content-Length": "must be a whole number of bytes"})
    if int(length) > BODY_BYTES_MAX:
        raise InvalidRequest({"body": f"must not be larger than {BODY_BYTES_MAX} bytes"})
    # What the only parser returned, or what REST framework puts in the place of an absent body.
    return cast(Mapping[str, Content], request.data)


def content_of(raw: bytes) -> Content:
    """*raw* as JSON content; a number of no use (NaN, 1e400, a thousand digits) becomes NaN, for its field to name."""
    if len(raw) > BODY_BYTES_MAX:
        raise InvalidRequest({"body": f"must not be larger than {BODY_BYTES_MAX} bytes"})
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest({"body": "must be UTF-8"}) from error
    _check_depth(text)
    try:
        content: Content = json.loads(
            text,
            parse_float=number_of,
            parse_int=number_of,
            parse_constant=lambda _: UNUSABLE,
            object_pairs_hook=_object_of,
        )
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            {"body": f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"}
        ) from error
    _check_text(text, content)
    return content


def number_of(text: str) -> Decimal:
    """The JSON number *text*, digit for digit; NaN when it is none or beyond what any field could mean."""
    if len(text) > NUMBER_CHARS_MAX or not _NUMBER.fullmatch(text):
        return UNUSABLE
    try:
        number = Decimal(text)
    except InvalidOperation:
        return UNUSABLE
    exponent = number.as_tuple().exponent
    small = isinstance(exponent, int) and abs(exponent) <= EXPONENT_MAX and abs(number.adjusted()) <= EXPONENT_MAX
    return number if small else UNUSABLE


def shown(name: str) -> str:
    """A caller's own word, fit to be repeated in an answer or a log."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= NAME_CHARS_MAX else plain[:NAME_CHARS_MAX] + "..."


def _check_depth(text: str) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            depth += 1
        elif match[2]:
            depth -= 1
        if depth > DEPTH_MAX:
            raise InvalidRequest({"body": f"must not nest deeper than {DEPTH_MAX}"})


def _object_of(pairs: list[tuple[str, Content]]) -> dict[str, Content]:
    content: dict[str, Content] = {}
    for name, value in pairs:
        if name in content:
            raise InvalidRequest({shown(name): "is given twice"})
        content[name] = value
    return content


def _check_text(text: str, content: Content) -> None:
    """Half of a surrogate pair is legal JSON and no text: nothing could store or repeat it."""
    if "\\u" in text and not _encodable(content):
        raise InvalidRequest({"body": "holds half of a surrogate pair, which is no character"})


def _encodable(content: Content) -> bool:
    match content:
        case str():
            return not any("\ud800" <= letter <= "\udfff" for letter in content)
        case list():
            return all(_encodable(item) for item in content)
        case dict():
            return all(_encodable(name) and _encodable(value) for name, value in content.items())
        case _:
            return True
