"""Softmaxes: in one call, or from exponentials and their sum; and what became of each."""

import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from clearhead.recording._call_site import CallSite
from clearhead.recording._products import DIVIDE, Product
from clearhead.recording._record import AttentionRecord
from clearhead.recording._steps import CASTS, LAYOUT

SOFTMAX = frozenset(["special_softmax", "softmax", "_softmax", "_safe_softmax", "_sparse_softmax"])
LOG_SOFTMAX = frozenset(["log_softmax", "_log_softmax", "special_log_softmax"])
EXPONENTIAL = frozenset(["exp", "exp_", "special_exp"])
OTHER_EXPONENTIAL = frozenset(
    "exp2 exp2_ special_exp2 expm1 expm1_ special_expm1 __rpow__".split()
)  # not followed
OTHER_WEIGHTS = frozenset(
    "sigmoid sigmoid_ special_expit relu relu_ softplus elu silu square pow __pow__".split()
)
SUBTRACT = frozenset("sub sub_ subtract subtract_ __sub__ __isub__".split())
LOGSUMEXP = frozenset(["logsumexp", "special_logsumexp"])

# Operations after which weights are still weights, for a softmax over scores of unknown origin.
CARRIED = (
    LAYOUT
    | CASTS
    | EXPONENTIAL
    | DIVIDE
    | frozenset(
        "dropout dropout_ masked_fill masked_fill_ nan_to_num pad cat stack narrow __getitem__ "
        "chunk split tensor_split unbind as_strided select add __add__ mul __mul__".split()
    )
)

Value = TypeVar("Value")


class TensorTable(dict[int, tuple[weakref.ref[Tensor], Value]], Generic[Value]):
    """Values by tensor, held by weak references: an entry vanishes with its tensor."""

    def of(self, x: Any) -> Value | None:
        """The value of this very tensor."""
        known = self.get(id(x))
        return known[1] if known is not None and known[0]() is x else None

    def put(self, x: Tensor, value: Value) -> None:
        """Set the value of a tensor."""
        key = id(x)

        def drop(reference: Any) -> None:
            if key in self and self[key][0] is reference:
                del self[key]

        self[key] = weakref.ref(x, drop), value

    def forget(self, x: Any) -> None:
        """Remove a tensor."""
        if self.of(x) is not None:
            del self[id(x)]


@dataclass(eq=False, kw_only=True)
class Softmax:
    """One softmax over axis `dim` of `dims` axes, which has `keys` entries.

    Attributes:
        module: The module that computed it; None outside modules.
        scored: Whether its input comes from a product of two tensors.
        products: How many products it was recognised in as the weights of values.
        refusal: Why it is not recorded although it was recognised.
        multiplied: Whether its result, not recognised as weights, was multiplied with a tensor.
    """

    module: nn.Module | None
    dim: int
    dims: int
    keys: int
    scored: bool
    origin: str = ""
    products: int = 0
    refusal: str = ""
    multiplied: bool = False

    def unseen(self) -> str | None:
        """Why attention with this softmax is not recorded, or only a part of it; else None."""
        if self.refusal:
            return self.refusal
        if self.products:
            several = f"the record has the first of {self.products} products of its weights"
            return several if self.products > 1 else None
        if self.scored and (self.dims > 2 or self.multiplied):
            return "no product of its weights with values was recognised"
        if not self.multiplied:
            return None
        known = f"its scores come from {self.origin}, which is not followed"
        return known if self.origin else "no product of queries and keys was recognised"


@dataclass(eq=False, kw_only=True)
class Normaliser:
    """The sum of exponentials over one axis, or its logarithm."""

    source: weakref.ref[Tensor]
    dim: int
    logarithm: bool

    @property
    def removed_by(self) -> frozenset[str]:
        """The operations that normalise with it."""
        return SUBTRACT if self.logarithm else DIVIDE


def normaliser_of_call(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Normaliser | None:
    """The sum over one axis that a call computes; None for other calls."""
    if name != "sum" and name not in LOGSUMEXP:
        return None
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if isinstance(dim, list | tuple) and len(dim) == 1:
        dim = dim[0]
    x = args[0] if args else kwargs.get("input")
    if not isinstance(dim, int) or not isinstance(x, Tensor):
        return None
    return Normaliser(source=weakref.ref(x), dim=dim % x.dim(), logarithm=name in LOGSUMEXP)


def is_router(keys: Tensor, values: Product) -> bool:
    """Whether weights choose among learned keys, such as experts, and not among tokens."""
    return isinstance(keys, nn.Parameter) and not isinstance(values.second, nn.Parameter)


ATTENTION_LAYER = re.compile("attention|attn", re.IGNORECASE)


class PartsOfCalls:
    """Finds records that are parts of one attention: blocks of tokens, or landmarks.

    One call of a layer named as attention computes them, for different numbers of queries, or for
    more than two numbers of keys (two are self-attention and cross-attention).
    """

    def __init__(self) -> None:
        self._site: CallSite | None = None  # kept, so that no other call is taken for it
        self._records: list[tuple[str, tuple[int, int]]] = []
        self._parts: dict[str, list[tuple[str, tuple[int, int]]]] = {}

    def add(self, site: CallSite, record: AttentionRecord) -> None:
        """Note a record and the call that computed it."""
        if site.call is None or not ATTENTION_LAYER.search(type(site.module).__name__):
            return
        if self._site is None or self._site[1:] != site[1:]:  # one graph calls several modules
            self._site, self._records = site, []
        self._records.append((record.name, (record.query.shape[-2], record.value.shape[-2])))
        sizes = {size for _, size in self._records}
        if len(sizes) > 2 or len({size[0] for size in sizes}) > 1:
            self._parts[self._records[0][0]] = self._records

    def by_path(self) -> dict[str, tuple[str, ...]]:
        """The names of the parts, by the path of the module."""
        return {path: tuple(name for name, _ in parts) for path, parts in self._parts.items()}

    def clear(self) -> None:
        """Release the call."""
        self._site = None
