"""Everything that can go wrong, as one tree. Each class carries a stable `code`; HTTP is not spoken here.

DeskError
├── InvalidNumber          a pure function was given something that is no usable number
├── InvalidRequest         the caller's content is wrong; `fields` says where
├── NotFound               signal, position or trade
├── Refused                the desk's own no: state, signal, idempotency, risk, Guardian
├── VenueRejected          the venue's no; nothing was filled
├── Unavailable            a peer or the store gave no usable answer: try again later
│   ├── VenueUnavailable, ScoutUnavailable, GuardianUnavailable
│   └── StoreCorrupt       files that cannot be trusted; never mistaken for empty ones
├── Busy                   somebody else holds the seat or the book
│   └── StoreHeld          the ledger, the book or the desk's state, longer than anybody who lives and works does
└── InvariantBroken        a bug: a record was asked to do what its table forbids
"""

from collections.abc import Mapping
from typing import ClassVar


class DeskError(Exception):
    """Root of all domain errors. `detail` is for people, `facts` for programs."""

    code: ClassVar[str] = "DESK_ERROR"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts: Mapping[str, object] = facts


class InvalidNumber(DeskError, ValueError):
    """A number is missing, not finite, or outside what it can mean. `field` names it."""

    code = "INVALID_NUMBER"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)
        self.field = field


class InvalidRequest(DeskError):
    """The request's content is wrong; `fields` maps each wrong field to what is wrong and how to mend it."""

    code = "INVALID_REQUEST"

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in fields.items()), fields=dict(fields))
        self.fields = dict(fields)


class NotFound(DeskError):
    code = "NOT_FOUND"


class SignalNotFound(NotFound):
    code = "SIGNAL_NOT_FOUND"


class PositionNotFound(NotFound):
    code = "POSITION_NOT_FOUND"


class TradeNotFound(NotFound):
    code = "TRADE_NOT_FOUND"


class Refused(DeskError):
    """The desk says no, and asking again unchanged gives the same answer until something else changes."""

    code = "REFUSED"


class SignalNotPending(Refused):
    code = "SIGNAL_NOT_PENDING"


class SignalExpired(Refused):
    code = "SIGNAL_EXPIRED"


class SignalLowConfidence(Refused):
    code = "SIGNAL_LOW_CONFIDENCE"


class IdempotencyMismatch(Refused):
    code = "IDEMPOTENCY_MISMATCH"


class TradingHalted(Refused):
    code = "TRADING_HALTED"


class CanceledByHand(Refused):
    """Somebody has canceled the opening, or closed its position, before anything was filled."""

    code = "TRADE_CANCELED"


class MonitorDown(Refused):
    code = "MONITOR_DOWN"


class StopInProgress(Refused):
    code = "STOP_IN_PROGRESS"


class ResumeRefused(Refused):
    code = "RESUME_REFUSED"


class TradeNotSuspended(Refused):
    """Only a suspended trade can be let go on."""

    code = "TRADE_NOT_SUSPENDED"


class RiskDenied(Refused):
    """One or more limits forbid the opening; `facts["breaches"]` holds them all."""

    code = "RISK_DENIED"


class GuardianRejected(Refused):
    code = "GUARDIAN_REJECTED"


class VenueRejected(DeskError):
    """The venue refused the orders and nothing was filled."""

    code = "VENUE_REJECTED"


class Unavailable(DeskError):
    code = "UNAVAILABLE"


class VenueUnavailable(Unavailable):
    code = "VENUE_UNAVAILABLE"


class ScoutUnavailable(Unavailable):
    code = "SCOUT_UNAVAILABLE"


class GuardianUnavailable(Unavailable):
    code = "GUARDIAN_UNAVAILABLE"


class StoreCorrupt(Unavailable):
    """A file in DATA_DIR does not parse or check, or cannot be written; `facts` has the file and, where known, the
    line."""

    code = "STORE_CORRUPT"


class Busy(DeskError):
    """The lock wanted is held by somebody else and was not released in time."""

    code = "BUSY"


class StoreHeld(Busy):
    """Somebody holds the ledger, the book or the desk's state longer than anybody who is at work does: a process that
    was stopped, or hangs. For as long as that lasts nothing can be written."""


class InvariantBroken(DeskError):
    """A bug: the transition table or a guard forbids what was asked."""

    code = "INVARIANT_BROKEN"
