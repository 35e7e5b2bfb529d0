"""A client for tests: it builds actions as the wire wants them, signs with the official SDK and hands them over.

The exchange may be in this process (`exchange.act`) or behind a URL; nonces count up from the exchange's clock.
"""

from collections.abc import Callable, Mapping
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid.utils.signing import sign_l1_action

from tests.servers.hyperliquid import AGENT_KEY
from tests.servers.hyperliquid.exchange import Exchange

# What /exchange answers, as a client sees it: JSON to be looked into.
Answer = Any


def wire(
    asset: int,
    side: str,
    size: str,
    price: str,
    tif: str = "Ioc",
    *,
    reduce_only: bool = False,
    cloid: str | None = None,
    trigger: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """One order on the wire; *side* is `buy` or `sell`; *trigger* as {isMarket, triggerPx, tpsl} instead of a tif."""
    kind: dict[str, object] = {"limit": {"tif": tif}} if trigger is None else {"trigger": dict(trigger)}
    row: dict[str, object] = {
        "a": asset,
        "b": side == "buy",
        "p": price,
        "s": size,
        "r": reduce_only,
        "t": kind,
    }
    return row if cloid is None else {**row, "c": cloid}


def stop(price: str, kind: str = "sl", market: bool = True) -> dict[str, object]:
    """A trigger at *price*: a stop, or a take-profit with kind `tp`."""
    return {"isMarket": market, "triggerPx": price, "tpsl": kind}


class Trader:
    """One key, trading on *exchange*, for a vault if one is given. *send* posts an envelope elsewhere."""

    def __init__(
        self,
        exchange: Exchange,
        key: str = AGENT_KEY,
        *,
        vault: str | None = None,
        mainnet: bool = False,
        send: Callable[[Mapping[str, object]], Answer] | None = None,
    ) -> None:
        self.exchange = exchange
        self.wallet: LocalAccount = Account.from_key(key)
        self._vault = vault
        self._mainnet = mainnet
        self._send = send or exchange.act
        self._last_nonce = 0

    def next_nonce(self) -> int:
        self._last_nonce = max(self._last_nonce + 1, self.exchange.now_ms())
        return self._last_nonce

    def envelope(
        self, action: Mapping[str, object], *, nonce: int | None = None, expires_after: int | None = None
    ) -> dict[str, object]:
        """*action*, signed."""
        number = nonce if nonce is not None else self.next_nonce()
        signature = sign_l1_action(self.wallet, action, self._vault, number, expires_after, self._mainnet)
        return {
            "action": action,
            "nonce": number,
            "signature": signature,
            "vaultAddress": self._vault,
            "expiresAfter": expires_after,
        }

    def send(
        self, action: Mapping[str, object], *, nonce: int | None = None, expires_after: int | None = None
    ) -> Answer:
        """Sign, send and return the answer."""
        return self._send(self.envelope(action, nonce=nonce, expires_after=expires_after))

    def place(
        self, *orders: Mapping[str, object], grouping: str = "na", builder: Mapping[str, object] | None = None
    ) -> Answer:
        """Place *orders* in one action and return its statuses."""
        action: dict[str, object] = {"type": "order", "orders": list(orders), "grouping": grouping}
        if builder is not None:
            action["builder"] = builder
        answer = self.send(action)
        return answer["response"]["data"]["statuses"] if answer["status"] == "ok" else answer["response"]

    def cancel(self, *targets: tuple[int, int]) -> Answer:
        action: dict[str, object] = {"type": "cancel", "cancels": [{"a": asset, "o": oid} for asset, oid in targets]}
        answer = self.send(action)
        return answer["response"]["data"]["statuses"] if answer["status"] == "ok" else answer["response"]
