"""Content to requests and records to content: what comes out of good input, and how records are told."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum

from django.http import QueryDict
from django.test import SimpleTestCase

from trading.domain.desk_state import Binding, Cause, DeskState, Rejection, TradingState
from trading.domain.errors import InvalidRequest
from trading.domain.exit_plan import TrailingStop
from trading.domain.market import Pair
from trading.domain.positions import PositionStatus
from trading.domain.units import Coin, Quantity, Ratio, Usd
from trading.engine.requests import CloseRequest, ExecuteRequest, Execution, ExitChange, TwapRequest
from trading.parsers import BODY_BYTES_MAX, UNUSABLE, Content, content_of, number_of, shown
from trading.rendering import render, render_state
from trading.serializers import (
    Query,
    accepted_drift,
    close_request,
    execute_request,
    exit_change,
    idempotency_key,
    stop_scope,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Colour(Enum):
    RED = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Inner:
    price: Decimal | None


@dataclass(frozen=True, slots=True)
class Outer:
    at: datetime
    inner: Inner
    many: tuple[Inner, ...]
    status: PositionStatus


def read(raw: str) -> ExecuteRequest:
    content = content_of(raw.encode())
    assert isinstance(content, dict)
    return execute_request(content)


class NumberTest(SimpleTestCase):
    def test_numbers_keep_every_digit(self) -> None:
        for text in ("0.1", "123456789.123456789123456789", "1e-8", "-0", "0", "1E+2", "1000"):
            with self.subTest(text):
                self.assertEqual(Decimal(text).as_tuple(), number_of(text).as_tuple())

    def test_what_no_field_could_mean_is_unusable(self) -> None:
        for text in (
            *("", " 1", "1 ", "01", "1.", ".5", "+1", "1_0", "0x1", "1e", "NaN", "Infinity", "--1", "\uff11"),
            *("1e41", "1e-41", "1e400", "0e-99", "1" * 41, "1e99999999999999999999", "1e999999999"),
        ):
            with self.subTest(text[:30]):
                self.assertIs(UNUSABLE, number_of(text))

    def test_numbers_within_content_are_decimals(self) -> None:
        self.assertEqual(
            {"a": [Decimal("0.10"), Decimal(2), True, None, "x"]}, content_of(b'{"a": [0.10, 2, true, null, "x"]}')
        )

    def test_names_of_others_are_shown_printable_and_short(self) -> None:
        self.assertEqual(("size", "a?b", "x" * 64 + "..."), (shown("size"), shown("a\x00b"), shown("x" * 65)))

    def test_brackets_within_strings_are_no_nesting(self) -> None:
        text = '["' + "[{" * 500 + '\\"' + "[" * 500 + '\\\\"]'
        self.assertEqual(json.loads(text), content_of(text.encode()))

    def test_escapes_without_end_are_read_in_no_time(self) -> None:
        for raw in (b'"' + b"\\" * 60_001, b'\\"' * 30_000, b'"' * 60_000):
            with self.assertRaises(InvalidRequest):
                content_of(raw)

    def test_more_bytes_than_a_body_may_have_are_refused_unread(self) -> None:
        with self.assertRaisesRegex(InvalidRequest, "must not be larger"):
            content_of(b" " * (BODY_BYTES_MAX + 1))

    def test_a_whole_surrogate_pair_is_a_character(self) -> None:
        self.assertEqual({"a": "\U0001f600"}, content_of(b'{"a": "\\ud83d\\ude00"}'))


class ExecuteRequestTest(SimpleTestCase):
    def test_the_least_that_is_needed_leaves_the_rest_to_the_desk(self) -> None:
        self.assertEqual(
            ExecuteRequest("signal_123", Usd(Decimal(1000))), read('{"signal_id": "signal_123", "position_size": 1000}')
        )

    def test_every_field_arrives(self) -> None:
        asked = read(
            """{"signal_id": "s", "position_size": 1000.5, "pair": "kPEPE/ETH", "leverage": 2.0, "execution": "twap",
            "twap": {"duration_seconds": 60, "slices": 3}, "take_profit": 0.05, "stop_loss": 0.002,
            "trailing_stop": {"arm": 0.02, "gap": 0.01}, "max_holding_seconds": 3600, "take_profit_usd": 30,
            "stop_loss_usd": 15.5, "take_profit_spread": -0.2, "stop_loss_spread": 24.5, "take_profit_z": 0,
            "stop_loss_z": 3.5}"""
        )
        self.assertEqual(
            ExecuteRequest(
                signal_id="s",
                position_size=Usd(Decimal("1000.5")),
                pair=Pair(Coin("kPEPE"), Coin("ETH")),
                leverage=2,
                execution=Execution.TWAP,
                twap=TwapRequest(60, 3),
                take_profit=Decimal("0.05"),
                stop_loss=Decimal("0.002"),
                trailing=TrailingStop(Ratio(Decimal("0.02")), Ratio(Decimal("0.01"))),
                max_holding_seconds=3600,
                take_profit_usd=Usd(Decimal(30)),
                stop_loss_usd=Usd(Decimal("15.5")),
                take_profit_spread=Decimal("-0.2"),
                stop_loss_spread=Decimal("24.5"),
                take_profit_z=Decimal(0),
                stop_loss_z=Decimal("3.5"),
            ),
            asked,
        )

    def test_slices_asked_for_mean_a_twap(self) -> None:
        asked = read('{"signal_id": "s", "position_size": 1, "twap": {}, "time_window": "15min"}')
        self.assertEqual((Execution.TWAP, TwapRequest(), "15min"), (asked.execution, asked.twap, asked.time_window))

    def test_a_market_execution_is_one(self) -> None:
        asked = read('{"signal_id": "s", "position_size": 1, "execution": "market"}')
        self.assertIs(Execution.MARKET, asked.execution)

    def test_leverage_beyond_the_limit_is_for_the_risk_controls_to_deny(self) -> None:
        self.assertEqual(100, read('{"signal_id": "s", "position_size": 1, "leverage": 100}').leverage)

    def test_an_amount_may_be_the_text_of_a_form_field(self) -> None:
        asked = read('{"signal_id": "s", "position_size": "1000.50"}')
        self.assertEqual(read('{"signal_id": "s", "position_size": 1000.5}').fingerprint, asked.fingerprint)


class OtherRequestsTest(SimpleTestCase):
    def test_null_removes_the_barriers_that_may_go(self) -> None:
        self.assertEqual(
            ExitChange(dropped=frozenset({"trailing_stop", "max_holding_seconds"})),
            exit_change({"trailing_stop": None, "max_holding_seconds": None}),
        )

    def test_barriers_beside_the_plain_ones_are_changed_and_removed_like_them(self) -> None:
        names = [f"{barrier}_{kind}" for kind in ("usd", "spread", "z") for barrier in ("take_profit", "stop_loss")]
        self.assertEqual(ExitChange(dropped=frozenset(names)), exit_change(dict.fromkeys(names)))
        change = exit_change({name: Decimal(number) for number, name in enumerate(names, start=1)})
        self.assertEqual([getattr(change, name) for name in names], [1, 2, 3, 4, 5, 6])
        for name, value in (
            ("take_profit_z", -1),
            ("stop_loss_z", 21),
            ("stop_loss_usd", -1),
            ("stop_loss_spread", -1),
        ):
            with self.subTest(name), self.assertRaises(InvalidRequest) as refusal:
                exit_change({name: Decimal(value)})
            self.assertIn("without it there is no such barrier", refusal.exception.fields[name])
        with self.assertRaises(InvalidRequest):
            exit_change({"stop_loss": None})

    def test_barriers_change_one_by_one(self) -> None:
        trailing = {"arm": Decimal("0.02"), "gap": Decimal("0.01")}
        self.assertEqual(
            ExitChange(
                take_profit=Decimal("0.03"),
                stop_loss=Decimal("0.01"),
                trailing=TrailingStop(Ratio(Decimal("0.02")), Ratio(Decimal("0.01"))),
                max_holding_seconds=60,
            ),
            exit_change(
                {
                    "take_profit": Decimal("0.03"),
                    "stop_loss": Decimal("0.01"),
                    "trailing_stop": {**trailing},
                    "max_holding_seconds": Decimal(60),
                }
            ),
        )

    def test_a_close_is_at_once_or_in_slices_and_never_in_part(self) -> None:
        taken: tuple[tuple[dict[str, Content], TwapRequest | None], ...] = (
            ({}, None),
            ({"execution": "market"}, None),
            ({"execution": "twap"}, TwapRequest()),
            ({"twap": {"slices": Decimal(4)}}, TwapRequest(None, 4)),
            ({"execution": "twap", "twap": {"duration_seconds": Decimal(60)}}, TwapRequest(60, None)),
        )
        for content, twap in taken:
            with self.subTest(content=content):
                self.assertEqual(CloseRequest(twap), close_request(content, "not in part"))
        refused: tuple[tuple[dict[str, Content], str], ...] = (
            ({"size": Decimal(1)}, "size"),
            ({"fraction": Decimal(1)}, "fraction"),
            ({"execution": "market", "twap": {}}, "twap"),
            ({"execution": "iceberg"}, "execution"),
            ({"twap": {"slices": Decimal(0)}}, "twap.slices"),
        )
        for content, field in refused:
            with self.subTest(content=content), self.assertRaises(InvalidRequest) as refusal:
                close_request(content, "not in part")
            self.assertIn(field, refusal.exception.fields)

    def test_a_stop_is_for_the_book_unless_the_account_is_named(self) -> None:
        self.assertEqual(
            (False, False, True), (stop_scope({}), stop_scope({"scope": "book"}), stop_scope({"scope": "account"}))
        )

    def test_drift_is_accepted_by_coin(self) -> None:
        self.assertEqual((), accepted_drift({}))
        self.assertEqual(("BTC", "xyz:TSLA", "@107"), accepted_drift({"accept_drift": ["BTC", "xyz:TSLA", "@107"]}))

    def test_a_key_is_taken_as_it_is_or_is_not_there(self) -> None:
        self.assertIsNone(idempotency_key(None))
        self.assertEqual("!~" + "x" * 253, idempotency_key("!~" + "x" * 253))

    def test_a_query_gives_its_values_or_their_defaults(self) -> None:
        query = Query(QueryDict("limit=7&status=open&before=pos_1"))
        self.assertEqual((7, PositionStatus.OPEN, "pos_1"), (query.limit(100), query.status(), query.before()))
        query.finish()
        empty = Query(QueryDict(""))
        self.assertEqual((100, None, None), (empty.limit(100), empty.status(), empty.before()))
        empty.finish()


class RenderTest(SimpleTestCase):
    def test_each_kind_of_value_has_one_form(self) -> None:
        table: tuple[tuple[object, object], ...] = (
            (None, None),
            (True, True),
            (3, 3),
            (1.5, 1.5),
            (Decimal("0.1"), 0.1),
            (Decimal("1000"), 1000.0),
            (Decimal("1e-400"), 0.0),
            (NOON, "2026-11-22T12:00:00+00:00"),
            (date(2026, 11, 22), "2026-11-22"),
            (PositionStatus.OPEN, "open"),
            (Colour.RED, 0.5),
            ("text", "text"),
            ({Coin("BTC"): Decimal(1)}, {"BTC": 1.0}),
            ([1, (2,)], [1, [2]]),
            (frozenset({Cause.DRIFT, Cause.BLIND}), ["BLIND", "DRIFT"]),
            (Pair(Coin("BTC"), Coin("ETH")), {"base": "BTC", "quote": "ETH"}),
            (ValueError("words"), "words"),
        )
        for value, expected in table:
            with self.subTest(repr(value)):
                self.assertEqual(expected, render(value))
                self.assertIs(type(expected), type(render(value)))

    def test_what_json_cannot_say_is_null(self) -> None:
        for value in (Decimal("NaN"), Decimal("Infinity"), Decimal("1e400"), float("nan"), float("-inf")):
            with self.subTest(value):
                self.assertIsNone(render(value))

    def test_half_a_surrogate_pair_never_reaches_the_wire(self) -> None:
        self.assertEqual(("a?", {"?": 1}), (render("a\ud800"), render({"\ud800": 1})))

    def test_records_are_walked_to_the_end(self) -> None:
        record = Outer(NOON, Inner(None), (Inner(Decimal("2.5")),), PositionStatus.CLOSED)
        self.assertEqual(
            {
                "at": "2026-11-22T12:00:00+00:00",
                "inner": {"price": None},
                "many": [{"price": 2.5}],
                "status": "closed",
            },
            render(record),
        )

    def test_the_desk_state_is_told_without_the_account(self) -> None:
        state = DeskState(
            TradingState.REDUCING,
            frozenset({Cause.DRIFT}),
            "drift in BTC",
            NOON,
            rejections=(Rejection("s", Usd(Decimal(1)), "no", NOON),),
            accepted_drift={Coin("BTC"): Quantity(Decimal("0.5"))},
            binding=Binding("hyperliquid", "mainnet", "0xaccount"),
        )
        self.assertEqual(
            {
                "trading_state": "REDUCING",
                "causes": ["DRIFT"],
                "why": "drift in BTC",
                "since": "2026-11-22T12:00:00+00:00",
                "accepted_drift": {"BTC": 0.5},
            },
            render_state(state),
        )
