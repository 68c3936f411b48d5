import math

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.data import corruptions
from clearhead.data.corruptions import CORRUPTIONS, corrupt
from clearhead.data.noise_maps import diamond_square, plasma
from clearhead.errors import ConfigError, InputError

DRAWN_FROM_NOTHING = {"scale", "brightness", "stripe", "canny edges"}


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def bars(count: int = 11) -> Tensor:
    """A thick upright bar, a little off the middle."""
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


def lean(image: Tensor) -> float:
    """The angle of the longest axis against the upright, in radians."""
    _, vectors = np.linalg.eigh(moments(image)[2])
    down, across = vectors[:, 1]
    return abs(math.atan(across / down))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_gives_other_bytes_of_the_same_shape_and_the_same_for_a_seed(
    name: str,
) -> None:
    images = bars()
    before = torch.get_rng_state()

    one, again, other = (corrupt(images, name, drawn(seed)) for seed in (3, 3, 4))

    assert one.dtype == torch.uint8
    assert one.shape == images.shape
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name in DRAWN_FROM_NOTHING)
    assert not torch.equal(one, images)
    assert torch.equal(images, bars())  # not in place
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - DRAWN_FROM_NOTHING))
def test_images_of_one_batch_are_spoilt_differently(name: str) -> None:
    spoilt = corrupt(bars(), name, drawn())

    assert len(spoilt.flatten(1).unique(dim=0)) > 1


def test_there_are_the_fifteen_of_the_published_set() -> None:
    assert len(CORRUPTIONS) == 15


def test_shot_noise_keeps_the_mean_has_poisson_variance_and_comes_in_thirds() -> None:
    grey = torch.full((40, 1, 28, 28), 0.2)

    spoilt = corruptions.shot_noise(grey, drawn())

    assert float(spoilt.mean()) == pytest.approx(0.2, abs=0.01)
    assert float(spoilt.var()) == pytest.approx(0.2 / 3, rel=0.05)
    assert torch.allclose(spoilt * 3, (spoilt * 3).round())


def test_impulse_noise_sets_its_share_of_pixels_to_black_and_white_alike() -> None:
    grey = torch.full((40, 1, 28, 28), 0.5)

    spoilt = corruptions.impulse_noise(grey, drawn())

    assert float((spoilt == 1).double().mean()) == pytest.approx(0.085, abs=0.006)
    assert float((spoilt == 0).double().mean()) == pytest.approx(0.085, abs=0.006)
    assert float((spoilt == 0.5).double().mean()) == pytest.approx(0.83, abs=0.01)


def test_glass_blur_moves_ink_and_loses_none() -> None:
    images = bars().float() / 255

    spoilt = corruptions.glass_blur(images, drawn())

    mass = images.sum(dim=(1, 2, 3))
    torch.testing.assert_close(spoilt.sum(dim=(1, 2, 3)), mass, rtol=0.01, atol=0)
    still = corruptions.gaussian_blur(corruptions.gaussian_blur(images, 0.7), 0.7)
    assert float((spoilt - still).abs().max()) > 0.1


def test_motion_blur_spreads_a_point_along_a_line_within_45_degrees() -> None:
    images = torch.zeros(13, 1, 28, 28)
    images[:, :, 14, 14] = 1

    spoilt = corruptions.motion_blur(images, drawn())

    torch.testing.assert_close(spoilt.sum(dim=(1, 2, 3)), torch.ones(13), rtol=0.05, atol=0)
    for image in spoilt[:, 0]:
        across = math.pi / 2 - lean(image)
        assert across <= math.radians(45) + 0.05
        small, large = np.linalg.eigvalsh(moments(image)[2])
        assert large > 4 * small


def test_translate_moves_three_pixels_along_both_axes_in_all_four_directions() -> None:
    images = bars(24)
    down, across, _ = moments(images[0, 0])

    moved = {
        (round(one - down), round(other - across))
        for one, other, _ in (moments(x[0]) for x in corrupt(images, "translate", drawn()))
    }

    assert moved == {(3, 3), (3, -3), (-3, 3), (-3, -3)}


def test_rotate_leans_a_bar_by_four_tenths_of_a_radian_both_ways() -> None:
    spoilt = corrupt(bars(16), "rotate", drawn())

    for image in spoilt[:, 0]:
        assert lean(image) == pytest.approx(0.4, abs=0.02)
    assert len(spoilt.flatten(1).unique(dim=0)) == 2


def test_shear_pushes_rows_sideways_and_leaves_heights() -> None:
    images = bars(16)
    _, _, before = moments(images[0, 0])

    for image in corrupt(images, "shear", drawn())[:, 0]:
        _, _, after = moments(image)
        assert after[0, 0] == pytest.approx(before[0, 0], rel=0.02)
        assert abs(after[0, 1]) / after[0, 0] == pytest.approx(0.4, abs=0.02)


def test_scale_shrinks_to_seven_tenths_about_the_middle() -> None:
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 4:24, 6:22] = 255
    down, across, before = moments(images[0, 0])

    spoilt = corrupt(images, "scale", drawn())

    new_down, new_across, after = moments(spoilt[0, 0])
    assert (new_down, new_across) == pytest.approx((down, across), abs=0.05)
    assert np.diag(after) == pytest.approx(0.49 * np.diag(before), rel=0.05)


def test_brightness_adds_half_and_stops_at_white() -> None:
    images = bars()

    spoilt = corrupt(images, "brightness", drawn())

    assert set(spoilt.unique().tolist()) == {128, 255}
    assert torch.equal(spoilt == 255, images == 255)


def test_stripe_inverts_the_outer_quarters_and_twice_is_nothing() -> None:
    images = torch.randint(0, 256, (5, 1, 28, 28), generator=drawn(), dtype=torch.uint8)

    once = corrupt(images, "stripe", drawn())

    assert torch.equal(once[..., 7:21], images[..., 7:21])
    assert torch.equal(once[..., :7], 255 - images[..., :7])
    assert torch.equal(once[..., 21:], 255 - images[..., 21:])
    assert torch.equal(corrupt(once, "stripe", drawn()), images)


def test_fog_lifts_paper_unevenly_and_keeps_ink_above_it() -> None:
    images = bars()

    spoilt = corrupt(images, "fog", drawn()).float()

    ink = images == 255
    for image, where in zip(spoilt, ink, strict=True):
        assert float(image[~where].std()) > 1
        assert float(image[where].mean()) > float(image[~where].mean())
    assert float(spoilt[~ink].mean()) > 20


def test_spatter_paints_one_grey_and_leaves_most_pixels() -> None:
    images = bars(40)

    spoilt = corrupt(images, "spatter", drawn())

    paper = spoilt[images == 0]
    assert 0.05 < float((paper > 0).double().mean()) < 0.6
    assert int(paper.max()) <= 63
    assert bool((spoilt[images == 255] >= 63 - 1).all())


@pytest.mark.parametrize("name", ["dotted line", "zigzag"])
def test_lines_only_add_ink(name: str) -> None:
    images = bars(40)

    spoilt = corrupt(images, name, drawn())

    assert bool((spoilt >= images).all())
    added = (spoilt.int() - images.int()).clamp_min(0) > 100
    columns = added[:, 0].any(dim=1).double().mean(dim=0)
    assert columns[[3, 10, 22]].min() > 0.4


def test_a_dotted_line_has_two_columns_drawn_and_two_not() -> None:
    spoilt = corrupt(torch.zeros(30, 1, 28, 28, dtype=torch.uint8), "dotted line", drawn())

    drawn_columns = spoilt[:, 0].amax(dim=(0, 1)) > 0
    assert drawn_columns.tolist() == [column // 2 % 2 == 1 for column in range(27)] + [False]


def test_a_zigzag_goes_up_and_down() -> None:
    spoilt = corrupt(torch.zeros(30, 1, 28, 28, dtype=torch.uint8), "zigzag", drawn())

    for image in spoilt[:, 0].double():
        ink = image.sum(dim=0)
        heights = (image * torch.arange(28.0)[:, None]).sum(dim=0) / ink.clamp_min(1)
        steps = heights[4:24].diff().sign()
        turns = int((steps[1:] * steps[:-1] < 0).sum())
        if float(ink[4:24].min()) > 100:  # nowhere cut by the edge
            assert turns >= 4


def test_edges_run_round_a_bar_and_nowhere_else() -> None:
    edges = corrupt(bars(3), "canny edges", drawn())[0, 0]

    assert set(edges.unique().tolist()) == {0, 255}
    assert not edges[9:18, 13].any()  # the inside
    assert not edges[:4].any()
    assert not edges[:, 19:].any()
    assert bool((edges[10:17] > 0).sum(dim=1).eq(2).all())  # left and right, one pixel each


def test_edges_of_blank_paper_are_none() -> None:
    paper = torch.zeros(2, 1, 28, 28, dtype=torch.uint8)

    assert not corrupt(paper, "canny edges", drawn()).any()


def test_a_plasma_fractal_is_smooth_spans_0_to_1_and_wraps_round() -> None:
    maps = diamond_square(3, 1.4, drawn())

    assert torch.equal(maps.amin(dim=(1, 2)), torch.zeros(3))
    assert torch.equal(maps.amax(dim=(1, 2)), torch.ones(3))
    inside = maps.diff(dim=1).abs().mean()
    seam = (maps[:, 0] - maps[:, -1]).abs().mean()
    assert float(inside) < 0.2 * float(maps.std())
    assert float(seam) < 3 * float(inside)


def test_windows_of_one_map_differ() -> None:
    windows = plasma(7, 28, 1.4, drawn())

    assert windows.shape == (7, 28, 28)
    assert len(windows.flatten(1).unique(dim=0)) == 7


def test_an_unknown_corruption_and_other_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no corruption 'frost'; there is shot noise"):
        corrupt(bars(), "frost", drawn())
    with pytest.raises(InputError, match=r"bytes of shape \(batch, 1, 28, 28\)"):
        corrupt(bars().float(), "fog", drawn())
    with pytest.raises(InputError, match="bytes of shape"):
        corrupt(bars()[..., :20], "fog", drawn())
