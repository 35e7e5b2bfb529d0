"""What a service trade costs beside a bare script, what it adds to a venue that is far away, and how many at once.

The bare script asks the same Scout and Guardian and then sends two market orders one after the other with the official
SDK, on the same exchange simulator. The law: both are measured in turns within one run, so that a busy machine slows
both alike.
"""

import http.client
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import cast
from unittest.mock import patch

import requests
from eth_account import Account
from hyperliquid.exchange import Exchange

from bench.figures import Figures, milliseconds
from tests.processes import wait_until
from tests.servers.service import family_of
from tests.servers.test_live_hyperliquid import LiveCase, control_of

BARE_KEY = "0x" + "ab" * 32
BARE_MASTER = "0x" + "cd" * 20
WARM_UP = 5
TIMEOUT_SECONDS = 20.0
PAIR = ("ETH", "BTC")
LATENCY_SECONDS = 0.05
PAIRS = ("BTC/ETH", "SOL/AVAX", "ATOM/DYDX", "BNB/APE", "OP/LTC", "ARB/DOGE", "INJ/SUI", "CRV/LDO")
OURS_MILLISECONDS_MAX = 10.0
AFTERMATH_SECONDS = 0.05
IDLE_SECONDS_MAX = 2.0
IN_PYTHON = {"ECC_BACKEND_CLASS": "eth_keys.backends.native.NativeECCBackend"}
"""What eth-keys asks for each time that it makes a key."""


class BenchCase(LiveCase):
    """The live configuration, with room for many positions and nothing that rests between them."""

    @property
    def environ(self) -> dict[str, str]:
        return {
            **super().environ,
            "MAX_POSITIONS": "50",
            "COOLDOWN_SECONDS": "0",
            "MAX_DAILY_LOSS": "0.5",
            "THROTTLE_READ_PER_MINUTE": "0",
        }

    def setUp(self) -> None:
        super().setUp()
        for pair in PAIRS:
            for coin in pair.split("/"):
                self.control({"do": "set_market", "coin": coin, "spread_bps": "1", "depth_usd": "5000000"})


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


class BareAsInstalled(Bare):
    """The same script where nothing is installed but what pip brings with the SDK: no coincurve, which eth-keys takes
    for its signatures as soon as it finds it, but its own in Python."""

    def open(self) -> None:
        with patch.dict(os.environ, IN_PYTHON):
            super().open()

    def close(self) -> None:
        with patch.dict(os.environ, IN_PYTHON):
            super().close()


class Service:
    """The desk over HTTP, gunicorn and all.

    Asked over one kept connection of the standard library, for what its caller's own library takes is not the
    service's; the same over requests, which the bare script uses, is told beside.
    """

    def __init__(self, case: LiveCase, name: str = "bench") -> None:
        self.case = case
        self._name = name
        self._http = http.client.HTTPConnection("127.0.0.1", case.port, timeout=TIMEOUT_SECONDS)
        self._asked_at = 0.0
        self._number = 0
        self._position = ""

    def prepare(self) -> None:
        """Scout offers another signal; not part of what is measured."""
        self._number += 1
        self.case.scout.entries.clear()
        self.case.offer(f"{self._name} {self._number}")

    def open(self) -> None:
        body = {"signal_id": f"{self._name} {self._number}", "position_size": 2000}
        self._position = str(self.post("/api/trades/execute", body, 201)["position_id"])

    def close(self) -> None:
        self.post(f"/api/positions/{self._position}/close", None, 200)

    def post(self, path: str, body: object, status: int) -> dict[str, object]:
        content = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        if time.monotonic() - self._asked_at > IDLE_SECONDS_MAX:
            # The service may have let go of the connection; the next request makes another.
            self._http.close()
        self._asked_at = time.monotonic()
        try:
            self._http.request("POST", path, content, {**self.case.headers, **kind})
            answer = self._http.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()
            raise RuntimeError(f"{path}: no answer: {error!r}") from error
        if answer.status != status:
            raise RuntimeError(f"{path}: {answer.status} {text.decode()}")
        return dict(json.loads(text))


class ServiceByRequests(Service):
    """Asked by the library that the bare script uses."""

    def __init__(self, case: LiveCase, name: str = "bench") -> None:
        super().__init__(case, name)
        self._session = requests.Session()

    def post(self, path: str, body: object, status: int) -> dict[str, object]:
        url = f"http://127.0.0.1:{self.case.port}{path}"
        answer = self._session.post(url, json=body, headers=self.case.headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code != status:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        return dict(answer.json())


def measure(case: BenchCase, figures: Figures, rounds: int, supervisor: int) -> None:
    """Everything of this module, on a service that runs under *supervisor*."""
    bare, service = Bare(case), Service(case)
    samples = _in_turns(bare, service, rounds)
    for verb in ("open", "close"):
        ours, theirs = (figures.spread(f"{who} {verb}", samples[f"{who} {verb}"]) for who in ("service", "bare"))
        figures.ratio(f"{verb} p50 / bare script p50", ours.p50 / theirs.p50, 1.0)
        # Too few samples for a slow end that repeats: told, and compared with nothing.
        figures.note(f"{verb} p99 / bare script p99", ours.p99 / theirs.p99, "x")
    fewer = max(rounds // 3, 8)
    samples = _in_turns(bare, ServiceByRequests(case, "by requests"), fewer)
    ours, theirs = (
        figures.spread(f"{who} open, as requests asks", samples[f"{who} open"]) for who in ("service", "bare")
    )
    figures.note("open p50 / bare script p50, as requests asks", ours.p50 / theirs.p50, "x")
    samples = _in_turns(BareAsInstalled(case), service, fewer)
    for verb in ("open", "close"):
        ours, theirs = (
            figures.spread(f"{who} {verb}, bare as pip installs the SDK", samples[f"{who} {verb}"])
            for who in ("service", "bare")
        )
        figures.ratio(f"{verb} p50 / bare script p50, as pip installs the SDK", ours.p50 / theirs.p50, 1.0)
    _processor_times(bare, service, figures, family_of(supervisor), fewer)
    _far_away(case, service, figures, fewer)
    _at_once(case, figures)


def _in_turns(bare: Bare, service: Service, rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {"bare open": [], "bare close": [], "service open": [], "service close": []}
    for number in range(rounds + WARM_UP):
        service.prepare()
        jobs: list[tuple[str, Sequence[tuple[str, Callable[[], None]]]]] = [
            ("service", (("open", service.open), ("close", service.close))),
            ("bare", (("open", bare.open), ("close", bare.close))),
        ]
        for name, verbs in jobs if number % 2 else reversed(jobs):
            for verb, job in verbs:
                taken = milliseconds(job)
                if number >= WARM_UP:
                    samples[f"{name} {verb}"].append(taken)
    return samples


def _processor_times(bare: Bare, service: Service, figures: Figures, family: Collection[int], rounds: int) -> None:
    """What an open and a close take of the processors, what they leave to do afterwards included: of the service's
    processes, or of this one, in which the bare script runs, and Scout and Guardian too. It varies less than time."""
    spent: dict[str, list[float]] = {}
    for _ in range(rounds):
        service.prepare()
        for name, job in (("service open", service.open), ("service close", service.close)):
            spent.setdefault(name, []).append(_spent_on(job, family))
        for name, job in (("bare open", bare.open), ("bare close", bare.close)):
            spent.setdefault(name, []).append(_spent_on(job, [os.getpid()]))
    for name, samples in spent.items():
        figures.note(f"processor time: {name}", statistics.median(samples), "ms")


def _spent_on(job: Callable[[], None], processes: Collection[int]) -> float:
    before = sum(map(processor_milliseconds, processes))
    job()
    time.sleep(AFTERMATH_SECONDS)
    return sum(map(processor_milliseconds, processes)) - before


def _far_away(case: BenchCase, service: Service, figures: Figures, rounds: int) -> None:
    """The same open with 50 ms to the venue and back, and what of it is ours: what is not the one bulk action.

    How long that takes is the exchange's word, from the request read to the answer made, the 50 ms included: what the
    simulator needs to check a signature and match two orders is the venue's, what a client needs to send and read ours.
    """
    case.control({"do": "latency", "seconds": LATENCY_SECONDS})
    opens, actions, closes = [], [], []
    for _ in range(rounds):
        service.prepare()
        opens.append(milliseconds(service.open))
        actions.append(cast(list[float], control_of(case.exchange, {"do": "took"}))[-1] * 1000)
        closes.append(milliseconds(service.close))
    case.control({"do": "latency", "seconds": 0})
    figures.spread("service open, venue 50 ms away", opens)
    figures.spread("its bulk action, by the exchange's clock", actions)
    figures.spread("service close, venue 50 ms away", closes)
    ours = statistics.median(whole - action for whole, action in zip(opens, actions, strict=True))
    figures.note("open with 50 ms venue latency, less its bulk action", ours, "ms", OURS_MILLISECONDS_MAX)
    figures.note("the same, less 50 ms", statistics.median(opens) - LATENCY_SECONDS * 1000, "ms")


def _at_once(case: BenchCase, figures: Figures) -> None:
    """Eight signals of different coins, one after the other and all at once, with 50 ms to the venue."""
    case.control({"do": "latency", "seconds": LATENCY_SECONDS})
    taken: dict[int, list[float]] = {1: [], len(PAIRS): []}
    for number, hands in enumerate((1, len(PAIRS)) * 3):
        case.scout.entries.clear()
        ids = [f"{number} at once {place}" for place in range(len(PAIRS))]
        for one, pair in zip(ids, PAIRS, strict=True):
            case.offer(one, pair)
        services = [Service(case) for _ in PAIRS]

        def execute(place: int, ids: Sequence[str] = ids, services: Sequence[Service] = services) -> str:
            body = {"signal_id": ids[place], "position_size": 1000}
            return str(services[place].post("/api/trades/execute", body, 201)["position_id"])

        started = time.perf_counter()
        with ThreadPoolExecutor(hands) as pool:
            opened = list(pool.map(execute, range(len(PAIRS))))
        taken[hands].append(time.perf_counter() - started)
        for one in opened:
            services[0].post(f"/api/positions/{one}/close", None, 200)
    case.control({"do": "latency", "seconds": 0})
    # The first of each makes the service know its coins.
    alone, together = (min(taken[hands][1:]) for hands in (1, len(PAIRS)))
    figures.ratio("8 executes at once / one at a time, throughput", alone / together, 3.0, least=True)


def processor_milliseconds(process: int) -> float:
    """What all threads of *process* that live have taken of the processors so far."""
    spent = 0
    for thread in Path(f"/proc/{process}/task").iterdir():
        # A thread may end meanwhile.
        with suppress(OSError):
            spent += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return spent / 1_000_000


def started(case: BenchCase) -> "subprocess.Popen[bytes]":
    """The supervisor of a service that runs and is healthy."""
    service = case.start()
    wait_until(case.is_healthy, "being healthy")
    return service
