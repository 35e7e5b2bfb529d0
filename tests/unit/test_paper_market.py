"""The paper market: a pure function that every process agrees on, plausible, on the price grid, mean-reverting."""

import math
import subprocess
import sys
import unittest
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from tests.fakes import NOON
from tests.price_grid import PRICES
from trading.adapters.paper import TAKER_FEE_RATE
from trading.adapters.paper_market import (
    HALF_LIFE_SECONDS,
    LEVELS,
    PaperMarket,
    on_price_grid,
    price_tick,
)
from trading.adapters.paper_universe import INSTRUMENTS, UNIVERSE
from trading.domain.market import Instrument, Level, Pair
from trading.domain.units import Coin, Quantity, Usd

BTC, ETH, SOL, AVAX = Coin("BTC"), Coin("ETH"), Coin("SOL"), Coin("AVAX")
SOL_AVAX, BTC_ETH = Pair(SOL, AVAX), Pair(BTC, ETH)

# Of seed 7 at 2026-11-22 12:00 UTC: mid and z-score against ETH.
PINNED = (
    ("BTC", "93378.4840", "-2.5952"),
    ("SOL", "147.416307", "-0.0592"),
    ("kPEPE", "0.0156854540", "-0.5373"),
    ("RNDR", "2.03334612", "1.3553"),
)


def an_instrument(size_decimals: int) -> Instrument:
    step = Quantity(Decimal(1).scaleb(-size_decimals))
    return Instrument(Coin("X"), step, 6 - size_decimals, Usd(Decimal(10)), 10)


def cost_of(levels: tuple[Level, ...], usd: Decimal) -> Decimal:
    """How much worse than the best price *usd* executes, as a fraction; NaN when the levels cannot give it."""
    spent = coins = Decimal(0)
    for level in levels:
        take = min(level.quantity, (usd - spent) / level.price)
        spent, coins = spent + take * level.price, coins + take
    if usd - spent > Decimal("0.01"):
        return Decimal("NaN")
    return abs(spent / coins / levels[0].price - 1)


class TheUniverse(unittest.TestCase):
    def test_it_lists_the_coins_people_trade_and_one_that_is_delisted(self) -> None:
        named = "BTC ETH SOL AVAX DOGE LINK ARB OP SUI APT INJ LTC BCH BNB XRP ATOM DYDX LDO CRV STX kPEPE CFX GMX SNX"
        self.assertLessEqual(set(named.split()), set(UNIVERSE))
        self.assertEqual([coin for coin, one in INSTRUMENTS.items() if one.delisted], ["MATIC"])
        self.assertEqual(set(PaperMarket(7).coins()), set(UNIVERSE) - {"MATIC"})
        self.assertGreaterEqual(len(PaperMarket(7).coins()), 24)

    def test_lots_and_decimals_follow_from_the_recorded_size_decimals(self) -> None:
        cases = {"BTC": ("0.00001", 1), "ETH": ("0.0001", 2), "SOL": ("0.01", 4), "DOGE": ("1", 6), "BNB": ("0.001", 3)}
        for coin, (lot, decimals) in cases.items():
            with self.subTest(coin=coin):
                instrument = INSTRUMENTS[Coin(coin)]
                self.assertEqual(instrument.quantity_step, Decimal(lot))
                self.assertEqual(instrument.price_decimals_max, decimals)
                self.assertEqual(instrument.notional_min, 10)


class ThePriceGrid(unittest.TestCase):
    def test_the_venue_s_own_examples(self) -> None:
        none = tuple((4, price, False) for price in ("0", "-3150", "NaN", "Infinity"))
        for size_decimals, price, legal in (*PRICES, *none):
            with self.subTest(size_decimals=size_decimals, price=price):
                self.assertIs(on_price_grid(Decimal(price), an_instrument(size_decimals)), legal)

    def test_the_tick_is_never_coarser_than_one_dollar(self) -> None:
        self.assertEqual(price_tick(Decimal(123_456), an_instrument(5)), 1)


class PricesAreAPureFunction(unittest.TestCase):
    def test_one_seed_one_market_whoever_asks_and_in_whatever_order(self) -> None:
        instants = [NOON + timedelta(seconds=seconds) for seconds in (0, 3600, 7, 86_400)]
        there = [PaperMarket(7).depth(SOL, at) for at in instants]
        here = [PaperMarket(7).depth(SOL, at) for at in reversed(instants)]
        self.assertEqual(there, here[::-1])

    def test_another_process_with_another_hash_seed_sees_the_same_prices(self) -> None:
        asked = (
            "from datetime import *; from trading.adapters.paper_market import *;"
            "m = PaperMarket(7); at = datetime(2026, 11, 22, 12, tzinfo=UTC);"
            "print([m.quote(c, at) for c in m.coins()])"
        )
        answered = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
        market = PaperMarket(7)
        self.assertEqual(answered.stdout.strip(), str([market.quote(coin, NOON) for coin in market.coins()]))

    def test_these_prices_are_for_ever(self) -> None:
        """A demo account on disk was filled at them: whoever changes the market gives it a new seed."""
        market = PaperMarket(7)
        for coin, mid, zscore in PINNED:
            with self.subTest(coin=coin):
                self.assertEqual(str(market.mid(Coin(coin), NOON)), mid)
                self.assertEqual(str(market.zscore(Pair(Coin(coin), ETH), NOON)), zscore)

    def test_seeds_and_coins_have_paths_of_their_own(self) -> None:
        self.assertNotEqual(PaperMarket(7).mid(SOL, NOON), PaperMarket(8).mid(SOL, NOON))
        market = PaperMarket(7)
        self.assertNotEqual(market.zscore(SOL_AVAX, NOON), market.zscore(Pair(SOL, Coin("LINK")), NOON))

    def test_an_instant_before_the_epoch_has_prices_too(self) -> None:
        self.assertTrue(PaperMarket(7).quote(SOL, NOON - timedelta(days=60 * 365)).usable)


class PricesArePlausible(unittest.TestCase):
    def setUp(self) -> None:
        self.market = PaperMarket(7)

    def test_a_coin_stays_in_the_neighbourhood_of_its_price(self) -> None:
        for coin, one in UNIVERSE.items():
            for hours in range(0, 24 * 20, 37):
                ratio = self.market.mid(coin, NOON + timedelta(hours=hours)) / one.base_price
                with self.subTest(coin=coin, hours=hours):
                    self.assertLess(abs(ratio - 1), Decimal("0.2"))

    def test_a_day_moves_bitcoin_by_two_or_three_percent(self) -> None:
        moves = []
        for seed in range(1, 13):
            market = PaperMarket(seed)
            mids = [float(market.mid(BTC, NOON + timedelta(days=day))) for day in range(20)]
            moves += [math.log(after / before) for before, after in pairwise(mids)]
        sigma = math.sqrt(sum(move * move for move in moves) / len(moves))
        self.assertGreater(sigma, 0.015)
        self.assertLess(sigma, 0.035)

    def test_the_path_is_continuous(self) -> None:
        for millisecond in range(0, 12_000, 100):
            at = NOON + timedelta(milliseconds=millisecond)
            here, there = self.market.mid(SOL, at), self.market.mid(SOL, at + timedelta(milliseconds=1))
            self.assertLess(abs(there / here - 1), Decimal("0.00001"))

    def test_the_mark_stays_close_to_the_mid(self) -> None:
        for second in range(0, 600, 7):
            at = NOON + timedelta(seconds=second)
            for coin in (BTC, AVAX):
                with self.subTest(coin=coin, second=second):
                    apart = abs(self.market.mark(coin, at) / self.market.mid(coin, at) - 1)
                    self.assertLess(apart, Decimal("0.006"))
                    self.assertTrue(on_price_grid(self.market.mark(coin, at), INSTRUMENTS[coin]))

    def test_the_touch_is_a_few_basis_points_wide(self) -> None:
        for coin in self.market.coins():
            quote = self.market.quote(coin, NOON)
            with self.subTest(coin=coin):
                width = (quote.ask - quote.bid) / quote.mid
                self.assertGreater(width, 0)
                self.assertLess(width, Decimal("0.001"))
                self.assertTrue(quote.bid < self.market.mid(coin, NOON) < quote.ask)

    def test_the_quote_is_the_best_of_the_depth(self) -> None:
        for coin in self.market.coins():
            quote, depth = self.market.quote(coin, NOON), self.market.depth(coin, NOON)
            with self.subTest(coin=coin):
                self.assertEqual((quote.bid, quote.ask), (depth.bids[0].price, depth.asks[0].price))
                self.assertEqual((len(depth.bids), len(depth.asks)), (LEVELS, LEVELS))

    def test_a_small_order_hardly_slips_a_large_one_does_and_a_huge_one_finds_too_little(self) -> None:
        depth = self.market.depth(AVAX, NOON)
        for levels in (depth.bids, depth.asks):
            self.assertLess(cost_of(levels, Decimal(1_000)), Decimal("0.0001"))
            self.assertGreater(cost_of(levels, Decimal(100_000)), Decimal("0.0003"))
            self.assertLess(cost_of(levels, Decimal(100_000)), Decimal("0.01"))
            self.assertTrue(cost_of(levels, Decimal(5_000_000)).is_nan())

    def test_funding_is_near_its_baseline_and_differs_by_hour_and_coin(self) -> None:
        rates = [self.market.funding_rate(SOL, NOON + timedelta(hours=hour)) for hour in range(500)]
        self.assertAlmostEqual(float(sum(rates) / len(rates)), 0.0000125, delta=0.0000015)
        self.assertGreater(max(rates), Decimal("0.00002"))
        self.assertLess(min(rates), 0)
        self.assertNotEqual(rates, [self.market.funding_rate(BTC, NOON + timedelta(hours=hour)) for hour in range(500)])


class SpreadsRevert(unittest.TestCase):
    def zscores(self, pair: Pair, lag_seconds: int) -> list[tuple[float, float]]:
        found = []
        for seed in range(1, 9):
            market = PaperMarket(seed)
            for minute in range(0, 600, 10):
                at = NOON + timedelta(minutes=minute)
                later = at + timedelta(seconds=lag_seconds)
                found.append((float(market.zscore(pair, at)), float(market.zscore(pair, later))))
        return found

    def test_a_z_score_has_mean_zero_and_deviation_one(self) -> None:
        scores = [score for score, _ in self.zscores(SOL_AVAX, 0)]
        self.assertAlmostEqual(sum(scores) / len(scores), 0.0, delta=0.15)
        self.assertAlmostEqual(sum(score * score for score in scores) / len(scores), 1.0, delta=0.2)

    def test_half_of_a_deviation_is_gone_after_the_half_life(self) -> None:
        pairs = self.zscores(SOL_AVAX, HALF_LIFE_SECONDS)
        left = sum(before * after for before, after in pairs) / sum(before * before for before, _ in pairs)
        self.assertAlmostEqual(left, 0.5, delta=0.12)

    def test_the_z_score_is_the_log_ratio_in_its_own_deviations(self) -> None:
        market = PaperMarket(7)
        mean = math.log(UNIVERSE[SOL].base_price / UNIVERSE[AVAX].base_price)
        sigma = math.hypot(UNIVERSE[SOL].own_sigma, UNIVERSE[AVAX].own_sigma)
        for second in range(0, 300, 13):
            at = NOON + timedelta(seconds=second)
            ratio = math.log(float(1 + market.spread(SOL_AVAX, at)))
            self.assertAlmostEqual(float(market.zscore(SOL_AVAX, at)), (ratio - mean) / sigma, places=3)

    def test_turning_a_pair_round_turns_the_sign(self) -> None:
        market = PaperMarket(7)
        self.assertEqual(market.zscore(Pair(AVAX, SOL), NOON), -market.zscore(SOL_AVAX, NOON))

    def test_a_pair_that_does_not_move_has_no_z_score(self) -> None:
        still = Coin("MATIC")
        self.assertEqual(PaperMarket(7).zscore(Pair(still, still), NOON), 0)

    def test_bitcoin_against_ether_is_calm_enough_for_a_twap(self) -> None:
        strayed = 0
        for seed in range(1, 61):
            market, arrival = PaperMarket(seed), NOON + timedelta(seconds=977 * seed)
            ratio = 1 + market.spread(BTC_ETH, arrival)
            later = (1 + market.spread(BTC_ETH, arrival + timedelta(seconds=36 * part)) for part in range(1, 6))
            strayed += any(abs(one / ratio - 1) > Decimal("0.003") for one in later)
        self.assertLessEqual(strayed, 6)

    def test_entries_at_large_z_scores_mostly_take_their_profit_and_sometimes_their_stop(self) -> None:
        ends = [end for seed in range(1, 13) for end in self.exits(PaperMarket(seed), entries=3)]
        won = ends.count("take profit") / len(ends)
        self.assertGreater(won, 0.55)
        self.assertLess(won, 0.95)
        self.assertIn("stop loss", ends)

    def exits(self, market: PaperMarket, entries: int) -> list[str]:
        at = NOON
        ends: list[str] = []
        while len(ends) < entries:
            zscore = market.zscore(SOL_AVAX, at)
            if abs(zscore) >= Decimal("2.2"):
                end, at = self.exit_of(market, 1 if zscore < 0 else -1, at)
                ends.append(end)
            at += timedelta(seconds=5)
        return ends

    def exit_of(self, market: PaperMarket, side: int, entered_at: datetime) -> tuple[str, datetime]:
        """How a dollar-neutral entry at the touch leaves: 2 % net to take, 1 % net to stop, looked at every second."""
        base, quote = market.quote(SOL, entered_at), market.quote(AVAX, entered_at)
        paid = (base.ask, quote.bid) if side > 0 else (base.bid, quote.ask)
        for second in range(1, 900):
            at = entered_at + timedelta(seconds=second)
            base, quote = market.quote(SOL, at), market.quote(AVAX, at)
            got = (base.bid, quote.ask) if side > 0 else (base.ask, quote.bid)
            made = side * (got[0] / paid[0] - got[1] / paid[1]) / 2
            fees = TAKER_FEE_RATE * (2 + got[0] / paid[0] + got[1] / paid[1]) / 2
            if made - fees >= Decimal("0.02"):
                return "take profit", at
            if made - fees <= Decimal("-0.01"):
                return "stop loss", at
        return "neither", at


if __name__ == "__main__":
    unittest.main()
