"""The digit classifier behind BentoML, with its adaptive batching, in two worker processes."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import torch

from clearhead.inference import predict_inputs, prepare
from clearhead.models import load


@bentoml.service(workers=2, traffic={"timeout": 30})
class Digits:
    """Decodes pictures one by one, and computes them in one batch."""

    def __init__(self) -> None:
        """In each worker."""
        torch.set_num_threads(1)
        self.model = load()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=5000)  # type: ignore[untyped-decorator]
    def predict(self, images: list[str]) -> list[dict[str, Any]]:
        """The predictions for pictures in base64: a batch is a list in JSON."""
        inputs = [prepare(base64.b64decode(image), self.model.config) for image in images]
        return [
            {"label": one.label, "probabilities": one.probabilities}
            for one in predict_inputs(self.model, inputs)
        ]


if __name__ == "__main__":
    command = str(Path(sys.executable).with_name("bentoml"))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    options = ["--host", "127.0.0.1", "--port", sys.argv[1], "--working-dir"]
    os.execv(
        command, [command, "serve", "with_bentoml:Digits", *options, str(Path(__file__).parent)]
    )
