"""Whose fills are whose of what was sent through Pear, by what the register knows and the exchange tells."""

import unittest
from datetime import datetime, timedelta
from decimal import Decimal

from tests.fakes import NOON
from trading.adapters.hyperliquid_api import Skew
from trading.adapters.hyperliquid_wire import Fill
from trading.adapters.pear_register import Sent
from trading.adapters.pear_reports import owners_of
from trading.domain.orders import Side
from trading.domain.units import ClientOrderId, Coin, Price, Quantity, Usd

ETH = Coin("ETH")
EXACT = Skew(timedelta(0), timedelta(0))


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_fill(at: datetime, *, tid: int = 1, oid: int = 10, side: Side = Side.SELL) -> Fill:
    return Fill(ETH, oid, None, Price(Decimal(3000)), Quantity(Decimal("0.2")), Usd(Decimal(1)), at, tid, side)


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


if __name__ == "__main__":
    unittest.main()
