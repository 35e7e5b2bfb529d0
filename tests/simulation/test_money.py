"""The positions' profits are the change of the account, to the cent: over random trades, and where it is hardest."""

import contextlib
import io
import unittest
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from tests.builders import given_signal
from tests.simulation import money
from tests.simulation.money import EQUITY, EXACT, NotTheSame, World, prove
from trading.domain.accounts import funded_to
from trading.domain.orders import OrderStatus
from trading.domain.positions import Position
from trading.domain.units import ZERO, Coin, Usd
from trading.engine import closing, entry
from trading.engine.requests import ExecuteRequest, Execution, TwapRequest

ETH = Coin("ETH")
SEEDS = (1, 3)
TRADES = 75


class RandomTradesTest(unittest.TestCase):
    def test_books_and_account_agree_over_random_trades(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                proof = prove(TRADES, seed)
                self.assertGreaterEqual(proof.trades, TRADES)
                self.assertLess(proof.at_the_end, EXACT)
                self.assertLess(proof.worst, EXACT)
                self.assertGreater(proof.checks, 50)
                for what in ("partial fill", "no fill", "answer lost", "order lost", "opened by slices"):
                    self.assertGreater(proof.done[what], 0, what)
                self.assertGreater(proof.shared_hours, 0)

    def test_the_command_says_what_it_proved(self) -> None:
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            self.assertEqual(0, money.main(["--trades", "4", "--seed", "2"]))
        self.assertIn("flat at the end", told.getvalue())

    def test_a_cent_that_nobody_made_is_found(self) -> None:
        with World(1) as world:
            world.compare()
            with mock.patch.object(money, "EQUITY", EQUITY + money.CENT), self.assertRaises(NotTheSame):
                world.compare()

    def test_the_command_says_where_it_disagrees(self) -> None:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), mock.patch.object(money, "EXACT", Decimal(-1)):
            self.assertEqual(1, money.main(["--trades", "2", "--seed", "2"]))
        self.assertIn("seed 2: ", told.getvalue())
        self.assertNotIn("flat at the end", told.getvalue())


class HourTest(unittest.TestCase):
    """Fine weather, two positions on one coin, and the hour in the wrong moment. The clock starts at noon."""

    def setUp(self) -> None:
        self.world = self.enterContext(World(5))
        self.world.venue.rough = False
        self.clock = self.world.clock

    def open(self, signal_id: str, pair: str, size: int = 4000, slices: int = 0) -> Position:
        signal = given_signal(signal_id, pair, created_at=self.clock.now())
        self.world.signals.offer(signal)
        twap = TwapRequest(60 * slices, slices) if slices else None
        execution = Execution.TWAP if slices else Execution.MARKET
        request = ExecuteRequest(signal_id, Usd(Decimal(size)), execution=execution, twap=twap)
        answer = entry.execute(self.world.desk, request)
        return self.position(answer.position.position_id)

    def position(self, position_id: object) -> Position:
        return next(one for one in self.world.desk.store.book().positions() if one.id == position_id)

    def close(self, position: Position) -> Position:
        return self.position(closing.close_by_hand(self.world.desk, position.id).position_id)

    def pass_the_hour(self) -> None:
        self.world.to_the_hour(31.0)
        self.world.look()
        self.world.look()

    def prove(self) -> None:
        self.world.finish()
        self.assertLess(self.world.proof.at_the_end, EXACT)

    def test_a_sharer_that_leaves_between_two_hours_pays_its_own_hours(self) -> None:
        first, second = self.open("signal_1", "BTC/ETH"), self.open("signal_2", "LINK/ETH", 2000)
        self.pass_the_hour()
        one, other = self.position(first.id).long.funding, self.position(second.id).long.funding
        self.assertLess(abs(one - 2 * other), Decimal("0.0001"))
        self.clock.advance(1200)
        self.close(first)
        self.pass_the_hour()
        self.assertEqual(one, self.position(first.id).long.funding)
        self.assertNotEqual(other, self.position(second.id).long.funding)
        self.prove()

    def test_who_leaves_on_the_stroke_still_pays_and_who_comes_then_does_not(self) -> None:
        leaving = self.open("signal_1", "BTC/ETH")
        self.world.to_the_hour(0.0)
        self.close(leaving)
        coming = self.open("signal_2", "LINK/ETH")
        self.clock.advance(31)
        self.world.look()
        self.world.look()
        self.assertNotEqual(ZERO, self.position(leaving.id).long.funding)
        self.assertEqual(ZERO, self.position(coming.id).long.funding)
        self.prove()

    def test_who_comes_and_goes_within_an_hour_pays_nothing(self) -> None:
        staying, passing = self.open("signal_1", "BTC/ETH"), self.open("signal_2", "LINK/ETH")
        self.clock.advance(600)
        passing = self.close(passing)
        self.pass_the_hour()
        self.assertEqual(ZERO, self.position(passing.id).funding)
        self.assertNotEqual(ZERO, self.position(staying.id).funding)
        self.prove()

    def test_a_half_open_position_pays_for_its_half(self) -> None:
        self.world.to_the_hour(-30.0)
        whole, half = self.open("signal_1", "BTC/ETH", 2000), self.open("signal_2", "LINK/ETH", 4000, slices=2)
        self.clock.advance(32)
        for _ in range(4):
            self.world.look()
            self.clock.advance(31)
        whole, half = self.position(whole.id), self.position(half.id)
        self.assertLess(abs(whole.long.funding - half.long.funding), Decimal("0.0001"))
        self.assertGreater(half.long.held, whole.long.held * Decimal("1.9"))
        self.prove()

    def test_a_half_closed_position_pays_for_what_is_left(self) -> None:
        position, other = self.open("signal_1", "BTC/ETH"), self.open("signal_2", "LINK/ETH")
        self.world.to_the_hour(-10.0)
        self.world.market.shares = {ETH: Decimal("0.00002")}
        self.close(position)
        left = self.position(position.id).long.held
        self.assertTrue(0 < left < position.long.held)
        self.world.to_the_hour(0.0)
        self.world.market.shares = {}
        self.clock.advance(31)
        for _ in range(3):
            self.world.look()
            self.clock.advance(6)
        paid, whole = self.position(position.id).long.funding, self.position(other.id).long.funding
        self.assertLess(abs(paid / whole - left / other.long.held), Decimal("0.01"))
        self.prove()

    def test_an_answer_lost_across_the_hour_is_waited_for(self) -> None:
        staying = self.open("signal_1", "BTC/ETH")
        self.world.to_the_hour(-1.0)
        with mock.patch.object(self.world.venue, "reports", self._says_nothing), self._lost_answers():
            doubtful = self.open("signal_2", "LINK/ETH")
            self.clock.advance(60)
            self.world.look()
            watch = self.world.desk.store.book().watch(staying.id)
            self.assertLess(funded_to(staying, watch), self.clock.now() - timedelta(minutes=1))
        for _ in range(3):
            self.clock.advance(31)
            self.world.look()
        one, other = self.position(staying.id), self.position(doubtful.id)
        self.assertLess(abs(one.long.funding / other.long.funding - 1), Decimal("0.02"))
        self.prove()

    def _says_nothing(self, orders: object) -> object:
        return self.world.venue._unknown(orders)  # type: ignore[arg-type]

    def _lost_answers(self) -> contextlib.AbstractContextManager[object]:
        plain = self.world.venue.submit

        def submit(orders: object) -> object:
            reports = plain(orders)  # type: ignore[arg-type]
            self.assertIn(OrderStatus.FILLED, {one.status for one in reports})
            return self._says_nothing(orders)

        return mock.patch.object(self.world.venue, "submit", submit)
