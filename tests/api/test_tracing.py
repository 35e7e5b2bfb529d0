"""Request ids: they come back to the caller and run through to trades, orders and every line of the log."""

import json
from typing import Any

from tests.api.base import ApiTestCase, told
from trading.utils.request_id import request_id

BODY = {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000}


class TracingTest(ApiTestCase):
    def lines(self) -> list[dict[str, Any]]:
        content = (self.folder / "data" / "agent_logs.json").read_text(encoding="utf-8")
        lines: list[dict[str, Any]] = json.loads(content)
        return lines

    def test_the_callers_id_comes_back_and_is_on_the_trade_and_its_lines(self) -> None:
        response = self.execute(BODY, X_Request_ID="frontend-42")
        self.assertEqual((201, "frontend-42"), (response.status_code, response["X-Request-ID"]))
        trade = told(self.get(f"/api/trades/{told(response)['trade_id']}"))
        self.assertEqual("frontend-42", trade["request_id"])
        caused = [line for line in self.lines() if line["data"].get("trade_id") == trade["trade_id"]]
        self.assertGreaterEqual(len(caused), 4)
        self.assertEqual({"frontend-42"}, {line["data"]["request_id"] for line in caused})
        self.assertIn(trade["orders"][0]["client_order_id"], json.dumps(caused))

    def test_the_closing_trade_has_the_id_of_the_request_that_closed(self) -> None:
        position = told(self.execute(BODY, X_Request_ID="opened-it"))
        closed = told(self.post(f"/api/positions/{position['position_id']}/close", X_Request_ID="closed-it"))
        trade = told(self.get(f"/api/trades/{closed['closing_trade_id']}"))
        self.assertEqual("closed-it", trade["request_id"])

    def test_threads_of_an_emergency_stop_write_under_its_id(self) -> None:
        self.execute(BODY)
        self.post("/api/emergency_stop", X_Request_ID="stop-7")
        closing = [line for line in self.lines() if line["data"].get("event") == "ExitFired"]
        self.assertEqual(["stop-7"], [line["data"].get("request_id") for line in closing])

    def test_without_one_or_with_one_that_could_do_harm_it_is_made_up(self) -> None:
        seen = set()
        for given in (None, "", "a b", "x" * 65, '"><script>', "../../etc", "\u00e9"):
            headers = {} if given is None else {"X_Request_ID": given}
            answer = self.get("/api/health", **headers)["X-Request-ID"]
            self.assertRegex(answer, r"^req_[0-9a-f]{24}$")
            seen.add(answer)
        self.assertEqual(7, len(seen))

    def test_refusals_and_pages_that_are_not_there_have_one_too(self) -> None:
        for response in (
            self.get("/no/such/page"),
            self.execute({}),
            self.send("POST", "/api/trades/execute", BODY, Origin="https://evil.example"),
        ):
            self.assertTrue(response["X-Request-ID"])

    def test_after_the_request_there_is_none(self) -> None:
        self.get("/api/health")
        self.assertEqual("", request_id())
