"""Who is calling: a bearer token known by its SHA-256, a browser's session, or the loopback interface where that is
enough.

The law: a token or session that is presented must be right, wherever the caller sits; a session writes only with its
key, which no other site can read; a forwarded request is never local.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from trading.bootstrap import get_desk, process_clock
from trading.conf import ApiToken, Config, Scope
from trading.domain.errors import StoreCorrupt
from trading.sessions import WRITE_HEADER, cookie_of, session_of

TOKEN_CHARS_MAX = 512
CHALLENGE = 'Bearer realm="executor-agent"'
ANONYMOUS = "anonymous"

# Whatever a proxy may add: behind one, the loopback address says nothing about the caller.
FORWARDED_HEADERS = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_SERVER",
    "HTTP_X_REAL_IP",
    "HTTP_X_CLIENT_IP",
    "HTTP_X_CLUSTER_CLIENT_IP",
    "HTTP_X_ORIGINAL_FORWARDED_FOR",
    "HTTP_X_ORIGINAL_HOST",
    "HTTP_TRUE_CLIENT_IP",
    "HTTP_CF_CONNECTING_IP",
    "HTTP_FASTLY_CLIENT_IP",
    "HTTP_CLIENT_IP",
    "HTTP_VIA",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request comes from, as `request.auth`: the token's name, or anonymous, what it may do, and until when: a
    session ends, a token does not."""

    name: str
    scope: Scope
    until: datetime | None = None


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`, the cookie of a session, or nothing where the configuration asks for nothing."""

    def authenticate(self, request: Request) -> tuple[None, Caller] | None:
        """The caller as (no user, Caller); None when nobody can be told. Raises AuthenticationFailed, and
        PermissionDenied for a session that writes without its key."""
        config = configuration()
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is not None:
            return (None, caller_with_token(str(header), config.api_tokens))
        cookie = cookie_of(request.META, config)
        if cookie is not None:
            key = None if request.method in SAFE_METHODS else request.headers.get(WRITE_HEADER, "")
            return (None, caller_with_session(cookie, config, key))
        caller = caller_without_token(request.META, config)
        return (None, caller) if caller is not None else None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def configuration() -> Config:
    """The desk's configuration; of a desk that cannot be built, the one it would have: the doors hold without it."""
    try:
        return get_desk().config
    except StoreCorrupt:
        config: Config = settings.DESK_CONFIG
        return config


def caller_with_token(header: str, tokens: tuple[ApiToken, ...]) -> Caller:
    """The owner of the token in an Authorization *header*. Raises AuthenticationFailed for what is no known token."""
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_CHARS_MAX:
        raise AuthenticationFailed("the Authorization header must be: Bearer TOKEN")
    owner = owner_of(token, tokens)
    return Caller(owner.name, owner.scope)


def owner_of(token: str, tokens: tuple[ApiToken, ...]) -> ApiToken:
    """The entry of API_TOKENS that *token* is of. Raises AuthenticationFailed when there is none."""
    digest = digest_of(token)
    # Every token is compared, in constant time: the answer takes as long whichever matches, or none.
    matches = [one for one in tokens if hmac.compare_digest(one.digest, digest)]
    if not matches:
        raise AuthenticationFailed("the token is not known; API_TOKENS lists those that are")
    return matches[0]


def caller_with_session(cookie: str, config: Config, write_key: str | None) -> Caller:
    """Who has logged in; *write_key* is None for a request that changes nothing. Raises AuthenticationFailed,
    PermissionDenied."""
    session = session_of(cookie, config, process_clock())
    if session is None:
        raise AuthenticationFailed("the session has ended; log in again")
    if write_key is not None and not session.may_write_with(write_key):
        raise PermissionDenied(f"a session writes with its own key in the header {WRITE_HEADER}; reload the page")
    return Caller(session.name, session.scope, session.ends_at)


def caller_if_known(meta: Mapping[str, object], config: Config) -> Caller | None:
    """Who calls, where that changes what is told and not whether: None for nobody and for a token that is wrong."""
    header, cookie = meta.get("HTTP_AUTHORIZATION"), cookie_of(meta, config)
    try:
        if header is not None:
            return caller_with_token(str(header), config.api_tokens)
        return caller_without_token(meta, config) if cookie is None else caller_with_session(cookie, config, None)
    except AuthenticationFailed:
        return None


def caller_without_token(meta: Mapping[str, object], config: Config) -> Caller | None:
    """Who calls without a token, if the configuration lets anybody.

    Without API_TOKENS the desk is a demo bound to loopback and everybody who reaches it directly may do everything.
    With them, ALLOW_ANONYMOUS_LOOPBACK lets callers on this machine read and trade.
    """
    if is_forwarded(meta):
        return None
    if not config.api_tokens:
        return Caller(ANONYMOUS, Scope.ADMIN) if config.demo_mode else None
    if config.allow_anonymous_loopback and is_loopback_address(str(meta.get("REMOTE_ADDR") or "")):
        return Caller(ANONYMOUS, Scope.TRADE)
    return None


def is_forwarded(meta: Mapping[str, object]) -> bool:
    """True when any proxy has left its mark on the request, an empty one too."""
    return any(name in meta for name in FORWARDED_HEADERS)


def is_loopback_address(text: str) -> bool:
    """True for 127.0.0.0/8, ::1 and the mapped ::ffff:127.0.0.0/104; False for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def digest_of(token: str) -> str:
    """The SHA-256 of a token in hex, as API_TOKENS keeps it. A token has 256 random bits, so that no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
