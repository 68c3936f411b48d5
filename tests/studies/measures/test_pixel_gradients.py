import torch

from clearhead.insight.tokens import grid_of
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.influence import pixel_gradients


def test_each_patch_gets_the_mean_slope_of_the_answers_logit_by_its_pixels() -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(depth=2, embed_dim=20, num_heads=2)).eval().double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(2)).double()

    found = pixel_gradients(model, images, grid_of(model))

    assert found.shape == (3, 16)
    step = 1e-5
    with torch.no_grad():
        answer = int(model(images)[1].argmax())
        slopes = torch.zeros(7, 7, dtype=torch.float64)
        for row in range(7):
            for column in range(7):  # patch 6: second row, third column
                more, less = images[1:2].clone(), images[1:2].clone()
                more[0, 0, 7 + row, 14 + column] += step
                less[0, 0, 7 + row, 14 + column] -= step
                rise = model(more)[0, answer] - model(less)[0, answer]
                slopes[row, column] = rise / (2 * step)
    torch.testing.assert_close(found[1, 6], slopes.abs().mean(), rtol=1e-5, atol=1e-8)


def test_models_and_images_are_left_as_they_were() -> None:
    model = VisionTransformer(ViTConfig(depth=1, embed_dim=8, num_heads=2)).train()
    images = torch.randn(2, 1, 28, 28)

    with torch.no_grad():
        pixel_gradients(model, images, grid_of(model))

    assert model.training
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
