import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clearhead.data.preprocessing.any_picture import as_picture
from clearhead.data.preprocessing.grey import to_grey
from clearhead.errors import ImageError

HEIGHT, WIDTH = 5, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
FLOATS = (PIXELS / 255).astype(np.float32)


def test_every_kind_of_picture_gives_the_same_pixels(tmp_path: Path) -> None:
    image = Image.fromarray(PIXELS)
    path = tmp_path / "picture.png"
    image.save(path)
    sources: list[Any] = [
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        image,
        PIXELS,
        PIXELS[None],
        FLOATS,
        FLOATS.astype(np.float64)[None],
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS)[None],
        torch.from_numpy(FLOATS),
        torch.from_numpy(FLOATS).requires_grad_(),
        PIXELS[::-1][::-1],
        Image.open(io.BytesIO(path.read_bytes())),
    ]
    for source in sources:
        np.testing.assert_allclose(to_grey(as_picture(source)), PIXELS / 255, atol=1e-6)


def test_colour_comes_channels_first() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)
    for source in (colours, colours / 255, torch.from_numpy(colours)):
        picture = as_picture(source)
        np.testing.assert_array_equal(np.asarray(picture).transpose(2, 0, 1), colours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read(dtype: torch.dtype) -> None:
    picture = as_picture(torch.from_numpy(FLOATS).to(dtype))
    np.testing.assert_allclose(to_grey(picture), FLOATS, atol=0.01)


@pytest.mark.parametrize(
    "source",
    [
        np.zeros(5),
        np.zeros((2, 5, 7)),
        np.zeros((5, 7, 3), dtype=np.uint8),
        np.zeros((1, 1, 5, 7)),
        np.zeros((0, 7)),
        np.zeros((5, 7), dtype=np.int64),
        np.zeros((5, 7), dtype=bool),
        np.zeros((5, 7), dtype=complex),
        np.full((5, 7), 255.0),
        np.full((5, 7), -0.1),
        np.full((5, 7), np.nan),
        np.full((5, 7), np.inf),
        torch.full((5, 7), float("nan")),
        torch.zeros(5, 7, dtype=torch.long),
        np.broadcast_to(np.uint8(0), (5_000, 5_000)),
        Image.new("1", (5_000, 5_000)),
        Image.open(io.BytesIO(b"P5 7 5 255\n cut")),
        None,
        7,
        [[0, 1], [1, 0]],
    ],
    ids=str,
)
def test_anything_else_is_an_error(source: Any) -> None:
    with pytest.raises(ImageError) as refusal:
        as_picture(source)
    assert "\n" not in str(refusal.value)
