"""Triggers at the venue that no watch knows: ours are written down again and taken back in time, a stranger's stay."""

import unittest
from dataclasses import replace
from datetime import timedelta
from unittest import mock

from tests.engine.scripted_venue import a_scene
from tests.engine.test_protection import BTC, ETH, STOP, ProtectionCase, switched_off
from trading.domain.positions import Position, PositionStatus, Watch
from trading.domain.resting import ListedOrder, RestingOrder, resting_order_id
from trading.domain.units import ClientOrderId
from trading.engine import forgotten, monitor
from trading.engine.monitor import Watchman

STRANGE = ClientOrderId("0x" + "ab" * 16)


class ForgottenCase(ProtectionCase):
    def guarded(self, signal_id: str = "signal_1") -> Position:
        position = self.scene.opened(signal_id)
        self.tick()
        self.assertEqual(len(self.resting(position)), 4)
        return position

    def watch(self, position: Position) -> Watch:
        watch = self.scene.desk.store.book().watch(position.id)
        assert watch is not None
        return watch

    def forget(self, position: Position, rested: int = 0) -> None:
        """The watch is as it was before anything rested, or since."""
        self.scene.desk.store.save_watch(replace(self.watch(position), resting=(), rested=rested))

    def rename(self, position: Position, number: int) -> None:
        """What rests at the venue is the *number*-th group of *position*."""
        orders = tuple(self.venue.rests.values())
        names = {one: resting_order_id(position.id, one.coin, one.kind, number) for one in orders}
        self.venue.rests = {name: replace(one, client_order_id=name) for one, name in names.items()}

    def cancelled(self) -> set[ClientOrderId]:
        return {one.client_order_id for some in self.venue.cancels for one in some}

    def ended(self) -> Position:
        """A position that has ended on coins that others hold, its triggers still at the venue and forgotten."""
        position = self.guarded()
        for coin, quantity in (("ETH", "1"), ("BTC", "-1")):
            self.venue.hold(coin, quantity)
        with mock.patch.object(self.venue, "cancel_fails", True):
            self.assertEqual(self.scene.close(position).status, PositionStatus.CLOSED)
        self.assertEqual(len(self.venue.rests), 4)
        self.forget(position, 1)
        return position


class Taking(ForgottenCase):
    def test_what_outlived_its_position_is_taken_back_once_a_second_list_shows_it(self) -> None:
        position = self.ended()
        self.restart()
        self.tick(4)
        self.assertEqual((len(self.venue.rests), self.events("ProtectionFound")), (4, 0))
        self.tick(8)
        self.assertEqual((self.venue.rests, self.events("ProtectionFound")), ({}, 4))
        self.tick(8, seconds=5)
        self.assertEqual((self.resting(position), self.watch(position).rested), ((), 1))

    def test_of_a_position_in_the_archive_too(self) -> None:
        position = self.ended()
        self.scene.desk.store.save_watch(replace(self.watch(position), outcome_told=True))
        self.scene.clock.advance(timedelta(days=3).total_seconds())
        self.assertEqual(self.scene.store.roll_over(self.scene.clock.now()), 1)
        self.restart()
        self.assertFalse(self.scene.desk.store.book().holds(position.id))
        self.tick(12)
        self.assertEqual(self.venue.rests, {})

    def test_what_a_standing_position_wants_stays_and_the_next_group_has_a_number_of_its_own(self) -> None:
        position = self.guarded()
        before = len(self.venue.placements)
        self.rename(position, 5)
        self.forget(position)
        self.venue.script_rest(*["lost_before"] * 9)
        self.restart()
        self.tick(15)
        self.assertEqual(len(self.venue.rests), 4)
        self.tick(6, seconds=5)
        self.assertTrue(self.cancelled().isdisjoint(self.venue.rests))
        self.assert_known(position)
        self.assertEqual(self.watch(position).rested, 5)
        self.assertEqual(len(self.venue.placements), before + 1)
        self.assertTrue(all(one.placed for one in self.resting(position)))
        self.assertEqual(self.scene.close(position).status, PositionStatus.CLOSED)
        self.assertEqual(self.venue.rests, {})

    def test_where_nothing_is_to_rest_it_is_taken_back_from_a_standing_position(self) -> None:
        position = self.guarded()
        self.forget(position, 1)
        desk = replace(self.scene.desk, config=switched_off(self.scene))
        self.scene, self.watchman = replace(self.scene, desk=desk), Watchman(desk)
        self.tick(12)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))
        self.assertEqual(self.scene.position(position.id).status, PositionStatus.OPEN)

    def test_what_has_fired_and_stands_in_the_book_is_taken_back(self) -> None:
        position = self.ended()
        order = next(one for one in self.venue.rests.values() if (one.coin, one.kind) == (ETH, STOP))
        self.venue.rests = {order.client_order_id: order}
        self.restart()
        fired = ListedOrder(order.client_order_id, ETH, order.side, order.quantity, None, order.limit_price)
        with mock.patch.object(self.venue, "resting", lambda: (fired,) if self.venue.rests else ()):
            self.tick(12)
        self.assertEqual((self.venue.rests, self.resting(position)), ({}, ()))


class Leaving(ForgottenCase):
    def test_a_stranger_s_order_is_never_touched_and_looked_up_once(self) -> None:
        position = self.guarded()
        order, other = (
            next(one.order for one in self.resting(position) if one.order.coin == coin) for coin in (ETH, BTC)
        )
        strangers: tuple[RestingOrder, ...] = (
            replace(order, client_order_id=STRANGE),
            # Ours by name, but of the other coin: no trigger of ours was ever that.
            replace(other, client_order_id=resting_order_id(position.id, ETH, STOP, 7)),
            # Further on than any number may have got.
            replace(order, client_order_id=resting_order_id(position.id, order.coin, STOP, 999)),
        )
        self.venue.rests |= {one.client_order_id: one for one in strangers}
        with mock.patch.object(forgotten, "_named", wraps=forgotten._named) as tried:
            self.tick(5, seconds=30)
        self.assertEqual(tried.call_count, 1)
        self.assertEqual(self.events("ProtectionFound"), 0)
        self.scene.close(position)
        self.tick(4, seconds=30)
        self.assertTrue(self.cancelled().isdisjoint(one.client_order_id for one in strangers))

    def test_what_was_taken_back_a_moment_ago_and_is_listed_still_is_not_ours_to_write_down(self) -> None:
        position = self.guarded()
        listed = self.venue.resting()
        self.scene.close(position)
        self.assertEqual(self.venue.rests, {})
        with mock.patch.object(self.venue, "resting", lambda: listed):
            self.tick(2)
        self.tick(20)
        self.assertEqual((self.resting(position), self.events("ProtectionFound")), ((), 0))

    def test_a_list_that_cannot_be_read_says_nothing(self) -> None:
        position = self.ended()
        self.restart()
        self.venue.reads_down = {"resting"}
        self.tick(12)
        self.assertEqual((len(self.venue.rests), self.resting(position)), (4, ()))
        self.venue.reads_down = set()
        self.tick(75)
        self.assertEqual(self.venue.rests, {})

    def test_while_somebody_is_at_its_position_it_waits(self) -> None:
        position = self.ended()
        self.restart()
        with self.scene.beside().store.seat(position.id):
            self.tick(12)
        self.assertEqual((len(self.venue.rests), self.events("ProtectionFound")), (4, 0))
        self.tick(8)
        self.assertEqual(self.venue.rests, {})

    def test_two_monitors_write_it_down_once(self) -> None:
        position = self.ended()
        self.restart()
        other = Watchman(self.scene.beside().desk)
        self.venue.cancel_fails = True
        for _ in range(8):
            monitor.tick(other, wait_seconds=2)
            self.tick(2)
        names = [one.order.client_order_id for one in self.resting(position)]
        self.assertEqual((len(names), len(set(names))), (4, 4))

    def test_a_clock_that_was_set_back_puts_off_no_look(self) -> None:
        memory = forgotten.Memory(looked_at=self.scene.clock.now())
        self.assertFalse(forgotten.due(self.scene.desk, memory))
        self.scene.clock.instant -= timedelta(hours=1)
        self.assertTrue(forgotten.due(self.scene.desk, memory))

    def test_a_venue_that_rests_nothing_is_not_asked(self) -> None:
        self.assertFalse(forgotten.due(a_scene(self).desk, forgotten.Memory()))


if __name__ == "__main__":
    unittest.main()
