"""One process that decodes: bodies come in on stdin, pixels go out on stdout.

Started by `decoders`, never by hand. A picture that crashes its decoder, or keeps it busy for
ever, costs this process and not the server; when the server is gone, stdin ends, and so does this.
"""

import logging
import os
import sys
import traceback
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from clearhead.errors import ImageError, InputError
from clearhead.inference import ModelInput
from clearhead.models.config import ImageModelConfig
from clearhead.serve.frames import frame, read_frame
from clearhead.serve.tensors import pictures_from, read_request
from clearhead.serve.upload import picture_from

SETTINGS = ("image_size", "in_channels", "num_classes", "class_names")


def settings_of(config: ImageModelConfig) -> dict[str, Any]:
    """What decoding needs to know of a model, as JSON can carry it."""
    return {name: asdict(config)[name] for name in SETTINGS}


def main() -> None:
    """Serve until stdin ends."""
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it reports bad forms
    stdin, stdout = _private_streams()
    first = read_frame(stdin)
    if first is None:
        return
    setup, _ = first
    config = ImageModelConfig(**setup["config"])
    _warm_up(config)
    stdout.write(frame({"ready": True}))
    stdout.flush()
    while (message := read_frame(stdin)) is not None:
        stdout.write(decode(*message, config, setup["most"]))
        stdout.flush()


def decode(header: dict[str, Any], body: bytes, config: ImageModelConfig, most: int) -> bytes:
    """The answer to one message: pixels, or the status and text of an error."""
    try:
        request: dict[str, Any] = {}
        if header["kind"] == "tensor":
            read = read_request(body)
            request = {
                "id": read.id if "id" in read.model_fields_set else None,
                "outputs": [wanted.name for wanted in read.outputs],
            }
            pictures = pictures_from(read, config, most)
        else:
            pictures = [picture_from(body, header["content_type"], config)]
    except (ImageError, InputError) as error:
        return frame({"status": 422 if isinstance(error, ImageError) else 400, "error": str(error)})
    except Exception:  # noqa: BLE001 - the server must hear of it, and the log shows it
        traceback.print_exc()
        return frame({"status": 500, "error": "the server failed to decode this"})
    return _pixels(pictures, request)


def _pixels(pictures: list[ModelInput], request: dict[str, Any]) -> bytes:
    said = [{"warnings": one.warnings, "found": one.found} for one in pictures]
    pixels = np.stack([one.pixels.numpy() for one in pictures])
    return frame({"pictures": said, "shape": pixels.shape, **request}, pixels.tobytes())


def _warm_up(config: ImageModelConfig) -> None:
    """The first picture loads code that the second finds ready."""
    from io import BytesIO

    from PIL import Image

    blank = BytesIO()
    Image.new("L", (40, 40), 255).save(blank, "PNG")
    picture_from(blank.getvalue(), "image/png", config)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout for messages alone: what a library prints goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)
    return sys.stdin.buffer, os.fdopen(out, "wb")


if __name__ == "__main__":
    main()
