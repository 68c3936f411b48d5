"""Images in Parquet files: a column of encoded image files, as in data sets of Hugging Face."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearhead.errors import ConfigError, DataError, ImageError

PARQUET_SUFFIXES = (".parquet", ".pq")
USUAL_COLUMNS = ("image", "img", "picture")
ROWS_AT_ONCE = 32


class ParquetImages:
    """The images of one file, read a few rows at a time.

    The image column holds the bytes of image files, or structs of `bytes` and `path` as written by
    the library `datasets`.

    Args:
        path: A Parquet file.
        column: The image column; by default the only one that can hold images, or of several the
            one named image, img or picture.

    Raises:
        ConfigError: If pyarrow is not installed, or `column` is needed or wrong.
        DataError: If it is not a Parquet file, or no column can hold images.
    """

    def __init__(self, path: str | Path, column: str | None = None) -> None:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise ConfigError(
                "Parquet files need pyarrow: pip install pyarrow (the extra `parquet`)"
            ) from error
        self.path = Path(path)
        try:
            # Buffered: a row group, often the whole file, is never in memory at once.
            self.file = ParquetFile(self.path, pre_buffer=False, buffer_size=2**20)
        except (ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{path} cannot be read as Parquet ({reason})") from error
        self.column = _image_column(self.file.schema_arrow, column, self.path)
        self.num_rows: int = self.file.metadata.num_rows
        self._next = 0
        self._values = self._from(0)

    def __getitem__(self, row: int) -> bytes | Path:
        """One image; rows in ascending order are read only once.

        Returns:
            The bytes of an image file, or its path.

        Raises:
            ImageError: If the row has no image.
            IndexError: If there is no such row.
        """
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} of {self.num_rows}")
        if row < self._next:
            self._values, self._next = self._from(row), row
        while self._next < row:
            self._next += 1
            next(self._values)
        self._next += 1
        return self._source(next(self._values))

    def _from(self, row: int) -> Iterator[Any]:
        """All values of the column from this row on."""
        group, first = 0, 0
        while group < self.file.num_row_groups:
            count = self.file.metadata.row_group(group).num_rows
            if first + count > row:
                break
            group, first = group + 1, first + count
        groups = list(range(group, self.file.num_row_groups))
        batches = self.file.iter_batches(ROWS_AT_ONCE, groups, columns=[self.column])
        skipped = row - first
        for batch in batches:
            if skipped >= len(batch):
                skipped -= len(batch)
                continue
            yield from batch.column(0)[skipped:]
            skipped = 0

    def _source(self, scalar: Any) -> bytes | Path:
        value = scalar.as_py()
        if isinstance(value, dict):
            path = value.get("path")
            value = value.get("bytes") or (self.path.parent / path if path else None)
        if value is None:
            raise ImageError("this row has no image")
        return bytes(value) if not isinstance(value, Path) else value


def _image_column(schema: Any, wanted: str | None, path: Path) -> str:
    names = [field.name for field in schema if _can_hold_images(field.type)]
    if wanted is not None:
        if wanted not in names:
            raise ConfigError(
                f"{path}: expected the name of an image column ({', '.join(names) or 'it has none'}"
                f"), got {wanted!r}"
            )
        return wanted
    usual = [name for name in names if name.lower() in USUAL_COLUMNS]
    if len(names) == 1 or len(usual) == 1:
        return str((usual or names)[0])
    if not names:
        raise DataError(
            f"{path} has no column of images (the bytes of image files); its columns are "
            f"{', '.join(schema.names)}"
        )
    raise ConfigError(f"{path} may have images in {', '.join(names)}; name the image column")


def _can_hold_images(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _can_hold_images(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
