"""What rests on paper, beside the contract: refusals, a journal that fails, bounded memory, several processes."""

import unittest
from datetime import timedelta
from decimal import Decimal
from unittest.mock import patch

from tests.unit.test_paper_venue import ETH, FILE, MARKET, MATIC, FailingJournal, PaperCase
from trading.adapters import paper, paper_resting
from trading.adapters.paper_market import price_tick
from trading.adapters.paper_resting import PaperRests
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.errors import StoreCorrupt, VenueUnavailable
from trading.domain.orders import RejectReason, Side
from trading.domain.resting import RestingOrder, RestingReport, RestingStatus, TriggerKind, resting_order_id
from trading.domain.units import Coin, PositionId, Price, Quantity

LIFE = timedelta(seconds=10)


class RestingCase(PaperCase):
    def resting_order(self, number: int = 1, coin: Coin = ETH, quantity: str = "0.5") -> RestingOrder:
        """A stop a fifth under the mark."""
        mark = MARKET.mark(ETH, self.clock.now())
        trigger = (mark * Decimal("0.8")).quantize(price_tick(mark, INSTRUMENTS[ETH]))
        limit = (mark * Decimal("0.72")).quantize(price_tick(mark, INSTRUMENTS[ETH]))
        return RestingOrder(
            resting_order_id(PositionId(FILE), coin, TriggerKind.STOP, number),
            coin,
            Side.SELL,
            Quantity(Decimal(quantity)),
            Price(trigger),
            Price(limit),
            TriggerKind.STOP,
        )

    def place(self, *orders: RestingOrder) -> tuple[RestingReport, ...]:
        return self.venue.place_resting(orders, self.clock.now() + LIFE)


class Placing(RestingCase):
    def test_what_comes_too_late_is_delisted_or_one_too_many_is_refused(self) -> None:
        late = self.venue.place_resting([self.resting_order()], self.clock.now() - LIFE)
        with patch.object(paper, "RESTS_MAX", 1):
            many = self.place(self.resting_order(2), self.resting_order(3))
        for reports, reason in (
            (late, RejectReason.EXPIRED),
            (many, RejectReason.OTHER),
            (self.place(self.resting_order(4, MATIC)), RejectReason.NOT_TRADABLE),
            (self.place(self.resting_order(5, Coin("NOSUCH"))), RejectReason.NOT_TRADABLE),
        ):
            with self.subTest(reason=reason):
                self.assertEqual({(one.status, one.reason) for one in reports}, {(RestingStatus.REJECTED, reason)})
        self.assertEqual(self.venue.resting(), ())

    def test_another_process_sees_what_rests_and_may_take_it_back(self) -> None:
        order = self.resting_order()
        self.place(order)
        other = self.a_venue()
        self.assertEqual([one.client_order_id for one in other.resting()], [order.client_order_id])
        self.assertEqual(other.cancel_resting([order]), {order.client_order_id})
        self.assertEqual(self.venue.resting(), ())

    def test_a_journal_that_fails_leaves_a_doubt(self) -> None:
        journal = FailingJournal(self.path)
        self.addCleanup(journal.close)
        self.venue = self.a_venue(journal)
        order = self.resting_order()
        journal.fails = "before writing"
        self.assertIs(self.place(order)[0].status, RestingStatus.UNKNOWN)
        self.assertEqual(self.venue.resting(), ())
        journal.fails = ""
        self.place(order)
        journal.fails = "before writing"
        self.assertIsNone(self.venue.cancel_resting([order]))
        self.assertEqual(len(self.venue.resting()), 1)


class Memory(RestingCase):
    def test_fills_that_are_forgotten_are_not_called_none(self) -> None:
        with patch.object(paper_resting, "FILLS_REMEMBERED", 2):
            self.venue = self.a_venue()
            start = self.clock.now()
            for number in range(3):
                self.clock.advance(1)
                self.venue.submit([self.order(f"order {number}", quantity="0.1")])
            with self.assertRaises(VenueUnavailable):
                self.venue.account_fills(start)
            self.assertEqual(len(self.venue.account_fills(self.clock.now())), 1)

    def test_an_id_is_remembered_only_so_long(self) -> None:
        with patch.object(paper_resting, "FILLS_REMEMBERED", 1):
            orders = [self.resting_order(number) for number in (1, 2)]
            for order in orders:
                self.place(order)
            rests = PaperRests()
            for order in orders:
                rests.rest(paper_resting.rest_record(self.clock.now(), [order]))
            self.assertEqual([rests.knows(one.client_order_id) for one in orders], [False, True])
            self.assertEqual(len(rests.orders), 2)


class Records(RestingCase):
    def test_a_record_that_means_nothing_stops_the_fold(self) -> None:
        row = paper_resting.rest_record(self.clock.now(), [self.resting_order()])["orders"]
        assert isinstance(row, list)
        assert isinstance(row[0], dict)
        at = self.clock.now().isoformat()
        for record in (
            {"kind": "rest", "at": at, "orders": "none"},
            {"kind": "rest", "at": at, "orders": [7]},
            {"kind": "rest", "at": at, "orders": [{**row[0], "coin": "NOSUCH"}]},
            {"kind": "rest", "at": at, "orders": [{**row[0], "quantity": 7}]},
            {"kind": "rest", "at": at, "orders": [{**row[0], "kind": "maybe"}]},
            {"kind": "unrest", "at": at, "ids": "all"},
        ):
            with self.subTest(record=record):
                self.path.unlink(missing_ok=True)
                journal = self.a_journal()
                journal.append([record])  # type: ignore[list-item]
                venue = self.a_venue(self.a_journal())
                with self.assertRaises(VenueUnavailable) as caught:
                    venue.resting()
                self.assertIsInstance(caught.exception.__cause__, StoreCorrupt)


if __name__ == "__main__":
    unittest.main()
