"""Who may come in: tokens, scopes, the loopback interface, forwarded requests, origins and hosts."""

import contextlib
import hashlib
import io
import json
import re
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError
from django.http import HttpResponse
from django.test import SimpleTestCase, override_settings

from tests.api.base import EXECUTE, PROBLEM, ApiTestCase, told
from trading import bootstrap
from trading.authentication import FORWARDED_HEADERS, caller_without_token, is_loopback_address
from trading.conf import ApiToken, Config, Scope, load_config
from trading.domain.errors import StoreCorrupt
from trading.middleware import HEADERS, NO_PAGE_POLICY, PAGE_POLICY, WsgiDoor
from trading.urls import urlpatterns
from trading.views import without_paths

TOKENS = {"read": "r" * 43, "trade": "t" * 43, "admin": "a" * 43}
API_TOKENS = ",".join(
    f"the-{scope}:{scope}:{hashlib.sha256(one.encode()).hexdigest()}" for scope, one in TOKENS.items()
)
ELSEWHERE = "203.0.113.7"
STANDS = (200, 201, 202, 400, 404, 409, 422)

# Each route with the scope it takes; the bodies are such that nothing happens when the door is open.
ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "/api/trades", "read"),
    ("GET", "/api/trades/trd_1", "read"),
    ("GET", "/api/fills", "read"),
    ("GET", "/api/analytics", "read"),
    ("GET", "/api/signals", "read"),
    ("HEAD", "/api/events", "read"),
    ("GET", "/api/positions", "read"),
    ("GET", "/api/positions/pos_1", "read"),
    ("GET", "/api/agent/logs", "read"),
    ("GET", "/api/portfolio", "read"),
    ("GET", "/api/time_windows", "read"),
    ("GET", "/api/positions/pos_1/marks", "read"),
    ("GET", "/api/positions/pos_1/close", "read"),
    ("GET", "/api/connections", "read"),
    ("HEAD", "/api/positions", "read"),
    ("OPTIONS", EXECUTE, "read"),
    ("POST", "/api/trades/preview", "read"),
    ("POST", EXECUTE, "trade"),
    ("POST", "/api/trades/trd_1/cancel", "trade"),
    ("POST", "/api/trades/trd_1/resume", "admin"),
    ("PATCH", "/api/positions/pos_1", "trade"),
    ("POST", "/api/positions/pos_1/close", "trade"),
    ("POST", "/api/emergency_stop?x=1", "trade"),
    ("POST", "/api/resume?x=1", "admin"),
)
ORDER = ("read", "trade", "admin")


def bearer(scope: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[scope]}"}


class TokenTest(ApiTestCase):
    configured = {"api_tokens": API_TOKENS, "allow_anonymous_loopback": False}  # noqa: RUF012 (a ClassVar of the base)

    def test_each_route_takes_its_scope_and_every_larger_one(self) -> None:
        for method, path, wanted in ROUTES:
            for held in ORDER:
                with self.subTest(f"{method} {path}", held=held):
                    response = self.send(method, path, **bearer(held))
                    if ORDER.index(held) >= ORDER.index(wanted):
                        self.assertIn(response.status_code, (*STANDS, 204))
                    else:
                        body = self.assert_problem(response, 403, "FORBIDDEN")
                        self.assertIn(wanted, body["detail"])

    def test_without_a_token_every_route_but_health_is_a_401_with_a_challenge(self) -> None:
        for method, path, _ in ROUTES:
            with self.subTest(f"{method} {path}"):
                response = self.send(method, path)
                self.assertEqual(401, response.status_code)
                self.assertIn("Bearer", response["WWW-Authenticate"])
        self.assert_problem(self.get("/api/positions"), 401, "NOT_AUTHENTICATED")

    def test_health_and_the_list_of_routes_need_no_token_and_do_not_look_at_one(self) -> None:
        for path in ("/api/health", "/"):
            for headers in ({}, {"Authorization": "Bearer wrong"}):
                with self.subTest(path, headers=headers):
                    self.assertEqual(200, self.get(path, Accept="application/json", **headers).status_code)

    def test_where_files_are_is_told_only_to_those_who_may_read(self) -> None:
        for folder in (self.desk.config.data_dir, Path("/srv/a folder/data")):
            config = self.desk.config.model_copy(update={"data_dir": folder})
            words = (
                (f"{folder}/trades.json:7 is damaged", "trades.json:7 is damaged"),
                (f"{folder}/archive/x.json has vanished", "archive/x.json has vanished"),
                (f"{folder} cannot be made: full", "DATA_DIR cannot be made: full"),
                (
                    "trade trd_1 does not replay: /var/lib/books/trades.json:3",
                    "trade trd_1 does not replay: trades.json:3",
                ),
                ("Redis does not answer; and/or is full", "Redis does not answer; and/or is full"),
            )
            for said, told_to_strangers in words:
                with self.subTest(said):
                    self.assertEqual(told_to_strangers, without_paths(said, config))
        damage = StoreCorrupt(f"{self.desk.config.data_dir}/trades.json:7 is damaged")
        with mock.patch("trading.views.get_desk", side_effect=damage):
            for headers, shown in (
                ({}, False),
                ({"Authorization": "Bearer wrong"}, False),
                (bearer("read"), True),
                (bearer("admin"), True),
            ):
                with self.subTest(headers=headers):
                    response = self.get("/api/health", **headers)
                    (problem,) = told(response)["problems"]
                    self.assertEqual((503, shown), (response.status_code, str(self.folder) in problem))
                    self.assertIn("trades.json:7 is damaged", problem)

    def test_what_is_no_known_token_is_a_401(self) -> None:
        good = TOKENS["admin"]
        for header in (
            *(
                "",
                "Bearer",
                "Bearer ",
                f"Basic {good}",
                good,
                f"Token {good}",
                "Bearer " + good[:-1],
                f"Bearer {good}x",
            ),
            *(f"Bearer {good} {good}", f"Bearer  {good}", "Bearer " + "x" * 100_000, f"Bearer, {good}", "Bearer \xe4"),
            "Bearer " + hashlib.sha256(good.encode()).hexdigest(),
        ):
            with self.subTest(header[:60]):
                response = self.get("/api/positions", Authorization=header)
                self.assert_problem(response, 401, "TOKEN_UNKNOWN")
                self.assertIn("Bearer", response["WWW-Authenticate"])
                self.assertNotIn(good, response.content.decode())

    def test_the_scheme_may_be_written_in_any_case(self) -> None:
        self.assertEqual(200, self.get("/api/positions", Authorization=f"bearer {TOKENS['read']}").status_code)

    def test_a_refused_caller_learns_nothing_of_what_exists(self) -> None:
        bodies = {self.get(path).content for path in ("/api/positions", "/api/positions/pos_1", "/api/trades/trd_1")}
        self.assertEqual(1, len(bodies))

    def test_the_whole_account_is_stopped_by_an_admin_only(self) -> None:
        response = self.post("/api/emergency_stop", {"scope": "account"}, **bearer("trade"))
        self.assert_problem(response, 403, "FORBIDDEN")
        self.assertEqual("ACTIVE", self.desk.store.state().state)
        self.assertEqual(200, self.post("/api/emergency_stop", {"scope": "account"}, **bearer("admin")).status_code)

    def test_a_stop_is_loosened_beyond_what_was_approved_by_an_admin_only(self) -> None:
        body = {"signal_id": "signal_123", "position_size": 1000, "pair": "BTC/ETH", "stop_loss": 0.01}
        path = f"/api/positions/{told(self.execute(body, **bearer('trade')))['position_id']}"
        refused = self.send("PATCH", path, {"stop_loss": 0.02}, **bearer("trade"))
        self.assertEqual(0.01, self.assert_problem(refused, 403, "FORBIDDEN")["limit"])
        for held, stop_loss in (("trade", 0.008), ("admin", 0.02)):
            with self.subTest(held):
                changed = self.send("PATCH", path, {"stop_loss": stop_loss}, **bearer(held))
                self.assertEqual((200, stop_loss), (changed.status_code, told(changed)["stop_loss"]))

    def test_the_loopback_interface_opens_nothing_where_that_is_not_allowed(self) -> None:
        self.assert_problem(
            self.send_raw("GET", "/api/positions", b"", REMOTE_ADDR="127.0.0.1"), 401, "NOT_AUTHENTICATED"
        )


class LoopbackTest(ApiTestCase):
    configured = {"api_tokens": API_TOKENS, "allow_anonymous_loopback": True}  # noqa: RUF012 (a ClassVar of the base)

    def from_address(self, address: str, method: str, path: str, **environ: str) -> HttpResponse:
        return self.send_raw(method, path, b"{}", REMOTE_ADDR=address, **environ)

    def test_local_callers_read_and_trade_and_never_administer(self) -> None:
        for address in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
            with self.subTest(address):
                self.assertEqual(200, self.from_address(address, "GET", "/api/positions").status_code)
                self.assertEqual(404, self.from_address(address, "POST", "/api/positions/pos_1/close").status_code)
                self.assert_problem(self.from_address(address, "POST", "/api/resume"), 403, "FORBIDDEN")

    def test_callers_from_elsewhere_need_a_token(self) -> None:
        for address in (ELSEWHERE, "10.0.0.1", "::ffff:203.0.113.7", "2001:db8::1", "", "localhost", "127.0.0.1, x"):
            with self.subTest(address):
                self.assert_problem(self.from_address(address, "GET", "/api/positions"), 401, "NOT_AUTHENTICATED")

    def test_any_mark_of_a_proxy_voids_the_exemption(self) -> None:
        for header in FORWARDED_HEADERS:
            for value in (ELSEWHERE, "127.0.0.1", ""):
                with self.subTest(header, value=value):
                    response = self.from_address("127.0.0.1", "GET", "/api/positions", **{header: value})
                    self.assert_problem(response, 401, "NOT_AUTHENTICATED")

    def test_a_forwarded_request_with_a_token_is_served(self) -> None:
        response = self.get("/api/positions", X_Forwarded_For=ELSEWHERE, **bearer("read"))
        self.assertEqual(200, response.status_code)

    def test_a_wrong_token_is_refused_also_on_loopback(self) -> None:
        self.assert_problem(self.get("/api/positions", Authorization="Bearer nonsense"), 401, "TOKEN_UNKNOWN")


class StrangerTest(ApiTestCase):
    """Once money is real, who has no token learns how the service is, and nothing else."""

    public = ("api/health", "", "login", "api/session")

    def setUp(self) -> None:
        super().setUp()
        body = {"signal_id": "signal_123", "position_size": 1000, "pair": "BTC/ETH"}
        self.position = told(self.execute(body))
        live = Config.of(**{**self.defaults(), "demo_mode": False, "api_tokens": API_TOKENS})
        self.enterContext(bootstrap.use_desk(replace(self.desk, config=live)))

    def paths(self) -> list[str]:
        """A path for every route there is, the catch-all left out; ids are those of what exists."""
        ids = {"trade_id": self.position["trade_id"], "position_id": self.position["position_id"]}
        raw = [str(one.pattern).removeprefix("^").removesuffix(r"\Z").removesuffix("/?") for one in urlpatterns[:-1]]
        return [re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda match: str(ids[match[1]]), one) for one in raw]

    def test_every_route_but_health_is_shut_for_every_method(self) -> None:
        shut = [path for path in self.paths() if path not in self.public]
        self.assertGreater(len(shut), 15)
        before = self.facts_on_disk()
        for path in shut:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
                for ending in ("", "/"):
                    with self.subTest(f"{method} /{path}{ending}"):
                        self.assertEqual(401, self.send(method, f"/{path}{ending}", b"{}").status_code)
        self.assertEqual(before, self.facts_on_disk())

    def test_nor_does_a_stranger_learn_what_routes_there_are_not(self) -> None:
        """Those were a 404, which told them from the routes that are shut."""
        for path in ("nowhere", "api", "api/positions/pos_1/nothing?x=1", "static/desk/nothing.js"):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                with self.subTest(f"{method} /{path}"):
                    self.assertEqual(401, self.send(method, f"/{path}", b"{}").status_code)
                    known = self.send(method, f"/{path}", b"{}", Authorization=f"Bearer {TOKENS['read']}")
                    self.assertEqual(404, known.status_code)

    def test_what_is_open_says_nothing_of_the_account_and_changes_nothing(self) -> None:
        before = self.facts_on_disk()
        for path in self.public:
            for method in ("GET", "POST", "PATCH", "DELETE"):
                with self.subTest(f"{method} /{path}"):
                    text = self.send(method, f"/{path}", b"{}").content.decode()
                    for word in (
                        self.position["position_id"],
                        self.position["trade_id"],
                        "BTC",
                        "signal_123",
                        "the-admin",
                    ):
                        self.assertNotIn(word, text)
        self.assertEqual(before, self.facts_on_disk())

    def test_what_there_is_is_told_to_those_who_may_read(self) -> None:
        json = {"Accept": "application/json"}
        self.assertEqual({"service", "health"}, set(told(self.get("/", **json))))
        self.assertEqual({"service", "health", "routes"}, set(told(self.get("/", **json, **bearer("read")))))

    def test_loopback_is_no_exemption_and_health_names_no_folder(self) -> None:
        self.assertEqual(401, self.send_raw("GET", "/api/positions", b"", REMOTE_ADDR="127.0.0.1").status_code)
        self.assertNotIn(str(self.folder), self.get("/api/health").content.decode())


class DemoTest(ApiTestCase):
    def test_without_tokens_anybody_who_comes_directly_may_do_everything(self) -> None:
        for address in ("127.0.0.1", "172.17.0.1"):
            with self.subTest(address):
                response = self.send_raw("POST", "/api/resume", b"{}", REMOTE_ADDR=address)
                self.assertEqual(200, response.status_code)

    def test_a_forwarded_request_is_not_local_in_the_demo_either(self) -> None:
        self.assert_problem(self.get("/api/positions", X_Forwarded_For="127.0.0.1"), 401, "NOT_AUTHENTICATED")

    def test_a_token_where_none_is_known_is_wrong(self) -> None:
        self.assert_problem(self.get("/api/positions", Authorization="Bearer x"), 401, "TOKEN_UNKNOWN")

    def test_outside_the_demo_nobody_is_let_in_without_tokens(self) -> None:
        self.assertIsNone(caller_without_token({"REMOTE_ADDR": "127.0.0.1"}, Config.of(demo_mode=False)))


class OriginTest(ApiTestCase):
    writes = (("POST", "/api/resume"), ("POST", EXECUTE), ("PATCH", "/api/positions/pos_1"), ("DELETE", "/api/x"))

    def test_a_page_of_another_origin_writes_nothing(self) -> None:
        before = self.facts_on_disk()
        for origin in (
            *(
                "http://evil.example",
                "null",
                "",
                "http://localhost:3001",
                "https://localhost:3000",
                "http://testserver:81",
            ),
            *("https://testserver", "http://testserver.evil.example", "file://", "http://[", "http://testserver:x"),
            *("http://localhost:3000/", "http://localhost:3000.evil.example", "HTTP://LOCALHOST:3000"),
        ):
            for method, path in self.writes:
                with self.subTest(origin, method=method, path=path):
                    self.assert_problem(self.send(method, path, b"{}", Origin=origin), 403, "ORIGIN_REFUSED")
        self.assertEqual(before, self.facts_on_disk())

    def test_a_cross_site_request_writes_nothing_unless_its_origin_is_listed(self) -> None:
        cross = {"Sec-Fetch-Site": "cross-site"}
        self.assert_problem(self.post("/api/resume", {}, **cross), 403, "ORIGIN_REFUSED")
        self.assert_problem(self.post("/api/resume", {}, Origin="http://testserver", **cross), 403, "ORIGIN_REFUSED")
        self.assertEqual(200, self.post("/api/resume", {}, Origin="http://localhost:3000", **cross).status_code)

    def test_the_own_origin_the_listed_ones_and_none_at_all_may_write(self) -> None:
        for headers in (
            {},
            {"Origin": "http://testserver"},
            {"Origin": "http://testserver:80"},
            {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
            {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
        ):
            with self.subTest(headers=headers):
                self.assertEqual(200, self.post("/api/resume", {}, **headers).status_code)

    def test_reading_is_left_to_the_browser_and_its_cors_rules(self) -> None:
        response = self.get("/api/positions", Origin="http://evil.example")
        self.assertEqual(200, response.status_code)
        self.assertNotIn("Access-Control-Allow-Origin", response)

    def test_a_preflight_is_granted_to_listed_origins_only(self) -> None:
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,idempotency-key",
        }
        granted = self.send("OPTIONS", EXECUTE, Origin="http://localhost:3000", **asked)
        self.assertEqual("http://localhost:3000", granted["Access-Control-Allow-Origin"])
        self.assertIn("idempotency-key", granted["Access-Control-Allow-Headers"])
        self.assertNotIn(
            "Access-Control-Allow-Origin", self.send("OPTIONS", EXECUTE, Origin="http://evil.example", **asked)
        )


class HostTest(ApiTestCase):
    def test_a_foreign_host_is_refused_on_every_route_also_while_debugging(self) -> None:
        paths = ["/", "/api/health", "/nowhere", *(path for _, path, _ in ROUTES)]
        for debug in (False, True):
            for path in paths:
                for host in ("evil.example", "localhost.evil.example", "a b", "testserver:x", "\xe4", "[::1"):
                    with self.subTest(path, host=host, debug=debug), override_settings(DEBUG=debug):
                        self.assert_invalid(self.get(path, Host=host), "Host")

    def test_a_foreign_host_gets_no_preflight(self) -> None:
        asked = {"Access-Control-Request-Method": "POST", "Origin": "http://localhost:3000"}
        self.assert_invalid(self.send("OPTIONS", EXECUTE, Host="evil.example", **asked), "Host")

    def test_a_forwarded_host_is_not_believed(self) -> None:
        self.assertEqual(200, self.get("/api/health", X_Forwarded_Host="evil.example").status_code)

    def test_every_answer_carries_the_headers_of_the_doors(self) -> None:
        answers = {
            "a route": self.get("/api/positions"),
            "health": self.get("/api/health"),
            "no route": self.get("/nowhere"),
            "bad input": self.execute([]),
            "a foreign host": self.get("/api/health", Host="evil.example"),
            "a foreign origin": self.execute({}, Origin="null"),
            "a preflight": self.send(
                "OPTIONS", EXECUTE, **{"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
            ),
        }
        for name, response in answers.items():
            for header in HEADERS:
                with self.subTest(name, header=header):
                    self.assertTrue(response[header])
            self.assertEqual("no-store", response["Cache-Control"])
            # An empty preflight is text/html to Django.
            policy = PAGE_POLICY if name == "a preflight" else NO_PAGE_POLICY
            self.assertEqual(policy, response["Content-Security-Policy"])

    def test_pages_may_use_files_of_this_service_and_nothing_inline(self) -> None:
        self.assertEqual(PAGE_POLICY, self.get("/api/docs")["Content-Security-Policy"])
        for policy in (PAGE_POLICY, NO_PAGE_POLICY):
            sources = {one.split()[0]: set(one.split()[1:]) for one in policy.split(";")}
            self.assertEqual({"'none'"}, sources.pop("default-src") | sources["frame-ancestors"])
            self.assertLessEqual(set().union(*sources.values()), {"'self'", "'none'", "data:"})
            self.assertNotIn("data:", sources.get("script-src", set()))


class WsgiDoorTest(SimpleTestCase):
    def asked(self, **environ: object) -> tuple[str, dict[str, str], bytes]:
        """The door's answer before an application that says 200 to everything."""
        said: list[tuple[str, dict[str, str]]] = []

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            said.append((status, dict(headers)))

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"in"]

        body = b"".join(WsgiDoor(application)({"REQUEST_METHOD": "GET", **environ}, start_response))
        return (*said[0], body)

    def test_a_header_with_control_characters_is_a_problem(self) -> None:
        for name, header in (("CONTENT_TYPE", "Content-Type"), ("HTTP_IDEMPOTENCY_KEY", "Idempotency-Key")):
            for value in ("application/json; charset=a\0b", "a\x7f", "a\nb"):
                with self.subTest(name, value=value):
                    status, headers, body = self.asked(**{name: value})
                    self.assertEqual("400 Bad Request", status)
                    self.assertEqual((PROBLEM, "no-store"), (headers["Content-Type"], headers["Cache-Control"]))
                    self.assertEqual([header], list(json.loads(body)["fields"]))

    def test_everything_else_goes_on_to_the_application(self) -> None:
        environ = {"CONTENT_TYPE": "application/json;\tcharset=utf-8", "wsgi.input": "\0", "PATH_INFO": "/\0"}
        self.assertEqual(("200 OK", b"in"), self.asked(**environ)[::2])


class LoopbackAddressTest(SimpleTestCase):
    def test_only_loopback_addresses_are_loopback(self) -> None:
        table = {
            **dict.fromkeys(("127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"), True),
            **dict.fromkeys(("0.0.0.0", "::", "128.0.0.1", "::ffff:1.2.3.4", "fe80::1", "", "x", "127.1"), False),  # noqa: S104
        }
        for address, expected in table.items():
            with self.subTest(address):
                self.assertIs(expected, is_loopback_address(address))


class CreateApiTokenTest(SimpleTestCase):
    def made(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("create_api_token", *arguments, stdout=out)
        return out.getvalue()

    def test_the_line_makes_the_token_known_and_does_not_hold_it(self) -> None:
        for scope in Scope:
            with self.subTest(scope):
                first, _, line = self.made("orchestrator", "--scope", scope).splitlines()
                token = first.split()[-1]
                (known,) = Config.of(api_tokens=line.removeprefix("API_TOKENS=")).api_tokens
                digest = hashlib.sha256(token.encode()).hexdigest()
                self.assertEqual(ApiToken("orchestrator", scope, digest), known)
                self.assertNotIn(token, line)

    def test_no_two_tokens_are_alike_and_each_has_256_bits(self) -> None:
        tokens = {self.made("a", "--scope", "read").splitlines()[0].split()[-1] for _ in range(20)}
        self.assertEqual((20, {43}), (len(tokens), {len(token) for token in tokens}))

    def test_saved_it_is_known_from_the_next_start_on_and_nothing_else_in_the_file_changes(self) -> None:
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".env"
        for before in ("API_TOKENS=", "API_TOKENS=''", f"API_TOKENS={API_TOKENS}", f'API_TOKENS="{API_TOKENS}"  '):
            with self.subTest(before[:14]):
                file.write_text(f"PAPER_SEED=9\n{before}\n# DEBUG=true\n", encoding="utf-8")
                known = load_config({}, file).api_tokens
                said = self.made("orchestrator", "--scope", "trade", "--save", "--file", str(file))
                config = load_config({}, file)
                digest = hashlib.sha256(said.splitlines()[0].split()[-1].encode()).hexdigest()
                self.assertEqual((*known, ApiToken("orchestrator", Scope.TRADE, digest)), config.api_tokens)
                self.assertEqual(9, config.paper_seed)
                self.assertIn("\n# DEBUG=true\n", file.read_text(encoding="utf-8"))
                self.assertNotIn(digest, said)

    def test_where_no_file_is_read_none_is_written_unless_it_is_named(self) -> None:
        with self.assertRaisesRegex(CommandError, "--file"):
            self.made("orchestrator", "--scope", "trade", "--save")

    def test_saved_over_a_placeholder_it_is_known_too(self) -> None:
        """What began with a placeholder was one as a whole, and no token in it was known."""
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".env"
        file.write_text("API_TOKENS=your_tokens_here\n", encoding="utf-8")
        self.made("orchestrator", "--scope", "trade", "--save", "--file", str(file))
        self.assertEqual(["orchestrator"], [one.name for one in load_config({}, file).api_tokens])

    def test_a_name_that_the_file_has_is_taken(self) -> None:
        """It was added once more, and the service did not start any more."""
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".env"
        before = f"API_TOKENS='desk:read:{'ab' * 32}, orchestrator:read:{'cd' * 32}'\n"
        file.write_text(before, encoding="utf-8")
        with self.assertRaisesRegex(CommandError, "orchestrator is in .* already"):
            self.made("orchestrator", "--scope", "trade", "--save", "--file", str(file))
        self.assertEqual(before, file.read_text(encoding="utf-8"))

    @unittest.skipIf(sys.platform == "win32", "links take a right of their own there")
    def test_a_link_stays_one_and_what_it_leads_to_is_written(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        file, link = folder / "environment", folder / ".env"
        file.write_text("API_TOKENS=\n", encoding="utf-8")
        link.symlink_to(file)
        self.made("orchestrator", "--scope", "trade", "--save", "--file", str(link))
        self.assertTrue(link.is_symlink())
        self.assertIn("orchestrator:trade:", file.read_text(encoding="utf-8"))

    def test_a_file_that_sets_no_tokens_or_sets_them_twice_is_left_alone(self) -> None:
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".env"
        for text in (None, "", "API_TOKENS_FILE=/x\n", "API_TOKENS=\nAPI_TOKENS=\n", "export API_TOKENS=\n"):
            with self.subTest(text):
                if text is not None:
                    file.write_text(text, encoding="utf-8")
                with self.assertRaises(CommandError):
                    self.made("orchestrator", "--scope", "trade", "--save", "--file", str(file))
                self.assertEqual(text, file.read_text(encoding="utf-8") if file.exists() else None)

    def test_names_that_would_break_the_line_are_refused(self) -> None:
        for name in ("", "a:b", "a,b", "a b", "-a", "x" * 65, "ä", "a\n"):
            with self.subTest(name), self.assertRaisesRegex(CommandError, "NAME"):
                self.made("--scope", "read", "--", name)

    def test_a_name_that_is_taken_is_refused(self) -> None:
        with (
            override_settings(DESK_CONFIG=Config.of(api_tokens=API_TOKENS)),
            self.assertRaisesRegex(CommandError, "already"),
        ):
            self.made("the-admin", "--scope", "read")

    def test_a_scope_is_required_and_must_be_known(self) -> None:
        for arguments in (("a",), ("a", "--scope", "root")):
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()), self.assertRaises(CommandError):
                self.made(*arguments)
