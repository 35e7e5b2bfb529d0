"""How often one caller may ask, and what is never counted."""

import math
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from django.http import HttpResponse

from tests.api.base import EXECUTE, ApiTestCase
from tests.api.test_access import API_TOKENS, bearer
from trading.domain.errors import StoreCorrupt
from trading.throttling import CALLERS_MAX, WINDOW_SECONDS, Turnstile, _turnstile_of

READS, TRADES = 5, 3
NOTHING = {"signal_id": ""}


class LimitTest(ApiTestCase):
    configured = {  # noqa: RUF012 (a ClassVar of the base)
        "throttle_read_per_minute": READS,
        "throttle_trade_per_minute": TRADES,
        "api_tokens": API_TOKENS,
        "allow_anonymous_loopback": True,
    }

    def statuses(self, times: int, method: str, path: str, **headers: str) -> list[int]:
        return [self.send(method, path, **headers).status_code for _ in range(times)]

    def test_reads_beyond_the_limit_are_a_429_that_says_when_to_come_back(self) -> None:
        self.assertEqual([200] * READS, self.statuses(READS, "GET", "/api/time_windows"))
        self.clock.advance(20.5)
        response = self.get("/api/positions")
        self.assert_problem(response, 429, "THROTTLED")
        self.assertEqual(str(math.ceil(WINDOW_SECONDS - 20.5)), response["Retry-After"])
        self.clock.advance(WINDOW_SECONDS - 20.5)
        self.assertEqual(200, self.get("/api/positions").status_code)

    def test_trades_and_reads_are_counted_apart(self) -> None:
        self.assertEqual([400] * TRADES + [429], self.statuses(TRADES + 1, "POST", EXECUTE))
        self.assertEqual(200, self.get("/api/positions").status_code)

    def test_a_preview_is_a_read(self) -> None:
        self.statuses(TRADES, "POST", EXECUTE)
        statuses = self.statuses(READS + 1, "POST", "/api/trades/preview")
        self.assertEqual([400] * READS + [429], statuses)

    def test_each_token_and_each_address_has_a_count_of_its_own(self) -> None:
        self.assertEqual(429, self.statuses(READS + 1, "GET", "/api/positions")[-1])
        for scope in ("read", "admin"):
            self.assertEqual([200] * READS + [429], self.statuses(READS + 1, "GET", "/api/positions", **bearer(scope)))
        other = self.send_raw("GET", "/api/positions", b"", REMOTE_ADDR="127.0.0.2")
        self.assertEqual(200, other.status_code)

    def test_refused_requests_do_not_push_the_window_on(self) -> None:
        self.statuses(READS, "GET", "/api/positions")
        for _ in range(6):
            self.clock.advance(WINDOW_SECONDS / 6)
            last = self.get("/api/positions").status_code
        self.assertEqual(200, last)

    def test_what_only_closes_is_never_throttled(self) -> None:
        self.statuses(TRADES + 1, "POST", EXECUTE)
        for path, status in (
            ("/api/positions/pos_1/close", 404),
            ("/api/trades/trd_1/cancel", 404),
            ("/api/emergency_stop", 200),
        ):
            with self.subTest(path):
                self.assertEqual([status] * (TRADES + 2), self.statuses(TRADES + 2, "POST", path))

    def test_asking_what_a_close_would_cost_is_a_read_like_any_other(self) -> None:
        self.assertEqual([404] * READS + [429], self.statuses(READS + 1, "GET", "/api/positions/pos_1/close"))
        self.assertEqual(404, self.send("POST", "/api/positions/pos_1/close").status_code)

    def test_a_resume_counts_as_a_trade(self) -> None:
        self.assertEqual([200] * TRADES + [429], self.statuses(TRADES + 1, "POST", "/api/resume", **bearer("admin")))

    def test_health_is_never_throttled(self) -> None:
        self.assertEqual([200] * (READS + 2), self.statuses(READS + 2, "GET", "/api/health"))

    def test_strangers_are_refused_and_not_counted(self) -> None:
        for _ in range(READS + 1):
            stranger = self.send_raw("GET", "/api/positions", b"", REMOTE_ADDR="203.0.113.7")
            self.assert_problem(stranger, 401, "NOT_AUTHENTICATED")

    def test_requests_at_once_are_not_let_in_beyond_the_limit(self) -> None:
        turnstile = Turnstile()
        with ThreadPoolExecutor(8) as pool:
            waits = list(pool.map(lambda _: turnstile.wait_of("one", 50, 0.0), range(400)))
        self.assertEqual(50, waits.count(0.0))

    def test_the_callers_remembered_are_bounded(self) -> None:
        turnstile = Turnstile()
        for number in range(CALLERS_MAX + 5):
            turnstile.wait_of(number, 1, 0.0)
        self.assertGreater(turnstile.wait_of(CALLERS_MAX, 1, 1.0), 0)
        self.assertEqual(0, turnstile.wait_of(0, 1, 1.0))

    def test_a_limit_that_changes_counts_anew(self) -> None:
        turnstile = _turnstile_of(self.clock)
        self.assertEqual(0, turnstile.wait_of("one", 1, 0.0))
        self.assertEqual(0, turnstile.wait_of("one", 2, 0.0))


class UnlimitedTest(ApiTestCase):
    def test_zero_is_off(self) -> None:
        answers: list[HttpResponse] = [self.get("/api/time_windows") for _ in range(700)]
        self.assertEqual({200}, {answer.status_code for answer in answers})


class DeadRedisTest(ApiTestCase):
    configured = {"throttle_read_per_minute": 2, "throttle_trade_per_minute": 1}  # noqa: RUF012 (as above)

    def test_without_redis_reads_are_served_and_trades_are_bounded(self) -> None:
        self.assertFalse(self.desk.cache.connected)
        self.assertEqual(200, self.get("/api/positions").status_code)
        self.assertEqual([400, 429], [self.execute(NOTHING).status_code for _ in range(2)])

    def test_without_a_desk_the_answer_says_so_and_is_not_a_429(self) -> None:
        with mock.patch("trading.throttling.get_desk", side_effect=StoreCorrupt("trades.json:7 is damaged")):
            self.assertEqual([200] * 4, [self.get("/api/time_windows").status_code for _ in range(4)])
