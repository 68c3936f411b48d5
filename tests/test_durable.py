"""Files are replaced whole or not at all: full disks and kills are real ones."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clearhead.durable import (
    TEMPORARY_PREFIX,
    sha256,
    sweep_temporaries,
    write_durably,
    write_together,
)
from clearhead.errors import StorageError


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """As on a full disk, no write goes beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_content_is_written_whole_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    for content in (bytes(range(251)), b"", b"shorter"):
        write_durably(path, content)
        assert path.read_bytes() == content
    assert names(path.parent) == ["file.bin"]


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_durably(path, b"old")
    with (
        files_limited_to(1009),
        pytest.raises(StorageError, match=r"^cannot write .+file.bin: File too large; free some"),
    ):
        write_durably(path, bytes(10_007))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]
    write_durably(path, bytes(10_007))
    assert path.stat().st_size == 10_007


def test_of_several_files_none_is_replaced_unless_all_could_be_written(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    write_together({small: b"old", large: b"old"})
    with files_limited_to(1009), pytest.raises(StorageError, match="large: File too large"):
        write_together({small: b"new", large: bytes(10_007)})
    assert (small.read_bytes(), large.read_bytes()) == (b"old", b"old")
    assert names(tmp_path) == ["large", "small"]
    write_together({small: b"new", large: b"newer"})
    assert (small.read_bytes(), large.read_bytes()) == (b"new", b"newer")


@pytest.mark.parametrize("place", ["file/below", "file/below/deeper", "folder"])
def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match=r"^cannot write .+; free some space or") as caught:
        write_durably(tmp_path / place, b"new")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file", "folder"]


REPLACE_FOREVER = """
import sys
from pathlib import Path
from clearhead.durable import write_durably
contents = [bytes([number]) * 1_000_003 for number in (1, 2)]
print(flush=True)
while True:
    for content in contents:
        write_durably(Path(sys.argv[1]), content)
"""


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    whole = {bytes([number]) * 1_000_003 for number in (0, 1, 2)}
    write_durably(path, bytes(1_000_003))
    for delay in (0.001, 0.003, 0.007, 0.013, 0.029, 0.041, 0.053):
        with subprocess.Popen(
            [sys.executable, "-c", REPLACE_FOREVER, str(path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delay)
            os.kill(writer.pid, signal.SIGKILL)
        assert path.read_bytes() in whole
    assert path.read_bytes() != bytes(1_000_003)
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == ["file.bin"]


def test_sweeping_removes_temporaries_alone(tmp_path: Path) -> None:
    for name in (f"{TEMPORARY_PREFIX}7-model", f"{TEMPORARY_PREFIX}11-config", ".other", "model"):
        (tmp_path / name).write_bytes(b"x")
    sweep_temporaries(tmp_path)
    assert names(tmp_path) == [".other", "model"]
    sweep_temporaries(tmp_path / "missing")


def test_the_checksum_is_sha256() -> None:
    # the first example of FIPS 180-2, appendix B
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
