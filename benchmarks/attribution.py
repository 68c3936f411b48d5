"""Attribution methods against exact Shapley values, and what other metrics say about the methods.

Every method × metric on the same test digits and several trained models, with intervals from a
bootstrap over models and digits. Writes the tables of docs/attribution.md and its figure. Finished
parts are kept in --out: an interrupted run goes on where it stopped.

    make attribution-benchmark
    python benchmarks/attribution.py --digits 1000 --models runs/a runs/b runs/c
"""

import argparse
import hashlib
import importlib
import json
import time
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from torch import Tensor, nn

import clearhead as ch
from clearhead._atomic import write_atomic
from clearhead.insight import (
    METHODS,
    Baseline,
    Grid,
    Shapley,
    attribute,
    grid_of,
    shapley,
)
from clearhead.insight.curves import deletion_curves, ranked
from clearhead.insight.metrics import (
    infidelity,
    random_subsets,
    randomisation_correlations,
    rank_correlations,
    sensitivity_n,
    top_agreement,
)
from clearhead.insight.perturbation import Removal
from clearhead.insight.plots import (
    MUTED,
    OUTLINE,
    draw_picture,
    draw_signed,
    new_figure,
    save_figure,
)

CHUNK = 10  # digits of one part
RANDOMISED = 3  # digits of a part whose models are randomised as well
BASELINES = (Baseline(kind="mean"), Baseline(kind="blur", sigma=3.0))
SUBSET_SIZES, SUBSETS = (2, 4, 8, 12), 25
ROAD_STEPS = 4
TOP = 3
RESAMPLES = 1000
EXAMPLE = 6  # the digit that the figure shows
TRUTH, INK, RANDOM = "shapley", "ink", "random"
COMPARED = tuple(method for method in METHODS if method != TRUTH)

# Column title and sign: 1 where more is better. The first ones need the exact values.
AGREEMENTS = {
    "correlation": ("ρ, patches with ink", 1),
    "size": ("ρ with the size", 1),
    "logit": ("ρ, values of the logit", 1),
    "probability": ("ρ, of the probability", 1),
    "all patches": ("ρ, all patches", 1),
    "top": (f"top {TOP}", 1),
}
METRICS = {
    "deletion": ("deletion", -1),
    "insertion": ("insertion", 1),
    "srg": ("SRG", 1),
    "road": ("ROAD", 1),
    "infidelity": ("infidelity", -1),
    "sensitivity-n": ("sensitivity-n", 1),
    "randomisation": ("MPRT", -1),
}
NAMES = {
    TRUTH: "exact Shapley",
    "attnlrp": "AttnLRP",
    "legrad": "LeGrad",
    "tokentm": "TokenTM",
    "relevance": "relevance (Chefer)",
}
PAGE, FIGURE = Path("docs/attribution.md"), Path("docs/attribution.png")
DATA = Path("docs/results/attribution.json")


class Replayed(nn.Module):
    """A model whose outputs are kept, and given again to the same calls in the same order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.outputs: list[Tensor] = []
        self.place: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        """The output of the model, or the kept one."""
        if self.place is None:
            self.outputs.append(self.model(images))
            return self.outputs[-1]
        self.place += 1
        return self.outputs[self.place - 1]


def exact_values(model: nn.Module, images: Tensor, grid: Grid) -> dict[str, Shapley]:
    """Exact Shapley values of three scores, from the same forward passes."""
    replayed, results = Replayed(model), {}
    classes = model(images).argmax(1)
    for score in ("log-odds", "logit", "probability"):
        results[score] = shapley(replayed, images, grid=grid, classes=classes, score=score)
        replayed.place = 0
    return results


@torch.no_grad()
def measure(name: str, start: int, seed: int, path: Path) -> None:
    """Measure all methods on the digits of one part, and write the results."""
    torch.set_num_threads(1)
    model: Any = ch.load(name)
    grid, black = grid_of(model), Baseline.black(model.config)
    images = ch.data.normalize(digits(start, seed), model.config)
    exact = exact_values(model, images, grid)
    truth = exact["log-odds"]
    values, classes = truth.values, truth.classes
    ink = black.difference(images, grid)
    among = ink > 0
    generator = torch.Generator().manual_seed(start)
    subsets = random_subsets(len(images), grid.num_patches, SUBSET_SIZES, SUBSETS, generator)
    removal = Removal(model, images, classes, grid=grid, baseline=black)
    imputed = replace(removal, baseline=Baseline(kind="linear"))
    falls = removal.falls(subsets)
    seeds = count(1000 * start)  # another one for each map of random numbers
    rows: dict[str, dict[str, list[float]]] = {}
    seconds = {TRUTH: truth.seconds}
    for method in METHODS:

        def explain(one: nn.Module, method: str = method, part: slice = slice(None)) -> Tensor:
            return attribute(
                method, one, images[part], grid=grid, baseline=black,
                classes=classes[part], seed=next(seeds),
            )  # fmt: skip

        began = time.perf_counter()
        one = values if method == TRUTH else explain(model)
        seconds.setdefault(method, (time.perf_counter() - began) / len(images))
        curves = areas(removal, one, None, generator)
        road = areas(imputed, one, ROAD_STEPS, generator)
        few = slice(0, RANDOMISED)
        row = {
            "correlation": rank_correlations(one, values, among=among),
            "size": rank_correlations(one, values.abs(), among=among),
            "logit": rank_correlations(one, exact["logit"].values, among=among),
            "probability": rank_correlations(one, exact["probability"].values, among=among),
            "all patches": rank_correlations(one, values),
            "top": top_agreement(one, values, TOP),
            "deletion": curves[0],
            "insertion": curves[1],
            "srg": curves[1] - curves[0],
            "road": road[1] - road[0],
            "infidelity": infidelity(one, subsets, falls) / falls.square().mean(1),
            "sensitivity-n": sensitivity_n(one, subsets, falls),
            "randomisation": randomisation_correlations(
                partial(explain, part=few),
                model, seeds=(start,), among=among[few],
            ),
        }  # fmt: skip
        rows[method] = {metric: x.tolist() for metric, x in row.items()}
    result = {"rows": rows, "seconds": seconds, "coalitions": truth.num_coalitions.tolist()}
    write_atomic(path, json.dumps(result).encode())
    print(f"{name}: digits {start} to {start + len(images) - 1}", flush=True)


def areas(
    removal: Removal, one: Tensor, steps: int | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Areas under the deletion and the insertion curve of each image."""
    order = ranked(one, generator)
    deleted, inserted = (deletion_curves(removal, x, steps=steps) for x in (order, order.flip(1)))
    return deleted.areas, inserted.reversed().areas


def digits(start: int, seed: int) -> Tensor:
    """Test digits of one part, from the random order of this seed."""
    test = ch.load_dataset("mnist", "test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return test.images[order[start : start + CHUNK]]


@torch.no_grad()
def measure_baselines(name: str, number: int, seed: int, path: Path) -> None:
    """Compare the exact values of one digit against mean and blurred pixels with those of black.

    No patch equals these baselines, so there are 2¹⁶ coalitions.
    """
    torch.set_num_threads(1)
    model: Any = ch.load(name)
    images = ch.data.normalize(digits(number, seed)[:1], model.config)
    truth, among = shapley(model, images), attribute(INK, model, images) > 0
    results = {}
    for other in BASELINES:
        values = shapley(model, images, baseline=other, classes=truth.classes)
        correlation = rank_correlations(values.values, truth.values, among=among)
        results[str(other)] = {"correlation": float(correlation), "seconds": values.seconds}
    write_atomic(path, json.dumps(results).encode())
    print(f"{name}: other baselines of digit {number}", flush=True)


def trained(seeds: range, out: Path) -> list[str]:
    """Models of the recipe `quick` with these seeds, trained where they are missing."""
    names = []
    for seed in seeds:
        folder = out / f"quick-{seed}"
        if not (folder / "model.safetensors").exists():
            ch.train("quick", seed=seed, out=folder)
        names.append(str(folder))
    return names


def digest(name: str) -> str:
    """Identifies the weights of a model, so that no part of another model is taken for its own."""
    tensors = ch.load(name).state_dict().values()
    content = b"".join(x.numpy().tobytes() for x in tensors)
    return hashlib.sha256(content).hexdigest()[:12]


def main() -> None:
    """Measure what is missing, and write the page's tables and figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--digits", type=int, default=1000, help="test digits (default: 1000)")
    parser.add_argument(
        "--models", nargs="*", default=["digits-distilled"], help="names or folders"
    )
    parser.add_argument("--quick-seeds", type=int, default=3, help="models of `quick` to train")
    parser.add_argument(
        "--seed", type=int, default=0, help="the first of their seeds; also orders the digits"
    )
    parser.add_argument(
        "--baseline-digits", type=int, default=10, help="for mean and blurred baselines"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/attribution"))
    options = parser.parse_args()
    seed = options.seed
    seeds = range(seed, seed + options.quick_seeds)
    names = [*options.models, *trained(seeds, options.out)]
    options.out.mkdir(parents=True, exist_ok=True)
    digests = [digest(name) for name in names]
    models = list(zip(names, digests, strict=True))

    def parts(kind: str, starts: range) -> list[tuple[str, int, int, Path]]:
        order = f"-{seed}" if seed else ""
        return [
            (name, start, seed, options.out / f"{kind}-{weights}-{start}{order}.json")
            for start in starts
            for name, weights in models
        ]

    measured = parts("part", range(0, options.digits, CHUNK))
    baselines = parts("baselines", range(options.baseline_digits))
    tasks = [
        delayed(function)(*part)
        for function, some in ((measure, measured), (measure_baselines, baselines))
        for part in some
        if not part[-1].exists()
    ]
    Parallel(n_jobs=options.jobs)(tasks)
    results = [
        [json.loads(path.read_text()) for n, *_, path in measured if n == name] for name in names
    ]
    Report(names, results, [json.loads(path.read_text()) for *_, path in baselines]).write()


def percentiles(numbers: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.percentile(numbers, [2.5, 97.5])
    return float(low), float(high)


class Report:
    """Means and intervals over models and digits."""

    def __init__(
        self,
        names: list[str],
        results: list[list[dict[str, Any]]],
        baselines: list[dict[str, dict[str, float]]],
    ) -> None:
        self.names, self.baselines = names, baselines
        self.scores = {
            metric: np.array([
                [np.concatenate([part["rows"][method][metric] for part in parts])
                 for method in METHODS] for parts in results
            ])
            for metric in (*AGREEMENTS, *METRICS)
        }  # fmt: skip
        self.digits = self.scores["correlation"].shape[2]
        self.seconds = {
            method: float(np.mean([p["seconds"][method] for parts in results for p in parts]))
            for method in METHODS
        }
        coalitions = [p["coalitions"] for parts in results for p in parts]
        self.coalitions = float(np.mean(np.concatenate(coalitions)))
        # each resample draws models and digits, the same for all methods and metrics
        generator = np.random.default_rng(0)
        models = generator.integers(len(names), size=(RESAMPLES, len(names)))
        self.means = {metric: x.mean((0, 2)) for metric, x in self.scores.items()}
        self.resampled = {}
        for metric, x in self.scores.items():
            generator = np.random.default_rng(1)  # metrics of fewer digits draw among these
            draws = generator.integers(x.shape[2], size=(RESAMPLES, x.shape[2]))
            self.resampled[metric] = np.stack([
                x[chosen][:, :, drawn].mean((0, 2))
                for chosen, drawn in zip(models, draws, strict=True)
            ])  # fmt: skip

    def mean(self, metric: str, method: str) -> float:
        """The mean over models and digits."""
        return float(self.means[metric][METHODS.index(method)])

    def interval(self, metric: str, method: str) -> tuple[float, float]:
        """The 95 % bootstrap interval of that mean."""
        return percentiles(self.resampled[metric][:, METHODS.index(method)])

    def agreement(self, metric: str) -> tuple[float, float, float]:
        """Whether a metric ranks the methods as the exact values do, with its interval.

        Spearman's correlation over the methods.
        """
        places = [METHODS.index(method) for method in COMPARED]
        sign = METRICS[metric][1]
        pairs = [
            (torch.from_numpy(sign * x[metric]), torch.from_numpy(x["correlation"]))
            for x in ({k: x[None] for k, x in self.means.items()}, self.resampled)
        ]
        mean, every = (rank_correlations(a[:, places], b[:, places]).numpy() for a, b in pairs)
        return float(mean[0]), *percentiles(every)

    def verdict(self, method: str) -> str:
        """Better or worse than ink, where the interval of the difference excludes 0."""
        numbers = self.resampled["correlation"]
        low, high = percentiles(numbers[:, METHODS.index(method)] - numbers[:, METHODS.index(INK)])
        return "better" if low > 0 else "worse" if high < 0 else "no better"

    @property
    def models(self) -> str:
        """How many models, and which."""
        count = "one model" if len(self.names) == 1 else f"{len(self.names)} models"
        return f"{count} ({', '.join(Path(name).name for name in self.names)})"

    @property
    def ranking(self) -> list[str]:
        """The methods, the best first."""
        return sorted(COMPARED, key=lambda x: -self.mean("correlation", x))

    def write(self) -> None:
        """Write tables, figure and numbers."""
        page = PAGE.read_text(encoding="utf-8")
        for name, text in (
            ("conditions", self.conditions()),
            ("methods", self.method_table()),
            ("scores", self.score_table()),
            ("metrics", self.metric_table()),
        ):
            begin, end = (
                f"<!-- {name}: written by benchmarks/attribution.py -->",
                f"<!-- {name} end -->",
            )
            before, rest = page.split(begin)
            page = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
        write_atomic(PAGE, page.encode())
        save_figure(self.figure(), FIGURE)
        numbers = {
            "models": self.names,
            "digits": self.digits,
            "means": {
                k: dict(zip(METHODS, x.tolist(), strict=True)) for k, x in self.means.items()
            },
            "seconds": self.seconds,
        }
        write_atomic(DATA, (json.dumps(numbers, indent=1) + "\n").encode())

    def conditions(self) -> str:
        """What was measured, and how exact values against other baselines compare."""
        lines = [
            f"{self.digits} test digits, {self.models}; on average, a digit has "
            f"{self.coalitions:,.0f} coalitions, which take "
            f"{self.seconds[TRUTH]:.1f} s on one thread. Other programs ran at the\n"
            "same time, so times compare methods only roughly."
        ]
        for name in map(str, BASELINES if self.baselines else ()):
            correlation, seconds = (
                float(np.mean([part[name][key] for part in self.baselines]))
                for key in ("correlation", "seconds")
            )
            lines.append(
                f"Exact values against another baseline ({name}) have a rank correlation with\n"
                f"those against black of {correlation:.2f} ({seconds:.0f} s for a digit; "
                f"{len(self.baselines)} pairs of model and digit)."
            )
        return "\n".join(lines)

    def method_table(self) -> str:
        """Agreement of each method with the exact values."""
        titles = ["method", *(title for title, _ in AGREEMENTS.values()), "s a digit", "than ink"]
        rows = [f"| {' | '.join(titles)} |", "|---" + "|--:" * (len(AGREEMENTS) + 1) + "|---|"]
        for method in self.ranking:
            cells = [self.cell(metric, method) for metric in AGREEMENTS]
            verdict = "" if method == INK else self.verdict(method)
            cells += [f"{self.seconds[method]:.3f}", verdict]
            rows.append(f"| {NAMES.get(method, method)} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def score_table(self) -> str:
        """Each method by the metrics that need no exact values."""
        titles = ["method", *(title for title, _ in METRICS.values())]
        rows = [f"| {' | '.join(titles)} |", "|---" + "|--:" * len(METRICS) + "|"]
        for method in (TRUTH, *self.ranking):
            cells = [self.cell(metric, method) for metric in METRICS]
            rows.append(f"| {NAMES.get(method, method)} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def cell(self, metric: str, method: str) -> str:
        """A mean and half the width of its interval."""
        low, high = self.interval(metric, method)
        mean = round(self.mean(metric, method), 2) + 0.0  # no -0.00
        return f"{mean:.2f} ± {(high - low) / 2:.2f}"

    def metric_table(self) -> str:
        """One row for each metric: whether it ranks the methods as the exact values do."""
        rows = ["| metric | agreement with the exact values |", "|---|--:|"]
        for metric, (title, _) in METRICS.items():
            mean, low, high = self.agreement(metric)
            rows.append(f"| {title} | {mean:.2f} [{low:.2f}, {high:.2f}] |")
        return "\n".join(rows)

    def figure(self) -> Figure:
        """One digit by all methods; methods against the truth; metrics against the truth."""
        figure = new_figure(10.0, 8.2)
        parts: Any = figure.subfigures(2, 1, height_ratios=[1.0, 1.5])
        above, below = parts
        draw_maps(above, self.names[0], [TRUTH, *self.ranking])
        left, right = below.subplots(1, 2, width_ratios=[1.4, 1.0])
        names = self.ranking[::-1]
        for y, method in enumerate(names):
            mean = self.mean("correlation", method)
            low, high = self.interval("correlation", method)
            colour = "#00735C" if method == INK else MUTED if method == RANDOM else "#0063A6"
            left.plot([low, high], [y, y], color=colour, lw=2)
            left.plot(mean, y, "o", color=colour)
        left.axvline(self.mean("correlation", INK), color="#00735C", lw=1, ls="--")
        left.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
        left.set_xlabel("Spearman’s ρ with exact Shapley values, over the patches with ink")
        left.set_title("Rank correlation with exact Shapley values", fontsize=10, loc="left")
        agreements = {metric: self.agreement(metric) for metric in METRICS}
        ordered = sorted(METRICS, key=lambda x: agreements[x][0])
        for y, metric in enumerate(ordered):
            mean, low, high = agreements[metric]
            right.plot([low, high], [y, y], color=OUTLINE, lw=2)
            right.plot(mean, y, "o", color=OUTLINE)
        right.axvline(0, color=MUTED, lw=1, ls="--")
        right.set_xlim(-1.05, 1.05)
        right.set_yticks(range(len(ordered)), [METRICS[metric][0] for metric in ordered])
        right.set_xlabel("Spearman’s ρ with that order of methods")
        right.set_title("Each metric: correlation with that ranking", fontsize=10, loc="left")
        figure.supxlabel(
            f"{self.digits} test digits of MNIST, {self.models}; bars: 95 % bootstrap intervals; "
            "dashed: ink alone, without the model",
            fontsize=8, color=MUTED,
        )  # fmt: skip
        return figure


def draw_maps(figure: Any, name: str, methods: list[str]) -> None:
    """One digit and its maps, each on its own scale around 0."""
    model: Any = ch.load(name)
    pixels = digits(0, 0)[EXAMPLE : EXAMPLE + 1]
    images = ch.data.normalize(pixels, model.config)
    grid = grid_of(model)
    panels = figure.subplots(2, (len(methods) + 2) // 2).ravel()
    for axes in panels:
        axes.axis("off")
    draw_picture(panels[0], pixels[0])
    panels[0].set_title("digit", fontsize=8)
    for axes, method in zip(panels[1:], methods, strict=False):
        values = attribute(method, model, images)[0]
        axes.axis("on")
        draw_signed(axes, values.view(grid.rows, grid.columns), float(values.abs().max()))
        axes.set_title(NAMES.get(method, method), fontsize=8)


if __name__ == "__main__":
    # other processes import the functions; of a script, joblib would have to copy them
    importlib.import_module("attribution").main()
