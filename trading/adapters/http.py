"""One HTTP peer with every bound set, and transport failures as one domain error.

The law: no call outlives its time-out, counted over connecting, sending, headers, body and repeats together; no answer
is larger than `ANSWER_BYTES_MAX`; no redirect is followed, no proxy or netrc of the environment is used, no cookie is
kept; a write is never repeated. Plain http is for the loopback interface only.

Threads share a peer: every connection is one thread's at a time, so sixteen web threads reuse sixteen kept-alive
connections without a lock. Looking up a host name is bounded by the system's resolver alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from trading.adapters.http_connections import ANSWER_BYTES_MAX, BrokenOff, Connections, Deadline, TooLarge
from trading.domain.errors import InvalidRequest, Unavailable
from trading.ports import Clock

READ_BACKOFFS_SECONDS = (0.1, 0.3)
# Some gateways turn away a request that does not say who sends it.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "executor-agent"}
# What a path may hold as it is; everything else is quoted.
_PATH = "/:@!$&'()*+,;=%~"
_TRY_AGAIN = frozenset({429, 500, 502, 503, 504})


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
        self._connections = Connections(url)

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
        try:
            raw = self._connections.exchange(deadline, method, target, _HEADERS | dict(headers or {}) | kind, body)
        except TooLarge as error:
            raise self._unavailable(f"{self._name} answered with more than {ANSWER_BYTES_MAX} bytes") from error
        except TimeoutError as error:
            raise self._unavailable(f"{self._name} did not answer in time") from error
        except (BrokenOff, OSError, ValueError) as error:
            raise self._unavailable(f"{self._name} cannot be reached or broke off") from error
        return Answer(raw.status, raw.content, _retry_after(raw.headers) if raw.status == 429 else None)


def _retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """By the header in its plain form, whole seconds; as a date (RFC 9110, 10.2.3) it would go by the peer's clock."""
    value = headers.get(b"retry-after", b"").strip()
    return float(value) if value.isdigit() else None


def _checked_url(variable: str, text: str) -> str:
    """*text* without its trailing slash; raises InvalidRequest when the desk must not talk to it."""
    try:
        url = urlsplit(text.strip())
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        url.netloc.encode("idna")
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
