"""The account log as files: `DATA_DIR/account-2026-11.json`, one journal a month.

The law: what was acknowledged is on disk; the newest version of an id wins, so writing the same twice is writing it
once. A month that is over is never written again, so nothing grows without bound and nothing has to be rolled over.

    equity   at, equity                            id: the hour
    funding  position_id, coin, paid_at, amount    id: all three

Amounts are decimal text.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from trading.domain.accounts import EquityPoint, FundingShare
from trading.domain.errors import StoreCorrupt
from trading.domain.units import Coin, PositionId, Usd, exact
from trading.ports import Json
from trading.utils.disk import Disk
from trading.utils.journal import Journal
from trading.utils.owner import make_directory

MONTHS_OPEN_MAX = 14
PREFIX = "account-"


class _Month:
    """One file, folded as far as it was read."""

    def __init__(self, path: Path, disk: Disk | None) -> None:
        self.journal = Journal(path, disk=disk)
        self.equity: dict[str, EquityPoint] = {}
        self.funding: dict[str, FundingShare] = {}
        self._generation = self.journal.replaced

    def catch_up(self) -> None:
        """Read what anybody has written. Raises StoreCorrupt."""
        entries = self.journal.follow()
        if self.journal.replaced != self._generation:
            self._generation = self.journal.replaced
            self.equity, self.funding = {}, {}
        for entry in entries:
            try:
                self._take(entry.content)
            except (KeyError, ValueError) as error:
                raise StoreCorrupt(f"{self.journal.path}, line {entry.line}: no record of money: {error}") from error

    def _take(self, record: Mapping[str, Json]) -> None:
        identity = str(record["id"])
        match record["kind"]:
            case "equity":
                self.equity[identity] = EquityPoint(_instant(record["at"]), _usd(record, "equity"))
            case "funding":
                self.funding[identity] = FundingShare(
                    PositionId(str(record["position_id"])),
                    Coin(str(record["coin"])),
                    _instant(record["paid_at"]),
                    _usd(record, "amount"),
                )
            case kind:
                raise ValueError(f"unknown kind {kind!r}")


class AccountFile:
    """The AccountLog (see engine) in DATA_DIR. Safe for several threads and several processes."""

    def __init__(self, data_dir: Path, *, disk: Disk | None = None) -> None:
        """Begin the folder where there is none. Raises StoreCorrupt."""
        self.folder = data_dir
        self._disk = disk
        self._months: OrderedDict[str, _Month] = OrderedDict()
        self._lock = RLock()
        make_directory(data_dir)

    def keep_equity(self, point: EquityPoint) -> None:
        hour = point.taken_at.astimezone(UTC).strftime("%Y-%m-%dT%H")
        record: dict[str, Json] = {
            "kind": "equity",
            "id": hour,
            "at": point.taken_at.isoformat(),
            "equity": str(point.equity),
        }
        with self._lock:
            self._month(_name(point.taken_at)).journal.append([record])

    def keep_funding(self, shares: Sequence[FundingShare]) -> None:
        by_month: dict[str, list[dict[str, Json]]] = {}
        for share in shares:
            by_month.setdefault(_name(share.paid_at), []).append(_record(share))
        with self._lock:
            for name, records in by_month.items():
                self._month(name).journal.append(records)

    def equity(self, since: datetime, until: datetime) -> tuple[EquityPoint, ...]:
        found = [
            one
            for month in self._between(since, until)
            for one in month.equity.values()
            if since <= one.taken_at <= until
        ]
        return tuple(sorted(found, key=lambda one: one.taken_at))

    def funding(self, since: datetime, until: datetime) -> tuple[FundingShare, ...]:
        found = [
            one
            for month in self._between(since, until)
            for one in month.funding.values()
            if since <= one.paid_at <= until
        ]
        return tuple(sorted(found, key=lambda one: (one.paid_at, one.position_id, one.coin)))

    def close(self) -> None:
        """Let go of the files; they open again when they are asked for."""
        with self._lock:
            while self._months:
                self._months.popitem()[1].journal.close()

    def _between(self, since: datetime, until: datetime) -> Iterator[_Month]:
        """The months that there are from *since* to *until*, each caught up."""
        first, last = _name(since), _name(until)
        for path in sorted(self.folder.glob(f"{PREFIX}????-??.json")):
            name = path.stem.removeprefix(PREFIX)
            if first <= name <= last:
                with self._lock:
                    month = self._month(name)
                    month.catch_up()
                    yield month

    def _month(self, name: str) -> _Month:
        month = self._months.pop(name, None) or _Month(self.folder / f"{PREFIX}{name}.json", self._disk)
        self._months[name] = month
        if len(self._months) > MONTHS_OPEN_MAX:
            self._months.popitem(last=False)[1].journal.close()
        return month


def _name(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m")


def _record(share: FundingShare) -> dict[str, Json]:
    paid_at = share.paid_at.isoformat()
    return {
        "kind": "funding",
        "id": f"{share.position_id}/{share.coin}/{paid_at}",
        "position_id": share.position_id,
        "coin": share.coin,
        "paid_at": paid_at,
        "amount": str(share.amount),
    }


def _instant(value: Json) -> datetime:
    instant = datetime.fromisoformat(str(value))
    if instant.tzinfo is None:
        raise ValueError(f"{value} lacks its offset")
    return instant


def _usd(record: Mapping[str, Json], name: str) -> Usd:
    return Usd(exact(str(record[name]), name))
