"""ccxt opens and closes a position on the exchange simulator, over HTTP and over its streams.

    .interop/bin/python tests/interop/ccxt_trade.py .venv/bin/python

The argument is the Python that runs the simulator (ours); ccxt lives in the environment that runs this file. Exits
with 1 and the step at which the two disagreed.
"""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ETH, BTC = "ETH/USDC:USDC", "BTC/USDC:USDC"
TIMEOUT = 10
CLOID = "0x1234567890abcdef1234567890abcdef"


def settings_of(simulator: "subprocess.Popen[str]") -> dict[str, str]:
    """What the simulator prints for `.env`."""
    assert simulator.stdout is not None
    found: dict[str, str] = {}
    for line in simulator.stdout:
        name, is_setting, value = line.strip().partition("=")
        if is_setting and name.isupper():
            found[name] = value
        if line.startswith("Ctrl-C"):
            return found
    raise SystemExit("the simulator ended before it was ready")


def check(step: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise SystemExit(f"{step}: expected {theirs!r}, ccxt says {ours!r}")
    print(f"  {step}: {ours!r}")


def client(library: str, settings: dict[str, str]) -> Any:
    """ccxt as its manual says, in sandbox mode, with nothing but its URLs changed."""
    ccxt = importlib.import_module(library)
    print(f"{library} {ccxt.__version__}")
    keys = {
        "walletAddress": settings["HYPERLIQUID_ACCOUNT_ADDRESS"],
        "privateKey": settings["HYPERLIQUID_WALLET_KEY"],
    }
    exchange = ccxt.hyperliquid(keys)
    exchange.set_sandbox_mode(True)
    url = settings["HYPERLIQUID_API_URL"]
    exchange.urls["api"] = {"public": url, "private": url, "ws": {"public": f"{url.replace('http', 'ws')}/ws"}}
    exchange.urls["test"] = exchange.urls["api"]
    return exchange


def trade(exchange: Any) -> None:
    markets = exchange.load_markets()
    check("markets", {ETH, BTC} <= set(markets), True)
    check("balance", exchange.fetch_balance()["USDC"]["total"], 100_000.0)
    mid = exchange.fetch_ticker(ETH)["last"]
    check("book", exchange.fetch_order_book(ETH)["bids"][0][0] < mid, True)
    check("leverage", exchange.set_leverage(5, ETH)["status"], "ok")

    bought = exchange.create_order(ETH, "market", "buy", 0.1, mid)
    check("bought", bought["filled"], 0.1)
    held = [(row["symbol"], row["side"], row["contracts"]) for row in exchange.fetch_positions()]
    check("position", held, [(ETH, "long", 0.1)])
    check("order", exchange.fetch_order(bought["id"], ETH)["status"], "closed")

    price = exchange.fetch_ticker(BTC)["last"] * 1.05
    resting = exchange.create_order(BTC, "limit", "sell", 0.001, price, {"clientOrderId": CLOID})
    check("resting", [row["id"] for row in exchange.fetch_open_orders()], [resting["id"]])
    exchange.edit_order(resting["id"], BTC, "limit", "sell", 0.001, price * 1.01)
    edited = exchange.fetch_open_orders()
    check("edited", len(edited) == 1 and edited[0]["id"] != resting["id"], True)
    check("cancelled", exchange.cancel_order(edited[0]["id"], BTC)["status"], "success")

    sold = exchange.create_order(ETH, "market", "sell", 0.1, mid, {"reduceOnly": True})
    check("sold", sold["filled"], 0.1)
    check("flat", exchange.fetch_positions(), [])
    check("own trades", [row["side"] for row in exchange.fetch_my_trades()], ["buy", "sell"])
    check("taker fee", exchange.fetch_trading_fee(ETH)["taker"], 0.00045)
    check("candles", len(exchange.fetch_ohlcv(ETH, "1h", limit=5)), 5)


async def watch(exchange: Any) -> None:
    """The same on streams: books, orders posted over the socket, own trades, candles."""
    try:
        await exchange.load_markets()
        book = await asyncio.wait_for(exchange.watch_order_book(ETH), TIMEOUT)
        mid = (book["bids"][0][0] + book["asks"][0][0]) / 2
        for side, more in (("buy", {}), ("sell", {"reduceOnly": True})):
            own_trades = asyncio.create_task(exchange.watch_my_trades())
            order = await asyncio.wait_for(exchange.create_order_ws(ETH, "market", side, 0.1, mid, more), TIMEOUT)
            check(f"{side} over the socket", order["filled"], 0.1)
            trades = await asyncio.wait_for(own_trades, TIMEOUT)
            check(f"{side} told", trades[-1]["side"], side)
        candles = await asyncio.wait_for(exchange.watch_ohlcv(ETH, "1m"), TIMEOUT)
        check("candle", candles[-1][4] > 0, True)
    finally:
        await exchange.close()


def main() -> None:
    python = sys.argv[1] if len(sys.argv) > 1 else sys.executable
    command = (python, "-m", "tests.servers.hyperliquid", "--port", "0", "--still")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            settings = settings_of(simulator)
            trade(client("ccxt", settings))
            asyncio.run(watch(client("ccxt.pro", settings)))
        finally:
            simulator.terminate()
    print("ccxt could not tell.")


if __name__ == "__main__":
    main()
