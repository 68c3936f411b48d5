"""The result of a training run: calibration, measurements, and the files that it leaves."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from clearhead._atomic import write_atomic
from clearhead.data import DATASETS
from clearhead.inference import Evaluation, PronounScore, pronoun_scores, save_evaluation_plot
from clearhead.models import Model
from clearhead.models.pretrained import RUN, ImageModel
from clearhead.training.adaptation import MIN_HELD_OUT, Images
from clearhead.training.calibration import calibrate
from clearhead.training.config import TextTrainConfig, TrainConfig
from clearhead.training.distributed import World, evaluate_together

METRICS = "metrics.json"
PICTURE = "predictions.png"


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """The result of a training run.

    Attributes:
        model: The model, in evaluation mode.
        config: The settings as they were used.
        out: The folder.
        step: Steps done.
        total_steps: Steps of the whole training.
        evaluation: Of an image model, on the test images; None if the training was stopped.
        scores: Of a text model, on sentences that it was not trained on.
    """

    model: Model
    config: TrainConfig | TextTrainConfig
    out: Path
    step: int
    total_steps: int
    evaluation: Evaluation | None = None
    scores: tuple[PronounScore, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether all steps are done; False if the training was stopped."""
        return self.step >= self.total_steps

    @property
    def accuracy(self) -> float | None:
        """Of an image model, on the test images; of a text model, `main_score`; None if stopped."""
        if self.evaluation is not None:
            return self.evaluation.accuracy
        return main_score(self.scores).accuracy if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Settings and measurements as plain data for JSON.

        Returns:
            A dictionary for `json.dumps`.
        """
        return {
            "config": asdict(self.config),
            "out": str(self.out),
            "step": self.step,
            "total_steps": self.total_steps,
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
            "scores": [score.to_dict() for score in self.scores],
        }

    def __repr__(self) -> str:
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.2%}"
        return (
            f"TrainingResult({str(self.out)!r}, step {self.step} of {self.total_steps}{accuracy})"
        )


def main_score(scores: tuple[PronounScore, ...]) -> PronounScore:
    """The main score: on pairs of nouns that are not in the training texts, by position."""
    return next(score for score in scores if score.pairs == "unseen" and score.question == "place")


def measured(
    result: TrainingResult, images: Images | None, world: World, message: Callable[[str], None]
) -> TrainingResult:
    """Calibrate and save the model of a finished training run, evaluate it, and write the results.

    `images` is None for a text model. Of several processes the first one writes.
    """
    model: Any = result.model
    metrics: dict[str, Any] = {"config": asdict(result.config)}
    if images is not None:
        metrics |= _calibrated(model, images.held_out, result.config, message)
    if world.is_first:
        model.save_pretrained(result.out)
    if images is None:
        scores = pronoun_scores(model.cpu())
        result, main = replace(result, scores=scores), main_score(scores)
        metrics |= {"test": main.to_dict(), "all": [score.to_dict() for score in scores]}
        summary = (
            f"{main.accuracy:.2%}, {main.correct:,} of {main.total:,} pronouns: the referent among "
            "two nouns that did not occur together in training, by position (chance: 50 %)"
        )
    else:
        evaluation = evaluate_together(model, images.test, world)
        result, (low, high) = replace(result, evaluation=evaluation), evaluation.interval
        metrics |= {"test": evaluation.to_dict()}
        summary = (
            f"{evaluation.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}), "
            f"{evaluation.correct:,} of {evaluation.total:,} test images of {images.test.name}"
        )
        if world.is_first:
            save_evaluation_plot(evaluation, images.test, result.out / PICTURE)
    if world.is_first:
        write_atomic(result.out / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())
        model.write_card(
            result.out,
            f"{summary}; `{METRICS}` has all measurements, `{RUN}` the settings of the training",
        )
    return result


def _calibrated(
    model: ImageModel, held_out: Any, config: Any, message: Callable[[str], None]
) -> dict[str, Any]:
    """What `calibrate` returns; on few of your own images, all predictions are doubtful."""
    metrics = {} if held_out is None else calibrate(model, held_out)
    if config.data not in DATASETS and len(held_out or ()) < MIN_HELD_OUT:
        model.config = replace(model.config, doubtful_below=1.0)
        message(
            f"too few images are held out to calibrate the probabilities ({MIN_HELD_OUT} are "
            "needed), so every prediction is doubtful; add images"
        )
    return metrics
