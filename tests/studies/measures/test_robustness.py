import pytest
import torch

from clearhead.data import corrupt, normalize
from clearhead.insight import Foreground
from clearhead.models import ImageModel, VisionTransformer, build, load
from clearhead.recording import capture
from clearhead.studies.measures.classifiers import COMPARED_MODELS, unseen_digits
from clearhead.studies.measures.robustness import (
    BLANK,
    GRID,
    noisy_blanks,
    on_patches,
    relevance_of_neighbours,
    relevance_of_twins,
    robustness,
)
from clearhead.studies.measures.tasks import common_digits
from clearhead.training.batches import generator_for


@pytest.mark.usefixtures("mnist_test")
def test_noise_on_blank_patches_leaves_the_digit_unchanged() -> None:
    images = unseen_digits(30, 2).images

    noisy = noisy_blanks(images, BLANK, torch.Generator().manual_seed(3))

    blank = Foreground.of(images, GRID).background
    changed = (noisy != images)[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(3).any(dim=3)
    assert not bool(changed.flatten(1)[~blank].any())
    assert float(changed.flatten(1)[blank].double().mean()) > 0.9


@pytest.mark.usefixtures("mnist_test")
def test_falls_are_counted_among_the_images_that_all_models_classify_correctly() -> None:
    digits = unseen_digits(30, 4)
    models: dict[str, ImageModel] = {"vit": load(), "other": load()}
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in models["other"].parameters():
            if weight.dim() > 1:
                weight.add_(0.8 * weight.std() * torch.randn_like(weight))

    found = robustness(models, digits, 4, ("impulse noise", BLANK))

    def correct(name: str, images: torch.Tensor) -> torch.Tensor:
        model = models[name]
        with torch.no_grad():
            right: torch.Tensor = model(normalize(images, model.config)).argmax(1) == digits.labels
        return right

    clean = {name: correct(name, digits.images) for name in models}
    common = clean["vit"] & clean["other"]
    assert found["common"] == pytest.approx(float(common.double().mean()))
    assert 0 < found["common"] < 1
    noisy = corrupt(digits.images, "impulse noise", generator_for("corruption", "impulse noise", 4))
    patches = Foreground.of(digits.images, GRID).background
    with torch.no_grad(), capture() as recording:
        models["other"](normalize(digits.images, models["other"].config))
    expected = on_patches([x.weights for x in recording.records], patches)
    assert found["on_blank"]["other"]["clean"] == pytest.approx(expected, rel=1e-5)
    assert found["on_blank"]["other"]["noisy"] != found["on_blank"]["other"]["clean"]
    for name in models:
        assert found["clean"][name] == pytest.approx(100 * float(clean[name].double().mean()))
        expected = 100 * float((~correct(name, noisy))[common].double().mean())
        assert found["falls"][name]["impulse noise"] == pytest.approx(expected)


@pytest.mark.usefixtures("mnist_test")
def test_uniform_attention_stays_on_noisy_patches_and_a_cnn_has_none() -> None:
    digits = unseen_digits(40, 4)
    models = {name: untrained(name) for name in ("uniform", "cnn")}

    found = robustness(models, digits, 4, ("impulse noise", BLANK))

    assert set(found["on_blank"]) == {"uniform"}
    blank = Foreground.of(digits.images, GRID).background.double().mean()
    assert found["on_blank"]["uniform"]["noisy"] == pytest.approx(100 * float(blank), rel=1e-5)
    assert found == robustness(models, digits, 4, ("impulse noise", BLANK))


@pytest.mark.usefixtures("mnist_test")
def test_neighbours_with_ink_and_blank_ones_are_distinguished() -> None:
    digits, model = unseen_digits(20, 4), load()

    found = relevance_of_neighbours(model, digits)

    weights = mean_weights(model, digits.images)
    ink, totals = Foreground.of(digits.images, GRID), {"inked": [], "blank": []}  # type: ignore[var-annotated]
    for image, query in ink.mask.nonzero().tolist():
        for key in range(16):
            apart = max(abs(query // 4 - key // 4), abs(query % 4 - key % 4))
            kinds = {"inked": ink.mask, "blank": ink.background}
            for name, mask in kinds.items():
                if apart == 1 and mask[image, key]:
                    totals[name].append(float(weights[image, query, key]))
    for name, numbers in totals.items():
        assert found[name] == pytest.approx(100 * sum(numbers) / len(numbers), rel=1e-5)


@pytest.mark.usefixtures("mnist_test")
def test_twins_are_the_digits_of_the_label_in_both_halves() -> None:
    images, model = common_digits("test", 10, 2), load()

    found = relevance_of_twins(model, images)

    weights = mean_weights(model, images.dataset.images)
    twins: list[float] = []
    others: list[float] = []
    for image, label in enumerate(images.dataset.labels.tolist()):
        classes, places = images.classes[image], images.places[image]
        for half in (0, 1):
            (query,) = places[half][classes[half] == label].tolist()
            for key, kind in zip(
                places[1 - half].tolist(), classes[1 - half].tolist(), strict=True
            ):
                (twins if kind == label else others).append(float(weights[image, query, key]))
    assert (len(twins), len(others)) == (20, 40)
    assert found["twin"] == pytest.approx(100 * sum(twins) / 20, rel=1e-5)
    assert found["others"] == pytest.approx(100 * sum(others) / 40, rel=1e-5)


def untrained(name: str) -> ImageModel:
    torch.manual_seed(2)
    return build(COMPARED_MODELS[name].config).eval()


def mean_weights(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), capture() as recording:
        model(normalize(images, model.config))
    return torch.stack([x.weights.mean(dim=1) for x in recording.records]).mean(dim=0)
