"""The whole desk on the exchange simulator, where a person holds the same coin: what fired beside it is ours, and what
is theirs stays, however late the exchange tells of the fill."""

import unittest
from decimal import Decimal

from tests.builders import given_signal
from tests.engine.hands import join_all
from tests.engine.scripted_venue import a_request
from tests.fakes import FakeSignals
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault
from tests.unit.desks import a_desk
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import OrderStatus, Side
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import LegLost
from trading.engine import closing, emergency, entry, monitor
from trading.engine.monitor import Watchman


class BesideCase(HyperliquidWorld):
    """Long half an ETH and short 7.5 SOL, both guarded; a person holds as much ETH."""

    def setUp(self) -> None:
        super().setUp()
        self.signals = FakeSignals()
        self.desk = a_desk(self, self.signals, stop_loss="0.4", take_profit="2")
        self.watchman = Watchman(self.desk)
        self.signals.offer(given_signal("one", "SOL/ETH", "2.4", created_at=self.clock.now()))
        answer = entry.execute(self.desk, a_request("one", "3000"), None)
        self.id_of = answer.position.position_id
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.5"), Decimal("-7.5")))
        self.tick(2)
        self.assertEqual(len(self.venue.resting()), 4)

    def tick(self, count: int = 1, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.clock.advance(seconds)
            monitor.tick(self.watchman)
            join_all(self.watchman)

    @property
    def position(self) -> Position:
        return self.desk.store.book().position(self.id_of)

    @property
    def losses(self) -> tuple[LegLost, ...]:
        return self.desk.store.book().trade(self.position.trade_id).lost

    def somebody_buys(self, quantity: str = "0.5", *, accepted: bool = True) -> None:
        (report,) = self.venue.submit([self.an_order(ETH, Side.BUY, quantity)])
        self.assertIs(report.status, OrderStatus.FILLED)
        self.tick(4)
        if accepted:
            emergency.resume(self.desk, [ETH])

    def fire(self) -> None:
        """ETH falls through its stop, which is filled at once."""
        self.exchange.set_market(ETH, "2200")
        self.assertEqual(self.held(SOL), Decimal("-7.5"))

    def assert_theirs_stay(self, quantity: str = "0.5") -> None:
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal(quantity), 0))
        self.assertEqual([(one.coin, one.quantity) for one in self.losses], [(ETH, Decimal("0.5"))])
        self.assertEqual(self.position.status, PositionStatus.CLOSED)
        self.assertEqual(self.venue.resting(), ())


class Closing(BesideCase):
    def test_what_has_just_fired_is_booked_by_the_close_and_what_is_theirs_stays(self) -> None:
        for accepted in (True, False):
            with self.subTest(accepted=accepted):
                self.doCleanups()
                self.setUp()
                self.somebody_buys(accepted=accepted)
                self.fire()
                closing.close(self.desk, self.id_of, ExitReason.MANUAL)
                self.assert_theirs_stay()

    def test_where_the_exchange_tells_of_everything_a_second_late(self) -> None:
        self.somebody_buys()
        self.server.info.lag.milliseconds, self.server.info.lag.fills_too = 1000, True
        self.fire()
        began = self.clock.monotonic()
        emergency.stop(self.desk)
        self.assertLess(self.clock.monotonic() - began, 5)
        self.tick(10)
        self.assert_theirs_stay()

    def test_where_the_answer_to_the_cancel_is_lost(self) -> None:
        self.somebody_buys()
        self.fire()
        self.server.faults.add(Fault(EXCHANGE, Answer.CLOSED, Commit.BEFORE, "cancelByCloid"))
        closing.close(self.desk, self.id_of, ExitReason.MANUAL)
        self.tick(5)
        self.assert_theirs_stay()

    def test_what_has_not_fired_is_taken_back_before_and_all_of_it_is_closed(self) -> None:
        self.somebody_buys()
        closing.close(self.desk, self.id_of, ExitReason.MANUAL)
        kinds = [one.type for one in self.exchange.received]
        self.assertEqual(kinds[-3:], ["cancelByCloid", "order", "cancelByCloid"])
        self.assertEqual((self.held(ETH), self.held(SOL), self.losses), (Decimal("0.5"), 0, ()))

    def test_what_was_filled_in_part_is_booked_and_the_rest_is_closed(self) -> None:
        self.somebody_buys()
        self.exchange.set_market(ETH, bids=[("2230", "0.2"), ("2000", "9")], asks=[("2231", "9")], refill=False)
        self.assertEqual(self.held(ETH), Decimal("0.8"))
        self.clock.advance(1)
        closing.close(self.desk, self.id_of, ExitReason.MANUAL)
        self.assertEqual([one.quantity for one in self.losses], [Decimal("0.2")])
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.5"), 0))

    def test_an_exchange_that_cannot_be_read_keeps_no_close_waiting(self) -> None:
        self.somebody_buys()
        began = self.clock.monotonic()
        self.server.faults.down(INFO)
        closing.close(self.desk, self.id_of, ExitReason.MANUAL, until=began + 3)
        self.server.faults.lift()
        self.assertLess(self.clock.monotonic() - began, 10)
        self.tick(10)
        self.assertEqual((self.held(ETH), self.held(SOL)), (Decimal("0.5"), 0))

    def test_where_nobody_else_holds_it_nothing_is_asked_or_sent_besides(self) -> None:
        before, sent = dict(self.server.info.calls), len(self.exchange.received)
        closing.close(self.desk, self.id_of, ExitReason.MANUAL)
        kinds = [one.type for one in list(self.exchange.received)[sent:]]
        self.assertEqual(kinds, ["order", "cancelByCloid"])
        asked = {one: count - before.get(one, 0) for one, count in self.server.info.calls.items()}
        self.assertEqual(asked.get("userFillsByTime", 0), 1)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))


if __name__ == "__main__":
    unittest.main()
