"""Whatever is traded on the paper venue, the account's identities hold to the last digit."""

import tempfile
import unittest
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

try:
    from hypothesis import given, settings
    from hypothesis import strategies as some
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: see requirements-dev.txt") from error

from tests.fakes import NOON, FakeClock
from trading.adapters.paper import PaperVenue
from trading.adapters.paper_account import PaperAccount, PaperLedger, with_fill
from trading.adapters.paper_market import PaperMarket
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.orders import Order, Side
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, Usd
from trading.utils.journal import Journal

MARKET = PaperMarket(7)
EQUITY = Usd(Decimal(100_000))
COINS = [Coin("BTC"), Coin("SOL"), Coin("AVAX"), Coin("kPEPE")]
CENT = Decimal("0.01")

TRADES = some.lists(
    some.tuples(
        some.sampled_from(COINS),
        some.sampled_from(list(Side)),
        some.integers(min_value=1, max_value=20_000),
        some.booleans(),
        some.sampled_from([0, 1, 40, 3_700, 90_000]),
    ),
    max_size=25,
)
FILLS = some.lists(
    some.tuples(
        some.sampled_from(list(Side)),
        some.integers(min_value=1, max_value=10**9).map(lambda lots: Decimal(lots).scaleb(-5)),
        some.integers(min_value=1, max_value=10**12).map(lambda price: Decimal(price).scaleb(-7)),
    ),
    max_size=40,
)


def an_order(number: int, coin: Coin, side: Side, usd: int, reduce_only: bool, clock: FakeClock) -> Order:
    """About *usd* at ten percent through the market, on the lot; not always legal, which is part of the exercise."""
    now, step = clock.now(), INSTRUMENTS[coin].quantity_step
    mid = MARKET.mid(coin, now)
    limit = (mid * (1 + side.sign * Decimal("0.1"))).quantize(Decimal(1).scaleb(mid.adjusted() - 3))
    return Order(
        client_order_id=ClientOrderId(f"order {number}"),
        coin=coin,
        side=side,
        quantity=Quantity((usd / mid).quantize(step)),
        limit_price=Price(limit),
        reduce_only=reduce_only,
        slice_number=0,
        attempt=number,
        intended_at=now,
        expires_at=now + timedelta(seconds=10),
    )


class MoneyIsConserved(unittest.TestCase):
    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(fills=FILLS)
    def test_cash_moves_by_what_is_realized_and_nothing_is_lost_in_the_cost(
        self, fills: list[tuple[Side, Decimal, Decimal]]
    ) -> None:
        coin = COINS[0]
        account, bought = PaperAccount(EQUITY), ZERO
        for side, quantity, price in fills:
            account = with_fill(account, coin, side, quantity, price, Decimal("0.01"))
            bought += quantity * price * side.sign
        position = account.positions.get(coin)
        cost = position.cost if position is not None else ZERO
        self.assertEqual(account.cash, EQUITY + account.realized - account.fees)
        self.assertEqual(account.fees, Decimal("0.01") * len(fills))
        self.assertEqual(account.realized, cost - bought)
        if position is not None:
            self.assertNotEqual(position.quantity, 0)
            self.assertGreater(position.entry_price, 0)

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(trades=TRADES)
    def test_realized_less_fees_and_funding_is_the_change_of_cash(
        self, trades: list[tuple[Coin, Side, int, bool, int]]
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            clock, journal = FakeClock(), Journal(Path(folder) / "paper_account.json")
            venue = PaperVenue(MARKET, journal, clock, EQUITY)
            fees = held = cash_flow = ZERO
            for number, (coin, side, usd, reduce_only, seconds) in enumerate(trades):
                clock.advance(seconds)
                before = venue.account().held(coin)
                (report,) = venue.submit([an_order(number, coin, side, usd, reduce_only, clock)])
                after = venue.account().held(coin)
                self.assertEqual(after, before + report.filled * side.sign)
                if reduce_only:
                    self.assertLessEqual(abs(after), abs(before))
                    self.assertGreaterEqual(after * before, 0)
                fees += report.fees
                cash_flow -= report.filled * side.sign * (report.average_price or ZERO)
            account, now = venue.account(), clock.now()
            funding = sum((one.amount for one in venue.funding(COINS, NOON - timedelta(days=1), now)), ZERO)
            held = sum((one.quantity * MARKET.mark(coin, now) for coin, one in account.holdings.items()), ZERO)
            self.assertLess(abs(account.equity - (EQUITY + cash_flow + held - fees - funding)), CENT)
            self.assertEqual(PaperVenue(MARKET, journal, clock, EQUITY).account_id, venue.account_id)
            self.check_the_fold(Path(folder) / "paper_account.json", account.equity, fees)
            journal.close()

    def check_the_fold(self, path: Path, equity: Decimal, fees: Decimal) -> None:
        """Folded anew from its file, the account is the same, and its totals explain its cash exactly."""
        journal, ledger = Journal(path), PaperLedger(MARKET.seed, EQUITY)
        for entry in journal.follow():
            ledger.take(entry.content)
        journal.close()
        account = ledger.account
        self.assertEqual(account.cash, EQUITY + account.realized - account.fees - account.funding)
        self.assertEqual(account.fees, fees)
        if not account.positions:
            self.assertEqual(account.cash, equity)


if __name__ == "__main__":
    unittest.main()
