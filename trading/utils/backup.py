"""A DATA_DIR into one file and back.

The law: what is restored was verified first, line by line; nothing newer is given up unasked; what was there is kept.
"""

import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from trading.domain.desk_state import Binding, Cause, TradingState
from trading.domain.errors import Busy, StoreCorrupt
from trading.utils.disk import SystemDisk, replace_whole, trouble_told
from trading.utils.inspection import LedgerReport, newest_event, state_in, verify
from trading.utils.ledger import ARCHIVE, LEDGER, LEDGER_LOCK, RESCUE, STATE, content_of
from trading.utils.locks import LOCKS, ProcessLock, Seats
from trading.utils.owner import for_owner, make_directory
from trading.utils.snapshot import write_backup as write_backup
from trading.utils.takeover import STAGED, finish, take_over

LOCK_SECONDS = 5.0
_STRICTNESS = (TradingState.ACTIVE, TradingState.REDUCING, TradingState.HALTED, TradingState.LIQUIDATING)


def restore(source: Path, data_dir: Path, *, force: bool) -> tuple[LedgerReport, Path | None]:
    """Put what `write_backup` made in the place of what is in *data_dir*; what was found in it, and where the old
    content is now.

    Raises StoreCorrupt when the backup is not well, when the ledger here is newer, another account's or cannot be read
    (unless *force*), and while a monitor runs or another restore does; Busy while somebody writes.
    """
    with trouble_told(source, "read"), source.open("rb"):
        pass
    make_directory(data_dir)
    staged = data_dir / STAGED
    with _alone(data_dir), trouble_told(staged, "written"):
        finish(data_dir)
        shutil.rmtree(staged, ignore_errors=True)
        try:
            _extract(source, staged)
            report = verify(staged, fold_archive=False)
            if report.problems or not report.counts:
                raise StoreCorrupt(f"{source} is not well: " + "; ".join(report.problems or report.notes))
            return report, _swap(staged, data_dir, source, force=force)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """On the monitor's seat: none begins meanwhile, and two restores do not unpack over each other."""
    with ExitStack() as stack:
        try:
            stack.enter_context(Seats(data_dir / LOCKS).monitor_seat())
        except Busy as error:
            word = f"a monitor watches {data_dir}, or another restore is at work there: stop the service first"
            raise StoreCorrupt(word, file=str(data_dir)) from error
        yield


def _swap(staged: Path, data_dir: Path, source: Path, *, force: bool) -> Path | None:
    with ExitStack() as stack:
        if not force and (data_dir / LEDGER).exists():
            _require_same_account(staged, data_dir, source)
            _require_not_newer(staged, data_dir, source)
        for name in ("book.lock", "archive.lock", "desk.lock", LEDGER_LOCK):
            stack.enter_context(ProcessLock(data_dir / LOCKS / name, name, LOCK_SECONDS).held())
        # What was done without a ledger is in no ledger, restored or not: the rescue file stays.
        if (data_dir / RESCUE).exists():
            replace_whole(staged / RESCUE, (data_dir / RESCUE).read_bytes(), SystemDisk(), sync=True)
        _let_open_nothing(data_dir, staged, source)
        return take_over(data_dir)


def _let_open_nothing(data_dir: Path, staged: Path, source: Path) -> None:
    """What the copy does not know of is nobody's at the venue, and watched by nobody: nothing is opened beside it until
    somebody has looked and resumes. An emergency stop here, as all that keeps from trading, is lifted by no copy."""
    restored = present = state_in(staged)
    with suppress(OSError, StoreCorrupt):
        present = state_in(data_dir)
    state = max(restored, present, key=lambda one: _STRICTNESS.index(one.state))
    if state.state in (TradingState.ACTIVE, TradingState.REDUCING):
        word = f"restored from {source.name}: compare with the venue, then resume"
        causes = present.causes | restored.causes | {Cause.OPERATOR}
        state = replace(state, state=TradingState.REDUCING, causes=causes, why=word)
    kept = replace(
        restored,
        state=state.state,
        causes=state.causes,
        why=state.why,
        since=state.since,
        scope_account=state.scope_account,
    )
    replace_whole(staged / STATE, content_of(kept), SystemDisk(), sync=True)


def _require_same_account(fresh: Path, data_dir: Path, source: Path) -> None:
    here, there = _binding_of(data_dir), _binding_of(fresh)
    if here is not None and there is not None and here != there:
        names = [f"{one.venue}/{one.network}/{one.account}" for one in (here, there)]
        word = f"{data_dir} belongs to {names[0]}, and {source} to {names[1]}"
        raise StoreCorrupt(f"{word}; --force puts it there all the same", file=str(data_dir))


def _binding_of(data_dir: Path) -> Binding | None:
    """None where the state cannot be read: that is no reason against a restore."""
    with suppress(OSError, StoreCorrupt):
        return state_in(data_dir).binding
    return None


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
    make_directory(folder)
    make_directory(folder / ARCHIVE)
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                target = folder / member.name
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or target.parent not in (folder, folder / ARCHIVE) or ".." in member.name:
                    raise StoreCorrupt(f"{source} is no backup: it has {member.name}", file=str(source))
                with content, os.fdopen(for_owner(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                    file.flush()
                    os.fsync(file.fileno())
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise StoreCorrupt(f"{source} is no backup: {error}", file=str(source)) from error
    SystemDisk().sync_directory(folder / ARCHIVE)
    SystemDisk().sync_directory(folder)
