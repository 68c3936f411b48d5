"""What a model loses: counts and intervals from answers computed apart, and what is refused."""

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import clearhead as ch
from clearhead.data import ImageDataset, normalize
from clearhead.errors import CaptureError, ConfigError, InputError
from clearhead.insight.ablation.ablate import Ablation, ablate
from clearhead.insight.ablation.parts import Part, every_head, every_layer, every_patch
from clearhead.insight.paired import mean_interval, paired_proportion_interval
from clearhead.insight.tokens import Grid

from ..plain_forward import oblong_images, oblong_model, plain_probabilities

LABELS = torch.arange(53) % 11


def mean_over(reference: Tensor) -> dict[tuple[int, int], Tensor]:
    means: dict[tuple[int, int], Tensor] = {}

    def keep(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        means[layer, head] = (weights @ values).mean(0)
        return weights @ values

    plain_probabilities(oblong_model(), reference, keep)
    return means


def test_counts_drops_and_intervals_are_those_of_two_sets_of_answers() -> None:
    model, images, reference = oblong_model(), oblong_images(53), oblong_images(19, seed=2)
    means = mean_over(reference)
    parts = every_head(model, images)
    found = ablate(model, images, LABELS, parts, reference=reference, batch_size=10)
    assert [one.part for one in found] == list(parts)
    before = plain_probabilities(model, images)
    for place, one in enumerate(found):

        def removed(
            layer: int, head: int, weights: Tensor, values: Tensor, place: int = place
        ) -> Tensor:
            output = weights @ values
            return means[layer, head].expand_as(output) if place == 2 * layer + head else output

        after = plain_probabilities(model, images, removed)
        lost = gained = changed = correct = 0
        falls = []
        for label, old, new in zip(LABELS.tolist(), before, after, strict=True):
            was, now = int(old.argmax()), int(new.argmax())
            lost += was == label != now
            gained += was != label == now
            changed += was != now
            correct += was == label
            falls.append(float(old[label] - new[label]))
        assert (one.lost, one.gained, one.changed) == (lost, gained, changed)
        assert (one.correct, one.total, one.method) == (correct, 53, "mean")
        assert one.drop == (lost - gained) / 53
        assert one.interval == paired_proportion_interval(lost, gained, 53)
        assert one.probability_drop == pytest.approx(sum(falls) / 53)
        assert one.probability_interval == pytest.approx(mean_interval(torch.tensor(falls)))
    assert sum(one.changed for one in found) > 10


def test_the_images_themselves_are_the_reference_by_default() -> None:
    model, images = oblong_model(), oblong_images(53)
    parts = [Part(layer="blocks.0.attn")]
    (found,) = ablate(model, images, LABELS, parts)
    assert found == ablate(model, images, LABELS, parts, reference=images)[0]
    assert found != ablate(model, images, LABELS, parts, reference=images[:5])[0]


def test_zeros_and_masks_take_no_reference() -> None:
    model, images = oblong_model(), oblong_images(53)
    grid = Grid(5, 3)
    kinds: tuple[Any, ...] = ("mean", "zero", "mask")
    drops = {
        kind: ablate(model, images, LABELS, [Part(patch=7)], method=kind, grid=grid)[0]
        for kind in kinds
    }
    assert len({one.probability_drop for one in drops.values()}) == 3
    assert {kind: one.method for kind, one in drops.items()} == {kind: kind for kind in kinds}


def test_removing_what_is_never_read_drops_nothing_exactly() -> None:
    model, images = oblong_model().float(), oblong_images(53).float()
    model.get_parameter("blocks.2.attn.proj.weight").data[:, :7] = 0.0
    (found,) = ablate(model, images, LABELS, [Part(layer="blocks.2.attn", head=0)])
    assert (found.lost, found.gained, found.changed, found.drop) == (0, 0, 0, 0.0)
    assert found.interval[0] < 0.0 < found.interval[1]
    assert found.probability_drop == 0.0
    assert found.probability_interval == (0.0, 0.0)


def test_prefix_tokens_are_no_patches() -> None:
    """With a class token, patch 0 is key 1."""
    model, images = oblong_model("class"), oblong_images(53)

    def removed(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        values = values.clone()
        values[:, 1] = 0.0
        return weights @ values

    rows = torch.arange(53)
    expected = (plain_probabilities(model, images) - plain_probabilities(model, images, removed))[
        rows, LABELS
    ].mean()
    (found,) = ablate(model, images, LABELS, [Part(patch=0)], method="zero", grid=Grid(5, 3, 1))
    assert found.probability_drop == pytest.approx(float(expected))


def test_the_same_call_gives_the_same_and_leaves_the_model_as_it_was() -> None:
    model, images = oblong_model().train(), oblong_images(53)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    grid = Grid(5, 3)
    parts = [*every_layer(model, images), *every_patch(grid)[:2]]
    first = ablate(model, images, LABELS, parts, grid=grid)
    assert first == ablate(model, images, LABELS, parts, grid=grid)
    assert model.training
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_labels_may_be_bytes() -> None:
    model, images = oblong_model(), oblong_images(53)
    assert ablate(model, images, LABELS.byte(), [Part()]) == ablate(model, images, LABELS, [Part()])


def test_a_wider_confidence_gives_wider_intervals() -> None:
    model, images = oblong_model(), oblong_images(53)
    (usual,) = ablate(model, images, LABELS, [Part()])
    (wide,) = ablate(model, images, LABELS, [Part()], confidence=0.99)
    assert wide.interval == paired_proportion_interval(wide.lost, wide.gained, 53, 0.99)
    assert usual.probability_interval is not None
    assert wide.probability_interval is not None
    assert wide.probability_interval[0] < usual.probability_interval[0]


def test_progress_counts_the_parts() -> None:
    told: list[tuple[int, int]] = []
    model, images = oblong_model(), oblong_images(3)
    ablate(
        model, images, LABELS[:3], every_layer(model, images), progress=lambda *x: told.append(x)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_one_image_has_no_interval_of_its_mean() -> None:
    (found,) = ablate(oblong_model(), oblong_images(1), LABELS[:1], [Part()])
    assert found.total == 1
    assert found.probability_interval is None


def test_a_model_that_answers_with_an_object_is_ablated_as_well() -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=20,
        patch_size=5,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=17,
        num_labels=7,  # type: ignore[call-arg]
        initializer_range=0.5,
    )
    model: nn.Module = transformers.ViTForImageClassification(config)
    images = torch.randn(13, 3, 20, 20)
    parts = every_head(model, images)
    assert len({part.layer for part in parts}) == 2
    assert len(parts) == 6
    found = ablate(model, images, torch.arange(13) % 7, parts)
    assert all(one.probability_drop != 0.0 for one in found)


def test_an_ablation_reads_as_a_sentence() -> None:
    one = Ablation(
        part=Part(layer="blocks.3.attn", head=1),
        method="mean",
        total=2000,
        correct=1986,
        lost=12,
        gained=2,
        changed=15,
        drop=0.005,
        interval=(0.0012, 0.0093),
        probability_drop=0.004,
        probability_interval=None,
    )
    assert str(one) == (
        "without head 1 of blocks.3.attn (mean): accuracy falls by +0.50% (+0.12% to +0.93%), "
        "12 lost and 2 gained of 2000"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "median"}, ConfigError, "one of mean, zero, mask"),
        ({"method": "mask"}, ConfigError, "patches only"),
        ({"labels": LABELS[:2]}, InputError, "3 images"),
        ({"labels": torch.tensor([0, 1, 11])}, InputError, "0 … 10"),
        ({"parts": [Part(layer="blocks.7.attn")]}, CaptureError, "blocks.0.attn"),
        ({"parts": [Part(patch=0)]}, ConfigError, "grid="),
        ({"parts": [Part(patch=0)], "grid": Grid(4, 4)}, InputError, "15 tokens"),
        ({"confidence": 95}, ConfigError, "between 0 and 1"),
        ({"images": oblong_images(0), "labels": LABELS[:0]}, InputError, "no images"),
    ],
)
def test_what_cannot_work_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {
        "images": oblong_images(3),
        "labels": LABELS[:3],
        "parts": [Part()],
    } | options
    with pytest.raises(error, match=message):
        ablate(oblong_model(), **given)


def test_the_shipped_reader_needs_its_attention_and_no_single_head(
    mnist_test: ImageDataset,
) -> None:
    model = ch.load()
    images = normalize(mnist_test.images[:200], model.config)
    labels = mnist_test.labels[:200]
    whole, one = ablate(model, images, labels, [Part(), Part(layer="blocks.5.attn", head=1)])
    assert whole.drop > 0.5
    assert whole.interval[0] > 0.5
    assert abs(one.drop) < 0.05
