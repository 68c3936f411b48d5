import pytest
import torch
from scipy.spatial.distance import jensenshannon

from clearhead.insight import Foreground
from clearhead.models import build
from clearhead.studies.measures.classifiers import COMPARED_MODELS, unseen_digits
from clearhead.studies.measures.robustness import (
    ALL_CORRUPTIONS,
    BLANK,
    GRID,
    divergence,
    loss_under,
    noisy_blanks,
    robustness,
)


def test_divergence_is_the_mean_jensen_shannon_divergence_in_bits() -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.rand(2, 3, 5, 7, generator=generator).softmax(dim=-1) for _ in range(2))

    expected = [
        jensenshannon(a.numpy(), b.numpy(), base=2) ** 2
        for a, b in zip(one.flatten(0, 2), other.flatten(0, 2), strict=True)
    ]

    assert divergence(one, other) == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert divergence(one, one) == 0
    eye = torch.eye(4).expand(1, 1, 4, 4)
    assert divergence(eye, eye.roll(1, dims=-1)) == pytest.approx(1)


@pytest.mark.usefixtures("mnist_test")
def test_noise_on_blank_patches_leaves_the_digit_unchanged() -> None:
    images = unseen_digits(30, 2).images

    noisy = noisy_blanks(images, BLANK, torch.Generator().manual_seed(3))

    blank = Foreground.of(images, GRID).background
    changed = (noisy != images)[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(3).any(dim=3)
    assert not bool(changed.flatten(1)[~blank].any())
    assert float(changed.flatten(1)[blank].double().mean()) > 0.9


@pytest.mark.parametrize("name", ["uniform", "cnn"])
@pytest.mark.usefixtures("mnist_test")
def test_uniform_attention_cannot_drift_and_a_cnn_has_none(name: str) -> None:
    torch.manual_seed(2)
    model = build(COMPARED_MODELS[name].config).eval()

    result = robustness(model, 40, 1)

    assert set(result["accuracy"]) == set(ALL_CORRUPTIONS)
    if name == "cnn":
        assert (result["drift"], result["on_blank"]) == ({}, {})
    else:
        assert all(x == pytest.approx(0, abs=1e-6) for row in result["drift"].values() for x in row)
        assert result["on_blank"]["clean"] == pytest.approx(result["on_blank"]["noisy"])
    assert result == robustness(model, 40, 1)


def test_a_loss_is_the_mean_over_corruptions() -> None:
    values = {"clean": 90.0, "accuracy": {"fog": 80.0, "shear": 60.0, "scale": 0.0}}
    assert loss_under("fog", "shear")(values) == 20.0
