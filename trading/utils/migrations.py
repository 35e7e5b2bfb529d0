"""Files of an older version, brought up to date when a store opens.

The law: a copy of everything is on disk before the first line changes; a migration that was interrupted is simply begun
again; a file of a newer version is refused with a word and left alone.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from trading.domain.codec import Json
from trading.domain.errors import StoreCorrupt
from trading.utils.archive import INDEX
from trading.utils.disk import Disk, replace_whole, trouble_told
from trading.utils.journal import SCHEMA, Journal
from trading.utils.ledger import ARCHIVE, STATE
from trading.utils.sealing import sealed, unsealed
from trading.utils.snapshot import write_backup
from trading.utils.successor import Successor

# A record of a file (by its path within DATA_DIR) as the next schema has it.
Migration = Callable[[str, dict[str, Json]], dict[str, Json]]
# By the schema they begin with. There has been no other than the present one yet.
MIGRATIONS: Mapping[int, Migration] = {}
READ_AHEAD = 2000
_NUMBER = re.compile(rb'(?:\[\n)?\{(?:"seq":\d+,)?"schema":(\d+)')


def migrate(data_dir: Path, disk: Disk, migrations: Mapping[int, Migration]) -> None:
    """Bring every file of *data_dir* to SCHEMA; the caller holds the ledger's lock.

    Raises StoreCorrupt (`refused`) where that is impossible.
    """
    old: dict[Path, int] = {}
    for path in _files(data_dir, disk):
        schema = _schema_of(path, disk)
        if schema is not None and schema != SCHEMA:
            _require_way(path, schema, migrations)
            old[path] = schema
    if not old:
        return
    target = data_dir / f"before-schema-{SCHEMA}.tar"
    if not target.exists():
        write_backup(data_dir, target, locked=True)
    with trouble_told(data_dir / ARCHIVE / INDEX, "removed"):
        disk.remove(data_dir / ARCHIVE / INDEX)
    for path, schema in old.items():
        steps = [migrations[number] for number in range(schema, SCHEMA)]
        if path.name == STATE:
            _rewrite_state(path, disk, steps)
        else:
            _rewrite(path, str(path.relative_to(data_dir)), disk, schema, steps)


def _files(data_dir: Path, disk: Disk) -> Iterator[Path]:
    """The journals, and the desk's state last: it is what says that a folder is in use."""
    with trouble_told(data_dir, "listed"):
        for folder in (data_dir, data_dir / ARCHIVE):
            yield from (folder / name for name in disk.names(folder) if name.endswith(".json") and name != STATE)
        yield from (data_dir / name for name in disk.names(data_dir) if name == STATE)


def _schema_of(path: Path, disk: Disk) -> int | None:
    """The schema that the first record names; None where there is none: whoever reads the file judges it."""
    with trouble_told(path, "read"):
        file = disk.open(path, create=False, write=False)
        try:
            found = _NUMBER.match(disk.read(file, 256, 0))
        finally:
            disk.close(file)
    return int(found[1]) if found else None


def _require_way(path: Path, schema: int, migrations: Mapping[int, Migration]) -> None:
    if schema > SCHEMA or any(number not in migrations for number in range(schema, SCHEMA)):
        word = f"has schema {schema}, this version knows {SCHEMA}: use the version that wrote it"
        raise StoreCorrupt(f"{path}:2 {word}", file=str(path), line=2, schema=schema, refused=True)


def _rewrite(path: Path, name: str, disk: Disk, schema: int, steps: list[Migration]) -> None:
    reader = Journal(path, read_only=True, disk=disk, schema=schema)
    fresh: Successor | None = None
    try:
        while entries := reader.read_ahead(READ_AHEAD) or reader.follow():
            fresh = fresh or _successor(reader, disk)
            for entry in entries:
                fresh.take(_migrated(name, dict(entry.content), steps))
        fresh = fresh or _successor(reader, disk)
        fresh.put_in_place()
    finally:
        if fresh is not None:
            fresh.give_up()
        reader.close()


def _successor(reader: Journal, disk: Disk) -> Successor:
    base = reader.base.get("base")
    facts = {one: value for one, value in reader.base.items() if one in ("archived", "until")}
    return Successor(reader.path, base if isinstance(base, int) else 0, disk, facts or None)


def _rewrite_state(path: Path, disk: Disk, steps: list[Migration]) -> None:
    with trouble_told(path, "rewritten"):
        file = disk.open(path, create=False, write=False)
        try:
            content = unsealed(disk.read(file, 1 << 20, 0).removesuffix(b"\n"))
        finally:
            disk.close(file)
        if content is None:
            raise StoreCorrupt(f"{path}:1 is damaged", file=str(path), line=1)
        kept = {one: value for one, value in content.items() if one not in ("schema", "checksum")}
        body = {"schema": SCHEMA, **_migrated(path.name, kept, steps)}
        replace_whole(path, sealed(body) + b"\n", disk, sync=True)


def _migrated(name: str, record: dict[str, Json], steps: list[Migration]) -> dict[str, Json]:
    for step in steps:
        record = step(name, record)
    return record
