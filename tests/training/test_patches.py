"""In the first two thirds of a training the blocks get the patches of the highest contrast."""

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from clearhead.models import VisionTransformer, ViTConfig, build
from clearhead.training import Callback, TrainingState, fit
from clearhead.training.step import kept_patches

from .small_run import MODEL, small_config, small_dataset

CONFIG = ViTConfig(image_size=(6, 9), patch_size=3, embed_dim=8, depth=1, num_heads=2)


def images_with_contrast(patches: list[int]) -> Tensor:
    """An image of zeros, with one bright pixel in each of the patches."""
    images = torch.zeros(1, 1, 6, 9)
    for strength, patch in enumerate(patches, start=1):
        images[0, 0, patch // 3 * 3 + 1, patch % 3 * 3 + 1] = strength
    return images


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_the_blocks_get_the_patches_of_the_highest_contrast_in_their_order(
    pool: Literal["mean", "class"],
) -> None:
    torch.manual_seed(0)
    model = build(replace(CONFIG, pool=pool))
    assert isinstance(model, VisionTransformer)
    images = torch.cat([images_with_contrast([5, 1, 4]), images_with_contrast([0, 2, 3])])
    tokens = model.embedded(images)
    prefix = [0] if pool == "class" else []
    rows = [[*prefix, *(len(prefix) + patch for patch in kept)] for kept in ([1, 4, 5], [0, 2, 3])]
    kept = torch.stack([image[row] for image, row in zip(tokens, rows, strict=True)])
    expected = model.head(model.pooled(model.norm(model.blocks(kept))))
    whole = model(images)
    with kept_patches(model, images, 0.5):
        result = model(images)
    torch.testing.assert_close(result, expected)
    assert not torch.allclose(result, whole)
    torch.testing.assert_close(model(images), whole)


def test_a_training_sees_all_patches_in_its_last_third() -> None:
    seen: list[int] = []

    class Hooked(Callback):
        def on_start(self, state: TrainingState[Any]) -> None:
            state.model.get_submodule("blocks.0").register_forward_pre_hook(
                lambda _, args: seen.append(args[0].shape[1])
            )

    fit(small_config(2, model=MODEL, early_patches=0.5), small_dataset(), callback=Hooked())
    assert seen == [2] * 10 + [4] * 4
