"""Is everything well: configuration, Redis, store, clock, venue, Scout, Guardian, each with what to do."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from trading import bootstrap
from trading.bootstrap import Diagnosis
from trading.checks import environment_findings, exposure_findings, file_findings, folder_findings, name_findings
from trading.conf import Config, ConfigurationError
from trading.domain.desk_state import TradingState
from trading.domain.errors import DeskError, StoreCorrupt
from trading.utils.inspection import state_in, verify

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


class Command(BaseCommand):
    help = "Check configuration, Redis, store, clock, venue, Scout and Guardian, and say what to do. Shows no secret."
    requires_system_checks = ()  # what they find has rows here

    def handle(self, *args: Any, **options: Any) -> None:
        rows = tuple(mistaken(settings.CONFIGURATION_MISTAKES) or examine(settings.DESK_CONFIG))
        # Folded, not cut short: a path and a command are of use only whole.
        table = Table(*(Column(title, overflow="fold") for title in ("what", "", "finding", "what to do")))
        for row in rows:
            table.add_row(row.name, Text(row.verdict, COLOURS[row.verdict]), Text(row.words), Text(row.remedy))
        Console(file=self.stdout).print(table)  # type: ignore[arg-type]
        if any(row.verdict == "error" for row in rows):
            raise CommandError("not everything is well")


def mistaken(mistakes: Sequence[str]) -> tuple[Diagnosis, ...]:
    """A row for each mistake of the configuration. With any, nothing can be said of the rest."""
    parts = (mistake.partition("; ") for mistake in mistakes)
    return tuple(Diagnosis("configuration", "error", what, remedy) for what, _, remedy in parts)


def examine(config: Config) -> Iterator[Diagnosis]:
    """Every row in its order; a question that fails is a row that says so."""
    yield _configuration(config)
    names = (*name_findings(settings.ENV_FILE), *environment_findings(os.environ))
    yield from (Diagnosis("settings", "warning", one.msg, one.hint or "") for one in names)
    yield from (Diagnosis("limits", "warning", one.msg, one.hint or "") for one in exposure_findings(config))
    yield from (Diagnosis("secrets", "warning", one.msg, one.hint or "") for one in file_findings(settings.ENV_FILE))
    yield _redis(config)
    yield _store(config)
    yield from _trading(config)
    yield from _venue(config)
    yield from _agents(config)
    yield _monitor(config)
    yield _alerts(config)


def _configuration(config: Config) -> Diagnosis:
    mode = "demo mode: paper venue" if config.demo_mode else f"live: {config.venue}"
    if config.allow_anonymous_loopback:
        words = f"{mode}; callers on this machine need no token to read and trade"
        remedy = "" if config.demo_mode else "set ALLOW_ANONYMOUS_LOOPBACK=false unless the sibling agents need it"
        return Diagnosis("configuration", "ok" if config.demo_mode else "warning", words, remedy)
    return Diagnosis("configuration", "ok", f"{mode}; {len(config.api_tokens)} API token(s)")


def _redis(config: Config) -> Diagnosis:
    if bootstrap.redis_answers(config):
        return Diagnosis("Redis", "ok", "answers")
    return Diagnosis(
        "Redis", "warning", "does not answer", "start it or mend REDIS_URL; the service works without its cache"
    )


def _store(config: Config) -> Diagnosis:
    for one in folder_findings(config):
        return Diagnosis("store", "error", one.msg, one.hint or "")
    try:
        report = verify(config.data_dir)
    except DeskError as error:
        return Diagnosis("store", "error", error.detail, "run `manage.py verify_ledger`")
    if report.problems:
        return Diagnosis("store", "error", report.problems[0], "run `manage.py verify_ledger` for all of it")
    counts = ", ".join(f"{name}: {count}" for name, count in report.counts.items()) or "nothing stored yet"
    return Diagnosis("store", "ok", counts)


def _trading(config: Config) -> Iterator[Diagnosis]:
    """Whether the desk opens anything; nothing where its state cannot be read, which is the store's row."""
    try:
        state = state_in(config.data_dir)
    except (OSError, StoreCorrupt):
        return
    if state.state is TradingState.ACTIVE:
        yield Diagnosis("trading", "ok", "the desk is ACTIVE")
        return
    words = f"the desk is {state.state} and opens nothing: {', '.join(sorted(state.causes)) or state.why}"
    yield Diagnosis("trading", "warning", words, "see docs/operations.md; resume when that has ended")


def _venue(config: Config) -> Iterator[Diagnosis]:
    try:
        findings = bootstrap.diagnoses(config)
    except ConfigurationError as error:
        yield from (Diagnosis("venue", "error", mistake, "mend the configuration") for mistake in error.mistakes)
        return
    except DeskError as error:
        yield Diagnosis("venue", "error", error.detail, "see the store")
        return
    yield from findings


def _agents(config: Config) -> Iterator[Diagnosis]:
    if config.scout_url is None:
        yield Diagnosis("Scout", "ok", "the demo stand-in")
    else:
        yield _asked("Scout", lambda: bootstrap.scout_offers(config), "start Scout or mend SCOUT_URL")
    if config.guardian_url is None:
        yield Diagnosis("Guardian", "ok", "the demo stand-in")
    else:
        yield _asked("Guardian", lambda: bootstrap.guardian_listens(config), "start Guardian or mend GUARDIAN_URL")


def _asked(name: str, question: Callable[[], str], remedy: str) -> Diagnosis:
    try:
        return Diagnosis(name, "ok", question())
    except DeskError as error:
        return Diagnosis(name, "warning", error.detail, f"{remedy}; nothing is opened without it")


def _alerts(config: Config) -> Diagnosis:
    try:
        count = bootstrap.alert_targets(config)
    except ConfigurationError as error:
        return Diagnosis("alerts", "error", error.mistakes[0], "mend ALERT_URLS")
    if not count:
        verdict = "ok" if config.demo_mode else "warning"
        return Diagnosis("alerts", verdict, "nobody is told of anything", "set ALERT_URLS to where you can be reached")
    return Diagnosis("alerts", "ok", f"{count} target(s); `manage.py send_test_alert` tries them")


def _monitor(config: Config) -> Diagnosis:
    try:
        beat = bootstrap.monitor_beat(config)
    except StoreCorrupt as error:
        return Diagnosis("monitor", "error", error.detail, "see the store")
    if beat is None:
        verdict = "warning" if config.demo_mode or not config.require_monitor else "error"
        return Diagnosis("monitor", verdict, "none is watching", "start `manage.py monitor_positions`")
    return Diagnosis("monitor", "ok", f"last beat {beat:%H:%M:%S} UTC")
