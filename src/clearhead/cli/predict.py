"""`clearhead predict`: classify pictures."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from clearhead.cli.options import AsJson, Images, ModelSource

if TYPE_CHECKING:
    from clearhead.inference import Prediction
    from clearhead.models.pretrained import ImageModel

CHUNK = 64


def predict(images: Images, *, model: ModelSource = "digits", json: AsJson = False) -> int:
    """Classify pictures of digits, or of the classes that the model was trained on.

    A picture that cannot be read is reported, the others are classified all the same, and the exit
    code is 1. With --json, one line of JSON for each picture, with all probabilities.
    """
    from clearhead.cli.output import print_json, print_remark, print_table, usage_error
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel

    if not images:
        return usage_error("a picture's file, a folder, or - for stdin", "predict")
    rows, failed = [], False
    for name, result in _predictions(load(model, ImageModel), images):
        if isinstance(result, str):
            failed = True
            print_remark(f"{name}: {result}")
        else:
            rows.append(_row(name, result))
        if json:
            content = {"error": result} if isinstance(result, str) else result.to_dict()
            print_json({"image": name, **content}, indent=None)
    if rows and not json:
        print_table(
            "Predictions, probabilities in per cent",
            ("image", "label", "probability", "runner-up", "probability", "warnings"),
            rows,
        )
    return int(failed)


def _predictions(
    model: "ImageModel", images: Iterable[str]
) -> Iterator[tuple[str, "Prediction | str"]]:
    """Each picture's name, in order, with its prediction or the error."""
    from itertools import islice

    from clearhead.cli.pictures import named_pictures, read_picture
    from clearhead.errors import ImageError
    from clearhead.inference import predict_inputs, prepare

    names = named_pictures(images)
    while chunk := list(islice(names, CHUNK)):
        inputs, errors = {}, {}
        for index, name in enumerate(chunk):
            try:
                inputs[index] = prepare(read_picture(name), model.config)
            except ImageError as error:
                errors[index] = str(error).removeprefix(f"{name}: ")
        predictions = dict(zip(inputs, predict_inputs(model, [*inputs.values()]), strict=True))
        for index, name in enumerate(chunk):
            yield str(name), errors[index] if index in errors else predictions[index]


def _row(name: str, prediction: "Prediction") -> tuple[str, ...]:
    from clearhead.cli.output import percent

    warnings = "; ".join(prediction.warnings)
    if prediction.label is None:
        return (name, "–", "", "", "", warnings)
    second = ("", "")
    if prediction.runner_up is not None:
        second = (prediction.runner_up, percent(prediction.runner_up_probability))
    return (name, prediction.label, percent(prediction.probability), *second, warnings)
