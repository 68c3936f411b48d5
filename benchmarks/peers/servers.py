"""The same model behind other servers, for `serving.py`: servers.py SERVER PORT."""

import sys
from typing import Any


def _model() -> Any:
    import torch

    from clearhead.models.build import load

    torch.set_num_threads(1)
    return load()


def _said(prediction: Any) -> dict[str, Any]:
    return {"label": prediction.label, "probabilities": list(prediction.probabilities)}


def plain(port: int) -> None:
    """FastAPI as its manual has it: one forward pass a request, in the thread pool."""
    import uvicorn
    from fastapi import Body, FastAPI

    from clearhead.prediction.predict import predict

    app, model = FastAPI(), _model()

    @app.post("/predict")
    def answer(picture: bytes = Body(media_type="image/png")) -> dict[str, Any]:
        return _said(predict(model, picture))

    uvicorn.run(app, port=port, log_level="warning", access_log=False)


def litserve(port: int) -> None:
    """LitServe, with batches of as many as ours and two workers."""
    import litserve as ls
    from fastapi import Request

    from clearhead.prediction.predict import answer
    from clearhead.prediction.prepare import prepare

    class Digits(ls.LitAPI):  # type: ignore[misc]
        def setup(self, device: str) -> None:
            self.model = _model()

        async def decode_request(self, request: Request) -> Any:
            return prepare(await request.body(), self.model.config)

        def batch(self, inputs: list[Any]) -> list[Any]:
            return inputs

        def predict(self, batch: list[Any]) -> list[Any]:
            return answer(self.model, batch)

        def unbatch(self, output: list[Any]) -> list[Any]:
            return output

        def encode_response(self, output: Any) -> dict[str, Any]:
            return _said(output)

    server = ls.LitServer(
        Digits(max_batch_size=32, batch_timeout=0.02), accelerator="cpu", workers_per_device=2
    )
    server.run(port=port, log_level="warning", generate_client_file=False)


def mlserver(port: int) -> None:
    """MLServer, with its adaptive batching."""
    import asyncio

    from mlserver import MLModel, MLServer, ModelSettings, Settings
    from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

    from clearhead.prediction.predict import predict

    class Digits(MLModel):  # type: ignore[misc]
        async def load(self) -> bool:
            self.network = _model()
            return True

        async def predict(self, payload: InferenceRequest) -> InferenceResponse:
            said = predict(self.network, bytes(payload.inputs[0].data))
            output = ResponseOutput(
                name="probabilities", shape=[1, 10], datatype="FP64", data=[*said.probabilities]
            )
            return InferenceResponse(model_name=self.name, outputs=[output])

    async def serve() -> None:
        settings = Settings(
            http_port=port, grpc_port=port + 1, metrics_port=port + 2, parallel_workers=0
        )
        server = MLServer(settings)
        await server.start([ModelSettings(name="digits", implementation=Digits)])

    asyncio.run(serve())


if __name__ == "__main__":
    {"plain": plain, "litserve": litserve, "mlserver": mlserver}[sys.argv[1]](int(sys.argv[2]))
