"""How often one caller may ask: THROTTLE_READ_PER_MINUTE and THROTTLE_TRADE_PER_MINUTE, per token or address.

The law: in any sixty seconds no more are let in than configured; the counts live in this process, so that no Redis is
needed to keep a limit or to answer; what only closes is never counted (such a view has no throttle at all).
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from trading.authentication import ANONYMOUS, Caller
from trading.bootstrap import get_desk
from trading.conf import Scope
from trading.domain.errors import StoreCorrupt
from trading.ports import Clock

if TYPE_CHECKING:
    # Settings name this module as a default, and importing REST framework's views reads those defaults.
    from rest_framework.views import APIView

WINDOW_SECONDS = 60.0
CALLERS_MAX = 1000


class Turnstile:
    """The latest admissions of every caller. Bounded: of too many callers the one longest not seen is forgotten."""

    def __init__(self) -> None:
        self._admitted: OrderedDict[Hashable, deque[float]] = OrderedDict()
        self._lock = Lock()

    def wait_of(self, caller: Hashable, limit: int, now: float) -> float:
        """Zero when *caller* is let in at *now*, and then it counts; else the seconds until it would be."""
        with self._lock:
            admitted = self._admitted.get(caller)
            if admitted is None or admitted.maxlen != limit:
                admitted = self._admitted[caller] = deque(maxlen=limit)
            self._admitted.move_to_end(caller)
            if len(self._admitted) > CALLERS_MAX:
                self._admitted.popitem(last=False)
            if len(admitted) == limit and now - admitted[0] < WINDOW_SECONDS:
                return admitted[0] + WINDOW_SECONDS - now
            admitted.append(now)
            return 0.0


class CallerThrottle(BaseThrottle):
    """The throttle of every view that names it: what changes something counts as a trade, all else as a read."""

    def __init__(self) -> None:
        self._wait = 0.0

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Whether the request may go on. Without a desk it may: nothing can be traded, and the answer says why."""
        if request.method in getattr(view, "free_methods", ()):
            return True
        try:
            desk = get_desk()
        except StoreCorrupt:
            return True
        trades = request.method not in SAFE_METHODS and getattr(view, "write_scope", Scope.TRADE) is not Scope.READ
        limit = desk.config.throttle_trade_per_minute if trades else desk.config.throttle_read_per_minute
        if limit > 0:
            caller = (trades, *caller_key(request))
            self._wait = _turnstile_of(desk.clock).wait_of(caller, limit, desk.clock.monotonic())
        return self._wait <= 0

    def wait(self) -> float:
        return self._wait


def caller_key(request: Request) -> tuple[str, str]:
    """Whose requests count together: those of one token, or those of one address without any."""
    if isinstance(request.auth, Caller) and request.auth.name != ANONYMOUS:
        return ("token", request.auth.name)
    return ("address", str(request.META.get("REMOTE_ADDR") or ""))


# One to a clock: seconds of another clock mean nothing.
_turnstiles: WeakKeyDictionary[Clock, Turnstile] = WeakKeyDictionary()
_turnstiles_lock = Lock()


def _turnstile_of(clock: Clock) -> Turnstile:
    with _turnstiles_lock:
        return _turnstiles.setdefault(clock, Turnstile())
