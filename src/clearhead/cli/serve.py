"""`clearhead serve`: a model over HTTP."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from clearhead._paths import is_folder
from clearhead.cli.main import INTERRUPTED
from clearhead.cli.options import ModelSource
from clearhead.cli.output import print_remark
from clearhead.serve.config import ServeConfig

if TYPE_CHECKING:
    from clearhead.serve.app import Application

DEFAULTS = ServeConfig()
REQUIRED = ("fastapi", "prometheus_client", "python_multipart", "uvicorn")


def serve(*, model: ModelSource = "digits", settings: ServeConfig = DEFAULTS) -> int:
    """Serve a model over HTTP: POST a picture to /v1/predict, /v1/explain; see /openapi.json.

    Stops on SIGTERM or Ctrl-C once the requests in progress are done; at once on a second one.
    """
    from clearhead.errors import require

    require("serving", *REQUIRED)
    from functools import partial

    from clearhead.inference import load_engine
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel
    from clearhead.serve import run
    from clearhead.serve.telemetry import check_installed

    if settings.telemetry:
        check_installed()
    if settings.name is None:
        settings = replace(settings, name=name_of(model))
    print_remark(f"loading {model}")
    classifier = load(model, ImageModel)
    if settings.engine == "auto":
        ready = load_engine(classifier, batch_size=settings.max_batch)
        print_remark(ready.choice())
        settings = replace(settings, engine=ready.name)
    make = partial(make_application, model, settings)
    interrupted = run(
        make, settings, on_start=lambda address: print_remark(f"serving {model} on {address}")
    )
    return INTERRUPTED if interrupted else 0


def make_application(model: str, settings: ServeConfig) -> "Application":
    """The application for a model by name, with the microscope as its page."""
    from clearhead.cli.page import build
    from clearhead.models import load
    from clearhead.models.pretrained import ImageModel
    from clearhead.serve import make_app, telemetry

    if settings.telemetry:
        telemetry.start(f"clearhead-{settings.name}")
    return make_app(load(model, ImageModel), settings, page_of=lambda _: build(model))


def name_of(model: str) -> str:
    """A model's own name: that of its folder, or of its repository on the hub."""
    from pathlib import Path

    path = Path(model)
    name = path.resolve().name if is_folder(path) else model.rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII) or "model"
