"""One HTTP peer: urllib3's pool of connections with every bound set, and transport failures as one domain error.

The law: no call outlives its time-out, counted over connecting, sending, headers, body and repeats together; no answer
is larger than `ANSWER_BYTES_MAX`; no redirect is followed, no proxy or netrc of the environment is used, no cookie is
kept; a write is never repeated. Plain http is for the loopback interface only.

Threads share a peer: the pool hands every connection to one thread at a time, so sixteen web threads reuse sixteen
kept-alive connections without a lock of ours. A session of requests above it would bring nothing that is wanted here,
and takes four times the processor time. What one exchange may still spend is a context variable, which each thread has
to itself. Looking up a host name is bounded by the system's resolver alone.
"""

import http.client
import io
import json
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import certifi
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.exceptions import TimeoutError as PoolTimeout
from urllib3.util.connection import allowed_gai_family, create_connection

from trading.domain.errors import InvalidRequest, Unavailable
from trading.ports import Clock

ANSWER_BYTES_MAX = 1 << 20
CONNECT_SECONDS_MAX = 2.0
READ_BACKOFFS_SECONDS = (0.1, 0.3)
CONNECTIONS_KEPT = 16
# Some gateways turn away a request that does not say who sends it.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "executor-agent"}
# What a path may hold as it is; everything else is quoted.
_PATH = "/:@!$&'()*+,;=%~"
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


_deadline: ContextVar[Deadline] = ContextVar("deadline")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the peer, of any status; a redirect is one more answer that is not `ok`. `retry_after`: the
    seconds after which a peer that says 429 wants to be asked again, where it says so."""

    status: int
    content: bytes
    retry_after: float | None = None

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
        self._pool = _pool_of(url)

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
        kind = {"Content-Type": "application/json"} if body is not None else {}
        token = _deadline.set(deadline)
        try:
            left = deadline.left()
            response = self._pool.urlopen(
                method,
                target,
                body=body,
                headers=_HEADERS | dict(headers or {}) | kind,
                timeout=Timeout(connect=min(CONNECT_SECONDS_MAX, left), read=left),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            return self._read(response)
        except NewConnectionError as error:
            raise self._unavailable(f"{self._name} cannot be reached or broke off") from error
        except (PoolTimeout, TimeoutError) as error:
            raise self._unavailable(f"{self._name} did not answer in time") from error
        except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise self._unavailable(f"{self._name} cannot be reached or broke off") from error
        finally:
            _deadline.reset(token)

    def _read(self, response: BaseHTTPResponse) -> Answer:
        """The whole body, so that the connection can be used again; it is closed after anything else."""
        try:
            content = response.read(ANSWER_BYTES_MAX + 1)
            # Only a read that comes back empty tells an answer that was cut short from a whole one.
            if len(content) > ANSWER_BYTES_MAX or response.read(1):
                raise self._unavailable(f"{self._name} answered with more than {ANSWER_BYTES_MAX} bytes")
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return Answer(response.status, content, _retry_after(response) if response.status == 429 else None)


def _retry_after(response: BaseHTTPResponse) -> float | None:
    """By the header in its plain form, whole seconds; as a date (RFC 9110, 10.2.3) it would go by the peer's clock."""
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None


class _TimedStream(io.RawIOBase):
    """The stream of one answer: each read waits no longer than the exchange may still last.

    A socket time-out bounds one read; a peer that sends a byte a second would hold the caller for ever.
    """

    def __init__(self, sock: Any, raw: io.RawIOBase, deadline: Deadline) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """http.client's response, headers and body, over a `_TimedStream`."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_TimedStream(sock, self.fp.detach(), _deadline.get()))


class _InOnePiece(HTTPConnection):
    """A request leaves in one piece, head and body: the peer is woken once, and has all of it then.

    All addresses of the host have the connection's time-out together, each but the last half of what is left: urllib3
    gives it to each of them anew, and a name may have a dozen.
    """

    _held: list[bytes] | None = None

    def _new_conn(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        connecting = Deadline.after(_deadline.get().clock, self.timeout or CONNECT_SECONDS_MAX)
        failure: OSError | None = None
        for behind in reversed(range(len(addresses))):
            try:
                seconds = connecting.left() / (2 if behind else 1)
                return create_connection((addresses[-1 - behind], self.port), seconds, None, self.socket_options)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host} took no connection in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._held = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


class _PlainConnection(_InOnePiece):
    response_class = _TimedResponse


class _SecureConnection(_InOnePiece, HTTPSConnection):
    response_class = _TimedResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _pool_of(url: SplitResult) -> HTTPConnectionPool:
    """Host names are checked against the authorities that Mozilla trusts, for every system has others."""
    if url.scheme == "http":
        return _PlainPool(url.hostname or "", url.port, maxsize=CONNECTIONS_KEPT)
    return _SecurePool(url.hostname or "", url.port, maxsize=CONNECTIONS_KEPT, ca_certs=certifi.where())


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
