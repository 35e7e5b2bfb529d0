"""Every gate of an opening, in its order, and what a repeated request is answered."""

import logging
import unittest
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import patch

from tests.builders import given_approval
from tests.engine.scripted_venue import (
    Crash,
    Scene,
    a_request,
    a_scene,
    accepted,
    dies_after,
    lost_after,
    lost_before,
    partly,
    refused,
)
from trading.domain.desk_state import TradingState
from trading.domain.errors import (
    Busy,
    CanceledByHand,
    DeskError,
    GuardianRejected,
    GuardianUnavailable,
    IdempotencyMismatch,
    InvalidRequest,
    MonitorDown,
    RiskDenied,
    ScoutUnavailable,
    SignalExpired,
    SignalLowConfidence,
    SignalNotFound,
    SignalNotPending,
    TradingHalted,
    VenueRejected,
    VenueUnavailable,
)
from trading.domain.exit_plan import ExitReason, TrailingStop
from trading.domain.market import Pair
from trading.domain.orders import RejectReason
from trading.domain.positions import PositionStatus
from trading.domain.trades import Trade, TradeStatus
from trading.domain.units import Coin, PositionId, Ratio, TradeId, Usd
from trading.engine import closing, emergency, entry, planning, previews, queries, working
from trading.engine.entry import Outcome
from trading.engine.requests import Execution, TwapRequest
from trading.utils.risk_controls import Breach, BreachCode


class EntryTestCase(unittest.TestCase):
    config: dict[str, Any] = {}  # noqa: RUF012  # each class states its own

    def setUp(self) -> None:
        self.scene = a_scene(self, **self.config)
        self.venue, self.approver = self.scene.venue, self.scene.approver

    def refused(self, kind: type[DeskError], scene: Scene | None = None, **request: Any) -> DeskError:
        """Execute is refused with *kind* and nothing has been sent or stored."""
        scene = scene or self.scene
        before = scene.trades()
        with self.assertRaises(kind) as caught:
            scene.execute(**request)
        self.assertIs(kind, type(caught.exception))
        self.assertEqual(before, scene.trades())
        return caught.exception

    def breaches(self, **request: Any) -> list[str]:
        error = self.refused(RiskDenied, **request)
        return [str(breach.code) for breach in error.facts["breaches"]]  # type: ignore[attr-defined]  # a tuple


class HappyTests(EntryTestCase):
    def test_a_signal_becomes_an_open_position(self) -> None:
        answer = self.scene.execute()
        self.assertEqual((Outcome.OPENED, PositionStatus.OPEN), (answer.outcome, answer.position.status))
        self.assertEqual((Decimal("0.25"), Decimal("-0.01")), (self.venue.held("ETH"), self.venue.held("BTC")))
        (proposal,) = self.approver.proposals
        self.assertEqual(("ETH", "BTC", 2000), (proposal.long_coin, proposal.short_coin, proposal.position_size))
        self.assertEqual((0, Decimal(100)), (proposal.num_positions, proposal.liquidation_distance))

    def test_what_the_limits_measured_is_kept_with_the_trade(self) -> None:
        self.scene.execute()
        kept = {one.name: (one.limit, one.actual) for one in self.scene.trades()[0].terms.checks}
        self.assertEqual((Decimal("0.30"), Decimal("0.02")), kept["max_allocation"])
        self.assertEqual((3, 0), kept["max_positions"])

    def test_the_answer_is_marked_at_once_without_waiting_for_the_cache(self) -> None:
        with patch.object(self.scene.cache, "get_many", side_effect=AssertionError("the cache was asked")):
            answer = self.scene.execute()
        self.assertIsNotNone(answer.position.pnl)
        self.assertEqual(self.scene.clock.now(), answer.position.marked_at)

    def test_a_long_spread_buys_the_first_coin(self) -> None:
        self.scene.offer(zscore="-2.4")
        self.scene.execute()
        self.assertGreater(self.venue.held("BTC"), 0)
        self.assertLess(self.venue.held("ETH"), 0)

    def test_the_exposure_is_within_the_size_asked_for(self) -> None:
        for size in ("25", "1999.99", "4321"):
            with self.subTest(size=size):
                self.setUp()
                self.scene.execute(size=size)
                gross = abs(self.venue.held("ETH")) * 4000 + abs(self.venue.held("BTC")) * 100_000
                self.assertLessEqual(gross, Decimal(size))
                self.assertGreater(gross, Decimal(size) - 3)

    def test_a_large_trade_is_sliced_and_answered_while_it_works(self) -> None:
        answer = self.scene.execute(size="6000")
        self.assertEqual((Outcome.WORKING, PositionStatus.OPENING), (answer.outcome, answer.position.status))
        self.assertEqual((5, 1), (answer.position.execution.slices_total, answer.position.execution.slices_done))

    def test_execution_follows_the_request(self) -> None:
        for request, slices in (
            ({"size": "5000"}, 1),
            ({"size": "6000", "execution": Execution.MARKET}, 1),
            ({"size": "600", "execution": Execution.TWAP}, 5),
            ({"size": "600", "twap": TwapRequest(slices=3)}, 3),
            ({"size": "600", "twap": TwapRequest(duration_seconds=30)}, 5),
            ({"size": "60", "execution": Execution.TWAP}, 2),
        ):
            with self.subTest(request=request):
                self.setUp()
                self.scene.execute(**request)
                (trade,) = self.scene.trades()
                self.assertEqual(slices, len(trade.terms.slices))
                legs = trade.terms.legs
                self.assertEqual(legs[0].quantity, sum(one.long_quantity for one in trade.terms.slices))
                self.assertEqual(legs[1].quantity, sum(one.short_quantity for one in trade.terms.slices))

    def test_exits_come_from_the_request_over_the_defaults(self) -> None:
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.002")))
        position = self.scene.opened(
            take_profit=Decimal("0.03"), stop_loss=Decimal("0.02"), trailing=trailing, time_window="1min"
        )
        plan = position.exit_plan
        self.assertEqual(
            (Decimal("0.03"), Decimal("0.02"), trailing), (plan.take_profit, plan.stop_loss, plan.trailing)
        )
        self.assertEqual((60, "1min"), (plan.max_holding_seconds, plan.time_window))

    def test_a_trailing_gap_that_is_no_smaller_than_its_arm_is_refused(self) -> None:
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.01")))
        self.refused(InvalidRequest, trailing=trailing)

    def test_a_second_proposal_tells_what_stands_already(self) -> None:
        self.scene.execute()
        self.scene.execute("signal_2", pair="SOL/AVAX")
        self.assertEqual([0, 1], [one.num_positions for one in self.approver.proposals])


class DefaultTrailingTests(EntryTestCase):
    config = {"trailing_arm": "0.01", "trailing_gap": "0.004", "max_holding_seconds": 77}  # noqa: RUF012

    def test_the_desks_own_trailing_stop_and_holding_time_serve_where_none_is_asked(self) -> None:
        plan = self.scene.opened().exit_plan
        self.assertEqual((Decimal("0.01"), 77), (plan.trailing and plan.trailing.arm, plan.max_holding_seconds))

    def test_whoever_asks_what_it_would_be_hears_of_them(self) -> None:
        self.scene.offer()
        shown, terms = previews.preview(self.scene.desk, a_request()), queries.portfolio(self.scene.desk).terms
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.004")))
        self.assertEqual((trailing, 77), (shown.trailing_stop, shown.max_holding_seconds))
        self.assertEqual((trailing, 77), (terms.trailing_stop, terms.max_holding_seconds))


class GateTests(EntryTestCase):
    def test_the_state_comes_before_everything_but_the_key(self) -> None:
        for state in (TradingState.REDUCING, TradingState.LIQUIDATING, TradingState.HALTED):
            self.scene.enter_state(state)
            with self.subTest(state=state):
                self.refused(TradingHalted, size="900000")
        self.assertEqual([], self.scene.signals.asked)

    def test_scout_says_what_it_does_not_know(self) -> None:
        with self.assertRaises(SignalNotFound):
            entry.execute(self.scene.desk, a_request("unheard_of"))

    def test_scout_silent_is_unavailable(self) -> None:
        self.scene.signals.failure = ScoutUnavailable("no answer")
        self.refused(ScoutUnavailable)

    def test_a_signal_is_judged_before_the_limits(self) -> None:
        now = self.scene.clock.now()
        cases: tuple[tuple[dict[str, Any], type[DeskError]], ...] = (
            ({"status": "executed"}, SignalNotPending),
            ({"created_at": now - timedelta(seconds=301)}, SignalExpired),
            ({"created_at": now + timedelta(seconds=6)}, SignalExpired),
            ({"confidence": Decimal("0.69")}, SignalLowConfidence),
        )
        for changes, kind in cases:
            self.scene.offer(**changes)
            with self.subTest(changes=changes):
                self.refused(kind, size="900000")
        for edge in (now - timedelta(seconds=300), now + timedelta(seconds=5)):
            self.scene.offer(created_at=edge)
            self.refused(RiskDenied, size="900000")
        self.assertEqual([], self.approver.proposals)

    def test_another_pair_than_the_signals_is_a_bad_request(self) -> None:
        self.scene.offer()
        error = self.refused(InvalidRequest, pair=Pair.parse("ETH/BTC"))
        self.assertIsInstance(error, InvalidRequest)
        self.assertIn("pair", error.detail)

    def test_all_breaches_come_together_and_before_guardian(self) -> None:
        self.venue.quotes_age = {"ETH": 3.0}
        found = self.breaches(size="900000", leverage=9)
        for code in ("ALLOCATION_EXCEEDED", "LEVERAGE_EXCEEDED", "MARGIN_INSUFFICIENT", "QUOTE_STALE"):
            self.assertIn(code, found)
        self.assertEqual([], self.approver.proposals)

    def test_each_breach_of_book_and_market(self) -> None:
        def foreign() -> None:
            self.venue.hold("ETH", "-1")

        def leveraged() -> None:
            self.venue.hold("ETH", "1")
            self.venue.leverages = {self.venue.listed["ETH"].coin: 3}  # type: ignore[index]  # a coin

        cases: tuple[tuple[str, Any], ...] = (
            ("LEG_BELOW_VENUE_MINIMUM", None),
            ("QUOTE_STALE", lambda: self.venue.quotes_missing.add("ETH")),
            ("COIN_NOT_TRADABLE", lambda: self.venue.listed.pop("ETH")),  # type: ignore[call-overload]  # a coin
            ("QUOTE_STALE", lambda: setattr(self.venue, "spread", Decimal("-0.001"))),
            ("WIDE_SPREAD", lambda: setattr(self.venue, "spread", Decimal("0.006"))),
            ("COST_TOO_HIGH", lambda: setattr(self.venue, "spread", Decimal("0.003"))),
            ("INSUFFICIENT_DEPTH", lambda: self.venue.depth_usd.update(ETH=Decimal(100))),
            ("COIN_HELD_OPPOSITE", foreign),
            ("LEVERAGE_CONFLICT", leveraged),
            ("PORTFOLIO_BELOW_MINIMUM", lambda: setattr(self.venue, "cash", Decimal(50))),
        )
        for code, spoil in cases:
            with self.subTest(code=code):
                self.setUp()
                if spoil is not None:
                    spoil()
                self.assertIn(code, self.breaches(size="19" if spoil is None else "2000"))

    def test_a_pair_is_opened_once_and_a_losing_one_rests(self) -> None:
        position = self.scene.opened()
        self.assertEqual(["PAIR_ALREADY_OPEN"], self.breaches(signal_id="signal_2"))
        self.scene.close(position, ExitReason.STOP_LOSS)
        self.assertEqual(["COOLDOWN"], self.breaches(signal_id="signal_2"))
        self.scene.clock.advance(901)
        self.scene.offer("signal_2")
        self.assertIs(Outcome.OPENED, self.scene.execute("signal_2").outcome)

    def test_a_size_that_does_not_buy_a_lot_is_below_the_minimum(self) -> None:
        self.assertIn("LEG_BELOW_VENUE_MINIMUM", self.breaches(size="0.5"))

    def test_a_spread_that_its_own_slices_could_not_cross_is_refused_at_once(self) -> None:
        self.venue.spread = Decimal("0.004")
        facts = self.refused(RiskDenied, stop_loss=Decimal("0.05")).facts
        breach: Breach = facts["breaches"][0]  # type: ignore[index]  # a tuple
        self.assertEqual((BreachCode.WIDE_SPREAD, Decimal("0.003")), (breach.code, breach.limit))
        self.assertAlmostEqual(0.004, float(breach.actual), places=4)
        world = planning.look(self.scene.desk, planning.pair_coins(self.scene.offer().pair))
        blind = replace(world, quotes={})
        plan = planning.draft(self.scene.desk, a_request(), self.scene.offer(), blind)
        self.assertEqual((), planning._uncrossable(plan.entry))

    def test_a_venue_that_cannot_be_read_is_unavailable(self) -> None:
        for name in ("instruments", "quotes", "depths", "account"):
            self.venue.reads_down = {name}
            with self.subTest(name=name):
                self.refused(VenueUnavailable)

    def test_what_the_venue_has_no_room_for_asks_no_guardian(self) -> None:
        """What is left of its budget is for closes: an opening would be refused, and one of its attempts gone."""
        self.venue.no_room = True
        self.refused(VenueUnavailable)
        self.assertEqual([], self.approver.proposals)

    def test_a_denial_consumes_nothing(self) -> None:
        self.refused(RiskDenied, size="900000")
        self.assertIs(Outcome.OPENED, self.scene.execute(size="1000").outcome)


class MonitorTests(EntryTestCase):
    config = {"require_monitor": True}  # noqa: RUF012

    def test_no_opening_without_a_live_monitor(self) -> None:
        self.refused(MonitorDown, size="900000")
        with self.scene.desk.store.monitor_seat():
            self.scene.desk.store.beat(self.scene.clock.now())
            self.assertIs(Outcome.OPENED, self.scene.execute().outcome)
            self.scene.clock.advance(6)
            self.refused(MonitorDown, signal_id="signal_2")

    def test_no_opening_before_the_monitor_has_compared_book_and_venue(self) -> None:
        with self.scene.desk.store.monitor_seat():
            self.scene.desk.store.beat(self.scene.clock.now(), compared=False)
            self.assertIn("compared", self.refused(MonitorDown).detail)
            self.assertAlmostEqual(3.5, sum(self.scene.clock.slept))
            self.scene.desk.store.beat(self.scene.clock.now())
            self.assertIs(Outcome.OPENED, self.scene.execute().outcome)

    def test_a_monitor_that_dies_while_guardian_thinks_is_missed(self) -> None:
        with self.scene.desk.store.monitor_seat():
            self.scene.desk.store.beat(self.scene.clock.now())
            self.approver.on_approve = lambda proposal: self.scene.clock.advance(6)
            self.refused(MonitorDown)

    def test_an_opening_waits_a_moment_for_a_monitor_that_has_just_begun(self) -> None:
        store, clock = self.scene.desk.store, self.scene.clock
        with store.monitor_seat():
            store.beat(clock.now(), compared=False)
            clock.on_sleep = lambda: store.beat(clock.now(), compared=sum(clock.slept) > 1)
            self.assertIs(Outcome.OPENED, self.scene.execute().outcome)


class GuardianTests(EntryTestCase):
    def test_no_answer_is_a_no_that_can_be_asked_again(self) -> None:
        self.approver.failure = GuardianUnavailable("no answer")
        self.refused(GuardianUnavailable)
        self.approver.failure = None
        self.assertIs(Outcome.OPENED, self.scene.execute().outcome)

    def test_guardian_is_told_every_exit_and_how_it_is_executed(self) -> None:
        """What it does not know of it has not approved."""
        trailing = TrailingStop(Ratio(Decimal("0.01")), Ratio(Decimal("0.002")))
        self.scene.execute(
            twap=TwapRequest(60, 4),
            leverage=2,
            take_profit=Decimal("0.03"),
            stop_loss=Decimal("0.02"),
            trailing=trailing,
            max_holding_seconds=600,
            stop_loss_usd=Usd(Decimal(30)),
        )
        (told,) = self.approver.proposals
        self.assertEqual(
            (Decimal("0.03"), Decimal("0.02"), trailing), (told.take_profit, told.stop_loss, told.trailing)
        )
        self.assertEqual((600, {"stop_loss_usd": 30}), (told.max_holding_seconds, dict(told.further_exits)))
        self.assertEqual((2, Execution.TWAP), (told.leverage, told.execution))
        self.assertEqual(self.scene.trades()[0].id, told.trade_id)
        self.assertEqual(told.signal.created_at + timedelta(seconds=300), told.expires_at)

    def test_a_rejection_says_all_that_guardian_said(self) -> None:
        no = given_approval("", approved=False, concerns=("thin",), rule_violations=("R1",), reasoning="too bold")
        self.approver.answer = no
        facts = self.refused(GuardianRejected).facts
        self.assertEqual(("too bold", Decimal("0.2")), (facts["reasoning"], facts["risk_score"]))
        self.assertEqual((["thin"], ["R1"]), (facts["concerns"], facts["rule_violations"]))

    def test_a_signal_that_expires_while_guardian_thinks_is_not_traded(self) -> None:
        self.scene.offer(created_at=self.scene.clock.now() - timedelta(seconds=295))
        self.approver.on_approve = lambda proposal: self.scene.clock.advance(6)
        self.refused(SignalExpired)

    def test_a_rejection_stands_for_the_same_or_a_larger_size_until_the_signal_expires(self) -> None:
        self.approver.approves, self.approver.reasoning = False, "too bold"
        self.assertEqual("too bold", self.refused(GuardianRejected).facts["reasoning"])
        self.approver.approves = True
        for size in ("2000", "3000"):
            self.assertEqual("too bold", self.refused(GuardianRejected, size=size).facts["reasoning"])
        self.assertEqual(1, len(self.approver.proposals))
        self.assertIs(Outcome.OPENED, self.scene.execute(size="1999").outcome)

    def test_a_rejection_is_forgotten_when_its_signal_has_expired(self) -> None:
        self.approver.approves = False
        self.refused(GuardianRejected)
        self.scene.clock.advance(301)
        self.refused(GuardianRejected, signal_id="signal_2")
        self.assertEqual(["signal_2"], [one.signal_id for one in self.scene.desk.store.state().rejections])

    def test_a_smaller_rejection_replaces_the_larger_one(self) -> None:
        self.approver.approves = False
        self.refused(GuardianRejected, size="2000")
        self.refused(GuardianRejected, size="1000")
        (standing,) = self.scene.desk.store.state().rejections
        self.assertEqual(1000, standing.position_size)

    def test_a_yes_without_an_id_or_with_a_used_one_is_no_yes(self) -> None:
        self.approver.answer = given_approval("", answered_at=self.scene.clock.now())
        self.refused(GuardianUnavailable)
        self.assertEqual((), self.scene.desk.store.state().rejections)
        self.approver.answer = given_approval("once", answered_at=self.scene.clock.now())
        self.scene.execute()
        self.refused(GuardianUnavailable, signal_id="signal_2", pair=Pair.parse("SOL/AVAX"))

    def test_a_yes_that_names_broken_rules_is_no_yes(self) -> None:
        """One of both is wrong, and nothing says which; a no would be remembered, this is asked again."""
        yes = given_approval("torn", answered_at=self.scene.clock.now(), concerns=("thin",))
        self.approver.answer = replace(yes, rule_violations=("more than 30 % of the account",))
        refusal = self.refused(GuardianUnavailable)
        self.assertIn("more than 30 % of the account", refusal.detail)
        self.assertEqual((["more than 30 % of the account"], "within limits"), tuple(refusal.facts.values()))
        self.assertEqual(((), []), (self.scene.store.state().rejections, self.venue.sent))
        self.approver.answer = yes
        self.assertIs(Outcome.OPENED, self.scene.execute().outcome)

    def test_what_changes_while_guardian_thinks_is_judged_again(self) -> None:
        def spoil(what: str) -> None:
            if what == "depth":
                self.venue.depth_usd["ETH"] = Decimal(10)
            elif what == "stale":
                self.venue.quotes_age = {"BTC": 9.0}
            else:
                self.scene.enter_state(TradingState.REDUCING)

        for what, kind in (("depth", RiskDenied), ("stale", RiskDenied), ("state", TradingHalted)):
            with self.subTest(what=what):
                self.setUp()
                self.approver.on_approve = lambda _, what=what: spoil(what)
                self.refused(kind)
                self.assertEqual(1, len(self.approver.proposals))

    def test_sizes_are_worked_out_again_at_the_prices_after_the_answer(self) -> None:
        self.approver.on_approve = lambda _: self.venue.move("ETH", "8000")
        self.scene.execute()
        self.assertEqual(Decimal("0.125"), self.venue.held("ETH"))

    def test_an_approval_that_is_too_old_when_the_trade_would_go_sends_nothing(self) -> None:
        stale = self.scene.clock.now() - timedelta(seconds=31)
        self.approver.answer = given_approval("slow", answered_at=stale)
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.assertEqual([], self.venue.sent)


class RepeatTests(EntryTestCase):
    def test_the_same_request_again_gets_the_same_position_and_sends_nothing(self) -> None:
        first = self.scene.execute()
        for key in (None, "signal_1"):
            again = self.scene.execute(key=key)
            self.assertIs(Outcome.REPEATED, again.outcome)
            self.assertEqual(first.position.position_id, again.position.position_id)
        self.assertIs(Outcome.REPEATED, self.scene.execute(size="2000.00").outcome)
        self.assertEqual((1, 1), (len(self.venue.sent), len(self.approver.proposals)))

    def test_a_repeat_is_answered_in_any_state(self) -> None:
        self.scene.execute()
        self.scene.enter_state(TradingState.HALTED)
        self.scene.signals.failure = ScoutUnavailable("down")
        self.assertIs(Outcome.REPEATED, self.scene.execute().outcome)

    def test_a_key_used_with_other_content_is_a_mismatch(self) -> None:
        self.scene.execute(key="mine")
        self.refused(IdempotencyMismatch, key="mine", size="1000")
        self.refused(IdempotencyMismatch, key="mine", signal_id="signal_2")

    def test_a_key_that_is_sent_with_two_signals_at_once_is_that_of_the_first_accepted(self) -> None:
        """While Guardian thinks about the one the other is accepted: both would have been the answer to this key."""

        def another(proposal: object) -> None:
            self.approver.on_approve = None
            self.scene.execute("signal_2", pair="SOL/AVAX", key="mine")

        self.approver.on_approve = another
        with self.assertRaises(IdempotencyMismatch):
            self.scene.execute(key="mine")
        self.assertEqual((["signal_2"], 1), (self.signals_traded(), len(self.venue.sent)))

    def signals_traded(self) -> list[str]:
        return [trade.terms.signal.id for trade in self.scene.trades() if trade.terms.signal is not None]

    def test_a_signal_of_which_an_order_was_never_explained_is_owned(self) -> None:
        """It may yet turn up."""
        never = RejectReason.UNEXPLAINED
        self.venue.script(refused(ETH=never, BTC=never))
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.refused(SignalNotPending, key="another")

    def test_a_traded_signal_is_owned_for_ever(self) -> None:
        position = self.scene.opened()
        self.refused(SignalNotPending, key="another")
        self.scene.close(position)
        self.refused(SignalNotPending, key="another")

    def test_a_signal_in_doubt_is_owned(self) -> None:
        self.venue.script(lost_before())
        self.scene.execute()
        self.refused(SignalNotPending, key="another")

    def test_what_the_venue_refused_is_repeated_for_its_key_and_tried_thrice_a_signal(self) -> None:
        self.venue.refusing = {"ETH": RejectReason.MARGIN, "BTC": RejectReason.MARGIN}
        for key in ("one", "two", "three"):
            with self.assertRaises(VenueRejected):
                self.scene.execute(key=key)
            sent = len(self.venue.sent)
            with self.assertRaises(VenueRejected):
                self.scene.execute(key=key)
            self.assertEqual(sent, len(self.venue.sent))
        self.assertEqual(3, len(self.venue.sent))
        self.venue.refusing = {}
        self.refused(SignalNotPending, key="four")

    def test_a_new_key_opens_once_the_venue_is_willing(self) -> None:
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        with self.assertRaises(VenueRejected):
            self.scene.execute()
        self.venue.refusing = {}
        self.assertIs(Outcome.OPENED, self.scene.execute(key="another").outcome)
        self.assertEqual(2, len({trade.id for trade in self.scene.trades()}))

    def test_what_a_stop_overtakes_is_refused_for_the_stop(self) -> None:
        """The venue was never asked, and a caller was told that it had refused, or that his pair was opened."""
        stops: dict[str, Callable[[], object]] = {
            "the desk is REDUCING": lambda: self.scene.enter_state(TradingState.REDUCING),
            "the desk is LIQUIDATING": lambda: self.scene.enter_state(TradingState.LIQUIDATING),
            "the position is being closed: EMERGENCY_STOP": lambda: emergency.stop(self.scene.desk),
        }
        for why, stop in stops.items():
            with self.subTest(why):
                self.setUp()
                self.venue.on_read = lambda name, stop=stop: stop() if name == "leverage" else None
                with self.assertRaises(TradingHalted) as caught:
                    self.scene.execute()
                self.assertIn(why, caught.exception.detail)
                trade = self.scene.trades()[0]
                facts = {"trade_id": trade.id, "position_id": trade.terms.position_id}
                self.assertEqual(([], facts), (self.venue.sent, dict(caught.exception.facts)))
                self.venue.on_read = None
                self.scene.ticks(2)
                self.scene.enter_state(TradingState.ACTIVE)
                self.refused(TradingHalted)
                self.assertIs(Outcome.OPENED, self.scene.execute(key="another").outcome)

    def test_a_trade_that_another_hand_has_worked_already_is_not_sent_again(self) -> None:
        """The monitor may take up a trade between its acceptance and its first step here."""
        other = self.scene.beside()
        log = self.scene.log
        write = log.write

        def written(kind: str, message: str, **facts: object) -> None:
            write(kind, message, **facts)
            if message.startswith("accepted"):
                other.tick(0)

        log.write = written  # type: ignore[method-assign]  # the line comes just after the acceptance
        self.assertIs(Outcome.OPENED, self.scene.execute().outcome)
        self.assertEqual(1, len(self.venue.sent))
        other.store.close()

    def test_what_somebody_cancels_before_anything_is_filled_is_refused_for_that(self) -> None:
        """He who asked to open it is seldom he who canceled it, and a 201 told him that his pair was opened."""

        desk = self.scene.desk
        stops: dict[str, Callable[[Trade], object]] = {
            "canceled on request": lambda trade: working.want_cancel(desk, trade, "canceled on request"),
            "the position is being closed: MANUAL": lambda trade: closing.close_by_hand(desk, trade.terms.position_id),
        }
        for why, stop in stops.items():
            with self.subTest(why):
                self.setUp()
                desk = self.scene.desk
                self.venue.on_read = lambda name, stop=stop: (
                    stop(self.scene.trades()[0]) if name == "leverage" else None
                )
                with self.assertRaises(CanceledByHand) as caught:
                    self.scene.execute()
                trade = self.scene.trades()[0]
                facts = {"trade_id": trade.id, "position_id": trade.terms.position_id}
                self.assertEqual(f"nothing was filled: {why}", caught.exception.detail)
                self.assertEqual(([], facts), (self.venue.sent, dict(caught.exception.facts)))
                self.venue.on_read = None
                self.scene.ticks(2)
                self.refused(CanceledByHand)
                self.assertIs(Outcome.OPENED, self.scene.execute(key="another").outcome)

    def test_nor_is_it_answered_with_its_position_once_it_is_asked_for_again(self) -> None:
        self.venue.script(lost_before())
        answer = self.scene.execute()
        closing.cancel(self.scene.desk, TradeId(answer.position.trade_id))
        self.scene.ticks(20)
        self.refused(CanceledByHand)


class DeadlineTests(EntryTestCase):
    def test_the_answer_comes_in_time_however_slow_the_others_are(self) -> None:
        self.approver.on_approve = lambda _: self.scene.clock.advance(3.0)
        self.scene.clock.advance(0)
        signals = self.scene.signals
        lookup = signals.signal

        def slow(signal_id: str, pair: Pair | None) -> Any:
            self.scene.clock.advance(4.9)
            return lookup(signal_id, pair)

        signals.signal = slow  # type: ignore[method-assign]  # a Scout that takes its time
        self.venue.script(lost_before())
        began = self.scene.clock.monotonic()
        self.assertIs(Outcome.WORKING, self.scene.execute().outcome)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)

    def test_an_exchange_that_hangs_keeps_no_caller_waiting(self) -> None:
        self.venue.on_submit = lambda _: self.scene.hands.hang()
        began = self.scene.clock.monotonic()
        answer = self.scene.execute()
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.assertEqual((Outcome.WORKING, PositionStatus.OPENING), (answer.outcome, answer.position.status))
        self.scene.hands.release()
        self.assertIs(PositionStatus.OPEN, self.scene.position(PositionId(answer.position.position_id)).status)

    def test_nor_does_one_that_tells_no_price_to_mark_the_answer_by(self) -> None:
        """The deadline bounded the opening; the look at quotes and account for the answer came after it."""

        def hang_when_sent(name: str) -> None:
            if name == "depths" and self.venue.sent:
                self.scene.hands.hang()

        def dies(orders: object) -> None:
            self.venue.delay_seconds = {"quotes": 3.0, "account": 3.0}
            self.scene.hands.hang()

        for what, on_read, on_submit, status in (
            ("filled", hang_when_sent, None, PositionStatus.OPEN),
            ("in doubt", None, dies, PositionStatus.OPENING),
        ):
            with self.subTest(what):
                self.setUp()
                self.venue.on_read, self.venue.on_submit = on_read, on_submit
                began = self.scene.clock.monotonic()
                position = self.scene.execute().position
                self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
                self.assertEqual((status, None), (position.status, position.marked_at))
                self.venue.on_read, self.venue.delay_seconds = None, {}
                self.scene.hands.release()
                self.assertIs(PositionStatus.OPEN, self.scene.position(PositionId(position.position_id)).status)

    def test_who_has_waited_for_his_own_request_is_not_told_that_nothing_was_sent(self) -> None:
        """It was accepted meanwhile; only the prices that it stands at cannot be read in time."""
        store, seat = self.scene.store, self.scene.store.seat

        def accepted_meanwhile(*asked: Any) -> Any:
            before.stop()
            self.scene.execute()
            self.venue.on_read = lambda name: self.scene.hands.hang()
            return seat(*asked)

        before = patch.object(store, "seat", accepted_meanwhile)
        before.start()
        answer = self.scene.execute()
        self.assertEqual((Outcome.REPEATED, PositionStatus.OPEN), (answer.outcome, answer.position.status))
        self.scene.hands.release()

    def test_what_is_not_accepted_in_time_never_will_be(self) -> None:
        """However late whatever was asked answers: the caller has been told that nothing was sent."""

        def hang_after_guardian(name: str) -> None:
            if name == "account" and self.approver.proposals:
                self.scene.hands.hang()

        self.venue.on_read = hang_after_guardian
        began = self.scene.clock.monotonic()
        refusal = self.refused(VenueUnavailable)
        self.assertIn("nothing was sent", refusal.detail)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.scene.hands.release()
        self.assertEqual(((), []), (self.scene.trades(), self.venue.sent))
        self.assertIs(Outcome.OPENED, self.scene.execute().outcome)

    def test_nor_what_had_only_to_be_written_down(self) -> None:
        def slow(*known: Any) -> Any:
            self.scene.hands.hang()
            return checks_of(*known)

        checks_of = planning.checks_of
        with patch.object(planning, "checks_of", slow):
            self.refused(VenueUnavailable)
            self.scene.hands.release()
        self.assertEqual(((), []), (self.scene.trades(), self.venue.sent))
        self.assertIn("has been told that nothing was sent", self.scene.log.messages("error")[-1])

    def test_what_is_being_written_down_when_the_time_is_over_is_asked_for_again(self) -> None:
        save = self.scene.store.save

        def slow(trade: Trade, **words: bool) -> Trade:
            self.scene.hands.hang()
            return save(trade, **words)

        self.scene.store.save = slow  # type: ignore[method-assign]  # a disk that takes its time
        began = self.scene.clock.monotonic()
        self.refused(Busy)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        self.scene.hands.release()
        again = self.scene.execute()
        self.assertEqual((Outcome.REPEATED, 1), (again.outcome, len(self.scene.trades())))
        self.assertEqual(PositionStatus.OPEN, again.position.status)

    def test_what_is_told_of_a_trade_that_has_sent_nothing_yet_is_on_disk(self) -> None:
        """It was accepted without a sync: a machine that dies would forget what its caller was told."""
        told: list[str] = []
        self.venue.on_read = lambda name: self.scene.hands.hang() if name == "leverage" else None
        with patch.object(self.scene.store, "make_sure", lambda: told.append("synced")):
            self.assertIs(Outcome.WORKING, self.scene.execute().outcome)
        self.assertEqual(["synced"], told)
        self.venue.on_read = None
        self.scene.hands.release()

    def test_an_end_that_comes_in_time_is_waited_for(self) -> None:
        self.venue.script(accepted(2.0))
        self.assertEqual(PositionStatus.OPEN, self.scene.execute().position.status)

    def test_what_fails_after_the_answer_is_written_down(self) -> None:
        def hang_and_fail(orders: object) -> None:
            self.scene.hands.hang()
            raise ValueError

        self.venue.on_submit = hang_and_fail
        self.assertIs(Outcome.WORKING, self.scene.execute().outcome)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.scene.hands.release()
        self.assertIn("failed on a bug: ValueError", self.scene.log.messages("error")[-1])

    def test_what_fails_before_the_answer_is_the_answer(self) -> None:
        def fail(orders: object) -> None:
            raise ValueError("a bug")

        self.venue.on_submit = fail
        with self.assertRaisesRegex(ValueError, "a bug"):
            self.scene.execute()

    def test_guardian_is_not_asked_when_no_time_is_left(self) -> None:
        signals, lookup = self.scene.signals, self.scene.signals.signal

        def endless(signal_id: str, pair: Pair | None) -> Any:
            self.scene.clock.advance(8.8)
            return lookup(signal_id, pair)

        signals.signal = endless  # type: ignore[method-assign]  # a Scout that takes all the time
        self.refused(GuardianUnavailable)
        self.assertEqual([], self.approver.proposals)

    def test_a_request_that_waited_too_long_for_its_turn_is_told_to_come_again(self) -> None:
        desk = self.scene.desk
        with self.assertRaises(Busy):
            entry._accepted(desk, a_request(), "key", desk.clock.monotonic() + 4.0, "", self.fail)


class ExposureTests(EntryTestCase):
    def test_a_position_counts_in_full_until_its_opening_has_ended(self) -> None:
        self.scene.execute(twap=TwapRequest(60, 4))
        desk = self.scene.desk
        at_that_instant = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.assertEqual(2000, at_that_instant.margin_pending)
        self.scene.clock.advance(0.001)
        account = desk.venue.account()
        exposure = planning.exposure_of(desk, desk.store.book(), account)
        self.assertEqual((2000, 1), (exposure.gross_usd, exposure.positions))
        self.assertEqual(1500, round(exposure.margin_pending))
        self.scene.ticks(60)
        exposure = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.assertEqual((2000, 0), (round(exposure.gross_usd), exposure.margin_pending))

    def test_what_was_filled_after_the_account_was_read_is_counted_besides(self) -> None:
        desk = self.scene.desk
        account = desk.venue.account()
        self.scene.clock.advance(1)
        self.scene.execute()
        exposure = planning.exposure_of(desk, desk.store.book(), account)
        self.assertEqual(2000, exposure.margin_pending)

    def test_what_others_hold_of_a_coin_counts_also_beside_a_position_in_it(self) -> None:
        """Until now it was forgotten as soon as the desk held some of the same coin."""
        self.venue.hold("ETH", "15")
        emergency.resume(self.scene.desk, [Coin("ETH")])
        desk = self.scene.desk
        before = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.scene.opened(size="20000")
        after = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.assertEqual((60_000, 80_000), (round(before.gross_usd, -2), round(after.gross_usd, -2)))
        self.assertIn("ALLOCATION_EXCEEDED", self.breaches(signal_id="signal_2", pair="SOL/AVAX", size="20000"))

    def test_what_others_held_beside_a_position_counts_no_more_when_it_is_gone(self) -> None:
        self.venue.hold("ETH", "15")
        self.scene.opened()
        self.venue.hold("ETH", "-15")
        desk = self.scene.desk
        exposure = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.assertEqual(2000, round(exposure.gross_usd, -2))

    def test_a_crash_after_the_effect_counts_at_full_size(self) -> None:
        self.venue.script(dies_after())
        with self.assertRaises(Crash):
            self.scene.execute()
        after = self.scene.reopened()
        exposure = planning.exposure_of(after.desk, after.desk.store.book(), after.desk.venue.account())
        self.assertEqual((Usd(Decimal(2000)), 1), (exposure.gross_usd, exposure.positions))

    def test_a_trade_that_only_half_filled_is_a_position_of_that_size(self) -> None:
        self.venue.script(partly(ETH="0.5", BTC="0.5"))
        position = self.scene.opened()
        self.assertEqual(1000, round(position.entry_notional))
        (trade,) = self.scene.trades()
        self.assertIs(TradeStatus.FILLED, trade.status)
        self.scene.clock.advance(1)
        desk = self.scene.desk
        exposure = planning.exposure_of(desk, desk.store.book(), desk.venue.account())
        self.assertEqual((1000, 0), (round(exposure.gross_usd), exposure.margin_pending))

    def test_what_others_held_beside_an_opening_that_has_filled_nothing_may_be_gone(self) -> None:
        """The account holds none of the coin then, and there is nothing to value it by."""
        self.venue.hold("ETH", "15")
        self.venue.script(lost_before())
        self.scene.execute()
        self.venue.hold("ETH", "-15")
        desk = self.scene.desk
        self.assertEqual(2000, planning.exposure_of(desk, desk.store.book(), desk.venue.account()).gross_usd)

    def test_a_doubt_that_resolves_while_it_waits_is_an_open_position(self) -> None:
        self.venue.script(lost_after())
        self.assertIs(PositionStatus.OPEN, self.scene.opened().status)


if __name__ == "__main__":
    unittest.main()
