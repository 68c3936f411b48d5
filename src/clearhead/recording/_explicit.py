"""Attention written as separate operations: tracked from product to softmax to product.

The result of each product of two tensors carries a history of the operations applied to it. A
product whose history contains a softmax, multiplied by values, is an attention. Histories are
held by weak references and vanish with their tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.recording import _products as products
from clearhead.recording._factors import DIVIDE, MULTIPLY, Factors
from clearhead.recording._history import (
    EXPONENTIAL,
    LOG_SOFTMAX,
    OTHER_EXPONENTIAL,
    RESIZING,
    SOFTMAX,
    History,
    Normaliser,
    Softmaxes,
    TrackedAttention,
    normaliser_of_call,
)
from clearhead.recording._in_place import Histories
from clearhead.recording._layout import (
    CASTS,
    JOINING,
    LAYOUT,
    PLACEHOLDER,
    UNCHANGING,
    VIEWS,
    Step,
    in_place,
    lowest_precision,
    step_of_call,
)
from clearhead.recording._operation import Operation, is_in_place, parts
from clearhead.recording._products import Product
from clearhead.recording._tables import Marks, WeakTable, clear_tables
from clearhead.recording._torch_internals import is_view_of_parameter, versions_of
from clearhead.recording._unfollowed import PAIRED, Unfollowed

ADDING = frozenset("add __add__ __radd__ add_ __iadd__ where".split())
UNMOVED = MULTIPLY | DIVIDE | ADDING | UNCHANGING | {"masked_fill", "masked_fill_"}


class OperationTracker:
    """Tracks tensors from product to softmax to product."""

    def __init__(self, innermost: Callable[[], nn.Module | None]) -> None:
        """`innermost` returns the innermost running module."""
        self.softmaxes = Softmaxes(innermost)
        self.outputs: Marks[Any] = Marks(LAYOUT | CASTS)  # of attentions
        self.joined: list[list[Any]] = []  # outputs of attentions that are joined in one tensor
        self._unfollowed = Unfollowed(self.softmaxes)
        self._histories = Histories(self._unfollowed.note)
        self._factors = Factors(LAYOUT | {"__getitem__", "to", "type_as", "__get__"})
        self._normalisers: Marks[Normaliser] = Marks(LAYOUT | {"__getitem__"})
        self._sums: WeakTable[Tensor, TrackedAttention] = WeakTable()  # of values, not yet divided
        self._learned: Marks[bool] = Marks(VIEWS)  # views and casts of parameters

    def call(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, TrackedAttention | None]:
        """Make the call; return its result, and the attention that it completes, if any."""
        if name == "pow" and not isinstance(args[0], Tensor):
            name = "__rpow__"
        call = Operation(name, function, args, kwargs)
        attention = None
        if name in SOFTMAX or name in LOG_SOFTMAX:
            self._softmax(call)
        elif name in products.FUNCTIONS or name in products.OTHER_FUNCTIONS:
            attention = self._product(call)
        else:
            attention = self._step(call)
        return call.result, attention

    def clear(self) -> None:
        """Release all tensors."""
        clear_tables(self)

    def _product(self, call: Operation) -> TrackedAttention | None:
        """Make a call that multiplies tensors."""
        product = products.read_product(call)
        unlearned = [x for x in call.tensors() if not self._is_learned(x)]
        operands = unlearned if product is None else product[:2]
        for x in operands:
            self._use(x, operands)
        if product is None and len(operands) > 1:
            self._unfollowed.scores.put(call(), call.name)
            return None
        mixing = None if product is None else self._mixing(product)
        if product is None or mixing is not None:
            return self._step(call, mixing)
        return self._multiplied(call, product)

    def _step(self, call: Operation, mixing: Product | None = None) -> TrackedAttention | None:
        """Make a call that may continue a history, or change tensors in place that have one."""
        if call.writes_whole:
            self._histories.forget(call.first)  # of what is overwritten
        others = self._histories.in_memory_of(call.target)
        followed = self._followed(call)
        history = self._histories.of(followed)
        step = None if followed is None else step_of_call(call, followed)  # has the random state
        call()
        self._mark(call)
        if step is not None and others and followed is call.target is call.first:
            self._histories.change(step, followed, others)
            return None
        self._histories.lose(others, call.name)
        if history is None or followed is None:
            self._unfollowed.follow(call)
            return self._divided(call)
        if history.softmax is not None and not (step and step.is_layout_only):
            history.softmax.is_used = True
        if not self._normalised(call, history):
            self._track(call, step, history, followed, mixing)
        return None

    def _followed(self, call: Operation) -> Tensor | None:
        """The tensor with a history that a call continues: in a sum, that of most axes."""
        tensors = call.tensors() if self._histories else ()
        known = [x for x in tensors if self._histories.of(x) is not None]
        return max(known, key=self._rank if call.name in ADDING else lambda _: (0, 0), default=None)

    def _rank(self, x: Tensor) -> tuple[int, int]:
        """The axes of the operand with fewer, then minus the number of steps that moved the scores.

        A term of relative positions usually ranks below the product of queries and keys.
        """
        history = self._histories.of(x)
        if history is None or history.form != "scores":
            return 0, 0
        operands = history.product[:2]
        axes = 0 if any(map(self._is_learned, operands)) else min(y.dim() for y in operands)
        return axes, -sum(step.name not in UNMOVED for step in history.steps)

    def _is_learned(self, x: Tensor) -> bool:
        is_own = isinstance(x, nn.Parameter) or is_view_of_parameter(x)  # made before the block
        return is_own or self._learned.of(x) is not None

    def _use(self, x: Tensor, operands: Sequence[Tensor]) -> None:
        """Note that weights are multiplied with activations."""
        history, softmax = self._histories.of(x), self._unfollowed.weights.of(x)
        if history is not None and history.is_scored:
            softmax = history.softmax
        if softmax is not None:
            softmax.use(y for y in operands if y is not x)

    def _mixing(self, product: Product) -> Product | None:
        """The product, scores or weights first, if it mixes these among heads before the values."""
        for oriented in (product, product.transposed()):
            history = self._histories.of(oriented.first)
            if history is None:
                continue
            if history.is_weights and not history.is_completed_by(oriented):
                return oriented
            if isinstance(oriented.second, nn.Parameter):
                return oriented if history.is_scored else None
            if history.is_weights:
                return None
            # products with a part of a parameter, as of packed projections, are features
            is_scored = not any(map(self._is_learned, history.product[:2]))
            if is_scored and history.is_mixed_by(oriented):
                return oriented
        return None

    def _multiplied(self, call: Operation, product: Product) -> TrackedAttention | None:
        """Make and follow a product: of weights and values, or the first of a history."""
        result, added = call(), products.affine_of_call(call)
        for values, operand in ((product, product.first), (product.transposed(), product.second)):
            history = self._histories.of(operand)
            if history is None:
                continue
            precision = lowest_precision(history.precision, result.dtype)
            tracked = TrackedAttention(history=replace(history, precision=precision), values=values)
            if history.form == "exponentials":
                self._sums.put(result, tracked)
                return None
            if history.is_completed_by(values):
                return self._completed(tracked, "its output has other terms" if added else "")
            self._unfollowed.note_other_weights(history, values)
        history = History(
            product=product,
            factors=(self._factors(product.first), self._factors(product.second)),
            precision=result.dtype,
            versions=versions_of(product[:2]),
        )
        if added is not None:
            base, beta, alpha = added
            if alpha != 1:
                history = history.then(Step("mul", torch.mul, (PLACEHOLDER, alpha)))
            if beta != 0:
                history = history.then(Step("add", torch.add, (PLACEHOLDER, base * beta)))
        self._histories.keep(result, history)
        return None

    def _completed(self, tracked: TrackedAttention, refusal: str = "") -> TrackedAttention | None:
        """The attention, unless its weights were recorded before, or it is refused."""
        softmax, product = tracked.history.softmax, tracked.history.product
        assert softmax is not None  # noqa: S101, the history is that of weights
        softmax.products += 1
        keys = product.first if product.is_of_first(softmax.dim) else product.second
        if self._is_learned(keys) and not self._is_learned(tracked.values.second):
            refusal = "it chooses among learned keys, as a router does"
        softmax.refusal = softmax.refusal or refusal
        return tracked if softmax.products == 1 and not refusal else None

    def _softmax(self, call: Operation) -> None:
        """Make a call of a softmax."""
        x, result, dim = call.first, call(), call.argument(1, "dim")
        if dim is None:  # as torch chooses it
            dim = 0 if result.dim() in (0, 1, 3) else 1
        if not isinstance(dim, int) or not result.dim():
            return
        dim %= result.dim()
        history = self._histories.of(x)
        if history is not None and history.form != "scores":
            history = None
        origin = self._unfollowed.origin(x, is_last=dim == result.dim() - 1)
        if result.dim() < (1 if origin else 2):
            return
        softmax = self.softmaxes.new(dim, result, history)
        softmax.is_safe, softmax.origin = call.name == "_safe_softmax", origin or ""
        if call.name == "_sparse_softmax":
            softmax.refusal = "its scores are a sparse tensor"
        elif history is None:
            self._unfollowed.put(result, softmax, origin)
        else:
            softmax.is_used = False  # so far
            form: Any = "logarithms" if call.name in LOG_SOFTMAX else "weights"
            precision = lowest_precision(history.precision, result.dtype)
            history = replace(history, form=form, softmax=softmax, precision=precision)
            self._histories.keep(result, history)

    def _normalised(self, call: Operation, history: History) -> bool:
        """Follow a softmax that is written as exponentials and their sum, step by step."""
        name, result = call.name, call.result
        if name in EXPONENTIAL and history.form in ("scores", "logarithms"):
            if history.form == "scores":
                softmax = self.softmaxes.new(result.dim() - 1, result, history)
                history = replace(history, form="exponentials", softmax=softmax)
            else:
                history = replace(history, form="weights")
            self._histories.keep(result, history)
            return True
        if name in OTHER_EXPONENTIAL and history.form == "scores":
            self.softmaxes.new(result.dim() - 1, result, history)
            return True
        total = normaliser_of_call(call)
        if total is not None:
            if history.form == ("scores" if total.logarithm else "exponentials"):
                self._normalisers.put(result, total)
            return True
        divisor = self._normaliser(call)
        if divisor is None or divisor.source() is not call.first:
            return False
        softmax = self.softmaxes.new(divisor.dim, result, history)
        form: Any = "logarithms" if divisor.logarithm else "weights"
        self._histories.keep(result, replace(history, form=form, softmax=softmax))
        return True

    def _normaliser(self, call: Operation) -> Normaliser | None:
        """The sum that a call divides by, or its logarithm that it subtracts."""
        known = self._normalisers.of(call.args[1]) if len(call.args) == 2 else None
        return known if known is not None and call.name in known.removed_by else None

    def _divided(self, call: Operation) -> TrackedAttention | None:
        """The attention that a division of exponentials · values by their sum completes."""
        undivided = self._sums.of(call.first) if self._sums else None
        divisor = self._normaliser(call)
        if undivided is None or divisor is None or divisor.source() is not undivided.values.first:
            return None
        softmax = self.softmaxes.new(divisor.dim, undivided.values.first, undivided.history)
        history = replace(undivided.history, form="weights", softmax=softmax)
        tracked = replace(undivided, history=history)
        return self._completed(tracked) if history.is_completed_by(tracked.values) else None

    def _mark(self, call: Operation) -> None:
        """Mark a result as learned, as an output of attention and the like."""
        self._factors.follow(call)
        self._unfollowed.mark(call)
        if isinstance(call.first, nn.Parameter) and call.name in VIEWS:
            for part in parts(call.result):
                self._learned.put(part, True)
        if self.outputs and call.name in JOINING:
            outputs = dict.fromkeys(filter(None, map(self.outputs.of, parts(call.first))))
            self.joined += [list(outputs)] if len(outputs) > 1 else []
        for marks in (self.outputs, self._normalisers, self._learned):
            marks.pass_on(call)

    def _track(
        self,
        call: Operation,
        step: Step | None,
        history: History,
        followed: Tensor,
        mixing: Product | None,
    ) -> None:
        """Add a step to the history of the result, or end the history there."""
        result = call.result
        if call.name == "linear":
            mixing = Product(followed, call.argument(1, "weight"))
        if mixing is not None and step is not None and (places := mixing.places()):
            first, step = in_place(step, places)
            history = history.then(first)
        if call.name in ("__setitem__", "copy_"):
            if call.first is followed and step is not None:
                self._histories.keep(followed, history.then(step))
            elif call.writes_whole:
                cast = Step("to", Tensor.to, (PLACEHOLDER, call.first.dtype))
                self._histories.keep(call.first, history.then(cast))
        elif is_in_place(call.name) and followed is not call.first:
            self._histories.forget(call.first)
            self._unfollowed.note(f"{call.name} of another tensor", result)
        elif not isinstance(result, Tensor) or not result.is_floating_point():
            if step is not None:
                self._unfollowed.note_scores(history, step.name, result)
        elif step is None:
            self._histories.keep(result, history)
        elif history.form in ("exponentials", "logarithms") and not step.is_layout_only:
            return
        elif result.numel() == followed.numel() or step.name in RESIZING:
            precision = lowest_precision(history.precision, result.dtype)
            self._histories.keep(result, replace(history, precision=precision).then(step))
        elif step.name in PAIRED and history.softmax is not None:
            self._use(followed, call.activations())
        elif mixing is None or history.is_mixed_by(mixing):  # else it has features as results
            self._unfollowed.note_scores(history, step.name, result)
