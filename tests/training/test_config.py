"""Settings that cannot work are errors in one line; recipes are documented."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clearhead.errors import ConfigError
from clearhead.training import RECIPES, TextTrainConfig, TrainConfig


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "epochs must be an integer of at least 1, got 0"),
        ("batch_size", -3, "batch_size must be an integer of at least 1, got -3"),
        ("learning_rate", float("nan"), "learning_rate must be above 0 and finite, got nan"),
        ("average", 1.0, "average must be at least 0 and below 1, got 1.0"),
        ("warmup", -0.1, "warmup must be at least 0 and below 1, got -0.1"),
        ("weight_decay", float("inf"), "weight_decay must be at least 0 and finite, got inf"),
        ("epochs", True, "epochs must be an integer of at least 1, got True"),
        ("learning_rate", torch.ones(3), "learning_rate must be above 0"),
        ("data", torch.ones(99, 99), r"^data must be a string, got tensor\(\[\[.{,200}$"),
        ("holdout", "0  " + "x" * 300, r"got '0  x{190}x*…$"),
        ("seed", -1, "seed must be an integer"),
        ("compile", 1, "compile must be True or False, got 1"),
        ("data", 5, "data must be a string, got 5"),
        ("optimizer", "sgd", 'optimizer must be "adamw" or "muon", got \'sgd\''),
        ("precision", "int8", 'precision must be "auto", "float32" or "bfloat16", got \'int8\''),
    ],
)
def test_wrong_settings_are_named(setting: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{setting: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mask_prob", "cloze_prob", "cue_prob", "referent_prob"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_probabilities_lie_between_0_and_1(name: str, value: float) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"{name} must be between 0 and 1"):
        TextTrainConfig(**settings)


def test_a_start_model_may_be_a_path() -> None:
    assert TrainConfig(start=Path("runs") / "a") == TrainConfig(start="runs/a")  # type: ignore[arg-type]


def test_every_recipe_documents_its_command_and_its_result() -> None:
    for name, recipe in RECIPES.items():
        text = recipe.__doc__ or ""
        assert f"`clearhead train {name} " in text
        assert f"--out runs/{name}`" in text
        for word in ("Hardware:", "Time:", "Accuracy:"):
            assert word in text, (name, word)
