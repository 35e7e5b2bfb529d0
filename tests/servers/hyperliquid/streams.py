"""The streams of /ws: subscriptions, what is sent on each, and the faults of a connection.

A connection has a queue and a thread that writes it out, so nobody waits for a slow client. What happened to accounts
is sent as it happens, but after the answer to the request that made it happen: no order waits for streams of others.
Markets are sent when they are scripted and otherwise twice a second, whether they moved or not. What several have
subscribed to is made once.
"""

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import BinaryIO

from tests.servers.hyperliquid.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    frame,
    read_frame,
)
from tests.servers.hyperliquid.info import BadBook, Info, aggregated
from tests.servers.hyperliquid.market import INTERVALS_MS
from tests.servers.hyperliquid.matching import News
from tests.servers.hyperliquid.words import Row, Unprocessable, address, record, text, word

SILENCE_MAX_SECONDS = 60.0
SNAPSHOT_ROWS = 2000
COIN_STREAMS = frozenset({"l2Book", "bbo", "trades", "activeAssetCtx", "candle"})
USER_STREAMS = frozenset(
    {
        *("orderUpdates", "userEvents", "userFills", "userFundings", "clearinghouseState", "openOrders"),
        *("userNonFundingLedgerUpdates", "activeAssetData"),
    }
)
Post = Callable[[str, Mapping[str, object]], object]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription in its normal form; equal ones are the same one."""

    type: str
    coin: str = ""
    user: str = ""
    interval: str = ""
    figures: int | None = None
    mantissa: int | None = None
    aggregate: bool = False

    @classmethod
    def parse(cls, source: Mapping[str, object]) -> "Subscription":
        """Raises Unprocessable for an unknown type, a missing parameter or an ill-typed one."""
        kind = word(source, "type")
        if kind not in COIN_STREAMS | USER_STREAMS | {"allMids"}:
            raise Unprocessable(f"unknown variant `{kind}`")
        wants_coin = kind in COIN_STREAMS or kind == "activeAssetData"
        figures, mantissa = source.get("nSigFigs"), source.get("mantissa")
        return cls(
            kind,
            coin=word(source, "coin") if wants_coin else "",
            user=address(source, "user") if kind in USER_STREAMS else "",
            interval=word(source, "interval") if kind == "candle" else "",
            figures=figures if kind == "l2Book" and isinstance(figures, int) else None,
            mantissa=mantissa if kind == "l2Book" and isinstance(mantissa, int) else None,
            aggregate=kind == "userFills" and source.get("aggregateByTime") is True,
        )

    def echo(self) -> Row:
        """As the exchange repeats it: normalised, so nobody should match it literally."""
        row: Row = {"type": self.type}
        row |= {name: value for name, value in (("coin", self.coin), ("user", self.user)) if value}
        if self.interval:
            row["interval"] = self.interval
        if self.type == "l2Book":
            row |= {"nSigFigs": self.figures, "mantissa": self.mantissa}
        if self.type == "userFills":
            row["aggregateByTime"] = self.aggregate
        return row


@dataclass(frozen=True, slots=True)
class Noted:
    """A frame of which somebody wants to know when it goes out."""

    data: bytes
    on_sending: Callable[[], None]


@dataclass(slots=True, eq=False)
class Connection:
    """One client and what it subscribed to, in its order. Frames go through `outgoing`; None in it ends it all."""

    send_bytes: Callable[[bytes], None]
    outgoing: "queue.SimpleQueue[bytes | Noted | None]" = field(default_factory=queue.SimpleQueue)
    subscriptions: dict[Subscription, None] = field(default_factory=dict)
    bbo_sent: dict[str, object] = field(default_factory=dict)

    def write_out(self) -> None:
        """Send what is queued until the end, or until nothing was sent for a minute: then the exchange hangs up."""
        try:
            while True:
                data = self.outgoing.get(timeout=SILENCE_MAX_SECONDS)
                if data is None:
                    return
                if isinstance(data, Noted):
                    data.on_sending()
                    data = data.data
                self.send_bytes(data)
        except (queue.Empty, OSError):
            return


class Streams:
    """Every connection of /ws. `silent` swallows frames, `duplicates` sends each twice, `refuses` lets nobody in."""

    def __init__(self, info: Info, post: Post) -> None:
        self.silent = False
        self.duplicates = False
        self.refuses = False
        self.marks_told: dict[str, tuple[object, datetime]] = {}
        self._info = info
        self._exchange = info.exchange
        self._post = post
        self._connections: set[Connection] = set()
        self._answering = threading.local()
        self._held: list[News] = []

    @property
    def count(self) -> int:
        return len(self._connections)

    def cut(self) -> None:
        """Hang up on everybody."""
        for connection in list(self._connections):
            connection.outgoing.put(None)

    def serve(self, stream: BinaryIO, connection: Connection, hang_up: Callable[[], None]) -> None:
        """Serve one client until either side ends it. *hang_up* unblocks the reading thread."""

        def write_out() -> None:
            connection.write_out()
            hang_up()

        with self._exchange.lock:
            self._connections.add(connection)
        writer = threading.Thread(target=write_out, daemon=True)
        writer.start()
        try:
            self._listen(stream, connection)
        except (Closed, OSError):
            # The client went away, or the writing side hung up on it.
            pass
        finally:
            with self._exchange.lock:
                self._connections.discard(connection)
            connection.outgoing.put(None)
            writer.join()

    def _listen(self, stream: BinaryIO, connection: Connection) -> None:
        message = b""
        while True:
            final, opcode, payload = read_frame(stream)
            if opcode == CLOSE:
                connection.outgoing.put(frame(CLOSE, payload[:2]))
                return
            if opcode == PING:
                connection.outgoing.put(frame(PONG, payload))
            if opcode in (TEXT, BINARY, CONTINUATION):
                message += payload
                if final:
                    self._hear(connection, message.decode("utf-8", "replace"))
                    message = b""

    # What a client says

    def _hear(self, connection: Connection, said: str) -> None:
        try:
            request = record(json.loads(said))
            method = word(request, "method")
            if method == "ping":
                self._send(connection, {"channel": "pong"})
            elif method in ("subscribe", "unsubscribe"):
                subscription = Subscription.parse(record(request.get("subscription")))
                with self._exchange.lock:
                    self._change(connection, method, subscription)
            elif method == "post":
                self._answer_post(connection, request)
            else:
                raise Unprocessable(f"unknown method {method}")
        except (ValueError, Unprocessable):
            self._error(connection, f"Error parsing JSON into valid websocket request: {said}")

    def _change(self, connection: Connection, method: str, subscription: Subscription) -> None:
        echo = subscription.echo()
        subscribed = subscription in connection.subscriptions
        unknown_coin = subscription.coin and not self._exchange.universe.lists(subscription.coin)
        if unknown_coin or (subscription.interval and subscription.interval not in INTERVALS_MS):
            self._error(connection, f"Invalid subscription {json.dumps(echo)}")
        elif method == "subscribe" and subscribed:
            self._error(connection, f"Already subscribed: {json.dumps(echo)}")
        elif method == "unsubscribe" and not subscribed:
            self._error(connection, f"Already unsubscribed: {json.dumps(echo)}")
        else:
            self._send(
                connection, {"channel": "subscriptionResponse", "data": {"method": method, "subscription": echo}}
            )
            if method == "unsubscribe":
                del connection.subscriptions[subscription]
                return
            connection.subscriptions[subscription] = None
            for message in self._first(connection, subscription):
                self._send(connection, message)

    def _answer_post(self, connection: Connection, request: Mapping[str, object]) -> None:
        number, inner = request.get("id"), record(request.get("request"))
        kind = word(inner, "type")
        if kind not in ("info", "action"):
            raise Unprocessable(f"unknown post {kind}")
        try:
            payload = self._post(kind, record(inner.get("payload")))
        except (Unprocessable, BadBook) as error:
            kind, payload = "error", f"Failed to deserialize the JSON body into the target type: {error}"
        self._send(
            connection, {"channel": "post", "data": {"id": number, "response": {"type": kind, "payload": payload}}}
        )

    def _error(self, connection: Connection, sentence: str) -> None:
        self._send(connection, {"channel": "error", "data": sentence})

    # What is sent

    def _send(self, connection: Connection, message: Mapping[str, object]) -> None:
        self._put(connection, self._frames([message]))

    def _frames(self, messages: Iterable[Mapping[str, object]]) -> list[bytes | Noted]:
        encode = partial(json.dumps, separators=(",", ":"))
        return [self._noted(message, frame(TEXT, encode(message).encode())) for message in messages]

    def _put(self, connection: Connection, frames: Iterable[bytes | Noted]) -> None:
        if self.silent:
            return
        for data in frames:
            for _ in range(2 if self.duplicates else 1):
                connection.outgoing.put(data)

    def _noted(self, message: Mapping[str, object], data: bytes) -> bytes | Noted:
        if message["channel"] != "activeAssetCtx":
            return data
        told = record(message["data"])
        return Noted(data, partial(self._note_mark, str(told["coin"]), record(told["ctx"])["markPx"]))

    def _first(self, connection: Connection, subscription: Subscription) -> list[Row]:
        """The frames a new subscription starts with."""
        kind, user = subscription.type, {"user": subscription.user}
        if kind in ("userFills", "userFundings", "userNonFundingLedgerUpdates"):
            return [self._snapshot(subscription)]
        if kind == "trades":
            backlog = list(self._exchange.markets[subscription.coin].trades)
            return [{"channel": "trades", "data": backlog}] if backlog else []
        if kind in ("clearinghouseState", "openOrders", "activeAssetData"):
            return [self._standing(subscription)]
        return [] if user["user"] else self._market(connection, subscription)

    def _snapshot(self, subscription: Subscription) -> Row:
        account = self._exchange.account(subscription.user)
        data: Row = {"isSnapshot": True, "user": subscription.user}
        if subscription.type == "userFills":
            request = {"user": subscription.user, "aggregateByTime": subscription.aggregate}
            data["fills"] = self._info.fills(request)
        elif subscription.type == "userFundings":
            flat = [{"time": row["time"], **record(row["delta"])} for row in account.fundings[-SNAPSHOT_ROWS:]]
            data["fundings"] = [{name: row[name] for name in row if name != "type"} for row in flat]
        else:
            data["nonFundingLedgerUpdates"] = account.ledger[-SNAPSHOT_ROWS:]
        return {"channel": subscription.type, "data": data}

    def _standing(self, subscription: Subscription) -> Row:
        request = {"user": subscription.user, "coin": subscription.coin}
        if subscription.type == "activeAssetData":
            return {"channel": subscription.type, "data": self._info.active_asset(request)}
        data: Row = {"dex": "", "user": subscription.user}
        if subscription.type == "clearinghouseState":
            data["clearinghouseState"] = self._info.state(request)
        else:
            data["orders"] = self._info.frontend_orders(request)
        return {"channel": subscription.type, "data": data}

    def _market(self, connection: Connection, subscription: Subscription) -> list[Row]:
        """The frame of a market stream as of now; none for a `bbo` that has not changed since it was sent."""
        coin = subscription.coin
        match subscription.type:
            case "allMids":
                data: object = {"mids": self._info.all_mids({})}
            case "l2Book":
                shape: Row = {"coin": coin, "nSigFigs": subscription.figures, "mantissa": subscription.mantissa}
                try:
                    data = self._info.book(shape)
                except BadBook:
                    return []
            case "bbo":
                book = self._exchange.matcher.book(coin)
                best = [_best(side) for side in book]
                if connection.bbo_sent.get(coin) == best:
                    return []
                connection.bbo_sent[coin] = best
                data = {"coin": coin, "time": self._exchange.now_ms(), "bbo": best}
            case "activeAssetCtx":
                data = {"coin": coin, "ctx": self._info.context(coin)}
            case "candle":
                now, width = self._exchange.now_ms(), INTERVALS_MS[subscription.interval]
                data = self._exchange.market(coin).candle(subscription.interval, now // width * width, now)
            case _:
                return []
        return [{"channel": subscription.type, "data": data}]

    def _note_mark(self, coin: str, mark: object) -> None:
        """From which moment on a mark is known outside: the frames of the coin before had another one."""
        if coin not in self.marks_told or self.marks_told[coin][0] != mark:
            self.marks_told[coin] = mark, self._exchange.clock.now()

    def publish_markets(self) -> None:
        """Send every market stream and every account's standing as of now."""
        with self._exchange.lock:
            self._send_held()
            made: dict[Subscription, list[bytes | Noted]] = {}
            for connection in self._connections:
                for subscription in connection.subscriptions:
                    if subscription.type == "bbo":
                        for message in self._market(connection, subscription):
                            self._send(connection, message)
                        continue
                    if subscription not in made:
                        is_standing = subscription.type in ("clearinghouseState", "activeAssetData")
                        standing = [self._standing(subscription)] if is_standing else []
                        made[subscription] = self._frames([*standing, *self._market(connection, subscription)])
                    self._put(connection, made[subscription])

    @contextmanager
    def after_the_answer(self) -> Iterator[None]:
        """What happens to accounts in this context, by this thread, is told when it ends."""
        self._answering.now = True
        try:
            yield
        finally:
            self._answering.now = False
            self.tell_held()

    def tell_held(self) -> None:
        """Send what waits for an answer now."""
        if self._held:
            with self._exchange.lock:
                self._send_held()

    def publish_news(self, news: News) -> None:
        """Send what happened to accounts and the trades it made. Called with the exchange's lock held."""
        self._held.append(news)
        if not getattr(self._answering, "now", False):
            self._send_held()

    def _send_held(self) -> None:
        held, self._held = self._held, []
        for news in held:
            made: dict[Subscription, list[bytes | Noted]] = {}
            for connection in self._connections:
                for subscription in connection.subscriptions:
                    if subscription not in made:
                        made[subscription] = self._frames(self._told(news, subscription))
                    self._put(connection, made[subscription])

    def _told(self, news: News, subscription: Subscription) -> list[Row]:
        user = subscription.user
        match subscription.type:
            case "orderUpdates" if news.updates.get(user):
                return [{"channel": "orderUpdates", "data": news.updates[user]}]
            case "userFills" if news.fills.get(user):
                fills = aggregated(news.fills[user]) if subscription.aggregate else news.fills[user]
                return [{"channel": "userFills", "data": {"user": user, "fills": fills}}]
            case "userFundings" if news.fundings.get(user):
                return [{"channel": "userFundings", "data": {"user": user, "fundings": news.fundings[user]}}]
            case "userEvents":
                events: list[Row] = [{"fills": news.fills[user]}] if news.fills.get(user) else []
                return [{"channel": "user", "data": one} for one in events + list(news.events.get(user, ()))]
            case "clearinghouseState" | "openOrders" if user in news.touched:
                return [self._standing(subscription)]
            case "trades" if news.trades.get(subscription.coin):
                return [{"channel": "trades", "data": news.trades[subscription.coin]}]
            case _:
                return []


def _best(side: list[tuple[Decimal, Decimal, int]]) -> Row | None:
    if not side:
        return None
    price, size, count = side[0]
    return {"px": text(price), "sz": text(size), "n": count}
