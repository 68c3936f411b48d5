"""Drawn strokes become the same pixels in the page and in Python."""

import json
import random
from typing import Any

import numpy as np

from clearhead.data import rasterise
from clearhead.data.preprocessing.strokes import CANVAS
from clearhead.microscope.payload import examples
from tests.microscope.looking import Microscope

CLOSE = 1e-6
RASTERISE = """(_, drawings) => drawings.flatMap(({ strokes, size, centred }) =>
  [...clearhead.rasterise(strokes, size, centred)])"""


def wild_drawings(count: int) -> list[dict[str, Any]]:
    """Random walks of every kind: long, short, of one point, in other sizes, not centred."""
    draw = random.Random(20261121)
    drawings = []
    for number in range(count):
        strokes = []
        for _ in range(draw.randint(1, 4)):
            x, y = draw.randint(0, CANVAS - 1), draw.randint(0, CANVAS - 1)
            reach = draw.choice([3, 12, 60])
            stroke = [(x, y)]
            for _ in range(draw.randint(0, 30)):
                x = min(max(x + draw.randint(-reach, reach), 0), CANVAS - 1)
                y = min(max(y + draw.randint(-reach, reach), 0), CANVAS - 1)
                stroke.append((x, y))
            strokes.append(stroke)
        size = (28, 28) if number % 4 else (21, 35)
        drawings.append({"strokes": strokes, "size": size, "centred": number % 5 > 0})
    return drawings


def test_two_hundred_drawings_have_the_same_pixels(microscope: Microscope) -> None:
    drawings = wild_drawings(180) + [
        {"strokes": example.strokes, "size": (28, 28), "centred": True} for example in examples()
    ]
    assert len(drawings) == 200
    found = microscope.numbers(RASTERISE, np.zeros(1), json.loads(json.dumps(drawings)))
    expected = [
        rasterise(one["strokes"], one["size"], centred=one["centred"]).ravel() for one in drawings
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=0, atol=CLOSE)


def test_a_thicker_pen_would_be_noticed(microscope: Microscope) -> None:
    example = examples()[3]
    drawing = {"strokes": example.strokes, "size": (28, 28), "centred": True}
    found = microscope.numbers(RASTERISE, np.zeros(1), [drawing])
    stretched = [[(2 * x, y) for x, y in stroke] for stroke in example.strokes]
    assert np.abs(found - rasterise(stretched).ravel()).max() > 0.1


def test_an_empty_canvas_gives_no_answer_and_little_ink_asks_for_more(
    microscope: Microscope,
) -> None:
    microscope.show(strokes="")
    assert microscope.text(".answer-words") == "Nothing to read yet."
    assert microscope.text(".bars .value") == "–"
    microscope.show(strokes="2g2g2h2h")
    assert microscope.text(".answer-words") == "Very small: draw larger."
    assert microscope.ask("() => clearhead.app.reading.run") is None


def test_a_digit_that_is_not_centred_is_told_and_read_worse(microscope: Microscope) -> None:
    corner = "0505055k.055k1k5k"  # an L in the corner, as in a link
    microscope.show(strokes=corner, centred=0)
    assert "not centred" in microscope.text(".badges")
    ink = microscope.ask("() => [...clearhead.app.reading.ink]")
    assert np.array(ink).reshape(28, 28)[:, 14:].sum() == 0
