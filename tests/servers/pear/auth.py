"""Who is asking: typed data to sign, API keys, access tokens that expire and refresh tokens that rotate.

The law: signatures are recovered for real, a timestamp and a refresh token serve once, and an API key is shown once.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from eth_account import Account
from eth_account.messages import encode_typed_data

from tests.servers.pear.words import Body, Refused, Row, iso, number, record, word
from trading.domain.units import hash_of
from trading.ports import Clock

ACCESS_LIFE = timedelta(minutes=15)
REFRESH_LIFE = timedelta(days=30)
TIMESTAMP_LIFE = timedelta(minutes=5)
CLIENT_IDS = frozenset({"APITRADER"})
CHAIN_ID = 42161
FIELDS = (("address", "address"), ("clientId", "string"), ("timestamp", "uint256"), ("action", "string"))
DOMAIN_FIELDS = (("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address"))


@dataclass(frozen=True, slots=True)
class Token:
    address: str
    client_id: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    number: int
    address: str
    name: str | None
    created_at: datetime


class Sessions:
    """Keys and tokens of all addresses, thread-safe. `logins` are the methods of all log-ins so far."""

    def __init__(self, clock: Clock) -> None:
        self._access_life = ACCESS_LIFE
        self.logins: list[str] = []
        self.refreshes = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: dict[str, ApiKey] = {}
        self._access: dict[str, Token] = {}
        self._refresh: dict[str, Token] = {}
        self._timestamps: set[tuple[str, int]] = set()
        self._made = 0

    def keep_key(self, address: str, key: str, name: str | None = None) -> ApiKey:
        made = ApiKey(len(self._keys) + 1, address.lower(), name, self._clock.now())
        self._keys[key] = made
        return made

    def set_life(self, seconds: float) -> None:
        """Access tokens live so long from now on."""
        self._access_life = timedelta(seconds=seconds)

    def expire_all(self) -> None:
        """Every access token dies now; refresh tokens stay."""
        with self._lock:
            self._access.clear()

    def forget_all(self) -> None:
        """Every token dies, refresh tokens too: only a log-in helps."""
        with self._lock:
            self._access.clear()
            self._refresh.clear()

    def address_of(self, header: str) -> str:
        """The address of a `Bearer` header; Refused with 401."""
        with self._lock:
            token = self._access.get(header.removeprefix("Bearer "))
        if token is None or token.ends_at <= self._clock.now():
            raise Refused(401, "Invalid or expired token")
        return token.address

    def typed_data(self, query: dict[str, str]) -> Row:
        address, client = word(query, "address").lower(), query.get("clientId")
        seconds = int(self._clock.now().timestamp())
        message: Row = {"address": address, "timestamp": seconds, "action": "authenticate"}
        if client is not None:
            message["clientId"] = client
        return {
            "primaryType": "Authentication",
            "domain": {
                "name": "Pear Protocol",
                "version": "1",
                "chainId": int(query.get("chainId") or CHAIN_ID),
                "verifyingContract": "0x0000000000000000000000000000000000000001",
            },
            "types": {"Authentication": [{"name": name, "type": kind} for name, kind in FIELDS if name in message]},
            "message": message,
            "timestamp": seconds,
        }

    def log_in(self, body: Body) -> Row:
        method, address, client = word(body, "method"), word(body, "address").lower(), word(body, "clientId")
        details = record(body.get("details"), "details")
        if client not in CLIENT_IDS:
            raise Refused(401, "Invalid clientId")
        if method == "api_key":
            key = self._keys.get(word(details, "apiKey"))
            if key is None or key.address != address:
                raise Refused(401, "Invalid API key")
        elif method == "eip712":
            self._check_signature(details, address, client)
        else:
            raise Refused(400, ["method must be one of the following values: eip712, api_key"])
        self.logins.append(method)
        return {**self._tokens(address, client), "address": address, "clientId": client}

    def refresh(self, body: Body) -> Row:
        with self._lock:
            token = self._refresh.pop(word(body, "refreshToken"), None)
        if token is None or token.ends_at <= self._clock.now():
            raise Refused(401, "Invalid or expired refresh token")
        self.refreshes += 1
        return self._tokens(token.address, token.client_id)

    def log_out(self, body: Body) -> Row:
        with self._lock:
            self._refresh.pop(word(body, "refreshToken"), None)
        return {"message": "Logged out"}

    def mint(self, address: str, body: Body) -> Row:
        name = body.get("name")
        key = f"pear_{hash_of('api key', address, len(self._keys))[:40]}"
        made = self.keep_key(address, key, name if isinstance(name, str) else None)
        return {"id": str(made.number), "apiKey": key, "name": made.name, "createdAt": iso(made.created_at)}

    def keys_of(self, address: str) -> Row:
        mine = [one for one in self._keys.values() if one.address == address]
        return {
            "apiKeys": [
                {"id": str(one.number), "name": one.name, "isActive": True, "lastUsedAt": None}
                | {"createdAt": iso(one.created_at)}
                for one in mine
            ]
        }

    def _tokens(self, address: str, client: str) -> Row:
        now = self._clock.now()
        with self._lock:
            self._made += 1
            access, refresh = (f"sim.{hash_of(kind, self._made)[:48]}" for kind in ("access", "refresh"))
            self._access[access] = Token(address, client, now + self._access_life)
            self._refresh[refresh] = Token(address, client, now + REFRESH_LIFE)
        seconds = self._access_life.total_seconds()
        return {"accessToken": access, "refreshToken": refresh, "tokenType": "Bearer", "expiresIn": seconds}

    def _check_signature(self, details: Body, address: str, client: str) -> None:
        seconds = int(number(details, "timestamp", Decimal(0)))
        age = self._clock.now().timestamp() - seconds
        if (address, seconds) in self._timestamps:
            raise Refused(401, "Timestamp already used")
        if not -1 <= age <= TIMESTAMP_LIFE.total_seconds():
            raise Refused(401, "Timestamp expired")
        chain = str(details.get("chainId") or CHAIN_ID)
        data = self.typed_data({"address": address, "clientId": client, "chainId": chain})
        types, message = record(data["types"], "types"), record(data["message"], "message")
        full = {
            **data,
            "types": {**types, "EIP712Domain": [{"name": name, "type": kind} for name, kind in DOMAIN_FIELDS]},
            "message": {**message, "timestamp": seconds},
        }
        try:
            signer = Account.recover_message(encode_typed_data(full_message=full), signature=word(details, "signature"))
        except ValueError:
            raise Refused(401, "Invalid signature") from None
        if str(signer).lower() != address:
            raise Refused(401, "Invalid signature")
        self._timestamps.add((address, seconds))
