"""The activity log: every entry goes to agent_logs.json, to the tail in Redis, and to the process's own output.

The law: writing never raises and waits no longer than a file lock and a cache call may take; what cannot be written is
one line on stderr and stays known to this process, whose alerts are made from it, and the trade goes on. The file is
the truth; Redis holds the newest `TAIL_KEPT` for quick reading and is asked only as long as this process knows of no
gap in it. Secrets are masked before anything is written anywhere.
"""

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Protocol

from trading.domain.errors import Busy, DeskError
from trading.domain.units import hash_of
from trading.ports import Clock, Json
from trading.utils.journal import Journal
from trading.utils.request_id import request_id

_console = logging.getLogger("trading.activity")

AGENT = "executor"
_LEVELS = {"info": logging.INFO, "success": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
KINDS = frozenset(_LEVELS)
TAIL_KEPT = 100
FILE_KEPT = 1000
MESSAGE_LENGTH_MAX = 1000
TEXT_LENGTH_MAX = 1000
NAME_LENGTH_MAX = 100
DATA_LENGTH_MAX = 16_384
ITEMS_MAX = 50
DEPTH_MAX = 5
JSON_WIDTH_MAX = 12
"""A character takes so many in JSON at most: two escapes of six."""
NUMBER_LENGTH_MAX = 48
"""A number, or what stands around a text, takes no more: an integer of 128 bits has 39 digits, a float 24 signs."""
NAMES_KNOWN = 1024
MASK = "***"
_SCAN_LENGTH_MAX = 10_000
_INTEGER_BITS_MAX = 128
_FIELDS = ("id", "timestamp", "agent", "type", "message", "data")
_SECRET_NAME = re.compile(r"key|secret|token|password|private|authorization", re.IGNORECASE)
# A private key or a signature, a bearer token, the user and password of a URL.
_SECRET_TEXT = re.compile(r"0x[0-9a-fA-F]{64,}|\b[Bb]earer\s+\S+|(?<=://)[^/\s@]{1,200}@")
# One of these stands in each of them: where there is none the expression need not look.
_SECRET_SIGNS = ("0x", "earer", "://")

# One for the process, not one a log: two logs in one process must not give an id twice.
_numbers = count(1)


class Tail(Protocol):
    """What the log needs of the cache: a capped list under a name. Never raises."""

    def push(self, key: str, value: Json, keep: int, afresh: bool = False) -> bool: ...

    def tail(self, key: str, limit: int) -> tuple[Json, ...]: ...


class ActivityLog:
    """The Log port. The file at *path* is opened at first use, so that a damaged log does not stop the service."""

    def __init__(self, path: Path, cache: Tail, clock: Clock) -> None:
        self._path = path
        self._cache = cache
        self._clock = clock
        # Logs of other data directories may share the Redis.
        self._key = f"log:{hash_of(path.absolute())[:16]}"
        self._gap = False
        self._journal: Journal | None = None
        self._newest: dict[str, Mapping[str, Json]] = {}
        self._trouble = ""
        self._lock = threading.Lock()

    def write(self, kind: str, message: str, **facts: object) -> None:
        entry = self._entry(kind, message, facts)
        _console.log(_LEVELS[str(entry["type"])], "%s", entry["message"], extra={"facts": entry["data"]})
        try:
            # Not synced: losing the last lines in a power failure costs less than waiting for the disk at every line.
            self._opened().append([entry], sync=False)
            self._trouble = ""
        except (DeskError, OSError) as error:
            _tell_stderr(f"{entry['type']}: {entry['message']} (not in {self._path.name}: {error})")
            self._keep(entry)
            self._keep_trouble(error)
        self._gap = not self._cache.push(self._key, dict(entry), TAIL_KEPT, afresh=self._gap)

    def tail(self, limit: int) -> tuple[Mapping[str, Json], ...]:
        """The newest *limit* entries, newest first, at most `FILE_KEPT`. Redis is asked first, then the file."""
        limit = max(0, min(limit, FILE_KEPT))
        if limit <= TAIL_KEPT and not self._gap:
            cached = [entry for entry in self._cache.tail(self._key, limit) if isinstance(entry, dict)]
            if len(cached) == limit:
                return _newest_first(cached)
        return _newest_first([*reversed(self._from_file())])[:limit]

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None

    def _entry(self, kind: str, message: str, facts: Mapping[str, object]) -> dict[str, Json]:
        now, number = self._clock.now().isoformat(timespec="microseconds"), next(_numbers)
        named = {"request_id": request_id()} if request_id() else {}
        data = masked({**named, **facts})
        if not _surely_short(data) and len(json.dumps(data)) > DATA_LENGTH_MAX:
            data = {"left_out": f"more than {DATA_LENGTH_MAX} characters"}
        return {
            "id": hash_of(AGENT, now, os.getpid(), number)[:32],
            "timestamp": now,
            "agent": AGENT,
            "type": kind if kind in KINDS else "info",
            "message": _clean(message, MESSAGE_LENGTH_MAX),
            "data": data,
        }

    def _opened(self) -> Journal:
        with self._lock:
            if self._journal is None:
                self._journal = Journal(self._path)
            return self._journal

    def _from_file(self) -> list[Mapping[str, Json]]:
        """What is known of the file, oldest first, caught up as far as it can be read."""
        try:
            journal = self._opened()
            with self._lock:
                # By id: a file that was rolled is read again from its beginning, with entries that are known.
                for entry in journal.follow()[-FILE_KEPT:]:
                    self._newest[str(entry.content.get("id"))] = {name: entry.content.get(name) for name in _FIELDS}
                self._forget_the_oldest()
        except (DeskError, OSError) as error:
            _tell_stderr(f"{self._path.name} cannot be read: {error}")
            self._keep_trouble(error)
        with self._lock:
            return list(self._newest.values())

    def _keep(self, entry: Mapping[str, Json]) -> None:
        """Know of *entry*, which is in no file."""
        with self._lock:
            self._newest[str(entry["id"])] = entry
            self._forget_the_oldest()

    def _keep_trouble(self, error: Exception) -> None:
        """Its own trouble is a line like any other, once for as long as it lasts: an empty log says all is well."""
        if isinstance(error, Busy) or str(error) == self._trouble:
            return
        self._trouble = str(error)
        words = f"the activity log cannot be relied on: {error}"
        self._keep(self._entry("error", words, {"event": "LogLost"}))

    def _forget_the_oldest(self) -> None:
        while len(self._newest) > FILE_KEPT:
            del self._newest[next(iter(self._newest))]


def masked(value: object, depth: int = 0) -> Json:
    """*value* as JSON that may be written down: secrets masked, bounded in depth and size, Decimals as text."""
    if isinstance(value, str):  # nearly all that is ever written
        return _clean(value, TEXT_LENGTH_MAX)
    if value is None or isinstance(value, int | Decimal):
        return _masked_plain(value)
    if isinstance(value, Mapping):
        return _masked_items(value, depth)
    if is_dataclass(value) and not isinstance(value, type):
        return _masked_items({one.name: getattr(value, one.name) for one in fields(value)}, depth)
    if isinstance(value, list | tuple | set | frozenset):
        if depth >= DEPTH_MAX:
            return "..."
        return [masked(one, depth + 1) for _, one in zip(range(ITEMS_MAX), value, strict=False)]
    return _masked_plain(value)


def _surely_short(data: Json) -> bool:
    """Whether it needs no writing out to be known for short: the plain facts of nearly every line."""
    if not isinstance(data, dict):
        return False
    length = 0
    for name, one in data.items():
        if isinstance(one, str):
            length += len(one)
        elif one is not None and not isinstance(one, int | float):
            return False
        length += len(name) + NUMBER_LENGTH_MAX
    return length * JSON_WIDTH_MAX <= DATA_LENGTH_MAX


def _masked_items(value: Mapping[object, object], depth: int) -> Json:
    if depth >= DEPTH_MAX:
        return "..."
    result: dict[str, Json] = {}
    for _, (name, one) in zip(range(ITEMS_MAX), value.items(), strict=False):
        text, secret = _named(str(name)[:_SCAN_LENGTH_MAX])
        result[text] = MASK if secret and one is not None else masked(one, depth + 1)
    return result


@lru_cache(NAMES_KNOWN)
def _named(name: str) -> tuple[str, bool]:
    """*name* as it may be written, and whether it is that of a secret."""
    text = _clean(name, NAME_LENGTH_MAX)
    return text, _SECRET_NAME.search(text) is not None


def _masked_plain(value: object) -> Json:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # A private key is a number of 256 bits too.
        return value if value.bit_length() <= _INTEGER_BITS_MAX else MASK
    if isinstance(value, Decimal):
        return str(value)[:TEXT_LENGTH_MAX]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value - value == 0:
        return value
    return _clean(str(value), TEXT_LENGTH_MAX)


def _clean(text: str, length_max: int) -> str:
    """One line without control, formatting or surrogate characters; masked before it is cut: no half a secret stays."""
    plain = text[:_SCAN_LENGTH_MAX]
    if not plain.isprintable():
        plain = "".join(one if one.isprintable() else " " for one in plain)
    for sign in _SECRET_SIGNS:
        if sign in plain:
            plain = _SECRET_TEXT.sub(MASK, plain)
            break
    return plain[:length_max].strip()


def _newest_first(entries: Sequence[Mapping[str, Json]]) -> tuple[Mapping[str, Json], ...]:
    """By timestamp; entries of one instant stay in the order given, newest first. Processes write nearly in order."""
    return tuple(sorted(entries, key=lambda entry: str(entry.get("timestamp")), reverse=True))


def _tell_stderr(line: str) -> None:
    with suppress(OSError, ValueError):  # a closed stderr must not stop a trade either
        print(f"activity log: {line}", file=sys.stderr, flush=True)
