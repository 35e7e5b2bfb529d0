"""What a browser gets besides the API: the dashboard at /, the log-in page, and the session behind it.

The law: a page holds no number of the desk; what it shows it asks of the API, as its caller, like everybody else. What
a page loads comes from this service, and nothing in it is inline.
"""

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from trading import schema_routes
from trading.authentication import caller_if_known, configuration, owner_of
from trading.bootstrap import get_desk, process_clock
from trading.conf import ApiToken, Config, Scope
from trading.domain.errors import StoreCorrupt
from trading.parsers import body_of
from trading.rendering import render
from trading.serializers import log_in_request
from trading.sessions import Session, SessionView, begin, cookie_name, cookie_of, end, session_of
from trading.throttling import CallerThrottle
from trading.views import PublicView

ROUTES = tuple(schema_routes.ROUTES)
LOG_IN_PATH = "/login"
# Told to the browser at once, so that it need not read one to learn of the next.
MODULES = (
    *(
        "api",
        "chart",
        "closing",
        "detail",
        "dom",
        "exits",
        "feed",
        "format",
        "glance",
        "history",
        "log",
        "positions",
        "resume",
        "signals",
    ),
    *("state", "stop", "ticket"),
)


# What the page shows of these comes later and takes their place, so that nothing moves when it does.
PARTS = ("Page", "Redis", "Monitor", "Prices", "Venue", "Scout", "Guardian")
LIMITS = ("Positions", "Allocation", "Leverage", "Daily loss")


class Root(PublicView):
    """GET / : the dashboard; for who asks for JSON and no page, where things are, as far as they may know."""

    def get(self, request: Request) -> HttpResponseBase:
        config = configuration()
        known = caller_if_known(request.META, config)
        accept = request.headers.get("Accept", "")
        if "application/json" in accept and "text/html" not in accept:
            shown = {"routes": list(ROUTES)} if known is not None or config.demo_mode else {}
            return Response({"service": "executor_agent", "health": "/api/health", **shown})
        if known is None or not known.scope.covers(Scope.READ):
            return redirect(LOG_IN_PATH)
        return page("desk.html", {"mode": mode_of_desk(), "modules": MODULES, "parts": PARTS, "limits": LIMITS})


class LogIn(PublicView):
    """GET /login : where a token is shown once, for a session."""

    def get(self, request: Request) -> HttpResponseBase:
        config = configuration()
        # Who is sent here from there, behind a proxy say, must not be sent back.
        if not config.api_tokens and caller_if_known(request.META, config) is not None:
            return redirect("/")
        cookie = cookie_of(request.META, config)
        ended = cookie is not None and session_of(cookie, config, process_clock()) is None
        return page("login.html", {"mode": mode_of_desk(), "ended": ended})


class Sessions(PublicView):
    """GET, POST and DELETE /api/session : who is looking, log in, log out."""

    def get(self, request: Request) -> Response:
        config = configuration()
        caller = caller_if_known(request.META, config)
        if caller is None:
            raise NotAuthenticated
        cookie = None if "Authorization" in request.headers else cookie_of(request.META, config)
        session = session_of(cookie, config, process_clock()) if cookie is not None else None
        if session is not None:
            return Response(render(_shown(session)))
        return Response(render(SessionView(caller.name, caller.scope, None, None, bool(config.api_tokens))))

    def post(self, request: Request) -> Response:
        config = configuration()
        session = begin(self._owner(request, config), process_clock().now())
        response = Response(render(_shown(session)), 201)
        keep(response, session, request, config)
        return response

    def delete(self, request: Request) -> Response:
        config = configuration()
        cookie = cookie_of(request.META, config)
        if cookie is not None:
            end(cookie, config, process_clock())
        response = Response(status=204)
        response.delete_cookie(cookie_name(config), samesite="Strict")
        return response

    def _owner(self, request: Request, config: Config) -> ApiToken:
        """Whose token is shown. Guessing is slow; who shows a right one is let in, whoever guesses at the same address,
        which behind a proxy is everybody's."""
        try:
            return owner_of(log_in_request(body_of(request)), config.api_tokens)
        except AuthenticationFailed:
            throttle = CallerThrottle()
            if not throttle.allow_request(request, self):
                self.throttled(request, throttle.wait())
            raise


def page(template: str, context: Mapping[str, object]) -> HttpResponse:
    """A page; the doors give it the policy of pages."""
    return HttpResponse(render_to_string(template, dict(context)))


def keep(response: HttpResponse, session: Session, request: HttpRequest | Request, config: Config) -> None:
    """Give the browser its session: for no script, no other site, and over TLS only where it came over TLS."""
    response.set_cookie(
        cookie_name(config),
        session.value,
        expires=session.ends_at,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure(),
    )


def mode_of_desk() -> str:
    """What money is at stake: demo, testnet, mainnet, local (a simulator), or unknown while the desk cannot be read."""
    try:
        desk = get_desk()
    except StoreCorrupt:
        return "demo" if configuration().demo_mode else "unknown"
    return "demo" if desk.config.demo_mode else desk.venue.network


def _shown(session: Session) -> SessionView:
    return SessionView(session.name, session.scope, session.ends_at, session.write_key, tokens=True)
