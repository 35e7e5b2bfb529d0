"""The test runner: Django's own, with a private Redis and an empty DATA_DIR for each of its processes.

The law: no test sees the developer's environment, `.env`, files or Redis, nor those of a test that runs beside it.
"""

import functools
import multiprocessing
import multiprocessing.util
import os
import pickle
import shutil
import sys
import tempfile
import traceback
import unittest
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test.runner import DiscoverRunner, ParallelTestSuite, RemoteTestResult, RemoteTestRunner

from executor_agent.redis_server import RunningRedis, start_redis

WAITING = 2
"""Processes beyond the processors: a third of its time a test of programs waits for their clocks, and with one such
process fewer a processor is idle for a seventh of a run."""
PROCESSES_MAX = 4
"""Four are what the suite is timed for; more would make programs under test wait for each other."""
MEMORY = Path("/dev/shm")  # noqa: S108 - only asked whether it is there; folders in it are made by tempfile
MEMORY_BYTES_MIN = 2 << 30
"""What must be free in memory before the files of the tests go there, where a synced write costs no time."""
LONG = (
    "tests.servers.test_process_kills",
    "tests.browser",
    "tests.simulation.test_world",
    "tests.servers",
    "tests.simulation",
    "tests.unit.test_commands",
    "tests.api.test_fuzz",
    "tests.contracts",
)
"""What takes seconds a test begins first, so that no process is left with it when the others are done; and what only
computes beside what mostly waits."""


@functools.cache
def private_redis() -> RunningRedis | None:
    """The Redis of this test process, started at the first call and gone with it; None where no server can be started.

    For tests that need a real server; usable without the runner, from the main thread.
    """
    running = start_redis(None)
    if running is not None:
        _at_the_end(running.stop)
    return running


def _at_the_end(do: Callable[[], object]) -> None:
    """Have *do* called when this process ends; `atexit` is not heard in one that multiprocessing has started."""
    multiprocessing.util.Finalize(None, do, exitpriority=0)


def processes_by_default() -> int:
    """How many processes `manage.py test` uses when it is not told: one where they could not be told apart.

    Coverage measures this process only, unless its own options say otherwise; a debugger and `spawn` want one, too.
    Without tblib a failure would come back from another process as a riddle.
    """
    forks = sys.platform == "linux" and multiprocessing.get_start_method() == "fork"
    if not forks or sys.gettrace() is not None or "coverage" in sys.modules or find_spec("tblib") is None:
        return 1
    return min(PROCESSES_MAX, len(os.sched_getaffinity(0)) + WAITING)


def roomy_memory() -> str | None:
    """The file system in memory, if the tests' files find room in it; programs that tests start follow TMPDIR there."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return None
    return str(MEMORY) if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN else None


def _move_into_memory() -> None:
    """Have this process, and what it starts, write its files into one folder in memory that goes with it."""
    memory = roomy_memory()
    if memory is None:
        return
    folder = tempfile.mkdtemp(prefix="executor_agent_tests_", dir=memory)
    _at_the_end(functools.partial(shutil.rmtree, folder, ignore_errors=True))
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    settings.DESK_CONFIG = settings.DESK_CONFIG.model_copy(update={"data_dir": Path(folder) / "data"})


def _surroundings(data_dir_name: str | None = None) -> bool:
    """Point the desk of this process at its own Redis and, given a name, at a folder inside the run's. False without a
    Redis."""
    redis = private_redis()
    changes: dict[str, object] = {} if redis is None else {"redis_url": redis.url}
    if data_dir_name is not None:
        changes["data_dir"] = settings.DESK_CONFIG.data_dir / data_dir_name
        settings.DESK_CONFIG.data_dir.mkdir(parents=True, exist_ok=True)
    settings.DESK_CONFIG = settings.DESK_CONFIG.model_copy(update=changes)
    return redis is not None


def _init_process(*args: Any) -> None:
    """What Django does in a new process, and surroundings that are not those of the process it was forked from."""
    ParallelTestSuite.init_worker(*args)
    # Tests of what several processes share start some of their own, which a daemon may not.
    multiprocessing.current_process().daemon = False
    private_redis.cache_clear()
    _surroundings(f"process-{os.getpid()}")


def travels(what: object) -> bool:
    """Whether *what* can be sent to another process and be read there."""
    try:
        pickle.loads(pickle.dumps(what))  # noqa: S301 - what this process has written itself
    except Exception:  # whatever writing or reading it raises is the answer
        return False
    return True


def fit_to_travel(error: Any, about: str = "") -> Any:
    """*error* (type, exception, traceback), or its words where it cannot be sent as it is. An exception that the other
    side cannot read would end the thread that reads there, and the run would wait for ever."""
    if travels(error) and not about:
        return error
    words = "".join([about, *traceback.format_exception(*error)])
    return (AssertionError, AssertionError(words), None)


class Result(RemoteTestResult):
    """What a process tells of its tests, in such a form that it arrives."""

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, fit_to_travel(err))

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, fit_to_travel(err))

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, fit_to_travel(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """One that cannot be sent, for what its test holds, is told as a failure of its test."""
        if err is not None and not travels(subtest):
            super().addFailure(test, fit_to_travel(err, f"{subtest}\n"))
        else:
            super().addSubTest(test, subtest, err and fit_to_travel(err))


class _Runner(RemoteTestRunner):
    resultclass = Result


class _Suite(ParallelTestSuite):
    init_worker = _init_process
    runner_class = _Runner

    def __init__(self, subsuites: Sequence[Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(sorted(subsuites, key=_rank), *args, **kwargs)


def _rank(subsuite: Any) -> int:
    module = type(next(iter(subsuite))).__module__
    return next((place for place, name in enumerate(LONG) if module.startswith(name)), len(LONG))


class Counted(unittest.TestResult):
    """Beside any other result: how many tests `passed`. What is left of all of them when failures and skips are taken
    away is not that, for of a class that is skipped as a whole no test has begun."""

    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed += 1


class DeskTestRunner(DiscoverRunner):
    """Django's discovery, in several processes unless it is told otherwise (`--parallel 1`)."""

    parallel_test_suite = _Suite

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parallel": options.get("parallel") or processes_by_default()})

    def setup_test_environment(self, **kwargs: object) -> None:
        super().setup_test_environment(**kwargs)
        _move_into_memory()
        # What a test starts without an environment of its own must not find a live desk's file here.
        os.environ["ENV_FILE"] = ""
        if not _surroundings():
            self.log("No Redis server can be started here; the tests that need one are skipped.")

    def get_resultclass(self) -> Any:
        return type("Result", (Counted, super().get_resultclass() or unittest.TextTestResult), {})

    def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
        """How many tests failed; what became of all of them closes the output on a line by itself.

        Readers of such output know the line as `N passed, N failed, N skipped`; anything behind it hides it from them.
        """
        failed = len({getattr(one, "test_case", one).id() for one, _ in (*result.failures, *result.errors)})
        print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped", flush=True)
        return super().suite_result(suite, result, **kwargs)
