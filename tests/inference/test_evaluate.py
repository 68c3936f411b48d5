import json
import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from clearhead.data.images import ImageDataset
from clearhead.data.pixels import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.inference._evaluate import (
    NUM_MISTAKES,
    NUM_SAMPLES,
    Evaluation,
    evaluate,
    predict_dataset,
)
from clearhead.inference.metrics import (
    expected_calibration_error,
    negative_log_likelihood,
    wilson_interval,
)
from clearhead.models.build import build
from clearhead.models.config import CNNConfig, ImageModelConfig, ViTConfig
from clearhead.models.pretrained import ImageModel

NAMES = ("ant", "bee", "cow", "dog", "emu")
SETTINGS = {
    "image_size": (14, 21),
    "in_channels": 3,
    "num_classes": 5,
    "class_names": NAMES,
    "mean": (0.3, 0.4, 0.5),
    "std": (0.2,),
}
VIT = ViTConfig(**SETTINGS, patch_size=7, embed_dim=12, num_heads=3, depth=1)  # type: ignore[arg-type]
CNN = CNNConfig(**SETTINGS, widths=(3, 5))  # type: ignore[arg-type]


def random_set(count: int = 53, *, classes: tuple[str, ...] = NAMES, seed: int = 0) -> ImageDataset:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 14, 21), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, len(classes), (count,), generator=generator)
    return ImageDataset(name="random", images=images, labels=labels, class_names=classes)


def new_model(config: ImageModelConfig = VIT) -> ImageModel:
    torch.manual_seed(3)
    model = build(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def random_probabilities(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(count, 5, generator=generator, dtype=torch.float64) * 2
    return logits.softmax(dim=1), torch.randint(0, 5, (count,), generator=generator)


def test_evaluation_counts_what_the_model_answers() -> None:
    model, dataset = new_model(), random_set()
    with torch.inference_mode():
        answers = model(normalize(dataset.images, model.config)).argmax(dim=1)
    right = int((answers == dataset.labels).sum())
    found = evaluate(model, dataset)
    assert 0 < right < 53
    assert (found.correct, found.total) == (right, 53)
    assert found.accuracy == right / 53
    assert found.interval == wilson_interval(right, 53)
    assert found.class_names == NAMES
    for true in range(5):
        for predicted in range(5):
            both = (dataset.labels == true) & (answers == predicted)
            assert found.confusion[true][predicted] == int(both.sum())


def test_probabilities_are_the_softmax_of_the_models_logits() -> None:
    model, dataset = new_model().double(), random_set()
    with torch.inference_mode():
        logits = model(normalize(dataset.images, model.config).double())
    found = predict_dataset(model, dataset.images)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, logits.exp() / logits.exp().sum(1, keepdim=True))


@pytest.mark.parametrize("batch_size", [1, 7, 53, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    model, dataset = new_model(CNN), random_set()
    found = predict_dataset(model, dataset.images, batch_size)
    torch.testing.assert_close(found, predict_dataset(model, dataset.images), atol=1e-6, rtol=0)


def test_parts_that_are_joined_give_the_evaluation_of_the_whole() -> None:
    model, dataset = new_model(), random_set()
    parts = [predict_dataset(model, images) for images in dataset.images.split(19)]
    joined = Evaluation.from_probabilities(torch.cat(parts), dataset.labels, NAMES)
    whole = evaluate(model, dataset)
    assert (joined.correct, joined.confusion) == (whole.correct, whole.confusion)
    assert joined.nll == pytest.approx(whole.nll, abs=1e-6)
    assert [a.index for a in joined.worst] == [a.index for a in whole.worst]


def test_a_part_without_images_has_no_probabilities() -> None:
    assert predict_dataset(new_model(), random_set().images[:0]).shape == (0, 5)


def test_every_module_gets_its_own_mode_back() -> None:
    model = new_model(CNN).train()
    frozen = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    mean = frozen.running_mean
    before = [module.training for module in model.modules()]
    statistics = [buffer.clone() for buffer in model.buffers()]
    evaluate(model, random_set())
    assert [module.training for module in model.modules()] == before
    assert frozen.running_mean is mean
    for was, buffer in zip(statistics, model.buffers(), strict=True):
        assert torch.equal(was, buffer)


def test_a_model_in_training_mode_answers_as_in_evaluation_mode() -> None:
    model, dataset = new_model(CNN), random_set()
    expected = predict_dataset(model, dataset.images)
    assert torch.equal(predict_dataset(model.train(), dataset.images), expected)


def test_the_mode_comes_back_after_an_error_too() -> None:
    model = new_model().train()
    with pytest.raises(InputError):
        predict_dataset(model, torch.zeros(2, 3, 5, 5, dtype=torch.uint8))
    assert model.training


def test_evaluation_leaves_no_gradients() -> None:
    model = new_model()
    assert not predict_dataset(model, random_set().images).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_model_runs_in_its_own_number_type(dtype: torch.dtype) -> None:
    model, dataset = new_model().to(dtype), random_set()
    assert predict_dataset(model, dataset.images).shape == (53, 5)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_a_model_on_an_accelerator_gives_the_same_probabilities() -> None:
    model, dataset = new_model(), random_set()
    expected = predict_dataset(model, dataset.images)
    device = torch.accelerator.current_accelerator()
    found = evaluate(model, dataset, device=device)
    assert next(model.parameters()).device.type == getattr(device, "type", None)
    moved = predict_dataset(model, dataset.images)
    assert moved.device.type == "cpu"
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)
    assert found.total == 53


def test_measures_of_an_evaluation_are_those_of_its_probabilities() -> None:
    probabilities, labels = random_probabilities(97)
    found = Evaluation.from_probabilities(probabilities, labels, NAMES)
    assert found.nll == negative_log_likelihood(probabilities, labels)
    assert found.ece == expected_calibration_error(probabilities, labels)
    assert [scores.count for scores in found.per_class] == labels.bincount(minlength=5).tolist()
    assert [scores.name for scores in found.per_class] == list(NAMES)
    assert sum(row.count for row in found.reliability) == 97


def test_the_worst_answers_are_the_mistakes_the_surest_first() -> None:
    probabilities, labels = random_probabilities(97)
    found = Evaluation.from_probabilities(probabilities, labels, NAMES)
    mistakes = [
        (-float(probabilities[i].max()), i)
        for i in range(97)
        if int(probabilities[i].argmax()) != int(labels[i])
    ]
    assert len(mistakes) > NUM_MISTAKES
    assert [a.index for a in found.worst] == [i for _, i in sorted(mistakes)[:NUM_MISTAKES]]
    for answer in found.worst:
        assert answer.true == int(labels[answer.index])
        assert answer.predicted == int(probabilities[answer.index].argmax())
        assert answer.probability == float(probabilities[answer.index].max())


def test_samples_are_spread_over_the_whole_set() -> None:
    probabilities, labels = random_probabilities(97)
    indices = [a.index for a in Evaluation.from_probabilities(probabilities, labels, NAMES).samples]
    assert len(set(indices)) == NUM_SAMPLES
    assert indices[0] == 0
    steps = [after - before for before, after in zip([*indices], [*indices[1:], 97], strict=True)]
    assert set(steps) <= {3, 4}


def test_a_small_set_is_sampled_whole() -> None:
    probabilities, labels = random_probabilities(11)
    found = Evaluation.from_probabilities(probabilities, labels, NAMES)
    assert [a.index for a in found.samples] == list(range(11))


def test_a_perfect_model_has_no_mistakes() -> None:
    found = Evaluation.from_probabilities(torch.eye(5), torch.arange(5), NAMES)
    assert (found.accuracy, found.worst, found.nll, found.ece) == (1.0, (), 0.0, 0.0)


def test_an_evaluation_is_plain_data_that_json_gives_back() -> None:
    probabilities, labels = random_probabilities(13)
    labels[labels == 2] = 3
    probabilities[:, 2] = 0  # a class that is neither there nor answered: nothing to divide by
    found = Evaluation.from_probabilities(probabilities, labels, NAMES).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["total"] == 13
    assert found["per_class"][2]["recall"] is None
    assert set(found) == {
        "class_names", "total", "correct", "accuracy", "interval", "nll", "ece", "per_class",
        "confusion", "reliability", "samples", "worst",
    }  # fmt: skip


def test_an_evaluation_cannot_be_changed() -> None:
    found = Evaluation.from_probabilities(torch.eye(5), torch.arange(5), NAMES)
    with pytest.raises(FrozenInstanceError):
        found.accuracy = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_answers_nonsense_is_refused(value: float) -> None:
    model = new_model()
    with torch.no_grad():
        model.head.bias[1] = value
    with pytest.raises(InputError, match=r"NaN or infinite logits, first for image 0;"):
        evaluate(model, random_set())


def test_images_of_another_size_are_refused_in_one_line() -> None:
    other = ImageDataset(
        name="digits",
        images=torch.zeros(3, 1, 28, 28, dtype=torch.uint8),
        labels=torch.zeros(3, dtype=torch.int64),
        class_names=NAMES,
    )
    expected = r"the model reads 14 × 21 3-channel images, digits has 28 × 28 grey;"
    with pytest.raises(ConfigError, match=expected) as error:
        evaluate(new_model(), other)
    assert "\n" not in str(error.value)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the model knows 5 classes, random has 3;"):
        evaluate(new_model(), random_set(classes=NAMES[:3]))


def test_classes_in_another_order_are_refused() -> None:
    names = ("ant", "bee", "dog", "cow", "emu")
    with pytest.raises(ConfigError, match=r"class 2 is 'cow' to the model and 'dog' in random;"):
        evaluate(new_model(), random_set(classes=names))


def test_a_model_without_names_takes_the_names_of_the_set() -> None:
    nameless = ViTConfig(**{**SETTINGS, "class_names": ()}, patch_size=7, depth=1)  # type: ignore[arg-type]
    assert evaluate(new_model(nameless), random_set()).class_names == NAMES


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        evaluate(new_model(), random_set(), batch_size=0)


def test_a_set_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="no labels"):
        evaluate(new_model(), random_set(0))
