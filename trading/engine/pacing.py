"""Which slice of which trade is due between two ticks, so that it goes at its instant and not at the next tick.

The law: each slice is begun here once. One that cannot go at its instant is left to the ticks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from trading.domain.trades import Trade
from trading.domain.units import TradeId
from trading.engine.schedule import is_paced, next_slice_due


@dataclass
class Slices:
    """The next slice of each trade that keeps a pace, and the one that was begun last. Losing it costs one tick."""

    _next: dict[TradeId, datetime] = field(default_factory=dict)
    _begun: dict[TradeId, datetime] = field(default_factory=dict)

    def plan(self, trades: Iterable[Trade]) -> None:
        """Take in what is live now."""
        found = {trade.id: next_slice_due(trade) for trade in trades if is_paced(trade)}
        self._begun = {trade_id: due for trade_id, due in self._begun.items() if trade_id in found}
        self._next = {
            trade_id: due for trade_id, due in found.items() if due is not None and due != self._begun.get(trade_id)
        }

    def begin(self, now: datetime) -> tuple[TradeId, ...]:
        """The trades whose slice is due *now*; they are not named again before the one after it."""
        due = tuple(trade_id for trade_id, at in self._next.items() if at <= now)
        for trade_id in due:
            self._begun[trade_id] = self._next.pop(trade_id)
        return due

    def pause(self, now: datetime, seconds: float) -> float:
        """How long to wait for the next slice, *seconds* at most."""
        return min([seconds, *(max((at - now).total_seconds(), 0.0) for at in self._next.values())])
