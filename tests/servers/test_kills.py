"""Real processes, real sockets, SIGKILL: what the last answer said is true after every restart."""

import http.client
import json
import threading
import time
from decimal import Decimal
from pathlib import Path

from tests.processes import wait_until
from tests.servers.service import ServiceCase
from trading.domain.desk_state import Binding
from trading.utils.json_storage import JsonStore

TWAP = {
    "signal_id": "sliced",
    "pair": "BTC/ETH",
    "position_size": 6000,
    "execution": "twap",
    "twap": {"duration_seconds": 3, "slices": 3},
}


def newest(path: Path) -> dict[str, dict[str, object]]:
    """The newest version of each record of a file, as any JSON tool would read it."""
    return {str(record["id"]): record for record in json.loads(path.read_text(encoding="utf-8"))}


class Kills(ServiceCase):
    def positions(self) -> list[dict[str, object]]:
        status, content = self.ask_any("GET", "/api/positions")
        self.assertEqual(status, 200)
        assert isinstance(content, list)
        return content

    def assert_ledger_is_well(self) -> None:
        verified = self.command("verify_ledger")
        self.assertEqual(verified.returncode, 0, verified.stdout + verified.stderr)

    def assert_book_equals_venue(self) -> None:
        """What the positions say is held is what the paper venue's own account holds."""
        store = JsonStore(self.folder / "data", Binding("paper", "paper", "paper:7"))
        self.addCleanup(store.close)
        book: dict[str, Decimal] = {}
        for position in store.book().standing_positions():
            for leg in position.legs:
                book[leg.coin] = book.get(leg.coin, Decimal(0)) + leg.held * leg.side.sign
        status, portfolio = self.ask("GET", "/api/portfolio")
        self.assertEqual((status, portfolio["foreign_holdings"], portfolio["causes"]), (200, {}, []))
        _, trades = self.ask_any("GET", "/api/trades")
        assert isinstance(trades, list)
        fills: dict[str, Decimal] = {}
        for trade in trades:
            for order in trade["orders"]:
                sign = 1 if order["side"] == "buy" else -1
                fills[order["coin"]] = fills.get(order["coin"], Decimal(0)) + Decimal(str(order["filled"])) * sign
        self.assertEqual(
            {coin: held for coin, held in book.items() if held}, {coin: held for coin, held in fills.items() if held}
        )

    def post_and_forget(self, path: str, body: object) -> threading.Thread:
        """A caller whose answer is lost when the service dies."""

        def call() -> None:
            try:
                self.ask_any("POST", path, body)
            except (OSError, ValueError, http.client.HTTPException):
                return

        thread = threading.Thread(target=call)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_whoever_is_killed_when_what_the_last_answer_said_is_true(self) -> None:
        """One service in one folder for all of it, for starting one is what costs."""
        self.service = self.start()
        for delay in (0.002, 0.012):
            with self.subTest("an open at any moment is made once", delay=delay):
                self.open_in_spite_of_a_kill(f"one_{delay}", delay)
        with self.subTest("a TWAP in the middle goes on"):
            self.go_on_with_slices()
        with self.subTest("an emergency stop is seen through and stays"):
            self.stop_in_spite_of_a_kill()

    def kill_and_start(self) -> None:
        self.kill_all(self.service)
        self.service = self.start()

    def position_of(self, signal_id: str) -> dict[str, object]:
        """The one position that came of a signal."""
        mine = [one for one in self.positions() if one["signal_id"] == signal_id]
        self.assertEqual(len(mine), 1)
        return mine[0]

    def open_in_spite_of_a_kill(self, signal_id: str, delay: float) -> None:
        asked = {"pair": "BTC/ETH", "position_size": 1000, "signal_id": signal_id}
        caller = self.post_and_forget("/api/trades/execute", asked)
        time.sleep(delay)
        self.kill_all(self.service)
        caller.join()
        self.service = self.start()
        status, _ = self.ask("POST", "/api/trades/execute", asked)
        self.assertIn(status, (200, 201, 202))
        # At worst an order was intended and not sent: its absence is proven five seconds after it expires.
        wait_until(lambda: self.position_of(signal_id)["status"] == "open", "the position being open")
        position = self.position_of(signal_id)
        self.assertLessEqual(float(str(position["size"])), 1010)
        self.assert_book_equals_venue()
        self.assertEqual(self.ask("POST", f"/api/positions/{position['position_id']}/close")[0], 200)
        self.assert_ledger_is_well()

    def go_on_with_slices(self) -> None:
        status, opened = self.ask("POST", "/api/trades/execute", TWAP)
        self.assertEqual((status, opened["status"]), (202, "opening"))
        time.sleep(1.2)
        self.kill_and_start()
        wait_until(lambda: self.position_of("sliced")["status"] == "open", "the end of the schedule")
        position = self.position_of("sliced")
        self.assertEqual(position["position_id"], opened["position_id"])
        self.assertGreater(float(str(position["size"])), 5900)
        self.assertLess(float(str(position["size"])), 6100)
        self.assert_book_equals_venue()
        self.assert_ledger_is_well()
        self.assertEqual(self.ask("POST", f"/api/positions/{position['position_id']}/close")[0], 200)

    def stop_in_spite_of_a_kill(self) -> None:
        asked = {**TWAP, "signal_id": "stopped"}
        self.assertEqual(self.ask("POST", "/api/trades/execute", asked)[0], 202)
        caller = self.post_and_forget("/api/emergency_stop", {})
        time.sleep(0.03)
        self.kill_all(self.service)
        caller.join()
        self.service = self.start()
        self.assertIn(self.ask("POST", "/api/emergency_stop", {})[0], (200, 202))
        wait_until(lambda: self.position_of("stopped")["status"] == "closed", "the closing of everything")
        self.kill_and_start()
        status, refused = self.ask("POST", "/api/trades/execute", {**TWAP, "signal_id": "another"})
        self.assertEqual((status, refused["code"]), (409, "TRADING_HALTED"))
        self.assertEqual(
            newest(self.folder / "data" / "positions.json")[str(self.position_of("stopped")["position_id"])]["status"],
            "closed",
        )
        self.assert_ledger_is_well()
