"""Predictions for any number of pictures, written to one file, and resumable after a kill.

Beside the output `predictions.csv`, the folder `predictions.csv.job` holds the state of the job
while it runs:

- `inputs.jsonl`: the list of all pictures, made once;
- `job.json`: the settings, written when the list is complete;
- `rows.jsonl`: the rows so far, in the order of the list.

At the end the rows are compared with the list and written to the output, and the folder is removed.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from clearhead._atomic import (
    append_to_disk,
    locked,
    remove_temporaries,
    replaced_atomic,
    write_atomic,
)
from clearhead._paths import exists
from clearhead._validate import check
from clearhead.data import PictureRef, list_pictures
from clearhead.errors import ConfigError, StorageError, check_one_of, require, setting
from clearhead.inference._model import check_image_model
from clearhead.inference._names import EngineChoice
from clearhead.inference._parallel import NUM_WORKERS_RULE
from clearhead.inference._runners import (
    Classifier,
    RunnerName,
    Units,
    printable,
    run,
)
from clearhead.models.pretrained import ImageModel

UNIT = 128
"""Pictures that a process classifies at once, and that a kill repeats at most for each process"""

CSV_COLUMNS = (
    *("image", "status", "label", "probability", "runner_up", "runner_up_probability"),
    *("warnings", "error"),
)
ROWS_IN_GROUP = 16_384
"""Rows of a Parquet row group, which are in memory at once"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class JobSummary:
    """What a job wrote.

    Attributes:
        rows: Pictures, each with one row.
        errors: Rows with an error in place of a prediction.
        resumed: Rows that an earlier, interrupted run of the job had written.
        left_out: Files in folders that are neither pictures nor archives, by suffix. Empty if an
            earlier run listed the folders.
    """

    rows: int
    errors: int
    resumed: int
    left_out: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types.

        Returns:
            All fields by name.
        """
        return asdict(self)


def predict_to_file(
    model: ImageModel,
    inputs: Sequence[str],
    out: str | Path,
    *,
    single: bool = False,
    image_column: str | None = None,
    runner: RunnerName = "local",
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
    restart: bool = False,
    on_progress: Progress = lambda done, total: None,
) -> JobSummary:
    """Classify any number of pictures, and write a row for each to one file.

    After a kill, the same call continues: no row is lost, and none comes twice. Memory does not
    grow with the number of pictures.

    Args:
        model: One of Clearhead's image classifiers.
        inputs: Picture files, folders, tar archives (as WebDataset makes them), Parquet files, and
            patterns for these.
        out: The file; .jsonl, .csv or .parquet. It appears when the last row is written.
        single: As in `predict`.
        image_column: The column of the pictures in Parquet files, if it is not the only one that
            can hold images.
        runner: "local": processes of this machine; "ray": the Ray cluster of RAY_ADDRESS, or a
            new one on this machine. All machines must have the inputs under the same
            paths.
        num_workers: Processes; by default one for each core of the CPU. 0: this process.
        engine: As in `predict`; "auto" is decided here, for all processes.
        restart: Whether to discard an earlier run, and to replace `out`.
        on_progress: Called with the number of rows that are written, and of all.

    Returns:
        The numbers of rows and errors.

    Raises:
        ConfigError: If `out` exists, or an earlier run had other settings or another model.
        StorageError: If a file cannot be written.
        InputError: If the model is not one of Clearhead's.
    """
    check_image_model(model, "predict_to_file")
    check("num_workers", num_workers, NUM_WORKERS_RULE)
    check_one_of("runner", runner, get_args(RunnerName))
    if runner == "ray":
        require("a Ray cluster", "ray", extra="ray")
    out = Path(out)
    write = writer_for(out)
    if engine != "torch":
        from clearhead.inference._engines import load_engine

        engine = load_engine(model, engine).name  # files that it needs are made once
    classifier = Classifier(model, single=single, image_column=image_column, engine=engine)
    names = [str(name) for name in inputs]
    settings = {
        "model": classifier.copy.digest,
        "single": single,
        "image_column": image_column,
        "inputs": names,
        "folder": str(Path.cwd()),
    }
    job = _Job(out.with_name(f"{out.name}.job"))
    with job.locked():
        if restart:
            job.remove_files()
        elif exists(out) and not job.settings.exists():
            raise ConfigError(
                f"{out} exists; name another file, or {setting('restart', True)} to replace it"
            )
        left_out: Counter[str] = Counter()
        job.prepare(
            settings,
            list_pictures(
                names,
                image_column=image_column,
                on_left_out=lambda path: left_out.update([Path(path).suffix.lower()]),
            ),
        )
        done = resumed = job.resume()
        on_progress(done, job.count)
        for rows in run(job.pending(), classifier, runner, num_workers):
            append_to_disk(job.rows, b"".join(rows))
            done += len(rows)
            on_progress(done, job.count)
        with replaced_atomic(out) as temporary:
            write(job.checked_rows(), temporary)
            if job.done < job.count:
                raise job.changed()
        job.remove_files()
    return JobSummary(rows=job.count, errors=job.errors, resumed=resumed, left_out=dict(left_out))


class _Job:
    """The folder of a job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = folder / "job.json"
        self.inputs = folder / "inputs.jsonl"
        self.rows = folder / "rows.jsonl"
        self.count = self.done = self.errors = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; afterwards it is removed unless it holds an unfinished job."""
        try:
            with locked(self.folder):
                try:
                    yield
                finally:
                    if not self.settings.exists():
                        self.remove_files()
        finally:
            with suppress(OSError, ValueError):  # unless it is empty
                self.folder.rmdir()

    def prepare(self, settings: dict[str, object], refs: Iterator[PictureRef]) -> None:
        """Check the settings of an earlier run, or list the pictures for a new one."""
        remove_temporaries(self.folder)
        if self.settings.exists():
            found = json.loads(self.settings.read_bytes())
            self.count = found.pop("count")
            if changed := [name for name in settings if settings[name] != found.get(name)]:
                raise ConfigError(
                    f"the unfinished job in {self.folder} has another {' and '.join(changed)}; run "
                    "it as before, or restart it"
                )
            return
        with replaced_atomic(self.inputs) as temporary, temporary.open("wb") as file:
            for ref in refs:
                file.write(ref.to_line())
                self.count += 1
        write_atomic(self.settings, json.dumps(settings | {"count": self.count}, indent=2).encode())

    def resume(self) -> int:
        """Remove an incomplete last row, which a kill may have left; returns the number of rows."""
        self.rows.touch()
        size = sum(map(len, self.checked_rows()))
        os.truncate(self.rows, size)
        return self.done

    def pending(self) -> Units:
        """The lines of the pictures without a row, `UNIT` at a time."""
        with self.inputs.open("rb") as file:
            lines = islice(file, self.done, None)
            while unit := list(islice(lines, UNIT)):
                yield unit

    def checked_rows(self) -> Iterator[bytes]:
        """The complete rows, each compared with the list; counts them, and those with an error."""
        self.done = self.errors = 0
        with self.rows.open("rb") as rows, self.inputs.open("rb") as inputs:
            for row, line in zip(rows, inputs, strict=False):
                if not row.endswith(b"\n"):
                    return
                found = json.loads(row)
                if found["image"] != printable(PictureRef.from_line(line).name):
                    raise self.changed()
                self.done += 1
                self.errors += "error" in found
                yield row

    def changed(self) -> StorageError:
        """The error if the rows are not those of this job."""
        return StorageError(f"{self.rows} was changed; {setting('restart', True)} starts again")

    def remove_files(self) -> None:
        """Remove the settings first: without them, the other files are ignored."""
        for file in (self.settings, self.inputs, self.rows):
            file.unlink(missing_ok=True)


def write_jsonl(lines: Iterator[bytes], path: Path) -> None:
    """The lines as they are."""
    with path.open("wb") as file:
        file.writelines(lines)


def write_csv(lines: Iterator[bytes], path: Path) -> None:
    """Label and probability, without the probabilities of other classes and single digits."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in map(json.loads, lines):
            writer.writerow(row | {"warnings": "; ".join(row.get("warnings", ()))})


def write_parquet(lines: Iterator[bytes], path: Path) -> None:
    """All values, with typed columns."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    text, number, texts = pa.string(), pa.float64(), pa.list_(pa.string())
    prediction = {
        "status": text,
        "label": text,
        "probability": number,
        "runner_up": text,
        "runner_up_probability": number,
        "probabilities": pa.list_(number),
        "classes": texts,
        "warnings": texts,
        "box": pa.list_(pa.int32()),
    }
    digits = pa.list_(pa.struct(list(prediction.items())))
    schema = pa.schema([("image", text), *prediction.items(), ("digits", digits), ("error", text)])
    with ParquetWriter(path, schema, compression="zstd") as writer:
        while rows := [json.loads(line) for line in islice(lines, ROWS_IN_GROUP)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))


WRITERS: dict[str, Callable[[Iterator[bytes], Path], None]] = {
    ".jsonl": write_jsonl,
    ".csv": write_csv,
    ".parquet": write_parquet,
}


def writer_for(path: Path) -> Callable[[Iterator[bytes], Path], None]:
    """The function that writes files with the suffix of `path`; raises `ConfigError` for others."""
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ConfigError(f"the output must end in {', '.join(WRITERS)}; got {path}")
    if suffix == ".parquet":
        require("a Parquet file", "pyarrow")
    return WRITERS[suffix]
