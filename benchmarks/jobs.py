"""Many small pictures classified into one file by a job that is killed five times.

The pictures, drawn digits of 28 × 28 as PNG, lie in a folder, tar archives and Parquet files, a
third each; one in a thousand is damaged. `clearhead predict` gets SIGKILL after each sixth of the
pictures, and is then run to the end. Every picture must have exactly one row, and every damaged one
an error. The output has the rate, the largest memory of all processes together, and what both mean
for a million pictures. With 100,000 pictures or more it is written to docs/jobs.md.

    python -m benchmarks.jobs [--count 100000] [--folder runs/jobs] [--runner ray]

100,000 pictures take about 3 minutes on two idle cores, and their files less than 1 GB. If it is
stopped, the same command continues.
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
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from PIL import Image

from benchmarks._document import processor, write_between_markers
from clearhead.data import drawn_digits

KILLS = 5
DISTINCT = 2_000  # different pictures; they are repeated
IN_ARCHIVE = 5_000
BAD_EVERY = 1_000
PUBLISHED = 100_000  # pictures from which on the figures are written to the documentation


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
    print(f"writing {count:,} pictures to {folder}", flush=True)
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


def rows_done(job: Path) -> int:
    """Rows that are written."""
    try:
        with (job / "rows.jsonl").open("rb") as rows:
            return sum(1 for _ in rows)
    except FileNotFoundError:
        return 0


class Figures:
    """Seconds, largest memory in MB, and kills of all runs; kept in a file, also if stopped."""

    def __init__(self, path: Path, *, continues: bool) -> None:
        self.path = path
        kept = json.loads(path.read_text()) if continues and path.exists() else {}
        self.seconds: float = kept.get("seconds", 0.0)
        self.largest: float = kept.get("largest", 0.0)
        self.kills: int = kept.get("kills", 0)

    def run(self, command: list[str], job: Path, kill_at: int | None) -> None:
        """Run until so many rows are written, then SIGKILL, or to the end."""
        goal = "the end" if kill_at is None else f"row {kill_at:,}"
        print(f"running from row {rows_done(job):,} to {goal}", flush=True)
        before, began = self.seconds, time.perf_counter()
        process = subprocess.Popen(command, stdout=sys.stderr)
        try:
            while process.poll() is None:
                self.largest = max(self.largest, memory_of(process.pid))
                if kill_at is not None and rows_done(job) >= kill_at:
                    self.kills += 1
                    print(f"killed after row {rows_done(job):,}", flush=True)
                    break
                time.sleep(0.2)
        finally:  # its own processes end with it
            process.kill()
            process.wait()
            self._keep(before + time.perf_counter() - began)

    def _keep(self, seconds: float) -> None:
        self.seconds = seconds
        content = {"seconds": seconds, "largest": self.largest, "kills": self.kills}
        self.path.write_text(json.dumps(content))


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the job is ended, too
    write_pictures(folder, count)
    out = folder / f"predictions-{count}.parquet"
    job = out.with_name(f"{out.name}.job")
    inputs = [str(folder / name) for name in ("files", "tar", "parquet")]
    command = [sys.executable, "-m", "clearhead", "predict", *inputs, "--out", str(out)]
    command += ["--runner", runner]
    if not job.exists():
        out.unlink(missing_ok=True)
    figures = Figures(folder / f"figures-{count}.json", continues=job.exists())
    for number in range(1, KILLS + 1):
        kill_at = number * count // (KILLS + 1)
        if rows_done(job) < kill_at:
            figures.run(command, job, kill_at)
    figures.run(command, job, None)
    check(out, count)
    rate, errors = count / figures.seconds, len(range(7, count, BAD_EVERY))
    text = (
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, {date.today().isoformat()}, runner "
        f"`{runner}`: {count:,} pictures in {figures.seconds:,.0f} seconds, {rate:,.0f} a second, "
        f"with {figures.kills} kills. {count:,} rows, {errors:,} of them errors, none lost or "
        f"written twice. Memory of all processes: at most {figures.largest:,.0f} MB. At this rate, "
        f"a million pictures take {1e6 / rate / 60:,.0f} minutes; their predictions take "
        f"{out.stat().st_size / count:,.0f} MB."
    )
    print(text)
    if count >= PUBLISHED:
        write_between_markers("jobs.md", text)


if __name__ == "__main__":
    tyro.cli(main)
