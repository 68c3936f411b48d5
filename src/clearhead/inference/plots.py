"""A figure of an evaluation: examples, mistakes and the confusion matrix."""

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
from clearhead.data import ImageDataset
from clearhead.errors import InputError
from clearhead.inference._evaluate import Evaluation, Example


class Grid(NamedTuple):
    """Rows and columns of images, and the size of their captions in points."""

    rows: int
    columns: int
    fontsize: float


MAX_CLASSES_WITH_COUNTS = 20
MAX_CLASSES_WITH_NAMES = 50
MAX_NAME_LENGTH = 12
SHORT_NAME = 3
CELL_WIDTH, CELL_HEIGHT = 1.35, 1.65
LARGE_GRID = Grid(rows=4, columns=8, fontsize=9.5)
SMALL_GRID = Grid(rows=3, columns=6, fontsize=7.0)
CORRECT, WRONG = "#333333", "#b3261e"


def save_evaluation_plot(evaluation: Evaluation, dataset: ImageDataset, path: str | Path) -> None:
    """Write the figure of `plot_evaluation` as a PNG of 1800 × 1140 pixels.

    Args:
        evaluation: The result of `evaluate`.
        dataset: The data set that was evaluated.
        path: The file to write.

    Raises:
        InputError: `dataset` is not the one that was evaluated.
        StorageError: The file cannot be written.
    """
    content = BytesIO()
    figure = plot_evaluation(evaluation, dataset)
    with warnings.catch_warnings():  # the font has no glyphs for some scripts
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png")
    write_atomic(Path(path), content.getvalue())


def plot_evaluation(evaluation: Evaluation, dataset: ImageDataset) -> Figure:
    """Plot examples, the most confident mistakes and the confusion matrix.

    Args:
        evaluation: The result of `evaluate`.
        dataset: The data set that was evaluated.

    Returns:
        A matplotlib figure, made without pyplot's global state.

    Raises:
        InputError: `dataset` is not the one that was evaluated.
    """
    if len(dataset.images) != evaluation.total or dataset.class_names != evaluation.class_names:
        raise InputError(
            f"the evaluation is of {evaluation.total} images of {len(evaluation.class_names)} "
            f"classes, {dataset.name} has {len(dataset.images)} of {len(dataset.class_names)} "
            "or other names; give the data set that was evaluated"
        )
    figure = Figure(figsize=(15, 9.5), dpi=120, layout=ConstrainedLayoutEngine(h_pad=0.1))
    FigureCanvasAgg(figure)
    low, high = evaluation.interval
    figure.suptitle(
        f"Accuracy {evaluation.accuracy * 100:.2f} % "
        f"({evaluation.correct:,} of {evaluation.total:,}), "
        f"95 % interval {low * 100:.2f} to {high * 100:.2f} %; "
        f"calibration error {evaluation.ece * 100:.2f} %",
        fontsize=15,
    )
    axes = figure.subplot_mosaic(
        [["examples", "confusion"], ["mistakes", "confusion"]], width_ratios=[1, 1.1]
    )
    names = tuple(
        name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…"
        for name in evaluation.class_names
    )
    grid = LARGE_GRID if max(map(len, names)) <= SHORT_NAME else SMALL_GRID
    step = math.ceil(len(evaluation.examples) / (grid.rows * grid.columns))
    _draw_examples(axes["examples"], evaluation.examples[::step], dataset.images, names, grid)
    _draw_examples(axes["mistakes"], evaluation.mistakes, dataset.images, names, grid)
    axes["examples"].set_title("Examples with predictions (mistakes: true → predicted)")
    mistakes = evaluation.total - evaluation.correct
    axes["mistakes"].set_title(
        f"The most confident of {mistakes:,} mistakes" if mistakes else "No mistake"
    )
    _draw_confusion(axes["confusion"], np.array(evaluation.confusion), names)
    return figure


def _draw_examples(
    axes: Axes,
    examples: tuple[Example, ...],
    images: UInt8[Tensor, "n channels height width"],
    names: tuple[str, ...],
    grid: Grid,
) -> None:
    """A grid of images, each scaled to a square of side 1 below a caption of two lines."""
    rows, columns = grid.rows, grid.columns
    height, width = images.shape[2:]
    half, tall = width / max(height, width) / 2, height / max(height, width)
    for position, example in enumerate(examples[: rows * columns]):
        row, column = divmod(position, columns)
        middle, top = column * CELL_WIDTH + CELL_WIDTH / 2, (row + 1) * CELL_HEIGHT - 1
        pixels = images[example.index].cpu().numpy()
        axes.imshow(
            pixels[0] if len(pixels) in (1, 2) else pixels[:3].transpose(1, 2, 0),
            extent=(middle - half, middle + half, top + tall, top),
            cmap="gray",
            vmin=0,
            vmax=255,
        )
        axes.text(
            middle,
            top - 0.06,
            _caption(example, names),
            color=CORRECT if example.true == example.predicted else WRONG,
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
    norm = PowerNorm(0.5, vmin=0, vmax=max(int(counts.max()), 1))  # keeps small counts visible
    axes.imshow(counts, cmap="cividis", norm=norm)
    axes.set_title("Confusion matrix (images)")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) <= MAX_CLASSES_WITH_NAMES:
        rotation = 90 if max(map(len, names)) > SHORT_NAME else 0
        axes.set_xticks(range(len(names)), names, rotation=rotation, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= MAX_CLASSES_WITH_COUNTS:
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


def _caption(example: Example, names: tuple[str, ...]) -> str:
    true, predicted = names[example.true], names[example.predicted]
    probability = f"{example.probability * 100:.0f} %"
    if example.true == example.predicted:
        return f"{predicted}\n{probability}"
    if max(map(len, names)) <= SHORT_NAME:
        return f"{true} → {predicted}\n{probability}"
    return f"{true}\n→ {predicted} {probability}"
