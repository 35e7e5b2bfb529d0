"""Scout as a real HTTP server for tests: it offers what it is given, or misbehaves as it is scripted."""

import json
from datetime import datetime

from tests.servers.sibling import Received, Reply, Sibling, says
from trading.domain.signals import Signal


class ScoutServer(Sibling):
    """Answers GET /api/signals/recent with `entries`, unless a script was given; 404 anywhere else."""

    def __init__(self, *entries: object) -> None:
        super().__init__()
        self.entries: list[object] = list(entries)
        self._scripted = False

    def script(self, *replies: Reply) -> None:
        self._scripted = True
        super().script(*replies)

    def reply(self, received: Received) -> Reply:
        if self._scripted:
            return super().reply(received)
        if received.path.split("?")[0] != "/api/signals/recent":
            return says({"detail": "not found"}, 404)
        return Reply(body=json.dumps(self.entries).encode())


def entry_of(signal: Signal, **changes: object) -> dict[str, object]:
    """*signal* in Scout's own words."""
    return {
        "id": signal.id,
        "timestamp": _naive(signal.created_at),
        "pair": str(signal.pair),
        "zscore": float(signal.zscore),
        "correlation": None if signal.correlation is None else float(signal.correlation),
        "entry_spread": None if signal.entry_spread is None else float(signal.entry_spread),
        "signal_type": str(signal.signal_type),
        "confidence": float(signal.confidence),
        "confidence_label": "high",
        "status": signal.status,
        **changes,
    }


def _naive(instant: datetime) -> str:
    """As the real Scout writes it: UTC, without saying so."""
    return instant.replace(tzinfo=None).isoformat()
