from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearhead.data import ParquetImages, PictureReader, list_pictures
from clearhead.errors import ConfigError, DataError, ImageError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: dict[str, Any], rows_per_group: int = 7) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def contents(count: int) -> list[bytes]:
    return [bytes([number]) * (number + 1) for number in range(count)]


@pytest.mark.parametrize("rows_per_group", [1, 7, 50, 200])
def test_rows_can_be_read_in_any_order(tmp_path: Path, rows_per_group: int) -> None:
    expected = contents(101)
    images = ParquetImages(write(tmp_path / "a.parquet", {"image": expected}, rows_per_group))
    assert images.num_rows == 101
    for row in [*range(101), *np.random.default_rng(0).integers(0, 101, 40).tolist()]:
        assert images[row] == expected[row]
    for row in (-1, 101):
        with pytest.raises(IndexError):
            images[row]


def test_structs_of_bytes_and_path_are_read_as_the_library_datasets_does(tmp_path: Path) -> None:
    rows = [
        {"bytes": b"x", "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        {"bytes": None, "path": None},
        None,
    ]
    path = write(tmp_path / "a.parquet", {"label": [0, 1, 2, 3], "picture": rows})
    images = ParquetImages(path)
    assert [images[0], images[1]] == [b"x", tmp_path / "b.png"]
    for row in (2, 3):
        with pytest.raises(ImageError, match="no image"):
            images[row]


def test_the_image_column_is_the_only_possible_one_or_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"scan": [b"1"], "mask": [b"2"], "label": [0]})
    with pytest.raises(ConfigError, match="scan, mask; name the image column"):
        ParquetImages(path)
    assert ParquetImages(path, "mask")[0] == b"2"
    with pytest.raises(ConfigError, match=r"scan, mask\), got 'label'"):
        ParquetImages(path, "label")
    both = write(tmp_path / "b.parquet", {"thumbnail": [b"1"], "img": [b"2"]})
    assert ParquetImages(both)[0] == b"2"
    named = {"label": ["a"], "Image": ["1.png"]}
    assert ParquetImages(write(tmp_path / "c.parquet", named))[0] == tmp_path / "1.png"
    with pytest.raises(DataError, match="no column of images"):
        ParquetImages(write(tmp_path / "d.parquet", {"label": [0], "name": ["a"]}))


def test_every_row_is_listed_and_read(tmp_path: Path) -> None:
    path = str(write(tmp_path / "a.parquet", {"image": contents(20)}))
    refs = list(list_pictures([path]))
    assert [ref.name for ref in refs] == [f"{path}#{row}" for row in range(20)]
    reader = PictureReader()
    assert [reader(ref) for ref in refs[9:] + refs[:9]] == contents(20)[9:] + contents(20)[:9]
    Path(path).unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        PictureReader()(refs[0])
