"""The Scout client over a real socket: what it takes, what it leaves out, and what it says about that."""

import unittest
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tests.builders import given_signal
from tests.fakes import NOON, FakeClock, FakeLog
from tests.servers.scout import ScoutServer, entry_of
from tests.servers.sibling import Reply, says
from trading.adapters.scout import ScoutClient, parse_signal
from trading.adapters.system import SystemClock
from trading.domain.errors import InvalidNumber, InvalidRequest, ScoutUnavailable, SignalNotFound
from trading.domain.market import Pair
from trading.domain.signals import Signal, SignalType

PATIENCE = 10.0
EXAMPLE = {
    "id": "signal_1795335320.2",
    "timestamp": "2026-11-22T08:33:44.318470",
    "pair": "BTC/ETH",
    "zscore": 2.4,
    "correlation": 0.91,
    "entry_spread": 0.0153,
    "signal_type": "short_spread",
    "confidence": 0.86,
    "confidence_label": "high",
    "status": "pending",
}


def given(**changes: object) -> dict[str, object]:
    return {**EXAMPLE, **changes}


class SteppingClock(SystemClock):
    """Real time for the socket, plus what the test adds."""

    def __init__(self) -> None:
        self.added = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.added


class ParsingTest(unittest.TestCase):
    def test_scouts_own_example_is_read_to_the_digit(self) -> None:
        self.assertEqual(
            parse_signal({**EXAMPLE, "zscore": Decimal("2.4"), "correlation": Decimal("0.91")}, UTC),
            Signal(
                id="signal_1795335320.2",
                pair=Pair.parse("BTC/ETH"),
                signal_type=SignalType.SHORT_SPREAD,
                zscore=Decimal("2.4"),
                correlation=Decimal("0.91"),
                entry_spread=Decimal("0.0153"),
                confidence=Decimal("0.86"),
                status="pending",
                created_at=datetime(2026, 11, 22, 8, 33, 44, 318470, tzinfo=UTC),
            ),
        )

    def test_a_timestamp_without_offset_is_in_scouts_zone(self) -> None:
        new_york = ZoneInfo("America/New_York")
        for text, instant in {
            "2026-11-22T08:33:44": datetime(2026, 11, 22, 13, 33, 44, tzinfo=UTC),
            "2026-07-22T08:33:44": datetime(2026, 7, 22, 12, 33, 44, tzinfo=UTC),
            "2026-11-22T08:33:44+01:00": datetime(2026, 11, 22, 7, 33, 44, tzinfo=UTC),
            "2026-11-22T08:33:44Z": datetime(2026, 11, 22, 8, 33, 44, tzinfo=UTC),
            # Said twice that night: the earlier instant, so that the signal looks older.
            "2026-11-01T01:30:00": datetime(2026, 11, 1, 5, 30, tzinfo=UTC),
        }.items():
            with self.subTest(text):
                created_at = parse_signal(given(timestamp=text), new_york).created_at
                self.assertEqual(created_at, instant)
                self.assertIs(created_at.tzinfo, UTC)

    def test_the_direction_is_said_twice_and_must_agree(self) -> None:
        for signal_type, zscore, agrees in (
            ("short_spread", 2.4, True),
            ("long_spread", -2.4, True),
            ("short_spread", -2.4, False),
            ("long_spread", 2.4, False),
            ("short_spread", 0, False),
            ("long_spread", 0, False),
        ):
            entry = given(signal_type=signal_type, zscore=zscore)
            with self.subTest(signal_type=signal_type, zscore=zscore):
                if agrees:
                    self.assertEqual(parse_signal(entry, UTC).signal_type, signal_type)
                else:
                    with self.assertRaisesRegex(InvalidRequest, "does not agree"):
                        parse_signal(entry, UTC)

    def test_what_may_be_missing_may_be_missing(self) -> None:
        entry = {name: value for name, value in EXAMPLE.items() if name not in ("correlation", "entry_spread")}
        signal = parse_signal(entry, UTC)
        self.assertIsNone(signal.correlation)
        self.assertIsNone(signal.entry_spread)

    def test_a_number_for_an_id_is_its_digits(self) -> None:
        self.assertEqual(parse_signal(given(id=17), UTC).id, "17")

    def test_a_malformed_field_is_named(self) -> None:
        for name, values in {
            "id": (None, "", "  ", "x" * 129, True, 1.5, ["a"], "a\nb", 10**200),
            "pair": (None, "", "BTC", "BTC/BTC", "BTC/ETH/SOL", 7, "BTC/\x00", "/" * 500),
            "signal_type": (None, "", "short", "SHORT_SPREAD", ["short_spread"]),
            "zscore": (None, "", "much", True, [2], 101, -101, Decimal("1e-999999"), "NaN", "Infinity"),
            "confidence": (None, "high", -0.01, 1.01, True, {"value": 0.9}),
            "correlation": (1.5, -1.5, "strong"),
            "entry_spread": (Decimal("1e999999"), "wide"),
            "status": (None, "", 3, "x" * 33),
            "timestamp": (None, "", "yesterday", 1795335320, "2026-13-01T00:00:00", "0001-01-01T00:00:00"),
        }.items():
            for value in values:
                with (
                    self.subTest(name, value=str(value)[:40]),
                    self.assertRaisesRegex((InvalidRequest, InvalidNumber), name),
                ):
                    parse_signal(given(**{name: value}), ZoneInfo("Asia/Tokyo"))

    def test_what_is_no_object_is_no_signal(self) -> None:
        for entry in (None, 1, "signal_1", ["id"]):
            with self.subTest(entry=entry), self.assertRaisesRegex(InvalidRequest, "object"):
                parse_signal(entry, UTC)


class ScoutClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.server = self.enterContext(ScoutServer())
        self.log = FakeLog()
        self.clock = SteppingClock()
        self.client = ScoutClient(self.server.url, PATIENCE, UTC, self.clock, self.log)

    def test_a_hundred_signals_are_asked_for(self) -> None:
        self.client.recent()
        self.assertEqual(self.server.received[0].path, "/api/signals/recent?limit=100")

    def test_signals_come_newest_first(self) -> None:
        old = given_signal("old", created_at=NOON - timedelta(seconds=60))
        new = given_signal("new", created_at=NOON)
        other = given_signal("also_new", created_at=NOON)
        self.server.entries = [entry_of(old), entry_of(new), entry_of(other)]
        self.assertEqual([signal.id for signal in self.client.recent()], ["also_new", "new", "old"])
        self.assertEqual(self.log.entries, [])

    def test_the_list_may_come_under_a_name(self) -> None:
        self.server.script(says({"signals": [EXAMPLE]}))
        self.assertEqual([signal.id for signal in self.client.recent()], [EXAMPLE["id"]])

    def test_what_is_no_list_is_no_answer(self) -> None:
        for value in ({}, {"signals": None}, {"signals": {"a": 1}}, "none", None, 3):
            with self.subTest(value=value):
                self.server.script(says(value))
                with self.assertRaisesRegex(ScoutUnavailable, "no list"):
                    self.client.recent()

    def test_a_malformed_signal_is_left_out_and_logged_in_one_line(self) -> None:
        self.server.entries = [given(confidence=7), EXAMPLE, None, given(id="\x1b[31m")]
        self.assertEqual([signal.id for signal in self.client.recent()], [EXAMPLE["id"]])
        self.assertEqual(len(self.log.entries), 1)
        line = self.log.entries[0]
        self.assertEqual(line.kind, "warning")
        self.assertEqual(
            line.message,
            "Scout offered 3 signal(s) that were left out; the first: "
            "confidence must be from 0 to 1 with at most 30 decimals",
        )
        self.assertEqual(line.facts, {"left_out": 3})

    def test_the_same_complaint_is_made_once_a_minute(self) -> None:
        self.server.entries = [None]
        self.client.recent()
        self.client.recent()
        self.assertEqual(len(self.log.entries), 1)
        self.clock.added = 61
        self.client.recent()
        self.assertEqual(len(self.log.entries), 2)
        self.server.entries = [None, None]
        self.client.recent()
        self.assertEqual(len(self.log.entries), 3)

    def test_of_two_signals_with_one_id_the_newest_counts(self) -> None:
        early = given_signal("twice", zscore="2.1", created_at=NOON)
        late = given_signal("twice", zscore="3.1", created_at=NOON + timedelta(seconds=1))
        for entries in ([entry_of(early), entry_of(late)], [entry_of(late), entry_of(early)]):
            with self.subTest(first=entries[0]["timestamp"]):
                self.server.entries = list(entries)
                self.assertEqual([signal.zscore for signal in self.client.recent()], [Decimal("3.1")])
        self.assertEqual(self.log.entries, [])

    def test_signals_that_contradict_each_other_are_all_left_out(self) -> None:
        one = given_signal("twice", zscore="2.1", created_at=NOON)
        other = given_signal("twice", zscore="3.1", created_at=NOON)
        self.server.entries = [entry_of(one), entry_of(one), entry_of(other), EXAMPLE]
        self.assertEqual([signal.id for signal in self.client.recent()], [EXAMPLE["id"]])
        self.assertIn("contradict each other", self.log.entries[0].message)

    def test_a_newer_signal_ends_a_contradiction(self) -> None:
        one = given_signal("twice", zscore="2.1", created_at=NOON)
        other = given_signal("twice", zscore="3.1", created_at=NOON)
        newer = given_signal("twice", zscore="4.1", created_at=NOON + timedelta(seconds=1))
        self.server.entries = [entry_of(one), entry_of(other), entry_of(newer)]
        self.assertEqual([signal.zscore for signal in self.client.recent()], [Decimal("4.1")])

    def test_a_signal_is_found_by_its_id_whatever_pair_is_hinted_at(self) -> None:
        self.server.entries = [given(id="other"), EXAMPLE]
        signal = self.client.signal("signal_1795335320.2", Pair.parse("SOL/AVAX"))
        self.assertEqual(str(signal.pair), "BTC/ETH")

    def test_a_signal_that_is_not_offered_is_not_found(self) -> None:
        self.server.entries = [EXAMPLE, given(id="broken", confidence=2)]
        for signal_id in ("signal_123", "broken"):
            with self.subTest(signal_id), self.assertRaises(SignalNotFound) as caught:
                self.client.signal(signal_id, None)
            self.assertEqual(caught.exception.facts, {"signal_id": signal_id})

    def test_failures_are_scout_unavailable(self) -> None:
        client = ScoutClient(self.server.url, 0.3, UTC, SystemClock(), self.log)
        replies = {
            "500": Reply(500),
            "garbage": Reply(body=b"<html>"),
            "redirect": Reply(302, headers={"Location": "/"}),
            "silence": Reply(hangs=True),
            "drip": Reply(body=b"[" + b" " * 500 + b"]", drip_seconds=0.05),
            "NaN": Reply(body=b'[{"zscore": NaN}]'),
        }
        for name, reply in replies.items():
            with self.subTest(name):
                self.server.script(reply)
                with self.assertRaises(ScoutUnavailable):
                    client.signal("signal_1", None)

    def test_a_scout_that_must_not_be_talked_to_is_refused_at_once(self) -> None:
        with self.assertRaisesRegex(InvalidRequest, "SCOUT_URL"):
            ScoutClient("http://scout.example", 1, UTC, FakeClock(), self.log)


if __name__ == "__main__":
    unittest.main()
