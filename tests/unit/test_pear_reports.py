"""Whose fills are whose of what was sent through Pear, and what they add up to, by register, exchange and clock."""

import unittest
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from tests.fakes import NOON
from trading.adapters.hyperliquid_api import Skew
from trading.adapters.hyperliquid_reports import refused
from trading.adapters.hyperliquid_wire import Fill
from trading.adapters.pear_register import Sent
from trading.adapters.pear_reports import Evidence, evidence_of, owners_of, report_on
from trading.adapters.pear_wire import CLOID_MARK
from trading.domain.orders import Order, OrderStatus, RejectReason, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd

ETH = Coin("ETH")
EXACT = Skew(timedelta(0), timedelta(0))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_fill(at: datetime, *, tid: int = 1, oid: int = 10, side: Side = Side.SELL) -> Fill:
    return Fill(ETH, oid, None, Price(Decimal(3000)), Quantity(Decimal("0.2")), Usd(Decimal(1)), at, tid, side)


def an_order(number: int, *, reduces: bool = True) -> Order:
    return Order(
        client_order_id=ClientOrderId(f"0x{number:032x}"),
        coin=ETH,
        side=Side.SELL,
        quantity=Quantity(Decimal("0.2")),
        limit_price=Price(Decimal(2900)),
        reduce_only=reduces,
        slice_number=1,
        attempt=0,
        intended_at=NOON,
        expires_at=after(5),
    )


def sent(number: int, at: datetime, *, expected: str | None = "0.2", side: Side = Side.SELL) -> Sent:
    """Of an order in doubt; one that reduces when something is *expected*."""
    taken = None if expected is None else Quantity(Decimal(expected))
    return Sent(ClientOrderId(f"0x{number:032x}"), ETH, side, f"key {number}", at, taken)


class Owners(unittest.TestCase):
    def owner(self, fill: Fill, *known: Sent, skew: Skew = EXACT) -> int | None:
        found = owners_of({one.client_order_id: one for one in known}, [fill], skew).get((fill.tid, fill.oid))
        return None if found is None else int(found, 16)

    def test_what_is_filled_after_the_next_order_like_it_was_sent_is_the_next_one_s(self) -> None:
        """One of which nobody ever learned the end, as of a stop without a ledger, took the fills of every later close:
        its own position had then lost a leg to somebody else."""
        first, second = sent(1, NOON), sent(2, after(60))
        for at, owner in ((-1, None), (1, 1), (59, 1), (61, 2)):
            with self.subTest(at=at):
                self.assertEqual(self.owner(a_fill(after(at)), first, second), owner)
                self.assertEqual(self.owner(a_fill(after(at)), second, first), owner)

    def test_an_order_that_has_ended_has_the_fills_that_it_ended_by_and_no_more(self) -> None:
        """One that was given up would have taken what somebody else sells of its coin from then on."""
        first = a_fill(after(1), tid=1)
        report = refused(an_order(1), RejectReason.OTHER, "", NOON)
        known = replace(sent(1, NOON), final=report), replace(sent(2, after(5)), final=report, tids=frozenset({2}))
        self.assertIsNone(self.owner(first, *known))
        self.assertEqual(self.owner(a_fill(after(1), tid=2), *known), 2)
        self.assertIsNone(self.owner(a_fill(after(6), tid=3), *known))

    def test_a_fill_of_another_coin_or_side_is_nobody_s(self) -> None:
        self.assertEqual(self.owner(a_fill(after(1)), sent(1, NOON)), 1)
        self.assertIsNone(self.owner(a_fill(after(1), side=Side.BUY), sent(1, NOON)))
        self.assertIsNone(self.owner(replace(a_fill(after(1)), coin=Coin("BTC")), sent(1, NOON)))


class Windows(unittest.TestCase):
    """Since when a fill may be of an order, by the exchange's clock, which is two seconds ahead here."""

    skew = Skew(timedelta(seconds=2), timedelta(milliseconds=100))

    def evidence(self, orders: list[Order], known: list[Sent], fills: list[Fill]) -> list[Evidence]:
        told = {one.client_order_id: one for one in known}
        found = evidence_of(orders, told, fills, after(30), self.skew)
        return [found[one.client_order_id] for one in orders]

    def test_an_opening_s_begin_a_second_before_it_was_sent_and_a_close_s_as_exactly_as_the_clocks_are_known(
        self,
    ) -> None:
        for reduces, earliest in ((False, 1.0), (True, 1.85)):
            known = sent(1, NOON, expected="0.2" if reduces else None)
            for at, own in ((earliest, True), (earliest - 0.01, False)):
                with self.subTest(reduces=reduces, at=at):
                    fill = a_fill(after(at))
                    (found,) = self.evidence([an_order(1, reduces=reduces)], [known], [fill])
                    self.assertEqual(found.fills, (fill,) if own else ())
                    owners = owners_of({known.client_order_id: known}, [fill], self.skew)
                    self.assertEqual(len(owners), int(own))

    def test_they_end_with_the_next_order_like_it(self) -> None:
        tenth = Quantity(Decimal("0.1"))
        fills = [replace(a_fill(after(at), tid=tid), quantity=tenth) for tid, at in enumerate((2.5, 6.8, 7))]
        known = [sent(1, NOON), sent(2, after(5))]
        first, second = self.evidence([an_order(1), an_order(2)], known, fills)
        self.assertEqual((first.fills, second.fills), (tuple(fills[:2]), tuple(fills[2:])))

    def test_no_fill_is_in_two_windows_whoever_looks_at_the_same_time(self) -> None:
        """Two positions that share a coin are closed right after each other, and one of the closes is lost: each of two
        threads took the same fill for its own, and what still stood was nobody's."""
        for gap, at in ((0.1, 2.05), (0.1, 2.1), (0.0, 2.0), (14, 15.9)):
            with self.subTest(gap=gap, at=at):
                known = [sent(1, NOON), sent(2, after(gap))]
                found = [self.evidence([an_order(number)], known, [a_fill(after(at))])[0] for number in (1, 2)]
                self.assertEqual(sum(len(one.fills) for one in found), 1)

    def test_one_that_has_ended_or_is_long_past_takes_nothing_from_the_next(self) -> None:
        report = refused(an_order(1), RejectReason.OTHER, "", NOON)
        for first, gap in ((replace(sent(1, NOON), final=report), 1.0), (sent(1, NOON), 16)):
            with self.subTest(gap=gap):
                fill = a_fill(after(gap + 1.9))
                (found,) = self.evidence([an_order(2)], [first, sent(2, after(gap))], [fill])
                self.assertEqual(found.fills, (fill,))

    def test_a_close_has_no_more_of_the_fills_around_it_than_it_was_to_take(self) -> None:
        """Its position had less than nothing in the book then."""
        fills = [a_fill(after(2.1), tid=1), a_fill(after(2.2), tid=2)]
        (found,) = self.evidence([an_order(1)], [sent(1, NOON)], fills)
        self.assertEqual(found.fills, (fills[0],))

    def test_its_own_come_before_those_of_just_before_it_was_sent(self) -> None:
        before, own = replace(a_fill(after(1.9)), quantity=Quantity(Decimal("0.5"))), a_fill(after(2.1), tid=2)
        for fills in ([before, own], [own, before]):
            (found,) = self.evidence([an_order(2)], [sent(2, NOON)], fills)
            self.assertEqual(found.fills, (own,))

    def test_parts_of_one_order_are_all_its_own_and_an_opening_may_have_more_than_was_asked(self) -> None:
        parts = [replace(a_fill(after(2.1), tid=tid), quantity=Quantity(Decimal("0.1"))) for tid in (1, 2, 3)]
        (close,) = self.evidence([an_order(1)], [sent(1, NOON)], parts)
        self.assertEqual(len(close.fills), 2)
        (opening,) = self.evidence([an_order(1, reduces=False)], [sent(1, NOON, expected=None)], parts)
        self.assertEqual(len(opening.fills), 3)

    def test_orders_that_are_asked_about_together_are_no_group_for_that(self) -> None:
        """What was lost would be called unfilled for what another order took, be sent again, and come twice."""
        fill = a_fill(after(3))
        orders = [an_order(1), replace(an_order(2), coin=Coin("BTC"))]
        for keys, together in ((("a", "b"), False), (("a", "a"), True), (("", ""), False)):
            with self.subTest(keys=keys):
                one, other = (replace(sent(number, NOON), key=key) for number, key in zip((1, 2), keys, strict=True))
                found = self.evidence(orders, [one, replace(other, coin=Coin("BTC"))], [fill])
                self.assertEqual(found[0].group_filled_at, fill.at)
                self.assertEqual(found[1].group_filled_at, fill.at if together else None)
        found = self.evidence(orders, [], [fill])
        self.assertEqual([one.group_filled_at for one in found], [fill.at, None])

    def test_every_instant_is_the_exchange_s(self) -> None:
        """By ours a lost close would be given up, or sent directly, as much too early or late as the clocks part."""
        known = replace(sent(1, NOON), answered_at=after(1), refused_at=after(4))
        (found,) = self.evidence([an_order(1)], [known], [])
        self.assertEqual((found.sent_at, found.answered_at, found.refused_at), (after(2), after(3), after(6)))
        (unregistered,) = self.evidence([an_order(1)], [], [])
        self.assertEqual((unregistered.sent_at, unregistered.answered_at), (after(2), None))

    def test_a_group_is_as_young_as_its_newest_fill_also_of_those_that_have_ended(self) -> None:
        fills = [
            a_fill(after(3), tid=1),
            a_fill(after(5), tid=2, side=Side.BUY),
            a_fill(after(9), tid=3, side=Side.BUY),
        ]
        ended = replace(sent(2, NOON, side=Side.BUY), key="key 1", tids=frozenset({2}))
        other = replace(sent(3, NOON, side=Side.BUY), tids=frozenset({3}))
        (found,) = self.evidence([an_order(1)], [sent(1, NOON), ended, other], fills)
        self.assertEqual(found.group_filled_at, after(5))

    def test_a_window_ends_with_the_very_next_of_its_coin_and_side_that_was_posted(self) -> None:
        fill = a_fill(after(9))
        for other, own in (
            (sent(2, after(5)), False),
            (sent(2, after(5), side=Side.BUY), True),
            (replace(sent(2, after(5)), coin=Coin("BTC")), True),
            (replace(sent(2, after(5)), key=""), True),
        ):
            with self.subTest(other=other):
                known = [sent(1, NOON), other, sent(3, after(20))]
                (found,) = self.evidence([an_order(1)], known, [fill])
                self.assertEqual(bool(found.fills), own)


class Own(unittest.TestCase):
    """Which of the fills in its window are an order's own."""

    def own(self, fills: list[Fill], *known: Sent) -> tuple[Fill, ...]:
        told = {one.client_order_id: one for one in known}
        return tuple(evidence_of([an_order(1)], told, fills, after(30), EXACT)[an_order(1).client_order_id].fills)

    def test_those_of_the_exchange_s_orders_that_pear_told_and_no_others(self) -> None:
        fills = [a_fill(after(1), tid=1, oid=10), a_fill(after(1), tid=2, oid=11)]
        told = replace(sent(1, NOON), told={11: Quantity(Decimal("0.2"))})
        self.assertEqual(self.own(fills, told), (fills[1],))
        self.assertEqual(self.own(fills[:1], told), (fills[0],), "told by an id that the exchange does not have")

    def test_none_that_another_order_was_told_or_has_ended_by_and_none_that_went_directly(self) -> None:
        fill, own = a_fill(after(1), tid=1, oid=10), sent(1, NOON)
        elsewhere = sent(2, after(-60))
        self.assertEqual(self.own([fill], own, elsewhere), (fill,))
        self.assertEqual(self.own([fill], own, replace(elsewhere, told={10: Quantity(Decimal("0.2"))})), ())
        self.assertEqual(self.own([fill], own, replace(elsewhere, tids=frozenset({1}))), ())
        self.assertEqual(self.own([fill], replace(own, tids=frozenset({1})), elsewhere), (fill,))
        self.assertEqual(self.own([replace(fill, cloid=own.client_order_id)], own), ())

    def test_pear_s_by_their_mark_and_without_any_what_nobody_forced(self) -> None:
        by_hand, marked = a_fill(after(1), tid=1), replace(a_fill(after(2), tid=2), cloid=f"{CLOID_MARK}{1:024x}")
        forced = replace(a_fill(after(0.5), tid=3), liquidated="0x" + "ab" * 20)
        self.assertEqual(self.own([forced, by_hand, marked], sent(1, NOON)), (marked,))
        self.assertEqual(self.own([forced, by_hand], sent(1, NOON)), (by_hand,))
        self.assertEqual(self.own([forced], sent(1, NOON)), ())

    def test_none_of_another_coin_or_side(self) -> None:
        fill = a_fill(after(1))
        self.assertEqual(self.own([replace(fill, coin=Coin("BTC"))], sent(1, NOON)), ())
        self.assertEqual(self.own([replace(fill, side=Side.BUY)], sent(1, NOON)), ())


class Words(unittest.TestCase):
    """What is said of an order, and when: seconds after it was sent."""

    def word(
        self,
        now: float,
        more: Mapping[str, object] | None = None,
        *,
        reduces: bool = True,
        filled: str = "0",
        filled_at: float = 0.0,
    ) -> str:
        """*more* is what the register knows, `told`, `expected` and `refused`, and when: `answered`, `refused`,
        `group`."""
        more = more or {}
        known = sent(1, NOON, expected=str(more.get("expected", "0.2")))
        if "told" in more:
            known = replace(known, told={10: Quantity(Decimal(str(more["told"])))})
        if "refused" in more:
            known = replace(known, refused=(RejectReason.MARGIN, "too little"))
        quantity = Quantity(Decimal(filled))
        fills = [replace(a_fill(after(filled_at)), quantity=quantity)] if quantity else []
        group = float(str(more.get("group", filled_at)))

        def instant(name: str) -> datetime | None:
            return after(float(str(more[name]))) if name in more else None

        evidence = Evidence(
            sent=None if "unregistered" in more else known,
            fills=fills,
            venue_now=after(now),
            sent_at=NOON,
            answered_at=instant("answered"),
            refused_at=instant("refused"),
            group_filled_at=after(group) if fills or "group" in more else None,
        )
        report = report_on(an_order(1, reduces=reduces), evidence, NOON)
        self.assertEqual((report.filled, report.sized_by_venue), self.counted(report.status, quantity))
        return f"{report.status} {report.reason or ''}".strip()

    def counted(self, status: OrderStatus, quantity: Quantity) -> tuple[Decimal, bool]:
        ended = status in (OrderStatus.FILLED, OrderStatus.PARTIALLY_FILLED)
        return (quantity, quantity > Decimal("0.2")) if ended else (Decimal(0), False)

    def test_all_that_was_asked_told_or_to_be_taken_is_the_end_at_once(self) -> None:
        self.assertEqual(self.word(0, filled="0.2"), "FILLED")
        self.assertEqual(self.word(0, {"unregistered": True}, filled="0.2"), "FILLED")
        self.assertEqual(self.word(0, {"told": "0.15", "answered": 0}, filled="0.15"), "PARTIALLY_FILLED")
        self.assertEqual(self.word(0, {"expected": "0.15"}, filled="0.15"), "PARTIALLY_FILLED")
        self.assertEqual(self.word(0, {"told": "0.25", "answered": 0}, filled="0.25"), "FILLED")
        odd: tuple[dict[str, object], ...] = ({"unregistered": True}, {"told": "0.2"}, {"expected": "0.16"})
        for more in odd:
            with self.subTest(more=more):
                self.assertEqual(self.word(0, more, filled="0.15"), "ACCEPTED")

    def test_a_part_is_the_end_when_the_newest_fill_of_the_group_is_three_seconds_old(self) -> None:
        for now, filled_at, more, word in (
            (3, 0, {}, "ACCEPTED"),
            (3.001, 0, {}, "PARTIALLY_FILLED"),
            (3.001, 0, {"group": 1}, "ACCEPTED"),
            (7.999, 5, {"answered": 0}, "ACCEPTED"),
            (8.001, 5, {"answered": 0}, "PARTIALLY_FILLED"),
            (9, 0, {"answered": 6}, "ACCEPTED"),
            (9.001, 0, {"answered": 6}, "PARTIALLY_FILLED"),
        ):
            with self.subTest(now=now, more=more):
                self.assertEqual(self.word(now, more, filled="0.1", filled_at=filled_at), word)

    def test_what_pear_says_it_has_done_is_waited_for(self) -> None:
        for now, more, word in (
            (10, {}, "ACCEPTED"),
            (10.001, {}, "REJECTED NO_MATCH"),
            (3, {"told": "0.2"}, "ACCEPTED"),
            (3.001, {"told": "0.2"}, "REJECTED NO_MATCH"),
            (3, {"group": 0}, "ACCEPTED"),
            (3.001, {"group": 0}, "REJECTED NO_MATCH"),
        ):
            with self.subTest(now=now, more=more):
                self.assertEqual(self.word(now, {"answered": 0, **more}), word)
                later = {"answered": 5, **more, **({"group": 5} if "group" in more else {})}
                self.assertEqual(self.word(now + 5, later), word)

    def test_a_no_is_believed_a_second_and_a_half_after_it_came_and_only_where_nothing_was_done(self) -> None:
        for now, more, word in (
            (1.5, {"refused": 0}, "ACCEPTED"),
            (1.501, {"refused": 0}, "REJECTED MARGIN"),
            (6.5, {"refused": 5}, "ACCEPTED"),
            (6.501, {"refused": 5}, "REJECTED MARGIN"),
            (3, {"group": 0}, "UNKNOWN"),
            (3.001, {"group": 0}, "REJECTED NO_MATCH"),
            (3.001, {"group": 0, "refused": 3}, "REJECTED NO_MATCH"),
        ):
            with self.subTest(now=now, more=more):
                self.assertEqual(self.word(now, more), word)

    def test_silence_ends_after_fifteen_seconds_for_a_close_and_ninety_for_an_opening(self) -> None:
        for now, reduces, word in (
            (15, True, "UNKNOWN"),
            (15.001, True, "REJECTED OTHER"),
            (15.001, False, "UNKNOWN"),
            (90, False, "UNKNOWN"),
            (90.001, False, "REJECTED UNEXPLAINED"),
        ):
            with self.subTest(now=now, reduces=reduces):
                self.assertEqual(self.word(now, reduces=reduces), word)
                self.assertEqual(self.word(now, {"unregistered": True}, reduces=reduces), word)


if __name__ == "__main__":
    unittest.main()
