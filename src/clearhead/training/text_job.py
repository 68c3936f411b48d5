"""A whole training on sentences: texts, training, evaluation, and all of it in one folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from clearhead._atomic import write_atomic
from clearhead.inference import PronounScore, pronoun_scores
from clearhead.models.text import TextTransformer
from clearhead.training.config import TextTrainConfig
from clearhead.training.distributed import join_world
from clearhead.training.job import METRICS
from clearhead.training.loop import Trained, prepare_run, run
from clearhead.training.run_folder import fingerprint
from clearhead.training.state import TrainingState
from clearhead.training.text import TextBatches, fitted, text_data


@dataclass(frozen=True)
class TextJobResult:
    """What came of it; `scores` is None if the training was stopped before its end."""

    trained: Trained[TextTransformer]
    scores: tuple[PronounScore, ...] | None
    is_first: bool


def run_text_job(
    config: TextTrainConfig,
    out: Path,
    *,
    device: str = "auto",
    restart: bool = False,
    tensorboard: bool = False,
) -> TextJobResult:
    """Train (or go on training), then ask about sentences not trained on; write both into `out`."""
    config = fitted(config)
    with join_world(device) as world:
        data = text_data(config)
        texts = fingerprint(*vars(data).values())
        prepare_run(out, config, {"texts": texts}, world, restart=restart)
        state = TrainingState.start(config, world.device)
        batches = TextBatches(data.to(world.device), config, world)
        trained = run(config, state, batches, out, tensorboard=tensorboard)
        if not trained.finished:
            return TextJobResult(trained, None, world.is_first)
        scores = pronoun_scores(trained.model.cpu())
        if world.is_first:
            _write_metrics(config, scores, out / METRICS)
            trained.model.write_card(out, _measured(scores))
        return TextJobResult(trained, scores, world.is_first)


def _unseen(scores: tuple[PronounScore, ...]) -> PronounScore:
    """The figure that stands for all: nouns that never met in training, asked by place."""
    return next(score for score in scores if score.pairs == "unseen" and score.question == "place")


def _measured(scores: tuple[PronounScore, ...]) -> str:
    """For the model's card."""
    unseen = _unseen(scores)
    return (
        f"{unseen.accuracy:.2%}, {unseen.correct:,} of {unseen.total:,} pronouns: which of two "
        "nouns that never met in training is meant, asked by place (by chance 50 %); "
        f"`{METRICS}` has every figure, `run.json` how it was trained"
    )


def _write_metrics(config: TextTrainConfig, scores: tuple[PronounScore, ...], path: Path) -> None:
    unseen = _unseen(scores)
    metrics = {
        "config": asdict(config),
        "test": unseen.to_dict(),
        "all": [score.to_dict() for score in scores],
    }
    write_atomic(path, (json.dumps(metrics, indent=2) + "\n").encode())
