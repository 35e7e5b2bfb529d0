"""The outbox to Guardian over a real socket: told once, whatever breaks meanwhile, for a day."""

import unittest
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from tests.builders import after, given_a_working_trade, given_report
from tests.engine.bent_venue import a_bent_scene
from tests.engine.scripted_venue import lost_before, unknown_for
from tests.servers.guardian import GuardianServer
from tests.servers.sibling import Reply, says
from trading.adapters.guardian import GuardianClient
from trading.domain.market import FundingPayment
from trading.domain.orders import RejectReason
from trading.domain.positions import Position, position_of
from trading.domain.trades import OrdersReported, record
from trading.domain.units import Coin, Quantity, Usd
from trading.engine import outcomes
from trading.engine.outcomes import AT_ONCE_MAX, RETRY_MAX, RETRY_MIN, Outbox, due, outcome_of, pause_after

TAKEN = says({"status": "ok"})
DOWN = Reply(503)
OUTCOME = "/api/trade/outcome"


class OutboxTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)
        self.guardian = self.enterContext(GuardianServer())
        self.outbox = Outbox()
        self.ask(self.guardian)

    def ask(self, guardian: GuardianServer) -> None:
        client = GuardianClient(guardian.url, 10.0, self.scene.clock)
        self.scene = replace(self.scene, desk=replace(self.scene.desk, approvals=client))

    def restart(self) -> None:
        self.scene, self.outbox = self.scene.reopened(), Outbox()

    def closed(self, signal_id: str = "signal_1", pair: str = "BTC/ETH") -> Position:
        return self.scene.close(self.scene.opened(signal_id, pair=pair))

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass and do what a tick does."""
        self.scene.clock.advance(seconds)
        outcomes.deliver(self.scene.desk, self.outbox, due(self.scene.desk, self.outbox))

    def told(self) -> list[object]:
        return [one.json["approval_id"] for one in self.guardian.received if one.path == OUTCOME]

    def left(self) -> int:
        return len(self.scene.store.book().untold())

    def said(self, words: str) -> int:
        return sum(words in one for one in self.scene.log.messages())


class OutcomesTest(OutboxTestCase):
    def test_an_end_is_told_once_with_what_it_made(self) -> None:
        position = self.closed()
        for _ in range(3):
            self.turn(60)
        self.restart()
        self.turn(60)
        (sent,) = [one.json for one in self.guardian.received if one.path == OUTCOME]
        outcome = outcome_of(position)
        assert outcome is not None and position.approval is not None
        self.assertEqual(
            {
                "approval_id": position.approval.id,
                "pnl": float(outcome.pnl),
                "entry_price": float(outcome.entry_ratio),
                "exit_price": float(outcome.exit_ratio),
            },
            sent,
        )
        self.assertLess(outcome.pnl, 0)
        self.assertEqual((0, {}), (self.left(), self.outbox.tried))

    def test_a_guardian_that_was_down_hears_it_when_it_is_up_again(self) -> None:
        self.closed()
        self.guardian.script(Reply(breaks_off=True), DOWN, TAKEN)
        self.turn()
        self.turn(29)
        self.assertEqual((1, 1), (len(self.told()), self.left()))
        self.turn(1)
        self.assertEqual((2, 1), (len(self.told()), self.left()))
        self.turn(30)
        self.assertEqual((3, 0), (len(self.told()), self.left()))
        self.assertEqual(2, self.said("could not be told"))

    def test_a_clock_that_was_set_back_keeps_guardian_waiting_no_longer(self) -> None:
        self.closed()
        self.guardian.script(DOWN, TAKEN)
        self.turn()
        self.assertEqual(1, self.left())
        self.turn(-600)
        self.assertEqual(0, self.left())

    def test_a_restart_in_between_loses_nothing(self) -> None:
        self.closed()
        gone = GuardianServer()
        with gone:
            pass
        self.ask(gone)
        self.turn()
        self.assertEqual((1, 1), (self.said("could not be told"), self.left()))
        self.restart()
        self.ask(self.guardian)
        self.turn()
        self.assertEqual((1, 0), (len(self.told()), self.left()))

    def test_an_approval_that_guardian_does_not_know_is_final(self) -> None:
        self.closed()
        self.guardian.script(says({"error": "unknown approval"}, 404))
        self.turn()
        self.turn(3600)
        self.assertEqual((1, 0, 0), (len(self.told()), self.left(), self.said("could not be told")))

    def test_after_a_day_it_is_given_up_for_good(self) -> None:
        self.closed()
        self.guardian.script(DOWN)
        self.turn()
        self.turn(24 * 3600)
        self.assertEqual((2, 1, 0), (len(self.told()), self.left(), self.said("given up")))
        self.turn(1)
        self.assertEqual((2, 0, 1), (len(self.told()), self.left(), self.said("given up")))
        self.restart()
        self.turn(1)
        self.assertEqual((2, 1), (len(self.told()), self.said("given up")))

    def test_a_desk_that_was_off_for_a_day_gives_up_as_well(self) -> None:
        self.closed()
        self.scene.clock.advance(25 * 3600)
        self.restart()
        self.turn()
        self.assertEqual(([], 0, 1), (self.told(), self.left(), self.said("given up")))

    def test_the_pauses_grow_with_the_trouble_and_are_bounded(self) -> None:
        position = self.closed()
        assert position.exited_at is not None
        for seconds, pause in ((0, 30), (60, 30), (120, 30), (240, 60), (3600, 900), (14_400, 3600), (80_000, 3600)):
            with self.subTest(seconds=seconds):
                at = position.exited_at + timedelta(seconds=seconds)
                self.assertEqual(timedelta(seconds=pause), pause_after(position, at))
        self.assertEqual((30, 3600), (RETRY_MIN.total_seconds(), RETRY_MAX.total_seconds()))

    def test_a_day_of_silence_costs_few_questions(self) -> None:
        self.closed()
        self.guardian.script(DOWN)
        for _ in range(24 * 60):
            self.turn(60)
        self.assertLess(len(self.told()), 60)
        self.assertGreater(len(self.told()), 20)

    def test_one_that_guardian_chokes_on_does_not_keep_the_others_back(self) -> None:
        first, second = self.closed(), self.closed("signal_2", "SOL/AVAX")
        self.guardian.script(DOWN, TAKEN)
        self.turn()
        self.assertEqual(1, len(self.told()))
        self.turn(1)
        assert first.approval is not None and second.approval is not None
        self.assertEqual(2, len(set(self.told())))
        self.assertEqual(1, self.left())
        self.turn(30)
        self.assertEqual({first.approval.id, second.approval.id}, set(self.told()))
        self.assertEqual(0, self.left())

    def test_a_round_has_a_bound(self) -> None:
        for number in range(AT_ONCE_MAX + 1):
            self.closed(f"signal_{number}")
        self.assertEqual(AT_ONCE_MAX, len(due(self.scene.desk, self.outbox)))

    def test_what_had_one_leg_only_has_nothing_to_tell(self) -> None:
        for coin in ("ETH", "BTC"):
            with self.subTest(coin=coin):
                opening = given_a_working_trade()
                shares = {one.client_order_id: "1" if one.coin == coin else "0" for one in opening.orders}
                reports = tuple(given_report(one, shares[one.client_order_id], after(1)) for one in opening.orders)
                opening = record(opening, OrdersReported(after(1), reports))
                self.assertIsNone(outcome_of(position_of((opening,))))

    def test_what_filled_nothing_is_crossed_off_without_a_word(self) -> None:
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.venue.script(lost_before())
        self.scene.execute()
        for _ in range(3):
            self.scene.tick(60)
        self.assertEqual(1, self.left())
        self.turn()
        self.assertEqual(([], 0), (self.told(), self.left()))


class LastFundingTest(OutboxTestCase):
    """A position that is left five seconds after one o'clock."""

    def setUp(self) -> None:
        super().setUp()
        self.scene.clock.instant = self.scene.clock.instant.replace(minute=59, second=50)
        hour = self.scene.clock.instant.replace(hour=13, minute=0, second=0)
        position = self.scene.opened()
        payment = FundingPayment(Coin("ETH"), Usd(Decimal("1.5")), Quantity(Decimal("0.25")), hour)
        self.venue.payments = (payment,)
        self.scene.clock.advance(15)
        self.position = self.scene.close(position)

    def funding(self) -> Decimal:
        return self.scene.position(self.position.id).funding

    def test_it_waits_until_the_hour_is_listed(self) -> None:
        self.turn(24)
        self.assertEqual([], self.told())
        self.turn(1)
        self.assertEqual((1, Decimal("1.5")), (len(self.told()), self.funding()))
        before = outcome_of(self.position)
        outcome = outcome_of(self.scene.position(self.position.id))
        assert before is not None and outcome is not None
        self.assertEqual(Decimal("1.5"), (before.pnl - outcome.pnl) * self.position.entry_notional)
        # Of what was entered: two fees of 4.5 basis points, one basis point of spread in and out, and the funding.
        self.assertAlmostEqual(Decimal("-0.0011") - Decimal("0.00075"), outcome.pnl, 5)

    def test_it_waits_for_funding_that_cannot_be_had(self) -> None:
        self.venue.reads_down = {"funding"}
        self.turn(25)
        self.assertEqual(([], 1), (self.told(), self.said("could not be told")))
        self.venue.reads_down = set()
        self.turn(30)
        self.assertEqual((1, Decimal("1.5")), (len(self.told()), self.funding()))

    def test_it_waits_while_somebody_who_shares_the_coin_is_in_doubt(self) -> None:
        self.scene.clock.instant = self.scene.clock.instant.replace(hour=12, minute=59, second=58)
        self.venue.script(unknown_for(60))
        self.scene.execute("signal_2", pair="SOL/ETH")
        self.scene.clock.instant = self.scene.clock.instant.replace(hour=13, minute=0, second=35)
        self.turn()
        self.assertEqual(([], 1, Decimal(0)), (self.told(), self.left(), self.funding()))
        self.scene.tick(60)
        self.turn()
        self.assertEqual((1, Decimal("0.75")), (len(self.told()), self.funding()))
