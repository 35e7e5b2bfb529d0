"""Many runs of the simulated world, and what came of them.

    python -m tests.simulation.run --seeds 20000 [--from 0] [--jobs 2] [--pairs] [--keep-going]

Prints how many runs there were, how fast, how they ended and what happened in them; of the first seed that failed, the
trace. A seed that fails fails again: `--from SEED --seeds 1`.
"""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tests.simulation.exchange import TwoEffects
from tests.simulation.promises import Violation
from tests.simulation.tasks import Restless
from tests.simulation.triggers import RestedTwice
from tests.simulation.world import simulate

BATCH = 20
TRACE_LINES_MAX = 400


@dataclass(frozen=True, slots=True)
class Ran:
    """One run as it is told to the parent process: `failure` is empty for one that kept every promise."""

    seed: int
    outcome: str
    counts: Counter[str]
    checks: int
    failure: str = ""
    trace: str = ""


def ran(seed: int, *, wide: bool = True, pairs: bool = False, harsh: bool = True) -> Ran:
    """Run *seed* and say how it went; raises nothing that the run found."""
    try:
        result = simulate(seed, wide=wide, pairs=pairs, harsh=harsh)
    except (
        Exception,
        Violation,
        TwoEffects,
        RestedTwice,
        Restless,
    ) as failure:  # whatever it is, it is what is looked for
        where = "".join(traceback.format_tb(failure.__traceback__)[-2:])
        notes = "\n".join(getattr(failure, "__notes__", ()))
        return Ran(seed, "FAILED", Counter(), 0, f"{type(failure).__name__}: {failure}", f"{notes}\n{where}")
    return Ran(seed, result.outcome, result.counts, result.checks)


def run_all(first: int, count: int, jobs: int, *, pairs: bool = False) -> Iterator[Ran]:
    """Every seed from *first* on, in order, over *jobs* processes."""
    seeds, run = range(first, first + count), partial(ran, pairs=pairs)
    if jobs == 1:
        yield from map(run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(run, seeds, chunksize=BATCH)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pairs", action="store_true", help="through a service that keeps pairs")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first seed that fails")
    asked = parser.parse_args()
    began, outcomes, counts, checks, failed = time.monotonic(), Counter[str](), Counter[str](), 0, list[Ran]()
    for one in run_all(asked.first, asked.seeds, asked.jobs, pairs=asked.pairs):
        outcomes[one.outcome] += 1
        counts += one.counts
        checks += one.checks
        if one.failure:
            failed.append(one)
            print(f"seed {one.seed}: {one.failure}", flush=True)
            if not asked.keep_going:
                break
    seconds, total = time.monotonic() - began, sum(outcomes.values())
    print(f"{total} runs in {seconds:.1f} s ({total / seconds:.1f} a second), {checks} checks, {len(failed)} failed")
    for title, table in (("how they ended", outcomes), ("what happened in them", counts)):
        print(f"\n{title}:")
        for name, number in sorted(table.items(), key=lambda item: (-item[1], item[0])):
            print(f"  {number:>9}  {name}")
    if failed:
        print(f"\nthe first that failed is seed {failed[0].seed}: {failed[0].failure}")
        print("\n".join(failed[0].trace.splitlines()[-TRACE_LINES_MAX:]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
