"""`clearhead train`: a recipe, any of its settings changed, and a folder for what comes out."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import arg

from clearhead.cli.options import DataRoot
from clearhead.training.config import TrainConfig
from clearhead.training.recipes import RECIPES

INTERRUPTED = 130

if TYPE_CHECKING:
    Recipe = TrainConfig
else:
    Recipe = Annotated[
        tyro.extras.subcommand_type_from_defaults(
            {name: recipe() for name, recipe in RECIPES.items()},
            {name: recipe.__doc__ for name, recipe in RECIPES.items()},
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
    restart: Annotated[bool, arg(help="begin again where a training has been")] = False,
    tensorboard: Annotated[bool, arg(help="write a log for TensorBoard too")] = False,
) -> int:
    """Train a model, evaluate it, and leave both in a folder.

    `clearhead train RECIPE --help` shows the recipe's settings; each can be changed there.
    A training that was stopped goes on from its last checkpoint when the same command is given
    again.
    """
    from clearhead.cli.output import fetching, percent, percent_range, print_line, print_remark
    from clearhead.training.job import PICTURE, load_parts, run_job

    with fetching() as report:
        data = load_parts(recipe, root=root, report=report)
    job = run_job(recipe, data, out, device=device, restart=restart, tensorboard=tensorboard)
    if not job.is_first:
        return 0
    if job.evaluation is None:
        step, total = job.trained.step, job.trained.total_steps
        again = shlex.join(["clearhead", *sys.argv[1:]])
        print_remark(f"stopped after step {step} of {total}, checkpoint kept; go on with: {again}")
        return INTERRUPTED
    evaluation = job.evaluation
    print_line(
        f"accuracy {percent(evaluation.accuracy)} %, 95 % interval "
        f"{percent_range(evaluation.interval)} % ({evaluation.correct:,} of {evaluation.total:,} "
        "test images)"
    )
    print_line(f"model: {out}, picture: {out / PICTURE}")
    return 0
