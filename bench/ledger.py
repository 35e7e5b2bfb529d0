"""What the ledger costs, as ratios: `python -m bench.ledger [--trades 100000] [--folder DIR] [--json FILE]`.

The law: what is compared is measured in turns within one run, so that a busy machine slows both alike; medians are
compared, and the spread is printed beside them. Exit 1 when a bound does not hold.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.figures import whole_lives
from tests.builders import T0, after, given_a_filled_close, given_a_filled_trade, given_a_trade, given_watch
from trading.domain.book import Book, book_of
from trading.domain.codec import encode_watch
from trading.domain.desk_state import Binding
from trading.domain.trades import Trade, replay
from trading.domain.units import PositionId
from trading.utils.backup import restore, write_backup
from trading.utils.disk import SystemDisk
from trading.utils.inspection import verify
from trading.utils.json_storage import JsonStore
from trading.utils.ledger import BOOK, LEDGER, ledger_record, projection

BINDING = Binding("paper", "bench", "0xbench")
ROOT = Path(__file__).resolve().parents[1]
SAVES = 400
WARM_UP = 20
PROCESSES, WRITES = 8, 500
NEVER = 1 << 60
SAVE_GROWTH_MAX, SAVE_TO_BARE_MAX, OPEN_SECONDS_MAX, OPEN_MIB_MAX, ALL_SECONDS_MAX = 1.2, 3.0, 2.0, 200.0, 60.0

_OPEN = """
import sys, time
from pathlib import Path
from bench.ledger import highest_mib, query
from trading.domain.desk_state import Binding
from trading.utils.json_storage import JsonStore
started = time.perf_counter()
store = JsonStore(Path(sys.argv[1]), Binding(*sys.argv[2:5]))
opened, memory = time.perf_counter() - started, highest_mib()
started = time.perf_counter()
if sys.argv[5] != "0":
    query(store.book(), int(sys.argv[5]))
print(opened, memory, time.perf_counter() - started, highest_mib())
"""
_WRITE = """
import sys
from pathlib import Path
from tests.builders import given_a_trade
from trading.domain.desk_state import Binding
from trading.utils.json_storage import JsonStore
store = JsonStore(Path(sys.argv[1]), Binding(*sys.argv[2:5]))
trades = [given_a_trade(signal_id=f"{sys.argv[5]}-{number}") for number in range(int(sys.argv[6]))]
print("ready", flush=True)
sys.stdin.readline()
for trade in trades:
    store.save(trade)
"""


@dataclass
class Figures:
    """Everything measured, by name; `failed` lists the bounds that did not hold."""

    values: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def note(self, name: str, value: float, unit: str = "", bound: float | None = None) -> None:
        self.values[name] = round(value, 4)
        word = "" if bound is None else f"   (at most {bound:g}{unit}: {'ok' if value <= bound else 'NOT HELD'})"
        print(f"{name:<58} {value:>10.3f} {unit}{word}", flush=True)
        if bound is not None and value > bound:
            self.failed.append(name)

    def spread(self, name: str, seconds: Sequence[float]) -> float:
        """Note median, p99 and the middle half of *seconds*, in microseconds, and return the median in seconds."""
        ordered = sorted(seconds)
        low, middle, high = statistics.quantiles(ordered, n=4)
        self.note(f"{name}, median", middle * 1e6, "us")
        self.note(f"{name}, p99", ordered[int(len(ordered) * 0.99)] * 1e6, "us")
        self.note(f"{name}, noise (middle half over median)", (high - low) / middle)
        return middle


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmarks of the ledger.")
    parser.add_argument("--trades", type=whole_lives, default=100_000, help="ended trades in the large folder")
    parser.add_argument("--folder", type=Path, default=None, help="where to work: the disk to be measured")
    parser.add_argument("--json", type=Path, default=None, help="write the figures here too")
    options = parser.parse_args()
    figures = Figures()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        _saving(folder, figures, options.trades)
        _following(folder, figures)
        _many_processes(folder, figures)
        _large_folder(folder, figures, options.trades)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n", encoding="utf-8")
    print("not held: " + ", ".join(figures.failed) if figures.failed else "every bound holds")
    return 1 if figures.failed else 0


def _saving(folder: Path, figures: Figures, records: int) -> None:
    """One durable save beside few and beside many records, and a bare append + fdatasync of as many bytes."""
    few, many = folder / "few", folder / "many"
    make_folder(few, 100 // 8 * 2)
    make_folder(many, records // 8 * 2)
    small, large = (JsonStore(one, BINDING, roll_bytes=NEVER) for one in (few, many))
    size = len(json.dumps(ledger_record(_fresh(0)), separators=(",", ":"))) + 60
    taken: dict[str, list[float]] = {"few": [], "many": [], "bare": []}
    bare = os.open(folder / "bare", os.O_CREAT | os.O_RDWR)
    gc.collect()
    gc.freeze()  # what was made before is no part of a save
    for number in range(SAVES + WARM_UP):
        trade = _fresh(number)
        turns: list[tuple[str, Callable[[], object]]] = [
            ("few", lambda trade=trade: small.save(trade)),  # type: ignore[misc]  # a bound default
            ("many", lambda trade=trade: large.save(trade)),  # type: ignore[misc]  # a bound default
            ("bare", lambda number=number: _bare(bare, size, number)),  # type: ignore[misc]  # a bound default
        ]
        for name, turn in turns[number % 3 :] + turns[: number % 3]:
            started = time.perf_counter()
            turn()
            taken[name].append(time.perf_counter() - started)
    gc.unfreeze()
    os.close(bare)
    few_s = figures.spread("a durable save at 100 records", taken["few"][WARM_UP:])
    many_s = figures.spread(f"a durable save at {records} records", taken["many"][WARM_UP:])
    bare_s = figures.spread(f"a bare append of {size} bytes + fdatasync", taken["bare"][WARM_UP:])
    figures.note(f"save at {records} over save at 100", many_s / few_s, "x", SAVE_GROWTH_MAX)
    figures.note("save over bare append + fdatasync", many_s / bare_s, "x", SAVE_TO_BARE_MAX)
    small.close()
    large.close()


def _fresh(number: int) -> Trade:
    return given_a_trade(signal_id=f"fresh-{number}", at=datetime(2027, 1, 1, tzinfo=UTC) + timedelta(seconds=number))


def _bare(file: int, size: int, number: int) -> None:
    os.pwrite(file, b"x" * size, number * size)
    os.fdatasync(file)


class _CountingDisk(SystemDisk):
    def __init__(self) -> None:
        self.bytes_read = 0

    def read(self, file: int, size: int, offset: int) -> bytes:
        content = super().read(file, size, offset)
        self.bytes_read += len(content)
        return content


def _following(folder: Path, figures: Figures) -> None:
    """Bytes that a reader reads for what a writer appended, in a short file and in a long one."""
    for name in ("few", "many"):
        disk = _CountingDisk()
        reader = JsonStore(folder / name, BINDING, roll_bytes=NEVER, disk=disk)
        writer = JsonStore(folder / name, BINDING, roll_bytes=NEVER)
        files = [folder / name / one for one in (LEDGER, BOOK)]
        reader.book()
        before, disk.bytes_read = sum(one.stat().st_size for one in files), 0
        for number in range(50):
            writer.save(given_a_trade(signal_id=f"followed-{number}"))
        started = time.perf_counter()
        reader.book()
        seconds = time.perf_counter() - started
        appended = sum(one.stat().st_size for one in files) - before
        what = f"following 50 saves, {name} records"
        figures.note(f"{what}: bytes read over appended", disk.bytes_read / appended, "x", 1.1)
        figures.note(f"{what}: a save", seconds / 50 * 1e6, "us")
        reader.close()
        writer.close()


def _many_processes(folder: Path, figures: Figures) -> None:
    data_dir = folder / "shared"
    JsonStore(data_dir, BINDING).close()
    writers = [_start(_WRITE, data_dir, f"p{number}", str(WRITES)) for number in range(PROCESSES)]
    for one in writers:
        _line(one)
    started = time.perf_counter()
    for one in writers:
        if one.stdin is not None:
            one.stdin.write("go\n")
            one.stdin.flush()
    codes = [one.wait() for one in writers]
    seconds = time.perf_counter() - started
    report = verify(data_dir)
    lines = json.loads((data_dir / LEDGER).read_text())
    lost = PROCESSES * WRITES - len({line["id"] for line in lines})
    twice = len(lines) - len({line["seq"] for line in lines})
    what = f"{PROCESSES} processes x {WRITES} writes"
    figures.note(f"{what}: lost", lost + sum(codes), "", 0)
    figures.note(f"{what}: duplicate numbers or ids", twice + len(report.problems), "", 0)
    figures.note(f"{what}: a write", seconds / PROCESSES / WRITES * 1e6, "us")
    for one in writers:
        for stream in (one.stdin, one.stdout):
            if stream is not None:
                stream.close()


def _large_folder(folder: Path, figures: Figures, trades: int) -> None:
    """A folder of *trades* ended trades: rolled, opened, queried, verified, backed up, restored."""
    data_dir = folder / "large"
    make_folder(data_dir, trades)
    figures.note("ledger with everything in it", (data_dir / LEDGER).stat().st_size / 2**20, "MiB")
    seconds, mib, _, _ = _opened(data_dir)
    figures.note(f"first opening, {trades} ended trades in the ledger: rolled", seconds, "s")
    figures.note("  and its memory", mib, "MiB")
    looks = [_opened(data_dir, trades) for _ in range(3)]
    whole, mib, query_s, query_mib = (statistics.median(figure) for figure in zip(*looks, strict=True))
    figures.note(f"opening, {trades} ended trades archived", whole, "s", OPEN_SECONDS_MAX)
    figures.note("opening: memory", mib, "MiB", OPEN_MIB_MAX)
    figures.note("1,000 trades by id, signal, key, position and 20 pages of 100", query_s, "s")
    figures.note("querying: memory, a page of 1,000 included", query_mib, "MiB", OPEN_MIB_MAX)
    target = folder / "backup.tar"
    with _timed(figures, "verify") as verified:
        report = verify(data_dir)
    with _timed(figures, "backup") as backed_up:
        write_backup(data_dir, target)
    with _timed(figures, "restore (every line checked first)") as restored:
        again, _ = restore(target, folder / "restored", force=False)
    figures.note("problems found", len(report.problems) + len(again.problems), "", 0)
    found = again.counts.get("archived_trades", 0) + again.counts.get("trades", 0)
    figures.note("ended trades missing", trades - found, "", 0)
    total = whole + query_s + verified[0] + backed_up[0] + restored[0]
    figures.note("opened, queried, verified, backed up and restored", total, "s", ALL_SECONDS_MAX)


def query(book: Book, trades: int) -> None:
    """Look up 250 lives spread over the folder by four names each, and list the newest in pages."""
    for number in range(0, trades // 2, max(1, trades // 2 // 250)):
        life = _Names(number)
        found = book.trade_of_key(life.key)
        if found is None or book.trades_of_signal(life.signal) != (found,) or book.trade(found.id) != found:
            raise SystemExit(f"the archive does not know trade {number}")
        if not book.position(found.terms.position_id).closed:
            raise SystemExit(f"the archive does not know that position {number} is closed")
    before: PositionId | None = None
    for _ in range(20):
        page, total = book.page_of_positions(100, before)
        if total != trades // 2:
            raise SystemExit(f"{total} positions instead of {trades // 2}")
        if len(page) < 100:
            break
        before = page[-1].id
    book.page_of_positions(1000)


def highest_mib() -> float:
    """The most memory that this process has had resident, MiB; what its parent had does not count on Linux."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return float(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def _timed(figures: Figures, name: str) -> Iterator[list[float]]:
    taken: list[float] = []
    started = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - started)
    figures.note(name, taken[0], "s")


def _start(script: str, data_dir: Path, *words: str) -> "subprocess.Popen[str]":
    binding = (BINDING.venue, BINDING.network, BINDING.account)
    return subprocess.Popen(  # noqa: S603  # a script of this module
        [sys.executable, "-c", script, str(data_dir), *binding, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline() if process.stdout is not None else ""


def _opened(data_dir: Path, queried: int = 0) -> tuple[float, ...]:
    """Seconds and MiB that another process needs to open *data_dir*, then seconds and MiB to look up *queried*."""
    process = _start(_OPEN, data_dir, str(queried))
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit("the folder could not be opened and queried, as told above")
    return tuple(float(word) for word in out.split())


class _Names:
    """The names that the *number*-th life goes by in a folder that `make_folder` made."""

    def __init__(self, number: int) -> None:
        self.tag = f"{number:08x}"
        self.signal = f"signal-{self.tag}"
        self.key = f"key-{self.tag}"


def make_folder(data_dir: Path, trades: int) -> None:
    """A DATA_DIR with *trades* ended trades, two a position, all of them in the ledger, eight lines a position."""
    JsonStore(data_dir, BINDING).close()
    opening = given_a_filled_trade("signal-@@@@@@@@", at=T0)
    closing = given_a_filled_close(opening)
    watch = given_watch(opening, outcome_told=True)
    words = {opening.id: "trd_open_@@@@@@@@", closing.id: "trd_shut_@@@@@@@@", watch.position_id: "pos_@@@@@@@@"}
    words |= {opening.terms.request_key: "key-@@@@@@@@"}
    for trade in (opening, closing):
        effect = trade.terms.effect
        words |= {order.client_order_id: f"0x{effect}{place}@@@@@@@@" for place, order in enumerate(trade.orders)}
    parts = [replay(one.events[:count]) for one in (opening, closing) for count in range(1, len(one.events) + 1)]
    events = [_template(ledger_record(part), words) for part in parts]
    book = book_of((opening, closing), (watch,))
    seen = {"id": watch.position_id, "as_of": trades * 4, **projection(book, watch.position_id)}
    line = _template({**seen, "watch": encode_watch(watch)}, words)
    _write(data_dir / LEDGER, (_life(text, number) for number in range(trades // 2) for text in events))
    _write(data_dir / BOOK, (_life(line, number) for number in range(trades // 2)))


def _template(content: object, words: dict[str, str]) -> str:
    text = json.dumps(content, separators=(",", ":"))[1:-1]
    for word, placeholder in words.items():
        text = text.replace(word, placeholder)
    return text


def _life(template: str, number: int) -> str:
    day = after(number * 600)
    return template.replace("@@@@@@@@", _Names(number).tag).replace("2026-11-22T12:", f"{day:%Y-%m-%dT%H:}")


def _write(path: Path, bodies: Iterator[str]) -> None:
    with path.open("wb") as file:
        file.write(b"[\n")
        for seq, body in enumerate(bodies, start=1):
            text = f'{{"seq":{seq},"schema":1,{body}'.encode()
            file.write(b",\n" if seq > 1 else b"")
            file.write(text + b',"checksum":"%08x"}' % zlib.crc32(text))
        file.write(b"\n]\n")


if __name__ == "__main__":
    sys.exit(main())
