"""What somebody would write with ccxt: asks Scout and Guardian, then two market orders one after the other.

    .interop/bin/python bench/ccxt_script.py URL MASTER KEY SCOUT GUARDIAN

Runs in ccxt's environment and knows nothing of ours. Each line `open` or `close` on stdin is done and answered with the
milliseconds that it took.
"""

import importlib
import sys
import time
from typing import Any

TIMEOUT_SECONDS = 20.0
LEGS = (("ETH/USDC:USDC", "buy", 0.25), ("BTC/USDC:USDC", "sell", 0.01))
OPPOSITE = {"buy": "sell", "sell": "buy"}
TRADE = {"trade_proposal": {"size": 2000, "pair": "BTC/ETH"}, "portfolio_state": {"total_value": 100_000}}


def client(url: str, master: str, key: str) -> Any:
    exchange = importlib.import_module("ccxt").hyperliquid({"walletAddress": master, "privateKey": key})
    exchange.set_sandbox_mode(True)
    exchange.urls["api"] = exchange.urls["test"] = {"public": url, "private": url}
    exchange.enableRateLimit = False
    exchange.load_markets()
    return exchange


def send(exchange: Any, *, closing: bool) -> None:
    for symbol, side, amount in LEGS:
        book = exchange.fetch_order_book(symbol)
        mid = (book["bids"][0][0] + book["asks"][0][0]) / 2
        words = {"reduceOnly": True} if closing else {}
        order = exchange.create_order(symbol, "market", OPPOSITE[side] if closing else side, amount, mid, words)
        if order["filled"] != amount:
            raise SystemExit(f"ccxt's order was not filled: {order}")


def main(url: str, master: str, key: str, scout: str, guardian: str) -> None:
    exchange, http = client(url, master, key), importlib.import_module("requests").Session()
    for line in sys.stdin:
        started = time.perf_counter()
        if line.strip() == "open":
            http.get(f"{scout}/api/signals/recent", timeout=TIMEOUT_SECONDS).raise_for_status()
            http.post(f"{guardian}/api/trade/approve", json=TRADE, timeout=TIMEOUT_SECONDS).raise_for_status()
        send(exchange, closing=line.strip() == "close")
        print((time.perf_counter() - started) * 1000, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:6])
