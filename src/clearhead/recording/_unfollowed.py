"""Softmaxes that may be those of attention although their scores are not followed."""

from typing import Any

from torch import Tensor, nn

from clearhead.recording._factors import DIVIDE, MULTIPLY
from clearhead.recording._history import (
    EXPONENTIAL,
    OTHER_EXPONENTIAL,
    History,
    Softmax,
    Softmaxes,
)
from clearhead.recording._layout import CASTS, JOINING, VIEWS
from clearhead.recording._operation import Operation, parts
from clearhead.recording._products import Product
from clearhead.recording._tables import Marks, WeakTable

PAIRED = MULTIPLY | {"addcmul"}

# Functions of scores that may be used as weights instead of a softmax.
OTHER_WEIGHTS = frozenset(
    "sigmoid sigmoid_ special_expit relu relu_ square pow __pow__ tanh tanh_ softplus".split()
)

# Operations after which weights are still weights.
CARRIED = (
    VIEWS
    | EXPONENTIAL
    | DIVIDE
    | JOINING
    | frozenset(
        "dropout dropout_ masked_fill masked_fill_ nan_to_num pad tensor_split as_strided select "
        "add __add__ mul __mul__".split()
    )
)

# Operations that leave the last axis in its place, or split it.
FEATURES = (
    CASTS
    | DIVIDE
    | MULTIPLY
    | frozenset("view reshape unflatten contiguous clone split chunk add __add__".split())
    | frozenset(["masked_fill", "topk"])
)

DEFORMABLE = "its weights depend on the query alone, and values are sampled (deformable attention)"


class Unfollowed:
    """Notes scores of unknown origin, their softmaxes, and which of these weight a tensor."""

    def __init__(self, softmaxes: Softmaxes) -> None:
        self._softmaxes = softmaxes
        self._pairs: WeakTable[Tensor, str] = WeakTable()  # elementwise products, not yet summed
        self.scores: WeakTable[Tensor, str] = WeakTable()  # the function they come from
        self._features: Marks[bool] = Marks(FEATURES)  # that a linear layer computes
        self.weights: Marks[Softmax] = Marks(CARRIED)
        self._choices: Marks[Softmax] = Marks(CARRIED)  # weights of features, not of scores
        self._samples: Marks[bool] = Marks(CARRIED)  # of values, at positions between them

    def note(self, origin: str, result: Any) -> None:
        """Note scores that come from a function that is not followed."""
        for x in parts(result):
            if x.is_floating_point() and x.shape[-1:] != (1,):
                self.scores.put(x, origin)

    def note_scores(self, history: History, name: str, result: Any) -> None:
        """Note scores with a history after an operation that is not followed."""
        if history.is_scored and history.softmax is None and not name.startswith("new_"):
            self.note(name, result)

    def note_other_weights(self, history: History, values: Product) -> None:
        """Note attention whose weights are another function of the scores than a softmax."""
        names = (step.name for step in history.pre_softmax)
        name = next((name for name in names if name in OTHER_WEIGHTS), None)
        operands = (*history.product[:2], values.second)
        if name is None or history.form != "scores" or min(x.dim() for x in operands) < 3:
            return
        is_sum = values.right.shape[-2] == 1  # of heads, as in an indexer that selects keys
        if history.is_scored and not is_sum and not isinstance(values.second, nn.Parameter):
            softmax = self._softmaxes.new(-1, values.first, history)
            softmax.refusal = f"its weights are computed by {name} and not by a softmax"

    def origin(self, x: Tensor, is_last: bool) -> str | None:
        """The function that the input of a softmax comes from; None if that is not known.

        It is "" for a choice among fixed entries: a softmax over the last axis of features. Over
        another axis it is one over tokens.
        """
        if isinstance(x, nn.Parameter) or (self._features.of(x) and is_last):
            return ""
        return self.scores.of(x)

    def put(self, weights: Tensor, softmax: Softmax, origin: str | None) -> None:
        """Note the result of a softmax."""
        (self._choices if origin == "" else self.weights).put(weights, softmax)

    def mark(self, call: Operation) -> None:
        """Mark results as features, samples or weights."""
        if call.name == "linear":
            if isinstance(call.argument(1, "weight"), nn.Parameter) and call.result.shape[-1] > 1:
                self._features.put(call.result, True)
        elif call.name == "grid_sample":
            self._samples.put(call.result, True)
        for marks in (self._features, self.weights, self._choices, self._samples):
            marks.pass_on(call)

    def follow(self, call: Operation) -> None:
        """Follow scores and weights through a call without other tracked tensors."""
        if call.name in PAIRED:
            self._pair(call.activations(), call.result)
        elif self._pairs and call.name in ("sum", "mean"):
            origin = self._pairs.of(call.first)
            if origin is not None:
                self.scores.put(call.result, origin)
        if not self.scores:
            return
        origin = next(filter(None, map(self.scores.of, call.activations())), None)
        if origin is None:
            return
        if call.name in EXPONENTIAL or call.name in OTHER_EXPONENTIAL:
            softmax = self._softmaxes.new(call.result.dim() - 1, call.result)
            softmax.origin = origin
            self.weights.put(call.result, softmax)
        else:
            self.note(origin, call.result)

    def _pair(self, pair: list[Tensor], result: Tensor) -> None:
        """Note an elementwise product."""
        if self._samples and any(map(self._samples.of, pair)):
            for choice in filter(None, map(self._choices.of, pair)):
                choice.refusal = DEFORMABLE
        if len(pair) > 1 and result.dim() > 1:
            self._pairs.put(result, "a sum of elementwise products")
            for x in pair:
                softmax = self.weights.of(x)
                if softmax is not None and softmax.origin and x.numel() < result.numel():
                    softmax.use([y for y in pair if y is not x])
