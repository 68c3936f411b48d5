"""Training in the set-up of this project, or in the plain one of tutorials."""

from clearhead.data import ImageDataset
from clearhead.models.pretrained import ImageModel
from clearhead.studies.measures.classifiers import COMPARED_MODELS, Config, fit_classifier
from clearhead.training.config import TrainConfig

PLAIN_RATE = 1e-3


def fit_in_set_up(
    model: Config, dataset: ImageDataset, *, plain: bool, epochs: int, batch_size: int, seed: int
) -> ImageModel:
    """A classifier trained with Muon, warm-up and high rates; or `plain`, with AdamW alone."""
    rates = COMPARED_MODELS["vit"]
    config = TrainConfig(
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        optimizer="adamw" if plain else "muon",
        learning_rate=PLAIN_RATE if plain else rates.learning_rate,
        matrix_learning_rate=rates.matrix_learning_rate,
        warmup=0.0 if plain else 0.1,
        label_smoothing=0.0,
        seed=seed,
    )
    return fit_classifier(config, dataset)
