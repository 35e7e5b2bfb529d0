"""Alerts by way of apprise: one target an address in ALERT_URLS.

The law: an address is a secret (it holds tokens), so it is in no log line, no error and no file; plain http goes to
this machine only; and no call raises or takes longer than a bound.
"""

import logging
from collections.abc import Mapping, Sequence

from apprise import Apprise, NotifyBase, NotifyFormat, NotifyType

from trading.domain.alerts import Message, Urgency
from trading.domain.errors import InvalidRequest
from trading.domain.units import hash_of

_logger = logging.getLogger(__name__)

CONNECT_SECONDS = 4.0
READ_SECONDS = 6.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
LOCAL_SCHEMES = frozenset({"file", "syslog", "dbus", "qt", "glib", "kde", "gnome", "macosx", "windows"})
_TYPES: Mapping[Urgency, NotifyType] = {
    Urgency.INFO: NotifyType.INFO,
    Urgency.SUCCESS: NotifyType.SUCCESS,
    Urgency.WARNING: NotifyType.WARNING,
    Urgency.ERROR: NotifyType.FAILURE,
}

# What apprise says about a failure may name hosts and tokens; whether it failed is what `tell` returns.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)


class AppriseNotifier:
    """The Notifier (see engine) of *urls*. Raises InvalidRequest for one that apprise does not know, by its number."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._plugins = {f"target-{hash_of(url)[:12]}": _plugin(number, url) for number, url in enumerate(urls, 1)}

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(self._plugins)

    def tell(self, target: str, message: Message) -> bool:
        try:
            return bool(
                self._plugins[target].notify(
                    title=message.title,
                    body=message.body,
                    notify_type=_TYPES[message.urgency],
                    body_format=NotifyFormat.TEXT,
                )
            )
        except Exception as error:
            # Eighty foreign plugins may raise anything; the words of an error may hold the address.
            _logger.warning("an alert target failed: %s", type(error).__name__)
            return False


def _plugin(number: int, url: str) -> NotifyBase:
    plugin = Apprise.instantiate(url, suppress_exceptions=True)
    if not isinstance(plugin, NotifyBase):
        raise InvalidRequest({"ALERT_URLS": f"entry {number} is no address that alerts can go to (see apprise's list)"})
    scheme = url.partition("://")[0].lower()
    if scheme in LOCAL_SCHEMES:
        raise InvalidRequest({"ALERT_URLS": f"entry {number} is no address on a network; logs tell this machine all"})
    if _is_plain(plugin, scheme) and plugin.host not in LOOPBACK:
        raise InvalidRequest(
            {"ALERT_URLS": f"entry {number} sends without encryption; use {scheme}s:// off this machine"}
        )
    plugin.socket_connect_timeout = CONNECT_SECONDS
    plugin.socket_read_timeout = READ_SECONDS
    plugin.redirects = False
    return plugin


def _is_plain(plugin: NotifyBase, scheme: str) -> bool:
    """Whether *scheme* is the unencrypted of the two that the plugin offers."""
    return scheme in _names(plugin.protocol) and scheme not in _names(plugin.secure_protocol)


def _names(schemes: object) -> tuple[str, ...]:
    """apprise has one name, several, or none."""
    if isinstance(schemes, str):
        return (schemes,)
    return tuple(schemes) if isinstance(schemes, tuple | list | set) else ()
