"""A store on a simulated disk that dies again and again, and is asked each time for all that it acknowledged.

    python -m tests.simulation.store_crashes --count 10000 [--seed 1]

The law: an episode is its seed. What was acknowledged is there afterwards, in the ledger or in the archive, under all
its names; what was under way is there as a whole, in part of its events, or not at all; nothing else is.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random

from tests.builders import T0, after, given_a_filled_close, given_a_filled_trade, given_watch
from tests.simulation.disk import Crashed, SimulatedDisk
from trading.domain.desk_state import Binding, DeskState
from trading.domain.positions import Watch
from trading.domain.trades import Trade, replay
from trading.domain.units import PositionId, Ratio, TradeId
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore
from trading.utils.ledger import LOG

BINDING = Binding("paper", "demo", "0xabc")
PAIRS_OF_TRADES = 12
STEPS_MAX = 40
CALLS_MAX = 120
ROUNDS = 4
LATER = T0 + timedelta(days=40)


class Lost(AssertionError):
    """Something acknowledged is not there any more."""


@cache
def lives() -> tuple[tuple[Trade, Trade], ...]:
    """Opening and closing trades of positions in two months, made once."""
    openings = [
        given_a_filled_trade(f"s{number}", at=after(number * 86_400 * 1.7)) for number in range(PAIRS_OF_TRADES)
    ]
    return tuple((one, given_a_filled_close(one)) for one in openings)


class Episode:
    """One disk, several lives of a store on it, and what it has acknowledged in all of them."""

    def __init__(self, seed: int, data_dir: Path) -> None:
        self.random = Random(seed)  # a simulation is chance that can be repeated
        self.disk = SimulatedDisk(self.random)
        self.data_dir = data_dir
        self.trades: dict[TradeId, Trade] = {}
        self.watches: dict[PositionId, Watch] = {}
        self.state = DeskState(binding=BINDING)
        self.asked: Trade | Watch | DeskState | None = None
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Raises Lost."""
        for _ in range(ROUNDS):
            self.disk.crash_at = self.random.randint(1, CALLS_MAX)
            try:
                with self.store() as store:
                    for _ in range(self.random.randint(1, STEPS_MAX)):
                        self.step(store)
                self.counts["ran out"] += 1
            except Crashed:
                self.counts["crashes"] += 1
            if self.random.random() < 0.7:
                self.disk.lose_power()
            else:
                self.disk.kill()
            self.look_again()

    def look_again(self) -> None:
        """Open what is left, sometimes dying in the middle of that too, and check it."""
        while self.random.random() < 0.3:
            self.disk.crash_at = self.random.randint(1, 12)
            try:
                with self.store():
                    pass
            except Crashed:
                self.counts["crashes"] += 1
            self.disk.lose_power()
        with self.store() as store:
            self.check(store)

    @contextmanager
    def store(self) -> Iterator[JsonStore]:
        store = JsonStore(self.data_dir, BINDING, disk=self.disk, roll_bytes=self.random.choice((20_000, 1 << 30)))
        try:
            yield store
        finally:
            store.close()

    def step(self, store: JsonStore) -> None:
        steps: tuple[tuple[Callable[[JsonStore], None], int], ...] = (
            (self.save_trade, 8),
            (self.save_watch, 4),
            (self.change_state, 1),
            (self.roll_over, 2),
            (self.write_log, 1),
        )
        calls, weights = zip(*steps, strict=True)
        self.random.choices(calls, weights)[0](store)

    def save_trade(self, store: JsonStore) -> None:
        opening, closing = self.random.choice(lives())
        known = self.trades.get(opening.id)
        trade = closing if known is not None and len(known.events) == len(opening.events) else opening
        done = len(self.trades[trade.id].events) if trade.id in self.trades else 0
        count = min(len(trade.events), done + self.random.randint(1, 4))
        part = replay(trade.events[:count])
        self.asked = part
        if count > done + 1 and self.random.random() < 0.5:
            # What is put off is acknowledged by the next that is not.
            store.save(replay(trade.events[: self.random.randint(done + 1, count)]), durable=False)
            if self.random.random() < 0.3:
                store.make_sure()
        stored = store.save(part)
        self.trades[trade.id] = stored
        self.counts["trades saved"] += 1

    def save_watch(self, store: JsonStore) -> None:
        if not self.trades:
            return
        opening = self.random.choice([one for one in self.trades.values() if one.opens])
        high_water = Ratio(Decimal(self.random.randint(1, 99)) / 1000)
        watch = given_watch(opening, high_water=high_water, outcome_told=self.random.random() < 0.8)
        self.asked = watch
        store.save_watch(watch)
        self.watches[watch.position_id] = watch
        self.counts["watches saved"] += 1

    def change_state(self, store: JsonStore) -> None:
        self.asked = replace(self.state, flat_reads=self.state.flat_reads + 1)
        self.state = store.change_state(lambda one: replace(one, flat_reads=one.flat_reads + 1))
        self.counts["states changed"] += 1

    def roll_over(self, store: JsonStore) -> None:
        self.asked = None
        self.counts["positions rolled over"] += store.roll_over(LATER)

    def write_log(self, store: JsonStore) -> None:
        journal = Journal(self.data_dir / LOG, disk=self.disk)
        try:
            journal.append([{"id": f"log_{self.counts['logged']}", "timestamp": T0.isoformat()}], sync=False)
        finally:
            journal.close()
        self.counts["logged"] += 1

    def check(self, store: JsonStore) -> None:
        book, asked = store.book(), self.asked
        self.asked = None
        require(not store.broken, f"broken: {dict(store.broken)}")
        for trade_id, trade in self.trades.items():
            found = book.find_trade(trade_id)
            require(found is not None, f"trade {trade_id} is gone")
            expected = asked if isinstance(asked, Trade) and asked.id == trade_id else trade
            if found is not None:
                require(trade.events == found.events[: len(trade.events)], f"trade {trade_id} has lost events")
                require(found.events == expected.events[: len(found.events)], f"trade {trade_id} has events of nobody")
                require(replay(found.events) == found, f"trade {trade_id} does not replay")
                self.check_names(store, found)
        if isinstance(asked, Trade) and (half := book.find_trade(asked.id)) is not None:
            self.trades[asked.id] = half
        for position_id in {trade.terms.position_id for trade in self.trades.values()}:
            watch, known = book.watch(position_id), self.watches.get(position_id)
            fresh = isinstance(asked, Watch) and asked.position_id == position_id and watch == asked
            require(watch == known or fresh, f"the watch of {position_id} is lost")
            if watch is not None:
                self.watches[position_id] = watch
        state = store.state()
        require(state in (self.state, asked), "the state is lost")
        self.state = state
        count = sum(trade.opens for trade in self.trades.values())
        require(book.page_of_positions(1)[1] == count, "positions are counted otherwise than they were opened")
        require(len(book.page_of_positions(1000)[0]) == count, "positions are listed otherwise than they were opened")
        require(book.page_of_trades(1)[1] == len(self.trades), "trades are counted otherwise than they were saved")

    def check_names(self, store: JsonStore, trade: Trade) -> None:
        book, terms = store.book(), trade.terms
        if trade.opens and terms.signal is not None and terms.approval is not None:
            require(book.trades_of_signal(terms.signal.id) == (trade,), "a signal is free again")
            require(book.trade_of_key(terms.request_key) == trade, "a request key is free again")
            require(book.trade_of_approval(terms.approval.id) == trade.id, "an approval is free again")


def require(holds: bool, word: str) -> None:
    if not holds:
        raise Lost(word)


def crash(count: int, seed: int) -> Counter[str]:
    """Run episodes from *seed* on until *count* crashes have happened. Raises Lost, with the episode's seed."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        while counts["crashes"] < count:
            episode = Episode(seed, Path(folder) / "data")
            try:
                episode.run()
            except Exception as error:
                error.add_note(f"in the episode of seed {seed}")
                raise
            counts += episode.counts
            counts["episodes"] += 1
            seed += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1000, help="crashes")
    parser.add_argument("--seed", type=int, default=1, help="of the first episode")
    options = parser.parse_args()
    started = time.perf_counter()
    counts = crash(options.count, options.seed)
    for name, number in sorted(counts.items()):
        print(f"{name}: {number}")
    print(f"nothing acknowledged was lost ({time.perf_counter() - started:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
