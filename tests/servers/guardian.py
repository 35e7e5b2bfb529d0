"""Guardian as a real HTTP server for tests: it approves everything, or answers as it is scripted."""

from tests.servers.sibling import Received, Reply, Sibling, says

APPROVAL: dict[str, object] = {
    "decision": "approve",
    "risk_score": 0.35,
    "reasoning": "within all limits",
    "concerns": [],
    "rule_violations": [],
    "approval_id": "approval_1",
    "timestamp": "2026-11-22T12:00:00",
}


class GuardianServer(Sibling):
    """Approves with a new id each time and takes every outcome, unless a script was given."""

    def __init__(self) -> None:
        super().__init__()
        self._scripted = False

    def script(self, *replies: Reply) -> None:
        self._scripted = True
        super().script(*replies)

    def answers(self, **changes: object) -> None:
        """Answer with an approval that differs by *changes* from the usual one."""
        self.script(says({**APPROVAL, **changes}))

    def reply(self, received: Received) -> Reply:
        if self._scripted:
            return super().reply(received)
        if received.path == "/api/trade/approve":
            return says({**APPROVAL, "approval_id": f"approval_{len(self.received)}"})
        return says({"status": "ok"}) if received.path == "/api/trade/outcome" else says({}, 404)
