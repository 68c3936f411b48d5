"""C12: patches attend to relevant neighbours and so cope with noisy pixels.

Two claims in one sentence: that the ViT copes, and that attention is the reason. Naseer et al. 2021
find ViTs robust against noise and occlusion; Bai et al. 2021 find CNNs as robust against
adversarial attacks after the same training; Mu & Gilmer 2019 find plain CNNs hard to beat on
MNIST-C. So the loss of accuracy under noise is compared with that of a CNN with the same training,
and with that of the same ViT with uniform attention. Noise on blank patches leaves the digit
unchanged; the share of attention on them shows whether the ViT ignores them. Both comparisons on
blank patches were added after a first full run, in which they contradicted the claim. A loss
depends on the accuracy on clean digits, which differs.

Cost, one thread of a shared EPYC (Zen 4): 14 s a model, 5 of them on corrupted digits; quick about
85 s, full about 8 minutes.
"""

from clearhead.studies import Cell, Curves, Difference, Grid, Part, Study, Summary
from clearhead.studies.measures.classifiers import train_compared_model
from clearhead.studies.measures.robustness import (
    ALL_CORRUPTIONS,
    BLANK,
    accuracies,
    loss_under,
    mean_drift,
    robustness,
)
from clearhead.studies.table import Trial, Values

LABELS = {"vit": "ViT", "uniform": "uniform attention", "cnn": "CNN"}
NOISES, POINTS = ("shot noise", "impulse noise"), "percentage points"
MARGIN = 2.0  # percentage points, of losses of ten and more
MIN_SHIFT = 5.0  # percentage points of all attention


def run(trial: Trial) -> Values:
    """Train a model; its accuracy on clean and corrupted digits."""
    settings = trial.settings
    model = train_compared_model(
        trial.condition, digits=settings["digits"], steps=settings["steps"], seed=trial.seed
    )
    return robustness(model, settings["unseen"], trial.seed)


def loses_less(condition: str, *corruptions: str) -> Part:
    """The loss of another model against that of the ViT."""
    noise = " and ".join(corruptions)
    hypothesis = Difference(
        name=f"loss of {LABELS[condition]}, against the ViT: {noise}",
        unit=POINTS,
        first=Cell(condition, loss_under(*corruptions)),
        second=Cell("vit", loss_under(*corruptions)),
        margin=MARGIN,
    )
    return Part(f"a ViT loses less than {LABELS[condition]} under {noise}", (hypothesis,))


def on_blank(images: str) -> Cell:
    """Attention of the ViT on blank patches, in per cent."""
    return Cell("vit", lambda values: 100 * values["on_blank"][images])


STUDY = Study(
    name="noisy-pixels",
    claim="C12",
    statement="Patches attend to relevant neighbours and so cope with noisy pixels.",
    question="How much accuracy does noise cost a ViT, and does attention avoid noisy patches?",
    conditions="Models of about 28,000 parameters, trained on 3,000 clean digits of MNIST for 300 "
    "steps; fifteen corruptions as in MNIST-C, and impulse noise on the patches without ink.",
    measure="Accuracy on 1,000 unseen digits, clean minus corrupted; Jensen-Shannon divergence of "
    "the weights; attention on blank patches, in per cent, mean over queries, heads and layers.",
    seeds={"quick": 2, "full": 12},
    grid=(
        Grid(conditions=tuple(LABELS), settings={"digits": 3_000, "steps": 300, "unseen": 1_000}),
    ),
    run=run,
    parts=(
        *(loses_less(condition, *NOISES) for condition in ("uniform", "cnn")),
        *(loses_less(condition, BLANK) for condition in ("uniform", "cnn")),
        Part(
            name="attention avoids noisy patches",
            hypotheses=(
                Difference(
                    name="the ViT's attention on blank patches, without noise on them against with "
                    "it",
                    unit=POINTS,
                    first=on_blank("clean"),
                    second=on_blank("noisy"),
                    margin=MIN_SHIFT,
                ),
            ),
        ),
    ),
    panels=(
        Curves(
            measure=accuracies,
            x=("clean", *ALL_CORRUPTIONS),
            join=False,
            ylim=(0, 100),
            xlabel="corruption",
            ylabel="accuracy on unseen digits (%)",
        ),
        Curves(
            measure=mean_drift,
            x=ALL_CORRUPTIONS,
            conditions=("vit",),
            join=False,
            xlabel="corruption",
            ylabel="divergence of the ViT's attention (bits)",
        ),
    ),
    title="Corrupted digits: a ViT, the same with uniform attention, and a CNN",
    summaries=(
        Summary(name="Accuracy on clean digits (%)", measure="clean"),
        Summary(name="Loss under shot and impulse noise (points)", measure=loss_under(*NOISES)),
        Summary(name="Loss under noise on blank patches (points)", measure=loss_under(BLANK)),
        Summary(name="Loss, all corruptions (points)", measure=loss_under(*ALL_CORRUPTIONS[:-1])),
    ),
    limits=("Changed weights are no sign that attention helps.",),
    labels=LABELS,
    references=(
        "Mu & Gilmer 2019, MNIST-C, arXiv 1906.02337",
        "Naseer et al. 2021, Intriguing Properties of Vision Transformers, arXiv 2105.10497",
        "Bai et al. 2021, Are Transformers More Robust Than CNNs?, arXiv 2111.05464",
    ),
)
