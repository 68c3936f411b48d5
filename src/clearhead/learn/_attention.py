"""The exercises of lessons 1 to 4."""

import math

import torch
from torch import Tensor

from clearhead.attention import attention_stages, causal_mask
from clearhead.learn._check import Exercise, Mistake, Values


def _projection(seed: int) -> Values:
    return {
        "x": torch.tensor([1.0, 2.0, 0.0]),
        "W_Q": torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [-1.0, 1.0, 0.0]]),
        "W_K": torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    }


def _one_query_four_keys(seed: int) -> Values:
    return {
        "query": torch.tensor([1.0, 1.0]),
        "keys": torch.tensor([[1.0, 0.5], [-4.0, 3.0], [3.0, 1.0], [-1.0, -1.0]]),
    }


def _tokens_and_matrix(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    return {
        "tokens": torch.randn(5, 4, generator=generator),
        "W_K": torch.randn(4, 4, generator=generator),
    }


def _query_and_keys(seed: int) -> Values:
    return {
        "query": torch.tensor([[2.0, 1.0, 0.0, -1.0]]),
        "key": torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 1.0], [0.5, 0.0, 3.0, 1.0]]),
    }


def _weights_and_values(seed: int) -> Values:
    return {
        "weights": torch.tensor([0.7, 0.2, 0.1]),
        "value": torch.tensor([[10.0, 0.0], [0.0, 20.0], [30.0, 30.0]]),
    }


def _query_key_value(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 7, 5, generator=generator)
    return {"query": q, "key": k, "value": v}


def _tokens_and_matrices(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    W_Q, W_K, W_V = torch.randn(3, 5, 5, generator=generator)  # noqa: N806 - as in the lessons
    return {"x": torch.randn(7, 5, generator=generator), "W_Q": W_Q, "W_K": W_K, "W_V": W_V}


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention_stages(query, key, value).context


EXERCISES = {
    "1.1": Exercise(
        given=_projection,
        right=lambda x, w_q, w_k: w_q @ x,
        mistakes=(
            Mistake(
                lambda x, w_q, w_k: x @ w_q,
                "This is x W_Q. In q = W_Q x each number is one row of W_Q times x.",
            ),
            Mistake(lambda x, w_q, w_k: w_k @ x, "This is the key. The query uses W_Q."),
            Mistake(
                lambda x, w_q, w_k: w_q * x,
                "These are the products before they are added up. Sum over each row.",
            ),
        ),
        hint="Multiply the first row of W_Q by x, number by number, and add up; then the next row.",
    ),
    "1.2": Exercise(
        given=_one_query_four_keys,
        right=lambda query, keys: 2,
        mistakes=(
            Mistake(
                lambda query, keys: 0,
                "This key is the nearest point, but distance is not the measure: compare the dot "
                "products.",
            ),
            Mistake(
                lambda query, keys: 1,
                "This key is the longest. Length alone does not help: it points in another "
                "direction.",
            ),
            Mistake(
                lambda query, keys: 3,
                "This key has the smallest dot product (or you counted from 1; count from 0).",
            ),
        ),
        hint="Compute the dot product of the query with each key. Keys count from 0.",
    ),
    "1.3": Exercise(
        given=_tokens_and_matrix,
        right=lambda tokens, w_k: tokens @ w_k.T,
        is_function=True,
        mistakes=(
            Mistake(
                lambda tokens, w_k: tokens @ w_k,
                "k = W_K x for a column x. With tokens as rows, the matrix must be transposed.",
            ),
            Mistake(
                lambda tokens, w_k: w_k @ tokens.T,
                "The keys are the columns of your result. They should be its rows, like the "
                "tokens.",
            ),
            Mistake(
                lambda tokens, w_k: torch.softmax(tokens @ w_k.T, dim=-1),
                "A projection has no softmax; that comes later, on the scores.",
            ),
        ),
        hint="Row i of the result is W_K times token i.",
    ),
    "2.1": Exercise(
        given=_query_and_keys,
        right=lambda query, key: attention_stages(query, key, key).weights,
        mistakes=(
            Mistake(
                lambda query, key: torch.softmax(query @ key.T, dim=-1),
                "The scale is missing: divide the scores by √d_k before the softmax.",
            ),
            Mistake(
                lambda query, key: torch.softmax(query @ key.T / query.shape[-1], dim=-1),
                "You divided by d_k. Divide by its square root.",
            ),
            Mistake(
                lambda query, key: (query @ key.T / query.shape[-1] ** 0.5).exp(),
                "These are the exponentials. Divide each by their sum, so that they add up to 1.",
            ),
            Mistake(
                lambda query, key: torch.softmax(query @ key.T / len(key) ** 0.5, dim=-1),
                "You divided by the root of the number of keys. d_k is the length of a key.",
            ),
        ),
        hint="Three steps: dot products, divided by √d_k, softmax. d_k is the length of a query.",
    ),
    "2.2": Exercise(
        given=_weights_and_values,
        right=lambda weights, value: weights @ value,
        mistakes=(
            Mistake(
                lambda weights, value: value.mean(dim=0),
                "This is the mean with equal weights. Multiply each value by its own weight.",
            ),
            Mistake(
                lambda weights, value: value[weights.argmax()],
                "This is the value with the largest weight. All values contribute.",
            ),
            Mistake(
                lambda weights, value: weights[:, None] * value,
                "These are the weighted values. Add them up over the keys.",
            ),
        ),
        hint="Multiply each value by its weight and add up the three vectors.",
    ),
    "2.3": Exercise(
        given=_query_key_value,
        right=_attend,
        is_function=True,
        mistakes=(
            Mistake(
                lambda query, key, value: torch.softmax(query @ key.T, dim=-1) @ value,
                "The scale is missing: divide the scores by √d_k before the softmax.",
            ),
            Mistake(
                lambda query, key, value: (
                    torch.softmax(query @ key.T / query.shape[-1] ** 0.5, dim=0) @ value
                ),
                "Your softmax runs down the columns. Each row, one query, must add up to 1.",
            ),
            Mistake(
                lambda query, key, value: (
                    torch.softmax(query @ key.T * query.shape[-1] ** 0.5, dim=-1) @ value
                ),
                "You multiplied by √d_k. Divide by it.",
            ),
            Mistake(
                lambda query, key, value: (
                    torch.softmax(query @ key.T / len(query) ** 0.5, dim=-1) @ value
                ),
                "You divided by the root of the number of tokens. d_k is the length of a query.",
            ),
        ),
        hint="Scores, scale, softmax over the last axis, product with the values.",
    ),
    "3.1": Exercise(
        right=lambda: 8.0,
        mistakes=(
            Mistake(lambda: 64.0, "This is the variance. The standard deviation is its root."),
            Mistake(lambda: 1.0, "This is true after scaling. What is it before scaling?"),
            Mistake(
                lambda: 4096.0,
                "Variances of independent terms are added, not squared: 64 terms of variance 1.",
            ),
        ),
        hint="A sum of d_k independent terms of variance 1 has variance d_k.",
    ),
    "3.2": Exercise(
        right=lambda: 0.25,
        mistakes=(
            Mistake(
                lambda: 1 / math.sqrt(96),
                "You used embed_dim. d_k is the length of one head's query.",
            ),
            Mistake(lambda: 1 / 16, "You divided by d_k. The root is missing."),
            Mistake(
                lambda: 4.0, "This is √d_k, by which scores are divided. Which factor is that?"
            ),
        ),
        hint="First d_k = embed_dim / num_heads, then 1/√d_k.",
    ),
    "3.3": Exercise(
        right=lambda: 0.09,
        mistakes=(
            Mistake(lambda: 0.9, "This is the weight itself. Its derivative is w (1 − w)."),
            Mistake(lambda: 0.1, "This is 1 − w. Multiply it by w."),
            Mistake(lambda: 0.81, "This is w². The second factor is 1 − w."),
        ),
        hint="The derivative of a weight w with respect to its scaled score is w (1 − w).",
    ),
    "4.1": Exercise(
        given=_tokens_and_matrices,
        right=lambda x, w_q, w_k, w_v: _attend(x @ w_q, x @ w_k, x @ w_v),
        is_function=True,
        mistakes=(
            Mistake(
                lambda x, w_q, w_k, w_v: _attend(x @ w_q, x @ w_k, x),
                "You added up the tokens. Add up their values, x W_V.",
            ),
            Mistake(
                lambda x, w_q, w_k, w_v: _attend(x @ w_q, x @ w_q, x @ w_v),
                "Your keys are the queries. Keys have a matrix of their own, W_K.",
            ),
            Mistake(
                lambda x, w_q, w_k, w_v: torch.softmax(x @ w_q @ (x @ w_k).T, -1) @ x @ w_v,
                "The scale is missing: divide the scores by √d_k before the softmax.",
            ),
            Mistake(
                lambda x, w_q, w_k, w_v: _attend(x @ w_q.T, x @ w_k.T, x @ w_v.T),
                "You transposed the matrices, as in lesson 1. Here they stand on the right: x W_Q.",
            ),
        ),
        hint="Q = x W_Q, K = x W_K, V = x W_V; then softmax(Q Kᵀ / √d_k) V.",
    ),
    "4.2": Exercise(
        right=lambda: causal_mask(4, 4),
        mistakes=(
            Mistake(
                lambda: causal_mask(4, 4).T,
                "With this mask a word attends to itself and to later words. Swap rows and "
                "columns.",
            ),
            Mistake(
                lambda: torch.ones(4, 4).tril(-1),
                "A word may attend to itself: the diagonal is missing.",
            ),
            Mistake(
                lambda: ~causal_mask(4, 4),
                "This is True where attention is forbidden. Here True means: may attend.",
            ),
        ),
        hint="Row i is query i. It is True for the keys 0 … i and False for later ones.",
    ),
    "4.3": Exercise(
        right=lambda: 49**2,
        mistakes=(
            Mistake(lambda: 49, "This is the number of patches. Each has a score with each."),
            Mistake(lambda: 16**2, "These are patches of 7 × 7 pixels. Here they are 4 × 4."),
            Mistake(
                lambda: 49 * 48 // 2,
                "You counted pairs. Patch i with key j and patch j with key i are two scores, and "
                "each patch has one with itself.",
            ),
        ),
        hint="How many patches fit along a side, how many in the image, how many scores?",
    ),
}
