"""What the evidence on an order adds up to: the table of its endings."""

import unittest
from datetime import timedelta
from decimal import Decimal

from tests.unit.test_hyperliquid_wire import NOON, an_order
from trading.adapters.hyperliquid_actions import Executed
from trading.adapters.hyperliquid_reports import Evidence, answered, computed, own_fills, report_on
from trading.adapters.hyperliquid_wire import Fill, OrderState
from trading.domain.orders import OrderReport, OrderStatus, RejectReason, Side
from trading.domain.units import Coin, Quantity

SECOND = timedelta(seconds=1)
OID = 77


def a_fill(quantity: str, *, oid: int = OID, tid: int = 1, coin: str = "ETH", cloid: str | None = None) -> Fill:
    return Fill(Coin(coin), oid, cloid, Decimal(3000), Decimal(quantity), Decimal("0.01"), NOON, tid, Side.BUY)


def a_state(state: str, *, original: str = "0.02", remaining: str = "0", at: float = 0.0) -> OrderState:
    return OrderState(OID, Decimal(original), Decimal(remaining), state, NOON + at * SECOND)


class Endings(unittest.TestCase):
    """The order: buy 0.02 ETH, expires ten seconds after noon."""

    def word(
        self,
        state: OrderState | None = None,
        *fills: Fill,
        seconds: float = 1.0,
        executed: Executed | None = None,
        burned: bool = False,
        reduce_only: bool = False,
    ) -> OrderReport:
        evidence = Evidence(state, fills, NOON + seconds * SECOND, executed, burned)
        return report_on(an_order(reduce_only=reduce_only), evidence, NOON)

    def assert_word(self, report: OrderReport, status: OrderStatus, filled: str = "0") -> None:
        self.assertEqual((report.status, report.filled), (status, Decimal(filled)), report)

    def test_fills_of_the_whole_order_end_it_whatever_else_is_said(self) -> None:
        for state in (None, a_state("open"), a_state("canceled", remaining="0.02"), a_state("iocCancelRejected")):
            with self.subTest(state=state):
                report = self.word(state, a_fill("0.015"), a_fill("0.005", tid=2))
                self.assert_word(report, OrderStatus.FILLED, "0.02")
                self.assertEqual((report.average_price, report.fees), (3000, Decimal("0.02")))
                self.assertEqual(report.filled_at, a_fill("0.015").at)

    def test_a_partial_execution_says_filled_and_its_fills_say_how_much(self) -> None:
        report = self.word(a_state("filled", remaining="0.012"), a_fill("0.008"))
        self.assert_word(report, OrderStatus.PARTIALLY_FILLED, "0.008")

    def test_until_the_fills_add_up_the_order_is_in_doubt_and_claims_none(self) -> None:
        for fills in ((), (a_fill("0.003"),)):
            with self.subTest(fills=fills):
                self.assert_word(self.word(a_state("filled", remaining="0.012"), *fills), OrderStatus.ACCEPTED)
        self.assert_word(self.word(a_state("filled")), OrderStatus.ACCEPTED)

    def test_after_long_enough_the_readable_fills_are_all_there_are(self) -> None:
        report = self.word(a_state("filled", remaining="0.012"), a_fill("0.003"), seconds=11)
        self.assert_word(report, OrderStatus.PARTIALLY_FILLED, "0.003")
        self.assert_word(self.word(a_state("filled"), seconds=60), OrderStatus.ACCEPTED)
        early = self.word(a_state("filled", remaining="0.012"), a_fill("0.003"), seconds=9)
        self.assert_word(early, OrderStatus.ACCEPTED)

    def test_a_shrunk_reduce_only_order_is_believed_by_its_fills_after_their_lag(self) -> None:
        state = a_state("filled", original="0.02", remaining="0")
        self.assert_word(self.word(state, a_fill("0.005"), seconds=1, reduce_only=True), OrderStatus.ACCEPTED)
        report = self.word(state, a_fill("0.005"), seconds=4, reduce_only=True)
        self.assert_word(report, OrderStatus.PARTIALLY_FILLED, "0.005")

    def test_a_rejection_without_fill_is_a_rejection(self) -> None:
        report = self.word(a_state("iocCancelRejected", remaining="0.02"))
        self.assert_word(report, OrderStatus.REJECTED)
        self.assertIs(report.reason, RejectReason.NO_MATCH)
        contradicted = self.word(a_state("iocCancelRejected", remaining="0.02"), a_fill("0.01"), seconds=11)
        self.assert_word(contradicted, OrderStatus.PARTIALLY_FILLED, "0.01")
        for word in ("iocCancelRejected", "marginCanceled"):
            early = self.word(a_state(word, remaining="0.02"), a_fill("0.01"))
            self.assert_word(early, OrderStatus.ACCEPTED)

    def test_a_cancellation_without_fill_is_a_rejection(self) -> None:
        report = self.word(a_state("marginCanceled", remaining="0.02"))
        self.assert_word(report, OrderStatus.REJECTED)
        self.assertIs(report.reason, RejectReason.MARGIN)
        shrunk = a_state("reduceOnlyCanceled", remaining="0.01")
        self.assert_word(self.word(shrunk, seconds=1, reduce_only=True), OrderStatus.ACCEPTED)
        self.assert_word(self.word(shrunk, seconds=4, reduce_only=True), OrderStatus.REJECTED)

    def test_an_open_order_is_accepted_with_no_fill_claimed(self) -> None:
        self.assert_word(self.word(a_state("open"), a_fill("0.01")), OrderStatus.ACCEPTED)
        self.assert_word(self.word(a_state("triggered")), OrderStatus.ACCEPTED)
        self.assert_word(self.word(a_state("open", remaining="0.02"), seconds=60), OrderStatus.ACCEPTED)

    def test_a_word_that_is_not_known_ends_an_order_by_how_it_ends_or_with_its_time(self) -> None:
        for word, status in (
            ("pendingReview", OrderStatus.ACCEPTED),
            ("somethingNewCanceled", OrderStatus.REJECTED),
            ("internalCancel", OrderStatus.REJECTED),
            ("somethingNewRejected", OrderStatus.REJECTED),
        ):
            with self.subTest(word=word):
                self.assert_word(self.word(a_state(word, remaining="0.02")), status)
        self.assert_word(self.word(a_state("pendingReview", remaining="0.02"), seconds=16), OrderStatus.REJECTED)

    def test_unknown_right_away_is_no_absence(self) -> None:
        for seconds in (0.0, 10.0, 14.9, 15.0):
            with self.subTest(seconds=seconds):
                self.assert_word(self.word(seconds=seconds), OrderStatus.UNKNOWN)

    def test_absence_is_expiry_and_margin_by_the_venue_s_clock(self) -> None:
        self.assert_word(self.word(seconds=15.1), OrderStatus.ABSENT)

    def test_a_burned_nonce_is_absence_at_once(self) -> None:
        self.assert_word(self.word(seconds=0.1, burned=True), OrderStatus.ABSENT)

    def test_a_fill_outweighs_a_burned_nonce_and_expiry(self) -> None:
        self.assert_word(self.word(None, a_fill("0.01"), seconds=1, burned=True), OrderStatus.ACCEPTED)
        self.assert_word(self.word(None, a_fill("0.01"), seconds=16), OrderStatus.PARTIALLY_FILLED, "0.01")

    def test_an_answered_order_waits_for_its_fills_and_is_never_absent(self) -> None:
        executed = Executed(OID, Decimal("0.008"), Decimal("3000.1"))
        self.assert_word(self.word(None, seconds=60, executed=executed), OrderStatus.ACCEPTED)
        report = self.word(None, a_fill("0.008"), executed=executed)
        self.assert_word(report, OrderStatus.PARTIALLY_FILLED, "0.008")
        # The submit's answer says what a shrunk order traded, so its fills need no time.
        shrunk = self.word(a_state("filled"), a_fill("0.008"), executed=executed, reduce_only=True)
        self.assert_word(shrunk, OrderStatus.PARTIALLY_FILLED, "0.008")

    def test_more_fills_than_ordered_are_not_believed(self) -> None:
        self.assert_word(self.word(a_state("filled"), a_fill("0.021")), OrderStatus.UNKNOWN)
        report = answered(an_order(), Executed(OID, Decimal("0.03"), Decimal(1)), [a_fill("0.03")], NOON)
        self.assert_word(report, OrderStatus.ACCEPTED)

    def test_a_computed_fee_is_the_taker_s_truncated_to_the_millionth(self) -> None:
        executed = Executed(OID, Decimal("0.0200"), Decimal("3000.7"))
        report = computed(an_order(), executed, Decimal("0.000432"), NOON)
        self.assert_word(report, OrderStatus.FILLED, "0.02")
        self.assertEqual((report.average_price, report.fees), (Decimal("3000.7"), Decimal("0.025926")))

    def test_an_order_s_fills_are_found_by_either_id_each_once_and_on_its_coin_only(self) -> None:
        cloid = "0x" + "0a" * 16
        order = an_order(quantity=Quantity(Decimal(1)))
        by_oid, by_cloid = a_fill("0.1"), a_fill("0.2", oid=5, tid=2, cloid=cloid)
        strangers = (a_fill("0.3", oid=6, tid=3), a_fill("0.4", coin="SOL", tid=4, cloid=cloid))
        found = own_fills(order, (by_oid, by_cloid, by_oid, *strangers), [OID])
        self.assertEqual(found, (by_oid, by_cloid))
        self.assertEqual(own_fills(order, (by_oid, by_cloid), []), (by_cloid,))


if __name__ == "__main__":
    unittest.main()
