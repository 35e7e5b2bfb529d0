"""Domain records as JSON and back, driven by their type hints.

The law: `decode(encode(x)) == x`. Amounts are plain decimal strings, instants ISO 8601 in UTC with microseconds, enums
their values; what is unknown, missing or of another type is StoreCorrupt, never guessed.
"""

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NewType, Union, cast, get_args, get_origin, get_type_hints

from trading.domain.alerts import Outbox
from trading.domain.desk_state import DeskState
from trading.domain.errors import InvalidRequest, InvariantBroken, StoreCorrupt
from trading.domain.market import Pair, ratio_of
from trading.domain.positions import Leg, Position, Watch
from trading.domain.scenarios import Script
from trading.domain.trades import Event
from trading.domain.units import ONE

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_EVENTS: Mapping[str, type] = {event.__name__: event for event in get_args(Event)}
WORDS_KEPT = 1024
WORD_LENGTH_MAX = 100
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class _Malformed(ValueError):
    """Content that is no record; becomes StoreCorrupt at the door."""


def encode_event(event: Event) -> dict[str, Json]:
    """The event's fields, with its name as `type`."""
    return {"type": type(event).__name__, **_encode_record(event)}


def decode_event(content: Json) -> Event:
    """Raises StoreCorrupt."""
    body = dict(content) if isinstance(content, dict) else {}
    name = body.pop("type", None)
    event = _EVENTS.get(name) if isinstance(name, str) else None
    if event is None:
        raise StoreCorrupt(f"there is no event {name!r}")
    return cast(Event, _decoded(event, body))


def encode_watch(watch: Watch) -> dict[str, Json]:
    return _encode_record(watch)


def decode_watch(content: Json) -> Watch:
    """Raises StoreCorrupt."""
    return cast(Watch, _decoded(Watch, content))


def encode_state(state: DeskState) -> dict[str, Json]:
    return _encode_record(state)


def decode_state(content: Json) -> DeskState:
    """Raises StoreCorrupt."""
    return cast(DeskState, _decoded(DeskState, content))


def encode_outbox(outbox: Outbox) -> dict[str, Json]:
    return _encode_record(outbox)


def decode_outbox(content: Json) -> Outbox:
    """Raises StoreCorrupt."""
    return cast(Outbox, _decoded(Outbox, content))


def encode_script(script: Script) -> dict[str, Json]:
    return _encode_record(script)


def decode_script(content: Json) -> Script:
    """Raises StoreCorrupt."""
    return cast(Script, _decoded(Script, content))


def encode_position(position: Position) -> dict[str, Json]:
    """*position* under the outside's names, without what depends on present prices; it is never decoded.

    `entry_spread` is price(A)/price(B) - 1 from the desk's own average entry prices.
    """
    plan = position.exit_plan
    holding_max = timedelta(seconds=plan.max_holding_seconds) if plan.max_holding_seconds is not None else None
    content: dict[str, object] = {
        "position_id": position.id,
        "trade_id": position.trade_id,
        "closing_trade_id": position.closing_trade_id,
        "signal_id": position.signal.id if position.signal is not None else None,
        "approval_id": position.approval.id if position.approval is not None else None,
        "pair": position.pair,
        "status": position.status,
        "size": position.entry_notional,
        "position_size": position.entry_notional,
        "leverage": position.leverage,
        "entry_spread": _entry_spread(position),
        "realized_pnl": position.realized,
        "fees": position.fees,
        "funding": position.funding,
        "take_profit": plan.take_profit,
        "stop_loss": plan.stop_loss,
        "trailing_stop": plan.trailing,
        "high_water": position.high_water,
        "time_window": plan.time_window,
        "window_expires_at": position.entered_at + holding_max if holding_max is not None else None,
        "entry_time": position.entered_at,
        "exit_time": position.exited_at,
        "exit_reason": position.exit_reason,
    }
    return {
        **{name: _encode(value) for name, value in content.items()},
        "long": _encode_leg(position.long),
        "short": _encode_leg(position.short),
        "naked": {"max_usd": _encode(position.naked_max), "usd_seconds": _encode(position.naked_usd_seconds)},
    }


def _encode_leg(leg: Leg) -> dict[str, Json]:
    return {
        "coin": leg.coin,
        "side": leg.side.value,
        "quantity": _encode(leg.held),
        "opened": _encode(leg.opened),
        "closed": _encode(leg.closed),
        "entry_price": _encode(leg.entry_price),
        "exit_price": _encode(leg.exit_price),
        "realized_pnl": _encode(leg.realized),
        "fees": _encode(leg.fees),
        "funding": _encode(leg.funding),
    }


def _entry_spread(position: Position) -> Decimal | None:
    prices = {leg.coin: leg.entry_price for leg in position.legs}
    base, quote = prices.get(position.pair.base), prices.get(position.pair.quote)
    return ratio_of(base, quote) - ONE if base and quote else None


def _encode_record(record: Any) -> dict[str, Json]:
    return cast(dict[str, Json], _encode(record))


def _encode(value: Any) -> Json:
    return _CHOSEN[value.__class__](value)


_Encoder = Callable[[Any], Json]


class _Chosen(dict[type, _Encoder]):
    """The encoder of a type, chosen once."""

    def __missing__(self, kind: type) -> _Encoder:
        self[kind] = chosen = _encoder(kind)
        return chosen


_CHOSEN = _Chosen()


def _record_encoder(record: Any) -> _Encoder:
    """Of the dataclass *record*: a save writes thirty records of ten fields."""
    names = tuple(field.name for field in fields(record))
    if len(names) < 2:  # of one name the getter below gets the value itself
        return lambda record: {name: _encode(getattr(record, name)) for name in names}
    values_of = attrgetter(*names)

    def encode(record: Any) -> Json:
        content: dict[str, Json] = {}
        for name, value in zip(names, values_of(record), strict=True):
            kind = value.__class__
            content[name] = value if kind in _PLAIN else _CHOSEN[kind](value)
        return content

    return encode


def _encoder(kind: Any) -> _Encoder:
    if issubclass(kind, StrEnum):
        return lambda value: cast(str, value.value)
    for known, encode in _ENCODERS.items():
        if issubclass(kind, known):
            return encode
    if is_dataclass(kind):
        return _record_encoder(kind)

    def refuse(value: object) -> Json:
        raise InvariantBroken(f"a {kind.__name__} is not for the disk")

    return refuse


def _same(value: Any) -> Json:
    return cast(Json, value)


def _plain(value: Decimal) -> str:
    if not value.is_finite():
        raise InvariantBroken(f"{value} is not for the disk")
    return f"{value:f}" if value else f"{value.copy_abs():f}"


def _instant(value: datetime) -> str:
    if value.tzinfo is None:
        raise InvariantBroken("an instant without an offset is not for the disk")
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")


_PLAIN = frozenset({types.NoneType, bool, int, str})
_ENCODERS: Mapping[type, _Encoder] = {
    types.NoneType: _same,
    int: _same,
    str: _same,
    Decimal: _plain,
    datetime: _instant,
    date: date.isoformat,
    Pair: str,
    tuple: lambda value: [_CHOSEN[one.__class__](one) for one in value],
    frozenset: lambda value: sorted((_encode(one) for one in value), key=str),
    Mapping: lambda value: {str(key): _encode(one) for key, one in value.items()},
}

_Decoder = Callable[[Json], object]


def _decoded(record: type, content: Json) -> object:
    try:
        return _decoder(record)(content)
    except (ValueError, OverflowError, InvalidRequest) as error:
        raise StoreCorrupt(f"{record.__name__}: {error}") from error


@cache
def _decoder(hint: Any) -> _Decoder:
    """The decoder of a type hint, made once."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, NewType):
        return _decoder(hint.__supertype__)
    if origin in (Union, types.UnionType):
        return _optional(_decoder(next(one for one in arguments if one is not types.NoneType)))
    if origin in (tuple, frozenset):
        return _sequence(origin, _decoder(arguments[0]))
    if origin is Mapping:
        return _mapping(_decoder(arguments[1]))
    if hint in _LEAVES:
        return _LEAVES[hint]
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum(hint)
    return _record(hint)


def _optional(inner: _Decoder) -> _Decoder:
    return lambda content: None if content is None else inner(content)


def _sequence(kind: Callable[[Any], object], inner: _Decoder) -> _Decoder:
    def decode(content: Json) -> object:
        if not isinstance(content, list):
            raise _Malformed("a list is wanted")
        return kind(inner(one) for one in content)

    return decode


def _mapping(inner: _Decoder) -> _Decoder:
    def decode(content: Json) -> object:
        if not isinstance(content, dict):
            raise _Malformed("a mapping is wanted")
        return {key: inner(one) for key, one in content.items()}

    return decode


def _record(record: Any) -> _Decoder:
    """Strict: every field that has no default must be there, and nothing else may."""
    hints = get_type_hints(record)
    parts: tuple[Field[Any], ...] = fields(record)
    decoders = {part.name: _decoder(hints[part.name]) for part in parts}
    required = {part.name for part in parts if part.default is MISSING and part.default_factory is MISSING}

    def decode(content: Json) -> object:
        if not isinstance(content, dict):
            raise _Malformed(f"a {record.__name__} is wanted")
        if content.keys() != decoders.keys():
            if unknown := content.keys() - decoders.keys():
                word = "which this version does not know: use the version that wrote it"
                raise _Malformed(f"{record.__name__} with {', '.join(sorted(unknown))}, {word}")
            if missing := required - content.keys():
                raise _Malformed(f"{record.__name__} without {', '.join(sorted(missing))}")
        return record(**{name: decoders[name](one) for name, one in content.items()})

    return decode


def _enum(kind: type[StrEnum]) -> _Decoder:
    members = {member.value: member for member in kind}

    def decode(content: Json) -> object:
        member = members.get(content) if isinstance(content, str) else None
        if member is None:
            raise _Malformed(f"{content!r} is no {kind.__name__}")
        return member

    return decode


def _exactly(kind: type) -> _Decoder:
    def decode(content: Json) -> object:
        if type(content) is not kind:
            raise _Malformed(f"{content!r} is no {kind.__name__}")
        return content

    return decode


def _text(content: Json) -> str:
    if not isinstance(content, str):
        raise _Malformed(f"{content!r} is no text")
    return _word(content) if len(content) <= WORD_LENGTH_MAX else content


# A trade says most of what it says several times. What is the same is one object in memory, and is made once.
@lru_cache(WORDS_KEPT)
def _word(text: str) -> str:
    return text


@lru_cache(WORDS_KEPT)
def _decimal(text: str) -> Decimal:
    if not _PLAIN_DECIMAL.fullmatch(text):
        raise _Malformed(f"{text!r} is no decimal string")
    return Decimal(text)


@lru_cache(WORDS_KEPT)
def _instant_of(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise _Malformed(f"{text!r} has no offset")
    return instant.astimezone(UTC)


_pair = lru_cache(WORDS_KEPT)(Pair.parse)


_LEAVES: Mapping[type, _Decoder] = {
    str: _text,
    int: _exactly(int),
    bool: _exactly(bool),
    Decimal: lambda content: _decimal(_text(content)),
    datetime: lambda content: _instant_of(_text(content)),
    date: lambda content: date.fromisoformat(_text(content)),
    Pair: lambda content: _pair(_text(content)),
}
