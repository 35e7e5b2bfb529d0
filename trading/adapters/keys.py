"""The wallet key: read from hex digits or an encrypted keystore, and never shown again.

The law: the key is in no repr, no exception and no log line, and nothing hands it out: a Wallet signs, and tells its
address. Where the text comes from (the environment, a file named by `X_FILE`) is the configuration's business.
"""

import json
from collections.abc import Mapping

import coincurve
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from hyperliquid.utils.signing import action_hash, keccak

from trading.domain.errors import InvalidRequest

KEY_VARIABLE = "HYPERLIQUID_WALLET_KEY"
PASSWORD_VARIABLE = "HYPERLIQUID_KEYSTORE_PASSWORD"  # noqa: S105 - the name of a variable
# EIP-712 by hand, for the one type and the one domain that the venue's L1 actions are signed under: the general encoder
# takes four times as long as the signature. The same digits as the SDK's `sign_l1_action`, which a test compares.
_AGENT_TYPE = keccak(text="Agent(string source,bytes32 connectionId)")
_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_DOMAIN = keccak(
    keccak(text=_DOMAIN_TYPE) + keccak(text="Exchange") + keccak(text="1") + (1337).to_bytes(32, "big") + bytes(32)
)
# Ethereum counts its two recovery ids from here.
RECOVERY_BASE = 27
_MAINNET, _TESTNET = keccak(text="a"), keccak(text="b")


class Wallet:
    """A key that signs. `address` in lower case."""

    __slots__ = ("_account", "_key", "address")

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        # What `unsafe_sign_hash` ends in after a tenth of a millisecond and more of Python.
        self._key = coincurve.PrivateKey(bytes(account.key))
        self.address = str(account.address).lower()

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("a wallet is not written down")

    def signature(
        self, action: Mapping[str, object], nonce: int, expires_after: int | None, *, mainnet: bool
    ) -> dict[str, object]:
        """The L1 signature of *action* as the official SDK makes it; *nonce* and *expires_after* in milliseconds.

        The keys of *action* are hashed in their order.
        """
        source = _MAINNET if mainnet else _TESTNET
        agent = keccak(_AGENT_TYPE + source + action_hash(action, None, nonce, expires_after))
        digest = keccak(b"\x19\x01" + _DOMAIN + agent)
        signed = self._key.sign_recoverable(digest, hasher=None)
        r, s, v = (int.from_bytes(one, "big") for one in (signed[:32], signed[32:64], signed[64:]))
        return {"r": hex(r), "s": hex(s), "v": v + RECOVERY_BASE}

    def typed_signature(self, full_message: Mapping[str, object]) -> str:
        """The EIP-712 signature of *full_message*, whose types name the domain's, as 0x and 130 hex digits."""
        signed = self._account.sign_message(encode_typed_data(full_message=dict(full_message)))
        return "0x" + bytes(signed.signature).hex()


def open_wallet(secret: str, password: str | None = None) -> Wallet:
    """The wallet of *secret*: 64 hex digits, 0x first or not, or the JSON of an encrypted keystore with its *password*.

    Raises InvalidRequest naming the variable to mend. Its causes are cut off on purpose: they may quote the key.
    """
    text = secret.strip()
    if text.startswith("{"):
        return _from_keystore(text, password)
    try:
        return Wallet(Account.from_key(bytes.fromhex(text.removeprefix("0x"))))
    except (ValueError, TypeError):
        raise InvalidRequest({KEY_VARIABLE: "is no private key: 64 hex digits, or a keystore's JSON"}) from None


def keystore_of(secret: str, password: str) -> tuple[str, str]:
    """The address of *secret*, and the JSON of a keystore that only *password* opens (scrypt, about half a second).

    Raises InvalidRequest as `open_wallet` does.
    """
    wallet = open_wallet(secret)
    encrypted: object = Account.encrypt(bytes.fromhex(secret.strip().removeprefix("0x")), password)
    return wallet.address, json.dumps(encrypted)


def _from_keystore(text: str, password: str | None) -> Wallet:
    if not password:
        raise InvalidRequest({PASSWORD_VARIABLE: f"is required because {KEY_VARIABLE} is a keystore"})
    try:
        keystore = json.loads(text)
    except ValueError:
        raise InvalidRequest({KEY_VARIABLE: "begins like a keystore but is no JSON"}) from None
    try:
        return Wallet(Account.from_key(Account.decrypt(keystore, password)))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise InvalidRequest({PASSWORD_VARIABLE: "does not open the keystore"}) from None
        raise InvalidRequest({KEY_VARIABLE: "is no keystore that can be opened"}) from None
    except (KeyError, TypeError, NotImplementedError):
        raise InvalidRequest({KEY_VARIABLE: "is no keystore that can be opened"}) from None
