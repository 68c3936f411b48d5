"""C7: heads specialise: different heads attend to different things, beyond what untrained heads do.

Untrained heads differ too, so trained ones are compared with those: as initialised, with almost
uniform attention; and, a harder control, with attention as sharp as the trained one's. Are heads of
a layer farther apart? Do they have roles (a measure beyond every untrained head, with a family
level of 5 %)? Does it matter which head has which weights? On plain digits, blocks without
attention are as accurate (C11), so two tasks that need attention are measured too: the common digit
and recall. In recall it is known what a head should attend to: the value of the queried key.
"""

from clearhead.insight.roles import MAX_SHIFT, shift_images
from clearhead.studies import Grid, Part, PerBudget, Study, Summary
from clearhead.studies.claims import notes
from clearhead.studies.measures import heads, trainings
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.studies.table import Measure, Trial, Values

IMAGES = {"images": PerBudget(quick=50, full=100), "unseen": 500}
APART, ROLES = "hundredths of the JS distance", "percentage points of heads"
POINTS, WEIGHT = "percentage points", "share of the attention"
# 5 of 100; one head in four; one point of accuracy; a fifth of all attention
MARGINS = {APART: 5.0, ROLES: 25.0, POINTS: 1.0, WEIGHT: 0.2}
SPREADS = {APART: 1.3, ROLES: 7.0, POINTS: 4.5}  # on digits, in the second run
ROLE, NO_ROLE = map(heads.share_with_role, ("roles", "roles_untrained"))


def run(trial: Trial) -> Values:
    """Compare the heads of a model with untrained ones, and exchange their weights."""
    model, seed = trainings.model_of(trial), trial.seed
    if trial.condition == RECALL:
        texts = trainings.texts_of(trial)
        accuracy = heads.accuracy_on_recall(model, texts)
        found = heads.specialised_head(model, texts)
    else:
        shown = trainings.images_of(trial, trial.settings["images"]).images
        if trial.condition != COMMON:
            shown = shift_images(shown, MAX_SHIFT, seed)
        accuracy = heads.accuracy_on_images(model, trainings.unseen_of(trial))
        found = heads.compare_with_untrained(model, shown, seed)
    other = heads.accuracies_with_other_weights(model, accuracy)
    return trainings.floor_of(trial) | found | other


def part(name: str, condition: str, first: Measure, what: str, second: Measure, unit: str) -> Part:
    """Trained heads against a control; on tasks that need attention, with a premise."""
    spread = SPREADS.get(unit) if condition == "small" else None
    margin = MARGINS[unit]
    hypothesis = trainings.difference_in(
        condition, what, first, second, unit=unit, margin=margin, spread=spread
    )
    return trainings.part_on(condition, name, hypothesis, label=LABELS[condition])


LABELS = {"small": "digits", COMMON: COMMON, RECALL: RECALL, "shipped": "shipped model"}
FRESH = ("apart", "heads apart, against untrained", "apart_fresh", APART)
SHARP = ("apart", "heads apart, against untrained as sharp", "apart_sharp", APART)
WITH_ROLE = (ROLE, "heads with a role, against untrained as sharp", NO_ROLE, ROLES)
EXCHANGED = ("accuracy", "accuracy, against that with another head's weights", "exchanged", POINTS)

STUDY = Study(
    name="specialised-heads",
    claim="C7",
    statement="Heads specialise: different heads attend to different things, beyond what untrained "
    "heads do.",
    question="Are trained heads farther apart than untrained ones, and do they have roles?",
    conditions="ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, "
    "or on the common digit, and 21 untrained ones each; text models of the same depth on recall; "
    "one for each seed, shared with other claims. The shipped model is described.",
    measure="Jensen-Shannon distance between heads of a layer and share of heads with a role, on "
    "100 unseen images (quick: 50); accuracy on 500; in recall, weight on the queried key's value.",
    grid=(
        Grid(("small",), settings=IMAGES | trainings.ON_DIGITS),
        Grid((COMMON,), settings=IMAGES | trainings.ON_COMMON),
        Grid((RECALL,), settings={"unseen": 500} | trainings.ON_RECALL),
        Grid(("shipped",), settings=IMAGES, num_seeds=PerBudget(quick=1, full=2)),
    ),
    run=run,
    parts=(
        part("heads differ more than untrained ones", "small", *FRESH),
        *(part("… with attention as sharp", x, *SHARP) for x in ("small", COMMON)),
        *(part("more heads have a role", x, *WITH_ROLE) for x in ("small", COMMON)),
        *(
            part("it matters which head has which weights", x, *EXCHANGED)
            for x in ("small", COMMON, RECALL)
        ),
        part(
            "one head attends to the value of the queried key",
            RECALL,
            "chosen",
            "weight on the value, the chosen head against the others of its layer",
            "others",
            WEIGHT,
        ),
    ),
    panels=heads.PANELS,
    summaries=(
        Summary(
            "Heads apart: trained, as sharp, untrained", ["apart", "apart_sharp", "apart_fresh"]
        ),
        Summary("Heads with a role (%)", ROLE),
        Summary("Accuracy (%): own, exchanged, mean weights", ["accuracy", "exchanged", "shared"]),
        Summary("Fall of accuracy without a head: mean, largest", heads.mean_and_largest_fall),
    ),
    labels=LABELS,
    **notes("C7"),
)
