"""How the server and its decoders talk: a line of JSON's length, a payload's length, both."""

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">II")


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """One message."""
    text = json.dumps(header).encode()
    return b"".join([_LENGTHS.pack(len(text), len(payload)), text, payload])


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None at the end."""
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    text, payload = (stream.read(length) for length in _LENGTHS.unpack(lengths))
    return json.loads(text), payload
