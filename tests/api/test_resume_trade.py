"""POST /api/trades/{id}/resume: a suspended trade goes on, because somebody says so."""

from tests.api.base import ApiTestCase, told
from trading.domain.units import TradeId
from trading.engine import working

TWAP = {"execution": "twap", "twap": {"duration_seconds": 30, "slices": 3}}


class ResumeTradeTests(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        opened = told(self.execute({"signal_id": "resumed", "position_size": 3000, **TWAP}))
        self.trade_id = TradeId(opened["trade_id"])
        self.path = f"/api/trades/{self.trade_id}/resume"

    def test_a_suspended_trade_goes_on(self) -> None:
        working.suspend(self.desk, self.desk.store.book().trade(self.trade_id), "somebody has to look")
        self.assertEqual("SUSPENDED", told(self.get(f"/api/trades/{self.trade_id}"))["status"])
        response = self.post(self.path)
        self.assertEqual((202, "WORKING"), (response.status_code, told(response)["status"]))

    def test_only_a_suspended_trade_is_resumed_and_without_conditions(self) -> None:
        self.assert_invalid(self.post(self.path, {"slices": 2}), "slices")
        body = self.assert_problem(self.post(self.path), 409, "TRADE_NOT_SUSPENDED")
        self.assertEqual("WORKING", body["trade_status"])
        self.assert_problem(self.post("/api/trades/trd_1/resume"), 404, "TRADE_NOT_FOUND")
