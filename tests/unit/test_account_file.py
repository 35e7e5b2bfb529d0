import json
import tempfile
import unittest
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from trading.adapters.account_file import MONTHS_OPEN_MAX, AccountFile
from trading.domain.accounts import EquityPoint, FundingShare
from trading.domain.errors import StoreCorrupt
from trading.domain.units import Coin, PositionId, Usd
from trading.utils.journal import Journal

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
EVER = (NOON - timedelta(days=4000), NOON + timedelta(days=4000))


def point(hours: float, equity: str = "100000") -> EquityPoint:
    return EquityPoint(NOON + timedelta(hours=hours), Usd(Decimal(equity)))


def share(hours: int, amount: str = "0.123456", position: str = "pos_1", coin: str = "ETH") -> FundingShare:
    return FundingShare(PositionId(position), Coin(coin), NOON + timedelta(hours=hours), Usd(Decimal(amount)))


class AccountFileTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="executor_account_")))
        self.log = self.opened()

    def opened(self) -> AccountFile:
        log = AccountFile(self.folder)
        self.addCleanup(log.close)
        return log

    def test_what_was_kept_comes_back_digit_for_digit_oldest_first(self) -> None:
        self.log.keep_equity(point(1, "99999.123456789"))
        self.log.keep_equity(point(0))
        self.log.keep_funding((share(2), share(1, "-0.5"), share(1, "0.1", coin="BTC")))
        for log in (self.log, self.opened()):
            self.assertEqual((point(0), point(1, "99999.123456789")), log.equity(*EVER))
            self.assertEqual((share(1, "0.1", coin="BTC"), share(1, "-0.5"), share(2)), log.funding(*EVER))

    def test_only_the_asked_span_is_told_both_ends_included(self) -> None:
        for hour in range(5):
            self.log.keep_equity(point(hour))
            self.log.keep_funding((share(hour),))
        span = (NOON + timedelta(hours=1), NOON + timedelta(hours=3))
        self.assertEqual([point(1), point(2), point(3)], list(self.log.equity(*span)))
        self.assertEqual([share(1), share(2), share(3)], list(self.log.funding(*span)))

    def test_the_last_point_of_an_hour_is_the_hours(self) -> None:
        for minutes, equity in ((0, "1"), (10, "2"), (59.9, "3"), (60, "4")):
            self.log.keep_equity(point(minutes / 60, equity))
        self.assertEqual([Decimal(3), Decimal(4)], [one.equity for one in self.log.equity(*EVER)])

    def test_writing_a_share_twice_is_writing_it_once(self) -> None:
        self.log.keep_funding((share(1), share(1, position="pos_2")))
        self.log.keep_funding((share(1),))
        self.assertEqual((share(1), share(1, position="pos_2")), self.log.funding(*EVER))
        self.log.keep_funding(())
        self.assertEqual(2, len(self.log.funding(*EVER)))

    def test_another_process_sees_it_without_being_told(self) -> None:
        other = self.opened()
        self.assertEqual((), other.equity(*EVER))
        self.log.keep_equity(point(0))
        self.assertEqual((point(0),), other.equity(*EVER))
        other.keep_equity(point(1))
        self.assertEqual((point(0), point(1)), self.log.equity(*EVER))

    def test_each_month_in_utc_has_its_own_file(self) -> None:
        tokyo = datetime.fromisoformat("2026-12-01T08:00:00+09:00")
        self.log.keep_equity(EquityPoint(tokyo, Usd(Decimal(1))))
        self.log.keep_funding((share(0), share(12)))
        names = sorted(path.name for path in self.folder.glob("*.json"))
        self.assertEqual(["account-2026-11.json", "account-2026-12.json"], names)
        lines = json.loads((self.folder / "account-2026-11.json").read_text())
        self.assertEqual(["equity", "funding"], [line["kind"] for line in lines])
        self.assertEqual((share(12),), self.log.funding(NOON + timedelta(hours=12), EVER[1]))

    def test_many_months_do_not_stay_open(self) -> None:
        for month in range(2 * MONTHS_OPEN_MAX):
            self.log.keep_equity(point(month * 24 * 31))
        self.assertLessEqual(len(self.log._months), MONTHS_OPEN_MAX)
        self.assertEqual(2 * MONTHS_OPEN_MAX, len(self.log.equity(*EVER)))

    def test_looking_makes_no_files(self) -> None:
        self.log.equity(*EVER)
        self.assertEqual([], list(self.folder.iterdir()))

    def test_a_file_that_was_replaced_is_read_anew(self) -> None:
        self.log.keep_equity(point(0))
        self.assertEqual(1, len(self.log.equity(*EVER)))
        path = self.folder / "account-2026-11.json"
        path.unlink()
        other = self.opened()
        other.keep_equity(point(2, "7"))
        self.assertEqual((point(2, "7"),), self.log.equity(*EVER))

    def test_a_record_that_means_nothing_is_located(self) -> None:
        wrong = (
            {"kind": "rumour", "id": "1"},
            {"kind": "equity", "id": "1", "at": "2026-11-30T12:00:00", "equity": "1"},
            {"kind": "equity", "id": "1", "at": NOON.isoformat(), "equity": "NaN"},
            {"kind": "equity", "id": "1", "equity": "1"},
            {"kind": "funding"},
        )
        for number, record in enumerate(wrong):
            with self.subTest(record=record):
                log = AccountFile(self.folder / str(number))
                self.addCleanup(log.close)
                journal = Journal(log.folder / "account-2026-11.json")
                journal.append([dict(record)])
                journal.close()
                with self.assertRaises(StoreCorrupt) as found:
                    log.equity(*EVER)
                self.assertIn("2026-11.json, line 2", found.exception.detail)
