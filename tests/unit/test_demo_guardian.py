"""The demo Guardian: the desk's limits once more, all broken rules named, an id of its own for every yes."""

import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.builders import given_signal
from tests.fakes import NOON, FakeClock
from trading.adapters.demo_guardian import DemoGuardian, DemoLimits
from trading.domain.units import Coin, Ratio, TradeId, Usd
from trading.ports import Outcome, Proposal

LIMITS = DemoLimits(
    positions_max=3,
    allocation_max=Ratio(Decimal("0.30")),
    leverage_max=3,
    portfolio_min=Usd(Decimal(100)),
)
PROPOSAL = Proposal(
    trade_id=TradeId("trade_1"),
    signal=given_signal("signal_1", "BTC/ETH", "2.4"),
    long_coin=Coin("ETH"),
    short_coin=Coin("BTC"),
    position_size=Usd(Decimal(3000)),
    leverage=1,
    execution="market",
    take_profit=Decimal("0.02"),
    stop_loss=Decimal("0.01"),
    expires_at=NOON + timedelta(seconds=30),
    total_value=Usd(Decimal(100_000)),
    available_margin=Usd(Decimal(90_000)),
    margin_usage=Decimal(10),
    num_positions=0,
    liquidation_distance=Decimal(80),
    btc_volatility=None,
    trend=None,
)


def usd(amount: int | str) -> Usd:
    return Usd(Decimal(amount))


class DemoGuardianTest(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = FakeClock()
        self.guardian = DemoGuardian(LIMITS, self.clock)

    def test_what_keeps_to_the_limits_is_approved(self) -> None:
        approval = self.guardian.approve(PROPOSAL)
        self.assertTrue(approval.approved)
        self.assertEqual(
            approval.reasoning, "Approved: $3,000.00 of BTC/ETH at a z-score of 2.40 is within all limits."
        )
        self.assertEqual((approval.concerns, approval.rule_violations), ((), ()))
        self.assertEqual(approval.risk_score, Decimal("0.10"))
        self.assertEqual(approval.answered_at, self.clock.now())

    def test_exactly_at_a_limit_is_within_it(self) -> None:
        for name, proposal in {
            "allocation": replace(PROPOSAL, position_size=usd(30_000)),
            "leverage": replace(PROPOSAL, leverage=3),
            "positions": replace(PROPOSAL, num_positions=2),
            "portfolio": replace(PROPOSAL, total_value=usd(100), position_size=usd(30)),
            "z-score": replace(PROPOSAL, signal=given_signal(zscore="8")),
        }.items():
            with self.subTest(name):
                self.assertTrue(self.guardian.approve(proposal).approved)

    def test_each_broken_rule_is_a_rejection_that_says_so(self) -> None:
        contradiction = replace(given_signal(zscore="2.4"), zscore=Decimal("-2.4"))
        for words, proposal in {
            "a size of $30,000.01 is more than the $30,000.00": replace(PROPOSAL, position_size=usd("30000.01")),
            "a leverage of 4 is not between 1 and 3": replace(PROPOSAL, leverage=4),
            "a leverage of 0 is not between 1 and 3": replace(PROPOSAL, leverage=0),
            "3 of 3 positions are open": replace(PROPOSAL, num_positions=3),
            "the portfolio of $99.99 is below $100.00": replace(
                PROPOSAL, total_value=usd("99.99"), position_size=usd(20)
            ),
            "a z-score of 8.01 is a broken pair": replace(PROPOSAL, signal=given_signal(zscore="8.01")),
            "a z-score of -2.40 does not agree with short_spread": replace(PROPOSAL, signal=contradiction),
            "long BTC and short ETH is not what the signal says": replace(
                PROPOSAL, long_coin=Coin("BTC"), short_coin=Coin("ETH")
            ),
        }.items():
            with self.subTest(words):
                approval = self.guardian.approve(proposal)
                self.assertFalse(approval.approved)
                self.assertEqual(len(approval.rule_violations), 1)
                self.assertIn(words, approval.reasoning)
                self.assertEqual(approval.risk_score, 1)

    def test_all_broken_rules_are_named_at_once(self) -> None:
        proposal = replace(PROPOSAL, total_value=usd(-5), leverage=9, num_positions=7)
        approval = self.guardian.approve(proposal)
        self.assertEqual(len(approval.rule_violations), 4)
        self.assertIn("more than the $0.00 that may be allocated", approval.reasoning)

    def test_a_weak_signal_is_a_concern_and_no_refusal(self) -> None:
        for zscore in ("0.3", "-0.3", "0"):
            with self.subTest(zscore):
                signal = given_signal(zscore=zscore)
                proposal = replace(PROPOSAL, signal=signal, long_coin=signal.long_coin, short_coin=signal.short_coin)
                approval = self.guardian.approve(proposal)
                self.assertTrue(approval.approved)
                self.assertIn("hardly stretched", approval.concerns[0])
                self.assertIn("Mind that", approval.reasoning)
                self.assertEqual(approval.risk_score, Decimal("0.50"))

    def test_a_strained_portfolio_is_a_concern(self) -> None:
        approval = self.guardian.approve(replace(PROPOSAL, margin_usage=Decimal(61), liquidation_distance=Decimal(19)))
        self.assertTrue(approval.approved)
        self.assertEqual(approval.concerns, ("61 % of the margin is in use", "liquidation is 19 % away"))

    def test_no_two_questions_get_the_same_id(self) -> None:
        proposals = [replace(PROPOSAL, trade_id=TradeId(f"trade_{number}")) for number in range(20)]
        ids = {self.guardian.approve(proposal).id for proposal in proposals}
        self.assertEqual(len(ids), 20)
        again = self.guardian.approve(PROPOSAL).id
        self.assertEqual(self.guardian.approve(PROPOSAL).id, again)
        self.clock.advance(1)
        self.assertNotEqual(self.guardian.approve(PROPOSAL).id, again)

    def test_an_outcome_is_taken(self) -> None:
        outcome = Outcome("demo_1", Decimal("0.01"), Decimal(15), Decimal(16))
        self.guardian.report_outcome(outcome)
        self.assertTrue(self.guardian.approve(PROPOSAL).approved)


if __name__ == "__main__":
    unittest.main()
