"""How the comparison of naked exposure judges: by the exchange's fills, and the weather that it is made in."""

import unittest
from decimal import Decimal

from bench.naked import Curve, Tally, curve_of, net_of
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault, Faults


def fill(at_ms: int, coin: str, side: str, size: str) -> dict[str, object]:
    return {"time": at_ms, "coin": coin, "side": side, "sz": size}


class CurveTest(unittest.TestCase):
    def test_both_legs_in_one_millisecond_were_never_apart(self) -> None:
        self.assertEqual(
            Curve(Decimal(0), Decimal(0)),
            curve_of([fill(5, "ETH", "B", "0.25"), fill(5, "BTC", "A", "0.01")], 9000),
        )
        self.assertEqual(Curve(Decimal(0), Decimal(0)), curve_of([], 9000))

    def test_a_leg_counts_in_full_until_its_sister_is_there_and_again_when_one_is_sold_first(self) -> None:
        fills = [
            fill(1000, "ETH", "B", "0.25"),
            fill(1500, "BTC", "A", "0.01"),
            fill(4000, "BTC", "B", "0.01"),
            fill(6000, "ETH", "A", "0.25"),
        ]
        self.assertEqual(Curve(Decimal(1000), Decimal(500 + 2000)), curve_of(fills, 9000))
        self.assertEqual(curve_of(fills, 9000), curve_of(fills[::-1], 9000))

    def test_what_is_left_counts_up_to_the_end_and_what_lands_after_it_at_worst(self) -> None:
        left = [fill(1000, "ETH", "B", "0.5"), fill(1000, "BTC", "A", "0.01")]
        self.assertEqual(Curve(Decimal(1000), Decimal(2000)), curve_of(left, 3000))
        late = [*left, fill(8000, "ETH", "B", "0.25")]
        self.assertEqual(Curve(Decimal(2000), Decimal(2000)), curve_of(late, 3000))

    def test_a_move_of_one_side_against_the_other_is_net(self) -> None:
        self.assertEqual(Decimal(-1000), net_of({"BTC": Decimal("-0.02"), "ETH": Decimal("0.25")}))


class TallyTest(unittest.TestCase):
    def test_shares_are_of_all_pairs(self) -> None:
        tally = Tally([Curve(Decimal(1000), Decimal(20)), Curve(Decimal(0), Decimal(1))], 1, 1, 0, 0)
        self.assertIn("2 pairs, 1 opened whole; worst naked 1000 USD, 21.0 USD-seconds naked in 1 pairs", tally.words)
        self.assertIn("1 one-legged and 0 doubled (50.0%)", tally.words)


class WeatherTest(unittest.TestCase):
    BAD = Fault(EXCHANGE, Answer.CLOSED, Commit.NEVER)

    def met(self, faults: Faults, count: int = 1000, route: str = EXCHANGE) -> list[bool]:
        return [faults.next_for(route, "order") is not None for _ in range(count)]

    def test_a_share_of_the_requests_meets_a_fault_and_a_seed_draws_the_same_again(self) -> None:
        one, other = Faults(), Faults()
        one.set_weather(7, 0.05, [self.BAD])
        other.set_weather(7, 0.05, [self.BAD])
        drawn = self.met(one)
        self.assertTrue(30 < sum(drawn) < 75, sum(drawn))
        self.assertEqual(drawn, self.met(other))

    def test_what_fits_no_route_and_fair_weather_meet_nobody(self) -> None:
        faults = Faults()
        faults.set_weather(7, 1.0, [self.BAD])
        self.assertFalse(any(self.met(faults, 10, INFO)))
        self.assertTrue(all(self.met(faults, 10)))
        faults.lift()
        self.assertFalse(any(self.met(faults, 10)))

    def test_what_was_set_goes_first(self) -> None:
        faults = Faults()
        faults.set_weather(7, 1.0, [self.BAD])
        set_first = faults.reply(Answer.GARBAGE)
        self.assertIs(set_first, faults.next_for(EXCHANGE, "order"))
        self.assertIs(self.BAD, faults.next_for(EXCHANGE, "order"))


if __name__ == "__main__":
    unittest.main()
