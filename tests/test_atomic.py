"""Files are replaced whole or not at all: full disks and kills are real ones."""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clearhead._atomic import (
    TEMPORARY_PREFIX,
    append_to_disk,
    remove_temporaries,
    replaced_atomic,
    sha256,
    write_all_atomic,
    write_atomic,
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


def test_content_replaces_the_old_file_atomically(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    for content in (bytes(range(251)), b"", b"shorter"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert names(path.parent) == ["file.bin"]


def test_a_temporary_file_of_a_killed_process_with_the_same_id_is_no_part_of_the_content(
    tmp_path: Path,
) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}{os.getpid()}-file").write_bytes(b"left")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_atomic(path, b"old")
    with (
        files_limited_to(1009),
        pytest.raises(
            StorageError, match=r"^cannot write .+file.bin: File too large; choose another folder$"
        ),
    ):
        write_atomic(path, bytes(10_007))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]
    write_atomic(path, bytes(10_007))
    assert path.stat().st_size == 10_007


@pytest.mark.parametrize("whole", [True, False])
def test_content_is_flushed_before_the_replacement_and_its_folder_afterwards(
    whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    flush, replace = os.fsync, Path.replace

    def note_flush(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("folder" if is_folder else str(os.fstat(descriptor).st_size))
        flush(descriptor)

    def note_replacement(path: Path, target: Path) -> Path:
        events.append("replaced")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_replacement)
    if whole:
        write_atomic(tmp_path / "file", b"new")
    else:
        with replaced_atomic(tmp_path / "file") as temporary:
            temporary.write_bytes(b"new")
    assert list(dict.fromkeys(events)) == ["3", "replaced", "folder"]


def test_appended_content_comes_after_the_old_one_and_a_full_disk_is_a_storage_error(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    for content in (b"first\n", b"second\n"):
        append_to_disk(path, content)
    assert path.read_bytes() == b"first\nsecond\n"
    with files_limited_to(17), pytest.raises(StorageError, match=r"rows: File too large; choose"):
        append_to_disk(path, bytes(10_007))


def test_several_files_are_replaced_all_or_none(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    write_all_atomic({small: b"old", large: b"old"})
    with files_limited_to(1009), pytest.raises(StorageError, match="large: File too large"):
        write_all_atomic({small: b"new", large: bytes(10_007)})
    assert (small.read_bytes(), large.read_bytes()) == (b"old", b"old")
    assert names(tmp_path) == ["large", "small"]
    write_all_atomic({small: b"new", large: b"newer"})
    assert (small.read_bytes(), large.read_bytes()) == (b"new", b"newer")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/below", "{}/file is a file, not a folder; choose another folder"),
        ("file/below/deeper", "{}/file is a file, not a folder; choose another folder"),
        ("folder", "it is a folder; name a file"),
        ("x" * 300, "File name too long; choose a shorter name"),
    ],
)
def test_a_path_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / place, b"new")
    assert str(caught.value) == f"cannot write {tmp_path / place}: {reason.format(tmp_path)}"
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSPC, "No space left on device; free some space or choose another folder"),
        (errno.EDQUOT, "Disk quota exceeded; free some space or choose another folder"),
        (errno.EACCES, "Permission denied; choose another folder"),
    ],
)
def test_freeing_space_is_suggested_for_full_disks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError) as caught:
        write_atomic(tmp_path / "file", b"new")
    assert str(caught.value) == f"cannot write {tmp_path / 'file'}: {reason}"
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a pipe"])
def test_devices_pipes_and_folders_are_never_replaced(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
    else:
        os.mkfifo(tmp_path / "real" if "link" in kind else place)
    if "link" in kind:
        place.symlink_to(tmp_path / "real")
    before, mode = names(tmp_path), place.stat().st_mode
    with pytest.raises(StorageError) as caught:
        write_all_atomic({tmp_path / "first": b"new", place: b"new"})
    assert str(caught.value) == f"cannot write {place}: it is a {kind.split()[-1]}; name a file"
    assert (names(tmp_path), place.stat().st_mode) == (before, mode)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_kept_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    if exists:
        write_atomic(real, b"old")
    link.symlink_to(real)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert (names(tmp_path), names(real.parent)) == (["link", "there"], ["real"])


REPLACE_FOREVER = """
import sys
from pathlib import Path
from clearhead._atomic import write_atomic
contents = [bytes([number]) * 1_000_003 for number in (1, 2)]
while True:
    for content in contents:
        write_atomic(Path(sys.argv[1]), content)
"""


def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    whole = {bytes([number]) * 1_000_003 for number in (0, 1, 2)}
    write_atomic(path, bytes(1_000_003))
    for delay in (0.001, 0.007, 0.029, 0.053):
        before = path.stat().st_mtime_ns
        with subprocess.Popen([sys.executable, "-c", REPLACE_FOREVER, str(path)]) as writer:
            while path.stat().st_mtime_ns == before:
                assert writer.poll() is None
                time.sleep(0.001)
            time.sleep(delay)
            writer.kill()
        assert path.read_bytes() in whole
    remove_temporaries(tmp_path)
    assert names(tmp_path) == ["file.bin"]


def test_sweeping_removes_temporaries_alone(tmp_path: Path) -> None:
    for name in (f"{TEMPORARY_PREFIX}7-model", f"{TEMPORARY_PREFIX}11-config", ".other", "model"):
        (tmp_path / name).write_bytes(b"x")
    remove_temporaries(tmp_path)
    assert names(tmp_path) == [".other", "model"]
    remove_temporaries(tmp_path / "missing")


def test_the_checksum_is_sha256() -> None:
    # the first example of FIPS 180-2, appendix B
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
