"""`clearhead evaluate`: accuracy and calibration of a model on a data set."""

from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from clearhead.cli.options import (
    DATA_HELP,
    AsJson,
    DataRoot,
    EngineOption,
    ModelSource,
    warn_if_unused,
    with_engine,
)
from clearhead.cli.output import (
    fetching,
    percent,
    percent_range,
    print_facts,
    print_json,
    print_line,
    print_remark,
    print_table,
)
from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from clearhead.inference import Evaluation

MAX_CLASSES_AS_MATRIX = 12
MAX_CONFUSIONS = 20

PICTURE_HELP = "also plot examples, mistakes and the confusion matrix into this PNG"
DATA_HINT = "(default: what the model was trained on)"
Data = Annotated[str | None, arg(metavar="DATA", help=DATA_HELP, help_behavior_hint=DATA_HINT)]
Split = Annotated[Literal["train", "val", "test"], arg(help="the part of the data set")]
Picture = Annotated[Path | None, arg(metavar="FILE", help=PICTURE_HELP)]


def evaluate(
    model: ModelSource = "digits",
    data: Data = None,
    split: Split = "test",
    root: DataRoot = None,
    engine: EngineOption = "torch",
    json: AsJson = False,
    picture: Picture = None,
) -> None:
    """Measure the accuracy of a model on a data set.

    Accuracy with its 95 % interval (Wilson), recall, precision and F1 of each class, the confusion
    matrix, and calibration: the distance between the model's confidence and its accuracy.
    """
    import torch

    from clearhead import inference
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel

    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"the picture is a PNG; name it {picture.with_suffix('.png')}")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    classifier = load(model, ImageModel)
    data = data or trained_on(Path(model))
    warn_if_unused(root, data)
    if device is not None:
        classifier.to(device)
    ready = with_engine(classifier, engine, batch_size=1000)
    with fetching() as report:
        dataset = inference.load_dataset_for(
            classifier.config, data, split, root=root, report=report
        )
    evaluation = inference.evaluate(ready, dataset)
    if json:
        heading = {"model": model, "data": dataset.name, "split": split}
        print_json(heading | evaluation.to_dict())
    else:
        print_evaluation(evaluation, f"{model} on {dataset.name}, {split} images")
    if picture is not None:
        inference.save_evaluation_plot(evaluation, dataset, picture)
        print_remark(f"wrote {picture}")


def trained_on(folder: Path) -> str:
    """The data set that a training run in the folder recorded; MNIST for other models."""
    from clearhead.models.pretrained import RUN

    try:
        return str(loads((folder / RUN).read_bytes())["config"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return "mnist"


def print_evaluation(evaluation: "Evaluation", heading: str) -> None:
    """The evaluation as tables on stdout."""
    correct = f"{evaluation.correct:,} of {evaluation.total:,}"
    print_facts(
        heading,
        [
            ("accuracy", f"{percent(evaluation.accuracy)} %  ({correct})"),
            ("95 % interval", f"{percent_range(evaluation.interval)} %"),
            (
                "calibration error",
                f"{percent(evaluation.ece)} %  (ECE, {len(evaluation.reliability)} bins)",
            ),
            ("negative log likelihood", f"{evaluation.nll:.4f} nats"),
        ],
    )
    print_line()
    print_table(
        "Classes: recall, precision and F1 in per cent, with 95 % intervals",
        ("class", "images", "recall", "interval", "precision", "interval", "F1"),
        (
            (
                scores.name,
                f"{scores.count:,}",
                percent(scores.recall),
                percent_range(scores.recall_interval),
                percent(scores.precision),
                percent_range(scores.precision_interval),
                percent(scores.f1),
            )
            for scores in evaluation.per_class
        ),
    )
    print_line()
    _print_confusion(evaluation)
    print_line()
    print_table(
        "Calibration: mean confidence and accuracy, in per cent",
        ("confidence", "images", "mean", "accuracy"),
        (
            (
                percent_range((row.low, row.high)),
                f"{row.count:,}",
                percent(row.confidence),
                percent(row.accuracy),
            )
            for row in evaluation.reliability
            if row.count
        ),
    )


def _print_confusion(evaluation: "Evaluation") -> None:
    """The matrix of a few classes; of many, the most frequent confusions."""
    names, matrix = evaluation.class_names, evaluation.confusion
    if len(names) <= MAX_CLASSES_AS_MATRIX:
        print_table(
            "Confusion matrix: true class (row) by predicted class (column)",
            ("", *names),
            (
                (name, *(f"{count}" if count else "·" for count in counts))
                for name, counts in zip(names, matrix, strict=True)
            ),
        )
        return
    confusions = [
        (count, names[true], names[predicted])
        for true, counts in enumerate(matrix)
        for predicted, count in enumerate(counts)
        if count and true != predicted
    ]
    confusions.sort(key=lambda entry: -entry[0])
    print_table(
        f"The {MAX_CONFUSIONS} most frequent confusions",
        ("true", "predicted", "images"),
        ((true, predicted, f"{count}") for count, true, predicted in confusions[:MAX_CONFUSIONS]),
    )
