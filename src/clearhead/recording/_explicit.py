"""Attention written as separate operations: tracked from product to softmax to product.

The result of each product of two tensors carries a history of the operations applied to it. A
product whose history contains a softmax, multiplied by values, is an attention. Histories are
held by weak references and vanish with their tensors.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.recording import _products as products
from clearhead.recording._history import (
    CARRIED,
    EXPONENTIAL,
    FEATURES,
    LOG_SOFTMAX,
    OTHER_EXPONENTIAL,
    OTHER_WEIGHTS,
    RESIZING,
    SOFTMAX,
    History,
    Normaliser,
    Softmax,
    TrackedAttention,
    WeakTable,
    changed_in_view,
    normaliser_of_call,
)
from clearhead.recording._layout import (
    CASTS,
    LAYOUT,
    PLACEHOLDER,
    Step,
    in_place,
    is_in_place,
    lowest_precision,
    step_of_call,
)
from clearhead.recording._products import Factor, Product, factor_of_call
from clearhead.recording._torch_internals import graph_task, is_view_of_parameter, storage_of

PAIRED = products.MULTIPLY | {"addcmul"}
VIEWS = LAYOUT | CASTS | frozenset("__getitem__ __get__ chunk split unbind narrow".split())
JOINING = frozenset("cat concat concatenate stack hstack dstack".split())
ADDING = frozenset("add __add__ __radd__ add_ __iadd__ where".split())
MAX_HISTORY = 64
DEFORMABLE = "its weights depend on the query alone, and values are sampled (deformable attention)"


class OperationTracker:
    """Tracks tensors from product to softmax to product."""

    def __init__(self, innermost: Callable[[], nn.Module | None]) -> None:
        """`innermost` returns the innermost running module."""
        self._innermost = innermost
        self._histories: WeakTable[Tensor, History] = WeakTable()
        self._factors: WeakTable[Tensor, Factor] = WeakTable()
        self._normalisers: WeakTable[Tensor, Normaliser] = WeakTable()
        self._sums: WeakTable[Tensor, TrackedAttention] = WeakTable()  # of values, not yet divided
        self._pairs: WeakTable[Tensor, str] = WeakTable()  # elementwise products, not yet summed
        self._other_scores: WeakTable[Tensor, str] = WeakTable()  # of functions not followed
        self._features: WeakTable[Tensor, bool] = WeakTable()  # that a linear layer computes
        self._other_weights: WeakTable[Tensor, Softmax] = WeakTable()  # of scores of unknown origin
        self._choices: WeakTable[Tensor, Softmax] = WeakTable()  # of features, not of scores
        self._learned: WeakTable[Tensor, bool] = WeakTable()  # views and casts of parameters
        self._samples: WeakTable[Tensor, bool] = WeakTable()  # of values, at positions between them
        self.outputs: WeakTable[Tensor, Any] = WeakTable()  # of attentions
        # tables whose entry for an argument these functions pass on to their result
        self._carried: list[tuple[WeakTable[Tensor, Any], frozenset[str]]] = [
            (self._normalisers, LAYOUT | {"__getitem__"}),
            (self._features, FEATURES),
            (self._learned, VIEWS),
            (self.outputs, LAYOUT | CASTS),
            *((x, CARRIED) for x in (self._other_weights, self._choices, self._samples)),
        ]
        self.softmaxes: list[Softmax] = []
        self.joined: list[list[Any]] = []  # outputs of attentions in one tensor

    def factor(self, x: Tensor) -> Factor:
        """The constant factor that `x` was multiplied by."""
        known = self._factors.of(x)
        return 1.0 if known is None else known

    def call(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Any, TrackedAttention | None]:
        """Make the call; return its result, and the attention that it completes, if any."""
        mixing: Product | None = None
        if name == "pow" and not isinstance(args[0], Tensor):
            name = "__rpow__"
        if name in products.FUNCTIONS or name in products.OTHER_FUNCTIONS:
            product = products.read_product(name, args, kwargs)
            pair = _activations(args, kwargs) if product is None else product[:2]
            for x in pair:
                self._use(x, pair)
            if product is None and len(pair) > 1:
                result = function(*args, **kwargs)
                self._other_scores.put(result, name)
                return result, None
            mixing = None if product is None else self._mixing(product)
            if product is not None and mixing is None:
                result = function(*args, **kwargs)
                return result, self._multiplied(name, product, args, kwargs, result)
        if name in SOFTMAX or name in LOG_SOFTMAX:
            result = function(*args, **kwargs)
            self._softmax(name, args, kwargs, result)
            return result, None
        if name == "copy_" or (name == "__setitem__" and _is_whole(args)):
            self._histories.forget(args[0])  # of what is overwritten
        target = kwargs.get("out", args[0] if args and is_in_place(name) else None)
        others = self._in_memory_of(target)
        followed = next(self._followed(args, kwargs), None)
        if name in ADDING and followed is not None:
            main = max(self._followed(args, kwargs), key=self._rank)
            if main is not followed and is_in_place(name):
                result = function(*args, **kwargs)
                self._histories.forget(followed)
                self._note_other_scores(f"{name} of products of other tensors", result)
                return result, None
            followed = main
        if followed is None:
            result = function(*args, **kwargs)
            self._forget(others, name)
            self._track_factor(name, args, result)
            self._carry(name, args, kwargs, result)
            return result, self._not_followed(name, args, kwargs, result)
        history = self._histories.of(followed)
        step = step_of_call(name, function, args, kwargs, followed)
        result = function(*args, **kwargs)
        self._carry(name, args, kwargs, result)
        if others and step is not None and followed is target is args[0]:
            self._change(step, target, others)
            return result, None
        self._forget(others, name)
        if history is not None and not self._normalised(name, history, args, kwargs, result):
            if mixing is not None and step is not None and (places := mixing.places()):
                step, moved = in_place(step, places)
                history = history.then(step)
                step = moved
            self._track(step, history, followed, args, result)
            self._track_factor(name, args, result)
        return result, None

    def clear(self) -> None:
        """Release all tensors."""
        for table in vars(self).values():
            if isinstance(table, WeakTable):
                table.clear()

    def _rank(self, x: Tensor) -> int:
        """The axes that both factors of scores have; a term of positions often has fewer."""
        history = self._histories.of(x)
        if (
            history is None
            or history.form != "scores"
            or any(map(self._is_learned, history.product[:2]))
        ):
            return 0
        return min(y.dim() for y in history.product[:2])

    def _keep(self, x: Tensor, history: History) -> None:
        if len(history.pre_softmax) + len(history.post_softmax) <= MAX_HISTORY:
            self._histories.put(x, history)

    def _is_learned(self, x: Tensor) -> bool:
        is_own = isinstance(x, nn.Parameter) or is_view_of_parameter(x)  # made before the block
        return is_own or self._learned.of(x) is not None

    def _use(self, x: Tensor, operands: Sequence[Tensor]) -> None:
        """Note that weights are multiplied with activations."""
        history, softmax = self._histories.of(x), self._other_weights.of(x)
        if history is not None and history.is_scored:
            softmax = history.softmax
        if softmax is not None:  # a mean of numbers over classes is none of values over tokens
            axes = 1 if softmax.scored or softmax.origin else 2
            softmax.multiplied |= any(
                y is not x and not isinstance(y, nn.Parameter) and y.dim() >= axes for y in operands
            )

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

    def _multiplied(
        self,
        name: str,
        product: Product,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Tensor,
    ) -> TrackedAttention | None:
        added = products.affine_of_call(name, args, kwargs)
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
            self._check_other_weights(history, values)
        history = History(
            product=product,
            factors=(self.factor(product.first), self.factor(product.second)),
            precision=result.dtype,
        )
        if added is not None:
            base, beta, alpha = added
            if alpha != 1:
                history = history.then(Step("mul", torch.mul, (PLACEHOLDER, alpha)))
            if beta != 0:
                history = history.then(Step("add", torch.add, (PLACEHOLDER, base * beta)))
        self._keep(result, history)
        return None

    def _check_other_weights(self, history: History, values: Product) -> None:
        """Note attention whose weights are another function of the scores than a softmax."""
        names = (step.name for step in history.pre_softmax)
        name = next((name for name in names if name in OTHER_WEIGHTS), None)
        operands = (*history.product[:2], values.second)
        if name is None or history.form != "scores" or min(x.dim() for x in operands) < 3:
            return
        if history.is_scored and not isinstance(values.second, nn.Parameter):
            softmax = self._new_softmax(-1, values.first, history)
            softmax.refusal = f"its weights are computed by {name} and not by a softmax"

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

    def _new_softmax(self, dim: int, like: Tensor, history: History | None) -> Softmax:
        scored = history is not None and history.is_scored
        axis: Any = {"dim": dim, "dims": like.dim(), "keys": like.shape[dim]}
        if history is not None and history.softmax is not None:  # known from its exponentials
            vars(history.softmax).update(axis)
            return history.softmax
        softmax = Softmax(module=self._innermost(), scored=scored, **axis)
        if scored and history is not None:
            softmax.operand_dims = min(x.dim() for x in history.product[:2])
        if graph_task() is None or all(x.module is not softmax.module for x in self.softmaxes):
            self.softmaxes.append(softmax)  # checkpointing may stop before the product with values
        return softmax

    def _softmax(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Tensor
    ) -> None:
        x = args[0] if args else kwargs.get("input")
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if dim is None:  # as torch chooses it
            dim = 0 if result.dim() in (0, 1, 3) else 1
        history = self._histories.of(x)
        if history is not None and history.form != "scores":
            history = None
        is_last = isinstance(dim, int) and dim % result.dim() == result.dim() - 1
        # among fixed entries; over another axis it is one over tokens
        is_choice = isinstance(x, nn.Parameter) or (self._features.of(x) and is_last)
        origin = None if is_choice else self._other_scores.of(x)
        if not isinstance(dim, int) or result.dim() < (2 if origin is None else 1):
            return
        softmax = self._new_softmax(dim % result.dim(), result, history)
        softmax.is_safe = name == "_safe_softmax"
        if origin is not None:
            softmax.origin = origin
        if name == "_sparse_softmax":
            softmax.refusal = "its scores are a sparse tensor"
        elif history is None:
            (self._choices if is_choice else self._other_weights).put(result, softmax)
        if history is None or softmax.refusal:
            return
        form: Any = "logarithms" if name in LOG_SOFTMAX else "weights"
        precision = lowest_precision(history.precision, result.dtype)
        self._keep(result, replace(history, form=form, softmax=softmax, precision=precision))

    def _normalised(
        self,
        name: str,
        history: History,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Any,
    ) -> bool:
        """Follow a softmax that is written as exponentials and their sum, step by step."""
        if name in EXPONENTIAL and history.form in ("scores", "logarithms"):
            if history.form == "scores":
                softmax = self._new_softmax(result.dim() - 1, result, history)
                history = replace(history, form="exponentials", softmax=softmax)
            else:
                history = replace(history, form="weights")
            self._keep(result, history)
            return True
        if name in OTHER_EXPONENTIAL and history.form == "scores":
            self._new_softmax(result.dim() - 1, result, history)
            return True
        total = normaliser_of_call(name, args, kwargs)
        if total is not None:
            if history.form == ("scores" if total.logarithm else "exponentials"):
                self._normalisers.put(result, total)
            return True
        divisor = self._normaliser(name, args)
        if divisor is None or divisor.source() is not args[0]:
            return False
        softmax = self._new_softmax(divisor.dim, result, history)
        form: Any = "logarithms" if divisor.logarithm else "weights"
        self._keep(result, replace(history, form=form, softmax=softmax))
        return True

    def _normaliser(self, name: str, args: Sequence[Any]) -> Normaliser | None:
        """The sum that a call divides by, or its logarithm that it subtracts."""
        known = self._normalisers.of(args[1]) if len(args) == 2 else None
        return known if known is not None and name in known.removed_by else None

    def _not_followed(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any
    ) -> TrackedAttention | None:
        """Follow exponentials · values, and scores and weights of unknown origin."""
        self._follow_other_scores(name, args, kwargs, result)
        x = args[0] if args else None
        if not self._sums:
            return None
        undivided, divisor = self._sums.of(x), self._normaliser(name, args)
        if undivided is None or divisor is None or divisor.source() is not undivided.values.first:
            return None
        softmax = self._new_softmax(divisor.dim, undivided.values.first, undivided.history)
        history = replace(undivided.history, form="weights", softmax=softmax)
        tracked = replace(undivided, history=history)
        return self._completed(tracked) if history.is_completed_by(tracked.values) else None

    def _carry(self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Mark a result as features or samples, or with the marks of its argument."""
        if name == "linear":
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if isinstance(weight, nn.Parameter) and result.shape[-1] > 1:
                self._features.put(result, True)
        elif name == "grid_sample":
            self._samples.put(result, True)
        x = args[0] if args else None
        if isinstance(x, nn.Parameter) and name in VIEWS:
            for part in _parts(result):
                self._learned.put(part, True)
        if self.outputs and name in JOINING:
            outputs = dict.fromkeys(filter(None, map(self.outputs.of, _parts(x))))
            self.joined += [list(outputs)] if len(outputs) > 1 else []
        for table, names in self._carried:
            if table and name in names:
                known = next(filter(None, map(table.of, _parts(x))), None)
                for part in _parts(result) if known is not None else ():
                    table.put(part, known)

    def _follow_other_scores(
        self, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Note scores by functions that are not followed, and uses of their softmax."""
        if name in PAIRED:
            pair = _activations(args, kwargs)
            if self._samples and any(map(self._samples.of, pair)):
                for choice in filter(None, map(self._choices.of, pair)):
                    choice.refusal = DEFORMABLE
            if len(pair) > 1 and result.dim() > 1:
                self._pairs.put(result, "a sum of elementwise products")
                for x in pair:
                    softmax = self._other_weights.of(x)
                    if softmax is not None and softmax.origin and x.numel() < result.numel():
                        self._use(x, pair)
        elif self._pairs and name in ("sum", "mean"):
            origin = self._pairs.of(args[0]) if args else None
            if origin is not None:
                self._other_scores.put(result, origin)
        if self._other_scores:
            tensors = _activations(args, kwargs)
            origin = next(filter(None, map(self._other_scores.of, tensors)), None)
            if origin is None:
                return
            if name in EXPONENTIAL or name in OTHER_EXPONENTIAL:
                softmax = self._new_softmax(result.dim() - 1, result, None)
                softmax.origin = origin
                self._other_weights.put(result, softmax)
            else:
                self._note_other_scores(origin, result)

    def _in_memory_of(self, x: Any) -> list[Tensor]:
        """Other tracked tensors that are views of a tensor, or of which it is a view."""
        storage = storage_of(x) if isinstance(x, Tensor) and self._histories else None
        if storage is None:
            return []
        tracked = (reference() for reference, _ in list(self._histories.values()))
        return [y for y in tracked if y is not None and y is not x and storage_of(y) == storage]

    def _change(self, step: Step, x: Tensor, others: Sequence[Tensor]) -> None:
        """Follow a change in place of a tensor, in itself and in others in the same memory."""
        changed = [(y, history) for y in (x, *others) if (history := self._histories.of(y))]
        histories = changed_in_view(step, [history for _, history in changed])
        if histories is None:
            self._forget([x, *others], step.name)
        else:
            for (y, _), history in zip(changed, histories, strict=True):
                self._keep(y, history)

    def _forget(self, tensors: Iterable[Tensor], name: str) -> None:
        """Note tensors that a call has changed in a way that is not followed."""
        for x in tensors:
            history = self._histories.of(x)
            if history is not None:
                self._histories.forget(x)
                if history.softmax is not None:
                    history.softmax.refusal = f"{name} changes a part of its weights in place"
                self._note_other_scores(f"{name} of a part of them in place", x)

    def _lose(self, history: History, name: str, result: Any) -> None:
        """Note scores after an operation that is not followed."""
        if history.is_scored and history.softmax is None and not name.startswith("new_"):
            self._note_other_scores(name, result)

    def _note_other_scores(self, origin: str, result: Any) -> None:
        for part in _parts(result):
            if part.is_floating_point() and part.shape[-1:] != (1,):
                self._other_scores.put(part, origin)

    def _followed(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
        for arg in (*args, *kwargs.values()) if self._histories else ():
            yield from (x for x in _parts(arg) if self._histories.of(x) is not None)

    def _track(
        self,
        step: Step | None,
        history: History,
        followed: Tensor,
        args: Sequence[Any],
        result: Any,
    ) -> None:
        if step is not None and step.name in ("__setitem__", "copy_"):
            if args[0] is followed:
                self._keep(followed, history.then(step))
            elif step.name == "copy_" or _is_whole(args):
                self._keep(
                    args[0], history.then(Step("to", Tensor.to, (PLACEHOLDER, args[0].dtype)))
                )
            return
        if not isinstance(result, Tensor) or not result.is_floating_point():
            if step is not None:
                self._lose(history, step.name, result)
            return
        if step is None:
            self._keep(result, history)
        elif history.form in ("exponentials", "logarithms") and not step.is_layout_only:
            return
        elif result.numel() == followed.numel() or step.name in RESIZING:
            history = replace(history, precision=lowest_precision(history.precision, result.dtype))
            self._keep(result, history.then(step))
        elif step.name in PAIRED and history.softmax is not None:
            self._use(followed, _activations(args, {}))
        else:
            self._lose(history, step.name, result)

    def _track_factor(self, name: str, args: Sequence[Any], result: Any) -> None:
        """Store constant factors, also through changes of layout."""
        if not self._factors and name not in products.MULTIPLY and name not in products.DIVIDE:
            return
        if not isinstance(result, Tensor) or not args or not result.is_floating_point():
            return
        moves = name in LAYOUT or name in ("__getitem__", "to", "type_as", "__get__")
        for x in args[:2]:
            if isinstance(x, Tensor) and x.dim() >= 2:
                factor = self.factor(x)
                multiplier = factor_of_call(name, args, x)
                if multiplier is not None:
                    factor = factor * multiplier
                elif not moves or (isinstance(factor, Tensor) and factor.dim()):
                    if result is x:  # changed in place
                        self._factors.forget(x)
                    continue
                if isinstance(factor, Tensor) or factor != 1.0:
                    self._factors.put(result, factor)
                return


def _parts(x: Any) -> list[Tensor]:
    """A tensor, or those of a list."""
    return [y for y in (x if isinstance(x, list | tuple) else (x,)) if isinstance(y, Tensor)]


def _activations(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors among the arguments, and in lists, that are not parameters."""
    parts = chain.from_iterable(map(_parts, (*args, *kwargs.values())))
    return [x for x in parts if not isinstance(x, nn.Parameter)]


def _is_whole(args: Sequence[Any]) -> bool:
    """Whether `target[index] = source` writes all of the target, in order."""
    target, index, source = args
    slices = index if isinstance(index, tuple) else (index,)
    return (
        isinstance(source, Tensor)
        and target.shape == source.shape
        and all(isinstance(part, slice) or part is ... for part in slices)
    )
