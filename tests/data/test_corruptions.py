import math

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.data import CORRUPTIONS, _corruptions, corrupt
from clearhead.data._corruptions import diamond_square
from clearhead.errors import ConfigError, InputError

NOT_RANDOM = {"scale", "brightness", "stripe", "canny edges"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bars(count: int = 11) -> Tensor:
    """A thick vertical bar, a little off the middle."""
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 7:20, 12:15] = 255
    return images


def moments(image: Tensor) -> tuple[float, float, np.ndarray]:
    """Centre of mass (row, column) and the matrix of second moments about it."""
    pixels = image.double().numpy()
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    mass = pixels.sum()
    down, across = (pixels * rows).sum() / mass, (pixels * columns).sum() / mass
    apart = np.stack([rows - down, columns - across])
    second = np.einsum("iyx,jyx,yx->ij", apart, apart, pixels) / mass
    return float(down), float(across), second


def tilt(image: Tensor) -> float:
    """The angle between the longest axis and the vertical, in radians."""
    _, vectors = np.linalg.eigh(moments(image)[2])
    down, across = vectors[:, 1]
    return abs(math.atan(across / down))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_changes_the_bytes_and_depends_on_the_seed_alone(
    name: str,
) -> None:
    images = bars(5)
    before = torch.get_rng_state()
    one, again, other = (corrupt(images, name, seeded(seed)) for seed in (3, 3, 4))
    assert one.dtype == torch.uint8
    assert one.shape == images.shape
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name in NOT_RANDOM)
    assert (len(one.flatten(1).unique(dim=0)) == 1) == (name in NOT_RANDOM)
    assert not torch.equal(one, images)
    assert torch.equal(images, bars(5))  # not in place
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_whatever_its_neighbours_in_the_batch_are(name: str) -> None:
    images = torch.randint(0, 256, (2, 1, 28, 28), generator=seeded(1), dtype=torch.uint8)
    among = corrupt(images, name, seeded())
    for index in range(len(images)):
        alone = torch.zeros_like(images)
        alone[index] = images[index]
        assert torch.equal(corrupt(alone, name, seeded())[index], among[index])


def test_shot_noise_has_the_mean_and_variance_of_poisson_counts() -> None:
    grey = torch.full((40, 1, 28, 28), 0.2)
    corrupted = _corruptions.shot_noise(grey, seeded())
    assert float(corrupted.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(corrupted.var()) == pytest.approx(0.2 / 3, rel=0.05)
    assert torch.allclose(corrupted * 3, (corrupted * 3).round())


def test_impulse_noise_sets_its_share_of_pixels_to_black_and_white_equally() -> None:
    grey = torch.full((40, 1, 28, 28), 0.5)
    corrupted = _corruptions.impulse_noise(grey, seeded())
    assert float((corrupted == 1).double().mean()) == pytest.approx(0.085, abs=0.006)
    assert float((corrupted == 0).double().mean()) == pytest.approx(0.085, abs=0.006)
    assert float((corrupted == 0.5).double().mean()) == pytest.approx(0.83, abs=0.01)


def test_glass_blur_moves_ink_and_keeps_its_amount() -> None:
    images = bars(4).float() / 255
    corrupted = _corruptions.glass_blur(images, seeded())
    mass = images.sum(dim=(1, 2, 3))
    torch.testing.assert_close(corrupted.sum(dim=(1, 2, 3)), mass, rtol=0.01, atol=0)
    still = _corruptions.gaussian_blur(_corruptions.gaussian_blur(images, 0.7), 0.7)
    assert float((corrupted - still).abs().max()) > 0.1


def test_motion_blur_spreads_a_point_along_a_line_within_45_degrees() -> None:
    images = torch.zeros(13, 1, 28, 28)
    images[:, :, 14, 14] = 1
    corrupted = _corruptions.motion_blur(images, seeded())
    torch.testing.assert_close(corrupted.sum(dim=(1, 2, 3)), torch.ones(13), rtol=0.05, atol=0)
    steps = np.arange(21)
    spread = np.cov(steps, aweights=np.exp(-(steps**2) / 18), ddof=0)
    for image in corrupted[:, 0]:
        across = math.pi / 2 - tilt(image)
        assert across <= math.radians(45) + 0.05
        small, large = np.linalg.eigvalsh(moments(image)[2])
        assert large > 4 * small
        assert large == pytest.approx(spread, rel=0.1)


def test_translate_moves_three_pixels_along_both_axes_in_all_four_directions() -> None:
    images = bars(24)
    down, across, _ = moments(images[0, 0])
    moved = {
        (round(one - down), round(other - across))
        for one, other, _ in (moments(x[0]) for x in corrupt(images, "translate", seeded()))
    }
    assert moved == {(3, 3), (3, -3), (-3, 3), (-3, -3)}


def test_rotate_turns_a_bar_by_four_tenths_of_a_radian_both_ways() -> None:
    corrupted = corrupt(bars(16), "rotate", seeded())
    for image in corrupted[:, 0]:
        assert tilt(image) == pytest.approx(0.4, abs=0.02)
    assert len(corrupted.flatten(1).unique(dim=0)) == 2


def test_shear_shifts_rows_sideways_and_keeps_heights() -> None:
    images = bars(16)
    _, _, before = moments(images[0, 0])
    for image in corrupt(images, "shear", seeded())[:, 0]:
        _, _, after = moments(image)
        assert after[0, 0] == pytest.approx(before[0, 0], rel=0.02)
        assert abs(after[0, 1]) / after[0, 0] == pytest.approx(0.4, abs=0.02)


def test_scale_shrinks_to_seven_tenths_about_the_middle() -> None:
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 4:24, 6:22] = 255
    down, across, before = moments(images[0, 0])
    corrupted = corrupt(images, "scale", seeded())
    new_down, new_across, after = moments(corrupted[0, 0])
    assert (new_down, new_across) == pytest.approx((down, across), abs=0.05)
    assert np.diag(after) == pytest.approx(0.49 * np.diag(before), rel=0.05)


def test_brightness_adds_a_half_and_saturates() -> None:
    images = bars()
    corrupted = corrupt(images, "brightness", seeded())
    assert set(corrupted.unique().tolist()) == {128, 255}
    assert torch.equal(corrupted == 255, images == 255)


def test_stripe_inverts_the_outer_quarters_and_is_its_own_inverse() -> None:
    images = torch.randint(0, 256, (5, 1, 28, 28), generator=seeded(), dtype=torch.uint8)
    once = corrupt(images, "stripe", seeded())
    assert torch.equal(once[..., 7:21], images[..., 7:21])
    assert torch.equal(once[..., :7], 255 - images[..., :7])
    assert torch.equal(once[..., 21:], 255 - images[..., 21:])
    assert torch.equal(corrupt(once, "stripe", seeded()), images)


def test_fog_brightens_the_background_unevenly_and_keeps_the_ink_brighter() -> None:
    images = bars()
    corrupted = corrupt(images, "fog", seeded()).float()
    ink = images == 255
    for image, where in zip(corrupted, ink, strict=True):
        assert float(image[~where].std()) > 1
        assert float(image[where].mean()) > float(image[~where].mean())
    assert float(corrupted[~ink].mean()) > 20


def test_spatter_is_one_grey_and_leaves_most_pixels() -> None:
    images = bars(40)
    corrupted = corrupt(images, "spatter", seeded())
    paper = corrupted[images == 0]
    assert 0.05 < float((paper > 0).double().mean()) < 0.6
    assert int(paper.max()) <= 63
    assert bool((corrupted[images == 255] >= 63 - 1).all())


@pytest.mark.parametrize("name", ["dotted line", "zigzag"])
def test_lines_only_add_ink(name: str) -> None:
    images = bars(40)
    corrupted = corrupt(images, name, seeded())
    assert bool((corrupted >= images).all())
    added = (corrupted.int() - images.int()).clamp_min(0) > 100
    columns = added[:, 0].any(dim=1).double().mean(dim=0)
    assert columns[[3, 10, 22]].min() > 0.4


def test_a_dotted_line_has_two_columns_on_and_two_off() -> None:
    corrupted = corrupt(torch.zeros(30, 1, 28, 28, dtype=torch.uint8), "dotted line", seeded())
    columns_on = corrupted[:, 0].amax(dim=(0, 1)) > 0
    assert columns_on.tolist() == [column // 2 % 2 == 1 for column in range(27)] + [False]


def test_a_zigzag_goes_up_and_down() -> None:
    corrupted = corrupt(torch.zeros(30, 1, 28, 28, dtype=torch.uint8), "zigzag", seeded())
    for image in corrupted[:, 0].double():
        ink = image.sum(dim=0)
        heights = (image * torch.arange(28.0)[:, None]).sum(dim=0) / ink.clamp_min(1)
        steps = heights[4:24].diff().sign()
        turns = int((steps[1:] * steps[:-1] < 0).sum())
        if float(ink[4:24].min()) > 100:  # nowhere cut by the edge
            assert turns >= 4


def test_edges_surround_a_bar_and_are_nowhere_else() -> None:
    edges = corrupt(bars(3), "canny edges", seeded())[0, 0]
    assert set(edges.unique().tolist()) == {0, 255}
    assert not edges[9:18, 13].any()  # the inside
    assert not edges[:4].any()
    assert not edges[:, 19:].any()
    assert bool((edges[10:17] > 0).sum(dim=1).eq(2).all())  # left and right, one pixel each
    assert not corrupt(torch.zeros_like(bars(2)), "canny edges", seeded()).any()


def test_edges_are_those_of_each_image_alone_and_alike_in_all_directions() -> None:
    images = bars(3)
    images[1] = images[1] // 255 * 14  # weak edges alone, between two images with strong ones
    assert corrupt(images, "canny edges", seeded()).flatten(1).any(1).tolist() == [
        True,
        False,
        True,
    ]
    noise = torch.randint(0, 256, (2, 1, 28, 28), generator=seeded(), dtype=torch.uint8)
    edges = corrupt(noise, "canny edges", seeded())
    assert torch.equal(corrupt(noise.mT, "canny edges", seeded()), edges.mT)
    assert torch.equal(corrupt(noise.flip(3), "canny edges", seeded()), edges.flip(3))


def test_a_plasma_fractal_is_smooth_periodic_and_spans_0_to_1() -> None:
    maps = diamond_square(3, seeded())
    assert torch.equal(maps.amin(dim=(1, 2)), torch.zeros(3))
    assert torch.equal(maps.amax(dim=(1, 2)), torch.ones(3))
    inside = maps.diff(dim=1).abs().mean()
    seam = (maps[:, 0] - maps[:, -1]).abs().mean()
    assert float(inside) < 0.2 * float(maps.std())
    assert float(seam) < 3 * float(inside)


def test_the_noise_of_a_plasma_fractal_falls_by_1_4_squared_per_level() -> None:
    maps = diamond_square(3, seeded())

    def noise(step: int) -> float:
        below = (maps + maps.roll(-step, 1)) / 2
        corners = (below + below.roll(-step, 2)) / 2
        half = step // 2
        centres = maps.roll((-half, -half), (1, 2))
        return float((centres - corners)[:, ::step, ::step].std())

    assert noise(4) / noise(2) == pytest.approx(1.4**2, rel=0.03)


def test_an_unknown_corruption_and_other_images_are_refused() -> None:
    assert len(CORRUPTIONS) == 15
    with pytest.raises(ConfigError, match="a corruption must be one of shot noise, "):
        corrupt(bars(), "frost", seeded())
    with pytest.raises(InputError, match=r"bytes of shape \(batch, 1, 28, 28\)"):
        corrupt(bars().float(), "fog", seeded())
    with pytest.raises(InputError, match="bytes of shape"):
        corrupt(bars()[..., :20], "fog", seeded())
