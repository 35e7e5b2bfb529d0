"""The desk: the table with the telephones on it. Ports and configuration, no behaviour."""

from dataclasses import dataclass, field
from datetime import datetime

from trading.conf import Config
from trading.domain.units import TradeId
from trading.engine.accounting import AccountLog, NothingKept
from trading.engine.hearing import Hearing
from trading.engine.threads import in_a_thread
from trading.ports import Approver, Begin, Cache, Clock, Log, SignalSource, Store, Venue


@dataclass(frozen=True, slots=True)
class Desk:
    config: Config
    venue: Venue
    store: Store
    cache: Cache
    signals: SignalSource
    approvals: Approver
    log: Log
    clock: Clock
    accounts: AccountLog = field(default_factory=NothingKept)
    hearing: Hearing = field(default_factory=Hearing)
    begin: Begin = in_a_thread
    overtaken: dict[TradeId, tuple[datetime, float]] = field(default_factory=dict, compare=False)
    """Trades whose last event is later than now, for the clock was set back: that instant, and when this process saw
    it, on the clock's `monotonic`."""
