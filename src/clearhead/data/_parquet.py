"""Images in Parquet files, as in data sets of Hugging Face."""

from bisect import bisect
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from clearhead.data.preprocessing.image import ImageSource
from clearhead.errors import ConfigError, DataError, ImageError, require

PARQUET_SUFFIXES = (".parquet", ".pq")
IMAGE_COLUMNS = ("image", "images", "img", "picture", "pixel_values", "bytes", "png", "jpg")
ROWS_AT_ONCE = 32


class ParquetImages:
    """The images of one file, read a few rows at a time.

    The image column holds the bytes of image files, alone or in structs of `bytes` and `path` as
    written by the library `datasets`; the names of files beside this one; or rows of pixels.

    Args:
        path: A Parquet file.
        column: The image column. By default, the column of bytes or structs; of several, or if
            there is none, one with a usual name (image, images, img, picture, …).

    Raises:
        ConfigError: If pyarrow is not installed, or `column` is needed or wrong.
        DataError: If it is not a Parquet file, or no column can hold images.
    """

    def __init__(self, path: str | Path, column: str | None = None) -> None:
        require("a Parquet file", "pyarrow")
        from pyarrow.parquet import ParquetFile

        self.path = Path(path)
        with self._readable():
            # Buffered: a row group, often the whole file, is never in memory at once.
            self.file = ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)
        self.column = _image_column(self.file.schema_arrow, column, self.path)
        self.num_rows: int = self.file.metadata.num_rows
        self._next = 0
        self._values = self._from(0)

    def __getitem__(self, row: int) -> ImageSource:
        """One image; rows in ascending order are read only once.

        Raises:
            ImageError: If the row has no image.
            IndexError: If there is no such row.
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} of {self.num_rows}")
        if row < self._next:
            self._values, self._next = self._from(row), row
        value = next(islice(self._values, row - self._next, None))
        self._next = row + 1
        image = image_in(value.as_py(), self.path.parent)
        if isinstance(image, bytes) and not image:
            raise ImageError("this row has no image")
        return image

    def read(self, column: str) -> list[Any]:
        """All values of a column.

        Args:
            column: Name of the column.

        Returns:
            One value for each row, in their order.

        Raises:
            DataError: They cannot be read.
        """
        with self._readable():
            values: list[Any] = self.file.read([column]).column(0).to_pylist()
            return values

    @contextmanager
    def _readable(self) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{self.path} cannot be read as Parquet ({reason})") from error

    def _from(self, row: int) -> Iterator[Any]:
        """All values of the column from this row on."""
        groups = range(self.file.num_row_groups)
        ends = list(accumulate(self.file.metadata.row_group(n).num_rows for n in groups))
        group = bisect(ends, row)
        batches = self.file.iter_batches(ROWS_AT_ONCE, groups[group:], columns=[self.column])
        values = chain.from_iterable(batch.column(0) for batch in batches)
        return islice(values, row - (ends[group - 1] if group else 0), None)


def image_in(value: Any, folder: Path) -> ImageSource:
    """The image in a cell of a table: bytes, the path of a file in `folder`, or pixels.

    Args:
        value: Bytes, a struct of `bytes` and `path`, a path, or rows of pixels; None gives no
            bytes.
        folder: Where relative paths begin.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, list):
        return np.asarray(value, dtype=np.uint8)
    if isinstance(value, str):
        return folder / value
    return b"" if value is None else value


def _image_column(schema: Any, wanted: str | None, path: Path) -> str:
    from pyarrow import types

    possible = [field.name for field in schema if not types.is_primitive(field.type)]
    files = [field.name for field in schema if _holds_files(field.type)]
    names = files or possible
    if wanted is not None:
        if wanted not in possible:
            raise ConfigError(
                f"{path}: expected the name of an image column ({', '.join(names) or 'it has none'}"
                f"), got {wanted!r}"
            )
        return wanted
    usual = [name for known in IMAGE_COLUMNS for name in names if name.lower() == known]
    if usual or len(files) == 1:
        return str((usual or files)[0])
    if files:
        raise ConfigError(f"{path} may have images in {', '.join(files)}; name the image column")
    raise DataError(
        f"{path} has no column of images; expected bytes of image files, or a column "
        f"{', '.join(IMAGE_COLUMNS)}, got {', '.join(schema.names)}"
    )


def _holds_files(kind: Any) -> bool:
    """Whether a column has this type if it holds image files."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_files(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
