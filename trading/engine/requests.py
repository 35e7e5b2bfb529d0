"""What callers may ask for, parsed: records between the edges and the verbs."""

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum

from trading.domain.exit_plan import TrailingStop
from trading.domain.market import Pair
from trading.domain.units import Usd, hash_of


class Execution(StrEnum):
    MARKET = "market"
    TWAP = "twap"


@dataclass(frozen=True, slots=True)
class TwapRequest:
    """A slice every `duration_seconds / slices`, the first at once. None means the configured default."""

    duration_seconds: int | None = None
    slices: int | None = None


@dataclass(frozen=True, slots=True)
class ExecuteRequest:
    """The body of POST /api/trades/execute. None means the desk's default."""

    signal_id: str
    position_size: Usd
    pair: Pair | None = None
    leverage: int = 1
    execution: Execution | None = None
    twap: TwapRequest | None = None
    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    trailing: TrailingStop | None = None
    max_holding_seconds: int | None = None
    time_window: str | None = None
    take_profit_usd: Usd | None = None
    stop_loss_usd: Usd | None = None
    take_profit_spread: Decimal | None = None
    stop_loss_spread: Decimal | None = None
    take_profit_z: Decimal | None = None
    stop_loss_z: Decimal | None = None

    @property
    def fingerprint(self) -> str:
        """A hash of the content: 1000 and 1000.0 are the same content.

        What came later and was not asked for leaves no trace, so that a request from before is still the same one.
        """
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return hash_of(*(f"{name}={_plain(one)}" for name, one in values.items() if one is not None or name in _FIRST))


_FIRST = frozenset(
    {
        *("signal_id", "position_size", "pair", "leverage", "execution", "twap", "take_profit", "stop_loss"),
        *("trailing", "max_holding_seconds", "time_window"),
    }
)


@dataclass(frozen=True, slots=True)
class ExitChange:
    """The body of PATCH /api/positions/{id}. None leaves a barrier as it is; `dropped` names those to be removed."""

    take_profit: Decimal | None = None
    stop_loss: Decimal | None = None
    trailing: TrailingStop | None = None
    max_holding_seconds: int | None = None
    take_profit_usd: Usd | None = None
    stop_loss_usd: Usd | None = None
    take_profit_spread: Decimal | None = None
    stop_loss_spread: Decimal | None = None
    take_profit_z: Decimal | None = None
    stop_loss_z: Decimal | None = None
    dropped: frozenset[str] = frozenset()

    def drops(self, name: str) -> bool:
        return name in self.dropped


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """The body of POST /api/positions/{id}/close: at once, or in slices when `twap` is there."""

    twap: TwapRequest | None = None


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, TrailingStop):
        return f"{_plain(value.arm)}/{_plain(value.gap)}"
    return value
