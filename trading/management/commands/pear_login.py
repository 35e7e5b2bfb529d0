"""`manage.py pear_login NAME`: an API key of Pear's, made once by the account's own wallet.

The law: the wallet's key is asked for, never an argument, and kept nowhere; run it where that key is at home. The API
key is shown once and is all that the service needs.
"""

import getpass
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading import bootstrap
from trading.domain.errors import InvalidRequest, VenueUnavailable


class Command(BaseCommand):
    help = "Log in to Pear by the account's wallet, make an API key called NAME and show it once, as a line for .env."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the key is called at Pear, such as executor")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        """Raises CommandError for a key that is none, and when Pear refuses or does not answer."""
        secret = self._hidden("Private key (or keystore JSON) of the account's own wallet")
        password = self._hidden("Password of the keystore") if secret.startswith("{") else None
        try:
            key = bootstrap.pear_api_key(settings.DESK_CONFIG, name, secret, password)
        except InvalidRequest as error:
            raise CommandError("; ".join(error.fields.values())) from None
        except VenueUnavailable as error:
            raise CommandError(f"{error.detail}; check PEAR_API_URL and PEAR_CLIENT_ID") from None
        self.stdout.write("Put this into .env; it is shown this once:")
        self.stdout.write(f"PEAR_API_KEY={key}")

    def _hidden(self, words: str) -> str:
        if sys.stdin.isatty():
            return getpass.getpass(f"{words}: ").strip()
        return sys.stdin.readline().strip()
