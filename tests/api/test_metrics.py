"""GET /metrics: the samples of a scripted day are the ledger's own numbers, and no part of it can fail the scrape."""

import errno
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar
from unittest import mock

from django.http import HttpResponse
from prometheus_client.parser import text_string_to_metric_families

from tests.api.base import ApiTestCase, told
from tests.processes import wait_until
from trading import bootstrap, metrics
from trading.domain.errors import Busy, StoreCorrupt, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import OrderReport, OrderStatus
from trading.domain.units import Usd
from trading.engine import closing, monitor
from trading.engine.monitor import Watchman
from trading.utils import meters

Labels = frozenset[tuple[str, str]]


def samples_of(response: HttpResponse) -> dict[tuple[str, Labels], float]:
    families = text_string_to_metric_families(response.content.decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


class MetricsCase(ApiTestCase):
    def scrape(self) -> dict[tuple[str, Labels], float]:
        response = self.get("/metrics")
        self.assertEqual((200, metrics.CONTENT_TYPE), (response.status_code, response["Content-Type"]))
        return samples_of(response)

    def value(self, name: str, **labels: str) -> float | None:
        return self.scrape().get((name, frozenset(labels.items())))

    def total(self, name: str) -> Decimal:
        """The sum of a name's samples, as exact as floats are."""
        return Decimal(str(round(sum(value for (one, _), value in self.scrape().items() if one == name), 8)))

    def open(self, signal_id: str, pair: str, size: int = 1000, **request: Any) -> dict[str, Any]:
        response = self.execute({"signal_id": signal_id, "pair": pair, "position_size": size, **request})
        self.assertIn(response.status_code, (201, 202), response.content)
        position: dict[str, Any] = told(response)
        return position

    def tick(self, seconds: float = 1.0, count: int = 1) -> None:
        watchman = Watchman(self.desk)
        for _ in range(count):
            self.clock.advance(seconds)
            monitor.tick(watchman, wait_seconds=5.0)


class ScriptedDayTest(MetricsCase):
    """Two openings at once, one by slices that is cancelled after its first, an exit and a close by hand."""

    def setUp(self) -> None:
        super().setUp()
        first = self.open("one", "SOL/AVAX")
        second = self.open("two", "BTC/ETH", 2000)
        sliced = self.open("three", "LINK/ARB", 900, execution="twap", twap={"duration_seconds": 60, "slices": 3})
        self.tick(21)
        self.assertEqual(200, self.post(f"/api/trades/{sliced['trade_id']}/cancel").status_code)
        closing.close(self.desk, first["position_id"], ExitReason.STOP_LOSS)
        self.assertEqual(200, self.post(f"/api/positions/{second['position_id']}/close").status_code)
        self.tick(5)

    def ledger(self) -> Mapping[str, Decimal]:
        """The day's sums from the orders of the ledger, in the plainest way there is."""
        sums: dict[str, Decimal] = dict.fromkeys(("orders", "fills", "fees", "turnover"), Decimal(0))
        for trade in self.desk.store.book().trades():
            for order in trade.orders:
                report: OrderReport = trade.report_of(order)
                sums["orders"] += 1
                sums["fees"] += report.fees
                if report.filled and report.average_price is not None:
                    sums["fills"] += 1
                    sums["turnover"] += report.filled * report.average_price
        return sums

    def test_orders_fills_fees_and_turnover_are_those_of_the_ledger(self) -> None:
        ledger = self.ledger()
        self.assertEqual(10, ledger["orders"])
        for name, key in {
            "executor_orders_total": "orders",
            "executor_fills_total": "fills",
            "executor_fees_usd_total": "fees",
            "executor_turnover_usd_total": "turnover",
        }.items():
            self.assertEqual(round(ledger[key], 8), self.total(name), name)
        self.assertEqual(6.0, self.value("executor_orders_total", effect="OPEN", status="FILLED"))
        self.assertEqual(4.0, self.value("executor_orders_total", effect="CLOSE", status="FILLED"))

    def test_trades_positions_money_and_exposure_are_those_of_the_book_and_the_account(self) -> None:
        self.assertEqual(2.0, self.value("executor_trades", effect="OPEN", status="FILLED"))
        self.assertEqual(1.0, self.value("executor_trades", effect="OPEN", status="CANCELED"))
        self.assertEqual(2.0, self.value("executor_trades", effect="CLOSE", status="FILLED"))
        self.assertEqual(1.0, self.value("executor_positions", status="open"))
        portfolio = told(self.get("/api/portfolio"))
        for name, key in {
            "executor_equity_usd": "equity",
            "executor_realized_pnl_usd": "realized_pnl",
            "executor_unrealized_pnl_usd": "unrealized_pnl",
            "executor_paid_fees_usd": "fees",
            "executor_paid_funding_usd": "funding",
            "executor_today_pnl_usd": "today_pnl",
            "executor_gross_exposure_usd": "gross_exposure",
        }.items():
            self.assertAlmostEqual(portfolio[key], self.value(name) or 0.0, 6, name)
        days = portfolio["history"]["today"]
        self.assertAlmostEqual(days["slippage_usd"], float(self.total("executor_slippage_usd")), 6)
        self.assertAlmostEqual(1 / 3, self.value("executor_limit_used_ratio", limit="max_positions") or 0.0)

    def test_a_second_scrape_counts_nothing_twice(self) -> None:
        before = self.scrape()
        after = self.scrape()
        counted = [key for key in before if key[0].startswith(("executor_orders", "executor_f", "executor_turn"))]
        self.assertGreater(len(counted), 5)
        self.assertEqual([before[key] for key in counted], [after[key] for key in counted])

    def test_what_moves_to_the_archive_stays_counted(self) -> None:
        before = self.total("executor_fees_usd_total")
        for _ in range(3):
            self.clock.advance(90_000)
            self.desk.store.roll_over(self.clock.now())
        self.assertEqual(1, len(self.desk.store.book().trades()))
        self.assertEqual(before, self.total("executor_fees_usd_total"))

    def test_web_process_and_monitor_are_shown_together(self) -> None:
        meters.write_down(self.desk.config.data_dir, "monitor")
        os.utime(self.desk.config.data_dir / "metrics" / "monitor.prom", (self.clock.now().timestamp(),) * 2)
        self.get("/metrics")
        shown = self.scrape()
        processes = {dict(labels)["process"] for (name, labels) in shown if name == "executor_call_seconds_count"}
        self.assertEqual({"web", "monitor"}, processes)
        self.clock.advance(61)
        stale = {dict(labels)["process"] for (name, labels) in self.scrape() if name == "executor_call_seconds_count"}
        self.assertEqual({"web"}, stale)

    def test_every_sample_has_a_name_that_is_known(self) -> None:
        names = {name for name, _ in self.scrape()}
        self.assertEqual(set(), names - metrics.NAMES)


class TroubledDayTest(MetricsCase):
    """What goes wrong is counted as the ledger has it: legs that ran apart, answers that were lost, money at risk."""

    def stage(self, **what: object) -> None:
        self.assertEqual(201, self.post("/api/demo/scenario", what).status_code)

    def test_repairs_doubts_and_naked_exposure_are_those_of_the_trades(self) -> None:
        self.stage(kind="partial_fills", coin="AVAX", share=0.5, seconds=5)
        self.open("one", "SOL/AVAX")
        self.tick(6)
        self.stage(kind="lost_answer", seconds=5)
        self.open("two", "BTC/ETH")
        self.tick(1, 6)
        trades = [told(self.get(f"/api/trades/{one['trade_id']}")) for one in told(self.get("/api/trades"))]
        happened = [event["event"] for trade in trades for event in trade["timeline"]]
        self.assertEqual((1, Decimal(1)), (happened.count("LegsUnbalanced"), self.total("executor_repairs_total")))
        self.assertEqual(2.0, self.value("executor_unknown_answers_total", effect="OPEN"))
        naked = sum(trade["naked"]["usd_seconds"] for trade in trades)
        self.assertAlmostEqual(naked, float(self.total("executor_naked_usd_seconds_total")), 6)
        self.assertEqual((0.0, 0.0), (self.value("executor_orders_in_doubt"), self.value("executor_doubt_age_seconds")))
        self.assertEqual(told(self.get("/api/portfolio"))["naked_exposure"], self.value("executor_naked_usd"))

    def test_ages_and_latencies_of_prices_monitor_and_store_are_there(self) -> None:
        self.open("one", "SOL/AVAX", leverage=2)
        self.tick()
        self.assertEqual(0.0, self.value("executor_positions_unpriced"))
        self.stage(kind="stale_prices", seconds=60)
        self.clock.advance(7)
        self.assertEqual(7.0, self.value("executor_stream_age_seconds"))
        # Nothing is marked to a price that old.
        self.assertIsNone(self.value("executor_price_age_seconds"))
        self.assertEqual(1.0, self.value("executor_positions_unpriced"))
        names = {name for name, _ in self.scrape()}
        self.assertLessEqual(
            {
                *("executor_http_requests_total", "executor_http_request_seconds_bucket"),
                *("executor_call_seconds_bucket", "executor_call_seconds_count"),
            },
            names,
        )
        saved = self.value("executor_call_seconds_count", process="web", port="store", call="save")
        self.assertGreater(saved or 0, 0)
        self.assertAlmostEqual(2 / 3, self.value("executor_limit_used_ratio", limit="max_leverage") or 0)

    def test_what_a_day_may_lose_is_a_limit_like_the_others(self) -> None:
        self.tick()
        state = self.desk.store.state()
        assert state.baseline_equity is not None
        self.assertEqual(0.0, self.value("executor_limit_used_ratio", limit="max_daily_loss"))
        richer = Usd(state.baseline_equity * Decimal("1.04"))
        self.desk.store.change_state(lambda state: replace(state, baseline_equity=richer))
        used = self.value("executor_limit_used_ratio", limit="max_daily_loss") or 0.0
        self.assertAlmostEqual(float(Decimal("0.04") / Decimal("1.04") / Decimal("0.05")), used, 6)


class TroubleTest(MetricsCase):
    def test_an_order_in_doubt_is_shown_with_its_age(self) -> None:
        with mock.patch.object(
            self.desk.venue,
            "submit",
            lambda orders: tuple(
                OrderReport(one.client_order_id, OrderStatus.UNKNOWN, self.clock.now()) for one in orders
            ),
        ):
            self.open("one", "SOL/AVAX")
        self.clock.advance(3)
        self.assertEqual(2.0, self.value("executor_orders_in_doubt"))
        self.assertGreaterEqual(self.value("executor_doubt_age_seconds") or 0, 3.0)
        self.assertGreaterEqual(self.total("executor_unknown_answers_total"), 2)

    def test_a_venue_that_cannot_be_read_has_no_numbers_and_the_rest_is_there(self) -> None:
        with mock.patch.object(self.desk.venue, "account", side_effect=VenueUnavailable("down")):
            self.assertIsNone(self.value("executor_equity_usd"))
            self.assertEqual(1.0, self.value("executor_trading_state", state="ACTIVE"))

    def test_a_store_that_cannot_be_read_is_unhealthy_and_not_an_error(self) -> None:
        with mock.patch.object(self.desk.store, "book", side_effect=StoreCorrupt("line 7"), create=True):
            self.assertEqual(1.0, self.value("executor_health", status="unhealthy"))
            self.assertIsNone(self.value("executor_orders_in_doubt"))

    def test_what_only_grows_has_no_sample_while_the_ledger_cannot_be_read(self) -> None:
        """A nought would be a counter that began anew: Prometheus takes what it comes back to for new fees."""
        self.open("one", "SOL/AVAX")
        self.assertGreater(self.value("executor_fees_usd_total") or 0, 0)
        for trouble in (StoreCorrupt("line 7"), Busy("somebody else's turn"), OSError(errno.EIO, "Input/output error")):
            with (
                self.subTest(type(trouble).__name__),
                mock.patch.object(self.desk.store, "book", side_effect=trouble, create=True),
            ):
                found = {name for name, _ in self.scrape()}
                self.assertEqual(set(), found & {"executor_fees_usd_total", "executor_naked_usd_seconds_total"})
        self.assertGreater(self.value("executor_fees_usd_total") or 0, 0)

    def test_an_exchange_that_hangs_is_asked_one_question_a_scrape(self) -> None:
        """It took a question each for prices, account and positions, eighteen seconds in all, and Prometheus ten."""
        self.open("standing", "SOL/AVAX")
        self.clock.advance(60)
        asked: list[str] = []

        def hang(what: str) -> Callable[..., Any]:
            def answer(*_: object) -> Any:
                asked.append(what)
                self.clock.advance(3)
                raise VenueUnavailable("no answer in time")

            return answer

        with (
            mock.patch.object(self.desk.venue, "quotes", hang("quotes")),
            mock.patch.object(self.desk.venue, "account", hang("account")),
        ):
            self.assertEqual(1.0, self.value("executor_positions", status="open"))
            self.assertEqual(["quotes"], asked)
            self.assertIsNone(self.value("executor_equity_usd"))
        self.assertIsNotNone(self.value("executor_equity_usd"))

    def test_a_scrape_looks_into_no_position_of_the_past(self) -> None:
        """Its numbers need none, and of three thousand in the archive it took two seconds of processor each time."""
        with mock.patch("trading.engine.queries.history") as looked_into:
            self.assertIsNotNone(self.value("executor_equity_usd"))
        self.assertEqual(0, looked_into.call_count)

    def test_one_that_refuses_a_question_at_once_is_asked_the_next(self) -> None:
        with mock.patch.object(self.desk.venue, "quotes", side_effect=VenueUnavailable("no such coin")):
            self.assertIsNone(self.value("executor_stream_age_seconds"))
            self.assertIsNotNone(self.value("executor_equity_usd"))

    def test_a_disk_of_which_the_system_says_nothing_has_no_number_and_is_no_error(self) -> None:
        gone = OSError(errno.EIO, os.strerror(errno.EIO))
        with mock.patch("trading.metrics.shutil.disk_usage", side_effect=gone):
            self.assertIsNone(self.value("executor_disk_free_bytes"))
            self.assertEqual(1.0, self.value("executor_trading_state", state="ACTIVE"))

    def test_a_file_of_meters_that_is_none_is_left_out(self) -> None:
        meters.write_down(self.desk.config.data_dir, "monitor")
        path = self.desk.config.data_dir / "metrics" / "monitor.prom"
        for broken in (b"\xff", b"executor{ 1\n"):
            path.write_bytes(broken)
            os.utime(path, (self.clock.now().timestamp(),) * 2)
            self.assertEqual(1.0, self.value("executor_trading_state", state="ACTIVE"))

    def test_alerts_that_wait_are_counted(self) -> None:
        self.assertIsNone(self.value("executor_alerts_waiting"))
        desk = replace(self.desk, config=self.desk.config.model_copy(update={"alert_urls": ("json://127.0.0.1:1",)}))
        with bootstrap.use_desk(desk):
            self.assertEqual(0.0, self.value("executor_alerts_waiting"))


class MeterTest(MetricsCase):
    def test_requests_are_counted_by_route_and_never_by_path(self) -> None:
        labels = {"method": "GET", "route": "/api/positions/{id}", "process": "web", "status": "404"}
        before = self.value("executor_http_requests_total", **labels) or 0.0
        self.get("/api/positions/pos_1")
        self.get("/api/positions/pos_2")
        self.assertEqual(before + 2, self.value("executor_http_requests_total", **labels))
        self.get("/no/such/page")
        routes = {dict(labels).get("route") for (name, labels) in self.scrape() if "http_requests" in name}
        self.assertNotIn("/no/such/page", routes)

    def test_calls_that_raise_are_counted_as_failures_and_still_raise(self) -> None:
        class Down:
            def save(self) -> None:
                raise StoreCorrupt("full")

            other = 7

        port = meters.measured(Down(), "store", ("save",), self.clock)
        labels = {"port": "store", "call": "save", "process": "web"}
        before = self.value("executor_call_failures_total", **labels) or 0.0
        self.assertRaises(StoreCorrupt, port.save)
        self.assertEqual(before + 1, self.value("executor_call_failures_total", **labels))
        self.assertEqual(7, port.other)

    def test_a_process_writes_its_meters_down_until_it_is_stopped(self) -> None:
        with mock.patch.object(meters, "WRITE_SECONDS", 0.005):
            stop = meters.keep_writing(self.folder, "monitor")
            self.addCleanup(stop)
            path = self.folder / "metrics" / "monitor.prom"
            wait_until(path.exists, "the file of meters")
            with mock.patch.object(meters, "replace_whole", side_effect=OSError("full")) as failed:
                wait_until(lambda: failed.call_count > 1, "going on after a failure")
            path.unlink()
            wait_until(path.exists, "the file of meters, again")
            stop()
            wait_until(lambda: all(one.name != "meters" for one in threading.enumerate()), "the end of the thread")


class LiveTest(MetricsCase):
    """Outside of demo mode the numbers are for those who may read."""

    configured: ClassVar = {"api_tokens": f"reader:read:{'0' * 64}", "allow_anonymous_loopback": False}

    def test_they_are_open_in_demo_mode_and_need_the_read_scope_elsewhere(self) -> None:
        self.assertEqual(200, self.get("/metrics").status_code)
        live = replace(self.desk, config=self.desk.config.model_copy(update={"demo_mode": False}))
        with bootstrap.use_desk(live):
            self.assert_problem(self.get("/metrics"), 401, "NOT_AUTHENTICATED")
