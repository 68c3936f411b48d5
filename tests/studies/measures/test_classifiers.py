import pytest
import torch

from clearhead.data import ImageDataset, normalize
from clearhead.models import build
from clearhead.models.config import ImageModelConfig
from clearhead.recording import capture
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on_unseen,
    train_compared_model,
    training_digits,
    unseen_digits,
)


def pictures(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def fresh(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    model = build(COMPARED_MODELS[name].config)
    for parameter in model.parameters():  # initial weights hardly do anything
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_all_contenders_have_as_many_parameters_within_one_part_in_twenty() -> None:
    sizes = [sum(x.numel() for x in fresh(name).parameters()) for name in COMPARED_MODELS]

    assert max(sizes) <= 1.05 * min(sizes)


def test_uniform_attention_gives_every_patch_the_same_and_the_vit_does_not() -> None:
    for name, expected in (("uniform", True), ("vit", False)):
        with torch.no_grad(), capture() as seen:
            fresh(name)(pictures())
        even = torch.full_like(seen[0].weights, 1 / 16)
        assert all(torch.allclose(record.weights, even) for record in seen.records) == expected


@pytest.mark.parametrize(
    ("name", "alone"),
    [("no-attention", True), ("vit", False), ("uniform", False), ("mlp", False), ("cnn", False)],
)
def test_patches_meet_nowhere_before_the_mean_only_without_attention(
    name: str, alone: bool
) -> None:
    # If each patch adds to the logits by itself, what one does cannot depend on another.
    model = fresh(name).double()
    one, other = pictures(1), pictures(2)

    def logits(first_patch: torch.Tensor, last_patch: torch.Tensor) -> torch.Tensor:
        images = pictures(3).double()
        images[..., :7, :7] = first_patch[..., :7, :7]
        images[..., 21:, 21:] = last_patch[..., 21:, 21:]
        with torch.no_grad():
            answer: torch.Tensor = model(images)
        return answer

    effect = logits(one, one) - logits(other, one)
    elsewhere = logits(one, other) - logits(other, other)

    assert (float((effect - elsewhere).norm()) < 1e-9 * float(effect.norm())) == alone


def test_a_contender_is_the_same_for_a_seed_and_another_for_another(
    mnist_train: ImageDataset,
) -> None:
    one, again, other = (
        train_compared_model("mlp", digits=130, steps=5, seed=seed) for seed in (3, 3, 4)
    )

    first, second, third = (
        torch.nn.utils.parameters_to_vector(x.parameters()) for x in (one, again, other)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not one.training


def test_it_learns_what_it_is_shown(mnist_train: ImageDataset) -> None:
    model = train_compared_model("mlp", digits=100, steps=60, seed=5)

    digits = training_digits(100, 5)
    config: ImageModelConfig = model.config
    with torch.no_grad():
        answers = model(normalize(digits.images, config)).argmax(dim=1)
    assert float((answers == digits.labels).double().mean()) > 0.9


def test_reading_is_right_answers_in_per_cent_and_their_mean_loss(
    mnist_test: ImageDataset,
) -> None:
    torch.manual_seed(2)
    model = build(COMPARED_MODELS["mlp"].config)
    digits = unseen_digits(53, 7)
    with torch.no_grad():
        logits = model(normalize(digits.images, model.config)).double()

    read = accuracy_on_unseen(model, unseen=53, seed=7)

    right = sum(int(a) == int(b) for a, b in zip(logits.argmax(1), digits.labels, strict=True))
    assert read["accuracy"] == pytest.approx(100 * right / 53)
    expected = torch.nn.functional.cross_entropy(logits, digits.labels)
    assert read["nll"] == pytest.approx(float(expected), rel=1e-5)
