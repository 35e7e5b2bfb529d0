"""What a benchmark has found: figures with their aims, and the comparison with those that were committed.

The law: what is promised is a ratio or has a bound of its own; a figure that depends on the machine is only told.
Ratios depend on it, too: what waits for a disk and what computes do not become faster alike. So a run is compared with
one of the same pace.
"""

import json
import statistics
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

REGRESSION_MAX = 1.25
PACE_APART_MAX = 1.25
"""How many times as long a fixed piece of work may take on a machine whose ratios are still comparable."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds: the middle, the slow end, and how far the quartiles lie apart."""

    p50: float
    p99: float
    quartiles_apart: float

    @property
    def words(self) -> str:
        return f"p50 {self.p50:8.2f} ms   p99 {self.p99:8.2f} ms   quartiles {self.quartiles_apart:.2f} ms apart"


def spread_of(samples: Sequence[float]) -> Spread:
    ordered = sorted(samples)
    low, _, high = statistics.quantiles(ordered, n=4)
    return Spread(statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], high - low)


def whole_lives(text: str) -> int:
    """A number of ended trades, for the command line: each position has two."""
    number = int(text)
    if number < 2 or number % 2:
        raise ArgumentTypeError(
            f"{text} is no even number from 2: a position has two trades, its opening and its close"
        )
    return number


def milliseconds(job: Callable[[], object]) -> float:
    started = perf_counter()
    job()
    return (perf_counter() - started) * 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """One value with its unit. `aim` is a bound; `least` says that it bounds from below. A `ratio` is compared with the
    baseline."""

    value: float
    unit: str
    aim: float | None = None
    least: bool = False
    ratio: bool = False

    @property
    def held(self) -> bool:
        return self.aim is None or (self.value >= self.aim if self.least else self.value <= self.aim)


@dataclass
class Figures:
    """Everything measured, by name, and the samples behind it."""

    found: dict[str, Figure] = field(default_factory=dict)
    spreads: dict[str, Spread] = field(default_factory=dict)

    def ratio(self, name: str, value: float, aim: float | None = None, *, least: bool = False) -> None:
        self.found[name] = Figure(value, "x", aim, least, ratio=True)

    def note(self, name: str, value: float, unit: str, aim: float | None = None, *, least: bool = False) -> None:
        self.found[name] = Figure(value, unit, aim, least)

    def spread(self, name: str, samples: Sequence[float]) -> Spread:
        self.spreads[name] = spread_of(samples)
        return self.spreads[name]

    def table(self) -> str:
        """Ratios first, then what is measured in units of its own, then the samples."""
        rows = sorted(self.found.items(), key=lambda one: not one[1].ratio)
        return "\n".join(
            [_row(name, figure) for name, figure in rows]
            + [f"  {name:44} {spread.words}" for name, spread in self.spreads.items()]
        )

    def as_json(self) -> dict[str, object]:
        return {
            "figures": {name: {"value": round(one.value, 4), "unit": one.unit} for name, one in self.found.items()},
            "milliseconds": {
                name: {"p50": one.p50, "p99": one.p99, "quartiles_apart": one.quartiles_apart}
                for name, one in self.spreads.items()
            },
        }

    def regressions(self, baseline: Mapping[str, float]) -> list[str]:
        """The ratios that are worse than those of `baseline`, by name, by more than REGRESSION_MAX, in words."""
        worse = []
        for name, figure in self.found.items():
            before = baseline.get(name)
            if not figure.ratio or not before or not figure.value:
                continue
            factor = before / figure.value if figure.least else figure.value / before
            if factor > REGRESSION_MAX:
                worse.append(f"{name}: {figure.value:.2f}, was {before:.2f}")
        return worse

    def ratios(self) -> dict[str, float]:
        return {name: round(one.value, 3) for name, one in sorted(self.found.items()) if one.ratio}


@dataclass(frozen=True, slots=True)
class Baseline:
    """The ratios of one run, and the milliseconds that the fixed piece of work took in it."""

    pace: float
    ratios: Mapping[str, float]

    def apart(self, pace: float) -> float:
        """How many times as long the slower of the two takes; 1 for the same."""
        return max(pace, self.pace) / min(pace, self.pace)


def read_baselines(path: Path) -> list[Baseline]:
    """Empty when there is none yet."""
    if not path.exists():
        return []
    return [Baseline(one["pace_ms"], one["ratios"]) for one in json.loads(path.read_text(encoding="utf-8"))]


def write_baselines(path: Path, baselines: Sequence[Baseline]) -> None:
    rows = [
        {"pace_ms": round(one.pace, 2), "ratios": dict(one.ratios)}
        for one in sorted(baselines, key=lambda one: one.pace)
    ]
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def comparable(baselines: Sequence[Baseline], pace: float) -> Baseline | None:
    """The one whose pace is nearest; None where even that was a machine too different."""
    nearest = min(baselines, key=lambda one: one.apart(pace), default=None)
    return nearest if nearest is not None and nearest.apart(pace) <= PACE_APART_MAX else None


def with_run(baselines: Sequence[Baseline], run: Baseline) -> list[Baseline]:
    """`run` in the place of those that it would be compared with."""
    return [*(one for one in baselines if one.apart(run.pace) > PACE_APART_MAX), run]


def _row(name: str, figure: Figure) -> str:
    aim = ""
    if figure.aim is not None:
        word = "at least" if figure.least else "at most"
        aim = f"   ({word} {figure.aim:g}: {'held' if figure.held else 'NOT HELD'})"
    return f"{name:58} {figure.value:9.2f} {figure.unit:4}{aim}"
