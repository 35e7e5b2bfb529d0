"""The main flows through the HTTP API, against a desk on the paper venue: open, look, change, close, stop, resume."""

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, cast
from unittest import mock

from django.http import HttpResponse
from django.test import Client, override_settings
from rest_framework.test import APIClient

from tests.api.base import EXECUTE, ApiTestCase, told
from tests.builders import given_signal
from tests.fakes import FakeApprover, FakeSignals
from trading import bootstrap
from trading.adapters.system import SystemClock
from trading.conf import Config
from trading.domain.errors import (
    Busy,
    DeskError,
    GuardianUnavailable,
    ScoutUnavailable,
    StoreCorrupt,
    VenueRejected,
    VenueUnavailable,
)
from trading.engine import emergency
from trading.engine.desk import Desk

OPENING = {"signal_id": "signal_123", "position_size": 1000, "pair": "BTC/ETH"}
PAIRS = ("BTC/ETH", "SOL/AVAX", "XRP/BNB", "LTC/BCH", "ARB/OP", "SUI/APT", "LINK/DOGE", "INJ/ATOM")
SLICED = {"signal_id": "signal_7", "position_size": 6000, "pair": "SOL/AVAX"}
POSITION_FIELDS = (
    *("position_id", "trade_id", "signal_id", "approval_id", "pair", "status", "size", "position_size", "leverage"),
    *(
        "long",
        "short",
        "entry_spread",
        "current_spread",
        "pnl",
        "pnl_percent",
        "realized_pnl",
        "unrealized_pnl",
        "fees",
    ),
    *("funding", "risk_level", "take_profit", "stop_loss", "trailing_stop", "time_window", "window_expires_at"),
    *("entry_time", "exit_time", "exit_reason", "liquidation_distance", "naked", "execution"),
)
LEG_FIELDS = (
    *("coin", "side", "quantity", "entry_price", "mark_price", "notional", "unrealized_pnl", "fees", "funding"),
)
HEALTH_FIELDS = ("service", "redis", "demo_mode", "venue", "trading_state")
EXECUTION_FIELDS = ("arrival_spread", "slippage_bps", "slices_total", "slices_done", "next_slice_at")


class FlowTestCase(ApiTestCase):
    def opened(self, body: dict[str, object] | None = None) -> dict[str, Any]:
        response = self.execute(body or OPENING)
        self.assertIn(response.status_code, (201, 202), response.content)
        position: dict[str, Any] = told(response)
        return position

    def serve(self, **changes: object) -> Desk:
        """The same desk with some of its ports exchanged."""
        desk = replace(self.desk, **changes)  # type: ignore[arg-type]  # the names are those of the record
        self.enterContext(bootstrap.use_desk(desk))
        return desk


class ExecuteTest(FlowTestCase):
    def test_an_opened_position_is_a_201_with_every_field_of_the_contract(self) -> None:
        response = self.execute(OPENING)
        body = told(response)
        self.assertEqual((201, "application/json"), (response.status_code, response["Content-Type"]))
        self.assertEqual(set(), {*POSITION_FIELDS} - set(body))
        self.assertEqual(
            ("open", "BTC/ETH", "signal_123", 1), tuple(body[k] for k in ("status", "pair", "signal_id", "leverage"))
        )
        for leg in (body["long"], body["short"]):
            self.assertEqual(set(), {*LEG_FIELDS} - set(leg))
        self.assertEqual(set(), {*EXECUTION_FIELDS} - set(body["execution"]))
        self.assertEqual({"max_usd", "usd_seconds"}, set(body["naked"]))
        self.assertAlmostEqual(1000, body["size"], delta=5)
        self.assertAlmostEqual(body["size"], body["long"]["notional"] + body["short"]["notional"], delta=2)
        self.assertEqual({"long", "short"}, {body["long"]["side"], body["short"]["side"]})

    def test_the_test_client_of_the_framework_is_understood_as_it_comes(self) -> None:
        self.assertEqual(201, APIClient().post(EXECUTE, OPENING).status_code)

    def test_the_numbers_add_up(self) -> None:
        body = self.opened()
        self.assertAlmostEqual(
            body["pnl"], body["realized_pnl"] + body["unrealized_pnl"] - body["fees"] - body["funding"], places=9
        )
        prices = {leg["coin"]: leg["entry_price"] for leg in (body["long"], body["short"])}
        self.assertAlmostEqual(body["entry_spread"], prices["BTC"] / prices["ETH"] - 1, places=9)

    def test_the_same_request_again_is_a_200_with_the_same_position_and_sends_nothing(self) -> None:
        first = self.opened()
        before = self.facts_on_disk()
        again = self.execute({"pair": "BTC/ETH", "signal_id": "signal_123", "position_size": 1000.0})
        self.assertEqual((200, first["position_id"]), (again.status_code, told(again)["position_id"]))
        self.assertEqual(before, self.facts_on_disk())

    def test_the_same_key_with_other_content_is_a_409(self) -> None:
        self.opened()
        self.assert_problem(self.execute({**OPENING, "position_size": 1001}), 409, "IDEMPOTENCY_MISMATCH")

    def test_another_key_for_a_signal_that_has_traded_is_a_409(self) -> None:
        first = self.execute(OPENING, **{"Idempotency-Key": "key-1"})
        self.assertEqual(201, first.status_code)
        self.assertEqual(200, self.execute(OPENING, **{"Idempotency-Key": "key-1"}).status_code)
        body = self.assert_problem(self.execute(OPENING, **{"Idempotency-Key": "key-2"}), 409, "SIGNAL_NOT_PENDING")
        self.assertEqual(told(first)["trade_id"], body["trade_id"])

    def test_a_large_trade_is_sliced_and_a_202(self) -> None:
        response = self.execute(SLICED)
        body = told(response)
        self.assertEqual((202, "opening"), (response.status_code, body["status"]))
        self.assertEqual((5, 1), (body["execution"]["slices_total"], body["execution"]["slices_done"]))
        self.assertGreater(datetime.fromisoformat(body["execution"]["next_slice_at"]), self.clock.now())

    def test_exits_and_holding_time_are_taken_from_the_request(self) -> None:
        body = self.opened(
            {
                **OPENING,
                "take_profit": 0.05,
                "stop_loss": 0.012,
                "trailing_stop": {"arm": 0.02, "gap": 0.01},
                "time_window": "5min",
                "leverage": 2,
            }
        )
        self.assertEqual(
            (0.05, 0.012, {"arm": 0.02, "gap": 0.01}, "5min", 2),
            tuple(body[k] for k in ("take_profit", "stop_loss", "trailing_stop", "time_window", "leverage")),
        )
        entered, expires = (datetime.fromisoformat(body[k]) for k in ("entry_time", "window_expires_at"))
        self.assertEqual(300, (expires - entered).total_seconds())

    def test_all_breaches_are_told_at_once_and_nothing_is_consumed(self) -> None:
        body = self.assert_problem(
            self.execute({**OPENING, "position_size": 200_000, "leverage": 5}), 422, "RISK_DENIED"
        )
        codes = {breach["code"] for breach in body["breaches"]}
        self.assertLessEqual({"ALLOCATION_EXCEEDED", "LEVERAGE_EXCEEDED"}, codes)
        for breach in body["breaches"]:
            self.assertLessEqual({"code", "limit", "actual"}, set(breach))
        self.assertEqual(201, self.execute(OPENING).status_code)

    def test_a_pair_that_is_not_the_signals_is_named(self) -> None:
        offered = told(self.get("/api/signals"))[0]
        other = "SOL/AVAX" if offered["pair"] != "SOL/AVAX" else "BTC/ETH"
        self.assert_invalid(self.execute({"signal_id": offered["id"], "position_size": 1000, "pair": other}), "pair")

    def test_a_coin_that_is_not_listed_is_a_risk_denial(self) -> None:
        response = self.execute({**OPENING, "pair": "BTC/NOSUCHCOIN"})
        body = self.assert_problem(response, 422, "RISK_DENIED")
        self.assertIn("COIN_NOT_TRADABLE", {breach["code"] for breach in body["breaches"]})

    def test_identical_requests_at_once_make_one_position(self) -> None:
        answers = self.at_once([OPENING] * 8)
        self.assertEqual([200] * 7 + [201], sorted(answer.status_code for answer in answers))
        self.assertEqual(1, len({told(answer)["position_id"] for answer in answers}))
        self.assertEqual(1, len(told(self.get("/api/positions"))))

    def test_different_requests_at_once_never_exceed_the_limits(self) -> None:
        pairs = PAIRS
        answers = self.at_once([{"signal_id": f"s_{pair}", "position_size": 1000, "pair": pair} for pair in pairs])
        opened = [answer for answer in answers if answer.status_code in (201, 202)]
        self.assertEqual(3, len(opened), [answer.content for answer in answers])
        for answer in answers:
            if answer not in opened:
                self.assertEqual(422, answer.status_code)
                body = told(answer)
                # Guardian counts the positions too, and may be asked when the last one has just been accepted.
                if body["code"] != "GUARDIAN_REJECTED":
                    codes = {breach["code"] for breach in self.assert_problem(answer, 422, "RISK_DENIED")["breaches"]}
                    self.assertIn("POSITIONS_AT_MAXIMUM", codes)

    def at_once(self, bodies: list[dict[str, object]]) -> list[HttpResponse]:
        """Each from a client and a thread of its own, in real time."""
        config = Config.of(**{**self.defaults(), "data_dir": self.folder / "shared"})
        self.enterContext(bootstrap.use_desk(bootstrap.build_desk(config, SystemClock())))

        def one(body: dict[str, object]) -> HttpResponse:
            return cast(HttpResponse, Client().post(EXECUTE, json.dumps(body), content_type="application/json"))

        with ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(one, bodies))


class GateTest(FlowTestCase):
    def test_guardians_no_is_a_422_with_its_reasoning(self) -> None:
        self.serve(approvals=FakeApprover(approves=False, reasoning="the spread is thin", clock=self.clock))
        body = self.assert_problem(self.execute(OPENING), 422, "GUARDIAN_REJECTED")
        self.assertEqual(("the spread is thin", ["said no"]), (body["reasoning"], body["rule_violations"]))

    def test_peers_that_give_no_usable_answer_are_a_503_each_by_name(self) -> None:
        table: tuple[tuple[dict[str, object], str], ...] = (
            ({"signals": FakeSignals(failure=ScoutUnavailable("no answer"))}, "SCOUT_UNAVAILABLE"),
            ({"approvals": FakeApprover(failure=GuardianUnavailable("no answer"))}, "GUARDIAN_UNAVAILABLE"),
        )
        before = self.facts_on_disk()
        for ports, code in table:
            with self.subTest(code):
                self.serve(**ports)
                self.assert_problem(self.execute(OPENING), 503, code)
                self.assertEqual(before, self.facts_on_disk())

    def test_signals_that_may_not_be_traded_are_told_apart(self) -> None:
        now = self.clock.now()
        signals = FakeSignals()
        signals.offer(
            given_signal("used", created_at=now, status="executed"),
            given_signal("weak", created_at=now, confidence=Decimal("0.5")),
            given_signal("old", created_at=now.replace(hour=1)),
        )
        self.serve(signals=signals)
        for signal_id, status, code in (
            ("used", 409, "SIGNAL_NOT_PENDING"),
            ("weak", 409, "SIGNAL_LOW_CONFIDENCE"),
            ("old", 409, "SIGNAL_EXPIRED"),
            ("absent", 404, "SIGNAL_NOT_FOUND"),
        ):
            with self.subTest(code):
                self.assert_problem(self.execute({"signal_id": signal_id, "position_size": 1000}), status, code)

    def test_whatever_the_engine_raises_reaches_the_caller_as_its_row(self) -> None:
        table: tuple[tuple[DeskError, int, str], ...] = (
            (VenueRejected("margin", trade_id="trd_1"), 502, "VENUE_REJECTED"),
            (VenueUnavailable("no answer"), 503, "VENUE_UNAVAILABLE"),
            (StoreCorrupt("trades.json does not check", line=7), 503, "STORE_CORRUPT"),
            (Busy("somebody else works it"), 503, "BUSY"),
        )
        for error, status, code in table:
            with self.subTest(code), mock.patch("trading.views.entry.execute", side_effect=error):
                body = self.assert_problem(self.execute(OPENING), status, code)
                self.assertEqual({**error.facts}, {name: body[name] for name in error.facts})

    def test_a_desk_that_wants_a_monitor_and_has_none_opens_nothing(self) -> None:
        self.serve(config=Config.of(**{**self.defaults(), "require_monitor": True}))
        self.assert_problem(self.execute(OPENING), 409, "MONITOR_DOWN")


class PreviewTest(FlowTestCase):
    def test_a_preview_tells_legs_costs_limits_and_a_verdict_and_writes_nothing(self) -> None:
        before = self.facts_on_disk()
        response = self.post("/api/trades/preview", OPENING)
        body = told(response)
        self.assertEqual((200, True, []), (response.status_code, body["would_execute"], body["breaches"]))
        self.assertEqual({"BTC", "ETH"}, {body["long"]["coin"], body["short"]["coin"]})
        self.assertGreater(body["round_trip_cost"], 0)
        self.assertTrue(body["headroom"])
        self.assertEqual(before, self.facts_on_disk())

    def test_a_preview_of_too_much_is_a_200_that_says_no(self) -> None:
        body = told(self.post("/api/trades/preview", {**OPENING, "position_size": 200_000}))
        self.assertFalse(body["would_execute"])
        self.assertIn("ALLOCATION_EXCEEDED", {breach["code"] for breach in body["breaches"]})


class LookingTest(FlowTestCase):
    def test_positions_are_an_array_newest_first_in_pages_with_their_total(self) -> None:
        ids = [
            self.opened({**OPENING, "signal_id": f"s{n}", "pair": pair})["position_id"]
            for n, pair in enumerate(PAIRS[:3])
        ]
        response = self.get("/api/positions")
        self.assertEqual((ids[::-1], "3"), ([one["position_id"] for one in told(response)], response["X-Total-Count"]))
        page = self.get(f"/api/positions?limit=1&before={ids[2]}")
        self.assertEqual(([ids[1]], "3"), ([one["position_id"] for one in told(page)], page["X-Total-Count"]))
        self.assert_problem(self.get("/api/positions?before=pos_x"), 404, "POSITION_NOT_FOUND")

    def test_positions_are_filtered_by_status(self) -> None:
        position = self.opened()["position_id"]
        for status in ("opening", "open", "closing", "closed"):
            with self.subTest(status):
                found = told(self.get(f"/api/positions?status={status}"))
                self.assertEqual([position] if status == "open" else [], [one["position_id"] for one in found])

    def test_one_position_and_one_trade_are_found_by_their_ids(self) -> None:
        opened = self.opened()
        position = told(self.get(f"/api/positions/{opened['position_id']}/"))
        self.assertEqual(opened["trade_id"], position["trade_id"])
        self.assertEqual(("signal_123", "BTC/ETH"), (position["signal"]["id"], position["signal"]["pair"]))
        trade = told(self.get(f"/api/trades/{opened['trade_id']}"))
        self.assertEqual("FILLED", trade["status"])
        told_of = [event["event"] for event in trade["timeline"]]
        for name in ("SignalOffered", "Approved", "ChecksPassed", "OrdersIntended", "OrdersReported", "Filled"):
            self.assertIn(name, told_of)
        for event in trade["timeline"]:
            self.assertIsNotNone(datetime.fromisoformat(event["at"]).tzinfo)

    def test_trades_are_an_array_with_their_total(self) -> None:
        opened = self.opened()
        self.post(f"/api/positions/{opened['position_id']}/close")
        response = self.get("/api/trades")
        self.assertEqual(
            ("2", ["CLOSE", "OPEN"]), (response["X-Total-Count"], [one["effect"] for one in told(response)])
        )
        older = told(self.get(f"/api/trades?before={told(response)[0]['trade_id']}"))
        self.assertEqual([opened["trade_id"]], [one["trade_id"] for one in older])

    def test_signals_say_whether_the_desk_would_take_them_and_why_not(self) -> None:
        offered = told(self.get("/api/signals"))
        self.assertTrue(offered)
        for signal in offered:
            self.assertEqual(signal["would_take"], not signal["why_not"])

    def test_the_portfolio_tells_what_is_left_of_each_limit(self) -> None:
        self.opened()
        body = told(self.get("/api/portfolio"))
        self.assertEqual((1, "ACTIVE"), (body["open_positions"], body["trading_state"]))
        self.assertAlmostEqual(100_000, body["equity"], delta=10)
        self.assertTrue(all({"limit", "actual", "left"} <= set(limit) for limit in body["limits"]))

    def test_the_log_is_an_array_newest_first(self) -> None:
        self.opened()
        entries = told(self.get("/api/agent/logs?limit=3"))
        self.assertEqual(3, len(entries))
        for entry in entries:
            self.assertEqual({"id", "timestamp", "agent", "type", "message", "data"}, set(entry))
            self.assertEqual("executor", entry["agent"])

    def test_the_time_windows_are_those_of_the_frontend(self) -> None:
        self.assertEqual(
            {
                "windows": {
                    "1min": {"periods": 12, "display": "1 minute", "duration_seconds": 60},
                    "5min": {"periods": 60, "display": "5 minutes", "duration_seconds": 300},
                    "15min": {"periods": 180, "display": "15 minutes", "duration_seconds": 900},
                },
                "default": "5min",
            },
            told(self.get("/api/time_windows")),
        )

    def test_the_root_lists_routes_that_exist(self) -> None:
        for route in told(self.get("/", Accept="application/json"))["routes"]:
            method, path = route.split()
            with self.subTest(route):
                response = self.send("OPTIONS", path.replace("{id}", "x"))
                self.assertEqual(204, response.status_code)
                self.assertIn(method, response["Allow"])


class HealthTest(FlowTestCase):
    def test_health_has_the_fields_of_the_contract(self) -> None:
        response = self.get("/api/health")
        body = told(response)
        self.assertEqual(200, response.status_code)
        self.assertEqual(
            ("executor_agent", "disconnected", True, "paper", "ACTIVE"), tuple(body[k] for k in HEALTH_FIELDS)
        )
        self.assertEqual({"alive": False, "last_beat_seconds": None}, body["monitor"])
        self.assertEqual("degraded", body["status"])
        self.assertTrue(body["version"])

    def test_a_store_that_cannot_be_trusted_is_a_503(self) -> None:
        self.opened()
        self.damage()
        response = self.get("/api/health")
        self.assertEqual((503, "unhealthy"), (response.status_code, told(response)["status"]))

    def test_a_desk_that_starts_on_damaged_files_shows_what_it_knows_and_still_stops(self) -> None:
        self.opened()
        healthy = told(self.get("/api/health"))
        self.damage()
        with self.no_desk():
            response = self.get("/api/health")
            body = told(response)
            self.assertEqual((503, "unhealthy", set(healthy)), (response.status_code, body["status"], set(body)))
            self.assertIn("damaged", body["problems"][0])
            self.assertEqual(1, len(json.loads(self.get("/api/positions").content)))
            self.assert_problem(self.execute({**OPENING, "signal_id": "another"}), 503, "STORE_CORRUPT")
            with redirect_stderr(io.StringIO()):
                stopped = self.post("/api/emergency_stop", {})
            self.assertEqual((200, "all_positions_closed"), (stopped.status_code, told(stopped)["status"]))
            self.assertTrue((self.folder / "data" / "rescue.json").exists())

    def test_without_a_desk_strangers_still_learn_nothing(self) -> None:
        self.opened()
        self.damage()
        with self.no_desk():
            response = self.get("/api/positions", Authorization="Bearer x")
            self.assert_problem(response, 401, "TOKEN_UNKNOWN")

    def damage(self) -> None:
        """A line in the middle of the ledger that nobody of ours has written."""
        ledger = self.folder / "data" / "trades.json"
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join([lines[0], b'{"not": "ours"},\n', *lines[1:]]))

    @contextmanager
    def no_desk(self) -> Iterator[None]:
        """A process that starts now, over the same files."""
        with mock.patch.object(bootstrap, "_installed", []), override_settings(DESK_CONFIG=self.desk.config):
            yield


class LeavingTest(FlowTestCase):
    def test_a_close_is_a_200_with_the_closed_position_and_again_the_same(self) -> None:
        position = self.opened()["position_id"]
        for _ in range(2):
            response = self.post(f"/api/positions/{position}/close")
            body = told(response)
            self.assertEqual((200, "closed", "MANUAL"), (response.status_code, body["status"], body["exit_reason"]))
        self.assertEqual(2, len(told(self.get("/api/trades"))))

    def test_a_close_without_any_body_or_content_type_is_welcome(self) -> None:
        position = self.opened()["position_id"]
        for kind in ("", "application/x-www-form-urlencoded"):
            response = self.send("POST", f"/api/positions/{position}/close", None, **{"Content-Type": kind})
            self.assertEqual(200, response.status_code)

    def test_a_close_in_mid_flight_stops_the_slices_too(self) -> None:
        opened = self.opened(SLICED)
        response = self.post(f"/api/positions/{opened['position_id']}/close")
        self.assertIn(response.status_code, (200, 202))
        self.assertEqual("CANCELED", told(self.get(f"/api/trades/{opened['trade_id']}"))["status"])

    def test_a_cancel_leaves_what_is_filled(self) -> None:
        opened = self.opened(SLICED)
        response = self.post(f"/api/trades/{opened['trade_id']}/cancel")
        self.assertEqual((200, "CANCELED"), (response.status_code, told(response)["status"]))
        position = told(self.get(f"/api/positions/{opened['position_id']}"))
        self.assertEqual("open", position["status"])
        self.assertAlmostEqual(1200, position["size"], delta=10)

    def test_a_close_is_never_canceled(self) -> None:
        position = self.opened()["position_id"]
        closing = told(self.post(f"/api/positions/{position}/close"))["closing_trade_id"]
        self.assert_problem(self.post(f"/api/trades/{closing}/cancel"), 400, "INVALID_REQUEST")

    def test_exits_change_and_are_told(self) -> None:
        path = f"/api/positions/{self.opened()['position_id']}"
        change = {"take_profit": 0.05, "trailing_stop": {"arm": 0.02, "gap": 0.01}, "max_holding_seconds": 60}
        changed = told(self.send("PATCH", path, change))
        self.assertEqual(change, {name: changed[name] for name in change})
        dropped = told(self.send("PATCH", path, {"trailing_stop": None, "max_holding_seconds": None}))
        self.assertEqual(
            (None, None, 0.05), tuple(dropped[k] for k in ("trailing_stop", "max_holding_seconds", "take_profit"))
        )


class StopTest(FlowTestCase):
    def test_a_stop_closes_everything_and_opens_nothing_until_a_resume(self) -> None:
        self.opened()
        response = self.post("/api/emergency_stop")
        body = told(response)
        self.assertEqual((200, "all_positions_closed", []), (response.status_code, body["status"], body["remaining"]))
        self.assertEqual(1, len(body["closed"]))
        self.assert_problem(self.execute({**OPENING, "signal_id": "another"}), 409, "TRADING_HALTED")
        self.assert_problem(self.post("/api/resume"), 409, "STOP_IN_PROGRESS")
        self.clock.advance(60)
        for _ in range(emergency.FLAT_READS):
            emergency.push(self.desk, lambda position_id, reason: None)
        resumed = self.post("/api/resume", {})
        self.assertEqual((200, "ACTIVE"), (resumed.status_code, told(resumed)["trading_state"]))
        self.assertNotIn("binding", told(resumed))

    def test_a_stop_with_nothing_open_is_a_200_and_pressing_twice_is_once(self) -> None:
        for _ in range(2):
            response = self.post("/api/emergency_stop", {"scope": "book"})
            self.assertEqual((200, []), (response.status_code, told(response)["closed"]))

    def test_a_stop_that_is_still_working_is_a_202(self) -> None:
        position = self.opened()["position_id"]
        with mock.patch("trading.engine.emergency.close_all"):
            response = self.post("/api/emergency_stop")
        body = told(response)
        self.assertEqual((202, "closing"), (response.status_code, body["status"]))
        self.assertEqual([position], [one["position_id"] for one in body["remaining"]])

    def test_a_resume_without_need_is_harmless(self) -> None:
        self.assertEqual("ACTIVE", told(self.post("/api/resume", {"accept_drift": []}))["trading_state"])
