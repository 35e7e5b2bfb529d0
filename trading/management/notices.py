"""What a service manager hears of a program: that it is ready, alive, stopping. The protocol of sd_notify(3).

The law: without a NOTIFY_SOCKET nothing is said, and saying it never fails and never waits.
"""

import socket
from collections.abc import Mapping
from contextlib import suppress

SOCKET_VARIABLE = "NOTIFY_SOCKET"


class Notices:
    """The notices to the socket that *environ* names, as systemd sets it for a unit with `Type=notify`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get(SOCKET_VARIABLE, "")
        # "@" stands for the null byte of the abstract namespace.
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._known = name[:1] in ("@", "/") and hasattr(socket, "AF_UNIX")

    def ready(self, status: str) -> None:
        """Started, and from now on to be heard of within WatchdogSec."""
        self._say(f"READY=1\nSTATUS={status}\nWATCHDOG=1")

    def alive(self) -> None:
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def _say(self, words: str) -> None:
        if not self._known:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(words.encode(), self._address)
