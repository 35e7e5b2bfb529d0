"""`manage.py encrypt_key FILE`: the API wallet's key as an encrypted keystore, which takes a password to open.

The law: neither key nor password is an argument, which any user of the machine could read; nothing is overwritten.
"""

import getpass
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading import bootstrap
from trading.domain.errors import InvalidRequest
from trading.management.commands.setup import write_privately

PASSWORD_CHARS_MIN = 12


class Command(BaseCommand):
    help = "Ask for the API wallet's key and a password, and write an encrypted keystore to FILE, for this user only."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        """Raises CommandError for a file that exists, a key that is none and a password that is short or mistyped."""
        if file.exists():
            raise CommandError(f"{file} exists; name another one")
        key, password = self._hidden("Private key of the API wallet"), self._hidden("Password")
        if len(password) < PASSWORD_CHARS_MIN:
            raise CommandError(f"the password must have {PASSWORD_CHARS_MIN} characters or more")
        if self._hidden("Password again") != password:
            raise CommandError("the two passwords differ")
        try:
            address, keystore = bootstrap.keystore_of(key, password)
        except InvalidRequest as error:
            raise CommandError("; ".join(error.fields.values())) from None
        write_privately(file, keystore)
        self.stdout.write(f"{file} holds the key of {address}; HYPERLIQUID_WALLET_KEY_FILE={file.resolve()}")

    def _hidden(self, words: str) -> str:
        if sys.stdin.isatty():
            return getpass.getpass(f"{words}: ").strip()
        return sys.stdin.readline().strip()
