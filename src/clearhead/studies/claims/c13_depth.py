"""C13: higher layers combine global clues: attention or information spreads with depth.

Three meanings of "spreads": attention, by its mean distance (Raghu et al. 2021); pixels, by the
effective receptive field of a patch's token (Luo et al. 2016); clues, by the accuracy of a linear
probe on a single patch's token, fitted at each layer. Each is a slope over all layers, which no cut
between "lower" and "upper" can move. Where nearly all queries attend to one key, a hub or sink
(Xiao et al. 2023; Darcet et al. 2023), distance says where that key is; their share is described.
"""

from clearhead.studies import Cell, Grid, Hypothesis, PerBudget, Study, difference, estimate, parts
from clearhead.studies.claims import words
from clearhead.studies.measures import layers
from clearhead.studies.measures.slopes import over_layers, per_doubling
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.measures.trainings import FLOORS, ON_COMMON, ON_DIGITS, ON_RECALL, within

DEPTHS = (2, 4, 6)
IMAGES = {"images": 50, "unseen": 1_000}
FEW = PerBudget(quick=1, full=3)  # described, not judged
POINTS = "percentage points"
MEASURES = {
    "distance": ("mean attention distance", "patches", 0.1),
    "seen": ("effective receptive field of a patch's token", "share of the image", 0.05),
    "single": ("accuracy of a probe on one patch's token", POINTS, 5.0),
}
"""Name, unit, and the smallest change from the first to the last layer that matters"""

HYPOTHESES: dict[str, Hypothesis | list[Hypothesis]] = {
    **{
        f"{name} grows with depth ({depth} layers)": difference(
            f"{name}, change over {depth} layers",
            unit,
            Cell("depths", over_layers((str(depth), measure))),
            margin=margin,
        )
        for measure, (name, unit, margin) in MEASURES.items()
        for depth in (DEPTHS[0], DEPTHS[-1])
    },
    **{
        f"what decides is combined in the last layer ({task})": within(
            task,
            "accuracy of a probe on one token, change over the layers",
            POINTS,
            over_layers("single"),
            0.0,
            margin=MEASURES["single"][2],
        )
        for task in (COMMON, RECALL)
    },
    "the changes depend on the number of layers": [
        estimate(
            f"{name}: change over the layers, with each doubling of the depth",
            unit,
            Cell("depths", per_doubling(over_layers(measure), DEPTHS)),
        )
        for measure, (name, unit, _) in MEASURES.items()
    ],
}

STUDY = Study(
    **words(__name__),
    grid=(
        Grid("depths", layers.layers_by_depth, IMAGES | ON_DIGITS | {"depths": DEPTHS}),
        Grid(COMMON, layers.layers_of_model, ON_COMMON | IMAGES),
        Grid(RECALL, layers.probes_of_recall, ON_RECALL | {"unseen": 500}),
        Grid("shipped", layers.layers_of_model, IMAGES, num_seeds=FEW),
    ),
    parts=parts(HYPOTHESES, premises=FLOORS),
    panels=layers.DEPTH_PANELS,
    summaries=layers.DEPTH_SUMMARIES,
    labels={"shipped": "shipped model"},
)
