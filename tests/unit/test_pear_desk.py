"""The whole desk on Pear and the exchange in one process: what Pear gets wrong, does late or does by itself."""

import io
import unittest
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from decimal import Decimal

from tests.builders import given_signal
from tests.engine.hands import join_all
from tests.engine.scripted_venue import a_request
from tests.fakes import FakeSignals
from tests.servers.hyperliquid.faults import Answer, Commit
from tests.servers.pear.trading import Whims
from tests.unit.desks import a_desk
from tests.unit.pear_world import CLOSE, ETH, OPEN, SOL, PearWorld
from trading.domain.desk_state import Cause, TradingState
from trading.domain.errors import VenueRejected
from trading.domain.exit_plan import ExitReason
from trading.domain.positions import Position, PositionStatus
from trading.domain.trades import Trade
from trading.engine import closing, emergency, entry, monitor
from trading.engine.exits import change_exits
from trading.engine.monitor import Watchman
from trading.engine.requests import ExitChange
from trading.engine.unwinding import Unwritten

RISK = "PUT /positions/{id}/riskParameters"


class PearDesk(PearWorld):
    def setUp(self) -> None:
        super().setUp()
        self.signals = FakeSignals()
        self.desk = a_desk(self, self.signals)
        self.watchman = Watchman(self.desk)

    def execute(self, signal_id: str = "one", **request: object) -> Position:
        """Long SOL, short ETH: the pair is SOL/ETH and cheap."""
        self.signals.offer(given_signal(signal_id, "SOL/ETH", "-2.4", created_at=self.clock.now()))
        answer = entry.execute(self.desk, a_request(signal_id, "3000", **request), None)
        return self.desk.store.book().position(answer.position.position_id)

    def tick(self, count: int = 1, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.clock.advance(seconds)
            monitor.tick(self.watchman)
            join_all(self.watchman)

    def positions(self) -> tuple[Position, ...]:
        return self.desk.store.book().positions()

    def trade(self) -> Trade:
        return self.desk.store.book().trades()[0]

    @property
    def state(self) -> TradingState:
        return self.desk.store.state().state

    def assert_flat(self) -> None:
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.assertTrue(all(one.status is PositionStatus.CLOSED for one in self.positions()))

    def assert_account_explained(self) -> None:
        made = sum((one.realized - one.fees - one.funding for one in self.positions()), Decimal(0))
        self.assertAlmostEqual(self.venue.account().equity - 100_000, made, delta=Decimal("0.01"))


class Sizes(PearDesk):
    def test_dollars_taken_for_a_side_are_taken_back_and_nothing_more_is_opened(self) -> None:
        self.pear.trading.whims = Whims(value_is="a_side")
        position = self.execute()
        self.assertEqual((self.held(SOL), self.held(ETH)), (Decimal("7.5"), Decimal("-0.5")))
        self.assertEqual(position.status, PositionStatus.OPEN)
        self.assertLess(position.entry_notional, 3020)
        self.assertEqual((self.state, self.desk.store.state().causes), (TradingState.REDUCING, {Cause.OVERFILLED}))
        closing.close(self.desk, position.id, ExitReason.MANUAL)
        self.assert_flat()

    def test_every_way_of_rounding_is_the_trade_s_and_leaves_with_it(self) -> None:
        for rounding in ("nearest_bump", "ceil", "floor"):
            with self.subTest(rounding=rounding):
                self.pear.trading.whims = Whims(rounding=rounding)
                position = self.execute(rounding)
                self.assertEqual(position.long.held, self.held(SOL))
                self.assertEqual(position.short.held, -self.held(ETH))
                closing.close(self.desk, position.id, ExitReason.MANUAL)
                self.assert_flat()
        self.assertEqual(self.state, TradingState.ACTIVE)


class Apart(PearDesk):
    """A leg that is completed alone is a position of its own at Pear."""

    def test_a_leg_of_which_the_pair_s_position_holds_next_to_nothing_leaves_from_where_the_rest_is(self) -> None:
        """The exchange does not sell two dollars of a larger holding: it was asked again and again, a leg naked."""
        for part, seconds in (("0.001", 10), ("0.2", 10), ("0.496", 10)):
            with self.subTest(part=part):
                self.exchange.cap_next_fill(ETH, part)
                position = self.execute(part)
                self.assertEqual(position.status, PositionStatus.OPEN)
                closing.close(self.desk, position.id, ExitReason.MANUAL)
                self.tick(seconds)
                self.assert_flat()
        self.assert_account_explained()


NO_MATCH = "Order could not immediately match against any resting orders."
HALF_TOLD = {"statusCode": 400, "error": "Bad Request", "message": "no liquidity", "code": "HL_IOC_NO_MATCH"}
BUSY = {"statusCode": 408, "error": "Request Timeout", "message": "another trade", "code": "ACTIVE_TRADE_TIMEOUT"}
USED = {"statusCode": 409, "error": "Conflict", "message": "Duplicate idempotency key"}


class Faults(PearDesk):
    def meet(self, route: str) -> Iterator[str]:
        """Lay out one fault on *route* after the other."""
        for answer in (Answer.CLOSED, Answer.SERVER_ERROR, Answer.BAD_GATEWAY, Answer.GARBAGE, Answer.CUT_SHORT):
            self.fault(route, answer)
            yield f"done, then {answer}"
        for answer in (Answer.CLOSED, Answer.SERVER_ERROR, Answer.TOO_MANY):
            self.fault(route, answer, Commit.NEVER)
            yield f"never done, {answer}"
        for body in (BUSY, USED):
            self.pear.faults.say(body, route=route)
            yield str(body["message"])
        for coin in (ETH, SOL):
            self.exchange.refuse_next(coin, NO_MATCH, "iocCancelRejected")
            yield f"{coin} refused"
            self.exchange.cap_next_fill(coin, "0.1")
            yield f"a part of {coin}"
            self.exchange.refuse_next(coin, NO_MATCH, "iocCancelRejected")
            self.pear.faults.say(HALF_TOLD, route=route, committed=True)
            yield f"{coin} refused, and an error told for both"

    def settle(self) -> Position:
        """Tick until nothing is live; the newest position."""
        for _ in range(130):
            if not self.desk.store.book().live_trades():
                break
            self.tick()
        return max(self.positions(), key=lambda one: one.entered_at)

    def assert_level(self, position: Position) -> None:
        """Both legs or none, as the exchange has them, at most what was asked."""
        self.assertEqual((position.long.held, position.short.held), (self.held(SOL), -self.held(ETH)))
        self.assertEqual(bool(position.long.held), bool(position.short.held))
        self.assertLessEqual(position.long.held * 200 + position.short.held * 3000, 3010)


class FaultsAtOpening(Faults):
    def test_every_one_leaves_both_legs_or_none_and_nothing_twice(self) -> None:
        for number, name in enumerate(self.meet(OPEN)):
            with self.subTest(name):
                self.pear.received.clear()
                with suppress(VenueRejected):
                    self.execute(f"open {number}")
                position = self.settle()
                self.assert_level(position)
                self.assertLessEqual(self.pear.count(OPEN), 4)
                closing.close(self.desk, position.id, ExitReason.MANUAL)
                self.settle()
                self.assert_flat()
        self.assert_account_explained()


class FaultsAtClosing(Faults):
    def test_every_one_ends_flat_and_every_cent_is_accounted_for(self) -> None:
        for number, name in enumerate(self.meet(CLOSE)):
            with self.subTest(name):
                # Nothing is opened while Pear wants to be left alone.
                self.clock.advance(15)
                # What was laid out meets the close, not the opening before it.
                refusals, caps = dict(self.exchange.whims.refusals), dict(self.exchange.whims.fill_caps)
                self.exchange.whims.refusals.clear()
                self.exchange.whims.fill_caps.clear()
                position = self.execute(f"close {number}")
                self.exchange.whims.refusals.update(refusals)
                self.exchange.whims.fill_caps.update(caps)
                closing.close(self.desk, position.id, ExitReason.MANUAL)
                self.settle()
                self.assert_flat()
        self.assert_account_explained()


class FaultsAtClosingWithAKey(FaultsAtClosing):
    direct = True


class Late(PearDesk):
    def test_what_pear_does_after_ninety_seconds_is_sold_off(self) -> None:
        self.fault(OPEN, Answer.CLOSED, Commit.NEVER)
        self.execute()
        body = next(body for route, body in self.pear.received if route == OPEN)
        self.tick(20, 5.0)
        self.assertIn("nothing was seen of it", self.trade().why)
        self.pear.trading.create(self.venue.account_id, replace_key(body))
        self.assertNotEqual(self.held(ETH), 0)
        self.tick(6)
        self.assert_flat()
        self.assertEqual(self.state, TradingState.ACTIVE)
        self.assertEqual(self.pear.count(OPEN), 1)

    def test_what_pear_does_and_undoes_between_two_looks_is_booked_as_the_exchange_tells_it(self) -> None:
        self.fault(OPEN, Answer.CLOSED, Commit.NEVER)
        self.execute()
        body = next(body for route, body in self.pear.received if route == OPEN)
        self.tick(20, 5.0)
        self.pear.trading.create(self.venue.account_id, replace_key(body))
        self.exchange.set_market(SOL, "201")
        self.pear.trading.close_all(self.venue.account_id, {"executionType": "MARKET"})
        self.tick(31)
        self.assert_flat()
        self.assertEqual(2, sum(one.lost is not None for one in self.positions()))
        self.assert_account_explained()
        self.assertEqual((self.state, self.pear.count(OPEN)), (TradingState.ACTIVE, 1))

    def test_a_signal_whose_order_was_never_explained_is_not_traded_again(self) -> None:
        self.fault(OPEN, Answer.CLOSED, Commit.NEVER)
        self.execute()
        self.tick(20, 5.0)
        with self.assertRaises(VenueRejected):
            self.execute()
        self.assertEqual(self.pear.count(OPEN), 1)


class SecondLine(PearDesk):
    def test_it_stands_wider_than_the_desk_s_own_and_moves_with_it(self) -> None:
        position = self.execute()
        self.tick(2)
        (basket,) = self.venue.baskets()
        self.assertEqual((basket.take_profit, basket.stop_loss), (Decimal(102), Decimal(57)))
        self.assertGreater(basket.stop_loss or 0, position.exit_plan.stop_loss * position.entry_notional)
        change_exits(self.desk, position.id, ExitChange(stop_loss=Decimal("0.02")), admin=True)
        self.tick(2)
        self.assertEqual(self.venue.baskets()[0].stop_loss, Decimal(102))
        self.tick(20)
        self.assertEqual(self.pear.count(RISK), 2)

    def test_a_line_that_pear_does_not_take_is_drawn_again(self) -> None:
        self.fault(RISK, Answer.SERVER_ERROR, Commit.NEVER)
        self.execute()
        self.tick(2)
        self.assertIsNone(self.venue.baskets()[0].stop_loss)
        self.tick(12)
        self.assertIsNotNone(self.venue.baskets()[0].stop_loss)

    def test_none_is_drawn_where_one_leg_of_the_pair_is_kept_elsewhere(self) -> None:
        """The dollars of a pair, counted on one leg of it, are reached by a move that the pair does not feel."""
        self.exchange.cap_next_fill(ETH, "0.01")
        position = self.execute()
        self.assertEqual((self.held(SOL), self.held(ETH)), (Decimal("7.5"), Decimal("-0.5")))
        self.tick(12)
        self.exchange.set_market(SOL, "190")
        self.exchange.set_market(ETH, "2850")
        self.pear.trading.look_at_lines()
        self.assertEqual((self.held(SOL), self.held(ETH)), (Decimal("7.5"), Decimal("-0.5")))
        self.tick(5)
        self.assertEqual(self.desk.store.book().position(position.id).status, PositionStatus.OPEN)

    def test_the_desk_notices_that_it_has_fired(self) -> None:
        """The desk is blind while Pear sees the loss, closes, and the desk wakes up."""
        position = self.execute()
        self.tick(2)
        self.exchange.set_market(SOL, "190")
        self.pear.trading.look_at_lines()
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))
        self.tick(8)
        position = self.desk.store.book().position(position.id)
        self.assertEqual((position.status, position.exit_reason), (PositionStatus.CLOSED, ExitReason.LEG_LOST))
        paid = position.realized - position.fees
        self.assertAlmostEqual(self.venue.account().equity - 100_000, paid, delta=Decimal("0.01"))


class OtherHands(PearDesk):
    def test_what_somebody_takes_in_pear_s_own_page_is_not_booked_again_with_the_close_that_follows(self) -> None:
        """The rest is closed within a second, the same coin on the same side: it took over the fills of the other."""
        position = self.execute()
        self.tick(2)
        half = {"adjustmentType": "REDUCE", "adjustmentSize": 50, "executionType": "MARKET"}
        self.pear.trading.adjust(self.venue.account_id, self.venue.baskets()[0].id, half)
        self.tick(40, 0.2)
        position = self.desk.store.book().position(position.id)
        self.assertEqual((position.status, position.exit_reason), (PositionStatus.CLOSED, ExitReason.LEG_LOST))
        self.assert_flat()
        self.assert_account_explained()


class Direct(PearDesk):
    direct = True

    def test_a_stop_that_pear_loses_is_closed_at_the_exchange_and_booked_to_the_cent(self) -> None:
        position = self.execute()
        self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        closing.close(self.desk, position.id, ExitReason.STOP_LOSS)
        self.tick(14)
        self.assert_flat()
        position = self.desk.store.book().position(position.id)
        self.assertEqual(position.exit_reason, ExitReason.STOP_LOSS)
        made = position.realized - position.fees
        self.assertAlmostEqual(self.venue.account().equity - 100_000, made, delta=Decimal("0.01"))

    def test_without_a_ledger_a_stop_that_pear_loses_each_time_is_closed_at_the_exchange(self) -> None:
        """It was posted to Pear again and again, under a new id each time, and nobody asked what had become of it."""
        self.execute()
        for _ in range(99):
            self.fault(CLOSE, Answer.CLOSED, Commit.NEVER)
        (self.desk.config.data_dir / "desk.json").write_bytes(b"damaged")
        unwritten, began = Unwritten(), self.clock.now()
        with redirect_stderr(io.StringIO()):
            while emergency.stop(self.desk, goes_on=False, unwritten=unwritten).status == "closing":
                self.clock.advance(1)
                self.assertLess((self.clock.now() - began).total_seconds(), 60)
        self.assertEqual((self.held(ETH), self.held(SOL)), (0, 0))


def replace_key(body: object) -> dict[str, object]:
    """A request as it was posted, which Pear carries out only now."""
    assert isinstance(body, dict)
    return {name: value for name, value in body.items() if name != "idempotencyKey"}


if __name__ == "__main__":
    unittest.main()
