"""The book: every trade of the ledger in memory, indexed, with the positions they add up to.

A store keeps one and feeds it; engines read it. Methods return copies, so a reader is never disturbed by a writer.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import RLock

from trading.domain.errors import PositionNotFound, TradeNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Pair
from trading.domain.positions import Position, Watch, position_of
from trading.domain.trades import Trade
from trading.domain.units import PositionId, TradeId


class Book:
    """All trades, watches and positions known. Iteration order is the order of acceptance."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._trades: dict[TradeId, Trade] = {}
        self._live: dict[TradeId, Trade] = {}
        self._of_signal: dict[str, list[TradeId]] = {}
        self._of_key: dict[str, TradeId] = {}
        self._of_position: dict[PositionId, list[TradeId]] = {}
        self._watches: dict[PositionId, Watch] = {}
        self._positions: dict[PositionId, Position] = {}
        self._standing: dict[PositionId, Position] = {}
        self._approvals: dict[str, TradeId] = {}
        self._untold: dict[PositionId, Position] = {}
        self._losing_exits: dict[Pair, datetime] = {}

    def put_trade(self, trade: Trade) -> None:
        """Take in a new trade or a newer version of a known one."""
        with self._lock:
            if trade.id not in self._trades:
                self._index(trade)
            self._trades[trade.id] = trade
            if trade.live:
                self._live[trade.id] = trade
            else:
                self._live.pop(trade.id, None)
            self._project(trade.terms.position_id)

    def put_watch(self, watch: Watch) -> None:
        """Take in the watch of a position; its trades may follow later."""
        with self._lock:
            self._watches[watch.position_id] = watch
            if watch.position_id in self._of_position:
                self._project(watch.position_id)

    def trades(self) -> tuple[Trade, ...]:
        with self._lock:
            return tuple(self._trades.values())

    def live_trades(self) -> tuple[Trade, ...]:
        with self._lock:
            return tuple(self._live.values())

    def trade(self, trade_id: TradeId) -> Trade:
        """Raises TradeNotFound."""
        with self._lock:
            trade = self._trades.get(trade_id)
        if trade is None:
            raise TradeNotFound(f"there is no trade {trade_id}")
        return trade

    def find_trade(self, trade_id: TradeId) -> Trade | None:
        with self._lock:
            return self._trades.get(trade_id)

    def trades_of_signal(self, signal_id: str) -> tuple[Trade, ...]:
        """The opening trades of a signal, first attempt first."""
        with self._lock:
            return tuple(self._trades[trade_id] for trade_id in self._of_signal.get(signal_id, ()))

    def trade_of_key(self, request_key: str) -> Trade | None:
        """The opening trade that a request key made, if it made one."""
        with self._lock:
            trade_id = self._of_key.get(request_key)
            return self._trades[trade_id] if trade_id is not None else None

    def trade_of_approval(self, approval_id: str) -> TradeId | None:
        with self._lock:
            return self._approvals.get(approval_id)

    def trades_of_position(self, position_id: PositionId) -> tuple[Trade, ...]:
        """The opening trade of a position and its closing trades, oldest first."""
        with self._lock:
            return tuple(self._trades[trade_id] for trade_id in self._of_position.get(position_id, ()))

    def watch(self, position_id: PositionId) -> Watch | None:
        with self._lock:
            return self._watches.get(position_id)

    def position(self, position_id: PositionId) -> Position:
        """Raises PositionNotFound."""
        with self._lock:
            position = self._positions.get(position_id)
        if position is None:
            raise PositionNotFound(f"there is no position {position_id}")
        return position

    def positions(self) -> tuple[Position, ...]:
        """All of them, newest first."""
        with self._lock:
            return tuple(reversed(self._positions.values()))

    def standing_positions(self) -> tuple[Position, ...]:
        """Those that are not closed, oldest first: what limits count and sweeps look at."""
        with self._lock:
            return tuple(self._standing.values())

    def untold(self) -> tuple[Position, ...]:
        """Closed positions whose end Guardian has approved the beginning of and has not been told yet."""
        with self._lock:
            return tuple(self._untold.values())

    def losing_exits(self) -> Mapping[Pair, datetime]:
        """When each pair was last left by its stop loss or by liquidation."""
        with self._lock:
            return dict(self._losing_exits)

    def _index(self, trade: Trade) -> None:
        terms = trade.terms
        ids = self._of_position.setdefault(terms.position_id, [])
        ids.append(trade.id)
        if trade.opens:
            if terms.signal is not None:
                self._of_signal.setdefault(terms.signal.id, []).append(trade.id)
            if terms.request_key:
                self._of_key[terms.request_key] = trade.id
            if terms.approval is not None:
                self._approvals[terms.approval.id] = trade.id

    def _project(self, position_id: PositionId) -> None:
        trades = [self._trades[trade_id] for trade_id in self._of_position[position_id] if trade_id in self._trades]
        if not trades or not trades[0].opens:
            return
        position = position_of(trades, self._watches.get(position_id))
        self._positions[position_id] = position
        watch = self._watches.get(position_id)
        if position.closed and position.approval is not None and not (watch is not None and watch.outcome_told):
            self._untold[position_id] = position
        else:
            self._untold.pop(position_id, None)
        if position.closed:
            self._standing.pop(position_id, None)
            if (
                position.exit_reason in (ExitReason.STOP_LOSS, ExitReason.LIQUIDATION)
                and position.exited_at is not None
            ):
                last = self._losing_exits.get(position.pair, position.exited_at)
                self._losing_exits[position.pair] = max(last, position.exited_at)
        else:
            self._standing[position_id] = position


def book_of(trades: Iterable[Trade], watches: Iterable[Watch] = ()) -> Book:
    """A book of its own from loose records: for verification and for tests."""
    book = Book()
    for watch in watches:
        book.put_watch(watch)
    for trade in trades:
        book.put_trade(trade)
    return book
