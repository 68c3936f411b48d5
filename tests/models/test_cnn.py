import pytest
import torch

from clearhead.errors import InputError
from clearhead.models.baselines import ConvNet, conv_stage
from clearhead.models.config import CNNConfig
from clearhead.models.vit import VisionTransformer


def test_each_stage_halves_the_image_and_the_mean_goes_to_the_head() -> None:
    model = ConvNet(CNNConfig(image_size=(23, 29), in_channels=2, widths=(3, 5, 7), num_classes=13))
    sizes: list[tuple[int, ...]] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape)))
    assert model(torch.randn(3, 2, 23, 29)).shape == (3, 13)
    assert sizes == [(3, 3, 23, 29), (3, 5, 11, 14), (3, 7, 5, 7)]


def test_a_stage_is_two_convolutions_with_batch_norm_and_relu() -> None:
    stage = conv_stage(2, 3).eval()
    kinds = [type(layer).__name__ for layer in stage]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU"] * 2
    assert (stage(torch.randn(2, 2, 5, 7)) >= 0).all()


def test_a_shifted_digit_far_from_the_edge_gives_the_same_logits() -> None:
    model = ConvNet(CNNConfig(image_size=52, widths=(3, 5, 7))).double().eval()
    image = torch.zeros(1, 1, 52, 52, dtype=torch.float64)
    image[:, :, 20:25, 20:27] = torch.rand(5, 7, dtype=torch.float64)
    moved = image.roll((4, 8), (2, 3))
    torch.testing.assert_close(model(moved), model(image), atol=1e-12, rtol=0)


def test_it_has_the_parameters_of_the_vision_transformer_within_one_per_cent() -> None:
    ours, theirs = (
        sum(x.numel() for x in m.parameters()) for m in (ConvNet(), VisionTransformer())
    )
    assert ours == pytest.approx(theirs, rel=0.01)


@pytest.mark.unchecked
def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"^images must be \(batch, 1, 28, 28\), got \(2, 1, 27"):
        ConvNet()(torch.zeros(2, 1, 27, 28))
