"""The desk: the table with the telephones on it. Ports and configuration, no behaviour."""

from dataclasses import dataclass, field

from trading.conf import Config
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
