"""Pictures of lines, as bytes."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw


def drawn(number: int) -> Image.Image:
    """Three strokes on grey paper, others for every number."""
    random = np.random.default_rng(number)
    image = Image.new("L", (61, 53), 240)
    points = random.integers(8, 45, (4, 2))
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in points], fill=15, width=5)
    return image


def png(number: int) -> bytes:
    """The same as the bytes of a PNG."""
    return as_bytes(drawn(number), "PNG")


def as_bytes(image: Image.Image, kind: str) -> bytes:
    """A picture in one of Pillow's formats."""
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


BLANK = as_bytes(Image.new("L", (50, 40), 200), "PNG")
