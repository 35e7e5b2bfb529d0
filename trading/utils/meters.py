"""What this process measures of itself: requests, calls of its ports, lines of its log; and how processes are shown
together.

The law: a meter never fails what it measures and decides nothing. Only what no file knows is measured here; what the
ledger knows is read from the ledger (see trading.metrics), so that web and monitor never count one thing twice.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from trading.ports import Clock
from trading.utils.disk import SystemDisk, replace_whole
from trading.utils.owner import make_directory

FOLDER = "metrics"
WRITE_SECONDS = 5.0
STALE_SECONDS = 60.0
BYTES_MAX = 1_000_000
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CALL_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STORE_CALLS = ("save", "save_watch", "change_state", "roll_over")
VENUE_CALLS = ("submit", "reports", "account", "quotes", "depths", "funding", "set_leverage")

REGISTRY = CollectorRegistry(auto_describe=False)
REQUESTS = Counter("executor_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "executor_http_request_seconds",
    "From a request to the beginning of its answer.",
    ("method", "route"),
    buckets=REQUEST_BUCKETS,
    registry=REGISTRY,
)
CALL_SECONDS = Histogram(
    "executor_call_seconds",
    "How long the store and the venue took.",
    ("port", "call"),
    buckets=CALL_BUCKETS,
    registry=REGISTRY,
)
CALL_FAILURES = Counter(
    "executor_call_failures", "Calls of the store and the venue that raised.", ("port", "call"), registry=REGISTRY
)

TAKEN_MAX = 1000
_taken: deque[tuple[Histogram, float]] = deque()
_Port = TypeVar("_Port")


def measured(port: _Port, name: str, calls: Collection[str], clock: Clock) -> _Port:
    """*port* itself, the time of its *calls* measured under *name* from now on: a proxy would hide what it is."""
    for call in calls:
        setattr(port, call, _timed(getattr(port, call), name, call, clock))
    return port


def _timed(call: Callable[..., object], port: str, name: str, clock: Clock) -> Callable[..., object]:
    seconds, failures = CALL_SECONDS.labels(port, name), CALL_FAILURES.labels(port, name)

    def timed(*args: Any, **kwargs: Any) -> object:
        began = clock.monotonic()
        try:
            return call(*args, **kwargs)
        except BaseException:
            failures.inc()
            raise
        finally:
            _taken.append((seconds, clock.monotonic() - began))
            if len(_taken) >= TAKEN_MAX:
                _count_taken()

    return timed


def _count_taken() -> None:
    """What was taken since, into its histograms: when somebody looks, for it is seven calls each and a trade has
    twenty."""
    with suppress(IndexError):  # also when another thread has taken the last one
        while True:
            seconds, taken = _taken.popleft()
            seconds.observe(taken)


def of_this_process(process: str) -> Iterator[Metric]:
    """This process's meters, each sample with the label `process`."""
    _count_taken()
    return _labelled(REGISTRY.collect(), process)


def of_another(data_dir: Path, process: str, clock: Clock) -> Iterator[Metric]:
    """What *process* has last written down; nothing when that is older than a minute, or no exposition."""
    path = _path(data_dir, process)
    try:
        age = clock.now().timestamp() - path.stat().st_mtime
        text = path.read_bytes()[:BYTES_MAX].decode()
        families = list(text_string_to_metric_families(text))
    except (OSError, ValueError):
        return iter(())
    return _labelled(families, process) if age <= STALE_SECONDS else iter(())


def write_down(data_dir: Path, process: str) -> None:
    """This process's meters as a file that others read. Raises OSError and StoreCorrupt."""
    make_directory(data_dir / FOLDER)
    _count_taken()
    # Not synced: a meter that is lost in a power failure costs nothing.
    replace_whole(_path(data_dir, process), generate_latest(REGISTRY), SystemDisk(), sync=False)


def keep_writing(data_dir: Path, process: str) -> Callable[[], None]:
    """Write down every few seconds, in a thread that keeps no process from ending; what it returns ends that."""
    stopping = Event()

    def write() -> None:
        while not stopping.wait(WRITE_SECONDS):
            # A full disk is told by others; meters must not fill the log with it.
            with suppress(Exception):
                write_down(data_dir, process)

    Thread(target=write, name="meters", daemon=True).start()
    return stopping.set


def _labelled(families: Iterable[Metric], process: str) -> Iterator[Metric]:
    for family in families:
        shown = Metric(family.name, family.documentation, family.type)
        for one in family.samples:
            # When a counter began is of no use beside a scrape's own record of resets.
            if not one.name.endswith("_created"):
                shown.add_sample(one.name, {"process": process, **one.labels}, one.value)
        yield shown


def _path(data_dir: Path, process: str) -> Path:
    return data_dir / FOLDER / f"{process}.prom"
