"""Prices of the coins in play over Hyperliquid's WebSocket: order books and marks, and how fresh they are.

The law: a value counts only while the connection that brought it lives. Every frame of a live connection confirms what
that connection has said; a new connection begins with nothing and is believed once it has sent a coin's snapshot anew.
So a quiet market does not grow stale, and after a cut nothing old is taken for new. One daemon thread; it never raises
into its callers, who find no price and poll.
"""

import json
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import websocket
from urllib3.util.wait import wait_for_read
from websocket import _http

from trading.adapters.hyperliquid_news import AccountNews
from trading.adapters.hyperliquid_values import mapping, text
from trading.adapters.hyperliquid_wire import BookFrame, decode_book, decode_mark
from trading.adapters.wire_values import one_line
from trading.domain.errors import VenueUnavailable
from trading.domain.units import Coin, Price
from trading.ports import Clock, Log, Ticks

CONNECT_SECONDS = 5.0
HANDSHAKE_BYTES_MAX = 1 << 16
LOOK_SECONDS = 0.05
PING_AFTER_LOOKS = 20
DEAD_AFTER_LOOKS = 100
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
# One that lived shorter counts as failed: the venue takes thirty new connections a minute of one address
# (documentation, "Rate limits").
STEADY_SECONDS = 30.0
# The venue takes 1,000 subscriptions of one address (documentation, "Rate limits"); each coin has two or three.
COINS_MAX = 100
# A coin that has been silent for so long is asked for by name: its subscription may be gone while others flow.
COIN_SILENCE_MAX = timedelta(seconds=15)
# A book that is stamped so much earlier than the one before it did not just come late.
LATE_MAX = timedelta(seconds=2)
# The first frame of an account's fills holds two thousand of them, some 400 characters each.
FRAME_CHARACTERS_MAX = 1 << 22
# How long one may take to come in, which over a slow line that first one does.
FRAME_SECONDS_MAX = 20.0
BOOK, MARK = KINDS = ("l2Book", "activeAssetCtx")
REFUSALS_SAID_MAX = 20


@dataclass(frozen=True, slots=True)
class Streamed:
    """A book and a mark of one coin as the live connection last confirmed them at `confirmed_at`, by our clock, and
    when the book came."""

    book: BookFrame
    mark: Price
    confirmed_at: datetime
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class _Mark:
    coin: Coin
    price: Price


class _Greeting:
    """A socket while the WebSocket on it is agreed on: the answer has until *ends_at* on the monotonic clock in all. It
    is read byte by byte, each within the socket's own time-out, and one that came in drips held the thread."""

    def __init__(self, plain: Any, clock: Clock, ends_at: float, closing: threading.Event) -> None:
        self._plain = plain
        self._clock = clock
        self._ends_at = ends_at
        self._closing = closing
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def recv(self, size: int) -> bytes:
        left = self._ends_at - self._clock.monotonic()
        if self._closing.is_set() or left <= 0 or self._taken >= HANDSHAKE_BYTES_MAX:
            raise websocket.WebSocketException("the venue's answer to the connection has no end")
        self._plain.settimeout(left)
        piece: bytes = self._plain.recv(size)
        self._taken += len(piece)
        return piece


class _Socket(websocket.WebSocket):
    """A WebSocket whose beginning and whose frames come to an end: what never does would fill the memory, and hold the
    thread.

    *in_pieces* is called when less of a frame has come than there is of it.
    """

    def __init__(self, clock: Clock, closing: threading.Event, in_pieces: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock
        self._closing = closing
        self._in_pieces = in_pieces
        self._began: float | None = None
        self._taken = 0

    def connect(self, url: str, **options: Any) -> None:
        """Connection and handshake within CONNECT_SECONDS, or, where it is the encryption that is slow, twice that."""
        ends_at = self._clock.monotonic() + CONNECT_SECONDS
        proxy = _http.proxy_info(**options)  # type: ignore[no-untyped-call]  # comes untyped
        plain, _ = _http.connect(url, self.sock_opt, proxy, None)
        greeting = _Greeting(plain, self._clock, ends_at, self._closing)
        super().connect(url, socket=greeting, **options)  # type: ignore[no-untyped-call]  # comes untyped
        self.sock = plain

    def recv(self) -> str | bytes:
        """The next frame, whole."""
        frame = super().recv()
        self._began, self._taken = None, 0
        return frame

    def _recv(self, bufsize: int) -> bytes:
        piece: bytes = super()._recv(bufsize)  # type: ignore[no-untyped-call]  # comes untyped
        now = self._clock.monotonic()
        self._began = now if self._began is None else self._began
        self._taken += len(piece)
        if self._closing.is_set() or self._taken > FRAME_CHARACTERS_MAX or now - self._began > FRAME_SECONDS_MAX:
            raise websocket.WebSocketException("the venue sends a frame without end")
        if len(piece) < bufsize:
            self._in_pieces()
        return piece


class PriceStream:
    """The prices behind the WebSocket *url*. Nothing is connected before the first coin is wanted.

    *look_seconds* is how long one look at the socket waits: new coins are subscribed, and silence is counted, in these
    steps. *news* is told what the same connection says of the account.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        log: Log,
        look_seconds: float = LOOK_SECONDS,
        news: AccountNews | None = None,
    ) -> None:
        self.news = news
        self._url = url
        self._clock = clock
        self._log = log
        self._look_seconds = look_seconds
        self._wanted: dict[Coin, None] = {}
        self._books: dict[Coin, tuple[BookFrame, datetime]] = {}
        self._marks: dict[Coin, tuple[Price, datetime]] = {}
        self._confirmed_at: datetime | None = None
        self._awaited_since: dict[Coin, float] = {}
        self._refusals: set[str] = set()
        self._ticks: dict[Coin, int] = {}
        self._ticked = 0
        self._changed = threading.Condition()
        self._owed = False  # a waking, by the stream's own thread
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.connections = 0

    def want(self, coins: Collection[Coin]) -> None:
        """Subscribe *coins* from now on, for as long as the stream lives; starts it at the first call."""
        if self._thread is not None and self._wanted.keys() >= set(coins):
            return
        with self._changed:
            if self._closing.is_set():
                return
            for coin in coins:
                if len(self._wanted) < COINS_MAX:
                    self._wanted.setdefault(coin)
            if self._thread is None and self._wanted:
                self._thread = threading.Thread(target=self._run, name="hyperliquid-prices", daemon=True)
                self._thread.start()

    def prices(self, coins: Collection[Coin], seconds: float) -> dict[Coin, Streamed]:
        """What the live connection says of *coins*, which it waits for at most *seconds*, once a coin, and not at all
        when there is no connection. A coin is left out when it has not said all of it, or is cut, or has been silent
        about it for long."""
        asked = [coin for coin in coins if coin in self._wanted]
        with self._changed:
            if self.alive and not self._has_spoken_of(asked):
                hoped, patience = self._hoped_for(asked, seconds)
                self._changed.wait_for(lambda: not self.alive or self._has_spoken_of(hoped), patience)
            now, found = self._clock.now(), {}
            for coin in coins:
                book, mark = self._books.get(coin), self._marks.get(coin)
                if book is None or mark is None or self._confirmed_at is None:
                    continue
                if now - book[1] <= COIN_SILENCE_MAX and now - mark[1] <= COIN_SILENCE_MAX:
                    found[coin] = Streamed(book[0], mark[0], self._confirmed_at, book[1])
            return found

    def _hoped_for(self, coins: Collection[Coin], seconds: float) -> tuple[Collection[Coin], float]:
        """Those of *coins* that this connection may still come to speak of, and for how long to wait for them: one that
        it is never told of, as where its subscription was refused, would hold every reading of all prices."""
        now = self._clock.monotonic()
        silent = [coin for coin in coins if not self._has_spoken_of((coin,))]
        left = {coin: seconds - (now - self._awaited_since.setdefault(coin, now)) for coin in silent}
        hoped = [coin for coin in silent if left[coin] > 0]
        return hoped, max((left[coin] for coin in hoped), default=0.0)

    def _has_spoken_of(self, coins: Collection[Coin]) -> bool:
        return self._books.keys() >= set(coins) and self._marks.keys() >= set(coins)

    def wait_for_ticks(self, since: int, coins: Collection[Coin], seconds: float) -> Ticks:
        """See the port: a book or a mark that has come in is a tick of its coin."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._ticks.get(coin, 0) > since for coin in coins), seconds)
            ticked = frozenset(coin for coin in coins if self._ticks.get(coin, 0) > since)
            return Ticks(self._ticked, ticked)

    @property
    def alive(self) -> bool:
        """Is there a connection that has spoken lately."""
        return self._confirmed_at is not None

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        self._closing.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CONNECT_SECONDS + 1)

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            before, began = self.connections, self._clock.monotonic()
            try:
                self._listen()
            except (OSError, websocket.WebSocketException) as error:
                if self._confirmed_at is not None and not self._closing.is_set():
                    self._log.write(
                        "warning",
                        "the venue's price stream was cut; polling meanwhile",
                        why=_why(error),
                        event="StreamCut",
                    )
            self._forget()
            steady = self.connections > before and self._clock.monotonic() - began >= STEADY_SECONDS
            failures = 0 if steady else failures + 1
            self._closing.wait(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    def _listen(self) -> None:
        """One connection, from its making to its end. Raises what ends it."""
        # It would look at each byte in Python, a millisecond a book; decoding the text finds the same mistakes.
        socket = _Socket(self._clock, self._closing, self._wake_if_owed, skip_utf8_validation=True)
        socket.settimeout(CONNECT_SECONDS)
        # A redirect is not followed. The environment's proxies are not for us, but websocket-client reads its list of
        # exceptions only where a proxy is named; "*" then excepts every host, so that the name is never looked up.
        ways = {"http_proxy_host": "none", "http_no_proxy": ["*"], "suppress_origin": True, "redirect_limit": 0}
        socket.connect(self._url, **ways)
        try:
            socket.settimeout(self._look_seconds)
            for subscription in self.news.subscriptions if self.news is not None else ():
                socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
            subscribed: set[Coin] = set()
            silent = 0
            while not self._closing.is_set():
                self._subscribe(socket, subscribed)
                try:
                    frame = socket.recv()
                except websocket.WebSocketTimeoutException:
                    self._wake_if_owed()
                    silent += 1
                    if silent >= DEAD_AFTER_LOOKS:
                        raise
                    if silent % PING_AFTER_LOOKS == 0:
                        socket.send('{"method":"ping"}')
                    continue
                except UnicodeDecodeError as error:
                    raise websocket.WebSocketException("the venue sent text that is no UTF-8") from error
                silent = 0
                self._hear(frame, lambda: _has_more(socket))
        finally:
            socket.close(timeout=1)

    def _subscribe(self, socket: websocket.WebSocket, subscribed: set[Coin]) -> None:
        for coin in [one for one in tuple(self._wanted) if one not in subscribed]:
            for kind in KINDS:
                socket.send(json.dumps({"method": "subscribe", "subscription": {"type": kind, "coin": coin}}))
            for subscription in self.news.subscriptions_of(coin) if self.news is not None else ():
                socket.send(json.dumps({"method": "subscribe", "subscription": subscription}))
            subscribed.add(coin)

    def _hear(self, frame: object, has_more: Callable[[], bool]) -> None:
        """Believe one frame and wake who waits for prices. Behind a book its coin's mark is often there already, and
        who is woken in between keeps this thread from reading it; so one frame more is read first, if all of it is
        there."""
        told = self._take(frame)
        if told == BOOK and not self._owed and has_more():
            self._owed = True
        elif told in KINDS or self._owed:
            self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._owed = False
            self._changed.notify_all()

    def _wake_if_owed(self) -> None:
        if self._owed:
            self._wake()

    def _take(self, frame: object) -> object:
        """Believe one frame. One that is no frame of ours, late or malformed still shows that the connection lives.
        Returns its channel; None when it makes no sense."""
        if not isinstance(frame, str) or not frame or len(frame) > FRAME_CHARACTERS_MAX:
            raise websocket.WebSocketException("the venue closed the stream or sent something else than text")
        now, told = self._clock.now(), _decoded(frame)
        if told is not None and told[0] == "error":
            self._note_refusal(one_line(str(told[1])))
        with self._changed:
            if self._confirmed_at is None:
                self.connections += 1
            self._confirmed_at = now
            if told is None:
                return None
            self._believe(*told, now)
        return told[0]

    def _note_refusal(self, words: str) -> None:
        """One line for each thing that the venue will not stream: it is polled, and nobody would see that."""
        if words not in self._refusals and len(self._refusals) < REFUSALS_SAID_MAX:
            self._refusals.add(words)
            self._log.write("warning", f"the venue's stream says no: {words}")

    def _believe(self, channel: object, payload: object, now: datetime) -> None:
        match payload:
            case BookFrame():
                known = self._books.get(payload.coin)
                if known is None or known[0].at <= payload.at:
                    self._books[payload.coin] = (payload, now)
                    self._tick(payload.coin)
                elif known[0].at - payload.at > LATE_MAX:
                    # Of another clock than the one before: whichever is wrong, the one before is not of now.
                    del self._books[payload.coin]
            case _Mark(coin, price):
                self._marks[coin] = (price, now)
                self._tick(coin)
            case _ if self.news is not None:
                with suppress(VenueUnavailable):
                    self.news.take(channel, payload, now)

    def _tick(self, coin: Coin) -> None:
        """Only coins that were asked for, so that what the venue says of others is not remembered for ever."""
        if coin in self._wanted:
            self._ticked += 1
            self._ticks[coin] = self._ticked

    def _forget(self) -> None:
        with self._changed:
            self._confirmed_at = None
            self._books.clear()
            self._marks.clear()
            self._awaited_since.clear()
        self._wake()
        if self.news is not None:
            self.news.forget()


def _has_more(connection: websocket.WebSocket) -> bool:
    """Is something there to be read without waiting; of an encrypted connection it may be read already."""
    plain = connection.sock
    if isinstance(plain, ssl.SSLSocket) and plain.pending():
        return True
    return plain is not None and wait_for_read(plain, 0)


def _decoded(frame: str) -> tuple[object, object] | None:
    """What a frame says, and on which channel; None when that makes no sense. Before anybody is kept waiting for it."""
    try:
        record = mapping(json.loads(frame, parse_float=Decimal))
        channel, payload = record.get("channel"), record.get("data")
        if channel == BOOK:
            return channel, decode_book(payload)
        if channel == MARK:
            context: Mapping[str, object] = mapping(payload)
            return channel, _Mark(Coin(text(context, "coin")), decode_mark(context.get("ctx")))
    except (VenueUnavailable, ValueError, ArithmeticError, RecursionError):
        return None
    return channel, payload


def stream_url(base_url: str) -> str:
    """The WebSocket behind an HTTP base URL: `http` becomes `ws`, `https` becomes `wss`."""
    return f"ws{base_url.rstrip('/').removeprefix('http')}/ws"


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
