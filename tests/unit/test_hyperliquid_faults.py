"""Whatever becomes of a request, at the open and at the close alike: no order twice, and the word is the truth."""

import unittest
from decimal import Decimal
from typing import ClassVar

from tests.processes import wait_until
from tests.servers.hyperliquid import MASTER
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit, Fault
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.adapters.hyperliquid_values import milliseconds
from trading.domain.errors import VenueUnavailable
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.units import Coin

FILLED, ABSENT, UNKNOWN = OrderStatus.FILLED, OrderStatus.ABSENT, OrderStatus.UNKNOWN


class Faults:
    """The table of misfortunes, for whoever mixes it in: a pair of legs is opened in one, closed in the other."""

    reduce_only: ClassVar[bool]

    def world(self) -> HyperliquidWorld:
        assert isinstance(self, HyperliquidWorld)
        return self

    def pair(self) -> tuple[Order, Order]:
        """Both legs: opened long ETH and short SOL, or closed again."""
        world = self.world()
        eth, sol = (Side.SELL, Side.BUY) if self.reduce_only else (Side.BUY, Side.SELL)
        return (
            world.an_order(ETH, eth, "0.5", reduce_only=self.reduce_only),
            world.an_order(SOL, sol, "7", reduce_only=self.reduce_only),
        )

    def expected(self, filled: bool) -> tuple[Decimal, Decimal]:
        held = filled is not self.reduce_only
        return (Decimal("0.5"), Decimal(-7)) if held else (Decimal(0), Decimal(0))

    def holdings(self) -> tuple[Decimal, Decimal]:
        return (self.world().held(ETH), self.world().held(SOL))

    def assert_told_once(self, orders: tuple[Order, ...], reports: tuple[OrderReport, ...]) -> None:
        """The same orders submitted again change nothing and are told the same."""
        world = self.world()
        sent, held = world.actions("order"), self.holdings()
        world.clock.advance(2)
        again = world.venue.submit(orders)
        world.assertEqual([(one.status, one.filled) for one in again], [(one.status, one.filled) for one in reports])
        world.assertEqual((world.actions("order"), self.holdings()), (sent, held))

    def test_every_fault_of_the_wire_ends_in_the_truth(self) -> None:
        def fault(answer: Answer, commit: Commit, seconds: float = 0.0) -> Fault:
            return Fault(EXCHANGE, answer, commit, "order", 1, seconds)

        cases: dict[str, tuple[Fault, bool]] = {
            "lost before the commit": (fault(Answer.CLOSED, Commit.NEVER), False),
            "lost after the commit": (fault(Answer.CLOSED, Commit.BEFORE), True),
            "429": (fault(Answer.TOO_MANY, Commit.NEVER), False),
            "502 with a page": (fault(Answer.BAD_GATEWAY, Commit.NEVER), False),
            "502 after the commit": (fault(Answer.BAD_GATEWAY, Commit.BEFORE), True),
            "500": (fault(Answer.SERVER_ERROR, Commit.NEVER), False),
            "garbage": (fault(Answer.GARBAGE, Commit.NEVER), False),
            "garbage after the commit": (fault(Answer.GARBAGE, Commit.BEFORE), True),
            "half an answer": (fault(Answer.CUT_SHORT, Commit.BEFORE), True),
            "hangs before the commit": (fault(Answer.HANGS, Commit.NEVER, 0.4), False),
            "hangs after the commit": (fault(Answer.HANGS, Commit.BEFORE, 0.4), True),
        }
        world = self.world()
        for name, (one, landed) in cases.items():
            with world.subTest(name):
                self.prepare()
                world.server.faults.add(one)
                orders = self.pair()
                if one.answer is Answer.HANGS:
                    world.venue = world.opened(seconds=0.25)
                done = len(world.exchange.received) + landed
                reports = world.venue.submit(orders)
                wait_until(lambda: len(world.exchange.received) >= done, "the deed")  # noqa: B023 - used at once
                world.assertEqual([report.status for report in reports], [UNKNOWN, UNKNOWN])
                world.assertEqual([report.filled for report in reports], [0, 0])
                reports = world.told(orders)
                world.assertEqual([report.status for report in reports], [FILLED if landed else ABSENT] * 2)
                world.assertEqual(self.holdings(), self.expected(landed))
                world.assertEqual(
                    [report.filled for report in reports], [one.quantity if landed else 0 for one in orders]
                )
                self.assert_told_once(orders, reports)

    def prepare(self) -> None:
        """A flat account, or the pair held when it is to be closed. Each case begins so."""
        world = self.world()
        for coin in (ETH, SOL):
            world.exchange.account(MASTER).positions.pop(coin, None)
        if self.reduce_only:
            world.venue.submit([world.an_order(ETH, Side.BUY, "0.5"), world.an_order(SOL, Side.SELL, "7")])
        world.assertEqual(self.holdings(), self.expected(False))

    def test_a_noop_keeps_a_late_order_from_ever_landing(self) -> None:
        world = self.world()
        self.prepare()
        # Brought below, when the noop has been there: no machine is so slow that it comes by itself.
        world.server.faults.arrive_late(60, "order")
        orders = self.pair()
        began = world.clock.now()
        world.venue.submit(orders)
        reports = world.told(orders)
        world.assertEqual([one.status for one in reports], [ABSENT, ABSENT])
        world.assertLess((world.clock.now() - began).total_seconds(), 5)
        world.server.bring_late()
        world.assertEqual(self.holdings(), self.expected(False))
        world.assertEqual(world.actions("noop"), 1)

    def test_a_noop_that_comes_too_late_proves_nothing_and_hurts_nothing(self) -> None:
        world = self.world()
        self.prepare()
        world.server.info.lag.milliseconds = 1000
        world.server.info.lag.fills_too = True
        world.server.faults.lose_after_commit("order")
        orders = self.pair()
        world.venue.submit(orders)
        world.assertEqual([one.status for one in world.venue.reports(orders)], [UNKNOWN, UNKNOWN])
        reports = world.told(orders)
        world.assertEqual([one.status for one in reports], [FILLED, FILLED])
        world.assertEqual(world.actions("noop"), 1)

    def test_without_the_noop_absence_waits_for_expiry(self) -> None:
        world = self.world()
        self.prepare()
        world.server.faults.lose_before_commit("order")
        world.server.faults.lose_before_commit("noop", times=None)
        orders = self.pair()
        world.venue.submit(orders)
        world.clock.advance(14.9)
        world.assertEqual([one.status for one in world.venue.reports(orders)], [UNKNOWN, UNKNOWN])
        world.clock.advance(1.2)
        world.assertEqual([one.status for one in world.venue.reports(orders)], [ABSENT, ABSENT])

    def test_after_a_restart_the_nonce_is_still_known(self) -> None:
        world = self.world()
        self.prepare()
        world.server.faults.lose_before_commit("order")
        orders = self.pair()
        world.venue.submit(orders)
        world.venue = world.opened()
        world.assertEqual([one.status for one in world.venue.reports(orders)], [ABSENT, ABSENT])

    def test_reads_that_lag_delay_the_word_and_never_change_it(self) -> None:
        world = self.world()
        self.prepare()
        world.server.info.lag.milliseconds = 1500
        world.server.info.lag.fills_too = True
        orders = self.pair()
        reports = world.venue.submit(orders)
        world.assertEqual([one.status for one in reports], [OrderStatus.ACCEPTED] * 2)
        reports = world.told(orders)
        world.assertEqual([one.status for one in reports], [FILLED, FILLED])
        self.assert_fees_are_the_account_s(reports)

    def assert_fees_are_the_account_s(self, reports: tuple[OrderReport, ...]) -> None:
        world = self.world()
        cloids = {one.client_order_id for one in reports}
        paid = sum(
            (Decimal(str(row["fee"])) for row in world.exchange.fills(MASTER) if row.get("cloid") in cloids), Decimal(0)
        )
        world.assertEqual(sum((one.fees for one in reports), Decimal(0)), paid)
        world.assertGreater(paid, 0)

    def test_fills_that_stay_unreadable_are_told_from_the_answer_with_the_fee_computed(self) -> None:
        world = self.world()
        self.prepare()
        world.server.info.lag.milliseconds = 60_000
        world.server.info.lag.fills_too = True
        orders = self.pair()
        world.venue.submit(orders)
        reports = world.told(orders)
        world.assertEqual([one.status for one in reports], [FILLED, FILLED])
        self.assert_fees_are_the_account_s(reports)
        world.assertTrue(any("fee was computed" in one for one in world.log.messages("warning")))

    def test_a_slow_answer_is_an_answer(self) -> None:
        world = self.world()
        self.prepare()
        world.server.faults.delay(0.1, only="order")
        reports = world.venue.submit(self.pair())
        world.assertEqual([one.status for one in reports], [FILLED, FILLED])

    def test_a_partial_execution_is_told_by_its_fills(self) -> None:
        world = self.world()
        self.prepare()
        world.exchange.cap_next_fill(ETH, "0.2")
        orders = self.pair()
        reports = world.venue.submit(orders)
        world.assertEqual([one.status for one in reports], [OrderStatus.PARTIALLY_FILLED, FILLED])
        world.assertEqual([one.filled for one in reports], [Decimal("0.2"), 7])
        self.assert_fees_are_the_account_s(reports)
        self.assert_told_once(orders, reports)

    def test_a_partial_execution_whose_answer_was_lost_is_told_by_its_fills(self) -> None:
        world = self.world()
        self.prepare()
        world.exchange.cap_next_fill(ETH, "0.2")
        world.server.faults.lose_after_commit("order")
        orders = self.pair()
        world.venue.submit(orders)
        reports = world.told(orders)
        world.assertEqual([one.filled for one in reports], [Decimal("0.2"), 7])

    def test_one_refused_leg_leaves_the_other_its_fill(self) -> None:
        world = self.world()
        for sentence, reason in (
            ("Insufficient margin to place order.", RejectReason.MARGIN),
            ("Order would increase open interest while open interest is capped.", RejectReason.OPEN_INTEREST),
        ):
            with world.subTest(sentence):
                self.prepare()
                world.exchange.refuse_next(SOL, sentence, "perpMarginRejected")
                reports = world.venue.submit(self.pair())
                world.assertEqual([one.status for one in reports], [FILLED, OrderStatus.REJECTED])
                world.assertIs(reports[1].reason, reason)

    def test_reads_that_fail_leave_the_doubt_and_raise(self) -> None:
        world = self.world()
        self.prepare()
        world.server.faults.lose_after_commit("order")
        orders = self.pair()
        world.venue.submit(orders)
        down = world.server.faults.down(INFO)
        with world.assertRaises(VenueUnavailable):
            world.venue.reports(orders)
        world.assertIn(down, world.server.faults.met)
        world.server.faults.lift()
        world.assertEqual([one.status for one in world.told(orders)], [FILLED, FILLED])

    def test_an_answer_without_readable_fills_survives_a_dead_read_side(self) -> None:
        world = self.world()
        self.prepare()
        world.server.faults.add(Fault(INFO, Answer.BAD_GATEWAY, Commit.NEVER, "userFillsByTime", None))
        orders = self.pair()
        reports = world.venue.submit(orders)
        world.assertEqual([one.status for one in reports], [OrderStatus.ACCEPTED] * 2)
        world.server.faults.lift()
        world.clock.advance(1)
        world.assertEqual([one.status for one in world.told(orders)], [FILLED, FILLED])

    def test_a_post_only_window_is_a_refusal(self) -> None:
        world = self.world()
        self.prepare()
        world.exchange.whims.post_only = True
        reports = world.venue.submit(self.pair())
        world.assertEqual(
            [(one.status, one.reason) for one in reports], [(OrderStatus.REJECTED, RejectReason.OTHER)] * 2
        )
        world.assertEqual(self.holdings(), self.expected(False))

    def test_an_address_without_requests_left_is_a_refusal(self) -> None:
        world = self.world()
        self.prepare()
        world.exchange.exhaust_budget(MASTER)
        reports = world.venue.submit(self.pair())
        world.assertEqual(
            [(one.status, one.reason) for one in reports], [(OrderStatus.REJECTED, RejectReason.RATE_LIMIT)] * 2
        )

    def test_a_revoked_key_is_a_refusal_with_the_venue_s_words(self) -> None:
        world = self.world()
        self.prepare()
        world.assertTrue(world.venue.is_proven())
        world.exchange.revoke_agent(world.venue.signer_address)
        reports = world.venue.submit(self.pair())
        for one in reports:
            world.assertIs(one.status, OrderStatus.REJECTED)
            world.assertIn(world.venue.signer_address, one.detail.lower())

    def test_both_legs_go_in_one_action_that_expires_with_the_first(self) -> None:
        world = self.world()
        self.prepare()
        sent = world.actions("order")
        orders = (
            self.pair()[0],
            world.an_order(SOL, self.pair()[1].side, "7", reduce_only=self.reduce_only, seconds=4),
        )
        world.venue.submit(orders)
        world.assertEqual(world.actions("order"), sent + 1)
        received = world.exchange.received[-1]
        world.assertEqual(received.expires_after, milliseconds(orders[1].expires_at))
        rows = received.action["orders"]
        assert isinstance(rows, list)
        world.assertEqual([row["c"] for row in rows], [one.client_order_id for one in orders])
        world.assertEqual([row["r"] for row in rows], [self.reduce_only] * 2)


class AtTheOpen(Faults, HyperliquidWorld):
    reduce_only = False


class AtTheClose(Faults, HyperliquidWorld):
    reduce_only = True

    def test_a_leg_that_is_already_flat_says_so(self) -> None:
        self.prepare()
        self.exchange.account(MASTER).positions.pop(Coin("SOL"))
        reports = self.venue.submit(self.pair())
        self.assertEqual([one.status for one in reports], [FILLED, OrderStatus.REJECTED])
        self.assertIs(reports[1].reason, RejectReason.REDUCE_ONLY)

    def test_a_shrunk_close_whose_answer_was_lost_is_told_by_its_fills(self) -> None:
        self.prepare()
        self.server.faults.lose_after_commit("order")
        order = self.an_order(ETH, Side.SELL, "0.8", reduce_only=True)
        self.venue.submit([order])
        (report,) = self.told([order])
        self.assertIs(report.status, OrderStatus.PARTIALLY_FILLED)
        self.assertEqual((report.filled, self.held(ETH)), (Decimal("0.5"), 0))


if __name__ == "__main__":
    unittest.main()
