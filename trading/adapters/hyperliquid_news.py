"""What Hyperliquid's WebSocket says of the account: its fills as they happen, how it stands, its leverages.

The law: a word counts only while the connection that brought it lives, and a standing only when it came after what this
process has changed last. Frames of one connection are numbered, for they come in the order in which things happened.
Whoever finds nothing here asks over HTTP.
"""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from trading.adapters.hyperliquid_values import items, mapping, text
from trading.adapters.hyperliquid_wire import Fill, PerpState, decode_fills, decode_leverage, decode_state
from trading.domain.errors import VenueUnavailable
from trading.domain.units import ZERO, Coin

FILLS = "userFills"
STANDING = "clearinghouseState"
LEVERAGE = "activeAssetData"
ORDERS_KEPT = 512


class _Standing:
    """A frame that says how the account stands, read when somebody asks: there is one for every move of the market,
    and the prices behind it wait meanwhile."""

    def __init__(self, told: object, at: datetime, number: int) -> None:
        self.at = at
        self.number = number
        self._told = told
        self._state: PerpState | None = None

    def state(self) -> PerpState | None:
        """None for a malformed one. Two threads may read it at once, and find the same."""
        if self._state is None:
            try:
                self._state = decode_state(self._told)
            except VenueUnavailable:
                return None
        return self._state


class AccountNews:
    """The news of the account at *address*. Fed by the thread of the stream, read by any."""

    def __init__(self, address: str) -> None:
        self._address = address.lower()
        self._heard = threading.Condition()
        self._number = 0
        self._begun = 0
        self._fills: dict[int, dict[tuple[int, str], tuple[Fill, int]]] = {}
        self._standing: _Standing | None = None
        self._leverages: dict[Coin, tuple[bool, int, datetime, int]] = {}
        self._tells_fills = False

    @property
    def subscriptions(self) -> Sequence[Mapping[str, str]]:
        """Fills first: the standing that follows them then holds them."""
        return ({"type": FILLS, "user": self._address}, {"type": STANDING, "user": self._address})

    def subscriptions_of(self, coin: Coin) -> Sequence[Mapping[str, str]]:
        """What is wanted besides of a coin that may be traded."""
        return ({"type": LEVERAGE, "user": self._address, "coin": coin},)

    @property
    def number(self) -> int:
        """How many frames there have been; what comes later has a higher one."""
        return self._number

    @property
    def begun(self) -> int:
        """How many there had been when the present connection began, or will begin."""
        return self._begun

    def take(self, channel: object, payload: object, now: datetime) -> None:
        """Believe a frame of ours; others are passed over. Raises VenueUnavailable for a malformed one."""
        if channel not in (FILLS, STANDING, LEVERAGE):
            return
        record = mapping(payload)
        if str(record.get("user", "")).lower() != self._address:
            return
        # Read before anybody is kept waiting for it.
        past = record.get("isSnapshot") is True
        fills = decode_fills(items(record.get("fills"))) if channel == FILLS and not past else ()
        leverage = (Coin(text(record, "coin")), decode_leverage(record)) if channel == LEVERAGE else None
        standing = record.get(STANDING) if channel == STANDING and not record.get("dex") else None
        with self._heard:
            self._number += 1
            if channel == FILLS:
                self._take_fills(fills)
            if leverage is not None:
                self._leverages[leverage[0]] = *leverage[1], now, self._number
            if standing is not None:
                self._standing = _Standing(standing, now, self._number)
            self._heard.notify_all()

    def forget(self) -> None:
        """The connection is gone, and with it what it said."""
        with self._heard:
            self._begun = self._number
            self._fills.clear()
            self._standing = None
            self._leverages.clear()
            self._tells_fills = False
            self._heard.notify_all()

    def fills_of(self, quantities: Mapping[int, Decimal], seconds: float) -> tuple[tuple[Fill, ...], int] | None:
        """All fills of the orders in *quantities*, by the venue's ids, once they add up to those coins, and the number
        of the last frame that told of them. None when they are not told of within *seconds*."""

        def complete() -> bool:
            return all(sum((one.quantity for one in self._of(oid)), ZERO) >= all_of for oid, all_of in sums)

        sums = tuple(quantities.items())
        with self._heard:
            if not self._heard.wait_for(lambda: not self._tells_fills or complete(), seconds):
                return None
            if not complete():
                return None
            found = [pair for oid in quantities for pair in self._fills.get(oid, {}).values()]
            return tuple(fill for fill, _ in found), max((number for _, number in found), default=0)

    def standing_after(self, number: int, seconds: float) -> tuple[PerpState, datetime] | None:
        """How the account stands by a frame that came after frame *number*, and when it came; waits for one at most
        *seconds*, and not at all while nothing is said of the account. None, too, for a malformed one."""
        with self._heard:
            self._heard.wait_for(lambda: self._standing is None or self._standing.number > number, seconds)
            standing = self._standing
        if standing is None or standing.number <= number:
            return None
        state = standing.state()
        return None if state is None else (state, standing.at)

    def leverage_after(self, number: int, coin: Coin) -> tuple[bool, int, datetime] | None:
        """Whether *coin*'s leverage is cross, how high, and when a frame after *number* said so."""
        told = self._leverages.get(coin)
        return None if told is None or told[3] <= number else told[:3]

    def _of(self, oid: int) -> Sequence[Fill]:
        return [fill for fill, _ in self._fills.get(oid, {}).values()]

    def _take_fills(self, fills: Sequence[Fill]) -> None:
        """The snapshot that a subscription begins with is of the past; it shows that the subscription works."""
        self._tells_fills = True
        for fill in fills:
            while fill.oid not in self._fills and len(self._fills) >= ORDERS_KEPT:
                del self._fills[next(iter(self._fills))]
            self._fills.setdefault(fill.oid, {})[fill.tid, fill.coin] = fill, self._number
