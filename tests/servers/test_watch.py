"""The watch as processes over real sockets: monitors that die, a stream that is cut, a stop from the command line."""

import json
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from functools import partial

from tests.processes import least, wait_until
from tests.servers.test_live_hyperliquid import LiveCase
from trading.bootstrap import build_desk
from trading.conf import PROJECT_ROOT, load_config
from trading.domain.desk_state import TradingState
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import Position
from trading.domain.units import Usd
from trading.engine import entry
from trading.engine.desk import Desk
from trading.engine.requests import ExecuteRequest

TAKE_OVER_SECONDS_MAX = 3.0
STOP_SECONDS_MAX = 5.0


class WatchCase(LiveCase):
    """Monitors without a web process; what opens is a desk of this process on the same files."""

    def setUp(self) -> None:
        super().setUp()
        self.notices: dict[str, socket.socket] = {}

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "COOLDOWN_SECONDS": "0"}

    def monitor(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """A monitor whose output is in the file *name*, and its notices in the socket beside it."""
        manager = self.notices[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.folder / f"{name}.notify"))
        manager.settimeout(5)
        with (self.folder / name).open("wb") as output:
            process = subprocess.Popen(
                (sys.executable, "manage.py", "monitor_positions", *words),
                cwd=PROJECT_ROOT,
                env={**self.environ, "NOTIFY_SOCKET": str(self.folder / f"{name}.notify"), "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=output,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def wait_for_words(self, name: str, words: str) -> None:
        wait_until(lambda: words in (self.folder / name).read_text(encoding="utf-8"), f"{name} saying {words!r}")

    def desk(self) -> Desk:
        desk = build_desk(load_config(self.environ))
        self.addCleanup(desk.store.close)  # type: ignore[attr-defined]  # both stores have it
        self.addCleanup(desk.venue.close)  # type: ignore[attr-defined]  # the live venue has it
        return desk

    def opened(self, desk: Desk, signal_id: str) -> Position:
        """A position that a monitor watches: before it has seen the account nothing is opened."""
        wait_until(lambda: desk.store.last_beat() is not None and desk.store.compared(), "the watch")
        self.offer(signal_id)
        answer = entry.execute(desk, ExecuteRequest(signal_id, Usd(Decimal(2000))))
        return desk.store.book().position(answer.position.position_id)

    def move(self, coin: str, price: str) -> None:
        self.control({"do": "set_market", "coin": coin, "mid": price, "mark": price, "oracle": price})

    def is_closed(self, desk: Desk, position: Position) -> bool:
        return desk.store.book().position(position.id).closed

    def heard(self, name: str) -> str:
        return self.notices[name].recv(500).decode()


class StandbyTest(WatchCase):
    def test_a_second_monitor_takes_over_from_one_that_was_killed_and_both_never_act_on_the_same_trade(self) -> None:
        first = self.monitor("first")
        self.wait_for_words("first", "monitoring every")
        self.assertEqual("READY=1\nSTATUS=watching\nWATCHDOG=1", self.heard("first"))
        second = self.monitor("second")
        self.wait_for_words("second", "standing by")
        self.assertEqual("READY=1\nSTATUS=standing by\nWATCHDOG=1", self.heard("second"))
        desk = self.desk()
        desk.venue.quotes(["ETH", "BTC"])  # type: ignore[list-item]  # warms the stream
        position = self.opened(desk, "watched")

        first.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        self.move("ETH", "3905")
        wait_until(lambda: self.is_closed(desk, position), "the exit by the one that stood by")
        self.assertLess(time.monotonic() - killed_at, TAKE_OVER_SECONDS_MAX)
        closed = desk.store.book().position(position.id)
        self.assertEqual(ExitReason.STOP_LOSS, closed.exit_reason)
        self.assertEqual(2, len(desk.store.book().trades_of_position(position.id)))
        self.assertEqual({}, self.held())
        self.assert_one_effect_an_order()

        wait_until(lambda: self.heard("second") == "READY=1\nSTATUS=watching\nWATCHDOG=1", "the notice that it watches")
        stopped_at = time.monotonic()
        second.terminate()
        self.assertEqual(0, second.wait(STOP_SECONDS_MAX))
        self.assertLess(time.monotonic() - stopped_at, STOP_SECONDS_MAX)
        self.wait_for_words("second", "stopped")
        wait_until(lambda: self.heard("second") == "STOPPING=1", "the notice that it stops")

    def assert_one_effect_an_order(self) -> None:
        fills = self.truth()["fills"]
        assert isinstance(fills, list)
        orders = {(one["cloid"], one["oid"]) for one in fills}
        self.assertEqual(len(orders), len({cloid for cloid, _ in orders}))
        self.assertEqual(4, len(orders))


class StreamTest(WatchCase):
    def test_positions_notice_nothing_of_a_stream_that_is_cut_refused_or_silent(self) -> None:
        self.monitor("only")
        self.wait_for_words("only", "monitoring every")
        desk = self.desk()
        for trouble, seconds_max in (({"cut": True}, 3.0), ({"cut": True, "refuses": True}, 4.0)):
            self.assertLess(least(partial(self.seconds_to_exit, desk, trouble), seconds_max), seconds_max)
        self.assertNotIn("no usable price", (self.folder / "data" / "agent_logs.json").read_text("utf-8"))

    def seconds_to_exit(self, desk: Desk, trouble: dict[str, bool]) -> float:
        """From a price beyond the stop, beside *trouble*, to the end of the position."""
        self.move("ETH", "4000")
        position = self.opened(desk, f"{trouble} {time.monotonic()}")
        self.control({"do": "streams", **trouble})
        self.move("ETH", "3905")
        moved_at = time.monotonic()
        wait_until(lambda: self.is_closed(desk, position), f"the exit beside {trouble}")
        seconds = time.monotonic() - moved_at
        self.control({"do": "lift"})
        return seconds


class StopTest(WatchCase):
    def test_the_stop_from_the_command_line_needs_no_monitor_no_web_no_redis_no_scout_and_no_guardian(self) -> None:
        monitor = self.monitor("only")
        self.wait_for_words("only", "monitoring every")
        desk = self.desk()
        position = self.opened(desk, "stopped")
        monitor.kill()
        monitor.wait()
        self.scout.__exit__(None, None, None)
        sentence = "Order could not immediately match against any resting orders. asset=4"
        self.control({"do": "refuse", "coin": "ETH", "sentence": sentence, "status": "iocCancelRejected"})

        stopped = self.command("emergency_stop", "--timeout", "1")
        self.assertIn(f"closed {position.id}", stopped.stdout)
        # Closed is not flat yet: that is read twice, and not before the last entry can no longer land.
        self.assertIn("all positions are closed, but not read as flat yet", stopped.stderr)
        self.assertEqual({}, self.held())
        self.assertIs(TradingState.LIQUIDATING, desk.store.state().state)
        _, closing = desk.store.book().trades_of_position(position.id)
        self.assertIs(ExitReason.EMERGENCY_STOP, closing.terms.exit_reason)
        bands = [
            abs(one.limit_price / closing.terms.long.arrival_price - 1) for one in closing.orders if one.coin == "ETH"
        ]
        self.assertEqual([Decimal("0.01"), Decimal("0.03")], [round(one, 3) for one in bands])
        state = json.loads((self.folder / "data" / "desk.json").read_text(encoding="utf-8"))
        self.assertLess(state["since"], closing.orders[0].intended_at.isoformat())

    def test_what_cannot_be_closed_is_told_and_stays_latched(self) -> None:
        monitor = self.monitor("only")
        self.wait_for_words("only", "monitoring every")
        desk = self.desk()
        position = self.opened(desk, "stuck")
        monitor.kill()
        monitor.wait()
        self.control({"do": "halt", "coin": "ETH"})
        stopped = self.command("emergency_stop", "--timeout", "1")
        self.assertEqual(1, stopped.returncode)
        self.assertIn(f"still open:\n  {position.id} BTC/ETH closing", stopped.stderr)
        self.assertEqual({"ETH"}, set(self.held()))
        self.control({"do": "halt", "coin": "ETH", "on": False})
        # The next monitor goes on where the command has left off.
        self.monitor("next")
        wait_until(lambda: self.is_closed(desk, position), "the end of the close")
        self.assertEqual({}, self.held())
