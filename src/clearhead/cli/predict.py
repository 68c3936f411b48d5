"""`clearhead predict`: classify pictures."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from clearhead.cli.options import AsJson, Images, ModelSource

if TYPE_CHECKING:
    from clearhead.inference import Prediction

COLUMNS = ("image", "status", "label", "label %", "runner-up", "runner-up %", "warnings")


def predict(
    images: Images,
    *,
    model: ModelSource = "digits",
    single: Annotated[bool, arg(help="one digit in each picture", help_behavior_hint="")] = False,
    json: AsJson = False,
) -> int:
    """Classify pictures of digits, or of the classes that the model was trained on.

    The digits of a picture are read in lines from top to bottom, in a line from left to right. A
    prediction is confident, doubtful (warnings have the reasons), or rejected, without a label. A
    picture that cannot be read is reported, the others are classified all the same, and the exit
    code is 1. With --json, one line of JSON for each picture, with the probabilities of all
    classes; of several digits, for each digit.
    """
    from clearhead.cli.output import print_json, print_remark, progress, usage_error
    from clearhead.cli.pictures import named_pictures, reason_of, source_of
    from clearhead.errors import ImageError
    from clearhead.inference import predict_each
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel

    if not images:
        return usage_error("a picture's file, a folder, or - for stdin", "predict")
    network = load(model, ImageModel)
    names = [*named_pictures(images)]
    print_row = _row_printer(max(len(str(name)) for name in names), network.config.labels)
    failed = False
    with progress(len(names)) as advance:
        results = predict_each(network, map(source_of, names), single=single)
        for name, result in zip(names, results, strict=True):
            if isinstance(result, ImageError):
                failed = True
                reason = reason_of(result, name)
                print_remark(f"{name}: {reason}")
                if json:
                    print_json({"image": str(name), "error": reason}, indent=None)
            elif json:
                print_json({"image": str(name), **result.to_dict()}, indent=None)
            else:
                print_row(_cells(str(name), result))
            sys.stdout.flush()
            advance()
    return int(failed)


def _row_printer(name_width: int, labels: Sequence[str]) -> Callable[[Sequence[str]], None]:
    """Prints rows of aligned columns, the head before the first; rows come as they are made."""
    from clearhead.cli.output import print_line

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
    from clearhead.cli.output import percent

    first, second = ("–", ""), ("", "")
    if prediction.label is not None:
        first = (prediction.label, percent(prediction.probability))
    if prediction.runner_up is not None:
        second = (prediction.runner_up, percent(prediction.runner_up_probability))
    return (name, prediction.status, *first, *second, "; ".join(prediction.warnings))
