"""Django's development server on the service's own port, loopback only unless another address is asked for."""

import os
import sys
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import runserver

from trading.checks import findings
from trading.conf import ConfigurationError, refuse_strangers

PORT_MAX = 65535
REFUSED_BELOW_RELOADER = 1
"""Not 3, as elsewhere: the reloader takes that for a change of the code, and starts anew for ever."""


class Command(runserver.Command):
    default_addr = "127.0.0.1"
    default_port = str(settings.DESK_CONFIG.executor_port)

    def run(self, **options: Any) -> None:
        """Called with the address read."""
        port = int(getattr(self, "port", 0))
        if port > PORT_MAX:
            # Found out below the reloader only, which shows a traceback and waits for ever for the code to change.
            raise CommandError(f"{port} is no port; name one from 1 to {PORT_MAX}")
        try:
            refuse_strangers(str(getattr(self, "addr", "")), settings.DESK_CONFIG)
        except ConfigurationError as error:
            raise CommandError(error.detail) from error
        wrong = [one for one in findings(settings.DESK_CONFIG) if one.is_serious()]
        if wrong:
            raise CommandError("\n".join(f"{one.msg}. {one.hint}" for one in wrong))
        super().run(**options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Called to serve. What refuses to start ends the process, below the reloader too: there this is a thread,
        whose end ends nothing, and nobody would serve or say so."""
        try:
            super().inner_run(*args, **options)
        except SystemExit as error:
            if threading.current_thread() is threading.main_thread() or not error.code:
                raise
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(REFUSED_BELOW_RELOADER)
