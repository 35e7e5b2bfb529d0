"""News of the account: believed in their order, waited for with a bound, and forgotten with their connection."""

import json
import unittest
from datetime import timedelta
from decimal import Decimal
from unittest import mock

from tests.fakes import NOON
from tests.processes import wait_until
from tests.servers.hyperliquid import MASTER
from tests.unit.hyperliquid_world import ETH, SOL, HyperliquidWorld
from trading.adapters import hyperliquid, hyperliquid_reader
from trading.adapters.hyperliquid import HyperliquidVenue
from trading.adapters.hyperliquid_api import Skew
from trading.adapters.hyperliquid_news import ORDERS_KEPT, AccountNews
from trading.adapters.hyperliquid_values import milliseconds
from trading.domain.errors import VenueUnavailable
from trading.domain.market import CandleInterval
from trading.domain.orders import OrderStatus, Side
from trading.domain.units import Coin

# Of a machine that is busy with other things: news that is late is asked past after milliseconds.
PATIENCE_SECONDS = 5.0
USER = "0x" + "ab" * 20
STATE = {
    "marginSummary": {"accountValue": "1", "totalMarginUsed": "0"},
    "crossMaintenanceMarginUsed": "0",
    "assetPositions": [],
    "time": 1,
}


def fills(*oids: int, size: str = "0.5", **more: object) -> dict[str, object]:
    rows = [
        {
            "coin": "ETH",
            "oid": oid,
            "px": "3000",
            "sz": size,
            "fee": "0.1",
            "time": 1,
            "tid": oid,
            "side": "B",
            "dir": "Open Long",
        }
        for oid in oids
    ]
    return {"user": USER, "fills": rows, **more}


class NewsTest(unittest.TestCase):
    def setUp(self) -> None:
        self.news = AccountNews(USER.upper().replace("X", "x", 1))
        self.news.take("userFills", fills(1, isSnapshot=True), NOON)

    def hear(self, payload: dict[str, object], channel: str = "userFills") -> None:
        self.news.take(channel, payload, NOON)

    def test_the_fills_of_an_order_are_told_once_they_add_up(self) -> None:
        wanted = {7: Decimal(1)}
        self.hear(fills(7))
        self.assertIsNone(self.news.fills_of(wanted, 0.01))
        self.hear(fills(7))
        self.assertIsNone(self.news.fills_of(wanted, 0.01), "the same fill said twice is one")
        more = fills(7)
        rows = more["fills"]
        assert isinstance(rows, list)
        rows[0]["tid"] = 8
        self.hear(more)
        found = self.news.fills_of(wanted, 0.01)
        assert found is not None
        self.assertEqual((2, self.news.number), (len(found[0]), found[1]))

    def test_the_orders_of_a_pair_are_told_of_when_both_are_filled(self) -> None:
        wanted = {7: Decimal("0.5"), 8: Decimal("0.5")}
        self.hear(fills(7))
        self.assertIsNone(self.news.fills_of(wanted, 0.0))
        self.hear(fills(8))
        found = self.news.fills_of(wanted, 0.0)
        assert found is not None
        self.assertEqual(([7, 8], self.news.number), ([one.oid for one in found[0]], found[1]))

    def test_a_standing_is_not_of_after_itself_and_one_that_is_there_is_not_waited_for(self) -> None:
        self.hear({"user": USER, "clearinghouseState": STATE}, "clearinghouseState")
        with mock.patch.object(self.news._heard, "wait_for", wraps=lambda done, _: self.assertTrue(done())):
            self.assertIsNotNone(self.news.standing_after(self.news.number - 1, 60.0))
        self.assertIsNone(self.news.standing_after(self.news.number, 0.0))

    def test_a_standing_shows_nothing_of_whether_fills_are_told(self) -> None:
        self.news.forget()
        self.hear({"user": USER, "clearinghouseState": STATE}, "clearinghouseState")
        self.assertIsNone(self.news.fills_of({7: Decimal(1)}, 60.0), "nobody waits")

    def test_a_snapshot_is_of_the_past(self) -> None:
        self.assertIsNone(self.news.fills_of({1: Decimal("0.5")}, 0.0))

    def test_nobody_waits_while_nothing_is_told(self) -> None:
        self.news.forget()
        self.assertIsNone(self.news.fills_of({7: Decimal(1)}, 60.0))
        self.assertIsNone(self.news.standing_after(0, 0.0))

    def test_what_a_connection_has_said_is_gone_with_it(self) -> None:
        self.hear({"user": USER, "clearinghouseState": STATE}, "clearinghouseState")
        self.hear({"user": USER, "coin": "ETH", "leverage": {"type": "cross", "value": 3}}, "activeAssetData")
        self.hear(fills(7))
        for known in (True, False):
            told = self.news.standing_after(0, 0.0), self.news.leverage_after(0, ETH)
            self.assertEqual([known] * 2, [one is not None for one in told])
            self.assertIs(known, self.news.fills_of({7: Decimal("0.5")}, 0.0) is not None)
            self.news.forget()
            self.news.take("userFills", fills(1, isSnapshot=True), NOON)

    def test_news_of_others_and_other_frames_are_passed_over(self) -> None:
        before = self.news.number
        self.hear({**fills(7), "user": "0x" + "cd" * 20})
        self.news.take("pong", None, NOON)
        self.hear({"user": USER, "dex": "other", "clearinghouseState": STATE}, "clearinghouseState")
        self.assertEqual(before + 1, self.news.number)
        self.assertIsNone(self.news.standing_after(0, 0.0))

    def test_a_damaged_frame_is_refused(self) -> None:
        with self.assertRaises(VenueUnavailable):
            self.hear({"user": USER, "fills": [{"coin": "ETH"}]})

    def test_a_damaged_standing_is_none(self) -> None:
        self.hear({"user": USER, "clearinghouseState": {"assetPositions": None}}, "clearinghouseState")
        self.assertIsNone(self.news.standing_after(0, 0.0))

    def test_only_so_many_orders_are_remembered(self) -> None:
        for oid in range(10, 10 + ORDERS_KEPT + 1):
            self.hear(fills(oid))
        self.assertIsNone(self.news.fills_of({10: Decimal("0.5")}, 0.0))
        self.assertIsNotNone(self.news.fills_of({11: Decimal("0.5")}, 0.0))


class StreamedAccountTest(HyperliquidWorld):
    def setUp(self) -> None:
        super().setUp()
        self.venue = self.streaming()

    def streaming(self) -> HyperliquidVenue:
        venue = self.opened(streams=True)
        self.addCleanup(venue.close)
        self.reads = self.enterContext(mock.patch.object(venue._api, "read", wraps=venue._api.read))
        venue.quotes([ETH])
        news = venue._news
        assert news is not None
        wait_until(lambda: news.leverage_after(0, ETH) is not None, "the first news of the account")
        venue.is_proven()
        return venue

    def asked(self, kind: str) -> int:
        """How often the venue was asked for *kind* over HTTP."""
        return sum(call.args[0]["type"] == kind for call in self.reads.call_args_list)

    @mock.patch.object(hyperliquid, "FILLS_NEWS_SECONDS", PATIENCE_SECONDS)
    @mock.patch.object(hyperliquid_reader, "STANDING_WAIT_SECONDS", PATIENCE_SECONDS)
    def test_an_order_is_filled_and_the_account_known_without_a_question(self) -> None:
        self.venue.account()
        before = dict.fromkeys(("userFillsByTime", "clearinghouseState", "activeAssetData"), 0)
        counted = {kind: self.asked(kind) for kind in before}
        self.venue.set_leverage(ETH, 20)
        (report,) = self.venue.submit([self.an_order(quantity="0.4")])
        self.assertIs(OrderStatus.FILLED, report.status)
        self.assertGreater(report.fees, 0)
        self.assertEqual(Decimal("0.4"), self.venue.account().held(ETH))
        (closed,) = self.venue.submit([self.an_order(ETH, Side.SELL, "0.4", reduce_only=True)])
        self.assertIs(OrderStatus.FILLED, closed.status)
        self.assertEqual(0, self.venue.account().held(ETH))
        self.assertEqual(counted, {kind: self.asked(kind) for kind in before})

    def test_a_leverage_told_before_this_process_set_another_is_not_believed(self) -> None:
        self.server.streams.silent = True
        for leverage, sent in ((3, 1), (20, 2)):
            self.venue.set_leverage(ETH, leverage)
            self.assertEqual(self.actions("updateLeverage"), sent)

    def test_a_stream_that_says_nothing_of_the_account_is_asked_past(self) -> None:
        self.server.streams.silent = True
        (report,) = self.venue.submit([self.an_order(quantity="0.4")])
        self.assertIs(OrderStatus.FILLED, report.status)
        self.assertEqual(Decimal("0.4"), self.venue.account().held(ETH))
        self.assertGreater(self.asked("userFillsByTime"), 0)

    def test_a_standing_grows_old(self) -> None:
        self.server.streams.silent = True
        counted = self.asked("clearinghouseState")
        self.clock.advance(2.1)
        self.venue.account()
        self.assertEqual(counted + 1, self.asked("clearinghouseState"))

    def test_a_standing_that_was_on_its_way_when_an_order_was_answered_is_not_of_after_it(self) -> None:
        """A close right after it would be clamped to what was held before, and the book be called wrong."""
        news = self.venue._news
        assert news is not None
        self.venue.clock_skew()
        before = {"user": MASTER, "dex": "", "clearinghouseState": self.server.info.state({"user": MASTER, "coin": ""})}
        self.clock.advance(1)
        self.server.streams.silent = True
        self.venue.submit([self.an_order(quantity="0.4")])
        news.take("clearinghouseState", before, self.clock.now())
        self.assertEqual(Decimal("0.4"), self.venue.account().held(ETH))
        self.clock.advance(1)
        after = {**before, "clearinghouseState": self.server.info.state({"user": MASTER, "coin": ""})}
        news.take("clearinghouseState", after, self.clock.now())
        counted = self.asked("clearinghouseState")
        self.assertEqual(Decimal("0.4"), self.venue.account().held(ETH))
        self.assertEqual(counted, self.asked("clearinghouseState"))
        self.clock.advance(3)
        news.take("clearinghouseState", after, self.clock.now())
        self.venue.account()
        self.assertEqual(counted + 1, self.asked("clearinghouseState"), "what comes late is old")

    def test_whether_a_standing_is_of_after_an_order_goes_by_the_venue_s_clock(self) -> None:
        news = self.venue._news
        assert news is not None
        self.server.streams.silent = True
        self.venue.set_leverage(ETH, 3)
        changed_at = milliseconds(self.clock.now())
        told: dict[str, object] = self.server.info.state({"user": MASTER})
        for ahead in (1.5, -1.5):
            skew = Skew(timedelta(seconds=ahead), timedelta(seconds=0.25))
            with mock.patch.object(self.venue._api, "last_skew", return_value=skew):
                for later, asks in ((0.24, 1), (0.26, 0)):
                    state = {**told, "time": changed_at + int((ahead + later) * 1000)}
                    news.take("clearinghouseState", {"user": MASTER, "clearinghouseState": state}, self.clock.now())
                    counted = self.asked("clearinghouseState")
                    self.venue._account = None
                    self.venue.account()
                    self.assertEqual(self.asked("clearinghouseState") - counted, asks, (ahead, later))

    @mock.patch.object(hyperliquid, "FILLS_NEWS_SECONDS", PATIENCE_SECONDS)
    def test_what_a_new_connection_says_first_may_be_of_before_the_fills_that_the_last_one_told(self) -> None:
        """Who answers it may lag behind who told of them; the account was called flat, and a close found nothing."""
        news, stream = self.venue._news, self.venue._stream
        assert news is not None and stream is not None
        self.venue.clock_skew()
        before = {"user": MASTER, "dex": "", "clearinghouseState": self.server.info.state({"user": MASTER, "coin": ""})}
        self.clock.advance(1)
        (report,) = self.venue.submit([self.an_order(quantity="0.4")])
        self.assertIs(OrderStatus.FILLED, report.status)
        self.server.streams.silent = True
        stream._forget()
        news.take("clearinghouseState", before, self.clock.now())
        self.assertEqual(Decimal("0.4"), self.venue.account().held(ETH))
        after = {**before, "clearinghouseState": self.server.info.state({"user": MASTER, "coin": ""})}
        self.clock.advance(1)
        news.take("clearinghouseState", after, self.clock.now())
        counted = self.asked("clearinghouseState")
        self.venue.account()
        self.assertEqual(counted, self.asked("clearinghouseState"), "it is of after them by its own stamp")

    def test_a_connection_that_is_cut_takes_what_it_said_of_the_account_with_it(self) -> None:
        news = self.venue._news
        assert news is not None
        self.server.streams.refuses = True
        self.server.streams.cut()
        wait_until(lambda: news.standing_after(0, 0.0) is None, "the end of what was said")

    def test_a_stream_that_is_seconds_behind_is_asked_past_and_said_once(self) -> None:
        """It lived, and so its price was told as of this moment."""
        stream = self.venue._stream
        assert stream is not None
        self.venue.clock_skew()
        frame = {"channel": "l2Book", "data": self.server.info.book({"coin": ETH})}
        self.clock.advance(3)
        self.server.streams.silent = True
        self.exchange.set_market(ETH, "3100")
        for _ in range(2):
            stream._take(json.dumps(frame))
            self.assertGreater(self.venue.quotes([ETH])[ETH].mid, 3090)
        self.assertEqual(1, self.lines_of_lateness())

    def lines_of_lateness(self) -> int:
        return sum("seconds behind" in one for one in self.log.messages("warning"))

    def test_a_stream_that_is_behind_with_one_coin_is_said_once_whatever_else_is_looked_at(self) -> None:
        """Each look at another coin in between made the next one news, some lines a second for as long as it lasted."""
        stream = self.venue._stream
        assert stream is not None
        self.venue.clock_skew()
        self.venue.quotes([SOL])
        wait_until(lambda: len(stream.prices([ETH, SOL], 0)) == 2, "the first prices")
        self.server.streams.silent = True
        for times in (1, 2):
            late = self.server.info.book({"coin": ETH})
            self.clock.advance(3)
            for book in (late, self.server.info.book({"coin": SOL})):
                stream._take(json.dumps({"channel": "l2Book", "data": book}))
            for _ in range(3):
                self.venue.quotes([ETH])
                self.venue.quotes([SOL])
            self.assertEqual(times, self.lines_of_lateness())
            stream._take(json.dumps({"channel": "l2Book", "data": self.server.info.book({"coin": ETH})}))
            self.venue.quotes([ETH])

    def test_the_days_bars_are_asked_for_once_a_minute_and_anew_with_a_new_bar(self) -> None:
        def read(coin: Coin = ETH) -> None:
            now = self.clock.now()
            self.venue.candles(coin, CandleInterval.HOUR, now - timedelta(hours=27), now)

        for seconds, count in ((0, 1), (30, 1), (31, 2), (3600, 3)):
            self.clock.advance(seconds)
            read()
            self.assertEqual(count, self.asked("candleSnapshot"), seconds)
        now = self.clock.now()
        for _ in range(2):
            self.venue.candles(ETH, CandleInterval.MINUTE, now - timedelta(minutes=5), now)
        self.assertEqual(5, self.asked("candleSnapshot"))

    def test_the_account_is_the_one_that_is_asked_for(self) -> None:
        self.assertEqual(MASTER.lower(), self.venue.account_id)
