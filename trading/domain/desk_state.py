"""The trading state and what must survive beside the trades: causes, the day's baseline, Guardian's standing
rejections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from trading.domain.units import ZERO, Coin, Quantity, Usd


class TradingState(StrEnum):
    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    LIQUIDATING = "LIQUIDATING"
    HALTED = "HALTED"


class Cause(StrEnum):
    """Why the desk is REDUCING. Midnight lifts DAILY_LOSS alone; BLIND, DISK and LONG_DOUBT end with what they are
    about; the rest needs a resume."""

    DAILY_LOSS = "DAILY_LOSS"
    DRIFT = "DRIFT"
    SUSPENDED_TRADE = "SUSPENDED_TRADE"
    LONG_DOUBT = "LONG_DOUBT"
    BLIND = "BLIND"
    DISK = "DISK"
    OPERATOR = "OPERATOR"
    BROKEN_RECORD = "BROKEN_RECORD"
    OVERFILLED = "OVERFILLED"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A Guardian's no, which stands for the same signal at equal or larger size until the signal expires."""

    signal_id: str
    position_size: Usd
    reasoning: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Binding:
    """The venue, network and account that a DATA_DIR belongs to for ever."""

    venue: str
    network: str
    account: str


@dataclass(frozen=True, slots=True)
class DeskState:
    """Durable, one for the whole desk. `causes` is empty unless REDUCING; `flat_reads` counts while LIQUIDATING.

    `baseline_equity` is the equity that the day began with, read at `baseline_at`; `transferred` has come into the
    account since by no trade, in USD, negative when it left. A resume from a daily loss begins a baseline of its own;
    `made_before` is what the day had made until then.
    """

    state: TradingState = TradingState.ACTIVE
    causes: frozenset[Cause] = frozenset()
    why: str = ""
    since: datetime | None = None
    scope_account: bool = False
    flat_reads: int = 0
    baseline_day: date | None = None
    baseline_equity: Usd | None = None
    baseline_at: datetime | None = None
    transferred: Usd = Usd(ZERO)
    made_before: Usd = Usd(ZERO)
    rejections: tuple[Rejection, ...] = ()
    accepted_drift: Mapping[Coin, Quantity] = field(default_factory=dict)
    binding: Binding | None = None

    @property
    def day_base(self) -> Usd | None:
        """What the account would be worth had the day made nothing since its baseline; None before its first
        reading."""
        return None if self.baseline_equity is None else Usd(self.baseline_equity + self.transferred)

    def made_today(self, equity: Usd) -> Usd | None:
        """What the day has made of an account that is worth *equity* now, a resume in between or not."""
        return None if self.day_base is None else Usd(equity - self.day_base + self.made_before)
