"""Faults on demand: what happens to a request on the wire, and what becomes of its action meanwhile.

A fault says which requests it meets, whether their action is carried out (before the answer, long after it, never),
and what the client gets to see. Faults are used up in the order in which they were set; beside them there may be
weather, which meets a share of all requests.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Answer(StrEnum):
    """What the client sees."""

    NORMAL = "normal"
    CLOSED = "closed"  # the connection ends without an answer
    HANGS = "hangs"  # nothing for `seconds`, then the connection ends
    TOO_MANY = "too_many"  # 429 and `null`
    BAD_GATEWAY = "bad_gateway"  # 502 and a page of HTML
    SERVER_ERROR = "server_error"  # 500 and `null`
    GARBAGE = "garbage"  # 200 and no JSON
    CUT_SHORT = "cut_short"  # the first half of the right answer
    SAYS = "says"  # `body` instead of the right answer


class Commit(StrEnum):
    """What becomes of the action."""

    BEFORE = "before"  # carried out, then answered
    NEVER = "never"
    LATE = "late"  # carried out `seconds` after the request came


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune. `only` is an action or info type, "l2Book ETH" for that of one coin, or empty for all; `times`
    None lasts until it is lifted."""

    route: str
    answer: Answer
    commit: Commit = Commit.BEFORE
    only: str = ""
    times: int | None = 1
    seconds: float = 0.0
    body: object = None

    def meets(self, route: str, kind: str, coin: str = "") -> bool:
        return route == self.route and self.only in ("", kind, f"{kind} {coin}")


EXCHANGE, INFO = "/exchange", "/info"


class Faults:
    """The misfortunes to come. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: list[tuple[Fault, int | None]] = []
        self._weather: tuple[Random, float, Sequence[Fault]] | None = None
        self.met: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self._pending.append((fault, fault.times))
        return fault

    def next_for(self, route: str, kind: str, coin: str = "") -> Fault | None:
        """The fault that meets this request, used up by one."""
        with self._lock:
            for place, (fault, left) in enumerate(self._pending):
                if fault.meets(route, kind, coin):
                    if left is not None and left <= 1:
                        del self._pending[place]
                    else:
                        self._pending[place] = (fault, None if left is None else left - 1)
                    self.met.append(fault)
                    return fault
            return self._blown(route, kind)

    def _blown(self, route: str, kind: str) -> Fault | None:
        if self._weather is None:
            return None
        chance, rate, faults = self._weather
        fitting = [one for one in faults if one.meets(route, kind)]
        if not fitting or chance.random() >= rate:
            return None
        fault = chance.choice(fitting)
        self.met.append(fault)
        return fault

    def set_weather(self, seed: int, rate: float, faults: Sequence[Fault]) -> None:
        """From now on a share *rate* of the requests meets one of *faults* that fits, all drawn from *seed*."""
        with self._lock:
            self._weather = (Random(seed), rate, tuple(faults)) if rate else None

    def lift(self) -> None:
        """Forget every fault that has not happened yet, and have fair weather."""
        with self._lock:
            self._pending.clear()
            self._weather = None

    # The usual ones by name

    def lose_before_commit(self, only: str = "", times: int | None = 1) -> Fault:
        """The connection ends and the action never happened."""
        return self.add(Fault(EXCHANGE, Answer.CLOSED, Commit.NEVER, only, times))

    def lose_after_commit(self, only: str = "", times: int | None = 1) -> Fault:
        """The connection ends and the action did happen."""
        return self.add(Fault(EXCHANGE, Answer.CLOSED, Commit.BEFORE, only, times))

    def arrive_late(self, seconds: float, only: str = "", answer: Answer = Answer.CLOSED) -> Fault:
        """The client sees *answer* at once; the action happens *seconds* later, if it has not expired by then."""
        return self.add(Fault(EXCHANGE, answer, Commit.LATE, only, 1, seconds))

    def hang(self, seconds: float, route: str = EXCHANGE, commit: Commit = Commit.NEVER, only: str = "") -> Fault:
        """No answer for *seconds*, then the connection ends."""
        return self.add(Fault(route, Answer.HANGS, commit, only, 1, seconds))

    def delay(self, seconds: float, route: str = EXCHANGE, times: int | None = 1, only: str = "") -> Fault:
        """The right answer, *seconds* after the action was carried out."""
        return self.add(Fault(route, Answer.NORMAL, Commit.BEFORE, only, times, seconds))

    def reply(
        self, answer: Answer, route: str = EXCHANGE, committed: bool = False, times: int | None = 1, only: str = ""
    ) -> Fault:
        """*answer* instead of the right one: 429, 502, garbage and so on."""
        return self.add(Fault(route, answer, Commit.BEFORE if committed else Commit.NEVER, only, times))

    def say(
        self, body: object, route: str = INFO, only: str = "", times: int | None = 1, committed: bool = False
    ) -> Fault:
        """*body* as JSON instead of the right answer: an account that reads empty, an old book, a new error."""
        commit = Commit.BEFORE if committed else Commit.NEVER
        return self.add(Fault(route, Answer.SAYS, commit, only, times, body=body))

    def down(self, route: str) -> Fault:
        """502 for everything on *route* until lifted: reads without writes, or the reverse."""
        return self.add(Fault(route, Answer.BAD_GATEWAY, Commit.NEVER, "", None))


def type_of(body: Mapping[str, object]) -> str:
    """The action's type of an /exchange body, the request's type of an /info body, or nothing."""
    action = body.get("action", body)
    kind = action.get("type") if isinstance(action, dict) else None
    return kind if isinstance(kind, str) else ""
