"""The exercises of the seven lessons: right answers, typical mistakes, hints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

from clearhead.attention import attention_stages, causal_mask

RIGHT = "right"

Values: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """An exercise of a lesson.

    Attributes:
        answers: From the given values, by position, to the right answer and to those that typical
            mistakes give, each under the message for it; the right answer is the first.
        hint: The message for any other wrong answer.
        draw: The given values by name, from a random generator.
        is_function: Whether the answer is a function of the given values.
    """

    answers: Callable[..., Values]
    hint: str
    draw: Callable[[Generator], Values] = lambda _: {}
    is_function: bool = False

    def given(self, seed: int = 0) -> Values:
        """New values for each call."""
        return self.draw(Generator().manual_seed(seed))


def _query_key_value(generator: Generator) -> Values:
    query, key, value = torch.randn(3, 7, 5, generator=generator)
    return {"query": query, "key": key, "value": value}


def _tokens_and_matrices(generator: Generator) -> Values:
    query, key, value = torch.randn(3, 5, 5, generator=generator)
    x = torch.randn(7, 5, generator=generator)
    return {"x": x, "W_Q": query, "W_K": key, "W_V": value}


def _two_layers(generator: Generator) -> Values:
    first, second = torch.rand(2, 4, 4, generator=generator).softmax(dim=-1)
    return {"first": first, "second": second}


def _weights(query: Tensor, key: Tensor, divisor: float, dim: int = -1) -> Tensor:
    return (query @ key.T / divisor).softmax(dim)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention_stages(query, key, value).context


def _root(number: int) -> float:
    return float(number**0.5)


def _half(weights: Tensor) -> Tensor:
    return (weights + torch.eye(len(weights))) / 2


def _cut(images: Tensor, *order: int) -> Tensor:
    """Patches from the axes (batch, rows, columns, patch height, patch width) in this order."""
    rows: Tensor = images[:, 0].unflatten(2, (4, 7)).unflatten(1, (4, 7)).transpose(2, 3)
    return rows.permute(order).flatten(3).flatten(1, 2)


EXERCISES = {
    "1.1": Exercise(
        draw=lambda _: {
            "x": torch.tensor([1.0, 2.0, 0.0]),
            "W_Q": torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [-1.0, 1.0, 0.0]]),
            "W_K": torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        },
        answers=lambda x, w_q, w_k: {
            RIGHT: w_q @ x,
            "This is x W_Q. In q = W_Q x each number is one row of W_Q times x.": x @ w_q,
            "This is the key. The query uses W_Q.": w_k @ x,
            "These are the products before they are added up. Sum over each row.": w_q * x,
        },
        hint="Multiply the first row of W_Q by x, number by number, and add up; then the next row.",
    ),
    "1.2": Exercise(
        draw=lambda _: {
            "query": torch.tensor([1.0, 1.0]),
            "keys": torch.tensor([[1.0, 0.5], [-4.0, 3.0], [3.0, 1.0], [-1.0, -1.0]]),
        },
        answers=lambda query, keys: {
            RIGHT: 2,
            "This key is the nearest point, but distance is not the measure: compare the dot "
            "products.": 0,
            "This key is the longest. Length alone does not help: it points in another "
            "direction.": 1,
            "This key has the smallest dot product (or you counted from 1; count from 0).": 3,
        },
        hint="Compute the dot product of the query with each key. Keys count from 0.",
    ),
    "1.3": Exercise(
        is_function=True,
        draw=lambda generator: {
            "tokens": torch.randn(5, 4, generator=generator),
            "W_K": torch.randn(4, 4, generator=generator),
        },
        answers=lambda tokens, w_k: {
            RIGHT: tokens @ w_k.T,
            "k = W_K x for a column x. With tokens as rows, the matrix must be transposed.": (
                tokens @ w_k
            ),
            "The keys are the columns of your result. They should be its rows, like the tokens.": (
                w_k @ tokens.T
            ),
            "A projection has no softmax; that comes later, on the scores.": (
                (tokens @ w_k.T).softmax(-1)
            ),
        },
        hint="Row i of the result is W_K times token i.",
    ),
    "2.1": Exercise(
        draw=lambda _: {
            "query": torch.tensor([[2.0, 1.0, 0.0, -1.0]]),
            "key": torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 2.0, 1.0, 1.0], [0.5, 0.0, 3.0, 1.0]]),
        },
        answers=lambda query, key: {
            RIGHT: attention_stages(query, key, key).weights,
            "The scale is missing: divide the scores by √d_k before the softmax.": (
                _weights(query, key, 1)
            ),
            "You divided by d_k. Divide by its square root.": _weights(query, key, 4),
            "These are the exponentials. Divide each by their sum, so that they add up to 1.": (
                (query @ key.T / _root(4)).exp()
            ),
            "You divided by the root of the number of keys. d_k is the length of a key.": (
                _weights(query, key, _root(3))
            ),
        },
        hint="Three steps: dot products, divided by √d_k, softmax. d_k is the length of a query.",
    ),
    "2.2": Exercise(
        draw=lambda _: {
            "weights": torch.tensor([0.7, 0.2, 0.1]),
            "value": torch.tensor([[10.0, 0.0], [0.0, 20.0], [30.0, 30.0]]),
        },
        answers=lambda weights, value: {
            RIGHT: weights @ value,
            "This is the mean with equal weights. Multiply each value by its own weight.": (
                value.mean(dim=0)
            ),
            "This is the value with the largest weight. All values contribute.": (
                value[weights.argmax()]
            ),
            "These are the weighted values. Add them up over the keys.": weights[:, None] * value,
        },
        hint="Multiply each value by its weight and add up the three vectors.",
    ),
    "2.3": Exercise(
        is_function=True,
        draw=_query_key_value,
        answers=lambda query, key, value: {
            RIGHT: _attend(query, key, value),
            "The scale is missing: divide the scores by √d_k before the softmax.": (
                _weights(query, key, 1) @ value
            ),
            "Your softmax runs down the columns. Each row, one query, must add up to 1.": (
                _weights(query, key, _root(5), dim=0) @ value
            ),
            "You multiplied by √d_k. Divide by it.": _weights(query, key, 1 / _root(5)) @ value,
            "You divided by the root of the number of tokens. d_k is the length of a query.": (
                _weights(query, key, _root(7)) @ value
            ),
        },
        hint="Scores, scale, softmax over the last axis, product with the values.",
    ),
    "3.1": Exercise(
        answers=lambda: {
            RIGHT: 8.0,
            "This is the variance. The standard deviation is its root.": 64.0,
            "This is true after scaling. What is it before scaling?": 1.0,
            "Variances of independent terms are added, not squared: 64 terms of variance 1.": (
                4096.0
            ),
        },
        hint="A sum of d_k independent terms of variance 1 has variance d_k.",
    ),
    "3.2": Exercise(
        answers=lambda: {
            RIGHT: 0.25,
            "You used embed_dim. d_k is the length of one head's query.": 1 / _root(96),
            "You divided by d_k. The root is missing.": 1 / 16,
            "This is √d_k, by which scores are divided. Which factor is that?": 4.0,
        },
        hint="First d_k = embed_dim / num_heads, then 1/√d_k.",
    ),
    "3.3": Exercise(
        answers=lambda: {
            RIGHT: 0.09,
            "This is the weight itself. Its derivative is w (1 − w).": 0.9,
            "This is 1 − w. Multiply it by w.": 0.1,
            "This is w². The second factor is 1 − w.": 0.81,
        },
        hint="The derivative of a weight w with respect to its scaled score is w (1 − w).",
    ),
    "4.1": Exercise(
        is_function=True,
        draw=_tokens_and_matrices,
        answers=lambda x, w_q, w_k, w_v: {
            RIGHT: _attend(x @ w_q, x @ w_k, x @ w_v),
            "You added up the tokens. Add up their values, x W_V.": _attend(x @ w_q, x @ w_k, x),
            "Your keys are the queries. Keys have a matrix of their own, W_K.": (
                _attend(x @ w_q, x @ w_q, x @ w_v)
            ),
            "The scale is missing: divide the scores by √d_k before the softmax.": (
                _weights(x @ w_q, x @ w_k, 1) @ x @ w_v
            ),
            "You transposed the matrices, as in lesson 1. Here they stand on the right: x W_Q.": (
                _attend(x @ w_q.T, x @ w_k.T, x @ w_v.T)
            ),
        },
        hint="Q = x W_Q, K = x W_K, V = x W_V; then softmax(Q Kᵀ / √d_k) V.",
    ),
    "4.2": Exercise(
        answers=lambda: {
            RIGHT: causal_mask(4, 4),
            "With this mask a word attends to itself and to later words. Swap rows and columns.": (
                causal_mask(4, 4).T
            ),
            "A word may attend to itself: the diagonal is missing.": torch.ones(4, 4).tril(-1),
            "This is True where attention is forbidden. Here True means: may attend.": (
                ~causal_mask(4, 4)
            ),
        },
        hint="Row i is query i. It is True for the keys 0 … i and False for later ones.",
    ),
    "4.3": Exercise(
        answers=lambda: {
            RIGHT: 49**2,
            "This is the number of patches. Each has a score with each.": 49,
            "These are patches of 7 × 7 pixels. Here they are 4 × 4.": 16**2,
            "You counted pairs. Patch i with key j and patch j with key i are two scores, and "
            "each patch has one with itself.": 49 * 48 // 2,
        },
        hint="How many patches fit along a side, how many in the image, how many scores?",
    ),
    "5.1": Exercise(
        answers=lambda: {
            RIGHT: (8, 10, 10),
            "This is the shape of the contexts. Weights are per key.": (8, 10, 12),
            "This is one head. Each head has weights of its own.": (10, 10),
            "12 is head_dim. Weights connect tokens with tokens.": (8, 12, 12),
            "Leave out the axis of the images: there is only one.": (1, 8, 10, 10),
        },
        hint="(heads, queries, keys), where queries and keys are the tokens.",
    ),
    "5.2": Exercise(
        is_function=True,
        draw=lambda generator: {"heads": torch.randn(3, 5, 2, generator=generator)},
        answers=lambda heads: {
            RIGHT: heads.transpose(0, 1).flatten(1),
            "The shape is right, but numbers of different tokens are mixed. Exchange the first "
            "two axes before you flatten.": heads.reshape(heads.shape[1], -1),
            "This is the mean of the heads. Concatenate them: put them side by side.": (
                heads.mean(dim=0)
            ),
            "The heads are interleaved. All numbers of the first head come first.": (
                heads.permute(1, 2, 0).flatten(1)
            ),
        },
        hint="Row i holds head 1 of token i, then head 2 of token i, and so on.",
    ),
    "5.3": Exercise(
        answers=lambda: {
            RIGHT: 4 * 64 * 64,
            "The heads share the 64 dimensions: all queries together come from one 64 × 64 "
            "matrix.": 4 * 4 * 64 * 64,
            "W_O is missing.": 3 * 64 * 64,
            "This is one head's share. Count all four heads.": 4 * 64 * 16,
        },
        hint="Four matrices: W_Q, W_K, W_V, each for all heads at once, and W_O.",
    ),
    "6.1": Exercise(
        answers=lambda: {
            RIGHT: 49 * 64 + 64,
            "The biases are missing: one for each of the 64 outputs.": 49 * 64,
            "The layer's input is one patch of 49 pixels, not the whole image.": 784 * 64 + 64,
            "All 16 patches share one layer; count it once.": 16 * (49 * 64 + 64),
        },
        hint="A linear layer has inputs × outputs weights, and one bias for each output.",
    ),
    "6.2": Exercise(
        is_function=True,
        draw=lambda generator: {"images": torch.rand(2, 1, 28, 28, generator=generator)},
        answers=lambda images: {
            RIGHT: _cut(images, 0, 1, 2, 3, 4),
            "The shape is right, but each of your patches holds 49 pixels of one or two rows. "
            "Split rows and columns separately.": images.reshape(len(images), 16, 49),
            "Your patches are numbered down the columns. Number them along the rows.": (
                _cut(images, 0, 2, 1, 3, 4)
            ),
            "Each patch is mirrored along its diagonal. Keep its rows as rows.": (
                _cut(images, 0, 1, 2, 4, 3)
            ),
        },
        hint="28 = 4 × 7 in both directions: (batch, 4, 7, 4, 7), then bring the two 4s together.",
    ),
    "6.3": Exercise(
        answers=lambda: {
            RIGHT: (0.98 * 0.02 / 10_000) ** 0.5,
            "This is the variance. Take its square root.": 0.98 * 0.02 / 10_000,
            "This is the standard deviation for one image. Divide the variance by n.": (
                (0.98 * 0.02) ** 0.5
            ),
            "The root covers all of p (1 − p) / n, not n alone.": 0.98 * 0.02 / 100,
        },
        hint="√(p (1 − p) / n) with p = 0.98 and n = 10,000.",
    ),
    "7.1": Exercise(
        is_function=True,
        draw=_two_layers,
        answers=lambda first, second: {
            RIGHT: _half(second) @ _half(first),
            "The order is reversed. The second layer's rows are the final tokens, so it stands "
            "on the left.": _half(first) @ _half(second),
            "The residual connections are missing: average each layer with the identity first.": (
                second @ first
            ),
            "This is the mean of the layers. They act one after the other: multiply.": (
                (_half(first) + _half(second)) / 2
            ),
        },
        hint="(weights + identity) / 2 for each layer, then the matrix product.",
    ),
    "7.2": Exercise(
        draw=lambda _: {"nothing": 1.0, "only_a": 4.0, "only_b": 3.0, "both": 10.0},
        answers=lambda nothing, only_a, only_b, both: {
            RIGHT: ((only_a - nothing) + (both - only_b)) / 2,
            "This is what A adds to nothing. Average with what it adds when B is there.": (
                only_a - nothing
            ),
            "This is what is lost without A. Average with what A adds to nothing.": both - only_b,
            "You divided the gain equally. A and B are not equal: look at each alone.": (
                (both - nothing) / 2
            ),
        },
        hint="A comes first or second, each in half of the orders. What does it add each time?",
    ),
    "7.3": Exercise(
        answers=lambda: {
            RIGHT: 2,
            "The weight says how much of this patch's value enters one sum. Whether the "
            "prediction depends on it was measured, and it hardly does.": 1,
            "The weights are what the layer computed with; nothing is wrong with them. They "
            "measure another quantity.": 3,
            "Masking one patch shows nothing about the others: they may share the information.": 4,
        },
        hint="Which statement follows from what was measured? Answer with its number.",
    ),
}
