"""Predictions of many pictures as one file: JSON lines, CSV or Parquet."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from clearhead.errors import ConfigError, require

CSV_COLUMNS = (
    *("image", "status", "label", "probability", "runner_up", "runner_up_probability"),
    *("warnings", "error"),
)
ROWS_IN_GROUP = 16_384
"""Rows of a Parquet row group, which are in memory at once"""


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
    """What writes a file with the suffix of `path`.

    Raises:
        ConfigError: If there is none, or pyarrow is needed and missing.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise ConfigError(f"the output must end in {', '.join(WRITERS)}; got {path}")
    if suffix == ".parquet":
        require("a Parquet file", "pyarrow")
    return WRITERS[suffix]
