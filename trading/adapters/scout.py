"""Scout over HTTP: the signals it offers, checked one by one.

The law: a signal is taken whole or not at all. A malformed one is left out and logged, never mended, and never takes
the others with it; its direction must be said twice, by `signal_type` and by the sign of `zscore`, and both must agree.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import cast

from trading.adapters.http import Peer, plain_text
from trading.domain.errors import InvalidNumber, InvalidRequest, ScoutUnavailable, SignalNotFound
from trading.domain.market import Pair
from trading.domain.signals import Signal, SignalType
from trading.domain.units import ONE, Number, exact
from trading.ports import Clock, Log

SIGNALS_ASKED = 100
SIGNAL_ID_LENGTH_MAX = 128
STATUS_LENGTH_MAX = 32
ZSCORE_MAX = Decimal(100)
SPREAD_MAX = Decimal(10) ** 12
DECIMALS_MAX = 30
COMPLAINT_SECONDS = 60.0
_COMPLAINT_LENGTH_MAX = 300


class ScoutClient:
    """The SignalSource port over `GET {base_url}/api/signals/recent`.

    *zone* is the time zone of timestamps without an offset; a local time that a clock change makes ambiguous is read as
    the earlier instant, so the signal looks older, not fresher. Raises InvalidRequest for a *base_url* that is no use.
    """

    def __init__(self, base_url: str, timeout_seconds: float, zone: tzinfo, clock: Clock, log: Log) -> None:
        self._peer = Peer("Scout", "SCOUT_URL", base_url, timeout_seconds, clock, ScoutUnavailable)
        self._zone = zone
        self._clock = clock
        self._log = log
        self._complaint = ""
        self._complained_at = 0.0

    def recent(self) -> tuple[Signal, ...]:
        """What is on offer, newest first. The list may come bare or under `signals`.

        Of several signals with one id the newest counts; when the newest contradict each other at the same instant,
        none does, because nothing says which of them is meant.
        """
        answer = self._peer.get("/api/signals/recent", {"limit": str(SIGNALS_ASKED)})
        entries = answer.get("signals") if isinstance(answer, Mapping) else answer
        if not isinstance(entries, list):
            raise ScoutUnavailable("Scout answered with something that is no list of signals")
        signals, faults = self._parsed(entries)
        kept, contradictions = _one_per_id(signals)
        self._complain([*faults, *contradictions])
        return kept

    def signal(self, signal_id: str, pair: Pair | None) -> Signal:
        """The offered signal of that id; *pair* is not looked at, for Scout alone says what it offers."""
        for signal in self.recent():
            if signal.id == signal_id:
                return signal
        raise SignalNotFound(f"Scout offers no signal {signal_id}", signal_id=signal_id)

    def _parsed(self, entries: Iterable[object]) -> tuple[list[Signal], list[str]]:
        signals: list[Signal] = []
        faults: list[str] = []
        for entry in entries:
            try:
                signals.append(parse_signal(entry, self._zone))
            except (InvalidNumber, InvalidRequest) as error:
                faults.append(error.detail)
        return signals, faults

    def _complain(self, faults: list[str]) -> None:
        """One line for all *faults*, and the same line at most once a minute: this runs at every look at the list."""
        if not faults:
            return
        message = f"Scout offered {len(faults)} signal(s) that were left out; the first: {faults[0]}"
        message = plain_text(message, _COMPLAINT_LENGTH_MAX)
        now = self._clock.monotonic()
        if message == self._complaint and now - self._complained_at < COMPLAINT_SECONDS:
            return
        self._complaint, self._complained_at = message, now
        self._log.write("warning", message, left_out=len(faults))


def parse_signal(entry: object, zone: tzinfo) -> Signal:
    """One entry of Scout's list. Raises InvalidRequest or InvalidNumber, naming the field, when it is malformed."""
    if not isinstance(entry, Mapping):
        raise InvalidRequest({"signal": "must be an object"})
    signal_type = _signal_type(entry.get("signal_type"))
    zscore = _number(entry, "zscore", -ZSCORE_MAX, ZSCORE_MAX)
    if zscore == 0 or (zscore > 0) is not (signal_type is SignalType.SHORT_SPREAD):
        raise InvalidRequest({"zscore": f"{zscore:f} does not agree with the signal type {signal_type}"})
    return Signal(
        id=_identity(entry.get("id")),
        pair=Pair.parse(_text(entry.get("pair"), "pair", SIGNAL_ID_LENGTH_MAX)),
        signal_type=signal_type,
        zscore=zscore,
        correlation=_optional(entry, "correlation", -ONE, ONE),
        entry_spread=_optional(entry, "entry_spread", -SPREAD_MAX, SPREAD_MAX),
        confidence=_number(entry, "confidence", Decimal(0), ONE),
        status=_text(entry.get("status"), "status", STATUS_LENGTH_MAX),
        created_at=_instant(entry.get("timestamp"), zone),
    )


def _one_per_id(signals: Iterable[Signal]) -> tuple[tuple[Signal, ...], list[str]]:
    """The newest signal of each id, newest first, and a word on each id whose newest signals contradict each other."""
    newest: dict[str, Signal] = {}
    contradicted: set[str] = set()
    for signal in signals:
        known = newest.get(signal.id)
        if known is None or signal.created_at > known.created_at:
            newest[signal.id] = signal
            contradicted.discard(signal.id)
        elif signal.created_at == known.created_at and signal != known:
            contradicted.add(signal.id)
    kept = sorted((one for one in newest.values() if one.id not in contradicted), key=lambda one: one.id)
    kept.sort(key=lambda one: one.created_at, reverse=True)
    return tuple(kept), [f"id: {name} is given to signals that contradict each other" for name in sorted(contradicted)]


def _identity(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        # Some Scouts number their signals; an Executor's caller writes the id as text either way.
        value = str(value) if value.bit_length() < SIGNAL_ID_LENGTH_MAX else ""
    return _text(value, "id", SIGNAL_ID_LENGTH_MAX)


def _text(value: object, name: str, length_max: int) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > length_max or not value.isprintable():
        raise InvalidRequest({name: f"must be printable text of 1 to {length_max} characters"})
    return value


def _signal_type(value: object) -> SignalType:
    try:
        return SignalType(str(value))
    except ValueError as error:
        raise InvalidRequest({"signal_type": "must be short_spread or long_spread"}) from error


def _number(entry: Mapping[str, object], name: str, lowest: Decimal, highest: Decimal) -> Decimal:
    number = exact(cast(Number, entry.get(name)), name)
    # Bounded in digits too: 1e-999999 is finite, and a million characters long when it is written out.
    exponent = number.as_tuple().exponent
    if not lowest <= number <= highest or not isinstance(exponent, int) or exponent < -DECIMALS_MAX:
        raise InvalidNumber(name, f"{name} must be from {lowest:f} to {highest:f} with at most {DECIMALS_MAX} decimals")
    return number


def _optional(entry: Mapping[str, object], name: str, lowest: Decimal, highest: Decimal) -> Decimal | None:
    return None if entry.get(name) is None else _number(entry, name, lowest, highest)


def _instant(value: object, zone: tzinfo) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value, "timestamp", SIGNAL_ID_LENGTH_MAX))
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest({"timestamp": "must be an ISO 8601 instant"}) from error
