"""The door to Pear's API and the session behind it: an API key for tokens that expire, and one renewal at a time.

The law: tokens live in memory only and are in no repr, log line or exception; a read may be repeated, a write is sent
once, and once more only after a 401, which Pear says before it does anything. Nothing is sent by constructing anything.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from trading.adapters.http import Answer, Peer
from trading.adapters.pear_wire import Refused, Seconds, Unclear, decode_tokens, refusal_in
from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

URL_VARIABLE = "PEAR_API_URL"
KEY_VARIABLE = "PEAR_API_KEY"
READ_SECONDS_MAX = 3.0
# For what Pear compares with the exchange before it answers, once that has taken longer than a read may.
SYNC_SECONDS_MAX = 8.0
# Pear answers a market order in a second or a few; a longer wait would only hold the caller, for what became of it is
# told by the fills.
WRITE_SECONDS_MAX = 5.0
LOGIN_SECONDS_MAX = 3.0
READ_PAUSES_SECONDS = (0.0, 0.2)
# A token is renewed a minute before its end, or when three quarters of a short life are over.
RENEW_BEFORE = Seconds(60.0)
RENEW_SHARE = 0.25
# A refused log-in is not tried again at once: it would be refused again, and counted.
LOGIN_AGAIN_SECONDS = 2.0
LOGIN_REFUSED = frozenset({400, 401, 403})
# After a 429 nothing is opened, and after one to a read nothing is read, for as long as Pear says, or a second; no
# longer than a close at Pear is waited for.
REST_SECONDS = 1.0
REST_SECONDS_MAX = 15.0
_TRY_AGAIN = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Done:
    """A write that Pear says it has carried out: its answer, decoded."""

    answer: object


@dataclass
class _Session:
    """What a log-in gave; the ends on the monotonic clock."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    renew_at: float


class PearApi:
    """*base_url* for the account at *address*. Safe for several threads.

    Raises InvalidRequest for a *base_url* that is no use.
    """

    def __init__(self, base_url: str, address: str, api_key: str, client_id: str, clock: Clock) -> None:
        self._address = address.lower()
        self._api_key = api_key
        self._client_id = client_id
        self._clock = clock
        self._peer = Peer("Pear", URL_VARIABLE, base_url, SYNC_SECONDS_MAX, clock, VenueUnavailable)
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._refused: tuple[float, str] | None = None
        self._failure: VenueUnavailable | None = None
        self._reads_at = 0.0
        self._opens_at = 0.0

    def healthy(self) -> None:
        """Raises VenueUnavailable when Pear does not answer."""
        self._peer.decoded(self._peer.exchange("GET", "/health", within_seconds=READ_SECONDS_MAX))

    def log_in(self) -> None:
        """Have a valid token. Raises VenueUnavailable, with a `status` in LOGIN_REFUSED when Pear refused the key."""
        self._token()

    def require_room(self) -> None:
        """Raises VenueUnavailable while Pear wants to be left alone, and when it gives no token."""
        self._check_rest(self._opens_at)
        self.log_in()

    def read(
        self, path: str, params: Mapping[str, str] | None = None, within_seconds: float = READ_SECONDS_MAX
    ) -> object:
        """The decoded answer to a GET, None for an empty one, *within_seconds* with its repeats. Raises
        VenueUnavailable, with the `status` when there was one."""
        ends_at = self._clock.monotonic() + within_seconds
        for pause in READ_PAUSES_SECONDS:
            try:
                answer = self._asked(path, params, ends_at)
            except VenueUnavailable as error:
                if "status" in error.facts or self._clock.monotonic() + pause >= ends_at:
                    raise
            else:
                if answer.status not in _TRY_AGAIN:
                    return self._decoded(answer)
            self._clock.sleep(pause)
        return self._decoded(self._asked(path, params, ends_at))

    def _asked(self, path: str, params: Mapping[str, str] | None, ends_at: float) -> Answer:
        self._check_rest(self._reads_at)
        answer = self._authorized("GET", path, params, None, ends_at - self._clock.monotonic())
        if answer.status == 429:
            self._reads_at = self._opens_at
        return answer

    def _check_rest(self, until: float) -> None:
        rest = until - self._clock.monotonic()
        if rest > 0:
            raise VenueUnavailable(f"Pear wants to be left alone for {rest:.0f} s more (429)", status=429)

    def _decoded(self, answer: Answer) -> object:
        return self._peer.decoded(answer) if answer.content or not answer.ok else None

    def write(self, method: str, path: str, body: object) -> Done | Refused | Unclear:
        """What became of a request that changes something, sent once. Never raises once it may have been done.

        Raises VenueUnavailable when no token could be had, also in place of one that Pear refused: nothing was done.
        """
        token = self._token()
        answer = self._posted(method, path, body, token)
        if isinstance(answer, Answer) and answer.status == 401:
            answer = self._posted(method, path, body, self._renewed(token))
        if isinstance(answer, Unclear):
            return answer
        if not answer.ok:
            return refusal_in(answer.status, answer.content)
        try:
            return Done(self._peer.decoded(answer))
        except VenueUnavailable as error:
            return Unclear(error.detail)

    def _posted(self, method: str, path: str, body: object, token: str) -> Answer | Unclear:
        try:
            return self._sent(method, path, None, body, token, WRITE_SECONDS_MAX)
        except VenueUnavailable as error:
            return Unclear(error.detail)

    def _authorized(
        self, method: str, path: str, params: Mapping[str, str] | None, body: object, seconds: float
    ) -> Answer:
        token = self._token()
        answer = self._sent(method, path, params, body, token, seconds)
        if answer.status != 401:
            return answer
        return self._sent(method, path, params, body, self._renewed(token), seconds)

    def _sent(
        self, method: str, path: str, params: Mapping[str, str] | None, body: object, token: str, seconds: float
    ) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        answer = self._peer.exchange(method, path, params=params, body=body, headers=headers, within_seconds=seconds)
        if answer.status == 429:
            rest = REST_SECONDS if answer.retry_after is None else min(answer.retry_after, REST_SECONDS_MAX)
            self._opens_at = self._clock.monotonic() + rest
        return answer

    # The session

    def _token(self) -> str:
        """A token that is not about to end, renewed by one thread while the others wait for it."""
        with self._turn():
            session = self._session
            if session is None or self._clock.monotonic() >= session.renew_at:
                session = self._renew(session)
            return session.access

    def _renewed(self, refused: str) -> str:
        """A token instead of one that Pear refused; somebody else's, when that has been got meanwhile."""
        with self._turn():
            session = self._session
            if session is None or session.access == refused:
                session = self._renew(session)
            return session.access

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The session for one thread at a time. A renewal that fails has failed for all who waited for it: if each
        tried it anew, one after the other, a close would wait for all of them before it can go elsewhere."""
        before = self._failure
        with self._lock:
            failure = self._failure
            if failure is not None and failure is not before and self._session is None:
                raise VenueUnavailable(failure.detail, **failure.facts)
            try:
                yield
            except VenueUnavailable as error:
                self._failure = error
                raise

    def _renew(self, session: _Session | None) -> _Session:
        """By the refresh token, which serves once; whatever is wrong with it, by logging in again."""
        self._session = None
        if session is not None:
            try:
                answer = self._post("/auth/refresh", {"refreshToken": session.refresh})
                if answer.ok:
                    self._session = self._kept(answer)
            except VenueUnavailable:
                self._session = None
        if self._session is None:
            self._session = self._logged_in()
        return self._session

    def _logged_in(self) -> _Session:
        now = self._clock.monotonic()
        if self._refused is not None and now - self._refused[0] < LOGIN_AGAIN_SECONDS:
            raise VenueUnavailable(self._refused[1], status=401)
        body = {
            "method": "api_key",
            "address": self._address,
            "clientId": self._client_id,
            "details": {"apiKey": self._api_key},
        }
        answer = self._post("/auth/login", body)
        if answer.status in LOGIN_REFUSED:
            words = f"Pear refused the log-in of {self._address} as {self._client_id} (status {answer.status})"
            self._refused = now, words
            raise VenueUnavailable(words, status=answer.status)
        return self._kept(answer)

    def _post(self, path: str, body: object) -> Answer:
        return self._peer.exchange("POST", path, body=body, within_seconds=LOGIN_SECONDS_MAX)

    def _kept(self, answer: Answer) -> _Session:
        tokens = decode_tokens(self._peer.decoded(answer))
        life = tokens.expires_in
        return _Session(
            tokens.access, tokens.refresh, self._clock.monotonic() + life - min(RENEW_BEFORE, life * RENEW_SHARE)
        )
