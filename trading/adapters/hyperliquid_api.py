"""The two doors of Hyperliquid's HTTP API, read and write, and its clock as seen through them.

The law: every request is paid for from the budget before it leaves; a read is repeated after a broken connection or a
gateway's trouble, for a kept-alive connection may have died in idleness; a write is sent once, whatever happens.
Nothing is sent by constructing anything.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trading.adapters.http import Answer, Peer
from trading.adapters.hyperliquid_actions import Refusal, Unclear, decode_http_refusal
from trading.adapters.hyperliquid_budget import Lane, WeightMeter
from trading.adapters.hyperliquid_wire import decode_time
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import RejectReason
from trading.ports import Clock

MAINNET_URL = "https://api.hyperliquid.xyz"
TESTNET_URL = "https://api.hyperliquid-testnet.xyz"
URL_VARIABLE = "HYPERLIQUID_API_URL"
EXCHANGE_SECONDS_MAX = 3.0
# The first repeat is at once: a connection that died in idleness is replaced by a fresh one.
READ_PAUSES_SECONDS = (0.0, 0.1, 0.3)
SKEW_AGE_MAX_SECONDS = 30.0
# Our clock has been set when it has gone by another amount than the monotonic one: what was measured before is void.
CLOCK_SET_SECONDS = 0.5
# Blocks are stamped a few tenths of a second apart. No machine's clock drifts by that much within the time for which
# what was measured is believed rather than what says that the venue's clock has gone back.
LAG_MIN = timedelta(seconds=0.5)
LAG_SECONDS_MAX = 600.0
SKEW_WARNING = timedelta(seconds=1)
SKEW_MAX = timedelta(seconds=2)
LIGHT = 2
HEAVY = 20
ROLE = 60
_TRY_AGAIN = frozenset({500, 502, 503, 504})


def network_of(base_url: str) -> str:
    """mainnet, testnet, or `local` for anything else, which is signed for as testnet is."""
    return {MAINNET_URL: "mainnet", TESTNET_URL: "testnet"}.get(base_url.rstrip("/"), "local")


@dataclass(frozen=True, slots=True)
class Skew:
    """How far the venue's clock is ahead of ours, and by how much that may be wrong either way."""

    ahead: timedelta
    uncertain: timedelta

    def surely_exceeds(self, bound: timedelta) -> bool:
        """True when the clocks are further apart than *bound* even if the measurement erred in their favour."""
        return abs(self.ahead) - self.uncertain > bound

    @property
    def earliest(self) -> timedelta:
        """The least that the venue's clock may be ahead."""
        return self.ahead - self.uncertain

    @property
    def latest(self) -> timedelta:
        """The most that the venue's clock may be ahead."""
        return self.ahead + self.uncertain

    @property
    def correction(self) -> timedelta:
        """What makes an instant of ours one of the venue's, where our clock is surely wrong; else nothing."""
        return self.ahead if self.surely_exceeds(SKEW_MAX) else timedelta(0)


class HyperliquidApi:
    """*base_url* over one session, each exchange within *exchange_seconds*. Safe for several threads.

    Raises InvalidRequest for a *base_url* that is no use.
    """

    def __init__(
        self, base_url: str, meter: WeightMeter, clock: Clock, exchange_seconds: float = EXCHANGE_SECONDS_MAX
    ) -> None:
        self.meter = meter
        self._exchange_seconds = exchange_seconds
        self._clock = clock
        # One pool of connections: the read that comes just before a write warms the connection that the write takes.
        self._peer = Peer("Hyperliquid", URL_VARIABLE, base_url, exchange_seconds, clock, VenueUnavailable)
        self._lock = threading.Lock()
        self._skew: tuple[float, datetime, Skew] | None = None
        self._skew_asked_at = 0.0

    def read(self, request: Mapping[str, object], weight: int, lane: Lane) -> object:
        """The decoded answer to `POST /info`. Raises VenueUnavailable, also when the budget forbids to ask.

        Repeats included it takes no longer than one exchange may.
        """
        ends_at = self._clock.monotonic() + self._exchange_seconds
        for pause in READ_PAUSES_SECONDS:
            try:
                answer = self._ask(request, weight, lane, ends_at)
            except VenueUnavailable as error:
                if "status" in error.facts or self._clock.monotonic() + pause >= ends_at:
                    raise
            else:
                if answer.status not in _TRY_AGAIN:
                    return self._peer.decoded(answer)
            self._clock.sleep(pause)
        return self._peer.decoded(self._ask(request, weight, lane, ends_at))

    def _ask(self, request: Mapping[str, object], weight: int, lane: Lane, ends_at: float) -> Answer:
        if not self.meter.spend(weight, lane):
            raise VenueUnavailable("the venue's request budget of this minute is spent", status="budget")
        answer = self._peer.post("/info", request, ends_at - self._clock.monotonic())
        if answer.status == 429:
            self.meter.refused()
            raise VenueUnavailable("Hyperliquid says that too much was asked of it (429)", status=429)
        return answer

    def write(self, request: Mapping[str, object], weight: int, lane: Lane) -> object | Refusal | Unclear:
        """The decoded answer to `POST /exchange`, sent once; Refusal when nothing was sent or the venue could not read
        it, Unclear when nobody knows what became of it. Never raises."""
        if not self.meter.spend(weight, lane):
            return Refusal(RejectReason.RATE_LIMIT, "the venue's request budget of this minute is spent: nothing sent")
        try:
            answer = self._peer.post("/exchange", request)
        except VenueUnavailable as error:
            return Unclear(error.detail)
        if answer.status == 429:
            self.meter.refused()
        if not answer.ok:
            words = f"Hyperliquid answered with status {answer.status}"
            return decode_http_refusal(answer.status, answer.content) or Unclear(words)
        try:
            return self._peer.decoded(answer)
        except VenueUnavailable as error:
            return Unclear(error.detail)

    def timed(self, request: Mapping[str, object], weight: int, lane: Lane) -> tuple[object, datetime, datetime]:
        """The answer, and our instants before asking and after it came."""
        asked_at = self._clock.now()
        answer = self.read(request, weight, lane)
        return answer, asked_at, self._clock.now()

    def saw_venue_time(self, venue_at: datetime, asked_at: datetime, answered_at: datetime) -> Skew:
        """Note that the venue's clock showed *venue_at* some time between our two instants; the skew that is believed.

        A server that has fallen behind stamps its answers with a time that is past, and none with one that is to come:
        where the clock has been seen surely later, it is the server that is late.
        """
        half = (answered_at - asked_at) / 2
        skew = Skew(venue_at - (asked_at + half), half)
        known = self._known_skew()
        with self._lock:
            self._skew_asked_at = self._clock.monotonic()
            if known is not None and known[1] <= LAG_SECONDS_MAX and skew.latest < known[0].earliest - LAG_MIN:
                return known[0]
            self._skew = (self._skew_asked_at, self._clock.now(), skew)
        return skew

    def skew(self, lane: Lane) -> Skew:
        """The present skew: the last one seen, measured anew when that is old, or our clock was set since. Raises
        VenueUnavailable."""
        known = self._known_skew()
        if known is not None and self._clock.monotonic() - self._skew_asked_at <= SKEW_AGE_MAX_SECONDS:
            return known[0]
        answer, asked_at, answered_at = self.timed({"type": "exchangeStatus"}, LIGHT, lane)
        return self.saw_venue_time(decode_time(answer), asked_at, answered_at)

    def correction(self) -> timedelta | None:
        """What makes an instant of ours one of the venue's, by the last skew seen, however long ago: nothing where our
        clock is not surely wrong. None when no skew is known. Asks nothing."""
        known = self.last_skew()
        return None if known is None else known.correction

    def last_skew(self) -> Skew | None:
        """The last skew seen, however long ago. None when none is known. Asks nothing."""
        known = self._known_skew()
        return None if known is None else known[0]

    def _known_skew(self) -> tuple[Skew, float] | None:
        """The last skew seen and its age in seconds; None when there is none, or our clock was set since."""
        with self._lock:
            known = self._skew
        if known is None:
            return None
        seconds, gone = self._clock.monotonic() - known[0], self._clock.now() - known[1]
        return (known[2], seconds) if abs(gone.total_seconds() - seconds) <= CLOCK_SET_SECONDS else None
