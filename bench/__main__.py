"""All benchmarks: `python -m bench [--quick] [--json FILE] [--write-baseline] [--trades N]`.

A table, ratios first, and exit 1 when a ratio is worse by more than a quarter than in the committed baseline of the
same pace. Aims that are not held are told and do not fail: they say where the work is, the baseline that it has not
become more. On a machine whose own noise is above three, or whose pace has no baseline, nothing is taken for a
regression.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import django

from bench.figures import (
    Baseline,
    Figures,
    comparable,
    read_baselines,
    spread_of,
    whole_lives,
    with_run,
    write_baselines,
)

BASELINE = Path(__file__).parent / "baseline.json"
ROOT = Path(__file__).resolve().parents[1]
ROUNDS, QUICK_ROUNDS = 60, 12
BREACHES, QUICK_BREACHES = 40, 10
# The others have made some hundred trades before.
MEMORY_TRADES, QUICK_MEMORY_TRADES = 900, 20
SIGNATURES = 300
SIGN_MILLISECONDS_MAX = 0.35
PROBE_ROUNDS = 200
WHEN = ("before", "after")
NOISE, NOISE_MAX = "p99 / p50 of a fixed piece of work", 3.0
PACE = f"that piece of work by Python {platform.python_version()}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no ledger: half a minute")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--trades", type=whole_lives, default=100_000, help="ended trades in the ledger's large folder")
    parser.add_argument("--write-baseline", action="store_true", help="make this run's ratios those of its pace")
    options = parser.parse_args(arguments)
    figures = Figures()
    _probe(figures)
    _sign(figures)
    _watch(figures, QUICK_BREACHES if options.quick else BREACHES)
    if options.quick:
        _trade(figures, QUICK_ROUNDS, QUICK_MEMORY_TRADES)
    else:
        _trade(figures, ROUNDS, MEMORY_TRADES)
    _probe(figures, "after")
    print(figures.table(), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures.as_json(), indent=2) + "\n", encoding="utf-8")
    run = Baseline(min(figures.found[f"pace {when}: {PACE}"].value for when in WHEN), figures.ratios())
    baselines = read_baselines(BASELINE)
    if options.write_baseline:
        baselines = with_run(baselines, run)
        write_baselines(BASELINE, baselines)
    baseline = comparable(baselines, run.pace)
    if baseline is None:
        print(f"no baseline of a machine of this pace, {run.pace:.2f} ms: nothing to compare with (--write-baseline)")
    worse = figures.regressions(baseline.ratios if baseline else {})
    noisy = max(figures.found[f"noise {when}: {NOISE}"].value for when in WHEN) > NOISE_MAX
    for one in worse:
        print(f"{'worse, on a machine too busy to tell by' if noisy else 'REGRESSION'}: {one}")
    held = options.quick or _ledger(options.trades) == 0
    return int((bool(worse) and not noisy) or not held)


def _probe(figures: Figures, when: str = "before") -> None:
    """How busy the machine is with others: the same small piece of work, again and again; a quiet one does not vary."""
    taken = []
    for _ in range(PROBE_ROUNDS):
        started = time.perf_counter()
        sum(number * number for number in range(20_000))
        taken.append((time.perf_counter() - started) * 1000)
    spread = spread_of(taken)
    figures.note(f"noise {when}: {NOISE}", spread.p99 / spread.p50, "x")
    # Two builds of one version of Python are a fifth apart: times without the interpreter's pace say little.
    figures.note(f"pace {when}: {PACE}", spread.p50, "ms")
    figures.note(f"noise {when}: load average", os.getloadavg()[0], "")


def _sign(figures: Figures) -> None:
    """Processor time of signing one action with both legs."""
    from trading.adapters.keys import open_wallet

    wallet = open_wallet("0x" + "ab" * 32)
    order = {
        "a": 4,
        "b": True,
        "p": "4000",
        "s": "0.25",
        "r": False,
        "t": {"limit": {"tif": "Ioc"}},
        "c": "0x" + "1" * 32,
    }
    action = {"type": "order", "orders": [order, order], "grouping": "na"}
    taken = []
    for nonce in range(SIGNATURES):
        started = time.thread_time()
        wallet.signature(action, nonce, nonce + 5000, mainnet=False)
        taken.append((time.thread_time() - started) * 1000)
    figures.note(
        "signing one action with both legs, processor time", statistics.median(taken), "ms", SIGN_MILLISECONDS_MAX
    )


def _watch(figures: Figures, breaches: int) -> None:
    from bench import watching

    # First: with a thousand positions in this process, to look whether one is closed takes the monitor's processor.
    watching.measure_breaches(figures, breaches)
    watching.measure_ticks(figures)


def _trade(figures: Figures, rounds: int, memory_trades: int) -> None:
    from bench import execution, serving

    case = execution.BenchCase()
    try:
        case.setUp()
        service = execution.started(case)
        execution.measure(case, figures, rounds, service.pid)
        desk = execution.Service(case, "page")
        serving.measure(case, desk, figures)
        serving.measure_memory(desk, service.pid, figures, memory_trades)
        serving.measure_start(figures, {**case.environ, "DATA_DIR": str(case.folder / "start")})
    finally:
        case.doCleanups()


def _ledger(trades: int) -> int:
    command = (sys.executable, "-m", "bench.ledger", "--trades", str(trades))
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603 - our own program and a number


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "executor_agent.settings")
    django.setup()
    # What the desks of this process do is written to their files all the same; here it would stand between the figures.
    logging.getLogger("trading.activity").setLevel(logging.CRITICAL)
    sys.exit(main())
