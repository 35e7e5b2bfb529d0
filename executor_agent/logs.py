"""How the process's own output looks: lines in colour for people, JSON for machines (LOG_FORMAT).

The law: one line a record, whatever wrote it, with the id of the request it belongs to; a traceback never shows the
values of variables, for one of them may be a key.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import Processor

from trading.utils.request_id import request_id

Record = MutableMapping[str, Any]
JSON = "json"


def formatter(log_format: str) -> logging.Formatter:
    """What turns every record of `logging` into a line: *log_format* is console or json."""
    known: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def with_request_id(logger: object, name: str, record: Record) -> Record:
    if request_id():
        record.setdefault("request_id", request_id())
    return record


def _rendering(log_format: str) -> list[Processor]:
    if log_format == JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    coloured = sys.stderr.isatty()
    return [
        structlog.dev.ConsoleRenderer(
            colors=coloured, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    ]
