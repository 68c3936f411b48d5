import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from clearhead.data.pixels import normalize
from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.errors import ImageError, InputError
from clearhead.inference._predict import SURE, UNSURE, Prediction, predict, predict_many
from clearhead.inference.prepare import prepare, reads_digits
from clearhead.models.build import build
from clearhead.models.config import CNNConfig, ImageModelConfig, ViTConfig
from clearhead.models.pretrained import ImageModel


def decided(config: ImageModelConfig, seed: int = 0) -> ImageModel:
    """A model with weights so large that its answers differ from picture to picture."""
    torch.manual_seed(seed)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return decided(ViTConfig(embed_dim=20, num_heads=5, depth=2, dropout=0.3))


def drawn(number: int) -> Image.Image:
    random = np.random.default_rng(number)
    image = Image.new("L", (61, 53), 240)
    points = random.integers(8, 45, (4, 2))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=15, width=5)
    return image


def test_the_answer_is_the_models_softmax_of_the_prepared_pixels(model: ImageModel) -> None:
    for number in range(5):
        pixels = prepare(drawn(number), model.config).pixels
        with torch.no_grad():
            logits = model(normalize(pixels[None], model.config))[0]
        expected = logits.double().softmax(dim=0)
        prediction = predict(model, drawn(number))
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
        first, second = expected.topk(2).indices.tolist()
        assert (prediction.label, prediction.runner_up) == (str(first), str(second))
        assert prediction.probability == max(prediction.probabilities)
        assert prediction.runner_up_probability == sorted(prediction.probabilities)[-2]
        assert sum(prediction.probabilities) == pytest.approx(1)


def test_many_at_once_get_the_answers_they_get_alone(model: ImageModel) -> None:
    pictures = [drawn(number) for number in range(131)]  # more than one batch
    together = predict_many(model, iter(pictures))
    assert len(together) == len(pictures)
    for picture, prediction in zip(pictures, together, strict=True):
        alone = predict(model, picture)
        assert (alone.label, alone.warnings) == (prediction.label, prediction.warnings)
        np.testing.assert_allclose(alone.probabilities, prediction.probabilities, atol=1e-6)
    assert len({prediction.probability for prediction in together}) > 120


def test_none_at_all_get_none(model: ImageModel) -> None:
    assert predict_many(model, []) == []


def test_one_bad_image_among_many_is_named(model: ImageModel) -> None:
    with pytest.raises(ImageError, match="image 2: "):
        predict_many(model, [drawn(0), drawn(1), b"no picture"])


def test_paper_alone_gets_no_answer(model: ImageModel) -> None:
    expected = Prediction(warnings=(NO_DIGIT,))
    assert predict(model, np.zeros((28, 28), dtype=np.uint8)) == expected
    assert expected.label is None
    blank, written = predict_many(model, [Image.new("L", (50, 40), 200), drawn(0)])
    assert blank == expected
    assert written.label is not None


def with_certainty(probability: float) -> ImageModel:
    """Answers "3" with this probability, and "8" with the rest."""
    model = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(-100)
        model.head.bias[3] = torch.tensor(probability).log()
        model.head.bias[8] = torch.tensor(1 - probability).log()
    return model


def test_an_unsure_answer_is_flagged() -> None:
    unsure = predict(with_certainty(SURE - 0.01), drawn(0))
    assert (unsure.label, unsure.runner_up) == ("3", "8")
    assert unsure.warnings == (UNSURE,)
    assert predict(with_certainty(SURE + 0.01), drawn(0)).warnings == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_answers_nan_is_an_error(value: float) -> None:
    broken = with_certainty(0.7)
    with torch.no_grad():
        broken.head.bias[5] = value
    with pytest.raises(InputError):
        predict(broken, drawn(0))


def test_a_model_in_training_answers_as_in_evaluation_and_stays_in_training(
    model: ImageModel,
) -> None:
    expected = predict(model, drawn(3))
    model.train()
    try:
        assert predict(model, drawn(3)) == expected
        assert model.training
        assert all(block.training for block in model.children())
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ViTConfig(), True),
        (CNNConfig(class_names=tuple("0123456789")), False),
        (CNNConfig(class_names=tuple("1234567890")), False),
        (CNNConfig(class_names=tuple("abcdefghij")), False),
        (CNNConfig(num_classes=9), False),
        (CNNConfig(in_channels=3), False),
        (CNNConfig(image_size=32), False),
    ],
)
def test_only_models_of_mnists_digits_have_pictures_made_into_them(
    config: ImageModelConfig, expected: bool
) -> None:
    assert reads_digits(config) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_other_models_get_the_whole_picture_in_their_size(channels: int) -> None:
    config = CNNConfig(
        image_size=(10, 14),
        in_channels=channels,
        num_classes=3,
        class_names=("ant", "bee", "cow"),
        widths=(5, 7),
    )
    model = decided(config)
    picture = Image.new("RGB", (28, 20), (250, 128, 3))
    prepared = prepare(picture, config)
    assert prepared.pixels.shape == (channels, 10, 14)
    colour = torch.tensor([250, 128, 3] if channels == 3 else [150])
    assert (prepared.pixels.int() - colour[:, None, None]).abs().max() <= 1
    prediction = predict(model, picture)
    assert prediction.label in config.class_names
    assert len(prediction.probabilities) == 3


def test_a_model_of_one_class_has_no_runner_up() -> None:
    prediction = predict(build(CNNConfig(num_classes=1, widths=(2,))), drawn(0))
    assert (prediction.label, prediction.probability) == ("0", 1.0)
    assert (prediction.runner_up, prediction.runner_up_probability) == (None, 0.0)


def test_a_double_precision_model_answers(model: ImageModel) -> None:
    single = predict(model, drawn(1))
    double = predict(decided(model.config).double(), drawn(1))
    assert double.label == single.label


def test_threads_can_ask_at_once(model: ImageModel) -> None:
    expected = [predict(model, drawn(number)) for number in range(8)]
    answers: dict[int, Prediction] = {}

    def ask(number: int) -> None:
        answers[number] = predict(model, drawn(number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[number].label for number in range(8)] == [one.label for one in expected]


def test_sources_of_every_kind_get_one_answer(model: ImageModel, tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    drawn(2).save(path)
    pixels = np.asarray(drawn(2))
    kinds: list[Callable[[], Any]] = [
        lambda: path,
        lambda: str(path),
        path.read_bytes,
        lambda: pixels,
        lambda: torch.from_numpy(pixels.copy())[None],
        lambda: pixels / 255,
    ]
    answers = {predict(model, kind()).label for kind in kinds}
    assert answers == {predict(model, drawn(2)).label}


def test_a_model_of_others_is_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear; .*report\.explain"):
        predict(torch.nn.Linear(2, 3), b"")  # type: ignore[arg-type]
