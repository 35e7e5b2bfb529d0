"""Before anything is traded through Pear: its agent and its fee must be approved, its key good, the account there."""

import io
import unittest
from unittest import mock

from django.core.management import CommandError, call_command

from tests.servers.hyperliquid import AGENT, MASTER, MASTER_KEY
from tests.servers.hyperliquid.faults import INFO, Answer, Commit, Fault
from tests.servers.pear import BUILDER, PEAR_AGENT
from tests.unit.pear_world import PearWorld
from trading.adapters.hyperliquid_readiness import Finding, check_ready
from trading.adapters.pear import PearVenue
from trading.adapters.pear_readiness import readiness
from trading.conf import Config, ConfigurationError
from trading.domain.errors import VenueUnavailable


class Readiness(PearWorld):
    def findings(self, venue: PearVenue | None = None) -> dict[str, Finding]:
        return {one.name: one for one in readiness(venue or self.venue, self.clock)}

    def assert_error(self, name: str, *words: str, venue: PearVenue | None = None) -> None:
        finding = self.findings(venue)[name]
        self.assertEqual(finding.verdict, "error")
        for word in words:
            self.assertIn(word, finding.words + finding.remedy)

    def test_a_healthy_desk_is_ready_and_nothing_is_sent(self) -> None:
        findings = check_ready(readiness(self.venue, self.clock))
        names = ["venue", "Pear", "Pear log-in", "Pear's agent", "venue clock", "account", "Pear's fee", "equity"]
        self.assertEqual([one.name for one in findings], [*names, "fees", "request budget", "wallet key"])
        self.assertEqual({one.verdict for one in findings}, {"ok", "warning"})
        self.assertEqual({one.name for one in findings if one.verdict == "warning"}, {"wallet key", "request budget"})
        self.assertEqual(len(self.exchange.received), 0)
        self.assertFalse([route for route, _ in self.pear.received if route.startswith("POST /positions")])

    def test_pear_s_fee_is_learned_on_top_of_the_account_s_own(self) -> None:
        self.assertEqual(self.findings()["fees"].words, "0.10500 % as a taker")

    def test_an_agent_that_is_missing_is_told_however_pear_says_it(self) -> None:
        for word in ("404", "empty", "nothing"):
            with self.subTest(word=word):
                self.pear.agentless = word
                self.assert_error("Pear's agent", "no agent wallet", "approve")

    def test_an_agent_that_is_not_approved_or_ends_soon_is_told(self) -> None:
        self.clock.advance(84 * 86_400)
        self.assertEqual(self.findings()["Pear's agent"].verdict, "warning")
        self.exchange.revoke_agent(PEAR_AGENT)
        self.assert_error("Pear's agent", PEAR_AGENT, "is no API wallet of")
        with self.assertRaises(ConfigurationError):
            check_ready(readiness(self.venue, self.clock))

    def test_a_fee_that_is_not_approved_is_told(self) -> None:
        self.exchange.account(MASTER).builder_fees[BUILDER] = 10
        self.assert_error("Pear's fee", "0.06%", "not approved")

    def test_what_has_lapsed_is_no_reason_to_leave_what_is_held_unwatched(self) -> None:
        """After a restart nobody watched it, and the emergency stop did not start either."""
        self.held_pair()
        self.exchange.revoke_agent(PEAR_AGENT)
        self.exchange.account(MASTER).builder_fees.clear()
        for venue in (self.venue, self.opened(api_key="taken back")):
            with self.subTest(venue=venue), self.assertRaises(VenueUnavailable) as caught:
                check_ready(readiness(venue, self.clock))
            self.assertIn("is not approved", caught.exception.detail)
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "clearinghouseState", None))
        with self.assertRaises(VenueUnavailable):
            check_ready(readiness(self.opened(), self.clock))

    def test_a_key_that_pear_refuses_names_its_variable(self) -> None:
        venue = self.opened(api_key="of somebody else")
        self.assert_error("Pear log-in", "PEAR_API_KEY", "pear_login", venue=venue)
        self.assertNotIn("Pear's agent", self.findings(venue))

    def test_an_account_that_is_none_is_told(self) -> None:
        self.pear.sessions.keep_key(AGENT, "its key")
        self.assert_error(
            "account", "agent", "HYPERLIQUID_ACCOUNT_ADDRESS", venue=self.opened(address=AGENT, api_key="its key")
        )

    def test_what_does_not_answer_may_pass_by_itself(self) -> None:
        self.pear.faults.add(Fault("GET /health", Answer.CLOSED, Commit.NEVER, "", None))
        finding = self.findings()["Pear"]
        self.assertTrue(finding.unavailable)
        with self.assertRaises(VenueUnavailable):
            check_ready(readiness(self.venue, self.clock))
        self.pear.faults.lift()
        self.pear.faults.add(Fault("POST /auth/login", Answer.CLOSED, Commit.NEVER, "", None))
        self.assertTrue(self.findings()["Pear log-in"].unavailable)
        self.pear.faults.lift()
        for answer in (Answer.BAD_GATEWAY, Answer.TOO_MANY):
            self.pear.faults.add(Fault("POST /auth/login", answer, Commit.NEVER, "", None))
            self.assertTrue(self.findings(self.opened())["Pear log-in"].unavailable)
            self.pear.faults.lift()
        self.pear.faults.add(Fault("GET /agentWallet", Answer.CLOSED, Commit.NEVER, "", None))
        self.assertTrue(self.findings()["Pear's agent"].unavailable)
        self.server.faults.add(Fault(INFO, Answer.CLOSED, Commit.NEVER, "meta", None))
        self.assertEqual(list(self.findings(self.opened())), ["venue"])


class WithAKey(Readiness):
    direct = True

    def test_a_healthy_desk_is_ready_and_nothing_is_sent(self) -> None:
        self.assertEqual(self.findings()["wallet key"].verdict, "ok")

    def test_a_key_of_nobody_is_refused(self) -> None:
        self.exchange.revoke_agent(AGENT)
        self.assert_error("wallet key", "HYPERLIQUID_WALLET_KEY", "is no API wallet")


class LogIn(PearWorld):
    def said(self, key: str) -> str:
        out = io.StringIO()
        config = Config.of(pear_api_url=self.pear.url)
        with (
            self.settings_of(config),
            mock.patch("sys.stdin", io.StringIO(f"{key}\n")),
            mock.patch("trading.bootstrap.SystemClock", lambda: self.clock),
        ):
            call_command("pear_login", "executor", stdout=out)
        return out.getvalue()

    def settings_of(self, config: Config) -> "mock._patch[object]":
        return mock.patch("trading.management.commands.pear_login.settings.DESK_CONFIG", config)

    def test_the_wallet_s_signature_makes_a_key_that_logs_in(self) -> None:
        said = self.said(MASTER_KEY)
        key = said.strip().rpartition("PEAR_API_KEY=")[2]
        self.opened(api_key=key).pear.log_in()
        self.assertEqual(self.pear.sessions.logins, ["eip712", "api_key"])
        self.assertNotIn(MASTER_KEY[2:], said)

    def test_something_else_than_a_log_in_is_not_signed(self) -> None:
        typed = {"primaryType": "HyperliquidTransaction:Withdraw", "domain": {}, "types": {}, "message": {}}
        self.pear.faults.say({**typed, "timestamp": 1767225600}, route="GET /auth/eip712-message")
        with self.assertRaises(CommandError) as caught:
            self.said(MASTER_KEY)
        self.assertIn("nothing was signed", str(caught.exception))
        self.assertEqual(self.pear.count("POST /auth/login"), 0)

    def test_a_key_that_is_none_and_a_timestamp_that_was_used_are_told(self) -> None:
        with self.assertRaises(CommandError) as caught:
            self.said("no key at all")
        self.assertNotIn("no key at all", str(caught.exception))
        self.said(MASTER_KEY)
        with self.assertRaises(CommandError) as caught:
            self.said(MASTER_KEY)
        self.assertIn("401", str(caught.exception))
        self.clock.advance(2)
        self.assertIn("PEAR_API_KEY=", self.said(MASTER_KEY))


if __name__ == "__main__":
    unittest.main()
