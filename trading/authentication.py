"""Who is calling: a bearer token known by its SHA-256, or the loopback interface where that is enough.

The law: a token that is presented must be right, wherever the caller sits; a forwarded request is never local.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from trading.bootstrap import get_desk
from trading.conf import ApiToken, Config, Scope
from trading.domain.errors import StoreCorrupt

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
    """Whom a request comes from, as `request.auth`: the token's name, or anonymous, and what it may do."""

    name: str
    scope: Scope


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN`, or nothing where the configuration asks for nothing."""

    def authenticate(self, request: Request) -> tuple[None, Caller] | None:
        """The caller as (no user, Caller); None when nobody can be told. Raises AuthenticationFailed."""
        config = configuration()
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            caller = caller_without_token(request.META, config)
            return (None, caller) if caller is not None else None
        return (None, caller_with_token(str(header), config.api_tokens))

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
    digest = digest_of(token)
    # Every token is compared, in constant time: the answer takes as long whichever matches, or none.
    matches = [one for one in tokens if hmac.compare_digest(one.digest, digest)]
    if not matches:
        raise AuthenticationFailed("the token is not known; API_TOKENS lists those that are")
    return Caller(matches[0].name, matches[0].scope)


def caller_if_known(meta: Mapping[str, object], config: Config) -> Caller | None:
    """Who calls, where that changes what is told and not whether: None for nobody and for a token that is wrong."""
    header = meta.get("HTTP_AUTHORIZATION")
    if header is None:
        return caller_without_token(meta, config)
    try:
        return caller_with_token(str(header), config.api_tokens)
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
