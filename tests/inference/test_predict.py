import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import get_data_path
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from clearhead.data import ImageDataset, normalize
from clearhead.data.preprocessing.digits import NO_DIGIT, SEVERAL, SLASH, TOO_SMALL
from clearhead.errors import ConfigError, ImageError, InputError
from clearhead.inference import (
    LOW_CONFIDENCE,
    NOT_CALIBRATED,
    NOT_RECOGNISED,
    Prediction,
    _predict,
    certainty_features,
    certainty_of,
    evaluation_mode,
    fit_certainty,
    predict,
    predict_each,
    prediction_of,
    prepare,
    soften,
    uses_digit_preprocessing,
)
from clearhead.inference._prediction import (
    TOUCHING,
    combine,
    one_or_several,
    one_or_touching,
)
from clearhead.models import build, load
from clearhead.models.config import CNNConfig, ImageModelConfig, TextConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from tests.data.preprocessing.scenes import enlarged


def random_model(config: ImageModelConfig) -> ImageModel:
    """Weights large enough that predictions differ from picture to picture."""
    torch.manual_seed(0)
    model = build(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def constant_model(
    probability: float, doubtful_below: float = 0.6, rejected_below: float = 0.0
) -> ImageModel:
    """Predicts "3" with this probability, and "8" with the rest."""
    model = build(
        CNNConfig(widths=(2,), doubtful_below=doubtful_below, rejected_below=rejected_below)
    )
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.fill_(-100)
        model.head.bias[3] = torch.tensor(probability).log()
        model.head.bias[8] = torch.tensor(1 - probability).log()
    return model


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return random_model(ViTConfig(embed_dim=20, num_heads=5, depth=2, dropout=0.3))


def drawn(number: int) -> Image.Image:
    random = np.random.default_rng(number)
    image = Image.new("L", (61, 53), 240)
    points = random.integers(8, 45, (4, 2))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=15, width=5)
    return image


def test_prediction_is_the_softmax_of_the_logits_of_the_preprocessed_picture(
    model: ImageModel,
) -> None:
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


def test_an_iterable_gives_a_list_with_the_predictions_of_single_calls(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_predict, "BATCH_SIZE", 11)
    pictures = [drawn(number) for number in range(9)] * 3  # more than two batches
    pictures[1] = Image.new("L", (50, 40), 200)
    together = predict(model, iter(pictures))
    assert len(together) == len(pictures)
    for number in (*range(9), 26):
        alone = predict(model, pictures[number])
        assert (alone.label, alone.warnings) == (together[number].label, together[number].warnings)
        np.testing.assert_allclose(alone.probabilities, together[number].probabilities, atol=1e-6)
    assert predict(model, []) == predict(model, (drawn(n) for n in range(0))) == []


def test_an_unreadable_picture_among_many_is_named_by_its_position(model: ImageModel) -> None:
    with pytest.raises(ImageError, match="image 2: "):
        predict(model, [drawn(0), drawn(1), b"no picture"])


def test_blank_paper_has_no_label(model: ImageModel) -> None:
    blank = predict(model, np.zeros((28, 28), dtype=np.uint8))
    assert blank == Prediction(class_names=tuple("0123456789"), warnings=(NO_DIGIT,))
    assert (blank.label, blank.status) == (None, "rejected")


def test_every_kind_of_source_gives_the_same_prediction(model: ImageModel, tmp_path: Path) -> None:
    path = tmp_path / "digit.png"
    drawn(2).save(path)
    pixels = np.asarray(drawn(2))
    sources: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        memoryview(path.read_bytes()),
        pixels,
        torch.from_numpy(pixels.copy())[None],
        pixels / 255,
    ]
    expected = predict(model, drawn(2)).label
    assert [predict(model, source).label for source in sources] == [expected] * len(sources)


def test_an_open_file_is_not_an_iterable_of_pictures(model: ImageModel) -> None:
    for content in (b"", b"two\nlines"):
        with pytest.raises(ImageError, match=r"an image is a path, .* got BytesIO"):
            predict(model, BytesIO(content))


def test_no_prediction_is_confident_without_calibration() -> None:
    prediction = predict(constant_model(0.999, doubtful_below=1.0), drawn(2))
    assert (prediction.status, prediction.warnings) == ("doubtful", (NOT_CALIBRATED,))
    assert prediction.label == "3"


@pytest.mark.parametrize(
    ("probability", "status", "warnings"),
    [
        (0.81, "confident", ()),
        (0.79, "doubtful", (LOW_CONFIDENCE,)),
        (0.71, "doubtful", (LOW_CONFIDENCE,)),
        (0.69, "rejected", (NOT_RECOGNISED,)),
    ],
)
def test_the_thresholds_of_the_model_decide_the_status(
    probability: float, status: str, warnings: tuple[str, ...]
) -> None:
    model = constant_model(probability, doubtful_below=0.8, rejected_below=0.7)
    prediction = predict(model, drawn(2))
    assert (prediction.status, prediction.warnings) == (status, warnings)
    assert max(prediction.probabilities) == pytest.approx(probability)
    labels = (prediction.label, prediction.runner_up)
    assert labels == ((None, None) if status == "rejected" else ("3", "8"))


@pytest.mark.parametrize(("side", "status"), [(13, "doubtful"), (30, "rejected")])
def test_a_digit_of_very_few_pixels_is_not_rejected(side: int, status: str) -> None:
    picture = drawn(0).resize((side, side), Image.Resampling.BOX)
    assert predict(constant_model(0.7, 0.8, 0.75), picture).status == status


def test_a_warning_of_the_preprocessing_makes_a_prediction_doubtful() -> None:
    dot = np.zeros((100, 100), dtype=np.uint8)
    dot[48:51, 50:52] = 255
    prediction = predict(constant_model(0.9), dot)
    assert (prediction.label, prediction.warnings) == ("3", (TOO_SMALL,))
    assert prediction.status == "doubtful"
    assert predict(constant_model(0.7, 0.8, 0.75), dot).status == "rejected"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ViTConfig(), True),
        (CNNConfig(class_names=tuple("0123456789")), False),
        (CNNConfig(class_names=tuple("abcdefghij")), False),
        (CNNConfig(num_classes=9), False),
        (CNNConfig(in_channels=3), False),
        (CNNConfig(image_size=32), False),
    ],
)
def test_only_models_of_mnist_use_digit_preprocessing(
    config: ImageModelConfig, expected: bool
) -> None:
    assert uses_digit_preprocessing(config) == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_the_input_of_other_models_is_the_whole_picture(channels: int) -> None:
    config = CNNConfig(
        image_size=(10, 14),
        in_channels=channels,
        num_classes=3,
        class_names=("ant", "bee", "cow"),
        widths=(5, 7),
    )
    picture = Image.new("RGB", (28, 20), (250, 128, 3))
    prepared = prepare(picture, config)
    assert prepared.pixels.shape == (channels, 10, 14)
    colour = torch.tensor([250, 128, 3] if channels == 3 else [150])
    assert (prepared.pixels.int() - colour[:, None, None]).abs().max() <= 1
    prediction = predict(random_model(config), picture)
    assert prediction.label in config.class_names == prediction.class_names
    assert len(prediction.probabilities) == 3
    assert (prediction.box, prediction.digits) == (None, ())


def test_a_model_of_two_channels_takes_no_pictures() -> None:
    with pytest.raises(ConfigError, match=r"1 channel .* or 3 .*, got 2"):
        predict(build(CNNConfig(in_channels=2, widths=(2,))), drawn(0))
    with pytest.raises(ConfigError, match="num_workers must be an integer of at least 0, got -1"):
        predict(build(CNNConfig(widths=(2,))), [drawn(0)], num_workers=-1)


def test_a_model_of_one_class_has_no_runner_up() -> None:
    prediction = predict(build(CNNConfig(num_classes=1, widths=(2,))), drawn(0))
    assert (prediction.label, prediction.probability) == ("0", 1.0)
    assert (prediction.runner_up, prediction.runner_up_probability) == (None, 0.0)


def test_predict_works_in_many_threads_and_in_double_precision(model: ImageModel) -> None:
    expected = [predict(model, drawn(number)).label for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        threaded = [p.label for p in pool.map(lambda n: predict(model, drawn(n)), range(8))]
    double = [
        p.label for p in predict(random_model(model.config).double(), [drawn(n) for n in range(8)])
    ]
    assert threaded == double == expected


def test_a_model_of_another_library_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear; .*explain"):
        predict(nn.Linear(2, 3), b"")  # type: ignore[call-overload]
    text_model = build(TextConfig(vocabulary=("cat",)))
    with pytest.raises(InputError, match=r"text model .*TextTransformer; for a text use .*explain"):
        predict(text_model, b"")  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"load it first: clearhead\.load\('digits'\)"):
        predict("digits", b"")  # type: ignore[call-overload]


PROBABILITIES = st.lists(st.integers(1, 50), min_size=3, max_size=3, unique=True)


@given(st.lists(PROBABILITIES, min_size=2, max_size=4))
def test_the_texts_of_several_digits_are_the_two_most_probable(counts: list[list[int]]) -> None:
    rows = [[count / sum(row) for count in row] for row in counts]
    pixels = torch.zeros(1, 2, 2, dtype=torch.uint8)
    digits = [
        prediction_of(row, ("a", "b", "c"), (), pixels, doubtful_below=0.4, rejected_below=0.0)
        for row in rows
    ]
    combined = combine(digits)
    texts = {
        "".join("abc"[index] for index in indices): prod(
            row[index] for row, index in zip(rows, indices, strict=True)
        )
        for indices in product(range(3), repeat=len(rows))
    }
    best, second = sorted(texts, key=lambda text: -texts[text])[:2]
    assert (combined.label, combined.digits) == (best, tuple(digits))
    assert combined.probability == pytest.approx(texts[best])
    assert combined.runner_up is not None
    assert combined.runner_up_probability == pytest.approx(texts[second])
    assert texts[combined.runner_up] == pytest.approx(texts[second])  # two texts may be equal
    assert (combined.status == "doubtful") == any(max(row) < 0.4 for row in rows)


def test_a_rejected_digit_among_several_is_a_question_mark() -> None:
    def digit(*row: float) -> Prediction:
        pixels = torch.zeros(1, 2, 2, dtype=torch.uint8)
        return prediction_of(row, ("a", "b"), (), pixels, doubtful_below=0.6, rejected_below=0.55)

    combined = combine([digit(0.9, 0.1), digit(0.5, 0.5), digit(0.3, 0.7)])
    assert (combined.label, combined.runner_up, combined.status) == ("a?b", "a?a", "doubtful")
    assert combined.probability == pytest.approx(0.63)
    assert combined.warnings == (NOT_RECOGNISED,)
    nothing = combine([digit(0.5, 0.5)] * 2)
    assert (nothing.label, nothing.status, len(nothing.digits)) == (None, "rejected", 2)


@pytest.mark.parametrize(
    ("whole", "parts", "label", "status"),
    [
        ("confident", ("rejected", "rejected"), "w", "confident"),
        ("confident", ("confident", "rejected"), "w", "confident"),
        ("confident", ("confident", "doubtful"), "w", "confident"),
        ("confident", ("confident", "confident"), "ab", "doubtful"),  # one digit or two?
        ("doubtful", ("rejected", "rejected"), "w", "doubtful"),
        ("doubtful", ("confident", "rejected"), "a?", "doubtful"),
        ("doubtful", ("confident", "confident"), "ab", "confident"),
        ("rejected", ("confident", "confident"), "ab", "confident"),
        ("rejected", ("rejected", "rejected"), None, "rejected"),
    ],
)
def test_parts_that_are_not_all_digits_may_be_pieces_of_one(
    whole: str, parts: tuple[str, str], label: str | None, status: str
) -> None:
    def prediction(status: str, name: str) -> Prediction:
        return Prediction(
            label=None if status == "rejected" else name,
            probability=0.9,
            warnings=() if status == "confident" else ("?",),
        )

    digits = [
        replace(prediction(status, name), box=box)
        for status, name, box in zip(parts, "ab", ((0, 0, 5, 9), (6, 0, 9, 9)), strict=True)
    ]
    chosen = one_or_several(prediction(whole, "w"), digits)
    assert (chosen.label, chosen.status) == (label, status)
    assert chosen.digits == (() if label == "w" else tuple(digits))
    assert (SEVERAL in chosen.warnings) == (whole == "confident" and label == "ab")


def test_pieces_one_above_the_other_are_one_digit_if_both_results_are_confident() -> None:
    whole = Prediction(label="5", probability=0.9)
    digits = [Prediction(label="1", box=(0, 0, 9, 4)), Prediction(label="3", box=(2, 5, 8, 9))]
    chosen = one_or_several(whole, digits)
    assert (chosen.label, chosen.warnings) == ("5", (SEVERAL,))


def test_slashes_and_brackets_in_a_text_are_left_out_with_a_warning() -> None:
    one, slash, two = Prediction(label="1"), Prediction(label="1"), Prediction(label="2")
    slash = replace(slash, warnings=(SLASH,))
    chosen = one_or_several(Prediction(), [one, slash, two])
    assert (chosen.label, chosen.status, chosen.warnings) == ("12", "doubtful", (SLASH,))
    assert one_or_several(Prediction(), [slash, two]).label == "2"
    assert one_or_several(Prediction(), [slash, slash]).label == "11"


def touching(first: Tensor, second: Tensor, overlap: int = 0) -> ndarray:
    """Two digits on paper, the second moved to the left until it touches, and then by `overlap`."""
    inks = [enlarged(digit.numpy(), 80) for digit in (first, second)]
    sheet = np.zeros((160, 300))
    sheet[40 : 40 + inks[0].shape[0], 40 : 40 + inks[0].shape[1]] = inks[0]
    left = 40 + inks[0].shape[1]
    while True:
        place = sheet[40 : 40 + inks[1].shape[0], left : left + inks[1].shape[1]]
        if ((place > 0.5) & (inks[1] > 0.5)).any():
            left -= overlap
            place = sheet[40 : 40 + inks[1].shape[0], left : left + inks[1].shape[1]]
            np.maximum(place, inks[1], out=place)
            return np.asarray(230 - 200 * sheet, dtype=np.uint8)
        left -= 1


def test_digits_that_touch_are_separated(mnist_train: ImageDataset) -> None:
    model = load()
    fours, sevens = (np.flatnonzero(mnist_train.labels.numpy() == label)[:4] for label in (4, 7))
    pictures = [
        touching(mnist_train.images[four, 0], mnist_train.images[seven, 0])
        for four, seven in zip(fours, sevens, strict=True)
    ]
    predictions = predict(model, pictures)
    assert sum(prediction.label == "47" for prediction in predictions) >= 3
    for picture, prediction in zip(pictures, predictions, strict=True):
        whole = prepare(picture, model.config)
        assert whole.parts == ()
        if prediction.label == "47":
            assert len(whole.segments) >= 2
            boxes = [digit.box for digit in prediction.digits]
            assert boxes[0] is not None
            assert boxes[1] is not None
            assert boxes[0][2] <= boxes[1][0] + 20
            assert predict(model, picture, single=True).status != "confident"


def test_digits_that_touch_are_seldom_one_confident_digit(mnist_train: ImageDataset) -> None:
    chosen = torch.randperm(len(mnist_train), generator=torch.Generator().manual_seed(0))[:300]
    pairs = [*zip(chosen[::2].tolist(), chosen[1::2].tolist(), strict=True)]
    images, labels = mnist_train.images[:, 0], mnist_train.labels.tolist()
    predictions = predict(load(), [touching(images[a], images[b], 6) for a, b in pairs])
    confident = [
        prediction.label == f"{labels[a]}{labels[b]}"
        for (a, b), prediction in zip(pairs, predictions, strict=True)
        if prediction.status == "confident"
    ]
    assert len(confident) > 50
    assert confident.count(False) <= 23  # 32 in a model that was not trained on such pairs


def segment(first: int, stop: int, label: str, probability: float) -> tuple[int, int, Prediction]:
    rest = (1 - probability) / 9
    probabilities = [probability if str(n) == label else rest for n in range(10)]
    names = tuple(map(str, range(10)))
    pixels = torch.zeros(1, 28, 28, dtype=torch.uint8)
    prediction = prediction_of(
        probabilities, names, (), pixels, doubtful_below=0.5, rejected_below=0.2
    )
    return first, stop, prediction


@pytest.mark.parametrize(("whole", "label"), [(0.4, "47"), (0.9, "47"), (0.96, "2")])
def test_digits_that_touch_must_be_as_certain_as_one(whole: float, label: str) -> None:
    parts = [(0, 1, "1", 0.99), (1, 3, "7", 0.6), (0, 2, "4", 0.95), (2, 3, "7", 0.93)]
    segments = [segment(*part) for part in parts]
    prediction = one_or_touching(segment(0, 3, "2", whole)[2], segments, 1.0)
    assert (prediction.label, prediction.warnings) == (label, ())


def test_three_digits_that_touch_are_not_two() -> None:
    parts = [(0, 1, "1", 0.99), (1, 2, "4", 0.9), (2, 3, "7", 0.9), (0, 2, "8", 0.3)]
    segments = [segment(*part) for part in parts]
    assert one_or_touching(segment(0, 3, "2", 0.3)[2], segments, 1.0).label == "147"


@pytest.mark.parametrize(
    ("temperature", "labels", "warned"), [(1.0, "47", False), (1.0, "11", True), (3.0, "47", True)]
)
def test_segments_that_letters_fall_into_are_doubtful(
    temperature: float, labels: str, warned: bool
) -> None:
    segments = [segment(n, n + 1, label, 0.9) for n, label in enumerate(labels)]
    prediction = one_or_touching(segment(0, 2, "2", 0.1)[2], segments, temperature)
    assert (prediction.label, TOUCHING in prediction.warnings) == (labels, warned)


def test_ink_whose_segments_do_not_reach_its_end_is_one_digit() -> None:
    whole = segment(0, 3, "2", 0.3)[2]
    assert one_or_touching(whole, [segment(0, 2, "4", 0.9), segment(1, 3, "7", 0.9)], 1.0) is whole


def test_a_digit_of_several_pieces_is_classified_as_one(mnist_train: ImageDataset) -> None:
    model = load()
    for index, label in ((46675, "5"), (52065, "5"), (53715, "5")):
        pixels = mnist_train.images[index, 0]
        assert len(prepare(pixels, model.config).parts) == 2
        prediction = predict(model, pixels)
        assert (prediction.label, prediction.status) == (label, "confident")
        assert prediction.box == predict(model, pixels, single=True).box


@pytest.mark.parametrize("size", [40, 90, 150])
def test_printed_digits_are_read_though_mnist_has_none(size: int) -> None:
    font = ImageFont.truetype(Path(get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
    pictures = []
    for digit in "0123456789":
        picture = Image.new("L", (2 * size, 2 * size), 240)
        ImageDraw.Draw(picture).text((size, size), digit, font=font, fill=20, anchor="mm")
        pictures.append(picture)
    predictions = predict(load(), pictures)
    assert "".join(str(prediction.label) for prediction in predictions) == "0123456789"
    assert {prediction.status for prediction in predictions} == {"confident"}


def test_several_digits_are_read_in_lines_with_their_boxes() -> None:
    text = "427\n06"
    page, boxes = Image.new("L", (330, 260), 240), []
    draw = ImageDraw.Draw(page)
    for row, line in enumerate(text.split("\n")):
        for column, character in enumerate(line):
            place = (30 + 100 * column, 20 + 120 * row)
            draw.text(place, character, font=ImageFont.load_default(90), fill=20)
            boxes.append(draw.textbbox(place, character, font=ImageFont.load_default(90)))
    prediction = predict(load(), page)
    assert prediction.label == "42706"
    assert prediction.status in ("confident", "doubtful")
    assert [digit.label for digit in prediction.digits] == list("42706")
    for digit, box in zip(prediction.digits, boxes, strict=True):
        assert digit.box is not None
        assert digit.box == pytest.approx(box, abs=10)
    assert prediction.to_dict()["digits"][2]["label"] == "7"
    assert prediction._repr_html_().count("<img") == 5
    assert "digits=5" in repr(prediction)
    alone = predict(load(), page, single=True)
    assert (alone.digits, len(alone.probabilities)) == ((), 10)
    assert predict(load(), [page, page])[1] == prediction


def test_one_digit_is_prepared_alike_with_and_without_single(model: ImageModel) -> None:
    for side in (28, 200, 900):
        paper = Image.new("L", (side, side), 240)
        points = [(0.2, 0.2), (0.7, 0.2), (0.4, 0.9)]
        line = [(round(x * side), round(y * side)) for x, y in points]
        ImageDraw.Draw(paper).line(line, fill=10, width=side // 12)
        alone = prepare(paper, model.config)
        single = prepare(paper, model.config, single=True)
        assert alone.parts == ()
        assert torch.equal(alone.pixels, single.pixels)
        assert (alone.warnings, alone.box) == (single.warnings, single.box)
    blank = prepare(Image.new("L", (90, 90), 240), model.config)
    assert (blank.found, blank.parts) == (False, ())


def test_a_box_is_in_pixels_of_the_photo_before_it_was_reduced() -> None:
    photo = Image.new("L", (3_600, 2_700), 235)
    ImageDraw.Draw(photo).line([(1_000, 600), (1_600, 600), (1_200, 1_500)], fill=10, width=90)
    file = BytesIO()
    photo.save(file, "JPEG")
    prediction = predict(constant_model(0.9), file.getvalue())
    assert prediction.box == pytest.approx((1_000, 555, 1_645, 1_520), abs=45)


def test_predictions_come_as_soon_as_pictures_are_taken(model: ImageModel) -> None:
    taken, picture = 0, Image.new("L", (9, 7), 240)

    def pictures() -> Iterator[Image.Image]:
        nonlocal taken
        for _ in range(70):
            taken += 1
            yield picture

    for number, prediction in enumerate(predict_each(model, pictures())):
        assert isinstance(prediction, Prediction)
        if number in (0, 1, 10, 60):
            assert taken <= 2 * number + 33
            assert number > 0 or taken == 1


@pytest.mark.slow
def test_processes_give_the_results_of_one_process_in_order(
    model: ImageModel, tmp_path: Path
) -> None:
    for number in range(60):
        drawn(number).save(tmp_path / f"{number:02}.png")
    (tmp_path / "17.png").write_bytes(b"no picture")
    sources: list[Any] = [*sorted(tmp_path.iterdir()), drawn(3), str(tmp_path / "05.png")] * 3
    alone = list(predict_each(model, sources, num_workers=0))
    together = list(predict_each(model, iter(sources), num_workers=2))
    assert [repr(result) for result in together] == [repr(result) for result in alone]
    assert [n for n, x in enumerate(alone) if isinstance(x, ImageError)] == [17, 79, 141]
    for one, other in zip(alone, together, strict=True):
        assert one == other or isinstance(one, ImageError)
    results = predict_each(model, sources[:60], num_workers=2)
    next(results)
    del results  # ends the processes


def test_a_prediction_has_a_short_repr_json_types_and_html() -> None:
    names = tuple(f"<{index}>" for index in range(12))
    model = random_model(
        CNNConfig(image_size=130, in_channels=3, num_classes=12, class_names=names, widths=(2,))
    )
    prediction = predict(model, Image.new("RGB", (130, 130), (9, 99, 199)))
    assert len(repr(prediction)) < 120
    assert repr(prediction.label) in repr(prediction)
    data = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert data == prediction.to_dict()
    assert data["probabilities"] == list(prediction.probabilities)
    assert data["classes"] == list(names)
    html = prediction._repr_html_()
    (address,) = re.findall("<img[^>]* src='data:image/png;base64,([^']+)'>", html)
    with Image.open(BytesIO(b64decode(address))) as shown:
        assert prediction.image is not None
        assert np.array_equal(np.asarray(shown), prediction.image.permute(1, 2, 0))
    assert f"{prediction.probability:.2%}" in html
    assert html.count("<meter") == 10
    assert not any(name in html for name in names)
    assert len(html) < 5000
    nothing = Prediction(warnings=(NO_DIGIT,))
    assert "<img" not in nothing._repr_html_()
    assert repr(nothing) == f"Prediction(label=None, status='rejected', warnings={(NO_DIGIT,)})"


def mixed_modes() -> nn.Sequential:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    model[1].eval()
    return model


@pytest.mark.parametrize("fails", [False, True])
def test_evaluation_mode_restores_each_modules_own_mode(fails: bool) -> None:
    model = mixed_modes()
    try:
        with evaluation_mode(model):
            assert not any(module.training for module in model.modules())
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert [module.training for module in model.modules()] == [True, True, False]


def test_evaluation_mode_accepts_what_is_not_a_module() -> None:
    function: Callable[[str], int] = len
    with evaluation_mode(function):
        assert function("seven") == 5


def certainty_model(weights: tuple[float, ...] = (), below: float = 0.0) -> ImageModel:
    config = {"threshold_temperature": 4, "certainty_weights": weights, "doubtful_below": below}
    return random_model(CNNConfig(widths=(2,), **config))  # type: ignore[arg-type]


def test_thresholds_apply_to_the_softened_probability_of_the_label() -> None:
    logits = torch.tensor([[6.0, 1.0, -2.0]])
    softened = (logits / 4).softmax(1).double()
    torch.testing.assert_close(soften(logits.softmax(1), 4), softened)
    image = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    assert float(certainty_of(logits.double().softmax(1), image, 4)) == pytest.approx(
        float(softened.amax()), rel=1e-6
    )


def test_the_certainty_is_a_logistic_regression_and_at_most_the_probability() -> None:
    logits = torch.tensor([[6.0, 1.0, -2.0], [0.0, 0.5, 0.0]], dtype=torch.float64)
    image = torch.zeros(2, 1, 7, 5, dtype=torch.uint8)
    image[0, 0, 2] = 255  # one stroke across all 5 columns, and across 1 of 7 rows
    image[0, 0, 4, :2] = 51  # a faint one, across 2 columns
    features = certainty_features(logits.softmax(1), image, 4)
    softened = (logits / 4).softmax(1).amax(1).log()
    counts = torch.tensor([[7 / 5 - 2 * 0.8 / 5, 1.2, 1.2 / 7, 1.0], [0, 0, 0, 0]]).double()
    expected = torch.cat(
        [softened[:, None], logits.std(1, correction=0)[:, None], counts, counts**2], 1
    )
    torch.testing.assert_close(features, expected, atol=1e-7, rtol=0)
    weights = torch.linspace(-1, 1, 11, dtype=torch.float64)
    found = certainty_of(logits.softmax(1), image, 4, tuple(weights.tolist()))
    regression = (weights[0] + expected @ weights[1:]).sigmoid()
    label = logits.softmax(1).amax(1)
    assert regression[0] < label[0]
    torch.testing.assert_close(found[0], regression[0])
    higher = certainty_of(logits.softmax(1), image, 4, (9.0, *weights[1:].tolist()))
    assert (9 + expected @ weights[1:]).sigmoid()[1] > label[1]
    torch.testing.assert_close(higher[1], label[1])


def test_weights_of_the_certainty_equal_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.linear_model")
    torch.manual_seed(0)
    features = torch.randn(211, 3).double() * torch.tensor([1.0, 10.0, 0.1]) + 3
    is_right = (features[:, 0] + 2 * torch.randn(211) > 3).double()
    intercept, *others = fit_certainty(features, is_right)
    scaled = (features - features.mean(0)) / features.std(0)
    reference = sklearn.LogisticRegression(tol=1e-8).fit(scaled, is_right)
    slopes = torch.tensor(others, dtype=torch.float64)
    np.testing.assert_allclose(slopes * features.std(0), reference.coef_[0], rtol=1e-3)
    found = intercept + float(features.mean(0) @ slopes)
    assert found == pytest.approx(reference.intercept_[0], rel=1e-3)


def test_predict_compares_the_certainty_with_the_thresholds() -> None:
    picture = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(picture).line((72, 40, 78, 160), 0, 14)
    weights = (0.3, 0.5, -0.2, 1.0, -0.1, 0.2, 0.1, 0.0, 0.1, -0.3, 0.2)
    prediction = predict(certainty_model(), picture, single=True)
    assert prediction.image is not None
    row = torch.tensor([prediction.probabilities])
    certainty = float(certainty_of(row, prediction.image[None], 4, weights))
    for offset, status in ((-1e-6, "confident"), (1e-6, "doubtful")):
        found = predict(certainty_model(weights, certainty + offset), picture, single=True)
        assert (found.status, found.probability) == (status, prediction.probability)
