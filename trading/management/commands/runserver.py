"""Django's development server on the service's own port, loopback only unless another address is asked for."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import runserver

from trading.authentication import is_loopback_address


class Command(runserver.Command):
    default_addr = "127.0.0.1"
    default_port = str(settings.DESK_CONFIG.executor_port)

    def run(self, **options: Any) -> None:
        """Called with the address read. Without tokens everybody who reaches the port may do everything."""
        address = str(getattr(self, "addr", ""))
        local = address == "localhost" or is_loopback_address(address)
        if not local and not settings.DESK_CONFIG.api_tokens:
            raise CommandError(
                f"without API_TOKENS the demo serves this machine only, and {address} is open to others: leave it "
                "out, or make a token with `manage.py create_api_token NAME --scope trade`"
            )
        super().run(**options)
