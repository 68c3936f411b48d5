"""The fetcher: from a list of files with their SHA-256 to their bytes, wherever they come from.

In this order: the cache, a folder that the user names, folders of the system, and then the
sources, one after the other. Bytes count only when they have the pinned SHA-256, also those that
lie on the disk already. Places are set by two environment variables: `CLEARHEAD_CACHE` (what was
fetched is kept there) and `CLEARHEAD_DATA` (a folder with data files of your own).
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from clearhead._atomic import remove_temporaries, write_atomic
from clearhead.data.download import Report, UnavailableError
from clearhead.data.sources import Collection, DataFile
from clearhead.errors import CorruptDataError, FetchError, StorageError

STALL_SECONDS = 26.0  # how long sources that fail may hold up a fetch, all together
LOCK_SECONDS = 900.0
FAILURE_NOTE = ".last-failure"


@dataclass(frozen=True)
class Fetched:
    """A file's verified bytes, where they lie, and where they came from."""

    file: DataFile
    content: bytes
    path: Path
    origin: str


def cache_folder() -> Path:
    """Where fetched files are kept."""
    return Path(os.environ.get("CLEARHEAD_CACHE") or user_cache_dir("clearhead"))


def is_cached(collection: Collection) -> bool:
    """Whether the cache has all its files, in their size; their bytes are checked when read."""
    folder = cache_folder() / collection.name
    paths = {file: folder / file.name for file in collection.files}
    return all(path.is_file() and path.stat().st_size == file.size for file, path in paths.items())


def fetch(
    collection: Collection,
    files: Sequence[DataFile] | None = None,
    *,
    root: Path | None = None,
    report: Report | None = None,
) -> list[Fetched]:
    """The collection's files (or those of them that `files` lists), verified.

    `root` is a folder to look into, before any source is asked; without it, `CLEARHEAD_DATA`.
    Raises `FetchError` if no source gives them, `CorruptDataError` if the user's folder holds
    other bytes under a file's name, and `StorageError` if they cannot be kept.
    """
    search = _Search(collection, root, report)
    wanted = collection.files if files is None else files
    found = {file: search.on_disk(file) for file in wanted}
    missing = [file for file, here in found.items() if here is None]
    if missing:
        found |= search.from_sources(missing)
    return [here for here in found.values() if here is not None]


class _Search:
    """One fetch; `tried` remembers why each place did not have what was wanted."""

    def __init__(self, collection: Collection, root: Path | None, report: Report | None) -> None:
        self.collection = collection
        self.cache = cache_folder() / collection.name
        named = root or os.environ.get("CLEARHEAD_DATA")
        self.named = None if named is None else Path(named)
        self.report = report
        self.began = time.time()
        self.tried: dict[str, str] = {}

    def on_disk(self, file: DataFile) -> Fetched | None:
        """The file from the cache, the user's folder or one of the system's, if it is there."""
        if (cached := self.in_cache(file)) is not None:
            return cached
        if (own := self.in_named_folder(file)) is not None:
            return own
        for folder in self.collection.folders:
            try:
                if (here := _look(folder, file, "system folder")) is not None:
                    return here
                self.tried[str(folder)] = "not there"
            except (UnavailableError, StorageError) as error:
                self.tried[str(folder)] = str(error)
        return None

    def in_cache(self, file: DataFile) -> Fetched | None:
        path = self.cache / file.name
        try:
            return Fetched(file, file.check(_read(path, file), path), path, "cache")
        except FileNotFoundError:
            self.tried.setdefault(f"cache {self.cache}", "not there")
        except UnavailableError as error:
            self.tried[f"cache {self.cache}"] = f"damaged, {error}"
        except OSError as error:
            self.tried[f"cache {self.cache}"] = error.strerror or str(error)
        return None

    def in_named_folder(self, file: DataFile) -> Fetched | None:
        if self.named is None:
            return None
        try:
            for below in (*self.collection.subfolders, ""):
                if (here := _look(self.named / below, file, "folder")) is not None:
                    return here
        except UnavailableError as error:
            raise CorruptDataError(
                f"{self.named}: {error}; replace it, or give each data set a folder of its own: "
                f"{self.named / self.collection.name}"
            ) from error
        self.tried[f"folder {self.named}"] = "not there"
        return None

    def from_sources(self, missing: Sequence[DataFile]) -> dict[DataFile, Fetched | None]:
        """The files by way of the cache, filled by one process at a time."""
        with _locked(self.cache):
            remove_temporaries(self.cache)
            found = {file: self.in_cache(file) for file in missing}
            wanted = [file for file, here in found.items() if here is None]
            if wanted:
                self.heed_failure_note()
                found |= self.ask_all(wanted)
                self.give_up_unless_complete(found)
            return found

    def ask_all(self, wanted: list[DataFile]) -> dict[DataFile, Fetched | None]:
        """Ask one source after the other, and keep in the cache what they give."""
        found: dict[DataFile, Fetched | None] = {}
        wasted = 0.0
        for source in self.collection.sources:
            missing = [file for file in wanted if file not in found]
            if not missing:
                break
            start, seconds = time.monotonic(), min(source.patience, STALL_SECONDS - wasted)
            try:
                for file, content in source.offer(missing, seconds, self.report):
                    found[file] = self.keep(file, content, source.title)
                self.tried[source.title] = "does not have all files"
            except UnavailableError as error:
                self.tried[source.title] = str(error)
                wasted += min(time.monotonic() - start, seconds)
        return found

    def keep(self, file: DataFile, content: bytes, origin: str) -> Fetched:
        """Into the cache, once verified."""
        plain = file.check(content)
        write_atomic(self.cache / file.name, plain)
        return Fetched(file, plain, self.cache / file.name, origin)

    def heed_failure_note(self) -> None:
        """Fail at once if another process did so while this one waited for it."""
        with suppress(OSError):
            note = self.cache / FAILURE_NOTE
            if note.stat().st_mtime > self.began:
                raise FetchError(note.read_text(encoding="utf-8"))

    def give_up_unless_complete(self, found: dict[DataFile, Fetched | None]) -> None:
        missing = [file.name for file, here in found.items() if here is None]
        if not missing:
            (self.cache / FAILURE_NOTE).unlink(missing_ok=True)
            return
        reasons = "; ".join(f"{place}: {reason}" for place, reason in self.tried.items())
        message = (
            f"cannot get {', '.join(missing)} of {self.collection.name} (tried {reasons}); check "
            "the network, or put the files, gzipped or not, into a folder and name it with "
            f"--root, root= or CLEARHEAD_DATA{self.collection.advice}"
        )
        with suppress(OSError):
            (self.cache / FAILURE_NOTE).write_text(message, encoding="utf-8")
        raise FetchError(message)


def _look(folder: Path, file: DataFile, origin: str) -> Fetched | None:
    for name in file.names:
        path = folder / name
        try:
            if path.is_file():
                return Fetched(file, file.check(_read(path, file), path), path, origin)
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return None


def _read(path: Path, file: DataFile) -> bytes:
    """The file's bytes, but hardly more than it may have."""
    with path.open("rb") as stream:
        return stream.read(file.size + file.size // 100 + 1024)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time fills `folder`."""
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
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
