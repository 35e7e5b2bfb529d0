"""A first `.env` by asking: what this desk is, where its key is, whom it calls; everything else keeps its default.

The law: an answer that the configuration would refuse is asked for again, nothing is written before the whole of it is
good, the file is this user's alone, and one that is there is never overwritten unasked.
"""

import getpass
import os
import secrets
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading.authentication import digest_of
from trading.conf import (
    HYPERLIQUID_MAINNET,
    HYPERLIQUID_TESTNET,
    PROJECT_ROOT,
    SECRETS,
    ConfigurationError,
    Scope,
    load_config,
)

TOKEN_BYTES = 32
OPERATOR = "operator"
SECRET_KEY_BYTES = 50
TRIES_MAX = 5
HEAD = "# Written by `manage.py setup`; .env.example explains every variable. Keep this file to yourself.\n"

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Question:
    """One variable: how it is asked for, what a blank answer means (nothing: it must be answered), and when at all."""

    name: str
    words: str
    default: Callable[[Values], str] = lambda _: ""
    when: Callable[[Values], bool] = lambda _: True


def _live(values: Values) -> bool:
    return values["DEMO_MODE"] == "false"


def _on_hyperliquid(values: Values) -> bool:
    return _live(values) and values["VENUE"] == "hyperliquid"


def _on_pear(values: Values) -> bool:
    return _live(values) and values["VENUE"] == "pear"


def _network(values: Values) -> str:
    return HYPERLIQUID_TESTNET if values["VENUE"] == "hyperliquid" else HYPERLIQUID_MAINNET


def _needs_password(values: Values) -> bool:
    path = values.get("HYPERLIQUID_WALLET_KEY_FILE", "")
    text = Path(path).expanduser().read_text(encoding="utf-8") if path else values.get("HYPERLIQUID_WALLET_KEY", "")
    return text.lstrip().startswith("{")


QUESTIONS = (
    Question("DEMO_MODE", "Demo on paper money: true or false", lambda _: "true"),
    Question("VENUE", "Venue: hyperliquid or pear", lambda _: "hyperliquid", _live),
    Question("HYPERLIQUID_API_URL", "Address of Hyperliquid", _network, _live),
    Question("HYPERLIQUID_ACCOUNT_ADDRESS", "Address of the account that holds the money", when=_live),
    Question("HYPERLIQUID_WALLET_KEY", "API wallet's key: a file with it, or itself", when=_on_hyperliquid),
    Question("HYPERLIQUID_KEYSTORE_PASSWORD", "Keystore's password: a file with it, or itself", when=_needs_password),
    Question("PEAR_API_KEY", "Pear's API key: a file with it, or itself", when=_on_pear),
    Question("SCOUT_URL", "Address of Scout", lambda _: "http://localhost:8001", _live),
    Question("GUARDIAN_URL", "Address of Guardian", lambda _: "http://localhost:8003", _live),
    Question("EXECUTOR_PORT", "Port of this service", lambda _: "8004"),
    Question("DATA_DIR", "Folder for its files", lambda values: f"data-{values['VENUE']}", _live),
)


class Command(BaseCommand):
    help = "Ask what is needed and write a first .env, for this user only. What is there is not overwritten unasked."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=Path, default=PROJECT_ROOT / ".env", help="where to write (.env)")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        """Raises CommandError when the answers end or stay wrong, or are no configuration together."""
        if file.exists() and self._answer(f"{file} exists; replace it: yes or no", "no") != "yes":
            raise CommandError(f"{file} stays as it is")
        values = self._asked()
        token = secrets.token_urlsafe(TOKEN_BYTES)
        if _live(values):
            values["SECRET_KEY"] = secrets.token_urlsafe(SECRET_KEY_BYTES)
            values["API_TOKENS"] = f"{OPERATOR}:{Scope.ADMIN}:{digest_of(token)}"
        try:
            load_config(values)
        except ConfigurationError as error:
            raise CommandError("nothing was written:\n  " + "\n  ".join(error.mistakes)) from None
        write_privately(file, HEAD + "".join(f"{name}={quoted(text)}\n" for name, text in values.items()))
        self.stdout.write(f"{file} is written")
        if _live(values):
            self.stdout.write(f"Token of {OPERATOR}, scope admin (shown this once):  {token}")

    def _asked(self) -> dict[str, str]:
        values: dict[str, str] = {}
        for question in QUESTIONS:
            if question.when(values):
                values.update(self._insisted(question, values))
        return values

    def _insisted(self, question: Question, values: Values) -> dict[str, str]:
        """The variable of *question* with an answer that is good for itself."""
        default = question.default(values)
        for _ in range(TRIES_MAX):
            found = as_variable(question.name, self._answer(question.words, default, question.name))
            mistakes = mistakes_in(found)
            if not mistakes:
                return found
            self.stdout.write(f"  {mistakes[0]}")
        raise CommandError(f"{question.name}: no good answer in {TRIES_MAX}; nothing was written")

    def _answer(self, words: str, default: str, name: str = "") -> str:
        """What is typed, or *default* for nothing; not shown while it is typed when it is a secret."""
        prompt = f"{words} [{default}]: " if default else f"{words}: "
        self.stdout.write(prompt, ending="")
        self.stdout.flush()
        if name in SECRETS and sys.stdin.isatty():
            return getpass.getpass("").strip() or default
        line = sys.stdin.readline()
        if not line:
            raise CommandError("the answers have ended; nothing was written")
        if not sys.stdin.isatty():
            self.stdout.write("")
        return line.strip() or default


def as_variable(name: str, answer: str) -> dict[str, str]:
    """The variable that *answer* sets: a secret that is the path of a file is taken from there at every start."""
    path = Path(answer).expanduser()
    try:
        from_file = name in SECRETS and answer != "" and path.is_file()
    except OSError:
        from_file = False  # A keystore's JSON is longer than any path may be.
    return {f"{name}_FILE": str(path.resolve())} if from_file else {name: answer}


def mistakes_in(found: Values) -> list[str]:
    """What is wrong with one variable in itself; a blank is one, too."""
    ((name, text),) = found.items()
    if not text:
        return [f"{name}: is needed"]
    try:
        load_config({**found, "DEMO_MODE": text if name == "DEMO_MODE" else "true"})
    except ConfigurationError as error:
        return [mistake for mistake in error.mistakes if mistake.startswith(name.removesuffix("_FILE"))]
    return [f"{name}: must be true or false"] if name == "DEMO_MODE" and text not in ("true", "false") else []


def quoted(text: str) -> str:
    """*text* as python-dotenv reads it back."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def write_privately(path: Path, text: str) -> None:
    """Put *text* at *path*, or where that link leads, in one step, readable for this user only from its first moment
    on. Raises CommandError where nothing can be written."""
    path = path.resolve()
    try:
        _replace(path, text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    number, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
