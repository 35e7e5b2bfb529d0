"""Kept-alive connections to one host, and one exchange over one: a request out in one piece, the whole answer in.

HTTP is read by llhttp, the parser of Node, through httptools, which uvicorn serves with; what is decided here is what
the desk promises of an exchange: its time as a whole, the size of its answer, and that nothing of one answer is ever
taken for another's. An exchange is an execute's most frequent wait, and urllib3 above http.client above the email
package took four times the processor time for one.

The law: a connection is used again only when its answer was whole, ended where it said and left nothing behind it.
"""

import socket
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult
from weakref import finalize

import certifi
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3.util.wait import wait_for_read

from trading.ports import Clock

ANSWER_BYTES_MAX = 1 << 20
CONNECT_SECONDS_MAX = 2.0
CONNECTIONS_KEPT = 16
HEAD_BYTES_MAX = 1 << 16
"""Before the body, those that only say it is coming included."""
HEADERS_MAX = 100
_RECEIVED_BYTES = 1 << 16
# Without a length some servers turn them away, or wait for more (RFC 9110, 8.6).
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
_BREAKS = ("\r", "\n", "\0")


class BrokenOff(Exception):
    """No whole answer came, or none that is HTTP."""


class TooLarge(Exception):
    """The answer has more than `ANSWER_BYTES_MAX` bytes."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an exchange has to be over, on the monotonic clock."""

    clock: Clock
    ends_at: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> "Deadline":
        return cls(clock, clock.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that remain; raises TimeoutError when there are none."""
        seconds = self.ends_at - self.clock.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time for this exchange is spent")
        return seconds


class _Reading:
    """What llhttp tells of an answer as its bytes come. The names are those that httptools calls."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        # As a recipient may (RFC 9112, 2.2): nothing that is read here is handed on to anybody who reads it otherwise.
        self.parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self.begin()

    def begin(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.headers_count = self.status = 0
        self.head_is_over = self.whole = self.kept_alive = self.more = False
        self.body: list[bytes] = []
        self.body_bytes = self.received = 0

    def on_message_begin(self) -> None:
        self.more = self.whole

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers_count += 1
        if not self.whole:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.head_is_over = True

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if not self.whole:
            self.body.append(body)

    def on_message_complete(self) -> None:
        if self.whole:
            return
        self.status = self.parser.get_status_code()
        if self.status < 200:  # says that the answer is coming (RFC 9110, 15.2)
            self.head_is_over = False
            self.headers.clear()
        else:
            # The parser forgets it with the end of the message.
            self.whole, self.kept_alive = True, bool(self.parser.should_keep_alive())

    def feed(self, data: bytes) -> None:
        """Raises BrokenOff for what is no HTTP, or has more of it than any answer needs; TooLarge for the body."""
        self.received += len(data)
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.more = True
            if not self.whole:
                raise BrokenOff(f"no HTTP: {error}") from error
        # A body in small chunks comes with as much again.
        if self.body_bytes > ANSWER_BYTES_MAX or self.received > 2 * ANSWER_BYTES_MAX:
            raise TooLarge
        if self.headers_count > HEADERS_MAX or (not self.head_is_over and self.received > HEAD_BYTES_MAX):
            raise BrokenOff("more headers than any answer needs")

    def end(self) -> None:
        """The peer has hung up, which is the end of an answer that says nothing of its length (RFC 9112, 6.3)."""
        sized = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if sized or not self.head_is_over:
            raise BrokenOff("the answer was cut short")
        self.status, self.whole = self.parser.get_status_code(), True


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A whole answer of any status; *headers* by their names in small letters, of those given twice the last."""

    status: int
    headers: Mapping[bytes, bytes]
    content: bytes


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reading = _Reading()

    def is_quiet(self) -> bool:
        """Whether it is open and nothing has come that nobody asked for."""
        return not wait_for_read(self.sock, timeout=0)

    def exchange(self, request: bytes, deadline: Deadline) -> RawAnswer:
        reading, sock = self._reading, self.sock
        reading.begin()
        self._send(request, deadline)
        while not reading.whole:
            sock.settimeout(deadline.left())
            data = sock.recv(_RECEIVED_BYTES)
            if data:
                reading.feed(data)
            else:
                reading.end()
        content = b"".join(reading.body)
        reading.body.clear()  # a kept connection keeps no answer
        return RawAnswer(reading.status, reading.headers, content)

    def can_be_used_again(self) -> bool:
        return self._reading.kept_alive and not self._reading.more

    def _send(self, request: bytes, deadline: Deadline) -> None:
        unsent = memoryview(request)
        while unsent:
            self.sock.settimeout(deadline.left())
            try:
                unsent = unsent[self.sock.send(unsent) :]
            except BrokenPipeError:  # the peer may have answered before it hung up
                return


class Connections:
    """Those to the host of *url*, http or https; up to `CONNECTIONS_KEPT` are kept while nobody uses them.

    Threads share it: each exchange has a connection to itself.
    """

    def __init__(self, url: SplitResult) -> None:
        self._host = url.hostname or ""
        self._secure = url.scheme == "https"
        self._port = url.port or (443 if self._secure else 80)
        self._authorities = certifi.where() if self._secure else ""
        self._named = f"\r\nHost: {url.netloc.encode('idna').decode()}\r\n"
        self._kept: deque[_Connection] = deque()
        finalize(self, _close, self._kept)

    def exchange(
        self, deadline: Deadline, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> RawAnswer:
        """The answer to one request that is sent once; *target* is quoted already.

        Raises BrokenOff, TooLarge, TimeoutError, another OSError for what the network does, ValueError for a header
        that would be two.
        """
        request = self._request(method, target, headers, body)
        connection = self._take(deadline)
        try:
            answer = connection.exchange(request, deadline)
        except BaseException:
            connection.sock.close()
            raise
        if connection.can_be_used_again() and len(self._kept) < CONNECTIONS_KEPT:
            self._kept.append(connection)
        else:
            connection.sock.close()
        return answer

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        head = method + " " + target + " HTTP/1.1" + self._named
        for name, value in headers.items():
            if any(one in value for one in _BREAKS):
                raise ValueError(f"the header {name} holds a line break")
            head += name + ": " + value + "\r\n"
        if body is not None or method in _WITH_CONTENT:
            head += f"Content-Length: {len(body or b'')}\r\n"
        return (head + "\r\n").encode("latin-1") + (body or b"")

    def _take(self, deadline: Deadline) -> _Connection:
        """The one that was used last, which is the one most likely to be open; a new one where none is."""
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return self._opened(deadline)
            if connection.is_quiet():
                return connection
            connection.sock.close()

    def _opened(self, deadline: Deadline) -> _Connection:
        sock = self._reached(deadline)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._secure:
                sock.settimeout(deadline.left())
                sock = _context(self._authorities).wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        return _Connection(sock)

    def _reached(self, deadline: Deadline) -> socket.socket:
        """All addresses of the host have `CONNECT_SECONDS_MAX` together, each but the last half of what is left: a name
        may have a dozen that are silent."""
        found = socket.getaddrinfo(self._host, self._port, 0, socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        connecting = Deadline.after(deadline.clock, min(CONNECT_SECONDS_MAX, deadline.left()))
        failure: OSError | None = None
        for behind in reversed(range(len(addresses))):
            try:
                seconds = connecting.left() / (2 if behind else 1)
                return socket.create_connection((addresses[-1 - behind], self._port), seconds)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{self._host} has no address")


@cache
def _context(authorities: str) -> ssl.SSLContext:
    """Host names are checked against the authorities that Mozilla trusts, for every system has others."""
    context = ssl.create_default_context(cafile=authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _close(connections: Iterable[_Connection]) -> None:
    for one in connections:
        one.sock.close()
