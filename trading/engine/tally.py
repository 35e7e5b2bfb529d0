"""What the ledger adds up to, as numbers that only grow: orders, fills, fees, repairs.

The law: every number is a sum over trades, each counted once at its newest version; a trade that moves to the archive
stays counted. Reading again costs one look at each trade in memory and work for those that changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from threading import Lock

from trading.domain.book import Book
from trading.domain.orders import OrderStatus
from trading.domain.trades import LegsUnbalanced, OrdersReported, Trade
from trading.domain.units import ONE, ZERO, TradeId
from trading.engine.holdings import fills_of

Key = tuple[str, ...]
"""The name of a number and the values of its labels."""

Counts = Mapping[Key, Decimal]


@dataclass
class Tally:
    """The sums of one book in one process. It begins with what is in the book's memory at the first reading."""

    sums: dict[Key, Decimal] = field(default_factory=dict)
    known: dict[TradeId, tuple[Trade, Counts]] = field(default_factory=dict)
    archived_until: datetime | None = None
    lock: Lock = field(default_factory=Lock)

    def read(self, book: Book) -> Counts:
        """The sums now."""
        with self.lock:
            trades = {trade.id: trade for trade in book.trades()}
            for trade_id in self.known.keys() - trades.keys():
                gone, _ = self.known.pop(trade_id)
                self.archived_until = max(self.archived_until or gone.terms.accepted_at, gone.terms.accepted_at)
            for trade in trades.values():
                self._take(trade)
            return dict(self.sums)

    def _take(self, trade: Trade) -> None:
        before, counted = self.known.get(trade.id, (None, {}))
        if before is trade:
            return
        if before is None and self.archived_until is not None and trade.terms.accepted_at <= self.archived_until:
            return  # Back from the archive, for something late: it is in the sums already.
        counts = counts_of(trade)
        for key in counts.keys() | counted.keys():
            self.sums[key] = self.sums.get(key, ZERO) + counts.get(key, ZERO) - counted.get(key, ZERO)
        self.known[trade.id] = (trade, counts)


def counts_of(trade: Trade) -> Counts:
    """What one trade adds to the sums."""
    counts: dict[Key, Decimal] = {}
    for key, amount in _counted(trade):
        counts[key] = counts.get(key, ZERO) + amount
    return counts


def _counted(trade: Trade) -> Iterator[tuple[Key, Decimal]]:
    effect = trade.terms.effect.value
    yield ("trades", effect, trade.status.value if not trade.live else "LIVE"), ONE
    for order in trade.orders:
        status = trade.report_of(order).status
        if not status.in_doubt:
            yield ("orders", effect, status.value), ONE
    for fill in fills_of(trade):
        yield ("fees",), fill.fees
        if fill.quantity:
            yield ("fills", effect), ONE
            yield ("turnover", effect), fill.notional
            yield ("slippage", effect), (fill.notional - fill.quantity * fill.arrival_price) * fill.side.sign
    for event in trade.events:
        if isinstance(event, LegsUnbalanced):
            yield ("repairs", effect), ONE
        if isinstance(event, OrdersReported):
            unknown = sum(1 for report in event.reports if report.status is OrderStatus.UNKNOWN)
            if unknown:
                yield ("doubts", effect), Decimal(unknown)
    yield ("naked",), trade.naked.usd_seconds
