"""What the neighbours do: the frontend on port 3000 without a token, the orchestrator with its ten seconds."""

import time
from datetime import datetime
from typing import Any

from django.http import HttpResponse

from tests.api.base import EXECUTE, ApiTestCase, told
from trading import bootstrap
from trading.adapters.system import SystemClock
from trading.conf import Config

FRONTEND = "http://localhost:3000"
ORCHESTRATOR_SECONDS = 10.0
NUMBERS = ("entry_spread", "current_spread", "size", "pnl", "pnl_percent")
TEXTS = ("position_id", "pair", "time_window", "risk_level", "entry_time", "status", "window_expires_at")


class FrontendTest(ApiTestCase):
    """A browser page of another origin: every call carries Origin, writes are preflighted, nothing carries a token."""

    def as_page(self, method: str, path: str, body: object = None) -> HttpResponse:
        if method != "GET":
            preflight = self.send(
                "OPTIONS",
                path,
                **{
                    "Origin": FRONTEND,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": "content-type",
                },
            )
            self.assertEqual(200, preflight.status_code)
            self.assertEqual(FRONTEND, preflight["Access-Control-Allow-Origin"])
            self.assertIn(method, preflight["Access-Control-Allow-Methods"])
            self.assertIn("content-type", preflight["Access-Control-Allow-Headers"])
        response = self.send(method, path, body, **{"Origin": FRONTEND, "Sec-Fetch-Site": "same-site"})
        self.assertEqual(FRONTEND, response["Access-Control-Allow-Origin"])
        return response

    def opened(self, size: object = 1000) -> dict[str, Any]:
        body = {"signal_id": "signal_1795335320.2", "position_size": size, "pair": "BTC/ETH", "time_window": "5min"}
        response = self.as_page("POST", EXECUTE, body)
        self.assertEqual(201, response.status_code, response.content)
        position: dict[str, Any] = told(response)
        return position

    def test_its_trade_opens_with_the_size_as_a_number_or_as_text(self) -> None:
        first = self.opened(1000)
        response = self.as_page(
            "POST",
            EXECUTE,
            {"signal_id": "signal_1795335320.2", "position_size": "1000", "pair": "BTC/ETH", "time_window": "5min"},
        )
        self.assertEqual((200, first["position_id"]), (response.status_code, told(response)["position_id"]))

    def test_positions_are_an_array_of_numbers_and_strings(self) -> None:
        self.opened()
        response = self.as_page("GET", "/api/positions")
        (position,) = told(response)
        for name in NUMBERS:
            with self.subTest(name):
                self.assertIsInstance(position[name], float)
        for name in TEXTS:
            with self.subTest(name):
                self.assertIsInstance(position[name], str)
        self.assertEqual(("5min", "open"), (position["time_window"], position["status"]))
        self.assertIn(position["risk_level"], ("low", "medium", "high"))
        for name in ("entry_time", "window_expires_at"):
            self.assertIsNotNone(datetime.fromisoformat(position[name]).utcoffset())
        self.assertIn("X-Total-Count", response["Access-Control-Expose-Headers"])

    def test_no_positions_are_an_empty_array(self) -> None:
        self.assertEqual([], told(self.as_page("GET", "/api/positions")))

    def test_its_other_pages_find_what_they_read(self) -> None:
        self.assertEqual("5min", told(self.as_page("GET", "/api/time_windows"))["default"])
        self.assertIsInstance(told(self.as_page("GET", "/api/agent/logs?limit=20")), list)
        self.assertIsInstance(told(self.as_page("GET", "/api/health"))["status"], str)

    def test_a_trailing_slash_is_welcome_and_never_redirected(self) -> None:
        for path in ("/api/positions/", "/api/health/", "/api/time_windows/", "/api/agent/logs/?limit=5"):
            with self.subTest(path):
                self.assertEqual(200, self.as_page("GET", path).status_code)
        response = self.as_page("POST", f"/api/positions/{self.opened()['position_id']}/close/")
        self.assertEqual(200, response.status_code)

    def test_it_reads_why_a_trade_was_denied(self) -> None:
        response = self.as_page("POST", EXECUTE, {"signal_id": "signal_1", "position_size": 90_000, "pair": "BTC/ETH"})
        self.assertIn("ALLOCATION_EXCEEDED", told(response)["error"])


class OrchestratorTest(ApiTestCase):
    """A Python program on the same machine, in real time."""

    def setUp(self) -> None:
        super().setUp()
        config = Config.of(**{**self.defaults(), "data_dir": self.folder / "live"})
        self.enterContext(bootstrap.use_desk(bootstrap.build_desk(config, SystemClock())))

    def test_everything_it_asks_is_answered_within_its_patience(self) -> None:
        began = time.monotonic()
        offered = [one for one in told(self.get("/api/signals")) if one["would_take"]]
        signal_id = offered[0]["id"] if offered else "signal_123"
        opened = self.post(EXECUTE, {"signal_id": signal_id, "position_size": 500})
        self.assertIn(opened.status_code, (201, 202), opened.content)
        self.assertEqual(200, self.post("/api/emergency_stop").status_code)
        self.assertLess(time.monotonic() - began, ORCHESTRATOR_SECONDS)
