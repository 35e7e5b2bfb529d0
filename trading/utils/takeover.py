"""A new content for a DATA_DIR, put in the place of the old one within the folder: it may be a mount point, and its
parent somebody else's.

The law: all that comes was written and synced before anything moves. Whoever dies on the way leaves the old content, or
what the next start, or the next restore, finishes; until then nobody reads there.
"""

import os
from pathlib import Path

from trading.domain.errors import StoreCorrupt
from trading.utils.disk import SystemDisk, trouble_told
from trading.utils.ledger import LEDGER_LOCK
from trading.utils.locks import LOCKS, ProcessLock
from trading.utils.owner import make_directory

STAGED = ".restoring"
"""What comes is written here, in DATA_DIR. As long as it has this name nothing has happened yet."""
LEAVING, ARRIVING = ".restored-leaving", ".restored-arriving"
"""The same folder, once it was decided that it comes: while the old content moves out, and then while it moves in."""
KEPT = "before-restore-"
VENUE = "venue"
"""What was sent to the venue from this machine, and under which numbers: no copy of the ledger undoes that."""
LOCK_SECONDS = 5.0


def is_between(data_dir: Path) -> bool:
    """Whether somebody died between the old content and the new one. Raises StoreCorrupt where that cannot be seen."""
    with trouble_told(data_dir, "read"):
        return any(SystemDisk().stamp(data_dir / name) is not None for name in (LEAVING, ARRIVING))


def refuse_between(data_dir: Path) -> None:
    """Raises StoreCorrupt where what is in *data_dir* is neither the old content nor the new one."""
    if is_between(data_dir):
        word = "a restore was cut off here; start the service, or restore again: either finishes it"
        raise StoreCorrupt(f"{data_dir}: {word}", file=str(data_dir), refused=True)


def take_over(data_dir: Path) -> Path | None:
    """Move what is in *data_dir* out of the way, and what is staged there in; where the old content is now, None where
    there was none. What was sent stays known, and locks stay where they are; the caller holds them.

    Raises StoreCorrupt, with the old content in its place, when something cannot be moved.
    """
    old = _content(data_dir)
    _require_one_file_system(data_dir, old)
    kept = data_dir / f"{KEPT}{_last_number(data_dir) + 1}"
    with trouble_told(data_dir, "written"):
        if old:
            make_directory(kept)
        _rename_synced(data_dir, STAGED, LEAVING)
        try:
            _move_out(data_dir)
        except OSError:
            if not (data_dir / LEAVING).exists():
                raise  # all has moved out, and only the last sync failed: the next start goes on from there
            _move_all(kept, data_dir)
            _rename_synced(data_dir, LEAVING, STAGED)
            kept.rmdir()
            raise
        _move_in(data_dir)
    return kept if old else None


def finish(data_dir: Path) -> bool:
    """Finish what somebody died over, if there is anything; whether there was. Raises Busy, and StoreCorrupt, with
    `refused` among its facts when it could not be finished."""
    if not is_between(data_dir):
        return False
    with ProcessLock(data_dir / LOCKS / LEDGER_LOCK, "the ledger", LOCK_SECONDS).held():
        try:
            if (data_dir / LEAVING).exists():
                _move_out(data_dir)
            if (data_dir / ARRIVING).exists():
                _move_in(data_dir)
        except OSError as error:
            word = f"a restore was cut off here and cannot be finished: {error}; mend that, then start or restore again"
            raise StoreCorrupt(f"{data_dir}: {word}", file=str(data_dir), refused=True) from error
    return True


def _move_out(data_dir: Path) -> None:
    """The old content to the folder that was made for it last; to another one where a process that still runs on the
    old content has written something anew that is kept already."""
    if old := _content(data_dir):
        number = max(1, _last_number(data_dir))
        again = any(os.path.lexists(data_dir / f"{KEPT}{number}" / path.name) for path in old)
        kept = data_dir / f"{KEPT}{number + again}"
        make_directory(kept)
        _move(old, kept)
    _rename_synced(data_dir, LEAVING, ARRIVING)


def _move_in(data_dir: Path) -> None:
    _move_all(data_dir / ARRIVING, data_dir)
    (data_dir / ARRIVING).rmdir()
    SystemDisk().sync_directory(data_dir)


def _move_all(folder: Path, to: Path) -> None:
    _move([folder / name for name in SystemDisk().names(folder)], to)


def _move(paths: list[Path], to: Path) -> None:
    for path in paths:
        os.replace(path, to / path.name)
    SystemDisk().sync_directory(to)


def _rename_synced(data_dir: Path, name: str, other: str) -> None:
    SystemDisk().sync_directory(data_dir)
    os.replace(data_dir / name, data_dir / other)
    SystemDisk().sync_directory(data_dir)


def _content(data_dir: Path) -> list[Path]:
    """All that a restore replaces."""
    stays = {LOCKS, VENUE, STAGED, LEAVING, ARRIVING}
    with trouble_told(data_dir, "read"):
        names = SystemDisk().names(data_dir)
    return [data_dir / name for name in names if name not in stays and _number_of(name) is None]


def _last_number(data_dir: Path) -> int:
    numbers = (_number_of(name) for name in SystemDisk().names(data_dir))
    return max((number for number in numbers if number is not None), default=0)


def _number_of(name: str) -> int | None:
    number = name.removeprefix(KEPT)
    return int(number) if name.startswith(KEPT) and number.isdecimal() else None


def _require_one_file_system(data_dir: Path, paths: list[Path]) -> None:
    for path in paths:
        if path.lstat().st_dev != data_dir.stat().st_dev:
            raise StoreCorrupt(f"{path} is a mount of its own: it cannot be moved, so unmount it first", file=str(path))
