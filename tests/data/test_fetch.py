import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clearhead._atomic import TEMPORARY_PREFIX
from clearhead.data import _fetch
from clearhead.data._catalog import DataFile, NamedDataset
from clearhead.data._fetch import fetch
from clearhead.errors import CorruptDataError, FetchError, StorageError

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

# A child process: TIMES forks that fetch at the same time, each from the same mirrors.
CHILDREN = """
import hashlib, os, sys, time
from clearhead.data import _fetch
from clearhead.data._catalog import DataFile, NamedDataset
from clearhead.errors import ClearheadError

times, limit, timeout, *mirrors = sys.argv[1:]
_fetch.MIRROR_TIMEOUT = float(timeout)
files = tuple(
    DataFile(name=name, size=int(size), sha256=sha256)
    for name, size, sha256 in (line.split() for line in sys.stdin)
)
dataset = NamedDataset(name="digits", files=files, mirrors=tuple(mirrors))
if int(limit):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
parent = os.getpid()
children = [pid for pid in (os.fork() for _ in range(int(times)) if os.getpid() == parent) if pid]
if os.getpid() == parent:
    for child in children:
        os.waitpid(child, 0)
else:
    start = time.monotonic()
    try:
        found = _fetch.fetch(dataset)
        good = all(hashlib.sha256(f.path.read_bytes()).hexdigest() == f.file.sha256 for f in found)
        outcome = f"{len(found)} files, good: {good}"
    except ClearheadError as error:
        outcome = f"{type(error).__name__}: {error}"
    os.write(1, f"{time.monotonic() - start:.2f} {outcome}\\n".encode())
    os._exit(0)
"""


@pytest.fixture(autouse=True)
def cache(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    server.files.update(CONTENTS)
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CLEARHEAD_DATA", raising=False)
    monkeypatch.setattr(_fetch, "MIRROR_TIMEOUT", 0.4)
    return tmp_path / "cache" / "digits"


def digits(server: Any, *behaviours: str, **more: Any) -> NamedDataset:
    mirrors = tuple(server.url(behaviour) for behaviour in behaviours)
    return NamedDataset(name="digits", files=FILES, mirrors=mirrors, **more)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock", ".last-failure"}


def start_children(
    server: Any, times: int, *behaviours: str, limit: int = 0, timeout: float = 5.0
) -> "subprocess.Popen[str]":
    mirrors = [server.url(behaviour) for behaviour in behaviours]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILDREN, str(times), str(limit), str(timeout), *mirrors],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdin is not None
    child.stdin.write("".join(f"{file.name} {file.size} {file.sha256}\n" for file in FILES))
    child.stdin.close()
    child.stdin = None
    return child


def outcomes_of(child: "subprocess.Popen[str]") -> list[str]:
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    return out.splitlines()


def test_files_are_fetched_once_and_then_come_from_the_cache(server: Any, cache: Path) -> None:
    first = fetch(digits(server, "honest"))
    assert [found.content for found in first] == list(CONTENTS.values())
    assert [found.path.read_bytes() for found in first] == list(CONTENTS.values())
    assert {found.origin for found in first} == {server.url("").split("/")[2]}
    assert names_in(cache) == set(CONTENTS)
    second = fetch(digits(server, "honest"))
    assert [found.content for found in second] == list(CONTENTS.values())
    assert {found.origin for found in second} == {"cache"}
    assert server.requests == {"honest": 3}


def test_only_the_wanted_files_are_fetched_and_progress_is_reported(
    server: Any, cache: Path
) -> None:
    names: list[str] = []
    found = fetch(
        digits(server, "honest"), [LABELS], progress=lambda name, received: names.append(name)
    )
    assert [here.file for here in found] == [LABELS]
    assert names_in(cache) == {LABELS.name}
    assert set(names) == {f"{LABELS.name} from {found[0].origin}"}


@pytest.mark.parametrize(
    "behaviour",
    [
        *("cut", "corrupt", "other", "short", "bomb", "stall_midway", "trickle_headers"),
        "redirect",
    ],
)
def test_after_a_mirror_that_misbehaves_the_next_one_is_used(
    server: Any, cache: Path, behaviour: str
) -> None:
    found = fetch(digits(server, behaviour, "honest"))
    assert [here.path.read_bytes() for here in found] == list(CONTENTS.values())
    assert names_in(cache) == set(CONTENTS)
    assert server.requests == {behaviour: 1, "honest": 3}  # a failed source is not tried again


@pytest.mark.parametrize("behaviour", ["cut", "corrupt", "other", "short", "bomb"])
def test_bad_responses_are_not_stored_and_the_error_names_every_source(
    server: Any, cache: Path, behaviour: str, tmp_path: Path
) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(digits(server, behaviour, advice="; or do without"), root=tmp_path / "mine")
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(cache), str(tmp_path / "mine"), "127.0.0.1", "--root", "CLEARHEAD_DATA"):
        assert part in message
    assert all(file.name in message for file in FILES)
    assert message.endswith("or do without")
    assert names_in(cache) == set()


def test_stalls_of_all_sources_together_are_bounded(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _fetch.MAX_STALL < 28
    monkeypatch.setattr(_fetch, "MAX_STALL", 0.7)
    start = time.monotonic()
    with pytest.raises(FetchError, match="no response"):
        fetch(digits(server, "stall", "trickle", "stall_midway", "trickle_headers"))
    assert 0.6 < time.monotonic() - start < 4 * 0.7  # not one after the other


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
        more = {"system_folders": (tmp_path / "absent", folder)}
    if place == "variable":
        monkeypatch.setenv("CLEARHEAD_DATA", str(folder))
    root = folder if place in ("named", "subfolder") else None
    (found,) = fetch(digits(server, "honest", **more), [IMAGES], root=root)
    assert (found.content, found.path) == (content, path)
    assert not server.requests
    assert not cache.exists()


def test_files_missing_in_a_folder_come_from_a_source(server: Any, tmp_path: Path) -> None:
    (tmp_path / LABELS.name).write_bytes(CONTENTS[LABELS.name])
    found = fetch(digits(server, "honest"), root=tmp_path)
    assert [here.content for here in found] == list(CONTENTS.values())
    assert server.requests == {"honest": 2}


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_in_the_users_folder_is_an_error_that_names_it(
    server: Any, tmp_path: Path, packed: bool
) -> None:
    content = CONTENTS[LABELS.name]
    whole = gzip.compress(content) if packed else content
    path = tmp_path / (LABELS.name + ".gz" * packed)
    for place in range(
        10 if packed else 0, len(whole) - 8 * packed, 5
    ):  # not the times or sums of gzip
        for damaged in (whole[:place], whole[:place] + b"\xaa\x55"[: 1 + place % 2]):
            path.write_bytes(damaged)
            with pytest.raises(CorruptDataError, match=path.name) as caught:
                fetch(digits(server, "honest"), [LABELS], root=tmp_path)
            assert "\n" not in str(caught.value)
    assert not server.requests


def test_a_damaged_file_in_the_cache_is_replaced(server: Any, cache: Path) -> None:
    source = digits(server, "honest")
    content = CONTENTS[LABELS.name]
    (found,) = fetch(source, [LABELS])
    for place in range(0, len(content), 50):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        for damaged in (bytes(changed), content[:place], content + bytes(place + 1)):
            found.path.write_bytes(damaged)
            (repaired,) = fetch(source, [LABELS])
            assert (repaired.content, found.path.read_bytes()) == (content, content)
            assert repaired.origin != "cache"


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_variable(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="CLEARHEAD_CACHE"):
        fetch(digits(server, "honest"))


def test_only_one_of_many_concurrent_processes_downloads(server: Any, cache: Path) -> None:
    outcomes = outcomes_of(start_children(server, 6, "corrupt", "steady"))
    assert [line.split(" ", 1)[1] for line in outcomes] == ["3 files, good: True"] * 6
    assert server.requests == {"corrupt": 1, "steady": 3}
    assert names_in(cache) == set(CONTENTS)


def test_many_processes_share_one_timeout_of_a_dead_source(server: Any, cache: Path) -> None:
    outcomes = outcomes_of(start_children(server, 6, "stall", timeout=1.0))
    assert len(outcomes) == 6
    assert all("FetchError: cannot get" in line and "no response" in line for line in outcomes)
    assert max(float(line.split()[0]) for line in outcomes) < 6 * 1.0  # not one after the other
    assert server.requests == {"stall": 1}
    assert names_in(cache) == set()


def test_an_earlier_failure_does_not_stop_a_fetch(server: Any, cache: Path) -> None:
    with pytest.raises(FetchError):
        fetch(digits(server, "missing"))
    assert len(fetch(digits(server, "honest"))) == 3
    assert not (cache / ".last-failure").exists()


def test_a_full_disk_is_a_storage_error_and_leaves_no_part_of_a_file(
    server: Any, cache: Path
) -> None:
    (outcome,) = outcomes_of(start_children(server, 1, "honest", limit=20_000))
    assert "StorageError: cannot write" in outcome
    assert names_in(cache) == set()


@pytest.mark.parametrize("requests", [1, 3])
def test_a_killed_process_leaves_no_partial_file(server: Any, cache: Path, requests: int) -> None:
    child = start_children(server, 1, "steady")
    deadline = time.monotonic() + 20
    while server.requests["steady"] < requests and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate(timeout=20)
    for name in names_in(cache) & set(CONTENTS):
        assert (cache / name).read_bytes() == CONTENTS[name]
    (cache / f"{TEMPORARY_PREFIX}12345-{IMAGES.name}").write_bytes(b"half of it")
    assert len(fetch(digits(server, "honest"))) == 3
    assert names_in(cache) == set(CONTENTS)
