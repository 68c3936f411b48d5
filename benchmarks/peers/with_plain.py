"""The digit classifier behind FastAPI as in its manual: a forward pass per request, in threads."""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import Body, FastAPI

from clearhead.inference import predict
from clearhead.models import load

torch.set_num_threads(1)
app, model = FastAPI(), load()


@app.post("/predict")
def classify(picture: bytes = Body(media_type="image/png")) -> dict[str, Any]:
    prediction = predict(model, picture)
    return {"label": prediction.label, "probabilities": prediction.probabilities}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
