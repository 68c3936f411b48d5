"""Settings that cannot work are refused in one line."""

import pytest

from clearhead.errors import ConfigError
from clearhead.training.config import TrainConfig
from clearhead.training.recipes import RECIPES


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", -3, "batch_size must be at least 1, got -3"),
        ("learning_rate", 0.0, "learning_rate must be above 0, got 0.0"),
        ("learning_rate", float("nan"), "learning_rate must be above 0, got nan"),
        ("average", 1.0, "average must be at least 0 and below 1, got 1.0"),
        ("warmup", -0.1, "warmup must be at least 0 and below 1, got -0.1"),
        ("weight_decay", -1.0, "weight_decay must be 0 or more, got -1.0"),
        ("optimizer", "sgd", "optimizer must be one of .*, got 'sgd'"),
        ("precision", "int8", "precision must be one of .*, got 'int8'"),
    ],
)
def test_wrong_settings_are_named(setting: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{setting: value})  # type: ignore[arg-type]


def test_every_recipe_says_what_to_type_and_what_to_expect() -> None:
    for name, recipe in RECIPES.items():
        text = recipe.__doc__ or ""
        assert f"`clearhead train {name} " in text
        assert f"--out runs/{name}`" in text
        for word in ("Hardware:", "Time:", "Accuracy:"):
            assert word in text, (name, word)
        assert recipe() == recipe()


def test_recipes_keep_the_default_geometry() -> None:
    for recipe in RECIPES.values():
        model = recipe().model
        assert (model.image_shape, model.num_classes) == ((28, 28), 10)
        assert getattr(model, "patch_size", None) == 7
        assert getattr(model, "embed_dim", None) == 64
