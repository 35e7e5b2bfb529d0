"""Roll-over and the archive: nothing in neither place, everything found for ever, damage located."""

import json
import tempfile
import unittest
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from unittest.mock import patch

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_working_trade,
    given_reports,
    given_watch,
)
from tests.simulation.disk import SimulatedDisk
from trading.domain.codec import Json
from trading.domain.desk_state import Binding, DeskState, TradingState
from trading.domain.errors import InvariantBroken, PositionNotFound, StoreCorrupt
from trading.domain.exit_plan import ExitReason
from trading.domain.orders import OrderReport, OrderStatus, RejectReason, Side
from trading.domain.resting import Resting, RestingOrder, TriggerKind
from trading.domain.trades import (
    HANDED_ON,
    HoldingGone,
    OrdersReported,
    Trade,
    TradeCanceled,
    TradeRejected,
    close_trade_id,
    record,
)
from trading.domain.units import ClientOrderId, Ratio, Usd
from trading.utils import archive as module
from trading.utils.archive import Archive
from trading.utils.archive_index import Index, index_of
from trading.utils.disk import SystemDisk
from trading.utils.inspection import verify
from trading.utils.journal import Journal
from trading.utils.json_storage import JsonStore
from trading.utils.ledger import Fold
from trading.utils.locks import ProcessLock
from trading.utils.sealing import sealed

BINDING = Binding("paper", "demo", "0xabc")
DAY = timedelta(days=1)
MUCH_LATER = T0 + timedelta(days=90)


class ArchiveCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data_dir = Path(folder.name) / "data"
        self.folder = self.data_dir / "archive"

    def store(self, roll_bytes: int = 1 << 30) -> JsonStore:
        made = JsonStore(self.data_dir, BINDING, roll_bytes=roll_bytes)
        self.addCleanup(made.close)
        return made

    def lived(self, store: JsonStore, name: str, days: float = 0, **changes: object) -> tuple[Trade, Trade]:
        """A position that was opened and closed on a day, and of whose end Guardian knows."""
        opening = store.save(given_a_filled_trade(name, at=T0 + days * DAY))
        reason = changes.pop("reason", ExitReason.MANUAL)
        closing = store.save(given_a_filled_close(opening, reason=reason))
        store.save_watch(given_watch(opening, outcome_told=True, **changes))
        return opening, closing

    def months(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.json"))

    def assert_sound(self, notes: int = 0) -> None:
        report = verify(self.data_dir)
        self.assertEqual((report.problems, len(report.notes)), ((), notes), report.notes)

    def problems(self) -> str:
        return "\n".join(verify(self.data_dir).problems)


class RollOverTest(ArchiveCase):
    def test_what_ended_more_than_a_day_ago_moves_to_the_file_of_its_month(self) -> None:
        store = self.store()
        old, _ = self.lived(store, "old")
        december, _ = self.lived(store, "december", days=10)
        recent, _ = self.lived(store, "recent", days=20)
        self.assertEqual(store.roll_over(T0 + 20 * DAY + timedelta(hours=2)), 2)
        self.assertEqual(self.months(), ["trades-2026-11.json", "trades-2026-12.json"])
        self.assertEqual([one.trade_id for one in store.book().positions()], [recent.id])
        lines = json.loads((self.folder / "trades-2026-12.json").read_text())
        self.assertEqual([line["id"] for line in lines], [december.terms.position_id])
        self.assertEqual([one["status"] for one in lines[0]["trades"]], ["FILLED", "FILLED"])
        self.assertEqual(lines[0]["position"]["status"], "closed")
        self.assertEqual(store.book().trade(old.id), old)
        self.assertEqual(store.roll_over(T0 + 20 * DAY), 0)
        self.assert_sound()

    def test_what_is_not_over_stays(self) -> None:
        store = self.store()
        live = store.save(given_a_working_trade("live"))
        held = store.save(given_a_filled_trade("held"))
        leaving = store.save(given_a_filled_trade("leaving"))
        store.save(given_a_closing_trade(leaving))
        untold = store.save(given_a_filled_trade("untold"))
        store.save(given_a_filled_close(untold))
        self.assertEqual(store.roll_over(MUCH_LATER), 0)
        self.assertFalse(self.folder.exists())
        kept = {one.trade_id for one in store.book().positions()}
        self.assertEqual(kept, {live.id, held.id, leaving.id, untold.id})

    def test_funding_that_is_due_is_waited_for_but_not_for_ever(self) -> None:
        store = self.store()
        opening = store.save(given_a_filled_trade("s", at=after(3570)))
        closing = store.save(given_a_filled_close(opening))
        watch = given_watch(opening, outcome_told=True)
        store.save_watch(watch)
        assert closing.ended_at is not None
        self.assertEqual(store.roll_over(closing.ended_at + 7 * DAY), 0)
        store.save_watch(replace(watch, funded_until=closing.ended_at))
        self.assertEqual(store.roll_over(closing.ended_at + 2 * DAY), 1)

    def test_funding_that_nobody_looks_for_any_more_is_not_waited_for(self) -> None:
        store = self.store()
        opening = store.save(given_a_filled_trade("s", at=after(3570)))
        store.save(given_a_filled_close(opening))
        store.save_watch(given_watch(opening, outcome_told=True))
        self.assertEqual(store.roll_over(T0 + 9 * DAY), 1)

    def test_a_ledger_that_has_grown_too_large_lets_go_of_what_ended_a_minute_ago(self) -> None:
        store = self.store(roll_bytes=10_000)
        self.assertFalse(store.outgrown)
        ends = [self.lived(store, f"s{number}")[1].ended_at or T0 for number in range(3)]
        self.assertTrue(store.outgrown)
        self.assertEqual(store.roll_over(max(ends) + timedelta(seconds=60)), 0)
        self.assertEqual(store.roll_over(max(ends) + timedelta(seconds=61)), 3)
        self.assertFalse(store.outgrown)
        self.assertLess((self.data_dir / "trades.json").stat().st_size, 1000)
        self.assert_sound()

    def unsettled(self, store: JsonStore) -> dict[str, Trade]:
        """The last trades of positions that have ended, and of which something may turn up or is to be sold."""
        unexplained = given_a_working_trade("unexplained")
        reports = [
            OrderReport(one.client_order_id, OrderStatus.REJECTED, T0, reason=RejectReason.UNEXPLAINED)
            for one in unexplained.orders
        ]
        unexplained = record(record(unexplained, OrdersReported(T0, tuple(reports))), TradeRejected(T0, "unexplained"))
        held = given_a_filled_trade("handed on")
        handed_on = given_a_closing_trade(held, at=after(1))
        for leg in handed_on.terms.legs:
            gone = HoldingGone(after(1), leg.coin, leg.quantity, leg.arrival_price, HANDED_ON)
            handed_on = record(handed_on, gone)
        handed_on = record(handed_on, TradeCanceled(after(1), "there was nothing left to close"))
        adopted = given_a_filled_trade("adopted", signal=None, approval=None)
        lives = {
            "an order never explained": (unexplained,),
            "a residue handed on": (held, handed_on),
            "what was taken over": (adopted, given_a_filled_close(adopted, at=after(1))),
        }
        for trades in lives.values():
            for trade in trades:
                store.save(trade)
            store.save_watch(given_watch(trades[0], outcome_told=True))
        return {name: trades[0] for name, trades in lives.items()}

    def test_what_may_turn_up_yet_or_is_to_be_sold_stays_for_half_an_hour(self) -> None:
        store = self.store(roll_bytes=1000)
        trades = self.unsettled(store)
        self.lived(store, "s")
        self.assertEqual(store.roll_over(T0 + timedelta(minutes=30)), 1)
        for name, trade in trades.items():
            with self.subTest(name):
                self.assertTrue(store.book().holds(trade.terms.position_id))
        self.assertEqual(store.roll_over(T0 + timedelta(minutes=31)), 3)
        self.assert_sound()

    def test_it_stays_also_when_a_large_ledger_is_opened(self) -> None:
        """Through Pear, an opening that filled late was then nobody's, and stood naked."""
        store = self.store()
        trades = self.unsettled(store)
        gone, _ = self.lived(store, "s")
        store.save(given_a_filled_trade("held"))
        store.close()
        small = self.store(roll_bytes=1000)
        self.assertFalse(small.book().holds(gone.terms.position_id))
        for name, trade in trades.items():
            with self.subTest(name):
                self.assertTrue(small.book().holds(trade.terms.position_id))
        self.assertEqual(small.roll_over(MUCH_LATER), 3)
        self.assert_sound()

    def test_what_has_ended_since_a_stop_began_stays_until_that_is_over(self) -> None:
        """A stop looks whether the account holds any of their coins; it looked for none after a minute."""
        store = self.store(roll_bytes=1000)
        self.lived(store, "before")
        self.lived(store, "since", days=1)

        def liquidating(state: DeskState) -> DeskState:
            return replace(state, state=TradingState.LIQUIDATING, since=T0 + timedelta(hours=12))

        store.change_state(liquidating)
        self.assertEqual(store.roll_over(MUCH_LATER), 1)
        since, _ = self.lived(store, "since then", days=2)
        self.lived(store, "last", days=3)
        store.close()
        again = self.store(roll_bytes=1000)
        self.assertTrue(again.book().holds(since.terms.position_id))
        again.change_state(lambda state: replace(state, state=TradingState.HALTED))
        self.assertEqual(again.roll_over(MUCH_LATER), 3)
        self.assert_sound()

    def test_a_large_ledger_is_rolled_while_it_is_opened(self) -> None:
        store = self.store()
        trades = [self.lived(store, f"s{number}")[0] for number in range(6)]
        held = store.save(given_a_filled_trade("held"))
        store.close()
        small = self.store(roll_bytes=1000)
        self.assertEqual([one.trade_id for one in small.book().positions()], [held.id])
        for trade in trades:
            self.assertEqual(small.book().trade(trade.id), trade)
        self.assert_sound()

    def test_others_notice_and_find_everything(self) -> None:
        store, other = self.store(), self.store()
        opening, closing = self.lived(store, "s", reason=ExitReason.STOP_LOSS, high_water=Ratio(Decimal("0.01")))
        before = other.book().position(opening.terms.position_id)
        store.roll_over(MUCH_LATER)
        for one in (store, other, self.store()):
            book, approval = one.book(), opening.terms.approval
            assert approval is not None
            self.assertEqual((book.trades(), book.positions()), ((), ()))
            self.assertEqual(book.position(before.id), before)
            self.assertEqual(book.trades_of_position(before.id), (opening, closing))
            self.assertEqual(book.trade_of_key(opening.terms.request_key), opening)
            self.assertEqual(book.trade_of_approval(approval.id), opening.id)
            self.assertEqual(book.trades_of_signal("s"), (opening,))
            self.assertEqual(book.losing_exits(), {opening.terms.pair: closing.ended_at})
            watch = book.watch(before.id)
            assert watch is not None
            self.assertEqual(watch.high_water, Decimal("0.01"))
            self.assertEqual((book.sums().positions, book.sums().fees), (1, before.fees))
            self.assertIsNone(book.find_trade(given_a_filled_trade("unknown").id))
            self.assertEqual(book.trades_of_signal("unknown"), ())
            self.assertIsNone(book.trade_of_key("unknown"))
            self.assertIsNone(book.trade_of_approval("unknown"))
            with self.assertRaises(PositionNotFound):
                book.position(given_a_filled_trade("unknown").terms.position_id)

    def test_late_fees_bring_a_position_back_until_the_next_time(self) -> None:
        store, other = self.store(), self.store()
        opening, closing = self.lived(store, "s")
        neighbour, _ = self.lived(store, "t")
        store.roll_over(MUCH_LATER)
        reports = given_reports(opening.orders, at=after(3600))
        reports = replace(reports, reports=tuple(replace(one, fees=Usd(Decimal(7))) for one in reports.reports))
        late = record(opening, reports)
        self.assertEqual(other.save(late), late)
        for one in (store, other, self.store()):
            position = one.book().position(opening.terms.position_id)
            self.assertGreater(position.long.fees, 7)
            self.assertEqual(one.book().trades_of_position(position.id), (late, closing))
            self.assertEqual(one.book().page_of_positions(10)[1], 2)
            self.assertEqual(one.book().page_of_trades(10)[1], 4)
            self.assertEqual(len(one.book().page_of_trades(10)[0]), 4)
            self.assertEqual(one.book().sums().positions, 2)
        self.assert_sound()
        fees = store.book().sums().fees
        self.assertEqual(store.roll_over(MUCH_LATER), 1)
        self.assertEqual((store.book().positions(), store.book().sums().fees), ((), fees))
        self.assertEqual(self.store().book().trade(opening.id), late)
        self.assertEqual(store.book().trade(neighbour.id), neighbour)
        self.assert_sound()

    def test_a_watch_over_what_was_archived_counts(self) -> None:
        store, other = self.store(), self.store()
        opening, _ = self.lived(store, "s")
        store.roll_over(MUCH_LATER)
        watch = given_watch(opening, outcome_told=True, funding_long=Usd(Decimal("0.5")))
        other.save_watch(watch)
        for one in (store, other, self.store()):
            self.assertEqual(one.book().watch(watch.position_id), watch)
            self.assertEqual(one.book().position(watch.position_id).funding, Decimal("0.5"))
        store.roll_over(MUCH_LATER)
        self.assertEqual(store.book().positions(), ())
        self.assertEqual(self.store().book().watch(watch.position_id), watch)
        self.assert_sound()

    def test_a_close_that_was_archived_with_its_opening_is_found_by_its_own_name(self) -> None:
        store = self.store()
        _, closing = self.lived(store, "s")
        store.roll_over(MUCH_LATER)
        self.assertEqual(store.book().trade(closing.id), closing)
        self.assertEqual(store.save(closing), closing)
        self.assertEqual(store.book().positions(), ())

    def test_a_roll_that_did_not_live_to_shorten_the_ledger_is_done_again(self) -> None:
        store = self.store()
        opening, _ = self.lived(store, "s")
        held = store.save(given_a_filled_trade("held"))
        before = {path: path.read_bytes() for path in self.data_dir.glob("*.json")}
        store.roll_over(MUCH_LATER)
        store.close()
        for names in (("trades.json", "positions.json"), ("positions.json",)):
            with self.subTest(names):
                for name in names:
                    (self.data_dir / name).write_bytes(before[self.data_dir / name])
                store = self.store()
                self.assertEqual(store.book().trade(opening.id), opening)
                self.assertEqual(store.book().page_of_positions(9)[1], 2)
                self.assertEqual(len(store.book().page_of_positions(9)[0]), 2)
                store.roll_over(MUCH_LATER)
                self.assertEqual([one.trade_id for one in store.book().positions()], [held.id])
                store.close()
                self.assertEqual(len(json.loads((self.folder / "trades-2026-11.json").read_text())), 1)
                self.assert_sound()

    def test_whoever_rolls_or_reads_what_was_rolled_has_few_lines_in_memory_at_a_time(self) -> None:
        store, other = self.store(), self.store()
        for number in range(6):
            self.lived(store, f"gone {number}")
        held = [store.save(given_a_filled_trade(f"held {number}")) for number in range(12)]
        self.assertEqual(len(other.book().positions()), 18)
        taken: list[int] = []

        def counted(taking: Callable[..., None]) -> Callable[..., None]:
            def take(fold: object, entries: Sequence[object], *rest: object) -> None:
                taken.append(len(entries))
                taking(fold, entries, *rest)

            return take

        with (
            patch("trading.utils.json_storage.READ_AHEAD", 5),
            patch.object(Fold, "take_events", counted(Fold.take_events)),
            patch.object(Fold, "take_lines", counted(Fold.take_lines)),
        ):
            self.assertEqual(store.roll_over(MUCH_LATER), 6)
            for one in (store, other, self.store()):
                self.assertEqual([one.id for one in held], [trade.id for trade in one.book().trades()])
        self.assertEqual(3 * 12 * 5, sum(taken))
        self.assertLessEqual(max(taken), 5)

    def test_a_broken_trade_stays_in_the_ledger(self) -> None:
        store = self.store()
        opening, closing = self.lived(store, "s")
        self.lived(store, "t")
        journal = Journal(self.data_dir / "trades.json", lock=store._ledger_lock)
        journal.append([{"id": closing.id, "position_id": opening.terms.position_id, "version": 99, "event": None}])
        journal.close()
        self.assertEqual(store.roll_over(MUCH_LATER), 1)
        store = self.store()
        self.assertEqual(set(store.broken), {closing.id})
        self.assertEqual([one.trade_id for one in store.book().positions()], [opening.id])

    def test_a_broken_trade_stays_also_where_its_position_ended_without_it(self) -> None:
        """The archive takes positions whole: what does not fold would be in neither place, and nobody hear of it."""
        store = self.store()
        opening, _ = self.lived(store, "s")
        position_id = opening.terms.position_id
        broken = close_trade_id(position_id, 2)
        journal = Journal(self.data_dir / "trades.json", lock=store._ledger_lock)
        journal.append([{"id": broken, "position_id": position_id, "version": 1, "event": None}])
        journal.close()
        self.assertTrue(store.book().position(position_id).closed)
        self.assertEqual(store.roll_over(MUCH_LATER), 0)
        self.assertEqual(set(self.store().broken), {broken})

    def test_what_may_still_rest_at_the_venue_is_waited_for(self) -> None:
        store = self.store()
        opening, _ = self.lived(store, "s")
        coin, held, price = opening.terms.short.coin, opening.terms.short.quantity, opening.terms.short.arrival_price
        order = RestingOrder(ClientOrderId("0x01"), coin, Side.BUY, held, price, price, TriggerKind.STOP)
        store.save_watch(given_watch(opening, outcome_told=True, resting=(Resting(order, T0),)))
        self.assertEqual(store.roll_over(MUCH_LATER), 0)
        store.save_watch(given_watch(opening, outcome_told=True))
        self.assertEqual(store.roll_over(MUCH_LATER), 1)

    def test_only_one_process_rolls_at_a_time(self) -> None:
        store, other = self.store(), self.store()
        self.lived(store, "s")
        with other._archive.rolling():
            self.assertEqual(store.roll_over(MUCH_LATER), 0)
        self.assertEqual(store.roll_over(MUCH_LATER), 1)


class PagesTest(ArchiveCase):
    def setUp(self) -> None:
        super().setUp()
        self.desk = self.store()
        self.ids = [self.lived(self.desk, f"s{number}", days=number)[0].terms.position_id for number in range(6)]
        self.desk.roll_over(T0 + 5 * DAY)
        self.assertEqual(len(self.desk.book().positions()), 2)

    def test_positions_come_in_pages_across_both_places(self) -> None:
        book = self.desk.book()
        whole, total = book.page_of_positions(100)
        self.assertEqual(([one.id for one in whole], total), (self.ids[::-1], 6))
        for size in (1, 2, 4):
            found, before = [], None
            while page := book.page_of_positions(size, before)[0]:
                found += [one.id for one in page]
                before = page[-1].id
            self.assertEqual(found, self.ids[::-1])
        self.assertEqual([one.id for one in book.all_positions()], self.ids[::-1])

    def test_a_page_of_one_status_looks_where_there_can_be_any(self) -> None:
        held = self.desk.save(given_a_filled_trade("held", at=T0 + 9 * DAY)).terms.position_id
        book = self.desk.book()
        for status in {one.status for one in book.positions()}:
            page, total = book.page_of_positions(100, None, status)
            expected = [held] if status == "open" else self.ids[::-1]
            self.assertEqual(([one.id for one in page], total), (expected, len(expected)))
            page, _ = book.page_of_positions(100, held, status)
            self.assertEqual([one.id for one in page], [one for one in expected if one != held])

    def test_trades_come_in_pages_too(self) -> None:
        book = self.desk.book()
        whole, total = book.page_of_trades(100)
        self.assertEqual((len(whole), total), (12, 12))
        found: list[Trade] = []
        before = None
        while page := book.page_of_trades(5, before)[0]:
            found += page
            before = page[-1].id
        self.assertEqual(tuple(found), whole)

    def test_an_unknown_mark_is_told(self) -> None:
        stranger = given_a_filled_trade("stranger")
        with self.assertRaises(PositionNotFound):
            self.desk.book().page_of_positions(5, stranger.terms.position_id)

    def test_only_so_many_positions_are_kept_in_memory(self) -> None:
        kept, module.RECORDS_KEPT = module.RECORDS_KEPT, 2
        self.addCleanup(setattr, module, "RECORDS_KEPT", kept)
        for _ in range(2):
            self.assertEqual(len(self.desk.book().page_of_positions(100)[0]), 6)
            self.assertEqual(len(self.desk._archive._kept), 2)

    def test_what_has_been_looked_at_is_not_read_again_by_whoever_adds_up_days(self) -> None:
        """Of more than are kept whole each look read all anew, half a millisecond each, every four seconds."""
        kept, module.RECORDS_KEPT = module.RECORDS_KEPT, 2
        self.addCleanup(setattr, module, "RECORDS_KEPT", kept)
        archive = self.desk._archive
        found = list(archive.positions())
        with patch.object(archive, "_filed", side_effect=AssertionError("it was read again")):
            self.assertEqual(found, list(archive.positions()))
        self.assertEqual(len(archive._positions), len(found))

    def test_nor_are_more_of_those_kept_than_there_is_room_for(self) -> None:
        with patch.object(module, "POSITIONS_KEPT", 3):
            self.assertEqual(list(self.desk._archive.positions()), list(self.desk._archive.positions()))
        self.assertEqual(len(self.desk._archive._positions), 3)


class IndexTest(ArchiveCase):
    def setUp(self) -> None:
        super().setUp()
        store = self.store()
        self.trades = [self.lived(store, f"s{number}", days=number * 9)[0] for number in range(4)]
        store.roll_over(MUCH_LATER)
        store.close()
        self.index = self.folder / "index"

    def assert_all_found(self) -> None:
        store = self.store()
        for number, trade in enumerate(self.trades):
            self.assertEqual(store.book().trades_of_signal(f"s{number}"), (trade,))
        store.close()

    def test_an_index_that_is_missing_or_damaged_is_built_again(self) -> None:
        whole = self.index.read_bytes()
        other_width = sealed({**self.head(whole), "columns": [["H", 3, 1]] * 10}) + b"\n" + whole.partition(b"\n")[2]
        rows: dict[str, bytes | None] = {
            "missing": None,
            "empty": b"",
            "another bit in the head": whole.replace(b'"files"', b'"fileS"'),
            "another bit in the columns": whole[:-1] + bytes([whole[-1] ^ 1]),
            "another machine's": sealed({**self.head(whole), "byteorder": "middle"}) + b"\n",
            "another width": other_width,
        }
        for name, content in rows.items():
            with self.subTest(name):
                self.index.unlink()
                if content is not None:
                    self.index.write_bytes(content)
                self.assert_sound(notes=1)
                self.assert_all_found()
                self.index.write_bytes(whole)
        self.assertEqual(index_of(whole).encoded(), whole)  # type: ignore[union-attr]  # it was just read by the store

    def head(self, whole: bytes) -> dict[str, Json]:
        head: dict[str, Json] = json.loads(whole.partition(b"\n")[0])
        del head["checksum"]
        return head

    def test_an_index_of_the_future_or_of_nothing_is_none(self) -> None:
        self.assertIsNone(index_of(sealed({"schema": 99}) + b"\n"))
        self.assertEqual((Index().trade_count, index_of(Index().encoded())), (0, Index()))

    def test_lines_that_somebody_did_not_live_to_index_are_taken_in(self) -> None:
        whole = self.index.read_bytes()
        store = self.store()
        late, _ = self.lived(store, "late")
        store.roll_over(MUCH_LATER)
        store.close()
        self.index.write_bytes(whole)
        self.assert_sound(notes=1)
        for busy in (True, False):
            with self.subTest(busy=busy):
                one = Archive(self.folder, SystemDisk(), None if busy else store._archive._lock)
                one.refresh()
                self.assertEqual(one.trade(late.id), late)
                one.close()
        self.trades.append(late)

    def test_while_another_adds_only_what_surely_stands_is_taken_in(self) -> None:
        whole = self.index.read_bytes()
        store = self.store()
        self.lived(store, "late")
        self.lived(store, "later")
        store.roll_over(MUCH_LATER)
        self.index.write_bytes(whole)
        lock = ProcessLock(self.data_dir / "locks" / "archive.lock", "the archive", 1)
        with store._archive.rolling():
            other = Archive(self.folder, SystemDisk(), lock)
            other.refresh()
            self.assertEqual(other.sums().positions, 5)

    def test_a_torn_line_in_the_archive_is_cut_off_and_said(self) -> None:
        path = self.folder / "trades-2026-11.json"
        path.write_bytes(path.read_bytes()[:-3] + b',\n{"seq":3,"half')
        self.assert_sound(notes=1)
        store = self.store()
        self.assertIn("trades-2026-11.json", "".join(store.mended))
        store.close()
        self.assert_all_found()
        self.assert_sound()

    def test_a_file_that_is_gone_or_shorter_is_corrupt_and_located(self) -> None:
        path = self.folder / "trades-2026-11.json"
        whole = path.read_bytes()
        for name, content in (("missing", None), ("shorter", whole[:200])):
            with self.subTest(name):
                path.unlink()
                if content is not None:
                    path.write_bytes(content)
                with self.assertRaises(StoreCorrupt) as caught:
                    self.store()
                self.assertIn("trades-2026-11.json", caught.exception.detail)
                self.assertNotEqual(self.problems() + "".join(verify(self.data_dir).notes), "")
                path.write_bytes(whole)

    def test_an_archive_that_lost_a_file_together_with_its_index_is_noticed_by_the_ledger(self) -> None:
        self.index.unlink()
        (self.folder / "trades-2026-12.json").unlink()
        with self.assertRaises(StoreCorrupt) as caught:
            self.store()
        self.assertIn("let go of 4", caught.exception.detail)
        self.assertIn("let go of 4", self.problems())

    def test_an_archive_that_lost_one_position_together_with_its_index_is_noticed_too(self) -> None:
        self.index.unlink()
        path = self.folder / self.months()[-1]
        lines = path.read_bytes().splitlines()
        kept = lines[1:-2]
        path.write_bytes(b"[\n" + (b"\n".join(kept).removesuffix(b",") + b"\n]\n" if kept else b"]\n"))
        with self.assertRaises(StoreCorrupt) as caught:
            self.store()
        self.assertIn("holds 3 positions, but trades.json has let go of 4", caught.exception.detail)

    def test_a_damaged_line_is_located_when_it_is_read_and_the_others_are_read_all_the_same(self) -> None:
        path = self.folder / "trades-2026-11.json"
        path.write_bytes(path.read_bytes().replace(b"BTC/ETH", b"BTC/ETC", 1))
        store = self.store()
        with self.assertRaises(StoreCorrupt) as caught:
            store.book().trades_of_signal("s0")
        self.assertIn("trades-2026-11.json:2 is damaged", caught.exception.detail)
        self.assertEqual(store.book().trade(self.trades[3].id), self.trades[3])
        self.assertIn("trades-2026-11.json:2 is damaged", self.problems())

    def test_lines_whose_words_are_wrong_are_found_by_verification(self) -> None:
        path = self.folder / "trades-2026-11.json"
        whole, index = path.read_bytes(), self.index.read_bytes()
        rows: dict[str, tuple[Callable[[dict[str, object]], object], str]] = {
            "a summary that lies": (lambda line: line["position"].update(size="1"), "differs from its journal"),  # type: ignore[attr-defined]  # JSON
            "no trades": (lambda line: line.update(trades=[]), "is no position"),
            "trades of another kind": (lambda line: line.update(trades=[7]), "is no position"),
            "another name": (lambda line: line.update(id="pos_x"), "not the trades of pos_x"),
            "an event that does not follow": (
                lambda line: line["trades"][0]["events"].pop(1),  # type: ignore[index]  # JSON
                "cannot follow",
            ),
        }
        for name, (change, word) in rows.items():
            with self.subTest(name):
                lines = json.loads(whole)
                for line in lines:
                    line.pop("checksum")
                change(lines[0])
                path.write_bytes(b"[\n" + b",\n".join(sealed(line) for line in lines) + b"\n]\n")
                self.index.unlink()
                self.assertIn(word, self.problems())
                path.write_bytes(whole)
                self.index.write_bytes(index)
        self.assert_sound()

    def test_an_index_that_says_something_else_than_the_files_is_a_problem(self) -> None:
        index = index_of(self.index.read_bytes())
        assert index is not None
        self.index.write_bytes(replace(index, sums=replace(index.sums, fees=Decimal(1))).encoded())
        self.assertIn("index differs from the files", self.problems())

    def test_an_archive_without_a_lock_takes_nothing_in(self) -> None:
        reader = Archive(self.folder, SystemDisk(), None)
        with self.assertRaises(InvariantBroken), reader.rolling():
            self.fail("rolled")

    def test_what_has_not_ended_has_no_month(self) -> None:
        store = self.store()
        with self.assertRaises(InvariantBroken), store._archive.rolling():
            store._archive.add([module.record_of([given_a_filled_trade("held")], None)])

    def test_a_position_that_differs_between_ledger_and_archive_is_a_problem(self) -> None:
        store = self.store()
        twin = given_a_filled_trade("s0", leverage=3)
        (self.data_dir / "trades.json").write_bytes(b"[\n]\n")
        (self.data_dir / "positions.json").write_bytes(b"[\n]\n")
        store.close()
        store = self.store()
        store.save(record(self.trades[0], given_reports(self.trades[0].orders, at=after(5000))))
        lines = json.loads((self.data_dir / "trades.json").read_text())
        self.assertEqual(lines[0]["version"], 5)
        (self.data_dir / "trades.json").write_bytes(b"[\n]\n")
        (self.data_dir / "positions.json").write_bytes(b"[\n]\n")
        elsewhere = JsonStore(self.data_dir.with_name("elsewhere"), BINDING)
        elsewhere.save(twin)
        elsewhere.close()
        for name in ("trades.json", "positions.json"):
            (self.data_dir / name).write_bytes((self.data_dir.with_name("elsewhere") / name).read_bytes())
        self.assertIn("differs from trades.json", self.problems())


class LogTest(ArchiveCase):
    def write(self, count: int, days: float = 0, start: int = 0) -> None:
        log = Journal(self.data_dir / "agent_logs.json")
        at = (T0 + days * DAY).isoformat()
        log.append([{"id": f"log_{start + one}", "timestamp": at} for one in range(count)], sync=False)
        log.close()

    def ids(self, path: Path) -> list[str]:
        return [line["id"] for line in json.loads(path.read_text()) if "base" not in line]

    def test_old_lines_go_and_the_newest_thousand_stay(self) -> None:
        store = self.store()
        self.write(1200)
        self.write(1300, days=10, start=1200)
        self.assertEqual(store.roll_over(T0 + 20 * DAY), 0)
        kept = self.ids(self.data_dir / "agent_logs.json")
        november, december = (self.ids(self.folder / f"logs-2026-{month}.json") for month in (11, 12))
        self.assertEqual(november + december + kept, [f"log_{number}" for number in range(2500)])
        self.assertGreaterEqual(len(kept), 1000)
        self.assertLess(len(kept), 1010)
        self.write(1, days=30, start=2500)
        self.assertEqual(self.ids(self.data_dir / "agent_logs.json")[-1], "log_2500")
        self.assert_sound()

    def test_recent_lines_and_short_logs_stay(self) -> None:
        store = self.store()
        self.write(1500)
        store.roll_over(T0 + 20 * DAY)
        self.write(2000, days=20, start=1500)
        store.roll_over(T0 + 20 * DAY)
        self.assertEqual(len(self.ids(self.data_dir / "agent_logs.json")), 2000)
        store.roll_over(T0 + 20 * DAY)
        self.assertEqual(len(self.ids(self.folder / "logs-2026-11.json")), 1500)

    def test_a_roll_that_did_not_live_to_shorten_the_log_is_done_again(self) -> None:
        store = self.store()
        self.write(1200)
        self.write(1300, days=10, start=1200)
        whole = (self.data_dir / "agent_logs.json").read_bytes()
        for _ in range(2):
            store.roll_over(T0 + 20 * DAY)
            after_it = [self.ids(path) for path in sorted(self.folder.glob("logs-*.json"))]
            (self.data_dir / "agent_logs.json").write_bytes(whole)
        self.assertEqual(sum(map(len, after_it)), len({name for names in after_it for name in names}))

    def test_a_damaged_log_stops_no_roll(self) -> None:
        store = self.store()
        self.lived(store, "s")
        (self.data_dir / "agent_logs.json").write_bytes(b"damaged")
        self.assertEqual(store.roll_over(MUCH_LATER), 1)

    def test_lines_without_a_time_count_as_old(self) -> None:
        store = self.store()
        log = Journal(self.data_dir / "agent_logs.json")
        log.append([{"id": f"log_{one}", "timestamp": "noon"} for one in range(2100)], sync=False)
        log.close()
        store.roll_over(MUCH_LATER)
        self.assertEqual([path.name for path in self.folder.glob("logs-*")], ["logs-2027-02.json"])


class FullTest(ArchiveCase):
    def test_a_roll_on_a_full_disk_is_left_for_later_and_loses_nothing(self) -> None:
        disk = SimulatedDisk(Random(1))
        store = JsonStore(self.data_dir, BINDING, disk=disk)
        opening, _ = self.lived(store, "s")
        for room in range(0, 20_000, 1500):
            with self.subTest(room=room):
                disk.capacity = disk.used + room
                rolled = store.roll_over(MUCH_LATER)
                disk.capacity = None
                self.assertEqual(store.book().trade(opening.id), opening)
                again = JsonStore(self.data_dir, BINDING, disk=disk)
                self.assertEqual(again.book().trade(opening.id), opening)
                again.close()
                if rolled:
                    break
        self.assertEqual(store.book().positions(), ())


if __name__ == "__main__":
    unittest.main()
