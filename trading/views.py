"""The routes of the API, one small class each.

The law: a view never decides. It parses, calls one engine function, and renders what that returns; every error is told
by `problems`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, cast

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from executor_agent import __version__
from trading import events, metrics, schema
from trading.authentication import BearerAuthentication, Caller, caller_if_known, configuration
from trading.bootstrap import get_desk, stage_of
from trading.conf import Config, Scope
from trading.domain.errors import StoreCorrupt
from trading.domain.exit_plan import TIME_WINDOW_DEFAULT, TIME_WINDOWS
from trading.domain.positions import PositionStatus
from trading.domain.trades import TradeStatus
from trading.domain.units import ClientOrderId, PositionId, TradeId
from trading.engine import (
    analytics,
    closing,
    connections,
    emergency,
    entry,
    exits,
    fills,
    health,
    leaving,
    previews,
    queries,
    trail,
)
from trading.engine.records import PositionView, TradeView
from trading.parsers import StrictJsonParser, body_of
from trading.permissions import OpenInDemo, ScopeNeeded, require
from trading.problems import response_of
from trading.rendering import render, render_state, table_lines
from trading.serializers import (
    LOG_LINES_DEFAULT,
    PAGE_DEFAULT,
    Query,
    accepted_drift,
    close_request,
    execute_request,
    exit_change,
    idempotency_key,
    nothing_asked,
    scenario_request,
    stop_scope,
)
from trading.throttling import CallerThrottle
from trading.utils.request_id import request_id

OUTCOME_STATUSES: Mapping[entry.Outcome, int] = {
    entry.Outcome.OPENED: 201,
    entry.Outcome.WORKING: 202,
    entry.Outcome.REPEATED: 200,
}
NO_PARTIAL_CLOSE = "is not possible: a position closes as a whole, at once or by twap; partial closes do not exist yet"


class OnlyJson(BaseContentNegotiation):
    """Whatever the caller accepts, it gets JSON: there is nothing else, and a 406 would help nobody."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """The parser for the request's Content-Type; None for any but JSON."""
        mine = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == mine), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type


class DeskView(APIView):
    """What all routes share. `takes_query` says that the view reads query parameters; all others refuse any."""

    takes_query: ClassVar[bool] = False
    write_scope: ClassVar[Scope] = Scope.TRADE
    free_methods: ClassVar[Sequence[str]] = ()
    """Those that are never throttled, though others of the view are."""
    authentication_classes: Sequence[type[BaseAuthentication]] = (BearerAuthentication,)
    permission_classes: Sequence[type[BasePermission]] = (ScopeNeeded,)
    parser_classes = (StrictJsonParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = OnlyJson
    throttle_classes: Sequence[type[BaseThrottle]] = (CallerThrottle,)

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Raises InvalidRequest for query parameters where none are taken."""
        super().initial(request, *args, **kwargs)
        if not self.takes_query:
            Query(request.query_params).finish()

    def options(self, request: HttpRequest, *args: object, **kwargs: object) -> Response:
        """The methods there are, in the Allow header, and nothing about how they are built."""
        return Response(status=204)


class PublicView(DeskView):
    """Needs no token, and does not look at one."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class Health(PublicView):
    """GET /api/health : answers also when there is no desk, because its files cannot be trusted."""

    def get(self, request: Request) -> Response:
        try:
            found = health.health(get_desk(), __version__)
        except StoreCorrupt as error:
            found = health.without_desk(settings.DESK_CONFIG, __version__, error)
        if found.problems:
            config = configuration()
            caller = caller_if_known(request.META, config)
            if caller is None or not caller.scope.covers(Scope.READ):
                found = replace(found, problems=tuple(without_paths(one, config) for one in found.problems))
        return Response(render(found), 503 if found.status == "unhealthy" else 200)


class Execute(DeskView):
    """POST /api/trades/execute"""

    def post(self, request: Request) -> Response:
        asked = execute_request(body_of(request))
        key = idempotency_key(request.headers.get("Idempotency-Key"))
        answer = entry.execute(get_desk(), asked, key, request_id=request_id())
        return Response(render(answer.position), OUTCOME_STATUSES[answer.outcome])


class Preview(DeskView):
    """POST /api/trades/preview : changes nothing, and so takes the read scope only."""

    write_scope = Scope.READ

    def post(self, request: Request) -> Response:
        return Response(render(previews.preview(get_desk(), execute_request(body_of(request)))))


class Trades(DeskView):
    """GET /api/trades"""

    takes_query = True

    def get(self, request: Request) -> HttpResponseBase:
        query = Query(request.query_params)
        limit, before, table = query.limit(PAGE_DEFAULT), query.before(), query.wants_table()
        query.finish()
        trades, total = queries.trades(get_desk(), limit, TradeId(before) if before else None)
        return listed("trades", TradeView, trades, total, table=table)


class Fills(DeskView):
    """GET /api/fills"""

    takes_query = True

    def get(self, request: Request) -> HttpResponseBase:
        query = Query(request.query_params)
        limit, before, table = query.limit(PAGE_DEFAULT), query.before(), query.wants_table()
        query.finish()
        found, total = fills.fills(get_desk(), limit, ClientOrderId(before) if before else None)
        return listed("fills", fills.FillView, found, total, table=table)


class TradeDetail(DeskView):
    """GET /api/trades/{id}"""

    def get(self, request: Request, trade_id: str) -> Response:
        return Response(render(queries.trade(get_desk(), TradeId(trade_id))))


class Cancel(DeskView):
    """POST /api/trades/{id}/cancel : 202 while an order is still in doubt or the legs are being levelled."""

    throttle_classes = ()

    def post(self, request: Request, trade_id: str) -> Response:
        nothing_asked(body_of(request))
        trade = closing.cancel(get_desk(), TradeId(trade_id))
        return Response(render(trade), 202 if TradeStatus(trade.status).live else 200)


class ResumeTrade(DeskView):
    """POST /api/trades/{id}/resume : a suspended trade goes on; 202 while it is still being worked."""

    write_scope = Scope.ADMIN

    def post(self, request: Request, trade_id: str) -> Response:
        nothing_asked(body_of(request))
        trade = closing.resume(get_desk(), TradeId(trade_id))
        return Response(render(trade), 202 if TradeStatus(trade.status).live else 200)


class Signals(DeskView):
    """GET /api/signals"""

    def get(self, request: Request) -> Response:
        return Response(render(previews.signals(get_desk())))


class Positions(DeskView):
    """GET /api/positions"""

    takes_query = True

    def get(self, request: Request) -> HttpResponseBase:
        query = Query(request.query_params)
        status, limit, before = query.status(), query.limit(PAGE_DEFAULT), query.before()
        table = query.wants_table()
        query.finish()
        positions, total = queries.positions(get_desk(), status, limit, PositionId(before) if before else None)
        return listed("positions", PositionView, positions, total, table=table)


class PositionDetail(DeskView):
    """GET and PATCH /api/positions/{id}"""

    def get(self, request: Request, position_id: str) -> Response:
        return Response(render(queries.position(get_desk(), PositionId(position_id))))

    def patch(self, request: Request, position_id: str) -> Response:
        change = exit_change(body_of(request))
        admin = caller_of(request).scope.covers(Scope.ADMIN)
        return Response(render(exits.change_exits(get_desk(), PositionId(position_id), change, admin=admin)))


class Marks(DeskView):
    """GET /api/positions/{id}/marks"""

    def get(self, request: Request, position_id: str) -> Response:
        return Response(render(trail.trail(get_desk(), PositionId(position_id))))


class Close(DeskView):
    """GET and POST /api/positions/{id}/close : what it would cost, and do it: at once, or in slices, which another
    close at once hurries."""

    free_methods = ("POST",)

    def get(self, request: Request, position_id: str) -> Response:
        return Response(render(leaving.preview_of_close(get_desk(), PositionId(position_id))))

    def post(self, request: Request, position_id: str) -> Response:
        asked = close_request(body_of(request), NO_PARTIAL_CLOSE)
        position = closing.close_by_hand(get_desk(), PositionId(position_id), request_id(), asked)
        return Response(render(position), 200 if position.status is PositionStatus.CLOSED else 202)


class EmergencyStop(DeskView):
    """POST /api/emergency_stop : the whole account, foreign holdings included, takes the admin scope."""

    throttle_classes = ()

    def post(self, request: Request) -> Response:
        whole_account = stop_scope(body_of(request))
        if whole_account:
            require(caller_of(request), Scope.ADMIN)
        report = emergency.stop(get_desk(), scope_account=whole_account)
        return Response(render(report), 202 if report.remaining else 200)


class Resume(DeskView):
    """POST /api/resume"""

    write_scope = Scope.ADMIN

    def post(self, request: Request) -> Response:
        return Response(render_state(emergency.resume(get_desk(), accepted_drift(body_of(request)))))


class AgentLogs(DeskView):
    """GET /api/agent/logs"""

    takes_query = True

    def get(self, request: Request) -> Response:
        query = Query(request.query_params)
        limit = query.limit(LOG_LINES_DEFAULT)
        query.finish()
        return Response(render(get_desk().log.tail(limit)))


class Portfolio(DeskView):
    """GET /api/portfolio"""

    takes_query = True

    def get(self, request: Request) -> Response:
        query = Query(request.query_params)
        days = query.days()
        query.finish()
        return Response(render(queries.portfolio(get_desk(), days)))


class Connections(DeskView):
    """GET /api/connections"""

    def get(self, request: Request) -> Response:
        return Response(render(connections.connections(get_desk())))


class Analytics(DeskView):
    """GET /api/analytics"""

    takes_query = True

    def get(self, request: Request) -> HttpResponseBase:
        query = Query(request.query_params)
        days, table = query.days(), query.wants_table()
        query.finish()
        found = analytics.analytics(get_desk(), days)
        if table:
            return listed("analytics", analytics.TradeQuality, found.trades, found.total.trades, table=True)
        return Response(render(found))


class TimeWindows(DeskView):
    """GET /api/time_windows"""

    def get(self, request: Request) -> Response:
        windows = {
            key: {"periods": one.periods, "display": one.display, "duration_seconds": one.duration_seconds}
            for key, one in TIME_WINDOWS.items()
        }
        return Response({"windows": windows, "default": TIME_WINDOW_DEFAULT})


class Events(DeskView):
    """GET /api/events : Server-Sent Events; 503 when as many are being served as there is room for."""

    def get(self, request: Request) -> HttpResponseBase:
        stream = events.open_stream(get_desk(), request.META, caller_of(request).until)
        if stream is None:
            return response_of(events.FULL)
        return StreamingHttpResponse(stream, content_type=events.CONTENT_TYPE, headers=events.STREAM_HEADERS)

    def head(self, request: Request) -> HttpResponseBase:
        """The headers of a stream, without one."""
        return HttpResponse(content_type=events.CONTENT_TYPE)


class ApiSchema(DeskView):
    """GET /api/schema : the OpenAPI document."""

    takes_query = True
    permission_classes = (OpenInDemo,)

    def get(self, request: Request) -> HttpResponse:
        query = Query(request.query_params)
        kind = query.schema_format()
        query.finish()
        return HttpResponse(schema.document(kind), content_type=schema.CONTENT_TYPES[kind])


class Docs(DeskView):
    """GET /api/docs : the page that shows the OpenAPI document; everything on it comes from this service."""

    permission_classes = (OpenInDemo,)

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(render_to_string("docs.html"))


class DemoScenario(DeskView):
    """GET, POST and DELETE /api/demo/scenario : what is staged on the paper venue; 404 on any other desk."""

    def get(self, request: Request) -> Response:
        return Response(render(stage_of(get_desk()).staged()))

    def post(self, request: Request) -> Response:
        venue = stage_of(get_desk())
        return Response(render(venue.stage(scenario_request(body_of(request)))), 201)

    def delete(self, request: Request) -> Response:
        stage_of(get_desk()).clear_stage()
        return Response(status=204)


class Metrics(DeskView):
    """GET /metrics : what Prometheus scrapes."""

    permission_classes = (OpenInDemo,)

    def get(self, request: Request) -> HttpResponse:
        return HttpResponse(metrics.exposition(get_desk(), __version__), content_type=metrics.CONTENT_TYPE)


class NoRoute(DeskView):
    """What no other route takes: whoever may read learns that there is none, a stranger not even that."""

    takes_query = True
    write_scope = Scope.READ
    throttle_classes = ()
    schema = None

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Raises Http404, after what keeps a stranger out of every other route."""
        super().initial(request, *args, **kwargs)
        raise Http404


_rows: dict[int, tuple[object, bytes]] = {}


def _row(record: object) -> bytes:
    """*record* as JSON text. That of a closed position changes no more: made once for the very record, which is kept
    beside it, so that its number is nobody else's."""
    known = _rows.get(id(record))
    if known is not None and known[0] is record:
        return known[1]
    text: bytes = JSONRenderer().render(render(record))
    if isinstance(record, PositionView) and record.status is PositionStatus.CLOSED:
        if len(_rows) >= queries.CLOSED_VIEWS_MAX:
            _rows.clear()
        _rows[id(record)] = record, text
    return text


def listed(name: str, kind: type, records: Sequence[object], total: int, *, table: bool) -> HttpResponseBase:
    """One page of *records* as JSON, or as a file of CSV lines."""
    count = {"X-Total-Count": str(total)}
    if not table:
        rows = b",".join(map(_row, records))
        return HttpResponse(b"[" + rows + b"]", content_type="application/json", headers=count)
    attachment = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    lines = table_lines(kind, records)
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers={**count, **attachment})


def without_paths(words: str, config: Config) -> str:
    """*words* with the names of files and not where they are: a stranger need not know how this machine is laid out."""
    for folder in (config.data_dir, config.data_dir.resolve()):
        words = words.replace(f"{folder}/", "").replace(str(folder), "DATA_DIR")
    return re.sub(r"(?<![\w./])/(?:[^\s/:]+/)+", "", words)


def caller_of(request: Request) -> Caller:
    """Whom ScopeNeeded let in: it lets in nobody else."""
    return cast(Caller, request.auth)
