"""One HTTP/1.1 answer off a connection: status line, headers, and the body by its length, in chunks or to the end.

The law: strict, for what is not understood must not be believed. Two lengths, a length beside chunks, a folded header,
anything that does not end as it should: HTTPException. Nothing waits longer than the deadline, counted over all reads
together, and nothing is larger than it may be. `http.client` reads more leniently and takes five times as long.
"""

import re
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import NamedTuple

HEAD_BYTES_MAX = 1 << 16
HEADERS_MAX = 100
_READ_BYTES = 1 << 16
_END_OF_LINE = b"\r\n"
_END_OF_HEAD = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.(?P<minor>[01]) (?P<status>[1-9][0-9]{2})(?: [^\r\n]*)?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"(?P<size>[0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")

Headers = Mapping[bytes, list[bytes]]
Receive = Callable[[int], bytes]
"""Up to so many bytes, none at the end; it keeps to the deadline itself."""


class TooLarge(HTTPException):
    """The body is larger than it may be."""


class Read(NamedTuple):
    """A whole answer, and whether its connection can carry another."""

    status: int
    content: bytes
    reusable: bool


class _Incoming:
    """What has come and was not taken yet."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._bytes = b""

    @property
    def left_over(self) -> bool:
        return bool(self._bytes)

    def until(self, end: bytes, most: int) -> bytes:
        """What comes before *end*, which is taken too."""
        while (at := self._bytes.find(end)) < 0:
            if len(self._bytes) > most:
                raise HTTPException("a line or a head without end")
            self._bytes += self._part()
        if at > most:
            raise HTTPException("a line or a head that is too long")
        found, self._bytes = self._bytes[:at], self._bytes[at + len(end) :]
        return found

    def exactly(self, count: int) -> bytes:
        if len(self._bytes) < count:
            parts, size = [self._bytes], len(self._bytes)
            while size < count:
                parts.append(self._part())
                size += len(parts[-1])
            self._bytes = b"".join(parts)
        found, self._bytes = self._bytes[:count], self._bytes[count:]
        return found

    def to_the_end(self, most: int) -> bytes:
        parts, size = [self._bytes], len(self._bytes)
        self._bytes = b""
        while size <= most and (part := self._receive(_READ_BYTES)):
            parts.append(part)
            size += len(part)
        if size > most:
            raise TooLarge("a body that is too large")
        return b"".join(parts)

    def _part(self) -> bytes:
        part = self._receive(_READ_BYTES)
        if not part:
            raise HTTPException("the answer broke off")
        return part


def read_answer(receive: Receive, body_bytes_max: int) -> Read:
    """The answer to a request that was just sent; any method but HEAD. Raises HTTPException, TooLarge among them, and
    what *receive* raises."""
    incoming = _Incoming(receive)
    minor, status, headers = _head(incoming)
    while 100 <= status < 200:
        if status == 101:
            raise HTTPException("the other side speaks another protocol from here on")
        minor, status, headers = _head(incoming)
    content, ends = _body(incoming, status, headers, body_bytes_max)
    kept = minor == 1 and b"close" not in _tokens(headers.get(b"connection", []))
    return Read(status, content, kept and ends and not incoming.left_over)


def _head(incoming: _Incoming) -> tuple[int, int, Headers]:
    first, *lines = incoming.until(_END_OF_HEAD, HEAD_BYTES_MAX).split(_END_OF_LINE)
    found = _STATUS.fullmatch(first)
    if found is None or len(lines) > HEADERS_MAX:
        raise HTTPException("no HTTP/1.1 answer, or one with too many headers")
    headers: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or b"\n" in value or b"\r" in value:
            raise HTTPException("a header that is none")
        headers.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return int(found["minor"]), int(found["status"]), headers


def _body(incoming: _Incoming, status: int, headers: Headers, most: int) -> tuple[bytes, bool]:
    """The body, and whether its end could be told without the end of the connection."""
    coded, lengths = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if coded is not None:
        if lengths is not None or _tokens(coded) != [b"chunked"]:
            raise HTTPException("chunks beside a length, or coded otherwise")
        return _chunks(incoming, most), True
    if status in (204, 304):
        return b"", True
    if lengths is None:
        return incoming.to_the_end(most), False
    if len(set(lengths)) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HTTPException("a length that is none, or two of them")
    length = int(lengths[0])
    if length > most:
        raise TooLarge("a body that is too large")
    return incoming.exactly(length), True


def _chunks(incoming: _Incoming, most: int) -> bytes:
    parts: list[bytes] = []
    room = most
    while True:
        found = _CHUNK.fullmatch(incoming.until(_END_OF_LINE, HEAD_BYTES_MAX))
        if found is None:
            raise HTTPException("a chunk without a size")
        size = int(found["size"], 16)
        if size == 0:
            break
        if size > room:
            raise TooLarge("a body that is too large")
        room -= size
        parts.append(incoming.exactly(size))
        if incoming.exactly(len(_END_OF_LINE)) != _END_OF_LINE:
            raise HTTPException("a chunk that does not end where it should")
    for _ in range(HEADERS_MAX):
        if not incoming.until(_END_OF_LINE, HEAD_BYTES_MAX):
            return b"".join(parts)
    raise HTTPException("trailers without end")


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip().lower() for value in values for token in value.split(b",")]
