"""One HTTP peer: kept-alive connections with every bound set, and transport failures as one domain error.

The law: no call outlives its time-out, counted over connecting, sending, headers, body and repeats together; no answer
is larger than `ANSWER_BYTES_MAX`; no redirect is followed, no proxy or netrc of the environment is used, no cookie is
kept; a write is never repeated. Plain http is for the loopback interface only.

Threads share a peer: a connection is taken out of the pool while it is used, so sixteen web threads reuse sixteen
kept-alive connections. Requests are written here, answers read by `http_answer`: a session of requests costs twenty
times the processor time of that. Looking up a host name is bounded by the system's resolver alone.
"""

import json
import re
import select
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPException
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import certifi

from trading.adapters.http_answer import Receive, TooLarge, read_answer
from trading.domain.errors import InvalidRequest, Unavailable
from trading.ports import Clock

ANSWER_BYTES_MAX = 1 << 20
CONNECT_SECONDS_MAX = 2.0
READ_BACKOFFS_SECONDS = (0.1, 0.3)
CONNECTIONS_KEPT = 16
# Some gateways turn away a request that does not say who sends it.
_HEADERS = "Accept: application/json\r\nAccept-Encoding: identity\r\nUser-Agent: executor-agent"
_PORTS = {"http": 80, "https": 443}
# What a path may hold as it is; everything else is quoted.
_PATH = "/:@!$&'()*+,;=%~"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


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


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the peer, of any status; a redirect is one more answer that is not `ok`."""

    status: int
    content: bytes

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Peer:
    """The service that *base_url* names. Every failure is raised as *unavailable*.

    *variable* is the configuration variable that *base_url* came from: a URL that may not be used raises InvalidRequest
    naming it. *timeout_seconds* bounds each call as a whole.
    """

    def __init__(
        self,
        name: str,
        variable: str,
        base_url: str,
        timeout_seconds: float,
        clock: Clock,
        unavailable: type[Unavailable],
    ) -> None:
        self._name = name
        url = urlsplit(_checked_url(variable, base_url))
        self._path = url.path
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._unavailable = unavailable
        self._connections = _Connections(url)

    def get(self, path: str, params: Mapping[str, str]) -> object:
        """The decoded JSON of a 2xx answer, asked for up to three times within the time-out."""
        deadline = Deadline.after(self._clock, self._timeout_seconds)
        for pause in READ_BACKOFFS_SECONDS:
            try:
                answer = self._exchange(deadline, "GET", path, params=params)
            except self._unavailable:
                if not self._pause(deadline, pause):
                    raise
            else:
                if answer.status not in _TRY_AGAIN or not self._pause(deadline, pause):
                    return self.decoded(answer)
        return self.decoded(self._exchange(deadline, "GET", path, params=params))

    def post(self, path: str, body: Mapping[str, object], within_seconds: float | None = None) -> Answer:
        """The answer to *body*, sent once as JSON, of any status. *within_seconds* can only shorten the time-out."""
        seconds = self._timeout_seconds if within_seconds is None else min(self._timeout_seconds, within_seconds)
        deadline = Deadline.after(self._clock, seconds)
        return self._exchange(deadline, "POST", path, body=json.dumps(body, allow_nan=False).encode())

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        within_seconds: float | None = None,
    ) -> Answer:
        """The answer of any status to one request, sent once; None as *body* sends none and no content type either."""
        seconds = self._timeout_seconds if within_seconds is None else min(self._timeout_seconds, within_seconds)
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        deadline = Deadline.after(self._clock, seconds)
        return self._exchange(deadline, method, path, params=params, body=content, headers=headers)

    def probe(self, path: str) -> int:
        """The status of one GET, whatever it is: somebody listens there. Raises the peer's Unavailable otherwise."""
        return self._exchange(Deadline.after(self._clock, self._timeout_seconds), "GET", path).status

    def decoded(self, answer: Answer) -> object:
        """The JSON of a 2xx *answer*; fractions are Decimal, digit for digit. NaN and infinities are no JSON."""
        if not answer.ok:
            raise self._unavailable(f"{self._name} answered with status {answer.status}", status=answer.status)
        try:
            value: object = json.loads(answer.content, parse_float=Decimal, parse_constant=_refused_constant)
        except (ValueError, ArithmeticError, RecursionError) as error:
            raise self._unavailable(f"{self._name} answered with something that is no JSON") from error
        return value

    def _pause(self, deadline: Deadline, seconds: float) -> bool:
        """Sleep before another try; False, at once, when no time would be left for it."""
        if deadline.ends_at - self._clock.monotonic() <= seconds:
            return False
        self._clock.sleep(seconds)
        return True

    def _exchange(
        self,
        deadline: Deadline,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        target = quote(self._path + path, safe=_PATH) + (f"?{urlencode(params)}" if params else "")
        try:
            return self._connections.exchange(deadline, method, target, headers or {}, body)
        except TimeoutError as error:
            raise self._unavailable(f"{self._name} did not answer in time") from error
        except TooLarge as error:
            raise self._unavailable(f"{self._name} answered with more than {ANSWER_BYTES_MAX} bytes") from error
        except (OSError, HTTPException, UnicodeError) as error:
            raise self._unavailable(f"{self._name} cannot be reached or broke off") from error


class _Connections:
    """The connections to one host, each used by one thread at a time; the last used is used first."""

    def __init__(self, url: SplitResult) -> None:
        self._address = (url.hostname or "", url.port or _PORTS[url.scheme])
        self._head = f"Host: {url.netloc}\r\n{_HEADERS}"
        self._secure = url.scheme == "https"
        self._context: ssl.SSLContext | None = None
        self._idle: deque[socket.socket] = deque()
        weakref.finalize(self, _close_all, self._idle)

    def exchange(
        self, deadline: Deadline, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """One request, sent once, and its answer.

        Raises TimeoutError, OSError, HTTPException, and UnicodeError for what cannot be sent; the connection is closed
        then.
        """
        request = self._request(method, target, headers, body)
        connection = self._alive() or self._connected(deadline)
        try:
            connection.settimeout(deadline.left())
            connection.sendall(request)
            answer = read_answer(_receiving(connection, deadline), ANSWER_BYTES_MAX)
        except BaseException:
            connection.close()
            raise
        if answer.reusable and len(self._idle) < CONNECTIONS_KEPT:
            self._idle.append(connection)
        else:
            connection.close()
        return Answer(answer.status, answer.content)

    def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Head and body in one piece, so that the other side reads them in one."""
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if any(map(_CONTROL.search, (target, *lines))):
            raise HTTPException("a header must not hold control characters")
        head = "\r\n".join((f"{method} {target} HTTP/1.1", self._head, *lines, "", ""))
        return head.encode("latin-1") + (body or b"")

    def _alive(self) -> socket.socket | None:
        """A connection that was kept; one that has something to read before it was asked has been closed, or spoilt."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                # Another thread was faster.
                return None
            if not _readable(connection):
                return connection
            connection.close()
        return None

    def _connected(self, deadline: Deadline) -> socket.socket:
        connection = socket.create_connection(self._address, min(CONNECT_SECONDS_MAX, deadline.left()))
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._secure:
                return connection
            connection.settimeout(deadline.left())
            return self._trusted().wrap_socket(connection, server_hostname=self._address[0])
        except BaseException:
            connection.close()
            raise

    def _trusted(self) -> ssl.SSLContext:
        """Host names checked against the authorities that Mozilla trusts, for every system has others."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=certifi.where())
        return self._context


def _receiving(connection: socket.socket, deadline: Deadline) -> Receive:
    """Each read waits no longer than the exchange may still last: a socket time-out bounds one read, and a peer that
    sends a byte a second would hold the caller for ever."""

    def receive(most: int) -> bytes:
        connection.settimeout(deadline.left())
        return connection.recv(most)

    return receive


def _readable(connection: socket.socket) -> bool:
    poll = select.poll() if hasattr(select, "poll") else None
    if poll is None:
        return bool(select.select([connection], (), (), 0)[0])
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _close_all(connections: deque[socket.socket]) -> None:
    while connections:
        connections.pop().close()


def _checked_url(variable: str, text: str) -> str:
    """*text* without its trailing slash; raises InvalidRequest when the desk must not talk to it."""
    try:
        url = urlsplit(text.strip())
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidRequest({variable: "must be a URL such as http://localhost:8001 or https://host.example"})
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise InvalidRequest({variable: "must hold no user, password, query or fragment"})
    if url.scheme == "http" and not _is_loopback(url):
        raise InvalidRequest({variable: "must begin with https:// unless it names the loopback interface"})
    return url.geturl().rstrip("/")


def _is_loopback(url: SplitResult) -> bool:
    host = url.hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _refused_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def plain_text(value: str, length_max: int) -> str:
    """*value* on one line without control, formatting or surrogate characters, cut to *length_max*."""
    return "".join(one if one.isprintable() else " " for one in value[:length_max]).strip()
