"""Opens one demo trade through the running HTTP API and shows it live until it closes."""

import math
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

import requests
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from trading.checks import DESK

TIMEOUT_SECONDS = 10.0
POLL_SECONDS = 0.5
LIST_PAUSE_SECONDS = 15.0
LIST_SECONDS_MAX = 300.0
Body = dict[str, Any]


def number(text: str) -> float:
    """What JSON can say: a number beyond it never leaves, and that would be taken for a service that is not there."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{text} is no finite number")
    return value


class Command(BaseCommand):
    help = "Open one demo trade through the HTTP API, watch it to its exit, and say what it made and why it left."
    requires_system_checks = (DESK,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", default=f"http://127.0.0.1:{settings.DESK_CONFIG.executor_port}")
        parser.add_argument("--pair", help="A/B; the strongest signal on offer otherwise")
        parser.add_argument("--size", type=number, default=1000.0, help="gross notional in USD (1000)")
        parser.add_argument("--twap", action="store_true", help="in 5 slices over 20 seconds")
        parser.add_argument("--take-profit", type=number, default=0.006, help="net, of gross notional (0.006)")
        parser.add_argument("--stop-loss", type=number, default=0.006, help="net, of gross notional (0.006)")
        parser.add_argument(
            "--max-seconds", type=int, default=120, help="holding time after which it leaves anyway (120)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console()
        api = _Api(options["url"])
        health = api.get("/api/health")
        if health.get("demo_mode") is not True:
            raise CommandError("that service is not in demo mode; this command would trade for real there")
        if not health["monitor"]["alive"]:
            console.print("[yellow]no monitor is running: the position will be marked but not closed by its exits[/]")
        signal = self._signal(api, options["pair"], console)
        body = {
            "signal_id": signal["id"],
            "pair": signal["pair"],
            "position_size": options["size"],
            "take_profit": options["take_profit"],
            "stop_loss": options["stop_loss"],
            "max_holding_seconds": options["max_seconds"],
        }
        if options["twap"]:
            body |= {"execution": "twap", "twap": {"duration_seconds": 20, "slices": 5}}
        console.print(f"signal {signal['id']}: {signal['pair']}, z-score {signal['zscore']:.2f}")
        position = api.post("/api/trades/execute", body)
        deadline = time.monotonic() + options["max_seconds"] + 60
        try:
            with Live(_table(position), console=console, refresh_per_second=4) as live:
                while position["status"] != "closed" and time.monotonic() < deadline:
                    time.sleep(POLL_SECONDS)
                    position = api.get(f"/api/positions/{position['position_id']}")
                    live.update(_table(position))
        except KeyboardInterrupt:
            _end_line(console)
            console.print("not watching any more; the position goes on under the monitor")
            return
        _end_line(console)
        if position["status"] != "closed":
            raise CommandError(
                f"still {position['status']} after {options['max_seconds'] + 60} s; is a monitor running?"
            )
        _verdict(console, position)

    def _signal(self, api: "_Api", pair: str | None, console: Console) -> Body:
        """The strongest signal that would be taken. Where all are merely too weak, the next list is awaited."""
        give_up_at = time.monotonic() + LIST_SECONDS_MAX
        while True:
            offered = [one for one in api.list("/api/signals") if pair is None or one["pair"] == pair]
            taken = [one for one in offered if one["would_take"]]
            if taken:
                return max(taken, key=lambda one: abs(one["zscore"]))
            weak = any(
                {reason.get("code") for reason in one["why_not"]} == {"SIGNAL_LOW_CONFIDENCE"} for one in offered
            )
            if not weak or time.monotonic() > give_up_at:
                reasons = {reason["detail"] for one in offered for reason in one["why_not"]} or {"nothing is on offer"}
                raise CommandError("no signal to take now:\n  " + "\n  ".join(sorted(reasons)))
            console.print("no signal is strong enough in this minute; waiting for the next list")
            time.sleep(LIST_PAUSE_SECONDS)


class _Api:
    """The service as a caller sees it. Anything but an answer with success ends the command in the API's own words."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str) -> Body:
        return dict(self._ask("GET", path, None))

    def list(self, path: str) -> list[Body]:
        return list(self._ask("GET", path, None))

    def post(self, path: str, body: Body) -> Body:
        return dict(self._ask("POST", path, body))

    def _ask(self, method: str, path: str, body: Body | None) -> Any:
        try:
            answer = self._session.request(method, self._url + path, json=body, timeout=TIMEOUT_SECONDS)
            content = answer.json()
        except requests.RequestException as error:
            raise CommandError(f"nothing usable answers at {self._url}; start the service with `make run`") from error
        if not answer.ok:
            raise CommandError(f"{answer.status_code} {content.get('code')}: {content.get('detail')}")
        return content


def _table(position: Body) -> Table:
    execution = position["execution"]
    table = Table(title=f"{position['pair']}  {position['status']}", title_justify="left")
    for column in ("leg", "coin", "quantity", "entry", "mark", "unrealized $", "fees $"):
        table.add_column(column, justify="left" if column in ("leg", "coin") else "right")
    for side in ("long", "short"):
        leg = position[side]
        table.add_row(
            side,
            leg["coin"],
            f"{leg['quantity']:g}",
            _number(leg["entry_price"], "g"),
            _number(leg["mark_price"], "g"),
            _number(leg["unrealized_pnl"], "+.2f"),
            _number(leg["fees"], ".2f"),
        )
    table.caption = (
        f"filled ${position['size']:,.2f} in {_progress(execution)}   "
        f"net {_number(position['pnl'], '+.2f')} $ ({_number(position['pnl_percent'], '+.3f')} %)   "
        f"take profit {position['take_profit']:.2%}, stop {position['stop_loss']:.2%}"
    )
    return table


def _progress(execution: Body) -> str:
    """How far the slices have come, when the next one goes, and how they compare with the mids of their instants."""
    words = [f"{execution['slices_done']}/{execution['slices_total']} slice(s)"]
    if execution["slices_skipped"]:
        words.append(f"{execution['slices_skipped']} skipped")
    if execution["next_slice_at"] is not None:
        words.append(f"next at {datetime.fromisoformat(execution['next_slice_at']).astimezone(UTC):%H:%M:%S} UTC")
    if execution["benchmark_bps"] is not None:
        words.append(f"{execution['benchmark_bps']:+.2f} bps against its schedule")
    return ", ".join(words)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _end_line(console: Console) -> None:
    """What `Live` shows last into a pipe or a file has no end of line."""
    if not console.is_terminal:
        console.line()


def _verdict(console: Console, position: Body) -> None:
    console.print(
        f"closed by {position['exit_reason']}: net {_number(position['pnl'], '+.2f')} $ "
        f"({_number(position['pnl_percent'], '+.3f')} % of ${position['size']:,.2f}), "
        f"fees {position['fees']:.2f} $, funding {position['funding']:.2f} $"
    )
    console.print(f"entered in {_progress(position['execution'])}")
    console.print(
        f"worst naked exposure {position['naked']['max_usd']:.2f} $, {position['naked']['usd_seconds']:.2f} $-seconds"
    )
