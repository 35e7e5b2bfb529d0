"""The test runner: Django's own, with a private Redis and an empty DATA_DIR of its own.

The law: no test sees the developer's environment, `.env`, files or Redis.
"""

import atexit
import functools

from django.conf import settings
from django.test.runner import DiscoverRunner

from executor_agent.redis_server import RunningRedis, start_redis


@functools.cache
def private_redis() -> RunningRedis | None:
    """The Redis of this test process, started at the first call and gone with it; None where no server can be started.

    For tests that need a real server; usable without the runner, from the main thread.
    """
    running = start_redis(None)
    if running is not None:
        atexit.register(running.stop)
    return running


class DeskTestRunner(DiscoverRunner):
    """Django's discovery; the desk is pointed at the private Redis before the first test."""

    def setup_test_environment(self, **kwargs: object) -> None:
        super().setup_test_environment(**kwargs)
        redis = private_redis()
        if redis is None:
            self.log("No Redis server can be started here; the tests that need one are skipped.")
        else:
            settings.DESK_CONFIG = settings.DESK_CONFIG.model_copy(update={"redis_url": redis.url})
