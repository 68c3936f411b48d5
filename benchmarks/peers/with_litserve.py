"""The digit classifier behind LitServe, with batches as large as ours, in two worker processes."""

import base64
import sys
from typing import Any

import litserve as ls
import torch

from clearhead.inference import predict_inputs, prepare
from clearhead.models import load


class Digits(ls.LitAPI):  # type: ignore[misc]
    """Decodes pictures one by one, and computes them in one batch."""

    def setup(self, device: str) -> None:
        """In each worker."""
        torch.set_num_threads(1)
        self.model = load()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """The picture's bytes, from JSON: it takes no bare files."""
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[Any]:
        """The pictures' pixels."""
        return [prepare(picture, self.model.config) for picture in inputs]

    def predict(self, batch: list[Any]) -> list[Any]:
        """One forward pass."""
        return predict_inputs(self.model, batch)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """As it is."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As JSON has it."""
        return {"label": output.label, "probabilities": output.probabilities}


if __name__ == "__main__":
    server = ls.LitServer(
        Digits(max_batch_size=32, batch_timeout=0.02), accelerator="cpu", workers_per_device=2
    )
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
