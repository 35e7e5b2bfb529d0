"""A browser's session: who has shown a token on the log-in page, in a signed cookie that no script can read.

The law: the cookie holds no token, only the name of one and what is needed to see that it is still the same; it ends at
its instant, with its token, with the key that signed it, or when its owner logs out, whichever comes first. Who has
logged out is remembered by this process alone.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

from django.core.signing import BadSignature, Signer
from django.http import parse_cookie
from django.utils.crypto import salted_hmac

from trading.conf import ApiToken, Config, Scope
from trading.ports import Clock

SESSION_AGE_MAX = timedelta(hours=12)
COOKIE_CHARS_MAX = 2048
LOGGED_OUT_MAX = 1000
WRITE_HEADER = "X-CSRF-Token"
_SALT = "trading.sessions"
_MARK_CHARS = 16


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in. `value` is the cookie's; `write_key` is what a write of this session carries in WRITE_HEADER."""

    name: str
    scope: Scope
    ends_at: datetime
    value: str

    @property
    def write_key(self) -> str:
        return salted_hmac(f"{_SALT}.write", self.value, algorithm="sha256").hexdigest()

    def may_write_with(self, key: str) -> bool:
        """Whether *key* is this session's, compared in constant time."""
        return hmac.compare_digest(key.encode("utf-8", "replace"), self.write_key.encode())


@dataclass(frozen=True, slots=True)
class SessionView:
    """Who is looking. `ends_at` and `write_key` are null for a caller without a session; a session sends the key in the
    header X-CSRF-Token with everything that is no GET. `tokens` says whether there are any to log in with."""

    name: str
    scope: Scope
    ends_at: datetime | None
    write_key: str | None
    tokens: bool


def cookie_name(config: Config) -> str:
    """One to a port: browsers share cookies between all ports of a host, and a demo may run beside a live desk."""
    return f"executor_session_{config.executor_port}"


def begin(token: ApiToken, now: datetime) -> Session:
    """A session of the owner of *token*."""
    ends = now.replace(microsecond=0) + SESSION_AGE_MAX
    # The instant tells it from one that was begun, and left, in the same second.
    content = {"name": token.name, "mark": _mark(token), "begun": now.isoformat(), "ends": int(ends.timestamp())}
    return Session(token.name, token.scope, ends, Signer(salt=_SALT).sign_object(content))


def cookie_of(meta: Mapping[str, object], config: Config) -> str | None:
    """The session cookie of a request; None without one, and where there are no tokens, for nobody can have got one."""
    if not config.api_tokens:
        return None
    value = parse_cookie(str(meta.get("HTTP_COOKIE") or "")).get(cookie_name(config))
    return value or None


def session_of(value: str, config: Config, clock: Clock) -> Session | None:
    """The session of a cookie's *value*; None for one that has ended, whose token is gone, or that is not ours."""
    if len(value) > COOKIE_CHARS_MAX:
        return None
    try:
        content = Signer(salt=_SALT).unsign_object(value)
    except (BadSignature, ValueError):
        return None
    ends = datetime.fromtimestamp(content["ends"], UTC)
    if clock.now() >= ends or value in _logged_out_by(clock):
        return None
    for token in config.api_tokens:
        if token.name == content["name"] and hmac.compare_digest(_mark(token), content["mark"]):
            return Session(token.name, token.scope, ends, value)
    return None


def end(value: str, config: Config, clock: Clock) -> None:
    """Let a cookie's *value* be nobody's session from here on, whoever else has it. Bounded: of too many the one that
    was ended first is forgotten."""
    if session_of(value, config, clock) is None:
        return
    with _lock:
        left = _logged_out.setdefault(clock, OrderedDict())
        left[value] = None
        if len(left) > LOGGED_OUT_MAX:
            left.popitem(last=False)


# One to a clock: what has ended by another clock means nothing.
_logged_out: WeakKeyDictionary[Clock, OrderedDict[str, None]] = WeakKeyDictionary()
_lock = Lock()


def _logged_out_by(clock: Clock) -> OrderedDict[str, None]:
    with _lock:
        return _logged_out.get(clock, OrderedDict())


def _mark(token: ApiToken) -> str:
    """Tells a token from its successor of the same name, and says nothing about either."""
    return hashlib.sha256(token.digest.encode()).hexdigest()[:_MARK_CHARS]
