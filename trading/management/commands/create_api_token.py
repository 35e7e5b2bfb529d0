"""`manage.py create_api_token NAME --scope SCOPE`: a new token, shown once, and the entry that makes it known.

The law: the token itself is written nowhere; the service keeps its SHA-256.
"""

import re
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading.authentication import digest_of
from trading.conf import Scope

TOKEN_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Command(BaseCommand):
    help = "Make an API token: prints it once, with the line for API_TOKENS."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who will use it, such as orchestrator; 1 to 64 letters, digits, _ . -")
        parser.add_argument("--scope", choices=list(map(str, Scope)), required=True, help="read < trade < admin")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError for a name that is malformed or taken."""
        name, scope = options["name"], options["scope"]
        if not _NAME.fullmatch(name):
            raise CommandError("NAME: must be 1 to 64 letters, digits, _ . - and begin with a letter or digit")
        if any(name == token.name for token in settings.DESK_CONFIG.api_tokens):
            raise CommandError(f"NAME: {name} is in API_TOKENS already; choose another or remove that entry")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self.stdout.write(f"Token (shown this once):  {token}")
        self.stdout.write("Put this into .env; entries that are there already stay, separated by commas:")
        self.stdout.write(f"API_TOKENS={name}:{scope}:{digest_of(token)}")
