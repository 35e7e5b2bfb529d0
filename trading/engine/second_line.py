"""A second line at a venue that keeps pairs: further out than the desk's own barriers, and moved with them.

The law: the desk leaves first while it lives; the line opens nothing and costs no exit a moment; what it closes is told
by the account's fills, like everything that other hands take.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from trading.domain.book import Book
from trading.domain.positions import Position, PositionStatus
from trading.domain.resting import PairLine
from trading.domain.units import PositionId, Usd
from trading.engine.desk import Desk

WIDER = Decimal("1.5")
"""How much further out than the desk's own barriers, which look at executable prices net of all fees."""
FEES_ROOM = Decimal("0.004")
"""Besides, as a fraction of the notional: the venue counts profit and loss before fees and by marks."""
DRAW_AGAIN = timedelta(minutes=2)
DRAW_AGAIN_IN_DOUBT = timedelta(seconds=10)


@dataclass
class Memory:
    """What was drawn last, and when each is to be drawn again. Losing it costs drawing once more."""

    drawn: dict[PositionId, tuple[PairLine, datetime]] = field(default_factory=dict)


def line_of(position: Position) -> PairLine:
    """Where the venue is to close *position* should the desk not."""
    plan, notional = position.exit_plan, position.entry_notional
    room = FEES_ROOM * notional
    return PairLine(
        position.long.coin,
        position.long.held,
        position.short.coin,
        position.short.held,
        take_profit=Usd(max(plan.take_profit * notional, plan.take_profit_usd or 0) * WIDER + room),
        stop_loss=Usd(max(plan.stop_loss * notional, plan.stop_loss_usd or 0) * WIDER + room),
    )


def due(desk: Desk, memory: Memory, book: Book) -> tuple[Position, ...]:
    """The open positions whose line is to be drawn now: new and changed ones at once, the others again and again."""
    if not desk.venue.traits.keeps_pairs or not desk.config.resting_protection:
        return ()
    standing = [one for one in book.standing_positions() if one.status is PositionStatus.OPEN and not one.lost]
    memory.drawn = {one.id: memory.drawn[one.id] for one in standing if one.id in memory.drawn}
    return tuple(one for one in standing if _is_due(memory.drawn.get(one.id), line_of(one), desk.clock.now()))


def draw(desk: Desk, memory: Memory, positions: tuple[Position, ...]) -> None:
    """Draw the lines of *positions*; what the venue does not confirm is drawn again soon."""
    lines = {one.id: line_of(one) for one in positions if one.long.held and one.short.held}
    stands = desk.venue.draw_lines(tuple(lines.values()))
    again = desk.clock.now() + (DRAW_AGAIN if stands else DRAW_AGAIN_IN_DOUBT)
    memory.drawn |= {position_id: (line, again) for position_id, line in lines.items()}


def _is_due(drawn: tuple[PairLine, datetime] | None, line: PairLine, now: datetime) -> bool:
    return drawn is None or drawn[0] != line or now >= drawn[1]
