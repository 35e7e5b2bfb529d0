"""The outermost middleware: every request has an id that runs through to what it causes, and is counted and timed.

The law: a caller's id is taken when it is harmless, and made up otherwise; it comes back in the answer. Labels of
meters are routes and never paths, so that no caller can make more of them.
"""

import os
import re
from collections.abc import Callable
from itertools import count

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from trading.bootstrap import process_clock
from trading.domain.units import hash_of
from trading.utils import meters
from trading.utils.request_id import serving

Answer = HttpResponse | StreamingHttpResponse
HEADER = "X-Request-ID"
METHODS = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
_ACCEPTED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_PARAMETER = re.compile(r"\(\?P<(\w+)>[^)]*\)")
_numbers = count(1)


class Traced:
    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Answer:
        clock = process_clock()
        began = clock.monotonic()
        name = id_of(request, clock.now().isoformat())
        with serving(name):
            response = self._get_response(request)
        response.headers[HEADER] = name
        method, route = request.method if request.method in METHODS else OTHER, route_of(request)
        meters.REQUESTS.labels(method, route, str(response.status_code)).inc()
        meters.REQUEST_SECONDS.labels(method, route).observe(clock.monotonic() - began)
        return response


def id_of(request: HttpRequest, instant: str) -> str:
    """The caller's id for the request, or a new one."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    if _ACCEPTED.fullmatch(given):
        return str(given)
    return f"req_{hash_of('request', os.getpid(), next(_numbers), instant)[:24]}"


def route_of(request: HttpRequest) -> str:
    """The route's pattern with `{id}` for what varies; `other` for what no route was found for."""
    match = request.resolver_match
    if match is None or not match.route:
        return OTHER
    pattern = match.route.removeprefix("^").removesuffix(r"\Z").removesuffix("/?")
    return "/" + _PARAMETER.sub("{id}", pattern)
