"""POST /control: what a test in another process may order, as JSON. Loopback only, no secrets.

{"do": "fault", "route": "POST /positions", "answer": "closed", "commit": "before"}
{"do": "whims", "rounding": "ceil"}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from tests.servers.hyperliquid.faults import Answer, Commit, Fault
from tests.servers.pear.trading import Whims
from tests.servers.pear.words import Refused, Row

if TYPE_CHECKING:
    from tests.servers.pear.server import PearServer

Order = Mapping[str, object]


def control(server: PearServer, order: Order) -> object:
    """Carry out one order and answer what it found; Refused when it is not understood."""
    name = order.get("do")
    if not isinstance(name, str) or name not in _ORDERS:
        raise Refused(400, f"`do` must be one of {', '.join(sorted(_ORDERS))}")
    try:
        return _ORDERS[name](server, order)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(400, f"{name}: {type(error).__name__}: {error}") from error


def _fault(server: PearServer, order: Order) -> Row:
    times = order.get("times", 1)
    server.faults.add(
        Fault(
            str(order["route"]),
            Answer(str(order["answer"])),
            Commit(str(order.get("commit", "before"))),
            "",
            None if times is None else int(str(times)),
            float(str(order.get("seconds", 0))),
            order.get("body"),
        )
    )
    return {"done": True}


def _lift(server: PearServer, order: Order) -> Row:
    """Everything is well again."""
    server.faults.lift()
    server.trading.whims = Whims()
    return {"done": True}


def _whims(server: PearServer, order: Order) -> Row:
    known = {one.name for one in fields(Whims)}
    for name, value in order.items():
        if name in known:
            setattr(server.trading.whims, name, value)
        elif name != "do":
            raise KeyError(name)
    return {"done": True}


def _tokens(server: PearServer, order: Order) -> Row:
    """`life_seconds` of access tokens from now on; `expire` or `forget` ends those there are."""
    if "life_seconds" in order:
        server.sessions.set_life(float(str(order["life_seconds"])))
    if order.get("expire") is True:
        server.sessions.expire_all()
    if order.get("forget") is True:
        server.sessions.forget_all()
    return {"logins": len(server.sessions.logins), "refreshes": server.sessions.refreshes}


def _received(server: PearServer, order: Order) -> list[Row]:
    """Every request so far, oldest first."""
    return [{"route": route, "body": body} for route, body in server.received if "auth" not in route]


_ORDERS: dict[str, Callable[[PearServer, Order], object]] = {
    "fault": _fault,
    "lift": _lift,
    "whims": _whims,
    "tokens": _tokens,
    "received": _received,
}
