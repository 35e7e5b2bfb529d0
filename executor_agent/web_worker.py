"""gunicorn's worker with threads, but that what it cannot read is answered like everything else that is wrong, and that
nobody's slowness is anybody else's.

The law: no thread waits for what a caller sends, and none for long until he reads. The main thread gathers each request
and gives it a thread once it is whole; it waits for many at once and for nobody alone. What closes never waits for what
opens or shows, and has threads of its own, and so has an emergency stop beside it: that is what stands behind slow
callers and slow peers.
"""

import errno
import re
import resource
import selectors
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gunicorn import http, util
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)
from gunicorn.workers.gthread import ThreadWorker

REQUEST_SECONDS = 10.0
"""From the first byte of a request to its last."""
ANSWER_SECONDS = 10.0
"""For a caller to read what is sent in one piece; an event stream is many."""
PARTING_SECONDS = 2.0
"""For a caller to hang up once everything is said, and to come to an end with a request when the server stops."""
READ_BYTES_MAX = 64 * 1024
HEAD_BYTES_MAX = 32 * 1024
BODY_BYTES_MAX = 64 * 1024
"""What the application reads of a body at most; a longer one it refuses by what the head says of its length."""

URGENT_THREADS = 8
"""Beside those for everything else, and only begun when they are needed."""
STOP_THREADS = 4
"""Beside those for closes: nine of them that waited for a venue let a stop wait as well. The first stop closes all."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_STOP = re.compile(rb"POST /api/emergency_stop/?[? ]")
_URGENT = re.compile(rb"POST /api/(positions/[^/? ]+/close|trades/[^/? ]+/cancel)/?[? ]|(GET|HEAD) /api/health/?[? ]")
_EXPECTED = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


@dataclass(eq=False, slots=True)
class Arriving:
    """A request on its way in: what there is of it, and until when the rest is waited for."""

    until: float
    content: bytearray = field(default_factory=bytearray)
    told_to_go_on: bool = False


@dataclass(eq=False, slots=True)
class Parting:
    """A connection that has its last answer, and until when, or how many bytes, its end is waited for. Closed before
    what was sent is read, it would take the answer with it."""

    until: float
    bytes_left: int = READ_BYTES_MAX


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    request_seconds = REQUEST_SECONDS
    answer_seconds = ANSWER_SECONDS

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The main thread's own, but that a request's thread asks whether it was cut, or its head too long.
        self._arriving: dict[Any, Arriving] = {}
        self._cut: set[Any] = set()
        self._too_long: set[Any] = set()
        self._parting: dict[Any, Parting] = {}
        # Each takes a file. A process has 1,024 on most systems, and gunicorn's own bound is a thousand connections:
        # with no file left it dies where it accepts, everybody's answer with it; no ledger can be locked meanwhile.
        self.worker_connections = min(self.cfg.worker_connections, _files_max() // 2)
        self.max_keepalived = self.worker_connections - self.cfg.threads

    def load_wsgi(self) -> None:
        """Called before the application is there; the end of the process is the end of gunicorn, too."""
        if self.cfg.is_ssl:
            _refuse("--certfile: this service speaks no TLS; leave it out, and let a proxy speak it")
        for one in self.sockets:
            _refuse_strangers(one.getsockname())
        super().load_wsgi()

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Called once, in the worker's own process."""
        self._urgent, self._stop = ThreadPoolExecutor(URGENT_THREADS), ThreadPoolExecutor(STOP_THREADS)
        pool: ThreadPoolExecutor = super().get_thread_pool()
        return pool

    def enqueue_req(self, conn: Any) -> None:
        """Called in the main thread for a new connection, and for a kept one that can be read or has more than the last
        request in its buffer; gunicorn would let a thread read it."""
        content = bytearray(conn.parser.unreader.take_buffered() if conn.parser is not None else b"")
        now = time.monotonic()
        self._arriving[conn] = Arriving(now + (self.request_seconds if content else self.cfg.keepalive), content)
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        if content:
            self._look_at(conn)
        else:
            self._receive(conn, conn.sock)

    def _receive(self, conn: Any, _client: Any) -> None:
        """Called in the main thread when there is more of a request, or its connection has ended."""
        arriving = self._arriving[conn]
        data = _read(conn.sock)
        if data is None:
            return
        if data and not arriving.content:
            arriving.until = time.monotonic() + self.request_seconds
        arriving.content += data
        if data:
            self._look_at(conn)
        else:
            self._give_up_on(conn)

    def _look_at(self, conn: Any) -> None:
        """Give the request a thread if all of it is there, or as much as anybody would read."""
        arriving = self._arriving[conn]
        end = arriving.content.find(_HEAD_END)
        if not 0 <= end <= HEAD_BYTES_MAX:
            if len(arriving.content) > HEAD_BYTES_MAX:
                self._too_long.add(conn)
                self._hand_over(conn, cut=True)
            return
        head = bytes(arriving.content[: end + 2])
        length = _LENGTH.search(head)
        body = 0 if length is None else int(length[1])
        if _CHUNKED.search(head) or body > BODY_BYTES_MAX:
            self._hand_over(conn, cut=True)
        elif len(arriving.content) >= end + len(_HEAD_END) + body:
            self._hand_over(conn, cut=False)
        elif not arriving.told_to_go_on and _EXPECTED.search(head):
            arriving.told_to_go_on = True
            with suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _give_up_on(self, conn: Any) -> None:
        """No more of it comes: what there is may still be worth an answer."""
        if self._arriving[conn].content:
            self._hand_over(conn, cut=True)
        else:
            self._forget(conn)
            self._close(conn)

    def _hand_over(self, conn: Any, *, cut: bool) -> None:
        content = self._forget(conn).content
        if conn.parser is None:
            # Of no socket: the end of what is there is the end of what can be read.
            conn.parser = http.get_parser(self.cfg, (), conn.client)
        conn.parser.unreader.unread(bytes(content))
        conn.data_ready = True
        if cut:
            self._cut.add(conn)
        future = self._pool_for(content).submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _pool_for(self, content: bytearray) -> ThreadPoolExecutor:
        if _STOP.match(content):
            return self._stop
        return self._urgent if _URGENT.match(content) else self.tpool

    def _forget(self, conn: Any) -> Arriving:
        self.poller.unregister(conn.sock)
        return self._arriving.pop(conn)

    def handle(self, conn: Any) -> Any:
        """Called in a thread."""
        if conn not in self._too_long:
            return super().handle(conn)
        self.handle_error(None, conn.sock, conn.client, LimitRequestHeaders("limit request headers size"))
        return False

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Called in a thread when the head of a request is read."""
        if conn in self._cut:
            req.force_close()
        conn.sock.settimeout(self.answer_seconds)
        try:
            return super().handle_request(req, conn)
        except TimeoutError as error:
            # One of those that gunicorn says nothing about.
            raise ConnectionResetError(errno.ECONNRESET, "the answer was not read in time") from error

    def finish_request(self, conn: Any, future: Any) -> None:
        """Called in the main thread when a request's thread is done; gunicorn would wait here, and everybody with it,
        until the caller has hung up."""
        for marked in (self._cut, self._too_long):
            marked.discard(conn)
        if not future.cancelled() and future.exception() is None and future.result():
            super().finish_request(conn, future)
        else:
            self._part_with(conn)

    def _part_with(self, conn: Any) -> None:
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._wait_for_the_end, conn))
        except (OSError, ValueError):  # who called is gone
            self._close(conn)
        else:
            self._parting[conn] = Parting(time.monotonic() + PARTING_SECONDS)

    def _wait_for_the_end(self, conn: Any, _client: Any) -> None:
        parting, data = self._parting[conn], _read(conn.sock)
        if data is not None:
            parting.bytes_left -= len(data)
            if not data or parting.bytes_left <= 0:
                self._end(conn)

    def _end(self, conn: Any) -> None:
        del self._parting[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Called by the main thread each second, and after each event."""
        now = time.monotonic()
        if not self.alive:
            for arriving in self._arriving.values():
                arriving.until = min(arriving.until, now + PARTING_SECONDS)
        for conn in [one for one, arriving in self._arriving.items() if now > arriving.until]:
            self._give_up_on(conn)
        for conn in [one for one, parting in self._parting.items() if now > parting.until]:
            self._end(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Called for what never reaches the application, or escapes it; gunicorn itself would send a page of HTML."""
        ours = isinstance(exc, InvalidResponseHeader | InvalidResponseHeaderName)
        if ours or not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", exc)
        with suppress(OSError):  # who sent it may be gone
            util.write_nonblock(client, answer_to(exc))


def _files_max() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else files


def _refuse(mistake: str) -> None:
    # Imported here: gunicorn's master loads this module, and the configuration only its workers.
    from executor_agent.settings import refused_start
    from trading.conf import ConfigurationError

    raise refused_start(ConfigurationError((mistake,)))


def _refuse_strangers(address: object) -> None:
    from trading.conf import ConfigurationError, refuse_strangers

    if isinstance(address, tuple):  # and no path
        from executor_agent.settings import DESK_CONFIG, refused_start

        try:
            refuse_strangers(str(address[0]), DESK_CONFIG)
        except ConfigurationError as error:
            raise refused_start(error) from None


def _read(connection: socket.socket) -> bytes | None:
    """What has come; nothing when the caller has ended, in whatever way; None when there is nothing yet."""
    try:
        return connection.recv(READ_BYTES_MAX)
    except BlockingIOError:
        return None
    except OSError:
        return b""


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
