"""A browser's session: who has shown a token on the log-in page, in a signed cookie that no script can read.

The law: the cookie holds no token, only the name of one and what is needed to see that it is still the same; it ends at
its instant, with its token, with the key that signed it, or when its owner logs out, whichever comes first. Who has
logged out is remembered in DATA_DIR; where that cannot be written, by this process alone.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock

from django.core.signing import BadSignature, Signer
from django.http import parse_cookie
from django.utils.crypto import salted_hmac

from trading.conf import ApiToken, Config, Scope
from trading.ports import Clock
from trading.utils.disk import SystemDisk, replace_whole

SESSION_AGE_MAX = timedelta(hours=12)
COOKIE_CHARS_MAX = 2048
LOGGED_OUT_MAX = 1000
LOGGED_OUT_FILE = "sessions.ended"
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
    if clock.now() >= ends or _logged_out_in(config.data_dir).has(value):
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
    _logged_out_in(config.data_dir).add(value)


class _LoggedOut:
    """The sessions whose owners have logged out, the latest last, in the file at *path*: a line each, the SHA-256 of
    the cookie's value. What cannot be read is not known, and what cannot be written is known until the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        try:
            digests = path.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            digests = []
        self._digests = OrderedDict.fromkeys(digests)

    def has(self, value: str) -> bool:
        with self._lock:
            return _digest(value) in self._digests

    def add(self, value: str) -> None:
        with self._lock:
            self._digests[_digest(value)] = None
            if len(self._digests) > LOGGED_OUT_MAX:
                self._digests.popitem(last=False)
            content = "".join(f"{digest}\n" for digest in self._digests).encode()
            with suppress(OSError):
                replace_whole(self._path, content, SystemDisk(), sync=True)


@lru_cache(maxsize=8)
def _logged_out_in(folder: Path) -> _LoggedOut:
    return _LoggedOut(folder / LOGGED_OUT_FILE)


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()


def _mark(token: ApiToken) -> str:
    """Tells a token from its successor of the same name, and says nothing about either."""
    return hashlib.sha256(token.digest.encode()).hexdigest()[:_MARK_CHARS]
