"""What goes wrong in a run, drawn from its seed: chances for every call, and events at their instants.

The law: all of it ends with the storm. What a storm has begun (an outage, a halt, a thin book) is over when it is.
"""

from dataclasses import dataclass
from decimal import Decimal
from random import Random

STORM_SECONDS = (15.0, 50.0)


@dataclass(frozen=True, slots=True)
class Weather:
    """The chances of a run. Each is a share of calls; zero in good weather."""

    crash: float = 0.0
    disk_crash: float = 0.0
    power: float = 0.0
    lost_request: float = 0.0
    lost_answer: float = 0.0
    late: float = 0.0
    one_leg_lost: float = 0.0
    partial: float = 0.0
    told_late: float = 0.0
    read_fails: float = 0.0
    slow: float = 0.0
    stale_quote: float = 0.0
    no_quote: float = 0.0
    old_account: float = 0.0
    empty_account: float = 0.0
    guardian: float = 0.0
    scout: float = 0.0
    noop_proves: bool = True


def draw_weather(random: Random) -> Weather:
    """The weather of a run: about half of the faults, each at a rate of its own; one run in eight is fair."""
    if random.random() < 0.125:
        return Weather()

    def chance(*rates: float) -> float:
        return random.choice(rates) if random.random() < 0.5 else 0.0

    return Weather(
        crash=chance(0.001, 0.004, 0.015),
        disk_crash=chance(0.001, 0.004, 0.015),
        power=random.choice((0.0, 0.2, 0.6)),
        lost_request=chance(0.05, 0.2),
        lost_answer=chance(0.05, 0.2),
        late=chance(0.05, 0.2),
        one_leg_lost=chance(0.05, 0.2),
        partial=chance(0.1, 0.4),
        told_late=chance(0.1, 0.5),
        read_fails=chance(0.02, 0.15),
        slow=chance(0.02, 0.1),
        stale_quote=chance(0.05, 0.3),
        no_quote=chance(0.02, 0.1),
        old_account=chance(0.05, 0.3),
        empty_account=chance(0.01, 0.05),
        guardian=chance(0.2, 0.6),
        scout=chance(0.1, 0.4),
        noop_proves=random.random() < 0.5,
    )


GAPS = (-0.35, -0.35, -0.2, 0.2, 0.35, 0.35)
"""Beyond where what rests at the exchange fires."""


@dataclass(frozen=True, slots=True)
class Ways:
    """What the exchange can do in a run, and what people ask for besides the plain things.

    `keeps_pairs`: the way there is a service that does (see `keeper`).
    `leash`: how far from its entry each holding would be liquidated, a fraction; None for so far that nobody says.
    `fills_fail`: the share of the looks at the account's fills that come to nothing in the storm.
    """

    rests: bool = False
    leash: Decimal | None = None
    gaps: int = 0
    fills_fail: float = 0.0
    slow_closes: bool = False
    further_exits: bool = False
    keeps_pairs: bool = False

    @property
    def tells_fills(self) -> bool:
        return self.rests or self.keeps_pairs


def draw_ways(random: Random, *, wide: bool, pairs: bool = False) -> Ways:
    """Those of a run: three of four have triggers that rest, and fills that are told with them."""
    if not wide:
        return Ways(keeps_pairs=pairs)
    rests = random.random() < 0.75
    return Ways(
        rests=rests,
        leash=random.choice((None, Decimal("0.3"), Decimal("0.2"))) if rests else None,
        gaps=random.choice((0, 1, 2)) if rests else 0,
        fills_fail=random.choice((0.0, 0.5)) if rests else 0.0,
        slow_closes=random.random() < 0.5,
        further_exits=random.random() < 0.5,
        keeps_pairs=pairs,
    )


EVENTS = (
    "reads down",
    "writes down",
    "halt",
    "refuse",
    "thin",
    "jump",
    "freeze",
    "clock",
    "redis",
    "disk full",
    "liquidate",
    "deleverage",
    "outside",
    "kill web",
    "kill monitor",
    "power",
    "near liquidation",
)
"""What may happen to the world by itself."""
