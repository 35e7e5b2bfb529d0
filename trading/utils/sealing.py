"""One record as one line of JSON with its checksum, as all files of a DATA_DIR that are records are written.

The law: a line of which a single bit has changed is no record.
"""

import json
import zlib
from collections.abc import Mapping

from trading.domain.codec import Json
from trading.domain.errors import InvariantBroken

SEAL_BYTES = len(b',"checksum":"00000000"}')

# Made once: `json.dumps` makes one each time that it is asked for anything but its defaults.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def sealed(content: Mapping[str, Json]) -> bytes:
    """*content* as one line of JSON with its checksum. Raises InvariantBroken for what is no JSON."""
    try:
        text = _encode(content)[:-1].encode()
    except (TypeError, ValueError) as error:
        raise InvariantBroken(f"a record is no JSON: {error}") from error
    return text + _seal(text)


def unsealed(line: bytes) -> dict[str, Json] | None:
    """The record of a line that `sealed` made; None when a single bit of it has changed."""
    text, seal = line[:-SEAL_BYTES], line[-SEAL_BYTES:]
    if seal != _seal(text):
        return None
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _seal(text: bytes) -> bytes:
    return b',"checksum":"%08x"}' % zlib.crc32(text)
