import torch
from torch import Tensor

from clearhead.models.layers import PatchEmbed, cut_patches


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_patches_of_a_small_image_written_out() -> None:
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert cut_patches(image, (2, 3)).tolist() == [
        [
            [0, 1, 2, 6, 7, 8],
            [3, 4, 5, 9, 10, 11],
            [12, 13, 14, 18, 19, 20],
            [15, 16, 17, 21, 22, 23],
        ]
    ]


def test_patches_equal_a_loop_over_rows_and_columns() -> None:
    images = randn(3, 2, 35, 33)
    found = cut_patches(images, (7, 11))
    assert found.shape == (3, 15, 2 * 7 * 11)
    for image in range(3):
        for row in range(5):
            for column in range(3):
                patch = images[
                    image, :, 7 * row : 7 * row + 7, 11 * column : 11 * column + 11
                ].flatten()
                assert found[image, 3 * row + column].equal(patch)


def test_the_embedding_is_its_own_convolution_in_values_and_gradients() -> None:
    embed = PatchEmbed((7, 11), 2, 13).double()
    images = randn(3, 2, 35, 33).requires_grad_()
    found, expected = embed(images), embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    inputs = (images, *embed.parameters())
    assert len(inputs) == 3
    direction = randn(*found.shape, seed=1)
    one = torch.autograd.grad((found * direction).sum(), inputs)
    other = torch.autograd.grad((expected * direction).sum(), inputs)
    for gradient, same in zip(one, other, strict=True):
        torch.testing.assert_close(gradient, same, atol=1e-11, rtol=0)


def test_an_empty_batch_has_no_patches() -> None:
    assert PatchEmbed((7, 11), 2, 13)(torch.zeros(0, 2, 35, 33)).shape == (0, 15, 13)
