"""What all processes know of an account's writes: whose turn it is, what was sent, and the last word on it."""

import json
import tempfile
import threading
import unittest
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unittest import mock

from tests.fakes import NOON
from tests.unit.test_pear_wire import an_order
from trading.adapters import pear_register
from trading.adapters.pear_register import WriteRegister
from trading.domain.errors import Busy
from trading.domain.orders import Order, OrderReport, OrderStatus, RejectReason, Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd
from trading.utils.locks import ProcessLock

ETH = Coin("ETH")
ADDRESS = "0x" + "ab" * 20
WAIT_SECONDS = 20.0


def numbered(number: int) -> Order:
    return replace(an_order(ETH, Side.BUY, "1", "4000"), client_order_id=ClientOrderId(f"0x{number:032x}"))


def asked_for(case: unittest.TestCase, lock: ProcessLock) -> threading.Event:
    """Is set once somebody asks for *lock*. A close asks for the right to write when it stands at the gate."""
    asked, held = threading.Event(), lock.held

    def noted(*seconds: float) -> AbstractContextManager[None]:
        asked.set()
        return held(*seconds)

    case.enterContext(mock.patch.object(lock, "held", noted))
    return asked


class RegisterTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.register = self.opened()

    def opened(self) -> WriteRegister:
        return WriteRegister(self.folder, ADDRESS)

    @property
    def path(self) -> Path:
        return self.folder / f"{ADDRESS}.orders"


class Remembering(RegisterTestCase):
    def test_an_order_is_claimed_once_by_whatever_process(self) -> None:
        order, other = numbered(1), numbered(2)
        self.assertEqual(self.register.claim([order], "key", NOON), frozenset())
        self.assertEqual(self.opened().claim([order, other], "key", NOON), {order.client_order_id})
        self.assertNotIn(other.client_order_id, self.register.known())

    def test_everything_said_is_known_elsewhere_and_after_a_restart(self) -> None:
        order = numbered(1)
        self.register.claim([order], "key", NOON, {ETH: Quantity(Decimal("0.5"))})
        self.register.answered(
            [order], NOON, {7: (ETH, Quantity(Decimal("0.4"))), 8: (Coin("BTC"), Quantity(Decimal(1)))}
        )
        self.register.refused([order], NOON, RejectReason.MARGIN, "too little")
        report = OrderReport(
            order.client_order_id,
            OrderStatus.PARTIALLY_FILLED,
            NOON,
            Quantity(Decimal("0.4")),
            Price(Decimal(4000)),
            Usd(Decimal("0.7")),
            RejectReason.NO_MATCH,
            "words",
            True,
            NOON,
        )
        self.register.ended(order, report, [11, 9])
        sent = self.opened().known()[order.client_order_id]
        self.assertEqual((sent.key, sent.sent_at, sent.answered_at), ("key", NOON, NOON))
        self.assertEqual((sent.expected, sent.told), (Decimal("0.5"), {7: Decimal("0.4")}))
        self.assertEqual((sent.refused, sent.tids), ((RejectReason.MARGIN, "too little"), {9, 11}))
        self.assertEqual(sent.refused_at, NOON)
        self.assertEqual(sent.final, report)

    def test_an_order_is_on_disk_before_it_is_sent(self) -> None:
        with mock.patch("os.fsync") as synced:
            self.register.claim([numbered(1)], "key", NOON)
        self.assertEqual(synced.call_count, 1)

    def test_a_torn_line_hides_nothing_but_itself(self) -> None:
        self.register.claim([numbered(1)], "key", NOON)
        with self.path.open("ab") as file:
            file.write(b'{"id": "0x')
        self.register.claim([numbered(2)], "key", NOON)
        self.assertEqual(len(self.opened().known()), 2)

    def test_a_line_that_says_what_nobody_knows_hides_nothing_but_itself(self) -> None:
        """Of a later version, or of a damaged disk: with it no close could be sent any more."""
        order = numbered(1)
        self.register.claim([order], "key", NOON)
        with self.path.open("a") as file:
            file.write('5\n[]\n{}\n["id"]\n"id"\nnull\n')
        odd: tuple[dict[str, object], ...] = (
            {"final": {"status": "NEW"}},
            {"final": {"status": "FILLED", "at_ms": 0, "filled": "x", "price": None, "reason": None}},
            {"refused": ["NEW", "words"]},
            {"refused": []},
            {"answered_ms": "soon"},
            {"told": {"x": "1"}},
            {"expected": None},
            {"tids": [None]},
        )
        for row in odd:
            for name in (order.client_order_id, numbered(2).client_order_id):
                with self.subTest(row=row, name=name):
                    with self.path.open("a") as file:
                        file.write(
                            json.dumps({"id": name, "side": "UP", **row} if name[-1] == "2" else {"id": name, **row})
                            + "\n"
                        )
                    self.assertEqual(
                        self.opened().known(), {order.client_order_id: self.register.known()[order.client_order_id]}
                    )

    def test_it_starts_a_new_file_beyond_its_size_and_remembers_the_one_before(self) -> None:
        with mock.patch.object(pear_register, "REGISTER_BYTES_MAX", 400):
            register = self.opened()
            for number in range(6):
                register.claim([numbered(number)], "key", NOON)
        self.assertTrue(self.path.with_suffix(".orders.1").exists())
        self.assertIn(numbered(5).client_order_id, self.opened().known())
        self.assertIn(numbered(4).client_order_id, self.opened().known())

    def test_a_folder_that_cannot_be_written_registers_nothing(self) -> None:
        self.path.mkdir()
        with self.assertRaises(OSError):
            self.register.claim([numbered(1)], "key", NOON)


class Turns(RegisterTestCase):
    def test_one_write_at_a_time_over_all_processes(self) -> None:
        with (
            self.register.turn(closes=True),
            mock.patch.object(pear_register, "OPEN_WAIT_SECONDS", 0.05),
            self.assertRaises(Busy),
            self.opened().turn(closes=False),
        ):
            self.fail("two at a time")

    def test_a_close_waits_for_the_opening_in_hand(self) -> None:
        """Both at Pear at once, and it does one of them, or the close by what the opening is just changing."""
        with self.register.turn(closes=False), mock.patch.object(pear_register, "CLOSE_WAIT_SECONDS", 0.05):
            register = self.opened()
            with self.assertRaises(Busy), register.turn(closes=True):
                self.fail("two at a time")

    def test_a_close_that_waits_keeps_openings_from_passing(self) -> None:
        closes, opens = self.opened(), self.opened()
        order: list[str] = []

        def close() -> None:
            with closes.turn(closes=True):
                order.append("close")

        def open_one() -> None:
            with opens.turn(closes=False):
                order.append("open")

        threads = [threading.Thread(target=close), threading.Thread(target=open_one)]
        patient = mock.patch.object(pear_register, "OPEN_WAIT_SECONDS", WAIT_SECONDS)
        with patient, self.register.turn(closes=False):
            for thread, lock in zip(threads, (closes._writes, opens._gate), strict=True):
                asked = asked_for(self, lock)
                thread.start()
                self.assertTrue(asked.wait(WAIT_SECONDS))
        for thread in threads:
            thread.join(WAIT_SECONDS)
        self.assertEqual(order, ["close", "open"])

    def test_a_turn_is_given_back_whatever_happens(self) -> None:
        for closes in (True, False):
            with self.assertRaises(ZeroDivisionError), self.register.turn(closes=closes):
                raise ZeroDivisionError
            with self.opened().turn(closes=closes):
                order = numbered(9)
            self.assertTrue(order.client_order_id)


if __name__ == "__main__":
    unittest.main()
