import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from tests.engine.scripted_venue import a_request
from trading.domain.desk_state import TradingState
from trading.domain.errors import GuardianRejected, InvalidRequest, ScoutUnavailable, SignalNotFound, VenueUnavailable
from trading.domain.market import Pair
from trading.domain.units import Coin
from trading.engine import entry, previews
from trading.engine.previews import Preview
from trading.engine.requests import Execution, TwapRequest

ETH, BTC = Coin("ETH"), Coin("BTC")


class PreviewTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.scene.offer()

    def previewed(self, size: str = "2000", signal_id: str = "signal_1", **request: object) -> Preview:
        return previews.preview(self.scene.desk, a_request(signal_id, size, **request))

    def codes(self, preview: Preview) -> set[str]:
        return {one.code for one in preview.reasons} | {str(one.code) for one in preview.breaches}

    def test_it_says_what_execute_would_do_and_changes_nothing(self) -> None:
        files = {path: path.read_bytes() for path in self.scene.store.data_dir.glob("*.json")}
        preview = self.previewed()
        self.assertEqual((True, (), ()), (preview.would_execute, preview.reasons, preview.breaches))
        self.assertEqual((ETH, "long", Decimal("0.25")), (preview.long.coin, preview.long.side, preview.long.quantity))
        self.assertEqual(
            (BTC, "short", Decimal("0.01")), (preview.short.coin, preview.short.side, preview.short.quantity)
        )
        self.assertEqual(
            (Decimal("4000.4"), Decimal(99_990)), (preview.long.expected_price, preview.short.expected_price)
        )
        self.assertEqual((Decimal(1), Decimal(1)), (preview.long.slippage_bps, preview.short.slippage_bps))
        self.assertEqual(Decimal("1000.1") * Decimal("0.00045"), preview.long.entry_fee)
        self.assertEqual(Decimal(99_990) / Decimal("4000.4") - 1, preview.expected_spread)
        self.assertEqual(("market", 0, 1, Decimal(2000)), self.plan(preview))
        assert preview.round_trip_cost is not None
        self.assertTrue(Decimal("0.0009") < preview.round_trip_cost < Decimal("0.002"))
        self.assertEqual((Decimal("0.02"), Decimal("0.01")), (preview.take_profit, preview.stop_loss))
        self.assertTrue(preview.headroom)
        self.assertEqual(([], [], []), (self.venue.sent, self.scene.approver.proposals, self.scene.log.messages()))
        self.assertEqual(files, {path: path.read_bytes() for path in self.scene.store.data_dir.glob("*.json")})
        position = self.scene.opened()
        self.assertEqual(preview.long.expected_price, position.long.entry_price)

    def plan(self, preview: Preview) -> tuple[object, ...]:
        return preview.execution, preview.duration_seconds, len(preview.slices), preview.margin * preview.leverage

    def test_slices_are_laid_out(self) -> None:
        preview = self.previewed("6000", execution=Execution.TWAP, twap=TwapRequest(50, 5), leverage=2)
        self.assertEqual(("twap", 50, 5, Decimal(6000)), self.plan(preview))
        self.assertEqual(Decimal("0.75"), sum(one.long_quantity for one in preview.slices))
        pace = {two.due_at - one.due_at for one, two in zip(preview.slices, preview.slices[1:], strict=False)}
        self.assertEqual({timedelta(seconds=10)}, pace)

    def test_every_breach_is_named(self) -> None:
        self.venue.spread = Decimal("0.01")
        preview = self.previewed("40000", execution=Execution.MARKET, leverage=3)
        self.assertLessEqual({"ALLOCATION_EXCEEDED", "WIDE_SPREAD", "COST_TOO_HIGH"}, self.codes(preview))
        self.assertFalse(preview.would_execute)

    def test_every_gate_before_the_limits_is_named_at_once(self) -> None:
        self.scene, self.venue = a_bent_scene(self, require_monitor=True)
        now = self.scene.clock.now()
        self.scene.offer(confidence=Decimal("0.1"))
        self.scene.enter_state(TradingState.REDUCING)
        preview = self.previewed()
        self.assertEqual({"TRADING_HALTED", "MONITOR_DOWN", "SIGNAL_LOW_CONFIDENCE"}, self.codes(preview))
        self.scene.offer("signal_old", created_at=now - timedelta(seconds=301))
        self.assertIn("SIGNAL_EXPIRED", self.codes(self.previewed(signal_id="signal_old")))

    def test_a_venue_that_could_not_be_sent_an_opening_is_named(self) -> None:
        """Its budget spent, or clocks too far apart: execute refuses that, and a preview said yes."""
        self.venue.no_room = True
        preview = self.previewed()
        self.assertEqual((False, {"VENUE_UNAVAILABLE"}), (preview.would_execute, self.codes(preview)))
        self.assertEqual(["no room for an opening"], [one.detail for one in preview.reasons])

    def test_a_signal_that_was_traded_is_named(self) -> None:
        self.scene.opened()
        self.assertLessEqual({"SIGNAL_NOT_PENDING", "PAIR_ALREADY_OPEN"}, self.codes(self.previewed()))

    def test_a_rejection_of_guardian_stands_here_too(self) -> None:
        self.scene.approver.approves = False
        with self.assertRaises(GuardianRejected):
            entry.execute(self.scene.desk, a_request())
        self.assertEqual({"GUARDIAN_REJECTED"}, self.codes(self.previewed()))
        self.assertEqual(set(), self.codes(self.previewed("1000")))

    def test_what_cannot_be_known_is_none(self) -> None:
        self.venue.quotes_missing = {"ETH"}
        preview = self.previewed()
        self.assertFalse(preview.would_execute)
        self.assertEqual(
            (None, None, None), (preview.long.arrival_price, preview.long.expected_price, preview.long.notional)
        )
        self.assertEqual((None, None, ()), (preview.expected_spread, preview.round_trip_cost, preview.slices))
        self.venue.quotes_missing = set()
        self.venue.depth_usd = {"ETH": Decimal(100)}
        preview = self.previewed()
        self.assertEqual(
            (None, None, None), (preview.long.expected_price, preview.long.slippage_bps, preview.long.entry_fee)
        )
        self.assertIn("INSUFFICIENT_DEPTH", self.codes(preview))

    def test_what_is_wrong_with_the_request_is_raised(self) -> None:
        with self.assertRaises(InvalidRequest):
            self.previewed(pair="SOL/AVAX")
        self.assertEqual("BTC/ETH", self.previewed(pair=Pair(BTC, ETH)).pair)
        with self.assertRaises(SignalNotFound):
            self.previewed(signal_id="signal_none")
        self.venue.reads_down = {"account"}
        with self.assertRaises(VenueUnavailable):
            self.previewed()


class SignalsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def test_each_is_judged_at_a_common_size(self) -> None:
        self.scene.offer("signal_1")
        self.scene.clock.advance(1)
        self.scene.offer("signal_2", pair="SOL/AVAX", confidence=Decimal("0.5"))
        weak, good = previews.signals(self.scene.desk)
        self.assertEqual(("signal_1", True, (), Decimal(1000)), (good.id, good.would_take, good.why_not, good.at_size))
        self.assertEqual((ETH, BTC), (good.long_coin, good.short_coin))
        self.assertEqual(["SIGNAL_LOW_CONFIDENCE"], [one.code for one in weak.why_not])

    def test_limits_are_reasons_too(self) -> None:
        self.scene.opened("signal_1")
        self.scene.offer("signal_2")
        (view,) = [one for one in previews.signals(self.scene.desk) if one.id == "signal_2"]
        self.assertEqual((False, ["PAIR_ALREADY_OPEN"]), (view.would_take, [one.code for one in view.why_not]))

    def test_a_small_account_is_judged_at_what_it_may_trade(self) -> None:
        for equity, size in (("1000", "300"), ("0", "1000")):
            with self.subTest(equity):
                self.venue.cash = Decimal(equity)
                self.scene.offer()
                self.assertEqual(Decimal(size), previews.signals(self.scene.desk)[0].at_size)

    def test_nothing_on_offer_is_an_empty_list_and_no_scout_is_no_list(self) -> None:
        self.assertEqual((), previews.signals(self.scene.desk))
        self.scene.signals.failure = ScoutUnavailable("down")
        with self.assertRaises(ScoutUnavailable):
            previews.signals(self.scene.desk)

    def test_a_bent_quote_is_a_reason(self) -> None:
        self.scene.offer()
        self.venue.bend_quote = lambda one: replace(one, taken_at=one.taken_at - timedelta(seconds=3))
        (view,) = previews.signals(self.scene.desk)
        self.assertIn("QUOTE_STALE", [one.code for one in view.why_not])
