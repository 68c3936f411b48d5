"""`clearhead train`: a recipe, any of its settings changed, and a folder for what comes out."""

from pathlib import Path
from typing import Annotated

import tyro

from clearhead.cli.options import DataRoot
from clearhead.training.recipes import RECIPES

Recipe = Annotated[
    tyro.extras.subcommand_type_from_defaults(  # type: ignore[valid-type]
        {name: recipe() for name, recipe in RECIPES.items()},
        {name: (recipe.__doc__ or "").strip() for name, recipe in RECIPES.items()},
    ),
    tyro.conf.arg(name=""),
]


def train(
    recipe: Recipe,
    *,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    root: DataRoot = None,
    device: str = "auto",
    restart: bool = False,
    tensorboard: bool = False,
) -> int:
    """Train a model, evaluate it, and leave both in a folder.

    A training that was stopped goes on from its last checkpoint when the same command is given
    again.

    Args:
        out: where the model, its metrics, the log, the picture and the checkpoints go
        device: "auto", "cpu" or "cuda"
        restart: begin again, although the folder holds a training
        tensorboard: write a log for TensorBoard as well

    """
    from clearhead.training.job import run_job

    return run_job(recipe, out, root=root, device=device, restart=restart, tensorboard=tensorboard)
