"""The doors: what a request must satisfy before any route sees it, and what every answer carries.

The law: the Host is checked on every route; nothing is written on behalf of a foreign page; nothing leaves without the
headers that keep browsers from caching, framing or sniffing it; what escapes a view is a problem like any other.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from trading.problems import Problem, invalid, of_exception, response_of

Answer = HttpResponse | StreamingHttpResponse
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
HEADER_PREFIXES = ("HTTP_", "CONTENT_")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
DEFAULT_PORTS: Mapping[str, int] = {"http": 80, "https": 443}

POLICY = "Content-Security-Policy"
NO_PAGE_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Scripts and styles are files of this service; nothing is inline, so that there is no nonce and no hash to hand out.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "object-src 'none'"
)
HTML = "text/html"

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    POLICY: NO_PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
}

FOREIGN = Problem(
    "ORIGIN_REFUSED", "a page of another origin may not write here; CORS_ALLOWED_ORIGINS lists those that may"
)


class WsgiDoor:
    """Around the whole application: refuses headers with control characters, on which Django's own request would break.

    gunicorn lets none of them through; Django's development server does.
    """

    def __init__(self, application: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        for name, value in environ.items():
            if name.startswith(HEADER_PREFIXES) and isinstance(value, str) and CONTROL.search(value):
                return _refused_header(name, start_response)
        return self._application(environ, start_response)


class Doors:
    """The outermost middleware: before it nothing of ours runs, and every answer passes it on the way out."""

    def __init__(self, get_response: Callable[[HttpRequest], Answer]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Answer:
        problem = refusal_of(request)
        response = response_of(problem) if problem is not None else self._get_response(request)
        if response.headers.get("Content-Type", "").startswith(HTML):
            response.headers.setdefault(POLICY, PAGE_POLICY)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if not isinstance(response, StreamingHttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        if request.method == "HEAD":
            _drop_body(response)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        """What escapes a view or the rendering of its answer; with DEBUG on, Django would show it to the caller."""
        return response_of(of_exception(exception))


def _refused_header(name: str, start_response: Any) -> Iterable[bytes]:
    header = name.removeprefix("HTTP_").replace("_", "-").title()
    response = response_of(invalid(**{header: "must not hold control characters"}))
    start_response("400 Bad Request", [*response.items(), *HEADERS.items()])
    return [response.content]


def _drop_body(response: Answer) -> None:
    """A HEAD is answered by the headers of a GET alone; gunicorn writes a line about each that comes with a body."""
    if isinstance(response, StreamingHttpResponse):
        response.streaming_content = ()
    else:
        response.content = b""


def refusal_of(request: HttpRequest) -> Problem | None:
    """Why *request* may not come in; None when it may."""
    try:
        host = request.get_host()
    except DisallowedHost as error:
        return of_exception(error)
    if request.method in SAFE_METHODS:
        return None
    return None if _may_write(request, host) else FOREIGN


def _may_write(request: HttpRequest, host: str) -> bool:
    """No Origin is no browser, or an old one; then Sec-Fetch-Site decides. `null` is an origin, and nobody's."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and origin in settings.CORS_ALLOWED_ORIGINS:
        return True
    if request.META.get("HTTP_SEC_FETCH_SITE", "").strip().lower() == "cross-site":
        return False
    return origin is None or _same_origin(origin, request.scheme or "http", host)


def _same_origin(origin: str, scheme: str, host: str) -> bool:
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"{scheme}://{host}")
        ports = [one.port or DEFAULT_PORTS.get(one.scheme) for one in (theirs, ours)]
    except ValueError:
        return False
    return (theirs.scheme, theirs.hostname, ports[0]) == (ours.scheme, ours.hostname, ports[1])
