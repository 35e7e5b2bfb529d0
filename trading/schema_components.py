"""What has a name in the OpenAPI document: records as schemas, parameters, headers and examples.

The law: the shape of an answer is read off the record that is rendered, and the bounds of a request off the constants
that check it, so that neither can say another thing than the code does.
"""

import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path

from trading import serializers
from trading.domain.desk_state import Cause, TradingState
from trading.domain.exit_plan import TIME_WINDOW_DEFAULT, TIME_WINDOWS
from trading.domain.positions import PositionStatus
from trading.domain.scenarios import ScenarioKind
from trading.engine.accounting import DAYS_DEFAULT, DAYS_MAX
from trading.engine.barriers import STOP_LOSS_RANGE, TAKE_PROFIT_RANGE
from trading.engine.requests import Execution
from trading.events import MarkView
from trading.ports import Json
from trading.problems import Problem
from trading.rendering import present_type
from trading.schema_routes import ROUTES, codes_of

EXAMPLES_FILE = Path(__file__).with_name("schema_examples.json")

Node = dict[str, Json]

_WORDS = {
    "Health.status": ("healthy", "degraded", "unhealthy"),
    "Health.redis": ("connected", "disconnected"),
    "LegView.side": ("long", "short"),
    "LegPreview.side": ("long", "short"),
    "LegClosePreview.side": ("long", "short"),
    "Connection.status": ("up", "late", "down", "unknown"),
    "PositionView.risk_level": ("low", "medium", "high"),
    "MarkView.risk_level": ("low", "medium", "high"),
    "StopReport.status": ("all_positions_closed", "closing"),
}
"""Fields that are text in the record and one of a few words in truth."""


def ref_to(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


def components() -> Node:
    """Everything that has a name in the document."""
    records: dict[str, Json] = {}
    answers = [answer for route in ROUTES.values() for answer in route.answers.values()]
    for one in (*(answer.of for answer in answers), MarkView):
        if not isinstance(one, str):
            schema_of(one, records)
    return {
        "schemas": dict(sorted({**records, **_written_schemas()}.items())),
        "parameters": _parameters(),
        "headers": _headers(),
        "examples": {**_recorded_examples(), **{code: _problem_example(code) for code in _used_codes()}},
        "securitySchemes": {
            "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of `manage.py create_api_token`, with the scope read, trade or admin, each of "
                "which holds the ones before it. Callers on the loopback interface need none where "
                "ALLOW_ANONYMOUS_LOOPBACK says so; in a demo without API_TOKENS nobody does.",
            }
        },
    }


def schema_of(hint: object, records: dict[str, Json]) -> Node:
    """The schema of what `render` makes of a value of type *hint*; records within are put into *records* by name."""
    plain = present_type(hint)
    if plain is not hint and type(None) in typing.get_args(hint):
        return _or_null(schema_of(plain, records))
    origin, arguments = typing.get_origin(plain), typing.get_args(plain)
    if origin is tuple:
        return {"type": "array", "items": schema_of(arguments[0], records)}
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], records)}
    if arguments:
        return {"anyOf": [schema_of(one, records) for one in arguments]}
    if isinstance(plain, type) and is_dataclass(plain):
        if plain.__name__ not in records:
            records[plain.__name__] = {}  # in its place while its fields are read, so that a record may hold its like
            records[plain.__name__] = _record_schema(plain, records)
        return ref_to("schemas", plain.__name__)
    return _plain_schema(plain)


def _plain_schema(plain: object) -> Node:
    if isinstance(plain, type) and issubclass(plain, Enum):
        return _one_of(one.value for one in plain)
    found: Mapping[object, Node] = {
        bool: {"type": "boolean"},
        int: {"type": "integer"},
        float: {"type": "number"},
        Decimal: {"type": "number"},
        str: {"type": "string"},
        datetime: {"type": "string", "format": "date-time"},
        date: {"type": "string", "format": "date"},
    }
    return found[plain]


def _record_schema(kind: type, records: dict[str, Json]) -> Node:
    hints = typing.get_type_hints(kind)
    properties: Node = {}
    for name, hint in hints.items():
        words = _WORDS.get(f"{kind.__name__}.{name}")
        properties[name] = _one_of(words) if words else schema_of(hint, records)
    node = _record(tuple(properties), **properties)
    # A dataclass without words of its own has its signature for a docstring.
    if kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}("):
        node["description"] = " ".join(kind.__doc__.split())
    return node


def _one_of(words: Iterable[str]) -> Node:
    return {"type": "string", "enum": [str(word) for word in words]}


def _or_null(schema: Node) -> Node:
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _record(required: tuple[str, ...], **properties: Json) -> Node:
    return {"type": "object", "properties": properties, "required": [*required]}


def _body(**properties: Json) -> Node:
    """A body that is refused when it has any other field."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _between(bounds: tuple[Decimal, Decimal], says: str) -> Node:
    return {"type": "number", "minimum": float(bounds[0]), "maximum": float(bounds[1]), "description": says}


def _whole(low: int, high: int, says: str) -> Node:
    return {"type": "integer", "minimum": low, "maximum": high, "description": says}


_USD = (Decimal(0), serializers.POSITION_SIZE_MAX)
_Z = "in deviations of the log ratio, on the side that it was entered on"


def _written_schemas() -> dict[str, Json]:
    """The schemas of what is no record: request bodies, which are read field by field, and loose answers."""
    exits: dict[str, Json] = {
        "take_profit": _between(TAKE_PROFIT_RANGE, "Leave at this net return on gross notional"),
        "stop_loss": _between(STOP_LOSS_RANGE, "Leave at this net loss on gross notional"),
        "trailing_stop": ref_to("schemas", "TrailingStopRequest"),
        "max_holding_seconds": _whole(1, serializers.HOLDING_SECONDS_MAX, "Leave after so long"),
        "take_profit_usd": _between(_USD, "Leave at this net profit; 0.001 to 5 of the size"),
        "stop_loss_usd": _between(_USD, "Leave at this net loss; 0.002 to 0.5 of the size"),
        "take_profit_spread": _between(serializers.SPREAD_RANGE, "Leave when price(A)/price(B) - 1 has come to this"),
        "stop_loss_spread": _between(serializers.SPREAD_RANGE, "Leave when price(A)/price(B) - 1 has gone to this"),
        "take_profit_z": _between(serializers.TAKE_PROFIT_Z_RANGE, f"Leave when the z-score has come to this; {_Z}"),
        "stop_loss_z": _between(serializers.STOP_LOSS_Z_RANGE, f"Leave when the z-score has gone to this; {_Z}"),
    }
    removable: dict[str, Json] = {name: exits[name] for name in ("take_profit", "stop_loss")}
    for name in (one for one in exits if one in serializers.REMOVABLE):
        node = exits[name]
        removable[name] = {"anyOf": [node, {"type": "null"}], "description": "null removes it"}
    change: Node = {**_body(**removable), "minProperties": 1}
    windows = _one_of(TIME_WINDOWS)
    window = _record(
        ("periods", "display", "duration_seconds"),
        periods={"type": "integer"},
        display={"type": "string"},
        duration_seconds={"type": "integer"},
    )
    text: Node = {"type": "string"}
    return {
        "ExecuteRequest": _execute_request(exits, windows),
        "TwapRequest": _body(
            duration_seconds=_whole(1, serializers.TWAP_SECONDS_MAX, "From the first slice to the end of the last"),
            slices=_whole(1, serializers.TWAP_SLICES_MAX, "At most one a second"),
        ),
        "TrailingStopRequest": {
            **_body(
                arm=_between(serializers.TRAILING_ARM_RANGE, "The net return from which on it follows"),
                gap=_between(serializers.TRAILING_GAP_RANGE, "How far it follows behind the highest return"),
            ),
            "required": ["arm", "gap"],
            "description": "`gap` is smaller than `arm`.",
        },
        "ExitChange": change,
        "CloseRequest": {
            **_body(
                execution={**_one_of(Execution), "description": "market when left out, unless twap is there"},
                twap=ref_to("schemas", "TwapRequest"),
            ),
            "not": {"properties": {"execution": {"const": Execution.MARKET.value}}, "required": ["execution", "twap"]},
            "description": "The body may be left out. Closes may not be partial.",
        },
        "ScenarioRequest": {
            **_body(
                kind=_one_of(ScenarioKind),
                coin={"type": "string", "description": "All coins where none is named and none is needed"},
                share=_between(serializers.SHARE_RANGE, "How much of an order is filled, or how far a price falls"),
                seconds=_whole(1, serializers.SCENARIO_SECONDS_MAX, "How long it lasts"),
            ),
            "required": ["kind"],
        },
        "StopRequest": _body(scope=_one_of(("book", "account"))),
        "ResumeRequest": _body(
            accept_drift={
                "type": "array",
                "maxItems": serializers.COINS_ACCEPTED_MAX,
                "items": {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"},
                "description": "Coins whose foreign holdings are somebody else's from now on",
            },
        ),
        "LogInRequest": {
            **_body(
                token={
                    "type": "string",
                    "minLength": 1,
                    "maxLength": serializers.TOKEN_CHARS_MAX,
                    "pattern": r"^[!-~]+$",
                    "description": "Of `manage.py create_api_token`",
                }
            ),
            "required": ["token"],
        },
        "Nothing": {**_body(), "description": "No field is known here; the body may be left out."},
        "DeskState": _record(
            ("trading_state", "causes", "why", "since", "accepted_drift"),
            trading_state=_plain_schema(TradingState),
            causes={"type": "array", "items": _plain_schema(Cause)},
            why=text,
            since={"type": ["string", "null"], "format": "date-time"},
            accepted_drift={"type": "object", "additionalProperties": {"type": "number"}},
        ),
        "LogEntry": _record(
            ("id", "timestamp", "agent", "type", "message", "data"),
            id=text,
            timestamp={"type": "string", "format": "date-time"},
            agent={"type": "string", "const": "executor"},
            type=_one_of(("info", "success", "warning", "error")),
            message=text,
            data={"type": "object", "additionalProperties": True},
        ),
        "TimeWindows": _record(
            ("windows", "default"),
            windows={"type": "object", "additionalProperties": window},
            default={**windows, "default": TIME_WINDOW_DEFAULT},
        ),
        "Problem": {
            **_record(
                ("type", "title", "status", "detail", "code", "error"),
                type={"type": "string", "pattern": "^urn:executor-agent:problem:"},
                title=text,
                status={"type": "integer"},
                detail=text,
                code=_one_of(sorted(_used_codes())),
                error={"type": "string", "description": "The same text as `detail`"},
                fields={"type": "object", "additionalProperties": text, "description": "What is wrong, by field"},
                breaches={"type": "array", "items": ref_to("schemas", "Breach"), "description": "Of RISK_DENIED: all"},
                causes={"type": "array", "items": text, "description": "Of RESUME_REFUSED: all"},
                reasoning={"type": "string", "description": "Of GUARDIAN_REJECTED"},
            ),
            "description": "RFC 9457, with a stable `code` and the facts of the case.",
        },
        "EventStream": {"type": "string", "description": "text/event-stream, as the HTML standard has it"},
        "Document": {"type": "string", "description": "An OpenAPI document"},
        "Page": {"type": "string"},
        "Exposition": {"type": "string", "description": "Metrics, one sample a line"},
    }


def _execute_request(exits: Mapping[str, Json], windows: Node) -> Node:
    size: Node = {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": float(serializers.POSITION_SIZE_MAX)},
            {"type": "string", "pattern": r"^[1-9][0-9]{0,11}(\.[0-9]{1,8})?$"},
        ],
        "description": "Gross notional over both legs in USD; as text too, because form fields send it so",
    }
    coin = "[A-Za-z0-9][A-Za-z0-9._-]{0,31}"
    signal = rf"^[!-~]([ -~]{{0,{serializers.SIGNAL_ID_CHARS_MAX - 2}}}[!-~])?$"
    node = _body(
        signal_id={
            "type": "string",
            "minLength": 1,
            "maxLength": serializers.SIGNAL_ID_CHARS_MAX,
            "pattern": signal,
            "description": "As Scout offers it. In demo mode any other id gets a signal, too",
        },
        position_size=size,
        pair={"type": "string", "pattern": f"^{coin}/{coin}$", "description": "A/B; the signal's, or left out"},
        leverage=_whole(1, serializers.LEVERAGE_ASKED_MAX, "Changes margin, not size; MAX_LEVERAGE is the limit"),
        execution={**_one_of(Execution), "description": "By TWAP_THRESHOLD_USD when left out"},
        twap=ref_to("schemas", "TwapRequest"),
        **exits,
        time_window=windows,
    )
    node["required"] = ["signal_id", "position_size"]
    return {**node, "not": {"required": ["max_holding_seconds", "time_window"]}}


def _parameters() -> Node:
    limit: Node = {"type": "integer", "minimum": 1, "maximum": serializers.PAGE_MAX}

    def query(name: str, schema: Node, says: str) -> Node:
        return {"name": name, "in": "query", "schema": schema, "description": says}

    return {
        "id": {
            "name": "id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},
            "example": "pos_000000000000000000000000",
        },
        "limit": query("limit", {**limit, "default": serializers.PAGE_DEFAULT}, "How many"),
        "lines": query("limit", {**limit, "default": serializers.LOG_LINES_DEFAULT}, "How many"),
        "days": query(
            "days",
            {"type": "integer", "minimum": 1, "maximum": DAYS_MAX, "default": DAYS_DEFAULT},
            "How many UTC days back the history goes, today counted",
        ),
        "before": query(
            "before",
            {"type": "string", "pattern": f"^[A-Za-z0-9_]{{1,{serializers.ID_CHARS_MAX}}}$"},
            "The last id of the page before",
        ),
        "status": query("status", _one_of(PositionStatus), "Only these"),
        "format": query(
            "format",
            {**_one_of(serializers.FORMATS), "default": "json"},
            "csv gives a file: amounts digit for digit, text that begins like a formula behind an apostrophe",
        ),
        "schema_format": query("format", {**_one_of(serializers.SCHEMA_FORMATS), "default": "yaml"}, "Of the document"),
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "pattern": f"^[!-~]{{1,{serializers.KEY_CHARS_MAX}}}$"},
            "description": "Names the request; the signal's id serves otherwise",
        },
    }


def _headers() -> Node:
    return {
        "X-Total-Count": {"schema": {"type": "integer"}, "description": "How many there are in all, of that status"},
        "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds, where waiting helps"},
        "WWW-Authenticate": {"schema": {"type": "string"}},
    }


# Examples -------------------------------------------------------------------------------------------------------------

_BREACH: dict[str, Json] = {
    "code": "ALLOCATION_EXCEEDED",
    "limit": 30000,
    "actual": 50000,
    "detail": "50000 USD gross is above 30 % of the portfolio",
}
_PROBLEMS: Mapping[str, Problem] = {
    one.code: one
    for one in (
        Problem(
            "INVALID_REQUEST",
            "position_size: is required",
            {"fields": {"position_size": "is required"}},
        ),
        Problem("NOT_AUTHENTICATED", "send the header Authorization: Bearer TOKEN"),
        Problem("TOKEN_UNKNOWN", "the token is not known; API_TOKENS lists those that are"),
        Problem("FORBIDDEN", "this takes a token with scope trade; dashboard has read"),
        Problem("ORIGIN_REFUSED", "a page of another origin may not write here"),
        Problem("REFUSED", "loosening the stop beyond what was approved takes the admin scope", {"limit": 0.01}),
        Problem("NOT_FOUND", "there is no such route; GET / with Accept: application/json lists those there are"),
        Problem("SIGNAL_NOT_FOUND", "Scout offers no signal signal_9"),
        Problem("POSITION_NOT_FOUND", "there is no position pos_0"),
        Problem("TRADE_NOT_FOUND", "there is no trade trd_0"),
        Problem("SIGNAL_NOT_PENDING", "the signal has been traded already", {"trade_id": "trd_0"}),
        Problem("SIGNAL_EXPIRED", "the signal is 412 s old; 300 s is the limit"),
        Problem("SIGNAL_LOW_CONFIDENCE", "the signal's confidence is 0.55; 0.7 is the minimum"),
        Problem("IDEMPOTENCY_MISMATCH", "this key has been used with other content"),
        Problem("TRADING_HALTED", "the desk is HALTED: emergency stop; flat", {"trading_state": "HALTED"}),
        Problem("TRADE_CANCELED", "nothing was filled: canceled on request", {"trade_id": "trd_0"}),
        Problem("MONITOR_DOWN", "no monitor is watching, so nothing is opened"),
        Problem("STOP_IN_PROGRESS", "the emergency stop is still closing; wait until the desk is HALTED"),
        Problem("RESUME_REFUSED", "drift in BTC", {"causes": ["drift in BTC"]}),
        Problem(
            "TRADE_NOT_SUSPENDED", "the trade is FILLED; only a suspended trade is resumed", {"trade_status": "FILLED"}
        ),
        Problem("RISK_DENIED", "ALLOCATION_EXCEEDED", {"breaches": [_BREACH]}),
        Problem("GUARDIAN_REJECTED", "Guardian says no", {"reasoning": "the spread is too thin"}),
        Problem("THROTTLED", "too many requests; try again in 3 s"),
        Problem("INTERNAL_ERROR", "the service made a mistake; its log says which"),
        Problem("VENUE_REJECTED", "the venue refused the orders and nothing was filled"),
        Problem("BUSY", "somebody else holds the book; try again"),
        Problem("STREAMS_FULL", "6 event streams are being served, which is all there is room for"),
        Problem("GUARDIAN_UNAVAILABLE", "Guardian gave no usable answer"),
        Problem("SCOUT_UNAVAILABLE", "Scout gave no usable answer"),
        Problem("VENUE_UNAVAILABLE", "the venue gave no usable answer"),
        Problem("STORE_CORRUPT", "trades.json:7 is damaged"),
    )
}


def _used_codes() -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for name, route in ROUTES.items() for code in codes_of(name, route)))


def _problem_example(code: str) -> Node:
    problem = _PROBLEMS[code]
    return {"summary": problem.detail, "value": problem.body}


def _recorded_examples() -> dict[str, Json]:
    """What the demo desk has answered once, and the bodies that are sent to it; lists are made of one entry."""
    recorded: dict[str, Json] = json.loads(EXAMPLES_FILE.read_text(encoding="utf-8"))
    answers = [answer for route in ROUTES.values() for answer in route.answers.values() if answer.example]
    listed = {answer.example for answer in answers if answer.many}
    single = {answer.example for answer in answers if not answer.many}
    single |= {name for route in ROUTES.values() for name in route.body_examples}
    examples: dict[str, Json] = {name: {"value": recorded[name]} for name in sorted(single)}
    return examples | {f"{name}_list": {"value": [recorded[name]]} for name in sorted(listed)}
