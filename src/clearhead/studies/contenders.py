"""The models that claims compare: of about 28,000 parameters each, and trained alike.

Every one sees the same number of images in the same batches, under the same warm-up and cosine.
Those with blocks get Muon for the matrices in them, which reads better after few steps than AdamW
(LOG.md, 2026-11-21); a CNN has none, and gets AdamW. Each has the learning rates that read best of
three pairs (0.003 and 0.01, 0.01 and 0.03, 0.03 and 0.06) on 3,000 training digits that were put
aside, so all rates were tuned with the same effort and without test digits. The optimiser was not:
Muon was taken for what it read of test digits in another, larger recipe (four layers, augmented
digits, one seed), and no optimiser but AdamW was tried for the CNN.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from clearhead.inference import negative_log_likelihood, predict_probabilities
from clearhead.insight.figures.colours import KEY, MUTED, OUTLINE, QUERY, VALUE
from clearhead.models.config import CNNConfig, MLPConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.studies.digits import training_digits, unseen_digits
from clearhead.studies.fit import Watch, fit
from clearhead.studies.study import Values
from clearhead.training.config import TrainConfig

BATCH_SIZE = 100


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A kind of model, its rates, and how it is called and drawn."""

    words: str
    model: ViTConfig | CNNConfig | MLPConfig
    colour: str
    marker: str
    learning_rate: float = 3e-2
    matrix_learning_rate: float = 6e-2


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        "vit": Contender(
            words="ViT",
            model=ViTConfig(depth=2, embed_dim=32),
            colour=QUERY,
            marker="o",
        ),
        # Every token gets the mean of all values: tokens are mixed, but nobody chooses.
        "uniform": Contender(
            words="uniform attention",
            model=ViTConfig(depth=2, embed_dim=32, attention_scale=0.0),
            colour=MUTED,
            marker="^",
        ),
        # Tokens meet in the mean before the head only.
        "no-attention": Contender(
            words="blocks without attention",
            model=MLPConfig(depth=2, embed_dim=32),
            colour=VALUE,
            marker="s",
        ),
        # One patch as large as the image: a residual MLP on all 784 pixels.
        "mlp": Contender(
            words="MLP on the pixels",
            model=MLPConfig(depth=2, embed_dim=24, mlp_ratio=4.0, patch_size=28),
            colour=OUTLINE,
            marker="x",
        ),
        "cnn": Contender(
            words="CNN",
            model=CNNConfig(widths=(4, 8, 16, 44)),
            colour=KEY,
            marker="v",
            learning_rate=1e-2,
        ),
    }
)


def train_contender(
    name: str, *, digits: int, steps: int, seed: int, watch: Watch | None = None
) -> ImageModel:
    """Trained for that many steps on that many training digits; all drawn with `seed`."""
    contender = CONTENDERS[name]
    batch_size = min(BATCH_SIZE, digits)
    config = TrainConfig(
        model=contender.model,
        epochs=steps // (digits // batch_size),
        batch_size=batch_size,
        optimizer="muon",
        learning_rate=contender.learning_rate,
        matrix_learning_rate=contender.matrix_learning_rate,
        label_smoothing=0.0,
        seed=seed,
    )
    return fit(config, training_digits(digits, seed), watch=watch)


def reading(model: ImageModel, *, unseen: int, seed: int) -> Values:
    """Accuracy in per cent and loss in nats on so many test digits, drawn with `seed`.

    With the seed, so that the spread over seeds has in it what a sample of digits does; all arms
    of one seed read the same ones.
    """
    digits = unseen_digits(unseen, seed)
    probabilities = predict_probabilities(model, digits.images)
    right = (probabilities.argmax(dim=1) == digits.labels).double().mean()
    return {
        "accuracy": 100 * float(right),
        "nll": negative_log_likelihood(probabilities, digits.labels),
        "parameters": sum(x.numel() for x in model.parameters()),
    }
