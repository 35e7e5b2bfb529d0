"""Streamed prices: believed while their connection lives, forgotten when it dies, asked for again when it returns."""

import json
import os
import socket
import threading
import unittest
from contextlib import suppress
from decimal import Decimal
from unittest import mock

import websocket

from tests.fakes import FakeClock, FakeLog
from tests.processes import free_port, wait_until
from tests.servers.hyperliquid import frames as wire
from tests.servers.hyperliquid.streams import Connection, Subscription
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.adapters import hyperliquid_stream
from trading.adapters.hyperliquid_stream import (
    COINS_MAX,
    CONNECT_SECONDS,
    FRAME_CHARACTERS_MAX,
    LOOK_SECONDS,
    REFUSALS_SAID_MAX,
    PriceStream,
    Streamed,
    stream_url,
)
from trading.domain.units import Coin
from trading.ports import Ticks

WAIT = 3.0


def price_of(stream: PriceStream, coin: Coin) -> Streamed | None:
    return stream.prices([coin], 0).get(coin)


class Streams(HyperliquidWorld):
    def setUp(self) -> None:
        super().setUp()
        self.stream = self.streaming(stream_url(self.server.url))

    def streaming(self, url: str) -> PriceStream:
        stream = PriceStream(url, self.clock, self.log, look_seconds=0.005)
        self.addCleanup(stream.close)
        return stream

    def listening(self, *coins: Coin) -> None:
        """Want *coins* and wait until the connection has spoken of each."""
        self.stream.want(coins)
        wait_until(lambda: all(price_of(self.stream, one) is not None for one in coins), "the first prices")

    def bid(self, coin: Coin) -> Decimal | None:
        price = price_of(self.stream, coin)
        return price.book.bids[0].price if price is not None else None

    def moved(self, coin: Coin, mid: str) -> None:
        self.exchange.set_market(coin, mid)
        self.server.streams.publish_markets()

    def test_nothing_is_connected_before_a_coin_is_wanted(self) -> None:
        self.assertFalse(self.stream.alive)
        self.stream.want([])
        self.assertEqual(self.server.streams.count, 0)
        self.assertIsNone(price_of(self.stream, ETH))

    def test_a_wanted_coin_has_book_mark_and_the_instant_of_its_last_confirmation(self) -> None:
        self.listening(ETH)
        price = price_of(self.stream, ETH)
        assert price is not None
        self.assertEqual((price.book.coin, price.mark), (ETH, 3000))
        self.assertLess(price.book.bids[0].price, price.book.asks[0].price)
        self.assertEqual(price.confirmed_at, self.clock.now())
        self.assertIsNone(price_of(self.stream, SOL))
        self.assertTrue(self.stream.alive)

    def test_half_of_what_a_new_connection_says_is_not_made_whole_by_the_one_before(self) -> None:
        """A book of before the cut, beside a mark of now, would be told as confirmed now."""
        book = {"channel": "l2Book", "data": self.server.info.book({"coin": ETH})}
        mark = {"channel": "activeAssetCtx", "data": {"coin": ETH, "ctx": self.server.info.context(ETH)}}
        frames = [json.dumps(one) for one in (book, mark)]
        for first in frames:
            for one in frames:
                self.stream._take(one)
            self.assertIsNotNone(price_of(self.stream, ETH))
            self.stream._forget()
            self.stream._take(first)
            self.assertIsNone(price_of(self.stream, ETH))
            self.stream._forget()

    def test_each_coin_that_has_moved_ticks_once_and_only_for_who_asked(self) -> None:
        self.assertEqual(Ticks(0, frozenset()), self.stream.wait_for_ticks(0, [ETH], 0.0))
        self.listening(ETH, SOL)
        known = self.stream.wait_for_ticks(0, [ETH, SOL], WAIT)
        self.assertEqual({ETH, SOL}, known.coins)
        self.moved(ETH, "3100")
        ticks = self.stream.wait_for_ticks(known.number, [ETH], WAIT)
        self.assertEqual({ETH}, ticks.coins)
        wait_until(lambda: (self.bid(ETH) or 0) > 3090, "the new price")
        self.assertEqual(frozenset(), self.stream.wait_for_ticks(ticks.number + 10, [ETH, SOL], 0.01).coins)

    def test_prices_follow_the_market_and_another_coin_joins_the_same_connection(self) -> None:
        self.listening(ETH)
        self.listening(ETH, SOL)
        self.moved(ETH, "3100")
        wait_until(lambda: (self.bid(ETH) or 0) > 3090, "the new price")
        self.assertEqual((self.server.streams.count, self.stream.connections), (1, 1))

    def test_any_frame_of_a_live_connection_confirms_a_quiet_coin_until_it_has_been_quiet_for_long(self) -> None:
        self.listening(ETH)
        began = self.clock.now()
        self.clock.advance(10)
        wait_until(lambda: (one := price_of(self.stream, ETH)) is not None and one.confirmed_at > began, "a pong")
        self.server.streams.silent = True
        # The last frame may be on its way still.
        wait_until(self.is_old_after_ten_seconds, "a quiet that is too long")

    def is_old_after_ten_seconds(self) -> bool:
        self.clock.advance(10)
        return price_of(self.stream, ETH) is None

    def test_a_cut_forgets_everything_and_a_new_connection_asks_for_all_of_it_again(self) -> None:
        self.listening(ETH, SOL)
        self.server.streams.refuses = True
        self.server.streams.cut()
        wait_until(lambda: not self.stream.alive, "the cut")
        self.assertIsNone(price_of(self.stream, ETH))
        self.assertIn("the venue's price stream was cut; polling meanwhile", self.log.messages("warning"))
        self.exchange.set_market(ETH, "3200")
        self.server.streams.refuses = False
        wait_until(lambda: self.bid(ETH) is not None and self.bid(SOL) is not None, "the return")
        self.assertGreater(self.bid(ETH) or 0, 3190)
        self.assertGreaterEqual(self.stream.connections, 2)

    def test_connections_that_are_cut_soon_are_made_seldomer(self) -> None:
        """The venue takes thirty new connections a minute of one address; ten a second were made of one that let each
        begin and cut it."""
        pauses: list[float] = []
        lives = iter([60.0, *[1.0] * 7, 60.0])
        closing = mock.Mock(is_set=lambda: len(pauses) == 9, wait=pauses.append)

        def listen() -> None:
            self.stream.connections += 1
            self.clock.advance(next(lives))
            raise OSError("cut")

        with mock.patch.object(self.stream, "_closing", closing), mock.patch.object(self.stream, "_listen", listen):
            self.stream._run()
        self.assertEqual([0.1, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 0.1], pauses)
        self.assertEqual([], self.log.messages("warning"), "what had not spoken was not cut")

    def test_a_silent_connection_is_pinged_then_taken_for_dead_and_replaced(self) -> None:
        self.listening(ETH)
        self.server.streams.silent = True
        wait_until(lambda: not self.stream.alive, "the watchdog")
        self.server.streams.silent = False
        wait_until(lambda: self.bid(ETH) is not None, "the return")
        self.assertEqual(self.stream.connections, 2)

    def test_duplicate_frames_change_nothing(self) -> None:
        self.server.streams.duplicates = True
        self.listening(ETH)
        self.moved(ETH, "3100")
        wait_until(lambda: (self.bid(ETH) or 0) > 3090, "the new price")

    def test_a_venue_that_is_not_there_is_tried_again_without_a_word_to_the_callers(self) -> None:
        stream = self.streaming(f"ws://127.0.0.1:{free_port()}/ws")
        stream.want([ETH])
        stream.prices([ETH], WAIT)
        self.assertFalse(stream.alive)
        self.assertIsNone(stream.prices([ETH], 0).get(ETH))

    def test_waiting_ends_as_soon_as_the_coins_are_there(self) -> None:
        self.listening(ETH)
        self.stream.want([SOL])
        self.stream.prices([ETH, SOL], WAIT)
        self.assertIsNotNone(price_of(self.stream, SOL))

    def test_a_coin_that_the_venue_will_not_stream_is_waited_for_once_and_said(self) -> None:
        """Each reading of all prices took half a second, for as long as the connection lived."""
        change, sentence = self.server.streams._change, "Cannot subscribe to more than 1000 channels."

        def refusing(connection: Connection, method: str, subscription: Subscription) -> None:
            if (subscription.coin, subscription.type) == (SOL, "l2Book"):
                self.server.streams._error(connection, sentence)
            else:
                change(connection, method, subscription)

        with mock.patch.object(self.server.streams, "_change", refusing):
            self.listening(ETH)
            self.stream.want([SOL])
            wait_until(lambda: any(sentence in one for one in self.log.messages("warning")), "the refusal being said")
            with mock.patch.object(self.stream._changed, "wait_for", return_value=False) as waited:
                for seconds, times in ((0.3, 1), (0.3, 2), (0.0, 2), (60.0, 2)):
                    self.assertEqual([ETH], list(self.stream.prices([ETH, SOL], 0.5)))
                    self.assertEqual(times, sum(call.args[1] > 0 for call in waited.call_args_list))
                    self.clock.advance(seconds)
                self.stream._forget()
                self.stream._confirmed_at = self.clock.now()
                self.stream.prices([SOL], 0.5)
                self.assertEqual(0.5, waited.call_args.args[1], "a new connection may speak of it")

    def test_after_close_nothing_is_started_and_closing_again_does_nothing(self) -> None:
        self.listening(ETH)
        self.stream.close()
        self.stream.close()
        self.stream.want([SOL])
        self.assertFalse(self.stream.alive)
        wait_until(lambda: self.server.streams.count == 0, "the end of the connection")

    def test_no_more_coins_than_the_venue_allows_are_subscribed(self) -> None:
        self.stream.close()
        stream = PriceStream("ws://127.0.0.1:9/ws", self.clock, self.log)
        stream.want([Coin(f"C{number}") for number in range(COINS_MAX + 5)])
        self.addCleanup(stream.close)
        self.assertEqual(len(stream._wanted), COINS_MAX)

    def test_the_environment_s_proxies_are_not_for_us(self) -> None:
        with mock.patch.dict(os.environ, {"http_proxy": f"http://127.0.0.1:{free_port()}", "no_proxy": ""}):
            self.listening(ETH)

    def test_the_address_of_the_stream_follows_the_address_of_the_venue(self) -> None:
        self.assertEqual(stream_url("https://api.hyperliquid.xyz"), "wss://api.hyperliquid.xyz/ws")
        self.assertEqual(stream_url("http://127.0.0.1:9000/"), "ws://127.0.0.1:9000/ws")


class Endless(unittest.TestCase):
    """A frame of which more comes for ever: the memory grew, nothing ended it, and the thread outlived its stream."""

    def setUp(self) -> None:
        self.clock, self.closing = FakeClock(), threading.Event()
        self.in_pieces = mock.Mock()
        self.socket = hyperliquid_stream._Socket(self.clock, self.closing, self.in_pieces)
        mine, self.theirs = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(self.theirs.close)
        self.socket.sock = mine
        self.socket.settimeout(0.01)
        self.theirs.sendall(wire.frame(wire.TEXT, b"{}"))
        self.assertEqual("{}", self.socket.recv())

    def begin(self, size: int) -> None:
        """So much of a frame of a mebibyte, and then silence."""
        self.theirs.sendall(wire.frame(wire.TEXT, bytes(1 << 20))[:size])

    def ends(self) -> str:
        with self.assertRaises(websocket.WebSocketException) as caught:
            self.socket.recv()
        return str(caught.exception)

    def test_a_frame_that_is_too_large_ends_the_connection_before_it_is_all_there(self) -> None:
        self.begin(2000)
        with mock.patch.object(hyperliquid_stream, "FRAME_CHARACTERS_MAX", 1000):
            self.assertIn("without end", self.ends())

    def test_a_frame_in_drips_ends_the_connection_and_a_slow_one_does_not(self) -> None:
        for seconds, words in ((0.0, "timed out"), (20.0, "timed out"), (0.1, "without end")):
            self.begin(100)
            self.clock.advance(seconds)
            self.assertIn(words, self.ends())

    def test_many_frames_are_not_one_that_is_too_large_or_too_slow(self) -> None:
        """Each connection would end after four mebibytes, or after twenty seconds."""
        with mock.patch.object(hyperliquid_stream, "FRAME_CHARACTERS_MAX", 1000):
            for _ in range(3):
                self.theirs.sendall(wire.frame(wire.TEXT, bytes(600)))
                self.assertEqual(600, len(self.socket.recv()))
                self.clock.advance(15)

    def test_a_frame_of_which_a_piece_has_come_is_told_of(self) -> None:
        self.assertEqual(0, self.in_pieces.call_count)
        self.begin(100)
        self.assertIn("timed out", self.ends())
        self.assertEqual(1, self.in_pieces.call_count)

    def test_a_stream_that_is_closed_waits_for_no_frame(self) -> None:
        self.closing.set()
        self.begin(100)
        self.assertIn("without end", self.ends())


class Greeting(unittest.TestCase):
    """An answer to the connection that goes on for ever: each byte came in time, so the thread was held for good, and
    no price was streamed until the process was started anew."""

    def setUp(self) -> None:
        self.clock, self.closing = FakeClock(), threading.Event()
        self.socket = hyperliquid_stream._Socket(self.clock, self.closing, mock.Mock())
        self.socket.settimeout(WAIT)
        listener = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        self.url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        self.pace = 0.0
        server = threading.Thread(target=self.drip, args=(listener,), daemon=True)
        server.start()
        self.addCleanup(server.join)

    def drip(self, listener: socket.socket) -> None:
        theirs, _ = listener.accept()
        with theirs, suppress(OSError):
            theirs.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX-Pad: ")
            for _ in range(10_000):
                self.clock.advance(self.pace)
                theirs.sendall(b"a")

    def assert_refused(self, bytes_max: int = 1 << 20) -> None:
        """Before its end, which is a connection that is lost."""
        bounded = mock.patch.object(hyperliquid_stream, "HANDSHAKE_BYTES_MAX", bytes_max)
        with bounded, self.assertRaisesRegex(websocket.WebSocketException, "has no end"):
            self.socket.connect(self.url)
        self.assertIsNone(self.socket.sock)

    def test_one_in_drips_has_as_long_as_a_connection_may_take_in_all(self) -> None:
        self.pace = 1.0
        self.assert_refused()

    def test_one_that_is_too_large_ends_before_it_is_all_there(self) -> None:
        self.assert_refused(bytes_max=1000)

    def test_a_stream_that_is_closed_waits_for_none(self) -> None:
        self.closing.set()
        self.assert_refused()


class Silence(unittest.TestCase):
    """A connection that says nothing: asked for a word once a second, and given up after five."""

    def setUp(self) -> None:
        self.looks = 0
        self.pinged_at: list[int] = []
        self.spoke_at: set[int] = set()
        self.bounds: list[object] = []
        self.stream = PriceStream("ws://127.0.0.1:9/ws", FakeClock(), FakeLog())
        self.socket = mock.Mock(recv=self.look, send=lambda _: self.pinged_at.append(self.looks))
        self.socket.settimeout = self.bounds.append
        self.socket.connect = lambda *_, **__: self.bounds.append("connected")

    def look(self) -> str:
        self.looks += 1
        if self.looks in self.spoke_at:
            return '{"channel": "pong"}'
        raise websocket.WebSocketTimeoutException("timed out")

    def listen(self) -> None:
        connecting = mock.patch.object(hyperliquid_stream, "_Socket", return_value=self.socket)
        with connecting, mock.patch.object(hyperliquid_stream, "_has_more", return_value=False):
            self.stream._listen()

    def test_it_is_pinged_each_second_and_taken_for_dead_after_five(self) -> None:
        with self.assertRaises(websocket.WebSocketTimeoutException):
            self.listen()
        self.assertEqual(([20, 40, 60, 80], 100), (self.pinged_at, self.looks))
        self.assertEqual(1, self.socket.close.call_count)

    def test_each_word_of_it_begins_the_silence_anew(self) -> None:
        self.spoke_at = {21, 99}
        with self.assertRaises(websocket.WebSocketTimeoutException):
            self.listen()
        self.assertEqual(([20, 41, 61, 81, 119, 139, 159, 179], 199), (self.pinged_at, self.looks))

    def test_connecting_has_an_end_and_a_look_is_short(self) -> None:
        with self.assertRaises(websocket.WebSocketTimeoutException):
            self.listen()
        self.assertEqual([CONNECT_SECONDS, "connected", LOOK_SECONDS], self.bounds)


class Frames(HyperliquidWorld):
    """Frames as they come, without a socket."""

    def setUp(self) -> None:
        super().setUp()
        self.stream = PriceStream("ws://127.0.0.1:9/ws", self.clock, self.log)

    def book(self, bid: str, time: int) -> str:
        levels = [[{"px": bid, "sz": "1", "n": 1}], [{"px": "4000", "sz": "1", "n": 1}]]
        return json.dumps({"channel": "l2Book", "data": {"coin": "ETH", "time": time, "levels": levels}})

    def test_what_is_there_is_not_waited_for_and_a_mark_that_is_missing_is(self) -> None:
        self.stream._wanted[ETH] = None
        self.stream._take(self.book("3001", 1))
        with mock.patch.object(self.stream._changed, "wait_for") as waited:
            self.stream.prices([ETH], 5.0)
            self.assertEqual(1, waited.call_count)
            over = waited.call_args.args[0]
            self.assertFalse(over())
            self.stream._take(
                json.dumps({"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "3000"}}})
            )
            self.assertTrue(over())
            self.assertEqual([ETH], list(self.stream.prices([ETH], 5.0)))
            self.assertEqual(1, waited.call_count)
            self.stream._forget()
            self.assertTrue(over(), "nobody waits for a connection that is cut")

    def test_a_book_that_comes_no_more_is_not_told_for_its_mark_nor_a_mark_for_its_book(self) -> None:
        """One of the two subscriptions may be gone while the other flows."""
        mark = json.dumps({"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "3000"}}})
        for flows in (mark, self.book("3001", 1)):
            for frame in (mark, self.book("3001", 1)):
                self.stream._take(frame)
            for seconds, told in ((10, True), (5, True), (1, False)):
                self.clock.advance(seconds)
                self.stream._take(flows)
                self.assertIs(told, price_of(self.stream, ETH) is not None, (flows, seconds))

    def test_a_late_book_does_not_undo_a_newer_one(self) -> None:
        self.stream._take(json.dumps({"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "3000"}}}))
        for bid, time in (("3001", 2), ("2900", 1), ("3002", 2)):
            self.stream._take(self.book(bid, time))
        price = price_of(self.stream, ETH)
        assert price is not None
        self.assertEqual(price.book.bids[0].price, 3002)

    def test_a_book_of_a_later_hour_is_not_told_for_all_that_come_after_it(self) -> None:
        """One stamp that is wrong, or a clock of the venue that goes back: the price before was told as of now."""
        self.stream._take(json.dumps({"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "3000"}}}))
        self.stream._take(self.book("3001", 3_600_000))
        self.assertIsNotNone(price_of(self.stream, ETH))
        self.stream._take(self.book("2500", 1000))
        self.assertIsNone(price_of(self.stream, ETH), "which of the two is of now is not known")
        self.stream._take(self.book("2501", 1500))
        price = price_of(self.stream, ETH)
        assert price is not None
        self.assertEqual(price.book.bids[0].price, 2501)

    def test_frames_that_make_no_sense_show_only_that_the_connection_lives(self) -> None:
        frames = (
            "Websocket connection established.",
            "[]",
            "{}",
            '{"channel": "pong"}',
            '{"channel": "l2Book", "data": null}',
            '{"channel": "l2Book", "data": {"coin": "ETH"}}',
            '{"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "NaN"}}}',
            '{"channel": "error", "data": "Invalid subscription"}',
            '{"channel": "pong", "data": 1e99999999999999999999}',
            '{"channel": "pong", "data": NaN}',
            f'{{"channel": "pong", "data": {"9" * 5000}}}',
            "[" * 100_000,
        )
        for frame in frames:
            with self.subTest(frame=frame[:40]):
                self.stream._take(frame)
        self.assertTrue(self.stream.alive)
        self.assertIsNone(price_of(self.stream, ETH))

    def test_each_refusal_is_said_once_and_only_so_many(self) -> None:
        for number in range(2 * REFUSALS_SAID_MAX):
            for frame in (self.book("3001", 1), '{"channel": "pong"}', "{}"):
                self.stream._take(frame)
            for _ in range(2):
                self.stream._take(json.dumps({"channel": "error", "data": f"Invalid subscription {number}"}))
        said = [f"the venue's stream says no: Invalid subscription {one}" for one in range(REFUSALS_SAID_MAX)]
        self.assertEqual(said, self.log.messages("warning"))

    def test_who_waits_is_woken_once_for_a_book_and_what_is_there_behind_it(self) -> None:
        mark = json.dumps({"channel": "activeAssetCtx", "data": {"coin": "ETH", "ctx": {"markPx": "3000"}}})
        rows = (
            ("a book alone", [(self.book("3001", 1), False)], [True]),
            ("a mark, whatever follows", [(mark, True)], [True]),
            ("a book and its mark", [(self.book("3002", 2), True), (mark, True)], [False, True]),
            ("books of which no end is there", [(self.book("3003", 3), True)] * 4, [False, True, False, True]),
            ("a book and what makes no sense", [(self.book("3004", 4), True), ("{}", False)], [False, True]),
            ("what is no price", [("{}", False), ('{"channel": "pong"}', False)], [False, False]),
        )
        for name, frames, expected in rows:
            with self.subTest(name), mock.patch.object(self.stream._changed, "notify_all") as wake:
                woken = []
                for frame, more in frames:
                    before = wake.call_count
                    self.stream._hear(frame, lambda more=more: more)  # type: ignore[misc]
                    woken.append(wake.call_count > before)
                self.assertEqual(expected, woken)

    def test_who_waits_is_woken_when_what_was_there_behind_a_book_is_no_whole_frame(self) -> None:
        self.stream._hear(self.book("3001", 1), lambda: True)
        with mock.patch.object(self.stream._changed, "notify_all") as wake:
            self.stream._wake_if_owed()
            self.stream._wake_if_owed()
        self.assertEqual(1, wake.call_count)

    def test_what_is_no_text_ends_the_connection(self) -> None:
        for frame in (b"\x00", "", "x" * (FRAME_CHARACTERS_MAX + 1)):
            with self.subTest(frame=frame[:1]), self.assertRaises(Exception) as caught:
                self.stream._take(frame)
            self.assertEqual(type(caught.exception).__name__, "WebSocketException")


if __name__ == "__main__":
    unittest.main()
