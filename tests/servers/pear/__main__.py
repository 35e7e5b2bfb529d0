"""`python -m tests.servers.pear`: Pear as a process, on an exchange simulator that runs already."""

import argparse
import os
import signal
import sys
import threading

from tests.servers.hyperliquid import MASTER
from tests.servers.pear import API_KEY, BUILDER, BUILDER_FEE_TENTHS_BPS, PEAR_AGENT, open_pear
from tests.servers.pear.door import UrlDoor

DEFAULT_PORT = 9200
DEFAULT_EXCHANGE = "http://127.0.0.1:9100"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.pear", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any free one")
    parser.add_argument("--exchange", default=DEFAULT_EXCHANGE, help="URL of python -m tests.servers.hyperliquid")
    parser.add_argument("--master", default=MASTER, help="address of the account")
    parser.add_argument("--token-seconds", type=float, default=900, help="how long access tokens live")
    parser.add_argument("--unapproved", action="store_true", help="leave agent and builder fee unapproved")
    options = parser.parse_args(arguments)
    door = UrlDoor(options.exchange)
    if not options.unapproved:
        door.post("/control", {"do": "approve_agent", "user": options.master, "agent": PEAR_AGENT, "name": "pear"})
        fee = {"user": options.master, "builder": BUILDER, "tenths_bps": BUILDER_FEE_TENTHS_BPS}
        door.post("/control", {"do": "approve_builder", **fee})
    server = open_pear(door, port=options.port, master=options.master)
    server.sessions.set_life(options.token_seconds)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with server:
        print(welcome(server.url, options.exchange, options.master), flush=True)
        done.wait()
    return os.EX_OK


def welcome(url: str, exchange: str, master: str) -> str:
    """What to put into `.env`; the key is this simulator's alone."""
    lines = (
        f"A simulated Pear is ready on {url}",
        "",
        "Put this into .env to trade through it:",
        "",
        "DEMO_MODE=false",
        "VENUE=pear",
        f"HYPERLIQUID_API_URL={exchange}",
        f"HYPERLIQUID_ACCOUNT_ADDRESS={master}",
        f"PEAR_API_URL={url}",
        f"PEAR_API_KEY={API_KEY}",
        "",
        f"Script it with POST {url}/control, for instance",
        f"""  curl -H 'Content-Type: application/json' {url}/control -d '{{"do": "tokens", "expire": true}}'""",
        "Ctrl-C stops it.",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
