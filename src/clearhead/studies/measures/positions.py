"""Whether outputs permute with the tokens, and how accuracy depends on the order of patches."""

from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention
from clearhead.data import ImageDataset
from clearhead.inference import predict_probabilities
from clearhead.models.config import PosEmbed, ViTConfig
from clearhead.models.layers import cut_patches
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.table import Trial, Values

CONFIG = ViTConfig(embed_dim=32, depth=2)
POSITIONS: dict[str, PosEmbed] = {"learned": "learned", "sine-cosine": "sincos", "none": "none"}
ONE_SHUFFLE = "learned, one shuffle"
RATES = {"usual rate": 2e-2, "low rate": 6e-3}


def accuracies_with_positions(trial: Trial) -> Values:
    """Train a small classifier with the positions of the condition; share of correct predictions.

    Settings: `digits`, `epochs`, `unseen`, `rate` (see `RATES`). With `ONE_SHUFFLE` all digits,
    of training and test, have their patches in the same random order.

    Returns:
        `accuracy` on unseen digits; `shuffled`, with the patches of each in an order of its own;
        `error`, the `permutation_error` of the trained blocks.
    """
    settings = trial.settings
    generator = torch.Generator().manual_seed(trial.seed)
    patches = CONFIG.grid[0] * CONFIG.grid[1]
    fixed = torch.randperm(patches, generator=generator)
    training = training_digits(settings["digits"], trial.seed)
    unseen = unseen_digits(settings["unseen"])
    if trial.condition == ONE_SHUFFLE:
        training, unseen = (shuffle_patches(digits, fixed) for digits in (training, unseen))
    model = train_small_classifier(
        replace(CONFIG, pos_embed=POSITIONS.get(trial.condition, "learned")),
        training,
        epochs=settings["epochs"],
        seed=trial.seed,
        learning_rate=RATES[settings["rate"]],
    )
    orders = torch.rand(len(unseen), patches, generator=generator).argsort(dim=1)
    tokens = torch.randn(5, patches, CONFIG.embed_dim, generator=generator, dtype=torch.float64)
    return {
        "accuracy": _accuracy(model, unseen),
        "shuffled": _accuracy(model, shuffle_patches(unseen, orders)),
        "error": permutation_error(cast("VisionTransformer", model).blocks.double(), tokens, fixed),
    }


def errors_of_random_layers(layers: int, seed: int) -> Values:
    """`permutation_error` of random attention layers in float64.

    `error`: the largest; `error_with_positions`: the smallest with positions added to the tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    alone, positioned = [], []
    for _ in range(layers):
        heads, head_dim, tokens = torch.randint(2, 20, (3,), generator=generator).tolist()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 40, (), generator=generator)))
            layer = MultiHeadAttention(heads * head_dim, heads).double().eval()
        for weight in layer.parameters():
            nn.init.normal_(weight, generator=generator)
        shape = (3, tokens, heads * head_dim)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        positions = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
        order = derangement(tokens, generator)
        alone.append(permutation_error(layer, x, order))
        positioned.append(permutation_error(_Positioned(layer, positions), x, order))
    return {"error": max(alone), "error_with_positions": min(positioned)}


def derangement(tokens: int, generator: torch.Generator) -> Int[Tensor, " tokens"]:
    """A random order in which no token keeps its position."""
    cycle = torch.randperm(tokens, generator=generator)
    order = torch.empty_like(cycle)
    order[cycle] = cycle.roll(1)
    return order


def permutation_error(
    layer: nn.Module, x: Float[Tensor, "batch tokens embed_dim"], order: Int[Tensor, " tokens"]
) -> float:
    """The largest |layer(x)[order] - layer(x[order])|, over the largest output."""
    with torch.no_grad():
        expected, actual = layer(x)[:, order], layer(x[:, order])
    return float((expected - actual).abs().max() / expected.abs().max())


def shuffle_patches(
    dataset: ImageDataset,
    order: Int[Tensor, "*images patches"],
    patch: tuple[int, int] = CONFIG.patch_shape,
) -> ImageDataset:
    """Patch i of an image becomes patch order[i]: one order for all images, or one for each."""
    images = dataset.images
    cut = cut_patches(images.float(), patch)  # integers up to 255 stay exact
    moved = cut.gather(1, order.expand(len(images), -1)[..., None].expand(cut.shape))
    channels, height, width = images.shape[1:]
    rows, columns = height // patch[0], width // patch[1]
    grid = moved.reshape(len(images), rows, columns, channels, *patch)
    shuffled = grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
    return replace(dataset, images=shuffled.to(images.dtype))


def _accuracy(model: ImageModel, dataset: ImageDataset) -> float:
    labels = predict_probabilities(model, dataset.images).argmax(dim=1)
    return float((labels == dataset.labels).double().mean())


class _Positioned(nn.Module):
    def __init__(self, layer: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self.layer, self.positions = layer, positions

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.layer(x + self.positions))
