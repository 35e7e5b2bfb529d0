"""The server's side of RFC 6455: the handshake's answer, frames out, messages in.

Enough for clients that keep to the RFC: fragments are joined, pings answered, a close echoed; nothing is compressed.
"""

import base64
import hashlib
import struct
from typing import BinaryIO

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MESSAGE_MAX = 1 << 20
_LAST = 0x80
_MASKED = 0x80
_SHORT, _MEDIUM, _LONG = 125, 126, 127


class Closed(Exception):
    """The other side has closed, or broken the protocol."""


def handshake(key: str) -> bytes:
    """The answer to an upgrade request with that Sec-WebSocket-Key."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _MAGIC, usedforsecurity=False).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join((*lines, f"Sec-WebSocket-Accept: {accept}", "", "")).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked, final frame."""
    size = len(payload)
    if size <= _SHORT:
        head = struct.pack("!BB", _LAST | opcode, size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _LAST | opcode, _MEDIUM, size)
    else:
        head = struct.pack("!BBQ", _LAST | opcode, _LONG, size)
    return head + payload


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise Closed
    return data


def read_frame(stream: BinaryIO) -> tuple[bool, int, bytes]:
    """(final, opcode, payload) of the next frame; raises Closed at its end, unmasked or too long."""
    first, second = _exactly(stream, 2)
    size = second & 0x7F
    if size == _MEDIUM:
        (size,) = struct.unpack("!H", _exactly(stream, 2))
    elif size == _LONG:
        (size,) = struct.unpack("!Q", _exactly(stream, 8))
    if not second & _MASKED or size > MESSAGE_MAX:
        raise Closed
    mask = _exactly(stream, 4)
    payload = _exactly(stream, size)
    repeated = (mask * (size // 4 + 1))[:size]
    plain = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
    return bool(first & _LAST), first & 0x0F, plain
