"""Pictures that are opened, pasted or dropped, prepared as in Python; models of other classes."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image

from clearhead.inference import prepare
from clearhead.microscope import build_page
from clearhead.models import build
from clearhead.models.config import ViTConfig
from tests.marks import slow_after
from tests.microscope.driver import PAGES, Microscope
from tests.microscope.node import Bridge
from tests.microscope.test_preprocessing import argument

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


def test_whole_pictures_are_scaled_and_cropped_as_by_pillow(bridge: Bridge) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (37, 61, 3), np.uint8)
    photo = Image.fromarray(noise).resize((122, 74), Image.Resampling.BILINEAR)
    config = OTHER_MODELS["class token, sines, learnt scale"]
    (found,) = bridge.call(
        (
            "fitted",
            {
                "pixels": argument(photo),
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
    assert microscope.message() == "Picture opened. 2 digits: 21."
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


def test_a_picture_without_a_digit_has_no_prediction(microscope: Microscope) -> None:
    microscope.show()
    blank = {"name": "x.png", "mimeType": "image/png", "buffer": png(Image.new("L", (80, 60), 250))}
    microscope.page.locator("input[type=file]").set_input_files(blank)  # type: ignore[arg-type]
    microscope.page.wait_for_selector(".error")
    assert microscope.text(".prediction-label") == "?"
    assert "No digit" in microscope.text(".prediction-words")
    assert microscope.page.locator(".pad image").is_visible()
    assert microscope.evaluate("() => clearhead.store.result.value.run === null")
    assert "picture" not in microscope.text(".readout")
    assert microscope.text(".prediction-thumb") == "?"
    microscope.click("Next")
    assert "No digit" in microscope.text(".nothing")
    microscope.click("Back", ".way")
    broken = {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    microscope.page.locator("input[type=file]").set_input_files(broken)  # type: ignore[arg-type]
    microscope.page.wait_for_selector(".error:has-text('not a picture')")
    assert microscope.page.locator(".pad image").is_visible()
    microscope.click("Remove picture")
    assert microscope.text(".prediction-label") == "–"
    assert microscope.page.locator(".pad image, .error").count() == 0


BOXES = """() => {
  const pad = document.querySelector(".pad").getBoundingClientRect();
  return [...document.querySelectorAll(".box")].map((one) => {
    const { left, top, right, bottom } = one.getBoundingClientRect();
    return [left - pad.left, top - pad.top, right - pad.left, bottom - pad.top]
      .map((at) => at / pad.width);
  });
}"""
CHOSEN = "() => [...document.querySelectorAll('.box')].map((one) => one.ariaPressed === 'true')"


def test_several_digits_of_a_picture_have_boxes_that_choose_one(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    places = ((35, 130, 70, 100), (2, 20, 90, 100))
    two = scene(mnist_test, *places).crop((0, 40, 240, 240))  # wider than high
    file = {"name": "two.png", "mimeType": "image/png", "buffer": png(two)}
    microscope.show().page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
    microscope.page.wait_for_selector(".box")
    assert microscope.texts(".box") == ["1", "2"]
    expected = []
    for index, left, top, side in (places[1], places[0]):  # in reading order
        rows, columns = np.nonzero(mnist_test.images[index, 0].numpy() > 100)
        ink = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        corner = (left, top - 40 + 20)  # 20: the picture is in the middle of the pad
        expected.append([corner[i % 2] + at * side / 28 for i, at in enumerate(ink)])
    found = 240 * np.array(microscope.evaluate(BOXES))
    np.testing.assert_allclose(found, expected, atol=8)
    assert microscope.evaluate(CHOSEN) == [True, False]
    second = microscope.page.get_by_role("button", name="Digit 2 of 2: 2")
    second.click()
    assert microscope.frames().state("digit") == 1
    assert microscope.evaluate(CHOSEN) == [False, True]
    assert microscope.text(".prediction-words").startswith(("Prediction: 2", "Doubtful: 2"))
    microscope.page.get_by_role("button", name="Digit 1 of 2: 1").focus()
    microscope.press("Enter")
    assert microscope.state("digit") == 0
    microscope.click("Remove picture")
    assert microscope.page.locator(".box").count() == 0


def test_several_drawn_digits_have_boxes_that_can_be_drawn_in(microscope: Microscope) -> None:
    microscope.show(strokes="1h1y1k6a.391z5c215b214v3h4l5g4e6d")  # 17
    assert microscope.texts(".box") == ["1", "7"]
    left, right = microscope.evaluate(BOXES)
    assert left[2] < right[0]
    assert left[1] < 70 / 280 < 226 / 280 < left[3]  # the points of the first stroke
    microscope.page.locator(".box span").nth(1).click()
    assert microscope.frames().state("digit") == 1
    assert microscope.text(".prediction-words").startswith("Prediction: 7")
    pad = microscope.page.locator(".pad").bounding_box()
    assert pad is not None
    middle = [pad["x"] + pad["width"] * (right[0] + right[2]) / 2, pad["y"] + pad["height"] / 2]
    microscope.page.mouse.move(*middle)
    microscope.page.mouse.down()
    microscope.page.mouse.move(middle[0] + 40, middle[1])
    microscope.page.mouse.up()
    assert len(microscope.frames().state("strokes")) == 3
    microscope.show()
    assert microscope.page.locator(".box").count() == 0


@pytest.mark.parametrize("kind", slow_after(1, ["drop", "paste"]))
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


def test_a_picture_dropped_on_any_step_is_shown_there(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    """Else the browser would leave the page, and open the file."""
    microscope.show("softmax")
    drop = """([name, bytes]) => {
      const dataTransfer = new DataTransfer();
      const type = "image/png";
      dataTransfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
      const event = new DragEvent("drop", { dataTransfer, cancelable: true });
      dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    assert microscope.evaluate(drop, ["x.png", list(png(scene(mnist_test, (4, 40, 50, 130))))])
    microscope.page.wait_for_function("() => clearhead.store.state.value.images.length === 1")
    assert microscope.frames().state("step") == "softmax"
    assert microscope.text(".prediction-thumb") == "4"
    assert microscope.evaluate(drop, ["x.png", [0]])
    microscope.page.wait_for_function("() => clearhead.store.spoken.value.startsWith('This file')")
    assert microscope.state("images")


def test_why_no_picture_was_opened_is_shown_until_another_one_is(microscope: Microscope) -> None:
    microscope.page.locator("input[type=file]").set_input_files(
        {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    microscope.page.wait_for_selector(".upload .error")
    microscope.click("Example 3")
    assert microscope.page.locator(".upload .error").count() == 0


@pytest.mark.slow
def test_of_two_pictures_that_are_opened_at_once_the_later_one_is_shown(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    """Also if the earlier one, or its error, is ready later."""
    four, one = (list(png(scene(mnist_test, (n, 40, 50, 130)))) for n in (4, 2))
    for slow in (four, [0]):
        microscope.show()
        microscope.evaluate(
            """async (pictures) => {
              const answers = [];
              const original = Worker.prototype.postMessage;
              Worker.prototype.postMessage = function (message) {
                const own = this.onmessage;
                const done = new Promise((resolve) => {
                  this.onmessage = (event) => resolve(() => own.call(this, event));
                });
                answers.push(done);
                original.call(this, message);
              };
              for (const bytes of pictures) {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], "x.png", { type: "image/png" }));
                dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
              }
              Worker.prototype.postMessage = original;
              for (const answer of (await Promise.all(answers)).reverse()) {
                answer();
                for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
              }
            }""",
            [slow, one],
        )
        assert microscope.frames().text(".prediction-label")[0] == "1"
        assert microscope.page.locator(".upload .error").count() == 0


@pytest.mark.slow
def test_a_picture_is_opened_where_the_browser_allows_no_worker(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    microscope.show()
    four = png(scene(mnist_test, (4, 40, 50, 130)))
    file = {"name": "x.png", "mimeType": "image/png", "buffer": four}
    microscope.evaluate(
        """() => {
          const original = Worker;
          globalThis.Worker = class {
            constructor() {
              globalThis.Worker = original;
              throw new DOMException("no workers here", "SecurityError");
            }
          };
        }"""
    )
    microscope.page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
    microscope.page.wait_for_selector("text=A picture is open", state="attached")
    assert microscope.frames().text(".prediction-label")[0] == "4"


@pytest.mark.parametrize("name", slow_after(1, OTHER_MODELS))
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
        over: dict[str, int] = {}
        for step in PAGES:
            other.show(step)
            shown_text = " ".join(other.texts("main"))
            assert "digit" not in shown_text.lower()
            assert "Draw another" not in shown_text
            assert "blank patches" not in shown_text or step == "about"
            if step != "about":
                high = other.evaluate("() => document.documentElement.scrollHeight - innerHeight")
                over |= {step: high} if high > 0 else {}
        assert over == {}
        figure = ET.fromstring(other.show("softmax").save("Figure, SVG")[1])
        colours = [path.get("stroke") for path in figure.iter("{http://www.w3.org/2000/svg}path")]
        lines = [colour for colour in colours[1:] if colour != "#000000"]  # without the grid
        dark = len(lines) if config.in_channels == 3 else 0
        assert colours.count("#000000") == dark  # below each line, on a bright picture
        assert other.complaints == [] == other.requests


def normalised(picture: ndarray, config: ViTConfig) -> torch.Tensor:
    pixels = prepare(picture, config).pixels[None].double() / 255
    mean, std = (torch.tensor(x).double().view(1, -1, 1, 1) for x in (config.mean, config.std))
    return (pixels - mean) / std
