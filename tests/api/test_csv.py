"""Lists as files for a spreadsheet: complete, exact, and without a formula in them; and the list of fills."""

import csv
import io
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.http import StreamingHttpResponse
from django.test import SimpleTestCase

from tests.api.base import ApiTestCase, told
from trading.domain.orders import Side
from trading.engine.records import PositionView, TradeView
from trading.rendering import columns_of, table_lines

LISTS = ("positions", "trades", "fills")
NESTED = ("long.coin", "short.entry_price", "trailing_stop.gap", "execution.slices_total", "signal.zscore")


@dataclass(frozen=True)
class Inner:
    word: str
    number: Decimal | None


@dataclass(frozen=True)
class Row:
    text: str
    number: Decimal
    whole: int
    yes: bool
    at: datetime
    day: date
    side: Side
    inner: Inner | None
    many: tuple[Inner, ...]


def row(text: str = "x", number: Decimal = Decimal("1.50"), inner: Inner | None = None) -> Row:
    at = datetime(2026, 11, 23, 1, 2, 3, tzinfo=UTC)
    return Row(text, number, 7, True, at, at.date(), Side.BUY, inner, (Inner("left out", None),))


def table(*rows: Row) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(table_lines(Row, rows)))))


class TableTest(SimpleTestCase):
    def test_a_row_has_every_plain_field_and_those_of_records_within(self) -> None:
        names, cells = table(row(inner=Inner("y", Decimal("-0.10"))))
        self.assertEqual(["text", "number", "whole", "yes", "at", "day", "side", "inner.word", "inner.number"], names)
        self.assertEqual(
            ["x", "1.50", "7", "true", "2026-11-23T01:02:03+00:00", "2026-11-23", "buy", "y", "-0.10"], cells
        )

    def test_what_is_absent_is_an_empty_cell(self) -> None:
        self.assertEqual(["", ""], table(row())[1][-2:])
        self.assertEqual("", table(row(number=Decimal("NaN")))[1][1])

    def test_numbers_are_written_digit_for_digit(self) -> None:
        for number in ("123456789.123456789123456789", "-12.5", "1E-9", "1E+3"):
            with self.subTest(number):
                self.assertEqual(format(Decimal(number), "f"), table(row(number=Decimal(number)))[1][1])

    def test_text_that_a_spreadsheet_would_run_stands_behind_an_apostrophe(self) -> None:
        for text in ("=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "  =1", "-"):
            with self.subTest(text):
                self.assertEqual(f"'{text}", table(row(text=text))[1][0])
                self.assertEqual(f"'{text}", table(row(inner=Inner(text, None)))[1][-2])

    def test_other_text_is_quoted_as_csv_has_it(self) -> None:
        for text in ('a "quoted" word', "a,b", "two\nlines", "BTC/ETH", "ünï", "a=b", ""):
            with self.subTest(text):
                self.assertEqual(text, table(row(text=text))[1][0])
        self.assertTrue(next(iter(table_lines(Row, ()))).endswith("\r\n"))

    def test_the_columns_of_a_position_reach_into_its_legs(self) -> None:
        self.assertLessEqual(set(NESTED), set(columns_of(PositionView)))
        self.assertTrue({"orders", "timeline"}.isdisjoint(columns_of(TradeView)))


class FillCase(ApiTestCase):
    def rows(self, path: str) -> list[dict[str, str]]:
        response: Any = self.get(path)
        self.assertIsInstance(response, StreamingHttpResponse)
        self.assertEqual((200, "text/csv; charset=utf-8"), (response.status_code, response["Content-Type"]))
        return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))

    def trade(self, number: int = 1, pair: str = "BTC/ETH", signal: str = "=2+5") -> dict[str, Any]:
        position: dict[str, Any] = told(
            self.execute({"signal_id": f"{signal}{number}", "position_size": 1000, "pair": pair})
        )
        self.clock.advance(1)
        return position


class ListTest(FillCase):
    def test_each_list_is_a_file_with_as_many_rows_as_the_json(self) -> None:
        position = self.trade()
        self.trade(2, "SOL/AVAX")
        self.post(f"/api/positions/{position['position_id']}/close")
        for name in LISTS:
            with self.subTest(name):
                listed = told(self.get(f"/api/{name}"))
                rows = self.rows(f"/api/{name}?format=csv")
                self.assertEqual(len(listed), len(rows))
                self.assertEqual([one["pair"] for one in listed], [one["pair"] for one in rows])
                response = self.get(f"/api/{name}?format=csv&limit=1")
                self.assertEqual(f'attachment; filename="{name}.csv"', response["Content-Disposition"])
                self.assertEqual(str(len(listed)), response["X-Total-Count"])
                self.assertEqual(listed, told(self.get(f"/api/{name}?format=json")))

    def test_a_signal_that_is_named_like_a_formula_is_none(self) -> None:
        self.trade()
        for name in LISTS:
            self.assertEqual(["'=2+51"], sorted({one["signal_id"] for one in self.rows(f"/api/{name}?format=csv")}))

    def test_pages_and_filters_are_those_of_the_list(self) -> None:
        self.trade()
        second = self.trade(2, "SOL/AVAX")
        rows = self.rows(f"/api/positions?format=csv&status=open&limit=1&before={second['position_id']}")
        self.assertEqual(["BTC/ETH"], [one["pair"] for one in rows])
        self.assertEqual([], self.rows("/api/positions?format=csv&status=closed"))

    def test_another_format_is_a_400(self) -> None:
        for name in LISTS:
            self.assert_invalid(self.get(f"/api/{name}?format=xml"), "format")

    def test_a_head_has_the_headers_and_no_body(self) -> None:
        response: Any = self.send("HEAD", "/api/fills?format=csv")
        self.assertEqual((200, "0"), (response.status_code, response["X-Total-Count"]))
        self.assertEqual(b"", b"".join(response.streaming_content))


class FillsTest(FillCase):
    def test_fills_are_the_orders_of_both_legs_newest_first_and_add_up(self) -> None:
        position = self.trade()
        self.post(f"/api/positions/{position['position_id']}/close")
        found = told(self.get("/api/fills"))
        self.assertEqual(["CLOSE", "CLOSE", "OPEN", "OPEN"], [one["effect"] for one in found])
        self.assertEqual(sorted((one["sent_at"] for one in found), reverse=True), [one["sent_at"] for one in found])
        closed = told(self.get(f"/api/positions/{position['position_id']}"))
        flows = sum((1 if one["side"] == "sell" else -1) * one["notional"] - one["fees"] for one in found)
        self.assertAlmostEqual(closed["pnl"], flows, places=6)

    def test_pages_follow_each_other_without_a_gap(self) -> None:
        self.trade()
        self.trade(2, "SOL/AVAX")
        every = [one["client_order_id"] for one in told(self.get("/api/fills"))]
        first = told(self.get("/api/fills?limit=3"))
        rest = told(self.get(f"/api/fills?before={first[-1]['client_order_id']}"))
        self.assertEqual(every, [one["client_order_id"] for one in (*first, *rest)])
        self.assert_problem(self.get("/api/fills?before=nothing"), 404, "NOT_FOUND")
