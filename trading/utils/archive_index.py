"""The index of the archive: where each position stands, found by the hash of any of its names and by its age.

The law: it says nothing that the files do not, so that it can be thrown away, and whoever finds something by it
compares that in full. One sealed line of JSON, then columns of numbers, some 100 bytes a position; a search goes by
halves.
"""

import hashlib
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from trading.domain.book import Sums
from trading.domain.codec import Json
from trading.domain.errors import StoreCorrupt
from trading.domain.exit_plan import LOSING
from trading.domain.market import Pair
from trading.utils.journal import START, Entry, Place
from trading.utils.sealing import sealed, unsealed

INDEX_SCHEMA = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOSING = frozenset(reason.value for reason in LOSING)


class Card(NamedTuple):
    """What the index keeps of one line. Instants in microseconds; `names` are hashes, the position's first."""

    file: str
    seq: int
    offset: int
    size: int
    accepted: int
    names: tuple[int, ...]
    trades: tuple[int, ...]
    sums: Sums
    losing: tuple[Pair, datetime] | None


def _columns() -> tuple["array[int]", ...]:
    return tuple(array(code) for code in "QQQqQIqIH")


class Row(NamedTuple):
    """Where one position stands: the number of its row among those of its file."""

    file: str
    number: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one file by age (seq, offset, size, accepted); hashes of names in order, each with its row; trades by
    age, each with its row and its place in it. `place` is how far the file is known."""

    place: Place = START
    columns: tuple["array[int]", ...] = field(default_factory=_columns)

    @property
    def rows(self) -> int:
        return len(self.columns[0])

    def rows_named(self, digest: int) -> Sequence[int]:
        names, rows = self.columns[4], self.columns[5]
        return rows[bisect_left(names, digest) : bisect_right(names, digest)]

    def without(self, gone: Collection[int]) -> "Segment":
        return self.extended((), self.place, gone)

    def extended(self, cards: Sequence[Card], place: Place, gone: Collection[int]) -> "Segment":
        """With *cards* added and the rows *gone* left out, known up to *place*."""
        seq, offset, size, accepted, names, name_rows, trade_at, trade_rows, trade_parts = self.columns
        old = zip(accepted, seq, offset, size, range(self.rows), strict=True)
        rows = [row for row in old if row[4] not in gone]
        rows += [(card.accepted, card.seq, card.offset, card.size, -1 - number) for number, card in enumerate(cards)]
        rows.sort()
        moved = {row[4]: number for number, row in enumerate(rows)}
        named = [(one, moved[row]) for one, row in zip(names, name_rows, strict=True) if row in moved]
        dated = [
            (at, moved[row], part)
            for at, row, part in zip(trade_at, trade_rows, trade_parts, strict=True)
            if row in moved
        ]
        for number, card in enumerate(cards):
            named += [(one, moved[-1 - number]) for one in card.names]
            dated += [(at, moved[-1 - number], part) for part, at in enumerate(card.trades)]
        named.sort()
        dated.sort()
        columns = (
            *(array(code, (row[part] for row in rows)) for code, part in zip("QQQq", (1, 2, 3, 0), strict=True)),
            *(array(code, (one[part] for one in named)) for part, code in enumerate("QI")),
            *(array(code, (one[part] for one in dated)) for part, code in enumerate("qIH")),
        )
        return Segment(place, columns)


@dataclass(frozen=True, slots=True)
class Index:
    """A segment a file, so that adding costs what its month has, and what all of them add up to."""

    segments: Mapping[str, Segment] = field(default_factory=dict)
    sums: Sums = Sums()
    losing: Mapping[Pair, datetime] = field(default_factory=dict)

    @property
    def files(self) -> Mapping[str, Place]:
        return {name: one.place for name, one in self.segments.items()}

    @property
    def trade_count(self) -> int:
        return sum(len(one.columns[6]) for one in self.segments.values())

    def place(self, name: str) -> Place:
        return self.segments[name].place if name in self.segments else START

    def rows_named(self, digest: int) -> list[Row]:
        """Oldest month first."""
        return [Row(name, row) for name, one in self.segments.items() for row in one.rows_named(digest)]

    def span(self, row: Row) -> tuple[int, int, int]:
        """The number of its line in its file, where that begins, and how long it is, in bytes."""
        seq, offset, size = (column[row.number] for column in self.segments[row.file].columns[:3])
        return seq, offset, size

    def newest(self, latest: int | None) -> Iterator[Row]:
        """The positions accepted at *latest* or before, newest first; all when None."""
        by_month = (_newest(one, name, latest) for name, one in self.segments.items())
        return (row for _, row in merge(*by_month, reverse=True))

    def newest_trades(self, latest: int | None) -> Iterator[tuple[Row, int]]:
        """The same for trades: the position of each, and the how-manieth of its trades it is, from 0."""
        by_month = (_newest_trades(one, name, latest) for name, one in self.segments.items())
        return ((row, part) for _, row, part in merge(*by_month, reverse=True))

    def extended(self, name: str, cards: Iterable[Card], place: Place, gone: Mapping[Row, Sums]) -> "Index":
        """With the *cards* of the next lines of a file, up to *place*, and without the rows *gone*, their older
        versions."""
        fresh = tuple({card.names[0]: card for card in cards}.values())
        segments = dict(self.segments)
        for file in {row.file for row in gone} - {name}:
            segments[file] = segments[file].without({row.number for row in gone if row.file == file})
        here = {row.number for row in gone if row.file == name}
        segments[name] = segments.get(name, Segment()).extended(fresh, place, here)
        sums, losing = self.sums, dict(self.losing)
        for lost in gone.values():
            sums = sums.minus(lost)
        for card in fresh:
            sums = sums.plus(card.sums)
            if card.losing is not None:
                pair, at = card.losing
                losing[pair] = max(at, losing.get(pair, at))
        return Index(dict(sorted(segments.items())), sums, losing)

    def encoded(self) -> bytes:
        columns = [column for one in self.segments.values() for column in one.columns]
        body = b"".join(column.tobytes() for column in columns)
        head: dict[str, Json] = {
            "schema": INDEX_SCHEMA,
            "byteorder": sys.byteorder,
            "files": [[name, *one.place] for name, one in self.segments.items()],
            "columns": [[column.typecode, column.itemsize, len(column)] for column in columns],
            "body": zlib.crc32(body),
            "positions": self.sums.positions,
            "realized": format(self.sums.realized, "f"),
            "fees": format(self.sums.fees, "f"),
            "funding": format(self.sums.funding, "f"),
            "losing": {str(pair): at.isoformat() for pair, at in sorted(self.losing.items(), key=str)},
        }
        return sealed(head) + b"\n" + body


def index_of(content: bytes) -> Index | None:
    """What `encoded` made; None when it does not check or was made by another version or machine."""
    line, _, body = content.partition(b"\n")
    head = unsealed(line)
    if head is None or head.get("schema") != INDEX_SCHEMA or head.get("byteorder") != sys.byteorder:
        return None
    if zlib.crc32(body) != head["body"]:
        return None
    described: list[tuple[str, int, int]] = head["columns"]  # type: ignore[assignment]  # sealed by this module
    files: list[tuple[str, int, int, int, int]] = head["files"]  # type: ignore[assignment]  # sealed by this module
    losing: dict[str, str] = head["losing"]  # type: ignore[assignment]  # sealed by this module
    columns, at = [], 0
    for code, width, length in described:
        column = array(code)
        if column.itemsize != width:
            return None
        column.frombytes(body[at : at + width * length])
        columns.append(column)
        at += width * length
    each = len(_columns())
    segments = {
        name: Segment(Place(*place), tuple(columns[number * each : (number + 1) * each]))
        for number, (name, *place) in enumerate(files)
    }
    realized, fees, funding = (Decimal(str(head[name])) for name in ("realized", "fees", "funding"))
    return Index(
        segments,
        Sums(_whole(head["positions"]), realized, fees, funding),
        {Pair.parse(pair): datetime.fromisoformat(at) for pair, at in losing.items()},
    )


def _newest(segment: Segment, name: str, latest: int | None) -> Iterator[tuple[int, Row]]:
    accepted = segment.columns[3]
    end = len(accepted) if latest is None else bisect_right(accepted, latest)
    return ((accepted[number], Row(name, number)) for number in reversed(range(end)))


def _newest_trades(segment: Segment, name: str, latest: int | None) -> Iterator[tuple[int, Row, int]]:
    at, rows, parts = segment.columns[6:9]
    end = len(at) if latest is None else bisect_right(at, latest)
    return ((at[number], Row(name, rows[number]), parts[number]) for number in reversed(range(end)))


def card_of(folder: Path, name: str, entry: Entry) -> Card:
    """The card of a line, without folding it. Raises StoreCorrupt when it is no position."""
    try:
        return _card(name, entry)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        place = f"{folder / name}:{entry.line}"
        raise StoreCorrupt(f"{place} is no position: {error}", file=str(folder / name), line=entry.line) from error


def _card(name: str, entry: Entry) -> Card:
    content: dict[str, dict[str, str]] = entry.content  # type: ignore[assignment]  # what it is not raises below
    trades: list[dict[str, list[dict[str, dict[str, dict[str, str]]]]]] = entry.content["trades"]  # type: ignore[assignment]  # likewise
    position = content["position"]
    terms = trades[0]["events"][0]["terms"]
    names = [digest_of("position", str(content["id"]))]
    names += [digest_of("trade", str(one["id"])) for one in trades]
    for kind, word in (
        ("signal", (terms["signal"] or {}).get("id")),
        ("key", str(terms["request_key"])),
        ("approval", (terms["approval"] or {}).get("id")),
    ):
        names += [digest_of(kind, word)] if word else []
    accepted = tuple(instant_of(datetime.fromisoformat(str(one["events"][0]["at"]))) for one in trades)
    losing = position["exit_reason"] in _LOSING
    return Card(
        name,
        entry.seq,
        entry.offset,
        entry.size,
        accepted[0],
        tuple(names),
        accepted,
        Sums(1, *(Decimal(position[one]) for one in ("realized_pnl", "fees", "funding"))),
        (Pair.parse(position["pair"]), datetime.fromisoformat(position["exit_time"])) if losing else None,
    )


def digest_of(kind: str, name: str) -> int:
    """The first 64 bits of a hash: what is found by it is compared in full."""
    return int.from_bytes(hashlib.blake2b(f"{kind}\0{name}".encode(), digest_size=8).digest(), "big")


def instant_of(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0
