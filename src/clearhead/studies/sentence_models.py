"""Models of sentences for a study: three that share their first training, and two untrained."""

from dataclasses import replace

import torch

from clearhead.data import vocabulary
from clearhead.models.build import build
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.studies.fit import fit_text
from clearhead.studies.study import Trial
from clearhead.training.config import TextTrainConfig

BATCH, RATE, RATE_ON = 32, 7e-3, 2.5e-3


def sentence_models(trial: Trial) -> dict[str, TextTransformer]:
    """The causal one first; the two of both directions go on from it."""
    told = trial.settings
    causal = TextConfig(vocabulary=vocabulary(), causal=True)
    both = TextConfig(vocabulary=vocabulary())
    config = TextTrainConfig(
        model=causal,
        texts=told["texts"],
        batch_size=BATCH,
        epochs=told["epochs"],
        learning_rate=RATE,
        seed=trial.seed,
    )
    first = fit_text(config)
    on = replace(config, model=both, epochs=told["epochs_on"], learning_rate=RATE_ON)
    return {
        "causal": first,
        "asked at it": fit_text(on, start=first),
        "asked afterwards": fit_text(replace(on, asked_pronouns=0.0), start=first),
        "untrained": _untrained(both, trial.seed),
        "untrained causal": _untrained(causal, trial.seed),
    }


def _untrained(config: TextConfig, seed: int) -> TextTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config).eval()
