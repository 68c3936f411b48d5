import json
import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor

from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.inference import (
    EngineModel,
    Evaluation,
    evaluate,
    expected_calibration_error,
    negative_log_likelihood,
    predict_probabilities,
    wilson_interval,
)
from clearhead.models import build
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


def random_set(count: int = 53, *, classes: tuple[str, ...] = NAMES) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 14, 21), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, len(classes), (count,), generator=generator)
    return ImageDataset(name="random", images=images, labels=labels, class_names=classes)


def new_model(config: ImageModelConfig = VIT) -> ImageModel:
    torch.manual_seed(3)
    model = build(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def random_probabilities(count: int = 97) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(count, 5, generator=generator, dtype=torch.float64) * 2
    return logits.softmax(dim=1), torch.randint(0, 5, (count,), generator=generator)


def test_evaluation_counts_the_models_predictions() -> None:
    model, dataset = new_model(), random_set()
    with torch.inference_mode():
        predictions = model(normalize(dataset.images, model.config)).argmax(dim=1)
    correct = int((predictions == dataset.labels).sum())
    result = evaluate(model, dataset)
    assert 0 < correct < 53
    assert (result.correct, result.total, result.accuracy) == (correct, 53, correct / 53)
    assert result.interval == wilson_interval(correct, 53)
    assert result.class_names == NAMES
    for true in range(5):
        for predicted in range(5):
            both = (dataset.labels == true) & (predictions == predicted)
            assert result.confusion[true][predicted] == int(both.sum())


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    model, dataset = new_model().double(), random_set()
    with torch.inference_mode():
        logits = model(normalize(dataset.images, model.config).double())
    result = predict_probabilities(model, dataset.images)
    assert (result.dtype, result.requires_grad) == (torch.float64, False)
    torch.testing.assert_close(result, logits.exp() / logits.exp().sum(1, keepdim=True))
    assert predict_probabilities(model, dataset.images[:0]).shape == (0, 5)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_does_not_change_probabilities(batch_size: int) -> None:
    model, dataset = new_model(CNN), random_set()
    result = predict_probabilities(model, dataset.images, batch_size)
    torch.testing.assert_close(
        result, predict_probabilities(model, dataset.images), atol=1e-6, rtol=0
    )


def test_evaluation_in_training_mode_changes_neither_modes_nor_statistics() -> None:
    model, dataset = new_model(CNN), random_set()
    expected = predict_probabilities(model, dataset.images)
    model.train()
    frozen = next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    modes = [module.training for module in model.modules()]
    statistics = [buffer.clone() for buffer in model.buffers()]
    assert torch.equal(predict_probabilities(model, dataset.images), expected)
    with pytest.raises(InputError):
        predict_probabilities(model, torch.zeros(2, 2, 14, 21, dtype=torch.uint8))
    assert [module.training for module in model.modules()] == modes
    assert not frozen.training
    for before, buffer in zip(statistics, model.buffers(), strict=True):
        assert torch.equal(before, buffer)


def test_the_model_runs_in_its_own_number_type() -> None:
    model, dataset = new_model().to(torch.bfloat16), random_set()
    assert predict_probabilities(model, dataset.images).shape == (53, 5)


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_a_model_on_an_accelerator_gives_the_same_probabilities() -> None:
    model, dataset = new_model(), random_set()
    expected = predict_probabilities(model, dataset.images)
    device = torch.accelerator.current_accelerator()
    assert evaluate(model, dataset, device=device).total == 53
    assert next(model.parameters()).device.type == getattr(device, "type", None)
    moved = predict_probabilities(model, dataset.images)
    assert moved.device.type == "cpu"
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=0)


def test_an_engine_is_not_moved_and_an_unusable_device_is_refused() -> None:
    model, dataset = new_model(), random_set()
    ready = EngineModel(model=model, name="onnxruntime", run=model)
    assert evaluate(ready, dataset, device="cpu") == evaluate(model, dataset, device="cpu")
    with pytest.raises(ConfigError, match=r"'onnxruntime' has a copy .* on cpu, .* 'meta'"):
        evaluate(ready, dataset, device="meta")
    for device in ("abacus", torch.device("cuda", 99), 1.5):
        for either in (model, ready):
            with pytest.raises(ConfigError, match=r"device '.*' cannot be used \(.*\)$"):
                evaluate(either, dataset, device=device)  # type: ignore[arg-type]


def test_an_engine_that_cannot_be_used_is_found_before_a_data_set_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clearhead.errors.find_spec", lambda name: None)
    monkeypatch.setattr("clearhead.inference._evaluate.load_dataset", pytest.fail)
    with pytest.raises(ConfigError, match="pip install openvino"):
        evaluate(new_model(), "mnist", engine="openvino")


def test_an_evaluation_has_the_measures_of_its_probabilities() -> None:
    probabilities, labels = random_probabilities()
    result = Evaluation.from_probabilities(probabilities, labels, NAMES)
    assert result.nll == negative_log_likelihood(probabilities, labels)
    assert result.ece == expected_calibration_error(probabilities, labels)
    assert [scores.count for scores in result.per_class] == labels.bincount(minlength=5).tolist()
    assert [scores.name for scores in result.per_class] == list(NAMES)
    assert sum(row.count for row in result.reliability) == 97


def test_mistakes_are_sorted_by_confidence() -> None:
    probabilities, labels = random_probabilities()
    result = Evaluation.from_probabilities(probabilities, labels, NAMES)
    mistakes = [
        (-float(probabilities[i].max()), i)
        for i in range(97)
        if int(probabilities[i].argmax()) != int(labels[i])
    ]
    assert len(mistakes) > 32
    assert [e.index for e in result.mistakes] == [i for _, i in sorted(mistakes)[:32]]
    for example in result.mistakes:
        assert example.true == int(labels[example.index])
        assert example.predicted == int(probabilities[example.index].argmax())
        assert example.probability == float(probabilities[example.index].max())


def test_examples_are_spread_over_the_whole_set() -> None:
    result = Evaluation.from_probabilities(*random_probabilities(), NAMES)
    indices = [e.index for e in result.examples]
    assert (len(set(indices)), indices[0]) == (32, 0)
    steps = [after - before for before, after in zip(indices, [*indices[1:], 97], strict=True)]
    assert set(steps) <= {3, 4}
    small = Evaluation.from_probabilities(*random_probabilities(11), NAMES)
    assert [e.index for e in small.examples] == list(range(11))


def test_a_perfect_model_has_no_mistakes() -> None:
    result = Evaluation.from_probabilities(torch.eye(5), torch.arange(5), NAMES)
    assert (result.accuracy, result.mistakes, result.nll, result.ece) == (1.0, (), 0.0, 0.0)
    with pytest.raises(FrozenInstanceError):
        result.accuracy = 1.0  # type: ignore[misc]


def test_an_evaluation_has_json_types_a_short_repr_and_html() -> None:
    probabilities, labels = random_probabilities(13)
    labels[labels == 2] = 3
    probabilities[:, 2] = 0  # class 2 neither occurs nor is predicted: its recall is undefined
    names = ("<a>", *NAMES[1:])
    result = Evaluation.from_probabilities(probabilities, labels, names)
    data = result.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["total"] == 13
    assert data["per_class"][2]["recall"] is None
    assert len(repr(result)) < 200
    assert f"accuracy={result.accuracy:.4f}" in repr(result)
    html = result._repr_html_()
    assert f"{result.accuracy:.2%}" in html
    assert html.count("<td>") == 26
    assert "<a>" not in html


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_returns_nan_is_an_error(value: float) -> None:
    model = new_model()
    with torch.no_grad():
        model.head.bias[1] = value
    with pytest.raises(InputError, match=r"NaN or infinite logits, first for image 0;"):
        evaluate(model, random_set())


def test_images_of_another_size_are_refused() -> None:
    grey = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    labels = torch.zeros(3, dtype=torch.int64)
    other = ImageDataset(name="digits", images=grey, labels=labels, class_names=NAMES)
    expected = r"14 × 21 3-channel, digits has 28 × 28 grey images;"
    with pytest.raises(ConfigError, match=expected):
        evaluate(new_model(), other)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (NAMES[:3], r"the model has 5 classes, random has 3;"),
        (
            ("ant", "bee", "dog", "cow", "emu"),
            r"class 2 is 'cow' in the model and 'dog' in random;",
        ),
    ],
)
def test_other_classes_are_refused(classes: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate(new_model(), random_set(classes=classes))


def test_a_model_without_class_names_takes_those_of_the_data_set() -> None:
    nameless = ViTConfig(**{**SETTINGS, "class_names": ()}, patch_size=7, depth=1)  # type: ignore[arg-type]
    assert evaluate(new_model(nameless), random_set()).class_names == NAMES


def test_an_empty_data_set_and_a_batch_size_below_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size must be an integer of at least 1, got 0"):
        evaluate(new_model(), random_set(), batch_size=0)
    with pytest.raises(InputError, match="no labels"):
        evaluate(new_model(), random_set(0))


@pytest.mark.unchecked
def test_a_data_set_is_given_by_name_and_wrong_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, loaded = build(ViTConfig(depth=1)), []
    names = tuple("0123456789")
    dataset = ImageDataset("mnist", torch.zeros(2, 1, 28, 28).byte(), torch.tensor([3, 4]), names)

    def load(*arguments: object, **_: object) -> ImageDataset:
        loaded.append(arguments)
        return dataset

    monkeypatch.setattr("clearhead.inference._evaluate.load_dataset", load)
    assert evaluate(model, "mnist").total == 2
    assert loaded == [("mnist", "test")]
    with pytest.raises(InputError, match=r"ImageDataset, or the name .* got int"):
        evaluate(model, 3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"evaluate needs a model, .* clearhead.load\('digits'\)"):
        evaluate("digits", dataset)  # type: ignore[arg-type]
