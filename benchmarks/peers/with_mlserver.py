"""The digit classifier behind MLServer."""

import asyncio
import sys

import torch
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from clearhead.inference import predict
from clearhead.models import load


class Digits(MLModel):  # type: ignore[misc]
    """One forward pass per request: its adaptive batching needs tensors of one shape."""

    async def load(self) -> bool:
        """Before the first request."""
        torch.set_num_threads(1)
        self.network = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The prediction for a picture, whose bytes are the tensor."""
        prediction = await asyncio.to_thread(predict, self.network, bytes(payload.inputs[0].data))
        output = ResponseOutput(
            name="probabilities", shape=[1, 10], datatype="FP64", data=[*prediction.probabilities]
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main(port: int) -> None:
    settings = Settings(
        http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0
    )
    await MLServer(settings).start([ModelSettings(name="digits", implementation=Digits)])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
