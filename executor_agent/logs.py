"""How the process's own output looks: lines in colour for people, JSON for machines (LOG_FORMAT).

The law: one line a record, whatever wrote it, with the id of the request it belongs to; a traceback never shows the
values of variables, for one of them may be a key; and nobody who writes a line waits for whoever reads it.
"""

import logging
import re
import sys
import time
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any

from executor_agent.plain_structlog import structlog
from trading.utils.request_id import request_id

Record = MutableMapping[str, Any]
JSON = "json"
LINES_MAX = 2000
MOMENT_SECONDS = 0.02
# Letters, digits and signs that can be told from what is around them; everything else is quoted.
_BARE = re.compile(r"[!#-&(-<>-~]*")
FLUSH_SECONDS = 1.0
# Whatever no line shows and each would be searched for ("Optimization" in the logging HOWTO): where in the code it was
# written, and by which thread and process.
logging._srcfile = None
logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False


class PatientHandler(logging.Handler):
    """Lines to stderr from a thread of its own, which makes them too: a pipe that nobody reads, or a terminal that is
    held, stops no trade, and neither does the making of a line.

    What does not fit into the queue is dropped, and the count of it is a line when there is room again.
    """

    def __init__(self) -> None:
        super().__init__()
        self._records: SimpleQueue[logging.LogRecord | str] = SimpleQueue()
        # Counted by those who write lines, one at a time, and by the thread: what lies between waits.
        self._queued = self._written = self._dropped = 0
        self._writer: Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Here and not in the thread: the request's id is the caller's, and what is written of may change.
            record.msg, record.args, record.request_id = record.getMessage(), None, request_id()
        except Exception:  # whatever a record holds: a line that cannot be made must not stop its writer
            self.handleError(record)
            return
        self._begin()
        if self._queued - self._written >= LINES_MAX:
            self._dropped += 1
            return
        if self._dropped:
            self._put(f"{self._dropped} line(s) of output were dropped: nobody read them in time")
            self._dropped = 0
        self._put(record)

    def flush(self) -> None:
        """Wait for what is queued, a moment at most. The end of the process calls it."""
        give_up_at = time.monotonic() + FLUSH_SECONDS
        while self._queued > self._written and time.monotonic() < give_up_at:
            time.sleep(FLUSH_SECONDS / 100)

    def _put(self, record: logging.LogRecord | str) -> None:
        self._queued += 1
        self._records.put(record)

    def _begin(self) -> None:
        """Start the thread at the first line; logging holds the handler's lock meanwhile."""
        if self._writer is None:
            self._writer = Thread(target=self._write, name="output", daemon=True)
            self._writer.start()

    def _write(self) -> None:
        while True:
            record = self._records.get()
            # Whoever wrote it is at work now; a burst of lines is made when that is over.
            time.sleep(MOMENT_SECONDS)
            self._write_one(record)
            while not self._records.empty():
                self._write_one(self._records.get())

    def _write_one(self, record: logging.LogRecord | str) -> None:
        try:
            line = record if isinstance(record, str) else self.format(record)
            with suppress(OSError, ValueError):  # a closed stderr has no readers
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
        except Exception:  # as in `emit`: the thread has more lines to write
            if isinstance(record, logging.LogRecord):
                self.handleError(record)
        finally:
            self._written += 1


def formatter(log_format: str) -> logging.Formatter:
    """What turns every record of `logging` into a line: *log_format* is console or json."""
    known: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        with_instant,
        structlog.stdlib.ExtraAdder(allow=("facts",)),
        with_facts,
        with_request_id,
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=known,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(log_format)],
    )


def with_facts(logger: object, name: str, record: Record) -> Record:
    """What an entry of the activity log knows, as fields of the line; the line's own fields win."""
    facts = record.pop("facts", None)
    if isinstance(facts, dict):
        # The activity log's `event` is a name, structlog's is the message.
        named = {"name" if key == "event" else key: value for key, value in facts.items() if value is not None}
        for key, value in named.items():
            record.setdefault(key, value)
    return record


def with_instant(logger: object, name: str, record: Record) -> Record:
    """When the line was written, not when it was made."""
    written_at = datetime.fromtimestamp(record["_record"].created, UTC)
    record["timestamp"] = written_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return record


def with_request_id(logger: object, name: str, record: Record) -> Record:
    known = getattr(record["_record"], "request_id", request_id())
    if known:
        record.setdefault("request_id", known)
    return record


def plain_line(logger: object, name: str, record: Record) -> str:
    """A line without colour, as structlog's own renderer writes it and in a tenth of its time."""
    exception, stack = record.pop("exception", None), record.pop("stack_info", None)
    head = f"{record.pop('timestamp', '')} [{record.pop('level', ''):9}] {record.pop('event', '')}"
    source = record.pop("logger", None)
    parts = [head, *([f"[{source}]"] if source else ()), *(f"{key}={_shown(record[key])}" for key in sorted(record))]
    return "\n".join((" ".join(parts), *(str(one) for one in (stack, exception) if one)))


def _shown(value: object) -> str:
    return value if isinstance(value, str) and _BARE.fullmatch(value) else repr(value)


def _rendering(log_format: str) -> list[structlog.typing.Processor]:
    if log_format == JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if not sys.stderr.isatty():
        return [structlog.processors.format_exc_info, plain_line]
    return [
        structlog.dev.ConsoleRenderer(colors=True, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback)
    ]
