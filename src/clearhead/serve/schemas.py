"""What comes in and goes out as JSON; pydantic is used here alone."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]


class Answer(BaseModel):
    """What a picture shows. `label` is null if there was nothing to answer; `warnings` says why."""

    label: str | None
    probability: Number
    runner_up: str | None
    runner_up_probability: Number
    probabilities: list[Number] = Field(description="in the order of `classes`")
    classes: list[str]
    warnings: list[str]


class HeadWeights(BaseModel):
    """The attention weights of one head: one row a query, one column a key; rows sum to 1."""

    layer: int
    head: int
    weights: list[list[Number]]


class Explanation(Answer):
    """The answer, and the attention that led to it.

    Tokens are `num_prefix_tokens` (the class token, if any), then the patches of `grid` (rows,
    columns), row by row. `pixels` is what the model saw, from 0 to 255.
    """

    grid: tuple[int, int]
    num_prefix_tokens: int
    pixels: list[list[list[int]]] = Field(description="channels, rows, columns")
    attention: list[HeadWeights]


class Error(BaseModel):
    """What was expected, what came, what to do; in one line."""

    error: str


class Tensor(BaseModel):
    """A tensor in JSON: row-major, nested or flat."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any]


class RequestedOutput(BaseModel):
    """The name of an output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """An inference request of the Open Inference Protocol."""

    model_config = ConfigDict(strict=True)

    id: str = ""
    parameters: dict[str, Any] = {}
    inputs: list[Tensor]
    outputs: list[RequestedOutput] = []


class OutputTensor(BaseModel):
    """An output in JSON: row-major, flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Number] | list[str]


class InferResponse(BaseModel):
    """An inference response of the Open Inference Protocol."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TensorMetadata(BaseModel):
    """Name, type and shape; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(BaseModel):
    """Who answers."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """The server answers."""

    live: Literal[True] = True


class Ready(BaseModel):
    """Whether the server takes requests; false while it drains."""

    ready: bool


class ModelReady(Ready):
    """The same for the model, with its name."""

    name: str
