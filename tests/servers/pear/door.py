"""Pear's way to the exchange: reads of /info and signed actions, in this process or over HTTP."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol

from eth_account import Account
from hyperliquid.utils.signing import sign_l1_action

from tests.servers.hyperliquid.exchange import Exchange
from tests.servers.hyperliquid.info import Info
from trading.ports import Clock

SECONDS_MAX = 5.0


class Door(Protocol):
    def info(self, request: Mapping[str, object]) -> Any: ...

    def act(self, envelope: Mapping[str, object]) -> Any: ...


class HereDoor:
    """To an exchange in this process."""

    def __init__(self, exchange: Exchange, info: Info) -> None:
        self._exchange = exchange
        self._info = info

    def info(self, request: Mapping[str, object]) -> Any:
        return self._info.answer(request)

    def act(self, envelope: Mapping[str, object]) -> Any:
        return self._exchange.act(envelope)


class UrlDoor:
    """To an exchange simulator behind a URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    def info(self, request: Mapping[str, object]) -> Any:
        return self.post("/info", request)

    def act(self, envelope: Mapping[str, object]) -> Any:
        return self.post("/exchange", envelope)

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        request = urllib.request.Request(  # noqa: S310 - a simulator on the loopback interface
            f"{self._url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:  # noqa: S310
            return json.loads(answer.read())


class AgentHand:
    """The agent's signature under actions; nonces rise from the clock's milliseconds."""

    def __init__(self, door: Door, key: str, clock: Clock) -> None:
        self._door = door
        self._wallet = Account.from_key(key)
        self._clock = clock
        self._last_nonce = 0

    def send(self, action: Mapping[str, object]) -> Any:
        self._last_nonce = max(self._last_nonce + 1, int(self._clock.now().timestamp() * 1000))
        signature = sign_l1_action(self._wallet, action, None, self._last_nonce, None, False)
        envelope = {"action": action, "nonce": self._last_nonce, "signature": signature, "vaultAddress": None}
        return self._door.act(envelope)
