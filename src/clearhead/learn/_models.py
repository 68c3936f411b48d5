"""The exercises of lessons 5 to 7."""

import torch
from torch import Tensor

from clearhead.learn._check import Exercise, Mistake, Values


def _heads(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    return {"heads": torch.randn(3, 5, 2, generator=generator)}


def _images(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    return {"images": torch.rand(2, 1, 28, 28, generator=generator)}


def _two_layers(seed: int) -> Values:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.rand(2, 4, 4, generator=generator).softmax(dim=-1)
    return {"first": first, "second": second}


def _game(seed: int) -> Values:
    return {"nothing": 1.0, "only_a": 4.0, "only_b": 3.0, "both": 10.0}


def _blocks(images: Tensor) -> Tensor:
    """Images cut into (batch, rows, columns, patch height, patch width)."""
    rows: Tensor = images[:, 0].unflatten(2, (4, 7)).unflatten(1, (4, 7))
    return rows.permute(0, 1, 3, 2, 4)


def _half(weights: Tensor) -> Tensor:
    return (weights + torch.eye(len(weights))) / 2


EXERCISES = {
    "5.1": Exercise(
        right=lambda: (8, 10, 10),
        mistakes=(
            Mistake(lambda: (8, 10, 12), "This is the shape of the contexts. Weights are per key."),
            Mistake(lambda: (10, 10), "This is one head. Each head has weights of its own."),
            Mistake(lambda: (8, 12, 12), "12 is head_dim. Weights connect tokens with tokens."),
            Mistake(lambda: (1, 8, 10, 10), "Leave out the axis of the images: there is only one."),
        ),
        hint="(heads, queries, keys), where queries and keys are the tokens.",
    ),
    "5.2": Exercise(
        given=_heads,
        right=lambda heads: heads.transpose(0, 1).flatten(1),
        is_function=True,
        mistakes=(
            Mistake(
                lambda heads: heads.reshape(heads.shape[1], -1),
                "The shape is right, but numbers of different tokens are mixed. Exchange the "
                "first two axes before you flatten.",
            ),
            Mistake(
                lambda heads: heads.mean(dim=0),
                "This is the mean of the heads. Concatenate them: put them side by side.",
            ),
            Mistake(
                lambda heads: heads.permute(1, 2, 0).flatten(1),
                "The heads are interleaved. All numbers of the first head come first.",
            ),
        ),
        hint="Row i holds head 1 of token i, then head 2 of token i, and so on.",
    ),
    "5.3": Exercise(
        right=lambda: 4 * 64 * 64,
        mistakes=(
            Mistake(
                lambda: 4 * 4 * 64 * 64,
                "The heads share the 64 dimensions: all queries together come from one 64 × 64 "
                "matrix.",
            ),
            Mistake(lambda: 3 * 64 * 64, "W_O is missing."),
            Mistake(lambda: 4 * 64 * 16, "This is one head's share. Count all four heads."),
        ),
        hint="Four matrices: W_Q, W_K, W_V, each for all heads at once, and W_O.",
    ),
    "6.1": Exercise(
        right=lambda: 49 * 64 + 64,
        mistakes=(
            Mistake(lambda: 49 * 64, "The biases are missing: one for each of the 64 outputs."),
            Mistake(
                lambda: 784 * 64 + 64,
                "The layer's input is one patch of 49 pixels, not the whole image.",
            ),
            Mistake(lambda: 16 * (49 * 64 + 64), "All 16 patches share one layer; count it once."),
        ),
        hint="A linear layer has inputs × outputs weights, and one bias for each output.",
    ),
    "6.2": Exercise(
        given=_images,
        right=lambda images: _blocks(images).flatten(3).flatten(1, 2),
        is_function=True,
        mistakes=(
            Mistake(
                lambda images: images.reshape(len(images), 16, 49),
                "The shape is right, but each of your patches holds 49 pixels of one or two rows. "
                "Split rows and columns separately.",
            ),
            Mistake(
                lambda images: _blocks(images).transpose(1, 2).flatten(3).flatten(1, 2),
                "Your patches are numbered down the columns. Number them along the rows.",
            ),
            Mistake(
                lambda images: _blocks(images).transpose(3, 4).flatten(3).flatten(1, 2),
                "Each patch is mirrored along its diagonal. Keep its rows as rows.",
            ),
        ),
        hint="28 = 4 × 7 in both directions: (batch, 4, 7, 4, 7), then bring the two 4s together.",
    ),
    "6.3": Exercise(
        right=lambda: (0.98 * 0.02 / 10_000) ** 0.5,
        mistakes=(
            Mistake(lambda: 0.98 * 0.02 / 10_000, "This is the variance. Take its square root."),
            Mistake(
                lambda: (0.98 * 0.02) ** 0.5,
                "This is the standard deviation for one image. Divide the variance by n.",
            ),
            Mistake(
                lambda: 0.98 * 0.02 / 100, "The root covers all of p (1 − p) / n, not n alone."
            ),
        ),
        hint="√(p (1 − p) / n) with p = 0.98 and n = 10,000.",
    ),
    "7.1": Exercise(
        given=_two_layers,
        right=lambda first, second: _half(second) @ _half(first),
        is_function=True,
        mistakes=(
            Mistake(
                lambda first, second: _half(first) @ _half(second),
                "The order is reversed. The second layer's rows are the final tokens, so it "
                "stands on the left.",
            ),
            Mistake(
                lambda first, second: second @ first,
                "The residual connections are missing: average each layer with the identity first.",
            ),
            Mistake(
                lambda first, second: (_half(first) + _half(second)) / 2,
                "This is the mean of the layers. They act one after the other: multiply.",
            ),
        ),
        hint="(weights + identity) / 2 for each layer, then the matrix product.",
    ),
    "7.2": Exercise(
        given=_game,
        right=lambda nothing, only_a, only_b, both: ((only_a - nothing) + (both - only_b)) / 2,
        mistakes=(
            Mistake(
                lambda nothing, only_a, only_b, both: only_a - nothing,
                "This is what A adds to nothing. Average with what it adds when B is there.",
            ),
            Mistake(
                lambda nothing, only_a, only_b, both: both - only_b,
                "This is what is lost without A. Average with what A adds to nothing.",
            ),
            Mistake(
                lambda nothing, only_a, only_b, both: (both - nothing) / 2,
                "You divided the gain equally. A and B are not equal: look at each alone.",
            ),
        ),
        hint="A comes first or second, each in half of the orders. What does it add each time?",
    ),
    "7.3": Exercise(
        right=lambda: 2,
        mistakes=(
            Mistake(
                lambda: 1,
                "The weight says how much of this patch's value enters one sum. Whether the "
                "prediction depends on it was measured, and it hardly does.",
            ),
            Mistake(
                lambda: 3,
                "The weights are what the layer computed with; nothing is wrong with them. They "
                "measure another quantity.",
            ),
            Mistake(
                lambda: 4,
                "Masking one patch shows nothing about the others: they may share the information.",
            ),
        ),
        hint="Which statement follows from what was measured? Answer with its number.",
    ),
}
