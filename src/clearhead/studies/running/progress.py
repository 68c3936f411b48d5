"""What people see while trials run: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from clearhead.studies.running.engine import Measured
from clearhead.studies.running.planning import Task

SECONDS_BETWEEN_LINES = 10.0
REFRESHES = 2  # a second; drawing takes time from studies that measure time


class Progress:
    """Counts trials and tells the time left. Use it as a context.

    The time left is guessed from the mean time of the same study's trials so far; of a study that
    has none yet, from that of all.
    """

    def __init__(self, tasks: Sequence[Task], recorded: int, workers: int) -> None:
        self.console = Console(file=sys.stderr, highlight=False)
        self._workers = workers
        self._done, self._total = recorded, recorded + len(tasks)
        self._left: dict[str, int] = defaultdict(int)
        self._exclusive = {task.trial.study for task in tasks if task.exclusive}
        for task in tasks:
            self._left[task.trial.study] += 1
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._said = time.monotonic()
        self._bar, self._task = self._make_bar()

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """One line to people."""
        self.console.print(f"clearhead: {text}", soft_wrap=True, markup=False)

    def count(self, one: Measured) -> None:
        """After a trial, measured or failed."""
        study = one.task.trial.study
        self._done += 1
        self._left[study] -= 1
        if one.values is not None:
            self._seconds[study].append(one.seconds)
        left = f"{self._time_left()} left"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, text=study, left=left)
            return
        now = time.monotonic()
        if not self._left[study] or now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            self.console.print(f"trial {self._done}/{self._total}  {study}  {left}", markup=False)

    def _time_left(self) -> str:
        seconds = round(self.seconds_left())
        return f"{seconds // 60}:{seconds % 60:02}"

    def seconds_left(self) -> float:
        """Guessed; studies that measure time have the machine to themselves."""
        every = [value for values in self._seconds.values() for value in values]
        mean = sum(every) / len(every) if every else 0.0
        total = 0.0
        for study, left in self._left.items():
            own = self._seconds[study]
            share = 1 if study in self._exclusive else self._workers
            total += left * (sum(own) / len(own) if own else mean) / share
        return total

    def _make_bar(self) -> tuple[Bar | None, TaskID | None]:
        if not self.console.is_terminal:
            return None, None
        bar = Bar(
            TextColumn("{task.fields[text]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            refresh_per_second=REFRESHES,
        )
        return bar, bar.add_task(
            "trials", total=self._total, completed=self._done, text="starting", left=""
        )
