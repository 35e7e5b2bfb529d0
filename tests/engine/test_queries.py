import unittest
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from tests.engine.scripted_venue import lost_before, partly
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import PositionNotFound, TradeNotFound
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import RejectReason
from trading.domain.positions import Position, PositionStatus, Watch
from trading.domain.units import Coin, PositionId, Price, TradeId, Usd
from trading.engine import closing, emergency, queries, working
from trading.engine.records import LegView, PositionView
from trading.engine.requests import Execution, TwapRequest
from trading.engine.valuing import publish_marks

ETH, BTC = Coin("ETH"), Coin("BTC")
POSITION = (
    "position_id trade_id signal_id approval_id pair status size position_size leverage long short entry_spread "
    "current_spread pnl pnl_percent realized_pnl unrealized_pnl fees funding risk_level take_profit stop_loss "
    "trailing_stop time_window window_expires_at entry_time exit_time exit_reason liquidation_distance naked execution"
)
LEG = "coin side quantity entry_price mark_price notional unrealized_pnl fees funding"
EXECUTION = "arrival_spread slippage_bps slices_total slices_done next_slice_at"


class QueriesTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def view(self, position: Position) -> PositionView:
        return queries.position(self.scene.desk, position.id)

    def sliced(self) -> Position:
        return self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))

    def open(self) -> Position:
        return self.scene.opened()

    def closing(self) -> Position:
        position = self.scene.opened()
        self.venue.script(*(partly(ETH="0.5", BTC="0.5") for _ in range(3)))
        return closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())


class PositionTest(QueriesTestCase):
    def test_every_field_of_the_contract_is_there_at_every_stage(self) -> None:
        stages = (
            (PositionStatus.OPENING, self.sliced),
            (PositionStatus.OPEN, self.open),
            (PositionStatus.CLOSING, self.closing),
            (PositionStatus.CLOSED, lambda: self.scene.close(self.scene.opened())),
        )
        for status, make in stages:
            with self.subTest(status):
                self.scene, self.venue = a_bent_scene(self)
                view = self.view(make())
                self.assertIs(status, view.status)
                for names, record in ((POSITION, view), (LEG, view.long), (EXECUTION, view.execution)):
                    self.assertEqual(set(), set(names.split()) - {one.name for one in fields(record)})

    def test_an_open_position_by_hand(self) -> None:
        position = self.scene.opened(time_window="5min")
        self.venue.move("ETH", "4040")
        view = self.view(position)
        bought, sold = Decimal("4000.4"), Decimal(99_990)
        entry = bought / 4 + sold / 100
        self.assertEqual((entry, entry), (view.size, view.position_size))
        self.assertEqual((ETH, "long", Decimal("0.25"), bought), self.leg(view.long))
        self.assertEqual((BTC, "short", Decimal("0.01"), sold), self.leg(view.short))
        self.assertEqual((Decimal(4_040), Decimal(1_010)), (view.long.mark_price, view.long.notional))
        self.assertEqual((4_040 - bought) / 4, view.long.unrealized_pnl)
        gained = (4_040 - bought) / 4 + (sold - 100_000) / 100
        self.assertEqual(gained, view.unrealized_pnl)
        self.assertEqual(gained - view.fees, view.pnl)
        self.assertEqual((gained - view.fees) / entry * 100, view.pnl_percent)
        self.assertEqual((sold / bought - 1, Decimal(100_000) / 4_040 - 1), (view.entry_spread, view.current_spread))
        self.assertEqual(("low", "5min"), (view.risk_level, view.time_window))
        self.assertEqual(view.entry_time + timedelta(seconds=300), view.window_expires_at)
        self.assertEqual(("market", 1, 1, None), self.execution(view))
        self.assertEqual(Decimal(1), view.execution.slippage_bps)
        assert view.exit_return is not None and view.signal is not None
        self.assertEqual("signal_1", view.signal.id)

    def leg(self, leg: LegView) -> tuple[object, ...]:
        return leg.coin, leg.side, leg.quantity, leg.entry_price

    def execution(self, view: PositionView) -> tuple[object, ...]:
        one = view.execution
        return one.type, one.slices_total, one.slices_done, one.next_slice_at

    def test_nothing_filled_yet_is_opening_with_zero(self) -> None:
        self.venue.script(lost_before())
        view = self.scene.execute().position
        self.assertEqual((PositionStatus.OPENING, 0, 0), (view.status, view.size, view.position_size))
        self.assertEqual((0, 0, None), (view.pnl, view.pnl_percent, view.entry_spread))
        self.assertIsNone(view.exit_return)

    def test_ended_with_nothing_filled_is_closed_not_filled(self) -> None:
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.venue.script(lost_before())
        position = self.scene.opened()
        self.scene.ticks(8, 10)
        view = self.view(position)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.NOT_FILLED), (view.status, view.exit_reason))
        self.assertEqual((0, 0, None, None), (view.size, view.pnl, view.current_spread, view.long.exit_price))

    def test_a_closed_position_made_what_it_realized_less_its_costs(self) -> None:
        position = self.scene.opened()
        self.venue.move("ETH", "4100")
        self.scene.close(position)
        self.venue.move("ETH", "5000")
        view = self.view(position)
        self.assertEqual(view.realized_pnl - view.fees - view.funding, view.pnl)
        self.assertEqual((0, None, 0), (view.unrealized_pnl, view.exit_return, view.long.notional))
        self.assertEqual(view.long.exit_price, view.long.mark_price)
        self.assertEqual((ExitReason.MANUAL, "low"), (view.exit_reason, view.risk_level))
        self.assertIsNotNone(view.exit_time)
        self.assertIsNotNone(view.current_spread)
        self.assertEqual(self.venue.account().equity - 100_000, view.pnl)

    def test_a_leg_that_is_gone_while_its_sister_is_held_is_nothing_and_the_rest_is_no_hedge(self) -> None:
        position = self.scene.opened()
        self.venue.refusing = {"BTC": RejectReason.NO_MATCH}
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        view = self.view(position)
        self.assertEqual((PositionStatus.CLOSING, "high"), (view.status, view.risk_level))
        self.assertEqual((0, position.short.held), (view.long.quantity, view.short.quantity))

    def test_without_a_venue_nothing_is_made_up(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down = {"quotes", "account"}
        view = self.view(position)
        unknown = (view.pnl, view.pnl_percent, view.unrealized_pnl, view.current_spread, view.marked_at)
        self.assertEqual((None,) * 5, unknown)
        self.assertEqual((None, None, None), (view.long.mark_price, view.long.notional, view.long.unrealized_pnl))
        self.assertIsNone(view.liquidation_distance)
        self.assertIsNotNone(view.entry_spread)

    def test_a_closed_position_is_looked_at_once_and_anew_when_something_of_it_has_changed(self) -> None:
        position = self.scene.close(self.scene.opened())
        first = self.view(position)
        self.scene.clock.advance(60)
        self.assertIs(first, self.view(position))
        watch = self.scene.store.book().watch(position.id) or Watch(position.id, position.exit_plan)
        self.scene.store.save_watch(replace(watch, funding_long=Usd(Decimal(3))))
        assert first.pnl is not None
        self.assertEqual((first.funding + 3, first.pnl - 3), (self.view(position).funding, self.view(position).pnl))
        self.assertIs(PositionStatus.CLOSED, self.view(position).status)

    def test_the_monitors_marks_come_from_the_cache_while_they_are_fresh(self) -> None:
        position = self.scene.opened()
        publish_marks(self.scene.desk, None)
        self.venue.move("ETH", "4040")
        self.assertEqual(Decimal(4_000), self.view(position).long.mark_price)
        self.scene.clock.advance(5.1)
        self.assertEqual(Decimal(4_040), self.view(position).long.mark_price)
        self.scene.cache.connected = False
        self.assertEqual(Decimal(4_040), self.view(position).long.mark_price)

    def test_naked_exposure_runs_on_while_nobody_knows_better(self) -> None:
        self.venue.refusing = {"BTC": RejectReason.NO_MATCH}
        self.venue.script(partly(BTC="0"))
        self.scene.execute()
        view = queries.positions(self.scene.desk, None, 10, None)[0][0]
        self.assertGreater(view.naked.max_usd, 900)
        self.assertGreaterEqual(view.naked.usd_seconds, 0)

    def test_what_all_leave_unmatched_is_in_the_portfolio_and_in_the_log(self) -> None:
        self.venue.script(partly(BTC="0"))
        self.venue.refusing = {"BTC": RejectReason.MARGIN}
        self.venue.script(lost_before())
        self.scene.execute()
        self.scene.clock.advance(4)
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((1000, 1000), (folio.naked_exposure, folio.naked_today.max_usd))
        self.assertGreaterEqual(folio.naked_today.usd_seconds, 4_000)
        self.scene.ticks(30)
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((0, 1000), (folio.naked_exposure, folio.naked_today.max_usd))
        (position,) = queries.positions(self.scene.desk, None, 10, None)[0]
        self.assertEqual(position.naked, folio.naked_today)
        facts = [one.facts for one in self.scene.log.entries if one.facts.get("event") == "TradeCanceled"]
        self.assertEqual(
            (0, 1000, position.naked.usd_seconds, 0),
            tuple(facts[0][f"naked_{name}"] for name in ("usd", "max_usd", "usd_seconds", "in_all_usd")),
        )
        midnight = timedelta(hours=12)
        self.scene.clock.advance(midnight.total_seconds())
        self.assertEqual(0, queries.portfolio(self.scene.desk).naked_today.max_usd)

    def test_liquidation_makes_the_risk_high(self) -> None:
        position = self.scene.opened()

        def near(account: Account) -> Account:
            held = {
                coin: replace(one, liquidation_price=Price(Decimal(3_400)) if coin == ETH else None)
                for coin, one in account.holdings.items()
            }
            return replace(account, holdings=held)

        self.venue.bend_account = near
        view = self.view(position)
        self.assertEqual((Decimal("0.15"), "high"), (view.liquidation_distance, view.risk_level))

    def test_an_adopted_holding_can_be_shown(self) -> None:
        self.venue.hold("SOL", "3")
        self.venue.refusing = {"SOL": RejectReason.NO_MATCH}
        emergency.stop(self.scene.desk, scope_account=True)
        (view,), _ = queries.positions(self.scene.desk, None, 10, None)
        self.assertEqual(("SOL/USD", Decimal(3), Decimal(600)), (view.pair, view.long.quantity, view.size))
        self.assertEqual((None, None, None), (view.signal_id, view.approval_id, view.signal))
        self.assertTrue(queries.portfolio(self.scene.desk).limits)


class ListTest(QueriesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first = self.scene.close(self.scene.opened("signal_1"))
        self.scene.clock.advance(1)
        self.second = self.scene.opened("signal_2")
        self.scene.clock.advance(1)
        self.third = self.scene.opened("signal_3", pair="SOL/AVAX")

    def ids(
        self, status: PositionStatus | None = None, limit: int = 100, before: PositionId | None = None
    ) -> tuple[list[PositionId], int]:
        found, total = queries.positions(self.scene.desk, status, limit, before)
        return [one.position_id for one in found], total

    def test_filters_pages_and_totals(self) -> None:
        first, second, third = self.first.id, self.second.id, self.third.id
        rows: tuple[tuple[tuple[list[PositionId], int], list[PositionId], int], ...] = (
            (self.ids(), [third, second, first], 3),
            (self.ids(limit=2), [third, second], 3),
            (self.ids(before=third), [second, first], 3),
            (self.ids(before=first), [], 3),
            (self.ids(PositionStatus.OPEN), [third, second], 2),
            (self.ids(PositionStatus.CLOSED), [first], 1),
            (self.ids(PositionStatus.CLOSING), [], 0),
            (self.ids(PositionStatus.OPEN, before=third), [second], 2),
        )
        for (ids, total), expected, count in rows:
            with self.subTest(expected=expected, count=count):
                self.assertEqual((expected, count), (ids, total))

    def test_a_page_goes_on_after_a_position_whose_status_has_changed(self) -> None:
        self.scene.close(self.third)
        self.assertEqual(([self.second.id], 1), self.ids(PositionStatus.OPEN, before=self.third.id))

    def test_unknown_ones_are_not_found(self) -> None:
        with self.assertRaises(PositionNotFound):
            self.ids(before=PositionId("pos_none"))
        with self.assertRaises(PositionNotFound):
            queries.position(self.scene.desk, PositionId("pos_none"))
        with self.assertRaises(TradeNotFound):
            queries.trade(self.scene.desk, TradeId("trd_none"))
        with self.assertRaises(TradeNotFound):
            queries.trades(self.scene.desk, 10, TradeId("trd_none"))

    def test_trades_are_listed_newest_first(self) -> None:
        found, total = queries.trades(self.scene.desk, 2, None)
        self.assertEqual((4, 2), (total, len(found)))
        self.assertEqual(self.third.trade_id, found[0].trade_id)
        rest, _ = queries.trades(self.scene.desk, 10, found[-1].trade_id)
        self.assertEqual([one.id for one in self.scene.trades()[:2]], [one.trade_id for one in rest][::-1])


class TradeTest(QueriesTestCase):
    def test_a_trade_tells_its_life(self) -> None:
        position = self.scene.opened()
        view = queries.trade(self.scene.desk, position.trade_id)
        events = [one.event for one in view.timeline]
        self.assertEqual(
            [
                *("SignalOffered", "Approved", "ChecksPassed", "TradeAccepted", "OrdersIntended", "OrdersReported"),
                *("Filled", "Filled", "TradeFilled"),
            ],
            events,
        )
        details = {one.event: one.detail for one in view.timeline}
        self.assertEqual("buy 0.2500 ETH, sell 0.01000 BTC in 1 slice(s)", details["TradeAccepted"])
        self.assertEqual(
            "FILLED 0.2500 at 4000.4, FILLED 0.01000 at 99990", details["OrdersReported"].replace("E+1", "")
        )
        self.assertEqual(("OPEN", "FILLED", None), (view.effect, view.status, view.why))
        self.assertEqual([("ETH", "FILLED"), ("BTC", "FILLED")], [(one.coin, one.status) for one in view.orders])

    def test_every_event_has_its_words(self) -> None:
        self.venue.script(partly(BTC="0"), partly(BTC="0.1"))
        position = self.sliced()
        trade = self.scene.trade(position.trade_id)
        working.want_cancel(self.scene.desk, trade, "enough of it")
        self.scene.ticks(3)
        view = queries.trade(self.scene.desk, position.trade_id)
        words = {one.event: one.detail for one in view.timeline}
        self.assertIn("USD apart", words["LegsUnbalanced"])
        self.assertEqual("", words["LegsBalanced"])
        self.assertEqual(("enough of it", "enough of it"), (words["CancelWanted"], words["TradeCanceled"]))
        other = self.scene.opened("signal_2", pair="SOL/AVAX", execution=Execution.TWAP, twap=TwapRequest(180, 5))
        with self.scene.store.seat(other.trade_id):
            working.suspend(self.scene.desk, self.scene.trade(other.trade_id), "for the test")
        last = queries.trade(self.scene.desk, other.trade_id).timeline[-1]
        self.assertEqual(("TradeSuspended", "for the test"), (last.event, last.detail))


class PortfolioTest(QueriesTestCase):
    def test_the_numbers_by_hand(self) -> None:
        gone = self.scene.opened("signal_1")
        self.venue.move("ETH", "4050")
        self.scene.close(gone)
        self.venue.move("ETH", "4000")
        self.scene.opened("signal_2")
        self.venue.hold("AVAX", "4")
        baseline = Usd(Decimal(99_000))
        day = self.scene.clock.now().date()
        self.scene.store.change_state(lambda state: replace(state, baseline_day=day, baseline_equity=baseline))
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((1, {"AVAX": 4}), (folio.open_positions, dict(folio.foreign_holdings)))
        self.assertEqual((Decimal(2_000), Decimal(0)), (folio.gross_exposure, folio.net_exposure))
        assert folio.equity is not None and folio.unrealized_pnl is not None
        self.assertEqual(folio.equity - 99_000, folio.today_pnl)
        self.assertEqual(datetime(2026, 11, 22, tzinfo=UTC), folio.today_since)
        total = folio.realized_pnl + folio.unrealized_pnl - folio.fees - folio.funding
        self.assertEqual(folio.equity - 100_000, total)
        self.assertEqual((TradingState.ACTIVE, (), 0), (folio.trading_state, folio.causes, folio.naked_exposure))
        self.assertTrue(folio.limits)
        self.assertEqual(((), {}), (folio.drifts, folio.accepted_drift))

    def test_what_the_book_cannot_explain_is_told_until_it_is_accepted(self) -> None:
        self.scene.opened()
        book = self.venue.held("ETH")
        self.venue.hold("ETH", "1")
        (drift,) = queries.portfolio(self.scene.desk).drifts
        self.assertEqual((ETH, book + 1, book), (drift.coin, drift.venue, drift.book))
        emergency.resume(self.scene.desk, [ETH])
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual(((), {ETH: Decimal(1)}), (folio.drifts, folio.accepted_drift))

    def test_what_was_transferred_is_no_profit_of_the_day(self) -> None:
        baseline, moved = Usd(Decimal(99_000)), Usd(Decimal(700))
        self.scene.store.change_state(lambda state: replace(state, baseline_equity=baseline, transferred=moved))
        self.assertEqual(Decimal(300), queries.portfolio(self.scene.desk).today_pnl)

    def test_a_resume_begins_the_loss_limit_anew_and_hides_none_of_what_the_day_made(self) -> None:
        def reduced(state: DeskState) -> DeskState:
            baseline, moved = Usd(Decimal(107_000)), Usd(Decimal(-1_000))
            causes = frozenset({Cause.DAILY_LOSS})
            return replace(
                state, state=TradingState.REDUCING, causes=causes, baseline_equity=baseline, transferred=moved
            )

        def reduced_again(state: DeskState) -> DeskState:
            return replace(state, state=TradingState.REDUCING, causes=frozenset({Cause.DAILY_LOSS}))

        self.scene.store.change_state(reduced)
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((Decimal(-6_000), Decimal(6_000) / 106_000), (folio.today_pnl, folio.daily_loss))
        for _ in range(2):
            emergency.resume(self.scene.desk)
            folio = queries.portfolio(self.scene.desk)
            self.assertEqual((Decimal(-6_000), 0), (folio.today_pnl, folio.daily_loss))
            self.scene.store.change_state(reduced_again)
        self.venue.cash -= 400
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((Decimal(-6_400), Decimal("0.004")), (folio.today_pnl, folio.daily_loss))

    def test_a_baseline_of_yesterday_says_so(self) -> None:
        day = (self.scene.clock.now() - timedelta(days=1)).date()
        baseline = Usd(Decimal(99_000))
        self.scene.store.change_state(lambda state: replace(state, baseline_day=day, baseline_equity=baseline))
        self.assertEqual(datetime(2026, 11, 21, tzinfo=UTC), queries.portfolio(self.scene.desk).today_since)

    def test_without_a_venue_its_numbers_are_unknown(self) -> None:
        self.scene.opened()
        self.venue.reads_down = {"account", "quotes"}
        folio = queries.portfolio(self.scene.desk)
        unknown = (folio.equity, folio.margin_used, folio.margin_available, folio.gross_exposure, folio.net_exposure)
        self.assertEqual((None,) * 5, unknown)
        self.assertEqual((None, None, None), (folio.today_pnl, folio.unrealized_pnl, folio.today_since))
        self.assertIsNone(folio.daily_loss)
        self.assertEqual(((), {}, ()), (folio.limits, folio.foreign_holdings, folio.drifts))
        self.assertEqual(1, folio.open_positions)

    def test_an_empty_desk_is_all_zero(self) -> None:
        folio = queries.portfolio(self.scene.desk)
        self.assertEqual((0, 0, 0, 0), (folio.gross_exposure, folio.net_exposure, folio.unrealized_pnl, folio.fees))
