"""Train a model and evaluate it; any setting of a recipe can be changed."""

import inspect
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin, get_type_hints

import tyro
from tyro.conf import arg

from clearhead.cli.main import INTERRUPTED, summary_of
from clearhead.cli.options import DataRoot, warn_if_unused
from clearhead.cli.output import (
    percent,
    percent_range,
    print_line,
    print_remark,
    print_table,
)
from clearhead.cli.parsing import options_of, settings_of
from clearhead.training.config import TextTrainConfig, TrainConfig
from clearhead.training.recipes import RECIPES

if TYPE_CHECKING:
    from clearhead.inference import Evaluation, PronounScore

CONTINUES = "After an interruption, the same command continues from the last checkpoint."
DEVICE_HELP = '"auto", "cpu", "cuda", "cuda:N" or "mps"'
OWN_IMAGES = ("tiny", "small")  # recipes without a data set of their own
FITTED = ("image_size", "in_channels", "patch_size", "num_classes")
FROM_IMAGES = {"num_classes", "class_names", "mean", "std"}
Size = int | tuple[int, int]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]

PAIRS = {
    "seen": "paired in training",
    "unseen": "not paired in training",
    "unseen nouns": "never with a pronoun in training",
}


def _options(name: str) -> TrainConfig | TextTrainConfig:
    """A recipe's settings as options, in a class of the recipe's name.

    What a recipe requires has no default. Of a recipe on images, batch size, epochs and the model's
    settings are None unless they are typed, because they depend on the images or on `--start`.
    """
    required = dict.fromkeys(inspect.signature(RECIPES[name]).parameters, "")
    config = RECIPES[name](**required)
    types: dict[str, Any] = {"start": Annotated[str | None, arg(metavar="MODEL")]}
    unset = dict.fromkeys(required, tyro.MISSING)
    if isinstance(config, TrainConfig):
        for field, adapted in (("epochs", "more"), ("batch_size", "fewer")):
            types[field] = _unset(int, f"{vars(config)[field]}, {adapted} for few images")
            unset[field] = None
        model = {}
        kinds = get_type_hints(type(config.model))
        for field, value in vars(config.model).items():
            if kinds[field] in (int, float, Size) or get_origin(kinds[field]) is Literal:
                fits = ", or what fits the images" if field in FITTED else ""
                model[field] = _unset(kinds[field], f"{value}{fits}")
        if name in OWN_IMAGES:
            unset["data"] = tyro.MISSING
        unset["model"] = options_of(config.model, types=model, values=dict.fromkeys(model))
    options: TrainConfig | TextTrainConfig = options_of(config, name, types, unset)
    return options


def _unset(kind: Any, default: object) -> Any:
    """The type of an option whose default is not known yet."""
    return Annotated[kind | None, arg(help_behavior_hint=f"(default: {default})")]


DEFAULTS = {name: _options(name) for name in RECIPES}


def _train(
    *,
    recipe: TrainConfig | TextTrainConfig,
    out: Annotated[
        Path, arg(metavar="FOLDER", help="folder for the model, metrics, log and checkpoints")
    ],
    root: DataRoot = None,
    device: Annotated[str, arg(metavar="DEVICE", help=DEVICE_HELP)] = "auto",
    restart: Annotated[Flag, arg(help="discard the training in the folder")] = False,
    tensorboard: Annotated[Flag, arg(help="write a log for TensorBoard too")] = False,
) -> int:
    import clearhead
    from clearhead.training.distributed import is_first

    name = type(recipe).__name__
    settings = _typed(recipe, DEFAULTS[name])
    _print_unused(settings, recipe)
    if isinstance(recipe, TrainConfig):
        warn_if_unused(root, recipe.data)
        if "model" in settings:
            settings["model"] = _typed(recipe.model, DEFAULTS[name].model)
            for field in FROM_IMAGES & settings["model"].keys():
                if recipe.data != "mnist":
                    option = field.replace("_", "-")
                    print_remark(f"--model.{option} has no effect; it is taken from the images")
    settings = {key: settings_of(x) if is_dataclass(x) else x for key, x in settings.items()}
    with stop_on_signals() as stop:
        trained = clearhead.train(
            name,
            out=out,
            root=root,
            device=device,
            restart=restart,
            tensorboard=tensorboard,
            stop=stop,
            **settings,
        )
    if not is_first():
        return 0
    if not trained.finished:
        again = shlex.join(["clearhead", *sys.argv[1:]])
        print_remark(
            f"stopped after step {trained.step} of {trained.total_steps}, with a checkpoint; "
            f"continue with: {again}"
        )
        return INTERRUPTED
    if trained.evaluation is not None:
        _print_evaluation(trained.evaluation, out)
    else:
        _print_scores(trained.scores, out)
    return 0


def _command(name: str) -> Callable[..., int]:
    """The training of a recipe with its settings as options."""
    command = partial(_train, recipe=DEFAULTS[name])
    command.__doc__ = f"{summary_of(RECIPES[name])}\n\n{CONTINUES}"
    return command


train = {name: _command(name) for name in RECIPES}


def _typed(options: object, defaults: object) -> dict[str, Any]:
    """The options that were typed."""
    return {key: value for key, value in vars(options).items() if value != vars(defaults)[key]}


def _print_unused(typed: Mapping[str, Any], options: Any) -> None:
    """Name the settings that have no effect beside the others."""
    from clearhead.errors import setting

    needed = {"matrix_learning_rate": ("--optimizer muon", options.optimizer == "muon")}
    if isinstance(options, TrainConfig):
        needed["distill_temperature"] = ("--teachers", options.teachers)
        without = not options.teachers or options.drawn_digits > 0  # which keep their labels
        needed["label_smoothing"] = ("a training run without --teachers", without)
    else:
        for name in ("mask_prob", "cloze_prob", "cue_prob", "referent_prob"):
            needed[name] = ("a bidirectional model", not options.model.causal)
    for name, (need, is_given) in needed.items():
        if name in typed and not is_given:
            print_remark(f"{setting(name)} has no effect; it needs {need}")


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM request a stop after the current step; a second Ctrl-C interrupts."""
    from clearhead.training.distributed import is_first

    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not requested and is_first():
            with suppress(RuntimeError):  # the signal came while another line was being written
                sys.stderr.write("stopping after this step; Ctrl-C again stops at once\n")
        requested = True

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_evaluation(evaluation: "Evaluation", out: Path) -> None:
    from clearhead.training.results import PICTURE

    print_line(
        f"accuracy {percent(evaluation.accuracy)} %, 95 % interval "
        f"{percent_range(evaluation.interval)} % ({evaluation.correct:,} of {evaluation.total:,} "
        "test images)"
    )
    print_line(f"model: {out}, picture: {out / PICTURE}")


def _print_scores(scores: "tuple[PronounScore, ...]", out: Path) -> None:
    print_table(
        "Referents of pronouns in sentences that were not trained on, right in per cent",
        ("nouns", "question", "of two nouns", "of counterbalanced sets", "of all words"),
        (
            (
                PAIRS[score.pairs],
                score.question,
                percent(score.accuracy),
                percent(score.set_accuracy),
                percent(score.top1_accuracy),
            )
            for score in scores
        ),
    )
    print_line("choosing by position alone gives 50 % of two nouns, and 0 % of the sets")
    print_line(f"model: {out}")
