"""One picture of an evaluation: what the model read, what it got wrong, what it confuses."""

import math
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.data.images import ImageDataset
from clearhead.errors import InputError
from clearhead.inference._evaluate import Answer, Evaluation


class Grid(NamedTuple):
    """How many images stand in a picture's grid, and the size of their captions in points."""

    rows: int
    columns: int
    fontsize: float


MOST_CLASSES_WITH_COUNTS = 20
MOST_CLASSES_WITH_NAMES = 50
LONGEST_NAME = 12
SHORT_NAME = 3
CELL_WIDTH, CELL_HEIGHT = 1.35, 1.65

LARGE_GRID = Grid(rows=4, columns=8, fontsize=9.5)
SMALL_GRID = Grid(rows=3, columns=6, fontsize=7.0)
RIGHT, WRONG = "#333333", "#b3261e"


def draw_digits(evaluation: Evaluation, dataset: ImageDataset, path: str | Path) -> None:
    """Write the picture as a PNG of 1800 × 1140 pixels.

    `dataset` is the one that was evaluated; raises `InputError` if it is another.
    """
    if len(dataset.images) != evaluation.total or dataset.class_names != evaluation.class_names:
        raise InputError(
            f"the evaluation is of {evaluation.total} images of {len(evaluation.class_names)} "
            f"classes, {dataset.name} has {len(dataset.images)} of {len(dataset.class_names)} "
            "or other names; give the data set that was evaluated"
        )
    content = BytesIO()
    with warnings.catch_warnings():  # names in a script that the font lacks show as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        digits_figure(evaluation, dataset).savefig(content, format="png")
    write_atomic(Path(path), content.getvalue())


def digits_figure(evaluation: Evaluation, dataset: ImageDataset) -> Figure:
    """The same as a matplotlib figure, made without pyplot and its global state."""
    figure = Figure(figsize=(15, 9.5), dpi=120, layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    figure.suptitle(_headline(evaluation), fontsize=15, parse_math=False)
    axes = figure.subplot_mosaic(
        [["samples", "confusion"], ["worst", "confusion"]], width_ratios=[1, 1.1]
    )
    names = tuple(map(_short, evaluation.class_names))
    grid = LARGE_GRID if max(map(len, names)) <= SHORT_NAME else SMALL_GRID
    every = math.ceil(len(evaluation.samples) / (grid.rows * grid.columns))
    _draw_answers(axes["samples"], evaluation.samples[::every], dataset.images, names, grid)
    _draw_answers(axes["worst"], evaluation.worst, dataset.images, names, grid)
    axes["samples"].set_title("Some images and the model's answers (mistakes: true → answered)")
    mistakes = evaluation.total - evaluation.correct
    axes["worst"].set_title(
        f"The surest of its {mistakes:,} mistakes" if mistakes else "No mistake"
    )
    _draw_confusion(axes["confusion"], np.array(evaluation.confusion), names)
    return figure


def _draw_answers(
    axes: Axes,
    answers: tuple[Answer, ...],
    images: UInt8[Tensor, "n channels height width"],
    names: tuple[str, ...],
    grid: Grid,
) -> None:
    """Images in a grid, each fitted into a square of side 1 below its caption of two lines."""
    rows, columns = grid.rows, grid.columns
    height, width = images.shape[2:]
    half, tall = width / max(height, width) / 2, height / max(height, width)
    for place, answer in enumerate(answers[: rows * columns]):
        row, column = divmod(place, columns)
        middle, top = column * CELL_WIDTH + CELL_WIDTH / 2, (row + 1) * CELL_HEIGHT - 1
        axes.imshow(
            _pixels(images[answer.index]),
            extent=(middle - half, middle + half, top + tall, top),
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        axes.text(
            middle,
            top - 0.06,
            _caption(answer, names),
            color=RIGHT if answer.true == answer.predicted else WRONG,
            ha="center",
            va="bottom",
            fontsize=grid.fontsize,
            parse_math=False,
        )
    axes.set_xlim(0, columns * CELL_WIDTH)
    axes.set_ylim(rows * CELL_HEIGHT, 0)
    axes.set_aspect("equal")
    axes.axis("off")


def _draw_confusion(axes: Axes, counts: np.ndarray, names: tuple[str, ...]) -> None:
    """Counts as square-root colours: a few mistakes stay visible beside many hits."""
    norm = PowerNorm(0.5, vmin=0, vmax=max(int(counts.max()), 1))
    axes.imshow(counts, cmap="cividis", norm=norm)
    axes.set_title("Confusion matrix: images of each class (row) by answer (column)")
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    if len(names) <= MOST_CLASSES_WITH_NAMES:
        turned = 90 if max(map(len, names)) > 3 else 0
        axes.set_xticks(range(len(names)), names, rotation=turned, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= MOST_CLASSES_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            axes.text(
                column,
                row,
                str(count) if count else "·",
                ha="center",
                va="center",
                fontsize=min(11, 130 / len(names)),
                color="black" if norm(count) > 0.5 else "white",
            )


def _headline(evaluation: Evaluation) -> str:
    low, high = (100 * bound for bound in evaluation.interval)
    return (
        f"Accuracy {evaluation.accuracy * 100:.2f} % "
        f"({evaluation.correct:,} of {evaluation.total:,}), "
        f"95 % interval {low:.2f} to {high:.2f} %; calibration error {evaluation.ece * 100:.2f} %"
    )


def _caption(answer: Answer, names: tuple[str, ...]) -> str:
    true, predicted = names[answer.true], names[answer.predicted]
    probability = f"{answer.probability * 100:.0f} %"
    if answer.true == answer.predicted:
        return f"{predicted}\n{probability}"
    if max(map(len, names)) <= SHORT_NAME:
        return f"{true} → {predicted}\n{probability}"
    return f"{true}\n→ {predicted} {probability}"


def _pixels(image: Tensor) -> np.ndarray:
    """Height × width of grey, or height × width × 3."""
    pixels = image.cpu().numpy()
    return pixels[0] if len(pixels) in (1, 2) else pixels[:3].transpose(1, 2, 0)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
