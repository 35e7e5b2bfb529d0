"""How well trades were executed, in the terminal: the figures of /api/analytics."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Column, Table

from trading.bootstrap import get_desk
from trading.checks import DESK
from trading.domain.errors import DeskError
from trading.engine.accounting import DAYS_DEFAULT
from trading.engine.analytics import Analytics, Summary, TradeQuality, analytics
from trading.rendering import render

ROWS_SHOWN = 20
PIPE_COLUMNS = 160


class Command(BaseCommand):
    help = (
        "Execution quality of the last days: shortfall, slices against their benchmark, naked exposure, repairs, times."
    )
    requires_system_checks = (DESK,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=DAYS_DEFAULT, help="how many UTC days, today counted")
        parser.add_argument("--json", action="store_true", help="the answer of /api/analytics")

    def handle(self, *args: Any, **options: Any) -> None:
        """Raises CommandError for days that are none and for a ledger that cannot be read."""
        try:
            found = analytics(get_desk(), options["days"])
        except DeskError as error:
            raise CommandError(f"{error.code}: {error.detail}") from error
        if options["json"]:
            self.stdout.write(json.dumps(render(found), indent=2))
            return
        # A file or a pipe has no width of its own.
        width = None if self.stdout.isatty() else PIPE_COLUMNS
        console = Console(file=self.stdout, width=width)  # type: ignore[arg-type]
        console.print(f"Trades accepted since {found.since:%Y-%m-%d}: {found.total.trades}")
        for table in _tables(found):
            if table.row_count:
                console.print(table)


def _tables(found: Analytics) -> tuple[Table, ...]:
    return (
        _summaries("pair", (found.total, *found.pairs)),
        _summaries("day", found.days),
        _trades(found.trades[:ROWS_SHOWN]),
    )


def _titled(*titles: str) -> Table:
    """Folded, not cut short: of a figure whose end is missing nobody knows how large it is."""
    return Table(*(Column(title, overflow="fold") for title in titles))


def _summaries(of: str, rows: tuple[Summary, ...]) -> Table:
    table = _titled(
        of, "trades", "turnover", "shortfall", "bps", "bps p50/p90/p99", "fees", "funding", "naked USD s", "repairs"
    )
    for row in rows:
        spread = row.shortfall_bps_spread
        table.add_row(
            row.of,
            str(row.trades),
            _shown(row.turnover),
            _shown(row.shortfall_usd),
            _shown(row.shortfall_bps),
            " / ".join(_shown(one) for one in (spread.p50, spread.p90, spread.p99)),
            _shown(row.fees),
            _shown(row.funding),
            _shown(row.naked_usd_seconds),
            f"{row.repairs} ({_shown(row.repair_cost_usd)})",
        )
    return table


def _trades(rows: tuple[TradeQuality, ...]) -> Table:
    table = _titled(
        "accepted, UTC", "trade", "pair", "effect", "how", "turnover", "bps", "against slices", "naked max", "seconds"
    )
    for row in rows:
        table.add_row(
            f"{row.accepted_at:%Y-%m-%d %H:%M:%S}",
            row.trade_id[:12],
            row.pair,
            f"{row.effect} {row.exit_reason or ''}".strip(),
            row.execution,
            _shown(row.turnover),
            _shown(row.shortfall_bps),
            _shown(row.twap_slippage_bps),
            _shown(row.naked_max_usd),
            _shown(row.seconds),
        )
    return table


def _shown(amount: Decimal | None) -> str:
    return "-" if amount is None else f"{amount:,.2f}"
