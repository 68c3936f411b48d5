"""The 93 function bodies of ONNX's Attention operator, run as torch operations."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch

pytestmark = pytest.mark.slow  # the import of ONNX's cases takes seconds

ROUNDING = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
TYPES = {1: torch.float32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
TYPES[16] = torch.bfloat16


def tensor(x: Any) -> Tensor:
    x = np.asarray(x)
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.array(x))


def constant(**attribute: Any) -> Tensor:
    from onnx import numpy_helper

    ((name, value),) = attribute.items()
    return tensor(numpy_helper.to_array(value)) if name == "value" else torch.tensor(value)


def filled(shape: Tensor, value: Any = None) -> Tensor:
    x = torch.zeros(1) if value is None else constant(value=value)
    return torch.full(shape.tolist(), x.item(), dtype=x.dtype)


def divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def reshape(x: Tensor, shape: Tensor, **_: Any) -> Tensor:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape.tolist())])


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.reshape(-1).tolist()):
        x = x.unsqueeze(axis)
    return x


def expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


def gather(x: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    shape = x.shape[:axis] + index.shape + x.shape[axis + 1 :]
    return x.index_select(axis, index.reshape(-1)).reshape(shape)


def largest(x: Tensor, axes: Tensor | None = None, **_: Any) -> Tensor:
    return x.max() if axes is None else x.amax(axes.tolist(), keepdim=True)


def pad(x: Tensor, pads: Tensor, value: Tensor, axes: Tensor | None = None, **_: Any) -> Tensor:
    chosen = range(x.dim()) if axes is None else axes.tolist()
    ends = [[0, 0] for _ in range(x.dim())]
    for axis, start, end in zip(chosen, *pads.reshape(2, -1).tolist(), strict=True):
        ends[axis] = [start, end]
    return F.pad(x, [n for pair in reversed(ends) for n in pair], value=value.item())


def size(x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Cast": lambda x, to, **_: x.to(TYPES[to]),
    "CastLike": lambda x, like, **_: x.type_as(like),
    "Concat": lambda *x, axis: torch.cat(x, axis),
    "Constant": constant,
    "ConstantOfShape": filled,
    "Div": divide,
    "Equal": torch.eq,
    "Expand": expand,
    "Gather": gather,
    "Identity": lambda x: x,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "MatMul": torch.matmul,
    "Mod": torch.remainder,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Pad": pad,
    "Range": lambda *x: torch.arange(*(n.item() for n in x)),
    "ReduceMax": largest,
    "Reshape": reshape,
    "Shape": size,
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Sqrt": torch.sqrt,
    "Squeeze": lambda x, *_: x.squeeze(),
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Transpose": lambda x, perm: x.permute(*perm),
    "Unsqueeze": unsqueeze,
    "Where": torch.where,
}


def run(case: Any) -> dict[str, Tensor]:
    """All tensors that the function body computes, by the name in ONNX's specification."""
    from onnx import helper

    inputs, _ = case.data_sets[0]
    names = (x.name for x in case.model.graph.input)
    known: dict[str, Any] = dict(zip(names, map(tensor, inputs), strict=True))
    known[""] = None
    for node in case.model.graph.node:
        attributes = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        arguments = [known[name] for name in node.input]
        known[node.output[0]] = OPERATORS[node.op_type](*arguments, **attributes)
    return {name.partition("_function_")[2] or name: x for name, x in known.items()}


def cases() -> Iterator[Any]:
    from onnx.backend.test.case import node

    __import__("onnx.backend.test.case.node.attention")
    for case in node._NodeTestCases:
        if case.name.startswith("test_attention") and case.name.endswith("_expanded"):
            yield case


def test_the_function_bodies_of_onnx_are_recorded_as_they_compute_attention() -> None:
    names = []
    for case in cases():
        names.append(case.name)
        with torch.no_grad(), ch.capture() as recording:
            computed = run(case)

        assert len(recording) == 1, case.name
        assert not recording.unrecorded, case.name
        record = recording[0]
        for stage, name in (
            (record.applied_weights, "SoftmaxOutSafe"),
            (record.masked, "SoftmaxCast"),
            (record.scaled, "QKAttnWeight"),
        ):
            expected = computed[name].float()
            tolerance = ROUNDING[record.raw_output.dtype] * float(
                expected.where(expected.isfinite(), 0).abs().max().clamp_min(1)
            )
            close = torch.allclose(stage.float(), expected, atol=tolerance, rtol=0)
            assert close, (case.name, name)
        torch.testing.assert_close(record.output, computed["YPreReshape"], equal_nan=True)
        recording.verify()
    assert len(names) == 93
