"""What is taken for a plain request is read by a real parser to its end, and as the same."""

from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhead.serve.plain import plain_post

from .served import post

PLAIN = post(b"body")


class Parsed:
    """A request as httptools reads it."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.ends = 0
        self.url = self.body = b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def test_a_plain_request_is_seen_with_path_and_host() -> None:
    expected = {"method": "POST", "path": "/v1/predict", "headers": [(b"host", b"localhost")]}
    assert plain_post(PLAIN) == expected
    assert plain_post(PLAIN.replace(b"Host: ", b"hOST:\t")) == expected
    assert plain_post(post(b"", "/v1/predict", "Connection: Keep-Alive", "A: b")) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN[:-1],
        PLAIN + b"P",
        PLAIN + PLAIN,
        PLAIN[:20],
        PLAIN.replace(b"POST", b"GET"),
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"Host", b"Hose"),
        PLAIN.replace(b"Host", b"Host "),
        PLAIN.replace(b"Host", b" Host"),
        PLAIN.replace(b": 4", b": +4"),
        PLAIN.replace(b": 4", b": 4, 4"),
        PLAIN.replace(b": 4", b": 0x4"),
        PLAIN.replace(b"Content-Length", b"Content-Long"),
        post(b"body", "/v1/predict", "Host: evil.example"),
        post(b"body", "/v1/predict", "content-length: 4"),
        post(b"body", "/v1/predict", "Transfer-Encoding: chunked"),
        post(b"body", "/v1/predict", "Expect: 100-continue"),
        post(b"body", "/v1/predict", "Connection: close"),
        post(b"body", "/v1/predict", "Connection: upgrade", "Upgrade: websocket"),
        post(b"body", "/v1/predict", "no colon"),
    ],
)
def test_everything_else_is_left_to_the_parser(data: bytes) -> None:
    assert plain_post(data) is None


PARTS = st.sampled_from(
    [
        *(b"POST ", b"/v1/predict", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":"),
        *(
            b"Host: x",
            b"host:y",
            b"Content-Length: 2",
            b"content-length:0",
            b"\r\n\r\n",
            b"bo",
            b",",
        ),
        *(b"Transfer-Encoding: chunked", b"Connection: keep-alive", b"Content-Length : 2", b"\x80"),
    ]
)


@given(st.one_of(st.lists(PARTS).map(b"".join), st.binary()), st.integers(0, 200))
def test_no_two_readers_disagree(junk: bytes, place: int) -> None:
    """Whatever is put where: what is plain is one whole request to the parser as well."""
    data = PLAIN[:place] + junk + PLAIN[place:]
    scope: Any = plain_post(data)
    if scope is None:
        return
    try:
        parsed = Parsed(data)
    except httptools.HttpParserError:  # refused with 429 in place of 400, and nothing is left over
        return
    assert parsed.ends == 1
    assert parsed.url.decode("latin-1") == scope["path"]
    assert [header for header in parsed.headers if header[0] == b"host"] == scope["headers"]
    assert data.endswith(b"\r\n\r\n" + parsed.body)
