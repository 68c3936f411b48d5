"""Pictures in files, folders, tar archives and Parquet files, listed without reading them.

The list is a sequence of small references. Its order depends on the names alone, and its memory
does not grow with the number of pictures, except by the names in one folder.
"""

import glob
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from clearhead.data._parquet import PARQUET_SUFFIXES, ParquetImages
from clearhead.data.folder import find_files, natural_order
from clearhead.data.preprocessing.image import MAX_BYTES, SUFFIXES, ImageSource
from clearhead.errors import ConfigError, DataError, ImageError, setting

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".tgz", ".zip")
NO_PICTURES = "no pictures in it; give another, or picture files"


class PictureRef(NamedTuple):
    """Where one picture is.

    Attributes:
        name: The path as it was given, and for archives the member (`a.tar/b.png`) or the row from
            0 (`a.parquet#7`).
        path: The file; empty for an input without a picture.
        at: The position in the file: the first byte in a tar archive, the row in a Parquet file.
        size: Bytes of the picture in a tar archive; 0 for other files.
        error: Why there is no picture.
    """

    name: str
    path: str = ""
    at: int = 0
    size: int = 0
    error: str = ""

    def to_line(self) -> bytes:
        """One line of JSON.

        Returns:
            The line, with its line break.
        """
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """The inverse of `to_line`.

        Args:
            line: From `to_line`, with or without its line break.

        Returns:
            A reference equal to the one that was written.
        """
        return cls(*json.loads(line))


def list_pictures(
    inputs: Iterable[str],
    *,
    image_column: str | None = None,
    on_left_out: Callable[[str], None] = lambda path: None,
) -> Iterator[PictureRef]:
    """All pictures of some inputs.

    Args:
        inputs: Picture files, folders (with their subfolders), tar archives, Parquet files, and
            patterns (`*`, `?`, `[…]`, and `**` for any subfolders) for these.
        image_column: The column of the pictures in Parquet files; see `ParquetImages`.
        on_left_out: Called with each file in a folder that is neither a picture nor an archive.

    Yields:
        The pictures of each input in turn, by name (2.png before 10.png); in tar archives and
        Parquet files in their order there. An input without a picture is one reference with an
        `error`.

    Raises:
        ConfigError: If pyarrow is needed and missing, or `image_column` is needed, wrong or unused.
    """
    is_used = image_column is None
    for file in _files(inputs, on_left_out):
        if isinstance(file, PictureRef):
            yield file
            continue
        is_used = is_used or Path(file).suffix.lower() in PARQUET_SUFFIXES
        yield from _in_file(file, image_column)
    if not is_used:
        name = setting("image_column", image_column)
        raise ConfigError(f"{name} is for Parquet files, and none was given; leave it out")


def _files(inputs: Iterable[str], on_left_out: Callable[[str], None]) -> Iterator[str | PictureRef]:
    """The files of the inputs; for a pattern or folder without any, a reference with an error."""
    for given in inputs:
        names = [given]
        if not os.path.lexists(given) and glob.has_magic(given):
            found = glob.iglob(given, recursive=True)  # noqa: PTH207 - names as given
            names = sorted(found, key=natural_order)
            if not names:
                yield PictureRef(given, error="no file matches this pattern")
        for name in names:
            if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises errors, as for long names
                yield from _in_folder(name, on_left_out)
            else:
                yield name


class PictureReader:
    """Reads the pictures of references.

    A Parquet file stays open: rows in ascending order are read in one pass.

    Args:
        image_column: Of Parquet files; by default the only one with pictures.
    """

    def __init__(self, image_column: str | None = None) -> None:
        self.image_column = image_column
        self._parquet: ParquetImages | None = None

    def __call__(self, ref: PictureRef) -> ImageSource:
        """The path of a picture's file, its bytes or its pixels.

        Raises:
            ImageError: If there is no picture.
        """
        if ref.error:
            raise ImageError(ref.error)
        suffix = Path(ref.path).suffix.lower()
        if ref.size or suffix == ".tar":
            return _read_member(ref)
        if suffix in PARQUET_SUFFIXES:
            return self._read_row(ref)
        return Path(ref.path)

    def _read_row(self, ref: PictureRef) -> ImageSource:
        try:
            if self._parquet is None or str(self._parquet.path) != ref.path:
                self._parquet = ParquetImages(ref.path, self.image_column)
            return self._parquet[ref.at]
        except ImageError:
            raise
        except Exception as error:
            self._parquet = None
            raise ImageError(f"cannot be read ({str(error).splitlines()[0]})") from error


def _read_member(ref: PictureRef) -> bytes:
    try:
        with Path(ref.path).open("rb") as file:
            file.seek(ref.at)
            return file.read(min(ref.size, MAX_BYTES + 1))
    except OSError as error:
        raise ImageError(f"cannot be read ({error.strerror})") from error


def _in_folder(folder: str, on_left_out: Callable[[str], None]) -> Iterator[str | PictureRef]:
    is_empty = True
    errors: list[OSError] = []
    for file in find_files(folder, errors.append):
        if Path(file).suffix.lower() in (*SUFFIXES, ".tar", *PARQUET_SUFFIXES):
            is_empty = False
            yield file
        else:
            on_left_out(file)
    for error in errors:
        yield PictureRef(error.filename, error=f"this folder cannot be read ({error.strerror})")
    if is_empty and not errors:
        yield PictureRef(folder, folder, error=f"this folder has {NO_PICTURES}")


def _in_file(name: str, image_column: str | None) -> Iterator[PictureRef]:
    suffix = Path(name).suffix.lower()
    if suffix == ".tar":
        yield from _in_tar(name)
    elif suffix in PARQUET_SUFFIXES:
        yield from _in_parquet(name, image_column)
    elif suffix in COMPRESSED:
        yield PictureRef(name, error="a compressed archive; unpack it, or make it a plain .tar")
    else:
        yield PictureRef(name, name)


def _in_tar(name: str) -> Iterator[PictureRef]:
    """The pictures among the members, as in WebDataset; other members are their annotations."""
    count = 0
    try:
        with tarfile.open(name, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # it would keep all of them
                if member.isreg() and Path(member.name).suffix.lower() in SUFFIXES:
                    count += 1
                    yield PictureRef(f"{name}/{member.name}", name, member.offset_data, member.size)
            _check_end(name, archive.offset)  # tarfile ends at a damaged header as at the last one
    except (tarfile.TarError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        yield PictureRef(name, error=f"damaged after {count} pictures ({reason})")
        return
    if not count:
        yield PictureRef(name, error=f"this archive has {NO_PICTURES}")


def _check_end(name: str, end: int) -> None:
    """Raise `tarfile.ReadError` unless the archive ends with zeros, or with its last member."""
    with Path(name).open("rb") as file:
        file.seek(end)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"no header at byte {end:,}")


def _in_parquet(name: str, image_column: str | None) -> Iterator[PictureRef]:
    try:
        count = ParquetImages(name, image_column).num_rows
    except DataError as error:
        yield PictureRef(name, error=str(error).removeprefix(f"{name} "))
        return
    for row in range(count):
        yield PictureRef(f"{name}#{row}", name, row)
    if not count:
        yield PictureRef(name, error=f"this file has {NO_PICTURES}")
