"""What a training says while it runs: to people, and to a log.

On a terminal one live line; elsewhere a plain line an epoch. `log.jsonl` always gets one JSON
object an epoch; TensorBoard if asked for.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from clearhead.errors import ConfigError

LOG = "log.jsonl"


class Reporter:
    """Shows progress on stderr and appends to the log. Use it as a context.

    A `silent` one does neither: in a run of many processes only the first one speaks.
    """

    def __init__(
        self,
        folder: Path,
        total_steps: int,
        first_step: int,
        *,
        tensorboard: bool = False,
        silent: bool = False,
    ) -> None:
        self.folder = folder
        self.total_steps = total_steps
        self.silent = silent
        self.console = Console(file=sys.stderr, highlight=False, quiet=silent)
        self._first_step, self._started = first_step, time.monotonic()
        self._board = _open_board(folder) if tensorboard and not silent else None
        self._bar, self._task = self._make_bar(first_step)
        if not silent:
            _keep_log_before(folder / LOG, first_step)

    def __enter__(self) -> "Reporter":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def say(self, text: str) -> None:
        """One line to people."""
        self.console.print(text, soft_wrap=True)

    def step(self, step: int, epoch: int, epochs: int, loss: float) -> None:
        """After a step."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, completed=step, text=f"epoch {epoch + 1}/{epochs}  loss {loss:.3f}"
            )

    def epoch(self, step: int, record: dict[str, Any], batch_size: int) -> None:
        """After an epoch: `record` holds epoch (from 1), epochs, loss, accuracy (a fraction)."""
        elapsed = time.monotonic() - self._started
        done = max(step - self._first_step, 1)
        rate = batch_size * done / elapsed
        left = elapsed / done * (self.total_steps - step)
        self.say(
            f"epoch {record['epoch']:>3}/{record['epochs']}  loss {record['loss']:.4f}  "
            f"training accuracy {record['accuracy']:.2%}  {rate:,.0f} examples/s  "
            f"{left / 60:.0f}:{left % 60:02.0f} left"
        )
        line = {"step": step, **record, "images_per_second": round(rate, 1)}
        line["seconds"] = round(elapsed, 2)
        if self.silent:
            return
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name in ("loss", "accuracy", "learning_rate"):
                self._board.add_scalar(f"train/{name}", record[name], step)

    def _make_bar(self, first_step: int) -> tuple[Progress | None, TaskID | None]:
        if self.silent or not self.console.is_terminal:
            return None, None
        bar = Progress(
            TextColumn("{task.fields[text]}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        return bar, bar.add_task(
            "train", total=self.total_steps, completed=first_step, text="starting"
        )


def _keep_log_before(path: Path, step: int) -> None:
    """Drop the lines of steps that will be done again, and a line that a kill cut off."""
    kept: list[str] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(kept), encoding="utf-8")


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard is not installed; pip install 'clearhead[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))
