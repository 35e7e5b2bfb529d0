"""Where a position has been: its marks since entry, thinned as it grows old, for the eye only.

The law: a trail lives in the cache and may vanish; nothing is decided by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.positions import Position
from trading.domain.units import PositionId
from trading.engine.desk import Desk
from trading.engine.valuing import Mark
from trading.ports import Json
from trading.utils.trade_calculator import calculate_spread

KEPT_MAX = 5_000
SHOWN_MAX = 600
EVERY_MIN = timedelta(seconds=1)
POINTS_AN_AGE = 600
"""A position as old as this many steps is followed in larger ones, so that a week has some thousand points."""

TTL_SECONDS = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class TrailPoint:
    """One mark: `spread` is price(A) / price(B) - 1 at mid, `exit_return` what leaving would have made then."""

    at: datetime
    spread: Decimal
    exit_return: Decimal | None


def follow(desk: Desk, last: dict[PositionId, datetime], marks: Sequence[tuple[Position, Mark]]) -> None:
    """Add those of *marks* that are due to their trails; *last* remembers when each was added to, of these only."""
    due: dict[str, Json] = {}
    for gone in last.keys() - {position.id for position, _ in marks}:
        del last[gone]
    for position, mark in marks:
        step = max(EVERY_MIN, (mark.taken_at - position.entered_at) / POINTS_AN_AGE)
        if position.id not in last or mark.taken_at - last[position.id] >= step:
            last[position.id] = mark.taken_at
            due[_key(position.id)] = _encoded(position, mark)
    if due:
        desk.cache.push_many(due, KEPT_MAX, TTL_SECONDS)


def trail(desk: Desk, position_id: PositionId) -> tuple[TrailPoint, ...]:
    """The marks of a position since entry, oldest first, as far as they are still known. Raises PositionNotFound."""
    position = desk.store.book().position(position_id)
    points = [point for value in desk.cache.tail(_key(position.id), KEPT_MAX) if (point := _decoded(value)) is not None]
    stride = max(-(-len(points) // SHOWN_MAX), 1)
    return tuple(points[::stride][::-1])


def _key(position_id: PositionId) -> str:
    return f"trail:{position_id}"


def _encoded(position: Position, mark: Mark) -> Json:
    mids = {position.long.coin: mark.long_mid, position.short.coin: mark.short_mid}
    spread = calculate_spread(mids[position.pair.base], mids[position.pair.quote])
    returned = None if mark.exit_return is None else f"{mark.exit_return:.8f}"
    return [mark.taken_at.isoformat(), f"{spread:.10f}", returned]


def _decoded(value: Json) -> TrailPoint | None:
    """What `_encoded` wrote; None for anything else, for a cache may hold what it likes."""
    if not isinstance(value, list) or len(value) != 3:
        return None
    try:
        at = datetime.fromisoformat(str(value[0]))
        spread = Decimal(str(value[1]))
        returned = None if value[2] is None else Decimal(str(value[2]))
    except (ValueError, ArithmeticError):
        return None
    sound = at.tzinfo is not None and spread.is_finite() and (returned is None or returned.is_finite())
    return TrailPoint(at, spread, returned) if sound else None
