"""Cases of an HTTP door over money that another desk has failed, by the numbers under which they are known. In brackets
what that desk (HyperSwarm's seed) answered."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from tests.api.base import ApiTestCase, told
from tests.api.test_access import API_TOKENS, ROUTES
from tests.engine.scripted_venue import Crash
from tests.servers.guardian import GuardianServer
from tests.servers.sibling import Reply
from trading import bootstrap
from trading.adapters.guardian import GuardianClient
from trading.domain.market import Pair
from trading.domain.orders import Order, OrderReport
from trading.engine import working
from trading.ports import Venue

PAIRS = ("BTC/ETH", "SOL/AVAX", "BNB/OP", "LTC/ARB", "DOGE/INJ", "SUI/CRV", "LDO/LINK", "XRP/BCH")
CLIENTS = 8
WRITES = 50
TRIES_MAX = 20
PATIENT_SECONDS, IMPATIENT_SECONDS = 8.0, 0.3


class DoorTest(ApiTestCase):
    configured = {"api_tokens": API_TOKENS, "allow_anonymous_loopback": False}  # noqa: RUF012 (a ClassVar of the base)

    def test_c69_a_write_without_credentials_or_with_wrong_ones_is_a_401(self) -> None:
        """(200)"""
        before = self.facts_on_disk()
        for method, path, scope in ROUTES:
            if scope == "read":
                continue
            for sent in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic b3BlcmF0b3I6eA=="}):
                with self.subTest(f"{method} {path}", sent=sent):
                    self.assertEqual(401, self.send(method, path, {}, **sent).status_code)
        self.assertEqual(before, self.facts_on_disk())


class FieldTest(ApiTestCase):
    configured: ClassVar[dict[str, object]] = {"max_positions": 8, "max_allocation": Decimal(1)}

    def opened(self, signal_id: str = "signal_1", size: object = 1000, **more: object) -> dict[str, Any]:
        response = self.execute({"signal_id": signal_id, "position_size": size, **more})
        self.assertEqual(201, response.status_code, response.content)
        position: dict[str, Any] = told(response)
        return position

    def holdings(self) -> dict[str, Decimal]:
        return {coin: one.quantity for coin, one in self.desk.venue.account().holdings.items() if one.quantity}

    def test_c70_sizes_and_pairs_that_cannot_be_are_refused_with_a_code(self) -> None:
        """(200, submitted)"""
        cases: Sequence[tuple[dict[str, object], int, str]] = (
            ({"position_size": 1e12}, 422, "RISK_DENIED"),
            ({"position_size": -500}, 400, "INVALID_REQUEST"),
            ({"position_size": "abc"}, 400, "INVALID_REQUEST"),
            ({"position_size": 1000, "pair": "FOO/BAR"}, 422, "RISK_DENIED"),
        )
        for body, status, code in cases:
            with self.subTest(body):
                self.assert_problem(self.execute({"signal_id": "signal_1", **body}), status, code)
        self.assertEqual(([], {}), (told(self.get("/api/trades")), self.holdings()))

    def test_c71_one_signal_five_times_also_at_once_is_one_position(self) -> None:
        """(five)"""
        body = {"signal_id": "signal_1", "position_size": 1000}
        with ThreadPoolExecutor(5) as hands:
            answers = list(hands.map(lambda _: self.execute(body), range(5)))
        answers += [self.execute(body) for _ in range(4)]
        self.assertLessEqual({one.status_code for one in answers}, {200, 201})
        self.assertEqual(1, sum(one.status_code == 201 for one in answers))
        self.assertEqual(1, len({told(one)["position_id"] for one in answers}))
        self.assertEqual(1, len(told(self.get("/api/positions"))))
        self.assertEqual(2, len(self.holdings()))

    def test_c72_a_close_changes_the_state_and_its_orders_are_seen_at_the_venue(self) -> None:
        """(unchanged)"""
        position = self.opened()
        self.assertEqual(2, len(self.holdings()))
        response = self.post(f"/api/positions/{position['position_id']}/close")
        self.assertEqual((200, "closed"), (response.status_code, told(response)["status"]))
        self.assertEqual({}, self.holdings())
        trade = told(self.get(f"/api/trades/{told(response)['closing_trade_id']}"))
        self.assertTrue(all(order["reduce_only"] and order["status"] == "FILLED" for order in trade["orders"]))

    def test_c73_a_stop_with_eight_open_leaves_none_open(self) -> None:
        """(eight open, "closing")"""
        for number, pair in enumerate(PAIRS):
            self.opened(f"signal_{number}", pair=pair)
        standing = [one["position_id"] for one in told(self.get("/api/positions?status=open"))]
        self.assertEqual(8, len(standing))
        response = self.post("/api/emergency_stop")
        body = told(response)
        self.assertEqual((200, "all_positions_closed"), (response.status_code, body["status"]))
        self.assertEqual((set(standing), []), (set(body["closed"]), body["remaining"]))
        self.assertEqual({}, self.holdings())

    def test_c74_eight_clients_with_fifty_writes_each_lose_nothing(self) -> None:
        """(a quarter of the entries lost) Each write changes a barrier and has a line of its own in the log."""
        positions = [self.opened(f"signal_{number}", pair=pair) for number, pair in enumerate(PAIRS)]

        def write(path: str, profit: float) -> int:
            """Again where another is served first: 503 with Retry-After."""
            for _ in range(TRIES_MAX):
                status = self.send("PATCH", path, {"take_profit": profit}).status_code
                if status != 503:
                    break
            return status

        def client(number: int) -> list[int]:
            path = f"/api/positions/{positions[number]['position_id']}"
            return [write(path, 0.03 + number / 1000 + step / 100_000) for step in range(WRITES)]

        with ThreadPoolExecutor(CLIENTS) as hands:
            answers = [status for statuses in hands.map(client, range(CLIENTS)) for status in statuses]
        self.assertEqual([200] * CLIENTS * WRITES, answers)
        lines = json.loads((self.folder / "data" / "agent_logs.json").read_text())
        changed = [line for line in lines if line["data"].get("event") == "ExitsChanged"]
        self.assertEqual(CLIENTS * WRITES, len(changed))
        self.assertEqual(len(lines), len({line["id"] for line in lines}))
        for number, position in enumerate(positions):
            own = [line["data"]["after"] for line in changed if line["data"]["position_id"] == position["position_id"]]
            self.assertEqual(WRITES, len({json.dumps(one) for one in own}))
            stored = told(self.get(f"/api/positions/{position['position_id']}"))["take_profit"]
            self.assertAlmostEqual(0.03 + number / 1000 + (WRITES - 1) / 100_000, stored)

    def test_c75_a_kill_between_the_legs_is_repaired_after_the_restart_and_named(self) -> None:
        """(the position was in Redis only) With processes and SIGKILL: `make sim-processes`."""
        real = self.desk.venue
        dying: Any = _DiesBetweenLegs(real)
        with bootstrap.use_desk(replace(self.desk, venue=dying)), self.assertRaises(Crash):
            self.execute({"signal_id": "signal_1", "position_size": 1000})
        self.assertEqual(1, len(self.holdings()))
        trade_id = told(self.get("/api/trades"))[0]["trade_id"]
        for _ in range(20):
            self.clock.advance(1)
            working.work_if_free(self.desk, trade_id)
        (position,) = told(self.get("/api/positions"))
        book = {position[side]["coin"]: position[side]["quantity"] for side in ("long", "short")}
        held = {coin: float(abs(quantity)) for coin, quantity in self.holdings().items()}
        self.assertEqual({coin: quantity for coin, quantity in book.items() if quantity}, held)
        self.assertIn(len(held), (0, 2))
        events = [line["data"].get("event") for line in told(self.get("/api/agent/logs?limit=50"))]
        self.assertIn("LegsUnbalanced", events)


class _DiesBetweenLegs:
    """The venue of a process that is killed when only the first of two orders has reached it."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def submit(self, orders: Sequence[Order]) -> tuple[OrderReport, ...]:
        self._venue.submit(orders[:1])
        raise Crash

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)


class GuardianTest(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.guardian = self.enterContext(GuardianServer())
        self.enterContext(bootstrap.use_desk(self.asking(self.guardian.url)))

    def asking(self, url: str, seconds: float = PATIENT_SECONDS) -> Any:
        client = GuardianClient(url, seconds, self.clock)
        return replace(self.desk, approvals=client)

    def refused(self) -> None:
        response = self.execute({"signal_id": "signal_1", "position_size": 1000, "pair": str(Pair.parse("BTC/ETH"))})
        self.assert_problem(response, 503, "GUARDIAN_UNAVAILABLE")
        self.assertEqual({}, dict(self.desk.venue.account().holdings))
        self.assertEqual([], told(self.get("/api/trades")))

    def test_c76_a_guardian_that_is_down_is_a_no(self) -> None:
        """(Guardian was never asked)"""
        with bootstrap.use_desk(self.asking("http://127.0.0.1:1")):
            self.refused()

    def test_c76_a_guardian_that_is_slow_is_a_no(self) -> None:
        self.guardian.script(Reply(hangs=True))
        with bootstrap.use_desk(self.asking(self.guardian.url, IMPATIENT_SECONDS)):
            self.refused()

    def test_c76_a_guardian_that_answers_for_another_size_is_a_no(self) -> None:
        self.guardian.answers(size=2000)
        self.refused()
        self.assertEqual(1, len(self.guardian.received))

    def test_c76_the_same_guardian_in_order_is_a_yes(self) -> None:
        self.assertEqual(201, self.execute({"signal_id": "signal_1", "position_size": 1000}).status_code)
