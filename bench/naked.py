"""Naked exposure side by side: the service against two market orders of the official SDK, one after the other.

    python -m bench.naked [--pairs 100] [--seed 1] [--rate 0.05]

Both open and close the same pair at the same size, on markets of the exchange simulator that stand still, over real
sockets, while a share of all calls meets a fault and a share of the orders finds nobody or half of its size. The script
has the retry habit that such scripts have: what raises, or is not called filled, is sent again, up to three times.

The law: both are judged by the exchange's own fills, never by what they say. What a script has left open is counted up
to its end only, and sold off before the next pair.
"""

import argparse
import http.client
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import cast

from eth_account import Account
from hyperliquid.exchange import Exchange
from hyperliquid.utils.error import ClientError, ServerError
from requests import RequestException

from tests.processes import wait_until
from tests.servers.test_live_hyperliquid import AGENT_KEY, MASTER, LiveCase, control_of

MIDS: Mapping[str, Decimal] = {"BTC": Decimal(100_000), "ETH": Decimal(4_000)}
LEG_USD = Decimal(1000)
ETH_SIZE, BTC_SIZE = 0.25, 0.01
TRIES = 3
RETRY_SECONDS = 0.5
TIMEOUT_SECONDS = 5.0
LATE_SECONDS = 1.0
NAKED_SHARE, DOUBLED_SHARE = Decimal("0.05"), Decimal("1.5")
END_SECONDS = 60.0
POLL_SECONDS = 0.02
NOTICED_USD_SECONDS = Decimal(10)
"""A leg that stands for ten milliseconds: the fills of one action may have another stamp each."""
LOST = "Order could not immediately match against any resting orders."

EXCHANGE, INFO = {"route": "/exchange"}, {"route": "/info"}
WEATHER: Sequence[Mapping[str, object]] = (
    {**EXCHANGE, "answer": "closed", "commit": "never"},
    {**EXCHANGE, "answer": "closed", "commit": "before"},
    {**EXCHANGE, "answer": "bad_gateway", "commit": "never"},
    {**EXCHANGE, "answer": "bad_gateway", "commit": "before"},
    {**EXCHANGE, "answer": "server_error", "commit": "never"},
    {**EXCHANGE, "answer": "too_many", "commit": "never"},
    {**EXCHANGE, "answer": "garbage", "commit": "before"},
    {**EXCHANGE, "answer": "cut_short", "commit": "before"},
    {**EXCHANGE, "answer": "closed", "commit": "late", "seconds": LATE_SECONDS},
    {**EXCHANGE, "answer": "normal", "commit": "before", "seconds": LATE_SECONDS},
    {**INFO, "answer": "closed", "commit": "never"},
    {**INFO, "answer": "bad_gateway", "commit": "never"},
    {**INFO, "answer": "server_error", "commit": "never"},
    {**INFO, "answer": "garbage", "commit": "never"},
    {**INFO, "answer": "normal", "commit": "before", "seconds": LATE_SECONDS},
)


@dataclass(frozen=True, slots=True)
class Curve:
    """What the exchange's fills of one pair say: USD without a match, at worst and times the seconds it stood."""

    worst_usd: Decimal
    usd_seconds: Decimal


@dataclass
class Tally:
    """All pairs of one side. `one_legged` and `doubled` count what stood when an opening was called done, `left` what
    was still held when a close was."""

    curves: list[Curve] = field(default_factory=list)
    opened: int = 0
    one_legged: int = 0
    doubled: int = 0
    left: int = 0

    @property
    def words(self) -> str:
        worst = max((one.worst_usd for one in self.curves), default=Decimal(0))
        naked = sum(1 for one in self.curves if one.usd_seconds >= NOTICED_USD_SECONDS)
        area = sum((one.usd_seconds for one in self.curves), Decimal(0))
        wrong, pairs = self.one_legged + self.doubled, len(self.curves)
        return (
            f"{pairs} pairs, {self.opened} opened whole; worst naked {worst:.0f} USD, {area:.1f} USD-seconds naked "
            f"in {naked} pairs; after the opening {self.one_legged} one-legged and {self.doubled} doubled "
            f"({wrong / max(pairs, 1):.1%}), after the close {self.left} left open ({self.left / max(pairs, 1):.1%})"
        )


def curve_of(fills: Sequence[Mapping[str, object]], until_ms: int) -> Curve:
    """The naked notional of a pair over time, from its *fills*, each with coin, side (B or A), sz and time in ms."""
    held: dict[str, Decimal] = {}
    worst = area = now = Decimal(0)
    at = until_ms
    for fill in sorted(fills, key=lambda one: int(str(one["time"]))):
        instant = min(int(str(fill["time"])), until_ms)
        area += now * max(instant - at, 0) / 1000
        signed = Decimal(str(fill["sz"])) * (1 if fill["side"] == "B" else -1)
        held[str(fill["coin"])] = held.get(str(fill["coin"]), Decimal(0)) + signed
        # Fills of one millisecond are those of one action: what was never seen apart was never apart.
        worst, at = max(worst, now if instant > at else Decimal(0)), instant
        now = abs(net_of(held))
    return Curve(max(worst, now), area + now * max(until_ms - at, 0) / 1000)


def net_of(held: Mapping[str, Decimal]) -> Decimal:
    """USD of one side without a match on the other."""
    return sum((quantity * MIDS[coin] for coin, quantity in held.items()), Decimal(0))


class Side(ABC):
    """One of the two: how it opens and closes, and the exchange that it does it on."""

    name = ""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def open(self, number: int) -> None:
        """Back when it believes that the opening has ended, however."""

    @abstractmethod
    def close(self) -> None:
        """Back when it believes that all is closed."""

    def control(self, **order: object) -> dict[str, object]:
        found = control_of(self.url, order)
        if not isinstance(found, dict):
            raise RuntimeError(f"the exchange simulator answered {found}")
        return found

    def truth(self) -> dict[str, object]:
        return self.control(do="truth", user=MASTER)

    def held(self) -> dict[str, Decimal]:
        positions = cast(dict[str, object], self.truth()["positions"])
        return {coin: Decimal(str(size)) for coin, size in positions.items()}

    def fills(self) -> list[dict[str, object]]:
        return cast(list[dict[str, object]], self.truth()["fills"])


class Script(Side):
    """Two market orders of the SDK, one after the other, each with the ordinary retry."""

    name = "two SDK orders"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._exchange = Exchange(Account.from_key(AGENT_KEY), url, account_address=MASTER, timeout=TIMEOUT_SECONDS)

    def open(self, number: int) -> None:
        self._insist(lambda: self._exchange.market_open("ETH", True, ETH_SIZE))
        self._insist(lambda: self._exchange.market_open("BTC", False, BTC_SIZE))

    def close(self) -> None:
        for coin in MIDS:
            self._insist(lambda coin=coin: self._exchange.market_close(coin))  # type: ignore[misc]  # a bound default

    @staticmethod
    def _insist(call: Callable[[], object]) -> None:
        for _ in range(TRIES):
            try:
                answer = call()
                if answer is None or "filled" in str(answer):
                    return
            except (RequestException, ClientError, ServerError, KeyError, TypeError, ValueError):
                # Whatever went wrong, scripts like this one try again.
                pass
            time.sleep(RETRY_SECONDS)


class Desk(Side):
    """The service, asked over HTTP."""

    name = "the service"

    def __init__(self, case: "NakedCase") -> None:
        super().__init__(case.exchange)
        self._case = case
        self._position = ""

    def open(self, number: int) -> None:
        signal_id = f"pair {number}"
        self._case.offer(signal_id)
        body = {"signal_id": signal_id, "position_size": float(2 * LEG_USD)}
        status, answer = self._case.ask("POST", "/api/trades/execute", body)
        self._position = str(answer["position_id"]) if status in (200, 201, 202) else ""
        if self._position:
            self._case.wait_for(self._position, ("open", "closed"))

    def close(self) -> None:
        if self._position:
            self._case.ask("POST", f"/api/positions/{self._position}/close")
            self._case.wait_for(self._position, ("closed",))


class NakedCase(LiveCase):
    """The service in its production configuration, and room for as many pairs as are wanted."""

    @property
    def environ(self) -> dict[str, str]:
        return {
            **super().environ,
            "COOLDOWN_SECONDS": "0",
            "MAX_DAILY_LOSS": "0.5",
            "THROTTLE_READ_PER_MINUTE": "0",
        }

    def wait_for(self, position_id: str, statuses: Sequence[str]) -> None:
        def there() -> bool:
            try:
                return self.status_of(position_id) in statuses
            except (OSError, http.client.HTTPException):
                return False

        give_up_at = time.monotonic() + END_SECONDS
        while not there() and time.monotonic() < give_up_at:
            time.sleep(POLL_SECONDS)


def run(side: Side, pairs: int, seed: int, rate: float) -> Tally:
    """Trade *pairs* pairs on *side*, one after the other, in the weather of *seed*."""
    tally, chance = Tally(), Random(seed)  # noqa: S311 - drawn again from the same seed, and no secret
    for coin, mid in MIDS.items():
        price = str(mid)
        side.control(do="set_market", coin=coin, mid=price, mark=price, oracle=price, depth_usd="5000000")
    for number in range(pairs):
        before = len(side.fills())
        side.control(do="weather", seed=seed * 100_000 + number, rate=rate, faults=list(WEATHER))
        _whims(side, chance, rate)
        side.open(number)
        _await_late(side)
        _judge_opening(tally, side.held())
        _whims(side, chance, rate)
        side.close()
        ended_ms = int(time.time() * 1000)
        _await_late(side)
        tally.left += bool(side.held())
        fills = side.fills()[before:]
        tally.curves.append(curve_of(fills, ended_ms))
        side.control(do="lift")
        _sell_off(side)
    return tally


def _whims(side: Side, chance: Random, rate: float) -> None:
    """Of each coin the next order may find nobody, or half of its size; what was not met is forgotten before."""
    side.control(do="calm_orders")
    for coin, half in (("ETH", "0.125"), ("BTC", "0.005")):
        if chance.random() < rate:
            side.control(do="refuse", coin=coin, sentence=LOST, status="iocCancelRejected")
        elif chance.random() < rate:
            side.control(do="partial_fill", coin=coin, size=half)


def _await_late(side: Side) -> None:
    """Until nothing is on its way any more: what lands late is the truth too."""
    give_up_at = time.monotonic() + 3 * LATE_SECONDS
    while side.control(do="late")["under_way"] and time.monotonic() < give_up_at:
        time.sleep(POLL_SECONDS)


def _judge_opening(tally: Tally, held: Mapping[str, Decimal]) -> None:
    legs = {coin: abs(held.get(coin, Decimal(0))) * mid for coin, mid in MIDS.items()}
    if max(legs.values()) > DOUBLED_SHARE * LEG_USD:
        tally.doubled += 1
    elif abs(net_of(held)) > NAKED_SHARE * LEG_USD:
        tally.one_legged += 1
    elif min(legs.values()) > (1 - NAKED_SHARE) * LEG_USD:
        tally.opened += 1


def _sell_off(side: Side) -> None:
    """What is left is closed in fair weather, so that the next pair begins with nothing."""
    if side.held():
        cleaner = Exchange(Account.from_key(AGENT_KEY), side.url, account_address=MASTER, timeout=TIMEOUT_SECONDS)
        for coin in side.held():
            cleaner.market_close(coin)
    wait_until(lambda: not side.held(), "being flat")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.naked", description=__doc__)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.05, help="share of calls and of orders that meet a fault")
    options = parser.parse_args(arguments)
    print(f"{options.pairs} pairs each, seed {options.seed}, faults in {options.rate:.0%} of calls", flush=True)
    case = NakedCase()
    try:
        case.setUp()
        case.start()
        wait_until(case.is_healthy, "being healthy")
        sides = (Script(case.start_exchange()), Desk(case))
        for side in sides:
            began = time.monotonic()
            tally = run(side, options.pairs, options.seed, options.rate)
            print(f"{side.name}: {tally.words}; {time.monotonic() - began:.0f} s", flush=True)
    finally:
        case.doCleanups()
    return 0


if __name__ == "__main__":
    sys.exit(main())
