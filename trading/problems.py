"""What goes wrong, told over HTTP: the one table from error codes to statuses, and every error body the service sends.

The law: every error leaves as `application/problem+json` (RFC 9457) with a stable `code`. A bug becomes a 500 that says
nothing about itself; its traceback goes to stderr, also with DEBUG on.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.core.exceptions import DisallowedHost, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from trading.domain.errors import DeskError, InvalidNumber, InvalidRequest
from trading.ports import Json
from trading.rendering import render

LOG = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
BUSY_RETRY_SECONDS = 1

STATUSES: Mapping[str, int] = {
    "INVALID_REQUEST": 400,
    "INVALID_NUMBER": 400,
    "NOT_AUTHENTICATED": 401,
    "TOKEN_UNKNOWN": 401,
    "FORBIDDEN": 403,
    "ORIGIN_REFUSED": 403,
    "REFUSED": 403,
    "NOT_FOUND": 404,
    "SIGNAL_NOT_FOUND": 404,
    "POSITION_NOT_FOUND": 404,
    "TRADE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "SIGNAL_NOT_PENDING": 409,
    "SIGNAL_EXPIRED": 409,
    "SIGNAL_LOW_CONFIDENCE": 409,
    "IDEMPOTENCY_MISMATCH": 409,
    "TRADING_HALTED": 409,
    "TRADE_CANCELED": 409,
    "MONITOR_DOWN": 409,
    "STOP_IN_PROGRESS": 409,
    "RESUME_REFUSED": 409,
    "TRADE_NOT_SUSPENDED": 409,
    "RISK_DENIED": 422,
    "GUARDIAN_REJECTED": 422,
    "THROTTLED": 429,
    "DESK_ERROR": 500,
    "INTERNAL_ERROR": 500,
    "INVARIANT_BROKEN": 500,
    "VENUE_REJECTED": 502,
    "BUSY": 503,
    "STREAMS_FULL": 503,
    "UNAVAILABLE": 503,
    "GUARDIAN_UNAVAILABLE": 503,
    "SCOUT_UNAVAILABLE": 503,
    "VENUE_UNAVAILABLE": 503,
    "STORE_CORRUPT": 503,
}

TITLES: Mapping[int, str] = {
    400: "The request is not valid",
    401: "A valid token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "The desk refuses",
    422: "The trade was denied",
    429: "Too many requests",
    500: "Something is broken here",
    502: "The venue refused",
    503: "Not available now",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One error as the caller sees it. `facts` are JSON and may not replace the members that every problem has."""

    code: str
    detail: str
    facts: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return STATUSES[self.code]

    @property
    def body(self) -> dict[str, Json]:
        members: dict[str, Json] = {
            "type": f"urn:executor-agent:problem:{self.code.lower()}",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "error": self.detail,
        }
        return {**self.facts, **members}


INTERNAL = Problem("INTERNAL_ERROR", "the service made a mistake; its log says which")
NO_ROUTE = Problem("NOT_FOUND", "there is no such route; GET / with Accept: application/json lists those there are")


def invalid(**fields: str) -> Problem:
    """An INVALID_REQUEST that names each wrong field and its remedy."""
    return of_desk_error(InvalidRequest(fields))


def of_desk_error(error: DeskError) -> Problem:
    """A domain error as a problem: its own words and facts, but of a bug none."""
    if isinstance(error, InvalidNumber):
        return of_desk_error(InvalidRequest({error.field: error.detail}))
    if STATUSES.get(error.code, 500) == 500:
        LOG.error("%s: %s", error.code, error.detail, exc_info=error)
        return INTERNAL
    headers = {"Retry-After": str(BUSY_RETRY_SECONDS)} if error.code == "BUSY" else {}
    return Problem(error.code, error.detail, {name: render(fact) for name, fact in error.facts.items()}, headers)


def of_exception(error: Exception) -> Problem:
    """Any exception as a problem. What is not known by name is a bug: logged with its traceback, told without it."""
    match error:
        case DeskError():
            return of_desk_error(error)
        case exceptions.AuthenticationFailed():
            return Problem("TOKEN_UNKNOWN", str(error.detail), headers=_challenge(error))
        case exceptions.NotAuthenticated():
            return Problem(
                "NOT_AUTHENTICATED", "send the header Authorization: Bearer TOKEN", headers=_challenge(error)
            )
        case exceptions.PermissionDenied():
            return Problem("FORBIDDEN", str(error.detail))
        case PermissionDenied():
            return Problem("FORBIDDEN", "this caller may not do that")
        case exceptions.MethodNotAllowed():
            return Problem("METHOD_NOT_ALLOWED", str(error.detail))
        case exceptions.Throttled():
            wait = str(max(1, int(getattr(error, "wait", None) or 1)))
            return Problem("THROTTLED", f"too many requests; try again in {wait} s", headers={"Retry-After": wait})
        case exceptions.UnsupportedMediaType():
            return invalid(**{"Content-Type": "must be application/json"})
        case exceptions.ParseError():
            return invalid(body="is not JSON")
        case UnreadablePostError():
            return invalid(body="ended before all of it had come; send it again")
        case Http404():
            return NO_ROUTE
        case DisallowedHost():
            return invalid(Host="is not one this service answers to; ALLOWED_HOSTS lists those it does")
        case SuspiciousOperation():
            return invalid(request="was refused as malformed or too large")
        case _:
            LOG.error("unexpected %s", type(error).__name__, exc_info=error)
            return INTERNAL


def exception_handler(error: Exception, context: Mapping[str, object]) -> Response:
    """The hook that REST_FRAMEWORK["EXCEPTION_HANDLER"] names. It answers every exception, so that none escapes."""
    problem = of_exception(error)
    return Response(problem.body, problem.status, headers=dict(problem.headers), content_type=CONTENT_TYPE)


def response_of(problem: Problem) -> HttpResponse:
    """The same body outside REST framework: for middleware and for Django's own error views."""
    return JsonResponse(problem.body, status=problem.status, headers=dict(problem.headers), content_type=CONTENT_TYPE)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler400."""
    return response_of(of_exception(exception if isinstance(exception, SuspiciousOperation) else SuspiciousOperation()))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler403."""
    return response_of(of_exception(PermissionDenied()))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler404, and the route of last resort."""
    return response_of(NO_ROUTE)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Django has logged the exception already."""
    return response_of(INTERNAL)


def _challenge(error: exceptions.APIException) -> Mapping[str, str]:
    """What 401 must carry (RFC 9110, 11.6.1). REST framework leaves the authenticator's words on the exception."""
    return {"WWW-Authenticate": getattr(error, "auth_header", "Bearer")}
