import re
from typing import Any

import pytest

from clearhead.errors import ConfigError
from clearhead.models.config import (
    CNNConfig,
    ImageModelConfig,
    MLPConfig,
    ModelConfig,
    TextConfig,
    ViTConfig,
)


def test_the_default_is_the_digit_classifier() -> None:
    config = ViTConfig()
    assert (config.image_shape, config.in_channels, config.num_classes) == ((28, 28), 1, 10)
    assert (config.patch_shape, config.grid, config.embed_dim) == ((7, 7), (4, 4), 64)
    assert (config.pos_embed, config.attention_scale) == ("learned", "sqrt")
    assert config.num_heads > 1
    assert config.depth >= 2
    assert config.labels == tuple("0123456789")


def test_the_grid_is_rows_and_columns() -> None:
    config = ViTConfig(image_size=(35, 33), patch_size=(7, 11))
    assert config.grid == (5, 3)
    assert config.num_prefix_tokens == 0
    assert ViTConfig(pool="class").num_prefix_tokens == 1
    assert MLPConfig(image_size=(35, 33), patch_size=(7, 11)).grid == (5, 3)


@pytest.mark.unchecked
def test_lists_become_tuples() -> None:
    lists: dict[str, Any] = {"image_size": [35, 33], "patch_size": [7, 11], "class_names": ["a"]}
    tuples = ViTConfig(
        image_size=(35, 33), patch_size=(7, 11), class_names=("a",), num_classes=1, mean=(0.5,)
    )
    assert ViTConfig(**lists, num_classes=1, mean=[0.5]) == tuples  # type: ignore[arg-type]


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ViTConfig().depth = 7  # type: ignore[misc]


DIVISIBLE = "must be divisible by"
SIZE = "must be a positive integer, or (height, width), got"
POSITIVE = "must be an integer of at least 1, got"


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (ViTConfig, {"embed_dim": 10, "num_heads": 3}, f"embed_dim (10) {DIVISIBLE} num_heads (3)"),
        (ViTConfig, {"num_heads": 0}, f"num_heads {POSITIVE} 0"),
        (ViTConfig, {"embed_dim": 0}, f"embed_dim {POSITIVE} 0"),
        (ViTConfig, {"depth": -1}, f"depth {POSITIVE} -1"),
        (ViTConfig, {"patch_size": 5}, f"image height (28) {DIVISIBLE} patch height (5)"),
        (ViTConfig, {"patch_size": (7, 3)}, f"image width (28) {DIVISIBLE} patch width (3)"),
        (ViTConfig, {"patch_size": 0}, f"patch_size {SIZE} 0"),
        (ViTConfig, {"patch_size": (7, 7, 7)}, f"patch_size {SIZE} (7, 7, 7)"),
        (ViTConfig, {"pos_embed": "learnt"}, 'pos_embed must be "learned", "sincos" or "none"'),
        (ViTConfig, {"pos_embed": "sincos", "embed_dim": 6, "num_heads": 2}, "by 4, got 6"),
        (ViTConfig, {"doubtful_below": 1.1}, "doubtful_below must be between 0 and 1, got 1.1"),
        (CNNConfig, {"rejected_below": -0.1}, "rejected_below must be between 0 and 1, got -0.1"),
        (ViTConfig, {"pool": "max"}, 'pool must be "mean" or "class", got \'max\''),
        (ViTConfig, {"mlp_ratio": 0}, "mlp_ratio must be above 0 and finite, got 0"),
        (ViTConfig, {"mlp_ratio": float("nan")}, "mlp_ratio must be above 0 and finite, got nan"),
        (ViTConfig, {"dropout": 1}, "dropout must be at least 0 and below 1, got 1"),
        (ViTConfig, {"attention_scale": "root"}, 'must be "sqrt", "none", "learned"'),
        (MLPConfig, {"depth": 0}, f"depth {POSITIVE} 0"),
        (MLPConfig, {"patch_size": 3}, f"image height (28) {DIVISIBLE} patch height (3)"),
        (CNNConfig, {"widths": ()}, "widths must be one positive integer per stage, got ()"),
        (CNNConfig, {"widths": (3, 0)}, "must be one positive integer per stage, got (3, 0)"),
        (CNNConfig, {"image_size": (28, 3)}, "need images of at least 4 × 4 pixels, got (28, 3)"),
        (ImageModelConfig, {"image_size": (28, 28, 28)}, f"image_size {SIZE} (28, 28, 28)"),
        (ImageModelConfig, {"image_size": 0}, f"image_size {SIZE} 0"),
        (ImageModelConfig, {"in_channels": 0}, f"in_channels {POSITIVE} 0"),
        (ImageModelConfig, {"num_classes": 0}, f"num_classes {POSITIVE} 0"),
        (ImageModelConfig, {"class_names": ("a", "b")}, "has 2 names for num_classes 10"),
        (ImageModelConfig, {"mean": (0.1, 0.2)}, "mean needs 1 or 1 numbers (one per channel)"),
        (ImageModelConfig, {"certainty_weights": (1.0,)}, "be none or 11 numbers, got (1.0,)"),
        (
            ImageModelConfig,
            {"rejected_below": 0.7},
            "doubtful_below (0.6) must be at least rejected_below (0.7)",
        ),
        (ImageModelConfig, {"in_channels": 3, "std": (0.1, 0.2)}, "std needs 1 or 3 numbers"),
        (ImageModelConfig, {"std": (0.0,)}, "above 0 and finite, got (0.0,)"),
        (ImageModelConfig, {"std": (float("nan"),)}, "above 0 and finite, got (nan,)"),
        (TextConfig, {"vocabulary": ("a", "b", "a")}, "vocabulary has duplicate words: a"),
        (TextConfig, {"context_length": 0}, f"context_length {POSITIVE} 0"),
        (TextConfig, {"pos_embed": "sincos", "embed_dim": 7, "num_heads": 7}, "by 2, got 7"),
    ],
)
def test_settings_out_of_range_are_an_error(
    kind: type[ModelConfig], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        kind(**settings)


def test_a_number_or_a_name_may_be_the_scale() -> None:
    for scale in ("sqrt", "none", "learned", 0.37, 1):
        assert ViTConfig(attention_scale=scale).attention_scale == scale
