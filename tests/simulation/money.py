"""Random trades through the real engine, the real store and the paper venue, and the account for what they made.

The claim: whatever is opened, filled in parts, trimmed, sliced, shared, lost sight of and closed, across hours of
funding, the positions' profits add up to the change of the account's equity.

    python -m tests.simulation.money --trades 1000 --seed 1
"""

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

from tests.accounts import account_of
from tests.builders import given_signal
from tests.fakes import FakeApprover, FakeCache, FakeClock, FakeLog, FakeSignals
from trading.adapters.account_file import AccountFile
from trading.adapters.paper import PaperVenue
from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_universe import INSTRUMENTS
from trading.conf import Config
from trading.domain.accounts import hour_of
from trading.domain.book import Book
from trading.domain.desk_state import Binding
from trading.domain.errors import DeskError
from trading.domain.market import Depth, FundingPayment, Level
from trading.domain.orders import Order, OrderReport, OrderStatus
from trading.domain.positions import Position, PositionStatus
from trading.domain.units import ZERO, Coin, PositionId, Price, Quantity, Usd, floor_to_step
from trading.engine import closing, entry
from trading.engine.accounting import DAYS_MAX, history
from trading.engine.desk import Desk
from trading.engine.monitor import Watchman, tick
from trading.engine.requests import ExecuteRequest, Execution, TwapRequest
from trading.utils.disk import SystemDisk
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore

CENT = Decimal("0.01")
EXACT = Decimal("0.000001")
EQUITY = Usd(Decimal(100_000))
LONGS = ("ETH", "SOL", "DOGE", "XRP")
SHORTS = ("BTC", "LINK", "AVAX", "LTC")
THREAD_SECONDS = 20.0
HOUR = timedelta(hours=1)
STEPS_A_TRADE_MAX = 100
FLAT_TICKS_MAX = 500
PAUSES = (0.3, 1.0, 5.0, 12.0, 37.0, 61.0, 240.0)


class NotTheSame(AssertionError):
    """The books and the account say different things."""


class UnhurriedDisk(SystemDisk):
    """The real disk, but nobody waits for it: a power failure is no part of this."""

    def sync(self, file: int) -> None:
        """Nothing."""


class ThinningMarket(PaperMarket):
    """The paper market, whose book may be thinner when an order meets it than when it was looked at."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.shares: dict[Coin, Decimal] = {}

    def depth(self, coin: Coin, at: datetime) -> Depth:
        depth, share = super().depth(coin, at), self.shares.get(coin)
        if share is None:
            return depth
        return replace(depth, bids=_thinned(depth.bids, coin, share), asks=_thinned(depth.asks, coin, share))


def _thinned(levels: Sequence[Level], coin: Coin, share: Decimal) -> tuple[Level, ...]:
    step = INSTRUMENTS[coin].quantity_step
    cut = [Level(one.price, Quantity(floor_to_step(one.quantity * share, step))) for one in levels]
    return tuple(one for one in cut if one.quantity)


class RoughVenue(PaperVenue):
    """The paper venue on a bad day: books thin out under an order, answers get lost, orders get lost, time passes.

    What befalls a submit depends on the seed and its first order alone.
    """

    def __init__(self, market: ThinningMarket, journal: Journal, clock: FakeClock, seed: int) -> None:
        super().__init__(market, journal, clock, EQUITY)
        self.thinning, self.rough, self.seed, self.passing = market, True, seed, clock
        self.befell: Counter[str] = Counter()

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        chance = Random(f"{self.seed}:{orders[0].client_order_id}")
        if not self.rough:
            return super().submit(orders)
        fate = chance.random()
        if fate < 0.03:
            self.befell["order lost"] += 1
            return self._unknown(orders)
        shares = {one.coin: Decimal(chance.choice(("0", "0.0005", "0.002", "0.01", "1", "1", "1"))) for one in orders}
        self.thinning.shares = shares
        try:
            reports = super().submit(orders)
        finally:
            self.thinning.shares = {}
        self.befell["partial fill"] += sum(1 for one in reports if one.status is OrderStatus.PARTIALLY_FILLED)
        self.befell["no fill"] += sum(1 for one in reports if one.status is OrderStatus.REJECTED)
        self.passing.advance(chance.choice((0.0, 0.02, 0.3)))
        if fate < 0.08:
            self.befell["answer lost"] += 1
            return self._unknown(orders)
        return reports

    def _unknown(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        now = self.passing.now()
        return tuple(OrderReport(one.client_order_id, OrderStatus.UNKNOWN, now) for one in orders)


@dataclass
class Proof:
    """What was done and how far books and account were apart at worst, in USD."""

    trades: int = 0
    positions: int = 0
    checks: int = 0
    worst: Decimal = ZERO
    at_the_end: Decimal = ZERO
    funding_payments: int = 0
    equity_change: Decimal = ZERO
    pnl: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    shared_hours: int = 0
    days: int = 0
    hours: int = 0
    done: Counter[str] = field(default_factory=Counter)

    def words(self) -> str:
        """What it proved, for people."""
        counts = ", ".join(f"{count} x {name}" for name, count in sorted(self.done.items()))
        return (
            f"{self.trades} trades in {self.positions} positions; {counts}\n"
            f"{self.funding_payments} funding payments, {self.shared_hours} of them on coins that positions shared\n"
            f"{self.checks} comparisons on the way: at most {self.worst:.2E} USD apart\n"
            f"{self.days} days and {self.hours} hours of funding written down add up to the same\n"
            f"flat at the end: equity changed by {self.equity_change:.6f} USD, positions made {self.pnl:.6f} USD "
            f"(fees {self.fees:.6f}, funding {self.funding:.6f}): {self.at_the_end:.2E} USD apart"
        )


class World:
    """A desk of real files, a rough paper venue, and a clock that moves when it is told. A context manager."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.clock = FakeClock()
        self.proof = Proof()
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="executor_money_")))
        self.market = ThinningMarket(seed)
        disk = UnhurriedDisk()
        journal = Journal(folder / "paper_account.json", disk=disk)
        self._stack.callback(journal.close)
        self.venue = RoughVenue(self.market, journal, self.clock, seed)
        binding = Binding(self.venue.name, self.venue.network, self.venue.account_id)
        store = JsonStore(folder, binding, disk=disk)
        self._stack.callback(store.close)
        self.accounts = AccountFile(folder, disk=disk)
        self._stack.callback(self.accounts.close)
        self.signals = FakeSignals()
        self.desk = Desk(
            config=Config.of(
                data_dir=folder,
                max_positions=8,
                max_allocation="1",
                max_daily_loss="1",
                cooldown_seconds=0,
                twap_duration_seconds=90,
                twap_slices=3,
                stop_loss="0.02",
                paper_equity_usd=EQUITY,
            ),
            venue=self.venue,
            store=store,
            cache=FakeCache(self.clock),
            signals=self.signals,
            approvals=FakeApprover(clock=self.clock),
            log=FakeLog(),
            clock=self.clock,
            accounts=self.accounts,
        )
        self.watchman = Watchman(self.desk)
        self._signals = 0
        self._closed: dict[PositionId, tuple[Position, Decimal]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def live(self, trades: int) -> None:
        """Act at random until there have been *trades* of them, comparing after every step."""
        for _ in range(trades * STEPS_A_TRADE_MAX):
            if len(self.desk.store.book().trades()) >= trades:
                return
            action = self.chance.choices((self.open, self.close, self.cancel, self.wait), (4, 2, 1, 6))[0]
            action()
            self.compare()
        raise NotTheSame(f"{trades} trades did not come about")

    def open(self) -> None:
        """Ask for a pair that shares a coin with others, more often than not."""
        self._signals += 1
        long, short = self.chance.choice(LONGS), self.chance.choice(SHORTS)
        pair, zscore = (f"{short}/{long}", "2.4") if self.chance.random() < 0.5 else (f"{long}/{short}", "-2.4")
        signal = given_signal(f"signal_{self._signals}", pair, zscore, created_at=self.clock.now())
        self.signals.offer(signal)
        size = Decimal(self.chance.randrange(60, 14_000))
        sliced = self.chance.random() < 0.4
        request = ExecuteRequest(
            signal_id=signal.id,
            position_size=Usd(size),
            leverage=2,
            execution=Execution.TWAP if sliced else Execution.MARKET,
            twap=TwapRequest(self.chance.choice((60, 150)), self.chance.choice((2, 4))) if sliced else None,
            max_holding_seconds=self.chance.choice((None, 300, 4_000, 15_000)),
        )
        try:
            entry.execute(self.desk, request)
        except DeskError as refusal:
            self.proof.done[f"refused ({refusal.code})"] += 1
        else:
            self.proof.done["opened by slices" if sliced else "opened at once"] += 1

    def close(self) -> None:
        """Close some position by hand, in whatever state it is."""
        standing = self.desk.store.book().standing_positions()
        if standing:
            closing.close_by_hand(self.desk, self.chance.choice(standing).id)
            self.proof.done["closed by hand"] += 1

    def cancel(self) -> None:
        """Cancel an opening in mid-flight."""
        live = [trade for trade in self.desk.store.book().live_trades() if trade.opens]
        if live:
            closing.cancel(self.desk, self.chance.choice(live).id)
            self.proof.done["canceled in mid-flight"] += 1

    def wait(self) -> None:
        """Let time pass and the monitor look: a moment, some hours, or to the very edge of one."""
        if self.chance.random() < 0.2:
            self.to_the_hour(self.chance.choice((-0.2, 0.0, 0.2, 20.0, 31.0)))
        elif self.chance.random() < 0.1:
            self.clock.advance(self.chance.randrange(3600, 4 * 3600))
        else:
            self.clock.advance(self.chance.choice(PAUSES))
        self.look()

    def to_the_hour(self, seconds: float) -> None:
        """Move on to the next full hour, *seconds* after (or before) it."""
        now = self.clock.now()
        left = (hour_of(now) + HOUR - now).total_seconds() + seconds
        self.clock.advance(max(left, 0.0))

    def look(self) -> None:
        """One tick of the monitor, waited for."""
        tick(self.watchman, wait_seconds=THREAD_SECONDS)

    def finish(self) -> None:
        """Close everything, let the last hour be listed, and compare to the end."""
        self.venue.rough = False
        for _ in range(FLAT_TICKS_MAX):
            standing = self.desk.store.book().standing_positions()
            if not standing:
                break
            for position in standing:
                closing.close_by_hand(self.desk, position.id)
            self.clock.advance(6)
            self.look()
        self.to_the_hour(40.0)
        for _ in range(3):
            self.look()
            self.clock.advance(40)
        self.compare()
        self._settle()

    def compare(self) -> None:
        """Equity and books, funding as the venue has paid it: to be equal at every instant at which nothing is in
        doubt."""
        book = self.desk.store.book()
        if any(trade.in_doubt for trade in book.live_trades()):
            return
        account, prices = self.venue.account(), self._marks()
        made = sum((self._made(position, book, prices) for position in book.all_positions()), ZERO)
        made -= sum((one.amount for one in self.payments()), ZERO)
        apart = abs(account.equity - EQUITY - made)
        self.proof.checks += 1
        self.proof.worst = max(self.proof.worst, apart)
        if apart >= CENT:
            raise NotTheSame(f"equity changed by {account.equity - EQUITY}, positions made {made}")

    def _made(self, position: Position, book: Book, prices: Mapping[Coin, Price | None]) -> Decimal:
        """What a position has made but for funding; of one that is closed and has not changed, remembered."""
        known = self._closed.get(position.id)
        if known is not None and known[0] is position:
            return known[1]
        account = account_of(position, book.trades_of_position(position.id), prices)
        if account.pnl is None:
            raise NotTheSame(f"{position.id} has no value")
        made = account.pnl + account.money.funding
        if position.closed:
            self._closed[position.id] = (position, made)
        return made

    def payments(self) -> tuple[FundingPayment, ...]:
        """Everything the venue has ever paid."""
        start = min((one.entered_at for one in self.desk.store.book().all_positions()), default=None)
        if start is None:
            return ()
        coins = [Coin(coin) for coin in (*LONGS, *SHORTS)]
        return self.venue.funding(coins, start - HOUR, self.clock.now())

    def _settle(self) -> None:
        book, proof = self.desk.store.book(), self.proof
        left = book.standing_positions()
        if left:
            raise NotTheSame(f"{len(left)} positions did not close")
        paid = self.payments()
        every = tuple(book.all_positions())
        proof.trades, proof.positions = book.page_of_trades(1)[1], len(every)
        proof.funding_payments = len(paid)
        proof.shared_hours = sum(1 for one in paid if _sharers(every, one) > 1)
        proof.equity_change = self.venue.account().equity - EQUITY
        proof.pnl = sum((one.realized - one.fees - one.funding for one in every), ZERO)
        proof.fees = sum((one.fees for one in every), ZERO)
        proof.funding = sum((one.funding for one in every), ZERO)
        proof.at_the_end = abs(proof.equity_change - proof.pnl)
        proof.done |= self.venue.befell
        proof.done["positions closed by barriers"] = sum(
            1 for one in every if one.exit_reason in ("TIME_LIMIT", "STOP_LOSS", "TAKE_PROFIT")
        )
        told = sum((one.amount for one in paid), ZERO)
        if proof.funding != told:
            raise NotTheSame(f"the venue was paid {told} of funding, positions {proof.funding}")
        by_the_hour = self.accounts.funding(paid[0].paid_at, self.clock.now()) if paid else ()
        if sum((one.amount for one in by_the_hour), ZERO) != told:
            raise NotTheSame("the hours that were written down are not what the venue was paid")
        days = history(book, self.accounts, self.clock.now(), DAYS_MAX, {}).days
        proof.days, proof.hours = len(days), len(by_the_hour)
        if abs(sum((day.pnl for day in days), ZERO) - proof.pnl) >= EXACT:
            raise NotTheSame("the days do not add up to what positions made")
        if proof.at_the_end >= EXACT:
            raise NotTheSame(f"equity changed by {proof.equity_change}, positions made {proof.pnl}")

    def _marks(self) -> dict[Coin, Price | None]:
        now = self.clock.now()
        return {coin: self.market.mark(coin, now) for coin in map(Coin, (*LONGS, *SHORTS))}


def _sharers(positions: Sequence[Position], payment: FundingPayment) -> int:
    return sum(
        1
        for one in positions
        if payment.coin in (one.long.coin, one.short.coin)
        and one.status is PositionStatus.CLOSED
        and one.exited_at is not None
        and one.entered_at < payment.paid_at <= one.exited_at
    )


def prove(trades: int, seed: int) -> Proof:
    """Live through *trades* random trades and return what they proved. Raises NotTheSame."""
    with World(seed) as world:
        world.live(trades)
        world.finish()
        return world.proof


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when every cent was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        proof = prove(asked.trades, asked.seed)
    except NotTheSame as difference:
        print(f"seed {asked.seed}: {difference}")
        return 1
    finally:
        logging.disable(before)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s: {proof.words()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
