"""Server-Sent Events: what is told, how much work it takes, and that no stream holds on to anything."""

import http.client
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock, skipUnless

from django.conf import settings
from django.http import StreamingHttpResponse
from django.test import SimpleTestCase

from tests.api.base import ApiTestCase, told
from tests.fakes import FakeClock
from tests.processes import environ_of, free_port, wait_until
from trading import events
from trading.domain.errors import StoreCorrupt, VenueUnavailable
from trading.engine.patience import SHOWN_SECONDS
from trading.events import (
    BACKLOG_MAX,
    HEARTBEAT_SECONDS,
    POLL_SECONDS,
    STREAM_SECONDS_MAX,
    STREAMS_MAX,
    Feed,
    Stream,
    hung_up,
)
from trading.management.commands import serve
from trading.middleware import WsgiDoor

OPENING = {"signal_id": "signal_123", "position_size": 1000, "pair": "BTC/ETH"}
SLICED = {"signal_id": "signal_7", "position_size": 6000, "pair": "SOL/AVAX"}
STOP_SECONDS_MAX = 5.0


class Steps:
    """A pause that moves the clock on instead of waiting, and ends after *times*; *between* runs before each look."""

    def __init__(self, clock: FakeClock, times: int, between: Callable[[int], None] = lambda _: None) -> None:
        self._clock = clock
        self._times = times
        self._between = between
        self.taken = 0

    def wait(self, timeout: float) -> bool:
        self.taken += 1
        self._clock.advance(timeout)
        self._between(self.taken)
        return self.taken > self._times


def parsed(text: bytes) -> list[tuple[str, Any]]:
    """The events of a stream as (name, data); comments under the name of a colon."""
    found: list[tuple[str, Any]] = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
        elif block.startswith(":"):
            found.append((":", block))
    return found


class FeedCase(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.feed = Feed()
        self.seen = 0

    def begin(self) -> list[tuple[str, Any]]:
        self.seen, frames = self.feed.opening(self.desk)
        return parsed(frames)

    def look(self, seconds: float = POLL_SECONDS) -> dict[str, Any]:
        """What has happened since the last look, by name."""
        self.clock.advance(seconds)
        self.seen, frames = self.feed.since(self.desk, self.seen)
        return dict(parsed(frames))


class FeedTest(FeedCase):
    def test_a_stream_begins_with_the_positions_that_stand(self) -> None:
        self.assertEqual([("positions", [])], self.begin())
        position = told(self.execute(OPENING))
        self.clock.advance(POLL_SECONDS)
        ((name, found),) = self.begin()
        self.assertEqual(("positions", [position["position_id"]]), (name, [one["position_id"] for one in found]))

    def test_an_opening_is_told_as_a_trade_a_position_its_marks_and_a_log_line(self) -> None:
        self.begin()
        position = told(self.execute(OPENING))
        happened = self.look()
        self.assertEqual({"trades", "positions", "marks", "logs"}, set(happened))
        self.assertEqual([(position["trade_id"], "FILLED")], [(t["trade_id"], t["status"]) for t in happened["trades"]])
        self.assertEqual(
            [(position["position_id"], "open")], [(p["position_id"], p["status"]) for p in happened["positions"]]
        )
        self.assertEqual(set(position), set(happened["positions"][0]))
        self.assertEqual({"id", "timestamp", "agent", "type", "message", "data"}, set(happened["logs"][0]))

    def test_while_nothing_happens_only_marks_move(self) -> None:
        self.begin()
        self.execute(OPENING)
        self.look()
        (mark,) = self.look()["marks"]
        self.assertEqual({"marks"}, set(self.look()))
        self.assertEqual("BTC/ETH", mark["pair"])
        for name in ("long_price", "short_price", "pnl", "current_spread"):
            self.assertIsInstance(mark[name], float)

    def test_a_close_is_told_once_and_then_nothing_moves_any_more(self) -> None:
        position = told(self.execute(OPENING))
        self.begin()
        self.post(f"/api/positions/{position['position_id']}/close")
        happened = self.look()
        self.assertEqual([("closed", "MANUAL")], [(p["status"], p["exit_reason"]) for p in happened["positions"]])
        self.assertEqual(["CLOSE"], [t["effect"] for t in happened["trades"]])
        self.assertEqual({}, self.look())

    def test_a_trade_that_opens_and_closes_between_two_looks_is_not_missed(self) -> None:
        self.begin()
        position = told(self.execute(OPENING))
        self.post(f"/api/positions/{position['position_id']}/close")
        happened = self.look()
        self.assertEqual(["OPEN", "CLOSE"], [t["effect"] for t in happened["trades"]])
        self.assertEqual(["closed"], [p["status"] for p in happened["positions"]])

    def test_a_trade_that_goes_on_is_told_again_when_it_changes(self) -> None:
        opened = told(self.execute(SLICED))
        self.begin()
        self.assertNotIn("trades", self.look())
        self.post(f"/api/trades/{opened['trade_id']}/cancel")
        self.assertEqual(["CANCELED"], [t["status"] for t in self.look()["trades"]])

    def test_changed_exits_are_told_as_the_position(self) -> None:
        position = told(self.execute(OPENING))["position_id"]
        self.begin()
        self.send("PATCH", f"/api/positions/{position}", {"take_profit": 0.05})
        self.assertEqual([0.05], [p["take_profit"] for p in self.look()["positions"]])

    def test_all_streams_together_look_at_the_desk_once_a_second(self) -> None:
        with mock.patch.object(type(self.desk.store), "book", autospec=True, side_effect=StoreCorrupt("x")) as book:
            for _ in range(10):
                self.begin()
                for _ in range(5):
                    self.feed.since(self.desk, 0)
                self.clock.advance(POLL_SECONDS / 10)
            self.assertEqual(1, book.call_count)
            self.look()
            self.assertEqual(2, book.call_count)

    def test_an_exchange_that_hangs_keeps_no_stream_from_the_news_of_trades_for_long(self) -> None:
        """Each status that stands was asked for by itself, six seconds every time, while all streams waited."""
        self.begin()
        self.execute(OPENING)
        self.execute(SLICED)
        self.assertEqual({"open", "opening"}, {one["status"] for one in told(self.get("/api/positions"))})
        self.clock.advance(60)

        def give_up(*_: object) -> Any:
            self.clock.advance(3)
            raise VenueUnavailable("no answer in time")

        with (
            mock.patch.object(self.desk.venue, "quotes", give_up),
            mock.patch.object(self.desk.venue, "account", give_up),
        ):
            began = self.clock.monotonic()
            happened = self.look()
        self.assertLessEqual(self.clock.monotonic() - began, POLL_SECONDS + SHOWN_SECONDS)
        self.assertEqual((2, 2), (len(happened["trades"]), len(happened["positions"])))

    def test_a_store_in_trouble_is_told_once_and_again_after_it_was_well(self) -> None:
        self.begin()
        for _ in range(2):
            with mock.patch.object(type(self.desk.store), "book", side_effect=StoreCorrupt("trades.json:7 is damaged")):
                (problem,) = self.look()["problems"]
                self.assertEqual(("STORE_CORRUPT", 503), (problem["code"], problem["status"]))
                self.assertEqual({}, self.look())
                # Who comes now is told at once, and not only those who were there when it began.
                self.assertEqual(["positions", "problems"], [name for name, _ in self.begin()])
            self.assertEqual({"problems": []}, self.look())
            self.assertEqual([("positions", [])], self.begin())

    def test_all_positions_are_told_however_many_there_are(self) -> None:
        self.begin()
        for pair in ("BTC/ETH", "SOL/AVAX"):
            self.execute({**OPENING, "signal_id": f"one of many {pair}", "pair": pair})
        with mock.patch("trading.events.ITEMS_MAX", 1):
            self.assertEqual(2, len(self.look()["positions"]))
            ((_, found),) = self.begin()
            self.assertEqual(2, len(found))

    def test_a_desk_that_is_in_trouble_at_first_does_not_tell_the_past_as_news(self) -> None:
        self.execute(OPENING)
        with mock.patch.object(type(self.desk.store), "book", side_effect=StoreCorrupt("x")):
            self.begin()
        self.assertEqual({"marks", "problems"}, set(self.look()))

    def test_what_is_kept_is_bounded(self) -> None:
        self.begin()
        self.execute(OPENING)
        for _ in range(BACKLOG_MAX + 50):
            self.clock.advance(POLL_SECONDS)
            self.feed.since(self.desk, self.seen)
        self.assertLessEqual(len(parsed(self.feed.since(self.desk, 0)[1])), BACKLOG_MAX)


class StreamTest(FeedCase):
    def stream(self, pause: Steps, gone: Callable[[], bool] = lambda: False) -> list[bytes]:
        return list(Stream(self.desk, self.feed, gone, pause))

    def test_a_quiet_stream_is_a_heartbeat_every_ten_seconds(self) -> None:
        began = self.clock.monotonic()
        beats: list[float] = []

        def note(_: int) -> None:
            beats.append(self.clock.monotonic() - began)

        chunks = self.stream(Steps(self.clock, 35, note))
        self.assertEqual(b"retry: 3000", chunks[0].splitlines()[0])
        self.assertEqual(3, sum(chunk.startswith(b":") for chunk in chunks))
        self.assertEqual(4, len(chunks))
        self.assertEqual(10.0, HEARTBEAT_SECONDS)

    def test_a_busy_stream_has_its_heartbeats_too(self) -> None:
        self.execute(OPENING)
        names = [name for name, _ in parsed(b"".join(self.stream(Steps(self.clock, 21))))]
        self.assertEqual(2, names.count("beat"))
        self.assertGreater(names.count("marks"), 15)

    def test_it_ends_when_its_client_has_gone(self) -> None:
        pause = Steps(self.clock, 100)
        self.stream(pause, gone=lambda: pause.taken >= 3)
        self.assertEqual(3, pause.taken)

    def test_it_ends_after_its_hour(self) -> None:
        pause = Steps(self.clock, 1_000_000)
        with mock.patch.object(events, "STREAM_SECONDS_MAX", 30.0):
            self.stream(pause)
        self.assertEqual(30, pause.taken)
        self.assertEqual(3600.0, STREAM_SECONDS_MAX)

    def test_it_ends_with_the_session_that_opened_it(self) -> None:
        pause = Steps(self.clock, 1_000_000)
        until = self.clock.now() + timedelta(seconds=12)
        list(Stream(self.desk, self.feed, lambda: False, pause, until))
        self.assertEqual(12, pause.taken)


class PlacesTest(ApiTestCase):
    def test_streams_leave_most_of_the_servers_threads_to_others(self) -> None:
        self.assertLess(2 * STREAMS_MAX, serve.THREADS)

    def open(self) -> Any:
        return self.get("/api/events")

    def test_streams_beyond_the_places_are_a_503_until_one_is_closed(self) -> None:
        streams = [self.open() for _ in range(STREAMS_MAX)]
        for stream in streams:
            self.addCleanup(stream.close)
            self.assertIsInstance(stream, StreamingHttpResponse)
            self.assertEqual("text/event-stream; charset=utf-8", stream["Content-Type"])
            self.assertEqual(("no-store", "no"), (stream["Cache-Control"], stream["X-Accel-Buffering"]))
        full = self.open()
        self.assert_problem(full, 503, "STREAMS_FULL")
        self.assertTrue(full["Retry-After"])
        streams[0].close()
        again = self.open()
        self.addCleanup(again.close)
        self.assertEqual(200, again.status_code)
        self.assert_problem(self.open(), 503, "STREAMS_FULL")

    def test_closing_twice_frees_one_place(self) -> None:
        first, second = (events.open_stream(self.desk, {}) for _ in range(2))
        assert first is not None
        assert second is not None
        for stream in (first, first, second):
            stream.close()
        self.assertEqual(STREAMS_MAX, events._places._value)

    def test_a_head_takes_no_place(self) -> None:
        for _ in range(STREAMS_MAX + 1):
            response = self.send("HEAD", "/api/events")
            self.assertEqual((200, b""), (response.status_code, response.content))

    def test_queries_are_refused(self) -> None:
        self.assert_invalid(self.get("/api/events?since=1"), "since")


class HungUpTest(SimpleTestCase):
    def test_without_the_servers_socket_nobody_can_tell(self) -> None:
        environs: tuple[Mapping[str, object], ...] = ({}, {"gunicorn.socket": None}, {"gunicorn.socket": 7})
        for environ in environs:
            self.assertFalse(hung_up(environ)())

    def test_a_closed_connection_is_noticed(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        gone = hung_up({"gunicorn.socket": ours})
        self.assertFalse(gone())
        theirs.close()
        self.assertTrue(gone())


class SignalTest(SimpleTestCase):
    def setUp(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.enterContext(mock.patch.object(events, "STOPPING", threading.Event()))

    def test_a_signal_ends_the_streams_and_then_does_what_the_server_wants(self) -> None:
        told_first: list[bool] = []
        signal.signal(signal.SIGTERM, lambda *_: told_first.append(events.STOPPING.is_set()))
        events.end_streams_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual([True], told_first)

    def test_a_signal_that_nobody_answers_is_left_as_it_is(self) -> None:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        events.end_streams_on_signals()
        self.assertIs(signal.SIG_DFL, signal.getsignal(signal.SIGQUIT))

    def test_the_door_for_servers_is_in_place_and_tells_the_streams_of_signals(self) -> None:
        with mock.patch("trading.events.end_streams_on_signals") as told:
            module = importlib.reload(importlib.import_module("executor_agent.wsgi"))
        self.assertIsInstance(module.application, WsgiDoor)
        self.assertTrue(told.called)

    def test_in_another_thread_nothing_is_changed(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        thread = threading.Thread(target=events.end_streams_on_signals)
        thread.start()
        thread.join()
        self.assertIs(before, signal.getsignal(signal.SIGTERM))


@skipUnless(sys.platform == "linux", "gunicorn and its sockets")
class ServedTest(SimpleTestCase):
    """Under gunicorn, as `make run` has it."""

    def setUp(self) -> None:
        self.port = free_port()
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        environ = environ_of(DATA_DIR=str(folder / "data"), REDIS_URL="redis://127.0.0.1:1/3")
        command = (sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread")
        options = ("--threads", "16", "--graceful-timeout", "8", "--no-control-socket", "--log-level", "error")
        self.server = subprocess.Popen(
            (*command, *options, "executor_agent.wsgi:application"),
            cwd=settings.BASE_DIR,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)
        wait_until(self.serving, "getting ready")

    def ask(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        return connection, connection.getresponse()

    def serving(self) -> bool:
        try:
            return self.ask("/api/health")[1].status == 200
        except OSError:
            return False

    def status(self) -> int:
        connection, response = self.ask("/api/events")
        connection.close()
        response.close()
        return response.status

    def test_places_of_clients_that_hang_up_are_free_soon_and_a_stop_does_not_wait_for_streams(self) -> None:
        opened = [self.ask("/api/events") for _ in range(STREAMS_MAX)]
        self.assertEqual([b"retry: 3000\n"] * STREAMS_MAX, [response.readline() for _, response in opened])
        self.assertEqual(503, self.status())
        connection, response = opened.pop()
        response.close()
        connection.close()
        wait_until(lambda: self.status() == 200, "a free place")
        self.assertEqual(200, self.ask("/api/health")[1].status)
        self.server.terminate()
        self.assertEqual(0, self.server.wait(STOP_SECONDS_MAX))
        self.assertTrue(all(response.read() is not None for _, response in opened))
