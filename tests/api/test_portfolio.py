"""GET /api/portfolio?days=: the last days, pair by pair."""

import json

from tests.api.base import ApiTestCase, told


class PortfolioTest(ApiTestCase):
    def test_the_days_asked_for_are_told(self) -> None:
        self.assertEqual(201, self.execute({"signal_id": "signal_123", "position_size": 1000}).status_code)
        for query in ("", "?days=1", "?days=366"):
            with self.subTest(query=query):
                body = told(self.get(f"/api/portfolio{query}"))
                history = body["history"]
                self.assertEqual([history["today"]], history["days"])
                self.assertGreater(history["today"]["fees"], 0)
                self.assertEqual(1, history["pairs"][0]["open"])
                self.assertEqual([], history["equity_curve"])
                self.assertEqual(body["fees"], history["today"]["fees"])
                self.assertTrue(history["since"].endswith("+00:00"))

    def test_a_day_that_is_none_is_refused_by_name(self) -> None:
        for text in ("0", "367", "-1", "1.5", "x", "", "1000"):
            with self.subTest(text=text):
                self.assert_invalid(self.get(f"/api/portfolio?days={text}"), "days")
        self.assert_invalid(self.get("/api/portfolio?weeks=1"), "weeks")

    def test_a_damaged_log_of_the_account_leaves_the_rest(self) -> None:
        (self.folder / "data" / "account-2026-11.json").write_text(json.dumps([{"seq": 1}]))
        response = self.get("/api/portfolio")
        self.assertEqual(200, response.status_code)
        self.assertIsNone(told(response)["history"])
