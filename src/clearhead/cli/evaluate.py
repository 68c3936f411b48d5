"""`clearhead evaluate`: how well a model reads a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from clearhead.cli.options import AsJson, DataRoot, DataSource, ModelSource

if TYPE_CHECKING:
    from clearhead.inference._evaluate import Evaluation

MOST_CLASSES_AS_MATRIX = 12
MOST_CONFUSIONS = 20

PICTURE_HELP = "also draw answers, mistakes and confusion matrix into this PNG"
Picture = Annotated[Path | None, arg(metavar="FILE", help=PICTURE_HELP, help_behavior_hint="")]


def evaluate(
    model: ModelSource = "digits",
    data: DataSource = "mnist",
    split: Annotated[Literal["train", "test"], arg(help="the part of the data set")] = "test",
    root: DataRoot = None,
    json: AsJson = False,
    picture: Picture = None,
) -> None:
    """Measure how well a model reads a data set.

    Accuracy with its 95 % interval (Wilson), recall, precision and F1 of each class, the confusion
    matrix, and calibration: how far the model's confidence lies from its accuracy.
    """
    import torch

    from clearhead.cli.output import fetching, print_json, print_remark
    from clearhead.cli.root import remark_unread
    from clearhead.inference._evaluate import evaluate as measure
    from clearhead.inference.matching import load_for
    from clearhead.models.build import load
    from clearhead.models.pretrained import ImageModel

    _check_picture(picture)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    reader = load(model, ImageModel)
    remark_unread(data, root)
    with fetching() as report:
        dataset = load_for(reader.config, data, split, root=root, report=report)
    evaluation = measure(reader, dataset, device=device)
    heading = {"model": model, "data": dataset.name, "split": split}
    if json:
        print_json(heading | evaluation.to_dict())
    else:
        print_evaluation(evaluation, f"{model} on {dataset.name}, {split} images")
    if picture is not None:
        from clearhead.inference.plots import draw_digits

        draw_digits(evaluation, dataset, picture)
        print_remark(f"wrote {picture}")


def print_evaluation(evaluation: "Evaluation", heading: str) -> None:
    """The evaluation as tables on stdout."""
    from clearhead.cli.output import percent, percent_range, print_facts

    answers = f"{evaluation.correct:,} of {evaluation.total:,}"
    print_facts(
        heading,
        [
            ("accuracy", f"{percent(evaluation.accuracy)} %  ({answers})"),
            ("95 % interval", f"{percent_range(evaluation.interval)} %"),
            (
                "calibration error",
                f"{percent(evaluation.ece)} %  (ECE, {len(evaluation.reliability)} bins)",
            ),
            ("negative log likelihood", f"{evaluation.nll:.4f} nats"),
        ],
    )
    _print_classes(evaluation)
    if len(evaluation.class_names) <= MOST_CLASSES_AS_MATRIX:
        _print_matrix(evaluation)
    else:
        _print_confusions(evaluation)
    _print_reliability(evaluation)


def _print_classes(evaluation: "Evaluation") -> None:
    from clearhead.cli.output import percent, percent_range, print_line, print_table

    print_line()
    print_table(
        "Classes: recall, precision and F1 in per cent, with 95 % intervals",
        ("class", "images", "recall", "from – to", "precision", "from – to", "F1"),
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


def _print_matrix(evaluation: "Evaluation") -> None:
    from clearhead.cli.output import print_line, print_table

    print_line()
    print_table(
        "Confusion: true class (row) by answer (column)",
        ("", *evaluation.class_names),
        (
            (name, *(f"{count}" if count else "·" for count in counts))
            for name, counts in zip(evaluation.class_names, evaluation.confusion, strict=True)
        ),
    )


def _print_confusions(evaluation: "Evaluation") -> None:
    from clearhead.cli.output import print_line, print_table

    names = evaluation.class_names
    confusions = [
        (count, true, predicted)
        for true, counts in enumerate(evaluation.confusion)
        for predicted, count in enumerate(counts)
        if count and true != predicted
    ]
    confusions.sort(key=lambda entry: -entry[0])
    print_line()
    print_table(
        f"The {MOST_CONFUSIONS} most frequent confusions",
        ("true", "answered", "images"),
        (
            (names[true], names[predicted], f"{count}")
            for count, true, predicted in confusions[:MOST_CONFUSIONS]
        ),
    )


def _print_reliability(evaluation: "Evaluation") -> None:
    from clearhead.cli.output import percent, percent_range, print_line, print_table

    print_line()
    print_table(
        "Calibration: how sure the model was and how often right, in per cent",
        ("probability", "images", "mean probability", "accuracy"),
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


def _check_picture(picture: Path | None) -> None:
    from clearhead.errors import ConfigError

    if picture is not None and picture.suffix.lower() != ".png":
        raise ConfigError(f"the picture is a PNG; name it {picture.with_suffix('.png')}")
