"""Whatever is sent, the answer is never a 5xx, always JSON, and bad input leaves nothing but log lines."""

import json
import unittest

from tests.api.base import EXECUTE, ApiTestCase

try:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise unittest.SkipTest("hypothesis is not installed; requirements-dev.txt has it") from error

FAST = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NAMES = (
    *(
        "signal_id",
        "position_size",
        "pair",
        "leverage",
        "execution",
        "twap",
        "take_profit",
        "stop_loss",
        "trailing_stop",
    ),
    *("max_holding_seconds", "time_window", "duration_seconds", "slices", "arm", "gap", "scope", "accept_drift"),
)
WORDS = ("BTC/ETH", "market", "twap", "5min", "account", "book", "BTC", "signal_123", "1000", "NaN", "\ud800", "\x00")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
    | st.sampled_from((0, -1, 0.01, 0.02, 1e308, 10**400, 2))
)
NAMED = st.sampled_from(NAMES) | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMED, inner, max_size=4), max_leaves=12
)
BODIES = st.dictionaries(NAMED, ANYTHING, max_size=8)
WRITES = (
    ("POST", EXECUTE),
    ("POST", "/api/trades/preview"),
    ("POST", "/api/trades/trd_1/cancel"),
    ("POST", "/api/trades/trd_1/resume"),
    ("PATCH", "/api/positions/pos_1"),
    ("POST", "/api/positions/pos_1/close"),
    # The last, because without a body it does what it is asked to.
    ("POST", "/api/resume"),
)


class AnyInputTest(ApiTestCase):
    def assert_answered(self, method: str, path: str, raw: bytes, **headers: str) -> int:
        response = self.send(method, path, raw, **headers)
        self.assertLess(response.status_code, 500, response.content)
        if response.status_code >= 400:
            self.assertTrue(json.loads(response.content)["code"])
        return response.status_code

    @FAST
    @given(st.sampled_from(WRITES), BODIES | ANYTHING)
    def test_no_content_gets_a_5xx(self, write: tuple[str, str], body: object) -> None:
        self.assert_answered(*write, json.dumps(body).encode())

    @FAST
    @given(st.sampled_from(WRITES[:-1]), st.binary(max_size=200))
    def test_no_bytes_get_a_5xx_or_past_the_parser(self, write: tuple[str, str], raw: bytes) -> None:
        before = self.facts_on_disk()
        self.assert_answered(*write, raw)
        self.assertEqual(before, self.facts_on_disk())

    @FAST
    @given(BODIES, st.integers(0, 300), st.binary(min_size=1, max_size=3))
    def test_no_damaged_body_gets_a_5xx(self, body: object, at: int, damage: bytes) -> None:
        raw = json.dumps({"signal_id": "signal_123", **(body if isinstance(body, dict) else {})}).encode()
        self.assert_answered("POST", EXECUTE, raw[:at] + damage + raw[at + 1 :])

    @FAST
    @given(BODIES)
    def test_a_request_without_a_good_size_never_opens_anything(self, body: dict[str, object]) -> None:
        before = self.facts_on_disk()
        status = self.assert_answered("POST", EXECUTE, json.dumps({**body, "position_size": -1}).encode())
        self.assertEqual((400, before), (status, self.facts_on_disk()))

    @FAST
    @given(st.sampled_from(("limit", "status", "before", "x")), st.text(max_size=20))
    def test_no_query_gets_a_5xx(self, name: str, value: str) -> None:
        for path in ("/api/positions", "/api/trades", "/api/agent/logs", "/api/portfolio"):
            response = self.client.get(path, {name: value.encode("utf-8", "surrogatepass")})
            self.assertLess(response.status_code, 500)

    @FAST
    @given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
    def test_no_header_gets_a_5xx(self, value: str) -> None:
        for header in (
            "Idempotency-Key",
            "Authorization",
            "Origin",
            "Host",
            "Accept",
            "Content-Type",
            "Sec-Fetch-Site",
        ):
            self.assert_answered("POST", EXECUTE, b"{}", **{header: value})
