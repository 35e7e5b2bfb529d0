"""Django's development server on the service's own port, loopback only unless another address is asked for."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import runserver

from trading.conf import ConfigurationError, refuse_strangers


class Command(runserver.Command):
    default_addr = "127.0.0.1"
    default_port = str(settings.DESK_CONFIG.executor_port)

    def run(self, **options: Any) -> None:
        """Called with the address read."""
        try:
            refuse_strangers(str(getattr(self, "addr", "")), settings.DESK_CONFIG)
        except ConfigurationError as error:
            raise CommandError(error.detail) from error
        super().run(**options)
