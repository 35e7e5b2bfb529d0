"""Records to JSON content and to tables: the way out at the JSON edge.

The law: one function walks any record of the house. Here alone a Decimal becomes a float; a table keeps it digit for
digit, and no cell of it is a formula.
"""

import csv
import io
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any

from trading.domain.desk_state import DeskState
from trading.ports import Json

FORMULA_STARTS = tuple("=+-@\t\r\n")


def render(record: object) -> Json:
    """*record* as JSON content: Decimals as numbers, instants as ISO 8601, enums as their values, NaN as null."""
    return _RENDERERS[record.__class__](record)


class _Renderers(dict[type, Callable[[Any], Json]]):
    """By the type, found out once for each: a list of positions is thousands of values of a dozen types."""

    def __missing__(self, kind: type) -> Callable[[Any], Json]:
        self[kind] = found = _renderer_of(kind)
        return found


_RENDERERS = _Renderers()


def _renderer_of(kind: type[Any]) -> Callable[[Any], Json]:
    for plain, renderer in _PLAIN:
        if issubclass(kind, plain):
            return renderer
    if is_dataclass(kind):
        return _record_renderer(tuple(one.name for one in fields(kind)))
    return lambda record: render(str(record))


def _record_renderer(names: tuple[str, ...]) -> Callable[[Any], Json]:
    if len(names) < 2:  # of one name the getter below gets the value itself
        return lambda record: {name: render(getattr(record, name)) for name in names}
    values_of = attrgetter(*names)
    return lambda record: {
        name: _RENDERERS[value.__class__](value) for name, value in zip(names, values_of(record), strict=True)
    }


def _as_it_is(record: Any) -> Json:
    value: Json = record
    return value


def _text(record: str) -> Json:
    return record if record.isascii() else record.encode("utf-8", "replace").decode("utf-8")


def _items(record: Any) -> Json:
    return [_RENDERERS[item.__class__](item) for item in record]


# The first that fits: an enum may be a text as well, a truth is a number, an instant a day.
_PLAIN: tuple[tuple[type | tuple[type, ...], Callable[[Any], Json]], ...] = (
    ((type(None), bool, int), _as_it_is),
    (Enum, lambda record: render(record.value)),
    (str, _text),
    (float, lambda record: record if record - record == 0 else None),
    (Decimal, lambda record: _json_number(record)),
    (date, lambda record: record.isoformat()),
    (Mapping, lambda record: {str(render(name)): render(value) for name, value in record.items()}),
    ((list, tuple), _items),
    (Set, lambda record: sorted(map(render, record), key=str)),
)


def render_state(state: DeskState) -> Json:
    """What a caller may know of the desk state: never whose account it is bound to."""
    return {
        "trading_state": render(state.state),
        "causes": render(state.causes),
        "why": state.why,
        "since": render(state.since),
        "accepted_drift": render(state.accepted_drift),
    }


def table_lines(kind: type, records: Iterable[object]) -> Iterator[str]:
    """CSV (RFC 4180) of *records*, dataclasses of *kind*: a line with the columns' names, then one each."""
    columns = columns_of(kind)
    yield _line(columns)
    for record in records:
        yield _line([_cell(_at(record, column.split("."))) for column in columns])


def columns_of(kind: type) -> tuple[str, ...]:
    """The columns of a table of *kind*: its fields, those of records within as `long.coin`; lists have no place."""
    columns: list[str] = []
    for name, hint in typing.get_type_hints(kind).items():
        plain = present_type(hint)
        if isinstance(plain, type) and is_dataclass(plain):
            columns += [f"{name}.{column}" for column in columns_of(plain)]
        elif typing.get_origin(plain) is None:
            columns.append(name)
    return tuple(columns)


def present_type(hint: object) -> object:
    """*hint* without its None and without the name of a NewType; unions of several types stay."""
    if isinstance(hint, typing.NewType):
        return present_type(hint.__supertype__)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        present = [one for one in typing.get_args(hint) if one is not type(None)]
        return present_type(present[0]) if len(present) == 1 else hint
    return hint


def _json_number(number: Decimal) -> Json:
    """The nearest float, whole numbers as such; None for what JSON cannot say."""
    if not number.is_finite():
        return None
    value = float(number)
    return value if value - value == 0 else None


def _at(record: object, names: list[str]) -> object:
    """The value under *names*, one within the other; None where a record on the way is absent."""
    for name in names:
        record = getattr(record, name) if record is not None else None
    return record


def _cell(value: object) -> str:
    """A value as text: numbers digit for digit; text that a spreadsheet would take for a formula, behind an apostrophe.

    A negative number is no formula: only what somebody may have made up is quoted.
    """
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case Decimal():
            return format(value, "f") if value.is_finite() else ""
        case datetime() | date():
            return value.isoformat()
        case _:
            text = str(render(value))
            return f"'{text}" if text.startswith(FORMULA_STARTS) or text.lstrip().startswith(FORMULA_STARTS) else text


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
