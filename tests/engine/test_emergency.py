import io
import unittest
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from unittest import mock

from tests.engine.bent_venue import BentVenue, a_bent_scene, corrupt, with_store
from tests.engine.scripted_venue import (
    BINDING,
    Scene,
    accepted,
    fine,
    late,
    lost_after,
    lost_before,
    partly,
    refused,
    unknown_for,
)
from trading.domain.desk_state import Cause, DeskState, TradingState
from trading.domain.errors import (
    Busy,
    GuardianUnavailable,
    ResumeRefused,
    ScoutUnavailable,
    StopInProgress,
    TradingHalted,
    VenueUnavailable,
)
from trading.domain.exit_plan import ExitReason
from trading.domain.market import Account
from trading.domain.orders import Order, RejectReason
from trading.domain.positions import PositionStatus
from trading.domain.units import Coin, Quantity, Usd
from trading.engine import closing, emergency, exits, working
from trading.engine.desk import Desk
from trading.engine.emergency import StopReport
from trading.engine.exits import Memory
from trading.engine.requests import Execution, TwapRequest
from trading.engine.states import reduce
from trading.utils.json_storage import JsonStore

ETH, BTC, SOL = Coin("ETH"), Coin("BTC"), Coin("SOL")


class StopTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.scene, self.venue = a_bent_scene(self)

    @property
    def state(self) -> TradingState:
        return self.scene.store.state().state

    def tick(self, seconds: float = 1.0, scene: Scene | None = None) -> None:
        """What the monitor does of a stop: live trades, then the push, one after the other."""
        scene = scene or self.scene
        scene.tick(seconds)
        until = scene.clock.monotonic()
        emergency.push(scene.desk, lambda one, reason: void(closing.close(scene.desk, one, reason, until=until)))

    def until_halted(self, scene: Scene | None = None, ticks: int = 60) -> None:
        for _ in range(ticks):
            self.tick(scene=scene)
            if (scene or self.scene).store.state().state is TradingState.HALTED:
                return
        self.fail(f"not halted after {ticks} s: {self.scene.store.state().why}")


class PressTest(StopTestCase):
    def test_it_is_durable_before_anything_is_sent(self) -> None:
        self.scene.opened()
        seen: list[TradingState] = []
        self.venue.on_submit = lambda orders: seen.append(self.scene.beside().store.state().state)
        emergency.stop(self.scene.desk)
        self.assertEqual([TradingState.LIQUIDATING], seen)

    def test_everything_is_closed_and_named(self) -> None:
        first, second = self.scene.opened(), self.scene.opened("signal_2", pair="SOL/AVAX")
        report = emergency.stop(self.scene.desk)
        self.assertEqual({first.id, second.id}, set(report.closed))
        self.assertEqual(("all_positions_closed", ()), (report.status, report.remaining))
        self.assertIs(TradingState.LIQUIDATING, report.trading_state)
        self.assertTrue(self.venue.flat)
        for one in (first, second):
            self.assertIs(ExitReason.EMERGENCY_STOP, self.scene.position(one.id).exit_reason)

    def test_twice_is_once(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        state, sent = self.scene.store.state(), len(self.venue.sent)
        self.scene.clock.advance(1)
        again = emergency.stop(self.scene.desk)
        self.assertEqual((state, sent), (self.scene.store.state(), len(self.venue.sent)))
        self.assertEqual(((), ()), (again.closed, again.remaining))
        self.assertEqual(1, sum("emergency stop: closing" in one for one in self.scene.log.messages("error")))

    def test_a_second_press_does_not_put_off_the_halt(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        self.scene.clock.advance(20)
        for _ in range(emergency.FLAT_READS):
            emergency.stop(self.scene.desk)
            self.tick()
        self.assertIs(TradingState.HALTED, self.state)

    def test_it_needs_neither_redis_nor_scout_nor_guardian(self) -> None:
        self.scene.opened()
        self.scene.cache.connected = False
        self.scene.signals.failure = ScoutUnavailable("down")
        self.scene.approver.failure = GuardianUnavailable("down")
        self.assertEqual("all_positions_closed", emergency.stop(self.scene.desk).status)
        self.until_halted()

    def test_an_opening_in_slices_stops_and_is_closed(self) -> None:
        position = self.scene.opened(size="6000", execution=Execution.TWAP, twap=TwapRequest(180, 5))
        report = emergency.stop(self.scene.desk)
        self.assertEqual((position.id,), report.closed)
        self.scene.ticks(6, 36)
        self.assertTrue(self.venue.flat)
        self.assertTrue(all(order.reduce_only for order in self.venue.orders[2:]))

    def test_nothing_opens_after_it(self) -> None:
        emergency.stop(self.scene.desk)
        with self.assertRaises(TradingHalted):
            self.scene.execute()
        self.until_halted()
        with self.assertRaises(TradingHalted):
            self.scene.execute()

    def test_it_works_from_every_state(self) -> None:
        for before in TradingState:
            with self.subTest(before):
                self.scene, self.venue = a_bent_scene(self)
                self.scene.opened()
                self.scene.enter_state(before)
                self.assertEqual("all_positions_closed", emergency.stop(self.scene.desk).status)
                self.until_halted()

    def rescued(self) -> list[str]:
        lines = (self.scene.store.data_dir / "rescue.json").read_text(encoding="utf-8").splitlines()
        return [word for line in lines for word in ("intended", "reported") if f'"rescue":"{word}"' in line]

    def test_a_state_that_cannot_be_written_does_not_keep_the_venue_from_being_closed(self) -> None:
        self.scene.opened()
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        with redirect_stderr(io.StringIO()) as said:
            report = emergency.stop(self.scene.desk)
        self.assertEqual(("all_positions_closed", TradingState.HALTED), (report.status, report.trading_state))
        self.assertTrue(self.venue.flat)
        closing_orders = [one for group in self.venue.sent[1:] for one in group]
        self.assertEqual([True, True], [one.reduce_only for one in closing_orders])
        self.assertEqual(["intended", "reported"], self.rescued())
        self.assertIn("rescue", said.getvalue())

    def test_a_ledger_that_cannot_be_read_is_done_without_and_the_state_is_latched(self) -> None:
        self.scene.opened()
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(with_store(self.scene, book=corrupt))
        self.assertEqual("all_positions_closed", report.status)
        self.assertTrue(self.venue.flat)
        self.assertIs(TradingState.LIQUIDATING, self.state)

    def test_without_a_ledger_what_was_never_the_desk_s_stays_unless_all_of_it_is_meant(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "3")
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(self.scene.desk)
            self.assertEqual([("SOL", Decimal(3))], [(one.coin, one.quantity) for one in report.foreign])
            emergency.stop(self.scene.desk, scope_account=True)
        self.assertTrue(self.venue.flat)

    def test_a_ledger_that_is_damaged_under_the_desk_still_says_what_was_the_desks(self) -> None:
        """The process that had read it knew of no coin any more, and sold the whole account."""
        gone = self.scene.close(self.scene.opened("signal_0"))
        self.scene.opened()
        self.venue.hold("SOL", "3")
        path = self.scene.store.data_dir / "trades.json"
        fresh = path.with_suffix(".new")
        fresh.write_bytes(path.read_bytes().replace(gone.trade_id.encode(), b"x" * len(gone.trade_id), 1))
        fresh.replace(path)
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(self.scene.desk)
        self.assertEqual("all_positions_closed", report.status)
        self.assertEqual((0, 0, 3), tuple(self.venue.held(coin) for coin in ("BTC", "ETH", "SOL")))

    def test_without_a_ledger_what_is_known_to_be_somebody_elses_stays(self) -> None:
        """All of a coin was sold that the desk had ever traded, whoever had been told that some of it was theirs."""
        gone = self.scene.close(self.scene.opened("signal_0", pair="SOL/AVAX"))
        for coin, quantity in (("ETH", "15"), ("SOL", "3")):
            self.venue.hold(coin, quantity)
        emergency.resume(self.scene.desk, [ETH, SOL])
        self.scene.opened()
        desk = self.damaged(str(gone.trade_id), 1)
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(desk)
        self.assertEqual("all_positions_closed", report.status)
        self.assertEqual({ETH: 15, SOL: 3}, {one.coin: one.quantity for one in report.foreign})
        self.assertEqual((0, 15, 3), tuple(self.venue.held(coin) for coin in ("BTC", "ETH", "SOL")))
        with redirect_stderr(io.StringIO()):
            emergency.stop(desk, scope_account=True)
        self.assertTrue(self.venue.flat)

    def test_without_a_ledger_what_is_missing_of_a_leg_spares_nothing(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "-0.05")
        emergency.resume(self.scene.desk, [ETH])
        desk = self.damaged("trd_", 99)
        with redirect_stderr(io.StringIO()):
            emergency.stop(desk)
        self.assertTrue(self.venue.flat)

    def test_what_lacks_lines_in_the_ledger_is_closed_too(self) -> None:
        """It passed for somebody else's, and the stop said that all positions were closed."""
        for name, most in (("the first", 1), ("all", 99)):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.scene.opened()
                other = self.scene.opened("signal_2", pair="SOL/AVAX")
                desk = self.damaged(other.trade_id, most)
                self.assertEqual(["BTC/ETH"], [str(one.terms.pair) for one in desk.store.book().trades()])
                with redirect_stderr(io.StringIO()):
                    report = emergency.stop(desk)
                self.assertEqual(("all_positions_closed", ()), (report.status, report.foreign))
                self.assertTrue(self.venue.flat)

    def test_what_the_book_says_was_closed_is_somebody_elses_though_its_lines_are_lost(self) -> None:
        ended = self.scene.close(self.scene.opened(pair="SOL/AVAX"))
        self.scene.opened("signal_2")
        self.venue.hold("SOL", "3")
        desk = self.damaged(ended.id, 99)
        self.assertEqual(["BTC/ETH"], [str(one.terms.pair) for one in desk.store.book().trades()])
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(desk)
        self.assertEqual(("all_positions_closed", [SOL]), (report.status, [one.coin for one in report.foreign]))
        self.assertEqual((0, 3), (self.venue.held("BTC"), self.venue.held("SOL")))

    def test_what_a_trade_holds_that_does_not_fold_is_taken_over_and_closed(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "-5")
        self.venue.hold("AVAX", "40")
        coins = frozenset({SOL, Coin("AVAX")})
        self.scene.desk = with_store(self.scene, broken={"trd_x": "line 7"}, broken_coins=coins)
        report = emergency.stop(self.scene.desk)
        self.assertEqual(("all_positions_closed", 3, ()), (report.status, len(report.closed), report.foreign))
        self.assertTrue(self.venue.flat)

    def test_until_the_account_was_looked_at_for_that_something_remains(self) -> None:
        self.venue.hold("SOL", "-5")
        self.venue.reads_down = {"account"}
        for broken, status in ((frozenset({SOL}), "closing"), (frozenset[Coin](), "all_positions_closed")):
            with self.subTest(status):
                desk = with_store(self.scene, broken={}, broken_coins=broken)
                self.assertEqual(status, emergency.stop(desk).status)

    def test_what_was_accepted_of_it_is_somebody_elses(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "-5")
        emergency.resume(self.scene.desk, [SOL])
        self.scene.desk = with_store(self.scene, broken={"trd_x": "line 7"}, broken_coins=frozenset({SOL}))
        report = emergency.stop(self.scene.desk)
        self.assertEqual([SOL], [one.coin for one in report.foreign])
        self.assertEqual(Decimal(-5), self.venue.held("SOL"))

    def test_of_a_trade_that_does_not_fold_what_turns_up_later_is_no_flat_account(self) -> None:
        store = self.scene.store
        self.scene.desk = with_store(self.scene, broken={"trd_x": "line 7"}, broken_coins=frozenset({SOL}))
        emergency.stop(self.scene.desk)
        self.venue.hold("SOL", "-5")
        self.tick()
        self.assertIs(TradingState.LIQUIDATING, store.state().state)
        for _ in range(60):
            self.tick()
        self.assertEqual((True, TradingState.HALTED), (self.venue.flat, store.state().state))

    def damaged(self, word: str, most: int) -> Desk:
        """The desk that starts on a ledger in which the first lines that hold *word* do not check any more."""
        self.scene.store.close()
        path = self.scene.store.data_dir / "trades.json"
        lines = path.read_bytes().split(b"\n")
        for place in [number for number, line in enumerate(lines) if word.encode() in line][:most]:
            lines[place] = lines[place].replace(b'"pair"', b'"pear"')
        path.write_bytes(b"\n".join(lines))
        store = JsonStore.open_or_halted(self.scene.store.data_dir, BINDING)
        self.assertTrue(store.trouble)
        return replace(self.scene.desk, store=store)

    def test_without_a_ledger_an_account_that_reads_empty_once_is_not_believed(self) -> None:
        self.scene.opened()
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        asked: list[Account] = []

        def empty_at_first(account: Account) -> Account:
            asked.append(account)
            return replace(account, holdings={}) if len(asked) == 1 else account

        self.venue.bend_account = empty_at_first
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(self.scene.desk)
        self.assertEqual(("all_positions_closed", True), (report.status, self.venue.flat))

    def test_without_a_ledger_it_tries_again_and_says_what_is_left(self) -> None:
        self.scene.opened()
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        self.venue.script(*[refused(ETH=RejectReason.NO_MATCH, BTC=RejectReason.NO_MATCH)] * 40)
        with redirect_stderr(io.StringIO()):
            report = emergency.stop(self.scene.desk, goes_on=False)
        self.assertEqual("closing", report.status)
        self.assertEqual({"BTC", "ETH"}, {one.pair for one in report.remaining})
        bands = {one.slice_number for group in self.venue.sent for one in group if one.reduce_only}
        self.assertGreater(len(bands), 3)

    def test_without_a_ledger_it_goes_on_after_the_answer_until_nothing_is_left(self) -> None:
        """It said that it was closing, and nobody did: no state made the monitor go on with it."""
        for trouble in ("refused", "silent"):
            with self.subTest(trouble):
                self.scene, self.venue = a_bent_scene(self)
                self.scene.opened()
                (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
                began, account = self.scene.clock.now(), self.venue.account

                def silent_at_first(began: datetime = began, account: Callable[[], Account] = account) -> Account:
                    if self.scene.clock.now() - began < timedelta(seconds=30):
                        raise VenueUnavailable("the account cannot be read")
                    return account()

                if trouble == "refused":
                    self.venue.script(*[refused(ETH=RejectReason.NO_MATCH, BTC=RejectReason.NO_MATCH)] * 25)
                else:
                    self.enterContext(mock.patch.object(self.venue, "account", silent_at_first))
                with redirect_stderr(io.StringIO()):
                    # What goes on may be through with it before anybody looks: its clock runs as it likes.
                    with suppress(VenueUnavailable):
                        self.assertEqual("closing", emergency.stop(self.scene.desk).status)
                    self.scene.hands.release()
                self.assertTrue(self.venue.flat)

    def test_without_a_ledger_and_without_a_venue_it_says_so(self) -> None:
        self.scene.opened()
        (self.scene.store.data_dir / "desk.json").write_bytes(b"damaged")
        self.venue.reads_down = {"account"}
        with redirect_stderr(io.StringIO()), self.assertRaises(VenueUnavailable):
            emergency.stop(self.scene.desk, goes_on=False)


class FaultTest(StopTestCase):
    def test_what_remains_is_said_with_its_why(self) -> None:
        self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        report = emergency.stop(self.scene.desk)
        self.assertEqual("closing", report.status)
        (left,) = report.remaining
        self.assertEqual(("BTC/ETH", "closing", "NO_MATCH by script"), (left.pair, left.status, left.why))
        self.venue.refusing = {}
        self.until_halted()
        self.assertTrue(self.venue.flat)

    def test_a_venue_that_cannot_be_read_is_not_flat(self) -> None:
        self.scene.opened()
        self.venue.reads_down = {"quotes", "account", "instruments"}
        report = emergency.stop(self.scene.desk)
        self.assertEqual("closing", report.status)
        self.assertEqual("its closing orders have not gone out yet", report.remaining[0].why)
        for _ in range(30):
            self.tick()
        self.assertIs(TradingState.LIQUIDATING, self.state)
        self.venue.reads_down = set()
        self.until_halted()

    def test_an_account_that_cannot_be_read_afterwards_is_not_flat(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        self.venue.reads_down = {"account"}
        for _ in range(20):
            self.tick()
        self.assertIs(TradingState.LIQUIDATING, self.state)

    def test_one_close_that_hangs_delays_no_other(self) -> None:
        hanging, other = self.scene.opened(), self.scene.opened("signal_2", pair="SOL/AVAX")

        def hang(orders: Sequence[Order]) -> None:
            if orders[0].coin in (ETH, BTC):
                self.scene.hands.hang()

        self.venue.on_submit = hang
        report = self.stopped_in_time()
        self.assertEqual((other.id,), report.closed)
        self.assertEqual([hanging.id], [one.position_id for one in report.remaining])
        self.assertEqual("an order is in doubt; the venue is being asked", report.remaining[0].why)
        self.scene.hands.release()
        self.until_halted()
        self.assertTrue(self.venue.flat)

    def test_a_hanging_look_at_the_account_delays_no_answer(self) -> None:
        self.venue.on_read = lambda name: self.scene.hands.hang() if name == "account" else None
        self.assertEqual("all_positions_closed", self.stopped_in_time().status)

    def stopped_in_time(self) -> StopReport:
        """What a stop answers, within the time that its caller has, whatever hangs."""
        began = self.scene.clock.monotonic()
        report = emergency.stop(self.scene.desk)
        self.assertLessEqual(self.scene.clock.monotonic() - began, 9.5)
        return report

    def test_a_closing_trade_that_cannot_be_accepted_is_said(self) -> None:
        self.scene.opened()
        report = emergency.stop(with_store(self.scene, exclusive=mock.Mock(side_effect=Busy("somebody else's turn"))))
        self.assertEqual("its closing trade could not be accepted yet", report.remaining[0].why)
        self.assertTrue(any(one.startswith("closing pos_") for one in self.scene.log.messages("error")))

    def test_an_opening_in_doubt_ends_flat_whatever_became_of_it(self) -> None:
        for name, fault in (
            ("lost before", lost_before()),
            ("lost after", lost_after()),
            ("unknown for a while", unknown_for(12)),
            ("accepted and late", accepted(4)),
            ("late", late(6, 9)),
            ("half filled", lost_after(ETH="0.5")),
        ):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.venue.script(fault)
                self.scene.execute()
                emergency.stop(self.scene.desk)
                self.until_halted()
                self.assertTrue(self.venue.flat)
                self.assertEqual((), self.scene.store.book().standing_positions())

    def test_a_close_in_doubt_ends_flat_whatever_became_of_it(self) -> None:
        for name, fault in (
            ("lost before", lost_before()),
            ("lost after", lost_after()),
            ("half filled and lost", lost_after(ETH="0.5", BTC="0.5")),
            ("late", late(3, 8)),
            ("one leg only", partly(ETH="0")),
        ):
            with self.subTest(name):
                self.scene, self.venue = a_bent_scene(self)
                self.scene.opened()
                self.venue.script(fault)
                emergency.stop(self.scene.desk)
                self.until_halted()
                self.assertTrue(self.venue.flat)

    def test_a_restart_in_the_middle_goes_on(self) -> None:
        self.scene.opened()
        self.venue.script(lost_after(ETH="0.5"), fine())
        emergency.stop(self.scene.desk)
        after = self.scene.reopened()
        self.assertIs(TradingState.LIQUIDATING, after.store.state().state)
        self.until_halted(after)
        self.assertTrue(self.venue.flat)

    def test_a_suspended_opening_is_closed_too(self) -> None:
        position = self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))
        with self.scene.store.seat(position.trade_id):
            working.suspend(self.scene.desk, self.scene.trade(position.trade_id), "for the test")
        emergency.stop(self.scene.desk)
        self.until_halted()
        self.assertTrue(self.venue.flat)


class FlatTest(StopTestCase):
    def test_flat_waits_for_the_last_entry_to_be_past_arriving(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        expiry = self.scene.trades()[0].orders[-1].expires_at + working.SETTLED_AFTER_EXPIRY
        while self.scene.clock.now() < expiry:
            self.assertIs(TradingState.LIQUIDATING, self.state)
            self.assertEqual(0, self.scene.store.state().flat_reads)
            self.tick()
        self.tick()
        self.assertIs(TradingState.HALTED, self.state)

    def test_flat_does_not_wait_for_a_clock_that_was_set_back(self) -> None:
        """An entry of two hours later, as it seemed: the stop stayed one for that long, and no resume was taken."""
        self.scene.opened()
        self.scene.clock.instant -= timedelta(hours=2)
        emergency.stop(self.scene.desk)
        for _ in range(4):
            self.tick()
        self.assertIs(TradingState.HALTED, self.state)

    def test_flat_is_read_twice(self) -> None:
        emergency.stop(self.scene.desk)
        self.tick()
        self.assertEqual((TradingState.LIQUIDATING, 1), (self.state, self.scene.store.state().flat_reads))
        self.tick()
        self.assertIs(TradingState.HALTED, self.state)
        self.assertEqual(1, sum("HALTED until a resume" in one for one in self.scene.log.messages("success")))

    def test_something_left_at_the_venue_is_not_flat_and_said_once(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        self.scene.clock.advance(20)
        self.tick()
        self.venue.hold("ETH", "0.5")
        for _ in range(5):
            self.tick()
        self.assertEqual((TradingState.LIQUIDATING, 0), (self.state, self.scene.store.state().flat_reads))
        self.assertIn("0.5000 ETH", self.scene.store.state().why)
        self.assertEqual(1, sum("0.5000 ETH" in one for one in self.scene.log.messages("error")))
        self.venue.hold("ETH", "-0.5")
        self.until_halted()

    def test_what_is_left_can_be_accepted_as_somebody_elses(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.5")
        emergency.stop(self.scene.desk)
        with self.assertRaises(StopInProgress):
            emergency.resume(self.scene.desk, [ETH])
        self.assertEqual({}, self.scene.store.state().accepted_drift)
        self.scene.clock.advance(20)
        self.tick()
        with self.assertRaises(StopInProgress):
            emergency.resume(self.scene.desk, [ETH])
        self.assertEqual({ETH: Decimal("0.5")}, self.scene.store.state().accepted_drift)
        self.until_halted()
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk).state)

    def test_an_account_that_holds_nothing_is_flat_whatever_was_accepted(self) -> None:
        for quantity in ("0.5", "-0.00002"):
            with self.subTest(accepted=quantity):
                self.scene.opened(f"signal of {quantity}")
                kept = {ETH: Quantity(Decimal(quantity))}
                self.scene.store.change_state(partial(replace, accepted_drift=kept))
                emergency.stop(self.scene.desk)
                self.until_halted()
                self.scene.store.change_state(partial(replace, accepted_drift={}))
                emergency.resume(self.scene.desk)

    def test_what_was_traded_before_it_began_is_no_holding_of_the_desks(self) -> None:
        self.scene.close(self.scene.opened(pair="SOL/AVAX"))
        self.scene.clock.advance(60)
        self.venue.hold("SOL", "3")
        emergency.stop(self.scene.desk)
        self.until_halted()
        self.assertEqual(3, self.venue.held("SOL"))

    def test_foreign_holdings_are_reported_and_stay(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "-3")
        report = emergency.stop(self.scene.desk)
        self.assertEqual([(SOL, Decimal(-3))], [(one.coin, one.quantity) for one in report.foreign])
        self.until_halted()
        self.assertEqual(Decimal(-3), self.venue.held("SOL"))

    def test_a_push_after_the_halt_changes_nothing(self) -> None:
        emergency.stop(self.scene.desk)
        self.until_halted()
        state = self.scene.store.state()
        self.tick()
        self.assertEqual(state, self.scene.store.state())


class GoneTest(StopTestCase):
    def test_a_leg_that_somebody_else_has_closed_does_not_keep_the_desk_from_flat(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", str(-self.venue.held("ETH")))
        emergency.stop(self.scene.desk)
        self.until_halted()
        self.assertTrue(self.venue.flat)
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk).state)


class WholeAccountTest(StopTestCase):
    def test_foreign_holdings_are_closed_too(self) -> None:
        self.scene.opened()
        self.venue.hold("SOL", "-3")
        self.venue.hold("AVAX", "20")
        report = emergency.stop(self.scene.desk, scope_account=True)
        self.assertEqual(("all_positions_closed", 3, ()), (report.status, len(report.closed), report.foreign))
        self.assertTrue(self.venue.flat)
        self.until_halted()
        adopted = [one for one in self.scene.store.book().positions() if one.signal is None]
        self.assertEqual({"SOL/USD", "AVAX/USD"}, {str(one.pair) for one in adopted})
        for one in adopted:
            self.assertEqual((PositionStatus.CLOSED, ExitReason.EMERGENCY_STOP), (one.status, one.exit_reason))

    def test_what_others_hold_of_the_desks_own_coins_goes_after_it(self) -> None:
        """It was held when the answer said that all was closed, and was not named."""
        self.scene.opened()
        self.venue.hold("ETH", "0.5")
        report = emergency.stop(self.scene.desk, scope_account=True)
        # Whether it was looked for before or after the desk's own was closed: what is held is named.
        self.assertEqual([] if self.venue.flat else ["ETH"], [one.pair for one in report.remaining])
        self.until_halted()
        self.assertTrue(self.venue.flat)
        self.assertEqual("all_positions_closed", emergency.stop(self.scene.desk, scope_account=True).status)

    def test_a_stop_can_be_widened_and_is_not_narrowed(self) -> None:
        self.venue.hold("SOL", "3")
        self.assertEqual(1, len(emergency.stop(self.scene.desk).foreign))
        self.tick()
        emergency.stop(self.scene.desk, scope_account=True)
        self.assertTrue(self.venue.flat)
        emergency.stop(self.scene.desk)
        self.assertTrue(self.scene.store.state().scope_account)
        self.until_halted()

    def test_it_goes_on_without_a_second_press(self) -> None:
        """The account cannot be read at first; the monitor closes what it finds later, and again what comes back."""
        self.venue.hold("SOL", "3")
        self.venue.reads_down = {"account"}
        emergency.stop(self.scene.desk, scope_account=True)
        self.tick()
        self.assertEqual(Decimal(3), self.venue.held("SOL"))
        self.venue.reads_down = set()
        self.tick()
        self.tick()
        self.assertTrue(self.venue.flat)
        self.venue.hold("SOL", "2")
        self.until_halted()
        self.assertTrue(self.venue.flat)
        self.assertEqual(2, len(self.scene.store.book().positions()))

    def test_an_account_that_could_not_be_looked_at_is_not_closed(self) -> None:
        """Of what else it held nothing was known, and the answer was that all was closed."""
        self.venue.hold("SOL", "3")
        self.venue.reads_down = {"account"}
        report = emergency.stop(self.scene.desk, scope_account=True)
        self.assertEqual(("closing", ["account"]), (report.status, [one.pair for one in report.remaining]))
        self.venue.reads_down = set()
        self.until_halted()
        self.assertTrue(self.venue.flat)

    def test_a_wider_one_is_read_twice_anew(self) -> None:
        """What was read of the desk's own is no reading of the account."""
        emergency.stop(self.scene.desk)
        self.scene.clock.advance(20)
        self.tick()
        self.assertEqual(1, self.scene.store.state().flat_reads)
        emergency.stop(self.scene.desk, scope_account=True)
        self.assertEqual(0, self.scene.store.state().flat_reads)

    def test_a_late_fill_after_it_is_no_new_one(self) -> None:
        """What somebody had bought since the account was flat was sold with the late fill."""
        emergency.stop(self.scene.desk, scope_account=True)
        self.until_halted()
        self.venue.hold("SOL", "3")
        emergency.reopen(self.scene.desk)
        self.until_halted()
        self.assertEqual(3, self.venue.held("SOL"))

    def test_accepted_holdings_are_not_accepted_any_more(self) -> None:
        self.venue.hold("SOL", "3")
        emergency.resume(self.scene.desk, [SOL])
        emergency.stop(self.scene.desk, scope_account=True)
        self.until_halted()
        self.assertTrue(self.venue.flat)
        self.assertEqual({}, self.scene.store.state().accepted_drift)

    def test_what_cannot_be_traded_stays_and_is_reported(self) -> None:
        self.venue.hold("SOL", "3")
        self.venue.listed[SOL] = replace(self.venue.listed[SOL], delisted=True)
        report = emergency.stop(self.scene.desk, scope_account=True)
        self.assertEqual([SOL], [one.coin for one in report.foreign])
        self.until_halted()

    def test_two_who_look_at_once_take_a_holding_over_once(self) -> None:
        self.venue.hold("SOL", "3")
        emergency._latch(self.scene.desk, scope_account=True)
        other = self.scene.beside()

        def interfere(name: str) -> None:
            if name == "instruments":
                self.venue.on_read = None
                emergency._look_abroad(other.desk, emergency._Abroad(), self.scene.clock.monotonic() + 1)

        self.venue.on_read = interfere
        self.tick()
        self.assertEqual(1, len(self.scene.store.book().positions()))
        self.assertTrue(self.venue.flat)

    def test_an_adopted_holding_survives_a_restart(self) -> None:
        self.venue.hold("SOL", "3")
        self.venue.refusing = {"SOL": RejectReason.NO_MATCH}
        report = emergency.stop(self.scene.desk, scope_account=True)
        self.assertEqual(["SOL/USD"], [one.pair for one in report.remaining])
        after = self.scene.reopened()
        self.venue.refusing = {}
        self.until_halted(after)
        self.assertTrue(self.venue.flat)


class ResumeTest(StopTestCase):
    def stopped(self) -> None:
        emergency.stop(self.scene.desk)
        self.until_halted()

    def causes(self) -> list[str]:
        with self.assertRaises(ResumeRefused) as refusal:
            emergency.resume(self.scene.desk)
        causes = refusal.exception.facts["causes"]
        assert isinstance(causes, list)
        return [str(one) for one in causes]

    def test_after_a_stop_and_a_resume_the_desk_trades_again(self) -> None:
        self.scene.opened()
        self.stopped()
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk).state)
        position = self.scene.opened("signal_2")
        self.assertIs(PositionStatus.OPEN, position.status)

    def test_it_is_refused_while_the_stop_is_closing(self) -> None:
        emergency.stop(self.scene.desk)
        with self.assertRaises(StopInProgress):
            emergency.resume(self.scene.desk)

    def resumed(self) -> TradingState | None:
        """The state after a resume; None where the stop is still under way."""
        try:
            return emergency.resume(self.scene.desk).state
        except StopInProgress:
            return None

    def test_with_no_monitor_every_resume_reads_the_venue_once_until_it_is_flat(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        self.assertEqual([None] * 3, [self.resumed() for _ in range(3)])
        self.scene.clock.advance(20)
        self.assertEqual([None, TradingState.ACTIVE], [self.resumed() for _ in range(2)])

    def test_with_no_monitor_a_resume_finds_what_is_still_held_and_closes_nothing(self) -> None:
        position = self.scene.opened()
        self.venue.refusing = {"ETH": RejectReason.NO_MATCH, "BTC": RejectReason.NO_MATCH}
        emergency.stop(self.scene.desk)
        self.venue.refusing = {}
        self.scene.clock.advance(20)
        self.assertEqual([None] * 3, [self.resumed() for _ in range(3)])
        self.assertIsNot(PositionStatus.CLOSED, self.scene.position(position.id).status)

    def test_with_a_monitor_a_resume_leaves_the_reading_to_it(self) -> None:
        self.scene.opened()
        emergency.stop(self.scene.desk)
        self.scene.clock.advance(20)
        with self.scene.store.monitor_seat():
            self.scene.store.beat(self.scene.clock.now())
            self.assertEqual([None] * 3, [self.resumed() for _ in range(3)])
        self.assertEqual(0, self.scene.store.state().flat_reads)

    def test_a_stop_pressed_while_resuming_wins(self) -> None:
        self.scene.enter_state(TradingState.HALTED)
        other = self.scene.beside()

        def press(name: str) -> None:
            self.venue.on_read = None
            emergency.stop(other.desk)

        self.venue.on_read = press
        with self.assertRaises(StopInProgress):
            emergency.resume(self.scene.desk)
        self.assertIs(TradingState.LIQUIDATING, self.state)

    def test_a_cause_that_comes_up_while_resuming_stands(self) -> None:
        """The account took its time, and meanwhile the monitor had found the day's loss too large."""

        def lose(name: str) -> None:
            self.venue.on_read = None
            reduce(self.scene.beside().desk, Cause.DAILY_LOSS, "the day's loss is beyond 5 %")

        reduce(self.scene.desk, Cause.BLIND, "no price for a minute")
        self.venue.on_read = lose
        self.assertIn("DAILY_LOSS", " ".join(self.causes()))
        self.assertIn(Cause.DAILY_LOSS, self.scene.store.state().causes)
        self.assertIs(TradingState.REDUCING, self.state)
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk).state)

    def test_it_is_refused_while_the_venue_cannot_be_read(self) -> None:
        self.scene.enter_state(TradingState.HALTED)
        self.venue.reads_down = {"account"}
        self.assertEqual(["account cannot be read"], self.causes())

    def test_it_is_refused_with_every_cause_that_stands(self) -> None:
        self.scene.opened(execution=Execution.TWAP, twap=TwapRequest(180, 5))
        suspended = self.scene.trades()[0]
        with self.scene.store.seat(suspended.id):
            working.suspend(self.scene.desk, suspended, "for the test")
        self.scene.opened("signal_2", pair="SOL/AVAX")
        self.venue.hold("SOL", "-1")
        self.venue.script(lost_before())
        self.scene.close(self.scene.store.book().positions()[0])
        self.scene.enter_state(TradingState.HALTED)
        causes = " | ".join(self.causes())
        for words in (f"trade {suspended.id} is suspended", "an order is in doubt", "drift in SOL"):
            self.assertIn(words, causes)
        self.assertIs(TradingState.HALTED, self.state)

    def test_a_trade_that_does_not_replay_is_a_cause(self) -> None:
        self.scene.enter_state(TradingState.REDUCING)
        self.scene.desk = with_store(self.scene, broken={"trd_1": "line 7"})
        self.assertEqual(["trade trd_1 does not replay"], self.causes())

    def test_drift_is_a_cause_until_it_is_accepted_or_gone(self) -> None:
        self.scene.opened()
        self.venue.hold("ETH", "0.5")
        self.scene.enter_state(TradingState.REDUCING)
        self.assertEqual(["drift in ETH: the venue holds 0.7500, the book 0.2500"], self.causes())
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk, [ETH, BTC]).state)
        self.assertEqual({ETH: Decimal("0.5")}, self.scene.store.state().accepted_drift)
        self.venue.hold("ETH", "-0.5")
        self.assertEqual(1, len(self.causes()))
        emergency.resume(self.scene.desk, [ETH])
        self.assertEqual({}, self.scene.store.state().accepted_drift)

    def test_nothing_is_accepted_of_a_coin_with_an_order_in_doubt(self) -> None:
        """Seed 5494, pairs: what was filled beyond the order was accepted as somebody else's, and then the book had
        it, too."""
        self.venue.script(lost_after())
        self.venue.reads_down = {"reports"}
        self.scene.execute()
        self.venue.hold("ETH", "0.001")
        self.venue.hold("SOL", "3")
        self.scene.enter_state(TradingState.REDUCING)
        with self.assertRaises(ResumeRefused):
            emergency.resume(self.scene.desk, [ETH, SOL])
        self.assertEqual({SOL: Decimal(3)}, self.scene.store.state().accepted_drift)

    def test_nor_of_one_that_was_closed_since_the_account_was_read(self) -> None:
        """What it shows was the desk's."""
        position = self.scene.opened()

        def closed_meanwhile(account: Account) -> Account:
            self.venue.bend_account = None
            self.scene.close(position)
            return account

        self.venue.bend_account = closed_meanwhile
        with suppress(ResumeRefused):
            emergency.resume(self.scene.desk, [ETH])
        self.assertEqual({}, self.scene.store.state().accepted_drift)

    def test_a_foreign_holding_that_is_gone_is_forgotten_when_accepted_again(self) -> None:
        self.venue.hold("SOL", "3")
        emergency.resume(self.scene.desk, [SOL])
        self.assertEqual({SOL: Decimal(3)}, self.scene.store.state().accepted_drift)
        self.venue.hold("SOL", "-3")
        emergency.resume(self.scene.desk, [SOL])
        self.assertEqual({}, self.scene.store.state().accepted_drift)

    def test_after_a_daily_loss_the_day_is_measured_anew(self) -> None:
        for causes, expected in (({Cause.DAILY_LOSS}, Decimal(100_000)), ({Cause.DRIFT}, Decimal(120_000))):
            with self.subTest(str(causes)):

                def reduced(state: DeskState, kept: frozenset[Cause] = frozenset(causes)) -> DeskState:
                    equity = Usd(Decimal(120_000))
                    return replace(state, state=TradingState.REDUCING, causes=kept, baseline_equity=equity)

                self.scene.store.change_state(reduced)
                made = self.scene.store.state().made_today(Usd(Decimal(100_000)))
                state = emergency.resume(self.scene.desk)
                self.assertEqual((expected, frozenset()), (state.baseline_equity, state.causes))
                self.assertEqual(made, state.made_today(Usd(Decimal(100_000))))
                self.assertLess(made or 0, 0)

    def test_a_resume_without_need_says_nothing(self) -> None:
        self.assertIs(TradingState.ACTIVE, emergency.resume(self.scene.desk).state)
        self.assertEqual([], self.scene.log.messages())


class StatesTest(StopTestCase):
    def test_reducing_and_halted_open_nothing_and_still_protect(self) -> None:
        for state in (TradingState.REDUCING, TradingState.HALTED):
            with self.subTest(state):
                self.scene, self.venue = a_bent_scene(self)
                position = self.scene.opened()
                self.scene.enter_state(state)
                with self.assertRaises(TradingHalted):
                    self.scene.execute("signal_2", pair="SOL/AVAX")
                self.venue.move("ETH", "3910")
                exits.sweep(
                    self.scene.desk,
                    Memory(),
                    lambda known, reason: void(closing.close(self.scene.desk, known, reason)),
                )
                self.assertIs(ExitReason.STOP_LOSS, self.scene.position(position.id).exit_reason)
                self.assertTrue(self.venue.flat)

    def test_an_opening_in_flight_ends_level_in_a_state_that_forbids_it(self) -> None:
        position = self.scene.opened(size="6000", execution=Execution.TWAP, twap=TwapRequest(180, 5))
        self.scene.enter_state(TradingState.REDUCING)
        self.scene.ticks(3, 36)
        stands = self.scene.position(position.id)
        self.assertIs(PositionStatus.OPEN, stands.status)
        self.assertEqual((stands.long.held, -stands.short.held), (self.venue.held("ETH"), self.venue.held("BTC")))


class VenueTest(unittest.TestCase):
    def test_a_bent_venue_starts_straight(self) -> None:
        _, venue = a_bent_scene(self)
        self.assertIsInstance(venue, BentVenue)
        self.assertIsNone(venue.bend_quote)


def void(_: object) -> None:
    """For a lambda whose value nobody wants."""
