"""Attention that is not recorded, or only in part, is named in a warning and in `unrecorded`."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import clearhead as ch

from .models import hf_model
from .reference import assert_stages, attention, normal, softmax, triple
from .test_explicit import PRODUCTS, flat

Q, K, V = triple()
PLAIN = attention(Q, K, V)
SCALE = 11**-0.5
LOW = normal(11, 11, seed=6)
INDICES = torch.arange(7).repeat(5, 1)

Code = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * SCALE).softmax(-1) @ v


def of_one_head(code: Code) -> Code:
    """The code with tensors of two axes."""
    return lambda q, k, v: code(q[0, 0], k[0, 0], v[0, 0]).expand(2, 3, 5, 13)


def per_head_slices(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT * SCALE).softmax(-1)
    return torch.stack([weights[:, head] @ v[:, head] for head in range(3)], 1)


def unbound_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT * SCALE).softmax(-1).unbind(1)
    return torch.stack([w @ x for w, x in zip(weights, v.unbind(1), strict=True)], 1)


def scores_of_each_head_in_a_buffer(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q.new_zeros(2, 3, 5, 7)
    for head in range(3):
        scores[:, head] = q[:, head] @ k[:, head].mT * SCALE
    return scores.softmax(-1) @ v


def scores_without_a_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ((q[..., :, None, :] * k[..., None, :, :]).sum(-1) * SCALE).softmax(-1) @ v


def context_without_a_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT * SCALE).softmax(-1)
    return (weights[..., None] * v[..., None, :, :]).sum(-2)


def sum_with_a_residual(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (flat(q) @ flat(k).mT * SCALE).softmax(-1)
    return torch.baddbmm(torch.ones(6, 5, 13).double(), weights, flat(v))


def exponentials_times_a_reciprocal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    exponentials = (q @ k.mT * SCALE).exp()
    return (exponentials * exponentials.sum(-1, keepdim=True).reciprocal()) @ v


def exponentials_divided_by_their_norm(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.normalize((q @ k.mT * SCALE).exp(), p=1, dim=-1) @ v


def powers_of_two(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    powers = torch.exp2(q @ k.mT * SCALE)
    return powers / powers.sum(-1, keepdim=True) @ v


def sparse_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q[0, 0] @ k[0, 0].mT * SCALE).to_sparse()
    context: Tensor = torch.sparse.mm(torch.sparse.softmax(scores, -1), v[0, 0])
    return context.expand(2, 3, 5, 13)


def scores_per_query(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.stack([(k @ row).softmax(-1) @ v for row in q])


def dot_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = [torch.stack([torch.dot(row, column) for column in k]) for row in q]
    return torch.stack([(row.softmax(-1)[:, None] * v).sum(0) for row in scores])


def scaled_dot_products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = [torch.stack([torch.dot(row, column) * SCALE for column in k]) for row in q]
    return torch.stack([row.softmax(-1) @ v for row in scores])


def largest_scores(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    values, indices = (q @ k.mT).topk(3)
    chosen = (
        v[:, :, None].expand(-1, -1, 5, -1, -1).gather(-2, indices[..., None].expand(*[-1] * 4, 13))
    )
    return torch.einsum("bhqk,bhqkd->bhqd", values.softmax(-1), chosen)


def running_maximum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    largest = torch.full((2, 3, 5, 1), -math.inf).double()
    total, context = torch.zeros_like(largest), torch.zeros_like(largest)
    for keys, values in zip(k.split(3, 2), v.split(3, 2), strict=True):
        scores = q @ keys.mT * SCALE
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        weights, factor = (scores - new).exp(), (largest - new).exp()
        total = total * factor + weights.sum(-1, keepdim=True)
        context, largest = context * factor + weights @ values, new
    return context / total


def kernel_of_distances(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.exp(-(torch.cdist(q, k) ** 2) / 2)
    return weights / weights.sum(-1, keepdim=True) @ v


def powers(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = torch.pow(math.e, q @ k.mT)
    return weights / weights.sum(-1, keepdim=True) @ v


def squares(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT) ** 2
    return weights / weights.sum(-1, keepdim=True) @ v


def both_without_a_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q[..., :, None, :] * k[..., None, :, :]).sum(-1).softmax(-1)
    return (weights[..., None] * v[..., None, :, :]).sum(-2)


def sums_of_queries_and_keys(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    features = torch.tanh(q[..., :, None, :] + k[..., None, :, :])
    return (features @ nn.Parameter(LOW[:, :1])).squeeze(-1).softmax(-1) @ v


def changed_in_part(x: Tensor) -> Tensor:
    x.unfold(-1, 2, 2)[..., 0].zero_()
    return x


def query_changed_between(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q = q.clone()
    scores = q @ k.mT
    q.mul_(SCALE)
    return (scores * SCALE).softmax(-1) @ v


def mask_changed_between(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mask = LOW[:5, :7].clone()
    weights = (q @ k.mT * SCALE + mask).softmax(-1)
    mask.zero_()
    return weights @ v


def over_states(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries choose among the states of each token, whose axis is neither row nor column."""
    weights = torch.einsum("lbnd,shd->shlbn", k, q[:, 0, :1]).softmax(2)
    return torch.einsum("shlbn,lbnd->shbnd", weights, v)[..., :5, :]


def chosen_experts(x: Tensor, experts: Tensor, v: Tensor) -> Tensor:
    weights = F.linear(x, experts).softmax(-1)
    return (weights.unsqueeze(-2) @ v[:, :, None].cos()).squeeze(-2)


def repeated(x: Tensor) -> Tensor:
    return x[..., None, :].expand(*x.shape[:-1], *x.shape[-2:])


def two_products_in_one_memory(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    memory = q.new_empty(3, 2, 5, 7)
    scores = [torch.matmul(q[:, i], k[:, i].mT, out=memory[i]) for i in range(3)]
    scores[0].mul_(SCALE)
    return torch.stack([x.softmax(-1) @ v[:, i] for i, x in enumerate(scores)], 1)


def detached_view(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT
    scores.detach().mul_(SCALE)
    return scores.softmax(-1) @ v


# Attention, and what the reason says.
NOT_RECORDED: dict[str, tuple[Code, str]] = {
    "reciprocal": (exponentials_times_a_reciprocal, "weights with values"),
    "norm": (exponentials_divided_by_their_norm, "weights with values"),
    "powers of two": (powers_of_two, "weights with values"),
    "powers": (powers, "weights with values"),
    "sparse softmax": (sparse_softmax, "sparse"),
    "slices": (per_head_slices, "weights with values"),
    "unbound heads": (unbound_heads, "weights with values"),
    "buffer": (scores_of_each_head_in_a_buffer, "queries and keys"),
    "scores by sums": (scores_without_a_product, "elementwise products"),
    "context by sums": (context_without_a_product, "weights with values"),
    "both by sums": (both_without_a_product, "elementwise products"),
    "both by sums in a checkpoint": (
        lambda q, k, v: checkpoint(both_without_a_product, q, k, v, use_reentrant=False),
        "elementwise products",
    ),
    "residual": (sum_with_a_residual, "other terms"),
    "largest scores": (largest_scores, "topk"),
    "running maximum": (running_maximum, "weights with values"),
    "distances": (lambda q, k, v: (-torch.cdist(q, k)).softmax(-1) @ v, "cdist"),
    "kernel of distances": (kernel_of_distances, "cdist"),
    "distances and one number for each key": (
        lambda q, k, v: ((-torch.cdist(q, k)).softmax(-1) @ v[0, 0, :, 0])[..., None].expand(
            2, 3, 5, 13
        ),
        "cdist",
    ),
    "cosine": (
        lambda q, k, v: (
            F.cosine_similarity(q[..., None, :], k[..., None, :, :], -1).softmax(-1) @ v
        ),
        "cosine_similarity",
    ),
    "vecdot": (
        lambda q, k, v: torch.linalg.vecdot(q[..., None, :], k[..., None, :, :]).softmax(-1) @ v,
        "vecdot",
    ),
    "einsum of three": (
        lambda q, k, v: torch.einsum("bhid,de,bhje->bhij", q, LOW, k).softmax(-1) @ v,
        "einsum",
    ),
    "einsum of three with values": (
        lambda q, k, v: torch.einsum("bhij,bhjd,h->bhid", (q @ k.mT).softmax(-1), v, LOW[0, :3]),
        "weights with values",
    ),
    "einsum of a diagonal of queries": (
        lambda q, k, v: torch.einsum("bhiid,bhjd->bhij", repeated(q), k).softmax(-1) @ v,
        "einsum",
    ),
    "einsum of a diagonal of keys": (
        lambda q, k, v: torch.einsum("bhid,bhjjd->bhij", q, repeated(k)).softmax(-1) @ v,
        "einsum",
    ),
    "multi_dot of three": (
        of_one_head(lambda q, k, v: torch.linalg.multi_dot([q, LOW, k.mT]).softmax(-1) @ v),
        "multi_dot",
    ),
    "chain_matmul of three": (
        of_one_head(lambda q, k, v: torch.chain_matmul(q, LOW, k.mT).softmax(-1) @ v),
        "chain_matmul",
    ),
    "addbmm": (
        of_one_head(lambda q, k, v: torch.addbmm(LOW[:5, :7], q[None], k.mT[None]).softmax(-1) @ v),
        "addbmm",
    ),
    "in place": (
        of_one_head(lambda q, k, v: LOW[:5, :7].clone().addmm_(q, k.mT).softmax(-1) @ v),
        "addmm_",
    ),
    "in another tensor": (
        lambda q, k, v: LOW[:5, :7].expand(2, 3, 5, 7).clone().add_(q @ k.mT).softmax(-1) @ v,
        "add_",
    ),
    "query changed": (query_changed_between, "changed in place"),
    "mask changed": (mask_changed_between, "changed in place"),
    "one more axis": (lambda q, k, v: (q @ k.mT)[None].softmax(-1)[0] @ v, "weights with values"),
    "scores of one head": (
        lambda q, k, v: ((q @ k.mT)[:, 0].softmax(-1) @ v[:, 0])[:, None].expand(2, 3, 5, 13),
        "other axes",
    ),
    "scores of some heads": (
        lambda q, k, v: ((q @ k.mT)[:, :1].softmax(-1) @ v[:, :1]).expand(2, 3, 5, 13),
        "other axes",
    ),
    "context by sums, two axes": (
        of_one_head(lambda q, k, v: ((q @ k.mT).softmax(-1)[..., None] * v).sum(-2)),
        "weights with values",
    ),
    "one query at a time": (of_one_head(scores_per_query), "matmul"),
    "dot products": (of_one_head(dot_products), "dot"),
    "bags": (
        of_one_head(
            lambda q, k, v: F.embedding_bag(
                INDICES, v, mode="sum", per_sample_weights=(q @ k.mT).softmax(-1)
            )
        ),
        "weights with values",
    ),
    "sigmoid": (lambda q, k, v: (q @ k.mT).sigmoid() @ v, "sigmoid"),
    "squares": (squares, "pow"),
    "tanh": (lambda q, k, v: (q @ k.mT).tanh() @ v, "tanh"),
    "softplus": (lambda q, k, v: F.normalize(F.softplus(q @ k.mT), p=1, dim=-1) @ v, "softplus"),
    "scaled dot products": (of_one_head(scaled_dot_products), "dot"),
    "sums of queries and keys": (sums_of_queries_and_keys, "other axes"),
    "softmax of scores with another axis": (
        lambda q, k, v: (q @ k.mT).unsqueeze(2).softmax(-1).squeeze(2) @ v,
        "other axes",
    ),
    "softmax without the axis of one query": (
        lambda q, k, v: ((q @ k.mT)[:, :, :1].squeeze(2).softmax(-1).unsqueeze(2) @ v).expand(
            2, 3, 5, 13
        ),
        "other axes",
    ),
    "scores added to a term of positions in place": (
        lambda q, k, v: (q @ LOW[:, :7]).add_(q @ k.mT).softmax(-1) @ v,
        "add_",
    ),
    "softmax over a batch axis": (over_states, "other axes"),
    "views of weights": (lambda q, k, v: changed_in_part((q @ k.mT).softmax(-1)) @ v, "zero_"),
    "views of scores": (lambda q, k, v: changed_in_part(q @ k.mT).softmax(-1) @ v, "zero_"),
    "two products in one memory": (two_products_in_one_memory, "mul_"),
    "detached view of scores": (detached_view, "mul_"),
    "router, transposed": (
        lambda q, k, v: chosen_experts(q, nn.Parameter(K[0, 0].mT).t(), v),
        "router",
    ),
    "router, cast": (
        lambda q, k, v: chosen_experts(q, nn.Parameter(K[0, 0].float()).double(), v),
        "router",
    ),
}


class Encoder(nn.Module):
    """An ordinary attention, and another one."""

    def __init__(self, other: Code) -> None:
        super().__init__()
        self.ordinary, self.other = Attention(explicit), Attention(other)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result: Tensor = self.ordinary(q, k, v) + self.other(q, k, v)
        return result


class Attention(nn.Module):
    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.code(q, k, v).reshape(2, 3, 5, 13)


@pytest.mark.filterwarnings("ignore:.*chain_matmul")
@pytest.mark.parametrize(("code", "reason"), NOT_RECORDED.values(), ids=NOT_RECORDED)
def test_attention_that_is_not_recorded_is_named_in_a_warning(code: Code, reason: str) -> None:
    with pytest.warns(UserWarning, match="other: "), ch.capture() as recording:
        Encoder(code)(Q, K, V)
    assert recording.names == ("ordinary",)
    assert all(text.startswith("other: ") for text in recording.unrecorded)
    assert any(reason in text for text in recording.unrecorded)
    with ch.capture("ordinary") as recording:  # no warning about layers that were not chosen
        Encoder(code)(Q, K, V)
    with pytest.warns(UserWarning, match="other: "), ch.intervene(lambda record: None):
        Encoder(code)(Q, K, V)
    with pytest.raises(ch.errors.NothingCapturedError, match="may be attention"), ch.capture():
        code(Q, K, V)


OTHERS = [
    *["fused", "dropout", "learned keys", "classes", "computed weights", "mean class"],
    *["state space", "projected state", "split features", "unused"],
    *["indexer", "convolution", "checkpointing", "normalised tokens"],
]


@pytest.mark.parametrize("code", [*PRODUCTS, *OTHERS])
def test_other_softmaxes_give_no_warning(code: str) -> None:
    head = nn.Linear(13, 4).double()

    def run() -> None:
        if code in PRODUCTS:
            scores, context = PRODUCTS[code]
            context((scores(Q, K) * SCALE).softmax(-1), V)
        elif code == "dropout":
            F.dropout((Q @ K.mT).softmax(-1), 0.3) @ V
        elif code == "state space":  # the step of a Mamba
            step = (nn.Parameter(LOW) @ Q.mT)[..., None]
            (step * LOW[:, 0].exp()[:, None, None]).exp() @ V[:, :, :1, :1, None]
            (step * LOW[0, :4].exp()).exp() @ V[:, :, :1, :4, None]
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "projected state":  # of a Mamba 2, whose next layer has exponentials
            F.linear(Q @ K.mT, nn.Parameter(LOW[:, :7])).exp() @ K.mT
            (Q @ K.mT @ nn.Parameter(LOW[:7])).exp() @ K.mT
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "indexer":
            normal(2, 3, 1, 5) @ (Q @ K.mT).relu()
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "convolution":
            weight = nn.Parameter(LOW[:7, :5, None].float())
            F.conv1d(Q[0], weight.double()).exp() @ K[0].mT
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "split features":
            F.linear(Q, nn.Parameter(LOW)).split([4, 7], -1)[0].softmax(-1) @ K[..., :4, :]
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "normalised tokens":
            F.linear(Q.cos().softmax(2), nn.Parameter(LOW))
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "unused":
            (Q @ K.mT).softmax(-1).float()
            F.scaled_dot_product_attention(Q, K, V)
        elif code == "learned keys":
            (Q @ nn.Parameter(K.mT)).softmax(-1) @ nn.Parameter(V)
        else:
            F.scaled_dot_product_attention(Q, K, V)
        if code == "classes":
            (F.scaled_dot_product_attention(Q, K, V) @ nn.Parameter(V[0, 0].mT)).softmax(-1).topk(2)
            F.log_softmax(head(V), -1)
            head(V).softmax(-1)
        if code == "computed weights":
            F.linear(V, F.normalize(head.weight, dim=-1)).log_softmax(-1)
            weight_norm(nn.Linear(13, 4).double())(V).softmax(-1)
        if code == "mean class":
            head(V).softmax(-1) @ torch.arange(4.0).double()
        if code == "checkpointing":  # computed again up to the last product
            query = Q.clone().requires_grad_()
            checkpoint(explicit, query, K, V, use_reentrant=False).sum().backward()

    with ch.capture() as recording:
        run()
    assert recording.unrecorded == ()


@pytest.mark.parametrize(
    "code",
    [
        lambda weights, outputs: (outputs * weights[..., None]).sum(-2),
        lambda weights, outputs: (weights[..., None, :] @ outputs).squeeze(-2),
        lambda weights, outputs: torch.einsum("bhqe,bhqed->bhqd", weights, outputs),
    ],
    ids=["sum", "matmul", "einsum"],
)
@pytest.mark.parametrize("chosen", [4, 2])
def test_gates_of_several_layers_are_not_taken_for_attention(code: Any, chosen: int) -> None:
    layers = [(nn.Linear(13, 4).double(), nn.Linear(13, 13).double()) for _ in range(2)]
    with ch.capture() as recording:
        x = F.scaled_dot_product_attention(Q, K, V)
        for gates, linear in layers:
            logits, _ = gates(x).topk(chosen)
            outputs = torch.stack([linear(x) * n for n in range(chosen)], -2)
            x = F.layer_norm(x + linear(code(logits.softmax(-1), outputs)), (13,))
    assert recording.names == ("attention",)


class Deformable(nn.Module):
    """Each query alone determines positions, where values are sampled, and their weights."""

    def __init__(self, join: Callable[[list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.join = join
        self.weights, self.positions = (nn.Linear(13, n).double() for n in (4, 8))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weights(x).softmax(-1).flatten(0, 1)[:, None]  # batch, 1, queries, points
        positions = self.positions(x).tanh().unflatten(-1, (4, 2)).flatten(0, 1)
        values = x.mT.reshape(6, 13, 1, 5)
        parts = F.grid_sample(values, positions, align_corners=False).split(2, -1)
        sampled = self.join([y.clone() for y in parts])
        result: Tensor = (sampled * weights).sum(-1).mT.reshape(x.shape)
        return result


class Stack(nn.Module):
    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, q: Tensor) -> Tensor:
        x: Tensor = self.layers[0](q, q, q)
        for layer in list(self.layers)[1:]:
            x = layer(x)
        return x


def test_deformable_attention_is_named_in_each_layer() -> None:
    attention = Attention(lambda q, k, v: F.scaled_dot_product_attention(Q, K, V))
    stacked = Deformable(lambda parts: torch.stack(parts, -2).flatten(-2))
    layers = [stacked, Deformable(partial(torch.concatenate, dim=-1))]
    model = nn.ModuleList([attention, *layers])
    with pytest.warns(UserWarning, match="deformable"), ch.capture() as recording:
        Stack(model)(Q)
    assert [text.partition(": ")[0] for text in recording.unrecorded] == ["layers.1", "layers.2"]


def test_a_learned_matrix_of_transitions_is_not_taken_for_attention() -> None:
    transitions, state = nn.Parameter(normal(5, 5)), normal(2, 5).softmax(-1)
    with ch.capture() as recording:
        F.scaled_dot_product_attention(Q, K, V)
        for _ in range(3):
            state = (state @ transitions.softmax(-1)) * LOW[:2, :5].exp()
    assert recording.unrecorded == ()


@pytest.mark.parametrize(
    "pool",
    [
        lambda scores, x: scores.mT.softmax(-1) @ x,
        lambda scores, x: scores.softmax(-2).mT @ x,
        lambda scores, x: torch.einsum("bhtr,bhtd->bhrd", scores.softmax(2), x),
    ],
    ids=["last axis", "tokens", "einsum"],
)
def test_pooling_by_additive_attention_is_named(pool: Any) -> None:
    hidden, heads = nn.Linear(13, 4).double(), nn.Linear(4, 2).double()

    def run() -> None:
        x = F.scaled_dot_product_attention(Q, K, V)
        pool(heads(hidden(x).tanh()), x)

    with pytest.warns(UserWarning, match="queries and keys"), ch.capture():
        run()


def test_one_softmax_that_weights_two_values_is_one_record() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.mT * SCALE).softmax(-1)
        return weights @ v + weights @ v.cos()

    with pytest.warns(UserWarning, match="first of 2 products"), ch.capture() as recording:
        code(Q, K, V)
    assert len(recording) == 1
    assert_stages(recording[0], PLAIN)


def test_a_router_is_not_taken_for_attention() -> None:
    experts = nn.Parameter(normal(13, 4, seed=5))

    def code() -> None:
        context = F.scaled_dot_product_attention(Q, K, V)
        chosen = (context @ experts).softmax(-1)
        outputs = torch.stack([context.mean(2) * n for n in range(4)], 2)
        chosen @ outputs

    with pytest.warns(UserWarning, match="router"), ch.capture() as recording:
        code()
    assert recording.names == ("attention",)


class BlockSparseAttention(nn.Module):
    """The first queries attend to all keys, the others to the first four keys."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = q.new_empty(2, 3, 5, 13)
        output[:, :, :2] = explicit(q[:, :, :2].clone(), k, v)
        output[:, :, 2:] = explicit(q[:, :, 2:].clone(), k[:, :, :4], v[:, :, :4])
        return output


class SelfAndCrossAttention(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return explicit(explicit(q, q, q), k, v)


def test_parts_of_one_attention_are_not_shown_as_a_whole() -> None:
    model = nn.ModuleList([BlockSparseAttention(), SelfAndCrossAttention()])
    with pytest.warns(UserWarning, match="2 parts"), ch.capture() as recording:
        [layer(Q, K, V) for layer in model]
    assert recording.names == ("SelfAndCrossAttention", "SelfAndCrossAttention#2")
    assert len(recording.unrecorded) == 1
    with pytest.raises(ch.errors.NothingCapturedError, match="2 parts"), ch.capture():
        model[0](Q, K, V)
    with ch.capture() as recording:  # calls of one layer with other numbers of tokens are whole
        model[1](Q, K, V)
        model[1](Q[:, :, :3], K, V)
    assert len(recording) == 4


@pytest.mark.parametrize("fused", [False, True])
def test_heads_in_a_loop_are_not_shown_as_several_attentions(fused: bool) -> None:
    attend = F.scaled_dot_product_attention if fused else explicit
    layer = Attention(
        lambda q, k, v: torch.stack([attend(q[:, i], k[:, i], v[:, i]) for i in range(3)], 1)
    )
    model = nn.ModuleList([layer, Attention(explicit)])
    with pytest.warns(UserWarning, match="3 parts"), ch.capture() as recording:
        [x(Q, K, V) for x in model]
    assert recording.names == ("Attention#4",)
    with pytest.warns(UserWarning, match="3 attentions are joined"), ch.capture() as recording:
        layer.code(Q, K, V)  # outside modules, where another attention may follow
    assert len(recording) == 3


class OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(11, 3 * 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return explicit(*self.project(x).chunk(3, -1))


class Heads(nn.Module):
    """Heads with layers of their own, which are modules, or not."""

    def __init__(self, of_modules: bool) -> None:
        super().__init__()
        self.heads, self.of_modules = nn.ModuleList(OneHead() for _ in range(3)), of_modules

    def forward(self, x: Tensor) -> Tensor:
        if self.of_modules:
            return torch.stack([head(x) for head in self.heads], -2).flatten(-2)
        layers: list[Any] = [head.project for head in self.heads]
        projected = [layer(x).chunk(3, -1) for layer in layers]
        return torch.cat([explicit(*x).contiguous() for x in projected], -1)


def test_heads_that_are_modules_are_recorded_one_by_one_and_their_join_is_named() -> None:
    model = nn.Sequential(Heads(True), nn.Linear(12, 11).double(), Heads(True))
    with pytest.warns(UserWarning, match="joined"), ch.capture() as recording:
        model(Q[0, 0])
    assert recording.names == tuple(f"{i}.heads.{j}" for i in (0, 2) for j in range(3))
    assert [text.partition(":")[0] for text in recording.unrecorded] == ["0.heads.0", "2.heads.0"]
    recording.verify()


def test_heads_in_a_loop_with_layers_of_their_own_are_parts() -> None:
    model = nn.Sequential(Heads(False), nn.Linear(12, 11).double(), OneHead())
    with pytest.warns(UserWarning, match="3 parts"), ch.capture() as recording:
        model(Q[0, 0])
    assert recording.names == ("2",)
    with pytest.warns(UserWarning, match="3 parts"), ch.intervene(lambda record: record.output):
        model(Q[0, 0])


def test_groups_of_heads_that_share_keys_and_values_are_parts() -> None:
    key, value = K[:, :1, :5], V[:, :1, :5]
    layer = Attention(
        lambda q, k, v: torch.cat([explicit(x, key, value) for x in q.split([2, 2], 1)], 1)[:, :3]
    )
    with pytest.raises(ch.errors.NothingCapturedError, match="2 parts"), ch.capture():
        layer(torch.cat([Q, Q], 1)[:, :4], K, V)


def test_all_attentions_of_a_layer_with_parts_are_parts() -> None:
    layer = Attention(
        lambda q, k, v: (
            explicit(q[:, :1], k[:, :1], v[:, :1])
            + explicit(q[:, 1:2], k[:, 1:2], v[:, 1:2])
            + explicit(q.cos(), k.cos(), v.cos())
        )
    )
    with pytest.raises(ch.errors.NothingCapturedError, match="3 parts"), ch.capture():
        layer(Q, K, V)


@pytest.mark.parametrize("change", [lambda q: q, lambda q: torch.stack([q, q.cos()])[1]])
def test_two_attentions_of_the_same_or_other_queries_are_recorded(change: Any) -> None:
    layer = Attention(lambda q, k, v: explicit(q, k, v) + explicit(change(q), k.cos(), v.cos()))
    with ch.capture() as recording:
        layer(Q, K, V)
    assert recording.names == ("Attention", "Attention#2")
    assert recording.unrecorded == ()


@pytest.mark.filterwarnings("ignore:.*chain_matmul")
@pytest.mark.parametrize(
    ("scores", "context"),
    [
        (
            lambda q, k: torch.linalg.multi_dot([q, k.mT]),
            lambda w, v: torch.linalg.multi_dot([w, v]),
        ),
        (lambda q, k: torch.chain_matmul(q, k.mT), torch.chain_matmul),
        (torch.inner, lambda w, v: torch.inner(w, v.mT)),
        (lambda q, k: torch.linalg.matmul(q, k.mT), torch.linalg.matmul),
    ],
    ids=["multi_dot", "chain_matmul", "inner", "linalg.matmul"],
)
def test_products_of_two_axes(
    scores: Callable[..., Tensor], context: Callable[..., Tensor]
) -> None:
    q, k, v = Q[0, 0], K[0, 0], V[0, 0]
    with ch.capture() as recording:
        context((scores(q, k) * SCALE).softmax(-1), v)
    recording.verify()
    np.testing.assert_allclose(
        recording[0].weights[0, 0], softmax((q @ k.mT * SCALE).numpy()), atol=1e-12
    )


@torch.library.custom_op("clearhead_tests::core", mutates_args=())
def core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return explicit(q, k, v)


@core.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.new_empty(2, 3, 5, 13)


@pytest.mark.unchecked  # compiles
@pytest.mark.parametrize(
    "backend", [None, "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]
)
def test_the_python_function_of_a_custom_operator_is_recorded(backend: str | None) -> None:
    def function(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        output = core(q * 1.0, k, v)
        return output, (q * output.sum()).exp()  # in the memory of q * 1.0

    run = function if backend is None else torch.compile(function, backend=backend)
    run(Q, K, V)
    for _ in range(2):
        with torch.no_grad(), ch.capture() as outer, ch.capture() as recording:
            run(Q, K, V)
        for each in (outer, recording):
            assert len(each.verify()) == 1
            assert_stages(each[0], PLAIN)


@torch.library.triton_op("clearhead_tests::with_kernels", mutates_args=())
def with_kernels(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return explicit(q, k, v)


def test_the_python_function_of_an_operator_with_triton_kernels_is_recorded() -> None:
    with torch.no_grad(), ch.capture() as recording:
        with_kernels(Q, K, V)
    assert_stages(recording[0], PLAIN)


def test_an_operator_that_is_made_inside_the_block_is_recorded() -> None:
    for _ in range(2):
        with torch.no_grad(), ch.capture() as recording:
            operator = torch.library.custom_op("clearhead_tests::new", mutates_args=())(explicit)
            operator(Q, K, V)
        assert_stages(recording[0], PLAIN)
    with torch.no_grad(), ch.capture() as recording:
        operator(Q, K, V)
    assert len(recording.verify()) == 1


@pytest.mark.parametrize("tokens", [8, 16])
def test_banded_attention_is_refused_in_one_window_and_in_several(tokens: int) -> None:
    sizes: Any = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 32}
    model = hf_model("LongformerModel", num_hidden_layers=2, attention_window=8, **sizes)
    with pytest.raises(ch.errors.NothingCapturedError, match="may be attention"), ch.capture():
        model(torch.full((2, tokens), 5))


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def in_a_pool(function: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result()


@pytest.mark.parametrize("start", [in_a_thread, in_a_pool])
def test_attention_in_a_thread_started_inside_the_block_is_recorded(
    start: Callable[[Callable[[], object]], None],
) -> None:
    model = Encoder(both_without_a_product)

    def run() -> None:
        explicit(Q, K, V)
        start(lambda: model(Q, K, V))
        start(lambda: model(Q, K, V))

    with pytest.warns(UserWarning, match="other: "), ch.capture() as recording:
        run()
    assert recording.names == ("attention", "ordinary", "ordinary#2")
    assert_stages(recording[2], PLAIN)
    assert len(recording.unrecorded) == 1


def test_a_pool_from_before_the_block_is_recorded_for_its_tasks_inside_only() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(explicit, Q, K, V).result()
        with ch.capture() as recording:
            explicit(Q, K, V)
            pool.submit(explicit, Q, K, V).result()
        pool.submit(explicit, Q, K, V).result()
    assert len(recording.verify()) == 2


def test_a_thread_that_outlives_the_block_is_recorded_until_its_end() -> None:
    proceed, ended = threading.Event(), threading.Event()
    outputs = []

    def run() -> None:
        outputs.append(explicit(Q, K, V))
        proceed.set()
        ended.wait()
        outputs.append(explicit(Q, K, V))

    with ch.capture() as recording:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        proceed.wait()
    ended.set()
    thread.join()
    assert len(recording.verify()) == 1
    assert outputs[0].equal(outputs[1])


class Waiting(TorchDispatchMode):
    """Operations that begin inside the block, and end after it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.running, self.ended = threading.Event(), threading.Event()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.running.set()
        self.ended.wait()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("code", [F.scaled_dot_product_attention, explicit])
def test_a_call_that_ends_after_the_block_is_not_recorded(code: Code) -> None:
    waiting, outputs = Waiting(), []

    def run() -> None:
        with waiting:
            outputs.append(code(Q, K, V))

    with ch.capture() as recording:
        explicit(Q, K, V)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        waiting.running.wait()
    waiting.ended.set()
    thread.join()
    assert len(recording.verify()) == len(outputs) == 1
