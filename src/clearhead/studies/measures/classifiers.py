"""Digit classifiers that studies train for a trial, and their accuracy on unseen digits.

The models that claims compare have about 28,000 parameters each and the same training: the same
number of images in the same batches, with the same warm-up and cosine schedule. Those with blocks
use Muon for their matrices, which is more accurate after few steps than AdamW (LOG.md, 2026-11-21);
the CNN has none and uses AdamW. Each has the learning rates with the highest accuracy of three
pairs (0.003 and 0.01, 0.01 and 0.03, 0.03 and 0.06) on 3,000 held-out training digits, so all rates
were tuned with the same effort and without test digits. The optimiser was not: Muon was chosen by
its accuracy on test digits in another, larger recipe (four layers, augmented digits, one seed), and
only AdamW was tried for the CNN.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.data import ImageDataset, Split, load_dataset, normalize
from clearhead.errors import ConfigError
from clearhead.inference import negative_log_likelihood, predict_probabilities
from clearhead.models import build, load
from clearhead.models.config import CNNConfig, MLPConfig, TextConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.recording import Recording, capture
from clearhead.studies import Points, Trial, Values
from clearhead.training import TextTrainConfig, TrainConfig, fit

BATCH_SIZE, LARGE_BATCH_SIZE = 100, 400
NEIGHBOURS = 3

Config = ViTConfig | CNNConfig | MLPConfig


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """Settings of a model, and its learning rates: of AdamW and of Muon."""

    config: Config
    rates: tuple[float, float] = (3e-2, 6e-2)


COMPARED_MODELS: Mapping[str, ComparedModel] = {
    "vit": ComparedModel(config=ViTConfig(depth=2, embed_dim=32)),
    # All weights are equal: tokens are mixed, but independently of their content.
    "uniform": ComparedModel(config=ViTConfig(depth=2, embed_dim=32, attention_scale=0.0)),
    # Tokens are mixed in the mean before the head only.
    "no-attention": ComparedModel(config=MLPConfig(depth=2, embed_dim=32)),
    # As the ViT, with a convolution between patches in place of attention.
    "conv": ComparedModel(config=MLPConfig(depth=2, embed_dim=32, mlp_ratio=4.0, patch_conv=True)),
    # One patch as large as the image: a residual MLP on all 784 pixels.
    "mlp": ComparedModel(config=MLPConfig(depth=2, embed_dim=24, mlp_ratio=4.0, patch_size=28)),
    "cnn": ComparedModel(config=CNNConfig(widths=(4, 8, 16, 44)), rates=(1e-2, 6e-2)),
}


SIZES = {  # by their approximate numbers of parameters
    "3 k": ViTConfig(depth=3, embed_dim=8, num_heads=2),
    "10 k": ViTConfig(depth=2, embed_dim=18, num_heads=2),
    "30 k": ViTConfig(depth=2, embed_dim=32),
    "100 k": ViTConfig(depth=2, embed_dim=64),
}


def training_digits(count: int, seed: int) -> ImageDataset:
    """`count` of MNIST's training digits, drawn with `seed` regardless of class."""
    return _drawn("train", count, seed)


def unseen_digits(count: int = 10_000, seed: int = 0) -> ImageDataset:
    """`count` of MNIST's test digits, drawn with `seed`: the same for all conditions."""
    return _drawn("test", count, seed)


def training_config(model: Any, rates: tuple[float, float], **options: Any) -> Any:
    """Settings of a training run with Muon in float32, without label smoothing or compilation.

    Args:
        model: The configuration of the model.
        rates: Learning rates of AdamW and of Muon.
        options: Other settings.
    """
    usual: Any = {"optimizer": "muon", "learning_rate": rates[0], "matrix_learning_rate": rates[1]}
    usual |= {"label_smoothing": 0.0, "precision": "float32", "compile": False}
    config_class = TextTrainConfig if isinstance(model, TextConfig) else TrainConfig
    return config_class(model=model, **usual | options)


def train_small_classifier(
    model: Config, dataset: ImageDataset, *, epochs: int, seed: int, learning_rate: float = 2e-2
) -> ImageModel:
    """A classifier trained on all of `dataset` without augmentation, in a few seconds.

    Muon with small batches and high rates gives the highest accuracy with few images.
    """
    options = {"epochs": epochs, "batch_size": min(32, len(dataset)), "warmup": 0.05, "seed": seed}
    return fit(training_config(model, (learning_rate, 4e-2), **options), dataset).result


def accuracy_in_set_up(trial: Trial) -> Values:
    """Accuracy of one of `SIZES` with Muon, warm-up and high rates.

    The condition "plain" has AdamW at a rate of 0.001 without warm-up, as in tutorials.

    Settings: `size`, `digits`, `epochs` and `unseen`.
    """
    settings = trial.settings
    options = {"epochs": settings["epochs"], "batch_size": LARGE_BATCH_SIZE, "seed": trial.seed}
    rates = COMPARED_MODELS["vit"].rates
    if trial.condition == "plain":
        rates = (1e-3, rates[1])
        options |= {"optimizer": "adamw", "warmup": 0.0}
    config = training_config(SIZES[settings["size"]], rates, **options)
    model = fit(config, training_digits(settings["digits"], trial.seed)).result
    return accuracy_on_unseen(model, trial)


def classifier_of(trial: Trial, config: Config) -> ImageModel:
    """The classifier of a trial.

    The shipped one if the condition's name contains "shipped"; else one with this configuration,
    trained if the settings have `digits`, otherwise untrained.
    """
    settings, seed = trial.settings, trial.seed
    if "shipped" in trial.condition:
        return load()
    if "digits" in settings:
        digits = training_digits(settings["digits"], seed)
        return train_small_classifier(config, digits, epochs=settings["epochs"], seed=seed)
    model: ImageModel = untrained(config, seed)
    return model


def untrained(config: Any, seed: int) -> Any:
    """A model as initialised with the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config).eval()


def inputs_of(trial: Trial, model: ImageModel) -> Float[Tensor, "images channels height width"]:
    """Unseen digits, drawn with the seed, normalised; the setting `images` is their number."""
    return normalize(unseen_digits(trial.settings["images"], trial.seed).images, model.config)


def accuracy_on_unseen(model: ImageModel, trial: Trial) -> Values:
    """Accuracy in per cent, loss in nats and parameters, on `unseen` test digits.

    The digits differ between seeds, so that the spread over seeds includes that of a sample of
    digits; all conditions of one seed have the same ones.
    """
    digits = unseen_digits(trial.settings["unseen"], trial.seed)
    probabilities = predict_probabilities(model, digits.images)
    correct = (probabilities.argmax(dim=1) == digits.labels).double().mean()
    return {
        "accuracy": 100 * float(correct),
        "nll": negative_log_likelihood(probabilities, digits.labels),
        "parameters": sum(x.numel() for x in model.parameters()),
    }


def error_rate(values: Values) -> float:
    """The error rate, in per cent."""
    return float(100 - values["accuracy"])


def accuracy_on(model: ImageModel, dataset: ImageDataset, out_of: float = 100.0) -> float:
    """The accuracy, in per cent; with `out_of=1`, as a share."""
    predicted = predict_probabilities(model, dataset.images).argmax(dim=1)
    return out_of * float((predicted == dataset.labels).double().mean())


@cache
def whole_dataset(split: Split) -> ImageDataset:
    """All of MNIST's training or test digits."""
    return load_dataset("mnist", split)


def _drawn(split: Split, count: int, seed: int) -> ImageDataset:
    whole = whole_dataset(split)
    if not 1 <= count <= len(whole):
        raise ConfigError(f"count must lie in 1 … {len(whole):,} for {split}, got {count:,}")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:count]
    return replace(whole, images=whole.images[order], labels=whole.labels[order])


def nearest_neighbours_accuracy(trial: Trial) -> Values:
    """Accuracy, in per cent, of a vote of the three nearest of the first training digits.

    With Euclidean distances of pixels, on the test digits that `unseen_digits` draws; of classes
    with as many votes, the one with the nearest digit. Settings: `digits` and `unseen`.
    """
    whole, count = whole_dataset("train"), trial.settings["digits"]
    digits = unseen_digits(trial.settings["unseen"], trial.seed)
    known = whole.images[:count].flatten(1).float() / 255
    labels = F.one_hot(whole.labels[:count], 10).double()
    half_norms = known.square().sum(dim=1) / 2
    votes = 1 - torch.arange(NEIGHBOURS).double()[:, None] / (10 * NEIGHBOURS)
    right = 0
    for images, expected in zip(
        digits.images.flatten(1).split(500), digits.labels.split(500), strict=True
    ):
        closeness = torch.addmm(-half_norms, images.float() / 255, known.T)
        nearest = closeness.topk(NEIGHBOURS).indices
        right += int(((labels[nearest] * votes).sum(dim=1).argmax(dim=1) == expected).sum())
    return {"accuracy": 100 * right / len(digits)}


def recorded(model: nn.Module, inputs: Tensor) -> Recording:
    """The attention of a forward pass."""
    with torch.no_grad(), capture() as recording:
        model(inputs)
    return recording


PANELS_BY_SIZE = (
    Points(
        error_rate,
        "error rate on unseen digits (%)",
        "parameters",
        x="size",
        conditions=("right", "plain"),
        yscale="log",
    ),
)
