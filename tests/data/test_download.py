import gzip
import random
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from clearhead.data.download import Patience, UnavailableError, download, unpack

CONTENT = random.Random(7).randbytes(60_013)
LIMIT = 61_441
GIVEN_UP = 30.0  # seconds: what is promised, far above what it takes


@pytest.fixture(autouse=True)
def served(server: Any) -> None:
    server.files["x"] = CONTENT


def get(server: Any, misdeed: str, seconds: float = 5.0) -> bytes:
    return download(f"{server.url(misdeed)}/x.gz", LIMIT, Patience(seconds))


def test_a_file_arrives_whole_and_its_progress_is_told(server: Any) -> None:
    told: list[int] = []
    content = download(f"{server.url('honest')}/x.gz", LIMIT, Patience(5), told.append)
    assert gzip.decompress(content) == CONTENT
    assert told == sorted(told)
    assert told[-1] == len(content)


@pytest.mark.parametrize(
    ("misdeed", "reason"),
    [
        ("cut", "closed connection"),
        ("endless", "more than the 61441 bytes"),
        ("missing", "answered 404"),
        ("broken", "answered 500"),
        ("redirect", "redirects to http, not https"),
        ("garbage", "illegal|invalid|disconnected"),
    ],
)
def test_a_server_that_misbehaves_is_given_up_at_once(
    server: Any, misdeed: str, reason: str
) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=reason) as caught:
        get(server, misdeed)
    assert time.monotonic() - start < GIVEN_UP
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("misdeed", ["stall", "stall_midway", "trickle", "trickle_headers"])
def test_a_server_that_stalls_or_trickles_is_given_up_in_time(server: Any, misdeed: str) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="no answer, or too slow"):
        get(server, misdeed, seconds=0.4)
    assert 0.3 < time.monotonic() - start < GIVEN_UP


def test_a_slow_server_may_take_longer_than_the_patience_while_bytes_come(server: Any) -> None:
    start = time.monotonic()
    assert gzip.decompress(get(server, "steady", seconds=0.25)) == CONTENT
    assert time.monotonic() - start > 0.45


def test_patience_never_grows_beyond_its_limit() -> None:
    patience = Patience(2.0)
    patience.earn(10**9)
    assert 1.9 < patience.left() <= 2.0


def test_a_port_where_nobody_listens_fails_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        start = time.monotonic()
        with pytest.raises(UnavailableError, match="refused"):
            download(f"http://127.0.0.1:{unused.getsockname()[1]}/x.gz", LIMIT, Patience(5))
        assert time.monotonic() - start < GIVEN_UP


def test_a_name_lookup_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(1.5)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="no answer"):
        download("https://data.invalid/x.gz", LIMIT, Patience(0.3))
    assert time.monotonic() - start < 1


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is needed to make a certificate")
    both = tmp_path / "both.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(both), "-out", "-"]
    made = subprocess.run([openssl, *options.split(), *extension], capture_output=True, check=True)
    both.write_bytes(both.read_bytes() + made.stdout)
    return both


@pytest.fixture
def secure(server: Any, certificate: Path) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    return server


def test_https_redirects_lead_to_https_only_and_not_round_in_circles(
    secure: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    targets = {
        "good": f"{secure.url('honest', 'https')}/x.gz",
        "bad": f"{secure.url('honest', 'http')}/x.gz",
        "round": f"{secure.url('round', 'https')}/x.gz",
    }
    for name, target in targets.items():
        secure.misdeeds[name] = lambda handler, _, target=target: secure.redirect(handler, target)

    def get_https(name: str) -> bytes:
        return download(f"{secure.url(name, 'https')}/x.gz", LIMIT, Patience(5))

    assert gzip.decompress(get_https("good")) == CONTENT
    with pytest.raises(UnavailableError, match="redirects to http, not https"):
        get_https("bad")
    with pytest.raises(UnavailableError, match="redirects without end"):
        get_https("round")


def test_a_server_whose_certificate_nobody_vouches_for_is_refused(secure: Any) -> None:
    with pytest.raises(UnavailableError, match="certificate"):
        download(f"{secure.url('honest', 'https')}/x.gz", LIMIT, Patience(5))
    assert not secure.requests


def test_gzip_files_are_unpacked_and_others_left_as_they_are() -> None:
    assert unpack(gzip.compress(CONTENT), len(CONTENT)) == CONTENT
    assert unpack(CONTENT, 3) == CONTENT


def test_a_gzip_file_that_unfolds_to_more_than_expected_is_refused() -> None:
    with pytest.raises(UnavailableError, match="more than the 1009 bytes"):
        unpack(gzip.compress(bytes(1010)), 1009)


def test_a_gzip_file_cut_at_any_byte_or_with_a_tail_is_refused() -> None:
    whole = gzip.compress(b"thirteen words", mtime=0)
    for length in range(2, len(whole)):
        with pytest.raises(UnavailableError, match="gzip"):
            unpack(whole[:length], 100)
    with pytest.raises(UnavailableError, match="tail"):
        unpack(whole + b"\x00", 100)
    with pytest.raises(UnavailableError, match="damaged"):
        unpack(whole[:-5] + b"\xff" + whole[-4:], 100)
