"""An API key of Pear's, made once from a signature of the account's own wallet.

The law: what is signed is exactly what Pear gave to sign, and a log-in; the key made is handed out once and kept
nowhere.
"""

from collections.abc import Callable, Mapping

from trading.adapters.http import Peer
from trading.adapters.keys import Wallet
from trading.adapters.pear_api import LOGIN_SECONDS_MAX, URL_VARIABLE
from trading.adapters.pear_wire import decode_tokens, mapping, number, text
from trading.domain.errors import VenueUnavailable
from trading.ports import Clock

CHAIN_ID = "42161"
# The one type that is signed: the same key signs withdrawals, which are of other types.
LOG_IN = "Authentication"
# Pear's answer lacks the domain's own type, which eth-account needs and wallets add themselves.
_DOMAIN_TYPES: Mapping[str, str] = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
}

Signer = Callable[[Mapping[str, object]], str]


def mint(base_url: str, address: str, client_id: str, name: str, clock: Clock, sign: Signer) -> str:
    """A new API key for *address*; *sign* makes the signature (0x and 130 hex digits) of the typed data it is given.

    Raises VenueUnavailable, with Pear's status when it refused, and InvalidRequest for a *base_url* that is no use.
    """
    peer = Peer("Pear", URL_VARIABLE, base_url, LOGIN_SECONDS_MAX, clock, VenueUnavailable)
    query = {"address": address, "clientId": client_id, "chainId": CHAIN_ID}
    typed = mapping(peer.get("/auth/eip712-message", query))
    if typed.get("primaryType") != LOG_IN:
        raise VenueUnavailable("Pear gave something else to sign than a log-in: nothing was signed")
    details = {"signature": sign(typed), "timestamp": int(number(typed.get("timestamp"), "timestamp"))}
    body = {"method": "eip712", "address": address, "clientId": client_id, "details": details}
    tokens = decode_tokens(peer.decoded(peer.exchange("POST", "/auth/login", body=body)))
    headers = {"Authorization": f"Bearer {tokens.access}"}
    made = peer.decoded(peer.exchange("POST", "/api-keys", body={"name": name}, headers=headers))
    return text(mapping(made), "apiKey")


def signed_by(wallet: Wallet) -> Signer:
    """The hand of *wallet*."""

    def sign(typed: Mapping[str, object]) -> str:
        domain, types = mapping(typed.get("domain")), mapping(typed.get("types"))
        own = [{"name": name, "type": kind} for name, kind in _DOMAIN_TYPES.items() if name in domain]
        return wallet.typed_signature({**typed, "types": {**types, "EIP712Domain": own}})

    return sign
