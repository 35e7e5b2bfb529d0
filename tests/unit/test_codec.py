"""The codec: records survive the disk exactly, and what is no record is refused by name."""

import json
import unittest
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from tests.builders import (
    T0,
    after,
    given_a_closing_trade,
    given_a_filled_close,
    given_a_filled_trade,
    given_a_trade,
    given_exit_plan,
    given_order,
    given_report,
    given_terms,
    given_trailing,
    given_watch,
)
from trading.domain.codec import (
    Json,
    decode_event,
    decode_state,
    decode_watch,
    encode_event,
    encode_position,
    encode_state,
    encode_watch,
)
from trading.domain.desk_state import Binding, Cause, DeskState, Rejection, TradingState
from trading.domain.errors import InvariantBroken, StoreCorrupt
from trading.domain.exit_plan import ExitPlan, ExitReason, Reversion
from trading.domain.market import CandleInterval
from trading.domain.orders import OrderStatus, RejectReason
from trading.domain.positions import position_of
from trading.domain.trades import (
    CancelWanted,
    CloseHurried,
    Event,
    LegsBalanced,
    LegsUnbalanced,
    OrdersIntended,
    OrdersReported,
    SliceSkipped,
    TradeAccepted,
    TradeCanceled,
    TradeRejected,
    TradeResumed,
    TradeSuspended,
)
from trading.domain.units import Coin, Price, Quantity, Ratio, Usd


def through_json(content: dict[str, Json]) -> Any:
    return json.loads(json.dumps(content))


def every_barrier() -> ExitPlan:
    return given_exit_plan(
        take_profit_usd=Usd(Decimal(30)),
        stop_loss_usd=Usd(Decimal(15)),
        take_profit_spread=Decimal("-0.5"),
        stop_loss_spread=Decimal("24.5"),
        take_profit_z=Decimal("0.5"),
        stop_loss_z=Decimal(3),
        reversion=Reversion(Decimal("3.2"), Decimal("0.0125"), Decimal("-2.4"), 300, CandleInterval.MINUTE),
    )


class EventTest(unittest.TestCase):
    def test_every_event_comes_back_as_it_went(self) -> None:
        filled = given_a_filled_trade()
        order = filled.orders[0]
        refused = given_report(order, "0", status=OrderStatus.REJECTED, reason=RejectReason.MARGIN, detail="no margin")
        rows: list[Event] = [
            *filled.events,
            *given_a_closing_trade(filled).events,
            TradeAccepted(T0, given_terms(slices=4, exit_plan=given_exit_plan(trailing=given_trailing()))),
            TradeAccepted(T0, given_terms(signal=None, approval=None)),
            OrdersReported(T0, (refused,)),
            LegsUnbalanced(T0, Usd(Decimal("-12.5"))),
            LegsBalanced(T0),
            TradeAccepted(T0, given_terms(exit_plan=every_barrier())),
            CancelWanted(T0, "by hand ☂"),
            SliceSkipped(T0, 3, "too dear", (Price(Decimal(4_000)), Price(Decimal("100000.5")))),
            CloseHurried(T0, ExitReason.STOP_LOSS, "a breach"),
            OrdersIntended(T0, (order,), (Price(Decimal(4_000)), Price(Decimal(100_000)))),
            TradeRejected(T0, "margin"),
            TradeCanceled(T0, "given up"),
            TradeSuspended(T0, "one leg stays"),
            TradeResumed(T0, "looked at"),
        ]
        for event in rows:
            with self.subTest(type(event).__name__):
                self.assertEqual(decode_event(through_json(encode_event(event))), event)

    def test_amounts_are_plain_strings_and_instants_are_utc_with_microseconds(self) -> None:
        order = given_order(given_terms(), given_terms().long, quantity=Quantity(Decimal("1E-7")))
        event = OrdersReported(
            T0.astimezone(timezone(timedelta(hours=5))), (given_report(order, "1", fees=Usd(Decimal("-0.0"))),)
        )
        content = encode_event(event)
        self.assertEqual(content["type"], "OrdersReported")
        self.assertEqual(content["at"], "2026-11-22T12:00:00.000000+00:00")
        report = through_json(content)["reports"][0]
        self.assertEqual(report["filled"], "0.0000001")
        self.assertEqual(report["fees"], "0.0")
        self.assertEqual(report["status"], "FILLED")

    def test_what_must_not_reach_the_disk_is_a_bug(self) -> None:
        report = given_report(given_order(given_terms(), given_terms().long))
        rows: dict[str, Event] = {
            "NaN": LegsUnbalanced(T0, Usd(Decimal("NaN"))),
            "infinity": OrdersReported(T0, (replace(report, filled=Quantity(Decimal("Infinity"))),)),
            "naive": LegsBalanced(T0.replace(tzinfo=None)),
            "float": LegsUnbalanced(T0, 0.5),  # type: ignore[arg-type]  # what mypy would have caught
        }
        for name, event in rows.items():
            with self.subTest(name), self.assertRaises(InvariantBroken):
                encode_event(event)

    def test_what_is_no_event_is_corrupt(self) -> None:
        good = through_json(encode_event(LegsUnbalanced(T0, Usd(Decimal(1)))))
        accepted = through_json(encode_event(TradeAccepted(T0, given_terms())))
        terms = accepted["terms"]
        rows: dict[str, Json] = {
            "nothing": None,
            "a list": [],
            "no type": {"at": good["at"]},
            "unknown type": {**good, "type": "TradeVanished"},
            "a type that is no text": {**good, "type": 3},
            "unknown field": {**good, "mood": "good"},
            "missing field": {"type": "LegsUnbalanced", "at": good["at"]},
            "a number for an amount": {**good, "imbalance": 1},
            "an exponent": {**good, "imbalance": "1E+3"},
            "NaN": {**good, "imbalance": "NaN"},
            "foreign digits": {**good, "imbalance": "٣"},
            "no instant": {**good, "at": "noon"},
            "an instant that is no text": {**good, "at": 5},
            "an instant without offset": {**good, "at": "2026-11-22T12:00:00"},
            "terms that are none": {**accepted, "terms": "none"},
            "slices that are none": {**accepted, "terms": {**terms, "slices": "none"}},
            "half a leverage": {**accepted, "terms": {**terms, "leverage": 1.5}},
            "true as a leverage": {**accepted, "terms": {**terms, "leverage": True}},
            "unknown effect": {**accepted, "terms": {**terms, "effect": "HOLD"}},
            "a list as effect": {**accepted, "terms": {**terms, "effect": ["OPEN"]}},
            "no pair": {**accepted, "terms": {**terms, "pair": "BTC"}},
            "a number as a key": {**accepted, "terms": {**terms, "request_key": 7}},
        }
        for name, content in rows.items():
            with self.subTest(name), self.assertRaises(StoreCorrupt):
                decode_event(content)

    def test_a_field_with_a_default_may_be_missing_in_an_older_line(self) -> None:
        content = through_json(encode_event(TradeAccepted(T0, given_terms(fingerprint=""))))
        del content["terms"]["fingerprint"]
        self.assertEqual(decode_event(content), TradeAccepted(T0, given_terms(fingerprint="")))

    def test_an_intent_and_terms_from_before_there_was_a_benchmark_still_read(self) -> None:
        order = given_a_filled_trade().orders[0]
        content = through_json(encode_event(OrdersIntended(T0, (order,))))
        del content["mids"]
        self.assertEqual(decode_event(content), OrdersIntended(T0, (order,)))
        accepted = through_json(encode_event(TradeAccepted(T0, given_terms())))
        del accepted["terms"]["slices_requested"]
        self.assertEqual(decode_event(accepted), TradeAccepted(T0, given_terms()))

    def test_an_exit_plan_of_the_first_version_still_reads(self) -> None:
        content = through_json(encode_event(TradeAccepted(T0, given_terms())))
        first = ("take_profit", "stop_loss", "trailing", "max_holding_seconds", "time_window")
        content["terms"]["exit_plan"] = {name: content["terms"]["exit_plan"][name] for name in first}
        self.assertEqual(decode_event(content), TradeAccepted(T0, given_terms()))


class WatchAndStateTest(unittest.TestCase):
    def test_a_watch_comes_back_as_it_went(self) -> None:
        trade = given_a_trade()
        plan = given_exit_plan(trailing=given_trailing(), max_holding_seconds=300, time_window="5min")
        for watch in (
            given_watch(trade),
            given_watch(trade, exit_plan=plan, high_water=Ratio(Decimal("-0.001")), funded_until=after(3600)),
        ):
            with self.subTest(watch=watch):
                self.assertEqual(decode_watch(through_json(encode_watch(watch))), watch)

    def test_a_desk_state_comes_back_as_it_went(self) -> None:
        full = DeskState(
            state=TradingState.REDUCING,
            causes=frozenset({Cause.DRIFT, Cause.DAILY_LOSS}),
            why="holdings differ",
            since=T0,
            scope_account=True,
            flat_reads=1,
            baseline_day=T0.date(),
            baseline_equity=Usd(Decimal("99999.99")),
            baseline_at=T0,
            transferred=Usd(Decimal("-250.5")),
            made_before=Usd(Decimal("-5000.25")),
            rejections=(Rejection("signal_1", Usd(Decimal(500)), "too hot", after(60)),),
            accepted_drift={Coin("BTC"): Quantity(Decimal("0.5"))},
            binding=Binding("paper", "demo", "0xabc"),
        )
        for state in (DeskState(), full):
            with self.subTest(state=state.state):
                self.assertEqual(decode_state(through_json(encode_state(state))), state)

    def test_what_a_newer_version_wrote_is_told_as_such(self) -> None:
        with self.assertRaisesRegex(StoreCorrupt, "DeskState with mood, which .* use the version that wrote it"):
            decode_state({**encode_state(DeskState()), "mood": "good"})

    def test_a_damaged_state_or_watch_is_corrupt(self) -> None:
        state = through_json(encode_state(DeskState()))
        rows: dict[str, Json] = {
            "state": {**state, "state": "RELAXED"},
            "causes": {**state, "causes": "DRIFT"},
            "drift": {**state, "accepted_drift": ["BTC"]},
            "scope": {**state, "scope_account": 1},
            "day": {**state, "baseline_day": "someday"},
        }
        for name, content in rows.items():
            with self.subTest(name), self.assertRaises(StoreCorrupt):
                decode_state(content)
        with self.assertRaises(StoreCorrupt):
            decode_watch({"position_id": "pos_1"})


class PositionTest(unittest.TestCase):
    def test_a_position_is_told_in_the_names_of_the_outside(self) -> None:
        opening = given_a_filled_trade(exit_plan=given_exit_plan(max_holding_seconds=300, time_window="5min"))
        content = encode_position(position_of([opening]))
        expected: dict[str, Json] = {
            "position_id": opening.terms.position_id,
            "trade_id": opening.id,
            "signal_id": "signal_1",
            "approval_id": "approval_of_signal_1_1",
            "pair": "BTC/ETH",
            "status": "open",
            "size": "2000.0000",
            "position_size": "2000.0000",
            "entry_spread": "24",
            "fees": "0.900000000",
            "take_profit": "0.02",
            "time_window": "5min",
            "entry_time": T0.isoformat(timespec="microseconds"),
            "window_expires_at": after(300).isoformat(timespec="microseconds"),
            "exit_reason": None,
            "trailing_stop": None,
        }
        for name, value in expected.items():
            self.assertEqual(content[name], value, name)
        long: Any = content["long"]
        self.assertEqual((long["coin"], long["side"], long["quantity"]), ("ETH", "buy", "0.2500"))
        json.dumps(content)

    def test_a_closed_position_says_when_and_why(self) -> None:
        opening = given_a_filled_trade()
        content = encode_position(position_of([opening, given_a_filled_close(opening)]))
        self.assertEqual((content["status"], content["exit_reason"]), ("closed", "MANUAL"))
        self.assertEqual(content["exit_time"], after(60).isoformat(timespec="microseconds"))

    def test_without_a_fill_there_is_no_spread(self) -> None:
        content = encode_position(position_of([given_a_trade(signal=None, approval=None)]))
        self.assertIsNone(content["entry_spread"])
        self.assertIsNone(content["signal_id"])
        self.assertEqual(content["size"], "0")


class InstantTest(unittest.TestCase):
    def test_other_offsets_are_read_as_the_same_instant(self) -> None:
        event = decode_event({"type": "LegsBalanced", "at": "2026-11-22T13:00:00+01:00"})
        self.assertEqual(event.at, T0)
        self.assertEqual(event.at.utcoffset(), timedelta(0))
        self.assertIsInstance(event.at, datetime)


if __name__ == "__main__":
    unittest.main()
