"""A Pear-compatible trading API on the loopback interface, standing on the exchange simulator's account.

What it fills it fills at the exchange, with an agent key of its own, as Pear does; what it cannot do it refuses, never
makes up (see docs/adr/0090). A test opens it so:

    with open_pear(HereDoor(exchange, info), clock) as pear:
        requests.post(f"{pear.url}/auth/login", ...)
"""

from tests.servers.hyperliquid import MASTER
from tests.servers.hyperliquid.server import HyperliquidServer
from tests.servers.pear.door import Door, HereDoor
from tests.servers.pear.server import PearServer
from trading.adapters.system import SystemClock
from trading.ports import Clock

# Made up for these tests and worthless anywhere else.
PEAR_AGENT_KEY = "0x2222222222222222222222222222222222222222222222222222222222222222"
PEAR_AGENT = "0x1563915e194d8cfba1943570603f7606a3115508"
API_KEY = "pear-key-of-the-simulator"
CLIENT_ID = "APITRADER"
# Pear's real one (npm @pear-protocol/hyperliquid 0.1.20).
BUILDER = "0xa47d4d99191db54a4829cdf3de2417e527c3b042"
BUILDER_FEE_TENTHS_BPS = 60


def open_pear(
    door: Door, clock: Clock | None = None, *, port: int = 0, master: str = MASTER, ticks: bool = True
) -> PearServer:
    """A server, not yet serving, at which *master* has an API key. `ticks` lets the clock look at TP and SL."""
    server = PearServer(door, clock or SystemClock(), PEAR_AGENT_KEY, PEAR_AGENT, BUILDER, port, ticks=ticks)
    server.sessions.keep_key(master, API_KEY)
    return server


def approve_pear(exchange: HyperliquidServer, master: str = MASTER) -> None:
    """What the owner of an account does once: approve Pear's agent and its builder fee on the exchange."""
    exchange.exchange.approve_agent(master, PEAR_AGENT, "pear")
    exchange.exchange.account(master).builder_fees[BUILDER] = BUILDER_FEE_TENTHS_BPS


def door_to(exchange: HyperliquidServer) -> HereDoor:
    """The way to an exchange in this very process."""
    return HereDoor(exchange.exchange, exchange.info)
