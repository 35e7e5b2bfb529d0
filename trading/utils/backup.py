"""A DATA_DIR into one file and back.

The law: what is restored was verified first, line by line; nothing newer is given up unasked; the folder that was there
is kept.
"""

import os
import shutil
import tarfile
from contextlib import ExitStack
from pathlib import Path

from trading.domain.errors import StoreCorrupt
from trading.utils.disk import SystemDisk, trouble_told
from trading.utils.inspection import LedgerReport, newest_event, verify
from trading.utils.ledger import ARCHIVE, LEDGER, LEDGER_LOCK, RESCUE
from trading.utils.locks import DIRECTORY_MODE, FILE_MODE, ProcessLock, Seats
from trading.utils.snapshot import write_backup as write_backup

LOCK_SECONDS = 5.0


def restore(source: Path, data_dir: Path, *, force: bool) -> tuple[LedgerReport, Path | None]:
    """Put what `write_backup` made in the place of *data_dir*, or of the folder that it links to; what was found in it,
    and where the old folder is now.

    Raises StoreCorrupt when the backup is not well, when the ledger here is newer or cannot be read (unless *force*),
    and while a monitor runs; Busy while somebody writes.
    """
    with trouble_told(source, "read"), source.open("rb"):
        pass
    # Beside the real folder: a link that was renamed would leave the new one on another file system.
    data_dir = data_dir.resolve() if data_dir.is_symlink() else data_dir
    fresh = data_dir.with_name(f".{data_dir.name}.restoring")
    with trouble_told(fresh, "written"):
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            _extract(source, fresh)
            report = verify(fresh, fold_archive=False)
            if report.problems or not report.counts:
                raise StoreCorrupt(f"{source} is not well: " + "; ".join(report.problems or report.notes))
            return report, _swap(fresh, data_dir, source, force=force)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, data_dir: Path, source: Path, *, force: bool) -> Path | None:
    if not (data_dir / LEDGER).exists():
        kept = _free_name(data_dir) if data_dir.exists() else None
        _rename(fresh, data_dir, kept)
        return kept
    if Seats(data_dir / "locks").monitor_sits():
        raise StoreCorrupt(f"a monitor watches {data_dir}: stop the service first", file=str(data_dir))
    if not force:
        _require_not_newer(fresh, data_dir, source)
    kept = _free_name(data_dir)
    with ExitStack() as stack:
        for name in ("book.lock", "archive.lock", LEDGER_LOCK):
            stack.enter_context(ProcessLock(data_dir / "locks" / name, name, LOCK_SECONDS).held())
        _rename(fresh, data_dir, kept)
    return kept


def _require_not_newer(fresh: Path, data_dir: Path, source: Path) -> None:
    try:
        here = newest_event(data_dir)
    except StoreCorrupt as error:
        raise StoreCorrupt(f"what is there now cannot be read, so it may be newer (--force): {error.detail}") from error
    there = newest_event(fresh)
    if here > there:
        raise StoreCorrupt(f"{data_dir} is newer ({here}) than {source} ({there or 'empty'}); --force gives it up")


def _extract(source: Path, folder: Path) -> None:
    """Regular files under plain names only, whatever else the archive holds."""
    (folder / ARCHIVE).mkdir(mode=DIRECTORY_MODE, parents=True)
    folder.chmod(DIRECTORY_MODE)
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                target = folder / member.name
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or target.parent not in (folder, folder / ARCHIVE) or ".." in member.name:
                    raise StoreCorrupt(f"{source} is no backup: it has {member.name}", file=str(source))
                with content, os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE), "wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise StoreCorrupt(f"{source} is no backup: {error}", file=str(source)) from error
    SystemDisk().sync_directory(folder / ARCHIVE)
    SystemDisk().sync_directory(folder)


def _free_name(data_dir: Path) -> Path:
    number = 1
    while (kept := data_dir.with_name(f"{data_dir.name}.before-restore-{number}")).exists():
        number += 1
    return kept


def _rename(fresh: Path, data_dir: Path, kept: Path | None) -> None:
    """What was done without a ledger is in no ledger, restored or not: the rescue file stays."""
    if (data_dir / RESCUE).exists():
        shutil.copyfile(data_dir / RESCUE, fresh / RESCUE)
        (fresh / RESCUE).chmod(FILE_MODE)
    if kept is not None:
        data_dir.rename(kept)
    fresh.rename(data_dir)
    SystemDisk().sync_directory(data_dir.parent)
