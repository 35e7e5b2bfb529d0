"""The session at Pear: tokens in memory, renewed in time, one renewal at a time, one replay after a 401."""

import threading
import unittest
from typing import NoReturn
from unittest import mock

from tests.processes import wait_until
from tests.servers.hyperliquid.faults import Answer, Commit, Fault
from tests.servers.pear import API_KEY, CLIENT_ID, server
from tests.unit.pear_world import OPEN, PearWorld
from trading.adapters.pear_api import Done, PearApi
from trading.adapters.pear_wire import Refused, Unclear
from trading.domain.errors import InvalidRequest, VenueUnavailable

WAIT_SECONDS = 10
REFRESH, LOGIN, POSITIONS = "POST /auth/refresh", "POST /auth/login", "GET /positions"


class CountedLock:
    """A lock that knows who asked for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.asked: list[int] = []

    def __enter__(self) -> None:
        self.asked.append(threading.get_ident())
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Sessions(PearWorld):
    def setUp(self) -> None:
        super().setUp()
        self.api = self.venue.pear

    def test_constructing_sends_nothing_and_the_first_read_logs_in_once(self) -> None:
        self.assertEqual(self.pear.received, [])
        self.api.read("/positions")
        self.api.read("/positions")
        self.assertEqual((self.pear.count(LOGIN), self.pear.count(REFRESH)), (1, 0))

    def test_a_token_is_renewed_a_minute_before_its_end_by_the_token_that_serves_once(self) -> None:
        self.api.log_in()
        self.clock.advance(839)
        self.api.log_in()
        self.assertEqual(self.pear.count(REFRESH), 0)
        for turn in (1, 2, 3):
            self.clock.advance(840)
            self.api.read("/positions")
            self.assertEqual((self.pear.count(LOGIN), self.pear.count(REFRESH)), (1, turn))

    def test_a_401_is_followed_by_one_renewal_and_one_replay(self) -> None:
        self.api.log_in()
        self.pear.sessions.expire_all()
        self.assertEqual(self.api.read("/positions"), [])
        self.assertEqual((self.pear.count(POSITIONS), self.pear.count(REFRESH)), (2, 1))
        self.pear.sessions.expire_all()
        outcome = self.api.write("POST", "/positions", {})
        self.assertIsInstance(outcome, Refused)
        self.assertEqual((self.pear.count(OPEN), self.pear.count(REFRESH)), (2, 2))

    def test_a_second_401_is_the_answer(self) -> None:
        body = {"statusCode": 401, "error": "Unauthorized", "message": "Invalid or expired token"}
        self.pear.faults.add(Fault(OPEN, Answer.SAYS, Commit.NEVER, "", None, body=body))
        outcome = self.api.write("POST", "/positions", {})
        assert isinstance(outcome, Refused)
        self.assertTrue(outcome.surely_nothing)
        self.assertEqual(self.pear.count(OPEN), 2)
        self.pear.faults.lift()
        self.pear.faults.add(Fault(POSITIONS, Answer.SAYS, Commit.NEVER, "", None, body=body))
        with self.assertRaises(VenueUnavailable) as caught:
            self.api.read("/positions")
        self.assertEqual(caught.exception.facts["status"], 401)

    def test_a_lost_renewal_is_followed_by_a_log_in(self) -> None:
        for answer in (Answer.CLOSED, Answer.SERVER_ERROR, Answer.GARBAGE):
            with self.subTest(answer=answer):
                self.api.log_in()
                logins = self.pear.count(LOGIN)
                self.clock.advance(900)
                self.fault(REFRESH, answer)
                self.assertEqual(self.api.read("/positions"), [])
                self.assertEqual(self.pear.count(LOGIN), logins + 1)

    def test_many_threads_renew_once(self) -> None:
        self.api.log_in()
        self.pear.sessions.expire_all()
        gate = threading.Barrier(6)

        def ask() -> None:
            gate.wait(5)
            self.api.read("/positions")

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.assertEqual((self.pear.count(LOGIN), self.pear.count(REFRESH)), (1, 1))

    def test_who_waited_for_a_renewal_that_failed_does_not_try_it_again(self) -> None:
        """One after the other they waited six seconds each, and a close behind them all before it went elsewhere."""
        gate, tried = threading.Event(), list[str]()
        self.api._lock = door = CountedLock()  # type: ignore[assignment]

        def hangs(path: str, body: object) -> NoReturn:
            tried.append(path)
            gate.wait(WAIT_SECONDS)
            raise VenueUnavailable("Pear did not answer in time")

        def ask() -> None:
            with self.assertRaises(VenueUnavailable):
                self.api.log_in()

        with mock.patch.object(self.api, "_post", hangs):
            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(door.asked) == len(threads), "all of them waiting")
            gate.set()
            for thread in threads:
                thread.join(WAIT_SECONDS)
            self.assertEqual(len(tried), 1)
            ask()
            self.assertEqual(len(tried), 2, "who comes later tries anew")

    def test_a_refused_key_is_said_and_not_tried_again_at_once(self) -> None:
        stranger = self.opened(api_key="another key of nobody").pear
        for _ in range(3):
            with self.assertRaises(VenueUnavailable) as caught:
                stranger.log_in()
            self.assertEqual(caught.exception.facts["status"], 401)
            self.assertNotIn("another key", str(caught.exception))
        self.assertEqual(self.pear.count(LOGIN), 1)
        self.clock.advance(3)
        with self.assertRaises(VenueUnavailable):
            stranger.log_in()
        self.assertEqual(self.pear.count(LOGIN), 2)

    def test_without_a_token_nothing_is_posted(self) -> None:
        stranger = self.opened(api_key="another key of nobody").pear
        with self.assertRaises(VenueUnavailable):
            stranger.write("POST", "/positions", {})
        self.assertEqual(self.pear.count(OPEN), 0)

    def test_a_write_whose_token_was_refused_and_not_renewed_was_not_done(self) -> None:
        self.api.log_in()
        self.pear.sessions.expire_all()
        for route in (REFRESH, LOGIN):
            self.pear.faults.add(Fault(route, Answer.CLOSED, Commit.NEVER, "", None))
        with self.assertRaises(VenueUnavailable):
            self.api.write("POST", "/positions", {})
        self.assertEqual(self.pear.count(OPEN), 1)

    def test_reads_are_repeated_and_writes_are_not(self) -> None:
        self.fault(POSITIONS, Answer.BAD_GATEWAY, Commit.NEVER)
        self.assertEqual(self.api.read("/positions"), [])
        self.assertEqual(self.pear.count(POSITIONS), 2)
        for answer in (Answer.BAD_GATEWAY, Answer.CLOSED, Answer.GARBAGE, Answer.TOO_MANY):
            with self.subTest(answer=answer):
                self.pear.received.clear()
                self.fault(OPEN, answer, Commit.NEVER)
                self.assertIsInstance(self.api.write("POST", "/positions", {}), Unclear)
                self.assertEqual(self.pear.count(OPEN), 1)

    def test_after_a_429_nothing_is_read_for_as_long_as_pear_says(self) -> None:
        self.api.log_in()
        for seconds, rest in ((0, 12.0), (0.001, 1.0)):
            # The simulator tells how long when the fault takes no time.
            with self.subTest(rest=rest):
                self.pear.received.clear()
                self.pear.faults.add(Fault(POSITIONS, Answer.TOO_MANY, Commit.NEVER, "", 1, seconds=seconds))
                for wait in (0.0, rest - 0.1):
                    self.clock.advance(wait)
                    with self.assertRaises(VenueUnavailable) as caught:
                        self.api.read("/positions")
                    self.assertEqual(caught.exception.facts["status"], 429)
                    self.assertEqual(self.pear.count(POSITIONS), 1)
                self.assertIsInstance(self.api.write("POST", "/positions", {}), Refused)
                self.clock.advance(0.2)
                self.assertEqual(self.api.read("/positions"), [])

    def test_however_long_pear_says_it_is_asked_again_in_a_quarter_of_a_minute(self) -> None:
        self.api.log_in()
        self.pear.faults.add(Fault(POSITIONS, Answer.TOO_MANY, Commit.NEVER, "", 1))
        with mock.patch.object(server, "RETRY_AFTER_SECONDS", 3600), self.assertRaises(VenueUnavailable):
            self.api.read("/positions")
        self.clock.advance(15)
        self.assertEqual(self.api.read("/positions"), [])

    def test_a_read_that_cannot_be_had_says_so(self) -> None:
        self.api.log_in()
        self.pear.faults.add(Fault(POSITIONS, Answer.CLOSED, Commit.NEVER, "", None))
        with self.assertRaises(VenueUnavailable):
            self.api.read("/positions")
        self.assertEqual(self.pear.count(POSITIONS), 3)

    def test_nothing_shows_a_secret(self) -> None:
        self.api.log_in()
        session = self.api._session
        assert session is not None
        self.assertNotIn(session.access, repr(session))
        self.assertNotIn(session.refresh, repr(session))
        self.assertNotIn(API_KEY, repr(self.api))

    def test_a_url_that_is_no_use_is_refused_by_its_name(self) -> None:
        with self.assertRaises(InvalidRequest) as caught:
            PearApi("http://pear.example", self.venue.account_id, API_KEY, CLIENT_ID, self.clock)
        self.assertIn("PEAR_API_URL", caught.exception.fields)

    def test_a_write_that_is_carried_out_gives_its_answer(self) -> None:
        outcome = self.api.write("POST", "/positions/close-all", {"executionType": "MARKET"})
        assert isinstance(outcome, Done)
        self.assertEqual(outcome.answer, {"results": []})


if __name__ == "__main__":
    unittest.main()
