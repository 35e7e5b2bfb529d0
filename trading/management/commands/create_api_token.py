"""`manage.py create_api_token NAME --scope SCOPE`: a new token, shown once, and the entry that makes it known.

The law: the token itself is written nowhere; the service keeps its SHA-256.
"""

import re
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trading.authentication import digest_of
from trading.conf import Scope, meant
from trading.management.commands.setup import TOKEN_BYTES, quoted, write_privately

_ENTRIES = re.compile(r"^API_TOKENS=(?P<quote>['\"]?)(?P<entries>[^'\"\n]*)(?P=quote)[ \t]*$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Command(BaseCommand):
    help = "Make an API token: prints it once, with the line for API_TOKENS."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="who will use it, such as orchestrator; 1 to 64 letters, digits, _ . -")
        parser.add_argument("--scope", choices=list(map(str, Scope)), required=True, help="read < trade < admin")
        parser.add_argument(
            "--save", action="store_true", help="add the entry to the file, too; restart to make it known"
        )
        parser.add_argument("--file", type=Path, default=settings.ENV_FILE, help="which file that is (.env)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError for a name that is malformed or taken."""
        name, scope = options["name"], options["scope"]
        if not _NAME.fullmatch(name):
            raise CommandError("NAME: must be 1 to 64 letters, digits, _ . - and begin with a letter or digit")
        if any(name == token.name for token in settings.DESK_CONFIG.api_tokens):
            raise CommandError(f"NAME: {name} is in API_TOKENS already; choose another or remove that entry")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        if options["save"]:
            if options["file"] is None:
                raise CommandError("no file is read here: ENV_FILE is blank; name one with --file")
            save(f"{name}:{scope}:{digest_of(token)}", options["file"])
            self.stdout.write(f"Token of {name}, scope {scope} (shown this once):  {token}")
            self.stdout.write(f"{options['file']} knows it from the next start on")
            return
        self.stdout.write(f"Token (shown this once):  {token}")
        self.stdout.write("Put this into .env; entries that are there already stay, separated by commas:")
        self.stdout.write(f"API_TOKENS={name}:{scope}:{digest_of(token)}")


def save(entry: str, file: Path) -> None:
    """Add *entry* to API_TOKENS in *file*, and leave every other line as it is.

    Raises CommandError for a file that cannot be read, that does not set API_TOKENS on one plain line, or that has an
    entry of that name.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise CommandError(f"{file} cannot be read; `manage.py setup` writes one") from None
    found = _ENTRIES.findall(text)
    if len(found) != 1:
        raise CommandError(f"{file} must set API_TOKENS once, on a line of its own; add {entry} by hand")
    known, name = meant(found[0][1]), entry.partition(":")[0]
    if name in (one.strip().partition(":")[0] for one in known.split(",")):
        raise CommandError(f"NAME: {name} is in {file} already; choose another or remove that entry")
    entries = ",".join(one for one in (known, entry) if one)
    write_privately(file, _ENTRIES.sub(lambda _: f"API_TOKENS={quoted(entries)}", text))
