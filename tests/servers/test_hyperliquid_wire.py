"""Tests of the exchange simulator over real sockets: the official SDK, HTTP statuses, streams, faults, the command."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from unittest.mock import patch

import requests
import websocket
from eth_account import Account
from hyperliquid.exchange import Exchange as SdkExchange
from hyperliquid.info import Info as SdkInfo
from hyperliquid.utils.error import ClientError, ServerError
from hyperliquid.utils.types import Cloid

from tests.processes import wait_until
from tests.servers.hyperliquid import AGENT_KEY, MASTER, open_server
from tests.servers.hyperliquid.__main__ import main, welcome
from tests.servers.hyperliquid.control import ControlError, control
from tests.servers.hyperliquid.faults import EXCHANGE, INFO, Answer, Commit
from tests.servers.hyperliquid.trader import Trader, wire
from trading.conf import PROJECT_ROOT

ETH, BTC = 4, 3
CLOID = "0x1234567890abcdef1234567890abcdef"
JSON = {"Content-Type": "application/json"}
TIMEOUT = 5.0
FRAMES_MAX = 20
LATE_SECONDS = 60.0
"""Longer than a test takes on any machine: what is late arrives when the test brings it."""


class Wire(unittest.TestCase):
    def setUp(self) -> None:
        self.server = open_server()
        self.server.__enter__()
        self.addCleanup(lambda: self.assertEqual(self.server.crashes, []))
        self.addCleanup(self.server.__exit__, None, None, None)
        self.server.exchange.set_market("ETH", "3000")
        self.server.exchange.set_market("BTC", "90000")
        self.session = requests.Session()
        self.session.trust_env = False
        self.addCleanup(self.session.close)
        self.trader = Trader(self.server.exchange, send=self.exchange)

    def post(self, path: str, body: object, **kwargs: Any) -> requests.Response:
        return self.session.post(self.server.url + path, json=body, timeout=TIMEOUT, **kwargs)

    def exchange(self, envelope: object) -> Any:
        return self.post("/exchange", envelope).json()

    def info(self, kind: str, **fields: object) -> Any:
        return self.post("/info", {"type": kind, "user": MASTER, **fields}).json()

    def held(self, coin: str = "ETH") -> Decimal:
        return self.server.exchange.position(MASTER, coin)

    def stream(self) -> websocket.WebSocket:
        client = websocket.create_connection(f"ws://127.0.0.1:{self.server.port}/ws", timeout=TIMEOUT)
        self.addCleanup(client.shutdown)
        return client


def say(client: websocket.WebSocket, method: str, **more: object) -> None:
    client.send(json.dumps({"method": method, **more}))


def hear(client: websocket.WebSocket, channel: str) -> Any:
    """The next frame of *channel*, whatever else comes before it, within bounds."""
    for _ in range(FRAMES_MAX):
        message = json.loads(client.recv())
        if message["channel"] == channel:
            return message.get("data")
    raise unittest.TestCase.failureException(f"no frame of {channel} came")


class OfficialSdk(Wire):
    """hyperliquid-python-sdk as it comes, with nothing but the URL changed."""

    def test_it_opens_watches_and_closes_a_position(self) -> None:
        heard: dict[str, list[Any]] = defaultdict(list)
        info = SdkInfo(self.server.url, timeout=TIMEOUT)
        self.addCleanup(info.disconnect_websocket)
        sdk = SdkExchange(Account.from_key(AGENT_KEY), self.server.url, account_address=MASTER, timeout=TIMEOUT)
        for kind, more in (
            ("allMids", {}),
            ("l2Book", {"coin": "ETH"}),
            ("bbo", {"coin": "ETH"}),
            ("trades", {"coin": "ETH"}),
            ("candle", {"coin": "ETH", "interval": "1m"}),
            ("activeAssetCtx", {"coin": "ETH"}),
            ("userFills", {"user": MASTER}),
            ("userFundings", {"user": MASTER}),
            ("orderUpdates", {"user": MASTER}),
            ("userEvents", {"user": MASTER}),
        ):
            info.subscribe({"type": kind, **more}, heard[kind].append)
        wait_until(lambda: heard["userFills"] != [] and heard["l2Book"] != [], "the first frames")
        self.assertTrue(heard["userFills"][0]["data"]["isSnapshot"])

        self.assertEqual(sdk.update_leverage(5, "ETH"), {"status": "ok", "response": {"type": "default"}})
        opened = sdk.market_open("ETH", True, 0.5, cloid=Cloid.from_str(CLOID))
        self.assertEqual(opened["response"]["data"]["statuses"][0]["filled"]["totalSz"], "0.5")
        orders = [
            {"coin": coin, "is_buy": buys, "sz": size, "limit_px": price, "order_type": {"limit": {"tif": tif}}}
            for coin, buys, size, price, tif in (("BTC", False, 0.01, 95_000, "Gtc"), ("ETH", True, 0.1, 3_100, "Ioc"))
        ]
        placed = sdk.bulk_orders([{**order, "reduce_only": False} for order in orders])
        resting, filled = placed["response"]["data"]["statuses"]
        self.assertEqual(filled["filled"]["avgPx"], "3000.2")
        modified = sdk.modify_order(resting["resting"]["oid"], "BTC", False, 0.01, 96_000, {"limit": {"tif": "Alo"}})
        oid = modified["response"]["data"]["statuses"][0]["resting"]["oid"]
        self.assertEqual([row["oid"] for row in info.open_orders(MASTER)], [oid])
        self.assertEqual(sdk.cancel("BTC", oid)["response"]["data"]["statuses"], ["success"])
        self.assertEqual(info.query_order_by_cloid(MASTER, Cloid.from_str(CLOID))["order"]["status"], "filled")
        self.assertEqual(info.user_state(MASTER)["assetPositions"][0]["position"]["szi"], "0.6")
        self.assertEqual(sdk.market_close("ETH")["response"]["data"]["statuses"][0]["filled"]["totalSz"], "0.6")
        self.assertEqual(info.user_state(MASTER)["assetPositions"], [])

        self.server.exchange.set_market("ETH", "3010")
        wait_until(lambda: len(heard["userFills"]) >= 4 and len(heard["bbo"]) >= 2, "the fills and the quote")
        statuses = [row["status"] for frame in heard["orderUpdates"] for row in frame["data"]]
        self.assertEqual(statuses, ["filled", "open", "filled", "canceled", "open", "canceled", "filled"])
        self.assertEqual(heard["bbo"][-1]["data"]["bbo"][0]["px"], "3009.8")
        self.assertEqual([frame["channel"] for frame in heard["userEvents"]], ["user"] * 3)
        self.assertEqual(len(heard["trades"]), 3)
        fees = sum(Decimal(row["fee"]) - Decimal(row["closedPnl"]) for row in info.user_fills(MASTER))
        self.assertEqual(Decimal(info.user_state(MASTER)["marginSummary"]["accountValue"]), 100_000 - fees)

    def test_its_exceptions_are_those_of_the_real_exchange(self) -> None:
        sdk = SdkExchange(Account.from_key(AGENT_KEY), self.server.url, account_address=MASTER, timeout=TIMEOUT)
        self.server.faults.reply(Answer.TOO_MANY)
        with self.assertRaises(ClientError) as limited:
            sdk.cancel("ETH", 1)
        self.assertEqual((limited.exception.status_code, limited.exception.error_message), (429, "null"))
        self.server.faults.reply(Answer.BAD_GATEWAY)
        with self.assertRaises(ServerError) as gateway:
            sdk.cancel("ETH", 1)
        self.assertIn("<html>", gateway.exception.message)
        self.server.faults.reply(Answer.GARBAGE)
        self.assertIn("Could not parse JSON", sdk.cancel("ETH", 1)["error"])


class Http(Wire):
    def test_statuses_and_bodies(self) -> None:
        for path, body, headers, status, words in (
            ("/info", b"{", JSON, 400, "Failed to parse the request body as JSON"),
            ("/info", b"\xff", JSON, 400, "Failed to parse the request body as JSON"),
            ("/info", b'{"type": "what"}', JSON, 422, "Failed to deserialize the JSON body into the target type"),
            ("/info", b"[]", JSON, 422, "Failed to deserialize the JSON body into the target type"),
            ("/exchange", b'{"action": {}}', JSON, 422, "Failed to deserialize the JSON body"),
            ("/info", b"{}", {"Content-Type": "text/plain"}, 415, "Expected request with `Content-Type:"),
            ("/info", b'{"type": "allMids"} trailing', JSON, 200, "SOL"),
            ("//info", b'{"type": "allMids"}', JSON, 200, "SOL"),
            ("/other", b"{}", JSON, 404, ""),
            ("/info", b'{"type": "l2Book", "coin": "ETH", "nSigFigs": 9}', JSON, 500, "null"),
        ):
            with self.subTest(body=body, status=status):
                answer = self.session.post(self.server.url + path, data=body, headers=headers, timeout=TIMEOUT)
                self.assertEqual(answer.status_code, status)
                self.assertIn(words, answer.text)
        self.assertEqual(self.session.get(self.server.url + "/info", timeout=TIMEOUT).status_code, 405)

    def test_a_connection_is_kept_until_it_is_told_otherwise(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT) as client:
            ask = b"POST /info HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 18\r\n%s\r\n"
            ask += b'{"type":"allMids"}'
            for closing in (b"", b"Connection: close\r\n"):
                client.sendall(ask % closing)
                answer = client.recv(65536)
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 OK"))
            self.assertEqual(client.recv(10), b"")
        with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT) as client:
            client.sendall(b"nonsense\r\n\r\n")
            self.assertEqual(client.recv(10), b"")

    def test_weight_is_counted_and_can_be_limited(self) -> None:
        self.info("allMids")
        self.info("meta")
        self.trader.place(*[wire(ETH, "buy", "0.01", "2900")] * 41)
        self.assertEqual(self.server.weight_used, 2 + 20 + 2)
        self.server.weight_limit = 24
        limited = self.post("/info", {"type": "allMids"})
        self.assertEqual((limited.status_code, limited.text), (429, "null"))

    def test_idle_connections_can_be_dropped_and_streams_stay(self) -> None:
        stream = self.stream()
        with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT) as client:
            client.sendall(b"POST /other HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
            self.assertTrue(client.recv(1000).startswith(b"HTTP/1.1 404"))
            self.server.drop_connections()
            self.assertEqual(client.recv(10), b"")
        say(stream, "ping")
        self.assertIsNone(hear(stream, "pong"))


class WireFaults(Wire):
    def buy(self) -> Any:
        return self.trader.place(wire(ETH, "buy", "1", "3100", cloid=CLOID))[0]

    def test_an_answer_can_be_lost_before_and_after_the_action(self) -> None:
        for lose, held in ((self.server.faults.lose_before_commit, 0), (self.server.faults.lose_after_commit, 1)):
            with self.subTest(held=held):
                lose("order")
                self.info("allMids")
                with self.assertRaises(requests.ConnectionError):
                    self.buy()
                self.assertEqual(self.held(), held)
        self.assertEqual(self.info("orderStatus", oid=CLOID)["order"]["status"], "filled")
        self.assertIn("filled", self.buy())

    def test_bad_answers_with_and_without_the_action(self) -> None:
        held = 0
        for answer, status, words in (
            (Answer.TOO_MANY, 429, "null"),
            (Answer.BAD_GATEWAY, 502, "<html>"),
            (Answer.SERVER_ERROR, 500, "null"),
            (Answer.GARBAGE, 200, "<<not json>>"),
        ):
            for committed in (False, True):
                with self.subTest(answer=answer, committed=committed):
                    self.server.faults.reply(answer, committed=committed)
                    held += committed
                    order = {"type": "order", "orders": [wire(ETH, "buy", "1", "3100")], "grouping": "na"}
                    reply = self.post("/exchange", self.trader.envelope(order))
                    self.assertEqual((reply.status_code, self.held()), (status, held))
                    self.assertIn(words, reply.text)

    def test_half_an_answer_is_no_json(self) -> None:
        self.server.faults.reply(Answer.CUT_SHORT, committed=True)
        with self.assertRaises(requests.JSONDecodeError):
            self.buy()
        self.assertEqual(self.held(), 1)

    def test_an_action_may_arrive_long_after_its_client_gave_up(self) -> None:
        self.server.faults.arrive_late(LATE_SECONDS)
        with self.assertRaises(requests.ConnectionError):
            self.buy()
        self.assertEqual(self.held(), 0)
        self.server.bring_late()
        self.assertEqual(self.held(), 1)

    def test_a_late_action_whose_nonce_was_burnt_never_happens(self) -> None:
        self.server.faults.arrive_late(LATE_SECONDS, answer=Answer.TOO_MANY)
        order = {"type": "order", "orders": [wire(ETH, "buy", "1", "3100")], "grouping": "na"}
        nonce = self.trader.next_nonce()
        self.assertEqual(self.post("/exchange", self.trader.envelope(order, nonce=nonce)).status_code, 429)
        self.assertEqual(self.trader.send({"type": "noop"}, nonce=nonce)["status"], "ok")
        self.assertEqual(1, len(self.server.exchange.received))
        self.server.bring_late()
        answer = self.server.exchange.received[-1].answer
        self.assertEqual(answer["response"], f"Invalid nonce: duplicate nonce {nonce}")
        self.assertEqual(self.held(), 0)

    def test_a_late_action_past_its_expiry_never_happens(self) -> None:
        self.server.faults.arrive_late(0.1, answer=Answer.BAD_GATEWAY)
        order = {"type": "order", "orders": [wire(ETH, "buy", "1", "3100")], "grouping": "na"}
        expiry = self.server.exchange.now_ms() + 50
        self.post("/exchange", self.trader.envelope(order, expires_after=expiry))
        wait_until(lambda: len(self.server.exchange.received) == 1, "the late arrival")
        self.assertEqual(self.server.exchange.received[0].answer["response"], "Action already expired")

    def test_answers_can_be_slow_or_never_come(self) -> None:
        self.server.faults.delay(0.1)
        started = time.monotonic()
        self.assertIn("filled", self.buy())
        self.assertGreater(time.monotonic() - started, 0.1)
        self.server.faults.hang(0.1, commit=Commit.BEFORE)
        with self.assertRaises(requests.ConnectionError):
            self.buy()
        self.assertEqual(self.held(), 2)
        self.server.faults.hang(30, INFO)
        with self.assertRaises(requests.Timeout):
            self.session.post(self.server.url + "/info", json={"type": "meta"}, timeout=0.05)

    def test_an_account_can_read_empty_once(self) -> None:
        self.buy()
        self.server.faults.say({"assetPositions": []}, only="clearinghouseState")
        self.assertEqual(self.info("clearinghouseState"), {"assetPositions": []})
        self.assertEqual(len(self.info("clearinghouseState")["assetPositions"]), 1)

    def test_the_exchanges_clock_can_be_ahead_of_ours(self) -> None:
        before = self.server.exchange.now_ms()
        self.server.exchange.skew_ms = 3_600_000
        self.assertGreaterEqual(self.info("exchangeStatus")["time"], before + 3_600_000)
        answer = self.post("/info", {"type": "exchangeStatus"})
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp() * 1000
        self.assertAlmostEqual(told, self.server.exchange.now_ms(), delta=2_000)

    def test_reads_can_be_down_while_writes_work_and_the_reverse(self) -> None:
        self.server.faults.down(INFO)
        self.assertEqual(self.post("/info", {"type": "meta"}).status_code, 502)
        self.assertIn("filled", self.buy())
        self.server.faults.lift()
        self.server.faults.down(EXCHANGE)
        self.assertEqual(self.post("/exchange", {}).status_code, 502)
        self.assertIn("universe", self.info("meta"))
        self.assertEqual([fault.route for fault in self.server.faults.met], ["/info", "/exchange"])

    def test_a_closing_server_lets_go_of_who_hangs(self) -> None:
        self.server.faults.hang(30)
        self.server.faults.arrive_late(30)
        with socket.create_connection(("127.0.0.1", self.server.port), TIMEOUT) as client:
            body = json.dumps(self.trader.envelope({"type": "noop"})).encode()
            head = b"POST /exchange HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            client.sendall(head % len(body) + body)
            wait_until(lambda: self.server.faults.met != [], "the fault")
            with self.assertRaises(requests.ConnectionError):
                self.trader.send({"type": "noop"})
            started = time.monotonic()
            self.server.__exit__(None, None, None)
            self.assertLess(time.monotonic() - started, 10)
            self.assertEqual(client.recv(10), b"")
        self.assertEqual(list(self.server.exchange.received), [])


class Streaming(Wire):
    def test_subscriptions_are_echoed_in_their_normal_form_and_start_with_the_present(self) -> None:
        client = self.stream()
        say(client, "subscribe", subscription={"type": "l2Book", "coin": "ETH"})
        echo = hear(client, "subscriptionResponse")["subscription"]
        self.assertEqual(echo, {"type": "l2Book", "coin": "ETH", "nSigFigs": None, "mantissa": None})
        self.assertEqual(hear(client, "l2Book")["levels"][0][0]["px"], "2999.8")
        say(
            client, "subscribe", subscription={"type": "clearinghouseState", "user": MASTER.upper().replace("0X", "0x")}
        )
        self.assertEqual(hear(client, "clearinghouseState")["user"], MASTER)
        for kind in ("openOrders", "userNonFundingLedgerUpdates"):
            say(client, "subscribe", subscription={"type": kind, "user": MASTER})
            self.assertEqual(hear(client, kind)["user"], MASTER)
        say(client, "subscribe", subscription={"type": "activeAssetData", "user": MASTER, "coin": "ETH"})
        self.assertEqual(hear(client, "activeAssetData")["coin"], "ETH")

    def test_account_streams_tell_what_happens_and_trades_have_a_backlog(self) -> None:
        client = self.stream()
        for kind in ("clearinghouseState", "openOrders", "userFundings", "userEvents"):
            say(client, "subscribe", subscription={"type": kind, "user": MASTER})
        hear(client, "userFundings")
        self.trader.place(wire(ETH, "buy", "1", "3100"), wire(BTC, "sell", "0.01", "95000", "Gtc"))
        self.assertEqual(hear(client, "user")["fills"][0]["sz"], "1.0")
        self.server.exchange.charge_funding()
        funding = hear(client, "userFundings")["fundings"][0]
        self.assertEqual((funding["coin"], funding["usdc"]), ("ETH", "-0.0375"))
        self.server.exchange.liquidate(MASTER, "ETH")
        while "liquidation" not in (event := hear(client, "user")):
            self.assertIn(next(iter(event)), ("fills", "funding"))
        say(client, "subscribe", subscription={"type": "trades", "coin": "ETH"})
        self.assertEqual(len(hear(client, "trades")), 2)
        second = self.stream()
        say(second, "subscribe", subscription={"type": "userFundings", "user": MASTER})
        snapshot = hear(second, "userFundings")
        self.assertEqual((snapshot["isSnapshot"], snapshot["fundings"][0]["coin"]), (True, "ETH"))

    def test_what_several_listen_to_is_the_same_and_an_order_is_answered_before_it_is_told(self) -> None:
        clients, told = [self.stream(), self.stream()], list[str]()
        for client in clients:
            say(client, "subscribe", subscription={"type": "userFills", "user": MASTER})
            hear(client, "userFills")
        written, news = self.server._written, self.server.streams._told

        def noting(what: str, job: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*args: Any) -> Any:
                told.append(what)
                return job(*args)

            return noted

        with (
            patch.object(self.server, "_written", noting("answer", written)),
            patch.object(self.server.streams, "_told", noting("news", news)),
        ):
            self.trader.place(wire(ETH, "buy", "1", "3100"))
            heard = [hear(client, "userFills") for client in clients]
        self.assertEqual(told, ["answer", "news"])
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(heard[0]["fills"][0]["sz"], "1.0")

    def test_an_order_whose_answer_hangs_is_told_at_once(self) -> None:
        client = self.stream()
        say(client, "subscribe", subscription={"type": "userFills", "user": MASTER})
        hear(client, "userFills")
        self.server.faults.hang(60, commit=Commit.BEFORE)
        buying = threading.Thread(target=self.buy_and_be_cut_off)
        buying.start()
        self.addCleanup(buying.join)
        self.addCleanup(self.server.drop_connections)
        self.assertEqual(hear(client, "userFills")["fills"][0]["sz"], "1.0")
        self.assertTrue(buying.is_alive())

    def buy_and_be_cut_off(self) -> None:
        with suppress(requests.ConnectionError):
            self.trader.place(wire(ETH, "buy", "1", "3100"))

    def test_mistakes_are_answered_on_the_error_channel(self) -> None:
        client = self.stream()
        mids = {"type": "allMids"}
        for method, subscription, words in (
            ("subscribe", mids, None),
            ("subscribe", mids, "Already subscribed: "),
            ("unsubscribe", mids, None),
            ("unsubscribe", mids, "Already unsubscribed: "),
            ("subscribe", {"type": "bbo", "coin": "NONE"}, "Invalid subscription "),
            ("subscribe", {"type": "candle", "coin": "ETH", "interval": "2s"}, "Invalid subscription "),
            ("subscribe", {"type": "what"}, "Error parsing JSON into valid websocket request: "),
            ("subscribe", {"type": "userFills"}, "Error parsing JSON into valid websocket request: "),
            ("dance", {}, "Error parsing JSON into valid websocket request: "),
            ("post", {}, "Error parsing JSON into valid websocket request: "),
        ):
            with self.subTest(method=method, subscription=subscription):
                say(client, method, subscription=subscription)
                if words is None:
                    self.assertEqual(hear(client, "subscriptionResponse")["method"], method)
                else:
                    self.assertTrue(hear(client, "error").startswith(words))
        client.send("{")
        self.assertIn("Error parsing JSON", hear(client, "error"))

    def test_actions_and_reads_can_be_posted(self) -> None:
        client = self.stream()
        action = {"type": "order", "orders": [wire(ETH, "buy", "1", "3100")], "grouping": "na"}
        say(client, "post", id=1, request={"type": "action", "payload": self.trader.envelope(action)})
        answer = hear(client, "post")
        self.assertEqual((answer["id"], answer["response"]["payload"]["status"], self.held()), (1, "ok", 1))
        say(client, "post", id=2, request={"type": "info", "payload": {"type": "allMids"}})
        payload = hear(client, "post")["response"]["payload"]
        self.assertEqual((payload["type"], payload["data"]["ETH"]), ("allMids", "3000.0"))
        say(client, "post", id=3, request={"type": "info", "payload": {"type": "what"}})
        self.assertEqual(hear(client, "post")["response"]["type"], "error")
        say(client, "post", id=4, request={"type": "what", "payload": {}})
        self.assertIn("Error parsing JSON", hear(client, "error"))

    def test_pings_fragments_and_closing(self) -> None:
        client = self.stream()
        say(client, "ping")
        self.assertIsNone(hear(client, "pong"))
        client.ping("there?")
        self.assertEqual(client.recv_data_frame(control_frame=True)[0], websocket.ABNF.OPCODE_PONG)
        text = json.dumps({"method": "ping", "padding": "x" * 70_000})
        for part, opcode, final in (
            (text[:200], websocket.ABNF.OPCODE_TEXT, 0),
            (text[200:], websocket.ABNF.OPCODE_CONT, 1),
        ):
            client.send_frame(websocket.ABNF(final, 0, 0, 0, opcode, 1, part.encode()))
        self.assertIsNone(hear(client, "pong"))
        client.close()
        wait_until(lambda: self.server.streams.count == 0, "the end of the connection")

    def test_markets_are_sent_when_scripted_and_when_nothing_moves(self) -> None:
        client = self.stream()
        say(client, "subscribe", subscription={"type": "allMids"})
        say(client, "subscribe", subscription={"type": "bbo", "coin": "ETH"})
        hear(client, "bbo")
        self.server.exchange.set_market("ETH", "3100")
        self.assertEqual(hear(client, "allMids")["mids"]["ETH"], "3100.0")
        self.assertEqual(hear(client, "bbo")["bbo"][1]["px"], "3100.2")
        self.assertEqual(hear(client, "allMids")["mids"]["ETH"], "3100.0")
        self.server.exchange.set_market("ETH", bids=[])
        self.assertIsNone(hear(client, "bbo")["bbo"][0])

    def test_a_stream_can_be_cut_refused_silenced_and_doubled(self) -> None:
        client = self.stream()
        say(client, "ping")
        hear(client, "pong")
        self.server.streams.duplicates = True
        say(client, "ping")
        self.assertEqual([json.loads(client.recv())["channel"] for _ in range(2)], ["pong", "pong"])
        self.server.streams.duplicates = False
        self.server.streams.silent = True
        say(client, "ping")
        client.settimeout(0.05)
        with self.assertRaises(websocket.WebSocketTimeoutException):
            client.recv()
        client.settimeout(TIMEOUT)
        self.server.streams.silent = False
        self.server.streams.cut()
        with self.assertRaises((websocket.WebSocketConnectionClosedException, ConnectionError)):
            client.recv()
        self.server.streams.refuses = True
        with self.assertRaises(websocket.WebSocketBadStatusException):
            self.stream()


class Control(Wire):
    """Each order of POST /control."""

    def control(self, do: str, **more: object) -> Any:
        return self.post("/control", {"do": do, **more}).json()

    def test_orders_of_another_process(self) -> None:
        self.control("set_market", coin="ETH", bids=[["2000", "5"]], asks=[["2001", "5"]], refill=True, mark="2000.2")
        self.assertEqual(self.info("allMids")["ETH"], "2000.5")
        self.control("set_market", coin="ETH", mid="2000", spread_bps="2", gap_bps="2", funding_rate="0.0001")
        self.control("partial_fill", coin="ETH", size="0.4")
        self.control("refuse", coin="BTC", sentence="Insufficient margin to place order.")
        statuses = self.trader.place(wire(ETH, "buy", "1", "2100"), wire(BTC, "sell", "0.01", "80000"))
        self.assertEqual(statuses[0]["filled"]["totalSz"], "0.4")
        self.assertIn("Insufficient margin", statuses[1]["error"])
        self.control("charge_funding")
        self.control("deleverage", user=MASTER, coin="ETH", size="0.1", price="1999")
        truth = self.control("truth", user=MASTER)
        self.assertEqual(truth["positions"], {"ETH": "0.3"})
        self.assertEqual([row["dir"] for row in truth["fills"]], ["Open Long", "Auto-Deleveraging"])
        self.control("liquidate", user=MASTER, coin="ETH")
        self.assertEqual(self.control("truth", user=MASTER)["positions"], {})
        received = self.control("received")
        self.assertEqual((received[0]["action"]["type"], received[0]["account"]), ("order", MASTER))

    def test_a_history_is_told_by_candles(self) -> None:
        self.control("set_history", coin="ETH", mids=["1990", "2010"])
        span = {"coin": "ETH", "interval": "1m", "startTime": self.server.exchange.now_ms() - 6 * 60_000}
        closes = [one["c"] for one in self.info("candleSnapshot", req=span)]
        self.assertEqual(sorted(set(closes[:-1])), ["1990.0", "2010.0"])

    def test_faults_and_their_end(self) -> None:
        self.control("fault", route="/exchange", answer="bad_gateway", commit="never", times=None)
        self.control("fault", route="/info", answer="says", only="meta", body={"universe": []})
        self.assertEqual(self.info("meta"), {"universe": []})
        self.control("skew", seconds=2)
        self.control("lag", seconds=60, fills_too=True)
        self.control("post_only", on=True)
        self.control("halt", coin="BTC")
        self.control("halt", coin="ETH", on=False)
        self.assertEqual(self.control("streams", silent=True, refuses=True, cut=True), {"connections": 0})
        self.assertEqual(self.post("/exchange", {}).status_code, 502)
        self.assertTrue(self.server.info.lag.fills_too and self.server.streams.refuses)
        self.control("lift")
        self.assertIn("filled", self.trader.place(wire(BTC, "buy", "0.01", "91000"))[0])
        self.assertFalse(self.server.streams.silent)
        self.control("exhaust_budget", user=MASTER)
        self.assertIn("Too many cumulative", self.trader.place(wire(BTC, "buy", "0.01", "91000")))
        self.control("drop_connections")

    def test_accounts(self) -> None:
        user = "0x" + "ee" * 20
        self.control("open_account", user=user, usd="500", abstraction="unifiedAccount")
        self.control("approve_agent", user=user, agent="0x" + "ef" * 20, name="other")
        self.assertEqual(self.control("truth", user=user)["equity"], "500.0")

    def test_what_it_does_not_understand(self) -> None:
        for order, words in (
            ({"do": "dance"}, "`do` must be one of approve_agent"),
            ({"do": "set_market", "coin": "NONE"}, "set_market: KeyError"),
            ({"do": "set_history", "coin": "ETH", "mids": "2000"}, "set_history: TypeError"),
            ({"do": "fault", "route": "/info", "answer": "what"}, "fault: ValueError"),
        ):
            with self.subTest(order):
                answer = self.post("/control", order)
                self.assertEqual(answer.status_code, 400)
                self.assertIn(words, answer.json()["error"])
                with self.assertRaises(ControlError):
                    control(self.server, order)


class Command(unittest.TestCase):
    def test_it_prints_what_to_put_into_the_environment_and_ends_on_a_signal(self) -> None:
        command = (sys.executable, "-m", "tests.servers.hyperliquid", "--port", "0", "--unified", "--equity", "5000")
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        lines = []
        while not (line := process.stdout.readline()).startswith("Ctrl-C"):
            lines.append(line.strip())
        settings = dict(line.split("=", 1) for line in lines if line.startswith(("DEMO", "VENUE", "HYPER")))
        self.assertEqual(settings["HYPERLIQUID_ACCOUNT_ADDRESS"], MASTER)
        with requests.Session() as session:
            body = {"type": "spotClearinghouseState", "user": MASTER}
            answer = session.post(f"{settings['HYPERLIQUID_API_URL']}/info", json=body, timeout=TIMEOUT)
        self.assertEqual(answer.json()["balances"][0]["total"], "5000.0")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(TIMEOUT), os.EX_OK)

    def test_it_names_a_foreign_agents_key_without_knowing_it(self) -> None:
        self.assertIn("(the private key of 0xabc)", welcome("http://127.0.0.1:1", "testnet", MASTER, "0xabc"))

    def test_it_refuses_an_unknown_network(self) -> None:
        with self.assertRaises(SystemExit), open(os.devnull, "w") as quiet:
            self.addCleanup(setattr, sys, "stderr", sys.stderr)
            sys.stderr = quiet
            main(["--network", "moon"])
