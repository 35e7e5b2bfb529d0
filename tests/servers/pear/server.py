"""The server: Pear's routes on one loopback port, with /control for a test in another process.

Statuses, bodies and oddities are those of the fact sheet behind docs/adr/0090: a POST with a JSON content type and no
body is a 400, routes that Pear does not have are a 404, and any 2xx may mean success.
"""

import json
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from tests.servers.hyperliquid.faults import Answer, Commit, Fault, Faults
from tests.servers.hyperliquid.server import BAD_GATEWAY_PAGE
from tests.servers.pear.auth import Sessions
from tests.servers.pear.control import control
from tests.servers.pear.door import Door
from tests.servers.pear.trading import Trading
from tests.servers.pear.words import Body, Crashed, Refused, Row, iso, record
from trading.ports import Clock

LOOK_SECONDS = 0.5
RETRY_AFTER_SECONDS = 12
TOO_MANY: Row = {
    "statusCode": 429,
    "error": "Too Many Requests",
    "message": f"Rate limit exceeded, retry in {RETRY_AFTER_SECONDS} seconds",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request that found its route: `body` as JSON, `name` what stands in the path for {id}."""

    address: str
    name: str
    query: Mapping[str, str]
    body: object

    @property
    def record(self) -> Body:
        return record(self.body if self.body is not None else {}, "body")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    kind: str = "application/json; charset=utf-8"
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """`answer` gives the JSON; `open` ones ask for no token."""

    answer: Callable[["PearServer", Request], object]
    status: int = 200
    open: bool = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a desk that is killed hangs up."""


class PearServer:
    """The simulator; a context manager that serves while it is open.

    `sessions` holds keys and tokens, `trading` the baskets and their whims, `faults` the wire's misfortunes by route
    (such as `POST /positions/{id}/close`). `received` is every request that came, by route.
    """

    def __init__(
        self, door: Door, clock: Clock, agent_key: str, agent: str, builder: str, port: int = 0, *, ticks: bool = True
    ) -> None:
        self.clock = clock
        self.sessions = Sessions(clock)
        self.trading = Trading(door, clock, agent_key, builder)
        self.faults = Faults()
        self.agent = agent
        self.agentless = ""
        self.received: list[tuple[str, object]] = []
        self._late: list[threading.Thread] = []
        self._ticks = ticks
        self._closing = threading.Event()
        server = self

        class Handler(_Handler):
            pear = server

        self._http = _Server(("127.0.0.1", port), Handler)
        self._threads = [
            threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        for thread in (*self._threads, *self._late):
            thread.join()

    def count(self, route: str) -> int:
        """How many requests of *route* came."""
        return sum(1 for one, _ in self.received if one == route)

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_SECONDS):
            if self._ticks:
                self.trading.look_at_lines()

    # One request

    def reply(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Reply | None:
        """The answer; None ends the connection without one."""
        path, _, query = target.partition("?")
        try:
            body = _parsed(headers, content)
            if path == "/control":
                return _json(200, control(self, record(body, "body")))
            pattern, route, name = _route(method, path)
            self.received.append((pattern, body))
            fault = self.faults.next_for(pattern, "")
            if fault is None:
                return self._answered(route, headers, name, query, body)
            return self._misfortune(fault, lambda: self._answered(route, headers, name, query, body))
        except Refused as refusal:
            return _json(refusal.status, refusal.body)

    def _answered(self, route: Route, headers: Mapping[str, str], name: str, query: str, body: object) -> Reply:
        try:
            address = "" if route.open else self.sessions.address_of(headers.get("authorization", ""))
            request = Request(address, name, dict(parse_qsl(query)), body)
            answer = route.answer(self, request)
            return _json(route.status, answer) if answer is not None else Reply(route.status, b"")
        except Refused as refusal:
            return _json(refusal.status, refusal.body)
        except Crashed as crash:
            return _json(500, crash.body)

    def _misfortune(self, fault: Fault, right: Callable[[], Reply]) -> Reply | None:
        answer: Reply | None = None
        if fault.commit is Commit.BEFORE:
            answer = right()
        elif fault.commit is Commit.LATE:
            self._carry_out_late(right, fault.seconds)
        if fault.commit is not Commit.LATE and self._closing.wait(fault.seconds):
            return None
        match fault.answer:
            case Answer.NORMAL:
                return answer
            case Answer.SAYS:
                said = record(fault.body, "body")
                return _json(int(str(said.get("statusCode", 200))), said)
            case Answer.TOO_MANY:
                return Reply(429, json.dumps(TOO_MANY).encode(), retry_after=fault.seconds == 0)
            case Answer.BAD_GATEWAY:
                return Reply(502, BAD_GATEWAY_PAGE, "text/html")
            case Answer.SERVER_ERROR:
                return _json(500, Crashed.body)
            case Answer.GARBAGE:
                return Reply(200, b"\x00<<not json>>")
            case Answer.CUT_SHORT if answer is not None:
                return Reply(answer.status, answer.body[: len(answer.body) // 2])
            case _:
                return None

    def _carry_out_late(self, right: Callable[[], Reply], seconds: float) -> None:
        def carry_out() -> None:
            if not self._closing.wait(seconds):
                right()

        thread = threading.Thread(target=carry_out, daemon=True)
        self._late.append(thread)
        thread.start()

    # Answers of a few lines

    def health(self, request: Request) -> Row:
        return {"status": "ok", "timestamp": iso(self.clock.now()), "uptime": 1}

    def agent_wallet(self, request: Request) -> Row | None:
        """`agentless` says how an account without an agent is told: by a 404, by an empty object, or by nothing."""
        if self.agentless == "404":
            raise Refused(404, "Agent wallet not found")
        if self.agentless == "nothing":
            return None
        return {} if self.agentless else {"agentWalletAddress": self.agent}

    def make_agent(self, request: Request) -> Row:
        self.agentless = ""
        return {
            "agentWalletAddress": self.agent,
            "message": "Please approve this agent wallet on Hyperliquid Exchange to enable trading",
        }

    def account(self, request: Request) -> Row:
        customer = self.trading.customer(request.address)
        closed = sum(1 for one in customer.baskets.all if not one.open)
        return {"agentWalletAddress": self.agent, "totalClosedTrades": closed, "lastSyncedAt": None}

    def orders(self, request: Request) -> Row:
        page, limit = int(request.query.get("page", "1")), min(int(request.query.get("limit", "50")), 100)
        newest = list(reversed(self.trading.customer(request.address).orders))
        shown = newest[(page - 1) * limit : page * limit]
        total = len(newest)
        row: Row = {"data": [one.row() for one in shown], "total": total, "page": page, "limit": limit}
        return {**row, "totalPages": -(-total // limit)}

    def open_orders(self, request: Request) -> list[Row]:
        return [one.row() for one in self.trading.customer(request.address).orders if one.status == "OPEN"]

    def fills(self, request: Request) -> list[Row]:
        address, since = request.query.get("address", "").lower(), int(request.query.get("startTime", "0"))
        return [one for one in self.trading.customer(address).fills if int(str(one["fillTime"])) >= since]

    def positions(self, request: Request) -> list[Row]:
        return self.trading.positions(request.address, sync=request.query.get("syncPosition") == "true")


_ROUTES: dict[str, Route] = {
    "GET /health": Route(PearServer.health, open=True),
    "GET /auth/eip712-message": Route(lambda pear, it: pear.sessions.typed_data(dict(it.query)), open=True),
    "POST /auth/login": Route(lambda pear, it: pear.sessions.log_in(it.record), open=True),
    "POST /auth/refresh": Route(lambda pear, it: pear.sessions.refresh(it.record), open=True),
    "POST /auth/logout": Route(lambda pear, it: pear.sessions.log_out(it.record), open=True),
    "POST /api-keys": Route(lambda pear, it: pear.sessions.mint(it.address, it.record), 201),
    "GET /api-keys": Route(lambda pear, it: pear.sessions.keys_of(it.address)),
    "GET /agentWallet": Route(PearServer.agent_wallet),
    "POST /agentWallet": Route(PearServer.make_agent, 201),
    "GET /accounts": Route(PearServer.account),
    "GET /positions": Route(PearServer.positions),
    "POST /positions": Route(lambda pear, it: pear.trading.create(it.address, it.record), 201),
    "POST /positions/close-all": Route(lambda pear, it: pear.trading.close_all(it.address, it.record), 201),
    "POST /positions/{id}/close": Route(lambda pear, it: pear.trading.close(it.address, it.name, it.record), 201),
    "POST /positions/{id}/adjust": Route(lambda pear, it: pear.trading.adjust(it.address, it.name, it.record)),
    "POST /positions/{id}/adjust-advance": Route(
        lambda pear, it: pear.trading.adjust_advance(it.address, it.name, it.body), 201
    ),
    "POST /positions/{id}/adjust-leverage": Route(
        lambda pear, it: pear.trading.set_leverage(it.address, it.name, it.record)
    ),
    "PUT /positions/{id}/riskParameters": Route(lambda pear, it: pear.trading.set_risk(it.address, it.name, it.record)),
    "GET /orders": Route(PearServer.orders),
    "GET /orders/open": Route(PearServer.open_orders),
    "GET /orders/twap": Route(lambda pear, it: []),
    "DELETE /orders/{id}/cancel": Route(lambda pear, it: pear.trading.cancel(it.address, it.name)),
    "GET /notifications": Route(lambda pear, it: list(pear.trading.customer(it.address).notifications)),
    "GET /fills": Route(PearServer.fills, open=True),
}


def _route(method: str, path: str) -> tuple[str, Route, str]:
    exact = f"{method} {path}"
    if exact in _ROUTES and "{" not in exact:
        return exact, _ROUTES[exact], ""
    for pattern, route in _ROUTES.items():
        found = re.fullmatch(re.escape(pattern).replace(r"\{id\}", "([^/]+)"), exact)
        if found is not None and "{" in pattern:
            return pattern, route, found.group(1)
    raise Refused(404, f"Cannot {method} {path}")


def _parsed(headers: Mapping[str, str], content: bytes) -> object:
    if not content:
        if "json" in headers.get("content-type", ""):
            raise Refused(400, "Body cannot be empty when content-type is set to 'application/json'")
        return None
    try:
        return json.loads(content, parse_float=Decimal)
    except ValueError:
        raise Refused(400, "Unexpected token in JSON") from None


def _json(status: int, value: object) -> Reply:
    return Reply(status, json.dumps(value, default=_plain).encode())


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive; says nothing on stderr."""

    pear: PearServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.pear.reply(self.command, self.path, headers, content)
        if reply is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        lines = [f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('',))[0]}"]
        lines += [f"Content-Type: {reply.kind}", f"Content-Length: {len(reply.body)}"]
        if reply.retry_after:
            lines.append(f"Retry-After: {RETRY_AFTER_SECONDS}")
        # Head and body in one piece: two small ones would wait for each other's acknowledgement.
        self.wfile.write("\r\n".join((*lines, "", "")).encode() + reply.body)
