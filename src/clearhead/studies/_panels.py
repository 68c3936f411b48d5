"""Standard figures of studies: points, curves, images, and the differences that decide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clearhead.errors import InputError
from clearhead.insight import plots
from clearhead.studies.study import Study
from clearhead.studies.table import Cell, Measure, Table, Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clearhead.studies.verdict import Finding

MARKERS = "o^sv*xD"
MAX_SLANTED = 8  # longer labels of the x-axis are rotated
PANEL_WIDTH, PANEL_HEIGHT, PANELS_PER_ROW = 5.0, 4.2, 3
SMALL_WIDTH, ROW_HEIGHT = 6.4, 0.62


def draw_panels(study: Study, table: Table) -> "Figure":
    """The figure of a study: its panels side by side, three to a row."""
    columns = min(len(study.panels), PANELS_PER_ROW)
    rows = -(-len(study.panels) // columns)
    figure = plots.new_figure(PANEL_WIDTH * columns, PANEL_HEIGHT * rows)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, panel in zip(places, study.panels, strict=False):
        panel.draw(axes, study, table)
    for axes in list(figure.axes)[len(study.panels) :]:
        axes.remove()
    if study.title:
        figure.suptitle(study.title)
    return figure


@dataclass(frozen=True)
class _Plot:
    """Options that `Points` and `Curves` share.

    Args:
        measure: What is drawn, from the values of a trial.
        ylabel: Label of the y-axis, with the unit.
        xlabel: Label of the x-axis.
        title: Above the panel.
        group: "condition", or the setting that gives colours and the legend.
        conditions: Which trials; all that have the measure by default.
        settings: Settings that the trials must have.
        scale: Factor of the measure: 100 for per cent.
        xscale: Scale of the x-axis: "linear", "log" or "log2".
        yscale: Scale of the y-axis, as `xscale`.
        ylim: Limits of the y-axis.
        lines: Horizontal lines and their labels.
    """

    measure: Measure
    ylabel: str
    xlabel: str = ""
    _: KW_ONLY
    title: str = ""
    group: str = "condition"
    conditions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    xscale: str = "linear"
    yscale: str = "linear"
    ylim: tuple[float | None, float | None] | None = None
    lines: Mapping[float, str] = field(default_factory=dict)

    def _rows(self, table: Table) -> Table:
        return table.where(*self.conditions, **self.settings).having(self.measure)

    def _colour(self, study: Study, key: Any, place: int) -> str:
        """Of a group; a condition has the same colour in all panels of a study."""
        if self.group == "condition" and key in study.conditions_in_grid:
            place = study.conditions_in_grid.index(key)
        colours = (plots.QUERY, plots.KEY, plots.VALUE, plots.OUTLINE, plots.MUTED)
        return colours[place % len(colours)]

    def _finish(self, axes: "Axes", num_groups: int) -> None:
        for place, (value, label) in enumerate(self.lines.items()):
            axes.axhline(
                value, color=plots.MUTED, lw=1, ls=("--", ":", "-.")[place % 3], label=label
            )
        for axis, scale in (("x", self.xscale), ("y", self.yscale)):
            if scale != "linear":
                getattr(axes, f"set_{axis}scale")("log", base=2 if scale == "log2" else 10)
            if scale == "log":
                from matplotlib.ticker import LogFormatter

                getattr(axes, f"{axis}axis").set_major_formatter(LogFormatter())
                getattr(axes, f"{axis}axis").set_minor_formatter(LogFormatter())
        if self.ylim is not None:
            axes.set_ylim(*self.ylim)
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel(self.ylabel)
        axes.set_title(self.title, fontsize=9)
        if num_groups > 1 or self.lines:
            axes.legend(fontsize=7)


@dataclass(frozen=True, kw_only=True)
class Points(_Plot):
    """One point per trial over a setting or the condition, and the means.

    A measure that is a list gives a point for each of its numbers. Means are joined by a line where
    x is a number; they are over the seeds that all x of a group have, if there are such seeds.

    Args:
        x: "condition", or the setting on the x-axis.
        ticks: Labels of the values of x.
    """

    x: str = "condition"
    ticks: Mapping[Any, str] = field(default_factory=dict)

    def draw(self, axes: "Axes", study: Study, table: Table) -> None:
        """Draw the panel.

        Args:
            axes: Where to draw.
            study: Whose colours and labels are used.
            table: The outcomes.
        """
        rows = self._rows(table)
        groups = rows.groups(self.group) if self.group != self.x else {None: rows}
        xs = list(rows.groups(self.x))
        numeric = all(isinstance(x, int | float) for x in xs)
        for place, (key, group) in enumerate(groups.items()):
            colour = self._colour(study, key, place)
            cells = group.groups(self.x)
            shift = 0.0 if numeric else 0.2 * (place - (len(groups) - 1) / 2)
            at = {x: (x if numeric else xs.index(x) + shift) for x in cells}
            for x, cell in cells.items():
                y = self._numbers(cell)
                axes.plot([at[x]] * len(y), y, "o", color=colour, ms=4, alpha=0.4)
            means = self._means(cells)
            label = None if key is None else study.labels.get(key, str(key))
            if key is None:
                colour = plots.OUTLINE
            style = "-" if numeric else "_"
            x, y = list(at.values()), list(means.values())
            axes.plot(x, y, style, color=colour, ms=14, label=label)
        self._finish(axes, len(groups))
        if not numeric or self.ticks or self.xscale != "linear":
            labels = [self.ticks.get(x, study.labels.get(x, str(x))) for x in xs]
            axes.set_xticks(xs if numeric else range(len(xs)), labels, fontsize=8)
            axes.set_xticks([], minor=True)

    def _numbers(self, cell: Table) -> list[float]:
        return [self.scale * x for x in np.hstack(cell.values(self.measure)).tolist()]

    def _means(self, cells: Mapping[Any, Table]) -> dict[Any, float]:
        seeds = [{row.trial.seed for row in cell.outcomes} for cell in cells.values()]
        shared = set.intersection(*seeds)
        counted = {
            x: Table(row for row in cell.outcomes if not shared or row.trial.seed in shared)
            for x, cell in cells.items()
        }
        return {x: float(np.mean(self._numbers(cell))) for x, cell in counted.items()}


@dataclass(frozen=True, kw_only=True)
class Curves(_Plot):
    """A measure that is a list: points for each trial, and the mean of each group.

    With `group="measure"`, the measure is a dict of lists, and each of its keys is a group.

    Args:
        x: Values of the x-axis, numbers or words; or a measure that gives them; by default 1, 2, 3
            and so on.
    """

    x: str | Callable[[Values], Sequence[Any]] | tuple[Any, ...] | None = None
    join: bool = True

    def draw(self, axes: "Axes", study: Study, table: Table) -> None:
        """Draw the panel.

        Args:
            axes: Where to draw.
            study: Whose colours and labels are used.
            table: The outcomes.
        """
        groups = self._curves(self._rows(table))
        for place, (key, (group, values)) in enumerate(groups.items()):
            colour = self._colour(study, key, place)
            marker = MARKERS[place % len(MARKERS)]
            rows = self.scale * np.array(values, dtype=float)
            x = self._across(group, rows.shape[1])
            for row in rows:
                axes.plot(x, row, marker, color=colour, ms=3, alpha=0.4)
            means, style = rows.mean(axis=0), "-" if self.join else "_"
            label = study.labels.get(key, str(key))
            axes.plot(x, means, style, color=colour, ms=14, label=label)
            if isinstance(x[0], str):
                rotation = 30 if len(x) <= MAX_SLANTED else 90
                axes.tick_params(axis="x", labelsize=7)
                axes.set_xticks(
                    range(len(x)), x, rotation=rotation, ha="right", rotation_mode="anchor"
                )
        self._finish(axes, len(groups))
        if self.xscale != "linear":
            axes.set_xticks(x, [str(value) for value in x], fontsize=8)
            axes.set_xticks([], minor=True)

    def _curves(self, rows: Table) -> dict[Any, tuple[Table, list[Any]]]:
        if self.group == "measure":
            values = rows.values(self.measure)
            return {key: (rows, [x[key] for x in values]) for key in values[0]}
        groups = rows.groups(self.group)
        return {key: (group, group.values(self.measure)) for key, group in groups.items()}

    def _across(self, group: Table, length: int) -> Sequence[Any]:
        if self.x is None:
            return range(1, length + 1)
        if isinstance(self.x, tuple):
            return self.x
        across: Sequence[Any] = group.outcomes[0].measure(self.x)
        return across


def side_by_side(
    labels: Mapping[Any, str], ylabel: str, xlabel: str = "", **options: Any
) -> Curves:
    """Several measures of a trial as points on one axis, without lines between them.

    Args:
        labels: Label of each measure on the x-axis, by measure.
        ylabel: Label of the y-axis, with the unit.
        xlabel: Label of the x-axis.
        options: Other arguments of `Curves`.

    Returns:
        The panel.
    """
    return Curves([*labels], ylabel, xlabel, x=tuple(labels.values()), join=False, **options)


@dataclass(frozen=True)
class Image:
    """A measure that is a list of rows: the mean over seeds, as a picture from 0 to its maximum."""

    cell: Cell
    title: str
    xlabel: str = "pixels"

    def draw(self, axes: "Axes", study: Study, table: Table) -> None:
        """Draw the mean of the pictures.

        Args:
            axes: Where to draw.
            study: Not used.
            table: The outcomes.
        """
        pictures = table.rows(self.cell).values(self.cell.measure)
        axes.imshow(np.mean(pictures, axis=0), cmap="cividis", vmin=0)
        axes.set_title(self.title, fontsize=9)
        axes.set_xlabel(self.xlabel)


def draw_findings(findings: "Sequence[Finding]") -> "Figure":
    """The small figure of a claim: one row for each comparison, each with its own scale.

    A row shows the mean difference with its 95 % interval in the colour of its outcome, the
    predicted range shaded, and zero as a line.
    """
    colours = {
        "supported": plots.VALUE,
        "contradicted": plots.KEY,
        "by construction": plots.MUTED,
    }
    figure = plots.new_figure(SMALL_WIDTH, ROW_HEIGHT * len(findings))
    rows = figure.subplots(len(findings), 1, squeeze=False).flat
    for axes, finding in zip(rows, findings, strict=True):
        if finding.estimate is None or finding.interval is None:
            raise InputError(f"{finding.name}: expected an estimate with an interval, got none")
        colour = colours.get(finding.outcome, plots.OUTLINE)
        ends = [x for x in (finding.low, finding.high) if x is not None]
        low, high = min(0.0, *finding.interval, *ends), max(0.0, *finding.interval, *ends)
        room = 0.08 * (high - low) or 1.0
        axes.set_xlim(low - room, high + room)
        left, right = axes.get_xlim()
        axes.axvspan(
            left if finding.low is None else finding.low,
            right if finding.high is None else finding.high,
            color=plots.VALUE,
            alpha=0.12,
            lw=0,
        )
        axes.axvline(0.0, color=plots.MUTED, lw=0.8)
        axes.plot(finding.interval, [0, 0], "-", color=colour, lw=2.2)
        axes.plot([finding.estimate], [0], "o", color=colour, ms=5)
        axes.set_title(f"{finding.name} ({finding.unit})", fontsize=7.5, loc="left", pad=2)
        axes.set_yticks([])
        axes.set_ylim(-1, 1)
        axes.tick_params(labelsize=7)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
    return figure
