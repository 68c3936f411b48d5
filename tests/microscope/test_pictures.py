"""Pictures that are opened, pasted or dropped, prepared as in Python; models of other classes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from clearhead.data.preprocessing.digits import (
    DOTTED,
    MANY_LOOPS,
    SEVERAL,
    SLASH,
    TOO_SMALL,
    find_digits,
)
from clearhead.data.preprocessing.image import to_grey
from clearhead.inference import predict, prepare
from clearhead.microscope import build_page
from clearhead.models import build, load
from clearhead.models.config import ViTConfig
from tests.microscope.driver import PAGES, Microscope
from tests.microscope.node import Bridge

if TYPE_CHECKING:
    from clearhead.data import ImageDataset

OTHER_MODELS = {
    "class token, sines, learnt scale": ViTConfig(
        image_size=(21, 15),
        patch_size=(7, 3),
        in_channels=3,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        embed_dim=36,
        num_heads=3,
        depth=2,
        num_classes=7,
        pool="class",
        pos_embed="sincos",
        attention_scale="learned",
    ),
    "no positions, another scale, named classes": ViTConfig(
        patch_size=14,
        embed_dim=20,
        num_heads=2,
        depth=1,
        mlp_ratio=1.5,
        num_classes=3,
        class_names=("an 'a'", "<b>", "c & d"),
        pos_embed="none",
        attention_scale=0.3,
    ),
}


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def scene(digits: "ImageDataset", *places: tuple[int, int, int, int]) -> Image.Image:
    """Digits of the test set on paper, unevenly lit; each place is index, left, top and side."""
    size = 240
    y, x = np.mgrid[0:size, 0:size] / size
    paper = 0.95 - 0.25 * x - 0.1 * y
    picture = Image.fromarray(np.uint8(paper * 255))
    for index, left, top, side in places:
        ink = Image.fromarray(digits.images[index, 0].numpy()).resize((side, side))
        picture.paste(30, (left, top), ink)
    return picture


@pytest.fixture(scope="module")
def scenes(mnist_test: "ImageDataset") -> list[Image.Image]:
    drawn = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(drawn).line([(60, 80), (240, 75), (130, 260)], fill=0, width=3, joint="curve")
    light = Image.eval(scene(mnist_test, (3, 50, 40, 150)), lambda value: 255 - value)
    return [
        scene(mnist_test, (0, 40, 50, 130)),
        scene(mnist_test, (1, 10, 70, 100), (2, 125, 70, 100)),
        scene(mnist_test, (5, 20, 10, 100), (7, 130, 15, 100), (9, 60, 130, 100)),
        light,
        drawn,
        Image.fromarray(mnist_test.images[11, 0].numpy()),
    ]


def test_digits_in_pictures_are_found_and_prepared_as_in_python(
    bridge: Bridge, scenes: list[Image.Image]
) -> None:
    found = bridge.call(*[("picture", picture(scene)) for scene in scenes])
    for shown, pixels in zip(scenes, found, strict=True):
        expected = np.stack([digit.pixels for digit in find_digits(to_grey(shown))])
        assert pixels.size == expected.size
        difference = np.abs(pixels.reshape(expected.shape) - expected)
        assert difference.mean() < 1.0
        assert np.quantile(difference, 0.99) <= 12


def test_small_digits_are_prepared_as_in_python(bridge: Bridge, mnist_test: "ImageDataset") -> None:
    small = Image.new("L", (900, 700), 230)
    for place, index in enumerate((0, 1, 2, 4)):
        ink = Image.fromarray(mnist_test.images[index, 0].numpy()).resize((90, 90))
        small.paste(30, (80 + 190 * place, 250 + 40 * place), ink)
    (pixels,) = bridge.call(("picture", picture(small)))
    expected = np.stack([digit.pixels for digit in find_digits(to_grey(small))])
    difference = np.abs(pixels.reshape(expected.shape) - expected)
    assert difference.mean() < 1.0
    assert np.quantile(difference, 0.99) <= 12


def printed(*lines: str, size: int = 60, gap: int = 0, rule: int = 0) -> Image.Image:
    """Lines of printed digits, perhaps above a rule at this height."""
    picture = Image.new("L", (40 + size * max(map(len, lines)), 40 + 2 * size * len(lines)), 255)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    for row, line in enumerate(lines):
        x = 20.0
        for digit in line:
            draw.text((x, 20 + 2 * size * row), digit, fill=0, font=font)
            x += draw.textlength(digit, font=font) + gap
    if rule:
        draw.line([(0, rule), (picture.width, rule)], fill=0, width=3)
    return picture


def touching(digits: "ImageDataset", *indices: int, overlap: int) -> Image.Image:
    """Digits of the test set, written into each other."""
    paper = np.zeros((120, 60 * len(indices) + 60), np.uint8)
    x = 20
    for index in indices:
        ink = np.asarray(Image.fromarray(digits.images[index, 0].numpy()).resize((84, 84)))
        columns = np.flatnonzero(ink.max(axis=0) > 80)
        ink = ink[:, columns[0] : columns[-1] + 1][:, : paper.shape[1] - x]
        part = paper[18:102, x : x + ink.shape[1]]
        np.maximum(part, ink, out=part)
        x += ink.shape[1] - overlap
    return Image.fromarray(255 - paper)


def test_printed_and_touching_digits_are_found_as_in_python(
    bridge: Bridge, mnist_test: "ImageDataset"
) -> None:
    rows = [
        printed("427"),
        printed("1905", size=30),
        printed("836", gap=12),
        printed("427", "516"),
        printed("427", rule=150),
        printed("60", size=100),
    ]
    joined = [
        touching(mnist_test, *indices, overlap=overlap)
        for *indices, overlap in ((3, 4, 8), (0, 18, 10), (4, 7, 9, 9), (18, 18, 6))
    ]
    found = bridge.call(*[("picture", picture(one)) for one in [*rows, *joined]])
    for shown, pixels in zip([*rows, *joined], found, strict=True):
        expected = np.stack([digit.pixels for digit in find_digits(to_grey(shown))])
        np.testing.assert_allclose(pixels.reshape(expected.shape), expected, atol=1)
    model = load()
    digits = [pixels.reshape(-1, 28, 28).astype(np.uint8) for pixels in found]
    read = [[predict(model, digit) for digit in one] for one in digits]
    for shown, one in zip(rows, read, strict=False):
        assert "".join(digit.label or "?" for digit in one) == predict(model, shown).label
    for one in read[len(rows) :]:  # the page does not part them
        assert "confident" not in {digit.status for digit in one}


def test_a_digit_has_the_warnings_that_it_has_in_python(
    bridge: Bridge, mnist_test: "ImageDataset"
) -> None:
    touching = scene(mnist_test, (1, 10, 70, 90), (3, 66, 70, 90), (5, 128, 70, 90))
    ImageDraw.Draw(touching).line([(30, 120), (200, 120)], fill=30, width=8)
    looped = Image.new("L", (200, 200), 255)
    for left in (20, 70, 120):
        ImageDraw.Draw(looped).ellipse([left, 60, left + 54, 140], outline=0, width=8)
    dotted = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(dotted).line([(100, 80), (100, 170)], fill=0, width=12)
    ImageDraw.Draw(dotted).ellipse([92, 45, 108, 61], fill=0)
    tiny = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(tiny).rectangle([100, 100, 103, 104], fill=0)
    slash, bracket = (Image.new("L", (200, 200), 255) for _ in range(2))
    ImageDraw.Draw(slash).line([(30, 20), (150, 160)], fill=0, width=9)
    curve = [(117, 20), (88, 60), (80, 100), (88, 140), (117, 180)]
    ImageDraw.Draw(bracket).line(curve, fill=0, width=9)
    drawn = [
        slash,
        bracket,
        touching,
        looped,
        dotted,
        tiny,
        scene(mnist_test, (0, 10, 70, 90), (1, 125, 70, 90)),
    ]
    expected = [
        [number for digit in find_digits(to_grey(one)) for number in coded(digit.warnings)]
        for one in drawn
    ]
    assert {number for one in expected for number in one[1:]} >= {0, 1, 2, 3, 4}
    found = bridge.call(*[("warnings", picture(one)) for one in drawn])
    assert [one.tolist() for one in found] == expected


def coded(warnings: tuple[str, ...]) -> list[int]:
    """The number of warnings, and their places in the page's list."""
    return [
        len(warnings),
        *sorted((SEVERAL, TOO_SMALL, MANY_LOOPS, DOTTED, SLASH).index(w) for w in warnings),
    ]


def test_a_warning_makes_a_digit_doubtful_also_in_a_link(microscope: Microscope) -> None:
    sevens = microscope.evaluate(
        "() => Array.from(clearhead.store.result.value.ink, (x) => Math.round(255 * x))"
    )
    microscope.evaluate(
        "(bytes) => clearhead.store.set({ images: [Uint8Array.from(bytes)], doubts: [2] })", sevens
    )
    assert microscope.frames().text(".prediction-words").endswith("More loops than a digit has.")
    link = microscope.evaluate("() => clearhead.store.hash()")
    assert "doubts=3" in link
    microscope.show()
    assert microscope.text(".prediction-words").startswith("Prediction: 7")
    microscope.evaluate("(hash) => clearhead.store.restore(hash)", link)
    assert microscope.frames().text(".prediction-words").startswith("Doubtful: 7")


def picture(image: Image.Image) -> dict[str, Any]:
    """The argument of the page's functions on pictures."""
    return {"width": image.width, "height": image.height, "data": rgba(image).ravel().tolist()}


def rgba(picture: Image.Image) -> ndarray:
    return np.asarray(picture.convert("RGBA"))


def test_whole_pictures_are_scaled_and_cropped_as_by_pillow(bridge: Bridge) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (37, 61, 3), np.uint8)
    photo = Image.fromarray(noise).resize((122, 74), Image.Resampling.BILINEAR)
    config = OTHER_MODELS["class token, sines, learnt scale"]
    (found,) = bridge.call(
        (
            "fitted",
            {
                "pixels": picture(photo),
                "size": config.image_shape,
                "channels": 3,
            },
        )
    )
    expected = prepare(photo, config).pixels.numpy()
    assert np.abs(found.reshape(expected.shape) - expected).max() <= 2


def test_a_picture_is_opened_and_its_digits_are_read(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    microscope.show()
    two = scene(mnist_test, (1, 10, 70, 100), (2, 125, 70, 100))
    file = {"name": "two.png", "mimeType": "image/png", "buffer": png(two)}
    microscope.page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
    microscope.page.wait_for_selector(".several")
    assert "2 digits: 21" in microscope.text(".several")
    assert microscope.text(".prediction-label") == "21"
    assert microscope.page.locator(".pad image").is_visible()
    assert microscope.message() == "Picture opened."
    link = microscope.evaluate("() => clearhead.store.hash()")
    microscope.show()
    microscope.evaluate("(hash) => clearhead.store.restore(hash)", link)
    assert "2 digits: 21" in microscope.frames().text(".several")
    broken = {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    microscope.page.locator("input[type=file]").set_input_files(broken)  # type: ignore[arg-type]
    microscope.page.wait_for_selector(".error")
    assert "not a picture" in microscope.text(".error")
    assert microscope.message() == ""
    microscope.click("Remove picture")
    assert microscope.text(".prediction-words") == "Draw a digit, or choose an example."
    assert microscope.page.locator(".pad image").count() == 0


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_is_dropped_or_pasted(
    kind: str, microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    microscope.show()
    microscope.evaluate(
        """([kind, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "four.png", { type: "image/png" }));
          dispatchEvent(kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data })
            : new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        [kind, list(png(scene(mnist_test, (4, 40, 50, 130))))],
    )
    microscope.page.wait_for_selector("text=A picture is open", state="attached")
    assert len(microscope.state("images")) == 1
    assert microscope.frames().text(".prediction-label")[0] == "4"


@pytest.mark.parametrize("name", OTHER_MODELS)
def test_the_page_of_another_model_checks_itself_and_shows_every_part(
    name: str, opened: Microscope, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    config = OTHER_MODELS[name]
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    picture = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    file = tmp_path / "other.html"
    page_text = build_page(model, name="<other>", pictures={"noise": picture})
    file.write_text(page_text, encoding="utf-8")
    with opened.page.context.new_page() as page:
        other = Microscope(page, file)
        assert other.evaluate("() => clearhead.store.examples.value.difference") < 1e-9
        assert not other.evaluate("() => clearhead.store.examples.value.failed")
        assert "picture" in other.text("h2")
        assert "digit" not in other.text("main").lower()
        assert other.text(".examples [aria-pressed=true]") == "noise"
        expected = model.double().eval()(normalised(picture, config)).softmax(-1)[0]
        shown = other.evaluate("() => clearhead.store.result.value.run.probabilities")
        np.testing.assert_allclose(shown, expected.detach(), rtol=0, atol=0.01)
        best = config.labels[int(np.argmax(shown))]
        assert best in other.text(".prediction-words")
        for step in PAGES:
            other.show(step)
            assert "digit" not in " ".join(other.texts("main")).lower()
        assert other.complaints == [] == other.requests


def normalised(picture: ndarray, config: ViTConfig) -> torch.Tensor:
    pixels = prepare(picture, config).pixels[None].double() / 255
    mean, std = (torch.tensor(x).double().view(1, -1, 1, 1) for x in (config.mean, config.std))
    return (pixels - mean) / std
