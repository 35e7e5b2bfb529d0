"""What the API has: every route with what it takes and gives, in one table.

The law: every error is told by its own code, and a route that is served and not here fails the check.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trading.conf import Scope
from trading.domain.scenarios import Scenario
from trading.engine.analytics import Analytics
from trading.engine.connections import Connection
from trading.engine.emergency import StopReport
from trading.engine.fills import FillView
from trading.engine.health import Health
from trading.engine.leaving import ClosePreview
from trading.engine.previews import Preview, SignalView
from trading.engine.queries import Portfolio
from trading.engine.records import PositionView, TradeView
from trading.engine.trail import TrailPoint
from trading.events import CONTENT_TYPE as EVENT_STREAM
from trading.sessions import SessionView

JSON = "application/json"


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
    *("TRADE_CANCELED", "MONITOR_DOWN", "RISK_DENIED", "GUARDIAN_REJECTED", "VENUE_REJECTED", "GUARDIAN_UNAVAILABLE"),
    *_GATES,
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
        "Orders with a fill, newest first, of positions that are not archived yet",
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
                "stand, and all positions are told however many move. `problems` without any says that they are "
                "over. An event `beat` every ten seconds, with nothing in it, says that the stream is alive.",
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
