"""Before anything is traded: the key must be the account's, the clocks together, the venue there."""

import unittest
from datetime import timedelta
from decimal import Decimal

from tests.fakes import FakeClock
from tests.servers.hyperliquid import AGENT, AGENT_KEY, MASTER, MASTER_KEY
from tests.servers.hyperliquid.faults import INFO, Answer, Commit, Fault
from tests.unit.hyperliquid_world import ETH, HyperliquidWorld
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.hyperliquid_readiness import Finding, check_ready, readiness
from trading.conf import ConfigurationError
from trading.domain.errors import VenueRejected, VenueUnavailable
from trading.domain.orders import OrderStatus

STRANGER = "0x" + "cd" * 20


class Readiness(HyperliquidWorld):
    weight = 1200

    def findings(self, venue: HyperliquidVenue | None = None) -> dict[str, Finding]:
        return {one.name: one for one in readiness(venue or self.venue, self.clock)}

    def assert_refused(self, venue: HyperliquidVenue, *words: str) -> None:
        with self.assertRaises(ConfigurationError) as caught:
            check_ready(readiness(venue, self.clock))
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertNotIn(AGENT_KEY[2:], str(caught.exception))

    def test_a_healthy_desk_is_ready_and_nothing_is_sent(self) -> None:
        findings = check_ready(readiness(self.venue, self.clock))
        self.assertEqual({one.verdict for one in findings}, {"ok"}, findings)
        names = ["venue", "venue clock", "account", "wallet key", "equity", "fees", "request budget"]
        self.assertEqual([one.name for one in findings], names)
        self.assertEqual(len(self.exchange.received), 0)
        for one in findings:
            self.assertNotIn(AGENT_KEY[2:], one.words + one.remedy)

    def test_the_account_s_own_taker_fee_is_learned_on_the_way(self) -> None:
        self.exchange.account(MASTER).taker_fee = Decimal("0.000432")
        self.assertEqual(self.findings()["fees"].words, "0.043200 % as a taker")
        self.assertEqual(self.venue.traits.taker_fee, Decimal("0.000432"))

    def test_a_key_that_was_never_approved_is_refused(self) -> None:
        venue = self.opened(key="0x" + "22" * 32)
        self.assert_refused(venue, "HYPERLIQUID_WALLET_KEY", venue.signer_address, "is no API wallet", MASTER)

    def test_a_key_of_another_account_is_refused(self) -> None:
        self.exchange.open_account(STRANGER, 5)
        self.assert_refused(self.opened(address=STRANGER), AGENT, f"belongs to {MASTER}")

    def test_an_api_wallet_s_address_is_no_account(self) -> None:
        self.assert_refused(self.opened(address=AGENT), "HYPERLIQUID_ACCOUNT_ADDRESS", f"set its master's, {MASTER}")

    def test_an_address_that_the_network_does_not_know_is_refused(self) -> None:
        self.assert_refused(self.opened(address=STRANGER), STRANGER, "is no account but: missing", "fund it")

    def test_a_sub_account_is_not_supported(self) -> None:
        self.exchange.open_account(STRANGER, 5)
        self.exchange.sub_accounts[STRANGER] = MASTER
        self.assert_refused(self.opened(address=STRANGER), "a subAccount is not supported")

    def test_the_account_s_own_key_works_with_a_warning(self) -> None:
        venue = self.opened(key=MASTER_KEY)
        self.assertEqual(self.findings(venue)["wallet key"].verdict, "warning")
        check_ready(readiness(venue, self.clock))

    def test_an_api_wallet_that_ends_soon_is_a_warning(self) -> None:
        self.clock.advance(84 * 86_400)
        finding = self.findings()["wallet key"]
        self.assertEqual(finding.verdict, "warning")
        self.assertIn("ends at 2027-02-20", finding.words)

    def test_an_unnamed_api_wallet_has_no_end_that_is_told(self) -> None:
        self.exchange.revoke_agent(AGENT)
        self.exchange.approve_agent(MASTER, AGENT)
        self.assertEqual(self.findings()["wallet key"].verdict, "ok")

    def test_a_venue_that_is_not_there_is_one_finding_and_may_pass(self) -> None:
        self.server.faults.down(INFO)
        (finding,) = readiness(self.venue, self.clock)
        self.assertEqual((finding.name, finding.verdict, finding.unavailable), ("venue", "error", True))
        with self.assertRaises(VenueUnavailable):
            check_ready(readiness(self.venue, self.clock))

    def test_a_question_without_an_answer_is_an_error_that_may_pass(self) -> None:
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "userRole", None))
        findings = self.findings()
        self.assertEqual((findings["account"].verdict, findings["account"].unavailable), ("error", True))
        self.assertEqual(findings["equity"].verdict, "ok")

    def test_clocks_that_are_apart_are_told_with_the_remedy(self) -> None:
        for seconds, verdict in ((0.5, "ok"), (1.5, "warning"), (2.5, "error")):
            with self.subTest(seconds=seconds):
                venue = self.opened(clock=FakeClock(self.clock.now() - timedelta(seconds=seconds)))
                self.assertEqual(self.findings(venue)["venue clock"].verdict, verdict)
        with self.assertRaises(VenueUnavailable):
            check_ready(readiness(venue, self.clock))

    def test_an_empty_account_and_a_unified_one_are_told_apart(self) -> None:
        self.exchange.account(MASTER).raw = Decimal(0)
        self.exchange.account(MASTER).abstraction = "unifiedAccount"
        findings = self.findings()
        self.assertEqual(findings["equity"].verdict, "warning")
        self.assertIn("unified", findings["account"].words)

    def test_a_stranger_s_agent_is_told_apart_from_no_agent(self) -> None:
        self.exchange.open_account(STRANGER, 5)
        self.exchange.approve_agent(STRANGER, AGENT, "other")
        self.assert_refused(self.venue, f"belongs to {STRANGER}")

    def test_nothing_signed_leaves_before_the_key_is_known_to_be_the_account_s(self) -> None:
        self.exchange.open_account(STRANGER, 5)
        self.exchange.approve_agent(STRANGER, AGENT, "other")
        (report,) = self.venue.submit([self.an_order()])
        self.assertIn("nothing was sent", report.detail)
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(ETH, 2)
        self.assertEqual(list(self.exchange.received), [])

    def test_a_proof_serves_every_process_after_and_costs_a_close_nothing(self) -> None:
        self.assertTrue(self.venue.is_proven())
        self.venue.meter.limit = 1200
        later = self.opened()
        asked = self.server.info.calls["userRole"]
        self.assertTrue(later.is_proven())
        self.assertEqual(self.server.info.calls["userRole"], asked)
        self.assertEqual(self.findings(later)["wallet key"].verdict, "ok")
        self.assertEqual(self.server.info.calls["userRole"], asked)

    def test_a_proof_is_of_one_key_and_one_account(self) -> None:
        """The key of another account would trade that one, while this one is read."""
        self.assertTrue(self.venue.is_proven())
        self.assertFalse(self.opened(key="0x" + "3" * 64).is_proven())
        self.assertFalse(self.opened(address="0x" + "cd" * 20).is_proven())

    def test_a_key_that_was_proven_and_is_approved_no_more_is_told_and_does_not_keep_a_desk_from_watching(self) -> None:
        """An API wallet ends after ninety days, or its owner takes it back: the doctor called it well."""
        self.assertTrue(self.venue.is_proven())
        self.exchange.revoke_agent(AGENT)
        for name in ("", "another"):
            with self.subTest(name=name):
                if name:
                    self.exchange.approve_agent(MASTER, STRANGER, name)
                later = self.opened()
                finding = self.findings(later)["wallet key"]
                self.assertEqual((finding.verdict, finding.unavailable), ("error", True))
                self.assertIn(f"{AGENT} is approved no more", finding.words)
                with self.assertRaises(VenueUnavailable):
                    check_ready(readiness(later, self.clock))

    def test_a_spent_budget_is_a_warning_and_not_a_fault_of_the_account(self) -> None:
        self.venue.meter.limit = 1200
        self.venue.meter.charge(1100)
        findings = self.findings()
        self.assertEqual({findings[name].verdict for name in ("wallet key", "fees")}, {"warning"})

    def test_a_key_that_could_not_be_proven_at_first_is_asked_about_again(self) -> None:
        self.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "userRole", None))
        (report,) = self.venue.submit([self.an_order()])
        self.assertIn("nothing was sent", report.detail)
        self.server.faults.lift()
        (report,) = self.venue.submit([self.an_order()])
        self.assertEqual(report.status, OrderStatus.FILLED)

    def test_a_budget_that_is_nearly_spent_or_not_metered_is_a_warning(self) -> None:
        self.venue.meter.charge(850)
        self.assertEqual(self.findings()["request budget"].verdict, "warning")
        self.venue.meter.limit = 0
        self.assertEqual(self.findings()["request budget"].words, "not metered")


if __name__ == "__main__":
    unittest.main()
