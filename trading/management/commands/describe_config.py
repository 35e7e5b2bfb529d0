"""Writes `.env.example` and the README's table of variables from the configuration's own words.

The law: both say what the code says, or `--check` fails; nothing of the running configuration is in either.
"""

import ast
import inspect
import re
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from trading.conf import PROJECT_ROOT, SECRETS, SECTIONS, VARIABLES, Config

EXAMPLE = ".env.example"
README = "README.md"
WIDTH = 120
HEAD = """\
# Copy to .env and change what you need, or let `make setup` ask; every line below shows the default. The environment
# wins over that file. A blank or a placeholder such as your_key_here is unset. Any secret X may come from a file
# instead: X_FILE=/path. Written by `make config` from trading/conf.py.
"""
TABLE_HEAD = "| variable | default | meaning |\n|---|---|---|\n"
_TABLE = re.compile(rf"{re.escape(TABLE_HEAD)}(?:\|.*\n)+")

Group = tuple[str, ...]


class Command(BaseCommand):
    help = f"Write {EXAMPLE} and the table of variables in {README} anew from trading/conf.py."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when either has drifted")
        parser.add_argument("--folder", type=Path, default=PROJECT_ROOT, help="where both are")

    def handle(self, *args: Any, check: bool, folder: Path, **options: Any) -> None:
        """Raises CommandError for a file that has drifted, and for a README without its table."""
        for name, text in documents(folder).items():
            path = folder / name
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            if check:
                raise CommandError(f"{name} is not what trading/conf.py says; `make config` writes it anew")
            path.write_text(text, encoding="utf-8")
            self.stdout.write(f"{name} is written")


def documents(folder: Path) -> dict[str, str]:
    """Both files as they should be, by name."""
    readme = (folder / README).read_text(encoding="utf-8")
    if len(_TABLE.findall(readme)) != 1:
        raise CommandError(f"{README}: there must be one table that begins with {TABLE_HEAD.splitlines()[0]}")
    return {EXAMPLE: example(), README: _TABLE.sub(lambda _: table(), readme)}


def example() -> str:
    """`.env.example`: copied unchanged it gives the defaults."""
    parts = [HEAD]
    for group in groups():
        if group[0] in SECTIONS:
            parts.append(f"# --- {SECTIONS[group[0]]} ".ljust(WIDTH + 3, "-") + "\n")
        words = textwrap.fill(meaning(group), WIDTH - 2, break_on_hyphens=False)
        lines = [f"{name}={default_of(name)}" for name in group]
        parts.append("\n".join([textwrap.indent(words, "# "), *lines]) + "\n")
    return "\n".join(parts)


def table() -> str:
    """The README's table: one row a group, the chapters between them."""
    rows = []
    for group in groups():
        if group[0] in SECTIONS:
            rows.append(f"| **{SECTIONS[group[0]]}** | | |\n")
        names = ", ".join(f"`{name}`" for name in group)
        defaults = ", ".join(default_of(name) or "-" for name in group)
        words = meaning(group).replace("|", r"\|")
        rows.append(f"| {names} | {defaults} | {words} |\n")
    return TABLE_HEAD + "".join(rows)


def groups() -> Iterator[Group]:
    """The variables in their order; those without words of their own belong to the one above that has some."""
    group: list[str] = []
    for name in VARIABLES:
        if name in words_of_variables() and group:
            yield tuple(group)
            group = []
        group.append(name)
    yield tuple(group)


@cache
def words_of_variables() -> dict[str, str]:
    """The docstring under each attribute that has one, by variable. Read here and not by pydantic, which would look for
    the source at every start of the service."""
    (body,) = (one.body for one in ast.parse(inspect.getsource(Config)).body if isinstance(one, ast.ClassDef))
    found = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name.upper()] = words
    return found


def meaning(group: Group) -> str:
    """The words of a group on one line, and whether it is secret."""
    words = " ".join(words_of_variables()[group[0]].split())
    return f"Secret. {words}" if SECRETS.intersection(group) == set(group) else words


def default_of(name: str) -> str:
    """The default as one writes it in the environment; blank where there is none, or where it depends on others."""
    match Config.model_fields[name.lower()].get_default():
        case bool() as flag:
            return str(flag).lower()
        case Path() as path:
            return str(path.relative_to(PROJECT_ROOT))
        case tuple() as items:
            return ",".join(items)
        case float() as number:
            return f"{number:g}"
        case str() | int() | Decimal() as value:
            return str(value)
        case _:
            return ""
