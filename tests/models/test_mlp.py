import pytest
import torch
from torch import Tensor

from clearhead.errors import InputError
from clearhead.models.baselines import PatchMLP
from clearhead.models.config import MLPConfig
from clearhead.models.vit import VisionTransformer

CONFIG = MLPConfig(
    image_size=(35, 33), patch_size=(7, 11), in_channels=2, embed_dim=13, depth=3, num_classes=5
)


def model_and_images() -> tuple[PatchMLP, Tensor]:
    torch.manual_seed(0)
    return PatchMLP(CONFIG).double(), torch.randn(3, 2, 35, 33, dtype=torch.float64)


def test_tokens_do_not_talk() -> None:
    model, images = model_and_images()
    tokens: list[Tensor] = []
    model.blocks.register_forward_hook(lambda *call: tokens.append(call[2]))
    logits = model(images)
    changed = images.clone()
    changed[:, :, 14:21, 11:22] += 1  # patch in row 2, column 1: token 7
    assert not model(changed).isclose(logits).all()
    same = (tokens[0] == tokens[1]).all(-1)
    assert same[:, [token for token in range(15) if token != 7]].all()
    assert not same[:, 7].any()


def test_the_logits_are_the_mean_over_tokens_of_what_each_says() -> None:
    """norm → mean → head, with a linear head: the effects of two patches add up exactly."""
    model, images = model_and_images()
    one, other, both = images.clone(), images.clone(), images.clone()
    for image in (one, both):
        image[:, :, :7, :11] += 1
    for image in (other, both):
        image[:, :, 28:, 22:] -= 1
    torch.testing.assert_close(
        model(both) - model(images), model(one) + model(other) - 2 * model(images)
    )


def test_positions_tell_equal_patches_apart() -> None:
    model, images = model_and_images()
    swapped = images.roll(11, 3)
    assert not model(swapped).isclose(model(images)).all()
    model.pos_embed.data.zero_()
    torch.testing.assert_close(model(swapped), model(images), atol=1e-12, rtol=0)


def test_it_has_the_parameters_of_the_vision_transformer_within_one_per_cent() -> None:
    ours, theirs = (
        sum(x.numel() for x in model.parameters()) for model in (PatchMLP(), VisionTransformer())
    )
    assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.unchecked
def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^images must be \(batch, 2, 35, 33\), got \(3, 2, 33, 3"
    ):
        PatchMLP(CONFIG)(torch.zeros(3, 2, 33, 35))
