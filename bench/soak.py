"""Half an hour of trades with faults: `python -m bench.soak [--minutes 30] [--rate 2] [--json FILE]`.

The service over HTTP against the exchange simulator, with a fault now and then; every few seconds its memory, open
files, threads and latency are written down. The law: what grows once a thousand trades have filled all that is kept,
from the first third of the time that is left to the last, is a leak, and so is anything open or held at the end. Exit
1 for either, and for a ledger that does not verify.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import django

from bench.execution import BenchCase, Service, started
from bench.figures import milliseconds
from tests.processes import wait_until
from tests.servers.service import family_of
from tests.servers.test_live_hyperliquid import FAULTS

SAMPLE_SECONDS = 5.0
WARM_UP_TRADES = 1000
FAULT_EVERY = 25
RSS_GROWTH_MAX, FILES_GROWTH_MAX, LATENCY_GROWTH_MAX = 1.10, 1.25, 1.5


@dataclass(frozen=True, slots=True)
class Sample:
    """The service's processes together at one moment, and the middle latency of the opens since the last sample."""

    seconds: float
    trades: int
    rss_mib: float
    files: int
    threads: int
    open_ms: float
    ledger_mib: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=2.0, help="trades a second, opened and closed")
    parser.add_argument("--json", type=Path, help="write the samples there")
    options = parser.parse_args(arguments)
    case = BenchCase()
    try:
        case.setUp()
        supervisor = started(case)
        samples, trades, refused = _run(case, supervisor.pid, options.minutes * 60, options.rate)
        wait_until(lambda: all(one["status"] == "closed" for one in case.positions()), "the end of every position")
        failures = [*growth(samples), *_leftovers(case)]
    finally:
        case.doCleanups()
    print(f"{trades} trades, {refused} refused beside a fault, {len(samples)} samples")
    warm = next((one for one in samples if one.trades >= WARM_UP_TRADES), samples[len(samples) // 2])
    for one in (samples[0], warm, samples[-1]):
        print(
            f"  after {one.seconds:6.0f} s, {one.trades} trades: {one.rss_mib:6.1f} MiB, {one.files} files, "
            f"{one.threads} threads, open p50 {one.open_ms:.1f} ms, ledger {one.ledger_mib:.1f} MiB"
        )
    for failure in failures:
        print(f"FAILED: {failure}")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in samples], indent=1) + "\n", encoding="utf-8")
    return int(bool(failures))


def _run(case: BenchCase, supervisor: int, seconds: float, rate: float) -> tuple[list[Sample], int, int]:
    service, faults = Service(case, "soak"), list(FAULTS.values())
    samples: list[Sample] = []
    began = sampled = time.monotonic()
    trades = refused = 0
    taken: list[float] = []
    while time.monotonic() - began < seconds:
        next_at = began + (trades + refused + 1) / rate
        number = trades + refused
        service.prepare()
        if number % FAULT_EVERY == FAULT_EVERY - 1:
            case.control(faults[number // FAULT_EVERY % len(faults)])
        try:
            took = milliseconds(service.open)
            service.close()
        except RuntimeError:
            # What a fault leaves open the monitor works on; the end of the run looks whether it did.
            refused += 1
            case.control({"do": "lift"})
            _close_all(case)
        else:
            trades += 1
            taken.append(took)
        if time.monotonic() - sampled >= SAMPLE_SECONDS and taken:
            sampled = time.monotonic()
            samples.append(_sample(case, supervisor, sampled - began, trades, statistics.median(taken)))
            taken = []
        time.sleep(max(next_at - time.monotonic(), 0.0))
    return samples, trades, refused


def _close_all(case: BenchCase) -> None:
    for one in case.positions():
        if one["status"] != "closed":
            case.ask("POST", f"/api/positions/{one['position_id']}/close")


def _sample(case: BenchCase, supervisor: int, seconds: float, trades: int, open_ms: float) -> Sample:
    rss = files = threads = 0.0
    for pid in family_of(supervisor):
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        rss += int(_field(status, "VmRSS")) / 1024
        threads += int(_field(status, "Threads"))
        files += len(os.listdir(f"/proc/{pid}/fd"))
    ledger = (case.folder / "data" / "trades.json").stat().st_size / (1 << 20)
    return Sample(
        round(seconds, 1), trades, round(rss, 1), int(files), int(threads), round(open_ms, 1), round(ledger, 2)
    )


def _field(status: str, name: str) -> str:
    return next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:"))


def growth(samples: Sequence[Sample]) -> list[str]:
    """What the last third of the samples after the warm-up has more of than the first, beyond its bound.

    A run too short to warm up is judged by all samples but the first.
    """
    settled = [one for one in samples if one.trades >= WARM_UP_TRADES] or samples[1:] or samples
    third = max(len(settled) // 3, 1)
    first, last = settled[:third], settled[-third:]
    found = []
    for name, most in (("rss_mib", RSS_GROWTH_MAX), ("files", FILES_GROWTH_MAX), ("open_ms", LATENCY_GROWTH_MAX)):
        before, after = (statistics.median(getattr(one, name) for one in part) for part in (first, last))
        if after > before * most:
            found.append(f"{name} grew from {before:.1f} to {after:.1f}")
    return found


def _leftovers(case: BenchCase) -> list[str]:
    held = case.held()
    verified = case.command("verify_ledger")
    return [
        *([f"the account still holds {held}"] if held else []),
        *([f"verify_ledger: {verified.stdout} {verified.stderr}"] if verified.returncode else []),
    ]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
    django.setup()
    sys.exit(main())
