"""What a service trade costs beside a bare script, as ratios: `python -m bench.execution [--rounds 60] [--json FILE]`.

The bare script asks the same Scout and Guardian and then sends two market orders one after the other with the official
SDK, on the same exchange simulator. The law: both are measured in turns within one run, so that a busy machine slows
both alike.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from eth_account import Account
from hyperliquid.exchange import Exchange

from tests.processes import wait_until
from tests.servers.test_live_hyperliquid import LiveCase

BARE_KEY = "0x" + "ab" * 32
BARE_MASTER = "0x" + "cd" * 20
WARM_UP = 5
TIMEOUT_SECONDS = 10.0
PAIR = ("ETH", "BTC")


@dataclass(frozen=True)
class Spread:
    """Milliseconds: the middle, the slow end, and how far the quartiles lie apart."""

    p50: float
    p99: float
    quartiles_apart: float


def spread_of(samples: Sequence[float]) -> Spread:
    ordered = sorted(samples)
    low, _, high = statistics.quantiles(ordered, n=4)
    return Spread(statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], high - low)


class Bare:
    """What somebody would write in an afternoon: two orders, one after the other."""

    def __init__(self, case: LiveCase) -> None:
        self._case = case
        wallet = Account.from_key(BARE_KEY)
        case.control({"do": "open_account", "user": BARE_MASTER, "usd": "100000"})
        case.control({"do": "approve_agent", "user": BARE_MASTER, "agent": wallet.address, "name": "bench"})
        self._http = requests.Session()
        self._exchange = Exchange(wallet, case.exchange, account_address=BARE_MASTER, timeout=TIMEOUT_SECONDS)

    def open(self) -> None:
        self._http.get(f"{self._case.scout.url}/api/signals/recent", timeout=TIMEOUT_SECONDS).raise_for_status()
        body = {"trade_proposal": {"size": 2000, "pair": "BTC/ETH"}, "portfolio_state": {"total_value": 100_000}}
        self._http.post(
            f"{self._case.guardian}/api/trade/approve", json=body, timeout=TIMEOUT_SECONDS
        ).raise_for_status()
        for coin, is_buy, size in (("ETH", True, 0.25), ("BTC", False, 0.01)):
            self._filled(self._exchange.market_open(coin, is_buy, size))

    def close(self) -> None:
        for coin in PAIR:
            self._filled(self._exchange.market_close(coin))

    @staticmethod
    def _filled(answer: object) -> None:
        if "filled" not in json.dumps(answer):
            raise RuntimeError(f"the bare script was not filled: {answer}")


class Service:
    """The desk over HTTP, gunicorn and all."""

    def __init__(self, case: LiveCase) -> None:
        self._case = case
        self._http = requests.Session()
        self._url = f"http://127.0.0.1:{case.port}"
        self._number = 0
        self._position = ""

    def prepare(self) -> None:
        """Scout offers another signal; not part of what is measured."""
        self._number += 1
        self._case.scout.entries.clear()
        self._case.offer(f"bench {self._number}")

    def open(self) -> None:
        body = {"signal_id": f"bench {self._number}", "position_size": 2000}
        self._position = str(self._post("/api/trades/execute", body, 201)["position_id"])

    def close(self) -> None:
        self._post(f"/api/positions/{self._position}/close", None, 200)

    def _post(self, path: str, body: object, status: int) -> dict[str, object]:
        answer = self._http.post(self._url + path, json=body, headers=self._case.headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code != status:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        return dict(answer.json())


def milliseconds(job: Callable[[], None]) -> float:
    started = time.perf_counter()
    job()
    return (time.perf_counter() - started) * 1000


def measure(case: LiveCase, rounds: int) -> dict[str, Spread]:
    """Open and close by both, in turns."""
    bare, service = Bare(case), Service(case)
    samples: dict[str, list[float]] = {"bare open": [], "bare close": [], "service open": [], "service close": []}
    for number in range(rounds + WARM_UP):
        service.prepare()
        jobs = [
            ("service", (("open", service.open), ("close", service.close))),
            ("bare", (("open", bare.open), ("close", bare.close))),
        ]
        for name, verbs in jobs if number % 2 else reversed(jobs):
            for verb, job in verbs:
                taken = milliseconds(job)
                if number >= WARM_UP:
                    samples[f"{name} {verb}"].append(taken)
    return {name: spread_of(taken) for name, taken in samples.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.execution", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args(arguments)
    case = LiveCase()
    try:
        case.setUp()
        case.start()
        wait_until(case.is_healthy, "being healthy")
        figures = measure(case, options.rounds)
    finally:
        case.doCleanups()
    ratios = {
        verb: {
            "p50": figures[f"service {verb}"].p50 / figures[f"bare {verb}"].p50,
            "p99": figures[f"service {verb}"].p99 / figures[f"bare {verb}"].p99,
        }
        for verb in ("open", "close")
    }
    print(f"service trade over a bare script with two SDK market orders, {options.rounds} rounds in turns:")
    for verb, ratio in ratios.items():
        print(f"  {verb:5}  p50 x {ratio['p50']:.2f}   p99 x {ratio['p99']:.2f}")
    for name, spread in figures.items():
        apart = f"quartiles {spread.quartiles_apart:.1f} ms apart"
        print(f"  {name:14} p50 {spread.p50:6.1f} ms   p99 {spread.p99:6.1f} ms   {apart}")
    if options.json:
        content = {"ratios": ratios, "milliseconds": {name: asdict(one) for name, one in figures.items()}}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
