"""What the watch costs: a thousand positions at each tick, and the way from a breach in the stream to the order.

The law: the positions are valued at prices that a live stream of the exchange simulator has brought; the way of a
breach is timed by the exchange's own clock, from the moment at which it sends the first frame with the mark that agrees
to the moment at which it has read the order, before it looks at it. What the simulator takes to move a market and to
carry out an order is not ours.
"""

import time
from decimal import Decimal
from itertools import permutations
from typing import cast

from bench.figures import Figures, milliseconds
from tests.builders import given_a_filled_trade
from tests.processes import wait_until
from tests.servers.test_live_hyperliquid import control_of
from tests.servers.test_watch import WatchCase
from trading.domain.orders import Side
from trading.domain.trades import LegPlan
from trading.domain.units import Coin, Price, Quantity
from trading.engine import exits
from trading.engine.desk import Desk
from trading.engine.valuing import publish_marks

POSITIONS = 1000
SWEEPS = 60
COINS = (
    "BTC",
    "ETH",
    "SOL",
    "AVAX",
    "BNB",
    "OP",
    "LTC",
    "ARB",
    "DOGE",
    "INJ",
    "SUI",
    "CRV",
    "LDO",
    "LINK",
    "XRP",
    "BCH",
)
ETH = Coin("ETH")
CALM, BREACHED = "4000", "3905"
SETTLE_SECONDS = 0.7
TICK_MILLISECONDS_MAX, BREACH_P50_MAX, BREACH_P99_MAX = 10.0, 5.0, 25.0


class BreachCase(WatchCase):
    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "MAX_DAILY_LOSS": "0.5"}

    def actions(self) -> list[dict[str, object]]:
        return cast(list[dict[str, object]], control_of(self.exchange, {"do": "received"}))

    def told_at(self, coin: str) -> float:
        """When the exchange first sent the mark that *coin* now has, in seconds of its clock."""
        return float(cast(dict[str, float], self.control({"do": "told"})[coin])["at"])


def measure_ticks(figures: Figures) -> None:
    """A sweep of a thousand positions of which every coin has ticked, and of those of one coin."""
    case = BreachCase()
    try:
        case.setUp()
        desk = case.desk()
        _fill(desk)
        memory = exits.Memory(account=desk.venue.account())
        memory.roster.update(desk.store.book().standing_positions())
        left: list[object] = []
        all_coins, one_coin, marks = [], [], []
        for number in range(SWEEPS):
            case.move("ETH", f"{4000 + number % 5}")
            wait_until(lambda: bool(desk.venue.wait_for_ticks(0, memory.roster.coins, 1.0).coins), "prices")
            all_coins.append(milliseconds(lambda: exits.sweep(desk, memory, lambda *one: left.append(one))))
            one_coin.append(
                milliseconds(lambda: exits.sweep(desk, memory, lambda *one: left.append(one), {Coin("ETH")}))
            )
            if number % 10 == 0:
                marks.append(milliseconds(lambda: publish_marks(desk, memory.account)))
        if left:
            raise RuntimeError(f"{len(left)} positions were told to leave a calm market")
    finally:
        case.doCleanups()
    every = figures.spread(f"tick of {len(COINS)} coins, {POSITIONS} positions", all_coins[5:])
    figures.spread(f"tick of 1 of {len(COINS)} coins, {POSITIONS} positions", one_coin[5:])
    figures.spread(f"marks of {POSITIONS} positions for the cache, once an interval", marks)
    figures.note(f"{POSITIONS} positions checked, a tick of all coins, p50", every.p50, "ms", TICK_MILLISECONDS_MAX)


def _fill(desk: Desk) -> None:
    """A thousand positions entered at the present mids, straight into the ledger."""
    quotes = desk.venue.quotes([Coin(one) for one in COINS])
    pairs = list(permutations(COINS, 2))
    for number in range(POSITIONS):
        base, quote = pairs[number % len(pairs)]
        short, long = (
            _leg(coin, side, quotes[Coin(coin)].mid) for coin, side in ((base, Side.SELL), (quote, Side.BUY))
        )
        trade = given_a_filled_trade(
            f"bench-{number}", pair=f"{base}/{quote}", at=desk.clock.now(), long=long, short=short
        )
        desk.store.save(trade, durable=False)
    desk.store.make_sure()


def _leg(coin: str, side: Side, mid: Price) -> LegPlan:
    return LegPlan(Coin(coin), side, Quantity((Decimal(1000) / mid).quantize(Decimal("0.00001"))), mid)


def measure_breaches(figures: Figures, rounds: int) -> None:
    """From the breach in the stream to the close order at the exchange, by a monitor in a process of its own."""
    case, taken, moved = BreachCase(), list[float](), list[float]()
    try:
        case.setUp()
        case.monitor("monitor")
        case.wait_for_words("monitor", "monitoring every")
        desk = case.desk()
        for number in range(rounds + 3):
            case.move("ETH", CALM)
            wait_until(lambda: desk.venue.quotes([ETH])[ETH].mark == Decimal(CALM), "a calm market")
            position = case.opened(desk, f"breach {number}")
            # A breach may come at any moment of the monitor's second.
            time.sleep(SETTLE_SECONDS + number * 0.037 % 0.3)
            before = len(case.actions())
            moved_at = time.time()
            case.move("ETH", BREACHED)
            wait_until(lambda position=position: case.is_closed(desk, position), "the exit")  # type: ignore[misc]
            order = next(one for one in case.actions()[before:] if _is_order(one))
            taken.append((float(str(order["came_at"])) - case.told_at("ETH")) * 1000)
            moved.append((float(str(order["came_at"])) - moved_at) * 1000)
    finally:
        case.doCleanups()
    found = figures.spread("breach in the stream to order at the venue", taken[3:])
    figures.spread("the same from asking the simulator to move its market", moved[3:])
    figures.note("breach to order received, p50", found.p50, "ms", BREACH_P50_MAX)
    figures.note("breach to order received, p99", found.p99, "ms", BREACH_P99_MAX)


def _is_order(action: dict[str, object]) -> bool:
    """An order that is to be filled at once; those that rest at the venue are placed beside."""
    words = action["action"]
    return isinstance(words, dict) and words.get("type") == "order" and "limit" in words["orders"][0]["t"]
