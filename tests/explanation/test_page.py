"""The page of a picture in a browser, opened from disk."""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clearhead.explanation import Explanation, explain, write_report
from tests.accessible import violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROUNDING = 0.0005 + 0.5 / 65535 + 2e-6  # one digit after the point of a per cent, and 16 bits
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
def open_page(
    browser: "Browser", messages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Open]:
    """Opens an explanation in a browser context of its own."""
    contexts = []

    def open_file(explanation: Explanation, **settings: Any) -> "Page":
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda entry: messages.append(f"{entry.type}: {entry.text}"))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: messages.append(request.url))
        (path,) = write_report(explanation, tmp_path_factory.mktemp("page") / "report.html")
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('sentence').textContent")
        assert messages.pop(0) == path.as_uri()
        return page

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def page(open_page: Open, nine: Explanation) -> "Page":
    """The page of a nine; each test selects head and query itself."""
    return open_page(nine)


def shares(text: str) -> list[float]:
    """The numbers before a per cent sign; "<0.1" stands for its middle."""
    matches = re.findall(r"(<?)(\d+\.\d+)\s%", text)
    return [float(number) / (200 if less else 100) for less, number in matches]


def weights(explanation: Explanation, layer: int, head: int, query: int) -> Tensor:
    return explanation.layers[layer].weights[0, head, query].double()


def pick_head(page: "Page", layer: int, head: int) -> None:
    page.locator(f'#heads [data-layer="{layer}"][data-head="{head}"]').click()


def test_the_sentence_has_the_numbers_of_the_selected_query(
    page: "Page", nine: Explanation
) -> None:
    pick_head(page, 2, 1)
    page.locator("#map").click(position={"x": 10, "y": 340})  # the last row's first patch
    text = page.locator("#sentence").inner_text()
    row = weights(nine, 2, 1, 12)
    best = int(row.argmax())
    assert text.startswith("In L3 H2, patch 13 (row 4, column 1) attends most to ")
    named = (
        "itself" if best == 12 else f"patch {best + 1} (row {best // 4 + 1}, column {best % 4 + 1})"
    )
    assert f"attends most to {named}:" in text
    numbers = shares(text)
    assert numbers[0] == pytest.approx(float(row[best]), abs=ROUNDING)
    assert numbers[1] == pytest.approx(1 / 16, abs=0.0006)
    multiple = float(re.findall(r"([\d.]+)\s×", text)[0])
    assert multiple == pytest.approx(float(row[best]) * 16, abs=0.06)
    assert nine.masking.values is not None
    after = nine.prediction.probability - float(nine.masking.values[best])
    assert numbers[-2:] == pytest.approx([nine.prediction.probability, after], abs=0.00006)


def test_keys_select_the_query_and_the_head_and_move_the_focus(page: "Page") -> None:
    cell = page.locator("#map [role=gridcell]")
    cell.focus()
    page.keyboard.press("Control+Home")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert cell.evaluate("cell => cell === document.activeElement")
    assert cell.get_attribute("aria-colindex") == "2"
    assert page.locator("#map [role=row]").get_attribute("aria-rowindex") == "2"
    label = cell.get_attribute("aria-label") or ""
    assert label.startswith("query: patch 6 (row 2, column 2);")
    assert page.locator("#map-title").inner_text() == "Query: patch 6 (row 2, column 2)"
    page.keyboard.press("End")
    assert page.locator("#map-title").inner_text() == "Query: patch 8 (row 2, column 4)"
    page.keyboard.press("Control+End")
    assert page.locator("#map-title").inner_text() == "Query: patch 16 (row 4, column 4)"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")  # at the edge nothing happens
    assert page.locator("#map-title").inner_text() == "Query: patch 16 (row 4, column 4)"
    chosen = page.locator('#heads [aria-selected="true"]')
    chosen.focus()
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert chosen.count() == 1
    assert (chosen.get_attribute("data-layer"), chosen.get_attribute("data-head")) == ("1", "2")
    assert chosen.evaluate("cell => cell === document.activeElement")
    assert page.locator("#map-where").inner_text() == "L2 H3 · blocks.1.attn"
    tabbable = page.locator('#heads [tabindex="0"]')
    assert tabbable.count() == 1


def test_the_label_of_every_head_has_its_largest_weight(page: "Page", nine: Explanation) -> None:
    page.locator("#map").click(position={"x": 180, "y": 180})
    for layer in range(6):
        for head in range(4):
            cell = page.locator(f'#heads [data-layer="{layer}"][data-head="{head}"]')
            row = weights(nine, layer, head, 10)
            best = int(row.argmax())
            label = cell.get_attribute("aria-label") or ""
            assert f"patch {best + 1} (row {best // 4 + 1}, column {best % 4 + 1})" in label
            assert label.startswith(f"L{layer + 1} H{head + 1}: ")
            assert shares(label) == pytest.approx([float(row[best])], abs=ROUNDING)


def test_the_tables_hold_every_number(page: "Page", nine: Explanation) -> None:
    pick_head(page, 4, 3)
    page.locator("#map").click(position={"x": 100, "y": 10})
    for name in ("map-table", "matrix-table", "heads-table"):
        page.locator(f"#{name} summary").click()
        page.wait_for_selector(f"#{name} td")
    cells = page.locator("#map-table tbody tr").all_inner_texts()
    assert len(cells) == 16
    found = [shares(line)[0] for line in cells]
    assert found == pytest.approx(weights(nine, 4, 3, 1).tolist(), abs=0.00006)
    assert sum(found) == pytest.approx(1, abs=0.001)
    multiples = [float(re.findall(r"([\d.]+)\s×", line)[0]) for line in cells]
    assert multiples == pytest.approx([16 * share for share in found], abs=0.06)
    rows = page.locator("#matrix-table tbody tr").all_inner_texts()
    matrix = torch.tensor([shares(line) for line in rows], dtype=torch.float64)
    expected = nine.layers[4].weights[0, 3].double()
    torch.testing.assert_close(matrix, expected, atol=ROUNDING, rtol=0)
    assert page.locator("#heads-table tbody tr").count() == 24


def test_a_cell_of_the_matrix_selects_query_and_key(page: "Page", nine: Explanation) -> None:
    pick_head(page, 1, 0)
    box = page.locator("#matrix").bounding_box()
    assert box is not None
    side = box["width"] / 16
    page.locator("#matrix").click(position={"x": 13.5 * side, "y": 6.5 * side})
    text = page.locator("#sentence").inner_text()
    assert "patch 7 (row 2, column 3) attends to patch 14 (row 4, column 2):" in text
    assert shares(text)[0] == pytest.approx(float(weights(nine, 1, 0, 6)[13]), abs=ROUNDING)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    text = page.locator("#sentence").inner_text()
    assert "patch 8 (row 2, column 4) attends to patch 15 (row 4, column 3):" in text


def pixels(page: "Page", selector: str) -> Tensor:
    """Red, green and blue of every pixel of a canvas."""
    address = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    image = Image.open(BytesIO(b64decode(address.partition(",")[2]))).convert("RGB")
    return torch.from_numpy(np.asarray(image).astype(float))


def fixed_colour(weight: float) -> Tensor:
    from matplotlib import colormaps

    return torch.tensor(colormaps["cividis"](weight**0.5)[:3], dtype=torch.float64) * 255


def test_colours_are_on_one_fixed_scale_below_the_ink(page: "Page", nine: Explanation) -> None:
    pick_head(page, 3, 2)
    page.locator("#map").click(position={"x": 180, "y": 180})
    shown = pixels(page, "#matrix canvas")
    side = shown.shape[1] / 16
    for query, key in ((2, 3), (7, 14), (12, 1), (15, 9)):
        expected = fixed_colour(float(weights(nine, 3, 2, query)[key]))
        colour = shown[int((query + 0.5) * side), int((key + 0.5) * side)]
        torch.testing.assert_close(colour, expected, atol=3, rtol=0)
    shown = pixels(page, "#map canvas")
    side = shown.shape[1] / 4
    for patch in (5, 6, 9):  # neither the query (10) nor without ink
        tint = fixed_colour(float(weights(nine, 3, 2, 10)[patch]))
        check_cell(shown, nine, patch, tint)
    pick_head(page, 3, 3)  # nearly all weight on one patch: dark ink on a light cell
    page.locator("#map").click(position={"x": 230, "y": 130})
    row = weights(nine, 3, 3, 6)
    assert (int(row.argmax()), float(row.max()) > 0.9) == (5, True)
    check_cell(pixels(page, "#map canvas"), nine, 5, fixed_colour(float(row[5])))


def check_cell(shown: Tensor, explanation: Explanation, patch: int, tint: Tensor) -> None:
    """Each pixel within the frame is the tint, and as much of the ink as there is over it."""
    row, column = divmod(patch, 4)
    side = shown.shape[1] / 4
    ink = explanation.pixels[0, 7 * row : 7 * row + 7, 7 * column : 7 * column + 7].double() / 255
    middles = [int((i + 0.5) * side / 7) for i in range(1, 6)]
    cell = shown[int(row * side) :, int(column * side) :][middles][:, middles]
    linear = torch.where(tint <= 10.3, tint / 255 / 12.92, ((tint / 255 + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64))
    is_light = (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05)
    colour = [11, 15, 20] if is_light else [255, 255, 255]
    ink = ink[1:6, 1:6, None]
    assert float(ink.max()) > 0.5
    expected = tint + ink * (torch.tensor(colour, dtype=torch.float64) - tint)
    torch.testing.assert_close(cell, expected, atol=5, rtol=0)


def test_the_measures_are_drawn(page: "Page", nine: Explanation) -> None:
    assert nine.rollout.values is not None
    assert nine.relevance.values is not None
    assert nine.masking.values is not None
    shares = nine.relevance.values / nine.relevance.values.sum()
    rollout, relevance, masking = (
        pixels(page, f"#{name}-map") for name in ("rollout", "relevance", "masking")
    )
    for patch in (5, 6, 9, 10):
        check_cell(rollout, nine, patch, fixed_colour(float(nine.rollout.values[patch])))
        check_cell(relevance, nine, patch, fixed_colour(float(shares[patch])))
        fall = float(nine.masking.values[patch] / nine.masking.values.abs().max())
        end = (0xB3, 0x47, 0x00) if fall < 0 else (0x00, 0x63, 0xA6)
        middle = torch.tensor((0xF7, 0xF4, 0xEF), dtype=torch.float64)
        tint = middle + abs(fall) * (torch.tensor(end, dtype=torch.float64) - middle)
        check_cell(masking, nine, patch, tint)
    assert nine.shapley.values is not None
    limit = float(nine.shapley.values.abs().max())
    ends = page.locator("#shapley-bar .ticks span").all_inner_texts()
    assert ends == [f"−{limit:.2f}", "0", f"+{limit:.2f}"]
    ends = page.locator("#masking-bar .ticks span").all_inner_texts()
    most = 100 * float(nine.masking.values.abs().max())
    assert ends == [f"−{most:.2f}", "0", f"+{most:.2f}"]


def test_the_second_scale_shows_multiples_of_the_uniform_weight(
    page: "Page", nine: Explanation
) -> None:
    before = page.locator("#bar-words").inner_text()
    ticks = page.locator("#bar .ticks span").all_inner_texts()
    assert ticks == ["0", "1", "5", "10", "25", "50", "100", "uniform weight 6.3\u00a0%"]
    page.get_by_label("× uniform weight").check()
    assert page.locator("#bar-words").inner_text() != before
    assert page.locator("#bar .ticks span").all_inner_texts() == [
        *("1/16", "1/4", "4\u00a0×", "16\u00a0×", "1\u00a0× uniform weight 6.3\u00a0%")
    ]
    shown = pixels(page, "#matrix canvas")
    side = shown.shape[1] / 16
    colour = shown[int(2.5 * side), int(3.5 * side)].tolist()
    start = page.evaluate(
        "[...document.querySelectorAll('#heads [aria-selected=true]')].map("
        "(cell) => [cell.dataset.layer, cell.dataset.head])[0]"
    )
    multiple = 16 * float(weights(nine, int(start[0]), int(start[1]), 2)[3])
    share = max(-1.0, min(1.0, float(torch.tensor(multiple).log2()) / 4))
    end = (0xB3, 0x47, 0x00) if share < 0 else (0x00, 0x63, 0xA6)
    middle = (0xF7, 0xF4, 0xEF)
    expected = [m + abs(share) * (e - m) for m, e in zip(middle, end, strict=True)]
    assert colour == pytest.approx(expected, abs=2)
    page.get_by_label("0–100 %").check()


def test_tokens_before_the_patches_are_cells_of_their_own(
    open_page: Open, timm_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{timm_folder}", photo)
    page = open_page(explanation)
    assert page.locator("#map-title").inner_text() == "Query: class token"
    cell = page.locator("#map [role=gridcell]")
    cell.focus()
    for _ in range(3):  # columns are two wide: class token, registers 1 … 4, then the patches
        page.keyboard.press("ArrowDown")
    assert page.locator("#map-title").inner_text() == "Query: patch 1 (row 1, column 1)"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.locator("#map-title").inner_text() == "Query: register 2"
    pick_head(page, 1, 2)
    row = weights(explanation, 1, 2, 2)
    page.locator("#map-table summary").click()
    page.wait_for_selector("#map-table td")
    names = page.locator("#map-table tbody th").all_inner_texts()
    assert names[:6] == ["class token", *(f"register {i}" for i in (1, 2, 3, 4)),
                         "patch 1 (row 1, column 1)"]  # fmt: skip
    lines = page.locator("#map-table tbody tr").all_inner_texts()
    assert [shares(line)[0] for line in lines] == pytest.approx(row.tolist(), abs=0.00006)


def test_windows_can_be_selected_and_are_not_placed_in_the_picture(
    open_page: Open, windows_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{windows_folder}", photo)
    page = open_page(explanation)
    pick_head(page, 0, 1)
    assert "in order, not as in the picture" in page.locator("#map-where").inner_text()
    page.locator("#window").fill("3")
    page.locator("#window").press("Enter")
    text = page.locator("#sentence").inner_text()
    assert text.startswith("In L1 H2, window 3 of 4, token 1 attends most to ")
    largest = float(explanation.layers[0].weights[2, 1, 0].max())
    assert shares(text)[0] == pytest.approx(largest, abs=ROUNDING)
    assert page.locator("#rollout-map").count() == 0
    assert page.get_by_text("attends inside windows").count() == 3
    assert not page.locator("#photo").is_visible()


def test_all_controls_are_reached_with_the_tab_key_and_the_theme_can_be_switched(
    open_page: Open, nine: Explanation
) -> None:
    page = open_page(nine, color_scheme="dark")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "(document.activeElement.closest('[id]') || document.activeElement).id"
        ))  # fmt: skip
    wanted = ["theme", "heads", "map", "matrix", "map-table", "matrix-table", "heads-table"]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted
    for colour in ("rgb(20, 24, 31)", "rgb(251, 250, 247)", "rgb(20, 24, 31)"):
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == colour
        page.get_by_role("button", name="Light or dark").click()


@pytest.mark.parametrize(
    ("scheme", "width"), [pytest.param("light", 1280, marks=pytest.mark.slow), ("dark", 320)]
)
def test_axe_finds_nothing_with_every_table_open_and_nothing_is_wider_than_the_screen(
    open_page: Open, nine: Explanation, scheme: str, width: int
) -> None:
    page = open_page(nine, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.wait_for_selector("#heads-table td")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
