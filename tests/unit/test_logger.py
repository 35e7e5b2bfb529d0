"""The activity log: everything is written once, nothing secret is, and nothing that breaks stops the caller."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest.mock import patch

from tests.fakes import NOON, FakeClock
from trading.domain.errors import Busy
from trading.domain.market import Pair
from trading.domain.orders import Side
from trading.ports import Json
from trading.utils.logger import (
    DATA_LENGTH_MAX,
    FILE_KEPT,
    ITEMS_MAX,
    MASK,
    MESSAGE_LENGTH_MAX,
    TAIL_KEPT,
    ActivityLog,
    masked,
)

ROOT = Path(__file__).resolve().parents[2]
PRIVATE_KEY = "0x" + "4f" * 32

WRITER = """
import sys
from pathlib import Path
from trading.adapters.system import SystemClock
from trading.utils.logger import ActivityLog
from tests.unit.test_logger import ListTail

log = ActivityLog(Path(sys.argv[1]), ListTail(), SystemClock())
for number in range(50):
    log.write("info", f"{sys.argv[2]}:{number}")
"""


class ListTail:
    """The cache's lists in memory; `down` makes it lose what it is given, as a dead Redis does."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Json]] = {}
        self.down = False
        self.asked = 0

    def push(self, key: str, value: Json, keep: int, afresh: bool = False) -> bool:
        if self.down:
            return False
        before = [] if afresh else self.lists.get(key, [])
        self.lists[key] = [json.loads(json.dumps(value)), *before][:keep]
        return True

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        self.asked += 1
        return () if self.down else tuple(self.lists.get(key, ())[:limit])


@dataclass(frozen=True)
class Wallet:
    address: str
    private_key: str


class LogCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.path = self.directory / "agent_logs.json"
        self.cache = ListTail()
        self.clock = FakeClock()
        self.log = self.given_log()
        self.stderr = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.stderr))

    def given_log(self, cache: ListTail | None = None) -> ActivityLog:
        log = ActivityLog(self.path, cache or self.cache, self.clock)
        self.addCleanup(log.close)
        return log

    def written(self) -> list[Mapping[str, Json]]:
        entries = json.loads(self.path.read_text())
        assert isinstance(entries, list)
        return entries

    def cached(self) -> list[Json]:
        return [entry for entries in self.cache.lists.values() for entry in entries]


class WritingTest(LogCase):
    def test_an_entry_has_the_contracts_shape_in_both_places(self) -> None:
        self.log.write("success", "opened BTC/ETH", position_size=Decimal("1000.50"), pair=Pair.parse("BTC/ETH"))
        entry = self.log.tail(1)[0]
        self.assertEqual(list(entry), ["id", "timestamp", "agent", "type", "message", "data"])
        self.assertEqual(entry["timestamp"], "2026-11-22T12:00:00.000000+00:00")
        self.assertEqual((entry["agent"], entry["type"], entry["message"]), ("executor", "success", "opened BTC/ETH"))
        self.assertEqual(entry["data"], {"position_size": "1000.50", "pair": {"base": "BTC", "quote": "ETH"}})
        self.assertEqual(self.cached(), [entry])
        self.assertEqual({name: self.written()[0][name] for name in entry}, entry)

    def test_an_unknown_kind_is_plain_information(self) -> None:
        for kind in ("info", "success", "warning", "error", "shout"):
            self.log.write(kind, "x")
        self.assertEqual([entry["type"] for entry in self.written()], ["info", "success", "warning", "error", "info"])

    def test_ids_are_unique_even_within_one_instant_and_across_logs(self) -> None:
        other = self.given_log()
        for _ in range(100):
            self.log.write("info", "x")
            other.write("info", "x")
        self.assertEqual(len({str(entry["id"]) for entry in self.written()}), 200)

    def test_eight_processes_lose_nothing_and_share_no_id(self) -> None:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(self.path), str(number)], cwd=ROOT)
            for number in range(8)
        ]
        self.assertEqual([writer.wait() for writer in writers], [0] * 8)
        entries = self.written()
        self.assertEqual(len({str(entry["id"]) for entry in entries}), 400)
        self.assertEqual(
            {str(entry["message"]) for entry in entries},
            {f"{name}:{number}" for name in range(8) for number in range(50)},
        )

    def test_a_message_is_one_bounded_line(self) -> None:
        self.log.write("info", "a\x1b[31m\r\nb\u202e" + "x" * 100_000)
        message = str(self.written()[0]["message"])
        self.assertTrue(message.startswith("a [31m  b xxx"))
        self.assertEqual(len(message), MESSAGE_LENGTH_MAX)

    def test_no_secret_reaches_file_or_redis(self) -> None:
        self.log.write(
            "error",
            f"signing with {PRIVATE_KEY} failed at redis://:hunter2@host and Bearer hunter2",
            api_token="hunter2",
            headers={"Authorization": "hunter2", "deep": [{"wallet_key": ["hunter2"]}]},
            wallet=Wallet("0xabc", "hunter2"),
            note=f"key {PRIVATE_KEY[2:]} with 0x: {PRIVATE_KEY}",
            number=int(PRIVATE_KEY, 16),
            absent_token=None,
        )
        for text in (self.path.read_text(), json.dumps(self.cached())):
            self.assertNotIn("hunter2", text)
            self.assertNotIn(PRIVATE_KEY, text)
            self.assertNotIn(str(int(PRIVATE_KEY, 16)), text)
        entry = self.written()[0]
        self.assertEqual(entry["message"], "signing with *** failed at redis://***host and ***")
        data = entry["data"]
        assert isinstance(data, dict)
        self.assertEqual(data["wallet"], {"address": "0xabc", "private_key": MASK})
        self.assertEqual(data["headers"], {"Authorization": MASK, "deep": [{"wallet_key": MASK}]})
        self.assertIsNone(data["absent_token"])

    def test_data_that_is_too_large_is_left_out(self) -> None:
        self.log.write("info", "x", large=["y" * 900] * 40)
        self.assertEqual(self.written()[0]["data"], {"left_out": f"more than {DATA_LENGTH_MAX} characters"})


class MaskedTest(unittest.TestCase):
    def test_values_become_json_that_says_the_same(self) -> None:
        for value, told in (
            (None, None),
            (True, True),
            (7, 7),
            (10**400, MASK),
            (1.5, 1.5),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
            (Decimal("1.10"), "1.10"),
            (Decimal("NaN"), "NaN"),
            (NOON, "2026-11-22T12:00:00+00:00"),
            (timedelta(seconds=5), "0:00:05"),
            (Side.BUY, str(Side.BUY)),
            (ValueError("bad\nluck"), "bad luck"),
            (Pair, str(Pair)),
            (b"raw", "b'raw'"),
            (("a", Decimal(1)), ["a", "1"]),
            (frozenset({"a"}), ["a"]),
            ({1: {"x": datetime(2026, 1, 1)}}, {"1": {"x": "2026-01-01T00:00:00"}}),  # noqa: DTZ001 - a naive one is told too
            ("half \ud800", "half"),
        ):
            with self.subTest(value=str(value)[:40].encode("unicode_escape")):
                self.assertEqual(masked(value), told)

    def test_depth_and_width_are_bounded(self) -> None:
        endless: list[object] = []
        endless.append(endless)
        self.assertEqual(masked(endless), [[[[["..."]]]]])
        round_and_round: dict[str, object] = {}
        round_and_round["a"] = round_and_round
        self.assertEqual(json.dumps(masked(round_and_round)).count('"a"'), 5)
        wide = masked(list(range(10_000)))
        assert isinstance(wide, list)
        self.assertEqual(len(wide), ITEMS_MAX)
        named = masked({str(number): number for number in range(10_000)})
        assert isinstance(named, dict)
        self.assertEqual(len(named), ITEMS_MAX)

    def test_names_that_hide_and_names_that_do_not(self) -> None:
        for name, hidden in (
            ("HYPERLIQUID_WALLET_KEY", True),
            ("secretKey", True),
            ("api_token", True),
            ("Password", True),
            ("privateThing", True),
            ("Authorization", True),
            ("pair", False),
            ("signal_id", False),
        ):
            with self.subTest(name):
                self.assertEqual(masked({name: "value"}), {name: MASK if hidden else "value"})

    def test_an_id_of_sixty_four_digits_is_no_key(self) -> None:
        self.assertEqual(masked({"trade_id": "4f" * 32}), {"trade_id": "4f" * 32})


class TailTest(LogCase):
    def messages(self, limit: int, log: ActivityLog | None = None) -> list[str]:
        return [str(entry["message"]) for entry in (log or self.log).tail(limit)]

    def write(self, *messages: str) -> None:
        for message in messages:
            self.log.write("info", message)
            self.clock.advance(1)

    def test_newest_first_from_redis_when_it_holds_enough(self) -> None:
        self.write("a", "b", "c")
        self.path.unlink()
        self.assertEqual(self.messages(3), ["c", "b", "a"])
        self.assertEqual(self.messages(2), ["c", "b"])

    def test_from_the_file_when_redis_holds_less(self) -> None:
        self.write("a", "b", "c")
        self.cache.lists.clear()
        self.assertEqual(self.messages(50), ["c", "b", "a"])
        self.write("d")
        self.assertEqual(self.messages(2), ["d", "c"])

    def test_from_the_file_when_redis_is_down(self) -> None:
        self.cache.down = True
        self.write("a", "b")
        self.assertEqual(self.messages(1), ["b"])

    def test_a_gap_in_redis_is_never_shown(self) -> None:
        self.write("a")
        self.cache.down = True
        self.write("lost to redis")
        self.cache.down = False
        self.assertEqual(self.messages(1), ["lost to redis"])
        self.write("c")
        self.assertEqual(self.messages(3), ["c", "lost to redis", "a"])
        self.write("d")
        asked = self.cache.asked
        self.assertEqual(self.messages(2), ["d", "c"])
        self.assertEqual(self.cache.asked, asked + 1)

    def test_redis_keeps_the_newest_hundred_and_the_file_gives_the_rest(self) -> None:
        self.write(*(str(number) for number in range(130)))
        self.assertEqual(len(self.cached()), TAIL_KEPT)
        self.assertEqual(self.messages(120), [str(number) for number in range(129, 9, -1)])

    def test_memory_holds_no_more_than_a_thousand(self) -> None:
        self.cache.down = True
        self.write(*(str(number) for number in range(FILE_KEPT + 20)))
        self.assertEqual(len(self.messages(10_000_000)), FILE_KEPT)
        self.write("one more")
        newest = self.messages(10_000_000)
        self.assertEqual(len(newest), FILE_KEPT)
        self.assertEqual((newest[0], newest[1], newest[-1]), ("one more", str(FILE_KEPT + 19), "21"))

    def test_no_more_than_asked_for(self) -> None:
        self.write("a", "b")
        for limit in (0, -1):
            with self.subTest(limit=limit):
                self.assertEqual(self.messages(limit), [])

    def test_what_another_process_wrote_is_seen(self) -> None:
        self.cache.down = True
        other = self.given_log(ListTail())
        self.write("mine")
        other.write("info", "theirs")
        self.assertEqual(self.messages(5), ["theirs", "mine"])

    def test_a_log_of_another_directory_is_not_mixed_in(self) -> None:
        self.write("mine")
        path = self.directory / "other" / "agent_logs.json"
        elsewhere = ActivityLog(path, self.cache, self.clock)
        self.addCleanup(elsewhere.close)
        elsewhere.write("info", "theirs")
        self.assertEqual(self.messages(1), ["mine"])
        self.assertEqual(self.messages(1, elsewhere), ["theirs"])

    def test_a_file_that_was_rolled_is_not_read_twice(self) -> None:
        self.cache.down = True
        self.write("old", "newer")
        self.assertEqual(self.messages(5), ["newer", "old"])
        successor = self.directory / "successor.json"
        shutil.copy(self.path, successor)
        os.replace(successor, self.path)
        self.write("newest")
        self.assertEqual(self.messages(5), ["newest", "newer", "old"])

    def test_a_log_that_was_closed_opens_again(self) -> None:
        self.cache.down = True
        self.write("a")
        self.log.close()
        self.log.close()
        self.write("b")
        self.assertEqual(self.messages(5), ["b", "a"])


class TroubleTest(LogCase):
    def test_a_damaged_file_is_a_word_on_stderr_and_redis_goes_on(self) -> None:
        self.path.write_text("not a journal")
        self.log.write("warning", f"still here {PRIVATE_KEY}")
        self.assertIn("activity log: warning: still here *** (not in agent_logs.json: ", self.stderr.getvalue())
        self.assertEqual(len(self.stderr.getvalue().splitlines()), 1)
        self.assertEqual([entry["message"] for entry in self.log.tail(1)], ["still here ***"])
        self.assertEqual(self.path.read_text(), "not a journal")

    def test_with_neither_file_nor_redis_the_tail_is_what_this_process_knows_and_says_what_is_wrong(self) -> None:
        self.log.write("info", "written")
        whole = self.path.read_text()
        self.path.write_text(whole.replace("written", "wr1tten"))
        self.cache.down = True
        (lost,) = self.given_log().tail(5)
        self.assertEqual((lost["type"], lost["data"]), ("error", {"event": "LogLost"}))
        self.assertIn("agent_logs.json:2 is damaged", str(lost["message"]))
        log = self.given_log()
        for message in ("x", "y"):
            self.clock.advance(1)
            log.write("info", message)
        lines = [str(entry["message"]) for entry in log.tail(5)]
        self.assertEqual([lines[0], lines[2]], ["y", "x"])
        self.assertIn("agent_logs.json:2 is damaged", lines[1])
        self.assertEqual(len(lines), 3)
        self.assertIn("cannot be read", self.stderr.getvalue())
        self.path.write_text(whole)
        self.clock.advance(1)
        log.write("info", "mended")
        self.assertEqual(
            [str(entry["message"])[:7] for entry in log.tail(5)], ["mended", "y", "the act", "x", "written"]
        )

    def test_what_is_in_no_file_is_known_up_to_a_bound(self) -> None:
        self.path.mkdir()
        self.cache.down = True
        with patch("trading.utils.logger.FILE_KEPT", 3):
            for number in range(5):
                self.log.write("info", str(number))
            self.assertEqual([entry["message"] for entry in self.log.tail(5)], ["4", "3", "2"])

    def test_a_lock_that_was_not_had_in_time_is_no_lost_log(self) -> None:
        self.cache.down = True
        with patch("trading.utils.journal.Journal.append", side_effect=Busy("the log is locked")):
            self.log.write("info", "late")
        self.log.write("info", "later")
        self.assertEqual([entry["message"] for entry in self.log.tail(5)], ["later", "late"])

    def test_a_directory_that_cannot_be_made_stops_nobody(self) -> None:
        (self.directory / "file").write_text("")
        log = ActivityLog(self.directory / "file" / "agent_logs.json", self.cache, self.clock)
        log.write("info", "x")
        self.assertIn("not in agent_logs.json", self.stderr.getvalue())

    def test_a_file_that_is_mended_is_used_again(self) -> None:
        self.path.write_text("not a journal")
        self.log.write("info", "lost")
        self.path.unlink()
        self.log.write("info", "found")
        self.assertEqual([entry["message"] for entry in self.written()], ["found"])

    def test_a_closed_stderr_stops_nobody(self) -> None:
        self.path.write_text("not a journal")
        with patch("sys.stderr", io.StringIO()) as closed:
            closed.close()
            self.log.write("info", "x")
        self.assertEqual(len(self.cached()), 1)


if __name__ == "__main__":
    unittest.main()
