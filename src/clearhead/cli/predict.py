"""`clearhead predict`: classify pictures."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from clearhead._validate import check, integer
from clearhead.cli.options import (
    AsJson,
    EngineOption,
    ImageColumn,
    Images,
    ModelSource,
    check_given,
    with_engine,
)
from clearhead.cli.output import percent, print_json, print_line, print_remark, progress
from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from clearhead.inference import JobSummary, ModelLike, Prediction
    from clearhead.models import ImageModel

COLUMNS = ("image", "status", "label", "label %", "runner-up", "runner-up %", "warnings")
SECONDS_BETWEEN_LINES = 10.0
OUT_HELP = "write a row for each picture to this .jsonl, .csv or .parquet file; resumable"
RUNNER_HELP = (
    "with --out: processes of this machine, or Ray: the cluster of RAY_ADDRESS, or a new one"
)
WORKERS_HELP = "with --out: processes (default: one for each core)"
RESTART_HELP = "with --out: discard an unfinished run, and replace the file"


def predict(
    images: Images,
    *,
    model: ModelSource = "digits",
    single: Annotated[bool, arg(help="one digit in each picture")] = False,
    engine: EngineOption = "torch",
    json: AsJson = False,
    out: Annotated[Path | None, arg(metavar="FILE", help=OUT_HELP)] = None,
    image_column: ImageColumn = None,
    runner: Annotated[Literal["local", "ray"], arg(help=RUNNER_HELP)] = "local",
    workers: Annotated[int | None, arg(metavar="N", help=WORKERS_HELP)] = None,
    restart: Annotated[bool, arg(help=RESTART_HELP)] = False,
) -> int:
    """Classify pictures of digits, or of the classes that the model was trained on.

    The label of a picture with several digits lists them in reading order. A prediction is
    confident, doubtful (the warnings give the reasons), or rejected, without a label. A picture
    that cannot be read is reported, the others are classified all the same, and the exit code is 1.

    The output of --json is one line of JSON for each picture, with the probabilities of all
    classes for each digit. With --out the predictions of any number of pictures are written to a
    file; after an interruption, the same command continues.
    """
    from clearhead.cli.options import STDIN

    check_given(images, "predict")
    if out is None:
        if runner != "local" or workers is not None or restart:
            raise ConfigError("--runner, --workers and --restart need --out FILE")
        classifier = with_engine(_load(model, single=single), engine)
        return _print(classifier, images, image_column, single=single, json=json)
    if STDIN in images:
        raise ConfigError("--out needs pictures that can be read again, not - (stdin)")
    if workers is not None:
        check("--workers", workers, integer(1))
    from clearhead.inference import predict_to_file
    from clearhead.inference._jobs import writer_for

    writer_for(out)  # its errors, before a model is downloaded
    # Without it, loky prints a warning about its semaphores once a job has been killed.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    with job_progress() as on_progress:
        summary = predict_to_file(
            _load(model, single=single),
            images,
            out,
            single=single,
            image_column=image_column,
            runner=runner,
            num_workers=workers,
            engine=engine,
            restart=restart,
            on_progress=on_progress,
        )
    return _print_summary(summary, out, json=json)


def _load(model: str, *, single: bool) -> "ImageModel":
    from clearhead.inference import uses_digit_preprocessing
    from clearhead.models import ImageModel, load

    classifier = load(model, ImageModel)
    if single and not uses_digit_preprocessing(classifier.config):
        raise ConfigError(f"--single is for models of digits, and {model} is not one; leave it out")
    return classifier


def _print(
    network: "ModelLike",
    images: Sequence[str],
    image_column: str | None,
    *,
    single: bool,
    json: bool,
) -> int:
    """Print the predictions one after another; the exit code."""
    from clearhead.cli.options import list_inputs, picture_reader
    from clearhead.errors import ImageError
    from clearhead.inference import predict_listed

    refs = list_inputs(images, image_column)
    print_row = _row_printer(max(len(ref.name) for ref in refs), network.config.labels)
    failed = False
    with progress(hidden=len(refs) < 2) as show:
        show(0, len(refs))
        results = predict_listed(network, refs, picture_reader(image_column), single=single)
        for place, (ref, result) in enumerate(zip(refs, results, strict=True), start=1):
            if isinstance(result, ImageError):
                failed = True
                reason = str(result).removeprefix(f"{ref.name}: ")
                print_remark(f"{ref.name}: {reason}")
                if json:
                    print_json({"image": ref.name, "error": reason}, indent=None)
            elif json:
                print_json({"image": ref.name, **result.to_dict()}, indent=None)
            else:
                print_row(_cells(ref.name, result))
            sys.stdout.flush()
            show(place, len(refs))
    return int(failed)


def _print_summary(summary: "JobSummary", out: Path, *, json: bool) -> int:
    if summary.left_out:
        kinds = ", ".join(f"{n:,} × {kind or 'none'}" for kind, n in summary.left_out.items())
        print_remark(f"left out, as these suffixes are not those of pictures: {kinds}")
    if json:
        print_json({"out": str(out), "rows": summary.rows, "errors": summary.errors})
    else:
        rows = f"{summary.rows:,} row{'s' * (summary.rows != 1)}"
        print_line(f"{out}: {rows}, {summary.errors:,} with an error")
    return int(summary.errors > 0)


@contextmanager
def job_progress() -> Iterator[Callable[[int, int], None]]:
    """Yields a function of done and total: a bar, or without a terminal a line every 10 seconds."""
    with progress() as update:
        first, began, printed = -1, time.monotonic(), time.monotonic()

        def show(done: int, total: int) -> None:
            nonlocal first, began, printed
            now = time.monotonic()
            if first < 0:
                first, began = done, now
            update(done, total)
            if sys.stderr.isatty() or now < printed + SECONDS_BETWEEN_LINES:
                return
            printed = now
            if done > first:
                rate = (done - first) / (now - began)
                left = timedelta(seconds=round((total - done) / rate))
                speed = f"{rate:.{0 if rate >= 10 else 1}f}/s"
                print_remark(f"{done:,} of {total:,} pictures, {speed}, {left} left")

        yield show


def _row_printer(name_width: int, labels: Sequence[str]) -> Callable[[Sequence[str]], None]:
    """Prints rows of aligned columns, the head before the first; rows come as they are made."""
    label = max(map(len, (*labels, COLUMNS[2])))
    widths = (-name_width, -9, label, 7, max(label, 9), 11, 0)
    head = [COLUMNS]

    def print_row(cells: Sequence[str]) -> None:
        for row in (*head, cells):
            aligned = (
                f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
                for cell, width in zip(row, widths, strict=True)
            )
            print_line("  ".join(aligned).rstrip())
        head.clear()

    return print_row


def _cells(name: str, prediction: "Prediction") -> tuple[str, ...]:
    first, second = ("–", ""), ("", "")
    if prediction.label is not None:
        first = (prediction.label, percent(prediction.probability))
    if prediction.runner_up is not None:
        second = (prediction.runner_up, percent(prediction.runner_up_probability))
    return (name, prediction.status, *first, *second, "; ".join(prediction.warnings))
