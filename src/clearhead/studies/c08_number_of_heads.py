"""C8: more heads give better features, up to a saturation point.

Vaswani et al. (2017, table 3, row A) vary the number of heads at constant computation: one head
is 0.9 BLEU behind the best, and 32 are behind too. Michel et al. (2019, "Are Sixteen Heads Really
Better than One?", arXiv 1905.10650) remove most heads of trained models at little loss;
Bhojanapalli et al. (2020, arXiv 2002.07028) hold that heads which are too narrow cannot express
what they should.

Here the width stays at 64 and the parameters at 105,000, and only the number of heads changes:
with h heads each has 64/h dimensions. "Better features" is measured as what a linear head reads
from them: accuracy on unseen digits. Every number of heads has the same rates of learning: half
those that read best at a width of 32, with four heads (`contenders`); at this width they were tuned
for no number. Saturation is tested as no difference between `ENOUGH` heads and `MANY`. Other
numbers are described with two seeds, and all compared on seeds that all of them have.
All test digits are read, so intervals are about other trainings, not about other digits.

Cost, one thread of a shared EPYC (Zen 4): a hundred steps take 3.6 s (up to 8 heads), 4.5 s (16),
6 s (32) or 9 s (64); reading all 10,000 test digits
1.2 s; quick about 70 s, full about 12 minutes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from clearhead.insight.plots import MUTED, OUTLINE, QUERY, new_figure
from clearhead.models.config import ViTConfig
from clearhead.studies.contenders import CONTENDERS, reading
from clearhead.studies.digits import training_digits
from clearhead.studies.fit import fit
from clearhead.studies.paired_points import draw_differences
from clearhead.studies.selection import values_of
from clearhead.studies.study import Budget, Comparison, Outcome, Study, Trial, Values
from clearhead.training.config import TrainConfig

WIDTH = 64
HEADS = (1, 2, 4, 8, 16, 32, 64)
ONE, ENOUGH, MANY = 1, 8, 32
MODEL = ViTConfig(depth=2, embed_dim=WIDTH)
BATCH_SIZE = 100

# Percentage points: fifty digits more or less in 10,000.
MARGIN = 0.5


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Every number of heads; those that decide with all seeds, the others with two."""
    settings = {
        "digits": 2_500,
        "epochs": 10,
        "unseen": 10_000,
    }
    chosen = HEADS if budget == "full" else (ONE, ENOUGH, MANY)
    return tuple(
        Trial(study=STUDY.name, arm="heads", seed=seed, settings={"heads": heads, **settings})
        for heads in chosen
        for seed in (seeds if heads in (ONE, ENOUGH, MANY) else seeds[:2])
    )


def run(trial: Trial) -> Values:
    """Train a reader with that many heads, and let it read digits it has not seen."""
    settings = trial.settings
    rates = CONTENDERS["vit"]
    config = TrainConfig(
        model=replace(MODEL, num_heads=settings["heads"]),
        epochs=settings["epochs"],
        batch_size=min(BATCH_SIZE, settings["digits"]),
        optimizer="muon",
        learning_rate=rates.learning_rate / 2,  # halved for twice the width, not tuned
        matrix_learning_rate=rates.matrix_learning_rate / 2,
        label_smoothing=0.0,
        seed=trial.seed,
    )
    model = fit(config, training_digits(settings["digits"], trial.seed))
    return reading(model, unseen=settings["unseen"], seed=trial.seed)


def evidence(outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """Several heads read more than one; many read as much as several."""
    one, enough, many = (
        values_of(outcomes, "heads", "accuracy", heads=heads) for heads in (ONE, ENOUGH, MANY)
    )
    return (
        Comparison(
            name=f"{ENOUGH} heads, against {ONE}",
            unit="percentage points",
            first=enough,
            second=one,
            margin=MARGIN,
        ),
        Comparison(
            name=f"{MANY} heads, against {ENOUGH}",
            unit="percentage points",
            first=many,
            second=enough,
            margin=MARGIN,
            expects="equal",
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The accuracies that decide; those of all numbers of heads, on common seeds; what was not."""
    deciding = {
        heads: values_of(outcomes, "heads", "accuracy", heads=heads)
        for heads in (ONE, ENOUGH, MANY)
    }
    means = {heads: sum(x) / len(x) for heads, x in deciding.items()}
    common = _common_seeds(outcomes)
    alike = _means([x for x in outcomes if x.trial.seed in common])
    best = max(alike, key=lambda heads: alike[heads])
    return (
        f"Unseen digits read by number of heads, means of {len(deciding[ONE])} trainings: "
        f"{_listed(means)}; the number of parameters was the same for all.",
        f"On the {len(common)} seeds that every number of heads was trained with: "
        f"{_listed(alike)}; the highest mean was that of {best} head{'s' if best > 1 else ''} (d_k "
        f"{WIDTH // best}), of too few trainings to put near ones in an order.",
        "Digits, one width, two layers, one training and rates tuned for no number of heads: where "
        "saturation lies in other models was not measured.",
    )


def _common_seeds(outcomes: Sequence[Outcome]) -> set[int]:
    """Those that every number of heads was trained with."""
    seeds: dict[int, set[int]] = {}
    for outcome in outcomes:
        seeds.setdefault(outcome.trial.settings["heads"], set()).add(outcome.trial.seed)
    return set.intersection(*seeds.values())


def _listed(means: Mapping[int, float]) -> str:
    return ", ".join(f"{heads}: {mean:.1f} %" for heads, mean in means.items())


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: accuracy against heads. Right: the differences that decide."""
    drawing = new_figure(11, 4.2)
    left, right = drawing.subplots(1, 2)
    left.plot(
        [outcome.trial.settings["heads"] for outcome in outcomes],
        [outcome.values["accuracy"] for outcome in outcomes],
        "o",
        color=QUERY,
        markersize=4,
        alpha=0.4,
    )
    common = _common_seeds(outcomes)
    means = _means([x for x in outcomes if x.trial.seed in common])
    left.plot(list(means), list(means.values()), color=OUTLINE)
    left.set_xscale("log", base=2)
    left.set_xticks(list(means), [f"{heads}\n({WIDTH // heads})" for heads in means])
    left.set_xlabel("heads (dimensions of each)")
    left.set_ylabel("unseen digits read rightly (%)")
    left.set_title("line: means of the seeds that all numbers have", fontsize=9)
    left.grid(axis="y", color=MUTED, alpha=0.2)
    draw_differences(right, evidence(outcomes), "percentage points")
    drawing.suptitle(f"The number of heads at constant width ({WIDTH}) and constant parameters")
    return drawing


def _means(outcomes: Sequence[Outcome]) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.trial.settings["heads"], []).append(outcome.values["accuracy"])
    return {heads: sum(x) / len(x) for heads, x in sorted(found.items())}


STUDY = Study(
    name="number-of-heads",
    claim="C8",
    statement="More heads give better features, up to a saturation point.",
    hypothesis=(
        f"{ENOUGH} heads read at least {MARGIN} points more unseen digits than {ONE}, and {MANY} "
        f"heads read as many as {ENOUGH}, within {MARGIN} points."
    ),
    conditions=(
        f"ViTs of two layers and width {WIDTH} (105,000 parameters) with {HEADS} heads, trained on "
        "2,500 digits of MNIST for 250 steps of 100, no augmentation, at half the rates that read "
        "best at width 32 with four heads, tuned at this width for none; "
        f"{ONE}, {ENOUGH} and {MANY} heads with all seeds, the others with two."
    ),
    measure="Accuracy on all 10,000 test digits, in per cent.",
    seeds={"quick": 2, "full": 15},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, table 3",
        "Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv 1905.10650",
        "Bhojanapalli et al. 2020, Low-Rank Bottleneck in Multi-head Attention Models, "
        "arXiv 2002.07028",
    ),
)
