"""The demo Scout over the paper market: honest numbers, stable ids, an answer for anything."""

import unittest
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.fakes import NOON, FakeClock
from trading.adapters.demo_scout import AGE_SECONDS_MAX, LIVELY_ZSCORE, PAIRS, DemoScout, confidence_of
from trading.adapters.paper_market import PaperMarket
from trading.domain.market import Pair
from trading.domain.signals import SignalType
from trading.domain.units import Coin


class StillMarket:
    """A market whose z-scores the test writes; pairs that it does not name are at their mean."""

    def __init__(self, zscores: Mapping[str, str]) -> None:
        self.zscores = zscores

    def coins(self) -> tuple[Coin, ...]:
        return tuple({coin: None for pair in PAIRS for coin in (pair.base, pair.quote)})

    def zscore(self, pair: Pair, at: datetime) -> Decimal:
        return Decimal(self.zscores.get(str(pair), "0.1"))

    def spread(self, pair: Pair, at: datetime) -> Decimal:
        return Decimal("0.5")


class DemoScoutCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = FakeClock(NOON + timedelta(seconds=17))
        self.market = PaperMarket(7)
        self.scout = DemoScout(self.market, self.clock)


class OfferTest(DemoScoutCase):
    def test_at_least_twelve_pairs_of_majors_and_others_are_offered(self) -> None:
        offered = self.scout.recent()
        self.assertGreaterEqual(len(offered), 12)
        self.assertEqual(len({signal.id for signal in offered}), len(offered))
        self.assertIn("BTC/ETH", {str(signal.pair) for signal in offered})
        listed = set(self.market.coins())
        self.assertLessEqual({coin for one in offered for coin in (one.pair.base, one.pair.quote)}, listed)

    def test_every_offer_is_pending_and_dated_to_the_minute(self) -> None:
        for signal in self.scout.recent():
            self.assertEqual(signal.status, "pending")
            self.assertEqual(signal.created_at, NOON)
            self.assertIs(signal.created_at.tzinfo, UTC)

    def test_the_list_is_the_same_all_minute_and_new_in_the_next(self) -> None:
        first = self.scout.recent()
        self.clock.advance(42.5)
        self.assertEqual(self.scout.recent(), first)
        self.clock.advance(1)
        later = self.scout.recent()
        self.assertEqual({signal.created_at for signal in later}, {NOON + timedelta(minutes=1)})
        self.assertTrue({signal.id for signal in later}.isdisjoint(signal.id for signal in first))

    def test_numbers_are_the_markets(self) -> None:
        for signal in self.scout.recent():
            self.assertEqual(signal.zscore, self.market.zscore(signal.pair, NOON))
            self.assertEqual(signal.entry_spread, self.market.spread(signal.pair, NOON))
            self.assertEqual(signal.confidence, confidence_of(signal.zscore))
            self.assertIs(signal.signal_type is SignalType.SHORT_SPREAD, signal.zscore >= 0)

    def test_the_strongest_comes_first(self) -> None:
        strengths = [abs(signal.zscore) for signal in self.scout.recent()]
        self.assertEqual(strengths, sorted(strengths, reverse=True))

    def test_now_and_then_something_is_worth_taking(self) -> None:
        confident = 0
        for _ in range(30):
            confident += sum(signal.confidence >= Decimal("0.7") for signal in self.scout.recent())
            self.clock.advance(60)
        self.assertGreater(confident, 15)

    def test_confidence_grows_with_the_distance_from_the_mean(self) -> None:
        for zscore, confidence in (
            ("0", "0.40"),
            ("1", "0.60"),
            ("1.4999", "0.69"),
            ("1.5", "0.70"),
            ("-2.3", "0.86"),
            ("2.95", "0.99"),
            ("40", "0.99"),
        ):
            with self.subTest(zscore):
                self.assertEqual(confidence_of(Decimal(zscore)), Decimal(confidence))

    def test_a_pair_whose_coin_is_not_listed_is_not_offered(self) -> None:
        class Small(StillMarket):
            def coins(self) -> tuple[Coin, ...]:
                return (Coin("BTC"), Coin("ETH"), Coin("SOL"))

        offered = DemoScout(Small({}), self.clock).recent()
        self.assertEqual({str(signal.pair) for signal in offered}, {"BTC/ETH", "ETH/SOL", "BTC/SOL"})


class LookUpTest(DemoScoutCase):
    def test_an_offered_signal_is_found_as_it_was_offered(self) -> None:
        offered = self.scout.recent()
        self.clock.advance(AGE_SECONDS_MAX - 18)
        for signal in offered:
            self.assertEqual(self.scout.signal(signal.id, None), signal)

    def test_another_process_finds_the_same(self) -> None:
        signal = self.scout.recent()[3]
        self.assertEqual(DemoScout(PaperMarket(7), self.clock).signal(signal.id, Pair.parse("SOL/AVAX")), signal)

    def test_an_offer_that_is_too_old_is_as_unknown_as_any_other_id(self) -> None:
        signal = self.scout.recent()[0]
        self.clock.advance(AGE_SECONDS_MAX)
        self.assertEqual(self.scout.signal(signal.id, None).created_at, self.clock.now())

    def test_an_id_that_only_looks_offered_is_unknown(self) -> None:
        minute = int(NOON.timestamp())
        for signal_id in (
            f"signal_{minute}.999",
            f"signal_{minute + 60}.0",
            f"signal_{minute + 1}.0",
            "signal_1795335320.2",
            f"signal_{'9' * 12}.0",
            f"signal_{minute}.0 ",
            f"signal_{minute}.\u0660",
        ):
            with self.subTest(signal_id):
                signal = self.scout.signal(signal_id, None)
                self.assertEqual((signal.id, signal.created_at), (signal_id, self.clock.now()))

    def test_any_id_works_for_the_pair_that_is_asked_for(self) -> None:
        for text in ("BTC/ETH", "ETH/BTC", "SOL/DOGE"):
            with self.subTest(text):
                pair = Pair.parse(text)
                signal = self.scout.signal("signal_123", pair)
                self.assertEqual((signal.id, signal.pair, signal.status), ("signal_123", pair, "pending"))
                self.assertEqual(signal.created_at, self.clock.now())
                self.assertEqual(signal.zscore, self.market.zscore(pair, self.clock.now()))
                self.assertEqual(signal.signal_type is SignalType.SHORT_SPREAD, signal.zscore >= 0)
                self.assertGreaterEqual(signal.confidence, Decimal("0.8"))

    def test_a_strong_signal_keeps_its_own_confidence(self) -> None:
        scout = DemoScout(StillMarket({"BTC/ETH": "-2.6"}), self.clock)
        signal = scout.signal("signal_123", Pair.parse("BTC/ETH"))
        self.assertEqual((signal.confidence, signal.signal_type), (Decimal("0.92"), SignalType.LONG_SPREAD))

    def test_a_coin_that_nobody_lists_still_gets_a_signal(self) -> None:
        for text in ("BTC/NOPE", "NOPE/BTC", "MATIC/ETH"):
            with self.subTest(text):
                signal = self.scout.signal("signal_1", Pair.parse(text))
                self.assertEqual((str(signal.pair), signal.zscore, signal.entry_spread), (text, 0, None))
                self.assertEqual(signal.confidence, Decimal("0.8"))

    def test_without_a_pair_the_id_picks_a_lively_one(self) -> None:
        lively = {"BTC/ETH": "1.5", "ARB/OP": "-2.5", "SUI/APT": "3"}
        scout = DemoScout(StillMarket(lively), self.clock)
        picked = {str(scout.signal(f"signal_{number}", None).pair) for number in range(50)}
        self.assertEqual(picked, set(lively))

    def test_the_same_id_picks_the_same_pair_as_long_as_it_is_lively(self) -> None:
        scout = DemoScout(StillMarket({"BTC/ETH": "2", "ARB/OP": "2"}), self.clock)
        first = scout.signal("signal_123", None)
        self.clock.advance(200)
        fewer = DemoScout(StillMarket({str(first.pair): "1.7"}), self.clock).signal("signal_123", None)
        self.assertEqual((fewer.pair, fewer.signal_type), (first.pair, first.signal_type))

    def test_when_nothing_is_lively_the_liveliest_is_picked(self) -> None:
        scout = DemoScout(StillMarket({"LINK/ATOM": "-1.2"}), self.clock)
        signal = scout.signal("signal_123", None)
        self.assertLess(abs(signal.zscore), LIVELY_ZSCORE)
        self.assertEqual(str(signal.pair), "LINK/ATOM")


if __name__ == "__main__":
    unittest.main()
