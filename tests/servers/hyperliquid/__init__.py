"""A Hyperliquid-compatible exchange on the loopback interface, for tests and for rehearsals.

Real clients cannot tell it from the exchange in what they use; what is not simulated is refused, never made up (see
docs/adr/0070). A test opens it so:

    with open_server() as server:
        Exchange(Account.from_key(AGENT_KEY), server.url, account_address=MASTER)
"""

from decimal import Decimal

from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.market import Feed
from tests.servers.hyperliquid.server import HyperliquidServer
from trading.adapters.system import SystemClock
from trading.ports import Clock

# The public test key of hyperliquid-python-sdk's own tests and its address: worthless anywhere else.
AGENT_KEY = "0x0123456789012345678901234567890123456789012345678901234567890123"
AGENT = "0x14791697260e4c9a71f18484c9f997b308e59325"
MASTER_KEY = "0x1111111111111111111111111111111111111111111111111111111111111111"
MASTER = "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
EQUITY_USD = Decimal(100_000)


def open_server(
    clock: Clock | None = None,
    *,
    network: str = "testnet",
    port: int = 0,
    feed: Feed | None = None,
    equity_usd: Decimal = EQUITY_USD,
    master: str = MASTER,
    agent: str = AGENT,
    ticks: bool = True,
) -> HyperliquidServer:
    """A server, not yet serving, whose exchange knows *master* with that much USDC and its *agent*.

    `ticks` lets the clock drive funding and feeds; a test with a clock of its own may rather call `exchange.tick()`.
    """
    exchange = Exchange(clock or SystemClock(), network, feed=feed)
    exchange.open_account(master, equity_usd)
    if agent:
        exchange.approve_agent(master, agent, "executor")
    return HyperliquidServer(exchange, port, ticks=ticks)
