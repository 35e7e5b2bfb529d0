"""Protection over real sockets: what rests at the exchange while the service lives, dies and comes back."""

import time

from tests.processes import least, wait_until
from tests.servers.test_live_hyperliquid import MASTER, LiveCase

TAKEN_BACK_SECONDS = 90.0
"""Two lists, and then the next look; on a busy machine."""


class ProtectionCase(LiveCase):
    protection = "true"

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "COOLDOWN_SECONDS": "0", "RESTING_PROTECTION": self.protection}

    def open_orders(self) -> list[dict[str, object]]:
        rows = self.truth()["open_orders"]
        assert isinstance(rows, list)
        return rows

    def guarded(self, signal_id: str) -> str:
        """Open a position and wait until all that should rests for it."""
        status, opened = self.execute(signal_id)
        self.assertEqual((status, opened["status"]), (201, "open"), opened)
        wait_until(lambda: len(self.open_orders()) == 4, "both legs being guarded")
        return str(opened["position_id"])

    def detail(self, position_id: str) -> dict[str, object]:
        return self.ask("GET", f"/api/positions/{position_id}")[1]

    def resting(self, position_id: str) -> list[dict[str, object]]:
        rows = self.detail(position_id)["resting_orders"]
        assert isinstance(rows, list)
        return rows

    def move(self, coin: str, price: str) -> None:
        self.control({"do": "set_market", "coin": coin, "mid": price, "mark": price, "oracle": price})

    def assert_left(self, position_id: str, reason: str) -> None:
        wait_until(lambda: self.status_of(position_id) == "closed", "the end of the position")
        self.assertEqual(self.detail(position_id)["exit_reason"], reason)
        self.assertEqual(self.held(), {})
        wait_until(lambda: not self.resting(position_id), "nothing being left at the venue")
        self.assertEqual(self.open_orders(), [])
        self.assert_account_explained()


class RestingTest(ProtectionCase):
    def test_it_comes_with_the_open_and_goes_with_the_close_and_what_fired_in_the_dark_is_found(
        self,
    ) -> None:
        service = self.start()
        wait_until(self.is_healthy, "being healthy")
        first = self.guarded("first")
        rows = {(one["coin"], one["orderType"]): one for one in self.open_orders()}
        self.assertEqual(
            set(rows),
            {(coin, kind) for coin in ("BTC", "ETH") for kind in ("Stop Limit", "Take Profit Limit")},
        )
        self.assertTrue(all(one["reduceOnly"] is True and one["isTrigger"] is True for one in rows.values()))
        self.assertAlmostEqual(float(str(rows["ETH", "Stop Limit"]["triggerPx"])), 3000, delta=5)
        self.assertEqual(
            {one["client_order_id"] for one in self.resting(first)}, {one["cloid"] for one in rows.values()}
        )
        self.assertEqual(self.ask("POST", f"/api/positions/{first}/close")[0], 200)
        self.assert_left(first, "MANUAL")

        second = self.guarded("second")
        self.control({"do": "liquidate", "user": MASTER, "coin": "ETH"})
        self.assert_left(second, "LIQUIDATION")

        self.service = service
        self.assertLess(least(self.seconds_until_the_sister_is_closed, 5), 5)

    def seconds_until_the_sister_is_closed(self) -> float:
        """From a start on, with a leg that was lost in the dark."""
        self.move("ETH", "4000")
        position_id = self.guarded(f"in the dark {time.monotonic()}")
        self.kill_all(self.service)
        self.move("ETH", "2900")
        self.assertEqual(set(self.held()), {"BTC"})
        self.service = self.start()
        ready = time.monotonic()
        wait_until(lambda: not self.held(), "the sister being closed")
        seconds = time.monotonic() - ready
        self.assert_left(position_id, "LEG_LOST")
        fill = next(one for one in self.detail_of_trade(position_id) if one["event"] == "LegLost")
        self.assertIn("fired", str(fill["detail"]))
        return seconds

    def detail_of_trade(self, position_id: str) -> list[dict[str, object]]:
        rows = self.ask("GET", f"/api/trades/{self.detail(position_id)['trade_id']}")[1]["timeline"]
        assert isinstance(rows, list)
        return rows


class CrashTest(ProtectionCase):
    def test_a_kill_between_the_venue_s_deed_and_its_answer_places_nothing_twice(self) -> None:
        self.protection = "false"
        service = self.start()
        wait_until(self.is_healthy, "being healthy")
        status, opened = self.execute("only")
        self.assertEqual(status, 201)
        self.kill_all(service)
        self.control({"do": "fault", "route": "/exchange", "only": "order", "answer": "hangs", "seconds": 30})
        self.protection = "true"
        service = self.start()
        wait_until(lambda: len(self.open_orders()) == 4, "the placement")
        self.kill_all(service)
        self.control({"do": "lift"})
        self.start()
        position_id = str(opened["position_id"])
        wait_until(lambda: all(one["placed"] is True for one in self.resting(position_id)), "the doubt being ended")
        self.assertEqual(len(self.open_orders()), 4)
        self.assertEqual(
            {one["client_order_id"] for one in self.resting(position_id)}, {one["cloid"] for one in self.open_orders()}
        )
        self.assertEqual(self.ask("POST", f"/api/positions/{position_id}/close")[0], 200)
        self.assert_left(position_id, "MANUAL")


class RestoredTest(ProtectionCase):
    def test_what_a_restored_backup_knows_nothing_of_is_known_by_its_name_and_goes_with_its_position(self) -> None:
        self.protection = "false"
        service = self.start()
        wait_until(self.is_healthy, "being healthy")
        status, opened = self.execute("only")
        self.assertEqual(status, 201)
        position_id = str(opened["position_id"])
        backup = str(self.folder / "backup")
        self.assertEqual(self.command("backup", backup).returncode, 0)
        self.kill_all(service)
        self.protection = "true"
        service = self.start()
        wait_until(lambda: len(self.open_orders()) == 4, "both legs being guarded")
        self.kill_all(service)
        self.protection = "false"
        restored = self.command("restore", backup, "--force")
        self.assertEqual(restored.returncode, 0, restored.stderr)
        service = self.start()
        self.assertEqual(self.resting(position_id), [])
        wait_until(lambda: not self.open_orders(), "what nothing wants being taken back", TAKEN_BACK_SECONDS)
        self.assertEqual(set(self.held()), {"BTC", "ETH"})
        self.assertEqual(self.found(), 4)
        self.assertEqual(self.ask("POST", f"/api/positions/{position_id}/close")[0], 200)
        self.assert_left(position_id, "MANUAL")

    def found(self) -> int:
        entries = self.ask_any("GET", "/api/agent/logs?limit=100")[1]
        assert isinstance(entries, list)
        return sum("was not written down" in str(one["message"]) for one in entries)
