"""The server: /info, /exchange and /ws on one loopback port, with /control for a test in another process.

HTTP/1.1 with keep-alive, one thread a connection, each answer in one piece. Statuses and bodies are those of the real
exchange: business refusals are 200, a body that is no JSON is a 400, one that does not fit a 422, both in plain text.
"""

import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from tests.servers.hyperliquid.control import ControlError, control
from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault, Faults, type_of
from tests.servers.hyperliquid.frames import handshake
from tests.servers.hyperliquid.info import BadBook, Info
from tests.servers.hyperliquid.streams import Connection, Streams
from tests.servers.hyperliquid.words import Row, Unprocessable, record

HEAD_MAX = 64 * 1024
BODY_MAX = 4 * 1024 * 1024
TOOK_KEPT = 100
PUBLISH_SECONDS = 0.5
BATCH_WEIGHT = 40
MINUTE_SECONDS = 60.0
CONTROL, STREAM = "/control", "/ws"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {415: "Unsupported Media Type", 422: "Unprocessable Entity", 429: "Too Many Requests"}
_REASONS |= {500: "Internal Server Error", 502: "Bad Gateway"}
BAD_GATEWAY_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>cloudfront</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; None where one is expected means that the connection ends without any."""

    status: int
    body: bytes
    kind: str = "application/json"


def _plain(status: int, sentence: str) -> Reply:
    return Reply(status, sentence.encode(), "text/plain; charset=utf-8")


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, separators=(",", ":")).encode())


_FAULTY = {
    Answer.TOO_MANY: Reply(429, b"null"),
    Answer.BAD_GATEWAY: Reply(502, BAD_GATEWAY_PAGE, "text/html"),
    Answer.SERVER_ERROR: Reply(500, b"null"),
    Answer.GARBAGE: Reply(200, b"\x00<<not json>>", "application/json"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request: what of it matters here."""

    method: str
    path: str
    headers: Mapping[str, str]


def read_head(stream: BinaryIO) -> Head | None:
    """The next request's head, or None when the client has gone."""
    lines: list[str] = []
    size = 0
    while True:
        line = stream.readline(HEAD_MAX)
        size += len(line)
        if not line or size > HEAD_MAX:
            return None
        if line in (b"\r\n", b"\n"):
            break
        lines.append(line.decode("latin-1").rstrip("\r\n"))
    words = lines[0].split() if lines else []
    if len(words) != 3:
        return None
    pairs = (line.partition(":") for line in lines[1:])
    return Head(words[0], words[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self.crashes: list[BaseException] = []
        super().__init__(*args)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing for clients that hang up; anything else is the simulator's own fault: kept, and told on stderr."""
        crash = sys.exception()
        if crash is not None and not isinstance(crash, OSError):
            self.crashes.append(crash)
            traceback.print_exception(crash)


class HyperliquidServer:
    """The simulator; a context manager that serves while it is open.

    `exchange` scripts markets and tells the truth, `faults` the wire's misfortunes, `streams` those of /ws, `info.lag`
    late reads, `latency_seconds` the way there and back. `weight_limit` is the budget of the network
    address a minute, 0 for none; `weight_used` what it has spent. `took` is how long each of the latest requests to
    /exchange was here, in seconds, from its last byte read to the first of its answer.
    """

    def __init__(self, exchange: Exchange, port: int = 0, host: str = "127.0.0.1", *, ticks: bool = True) -> None:
        self.exchange = exchange
        self.info = Info(exchange)
        self.faults = Faults()
        self.streams = Streams(self.info, self._post)
        self.weight_limit = 0
        self.latency_seconds = 0.0
        self.took: deque[float] = deque(maxlen=TOOK_KEPT)
        self.late: list[threading.Thread] = []
        self._weights: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()
        self._sockets: dict[socket.socket, int] = {}
        self._closing = threading.Event()
        self._due = threading.Event()
        self._ticks = ticks
        exchange.on_news = self.streams.publish_news
        exchange.on_markets = self.streams.publish_markets
        server = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True
            rbufsize = 64 * 1024

            def handle(self) -> None:
                server._serve(self.connection, cast(BinaryIO, self.rfile))

        self._tcp = _Tcp((host, port), Handler)
        self._threads = [
            threading.Thread(target=self._tcp.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._pace, daemon=True),
        ]

    @property
    def port(self) -> int:
        return int(self._tcp.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def crashes(self) -> list[BaseException]:
        """What the simulator itself stumbled over; a test of a client may want this to be empty."""
        return self._tcp.crashes

    @property
    def weight_used(self) -> int:
        """Request weight of the last minute, all clients together."""
        with self._lock:
            self._forget_weights()
            return sum(weight for _, weight in self._weights)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._due.set()
        self.streams.cut()
        self._tcp.shutdown()
        self._tcp.server_close()
        self.drop_connections()
        for thread in (*self._threads, *self.late):
            thread.join()

    def bring_late(self) -> None:
        """Let all that is on its way arrive now, and come back when it has."""
        self._due.set()
        for thread in self.late:
            thread.join()
        self._due.clear()

    def drop_connections(self) -> None:
        """End every open HTTP connection but the caller's own, as an idle timeout or a restarted gateway does."""
        with self._lock:
            others = [one for one, thread in self._sockets.items() if thread != threading.get_ident()]
        for one in others:
            _hang_up(one)

    def _pace(self) -> None:
        while not self._closing.wait(PUBLISH_SECONDS):
            if self._ticks:
                self.exchange.tick()
            self.streams.publish_markets()

    # One connection

    def _serve(self, connection: socket.socket, stream: BinaryIO) -> None:
        with self._lock:
            self._sockets[connection] = threading.get_ident()
        try:
            while not self._closing.is_set():
                head = read_head(stream)
                if head is None or not self._answer(connection, stream, head):
                    return
        except OSError:
            # The client has gone, or was cut off.
            return
        finally:
            with self._lock:
                self._sockets.pop(connection, None)

    def _answer(self, connection: socket.socket, stream: BinaryIO, head: Head) -> bool:
        """Answer one request; False when the connection is over."""
        path = "/" + head.path.split("?")[0].lstrip("/")
        if path == STREAM and head.headers.get("upgrade", "").lower() == "websocket":
            self._upgrade(connection, stream, head)
            return False
        length = head.headers.get("content-length", "0")
        body = stream.read(min(int(length), BODY_MAX) if length.isdecimal() else 0)
        read_at = time.perf_counter()
        with self.streams.after_the_answer() if path == EXCHANGE else nullcontext():
            reply = self._reply(path, head, body)
            if reply is None:
                _hang_up(connection)
                return False
            keeps = head.headers.get("connection", "").lower() != "close"
            if path == EXCHANGE:
                # Before the answer is on its way: whoever has it can ask at once.
                self.took.append(time.perf_counter() - read_at)
            connection.sendall(self._written(reply, keeps))
            return keeps

    def _upgrade(self, connection: socket.socket, stream: BinaryIO, head: Head) -> None:
        if self.streams.refuses or "sec-websocket-key" not in head.headers:
            connection.sendall(self._written(_FAULTY[Answer.BAD_GATEWAY], keeps=False))
            return
        with self._lock:
            del self._sockets[connection]
        connection.sendall(handshake(head.headers["sec-websocket-key"]))
        self.streams.serve(stream, Connection(connection.sendall), lambda: _hang_up(connection))

    def _reply(self, path: str, head: Head, body: bytes) -> Reply | None:
        if path not in (INFO, EXCHANGE, CONTROL):
            return _plain(404, "")
        if head.method != "POST":
            return _plain(405, "")
        if head.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return _plain(415, "Expected request with `Content-Type: application/json`")
        try:
            request, _ = json.JSONDecoder().raw_decode(body.decode("utf-8").lstrip())
        except ValueError as error:
            return _plain(400, f"Failed to parse the request body as JSON: {error}")
        try:
            if path == CONTROL:
                return self._control(record(request))
            time.sleep(self.latency_seconds / 2)
            reply = self._misfortune(path, record(request))
            time.sleep(self.latency_seconds / 2)
            return reply
        except Unprocessable as error:
            return _plain(422, f"Failed to deserialize the JSON body into the target type: {error}")

    def _control(self, request: Mapping[str, object]) -> Reply:
        try:
            return _json(control(self, request))
        except ControlError as error:
            return _json({"error": str(error)}, 400)

    # Faults and the right answers

    def _written(self, reply: Reply, keeps: bool) -> bytes:
        """Head and body in one piece: two small ones would wait for each other's acknowledgement."""
        lines = [
            f"HTTP/1.1 {reply.status} {_REASONS[reply.status]}",
            f"Date: {formatdate(self.exchange.now_ms() / 1000, usegmt=True)}",
            f"Content-Type: {reply.kind}",
            f"Content-Length: {len(reply.body)}",
        ]
        if not keeps:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "", "")).encode() + reply.body

    def _misfortune(self, path: str, request: Mapping[str, object]) -> Reply | None:
        """The right answer, or what a fault makes of it; None ends the connection."""
        fault = self.faults.next_for(path, type_of(request), str(request.get("coin", "")))
        if fault is None:
            return self._right(path, request)
        if fault.commit is Commit.LATE:
            self._carry_out_late(request, fault.seconds)
        right = self._right(path, request) if fault.commit is Commit.BEFORE else None
        # What was done is told at once, whatever becomes of the answer.
        self.streams.tell_held()
        if fault.commit is not Commit.LATE and self._closing.wait(fault.seconds):
            return None
        return self._seen(fault, right)

    def _seen(self, fault: Fault, right: Reply | None) -> Reply | None:
        if fault.answer in _FAULTY:
            return _FAULTY[fault.answer]
        if fault.answer is Answer.SAYS:
            return _json(fault.body)
        if fault.answer is Answer.NORMAL:
            return right
        if fault.answer is Answer.CUT_SHORT and right is not None:
            return Reply(right.status, right.body[: len(right.body) // 2], right.kind)
        return None

    def _carry_out_late(self, request: Mapping[str, object], seconds: float) -> None:
        """Let the action happen after *seconds*, or when it is brought; what is still waiting when the server closes
        never happens."""

        def carry_out() -> None:
            self._due.wait(seconds)
            if not self._closing.is_set():
                self.exchange.act(request)

        self.exchange.read_envelope(request)
        thread = threading.Thread(target=carry_out, daemon=True)
        self.late.append(thread)
        thread.start()

    def _right(self, path: str, request: Mapping[str, object]) -> Reply:
        if self._over_budget():
            return _FAULTY[Answer.TOO_MANY]
        try:
            if path == EXCHANGE:
                self._spend(1 + _batch_length(request) // BATCH_WEIGHT)
                return _json(self.exchange.act(request))
            answer = self.info.answer(request)
        except BadBook:
            return _FAULTY[Answer.SERVER_ERROR]
        self._spend(self.info.weight(type_of(request), answer))
        return _json(answer)

    def _post(self, kind: str, payload: Mapping[str, object]) -> object:
        """A request that came over /ws."""
        if kind == "action":
            return self.exchange.act(payload)
        answer: Row = {"type": type_of(payload), "data": self.info.answer(payload)}
        return answer

    def _spend(self, weight: int) -> None:
        with self._lock:
            self._weights.append((time.monotonic(), weight))

    def _over_budget(self) -> bool:
        return self.weight_limit > 0 and self.weight_used >= self.weight_limit

    def _forget_weights(self) -> None:
        while self._weights and self._weights[0][0] < time.monotonic() - MINUTE_SECONDS:
            self._weights.popleft()


def _batch_length(request: Mapping[str, object]) -> int:
    action = request.get("action")
    rows = [action.get(name) for name in ("orders", "cancels", "modifies")] if isinstance(action, dict) else []
    return max((len(one) for one in rows if isinstance(one, list)), default=1)


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It was over already.
        return
