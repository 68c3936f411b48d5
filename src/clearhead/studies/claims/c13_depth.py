"""C13: higher layers combine global clues: attention or information spreads with depth.

Three meanings of "spreads": attention, by its mean distance (Raghu et al. 2021); pixels, by the
effective receptive field of a patch's token (Luo et al. 2016); clues, by the accuracy of a linear
probe on a single patch's token, fitted at each layer. Each is a slope over all layers, which no cut
between "lower" and "upper" can move, at depths 2, 4 and 6. A mean distance is shown beside those of
uniform weights and of the farthest patch. Where nearly all queries attend to one key, a hub or sink
(Xiao et al. 2023; Darcet et al. 2023), distance says where that key is; their share is described.
"""

from clearhead.studies.hypotheses import difference, estimate
from clearhead.studies.measures import layers, trainings
from clearhead.studies.measures.slopes import over_layers, per_doubling
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.study import Grid, PerBudget, Study, Summary, parts_of
from clearhead.studies.table import Cell

DEPTHS = (2, 4, 6)
IMAGES = {"images": 50, "unseen": 1_000}
POINTS = "percentage points"
MEASURES = {
    "distance": ("mean attention distance", "patches", 0.1),
    "seen": ("effective receptive field of a patch's token", "share of the image", 0.05),
    "single": ("accuracy of a probe on one patch's token", POINTS, 5.0),
}
"""Name, unit, and the smallest change from the first to the last layer that matters"""

STUDY = Study(
    name="depth",
    claim="C13",
    statement="Higher layers combine global clues: attention or information spreads with depth.",
    question="What changes from the first to the last layer, and how does that depend on depth?",
    conditions="ViTs of width 32 with 2, 4 and 6 layers, trained on 3,000 digits of MNIST for 300 "
    "steps, one for each seed; the models of the common digit and of recall, of two layers; beside "
    "them the shipped model.",
    measure="By layer: mean attention distance in patches; share of pixels with 4.55 % of the "
    "largest gradient or more, the residual path included; accuracy on 1,000 unseen images of a "
    "ridge regression on single tokens, fitted on 1,000 others. Change: slope over relative depth.",
    grid=(
        Grid(
            ("depths",),
            layers.layers_by_depth,
            IMAGES | trainings.ON_DIGITS | {"depths": DEPTHS},
        ),
        Grid((COMMON,), layers.layers_of_model, trainings.ON_COMMON | IMAGES),
        Grid((RECALL,), layers.probes_of_recall, trainings.ON_RECALL | {"unseen": 500}),
        Grid(("shipped",), layers.layers_of_model, IMAGES, num_seeds=PerBudget(quick=1, full=3)),
    ),
    parts=(
        *parts_of(
            {
                f"{name} grows with depth ({depth} layers)": difference(
                    f"{name}, change over {depth} layers",
                    unit,
                    Cell("depths", over_layers((str(depth), measure))),
                    margin=margin,
                )
                for measure, (name, unit, margin) in MEASURES.items()
                for depth in (DEPTHS[0], DEPTHS[-1])
            }
        ),
        *(
            trainings.part_on(
                task,
                "what decides is combined in the last layer",
                "accuracy of a probe on one token, change over the layers",
                over_layers("single"),
                0.0,
                POINTS,
                margin=MEASURES["single"][2],
            )
            for task in (COMMON, RECALL)
        ),
        *parts_of(
            {
                "the changes depend on the number of layers": [
                    estimate(
                        f"{name}: change over the layers, with each doubling of the depth",
                        unit,
                        Cell("depths", per_doubling(over_layers(measure), DEPTHS)),
                    )
                    for measure, (name, unit, _) in MEASURES.items()
                ]
            }
        ),
    ),
    panels=layers.panels_by_layer(str(DEPTHS[-1]), conditions=("depths",)),
    summaries=tuple(
        Summary(f"By layer, {what}: {name}", measure, conditions=(what,))
        for what in (COMMON, RECALL, "shipped")
        for measure, name in (
            ("distance", "mean attention distance (patches)"),
            ("hubs", "share of queries that attend most to the same key"),
            ("single", "accuracy of a probe on one token (%)"),
        )
    ),
    labels={"shipped": "shipped model"},
)
