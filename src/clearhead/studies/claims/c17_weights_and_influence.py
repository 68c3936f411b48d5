"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace 2019 find weights of recurrent text models weakly correlated with gradients and with
leave-one-out; Wiegreffe & Pinter 2019 answer that this asks too much of them. Serrano & Smith 2019
erase what is attended to. Kobayashi et al. 2020 multiply weights by the norms of the values.

Here each patch is masked in all layers of digit classifiers, and the effects are ranked within the
image against four maps from weights, pixel gradients, random numbers and the ink of a patch. Ink is
both attended to and needed, so that only the partial correlation given the ink (which removes most
of it, not all) speaks for a map. Masking in all layers favours maps of all layers, rollout most; a
masked patch still enters the mean before the head. Deletion and insertion change pixels instead,
but give the model images that it was not trained on.

"Weights" are those of the last layer, shown most often, and of all layers multiplied (rollout,
added after a first run of three seeds, in which they differed). Partial correlations, gradients and
orders by ink were added after a first full run, where weights had to correlate more than ink does.

Cost, one thread of a shared EPYC (Zen 4): 13 s for a small classifier (9 of them training), 9 s for
the shipped model; quick about 45 s, full about 4 minutes.
"""

from typing import cast

from clearhead.insight.attribution import INK, RANDOM, RAW, ROLLOUT
from clearhead.models import load
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Cell, Curves, Difference, Grid, Part, PerBudget, Study, Summary
from clearhead.studies.measures.classifiers import train_compared_model
from clearhead.studies.measures.influence import MAPS, by_map, influence
from clearhead.studies.table import Trial, Values

IMAGES = {"images": PerBudget(quick=100, full=200)}
TRAINING = {"digits": 3_000, "steps": 300}
CORRELATION, PROBABILITY = "rank correlation", "mean probability"
UNITS = {"correlation": CORRELATION, "beyond_ink": CORRELATION, "area": PROBABILITY}
MARGIN = 0.3  # rank correlation; Cohen (1988, "Statistical Power Analysis") calls 0.3 medium
INK_MARGIN = 0.1  # beyond the ink less is enough; he calls 0.1 small
AREA_MARGIN = 0.05  # five points more probability, over the whole curve
INK_AREA_MARGIN = 0.02  # the order by ink is not a bad one


def run(trial: Trial) -> Values:
    """How maps of a small classifier or the shipped model agree with ablation."""
    settings = trial.settings
    if trial.condition == "shipped":
        return influence(load(), settings["images"], trial.seed)
    digits, steps = settings["digits"], settings["steps"]
    model = train_compared_model("vit", digits=digits, steps=steps, seed=trial.seed)
    return influence(cast("VisionTransformer", model), settings["images"], trial.seed)


def compared(measure: str, name: str, other: str | float, what: str, margin: float) -> Part:
    """One map against another, or against a number, in small classifiers."""
    hypothesis = Difference(
        name=f"{name}, {what}",
        unit=UNITS[measure],
        first=Cell("small", (measure, name)),
        second=Cell("small", (measure, other)) if isinstance(other, str) else other,
        margin=margin,
    )
    return Part(f"{name}, {what}", (hypothesis,))


BEYOND = "given the ink, against 0: partial correlation with ablation"
AREA = "insertion and deletion"
STUDY = Study(
    name="weights-and-influence",
    claim="C17",
    statement="Attention weights show what mattered: stronger attention, stronger influence on the "
    "output.",
    question="Within an image, do patches with more attention have more influence on the output?",
    conditions="ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, "
    "one for each seed; the shipped model beside them. 200 unseen digits (quick: 100).",
    measure="Spearman's correlation over 16 patches, mean over images, and partial, given the ink; "
    "area under insertion minus area under deletion, halved. Patches are masked in all layers.",
    seeds={"quick": 3, "full": 12},
    grid=(
        Grid(conditions=("small",), settings=IMAGES | TRAINING),
        Grid(conditions=("shipped",), settings=IMAGES, num_seeds=PerBudget(quick=1, full=4)),
    ),
    run=run,
    parts=(
        compared("correlation", RAW, RANDOM, "against random numbers: correlation", MARGIN),
        compared("beyond_ink", RAW, 0.0, BEYOND, INK_MARGIN),
        compared("beyond_ink", ROLLOUT, 0.0, BEYOND, INK_MARGIN),
        compared("area", RAW, RANDOM, f"against random orders: {AREA}", AREA_MARGIN),
        compared("area", RAW, INK, f"against the order by ink: {AREA}", INK_AREA_MARGIN),
        compared("area", ROLLOUT, INK, f"against the order by ink: {AREA}", INK_AREA_MARGIN),
    ),
    panels=(
        Curves(measure=by_map("correlation"), x=MAPS, join=False, xlabel="", ylabel=CORRELATION),
        Curves(measure=by_map("area"), x=MAPS, join=False, xlabel="", ylabel=AREA),
    ),
    title="Maps from attention weights and the effect of masking a patch",
    summaries=(
        Summary(name=f"Rank correlation ({', '.join(MAPS)})", measure=by_map("correlation")),
        Summary(name="The same given the ink, without ink", measure=by_map("beyond_ink")),
        Summary(name="(insertion - deletion) / 2, all maps", measure=by_map("area")),
    ),
    limits=("Masking takes a patch out of all layers, which favours rollout.",),
    labels={"small": "small classifiers", "shipped": "shipped model"},
    references=(
        "Jain & Wallace 2019, Attention is not Explanation, arXiv 1902.10186",
        "Wiegreffe & Pinter 2019, Attention is not not Explanation, arXiv 1908.04626",
        "Serrano & Smith 2019, Is Attention Interpretable?, arXiv 1906.03731",
        "Kobayashi et al. 2020, Attention is Not Only a Weight, arXiv 2004.10102",
    ),
)
