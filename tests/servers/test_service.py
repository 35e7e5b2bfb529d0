"""Tests of the whole service: web process, monitor and Redis under the supervisor, as `make run` starts them."""

import signal

from tests.processes import lives, wait_until
from tests.servers.service import ServiceCase, family_of


class Service(ServiceCase):
    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, **self.changes}

    def setUp(self) -> None:
        super().setUp()
        self.changes: dict[str, str] = {}

    def test_the_folder_of_another_account_stops_the_start(self) -> None:
        self.command("monitor_positions", "--once")
        self.changes = {"PAPER_SEED": "8"}
        refused = self.command("serve")
        self.assertEqual(refused.returncode, 3, refused.stdout)
        self.assertRegex(refused.stderr, r"DATA_DIR: .* belongs to paper/paper/paper:7, not to paper/paper/paper:8")
        self.assertNotIn("is ready on", refused.stdout)

    def test_it_trades_and_one_ctrl_c_ends_everything(self) -> None:
        service = self.start()
        started = family_of(service.pid)
        wait_until(self.is_healthy, "being healthy")
        status, position = self.ask(
            "POST",
            "/api/trades/execute",
            {"signal_id": "signal_123", "pair": "SOL/AVAX", "position_size": 1000},
        )
        self.assertEqual((status, position["status"]), (201, "open"))
        # Also what the web server refuses before the application has seen it is told like every other error.
        status, problem = self.ask("GET", f"/api/positions/{'x' * 9000}")
        self.assertEqual((status, problem["code"]), (400, "INVALID_REQUEST"))
        service.send_signal(signal.SIGINT)
        self.assertEqual(service.wait(20), 0)
        self.assertGreaterEqual(len(started), 3)
        self.assertEqual([pid for pid in started if lives(pid)], [])
        self.assertEqual(sorted(one.name for one in self.folder.iterdir()), ["data", "output"])

    def test_a_kill_of_the_supervisor_ends_everything_and_it_starts_again_as_it_was(self) -> None:
        service = self.start()
        started = family_of(service.pid)
        wait_until(self.is_healthy, "being healthy")
        self.ask("POST", "/api/trades/execute", {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000})
        service.kill()
        wait_until(lambda: not any(lives(pid) for pid in started), "the end of what was started")
        self.start()
        status, position = self.ask(
            "POST", "/api/trades/execute", {"signal_id": "one", "pair": "SOL/AVAX", "position_size": 1000}
        )
        self.assertEqual((status, position["signal_id"]), (200, "one"))
