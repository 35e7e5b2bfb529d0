"""The default configuration over real sockets: the service, Pear and the exchange under it as processes."""

import re
import subprocess
import sys
import threading
import time
from decimal import Decimal

from tests.processes import wait_until
from tests.servers.pear import API_KEY
from tests.servers.test_live_hyperliquid import MASTER, LiveCase, control_of
from trading.conf import PROJECT_ROOT

OPEN = {"do": "fault", "route": "POST /positions"}
CLOSE = {"do": "fault", "route": "POST /positions/{id}/close"}
TOKEN_SECONDS = 2


class PearCase(LiveCase):
    """Pear as one more process, on top of the exchange's account."""

    direct = False

    def setUp(self) -> None:
        super().setUp()
        command = (
            "--port",
            "0",
            "--exchange",
            self.exchange,
            "--master",
            MASTER,
            "--token-seconds",
            str(TOKEN_SECONDS),
        )
        process = subprocess.Popen(
            (sys.executable, "-m", "tests.servers.pear", *command), cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        self.pear = found.group()

    @property
    def environ(self) -> dict[str, str]:
        environ = {**super().environ, "VENUE": "pear", "PEAR_API_URL": self.pear, "PEAR_API_KEY": API_KEY}
        if not self.direct:
            del environ["HYPERLIQUID_WALLET_KEY"]
        return environ

    def at_pear(self, order: dict[str, object]) -> object:
        return control_of(self.pear, order)

    def assert_openings(self, count: int) -> None:
        """So many pairs has Pear opened at the exchange. One leg alone is a completion: on a busy machine the price
        that a pair was sized by may be of a moment before."""
        received: object = control_of(self.exchange, {"do": "received"})
        assert isinstance(received, list)
        batches = [one["action"]["orders"] for one in received if one["action"]["type"] == "order"]
        opening = [orders for orders in batches if not orders[0]["r"]]
        self.assertEqual(sum(len(orders) > 1 for orders in opening), count, opening)

    def assert_level(self) -> None:
        """Both legs are held, at the size asked for and a lot a leg at most."""
        held = self.held()
        self.assertEqual(set(held), {"BTC", "ETH"})
        self.assertLessEqual(abs(held["BTC"]) * 100_000 + abs(held["ETH"]) * 4000, 2002)


class PearTest(PearCase):
    def test_a_trade_while_tokens_expire_then_a_kill_between_the_post_and_its_answer_and_then_a_stop(self) -> None:
        """One service, one Pear and one exchange for all, for starting them is what costs."""
        self.service = self.start()
        wait_until(self.is_healthy, "being healthy")
        doctor = self.command("doctor")
        self.assertEqual(doctor.returncode, 0, doctor.stdout + doctor.stderr)
        self.assertNotIn(API_KEY, doctor.stdout + doctor.stderr)
        self.trade_from_signal_to_take_profit_and_a_close()
        self.know_one_position_as_asked_after_a_kill()
        self.stop()

    def trade_from_signal_to_take_profit_and_a_close(self) -> None:
        status, opened = self.execute("first", take_profit=0.01)
        self.assertEqual((status, opened["status"]), (201, "open"), opened)
        self.assert_level()
        self.control({"do": "set_market", "coin": "ETH", "mid": "4120", "mark": "4120", "oracle": "4120"})
        wait_until(lambda: self.status_of(opened["position_id"]) == "closed", "the take profit")
        self.assertEqual(self.ask("GET", f"/api/positions/{opened['position_id']}")[1]["exit_reason"], "TAKE_PROFIT")

        self.at_pear({"do": "tokens", "forget": True})
        status, second = self.execute("second")
        self.assertEqual(status, 201, second)
        time.sleep(TOKEN_SECONDS)
        status, closed = self.ask("POST", f"/api/positions/{second['position_id']}/close")
        self.assertEqual((status, closed["status"], closed["exit_reason"]), (200, "closed", "MANUAL"), closed)
        self.assert_openings(2)
        self.assert_account_explained()
        tokens = self.at_pear({"do": "tokens"})
        assert isinstance(tokens, dict)
        self.assertGreater(tokens["refreshes"], 0)

    def stop(self) -> None:
        self.assertEqual(self.execute("third")[0], 201)
        status, report = self.ask("POST", "/api/emergency_stop", {})
        self.assertEqual((status, report["status"]), (200, "all_positions_closed"), report)
        self.assertEqual(self.held(), {})
        self.assert_openings(4)
        self.assert_account_explained()

    def know_one_position_as_asked_after_a_kill(self) -> None:
        self.at_pear({**OPEN, "answer": "normal", "commit": "before", "seconds": 3})
        caller = threading.Thread(target=self.execute_and_forget, args=("killed",))
        caller.start()
        self.addCleanup(caller.join)
        wait_until(lambda: len(self.held()) == 2, "the fills of the opening")
        self.kill_all(self.service)
        self.service = self.start()
        wait_until(lambda: self.positions()[0]["status"] == "open", "the position being known")
        self.assert_level()
        held, position = self.held(), self.positions()[0]
        for side in ("long", "short"):
            leg = position[side]
            assert isinstance(leg, dict)
            self.assertEqual(Decimal(str(leg["quantity"])), abs(held[str(leg["coin"])]))
        self.assert_openings(3)
        self.assertEqual(self.ask("GET", "/api/portfolio")[1]["foreign_holdings"], {})
        status, closed = self.ask("POST", f"/api/positions/{position['position_id']}/close")
        self.assertEqual((status, closed["status"]), (200, "closed"))
        self.assert_account_explained()

    def execute_and_forget(self, signal_id: str) -> None:
        try:
            self.execute(signal_id)
        except (OSError, ValueError):
            # The service died under it.
            return
