"""Scout and Guardian as two small HTTP servers, to rehearse a live configuration: `python -m tests.servers.siblings`.

Scout offers what the demo stand-in reads off the paper market, which is also the exchange simulator's; Guardian
approves what is within the contract's default limits. Neither is fit for anything but rehearsal.
"""

import argparse
import json
import signal
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.servers.scout import entry_of
from trading.adapters.demo_scout import DemoScout
from trading.adapters.paper_market import PaperMarket
from trading.adapters.system import SystemClock
from trading.domain.units import hash_of

ALLOCATION_MAX = Decimal("0.30")
SEED = 7
Answer = tuple[int, object]


class Agents:
    """Both siblings' answers. `told` keeps the outcomes that Guardian was told; with an `objection` it approves of
    nothing and says so."""

    def __init__(self, seed: int = SEED) -> None:
        self._scout = DemoScout(PaperMarket(seed), SystemClock())
        self.told: list[object] = []
        self.objection = ""

    def scout(self, method: str, path: str, body: object) -> Answer:
        """GET /api/signals/recent: the demo list, in the real Scout's words."""
        if path.partition("?")[0] != "/api/signals/recent":
            return 404, {"detail": "not found"}
        return 200, [entry_of(one) for one in self._scout.recent()]

    def guardian(self, method: str, path: str, body: object) -> Answer:
        """POST /api/trade/approve and /api/trade/outcome."""
        if path == "/api/trade/outcome":
            self.told.append(body)
            return 200, {"status": "recorded"}
        if path != "/api/trade/approve" or not isinstance(body, dict):
            return 404, {"detail": "not found"}
        trade, portfolio = body["trade_proposal"], body["portfolio_state"]
        large = Decimal(str(trade["size"])) > Decimal(str(portfolio["total_value"])) * ALLOCATION_MAX
        objection = self.objection or ("larger than its share of the portfolio" if large else "")
        return 200, {
            "decision": "reject" if objection else "approve",
            "risk_score": 0.9 if objection else 0.2,
            "reasoning": objection or "within all limits",
            "concerns": [],
            "rule_violations": ["max_allocation"] if large else [],
            "approval_id": "appr_" + hash_of(json.dumps(body, sort_keys=True), len(self.told))[:24],
            "timestamp": SystemClock().now().isoformat(),
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a desk that is killed hangs up."""


def serve(port: int, answer: Callable[[str, str, object], Answer]) -> ThreadingHTTPServer:
    """A server of JSON on the loopback interface, running in a thread of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer in one piece, at once: two small ones would wait for each other's acknowledgement, 40 ms each time.
        wbufsize = -1
        disable_nagle_algorithm = True

        def _reply(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = answer(self.command, self.path, json.loads(content) if content else None)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: who rehearses looks at the desk's log."""

    server = _Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.siblings", description=__doc__)
    parser.add_argument("--scout-port", type=int, default=8001)
    parser.add_argument("--guardian-port", type=int, default=8003)
    parser.add_argument("--seed", type=int, default=SEED, help="of the market that Scout reads")
    options = parser.parse_args(arguments)
    agents = Agents(options.seed)
    scout, guardian = serve(options.scout_port, agents.scout), serve(options.guardian_port, agents.guardian)
    print(f"Scout on http://127.0.0.1:{scout.server_port}, Guardian on http://127.0.0.1:{guardian.server_port}")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


if __name__ == "__main__":
    main()
