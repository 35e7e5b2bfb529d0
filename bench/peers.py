"""Others beside the service: `python -m bench.peers --ccxt PYTHON --freqtrade PROGRAM`, which `make peers` installs.

A trade by the service over HTTP, by a script with the official SDK and by one with ccxt, all on the same simulator and
with the same Scout and Guardian; and read routes beside freqtrade's own web server. The law: everything in turns within
one run; what others do is told and is no aim of ours. Asks no network.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

import django
from eth_account import Account

from bench.execution import WARM_UP, Bare, BenchCase, Service, started
from bench.figures import Figures, milliseconds
from bench.serving import rate
from tests.processes import free_port, wait_until

ROUNDS, TURNS, ROWS = 30, 3, 20
CCXT_SCRIPT = Path(__file__).parent / "ccxt_script.py"
CCXT_KEY = "0x" + "ba" * 32
CCXT_MASTER = "0x" + "dc" * 20
START_SECONDS_MAX = 60.0
LOGIN = "bench:bench"
OURS = ("/api/health", f"/api/positions?limit={ROWS}", "/api/time_windows")
# One that anybody may ask and says nothing, and two that take a log-in.
THEIRS = ("/api/v1/ping", "/api/v1/version", "/api/v1/show_config")


class Trader(Protocol):
    """Opens a pair and closes it again."""

    def open(self) -> None: ...

    def close(self) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--ccxt", type=Path, required=True, help="a Python that has ccxt")
    parser.add_argument("--freqtrade", type=Path, required=True, help="freqtrade's program")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    figures, case = Figures(), BenchCase()
    try:
        case.setUp()
        started(case)
        service = Service(case, "peers")
        with _ccxt(case, options.ccxt) as ccxt:
            _trade(figures, service, Bare(case), ccxt, options.rounds)
        with _freqtrade(case, options.freqtrade) as port:
            _serve(figures, case, port)
    finally:
        case.doCleanups()
    print(f"load average {os.getloadavg()[0]:.1f}")
    print(figures.table())
    return 0


def _trade(figures: Figures, service: Service, bare: Bare, ccxt: "Script", rounds: int) -> None:
    traders: dict[str, Trader] = {"service": service, "SDK": bare, "ccxt": ccxt}
    samples: dict[str, list[float]] = {}
    for number in range(rounds + WARM_UP):
        service.prepare()
        for name, trader in traders.items():
            for verb, job in (("open", trader.open), ("close", trader.close)):
                taken = milliseconds(job)
                if number >= WARM_UP:
                    samples.setdefault(f"{name} {verb}", []).append(taken)
    spreads = {name: figures.spread(name, taken) for name, taken in samples.items()}
    for other in ("SDK", "ccxt"):
        for verb in ("open", "close"):
            figures.ratio(f"{verb} p50 / {other} p50", spreads[f"service {verb}"].p50 / spreads[f"{other} {verb}"].p50)


def _serve(figures: Figures, case: BenchCase, port: int) -> None:
    login = {"Authorization": f"Basic {b64encode(LOGIN.encode()).decode()}"}
    rates: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for path in OURS:
            rates.setdefault(f"service GET {path}", []).append(rate(case.port, path, case.headers))
        for path in THEIRS:
            rates.setdefault(f"freqtrade GET {path}", []).append(rate(port, path, login))
    for name, found in rates.items():
        figures.note(name, max(found), "/s")


class Script:
    """The ccxt script in its own process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def open(self) -> None:
        self._do("open")

    def close(self) -> None:
        self._do("close")

    def _do(self, what: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - both are pipes
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise RuntimeError(f"the ccxt script ended at {what}")


@contextmanager
def _ccxt(case: BenchCase, python: Path) -> Iterator[Script]:
    case.control({"do": "open_account", "user": CCXT_MASTER, "usd": "100000"})
    agent = Account.from_key(CCXT_KEY).address
    case.control({"do": "approve_agent", "user": CCXT_MASTER, "agent": agent, "name": "ccxt"})
    words = (str(python), str(CCXT_SCRIPT), case.exchange, CCXT_MASTER, CCXT_KEY, case.scout.url, case.guardian)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        yield Script(process)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _freqtrade(case: BenchCase, program: Path) -> Iterator[int]:
    """freqtrade's web server without a bot, on a port of its own; it asks no exchange for anything."""
    port, folder = free_port(), case.folder / "freqtrade"
    config = folder / "config.json"
    folder.mkdir()
    config.write_text(json.dumps(_configuration(port)), encoding="utf-8")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run((program, "create-userdir", "--userdir", folder / "user"), check=True, **quiet)  # type: ignore[call-overload]  # noqa: S603
    words = (str(program), "webserver", "--config", str(config), "--userdir", str(folder / "user"))
    process = subprocess.Popen(words, **quiet)  # type: ignore[call-overload]  # noqa: S603
    try:
        wait_until(lambda: _answers(port), "freqtrade's web server", START_SECONDS_MAX)
        yield port
    finally:
        process.terminate()
        process.wait()


def _configuration(port: int) -> dict[str, object]:
    side = {"price_side": "same", "use_order_book": True, "order_book_top": 1}
    server = {
        "enabled": True,
        "listen_ip_address": "127.0.0.1",
        "listen_port": port,
        "verbosity": "error",
        "jwt_secret_key": secrets.token_hex(32),
        "username": LOGIN.partition(":")[0],
        "password": LOGIN.partition(":")[2],
    }
    return {
        "stake_currency": "USDC",
        "stake_amount": 10,
        "dry_run": True,
        "max_open_trades": 3,
        "exchange": {"name": "hyperliquid", "pair_whitelist": ["ETH/USDC:USDC"]},
        "entry_pricing": side,
        "exit_pricing": side,
        "pairlists": [{"method": "StaticPairList"}],
        "timeframe": "5m",
        "api_server": server,
    }


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}{THEIRS[0]}", timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
    django.setup()
    sys.exit(main())
