"""The folder of a training run, its log, and the progress on stderr."""

import csv
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from clearhead._atomic import locked, write_atomic
from clearhead._paths import exists
from clearhead.errors import CheckpointError, ConfigError, require, setting
from clearhead.models.pretrained import CONFIG, RUN
from clearhead.training.checkpoint import LATEST
from clearhead.training.config import BaseTrainConfig
from clearhead.training.distributed import World, is_first
from clearhead.training.state import Callback, TrainingState

CHECKPOINTS = "checkpoints"
LOG, LOG_TABLE = "log.jsonl", "log.csv"
SPEED_PERIOD = 600.0  # seconds whose steps predict the time left


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 over tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class TrainingFolder(Callback):
    """The folder of a training run, its log, and its progress on stderr.

    On a terminal progress is one live line, elsewhere a line per epoch. Of several processes only
    the first one writes and prints.
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
        self._make_board = _summary_writer() if tensorboard and not self.silent else None
        self._board: Any = None
        self._bar: Progress | None = None
        self._description: dict[str, Any] = {}
        self._new_folders: list[Path] = []

    @contextmanager
    def open(self, config: BaseTrainConfig, data: dict[str, str], world: World) -> Iterator[None]:
        """Work in the folder if it is empty or holds a run with these settings and data."""
        ancestors = (self.folder, *self.folder.parents)
        self._new_folders = [folder for folder in ancestors if not exists(folder)]
        self._description = json.loads(json.dumps({"config": asdict(config), **data}))
        with locked(self.folder) if world.is_first else nullcontext():
            try:
                if world.is_first:
                    if self._restart:
                        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
                        with suppress(OSError):
                            (self.folder / RUN).unlink()
                    self._check_folder()
                world.any(False)  # all wait until the folder is checked
                yield
            except BaseException:
                if world.is_first and self._new_folders:
                    self._remove_if_empty()
                raise
            finally:
                self.close()

    def close(self) -> None:
        """End the live line and the log for TensorBoard."""
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def _remove_if_empty(self) -> None:
        """Leave no folder behind if the training fails before its first checkpoint."""
        if (self.folder / CHECKPOINTS / LATEST).exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        for parent in self._new_folders[1:]:
            with suppress(OSError):  # something else is in it by now
                parent.rmdir()

    def on_start(self, state: TrainingState[Any]) -> None:
        """Write run.json and start the progress, once nothing has failed so far."""
        self._started = self._stepped = self._epoch_started = time.monotonic()
        self._first_step = state.step
        if self.silent:
            return
        if state.step and not state.finished:
            epochs = state.config.epochs
            self.on_message(
                f"continues in epoch {state.step * epochs // state.total_steps + 1}/{epochs}, "
                f"after step {state.step:,} of {state.total_steps:,}"
            )
        content = json.dumps(self._description, indent=2) + "\n"
        write_atomic(self.folder / RUN, content.encode())
        _drop_log_after(self.folder / LOG, state.step)
        if self._make_board is not None:
            self._board = self._make_board(str(self.folder / "tensorboard"))
        columns = TextColumn("{task.fields[text]}"), BarColumn(), TextColumn("{task.fields[left]}")
        hidden = not self.console.is_terminal or self.console.quiet or state.finished
        self._bar = Progress(
            *columns, console=self.console, speed_estimate_period=SPEED_PERIOD, disable=hidden
        )
        total, done = _cost(state.total_steps, state), _cost(state.step, state)
        self._bar.add_task("train", total=total, completed=round(done), text="starting", left="")
        self._bar.start()

    def _left(self) -> str:
        """The time left, at the speed since the first step, which may compile."""
        seconds = self._bar.tasks[0].time_remaining if self._bar is not None else None
        return "" if seconds is None else f"{duration(seconds)} left"

    def on_message(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, soft_wrap=True)

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Update the live line."""
        self._stepped = time.monotonic()
        if self._bar is not None:
            text = f"step {state.step:,}/{state.total_steps:,}  loss {loss:.3f}"
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=_cost(state.step, state), text=text)
            self._bar.update(task, left=self._left())

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        """Print a line and append one to the log."""
        if self.silent:
            return
        seconds = max(self._stepped - self._epoch_started, 1e-9)
        rate = state.config.batch_size * (state.step - self._first_step) / seconds
        self._first_step, self._epoch_started = state.step, time.monotonic()
        validated = (
            f"validation accuracy {metrics['validation_accuracy']:.2%}  "
            if "validation_accuracy" in metrics
            else ""
        )
        self.on_message(
            f"epoch {metrics['epoch']:>3}/{metrics['epochs']}  loss {metrics['loss']:.4f}  "
            f"training accuracy {metrics['accuracy']:.2%}  {validated}{rate:,.0f} examples/s  "
            f"{self._left()}"
        )
        line = {
            "step": state.step,
            **metrics,
            "images_per_second": round(rate, 1),
            "seconds": round(time.monotonic() - self._started, 2),
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        _write_csv(self.folder)
        if self._board is not None:
            for name in metrics.keys() - {"epoch", "epochs"}:
                place = (
                    name.replace("_", "/", 1) if name.startswith("validation") else f"train/{name}"
                )
                self._board.add_scalar(place, metrics[name], state.step)

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
                f"{self.folder} holds a training run with other settings ({', '.join(names)}); "
                f"choose another {setting('out')}, or {setting('restart', True)} to start again"
            )


def _cost(step: int, state: TrainingState[Any]) -> float:
    """The time of the first `step` steps, in steps with all patches."""
    early = min(step, -(-2 * state.total_steps // 3))
    return early * getattr(state.config, "early_patches", 1.0) + step - early


def duration(seconds: float) -> str:
    """A duration as hours:minutes:seconds."""
    return str(timedelta(seconds=round(seconds)))


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            path
            for key in old  # a training run may be older than a setting
            for path in _differences(old[key], new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [name]


def _drop_log_after(path: Path, step: int) -> None:
    """Drop the lines of steps that will be repeated, and an incomplete last line."""
    kept: list[str] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
    path.write_text("".join(kept), encoding="utf-8")


def _write_csv(folder: Path) -> None:
    """The log as a table."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    columns = dict.fromkeys(name for line in lines for name in line)
    with (folder / LOG_TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _summary_writer() -> Any:
    require("a log for TensorBoard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter
