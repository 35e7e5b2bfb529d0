"""A real HTTP server on the loopback interface that plays a sibling agent, well or badly, as a test scripts it.

It keeps every request it got. What a script says is used up in order, and its last reply stands from then on.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Reply:
    """One reply. `hangs` never answers; `drip_seconds` passes before each byte, with `drips_headers` from the first."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    breaks_off: bool = False
    drip_seconds: float = 0.0
    drips_headers: bool = False


@dataclass(frozen=True)
class Received:
    """One request as it came, and the client's port, which tells connections apart."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    port: int

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


def says(value: object, status: int = 200) -> Reply:
    """A reply with *value* as its JSON."""
    return Reply(status, json.dumps(value).encode())


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up is what many a test is about."""


class Sibling:
    """The server; a context manager that serves while it is open."""

    def __init__(self, *replies: Reply) -> None:
        self.received: list[Received] = []
        self._script = list(replies) or [Reply()]
        self._closing = threading.Event()
        self._lock = threading.Lock()
        sibling = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                sibling._serve(self)

            def do_POST(self) -> None:
                sibling._serve(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: a test's output is its own."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def script(self, *replies: Reply) -> None:
        """Answer so from now on."""
        with self._lock:
            self._script = list(replies)

    def reply(self, received: Received) -> Reply:
        """What to answer: the script's next. Servers with manners of their own override this."""
        with self._lock:
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(str(request.command), request.path, headers, body, request.client_address[1])
        self.received.append(received)
        reply = self.reply(received)
        if reply.hangs:
            self._closing.wait(30)
        if reply.hangs or reply.breaks_off:
            request.close_connection = True
            return
        try:
            self._write(request, reply)
        except OSError:
            # The client has had enough.
            request.close_connection = True

    def _write(self, request: BaseHTTPRequestHandler, reply: Reply) -> None:
        lines = [f"HTTP/1.1 {reply.status} Scripted"]
        lines += [f"{name}: {value}" for name, value in {"Content-Length": len(reply.body), **reply.headers}.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if not reply.drip_seconds:
            # In one piece: two small ones would wait for each other's acknowledgement, 40 ms each time.
            request.wfile.write(head + reply.body)
            return
        if not reply.drips_headers:
            request.wfile.write(head)
            head = b""
        for byte in head + reply.body:
            if self._closing.wait(reply.drip_seconds):
                return
            request.wfile.write(bytes([byte]))
