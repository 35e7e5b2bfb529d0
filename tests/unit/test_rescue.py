import errno
import io
import os
import tempfile
import unittest
from contextlib import redirect_stderr
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

from trading.domain.codec import decode_event, encode_event
from trading.domain.orders import Order, OrderReport, OrderStatus, Side
from trading.domain.trades import OrdersIntended, OrdersReported, TradeFilled
from trading.domain.units import ClientOrderId, Coin, PositionId, Price, Quantity
from trading.utils import journal, rescue
from trading.utils.disk import Stamp, SystemDisk
from trading.utils.journal import Journal
from trading.utils.rescue import Rescue

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


class MoodyDisk(SystemDisk):
    read_only = False
    dead = False

    def open(self, path: Path, *, create: bool, write: bool) -> int:
        if self.dead or (self.read_only and (create or write)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().open(path, create=create, write=write)

    def stamp(self, path: Path) -> Stamp | None:
        if self.dead:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().stamp(path)


class RescueTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.disk = MoodyDisk()
        self.rescue = Rescue(self.folder, self.disk)
        self.said = self.enterContext(redirect_stderr(io.StringIO()))

    def an_order(self, coin: str = "ETH") -> Order:
        return Order(
            client_order_id=ClientOrderId("0x" + coin.lower().ljust(32, "0")),
            coin=Coin(coin),
            side=Side.SELL,
            quantity=Quantity(Decimal("0.25")),
            limit_price=Price(Decimal(4000)),
            reduce_only=True,
            slice_number=1,
            attempt=0,
            intended_at=NOW,
            expires_at=NOW + timedelta(seconds=5),
        )

    def note_all(self, rescue: Rescue) -> list[bool]:
        event = encode_event(OrdersIntended(NOW, (self.an_order(), self.an_order("BTC"))))
        return [
            rescue.note({"rescue": "intended", "event": event}),
            rescue.note({"rescue": "left", "positions": ["pos_1", "pos_2"]}),
        ]

    def test_another_process_reads_what_was_noted(self) -> None:
        other = Rescue(self.folder, SystemDisk())
        self.assertEqual(((), frozenset()), (other.sent(), other.left()))
        self.assertEqual([True, True], self.note_all(self.rescue))
        for one in (self.rescue, other):
            self.assertEqual((self.an_order(), self.an_order("BTC")), one.sent())
            self.assertEqual({PositionId("pos_1"), PositionId("pos_2")}, one.left())

    def test_a_stderr_that_is_gone_keeps_nothing_from_being_noted(self) -> None:
        self.said.close()
        self.assertEqual([True, True], self.note_all(self.rescue))

    def test_how_an_order_ended_is_what_was_told_last(self) -> None:
        other = Rescue(self.folder, SystemDisk())
        self.note_all(self.rescue)
        self.assertEqual({}, other.ends())
        for status, filled in ((OrderStatus.UNKNOWN, "0"), (OrderStatus.FILLED, "0.25")):
            report = OrderReport(self.an_order().client_order_id, status, NOW, Quantity(Decimal(filled)))
            self.rescue.note({"rescue": "reported", "event": encode_event(OrdersReported(NOW, (report,)))})
            ends = {} if status.in_doubt else {report.client_order_id: report}
            self.assertEqual(ends, other.ends())

    def test_a_monitor_that_asks_at_each_tick_decodes_the_orders_once(self) -> None:
        self.note_all(self.rescue)
        with mock.patch.object(rescue, "decode_event", side_effect=decode_event) as decode:
            for _ in range(3):
                self.assertEqual(2, len(self.rescue.sent()))
            self.assertEqual(1, decode.call_count)
            # By another process.
            self.note_all(Rescue(self.folder, SystemDisk()))
            self.assertEqual(4, len(self.rescue.sent()))

    def test_what_cannot_be_written_is_said_at_once_known_here_and_written_later(self) -> None:
        self.disk.read_only = True
        self.assertEqual([False, False], self.note_all(self.rescue))
        self.assertEqual(2, self.said.getvalue().count("rescue: "))
        self.assertEqual((2, 2), (len(self.rescue.sent()), len(self.rescue.left())))
        self.assertFalse((self.folder / "rescue.json").exists())
        self.disk.read_only = False
        self.assertEqual((2, 2), (len(self.rescue.sent()), len(self.rescue.left())))
        other = Rescue(self.folder, SystemDisk())
        self.assertEqual((2, 2), (len(other.sent()), len(other.left())))
        self.assertEqual(2, (self.folder / "rescue.json").read_text(encoding="utf-8").count('"rescue"'))

    def test_of_a_disk_that_says_nothing_any_more_what_was_done_here_is_known(self) -> None:
        self.disk.dead = True
        self.assertEqual([False, False], self.note_all(self.rescue))
        self.assertEqual((2, 2), (len(self.rescue.sent()), len(self.rescue.left())))

    def test_a_line_of_something_else_takes_no_other_with_it(self) -> None:
        self.rescue.note({"rescue": "intended", "event": {"type": "of a later version"}})
        self.rescue.note({"rescue": "intended", "event": encode_event(TradeFilled(NOW))})
        self.rescue.note({"rescue": "left", "positions": "pos_9"})
        self.assertFalse(self.rescue.note({"seq": 1}))
        self.note_all(self.rescue)
        self.assertEqual((2, 2), (len(self.rescue.sent()), len(self.rescue.left())))

    def test_a_lock_that_cannot_be_had_is_waited_for_another_time(self) -> None:
        with Journal(self.folder / "rescue.json").held(), mock.patch.object(journal, "LOCK_SECONDS", 0.0):
            self.assertEqual([False, False], self.note_all(self.rescue))
        self.assertEqual((2, 2), (len(self.rescue.sent()), len(self.rescue.left())))
        self.assertTrue((self.folder / "rescue.json").read_text(encoding="utf-8").count("pos_2"))
