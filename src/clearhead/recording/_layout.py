"""The axes of a model's tensors, and operations between the stages that can be replayed."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clearhead.recording._operation import Operation, is_in_place, parts
from clearhead.recording._products import Order, permuted


class HeadAxes(NamedTuple):
    """The axis of the heads, where it is not the third from the end.

    Attributes:
        merged: This many heads share the first of three axes with the batch, as in models that
            use `torch.bmm`.
        before_windows: Of five axes, the heads are on the second and windows on the third.
        packed: This many heads are the rows of one key head, each with its only query, as in the
            decoding steps of transformers. (Keys and values have no such axis.)
        first: Of four axes, the heads are on the first and the batch on the second.
    """

    merged: int = 1
    before_windows: bool = False
    packed: int = 1
    first: bool = False

    def separate(self, x: Tensor) -> Tensor:
        """Give `x` at least four axes: (batch, heads, rows, columns)."""
        if self.packed > 1:
            return x if x.shape[-2] == 1 else x.flatten(1, 2).unsqueeze(2)
        match x.dim():
            case 2:
                return x[None, None]
            case 3 if x.shape[0] == 1:
                return x.unsqueeze(1)
            case 3:
                return x.reshape(x.shape[0] // self.merged, self.merged, *x.shape[1:])
            case 4 if self.first:
                return x.transpose(0, 1)
            case 5 if self.before_windows:
                return x.transpose(1, 2)
        return x

    def restore(self, x: Tensor, dims: int) -> Tensor:
        """Back to the model's number of axes."""
        if self.packed > 1:
            return x.reshape(x.shape[0], -1, self.packed, x.shape[-1])
        match dims:
            case 2:
                return x[0, 0]
            case 3:
                return x.flatten(0, 1)
            case 4 if self.first:
                return x.transpose(0, 1)
            case 5 if self.before_windows:
                return x.transpose(1, 2)
        return x


HEADS_THIRD_FROM_END = HeadAxes()


@dataclass(frozen=True)
class Layout:
    """A permutation of the axes (None: unchanged), followed by the separation of the heads.

    `order` gives the model's axis for each axis of the result; None there is a new axis.
    """

    order: Order = None
    heads: HeadAxes = HEADS_THIRD_FROM_END

    def canonical(self, x: Tensor) -> Tensor:
        """From the model's layout."""
        return self.heads.separate(permuted(x, self.order))

    def restored(self, x: Tensor, dims: int) -> Tensor:
        """Back to the model's layout, which has this many axes."""
        if self.order is None:
            return self.heads.restore(x, dims)
        x = self.heads.restore(x, len(self.order))
        x = x[tuple(0 if axis is None else slice(None) for axis in self.order)]
        axes = [axis for axis in self.order if axis is not None]
        return x.permute([*map(axes.index, range(dims))])

    def original(self, x: Tensor, like: Tensor) -> Tensor:
        """Back to the model's layout, with the shape of `like`."""
        return self.restored(x, like.dim()).reshape(like.shape)


def with_axes(x: Tensor, dims: int) -> Tensor:
    """`x` with at least `dims` axes: new ones in front, as broadcasting adds them."""
    return x[(None,) * (dims - x.dim())] if x.dim() < dims else x


def separate_mask(heads: HeadAxes, mask: Tensor, dims: int) -> Tensor:
    """A mask for attention of `dims` axes, in a shape that broadcasts over the separated heads."""
    if heads == HEADS_THIRD_FROM_END and dims > 3:
        return mask
    return heads.separate(with_axes(mask, dims))


# The attributes in which modules of common libraries store their number of heads.
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")


def packed_groups(module: nn.Module | None, query: Tensor, key: Tensor) -> int:
    """How many query heads transformers has packed into the rows of each key head; else 1."""
    groups = 1 if module is None else module.__dict__.get("num_key_value_groups", 1)
    if groups == 1 or query.dim() != 4 or query.shape[1:3] != (key.shape[1], groups):
        return 1
    config = getattr(module, "config", None)
    counts = (_number(source, name) for source in (module, config) for name in HEADS)
    heads = next((n for n in counts if n), None)
    return int(groups) if query.shape[1] * groups == heads else 1


def find_heads(module: nn.Module | None, x: Tensor) -> HeadAxes | None:
    """The axis of the heads of these queries, derived from the module's attributes.

    Heads that share an axis with the batch are recognised by the number of heads, and by a last
    axis as wide as one head. Of two axes with as many entries, as heads and windows may have, the
    heads are those that lie within one token in memory, as a projection computes them; None if
    that does not decide.
    """
    count = next((n for n in (_number(module, name) for name in HEADS) if n), None)
    if count is not None and x.dim() == 5:
        axes = [axis for axis in (1, 2) if x.shape[axis] == count]
        if len(axes) == 2 and count > 1:
            axes = [axis for axis in axes if x.stride(axis) < x.stride(-2)]
            if len(axes) != 1:
                return None
        return HeadAxes(before_windows=axes == [1])
    if count is None or not 3 <= x.dim() <= 4 or x.shape[0] % count:
        return HeadAxes()
    width = _number(module, "embed_dim") or _number(module, "hidden_size")
    head_dim = _number(module, "head_dim") or (width and width // count)
    if x.dim() == 4:
        return HeadAxes(first=x.shape[1] != count == x.shape[0] and head_dim == x.shape[-1])
    return HeadAxes(count) if head_dim is None or head_dim == x.shape[-1] else HeadAxes()


def _number(module: Any, name: str) -> int | None:
    number = getattr(module, name, None)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


# Functions that change the layout and no values.
LAYOUT = frozenset(
    "view reshape transpose permute contiguous unflatten flatten unsqueeze squeeze expand "
    "swapaxes swapdims movedim moveaxis clone view_as reshape_as expand_as t T mT".split()
)

# Functions that return a view of some of the elements.
SELECTIONS = frozenset(["__getitem__", "narrow", "select", "diagonal"])

# Functions that join the tensors of a list.
JOINING = frozenset("cat concat concatenate stack hstack dstack".split())

# Functions that change the type only.
CASTS = frozenset("to type_as float half bfloat16 double type".split())

# Functions whose results are views, parts or casts of their first argument.
VIEWS = LAYOUT | CASTS | frozenset("__getitem__ __get__ chunk split unbind narrow".split())

# Functions that change neither values nor layout (types are widened on recomputation).
UNCHANGING = CASTS | {"contiguous", "clone"}

DROPOUT = frozenset(["dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d"])


class Placeholder:
    """The position of the tensor in a step's arguments."""

    def __reduce__(self) -> str:
        return "PLACEHOLDER"  # copies are compared by identity, too


PLACEHOLDER = Placeholder()


@dataclass(frozen=True, repr=False)
class Step:
    """A function call to replay, with a placeholder for the scores or weights.

    It is replayed in the type, the autocast state and, for dropout, the random state of the
    original call, so that it returns the same values.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = (PLACEHOLDER,)
    kwargs: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype | None = None
    random_state: Tensor | None = None
    autocast: torch.dtype | None = None

    def __repr__(self) -> str:
        return f"Step({self.name})"

    @property
    def is_layout_only(self) -> bool:
        """Whether it changes the layout or the type only."""
        return self.name in LAYOUT or self.name in CASTS

    @property
    def rearranges(self) -> bool:
        """Whether it changes the layout."""
        return self.name in LAYOUT and self.name not in UNCHANGING

    @property
    def is_selection(self) -> bool:
        """Whether it selects a part of the elements."""
        return self.name in SELECTIONS

    def __call__(self, x: Tensor) -> Tensor:
        """Replay the call on `x`."""
        x = x if self.dtype is None else x.to(self.dtype)
        if is_in_place(self.name):
            x = x.clone()
        call = self.with_arguments(lambda arg: arg is PLACEHOLDER, lambda _: x)
        if self.random_state is None:
            with autocast(x.device.type, self.autocast):
                result = self.function(*call.args, **call.kwargs)
        else:
            result = with_random_state(
                self.random_state, x, self.function, *call.args, **call.kwargs
            )
        return x if self.name == "__setitem__" else result

    def tensors(self) -> Iterable[Tensor]:
        """The tensors among its arguments."""
        return [x for arg in (*self.args, *self.kwargs.values()) for x in parts(arg)]

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Step":
        """The step with a function applied to each tensor among its arguments."""
        return self.with_arguments(lambda arg: isinstance(arg, Tensor), change)

    def with_arguments(self, chosen: Callable[[Any], bool], new: Callable[[Any], Any]) -> "Step":
        """The step with the chosen arguments, and items of lists, replaced."""

        def replaced(arg: Any) -> Any:
            if chosen(arg):
                return new(arg)
            if type(arg) in (list, tuple):
                return type(arg)(new(part) if chosen(part) else part for part in arg)
            return arg

        kwargs = {name: replaced(arg) for name, arg in self.kwargs.items()}
        return replace(self, args=tuple(map(replaced, self.args)), kwargs=kwargs)


def step_of_call(call: Operation, followed: Tensor) -> Step | None:
    """A call as a step, with a placeholder for one tensor; None if it leaves all elements as is."""
    drops = call.name in DROPOUT and _drops(call)
    if call.name in DROPOUT and not drops:
        return None
    step = Step(
        name=_property_name(call.function) if call.name == "__get__" else call.name,
        function=call.function,
        args=tuple(call.args),
        kwargs={key: arg for key, arg in call.kwargs.items() if key != "out"},
        dtype=followed.dtype,
        random_state=random_state(followed) if drops else None,
        autocast=autocast_dtype(followed),
    )
    return step.with_arguments(lambda arg: arg is followed, lambda _: PLACEHOLDER)


def in_place(step: Step, places: Sequence[int]) -> tuple[Step, Step]:
    """A step as one whose result has its axes in the places of the input, and a permutation.

    `places` are those of the input's axes in the result.
    """
    back = [places.index(i) for i in range(len(places))]
    kept = replace(step, function=partial(_permuted, places, step.function))
    return kept, Step("permute", Tensor.permute, (PLACEHOLDER, back))


def _permuted(
    places: Sequence[int], function: Callable[..., Tensor], *args: Any, **kwargs: Any
) -> Tensor:
    return function(*args, **kwargs).permute(*places)


def _drops(call: Operation) -> bool:
    """Whether this dropout is active: `dropout(input, p=0.5, training=True)`."""
    training = call.kwargs.get("train", call.argument(2, "training", True))
    return bool(training) and call.argument(1, "p", 0.5) > 0.0


def _property_name(function: Callable[..., Any]) -> str:
    """The name of the attribute that a `__get__` reads, such as `T` or `mT`."""
    return str(getattr(getattr(function, "__self__", None), "__name__", "__get__"))


def run(steps: Iterable[Step], x: Tensor) -> Tensor:
    """Replay steps in order."""
    for step in steps:
        x = step(x)
    return x


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The type of autocast on the device of `x`; None where autocast is off."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return None
    return torch.get_autocast_dtype(device)


def autocast(device: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    """Autocast to a type, or (None) no autocast, on a kind of device."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()  # "meta"
    return torch.autocast(device, dtype, enabled=dtype is not None)


def random_state(x: Tensor) -> Tensor:
    """The state of the generator that dropout uses on the device of `x`."""
    if x.device.type == "cuda":
        return torch.cuda.get_rng_state(x.device)
    return torch.get_rng_state()


def with_random_state(
    state: Tensor, x: Tensor, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Call `function` from a random state, and restore the generators."""
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        if x.device.type == "cuda":
            torch.cuda.set_rng_state(state, x.device)
        else:
            torch.set_rng_state(state)
        return function(*args, **kwargs)


def lowest_precision(*dtypes: torch.dtype) -> torch.dtype:
    """The type with the lowest precision."""
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
