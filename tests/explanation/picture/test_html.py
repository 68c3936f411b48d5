import json
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from clearhead.explanation.picture.explanation import Explanation, explain
from clearhead.explanation.picture.html import to_html
from clearhead.explanation.picture.payload import start
from clearhead.explanation.picture.static import agreement, left_out, percent, points


class Page(HTMLParser):
    """Every element's attributes, and the text of those that have an id or hold style or script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.text[self._open] = self.text.get(self._open, "") + data

    def facts(self) -> Any:
        return json.loads(self.text["facts"])


def test_weights_travel_as_sixteen_bits(nine: Explanation) -> None:
    page = Page(to_html(nine))
    stored = np.frombuffer(b64decode(page.text["weights"]), dtype="<u2") / 65535
    for layer, described in zip(nine.layers, page.facts()["layers"], strict=True):
        assert described["name"] == layer.name
        shape = (described["windows"], described["heads"], len(described["queries"]), 16)
        part = stored[described["offset"] : described["offset"] + np.prod(shape)].reshape(shape)
        np.testing.assert_allclose(part, layer.weights, atol=0.50001 / 65535)
    assert len(stored) == 6 * 4 * 16 * 16


def test_the_picture_in_the_page_is_what_the_model_saw(nine: Explanation) -> None:
    page = Page(to_html(nine))
    (source,) = [a["src"] for tag, a in page.found if tag == "img"]
    assert source is not None
    image = Image.open(BytesIO(b64decode(source.removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(image), nine.pixels[0])
    ink = np.frombuffer(b64decode(page.text["ink"]), dtype=np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(ink, nine.pixels[0])
    blank = page.facts()["picture"]["blank"]
    patches = nine.pixels[0].numpy().reshape(4, 7, 4, 7).mean(axis=(1, 3)).ravel()
    assert blank == list(patches < 2.55)


def test_colours_are_those_of_cividis(nine: Explanation) -> None:
    colours = np.frombuffer(b64decode(Page(to_html(nine)).text["cividis"]), dtype=np.uint8)
    expected = np.array(colormaps["cividis"].colors)  # type: ignore[attr-defined]
    np.testing.assert_allclose(colours.reshape(256, 3) / 255, expected, atol=1 / 255)


def test_the_policy_lets_in_this_style_and_script_and_no_connection(nine: Explanation) -> None:
    page = Page(to_html(nine))
    policies = [a["content"] for t, a in page.found if a.get("http-equiv")]
    (policy,) = policies
    assert policy is not None
    for kind in ("style", "script"):
        digest = b64encode(sha256(page.text[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; connect-src 'none'; img-src data:;" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy + page.text["script"] + page.text["style"]
    assert "https:" not in policy + page.text["script"] + page.text["style"]
    addresses = [a.get("src") or a.get("href") for _, a in page.found]
    assert all(address.startswith("data:") for address in addresses if address)


def test_names_cannot_break_out_of_the_page(hf_folder: Path, photo: Path) -> None:
    explanation = explain(photo, f"hf:{hf_folder}")
    wicked = "</script><img src=x onerror=alert(1)>"
    evil = replace(
        explanation,
        image=f"/somewhere/{wicked}",
        model=wicked,
        label=wicked,
        runner_up=wicked,
        class_names=(wicked, "dog", "hen"),
        warnings=(wicked,),
        names=(wicked, explanation.names[1]),
        layers=(replace(explanation.layers[0], name=wicked), explanation.layers[1]),
        proofs=(replace(explanation.proofs[0], name=wicked), explanation.proofs[1]),
    )
    page = Page(to_html(evil))
    assert [tag for tag, _ in page.found].count("img") == 1
    assert [tag for tag, _ in page.found].count("script") == 5
    assert page.facts()["answer"]["label"] == wicked
    assert "onerror" not in str([a for _, a in page.found])


def test_folders_stay_private(nine: Explanation, digits: list[Path]) -> None:
    assert nine.image == str(digits[9])
    text = to_html(replace(nine, model="timm:/my/own/models/tiny"))
    assert "digit 9.png" in text
    assert str(digits[9].parent) not in text
    assert "read by timm:tiny<" in text
    assert "/my/own" not in text
    assert "read by OWNER/NAME<" in to_html(replace(nine, model="OWNER/NAME"))


def test_the_same_explanation_gives_the_same_page(nine: Explanation) -> None:
    assert to_html(nine) == to_html(nine)


def test_the_page_of_a_digit_is_small(nine: Explanation) -> None:
    assert len(to_html(nine)) < 120_000


def test_answer_proofs_and_influence_stand_in_the_page_without_a_script(nine: Explanation) -> None:
    text = unescape(re.sub("<script.*", "", to_html(nine), flags=re.DOTALL))
    assert f'id="probability">{percent(nine.probability, 2)}' in text
    for proof in nine.proofs:
        figures = (proof.row_sum_error, proof.masked_mass, proof.output_error, proof.tolerance)
        row = "".join(f"<td>{figure:.1e}</td>" for figure in figures)
        assert f'<th scope="row">{proof.name}</th>{row}' in text
    assert nine.rollout.values is not None
    assert nine.relevance.values is not None
    assert nine.silencing.values is not None
    shares = nine.relevance.values / nine.relevance.values.sum()
    cells = zip(nine.rollout.values, shares, nine.silencing.values, strict=True)
    for place, (rollout, relevance, silencing) in enumerate(cells):
        down, across = divmod(place, 4)
        assert (
            f'<th scope="row">patch at row {down + 1}, column {across + 1}</th>'
            f"<td>{percent(float(rollout))}</td><td>{percent(float(relevance))}</td>"
            f"<td>{points(float(silencing))}</td>"
        ) in text
    assert "different answers to different questions, and none of them is ground truth" in text


def test_agreement_is_the_rank_correlation_of_the_patches(nine: Explanation) -> None:
    from scipy.stats import spearmanr

    values = [x.values for x in (nine.rollout, nine.relevance, nine.silencing)]
    a, b, c = (x.numpy() for x in values if x is not None)
    told = re.findall(r"([−\d.]+)[,.](?: |$)", agreement(nine).split("(Spearman): ")[1] + " ")
    expected = [spearmanr(x, y).statistic for x, y in ((a, b), (a, c), (b, c))]
    assert [float(x.replace("−", "-")) for x in told] == pytest.approx(expected, abs=0.00501)


def test_what_is_left_out_is_said(digits: list[Path], nine: Explanation) -> None:
    assert left_out(nine) == ""
    assert 'id="left-out"' not in to_html(nine)
    some = explain(digits[9], layers=[2])
    assert left_out(some).startswith("1 of 6 layers is in this file; --layers picks others")
    few = replace(some.layers[0], weights=some.layers[0].weights[:, :, :3], queries=(0, 5, 9))
    thinned = replace(some, layers=(few,))
    assert "in 1 of them, only 3 of 16 queries are kept" in to_html(thinned)


def test_the_first_view_is_the_most_decided_head_of_the_most_relevant_patch(
    nine: Explanation,
) -> None:
    first = start(nine)
    assert nine.relevance.values is not None
    assert first["query"] == int(nine.relevance.values.argmax())
    rows = np.stack([layer.weights[0, :, first["query"]].amax(-1) for layer in nine.layers])
    assert first["layer"] * 4 + first["head"] == int(rows.argmax())


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0.0, 1, "0.0 %"), (0.0004, 1, "<0.1 %"), (0.0006, 1, "0.1 %"), (0.41349, 2, "41.35 %")],
)
def test_percentages_never_hide_a_small_share(share: float, digits: int, text: str) -> None:
    assert percent(share, digits).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("fall", "text"), [(0.463, "+46.30"), (-0.00123, "−0.12"), (-0.00001, "0.00"), (0.0, "0.00")]
)
def test_points_have_their_sign(fall: float, text: str) -> None:
    assert points(fall) == text
