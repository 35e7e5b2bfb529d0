"""`python -m tests.servers.hyperliquid`: the exchange as a process, with a market that moves, to rehearse against."""

import argparse
import os
import signal
import sys
import threading
from decimal import Decimal

from tests.servers.hyperliquid import AGENT, AGENT_KEY, EQUITY_USD, MASTER, open_server
from tests.servers.hyperliquid.market import PaperFeed

DEFAULT_PORT = 9100
DEFAULT_SEED = 7
SWITCH_SECONDS = 0.0005


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.hyperliquid", description=__doc__)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes any free one")
    parser.add_argument(
        "--network", choices=("testnet", "mainnet"), default="testnet", help="whose signatures it takes"
    )
    parser.add_argument("--equity", type=Decimal, default=EQUITY_USD, help="USDC of the master account")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of the market's prices")
    parser.add_argument("--still", action="store_true", help="a market that stands still until /control moves it")
    parser.add_argument("--master", default=MASTER, help="address of the account")
    parser.add_argument("--agent", default=AGENT, help="address of its agent wallet")
    parser.add_argument("--unified", action="store_true", help="the account keeps its collateral in spot")
    options = parser.parse_args(arguments)
    feed = None if options.still else PaperFeed(options.seed)
    server = open_server(
        network=options.network,
        port=options.port,
        feed=feed,
        equity_usd=options.equity,
        master=options.master,
        agent=options.agent,
    )
    if options.unified:
        server.exchange.account(options.master).abstraction = "unifiedAccount"
    # A frame that is ready to go does not wait for the others to be made.
    sys.setswitchinterval(SWITCH_SECONDS)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with server:
        print(welcome(server.url, options.network, options.master, options.agent), flush=True)
        done.wait()
    return os.EX_OK


def welcome(url: str, network: str, master: str, agent: str) -> str:
    """What to put into `.env`; the key only when the agent is the public test one."""
    key = AGENT_KEY if agent.lower() == AGENT else f"(the private key of {agent})"
    lines = (
        f"A simulated Hyperliquid ({network}) is ready on {url}",
        "",
        "Put this into .env to trade on it:",
        "",
        "DEMO_MODE=false",
        "VENUE=hyperliquid",
        f"HYPERLIQUID_API_URL={url}",
        f"HYPERLIQUID_ACCOUNT_ADDRESS={master}",
        f"HYPERLIQUID_WALLET_KEY={key}",
        "",
        f"Script it with POST {url}/control, for instance",
        f"""  curl -H 'Content-Type: application/json' {url}/control -d '{{"do": "truth", "user": "{master}"}}'""",
        "Ctrl-C stops it.",
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
