"""Trades in slices on a whole desk: their progress, closes in slices, and what makes those go at once."""

import unittest
from decimal import Decimal
from typing import Any

from tests.builders import after
from tests.engine.scripted_venue import Scene, a_scene, accepted, lost_after, partly
from trading.domain.desk_state import TradingState
from trading.domain.errors import InvariantBroken, VenueRejected, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import RejectReason, Side
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import CloseHurried, SliceSkipped, Trade, TradeStatus
from trading.engine import closing, emergency, exits, previews, queries, working
from trading.engine.records import ExecutionView
from trading.engine.requests import CloseRequest, ExecuteRequest, TwapRequest

MINUTE_IN_FOUR = TwapRequest(60, 4)
SLOWLY = CloseRequest(MINUTE_IN_FOUR)


class TwapTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene: Scene = a_scene(self, **self.configured())
        self.venue, self.memory = self.scene.venue, exits.Memory()

    def configured(self) -> dict[str, Any]:
        return {}

    def stored(self, position: Position) -> Position:
        return self.scene.position(position.id)

    def closing_of(self, position: Position) -> Trade:
        trade_id = self.stored(position).closing_trade_id
        assert trade_id is not None
        return self.scene.trade(trade_id)

    def swept(self, seconds: float = 1.0) -> list[ExitReason]:
        """Let time pass and sweep; each reason is followed by a close, as the monitor does it."""
        self.scene.clock.advance(seconds)
        told: list[Any] = []
        exits.sweep(self.scene.desk, self.memory, lambda position_id, reason: told.append((position_id, reason)))
        for position_id, reason in told:
            closing.close(self.scene.desk, position_id, reason)
        return [reason for _, reason in told]


class ProgressTests(TwapTestCase):
    def test_a_position_shows_how_far_its_schedule_has_come_and_at_what_price(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.venue.move("ETH", "4004")
        self.scene.ticks(15)
        shown = queries.position(self.scene.desk, position.id).execution
        self.assertEqual(("twap", 4, 4, 2, 0), (shown.type, *counts(shown)))
        self.assertEqual(after(30), shown.next_slice_at)
        assert shown.benchmark_spread is not None and shown.benchmark_bps is not None
        # Half the time at 25, half at 100,000 / 4,004.
        self.assertAlmostEqual(100_000 / 4_002 - 1, float(shown.benchmark_spread), places=9)
        # Both legs paid half of a spread of two basis points.
        self.assertAlmostEqual(1.0, float(shown.benchmark_bps), places=2)
        assert shown.slippage_bps is not None
        self.assertAlmostEqual(3.5, float(shown.slippage_bps), places=1)
        self.assertIsNone(queries.position(self.scene.desk, position.id).exit_execution)

    def test_the_benchmark_is_the_same_after_a_restart(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.scene.ticks(15)
        before = queries.position(self.scene.desk, position.id).execution
        self.assertEqual(before, queries.position(self.scene.reopened().desk, position.id).execution)

    def test_each_slice_leaves_a_line(self) -> None:
        self.scene.opened(twap=MINUTE_IN_FOUR)
        self.scene.ticks(15)
        lines = [one for one in self.scene.log.entries if one.facts.get("event") == "SliceSent"]
        self.assertEqual(2, len(lines))
        self.assertEqual("OPEN trade of BTC/ETH: slice 2 of 4 has gone, 50.0% is filled", lines[1].message)
        self.assertEqual((2, after(30)), (lines[1].facts["slices_done"], lines[1].facts["next_slice_at"]))

    def test_a_skipped_slice_is_said_and_shown(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.venue.move("ETH", "4020")
        self.scene.ticks(30)
        self.venue.move("ETH", "4000")
        self.scene.ticks(30)
        self.assertIs(TradeStatus.FILLED, self.scene.trade(position.trade_id).status)
        shown = queries.position(self.scene.desk, position.id).execution
        self.assertEqual((4, 4, 3, 1), counts(shown))
        line = next(one for one in self.scene.log.entries if one.facts.get("event") == "SliceSkipped")
        self.assertIn("passed over a slice", line.message)
        self.assertIn("run away", str(line.facts["why"]))
        timeline = queries.trade(self.scene.desk, position.trade_id).timeline
        skipped = next(entry for entry in timeline if entry.event == "SliceSkipped")
        self.assertIn("up to slice 2", skipped.detail)

    def test_fewer_slices_than_asked_for_are_told(self) -> None:
        """Legs of 50 USD in slices of at least 10.50."""
        answer = self.scene.execute(size="100", twap=TwapRequest(600, 20))
        self.assertEqual((20, 4), (answer.position.execution.slices_requested, answer.position.execution.slices_total))
        shown = queries.trade(self.scene.desk, answer.position.trade_id)
        self.assertEqual((20, 4), (shown.slices_requested, shown.slices_total))
        self.scene.offer("signal_2", "SOL/AVAX")
        asked = ExecuteRequest("signal_2", answer.position.requested_size, twap=TwapRequest(600, 20))
        preview = previews.preview(self.scene.desk, asked)
        self.assertEqual((20, 4, 4), (preview.slices_requested, preview.slices_total, len(preview.slices)))

    def test_at_most_one_slice_a_second(self) -> None:
        answer = self.scene.execute(twap=TwapRequest(3, 10))
        self.assertEqual((10, 3), (answer.position.execution.slices_requested, answer.position.execution.slices_total))


class RefusedTests(TwapTestCase):
    """A refusal that will not heal: each slice after it would buy one leg alone, only to sell it again."""

    def test_no_slice_follows_a_leg_that_is_refused_for_good(self) -> None:
        for reason in RejectReason:
            with self.subTest(reason=reason):
                self.setUp()
                position = self.scene.opened(twap=MINUTE_IN_FOUR)
                self.scene.venue.refusing = {"BTC": reason}
                self.scene.ticks(16)
                sent = len(self.scene.venue.sent)
                self.scene.ticks(20)
                trade = self.scene.trade(position.trade_id)
                self.assertEqual(reason.heals, len(self.scene.venue.sent) > sent)
                self.assertEqual(reason.heals, trade.live)
                self.assertEqual([leg.quantity / 4 for leg in trade.terms.legs], self.held())

    def test_nor_is_one_leg_bought_and_sold_for_ever_whatever_the_refusal_is_called(self) -> None:
        """In words that nobody knew, of one coin alone: twenty slices bought the other forty times and sold it
        again."""
        for reason in (RejectReason.OTHER, RejectReason.PRICE, RejectReason.SIZE, RejectReason.NOTIONAL_MIN):
            with self.subTest(reason):
                self.setUp()
                position = self.scene.opened(twap=TwapRequest(100, 10))
                self.scene.venue.refusing = {"BTC": reason}
                self.scene.ticks(70)
                trade = self.scene.trade(position.trade_id)
                why = f"no more of it is sent, the venue refuses a leg: BTC: {reason} by script"
                self.assertEqual((TradeStatus.CANCELED, why), (trade.status, trade.why))
                self.assertEqual([1, 2, 3, 4], sorted({one.slice_number for one in trade.orders}))
                self.assertEqual([leg.quantity / 10 for leg in trade.terms.legs], self.held())

    def test_but_it_goes_on_where_it_may_pass_or_nothing_is_bought_in_vain(self) -> None:
        odd = RejectReason.OTHER
        for name, refusals in {
            "no match": [{"BTC": RejectReason.NO_MATCH}] * 4,
            "both legs": [{"BTC": odd, "ETH": odd}] * 4,
            "not in a row": [{}, {"BTC": odd}, {"BTC": odd}, {}, {"BTC": odd}],
            "twice at the beginning": [{"BTC": odd}] * 2,
        }.items():
            with self.subTest(name):
                self.setUp()
                self.scene.venue.refusing = refusals[0]
                position = self.scene.opened(twap=TwapRequest(100, 10))
                for refusing in (*refusals[1:], {}):
                    self.scene.ticks(9)
                    self.scene.venue.refusing = refusing
                    self.scene.tick()
                self.scene.ticks(90)
                trade = self.scene.trade(position.trade_id)
                self.assertIs(TradeStatus.FILLED, trade.status)
                self.assertEqual([leg.quantity for leg in trade.terms.legs], self.held())

    def test_nor_does_it_end_what_has_bought_a_part_of_both(self) -> None:
        position = self.scene.opened(twap=TwapRequest(100, 10))
        self.scene.venue.shares = {"BTC": Decimal("0.5")}
        self.scene.venue.on_submit = lambda orders: self.scene.venue.refusing.update(
            {} if len(orders) > 1 else {"BTC": RejectReason.OTHER}
        )
        for _ in range(4):
            self.scene.venue.refusing.clear()
            self.scene.ticks(10)
        self.assertTrue(self.scene.trade(position.trade_id).live)

    def held(self) -> list[Decimal]:
        return [abs(self.scene.venue.held(coin)) for coin in ("ETH", "BTC")]

    def test_it_says_why_and_what_is_filled_stands(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.scene.venue.refusing = {"BTC": RejectReason.OPEN_INTEREST}
        self.scene.ticks(16)
        trade, shown = self.scene.trade(position.trade_id), self.scene.position(position.id)
        self.assertEqual((TradeStatus.CANCELED, PositionStatus.OPEN), (trade.status, shown.status))
        self.assertEqual("no more of it is sent, the venue refuses a leg: BTC: OPEN_INTEREST by script", trade.why)

    def test_where_nothing_was_filled_the_venue_has_rejected_it(self) -> None:
        self.scene.venue.refusing = {"ETH": RejectReason.MARGIN, "BTC": RejectReason.MARGIN}
        with self.assertRaises(VenueRejected):
            self.scene.execute(twap=MINUTE_IN_FOUR)


class JitterTests(TwapTestCase):
    def configured(self) -> dict[str, Any]:
        return {"twap_jitter": "0.2"}

    def test_slices_are_moved_by_a_hash_and_still_add_up(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        trade = self.scene.trade(position.trade_id)
        offsets = [(one.due_at - trade.terms.accepted_at).total_seconds() for one in trade.terms.slices]
        self.assertEqual(0, offsets[0])
        self.assertTrue(all(abs(one - 15 * number) <= 3 for number, one in enumerate(offsets)))
        self.assertNotIn(offsets[1:], [[15.0, 30.0, 45.0]])
        self.scene.ticks(60)
        self.assertIs(TradeStatus.FILLED, self.scene.trade(position.trade_id).status)


class SlowCloseTests(TwapTestCase):
    def closing_slowly(self) -> Position:
        position = self.scene.opened()
        view = closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        self.assertEqual(("closing", 4, 4, 1, 0), (view.status, *counts(view.exit_execution)))
        return position

    def test_two_slices_are_a_schedule(self) -> None:
        position = self.scene.opened()
        asked = CloseRequest(TwapRequest(30, 2))
        view = closing.close_by_hand(self.scene.desk, position.id, asked=asked)
        self.assertEqual(("closing", 2, 2, 1, 0), (view.status, *counts(view.exit_execution)))
        self.assertEqual(Decimal("0.125"), self.venue.held("ETH"))

    def test_it_goes_by_its_schedule_and_ends_flat(self) -> None:
        position = self.closing_slowly()
        self.assertEqual(Decimal("0.1875"), self.venue.held("ETH"))
        for done in (2, 3):
            self.scene.ticks(15)
            shown = queries.position(self.scene.desk, position.id).exit_execution
            assert shown is not None
            self.assertEqual(done, shown.slices_done)
            self.assertIsNotNone(shown.benchmark_bps)
        self.scene.ticks(15)
        stored = self.stored(position)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.MANUAL), (stored.status, stored.exit_reason))
        self.assertTrue(self.venue.flat)
        self.assertEqual(5, len(self.venue.sent))
        self.assertTrue(all(order.reduce_only for group in self.venue.sent[1:] for order in group))

    def test_its_slices_go_no_further_from_the_touch_than_those_of_an_opening(self) -> None:
        """What waits for its time need not pay the band of a close that cannot wait."""
        self.closing_slowly()
        for order in self.venue.sent[-1]:
            quote = self.venue.quotes([order.coin])[order.coin]
            touch = quote.bid if order.side is Side.SELL else quote.ask
            self.assertLessEqual(abs(order.limit_price / touch - 1), self.scene.desk.config.max_slippage)

    def test_it_says_how_many_were_asked_for_and_has_one_a_second_at_most(self) -> None:
        for asked, slices in ((TwapRequest(300, 120), 90), (TwapRequest(3, 10), 3)):
            with self.subTest(asked=asked):
                self.setUp()
                position = self.scene.opened()
                view = closing.close_by_hand(self.scene.desk, position.id, asked=CloseRequest(asked))
                assert view.exit_execution is not None
                told = view.exit_execution.type, view.exit_execution.slices_requested, view.exit_execution.slices_total
                self.assertEqual(("twap", asked.slices, slices), told)

    def test_one_at_once_is_none(self) -> None:
        position = self.scene.opened()
        view = closing.close_by_hand(self.scene.desk, position.id)
        assert view.exit_execution is not None
        self.assertEqual(("market", 1), (view.exit_execution.type, view.exit_execution.slices_total))
        trade = queries.trade(self.scene.desk, self.closing_of(position).id)
        self.assertEqual(position.requested_usd, trade.requested_size)

    def test_asking_again_for_slices_changes_nothing(self) -> None:
        position = self.closing_slowly()
        sent = len(self.venue.sent)
        closing.close_by_hand(self.scene.desk, position.id, asked=CloseRequest(TwapRequest(10, 2)))
        self.assertEqual((sent, 4), (len(self.venue.sent), len(self.closing_of(position).terms.slices)))

    def test_a_close_at_once_makes_the_rest_due_now(self) -> None:
        position = self.closing_slowly()
        view = closing.close_by_hand(self.scene.desk, position.id)
        self.assertEqual(("closed", "MANUAL"), (view.status, view.exit_reason))
        self.assertTrue(self.venue.flat)
        self.assertEqual(3, len(self.venue.sent))

    def test_a_breach_makes_the_rest_due_now_and_is_the_reason(self) -> None:
        position = self.closing_slowly()
        self.assertTrue(self.stored(position).guarded)
        self.assertEqual([], self.swept())
        self.venue.move("ETH", "3890")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())
        stored = self.stored(position)
        self.assertEqual((PositionStatus.CLOSED, ExitReason.STOP_LOSS), (stored.status, stored.exit_reason))
        self.assertTrue(self.venue.flat)
        self.assertEqual([], self.swept())
        self.assertEqual(1, sum(isinstance(one, CloseHurried) for one in self.closing_of(position).events))
        self.assertIn(position.pair, self.scene.desk.store.book().losing_exits())

    def test_once_hurried_it_is_not_told_again_while_it_is_worked(self) -> None:
        position = self.closing_slowly()
        self.venue.script(*[partly(ETH="0", BTC="0")] * 20)
        self.venue.move("ETH", "3890")
        self.assertEqual([ExitReason.STOP_LOSS], self.swept())
        self.assertFalse(self.stored(position).guarded)
        self.assertEqual([], self.swept())

    def test_time_that_is_up_hurries_too(self) -> None:
        position = self.scene.opened(max_holding_seconds=30)
        closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        self.assertEqual([], self.swept(29))
        self.assertEqual([ExitReason.TIME_LIMIT], self.swept())
        self.assertIs(PositionStatus.CLOSED, self.stored(position).status)

    def test_an_emergency_stop_hurries(self) -> None:
        position = self.closing_slowly()
        report = emergency.stop(self.scene.desk)
        self.assertEqual("all_positions_closed", report.status)
        self.assertIs(ExitReason.EMERGENCY_STOP, self.stored(position).exit_reason)
        self.assertTrue(self.venue.flat)

    def test_a_worker_in_a_stopped_desk_needs_no_hurry_to_take_the_rest(self) -> None:
        self.closing_slowly()
        self.scene.enter_state(TradingState.LIQUIDATING)
        self.scene.tick()
        self.assertTrue(self.venue.flat)

    def test_a_restart_in_the_middle_goes_on_with_the_schedule(self) -> None:
        position = self.closing_slowly()
        self.venue.script(lost_after())
        self.scene.ticks(15)
        self.scene = self.scene.reopened()
        self.scene.ticks(45)
        self.assertIs(PositionStatus.CLOSED, self.stored(position).status)
        self.assertTrue(self.venue.flat)
        closed = sum((amount for order, amount, _ in self.venue.fills if order.coin == "ETH" and order.reduce_only))
        self.assertEqual(Decimal("0.25"), closed)

    def test_a_hurry_waits_for_an_order_in_doubt_and_never_sells_twice(self) -> None:
        position = self.closing_slowly()
        self.venue.script(accepted(3))
        self.scene.ticks(15)
        self.assertTrue(self.closing_of(position).in_doubt)
        closing.close(self.scene.desk, position.id, ExitReason.STOP_LOSS)
        self.scene.ticks(10)
        self.assertTrue(self.venue.flat)
        self.assertIs(PositionStatus.CLOSED, self.stored(position).status)

    def test_too_little_for_slices_goes_at_once(self) -> None:
        position = self.scene.opened(size="40")
        view = closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        self.assertEqual("closed", view.status)
        assert view.exit_execution is not None
        self.assertEqual((4, 1), (view.exit_execution.slices_requested, view.exit_execution.slices_total))

    def test_without_a_price_no_slices_are_laid_out_and_nothing_changes(self) -> None:
        position = self.scene.opened()
        for broken in ("missing", "down", "unlisted"):
            with self.subTest(broken):
                self.venue.quotes_missing = {"ETH"} if broken == "missing" else set()
                self.venue.reads_down = {"quotes"} if broken == "down" else set()
                listed = dict(self.venue.listed)
                if broken == "unlisted":
                    self.venue.listed = {coin: one for coin, one in listed.items() if coin != "BTC"}
                with self.assertRaises(VenueUnavailable):
                    closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
                self.venue.listed = listed
                self.assertIs(PositionStatus.OPEN, self.stored(position).status)
        self.venue.reads_down, self.venue.quotes_missing = set(), set()
        self.assertEqual("closed", closing.close_by_hand(self.scene.desk, position.id).status)

    def test_an_opening_in_slices_is_canceled_and_what_it_filled_is_closed_in_slices(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.scene.ticks(15)
        closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        self.assertIs(TradeStatus.CANCELED, self.scene.trade(position.trade_id).status)
        self.scene.ticks(60)
        self.assertIs(PositionStatus.CLOSED, self.stored(position).status)
        self.assertTrue(self.venue.flat)

    def test_a_leg_with_nothing_held_leaves_nothing_to_slice(self) -> None:
        self.venue.script(partly(), *[partly(BTC="0", ETH="0")] * 2)
        position = self.scene.opened()
        self.venue.shares = {"BTC": Decimal(0)}
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        self.venue.shares = {}
        self.scene.ticks(20)
        self.assertTrue(self.venue.flat)


class HurryTests(TwapTestCase):
    def test_what_has_no_pace_or_has_ended_is_not_hurried(self) -> None:
        position = self.scene.opened()
        self.venue.script(*[partly(ETH="0", BTC="0")] * 9)
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        plain = self.closing_of(position)
        self.assertEqual(plain, working.want_hurry(self.scene.desk, plain, ExitReason.STOP_LOSS))
        self.venue.forgive()
        self.scene.ticks(10)
        ended = self.closing_of(position)
        self.assertEqual(ended, working.want_hurry(self.scene.desk, ended, ExitReason.STOP_LOSS))

    def test_it_is_hurried_once_and_not_after_its_end(self) -> None:
        """Each tick in which a barrier stays passed would write another line."""
        position = self.scene.opened()
        closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        once = working.want_hurry(self.scene.desk, self.closing_of(position), ExitReason.STOP_LOSS)
        self.assertEqual(once, working.want_hurry(self.scene.desk, once, ExitReason.TIME_LIMIT))
        self.assertEqual(once, self.closing_of(position))
        self.scene.ticks(3)
        other = self.scene.opened("signal_2", pair="SOL/AVAX")
        closing.close_by_hand(self.scene.desk, other.id, asked=SLOWLY)
        self.scene.ticks(80)
        ended = self.closing_of(other)
        self.assertEqual((False, None), (ended.live, ended.hurried))
        self.assertEqual(ended, working.want_hurry(self.scene.desk, ended, ExitReason.STOP_LOSS))

    def test_a_plain_close_has_nothing_to_hurry(self) -> None:
        position = self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        for _ in range(3):
            closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        self.assertFalse(any(isinstance(one, CloseHurried) for one in self.closing_of(position).events))

    def test_a_worker_that_wrote_first_is_followed(self) -> None:
        position = self.scene.opened()
        closing.close_by_hand(self.scene.desk, position.id, asked=SLOWLY)
        stale = self.closing_of(position)
        self.scene.ticks(15)
        hurried = working.want_hurry(self.scene.desk, stale, ExitReason.STOP_LOSS)
        self.assertIs(ExitReason.STOP_LOSS, hurried.exit_reason)
        with self.assertRaises(InvariantBroken):
            self.scene.store.save(Trade(stale.terms, stale.status, (*stale.events, *stale.events[1:2])))

    def test_a_skip_is_an_event_of_the_ledger(self) -> None:
        position = self.scene.opened(twap=MINUTE_IN_FOUR)
        self.venue.move("ETH", "4020")
        self.scene.ticks(30)
        events = self.scene.reopened().trade(position.trade_id).events
        self.assertEqual(1, sum(isinstance(event, SliceSkipped) for event in events))


def counts(shown: ExecutionView | None) -> tuple[int, int, int, int]:
    assert shown is not None
    return shown.slices_requested, shown.slices_total, shown.slices_done, shown.slices_skipped
