"""A link shows the same thing again; saved files hold what the screen showed."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from clearhead.microscope.payload import examples
from tests.microscope.looking import Microscope

STATE = {
    "tab": "explore",
    "step": 7,
    "focus": "mattered",
    "layer": 5,
    "head": 2,
    "asker": 7,
    "answerer": 3,
    "stage": "scaled",
    "scale": "even",
    "listeners": 1,
    "strokes": "2s1t4k1q5e1q.5e1q3s5c",
    "second": "",
    "centred": 0,
    "temperature": 0.37,
    "positions": 0,
    "seed": 12,
    "removed": "3.24",
    "values": "reversed",
    "silenced": "1.16",
    "scope": "head",
    "noisyPatches": "2.5",
    "noise": 0.85,
    "theme": "dark",
}
READ = "() => clearhead.app.reading.run.logits"


def test_a_link_holds_the_whole_state(microscope: Microscope) -> None:
    microscope.show(**STATE).settle()
    link = microscope.ask("() => clearhead.app.link()")
    told = dict(part.split("=") for part in link.split("#")[1].split("&"))
    assert told == {name: str(value) for name, value in STATE.items()}
    assert microscope.page.url == link
    logits, text = microscope.ask(READ), microscope.page.inner_text(".explore")
    other = microscope.page.context.new_page()
    try:
        other.goto(link)
        other.wait_for_selector("html[data-settled]", state="attached")
        assert other.evaluate(READ) == logits
        assert other.inner_text(".explore") == text
    finally:
        other.close()


def test_a_drawing_survives_the_link(microscope: Microscope) -> None:
    drawing = [list(map(list, stroke)) for stroke in examples()[9].strokes]
    microscope.fresh()
    microscope.ask("(strokes) => clearhead.app.set({ strokes })", drawing)
    microscope.settle()
    text = re.search(r"strokes=([^&]*)", microscope.page.url)
    assert text
    microscope.show()
    microscope.show(strokes=text[1])
    assert microscope.ask("() => clearhead.app.state.strokes") == drawing


def test_nonsense_in_a_link_is_left_out(microscope: Microscope) -> None:
    first = microscope.ask("() => JSON.stringify(clearhead.app.first)")
    microscope.show(
        tab="nowhere",
        layer=99,
        head=0,
        asker="x",
        strokes="zz!",
        temperature="1e9",
        removed="1.2.999",
        noise=-1,
        theme="<script>",
        unknown=1,
    )
    assert microscope.ask("() => JSON.stringify(clearhead.app.state)") == first


def save(microscope: Microscope, name: str) -> tuple[str, bytes]:
    with microscope.page.expect_download() as waiting:
        microscope.page.get_by_role("button", name=name, exact=True).click()
    download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def test_the_csv_holds_every_number_and_what_it_means(microscope: Microscope) -> None:
    microscope.show(tab="explore", layer=2, head=3, removed="1", stage="scores")
    name, content = save(microscope, "CSV")
    assert name == "clearhead-explore-2C.csv"
    lines = content.decode("utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    for said in (
        "Explore",
        "answer: Reads 7",
        "Layer: 2",
        "Head: C",
        "scale: this head",
        "1 head removed",
    ):
        assert said in head
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    values = np.array([float(row[3]) for row in rows[1:]])
    assert [row[1:3] for row in rows[1:4]] == [["1", "1"], ["1", "2"], ["1", "3"]]
    shown = microscope.numbers(
        "() => clearhead.app.reading.run.layers[1].heads[2].scores", np.zeros(1)
    )
    assert (values == shown).all()


def test_the_svg_is_whole_and_carries_title_layer_head_scale_and_switches(
    microscope: Microscope,
) -> None:
    microscope.show(tab="heads", scale="stretched", positions=0)
    name, content = save(microscope, "SVG")
    assert name == "clearhead-heads-3A.svg"
    root = ET.fromstring(content)
    ns = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{ns}g")) == 24
    assert len(root.findall(f".//{ns}g/{ns}rect")) == 24 * 256
    texts = [text.text or "" for text in root.iter(f"{ns}text")]
    for said in ("Clearhead microscope: Heads", "Layer: 1–6", "Head: A–D", "positions off"):
        assert any(said in text for text in texts), said
    assert any("Stretched: brightest is" in text for text in texts)


def test_the_png_shows_the_cells_in_their_colours(microscope: Microscope) -> None:
    microscope.show(tab="compare")
    name, content = save(microscope, "PNG")
    assert name == "clearhead-compare-3A.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.width > 2000
    svg = microscope.ask("() => clearhead.toSvg(clearhead.pictureOf(clearhead.app))")
    cell = re.search(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="22" height="22" fill="rgb\((\d+), (\d+), (\d+)\)"',
        svg,
    )
    assert cell
    x, y, *colour = map(float, cell.groups())
    assert picture.getpixel((int(2 * x + 3), int(2 * y + 3))) == tuple(map(int, colour))


def test_a_saved_picture_says_what_its_colours_mean_and_writes_the_large_weights(
    microscope: Microscope,
) -> None:
    microscope.show(tab="compare")
    root = ET.fromstring(save(microscope, "SVG")[1])
    ns = "{http://www.w3.org/2000/svg}"
    weights, signed = root.findall(f".//{ns}linearGradient")
    ends = [[stop.get("stop-color") for stop in x][:: len(x) - 1] for x in (weights, signed)]
    assert ends == [
        ["rgb(0, 34, 78)", "rgb(254, 232, 56)"],
        ["rgb(179, 71, 0)", "rgb(0, 99, 166)"],
    ]
    texts = [text.text or "" for text in root.iter(f"{ns}text")]
    assert {"25 %", "100 %", "▲", "-100", "100"} <= {
        text.replace("\u202f", " ").replace("\u2212", "-") for text in texts
    }
    bars = [one for one in root.findall(f"{ns}rect") if (one.get("fill") or "").startswith("url")]
    left, wide = (float(bars[0].get(name) or 0) for name in ("x", "width"))
    (even,) = (text for text in root.iter(f"{ns}text") if text.text == "▲")
    assert float(even.get("x") or 0) == pytest.approx(left + wide * (1 / 16) ** 0.5)
    microscope.show(tab="explore", stage="weights")
    root = ET.fromstring(save(microscope, "SVG")[1])
    written = [text.text for text in root.iter(f"{ns}text") if text.get("font-size") == "9px"]
    shown = microscope.ask(
        "() => [...document.querySelectorAll('.matrix [role=gridcell]')]"
        ".map((cell) => cell.textContent).filter(Boolean)"
    )
    assert written == shown
    assert len(written) > 10


def test_the_walk_saves_the_step_that_is_shown(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=5)
    name, content = save(microscope, "CSV")
    assert name == "clearhead-walk-step-5-3A.csv"
    assert "Stage: Scores" in content.decode()
    microscope.show(tab="walk", step=6)
    assert "Stage: ÷ √d" in save(microscope, "CSV")[1].decode()
    microscope.show(tab="walk", step=2)
    microscope.page.get_by_role("button", name="CSV", exact=True).click()
    expect(microscope.page.locator(".said:visible")).to_contain_text(
        "This step has no picture to save."
    )


def table_of(content: bytes) -> list[list[str]]:
    """The rows of a saved CSV, its head first."""
    return list(
        csv.reader(line for line in content.decode().splitlines() if not line.startswith("#"))
    )


def test_the_step_with_two_matrices_saves_both(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=6)
    _, *rows = table_of(save(microscope, "CSV")[1])
    values = {name: [float(row[3]) for row in rows if row[0] == name] for name, *_ in rows}
    assert [len(one) for one in values.values()] == [256, 256]
    scores, scaled = values.values()
    np.testing.assert_allclose(np.array(scores) / 4, scaled, rtol=1e-12)


def test_the_weighted_sum_saves_its_terms_and_their_sum(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=8)
    name, content = save(microscope, "CSV")
    assert name == "clearhead-walk-step-8-3A.csv"
    head, *rows = table_of(content)
    assert head == ["panel", "term", "component", "value"]
    assert rows[0][1].startswith("Patch 1, ")
    numbers = np.array([float(row[3]) for row in rows]).reshape(17, 16)
    np.testing.assert_allclose(numbers[:16].sum(axis=0), numbers[16], atol=1e-12)
    context = microscope.ask(
        "() => [...clearhead.app.reading.run.layers[2].heads[0].context.slice(160, 176)]"
    )
    assert numbers[16].tolist() == context
    assert save(microscope, "SVG")[1].count(b">Context</text>") == 1


def test_what_mattered_saves_its_own_maps(microscope: Microscope) -> None:
    microscope.show(tab="explore", focus="mattered").settle()
    name, content = save(microscope, "CSV")
    assert name == "clearhead-explore-mattered.csv"
    head, *rows = table_of(content)
    assert head[1:3] == ["row of patches", "column of patches"]
    shown = microscope.page.locator(".mattered .patches .cell").evaluate_all(
        "(cells) => cells.map((cell) => cell.dataset.text)"
    )
    assert [row[0] for row in rows[::16]] == ["Last layer", "Rollout", "Silencing"]
    assert rows[5][1:3] == ["2", "2"]
    values = np.array([float(row[3]) for row in rows]) * 100
    assert len(shown) == len(values) == 48
    written = [float(text.replace("\u2212", "-").replace("+", "")) for text in shown]
    np.testing.assert_allclose(written, values, atol=0.501)


def test_experiments_save_the_answers_before_and_after(microscope: Microscope) -> None:
    before = microscope.ask("() => clearhead.app.reading.run.probabilities")
    microscope.show(tab="explore", focus="experiments", temperature=0.1)
    head, *rows = table_of(save(microscope, "CSV")[1])
    assert head[1:3] == ["row", "column"]
    told = {
        who: [float(row[3]) for row in rows if row[1] == who] for who in ("Trained model", "Now")
    }
    assert told["Trained model"] == before
    assert told["Now"] == microscope.ask("() => clearhead.app.reading.run.probabilities")
    assert len(rows) == 256 + 20
    ET.fromstring(save(microscope, "SVG")[1])


@pytest.mark.parametrize("tab", ["explore", "heads", "compare", "text"])
def test_a_saved_matrix_says_who_asks_and_frames_the_row(tab: str, microscope: Microscope) -> None:
    microscope.show(tab=tab, asker=3, word=3)
    content = save(microscope, "SVG")[1].decode()
    assert "rows ask, columns answer" in content
    root = ET.fromstring(content)
    ns = "{http://www.w3.org/2000/svg}"
    frames = root.findall(f"{ns}path")
    panels = root.findall(f"{ns}g")
    assert len(frames) == len(panels) > 0
    for frame, panel in zip(frames, panels, strict=True):
        rects = panel.findall(f"{ns}rect")
        third = [
            rect
            for rect in rects
            if rect.get("y") == sorted({r.get("y") for r in rects}, key=lambda y: float(y or 0))[2]
        ]
        start = re.match(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)", frame.get("d") or "")
        assert start
        assert start[1] == third[0].get("x")
        assert start[2] == third[0].get("y")
        assert float(start[3]) == len(third) * float(third[0].get("width") or 0)


def test_a_very_long_word_is_cut_in_the_picture_and_whole_in_the_csv(
    microscope: Microscope,
) -> None:
    microscope.show(tab="text", sentence=f"The+{'x' * 150}+sat.")
    root = ET.fromstring(save(microscope, "SVG")[1])
    assert float(root.get("width") or 0) < 900
    assert table_of(save(microscope, "CSV")[1])[2][2] == "x" * 150


def test_words_that_stand_twice_are_told_apart_in_the_csv(microscope: Microscope) -> None:
    microscope.show(tab="text", sentence="The dog, the cat.")
    _, content = save(microscope, "CSV")
    rows = list(
        csv.reader(line for line in content.decode().splitlines() if not line.startswith("#"))
    )
    words = ["the (1)", "dog (2)", ", (3)", "the (4)", "cat (5)", ". (6)"]
    assert [row[1:3] for row in rows[1:]] == [[one, other] for one in words for other in words]


def test_there_is_nothing_to_save_without_a_digit(microscope: Microscope) -> None:
    microscope.show(strokes="")
    microscope.page.get_by_role("button", name="CSV", exact=True).click()
    expect(microscope.page.locator(".said:visible")).to_contain_text(
        "There is nothing to save here yet."
    )


def test_a_link_is_followed_even_where_the_address_is_written_meanwhile(
    microscope: Microscope,
) -> None:
    microscope.show(tab="walk", step=2)
    microscope.page.evaluate(
        """async () => {
          const was = location.href;
          location.hash = "tab=explore&layer=5&head=4";
          history.replaceState(null, "", was);  // as the page itself does after an idle slice
          await new Promise((done) => setTimeout(done, 100));
        }"""
    )
    microscope.page.wait_for_selector(".explore", timeout=5_000)
