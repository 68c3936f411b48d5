"""A request in one piece, and so plain that it can be refused without a parser and its objects."""

from typing import Any

LINE, END = b"\r\n", b"\r\n\r\n"
START, VERSION = b"POST ", b" HTTP/1.1"
# What changes how a body is sent, or the connection used: for the real parser.
SPECIAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"))
KEEP_ALIVE = b"keep-alive"


def plain_post(data: bytes) -> dict[str, Any] | None:
    """Method, path and Host, as an ASGI scope has them, of a POST that `data` is: no more, no less.

    None for everything else, and for all that could be read in two ways: the real parser decides.
    """
    head, found, body = data.partition(END)
    line, *fields = head.split(LINE)
    if not found or not line.startswith(START) or not line.endswith(VERSION):
        return None
    named: dict[bytes, bytes] = {}
    for field in fields:
        name, colon, value = field.partition(b":")
        name = name.lower()
        if not colon or name in named or name in SPECIAL or name.strip(b" \t\n\r\0") != name:
            return None
        named[name] = value.strip(b" \t")
    length, host = named.get(b"content-length", b""), named.get(b"host")
    if host is None or not length.isdigit() or int(length) != len(body):
        return None
    if named.get(b"connection", KEEP_ALIVE).lower() != KEEP_ALIVE:
        return None
    path = line[len(START) : -len(VERSION)]
    return {"method": "POST", "path": path.decode("latin-1"), "headers": [(b"host", host)]}
