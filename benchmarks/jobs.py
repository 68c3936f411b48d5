"""Many small pictures classified into one file by a job that is killed five times.

The pictures, drawn digits of 28 × 28 as PNG, lie in a folder, tar archives and Parquet files, a
third each; one in a thousand is damaged. `clearhead predict` gets SIGKILL after each sixth of the
pictures, and is then run to the end. Every picture must have exactly one row, and every damaged one
an error. The output has the rate, the largest memory of all processes together, and what both mean
for a million pictures.

    python benchmarks/jobs.py [--count 100000] [--folder runs/jobs] [--runner ray]

100,000 pictures take some minutes on two cores. If it is stopped, the same command continues.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from PIL import Image

from clearhead.data import drawn_digits

KILLS = 5
DISTINCT = 2_000  # different pictures; they are repeated
IN_ARCHIVE = 5_000
BAD_EVERY = 1_000


def contents(count: int, start: int) -> Iterator[bytes]:
    """Picture files; each thousandth is cut."""
    files = []
    for pixels in drawn_digits(DISTINCT).images:
        file = io.BytesIO()
        Image.fromarray(255 - np.asarray(pixels[0])).save(file, "PNG")
        files.append(file.getvalue())
    for number in range(start, start + count):
        content = files[number % DISTINCT]
        yield content[:-20] if number % BAD_EVERY == 7 else content


def write_pictures(folder: Path, count: int) -> None:
    """A third as files, a third in tar archives, a third in Parquet files."""
    marker = folder / f"complete-{count}"
    if marker.exists():
        return
    third = count // 3
    for name in ("files", "tar", "parquet"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents(count - 2 * third, 0)):
        place = folder / "files" / f"{number // 1000:04}"
        place.mkdir(exist_ok=True)
        (place / f"{number:07}.png").write_bytes(content)
    rest = contents(third, count - 2 * third)
    for shard in range(-(-third // IN_ARCHIVE)):
        with tarfile.open(folder / "tar" / f"{shard:04}.tar", "w") as archive:
            for number, content in enumerate(islice(rest, IN_ARCHIVE)):
                member = tarfile.TarInfo(f"{number:07}.png")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    rest = contents(third, count - third)
    for shard in range(-(-third // IN_ARCHIVE)):
        table = pa.table({"image": list(islice(rest, IN_ARCHIVE))})
        pq.write_table(table, folder / "parquet" / f"{shard:04}.parquet", row_group_size=1000)
    marker.touch()


def memory_of(process: int) -> float:
    """MB of a process and its descendants: proportional, so that shared pages count once."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    total = 0
    for one in found:
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1))  # type: ignore[union-attr]
    return total / 1e3


def rows_done(parts: Path) -> int:
    """Rows in the parts that are written, all of the same number but the last."""
    return 128 * sum(1 for _ in parts.glob("0*.jsonl"))


def run(command: list[str], parts: Path, kill_at: int | None) -> tuple[float, float]:
    """Run until so many rows are written, then SIGKILL, or to the end: seconds, largest memory."""
    began, largest = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=sys.stderr)
    while process.poll() is None:
        largest = max(largest, memory_of(process.pid))
        if kill_at is not None and rows_done(parts) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            break
        time.sleep(0.2)
    return time.perf_counter() - began, largest


def check(out: Path, count: int) -> None:
    """Every picture has one row, and exactly the damaged ones have an error."""
    table = pq.read_table(out, columns=["image", "error"])
    names = Counter(table["image"].to_pylist())
    errors = table["error"].null_count
    bad = len(range(7, count, BAD_EVERY))
    assert (table.num_rows, len(names)) == (count, count), (table.num_rows, len(names), count)
    assert count - errors == bad, (count - errors, bad)


def main(
    count: Annotated[int, tyro.conf.arg(help="pictures")] = 100_000,
    folder: Path = Path("runs/jobs"),
    runner: Literal["local", "ray"] = "local",
) -> None:
    """Write the pictures, classify them with five kills, and check every row."""
    write_pictures(folder, count)
    out = folder / f"answers-{count}.parquet"
    parts = out.with_name(f"{out.name}.parts")
    inputs = [str(folder / name) for name in ("files", "tar", "parquet")]
    command = [sys.executable, "-m", "clearhead", "predict", *inputs, "--out", str(out)]
    command += ["--runner", runner]
    if not parts.exists():
        out.unlink(missing_ok=True)
    seconds, largest, kills = 0.0, 0.0, 0
    for number in range(1, KILLS + 1):
        kill_at = number * count // (KILLS + 1)
        if rows_done(parts) < kill_at:
            taken, memory = run(command, parts, kill_at)
            seconds, largest, kills = seconds + taken, max(largest, memory), kills + 1
    taken, memory = run(command, parts, None)
    seconds, largest = seconds + taken, max(largest, memory)
    check(out, count)
    figures = {
        "pictures": count,
        "kills": kills,
        "seconds, with all starts": round(seconds, 1),
        "pictures/s": round(count / seconds, 1),
        "largest memory, MB": round(largest),
        "hours for a million": round(1e6 / (count / seconds) / 3600, 2),
        "bytes of output for a million": round(out.stat().st_size * 1e6 / count),
        "cores": len(os.sched_getaffinity(0)),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    tyro.cli(main)
