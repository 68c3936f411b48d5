"""What an engine is: it takes tasks, and gives what came of each, in any order, once."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from clearhead.studies.running.planning import Task
from clearhead.studies.table import Values

ATTEMPTS = 3
"""How often a trial is begun whose process dies; an error of its own code is not tried again"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of a task: values, or the reason why there are none."""

    task: Task
    values: Values | None = None
    seconds: float = 0.0
    error: str | None = None
    trace: str = ""


Engine = Callable[[Sequence[Task]], Generator[Measured]]


def measured(task: Task, answer: dict[str, Any]) -> Measured:
    """From the answer of `measure`."""
    return Measured(task=task, **answer)
