"""The Guardian client over a real socket: only a flawless yes for this very trade is a yes."""

import time
import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.builders import given_signal
from tests.fakes import NOON, FakeClock
from tests.servers.guardian import APPROVAL, GuardianServer
from tests.servers.sibling import Reply, says
from trading.adapters.guardian import (
    APPROVAL_ID_LENGTH_MAX,
    REASONING_LENGTH_MAX,
    REMARK_LENGTH_MAX,
    REMARKS_MAX,
    GuardianClient,
    approval_request,
)
from trading.adapters.system import SystemClock
from trading.domain.errors import GuardianUnavailable, InvalidRequest
from trading.domain.exit_plan import TrailingStop
from trading.domain.units import Coin, Ratio, TradeId, Usd
from trading.ports import Outcome, Proposal

PATIENCE = 10.0
PROPOSAL = Proposal(
    trade_id=TradeId("trade_1"),
    signal=given_signal("signal_1", "BTC/ETH", "2.4"),
    long_coin=Coin("ETH"),
    short_coin=Coin("BTC"),
    position_size=Usd(Decimal("1000.10")),
    leverage=2,
    execution="market",
    take_profit=Decimal("0.02"),
    stop_loss=Decimal("0.01"),
    expires_at=NOON + timedelta(seconds=30),
    total_value=Usd(Decimal(100_000)),
    available_margin=Usd(Decimal(90_000)),
    margin_usage=Decimal("12.5"),
    num_positions=1,
    liquidation_distance=Decimal(40),
    btc_volatility=Decimal("2.1"),
    trend="up",
)
OUTCOME = Outcome("approval_1", Decimal("-0.0104"), Decimal("15.25"), Decimal("15.5"))


class QuestionTest(unittest.TestCase):
    def test_the_question_has_the_words_that_guardian_knows(self) -> None:
        body = approval_request(PROPOSAL)
        trade, portfolio = body["trade_proposal"], body["portfolio_state"]
        assert isinstance(trade, dict)
        self.assertEqual(trade["pair"], "BTC/ETH")
        self.assertEqual((trade["zscore"], trade["size"]), (2.4, 1000.1))
        self.assertEqual((trade["long"], trade["short"]), ("ETH", "BTC"))
        self.assertEqual(trade["sides"], {"ETH": "buy", "BTC": "sell"})
        self.assertEqual((trade["signal_id"], trade["trade_id"]), ("signal_1", "trade_1"))
        self.assertEqual((trade["leverage"], trade["execution"]), (2, "market"))
        self.assertEqual((trade["take_profit"], trade["stop_loss"]), (0.02, 0.01))
        self.assertEqual(trade["expires_at"], PROPOSAL.expires_at.isoformat())
        self.assertLessEqual({"entry_spread", "confidence", "proposal_hash"}, set(trade))
        self.assertEqual(
            portfolio,
            {
                "total_value": 100000.0,
                "available_margin": 90000.0,
                "margin_usage": 12.5,
                "leverage": 2,
                "num_positions": 1,
                "liquidation_distance": 40.0,
            },
        )
        self.assertEqual(body["market_conditions"], {"btc_volatility": 2.1, "trend": "up"})

    def test_barriers_beside_the_plain_ones_are_named_as_in_the_api(self) -> None:
        further = {"stop_loss_usd": Decimal("15.5"), "take_profit_z": Decimal("0.5")}
        trade = approval_request(replace(PROPOSAL, further_exits=further))["trade_proposal"]
        assert isinstance(trade, dict)
        self.assertEqual((trade["stop_loss_usd"], trade["take_profit_z"]), (15.5, 0.5))
        self.assertNotIn("stop_loss_usd", str(approval_request(PROPOSAL)))

    def test_a_trailing_stop_and_a_time_limit_are_exits_too(self) -> None:
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.004")))
        trade = approval_request(replace(PROPOSAL, trailing=trailing, max_holding_seconds=900))["trade_proposal"]
        assert isinstance(trade, dict)
        self.assertEqual((trade["trailing_stop"], trade["max_holding_seconds"]), ({"arm": 0.01, "gap": 0.004}, 900))
        self.assertNotIn("trailing", str(approval_request(PROPOSAL)))

    def test_what_is_not_known_is_left_out(self) -> None:
        signal = given_signal("signal_1", entry_spread=None, correlation=None)
        body = approval_request(replace(PROPOSAL, signal=signal, btc_volatility=None, trend=None))
        trade = body["trade_proposal"]
        assert isinstance(trade, dict)
        self.assertNotIn("entry_spread", trade)
        self.assertNotIn("correlation", trade)
        self.assertEqual(body["market_conditions"], {})

    def test_the_hash_is_of_all_that_was_said(self) -> None:
        def fingerprint(proposal: Proposal) -> object:
            trade = approval_request(proposal)["trade_proposal"]
            assert isinstance(trade, dict)
            return trade["proposal_hash"]

        self.assertEqual(fingerprint(PROPOSAL), fingerprint(replace(PROPOSAL, leverage=2)))
        for changed in (
            replace(PROPOSAL, position_size=Usd(Decimal(1001))),
            replace(PROPOSAL, leverage=3),
            replace(PROPOSAL, num_positions=2),
            replace(PROPOSAL, trend="down"),
            replace(PROPOSAL, trade_id=TradeId("trade_2")),
        ):
            self.assertNotEqual(fingerprint(PROPOSAL), fingerprint(changed))


class GuardianCase(unittest.TestCase):
    def setUp(self) -> None:
        self.server = self.enterContext(GuardianServer())
        self.client = GuardianClient(self.server.url, PATIENCE, SystemClock())

    def assert_no_approval(self, why: str = "") -> None:
        with self.assertRaisesRegex(GuardianUnavailable, why):
            self.client.approve(PROPOSAL)


class ApprovalTest(GuardianCase):
    def test_an_approval_is_taken_as_it_is(self) -> None:
        self.server.answers(concerns=["BTC is lively"], rule_violations=[])
        began = SystemClock().now()
        approval = self.client.approve(PROPOSAL)
        self.assertEqual(approval.id, "approval_1")
        self.assertTrue(approval.approved)
        self.assertEqual(approval.risk_score, Decimal("0.35"))
        self.assertEqual(approval.reasoning, "within all limits")
        self.assertEqual(approval.concerns, ("BTC is lively",))
        self.assertEqual(approval.rule_violations, ())
        self.assertGreaterEqual(approval.answered_at, began)
        self.assertEqual(self.server.received[0].path, "/api/trade/approve")
        self.assertEqual(self.server.received[0].json, approval_request(PROPOSAL))

    def test_a_rejection_needs_no_id(self) -> None:
        for changes in ({"approval_id": ""}, {"approval_id": None}, {"approval_id": "rejection_7"}):
            with self.subTest(changes):
                self.server.answers(decision="reject", reasoning="too large", rule_violations=["R1"], **changes)
                approval = self.client.approve(PROPOSAL)
                self.assertFalse(approval.approved)
                self.assertEqual(approval.reasoning, "too large")
                self.assertEqual(approval.rule_violations, ("R1",))
                self.assertEqual(approval.id, changes["approval_id"] or "")

    def test_a_bare_approval_is_enough(self) -> None:
        self.server.script(says({"decision": "approve", "approval_id": "a"}))
        approval = self.client.approve(PROPOSAL)
        self.assertEqual((approval.id, approval.risk_score, approval.reasoning, approval.concerns), ("a", None, "", ()))

    def test_guardian_may_echo_what_it_was_sent(self) -> None:
        sent = approval_request(PROPOSAL)["trade_proposal"]
        assert isinstance(sent, dict)
        echoes: dict[str, dict[str, object]] = {
            "all of it, inside": {"trade_proposal": sent},
            "all of it, on top": sent,
            "with a confidence of its own": {"confidence": 0.1},
            "numbers as text": {"size": "1000.10", "leverage": "2"},
            "nothing known": {"signal_id": None, "size": None},
            "something else under the name": {"trade_proposal": "trade_1"},
        }
        for name, changes in echoes.items():
            with self.subTest(name):
                self.server.answers(**changes)
                self.assertTrue(self.client.approve(PROPOSAL).approved)

    def test_a_trailing_stop_that_comes_back_has_to_be_the_one_that_was_sent(self) -> None:
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.004")))
        for echoed, taken in (
            ({"arm": 0.01, "gap": 0.004}, True),
            ({"gap": "0.0040", "arm": "0.01"}, True),
            ({"arm": 0.01, "gap": 0.005}, False),
            ({"arm": 0.01}, False),
            ("0.01/0.004", False),
        ):
            with self.subTest(echoed=echoed):
                self.server.answers(trailing_stop=echoed)
                if taken:
                    self.assertTrue(self.client.approve(replace(PROPOSAL, trailing=trailing)).approved)
                else:
                    with self.assertRaisesRegex(GuardianUnavailable, "another trailing_stop"):
                        self.client.approve(replace(PROPOSAL, trailing=trailing))

    def test_an_answer_that_speaks_of_another_trade_is_none(self) -> None:
        for name, value in (
            ("pair", "ETH/BTC"),
            ("pair", ["BTC/ETH"]),
            ("size", 100_000),
            ("size", 1000.11),
            ("size", "all"),
            ("size", True),
            ("position_size", 1),
            ("zscore", -2.4),
            ("signal_type", "long_spread"),
            ("sides", {"ETH": "sell", "BTC": "buy"}),
            ("sides", "both"),
            ("trailing_stop", {"arm": 0.01, "gap": 0.004}),
            ("max_holding_seconds", 900),
            ("stop_loss_usd", 50),
            ("take_profit_z", 0.5),
            ("signal_id", "signal_2"),
            ("trade_id", "trade_2"),
            ("leverage", 3),
            ("execution", "twap"),
            ("long", "BTC"),
            ("short", "ETH"),
            ("take_profit", 0.5),
            ("stop_loss", 0.5),
            ("expires_at", "2027-01-01T00:00:00+00:00"),
            ("proposal_hash", "0" * 64),
        ):
            for decision in ("approve", "reject"):
                for changes in ({name: value}, {"trade_proposal": {name: value}}):
                    with self.subTest(name, value=value, decision=decision, nested=len(changes) == 1):
                        self.server.answers(decision=decision, **changes)
                        self.assert_no_approval(f"another {name}")

    def test_a_malformed_answer_is_no_approval(self) -> None:
        malformed: dict[str, dict[str, object]] = {
            "no decision": {"decision": None},
            "another word": {"decision": "approved"},
            "another case": {"decision": "APPROVE"},
            "a truth": {"decision": True},
            "no id": {"approval_id": None},
            "an empty id": {"approval_id": ""},
            "a blank id": {"approval_id": "   "},
            "a number for an id": {"approval_id": 7},
            "a list for an id": {"approval_id": ["a"]},
            "an endless id": {"approval_id": "x" * (APPROVAL_ID_LENGTH_MAX + 1)},
            "an id that acts": {"approval_id": "a\x1b[2J"},
            "a word for a score": {"risk_score": "low"},
            "a truth for a score": {"risk_score": True},
            "a number for a reason": {"reasoning": 3},
            "a word for concerns": {"concerns": "many"},
            "an object for violations": {"rule_violations": {"R1": "yes"}},
        }
        for name, changes in malformed.items():
            with self.subTest(name):
                self.server.answers(**changes)
                self.assert_no_approval("cannot be used")

    def test_a_score_out_of_all_bounds_is_malformed(self) -> None:
        for score in (b"1e999999", b"-1e9", b"1e-999"):
            body = b'{"decision": "approve", "approval_id": "a", "risk_score": %s}' % score
            with self.subTest(score):
                self.server.script(Reply(body=body))
                self.assert_no_approval("risk_score")

    def test_a_score_of_zero_is_a_score(self) -> None:
        for score in (0, 0.0, 35):
            with self.subTest(score=score):
                self.server.answers(risk_score=score)
                self.assertEqual(self.client.approve(PROPOSAL).risk_score, Decimal(str(score)))

    def test_what_is_no_object_is_no_approval(self) -> None:
        for value in ([APPROVAL], "approve", None, True):
            with self.subTest(value=value):
                self.server.script(says(value))
                self.assert_no_approval("no object")

    def test_failures_are_no_approval_and_guardian_is_asked_once(self) -> None:
        self.client = GuardianClient(self.server.url, 0.5, SystemClock())
        for name, reply in {
            "500": says(APPROVAL, 500),
            "503": says(APPROVAL, 503),
            "403 with a yes in it": says(APPROVAL, 403),
            "redirect": Reply(307, headers={"Location": "/api/trade/approve"}),
            "garbage": Reply(body=b"approve"),
            "NaN": Reply(body=b'{"decision": "approve", "approval_id": "a", "risk_score": NaN}'),
            "broken off": Reply(breaks_off=True),
            "silence": Reply(hangs=True),
            "drip": Reply(body=b" " * 500, drip_seconds=0.05),
        }.items():
            with self.subTest(name):
                self.server.received.clear()
                self.server.script(reply)
                began = time.monotonic()
                self.assert_no_approval()
                self.assertLess(time.monotonic() - began, 5)
                self.assertEqual(len(self.server.received), 1)

    def test_less_time_may_be_given_than_configured(self) -> None:
        self.server.script(Reply(hangs=True))
        began = time.monotonic()
        with self.assertRaisesRegex(GuardianUnavailable, "in time"):
            self.client.approve(PROPOSAL, 0.1)
        self.assertLess(time.monotonic() - began, PATIENCE / 2)

    def test_guardians_words_are_cleaned_and_bounded(self) -> None:
        self.server.answers(
            reasoning="fine\x1b[31m\r\n" + "x" * 10_000,
            concerns=["a\x00b", {"why": 1}] + ["y" * 1000] * 100,
        )
        approval = self.client.approve(PROPOSAL)
        self.assertTrue(approval.reasoning.startswith("fine [31m  xxx"))
        self.assertEqual(len(approval.reasoning), REASONING_LENGTH_MAX)
        self.assertEqual(approval.concerns[:2], ("a b", "{'why': 1}"))
        self.assertEqual((len(approval.concerns), len(approval.concerns[2])), (REMARKS_MAX, REMARK_LENGTH_MAX))

    def test_a_guardian_that_must_not_be_talked_to_is_refused_at_once(self) -> None:
        with self.assertRaisesRegex(InvalidRequest, "GUARDIAN_URL"):
            GuardianClient("http://guardian.example", 1, FakeClock())


class OutcomeTest(GuardianCase):
    def test_the_outcome_is_told_in_guardians_words(self) -> None:
        self.client.report_outcome(OUTCOME)
        self.assertEqual(self.server.received[0].path, "/api/trade/outcome")
        self.assertEqual(
            self.server.received[0].json,
            {"approval_id": "approval_1", "pnl": -0.0104, "entry_price": 15.25, "exit_price": 15.5},
        )

    def test_an_unknown_approval_is_final(self) -> None:
        self.server.script(says({"detail": "unknown"}, 404))
        self.client.report_outcome(OUTCOME)
        self.assertEqual(len(self.server.received), 1)

    def test_any_other_failure_is_told_so_that_it_is_tried_again(self) -> None:
        for status in (400, 500, 503, 302):
            with self.subTest(status=status):
                self.server.script(Reply(status))
                with self.assertRaises(GuardianUnavailable):
                    self.client.report_outcome(OUTCOME)
        self.assertEqual(len(self.server.received), 4)


if __name__ == "__main__":
    unittest.main()
