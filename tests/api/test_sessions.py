"""The log-in page's way in: a token for a signed cookie, and what that cookie may and may not do."""

import hashlib
import os
import re
from dataclasses import replace
from http.cookies import Morsel
from typing import Any
from unittest import mock

from django.core.signing import Signer
from django.http import HttpResponse

from tests.api.base import EXECUTE, ApiTestCase, told
from tests.api.test_access import API_TOKENS, TOKENS, bearer
from tests.servers.hyperliquid import AGENT_KEY, MASTER
from trading import bootstrap, events, sessions
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.keys import open_wallet
from trading.conf import HYPERLIQUID_MAINNET, HYPERLIQUID_TESTNET, Config
from trading.domain.errors import StoreCorrupt
from trading.pages import PARTS
from trading.sessions import COOKIE_CHARS_MAX, SESSION_AGE_MAX, WRITE_HEADER, cookie_name

HTML = {"Accept": "text/html,application/xhtml+xml"}
STOP = "/api/emergency_stop"


class SessionCase(ApiTestCase):
    configured = {"api_tokens": API_TOKENS, "allow_anonymous_loopback": False}  # noqa: RUF012 (a ClassVar of the base)

    @property
    def cookie(self) -> str:
        return cookie_name(self.desk.config)

    def log_in(self, scope: str = "trade") -> dict[str, Any]:
        """The answer to a log-in; the client keeps the cookie."""
        response = self.post("/api/session", {"token": TOKENS[scope]})
        self.assertEqual(201, response.status_code, response.content)
        body: dict[str, Any] = told(response)
        return body

    def morsel(self) -> "Morsel[str]":
        return self.client.cookies[self.cookie]

    def with_cookie(self, value: str) -> None:
        self.client.cookies[self.cookie] = value

    def configure(self, **changes: object) -> None:
        """The same desk under other tokens, as after a restart."""
        changed: Config = self.desk.config.model_copy(update=changes)
        object.__setattr__(self.desk, "config", changed)


class LogInTest(SessionCase):
    def test_a_token_gets_a_cookie_that_no_script_and_no_other_site_can_use(self) -> None:
        body = self.log_in()
        self.assertEqual(("the-trade", "trade", True), (body["name"], body["scope"], body["tokens"]))
        cookie = self.morsel()
        self.assertEqual(
            (True, "Strict", "/", ""), (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"])
        )
        self.assertNotIn(TOKENS["trade"], cookie.value)
        self.assertTrue(body["ends_at"])

    def test_over_tls_the_cookie_stays_there(self) -> None:
        self.client.post("/api/session", {"token": TOKENS["read"]}, "application/json", secure=True)
        self.assertTrue(self.morsel()["secure"])

    def test_a_wrong_token_gets_none(self) -> None:
        for token in ("x" * 43, TOKENS["read"] + "x"):
            self.assert_problem(self.post("/api/session", {"token": token}), 401, "TOKEN_UNKNOWN")
        for body in ({}, {"token": ""}, {"token": 7}, {"token": "x" * 513}, {"token": "a\0b"}):
            self.assert_invalid(self.post("/api/session", body), "token")
        self.assertNotIn(self.cookie, self.client.cookies)

    def test_guessing_is_throttled_and_leaving_is_not(self) -> None:
        self.configure(throttle_trade_per_minute=2)
        answers = [self.post("/api/session", {"token": "x" * 43}).status_code for _ in range(3)]
        self.assertEqual([401, 401, 429], answers)
        # Behind a proxy everybody has the guesser's address.
        self.log_in("admin")
        self.assertEqual(204, self.send("DELETE", "/api/session").status_code)

    def test_logging_out_takes_the_cookie_away(self) -> None:
        self.log_in()
        self.assertEqual(204, self.send("DELETE", "/api/session").status_code)
        self.assertEqual("", self.morsel().value)
        self.assert_problem(self.get("/api/positions"), 401, "NOT_AUTHENTICATED")

    def test_logging_out_ends_the_session_for_whoever_else_has_its_cookie(self) -> None:
        self.log_in("read")
        other = self.morsel().value
        self.log_in()
        copied = self.morsel().value
        self.send("DELETE", "/api/session")
        for value, status in ((copied, 401), (other, 200)):
            self.with_cookie(value)
            self.assertEqual(status, self.get("/api/positions").status_code)
        # In the same second.
        self.clock.advance(0.001)
        self.log_in()
        self.assertEqual(200, self.get("/api/positions").status_code)

    def test_who_has_logged_out_stays_so_over_a_restart(self) -> None:
        """A cookie that was taken before the log-out worked again."""
        for folder_there, status in ((True, 401), (False, 200)):
            self.clock.advance(1)
            self.log_in()
            copied = self.morsel().value
            if not folder_there:
                self.configure(data_dir=self.folder / "not there")
            self.send("DELETE", "/api/session")
            self.with_cookie(copied)
            self.assertEqual(401, self.get("/api/positions").status_code)
            sessions._logged_out_in.cache_clear()
            self.assertEqual(status, self.get("/api/positions").status_code)

    def test_what_is_remembered_of_a_log_out_is_no_cookie_and_for_this_user_only(self) -> None:
        self.log_in()
        copied = self.morsel().value
        self.send("DELETE", "/api/session")
        file = self.desk.config.data_dir / sessions.LOGGED_OUT_FILE
        self.assertEqual(hashlib.sha256(copied.encode()).hexdigest() + "\n", file.read_text())
        if os.name != "nt":
            self.assertEqual(0o600, file.stat().st_mode & 0o777)

    def test_a_list_of_log_outs_that_is_none_keeps_nobody_out(self) -> None:
        self.log_in()
        (self.desk.config.data_dir / sessions.LOGGED_OUT_FILE).write_bytes(b"\xff\x00")
        sessions._logged_out_in.cache_clear()
        self.assertEqual(200, self.get("/api/positions").status_code)

    def test_as_many_as_have_logged_out_are_remembered(self) -> None:
        self.log_in()
        first = self.morsel().value
        with mock.patch("trading.sessions.LOGGED_OUT_MAX", 2):
            for number in range(2):
                self.send("DELETE", "/api/session")
                self.with_cookie(first)
                self.assertEqual(401, self.get("/api/positions").status_code, number)
                self.clock.advance(0.001)
                self.log_in()
            self.send("DELETE", "/api/session")
        self.with_cookie(first)
        self.assertEqual(200, self.get("/api/positions").status_code)

    def test_who_is_looking(self) -> None:
        self.assert_problem(self.get("/api/session"), 401, "NOT_AUTHENTICATED")
        body = self.log_in("read")
        self.assertEqual(body, told(self.get("/api/session")))
        anonymous = told(self.get("/api/session", **bearer("admin")))
        self.assertEqual(("the-admin", "admin", None), (anonymous["name"], anonymous["scope"], anonymous["ends_at"]))


class CookieTest(SessionCase):
    def write(self, key: str | None, path: str = STOP) -> HttpResponse:
        headers = {} if key is None else {WRITE_HEADER: key}
        return self.post(path, {}, **headers)

    def test_it_reads_as_its_token_does(self) -> None:
        self.log_in("read")
        self.assertEqual(200, self.get("/api/positions").status_code)
        self.assertEqual(200, self.send("HEAD", "/api/events").status_code)

    def test_it_writes_with_its_key_only(self) -> None:
        key = self.log_in()["write_key"]
        for wrong in (None, "", "x", key[:-1], key + "0", "\xe4"):
            with self.subTest(wrong):
                self.assertIn(WRITE_HEADER, self.assert_problem(self.write(wrong), 403, "FORBIDDEN")["detail"])
        self.assertEqual(200, self.write(key).status_code)

    def test_the_key_of_one_session_is_no_use_to_another(self) -> None:
        key = self.log_in()["write_key"]
        self.clock.advance(1)
        self.log_in()
        self.assert_problem(self.write(key), 403, "FORBIDDEN")

    def test_a_read_session_writes_nothing_with_any_key(self) -> None:
        key = self.log_in("read")["write_key"]
        before = self.facts_on_disk()
        for path in (STOP, EXECUTE, "/api/positions/pos_1/close", "/api/resume"):
            with self.subTest(path):
                self.assertIn("scope", self.assert_problem(self.write(key, path), 403, "FORBIDDEN")["detail"])
        self.assertEqual(before, self.facts_on_disk())

    def test_another_site_writes_nothing_with_it(self) -> None:
        key = self.log_in()["write_key"]
        for header in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            self.assert_problem(self.post(STOP, {}, **{WRITE_HEADER: key, **header}), 403, "ORIGIN_REFUSED")

    def test_it_ends_after_its_time(self) -> None:
        self.log_in()
        self.clock.advance(SESSION_AGE_MAX.total_seconds() - 1)
        self.assertEqual(200, self.get("/api/positions").status_code)
        self.clock.advance(2)
        self.assertIn("log in again", self.assert_problem(self.get("/api/positions"), 401, "TOKEN_UNKNOWN")["detail"])
        self.assert_problem(self.get("/api/session"), 401, "NOT_AUTHENTICATED")

    def test_its_stream_ends_with_it(self) -> None:
        self.log_in("read")
        with mock.patch.object(events, "open_stream", return_value=None) as opened:
            self.assert_problem(self.get("/api/events"), 503, "STREAMS_FULL")
            self.assertEqual(self.clock.now() + SESSION_AGE_MAX, opened.call_args.args[2])
            self.get("/api/events", **bearer("read"))
            self.assertIsNone(opened.call_args.args[2])

    def test_it_ends_with_its_token(self) -> None:
        self.log_in()
        others = tuple(one for one in self.desk.config.api_tokens if one.name != "the-trade")
        successor = Config.of(api_tokens=f"the-trade:trade:{'0' * 64}").api_tokens
        for tokens in (others, successor):
            self.configure(api_tokens=tokens)
            self.assert_problem(self.get("/api/positions"), 401, "TOKEN_UNKNOWN")

    def test_a_token_that_was_given_less_makes_its_session_less(self) -> None:
        self.log_in("admin")
        admin = next(one for one in self.desk.config.api_tokens if one.name == "the-admin")
        self.configure(api_tokens=Config.of(api_tokens=f"the-admin:read:{admin.digest}").api_tokens)
        self.assertEqual("read", told(self.get("/api/session"))["scope"])

    def test_what_is_not_of_this_service_is_no_session(self) -> None:
        self.log_in()
        good = self.morsel().value
        made_up = Signer(salt="elsewhere").sign_object({"name": "the-admin", "mark": "0" * 16, "ends": 2**40})
        for value in (good[:-1], f"x{good}", "x", made_up, "a:b:c", "y" * (COOKIE_CHARS_MAX + 1)):
            with self.subTest(value[:20]):
                self.with_cookie(value)
                self.assert_problem(self.get("/api/positions"), 401, "TOKEN_UNKNOWN")

    def test_a_token_in_the_header_goes_before_the_cookie(self) -> None:
        self.log_in("read")
        self.assertEqual(200, self.post(STOP, {}, **bearer("trade")).status_code)
        self.assert_problem(self.get("/api/positions", Authorization="Bearer wrong"), 401, "TOKEN_UNKNOWN")

    def test_a_session_on_this_machine_is_what_it_is_and_not_anonymous(self) -> None:
        self.configure(allow_anonymous_loopback=True)
        key = self.log_in("read")["write_key"]
        self.assert_problem(self.write(key), 403, "FORBIDDEN")


class PageTest(SessionCase):
    def test_the_dashboard_sends_strangers_to_the_log_in_page(self) -> None:
        response = self.get("/", **HTML)
        self.assertEqual((302, "/login"), (response.status_code, response["Location"]))
        self.log_in("read")
        self.assertEqual(200, self.get("/", **HTML).status_code)

    def test_the_log_in_page_says_that_a_session_has_ended(self) -> None:
        self.assertNotContains(self.get("/login", **HTML), "has ended")
        self.log_in()
        self.assertNotContains(self.get("/login", **HTML), "has ended")
        self.clock.advance(SESSION_AGE_MAX.total_seconds() + 1)
        self.assertContains(self.get("/login", **HTML), "has ended")

    def test_who_asks_for_json_gets_the_list_of_routes_and_everybody_else_the_page(self) -> None:
        self.assertIn("GET /api/positions", told(self.get("/", Accept="application/json"))["routes"])
        self.log_in("read")
        for headers in ({"Accept": "*/*"}, {"Accept": "application/json, text/html"}, {"Accept": ""}, {}):
            with self.subTest(headers):
                self.assertContains(self.get("/", **headers), "<!DOCTYPE html>")

    def test_the_configured_exchange_says_what_money_is_at_stake(self) -> None:
        live = self.desk.config.model_copy(update={"demo_mode": False})
        for url, mode in (
            (HYPERLIQUID_TESTNET, "testnet"),
            (HYPERLIQUID_MAINNET, "mainnet"),
            ("http://127.0.0.1:9100", "local"),
        ):
            shared = self.folder / mode
            # Nothing is asked of it: only its name is looked at.
            venue = HyperliquidVenue.open(
                url, open_wallet(AGENT_KEY), MASTER, 0, shared, self.clock, self.desk.log, streams=False
            )
            self.addCleanup(venue.close)
            with self.subTest(mode), bootstrap.use_desk(replace(self.desk, config=live, venue=venue)):
                self.assertContains(self.get("/login", **HTML), f'data-mode="{mode}"')


class UnreadableTest(SessionCase):
    def test_a_desk_whose_files_cannot_be_trusted_has_its_page_too(self) -> None:
        self.log_in("read")
        damage = StoreCorrupt("trades.json:7 is damaged")
        for demo, mode in ((True, "demo"), (False, "unknown")):
            self.configure(demo_mode=demo)
            with self.subTest(mode), mock.patch("trading.pages.get_desk", side_effect=damage):
                self.assertContains(self.get("/", **HTML), f'data-mode="{mode}"')


class DemoPageTest(ApiTestCase):
    def test_without_tokens_there_is_nothing_to_log_in_to(self) -> None:
        self.assertEqual(200, self.get("/", **HTML).status_code)
        response = self.get("/login", **HTML)
        self.assertEqual((302, "/"), (response.status_code, response["Location"]))
        session = told(self.get("/api/session"))
        self.assertEqual(
            ("anonymous", "admin", None, False),
            tuple(session[name] for name in ("name", "scope", "write_key", "tokens")),
        )

    def test_a_cookie_of_another_desk_is_not_looked_at(self) -> None:
        self.client.cookies[cookie_name(self.desk.config)] = "of:another:desk"
        self.assertEqual(200, self.get("/api/positions").status_code)
        self.assertEqual(200, self.post(STOP, {}).status_code)

    def test_the_page_says_what_money_is_at_stake_before_any_script_runs(self) -> None:
        self.assertContains(self.get("/", **HTML), 'data-mode="demo"')

    def test_the_page_has_a_place_for_every_peer_before_it_has_asked(self) -> None:
        self.assertEqual(("Page", "Redis", "Monitor"), PARTS[:3])
        self.assertEqual(PARTS[3:], tuple(one["name"] for one in told(self.get("/api/connections"))))
        page = self.get("/", **HTML).content.decode()
        self.assertEqual(list(PARTS), re.findall(r'data-part="(\w+)"', page))

    def test_a_proxy_makes_the_demo_no_page_for_strangers(self) -> None:
        response = self.get("/", X_Forwarded_For="203.0.113.7", **HTML)
        self.assertEqual((302, "/login"), (response.status_code, response["Location"]))
        # And from there nobody is sent back, to and fro for ever.
        self.assertEqual(200, self.get("/login", X_Forwarded_For="203.0.113.7", **HTML).status_code)
