"""Properties of the paper market that hold for every seed, coin and instant."""

import unittest
from datetime import UTC, datetime, timedelta

try:
    from hypothesis import given, settings
    from hypothesis import strategies as some
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed: see requirements-dev.txt") from error

from trading.adapters.paper_market import PaperMarket, on_price_grid
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.market import Pair
from trading.domain.units import Coin

SEEDS = some.integers(min_value=0, max_value=2**63)
COINS = some.sampled_from(PaperMarket(0).coins())
INSTANTS = some.integers(min_value=0, max_value=10**17).map(
    lambda microseconds: (
        datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds % (50 * 365 * 86_400 * 10**6))
    )
)


class EveryMoment(unittest.TestCase):
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(seed=SEEDS, coin=COINS, at=INSTANTS)
    def test_books_are_on_their_grids_sorted_and_uncrossed(self, seed: int, coin: Coin, at: datetime) -> None:
        market, instrument = PaperMarket(seed), INSTRUMENTS[coin]
        quote, depth = market.quote(coin, at), market.depth(coin, at)
        bids, asks = [one.price for one in depth.bids], [one.price for one in depth.asks]
        self.assertTrue(quote.usable)
        self.assertEqual((bids[0], asks[0]), (quote.bid, quote.ask))
        self.assertLess(bids[0], asks[0])
        self.assertEqual(bids, sorted(set(bids), reverse=True))
        self.assertEqual(asks, sorted(set(asks)))
        self.assertTrue(all(on_price_grid(price, instrument) for price in (*bids, *asks, quote.mark)))
        lots = [one.quantity for one in (*depth.bids, *depth.asks)]
        self.assertTrue(all(lot > 0 and lot % instrument.quantity_step == 0 for lot in lots))

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(seed=SEEDS, base=COINS, quote=COINS, at=INSTANTS)
    def test_scores_and_spreads_turn_round_with_the_pair(
        self, seed: int, base: Coin, quote: Coin, at: datetime
    ) -> None:
        market = PaperMarket(seed)
        here, there = Pair(base, quote), Pair(quote, base)
        self.assertEqual(market.zscore(here, at), -market.zscore(there, at))
        self.assertLess(abs(market.zscore(here, at)), 7)
        self.assertAlmostEqual((1 + market.spread(here, at)) * (1 + market.spread(there, at)), 1, places=20)


if __name__ == "__main__":
    unittest.main()
