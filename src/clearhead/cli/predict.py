"""`clearhead predict`: what pictures show."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearhead.cli.options import AsJson, Images, ModelSource

if TYPE_CHECKING:
    from clearhead.models.pretrained import ImageModel

CHUNK = 64


def predict(images: Images, *, model: ModelSource = "digits", json: AsJson = False) -> int:
    """Read pictures of digits, or of whatever the model was trained on.

    A picture that cannot be read is reported, the others are answered all the same, and the exit
    code is 1. With --json, one line of JSON for each picture.
    """
    from clearhead.cli.output import ask_for, print_remark
    from clearhead.models.build import load
    from clearhead.models.pretrained import ImageModel

    if not images:
        return ask_for("a picture's file, a folder, or - for stdin", "predict")
    rows, failed = [], False
    for row in _answers(load(model, ImageModel), images):
        if "error" in row:
            failed = True
            print_remark(f"{row['image']}: {row['error']}")
        if json:
            _print_json_line(row)
        elif "error" not in row:
            rows.append(row)
    if rows:
        _print_rows(rows)
    return int(failed)


def _answers(model: "ImageModel", images: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One row for each picture, in order; decoded and answered a few at a time."""
    from itertools import islice

    from clearhead.cli.pictures import named_pictures

    names = named_pictures(images)
    while chunk := list(islice(names, CHUNK)):
        yield from _answer_chunk(model, chunk)


def _answer_chunk(model: "ImageModel", names: list[str | Path]) -> Iterator[dict[str, Any]]:
    from clearhead.cli.pictures import read_picture
    from clearhead.errors import ImageError
    from clearhead.inference._predict import answer
    from clearhead.inference.prepare import prepare

    prepared, errors = {}, {}
    for place, name in enumerate(names):
        try:
            prepared[place] = prepare(read_picture(name), model.config)
        except ImageError as error:
            errors[place] = str(error).removeprefix(f"{name}: ")
    predictions = dict(zip(prepared, answer(model, list(prepared.values())), strict=True))
    for place, name in enumerate(names):
        if place in errors:
            yield {"image": str(name), "error": errors[place]}
            continue
        prediction = predictions[place]
        yield {
            "image": str(name),
            "label": prediction.label,
            "probability": prediction.probability,
            "runner_up": prediction.runner_up,
            "runner_up_probability": prediction.runner_up_probability,
            "warnings": list(prediction.warnings),
        }


def _print_json_line(row: dict[str, Any]) -> None:
    import json

    from clearhead.cli.output import print_line

    print_line(json.dumps(row, ensure_ascii=False, allow_nan=False))


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from clearhead.cli.output import print_table

    print_table(
        "Answers, probabilities in per cent",
        ("image", "answer", "probability", "runner-up", "probability", "remarks"),
        map(_cells, rows),
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from clearhead.cli.output import percent

    remarks = "; ".join(row["warnings"])
    if row["label"] is None:
        return (row["image"], "–", "", "", "", remarks)
    return (
        row["image"],
        row["label"],
        percent(row["probability"]),
        row["runner_up"] or "",
        percent(row["runner_up_probability"]) if row["runner_up"] else "",
        remarks,
    )
