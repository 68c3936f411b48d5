"""The result of `capture`: attention records by name, and exports for other tools."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, overload

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.errors import CaptureError, NothingCapturedError
from clearhead.recording._proof import Proof, verify
from clearhead.recording._record import AttentionRecord

T = TypeVar("T")


class Recording(Mapping[str, AttentionRecord]):
    """The attentions of one block, in the order in which they were computed.

    `seen["blocks.3.attn"]` or `seen[3]`; `seen.records` are all of them. Names are module paths; a
    module that attends more than once has "#2", "#3" … on its later calls.
    """

    def __init__(self, records: Mapping[str, AttentionRecord] | None = None) -> None:
        self._records: dict[str, AttentionRecord] = dict(records or {})

    @overload
    def __getitem__(self, name: str) -> AttentionRecord: ...
    @overload
    def __getitem__(self, name: int) -> AttentionRecord: ...
    def __getitem__(self, name: str | int) -> AttentionRecord:
        """By name or by place; raises `KeyError` or `IndexError` with what there is."""
        if isinstance(name, int):
            self._nonempty()
            if not -len(self) <= name < len(self):
                raise IndexError(f"there are {len(self)} captured attentions, not a number {name}")
            return list(self._records.values())[name]
        if name not in self._records:
            known = ", ".join(self._records) or "none"
            raise KeyError(f"no attention named {name!r} was captured; there is {known}")
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Recording({', '.join(self._records)})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the calls."""
        return tuple(self._records)

    @property
    def records(self) -> tuple[AttentionRecord, ...]:
        """The records, in the order of the calls."""
        return tuple(self._records.values())

    def verify(self) -> tuple[Proof, ...]:
        """Compute every record anew and compare it with what the model produced.

        Gives the figures of each; raises `UnfaithfulCaptureError` with figures if one is beyond
        what rounding explains.
        """
        return verify(self._nonempty())

    def _nonempty(self) -> tuple[AttentionRecord, ...]:
        if not self._records:
            raise NothingCapturedError(
                "there is nothing to give: ask after the capturing block has ended, and only if no "
                "exception ended it before any attention"
            )
        return self.records

    def to_hf(self) -> tuple[Float[Tensor, "batch heads queries keys"], ...]:
        """As transformers gives `outputs.attentions`: one tensor of weights per call."""
        return tuple(record.weights for record in self._nonempty())

    def to_bertviz(
        self, tokens: Sequence[str], image: int = 0
    ) -> tuple[tuple[Float[Tensor, "1 heads queries keys"], ...], list[str]]:
        """As BertViz's views expect it: (attention, tokens), for one member of the batch."""
        attention = tuple(record.stages(images=image).weights for record in self._nonempty())
        for name, weights in zip(self, attention, strict=True):
            if weights.shape[-2:] != (len(tokens), len(tokens)):
                raise CaptureError(
                    f"{name} has {weights.shape[-2]} queries and {weights.shape[-1]} keys, but "
                    f"{len(tokens)} tokens were given; choose layers that attend over these tokens"
                )
        return attention, list(tokens)

    def to_tensor(self) -> Float[Tensor, "batch layers heads queries keys"]:
        """All weights in one tensor, layers after batch, as vit-pytorch's `Recorder` gives them."""
        weights = self.to_hf()
        shapes = {name: tuple(w.shape) for name, w in zip(self, weights, strict=True)}
        if len(set(shapes.values())) != 1:
            raise CaptureError(
                "only weights of one shape fit into one tensor, here there are "
                + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                + "; choose some: capture(layers=...), or use to_hf()"
            )
        return torch.stack(weights, dim=1)
