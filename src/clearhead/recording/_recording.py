"""The result of `capture`: attention records by name, and exports for other tools."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.errors import CaptureError, NothingCapturedError
from clearhead.recording._html import weights_table
from clearhead.recording._record import AttentionRecord, used_keys
from clearhead.recording._verification import Verification, verify

NO_RECORDS = (
    "the recording has no records: it is filled when the `with` block ends, so read it after the "
    "block; an exception before any attention leaves it empty"
)


class Recording(Mapping[str, AttentionRecord]):
    """The attention records of one `capture` block, in the order of the calls.

    A mapping from module paths to records: `recording["blocks.3.attn"]`. An index works as well:
    `recording[3]`. A module that computes attention more than once has "#2", "#3" … on its later
    calls.

    Args:
        records: By module path; by default none.
    """

    def __init__(self, records: Mapping[str, AttentionRecord] | None = None) -> None:
        self._records: dict[str, AttentionRecord] = dict(records or {})
        self._unrecorded: tuple[tuple[str, str], ...] = ()
        self._joined: tuple[tuple[str, ...], ...] = ()

    @overload
    def __getitem__(self, name: str) -> AttentionRecord: ...
    @overload
    def __getitem__(self, name: int) -> AttentionRecord: ...
    def __getitem__(self, name: str | int) -> AttentionRecord:
        if isinstance(name, int):
            self._nonempty()
            if not -len(self) <= name < len(self):
                raise IndexError(f"there are {len(self)} records; index {name} is out of range")
            return list(self._records.values())[name]
        if name not in self._records:
            known = f"there are: {', '.join(self._records)}" if self._records else NO_RECORDS
            raise KeyError(f"no attention named {name!r} was captured; {known}")
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Recording({', '.join(self._records)})"

    def _repr_html_(self) -> str:
        return weights_table(record._html_row() for record in self.records)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the calls."""
        return tuple(self._records)

    @property
    def records(self) -> tuple[AttentionRecord, ...]:
        """The records, in the order of the calls."""
        return tuple(self._records.values())

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """What may be attention and is not recorded as a whole: module path and reason.

        Empty for ordinary attention. `capture` warns where it is not.
        """
        return tuple(f"{path}: {reason}" for path, reason in self._unrecorded)

    @property
    def joined(self) -> tuple[tuple[str, ...], ...]:
        """Names of records whose outputs the model joins in one tensor, as those of single heads.

        `unrecorded` lists each group by its first name.
        """
        return self._joined

    def generated(self) -> "Recording":
        """The recording of one `generate()`, with the steps of each layer joined in one record.

        A record has one query per new token, the position that predicts it, and one key per token
        of prompt and generation (for cross-attention, of the encoder): the weights are (batch,
        heads, new tokens, tokens), and tokens that a step could not attend to are masked. The
        names are the paths of the modules, with "#2" for the second attention of a module in each
        step; modules that did not run in every step, such as an encoder, are left out. Record
        static caches with `capture(copies=True)`.

        Returns:
            A recording whose weights are computed on access, as those of every recording.

        Raises:
            CaptureError: The steps of a layer do not continue one another: a beam search, several
                calls of `generate()`, generation without a cache, or fewer than two steps.
        """
        from clearhead.recording._generation import generated

        return Recording(generated(self._records))

    def verify(self) -> tuple[Verification, ...]:
        """Recompute every record and compare it with the output of the model.

        Returns:
            One `Verification` per record, with the differences.

        Raises:
            NothingCapturedError: There are no records.
            UnfaithfulCaptureError: A difference is larger than rounding explains; the message has
                the figures.
        """
        return verify(self._nonempty())

    def to_dict(self) -> dict[str, Any]:
        """Names, shapes (batch, heads, queries, keys) and weights as nested lists.

        Returns:
            By name: `shape` and `weights`.

        Raises:
            NothingCapturedError: There are no records.
        """
        return {record.name: record.to_dict() for record in self._nonempty()}

    def to_hf(self) -> tuple[Float[Tensor, "batch heads queries keys"], ...]:
        """Weights in the form of transformers' `outputs.attentions`: one tensor per call.

        Key columns that are not tokens (attention sinks) are left out, as transformers does.

        Returns:
            Weights, one tensor per call.

        Raises:
            NothingCapturedError: There are no records.
        """
        return tuple(record.token_stages().weights for record in self._nonempty())

    @overload
    def to_bertviz(
        self, tokens: Sequence[str], batch_index: int = 0
    ) -> tuple[tuple[Tensor, ...], list[str]]: ...
    @overload
    def to_bertviz(
        self, tokens: Sequence[str], batch_index: int = 0, *, key_tokens: Sequence[str]
    ) -> dict[str, Any]: ...
    def to_bertviz(
        self,
        tokens: Sequence[str],
        batch_index: int = 0,
        *,
        key_tokens: Sequence[str] | None = None,
    ) -> tuple[tuple[Tensor, ...], list[str]] | dict[str, Any]:
        """The arguments of BertViz's views.

        Key columns that are not tokens are left out: attention sinks, and the places of a static
        cache that no query attends to yet.

        Args:
            tokens: The tokens of one sequence, as text.
            batch_index: The batch entry to export.
            key_tokens: The tokens of the encoder, to export cross-attention from `tokens`.

        Returns:
            A tuple with the weights of each call, and the tokens as a list; with `key_tokens`, the
            keyword arguments cross_attention, encoder_tokens and decoder_tokens.

        Raises:
            CaptureError: A record has another number of queries or keys than there are tokens. With
                `key_tokens`, records of other sizes are left out, and none is left.
            NothingCapturedError: There are no records.
        """
        keys = tokens if key_tokens is None else key_tokens
        weights = {
            record.name: used_keys(record.token_stages(batch=batch_index).weights, len(keys))
            for record in self._nonempty()
        }
        size = (len(tokens), len(keys))
        fitting = [x for x in weights.values() if x.shape[-2:] == size]
        if not fitting or (key_tokens is None and len(fitting) < len(weights)):
            name, other = next((k, x) for k, x in weights.items() if x.shape[-2:] != size)
            given = f"{size[0]}" if key_tokens is None else f"{size[0]} and {size[1]}"
            raise CaptureError(
                f"{name} has {other.shape[-2]} queries and {other.shape[-1]} keys, but {given} "
                "tokens were given; choose layers that attend over these tokens"
            )
        if key_tokens is None:
            return tuple(fitting), list(tokens)
        return {
            "cross_attention": tuple(fitting),
            "encoder_tokens": list(key_tokens),
            "decoder_tokens": list(tokens),
        }

    def to_tensor(self) -> Float[Tensor, "batch layers heads queries keys"]:
        """All weights in one tensor, with the layers after the batch.

        The same as vit-pytorch's `Recorder` returns.

        Returns:
            Weights of all calls.

        Raises:
            CaptureError: The weights differ in shape.
            NothingCapturedError: There are no records.
        """
        weights = self.to_hf()
        shapes = {name: tuple(w.shape) for name, w in zip(self, weights, strict=True)}
        if len(set(shapes.values())) != 1:
            raise CaptureError(
                "only weights of one shape fit into one tensor, here there are "
                + ", ".join(f"{name} {shape}" for name, shape in shapes.items())
                + "; choose some: capture(layers=...), or use to_hf()"
            )
        return torch.stack(weights, dim=1)

    def _nonempty(self) -> tuple[AttentionRecord, ...]:
        if not self._records:
            raise NothingCapturedError(NO_RECORDS)
        return self.records
