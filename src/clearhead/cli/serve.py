"""`clearhead serve`: a model over HTTP."""

from dataclasses import replace
from typing import Annotated

import tyro

from clearhead.cli.options import ModelSource
from clearhead.serve.config import ServeConfig

INTERRUPTED = 130
DEFAULTS = ServeConfig()
REQUIRED = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")

Settings = Annotated[ServeConfig, tyro.conf.arg(name="")]


def serve(*, model: ModelSource = "digits", settings: Settings = DEFAULTS) -> int:
    """Serve a model over HTTP: POST a picture to /v1/predict, /v1/explain; see /openapi.json.

    Stops on SIGTERM or Ctrl-C once the requests in progress are done; at once on a second one.
    """
    from importlib.util import find_spec

    from clearhead.cli.output import print_remark
    from clearhead.errors import ConfigError

    missing = [name for name in REQUIRED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving needs packages that are not installed: pip install {' '.join(missing)}"
        )
    import torch

    from clearhead.cli.page import build
    from clearhead.inference import load_engine
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel
    from clearhead.serve import make_app, run

    torch.set_num_threads(1)  # the model is small, and decoding needs the other cores
    classifier = load(model, ImageModel)
    if settings.engine == "auto":
        ready = load_engine(classifier, batch_size=settings.max_batch)
        print_remark(ready.choice())
        settings = replace(settings, engine=ready.name)
    interrupted = run(
        make_app(classifier, settings, page_of=lambda _: build(model)),
        settings,
        on_start=lambda address: print_remark(f"serving {model} on {address}"),
    )
    return INTERRUPTED if interrupted else 0
