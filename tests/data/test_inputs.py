import errno
import io
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clearhead.data import PictureReader, PictureRef, list_pictures
from clearhead.errors import ConfigError, ImageError


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """As WebDataset writes it: the files of a sample have the same stem."""
    path = tmp_path / "shard-0.tar"
    with tarfile.open(path, "w") as archive:
        for key in ("b", "a"):
            add(archive, f"x/{key}.png", key.encode() * 700)
            add(archive, f"x/{key}.cls", b"3")
    return path


def test_a_folder_is_listed_by_name_with_its_subfolders_and_archives(
    tmp_path: Path, shard: Path
) -> None:
    names = ("b10.png", "b9.png", "b.png", "a/z.JPG", "a/y.webp", "c/notes.txt", ".h/h.png")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    left_out: list[str] = []
    refs = list(list_pictures([str(tmp_path)], on_left_out=left_out.append))
    inside = ["shard-0.tar/x/b.png", "shard-0.tar/x/a.png"]
    expected = ["a/y.webp", "a/z.JPG", "b9.png", "b10.png", "b.png", *inside]
    assert [ref.name for ref in refs] == [f"{tmp_path}/{name}" for name in expected]
    assert left_out == [f"{tmp_path}/c/notes.txt"]


def test_a_pattern_stands_for_its_sorted_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("2.png", "11.png", "1.png", "sub/3.png", "[x].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    names = [
        ref.name for ref in list_pictures(["[0-9]*.png", "**/3.png", "[x].png", "missing.png"])
    ]
    assert names == ["1.png", "2.png", "11.png", "sub/3.png", "[x].png", "missing.png"]
    (ref,) = list_pictures(["none*.png"])
    assert "no file matches" in ref.error


def test_members_of_a_tar_archive_are_read_by_position(shard: Path) -> None:
    refs = list(list_pictures([str(shard)]))
    assert [PictureReader()(ref) for ref in reversed(refs)] == [b"a" * 700, b"b" * 700]
    shard.unlink()
    with pytest.raises(ImageError, match="No such file"):
        PictureReader()(refs[0])


@pytest.mark.parametrize("cut", [1536, 2600, 3500, 4100])
def test_a_damaged_archive_is_an_error_after_its_pictures(shard: Path, cut: int) -> None:
    content = shard.read_bytes()
    shard.write_bytes(content[:cut] + b"x" * 512 if cut % 512 == 0 else content[:cut])
    *pictures, last = list_pictures([str(shard)])
    assert f"damaged after {len(pictures)} pictures" in last.error
    assert re.search(r"\((unexpected end of data|no header at byte [\d,]+)\)$", last.error)
    with pytest.raises(ImageError, match="damaged"):
        PictureReader()(last)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.tar.gz", "compressed"), ("a.tar", "damaged"), ("a.parquet", "cannot be read as Parquet")],
)
def test_a_file_that_is_not_a_plain_archive_is_one_error(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / name).write_bytes(b"not an archive" * 99)
    (ref,) = list_pictures([str(tmp_path / name)])
    assert message in ref.error


def test_an_input_without_pictures_is_one_error(tmp_path: Path) -> None:
    tarfile.open(tmp_path / "empty.tar", "w").close()
    pq.write_table(pa.table({"png": pa.array([], "binary")}), tmp_path / "empty.pq")
    for path in (tmp_path / "empty.tar", tmp_path / "empty.pq", tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (ref,) = list_pictures([str(path)])
        assert "no pictures in it" in ref.error


def test_an_image_column_needs_a_parquet_file_even_if_it_has_no_pictures(
    tmp_path: Path, shard: Path
) -> None:
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 no more")
    pq.write_table(pa.table({"png": pa.array([], "binary")}), tmp_path / "empty.pq")
    for name in ("damaged.parquet", "empty.pq"):
        (ref,) = list_pictures([str(tmp_path / name)], image_column="png")
        assert ref.error
    refs = list_pictures([str(shard)], image_column="png")
    assert len([next(refs), next(refs)]) == 2
    with pytest.raises(ConfigError, match="is for Parquet files, and none was given"):
        next(refs)


def test_a_reference_is_one_line_whatever_its_name() -> None:
    for name in ("a\nb", 'é"', os.fsdecode(b"\xff\xfe")):
        line = PictureRef(name, f"{name}.tar", 512, 7).to_line()
        assert line.count(b"\n") == 1
        assert PictureRef.from_line(line) == PictureRef(name, f"{name}.tar", 512, 7)


def test_a_folder_that_cannot_be_read_is_one_error_among_the_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    locked, scandir = str(tmp_path / "locked"), os.scandir

    def scan(folder: str) -> Any:  # the user root can read a folder without permissions
        if folder == locked:
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr("os.scandir", scan)
    expected = [f"{tmp_path}/a/1.png", f"{tmp_path}/z/1.png", locked, locked, "b.png"]
    refs = list(list_pictures([str(tmp_path), locked, "b.png"]))
    assert [ref.name for ref in refs] == expected
    assert [ref.error for ref in refs] == [
        *("", ""),
        *["this folder cannot be read (Permission denied)"] * 2,
        "",
    ]


def test_a_path_that_cannot_be_looked_up_does_not_stop_the_others() -> None:
    names = ["a" * 300 + ".png", "b.png"]
    assert [ref.name for ref in list_pictures(names)] == names
