"""Every malformed body, type, range, field, pair, id and parameter: the contract's status and code, the field named."""

import json
from io import BytesIO
from typing import Any

from django.test import override_settings

from tests.api.base import EXECUTE, ApiTestCase, told
from trading.parsers import BODY_BYTES_MAX, DEPTH_MAX
from trading.serializers import FIELDS_TOLD_MAX

GOOD = {"signal_id": "signal_123", "position_size": 1000}


def with_raw(name: str, text: str) -> bytes:
    """A good body but for the field *name*, whose value is the raw JSON *text*."""
    rest = {key: value for key, value in GOOD.items() if key != name}
    return (json.dumps(rest)[:-1] + f', "{name}": {text}}}').encode()


BODIES: tuple[tuple[str, bytes, str], ...] = (
    ("nothing but spaces", b"   ", "body"),
    ("no JSON", b"{signal_id: 1}", "body"),
    ("cut off", b'{"signal_id": "signal_123", "position_', "body"),
    ("two values", b"{} {}", "body"),
    ("a trailing comma", b'{"signal_id": "signal_123",}', "body"),
    ("an array", b"[]", "body"),
    ("an array of a good object", json.dumps([GOOD]).encode(), "body"),
    ("a string", b'"signal_123"', "body"),
    ("a number", b"1000", "body"),
    ("true", b"true", "body"),
    ("null", b"null", "body"),
    ("NaN", b"NaN", "body"),
    ("broken UTF-8", b'{"signal_id": "\xff\xfe", "position_size": 1000}', "body"),
    ("UTF-16", json.dumps(GOOD).encode("utf-16"), "body"),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "body"),
    ("NUL bytes", b"\x00\x00\x00", "body"),
    ("a raw control character in a string", b'{"signal_id": "a\x01b", "position_size": 1000}', "body"),
    ("half a surrogate pair as a value", b'{"signal_id": "\\ud800", "position_size": 1000}', "body"),
    ("half a surrogate pair as a name", b'{"\\udfff": 1, "signal_id": "a", "position_size": 1000}', "body"),
    ("half a surrogate pair far down", with_raw("twap", '{"slices": [["\\ud800"]]}'), "body"),
    ("arrays nested too deep", with_raw("pair", "[" * DEPTH_MAX + "]" * DEPTH_MAX), "body"),
    ("objects nested too deep", with_raw("pair", '{"a":' * 5000 + "1" + "}" * 5000), "body"),
    ("30,000 open brackets", b"[" * 30_000, "body"),
    ("a field twice", b'{"signal_id": "a", "signal_id": "b", "position_size": 1000}', "signal_id"),
    ("a field twice far down", with_raw("twap", '{"slices": 2, "slices": 3}'), "slices"),
    ("one byte too many", json.dumps(GOOD).encode().ljust(BODY_BYTES_MAX + 1), "body"),
    ("3 MB", with_raw("pair", '"' + "x" * 3_000_000 + '"'), "body"),
)

FIELDS: dict[str, tuple[str, ...]] = {
    "signal_id": (
        "null",
        "1",
        "true",
        "[]",
        "{}",
        '""',
        '" "',
        '" a"',
        '"a "',
        '"a\\nb"',
        '"\\u0000"',
        f'"{"x" * 129}"',
    ),
    "position_size": (
        *("null", "true", "false", "[]", "{}", "[1000]", '""', '"a lot"', '"NaN"', '"1_000"', '" 1000"', '"1e999"'),
        *("0", "-0", "-1", "0.0", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e13", "1000000000001"),
        *("1e-400", "9" * 5000, "0." + "1" * 5000, "1e99999999999999999999", '"\\uff11"', '"+5"', '"0x10"', '"-5"'),
    ),
    "pair": (
        *("null", "1", "true", "[]", "{}", '""', '"BTC"', '"BTC/"', '"/ETH"', '"/"', '"BTC/ETH/SOL"', '"BTC-ETH"'),
        *('"BTC/BTC"', '"BTC / ETH"', '"BTC/ETH "', '"B\\u0000/ETH"', '"<b>/ETH"', f'"{"B" * 33}/ETH"', '"BTC/ΞTH"'),
        *('"../ETH"', '"BTC//ETH"', '["BTC", "ETH"]'),
    ),
    "leverage": ("null", "0", "-1", "1.5", "101", "1e400", "NaN", '"2"', "true", "[]", "{}", "1e30"),
    "execution": ("null", "1", "true", '""', '"limit"', '"MARKET"', '"twap "', "[]", "{}"),
    "take_profit": ("null", "0", "-0.02", "0.0009", "5.01", "NaN", "Infinity", '"0.02"', "true", "[]", "{}"),
    "stop_loss": ("null", "0", "-0.01", "0.0019", "0.51", "NaN", "-Infinity", '"0.01"', "false", "[]", "{}"),
    "max_holding_seconds": ("null", "0", "-1", "1.5", "31536001", "1e300", '"60"', "true", "[]", "{}"),
    "time_window": ("null", "5", '""', '"5 min"', '"2min"', "true", '["5min"]', "{}"),
    "trailing_stop": ("null", "0.01", '"x"', "true", "[]", "[0.02, 0.01]"),
    "twap": ("null", "5", '"x"', "true", "[]", "[60, 5]"),
}

INNER: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("twap", '{"slices": 0}', ("twap.slices",)),
    ("twap", '{"slices": 501}', ("twap.slices",)),
    ("twap", '{"slices": 2.5}', ("twap.slices",)),
    ("twap", '{"slices": "5", "duration_seconds": null}', ("twap.slices", "twap.duration_seconds")),
    ("twap", '{"duration_seconds": 0}', ("twap.duration_seconds",)),
    ("twap", '{"duration_seconds": 86401}', ("twap.duration_seconds",)),
    ("twap", '{"duration_seconds": NaN}', ("twap.duration_seconds",)),
    ("twap", '{"duration": 60}', ("twap.duration",)),
    ("trailing_stop", "{}", ("trailing_stop.arm", "trailing_stop.gap")),
    ("trailing_stop", '{"arm": 0.02}', ("trailing_stop.gap",)),
    ("trailing_stop", '{"gap": 0.01}', ("trailing_stop.arm",)),
    ("trailing_stop", '{"arm": 0.01, "gap": 0.01}', ("trailing_stop.gap",)),
    ("trailing_stop", '{"arm": 0.01, "gap": 0.02}', ("trailing_stop.gap",)),
    ("trailing_stop", '{"arm": 0.02, "gap": 0}', ("trailing_stop.gap",)),
    ("trailing_stop", '{"arm": 6, "gap": 0.01}', ("trailing_stop.arm",)),
    ("trailing_stop", '{"arm": null, "gap": "0.01"}', ("trailing_stop.arm", "trailing_stop.gap")),
    ("trailing_stop", '{"arm": 0.02, "gap": 0.01, "step": 1}', ("trailing_stop.step",)),
)

EXITS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{}", ("body",)),
    ('{"take_profit": null}', ("take_profit",)),
    ('{"stop_loss": null}', ("stop_loss",)),
    ('{"stop_loss": 0.6, "take_profit": 0}', ("stop_loss", "take_profit")),
    ('{"trailing_stop": {"arm": 0.01, "gap": 0.05}}', ("trailing_stop.gap",)),
    ('{"trailing_stop": 0.01}', ("trailing_stop",)),
    ('{"max_holding_seconds": 0}', ("max_holding_seconds",)),
    ('{"time_window": "5min"}', ("time_window",)),
    ('{"leverage": null}', ("leverage",)),
    ("[]", ("body",)),
)

QUERIES: tuple[tuple[str, str], ...] = (
    ("/api/positions?limit=0", "limit"),
    ("/api/positions?limit=-1", "limit"),
    ("/api/positions?limit=1001", "limit"),
    ("/api/positions?limit=ten", "limit"),
    ("/api/positions?limit=", "limit"),
    ("/api/positions?limit=1.5", "limit"),
    ("/api/positions?limit=%EF%BC%91", "limit"),
    ("/api/positions?limit=" + "9" * 5000, "limit"),
    ("/api/positions?limit=5&limit=6", "limit"),
    ("/api/positions?status=OPEN", "status"),
    ("/api/positions?status=", "status"),
    ("/api/positions?status=open&status=closed", "status"),
    ("/api/positions?before=", "before"),
    ("/api/positions?before=%00", "before"),
    ("/api/positions?before=" + "x" * 129, "before"),
    ("/api/positions?page=2", "page"),
    ("/api/positions?format=xlsx", "format"),
    ("/api/positions?%ff=1", "\ufffd"),
    ("/api/trades?status=open", "status"),
    ("/api/trades?limit=0", "limit"),
    ("/api/agent/logs?limit=0", "limit"),
    ("/api/agent/logs?limit=1001", "limit"),
    ("/api/agent/logs?before=x", "before"),
    ("/api/portfolio?limit=5", "limit"),
    ("/api/signals?limit=5", "limit"),
    ("/api/time_windows?x=1", "x"),
    ("/api/health?x=1", "x"),
)


class BadInputTest(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = self.facts_on_disk()

    def tearDown(self) -> None:
        self.assertEqual(self.before, self.facts_on_disk(), "bad input wrote more than log lines")
        super().tearDown()

    def test_a_body_that_is_no_usable_json_object_is_refused(self) -> None:
        for name, raw, field in BODIES:
            for path in (EXECUTE, "/api/trades/preview"):
                with self.subTest(name, path=path):
                    self.assert_invalid(self.post(path, raw), field)

    def test_a_field_of_the_wrong_type_or_range_is_named(self) -> None:
        for field, values in FIELDS.items():
            for value in values:
                with self.subTest(field, value=value[:40]):
                    self.assert_invalid(self.execute(with_raw(field, value)), field)

    def test_a_field_within_a_field_is_named_with_both(self) -> None:
        for field, value, wrong in INNER:
            with self.subTest(field, value=value):
                self.assert_invalid(self.execute(with_raw(field, value)), *wrong)

    def test_unknown_fields_are_named(self) -> None:
        for field in ("size", "Pair", "signalId", "", "__proto__", "trailing", "drop_trailing"):
            with self.subTest(field):
                self.assert_invalid(self.execute({**GOOD, field: 1}), field)

    def test_an_unknown_name_is_repeated_in_a_printable_and_short_form(self) -> None:
        self.assert_invalid(self.execute({**GOOD, "a\n\u202eb": 1}), "a??b")
        self.assert_invalid(self.execute({**GOOD, "x" * 9000: 1}), "x" * 64 + "...")

    def test_thousands_of_unknown_names_get_a_short_answer(self) -> None:
        names = {f"f{number}": 1 for number in range(5000)}
        for path in (EXECUTE, "/api/positions/pos_1/close"):
            with self.subTest(path):
                response = self.post(path, {**GOOD, **names})
                body = self.assert_problem(response, 400, "INVALID_REQUEST")
                self.assertEqual(FIELDS_TOLD_MAX + 1, len(body["fields"]))
                self.assertIn("more", body["fields"]["body"])
                self.assertLess(len(response.content), 20_000)

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        body = {"position_size": -1, "leverage": 0, "pair": "BTC", "twap": {"slices": 0}, "colour": "red"}
        self.assert_invalid(
            self.execute(body), "signal_id", "position_size", "leverage", "pair", "twap.slices", "colour"
        )

    def test_an_absent_or_empty_body_names_what_is_required(self) -> None:
        for raw in (None, b"", b"{}"):
            with self.subTest(raw):
                self.assert_invalid(self.execute(raw), "signal_id", "position_size")

    def test_a_twap_for_a_market_execution_is_a_contradiction(self) -> None:
        self.assert_invalid(self.execute({**GOOD, "execution": "market", "twap": {"slices": 2}}), "twap")

    def test_two_holding_times_are_a_contradiction(self) -> None:
        body = {**GOOD, "time_window": "5min", "max_holding_seconds": 60}
        self.assert_invalid(self.execute(body), "time_window")

    def test_other_content_types_are_refused_with_the_right_one(self) -> None:
        good = json.dumps(GOOD).encode()
        for kind in (
            *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json", ";"),
            *(
                "application/jsonp",
                "text/json",
                "application/problem+json",
                "application/json, text/plain",
                "\xff/\xff",
            ),
        ):
            with self.subTest(kind):
                response = self.execute(good, **{"Content-Type": kind})
                self.assertIn("application/json", self.assert_invalid(response, "Content-Type")["detail"])

    def test_the_right_content_type_may_carry_parameters_and_capitals(self) -> None:
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/json;charset=latin-1"):
            with self.subTest(kind):
                self.assert_invalid(self.execute(b"{}", **{"Content-Type": kind}), "signal_id", "position_size")

    def test_a_chunked_body_is_refused_and_not_taken_for_an_empty_one(self) -> None:
        for path in (EXECUTE, "/api/positions/pos_1/close", "/api/emergency_stop"):
            with self.subTest(path):
                self.assert_invalid(self.post(path, **{"Transfer-Encoding": "chunked"}), "body")

    def test_a_length_that_is_no_number_is_refused(self) -> None:
        for length in ("-1", "ten", "1e3", "+5", "5, 5", "9" * 30):
            with self.subTest(length):
                response = self.send_raw("POST", EXECUTE, b"{}", CONTENT_LENGTH=length)
                self.assert_invalid(response, "Content-Length")

    def test_a_huge_declared_length_is_refused_without_reading(self) -> None:
        body = NeverRead()
        response = self.send_raw("POST", EXECUTE, b"{}", **instead(body, 3_000_000))
        self.assert_invalid(response, "body")
        self.assertFalse(body.was_read)

    def test_a_body_shorter_or_longer_than_declared_is_judged_by_what_came(self) -> None:
        good = json.dumps(GOOD).encode()
        for length in (len(good) - 5, len(good) - 1):
            with self.subTest(length):
                response = self.send_raw("POST", EXECUTE, good, CONTENT_LENGTH=str(length))
                self.assert_invalid(response, "body")

    def test_a_body_that_breaks_off_is_a_400(self) -> None:
        response = self.send_raw("POST", EXECUTE, b"{}", **instead(BreaksOff(), 50))
        self.assert_invalid(response, "body")

    def test_a_malformed_idempotency_key_is_named(self) -> None:
        for key in ("", " ", "a b", "ä", "x" * 256, "a\tb"):
            with self.subTest(key):
                self.assert_invalid(self.execute(GOOD, **{"Idempotency-Key": key}), "Idempotency-Key")

    def test_a_close_takes_no_conditions(self) -> None:
        for body in ({"fraction": 0.5}, {"quantity": 1}, {"reason": "x"}):
            with self.subTest(body):
                response = self.post("/api/positions/pos_1/close", body)
                self.assertIn("partial closes", self.assert_invalid(response, *body)["detail"])

    def test_a_cancel_takes_no_conditions(self) -> None:
        self.assert_invalid(self.post("/api/trades/trd_1/cancel", {"slices": 2}), "slices")

    def test_exits_that_cannot_be_are_named(self) -> None:
        for raw, fields in EXITS:
            with self.subTest(raw):
                self.assert_invalid(self.send("PATCH", "/api/positions/pos_1", raw.encode()), *fields)

    def test_a_stop_scope_that_is_not_known_is_named(self) -> None:
        for scope in ("all", "", None, 1, ["account"]):
            with self.subTest(scope=scope):
                self.assert_invalid(self.post("/api/emergency_stop", {"scope": scope}), "scope")
        self.assert_invalid(self.post("/api/emergency_stop", {"force": True}), "force")

    def test_accepted_drift_is_a_list_of_coins(self) -> None:
        coins: object
        for coins in ("BTC", None, {}, [1], ["BTC/ETH"], [""], ["BTC"] * 501, [["BTC"]]):
            with self.subTest(coins=str(coins)[:30]):
                self.assert_invalid(self.post("/api/resume", {"accept_drift": coins}), "accept_drift")

    def test_query_parameters_are_as_strict_as_bodies(self) -> None:
        for path, field in QUERIES:
            with self.subTest(path[:60]):
                self.assert_invalid(self.get(path), field)
        self.assert_invalid(self.post(EXECUTE + "?dry_run=1", GOOD), "dry_run")

    def test_too_many_query_parameters_are_a_400(self) -> None:
        self.assert_invalid(self.get("/api/positions?" + "&".join(f"a{n}=1" for n in range(1500))), "request")

    def test_unknown_ids_are_not_found(self) -> None:
        for one in ("pos_1", "x" * 2000, "%00", "%0A", "..", "%F0%9F%92%A9", "%ff", "null", "-1"):
            with self.subTest(one[:40]):
                self.assert_problem(self.get(f"/api/positions/{one}"), 404, "POSITION_NOT_FOUND")
                self.assert_problem(self.post(f"/api/positions/{one}/close"), 404, "POSITION_NOT_FOUND")
                self.assert_problem(
                    self.send("PATCH", f"/api/positions/{one}", {"stop_loss": 0.01}), 404, "POSITION_NOT_FOUND"
                )
                self.assert_problem(self.get(f"/api/trades/{one}"), 404, "TRADE_NOT_FOUND")
                self.assert_problem(self.post(f"/api/trades/{one}/cancel"), 404, "TRADE_NOT_FOUND")

    def test_unknown_routes_and_methods_are_problems_also_while_debugging(self) -> None:
        for debug in (False, True):
            with self.subTest(debug=debug), override_settings(DEBUG=debug):
                for path in ("/nowhere", "/api", "/api/", "/api/position", "//api/health", "/api/health/x", "/%ff"):
                    self.assert_problem(self.get(path), 404, "NOT_FOUND")
                for method, path in (("DELETE", "/api/positions/pos_1"), ("PUT", EXECUTE), ("GET", EXECUTE)):
                    response = self.send(method, path)
                    self.assert_problem(response, 405, "METHOD_NOT_ALLOWED")
                    self.assertIn("OPTIONS", response["Allow"])
                self.assert_problem(self.send("BREW", "/api/health"), 405, "METHOD_NOT_ALLOWED")

    def test_options_tells_the_methods_and_nothing_else(self) -> None:
        response = self.send("OPTIONS", EXECUTE)
        self.assertEqual((204, b"", "POST, OPTIONS"), (response.status_code, response.content, response["Allow"]))

    def test_head_is_get_without_the_body(self) -> None:
        response = self.send("HEAD", "/api/time_windows")
        self.assertEqual((200, b""), (response.status_code, response.content))

    def test_whatever_is_accepted_the_answer_is_json(self) -> None:
        for accept in ("text/html", "image/png", "nonsense", "application/json; q=0", "*/*"):
            with self.subTest(accept):
                response = self.get("/api/time_windows", Accept=accept)
                self.assertEqual((200, "application/json"), (response.status_code, response["Content-Type"]))
                self.assertEqual("5min", told(response)["default"])


def instead(body: BytesIO, length: int) -> dict[str, Any]:
    """The WSGI environment with another body, said to be *length* bytes long."""
    return {"CONTENT_LENGTH": str(length), "wsgi.input": body}


class NeverRead(BytesIO):
    """A body nobody should touch: a 3 MB body is refused by its declared length alone."""

    was_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.was_read = True
        return b""


class BreaksOff(BytesIO):
    """A caller that goes away in the middle of the body."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise ConnectionResetError("gone")
