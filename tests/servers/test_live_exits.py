"""Every exit fired by the market, and schedules through a kill, over real sockets: one service, one exchange."""

import json
import time
from decimal import Decimal
from typing import Any

from tests.processes import wait_until
from tests.servers.test_live_hyperliquid import LiveCase

SECOND_READING_SECONDS = 0.25
PULLS_MAX = 20
REASONS: tuple[tuple[dict[str, object], tuple[str, ...], str], ...] = (
    ({}, ("3600",), "STOP_LOSS"),
    ({"take_profit": 0.005}, ("4060",), "TAKE_PROFIT"),
    ({"trailing_stop": {"arm": 0.004, "gap": 0.003}}, ("4050", "4015"), "TRAILING_STOP"),
    ({"max_holding_seconds": 1}, (), "TIME_LIMIT"),
    ({"take_profit_usd": 10}, ("4070",), "TAKE_PROFIT"),
    ({"stop_loss_usd": 12}, ("3945",), "STOP_LOSS"),
    # Short BTC: the spread is price(BTC)/price(ETH) - 1, so it falls in the position's favour as ETH rises.
    ({"take_profit_spread": 23.8}, ("4050",), "TAKE_PROFIT"),
    ({"stop_loss_spread": 24.2}, ("3960",), "STOP_LOSS"),
)
"""What is asked for, how ETH moves from 4,000, and why the position is left."""
PAST = ("4060", "4100")
"""ETH by the minute before each entry: the log ratio lies 0.0049 around a mean of which 4,000 is four such away."""
BY_ZSCORE: tuple[tuple[dict[str, object], tuple[str, float], str, str], ...] = (
    ({"take_profit_z": 1}, ("4040", 2.01), "4065", "TAKE_PROFIT"),
    ({"stop_loss_z": 5}, ("3990", 4.54), "3970", "STOP_LOSS"),
)
"""What is asked for, where ETH goes first and what the z-score is then, where it goes next, and why the position is
left: long before the barriers in percent."""


class LiveExitsTest(LiveCase):
    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "COOLDOWN_SECONDS": "0", "MAX_DAILY_LOSS": "1"}

    def move(self, price: str) -> None:
        self.control({"do": "set_market", "coin": "ETH", "mid": price, "mark": price, "oracle": price})

    def opened(self, signal_id: str, **changes: object) -> str:
        self.move("4000")
        self.control({"do": "set_history", "coin": "ETH", "mids": PAST})
        self.offer(signal_id)
        wait_until(lambda: self.sees_eth_at(signal_id, 4000), "the service seeing the price")
        body = {"signal_id": signal_id, "position_size": 2000, **changes}
        status, opened = self.ask("POST", "/api/trades/execute", body)
        self.assertEqual((status, opened["status"]), (201, "open"), opened)
        return str(opened["position_id"])

    def sees_eth_at(self, signal_id: str, price: float) -> bool:
        """Whether what the web process would trade at is *price*: a busy one may still be at the last."""
        preview = self.ask("POST", "/api/trades/preview", {"signal_id": signal_id, "position_size": 2000})[1]
        long = preview.get("long")
        return isinstance(long, dict) and long["arrival_price"] is not None and abs(long["arrival_price"] - price) < 1

    def assert_left(self, position_id: str, reason: str) -> None:
        wait_until(lambda: self.status_of(position_id) == "closed", f"{reason} being met")
        self.assertEqual(self.ask("GET", f"/api/positions/{position_id}")[1]["exit_reason"], reason)
        self.assertEqual(self.held(), {})

    def test_each_exit_is_fired_by_the_market_and_a_kill_in_the_middle_of_slices_neither_forgets_nor_doubles_one(
        self,
    ) -> None:
        self.service = self.start()
        wait_until(self.is_healthy, "being healthy")
        self.leave_by_each_exit()
        self.kill_in_the_middle_of_slices()

    def leave_by_each_exit(self) -> None:
        """What the market fires, the stop of a close in slices among it."""
        for number, (asked, prices, reason) in enumerate(REASONS):
            # No subtest: a position that is not left would keep all that come after from being opened.
            position_id = self.opened(f"exit {number}", **asked)
            for price in prices:
                self.move(price)
                if price != prices[-1]:
                    wait_until(lambda: self.is_trailing(position_id), "the trailing mark")  # noqa: B023 - used at once
            self.assert_left(position_id, reason)
        for number, (asked, (price, zscore), further, reason) in enumerate(BY_ZSCORE):
            position_id = self.opened(f"z {number}", **asked)
            frozen = self.zscore_of(position_id)
            self.assertEqual((frozen["candles"], frozen["interval"]), (300, "1m"))
            self.assertAlmostEqual(frozen["deviation"], 0.0049, delta=0.0002)
            self.assertAlmostEqual(frozen["entry"], 4.04, delta=0.1)
            self.move(price)
            wait_until(lambda: abs(self.zscore_of(position_id)["current"] - zscore) < 0.1, f"a z-score of {zscore}")  # noqa: B023 - used at once
            self.assertEqual(self.status_of(position_id), "open")
            self.move(further)
            self.assert_left(position_id, reason)
            self.assertEqual({**frozen, "current": None}, {**self.zscore_of(position_id), "current": None})
        with self.subTest("a pulled bid is no stop"):
            position_id = self.opened("pulled")
            self.assertTrue(any(self.pulls_the_bid() for _ in range(PULLS_MAX)))
            time.sleep(2 * SECOND_READING_SECONDS)
            self.assertEqual(self.status_of(position_id), "open")
            self.assertEqual(self.ask("POST", f"/api/positions/{position_id}/close")[1]["status"], "closed")
        with self.subTest("a breach hurries a close in slices"):
            position_id = self.opened("slowly")
            status, closing = self.ask("POST", f"/api/positions/{position_id}/close", {"twap": {"slices": 4}})
            self.assertEqual((status, closing["status"]), (202, "closing"))
            self.assertGreater(self.held()["ETH"], 0)
            self.move("3850")
            self.assert_left(position_id, "STOP_LOSS")
        self.assert_account_explained()

    def zscore_of(self, position_id: str) -> dict[str, Any]:
        found = self.ask("GET", f"/api/positions/{position_id}")[1]["zscore"]
        assert isinstance(found, dict)
        return found

    def is_trailing(self, position_id: str) -> bool:
        """Whether the trailing stop is armed and its mark on disk."""
        try:
            lines = json.loads((self.folder / "data" / "positions.json").read_text(encoding="utf-8"))
        except ValueError:
            # Read in the middle of a write.
            return False
        return any(line["id"] == position_id and line["high_water"] is not None for line in lines)

    def pulls_the_bid(self) -> bool:
        """A book without bids near the mark, and back before a second reading; False when that took too long."""
        began = time.monotonic()
        self.control({"do": "set_market", "coin": "ETH", "bids": [["3800", "500"]], "mark": "4000"})
        self.control({"do": "set_market", "coin": "ETH", "mid": "4000", "mark": "4000", "oracle": "4000"})
        return time.monotonic() - began < SECOND_READING_SECONDS / 2

    def kill_in_the_middle_of_slices(self) -> None:
        self.move("4000")
        self.offer("twap")
        wait_until(lambda: self.sees_eth_at("twap", 4000), "the service seeing the price")
        status, opening = self.execute("twap", twap={"duration_seconds": 3, "slices": 3})
        self.assertEqual((status, opening["status"]), (202, "opening"))
        self.kill_all(self.service)
        before = self.held()
        self.service = self.start()
        wait_until(lambda: self.status_of(opening["position_id"]) == "open", "the last slice")
        held = self.held()
        self.assertGreater(held["ETH"], before["ETH"])
        self.assertLessEqual(held["ETH"] * 4_000 - held["BTC"] * 100_000, Decimal(2_000))
        self.assertGreaterEqual(held["ETH"] * 4_000 - held["BTC"] * 100_000, Decimal(1_990))
        execution = self.ask("GET", f"/api/positions/{opening['position_id']}")[1]["execution"]
        assert isinstance(execution, dict)
        self.assertEqual((execution["slices_done"], execution["status"]), (3, "FILLED"))
        self.assertEqual(self.ask("POST", f"/api/positions/{opening['position_id']}/close")[1]["status"], "closed")
        self.assert_account_explained()
