"""The folder of a training, its log, and the progress on stderr."""

import hashlib
import json
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.errors import CheckpointError, ConfigError, setting
from clearhead.models.pretrained import CONFIG, RUN
from clearhead.training.checkpoint import LATEST
from clearhead.training.config import BaseTrainConfig
from clearhead.training.distributed import World, is_first
from clearhead.training.loop import Callback, TrainingState

CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 over tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class Run(Callback):
    """The folder of a training, its log, and its progress on stderr.

    On a terminal progress is one live line, elsewhere a line per epoch. In a training with several
    processes only the first writes and prints.

    Args:
        folder: The folder.
        restart: Whether to discard a training that it holds.
        tensorboard: Whether to write a log for TensorBoard too.
        progress: Whether to print.
    """

    def __init__(
        self,
        folder: Path,
        *,
        restart: bool = False,
        tensorboard: bool = False,
        progress: bool = True,
    ) -> None:
        self.folder = folder
        self.silent = not is_first()
        self.console = Console(file=sys.stderr, highlight=False, quiet=self.silent or not progress)
        self._restart = restart
        self._board = _open_board(folder) if tensorboard and not self.silent else None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._description: dict[str, Any] = {}
        self._batch_size, self._first_step, self._started = 1, 0, time.monotonic()

    def open(self, config: BaseTrainConfig, data: dict[str, str], world: World) -> "Run":
        """Check that the folder is empty or holds the same training; a context manager.

        Args:
            config: The settings.
            data: The kind of the data, and its fingerprint.
            world: The processes; those after the first wait for it.

        Raises:
            ConfigError: If the folder holds a training with other settings or data.
        """
        self._batch_size = config.batch_size
        self._description = json.loads(json.dumps({"config": asdict(config), **data}))
        if world.is_first:
            if self._restart:
                shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
                with suppress(OSError):
                    (self.folder / RUN).unlink()
            self._check_folder()
        world.any(False)  # all wait until the folder is checked
        return self

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def report_sizes(self, recipe: BaseTrainConfig, config: BaseTrainConfig, images: int) -> None:
        """Print a line if batch size or epochs were adapted."""
        sizes = ((x, getattr(config, x), getattr(recipe, x)) for x in ("batch_size", "epochs"))
        changes = [f"{setting(x, new)} instead of {old}" for x, new, old in sizes if new != old]
        if changes:
            self.on_message(
                f"{images} image{'s' * (images != 1)} to train on: {', '.join(changes)}; set "
                f"{'them' if len(changes) > 1 else 'it'} to change that"
            )

    def on_start(self, state: TrainingState[Any]) -> None:
        """Write run.json and start the progress, once nothing has failed so far."""
        self._first_step, self._started = state.step, time.monotonic()
        if self.silent:
            return
        content = json.dumps(self._description, indent=2) + "\n"
        write_atomic(self.folder / RUN, content.encode())
        _drop_log_after(self.folder / LOG, state.step)
        if self.console.is_terminal and not self.console.quiet and not state.finished:
            self._bar = Progress(
                TextColumn("{task.fields[text]}"),
                BarColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(
                "train", total=state.total_steps, completed=state.step, text="starting"
            )
            self._bar.start()

    def on_message(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, soft_wrap=True)

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Update the live line."""
        if self._bar is not None:
            text = f"step {state.step:,}/{state.total_steps:,}  loss {loss:.3f}"
            self._bar.update(self._task, completed=state.step, text=text)

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        """Print a line and append one to the log."""
        if self.silent:
            return
        elapsed, done = time.monotonic() - self._started, state.step - self._first_step
        rate = self._batch_size * done / elapsed
        left = elapsed / done * (state.total_steps - state.step)
        self.on_message(
            f"epoch {metrics['epoch']:>3}/{metrics['epochs']}  loss {metrics['loss']:.4f}  "
            f"training accuracy {metrics['accuracy']:.2%}  {rate:,.0f} examples/s  "
            f"{minutes(left)} left"
        )
        line = {
            "step": state.step,
            **metrics,
            "images_per_second": round(rate, 1),
            "seconds": round(elapsed, 2),
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name in ("loss", "accuracy", "learning_rate"):
                self._board.add_scalar(f"train/{name}", metrics[name], state.step)

    def _check_folder(self) -> None:
        path = self.folder / RUN
        started = (self.folder / CHECKPOINTS / LATEST).exists() or (self.folder / CONFIG).exists()
        if not started:  # a start that failed leaves nothing to protect
            return
        if not path.exists():
            if self._restart:
                return
            raise ConfigError(
                f"{self.folder} holds a saved model that was not trained there; choose another "
                f"{setting('out')}, or {setting('restart', True)} to replace it"
            )
        try:
            described = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); restore it, or start again with "
                f"{setting('restart', True)}"
            ) from error
        differing = sorted(_differences(described, self._description))
        if differing:
            names = (
                setting(name.removeprefix("config.")) if name.startswith("config.") else name
                for name in differing
            )
            raise ConfigError(
                f"{self.folder} holds a training with other settings ({', '.join(names)}); choose "
                f"another {setting('out')}, or {setting('restart', True)} to start again there"
            )


def minutes(seconds: float) -> str:
    """A duration as minutes:seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            path
            for key in old.keys() | new.keys()
            for path in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [name]


def _drop_log_after(path: Path, step: int) -> None:
    """Drop the lines of steps that will be repeated, and an incomplete last line."""
    kept: list[str] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
    path.write_text("".join(kept), encoding="utf-8")


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("TensorBoard is not installed: pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))
