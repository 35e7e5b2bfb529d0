"""What `manage.py check` says about a configuration that is legal, but may surprise.

The law: checks read and never write; contradictions never come this far, because `trading.conf` refuses them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from trading.conf import Config, likely_meant, misspelt

DESK = "desk"
"""The tag of these checks; the commands that trade or read the desk ask for them alone, and start in half the time."""
OTHERS = 0o077


@register(DESK)
def check_configuration(app_configs: Sequence[AppConfig] | None = None, **options: object) -> list[CheckMessage]:
    """Django calls this for every `check`, `runserver` and `test`, and for the commands that ask for it."""
    of_file = (*file_findings(settings.ENV_FILE), *name_findings(settings.ENV_FILE))
    return [*findings(settings.DESK_CONFIG), *of_file, *environment_findings(os.environ)]


def findings(config: Config) -> list[CheckMessage]:
    """Errors stop the commands that check first; warnings are printed."""
    return [*folder_findings(config), *exposure_findings(config), *_of_callers(config)]


def file_findings(file: Path | None) -> list[CheckMessage]:
    """What is wrong with the file that the configuration was read from: others of this machine may read its secrets."""
    # Windows has other ways to say who may read a file, and answers this question the same for all.
    if file is None or not file.is_file() or os.name == "nt" or not file.stat().st_mode & OTHERS:
        return []
    hint = f"Run: chmod 600 {file}"
    return [Warning(f"{file} can be read or written by other users of this machine", hint=hint, id="trading.W003")]


def name_findings(file: Path | None) -> list[CheckMessage]:
    """Settings in the file that nothing reads, and that somebody may think set."""
    if file is None or not file.is_file():
        return []
    hint = "If it is meant for this service, write {}; if it is another program's, all is well."
    return [
        Warning(f"{name} in {file.name} is no variable of this service", hint=hint.format(meant), id="trading.W004")
        for name, meant in likely_meant(file)
    ]


def environment_findings(environ: Mapping[str, str]) -> list[CheckMessage]:
    """The same of the environment, which is other programs', too: only what is next to certain to be meant."""
    hint = "If it is meant for this service, write {}."
    return [
        Warning(f"{name} in the environment is no variable of this service", hint=hint.format(meant), id="trading.W005")
        for name, meant in misspelt(environ)
    ]


def folder_findings(config: Config) -> list[CheckMessage]:
    """Why DATA_DIR could not be made or written."""
    folder = config.data_dir
    try:
        if folder.exists() and not folder.is_dir():
            return [Error(f"DATA_DIR: {folder} is not a directory", hint="Name a directory.", id="trading.E001")]
    except OSError as error:
        return [Error(f"DATA_DIR: {folder}: {error.strerror}", hint="Name another directory.", id="trading.E001")]
    present = next(one for one in (folder, *folder.parents) if one.exists())
    if not os.access(present, os.W_OK | os.X_OK):
        hint = "Give this user the right to write there, or set DATA_DIR to another directory."
        return [Error(f"DATA_DIR: {present} cannot be written", hint=hint, id="trading.E002")]
    return []


def exposure_findings(config: Config) -> list[CheckMessage]:
    """Whether the positions together may be larger than the account."""
    gross = config.max_positions * config.max_allocation
    if gross <= 1:
        return []
    message = f"MAX_POSITIONS x MAX_ALLOCATION allows positions of {gross} times the account"
    return [Warning(message, hint="Lower one of them unless that is wanted.", id="trading.W001")]


def _of_callers(config: Config) -> list[CheckMessage]:
    if config.demo_mode or not config.allow_anonymous_loopback:
        return []
    message = "ALLOW_ANONYMOUS_LOOPBACK lets every program on this machine trade real money without a token"
    return [Warning(message, hint="Set it to false and give the sibling agents tokens.", id="trading.W002")]
