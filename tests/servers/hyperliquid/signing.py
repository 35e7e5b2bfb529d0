"""Who signed an action: the digests of Hyperliquid's two signing schemes and the address they recover to.

Recovery always yields some address, so a wrong hash shows as an unknown account and never as a bad signature. The
formulas are those of hyperliquid-python-sdk 0.24.0, `utils/signing.py` (MIT), reduced to their constants: two keccaks
and one curve operation an action.
"""

import struct
from collections.abc import Mapping

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from tests.servers.hyperliquid.actions import USER_SIGNED, Action, UserSigned
from tests.servers.hyperliquid.words import Refused, Unprocessable, member, natural, only, record

SOURCES = {"mainnet": "a", "testnet": "b"}
CHAINS = {"mainnet": "Mainnet", "testnet": "Testnet"}

_DOMAIN_TYPE = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_AGENT_TYPE = keccak(text="Agent(string source,bytes32 connectionId)")
_L1_CHAIN_ID = 1337


def _domain(name: str, chain_id: int) -> bytes:
    return keccak(_DOMAIN_TYPE + keccak(text=name) + keccak(text="1") + chain_id.to_bytes(32, "big") + bytes(32))


_L1_DOMAIN = _domain("Exchange", _L1_CHAIN_ID)
_SOURCE_HASHES = {network: keccak(text=source) for network, source in SOURCES.items()}


def packed(action: Action) -> bytes:
    """*action* as msgpack in its canonical form."""
    return _msgpack(action.canonical())


def _msgpack(value: object) -> bytes:
    """The part of MessagePack that actions use, each value in its shortest encoding.

    Written out here, so that the server checks its clients' packing and does not share it.
    """
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _packed_whole(value)
        case str():
            raw = value.encode()
            return _packed_size(len(raw), 0xA0, 32, 0xD9) + raw
        case list():
            return _packed_size(len(value), 0x90, 16, None) + b"".join(map(_msgpack, value))
        case dict():
            rows = (_msgpack(key) + _msgpack(inner) for key, inner in value.items())
            return _packed_size(len(value), 0x80, 16, None) + b"".join(rows)
        case _:
            raise TypeError(f"no action has a {type(value).__name__}")


def _packed_size(size: int, short: int, short_below: int, byte_code: int | None) -> bytes:
    """The head of a string, list or map; only strings have a form with one byte of size."""
    if size < short_below:
        return bytes([short | size])
    if byte_code is not None and size < 1 << 8:
        return struct.pack("!BB", byte_code, size)
    wide = {0xA0: 0xDA, 0x90: 0xDC, 0x80: 0xDE}[short]
    return struct.pack("!BH", wide, size)


def _packed_whole(value: int) -> bytes:
    if 0 <= value < 1 << 7:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack("!b", value)
    forms = ((0xCC, "B"), (0xCD, "H"), (0xCE, "I"), (0xCF, "Q"))
    if value < 0:
        forms = ((0xD0, "b"), (0xD1, "h"), (0xD2, "i"), (0xD3, "q"))
    for code, form in forms:
        bits = 8 * struct.calcsize(f"!{form}")
        fits = value < 1 << bits if value > 0 else value >= -(1 << (bits - 1))
        if fits:
            return struct.pack(f"!B{form}", code, value)
    raise OverflowError(value)


def connection_id(action: Action, nonce: int, vault: str | None, expires_after: int | None) -> bytes:
    """The hash an L1 signature covers."""
    data = packed(action) + nonce.to_bytes(8, "big")
    data += b"\x00" if vault is None else b"\x01" + bytes.fromhex(vault[2:])
    if expires_after is not None:
        data += b"\x00" + expires_after.to_bytes(8, "big")
    return keccak(data)


def l1_digest(connection: bytes, network: str) -> bytes:
    """The EIP-712 digest of the phantom agent of *network*."""
    return keccak(b"\x19\x01" + _L1_DOMAIN + keccak(_AGENT_TYPE + _SOURCE_HASHES[network] + connection))


def user_digest(action: UserSigned) -> bytes:
    """The EIP-712 digest of a user-signed action, over exactly its listed fields."""
    name, fields = USER_SIGNED[action.type]
    listed = ",".join(f"{sort} {field}" for field, sort in fields)
    encoded = keccak(text=f"HyperliquidTransaction:{name}({listed})")
    encoded += b"".join(_encoded(action.fields[field], sort) for field, sort in fields)
    domain = _domain("HyperliquidSignTransaction", action.chain_id)
    return keccak(b"\x19\x01" + domain + keccak(encoded))


def _encoded(value: object, sort: str) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if sort == "address":
        return bytes(12) + bytes.fromhex(str(value)[2:])
    return keccak(text=str(value))


Vrs = tuple[int, int, int]


def parse_signature(source: Mapping[str, object]) -> Vrs:
    """v (0 or 1), r and s of an envelope's signature. r and s have 1 to 64 hex digits: clients do not pad them."""
    only(source, "r", "s", "v")
    v = natural(source, "v")
    return v - 27 if v >= 27 else v, _scalar(source, "r"), _scalar(source, "s")


def _scalar(source: Mapping[str, object], key: str) -> int:
    value = member(source, key)
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66:
        raise Unprocessable(f"`{key}` is no hex scalar")
    try:
        return int(value, 16)
    except ValueError as error:
        raise Unprocessable(f"`{key}` is no hex scalar") from error


def recover(digest: bytes, signature: Vrs) -> str:
    """The address, in lower case, that signed *digest*; raises Refused when there is none."""
    try:
        public = Signature(vrs=signature).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError) as error:
        raise Refused("Unable to recover signer.") from error
    return public.to_address()


def signature_of(envelope: Mapping[str, object]) -> Vrs:
    return parse_signature(record(member(envelope, "signature")))
