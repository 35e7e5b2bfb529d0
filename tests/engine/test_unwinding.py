"""Leaving without a ledger: what is sold, of whom, how often, and what is said of it."""

import errno
import io
import os
import threading
import unittest
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from unittest import mock

from tests.engine.bent_venue import BentStore, a_bent_scene, corrupt, with_store
from tests.engine.hands import join_all
from tests.engine.resting_venue import RestingVenue
from tests.engine.scripted_venue import BINDING, Crash, Fault, a_scene, late, lost_after, lost_before, partly
from trading.domain.desk_state import TradingState
from trading.domain.errors import DeskError, StoreCorrupt, TradingHalted, VenueUnavailable
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import Order, RejectReason
from trading.domain.positions import Position, PositionStatus, first_watch
from trading.domain.trades import TradeStatus, close_trade_id
from trading.domain.units import Coin, Price, Quantity, Ratio
from trading.engine import closing, emergency, flattening, health, monitor, unwinding, working
from trading.engine.desk import Desk
from trading.engine.monitor import Watchman
from trading.engine.requests import Execution, TwapRequest
from trading.engine.unwinding import Unwritten
from trading.utils import json_storage
from trading.utils.disk import SystemDisk
from trading.utils.json_storage import JsonStore

ETH, BTC, SOL = Coin("ETH"), Coin("BTC"), Coin("SOL")
PRESSES_MAX = 20


class UnwindingTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    def held(self, *coins: str) -> tuple[Decimal, ...]:
        return tuple(self.venue.held(coin) for coin in coins)

    def spoil_state(self) -> None:
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")

    def spoil_ledger(self, word: str) -> Desk:
        """The desk as it starts on a ledger whose first line that holds *word* does not check any more."""
        self.scene.store.close()
        path = self.scene.store.data_dir / "trades.json"
        lines = path.read_bytes().split(b"\n")
        place = next(number for number, line in enumerate(lines) if word.encode() in line)
        lines[place] = lines[place].replace(b'"pair"', b'"pear"')
        path.write_bytes(b"\n".join(lines))
        return self.started()

    def started(self) -> Desk:
        store = JsonStore.open_or_halted(self.scene.desk.config.data_dir, BINDING)
        self.assertTrue(store.trouble)
        return replace(self.scene.desk, store=store)

    def ended(self, signal_id: str = "signal_0", pair: str = "SOL/AVAX") -> Position:
        return self.scene.close(self.scene.opened(signal_id, pair=pair))

    def stopped(self, desk: Desk | None = None, **words: Any) -> emergency.StopReport:
        with redirect_stderr(io.StringIO()):
            return emergency.stop(desk or self.scene.desk, goes_on=False, **words)

    def ticks(self, watchman: Watchman, count: int = 1) -> None:
        with redirect_stderr(io.StringIO()):
            for _ in range(count):
                self.scene.clock.advance(1)
                with suppress(StoreCorrupt):
                    monitor.tick(watchman)
                join_all(watchman)


class MeantTest(UnwindingTestCase):
    """Of whom a stop without a ledger sells."""

    def test_a_desk_that_never_traded_sells_nothing(self) -> None:
        """Nothing in the ledger was taken for nothing that can be read of it, and all of the account was sold."""
        self.venue.hold("SOL", "3")
        self.spoil_state()
        report = self.stopped()
        self.assertEqual(([SOL], (3,)), ([one.coin for one in report.foreign], self.held("SOL")))
        self.assertEqual("all_positions_closed", report.status)

    def test_nor_does_one_that_is_started_like_that(self) -> None:
        self.venue.hold("SOL", "3")
        self.spoil_state()
        self.stopped(self.started())
        self.assertEqual((3,), self.held("SOL"))

    def test_what_the_desk_has_closed_is_somebody_elses_by_now(self) -> None:
        self.ended()
        self.scene.opened()
        self.venue.hold("SOL", "3")
        self.spoil_state()
        self.stopped()
        self.assertEqual((0, 0, 3), self.held("BTC", "ETH", "SOL"))

    def test_what_is_beyond_the_book_stays(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.7")
        self.spoil_state()
        for _ in range(2):
            self.assertEqual("all_positions_closed", self.stopped().status)
            self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_the_whole_account_is_the_whole_account(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.7")
        self.venue.hold("SOL", "3")
        self.spoil_state()
        self.stopped(scope_account=True)
        self.assertTrue(self.venue.flat)

    def test_with_a_line_that_cannot_be_read_all_coins_go_that_the_desk_ever_traded(self) -> None:
        gone = self.ended()
        self.scene.opened()
        self.venue.hold("SOL", "3")
        self.stopped(self.spoil_ledger(gone.trade_id))
        self.assertTrue(self.venue.flat)

    def test_where_nothing_can_be_named_all_of_the_account_goes(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "3")
        self.scene.store.close()
        for name in ("trades.json", "positions.json"):
            path = self.scene.store.data_dir / name
            path.write_bytes(b"\0" * path.stat().st_size)
        self.assertEqual("all_positions_closed", self.stopped(self.started()).status)
        self.assertTrue(self.venue.flat)

    def test_of_a_trade_that_does_not_fold_all_goes_that_is_held_of_its_coins(self) -> None:
        """Whatever the book has of them: how much of it is that trade's nobody knows."""
        self.scene.opened()
        self.venue.hold("ETH", "0.7")
        self.venue.hold("SOL", "-3")

        def salvaged(why: str) -> BentStore:
            return BentStore(self.scene.store.salvaged(why), broken_coins=frozenset({ETH, SOL}))

        self.stopped(with_store(self.scene, change_state=corrupt, salvaged=salvaged))
        self.assertTrue(self.venue.flat)

    def test_a_beginning_that_is_damaged_takes_no_line_with_it(self) -> None:
        """An editor had put a mark before it, or its first bytes were lost: nothing of it was read, and no barrier was
        obeyed."""
        for beginning in (b"\xef\xbb\xbf[\n", b"\0\0", b"[\r\n"):
            for stop in (False, True):
                with self.subTest(beginning, stop=stop):
                    self.setUp()
                    self.scene.opened()
                    self.venue.hold("SOL", "3")
                    self.scene.store.close()
                    path = self.scene.store.data_dir / "trades.json"
                    path.write_bytes(beginning + path.read_bytes().removeprefix(b"[\n"))
                    desk = self.started()
                    self.venue.move("ETH", "3910")
                    if stop:
                        self.stopped(desk)
                    else:
                        self.ticks(Watchman(desk), 4)
                    self.assertEqual((0, 0, 3), self.held("BTC", "ETH", "SOL"))

    def test_who_may_have_ended_is_let_alone_with_whom_it_shares_a_coin(self) -> None:
        ended = self.ended("signal_0", "BTC/ETH")
        self.scene.opened("signal_2", pair="SOL/ETH")
        watchman = Watchman(self.spoil_ledger(close_trade_id(ended.id, 1)))
        self.venue.hold("BTC", "-1")
        self.venue.move("ETH", "3910")
        self.ticks(watchman, 4)
        self.assertEqual((-1, 0, 0), self.held("BTC", "ETH", "SOL"))

    def test_who_shares_a_coin_only_with_one_that_is_let_alone_stays(self) -> None:
        ended = self.ended("signal_0", "BTC/ETH")
        self.scene.opened("signal_2", pair="SOL/ETH")
        self.scene.opened("signal_3", pair="BTC/AVAX")
        watchman = Watchman(self.spoil_ledger(close_trade_id(ended.id, 1)))
        before = self.held("BTC", "AVAX")
        self.venue.move("ETH", "3910")
        self.ticks(watchman, 4)
        self.assertEqual((0, 0, *before), self.held("ETH", "SOL", "BTC", "AVAX"))


class TwiceTest(UnwindingTestCase):
    """What others hold beside the desk is not sold in place of what has been sold already."""

    def setUp(self) -> None:
        super().setUp()
        self.venue.hold("ETH", "0.7")
        self.position = self.scene.opened()

    def until_closed(self) -> None:
        self.spoil_state()
        unwritten = Unwritten()
        for _ in range(PRESSES_MAX):
            with suppress(DeskError):
                if self.stopped(unwritten=unwritten).status == "all_positions_closed":
                    break
            self.scene.clock.advance(1)
        self.scene.clock.advance(20)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_an_order_that_lands_late(self) -> None:
        self.venue.script(late(2))
        self.until_closed()

    def test_by_an_order_that_lands_after_the_answer(self) -> None:
        self.venue.delay_seconds["account"] = 2
        self.venue.script(late(4.9))
        self.until_closed()

    def test_by_one_whose_answer_is_lost(self) -> None:
        for fault in (lost_after(), lost_after(ETH="0.5")):
            with self.subTest(fault):
                self.setUp()
                self.venue.script(fault)
                self.until_closed()

    def lag(self) -> None:
        """The account shows what was sold nine tenths of a second later."""
        sold: list[Account] = []
        self.venue.on_submit = lambda orders: sold.append(self.venue.account()) if orders[0].reduce_only else None

        def lagging(account: Account) -> Account:
            recent = [one for one in sold if account.taken_at - one.taken_at < timedelta(seconds=0.9)]
            return recent[0] if recent else account

        self.venue.bend_account = lagging

    def test_where_the_account_shows_it_late(self) -> None:
        self.lag()
        self.until_closed()

    def test_nor_where_that_is_all_that_tells_how_much_is_left(self) -> None:
        """A line cannot be read, so that the book does not know how much it is."""
        desk = self.spoil_ledger(self.ended().trade_id)
        self.lag()
        self.assertEqual("all_positions_closed", self.stopped(desk).status)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_one_of_which_nobody_ever_tells(self) -> None:
        """It is waited for as long as it may land, and no longer."""
        self.venue.script(lost_before())
        self.venue.reads_down = {"reports"}
        self.until_closed()

    def test_by_a_stop_while_the_opening_is_in_doubt(self) -> None:
        """What has not landed yet is not theirs."""
        self.setUp()
        self.scene.close(self.position)
        self.venue.script(Fault(lands_after=9, told_after=9, dies="after"))
        with suppress(Crash):
            self.scene.execute("signal_2")
        self.spoil_state()
        sent = len(self.venue.sent)
        self.assertEqual("closing", self.stopped().status)
        self.assertEqual(sent, len(self.venue.sent))
        self.scene.clock.advance(20)
        self.assertEqual("all_positions_closed", self.stopped().status)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_what_is_left_of_it_goes_too(self) -> None:
        self.venue.script(partly(ETH="0.2", BTC="0.5"), partly(ETH="0.5"))
        self.until_closed()

    def cut_short(self, *faults: Fault, **words: Any) -> None:
        """A stop whose first orders meet *faults*, and whose time is over before it looks again."""

        def look_slowly(_: Sequence[Order]) -> None:
            self.venue.on_submit = None
            self.venue.delay_seconds, self.venue.reads_down = {"account": 9}, {"reports"}

        self.spoil_state()
        self.venue.script(*faults)
        self.venue.on_submit = look_slowly
        with suppress(Crash):
            self.stopped(**words)
        self.venue.on_submit, self.venue.delay_seconds, self.venue.reads_down = None, {}, set()

    def test_by_whoever_presses_again_and_has_nothing_in_mind(self) -> None:
        """By HTTP each press began anew: what the first had sold was sold once more, of what others held."""
        faults = (
            partly(ETH="0.1", BTC="0.5"),
            lost_after(),
            late(7, told_after=3),
            Fault(dies="after"),
            Fault(dies="before"),
        )
        for reopened in (False, True):
            for fault in faults:
                with self.subTest(fault, reopened=reopened):
                    self.setUp()
                    self.cut_short(fault)
                    desk = self.started() if reopened else self.scene.desk
                    for _ in range(PRESSES_MAX):
                        if self.stopped(desk).status == "all_positions_closed":
                            break
                        self.scene.clock.advance(1)
                    self.scene.clock.advance(20)
                    self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_whoever_presses_again_where_a_line_cannot_be_read(self) -> None:
        """How much is left of what the book is sure of is in the rescue file there, too."""
        for fault in (partly(ETH="0.1", BTC="0.5"), lost_after()):
            with self.subTest(fault):
                self.setUp()
                desk = self.spoil_ledger(self.ended().trade_id)
                self.cut_short(fault, desk=desk)
                for _ in range(PRESSES_MAX):
                    if self.stopped(self.started()).status == "all_positions_closed":
                        break
                    self.scene.clock.advance(1)
                self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_a_fill_of_the_opening_that_is_written_down_late(self) -> None:
        """It books nothing of what was sold before it was known: that was forgotten with it, and sold once more."""
        self.scene.close(self.position)
        self.venue.script(lost_after(), partly(ETH="0.4", BTC="0.4"))
        self.venue.reads_down = {"reports"}
        position = self.scene.opened("signal_2")
        self.venue.reads_down = set()
        self.venue.on_submit = lambda _: setattr(self.venue, "delay_seconds", {"account": 9})
        desk = with_store(self.scene, writable=False, save=corrupt, save_watch=corrupt)
        with redirect_stderr(io.StringIO()):
            unwinding.leave_without_ledger(desk, position.id, ExitReason.MANUAL, 1, Unwritten())
            self.venue.on_submit, self.venue.delay_seconds = None, {}
            self.assertEqual((Decimal("-0.006"), Decimal("0.85")), self.held("BTC", "ETH"))
            working.work_if_free(self.scene.desk, position.trade_id)
            self.assertEqual(Decimal("0.25"), self.scene.position(position.id).long.held)
            unwinding.leave_without_ledger(desk, position.id, ExitReason.MANUAL, 8, Unwritten())
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_who_has_seen_more_of_it_than_the_ledger_has_closed_since(self) -> None:
        """What the ledger closes is no debt of whoever leaves without it later: that was made good out of theirs."""
        desk = with_store(self.scene, writable=False, save=corrupt, save_watch=corrupt)
        unwritten = Unwritten()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        with redirect_stderr(io.StringIO()):
            unwinding.leave_without_ledger(desk, self.position.id, ExitReason.MANUAL, 1, unwritten)
            self.venue.refusing, self.venue.shares = {}, {"ETH": Decimal("0.4"), "BTC": Decimal("0.4")}
            closing.close(self.scene.desk, self.position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
            self.assertLess(0, self.scene.position(self.position.id).long.held)
            self.venue.shares = {}
            self.scene.clock.advance(6)
            unwinding.leave_without_ledger(desk, self.position.id, ExitReason.MANUAL, 1, unwritten)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_a_write_that_books_nothing(self) -> None:
        """A close was begun and not sent, a wish written down: with that all was forgotten that had been sold."""
        for unwritten in (Unwritten(), None):
            with self.subTest(forgetful=unwritten is None):
                self.setUp()
                self.cut_short(partly(ETH="0.4", BTC="0.5"), unwritten=unwritten)
                self.scene.clock.advance(1)
                closing._closing_trade(self.scene.desk, self.position.id, ExitReason.MANUAL)
                for _ in range(PRESSES_MAX):
                    self.stopped(unwritten=unwritten)
                    self.scene.clock.advance(1)
                self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_by_who_was_in_doubt_when_somebody_else_was_told(self) -> None:
        """Who could not ask himself gave the doubt up, and sold what had been sold."""
        unwritten = Unwritten()
        self.cut_short(lost_after(ETH="0.4"), unwritten=unwritten)
        with mock.patch.object(unwinding, "_note_left", side_effect=Crash), suppress(Crash):
            self.stopped()
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))
        self.scene.clock.advance(20)
        self.venue.reads_down = {"reports"}
        self.assertEqual("all_positions_closed", self.stopped(unwritten=unwritten).status)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_on_lots_whatever_was_accepted(self) -> None:
        accepted = {ETH: Quantity(Decimal("0.69995"))}
        self.scene.store.change_state(lambda state: replace(state, accepted_drift=accepted))
        desk = self.spoil_ledger(self.position.trade_id)
        self.stopped(desk)
        self.assertTrue(all(one.quantity % Decimal("0.0001") == 0 for one in self.venue.orders))
        self.assertEqual(0, self.venue.held("BTC"))


class MeanwhileTest(UnwindingTestCase):
    """What others buy between a look and an order, or is not shown yet, is no more the desk's than before."""

    def setUp(self) -> None:
        super().setUp()
        gone = self.ended()
        self.scene.opened()
        self.began = gone.trade_id

    def both_ways(self) -> Iterator[Callable[[], None]]:
        """A stop, and a barrier."""
        for stop in (True, False):
            with self.subTest(stop=stop):
                self.setUp()
                if stop:
                    self.spoil_state()
                    yield lambda: void(self.stopped())
                else:
                    watchman = Watchman(self.spoil_ledger(self.began))
                    self.venue.move("ETH", "3910")
                    yield partial(self.ticks, watchman, 6)
                self.assertEqual((0, Decimal("0.3")), self.held("BTC", "ETH"))

    def test_bought_while_it_is_closed(self) -> None:
        for close in self.both_ways():
            self.venue.script(partly(ETH="0.5"))
            self.venue.on_submit = self.buy_once
            close()

    def test_what_others_have_sold_of_theirs_keeps_none_of_the_desks_from_being_sold(self) -> None:
        """What they held when it was opened was left to them for ever: the desk's leg stood, and was called left."""
        for whole in (True, False):
            for stop in (True, False):
                with self.subTest(stop=stop, whole=whole):
                    super().setUp()
                    gone = self.ended()
                    self.venue.hold("ETH", "0.7")
                    self.scene.opened()
                    self.venue.hold("ETH", "-0.7")
                    desk = self.scene.desk
                    if whole:
                        self.spoil_state()
                    else:
                        desk = self.spoil_ledger(gone.trade_id)
                    if stop:
                        self.assertEqual("all_positions_closed", self.stopped(desk).status)
                    else:
                        self.venue.move("ETH", "3910")
                        self.ticks(Watchman(desk), 6)
                    self.assertTrue(self.venue.flat)

    def test_nothing_is_closed_on_the_other_side(self) -> None:
        """They have sold the desk's leg and more: what is held is all theirs."""
        self.venue.hold("ETH", "-0.55")
        self.spoil_state()
        self.stopped()
        self.assertEqual((0, Decimal("-0.3")), self.held("BTC", "ETH"))

    def buy_once(self, orders: Sequence[Order]) -> None:
        self.venue.on_submit = None
        self.venue.hold("ETH", "0.3")

    def misread_once(self, by: str) -> None:
        """The first look at the account shows so much more ETH than is held; the next ones show what there is."""
        looks = 0

        def misread(account: Account) -> Account:
            nonlocal looks
            looks += 1
            held = account.holdings.get(ETH)
            if looks > 1 or held is None:
                return account
            known = replace(held, quantity=Quantity(held.quantity + Decimal(by)))
            return replace(account, holdings={**account.holdings, ETH: known})

        self.venue.bend_account = misread

    def test_not_shown_at_the_first_look(self) -> None:
        """The account had been read a moment before: it passed for the desk's, and a stop sold it."""
        for close in self.both_ways():
            self.venue.hold("ETH", "0.3")
            self.misread_once("-0.3")
            close()

    def test_a_leg_that_one_look_does_not_show_is_not_called_left(self) -> None:
        """It was let alone from then on, and stood."""
        self.setUp()
        position = self.scene.opened()
        self.misread_once("-0.25")
        desk, unwritten = with_store(self.scene, writable=False, save=corrupt, save_watch=corrupt), Unwritten()
        with redirect_stderr(io.StringIO()):
            for _ in range(2):
                unwinding.leave_without_ledger(desk, position.id, ExitReason.MANUAL, 1, unwritten)
                self.scene.clock.advance(1)
        self.assertTrue(self.venue.flat)

    def test_shown_for_too_long_it_keeps_none_of_the_desks_from_being_sold(self) -> None:
        """What has just been closed by the ledger shows yet: it is not somebody else's for ever."""
        for close in self.both_ways():
            self.venue.hold("ETH", "0.3")
            self.misread_once("0.2")
            close()
            close()


class PaceTest(UnwindingTestCase):
    def test_what_the_venue_refuses_for_ever_is_not_sent_for_ever_at_once(self) -> None:
        """Six orders in four seconds: in two hours the exchange would have taken one in ten seconds of anything."""
        gone = self.ended()
        self.scene.opened()
        watchman = Watchman(self.spoil_ledger(gone.trade_id))
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.venue.move("ETH", "3910")
        began, sent = self.scene.clock.monotonic(), len(self.venue.sent)
        self.ticks(watchman, 30)
        passed = self.scene.clock.monotonic() - began
        self.assertLessEqual(len(self.venue.sent) - sent, 4 + passed / 5)
        self.venue.refusing = {}
        self.ticks(watchman, 8)
        self.assertTrue(self.venue.flat)

    def test_one_that_is_refused_keeps_no_other_from_its_turn(self) -> None:
        """The time of the second was over when it had its turn, each time."""
        gone = self.ended("signal_0", "BTC/ETH")
        self.scene.opened()
        self.scene.opened("signal_2", pair="SOL/AVAX")
        watchman = Watchman(self.spoil_ledger(gone.trade_id))
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        for coin, price in (("ETH", "3910"), ("AVAX", "24.4")):
            self.venue.move(coin, price)
        self.ticks(watchman, 5)
        self.assertEqual((0, 0), self.held("SOL", "AVAX"))

    def test_an_order_is_dated_after_the_reads_that_took_their_time(self) -> None:
        self.scene.opened()
        self.spoil_state()
        self.venue.delay_seconds = {"quotes": 3, "instruments": 1}
        lives: list[timedelta] = []

        def look(orders: Sequence[Order]) -> None:
            lives.extend(one.expires_at - self.scene.clock.now() for one in orders)

        self.venue.on_submit = look
        self.stopped()
        self.assertEqual({timedelta(seconds=5)}, set(lives))
        self.assertTrue(self.venue.flat)

    def test_the_bands_are_those_of_any_close(self) -> None:
        """From the touch that the order meets, wider with each try."""
        self.scene.opened()
        self.spoil_state()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        quotes = self.venue.quotes([ETH, BTC])
        # Apart, so that it matters which of the two it is.
        self.venue.bend_quote = lambda one: replace(one, bid=Price(one.bid * 2), ask=Price(one.ask * 4))
        self.stopped()
        orders = [one for group in self.venue.sent[1:] for one in group]
        for coin, side, touch in ((ETH, -1, quotes[ETH].bid * 2), (BTC, 1, quotes[BTC].ask * 4)):
            limits = [one.limit_price / touch for one in orders if one.coin == coin][:4]
            for limit, band in zip(limits, ("0.01", "0.03", "0.08", "0.08"), strict=True):
                self.assertAlmostEqual(1 + side * Decimal(band), limit, 4)

    def test_what_the_widest_band_makes_too_little_goes_in_a_narrower_one(self) -> None:
        """The venue measures an order at its limit: 10.65 USD beside what others hold were refused for ever."""
        self.venue.hold("ETH", "0.7")
        self.scene.opened(size="24")
        self.venue.move("ETH", "3550")
        self.spoil_state()
        self.venue.script(*[partly(ETH="0", BTC="0")] * 3)
        unwritten = Unwritten()
        for _ in range(3):
            self.stopped(unwritten=unwritten)
        self.assertEqual((0, Decimal("0.7")), self.held("BTC", "ETH"))

    def test_who_waits_asks_less_and_less_often(self) -> None:
        """The account was read ten times a second while an order was in doubt, out of the exchange's budget."""
        self.scene.opened()
        self.spoil_state()
        self.venue.script(lost_before())
        self.venue.reads_down = {"reports"}
        with mock.patch.object(self.venue, "account", wraps=self.venue.account) as account:
            self.assertEqual("closing", self.stopped().status)
        self.assertLess(account.call_count, 20)

    def test_a_venue_that_is_down_for_a_moment_is_asked_again(self) -> None:
        self.scene.opened()
        self.spoil_state()
        began, account = self.scene.clock.now(), self.venue.account

        def silent_at_first() -> Account:
            if self.scene.clock.now() - began < timedelta(seconds=3):
                raise VenueUnavailable("the account cannot be read")
            return account()

        with mock.patch.object(self.venue, "account", silent_at_first):
            self.assertEqual("all_positions_closed", self.stopped().status)

    def test_one_that_goes_down_on_the_way_keeps_nobody_waiting(self) -> None:
        self.scene.opened()
        self.spoil_state()
        self.venue.on_submit = lambda _: setattr(self.venue, "reads_down", {"account"})
        began = self.scene.clock.monotonic()
        with self.assertRaises(VenueUnavailable):
            self.stopped()
        self.assertLess(self.scene.clock.monotonic() - began, 10)

    def test_a_venue_that_answers_slowly_is_sent_the_order_all_the_same(self) -> None:
        """The time of a try was over before there was an order, with each tick anew: the position stood for ever."""
        for reads in ({"account": 3}, {"account": 2, "quotes": 2}):
            with self.subTest(reads):
                self.setUp()
                self.scene.opened()
                watchman = Watchman(with_store(self.scene, writable=False, save=corrupt, save_watch=corrupt))
                self.venue.move("ETH", "3910")
                self.venue.delay_seconds = dict(reads)
                self.ticks(watchman, 6)
                self.assertTrue(self.venue.flat)

    def test_nor_is_a_stop_whose_reads_take_its_time(self) -> None:
        self.scene.opened()
        self.spoil_state()
        self.venue.delay_seconds = {"account": 9}
        self.stopped()
        self.assertTrue(self.venue.flat)


class LeftTest(UnwindingTestCase):
    def test_an_account_that_reads_empty_once_when_the_time_is_over_is_not_believed(self) -> None:
        """It was called closed, and let alone from then on."""
        self.scene.opened()
        self.spoil_state()
        self.venue.delay_seconds = {"account": 4.5}
        looks = 0

        def empty(account: Account) -> Account:
            nonlocal looks
            looks += 1
            return replace(account, holdings={}) if looks == 2 else account

        self.venue.bend_account = empty
        self.assertEqual(("all_positions_closed", True), (self.stopped().status, self.venue.flat))

    def test_what_a_stop_has_closed_is_let_alone_by_who_watches(self) -> None:
        """The monitor, another process, knew nothing of it: a breach sold what somebody had bought since."""
        gone = self.ended()
        self.scene.opened()
        watchman = Watchman(self.spoil_ledger(gone.trade_id))
        self.ticks(watchman)
        self.assertEqual("all_positions_closed", self.stopped(self.started()).status)
        self.venue.hold("ETH", "0.2")
        self.venue.hold("BTC", "-0.01")
        self.venue.move("ETH", "3910")
        sent = len(self.venue.sent)
        self.ticks(watchman, 5)
        self.assertEqual(sent, len(self.venue.sent))

    def test_a_second_stop_lets_it_alone_too(self) -> None:
        self.scene.opened()
        self.spoil_state()
        self.stopped()
        self.venue.hold("ETH", "0.2")
        self.assertEqual("all_positions_closed", self.stopped().status)
        self.assertEqual((Decimal("0.2"),), self.held("ETH"))

    def on_its_way(self) -> None:
        """The web process dies with an opening sent that lands in nine seconds."""
        self.venue.script(Fault(lands_after=9, told_after=9, dies="after"))
        with suppress(Crash):
            self.scene.execute()

    def test_an_opening_that_may_yet_land_is_no_closed_position(self) -> None:
        self.on_its_way()
        self.spoil_state()
        unwritten = Unwritten()
        report = self.stopped(unwritten=unwritten)
        self.assertEqual(("closing", ["BTC/ETH"]), (report.status, [one.pair for one in report.remaining]))
        for _ in range(PRESSES_MAX):
            self.scene.clock.advance(1)
            if self.stopped(unwritten=unwritten).status == "all_positions_closed":
                break
        self.scene.clock.advance(20)
        self.assertEqual((True, "all_positions_closed"), (self.venue.flat, self.stopped(unwritten=unwritten).status))
        self.assertTrue(any(order.reduce_only for order in self.venue.orders))

    def test_where_no_absence_is_proven_it_may_land_for_longer(self) -> None:
        """At Pear it was called closed after fifteen seconds, and let alone when it came."""
        self.venue.traits = replace(self.venue.traits, proves_absence=False)
        self.venue.script(lost_before())
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        self.spoil_state()
        unwritten = Unwritten()
        for _ in range(6):
            self.scene.clock.advance(10)
            self.assertEqual("closing", self.stopped(unwritten=unwritten).status)
        self.venue.hold("ETH", "0.25")
        self.venue.hold("BTC", "-0.01")
        self.stopped(unwritten=unwritten)
        self.assertTrue(self.venue.flat)
        self.scene.clock.advance(30)
        self.assertEqual("all_positions_closed", self.stopped(unwritten=unwritten).status)

    def test_it_goes_on_after_the_answer_until_that_is_known(self) -> None:
        self.on_its_way()
        self.spoil_state()
        with redirect_stderr(io.StringIO()):
            emergency.stop(self.scene.desk)
            self.scene.hands.release()
        self.scene.clock.advance(20)
        self.assertTrue(self.venue.flat)

    def test_that_it_is_not_through_after_a_while_is_said(self) -> None:
        self.scene.opened()
        self.spoil_state()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
        with redirect_stderr(io.StringIO()):
            self.assertEqual("closing", emergency.stop(self.scene.desk).status)
            self.scene.hands.release()
        self.assertTrue(any("not through yet" in one for one in self.scene.log.messages("error")))
        self.assertEqual((0, Decimal("0.25")), self.held("BTC", "ETH"))

    def test_who_goes_on_with_the_desks_own_keeps_nobody_from_going_on_with_the_whole_account(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "3")
        self.spoil_state()
        self.venue.refusing = {"SOL": RejectReason.NO_MATCH, "ETH": RejectReason.NO_MATCH}
        narrow = threading.Event()

        def sleep(seconds: float) -> None:
            """Whoever goes on first does so until the other one is through."""
            if threading.current_thread().name.startswith("going on") and not narrow.is_set():
                narrow.set()
                self.scene.hands.hang()
            self.scene.clock.advance(seconds)

        with redirect_stderr(io.StringIO()), mock.patch.object(self.scene.clock, "sleep", sleep):
            self.assertEqual("closing", emergency.stop(self.scene.desk).status)
            self.assertTrue(narrow.wait(10))
            self.assertEqual("closing", emergency.stop(self.scene.desk, scope_account=True).status)
            self.venue.refusing = {}
            self.scene.hands.release()
        self.assertTrue(self.venue.flat)

    def test_an_account_that_cannot_be_read_after_it_takes_nothing_of_the_answer_back(self) -> None:
        self.scene.opened()
        self.spoil_state()
        close_holdings = flattening.close_holdings

        def closing(*words: Any) -> Mapping[Coin, Quantity]:
            left = close_holdings(*words)
            self.venue.reads_down = {"account"}
            return left

        with mock.patch.object(flattening, "close_holdings", closing):
            self.assertEqual("all_positions_closed", self.stopped().status)


class UnwritableTest(UnwindingTestCase):
    """The state can be written, the ledger cannot."""

    def spoilt(self, *, writable: bool) -> Desk:
        return with_store(self.scene, writable=writable, save=corrupt, save_watch=corrupt)

    def test_a_stop_closes_what_the_ledger_takes_no_close_of(self) -> None:
        """The state said LIQUIDATING, and where no monitor was at work nobody closed anything."""
        for writable in (False, True):
            with self.subTest(writable=writable):
                self.setUp()
                position = self.scene.opened()
                report = self.stopped(self.spoilt(writable=writable))
                self.assertTrue(self.venue.flat)
                self.assertEqual(("all_positions_closed", (position.id,)), (report.status, report.closed))
                self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)

    def test_a_stop_of_the_whole_account_closes_what_the_ledger_does_not_take_over(self) -> None:
        """It stood, nobody was told of it, and the answer was that all was closed."""
        for writable in (False, True):
            with self.subTest(writable=writable):
                self.setUp()
                self.scene.opened()
                self.venue.hold("SOL", "3")
                report = self.stopped(self.spoilt(writable=writable), scope_account=True)
                self.assertEqual(("all_positions_closed", True), (report.status, self.venue.flat))

    def test_what_of_it_could_not_be_closed_is_said(self) -> None:
        self.venue.hold("SOL", "3")
        self.venue.hold("BTC", "-0.2")
        self.venue.refusing = {"SOL": RejectReason.NO_MATCH}
        report = self.stopped(self.spoilt(writable=False), scope_account=True)
        self.assertEqual(
            ("closing", ["SOL"], ()), (report.status, [one.pair for one in report.remaining], report.foreign)
        )
        self.assertEqual((0, 3), self.held("BTC", "SOL"))

    def test_a_leg_that_was_gone_before_is_believed_within_one_stop(self) -> None:
        """It takes two looks two seconds apart; each press had one, and by HTTP it was closing for ever."""
        self.scene.opened()
        self.venue.hold("BTC", "0.01")
        self.assertEqual("all_positions_closed", self.stopped(self.spoilt(writable=False)).status)

    def test_a_second_stop_knows_what_the_first_has_left(self) -> None:
        """It said for ever that a closing trade could not be accepted yet."""
        self.scene.opened()
        desk = self.spoilt(writable=False)
        for _ in range(2):
            self.assertEqual("all_positions_closed", self.stopped(desk).status)

    def test_an_opening_whose_end_cannot_be_written_down_is_left(self) -> None:
        """The book does not know what it holds, so that no barrier would ever leave it."""
        for name, fault in (("both legs", lost_after()), ("one leg", lost_after(BTC="0"))):
            with self.subTest(name):
                self.setUp()
                self.venue.script(fault)
                self.venue.reads_down = {"reports"}
                self.scene.execute()
                self.venue.reads_down = set()
                watchman = Watchman(self.spoilt(writable=True))
                self.ticks(watchman, 2)
                self.assertFalse(self.venue.flat)
                self.ticks(watchman, 20)
                self.assertTrue(self.venue.flat)

    def test_a_clock_that_was_set_back_keeps_nobody_waiting(self) -> None:
        self.venue.script(lost_after())
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        self.venue.reads_down = set()
        watchman = Watchman(self.spoilt(writable=True))
        self.ticks(watchman, 2)
        self.scene.clock.instant -= timedelta(hours=1)
        self.ticks(watchman, 20)
        self.assertTrue(self.venue.flat)

    def test_what_a_close_has_taken_whose_end_could_not_be_written_is_not_sold_again(self) -> None:
        """The intent was on disk, the answer was not: what somebody bought meanwhile passed for the desk's."""
        for stop in (False, True):
            with self.subTest(stop=stop):
                self.setUp()
                position = self.scene.opened()
                self.venue.script(lost_after())
                self.venue.reads_down = {"reports"}
                closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
                self.venue.reads_down = set()
                self.assertTrue(self.scene.store.book().live_trades()[0].in_doubt)
                self.venue.hold("ETH", "0.25")
                self.venue.hold("BTC", "-0.01")
                desk = self.spoilt(writable=False)
                if stop:
                    self.spoil_state()
                    self.stopped(desk)
                else:
                    self.ticks(Watchman(desk), 6)
                self.assertEqual((Decimal("-0.01"), Decimal("0.25")), self.held("BTC", "ETH"))

    def test_what_it_has_not_taken_goes_though_others_have_sold_theirs(self) -> None:
        """What is sure is not theirs, whatever they held when it was opened."""
        self.venue.hold("ETH", "0.7")
        position = self.scene.opened()
        self.venue.script(lost_after(ETH="0.4", BTC="0.4"))
        self.venue.reads_down = {"reports"}
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
        self.venue.reads_down = set()
        self.venue.hold("ETH", "-0.7")
        self.scene.clock.advance(11)
        self.ticks(Watchman(self.spoilt(writable=False)), 6)
        self.assertTrue(self.venue.flat)

    def test_what_an_opening_has_not_filled_is_not_the_desks(self) -> None:
        for fault in (lost_after(ETH="0.4", BTC="0.4"), lost_before()):
            with self.subTest(fault):
                self.setUp()
                self.venue.script(fault)
                self.venue.reads_down = {"reports"}
                self.scene.execute()
                self.venue.reads_down = set()
                self.venue.hold("ETH", "0.25")
                self.scene.clock.advance(16)
                self.ticks(Watchman(self.spoilt(writable=False)), 6)
                self.assertEqual((0, Decimal("0.25")), self.held("BTC", "ETH"))

    def test_nor_is_what_others_held_before_it_on_either_side(self) -> None:
        for coin, theirs in (("ETH", "0.7"), ("BTC", "-0.3")):
            with self.subTest(coin):
                self.setUp()
                self.venue.hold(coin, theirs)
                self.venue.script(lost_before())
                self.venue.reads_down = {"reports"}
                self.scene.execute()
                self.scene.clock.advance(4)
                self.ticks(Watchman(self.spoilt(writable=False)), 4)
                self.assertEqual(Decimal(theirs), self.venue.held(coin))

    def test_of_what_a_close_in_doubt_may_have_left_theirs_is_left_to_them(self) -> None:
        """It had taken two fifths, which nobody could tell: what was held beyond theirs went, and none of theirs."""
        for coin, theirs in (("ETH", "0.7"), ("BTC", "-0.3")):
            with self.subTest(coin):
                self.setUp()
                self.venue.hold(coin, theirs)
                position = self.scene.opened()
                self.venue.script(lost_after(ETH="0.4", BTC="0.4"))
                self.venue.reads_down = {"reports"}
                closing.close(self.scene.desk, position.id, ExitReason.MANUAL, until=self.scene.clock.monotonic())
                self.ticks(Watchman(self.spoilt(writable=False)), 6)
                self.assertEqual({Decimal(theirs), 0}, set(self.held("ETH", "BTC")))

    def test_what_may_land_for_five_seconds_after_its_expiry_is_not_called_left(self) -> None:
        self.venue.script(lost_before())
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        self.spoil_state()
        (order, *_) = self.venue.orders
        for seconds, status in ((3, "closing"), (6, "all_positions_closed")):
            passed = (self.scene.clock.now() - order.expires_at).total_seconds()
            # Each press takes a second between its two looks.
            self.scene.clock.advance(seconds - passed - 1)
            self.assertEqual(status, self.stopped().status)

    def test_one_that_is_level_stays_under_its_barriers(self) -> None:
        self.scene.opened(size="6000", execution=Execution.TWAP, twap=TwapRequest(180, 5))
        watchman = Watchman(self.spoilt(writable=False))
        held = self.held("BTC", "ETH")
        self.ticks(watchman, 10)
        self.assertEqual(held, self.held("BTC", "ETH"))
        self.venue.move("ETH", "3910")
        self.ticks(watchman, 4)
        self.assertTrue(self.venue.flat)


class HeldTest(UnwindingTestCase):
    """Somebody holds what is needed to write, and hangs: closes and the stop waited for as long as that lasted."""

    def setUp(self) -> None:
        for name in ("APPEND_SECONDS", "BOOK_SECONDS"):
            self.enterContext(mock.patch.object(json_storage, name, 0.01))
        super().setUp()
        self.beside = self.scene.beside().store
        self.addCleanup(self.beside.close)
        self.position = self.scene.opened()

    def write_beside(self) -> None:
        """A whole line, and a part of one."""
        opening = self.scene.trade(self.position.trade_id)
        self.beside.save_watch(replace(first_watch(opening), high_water=Ratio(Decimal("0.001"))))
        path = self.beside.data_dir / "trades.json"
        path.write_bytes(path.read_bytes().removesuffix(b"\n]\n") + b',\n{"seq":')

    def holding(self) -> Iterator[str]:
        for name in ("ledger", "ledger, written to", "book"):
            with self.subTest(name):
                self.setUp()
                with (self.beside._book_lock if name == "book" else self.beside._ledger_lock).held():
                    if name == "ledger, written to":
                        self.write_beside()
                    yield name

    def test_a_stop_closes_all_the_same(self) -> None:
        for name in self.holding():
            report = self.stopped()
            self.assertEqual((0, 0), self.held("BTC", "ETH"), name)
            self.assertIs(TradingState.LIQUIDATING, report.trading_state)

    def test_so_does_one_of_the_whole_account(self) -> None:
        for _ in self.holding():
            self.venue.hold("SOL", "3")
            self.stopped(scope_account=True)
            self.assertTrue(self.venue.flat)

    def test_so_does_one_where_a_line_is_damaged_besides(self) -> None:
        with self.beside._ledger_lock.held():
            self.write_beside()
            path = self.beside.data_dir / "trades.json"
            path.write_bytes(path.read_bytes().replace(b'"pair"', b'"pear"', 1))
            self.stopped()
        self.assertTrue(self.venue.flat)

    def test_an_opening_whose_end_cannot_be_written_down_is_left(self) -> None:
        self.venue.script(lost_after())
        self.venue.reads_down = {"reports"}
        self.scene.execute("signal_2", pair="SOL/AVAX")
        self.venue.reads_down = set()
        before = self.held("BTC", "ETH")
        with self.beside._ledger_lock.held():
            self.ticks(Watchman(self.scene.desk), 20)
        self.assertEqual((0, 0, *before), self.held("SOL", "AVAX", "BTC", "ETH"))

    def test_a_barrier_is_obeyed(self) -> None:
        for name in self.holding():
            watchman = Watchman(self.scene.desk)
            self.venue.move("ETH", "3910")
            self.ticks(watchman, 8)
            self.assertEqual((0, 0), self.held("BTC", "ETH"), name)

    def test_a_close_that_was_under_way_goes_on(self) -> None:
        """Its seat passed for taken, and nobody thought anything of it."""
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH}
        self.scene.close(self.position)
        self.venue.refusing = {}
        with self.beside._ledger_lock.held():
            self.ticks(Watchman(self.scene.desk), 12)
            self.assertTrue(self.venue.flat)

    def test_a_moment_is_no_reason_to_do_without_the_ledger(self) -> None:
        with self.beside._ledger_lock.held():
            watchman = Watchman(self.scene.desk)
            self.venue.move("ETH", "3910")
            self.ticks(watchman, 2)
            self.assertFalse(self.venue.flat)
        self.ticks(watchman, 2)
        self.assertEqual(((), True), (self.scene.store.rescued(), self.venue.flat))

    def test_a_state_that_is_held_is_latched_when_it_is_let_go(self) -> None:
        """Meanwhile what stands is closed, and nobody says that the desk opens nothing."""

        def wait_for_the_test() -> None:
            if threading.current_thread().name.startswith("latching"):
                self.scene.hands.hang()

        self.scene.clock.on_sleep = wait_for_the_test
        with self.beside._desk_lock.held():
            report = self.stopped()
            self.assertTrue(self.venue.flat)
            self.assertEqual(("closing", TradingState.ACTIVE), (report.status, report.trading_state))
            self.assertEqual(["desk"], [one.pair for one in report.remaining])
        self.scene.hands.release()
        self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)


class AwayTest(UnwindingTestCase):
    """The folder was moved away, or its mount is lost, under a desk that is at work."""

    def setUp(self) -> None:
        super().setUp()
        self.position = self.scene.opened()
        self.folder = self.scene.store.data_dir
        self.away = self.folder.with_name("away")

    def test_a_barrier_is_obeyed_by_what_was_known_last(self) -> None:
        """Nothing was swept until it was back, and health said that what is left is closed by what the venue holds."""
        watchman = Watchman(self.scene.desk)
        self.ticks(watchman)
        self.folder.rename(self.away)
        self.ticks(watchman, 2)
        self.assertFalse(self.venue.flat)
        self.venue.move("ETH", "3910")
        self.ticks(watchman, 6)
        self.assertTrue(self.venue.flat)

    def test_nothing_is_made_in_its_place_and_what_was_sold_is_written_down_when_it_is_back(self) -> None:
        self.folder.rename(self.away)
        self.assertEqual("all_positions_closed", self.stopped().status)
        self.assertEqual((True, False), (self.venue.flat, self.folder.exists()))
        self.away.rename(self.folder)
        self.assertEqual({self.position.id}, self.scene.store.left())
        self.assertEqual({ETH, BTC}, {one.coin for one in self.scene.beside().store.rescued()})

    def test_a_stop_closes_what_is_the_desks_and_no_more(self) -> None:
        """Nothing could be named, for nothing could be read, and all of the account was sold."""
        self.venue.hold("SOL", "3")
        self.venue.hold("ETH", "0.7")
        self.scene.store.change_state(lambda state: replace(state, accepted_drift={SOL: Quantity(Decimal(3))}))
        self.folder.rename(self.away)
        report = self.stopped()
        self.assertEqual(("all_positions_closed", {SOL, ETH}), (report.status, {one.coin for one in report.foreign}))
        self.assertEqual((0, Decimal("0.7"), 3), self.held("BTC", "ETH", "SOL"))

    def test_a_stop_that_could_not_be_written_down_is_one_when_the_folder_is_back(self) -> None:
        """It was forgotten: the desk was ACTIVE again, sent the slices that were left, and opened what came next."""
        self.scene.execute("signal_2", "3000", pair="SOL/AVAX", twap=TwapRequest(60, 3))

        def wait_for_the_test() -> None:
            if threading.current_thread().name.startswith("latching"):
                self.scene.hands.hang()

        self.scene.clock.on_sleep = wait_for_the_test
        self.folder.rename(self.away)
        with redirect_stderr(io.StringIO()):
            for _ in range(2):
                report = emergency.stop(self.scene.desk)
                self.assertEqual("all_positions_closed", report.status)
        self.away.rename(self.folder)
        self.scene.hands.release()
        self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)
        sent = len(self.venue.orders)
        self.ticks(Watchman(self.scene.desk), 40)
        self.assertTrue(self.venue.flat)
        self.assertTrue(all(one.reduce_only for one in self.venue.orders[sent:]))
        self.assertRaises(TradingHalted, self.scene.execute, "signal_3", pair="SOL/AVAX")

    def test_it_is_said_where_that_takes_too_long(self) -> None:
        self.folder.rename(self.away)
        with redirect_stderr(io.StringIO()), mock.patch.object(emergency, "LATCH_SECONDS", 60.0):
            emergency.stop(self.scene.desk)
            self.scene.hands.release()
        self.assertTrue(any("press it again" in one for one in self.scene.log.messages("error")))
        self.away.rename(self.folder)
        with redirect_stderr(io.StringIO()):
            emergency.stop(self.scene.desk)
        self.assertIs(TradingState.LIQUIDATING, self.scene.store.state().state)

    def test_so_it_does_where_no_file_can_be_opened(self) -> None:
        """The handles are used up, or the files are another user's by now."""
        self.venue.hold("SOL", "3")
        self.venue.hold("ETH", "0.7")
        for error in (errno.EMFILE, errno.EACCES):
            with mock.patch.object(SystemDisk, "open", side_effect=OSError(error, os.strerror(error))):
                self.assertEqual("all_positions_closed", self.stopped().status)
            self.assertEqual((0, Decimal("0.7"), 3), self.held("BTC", "ETH", "SOL"))

    def test_the_health_says_so_and_no_more(self) -> None:
        self.folder.rename(self.away)
        found = health.health(self.scene.desk, "1.0")
        self.assertEqual(("unhealthy", TradingState.HALTED), (found.status, found.trading_state))
        self.assertEqual(health.UNWRITABLE, found.problems[0])
        self.assertNotIn(health.DISK_FULL, found.problems)


class WellAgainTest(UnwindingTestCase):
    """What was sold without a ledger is in the venue's fills, and in the book once that can be written again."""

    def setUp(self) -> None:
        self.scene = a_scene(self, kind=RestingVenue, max_positions=5, max_allocation=Decimal(1))
        assert isinstance(self.scene.venue, RestingVenue)
        self.resting = self.scene.venue
        self.watchman = Watchman(self.scene.desk)

    def sold_unwritten(self, refusing: Collection[Coin] = (), signal_id: str = "signal_1") -> Position:
        """A position that a barrier has left while the folder could not be written, but for what was *refusing*."""
        position = self.scene.opened(signal_id, max_holding_seconds=60)
        self.resting.refusing = dict.fromkeys(refusing, RejectReason.NO_MATCH)
        spoilt = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
        self.watchman.desk = with_store(self.scene, writable=False, **spoilt)
        self.scene.clock.advance(60)
        self.ticks(self.watchman, 4)
        self.assertEqual(0, sum(one.coin in (ETH, BTC) for one in self.resting.account().holdings.values()) % 2)
        self.watchman.desk = self.scene.desk
        return position

    def assert_booked(self, position: Position, watchman: Watchman) -> None:
        """By its own fills, and nothing of what others hold was sold."""
        held = self.resting_holdings()
        self.ticks(watchman, 8)
        closed = self.scene.position(position.id)
        self.assertEqual((PositionStatus.CLOSED, 0, 0), (closed.status, closed.long.held, closed.short.held))
        self.assertEqual(held, self.resting_holdings())
        lost = self.scene.trade(position.trade_id).lost
        self.assertEqual({"it was sold without a ledger"}, {one.why for one in lost})
        sold = [one for one in self.resting.fills if one[0].reduce_only]
        self.assertEqual(sorted(price for _, _, price in sold), sorted(one.price for one in lost))

    def resting_holdings(self) -> Mapping[Coin, Quantity]:
        return {coin: one.quantity for coin, one in self.resting.account().holdings.items()}

    def buy(self, *held: tuple[str, str]) -> None:
        for coin, quantity in held:
            self.resting.hold(coin, quantity)

    def test_the_next_of_the_same_size_is_left_like_it(self) -> None:
        self.assert_booked(self.sold_unwritten(), self.watchman)
        self.scene.clock.advance(self.scene.desk.config.cooldown_seconds)
        self.ticks(self.watchman, 2)
        # Between two looks it may have passed for drift.
        emergency.resume(self.scene.desk)
        self.sold_unwritten(signal_id="signal_2")
        self.assertTrue(self.resting.flat)

    def test_with_as_much_bought_by_hand_since(self) -> None:
        """The barrier was still passed, and what somebody had bought was sold in its place."""
        position = self.sold_unwritten()
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        self.assert_booked(position, self.watchman)

    def test_with_some_of_it_bought(self) -> None:
        position = self.sold_unwritten()
        self.buy(("ETH", "0.1"))
        self.assert_booked(position, self.watchman)

    def test_beside_what_somebody_held_all_the_time(self) -> None:
        self.buy(("ETH", "0.7"), ("BTC", "-0.3"))
        self.assert_booked(self.sold_unwritten(), self.watchman)

    def test_by_a_process_that_was_started_since(self) -> None:
        position = self.sold_unwritten()
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        self.scene = self.scene.reopened()
        self.assert_booked(position, Watchman(self.scene.desk))

    def test_by_whoever_closes_it_by_hand(self) -> None:
        position = self.sold_unwritten()
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        closing.close(self.scene.desk, position.id, ExitReason.MANUAL)
        self.assert_booked(position, self.watchman)

    def test_what_went_while_somebody_held_the_ledger_and_hung(self) -> None:
        for name in ("APPEND_SECONDS", "BOOK_SECONDS"):
            self.enterContext(mock.patch.object(json_storage, name, 0.01))
        self.setUp()
        self.buy(("ETH", "0.7"), ("BTC", "-0.3"))
        position, beside = self.scene.opened(max_holding_seconds=60), self.scene.beside().store
        self.addCleanup(beside.close)
        with beside._ledger_lock.held():
            self.scene.clock.advance(60)
            self.ticks(self.watchman, 8)
        self.assertEqual({ETH: Decimal("0.7"), BTC: Decimal("-0.3")}, self.resting_holdings())
        self.assert_booked(position, self.watchman)

    def test_a_close_that_was_under_way_asks_first_too(self) -> None:
        position = self.scene.opened()
        self.resting.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        self.scene.close(position)
        self.resting.refusing = {}
        self.watchman.desk = with_store(self.scene, writable=False, save=corrupt, save_watch=corrupt)
        self.scene.clock.advance(6)
        self.ticks(self.watchman, 2)
        self.assertTrue(self.resting.flat)
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        self.watchman.desk = self.scene.desk
        self.assert_booked(position, self.watchman)

    def test_nothing_is_sent_while_the_fills_cannot_be_read(self) -> None:
        position = self.sold_unwritten()
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        self.resting.reads_down = {"fills"}
        sent = len(self.resting.sent)
        self.ticks(self.watchman, 8)
        self.assertEqual(sent, len(self.resting.sent))
        self.resting.reads_down = set()
        self.assert_booked(position, self.watchman)

    def test_an_opening_that_was_left_is_not_gone_on_with(self) -> None:
        """As long as the fills could not be read, its next slices went, though its stop had been obeyed."""
        for reopened in (False, True):
            with self.subTest(reopened=reopened):
                self.setUp()
                position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(600, 4), max_holding_seconds=60)
                spoilt = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
                self.watchman.desk = with_store(self.scene, writable=False, **spoilt)
                self.scene.clock.advance(60)
                self.ticks(self.watchman, 4)
                self.assertTrue(self.resting.flat)
                scene = self.scene.reopened() if reopened else self.scene
                self.resting.reads_down, sent = {"fills"}, len(self.resting.sent)
                self.scene.clock.advance(100)
                working.work_if_free(scene.desk, position.trade_id)
                self.assertEqual(sent, len(self.resting.sent))
                self.assertFalse(scene.trade(position.trade_id).live)

    def test_nor_is_one_of_which_a_part_was_sold(self) -> None:
        """It is let alone only once all of it is gone."""
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(600, 4), max_holding_seconds=60)
        self.resting.refusing = {"BTC": RejectReason.NO_MATCH}
        spoilt = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
        self.watchman.desk = with_store(self.scene, writable=False, **spoilt)
        self.scene.clock.advance(60)
        self.ticks(self.watchman, 4)
        self.assertEqual((0, frozenset()), (self.resting.held("ETH"), self.scene.store.left()))
        self.resting.refusing, self.resting.reads_down = {}, {"fills"}
        self.scene.clock.advance(100)
        working.work_if_free(self.scene.desk, position.trade_id)
        self.assertEqual((0, False), (self.resting.held("ETH"), self.scene.trade(position.trade_id).live))

    def test_nor_is_one_that_had_nothing_to_sell(self) -> None:
        """Its first slice had found nobody when everything was stopped."""
        self.resting.shares = {"ETH": Decimal(0), "BTC": Decimal(0)}
        self.scene.execute(execution=Execution.TWAP, twap=TwapRequest(600, 4))
        (trade,) = self.scene.trades()
        self.assertEqual(((), True), (self.scene.store.rescued(), trade.live))
        self.stopped(with_store(self.scene, writable=False, save=corrupt, change_state=corrupt))
        self.resting.shares = {}
        self.scene.clock.advance(200)
        working.work_if_free(self.scene.desk, trade.id)
        self.assertEqual((True, False), (self.resting.flat, self.scene.trade(trade.id).live))

    def test_an_opening_of_other_coins_is_gone_on_with(self) -> None:
        other = self.scene.execute(
            "signal_2", "3000", pair="SOL/AVAX", execution=Execution.TWAP, twap=TwapRequest(99, 3)
        )
        self.sold_unwritten()
        # That something is missing holds openings back while it is not known what took it.
        self.ticks(self.watchman, 8)
        emergency.resume(self.scene.desk)
        self.ticks(self.watchman, 120)
        self.assertIs(TradeStatus.FILLED, self.scene.trade(other.position.trade_id).status)

    def test_fills_that_stay_unreadable_sell_nothing_where_others_are_known_to_hold_as_much(self) -> None:
        """The account has just what the book says, and it is theirs."""
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        position = self.sold_unwritten()
        self.resting.reads_down = {"fills"}
        sent = len(self.resting.sent)
        self.ticks(self.watchman, 90)
        self.assertEqual(sent, len(self.resting.sent))
        self.resting.reads_down = set()
        self.assert_booked(position, self.watchman)

    def test_fills_that_stay_unreadable_hold_what_stands_as_it_was_for_a_minute(self) -> None:
        """What was sent without a ledger had taken nothing, and the close waited for ever to be told so."""
        position = self.sold_unwritten((ETH, BTC))
        self.resting.refusing, self.resting.reads_down = {}, {"fills"}
        self.ticks(self.watchman, 50)
        self.assertEqual(Decimal("0.25"), self.resting.held("ETH"))
        self.ticks(self.watchman, 15)
        self.assertTrue(self.resting.flat)
        self.assertIs(PositionStatus.CLOSED, self.scene.position(position.id).status)

    def test_fills_that_stay_unreadable_sell_nothing_where_it_stands_otherwise(self) -> None:
        position = self.sold_unwritten()
        self.buy(("ETH", "0.2"), ("BTC", "-0.01"))
        self.resting.reads_down = {"fills"}
        sent = len(self.resting.sent)
        self.ticks(self.watchman, 90)
        self.assertEqual(sent, len(self.resting.sent))
        self.resting.reads_down = set()
        self.assert_booked(position, self.watchman)

    def test_a_close_whose_look_is_from_before_it_was_booked_looks_again(self) -> None:
        """Between the look and the order the monitor had booked it, and the order went all the same."""
        position = self.sold_unwritten()
        self.buy(("ETH", "0.25"), ("BTC", "-0.01"))
        other, asked = self.scene.beside(), 0

        def rescued() -> tuple[Order, ...]:
            nonlocal asked
            asked += 1
            if asked == 1:
                self.assertEqual((position.id,), working.book_losses(other.desk))
            return self.scene.store.rescued()

        closing.close(with_store(self.scene, rescued=rescued), position.id, ExitReason.MANUAL)
        self.assertGreater(asked, 0)
        self.assert_booked(position, self.watchman)

    def guarded_beside_others(self) -> None:
        self.buy(("ETH", "0.7"))
        self.scene.opened(max_holding_seconds=60)
        self.ticks(self.watchman, 3)
        self.assertEqual(2, len(self.resting.guards("ETH")))

    def assert_theirs_alone(self) -> None:
        self.assertEqual((Decimal("0.7"), []), (self.resting.held("ETH"), self.resting.guards("ETH")))

    def test_a_stop_takes_back_what_rests_beside_others(self) -> None:
        """It ends with the holding where nobody else has a part of it; else it stayed, to sell theirs."""
        self.guarded_beside_others()
        self.spoil_state()
        self.stopped()
        self.assert_theirs_alone()

    def test_so_it_does_beside_what_was_bought_since(self) -> None:
        """Nobody has written down that there are others; the account shows it."""
        self.scene.opened(max_holding_seconds=60)
        self.ticks(self.watchman, 3)
        self.buy(("ETH", "0.7"))
        self.spoil_state()
        self.stopped()
        self.assert_theirs_alone()

    def test_what_rests_on_a_coin_of_nobody_else_ends_with_it(self) -> None:
        """To take it back first would cost a call, and leave the position bare where nobody takes the order."""
        self.scene.opened(max_holding_seconds=60)
        self.ticks(self.watchman, 3)
        self.spoil_state()
        self.stopped()
        self.assertEqual(([], {}), (self.resting.cancels, self.resting.rests))

    def test_what_was_booked_of_it_is_not_taken_for_sold_again(self) -> None:
        """Of what was left after it, as much stood for ever as had been sold before."""
        position = self.scene.opened(max_holding_seconds=60)
        spoilt = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
        with redirect_stderr(io.StringIO()):
            self.resting.script(partly(ETH="0.4", BTC="0.4"))
            self.resting.on_submit = lambda _: setattr(self.resting, "delay_seconds", {"account": 9})
            desk = with_store(self.scene, writable=False, **spoilt)
            unwinding.leave_without_ledger(desk, position.id, ExitReason.MANUAL, 1, Unwritten())
            self.resting.on_submit, self.resting.delay_seconds = None, {}
            self.assertEqual(Decimal("0.15"), self.resting.held("ETH"))
            working.book_losses(self.scene.desk)
            self.assertEqual(Decimal("0.15"), self.scene.position(position.id).long.held)
            desk = with_store(self.scene.reopened(), writable=False, **spoilt)
            unwinding.leave_without_ledger(desk, position.id, ExitReason.MANUAL, 8, Unwritten())
        self.assertTrue(self.resting.flat)

    def test_so_does_a_barrier_again_where_that_was_not_answered(self) -> None:
        self.guarded_beside_others()
        spoilt = dict.fromkeys(("exclusive", "save", "save_watch", "beat", "change_state"), corrupt)
        self.watchman.desk = with_store(self.scene, writable=False, **spoilt)
        self.scene.clock.advance(60)
        self.resting.refusing, self.resting.cancel_fails = {"ETH": RejectReason.NO_MATCH}, True
        self.ticks(self.watchman, 2)
        self.resting.refusing, self.resting.cancel_fails = {}, False
        self.ticks(self.watchman, 9)
        self.assert_theirs_alone()

    def test_what_was_opened_since_has_lost_nothing(self) -> None:
        position = self.sold_unwritten()
        self.scene.clock.advance(300)
        other = self.scene.opened("signal_2", pair="SOL/ETH")
        self.ticks(self.watchman, 8)
        self.assertEqual(PositionStatus.CLOSED, self.scene.position(position.id).status)
        self.assertEqual((), self.scene.trade(other.trade_id).lost)
        self.assertEqual(other.leg_of(ETH).held * other.leg_of(ETH).side.sign, self.resting.held("ETH"))


def void(_: object) -> None:
    """For a lambda whose value nobody wants."""
