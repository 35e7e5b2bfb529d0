import unittest
from datetime import datetime, timedelta
from decimal import Decimal

from tests.engine.bent_venue import a_bent_scene
from trading.domain.errors import VenueUnavailable
from trading.domain.market import FundingPayment
from trading.domain.positions import Position
from trading.domain.units import Coin, Quantity, Usd
from trading.engine.accounting import unfunded
from trading.engine.funding import collect_funding, funding_settled
from trading.engine.requests import Execution, TwapRequest

ETH, BTC = Coin("ETH"), Coin("BTC")


class FundingTest(unittest.TestCase):
    """The desk opens at half past twelve; hours are paid at 13:00 and 14:00."""

    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.scene.clock.advance(1800)

    def at(self, hour: int, minute: int = 0, second: int = 0) -> datetime:
        return self.scene.clock.now().replace(hour=hour, minute=minute, second=second)

    def go(self, hour: int, minute: int = 0, second: int = 0) -> None:
        self.scene.clock.advance((self.at(hour, minute, second) - self.scene.clock.now()).total_seconds())

    def pay(self, coin: Coin, amount: str, quantity: str, hour: int = 13) -> None:
        payment = FundingPayment(coin, Usd(Decimal(amount)), Quantity(Decimal(quantity)), self.at(hour))
        self.venue.payments = (*self.venue.payments, payment)

    def collected(self, position: Position) -> tuple[Decimal, Decimal]:
        collect_funding(self.scene.desk, position)
        after = self.scene.position(position.id)
        return after.long.funding, after.short.funding

    def test_both_legs_are_paid_and_what_is_received_is_negative(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        self.pay(BTC, "-0.5", "-0.01")
        self.go(13, 1)
        self.assertEqual((Decimal(2), Decimal("-0.5")), self.collected(position))
        self.assertEqual(Decimal("1.5"), self.scene.position(position.id).funding)

    def test_an_hour_is_asked_for_when_it_can_be_listed_and_not_twice(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        for second, due in ((0, False), (29, False), (30, True)):
            self.go(13, 0, second)
            found = unfunded(self.scene.desk.store.book(), [position], self.scene.clock.now())
            self.assertEqual([position] if due else [], list(found))
        for _ in range(3):
            self.assertEqual((Decimal(2), Decimal(0)), self.collected(position))
        self.assertEqual(1, self.venue.asked_funding)

    def test_it_survives_a_restart(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        self.go(13, 1)
        self.collected(position)
        self.scene = self.scene.reopened()
        self.pay(ETH, "3", "0.25", hour=14)
        self.go(14, 1)
        self.assertEqual((Decimal(5), Decimal(0)), self.collected(position))

    def test_hours_that_were_missed_are_caught_up_with(self) -> None:
        position = self.scene.opened()
        for hour in (13, 14, 15):
            self.pay(ETH, "1", "0.25", hour=hour)
        self.venue.reads_down = {"funding"}
        self.go(13, 1)
        with self.assertRaises(VenueUnavailable):
            self.collected(position)
        self.venue.reads_down = set()
        self.go(15, 1)
        self.assertEqual((Decimal(3), Decimal(0)), self.collected(position))

    def test_a_position_pays_from_its_entry_to_its_exit(self) -> None:
        self.pay(ETH, "9", "0", hour=12)
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        self.go(13, 30)
        closed = self.scene.close(position)
        self.pay(ETH, "7", "0.25", hour=14)
        self.go(14, 30)
        self.assertEqual((Decimal(2), Decimal(0)), self.collected(closed))

    def test_a_shared_coin_is_split_by_what_was_held_then(self) -> None:
        """The first has left in the meantime: it still pays its part of the hour that it was there."""
        first = self.scene.opened("signal_1")
        second = self.scene.opened("signal_2", size="4000", pair="SOL/ETH")
        self.pay(ETH, "3", "0.75")
        self.go(13, 0, 10)
        first = self.scene.close(first)
        self.go(13, 1)
        self.assertEqual(Decimal(1), self.collected(first)[0])
        self.assertEqual(Decimal(2), self.collected(second)[0])
        self.pay(ETH, "2", "0.5", hour=14)
        self.go(14, 1)
        self.assertEqual(Decimal(1), self.collected(first)[0])
        self.assertEqual(Decimal(4), self.collected(second)[0])

    def test_who_came_later_does_not_pay_for_the_hour_before(self) -> None:
        first = self.scene.opened("signal_1")
        self.pay(ETH, "1", "0.25")
        self.go(13, 0, 10)
        second = self.scene.opened("signal_2", pair="SOL/ETH")
        self.go(13, 1)
        self.assertEqual(Decimal(1), self.collected(first)[0])
        self.assertEqual(Decimal(0), self.collected(second)[0])

    def test_what_somebody_else_holds_of_the_coin_is_theirs_to_pay(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "4", "1")
        self.go(13, 1)
        self.assertEqual(Decimal(1), self.collected(position)[0])

    def test_a_position_that_is_still_growing_pays_for_what_it_held(self) -> None:
        self.go(12, 59, 0)
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(120, 2))
        self.pay(ETH, "1", "0.125")
        self.go(13, 0, 1)
        self.scene.tick(1)
        self.go(13, 1)
        self.assertEqual(Decimal(1), self.collected(position)[0])
        self.assertEqual(Decimal("0.25"), self.scene.position(position.id).long.opened)

    def test_an_hour_in_which_nothing_was_held_costs_nothing(self) -> None:
        position = self.scene.opened()
        self.pay(BTC, "1", "0", hour=13)
        self.go(13, 1)
        self.assertEqual((Decimal(0), Decimal(1)), self.collected(position))

    def test_a_book_that_is_locked_writes_nothing_and_the_next_look_does(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        self.go(13, 1)
        with self.scene.store.exclusive():
            self.assertEqual((Decimal(0), Decimal(0)), self.collected(position))
        self.assertEqual((Decimal(2), Decimal(0)), self.collected(position))

    def test_two_who_collect_the_same_hour_write_it_once(self) -> None:
        position = self.scene.opened()
        self.pay(ETH, "2", "0.25")
        self.go(13, 1)
        other = self.scene.beside()

        def interfere(name: str) -> None:
            self.venue.on_read = None

        self.venue.on_read = interfere
        plain = self.venue.funding

        def both(*asked: object) -> object:
            self.venue.__dict__.pop("funding")
            collect_funding(other.desk, position)
            return plain(*asked)  # type: ignore[arg-type]  # what the port passes is passed on

        self.venue.__dict__["funding"] = both
        self.assertEqual((Decimal(2), Decimal(0)), self.collected(position))

    def test_funding_is_settled_once_the_last_hour_is_listed(self) -> None:
        position = self.scene.opened()
        self.assertFalse(funding_settled(position, self.scene.clock.now()))
        closed = self.scene.close(position)
        self.assertTrue(funding_settled(closed, self.scene.clock.now()))
        later = self.scene.opened("signal_2", pair="SOL/AVAX")
        self.go(13, 0, 5)
        closed = self.scene.close(later)
        assert closed.exited_at is not None
        for seconds, settled in ((0, False), (30, True)):
            self.assertEqual(settled, funding_settled(closed, self.at(13) + timedelta(seconds=seconds)))
