"""`clearhead train`: a recipe, any of its settings changed, and a folder for what comes out."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import arg

from clearhead.cli.options import DataRoot, warn_if_unused
from clearhead.training.config import NEEDED, TextTrainConfig, TrainConfig
from clearhead.training.plan import proposal, suited
from clearhead.training.recipes import RECIPES, TEXT_RECIPES

INTERRUPTED = 130
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, arg(help_behavior_hint="")]
ALL: dict[str, Callable[[], TrainConfig | TextTrainConfig]] = {**RECIPES, **TEXT_RECIPES}

NOUNS = {
    "seen": "met together",
    "unseen": "never met together",
    "unseen nouns": "never met with a pronoun",
}


def _on_offer(recipe: TrainConfig) -> TrainConfig:
    """A recipe as its defaults: what the images may change, and what must be typed."""
    if recipe.start == NEEDED:
        recipe = replace(recipe, start=tyro.MISSING)
    return proposal(recipe)


if TYPE_CHECKING:
    Recipe = TrainConfig | TextTrainConfig
else:
    Recipe = Annotated[
        tyro.extras.subcommand_type_from_defaults(
            {name: _on_offer(recipe()) for name, recipe in RECIPES.items()}
            | {name: recipe() for name, recipe in TEXT_RECIPES.items()},
            {name: recipe.__doc__ for name, recipe in ALL.items()},
        ),
        arg(name=""),
        tyro.conf.AvoidSubcommands,
    ]


def train(
    recipe: Recipe,
    *,
    out: Annotated[Path, arg(metavar="FOLDER", help="for model, metrics, log, checkpoints")],
    root: DataRoot = None,
    device: Annotated[str, arg(help='"auto", "cpu" or "cuda"')] = "auto",
    restart: Annotated[Flag, arg(help="begin again where a training has been")] = False,
    tensorboard: Annotated[Flag, arg(help="write a log for TensorBoard too")] = False,
) -> int:
    """Train a model, evaluate it, and leave both in a folder.

    `clearhead train RECIPE --help` shows the recipe's settings; each can be changed there.
    A training that was stopped goes on from its last checkpoint when the same command is given
    again.
    """
    if isinstance(recipe, TextTrainConfig):
        return _train_text(recipe, out, root, device, restart=restart, tensorboard=tensorboard)
    from clearhead.cli.output import fetching, percent, percent_range, print_line
    from clearhead.training.job import PICTURE, load_parts, run_job

    warn_if_unused(root, recipe.data)
    with fetching() as report:
        data = load_parts(recipe, root=root, report=report)
    recipe = _suited(recipe, len(data.train))
    job = run_job(recipe, data, out, device=device, restart=restart, tensorboard=tensorboard)
    if not job.is_first:
        return 0
    if job.evaluation is None:
        return _stopped(job.trained.step, job.trained.total_steps)
    evaluation = job.evaluation
    print_line(
        f"accuracy {percent(evaluation.accuracy)} %, 95 % interval "
        f"{percent_range(evaluation.interval)} % ({evaluation.correct:,} of {evaluation.total:,} "
        "test images)"
    )
    print_line(f"model: {out}, picture: {out / PICTURE}")
    return 0


def _suited(recipe: TrainConfig, images: int) -> TrainConfig:
    """The recipe for so many images; one line says what that changes."""
    from clearhead.cli.output import print_remark
    from clearhead.training.distributed import is_first

    config = suited(recipe, images)
    if config != recipe and is_first():
        print_remark(
            f"{images} images to train on: batches of {config.batch_size} and {config.epochs} "
            f"epochs, not {recipe.batch_size} and {recipe.epochs}; --batch-size and --epochs "
            "change that"
        )
    return config


def _train_text(
    recipe: TextTrainConfig,
    out: Path,
    root: Path | None,
    device: str,
    *,
    restart: bool,
    tensorboard: bool,
) -> int:
    from clearhead.cli.output import percent, print_line, print_table
    from clearhead.errors import ConfigError
    from clearhead.training.text_job import run_text_job

    if root is not None:
        raise ConfigError("these sentences are generated, no file is read; leave out --root")
    job = run_text_job(recipe, out, device=device, restart=restart, tensorboard=tensorboard)
    if not job.is_first:
        return 0
    if job.scores is None:
        return _stopped(job.trained.step, job.trained.total_steps)
    print_table(
        "Which thing is meant, asked about sentences not trained on, in per cent",
        ("nouns", "asked for", "right of the two", "right in all four", "best of all words"),
        (
            (
                NOUNS[score.pairs],
                score.question,
                percent(score.accuracy),
                percent(score.set_accuracy),
                percent(score.top1_accuracy),
            )
            for score in job.scores
        ),
    )
    print_line("whoever goes by a word's place has 50 % of the two right, and 0 % of the fours")
    print_line(f"model: {out}")
    return 0


def _stopped(step: int, total: int) -> int:
    from clearhead.cli.output import print_remark

    again = shlex.join(["clearhead", *sys.argv[1:]])
    print_remark(f"stopped after step {step} of {total}, checkpoint kept; go on with: {again}")
    return INTERRUPTED
