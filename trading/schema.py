"""The OpenAPI document: every route with what it takes and gives, in one table, and the records as schemas.

The law: the shape of an answer is read off the record that is rendered, and the bounds of a request off the constants
that check it, so that neither can say another thing than the code does; every error is told by its own code and
example.
"""

import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import Path

from drf_spectacular.drainage import warn
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer

from trading import serializers
from trading.conf import Scope
from trading.domain.desk_state import Cause, TradingState
from trading.domain.exit_plan import TIME_WINDOW_DEFAULT, TIME_WINDOWS
from trading.domain.positions import PositionStatus
from trading.domain.scenarios import Scenario, ScenarioKind
from trading.engine.accounting import DAYS_DEFAULT, DAYS_MAX
from trading.engine.analytics import Analytics
from trading.engine.barriers import STOP_LOSS_RANGE, TAKE_PROFIT_RANGE
from trading.engine.connections import Connection
from trading.engine.emergency import StopReport
from trading.engine.fills import FillView
from trading.engine.leaving import ClosePreview
from trading.engine.previews import Preview, SignalView
from trading.engine.queries import Health, Portfolio
from trading.engine.records import PositionView, TradeView
from trading.engine.requests import Execution
from trading.engine.trail import TrailPoint
from trading.events import CONTENT_TYPE as EVENT_STREAM
from trading.events import MarkView
from trading.ports import Json
from trading.problems import CONTENT_TYPE as PROBLEM_JSON
from trading.problems import STATUSES, TITLES, Problem
from trading.serializers import present_type
from trading.sessions import SessionView

JSON = "application/json"
CONTENT_TYPES: Mapping[str, str] = {"yaml": "application/yaml", "json": JSON}
EXAMPLES_FILE = Path(__file__).with_name("schema_examples.json")

BODIES_REQUIRED = ("ExecuteRequest", "ExitChange", "LogInRequest", "ScenarioRequest")

PAGES = ("", "/login")

Node = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route gives: a record type, many of them, a schema by name, or a media type of its own; an empty name is
    no content. *example* names an entry of the examples' file."""

    says: str
    of: type | str
    many: bool = False
    example: str = ""
    table: bool = False
    media: str = JSON
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the API. `errors` are the codes beyond those that every route has."""

    says: str
    group: str
    answers: Mapping[int, Answer]
    scope: Scope | None = Scope.READ
    errors: tuple[str, ...] = ()
    body: str = ""
    body_examples: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    throttled: bool = True
    more: str = ""
    open_in_demo: bool = field(default=False, kw_only=True)


def _page(says: str, of: type, example: str) -> Mapping[int, Answer]:
    return {200: Answer(says, of, many=True, example=example, table=True, headers=("X-Total-Count",))}


_LIST = ("limit", "before", "format")
_GATES = ("VENUE_UNAVAILABLE", "SCOUT_UNAVAILABLE", "SIGNAL_NOT_FOUND")
_OPENING = (
    *("SIGNAL_NOT_PENDING", "SIGNAL_EXPIRED", "SIGNAL_LOW_CONFIDENCE", "IDEMPOTENCY_MISMATCH", "TRADING_HALTED"),
    *("MONITOR_DOWN", "RISK_DENIED", "GUARDIAN_REJECTED", "VENUE_REJECTED", "GUARDIAN_UNAVAILABLE", *_GATES),
)

ROUTES: Mapping[str, Route] = {
    "GET /api/health": Route(
        "How the service is",
        "service",
        {
            200: Answer("It works, healthy or degraded", Health, example="health"),
            503: Answer("It cannot be trusted to trade; `problems` says why", Health, example="unhealthy"),
        },
        scope=None,
        more="Paths of files are told only to callers who may read.",
    ),
    "POST /api/trades/execute": Route(
        "Open a pair trade from a signal",
        "trading",
        {
            201: Answer("Opened", PositionView, example="position"),
            202: Answer("Accepted and still being worked", PositionView, example="opening"),
            200: Answer("The same request again: the same answer, nothing is sent", PositionView, example="position"),
        },
        scope=Scope.TRADE,
        errors=_OPENING,
        body="ExecuteRequest",
        body_examples=("execute", "execute_twap"),
        headers=("Idempotency-Key",),
        more="The answer comes within 9.5 s. A denial consumes nothing: the same signal may be tried again.",
    ),
    "POST /api/trades/preview": Route(
        "What executing would do, without doing it",
        "trading",
        {200: Answer("Legs, costs, every limit with what is left of it, and the verdict", Preview, example="preview")},
        errors=_GATES,
        body="ExecuteRequest",
        body_examples=("execute", "execute_twap"),
        more="Changes nothing and asks no Guardian.",
    ),
    "GET /api/trades": Route(
        "Trades, newest first",
        "looking",
        _page("Trades with their orders and timelines; the table has neither", TradeView, "trade"),
        query=_LIST,
        errors=("TRADE_NOT_FOUND",),
    ),
    "GET /api/trades/{id}": Route(
        "One trade with every event and its instant",
        "looking",
        {200: Answer("The trade", TradeView, example="trade")},
        errors=("TRADE_NOT_FOUND",),
    ),
    "POST /api/trades/{id}/cancel": Route(
        "Stop a trade in mid-flight; what is filled stands, level, and what cannot be levelled is closed",
        "trading",
        {
            200: Answer("The trade has ended", TradeView, example="trade"),
            202: Answer("An order is in doubt, or the legs are being levelled", TradeView, example="working"),
        },
        scope=Scope.TRADE,
        errors=("TRADE_NOT_FOUND", "VENUE_UNAVAILABLE"),
        body="Nothing",
        throttled=False,
    ),
    "POST /api/trades/{id}/resume": Route(
        "Let a suspended trade go on: it asks, levels its legs, and sends what is left if the desk is ACTIVE",
        "trading",
        {
            200: Answer("The trade has ended", TradeView, example="trade"),
            202: Answer("It is being worked again", TradeView, example="working"),
        },
        scope=Scope.ADMIN,
        errors=("TRADE_NOT_FOUND", "TRADE_NOT_SUSPENDED", "VENUE_UNAVAILABLE"),
        body="Nothing",
    ),
    "GET /api/fills": Route(
        "Orders with a fill, newest first",
        "looking",
        _page("One record an order", FillView, "fill"),
        query=_LIST,
        errors=("NOT_FOUND",),
    ),
    "GET /api/signals": Route(
        "What Scout offers, each with whether the desk would take it and why not",
        "looking",
        {200: Answer("Signals, newest first", SignalView, many=True, example="signal")},
        errors=("SCOUT_UNAVAILABLE", "VENUE_UNAVAILABLE"),
    ),
    "GET /api/positions": Route(
        "Positions, newest first",
        "looking",
        _page("Positions of every status, unless one is asked for", PositionView, "position"),
        query=("status", *_LIST),
        errors=("POSITION_NOT_FOUND",),
    ),
    "GET /api/positions/{id}": Route(
        "One position",
        "looking",
        {200: Answer("The position", PositionView, example="position")},
        errors=("POSITION_NOT_FOUND",),
    ),
    "PATCH /api/positions/{id}": Route(
        "Change the exits of a position",
        "trading",
        {200: Answer("The position with its new exits", PositionView, example="position")},
        scope=Scope.TRADE,
        errors=("POSITION_NOT_FOUND", "REFUSED"),
        body="ExitChange",
        body_examples=("exit_change",),
        more="Loosening the stop beyond what was approved takes the admin scope.",
    ),
    "GET /api/positions/{id}/marks": Route(
        "Where a position has been since entry",
        "looking",
        {
            200: Answer(
                "Marks, oldest first, thinned; what the cache has lost is not there",
                TrailPoint,
                many=True,
                example="mark",
            )
        },
        errors=("POSITION_NOT_FOUND",),
    ),
    "GET /api/positions/{id}/close": Route(
        "What closing a position would cost, without closing it",
        "looking",
        {200: Answer("By the depth of the books now", ClosePreview, example="close_preview")},
        errors=("POSITION_NOT_FOUND",),
    ),
    "POST /api/positions/{id}/close": Route(
        "Close a position by hand, as a whole",
        "trading",
        {
            200: Answer("Closed", PositionView, example="closed"),
            202: Answer("Being closed; asking again sends nothing", PositionView, example="closing"),
        },
        scope=Scope.TRADE,
        errors=("POSITION_NOT_FOUND", "VENUE_UNAVAILABLE"),
        body="CloseRequest",
        body_examples=("close_twap",),
        throttled=False,
        more="Never throttled. Without a body at once; what is left of a close in slices then goes at once too.",
    ),
    "POST /api/emergency_stop": Route(
        "Open nothing any more and close everything, now",
        "trading",
        {
            200: Answer("Everything is closed", StopReport, example="stopped"),
            202: Answer("Closing; the desk goes on until it is flat", StopReport, example="stopping"),
        },
        scope=Scope.TRADE,
        errors=("VENUE_UNAVAILABLE",),
        body="StopRequest",
        body_examples=("stop", "stop_account"),
        throttled=False,
        more='Never throttled. `{"scope": "account"}` closes foreign holdings too and takes the admin scope.',
    ),
    "POST /api/resume": Route(
        "Back to ACTIVE",
        "trading",
        {200: Answer("The state of the desk", "DeskState", example="resumed")},
        scope=Scope.ADMIN,
        errors=("STOP_IN_PROGRESS", "RESUME_REFUSED"),
        body="ResumeRequest",
        body_examples=("resume", "resume_drift"),
    ),
    "GET /api/agent/logs": Route(
        "The activity log, newest first",
        "looking",
        {200: Answer("Entries", "LogEntry", many=True, example="log")},
        query=("lines",),
    ),
    "GET /api/portfolio": Route(
        "The account, its exposure, what is left of each limit, and what the last days made",
        "looking",
        {200: Answer("Numbers are null where the venue cannot be read", Portfolio, example="portfolio")},
        query=("days",),
    ),
    "GET /api/connections": Route(
        "How the venue, its prices, Scout and Guardian are, and when each was last heard",
        "service",
        {200: Answer("One entry a peer", Connection, many=True, example="connection")},
        more="Guardian is not asked for it.",
    ),
    "GET /api/analytics": Route(
        "Execution quality: cost against arrival, slices against their benchmark, naked exposure, repairs, times",
        "looking",
        {
            200: Answer(
                "Sums and percentiles in all, by pair and by day; trades newest first, which are what the table has",
                Analytics,
                example="analytics",
                table=True,
            )
        },
        query=("days", "format"),
    ),
    "GET /api/time_windows": Route(
        "The holding times that have a name",
        "service",
        {200: Answer("By key", "TimeWindows", example="time_windows")},
    ),
    "GET /api/events": Route(
        "What happens, as Server-Sent Events",
        "looking",
        {
            200: Answer(
                "Events `positions`, `trades`, `marks`, `logs` and `problems`; the data of each is a JSON array of "
                "PositionView, TradeView, MarkView, LogEntry or Problem. The first event holds the positions that "
                "stand. A comment every ten seconds says that the stream is alive.",
                "EventStream",
                media=EVENT_STREAM.partition(";")[0],
                example="events",
            )
        },
        errors=("STREAMS_FULL",),
    ),
    "GET /api/session": Route(
        "Who is looking",
        "service",
        {200: Answer("The caller; with a session, its end and what its writes carry", SessionView, example="session")},
        scope=None,
        errors=("NOT_AUTHENTICATED",),
        more="For pages of this service.",
    ),
    "POST /api/session": Route(
        "Log in: a token for a session, which is a signed cookie",
        "service",
        {201: Answer("Logged in", SessionView, example="session")},
        scope=None,
        errors=("TOKEN_UNKNOWN", "THROTTLED"),
        body="LogInRequest",
        body_examples=("log_in",),
        more="Every request of a session that is no GET carries its `write_key` in the header `X-CSRF-Token`.",
    ),
    "DELETE /api/session": Route(
        "Log out",
        "service",
        {204: Answer("The cookie is gone", "")},
        scope=None,
    ),
    "GET /api/schema": Route(
        "This document",
        "service",
        {200: Answer("OpenAPI 3.1", "Document", media="application/yaml")},
        query=("schema_format",),
        open_in_demo=True,
    ),
    "GET /api/demo/scenario": Route(
        "What is staged on the paper venue now",
        "demo",
        {200: Answer("Scenarios, oldest first", Scenario, many=True, example="scenario")},
        errors=("NOT_FOUND",),
    ),
    "POST /api/demo/scenario": Route(
        "Stage a fault on the paper venue, to watch what the desk does about it",
        "demo",
        {201: Answer("Staged, from now on and for its time", Scenario, example="scenario")},
        scope=Scope.TRADE,
        errors=("NOT_FOUND",),
        body="ScenarioRequest",
        body_examples=("scenario_request",),
        more="404 on any desk but a demo's.",
    ),
    "DELETE /api/demo/scenario": Route(
        "End everything that is staged",
        "demo",
        {204: Answer("Nothing is staged any more", "")},
        scope=Scope.TRADE,
        errors=("NOT_FOUND",),
    ),
    "GET /metrics": Route(
        "What Prometheus scrapes: orders, fills, fees, exposure, limits, states, ages and latencies, of all processes",
        "service",
        {200: Answer("Text exposition format 0.0.4", "Exposition", media="text/plain")},
        open_in_demo=True,
    ),
    "GET /api/docs": Route(
        "This document as a page to try the routes on",
        "service",
        {200: Answer("HTML; needs nothing from any other host", "Page", media="text/html")},
        open_in_demo=True,
    ),
}

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


# The generator's hooks ------------------------------------------------------------------------------------------------


class RouteSchema(AutoSchema):
    """Gives each view the operation that the table has for it."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> Node | None:
        """None, with a warning that fails the check, for a route that the table does not have."""
        name = f"{method.upper()} {path}"
        if name not in ROUTES:
            warn(f"{name} is not in trading.schema.ROUTES")
            return None
        return operation_of(name, ROUTES[name])


def named_as_in_the_contract(endpoints: list[tuple[str, str, str, object]]) -> list[tuple[str, str, str, object]]:
    """Paths without a final slash, and every id called id; the pages for browsers are no part of the API."""
    named = [(path.rstrip("/"), regex, method, view) for path, regex, method, view in endpoints]
    return [
        (path.replace("{trade_id}", "{id}").replace("{position_id}", "{id}"), regex, method, view)
        for path, regex, method, view in named
        if path not in PAGES
    ]


def with_components(result: Node, **_: object) -> Node:
    """The document with everything that its operations refer to."""
    return {**result, "components": components()}


@lru_cache(maxsize=len(CONTENT_TYPES))
def document(kind: str) -> bytes:
    """The document as yaml or json; the same for as long as the process lives."""
    renderer = OpenApiJsonRenderer() if kind == "json" else OpenApiYamlRenderer()
    content = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # comes untyped
    rendered: bytes = renderer.render(content, renderer_context={})
    return rendered


# Operations -----------------------------------------------------------------------------------------------------------


def operation_of(name: str, route: Route) -> Node:
    """One OpenAPI operation."""
    codes = codes_of(name, route)
    responses: dict[str, Json] = {str(status): _answer_node(one) for status, one in route.answers.items()}
    for status in dict.fromkeys(STATUSES[code] for code in codes):
        responses[str(status)] = _problem_node(status, [code for code in codes if STATUSES[code] == status])
    parameters: list[Json] = [_ref("parameters", one) for one in (*route.query, *route.headers)]
    if "{id}" in name:
        parameters.insert(0, _ref("parameters", "id"))
    node: Node = {
        "operationId": _operation_id(name),
        "summary": route.says,
        "description": " ".join(one for one in (_access(route), route.more) if one),
        "tags": [route.group],
        "parameters": parameters,
        "security": [{}] if route.scope is None else [{"token": []}, {}],
        "responses": dict(sorted(responses.items())),
    }
    if route.body:
        media: Node = {"schema": _ref("schemas", route.body)}
        if route.body_examples:
            media["examples"] = {one: _ref("examples", one) for one in route.body_examples}
        node["requestBody"] = {"required": route.body in BODIES_REQUIRED, "content": {JSON: media}}
    return node


def codes_of(name: str, route: Route) -> tuple[str, ...]:
    """Every error code that the route may answer with, its own and those of the doors before it."""
    codes = ["INVALID_REQUEST"]
    if route.scope is not None:
        codes += ["NOT_AUTHENTICATED", "TOKEN_UNKNOWN", "FORBIDDEN"]
        codes += ["STORE_CORRUPT", "BUSY"]
        codes += ["THROTTLED"] if route.throttled else []
    if not name.startswith("GET "):
        codes.append("ORIGIN_REFUSED")
    if "{id}" in name:
        codes.append("NOT_FOUND")
    return tuple(dict.fromkeys((*codes, *route.errors, "INTERNAL_ERROR")))


def _access(route: Route) -> str:
    if route.scope is None:
        return "Needs no token."
    if route.open_in_demo:
        return "Needs no token in demo mode, else the scope `read`."
    return f"Takes the scope `{route.scope}`."


def _operation_id(name: str) -> str:
    method, _, path = name.partition(" ")
    words = [word.strip("{}") for word in path.removeprefix("/api").strip("/").split("/")]
    return "_".join([method.lower(), *words])


def _answer_node(answer: Answer) -> Node:
    if not answer.of:
        return {"description": answer.says}
    name = answer.of if isinstance(answer.of, str) else answer.of.__name__
    schema: Node = _ref("schemas", name)
    if answer.many:
        schema = {"type": "array", "items": schema}
    media: Node = {"schema": schema}
    if answer.example:
        media["examples"] = {
            answer.example: _ref("examples", f"{answer.example}_list" if answer.many else answer.example)
        }
    content: Node = {answer.media: media}
    if answer.table:
        content["text/csv"] = {"schema": {"type": "string", "description": "RFC 4180, the names of the columns first"}}
    if answer.of == "Document":
        content[JSON] = {"schema": {"type": "object"}}
    node: Node = {"description": answer.says, "content": content}
    if answer.headers:
        node["headers"] = {one: _ref("headers", one) for one in answer.headers}
    return node


def _problem_node(status: int, codes: list[str]) -> Node:
    examples: Node = {code: _ref("examples", code) for code in codes}
    media: Node = {"schema": _ref("schemas", "Problem"), "examples": examples}
    node: Node = {"description": TITLES[status], "content": {PROBLEM_JSON: media}}
    if status in (429, 503):
        node["headers"] = {"Retry-After": _ref("headers", "Retry-After")}
    if status == 401:
        node["headers"] = {"WWW-Authenticate": _ref("headers", "WWW-Authenticate")}
    return node


def _ref(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


# Components -----------------------------------------------------------------------------------------------------------


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
        return _ref("schemas", plain.__name__)
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
        "trailing_stop": _ref("schemas", "TrailingStopRequest"),
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
                twap=_ref("schemas", "TwapRequest"),
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
                breaches={"type": "array", "items": _ref("schemas", "Breach"), "description": "Of RISK_DENIED: all"},
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
        twap=_ref("schemas", "TwapRequest"),
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
