"""What rests at the venue: that it goes with its position, and that none is forgotten or outlives."""

import threading
import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from unittest import mock

from tests.engine.bent_venue import corrupt, with_store
from tests.engine.hands import join_all
from tests.engine.scripted_venue import Crash, Scene, a_scene, lost_before
from tests.engine.test_losses import WAIT_SECONDS, LossCase
from trading.domain.errors import StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import RejectReason
from trading.domain.positions import Position, PositionStatus
from trading.domain.resting import Resting, TriggerKind, resting_order_id
from trading.domain.units import Coin, Quantity
from trading.engine import closing, emergency, errands, monitor, protection, queries, working
from trading.engine.desk import Desk
from trading.engine.monitor import Watchman
from trading.engine.requests import TwapRequest
from trading.utils.halted import HaltedStore

ETH, BTC = Coin("ETH"), Coin("BTC")
STOP, TAKE = TriggerKind.STOP, TriggerKind.TAKE_PROFIT


class ProtectionCase(LossCase):
    def resting(self, position: Position) -> tuple[Resting, ...]:
        watch = self.scene.desk.store.book().watch(position.id)
        return watch.resting if watch is not None else ()

    def protect(self, position: Position, memory: protection.Memory, desk: Desk | None = None) -> None:
        desk = desk or self.scene.desk
        protection.protect(desk, memory, position.id, partial(working.book_losses, desk))

    def assert_known(self, position: Position) -> None:
        """What rests at the venue and what is written down are the same."""
        written = {one.order.client_order_id for one in self.resting(position)}
        self.assertEqual(written, set(self.venue.rests))

    def events(self, name: str) -> int:
        return sum(entry.facts.get("event") == name for entry in self.scene.log.entries)


class Life(ProtectionCase):
    def test_both_legs_are_guarded_in_one_group_and_nothing_is_left_after_the_close(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.assertEqual([len(one) for one in self.venue.placements], [4])
        self.assertEqual([kind for kind, _, _ in self.venue.guards("ETH")], ["stop", "take_profit"])
        self.assertEqual([kind for kind, _, _ in self.venue.guards("BTC")], ["take_profit", "stop"])
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {Decimal("0.25")})
        self.assert_known(position)
        self.tick(4, seconds=10)
        self.assertEqual((len(self.venue.placements), self.venue.cancels), (1, []))
        self.scene.close(position)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.assertEqual((self.events("ProtectionPlaced"), self.events("ProtectionRemoved")), (1, 1))

    def test_a_close_that_is_not_through_leaves_it_there(self) -> None:
        """Its orders may all be lost, and the desk with them."""
        position = self.scene.opened()
        self.tick()
        self.venue.script(lost_before())
        now = self.scene.clock.monotonic()
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=now)
        self.assertIs(PositionStatus.CLOSING, self.scene.position(position.id).status)
        self.assertEqual((4, []), (len(self.venue.rests), self.venue.cancels))

    def test_the_detail_view_shows_what_rests(self) -> None:
        position = self.scene.opened()
        self.tick()
        shown = queries.position(self.scene.desk, position.id).resting_orders
        self.assertEqual(len(shown), 4)
        stop = next(one for one in shown if (one.coin, one.kind) == (ETH, "stop"))
        self.assertEqual((stop.side, stop.quantity, stop.placed), ("sell", Decimal("0.25"), True))
        self.assertAlmostEqual(stop.limit_price, stop.trigger_price * Decimal("0.9"), delta=Decimal("0.1"))

    def test_it_follows_the_slices_of_a_twap(self) -> None:
        position = self.scene.opened(size="6000")
        for slices in range(1, 6):
            self.tick(6, seconds=6)
            self.tick(4)
            held = self.scene.position(position.id).long.held
            self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {held}, slices)
            self.assert_known(position)
        self.assertLessEqual(len(self.venue.placements), 6)

    def test_what_is_filled_soon_after_a_move_is_guarded_ten_seconds_after_that(self) -> None:
        """The last slice, too, after which the position is open and is looked at each half minute."""
        position = self.scene.opened(twap=TwapRequest(20, 4))
        self.tick(16)
        after_it = self.scene.position(position.id)
        self.assertIs(PositionStatus.OPEN, after_it.status)
        self.assertLess(self.venue.guards("ETH")[0][2], after_it.long.held)
        self.tick(10)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {after_it.long.held})
        self.assertLessEqual(len(self.venue.placements), 3)
        self.assert_known(position)

    def test_they_land_within_ten_seconds_or_not_at_all(self) -> None:
        position, placing = self.scene.opened(), mock.Mock(wraps=self.venue.place_resting)
        with mock.patch.object(self.venue, "place_resting", placing):
            self.protect(position, protection.Memory())
        _, expires_at = placing.call_args.args
        self.assertEqual(expires_at, self.scene.clock.now() + timedelta(seconds=10))

    def test_a_quiet_minute_costs_two_looks_and_one_list(self) -> None:
        self.scene.opened()
        self.tick(30)
        before = self.venue.calls.count("resting")
        with mock.patch.object(protection, "protect", wraps=protection.protect) as looks:
            self.tick(60)
        self.assertEqual((looks.call_count, self.venue.calls.count("resting") - before), (2, 1))

    def test_liquidation_that_comes_nearer_draws_the_triggers_in(self) -> None:
        self.scene.opened()
        self.tick()
        self.venue.liquidations = {"ETH": "3500", "BTC": "115000"}
        self.tick(4, seconds=10)
        entry = self.venue.fills[0][2]
        stop = self.venue.guards("ETH")[0]
        self.assertEqual(stop[0], "stop")
        self.assertAlmostEqual(stop[1], entry - Decimal("0.8") * (entry - 3500), delta=1)
        self.assertEqual(len(self.venue.rests), 4)

    def test_a_refusal_is_said_and_tried_again_a_minute_later(self) -> None:
        self.venue.script_rest("refused")
        position = self.scene.opened()
        self.tick(4, seconds=8)
        self.assertEqual((len(self.venue.placements), self.events("ProtectionRefused")), (1, 1))
        self.assertEqual(self.resting(position), ())
        self.tick(6, seconds=10)
        self.assertEqual(len(self.venue.rests), 4)
        self.assert_known(position)

    def test_a_clock_that_was_set_back_puts_off_neither_another_try_nor_a_move(self) -> None:
        self.venue.script_rest("refused")
        self.scene.opened()
        self.tick(2)
        self.venue.set_clock_back(100)
        self.tick(4, seconds=8)
        self.assertEqual(len(self.venue.rests), 4)
        self.venue.set_clock_back(100)
        self.venue.liquidations = {"ETH": "3500"}
        self.tick(5, seconds=8)
        (stop,) = (trigger for kind, trigger, _ in self.venue.guards("ETH") if kind == "stop")
        self.assertAlmostEqual(stop, Decimal(3600), delta=2)

    def test_one_that_is_refused_keeps_no_other_from_its_place(self) -> None:
        """Seed 12231: the stop of a leg that was held no more was refused, and its sister was bare for a minute."""
        position = self.scene.opened()
        memory = protection.Memory()
        memory.refused[position.id, ETH, STOP] = self.scene.clock.now()
        self.protect(position, memory)
        self.assertEqual([kind for kind, _, _ in self.venue.guards("ETH")], ["take_profit"])
        self.assertEqual(len(self.venue.guards("BTC")), 2)

    def test_moves_have_a_budget_and_first_placements_do_not(self) -> None:
        self.scene.opened()
        self.tick()
        self.watchman.guards.moved.extend([self.scene.clock.now() + timedelta(seconds=30)] * 40)
        self.venue.liquidations = {"ETH": "3500"}
        self.tick(4, seconds=8)
        self.assertEqual(len(self.venue.placements), 1)
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.tick()
        self.assertEqual(len(self.venue.placements), 2)
        self.tick(9, seconds=10)
        self.assertEqual(len(self.venue.placements), 3)

    def test_each_move_is_counted_and_is_forgotten_after_a_minute(self) -> None:
        """Eight actions each: five fit into a minute, of which the sixth comes fifty seconds after the first."""
        position, memory = self.scene.opened(), protection.Memory()
        self.protect(position, memory)
        counts = []
        for liquidation in ("3900", "3800", "3700", "3600", "3500", "3400", "3400"):
            self.venue.liquidations = {"ETH": liquidation}
            self.scene.clock.advance(10)
            self.protect(position, memory)
            counts.append(len(self.venue.placements))
        self.assertEqual(counts, [2, 3, 4, 5, 6, 6, 7])

    def test_moves_that_the_budget_puts_off_cost_no_lists_and_are_made_as_soon_as_it_has_room(self) -> None:
        """Two openings in slices at once read the list, which weighs ten times what a move does, twenty times a minute,
        and three of them 57 times, with which the minute is spent. And what the last slice had brought to a position
        that was open by then waited for the look of the next half minute."""
        positions = [
            self.scene.opened(signal_id, pair=pair, size="4000", twap=TwapRequest(60, 6))
            for signal_id, pair in (("signal_1", "BTC/ETH"), ("signal_2", "SOL/AVAX"))
        ]
        placed, lists = len(self.venue.placements), self.venue.calls.count("resting")
        self.tick(62)
        moves = len(self.venue.placements) - placed
        self.assertLessEqual(self.venue.calls.count("resting") - lists, moves)
        held = [self.scene.position(one.id).long.held for one in positions]
        waited = 0
        while [self.venue.guards(str(one.long.coin))[0][2] for one in positions] != held:
            self.tick()
            waited += 1
        self.assertLessEqual(waited, 12)

    def test_what_is_in_doubt_is_looked_at_each_three_seconds(self) -> None:
        self.venue.script_rest("lost_before")
        self.scene.opened()
        with mock.patch.object(protection, "protect", wraps=protection.protect) as looks:
            self.tick(13)
        self.assertEqual(looks.call_count, 5)

    def test_what_is_replaced_stays_until_what_replaces_it_is_seen_there(self) -> None:
        self.scene.opened()
        self.tick()
        self.venue.liquidations = {"ETH": "3500"}
        self.venue.script_rest("lost_before")
        self.scene.clock.advance(40)
        self.tick(4)
        self.assertEqual((len(self.venue.placements), self.venue.cancels, len(self.venue.rests)), (2, [], 4))
        self.tick(8, seconds=4)
        self.assertEqual(len(self.venue.placements), 3)
        self.assertEqual((len(self.venue.rests), {len(one) for one in self.venue.placements}), (4, {4}))
        self.assertNotIn(self.venue.placements[0][0].client_order_id, self.venue.rests)

    def test_switched_off_it_takes_back_what_rests_and_places_nothing(self) -> None:
        position = self.scene.opened()
        self.tick()
        desk = replace(self.scene.desk, config=switched_off(self.scene))
        self.scene = replace(self.scene, desk=desk)
        self.watchman = Watchman(desk)
        self.tick(2)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.tick(2)
        self.assertEqual(len(self.venue.placements), 1)

    def test_a_venue_that_rests_nothing_is_asked_for_nothing(self) -> None:
        plain = a_scene(self)
        plain.opened()
        self.assertEqual(protection.due(plain.desk, protection.Memory(), plain.desk.store.book()), ())

    def test_many_positions_have_their_turn_some_at_a_time(self) -> None:
        for number, pair in enumerate(("BTC/ETH", "SOL/AVAX", "BTC/AVAX")):
            self.scene.opened(f"signal_{number}", pair=pair)
        book, memory = self.scene.desk.store.book(), protection.Memory()
        with mock.patch.object(protection, "LOOKS_AT_ONCE", 2):
            turns = [protection.due(self.scene.desk, memory, book) for _ in range(3)]
        self.assertEqual([len(one) for one in turns], [2, 1, 0])
        self.assertEqual(len({one for turn in turns for one in turn}), 3)

    def test_a_list_that_hangs_keeps_no_tick_waiting(self) -> None:
        position = self.scene.opened()
        memory, gate, asked = protection.Memory(), threading.Event(), threading.Event()
        self.protect(position, memory)

        def hang(name: str) -> None:
            if name == "resting":
                asked.set()
                gate.wait(WAIT_SECONDS)

        self.venue.on_read = hang
        busy = threading.Thread(target=self.protect, args=(position, memory))
        busy.start()
        self.addCleanup(busy.join)
        self.addCleanup(gate.set)
        self.assertTrue(asked.wait(WAIT_SECONDS))
        self.assertEqual(protection.due(self.scene.desk, memory, self.scene.desk.store.book()), (position.id,))

    def test_while_somebody_is_at_a_position_its_orders_are_left_to_them(self) -> None:
        position = self.scene.opened()
        self.tick()
        with self.scene.store.seat(position.id), mock.patch.object(protection, "SEAT_SECONDS", 0):
            self.scene.close(position)
        self.assertEqual((self.venue.cancels, len(self.resting(position))), ([], 4))
        self.tick(4)
        self.assertEqual(self.resting(position), ())

    def test_a_position_that_somebody_is_at_is_looked_at_again_without_an_alarm(self) -> None:
        position = self.scene.opened()
        with self.scene.store.seat(position.id):
            monitor.tick(self.watchman, wait_seconds=5)
            join_all(self.watchman)
        self.assertEqual((self.venue.placements, self.scene.log.messages("error")), ([], []))
        self.tick(4, seconds=10)
        self.assertEqual(len(self.resting(position)), 4)

    def test_a_failure_here_delays_no_exit(self) -> None:
        position = self.scene.opened()
        self.venue.reads_down = {"resting"}
        self.venue.script_rest("lost_before")
        self.venue.cancel_fails = True
        self.tick(2)
        before = self.scene.clock.now()
        self.venue.move("ETH", "3600")
        self.tick(2)
        self.assertEqual(self.scene.position(position.id).exit_reason, ExitReason.STOP_LOSS)
        self.assertLess(self.scene.clock.now() - before, timedelta(seconds=5))


def switched_off(scene: Scene):  # type: ignore[no-untyped-def]
    return scene.desk.config.model_copy(update={"resting_protection": False})


class Firing(ProtectionCase):
    def guarded_beside_others(self, size: str = "2000") -> Position:
        """A position with what guards it at the venue, and an ETH beside it that is somebody else's."""
        position = self.scene.opened(size=size)
        self.tick()
        self.venue.hold("ETH", "1")
        emergency.resume(self.scene.desk, [ETH])
        return position

    def test_one_that_fires_takes_the_sister_along_at_once(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.fire("ETH", "stop")
        self.tick()
        after_it = self.scene.position(position.id)
        self.assertEqual((after_it.status, after_it.exit_reason), (PositionStatus.CLOSED, ExitReason.LEG_LOST))
        self.assertIn("fired", self.losses(position)[0].why)
        self.tick(5)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.assert_account_explained()

    def test_one_that_fires_while_the_desk_is_dead_is_found_at_the_start(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.fire("BTC", "stop")
        self.scene.clock.advance(7200)
        self.restart()
        self.tick()
        self.assertEqual(self.scene.position(position.id).exit_reason, ExitReason.LEG_LOST)
        self.tick(5)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.assert_account_explained()

    def test_both_that_fire_while_the_desk_is_dead_leave_nothing_to_send(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.fire("ETH", "take_profit")
        self.venue.fire("BTC", "stop")
        self.restart()
        sent = len(self.venue.sent)
        self.tick(5, seconds=4)
        self.assertEqual(self.scene.position(position.id).exit_reason, ExitReason.LEG_LOST)
        self.assertEqual((len(self.venue.sent), self.resting(position)), (sent, ()))
        self.assert_account_explained()

    def test_one_that_fires_in_part_leaves_nothing_behind(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.fire("ETH", "stop", "0.1")
        self.tick(5)
        self.assertEqual(self.scene.position(position.id).status, PositionStatus.CLOSED)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.assert_account_explained()

    def test_one_that_fires_beside_what_others_hold_is_not_replaced_by_a_larger_one(self) -> None:
        """Seed 911502: the next slice made the desk place one for all three, and it took what a person held."""
        position = self.guarded_beside_others(size="6000")
        first = self.scene.position(position.id).long.held
        for _ in range(60):
            self.tick()
            if self.scene.position(position.id).long.opened > first:
                break
        self.assertEqual((len(self.venue.placements), len(self.losses(position))), (1, 0))
        self.venue.fire("ETH", "take_profit")
        self.protect(position, self.watchman.guards)
        self.assertEqual([one[:1] + one[2:] for one in self.venue.guards("ETH")], [("stop", first)])
        self.tick(10)
        self.assertEqual([(one.coin, one.quantity) for one in self.losses(position)], [(ETH, first)])
        self.assert_known(position)

    def test_what_was_taken_away_by_hand_keeps_no_guard_small(self) -> None:
        """Seeds 1000995 and 1010997: what was gone was asked about at each look anew, and nothing grew meanwhile."""
        position = self.scene.opened(size="6000")
        self.tick()
        first = self.scene.position(position.id).long.held
        for name in [name for name, one in self.venue.rests.items() if one.kind is STOP]:
            del self.venue.rests[name]
        for _ in range(60):
            self.tick()
            if self.scene.position(position.id).long.held > first:
                break
        self.tick(10)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {self.scene.position(position.id).long.held})
        self.assertEqual(len(self.venue.guards("ETH")), 2)
        self.assert_known(position)

    def test_one_whose_cancel_was_not_answered_stands_in_for_no_other(self) -> None:
        """Seed 158: of one that had been taken back a list from before said that it rests, and the last guard went."""
        position, memory = self.scene.opened(), protection.Memory()
        self.protect(position, memory)
        desk = self.scene.desk
        watch = desk.store.book().watch_of(position.id)
        small = next(one.order for one in watch.resting if (one.order.coin, one.order.kind) == (ETH, STOP))
        name = resting_order_id(position.id, ETH, STOP, 2)
        large = replace(small, client_order_id=name, quantity=Quantity(small.quantity * 2))
        resting = (*watch.resting, Resting(large, desk.clock.now(), placed=True))
        desk.store.save_watch(replace(watch, resting=resting, rested=2))
        self.venue.rests[name] = large
        protection.read_list(desk, memory, timedelta(0))
        del self.venue.rests[small.client_order_id]
        for seconds in (20, 5, 5, 20):
            self.scene.clock.advance(seconds)
            self.protect(position, memory)
            self.assertIn("stop", [one[0] for one in self.venue.guards("ETH")], seconds)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {small.quantity})
        self.assert_known(position)

    def test_without_a_list_nothing_grows(self) -> None:
        position = self.scene.opened(size="6000")
        self.tick()
        first = self.scene.position(position.id).long.held
        self.venue.reads_down.add("resting")
        self.tick(6, seconds=6)
        self.tick(4)
        self.assertGreater(self.scene.position(position.id).long.held, first)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {first})
        self.venue.reads_down.clear()
        self.tick(4)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {self.scene.position(position.id).long.held})

    def test_what_is_fired_before_the_loss_is_known_is_not_placed_again(self) -> None:
        self.scene.opened()
        self.tick()
        self.venue.reads_down.add("fills")
        self.venue.fire("ETH", "stop")
        self.tick(7, seconds=10)
        self.assertEqual(len(self.venue.placements), 1)

    def test_one_that_fires_beside_others_stays_written_down_until_its_fill_is_read(self) -> None:
        """Struck out before that, nobody would ask for it again, and what took its place would sell theirs."""
        position = self.guarded_beside_others()
        self.tick(5)
        self.venue.reads_down.add("fills")
        fired = self.venue.fire("ETH", "stop")
        self.tick(12, seconds=10)
        self.assertIn(fired.client_order_id, {one.order.client_order_id for one in self.resting(position)})
        self.assertEqual((len(self.venue.placements), self.losses(position)), (1, []))
        self.venue.reads_down.clear()
        self.tick(4, seconds=10)
        self.assertEqual([(one.coin, one.quantity) for one in self.losses(position)], [(ETH, Decimal("0.25"))])
        self.assertEqual((self.venue.held("ETH"), self.resting(position)), (1, ()))

    def test_one_that_has_just_fired_beside_others_is_not_replaced_before_its_fill_can_be_told(self) -> None:
        position = self.guarded_beside_others()
        self.tick(20)
        self.venue.fills_lag = timedelta(seconds=1)
        fired = self.venue.fire("ETH", "stop")
        self.protect(position, protection.Memory())
        self.assertIn(fired.client_order_id, {one.order.client_order_id for one in self.resting(position)})
        self.assertEqual(len(self.venue.placements), 1)


class Unwritable(ProtectionCase):
    """A store that takes nothing in: nobody closes, and what rests is what guards."""

    def test_who_has_lost_a_leg_keeps_what_guards_the_other_until_its_close_is_accepted(self) -> None:
        position = self.scene.opened()
        self.tick()
        self.venue.fire("ETH", "stop")
        with mock.patch.object(working, "admit", side_effect=StoreCorrupt("no room")):
            self.tick(2, seconds=1)
        self.assertEqual(self.scene.position(position.id).lost, ExitReason.LEG_LOST)
        self.assertEqual(len(self.venue.guards("BTC")), 2)
        self.tick(5)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))


class SharedCoin(ProtectionCase):
    """Two positions that are both long ETH."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.scene.opened(size="2000")
        # One after the other: what fires first is the first's.
        self.tick()
        self.second = self.scene.opened("signal_2", size="4000", pair="SOL/ETH")
        self.tick()

    def test_each_guards_its_own_part(self) -> None:
        sizes = sorted(one[2] for one in self.venue.guards("ETH") if one[0] == "stop")
        self.assertEqual(sizes, [Decimal("0.25"), Decimal("0.5")])

    def test_what_would_sell_the_other_s_part_is_taken_back_before_the_close(self) -> None:
        seen: list[set[Decimal]] = []
        self.venue.on_submit = lambda orders: seen.append({one[2] for one in self.venue.guards("ETH")})
        self.scene.close(self.first)
        self.assertEqual(seen, [{Decimal("0.5")}])
        self.assertEqual(self.resting(self.first), ())
        self.assertEqual(len(self.resting(self.second)), 4)

    def test_a_close_waits_a_second_for_what_is_taken_back_and_two_for_what_has_fired(self) -> None:
        began = self.scene.clock.monotonic()
        with mock.patch.object(errands, "wait", wraps=errands.wait) as waits:
            self.scene.close(self.first)
        self.assertEqual([1.0, 2.0], [call.args[2] - began for call in waits.call_args_list][:2])

    def test_what_has_fired_and_cannot_be_told_stays_written_down_while_the_close_is_sent(self) -> None:
        """Should the close be lost with the desk, somebody has to ask for it again."""
        self.venue.reads_down.add("fills")
        fired = self.venue.fire("ETH", "stop")
        seen: list[set[str]] = []
        self.venue.on_submit = lambda orders: seen.append(
            {one.order.client_order_id for one in self.resting(self.first)}
        )
        self.scene.close(self.first)
        self.assertIn(fired.client_order_id, seen[0])

    def test_a_close_that_cannot_be_accepted_leaves_what_guards(self) -> None:
        with (
            mock.patch.object(working, "admit", side_effect=StoreCorrupt("no room")),
            self.assertRaisesRegex(StoreCorrupt, "no room"),
        ):
            self.scene.close(self.first)
        self.assertEqual((self.venue.cancels, len(self.resting(self.first))), ([], 4))

    def test_a_close_that_is_not_on_disk_leaves_what_guards(self) -> None:
        with self.assertRaises(StoreCorrupt):
            closing.close(with_store(self.scene, make_sure=corrupt), self.first.id, ExitReason.MANUAL)
        self.assertEqual((self.venue.cancels, len(self.venue.guards("ETH"))), ([], 4))

    def test_a_halted_desk_takes_nothing_back(self) -> None:
        halted = HaltedStore(self.scene.store.data_dir, "damaged")
        with self.assertRaisesRegex(StoreCorrupt, "halted"):
            protection.clear_way(
                replace(self.scene.desk, store=halted), self.first.id, self.resting(self.first), (), print
            )
        self.assertEqual((self.venue.cancels, len(self.venue.guards("ETH"))), ([], 4))

    def test_whoever_takes_up_a_close_clears_its_way(self) -> None:
        with mock.patch.object(protection, "clear_way", side_effect=Crash), self.assertRaises(Crash):
            self.scene.close(self.first)
        seen: list[set[Decimal]] = []
        self.venue.on_submit = lambda orders: seen.append({one[2] for one in self.venue.guards("ETH")})
        self.restart()
        self.tick(2)
        self.assertEqual((seen, self.scene.position(self.first.id).status), ([{Decimal("0.5")}], PositionStatus.CLOSED))

    def test_a_way_that_cannot_be_cleared_does_not_stop_the_close_and_is_cleared_after_it(self) -> None:
        self.venue.cancel_fails = True
        self.assertEqual(self.scene.close(self.first).status, PositionStatus.CLOSED)
        self.assertEqual(len(self.venue.guards("ETH")), 4)
        self.venue.cancel_fails = False
        self.tick(5)
        self.assertEqual({one[2] for one in self.venue.guards("ETH")}, {Decimal("0.5")})
        self.assertEqual(self.resting(self.first), ())

    def test_nothing_is_placed_for_a_close_that_began_while_the_account_was_read(self) -> None:
        third = self.scene.opened("signal_3", size="1000", pair="AVAX/ETH")
        placed = len(self.venue.placements)

        def leave(name: str) -> None:
            self.venue.on_read = None
            self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
            closing.close(self.scene.beside().desk, third.id, ExitReason.STOP_LOSS, until=self.scene.clock.monotonic())

        self.venue.on_read = lambda name: leave(name) if name == "account" else None
        self.protect(third, protection.Memory())
        self.assertIs(self.scene.position(third.id).status, PositionStatus.CLOSING)
        self.assertEqual((len(self.venue.placements) - placed, self.resting(third)), (0, ()))

    def test_what_fires_is_the_loss_of_whom_it_rested_for(self) -> None:
        order = next(one.order for one in self.resting(self.second) if one.order.coin == ETH)
        self.venue.rests.pop(order.client_order_id)
        self.venue.take("ETH", "0.5", "3000", cloid=order.client_order_id)
        self.tick(2)
        self.assertEqual(self.scene.position(self.second.id).exit_reason, ExitReason.LEG_LOST)
        self.assertEqual(self.scene.position(self.first.id).status, PositionStatus.OPEN)

    def test_what_outlived_its_position_and_fires_is_everybody_else_s_loss(self) -> None:
        self.venue.cancel_fails = True
        order = next(one.order for one in self.resting(self.first) if one.order.coin == ETH)
        self.scene.close(self.first)
        self.venue.take("ETH", "0.25", "3000", cloid=order.client_order_id)
        self.tick(2)
        self.assertEqual(self.scene.position(self.second.id).exit_reason, ExitReason.LEG_LOST)


class Stopping(ProtectionCase):
    def test_the_emergency_stop_leaves_nothing_at_the_venue_without_a_monitor(self) -> None:
        positions = [self.scene.opened(), self.scene.opened("signal_2", pair="SOL/ETH")]
        self.tick()
        self.assertEqual(emergency.stop(self.scene.beside().desk).status, "all_positions_closed")
        self.assertEqual(self.venue.rests, {})
        self.assertEqual([self.resting(one) for one in positions], [(), ()])

    def test_what_could_not_be_taken_back_is_taken_back_by_the_monitor_in_any_state(self) -> None:
        position = self.scene.opened()
        self.venue.hold("ETH", "1")
        self.tick()
        self.venue.cancel_fails = True
        self.venue.hold("BTC", "-1")
        emergency.stop(self.scene.desk)
        self.assertEqual(len(self.venue.rests), 4)
        self.restart()
        self.tick(2)
        self.venue.cancel_fails = False
        self.tick(5)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))


class Crashes(ProtectionCase):
    def crash_with(self, word: str) -> Position:
        """The monitor dies with the first placement, in the way of *word*."""
        position = self.scene.opened()
        self.venue.script_rest(word)
        memory = protection.Memory()
        with self.assertRaises(Crash):
            self.protect(position, memory)
        self.assertEqual([one.placed for one in self.resting(position)], [False] * 4)
        self.restart()
        return position

    def test_between_intent_and_send_nothing_rests_twice(self) -> None:
        position = self.crash_with("dies_before")
        self.tick(3, seconds=3)
        self.assertEqual(self.venue.rests, {})
        self.tick(4, seconds=4)
        self.assertEqual(len(self.venue.rests), 4)
        self.assert_known(position)
        watch = self.scene.desk.store.book().watch(position.id)
        assert watch is not None
        self.assertEqual(watch.rested, 2)

    def test_between_send_and_answer_it_is_found_and_not_placed_again(self) -> None:
        position = self.crash_with("dies_after")
        self.tick(5, seconds=4)
        self.assertEqual((len(self.venue.placements), len(self.venue.rests)), (1, 4))
        self.assertEqual([one.placed for one in self.resting(position)], [True] * 4)
        self.assert_known(position)

    def test_a_position_closed_while_its_orders_were_in_doubt_leaves_none_behind(self) -> None:
        position = self.crash_with("dies_after")
        self.venue.hold("ETH", "1")
        self.venue.hold("BTC", "-1")
        self.scene.close(position)
        self.tick(5, seconds=4)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))

    def test_what_is_still_on_its_way_when_its_position_closes_is_taken_back_once_it_has_come(self) -> None:
        """The venue knows none of it yet: struck out then, it would come and sell what others hold."""
        self.venue.script_rest("lost_before")
        position = self.scene.opened()
        self.tick()
        self.venue.hold("ETH", "1")
        self.venue.hold("BTC", "-1")
        self.scene.close(position)
        self.assertEqual([one.placed for one in self.resting(position)], [False] * 4)
        self.venue.rests = {one.client_order_id: one for one in self.venue.placements[-1]}
        self.tick(2, seconds=5)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))

    def test_lost_answers_end_in_the_same_place(self) -> None:
        for number, word in enumerate(("lost_before", "lost_after")):
            with self.subTest(word=word):
                self.venue.script_rest(word)
                position = self.scene.opened(f"signal_{number}", pair="BTC/ETH" if number else "SOL/AVAX")
                self.tick(6, seconds=5)
                self.assertEqual(len(self.resting(position)), 4)
                self.assertTrue(all(one.placed for one in self.resting(position)))
        self.assertEqual(len(self.venue.rests), 8)

    def test_a_list_older_than_the_arrival_another_monitor_saw_does_not_strike_it_out(self) -> None:
        position, other = self.scene.opened(), self.scene.beside().desk
        mine, theirs = protection.Memory(), protection.Memory()
        self.venue.script_rest("lost_before")
        self.protect(position, mine)
        self.scene.clock.advance(4)
        self.protect(position, theirs, other)
        self.venue.rests.update({one.client_order_id: one for one in self.venue.placements[0]})
        self.scene.clock.advance(2)
        self.protect(position, mine)
        self.assertEqual([one.placed for one in self.resting(position)], [True] * 4)
        self.scene.clock.advance(1)
        self.protect(position, theirs, other)
        self.assertEqual(len(self.venue.placements), 1)
        self.assert_known(position)

    def test_a_look_is_not_put_off_by_a_clock_that_was_set_back(self) -> None:
        self.scene.opened()
        self.venue.reads_down.add("account")
        self.tick()
        self.venue.reads_down.clear()
        self.scene.clock.instant -= timedelta(seconds=300)
        self.tick(2)
        self.assertEqual(len(self.venue.rests), 4)

    def test_a_clock_that_was_set_forward_strikes_nothing_out_that_is_still_on_its_way(self) -> None:
        """Seed 902707: it was forgotten, and rested for nobody when it had come."""
        for seconds, restarts in ((4, False), (4, True), (9, False)):
            with self.subTest(seconds=seconds, restarts=restarts):
                self.setUp()
                position = self.scene.opened()
                self.venue.script_rest("lost_before")
                self.tick()
                self.scene.clock.instant += timedelta(seconds=60)
                if restarts:
                    self.restart()
                self.tick(seconds=seconds)
                self.venue.rests.update({one.client_order_id: one for one in self.venue.placements[0]})
                self.tick(8, seconds=4)
                self.assertEqual((len(self.venue.placements), len(self.venue.rests)), (1, 4))
                self.assert_known(position)

    def test_what_never_came_is_placed_anew_also_after_the_clock_was_set_forward(self) -> None:
        position = self.scene.opened()
        self.venue.script_rest("lost_before")
        self.tick()
        self.scene.clock.instant += timedelta(seconds=60)
        self.tick(8, seconds=4)
        self.assertEqual((len(self.venue.placements), len(self.venue.rests)), (2, 4))
        self.tick(seconds=31)
        self.assertEqual(self.watchman.guards.doubts, {})
        self.assert_known(position)

    def test_a_list_from_before_the_clock_was_set_back_strikes_nothing_out(self) -> None:
        first, memory = self.scene.opened(), protection.Memory()
        self.protect(first, memory)
        self.scene.clock.advance(1)
        self.protect(first, memory)
        self.scene.clock.instant -= timedelta(seconds=30)
        second = self.scene.opened("signal_2", pair="SOL/AVAX")
        for _ in range(2):
            self.protect(second, memory)
            self.assertEqual(len(self.resting(second)), 4)
        self.assertEqual(len(self.venue.placements), 2)

    def test_two_monitors_do_not_place_the_same_twice(self) -> None:
        position = self.scene.opened()
        other = Watchman(self.scene.beside().desk)
        with self.scene.store.seat(position.id):
            monitor.tick(other, wait_seconds=2)
        self.assertEqual(self.venue.placements, [])
        self.tick()
        monitor.tick(other, wait_seconds=2)
        self.assertEqual(len(self.venue.placements), 1)


if __name__ == "__main__":
    unittest.main()
