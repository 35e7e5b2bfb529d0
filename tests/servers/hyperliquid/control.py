"""POST /control: what a test in another process may order, as JSON.

    {"do": "set_market", "coin": "ETH", "mid": "3000"}
    {"do": "set_history", "coin": "ETH", "mids": ["2990", "3010"]}
    {"do": "fault", "route": "/exchange", "answer": "closed", "commit": "before", "only": "order"}
    {"do": "weather", "seed": 1, "rate": 0.05, "faults": [{"route": "/info", "answer": "bad_gateway"}]}

Each order is one call of the same programmatic interface that tests in this process use. Loopback only, no secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from tests.servers.hyperliquid.faults import Answer, Commit, Fault
from tests.servers.hyperliquid.words import Row, Unprocessable, text

if TYPE_CHECKING:
    from tests.servers.hyperliquid.server import HyperliquidServer

Order = Mapping[str, object]


class ControlError(Exception):
    """The order is not understood; nothing was done."""


def control(server: HyperliquidServer, order: Order) -> object:
    """Carry out one order and answer what it found. Raises ControlError."""
    name = order.get("do")
    if not isinstance(name, str) or name not in _ORDERS:
        raise ControlError(f"`do` must be one of {', '.join(sorted(_ORDERS))}")
    try:
        return _ORDERS[name](server, order)
    except (KeyError, ValueError, TypeError, InvalidOperation, Unprocessable) as error:
        raise ControlError(f"{name}: {type(error).__name__}: {error}") from error


def _text(order: Order, key: str) -> str:
    return str(order[key])


def _optional(order: Order, key: str) -> str | None:
    return str(order[key]) if order.get(key) is not None else None


def _seconds(order: Order, key: str = "seconds") -> float:
    return float(str(order.get(key, 0)))


def _rows(order: Order, key: str) -> list[tuple[str, str]] | None:
    rows = order.get(key)
    return [(str(one[0]), str(one[1])) for one in rows] if isinstance(rows, list) else None


def _done() -> Row:
    return {"done": True}


def _set_market(server: HyperliquidServer, order: Order) -> Row:
    refill = order.get("refill")
    server.exchange.set_market(
        _text(order, "coin"),
        _optional(order, "mid"),
        mark=_optional(order, "mark"),
        oracle=_optional(order, "oracle"),
        spread_bps=_optional(order, "spread_bps"),
        depth_usd=_optional(order, "depth_usd"),
        gap_bps=_optional(order, "gap_bps"),
        bids=_rows(order, "bids"),
        asks=_rows(order, "asks"),
        refill=refill if isinstance(refill, bool) else None,
        funding_rate=_optional(order, "funding_rate"),
    )
    return _done()


def _set_history(server: HyperliquidServer, order: Order) -> Row:
    """What the minutes before now went through, for candles: `mids`, over and over."""
    mids = order["mids"]
    if not isinstance(mids, list):
        raise TypeError("`mids` is a list")
    server.exchange.set_history(_text(order, "coin"), [str(one) for one in mids])
    return _done()


def _fault(server: HyperliquidServer, order: Order) -> Row:
    server.faults.add(_fault_of(order))
    return _done()


def _fault_of(order: Order) -> Fault:
    times = order.get("times", 1)
    return Fault(
        _text(order, "route"),
        Answer(_text(order, "answer")),
        Commit(str(order.get("commit", "before"))),
        str(order.get("only", "")),
        None if times is None else int(str(times)),
        _seconds(order),
        order.get("body"),
    )


def _weather(server: HyperliquidServer, order: Order) -> Row:
    """A share of all requests from now on."""
    faults = order.get("faults", [])
    if not isinstance(faults, list):
        raise ValueError("`faults` is a list")
    server.faults.set_weather(
        int(_text(order, "seed")), float(_text(order, "rate")), [_fault_of(one) for one in faults]
    )
    return _done()


def _late(server: HyperliquidServer, order: Order) -> Row:
    """How many actions are still on their way, and how many faults were met so far."""
    return {"under_way": sum(one.is_alive() for one in server.late), "met": len(server.faults.met)}


def _calm_orders(server: HyperliquidServer, order: Order) -> Row:
    """No order is refused or cut short for a reason that was set before."""
    server.exchange.whims.refusals.clear()
    server.exchange.whims.fill_caps.clear()
    return _done()


def _lift(server: HyperliquidServer, order: Order) -> Row:
    """Everything is well again: wire, streams, reads, orders."""
    server.faults.lift()
    server.streams.silent = server.streams.duplicates = server.streams.refuses = False
    server.info.lag.milliseconds = server.exchange.skew_ms = 0
    server.latency_seconds = 0.0
    whims = server.exchange.whims
    whims.halted.clear()
    whims.refusals.clear()
    whims.fill_caps.clear()
    whims.post_only = False
    return _done()


def _partial_fill(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.cap_next_fill(_text(order, "coin"), Decimal(_text(order, "size")))
    return _done()


def _refuse(server: HyperliquidServer, order: Order) -> Row:
    status = str(order.get("status", "rejected"))
    server.exchange.refuse_next(_text(order, "coin"), _text(order, "sentence"), status)
    return _done()


def _lag(server: HyperliquidServer, order: Order) -> Row:
    server.info.lag.milliseconds = int(_seconds(order) * 1000)
    server.info.lag.fills_too = order.get("fills_too") is True
    return _done()


def _latency(server: HyperliquidServer, order: Order) -> Row:
    server.latency_seconds = _seconds(order)
    return _done()


def _streams(server: HyperliquidServer, order: Order) -> Row:
    """`silent`, `duplicates`, `refuses` as given; `cut` hangs up on everybody."""
    streams = server.streams
    streams.silent = order.get("silent", streams.silent) is True
    streams.duplicates = order.get("duplicates", streams.duplicates) is True
    streams.refuses = order.get("refuses", streams.refuses) is True
    if order.get("cut") is True:
        streams.cut()
    return {"connections": streams.count}


def _post_only(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.whims.post_only = order.get("on") is True
    return _done()


def _halt(server: HyperliquidServer, order: Order) -> Row:
    halted = server.exchange.whims.halted
    (halted.add if order.get("on", True) is True else halted.discard)(_text(order, "coin"))
    return _done()


def _exhaust(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.exhaust_budget(_text(order, "user"), cancels_too=order.get("cancels_too") is True)
    return _done()


def _open_account(server: HyperliquidServer, order: Order) -> Row:
    abstraction = str(order.get("abstraction", "default"))
    server.exchange.open_account(_text(order, "user"), Decimal(_text(order, "usd")), abstraction)
    return _done()


def _approve_agent(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.approve_agent(_text(order, "user"), _text(order, "agent"), str(order.get("name", "")))
    return _done()


def _approve_builder(server: HyperliquidServer, order: Order) -> Row:
    account = server.exchange.account(_text(order, "user"))
    account.builder_fees[_text(order, "builder")] = int(_text(order, "tenths_bps"))
    return _done()


def _liquidate(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.liquidate(_text(order, "user"), _text(order, "coin"), str(order.get("method", "market")))
    return _done()


def _deleverage(server: HyperliquidServer, order: Order) -> Row:
    user, coin = _text(order, "user"), _text(order, "coin")
    server.exchange.deleverage(user, coin, _text(order, "size"), _optional(order, "price"))
    return _done()


def _charge_funding(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.charge_funding()
    return _done()


def _skew(server: HyperliquidServer, order: Order) -> Row:
    server.exchange.skew_ms = int(_seconds(order) * 1000)
    return _done()


def _drop(server: HyperliquidServer, order: Order) -> Row:
    server.drop_connections()
    return _done()


def _truth(server: HyperliquidServer, order: Order) -> Row:
    """What the account really holds and did: positions, equity, every fill, every live order."""
    exchange, user = server.exchange, _text(order, "user")
    with exchange.lock:
        return {
            "positions": {coin: text(size) for coin, size in exchange.positions(user).items()},
            "equity": text(exchange.equity(user)),
            "fills": exchange.fills(user),
            "open_orders": [one.full_row() for one in exchange.account(user).live_orders()],
            "weight_used": server.weight_used,
        }


def _received(server: HyperliquidServer, order: Order) -> list[Row]:
    """Every action so far, oldest first."""
    with server.exchange.lock:
        return [
            {
                "action": one.action,
                "nonce": one.nonce,
                "signer": one.signer,
                "account": one.account,
                "expires_after": one.expires_after,
                "answer": one.answer,
                "at_ms": one.at_ms,
                "came_at": one.came_at.timestamp(),
            }
            for one in server.exchange.received
        ]


def _told(server: HyperliquidServer, order: Order) -> Row:
    """The mark of each coin that the streams have told last, and when it was on its way to the first who heard it."""
    with server.exchange.lock:
        return {coin: {"mark": mark, "at": at.timestamp()} for coin, (mark, at) in server.streams.marks_told.items()}


def _took(server: HyperliquidServer, order: Order) -> list[float]:
    """How long each of the latest requests to /exchange was here, in seconds, oldest first."""
    return list(server.took)


_ORDERS: dict[str, Callable[[HyperliquidServer, Order], object]] = {
    "set_market": _set_market,
    "set_history": _set_history,
    "fault": _fault,
    "weather": _weather,
    "late": _late,
    "calm_orders": _calm_orders,
    "lift": _lift,
    "partial_fill": _partial_fill,
    "refuse": _refuse,
    "lag": _lag,
    "latency": _latency,
    "streams": _streams,
    "post_only": _post_only,
    "halt": _halt,
    "exhaust_budget": _exhaust,
    "open_account": _open_account,
    "approve_agent": _approve_agent,
    "approve_builder": _approve_builder,
    "liquidate": _liquidate,
    "deleverage": _deleverage,
    "charge_funding": _charge_funding,
    "skew": _skew,
    "drop_connections": _drop,
    "truth": _truth,
    "received": _received,
    "told": _told,
    "took": _took,
}
