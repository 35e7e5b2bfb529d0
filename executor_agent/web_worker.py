"""gunicorn's worker with threads, but that what it cannot read is answered like everything else that is wrong, and that
nobody holds a thread by saying nothing.

The law: a connection has a thread only once something of a request is there, and the whole request is there within
`REQUEST_SECONDS` of that, or the rest of it is not waited for. What stands behind slow callers is an emergency stop.
"""

import selectors
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

REQUEST_SECONDS = 10.0


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    request_seconds = REQUEST_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Of each connection whose request is read: until when, and the request once its head is there. Written by all
        # threads, a key by one at a time.
        self._arriving: dict[Any, tuple[float, Any]] = {}

    def load_wsgi(self) -> None:
        """Called before the application is there; the end of the process is the end of gunicorn, too."""
        for one in self.sockets:
            _refuse_strangers(one.getsockname())
        super().load_wsgi()

    def enqueue_req(self, conn: Any) -> None:
        """Called in the main thread for a new connection, and for one that can be read; gunicorn would give the new one
        a thread for five seconds, whether it says something or not."""
        if conn.initialized or conn.data_ready:
            self._arriving[conn] = (time.monotonic() + self.request_seconds, None)
            super().enqueue_req(conn)
            return
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        try:
            return super().handle(conn)
        finally:
            self._arriving.pop(conn, None)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Called when the head of a request is there; the application reads its body."""
        if conn in self._arriving:
            self._arriving[conn] = (self._arriving[conn][0], req)
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """Called by the main thread each second, and after each event."""
        super().murder_pending()
        now = time.monotonic()
        for conn, (until, request) in tuple(self._arriving.items()):
            if now > until and not _is_whole(request):
                # Whoever waits for the rest reads an end; what is there is still read, and the answer still sent.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called for what never reaches the application, or escapes it; gunicorn itself would send a page of HTML."""
        ours = isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName)
        if ours or not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        with suppress(OSError):  # who sent it may be gone
            util.write_nonblock(client, answer_to(exc))


def _refuse_strangers(address: object) -> None:
    # Imported here: gunicorn's master loads this module, and the configuration only its workers.
    from trading.conf import ConfigurationError, refuse_strangers

    if isinstance(address, tuple):  # and no path
        from executor_agent.settings import DESK_CONFIG, refused_start

        try:
            refuse_strangers(str(address[0]), DESK_CONFIG)
        except ConfigurationError as error:
            raise refused_start(error) from None


def _is_whole(request: Any) -> bool:
    return request is not None and not getattr(request.body.reader, "length", 0)


def answer_to(error: ParseException) -> bytes:
    """The whole answer, status line and headers included: an INVALID_REQUEST that quotes nothing of what was sent."""
    # Imported here: gunicorn's master loads this module, and the application only its workers.
    from trading.middleware import HEADERS
    from trading.problems import invalid, response_of

    match error:
        case LimitRequestLine():
            problem = invalid(path="is too long")
        case LimitRequestHeaders():
            problem = invalid(headers="are too many or too long")
        case _:
            problem = invalid(request="is no HTTP that can be read")
    response = response_of(problem)
    head = {**HEADERS, **dict(response.items()), "Content-Length": str(len(response.content)), "Connection": "close"}
    lines = (f"HTTP/1.1 {response.status_code} {response.reason_phrase}", *(f"{name}: {head[name]}" for name in head))
    return "\r\n".join((*lines, "", "")).encode("latin-1") + response.content
