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
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertRegex(refused.stderr, r"DATA_DIR: .* belongs to paper/paper/paper:7, not to paper/paper/paper:8")
        self.assertNotIn("is ready on", refused.stdout)

    def test_it_trades_starts_again_as_it_was_when_its_supervisor_is_killed_and_one_ctrl_c_ends_everything(
        self,
    ) -> None:
        service = self.start()
        started = family_of(service.pid)
        wait_until(self.is_healthy, "being healthy")
        status, position = self.trade()
        self.assertEqual((status, position["status"]), (201, "open"))
        # Also what the web server refuses before the application has seen it is told like every other error.
        status, problem = self.ask("GET", f"/api/positions/{'x' * 9000}")
        self.assertEqual((status, problem["code"]), (400, "INVALID_REQUEST"))
        service.kill()
        self.assertGreaterEqual(len(started), 3)
        wait_until(lambda: not any(lives(pid) for pid in started), "the end of what was started")
        left = {"data", "output", *(one.name for one in self.folder.glob("executor_agent_redis_*"))}

        service = self.start()
        started = family_of(service.pid)
        status, again = self.trade()
        self.assertEqual((status, again["position_id"]), (200, position["position_id"]))
        service.send_signal(signal.SIGINT)
        self.assertEqual(service.wait(20), 0)
        self.assertGreaterEqual(len(started), 3)
        self.assertEqual([pid for pid in started if lives(pid)], [])
        # Who is killed takes nothing away; who is asked to stop leaves nothing.
        self.assertEqual({one.name for one in self.folder.iterdir()}, left)

    def trade(self) -> tuple[int, dict[str, object]]:
        body = {"signal_id": "signal_123", "pair": "SOL/AVAX", "position_size": 1000}
        return self.ask("POST", "/api/trades/execute", body)
