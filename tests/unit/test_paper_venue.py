"""The paper venue beyond the contract: exact arithmetic, its journal, doubt, several processes, bounded memory."""

import json
import multiprocessing
import multiprocessing.connection
import multiprocessing.synchronize
import os
import tempfile
import unittest
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from unittest.mock import patch

from tests.fakes import NOON, FakeClock
from trading.adapters import paper_account
from trading.adapters.paper import TAKER_FEE_RATE, PaperVenue
from trading.adapters.paper_account import PaperAccount, PaperLedger, valued, with_fill
from trading.adapters.paper_market import PaperMarket, price_tick
from trading.adapters.paper_universe import INSTRUMENTS
from trading.domain.errors import StoreCorrupt, VenueRejected, VenueUnavailable
from trading.domain.orders import Order, OrderStatus, RejectReason, Side
from trading.domain.units import ZERO, ClientOrderId, Coin, Price, Quantity, Usd
from trading.ports import Json
from trading.utils.journal import Journal
from trading.utils.locks import ProcessLock

BTC, ETH, SOL, AVAX, MATIC = Coin("BTC"), Coin("ETH"), Coin("SOL"), Coin("AVAX"), Coin("MATIC")
EQUITY = Usd(Decimal(100_000))
FILE = "paper_account.json"
MARKET = PaperMarket(7)


def an_order(
    name: str,
    coin: Coin = ETH,
    side: Side = Side.BUY,
    quantity: str = "0.5",
    *,
    clock: FakeClock,
    limit: Decimal | None = None,
    reduce_only: bool = False,
) -> Order:
    """One lot-conform order, marketable by 0.3 % unless *limit* says otherwise; its id is *name*."""
    now = clock.now()
    return Order(
        client_order_id=ClientOrderId(name),
        coin=coin,
        side=side,
        quantity=Quantity(Decimal(quantity)),
        limit_price=Price(limit) if limit is not None else marketable(coin, side, clock),
        reduce_only=reduce_only,
        slice_number=0,
        attempt=1,
        intended_at=now,
        expires_at=now + timedelta(seconds=10),
    )


def marketable(coin: Coin, side: Side, clock: FakeClock) -> Price:
    quote, instrument = MARKET.quote(coin, clock.now()), INSTRUMENTS[coin]
    price = quote.ask * Decimal("1.003") if side is Side.BUY else quote.bid * Decimal("0.997")
    return Price(price.quantize(price_tick(price, instrument), ROUND_FLOOR if side is Side.BUY else ROUND_CEILING))


class FailingJournal(Journal):
    """A Journal that raises `failure` where `fails` says: before or after the write, or when followed."""

    fails = ""

    def append(self, records: Sequence[Mapping[str, Json]], *, sync: bool = True) -> int:
        if self.fails == "before writing":
            raise StoreCorrupt("no space left")
        last = super().append(records, sync=sync)
        if self.fails == "after writing":
            raise StoreCorrupt("the disk went away")
        return last


class PaperCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / FILE
        self.clock = FakeClock()
        self.venue = self.a_venue()

    def a_venue(self, journal: Journal | None = None, market: PaperMarket = MARKET, equity: Usd = EQUITY) -> PaperVenue:
        return PaperVenue(market, journal or self.a_journal(), self.clock, equity)

    def a_journal(self) -> Journal:
        journal = Journal(self.path)
        self.addCleanup(journal.close)
        return journal

    def records(self) -> list[dict[str, Json]]:
        lines: list[dict[str, Json]] = json.loads(self.path.read_text())
        return lines

    def order(
        self,
        name: str,
        coin: Coin = ETH,
        side: Side = Side.BUY,
        quantity: str = "0.5",
        *,
        limit: Decimal | None = None,
        reduce_only: bool = False,
    ) -> Order:
        return an_order(name, coin, side, quantity, clock=self.clock, limit=limit, reduce_only=reduce_only)


class Fills(PaperCase):
    def test_the_average_is_weighted_by_depth_and_the_fee_truncated(self) -> None:
        asks = MARKET.depth(AVAX, NOON).asks
        wanted = asks[0].quantity + asks[1].quantity + Decimal("0.25")
        (report,) = self.venue.submit([self.order("a", AVAX, quantity=str(wanted))])
        usd = asks[0].price * asks[0].quantity + asks[1].price * asks[1].quantity + asks[2].price * Decimal("0.25")
        self.assertEqual(report.filled, wanted)
        self.assertEqual(report.average_price, (usd / wanted).quantize(Decimal("1E-10"), ROUND_FLOOR))
        fee = report.filled * (report.average_price or ZERO) * TAKER_FEE_RATE
        self.assertEqual(report.fees, fee.quantize(Decimal("0.000001"), ROUND_FLOOR))

    def test_an_order_larger_than_the_whole_book_takes_the_whole_book(self) -> None:
        venue, gmx = self.a_venue(equity=Usd(Decimal(1_000_000))), Coin("GMX")
        asks = MARKET.depth(gmx, NOON).asks
        offered = sum((level.quantity for level in asks), ZERO)
        limit = (asks[-1].price * Decimal("1.05")).quantize(Decimal("0.01"))
        (report,) = venue.submit([self.order("a", gmx, quantity=str(offered * 2), limit=limit)])
        self.assertEqual((report.status, report.filled), (OrderStatus.PARTIALLY_FILLED, offered))

    def test_a_plain_order_may_turn_a_position_round(self) -> None:
        self.venue.submit([self.order("a", quantity="0.5")])
        (report,) = self.venue.submit([self.order("b", side=Side.SELL, quantity="0.8")])
        holding = self.venue.account().holdings[ETH]
        self.assertEqual(holding.quantity, Decimal("-0.3"))
        self.assertEqual(holding.entry_price, report.average_price)

    def test_a_coin_that_cannot_be_traded_is_refused(self) -> None:
        for name, coin in (("a", MATIC), ("b", Coin("NOSUCH"))):
            with self.subTest(coin=coin):
                (report,) = self.venue.submit([self.order(name, coin, quantity="100", limit=Decimal(1))])
                self.assertIs(report.reason, RejectReason.NOT_TRADABLE)

    def test_a_malformed_order_takes_its_group_with_it(self) -> None:
        off_grid = self.order("b", SOL, limit=Decimal("150.12345"))
        good, wrong = self.venue.submit([self.order("a"), off_grid])
        self.assertEqual((good.status, good.reason), (OrderStatus.REJECTED, RejectReason.OTHER))
        self.assertEqual((wrong.status, wrong.reason), (OrderStatus.REJECTED, RejectReason.PRICE))
        self.assertEqual(self.venue.account().holdings, {})

    def test_sizes_that_are_no_sizes_are_refused(self) -> None:
        for name, quantity in (("a", "0"), ("b", "-1"), ("c", "NaN"), ("d", "0.00005")):
            with self.subTest(quantity=quantity):
                (report,) = self.venue.submit([self.order(name, quantity=quantity)])
                self.assertIs(report.reason, RejectReason.SIZE)

    def test_the_same_id_twice_in_one_group_is_one_order(self) -> None:
        order = self.order("a")
        first, second = self.venue.submit([order, order])
        self.assertEqual(first, second)
        self.assertEqual(self.venue.account().held(ETH), order.quantity)

    def test_margin_is_what_leverage_leaves_and_reducing_needs_none(self) -> None:
        self.venue.set_leverage(BTC, 2)
        quantity = str((Decimal(195_000) / MARKET.mid(BTC, NOON)).quantize(Decimal("0.00001")))
        (opened,) = self.venue.submit([self.order("a", BTC, quantity=quantity)])
        self.assertIs(opened.status, OrderStatus.FILLED)
        (more,) = self.venue.submit([self.order("b", ETH, quantity="10")])
        self.assertIs(more.status, OrderStatus.FILLED, "twenty times is the default where no leverage was set")
        (too_much,) = self.venue.submit([self.order("c", BTC, quantity="0.2")])
        self.assertIs(too_much.reason, RejectReason.MARGIN)
        (less,) = self.venue.submit([self.order("d", BTC, Side.SELL, "0.2")])
        self.assertIs(less.status, OrderStatus.FILLED)

    def test_turning_round_into_more_than_the_margin_allows_is_refused(self) -> None:
        self.venue.set_leverage(BTC, 1)
        self.venue.submit([self.order("a", BTC, quantity="0.1")])
        (report,) = self.venue.submit([self.order("b", BTC, Side.SELL, "1.5")])
        self.assertIs(report.reason, RejectReason.MARGIN)

    def test_a_long_that_margin_covers_whole_has_no_liquidation_price(self) -> None:
        self.venue.set_leverage(BTC, 1)
        self.venue.submit([self.order("a", BTC, quantity="0.1")])
        self.assertIsNone(self.venue.account().holdings[BTC].liquidation_price)

    def test_the_liquidation_price_is_where_equity_meets_maintenance(self) -> None:
        account = with_fill(PaperAccount(Usd(Decimal(1000))), SOL, Side.SELL, Decimal(50), Decimal(150), ZERO)
        price = valued(account, {SOL: Price(Decimal(150))}, NOON).holdings[SOL].liquidation_price
        assert price is not None
        there = valued(account, {SOL: price}, NOON)
        self.assertAlmostEqual(there.equity, there.maintenance_margin, places=6)


class Leverage(PaperCase):
    def test_setting_the_same_again_writes_nothing(self) -> None:
        self.venue.set_leverage(ETH, 3)
        before = self.records()
        self.venue.set_leverage(ETH, 3)
        self.assertEqual(self.records(), before)
        self.assertEqual(self.a_venue().account().leverages[ETH], 3)

    def test_a_delisted_coin_takes_none(self) -> None:
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(MATIC, 1)

    def test_a_decrease_that_the_margin_cannot_carry_is_refused(self) -> None:
        self.venue.set_leverage(ETH, 10)
        self.venue.submit([self.order("a", quantity="100")])
        with self.assertRaises(VenueRejected):
            self.venue.set_leverage(ETH, 1)
        self.assertEqual(self.venue.account().leverages[ETH], 10)
        self.venue.set_leverage(ETH, 5)
        self.assertEqual(self.venue.account().leverages[ETH], 5)


class Funding(PaperCase):
    def test_looking_every_hour_or_once_a_week_is_the_same(self) -> None:
        self.venue.submit([self.order("a"), self.order("b", SOL, Side.SELL, "10")])
        rarely = self.a_venue()
        for _ in range(30):
            self.clock.advance(3600)
            self.venue.account()
        now = self.clock.now()
        self.assertEqual(rarely.account(), self.venue.account())
        self.assertEqual(len(rarely.funding([ETH, SOL], NOON, now)), 60)
        self.assertEqual(rarely.funding([ETH, SOL], NOON, now), self.venue.funding([ETH, SOL], NOON, now))

    def test_reading_writes_nothing_and_the_next_change_writes_what_is_due(self) -> None:
        self.venue.submit([self.order("a")])
        self.clock.advance(2.5 * 3600)
        before, equity = self.records(), self.venue.account().equity
        payments = self.venue.funding([ETH], NOON, self.clock.now())
        self.assertEqual(self.records(), before)
        self.venue.set_leverage(SOL, 2)
        self.assertEqual([one["kind"] for one in self.records()], ["opened", "orders", "funding", "leverage"])
        self.assertEqual(self.venue.funding([ETH], NOON, self.clock.now()), payments)
        self.assertEqual(self.venue.account().equity, equity)
        self.assertEqual(self.a_venue().account(), self.venue.account())

    def test_a_payment_is_quantity_times_mark_times_rate_and_longs_pay_a_positive_one(self) -> None:
        self.venue.submit([self.order("a", quantity="2")])
        self.clock.advance(3600)
        hour = NOON + timedelta(hours=1)
        (payment,) = self.venue.funding([ETH], NOON, hour)
        exactly = 2 * MARKET.mark(ETH, hour) * MARKET.funding_rate(ETH, hour)
        self.assertEqual(payment.amount, exactly.quantize(Decimal("0.000001"), ROUND_CEILING))
        self.assertEqual(payment.amount > 0, MARKET.funding_rate(ETH, hour) > 0)

    def test_a_position_opened_on_the_hour_does_not_pay_for_that_hour(self) -> None:
        self.venue.submit([self.order("a")])
        self.assertEqual(self.venue.funding([ETH], NOON - timedelta(days=1), self.clock.now()), ())

    def test_payments_beyond_memory_are_not_passed_over_in_silence(self) -> None:
        with patch.object(paper_account, "PAYMENTS_REMEMBERED", 3):
            self.venue = self.a_venue()
            self.venue.submit([self.order("a")])
            for hour in range(5):
                self.clock.advance(3600)
                self.venue.submit([self.order(f"b{hour}")])
        now = self.clock.now()
        self.assertEqual(len(self.venue.funding([ETH], NOON + timedelta(hours=3), now)), 2)
        with self.assertRaises(VenueUnavailable):
            self.venue.funding([ETH], NOON, now)


class TheJournal(PaperCase):
    def test_both_legs_are_one_record_and_the_first_one_opens_the_account(self) -> None:
        self.venue.submit([self.order("a"), self.order("b", SOL, Side.SELL, "10")])
        opened, orders = self.records()
        self.assertEqual((opened["kind"], opened["equity"], opened["seed"]), ("opened", "100000", 7))
        rows = orders["orders"]
        assert isinstance(rows, list)
        self.assertEqual(len(rows), 2)

    def test_the_account_outlives_the_process_and_a_change_of_the_configured_equity(self) -> None:
        self.venue.submit([self.order("a")])
        self.assertEqual(self.a_venue(equity=Usd(Decimal(5))).account(), self.venue.account())

    def test_reading_an_untouched_account_writes_nothing(self) -> None:
        self.assertEqual(self.venue.account().equity, EQUITY)
        self.assertEqual(self.venue.funding([ETH], NOON, NOON), ())
        self.assertEqual(self.records(), [])

    def test_an_account_of_another_market_is_not_read(self) -> None:
        self.venue.submit([self.order("a")])
        stranger = self.a_venue(market=PaperMarket(8))
        with self.assertRaises(VenueUnavailable):
            stranger.account()

    def test_a_record_that_does_not_fold_makes_the_account_unreadable_for_good(self) -> None:
        self.venue.submit([self.order("a")])
        self.a_journal().append([{"kind": "gift", "at": NOON.isoformat()}])
        for _ in range(2):
            with self.assertRaises(VenueUnavailable):
                self.venue.account()
        (report,) = self.venue.submit([self.order("b")])
        self.assertIs(report.status, OrderStatus.UNKNOWN)

    def test_another_file_under_the_path_is_another_account(self) -> None:
        self.venue.submit([self.order("a")])
        fresh = Journal(self.path.with_name("fresh.json"))
        fresh.append([{"kind": "opened", "at": NOON.isoformat(), "seed": 7, "equity": "5000"}])
        fresh.close()
        os.replace(fresh.path, self.path)
        self.assertEqual(self.venue.account().equity, 5000)
        self.assertEqual(self.venue.account().holdings, {})

    def test_quotes_need_no_journal(self) -> None:
        self.path.unlink()
        self.assertEqual(set(self.venue.quotes([ETH, MATIC])), {ETH})
        with self.assertRaises(VenueUnavailable):
            self.venue.account()

    def test_malformed_records_are_named(self) -> None:
        at = NOON.isoformat()
        row: dict[str, Json] = {
            "client_order_id": "x",
            "coin": "ETH",
            "side": "buy",
            "status": "FILLED",
            "filled": "1",
            "average_price": "3000",
            "fees": "1",
            "reason": None,
            "detail": "",
        }
        cases: tuple[tuple[dict[str, Json], str], ...] = (
            ({"kind": "opened", "at": at, "seed": 8, "equity": "1"}, "seed"),
            ({"kind": "opened", "at": at, "seed": 7, "equity": 1}, "equity"),
            ({"kind": "opened", "at": "2026-11-22T12:00:00", "seed": 7, "equity": "1"}, "offset"),
            ({"kind": "opened", "at": "noon", "seed": 7, "equity": "1"}, "noon"),
            ({"kind": "leverage", "at": at, "coin": "ETH", "leverage": 0}, "leverage"),
            ({"kind": "leverage", "at": at, "coin": "NOSUCH", "leverage": 1}, "NOSUCH"),
            ({"kind": "funding", "at": at, "payments": "many"}, "payments"),
            ({"kind": "orders", "at": at, "orders": ["x"]}, "orders"),
            ({"kind": "orders", "at": at, "orders": [{**row, "side": "up"}]}, "up"),
            ({"kind": "orders", "at": at, "orders": [{**row, "status": "LOST"}]}, "LOST"),
            ({"kind": "orders", "at": at, "orders": [{**row, "filled": "NaN"}]}, "filled"),
            ({"kind": "orders", "at": at, "orders": [{**row, "average_price": None}]}, "average_price"),
        )
        for record, named in cases:
            with self.subTest(record=record), self.assertRaisesRegex(StoreCorrupt, named):
                PaperLedger(7, EQUITY).take(record)

    def test_an_account_is_opened_once(self) -> None:
        ledger = PaperLedger(7, EQUITY)
        record: dict[str, Json] = {"kind": "opened", "at": NOON.isoformat(), "seed": 7, "equity": "1"}
        ledger.take(record)
        with self.assertRaises(StoreCorrupt):
            ledger.take(record)


class Doubt(PaperCase):
    def test_a_disk_that_refuses_leaves_orders_unknown_and_then_absent(self) -> None:
        journal = FailingJournal(self.path)
        self.addCleanup(journal.close)
        venue = self.a_venue(journal)
        journal.fails = "before writing"
        orders = (self.order("a"), self.order("b", SOL, Side.SELL, "10"))
        self.assertEqual([one.status for one in venue.submit(orders)], [OrderStatus.UNKNOWN] * 2)
        journal.fails = ""
        self.assertEqual([one.status for one in venue.reports(orders)], [OrderStatus.UNKNOWN] * 2)
        self.clock.advance(16)
        self.assertEqual([one.status for one in venue.reports(orders)], [OrderStatus.ABSENT] * 2)
        self.assertEqual(venue.account().holdings, {})

    def test_a_lost_answer_is_unknown_and_found_again(self) -> None:
        journal = FailingJournal(self.path)
        self.addCleanup(journal.close)
        venue = self.a_venue(journal)
        journal.fails = "after writing"
        order = self.order("a")
        (report,) = venue.submit([order])
        self.assertIs(report.status, OrderStatus.UNKNOWN)
        journal.fails = ""
        (report,) = venue.reports([order])
        self.assertIs(report.status, OrderStatus.FILLED)
        self.assertEqual(venue.account().held(ETH), order.quantity)

    def test_a_lock_held_by_somebody_else_is_unknown_and_never_an_exception(self) -> None:
        lock = ProcessLock(self.path.parent / "locks" / f"{FILE}.lock", FILE, 0.02, reentrant=True)
        impatient = Journal(self.path, lock=lock)
        self.addCleanup(impatient.close)
        venue, order = self.a_venue(impatient), self.order("a")
        with held_elsewhere(self.path):
            (report,) = venue.submit([order])
            self.assertIs(report.status, OrderStatus.UNKNOWN)
            with self.assertRaises(VenueUnavailable):
                venue.reports([order])
        (report,) = venue.submit([order])
        self.assertIs(report.status, OrderStatus.FILLED)

    def test_an_order_that_memory_has_dropped_is_unknown_not_absent(self) -> None:
        with patch.object(paper_account, "ORDERS_REMEMBERED", 2):
            venue = self.a_venue()
            oldest = self.order("a")
            venue.submit([oldest])
            self.clock.advance(1)
            venue.submit([self.order("b"), self.order("c")])
            self.clock.advance(60)
            (report,) = venue.reports([oldest])
            self.assertIs(report.status, OrderStatus.UNKNOWN)
            (again,) = venue.submit([oldest])
            self.assertIs(again.status, OrderStatus.UNKNOWN)
            self.assertEqual(venue.account().held(ETH), Decimal("1.5"))


@contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """The journal's lock, taken through another instance as another process has it."""
    stranger = Journal(path)
    try:
        with stranger.held():
            yield
    finally:
        stranger.close()


def trade_in_a_process(path: str, name: str, barrier: "multiprocessing.synchronize.Barrier") -> None:
    """Submit ten orders of its own and ten that the other process submits too."""
    clock = FakeClock()
    journal = Journal(Path(path))
    venue = PaperVenue(MARKET, journal, clock, EQUITY)
    barrier.wait(30)
    for turn in range(10):
        own = an_order(f"{name}{turn}", ETH, Side.BUY, "0.1", clock=clock)
        shared = an_order(f"shared{turn}", SOL, Side.SELL, "1", clock=clock)
        venue.submit([own, shared])
    journal.close()


def trade_until_killed(path: str, answers: "multiprocessing.connection.Connection") -> None:
    """Submit for ever, telling each order's id once it was answered."""
    clock, turn = FakeClock(), 0
    venue = PaperVenue(MARKET, Journal(Path(path)), clock, EQUITY)
    while True:
        turn += 1
        reports = venue.submit([an_order(f"order {turn}", quantity="0.01", clock=clock)])
        answers.send([(one.client_order_id, one.status.value, str(one.filled)) for one in reports])


class SeveralProcesses(PaperCase):
    def test_a_process_killed_in_the_middle_leaves_every_answer_true(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=trade_until_killed, args=(str(self.path), theirs), daemon=True)
        worker.start()
        theirs.close()
        answered = [ours.recv() for _ in range(15)]
        worker.kill()
        worker.join(30)
        with suppress(EOFError):
            while True:
                answered.append(ours.recv())
        ours.close()
        orders = [self.order(answer[0][0], quantity="0.01") for answer in answered]
        told = [[(one.client_order_id, one.status.value, str(one.filled))] for one in self.venue.reports(orders)]
        self.assertEqual(told, answered)
        held = self.venue.account().held(ETH)
        self.assertGreaterEqual(held, Decimal("0.01") * len(answered))
        self.assertLessEqual(held, Decimal("0.01") * (len(answered) + 1))

    def test_submitting_at_once_they_lose_nothing_and_double_nothing(self) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(2)
        workers = [
            context.Process(target=trade_in_a_process, args=(str(self.path), name, barrier))
            for name in ("left", "right")
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        self.assertEqual([worker.exitcode for worker in workers], [0, 0])
        account = self.venue.account()
        self.assertEqual((account.held(ETH), account.held(SOL)), (Decimal("2.0"), Decimal(-10)))
        rows = [row for one in self.records() if isinstance(one.get("orders"), list) for row in self.rows_of(one)]
        ids = [row["client_order_id"] for row in rows]
        self.assertEqual(len(ids), 30)
        self.assertEqual(len(set(ids)), 30)

    def rows_of(self, record: dict[str, Json]) -> list[dict[str, Json]]:
        rows = record["orders"]
        assert isinstance(rows, list)
        return [row for row in rows if isinstance(row, dict)]


if __name__ == "__main__":
    unittest.main()
