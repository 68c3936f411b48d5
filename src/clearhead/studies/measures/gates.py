"""Two tasks that need attention, and how far models without it get: premises of several claims.

On plain digits, blocks without attention are as accurate as the ViT (C11), so plain digits cannot
show what attention contributes. A part about one of these tasks is undecided unless the model with
attention is more accurate than the baseline without it (the floor).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from clearhead.data import ImageDataset
from clearhead.models import load
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.studies.hypotheses import Difference, Hypothesis
from clearhead.studies.measures import recall
from clearhead.studies.measures.classifiers import (
    accuracy_on,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.common_digit import common_digits
from clearhead.studies.measures.trainings import (
    on_common_digit,
    on_digits,
    on_recall,
    trained,
)
from clearhead.studies.study import Part
from clearhead.studies.table import Cell, Trial, Values

DIGITS = {"digits": 3_000, "steps": 300}
"""Settings of the trainings on digits that several claims share"""
CLEARED = 20.0
"""Points above the floor that a model with attention must have"""
COMMON_DIGIT = {"examples": 24_000, "epochs": 4}
RECALL = {"examples": 38_400}
"""Settings of the trainings on the two tasks"""
NEXT_COMMON_DIGIT = COMMON_DIGIT | {"rates": (1e-2, 2e-2)}
"""For the next registration, in place of `COMMON_DIGIT`: at half the rates, more seeds learn it"""


def model_of(trial: Trial, name: str = "vit", **changes: Any) -> Any:
    """The model of a condition: shipped, or trained on its task; on digits if it names none.

    Args:
        trial: Its settings are those of the training.
        name: One of `COMPARED_MODELS`, for images.
        changes: Of the configuration.
    """
    if trial.condition == "shipped":
        return load()
    if trial.condition == "recall":
        return recall_model(trial, **changes)
    if trial.condition == "common digit":
        return common_digit_model(trial, name, **changes)
    sizes = {"examples": trial.settings["digits"], "steps": trial.settings["steps"]}
    return trained(on_digits(name, **sizes, **changes), trial.seed)


def common_digit_model(trial: Trial, name: str = "vit", **changes: Any) -> VisionTransformer:
    """One of `COMPARED_MODELS` trained on the common digit, with the settings of a trial."""
    sizes = {key: x for key, x in trial.settings.items() if key in NEXT_COMMON_DIGIT}
    model: VisionTransformer = trained(on_common_digit(name, **sizes, **changes), trial.seed)
    return model


def recall_model(trial: Trial, **changes: Any) -> TextTransformer:
    """The text model trained on recall, with the settings of a trial."""
    sizes = {key: trial.settings[key] for key in RECALL}
    model: TextTransformer = trained(on_recall(**sizes, **changes), trial.seed)
    return model


def unseen_of(trial: Trial, setting: str = "unseen") -> ImageDataset:
    """Test images of a condition's task, drawn with the seed; a setting is their number."""
    count = trial.settings[setting]
    if trial.condition == "common digit":
        return common_digits("test", count, trial.seed).dataset
    return unseen_digits(count, trial.seed)


def training_of(trial: Trial, count: int) -> ImageDataset:
    """Images of a condition's task made from training digits, drawn with the seed."""
    if trial.condition == "common digit":
        return common_digits("train", count, trial.seed).dataset
    return training_digits(count, trial.seed)


def common_digit_floor(trial: Trial) -> Values:
    """Accuracy (per cent) on the common digit, with attention and without any mixing of patches."""
    unseen = common_digits("test", trial.settings["unseen"], trial.seed).dataset
    names = {"with_attention": "vit", "floor": "no-attention"}
    return {
        key: accuracy_on(common_digit_model(trial, name), unseen) for key, name in names.items()
    }


def recall_floor(trial: Trial) -> Values:
    """Accuracy (per cent) on recall, with attention and with uniform weights."""
    texts = recall.recall_texts("test", trial.settings["unseen"], trial.seed)
    models = {"with_attention": recall_model(trial)}
    models["floor"] = recall_model(trial, attention_scale=0.0)
    return {key: recall.recall_accuracy(model, texts) for key, model in models.items()}


def floor_of(trial: Trial) -> Values:
    """The floor of a condition's task; nothing on digits."""
    if trial.condition == "recall":
        return recall_floor(trial)
    return common_digit_floor(trial) if trial.condition == "common digit" else {}


def premises(condition: str) -> tuple[Difference, ...]:
    """Of a part about a condition: that it clears the floor, if attention is needed there."""
    return (clears_the_floor(condition),) if condition in ("common digit", "recall") else ()


def part_on(
    condition: str,
    name: str,
    hypothesis: Hypothesis,
    variants: Mapping[str, tuple[Hypothesis, ...]] = MappingProxyType({}),
) -> Part:
    """A part about a condition, which its name ends with, with the premises of that condition."""
    return Part(f"{name} ({condition})", (hypothesis,), premises(condition), variants)


def clears_the_floor(condition: str) -> Difference:
    """The premise of a part: the condition is more accurate than the floor in the same values."""
    return Difference(
        name=f"{condition}: with attention, against the floor without",
        unit="percentage points",
        first=Cell(condition, "with_attention"),
        second=Cell(condition, "floor"),
        margin=CLEARED,
    )
