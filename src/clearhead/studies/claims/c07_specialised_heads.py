"""C7: heads specialise: different heads look at different things, beyond what untrained heads do.

Voita et al. (2019) can remove most heads in translation, Clark et al. (2019) find heads for syntax,
Michel et al. (2019) many redundant ones. Untrained heads differ too, so trained ones are compared
with those: as initialised, with almost uniform attention; and, a harder control, with attention as
sharp as the trained one's. Are heads of a layer farther apart than untrained ones? Do they have
roles (a measure beyond every untrained head, with a family level of 5 %)? Does it matter which head
has which weights? If so, heads differ; they need not be specialised in something that has a name.

Cost, one thread of a shared EPYC (Zen 4): 17 s for a small classifier (9 of them training), 25 s
for the shipped one; quick about 55 s, full about 4 minutes.
"""

from typing import cast

from clearhead.models import load
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Cell, Curves, Difference, Grid, Part, PerBudget, Study
from clearhead.studies.measures import heads
from clearhead.studies.measures.classifiers import train_compared_model
from clearhead.studies.study import Summary
from clearhead.studies.table import Measure, Trial, Values

IMAGES = {"images": PerBudget(quick=50, full=100), "unseen": 500}
TRAINING = {"digits": 3_000, "steps": 300}
APART = "hundredths of the JS distance"
ROLES, POINTS = "percentage points of heads", "percentage points"
APART_MARGIN = 5.0  # the distance ends at 100
ROLE_MARGIN = 25.0  # one head in four
ROLE, NO_ROLE = map(heads.share_with_role, ("roles", "roles_untrained"))
PARTS: tuple[tuple[str, str, str, Measure, Measure, float], ...] = (
    (
        "heads differ more than untrained ones",
        "heads apart, against untrained",
        APART,
        "apart",
        "apart_fresh",
        APART_MARGIN,
    ),
    (
        "heads differ more than untrained ones with attention as sharp",
        "heads apart, against untrained as sharp",
        APART,
        "apart",
        "apart_sharp",
        APART_MARGIN,
    ),
    (
        "more heads have a role",
        "heads with a role, against untrained as sharp",
        ROLES,
        ROLE,
        NO_ROLE,
        ROLE_MARGIN,
    ),
    (
        "it matters which head has which weights",
        "accuracy, against that with another head's weights",
        POINTS,
        "accuracy",
        "exchanged",
        1.0,
    ),
)


def run(trial: Trial) -> Values:
    """Compare the heads of a classifier with untrained ones, and exchange their weights."""
    settings, seed = trial.settings, trial.seed
    vit = load()
    if trial.condition == "small":
        training = {name: settings[name] for name in TRAINING}
        vit = cast("VisionTransformer", train_compared_model("vit", **training, seed=seed))
    return {
        **heads.compare_with_untrained(vit, settings["images"], seed),
        **heads.accuracies_with_other_weights(vit, settings["unseen"], seed),
    }


STUDY = Study(
    name="specialised-heads",
    claim="C7",
    statement="Heads specialise: different heads look at different things, beyond what untrained "
    "heads do.",
    question="Are trained heads farther apart than untrained ones, and do they have roles?",
    conditions="ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, "
    "one for each seed, and 21 untrained ones each; 100 unseen digits (quick: 50), shifted by up "
    "to 4 pixels; the shipped model for description.",
    measure="Jensen-Shannon distance between heads of a layer; share of heads with a role; "
    "accuracy on 500 unseen digits.",
    seeds={"quick": 3, "full": 12},
    grid=(
        Grid(conditions=("small",), settings=IMAGES | TRAINING),
        Grid(conditions=("shipped",), settings=IMAGES, num_seeds=PerBudget(quick=1, full=2)),
    ),
    run=run,
    parts=tuple(
        Part(
            name=part,
            hypotheses=(
                Difference(
                    name=name,
                    unit=unit,
                    first=Cell("small", first),
                    second=Cell("small", second),
                    margin=margin,
                ),
            ),
        )
        for part, name, unit, first, second, margin in PARTS
    ),
    panels=(
        Curves(
            measure=heads.distances,
            x=("trained", "untrained, as sharp", "untrained"),
            join=False,
            xlabel="heads",
            ylabel=f"heads apart ({APART})",
        ),
        Curves(
            measure=heads.sorted_attention_distances,
            group="measure",
            conditions=("small",),
            xlabel="heads of a small classifier, sorted",
            ylabel="mean attention distance (patches)",
        ),
        Curves(
            measure=heads.sorted_falls,
            xlabel="heads, sorted by fall",
            ylabel="fall of accuracy without the head (points)",
        ),
    ),
    summaries=(
        Summary(
            name=f"Heads apart ({APART}): trained, as sharp, untrained", measure=heads.distances
        ),
        Summary(name="Heads with a role (%)", measure=ROLE),
        Summary(name="Accuracy (%): own, exchanged, mean weights", measure=heads.accuracies),
        Summary(name="Fall of accuracy without a head: mean, largest", measure=heads.falls),
    ),
    limits=("That exchanged weights lower accuracy shows that heads differ, in whatever way.",),
    labels={"small": "small classifiers", "shipped": "shipped model"},
    references=(
        "Voita et al. 2019, Analyzing Multi-Head Self-Attention, arXiv 1905.09418",
        "Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
        "Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv 1905.10650",
    ),
)
