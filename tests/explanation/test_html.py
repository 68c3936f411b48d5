"""Explanations as pages: their content, escaping and policy, and files on disk."""

import json
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from clearhead.explanation import Explanation, Influence, TextPrediction, explain
from clearhead.explanation.page import omissions, picture_data, picture_page, text_page
from clearhead.explanation.pictures import first_view
from clearhead.explanation.tables import percent


class Page(HTMLParser):
    """Every element's attributes, and the text of those that have an id or hold style or script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.text[self._open] = self.text.get(self._open, "") + data

    def tags(self) -> Counter[str]:
        return Counter(tag for tag, _ in self.elements)

    def data(self) -> Any:
        return json.loads(self.text["data"])


@pytest.fixture(scope="module")
def text(nine: Explanation) -> str:
    return picture_page(nine)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_weights_are_stored_in_sixteen_bits(nine: Explanation, page: Page) -> None:
    stored = np.frombuffer(b64decode(page.text["weights"]), dtype="<u2") / 65535
    for layer, described in zip(nine.layers, page.data()["layers"], strict=True):
        assert described["name"] == layer.name
        shape = (described["windows"], described["heads"], len(described["queries"]), 16)
        part = stored[described["offset"] : described["offset"] + np.prod(shape)].reshape(shape)
        np.testing.assert_allclose(part, layer.weights, atol=0.50001 / 65535)
    assert len(stored) == 6 * 4 * 16 * 16


def pixels_of(address: str | None) -> np.ndarray:
    assert address is not None
    return np.asarray(Image.open(BytesIO(b64decode(address.partition("base64,")[2]))))


def test_the_page_has_the_picture_and_the_model_input(
    nine: Explanation, page: Page, digits: list[Path]
) -> None:
    (source,) = [a["src"] for tag, a in page.elements if tag == "img"]
    np.testing.assert_array_equal(pixels_of(source), nine.pixels[0])
    ink = np.frombuffer(b64decode(page.data()["ink"]), dtype=np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(ink, nine.pixels[0])
    blank = page.data()["picture"]["blank"]
    patches = nine.pixels[0].numpy().reshape(4, 7, 4, 7).mean(axis=(1, 3)).ravel()
    assert blank == list(patches < 2.55)
    picture = np.asarray(Image.open(digits[9])).astype(int)
    shown = pixels_of(page.data()["original"]).astype(int)
    assert shown.shape == (140, 140, 3)
    assert np.abs(shown - picture[..., None]).mean() < 3  # JPEG


def test_a_large_picture_is_reduced_and_a_model_input_is_not_shown_twice(
    nine: Explanation, tmp_path: Path
) -> None:
    Image.new("RGB", (960, 480), "red").save(tmp_path / "large.png")
    original = explain("digits", tmp_path / "large.png").original
    assert original is not None
    assert original.shape == (3, 160, 320)
    assert original[:, 80, 160].tolist() == [255, 0, 0]
    same = replace(nine, original=nine.pixels.expand(3, -1, -1))
    assert picture_data(same)["original"] == ""
    assert picture_data(replace(nine, original=None))["original"] == ""
    other = replace(nine, original=nine.pixels.expand(3, -1, -1).flip(2))
    assert picture_data(other)["original"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("count", [10, 11])
def test_of_many_classes_the_page_has_the_likeliest(nine: Explanation, count: int) -> None:
    names = tuple(f"class {place}" for place in range(count))
    shares = tuple((7 * place % count + 1) / sum(range(count + 1)) for place in range(count))
    prediction = replace(nine.prediction, class_names=names, probabilities=shares)
    shown = picture_data(replace(nine, prediction=prediction))
    pairs = list(zip(names, shares, strict=True))
    few = sorted(pairs, key=lambda pair: pair[1], reverse=True)[:5]
    assert (shown["classes"], shown["numClasses"]) == (pairs if count == 10 else few, count)


def test_the_notebook_has_the_model_input_and_the_measures_as_small_images(
    nine: Explanation,
) -> None:
    sources = [a["src"] or "" for tag, a in Page(nine._repr_html_()).elements if tag == "img"]
    images = [pixels_of(source) for source in sources]
    np.testing.assert_array_equal(images[0], nine.pixels[0])
    values = [x.values for x in nine.displayed.values()]
    assert values[3] is not None
    values[3] = -values[3]  # masking is shown as a change
    for image, weights in zip(images[1:3], values[:2], strict=True):
        assert weights is not None
        expected = colormaps["cividis"](weights.reshape(4, 4).sqrt().numpy())[..., :3]
        np.testing.assert_allclose(image / 255, expected, atol=2 / 255)
    for image, numbers in zip(images[3:], values[2:], strict=True):
        assert numbers is not None
        largest = int(numbers.abs().argmax())  # at an end of the numbers scale: blue, or orange
        end = (0x00, 0x63, 0xA6) if numbers[largest] > 0 else (0xB3, 0x47, 0x00)
        assert tuple(image[divmod(largest, 4)]) == end


def test_the_content_security_policy_allows_only_this_style_and_script(page: Page) -> None:
    policies = [a["content"] for t, a in page.elements if a.get("http-equiv")]
    (policy,) = policies
    assert policy is not None
    for kind in ("style", "script"):
        digest = b64encode(sha256(page.text[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; connect-src 'none'; img-src data:;" in policy
    assert "unsafe" not in policy
    code = page.text["script"].replace("http://www.w3.org/", "") + page.text["style"]  # namespaces
    assert "http:" not in policy + code
    assert "https:" not in policy + code
    addresses = [a.get("src") or a.get("href") for _, a in page.elements]
    assert all(address.startswith("data:") for address in addresses if address)


HOSTILE = "</script></style><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"


def test_hostile_names_stay_text(hf_folder: Path, photo: Path) -> None:
    """Every text that comes from files or from users, in a page and in a notebook."""
    explanation = explain(f"hf:{hf_folder}", photo)
    hostile = replace(
        explanation,
        image=f"/somewhere/{HOSTILE}",
        model=HOSTILE,
        prediction=replace(
            explanation.prediction,
            label=HOSTILE,
            runner_up=HOSTILE,
            class_names=(HOSTILE, "dog", "hen"),
            warnings=(HOSTILE,),
        ),
        grid=replace(explanation.grid, prefix_names=(HOSTILE,)),
        layer_names=(HOSTILE, explanation.layer_names[1]),
        layers=(replace(explanation.layers[0], name=HOSTILE), explanation.layers[1]),
        verifications=(
            replace(explanation.verifications[0], name=HOSTILE),
            explanation.verifications[1],
        ),
        rollout=Influence(reason=HOSTILE),
    )
    plain = replace(explanation, rollout=Influence(reason="x"))
    page = Page(picture_page(hostile))
    assert page.tags() == Page(picture_page(plain)).tags()
    assert "onerror" not in str([attributes.keys() for _, attributes in page.elements])
    assert page.data()["prediction"]["label"] == HOSTILE
    assert HOSTILE in page.text["p"]
    assert "49" not in page.text["p"]
    notebook = Page(hostile._repr_html_())
    assert notebook.tags() == Page(plain._repr_html_()).tags()


def test_hostile_texts_stay_text() -> None:
    explanation = explain("sentences", "The cat sat.")
    hostile = replace(
        explanation, text=HOSTILE, model=HOSTILE, tokens=(HOSTILE, "cat", "sat", "."),
        warnings=(HOSTILE,), prediction=TextPrediction(question=HOSTILE, words=((HOSTILE, 0.5),)),
    )  # fmt: skip
    pages = [Page(text_page(x)) for x in (hostile, replace(hostile, text="x", warnings=("y",)))]
    assert pages[0].tags() == pages[1].tags()
    assert pages[0].data()["tokens"] == [HOSTILE, "cat", "sat", "."]
    assert Page(hostile._repr_html_()).tags()["img"] == 0


def test_folders_stay_private(nine: Explanation, digits: list[Path]) -> None:
    assert nine.image == str(digits[9])
    text = picture_page(replace(nine, model="timm:/my/own/models/tiny"))
    assert "digit 9.png" in text
    assert str(digits[9].parent) not in text
    assert picture_data(replace(nine, model="timm:/my/own/models/tiny"))["model"] == "timm:tiny"
    assert "/my/own" not in text
    assert picture_data(replace(nine, model="OWNER/NAME"))["model"] == "OWNER/NAME"


def test_the_data_has_predictions_proofs_and_measures(
    nine: Explanation, page: Page, text: str
) -> None:
    assert text == picture_page(nine)
    assert len(text) < 120_000
    data = page.data()
    assert f"9, {percent(nine.prediction.probability, 2)} (digits)" in page.text["p"]
    shown = dict(data["classes"])
    assert list(shown) == list("0123456789")
    assert list(shown.values()) == pytest.approx(nine.prediction.probabilities)
    for verification, line in zip(nine.verifications, data["verifications"], strict=True):
        errors = [
            verification.row_sum_error,
            verification.masked_mass,
            verification.output_error,
            verification.tolerance,
        ]
        assert line == [verification.name, *errors]
    for name, influence in nine.displayed.items():
        assert influence.values is not None
        values = data["influence"][name]["values"]
        np.testing.assert_allclose(values, influence.values, atol=1e-9)
    assert len(data["correlations"]) == 6


def test_omissions_are_stated(nine: Explanation) -> None:
    assert omissions(nine) == ""
    some = replace(nine, layers=nine.layers[2:3])
    assert omissions(some).startswith("1 of 6 layers is in this file; --layers picks others")
    few = replace(some.layers[0], weights=some.layers[0].weights[:, :, :3], queries=(0, 5, 9))
    said = picture_data(replace(some, layers=(few,)))["omissions"]
    assert "in 1 of them, only 3 of 16 queries are kept" in said


def test_the_first_view_is_the_most_decided_head_of_the_most_relevant_patch(
    nine: Explanation,
) -> None:
    first = first_view(nine)
    assert nine.relevance.values is not None
    assert first["query"] == int(nine.relevance.values.argmax())
    rows = np.stack([layer.weights[0, :, first["query"]].amax(-1) for layer in nine.layers])
    assert first["layer"] * 4 + first["head"] == int(rows.argmax())
