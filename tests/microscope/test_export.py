"""A link restores the whole state; saved files hold what the screen shows."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from clearhead.microscope._payload import examples
from tests.microscope.driver import Microscope, csv_rows, number

NS = "{http://www.w3.org/2000/svg}"
STATE = {
    "tab": "explore",
    "step": 7,
    "focus": "importance",
    "layer": 5,
    "head": 2,
    "queryToken": 7,
    "keyToken": 3,
    "stage": "scaled",
    "scale": "even",
    "attendedBy": 1,
    "strokes": "2s1t4k1q5e1q.5e1q3s5c",
    "second": "",
    "centred": 0,
    "temperature": 0.37,
    "positions": 0,
    "seed": 12,
    "removed": "3.24",
    "values": "reversed",
    "masked": "1.16",
    "scope": "head",
    "noisyPatches": "2.5",
    "noise": 0.85,
    "theme": "dark",
}


def save_svg(microscope: Microscope) -> ET.Element:
    return ET.fromstring(microscope.save("SVG")[1])


def svg_texts(root: ET.Element) -> list[str]:
    return [text.text or "" for text in root.iter(f"{NS}text")]


def attribute(element: ET.Element, name: str) -> float:
    return float(element.get(name) or 0)


def test_a_link_restores_the_whole_state(microscope: Microscope) -> None:
    link = microscope.show(**STATE).settle().evaluate("() => clearhead.app.link()")
    written = dict(part.split("=") for part in link.split("#")[1].split("&"))
    assert written == {name: str(value) for name, value in STATE.items()}
    assert microscope.page.url == link
    logits, text = microscope.logits(), microscope.page.inner_text(".explore")
    microscope.reload()
    assert microscope.logits() == logits
    assert microscope.page.inner_text(".explore") == text


def test_a_drawing_survives_the_link(microscope: Microscope) -> None:
    drawing = [list(map(list, stroke)) for stroke in examples()[9].strokes]
    microscope.evaluate("(strokes) => clearhead.app.set({ strokes })", drawing)
    text = re.search(r"strokes=([^&]*)", microscope.frames().page.url)
    assert text
    microscope.show()
    assert microscope.show(strokes=text[1]).state("strokes") == drawing


def test_invalid_values_in_a_link_are_ignored(microscope: Microscope) -> None:
    first = microscope.evaluate("() => JSON.stringify(clearhead.app.first)")
    microscope.show(
        tab="nowhere",
        layer=99,
        head=0,
        queryToken="x",
        strokes="zz!",
        temperature="1e9",
        removed="1.2.999",
        noise=-1,
        theme="<script>",
        unknown=1,
    )
    assert microscope.evaluate("() => JSON.stringify(clearhead.app.state)") == first


def test_a_link_is_followed_while_the_address_is_being_written(microscope: Microscope) -> None:
    microscope.show(tab="walk", step=2).evaluate(
        """() => {
          const was = location.href;
          location.hash = "tab=explore&layer=5&head=4";
          history.replaceState(null, "", was);  // as the page itself does after an idle slice
        }"""
    )
    microscope.page.wait_for_selector(".explore")


def test_csv_holds_every_number_with_its_settings(microscope: Microscope) -> None:
    microscope.show(tab="explore", layer=2, head=3, removed="1", stage="scores")
    name, content = microscope.save("CSV")
    assert name == "clearhead-explore-L2H3.csv"
    lines = content.decode().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    settings = ("Layer: 2", "Head: 3", "scale: This head", "1 head removed")
    for text in ("Explore", "prediction: Predicted 7", *settings):
        assert text in head
    _, *rows = csv_rows(content)
    assert [row[1:3] for row in rows[:3]] == [["1", "1"], ["1", "2"], ["1", "3"]]
    shown = microscope.evaluate("() => [...clearhead.app.result.run.layers[1].heads[2].scores]")
    assert [float(row[3]) for row in rows] == shown


def test_svg_contains_every_head_title_scale_and_switches(microscope: Microscope) -> None:
    name, content = microscope.show(tab="heads", scale="stretched", positions=0).save("SVG")
    assert name == "clearhead-heads-L3H1.svg"
    root = ET.fromstring(content)
    assert len(root.findall(f".//{NS}g")) == 24
    assert len(root.findall(f".//{NS}g/{NS}rect")) == 24 * 256
    texts = svg_texts(root)
    title, scale = "Clearhead microscope: Heads", "Stretched: the brightest colour is"
    for text in (title, scale, "Layer: 1–6", "Head: 1–4", "positions off"):
        assert any(text in one for one in texts), text


def test_png_shows_the_cells_in_their_colours(microscope: Microscope) -> None:
    name, content = microscope.show(tab="compare").save("PNG")
    assert name == "clearhead-compare-L3H1.png"
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert picture.width > 2000
    svg = microscope.evaluate("() => clearhead.toSvg(clearhead.pictureOf(clearhead.app))")
    cell = re.search(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="22" height="22" fill="rgb\((\d+), (\d+), (\d+)\)"',
        svg,
    )
    assert cell
    x, y, *colour = map(float, cell.groups())
    assert picture.getpixel((int(2 * x + 3), int(2 * y + 3))) == tuple(map(int, colour))


def test_svg_has_legends_and_writes_the_large_weights(microscope: Microscope) -> None:
    root = save_svg(microscope.show(tab="compare"))
    weights, signed = root.findall(f".//{NS}linearGradient")
    ends = [[stop.get("stop-color") for stop in x][:: len(x) - 1] for x in (weights, signed)]
    assert ends == [
        ["rgb(0, 34, 78)", "rgb(254, 232, 56)"],
        ["rgb(179, 71, 0)", "rgb(0, 99, 166)"],
    ]
    texts = {text.replace("\u202f", " ").replace("\u2212", "-") for text in svg_texts(root)}
    assert {"25 %", "100 %", "▲", "-100", "100"} <= texts
    bar = next(r for r in root.findall(f"{NS}rect") if (r.get("fill") or "").startswith("url"))
    (even,) = (text for text in root.iter(f"{NS}text") if text.text == "▲")
    place = attribute(bar, "x") + attribute(bar, "width") * (1 / 16) ** 0.5
    assert attribute(even, "x") == pytest.approx(place)
    root = save_svg(microscope.show(tab="explore", stage="weights"))
    written = [text.text for text in root.iter(f"{NS}text") if text.get("font-size") == "9px"]
    assert written == list(filter(None, microscope.texts(".matrix [role=gridcell]")))
    assert len(written) > 10


def test_the_walk_saves_the_step_that_is_shown(microscope: Microscope) -> None:
    name, content = microscope.show(tab="walk", step=5).save("CSV")
    assert name == "clearhead-walk-step-5-L3H1.csv"
    assert "Stage: Scores" in content.decode()
    content = microscope.show(tab="walk", step=6).save("CSV")[1]
    assert "Stage: ÷ √d" in content.decode()
    _, *rows = csv_rows(content)
    values = {name: [float(row[3]) for row in rows if row[0] == name] for name, *_ in rows}
    assert [len(one) for one in values.values()] == [256, 256]
    scores, scaled = values.values()
    np.testing.assert_allclose(np.array(scores) / 4, scaled, rtol=1e-12)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"step": 2}, "This step has no picture to save."),
        ({"tab": "about"}, "This tab has no picture."),
        ({"strokes": ""}, "There is nothing to save yet."),
    ],
)
def test_where_nothing_can_be_saved_the_reason_is_shown(
    state: dict[str, object], message: str, microscope: Microscope
) -> None:
    microscope.show(**state).click("PNG")
    assert any(one.startswith(message) for one in microscope.messages())


def test_the_weighted_sum_saves_its_terms_and_their_sum(microscope: Microscope) -> None:
    name, content = microscope.show(tab="walk", step=8).save("CSV")
    assert name == "clearhead-walk-step-8-L3H1.csv"
    head, *rows = csv_rows(content)
    assert head == ["panel", "term", "component", "value"]
    assert rows[0][1].startswith("Patch 1, ")
    numbers = np.array([float(row[3]) for row in rows]).reshape(17, 16)
    np.testing.assert_allclose(numbers[:16].sum(axis=0), numbers[16], atol=1e-12)
    context = microscope.evaluate(
        "() => [...clearhead.app.result.run.layers[2].heads[0].context.slice(160, 176)]"
    )
    assert numbers[16].tolist() == context
    assert svg_texts(save_svg(microscope)).count("Context") == 1


def test_importance_saves_its_own_maps(microscope: Microscope) -> None:
    name, content = microscope.show(tab="explore", focus="importance").settle().save("CSV")
    assert name == "clearhead-explore-importance.csv"
    head, *rows = csv_rows(content)
    assert head[1:3] == ["row of patches", "column of patches"]
    shown = microscope.evaluate(
        "() => [...document.querySelectorAll('.importance .patches .cell')].map("
        "(cell) => cell.dataset.text)"
    )
    assert [row[0] for row in rows[::16]] == ["Last layer", "Rollout", "Masking"]
    assert rows[5][1:3] == ["2", "2"]
    assert len(shown) == len(rows) == 48
    values = np.array([float(row[3]) for row in rows]) * 100
    np.testing.assert_allclose([number(text) for text in shown], values, atol=0.501)


def test_experiments_save_the_probabilities_before_and_after(microscope: Microscope) -> None:
    probabilities = "() => clearhead.app.result.run.probabilities"
    before = microscope.evaluate(probabilities)
    microscope.show(tab="explore", focus="experiments", temperature=0.1)
    head, *rows = csv_rows(microscope.save("CSV")[1])
    assert head[1:3] == ["row", "column"]
    assert len(rows) == 256 + 20
    for model, expected in (("Trained model", before), ("Now", microscope.evaluate(probabilities))):
        assert [float(row[3]) for row in rows if row[1] == model] == expected
    save_svg(microscope)


@pytest.mark.parametrize("tab", ["explore", "heads", "compare", "text"])
def test_a_saved_matrix_names_its_directions_and_frames_the_row(
    tab: str, microscope: Microscope
) -> None:
    root = save_svg(microscope.show(tab=tab, queryToken=3, word=3))
    assert any("rows: query tokens, columns: key tokens" in text for text in svg_texts(root))
    frames, panels = root.findall(f"{NS}path"), root.findall(f"{NS}g")
    assert len(frames) == len(panels) > 0
    for frame, panel in zip(frames, panels, strict=True):
        cells = panel.findall(f"{NS}rect")
        third = sorted({attribute(cell, "y") for cell in cells})[2]
        row = [cell for cell in cells if attribute(cell, "y") == third]
        start = re.match(r"M([\d.]+) ([\d.]+)h([\d.]+)v", frame.get("d") or "")
        assert start
        assert start[1] == row[0].get("x")
        assert start[2] == row[0].get("y")
        assert float(start[3]) == len(row) * attribute(row[0], "width")


def test_words_are_whole_and_distinct_in_the_csv(microscope: Microscope) -> None:
    microscope.show(tab="text", sentence=f"The+{'x' * 150}+sat.")
    assert attribute(save_svg(microscope), "width") < 900
    assert csv_rows(microscope.save("CSV")[1])[2][2] == "x" * 150
    microscope.show(tab="text", sentence="The dog, the cat.")
    words = ["the (1)", "dog (2)", ", (3)", "the (4)", "cat (5)", ". (6)"]
    _, *rows = csv_rows(microscope.save("CSV")[1])
    assert [row[1:3] for row in rows] == [[one, other] for one in words for other in words]


def test_a_saved_sentence_contains_its_words(microscope: Microscope) -> None:
    content = microscope.show(tab="text", word=7).save("CSV")[1].decode()
    lines = content.splitlines()
    assert lines[0] == "# Clearhead microscope: Text"
    assert "# query token: it" in lines
    assert sum(not line.startswith("#") for line in lines) == 1 + 10 * 10
    assert svg_texts(save_svg(microscope)).count("because") == 2
