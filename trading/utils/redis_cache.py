"""The cache in Redis: marks, quotes, heartbeats and the tail of the log, all of which may vanish.

The law: no call raises, and none takes longer than `CALL_SECONDS_MAX` whatever Redis, the network or the resolver does;
a failure is a miss. After one, calls miss at once for `DOWN_SECONDS`: a dead Redis does not slow every caller down.

redis-py bounds each connect and each read, not a call: a fresh connection alone makes several of both, an answer may
come in drips, and looking up a name has no bound at all. So calls run on a few threads of their own, and the caller
waits for the result only as long as it may; what comes later is dropped.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from trading.domain.errors import InvalidRequest
from trading.ports import Clock, Json

CALL_SECONDS_MAX = 0.5
DOWN_SECONDS = 1.0
ANSWERED_SECONDS = 0.25
COMPLAINT_SECONDS = 60.0
TTL_SECONDS_MAX = 7 * 86_400.0
DATABASE = 3
PREFIX = "executor:"
_SOCKET_SECONDS_MAX = 0.2
_THREADS = 4

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class RedisCache:
    """The Cache port, and a capped list for the log's tail. *url* without a database means database 3.

    Raises InvalidRequest naming REDIS_URL for a *url* that is none; connects at the first call, not before.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        try:
            self._redis: Redis = Redis.from_url(
                url,
                db=DATABASE,
                socket_timeout=_SOCKET_SECONDS_MAX,
                socket_connect_timeout=_SOCKET_SECONDS_MAX,
                # redis-py's default of ten retries holds a call for 4.5 s when nobody listens.
                retry=Retry(NoBackoff(), 0),
                # RESP2 and no library name: every server understands it, and connecting costs one exchange, not four.
                protocol=2,
                driver_info=None,
            )
        except ValueError as error:
            raise InvalidRequest({"REDIS_URL": "must be a URL such as redis://localhost:6379/3"}) from error
        self._clock = clock
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="redis-cache")
        self._down_until = clock.monotonic()
        self._silent_until = clock.monotonic()
        self._answered_at: float | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether Redis answers: a ping now, or anything a quarter of a second ago with nothing amiss since."""
        answered_at = self._answered_at
        if answered_at is not None and self._clock.monotonic() - answered_at <= ANSWERED_SECONDS:
            return True
        return self._call(lambda: bool(self._redis.ping())) or False

    def put(self, key: str, value: Json, ttl_seconds: float) -> None:
        self.put_many({key: value}, ttl_seconds)

    def put_many(self, values: Mapping[str, Json], ttl_seconds: float) -> None:
        """Store all of *values* in one exchange. A value that is no JSON, and a time of zero or less, store nothing."""
        milliseconds = int(min(ttl_seconds, TTL_SECONDS_MAX) * 1000)
        texts = {PREFIX + key: text for key, value in values.items() if (text := self._text(key, value)) is not None}
        if not texts or milliseconds <= 0:
            return

        def store() -> None:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name, text in texts.items():
                    pipeline.set(name, text, px=milliseconds)
                pipeline.execute()

        self._call(store)

    def get_many(self, keys: Sequence[str]) -> Mapping[str, Json]:
        if not keys:
            return {}
        texts = self._call(lambda: _texts(self._redis.mget([PREFIX + key for key in keys]))) or []
        return {key: value for key, text in zip(keys, texts, strict=False) for value in _values([text])}

    def push_many(self, values: Mapping[str, Json], keep: int, ttl_seconds: float) -> None:
        """Put each value at the head of the list of its key, in one exchange; the newest *keep* of a list stay, and all
        of it goes that long after the last one. A value that is no JSON is left out."""
        milliseconds = int(min(ttl_seconds, TTL_SECONDS_MAX) * 1000)
        texts = {PREFIX + key: text for key, value in values.items() if (text := self._text(key, value)) is not None}
        if not texts or milliseconds <= 0:
            return

        def store() -> None:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name, text in texts.items():
                    pipeline.lpush(name, text)
                    pipeline.ltrim(name, 0, keep - 1)
                    pipeline.pexpire(name, milliseconds)
                pipeline.execute()

        self._call(store)

    def push_all(self, key: str, values: Sequence[Json], keep: int, afresh: bool = False) -> bool:
        """Put *values*, oldest first, at the head of the list *key* in one exchange and keep its newest *keep*; True
        when that is done, False, and nothing done, when one of them is no JSON.

        *afresh* empties the list first.
        """
        texts = [text for one in values[-keep:] if (text := self._text(key, one)) is not None]
        if not texts or len(texts) < len(values[-keep:]):
            return False

        def push() -> bool:
            with self._redis.pipeline(transaction=True) as pipeline:
                if afresh:
                    pipeline.delete(PREFIX + key)
                pipeline.lpush(PREFIX + key, *texts)
                pipeline.ltrim(PREFIX + key, 0, keep - 1)
                pipeline.execute()
            return True

        return self._call(push) or False

    def tail(self, key: str, limit: int) -> tuple[Json, ...]:
        """The newest *limit* values of the list *key*, newest first; none when Redis does not answer."""
        if limit <= 0:
            return ()
        return tuple(_values(self._call(lambda: _texts(self._redis.lrange(PREFIX + key, 0, limit - 1))) or []))

    def close(self) -> None:
        """Give the connections and threads back; every later call is a miss."""
        self._answered_at, self._closed = None, True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._redis.close()

    def _call(self, command: Callable[[], _Result]) -> _Result | None:
        """What *command* returned, or None when Redis is down, has just been, or takes too long."""
        if self._clock.monotonic() < self._down_until:
            return None
        try:
            future = self._threads.submit(command)
        except RuntimeError:
            return None if self._closed else self._at_the_end(command)
        try:
            result = future.result(CALL_SECONDS_MAX)
            self._answered_at = self._clock.monotonic()
            return result
        except (RedisError, OSError, ValueError, CancelledError) as error:
            # ValueError: something that does not speak Redis answered.
            future.cancel()
            self._answered_at = None
            self._down_until = self._clock.monotonic() + DOWN_SECONDS
            self._complain(f"Redis does not answer: {type(error).__name__}")
            return None

    def _at_the_end(self, command: Callable[[], _Result]) -> _Result | None:
        """The interpreter is ending and gives out no threads: what is still asked for waits as long as its socket may,
        in a thread that the end of the process does not wait for."""
        with suppress(RedisError, OSError, ValueError):
            return command()
        return None

    def _text(self, key: str, value: Json) -> str | None:
        try:
            return json.dumps(value, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            self._complain(f"the value for {key} is no JSON: {type(error).__name__}")
            return None

    def _complain(self, message: str) -> None:
        now = self._clock.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + COMPLAINT_SECONDS
            _logger.warning("%s; the cache is doing without", message)


def _texts(answer: object) -> list[bytes | None]:
    """redis-py types its answers for its asynchronous client too; this one gives lists of bytes and nothing else."""
    return cast(list[bytes | None], answer)


def _values(texts: Iterable[bytes | None]) -> Iterator[Json]:
    """The JSON of those of *texts* that are there; what somebody else wrote and is no JSON counts as not there."""
    for text in texts:
        with suppress(ValueError, RecursionError):
            if text is not None:
                yield json.loads(text)
