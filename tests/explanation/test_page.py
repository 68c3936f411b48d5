"""The pages of pictures and texts in a browser, opened from disk."""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clearhead.explanation import (
    Explanation,
    Influence,
    TextExplanation,
    explain,
    write_report,
)
from clearhead.insight import Grid
from tests.accessible import paint, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

STORED = 0.5 / 65535 + 2e-6  # weights are stored in 16 bits
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """Console messages and addresses of requests since the last test."""
    return []


@pytest.fixture(autouse=True)
def _no_message_and_no_request(messages: list[str]) -> Iterator[None]:
    yield
    assert [message for message in messages if not message.startswith("data:")] == []
    messages.clear()


@pytest.fixture(scope="module")
def context(browser: "Browser") -> Iterator["BrowserContext"]:
    with browser.new_context() as context:
        yield context


@pytest.fixture(scope="module")
def open_page(
    context: "BrowserContext", messages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Open:
    """Opens an explanation, instead of the one before if it is given that page."""

    def open_file(explanation: Explanation | TextExplanation, page: "Page | None" = None) -> "Page":
        if page is None:
            page = context.new_page()
            page.on("console", lambda entry: messages.append(f"{entry.type}: {entry.text}"))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.on("request", lambda request: messages.append(request.url))
        (path,) = write_report(explanation, tmp_path_factory.mktemp("page") / "report.html")
        page.goto(path.as_uri())
        page.wait_for_selector("#sentence b")
        paint(page, False)
        assert messages.pop(0) == path.as_uri()
        return page

    return open_file


@pytest.fixture(scope="module")
def page_of_nine(open_page: Open, nine: Explanation) -> "Page":
    return open_page(nine)


@pytest.fixture
def page(page_of_nine: "Page") -> "Page":
    """The page of a nine; each test selects head and query itself."""
    page_of_nine.bring_to_front()  # pages behind another one have frames once a minute
    return page_of_nine


@pytest.fixture(scope="module")
def other(open_page: Open, sentence: TextExplanation) -> "Page":
    """A page for tests that open their own explanation: a new page takes twice the time."""
    return open_page(sentence)


def check_shares(text: str, *expected: float) -> None:
    """The percentages in a text are these, as exactly as they are written."""
    found = re.findall(r"(<?)\s*(\d+)(?:\.(\d+))?(?:\s%| percent)", text)
    assert len(found) == len(expected), text
    for (less, whole, digits), share in zip(found, expected, strict=True):
        if less:
            assert share < 0.0001 + STORED
        else:
            within = 0.5 * 10.0 ** -len(digits) / 100 + STORED
            assert float(f"{whole}.{digits or 0}") / 100 == pytest.approx(share, abs=within), text


def multiple(text: str) -> float:
    return float(re.findall(r"([\d.]+)(?:×| times)", text)[0])


def weights(explanation: Explanation, layer: int, head: int, query: int) -> Tensor:
    return explanation.layers[layer].weights[0, head, query].double()


def pick_head(page: "Page", layer: int, head: int) -> None:
    row = page.locator("#heads [role=row]").nth(layer)
    row.locator("[role=gridcell]").nth(head).click()
    page.mouse.move(1, 1)


def patch(page: "Page", token: int, within: str = "#attention") -> "Locator":
    return page.locator(f"{within} .digit-map [data-token='{token}']").first


def pick_query(page: "Page", token: int) -> None:
    patch(page, token).click()
    page.mouse.move(1, 1)


def entry(page: "Page", row: int, column: int, columns: int = 16) -> "Locator":
    return page.locator(f".matrix [data-place='{row * columns + column}']")


def table(page: "Page", name: str) -> list[list[str]]:
    """The cells of a table, heads of rows included."""
    page.get_by_role("button", name=name).click()
    rows = page.evaluate(
        """() => [...document.querySelectorAll("dialog tbody tr")].map(
          (row) => [...row.children].map((cell) => cell.textContent))"""
    )
    page.get_by_role("button", name="Close the table").click()
    return list(rows)


def test_the_sentence_has_the_numbers_of_the_selected_query(
    page: "Page", nine: Explanation
) -> None:
    pick_head(page, 2, 1)
    pick_query(page, 12)
    text = page.locator("#sentence").inner_text()
    row = weights(nine, 2, 1, 12)
    best = int(row.argmax())
    named = "itself" if best == 12 else f"patch {best + 1}"
    assert text.startswith(f"L3 H2: patch 13 attends to {named} with ")
    assert nine.masking.values is not None
    before = nine.prediction.probability
    changed = [before] if "goes from" in text else []
    check_shares(text, float(row[best]), *changed, before - float(nine.masking.values[best]))
    assert multiple(text) == pytest.approx(float(row[best]) * 16, abs=0.5)


def test_the_sentence_follows_pointer_and_focus(page: "Page", nine: Explanation) -> None:
    pick_head(page, 2, 1)
    pick_query(page, 5)
    row = weights(nine, 2, 1, 5)
    patch(page, 9).hover()
    text = page.locator("#sentence").inner_text()
    assert text.startswith("L3 H2: patch 6 attends to patch 10 with ")
    check_shares(text.partition(". When")[0], float(row[9]))
    entry(page, 3, 7).hover()
    text = page.locator("#sentence").inner_text()
    assert text.startswith("L3 H2: patch 4 attends to patch 8 with ")
    page.mouse.move(1, 1)


def test_keys_select_the_query_and_the_head_and_move_the_focus(page: "Page") -> None:
    pick_query(page, 0)
    patch(page, 0).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.token") == "5"
    page.keyboard.press("Enter")
    assert page.get_by_role("heading", name="Query: patch 6").is_visible()
    page.keyboard.press("Control+End")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")  # at the edge nothing happens
    page.keyboard.press(" ")
    assert page.get_by_role("heading", name="Query: patch 16").is_visible()
    chosen = page.locator('#heads [aria-selected="true"]')
    chosen.focus()
    for key in ("Control+Home", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert chosen.count() == 1
    assert (chosen.get_attribute("aria-label") or "").startswith("L2 H3: ")
    assert chosen.evaluate("cell => cell === document.activeElement")
    assert page.locator('#heads [tabindex="0"]').count() == 1


def test_the_label_of_every_head_has_its_largest_weight(page: "Page", nine: Explanation) -> None:
    pick_query(page, 10)
    labels = page.locator("#heads [role=gridcell]").evaluate_all(
        "cells => cells.map((cell) => cell.getAttribute('aria-label'))"
    )
    assert len(labels) == 24
    for place, label in enumerate(labels):
        layer, head = divmod(place, 4)
        row = weights(nine, layer, head, 10)
        best = int(row.argmax())
        assert label.startswith(f"L{layer + 1} H{head + 1}: attends most to patch {best + 1}, ")
        check_shares(label, float(row[best]))


def test_the_tables_hold_every_number(page: "Page", nine: Explanation) -> None:
    pick_head(page, 4, 3)
    pick_query(page, 1)
    row = weights(nine, 4, 3, 1)
    assert nine.masking.values is not None
    rows = table(page, "Table of this query")
    assert [cells[0] for cells in rows] == [f"patch {i + 1}" for i in range(16)]
    for cells, weight, fall in zip(rows, row, nine.masking.values, strict=True):
        check_shares(cells[1], float(weight))
        assert multiple(cells[2]) == pytest.approx(16 * float(weight), abs=0.5)
        change = float(cells[3].replace("−", "-"))
        assert change == pytest.approx(-100 * float(fall), abs=0.051)
    rows = table(page, "Table of the matrix")
    for cells, expected in zip(rows, nine.layers[4].weights[0, 3].double(), strict=True):
        check_shares(" ".join(cells[1:]), *expected.tolist())
    assert len(table(page, "Table of all heads")) == 24
    measures = table(page, "Table of these maps")
    assert nine.rollout.values is not None
    for cells, share in zip(measures, nine.rollout.values, strict=True):
        check_shares(cells[1], float(share))


def test_a_cell_of_the_matrix_selects_query_and_key(page: "Page", nine: Explanation) -> None:
    pick_head(page, 1, 0)
    entry(page, 6, 13).click()
    page.mouse.move(1, 1)
    text = page.locator("#sentence").inner_text()
    assert "patch 7 attends to patch 14 with " in text
    check_shares(text.partition(". When")[0], float(weights(nine, 1, 0, 6)[13]))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "patch 8 attends to patch 15 with " in page.locator("#sentence").inner_text()
    assert (entry(page, 7, 14).get_attribute("aria-label") or "").startswith(
        "patch 8 attends to patch 15: "
    )


def pixels(page: "Page", selector: str) -> Tensor:
    """Red, green and blue of every pixel of a canvas, with those above it."""
    address = page.locator(selector).first.evaluate(
        """canvas => {
          const copy = canvas.cloneNode().getContext("2d");
          for (const one of canvas.parentElement.querySelectorAll("canvas")) {
            copy.drawImage(one, 0, 0);
          }
          return copy.canvas.toDataURL();
        }"""
    )
    image = Image.open(BytesIO(b64decode(address.partition(",")[2]))).convert("RGB")
    return torch.from_numpy(np.asarray(image).astype(float))


def colour_of(page: "Page", row: int, column: int) -> list[int]:
    colour = entry(page, row, column).evaluate("cell => getComputedStyle(cell).backgroundColor")
    return [int(part) for part in re.findall(r"\d+", colour)]


COARSE = 6  # the page interpolates between 33 colours of the scale: at most 5.2 of 255 off


def fixed_colour(weight: float) -> Tensor:
    from matplotlib import colormaps

    return torch.tensor(colormaps["cividis"](weight**0.5)[:3], dtype=torch.float64) * 255


def signed_colour(share: float) -> Tensor:
    """From -1 (orange) through 0 to 1 (blue)."""
    end = (0xB3, 0x47, 0x00) if share < 0 else (0x00, 0x63, 0xA6)
    middle = torch.tensor((0xF7, 0xF4, 0xEF), dtype=torch.float64)
    return middle + abs(share) * (torch.tensor(end, dtype=torch.float64) - middle)


def check_cell(shown: Tensor, explanation: Explanation, place: int, tint: Tensor) -> None:
    """Each pixel of the patch is the tint, darker beside ink, with white ink over it."""
    row, column = divmod(place, 4)
    part = slice(7 * row, 7 * row + 7), slice(7 * column, 7 * column + 7)
    inks = explanation.pixels[:1].double() / 255
    near = torch.nn.functional.max_pool2d(inks, kernel_size=3, stride=1, padding=1)
    ink, beside = inks[0][part][..., None], near[0][part][..., None]
    expected = tint * (1 - 0.7 * beside) * (1 - ink) + 255 * ink
    torch.testing.assert_close(shown[part], expected, atol=6, rtol=0)


def test_colours_are_on_one_fixed_scale_below_the_ink(page: "Page", nine: Explanation) -> None:
    pick_head(page, 3, 2)
    pick_query(page, 10)
    for query, key in ((2, 3), (7, 14), (12, 1), (15, 9)):
        expected = fixed_colour(float(weights(nine, 3, 2, query)[key])).tolist()
        assert colour_of(page, query, key) == pytest.approx(expected, abs=COARSE)
    for layer, head in ((3, 2), (3, 3), (0, 1)):
        row = weights(nine, layer, head, 10)
        shown = pixels(
            page, f"#heads [role=row]:nth-child({layer + 1}) div:nth-of-type({head + 1}) canvas"
        )
        for place in range(16):
            check_cell(shown, nine, place, fixed_colour(float(row[place])))


def test_the_measures_are_drawn_and_a_fall_is_orange(page: "Page", nine: Explanation) -> None:
    assert nine.rollout.values is not None
    assert nine.relevance.values is not None
    assert nine.masking.values is not None
    assert nine.shapley.values is not None
    relevance = nine.relevance.values / nine.relevance.values.sum()
    for name, values in (("rollout", nine.rollout.values), ("relevance", relevance)):
        shown = pixels(page, f"#{name} canvas")
        for place in range(16):
            check_cell(shown, nine, place, fixed_colour(float(values[place])))
    for name, values in (("masking", -100 * nine.masking.values), ("shapley", nine.shapley.values)):
        ends = page.locator(f"#{name} .scale .marks span").all_inner_texts()
        domain = float(ends[2].split()[0])
        assert domain / 5 < float(values.abs().max()) <= domain
        shown = pixels(page, f"#{name} canvas")
        for place in range(16):
            check_cell(shown, nine, place, signed_colour(float(values[place]) / domain))
        written = page.locator(f"#{name} .patch .value").all_inner_texts()
        numbers = [float(text.replace("−", "-")) for text in written]
        assert numbers == pytest.approx(values.tolist(), abs=0.051)


def test_the_second_scale_shows_multiples_of_the_uniform_weight(
    page: "Page", nine: Explanation
) -> None:
    pick_head(page, 1, 2)
    page.get_by_role("radio", name="× uniform").click()
    marks = page.locator("#attention .scale .marks span").all_inner_texts()
    assert marks == ["1/16×", "1/4×", "1×", "4×", "16×"]
    logarithm = torch.log2(16 * weights(nine, 1, 2, 2)[3]) / 4
    expected = signed_colour(float(logarithm.clamp(-1, 1))).tolist()
    assert colour_of(page, 2, 3) == pytest.approx(expected, abs=2)
    page.get_by_role("radio", name="0–100 %").click()


def test_the_page_shows_the_picture_beside_the_model_input(page: "Page") -> None:
    sizes = page.locator("section.prediction img").evaluate_all(
        "images => images.map((image) => [image.naturalWidth, image.naturalHeight])"
    )
    assert sizes == [[140, 140], [28, 28]]


def test_tokens_before_the_patches_are_cells_of_their_own(
    open_page: Open, other: "Page", timm_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{timm_folder}", photo)
    page = open_page(explanation, other)
    assert page.get_by_role("heading", name="Query: class token").is_visible()
    patch(page, 0).focus()
    page.keyboard.press("ArrowDown")  # class token and registers are one line above the patches
    page.keyboard.press("Enter")
    assert page.get_by_role("heading", name="Query: patch 1").is_visible()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.get_by_role("heading", name="Query: register 2").is_visible()
    pick_head(page, 1, 2)
    rows = table(page, "Table of this query")
    prefix = ["class token", *(f"register {i}" for i in (1, 2, 3, 4)), "patch 1"]
    assert [cells[0] for cells in rows][:6] == prefix
    shown = weights(explanation, 1, 2, 2)
    for cells, weight in zip(rows, shown, strict=True):
        check_shares(cells[1], float(weight))
    thumbnail = pixels(page, "#heads [role=row]:nth-child(2) div:nth-of-type(3) canvas")
    for token, weight in enumerate(shown[:5]):
        found = thumbnail[0, int((token + 0.5) / 5 * thumbnail.shape[1])]
        torch.testing.assert_close(found, fixed_colour(float(weight)), atol=5, rtol=0)


def test_windows_can_be_selected_and_are_not_placed_in_the_picture(
    open_page: Open, other: "Page", windows_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{windows_folder}", photo)
    page = open_page(explanation, other)
    pick_head(page, 0, 1)
    assert page.get_by_text("In order, not as in the picture").is_visible()
    page.get_by_label("Window").fill("3")
    text = page.locator("#sentence").inner_text()
    assert text.startswith("L1 H2, window 3 of 4: token 1 attends to ")
    check_shares(text, float(explanation.layers[0].weights[2, 1, 0].max()))
    assert page.locator("#rollout canvas").count() == 0
    assert page.get_by_text("attends inside windows").count() == 3


def test_a_large_matrix_is_one_canvas_with_one_cell(
    open_page: Open, other: "Page", nine: Explanation
) -> None:
    torch.manual_seed(0)
    size = 14 * 14
    many = torch.rand(1, 2, size, size).softmax(dim=-1)
    layer = replace(nine.layers[0], weights=many, queries=tuple(range(size)), num_queries=size)
    none = Influence(reason="of the test")
    page = open_page(
        replace(
            nine, layers=(layer,), grid=Grid(14, 14), rollout=none, relevance=none, shapley=none,
            masking=none,
        ),
        other,
    )  # fmt: skip
    cell = page.locator(".matrix-canvas [role=gridcell]")
    cell.focus()
    for key in ("Control+Home", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    label = cell.get_attribute("aria-label") or ""
    names = "patch 3 (row 1, column 3) attends to patch 2 (row 1, column 2): "
    assert label.startswith(names)
    check_shares(label, float(many[0, 0, 2, 1]))
    expected = fixed_colour(float(many[0, 0, 2, 1]))
    torch.testing.assert_close(
        pixels(page, ".matrix-canvas canvas")[2, 1], expected, atol=3, rtol=0
    )


def test_all_controls_are_reached_with_the_tab_key_and_the_theme_can_be_switched(
    open_page: Open, other: "Page", nine: Explanation
) -> None:
    page = open_page(nine, other)
    page.emulate_media(color_scheme="dark")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "(({ ariaLabel, labels, innerText }) =>"
            " ariaLabel || labels?.[0]?.innerText || innerText)(document.activeElement)"
        ))  # fmt: skip
    wanted = [
        *("Theme: auto", "0–100 %", r"patch \d+, query", r"patch \d+ attends to patch \d+"),
        *(r"L\d H\d", "Table of this query", "Table of the matrix", "Table of all heads"),
    ]
    assert all(any(re.match(one, name) for name in reached) for one in wanted), reached
    dark, light = "rgb(18, 22, 29)", "rgb(246, 245, 241)"
    for colour in (dark, light, dark):  # of the system, then light, then dark
        shown = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert shown == colour
        page.get_by_role("button", name="Theme").click()
    page.emulate_media(color_scheme="null")


@contextmanager
def shown(page: "Page", scheme: Any, width: int) -> Iterator[None]:
    """The page in this scheme and width, inside the block."""
    usual = page.viewport_size
    assert usual is not None
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    try:
        yield
    finally:
        page.emulate_media(color_scheme="null")
        page.set_viewport_size(usual)


in_both_schemes = pytest.mark.parametrize(
    ("scheme", "width"), [pytest.param("light", 1280, marks=pytest.mark.slow), ("dark", 320)]
)


@in_both_schemes
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    page: "Page", scheme: str, width: int
) -> None:
    with shown(page, scheme, width):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []


@pytest.fixture(scope="module")
def sentence() -> TextExplanation:
    explanation = explain("sentences-causal", "The cat sat.", heads="each")
    assert isinstance(explanation, TextExplanation)
    return explanation


@pytest.fixture(scope="module")
def text_page(open_page: Open, sentence: TextExplanation) -> "Page":
    return open_page(sentence)


@in_both_schemes
def test_axe_finds_nothing_in_a_text(text_page: "Page", scheme: str, width: int) -> None:
    with shown(text_page, scheme, width):
        assert text_page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(text_page) == []


def test_a_text_shows_the_selected_query_layer_and_head(
    text_page: "Page", sentence: TextExplanation
) -> None:
    page, explanation = text_page, sentence
    page.get_by_role("radio", name="L1").click()
    page.get_by_role("radio", name="H2").click()
    page.get_by_role("radio", name="cat").click()
    row = next(x for x in explanation.attention if x.label == "L1 H2").weights[1]
    text = page.locator("#sentence").inner_text()
    best = int(row.argmax())
    assert text.startswith(f"L1 H2: “cat” attends most to “{explanation.tokens[best]}” with ")
    check_shares(text, float(row[best]))
    assert multiple(text) == pytest.approx(2 * float(row[best]), abs=0.06)  # two visible tokens
    assert page.locator(".words label").nth(2).inner_text().split() == ["sat", "masked"]
    rows = table(page, "Table")
    assert rows[1][3:] == ["–", "–"]
    check_shares(" ".join(rows[1][1:3]), *row[:2].tolist())


def test_a_text_with_one_query_has_a_row_for_each_layer(open_page: Open, other: "Page") -> None:
    explanation = explain("sentences", "The dog chased the ball because it was hungry.")
    page = open_page(explanation, other)
    rows = table(page, "Table")
    for layer, part in enumerate(explanation.attention):
        check_shares(" ".join(rows[layer][1:]), *part.weights[0].tolist())
    entry(page, 0, 1, columns=10).click()
    colours = page.locator(".words label:has(:disabled)").evaluate_all(
        "labels => labels.map((label) => getComputedStyle(label).color.match(/\\d+/g).map(Number))"
    )
    assert len(colours) == 9
    assert np.min(colours) > 180  # on a dark background, words that cannot be chosen are legible
    sentence, _, said = page.locator("#sentence").inner_text().partition(". ")
    assert sentence.startswith("L1: “it” attends to “dog” with ")
    check_shares(sentence.partition(",")[0], float(explanation.attention[0].weights[0, 1]))
    assert explanation.prediction is not None
    word, share = explanation.prediction.words[0]
    said = said.partition("predicts: ")[2]
    assert said.startswith(word)
    check_shares(said.partition(",")[0], share)


def test_the_matrix_stays_in_place_while_cells_are_pointed_at(page: "Page") -> None:
    pick_head(page, 1, 0)
    tops = set()
    for place in (*range(0, 256, 17), 109, 6, 200):  # "itself" makes the sentence shorter
        entry(page, *divmod(place, 16)).hover()
        tops.add(page.evaluate("document.querySelector('.matrix').offsetTop"))
    assert len(tops) == 1
