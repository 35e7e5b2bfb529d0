"""Execution quality: every figure by hand, and sums that are those of the rows."""

import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from json import loads
from unittest import mock

from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import SimpleTestCase

from tests.engine.bent_venue import a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import lost_before, partly
from trading import bootstrap
from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import ExitReason
from trading.domain.market import FundingPayment
from trading.domain.units import Coin, Quantity, Usd
from trading.engine import monitor
from trading.engine.analytics import Analytics, TradeQuality, analytics, percentile, quality_of
from trading.engine.funding import collect_funding
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest

FEE = Decimal("0.00045")


class AnalyticsCase(SimpleTestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def found(self, days: int = 1) -> Analytics:
        return analytics(self.scene.desk, days)

    def only(self) -> TradeQuality:
        (row,) = self.found().trades
        return row


class TradeTest(AnalyticsCase):
    def test_shortfall_is_slippage_against_arrival_plus_fees(self) -> None:
        """0.25 ETH bought a basis point above its mid of 4,000, 0.01 BTC sold a basis point below 100,000."""
        self.scene.opened()
        row = self.only()
        self.assertEqual(("OPEN", "market", "FILLED", 2), (row.effect, row.execution, row.status, row.orders))
        self.assertEqual(Decimal("0.2"), row.slippage_usd)
        self.assertEqual(Decimal(1), row.slippage_bps)
        self.assertEqual(Decimal(2000), row.arrival_usd)
        self.assertEqual(Decimal("2000.0000"), row.turnover)
        self.assertEqual(row.turnover * FEE, row.fees)
        self.assertEqual(row.slippage_usd + row.fees, row.shortfall_usd)
        self.assertEqual(Decimal("5.5"), row.shortfall_bps)
        self.assertIsNone(row.twap_slippage_bps)

    def test_slices_are_measured_by_the_mids_of_their_instants(self) -> None:
        """Mids of ETH at the three slices: 4,000, 4,002, 4,004: on average 4,002. Each fill is a basis point worse than
        its own mid, so the whole is a basis point worse than the average."""
        self.scene.opened(size="3000", execution=Execution.TWAP, twap=TwapRequest(60, 3))
        for price in ("4002", "4004"):
            self.venue.move("ETH", price)
            self.scene.tick(20)
        row = self.only()
        self.assertEqual(("twap", "FILLED", 6), (row.execution, row.status, row.orders))
        assert row.twap_slippage_bps is not None and row.slippage_bps is not None
        self.assertAlmostEqual(Decimal(1), row.twap_slippage_bps, 2)
        self.assertGreater(row.slippage_bps, row.twap_slippage_bps)

    def test_two_slices_have_a_benchmark_and_what_levelled_the_legs_is_not_measured_by_it(self) -> None:
        """What the first slice has too much of ETH is sold again a quarter of a per cent below the mid of either."""
        self.venue.script(partly(BTC="0.5"), lost_before())
        self.scene.execute(size="3000", execution=Execution.TWAP, twap=TwapRequest(60, 2))
        self.venue.move("ETH", "3990")
        for _ in range(4):
            self.scene.tick(6)
        self.venue.move("ETH", "4000")
        for _ in range(2):
            self.scene.tick(20)
        row = self.only()
        self.assertEqual(("FILLED", 1, 6), (row.status, row.repairs, row.orders))
        assert row.twap_slippage_bps is not None
        self.assertAlmostEqual(Decimal(1), row.twap_slippage_bps, 2)
        self.assertGreater(row.repair_cost_usd, Decimal("0.9"))

    def test_naked_exposure_repairs_and_their_cost_are_counted(self) -> None:
        self.venue.script(partly(BTC="0.5"))
        self.scene.execute()
        self.scene.ticks(3)
        row = self.only()
        trade = self.scene.trade(row.trade_id)
        self.assertEqual((1, "FILLED"), (row.repairs, row.status))
        self.assertEqual((trade.naked.max, trade.naked.usd_seconds), (row.naked_max_usd, row.naked_usd_seconds))
        self.assertGreater(row.naked_max_usd, 0)
        repair = trade.orders[-1]
        report = trade.report_of(repair)
        assert report.average_price is not None
        cost = (report.average_price - 100_000) * report.filled * repair.side.sign + report.fees
        self.assertEqual(cost, row.repair_cost_usd)

    def test_the_time_in_each_state_adds_up_to_the_life_of_the_trade(self) -> None:
        self.venue.script(partly(BTC="0"), partly(BTC="0"))
        self.scene.opened(size="3000", execution=Execution.TWAP, twap=TwapRequest(60, 3))
        self.scene.ticks(80)
        row = self.only()
        assert row.ended_at is not None
        life = Decimal(str((row.ended_at - row.accepted_at).total_seconds()))
        parts = (row.seconds_pending, row.seconds_working, row.seconds_repairing, row.seconds_suspended)
        self.assertEqual((life, life), (row.seconds, sum(parts)))
        self.assertGreater(row.seconds_working, 30)

    def test_what_funding_took_stands_with_the_opening_alone(self) -> None:
        position = self.scene.opened()
        hour = self.scene.clock.now() + timedelta(hours=1)
        self.venue.payments = (FundingPayment(Coin("ETH"), Usd(Decimal("1.5")), Quantity(Decimal("0.25")), hour),)
        self.scene.clock.advance(4000)
        collect_funding(self.scene.desk, position)
        self.scene.close(self.scene.position(position.id))
        found = self.found()
        self.assertEqual(
            {("OPEN", Decimal("1.5")), ("CLOSE", Decimal(0))}, {(row.effect, row.funding) for row in found.trades}
        )
        self.assertEqual(Decimal("1.5"), found.total.funding)

    def test_a_trade_that_still_works_is_measured_until_now(self) -> None:
        self.scene.opened(size="3000", execution=Execution.TWAP, twap=TwapRequest(600, 3))
        self.scene.clock.advance(42)
        row = self.only()
        self.assertEqual((None, Decimal(42)), (row.ended_at, row.seconds))

    def test_orders_that_were_stored_without_their_mid_have_no_benchmark(self) -> None:
        position = self.scene.opened(size="3000", execution=Execution.TWAP, twap=TwapRequest(60, 3))
        trade = self.scene.trade(position.trade_id)
        older = replace(trade, orders=tuple(replace(one, mid=None) for one in trade.orders))
        self.assertIsNone(quality_of(older, self.scene.clock.now()).twap_slippage_bps)

    def test_every_order_keeps_the_mid_of_its_instant(self) -> None:
        position = self.scene.opened()
        mids = {order.coin: order.mid for order in self.scene.trade(position.trade_id).orders}
        self.assertEqual({Coin("ETH"): Decimal(4000), Coin("BTC"): Decimal(100_000)}, mids)


class SummaryTest(AnalyticsCase):
    def setUp(self) -> None:
        super().setUp()
        self.scene.close(self.scene.opened("one"), ExitReason.TAKE_PROFIT)
        self.scene.clock.advance(86_400)
        self.scene.opened("two", "1000", pair="SOL/AVAX")

    def test_sums_are_those_of_the_rows_by_pair_and_by_day(self) -> None:
        found = self.found(2)
        self.assertEqual((3, 3), (found.total.trades, len(found.trades)))
        self.assertEqual([("SOL/AVAX", 1), ("BTC/ETH", 2)], [(one.of, one.trades) for one in found.pairs])
        self.assertEqual([("2026-11-23", 1), ("2026-11-22", 2)], [(one.of, one.trades) for one in found.days])
        for name in ("turnover", "slippage_usd", "fees", "shortfall_usd", "naked_usd_seconds"):
            total = sum((getattr(row, name) for row in found.trades), Decimal(0))
            self.assertEqual(total, getattr(found.total, name), name)
            for groups in (found.pairs, found.days):
                self.assertEqual(total, sum((getattr(one, name) for one in groups), Decimal(0)), name)

    def test_the_sums_are_those_of_the_accounts(self) -> None:
        self.assertEqual(self.scene.store.book().sums().fees, self.found(2).total.fees)

    def test_only_the_days_that_were_asked_for_count(self) -> None:
        found = self.found(1)
        self.assertEqual(["SOL/AVAX"], [row.pair for row in found.trades])
        self.assertEqual(timedelta(0), found.since - self.scene.clock.now().replace(hour=0))
        self.assertRaises(InvalidRequest, self.found, 0)

    def test_what_is_accepted_at_midnight_is_the_new_day_s(self) -> None:
        self.scene.clock.instant = self.found(1).since + timedelta(days=1)
        self.scene.close(self.scene.opened("three", "1000"))
        self.assertEqual(["BTC/ETH"] * 2, [row.pair for row in self.found(1).trades])

    def test_what_is_archived_is_found(self) -> None:
        monitor.tick(Watchman(self.scene.desk), wait_seconds=5)
        self.scene.clock.advance(90_000)
        self.assertEqual(1, self.scene.store.roll_over(self.scene.clock.now()))
        self.assertEqual(3, self.found(4).total.trades)

    def test_nothing_has_no_percentiles(self) -> None:
        self.scene.clock.advance(10 * 86_400)
        found = self.found(1)
        self.assertEqual(
            (0, None, None), (found.total.trades, found.total.shortfall_bps, found.total.seconds_spread.p50)
        )

    def test_percentiles_are_nearest_ranks(self) -> None:
        figures = [Decimal(number) for number in range(1, 11)]
        self.assertEqual([5, 9, 10], [percentile(figures, share) for share in (50, 90, 99)])
        self.assertEqual(198, percentile([Decimal(number) for number in range(1, 201)], 99))
        self.assertEqual(7, percentile([Decimal(7)], 1))


class ReportTest(AnalyticsCase):
    def report(self, *arguments: str) -> str:
        out = StringIO()
        with bootstrap.use_desk(self.scene.desk):
            call_command("report", *arguments, stdout=out)
        return out.getvalue()

    def test_the_terminal_shows_the_same_figures(self) -> None:
        self.scene.close(self.scene.opened())
        words = self.report("--days", "1")
        for one in ("Trades accepted since 2026-11-22: 2", "2026-11-22 12:00:0", "BTC/ETH", "5.50", "OPEN"):
            self.assertIn(one, words)

    def test_in_a_narrow_terminal_no_figure_is_cut_short(self) -> None:
        self.scene.close(self.scene.opened())
        out = StringIO()
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "80", "TERM": "dumb"}),
            mock.patch.object(out, "isatty", return_value=True, create=True),
            bootstrap.use_desk(self.scene.desk),
        ):
            call_command("report", stdout=out)
        self.assertEqual(80, max(len(line) for line in out.getvalue().splitlines()))
        self.assertNotIn("\N{HORIZONTAL ELLIPSIS}", out.getvalue())

    def test_as_json_it_is_the_answer_of_the_api(self) -> None:
        self.scene.opened()
        answer = loads(self.report("--json"))
        self.assertEqual(
            (1, "BTC/ETH", 5.5),
            (answer["total"]["trades"], *(answer["trades"][0][one] for one in ("pair", "shortfall_bps"))),
        )

    def test_without_trades_it_says_so(self) -> None:
        self.assertIn("Trades accepted since 2026-11-16: 0", self.report())

    def test_what_cannot_be_told_is_said(self) -> None:
        for desk, words in (
            (self.scene.desk, "INVALID_REQUEST"),
            (with_store(self.scene, book=corrupt), "STORE_CORRUPT"),
        ):
            days = "0" if words == "INVALID_REQUEST" else "1"
            with bootstrap.use_desk(desk), self.assertRaises(CommandError) as refusal:
                call_command("report", "--days", days, stdout=StringIO())
            self.assertIn(words, str(refusal.exception))
