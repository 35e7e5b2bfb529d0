"""Barriers beside the plain ones: in USD, of the spread, of the z-score. Asked for, kept, fired, changed."""

import math
import unittest
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tests.builders import T0, given_bars, given_exit_plan, given_trailing
from tests.engine.bent_venue import BentVenue, a_bent_scene
from tests.engine.scripted_venue import Scene, accepted, lost_before
from trading.domain.errors import InvalidRequest, VenueUnavailable
from trading.domain.exit_plan import ExitPlan, ExitReason, TrailingStop
from trading.domain.market import CandleInterval, Quote
from trading.domain.positions import Position
from trading.domain.units import Coin, Price, Ratio, Usd
from trading.engine import exits, previews, queries
from trading.engine.barriers import changed, loosened, tightest_stop
from trading.engine.exits import LooseningNeedsAdmin, Memory
from trading.engine.requests import ExecuteRequest, Execution, ExitChange, TwapRequest

BTC, ETH = Coin("BTC"), Coin("ETH")
MINUTE = CandleInterval.MINUTE
HOME, DEVIATION = 24.5, 0.01
"""Where the ratio of the bars is at home; the entry at 25 is 2.02 deviations above."""


class BarriersTestCase(unittest.TestCase):
    """The ordinary pair at a ratio of 25, so a spread of 24; by default short BTC, which gains as the ratio falls."""

    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.memory = Memory()
        self.remember(self.scene, self.venue)

    def remember(self, scene: Scene, venue: BentVenue, count: int = 300, by: float = DEVIATION) -> None:
        """Bars of BTC that swing around a ratio of HOME, and of ETH that stand still, up to now."""
        swings = [4_000 * HOME * math.exp(by if number % 2 else -by) for number in range(count)]
        until = scene.clock.now()
        venue.bars[BTC, MINUTE] = given_bars([repr(one) for one in swings], until)
        venue.bars[ETH, MINUTE] = given_bars(["4000"] * count, until)

    def opened(self, **request: Any) -> Position:
        return self.scene.opened(**request)

    def swept(self, seconds: float = 1.0) -> list[ExitReason]:
        self.scene.clock.advance(seconds)
        told: list[ExitReason] = []
        exits.sweep(self.scene.desk, self.memory, lambda _, reason: told.append(reason))
        return told

    def at_ratio(self, ratio: str | float) -> list[ExitReason]:
        """Move BTC so that BTC/ETH stands at *ratio*, and sweep twice, for a jump is believed at the second look."""
        self.venue.move("BTC", str(Decimal(str(ratio)) * 4_000))
        return self.swept() or self.swept()

    def refused(self, **request: Any) -> dict[str, str]:
        with self.assertRaises(InvalidRequest) as refusal:
            self.scene.execute(**request)
        self.assertEqual(self.venue.sent, [])
        return dict(refusal.exception.fields)


class AskedForTest(BarriersTestCase):
    def test_all_are_off_unless_they_are_asked_for(self) -> None:
        self.assertEqual(self.opened().exit_plan, given_exit_plan())
        # Once for what Guardian is told of the market, and not for a mean that nobody asked for.
        self.assertEqual(self.venue.calls.count("candles"), 1)

    def test_what_was_asked_for_is_kept_over_a_restart(self) -> None:
        position = self.opened(
            take_profit_usd=Usd(Decimal(30)),
            stop_loss_usd=Usd(Decimal(15)),
            take_profit_spread=Decimal("23.5"),
            stop_loss_spread=Decimal("24.4"),
            take_profit_z=Decimal("0.5"),
            stop_loss_z=Decimal(3),
        )
        plan = self.scene.reopened().position(position.id).exit_plan
        self.assertEqual((plan.take_profit_usd, plan.stop_loss_usd), (30, 15))
        self.assertEqual((plan.take_profit_spread, plan.stop_loss_spread), (Decimal("23.5"), Decimal("24.4")))
        self.assertEqual((plan.take_profit_z, plan.stop_loss_z), (Decimal("0.5"), 3))
        home = plan.reversion
        assert home is not None
        self.assertAlmostEqual(float(home.mean), math.log(HOME), places=9)
        self.assertAlmostEqual(float(home.deviation), DEVIATION, places=4)
        self.assertAlmostEqual(float(home.zscore), 2.017, places=2)
        self.assertEqual((home.candles, home.interval), (300, MINUTE))

    def test_amounts_in_usd_have_the_bounds_of_the_fractions(self) -> None:
        for name, amount, taken in (
            ("stop_loss_usd", "3.99", False),
            ("stop_loss_usd", "1000.01", False),
            ("take_profit_usd", "1.99", False),
            ("take_profit_usd", "10000.01", False),
            ("take_profit_usd", "2", True),
        ):
            with self.subTest(name, amount=amount):
                self.setUp()
                if taken:
                    self.opened(**{name: Usd(Decimal(amount))})
                else:
                    self.assertIn("for 2000 USD gross", self.refused(**{name: Usd(Decimal(amount))})[name])

    def test_a_stop_in_usd_must_leave_room_for_the_costs_as_any_stop(self) -> None:
        with self.assertRaisesRegex(Exception, "COST_TOO_HIGH"):
            self.scene.execute(stop_loss_usd=Usd(Decimal(5)))

    def test_levels_of_the_spread_lie_on_their_side_of_the_entry(self) -> None:
        for zscore, field, level, side in (
            ("2.4", "take_profit_spread", "24.1", "below"),
            ("2.4", "stop_loss_spread", "23.9", "above"),
            ("-2.4", "take_profit_spread", "23.9", "above"),
            ("-2.4", "stop_loss_spread", "24", "below"),
        ):
            with self.subTest(zscore=zscore, field=field):
                self.setUp()
                self.scene.offer(zscore=zscore)
                self.assertIn(
                    f"must be {side} the present spread, 24.0", self.refused(**{field: Decimal(level)})[field]
                )

    def test_a_z_barrier_needs_two_hundred_bars_that_moved_and_a_z_score_of_the_same_sign(self) -> None:
        for name, count, by, zscore, words in (
            ("too few", 199, DEVIATION, "2.4", "at least 200 bars of 1m"),
            ("none", 0, DEVIATION, "2.4", "at least 200 bars of 1m"),
            ("never moved", 300, 0.0, "2.4", "deviation is zero"),
            ("other sign", 300, DEVIATION, "-2.4", "own z-score is 2.02 where the signal's is -2.40"),
        ):
            with self.subTest(name):
                self.setUp()
                self.remember(self.scene, self.venue, count, by)
                self.scene.offer(zscore=zscore)
                self.assertIn(words, self.refused(take_profit_z=Decimal("0.5"))["take_profit_z"])

    def test_a_z_barrier_keeps_half_a_deviation_away_from_the_entry(self) -> None:
        for field, level, taken in (
            ("take_profit_z", "1.51", True),
            ("take_profit_z", "1.52", False),
            ("stop_loss_z", "2.52", True),
            ("stop_loss_z", "2.51", False),
        ):
            with self.subTest(field, level=level):
                self.setUp()
                if taken:
                    self.opened(**{field: Decimal(level)})
                else:
                    self.assertIn("the entry is at 2.02", self.refused(**{field: Decimal(level)})[field])

    def test_bars_that_cannot_be_read_refuse_a_z_barrier_and_nothing_else(self) -> None:
        self.venue.reads_down = {"candles"}
        with self.assertRaises(VenueUnavailable):
            self.scene.execute(take_profit_z=Decimal("0.5"))
        self.opened()
        self.assertIsNone(self.scene.approver.proposals[-1].btc_volatility)

    def test_guardian_hears_of_every_barrier_and_of_the_market(self) -> None:
        self.venue.bars[BTC, CandleInterval.HOUR] = given_bars(
            [str(100_000 + 500 * (number % 2)) for number in range(27)], T0, CandleInterval.HOUR
        )
        trailing = TrailingStop(Ratio(Decimal("0.006")), Ratio(Decimal("0.004")))
        self.opened(
            take_profit_usd=Usd(Decimal(30)),
            stop_loss_spread=Decimal("24.5"),
            trailing=trailing,
            max_holding_seconds=900,
        )
        proposal = self.scene.approver.proposals[-1]
        self.assertEqual((proposal.trailing, proposal.max_holding_seconds), (trailing, 900))
        self.assertEqual(proposal.further_exits, {"take_profit_usd": 30, "stop_loss_spread": Decimal("24.5")})
        self.assertAlmostEqual(float(proposal.btc_volatility or 0), 2.5, places=1)
        self.assertEqual(proposal.trend, "sideways")

    def test_a_preview_judges_barriers_as_an_execute_does(self) -> None:
        self.scene.offer()
        asked = ExecuteRequest("signal_1", Usd(Decimal(2000)), take_profit_z=Decimal("0.5"), stop_loss_z=Decimal(3))
        shown = previews.preview(self.scene.desk, asked)
        self.assertTrue(shown.would_execute)
        self.assertEqual((shown.exits["take_profit_z"], shown.exits["stop_loss_z"]), (Decimal("0.5"), 3))
        with self.assertRaises(InvalidRequest):
            previews.preview(self.scene.desk, replace(asked, stop_loss_z=Decimal(2)))

    def test_a_request_without_the_later_barriers_is_the_same_request_as_before_there_were_any(self) -> None:
        """Ledgers of earlier versions hold these hashes."""
        plain = ExecuteRequest("signal_1", Usd(Decimal(1000)))
        full = replace(
            plain,
            execution=Execution.TWAP,
            twap=TwapRequest(60, 4),
            take_profit=Decimal("0.03"),
            trailing=TrailingStop(Ratio(Decimal("0.02")), Ratio(Decimal("0.01"))),
            time_window="5min",
        )
        self.assertTrue(plain.fingerprint.startswith("48a8646ccf3c90e77ac832df688832f1"))
        self.assertTrue(full.fingerprint.startswith("24e71ad012a5a68a63b459effaa785be"))
        self.assertNotEqual(plain.fingerprint, replace(plain, stop_loss_usd=Usd(Decimal(9))).fingerprint)


class FiredTest(BarriersTestCase):
    def test_each_fires_when_it_is_touched_and_not_before(self) -> None:
        """Costs of the round trip, 0.2 % of 2,000 USD, are in the USD; the plain barriers are 1 and 2 % away."""
        usd, level = Usd, Decimal
        rows: tuple[tuple[str, dict[str, Any], str, str, str, ExitReason], ...] = (
            ("usd taken", {"take_profit_usd": usd(level(8))}, "2.4", "24.75", "24.68", ExitReason.TAKE_PROFIT),
            ("usd lost", {"stop_loss_usd": usd(level(10))}, "2.4", "25.15", "25.25", ExitReason.STOP_LOSS),
            ("spread taken", {"take_profit_spread": level("23.8")}, "2.4", "24.85", "24.78", ExitReason.TAKE_PROFIT),
            ("spread lost", {"stop_loss_spread": level("24.2")}, "2.4", "25.18", "25.21", ExitReason.STOP_LOSS),
            ("long base, taken", {"take_profit_spread": level("24.2")}, "-2", "25.15", "25.23", ExitReason.TAKE_PROFIT),
            ("long base, lost", {"stop_loss_spread": level("23.8")}, "-2", "24.85", "24.79", ExitReason.STOP_LOSS),
            ("z taken", {"take_profit_z": level("1.2")}, "2.4", "24.83", "24.77", ExitReason.TAKE_PROFIT),
            ("z lost", {"stop_loss_z": level("2.8")}, "2.4", "25.17", "25.21", ExitReason.STOP_LOSS),
        )
        for name, asked, zscore, before, touched, reason in rows:
            with self.subTest(name):
                self.setUp()
                self.scene.offer(zscore=zscore)
                self.opened(**asked)
                self.assertEqual([], self.at_ratio(before))
                self.assertEqual([reason], self.at_ratio(touched))

    def test_a_z_barrier_below_the_mean_works_the_same_way(self) -> None:
        swings = [4_000 * 25.5 * math.exp(0.01 if number % 2 else -0.01) for number in range(300)]
        self.venue.bars[BTC, MINUTE] = given_bars([repr(one) for one in swings], self.scene.clock.now())
        self.scene.offer(zscore="-2.4")
        self.opened(take_profit_z=Decimal(1), stop_loss_z=Decimal("2.8"))
        self.assertEqual([], self.at_ratio("25.2"))
        self.assertEqual([ExitReason.TAKE_PROFIT], self.at_ratio("25.28"))
        self.assertEqual([ExitReason.STOP_LOSS], self.at_ratio("24.75"))

    def test_mean_and_deviation_stay_those_of_the_entry(self) -> None:
        self.opened(take_profit_z=Decimal("1.2"))
        self.remember(self.scene, self.venue, by=0.0001)
        self.assertEqual([], self.at_ratio("24.83"))

    def test_a_stop_that_the_mark_is_beyond_too_counts_at_once(self) -> None:
        for stop in ({"stop_loss_spread": Decimal("24.2")}, {"stop_loss_usd": Usd(Decimal(9))}):
            with self.subTest(stop=stop):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.opened(**stop)
                self.assertEqual([], self.swept())
                self.venue.move("BTC", str(Decimal("25.24") * 4_000))
                self.assertEqual([ExitReason.STOP_LOSS], self.swept())

    def test_a_pulled_bid_is_no_stop_of_the_spread_and_a_lasting_one_is(self) -> None:
        self.opened(stop_loss_spread=Decimal("24.2"))

        def pulled(quote: Quote) -> Quote:
            return replace(quote, ask=Price(quote.ask * Decimal("1.012"))) if quote.coin == BTC else quote

        def book(depth: Any) -> Any:
            if depth.coin != BTC:
                return depth
            return replace(depth, asks=tuple(replace(one, price=one.price * Decimal("1.012")) for one in depth.asks))

        self.venue.bend_quote, self.venue.bend_depth = pulled, book
        self.assertEqual([], self.swept(0.2))
        self.venue.straighten()
        self.assertEqual([], self.swept(0.2))
        self.venue.bend_quote, self.venue.bend_depth = pulled, book
        self.assertEqual([], self.swept(0.2))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.25))

    def test_what_the_book_cannot_carry_is_measured_by_the_mark_and_twice(self) -> None:
        self.opened(stop_loss_spread=Decimal("24.2"))
        self.venue.depth_usd["BTC"] = Decimal(10)
        self.venue.move("BTC", "100900")
        self.assertEqual([], self.swept(0.2))
        self.assertEqual([ExitReason.STOP_LOSS], self.swept(0.25))


class ShownTest(BarriersTestCase):
    def test_a_position_shows_its_barriers_and_its_z_score(self) -> None:
        position = self.opened(stop_loss_usd=Usd(Decimal(15)), take_profit_z=Decimal("0.5"))
        self.venue.move("BTC", "98000")
        view = queries.position(self.scene.desk, position.id)
        self.assertEqual((view.stop_loss_usd, view.take_profit_usd, view.take_profit_z), (15, None, Decimal("0.5")))
        assert view.zscore is not None and view.zscore.current is not None
        self.assertAlmostEqual(float(view.zscore.entry), 2.017, places=2)
        self.assertAlmostEqual(float(view.zscore.current), 0.0, places=6)
        self.venue.quotes_missing = {"BTC"}
        blind = queries.position(self.scene.desk, position.id).zscore
        assert blind is not None
        self.assertIsNone(blind.current)

    def test_without_a_z_barrier_there_is_no_z_score(self) -> None:
        self.assertIsNone(queries.position(self.scene.desk, self.opened().id).zscore)


class ChangedTest(BarriersTestCase):
    def change(self, position: Position, *, admin: bool = False, **change: Any) -> ExitPlan:
        exits.change_exits(self.scene.desk, position.id, ExitChange(**change), admin=admin)
        return self.scene.position(position.id).exit_plan

    def dropped(self, position: Position, *names: str, admin: bool = False) -> ExitPlan:
        return self.change(position, admin=admin, dropped=frozenset(names))

    def test_an_amount_in_usd_that_stands_keeps_no_other_exit_from_being_changed(self) -> None:
        """Of 2,000 USD half was filled, and the stop of 600 USD was too wide for that: nothing could be tightened."""
        self.venue.shares = {"ETH": Decimal("0.5"), "BTC": Decimal("0.5")}
        position = self.opened(stop_loss_usd=Usd(Decimal(600)))
        self.assertEqual(round(position.entry_notional, -1), 1000)
        plan = self.change(position, stop_loss=Decimal("0.005"))
        self.assertEqual((plan.stop_loss, plan.stop_loss_usd), (Decimal("0.005"), 600))
        with self.assertRaises(InvalidRequest):
            self.change(position, stop_loss_usd=Usd(Decimal(599)))

    def test_while_nothing_is_filled_amounts_in_usd_are_judged_by_the_size_asked_for(self) -> None:
        """Seed 158 of the simulation: a stop of no dollars was taken, and the next look divided by it."""
        self.venue.script(lost_before())
        position = self.opened()
        self.assertEqual(position.entry_notional, 0)
        for amount, taken in (("0", False), ("3.99", False), ("4", True), ("1000.01", False)):
            with self.subTest(amount=amount):
                if taken:
                    self.assertEqual(self.change(position, stop_loss_usd=Usd(Decimal(amount))).stop_loss_usd, 4)
                else:
                    with self.assertRaises(InvalidRequest):
                        self.change(position, stop_loss_usd=Usd(Decimal(amount)))

    def test_one_is_added_changed_and_removed_with_a_line_each(self) -> None:
        position = self.opened()
        self.assertEqual(self.change(position, take_profit_usd=Usd(Decimal(30))).take_profit_usd, 30)
        self.assertEqual(self.change(position, take_profit_usd=Usd(Decimal(40))).take_profit_usd, 40)
        line = self.scene.log.entries[-1]
        before, after = line.facts["before"], line.facts["after"]
        assert isinstance(before, dict) and isinstance(after, dict)
        self.assertEqual((before["take_profit_usd"], after["take_profit_usd"]), ("30", "40"))
        self.assertIsNone(self.dropped(position, "take_profit_usd").take_profit_usd)

    def test_what_is_named_changes_and_nothing_else(self) -> None:
        position = self.opened(take_profit_z=Decimal("0.5"))
        plan: ExitPlan = position.exit_plan
        changed_to: dict[str, Any]
        for name, asked, later in (
            ("take_profit_usd", "30", "40"),
            ("stop_loss_usd", "15", "14"),
            ("take_profit_spread", "23.5", "23.6"),
            ("stop_loss_spread", "24.4", "24.3"),
            ("take_profit_z", "0.6", "0.7"),
            ("stop_loss_z", "3", "2.9"),
        ):
            for value in (asked, later):
                with self.subTest(name, value=value):
                    changed_to = {name: Decimal(value)}
                    plan = replace(plan, **changed_to)
                    self.assertEqual(plan, self.change(position, **changed_to))
        for name in ("take_profit_spread", "stop_loss_spread", "take_profit_z", "stop_loss_z", "stop_loss_usd"):
            with self.subTest(name, dropped=True):
                changed_to = {name: None}
                plan = replace(plan, **changed_to)
                self.assertEqual(plan, self.dropped(position, name))

    def test_a_profit_in_usd_that_stands_keeps_no_other_exit_from_being_changed_either(self) -> None:
        self.venue.shares = {"ETH": Decimal("0.5"), "BTC": Decimal("0.5")}
        position = self.opened(take_profit_usd=Usd(Decimal(10_000)))
        self.assertEqual(Decimal("0.005"), self.change(position, stop_loss=Decimal("0.005")).stop_loss)

    def test_a_stop_is_moved_while_the_venue_cannot_be_read_at_all(self) -> None:
        position = self.opened(stop_loss_z=Decimal(3))
        self.venue.reads_down = {"quotes", "depths", "candles", "account", "instruments"}
        for name, value in (("stop_loss", "0.005"), ("stop_loss_usd", "9"), ("stop_loss_z", "2.9")):
            with self.subTest(name):
                asked: dict[str, Any] = {name: Decimal(value)}
                self.assertEqual(Decimal(value), getattr(self.change(position, **asked), name))

    def test_a_stop_that_was_approved_is_loosened_by_an_admin_only(self) -> None:
        position = self.opened(
            stop_loss_usd=Usd(Decimal(15)),
            stop_loss_spread=Decimal("24.2"),
            stop_loss_z=Decimal("2.8"),
            trailing=given_trailing(),
        )
        for change in (
            {"stop_loss_usd": Usd(Decimal(16))},
            {"stop_loss_spread": Decimal("24.3")},
            {"stop_loss_z": Decimal(3)},
            {"dropped": frozenset({"stop_loss_usd"})},
            {"dropped": frozenset({"stop_loss_spread"})},
            {"dropped": frozenset({"stop_loss_z"})},
            {"trailing": given_trailing(gap="0.006")},
            {"dropped": frozenset({"trailing_stop"})},
        ):
            with self.subTest(change=change):
                with self.assertRaises(LooseningNeedsAdmin) as refusal:
                    self.change(position, **change)
                self.assertIn("than the approved one needs an admin token: ", refusal.exception.detail)
                self.change(position, admin=True, **change)
                self.change(
                    position,
                    stop_loss_usd=Usd(Decimal(15)),
                    stop_loss_spread=Decimal("24.2"),
                    stop_loss_z=Decimal("2.8"),
                    trailing=given_trailing(),
                )

    def test_a_stop_that_was_added_later_may_go_again(self) -> None:
        position = self.opened()
        self.change(position, stop_loss_usd=Usd(Decimal(15)))
        self.assertIsNone(self.dropped(position, "stop_loss_usd").stop_loss_usd)

    def test_a_stop_may_follow_into_the_profit(self) -> None:
        position = self.opened()
        self.assertEqual([], self.at_ratio("24.7"))
        self.change(position, stop_loss_spread=Decimal("23.9"))
        self.assertEqual([ExitReason.STOP_LOSS], self.at_ratio("24.91"))

    def test_a_level_that_the_spread_is_beyond_already_is_refused_as_at_the_entry(self) -> None:
        """It was taken, and the position closed at once: at a loss, for its take profit."""
        position = self.opened()
        changes: tuple[tuple[str, dict[str, Any], str], ...] = (
            ("take_profit_spread", {"take_profit_spread": Decimal("24.1")}, "below"),
            ("stop_loss_spread", {"stop_loss_spread": Decimal("23.9")}, "above"),
        )
        for field, change, side in changes:
            with self.subTest(field), self.assertRaises(InvalidRequest) as refusal:
                self.change(position, **change)
            self.assertIn(f"must be {side} the present spread, 24.0", refusal.exception.fields[field])
        self.assertEqual([], self.swept())

    def test_without_a_price_a_level_can_be_moved_all_the_same(self) -> None:
        position = self.opened()
        self.venue.reads_down = {"quotes"}
        self.scene.clock.advance(10)
        self.assertEqual(Decimal("23.9"), self.change(position, stop_loss_spread=Decimal("23.9")).stop_loss_spread)

    def test_levels_that_contradict_each_other_are_refused(self) -> None:
        position = self.opened(take_profit_z=Decimal("0.5"))
        for field, change in (
            ("take_profit_spread", {"take_profit_spread": Decimal(25), "stop_loss_spread": Decimal("24.5")}),
            ("stop_loss_usd", {"stop_loss_usd": Usd(Decimal(1))}),
            ("take_profit_z", {"take_profit_z": Decimal("1.6")}),
            ("stop_loss_z", {"stop_loss_z": Decimal("2.5")}),
        ):
            with self.subTest(field), self.assertRaises(InvalidRequest) as refusal:
                self.change(position, **change)
            self.assertIn(field, refusal.exception.fields)

    def test_levels_that_contradict_each_other_are_refused_without_a_price_too(self) -> None:
        """A pair would be left by the one at once that it may never reach the other from."""
        for zscore, profit, stop in (("2.4", "24.5", "24.4"), ("-2.4", "23.4", "23.5")):
            self.scene, self.venue = a_bent_scene(self)
            self.scene.offer(zscore=zscore)
            position = self.opened()
            self.venue.reads_down = {"quotes"}
            self.scene.clock.advance(10)
            with self.subTest(zscore=zscore), self.assertRaises(InvalidRequest) as refusal:
                self.change(position, take_profit_spread=Decimal(profit), stop_loss_spread=Decimal(stop))
            self.assertIn("wrong side", refusal.exception.fields["take_profit_spread"])
            self.change(position, take_profit_spread=Decimal(stop), stop_loss_spread=Decimal(profit))

    def test_a_z_barrier_that_comes_later_is_measured_by_the_bars_before_the_entry(self) -> None:
        position = self.opened()
        self.scene.clock.advance(600)
        plan = self.change(position, stop_loss_z=Decimal(3))
        assert plan.reversion is not None
        self.assertEqual((plan.reversion.candles, plan.stop_loss_z), (300, 3))
        self.assertAlmostEqual(float(plan.reversion.zscore), 2.0, places=1)
        self.assertEqual(self.change(position, stop_loss_z=Decimal(4)).reversion, plan.reversion)

    def test_levels_that_have_followed_the_spread_beyond_the_entry_keep_no_z_barrier_out(self) -> None:
        """Of the bars and the entry alone it is measured: where the levels stand now is no matter of that."""
        for ratio, name, level in (("24.7", "stop_loss_spread", "23.9"), ("25.1", "take_profit_spread", "24.05")):
            with self.subTest(ratio):
                self.scene, self.venue = a_bent_scene(self)
                self.memory = Memory()
                self.remember(self.scene, self.venue)
                position = self.opened()
                self.assertEqual([], self.at_ratio(ratio))
                moved: dict[str, Any] = {name: Decimal(level)}
                self.change(position, **moved)
                self.assertEqual(3, self.change(position, stop_loss_z=Decimal(3)).stop_loss_z)

    def test_a_z_barrier_that_comes_later_takes_bars_and_a_fill(self) -> None:
        position = self.opened()
        self.venue.bars = {}
        with self.assertRaises(InvalidRequest) as few:
            self.change(position, stop_loss_z=Decimal(3))
        self.assertIn("200 bars", few.exception.fields["stop_loss_z"])
        self.venue.reads_down = {"candles"}
        with self.assertRaises(VenueUnavailable):
            self.change(position, stop_loss_z=Decimal(3))

    def test_before_anything_is_filled_there_is_no_entry_to_measure_by(self) -> None:
        self.venue.script(accepted(60))
        position = self.opened()
        with self.assertRaises(InvalidRequest) as early:
            self.change(position, stop_loss_z=Decimal(3))
        self.assertIn("nothing filled yet", early.exception.fields["position_id"])


class WordsTest(unittest.TestCase):
    def test_the_tightest_stop_is_what_costs_are_measured_by(self) -> None:
        plan = given_exit_plan()
        self.assertEqual(tightest_stop(plan, Usd(Decimal(2000))), Decimal("0.01"))
        tight = replace(plan, stop_loss_usd=Usd(Decimal(10)))
        self.assertEqual(tightest_stop(tight, Usd(Decimal(2000))), Decimal("0.005"))
        self.assertEqual(tightest_stop(tight, Usd(Decimal(500))), Decimal("0.01"))

    def test_a_stop_that_is_gone_or_further_away_is_looser(self) -> None:
        plan = given_exit_plan(stop_loss_spread=Decimal(24), stop_loss_usd=Usd(Decimal(20)), trailing=given_trailing())
        for change, base_long, names in (
            ({}, True, ()),
            ({"stop_loss": Ratio(Decimal("0.02"))}, True, ("stop_loss",)),
            ({"stop_loss_usd": None}, True, ("stop_loss_usd",)),
            ({"stop_loss_spread": Decimal(23)}, True, ("stop_loss_spread",)),
            ({"stop_loss_spread": Decimal(25)}, True, ()),
            ({"stop_loss_spread": Decimal(25)}, False, ("stop_loss_spread",)),
            ({"stop_loss_spread": None}, False, ("stop_loss_spread",)),
            ({"trailing": given_trailing(arm="0.02")}, True, ("trailing_stop",)),
            ({"trailing": given_trailing(gap="0.006")}, True, ("trailing_stop",)),
            ({"trailing": given_trailing(arm="0.008", gap="0.004")}, True, ()),
            ({"trailing": None}, True, ("trailing_stop",)),
        ):
            with self.subTest(change=change, base_long=base_long):
                self.assertEqual(loosened(replace(plan, **change), plan, base_long=base_long), names)

    def test_a_change_of_nothing_changes_nothing(self) -> None:
        plan = given_exit_plan(trailing=given_trailing(), take_profit_spread=Decimal(23))
        self.assertEqual(changed(plan, ExitChange(), Usd(Decimal(2000)), base_long=False), plan)
