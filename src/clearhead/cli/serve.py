"""`clearhead serve`: a model over HTTP."""

from typing import Annotated

import tyro

from clearhead.cli.options import ModelSource
from clearhead.serve.config import ServeConfig

INTERRUPTED = 130
DEFAULTS = ServeConfig()

Settings = Annotated[ServeConfig, tyro.conf.arg(name="")]


def serve(*, model: ModelSource = "digits", settings: Settings = DEFAULTS) -> int:
    """Serve a model over HTTP: POST a picture to /v1/predict, /v1/explain; see /openapi.json.

    Stops on SIGTERM or Ctrl-C, when the requests that came in are answered; at once on a second
    one.
    """
    from clearhead.cli.output import print_remark

    need_extra()
    import torch

    from clearhead.cli.page import build
    from clearhead.models.build import load
    from clearhead.models.pretrained import ImageModel
    from clearhead.serve.app import make_app
    from clearhead.serve.run import run

    torch.set_num_threads(1)  # the model is small, and decoding needs the other cores
    interrupted = run(
        make_app(load(model, ImageModel), settings, page_of=lambda _: build(model)),
        settings,
        announce=lambda address: print_remark(f"serving {model} on {address}"),
        on_stop=lambda: print_remark(
            "stopping as soon as the requests that came in are answered; Ctrl-C ends at once"
        ),
    )
    return INTERRUPTED if interrupted else 0


def need_extra() -> None:
    """Raise `ConfigError` unless what only the server needs is installed."""
    from importlib.util import find_spec

    from clearhead.errors import ConfigError

    needed = ("fastapi", "httptools", "prometheus_client", "python_multipart", "uvicorn")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving needs {', '.join(missing)}, which is not installed: "
            "pip install 'clearhead[serve]'"
        )
